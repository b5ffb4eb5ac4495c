//! One action on many executions: a page of them at a time, and an answer for each.
//!
//! Every action is a deed of its own, durable or refused by itself: half a page done is a page half answered, and asking
//! again with the same key goes on from there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::{
    execution::Status,
    ids::{ExecutionId, RequestId},
    port::{people::KeyTaken, store::ExecutionRow},
    time::Timestamp,
    wire::RequestBody,
};
use utoipa::ToSchema;

use super::{
    Deeds, MoveExecution, Retried, RetryExecution,
    accept::hash_of,
    executions::{ExecutionQuery, check_reason},
    requests,
    retries::retry_hash,
};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Executions that one call acts on.
const MOST: u32 = 100;

/// What is done with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkAction {
    /// As `POST /api/v1/executions/{id}/retry`.
    Retry,
    /// As `…/cancel`.
    Cancel,
    /// As `…/kill`.
    Kill,
    /// As `…/pause`.
    Pause,
    /// As `…/resume`.
    Resume,
    /// As `POST /api/v2/executions/{id}/move`.
    Move,
}

/// One action on the executions that a query finds.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkExecutions {
    /// `retry`, `cancel`, `kill`, `pause`, `resume` or `move`.
    pub action: BulkAction,
    /// Which executions: the filters of their list, at least one. `limit` is 1 to 100, 50 when left out; `cursor` goes on
    /// from the page before.
    pub query: ExecutionQuery,
    /// Only say what would be done; nothing is.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for `cancel`, `kill` and `pause`: kept in each journal; at most 1,000 characters.
    #[serde(default)]
    pub reason: String,
    /// How, for `retry`.
    #[serde(default)]
    pub retry: RetryExecution,
    /// How, for `move`; `query` must name the workflow then.
    #[serde(default, rename = "move")]
    pub moving: MoveExecution,
}

impl BulkExecutions {
    /// What each execution is asked for; a retry is a new one and asks for nothing, and a move is asked by how it stands.
    fn ask(&self, caller: &Caller) -> Option<RequestBody> {
        let (by, reason) = (caller.principal.to_string(), self.reason.clone());
        match self.action {
            BulkAction::Retry | BulkAction::Move => None,
            BulkAction::Cancel => Some(RequestBody::Cancel { by, reason }),
            BulkAction::Kill => Some(RequestBody::Kill { by, reason }),
            BulkAction::Pause => Some(RequestBody::Pause { by, reason }),
            BulkAction::Resume => Some(RequestBody::Resume { by }),
        }
    }
}

/// What became of one execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkOutcome {
    /// It is durable.
    Accepted,
    /// It would be done.
    Would,
    /// It stands so already; there is nothing to do.
    Unchanged,
    /// The same key has done it before; nothing was done again.
    Repeated,
    /// It was not done.
    Refused,
}

impl BulkOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Would => "would",
            Self::Unchanged => "unchanged",
            Self::Repeated => "repeated",
            Self::Refused => "refused",
        }
    }
}

/// One execution of a page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BulkItem {
    /// The execution.
    #[schema(value_type = String)]
    pub execution: ExecutionId,
    /// Where it stood when it was found.
    #[schema(value_type = String, example = "failed")]
    pub status: Status,
    /// What became of it.
    pub outcome: BulkOutcome,
    /// The execution that does it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub retried_as: Option<ExecutionId>,
    /// The components that run again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<String>,
    /// Why it was refused: the code a single request would be answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A page of executions, newest first, and what became of each.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BulkReport {
    /// What was done.
    pub action: BulkAction,
    /// Whether it only says what would be.
    pub dry_run: bool,
    /// How many of this page came to each outcome.
    #[schema(value_type = Object)]
    pub counts: BTreeMap<String, u32>,
    /// Why executions of this page were refused, the most frequent first.
    pub reasons: Vec<BulkReason>,
    /// The executions of this page.
    pub items: Vec<BulkItem>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Why executions were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct BulkReason {
    /// The code a single request would be answered with.
    pub code: &'static str,
    /// The same for people.
    pub detail: String,
    /// How many of the page.
    pub count: u32,
}

impl BulkReport {
    fn new(action: BulkAction, dry_run: bool, items: Vec<BulkItem>, next_cursor: Option<String>) -> Self {
        let mut counts = BTreeMap::new();
        let mut reasons: BTreeMap<(&'static str, &str), u32> = BTreeMap::new();
        for item in &items {
            *counts.entry(item.outcome.as_str().to_owned()).or_default() += 1;
            if let (Some(code), Some(detail)) = (item.code, &item.detail) {
                *reasons.entry((code, detail)).or_default() += 1;
            }
        }
        let reasons = reasons.into_iter();
        let mut reasons: Vec<BulkReason> = reasons
            .map(|((code, detail), count)| BulkReason { code, detail: detail.to_owned(), count })
            .collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        Self { action, dry_run, counts, reasons, items, next_cursor }
    }
}

impl BulkItem {
    fn of(row: &ExecutionRow, outcome: BulkOutcome) -> Self {
        Self {
            execution: row.id,
            status: row.status,
            outcome,
            retried_as: None,
            again: Vec::new(),
            code: None,
            detail: None,
        }
    }

