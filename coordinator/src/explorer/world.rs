//! The world of one run: clients, coordinators, workers, timers and sweeps, step by step.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use shared::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Event, Execution, Mode, Payload, Received, Status, StoredPayload, TaskKey, TimerKey, Turn,
        start_hint,
    },
    ids::{ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, Token, WorkerId, WorkflowId},
    port::store::{HumanTaskStatus, Kept},
    time::Timestamp,
    wire::{
        Ask, AskKind, Control, Ending, InboxBody, InboxMessage, Renewal, RequestBody, Task, TaskResult,
        output_of,
    },
    workflow::{Delivery, Priority},
};

use super::{
    Dice, Plan, Tally, Violation,
    broker::{Broker, Tag, serves},
    check::{self, History},
    retries::Again,
    shapes,
    storage::Storage,
};
use crate::{
    audit,
    desk::{self, Aside, Decided, Desk, Outgoing, Settled, Work},
    engine::{Limits, Loaded, Needs, Rules},
    seeded::{Bug, has},
};

/// What is lost has been noticed by then.
const NOTICED: Duration = Duration::from_mins(65);

const LEASE: Duration = Duration::from_mins(1);

/// A batch of a coordinator between two awaits.
#[derive(Debug)]
enum Stage {
    /// Received; to be decided.
    Received { works: Vec<Work>, aside: Aside, tags: Vec<Tag> },
    /// Decided; to be committed.
    Decided { decided: Vec<(Work, Decided)>, outgoing: Box<Outgoing>, tags: Vec<Tag> },
    /// Committed; other executions are to be reached.
    Kept { outgoing: Box<Outgoing>, tags: Vec<Tag> },
}

/// Durable turns on their way to the broker.
#[derive(Debug)]
struct Publishing {
    outgoing: Outgoing,
    tags: Vec<Tag>,
}

#[derive(Debug)]
struct Coordinator {
    alive: bool,
    paused: bool,
    connection: u64,
    desk: Desk,
    stage: Option<Stage>,
    publishing: VecDeque<Publishing>,
}

/// Where an attempt stands in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Asks for a grant or lease before it begins.
    Ask,
    /// Waits for the answer since this instant.
    Asked(Timestamp),
    Begin,
    /// The effect is done; asks for a lease.
    HandOver,
    HandedOver(Timestamp),
    Finish,
    Report,
    Ack,
}

#[derive(Debug)]
struct Running {
    task: Task,
    tag: Option<Tag>,
    token: Option<Token>,
    step: Step,
    ending: Option<Ending>,
    leased: bool,
    cancelled: bool,
    /// Its result and those of what the worker went on with, if there are any.
    chain: Vec<TaskResult>,
}

#[derive(Debug)]
struct Worker {
    alive: bool,
    id: WorkerId,
    connection: u64,
    running: Vec<Running>,
}

/// One effect that a task had outside.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub(super) execution: ExecutionId,
    pub(super) task: TaskKey,
    pub(super) attempt: u32,
    token: Option<Token>,
    at_most_once: bool,
}

/// A client that waits for an answer to a submission.
#[derive(Debug)]
struct Client {
    key: String,
    shape: usize,
    /// The execution it was answered with, each time.
    answers: BTreeSet<ExecutionId>,
    /// Two API processes have looked for the key and not found it (planted fault B13).
    checked: u32,
    /// What it asks to be done again.
    again: Option<Box<Again>>,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) dice: Dice,
    pub(super) now: Timestamp,
    pub(super) rules: Rules,
    pub(super) storage: Storage,
    pub(super) broker: Broker,
    coordinators: Vec<Coordinator>,
    workers: Vec<Worker>,
    clients: Vec<Client>,
    pub(super) effects: Vec<Effect>,
    /// Runs of components that a worker went on with, each with the one before it.
    pub(super) chained: Vec<(TaskResult, TaskKey)>,
    /// Runs so far.
    runs: i64,
    /// Executions that a client asked to be killed, with the request.
    pub(super) kills: Vec<(ExecutionId, RequestId)>,
    /// Signals that were sent, and to whom.
    pub(super) signals: Vec<(ExecutionId, RequestId)>,
    connections: u64,
    pub(super) tally: Tally,
    pub(super) violation: Option<Violation>,
    pub(super) faults_on: bool,
}

fn rules(plan: Plan) -> Rules {
    let limits = if plan.small {
        Limits { inline: 24, turn_events: 12, kept_rounds: 2, heavy_rounds: 2 }
    } else {
        Limits::default()
    };
    Rules {
        // With a second place, who is not heard of for a while could be passed by any number.
        max_concurrent_executions: if plan.tenants { 1 } else { 4 },
        tenant_weights: HashMap::from([(LATER, 2)]),
        fusion: plan.fusion,
        limits,
        ..Rules::default()
    }
}

