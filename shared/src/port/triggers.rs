//! Triggers in the store: what is due, what came in, what was started. Part of [`super::store`].

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::{Page, Paged, StoreError, Submission, Submitted};
use crate::{
    execution::Received,
    ids::{BackfillId, ExecutionId, ReceiptId, TenantId, TriggerId, WorkflowId},
    time::Timestamp,
};

/// How long a dedupe key starts one execution.
pub const KEY_LIFE: Duration = Duration::from_hours(7 * 24);
/// How the keys of files begin that stay where they are. They do not run out: the file may lie there for years.
pub const KEPT_FILE: &str = "kept file ";

/// A trigger on its way in, with the version it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerDraft {
    /// Its id in the document.
    pub name: String,
    /// The canonical type.
    pub kind: String,
    pub enabled: bool,
    /// What it is: with another hash it begins anew.
    pub hash: String,
    /// When it is due first, if time starts it.
    pub next_fire_at: Option<Timestamp>,
}

/// A trigger of a workflow's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRow {
    pub id: TriggerId,
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    pub workflow_name: String,
    /// The version of the workflow.
    pub version: u32,
    /// The hash of the workflow's snapshot.
    pub snapshot: String,
    pub name: String,
    pub kind: String,
    pub enabled: bool,
    pub paused: bool,
    /// What is wrong with it, if something is: `degraded` and why.
    pub trouble: Option<String>,
    /// Since when.
    pub trouble_since: Option<Timestamp>,
    /// Up to where time has been looked at.
    pub last_fire_at: Option<Timestamp>,
    /// When it is due next.
    pub next_fire_at: Option<Timestamp>,
    /// Whether it has an address.
    pub has_address: bool,
    pub updated_at: Timestamp,
}

impl TriggerRow {
    /// Whether it may start anything.
    pub fn is_active(&self) -> bool {
        self.enabled && !self.paused
    }
}

/// Which triggers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TriggerFilter {
    pub workflow: Option<WorkflowId>,
    pub kind: Option<String>,
}

/// What became of a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FireOutcome {
    Started,
    Skipped,
    /// It waits until earlier executions have ended.
    Pending,
}

impl FireOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Skipped => "skipped",
            Self::Pending => "pending",
        }
    }
}

/// One fire of a schedule; unique by trigger and instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FireRow {
    pub trigger: TriggerId,
    pub at: Timestamp,
    /// The last instant of a span of fires that were skipped together.
    pub until: Option<Timestamp>,
    pub outcome: FireOutcome,
    pub reason: String,
    pub execution: Option<ExecutionId>,
    pub backfill: Option<BackfillId>,
    pub recorded_at: Timestamp,
}

/// What is to be kept of one fire.
#[derive(Debug, Clone)]
pub struct Fire {
    pub at: Timestamp,
    pub until: Option<Timestamp>,
    pub reason: String,
    /// What it starts; absent for a fire that is skipped or pending.
    pub submission: Option<Submission>,
    pub pending: bool,
}

/// On whose behalf fires are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// The schedule itself: kept only if nobody has moved it since it was read.
    Schedule {
        seen_last: Option<Timestamp>,
        seen_next: Option<Timestamp>,
        last: Option<Timestamp>,
        next: Option<Timestamp>,
    },
    /// A backfill: kept only if it runs and nobody has moved it since it was read.
    Backfill { id: BackfillId, seen: Option<Timestamp>, cursor: Option<Timestamp>, is_done: bool },
}

/// Some fires of one trigger, kept whole or not at all.
#[derive(Debug, Clone)]
pub struct ScheduleStep {
    pub tenant: TenantId,
    pub trigger: TriggerId,
    pub cursor: Cursor,
    pub fires: Vec<Fire>,
    pub at: Timestamp,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKept {
    /// It is durable, with these executions. Fires that had started before are not started again.
    Kept { started: Vec<ExecutionId> },
    /// Somebody else was first, or the trigger is paused or gone: nothing was kept.
    Superseded,
    /// An execution was refused: nothing was kept.
    Refused(Submitted),
}

/// What came in, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub id: ReceiptId,
    pub tenant: TenantId,
    pub trigger: TriggerId,
    pub key: Option<String>,
    pub execution: Option<ExecutionId>,
    pub received_at: Timestamp,
    /// `started`; `gathered`: it waits for others; `superseded`: a newer one came in its place; `parked`: it can be
    /// looked at and replayed; or `refused`: nothing else is kept of it.
    pub outcome: String,
    /// Why it started nothing; or what is to be known about what it started.
    pub error: Option<String>,
    /// What came in, for what is parked or gathered.
    pub event: Option<Value>,
    /// The bytes of what could not be read.
    pub bytes: Option<Vec<u8>>,
}

/// A receipt, and what it starts.
#[derive(Debug, Clone)]
pub struct TriggerStart {
    pub receipt: Receipt,
    /// Absent for what is parked or gathered.
    pub submission: Option<Submission>,
    /// How it waits for others, when its receipt says `gathered`.
    pub gather: Option<Gather>,
}

