//! The pure engine: what an execution's state and one input make happen next.
//!
//! [`decide`] reads no clock, no random source and no store, and awaits nothing. The same state and
//! input give the same turn on every machine, which is what lets a crash be repaired by deciding again.

mod caching;
mod children;
mod containers;
mod control;
mod ending;
mod fusion;
mod limits;
mod moving;
mod pausing;
mod people;
mod rates;
mod scope;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use shared::{
    component::{Failure, FailureClass, Runs},
    execution::{
        Child, Event, Execution, Inner, Joined, Mode, Payload, Phase, Place, ROOT, Received, SkipReason,
        Status, TaskKey, TimerKey,
    },
    expression::{EvaluationError, Rendered},
    ids::{ExecutionId, MessageId, PayloadId, TenantId},
    port::{
        cache::{CacheEntry, CacheKey},
        queue::Audience,
        rates::{Permit, PermitAsk},
        store::{
            FinishedTask, HumanTaskChange, LateResult, SlotClaim, StatusChange, TimerChange, WaitChange,
            parts_of,
        },
    },
    time::Timestamp,
    wire::{Ask, ChildEnding, Control, RequestBody, Task, TaskResult},
    workflow::{Join, OnUnhandledFailure, Part, Priority},
};

use crate::rows::RowsAsk;
pub use caching::Cached;
pub use limits::Full;
use scope::StateScope;
pub(crate) use tasks::looked_for_at;

/// Stored payloads that are loaded.
pub type Loaded = HashMap<PayloadId, Arc<Value>>;

/// The largest item of a loop, in bytes of JSON.
pub(crate) const LARGEST_ITEM: usize = 256 * 1024;

/// Scopes that may be open at once; beyond it a loop opens a round only when it has none open.
const MOST_SCOPES: usize = 10_000;

/// Third lost worker of one task: the task is the danger, not the fleet.
pub const POISON_LOSSES: u32 = 3;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Executions that run at once, over all tenants.
    pub max_concurrent_executions: u32,
    /// How many turns these tenants have where another has one.
    pub tenant_weights: HashMap<TenantId, u32>,
    /// A dispatched task that has been silent this long is sent again; doubled each time, up to `silence_cap`.
    pub silence: Duration,
    pub silence_cap: Duration,
    /// How long a lease lasts without a renewal.
    pub lease: Duration,
    /// How long cancelled tasks may clean up.
    pub cancel_grace: Duration,
    /// Whether short pure components in a row travel as one task.
    pub fusion: bool,
    /// Whether results are used again.
    pub cache: bool,
    /// What is too much for one turn or for a journal.
    pub limits: Limits,
}

impl Rules {
    /// How long nothing need be heard of a task that was sent so many times.
    pub(crate) fn patience(&self, dispatch: u32) -> Duration {
        self.between(self.silence.saturating_mul(1 << dispatch.saturating_sub(1).min(16)))
    }

    /// A pause of the sweep, neither shorter than the silence that is missed nor longer than its cap.
    pub(crate) fn between(&self, pause: Duration) -> Duration {
        pause.min(self.silence_cap).max(self.silence)
    }
}

/// Beyond these a decision is put off, or a value laid aside. The same for everybody: the explorer alone makes
/// them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Above this many bytes of JSON a value goes to the payload store.
    pub inline: usize,
    /// A turn with this many events opens no further rounds of loops: the rest follows in turns of its own.
    pub turn_events: usize,
    /// Rounds above which a loop's results go to the payload store as it goes on.
    pub kept_rounds: u32,
    /// Rounds with large outputs that are kept together at most.
    pub heavy_rounds: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { inline: Payload::INLINE_LIMIT, turn_events: 1_000, kept_rounds: 1_000, heavy_rounds: 8 }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_concurrent_executions: 10_000,
            tenant_weights: HashMap::new(),
            silence: Duration::from_mins(1),
            silence_cap: Duration::from_mins(30),
            lease: Duration::from_mins(1),
            cancel_grace: Duration::from_secs(10),
            fusion: true,
            cache: true,
            limits: Limits::default(),
        }
    }
}