/// The tenant of clients that come late, and its weight.
const LATER: TenantId = TenantId::from_uuid(uuid::Uuid::from_u128(2));

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut world = Self {
            dice: Dice::new(plan.seed),
            plan,
            rules: rules(plan),
            now: Timestamp::from_micros(1_700_000_000_000_000),
            storage: Storage::default(),
            broker: Broker::default(),
            coordinators: Vec::new(),
            workers: Vec::new(),
            clients: Vec::new(),
            effects: Vec::new(),
            chained: Vec::new(),
            runs: 0,
            kills: Vec::new(),
            signals: Vec::new(),
            connections: 0,
            tally: Tally::default(),
            violation: None,
            faults_on: plan.faults > 0,
        };
        for _ in 0..2 {
            let connection = world.connect();
            world.coordinators.push(Coordinator {
                alive: true,
                paused: false,
                connection,
                desk: world.new_desk(),
                stage: None,
                publishing: VecDeque::new(),
            });
        }
        for _ in 0..3 {
            let worker = world.new_worker();
            world.workers.push(worker);
        }
        world
    }

    fn connect(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    fn new_desk(&self) -> Desk {
        // Tasks held back when a coordinator dies are found by the sweep alone.
        let mut desk = Desk::new(self.rules.clone(), if self.plan.sweep { 8 } else { 1_000 }, None);
        for workflow in shapes::versions() {
            desk.learn(Arc::clone(workflow));
        }
        desk
    }

    fn new_worker(&mut self) -> Worker {
        let id = WorkerId::from_uuid(self.dice.uuid());
        let connection = self.connect();
        self.broker.controls.insert(id, VecDeque::new());
        Worker { alive: true, id, connection, running: Vec::new() }
    }

    pub(super) fn broken(&mut self, invariant: &'static str, message: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, message });
        }
    }

    /// Runs the schedule, heals, drains, and checks every promise.
    pub(super) fn run(mut self) -> (Tally, Result<(), Violation>) {
        let actions = 200 + self.dice.below(200);
        for _ in 0..actions {
            self.tally.actions += 1;
            if self.faults_on && self.dice.chance(self.plan.faults) {
                self.fault();
            } else {
                self.act();
            }
            if self.violation.is_some() {
                break;
            }
        }
        if self.violation.is_none() {
            self.heal();
            self.drain();
        }
        if self.violation.is_none() {
            self.check();
        }
        if self.violation.is_some() && std::env::var("EXPLORER_SEED").is_ok() {
            self.tell_all();
        }
        self.tally.submitted = self.clients.len() as u64;
        let result = self.violation.map_or(Ok(()), Err);
        (self.tally, result)
    }

    fn act(&mut self) {
        self.now = self.now.after(Duration::from_micros(50 + self.dice.next() % 5_000));
        match self.dice.below(22) {
            0 => self.submit(),
            1 if self.dice.chance(25) => self.cancel(),
            1 if self.dice.chance(50) => self.person(),
            21 if self.dice.chance(20) => self.pause(),
            21 if self.dice.chance(25) => {
                self.retry();
            }
            21 if self.dice.chance(40) => self.move_one(),
            20 if self.dice.chance(20) => self.event(),
            20 if self.dice.chance(20) => self.signal(),
            2 => {
                self.fire_timers();
            }
            3 if self.dice.chance(30) => {
                self.sweep();
            }
            4 if self.dice.chance(30) => {
                self.now = self.now.after(Duration::from_millis(self.dice.next() % 40_000));
            }
            5..=12 => {
                let index = self.dice.below(self.coordinators.len());
                self.step_coordinator(index);
            }
            _ => {
                let index = self.dice.below(self.workers.len());
                self.step_worker(index);
            }
        }
    }

    // ---- clients and API -------------------------------------------------------------------

    fn submit(&mut self) {
        // A client that did not hear an answer asks again with its key.
        if !self.clients.is_empty() && self.dice.chance(20) {
            let index = self.dice.below(self.clients.len());
            self.submit_again(index);
            return;
        }
        if self.clients.iter().filter(|client| client.again.is_none()).count() >= 7 {
            return;
        }
        let all = shapes::shapes().len();
        // Places are worth something when many want them.
        let is_crowded = self.plan.crowded && self.dice.chance(80);
        let shape = if is_crowded {
            all - shapes::LIMITED + self.dice.below(shapes::LIMITED)
        } else {
            self.dice.below(all)
        };
        let key = format!("key-{}", self.clients.len());
        self.clients.push(Client { key, shape, answers: BTreeSet::new(), checked: 0, again: None });
        self.submit_again(self.clients.len() - 1);
    }

    /// A client asks for an ended execution to be done again.
    pub(super) fn ask_again(&mut self, shape: usize, again: Again) {
        let key = format!("again-{}", self.clients.len());
        let again = Some(Box::new(again));
        self.clients.push(Client { key, shape, answers: BTreeSet::new(), checked: 0, again });
        self.submit_again(self.clients.len() - 1);
    }

    fn first_turn(&mut self, client: usize) -> Turn {
        let shape = self.clients[client].shape;
        let key = Value::from(format!("k-{}", client % 3));
        let workflow = &shapes::shapes()[shape];
        let execution = ExecutionId::from_uuid(self.dice.uuid());
        let cause = MessageId::derived(execution, "submit");
        if let Some(again) = &self.clients[client].again {
            let mut events = vec![Event::Accepted(Box::new(again.accepted.clone()))];
            events.extend(again.events.iter().cloned());
            return Turn { execution, seq: 1, cause, at: self.now, events };
        }
        Turn {
            execution,
            seq: 1,
            cause,
            at: self.now,
            events: vec![Event::Accepted(Box::new(Accepted {
                parent: None,
                retry_of: None,
                trial: None,
                trigger: None,
                tenant: if self.plan.tenants && client > 3 { LATER } else { TenantId::DEFAULT },
                workflow: WorkflowId::from_uuid(uuid::Uuid::from_u128(shape as u128 + 1)),
                version: 1,
                hash: workflow.hash.clone(),
                parameters: Map::from_iter([("key".to_owned(), key)]),
                priority: Priority::Normal,
                mode: Mode::Live,
                scheduled_at: None,
                tags: Vec::new(),
                principal: "explorer".to_owned(),
            }))],
        }
    }

    fn submit_again(&mut self, index: usize) {
        let first = self.first_turn(index);
        let key = self.clients[index].key.clone();
        // B13: look, and insert a moment later without looking again.
        let mut check_key = true;
        if has(Bug::B13SubmitCheckThenInsert) && !self.storage.idempotency.contains_key(&key) {
            self.clients[index].checked += 1;
            if self.clients[index].checked < 2 && self.dice.chance(60) {
                return;
            }
            for _ in 1..self.clients[index].checked {
                let again = self.first_turn(index);
                let id = self.storage.accept(again.clone(), &key, false);
                self.clients[index].answers.insert(id);
                self.publish_start(again);
            }
            check_key = false;
        }
        let unknown = self.faults_on && self.dice.chance(self.plan.faults);
        let applied = !unknown || self.dice.chance(50);
        if unknown {
            self.tally.unknown_commits += 1;
        }
        let id = if applied { Some(self.storage.accept(first.clone(), &key, check_key)) } else { None };
        if let (Some(id), Some(again)) = (id, &self.clients[index].again)
            && id == first.execution
            && let Some(of) = again.accepted.retry_of
        {
            // In one transaction with the submission.
            let payloads = again.payloads.clone();
            self.storage.carry(of, id, &payloads);
        }
        if unknown {
            if has(Bug::B14UnknownCommitTakenAsSuccess) {
                self.clients[index].answers.insert(first.execution);
            }
            if has(Bug::B15UnknownSubmitRepeatedWithNewId) {
                let again = self.first_turn(index);
                let id = self.storage.accept(again.clone(), &key, false);
                self.clients[index].answers.insert(id);
                self.publish_start(again);
                if let Some(first_id) = id.ne(&first.execution).then_some(first.execution)
                    && self.storage.journals.contains_key(&first_id)
                {
                    self.clients[index].answers.insert(first_id);
                }
            }
            // The client hears nothing and will ask again.
            return;
        }
        let Some(id) = id else { return };
        self.clients[index].answers.insert(id);
        if id != first.execution && !self.plan.sweep {
            // Nothing else would find an execution whose first answer was lost.
            let first = self.storage.journals[&id][0].clone();
            self.publish_start(first);
        }
        if id == first.execution && !(self.plan.sweep && self.dice.chance(10)) {
            self.publish_start(first);
        }
    }

    fn publish_start(&mut self, first: Turn) {
        self.broker.inbox.publish(start_hint(first));
    }

    fn cancel(&mut self) {
        let open: Vec<ExecutionId> = self
            .storage
            .rows
            .iter()
            .filter(|(_, row)| !row.status.is_terminal())
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let execution = open[self.dice.below(open.len())];
        let (by, reason) = ("client".to_owned(), String::new());
        let body = if self.dice.chance(30) {
            RequestBody::Kill { by, reason }
        } else {
            RequestBody::Cancel { by, reason }
        };
        let kills = matches!(body, RequestBody::Kill { .. });
        let id = self.request(execution, body);
        if kills {
            self.kills.push((execution, id));
        }
    }

    /// Somebody pauses an execution, or lets a paused one go on.
    fn pause(&mut self) {
        let open: Vec<(ExecutionId, Status)> = self
            .storage
            .rows
            .iter()
            .filter(|(_, row)| !row.status.is_terminal())
            .map(|(id, row)| (*id, row.status))
            .collect();
        if open.is_empty() {
            return;
        }
        let (execution, status) = open[self.dice.below(open.len())];
        // Now and then what changes nothing.
        if (status == Status::Paused) == self.dice.chance(10) {
            self.tally.pauses += 1;
            let body = RequestBody::Pause { by: "client".to_owned(), reason: String::new() };
            self.request(execution, body);
        } else {
            self.resume(execution);
        }
    }

    fn resume(&mut self, execution: ExecutionId) {
        self.tally.resumes += 1;
        self.request(execution, RequestBody::Resume { by: "client".to_owned() });
    }

    /// Lets a paused execution go on, so that a run comes to its end.
    fn resume_in_the_end(&mut self) -> bool {
        let paused =
            self.storage.rows.iter().find(|(_, row)| row.status == Status::Paused).map(|(id, _)| *id);
        paused.is_some_and(|execution| {
            self.resume(execution);
            true
        })
    }

    /// The API accepts a request: a row, and a hint that may be lost.
    pub(super) fn request(&mut self, execution: ExecutionId, body: RequestBody) -> RequestId {
        let id = RequestId::from_uuid(self.dice.uuid());
        let body = match body {
            RequestBody::Signal { signal } => {
                RequestBody::Signal { signal: Received { id: id.to_string(), ..signal } }
            }
            other => other,
        };
        if !self.storage.request(id, execution, body.clone(), self.now) {
            return id;
        }
        if !self.plan.sweep || self.dice.chance(80) {
            self.broker.inbox.publish(InboxMessage {
                id: MessageId::derived(execution, &format!("request/{id}")),
                shard: Shard::of(execution),
                body: InboxBody::Request { execution, id, body },
            });
        }
        id
    }

    // ---- timers and sweeps -----------------------------------------------------------------

    fn fire_timers(&mut self) -> bool {
        let due: Vec<(ExecutionId, TimerKey, Timestamp)> = self
            .storage
            .timers
            .iter()
            .filter(|(_, (due, _))| *due <= self.now)
            .map(|((execution, key), (due, _))| (*execution, key.clone(), *due))
            .collect();
        let fires = !due.is_empty();
        for (execution, key, due) in due {
            if has(Bug::B12LeasesNeverExpire) && matches!(key, TimerKey::Lease(_)) {
                continue;
            }
            self.broker.inbox.publish(InboxMessage {
                id: MessageId::derived(execution, &format!("timer/{key}/{}", due.as_micros())),
                shard: Shard::of(execution),
                body: InboxBody::Timer { execution, key },
            });
        }
        fires
    }

    /// Answers whether anything was due; who waits for a slot is woken in any case.
    fn sweep(&mut self) -> bool {
        let sweep = self.plan.sweep && !has(Bug::B5NoSweep);
        let mut found: Vec<(ExecutionId, InboxBody)> = Vec::new();
        for (id, row) in &mut self.storage.rows {
            if sweep && row.sweep_at.is_some_and(|at| at <= self.now) {
                row.sweep_at = Some(self.now.after(Duration::from_secs(15)));
                found.push((*id, InboxBody::Sweep { execution: *id }));
            }
        }
        let resting = self.storage.slots.lines_at_rest();
        found.extend(resting.into_iter().map(|execution| (execution, InboxBody::Wake { execution })));
        for (id, execution, body, at) in &self.storage.requests {
            if sweep && self.now.since(*at) > Duration::from_secs(5) {
                found.push((
                    *execution,
                    InboxBody::Request { execution: *execution, id: *id, body: body.clone() },
                ));
            }
        }
        let is_due = found.iter().any(|(_, body)| !matches!(body, InboxBody::Wake { .. }));
        for (execution, body) in found {
            let id = match &body {
                InboxBody::Request { id, .. } => MessageId::derived(execution, &format!("request/{id}")),
                _ => MessageId::from_uuid(self.dice.uuid()),
            };
            self.broker.inbox.publish(InboxMessage { id, shard: Shard::of(execution), body });
        }
        is_due
    }

    // ---- coordinators ----------------------------------------------------------------------

    fn step_coordinator(&mut self, index: usize) {
        if !self.coordinators[index].alive || self.coordinators[index].paused {
            return;
        }
        if !self.coordinators[index].publishing.is_empty() && self.dice.chance(50) {
            self.publish(index);
            return;
        }
        match self.coordinators[index].stage.take() {
            None => self.receive(index),
            Some(Stage::Received { works, aside, tags }) => self.decide(index, works, aside, tags),
            Some(Stage::Decided { decided, outgoing, tags }) => self.commit(index, decided, *outgoing, tags),
            Some(Stage::Kept { outgoing, tags }) => self.reach_out(index, *outgoing, tags),
        }
    }

    fn receive(&mut self, index: usize) {
        let alive: Vec<bool> = self.coordinators.iter().map(|one| one.alive).collect();
        let affinity = self.plan.affinity;
        let most = 1 + self.dice.below(self.plan.batch);
        let connection = self.coordinators[index].connection;
        let mut messages = Vec::new();
        let mut tags = Vec::new();
        for _ in 0..most {
            let tag = self.broker.tag();
            let Some(held) = self.broker.inbox.deliver(tag, connection, &mut self.dice, |message| {
                !affinity || serves(message.shard, index, &alive)
            }) else {
                break;
            };
            tags.push(tag);
            messages.push((held.message, held.redelivered));
        }
        if messages.is_empty() {
            return;
        }
        if has(Bug::B2AckBeforeCommit) {
            for tag in &tags {
                self.broker.inbox.ack(*tag, connection);
            }
        }
        let (works, aside) = desk::gather(messages);
        self.coordinators[index].stage = Some(Stage::Received { works, aside, tags });
    }

    fn decide(&mut self, index: usize, mut works: Vec<Work>, aside: Aside, tags: Vec<Tag>) {
        let now = self.now;
        let mut outgoing = Outgoing::default();
        for (worker, renewals) in aside.renewals {
            let lost: Vec<Token> = renewals
                .iter()
                .filter(|renewal| {
                    let key = TimerKey::Lease(renewal.key());
                    !self.storage.renew(renewal.execution, key, renewal.token, now, now.after(LEASE))
                })
                .map(|renewal| renewal.token)
                .collect();
            if !lost.is_empty() {
                outgoing
                    .tell
                    .push((shared::port::queue::Audience::Worker(worker), Control::Lost { tokens: lost }));
            }
        }
        let decided = self.decide_works(index, &mut works);
        let decided: Vec<(Work, Decided)> = works.into_iter().zip(decided).collect();
        if has(Bug::B4PublishBeforeCommit) {
            // Peeks at the commands as the publisher would see them.
            let mut early = Outgoing::default();
            for (_, made) in &decided {
                for task in made.tasks() {
                    early.tasks.push(task);
                }
            }
            for task in early.tasks {
                self.dispatch(task);
            }
        }
        self.coordinators[index].stage = Some(Stage::Decided { decided, outgoing: Box::new(outgoing), tags });
    }

    fn decide_works(&mut self, index: usize, works: &mut [Work]) -> Vec<Decided> {
        let now = self.now;
        for work in works.iter_mut() {
            let desk = &mut self.coordinators[index].desk;
            let missing = desk.is_missing(work);
            match desk.brought(work) {
                Some(first) => self.adopt(index, &[*first]),
                None if missing => self.read(index, work.execution),
                None => {}
            }
        }
        let mut made = Vec::with_capacity(works.len());
        for work in works.iter() {
            let mut payloads = Loaded::new();
            let ahead = self.coordinators[index].desk.execution(work.execution).map(Execution::items_ahead);
            for id in ahead.into_iter().flatten() {
                // What was read lately lies at hand; the rest is asked for.
                if self.dice.chance(50) {
                    self.load(work.execution, id, &mut payloads);
                }
            }
            let mut decided = None;
            let mut cached = None;
            loop {
                let had = (payloads.len(), cached.is_some());
                let dice = &mut self.dice;
                let mut fresh = || PayloadId::from_uuid(dice.uuid());
                match self.coordinators[index].desk.decide(
                    work,
                    now,
                    false,
                    &payloads,
                    cached.as_ref(),
                    &mut fresh,
                ) {
                    Ok(Some(done)) => {
                        decided = Some(done);
                        break;
                    }
                    Ok(None) => {
                        self.read(index, work.execution);
                        if self.violation.is_none() {
                            continue;
                        }
                    }
                    Err(Needs::Rows(ask)) => self.broken("I0", format!("{} is no list", ask.file)),
                    Err(Needs::Payloads(ids)) => {
                        self.tally.loads += 1;
                        for id in ids {
                            self.load(work.execution, id, &mut payloads);
                        }
                        if self.coordinators[index].desk.execution(work.execution).is_none() {
                            self.tally.spoilt += 1;
                            self.read(index, work.execution);
                        }
                    }
                    Err(Needs::Cached(keys)) => cached = Some(self.find_cached(work.execution, keys)),
                }
                if self.violation.is_some() || had == (payloads.len(), cached.is_some()) {
                    break;
                }
            }
            if decided.is_none() {
                self.broken("I1", format!("{} cannot be decided", work.execution));
            }
            made.push(decided.unwrap_or_else(|| Decided::about(work.execution)));
        }
        made
    }

    fn load(&mut self, execution: ExecutionId, id: PayloadId, payloads: &mut Loaded) {
        match self.storage.payload(execution, id) {
            Some(value) => {
                payloads.insert(id, value);
            }
            None => self.broken("I0", format!("{execution} refers to {id}, which was not kept")),
        }
    }

    fn read(&mut self, index: usize, execution: ExecutionId) {
        // In small pages, as long journals are read in larger ones.
        const PAGE: usize = 4;
        let Some(turns) = self.storage.journals.get(&execution) else { return };
        let (first, rest) = turns.split_at(turns.len().min(PAGE));
        let desk = &mut self.coordinators[index].desk;
        let read = desk
            .adopt(first)
            .and_then(|()| rest.chunks(PAGE).try_for_each(|page| desk.adopt_more(execution, page)));
        if let Err(error) = read {
            self.broken("I13", format!("a journal does not fold: {error}"));
        }
    }

    fn adopt(&mut self, index: usize, turns: &[Turn]) {
        if let Err(error) = self.coordinators[index].desk.adopt(turns) {
            self.broken("I13", format!("a journal does not fold: {error}"));
        }
    }

    fn commit(
        &mut self,
        index: usize,
        mut decided: Vec<(Work, Decided)>,
        mut outgoing: Outgoing,
        tags: Vec<Tag>,
    ) {
        let mut again = self.keep(index, &mut decided, &mut outgoing, &tags);
        let Some(mut works) = again.take() else { return };
        // Whoever lost the race decides again at once.
        for _ in 0..4 {
            if works.is_empty() {
                break;
            }
            let made = self.decide_works(index, &mut works);
            let mut decided: Vec<(Work, Decided)> = works.into_iter().zip(made).collect();
            match self.keep(index, &mut decided, &mut outgoing, &tags) {
                Some(next) => works = next,
                None => return,
            }
        }
        if !works.is_empty() {
            // Always second: the messages go back.
            self.give_back(index, &tags);
            return;
        }
        loop {
            let before = self.coordinators[index].desk.held_back();
            let fed = self.coordinators[index].desk.feed();
            if fed.is_empty() {
                break;
            }
            let cause = MessageId::from_uuid(self.dice.uuid());
            let mut wakes = Desk::wakes(fed, || cause);
            while !wakes.is_empty() {
                let made = self.decide_works(index, &mut wakes);
                let mut decided: Vec<(Work, Decided)> = wakes.into_iter().zip(made).collect();
                match self.keep(index, &mut decided, &mut outgoing, &tags) {
                    Some(next) => wakes = next,
                    None => return,
                }
            }
            if self.coordinators[index].desk.held_back() == before {
                break;
            }
        }
        let touched: Vec<ExecutionId> = outgoing.updates.iter().map(|update| update.execution).collect();
        self.compare_cache(index, &touched);
        self.coordinators[index].desk.tidy(touched.into_iter(), 6);
        self.coordinators[index].desk.forget_idle(self.now, Duration::from_mins(1));
        // Slots that became free wake whoever waits for them.
        let freed = std::mem::take(&mut outgoing.freed);
        for key in freed {
            for execution in self.storage.slots.next_in_line(&key) {
                let id = MessageId::from_uuid(self.dice.uuid());
                self.broker.inbox.publish(InboxMessage {
                    id,
                    shard: Shard::of(execution),
                    body: InboxBody::Wake { execution },
                });
            }
        }
        if has(Bug::B3AckBeforeConfirmNoSweep) {
            let connection = self.coordinators[index].connection;
            for tag in &tags {
                self.broker.inbox.ack(*tag, connection);
            }
        }
        let reaches = !(outgoing.parents.is_empty()
            && outgoing.close.is_empty()
            && outgoing.waits.is_empty()
            && outgoing.permits.is_empty()
            && outgoing.displaced.is_empty()
            && outgoing.questions.is_empty()
            && outgoing.wake.is_empty()
            && outgoing.children.is_empty());
        if reaches {
            self.coordinators[index].stage = Some(Stage::Kept { outgoing: Box::new(outgoing), tags });
        } else {
            self.coordinators[index].publishing.push_back(Publishing { outgoing, tags });
        }
    }

    /// Does what durable turns mean for other executions, and may fail in the middle.
    fn reach_out(&mut self, index: usize, mut outgoing: Outgoing, tags: Vec<Tag>) {
        let faults = if self.faults_on { self.plan.faults } else { 0 };
        if !self.reach(&mut outgoing, faults) {
            self.tally.half_reached += 1;
            self.give_back(index, &tags);
            return;
        }
        self.coordinators[index].publishing.push_back(Publishing { outgoing, tags });
    }

    /// A batch failed: everything is forgotten, and its messages go back.
    fn give_back(&mut self, index: usize, tags: &[Tag]) {
        let coordinator = &mut self.coordinators[index];
        coordinator.desk.drop_all();
        let connection = coordinator.connection;
        for tag in tags {
            self.broker.inbox.requeue(*tag, connection);
        }
    }

    /// Commits; `None` when the outcome is unknown and the batch goes back.
    fn keep(
        &mut self,
        index: usize,
        decided: &mut Vec<(Work, Decided)>,
        outgoing: &mut Outgoing,
        tags: &[Tag],
    ) -> Option<Vec<Work>> {
        let commits: Vec<_> = decided
            .iter_mut()
            .flat_map(|(_, made)| made.planned.iter_mut().filter_map(|planned| planned.commit.take()))
            .collect();
        let mut payloads = Vec::new();
        for (_, made) in decided.iter_mut() {
            self.tally.payloads += made.payloads.len() as u64;
            payloads.append(&mut made.payloads);
        }
        let unknown = self.faults_on && !commits.is_empty() && self.dice.chance(self.plan.faults);
        let too_late = unknown && has(Bug::B45PayloadKeptAfterTheCommit);
        if !too_late {
            for (_, execution, id, bytes) in payloads {
                self.storage.payloads.insert((execution, id), bytes);
            }
        }
        if unknown {
            self.tally.unknown_commits += 1;
            if self.dice.chance(50) {
                self.storage.commit(&commits);
            }
            self.give_back(index, tags);
            return None;
        }
        let kept = self.storage.commit(&commits);
        let mut kept: &[Kept] = &kept;
        let mut again = Vec::new();
        let mut forgotten = Vec::new();
        for (work, mut made) in decided.drain(..) {
            let forget = std::mem::take(&mut made.forget);
            let (late, looks) = (made.late.len() as u64, std::mem::take(&mut made.sweep_again));
            let (mine, rest) = kept.split_at(made.planned.len());
            kept = rest;
            let desk = &mut self.coordinators[index].desk;
            match desk.settle(made, mine, outgoing) {
                Settled::Done => {
                    forgotten.extend(forget);
                    self.tally.late += late;
                    self.storage.sweep_again(looks);
                }
                Settled::DecideAgain => {
                    self.tally.superseded += 1;
                    if !has(Bug::B17CacheKeptAfterConflict) {
                        desk.drop_execution(work.execution);
                    }
                    again.push(work);
                }
                Settled::NoPlace(full) => {
                    self.tally.without_a_place += 1;
                    desk.drop_execution(work.execution);
                    again.push(work.with_full(full));
                }
            }
        }
        for request in forgotten {
            self.lost_signal(request);
            self.storage.requests.retain(|(held, ..)| *held != request);
        }
        Some(again)
    }

    /// I13: the state in memory is what the journal folds to (unless somebody else has gone on).
    fn compare_cache(&mut self, index: usize, touched: &[ExecutionId]) {
        let mut wrong = None;
        for id in touched {
            let Some(cached) = self.coordinators[index].desk.execution(*id) else { continue };
            let Some(turns) = self.storage.journals.get(id) else { continue };
            if turns.len() as u32 != cached.seq {
                continue;
            }
            self.tally.checked += 1;
            match Execution::replay_with(turns, &shapes::find) {
                Ok(folded) if folded == *cached => {
                    wrong = wrong.or(check::rows(&folded, &self.storage));
                }
                Ok(_) => {
                    wrong = Some(("I13", format!("the state of {id} in memory differs from its journal")));
                }
                Err(error) => wrong = Some(("I13", format!("the journal of {id} does not fold: {error}"))),
            }
        }
        if let Some((invariant, message)) = wrong {
            self.broken(invariant, message);
        }
    }

    fn publish(&mut self, index: usize) {
        // Publishes finish in any order.
        let at = self.dice.below(self.coordinators[index].publishing.len().max(1));
        let Some(Publishing { outgoing, tags }) = self.coordinators[index].publishing.remove(at) else {
            return;
        };
        for task in &outgoing.tasks {
            self.dispatch(task.clone());
        }
        for hint in &outgoing.hints {
            self.broker.inbox.publish(hint.clone());
        }
        if self.faults_on && !outgoing.hints.is_empty() && self.dice.chance(self.plan.faults) {
            self.tally.lost_confirms += 1;
            for hint in &outgoing.hints {
                self.broker.inbox.publish(hint.clone());
            }
        }
        if self.faults_on && !outgoing.tasks.is_empty() && self.dice.chance(self.plan.faults) {
            // The confirm was lost: they are there, and are published again.
            self.tally.lost_confirms += 1;
            for task in &outgoing.tasks {
                self.dispatch(task.clone());
            }
        }
        for (audience, control) in &outgoing.tell {
            self.broker.tell(*audience, control);
        }
        let connection = self.coordinators[index].connection;
        if has(Bug::B25MultipleAckCoversUnconfirmed) {
            if let Some(highest) = tags.iter().max() {
                self.broker.inbox.ack_up_to(*highest, connection);
            }
            return;
        }
        for tag in tags {
            self.broker.inbox.ack(tag, connection);
        }
    }

    /// A4: what is published is in the journal.
    fn dispatch(&mut self, task: Task) {
        if !self.storage.has_dispatch(task.execution, &task.key(), task.attempt, task.dispatch)
            && !has(Bug::B16AcknowledgedCommitRolledBack)
            && !has(Bug::B27LostFenceDropsTheBatch)
            && !has(Bug::B14UnknownCommitTakenAsSuccess)
        {
            self.broken("A4", format!("{} was published before its turn was durable", task.key()));
        }
        if let Some((_, id)) =
            task.references.iter().find(|(_, id)| self.storage.payload(task.execution, *id).is_none())
        {
            self.broken("I0", format!("{} was published, and its {id} was not kept", task.key()));
        }
        self.broker.tasks.publish(task);
    }

    // ---- workers ---------------------------------------------------------------------------

    fn step_worker(&mut self, index: usize) {
        if !self.workers[index].alive {
            return;
        }
        self.hear(index);
        let running = self.workers[index].running.len();
        if running < 3 && (running == 0 || self.dice.chance(40)) {
            self.take_task(index);
            return;
        }
        if running > 0 {
            let at = self.dice.below(running);
            self.step_attempt(index, at);
        }
    }

    fn hear(&mut self, index: usize) {
        let id = self.workers[index].id;
        let Some(queue) = self.broker.controls.get_mut(&id) else { return };
        let heard: Vec<Control> = queue.drain(..).collect();
        for control in heard {
            for running in &mut self.workers[index].running {
                match &control {
                    Control::Answer { token, granted } if running.token == Some(*token) => match running.step
                    {
                        Step::Asked(_) if *granted => running.step = Step::Begin,
                        Step::HandedOver(_) if *granted => {
                            running.step = Step::Finish;
                            running.leased = true;
                        }
                        // Not ours: no effect, no result, only the acknowledgement.
                        Step::Asked(_) | Step::HandedOver(_) => running.step = Step::Ack,
                        _ => {}
                    },
                    Control::Lost { tokens }
                        if running.token.is_some_and(|token| tokens.contains(&token))
                            && running.leased
                            && running.step != Step::Ack =>
                    {
                        running.step = Step::Ack;
                    }
                    Control::Cancel { execution, tasks }
                        if *execution == running.task.execution && tasks.contains(&running.task.key()) =>
                    {
                        running.cancelled = true;
                    }
                    _ => {}
                }
            }
        }
    }

    fn take_task(&mut self, index: usize) {
        let tag = self.broker.tag();
        let connection = self.workers[index].connection;
        let Some(held) = self.broker.tasks.deliver(tag, connection, &mut self.dice, |_| true) else { return };
        let task = held.message;
        let at_most_once = task.delivery == Delivery::AtMostOnce;
        let (step, ending) = if held.redelivered {
            (Step::Report, Some(Ending::Lost { reason: "the broker delivered it again".to_owned() }))
        } else if at_most_once {
            (Step::Ask, None)
        } else {
            (Step::Begin, None)
        };
        self.workers[index].running.push(Running {
            task,
            tag: Some(tag),
            token: None,
            step,
            ending,
            leased: false,
            cancelled: false,
            chain: Vec::new(),
        });
    }

    fn step_attempt(&mut self, index: usize, at: usize) {
        let connection = self.workers[index].connection;
        let worker = self.workers[index].id;
        let now = self.now;
        let fresh = Token::from_uuid(self.dice.uuid());
        let hands_over = self.plan.lease_all || self.dice.chance(15);
        let running = &mut self.workers[index].running[at];
        let task = running.task.clone();
        match running.step {
            Step::Ask => {
                running.token = Some(fresh);
                running.step = if has(Bug::B8EffectBeforeGrant) { Step::Begin } else { Step::Asked(now) };
                self.ask(&task, worker, fresh, AskKind::Grant);
            }
            Step::Asked(since) => {
                if now.since(since) > Duration::from_secs(30) {
                    running.ending = Some(Ending::NotGranted);
                    running.step = Step::Report;
                }
            }
            Step::Begin => {
                if running.cancelled {
                    running.ending =
                        Some(Ending::Failed(Failure::new(FailureClass::Cancelled, "told to stop")));
                    running.step = Step::Report;
                    return;
                }
                let token = running.token;
                running.step = if hands_over && task.delivery != Delivery::AtMostOnce {
                    Step::HandOver
                } else {
                    Step::Finish
                };
                self.effects.push(Effect {
                    execution: task.execution,
                    task: task.key(),
                    attempt: task.attempt,
                    token,
                    at_most_once: task.delivery == Delivery::AtMostOnce,
                });
            }
            Step::HandOver => {
                if has(Bug::B10AckBeforeLease)
                    && let Some(tag) = running.tag.take()
                {
                    self.broker.tasks.ack(tag, connection);
                    return;
                }
                let running = &mut self.workers[index].running[at];
                running.token = Some(fresh);
                running.step = Step::HandedOver(now);
                self.ask(&task, worker, fresh, AskKind::Lease);
            }
            Step::HandedOver(since) => {
                // No answer: the delivery is still held, the attempt may end in the ordinary way, fenced by
                // the token that it asked with.
                if now.since(since) > Duration::from_secs(30) {
                    running.step = Step::Finish;
                }
            }
            Step::Finish => {
                if running.leased
                    && let Some(tag) = running.tag.take()
                {
                    self.broker.tasks.ack(tag, connection);
                    return;
                }
                if running.leased && self.dice.chance(30) {
                    let token = self.workers[index].running[at].token.unwrap_or(fresh);
                    self.renew(&task, worker, token);
                    return;
                }
                let ending = self.outcome(&task);
                let leased = self.workers[index].running[at].token.is_some();
                let chain = if leased { Vec::new() } else { self.follow(&task, worker, &ending) };
                let running = &mut self.workers[index].running[at];
                running.ending = Some(ending);
                running.chain = chain;
                running.step = Step::Report;
            }
            Step::Report => {
                if has(Bug::B11AckBeforeResultConfirm)
                    && let Some(tag) = running.tag.take()
                {
                    self.broker.tasks.ack(tag, connection);
                    return;
                }
                let running = &mut self.workers[index].running[at];
                let Some(ending) = running.ending.clone() else { return };
                let token = running.token;
                running.step = Step::Ack;
                let chain = std::mem::take(&mut running.chain);
                if chain.is_empty() {
                    self.report(&task, worker, token, ending);
                } else {
                    self.inbox_message(task.execution, InboxBody::Results { results: chain });
                }
            }
            Step::Ack => {
                let running = self.workers[index].running.swap_remove(at);
                if let Some(tag) = running.tag {
                    self.broker.tasks.ack(tag, connection);
                }
            }
        }
    }

    pub(super) fn inbox_message(&mut self, execution: ExecutionId, body: InboxBody) {
        let id = MessageId::from_uuid(self.dice.uuid());
        self.broker.inbox.publish(InboxMessage { id, shard: Shard::of(execution), body });
    }

    fn ask(&mut self, task: &Task, worker: WorkerId, token: Token, kind: AskKind) {
        let ask = Ask {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            attempt: task.attempt,
            worker,
            token,
            kind,
        };
        self.inbox_message(task.execution, InboxBody::Ask { ask });
    }

    fn renew(&mut self, task: &Task, worker: WorkerId, token: Token) {
        let renewals = vec![Renewal {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            token,
        }];
        self.inbox_message(task.execution, InboxBody::Renew { worker, renewals });
    }

    /// Goes on with some of what a task brought along: its result and theirs, or nothing.
    fn follow(&mut self, task: &Task, worker: WorkerId, ending: &Ending) -> Vec<TaskResult> {
        let mut followers: Vec<TaskResult> = Vec::new();
        let Some(chain) = task.chain.clone() else { return followers };
        let first = self.result(task, worker, None, ending.clone());
        for link in chain.links {
            let before = followers.last().unwrap_or(&first);
            if output_of(before).is_none() || self.dice.chance(15) {
                break;
            }
            let (begun, before) = (before.started_at, before.key());
            let Some(task) = link.task(task, &chain.sees, &first, &followers) else { break };
            let ending = self.outcome(&task);
            let mut result = self.result(&task, worker, None, ending);
            result.follows = Some(begun);
            self.chained.push((result.clone(), before));
            followers.push(result);
        }
        if !followers.is_empty() {
            followers.insert(0, first);
        }
        followers
    }

    fn result(&mut self, task: &Task, worker: WorkerId, token: Option<Token>, ending: Ending) -> TaskResult {
        // No two runs begin at the same instant.
        self.runs += 1;
        let started_at = Timestamp::from_micros(self.now.as_micros() + self.runs);
        TaskResult {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            attempt: task.attempt,
            dispatch: task.dispatch,
            worker,
            token,
            started_at,
            finished_at: started_at,
            ending,
            log: Vec::new(),
            follows: None,
        }
    }

    fn report(&mut self, task: &Task, worker: WorkerId, token: Option<Token>, ending: Ending) {
        let results = vec![self.result(task, worker, token, ending)];
        self.inbox_message(task.execution, InboxBody::Results { results });
    }

    /// Nobody goes on before the instant of its permit, and no period holds more than its limit and a burst.
    fn check_permits(&mut self) {
        const PERIOD: Duration = Duration::from_secs(20);
        const MOST: usize = 2 + 2;
        let mut given: Vec<Timestamp> = Vec::new();
        let mut wrong = None;
        for (turns, turn) in
            self.storage.journals.values().flat_map(|turns| turns.iter().map(move |turn| (turns, turn)))
        {
            for event in &turn.events {
                // Its time is longer than any wait for those before it, but runs on in a pause.
                if let Event::DecisionFailed { task, failure } = event
                    && task.component.as_str() == "calm"
                    && !turns
                        .iter()
                        .flat_map(|turn| &turn.events)
                        .any(|event| matches!(event, Event::Paused { .. }))
                    && failure.class == FailureClass::Timeout
                {
                    wrong = Some(format!("{task} was never told that its permit is there"));
                }
                let Event::Decided { task, output: Payload::Inline(output), ports, .. } = event else {
                    continue;
                };
                if !ports.iter().any(|port| port == "admitted") {
                    continue;
                }
                let at = output.get("at").and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
                match at {
                    Some(at) if at <= turn.at => given.push(at),
                    _ => wrong = Some(format!("{task} went on at {} with a permit for {output}", turn.at)),
                }
            }
        }
        given.sort();
        self.tally.permits += given.len() as u64;
        for (position, first) in given.iter().enumerate() {
            let within = given[position..].iter().filter(|at| **at < first.after(PERIOD)).count();
            if within > MOST {
                wrong = Some(format!("{within} were let through in the period from {first}"));
            }
        }
        if let Some((execution, task)) = self.storage.rates.held().next() {
            wrong = Some(format!("the permit of {task} of {execution} was not forgotten"));
        }
        if let Some(message) = wrong {
            self.broken("I33", message);
        }
    }

    /// What a worker went on with counts only after the very run that it followed.
    fn check_chained(&mut self) {
        let mut wrong = None;
        for (result, before) in &self.chained {
            let turns = self.storage.journals.get(&result.execution);
            let runs = |key: &TaskKey, begun: Timestamp| {
                turns.into_iter().flatten().flat_map(|turn| &turn.events).any(|event| match event {
                    Event::TaskCompleted { task, worker, started_at, .. } => {
                        task == key && *worker == result.worker && *started_at == begun
                    }
                    Event::TaskFailed { task, worker, started_at, .. } => {
                        task == key && *worker == Some(result.worker) && *started_at == Some(begun)
                    }
                    _ => false,
                })
            };
            if !runs(&result.key(), result.started_at) {
                continue;
            }
            self.tally.followed += 1;
            if !result.follows.is_some_and(|begun| runs(before, begun)) {
                wrong =
                    Some(format!("{} counted, and the run of {before} it followed did not", result.key()));
            }
        }
        if let Some(message) = wrong {
            self.broken("I32", message);
        }
    }

    // ---- faults ----------------------------------------------------------------------------

    fn fault(&mut self) {
        // Without the safety net nothing may be lost outright.
        let kinds = if self.plan.sweep { 11 } else { 8 };
        match self.dice.below(kinds) {
            0 | 1 => {
                let index = self.dice.below(self.workers.len());
                self.kill_worker(index);
            }
            2 => {
                let index = self.dice.below(self.coordinators.len());
                self.kill_coordinator(index);
            }
            3 => {
                let index = self.dice.below(self.coordinators.len());
                let paused = !self.coordinators[index].paused;
                self.coordinators[index].paused = paused;
            }
            4 => {
                self.tally.cuts += 1;
                // The connection breaks; the process goes on, and its old tags are void.
                let index = self.dice.below(self.coordinators.len());
                let old = self.coordinators[index].connection;
                self.broker.inbox.cut(old);
                self.coordinators[index].connection = self.connect();
            }
            5 => {
                self.tally.cuts += 1;
                let index = self.dice.below(self.workers.len());
                let old = self.workers[index].connection;
                self.broker.tasks.cut(old);
                self.workers[index].connection = self.connect();
            }
            6 => {
                self.tally.restarts += 1;
                let connections: Vec<u64> = self
                    .coordinators
                    .iter()
                    .map(|one| one.connection)
                    .chain(self.workers.iter().map(|one| one.connection))
                    .collect();
                self.broker.restart(&connections);
                self.reconnect_all();
            }
            7 => {
                self.tally.drains += 1;
                let index = self.dice.below(self.workers.len());
                self.drain_worker(index);
            }
            8 => {
                let duplicated = if self.dice.chance(50) {
                    self.broker.inbox.duplicate(&mut self.dice)
                } else {
                    self.broker.tasks.duplicate(&mut self.dice)
                };
                self.tally.duplicates += u64::from(duplicated);
            }
            9 => {
                self.tally.wipes += 1;
                self.broker.wipe();
                self.reconnect_all();
            }
            _ => {
                for queue in self.broker.controls.values_mut() {
                    queue.clear();
                }
            }
        }
    }

    fn reconnect_all(&mut self) {
        for index in 0..self.coordinators.len() {
            self.coordinators[index].connection = self.connect();
        }
        for index in 0..self.workers.len() {
            self.workers[index].connection = self.connect();
        }
    }

    fn kill_worker(&mut self, index: usize) {
        self.tally.kills += 1;
        let old = self.workers[index].connection;
        self.broker.tasks.cut(old);
        self.broker.controls.remove(&self.workers[index].id);
        self.workers[index] = self.new_worker();
    }

    fn drain_worker(&mut self, index: usize) {
        let worker = self.workers[index].id;
        let connection = self.workers[index].connection;
        let running = std::mem::take(&mut self.workers[index].running);
        for one in running {
            let ending = match one.step {
                Step::Ack => None,
                // A leased one is left to its lease; one that waits for a grant has not begun.
                _ if one.leased => None,
                Step::Ask | Step::Asked(_) => Some(Ending::NotGranted),
                Step::Begin if one.token.is_none() => Some(Ending::Returned),
                Step::Report => one.ending.clone(),
                _ => Some(Ending::Lost { reason: "the worker was told to leave".to_owned() }),
            };
            if let Some(ending) = ending {
                self.report(&one.task, worker, one.token, ending);
            }
            if let Some(tag) = one.tag {
                self.broker.tasks.ack(tag, connection);
            }
        }
        self.broker.controls.remove(&worker);
        self.workers[index] = self.new_worker();
    }

    fn kill_coordinator(&mut self, index: usize) {
        self.tally.kills += 1;
        let old = self.coordinators[index].connection;
        self.broker.inbox.cut(old);
        let connection = self.connect();
        let desk = self.new_desk();
        let coordinator = &mut self.coordinators[index];
        coordinator.connection = connection;
        coordinator.desk = desk;
        coordinator.stage = None;
        coordinator.publishing.clear();
        coordinator.paused = false;
    }

    // ---- the end ---------------------------------------------------------------------------

    fn heal(&mut self) {
        self.faults_on = false;
        for coordinator in &mut self.coordinators {
            coordinator.paused = false;
        }
        // Clients that never heard an answer ask until they do.
        for index in 0..self.clients.len() {
            if self.clients[index].answers.is_empty() {
                self.submit_again(index);
                self.submit_again(index);
            }
        }
    }

    fn drain(&mut self) {
        // Since when nothing has happened.
        let mut idle = self.now;
        for round in 0..20_000 {
            let rests = self.storage.open() == 0 && self.broker.inbox.len() == 0 && !self.is_busy();
            if self.violation.is_some() {
                return;
            }
            if rests {
                // What has come further is done again too.
                if !self.dice.chance(25) || !self.retry() {
                    return;
                }
                idle = self.now;
            }
            self.now = self.now.after(Duration::from_millis(1));
            let turns = self.storage.turns;
            for index in 0..self.coordinators.len() {
                self.step_coordinator(index);
            }
            for index in 0..self.workers.len() {
                self.step_worker(index);
            }
            if self.storage.turns != turns {
                idle = self.now;
            }
            let under_way = self.broker.inbox.len() > 0 || self.broker.tasks.len() > 0 || self.is_busy();
            let mut is_due = false;
            if !under_way || round % 256 == 0 {
                is_due = self.fire_timers();
                is_due |= self.sweep();
            }
            if under_way || is_due {
                continue;
            }
            if self.workers.iter().any(|worker| !worker.running.is_empty()) {
                self.now = self.now.after(Duration::from_secs(2));
                continue;
            }
            // Nothing is under way but what time, people and events bring.
            self.check_looks();
            if self.now.since(idle) > NOTICED {
                self.stands_for_a_reason();
            }
            let moves = self.dice.chance(25)
                && (self.person_in_the_end() || self.event_in_the_end() || self.resume_in_the_end());
            if !moves {
                self.now = self.next_instant();
            }
        }
        self.stuck();
    }

    /// Whether a coordinator is in the middle of something.
    fn is_busy(&self) -> bool {
        self.coordinators.iter().any(|one| one.stage.is_some() || !one.publishing.is_empty())
    }

    /// When something is due next.
    fn next_instant(&self) -> Timestamp {
        let timers = self.storage.timers.values().map(|(due, _)| *due);
        let sweeps = self.storage.rows.values().filter_map(|row| row.sweep_at).filter(|_| self.plan.sweep);
        let next = timers.chain(sweeps).min().unwrap_or_else(|| self.now.after(Duration::from_mins(1)));
        next.max(self.now.after(Duration::from_secs(2)))
    }

    fn stuck(&mut self) {
        let stuck: Vec<String> = self
            .storage
            .rows
            .iter()
            .filter(|(_, row)| !row.status.is_terminal())
            .map(|(id, row)| format!("{id} ({}): {}", row.status.as_str(), self.describe(*id)))
            .collect();
        self.broken("I1", format!("stuck: {}", stuck.join(", ")));
    }

    /// I1: what is quiet waits for something that can be seen.
    fn stands_for_a_reason(&mut self) {
        let standing =
            self.storage.rows.iter().find(|(id, row)| !row.status.is_terminal() && !self.has_a_reason(**id));
        if let Some((id, row)) = standing {
            let message = format!("{id} ({}) stands still: {}", row.status.as_str(), self.describe(*id));
            self.broken("I1", message);
        }
    }

    fn has_a_reason(&self, id: ExecutionId) -> bool {
        self.storage.rows.get(&id).is_some_and(|row| row.status == Status::Paused)
            || self.storage.timers.keys().any(|(owner, _)| *owner == id)
            || self
                .storage
                .people
                .iter()
                .any(|((owner, _), person)| *owner == id && person.status == HumanTaskStatus::Open)
            || self.storage.slots.waiting().filter(|(_, of, _)| *of == id).any(|(key, ..)| {
                let held = self.storage.slots.held();
                held.filter(|(of, ..)| *of == key).any(|(_, holder, ..)| self.has_a_reason_but(holder, id))
            })
            || self
                .children_of(id)
                .any(|child| !self.storage.rows[&child].status.is_terminal() && self.has_a_reason(child))
    }

    /// Whether the holder of a slot stands for a reason of its own.
    fn has_a_reason_but(&self, holder: ExecutionId, waiting: ExecutionId) -> bool {
        self.storage.rows[&holder].status == Status::Paused
            || self.storage.timers.keys().any(|(owner, _)| *owner == holder)
            || self
                .storage
                .people
                .iter()
                .any(|((owner, _), person)| *owner == holder && person.status == HumanTaskStatus::Open)
            || self.children_of(holder).any(|child| {
                child != waiting
                    && !self.storage.rows[&child].status.is_terminal()
                    && self.has_a_reason_but(child, waiting)
            })
    }

    /// Every journal, for whoever looks into a seed.
    fn tell_all(&self) {
        for (id, turns) in &self.storage.journals {
            println!("--- {id}");
            for turn in turns {
                println!("{} {} {} {:?}", turn.seq, turn.at, turn.cause, turn.events);
            }
        }
    }

    /// The end of a journal, for whoever looks for the reason.
    fn describe(&self, id: ExecutionId) -> String {
        let Some(turns) = self.storage.journals.get(&id) else { return "no journal".to_owned() };
        let last: Vec<String> =
            turns.iter().rev().take(3).map(|turn| format!("{}: {:?}", turn.seq, turn.events)).collect();
        let timers: Vec<String> = self
            .storage
            .timers
            .keys()
            .filter(|(owner, _)| *owner == id)
            .map(|(_, key)| key.to_string())
            .collect();
        format!("{} | timers {timers:?}", last.join(" | "))
    }

    fn check(&mut self) {
        let mut findings = Vec::new();
        let mut wrong = None;
        for (id, turns) in &self.storage.journals {
            let hash = Desk::hash_of(turns).unwrap_or_default();
            let Some(workflow) = shapes::find(hash) else { continue };
            let Some(first) = turns.first() else { continue };
            let mut history = History::of(*id, &workflow, first);
            let state = audit::journal_watched(*id, &shapes::find, turns, &mut findings, &mut history);
            let mut tally = self.tally;
            for event in turns.iter().flat_map(|turn| &turn.events) {
                tally.moved += u64::from(matches!(event, Event::Moved(_)));
                tally.not_moved += u64::from(matches!(event, Event::MoveRefused { .. }));
            }
            wrong = wrong.or(history.end(state.as_ref(), self, &mut tally));
            self.tally = tally;
            if let Some(state) = state {
                let row = &self.storage.rows[id];
                if state.status != row.status {
                    self.violation = Some(Violation {
                        invariant: "I13",
                        message: format!("{id}: row and journal disagree"),
                    });
                }
                if !workflow.name.starts_with(shapes::FAILS) {
                    self.tally.ended += 1;
                }
                if state.status == Status::Completed {
                    self.tally.completed += 1;
                }
            }
        }
        if let Some(first) = findings.into_iter().next() {
            let invariant = match first.invariant.as_str() {
                "I2" => "I2",
                "I3" => "I3",
                "I4" => "I4",
                "I5" => "I5",
                "I6" => "I6",
                "I7" => "I7",
                "I9" => "I9",
                "I13" => "I13",
                "I30" => "I30",
                "I32" => "I32",
                "I34" => "I34",
                _ => "I0",
            };
            self.broken(invariant, first.message);
        }
        if let Some((invariant, message)) = wrong {
            self.broken(invariant, message);
        }
        self.check_children();
        if let Some((invariant, message)) = self.check_carried() {
            self.broken(invariant, message);
        }
        if let Some((invariant, message)) = self.check_cached() {
            self.broken(invariant, message);
        }
        for index in 0..self.clients.len() {
            let answers = self.clients[index].answers.clone();
            if answers.len() > 1 {
                self.broken("I8", format!("one key, {} executions", answers.len()));
            }
            for answer in answers {
                if !self.storage.journals.contains_key(&answer) {
                    self.broken("I0", format!("{answer} was acknowledged and does not exist"));
                }
            }
        }
        for (tenant, passed) in self.storage.most_passed.clone() {
            // Until its next turn the other one has as many as its weight is larger, and one.
            let most = if tenant == LATER { 2 } else { 3 };
            if self.plan.tenants && passed > most {
                self.broken(
                    "I30",
                    format!("{passed} were given the place while {tenant} waited for its turn"),
                );
            }
        }
        self.tally.passed += self.storage.passes;
        for (key, (most, limit)) in self.storage.most_holders.clone() {
            if most > limit as usize {
                self.broken("I15", format!("{most} executions held `{key}`, which lets {limit} through"));
            }
        }
        let held = self.storage.slots.held().next();
        if let Some(message) =
            held.map(|(key, of, ..)| format!("`{key}` is still held by {of}, which has ended"))
        {
            self.broken("I15", message);
        }
        let waiting = self.storage.slots.waiting().next();
        if let Some(message) =
            waiting.map(|(key, of, ..)| format!("{of}, which has ended, still waits for `{key}`"))
        {
            self.broken("I15", message);
        }
        self.check_effects();
        self.check_chained();
        self.check_permits();
    }

    fn check_effects(&mut self) {
        let mut by_attempt: HashMap<(ExecutionId, TaskKey, u32), u32> = HashMap::new();
        let mut wrong = None;
        for effect in &self.effects {
            let count = by_attempt
                .entry((effect.execution, effect.task.clone(), effect.attempt))
                .and_modify(|count| *count += 1)
                .or_insert(1);
            if *count > 1 {
                self.tally.repeats += 1;
            }
            if effect.at_most_once {
                let granted = effect.token.is_some_and(|token| {
                    self.storage.has_grant(effect.execution, &effect.task, effect.attempt, token)
                });
                if !granted {
                    wrong = Some(("I5", format!("{} took effect without its grant", effect.task)));
                }
                if *count > 1 {
                    wrong = Some((
                        "I7",
                        format!("{} took effect twice in attempt {}", effect.task, effect.attempt),
                    ));
                }
            }
        }
        if self.plan.faults == 0 && self.tally.repeats > 0 {
            wrong = Some(("I7", "an effect was repeated in a run without faults".to_owned()));
        }
        if let Some((invariant, message)) = wrong {
            self.broken(invariant, message);
        }
    }

    /// What a task of the shapes gives: its config says how often it fails first, and what it gives then. A worker
    /// keeps what is large in the payload store.
    fn outcome(&mut self, task: &Task) -> Ending {
        let fail_first = task.config.get(shapes::FAIL_FIRST).and_then(Value::as_u64).unwrap_or(0);
        if u64::from(task.attempt) <= fail_first {
            let class = task.config.get(shapes::CLASS).and_then(Value::as_str);
            let class = class.and_then(|class| class.parse().ok()).unwrap_or(FailureClass::Unavailable);
            return Ending::Failed(Failure::new(class, "not yet"));
        }
        let value = task.config.get(shapes::GIVES).cloned().unwrap_or_else(|| Value::from(task.attempt));
        let bytes = value.to_string().into_bytes();
        let output = if bytes.len() > 8 && self.rules.limits.inline < 100 {
            let id = PayloadId::from_uuid(self.dice.uuid());
            let size = bytes.len() as u64;
            self.storage.payloads.insert((task.execution, id), bytes);
            Payload::Stored(StoredPayload { id, size })
        } else {
            Payload::Inline(value)
        };
        Ending::Completed { output, ports: Vec::new() }
    }
}
