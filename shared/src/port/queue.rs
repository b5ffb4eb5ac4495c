//! The queue: moves messages, remembers nothing that matters. In process, and RabbitMQ.
//!
//! Promises: at-least-once delivery, confirmed publishing, acknowledgement. Promises nothing about
//! order. May lose everything it holds; the store then makes it whole again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::Cause;
use crate::{
    ids::{Shard, WorkerId},
    wire::{Control, InboxMessage, Task},
    workflow::Priority,
};

/// Why the queue could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The broker is unreachable or refuses. The message may or may not be there: publish it again.
    #[error("queue unavailable")]
    Unavailable(#[source] Cause),
    /// What stands on the broker differs from what we declare, or is too old.
    #[error("{0}")]
    Topology(String),
    /// The queue was closed by us.
    #[error("queue closed")]
    Closed,
}

impl QueueError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// How a delivery is answered. Dropped unanswered, it comes again.
#[async_trait]
pub trait Acknowledge: Send + Sync {
    /// Done with: it will not come again. Best effort: a broken connection brings it again.
    async fn ack(self: Box<Self>);
    /// Not now: it comes again, perhaps elsewhere.
    async fn requeue(self: Box<Self>);
}

/// One message, delivered.
pub struct Delivery<T> {
    pub message: T,
    /// Whether the broker had given it to someone before.
    pub redelivered: bool,
    pub answer: Box<dyn Acknowledge>,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

/// The inbox of a coordinator: the shards it consumes, as one stream.
#[async_trait]
pub trait Inbox: Send {
    /// Everything that has arrived, at least one and at most `most`; waits for the first.
    ///
    /// Survives reconnections. After one, messages that were not acknowledged come again. A call that is
    /// dropped before it answers loses nothing.
    async fn receive(&mut self, most: usize) -> Result<Vec<Delivery<InboxMessage>>, QueueError>;

    /// Which shards to serve from now on, those in `first` at once and the others as a stand-by that
    /// takes over where nobody else serves.
    async fn serve(&mut self, first: &[Shard]) -> Result<(), QueueError>;
}

/// The tasks of a worker.
#[async_trait]
pub trait Tasks: Send {
    /// The next task. Never hands out more unanswered ones than the concurrency it was opened with.
    ///
    /// A call that is dropped before it answers loses nothing.
    async fn receive(&mut self) -> Result<Delivery<Task>, QueueError>;

    /// Takes no new tasks; those that were handed out may still be answered.
    async fn stop(&mut self);

    /// One task was handed over to a lease and acknowledged, yet still runs: take one less (`-1`), or
    /// one more again when it ended (`+1`).
    async fn adjust(&mut self, by: i32);
}

/// What coordinators say to this worker.
#[async_trait]
pub trait Controls: Send {
    async fn receive(&mut self) -> Result<Control, QueueError>;
}

/// Whom a control message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    Worker(WorkerId),
    Everyone,
}

/// A pool whose tasks a worker takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub worker: WorkerId,
    pub pool: Arc<str>,
    /// What the worker offers: it takes the tasks that ask for nothing else.
    pub tags: Vec<String>,
    /// Tasks handed out and not answered, over all priorities.
    pub concurrency: u16,
}

/// The most tags a worker may have: it takes from a line for every selection of them.
pub const MOST_TAGS: usize = 6;

/// The longest name of a line, in bytes; longer ones end in a hash.
const LONGEST_LINE: usize = 150;

/// Where the tasks of a pool wait that ask for these tags: in the pool's own line, or in one such as `pool+eu+gpu`.
pub fn line(pool: &Arc<str>, tags: &[String]) -> Arc<str> {
    if tags.is_empty() {
        return Arc::clone(pool);
    }
    let tags: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
    let tags = tags.into_iter().collect::<Vec<_>>().join("+");
    let name = format!("{pool}+{tags}");
    if name.len() <= LONGEST_LINE { name.into() } else { format!("{pool}+{}", hash(&tags)).into() }
}

fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..16])
}

impl Subscription {
    /// The lines it takes from, that of its pool first.
    pub fn lines(&self) -> Vec<Arc<str>> {
        let tags: BTreeSet<&String> = self.tags.iter().collect();
        let tags: Vec<&String> = tags.into_iter().take(MOST_TAGS).collect();
        let selection = |bits: usize| -> Vec<String> {
            let chosen = tags.iter().enumerate().filter(|(position, _)| bits >> position & 1 == 1);
            chosen.map(|(_, tag)| (*tag).clone()).collect()
        };
        (0..1 << tags.len()).map(|bits| line(&self.pool, &selection(bits))).collect()
    }
}

/// How full a task queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The pool, or its line for some tags.
    pub pool: String,
    pub priority: Priority,
    /// Messages that no worker has taken.
    pub ready: u64,
    pub consumers: u64,
}

/// A broker.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts tasks in their pools' queues. `Ok` says that all of them are held by the broker.
    async fn publish_tasks(&self, tasks: Vec<Task>) -> Result<(), QueueError>;

    /// Puts messages in their shards' inboxes. `Ok` says that all of them are held by the broker. When one that is
    /// given back comes again, so may others of the same call.
    async fn publish_inbox(&self, messages: Vec<InboxMessage>) -> Result<(), QueueError>;

    /// Tells workers something. Nothing is kept for those that are away.
    async fn publish_control(&self, to: Audience, control: Control) -> Result<(), QueueError>;

    /// Consumes inbox shards; none until [`Inbox::serve`].
    async fn inbox(&self) -> Result<Box<dyn Inbox>, QueueError>;

    /// Consumes a pool's tasks, high before normal before low, none of them starving.
    async fn tasks(&self, subscription: Subscription) -> Result<Box<dyn Tasks>, QueueError>;

    /// What is said to this worker and to everyone.
    async fn controls(&self, worker: WorkerId) -> Result<Box<dyn Controls>, QueueError>;

    /// How full the task queues of the pools known here are.
    async fn depths(&self) -> Result<Vec<QueueDepth>, QueueError>;

    /// Whether the broker answers now.
    async fn check(&self, within: Duration) -> Result<(), QueueError>;

    /// Whether a crash of this process empties the queue.
    fn dies_with_the_process(&self) -> bool;
}

/// A queue behind a pointer.
pub type DynQueue = Arc<dyn Queue>;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn a_task_waits_in_a_line_that_every_worker_with_its_tags_takes_from() {
        let pool: Arc<str> = "default".into();
        let worker = |tags: &[&str]| Subscription {
            worker: WorkerId::generate(),
            pool: Arc::clone(&pool),
            tags: texts(tags),
            concurrency: 1,
        };
        let lines = |tags: &[&str]| worker(tags).lines().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(&[]), ["default"]);
        assert_eq!(lines(&["gpu", "eu"]), ["default", "default+eu", "default+gpu", "default+eu+gpu"]);
        assert_eq!(*line(&pool, &texts(&["gpu", "eu", "gpu"])), *"default+eu+gpu");
        assert_eq!(lines(&["a", "b", "c", "d", "e", "f", "g"]).len(), 1 << MOST_TAGS);
        let long = "x".repeat(300);
        assert!(line(&pool, &texts(&[&long])).len() < 100);
        assert!(worker(&[&long]).lines().contains(&line(&pool, &texts(&[&long]))));
    }
}