impl Rules {
    /// How many turns a tenant has where one of weight 1 has one.
    pub fn weight(&self, tenant: TenantId) -> u32 {
        self.tenant_weights.get(&tenant).copied().unwrap_or(1)
    }
}

/// What one decision may know beside the state.
#[derive(Debug)]
pub struct Surroundings<'a> {
    pub rules: &'a Rules,
    /// By the store's clock.
    pub now: Timestamp,
    /// Tasks that the dispatch window still has room for.
    pub room: u32,
    /// Stored payloads that were loaded for this decision.
    pub payloads: &'a Loaded,
    /// Dispatches before this instant went with a queue that has lost everything.
    pub queue_lost_before: Option<Timestamp>,
    /// Whether tasks wait in the queues anyway, so that silence means nothing.
    pub queue_is_deep: bool,
    /// Keys of which the store refused a place when the same was decided before.
    pub full: &'a Full,
    /// What stands in the cache under the keys that the same decision asked for; absent when it has not.
    pub cached: Option<&'a Cached>,
}

/// One thing that may change an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    Start,
    Result(&'a TaskResult),
    Ask(&'a Ask),
    Timer(&'a TimerKey),
    Request(&'a RequestBody),
    /// A sub-workflow that a task started ended.
    Child {
        task: &'a TaskKey,
        child: ExecutionId,
        ending: &'a ChildEnding,
    },
    /// What became of a permit that a task asked for.
    Permit {
        task: &'a TaskKey,
        permit: &'a Permit,
    },
    /// An event that a task may wait for.
    Event {
        task: &'a TaskKey,
        event: &'a Received,
    },
    Sweep,
    Wake,
}

/// Something to send once the turn is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Dispatch(Box<Task>),
    Tell(Audience, Control),
    /// Shown among the dead letters; the execution went on without it.
    Poison(Box<Task>, String),
    /// Accept the execution of a sub-workflow, or find that it was; then, or if it ended meanwhile, say so.
    StartChild(Box<ChildOrder>),
    /// End the execution of a sub-workflow.
    CloseChild {
        child: ExecutionId,
        kill: bool,
    },
    /// Tell the execution that started this one how it ended.
    TellParent {
        parent: ExecutionId,
        task: TaskKey,
        ending: Box<ChildEnding>,
    },
    /// End this execution if the one that called it has ended, or has ended the call.
    AskParent {
        parent: ExecutionId,
        task: TaskKey,
        /// The turn of the caller that ordered this one.
        ordered_in: u32,
        kill: bool,
    },
    /// Ask another execution, or one of its tasks, to make room.
    Displace {
        execution: ExecutionId,
        task: Option<TaskKey>,
    },
    /// Look for events that came before the wait did.
    FindEvents {
        task: TaskKey,
        event: String,
        key: String,
        early: Timestamp,
    },
    /// Take a permit under a rate limit, and say what became of it.
    AskPermit(Box<PermitAsk>),
    /// More is to be done than one turn should hold: wake the execution.
    GoOn,
}

/// The execution of a sub-workflow, as it is to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildOrder {
    pub tenant: TenantId,
    pub parent: ExecutionId,
    pub task: TaskKey,
    /// How deep it stands, from 1.
    pub depth: u32,
    pub child: Child,
    pub priority: Priority,
    pub mode: Mode,
    pub principal: String,
}

/// What a decision makes: a turn (when `events` is not empty) and what goes with it.
#[derive(Debug, Default)]
pub struct Decision {
    pub events: Vec<Event>,
    pub commands: Vec<Command>,
    pub change: Option<StatusChange>,
    pub timers: Vec<TimerChange>,
    /// As in [`Commit`](shared::port::store::Commit).
    pub give: Vec<Option<TaskKey>>,
    pub take: Vec<SlotClaim>,
    pub wait: Vec<SlotClaim>,
    pub release: bool,
    /// Keys of which it gives something back.
    pub freed: Vec<String>,
    pub finished: Vec<FinishedTask>,
    pub late: Vec<LateResult>,
    /// When the sweep should look again.
    pub sweep_at: Option<Timestamp>,
    /// Whether a task in line was not tried, as there was no room to dispatch it.
    pub held_back: bool,
    /// What people are asked, as it stands now.
    pub people: Vec<HumanTaskChange>,
    pub waits: Vec<WaitChange>,
    /// Results that other executions may use.
    pub cache: Vec<CacheEntry>,
    /// Values that the events refer to, to be kept before the turn.
    pub payloads: Vec<(PayloadId, Vec<u8>)>,
}

/// What a decision needs and has not; the state is spoilt and must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// These payloads, loaded.
    Payloads(Vec<PayloadId>),
    /// This row set, cut into lists, and what became of it among the loaded payloads.
    Rows(RowsAsk),
    /// What stands in the cache under these keys, expired or not.
    Cached(Vec<CacheKey>),
}

