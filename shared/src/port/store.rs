//! The store: the one truth. PostgreSQL, SQLite, and memory for tests.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::slots::{FullSlot, SlotClaim, SlotOwner, SlotOwners};
use super::{
    Cause,
    accounts::Accounts,
    cache::{CacheEntry, StepCache},
    documents::Documents,
    history::History,
    people::People,
    rates::Rates,
    triggers::TriggerDraft,
};
pub use super::{triggers::Triggers, versions::Versions};
use crate::{
    component::Failure,
    execution::{Answer, Payload, PersonAsk, Status, TaskKey, TimerKey, Turn},
    ids::{
        CoordinatorId, DeadLetterId, ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, Token,
        WorkerId, WorkflowId,
    },
    time::Timestamp,
    wire::{RequestBody, WorkerRecord},
    workflow::Priority,
};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is unreachable or overloaded, and the deed was not done. Trying later may help.
    #[error("store unavailable")]
    Unavailable(#[source] Cause),
    /// The connection broke while the deed was under way: it may have been done. Read before repeating.
    #[error("the store did not say whether it was done")]
    Unknown(#[source] Cause),
    /// What was read is not what was written, or a statement is wrong: a fault of ours or of the disk.
    #[error("the store holds or was given something it cannot")]
    Corrupt(#[source] Cause),
}

impl StoreError {
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Corrupt(_))
    }
}

/// The whole store.
pub trait Store:
    Journal
    + Timers
    + Sweeps
    + Library
    + Versions
    + Views
    + Members
    + Payloads
    + DeadLetters
    + People
    + Triggers
    + History
    + Rates
    + StepCache
    + Documents
    + Accounts
{
}
impl<
    T: Journal
        + Timers
        + Sweeps
        + Library
        + Versions
        + Views
        + Members
        + Payloads
        + DeadLetters
        + People
        + Triggers
        + History
        + Rates
        + StepCache
        + Documents
        + Accounts,
> Store for T
{
}

/// A store behind a pointer.
pub type DynStore = Arc<dyn Store>;

/// An execution on its way in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Turn 1, whose first event is [`crate::execution::Event::Accepted`].
    pub first: Turn,
    /// A key under which the same submission answers with the same execution for 24 hours, and the hash
    /// of what was submitted.
    pub idempotency: Option<(String, String)>,
    /// Payloads of another execution ([`Accepted::carries_from`](crate::execution::Accepted::carries_from)) that its first
    /// turn leads to. They get rows of their own in the same transaction, so that it stands when the other is forgotten.
    pub carries: Vec<PayloadId>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is durable.
    New,
    /// The idempotency key was used before with the same content: this is its execution.
    Repeated(ExecutionId),
    /// The idempotency key was used before with other content.
    KeyReused(ExecutionId),
    /// The workflow is gone or not this tenant's.
    NoWorkflow,
    /// The tenant has this many open executions, its quota.
    QuotaFull { open: u64 },
    /// A payload that it carries is not there any more.
    NothingToCarry,
}

/// A change of an execution's row that a turn makes.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusChange {
    pub status: Status,
    /// The reason, for `failed` and `cancelled`. For `running` why it will fail, kept until it ends.
    pub failure: Option<Failure>,
    pub output: Option<Payload>,
}

/// A timer set or removed by a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TimerChange {
    /// Replaces the timer with the same key. `token` fences a lease.
    Set {
        key: TimerKey,
        due_at: Timestamp,
        token: Option<Token>,
    },
    Clear {
        key: TimerKey,
    },
}

/// A finished attempt, for history and statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedTask {
    pub task: TaskKey,
    pub attempt: u32,
    pub kind: Arc<str>,
    /// `completed`, `failed` or `cancelled`.
    pub status: Status,
    pub failure_class: Option<String>,
    pub worker: Option<WorkerId>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// A turn, and what it changes beside the journal.
