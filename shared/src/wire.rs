//! The messages between API, coordinators and workers, with their version.
//!
//! Fields are named (MessagePack maps), new ones have defaults, so that releases N−1 and N read each
//! other. Everything may come twice, late or never; each message says what then happens.

mod chain;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    component::{Failure, LogLine},
    execution::{Answer, Iteration, Payload, Received, TaskKey, TimerKey, Turn, moving::Move},
    ids::{ComponentId, ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, Token, WorkerId},
    port::rates::Permit,
    time::Timestamp,
    workflow::{Delivery, Priority},
};

pub use chain::{Chain, Link, Seen, Sees, output_of};

/// The version this build writes. It reads this one and the one before.
pub const VERSION: u16 = 1;
const VERSION_BYTES: usize = size_of_val(&VERSION);

/// MessagePack's marker of a list whose length takes 32 bits. No message begins with it: messages are maps.
const LIST: u8 = 0xdd;

/// The bytes are no message of a version we know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A newer release wrote it: requeue it once, stop consuming, say so.
    #[error("message version {found} is newer than {VERSION}, the newest this build reads")]
    TooNew { found: u16 },
    /// Nobody will ever read it: it belongs to the dead letters.
    #[error("the bytes are no message of ours")]
    Malformed(#[source] rmp_serde::decode::Error),
}

/// Writes a message as versioned MessagePack.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    rmp_serde::encode::write_named(&mut bytes, message)?;
    Ok(bytes)
}

/// Puts messages that [`encode`] wrote into one body: a list of them. One alone stays as it is.
pub fn join(mut messages: Vec<Vec<u8>>) -> Vec<u8> {
    if messages.len() == 1 {
        return messages.remove(0);
    }
    let mut bytes = Vec::with_capacity(8 + messages.iter().map(Vec::len).sum::<usize>());
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    // The list of MessagePack whose length takes 32 bits: its items follow it as they are.
    bytes.push(LIST);
    bytes.extend_from_slice(&(messages.len() as u32).to_be_bytes());
    for message in messages {
        bytes.extend_from_slice(message.get(VERSION_BYTES..).unwrap_or_default());
    }
    bytes
}

/// Reads what [`encode`] wrote, or several of them that share a body ([`join`]), in order.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<Vec<T>, DecodeError> {
    let body = body(bytes)?;
    let read = match body.first() {
        Some(&LIST) => rmp_serde::from_slice(body),
        _ => rmp_serde::from_slice(body).map(|message| vec![message]),
    };
    read.map_err(DecodeError::Malformed)
}

/// What follows the version, when it is one that this build reads.
fn body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let malformed = |why: &str| DecodeError::Malformed(rmp_serde::decode::Error::Syntax(why.to_owned()));
    let Some((head, body)) = bytes.split_first_chunk::<VERSION_BYTES>() else {
        return Err(malformed("shorter than its version"));
    };
    let found = u16::from_be_bytes(*head);
    if found > VERSION {
        // A random first byte is far from any version we will ever write.
        return Err(if found < 1_000 { DecodeError::TooNew { found } } else { malformed("no version") });
    }
    if found == 0 {
        return Err(malformed("no version"));
    }
    Ok(body)
}

/// One attempt, handed to a worker.
///
/// Twice: the second is reported as lost if the broker marks it redelivered; its result is dropped.
/// Never: a sweep sends it again with a higher `dispatch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub component: ComponentId,
    #[serde(default, skip_serializing_if = "Iteration::is_none")]
    pub iteration: Iteration,
    /// The component type.
    pub kind: Arc<str>,
    pub attempt: u32,
    /// Counts the messages of this attempt, from 1.
    pub dispatch: u32,
    /// Resolved, but for secrets and stored payloads.
    pub config: Value,
    /// JSON pointers into `config` and the stored payload whose value belongs there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<(String, PayloadId)>,
    /// Of the attempt.
    pub timeout: Duration,
    #[serde(default)]
    pub delivery: Delivery,
    /// Ask for a lease before beginning, so that the coordinator knows that it began.
    #[serde(default)]
    pub lease_at_once: bool,
    pub pool: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default)]
    pub priority: Priority,
    /// The inbox that its result goes to, one of those that its sender reads: results of several executions
    /// share a message there. Nothing: that of the execution's own shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Shard>,
    /// What the same worker may go on with when this attempt completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Box<Chain>>,
    /// Whether it may share a message with others: it is short and has no effect. Its sender knows; not sent.
    #[serde(skip)]
    pub may_share: bool,
}

impl Task {
    pub fn key(&self) -> TaskKey {
        TaskKey { component: self.component.clone(), iteration: self.iteration.clone() }
    }

    /// Where it waits for a worker of its pool that has its tags.
    pub fn line(&self) -> Arc<str> {
        crate::port::queue::line(&self.pool, &self.tags)
    }

    /// Lets its result go to the first of the inboxes that its sender reads, if its execution's own is among them: there
    /// it shares a message with others. What is another's to serve goes back to that one.
    pub fn ask_for_shared_answer(&mut self, read: &[Shard]) {
        let own = Shard::of(self.execution);
        self.reply_to = read.first().copied().filter(|_| read.contains(&own));
    }

