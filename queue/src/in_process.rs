//! A queue inside this process: typed values, no encoding, no task of its own.
//!
//! Keeps nothing over a restart; the store's sweep sends what was lost again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    ids::{SHARDS, Shard, WorkerId},
    port::queue::{
        Acknowledge, Audience, Controls, Delivery, Inbox, Queue, QueueDepth, QueueError, Subscription, Tasks,
    },
    wire::{Control, InboxMessage, Task},
    workflow::Priority,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{room::Room, weighted::Weighted};

/// How long a shard waits for its owner before anyone else may serve it.
const STAND_BY_AFTER: Duration = Duration::from_secs(3);

/// A queue inside this process. Clones are the same queue.
#[derive(Clone, Default)]
pub struct InProcessQueue {
    hub: Arc<Hub>,
}

#[derive(Default)]
struct Hub {
    pools: Mutex<HashMap<Arc<str>, Arc<Pool>>>,
    shards: Arc<Shards>,
    controls: Mutex<HashMap<WorkerId, mpsc::UnboundedSender<Control>>>,
}

/// A panic while one of these is held leaves no half-done change: every change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InProcessQueue {
    pub fn new() -> Self {
        Self::default()
    }

    fn pool(&self, name: &Arc<str>) -> Arc<Pool> {
        let mut pools = lock(&self.hub.pools);
        if let Some(pool) = pools.get(name) {
            return Arc::clone(pool);
        }
        Arc::clone(pools.entry(Arc::clone(name)).or_default())
    }
}

struct Waiting<T> {
    message: T,
    redelivered: bool,
}

impl<T> Waiting<T> {
    fn new(message: T) -> Self {
        Self { message, redelivered: false }
    }

    fn again(message: T) -> Self {
        Self { message, redelivered: true }
    }
}

// Tasks.

#[derive(Default)]
struct Pool {
    waiting: Mutex<Weighted<Waiting<Task>>>,
    /// All takers are woken: not everyone may have the tags that are asked for.
    arrived: Notify,
    takers: AtomicU64,
}

impl Pool {
    fn give_back(&self, task: Task) {
        lock(&self.waiting).push_front(task.priority, Waiting::again(task));
        self.arrived.notify_waiters();
    }
}

struct PoolTasks {
    pool: Arc<Pool>,
    tags: Vec<String>,
    room: Arc<Room>,
    stopped: bool,
}

#[async_trait]
impl Tasks for PoolTasks {
    async fn receive(&mut self) -> Result<Delivery<Task>, QueueError> {
        if self.stopped {
            return Err(QueueError::Closed);
        }
        loop {
            self.room.free().await;
            let mut arrived = pin!(self.pool.arrived.notified());
            // From here on nothing that arrives is missed.
            arrived.as_mut().enable();
            let fits =
                |waiting: &Waiting<Task>| waiting.message.tags.iter().all(|tag| self.tags.contains(tag));
            let found = lock(&self.pool.waiting).pop_if(fits);
            if let Some(Waiting { message, redelivered }) = found {
                self.room.enter();
                let answer = TaskAnswer {
                    task: Some(message.clone()),
                    pool: Arc::clone(&self.pool),
                    room: Arc::clone(&self.room),
                };
                return Ok(Delivery { message, redelivered, answer: Box::new(answer) });
            }
            arrived.await;
        }
    }

    async fn stop(&mut self) {
        self.stopped = true;
    }

    async fn adjust(&mut self, by: i32) {
        self.room.adjust(by);
    }
}

impl Drop for PoolTasks {
    fn drop(&mut self) {
        self.pool.takers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct TaskAnswer {
    /// Until it is answered.
    task: Option<Task>,
    pool: Arc<Pool>,
    room: Arc<Room>,
}

#[async_trait]
impl Acknowledge for TaskAnswer {
    async fn ack(mut self: Box<Self>) {
        self.task = None;
    }

    async fn requeue(self: Box<Self>) {}
}

impl Drop for TaskAnswer {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.pool.give_back(task);
        }
        self.room.leave();
    }
}

// The inbox.

struct Shards {
    state: Mutex<Vec<ShardState>>,
    next: AtomicU64,
}

#[derive(Default)]
struct ShardState {
    waiting: VecDeque<Waiting<InboxMessage>>,
    /// Who would serve it; the first one does.
    line: VecDeque<Server>,
}

