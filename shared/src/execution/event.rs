//! Events and turns: the append-only truth.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::moving::Moved;
use crate::{
    component::{
        Failure, FailureClass, LogLine,
        control::{OnExpiry, OnParentClose, Urgency},
    },
    ids::{
        BackfillId, ComponentId, ExecutionId, MessageId, PayloadId, ReceiptId, TenantId, Token, TriggerId,
        WorkerId, WorkflowId,
    },
    port::rates::Rate,
    time::Timestamp,
    workflow::{OnConflict, Part, Priority},
};

/// Which round of which loops a task belongs to; empty outside loops.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Iteration(pub Vec<u32>);

impl Iteration {
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// One component of one execution, and loop round: what attempts belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    pub component: ComponentId,
    #[serde(default, skip_serializing_if = "Iteration::is_none")]
    pub iteration: Iteration,
}

impl TaskKey {
    /// A task outside loops.
    pub fn of(component: ComponentId) -> Self {
        Self { component, iteration: Iteration::default() }
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.component.fmt(f)?;
        for round in &self.iteration.0 {
            write!(f, "[{round}]")?;
        }
        Ok(())
    }
}

/// The text is not a task key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task key")]
pub struct TaskKeyError(String);

impl FromStr for TaskKey {
    type Err = TaskKeyError;

    fn from_str(text: &str) -> Result<Self, TaskKeyError> {
        let mut parts = text.split('[');
        let component = ComponentId::new(parts.next().unwrap_or_default());
        let rounds: Option<Vec<u32>> =
            parts.map(|part| part.strip_suffix(']').and_then(|n| n.parse().ok())).collect();
        match rounds {
            Some(rounds) => Ok(Self { component, iteration: Iteration(rounds) }),
            None => Err(TaskKeyError(text.to_owned())),
        }
    }
}

/// Bytes that lie in the payload store because they are too large to travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPayload {
    pub id: PayloadId,
    /// Length in bytes of the JSON text.
    pub size: u64,
}

/// A JSON value that travels, or a reference to one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Inline(Value),
    Stored(StoredPayload),
}

impl Payload {
    /// Above this many bytes of JSON a value goes to the payload store.
    pub const INLINE_LIMIT: usize = 64 * 1024;
}

/// Whether an execution is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Live,
    Test,
}

/// What was accepted: everything an execution is started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    pub tenant: TenantId,
    pub workflow: WorkflowId,
    /// The version number of the workflow, from 1.
    pub version: u32,
    /// The hash of the snapshot that runs.
    pub hash: String,
    /// Checked against the snapshot, defaults filled in.
    pub parameters: Map<String, Value>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub mode: Mode,
    /// Not before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Who asked.
    pub principal: String,
    /// The execution whose `sub_workflow` started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What started it, unless somebody asked directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerOrigin>,
    /// The execution, ended by then, that it does again in part or whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<ExecutionId>,
    /// What it tries of a document that may not be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

impl Accepted {
    /// The execution whose payloads its first turn may lead to.
    pub fn carries_from(&self) -> Option<ExecutionId> {
        self.retry_of.or_else(|| self.trial.as_ref()?.data_from)
    }
}

/// A part of a document that is tried: one component, and what is before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub component: ComponentId,
    /// Whether nothing else runs.
    #[serde(default)]
    pub only: bool,
    /// The execution whose outputs stand in for components that do not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_from: Option<ExecutionId>,
}

/// How a component ended in an execution that is done again, where that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carry {
    Completed {
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
        /// The number of its last attempt; 0 for what the engine decided.
        attempts: u32,
    },
    /// It failed, and that was handled.
    Failed {
        failure: Failure,
        attempts: u32,
    },
    Skipped {
        reason: SkipReason,
    },
}

/// Where a sub-workflow's execution comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub execution: ExecutionId,
    pub task: TaskKey,
    /// The turn of the caller that ordered it: what the caller says of it comes later. 0 when that was not
    /// written down.
    #[serde(default)]
    pub ordered_in: u32,
    /// 1 for the child of an execution that nobody called.
    pub depth: u32,
    /// Whether the parent waits for the end.
    pub waits: bool,
    /// What becomes of it when its caller ends first.
    #[serde(default = "leave")]
    pub on_parent_close: OnParentClose,
}

fn leave() -> OnParentClose {
    OnParentClose::Leave
}

