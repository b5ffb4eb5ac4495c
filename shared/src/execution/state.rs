//! The state of an execution: what its turns fold to. No clock, no randomness, no map whose order varies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::moving::{self, Moved};
use super::{
    Accepted, Answer, Carry, Event, Items, Iteration, Payload, PersonAsk, PersonKind, Plan, Received, Status,
    StoredPayload, TaskKey, Turn,
};
use crate::{
    component::{Failure, FailureClass, control::OnParentClose},
    ids::{ComponentId, ExecutionId, MessageId, PayloadId, Token, WorkerId},
    port::rates::Rate,
    time::Timestamp,
    workflow::{Component, Join, Output, Part, Scope, Workflow},
};

/// A journal that does not fold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    #[error("the journal has no turns")]
    Empty,
    #[error("turn {found} follows turn {after}")]
    Gap { after: u32, found: u32 },
    #[error("the first event is not `accepted`")]
    NotAccepted,
    #[error("an event names `{0}`, which the workflow has not")]
    UnknownComponent(String),
    #[error("an event names `{0}`, whose scope is not open")]
    ScopeNotOpen(String),
    #[error("turn {0} comes after the end")]
    AfterTheEnd(u32),
    #[error("it was moved to the snapshot {0}, which is not at hand")]
    NotLearned(String),
}

/// What fences an attempt beyond its delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Fence {
    pub worker: WorkerId,
    pub token: Token,
    /// Whether the attempt was granted (`at_most_once`).
    pub granted: bool,
    /// When its worker got it: from here on it runs.
    pub since: Timestamp,
    /// When its lease ran out last we journaled it; renewals move the timer row, not this.
    pub leased_until: Option<Timestamp>,
}

/// Where a component stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// For its connections.
    Waiting,
    /// May run; waits for room in the dispatch window.
    Ready,
    /// May run; waits in line for a place under its `concurrency`.
    Limited,
    /// For a worker outside this platform.
    Offered,
    /// With a queue or a worker.
    Dispatched,
    /// For its next attempt.
    Retrying(Timestamp),
    /// For an instant.
    Delayed(Timestamp),
    /// A container whose scopes run.
    Open,
    /// For the execution of another workflow.
    Calling,
    /// For people.
    Asked,
    /// For an event or signal.
    Awaiting,
    /// For the answer whether and when a rate limit lets it through.
    Asking,
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

impl Phase {
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// The word that expressions and people see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Limited | Self::Asking => "limited",
            Self::Offered => "offered",
            Self::Retrying(_) => "retrying",
            Self::Delayed(_) => "delayed",
            Self::Dispatched | Self::Open | Self::Calling => "running",
            Self::Asked => "asked",
            Self::Awaiting => "awaiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a task keeps its place under its `concurrency`, or in the line for one.
    const fn keeps_its_place(self) -> bool {
        matches!(self, Self::Ready | Self::Limited | Self::Offered | Self::Dispatched)
    }
}

/// A place under a `concurrency`, or in the line for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub key: String,
    pub limit: u32,
    /// Whether it is held; it is waited for otherwise.
    pub is_held: bool,
}

/// A task that gave back its place under a `concurrency`, or in the line for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenBack {
    pub task: TaskKey,
    pub key: String,
}

/// What an execution that has not begun waits in line for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub key: String,
    pub limit: u32,
    /// The message whose turn put it there, and the executions that are asked to make room.
    pub cause: MessageId,
    pub displaces: Vec<ExecutionId>,
    /// Its tenant's, where tenants take turns.
    pub weight: Option<u32>,
}

/// Where a component stands in an execution: in one opened scope. Not stable beyond the scope's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which opened scope: an index into [`Execution::scopes`].
    pub scope: u32,
    /// Which component: an index into the workflow's.
    pub component: u32,
}

impl Place {
    pub const fn index(self) -> usize {
        self.component as usize
    }
}

/// The workflow's own scope, open from the beginning.
pub const ROOT: u32 = 0;

/// One component of an execution, in one opened scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentState {
    pub phase: Phase,
    /// The present or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts whose worker was lost; they cost none of the policy's.
    pub lost: u32,
    /// Messages sent for the present attempt.
    pub dispatch: u32,
    pub dispatched_at: Timestamp,
    /// The inbox message whose turn sent the last of them, or ordered what it waits for.
    pub cause: MessageId,
    pub fence: Option<Box<Fence>>,
    /// Its place under its `concurrency`.
    pub slot: Option<Box<Slot>>,
    pub output: Option<Payload>,
    /// Own ports that fired.
    pub ports: Vec<String>,
    pub failure: Option<Box<Failure>>,
    /// What the result of the present attempt is kept under in the cache.
    pub cache_key: Option<Box<str>>,
    /// The worker whose result counted last, and when that run began: a second run of the attempt is told
    /// from a second copy of its result by them.
    pub answered_by: Option<(WorkerId, Timestamp)>,
    /// When its first attempt became possible.
    pub since: Timestamp,
    /// Whether a worker gave the present attempt back before it began, so that it may be sent again.
    pub returned: bool,
    /// The id it began under, when it was renamed since: what was sent and what stands in rows names it so.
    pub named: Option<ComponentId>,
    /// Connections in that fired, and that are dead.
    pub fired: u32,
    pub dead: u32,
    /// What it holds while it is open, calling, asked or awaiting.
    pub inner: Option<Box<Inner>>,
}

/// What a component holds that is more than a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Inner {
    /// The tasks that are asked to make room for it while it waits in line.
    Displacing(Vec<(ExecutionId, TaskKey)>),
    Container(Container),
    Child(Child),
    Person(Person),
    Wait(Wait),
    Permit(AskedPermit),
}

/// A permit that a component asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPermit {
    pub key: String,
    pub rate: Rate,
    /// Until when it would wait; absent when it takes one now or none.
    pub until: Option<Timestamp>,
}

/// A container whose scopes run.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    pub plan: Plan,
    /// Its open scopes.
    pub open: BTreeSet<u32>,
    pub rounds: Rounds,
}

/// The rounds of a loop.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds {
    /// The next round to open.
    pub next: u32,
    pub closed: u32,
    pub failed: u32,
    pub first_failure: Option<(u32, Failure)>,
    /// How closed rounds ended, as far as that is not stored together.
    pub records: BTreeMap<u32, Arc<Record>>,
    /// Rounds whose results lie in `parts`.
    pub stored: u32,
    pub parts: Vec<StoredPayload>,
    /// The output of the round before, for a `while_loop`.
    pub previous: Option<Payload>,
    pub paused_until: Option<Timestamp>,
}

impl Rounds {
    pub const fn live(&self) -> u32 {
        self.next - self.closed
    }
}

/// How one round of a loop ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub status: Status,
    pub output: Payload,
    pub failure: Option<Failure>,
}

/// The execution of another workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    pub id: ExecutionId,
    /// The turn that ordered it.
    pub ordered_in: u32,
    pub workflow: String,
    pub version: Option<u32>,
    pub parameters: Map<String, Value>,
    pub references: Vec<(String, PayloadId)>,
    pub waits: bool,
    pub on_parent_close: OnParentClose,
    pub execution_key: Option<String>,
}

