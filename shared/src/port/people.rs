//! What people and events need of the store: the inbox of human tasks, who waits for which event, keys, and
//! what became of a request.
//!
//! Human tasks and waits are projections of the journal: [`super::store::Journal::commit`] writes them, in the
//! transaction of the turn that says so. Here they are only read.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::store::{HumanTaskStatus, Paged, StoreError};
use crate::{
    component::{Notice, control::Urgency},
    execution::{Answer, PersonAsk, PersonKind, Received, TaskKey},
    ids::{ExecutionId, HumanTaskId, MessageId, NotificationId, RequestId, Shard, TenantId, WorkflowId},
    time::Timestamp,
    wire::{InboxBody, InboxMessage},
};

/// Everything of this module.
pub trait People: HumanTasks + Notifications + EventWaits + Requests + Keys {}
impl<T: HumanTasks + Notifications + EventWaits + Requests + Keys> People for T {}

/// What people are asked, as it stands after the last turn that changed it.
#[derive(Debug, Clone, PartialEq)]
pub struct HumanTaskRow {
    pub id: HumanTaskId,
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub workflow: WorkflowId,
    pub workflow_name: String,
    /// Who started the execution.
    pub requester: String,
    pub ask: PersonAsk,
    /// Whom it is with now, after delegation and escalation.
    pub assignees: Vec<String>,
    pub claimed_by: Option<String>,
    pub answers: Vec<Answer>,
    pub status: HumanTaskStatus,
    pub created_at: Timestamp,
    pub reminded_at: Option<Timestamp>,
    /// When it was answered, expired or cancelled.
    pub ended_at: Option<Timestamp>,
}

impl HumanTaskRow {
    /// Where it stands in an inbox: the most urgent first, among equals the oldest.
    pub const fn urgency_number(urgency: Urgency) -> i32 {
        match urgency {
            Urgency::High => 0,
            Urgency::Normal => 1,
            Urgency::Low => 2,
        }
    }

    /// Since when those who have it are asked, or asked again.
    pub fn round_at(&self) -> Timestamp {
        self.reminded_at.unwrap_or(self.created_at)
    }

    pub fn cursor(&self) -> HumanTaskCursor {
        HumanTaskCursor {
            urgency: Self::urgency_number(self.ask.urgency),
            created_at: self.created_at,
            id: self.id,
        }
    }
}

/// Where a page of human tasks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanTaskCursor {
    pub urgency: i32,
    pub created_at: Timestamp,
    pub id: HumanTaskId,
}

impl fmt::Display for HumanTaskCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.urgency, self.created_at.as_micros(), self.id.as_uuid())
    }
}

/// The text is no cursor of a list of human tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of human tasks")]
pub struct NoCursor;

impl FromStr for HumanTaskCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(NoCursor);
        Ok(Self {
            urgency: next()?.parse().map_err(|_| NoCursor)?,
            created_at: Timestamp::from_micros(next()?.parse().map_err(|_| NoCursor)?),
            id: next()?.parse().map_err(|_| NoCursor)?,
        })
    }
}

/// Which human tasks to list.
#[derive(Debug, Clone, Default)]
pub struct HumanTaskFilter {
    /// Those with any of these assignees; absent for everybody's.
    pub assignees: Option<Vec<String>>,
    /// Absent for all.
    pub status: Option<HumanTaskStatus>,
    pub execution: Option<ExecutionId>,
    pub workflow: Option<WorkflowId>,
    pub kind: Option<PersonKind>,
}

/// A page of human tasks.
#[derive(Debug, Clone, Copy, Default)]
pub struct HumanTaskPage {
    pub after: Option<HumanTaskCursor>,
    /// At most this many (1 to 500).
    pub limit: u32,
}

/// A question that is to be mailed.
#[derive(Debug, Clone, PartialEq)]
pub struct MailClaim {
    pub row: HumanTaskRow,
    /// When it was asked, reminded of, or given to others, whichever came last.
    pub asked_at: Timestamp,
    /// Those who have had their mail in this round ([`HumanTaskRow::round_at`]).
    pub mailed: Vec<String>,
}

/// The inbox.
#[async_trait]
pub trait HumanTasks: Send + Sync {
    async fn human_task_get(
        &self,
        tenant: TenantId,
        id: HumanTaskId,
    ) -> Result<Option<HumanTaskRow>, StoreError>;

    /// Open ones as they stand in an inbox: the most urgent first, among equals the oldest. With any other
    /// filter than `open`, the newest first.
    async fn human_task_list(
        &self,
        tenant: TenantId,
        filter: HumanTaskFilter,
        page: HumanTaskPage,
    ) -> Result<Paged<HumanTaskRow>, StoreError>;

    /// Takes open ones, over all tenants, for which no mails were sent since they were asked, reminded of or given
    /// to others, the oldest first. Nobody else gets them until `stale` after `now`.
    async fn mails_claim(
        &self,
        now: Timestamp,
        stale: Duration,
        limit: u32,
    ) -> Result<Vec<MailClaim>, StoreError>;

    /// Says that the mails of an asking ([`MailClaim::asked_at`]) are sent, or need not be, and who has had one in
    /// this round.
    async fn mails_done(
        &self,
        id: HumanTaskId,
        asked_at: Timestamp,
        mailed: Vec<String>,
    ) -> Result<(), StoreError>;
}

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub notice: Notice,
    pub created_at: Timestamp,
    pub read_at: Option<Timestamp>,
}

impl NotificationRow {
    pub fn cursor(&self) -> NotificationCursor {
        NotificationCursor { created_at: self.created_at, id: self.notice.id }
    }
}

/// Where a page of notifications ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotificationCursor {
    pub created_at: Timestamp,
    pub id: NotificationId,
}