#[derive(Clone)]
struct Server {
    id: u64,
    arrived: Arc<Notify>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            state: Mutex::new((0..SHARDS).map(|_| ShardState::default()).collect()),
            next: AtomicU64::new(0),
        }
    }
}

impl ShardState {
    fn wake(&self) {
        if let Some(server) = self.line.front() {
            server.arrived.notify_one();
        }
    }

    fn leave(&mut self, id: u64) {
        self.line.retain(|server| server.id != id);
        if !self.waiting.is_empty() {
            self.wake();
        }
    }

    fn join(&mut self, server: &Server) {
        if !self.line.iter().any(|other| other.id == server.id) {
            self.line.push_back(server.clone());
            if !self.waiting.is_empty() {
                self.wake();
            }
        }
    }
}

struct ShardInbox {
    shards: Arc<Shards>,
    me: Server,
    stand_by_at: Option<Instant>,
    /// Where the next look begins, so that a busy shard does not hold up the others.
    from: usize,
}

impl ShardInbox {
    fn take(&mut self, most: usize) -> Vec<Delivery<InboxMessage>> {
        let mut found = Vec::new();
        let mut state = lock(&self.shards.state);
        let count = state.len();
        let mut more = false;
        for offset in 0..count {
            let shard = (self.from + offset) % count;
            let state = &mut state[shard];
            if state.line.front().is_none_or(|server| server.id != self.me.id) {
                continue;
            }
            while found.len() < most
                && let Some(Waiting { message, redelivered }) = state.waiting.pop_front()
            {
                let answer = InboxAnswer { message: Some(message.clone()), shards: Arc::clone(&self.shards) };
                found.push(Delivery { message, redelivered, answer: Box::new(answer) });
            }
            more |= !state.waiting.is_empty();
        }
        drop(state);
        self.from = (self.from + 1) % count.max(1);
        if more {
            self.me.arrived.notify_one();
        }
        found
    }

    fn stand_by(&mut self) {
        self.stand_by_at = None;
        let mut state = lock(&self.shards.state);
        for shard in state.iter_mut() {
            shard.join(&self.me);
        }
    }
}

#[async_trait]
impl Inbox for ShardInbox {
    async fn receive(&mut self, most: usize) -> Result<Vec<Delivery<InboxMessage>>, QueueError> {
        loop {
            let found = self.take(most.max(1));
            if !found.is_empty() {
                return Ok(found);
            }
            match self.stand_by_at {
                Some(at) => {
                    let arrived = self.me.arrived.notified();
                    if tokio::time::timeout_at(at, arrived).await.is_err() {
                        self.stand_by();
                    }
                }
                None => self.me.arrived.notified().await,
            }
        }
    }

    async fn serve(&mut self, first: &[Shard]) -> Result<(), QueueError> {
        let mut state = lock(&self.shards.state);
        for (number, shard) in state.iter_mut().enumerate() {
            if first.iter().any(|wanted| usize::from(wanted.0) == number) {
                shard.join(&self.me);
            } else {
                shard.leave(self.me.id);
            }
        }
        drop(state);
        self.stand_by_at = Some(Instant::now() + STAND_BY_AFTER);
        Ok(())
    }
}

impl Drop for ShardInbox {
    fn drop(&mut self) {
        for shard in lock(&self.shards.state).iter_mut() {
            shard.leave(self.me.id);
        }
    }
}

struct InboxAnswer {
    /// Until it is answered.
    message: Option<InboxMessage>,
    shards: Arc<Shards>,
}

#[async_trait]
impl Acknowledge for InboxAnswer {
    async fn ack(mut self: Box<Self>) {
        self.message = None;
    }

    async fn requeue(self: Box<Self>) {}
}

impl Drop for InboxAnswer {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            let mut state = lock(&self.shards.state);
            if let Some(shard) = state.get_mut(usize::from(message.shard.0)) {
                shard.waiting.push_front(Waiting::again(message));
                shard.wake();
            }
        }
    }
}

// Controls.

struct WorkerControls {
    worker: WorkerId,
    said: mpsc::UnboundedReceiver<Control>,
    hub: Arc<Hub>,
}

#[async_trait]
impl Controls for WorkerControls {
    async fn receive(&mut self) -> Result<Control, QueueError> {
        self.said.recv().await.ok_or(QueueError::Closed)
    }
}

