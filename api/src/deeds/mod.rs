//! What can be done. HTTP is a thin face over these; nothing here knows a header or a status code.
//!
//! Every deed takes the [`Caller`](crate::caller::Caller). A deed runs in the task that
//! `http::frame` spawns for its request, so a client that hangs up cancels nothing.

mod accept;
mod bulk;
mod catalogue;
pub(crate) mod clock;
mod dead_letters;
mod events;
mod executions;
mod folding;
mod forms;
mod hints;
mod hooks;
mod human_tasks;
mod journal;
mod links;
mod mails;
mod moves;
mod notifications;
mod payloads;
mod requests;
mod retries;
mod signals;
mod snapshots;
mod statistics;
mod trials;
mod triggers;
mod versions;
mod watch;
mod why;
mod workers;
mod workflows;

use std::sync::Arc;

use shared::{
    component::Catalogue,
    port::{
        progress::DynProgress,
        queue::DynQueue,
        secrets::DynSecrets,
        store::{DynStore, Page},
    },
};

use crate::problem::{Code, Problem};

pub(crate) use accept::{ExecuteWorkflow, Submission};
pub(crate) use bulk::{BulkExecutions, BulkReport};
pub(crate) use catalogue::{ComponentList, ComponentType};
pub(crate) use dead_letters::{
    DeadLetterList, DeadLetterQuery, DeadLetterView, PurgeDeadLetters, Purged, Replayed,
};
pub(crate) use events::{CloudEvent, EventList, EventQuery, PublishedList};
pub(crate) use executions::{
    CancelExecution, Cancelled, ExecutionList, ExecutionQuery, ExecutionView, LateList, PauseExecution,
    Standing,
};
pub(crate) use hints::Hinting;
pub(crate) use hooks::Call;
pub(crate) use human_tasks::{
    AnswerHumanTask, Answered, ClaimHumanTask, DelegateHumanTask, HumanTaskList, HumanTaskQuery,
    HumanTaskView, NotYet,
};
pub(crate) use journal::{JournalList, LogList, LogQuery, TaskList};
pub(crate) use links::{LinkView, Links, MakeLinks};
pub(crate) use mails::Mails;
pub(crate) use moves::{MoveExecution, MovedView};
pub(crate) use notifications::{NotificationList, NotificationQuery, NotificationView};
pub(crate) use retries::{Retried, RetryExecution};
pub(crate) use signals::{SendSignal, SignalSent, WaitList};
pub(crate) use statistics::{Statistics, StatisticsQuery};
pub(crate) use trials::{Tried, TryWorkflow};
pub(crate) use triggers::{
    BackfillList, BackfillPreview, BackfillView, CreateBackfill, FireList, FireTrigger, Fired, HookAddress,
    NextFires, NextQuery, ReceiptList, ReceiptQuery, ReceiptView, TriggerList, TriggerQuery, TriggerView,
};
pub(crate) use versions::{
    CompareQuery, Comparison, DifferenceView, DraftView, PublishDraft, SaveDraft, VersionList, VersionView,
};
pub(crate) use watch::{Moment, MomentQuery, ProgressView, Sight};
pub(crate) use why::Why;
pub(crate) use workers::WorkerList;
pub(crate) use workflows::{
    CacheQuery, Cleared, SaveWorkflow, UpdateWorkflow, ValidateWorkflow, Validation, WorkflowList,
    WorkflowQuery, WorkflowView,
};

/// Everything that can be done, over the adapter ports.
pub(crate) struct Deeds {
    store: DynStore,
    queue: DynQueue,
    progress: DynProgress,
    catalogue: Catalogue,
    secrets: DynSecrets,
    limits: hooks::Limits,
    quota: u64,
    clock: clock::StoreClock,
    snapshots: snapshots::Snapshots,
    folds: folding::Folds,
    places: journal::Places,
    hints: hints::Hints,
    /// What links begin with.
    base_url: String,
    link_key: tokio::sync::OnceCell<Vec<u8>>,
}

impl Deeds {
    /// The deeds, and what sends their hints until the deeds are dropped.
    pub(crate) fn new(
        store: DynStore,
        queue: DynQueue,
        progress: DynProgress,
        catalogue: Catalogue,
        secrets: DynSecrets,
        quota: u64,
        base_url: String,
    ) -> (Arc<Self>, Hinting) {
        let (hints, hinting) = hints::Hints::new(Arc::clone(&queue));
        let deeds = Self {
            store,
            queue,
            progress,
            catalogue,
            secrets,
            limits: hooks::Limits::default(),
            quota,
            clock: clock::StoreClock::default(),
            snapshots: snapshots::Snapshots::default(),
            folds: folding::Folds::default(),
            places: journal::Places::default(),
            hints,
            base_url,
            link_key: tokio::sync::OnceCell::new(),
        };
        (Arc::new(deeds), hinting)
    }
}

/// The size of a page: `asked`, at least 1 and at most 500; 50 when nothing was asked.
/// A page of a list whose cursors are ids of its items.
fn page<Id: std::str::FromStr>(cursor: Option<String>, limit: Option<u32>) -> Result<Page, Problem> {
    if cursor.as_deref().is_some_and(|cursor| cursor.parse::<Id>().is_err()) {
        return Err(Problem::new(Code::InvalidQuery, "`cursor` is not one that this list gave."));
    }
    Ok(Page { after: cursor, limit: page_limit(limit) })
}

fn page_limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(50).clamp(1, 500)
}