#[derive(Debug, Clone)]
pub struct Commit {
    pub turn: Turn,
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    pub change: Option<StatusChange>,
    pub timers: Vec<TimerChange>,
    /// Given back before anything is taken: the slots of these tasks, and their places in line; of the execution as
    /// a whole where there is no task.
    pub give: Vec<Option<TaskKey>>,
    /// All or none; when one is full the turn is not kept. Who takes a slot leaves its line.
    pub take: Vec<SlotClaim>,
    /// Places in line to be had; those that it has stay as they are. When one need not wait the turn is not kept.
    pub wait: Vec<SlotClaim>,
    /// Gives back every slot the execution holds or waits for and removes its timers (terminal turns).
    pub release: bool,
    /// Whether the execution has ever asked people or waited for an event: with `release`, what is left of that
    /// ends too.
    pub has_asked: bool,
    pub finished: Vec<FinishedTask>,
    /// The request this turn answers; its row goes.
    pub request: Option<RequestId>,
    /// When the sweep should look at the execution again; absent leaves it as it is. Terminal turns clear it.
    pub sweep_at: Option<Timestamp>,
    /// What people are asked, as it stands after this turn. Those still open end with the execution.
    pub people: Vec<HumanTaskChange>,
    /// Events that are waited for. Those of the execution end with it.
    pub waits: Vec<WaitChange>,
    /// Results that other executions of the workflow may use.
    pub cache: Vec<CacheEntry>,
}

impl Commit {
    /// Whether the execution as a whole waits in no line any more, though it takes no place.
    pub fn leaves_its_line(&self) -> bool {
        self.give.contains(&None) && self.wait.iter().all(|claim| claim.task.is_some())
    }
}

/// What people are asked, in their inbox: a projection of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct HumanTaskChange {
    pub task: TaskKey,
    pub ask: PersonAsk,
    /// Whom it is with now: those asked, after delegation and escalation.
    pub assignees: Vec<String>,
    pub claimed_by: Option<String>,
    pub answers: Vec<Answer>,
    pub status: HumanTaskStatus,
    pub created_at: Timestamp,
    /// When those asked were last reminded.
    pub reminded_at: Option<Timestamp>,
}

/// Where a human task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HumanTaskStatus {
    Open,
    Approved,
    Rejected,
    Submitted,
    Expired,
    /// Its scope or execution ended first.
    Cancelled,
}

impl HumanTaskStatus {
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Approved, Self::Rejected, Self::Submitted, Self::Expired, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Submitted => "submitted",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A component begins or ends to wait for an event.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitChange {
    Open {
        task: TaskKey,
        event: String,
        key: String,
        /// Events at or after this instant count.
        early: Timestamp,
    },
    Close {
        task: TaskKey,
    },
}

/// Turns of one journal that are held in memory at once.
pub const JOURNAL_PAGE: u32 = 200;

/// What became of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    Committed,
    /// Another turn holds that sequence number: load the execution again and decide again.
    Superseded,
    /// A slot to be taken is full, or one to be waited for is free: what stands about these keys. Nothing changed.
    Refused {
        full: HashMap<String, FullSlot>,
    },
}

/// Some turns of an execution as they lie in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// In order, from the first asked for, without a gap.
    pub turns: Vec<Turn>,
}

impl Stored {
    /// The last turn of a page, when there may be further ones after it.
    pub fn goes_on(&self, most: u32) -> Option<u32> {
        self.turns.last().filter(|_| self.turns.len() >= most as usize).map(|turn| turn.seq)
    }
}

/// A result that came too late to count, or a second time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LateResult {
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub attempt: u32,
    pub dispatch: u32,
    pub worker: WorkerId,
    pub at: Timestamp,
    /// What the result was: `completed`, `failed`, `lost`, `returned`; `stopped` for a copy that gave none.
    pub ending: String,
    /// Why it was dropped.
    pub reason: String,
}

