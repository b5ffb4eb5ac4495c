//! What becomes of executions after their end: how they are found, taken along and removed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Cause,
    store::{ExecutionRow, StoreError},
};
use crate::{
    execution::Status,
    ids::{CoordinatorId, ExecutionId, PayloadId, TenantId},
    time::Timestamp,
};

/// Which ended executions to find.
#[derive(Debug, Clone, Copy)]
pub struct EndedFilter {
    pub tenant: TenantId,
    /// `completed`, `failed` or `cancelled`.
    pub status: Status,
    /// Ended before this instant.
    pub before: Timestamp,
    /// Those with larger ids.
    pub after: Option<ExecutionId>,
    pub limit: u32,
}

/// An execution that ended, and how much there is of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub row: ExecutionRow,
    /// Turns in its journal.
    pub turns: u32,
}

/// How much was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub executions: u64,
    pub turns: u64,
    /// Rows of the task history.
    pub tasks: u64,
    pub payloads: u64,
    pub human_tasks: u64,
    /// Late results, dead letters, idempotency keys and unanswered requests.
    pub others: u64,
}

impl std::ops::AddAssign for Forgotten {
    fn add_assign(&mut self, more: Self) {
        self.executions += more.executions;
        self.turns += more.turns;
        self.tasks += more.tasks;
        self.payloads += more.payloads;
        self.human_tasks += more.human_tasks;
        self.others += more.others;
    }
}

/// Before which instant executions of each status must have ended to be removed; `None` keeps them for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub completed: Option<Timestamp>,
    pub failed: Option<Timestamp>,
    pub cancelled: Option<Timestamp>,
}

impl Limits {
    /// Each status with its instant, as far as anything of it may go.
    pub fn each(&self) -> impl Iterator<Item = (Status, Timestamp)> + use<> {
        let all = [
            (Status::Completed, self.completed),
            (Status::Failed, self.failed),
            (Status::Cancelled, self.cancelled),
        ];
        all.into_iter().filter_map(|(status, before)| Some((status, before?)))
    }
}

/// Executions whose ids were made in one span of time and lie together, so that they can go at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Month {
    pub name: String,
    /// The first instant after it.
    pub end: Timestamp,
}

/// What may be left of an execution that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    Payloads,
    LateResults,
    HumanTasks,
    DeadLetters,
}

impl Leftover {
    pub const ALL: [Self; 4] = [Self::Payloads, Self::LateResults, Self::HumanTasks, Self::DeadLetters];
}

/// An execution of which there are rows beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub execution: ExecutionId,
    /// How it stands; absent when the execution is gone.
    pub status: Option<Status>,
    pub finished_at: Option<Timestamp>,
}

/// Executions after their end. Sweeps over all tenants unless a tenant is named.
#[async_trait]
pub trait History: Send + Sync {
    /// Takes something that one process at a time does, or goes on holding it, for `hold` from now. Answers the
    /// note that was left of it; `None` while somebody else holds it.
    async fn chore_take(
        &self,
        chore: &str,
        holder: CoordinatorId,
        hold: Duration,
    ) -> Result<Option<String>, StoreError>;

    /// Leaves a note for whoever takes the chore next. `false`, and nothing is changed, when another has it.
    async fn chore_note(&self, chore: &str, holder: CoordinatorId, note: &str) -> Result<bool, StoreError>;

    /// Everybody who may have executions.
    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError>;

    /// Ended executions, by id. Those of whose end somebody is still to be told are left out.
    async fn ended(&self, filter: EndedFilter) -> Result<Vec<Ended>, StoreError>;

    /// Open executions of a tenant that were accepted before an instant, by id, those after `after`.
    async fn open_before(
        &self,
        tenant: TenantId,
        before: Timestamp,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError>;

    /// Those of these executions that are open.
    async fn open_among(&self, executions: &[ExecutionId]) -> Result<Vec<ExecutionId>, StoreError>;

    /// Removes executions with everything of theirs, in one transaction; and what is left of those that are gone.
    ///
    /// Open ones, those of whose end somebody is still to be told, and those that another transaction holds stay as
    /// they are, whole.
    async fn forget(&self, executions: &[ExecutionId]) -> Result<Forgotten, StoreError>;

    /// The months that ended before an instant, oldest first; none where executions do not lie by month.
    async fn months(&self, before: Timestamp) -> Result<Vec<Month>, StoreError>;

    /// Removes a month at once, if everything in it ended before these limits and nobody is to be told of an end.
    /// What lies beside it is left over: see [`History::owners`]. `None`, and nothing is changed, when something in it
    /// must stay, or others use it at this moment.
    async fn forget_month(&self, month: &Month, limits: Limits) -> Result<Option<Forgotten>, StoreError>;

    /// Executions accepted before an instant of which there are such rows, by id, those after `after`.
    async fn owners(
        &self,
        of: Leftover,
        before: Timestamp,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<Owner>, StoreError>;

    /// The payloads of an execution by id, those after `after`.
    async fn payload_list(
        &self,
        execution: ExecutionId,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<PayloadId>, StoreError>;

    /// Removes some payloads of an execution that has ended, and answers how many there were.
    async fn payload_drop(&self, execution: ExecutionId, ids: &[PayloadId]) -> Result<u64, StoreError>;
}

/// Why an archive could not keep what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the archive {place} cannot be written")]
pub struct ArchiveError {
    pub place: String,
    #[source]
    pub source: Cause,
}

/// Where executions are written before they are removed: one JSON text a line.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Begins a part of the file of a day. What is begun and never kept is as if it had never been.
    async fn begin(&self, at: Timestamp) -> Result<Box<dyn ArchivePart>, ArchiveError>;

    /// Puts the parts of each day that is over together to one file.
    async fn close_days(&self, now: Timestamp) -> Result<(), ArchiveError>;
}

/// Some lines on their way into an archive.
#[async_trait]
pub trait ArchivePart: Send {
    /// Adds bytes; a line may come in several pieces and ends with `\n`.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError>;

    /// Keeps what was written: it survives a power cut once this answers.
    async fn keep(self: Box<Self>) -> Result<(), ArchiveError>;
}

/// An archive behind a pointer.
pub type DynArchive = Arc<dyn Archive>;