/// A container as it was opened: its config, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    Group,
    Race,
    /// The classes that `catch` takes; absent for all but `cancelled`.
    Try {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        classes: Option<Vec<FailureClass>>,
    },
    Rounds(RoundsPlan),
    While {
        max_rounds: u32,
        pause: Duration,
        keep_last: u32,
    },
}

/// A loop over a known number of rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundsPlan {
    pub count: u32,
    pub max_parallel: u32,
    /// Failed rounds that are borne; one more fails the loop.
    pub tolerated: u32,
    pub items: Items,
}

/// What the rounds of a loop are given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Items {
    /// Lists of [`Items::CHUNK`] rounds' items each (the last may be shorter).
    Lists(Vec<Payload>),
    /// Numbers.
    Range { from: i64, step: i64 },
}

impl Items {
    /// Rounds whose items, or whose results, lie together in the payload store.
    pub const CHUNK: u32 = 500;
}

/// What people are asked: an `approval` or `human_task` as it was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PersonAsk {
    pub kind: PersonKind,
    pub title: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    pub assignees: Vec<String>,
    /// Approvals that are needed.
    pub quorum: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub on_expiry: OnExpiry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<Duration>,
    /// When who is asked as well, soonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalations: Vec<(Timestamp, Vec<String>)>,
    pub urgency: Urgency,
    pub allow_delegate: bool,
    pub requester_may_decide: bool,
    pub links: bool,
    /// Whether it must be claimed before it is handed in.
    pub claim: bool,
}

/// What kind of question people are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonKind {
    Approval,
    HumanTask,
    /// Whether an `at_most_once` attempt took effect.
    Outcome,
}

impl PersonKind {
    pub const ALL: &[Self] = &[Self::Approval, Self::HumanTask, Self::Outcome];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::HumanTask => "human_task",
            Self::Outcome => "outcome",
        }
    }
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Who gave it.
    pub by: String,
    /// The assignee it counts for: the person, or a group, role or other person it was given on behalf of.
    pub for_assignee: String,
    pub verdict: AnswerVerdict,
    /// What was filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerVerdict {
    Approve,
    Reject,
    /// A human task is handed in.
    Submit,
}

/// An event that `wait_for_event` may receive, or a signal to one execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Unique among the tenant's events; the request's id for a signal.
    pub id: String,
    /// The event's type, or the signal's name.
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    pub time: Timestamp,
    /// The correlation key; absent for a signal, which names its execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub body: Value,
}

impl Received {
    /// What tells it from every other of the tenant: two sources may use one id.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.source, self.id)
    }
}

/// The trigger that started an execution, and what about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerOrigin {
    pub trigger: TriggerId,
    /// Its id in the document.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// The instant of the schedule it was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fire_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillId>,
    /// How many executions started one another before it, each by the end of the last.
    #[serde(default)]
    pub depth: u32,
    /// What its trigger's `concurrency` gave for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<OriginSlot>,
}

/// At most `limit` executions of one trigger run at once that have this key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginSlot {
    pub key: String,
    pub limit: u32,
    #[serde(default, skip_serializing_if = "OnConflict::is_queue")]
    pub on_conflict: OnConflict,
}

/// Why a component was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Its join cannot be met any more.
    DeadConnection,
    /// Its `when` is false.
    WhenFalse,
    /// Its scope ends.
    ScopeEnded,
    /// No place was free under its `concurrency`, which drops what comes then.
    NoPlace,
    /// A race of which every child was skipped.
    NothingRan,
    /// It is new in the version that the execution was moved to, and lies before what had begun.
    PassedOver,
    /// What is tried can do without it.
    NotTried,
}