/// Decides what `input`, which came with message `cause`, adds to `execution`, and applies it.
///
/// Several inputs of one message are decided together and make one turn. When the turn is not kept
/// the state must be thrown away. An input that was already applied, is late, or is not understood
/// adds no events.
pub fn decide(
    execution: &mut Execution,
    inputs: &[Input<'_>],
    cause: MessageId,
    around: &Surroundings<'_>,
) -> Result<Decision, Needs> {
    let mut turning = Turning {
        execution,
        cause,
        around,
        payloads: Cow::Borrowed(around.payloads),
        made: Decision::default(),
        changed: VecDeque::new(),
        ended: VecDeque::new(),
        held: VecDeque::new(),
        stopped: Vec::new(),
        begun: None,
        ordered: 0,
        unknown: Vec::new(),
        goes_on: false,
    };
    match turning.decide(inputs) {
        Ok(()) if turning.unknown.is_empty() => {}
        Ok(()) => return Err(Needs::Cached(turning.unknown)),
        Err(Needs::Payloads(ids)) => return Err(Needs::Payloads(turning.in_parts(ids))),
        Err(other) => return Err(other),
    }
    turning.tell_stopped();
    turning.give_back();
    if turning.made.release {
        let held = limits::keys(turning.execution, &turning.payloads, around.rules);
        turning.made.freed.extend(held);
    }
    let Turning { execution, made, .. } = turning;
    if !made.events.is_empty() {
        execution.close_turn(around.now);
    }
    Ok(made)
}

/// The commands of the turn that `cause` made, as far as they still matter: after a crash between
/// commit and publish the message comes again, and exactly these are published again.
pub fn commands_again(
    execution: &Execution,
    cause: MessageId,
    payloads: &Loaded,
) -> Result<Vec<Command>, Needs> {
    let mut commands = Vec::new();
    if execution.ended_by == Some(cause) && !planted!(B36ParentNotToldAgain) {
        commands.extend(ending::last_words(execution));
    }
    let left =
        execution.left.iter().filter(|(ended_by, ..)| *ended_by == cause && !planted!(B54CloseNotRepeated));
    commands.extend(left.filter_map(|(_, child, policy)| children::close_by(*child, *policy)));
    if !planted!(B69DisplacedNotToldAgain) {
        commands.extend(limits::displacing(execution, Some(cause)));
    }
    for scope in execution.open_scopes() {
        let ordered = execution.places(scope).filter(|place| execution.at(*place).cause == cause);
        commands.extend(ordered.filter_map(|place| still_asks(execution, place)));
    }
    if execution.is_cancelling() || execution.status.is_terminal() {
        return Ok(commands);
    }
    // It was resumed before it had begun, and begins in a turn of its own; a wake too many changes nothing.
    if execution.status == Status::Pending && execution.seq > 1 && execution.line.is_none() {
        commands.push(Command::GoOn);
    }
    // Which turn put rounds off is not known; a wake too many changes nothing.
    let has_more = execution.loops.iter().any(|place| containers::has_more(execution, *place));
    if has_more && !planted!(B57RestNotRepeated) || caching::may_be_put_off(execution) {
        commands.push(Command::GoOn);
    }
    for place in &execution.dispatched {
        let state = execution.at(*place);
        if state.cause == cause && state.fence.is_none() {
            match tasks::make_task(execution, payloads, *place, state.attempt, state.dispatch) {
                Ok(task) => commands.push(Command::Dispatch(Box::new(task))),
                Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
                // It was rendered once; the same state renders the same.
                Err(EvaluationError::Failed(_)) => {}
            }
        }
    }
    Ok(commands)
}

/// What a component that waits for others asked of them when it began to, as long as it waits.
fn still_asks(execution: &Execution, place: Place) -> Option<Command> {
    match (execution.at(place).phase, execution.at(place).inner.as_deref()?) {
        (Phase::Calling, Inner::Child(child)) => Some(children::order(execution, place, child)),
        (Phase::Awaiting, Inner::Wait(wait)) => Some(Command::FindEvents {
            task: execution.key(place),
            event: wait.event.clone(),
            key: wait.key.clone(),
            early: wait.early,
        }),
        (Phase::Asking, _) if !planted!(B80PermitNotAskedAgain) => rates::ask(execution, place),
        _ => None,
    }
}

/// The config of a component with its expressions resolved; that of a compensation was resolved when what it
/// undoes completed.
fn rendered(execution: &Execution, payloads: &Loaded, place: Place) -> Result<Rendered, EvaluationError> {
    let definition = execution.definition(place.scope);
    if definition.part == Part::Compensation
        && let Some(owner) = definition.owner
    {
        let id = &execution.workflow.components[owner].id;
        let iteration = &execution.scope(place.scope).iteration;
        let undo = execution
            .undo
            .iter()
            .rev()
            .find(|undo| undo.task.component == *id && undo.task.iteration == *iteration);
        return match undo {
            Some(undo) => Ok(Rendered { value: undo.config.clone(), references: undo.references.clone() }),
            None => Err(EvaluationError::Failed(Failure::new(
                FailureClass::Internal,
                "nothing was noted for this compensation",
            ))),
        };
    }
    execution.component(place).config.render(&StateScope::new(execution, payloads, place.scope))
}

/// A decision in the making: every event is applied as it is emitted.
struct Turning<'a> {
    execution: &'a mut Execution,
    cause: MessageId,
    around: &'a Surroundings<'a>,
    /// Those of `around`, and those that this turn makes.
    payloads: Cow<'a, Loaded>,
    made: Decision,
    /// Components whose connections changed and that may be ready.
    changed: VecDeque<Place>,
    /// Scopes that may have settled.
    ended: VecDeque<u32>,
    /// Components that settled during the pause that this turn ends.
    held: VecDeque<Place>,
    /// Running tasks whose scope ended; their workers are told.
    stopped: Vec<TaskKey>,
    /// A component that a worker has begun by itself, whose result comes next.
    begun: Option<Place>,
    /// Tasks ordered so far.
    ordered: u32,
    /// Keys of the cache that were not asked for yet.
    unknown: Vec<CacheKey>,
    /// Whether the rest was put off to a turn of its own.
    goes_on: bool,
}

