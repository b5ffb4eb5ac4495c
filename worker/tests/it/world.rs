//! A worker between a queue, a payload store and components that a test controls.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::{
    component::{
        Catalogue, Context, Descriptor, Effect, Failure, FailureClass, Family, Field, Notice, NoticeAccess,
        Outcome, OwnPorts, PayloadAccess, Run, Runs,
    },
    execution::Iteration,
    ids::{ExecutionId, PayloadId, Shard, TenantId, WorkerId},
    port::queue::{
        Acknowledge, Audience, Controls, Delivery, Inbox, Queue, QueueDepth, QueueError, Subscription, Tasks,
    },
    time::SystemClock,
    wire::{Ask, Control, Ending, InboxBody, InboxMessage, Renewal, Task, TaskResult, WorkerRecord},
    workflow::{self, Priority},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use worker::{Config, Ports, Stats, Worker, WorkerError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened at the broker, in order.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// One call of `publish_inbox` that was confirmed.
    Published(Vec<InboxMessage>),
    /// A call that failed.
    Refused(Vec<InboxMessage>),
    Acked(ExecutionId),
    Requeued,
    Adjusted(i32),
    Stopped,
}

#[derive(Default)]
pub(crate) struct Broker {
    seen: Mutex<Vec<Seen>>,
    changed: Notify,
    /// While set, results are not confirmed.
    held: Mutex<Option<Arc<Semaphore>>>,
    to_refuse: AtomicUsize,
    tasks: Mutex<Option<mpsc::UnboundedReceiver<(Task, bool)>>>,
    controls: Mutex<Option<mpsc::UnboundedReceiver<Control>>>,
}

impl Broker {
    fn note(&self, seen: Seen) {
        lock(&self.seen).push(seen);
        self.changed.notify_waiters();
    }
}

struct Answer {
    broker: Arc<Broker>,
    execution: ExecutionId,
}

#[async_trait]
impl Acknowledge for Answer {
    async fn ack(self: Box<Self>) {
        self.broker.note(Seen::Acked(self.execution));
    }

    async fn requeue(self: Box<Self>) {
        self.broker.note(Seen::Requeued);
    }
}

struct FakeQueue(Arc<Broker>);

#[async_trait]
impl Queue for FakeQueue {
    async fn publish_tasks(&self, _tasks: Vec<Task>) -> Result<(), QueueError> {
        unreachable!("a worker publishes no tasks")
    }

    async fn publish_inbox(&self, messages: Vec<InboxMessage>) -> Result<(), QueueError> {
        let are_results = messages.iter().all(|message| matches!(message.body, InboxBody::Results { .. }));
        if are_results {
            let held = lock(&self.0.held).clone();
            if let Some(held) = held {
                held.acquire().await.expect("never closed").forget();
            }
            let refuse =
                self.0.to_refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if refuse.is_ok() {
                self.0.note(Seen::Refused(messages));
                return Err(QueueError::Unavailable("the broker is away".into()));
            }
        }
        self.0.note(Seen::Published(messages));
        Ok(())
    }

    async fn publish_control(&self, _to: Audience, _control: Control) -> Result<(), QueueError> {
        unreachable!("a worker says nothing to workers")
    }

    async fn inbox(&self) -> Result<Box<dyn Inbox>, QueueError> {
        unreachable!("a worker reads no inbox")
    }

    async fn tasks(&self, _subscription: Subscription) -> Result<Box<dyn Tasks>, QueueError> {
        let tasks = lock(&self.0.tasks).take().expect("opened once");
        Ok(Box::new(FakeTasks { broker: Arc::clone(&self.0), tasks }))
    }

