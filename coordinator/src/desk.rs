//! The coordinator's desk: what one batch of inbox messages makes of the executions it names.
//!
//! Every step between two awaits is a method here, without I/O, so that the schedule explorer can kill
//! a coordinator between any two of them. The order is the contract: gather → adopt what is missing →
//! decide → commit → settle → publish → acknowledge. Nothing is published before its turn is durable,
//! and no message is acknowledged before its commands are confirmed.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;
use shared::{
    component::Failure,
    execution::{
        Accepted, Event, Execution, Payload, Plan, ROOT, Received, ReplayError, Status, StoredPayload,
        TaskKey, TimerKey, Turn,
    },
    ids::{ExecutionId, MessageId, PayloadId, RequestId, TenantId},
    port::{
        progress::{ComponentProgress, Update},
        rates::{Permit, PermitAsk},
        store::{Commit, Kept, LateResult, TimerChange, parts_of},
    },
    time::Timestamp,
    wire::{
        Ask, ChildEnding, Ending, InboxBody, InboxMessage, Renewal, RequestBody, Task, TaskResult,
        WorkerRecord,
    },
    workflow::Workflow,
};
use shared::{ids::WorkerId, port::queue::Audience, wire::Control};

use crate::{
    engine::{self, Cached, ChildOrder, Command, Decision, Full, Input, Loaded, Needs, Rules, Surroundings},
    held_back::{Fed, HeldBack},
    pace::Pace,
};

/// One thing a message says about one execution.
#[derive(Debug)]
enum Said {
    Start,
    Result(TaskResult),
    Ask(Ask),
    Timer(TimerKey),
    Request(RequestId, RequestBody),
    Child(TaskKey, ExecutionId, ChildEnding),
    Event(TaskKey, Box<Received>),
    Permit(TaskKey, Permit),
    Sweep,
    Wake,
}

impl Said {
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::Start => Input::Start,
            Self::Result(result) => Input::Result(result),
            Self::Ask(ask) => Input::Ask(ask),
            Self::Timer(key) => Input::Timer(key),
            Self::Request(_, body) => Input::Request(body),
            Self::Child(task, child, ending) => Input::Child { task, child: *child, ending },
            Self::Event(task, event) => Input::Event { task, event },
            Self::Permit(task, permit) => Input::Permit { task, permit },
            Self::Sweep => Input::Sweep,
            Self::Wake => Input::Wake,
        }
    }
}

/// What one message says about one execution: decided together, in one turn.
#[derive(Debug)]
struct Matter {
    cause: MessageId,
    redelivered: bool,
    said: Vec<Said>,
}

/// Everything a batch says about one execution, in the order it arrived.
#[derive(Debug)]
pub struct Work {
    pub execution: ExecutionId,
    matters: Vec<Matter>,
    /// The first turn, when a `Start` brought it.
    first: Option<Box<Turn>>,
    /// What stands about the places that were refused when it was decided before.
    full: Full,
    /// Tasks that it may dispatch, when the window was dealt out.
    dealt: Option<u32>,
}

impl Work {
    /// The hashes of the snapshots that it asks to be moved to.
    pub fn snapshots(&self) -> impl Iterator<Item = &str> {
        self.matters.iter().flat_map(|matter| &matter.said).filter_map(|said| match said {
            Said::Request(_, RequestBody::Move(asked)) => Some(asked.hash.as_str()),
            _ => None,
        })
    }

    /// The same to be decided again, knowing which places cannot be had.
    pub fn with_full(mut self, full: Full) -> Self {
        self.full.extend(full);
        self
    }
}

/// What a batch says that is about no execution.
#[derive(Debug, Default)]
pub struct Aside {
    pub workers: Vec<WorkerRecord>,
    pub renewals: Vec<(WorkerId, Vec<Renewal>)>,
}

