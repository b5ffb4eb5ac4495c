//! Consuming: one task a consumer owns the channel; whoever receives takes from a shelf.
//!
//! So a receive that is given up loses nothing, and a lost connection is mended behind it.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    FutureExt, StreamExt,
    stream::{BoxStream, SelectAll},
};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use serde::de::DeserializeOwned;
use shared::{
    ids::{Shard, WorkerId},
    port::queue::{Controls, Delivery, Inbox, QueueError, Subscription, Tasks},
    retry::Reconnect,
    wire::{self, Control, DecodeError, InboxMessage, Task},
    workflow::Priority,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    Core, DeadMessage,
    answers::{Answer, Answers},
    declared,
    link::Live,
    publish, unavailable,
};
use crate::{room::Room, weighted::Weighted};

/// How long a shard waits for its owner before anyone else registers for it.
const STAND_BY_AFTER: Duration = Duration::from_secs(3);
/// Deliveries moved at once before anything else gets a turn.
const BATCH: usize = 256;
/// Shards that are busy at the same time; each consumer gets that part of the prefetch.
const BUSY_SHARDS: u16 = 4;

// The shelf, between the task that consumes and whoever receives.

struct Arrived<T> {
    message: T,
    redelivered: bool,
    /// None where nothing is to be answered.
    answer: Option<Answer>,
}

struct Shelf<T> {
    waiting: Mutex<Weighted<Arrived<T>>>,
    changed: Notify,
    closed: AtomicBool,
}

impl<T> Shelf<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Weighted::default()),
            changed: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Weighted<Arrived<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        // Dropping an answer takes the lock of its channel; not under ours.
        let dropped: Vec<Arrived<T>> = self.lock().drain().collect();
        drop(dropped);
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.clear();
        self.changed.notify_one();
    }

    fn open(&self) -> Result<(), QueueError> {
        if self.closed.load(Ordering::Acquire) { Err(QueueError::Closed) } else { Ok(()) }
    }
}

// What the receiving side tells the consuming task. Hanging up ends it.

enum Command {
    Serve(Vec<Shard>),
    Limit(u16),
    Stop,
}

struct Handle<T> {
    shelf: Arc<Shelf<T>>,
    commands: mpsc::UnboundedSender<Command>,
}

impl<T> Handle<T> {
    fn tell(&self, command: Command) -> Result<(), QueueError> {
        self.commands.send(command).map_err(|_| QueueError::Closed)
    }
}

// The three kinds of consumers.

pub(super) struct AmqpInbox(Handle<InboxMessage>);

pub(super) fn inbox(core: &Arc<Core>) -> AmqpInbox {
    AmqpInbox(Actor::start(core, Kind::Inbox { first: Vec::new() }).0)
}

#[async_trait]
impl Inbox for AmqpInbox {
    async fn receive(&mut self, most: usize) -> Result<Vec<Delivery<InboxMessage>>, QueueError> {
        let shelf = &self.0.shelf;
        loop {
            shelf.open()?;
            let mut found = Vec::new();
            let more = {
                let mut waiting = shelf.lock();
                while found.len() < most.max(1)
                    && let Some(Arrived { message, redelivered, answer: Some(answer) }) = waiting.pop()
                {
                    found.push(Delivery { message, redelivered, answer: Box::new(answer) });
                }
                !waiting.is_empty()
            };
            if more {
                shelf.changed.notify_one();
            }
            if !found.is_empty() {
                return Ok(found);
            }
            shelf.changed.notified().await;
        }
    }

    async fn serve(&mut self, first: &[Shard]) -> Result<(), QueueError> {
        self.0.tell(Command::Serve(first.to_vec()))
    }
}

pub(super) struct AmqpTasks {
    handle: Handle<Task>,
    room: Arc<Room>,
    stopped: bool,
}

pub(super) fn tasks(core: &Arc<Core>, subscription: Subscription) -> AmqpTasks {
    let kind = Kind::Tasks { lines: subscription.lines(), limit: subscription.concurrency };
    let room = Arc::new(Room::new(subscription.concurrency));
    AmqpTasks { handle: Actor::start(core, kind).0, room, stopped: false }
}

