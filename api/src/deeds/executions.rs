//! Executions: list, look at, pause, cancel.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::{
    component::Failure,
    execution::{Event, Execution, Payload, Status, Trial},
    ids::{ExecutionId, PayloadId, RequestId, WorkerId, WorkflowId},
    port::line::Line,
    port::slots::written_key,
    port::store::{ExecutionFilter, ExecutionRow, LateResult, Paged, payload_whole},
    time::Timestamp,
    wire::RequestBody,
    workflow::Priority,
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page, requests::Decided, signals::execution_ended};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Above this many bytes a stored output is answered as a reference.
const RESOLVED_UP_TO: u64 = 1024 * 1024;
/// Executions that do another again, as far as one answer lists them.
const MOST_RETRIES: u32 = 100;

/// Which executions to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExecutionQuery {
    /// One status or several with commas between: `pending`, `running`, `paused`, `completed`, `failed`,
    /// `cancelled`.
    pub status: Option<String>,
    /// Only those that are failing (`true`): open, and a component has failed that nothing handles.
    pub failing: bool,
    /// Only executions of this workflow.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    pub workflow_id: Option<WorkflowId>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Accepted at or after this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_from: Option<Timestamp>,
    /// Accepted before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_to: Option<Timestamp>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl ExecutionQuery {
    /// Whether it asks for less than everything.
    pub(super) fn has_filter(&self) -> bool {
        let Self { status, failing, workflow_id, tag, created_from, created_to, limit: _, cursor: _ } = self;
        *failing
            || workflow_id.is_some()
            || [status, tag].into_iter().any(Option::is_some)
            || [created_from, created_to].into_iter().any(Option::is_some)
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(crate) struct FailureView {
    /// The class that retries and handlers name, such as `timeout` or `http_5xx`.
    #[schema(example = "http_5xx")]
    pub class: String,
    /// What is wrong, for people.
    pub message: String,
    /// Further facts for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            class: failure.class.to_string(),
            message: failure.message.clone(),
            details: failure.details.clone(),
        }
    }
}

/// A value that is too large to stand in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct PayloadReference {
    /// Its id.
    #[schema(value_type = String)]
    pub id: PayloadId,
    /// Its length in bytes.
    pub size: u64,
    /// Where to get it.
    pub href: String,
}

impl PayloadReference {
    pub(super) fn new(execution: ExecutionId, id: PayloadId, size: u64) -> Self {
        Self { id, size, href: format!("/api/v1/payloads/{execution}/{id}") }
    }
}

/// One run of one workflow version.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Execution)]
pub(crate) struct ExecutionView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ExecutionId,
    /// The workflow it is of.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The workflow's name.
    pub workflow_name: String,
    /// The version it runs, whatever is saved later.
    pub workflow_version: u32,
    /// `pending`, `running`, `paused`, `completed`, `failed` or `cancelled`; the last three are final.
    #[schema(value_type = String, example = "running")]
    pub status: Status,
    /// `high`, `normal` or `low`.
    #[schema(value_type = String, example = "normal")]
    pub priority: Priority,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who started it.
    pub created_by: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Not to start before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Timestamp>,
    /// When it was admitted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// Milliseconds from `started_at` to `completed_at`, or until now.
    pub duration_ms: Option<u64>,
    /// The execution that it does again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub retry_of: Option<ExecutionId>,
    /// What it tries of a document that may not be published. Not in lists, where the tag `try` says so.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialView>,
    /// The executions that do it again, newest first, at most 100. Not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub retried_by: Vec<ExecutionId>,
    /// Percent of its components that have settled. Not in lists while it is open.
    pub progress: Option<f64>,
    /// The key that it waits in line for before it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// Whether it goes on and will fail: a component has failed and nothing handles that. Never true once it
    /// has ended, nor when it is being cancelled before anything failed.
    pub failing: bool,
    /// Since when it is failing. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub failing_since: Option<Timestamp>,
    /// The component whose failure it is, while it is failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_component: Option<String>,
    /// Who paused it, while it is paused. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<PauseView>,
    /// Why it failed or was cancelled; while it is failing, why it will fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// What it was started with, defaults filled in. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// What it gives back, up to 1 MiB. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Where the output is when it is larger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_reference: Option<PayloadReference>,
}