/// Sorts a batch by execution.
pub fn gather(messages: Vec<(InboxMessage, bool)>) -> (Vec<Work>, Aside) {
    let mut works: Vec<Work> = Vec::new();
    let mut index: HashMap<ExecutionId, usize> = HashMap::new();
    let mut aside = Aside::default();
    for (message, redelivered) in messages {
        let InboxMessage { id, body, .. } = message;
        let mut add = |execution: ExecutionId, said: Said| -> usize {
            let at = *index.entry(execution).or_insert_with(|| {
                let (matters, full) = (Vec::new(), Full::new());
                works.push(Work { execution, matters, first: None, full, dealt: None });
                works.len() - 1
            });
            match works[at].matters.last_mut() {
                // The same message twice in a batch: what holds for either holds for both.
                Some(matter) if matter.cause == id => {
                    matter.redelivered |= redelivered;
                    matter.said.push(said);
                }
                _ => works[at].matters.push(Matter { cause: id, redelivered, said: vec![said] }),
            }
            at
        };
        match body {
            InboxBody::Start { first } => {
                let at = add(first.execution, Said::Start);
                if !redelivered {
                    works[at].first = Some(first);
                }
            }
            InboxBody::Results { results } => {
                for result in results {
                    add(result.execution, Said::Result(result));
                }
            }
            InboxBody::Ask { ask } => {
                add(ask.execution, Said::Ask(ask));
            }
            InboxBody::Timer { execution, key } => {
                add(execution, Said::Timer(key));
            }
            InboxBody::Request { execution, id, body } => {
                add(execution, Said::Request(id, body));
            }
            InboxBody::Child { execution, task, child, ending } => {
                add(execution, Said::Child(task, child, ending));
            }
            InboxBody::Event { execution, task, event } => {
                add(execution, Said::Event(task, event));
            }
            InboxBody::Permit { execution, task, permit } => {
                add(execution, Said::Permit(task, permit));
            }
            InboxBody::Sweep { execution } => {
                add(execution, Said::Sweep);
            }
            InboxBody::Wake { execution } => {
                add(execution, Said::Wake);
            }
            InboxBody::Renew { worker, renewals } => aside.renewals.push((worker, renewals)),
            InboxBody::Worker { record } => aside.workers.push(record),
            // A kind of a newer release: its sender repeats what matters, and a sweep finds the rest.
            _ => {}
        }
    }
    (works, aside)
}

/// A decided turn on its way into the store.
#[derive(Debug)]
pub struct Planned {
    /// Taken out when it goes to the store.
    pub commit: Option<Commit>,
    execution: ExecutionId,
    events: usize,
    timers: Vec<(TimerKey, Timestamp)>,
    commands: Vec<Command>,
    update: Update,
    /// Slot keys the execution gives back.
    freed: Vec<String>,
}

/// What deciding one execution's part of a batch gave.
#[derive(Debug)]
pub struct Decided {
    tenant: TenantId,
    execution: ExecutionId,
    /// To be committed, in order.
    pub planned: Vec<Planned>,
    /// To be published although nothing was added: a crash came between commit and publish.
    commands: Vec<Command>,
    pub late: Vec<LateResult>,
    /// Values too large for the journal, to be kept before the commit.
    pub payloads: Vec<(TenantId, ExecutionId, PayloadId, Vec<u8>)>,
    /// Requests that came to nothing.
    pub forget: Vec<RequestId>,
    /// When sweeps should look again, where no turn says so.
    pub sweep_again: Vec<(ExecutionId, Timestamp)>,
    /// When the sweep looks at it next, as far as that was decided here.
    looks_at: Option<Timestamp>,
    /// An end that a sweep found untold.
    untold: Option<End>,
    /// Whether a place that came free under a key was left, as the dispatch window had no room.
    held_back: bool,
}

impl Decided {
    pub(crate) fn about(execution: ExecutionId) -> Self {
        Self {
            tenant: TenantId::DEFAULT,
            execution,
            planned: Vec::new(),
            commands: Vec::new(),
            late: Vec::new(),
            payloads: Vec::new(),
            forget: Vec::new(),
            sweep_again: Vec::new(),
            looks_at: None,
            untold: None,
            held_back: false,
        }
    }

    /// Whether the execution is woken once this is kept.
    fn goes_on(&self) -> bool {
        let planned = self.planned.iter().flat_map(|planned| &planned.commands);
        planned.chain(&self.commands).any(|command| matches!(command, Command::GoOn))
    }

    /// Whether anything was refused or found to be nothing new. Such a decision has no turn whose number
    /// could show that the state in memory was old, so it counts only when the state was read after the
    /// message had arrived.
    fn is_unfenced(&self) -> bool {
        self.planned.is_empty()
    }
}

#[cfg(test)]
impl Decided {
    /// The tasks it would send, for a planted fault that sends them too early.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        self.planned
            .iter()
            .flat_map(|planned| &planned.commands)
            .filter_map(|command| match command {
                Command::Dispatch(task) => Some((**task).clone()),
                _ => None,
            })
            .collect()
    }
}

/// How a sub-workflow's execution ended, for the one that started it.
#[derive(Debug)]
pub struct Notice {
    pub tenant: TenantId,
    pub parent: ExecutionId,
    pub child: ExecutionId,
    pub task: TaskKey,
    pub ending: ChildEnding,
}

/// A sub-workflow that asks whether its caller still wants it.
#[derive(Debug)]
pub struct Question {
    pub tenant: TenantId,
    pub parent: ExecutionId,
    pub child: ExecutionId,
    pub task: TaskKey,
    /// The caller's turn that ordered it: only what comes after it matters.
    pub ordered_in: u32,
    /// How it ends when not.
    pub kill: bool,
}