/// How events wait to start one execution together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Until none has come for so long; the newest counts.
    Debounce(Duration),
    /// Until there are so many of them, or so long after the first.
    Batch { size: u32, within: Duration },
}

impl Gather {
    /// Events that one execution takes, at most.
    pub const MOST: u32 = 1_000;
    /// A debounce puts a start off by at most so many times its time.
    const PUT_OFF: u32 = 10;

    /// How many events one start takes.
    pub const fn most(self) -> u32 {
        match self {
            Self::Debounce(_) => Self::MOST,
            Self::Batch { size, .. } => size,
        }
    }

    /// Since when events are gathered, and when that is over: after one has come, of `count` with it.
    pub fn came(self, since: Option<Timestamp>, count: u32, now: Timestamp) -> (Timestamp, Timestamp) {
        let since = since.unwrap_or(now);
        let due = match self {
            Self::Debounce(quiet) => now.after(quiet).min(since.after(quiet.saturating_mul(Self::PUT_OFF))),
            Self::Batch { size, .. } if count >= size => now,
            Self::Batch { within, .. } => since.after(within),
        };
        (since, due)
    }

    /// When what is left after a start is due.
    pub fn left(self, count: u32, now: Timestamp) -> Option<Timestamp> {
        (count > 0).then(|| self.came(None, count, now).1)
    }
}

/// What becomes of events that were gathered.
#[derive(Debug, Clone)]
pub struct GatheredStep {
    pub tenant: TenantId,
    pub trigger: TriggerId,
    /// As the trigger was seen: kept only if nobody has moved it since.
    pub seen_last: Option<Timestamp>,
    pub seen_next: Option<Timestamp>,
    /// The receipts of the events.
    pub receipts: Vec<ReceiptId>,
    pub gather: Gather,
    /// What they start; or why they are parked, each by itself.
    pub start: Result<Box<Submission>, String>,
    pub at: Timestamp,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerStarted {
    /// It is durable.
    New,
    /// The same key came before: this is its receipt.
    Duplicate(Box<Receipt>),
    /// Its execution was refused, and nothing of it was kept.
    Refused(Submitted),
    /// There is nothing to replay.
    Missing,
}

/// An event as it was published; unique by tenant, source and id.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    pub tenant: TenantId,
    pub id: String,
    pub kind: String,
    pub source: String,
    /// What correlates it with who waits for it.
    pub key: Option<String>,
    pub time: Timestamp,
    /// The whole event as triggers see it.
    pub event: Value,
    pub received_at: Timestamp,
    pub expires_at: Timestamp,
}

impl StoredEvent {
    /// As a component receives it.
    pub fn received(&self) -> Received {
        Received {
            id: self.id.clone(),
            kind: self.kind.clone(),
            source: self.source.clone(),
            time: self.time,
            key: self.key.clone(),
            body: self.event.get("body").cloned().unwrap_or_default(),
        }
    }
}

/// Whether an event is new, and what became of its starts.
#[derive(Debug, Clone, PartialEq)]
pub enum EventAdded {
    New(Vec<TriggerStarted>),
    /// The same event came before; nothing was done.
    Known,
}

/// Where a backfill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillStatus {
    Running,
    Paused,
    Completed,
    Cancelled,
}

impl BackfillStatus {
    pub const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Completed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Fires of the past that are to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    pub id: BackfillId,
    pub tenant: TenantId,
    pub trigger: TriggerId,
    /// Both included.
    pub from: Timestamp,
    pub to: Timestamp,
    pub newest_first: bool,
    /// So many of its executions are open at once.
    pub parallel: u32,
    pub reason: String,
    pub status: BackfillStatus,
    /// The fire that was looked at last.
    pub cursor: Option<Timestamp>,
    /// How many fires there are in the range.
    pub total: u64,
    pub started: u64,
    /// Those that had started before.
    pub skipped: u64,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Triggers, what came in through them, and what they started.
#[async_trait]
pub trait Triggers: Send + Sync {
    /// In the order of their ids.
    async fn trigger_list(
        &self,
        tenant: TenantId,
        filter: TriggerFilter,
        page: Page,
    ) -> Result<Paged<TriggerRow>, StoreError>;
    async fn trigger_get(&self, tenant: TenantId, id: TriggerId) -> Result<Option<TriggerRow>, StoreError>;
    /// The triggers of a type that may start something, over all tenants.
    async fn triggers_active(&self, kind: &str) -> Result<Vec<TriggerRow>, StoreError>;
    /// The trigger whose address has this hash.
    async fn trigger_at(&self, address: &[u8; 32]) -> Result<Option<TriggerRow>, StoreError>;
    /// Pauses a trigger, or lets it go on: then it is due at `next`, and what it missed is no catch-up.
    async fn trigger_pause(
        &self,
        tenant: TenantId,
        id: TriggerId,
        paused: bool,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
    /// Gives a trigger another address; the old one is unknown from now on.
    async fn trigger_address(
        &self,
        tenant: TenantId,
        id: TriggerId,
        address: [u8; 32],
    ) -> Result<bool, StoreError>;
    /// Says what is wrong with a trigger, or that nothing is any more. While something is wrong, whatever it is, it
    /// is so since it was first said.
    async fn trigger_trouble(&self, id: TriggerId, trouble: Option<String>) -> Result<(), StoreError>;

    /// The triggers that are due at or before `until`, the longest overdue first.
    async fn triggers_due(&self, until: Timestamp, limit: u32) -> Result<Vec<TriggerRow>, StoreError>;
    /// Keeps fires with the executions they start, all in one transaction.
    async fn schedule_step(&self, step: ScheduleStep, quota: u64) -> Result<StepKept, StoreError>;
    /// The open executions that fires of a trigger started.
    async fn trigger_open(&self, id: TriggerId) -> Result<Vec<ExecutionId>, StoreError>;
    /// The open executions that a backfill started.
    async fn backfill_open(&self, id: BackfillId) -> Result<u64, StoreError>;
    /// Fires that wait, oldest first.
    async fn fires_pending(&self, id: TriggerId) -> Result<Vec<Timestamp>, StoreError>;
    /// Newest first.
    async fn fire_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        page: Page,
    ) -> Result<Paged<FireRow>, StoreError>;
    /// How many executions a trigger has started since.
    async fn trigger_started_since(&self, id: TriggerId, since: Timestamp) -> Result<u64, StoreError>;