#[async_trait]
impl Tasks for AmqpTasks {
    async fn receive(&mut self) -> Result<Delivery<Task>, QueueError> {
        if self.stopped {
            return Err(QueueError::Closed);
        }
        let shelf = &self.handle.shelf;
        loop {
            shelf.open()?;
            // The prefetch keeps more from coming, but not after a reconnection, when those that
            // were handed out before still run.
            self.room.free().await;
            let found = shelf.lock().pop();
            if let Some(Arrived { message, redelivered, answer: Some(mut answer) }) = found {
                self.room.enter();
                answer.room = Some(Arc::clone(&self.room));
                return Ok(Delivery { message, redelivered, answer: Box::new(answer) });
            }
            shelf.changed.notified().await;
        }
    }

    async fn stop(&mut self) {
        self.stopped = true;
        // When the task is gone, so are the consumers.
        let _ = self.handle.tell(Command::Stop);
    }

    async fn adjust(&mut self, by: i32) {
        let limit = self.room.adjust(by);
        let _ = self.handle.tell(Command::Limit(limit));
    }
}

pub(super) struct AmqpControls(Handle<Control>);

pub(super) async fn controls(core: &Arc<Core>, worker: WorkerId) -> Result<AmqpControls, QueueError> {
    let (handle, mut ready) = Actor::start(core, Kind::Control { worker });
    // What is said from now on must reach it, so its queue must be there.
    tokio::time::timeout(core.config.confirm_timeout, ready.wait_for(|ready| *ready))
        .await
        .map_err(|_| unavailable("the broker did not answer in time"))?
        .map_err(|_| QueueError::Closed)?;
    Ok(AmqpControls(handle))
}

#[async_trait]
impl Controls for AmqpControls {
    async fn receive(&mut self) -> Result<Control, QueueError> {
        let shelf = &self.0.shelf;
        loop {
            shelf.open()?;
            if let Some(arrived) = shelf.lock().pop() {
                return Ok(arrived.message);
            }
            shelf.changed.notified().await;
        }
    }
}

// The task that consumes.

enum Kind {
    Inbox { first: Vec<Shard> },
    Tasks { lines: Vec<Arc<str>>, limit: u16 },
    Control { worker: WorkerId },
}

/// Where a consumer's deliveries come from.
struct Source {
    queue: ShortString,
    tag: ShortString,
    priority: Priority,
}

/// A delivery, or that its consumer ended.
type Event = (Arc<Source>, Option<lapin::Result<lapin::message::Delivery>>);

struct Actor<T> {
    core: Arc<Core>,
    kind: Kind,
    shelf: Arc<Shelf<T>>,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: watch::Sender<bool>,
    /// Takes nothing new.
    stopped: bool,
    /// The receiving side hung up.
    left: bool,
}

/// A channel and what is consumed on it.
struct Session {
    channel: Channel,
    answers: Arc<Answers>,
    events: SelectAll<BoxStream<'static, Event>>,
    /// Consumers by queue.
    active: HashMap<ShortString, ShortString>,
    /// Ends that we asked for.
    cancelled: HashSet<ShortString>,
    stand_by_at: Option<Instant>,
    consumers: u32,
}