/// An execution, or a task of it, in whose place another one is to run.
#[derive(Debug)]
pub struct Displaced {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub task: Option<TaskKey>,
    pub by: ExecutionId,
}

/// An execution that ended, for those that start on the ends of others.
#[derive(Debug, Clone)]
pub struct End {
    pub execution: ExecutionId,
    pub accepted: Arc<Accepted>,
    /// The name of its workflow.
    pub name: String,
    pub status: Status,
    pub failure: Option<Failure>,
    pub at: Timestamp,
    /// Whether the sweep comes back to it until it is told.
    pub is_marked: bool,
}

impl End {
    fn of(execution: &Execution, is_marked: bool) -> Option<Self> {
        execution.status.is_terminal().then(|| Self {
            is_marked,
            execution: execution.id,
            accepted: Arc::clone(&execution.accepted),
            name: execution.workflow.name.clone(),
            status: execution.status,
            failure: execution.failure.clone(),
            at: execution.last_at,
        })
    }
}

/// A wait whose event may have come before it.
#[derive(Debug)]
pub struct Lookout {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub event: String,
    pub key: String,
    /// Events at or after this instant count.
    pub early: Timestamp,
}

/// What is to be sent once the turns are durable.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub tasks: Vec<Task>,
    pub tell: Vec<(Audience, Control)>,
    pub poison: Vec<(Task, String)>,
    pub updates: Vec<Update>,
    /// Timers that were set, and whether they are soon is the timer task's affair.
    pub timers: Vec<(ExecutionId, TimerKey, Timestamp)>,
    /// Slot keys that became free.
    pub freed: Vec<String>,
    /// Sub-workflows to start, and to end.
    pub children: Vec<ChildOrder>,
    pub close: Vec<(TenantId, ExecutionId, ExecutionId, bool)>,
    /// What the executions of sub-workflows say to those that started them.
    pub parents: Vec<Notice>,
    /// Sub-workflows that ask whether their callers still want them.
    pub questions: Vec<Question>,
    /// Those that are to make room.
    pub displaced: Vec<Displaced>,
    /// Permits to be taken.
    pub permits: Vec<(TenantId, PermitAsk)>,
    /// Waits whose event may have come before them.
    pub waits: Vec<Lookout>,
    /// Messages to other executions, put together from the above.
    pub hints: Vec<InboxMessage>,
    /// Executions with more to decide than one turn holds.
    pub wake: Vec<ExecutionId>,
    /// Executions that ended, with their status and how long they took from accept.
    pub ended: Vec<(Status, std::time::Duration)>,
    /// Executions that ended: somebody may have to hear of it.
    pub ends: Vec<End>,
    pub turns: u64,
    pub events: u64,
}

/// The executions that are in memory, and the rules they are decided by.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    workflows: HashMap<String, Arc<Workflow>>,
    cache: HashMap<ExecutionId, Execution>,
    /// Those of the cache that were read in this batch, so that they cannot be older than its messages.
    fresh: HashSet<ExecutionId>,
    /// When the sweep looks at those of the cache, as far as it was decided here.
    looks: HashMap<ExecutionId, Timestamp>,
    /// Tasks dispatched and not settled, over the cache.
    outstanding: u64,
    /// How many there may be.
    window: u32,
    held_back: HeldBack,
    pace: Pace,
    queue_lost_before: Option<Timestamp>,
    /// Tenants in which somebody listens to the ends of executions.
    heard: HashSet<TenantId>,
}

/// After this the sweep looks whether the end of an execution was told.
const TOLD: std::time::Duration = std::time::Duration::from_secs(10);

/// Executions with more turns stay in memory for a while, though they only wait.
const LONG_JOURNAL: u32 = 200;

/// At most this many snapshots stay compiled.
const MOST_WORKFLOWS: usize = 1_000;

impl Desk {
    pub fn new(rules: Rules, window: u32, queue_lost_before: Option<Timestamp>) -> Self {
        Self {
            rules,
            workflows: HashMap::new(),
            cache: HashMap::new(),
            fresh: HashSet::new(),
            looks: HashMap::new(),
            outstanding: 0,
            window,
            held_back: HeldBack::default(),
            pace: Pace::default(),
            queue_lost_before,
            heard: HashSet::new(),
        }
    }

    /// Ends of executions are told in these tenants from now on.
    pub fn set_heard(&mut self, heard: HashSet<TenantId>) {
        self.heard = heard;
    }

    pub fn set_window(&mut self, window: u32) {
        self.window = window;
    }

    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    pub fn execution(&self, id: ExecutionId) -> Option<&Execution> {
        self.cache.get(&id)
    }

