//! What must hold of one execution: in each of its turns, in its rows, and at its end.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use serde_json::Value;
use shared::{
    component::{FailureClass, control::OnParentClose},
    execution::{
        AnswerVerdict, Event, Execution, Inner, Payload, Person, PersonKind, Phase, Place, Plan, Status,
        TaskKey, TimerKey, Turn, Wait,
    },
    ids::{ExecutionId, MessageId},
    port::store::HumanTaskStatus,
    time::Timestamp,
    wire::TaskResult,
    workflow::{Output, Part, Workflow},
};

use super::{Tally, moves::Before, storage::Storage, world::World};
use crate::audit::Watch;

pub(super) type Wrong = (&'static str, String);

/// Whether the places that an execution's tasks hold and wait for are those of its journal.
fn places(state: &Execution, storage: &Storage) -> Option<String> {
    let mut held = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    for place in state.open_scopes().flat_map(|scope| state.places(scope)) {
        if let Some(slot) = &state.at(place).slot {
            let of = if slot.is_held { &mut held } else { &mut waiting };
            of.insert((slot.key.clone(), state.key(place)));
        }
    }
    if state.is_paused() {
        waiting.clear();
    }
    let name = |(key, _, task): (&str, ExecutionId, Option<&TaskKey>)| Some((key.to_owned(), task?.clone()));
    let rows = storage.slots.held().filter(|(_, of, ..)| *of == state.id);
    let rows: BTreeSet<_> = rows.filter_map(|(key, of, task, _)| name((key, of, task))).collect();
    if rows != held {
        return Some(format!("holds {rows:?}, and its journal says {held:?}"));
    }
    let rows = storage.slots.waiting().filter(|(_, of, _)| *of == state.id);
    let rows: BTreeSet<_> = rows.filter_map(name).collect();
    if rows != waiting {
        return Some(format!("waits for {rows:?}, and its journal says {waiting:?}"));
    }
    let blocked = storage.slots.blocked_by(state.id);
    let line = state.line.as_deref().map(|line| line.key.as_str());
    (blocked != line).then(|| format!("waits for {blocked:?}, and its journal says {line:?}"))
}

/// I26: timers, questions and waits stand in the rows exactly when they stand in the state.
pub(super) fn rows(state: &Execution, storage: &Storage) -> Option<Wrong> {
    let id = state.id;
    let open = |task: &TaskKey| {
        let person = storage.people.get(&(id, task.clone()));
        person.is_some_and(|person| person.status == HumanTaskStatus::Open)
    };
    let wrong = |message: String| Some(("I26", format!("{id}: {message}")));
    for ((_, task), person) in storage.people.range(of(id)..).take_while(|((owner, _), _)| *owner == id) {
        let asked = !state.status.is_terminal()
            && state.place_of(task).is_ok_and(|place| state.at(place).phase == Phase::Asked);
        if person.status == HumanTaskStatus::Open && !asked {
            return wrong(format!("people are still asked by {task}"));
        }
    }
    for (_, task) in storage.waits.range(of(id)..).map(|(name, _)| name).take_while(|name| name.0 == id) {
        if !state.place_of(task).is_ok_and(|place| state.at(place).phase == Phase::Awaiting) {
            return wrong(format!("{task} is still said to wait for an event"));
        }
    }
    if state.status.is_terminal() {
        return None;
    }
    for (owner, key) in storage.timers.keys() {
        if *owner != id {
            continue;
        }
        let at = |task: &TaskKey| state.place_of(task).ok().map(|place| state.at(place));
        let runs = match key {
            TimerKey::Scheduled | TimerKey::Timeout | TimerKey::CancelGrace => true,
            TimerKey::Retry(task) => at(task).is_some_and(|it| matches!(it.phase, Phase::Retrying(_))),
            TimerKey::Delay(task) => at(task).is_some_and(|it| matches!(it.phase, Phase::Delayed(_))),
            TimerKey::Lease(task) => {
                at(task).is_some_and(|it| it.fence.as_ref().is_some_and(|it| it.leased_until.is_some()))
            }
            TimerKey::Person(task) => at(task).is_some_and(|it| it.phase == Phase::Asked),
            TimerKey::Within(task) => at(task).is_some_and(|it| it.phase == Phase::Awaiting),
            TimerKey::Pause(task) => at(task).is_some_and(|it| {
                matches!(it.inner.as_deref(), Some(Inner::Container(it)) if it.rounds.paused_until.is_some())
            }),
            TimerKey::Queue(task) | TimerKey::Total(task) => at(task).is_some_and(|it| !it.phase.is_settled()),
        };
        if !runs {
            return wrong(format!("the timer {key} is set for what is over"));
        }
    }
    if let Some(message) = places(state, storage) {
        return Some(("I15", format!("{id}: {message}")));
    }
    let timer = |key: TimerKey| storage.timers.contains_key(&(id, key));
    for scope in state.open_scopes() {
        for place in state.places(scope) {
            let task = state.key(place);
            let stands = match state.at(place).phase {
                Phase::Asked => open(&task),
                Phase::Awaiting => {
                    storage.waits.contains_key(&(id, task.clone())) && timer(TimerKey::Within(task.clone()))
                }
                // In a pause nothing is due; the timers come back at its end.
                Phase::Retrying(_) | Phase::Delayed(_) if state.is_paused() => true,
                Phase::Retrying(_) => timer(TimerKey::Retry(task.clone())),
                Phase::Delayed(_) => timer(TimerKey::Delay(task.clone())),
                _ => true,
            };
            if !stands {
                return wrong(format!("{task} is {:?}, and no row says so", state.at(place).phase));
            }
        }
    }
    None
}

fn of(id: ExecutionId) -> (ExecutionId, TaskKey) {
    (id, TaskKey::of("".into()))
}

/// A call of another workflow, as the caller's journal tells it.
struct Call {
    task: TaskKey,
    child: ExecutionId,
    waits: bool,
    policy: OnParentClose,
    /// What the component gave.
    output: Option<Payload>,
    /// When it ended without the child's word.
    given_up: Option<Timestamp>,
}

/// The journal of one execution, as far as its end is judged by it.
pub(super) struct History {
    id: ExecutionId,
    workflow: Arc<Workflow>,
    wrong: Option<Wrong>,
    /// Attempts whose result counted.
    counted: Vec<(TaskKey, u32)>,
    completed: Vec<TaskKey>,
    noted: Vec<TaskKey>,
    undone: Vec<(TaskKey, bool)>,
    finally: u32,
    received: HashSet<String>,
    rounds: BTreeMap<TaskKey, BTreeMap<u32, Status>>,
    lists: Vec<(TaskKey, Payload, u32)>,
    calls: Vec<Call>,
    missed: Vec<(TaskKey, Wait)>,
    answers: u64,
    displaces: Vec<Displaced>,
    moved: Option<Before>,
}

/// Who was to make room for what `waits` here; all of the execution when it is absent.
#[derive(Debug)]
struct Displaced {
    of: ExecutionId,
    task: Option<TaskKey>,
    waits: Option<TaskKey>,
    at: Timestamp,
    until: Option<Timestamp>,
}

impl History {
    /// What the first turn has kept of another execution can be undone as what completed here.
    pub(super) fn of(id: ExecutionId, workflow: &Arc<Workflow>, first: &Turn) -> Self {
        let noted = first.events.iter().filter_map(|event| match event {
            Event::CompensationNoted { task, .. } => Some(task.clone()),
            _ => None,
        });
        let noted: Vec<TaskKey> = noted.collect();
        Self {
            id,
            workflow: Arc::clone(workflow),
            wrong: None,
            counted: Vec::new(),
            completed: noted.clone(),
            noted,
            undone: Vec::new(),
            finally: 0,
            received: HashSet::new(),
            rounds: BTreeMap::new(),
            lists: Vec::new(),
            calls: Vec::new(),
            missed: Vec::new(),
            answers: 0,
            displaces: Vec::new(),
            moved: None,
        }
    }

    fn is_wrong(&mut self, invariant: &'static str, message: String) {
        if self.wrong.is_none() {
            self.wrong = Some((invariant, format!("{} of {}: {message}", self.id, self.workflow.name)));
        }
    }

    /// Nothing begins in what is ending, or under what does not run.
    fn begins(&mut self, state: &Execution, scope: u32, what: &str) {
        if state.is_cancelling() || state.status.is_terminal() {
            self.is_wrong("I6", format!("{what} began while the execution was ending"));
        }
        let mut at = Some(scope);
        while let Some(id) = at {
            let open = state.scope(id);
            if open.stopping.is_some() {
                self.is_wrong("I6", format!("{what} began in a scope that was ending"));
            }
            if let Some(owner) = open.owner
                && state.at(owner).phase != Phase::Open
            {
                self.is_wrong("I6", format!("{what} began under {}, which does not run", state.key(owner)));
            }
            at = open.owner.map(|owner| owner.scope);
        }
    }

    /// What waited goes on.
    fn has_its_place(&mut self, task: Option<&TaskKey>, at: Timestamp) {
        let waiting = self.displaces.iter_mut().filter(|it| it.waits.as_ref() == task && it.until.is_none());
        waiting.for_each(|displaced| displaced.until = Some(at));
    }

    /// A container ends with nothing running inside it.
    fn container_ends(&mut self, state: &Execution, place: Place) {
        let Some(container) = state.container(place) else { return };
        if container.open.iter().any(|scope| !state.scope(*scope).is_settled()) {
            self.is_wrong("I23", format!("{} ended while something inside it ran", state.key(place)));
        }
    }

    fn completes(
        &mut self,
        state: &Execution,
        place: Place,
        turn: &Turn,
        output: &Payload,
        ports: &[String],
    ) {
        let task = state.key(place);
        if state.component(place).compensate.is_some() {
            self.completed.push(state.called_now(&task));
        }
        self.container_ends(state, place);
        match state.at(place).inner.as_deref() {
            Some(Inner::Container(container)) => {
                if let Plan::Rounds(plan) = &container.plan {
                    if container.rounds.closed != plan.count || container.rounds.failed > plan.tolerated {
                        self.is_wrong("I22", format!("{task} completed too early, or after too much"));
                    }
                    self.lists.push((task, output.clone(), plan.count));
                }
            }
            Some(Inner::Child(child)) => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.child == child.id) {
                    call.output = Some(output.clone());
                }
            }
            Some(Inner::Person(person)) => {
                let late = person.ask.expires_at.is_some_and(|at| at <= turn.at);
                if !(decides(person) || late) {
                    self.is_wrong("I27", format!("{task} left by {ports:?} and nobody had decided"));
                }
                if decides(person) && ports.iter().any(|port| port == "expired") {
                    self.is_wrong("I27", format!("{task} expired, and had been answered"));
                }
            }
            _ => {}
        }
    }

    /// What is broken at the end of a run.
    pub(super) fn end(
        mut self,
        state: Option<&Execution>,
        world: &World,
        tally: &mut Tally,
    ) -> Option<Wrong> {
        let Some(state) = state else { return self.wrong };
        self.workflow = Arc::clone(&state.workflow);
        tally.undone += self.undone.len() as u64;
        tally.received += self.received.len() as u64;
        tally.rounds += self.rounds.values().map(BTreeMap::len).sum::<usize>() as u64;
        let without_effect = self.counted.iter().find(|(task, attempt)| {
            let went_on = |result: &TaskResult| {
                result.execution == self.id && result.key() == *task && result.attempt == *attempt
            };
            !world.effects.iter().any(|effect| {
                effect.execution == self.id && effect.task == *task && effect.attempt == *attempt
            }) && !world.chained.iter().any(|(result, _)| went_on(result))
        });
        if let Some((task, attempt)) = without_effect.cloned() {
            self.is_wrong("I4", format!("attempt {attempt} of {task} completed, and nobody had run it"));
        }
        self.undoing(state, world);
        self.loops(world);
        self.calls(state, world);
        self.waits(world);
        let unasked = self.displaces.iter().find(|displaced| {
            let waited = displaced.until.unwrap_or(state.last_at).since(displaced.at);
            let who = (displaced.of, displaced.task.clone(), self.id);
            // Asked at once, unless that was lost; then by its own sweeps.
            waited > std::time::Duration::from_mins(40) && !world.storage.asked_to_leave.contains(&who)
        });
        if let Some(message) = unasked.map(|displaced| format!("{displaced:?} was never asked to make room"))
        {
            self.is_wrong("I31", message);
        }
        let kills: Vec<MessageId> = world
            .kills
            .iter()
            .filter(|(execution, _)| *execution == self.id)
            .map(|(execution, id)| MessageId::derived(*execution, &format!("request/{id}")))
            .collect();
        let survived = world.storage.journals[&self.id].iter().any(|turn| {
            kills.contains(&turn.cause)
                && !turn.events.iter().any(|event| matches!(event, Event::Finished { .. }))
        });
        if survived {
            self.is_wrong("I28", "it was killed and went on".to_owned());
        }
        self.wrong
    }

    /// I21: compensation and `finally`.
    fn undoing(&mut self, state: &Execution, world: &World) {
        let killed = state
            .failure
            .as_ref()
            .and_then(|failure| failure.details.as_ref())
            .is_some_and(|details| details.get("reason").is_some_and(|reason| reason == "killed"));
        if self.completed != self.noted {
            let message = format!("{:?} completed, and {:?} can be undone", self.completed, self.noted);
            self.is_wrong("I21", message);
        }
        let status = state.outcome.as_ref().map_or(state.status, |outcome| outcome.status);
        let undoes = status == Status::Failed
            || status == Status::Cancelled
                && self.workflow.compensate_on_cancel
                && state.started_at.is_some();
        let mut undone: Vec<TaskKey> = self.undone.iter().map(|(task, _)| task.clone()).collect();
        undone.reverse();
        if !undoes && !undone.is_empty() {
            self.is_wrong("I21", format!("{undone:?} were undone, and it is {}", status.as_str()));
        }
        if undoes && !killed && undone != self.noted {
            self.is_wrong("I21", format!("{undone:?} were undone, and not {:?}", self.noted));
        }
        for (task, failed) in self.undone.clone() {
            let undoing = self
                .workflow
                .index_of(task.component.as_str())
                .and_then(|index| self.workflow.components[index].compensate)
                .map(|index| self.workflow.components[index].id.clone());
            let had_effect = world.effects.iter().any(|effect| {
                effect.execution == self.id
                    && Some(&effect.task.component) == undoing.as_ref()
                    && effect.task.iteration == task.iteration
            });
            if !failed && !had_effect {
                self.is_wrong("I21", format!("the compensation of {task} had no effect"));
            }
        }
        let began = state.started_at.is_some();
        if self.finally > 1 || began && !killed && self.workflow.finally.is_some() && self.finally != 1 {
            self.is_wrong("I21", format!("`finally` ran {} times", self.finally));
        }
    }

    /// I22: a loop's output has one record for each round, in order, that says how it ended.
    fn loops(&mut self, world: &World) {
        for (task, output, count) in std::mem::take(&mut self.lists) {
            let list = match world.storage.value(self.id, &output) {
                Some(Value::Array(list)) => list,
                other => {
                    self.is_wrong("I22", format!("{task} gave {other:?}"));
                    continue;
                }
            };
            let told: Vec<(u64, String)> = list
                .iter()
                .map(|record| {
                    let status = record["status"].as_str().unwrap_or_default().to_owned();
                    (record["index"].as_u64().unwrap_or(u64::MAX), status)
                })
                .collect();
            let closed: Vec<(u64, String)> = self
                .rounds
                .get(&task)
                .into_iter()
                .flatten()
                .map(|(round, status)| (u64::from(*round), status.as_str().to_owned()))
                .collect();
            if told != closed || told.len() as u32 != count {
                self.is_wrong("I22", format!("{task} has {count} rounds and gave {told:?}"));
            }
        }
    }

    /// I24: what was called ended as its caller says, or was asked to end.
    fn calls(&mut self, state: &Execution, world: &World) {
        for call in std::mem::take(&mut self.calls) {
            let Some(row) = world.storage.rows.get(&call.child) else { continue };
            let left = call.given_up.or((!call.waits).then_some(state.last_at));
            if let Some(left) = left
                && call.policy != OnParentClose::Leave
                && !world.storage.asked_to_close.contains(&call.child)
                && let [first, .., last] = &world.storage.journals[&call.child][..]
            {
                // Asked at once, unless that was lost or there was no child yet; then by its own sweeps.
                let at_once = world.tally.wipes == 0 && first.at < left && left < last.at;
                let long = last.at.since(left.max(first.at)) > std::time::Duration::from_mins(40);
                if at_once || long {
                    let message = format!("{} ended, and {} was not asked to end", call.task, call.child);
                    self.is_wrong("I24", message);
                }
            }
            if let (true, Some(output)) = (call.waits, &call.output) {
                let given = world.storage.value(self.id, output);
                let gave = row.output.as_ref().and_then(|output| world.storage.value(call.child, output));
                if row.status != Status::Completed || given.unwrap_or_default() != gave.unwrap_or_default() {
                    self.is_wrong("I24", format!("{} completed otherwise than {}", call.task, call.child));
                }
            }
        }
    }

    /// I25: what is received was sent, and what was sent in time is received.
    fn waits(&mut self, world: &World) {
        for id in std::mem::take(&mut self.received) {
            let sent = world.storage.events.iter().any(|(_, event)| event.identity() == id)
                || world
                    .signals
                    .iter()
                    .any(|(execution, signal)| *execution == self.id && format!("explorer/{signal}") == id);
            if !sent {
                self.is_wrong("I25", format!("{id} was received and never sent"));
            }
        }
        for (task, wait) in std::mem::take(&mut self.missed) {
            let long = wait.until.since(wait.early) > std::time::Duration::from_hours(2);
            let missed = world.storage.events.iter().any(|(at, event)| {
                event.kind == wait.event
                    && event.key.as_ref() == Some(&wait.key)
                    && event.time >= wait.early
                    && wait.until.since(*at) > std::time::Duration::from_hours(1)
            });
            if long && missed && self.workflow.name != *"signalled" {
                self.is_wrong("I25", format!("{task} waited in vain for what had come"));
            }
        }
    }
}

