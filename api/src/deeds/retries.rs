//! Executions that have ended, done again: planned, kept with what is carried, answered.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    execution::{
        Accepted, Event, Status,
        again::{self, Ended, Fate, Plan, Refusal, Wanted},
    },
    ids::{ComponentId, ExecutionId, PayloadId, TenantId, WorkflowId},
    port::store::{ExecutionRow, parts_of},
    time::Timestamp,
    workflow::{Workflow, compare},
};
use utoipa::ToSchema;

use super::{
    Deeds,
    accept::{Carried, hash_of, sorted},
    folding::TURNS,
};
use crate::{
    caller::{Caller, Permission},
    documents,
    problem::{Code, Problem, capitalized},
};

/// Bytes of a payload that are looked through at once.
const SLICE: u32 = 1024 * 1024;

/// What is to run again. An empty body means what failed, in the version that ran, with the same parameters.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryExecution {
    /// `failed`: everything that did not complete, and what follows from it; the rest is kept. The id of a component, or
    /// a list of ids: these too. `whole`: nothing is kept.
    #[schema(value_type = Value, example = "failed")]
    pub from: RetryFrom,
    /// `same`: the version that ran. `newest`, or a number: what is kept must fit.
    #[schema(value_type = Value, example = "same")]
    pub version: RetryVersion,
    /// Parameters that are to be others; those left out stay as they were.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Only say what would be kept and what would run; nothing is started.
    pub dry_run: bool,
}

/// What is to run again: a word, the id of a component, or ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RetryFrom {
    One(String),
    Several(Vec<String>),
}

impl Default for RetryFrom {
    fn default() -> Self {
        Self::One("failed".to_owned())
    }
}

impl RetryFrom {
    fn wanted(&self) -> Result<Wanted, Problem> {
        let ids = match self {
            Self::One(word) if word == "failed" => return Ok(Wanted::Failed),
            Self::One(word) if word == "whole" => return Ok(Wanted::Whole),
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        };
        if ids.is_empty() {
            let detail = "`from` is an empty list; name a component, or write `failed` or `whole`.";
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        Ok(Wanted::Components(ids.iter().map(|id| ComponentId::new(id)).collect()))
    }
}

/// A version: `same`, `newest`, or its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RetryVersion {
    Number(u32),
    Word(String),
}

impl Default for RetryVersion {
    fn default() -> Self {
        Self::Word("same".to_owned())
    }
}

/// What becomes of one component.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RetriedComponent {
    /// Its id.
    pub component: String,
    /// Whether it stays as it ended, and does not run.
    pub kept: bool,
    /// `completed`, `failed` (and that was handled) or `skipped` when it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Why it runs again: `whole`, `named`, `new`, `failed`, `unfinished`, `undone`, `closed`, `exit`, `parameters` or
    /// `follows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same for people.
    pub sentence: String,
}

/// An execution that is done again, or would be.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// The new execution; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<ExecutionId>,
    /// Where the new one stands; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "pending")]
    pub status: Option<Status>,
    /// The one that is done again. It stays as it is.
    #[schema(value_type = String)]
    pub retry_of: ExecutionId,
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The version that runs.
    pub workflow_version: u32,
    /// When it was accepted; absent in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// Whether the same `Idempotency-Key` was used before with the same content, so that nothing new was started.
    pub repeated: bool,
    /// What becomes of each component of the workflow's own scope.
    pub components: Vec<RetriedComponent>,
}

/// An execution as it would be done again.
#[derive(Debug)]
pub(super) struct Planned {
    accepted: Accepted,
    plan: Plan,
    pub(super) components: Vec<RetriedComponent>,
}

fn shown(plan: &Plan, target: &Workflow) -> Vec<RetriedComponent> {
    let each = plan.components.iter().map(|(id, fate)| {
        let component = target.index_of(id.as_str()).map(|index| &target.components[index]);
        let (kept, status, reason, sentence) = match fate {
            Fate::Kept(result) => {
                let (status, sentence) = match result {
                    shared::execution::Carry::Completed { .. } => ("completed", "It completed, and is kept."),
                    shared::execution::Carry::Failed { .. } => {
                        ("failed", "It failed and that was handled; both are kept.")
                    }
                    shared::execution::Carry::Skipped { .. } => ("skipped", "It was skipped, and stays so."),
                };
                (true, Some(status), None, sentence.to_owned())
            }
            Fate::Again(why) => {
                let sentence = component.map(|component| why.sentence(component)).unwrap_or_default();
                (false, None, Some(why.as_str()), sentence)
            }
        };
        RetriedComponent { component: id.to_string(), kept, status, reason, sentence }
    });
    each.collect()
}

fn refused(refusal: &Refusal) -> Problem {
    let text = refusal.to_string();
    let detail = capitalized(&text);
    let code = match refusal {
        Refusal::Open(_) => Code::ExecutionOpen,
        _ => Code::RetryRefused,
    };
    let problems = match refusal {
        Refusal::Untrusted(doubts) => doubts
            .iter()
            .map(|doubt| {
                let message = format!("`{}` {}", doubt.component, doubt.because);
                json!({ "code": "not_kept", "severity": "error", "message": message, "path": [doubt.component] })
            })
            .collect(),
        _ => Vec::new(),
    };
    Problem::new(code, format!("{detail}. Nothing was started.")).with_problems(problems)
}