    /// The compiled snapshot with this hash, if it is known.
    pub fn workflow(&self, hash: &str) -> Option<Arc<Workflow>> {
        self.workflows.get(hash).cloned()
    }

    /// Remembers a compiled snapshot.
    pub fn learn(&mut self, workflow: Arc<Workflow>) {
        if self.workflows.len() >= MOST_WORKFLOWS {
            let used: HashSet<&str> =
                self.cache.values().map(|execution| execution.workflow.hash.as_str()).collect();
            let unused: Vec<String> =
                self.workflows.keys().filter(|hash| !used.contains(hash.as_str())).cloned().collect();
            for hash in unused {
                self.workflows.remove(&hash);
            }
        }
        self.workflows.insert(workflow.hash.clone(), workflow);
    }

    /// The hash of the snapshot that a first turn asks for.
    pub fn hash_of(turns: &[Turn]) -> Option<&str> {
        match turns.first()?.events.first()? {
            Event::Accepted(accepted) => Some(&accepted.hash),
            _ => None,
        }
    }

    /// The hashes of the snapshots that turns move their execution to.
    pub fn moves_of(turns: &[Turn]) -> impl Iterator<Item = &str> {
        turns.iter().filter_map(Turn::moved).map(|moved| moved.hash.as_str())
    }

    /// The first turn that a `Start` brought for an execution not in memory.
    pub fn brought(&self, work: &mut Work) -> Option<Box<Turn>> {
        let brought = work.first.take();
        if self.cache.contains_key(&work.execution) { None } else { brought }
    }

    /// Whether the execution must be read from the store before it can be decided.
    pub fn is_missing(&self, work: &Work) -> bool {
        !self.cache.contains_key(&work.execution) && work.first.is_none()
    }

    /// Takes an execution into memory: its first turns, which others may follow. Its workflow must be known.
    pub fn adopt(&mut self, turns: &[Turn]) -> Result<(), ReplayError> {
        let execution = Execution::replay_with(turns, &|hash| self.workflow(hash))?;
        self.drop_execution(execution.id);
        self.outstanding += execution.dispatched.len() as u64;
        self.fresh.insert(execution.id);
        self.cache.insert(execution.id, execution);
        Ok(())
    }

    /// Adds the next turns to an execution that is being read. What does not fold is forgotten.
    pub fn adopt_more(&mut self, id: ExecutionId, turns: &[Turn]) -> Result<(), ReplayError> {
        let Some(mut execution) = self.cache.remove(&id) else { return Ok(()) };
        self.outstanding -= execution.dispatched.len() as u64;
        for turn in turns {
            if let Err(error) = execution.append_with(turn, &|hash| self.workflow(hash)) {
                self.fresh.remove(&id);
                return Err(error);
            }
        }
        self.outstanding += execution.dispatched.len() as u64;
        self.cache.insert(id, execution);
        Ok(())
    }

    /// Forgets an execution's state: it was not kept, or is not needed.
    pub fn drop_execution(&mut self, id: ExecutionId) {
        self.fresh.remove(&id);
        self.looks.remove(&id);
        if let Some(execution) = self.cache.remove(&id) {
            self.outstanding -= execution.dispatched.len() as u64;
        }
    }

    /// Forgets everything: somebody else may have decided meanwhile.
    pub fn drop_all(&mut self) {
        self.cache.clear();
        self.fresh.clear();
        self.looks.clear();
        self.outstanding = 0;
        self.held_back = HeldBack::default();
    }

    /// How many tasks an execution that is being decided may dispatch beside those it has: what it was dealt, or an
    /// even share of the room when others of its tenant are held back.
    fn room(&self, tenant: TenantId, dispatched: u32, dealt: Option<u32>) -> u32 {
        let free = u64::from(self.window).saturating_sub(self.outstanding + u64::from(dispatched)) as u32;
        let waiting = self.held_back.len() as u32;
        match dealt {
            _ if free == 0 => 0,
            Some(dealt) => free.min(dealt),
            // Where another tenant waits, who comes now waits too: `feed` gives each its share in a moment.
            None if self.held_back.has_others(tenant) => 0,
            None => (free / (waiting + 1)).max(1),
        }
    }

    /// How many tasks are with workers, and how many executions have some that were held back.
    pub fn held_back(&self) -> (u64, usize) {
        (self.outstanding, self.held_back.len())
    }

    /// Executions that may dispatch held-back tasks now, each once. Several tenants take turns, by weight.
    pub fn feed(&mut self) -> Vec<Fed> {
        let free = u64::from(self.window).saturating_sub(self.outstanding) as usize;
        // One, when it is not in memory.
        let wants = |id: ExecutionId| self.cache.get(&id).map_or(1, |execution| execution.ready.len().max(1));
        self.held_back.feed(free, wants, |tenant| self.rules.weight(tenant))
    }