/// Executions and their journals.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The store's present, by which timers and leases are compared.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Keeps each submission whole or not at all, with its idempotency key, and answers in order.
    ///
    /// Several callers at once share a transaction. `quota` is the largest number of open executions a
    /// tenant may have.
    async fn accept(&self, submissions: Vec<Submission>, quota: u64) -> Result<Vec<Submitted>, StoreError>;

    /// Keeps each turn whole or not at all, all of them in one transaction, and answers in order.
    ///
    /// A turn is kept only if its `seq` is exactly one more than the execution's last. One refused turn
    /// takes no other execution's with it, but every later one of its own in the same call: they were
    /// decided on top of it. When the answer is [`StoreError::Unknown`], read before repeating.
    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Kept>, StoreError>;

    /// A page of each of these journals: at most `most` turns, those after turn `after`. Answers in the order
    /// asked; `None` for what has no such turns. A journal may be far longer than memory: read it in pages of
    /// [`JOURNAL_PAGE`], and keep what they fold to.
    async fn load(
        &self,
        executions: &[ExecutionId],
        after: u32,
        most: u32,
    ) -> Result<Vec<Option<Stored>>, StoreError>;

    /// The canonical text of a snapshot.
    async fn snapshot(&self, hash: &str) -> Result<Option<String>, StoreError>;

    /// Keeps the canonical text of what is run without being a version.
    async fn snapshot_put(&self, hash: &str, canonical: &str) -> Result<(), StoreError>;

    /// Executions that wait in line for this slot key and for which there is a place, in their order, each once.
    async fn next_in_line(&self, key: &str, limit: u32) -> Result<Vec<ExecutionId>, StoreError>;

    /// Keeps what came too late, beside the journal.
    async fn record_late(&self, late: Vec<LateResult>) -> Result<(), StoreError>;
}

/// A timer that is due, or soon will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTimer {
    pub execution: ExecutionId,
    pub key: TimerKey,
    pub due_at: Timestamp,
    pub token: Option<Token>,
}

/// A lease to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRenewal {
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub token: Token,
}

/// Timers and leases.
#[async_trait]
pub trait Timers: Send + Sync {
    /// Timers of these shards due at or before `until`, the longest overdue first.
    async fn timers_due(
        &self,
        shards: &[Shard],
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueTimer>, StoreError>;

    /// Moves each lease to `until` if its token is the holder's and it has not run out; answers in order
    /// whether it did.
    async fn renew_leases(
        &self,
        renewals: Vec<LeaseRenewal>,
        until: Timestamp,
    ) -> Result<Vec<bool>, StoreError>;
}

/// What the API accepted for an execution under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: RequestId,
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub body: RequestBody,
    pub at: Timestamp,
}

/// The safety net, and what the API accepts beside submissions.
#[async_trait]
pub trait Sweeps: Send + Sync {
    /// Open executions of these shards that the sweep should look at now, oldest first; each is put off so that the
    /// next sweep finds others: by 15 s, and twice as long each time, up to 30 min, until a commit or
    /// [`Sweeps::sweep_again`] says when to look.
    async fn sweep_due(&self, shards: &[Shard], limit: u32) -> Result<Vec<ExecutionId>, StoreError>;

    /// Makes every open execution of these shards due for a sweep at once: the queue has lost everything.
    async fn sweep_all(&self, shards: &[Shard]) -> Result<u64, StoreError>;

    /// As [`Journal::next_in_line`], over all keys: whoever freed their places did not live to say so.
    async fn lines_at_rest(&self, limit: u32) -> Result<Vec<ExecutionId>, StoreError>;

    /// When the sweep should look at these executions again.
    async fn sweep_again(&self, at: Vec<(ExecutionId, Timestamp)>) -> Result<(), StoreError>;

    /// Nothing is left to be done about the ends of these executions: the sweep need not look at them.
    async fn sweep_done(&self, ended: &[ExecutionId]) -> Result<(), StoreError>;

    /// Keeps a request. Answers `false`, and keeps nothing, when the execution is unknown or ended.
    async fn request(&self, request: Request) -> Result<bool, StoreError>;

    /// Requests of these shards older than `age`, oldest first: their hint was lost.
    async fn requests_waiting(
        &self,
        shards: &[Shard],
        age: Duration,
        limit: u32,
    ) -> Result<Vec<Request>, StoreError>;