impl Turning<'_> {
    fn decide(&mut self, inputs: &[Input<'_>]) -> Result<(), Needs> {
        for input in inputs {
            if let Input::Result(result) = input
                && result.follows.is_some()
            {
                // The result before it made it ready, and nobody is to be asked to run it.
                let place = self.execution.place_of(&result.key()).ok();
                self.begun = place.filter(|place| self.stands_on_what_counts(*place, result));
                self.advance()?;
                self.begun = None;
            }
            self.take(input)?;
        }
        self.advance()?;
        self.fill_room()?;
        // What could not be prepared has failed, and its readers may be ready.
        self.advance()?;
        self.report_failing();
        Ok(())
    }

    /// Says at once that an execution which goes on will fail: what is unhandled in the workflow's own scope
    /// stays so. A container answers for what fails in it, so that is reported when the container has failed.
    fn report_failing(&mut self) {
        let execution = &*self.execution;
        let goes_on = execution.status == Status::Running
            && execution.outcome.is_none()
            && execution.failing.is_none()
            && !execution.is_cancelling();
        if !goes_on {
            return;
        }
        let unhandled = if planted!(B59HandledFailureReported) {
            execution.root().failed.first().map(|index| Place { scope: ROOT, component: *index as u32 })
        } else {
            execution.unhandled(ROOT).next()
        };
        if let Some(place) = unhandled {
            let (task, failure) = (self.key(place), self.failure_of(place));
            self.emit(Event::Failing { task, failure: failure.clone() });
            self.show_failing(failure);
        }
    }

    /// Puts the failure of an execution that will fail into its row.
    fn show_failing(&mut self, failure: Failure) {
        let running = StatusChange { status: Status::Running, failure: None, output: None };
        self.made.change.get_or_insert(running).failure = Some(failure);
    }

    /// A list that this turn lays aside in parts is nowhere yet: its parts are what can be loaded.
    fn in_parts(&self, ids: Vec<PayloadId>) -> Vec<PayloadId> {
        let mut wanted = Vec::new();
        for id in ids {
            let made = self.made.payloads.iter().find(|(made, _)| *made == id);
            match made.and_then(|(_, bytes)| parts_of(bytes)) {
                Some(parts) => {
                    wanted.extend(parts.into_iter().filter(|part| !self.payloads.contains_key(part)));
                }
                None => wanted.push(id),
            }
        }
        wanted
    }

    fn emit(&mut self, event: Event) {
        // Every event is about a component of this workflow: the keys are taken from it.
        let applied = self.execution.apply(&event, self.around.now, self.cause);
        debug_assert!(applied.is_ok(), "{applied:?}");
        self.made.events.push(event);
    }

    /// As [`Self::emit`], for events that may end scopes: what is queued of those is forgotten, as their ids
    /// may be given to others.
    fn emit_closing(&mut self, event: Event) {
        self.emit(event);
        let open = &self.execution.scopes;
        self.changed.retain(|place| open[place.scope as usize].is_some());
        self.ended.retain(|scope| open[*scope as usize].is_some());
        self.held.retain(|place| open[place.scope as usize].is_some());
    }

    fn key(&self, place: Place) -> TaskKey {
        self.execution.key(place)
    }

    fn phase(&self, place: Place) -> Phase {
        self.execution.at(place).phase
    }

    fn is_open(&self, place: Place) -> bool {
        self.execution.scopes.get(place.scope as usize).is_some_and(Option::is_some)
    }

    /// What an expression at a place sees.
    fn scope(&self, place: Place) -> StateScope<'_> {
        StateScope::new(self.execution, &self.payloads, place.scope)
    }

    fn set_timer(&mut self, key: TimerKey, due_at: Timestamp) {
        self.made.timers.push(TimerChange::Set { key, due_at, token: None });
    }

    fn clear_timer(&mut self, key: TimerKey) {
        self.made.timers.push(TimerChange::Clear { key });
    }

    fn take(&mut self, input: &Input<'_>) -> Result<(), Needs> {
        match input {
            Input::Result(result) => return self.result(result),
            Input::Ask(ask) => self.ask(ask),
            _ if self.execution.status.is_terminal() && !planted!(B21NoTerminalCheck) => {}
            Input::Start => return self.start(),
            Input::Wake => {
                self.start()?;
                self.call_the_line(false)?;
                return self.resume_rounds();
            }
            Input::Timer(key) => return self.timer(key),
            Input::Request(RequestBody::Cancel { by, reason }) => self.cancel(by, reason),
            Input::Request(RequestBody::Kill { by, reason }) if planted!(B41KillRunsFinally) => {
                self.cancel(by, reason);
            }
            Input::Request(RequestBody::Kill { by, reason }) => self.kill(by, reason),
            Input::Request(RequestBody::Pause { by, reason }) => self.pause(by, reason),
            Input::Request(RequestBody::Resume { by }) => return self.resume(by),
            Input::Request(RequestBody::Answer { task, answer }) => return self.answer(task, answer),
            Input::Request(RequestBody::Claim { task, by, for_assignee }) => {
                self.claim(task, by, for_assignee.as_deref());
            }
            Input::Request(RequestBody::Delegate { task, by, from, to }) => {
                self.delegate(task, by, from, to);
            }
            Input::Request(RequestBody::Signal { signal }) => return self.signal(signal),
            Input::Request(RequestBody::Move(asked)) => self.move_to(asked),
            Input::Request(RequestBody::Displace { task, by }) => return self.displaced(task, *by),
            Input::Child { task, child, ending } => return self.child_ended(task, *child, ending),
            Input::Event { task, event } => return self.event_came(task, event),
            Input::Permit { task, permit } => return self.permitted(task, permit),
            Input::Sweep => {
                self.sweep()?;
                self.call_the_line(false)?;
                return self.resume_rounds();
            }
        }
        Ok(())
    }

    // ---- beginning -------------------------------------------------------------------------

    /// Admits a pending execution; on a running one it does nothing ([`Self::fill_room`] does the rest).
    fn start(&mut self) -> Result<(), Needs> {
        if self.execution.status != Status::Pending {
            return Ok(());
        }
        if let Some(until) = self.execution.accepted.scheduled_at
            && until > self.around.now
        {
            if self.execution.seq == 1 {
                self.emit(Event::Scheduled { until });
                self.set_timer(TimerKey::Scheduled, until);
                self.made.sweep_at = Some(until.after(self.around.rules.silence));
            }
            return Ok(());
        }
        match limits::claims(self.execution, &self.payloads, self.around.rules) {
            Ok(claims) => {
                if !self.enters(claims) {
                    return Ok(());
                }
            }
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => {
                self.finish(Status::Failed, None, Some(failure));
                return Ok(());
            }
        }
        let workflow = Arc::clone(&self.execution.workflow);
        self.emit(Event::Started);
        self.made.change = Some(StatusChange { status: Status::Running, failure: None, output: None });
        self.made.sweep_at = Some(self.around.now.after(self.around.rules.silence));
        if let Some(timeout) = workflow.timeout {
            self.set_timer(TimerKey::Timeout, self.around.now.after(timeout));
        }
        self.begin_scope(ROOT);
        // What was carried has settled already: whatever reads it may be ready.
        if self.execution.root().settled > 0 && !planted!(B63CarriedReadersForgotten) {
            // Twice among what changed is once: who is not waiting any more is passed over.
            self.look_again();
        }
        Ok(())
    }

    /// Puts what needs nothing in a scope among what may be ready.
    fn begin_scope(&mut self, scope: u32) {
        let workflow = Arc::clone(&self.execution.workflow);
        let components = &workflow.scopes[self.execution.scope(scope).scope].components;
        self.changed.extend(
            components
                .iter()
                .filter(|index| workflow.components[**index].needs.is_empty())
                .map(|index| Place { scope, component: *index as u32 }),
        );
        // An empty scope does not pass the reader; this keeps one from standing still for ever.
        if components.is_empty() {
            self.ended.push_back(scope);
        }
    }

    // ---- going on --------------------------------------------------------------------------

    /// A component settled: its readers may be ready, and its scope may have settled with it.
    fn settled(&mut self, place: Place) -> Result<(), Needs> {
        if !self.is_open(place) {
            return Ok(());
        }
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        let completed = self.phase(place) == Phase::Completed;
        if completed
            && component.compensate.is_some()
            && (place.scope == ROOT || !planted!(B30CompensationNotedAtTheRootOnly))
        {
            self.note_compensation(place)?;
        }
        // What follows waits for the end of a pause; the state keeps the place until then.
        if self.execution.is_paused() { Ok(()) } else { self.follow(place) }
    }

    /// What follows from a component that settled.
    fn follow(&mut self, place: Place) -> Result<(), Needs> {
        if !self.is_open(place) {
            return Ok(());
        }
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        let readers = component.outgoing.iter().map(|(reader, _)| *reader);
        self.changed.extend(readers.map(|reader| Place { scope: place.scope, component: reader as u32 }));
        if self.phase(place) == Phase::Completed && self.is_race(place.scope) {
            return self.won(place);
        }
        // After a pause several of a scope may be the last.
        if self.execution.scope(place.scope).is_settled() && !self.ended.contains(&place.scope) {
            self.ended.push_back(place.scope);
        }
        Ok(())
    }

    /// Decides everything that can be decided now, and the end when there is nothing left.
    fn advance(&mut self) -> Result<(), Needs> {
        let stands = self.execution.status != Status::Running && self.execution.cancel.is_none();
        if stands || self.execution.is_paused() {
            return Ok(());
        }
        let may_stop = self.execution.workflow.may_stop;
        loop {
            if self.execution.status.is_terminal() {
                return Ok(());
            }
            // Asked before each component, so that nothing begins that the scope's end would cancel again.
            let mut next = 0;
            if may_stop {
                let troubled = self.stop_the_troubled();
                // The others say first whether the failure is handled: no `all_done` runs when it is not.
                let components = &self.execution.workflow.components;
                let is_early = |place: &Place| {
                    components[place.index()].join != Join::AllDone || !troubled.contains(&place.scope)
                };
                next = self.changed.iter().position(is_early).unwrap_or(0);
            }
            if let Some(place) = self.changed.remove(next) {
                if self.phase(place) == Phase::Waiting {
                    self.consider(place)?;
                }
                continue;
            }
            if let Some(scope) = self.ended.pop_front() {
                if self.execution.scope(scope).is_settled() {
                    self.scope_ended(scope)?;
                }
                continue;
            }
            if self.execution.is_cancelling()
                && self.execution.dispatched.is_empty()
                && !self.execution.root().is_settled()
            {
                // What still ran in containers has ended: they end with it.
                self.end_scope(ROOT);
                self.ended.push_back(ROOT);
                continue;
            }
            if self.execution.root().is_settled() && self.execution.outcome.is_none() {
                self.scope_ended(ROOT)?;
                continue;
            }
            return Ok(());
        }
    }

    /// Ends the scopes that stop at an unhandled failure and have one. Answers those that failed and where it
    /// is still open whether the failure is handled.
    fn stop_the_troubled(&mut self) -> Vec<u32> {
        if self.execution.is_cancelling() {
            return Vec::new();
        }
        let mut troubled: Vec<u32> = self
            .execution
            .open_scopes()
            .filter(|id| {
                let scope = self.execution.scope(*id);
                !scope.failed.is_empty()
                    && scope.stopping.is_none()
                    && self.execution.definition(*id).on_unhandled_failure == OnUnhandledFailure::Stop
            })
            .collect();
        troubled.retain(|scope| {
            let Some(failed) = self.execution.unhandled(*scope).next() else { return true };
            if !self.execution.scope(*scope).is_settled() {
                let failure = self.failure_of(failed);
                self.stop(*scope, failure);
            }
            false
        });
        troubled
    }

    /// The failure of a component as its scope's: with who failed, and all others that are unhandled.
    fn failure_of(&self, place: Place) -> Failure {
        let id = &self.execution.component(place).id;
        let failure = self.execution.at(place).failure.as_deref();
        let class = failure.map_or(FailureClass::Internal, |failure| failure.class.clone());
        let message = failure.map_or("", |failure| failure.message.as_str());
        let all: Vec<&str> = self
            .execution
            .unhandled(place.scope)
            .map(|place| self.execution.component(place).id.as_str())
            .collect();
        Failure::new(class, format!("{id}: {message}"))
            .with_details(serde_json::json!({ "component": id.as_str(), "unhandled": all }))
    }

    /// Asks a waiting component's join, then its `when`, then decides or orders it.
    fn consider(&mut self, place: Place) -> Result<(), Needs> {
        match self.execution.join(place) {
            Joined::Waits if planted!(B18JoinCountedFromMessages) => {}
            Joined::Waits => return Ok(()),
            Joined::Skipped => {
                self.emit(Event::Skipped { task: self.key(place), reason: SkipReason::DeadConnection });
                return self.settled(place);
            }
            Joined::Ready => {}
        }
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        if let Some(when) = &component.when {
            let verdict = match when.evaluate(&self.scope(place)) {
                Ok(Value::Bool(verdict)) => Ok(verdict),
                Ok(other) => Err(Failure::new(
                    FailureClass::InvalidExpression,
                    format!("`when` gives {}, not true or false", kind_of(&other)),
                )),
                Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
                Err(EvaluationError::Failed(failure)) => Err(failure),
            };
            match verdict {
                Ok(true) => {}
                Ok(false) => {
                    self.emit(Event::Skipped { task: self.key(place), reason: SkipReason::WhenFalse });
                    return self.settled(place);
                }
                Err(failure) => return self.decision_failed(place, failure),
            }
        }
        match component.runs {
            Runs::Coordinator => self.control(place),
            Runs::Worker => {
                self.start_clocks(place);
                self.dispatch(place)
            }
            Runs::External => self.offer(place),
        }
    }
}

/// The JSON type of a value, for people.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
