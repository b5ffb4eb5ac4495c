//! Accepting an execution: checked, made durable, answered. The hot path.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared::{
    execution::{Accepted, Event, Mode, Status, first_turn, start_hint},
    ids::{ExecutionId, PayloadId, WorkflowId},
    port::store::{self, Submitted},
    time::Timestamp,
    workflow::Priority,
};
use utoipa::ToSchema;

use super::Deeds;
use crate::{
    caller::{Caller, Permission},
    documents,
    problem::{Code, Problem},
};

/// What an execution is started with. An empty body means all defaults.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExecuteWorkflow {
    /// Values for the workflow's parameters.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// `high`, `normal` or `low`: which of two waiting tasks a worker takes first.
    #[schema(value_type = String, example = "normal")]
    pub priority: Priority,
    /// Start not before this instant (RFC 3339). One in the past means now.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Timestamp>,
    /// Words to find it by; at most 32 of at most 100 characters.
    pub tags: Vec<String>,
}

/// An accepted execution.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Submission {
    /// The id of the execution.
    #[schema(value_type = String, example = "execution_0192f0c4-7d0a-7e1c-8f65-3f0e5a0b9d11")]
    pub id: ExecutionId,
    /// `pending`, or where it stands by now when the submission was repeated.
    #[schema(value_type = String, example = "pending")]
    pub status: Status,
    #[schema(value_type = String)]
    /// The workflow that is executed.
    pub workflow_id: WorkflowId,
    /// The version that is executed.
    pub workflow_version: u32,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether the same `Idempotency-Key` was used before with the same content, so that nothing new was
    /// started.
    pub repeated: bool,
}

/// What an execution that does another again has of it.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// What stands in the first turn after `accepted`.
    pub events: Vec<Event>,
    /// What they lead to in the payload store.
    pub payloads: Vec<PayloadId>,
}

/// What is submitted, as one text: the same for the same content whatever the order of keys.
fn content_hash(workflow: WorkflowId, body: &ExecuteWorkflow) -> String {
    let parameters = sorted(&Value::Object(body.parameters.clone()));
    hash_of(&(workflow, parameters, body.priority, body.scheduled_at, &body.tags))
}

/// SHA-256 of a value's JSON text.
pub(super) fn hash_of(content: &impl Serialize) -> String {
    let text = serde_json::to_vec(content).expect("ids, values and texts are always JSON");
    hex::encode(Sha256::digest(text))
}

/// The value with the keys of its maps in order.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn check_tags(tags: &[String]) -> Result<(), Problem> {
    let fits = tags.len() <= 32 && tags.iter().all(|tag| !tag.is_empty() && tag.chars().count() <= 100);
    if fits {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidBody, "`tags` holds at most 32 words, each of 1 to 100 characters."))
}

impl Deeds {
    /// Accepts an execution of a workflow's newest version.
    ///
    /// With the same `key` and content it answers with the first execution again, for 24 hours.
    pub(crate) async fn execute(
        &self,
        caller: &Caller,
        id: WorkflowId,
        body: ExecuteWorkflow,
        key: Option<String>,
    ) -> Result<Submission, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        check_tags(&body.tags)?;
        let newest = self.newest(caller.tenant, id).await?.ok_or_else(|| Problem::not_found(id))?;
        if !newest.is_active {
            return Err(Problem::new(Code::WorkflowArchived, format!("{id} is archived.")));
        }
        let idempotency = key.map(|key| (key, content_hash(id, &body)));
        let parameters =
            documents::check_parameters(&newest.workflow, &body.parameters).map_err(|problems| {
                let detail = match problems.len() {
                    1 => "One parameter is wrong; nothing was started.".to_owned(),
                    many => format!("{many} parameters are wrong; nothing was started."),
                };
                Problem::new(Code::InvalidParameters, detail).with_problems(problems)
            })?;

        let accepted = Accepted {
            tenant: caller.tenant,
            workflow: id,
            version: newest.version,
            hash: newest.hash.to_string(),
            parameters,
            priority: body.priority,
            mode: Mode::Live,
            scheduled_at: body.scheduled_at,
            tags: body.tags,
            principal: caller.principal.to_string(),
            trigger: None,
            parent: None,
            retry_of: None,
            trial: None,
        };
        self.submit(accepted, Carried::default(), idempotency).await
    }

    /// Keeps an execution, hints, and answers. With a key that was used before it answers with the first one.
    pub(super) async fn submit(
        &self,
        accepted: Accepted,
        carried: Carried,
        idempotency: Option<(String, String)>,
    ) -> Result<Submission, Problem> {
        let at = self.clock.now(&self.store).await?;
        let (tenant, id, version) = (accepted.tenant, accepted.workflow, accepted.version);
        let is_trial = accepted.trial.is_some();
        let mut first = first_turn(accepted, at);
        first.events.extend(carried.events);
        let execution = first.execution;
        let submission = store::Submission { first: first.clone(), idempotency, carries: carried.payloads };
        let submitted = self.store.accept(vec![submission], self.quota).await?.pop();
        let new = Submission {
            id: execution,
            status: Status::Pending,
            workflow_id: id,
            workflow_version: version,
            created_at: at,
            repeated: false,
        };
        match submitted {
            Some(Submitted::New) => {
                // Lost: the sweep starts it.
                self.hints.send(start_hint(first));
                Ok(new)
            }
            Some(Submitted::Repeated(earlier)) => {
                let row = self.store.execution_get(tenant, earlier).await?;
                Ok(match row {
                    Some(row) => Submission {
                        id: earlier,
                        status: row.status,
                        workflow_version: row.version,
                        created_at: row.created_at,
                        repeated: true,
                        ..new
                    },
                    None => Submission { id: earlier, repeated: true, ..new },
                })
            }
            Some(Submitted::KeyReused(earlier)) => Err(Problem::new(
                Code::IdempotencyKeyReused,
                format!(
                    "The key stands for {earlier}, which was submitted with other content. Nothing was started."
                ),
            )),
            Some(Submitted::NoWorkflow) => {
                self.snapshots.forget(tenant, id);
                Err(match self.newest(tenant, id).await? {
                    Some(_) => Problem::new(Code::WorkflowArchived, format!("{id} is archived.")),
                    None => Problem::not_found(id),
                })
            }
            Some(Submitted::QuotaFull { open }) => Err(Problem::new(
                Code::QuotaExceeded,
                format!("{open} executions are open, and {} may be. Nothing was started.", self.quota),
            )
            .with_retry_after(std::time::Duration::from_secs(5))),
            Some(Submitted::NothingToCarry) => Err(Problem::new(
                if is_trial { Code::TryRefused } else { Code::RetryRefused },
                "A value that would be kept is not stored any more. Nothing was started.",
            )),
            None => Err(Problem::internal("the store gave no answer to a submission")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> ExecuteWorkflow {
        serde_json::from_str(text).expect("a body")
    }

    #[test]
    fn the_order_of_keys_is_no_other_content() {
        let workflow = WorkflowId::generate();
        let hash = |text| content_hash(workflow, &body(text));
        assert_eq!(
            hash(r#"{"parameters":{"a":{"x":1,"y":[1,2]},"b":2}}"#),
            hash(r#"{"parameters":{"b":2,"a":{"y":[1,2],"x":1}},"priority":"normal"}"#)
        );
        assert_ne!(hash(r#"{"parameters":{"a":[1,2]}}"#), hash(r#"{"parameters":{"a":[2,1]}}"#));
        assert_ne!(hash("{}"), hash(r#"{"tags":["x"]}"#));
        assert_ne!(hash("{}"), content_hash(WorkflowId::generate(), &body("{}")));
    }
}