    fn refused(row: &ExecutionRow, problem: Problem) -> Self {
        Self {
            code: Some(problem.code.as_str()),
            detail: Some(problem.detail),
            ..Self::of(row, BulkOutcome::Refused)
        }
    }
}

/// Whether a problem is about the one execution, and not about the server.
const fn is_its_own(problem: &Problem) -> bool {
    problem.code.status() < 500
}

impl Deeds {
    /// Acts on a page of the executions that a query finds, newest first.
    ///
    /// With the same `key` nothing is done twice to an execution within 24 hours.
    pub(crate) async fn execution_bulk(
        &self,
        caller: &Caller,
        body: BulkExecutions,
        key: Option<String>,
    ) -> Result<BulkReport, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        check_reason(&body.reason)?;
        if !body.query.has_filter() {
            let detail = "`query` finds everything there is; name at least one filter, such as `status`.";
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        if body.action == BulkAction::Move && body.query.workflow_id.is_none() {
            let detail = "Versions are numbered by workflow: name it in `query` (`workflow_id`).";
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        let limit = body.query.limit.unwrap_or(50).clamp(1, MOST);
        let query = ExecutionQuery { limit: Some(limit), ..body.query.clone() };
        let found = self.execution_rows(caller, query).await?;
        let at = self.clock.now(&self.store).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for row in &found.items {
            let item = match body.ask(caller) {
                None if body.action == BulkAction::Move => {
                    self.bulk_move(caller, row, &body, key.as_deref(), at).await
                }
                None => self.bulk_retry(caller, row, &body, key.as_deref()).await,
                Some(ask) => self.bulk_request(caller, row, (&body, ask), key.as_deref(), at).await,
            };
            items.push(match item {
                Ok(item) => item,
                Err(problem) if is_its_own(&problem) => BulkItem::refused(row, problem),
                // What was done so far is kept under the key, or can be seen in the lists.
                Err(problem) => return Err(problem),
            });
        }
        Ok(BulkReport::new(body.action, body.dry_run, items, found.next))
    }

    /// Asks an execution to go on as another version, if it can as it stands. Should it not any more when that is
    /// decided, its journal says so.
    async fn bulk_move(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        body: &BulkExecutions,
        key: Option<&str>,
        at: Timestamp,
    ) -> Result<BulkItem, Problem> {
        let (version, _) = self.move_version(caller, row, &body.moving.version).await?;
        if !row.status.is_terminal() && row.version == version {
            return Ok(BulkItem::of(row, BulkOutcome::Unchanged));
        }
        let movable = self.move_plan(caller, row, &body.moving).await?;
        let body = BulkExecutions { dry_run: body.dry_run || body.moving.dry_run, ..body.clone() };
        self.bulk_request(caller, row, (&body, movable.body()), key, at).await
    }

    async fn bulk_retry(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        body: &BulkExecutions,
        key: Option<&str>,
    ) -> Result<BulkItem, Problem> {
        let planned = self.retry_plan(caller, row, &body.retry).await?;
        let runs = planned.components.iter().filter(|component| !component.kept);
        let again = runs.map(|component| component.component.clone()).collect();
        if body.dry_run || body.retry.dry_run {
            return Ok(BulkItem { again, ..BulkItem::of(row, BulkOutcome::Would) });
        }
        let idempotency = key.map(|key| (format!("bulk/{}/{key}", row.id), retry_hash(row.id, &body.retry)));
        let Retried { id, repeated, .. } = self.retry_submit(row.id, planned, idempotency).await?;
        let outcome = if repeated { BulkOutcome::Repeated } else { BulkOutcome::Accepted };
        Ok(BulkItem { again, retried_as: id, ..BulkItem::of(row, outcome) })
    }

    /// Asks an execution under way for something.
    async fn bulk_request(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        (body, ask): (&BulkExecutions, RequestBody),
        key: Option<&str>,
        at: Timestamp,
    ) -> Result<BulkItem, Problem> {
        let id = match key {
            Some(key) => RequestId::derived(row.id, &format!("bulk/{:?}/{key}", body.action)),
            None => RequestId::generate(),
        };
        if let (Some(key), false) = (key, body.dry_run) {
            let place = format!("bulk/{}/{key}", row.id);
            let moving = (body.action == BulkAction::Move).then_some(&body.moving);
            let hash = hash_of(&("bulk", body.action, &body.reason, moving));
            match self.store.key_take(caller.tenant, &place, &hash, row.id, at).await? {
                KeyTaken::New => {}
                // Taken by an attempt that may not have come further: the request below is kept once.
                KeyTaken::Same if !self.store.was_caused(row.id, requests::cause(row.id, id)).await? => {}
                KeyTaken::Same => return Ok(BulkItem::of(row, BulkOutcome::Repeated)),
                KeyTaken::Other => {
                    let detail = "The key stands for another action on this execution. Nothing was done.";
                    return Err(Problem::new(Code::IdempotencyKeyReused, detail));
                }
            }
        }
        if row.status.is_terminal() {
            return Err(super::signals::execution_ended(row));
        }
        let stands = match body.action {
            BulkAction::Pause => row.status == Status::Paused,
            BulkAction::Resume => row.status != Status::Paused,
            _ => false,
        };
        if stands {
            return Ok(BulkItem::of(row, BulkOutcome::Unchanged));
        }
        if body.dry_run {
            return Ok(BulkItem::of(row, BulkOutcome::Would));
        }
        if self.request(caller.tenant, row.id, id, ask, at).await? {
            return Ok(BulkItem::of(row, BulkOutcome::Accepted));
        }
        // It ended between the two looks.
        Err(super::signals::execution_ended(&self.execution_row(caller, row.id).await?))
    }
}