impl<T: DeserializeOwned + Send + 'static> Actor<T> {
    fn start(core: &Arc<Core>, kind: Kind) -> (Handle<T>, watch::Receiver<bool>) {
        let shelf = Shelf::new();
        let (sender, commands) = mpsc::unbounded_channel();
        let (ready, is_ready) = watch::channel(false);
        let actor = Self {
            core: Arc::clone(core),
            kind,
            shelf: Arc::clone(&shelf),
            commands,
            ready,
            stopped: false,
            left: false,
        };
        #[expect(clippy::disallowed_methods, reason = "ends when its handle is dropped or stopped")]
        tokio::spawn(actor.run());
        (Handle { shelf, commands: sender }, is_ready)
    }

    async fn run(mut self) {
        let mut follower = self.core.consuming.follow();
        let mut pauses = Reconnect::default();
        let mut not_before = Instant::now();
        while !self.left && !self.stopped {
            let next = async {
                tokio::time::sleep_until(not_before).await;
                follower.live().await
            };
            let live = tokio::select! {
                live = next => live,
                command = self.commands.recv() => {
                    self.note(command);
                    continue;
                }
            };
            let Some(live) = live else { break };
            let began = Instant::now();
            let Err(why) = self.session(&live).await else { break };
            self.shelf.clear();
            let cause = std::error::Error::source(&why).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(cause, "Lost a consumer: {why}; consuming again");
            if matches!(why, QueueError::Topology(_)) {
                tracing::error!("Cannot consume: {why}");
            }
            if began.elapsed() > Duration::from_secs(10) {
                pauses.reset();
            }
            not_before = Instant::now() + pauses.pause();
        }
        self.shelf.close();
    }

    /// Keeps what is wanted; the session carries it out.
    fn note(&mut self, command: Option<Command>) {
        match (command, &mut self.kind) {
            (Some(Command::Serve(wanted)), Kind::Inbox { first }) => *first = wanted,
            (Some(Command::Limit(wanted)), Kind::Tasks { limit, .. }) => *limit = wanted,
            (Some(Command::Stop), _) => self.stopped = true,
            (Some(_), _) => {}
            (None, _) => self.left = true,
        }
    }

    /// Consumes until the receiving side leaves (`Ok`) or something breaks.
    async fn session(&mut self, live: &Arc<Live>) -> Result<(), QueueError> {
        let mut session = self.begin(live).await?;
        self.ready.send_replace(true);
        loop {
            let stand_by = session.stand_by_at;
            tokio::select! {
                event = session.events.next(), if !session.events.is_empty() => {
                    if let Some(event) = event {
                        self.arrived(&mut session, event).await?;
                    }
                    for _ in 0..BATCH {
                        let Some(Some(event)) = session.events.next().now_or_never() else { break };
                        self.arrived(&mut session, event).await?;
                    }
                    self.shelf.changed.notify_one();
                }
                // Once round the other tasks: whoever answers a batch is likely not through with it.
                () = session.answers.changed.notified() => tokio::task::yield_now().await,
                command = self.commands.recv(), if !self.left => {
                    self.note(command);
                    self.apply(&mut session).await?;
                }
                () = sleep_until(stand_by), if stand_by.is_some() => {
                    session.stand_by_at = None;
                    for shard in Shard::all() {
                        let queue = self.core.topology.inbox(shard);
                        session.consume(queue, Priority::Normal, false).await?;
                    }
                }
                () = live.lost() => return Err(unavailable("the connection was lost")),
            }
            session.flush()?;
            if self.left && session.answers.is_idle() {
                // Behind the last answers, so that they are not lost.
                session.channel.close(200, "bye".into()).await.map_err(unavailable)?;
                return Ok(());
            }
        }
    }

    async fn begin(&mut self, live: &Arc<Live>) -> Result<Session, QueueError> {
        let channel = live.connection.create_channel().await.map_err(unavailable)?;
        let mut session = Session {
            channel,
            answers: Arc::default(),
            events: SelectAll::new(),
            active: HashMap::new(),
            cancelled: HashSet::new(),
            stand_by_at: None,
            consumers: 0,
        };
        match &self.kind {
            Kind::Tasks { lines, .. } => {
                for line in lines {
                    self.core.topology.declare_line(&session.channel, line).await?;
                }
            }
            Kind::Inbox { .. } => {
                // A prefetch of the consumer, not of the channel: that one costs the broker a question
                // to another process for each delivery.
                let prefetch = (self.core.config.inbox_prefetch / BUSY_SHARDS).max(1);
                session.prefetch(prefetch, false).await.map_err(unavailable)?;
            }
            Kind::Control { worker } => {
                let topology = &self.core.topology;
                let queue = topology.worker(*worker);
                let options =
                    QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
                session
                    .channel
                    .queue_declare(queue.clone(), options, FieldTable::default())
                    .await
                    .map_err(declared)?;
                for key in [publish::worker_key(worker.as_uuid()), publish::EVERYONE.to_owned()] {
                    session
                        .channel
                        .queue_bind(
                            queue.clone(),
                            topology.control(),
                            key.into(),
                            Default::default(),
                            FieldTable::default(),
                        )
                        .await
                        .map_err(unavailable)?;
                }
                session.consume(queue, Priority::Normal, true).await?;
            }
        }
        self.apply(&mut session).await?;
        Ok(session)
    }

    /// Makes the session what is wanted now.
    async fn apply(&mut self, session: &mut Session) -> Result<(), QueueError> {
        if self.stopped || self.left {
            session.stand_by_at = None;
            session.cancel_all().await?;
            self.drain(session).await?;
            return Ok(());
        }
        match &self.kind {
            Kind::Inbox { first } => {
                let first: Vec<ShortString> =
                    first.iter().map(|shard| self.core.topology.inbox(*shard)).collect();
                // Standing by in front of an owner would keep the shard from it: whoever does not own
                // it goes, and comes back behind.
                let others: Vec<ShortString> =
                    session.active.keys().filter(|queue| !first.contains(queue)).cloned().collect();
                for queue in others {
                    session.cancel(&queue).await?;
                }
                for queue in first {
                    session.consume(queue, Priority::Normal, false).await?;
                }
                session.stand_by_at = Some(Instant::now() + STAND_BY_AFTER);
            }
            Kind::Tasks { limit: 0, .. } => {
                // A prefetch of nothing means everything to the broker.
                session.cancel_all().await?;
                self.drain(session).await?;
            }
            Kind::Tasks { lines, limit } => {
                let limit = *limit;
                let split = self.core.split_prefetch.load(Ordering::Relaxed);
                let refused = |core: &Core, error: lapin::Error| {
                    if error.is_amqp_hard_error() {
                        core.refuse_global_prefetch();
                    }
                    unavailable(error)
                };
                if !split {
                    let set = session.prefetch(limit, true).await;
                    set.map_err(|error| refused(&self.core, error))?;
                }
                for line in lines {
                    for (priority, share) in Priority::ALL.into_iter().zip(shares(limit)) {
                        let queue = self.core.topology.tasks(line, priority);
                        if session.active.contains_key(&queue) {
                            continue;
                        }
                        if split {
                            session.prefetch(share, false).await.map_err(unavailable)?;
                        }
                        let made = session.try_consume(queue, priority, false).await;
                        made.map_err(|error| refused(&self.core, error))?;
                    }
                }
            }
            Kind::Control { .. } => {}
        }
        Ok(())
    }

    /// Gives back what nobody will take.
    async fn drain(&mut self, session: &mut Session) -> Result<(), QueueError> {
        while let Some(Some(event)) = session.events.next().now_or_never() {
            self.arrived(session, event).await?;
        }
        self.shelf.clear();
        Ok(())
    }

    async fn arrived(&mut self, session: &mut Session, event: Event) -> Result<(), QueueError> {
        let (source, event) = event;
        let delivery = match event {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(unavailable(error)),
            None if session.cancelled.remove(&source.tag) => return Ok(()),
            None => return Err(unavailable("the broker ended the consumer")),
        };
        // The broker expects no answer to what it delivered without asking for one.
        let asked = !matches!(self.kind, Kind::Control { .. });
        let answer = asked.then(|| session.answers.open(delivery.delivery_tag));
        let redelivered = delivery.redelivered;
        let why = match wire::decode::<T>(&delivery.data) {
            Ok(messages) => {
                let mut shelf = self.shelf.lock();
                for message in messages {
                    let answer = answer.as_ref().map(Answer::part);
                    shelf.push_back(source.priority, Arrived { message, redelivered, answer });
                }
                drop(shelf);
                // Each of them has a part of it.
                answer.into_iter().for_each(Answer::done);
                return Ok(());
            }
            Err(why) => why,
        };
        if let DecodeError::TooNew { .. } = why {
            if redelivered {
                tracing::error!(queue = %source.queue, "Stopped consuming: {why}; upgrade this process");
                session.cancel(&source.queue).await?;
            }
            drop(answer);
            return Ok(());
        }
        let reason = match &why {
            DecodeError::Malformed(cause) => format!("{why}: {cause}"),
            other => other.to_string(),
        };
        tracing::warn!(queue = %source.queue, reason, "A message nobody can read goes to the dead letters");
        let dead = DeadMessage {
            queue: source.queue.to_string(),
            reason,
            message_id: delivery.properties.message_id().as_ref().map(ToString::to_string),
            body: delivery.data,
        };
        let Some(answer) = answer else { return Ok(()) };
        // Kept first, acknowledged then: a failure here brings it again.
        publish::dead(&self.core, &dead).await?;
        if let Some(sink) = &self.core.config.dead_sink {
            sink(dead);
        }
        answer.done();
        Ok(())
    }
}