/// Whether the answers so far decide.
fn decides(person: &Person) -> bool {
    let with = |verdict| person.answers.iter().filter(|answer| answer.verdict == verdict).count();
    with(AnswerVerdict::Approve) >= person.ask.quorum as usize
        || with(AnswerVerdict::Reject) > 0
        || with(AnswerVerdict::Submit) > 0
}

impl Watch for History {
    fn before(&mut self, state: &Execution, turn: &Turn, event: &Event) {
        let place = event.task().and_then(|task| state.place_of(task).ok());
        match event {
            Event::TaskReady { task }
            | Event::TaskLimited { task, .. }
            | Event::TaskDispatched { task, .. }
            | Event::TaskCached { task, .. }
            | Event::TaskOffered { task, .. }
            | Event::Opened { task, .. }
            | Event::Delayed { task, .. }
            | Event::Awaiting { task, .. }
            | Event::PermitAsked { task, .. }
            | Event::Asked { task, .. }
            | Event::ChildOrdered { task, .. } => {
                if let Some(place) = place {
                    self.begins(state, place.scope, &task.to_string());
                }
            }
            _ => {}
        }
        if let Event::TaskFailed { task, failure, retry_at: None, .. } = event
            && failure.class == FailureClass::OutcomeUnknown
            && let Some(place) = place
            && !state.component(place).outgoing.iter().any(|(_, port)| *port == Output::Error)
        {
            self.is_wrong("I27", format!("{task} failed in the dark, and nobody was asked"));
        }
        if let Event::EventReceived { task, id } = event
            && !self.received.insert(id.clone())
        {
            self.is_wrong("I25", format!("{task} received {id} again"));
        }
        match event {
            // Who pauses leaves the lines, and asks anew afterwards.
            Event::Paused { .. } => {
                for displaced in self.displaces.iter_mut().filter(|it| it.until.is_none()) {
                    displaced.until = Some(turn.at);
                }
            }
            Event::Blocked { displaces, .. } => {
                for of in displaces {
                    let (of, at) = (*of, turn.at);
                    self.displaces.push(Displaced { of, task: None, waits: None, at, until: None });
                }
            }
            Event::TaskLimited { task, displaces, .. } => {
                for (of, displaced) in displaces {
                    let (waits, displaced) = (Some(task.clone()), Some(displaced.clone()));
                    let (of, at) = (*of, turn.at);
                    self.displaces.push(Displaced { of, task: displaced, waits, at, until: None });
                }
            }
            Event::Started => self.has_its_place(None, turn.at),
            other => {
                if let Some(task) = other.task() {
                    self.has_its_place(Some(task), turn.at);
                }
            }
        }
        if let Event::TaskCompleted { task, attempt, .. } = event {
            self.counted.push((task.clone(), *attempt));
        }
        match event {
            Event::TaskCompleted { output, ports, .. }
            | Event::TaskCached { output, ports, .. }
            | Event::Decided { output, ports, .. } => {
                if let Some(place) = place {
                    self.completes(state, place, turn, output, ports);
                }
            }
            Event::DecisionFailed { failure, .. } => {
                if let Some(place) = place {
                    self.container_ends(state, place);
                    match state.at(place).inner.as_deref() {
                        Some(Inner::Wait(wait)) if failure.class == FailureClass::Timeout => {
                            self.missed.push((state.key(place), wait.clone()));
                        }
                        Some(Inner::Child(child)) => {
                            let told =
                                failure.details.as_ref().is_some_and(|it| it.get("execution").is_some());
                            if let Some(call) = self.calls.iter_mut().find(|call| call.child == child.id) {
                                call.given_up = (!told).then_some(turn.at);
                            }
                        }
                        _ => {}
                    }
                }
            }
            Event::TaskCancelled { .. }
            | Event::Skipped { .. }
            | Event::TaskFailed { retry_at: None, .. } => {
                if let Some(place) = place {
                    self.container_ends(state, place);
                    if let Some(Inner::Child(child)) = state.at(place).inner.as_deref()
                        && let Some(call) = self.calls.iter_mut().find(|call| call.child == child.id)
                    {
                        call.given_up = Some(turn.at);
                    }
                }
            }
            Event::CompensationNoted { task, .. } => self.noted.push(task.clone()),
            Event::Moved(moved) => {
                self.moved = Some(Before::of(state, moved));
                let undone = self.undone.iter_mut().map(|(task, _)| task);
                for task in self.completed.iter_mut().chain(&mut self.noted).chain(undone) {
                    if let Some(called) = moved.mapping.get(&task.component) {
                        task.component = called.clone();
                    }
                }
            }
            Event::Compensated { task, failure } => {
                if self.undone.iter().any(|(earlier, _)| earlier == task) {
                    self.is_wrong("I21", format!("{task} was undone twice"));
                }
                self.undone.push((task.clone(), failure.is_some()));
            }
            Event::ScopeOpened { part, owner, round, .. } => {
                if state.is_cancelling() {
                    self.is_wrong("I6", format!("{part:?} of {owner:?} began while it was cancelled"));
                }
                let cleans = matches!(part, Part::Compensation | Part::OnFailure)
                    || *part == Part::Finally && owner.is_none();
                if cleans && state.outcome.is_none() {
                    self.is_wrong("I21", format!("{part:?} began before the outcome was decided"));
                }
                if *part == Part::Finally && owner.is_none() {
                    self.finally += 1;
                }
                let container = owner
                    .as_ref()
                    .filter(|_| !cleans)
                    .and_then(|owner| state.place_of(owner).ok())
                    .and_then(|place| state.container(place));
                if let (Some(container), Some(round)) = (container, round) {
                    let most = match &container.plan {
                        Plan::Rounds(plan) => plan.max_parallel,
                        _ => 1,
                    };
                    if container.rounds.next != *round || container.rounds.live() >= most {
                        self.is_wrong("I22", format!("round {round} of {owner:?} was opened out of turn"));
                    }
                }
            }
            Event::RoundClosed { task, round, status, .. } => {
                let twice = self.rounds.entry(task.clone()).or_default().insert(*round, *status).is_some();
                let mut iteration = task.iteration.clone();
                iteration.0.push(*round);
                let scope = place
                    .and_then(|place| state.component(place).scopes.body)
                    .and_then(|body| state.scope_in(body, &iteration));
                let ended = scope.is_some_and(|scope| state.scope(scope).is_settled());
                let failed = scope.is_some_and(|scope| state.unhandled(scope).next().is_some());
                if twice || !ended || failed != (*status == Status::Failed) {
                    self.is_wrong("I22", format!("round {round} of {task} ended twice, early or otherwise"));
                }
            }
            Event::ChildOrdered { task, child, waits, on_parent_close, .. } => {
                if self.calls.iter().any(|call| call.task == *task) {
                    self.is_wrong("I24", format!("{task} was ordered twice"));
                }
                self.calls.push(Call {
                    task: task.clone(),
                    child: *child,
                    waits: *waits,
                    policy: *on_parent_close,
                    output: None,
                    given_up: None,
                });
            }
            Event::Answered { task, answer } => {
                self.answers += 1;
                let person = place.and_then(|place| state.person(place));
                let counts = person.is_some_and(|person| {
                    let kind = matches!(person.ask.kind, PersonKind::HumanTask);
                    person.assignees.contains(&answer.for_assignee)
                        && person.answers.iter().all(|it| it.for_assignee != answer.for_assignee)
                        && kind == (answer.verdict == AnswerVerdict::Submit)
                });
                if !counts {
                    self.is_wrong("I27", format!("an answer to {task} counted twice, or late, or wrongly"));
                }
            }
            Event::TaskLost { task, .. }
                if place.is_some_and(|place| state.at(place).phase == Phase::Asked) =>
            {
                self.is_wrong("I27", format!("{task} was lost while a person was asked about it"));
            }
            _ => {}
        }
    }

    fn after(&mut self, state: &Execution, _: &Turn) {
        if let Some(message) = self.moved.take().and_then(|before| before.unlike(state)) {
            self.is_wrong("I32", message);
        }
        if state.status.is_terminal() || state.cancel.is_some() {
            return;
        }
        let mut wrong: BTreeSet<(&'static str, String)> = BTreeSet::new();
        for scope in state.open_scopes() {
            let stopping = state.scope(scope).stopping.is_some();
            for place in state.places(scope) {
                let phase = state.at(place).phase;
                if phase == Phase::Cancelled && !stopping {
                    wrong.insert((
                        "I23",
                        format!("{} was cancelled in a scope that goes on", state.key(place)),
                    ));
                }
                if phase == Phase::Asked && state.person(place).is_some_and(decides) {
                    wrong.insert(("I27", format!("{} has been answered and still asks", state.key(place))));
                }
            }
        }
        for (invariant, message) in wrong {
            self.is_wrong(invariant, message);
        }
    }
}