    /// Removes a request that came to nothing (its execution had ended).
    async fn forget_request(&self, id: RequestId) -> Result<(), StoreError>;

    /// How late the sweep is: the age of the oldest execution due for it.
    async fn sweep_lag(&self) -> Result<Duration, StoreError>;

    /// Makes partitions ahead and removes idempotency keys and cached results that have run out.
    async fn maintain(&self) -> Result<(), StoreError>;
}

/// A workflow with its newest version.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRow {
    pub id: WorkflowId,
    pub tenant: TenantId,
    /// Unique among the tenant's workflows.
    pub name: String,
    pub description: String,
    pub category: String,
    pub tags: Vec<String>,
    /// `active` or `archived`.
    pub status: String,
    /// The newest version's number, from 1.
    pub version: u32,
    pub hash: String,
    /// The document as its author wrote it (YAML or JSON).
    pub document: String,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A version on its way in.
#[derive(Debug, Clone)]
pub struct WorkflowDraft {
    pub id: WorkflowId,
    pub tenant: TenantId,
    pub name: String,
    pub description: String,
    pub category: String,
    pub tags: Vec<String>,
    pub document: String,
    pub hash: String,
    /// The canonical text under `hash`; kept once.
    pub snapshot: String,
    /// What starts it by itself; kept in the same transaction.
    pub triggers: Vec<TriggerDraft>,
    /// The revision of the draft it was published from. That goes in the same transaction; one changed meanwhile stays,
    /// and follows the new version.
    pub publishes: Option<u32>,
    pub principal: String,
    pub at: Timestamp,
}

/// What became of a draft.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    Created(WorkflowRow),
    /// A new version, or the same one when the hash did not change.
    Updated(WorkflowRow),
    /// Another workflow of the tenant has that name.
    NameTaken(WorkflowId),
    /// No workflow with that id.
    Missing,
    /// The workflow is not at the version the caller saw; this is the one it is at.
    Stale(u32),
}

/// A page of a list. Pages neither skip nor repeat while rows are added.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Where the last page ended; absent for the first.
    pub after: Option<String>,
    /// At most this many (1 to 500).
    pub limit: u32,
}

/// Some of a list, and where to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default)]
pub struct WorkflowFilter {
    pub category: Option<String>,
    pub status: Option<String>,
    pub tag: Option<String>,
    /// Part of name or description, whatever the case.
    pub search: Option<String>,
}

/// Workflows and their versions.
#[async_trait]
pub trait Library: Send + Sync {
    /// Keeps a new workflow as version 1.
    async fn workflow_create(&self, draft: WorkflowDraft) -> Result<Saved, StoreError>;
    /// Keeps the next version, or only the other fields when the hash is unchanged.
    async fn workflow_update(&self, draft: WorkflowDraft, expected: Option<u32>)
    -> Result<Saved, StoreError>;
    /// Archives a workflow: it takes no new executions, its executions stay. `false` when there is none.
    async fn workflow_delete(&self, tenant: TenantId, id: WorkflowId) -> Result<bool, StoreError>;
    async fn workflow_get(&self, tenant: TenantId, id: WorkflowId)
    -> Result<Option<WorkflowRow>, StoreError>;
    async fn workflow_by_name(&self, tenant: TenantId, name: &str)
    -> Result<Option<WorkflowRow>, StoreError>;
    /// The hash of a version's snapshot.
    async fn workflow_hash(
        &self,
        tenant: TenantId,
        id: WorkflowId,
        version: u32,
    ) -> Result<Option<String>, StoreError>;
    /// Newest first.
    async fn workflow_list(
        &self,
        tenant: TenantId,
        filter: WorkflowFilter,
        page: Page,
    ) -> Result<Paged<WorkflowRow>, StoreError>;
}

