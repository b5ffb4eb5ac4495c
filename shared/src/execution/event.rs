//! Events and turns: the append-only truth.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    component::{Failure, LogLine},
    ids::{
        BackfillId, ComponentId, ExecutionId, MessageId, PayloadId, ReceiptId, TenantId, Token, TriggerId,
        WorkerId, WorkflowId,
    },
    time::Timestamp,
    workflow::Priority,
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
    /// What started it, unless somebody asked directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerOrigin>,
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
}

/// One thing that happened to an execution. Appended, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The API accepted it. Always the first event of the first turn.
    Accepted(Box<Accepted>),
    /// It starts later.
    Scheduled { until: Timestamp },
    /// It was admitted and holds its slots.
    Started,
    /// A task may run, and waits until the dispatch window has room.
    TaskReady { task: TaskKey },
    /// A task may run, and waits for a worker outside this platform to ask for it.
    TaskOffered { task: TaskKey },
    /// A task message was ordered. `dispatch` counts the messages of one attempt, from 1.
    TaskDispatched { task: TaskKey, attempt: u32, dispatch: u32 },
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
    /// The scope ends before its components do: nothing new starts.
    Stopping { failure: Failure },
    /// A component that ran when its scope ended.
    TaskCancelled { task: TaskKey, attempt: u32 },
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
        let task = |text: &str| -> Option<TaskKey> {
            let mut parts = text.split('[');
            let component = ComponentId::new(parts.next()?);
            let rounds: Option<Vec<u32>> =
                parts.map(|part| part.strip_suffix(']').and_then(|n| n.parse().ok())).collect();
            Some(TaskKey { component, iteration: Iteration(rounds?) })
        };
        match text.split_once('/') {
            None => match text {
                "scheduled" => Ok(Self::Scheduled),
                "timeout" => Ok(Self::Timeout),
                "cancel_grace" => Ok(Self::CancelGrace),
                _ => Err(wrong()),
            },
            Some((kind, rest)) => {
                let task = task(rest).ok_or_else(wrong)?;
                match kind {
                    "retry" => Ok(Self::Retry(task)),
                    "delay" => Ok(Self::Delay(task)),
                    "lease" => Ok(Self::Lease(task)),
                    "queue" => Ok(Self::Queue(task)),
                    "total" => Ok(Self::Total(task)),
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