impl fmt::Display for NotificationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.as_micros(), self.id.as_uuid())
    }
}

impl FromStr for NotificationCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (at, id) = text.split_once('.').ok_or(NoCursor)?;
        Ok(Self {
            created_at: Timestamp::from_micros(at.parse().map_err(|_| NoCursor)?),
            id: id.parse().map_err(|_| NoCursor)?,
        })
    }
}

/// A page of notifications.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotificationPage {
    pub after: Option<NotificationCursor>,
    /// At most this many (1 to 500).
    pub limit: u32,
}

/// What people are told.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// Keeps them, whole or not at all. One that is there already stays as it is.
    async fn notification_add(&self, rows: Vec<NotificationRow>) -> Result<(), StoreError>;

    /// Those for any of these names, the newest first.
    async fn notification_list(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        unread_only: bool,
        page: NotificationPage,
    ) -> Result<Paged<NotificationRow>, StoreError>;

    /// Says that one for any of these names was read, and gives it. What was read before keeps its instant.
    async fn notification_read(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        id: NotificationId,
        at: Timestamp,
    ) -> Result<Option<NotificationRow>, StoreError>;

    /// Removes those from before an instant, at most `limit`. Answers whether there may be more.
    async fn notifications_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError>;
}

/// A component that waits for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventWait {
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub event: String,
    pub key: String,
    /// Events at or after this instant count.
    pub early: Timestamp,
}

impl EventWait {
    /// What tells the execution of an event that came while it waits. The same event is one cause, however often
    /// it is told.
    pub fn hint(&self, event: &Received) -> InboxMessage {
        let name = format!("event/{}/{}/{}", self.task, event.source, event.id);
        let body = InboxBody::Event {
            execution: self.execution,
            task: self.task.clone(),
            event: Box::new(event.clone()),
        };
        let id = MessageId::derived(self.execution, &name);
        InboxMessage { id, shard: Shard::of(self.execution), body }
    }
}

/// Who waits for which event.
#[async_trait]
pub trait EventWaits: Send + Sync {
    /// Those of the tenant that wait for this type with this key, in the order of executions and tasks.
    async fn waits_for(&self, tenant: TenantId, event: &str, key: &str)
    -> Result<Vec<EventWait>, StoreError>;

    /// What an execution of the tenant waits for, in the order of tasks.
    async fn wait_list(&self, tenant: TenantId, execution: ExecutionId)
    -> Result<Vec<EventWait>, StoreError>;
}

/// What became of a key under which something is asked for once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTaken {
    /// Nobody had it.
    New,
    /// It stands for the same content.
    Same,
    /// It stands for other content.
    Other,
}

/// What became of requests.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Whether no turn has answered the request yet and nobody has forgotten it.
    async fn request_waits(&self, id: RequestId) -> Result<bool, StoreError>;

    /// Whether a turn of the execution has this cause.
    async fn was_caused(&self, execution: ExecutionId, cause: MessageId) -> Result<bool, StoreError>;

    /// Takes an idempotency key for a day, for content with this hash. It is one of those that
    /// [`super::store::Journal::accept`] knows.
    async fn key_take(
        &self,
        tenant: TenantId,
        key: &str,
        hash: &str,
        execution: ExecutionId,
        now: Timestamp,
    ) -> Result<KeyTaken, StoreError>;
}

/// Keys of the installation, and what may be used once.
#[async_trait]
pub trait Keys: Send + Sync {
    /// The key with this name: `fresh` if there was none. All callers get the same.
    async fn key_or(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError>;

    /// Uses a nonce. `false` when it was used before. It is remembered until `expires_at` at least.
    async fn nonce_use(&self, nonce: Uuid, expires_at: Timestamp) -> Result<bool, StoreError>;

    /// Gives a nonce back whose use came to nothing.
    async fn nonce_free(&self, nonce: Uuid) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let cursor = HumanTaskCursor {
            urgency: 2,
            created_at: Timestamp::from_micros(1_700_000_000_000_001),
            id: HumanTaskId::generate(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!("1.2".parse::<HumanTaskCursor>(), Err(NoCursor));
        assert_eq!("x.2.y".parse::<HumanTaskCursor>(), Err(NoCursor));
    }

    #[test]
    fn an_event_told_again_is_the_same_cause() {
        let wait = EventWait {
            execution: ExecutionId::generate(),
            task: TaskKey::of("hear".into()),
            event: "paid".to_owned(),
            key: "k".to_owned(),
            early: Timestamp::from_micros(10),
        };
        let event = |id: &str| Received {
            id: id.to_owned(),
            kind: "paid".to_owned(),
            source: "shop".to_owned(),
            // By the sender's clock, which says nothing about when it came.
            time: Timestamp::from_micros(0),
            key: Some("k".to_owned()),
            body: serde_json::Value::Null,
        };
        let told = wait.hint(&event("1"));
        assert_eq!(told.shard, Shard::of(wait.execution));
        assert_eq!(wait.hint(&event("1")), told);
        assert_ne!(wait.hint(&event("2")).id, told.id);
        let other = EventWait { task: TaskKey::of("other".into()), ..wait };
        assert_ne!(other.hint(&event("1")).id, told.id);
    }

    #[test]
    fn an_id_belongs_to_its_execution_and_task() {
        let (one, other) = (ExecutionId::generate(), ExecutionId::generate());
        assert_eq!(HumanTaskId::derived(one, "ask[1]"), HumanTaskId::derived(one, "ask[1]"));
        assert_ne!(HumanTaskId::derived(one, "ask[1]"), HumanTaskId::derived(one, "ask[2]"));
        assert_ne!(HumanTaskId::derived(one, "ask"), HumanTaskId::derived(other, "ask"));
    }
}