/// What people are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub ask: PersonAsk,
    /// Whom it is with now.
    pub assignees: Vec<String>,
    pub claimed_by: Option<String>,
    pub answers: Vec<Answer>,
    /// How many of the escalations happened.
    pub escalated: usize,
    pub reminded_at: Option<Timestamp>,
}

/// The event that is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub event: String,
    pub key: String,
    pub until: Timestamp,
    pub early: Timestamp,
}

/// Components that stand and end together.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeState {
    /// Which scope of the workflow.
    pub scope: usize,
    /// The rounds of the loops around it.
    pub iteration: Iteration,
    /// The container; absent for the workflow's own scopes and for compensations.
    pub owner: Option<Place>,
    /// By position in the scope.
    pub components: Vec<ComponentState>,
    /// How many of them have settled.
    pub settled: u32,
    /// Those that failed, as indexes into the workflow's components, in journal order.
    pub failed: Vec<usize>,
    /// Why the scope ends before its components do.
    pub stopping: Option<Failure>,
    /// What a round of a loop is given.
    pub item: Option<Payload>,
    /// What a `catch` or `on_failure` handles.
    pub error: Option<Failure>,
}

impl ScopeState {
    pub fn is_settled(&self) -> bool {
        self.settled as usize == self.components.len()
    }
}

/// A completed component that can be undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    pub task: TaskKey,
    pub config: Value,
    pub references: Vec<(String, PayloadId)>,
    /// Why its compensation cannot be prepared.
    pub failure: Option<Failure>,
}

/// How an execution will end once its cleaning up is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub status: Status,
    pub failure: Option<Failure>,
}

/// Why an execution that goes on will fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Failing {
    /// When that became certain.
    pub since: Timestamp,
    /// Whose failure it is; absent when it is that of the workflow as a whole.
    pub task: Option<TaskKey>,
    pub failure: Failure,
}

impl ComponentState {
    /// Attempts that count against the retry policy.
    pub fn spent(&self) -> u32 {
        self.attempt.saturating_sub(self.lost)
    }
}

/// Who asked for the end, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancel {
    pub by: String,
    pub reason: String,
}

/// Who paused it, why, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Pause {
    pub by: String,
    pub reason: String,
    pub since: Timestamp,
}

/// An execution at one moment of its journal.
#[derive(Debug, Clone)]
pub struct Execution {
    pub id: ExecutionId,
    pub accepted: Arc<Accepted>,
    /// `accepted.parameters` as expressions read it.
    pub parameters: Value,
    pub workflow: Arc<Workflow>,
    /// The last turn.
    pub seq: u32,
    pub last_at: Timestamp,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub status: Status,
    /// The opened scopes; the first is the workflow's. A place that is free is used again.
    pub scopes: Vec<Option<Box<ScopeState>>>,
    /// Places of `scopes` that are free.
    free: Vec<u32>,
    /// Opened scopes but the workflow's, by scope and iteration.
    lookup: HashMap<usize, HashMap<Iteration, u32>>,
    /// Tasks with a queue or a worker.
    pub dispatched: BTreeSet<Place>,
    /// Tasks held back until the dispatch window has room.
    pub ready: BTreeSet<Place>,
    /// Tasks in line for a place under their `concurrency`, in the order of coming.
    pub limited: Vec<Place>,
    /// What the turn under way gave back so far. Not part of the state.
    given_back: Vec<GivenBack>,
    /// What it waits in line for before it begins.
    pub line: Option<Box<Line>>,
    /// Loops that are open.
    pub loops: BTreeSet<Place>,
    /// Completed components that can be undone, in the order they completed.
    pub undo: Vec<Undo>,
    /// Compensations that failed.
    pub undo_failed: Vec<TaskKey>,
    /// Detached sub-workflows that end with this execution.
    pub detached: Vec<(ExecutionId, OnParentClose)>,
    /// Sub-workflows whose caller ended before they did, with the message whose turn ended it: their end may have to
    /// be asked for again.
    pub left: Vec<(MessageId, ExecutionId, OnParentClose)>,
    /// Signals nothing has waited for yet, in order.
    pub signals: Vec<Received>,
    /// The ids of the events and signals that were received.
    pub received: HashSet<String>,
    pub cancel: Option<Cancel>,
    /// While nothing new may start.
    pub pause: Option<Pause>,
    /// The messages whose turns paused or resumed it: the same again changes nothing.
    pub paused_by: Vec<MessageId>,
    /// Components that settled while it was paused, in journal order: what follows from them waits.
    pub held: Vec<Place>,
    /// Set by the first failure that nothing handles, and not taken back.
    pub failing: Option<Box<Failing>>,
    /// What follows is only cleaning up.
    pub outcome: Option<Outcome>,
    /// Whether `on_failure` and `finally` were begun.
    pub on_failure_begun: bool,
    pub finally_begun: bool,
    /// Failures of `on_failure` and `finally`.
    pub cleanup_failures: Vec<Failure>,
    /// The message whose turn ended it.
    pub ended_by: Option<MessageId>,
    /// Whether it has ever asked people or waited for an event.
    pub has_asked: bool,
    /// Whether a value it holds lies in the payload store, so that a decision may ask for it.
    pub holds_payloads: bool,
    pub output: Option<Payload>,
    pub failure: Option<Failure>,
    /// The messages whose turns moved it to another version, or refused to: the same again changes nothing.
    pub moved_by: Vec<MessageId>,
    /// Ids that components had, with what they are called now; nothing for those that are gone. No other component
    /// of this execution may have such an id: what still comes for the one would be taken for the other.
    pub names: BTreeMap<ComponentId, Option<ComponentId>>,
    /// Whether it was moved in its pause, so that what is ready must be looked for at the end of it.
    pub looks_again: bool,
    /// When it was moved last: what was ordered before was ordered as another version.
    pub moved_at: Option<Timestamp>,
    /// Snapshots that the next turns may move it to. Not part of the state.
    learned: Vec<Arc<Workflow>>,
}

impl PartialEq for Execution {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.workflow.hash == other.workflow.hash
            && self.accepted == other.accepted
            && (self.seq, self.last_at, self.created_at, self.started_at, self.status)
                == (other.seq, other.last_at, other.created_at, other.started_at, other.status)
            && self.scopes == other.scopes
            && self.free == other.free
            && self.lookup == other.lookup
            && (&self.dispatched, &self.ready, &self.loops) == (&other.dispatched, &other.ready, &other.loops)
            && (&self.limited, &self.line) == (&other.limited, &other.line)
            && (&self.undo, &self.undo_failed, &self.detached, &self.left)
                == (&other.undo, &other.undo_failed, &other.detached, &other.left)
            && (&self.signals, &self.received, self.has_asked)
                == (&other.signals, &other.received, other.has_asked)
            && (&self.cancel, &self.outcome, self.on_failure_begun, self.finally_begun)
                == (&other.cancel, &other.outcome, other.on_failure_begun, other.finally_begun)
            && (&self.pause, &self.paused_by, &self.held) == (&other.pause, &other.paused_by, &other.held)
            && self.failing == other.failing
            && (&self.cleanup_failures, self.ended_by) == (&other.cleanup_failures, other.ended_by)
            && self.output == other.output
            && self.failure == other.failure
            && (&self.moved_by, &self.names, self.looks_again, self.moved_at)
                == (&other.moved_by, &other.names, other.looks_again, other.moved_at)
    }
}