/// One thing that happened to an execution. Appended, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The API accepted it. Always the first event of the first turn.
    Accepted(Box<Accepted>),
    /// A component does not run: it ended so in the execution that this one does again. Only in the first turn.
    Carried {
        task: TaskKey,
        /// The execution that is done again. Its journal says how the component came to end so.
        from: ExecutionId,
        result: Box<Carry>,
    },
    /// A component does not run: whoever tries another says how it ended, or that nothing asks for it. Only in the
    /// first turn.
    Pinned {
        task: TaskKey,
        /// The execution that ended so, when it was not written by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ExecutionId>,
        result: Box<Carry>,
    },
    /// It starts later.
    Scheduled { until: Timestamp },
    /// It waits in line for a place under `key`: so many hold it already, or come before it.
    Blocked {
        key: String,
        limit: u32,
        /// The executions that are asked to make room.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        displaces: Vec<ExecutionId>,
        /// How many turns its tenant has where one of weight 1 has one; only where tenants take turns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
    },
    /// It was admitted and holds its slots.
    Started,
    /// A task may run, and waits until the dispatch window has room.
    TaskReady { task: TaskKey },
    /// A task may run, and waits in line for a place under `key`.
    TaskLimited {
        task: TaskKey,
        key: String,
        limit: u32,
        /// The tasks that are asked to make room.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        displaces: Vec<(ExecutionId, TaskKey)>,
    },
    /// A task may run, and waits for a worker outside this platform to ask for it.
    TaskOffered {
        task: TaskKey,
        /// The key of which it takes a place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<String>,
    },
    /// A task message was ordered. `dispatch` counts the messages of one attempt, from 1.
    TaskDispatched {
        task: TaskKey,
        attempt: u32,
        dispatch: u32,
        /// The key of which it takes a place; absent when it has one, or needs none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<String>,
        /// What its result is kept under in the cache.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache: Option<String>,
    },
    /// A task does not run: what another execution completed it with is used again.
    TaskCached {
        task: TaskKey,
        /// What the result was kept under.
        key: String,
        /// The execution that ran it, and when it completed there.
        from: ExecutionId,
        at: Timestamp,
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
    },
    /// A worker may run an `at_most_once` attempt: the one durable grant of it.
    TaskGranted { task: TaskKey, attempt: u32, worker: WorkerId, token: Token },
    /// A running attempt was handed over from its delivery to a lease.
    TaskLeased { task: TaskKey, attempt: u32, worker: WorkerId, token: Token, until: Timestamp },
    /// The worker of an attempt was lost; the attempt costs none of the retry policy's.
    TaskLost { task: TaskKey, attempt: u32, reason: String },
    /// A worker gave an attempt back before starting it.
    TaskReturned { task: TaskKey, attempt: u32 },
    /// An attempt completed; the component settles as completed.
    TaskCompleted {
        task: TaskKey,
        attempt: u32,
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
        worker: WorkerId,
        started_at: Timestamp,
        finished_at: Timestamp,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<LogLine>,
    },
    /// An attempt failed. With `retry_at` another follows then; without, the component settles as failed.
    TaskFailed {
        task: TaskKey,
        attempt: u32,
        failure: Failure,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<LogLine>,
    },
    /// A component that the engine decides completed.
    Decided {
        task: TaskKey,
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<LogLine>,
    },
    /// A component that the engine decides, or the preparation of a task, failed.
    DecisionFailed { task: TaskKey, failure: Failure },
    /// A component waits for an instant.
    Delayed { task: TaskKey, until: Timestamp },
    /// A component will not run.
    Skipped { task: TaskKey, reason: SkipReason },
    /// Someone asked for the execution to end.
    CancelRequested { by: String, reason: String },
    /// Nothing new starts until it is resumed; what runs goes on.
    Paused {
        by: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It goes on after a pause.
    Resumed { by: String },
    /// It goes on as another version of its workflow.
    Moved(Box<Moved>),
    /// It was to go on as another version, and could not when that was decided.
    MoveRefused {
        by: String,
        /// The number of that version.
        version: u32,
        /// Why not, each a sentence that says what would work.
        because: Vec<String>,
    },
    /// A scope ends before its components do: nothing new starts in it.
    Stopping {
        failure: Failure,
        /// The part, and of which container; absent for the workflow's components.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<(Part, Option<TaskKey>)>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
    },
    /// The execution will fail: no handler of this failure is left. What does not depend on it goes on.
    Failing { task: TaskKey, failure: Failure },
    /// A component that ran when its scope ended.
    TaskCancelled { task: TaskKey, attempt: u32 },
    /// A container began; what was resolved of its config.
    Opened { task: TaskKey, plan: Plan },
    /// A scope began: a body, one round of a loop, a `catch`, a `finally`, `on_failure`, or a compensation.
    ScopeOpened {
        part: Part,
        /// The container, or the component that is compensated; absent for the workflow's own scopes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<TaskKey>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round: Option<u32>,
        /// What a round is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Payload>,
        /// What a `catch` or `on_failure` handles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
    },
    /// Every component of a loop's round settled, or the round was cancelled.
    RoundClosed {
        task: TaskKey,
        round: u32,
        status: super::Status,
        output: Payload,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The results of rounds up to `upto` went to the payload store together.
    RoundsStored { task: TaskKey, upto: u32, rounds: StoredPayload },
    /// A loop pauses between two rounds.
    RoundDelayed { task: TaskKey, until: Timestamp },
    /// A component that can be undone completed; what its compensation would be given.
    CompensationNoted {
        task: TaskKey,
        config: Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        references: Vec<(String, PayloadId)>,
        /// Why it cannot be prepared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A compensation ended.
    Compensated {
        task: TaskKey,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The outcome is decided; compensations, `on_failure` and `finally` follow.
    Concluded {
        status: super::Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// `on_failure` or `finally` failed.
    CleanupFailed { failure: Failure },
    /// Another workflow is started as an execution of its own.
    ChildOrdered {
        task: TaskKey,
        child: ExecutionId,
        /// Name or id.
        workflow: String,
        /// Absent for the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        parameters: Map<String, Value>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        references: Vec<(String, PayloadId)>,
        waits: bool,
        on_parent_close: OnParentClose,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        execution_key: Option<String>,
    },
    /// People are asked.
    Asked { task: TaskKey, ask: Box<PersonAsk> },
    /// Somebody took it on.
    Claimed { task: TaskKey, by: String },
    /// An assignee handed it to somebody else.
    Delegated { task: TaskKey, by: String, from: String, to: String },
    /// More people are asked, as nobody answered in time.
    Escalated { task: TaskKey, to: Vec<String> },
    /// Those asked were reminded.
    Reminded { task: TaskKey },
    /// A person answered.
    Answered { task: TaskKey, answer: Answer },
    /// A component waits for an event.
    Awaiting {
        task: TaskKey,
        event: String,
        key: String,
        until: Timestamp,
        /// Events at or after this instant count.
        early: Timestamp,
    },
    /// A component asks for a permit under a rate limit.
    PermitAsked {
        task: TaskKey,
        key: String,
        rate: Rate,
        /// Until when it would wait; absent when it takes one now or none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A signal came that nothing waits for yet; it is kept.
    SignalKept { signal: Received },
    /// A component received the event or signal it waits for.
    EventReceived { task: TaskKey, id: String },
    /// Something worth a line in the log, such as a result that came too late to count.
    Noted { line: LogLine },
    /// The end: the only terminal event, and the last one.
    Finished {
        status: super::Status,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Payload>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
}

impl Event {
    /// The task whose component it changes.
    pub const fn task(&self) -> Option<&TaskKey> {
        match self {
            Self::Accepted(_)
            | Self::Scheduled { .. }
            | Self::Blocked { .. }
            | Self::Started
            | Self::CancelRequested { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Moved(_)
            | Self::MoveRefused { .. }
            | Self::Stopping { .. }
            | Self::Failing { .. }
            | Self::ScopeOpened { .. }
            | Self::CompensationNoted { .. }
            | Self::Concluded { .. }
            | Self::CleanupFailed { .. }
            | Self::SignalKept { .. }
            | Self::Noted { .. }
            | Self::Finished { .. } => None,
            Self::Carried { task, .. }
            | Self::Pinned { task, .. }
            | Self::TaskReady { task }
            | Self::TaskLimited { task, .. }
            | Self::TaskOffered { task, .. }
            | Self::TaskDispatched { task, .. }
            | Self::TaskCached { task, .. }
            | Self::TaskGranted { task, .. }
            | Self::TaskLeased { task, .. }
            | Self::TaskLost { task, .. }
            | Self::TaskReturned { task, .. }
            | Self::TaskCompleted { task, .. }
            | Self::TaskFailed { task, .. }
            | Self::Decided { task, .. }
            | Self::DecisionFailed { task, .. }
            | Self::Delayed { task, .. }
            | Self::Skipped { task, .. }
            | Self::TaskCancelled { task, .. }
            | Self::Opened { task, .. }
            | Self::RoundClosed { task, .. }
            | Self::RoundsStored { task, .. }
            | Self::RoundDelayed { task, .. }
            | Self::Compensated { task, .. }
            | Self::ChildOrdered { task, .. }
            | Self::Asked { task, .. }
            | Self::Claimed { task, .. }
            | Self::Delegated { task, .. }
            | Self::Escalated { task, .. }
            | Self::Reminded { task }
            | Self::Answered { task, .. }
            | Self::Awaiting { task, .. }
            | Self::PermitAsked { task, .. }
            | Self::EventReceived { task, .. } => Some(task),
        }
    }
}

/// What one decision adds to a journal, whole or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub execution: ExecutionId,
    /// 1, 2, 3 … without a gap.
    pub seq: u32,
    /// The inbox message it answers; that message again adds nothing.
    pub cause: MessageId,
    /// By the store's clock.
    pub at: Timestamp,
    pub events: Vec<Event>,
}

impl Turn {
    /// The move to another version that it made.
    pub fn moved(&self) -> Option<&Moved> {
        self.events.iter().find_map(|event| match event {
            Event::Moved(moved) => Some(&**moved),
            _ => None,
        })
    }
}

/// What a timer is for. Its text is the key of its row: one timer of a kind for one task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKey {
    /// Start not before this.
    Scheduled,
    /// The next attempt of a task is due.
    Retry(TaskKey),
    /// A `delay` is over.
    Delay(TaskKey),
    /// The attempt's lease runs out; renewed by moving it.
    Lease(TaskKey),
    /// A task has waited too long for a worker.
    Queue(TaskKey),
    /// A task has taken too long over all attempts.
    Total(TaskKey),
    /// The execution has taken too long.
    Timeout,
    /// Cancelled tasks have had their time to clean up.
    CancelGrace,
    /// People must be reminded, more of them asked, or their time is over.
    Person(TaskKey),
    /// An event was waited for long enough.
    Within(TaskKey),
    /// The pause between two rounds is over.
    Pause(TaskKey),
}

impl fmt::Display for TimerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled => f.write_str("scheduled"),
            Self::Retry(task) => write!(f, "retry/{task}"),
            Self::Delay(task) => write!(f, "delay/{task}"),
            Self::Lease(task) => write!(f, "lease/{task}"),
            Self::Queue(task) => write!(f, "queue/{task}"),
            Self::Total(task) => write!(f, "total/{task}"),
            Self::Timeout => f.write_str("timeout"),
            Self::CancelGrace => f.write_str("cancel_grace"),
            Self::Person(task) => write!(f, "person/{task}"),
            Self::Within(task) => write!(f, "within/{task}"),
            Self::Pause(task) => write!(f, "pause/{task}"),
        }
    }
}

/// The text is not a timer key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a timer key")]
pub struct TimerKeyError(String);

impl FromStr for TimerKey {
    type Err = TimerKeyError;

    fn from_str(text: &str) -> Result<Self, TimerKeyError> {
        let wrong = || TimerKeyError(text.to_owned());
        match text.split_once('/') {
            None => match text {
                "scheduled" => Ok(Self::Scheduled),
                "timeout" => Ok(Self::Timeout),
                "cancel_grace" => Ok(Self::CancelGrace),
                _ => Err(wrong()),
            },
            Some((kind, rest)) => {
                let task = rest.parse::<TaskKey>().map_err(|_| wrong())?;
                match kind {
                    "retry" => Ok(Self::Retry(task)),
                    "delay" => Ok(Self::Delay(task)),
                    "lease" => Ok(Self::Lease(task)),
                    "queue" => Ok(Self::Queue(task)),
                    "total" => Ok(Self::Total(task)),
                    "person" => Ok(Self::Person(task)),
                    "within" => Ok(Self::Within(task)),
                    "pause" => Ok(Self::Pause(task)),
                    _ => Err(wrong()),
                }
            }
        }
    }
}

impl Serialize for TimerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimerKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_keys_read_back() {
        let inside = TaskKey { component: "pack".into(), iteration: Iteration(vec![3, 14]) };
        for key in [
            TimerKey::Scheduled,
            TimerKey::Timeout,
            TimerKey::CancelGrace,
            TimerKey::Retry(TaskKey::of("fetch".into())),
            TimerKey::Lease(inside),
        ] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert!("lease/x[".parse::<TimerKey>().is_err());
        assert!("nothing".parse::<TimerKey>().is_err());
    }

    #[test]
    fn events_travel_in_both_codecs() {
        let event = Event::TaskCompleted {
            task: TaskKey::of("fetch".into()),
            attempt: 2,
            output: Payload::Inline(
                serde_json::json!({ "n": 9_007_199_254_740_993_u64, "f": 1.5, "t": "ä" }),
            ),
            ports: vec!["found".to_owned()],
            worker: WorkerId::generate(),
            started_at: Timestamp::from_micros(5),
            finished_at: Timestamp::from_micros(6),
            log: Vec::new(),
        };
        let bytes = rmp_serde::to_vec_named(&event).expect("an event is bytes");
        assert_eq!(rmp_serde::from_slice::<Event>(&bytes).expect("bytes are an event"), event);
        let text = serde_json::to_string(&event).expect("an event is text");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("text is an event"), event);
    }
}