/// A part of a document that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Trial)]
pub(crate) struct TrialView {
    /// The component.
    pub component: String,
    /// Whether nothing else runs.
    pub only: bool,
    /// The execution whose data stands in for components that do not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub data_from: Option<ExecutionId>,
}

impl From<&Trial> for TrialView {
    fn from(trial: &Trial) -> Self {
        Self { component: trial.component.to_string(), only: trial.only, data_from: trial.data_from }
    }
}

/// Who paused an execution, and why.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Pause)]
pub(crate) struct PauseView {
    /// Who paused it.
    pub by: String,
    /// Why, in that person's words; empty when none were given.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Some executions, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ExecutionList {
    /// The executions of this page.
    pub items: Vec<ExecutionView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Why it is to be cancelled. An empty body gives no reason.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CancelExecution {
    /// Kept in the journal, for people; at most 1,000 characters.
    pub reason: String,
}

/// Why it is paused. An empty body gives no reason.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PauseExecution {
    /// Kept in the journal, for people; at most 1,000 characters.
    pub reason: String,
}

/// What became of a pause or its end.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Standing {
    /// The execution.
    #[schema(value_type = String)]
    pub id: ExecutionId,
    /// Where the execution stands at this moment.
    #[schema(value_type = String, example = "paused")]
    pub status: Status,
    /// Whether it is decided. `false`: it is durable, and no coordinator has taken it up within ten seconds.
    pub decided: bool,
}

/// The answer to a cancellation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// The execution.
    #[schema(value_type = String)]
    pub id: ExecutionId,
    /// Where the execution stands at this moment.
    #[schema(value_type = String, example = "running")]
    pub status: Status,
}

/// A result that did not count.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LateResult)]
pub(crate) struct LateView {
    /// The task, with its loop rounds.
    pub task: String,
    /// The attempt.
    pub attempt: u32,
    /// Which message of the attempt.
    pub dispatch: u32,
    /// Who reported it.
    #[schema(value_type = String)]
    pub worker: WorkerId,
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `completed`, `failed` or `lost`.
    pub ending: String,
    /// Why it did not count.
    pub reason: String,
}

impl From<LateResult> for LateView {
    fn from(late: LateResult) -> Self {
        Self {
            task: late.task.to_string(),
            attempt: late.attempt,
            dispatch: late.dispatch,
            worker: late.worker,
            at: late.at,
            ending: late.ending,
            reason: late.reason,
        }
    }
}

/// Results that did not count, in order of arrival.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LateList {
    /// All of them.
    pub items: Vec<LateView>,
    /// Always absent: there is one page.
    pub next_cursor: Option<String>,
}

/// Percent with one decimal; an execution without components is done when it has ended.
pub(super) fn percent(settled: u32, total: u32) -> f64 {
    if total == 0 {
        return 0.0;
    }
    (f64::from(settled) * 1_000.0 / f64::from(total)).floor() / 10.0
}

fn view(row: ExecutionRow, now: Timestamp) -> (ExecutionView, Option<Payload>) {
    let until = row.finished_at.unwrap_or(now);
    let failing = row.failure.as_ref().filter(|_| !row.status.is_terminal());
    let component = failing.and_then(|failure| failure.details.as_ref()?.get("component")?.as_str());
    let duration = row.started_at.map(|started| until.since(started).as_millis() as u64);
    let view = ExecutionView {
        id: row.id,
        workflow_id: row.workflow,
        workflow_name: row.workflow_name,
        workflow_version: row.version,
        status: row.status,
        priority: row.priority,
        tags: row.tags,
        created_by: row.principal,
        created_at: row.created_at,
        scheduled_at: None,
        started_at: row.started_at,
        completed_at: row.finished_at,
        duration_ms: duration,
        retry_of: row.retry_of,
        retried_by: Vec::new(),
        trial: None,
        progress: match row.status {
            Status::Completed => Some(100.0),
            Status::Pending => Some(0.0),
            _ => None,
        },
        blocked_by: row.blocked_by.map(|key| written_key(&key).to_owned()),
        failing: failing.is_some(),
        failing_since: None,
        failing_component: component.map(ToOwned::to_owned),
        paused: None,
        failure: row.failure.as_ref().map(FailureView::from),
        parameters: None,
        output: None,
        output_reference: None,
    };
    (view, row.output)
}

