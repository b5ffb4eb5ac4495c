//! Keeps and starts workflows from inside the process, for verbs that have no server.
//!
//! The same deeds as the API's, without a caller to check.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use shared::{
    execution::{Accepted, Mode, first_turn, start_hint},
    ids::{ExecutionId, TenantId, WorkflowId},
    port::{
        calls::pin_calls,
        store::{Saved, Submission, Submitted, WorkflowDraft, WorkflowRow},
    },
    workflow::{Priority, Read},
};

use crate::compose::Ports;

/// Who asks, in journals.
const PRINCIPAL: &str = "apg";

/// Keeps a document; the one of the same name gets a new version.
///
/// What is only run once (`starts_itself` is false) starts nothing by itself.
pub(crate) async fn keep(ports: &Ports, text: &str, read: &Read, starts_itself: bool) -> Result<WorkflowRow> {
    let tenant = TenantId::DEFAULT;
    let store = &ports.truth()?.store;
    let name = read.workflow.name.clone();
    let existing = store.workflow_by_name(tenant, &name).await.context("the store cannot be read")?;
    let catalogue = components::catalogue();
    let pinned = pin_calls(store, &catalogue, tenant, &name, read.clone());
    let read = match pinned.await.context("the store cannot be read")? {
        Ok(read) => read,
        Err(problems) => bail!("{problems}"),
    };
    let id = existing.as_ref().map_or_else(WorkflowId::generate, |row| row.id);
    let at = store.now().await.context("the store cannot be read")?;
    let draft = WorkflowDraft {
        id,
        tenant,
        name,
        description: read.workflow.description.clone().unwrap_or_default(),
        category: existing.as_ref().map_or_else(|| "examples".to_owned(), |row| row.category.clone()),
        tags: existing.as_ref().map(|row| row.tags.clone()).unwrap_or_default(),
        document: text.to_owned(),
        hash: read.workflow.hash.clone(),
        snapshot: read.canonical.clone(),
        triggers: if starts_itself { read.workflow.trigger_drafts(id, at) } else { Vec::new() },
        publishes: None,
        principal: PRINCIPAL.to_owned(),
        at,
    };
    let saved = match existing {
        None => store.workflow_create(draft).await,
        Some(_) => store.workflow_update(draft, None).await,
    };
    match saved.context("the store cannot keep the workflow")? {
        Saved::Created(row) | Saved::Updated(row) => Ok(row),
        other => bail!("the workflow was changed by someone else meanwhile: {other:?}"),
    }
}

/// Starts an execution with checked parameters.
pub(crate) async fn start(
    ports: &Ports,
    row: &WorkflowRow,
    parameters: Map<String, Value>,
) -> Result<ExecutionId> {
    let store = &ports.truth()?.store;
    let accepted = Accepted {
        tenant: row.tenant,
        workflow: row.id,
        version: row.version,
        hash: row.hash.clone(),
        parameters,
        priority: Priority::Normal,
        mode: Mode::Live,
        scheduled_at: None,
        tags: Vec::new(),
        principal: PRINCIPAL.to_owned(),
        trigger: None,
        parent: None,
        retry_of: None,
        trial: None,
    };
    let first = first_turn(accepted, store.now().await.context("the store cannot be read")?);
    let execution = first.execution;
    let submission = Submission { first: first.clone(), idempotency: None, carries: Vec::new() };
    let accepted = store.accept(vec![submission], u64::MAX >> 1).await;
    match accepted.context("the store cannot keep the execution")?.pop() {
        Some(Submitted::New) => {}
        other => bail!("the execution was not accepted: {other:?}"),
    }
    let message = start_hint(first);
    // Lost, it would be swept; so an error here is no reason to fail.
    if let Err(error) = ports.queue.publish_inbox(vec![message]).await {
        tracing::warn!(execution.id = %execution, %error, "The start of {execution} waits for the next sweep");
    }
    Ok(execution)
}