    /// A batch of one `Wake` for each of these executions.
    pub fn wakes(fed: Vec<Fed>, cause: impl Fn() -> MessageId) -> Vec<Work> {
        fed.into_iter()
            .map(|Fed { execution, dealt }| Work {
                execution,
                matters: vec![Matter { cause: cause(), redelivered: false, said: vec![Said::Wake] }],
                first: None,
                full: Full::new(),
                dealt,
            })
            .collect()
    }

    /// Decides everything a batch says about one execution. Unknown executions give nothing.
    ///
    /// When something is needed the state is as before, or forgotten: bring it and call again. When nothing is to be
    /// added and the state may be old, it is forgotten and `None` is the answer: read it and call again.
    pub fn decide(
        &mut self,
        work: &Work,
        now: Timestamp,
        queue_is_deep: bool,
        payloads: &Loaded,
        cached: Option<&Cached>,
        new_payload: &mut dyn FnMut() -> PayloadId,
    ) -> Result<Option<Decided>, Needs> {
        let mut decided = Decided::about(work.execution);
        let Some(mut execution) = self.cache.remove(&work.execution) else {
            for matter in &work.matters {
                for said in &matter.said {
                    if let Said::Request(id, _) = said {
                        decided.forget.push(*id);
                    }
                }
            }
            return Ok(Some(decided));
        };
        decided.tenant = execution.accepted.tenant;
        decided.looks_at = self.looks.get(&work.execution).copied();
        self.note_pace(&execution, work);
        self.outstanding -= execution.dispatched.len() as u64;
        for workflow in work.snapshots().filter_map(|hash| self.workflow(hash)) {
            execution.learn(workflow);
        }
        // Only some decisions can ask for something, and then half of it must be undone.
        let may_ask = may_need_payloads(&execution, work) || may_need_cached(&execution, cached);
        let backup = may_ask.then(|| execution.clone());
        let keeps_half = planted!(B46HalfADecisionKept);
        let outcome = self.decide_matters(
            &mut execution,
            work,
            &Circumstances { now, queue_is_deep, payloads, cached, full: &work.full },
            new_payload,
            &mut decided,
        );
        if outcome.is_err() {
            match backup {
                _ if keeps_half => {}
                Some(backup) => execution = backup,
                // Half a decision spoilt it: it must be read again.
                None => return outcome.map(|()| None),
            }
        }
        if outcome.is_ok() && decided.is_unfenced() && !self.fresh.contains(&execution.id) {
            return Ok(None);
        }
        self.outstanding += execution.dispatched.len() as u64;
        // What wakes itself needs nobody to feed it, and its wake comes again should this process die.
        let waits = (!execution.ready.is_empty() || decided.held_back)
            && !decided.goes_on()
            && !execution.status.is_terminal()
            && !execution.is_paused();
        let (id, tenant) = (execution.id, execution.accepted.tenant);
        match outcome {
            Ok(()) if waits => self.held_back.add(id, tenant, self.rules.weight(tenant)),
            Ok(()) => self.held_back.remove(id),
            // It is decided again in a moment.
            Err(_) => {}
        }
        if let (Ok(()), Some(at)) = (&outcome, decided.looks_at) {
            self.looks.insert(id, at);
        }
        self.cache.insert(id, execution);
        outcome.map(|()| Some(decided))
    }

    /// Learns from results how long tasks take.
    fn note_pace(&mut self, execution: &Execution, work: &Work) {
        for said in work.matters.iter().flat_map(|matter| &matter.said) {
            // What was lost or given back says nothing of how long it takes.
            if let Said::Result(result) = said
                && matches!(result.ending, Ending::Completed { .. } | Ending::Failed(_))
                && let Ok(place) = execution.place_of(&result.key())
            {
                let took = result.finished_at.since(result.started_at);
                self.pace.note(&execution.component(place).kind, took);
            }
        }
    }