/// Reads `running,failed`.
fn statuses(text: Option<&str>) -> Result<Vec<Status>, Problem> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|wrong: String| Problem::new(Code::InvalidQuery, wrong)))
        .collect()
}

pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.chars().count() > 1_000 {
        return Err(Problem::new(Code::InvalidBody, "`reason` has at most 1,000 characters."));
    }
    Ok(())
}

impl Deeds {
    pub(super) async fn execution_row(
        &self,
        caller: &Caller,
        id: ExecutionId,
    ) -> Result<ExecutionRow, Problem> {
        caller.must(Permission::Read)?;
        self.store.execution_get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found(id))
    }

    pub(crate) async fn execution_list(
        &self,
        caller: &Caller,
        query: ExecutionQuery,
    ) -> Result<ExecutionList, Problem> {
        let found = self.execution_rows(caller, query).await?;
        let now = self.clock.now(&self.store).await?;
        Ok(ExecutionList {
            items: found.items.into_iter().map(|row| view(row, now).0).collect(),
            next_cursor: found.next,
        })
    }

    /// A page of rows, newest first.
    pub(super) async fn execution_rows(
        &self,
        caller: &Caller,
        query: ExecutionQuery,
    ) -> Result<Paged<ExecutionRow>, Problem> {
        caller.must(Permission::Read)?;
        let filter = ExecutionFilter {
            workflow: query.workflow_id,
            status: statuses(query.status.as_deref())?,
            failing: query.failing,
            tag: query.tag,
            created_from: query.created_from,
            created_to: query.created_to,
        };
        let page = page::<ExecutionId>(query.cursor, query.limit)?;
        Ok(self.store.execution_list(caller.tenant, filter, page).await?)
    }

    pub(crate) async fn execution_get(
        &self,
        caller: &Caller,
        id: ExecutionId,
    ) -> Result<ExecutionView, Problem> {
        let row = self.execution_row(caller, id).await?;
        let now = self.clock.now(&self.store).await?;
        let (mut view, output) = view(row, now);
        // Only what has ended is done again.
        if view.status.is_terminal() {
            view.retried_by = self.store.execution_retries(caller.tenant, id, MOST_RETRIES).await?;
        }
        match output {
            Some(Payload::Inline(value)) => view.output = Some(value),
            Some(Payload::Stored(stored)) => {
                let bytes = if stored.size <= RESOLVED_UP_TO {
                    payload_whole(&*self.store, id, stored.id).await?
                } else {
                    None
                };
                match bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                    Some(value) => view.output = Some(value),
                    None => view.output_reference = Some(PayloadReference::new(id, stored.id, stored.size)),
                }
            }
            None => {}
        }
        let mut accepted = None;
        if matches!(view.status, Status::Completed | Status::Pending) {
            // Their progress is known; only the first turn is of interest, unless it was moved since.
            let first = self.store.execution_turns(caller.tenant, id, 0, 1).await?.into_iter().next();
            accepted = first.and_then(|turn| turn.events.into_iter().next()).and_then(|event| match event {
                Event::Accepted(accepted) => Some(accepted),
                _ => None,
            });
        }
        if let Some(accepted) = accepted.filter(|accepted| accepted.version == view.workflow_version) {
            view.scheduled_at = accepted.scheduled_at;
            view.trial = accepted.trial.as_ref().map(TrialView::from);
            view.parameters = Some(accepted.parameters);
        } else if let Some(folded) = self.fold(caller.tenant, id).await?
            && let Some(execution) = &*folded
        {
            view.scheduled_at = execution.accepted.scheduled_at;
            view.trial = execution.accepted.trial.as_ref().map(TrialView::from);
            view.parameters = Some(execution.accepted.parameters.clone());
            view.failing_since =
                execution.failing.as_ref().filter(|_| view.failing).map(|failing| failing.since);
            view.paused = execution.pause.as_ref().map(|pause| PauseView {
                by: pause.by.clone(),
                reason: pause.reason.clone(),
                since: pause.since,
            });
            let root = execution.root();
            view.progress = Some(percent(root.settled, root.components.len() as u32));
        }
        Ok(view)
    }

    /// Asks for the end of an execution. One that has ended is refused.
    pub(crate) async fn execution_cancel(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: CancelExecution,
    ) -> Result<Cancelled, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        check_reason(&body.reason)?;
        let body = RequestBody::Cancel { by: caller.principal.to_string(), reason: body.reason };
        self.execution_end(caller, id, body).await
    }

    /// Ends an execution at once: nothing cleans up, and what runs does not count any more.
    pub(crate) async fn execution_kill(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: CancelExecution,
    ) -> Result<Cancelled, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        check_reason(&body.reason)?;
        let body = RequestBody::Kill { by: caller.principal.to_string(), reason: body.reason };
        self.execution_end(caller, id, body).await
    }

    async fn execution_end(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: RequestBody,
    ) -> Result<Cancelled, Problem> {
        let row = self.execution_row(caller, id).await?;
        if row.status.is_terminal() {
            return Err(execution_ended(&row));
        }
        let at = self.clock.now(&self.store).await?;
        if self.request(caller.tenant, id, RequestId::generate(), body, at).await? {
            return Ok(Cancelled { id, status: row.status });
        }
        // It ended between the two looks.
        Err(execution_ended(&self.execution_row(caller, id).await?))
    }

    /// Nothing new starts until it is resumed. Pausing a paused one changes nothing.
    pub(crate) async fn execution_pause(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: PauseExecution,
    ) -> Result<Standing, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        check_reason(&body.reason)?;
        let body = RequestBody::Pause { by: caller.principal.to_string(), reason: body.reason };
        let standing = self.execution_stands(caller, id, body).await?;
        // Decided, open and not paused: only what is being cancelled takes no pause. Unless somebody resumed it since.
        if standing.decided && standing.status != Status::Paused {
            let folded = self.fold(caller.tenant, id).await?;
            if folded.as_ref().and_then(|slot| slot.as_ref()).is_some_and(Execution::is_cancelling) {
                return Err(Problem::new(
                    Code::ExecutionEnding,
                    "It is being cancelled, and is not paused. `kill` ends it at once.",
                ));
            }
        }
        Ok(standing)
    }

    /// Ends a pause. Resuming one that is not paused changes nothing.
    pub(crate) async fn execution_resume(
        &self,
        caller: &Caller,
        id: ExecutionId,
    ) -> Result<Standing, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let body = RequestBody::Resume { by: caller.principal.to_string() };
        self.execution_stands(caller, id, body).await
    }

    async fn execution_stands(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: RequestBody,
    ) -> Result<Standing, Problem> {
        let row = self.execution_row(caller, id).await?;
        if row.status.is_terminal() {
            return Err(execution_ended(&row));
        }
        let at = self.clock.now(&self.store).await?;
        let decided = self.request_decided(caller.tenant, id, body, at).await?;
        let row = self.execution_row(caller, id).await?;
        // It may have ended meanwhile.
        if row.status.is_terminal() {
            return Err(execution_ended(&row));
        }
        Ok(Standing { id, status: row.status, decided: decided == Decided::Now })
    }

    pub(crate) async fn execution_late(&self, caller: &Caller, id: ExecutionId) -> Result<LateList, Problem> {
        self.execution_row(caller, id).await?;
        let late = self.store.execution_late(caller.tenant, id).await?;
        Ok(LateList { items: late.into_iter().map(LateView::from).collect(), next_cursor: None })
    }

    /// Everything that there is of an execution, as the line that an archive keeps.
    pub(crate) async fn execution_export(&self, caller: &Caller, id: ExecutionId) -> Result<Line, Problem> {
        let row = self.execution_row(caller, id).await?;
        Ok(Line::of(Arc::clone(&self.store), row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_hundred_only_when_all_have_settled() {
        assert!(percent(999, 1_000) < 100.0);
        assert!((percent(1, 3) - 33.3).abs() < 1e-9);
        assert!((percent(3, 3) - 100.0).abs() < 1e-9);
        assert!(percent(0, 0).abs() < 1e-9);
    }

    #[test]
    fn statuses_are_words_with_commas_between() {
        assert_eq!(statuses(Some("running, failed")), Ok(vec![Status::Running, Status::Failed]));
        assert_eq!(statuses(None), Ok(Vec::new()));
        assert!(statuses(Some("done")).is_err());
    }
}
