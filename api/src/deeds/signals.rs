//! Signals to an execution, and what it waits for.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::{
    execution::{Payload, Received},
    ids::{ExecutionId, RequestId},
    port::{people::KeyTaken, store::ExecutionRow},
    time::Timestamp,
    wire::RequestBody,
    workflow::Workflow,
};
use utoipa::ToSchema;

use super::{Deeds, requests};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// A signal.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendSignal {
    /// The `event` of the `wait_for_event` that it is for.
    pub name: String,
    /// What it brings: `event.body` in the workflow.
    #[serde(default)]
    pub data: Value,
}

/// A signal that was accepted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SignalSent {
    /// The id of the signal.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// The execution it is for.
    #[schema(value_type = String)]
    pub execution_id: ExecutionId,
    /// Its name.
    pub name: String,
    /// Whether the same `Idempotency-Key` was used before with the same content, so that nothing new was sent.
    pub repeated: bool,
}

/// An event that a component waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = EventWait)]
pub(crate) struct WaitView {
    /// The component, with its loop rounds.
    pub component: String,
    /// The type of the event, or the name of the signal.
    pub event: String,
    /// The key that an event must have; a signal needs none.
    pub key: String,
    /// Events at or after this instant count.
    #[schema(value_type = String, format = DateTime)]
    pub early: Timestamp,
}

/// What an execution waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WaitList {
    /// All of it, in the order of components.
    pub items: Vec<WaitView>,
    /// Always absent: there is one page.
    pub next_cursor: Option<String>,
}

/// The events a workflow waits for; `None` when some of them are known only when it runs.
fn awaited(workflow: &Workflow) -> Option<Vec<&str>> {
    let waiting = workflow.components.iter().filter(|component| &*component.kind == "wait_for_event");
    waiting.map(|component| component.config.constant_field("event")?.as_str()).collect()
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = corner + usize::from(left != *right);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn unknown(name: &str, mut names: Vec<&str>) -> Problem {
    names.sort_by_key(|known| (distance(name, known), *known));
    names.dedup();
    let detail = if names.is_empty() {
        "The workflow has no `wait_for_event`, so it takes no signals.".to_owned()
    } else {
        let list: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("The workflow waits for {}.", list.join(", "))
    };
    Problem::new(Code::UnknownSignal, detail)
}

pub(super) fn execution_ended(row: &ExecutionRow) -> Problem {
    let at = row.finished_at.map_or_else(String::new, |at| format!(" at {at}"));
    let why = row.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
    Problem::new(Code::ExecutionEnded, format!("It ended as {}{at}{why}.", row.status.as_str()))
}

impl Deeds {
    /// Sends a signal. With the same `key` and content it is sent once, within 24 hours.
    pub(crate) async fn signal_send(
        &self,
        caller: &Caller,
        execution: ExecutionId,
        body: SendSignal,
        key: Option<String>,
    ) -> Result<SignalSent, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let row = self.execution_row(caller, execution).await?;
        let sent =
            |id, repeated| SignalSent { id, execution_id: execution, name: body.name.clone(), repeated };
        let id = match &key {
            Some(key) => RequestId::derived(execution, &format!("signal/{key}")),
            None => RequestId::generate(),
        };
        let at = self.clock.now(&self.store).await?;
        if let Some(key) = &key {
            let place = format!("signal/{execution}/{key}");
            let text = serde_json::to_vec(&(&body.name, &body.data)).map_err(Problem::internal)?;
            let hash = hex::encode(Sha256::digest(text));
            match self.store.key_take(caller.tenant, &place, &hash, execution, at).await? {
                KeyTaken::New => {}
                // Taken by an attempt that may not have come further: the row below is kept once.
                KeyTaken::Same
                    if !self.store.was_caused(execution, requests::cause(execution, id)).await? => {}
                KeyTaken::Same => return Ok(sent(id, true)),
                KeyTaken::Other => {
                    let detail = "The key stands for another signal to this execution. Nothing was sent.";
                    return Err(Problem::new(Code::IdempotencyKeyReused, detail));
                }
            }
        }
        if row.status.is_terminal() {
            return Err(execution_ended(&row));
        }
        let size = body.data.to_string().len();
        if size > Payload::INLINE_LIMIT {
            let detail = format!("`data` has {size} bytes; at most {} are taken.", Payload::INLINE_LIMIT);
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        // The version that it is of now: it may have been moved.
        let hash = self.store.workflow_hash(caller.tenant, row.workflow, row.version).await?;
        let hash = hash.ok_or_else(|| {
            Problem::internal(format_args!("version {} of {} is missing", row.version, row.workflow))
        })?;
        let workflow = self.snapshot(&hash).await?;
        if let Some(names) = awaited(&workflow)
            && !names.contains(&body.name.as_str())
        {
            return Err(unknown(&body.name, names));
        }
        let signal = Received {
            id: id.to_string(),
            kind: body.name.clone(),
            source: format!("/principals/{}", caller.principal),
            time: at,
            key: None,
            body: body.data.clone(),
        };
        if self.request(caller.tenant, execution, id, RequestBody::Signal { signal }, at).await? {
            return Ok(sent(id, false));
        }
        // It ended between the two looks.
        Err(execution_ended(&self.execution_row(caller, execution).await?))
    }

    /// What an execution waits for now.
    pub(crate) async fn wait_list(
        &self,
        caller: &Caller,
        execution: ExecutionId,
    ) -> Result<WaitList, Problem> {
        self.execution_row(caller, execution).await?;
        let waits = self.store.wait_list(caller.tenant, execution).await?;
        let items = waits
            .into_iter()
            .map(|wait| WaitView {
                component: wait.task.to_string(),
                event: wait.event,
                key: wait.key,
                early: wait.early,
            })
            .collect();
        Ok(WaitList { items, next_cursor: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first() {
        let problem = unknown("paied", vec!["shipped", "paid", "refunded", "paid"]);
        assert_eq!(problem.detail, "The workflow waits for `paid`, `shipped`, `refunded`.");
        assert!(unknown("x", Vec::new()).detail.contains("no `wait_for_event`"));
    }
}