    fn decide_matters(
        &self,
        execution: &mut Execution,
        work: &Work,
        around: &Circumstances<'_>,
        new_payload: &mut dyn FnMut() -> PayloadId,
        decided: &mut Decided,
    ) -> Result<(), Needs> {
        // With the values that this batch itself makes too large for the journal: the store has them only later.
        let mut payloads = Cow::Borrowed(around.payloads);
        for (position, matter) in work.matters.iter().enumerate() {
            let inputs: Vec<Input<'_>> = matter.said.iter().map(Said::as_input).collect();
            // Its first turn may be durable and what that ordered not sent, whatever it means now.
            let again = if matter.redelivered {
                engine::commands_again(execution, matter.cause, &payloads)?
            } else {
                Vec::new()
            };
            let surroundings = Surroundings {
                rules: &self.rules,
                now: around.now,
                room: self.room(execution.accepted.tenant, execution.dispatched.len() as u32, work.dealt),
                payloads: &payloads,
                queue_is_deep: around.queue_is_deep,
                queue_lost_before: self.queue_lost_before,
                full: around.full,
                cached: around.cached,
            };
            let Decision {
                events,
                commands,
                change,
                timers,
                give,
                take,
                wait,
                release,
                freed,
                finished,
                late,
                sweep_at,
                people,
                waits,
                cache,
                payloads: laid_aside,
                held_back,
            } = engine::decide(execution, &inputs, matter.cause, &surroundings)?;
            decided.commands.extend(again);
            decided.late.extend(late);
            decided.held_back |= held_back;
            // What is sent now may be lost, and the sweep may be far off: nothing was under way when it looked.
            let soon = around.now.after(self.rules.silence);
            let is_late = sweep_at.or(decided.looks_at).is_none_or(|at| at > soon);
            let may_be_lost = !events.is_empty() && !commands.is_empty() && !execution.status.is_terminal();
            let sweep_at = if may_be_lost && is_late && !planted!(B86SentAndNotLookedFor) {
                Some(engine::looked_for_at(execution, &self.rules, around.now))
            } else {
                sweep_at
            };
            decided.looks_at = sweep_at.or(decided.looks_at);
            let request = matter.said.iter().find_map(|said| match said {
                Said::Request(id, _) => Some(*id),
                _ => None,
            });
            if events.is_empty() {
                decided.commands.extend(commands);
                decided.forget.extend(request);
                if let Some(at) = sweep_at {
                    decided.sweep_again.push((execution.id, at));
                }
                if matter.said.iter().any(|said| matches!(said, Said::Sweep)) {
                    decided.untold = End::of(execution, true);
                }
                continue;
            }
            let mut turn = Turn {
                execution: execution.id,
                seq: execution.seq,
                cause: matter.cause,
                at: around.now,
                events,
            };
            let mut change = change;
            let tenant = execution.accepted.tenant;
            let id = execution.id;
            if position + 1 < work.matters.len() && !planted!(B56LaidAsideNotAtHand) {
                for (id, bytes) in &laid_aside {
                    let value = read_back(bytes, &payloads)?;
                    payloads.to_mut().insert(*id, Arc::new(value));
                }
            }
            decided
                .payloads
                .extend(laid_aside.into_iter().map(|(payload, bytes)| (tenant, id, payload, bytes)));
            let before_offload = decided.payloads.len();
            let inline = self.rules.limits.inline;
            offload(execution, &mut turn, &mut change, inline, new_payload, &mut decided.payloads);
            for (_, _, id, bytes) in &decided.payloads[before_offload..] {
                // They were written from a value a moment ago.
                payloads.to_mut().insert(*id, Arc::new(serde_json::from_slice(bytes).unwrap_or_default()));
            }
            let update = update(execution, &turn);
            let is_heard = update.status.is_terminal() && self.heard.contains(&tenant);
            let sweep_at = if is_heard { Some(around.now.after(TOLD)) } else { sweep_at };
            if sweep_at.is_some() {
                // What was said before this turn, and is kept behind it, says less.
                decided.sweep_again.clear();
            }
            decided.planned.push(Planned {
                execution: execution.id,
                events: turn.events.len(),
                timers: timers
                    .iter()
                    .filter_map(|timer| match timer {
                        TimerChange::Set { key, due_at, .. } => Some((key.clone(), *due_at)),
                        TimerChange::Clear { .. } => None,
                    })
                    .collect(),
                commit: Some(Commit {
                    people,
                    waits,
                    cache,
                    turn,
                    tenant: execution.accepted.tenant,
                    workflow: execution.accepted.workflow,
                    change,
                    timers,
                    give,
                    take,
                    wait,
                    release,
                    has_asked: execution.has_asked,
                    finished,
                    request,
                    sweep_at,
                }),
                commands,
                update,
                freed,
            });
        }
        Ok(())
    }