    /// The inbox that its result goes to.
    pub fn answers_to(&self) -> Shard {
        self.reply_to.unwrap_or_else(|| Shard::of(self.execution))
    }

    /// The same for all attempts of the task, different between tasks.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.execution.as_uuid(), self.key())
    }
}

/// How an attempt ended, or why it did not begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Completed {
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
    },
    Failed(Failure),
    /// The broker says that an earlier worker had it; whether it ran is unknown.
    Lost {
        reason: String,
    },
    /// The worker is leaving and never began it.
    Returned,
    /// The grant was refused or never came; it did not run.
    NotGranted,
}

/// What a worker reports about one attempt. The first for an attempt wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub execution: ExecutionId,
    pub component: ComponentId,
    #[serde(default, skip_serializing_if = "Iteration::is_none")]
    pub iteration: Iteration,
    pub attempt: u32,
    pub dispatch: u32,
    pub worker: WorkerId,
    /// What the attempt's grant or lease is fenced by, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub ending: Ending,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// When the one before it in its [`Chain`] began, whose result stands before this one in the same message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Timestamp>,
}

impl TaskResult {
    pub fn key(&self) -> TaskKey {
        TaskKey { component: self.component.clone(), iteration: self.iteration.clone() }
    }
}

/// A worker asks to begin (`Grant`) or to go on beyond its delivery (`Lease`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub execution: ExecutionId,
    pub component: ComponentId,
    #[serde(default, skip_serializing_if = "Iteration::is_none")]
    pub iteration: Iteration,
    pub attempt: u32,
    pub worker: WorkerId,
    pub token: Token,
    pub kind: AskKind,
}

impl Ask {
    pub fn key(&self) -> TaskKey {
        TaskKey { component: self.component.clone(), iteration: self.iteration.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    Grant,
    Lease,
}

/// A lease that its holder keeps alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    pub execution: ExecutionId,
    pub component: ComponentId,
    #[serde(default, skip_serializing_if = "Iteration::is_none")]
    pub iteration: Iteration,
    pub token: Token,
}

impl Renewal {
    pub fn key(&self) -> TaskKey {
        TaskKey { component: self.component.clone(), iteration: self.iteration.clone() }
    }
}

/// What a worker says about itself, at its start and then every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    pub id: WorkerId,
    pub host: String,
    pub version: String,
    pub pool: String,
    pub tags: Vec<String>,
    /// Component types it offers.
    pub kinds: Vec<String>,
    /// Tasks it runs at once.
    pub concurrency: u32,
    pub running: u32,
    pub cpu_percent: f32,
    pub memory_bytes: u64,
    pub started_at: Timestamp,
    /// Set when it is leaving and takes nothing new.
    #[serde(default)]
    pub draining: bool,
}

/// What a request that the API accepted asks of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestBody {
    Cancel {
        by: String,
        reason: String,
    },
    /// Ends it now: attempts are fenced, nothing cleans up.
    Kill {
        by: String,
        reason: String,
    },
    /// A person answers an approval or human task. Whether that person may was checked when it was accepted;
    /// the engine refuses what came second.
    Answer {
        task: TaskKey,
        answer: Answer,
    },
    Claim {
        task: TaskKey,
        by: String,
        /// The assignee in whose place it is claimed; a sender of an earlier version does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_assignee: Option<String>,
    },
    Delegate {
        task: TaskKey,
        by: String,
        /// The assignee that is replaced.
        from: String,
        to: String,
    },
    Signal {
        signal: Received,
    },
    /// Nothing new starts until it is resumed. On one that is paused, or is being cancelled, it changes nothing.
    Pause {
        by: String,
        reason: String,
    },
    /// Ends a pause. On one that is not paused it changes nothing.
    Resume {
        by: String,
    },
    /// A newer task of `by` takes the place that this one holds or waits for. On one that has none it changes
    /// nothing.
    Displace {
        task: TaskKey,
        by: ExecutionId,
    },
    /// It goes on as another version of its workflow, or says why it cannot. The same message again changes nothing.
    Move(Box<Move>),
}

/// How a sub-workflow's execution ended, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnding {
    /// It was accepted; only for those that nobody waits for.
    Accepted,
    Completed {
        output: Payload,
    },
    Failed {
        failure: Failure,
    },
    Cancelled {
        failure: Option<Failure>,
    },
    /// It could not be started.
    Refused {
        failure: Failure,
    },
}