/// Splits a prefetch over high, normal and low where the broker cannot.
fn shares(limit: u16) -> [u16; 3] {
    let low = (limit / 13).max(1);
    let normal = (limit * 4 / 13).max(1);
    [limit.saturating_sub(low + normal).max(1), normal, low]
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Session {
    async fn prefetch(&mut self, count: u16, global: bool) -> lapin::Result<()> {
        self.channel.basic_qos(count, BasicQosOptions { global }).await
    }

    async fn consume(
        &mut self,
        queue: ShortString,
        priority: Priority,
        no_ack: bool,
    ) -> Result<(), QueueError> {
        self.try_consume(queue, priority, no_ack).await.map_err(unavailable)
    }

    /// Registers a consumer, unless there is one.
    async fn try_consume(
        &mut self,
        queue: ShortString,
        priority: Priority,
        no_ack: bool,
    ) -> lapin::Result<()> {
        if self.active.contains_key(&queue) {
            return Ok(());
        }
        self.consumers += 1;
        let tag: ShortString = format!("{queue}.{}", self.consumers).into();
        let options = BasicConsumeOptions { no_ack, ..Default::default() };
        let consumer =
            self.channel.basic_consume(queue.clone(), tag.clone(), options, FieldTable::default()).await?;
        self.active.insert(queue.clone(), tag.clone());
        let source = Arc::new(Source { queue, tag, priority });
        let last = Arc::clone(&source);
        let events = consumer
            .map(move |delivery| (Arc::clone(&source), Some(delivery)))
            .chain(futures::stream::once(async move { (last, None) }));
        self.events.push(events.boxed());
        Ok(())
    }

    async fn cancel(&mut self, queue: &ShortString) -> Result<(), QueueError> {
        if let Some(tag) = self.active.remove(queue) {
            self.cancelled.insert(tag.clone());
            self.channel.basic_cancel(tag, Default::default()).await.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn cancel_all(&mut self) -> Result<(), QueueError> {
        let queues: Vec<ShortString> = self.active.keys().cloned().collect();
        for queue in queues {
            self.cancel(&queue).await?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), QueueError> {
        let frames = self.answers.take();
        // First, so that no acknowledgement up to a later tag covers it.
        for tag in frames.again {
            enqueue(self.channel.basic_nack(tag, BasicNackOptions { requeue: true, multiple: false }))?;
        }
        for tag in frames.alone {
            enqueue(self.channel.basic_ack(tag, BasicAckOptions { multiple: false }))?;
        }
        if let Some(tag) = frames.up_to {
            enqueue(self.channel.basic_ack(tag, BasicAckOptions { multiple: true }))?;
        }
        Ok(())
    }
}

/// Puts a frame in line without waiting until it is written: lapin queues it on the first poll, and a
/// connection that then breaks is noticed by its consumers.
fn enqueue(frame: impl Future<Output = lapin::Result<()>>) -> Result<(), QueueError> {
    match pin!(frame).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) => Err(unavailable(error)),
        _ => Ok(()),
    }
}