    /// Takes the store's answers for one execution's turns: what to send, or whether the execution must be
    /// read and decided again.
    pub fn settle(&mut self, decided: Decided, kept: &[Kept], outgoing: &mut Outgoing) -> Settled {
        let mut settled = Settled::Done;
        for (planned, kept) in decided.planned.into_iter().zip(kept) {
            let execution = planned.execution;
            match kept {
                Kept::Committed => {
                    outgoing.turns += 1;
                    outgoing.events += planned.events as u64;
                    for command in planned.commands {
                        self.push(planned.update.tenant, execution, command, outgoing);
                    }
                    outgoing
                        .timers
                        .extend(planned.timers.into_iter().map(|(key, due_at)| (execution, key, due_at)));
                    if planned.update.status.is_terminal() {
                        let took = self
                            .cache
                            .get(&execution)
                            .map(|state| planned.update.at.since(state.created_at))
                            .unwrap_or_default();
                        outgoing.ended.push((planned.update.status, took));
                        let is_marked = self.heard.contains(&planned.update.tenant);
                        let state = self.cache.get(&execution);
                        outgoing.ends.extend(state.and_then(|state| End::of(state, is_marked)));
                    }
                    outgoing.freed.extend(planned.freed);
                    outgoing.updates.push(planned.update);
                }
                Kept::Superseded => {
                    settled = Settled::DecideAgain;
                    break;
                }
                Kept::Refused { full } => {
                    settled = Settled::NoPlace(full.clone());
                    break;
                }
            }
        }
        // What is published again may have been read off a state that these turns made.
        if matches!(settled, Settled::Done) {
            outgoing.ends.extend(decided.untold);
            for command in decided.commands {
                self.push(decided.tenant, decided.execution, command, outgoing);
            }
        }
        settled
    }

    fn push(&self, tenant: TenantId, execution: ExecutionId, command: Command, outgoing: &mut Outgoing) {
        match command {
            Command::Dispatch(mut task) => {
                task.may_share &= self.pace.is_short(&task.kind);
                outgoing.tasks.push(*task);
            }
            Command::Tell(audience, control) => outgoing.tell.push((audience, control)),
            Command::Poison(task, reason) => outgoing.poison.push((*task, reason)),
            Command::StartChild(order) => outgoing.children.push(*order),
            Command::CloseChild { child, kill } => outgoing.close.push((tenant, execution, child, kill)),
            Command::TellParent { parent, task, ending } => {
                outgoing.parents.push(Notice { tenant, parent, child: execution, task, ending: *ending });
            }
            Command::AskParent { parent, task, ordered_in, kill } => {
                outgoing.questions.push(Question {
                    tenant,
                    parent,
                    child: execution,
                    task,
                    ordered_in,
                    kill,
                });
            }
            Command::Displace { execution: other, task } => {
                outgoing.displaced.push(Displaced { tenant, execution: other, task, by: execution });
            }
            Command::FindEvents { task, event, key, early } => {
                outgoing.waits.push(Lookout { tenant, execution, task, event, key, early });
            }
            Command::AskPermit(ask) => outgoing.permits.push((tenant, *ask)),
            Command::GoOn => outgoing.wake.push(execution),
        }
    }

    /// Forgets executions that nothing has happened to for long. Somebody else may have gone on with them,
    /// and what is remembered of their tasks would fill the dispatch window for ever.
    pub fn forget_idle(&mut self, now: Timestamp, idle: std::time::Duration) {
        let old: Vec<ExecutionId> = self
            .cache
            .values()
            .filter(|execution| now.since(execution.last_at) > idle)
            .map(|execution| execution.id)
            .collect();
        for id in old {
            self.drop_execution(id);
        }
    }

    /// Forgets executions that need no memory: ended ones, and those that only wait for time.
    pub fn tidy(&mut self, touched: impl Iterator<Item = ExecutionId>, most: usize) {
        self.fresh.clear();
        for id in touched {
            let idle = self.cache.get(&id).is_some_and(|execution| {
                // A long journal is not read again for each small step of a loop.
                let is_short = execution.seq < LONG_JOURNAL;
                execution.status.is_terminal()
                    || (is_short
                        && execution.dispatched.is_empty()
                        && (execution.ready.is_empty() || execution.is_paused()))
            });
            if idle {
                self.drop_execution(id);
            }
        }
        if self.cache.len() > most {
            let surplus: Vec<ExecutionId> =
                self.cache.keys().take(self.cache.len() - most).copied().collect();
            for id in surplus {
                self.drop_execution(id);
            }
        }
    }
}

struct Circumstances<'a> {
    now: Timestamp,
    queue_is_deep: bool,
    payloads: &'a Loaded,
    cached: Option<&'a Cached>,
    full: &'a Full,
}

/// What became of one execution's part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// Somebody else decided: drop the state, read it, decide the same work again.
    DecideAgain,
    /// A place was not to be had: drop the state, read it, decide the same work again with what stands about it.
    NoPlace(Full),
}

fn may_need_payloads(execution: &Execution, work: &Work) -> bool {
    let stored = |payload: &Payload| matches!(payload, Payload::Stored(_));
    execution.holds_payloads
        || work.matters.iter().flat_map(|matter| &matter.said).any(|said| match said {
            Said::Result(TaskResult { ending: Ending::Completed { output, .. }, .. })
            | Said::Child(_, _, ChildEnding::Completed { output }) => stored(output),
            _ => false,
        })
}