/// An execution's row: a projection of its journal, written in the same transactions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionRow {
    pub id: ExecutionId,
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    pub workflow_name: String,
    pub version: u32,
    pub status: Status,
    pub priority: Priority,
    pub tags: Vec<String>,
    pub principal: String,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The slot it waits for.
    pub blocked_by: Option<String>,
    /// Why it ended as it did; of an open one, why it will fail.
    pub failure: Option<Failure>,
    pub output: Option<Payload>,
    /// The execution it does again.
    pub retry_of: Option<ExecutionId>,
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    pub workflow: Option<WorkflowId>,
    pub status: Vec<Status>,
    /// Only open ones that will fail.
    pub failing: bool,
    pub tag: Option<String>,
    pub created_from: Option<Timestamp>,
    pub created_to: Option<Timestamp>,
}

/// A row that stands where it should not, found by comparing tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The invariant, such as `I2`.
    pub invariant: String,
    pub execution: Option<ExecutionId>,
    pub message: String,
}

/// What people look at.
/// A span of time, cut into slots of equal length; `to` is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatisticsSpan {
    pub from: Timestamp,
    pub to: Timestamp,
    pub slot: Duration,
}

/// What became of the executions that were accepted in one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatisticsSlot {
    /// Its number, from 0.
    pub slot: u32,
    pub accepted: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// From start to end, of those that have ended: as half of them at most, and as 95 % of them.
    pub ran_p50: Option<Duration>,
    pub ran_p95: Option<Duration>,
    /// From acceptance to start, of those that have started.
    pub waited_p95: Option<Duration>,
}