/// The content of an inbox message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InboxBody {
    /// An execution was accepted. Carries its first turn to spare a read; lost: swept.
    Start { first: Box<Turn> },
    /// Attempts ended, perhaps of several executions, of other shards, too. Twice: the second changes nothing.
    Results { results: Vec<TaskResult> },
    /// Refused when the attempt is no longer current, or has a grant already.
    Ask { ask: Ask },
    /// Leases go on. A lost renewal is followed by the next; a late one is answered `lost`.
    Renew { worker: WorkerId, renewals: Vec<Renewal> },
    /// A timer may be due; the row decides.
    Timer { execution: ExecutionId, key: TimerKey },
    /// The API accepted something for an execution; the row decides. Lost: swept.
    Request { execution: ExecutionId, id: RequestId, body: RequestBody },
    /// Something may be missing: look and repair.
    Sweep { execution: ExecutionId },
    /// What it waited for (a slot, room in the dispatch window) may be there now.
    Wake { execution: ExecutionId },
    /// A worker's heartbeat.
    Worker { record: WorkerRecord },
    /// A sub-workflow of `execution` ended. Lost: a sweep of the parent asks.
    Child { execution: ExecutionId, task: TaskKey, child: ExecutionId, ending: ChildEnding },
    /// What became of a permit that a component of `execution` asked for. Lost: a sweep asks again.
    Permit { execution: ExecutionId, task: TaskKey, permit: Permit },
    /// An event that a component of `execution` waits for. Lost: a sweep looks for kept events.
    Event { execution: ExecutionId, task: TaskKey, event: Box<Received> },
}

/// One message of the inbox: what may cause turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxMessage {
    pub id: MessageId,
    pub shard: Shard,
    pub body: InboxBody,
}

/// What a coordinator says to workers, outside their task queues. Never needed for correctness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// The answer to an [`Ask`].
    Answer { token: Token, granted: bool },
    /// These leases are not yours any more: stop, the results will not count.
    Lost { tokens: Vec<Token> },
    /// The execution or a scope of it ends: stop these tasks.
    Cancel { execution: ExecutionId, tasks: Vec<TaskKey> },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::queue::task;
    use proptest::prelude::*;

    fn message() -> InboxMessage {
        let execution = ExecutionId::generate();
        InboxMessage {
            id: MessageId::generate(),
            shard: Shard::of(execution),
            body: InboxBody::Results {
                results: vec![TaskResult {
                    execution,
                    component: "fetch".into(),
                    iteration: Iteration::default(),
                    attempt: 1,
                    dispatch: 1,
                    worker: WorkerId::generate(),
                    token: None,
                    started_at: Timestamp::from_micros(1),
                    finished_at: Timestamp::from_micros(2),
                    ending: Ending::Completed {
                        output: Payload::Inline(serde_json::json!([1, "two", null])),
                        ports: Vec::new(),
                    },
                    log: Vec::new(),
                    follows: None,
                }],
            },
        }
    }

    #[test]
    fn a_message_reads_back() {
        let message = message();
        let bytes = encode(&message).expect("a message is bytes");
        assert_eq!(decode::<InboxMessage>(&bytes).expect("bytes are a message"), [message]);
    }

    #[test]
    fn a_newer_version_is_told_from_rubbish() {
        let mut bytes = encode(&message()).expect("a message is bytes");
        bytes[1] = 2;
        assert!(matches!(decode::<InboxMessage>(&bytes), Err(DecodeError::TooNew { found: 2 })));
        assert!(matches!(decode::<InboxMessage>(b"hello"), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<InboxMessage>(b""), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_task_is_answered_where_its_sender_reads_and_else_at_its_execution() {
        let mut task = task(&Arc::from("default"), Priority::Normal, 1);
        let own = Shard::of(task.execution);
        let others: Vec<Shard> = Shard::all().filter(|shard| *shard != own).collect();
        assert_eq!(task.answers_to(), own);
        task.ask_for_shared_answer(&[others[0], own]);
        assert_eq!(task.answers_to(), others[0]);
        task.ask_for_shared_answer(&others);
        assert_eq!(task.answers_to(), own, "it is not theirs to serve");
        task.ask_for_shared_answer(&[]);
        assert_eq!(task.answers_to(), own);
    }

    #[test]
    fn messages_that_share_a_body_read_back_in_order() {
        let pool = Arc::from("default");
        for count in [1, 2, 3, 300] {
            let tasks: Vec<Task> = (0..count).map(|attempt| task(&pool, Priority::Normal, attempt)).collect();
            let bytes = join(tasks.iter().map(|task| encode(task).expect("a task is bytes")).collect());
            assert_eq!(decode::<Task>(&bytes).expect("bytes are tasks"), tasks);
            assert_eq!(bytes == encode(&tasks[0]).expect("a task is bytes"), count == 1);
        }
    }

    #[test]
    fn a_body_of_several_that_ends_early_or_holds_something_else_is_rubbish() {
        let messages = || vec![encode(&message()).expect("a message is bytes"); 3];
        let whole = join(messages());
        assert!(matches!(decode::<InboxMessage>(&whole[..whole.len() - 1]), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<Task>(&whole), Err(DecodeError::Malformed(_))));
        let mut newer = whole;
        newer[1] = 2;
        assert!(matches!(decode::<InboxMessage>(&newer), Err(DecodeError::TooNew { found: 2 })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes: Vec<u8>) {
            let _ = decode::<InboxMessage>(&bytes);
            let _ = decode::<Task>(&bytes);
        }
    }
}