impl Execution {
    /// Folds turns. The only way to get an execution.
    pub fn replay(workflow: Arc<Workflow>, turns: &[Turn]) -> Result<Self, ReplayError> {
        let (first, rest) = turns.split_first().ok_or(ReplayError::Empty)?;
        let mut execution = Self::accepted(workflow, first)?;
        for turn in rest {
            execution.append(turn)?;
        }
        Ok(execution)
    }

    fn accepted(workflow: Arc<Workflow>, first: &Turn) -> Result<Self, ReplayError> {
        let Some(Event::Accepted(accepted)) = first.events.first() else {
            return Err(ReplayError::NotAccepted);
        };
        if first.seq != 1 {
            return Err(ReplayError::Gap { after: 0, found: first.seq });
        }
        let mut execution = Self {
            id: first.execution,
            accepted: Arc::new((**accepted).clone()),
            parameters: Value::Object(accepted.parameters.clone()),
            workflow,
            seq: 1,
            last_at: first.at,
            created_at: first.at,
            started_at: None,
            status: Status::Pending,
            scopes: Vec::new(),
            free: Vec::new(),
            lookup: HashMap::new(),
            dispatched: BTreeSet::new(),
            ready: BTreeSet::new(),
            limited: Vec::new(),
            given_back: Vec::new(),
            line: None,
            loops: BTreeSet::new(),
            undo: Vec::new(),
            undo_failed: Vec::new(),
            detached: Vec::new(),
            left: Vec::new(),
            signals: Vec::new(),
            received: HashSet::new(),
            cancel: None,
            pause: None,
            paused_by: Vec::new(),
            held: Vec::new(),
            failing: None,
            outcome: None,
            on_failure_begun: false,
            finally_begun: false,
            cleanup_failures: Vec::new(),
            ended_by: None,
            has_asked: false,
            holds_payloads: false,
            output: None,
            failure: None,
            moved_by: Vec::new(),
            names: BTreeMap::new(),
            looks_again: false,
            moved_at: None,
            learned: Vec::new(),
        };
        let root = execution.new_scope(0, Iteration::default(), None, first.at, first.cause);
        execution.scopes.push(Some(root));
        for event in &first.events[1..] {
            execution.apply(event, first.at, first.cause)?;
        }
        Ok(execution)
    }

    /// As [`Self::replay`] for one that may have been moved: `find` gives each snapshot by its hash.
    pub fn replay_with(
        turns: &[Turn],
        find: &dyn Fn(&str) -> Option<Arc<Workflow>>,
    ) -> Result<Self, ReplayError> {
        let (first, rest) = turns.split_first().ok_or(ReplayError::Empty)?;
        let Some(Event::Accepted(accepted)) = first.events.first() else {
            return Err(ReplayError::NotAccepted);
        };
        let workflow = find(&accepted.hash).ok_or_else(|| ReplayError::NotLearned(accepted.hash.clone()))?;
        let mut execution = Self::accepted(workflow, first)?;
        for turn in rest {
            execution.append_with(turn, find)?;
        }
        Ok(execution)
    }

    /// As [`Self::append`] for a turn that may move it.
    pub fn append_with(
        &mut self,
        turn: &Turn,
        find: &dyn Fn(&str) -> Option<Arc<Workflow>>,
    ) -> Result<(), ReplayError> {
        if let Some(workflow) = turn.moved().and_then(|moved| find(&moved.hash)) {
            self.learn(workflow);
        }
        self.append(turn)
    }

    /// Has a snapshot at hand that the next turn may move it to.
    pub fn learn(&mut self, workflow: Arc<Workflow>) {
        self.learned.push(workflow);
    }

    /// A snapshot that it may be moved to.
    pub fn learned(&self, hash: &str) -> Option<&Arc<Workflow>> {
        self.learned.iter().find(|workflow| workflow.hash == hash)
    }

    /// Adds the next turn. A turn that moves it needs the snapshot at hand ([`Self::learn`]).
    pub fn append(&mut self, turn: &Turn) -> Result<(), ReplayError> {
        if turn.seq != self.seq + 1 {
            return Err(ReplayError::Gap { after: self.seq, found: turn.seq });
        }
        if self.status.is_terminal() {
            return Err(ReplayError::AfterTheEnd(turn.seq));
        }
        for event in &turn.events {
            self.apply(event, turn.at, turn.cause)?;
        }
        self.given_back.clear();
        self.close_turn(turn.at);
        Ok(())
    }

    /// The places that the turn under way gave back since this was asked last.
    pub fn take_given_back(&mut self) -> Vec<GivenBack> {
        std::mem::take(&mut self.given_back)
    }

    /// Counts a turn whose events were applied one by one.
    pub fn close_turn(&mut self, at: Timestamp) {
        self.seq += 1;
        self.last_at = at;
    }

    fn new_scope(
        &self,
        scope: usize,
        iteration: Iteration,
        owner: Option<Place>,
        at: Timestamp,
        cause: MessageId,
    ) -> Box<ScopeState> {
        let waiting = ComponentState {
            phase: Phase::Waiting,
            attempt: 0,
            lost: 0,
            dispatch: 0,
            dispatched_at: at,
            cause,
            fence: None,
            slot: None,
            output: None,
            ports: Vec::new(),
            failure: None,
            cache_key: None,
            answered_by: None,
            since: at,
            returned: false,
            named: None,
            fired: 0,
            dead: 0,
            inner: None,
        };
        Box::new(ScopeState {
            scope,
            iteration,
            owner,
            components: vec![waiting; self.workflow.scopes[scope].components.len()],
            settled: 0,
            failed: Vec::new(),
            stopping: None,
            item: None,
            error: None,
        })
    }

    // ---- looking -------------------------------------------------------------------------

    /// The component of a place, as the workflow has it.
    pub fn component(&self, place: Place) -> &Component {
        &self.workflow.components[place.index()]
    }

    /// An opened scope. Callers hold ids of scopes that are open.
    pub fn scope(&self, id: u32) -> &ScopeState {
        self.scopes[id as usize].as_deref().expect("the scope is open as long as somebody holds its id")
    }

    fn scope_mut(&mut self, id: u32) -> &mut ScopeState {
        self.scopes[id as usize].as_deref_mut().expect("the scope is open as long as somebody holds its id")
    }

    /// The scope of the workflow that an opened one runs.
    pub fn definition(&self, id: u32) -> &Scope {
        &self.workflow.scopes[self.scope(id).scope]
    }

    /// The workflow's own scope.
    pub fn root(&self) -> &ScopeState {
        self.scope(ROOT)
    }