#[async_trait]
pub trait Views: Send + Sync {
    async fn execution_get(
        &self,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<Option<ExecutionRow>, StoreError>;
    /// Newest first.
    async fn execution_list(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
        page: Page,
    ) -> Result<Paged<ExecutionRow>, StoreError>;
    /// Those that do an execution again, newest first.
    async fn execution_retries(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError>;
    /// Turns after `seq`, in order; none when the execution is not this tenant's.
    async fn execution_turns(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Turn>, StoreError>;
    /// Its timers, soonest first.
    async fn execution_timers(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<DueTimer>, StoreError>;
    /// Its results that came too late, in order of arrival.
    async fn execution_late(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<LateResult>, StoreError>;
    /// How many executions there are in each status, over all tenants.
    async fn execution_counts(&self) -> Result<Vec<(Status, u64)>, StoreError>;
    /// How many open executions a tenant has in each status.
    async fn execution_open(&self, tenant: TenantId) -> Result<Vec<(Status, u64)>, StoreError>;
    /// What became of the executions of a tenant that were accepted in a span of time, by slots of equal length. Slots
    /// in which nothing was accepted are left out.
    async fn execution_statistics(
        &self,
        tenant: TenantId,
        span: StatisticsSpan,
        workflow: Option<WorkflowId>,
    ) -> Result<Vec<StatisticsSlot>, StoreError>;
    /// Who holds a slot key and who waits for it, at most `limit` of each.
    async fn slot_owners(&self, key: &str, limit: u32) -> Result<SlotOwners, StoreError>;
    /// Executions after `after` in id order, over all tenants, for the audit.
    async fn audit_page(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError>;
    /// What comparing small tables with executions shows to be wrong: slots, timers, questions and waits of executions
    /// that are not open.
    async fn audit_tables(&self) -> Result<Vec<Finding>, StoreError>;
    /// Executions after `after`, up to `until`, that have a journal and no row, in id order.
    async fn audit_headless(
        &self,
        after: Option<ExecutionId>,
        until: Option<ExecutionId>,
    ) -> Result<Vec<ExecutionId>, StoreError>;
}

/// Who is alive.
#[async_trait]
pub trait Members: Send + Sync {
    /// Says that a coordinator lives, and answers which do: those heard of within `expiry`.
    async fn coordinator_alive(
        &self,
        id: CoordinatorId,
        host: &str,
        expiry: Duration,
    ) -> Result<Vec<CoordinatorId>, StoreError>;
    /// Says that a coordinator leaves.
    async fn coordinator_gone(&self, id: CoordinatorId) -> Result<(), StoreError>;
    async fn worker_alive(&self, records: Vec<WorkerRecord>) -> Result<(), StoreError>;
    /// Workers heard of within `expiry`, with when that was.
    async fn workers(&self, expiry: Duration) -> Result<Vec<(WorkerRecord, Timestamp)>, StoreError>;
}

/// Bytes too large to travel.
#[async_trait]
pub trait Payloads: Send + Sync {
    async fn payload_put(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        id: PayloadId,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError>;
    /// Absent when it is not this execution's.
    async fn payload_get(&self, execution: ExecutionId, id: PayloadId)
    -> Result<Option<Vec<u8>>, StoreError>;
    /// At most `most` of its bytes, those after the first `from`; fewer at its end, none behind it. Absent when
    /// it is not this execution's.
    async fn payload_slice(
        &self,
        execution: ExecutionId,
        id: PayloadId,
        from: u64,
        most: u32,
    ) -> Result<Option<Vec<u8>>, StoreError>;
}

/// The bytes that stand for a list whose parts, lists themselves, lie in the payload store.
///
/// They begin with a byte that no JSON text begins with. [`payload_whole`] puts the list together.
pub fn list_of_parts(parts: &[PayloadId]) -> Vec<u8> {
    let mut bytes = vec![PARTS];
    for part in parts {
        bytes.extend_from_slice(part.as_uuid().as_bytes());
    }
    bytes
}

const PARTS: u8 = 1;

/// The parts that such bytes name; `None` for a JSON text.
pub fn parts_of(bytes: &[u8]) -> Option<Vec<PayloadId>> {
    let (&PARTS, ids) = bytes.split_first()? else { return None };
    ids.chunks(16).map(|id| uuid::Uuid::from_slice(id).ok().map(PayloadId::from_uuid)).collect()
}

/// The JSON text of a payload, put together when it lies there in parts.
pub async fn payload_whole(
    payloads: &(impl Payloads + ?Sized),
    execution: ExecutionId,
    id: PayloadId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(bytes) = payloads.payload_get(execution, id).await? else { return Ok(None) };
    let Some((&PARTS, ids)) = bytes.split_first() else { return Ok(Some(bytes)) };
    let mut whole = vec![b'['];
    for chunk in ids.chunks(16) {
        let part = uuid::Uuid::from_slice(chunk).map_err(|error| StoreError::Corrupt(error.into()))?;
        let part = PayloadId::from_uuid(part);
        let missing = || StoreError::Corrupt(format!("{part} of {id} is missing").into());
        let bytes = payloads.payload_get(execution, part).await?.ok_or_else(missing)?;
        let inner =
            bytes.strip_prefix(b"[").and_then(|bytes| bytes.strip_suffix(b"]")).ok_or_else(missing)?;
        if whole.len() > 1 && !inner.is_empty() {
            whole.push(b',');
        }
        whole.extend_from_slice(inner);
    }
    whole.push(b']');
    Ok(Some(whole))
}

/// A message nobody could use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    /// The queue it came from.
    pub queue: String,
    pub reason: String,
    pub at: Timestamp,
    pub execution: Option<ExecutionId>,
    pub message: Option<MessageId>,
    /// What was said beside the bytes.
    pub headers: Value,
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Which dead letters to list or remove. What is left out matters not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// The queue they came from.
    pub queue: Option<String>,
    /// Part of the reason, whatever the case.
    pub reason: Option<String>,
    pub execution: Option<ExecutionId>,
    /// Set aside before this instant.
    pub before: Option<Timestamp>,
}

/// What was set aside.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    async fn dead_letter_add(&self, letter: DeadLetter) -> Result<(), StoreError>;
    /// Newest first.
    async fn dead_letter_list(
        &self,
        filter: DeadLetterFilter,
        page: Page,
    ) -> Result<Paged<DeadLetter>, StoreError>;
    async fn dead_letter_get(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError>;
    /// `false` when there is none.
    async fn dead_letter_remove(&self, id: DeadLetterId) -> Result<bool, StoreError>;
    /// Removes those that match, the oldest first, at most `most` of them, and answers how many it were.
    async fn dead_letter_purge(&self, filter: DeadLetterFilter, most: u32) -> Result<u64, StoreError>;
}