impl Drop for WorkerControls {
    fn drop(&mut self) {
        self.said.close();
        let mut controls = lock(&self.hub.controls);
        // A later one of the same worker stays.
        if controls.get(&self.worker).is_some_and(mpsc::UnboundedSender::is_closed) {
            controls.remove(&self.worker);
        }
    }
}

#[async_trait]
impl Queue for InProcessQueue {
    async fn publish_tasks(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        let mut tasks = tasks.into_iter().peekable();
        while let Some(task) = tasks.next() {
            let pool = self.pool(&task.pool);
            let mut waiting = lock(&pool.waiting);
            let name = Arc::clone(&task.pool);
            waiting.push_back(task.priority, Waiting::new(task));
            while let Some(task) = tasks.next_if(|next| next.pool == name) {
                waiting.push_back(task.priority, Waiting::new(task));
            }
            drop(waiting);
            pool.arrived.notify_waiters();
        }
        Ok(())
    }

    async fn publish_inbox(&self, messages: Vec<InboxMessage>) -> Result<(), QueueError> {
        let mut state = lock(&self.hub.shards.state);
        for message in messages {
            let number = usize::from(message.shard.0);
            let Some(shard) = state.get_mut(number) else {
                return Err(QueueError::Topology(format!("there is no inbox shard {number}")));
            };
            shard.waiting.push_back(Waiting::new(message));
            shard.wake();
        }
        Ok(())
    }

    async fn publish_control(&self, to: Audience, control: Control) -> Result<(), QueueError> {
        let controls = lock(&self.hub.controls);
        match to {
            // Nobody there is no error: nothing is kept for those that are away.
            Audience::Worker(worker) => {
                if let Some(sender) = controls.get(&worker) {
                    let _ = sender.send(control);
                }
            }
            Audience::Everyone => {
                for sender in controls.values() {
                    let _ = sender.send(control.clone());
                }
            }
        }
        Ok(())
    }

    async fn inbox(&self) -> Result<Box<dyn Inbox>, QueueError> {
        let shards = Arc::clone(&self.hub.shards);
        let me = Server { id: shards.next.fetch_add(1, Ordering::Relaxed), arrived: Arc::new(Notify::new()) };
        Ok(Box::new(ShardInbox { shards, me, stand_by_at: None, from: 0 }))
    }

    async fn tasks(&self, subscription: Subscription) -> Result<Box<dyn Tasks>, QueueError> {
        let pool = self.pool(&subscription.pool);
        pool.takers.fetch_add(1, Ordering::Relaxed);
        let room = Arc::new(Room::new(subscription.concurrency));
        Ok(Box::new(PoolTasks { pool, tags: subscription.tags, room, stopped: false }))
    }

    async fn controls(&self, worker: WorkerId) -> Result<Box<dyn Controls>, QueueError> {
        let (sender, said) = mpsc::unbounded_channel();
        lock(&self.hub.controls).insert(worker, sender);
        Ok(Box::new(WorkerControls { worker, said, hub: Arc::clone(&self.hub) }))
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, QueueError> {
        let pools: Vec<(Arc<str>, Arc<Pool>)> =
            lock(&self.hub.pools).iter().map(|(name, pool)| (Arc::clone(name), Arc::clone(pool))).collect();
        let mut depths = Vec::with_capacity(pools.len() * 3);
        for (name, pool) in pools {
            let consumers = pool.takers.load(Ordering::Relaxed);
            let mut lines = BTreeMap::from([(name, [0; 3])]);
            let waiting = lock(&pool.waiting);
            for (priority, count) in Priority::ALL.into_iter().zip(0..) {
                for task in waiting.of(priority) {
                    lines.entry(task.message.line()).or_default()[count] += 1;
                }
            }
            drop(waiting);
            for (line, ready) in lines {
                depths.extend(Priority::ALL.into_iter().zip(ready).map(|(priority, ready)| QueueDepth {
                    pool: line.to_string(),
                    priority,
                    ready,
                    consumers,
                }));
            }
        }
        depths.sort_by(|a, b| a.pool.cmp(&b.pool));
        Ok(depths)
    }

    async fn check(&self, _within: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    fn dies_with_the_process(&self) -> bool {
        true
    }
}