    /// Ids of all opened scopes, in a fixed order.
    pub fn open_scopes(&self) -> impl Iterator<Item = u32> + '_ {
        self.scopes.iter().enumerate().filter(|(_, scope)| scope.is_some()).map(|(id, _)| id as u32)
    }

    /// How many scopes are open.
    pub fn open_count(&self) -> usize {
        self.scopes.len() - self.free.len()
    }

    /// The places of a scope, in the order written.
    pub fn places(&self, scope: u32) -> impl Iterator<Item = Place> + '_ {
        self.definition(scope).components.iter().map(move |index| Place { scope, component: *index as u32 })
    }

    /// The state at a place.
    pub fn at(&self, place: Place) -> &ComponentState {
        &self.scope(place.scope).components[self.component(place).position]
    }

    fn at_mut(&mut self, place: Place) -> &mut ComponentState {
        let position = self.component(place).position;
        &mut self.scope_mut(place.scope).components[position]
    }

    /// The container at a place, while it is open.
    pub fn container(&self, place: Place) -> Option<&Container> {
        match self.at(place).inner.as_deref() {
            Some(Inner::Container(container)) => Some(container),
            _ => None,
        }
    }

    fn container_mut(&mut self, place: Place) -> Option<&mut Container> {
        match self.at_mut(place).inner.as_deref_mut() {
            Some(Inner::Container(container)) => Some(container),
            _ => None,
        }
    }

    /// What people are asked at a place, while they are.
    pub fn person(&self, place: Place) -> Option<&Person> {
        match self.at(place).inner.as_deref() {
            Some(Inner::Person(person)) => Some(person),
            _ => None,
        }
    }

    fn person_mut(&mut self, task: &TaskKey) -> Result<Option<&mut Person>, ReplayError> {
        let place = self.place_of(task)?;
        Ok(match self.at_mut(place).inner.as_deref_mut() {
            Some(Inner::Person(person)) => Some(person),
            _ => None,
        })
    }

    /// The key of the task at a place.
    pub fn key(&self, place: Place) -> TaskKey {
        let named = self.at(place).named.as_ref();
        TaskKey {
            component: named.unwrap_or(&self.component(place).id).clone(),
            iteration: self.scope(place.scope).iteration.clone(),
        }
    }

    /// Where a component stands in the workflow, by its id or one that it had before a move.
    fn index_named(&self, id: &str) -> Option<usize> {
        self.workflow.index_of(id).or_else(|| {
            let now = self.names.get(id)?.as_ref()?;
            self.workflow.index_of(now.as_str())
        })
    }

    /// A task as it is called now.
    pub fn called_now(&self, task: &TaskKey) -> TaskKey {
        let index = self.index_named(task.component.as_str());
        let component = index.map_or(&task.component, |index| &self.workflow.components[index].id);
        TaskKey { component: component.clone(), iteration: task.iteration.clone() }
    }

    /// The opened scope that runs `scope` in the rounds of `iteration`, of which it may have fewer.
    pub fn scope_in(&self, scope: usize, iteration: &Iteration) -> Option<u32> {
        if scope == 0 {
            return Some(ROOT);
        }
        let of = self.lookup.get(&scope)?;
        let loops = self.workflow.scopes[scope].loops;
        if loops == iteration.0.len() {
            return of.get(iteration).copied();
        }
        of.get(&Iteration(iteration.0.get(..loops)?.to_vec())).copied()
    }

    /// Where a task's component stands.
    pub fn place_of(&self, task: &TaskKey) -> Result<Place, ReplayError> {
        let index = self
            .index_named(task.component.as_str())
            .ok_or_else(|| ReplayError::UnknownComponent(task.component.to_string()))?;
        let scope = self.workflow.components[index].scope;
        if self.workflow.scopes[scope].loops != task.iteration.0.len() {
            return Err(ReplayError::ScopeNotOpen(task.to_string()));
        }
        let scope = self
            .scope_in(scope, &task.iteration)
            .ok_or_else(|| ReplayError::ScopeNotOpen(task.to_string()))?;
        Ok(Place { scope, component: index as u32 })
    }

    /// Whether what is under way is being ended because somebody asked for it. Cleaning up is not.
    pub const fn is_cancelling(&self) -> bool {
        self.cancel.is_some() && self.outcome.is_none()
    }

    /// Whether nothing new may start until somebody resumes it.
    pub const fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Whether it goes on and will fail.
    pub const fn is_failing(&self) -> bool {
        self.failing.is_some() && !self.status.is_terminal()
    }

    /// Compensations that are to run before the execution ends.
    pub fn must_undo(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| match outcome.status {
            Status::Failed => true,
            Status::Cancelled => self.workflow.compensate_on_cancel,
            _ => false,
        }) && !self.undo.is_empty()
    }

    /// Stored lists of items that the next rounds of open loops take from.
    pub fn items_ahead(&self) -> Vec<PayloadId> {
        let mut ahead = Vec::new();
        for place in &self.loops {
            let Some(container) = self.container(*place) else { continue };
            let Plan::Rounds(plan) = &container.plan else { continue };
            let Items::Lists(lists) = &plan.items else { continue };
            let next = container.rounds.next;
            if next >= plan.count {
                continue;
            }
            let from = (next / Items::CHUNK) as usize;
            let to = (next.saturating_add(plan.max_parallel + Items::CHUNK) / Items::CHUNK) as usize;
            for list in lists.iter().take(to + 1).skip(from) {
                if let Payload::Stored(stored) = list {
                    ahead.push(stored.id);
                }
            }
        }
        ahead
    }

    // ---- folding -------------------------------------------------------------------------

    /// Applies one event of a turn caused by `cause` at `at`.
    pub fn apply(&mut self, event: &Event, at: Timestamp, cause: MessageId) -> Result<(), ReplayError> {
        match event {
            Event::Accepted(_) => return Err(ReplayError::NotAccepted),
            Event::Scheduled { .. } | Event::Noted { .. } => {}
            Event::Carried { task, result, .. } | Event::Pinned { task, result, .. } => {
                self.carry(task, result)?;
            }
            Event::Blocked { key, limit, displaces, weight } => {
                self.line = Some(Box::new(Line {
                    key: key.clone(),
                    limit: *limit,
                    cause,
                    displaces: displaces.clone(),
                    weight: *weight,
                }));
            }
            Event::Started => {
                self.status = Status::Running;
                self.started_at = Some(at);
                self.line = None;
            }
            Event::TaskReady { task } => self.begin(task, Phase::Ready, at)?,
            Event::TaskLimited { task, key, limit, displaces } => {
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                if state.attempt == 0 && state.phase == Phase::Waiting {
                    state.since = at;
                }
                state.cause = cause;
                state.slot = Some(Box::new(Slot { key: key.clone(), limit: *limit, is_held: false }));
                if !displaces.is_empty() {
                    state.inner = Some(Box::new(Inner::Displacing(displaces.clone())));
                }
                self.set_phase(place, Phase::Limited);
            }
            Event::TaskOffered { task, slot } => {
                let place = self.place_of(task)?;
                self.hold(place, slot.as_deref());
                self.begin(task, Phase::Offered, at)?;
            }
            Event::TaskDispatched { task, attempt, dispatch, slot, cache } => {
                let place = self.place_of(task)?;
                self.hold(place, slot.as_deref());
                let state = self.at_mut(place);
                if state.attempt == 0 && state.phase == Phase::Waiting {
                    state.since = at;
                }
                if *attempt != state.attempt {
                    state.fence = None;
                }
                state.attempt = *attempt;
                state.dispatch = *dispatch;
                state.dispatched_at = at;
                state.cause = cause;
                state.returned = false;
                state.cache_key = cache.as_deref().map(Into::into);
                self.set_phase(place, Phase::Dispatched);
            }
            Event::TaskGranted { task, worker, token, .. } => {
                let place = self.place_of(task)?;
                self.at_mut(place).fence = Some(Box::new(Fence {
                    worker: *worker,
                    token: *token,
                    granted: true,
                    since: at,
                    leased_until: None,
                }));
            }
            Event::TaskLeased { task, worker, token, until, .. } => {
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                let granted = state.fence.as_ref().is_some_and(|fence| fence.granted);
                state.fence = Some(Box::new(Fence {
                    worker: *worker,
                    token: *token,
                    granted,
                    since: at,
                    leased_until: Some(*until),
                }));
            }
            Event::TaskLost { task, .. } => {
                let place = self.place_of(task)?;
                self.set_phase(place, Phase::Ready);
                let state = self.at_mut(place);
                state.lost += 1;
                state.fence = None;
            }
            Event::TaskReturned { task, .. } => {
                let place = self.place_of(task)?;
                self.set_phase(place, Phase::Ready);
                let state = self.at_mut(place);
                state.fence = None;
                state.returned = true;
            }
            Event::TaskCompleted { task, output, ports, worker, started_at, .. } => {
                let place = self.place_of(task)?;
                self.at_mut(place).answered_by = Some((*worker, *started_at));
                self.complete(place, output.clone(), ports.clone());
            }
            Event::Decided { task, output, ports, .. } | Event::TaskCached { task, output, ports, .. } => {
                let place = self.place_of(task)?;
                self.complete(place, output.clone(), ports.clone());
            }
            Event::TaskFailed { task, failure, retry_at, worker, started_at, .. } => {
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                state.fence = None;
                state.answered_by = worker.zip(*started_at);
                match retry_at {
                    Some(retry_at) => {
                        state.failure = Some(Box::new(failure.clone()));
                        self.set_phase(place, Phase::Retrying(*retry_at));
                    }
                    None => self.fail(place, failure.clone()),
                }
            }
            Event::DecisionFailed { task, failure } => {
                let place = self.place_of(task)?;
                self.leave_child(place, cause);
                self.fail(place, failure.clone());
            }
            Event::Delayed { task, until } => self.begin(task, Phase::Delayed(*until), at)?,
            Event::Skipped { task, .. } => {
                let place = self.place_of(task)?;
                self.set_phase(place, Phase::Skipped);
                self.settle_ports(place);
            }
            Event::CancelRequested { by, reason } => {
                self.cancel = Some(Cancel { by: by.clone(), reason: reason.clone() });
                self.end_pause();
            }
            Event::Paused { by, reason } => {
                // It stands in no line meanwhile, and comes to its end again afterwards.
                self.line = None;
                self.pause = Some(Pause { by: by.clone(), reason: reason.clone(), since: at });
                self.status = Status::Paused;
                self.paused_by.push(cause);
            }
            Event::Resumed { .. } => {
                self.end_pause();
                self.paused_by.push(cause);
            }
            Event::Moved(moved) => self.move_to(moved, at, cause)?,
            Event::MoveRefused { .. } => {
                self.moved_by.push(cause);
                self.learned.clear();
            }
            Event::Stopping { failure, owner, round } => {
                let scope = match owner {
                    None => ROOT,
                    Some((part, owner)) => self.scope_under(*part, owner.as_ref(), *round)?.1,
                };
                self.scope_mut(scope).stopping = Some(failure.clone());
            }
            Event::TaskCancelled { task, .. } => {
                let place = self.place_of(task)?;
                self.leave_child(place, cause);
                let state = self.at_mut(place);
                state.fence = None;
                state.cause = cause;
                // Its ports stay pending for ever: what reads them ends with the scope (row P8).
                self.set_phase(place, Phase::Cancelled);
            }
            Event::Opened { task, plan } => {
                self.begin(task, Phase::Open, at)?;
                let place = self.place_of(task)?;
                if self.component(place).is_loop() {
                    self.loops.insert(place);
                }
                if let Plan::Rounds(plan) = plan
                    && let Items::Lists(lists) = &plan.items
                {
                    self.holds_payloads |= lists.iter().any(|list| matches!(list, Payload::Stored(_)));
                }
                self.at_mut(place).inner = Some(Box::new(Inner::Container(Container {
                    plan: plan.clone(),
                    open: BTreeSet::new(),
                    rounds: Rounds::default(),
                })));
            }
            Event::ScopeOpened { part, owner, round, item, error } => {
                self.open_scope(*part, owner.as_ref(), *round, item.clone(), error.clone(), at, cause)?;
            }
            Event::RoundClosed { task, round, status, output, failure } => {
                let place = self.place_of(task)?;
                if let Ok((_, scope)) = self.scope_under(Part::Body, Some(task), Some(*round)) {
                    self.close_scope(scope);
                }
                let stored = matches!(output, Payload::Stored(_));
                self.holds_payloads |= stored;
                if let Some(container) = self.container_mut(place) {
                    let rounds = &mut container.rounds;
                    rounds.closed += 1;
                    if *status == Status::Failed {
                        rounds.failed += 1;
                        if let (None, Some(failure)) = (&rounds.first_failure, failure) {
                            rounds.first_failure = Some((*round, failure.clone()));
                        }
                    }
                    let record = Record { status: *status, output: output.clone(), failure: failure.clone() };
                    rounds.records.insert(*round, Arc::new(record));
                    if let Plan::While { keep_last, .. } = &container.plan {
                        rounds.previous = Some(output.clone());
                        while rounds.records.len() > *keep_last as usize {
                            rounds.records.pop_first();
                        }
                    }
                }
            }
            Event::RoundsStored { task, upto, rounds: list } => {
                let place = self.place_of(task)?;
                if let Some(container) = self.container_mut(place) {
                    container.rounds.records = container.rounds.records.split_off(upto);
                    container.rounds.stored = *upto;
                    container.rounds.parts.push(list.clone());
                }
            }
            Event::RoundDelayed { task, until } => {
                let place = self.place_of(task)?;
                if let Some(container) = self.container_mut(place) {
                    container.rounds.paused_until = Some(*until);
                }
            }
            Event::CompensationNoted { task, config, references, failure } => {
                self.holds_payloads |= !references.is_empty();
                self.undo.push(Undo {
                    task: self.called_now(task),
                    config: config.clone(),
                    references: references.clone(),
                    failure: failure.clone(),
                });
            }
            Event::Compensated { task, failure } => {
                let undone = self.called_now(task);
                if let Some(position) = self.undo.iter().rposition(|undo| undo.task == undone) {
                    self.undo.remove(position);
                }
                if failure.is_some() {
                    self.undo_failed.push(task.clone());
                }
                if let Ok((_, scope)) = self.scope_under(Part::Compensation, Some(task), None) {
                    self.close_scope(scope);
                }
            }
            Event::Failing { task, failure } => {
                self.place_of(task)?;
                self.failing =
                    Some(Box::new(Failing { since: at, task: Some(task.clone()), failure: failure.clone() }));
            }
            Event::Concluded { status, failure } => {
                if let (Status::Failed, None, Some(failure)) = (status, &self.failing, failure) {
                    self.failing =
                        Some(Box::new(Failing { since: at, task: None, failure: failure.clone() }));
                }
                self.outcome = Some(Outcome { status: *status, failure: failure.clone() });
            }
            Event::CleanupFailed { failure } => self.cleanup_failures.push(failure.clone()),
            Event::ChildOrdered {
                task,
                child,
                workflow,
                version,
                parameters,
                references,
                waits,
                on_parent_close,
                execution_key,
            } => {
                self.begin(task, Phase::Calling, at)?;
                let place = self.place_of(task)?;
                let ordered_in = self.seq + 1;
                let state = self.at_mut(place);
                state.cause = cause;
                state.inner = Some(Box::new(Inner::Child(Child {
                    id: *child,
                    ordered_in,
                    workflow: workflow.clone(),
                    version: *version,
                    parameters: parameters.clone(),
                    references: references.clone(),
                    waits: *waits,
                    on_parent_close: *on_parent_close,
                    execution_key: execution_key.clone(),
                })));
            }
            Event::Asked { task, ask } => {
                self.begin(task, Phase::Asked, at)?;
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                if ask.kind == PersonKind::Outcome {
                    // The attempt costs none of the policy's, whatever the answer.
                    state.lost += 1;
                    state.fence = None;
                }
                state.inner = Some(Box::new(Inner::Person(Person {
                    assignees: ask.assignees.clone(),
                    ask: (**ask).clone(),
                    claimed_by: None,
                    answers: Vec::new(),
                    escalated: 0,
                    reminded_at: None,
                })));
            }
            Event::Claimed { task, by } => {
                if let Some(person) = self.person_mut(task)? {
                    person.claimed_by = Some(by.clone());
                }
            }
            Event::Delegated { task, from, to, .. } => {
                if let Some(person) = self.person_mut(task)? {
                    person.assignees.retain(|assignee| assignee != from && assignee != to);
                    person.assignees.push(to.clone());
                    if person.claimed_by.as_ref().is_some_and(|by| by != to) {
                        person.claimed_by = None;
                    }
                }
            }
            Event::Escalated { task, to } => {
                if let Some(person) = self.person_mut(task)? {
                    person.escalated += 1;
                    for name in to {
                        if !person.assignees.contains(name) {
                            person.assignees.push(name.clone());
                        }
                    }
                }
            }
            Event::Reminded { task } => {
                if let Some(person) = self.person_mut(task)? {
                    person.reminded_at = Some(at);
                }
            }
            Event::Answered { task, answer } => {
                if let Some(person) = self.person_mut(task)? {
                    person.answers.push(answer.clone());
                }
            }
            Event::Awaiting { task, event, key, until, early } => {
                self.begin(task, Phase::Awaiting, at)?;
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                state.cause = cause;
                state.inner = Some(Box::new(Inner::Wait(Wait {
                    event: event.clone(),
                    key: key.clone(),
                    until: *until,
                    early: *early,
                })));
            }
            Event::PermitAsked { task, key, rate, until } => {
                self.begin(task, Phase::Asking, at)?;
                let place = self.place_of(task)?;
                let state = self.at_mut(place);
                state.cause = cause;
                let permit = AskedPermit { key: key.clone(), rate: *rate, until: *until };
                state.inner = Some(Box::new(Inner::Permit(permit)));
            }
            Event::SignalKept { signal } => self.signals.push(signal.clone()),
            Event::EventReceived { id, .. } => {
                self.signals.retain(|signal| signal.identity() != *id);
                self.received.insert(id.clone());
            }
            Event::Finished { status, output, failure } => {
                self.end_pause();
                self.status = *status;
                self.output.clone_from(output);
                self.failure.clone_from(failure);
                self.ended_by = Some(cause);
            }
        }
        Ok(())
    }

    /// It stands again as it did before its pause. What was held is for the turn that ends the pause.
    fn end_pause(&mut self) {
        if self.pause.take().is_some() {
            self.status = if self.started_at.is_some() { Status::Running } else { Status::Pending };
            self.held.clear();
            self.looks_again = false;
        }
    }

    /// A component has ended as it did in the execution that this one does again.
    fn carry(&mut self, task: &TaskKey, result: &Carry) -> Result<(), ReplayError> {
        let place = self.place_of(task)?;
        match result {
            Carry::Completed { output, ports, attempts } => {
                self.at_mut(place).attempt = *attempts;
                self.complete(place, output.clone(), ports.clone());
            }
            Carry::Failed { failure, attempts } => {
                self.at_mut(place).attempt = *attempts;
                self.fail(place, failure.clone());
            }
            Carry::Skipped { .. } => {
                self.set_phase(place, Phase::Skipped);
                self.settle_ports(place);
            }
        }
        Ok(())
    }

    /// A task takes a place under its `concurrency`.
    fn hold(&mut self, place: Place, key: Option<&str>) {
        if let Some(key) = key {
            let limit = self.component(place).concurrency.as_ref().map_or(0, |concurrency| concurrency.limit);
            self.at_mut(place).slot = Some(Box::new(Slot { key: key.to_owned(), limit, is_held: true }));
        }
    }

    /// A task goes on without its place, if it has one.
    fn give_back(&mut self, place: Place) {
        if let Some(slot) = self.at_mut(place).slot.take() {
            let task = self.key(place);
            self.given_back.push(GivenBack { task, key: slot.key });
        }
    }

    fn begin(&mut self, task: &TaskKey, phase: Phase, at: Timestamp) -> Result<(), ReplayError> {
        let place = self.place_of(task)?;
        self.set_phase(place, phase);
        self.at_mut(place).since = at;
        Ok(())
    }

    /// Which scope of the workflow `part` of `owner` is, and the opened one of it.
    fn scope_under(
        &self,
        part: Part,
        owner: Option<&TaskKey>,
        round: Option<u32>,
    ) -> Result<(usize, u32), ReplayError> {
        let (scope, iteration) = self.scope_named(part, owner, round)?;
        let name = || owner.map_or_else(|| format!("{part:?}"), ToString::to_string);
        let open = self.scope_in(scope, &iteration).ok_or_else(|| ReplayError::ScopeNotOpen(name()))?;
        Ok((scope, open))
    }

    fn scope_named(
        &self,
        part: Part,
        owner: Option<&TaskKey>,
        round: Option<u32>,
    ) -> Result<(usize, Iteration), ReplayError> {
        let Some(owner) = owner else {
            let scope = match part {
                Part::OnFailure => self.workflow.on_failure,
                Part::Finally => self.workflow.finally,
                _ => None,
            };
            let scope = scope.ok_or_else(|| ReplayError::ScopeNotOpen(format!("{part:?}")))?;
            return Ok((scope, Iteration::default()));
        };
        let unknown = || ReplayError::UnknownComponent(owner.to_string());
        let index = self.index_named(owner.component.as_str()).ok_or_else(unknown)?;
        let component = &self.workflow.components[index];
        let scope = match part {
            Part::Body => component.scopes.body,
            Part::Catch => component.scopes.catch,
            Part::Finally => component.scopes.finally,
            Part::Compensation => component.compensate.map(|undoing| self.workflow.components[undoing].scope),
            Part::Workflow | Part::OnFailure => None,
        };
        let mut iteration = owner.iteration.clone();
        iteration.0.extend(round);
        Ok((scope.ok_or_else(unknown)?, iteration))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn open_scope(
        &mut self,
        part: Part,
        owner: Option<&TaskKey>,
        round: Option<u32>,
        item: Option<Payload>,
        error: Option<Failure>,
        at: Timestamp,
        cause: MessageId,
    ) -> Result<(), ReplayError> {
        let (scope, iteration) = self.scope_named(part, owner, round)?;
        let place = match owner {
            Some(owner) if part != Part::Compensation => Some(self.place_of(owner)?),
            _ => None,
        };
        match (part, owner) {
            (Part::OnFailure, None) => self.on_failure_begun = true,
            (Part::Finally, None) => self.finally_begun = true,
            _ => {}
        }
        let mut state = self.new_scope(scope, iteration.clone(), place, at, cause);
        state.item = item;
        state.error = error;
        let id = match self.free.pop() {
            Some(id) => {
                self.scopes[id as usize] = Some(state);
                id
            }
            None => {
                self.scopes.push(Some(state));
                (self.scopes.len() - 1) as u32
            }
        };
        self.lookup.entry(scope).or_default().insert(iteration, id);
        if let Some(container) = place.and_then(|place| self.container_mut(place)) {
            container.open.insert(id);
            if let Some(round) = round {
                container.rounds.next = round + 1;
                container.rounds.paused_until = None;
            }
        }
        Ok(())
    }

    /// Forgets an opened scope and what is inside it.
    fn close_scope(&mut self, id: u32) {
        let Some(scope) = self.scopes[id as usize].take() else { return };
        self.held.retain(|place| place.scope != id);
        self.limited.retain(|place| place.scope != id);
        let workflow = Arc::clone(&self.workflow);
        for (state, index) in scope.components.iter().zip(&workflow.scopes[scope.scope].components) {
            let place = Place { scope: id, component: *index as u32 };
            self.dispatched.remove(&place);
            self.ready.remove(&place);
            self.loops.remove(&place);
            if let Some(slot) = &state.slot {
                let named = state.named.as_ref();
                let task = TaskKey {
                    component: named.unwrap_or(&workflow.components[*index].id).clone(),
                    iteration: scope.iteration.clone(),
                };
                self.given_back.push(GivenBack { task, key: slot.key.clone() });
            }
            if let Some(Inner::Container(container)) = state.inner.as_deref() {
                for inside in container.open.clone() {
                    self.close_scope(inside);
                }
            }
        }
        if let Some(of) = self.lookup.get_mut(&scope.scope) {
            of.remove(&scope.iteration);
        }
        if let Some(container) = scope.owner.and_then(|owner| {
            // The owner may be on its way out itself.
            self.scopes[owner.scope as usize].is_some().then(|| self.container_mut(owner)).flatten()
        }) {
            container.open.remove(&id);
        }
        self.free.push(id);
    }

    fn set_phase(&mut self, place: Place, phase: Phase) {
        let state = self.at_mut(place);
        let before = std::mem::replace(&mut state.phase, phase);
        self.has_asked |= matches!(phase, Phase::Asked | Phase::Awaiting | Phase::Asking);
        if before == Phase::Dispatched && phase != Phase::Dispatched {
            self.dispatched.remove(&place);
        }
        if phase == Phase::Dispatched && before != Phase::Dispatched {
            self.dispatched.insert(place);
        }
        if before == Phase::Limited && phase != Phase::Limited {
            self.limited.retain(|limited| *limited != place);
            self.at_mut(place).inner = None;
        }
        if phase == Phase::Limited && before != Phase::Limited {
            self.limited.push(place);
        }
        if !phase.keeps_its_place() {
            self.give_back(place);
        }
        if before == Phase::Ready && phase != Phase::Ready {
            self.ready.remove(&place);
        }
        if phase == Phase::Ready && before != Phase::Ready {
            self.ready.insert(place);
        }
        if phase.is_settled() && !before.is_settled() {
            self.scope_mut(place.scope).settled += 1;
            if self.pause.is_some() {
                self.held.push(place);
            }
            if matches!(
                before,
                Phase::Open
                    | Phase::Calling
                    | Phase::Asked
                    | Phase::Awaiting
                    | Phase::Asking
                    | Phase::Delayed(_)
            ) {
                self.loops.remove(&place);
                let inner = self.at_mut(place).inner.take();
                match inner.map(|inner| *inner) {
                    Some(Inner::Container(container)) => {
                        for scope in container.open {
                            self.close_scope(scope);
                        }
                    }
                    Some(Inner::Child(child))
                        if !child.waits
                            && phase == Phase::Completed
                            && child.on_parent_close != OnParentClose::Leave =>
                    {
                        self.detached.push((child.id, child.on_parent_close));
                    }
                    _ => {}
                }
            }
            // Nothing more comes of it that goes by the old id.
            self.at_mut(place).named = None;
        }
    }

    /// Goes on as another version. What has begun keeps its state, what has not is as if it had always been of that
    /// version; whether that is right was asked before ([`super::moving::plan`]).
    fn move_to(&mut self, moved: &Moved, at: Timestamp, cause: MessageId) -> Result<(), ReplayError> {
        let workflow =
            self.learned(&moved.hash).cloned().ok_or_else(|| ReplayError::NotLearned(moved.hash.clone()))?;
        let pairs = moving::pairs(&self.workflow, &workflow, &moved.mapping);
        let begun: Vec<usize> =
            (0..self.workflow.components.len()).filter(|index| moving::has_begun(self, *index)).collect();
        let from = std::mem::replace(&mut self.workflow, workflow);
        let to = Arc::clone(&self.workflow);
        let place = |place: Place| {
            let component = pairs.components[place.index()]?;
            Some(Place { scope: place.scope, component: component as u32 })
        };
        for id in 0..self.scopes.len() {
            let Some(mut scope) = self.scopes[id].take() else { continue };
            let part = || ReplayError::ScopeNotOpen(format!("{:?}", from.scopes[scope.scope].part));
            let target = pairs.scopes[scope.scope].ok_or_else(part)?;
            let owner = match scope.owner {
                Some(owner) => Some(place(owner).ok_or_else(part)?),
                None => None,
            };
            let mut states = self.new_scope(target, scope.iteration.clone(), owner, at, cause).components;
            let before = std::mem::take(&mut scope.components);
            for (old, mut state) in from.scopes[scope.scope].components.iter().zip(before) {
                let Some(new) = pairs.components[*old] else { continue };
                let is_under_way = state.phase != Phase::Waiting && !state.phase.is_settled();
                if is_under_way && state.named.is_none() && from.components[*old].id != to.components[new].id
                {
                    state.named = Some(from.components[*old].id.clone());
                }
                (state.fired, state.dead) = (0, 0);
                states[to.components[new].position] = state;
            }
            scope.settled = states.iter().filter(|state| state.phase.is_settled()).count() as u32;
            scope.components = states;
            scope.failed = scope.failed.iter().filter_map(|index| pairs.components[*index]).collect();
            (scope.scope, scope.owner) = (target, owner);
            self.scopes[id] = Some(scope);
        }
        self.lookup.clear();
        for (id, scope) in self.scopes.iter().enumerate().skip(1) {
            if let Some(scope) = scope {
                self.lookup.entry(scope.scope).or_default().insert(scope.iteration.clone(), id as u32);
            }
        }
        for places in [&mut self.dispatched, &mut self.ready, &mut self.loops] {
            *places = std::mem::take(places).into_iter().filter_map(place).collect();
        }
        for places in [&mut self.limited, &mut self.held] {
            *places = std::mem::take(places).into_iter().filter_map(place).collect();
        }
        for place in self.open_scopes().flat_map(|scope| self.places(scope)).collect::<Vec<_>>() {
            if matches!(self.at(place).phase, Phase::Completed | Phase::Failed | Phase::Skipped) {
                self.settle_ports(place);
            }
        }
        let now = |id: &ComponentId| {
            let new = pairs.components[from.index_of(id.as_str())?]?;
            Some(to.components[new].id.clone())
        };
        let rename = |task: &mut TaskKey| {
            if let Some(id) = now(&task.component) {
                task.component = id;
            }
        };
        self.undo.iter_mut().for_each(|undo| rename(&mut undo.task));
        self.undo_failed.iter_mut().for_each(rename);
        self.failing.iter_mut().filter_map(|failing| failing.task.as_mut()).for_each(rename);
        let known = std::mem::take(&mut self.names).into_iter();
        self.names = known.map(|(id, called)| (id, called.as_ref().and_then(now))).collect();
        for index in begun {
            let id = &from.components[index].id;
            self.names.insert(id.clone(), pairs.components[index].map(|new| to.components[new].id.clone()));
        }
        self.names.retain(|id, called| called.as_ref() != Some(id));
        if self.started_at.is_none() && from.concurrency != to.concurrency {
            self.line = None;
        }
        let accepted = Accepted {
            version: moved.version,
            hash: moved.hash.clone(),
            parameters: moved.parameters.clone(),
            ..(*self.accepted).clone()
        };
        self.parameters = Value::Object(moved.parameters.clone());
        self.accepted = Arc::new(accepted);
        self.moved_by.push(cause);
        self.moved_at = Some(at);
        self.looks_again |= self.pause.is_some();
        self.learned.clear();
        Ok(())
    }

    /// A caller ends. Whether its sub-workflow has ended is not known here, and asking for that twice is harmless.
    fn leave_child(&mut self, place: Place, cause: MessageId) {
        if let Some(Inner::Child(child)) = self.at(place).inner.as_deref()
            && child.on_parent_close != OnParentClose::Leave
        {
            self.left.push((cause, child.id, child.on_parent_close));
        }
    }

    fn complete(&mut self, place: Place, output: Payload, ports: Vec<String>) {
        self.holds_payloads |= matches!(output, Payload::Stored(_));
        self.set_phase(place, Phase::Completed);
        let state = self.at_mut(place);
        state.output = Some(output);
        state.ports = ports;
        state.failure = None;
        state.fence = None;
        self.settle_ports(place);
    }

    fn fail(&mut self, place: Place, failure: Failure) {
        self.set_phase(place, Phase::Failed);
        let state = self.at_mut(place);
        state.failure = Some(Box::new(failure));
        state.fence = None;
        self.scope_mut(place.scope).failed.push(place.index());
        self.settle_ports(place);
    }

    /// Puts the value of a component's output that a turn made too large for the journal where it lies now.
    pub fn offload_output(&mut self, task: &TaskKey, output: Payload) {
        self.holds_payloads |= matches!(output, Payload::Stored(_));
        if let Ok(place) = self.place_of(task) {
            self.at_mut(place).output = Some(output);
        }
    }

    /// As [`Self::offload_output`], for the record of a closed round.
    pub fn offload_round(&mut self, task: &TaskKey, round: u32, output: &Payload) {
        self.holds_payloads = true;
        let Ok(place) = self.place_of(task) else { return };
        let Some(container) = self.container_mut(place) else { return };
        if let Some(record) = container.rounds.records.get_mut(&round) {
            Arc::make_mut(record).output = output.clone();
        }
        if matches!(container.plan, Plan::While { .. }) && container.rounds.next == round + 1 {
            container.rounds.previous = Some(output.clone());
        }
    }

    /// Decides every port of a settled component at once (rows P2 to P7) and counts it at the readers.
    fn settle_ports(&mut self, place: Place) {
        let workflow = Arc::clone(&self.workflow);
        for (reader, port) in &workflow.components[place.index()].outgoing {
            let fired = self.port_fired(place, port);
            let reader = self.at_mut(Place { scope: place.scope, component: *reader as u32 });
            if fired {
                reader.fired += 1;
            } else {
                reader.dead += 1;
            }
        }
    }

    /// Whether a port of a settled component fired.
    pub fn port_fired(&self, place: Place, port: &Output) -> bool {
        let state = self.at(place);
        let component = self.component(place);
        match (state.phase, port) {
            (Phase::Completed, Output::Success) => true,
            (Phase::Completed, Output::Own(own)) => {
                component.ports.get(*own).is_some_and(|name| state.ports.contains(name))
            }
            (Phase::Failed, Output::Error | Output::Timeout) => *port == self.failure_port(place),
            _ => false,
        }
    }

    /// The port that a failed component fires: `timeout` only when someone reads it (rows P4 to P6).
    pub fn failure_port(&self, place: Place) -> Output {
        let timed_out =
            self.at(place).failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Timeout);
        if timed_out && self.component(place).timeout_is_read { Output::Timeout } else { Output::Error }
    }

    /// Whether a failure can no longer be handled: every reader of its port was skipped, or there is none
    /// (rows S1 to S3).
    pub fn is_unhandled(&self, place: Place) -> bool {
        let port = self.failure_port(place);
        self.component(place).outgoing.iter().filter(|(_, read)| *read == port).all(|(reader, _)| {
            let reader = Place { scope: place.scope, component: *reader as u32 };
            matches!(self.at(reader).phase, Phase::Skipped | Phase::Cancelled)
        })
    }

    /// The failures of a scope that can no longer be handled, in journal order.
    pub fn unhandled(&self, scope: u32) -> impl Iterator<Item = Place> + '_ {
        self.scope(scope)
            .failed
            .iter()
            .map(move |index| Place { scope, component: *index as u32 })
            .filter(|place| self.is_unhandled(*place))
    }

    /// What a waiting component's join says (rows J1 to J10).
    pub fn join(&self, place: Place) -> Joined {
        let component = self.component(place);
        let state = self.at(place);
        let all = component.needs.len() as u32;
        let pending = all - state.fired - state.dead;
        match component.join {
            Join::All if state.dead > 0 => Joined::Skipped,
            Join::Any if state.fired > 0 => Joined::Ready,
            Join::Any if pending == 0 && all > 0 => Joined::Skipped,
            _ if pending == 0 => Joined::Ready,
            _ => Joined::Waits,
        }
    }
}

/// What a join says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    Ready,
    Skipped,
    Waits,
}