/// The same for the same content whatever the order of keys.
pub(super) fn retry_hash(execution: ExecutionId, body: &RetryExecution) -> String {
    let parameters = sorted(&Value::Object(body.parameters.clone()));
    hash_of(&("retry", execution, &body.from, &body.version, parameters))
}

impl Deeds {
    /// Does an execution that has ended again, as a new one; the old one stays as it is.
    ///
    /// With the same `key` and content it answers with the first one again, for 24 hours.
    pub(crate) async fn execution_retry(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: RetryExecution,
        key: Option<String>,
    ) -> Result<Retried, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let row = self.execution_row(caller, id).await?;
        let planned = self.retry_plan(caller, &row, &body).await?;
        if body.dry_run {
            return Ok(Retried {
                id: None,
                status: None,
                retry_of: id,
                workflow_id: planned.accepted.workflow,
                workflow_version: planned.accepted.version,
                created_at: None,
                repeated: false,
                components: planned.components,
            });
        }
        let idempotency = key.map(|key| (key, retry_hash(id, &body)));
        self.retry_submit(id, planned, idempotency).await
    }

    /// Keeps what was planned.
    pub(super) async fn retry_submit(
        &self,
        of: ExecutionId,
        planned: Planned,
        idempotency: Option<(String, String)>,
    ) -> Result<Retried, Problem> {
        let events = planned.plan.events(of);
        let needed = planned.plan.payloads();
        let missing =
            "A value that would be kept is not stored any more. Nothing was started; ask for `whole`.";
        let payloads = self.payloads_of(of, needed, &events).await?;
        let payloads = payloads.ok_or_else(|| Problem::new(Code::RetryRefused, missing))?;
        let submission = self.submit(planned.accepted, Carried { events, payloads }, idempotency).await?;
        Ok(Retried {
            id: Some(submission.id),
            status: Some(submission.status),
            retry_of: of,
            workflow_id: submission.workflow_id,
            workflow_version: submission.workflow_version,
            created_at: Some(submission.created_at),
            repeated: submission.repeated,
            components: planned.components,
        })
    }

    /// What would be done; nothing is.
    pub(super) async fn retry_plan(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        body: &RetryExecution,
    ) -> Result<Planned, Problem> {
        let wanted = body.from.wanted()?;
        if !row.status.is_terminal() {
            return Err(refused(&Refusal::Open(row.status)));
        }
        let ended = self.ended(caller.tenant, row.id).await?;
        let before = &ended.execution().accepted;
        let (version, hash) = self.retry_version(caller, row, before, &body.version).await?;
        let target = self.snapshot(&hash).await?;
        let differences = if hash == before.hash {
            Vec::new()
        } else {
            compare(&self.canonical_text(&before.hash).await?, &self.canonical_text(&hash).await?)
        };
        let known = |name: &str| target.parameters.iter().any(|parameter| parameter.name == name);
        // What the version has no more is left out; what somebody names must be there.
        let mut given: Map<String, Value> = before
            .parameters
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        given.extend(body.parameters.clone());
        let parameters = documents::check_parameters(&target, &given).map_err(|problems| {
            let detail = "The parameters do not fit the version that would run; nothing was started.";
            Problem::new(Code::InvalidParameters, detail).with_problems(problems)
        })?;
        let plan = again::plan(&ended, &target, &differences, &wanted, &parameters)
            .map_err(|refusal| refused(&refusal))?;
        let components = shown(&plan, &target);
        let accepted = Accepted {
            tenant: caller.tenant,
            workflow: row.workflow,
            version,
            hash,
            parameters,
            priority: before.priority,
            mode: before.mode,
            scheduled_at: None,
            tags: before.tags.clone(),
            // A person starts it, whatever started the one before.
            principal: caller.principal.to_string(),
            trigger: None,
            parent: None,
            retry_of: Some(row.id),
            trial: before.trial.clone(),
        };
        Ok(Planned { accepted, plan, components })
    }

    async fn canonical_text(&self, hash: &str) -> Result<String, Problem> {
        let missing = || Problem::internal(format_args!("the snapshot {hash} is not in the store"));
        self.store.snapshot(hash).await?.ok_or_else(missing)
    }

    /// The number and hash of the version that is to run.
    async fn retry_version(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        before: &Accepted,
        wanted: &RetryVersion,
    ) -> Result<(u32, String), Problem> {
        let number = match wanted {
            RetryVersion::Word(word) if word == "same" => return Ok((before.version, before.hash.clone())),
            RetryVersion::Word(word) if word == "newest" => {
                let newest = self.store.workflow_get(caller.tenant, row.workflow).await?;
                let newest = newest.ok_or_else(|| Problem::not_found(row.workflow))?;
                return Ok((newest.version, newest.hash));
            }
            RetryVersion::Word(word) => {
                let detail = format!("`version` is `{word}`; write `same`, `newest` or a number.");
                return Err(Problem::new(Code::InvalidBody, detail));
            }
            RetryVersion::Number(number) => *number,
        };
        let hash = self.store.workflow_hash(caller.tenant, row.workflow, number).await?;
        let missing = || Problem::new(Code::NotFound, format!("{} has no version {number}.", row.workflow));
        Ok((number, hash.ok_or_else(missing)?))
    }

    /// An execution with what its last state does not say, read from its journal.
    async fn ended(&self, tenant: TenantId, id: ExecutionId) -> Result<Ended, Problem> {
        let broken = |error| Problem::internal(format_args!("the journal of {id} does not fold: {error}"));
        let mut ended: Option<Ended> = None;
        loop {
            let after = ended.as_ref().map_or(0, |ended| ended.execution().seq);
            let turns = self.store.execution_turns(tenant, id, after, TURNS).await?;
            let is_last = turns.len() < TURNS as usize;
            for turn in &turns {
                match &mut ended {
                    Some(ended) => {
                        if let Some(moved) = turn.moved() {
                            ended.learn(self.snapshot(&moved.hash).await?);
                        }
                        ended.see(turn).map_err(broken)?;
                    }
                    None => {
                        let Some(Event::Accepted(accepted)) = turn.events.first() else {
                            let detail = "it does not begin with its acceptance";
                            return Err(Problem::internal(format_args!("the journal of {id}: {detail}")));
                        };
                        let workflow = self.snapshot(&accepted.hash).await?;
                        ended = Some(Ended::begin(workflow, turn).map_err(broken)?);
                    }
                }
            }
            if is_last {
                return ended.ok_or_else(|| Problem::not_found(id));
            }
        }
    }

    /// Everything in the payload store that carried events lead to: values that lie there, the parts of lists, and the
    /// files that any of them name. `None` when one of the `needed` is not there any more.
    pub(super) async fn payloads_of(
        &self,
        of: ExecutionId,
        needed: Vec<PayloadId>,
        events: &[Event],
    ) -> Result<Option<Vec<PayloadId>>, Problem> {
        let needed: BTreeSet<PayloadId> = needed.into_iter().collect();
        let text = serde_json::to_vec(events).map_err(Problem::internal)?;
        let mut waiting: VecDeque<PayloadId> =
            needed.iter().copied().chain(again::payloads_in(&text)).collect();
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        while let Some(id) = waiting.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            match self.mentioned_in(of, id).await? {
                Some(mentioned) => {
                    found.push(id);
                    waiting.extend(mentioned);
                }
                // A name in a text may be one of another execution, and led nowhere before too.
                None if !needed.contains(&id) => {}
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The payloads that a payload names; `None` when it is not there.
    async fn mentioned_in(&self, of: ExecutionId, id: PayloadId) -> Result<Option<Vec<PayloadId>>, Problem> {
        let mut mentioned = Vec::new();
        let mut from = 0;
        let mut held: Vec<u8> = Vec::new();
        loop {
            let Some(slice) = self.store.payload_slice(of, id, from, SLICE).await? else { return Ok(None) };
            let is_last = slice.len() < SLICE as usize;
            from += slice.len() as u64;
            held.extend_from_slice(&slice);
            if let Some(parts) = parts_of(&held)
                && is_last
            {
                return Ok(Some(parts));
            }
            mentioned.extend(again::payloads_in(&held));
            if is_last {
                return Ok(Some(mentioned));
            }
            // One that is torn apart is found with the next slice; one found twice is the same.
            let keep = held.len().saturating_sub(again::LONGEST_MENTION);
            held.drain(..keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_components_whatever_they_are_called() {
        let read = |text: &str| serde_json::from_str::<RetryExecution>(text).map(|body| body.from.wanted());
        let ids = |list: &[&str]| Wanted::Components(list.iter().map(|id| ComponentId::new(id)).collect());
        for (text, wanted) in [
            ("{}", Wanted::Failed),
            (r#"{"from":"failed"}"#, Wanted::Failed),
            (r#"{"from":"whole"}"#, Wanted::Whole),
            (r#"{"from":"ship"}"#, ids(&["ship"])),
            (r#"{"from":["failed","whole"]}"#, ids(&["failed", "whole"])),
        ] {
            assert_eq!(read(text).expect("a body"), Ok(wanted), "{text}");
        }
        assert!(read(r#"{"from":[]}"#).expect("a body").is_err());
        assert!(read(r#"{"from":7}"#).is_err());
    }

    #[test]
    fn other_content_is_another_hash() {
        let execution = ExecutionId::generate();
        let hash = |text: &str| retry_hash(execution, &serde_json::from_str(text).expect("a body"));
        assert_eq!(hash("{}"), hash(r#"{"from":"failed","version":"same","dry_run":true}"#));
        assert_ne!(hash("{}"), hash(r#"{"from":"whole"}"#));
        assert_ne!(hash("{}"), hash(r#"{"parameters":{"a":1}}"#));
    }
}