    async fn controls(&self, _worker: WorkerId) -> Result<Box<dyn Controls>, QueueError> {
        Ok(Box::new(FakeControls(lock(&self.0.controls).take().expect("opened once"))))
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, QueueError> {
        Ok(Vec::new())
    }

    async fn check(&self, _within: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    fn dies_with_the_process(&self) -> bool {
        true
    }
}

struct FakeTasks {
    broker: Arc<Broker>,
    tasks: mpsc::UnboundedReceiver<(Task, bool)>,
}

#[async_trait]
impl Tasks for FakeTasks {
    async fn receive(&mut self) -> Result<Delivery<Task>, QueueError> {
        let (message, redelivered) = self.tasks.recv().await.ok_or(QueueError::Closed)?;
        let answer = Box::new(Answer { broker: Arc::clone(&self.broker), execution: message.execution });
        Ok(Delivery { message, redelivered, answer })
    }

    async fn stop(&mut self) {
        self.broker.note(Seen::Stopped);
    }

    async fn adjust(&mut self, by: i32) {
        self.broker.note(Seen::Adjusted(by));
    }
}

struct FakeControls(mpsc::UnboundedReceiver<Control>);

#[async_trait]
impl Controls for FakeControls {
    async fn receive(&mut self) -> Result<Control, QueueError> {
        self.0.recv().await.ok_or(QueueError::Closed)
    }
}

#[derive(Default)]
pub(crate) struct Payloads(Mutex<HashMap<PayloadId, Vec<u8>>>, AtomicUsize);

impl Payloads {
    pub(crate) fn keep(&self, value: &Value) -> PayloadId {
        let id = PayloadId::generate();
        lock(&self.0).insert(id, value.to_string().into_bytes());
        id
    }

    pub(crate) fn kept(&self, id: PayloadId) -> Value {
        serde_json::from_slice(&lock(&self.0)[&id]).expect("JSON was kept")
    }

    /// The next calls fail.
    pub(crate) fn fail(&self, times: usize) {
        self.1.store(times, Ordering::SeqCst);
    }

    fn up(&self) -> Result<(), Failure> {
        let down = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if down { Err(Failure::new(FailureClass::Unavailable, "the store is away")) } else { Ok(()) }
    }
}

#[async_trait]
impl PayloadAccess for Payloads {
    async fn put(&self, _execution: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure> {
        self.up()?;
        let id = PayloadId::generate();
        lock(&self.0).insert(id, bytes);
        Ok(id)
    }

    async fn get(&self, _execution: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure> {
        self.up()?;
        Ok(lock(&self.0).get(&payload).cloned().expect("kept before"))
    }
}

#[async_trait]
impl NoticeAccess for Payloads {
    async fn tell(&self, _: TenantId, _: ExecutionId, _: Vec<Notice>) -> Result<(), Failure> {
        self.up()
    }
}

/// What test components share with the test.
#[derive(Default)]
pub(crate) struct Stage {
    began: AtomicUsize,
    changed: Notify,
    pub(crate) gate: Notify,
}

type Play = fn(Value, Context) -> futures::future::BoxFuture<'static, Result<Outcome, Failure>>;

struct Actor(Value, Play);

#[async_trait]
impl Run for Actor {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let stage = stage_of(context);
        stage.began.fetch_add(1, Ordering::SeqCst);
        stage.changed.notify_waiters();
        (self.1)(self.0.clone(), context.clone()).await
    }
}

fn stage_of(context: &Context) -> Arc<Stage> {
    Arc::clone(&context.environment).downcast().expect("the environment is the stage")
}

macro_rules! actors {
    ($($kind:literal => $play:expr),* $(,)?) => {
        [$(Descriptor {
            build: Some(|config| Ok(Box::new(Actor(config, $play)))),
            ..descriptor($kind)
        }),*]
    };
}

fn descriptor(kind: &'static str) -> Descriptor {
    Descriptor {
        kind,
        aliases: &[],
        family: Family::Utility,
        runs: Runs::Worker,
        summary: "Only for tests.",
        schema: || json!({}),
        example: || json!({}),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Pure,
        field: |_, _| Field::Template,
        check: |_| Vec::new(),
        build: None,
    }
}

fn catalogue() -> Catalogue {
    let mut list = actors! {
        "echo" => |config, _| Box::pin(async move { Ok(Outcome::of(config)) }),
        "key" => |_, context| Box::pin(async move { Ok(Outcome::of(json!(context.idempotency_key))) }),
        // Lets go when it is cancelled, as a good component does.
        "polite" => |_, context| Box::pin(async move {
            context.cancel.cancelled().await;
            Err(Failure::new(FailureClass::Connection, "cut off"))
        }),
        // Never lets go.
        "stubborn" => |_, _| Box::pin(std::future::pending()),
        // Ends when the test opens the gate.
        "gated" => |config, context| Box::pin(async move {
            stage_of(&context).gate.notified().await;
            Ok(Outcome::of(config))
        }),
        // Takes a while.
        "naps" => |config, _| Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(Outcome::of(config))
        }),
        "panics" => |config, _| Box::pin(async move { panic!("secret {config}") }),
        "fails" => |_, _| Box::pin(async { Err(Failure::new(FailureClass::NotFound, "no such\u{0} thing")) }),
        "large" => |config, _| Box::pin(async move {
            Ok(Outcome::of(json!("x".repeat(config.as_u64().expect("a length") as usize))))
        }),
        "scribbles" => |_, context| Box::pin(async move {
            let before = context.scratch.exists();
            std::fs::create_dir_all(&context.scratch).expect("a folder can be made");
            std::fs::write(context.scratch.join("note"), "x").expect("a file can be written");
            Ok(Outcome::of(json!({ "before": before, "path": context.scratch })))
        }),
    }
    .to_vec();
    list.push(descriptor("external"));
    Catalogue::new(&list)
}

pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) worker: WorkerId,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), WorkerError>>,
    pub(crate) scratch: tempfile::TempDir,
    tasks: mpsc::UnboundedSender<(Task, bool)>,
    control: mpsc::UnboundedSender<Control>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let config = Config { scratch: Some(scratch.path().to_owned()), ..config };
        let (tasks, taken) = mpsc::unbounded_channel();
        let (control, said) = mpsc::unbounded_channel();
        let broker = Arc::new(Broker {
            tasks: Mutex::new(Some(taken)),
            controls: Mutex::new(Some(said)),
            ..Broker::default()
        });
        let payloads = Arc::new(Payloads::default());
        let stage = Arc::new(Stage::default());
        let ports = Ports {
            queue: Arc::new(FakeQueue(Arc::clone(&broker))),
            catalogue: catalogue(),
            payloads: Arc::clone(&payloads) as Arc<dyn PayloadAccess>,
            notices: Arc::clone(&payloads) as Arc<dyn NoticeAccess>,
            environment: Arc::clone(&stage) as _,
            clock: Arc::new(SystemClock),
        };
        let worker = Worker::new(config, ports);
        let (id, stats) = (worker.id(), worker.stats());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(worker.run(shutdown.clone()));
        Self { broker, payloads, stage, stats, worker: id, shutdown, running, scratch, tasks, control }
    }

    pub(crate) fn give(&self, task: &Task) {
        self.tasks.send((task.clone(), false)).expect("the worker listens");
    }

    pub(crate) fn give_again(&self, task: &Task) {
        self.tasks.send((task.clone(), true)).expect("the worker listens");
    }

    pub(crate) fn say(&self, control: Control) {
        self.control.send(control).expect("the worker listens");
    }

    /// From now on results are confirmed only by [`Self::confirm`].
    pub(crate) fn hold_confirms(&self) {
        *lock(&self.broker.held) = Some(Arc::new(Semaphore::new(0)));
    }

    pub(crate) fn confirm(&self, calls: usize) {
        lock(&self.broker.held).as_ref().expect("confirms are held").add_permits(calls);
    }

    pub(crate) fn refuse_publishes(&self, times: usize) {
        self.broker.to_refuse.store(times, Ordering::SeqCst);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.broker.seen).clone()
    }

    /// Waits until what was seen gives something.
    pub(crate) async fn until<T>(&self, found: impl Fn(&[Seen]) -> Option<T>) -> T {
        loop {
            let changed = self.broker.changed.notified();
            let now = found(&self.seen());
            if let Some(found) = now {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until so many components have begun.
    pub(crate) async fn begun(&self, count: usize) {
        loop {
            let changed = self.stage.changed.notified();
            if self.has_begun() >= count {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn has_begun(&self) -> usize {
        self.stage.began.load(Ordering::SeqCst)
    }

    /// Waits for the result of an execution.
    pub(crate) async fn result(&self, execution: ExecutionId) -> TaskResult {
        self.until(|seen| results(seen).into_iter().find(|result| result.execution == execution)).await
    }

    pub(crate) async fn acked(&self, execution: ExecutionId) {
        self.until(|seen| is_acked(seen, execution).then_some(())).await;
    }

    pub(crate) async fn ask(&self, number: usize) -> Ask {
        self.until(|seen| asks(seen).get(number).cloned()).await
    }

    pub(crate) async fn answer(&self, number: usize, granted: bool) -> Ask {
        let ask = self.ask(number).await;
        self.say(Control::Answer { token: ask.token, granted });
        ask
    }

    /// Runs a task to its result.
    pub(crate) async fn ending(&self, task: &Task) -> Ending {
        self.give(task);
        let result = self.result(task.execution).await;
        self.acked(task.execution).await;
        result.ending
    }

    pub(crate) async fn failure(&self, task: &Task) -> Failure {
        match self.ending(task).await {
            Ending::Failed(failure) => failure,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    /// Shuts down and waits for the end.
    pub(crate) async fn leave(&mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.expect("the worker does not panic").expect("the worker leaves in order");
    }
}

fn bodies(seen: &[Seen]) -> impl Iterator<Item = &InboxBody> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Published(messages) => Some(messages),
            _ => None,
        })
        .flatten()
        .map(|message| &message.body)
}

pub(crate) fn results(seen: &[Seen]) -> Vec<TaskResult> {
    bodies(seen)
        .filter_map(|body| match body {
            InboxBody::Results { results } => Some(results.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

pub(crate) fn asks(seen: &[Seen]) -> Vec<Ask> {
    bodies(seen)
        .filter_map(|body| match body {
            InboxBody::Ask { ask } => Some(ask.clone()),
            _ => None,
        })
        .collect()
}

/// The renewals of each message.
pub(crate) fn renewals(seen: &[Seen]) -> Vec<Vec<Renewal>> {
    bodies(seen)
        .filter_map(|body| match body {
            InboxBody::Renew { renewals, .. } => Some(renewals.clone()),
            _ => None,
        })
        .collect()
}

pub(crate) fn records(seen: &[Seen]) -> Vec<WorkerRecord> {
    bodies(seen)
        .filter_map(|body| match body {
            InboxBody::Worker { record } => Some(record.clone()),
            _ => None,
        })
        .collect()
}

pub(crate) fn adjusted(seen: &[Seen]) -> i32 {
    seen.iter().map(|seen| if let Seen::Adjusted(by) = seen { *by } else { 0 }).sum()
}

pub(crate) fn is_acked(seen: &[Seen], execution: ExecutionId) -> bool {
    seen.iter().any(|seen| matches!(seen, Seen::Acked(acked) if *acked == execution))
}

/// A worker of the same components on another queue.
pub(crate) fn on(queue: Arc<dyn Queue>) -> (Worker, Arc<Stats>, CancellationToken) {
    let ports = Ports {
        queue,
        catalogue: catalogue(),
        payloads: Arc::new(Payloads::default()),
        notices: Arc::new(Payloads::default()),
        environment: Arc::new(Stage::default()),
        clock: Arc::new(SystemClock),
    };
    let worker = Worker::new(Config::default(), ports);
    let stats = worker.stats();
    (worker, stats, CancellationToken::new())
}

/// A task of an execution of its own.
pub(crate) fn task(kind: &str, config: Value) -> Task {
    Task {
        tenant: TenantId::DEFAULT,
        execution: ExecutionId::generate(),
        component: "step".into(),
        iteration: Iteration::default(),
        kind: kind.into(),
        attempt: 1,
        dispatch: 1,
        config,
        references: Vec::new(),
        timeout: Duration::from_hours(24),
        delivery: workflow::Delivery::AtLeastOnce,
        lease_at_once: false,
        pool: "default".into(),
        tags: Vec::new(),
        priority: Priority::Normal,
        reply_to: None,
        chain: None,
        may_share: false,
    }
}

/// A task of an execution in this shard.
pub(crate) fn task_in(shard: u16, kind: &str, config: Value) -> Task {
    loop {
        let task = task(kind, config.clone());
        if Shard::of(task.execution) == Shard(shard) {
            return task;
        }
    }
}