/// Whether a decision may ask for cached results: at most once.
fn may_need_cached(execution: &Execution, cached: Option<&Cached>) -> bool {
    execution.workflow.has_cache && cached.is_none()
}

/// A value that was laid aside a moment ago. Lists in parts are put together: older parts must be loaded for that.
fn read_back(bytes: &[u8], payloads: &Loaded) -> Result<Value, Needs> {
    let Some(parts) = parts_of(bytes) else {
        // It was written from a value.
        return Ok(serde_json::from_slice(bytes).unwrap_or_default());
    };
    let missing: Vec<PayloadId> = parts.iter().filter(|part| !payloads.contains_key(part)).copied().collect();
    if !missing.is_empty() {
        return Err(Needs::Payloads(missing));
    }
    let lists = parts.iter().filter_map(|part| payloads.get(part)?.as_array());
    Ok(Value::Array(lists.flatten().cloned().collect()))
}

/// Moves values that are too large for the journal to the payload store.
fn offload(
    execution: &mut Execution,
    turn: &mut Turn,
    change: &mut Option<shared::port::store::StatusChange>,
    inline: usize,
    new_payload: &mut dyn FnMut() -> PayloadId,
    payloads: &mut Vec<(TenantId, ExecutionId, PayloadId, Vec<u8>)>,
) {
    let tenant = execution.accepted.tenant;
    let id = execution.id;
    let mut store = |payload: &mut Payload| -> bool {
        let Payload::Inline(value) = payload else { return false };
        if !is_longer_than(value, inline) {
            return false;
        }
        let bytes = value.to_string().into_bytes();
        let stored = StoredPayload { id: new_payload(), size: bytes.len() as u64 };
        payloads.push((tenant, id, stored.id, bytes));
        *payload = Payload::Stored(stored);
        true
    };
    for event in &mut turn.events {
        match event {
            Event::Decided { task, output, .. } | Event::TaskCached { task, output, .. } => {
                // Not in the pattern: a guard may not change what it looks at.
                let stored = store(output);
                if stored {
                    execution.offload_output(task, output.clone());
                }
            }
            Event::RoundClosed { task, round, output, .. } => {
                let stored = store(output);
                if stored {
                    execution.offload_round(task, *round, output);
                }
            }
            Event::Finished { output: Some(output), .. } => {
                let stored = store(output);
                if stored {
                    execution.output = Some(output.clone());
                    if let Some(change) = change {
                        change.output = Some(output.clone());
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a value's JSON text is longer than `limit` bytes; stops counting there.
pub(crate) fn is_longer_than(value: &Value, limit: usize) -> bool {
    fn count(value: &Value, left: &mut isize) -> bool {
        *left -= match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 8,
            Value::String(text) => text.len() as isize + 2,
            Value::Array(list) => {
                *left -= 2;
                return list.iter().all(|item| {
                    *left -= 1;
                    count(item, left)
                });
            }
            Value::Object(map) => {
                *left -= 2;
                return map.iter().all(|(key, item)| {
                    *left -= key.len() as isize + 4;
                    count(item, left)
                });
            }
        };
        *left >= 0
    }
    !count(value, &mut (limit as isize))
}

/// What watchers are told of a turn.
fn update(execution: &Execution, turn: &Turn) -> Update {
    let mut changed: Vec<&TaskKey> = Vec::new();
    for event in &turn.events {
        // What happens inside loops is shown by the loop's numbers: it may be a hundred thousand things.
        if let Some(task) = event.task()
            && task.iteration.is_none()
        {
            changed.push(task);
        }
    }
    // After a move they may all be others.
    let moved = turn.moved().is_some();
    let own: Vec<TaskKey> =
        if moved { execution.places(ROOT).map(|place| execution.key(place)).collect() } else { Vec::new() };
    changed.extend(&own);
    // The same component twice in a row (lost, then dispatched again) is shown once, as it now stands.
    changed.dedup();
    let root = execution.root();
    Update {
        tenant: execution.accepted.tenant,
        execution: execution.id,
        seq: turn.seq,
        at: turn.at,
        status: execution.status,
        failing: execution.is_failing(),
        settled: root.settled,
        total: root.components.len() as u32,
        components: changed
            .into_iter()
            .filter_map(|task| {
                let place = execution.place_of(task).ok()?;
                let state = execution.at(place);
                Some(ComponentProgress {
                    component: execution.component(place).id.clone(),
                    state: state.phase.as_str().to_owned(),
                    attempt: state.attempt,
                    rounds: execution.container(place).and_then(|container| match &container.plan {
                        Plan::Rounds(plan) => Some((container.rounds.closed, plan.count)),
                        Plan::While { .. } => Some((container.rounds.closed, 0)),
                        _ => None,
                    }),
                })
            })
            .collect(),
    }
}