    /// Keeps each receipt with the execution it starts, whole or not at all, and answers in order.
    async fn trigger_start(
        &self,
        starts: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<Vec<TriggerStarted>, StoreError>;
    /// Starts what is parked: its receipt gets the execution.
    async fn receipt_replay(
        &self,
        tenant: TenantId,
        id: ReceiptId,
        submission: Submission,
        quota: u64,
    ) -> Result<TriggerStarted, StoreError>;
    /// The events that a trigger has gathered, oldest first.
    async fn gathered(&self, id: TriggerId, limit: u32) -> Result<Vec<Receipt>, StoreError>;
    /// Starts one execution with events that were gathered, or parks them, whole or not at all; the trigger is due
    /// again when there are more.
    async fn gathered_start(&self, step: GatheredStep, quota: u64) -> Result<StepKept, StoreError>;
    async fn receipt_get(&self, tenant: TenantId, id: ReceiptId) -> Result<Option<Receipt>, StoreError>;
    /// Newest first; without events and bytes.
    async fn receipt_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        outcome: Option<String>,
        page: Page,
    ) -> Result<Paged<Receipt>, StoreError>;

    /// Keeps an event and the starts that follow from it, all in one transaction.
    async fn event_add(
        &self,
        event: StoredEvent,
        starts: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<EventAdded, StoreError>;
    /// Events of a type and correlation key that came in at or after an instant, oldest first.
    async fn events_between(
        &self,
        tenant: TenantId,
        kind: &str,
        key: &str,
        from: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;
    async fn event_get(
        &self,
        tenant: TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError>;
    /// Newest first.
    async fn event_list(
        &self,
        tenant: TenantId,
        kind: Option<String>,
        page: Page,
    ) -> Result<Paged<StoredEvent>, StoreError>;

    async fn backfill_create(&self, backfill: Backfill) -> Result<(), StoreError>;
    async fn backfill_get(&self, tenant: TenantId, id: BackfillId) -> Result<Option<Backfill>, StoreError>;
    /// Newest first.
    async fn backfill_list(&self, tenant: TenantId, page: Page) -> Result<Paged<Backfill>, StoreError>;
    /// Running ones, over all tenants.
    async fn backfills_running(&self) -> Result<Vec<Backfill>, StoreError>;
    /// Moves one that has not ended; answers how it is then.
    async fn backfill_move(
        &self,
        tenant: TenantId,
        id: BackfillId,
        to: BackfillStatus,
    ) -> Result<Option<Backfill>, StoreError>;

    /// Removes events that have run out, and receipts and skipped fires from before an instant: at most `limit` of
    /// each. Answers whether there may be more. What is parked, and what has started, stays.
    async fn triggers_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_batch_is_due_when_it_is_full_or_old() {
        let batch = Gather::Batch { size: 3, within: Duration::from_mins(1) };
        assert_eq!(batch.came(None, 1, at(5)), (at(5), at(65)));
        assert_eq!(batch.came(Some(at(5)), 2, at(50)), (at(5), at(65)));
        assert_eq!(batch.came(Some(at(5)), 3, at(50)), (at(5), at(50)));
        assert_eq!(
            (batch.left(0, at(9)), batch.left(2, at(9)), batch.left(4, at(9))),
            (None, Some(at(69)), Some(at(9)))
        );
    }

    #[test]
    fn a_debounce_waits_for_quiet_and_not_for_ever() {
        let quiet = Gather::Debounce(Duration::from_secs(10));
        assert_eq!(quiet.came(None, 1, at(0)), (at(0), at(10)));
        assert_eq!(quiet.came(Some(at(0)), 5, at(60)), (at(0), at(70)));
        assert_eq!(quiet.came(Some(at(0)), 9, at(95)), (at(0), at(100)));
    }
}
