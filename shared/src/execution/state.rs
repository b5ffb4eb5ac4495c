//! The state of an execution: what its turns fold to. No clock, no randomness, no map whose order varies.

use std::sync::Arc;

use serde_json::Value;

use super::{Accepted, Event, Payload, Status, TaskKey, Turn};
use crate::{
    component::{Failure, FailureClass},
    ids::{ExecutionId, MessageId, Token, WorkerId},
    time::Timestamp,
    workflow::{Join, Output, Workflow},
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
    #[error("turn {0} comes after the end")]
    AfterTheEnd(u32),
}

/// What fences an attempt beyond its delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Fence {
    pub worker: WorkerId,
    pub token: Token,
    /// Whether the attempt was granted (`at_most_once`).
    pub granted: bool,
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
    /// For a worker outside this platform.
    Offered,
    /// With a queue or a worker.
    Dispatched,
    /// For its next attempt.
    Retrying(Timestamp),
    /// For an instant.
    Delayed(Timestamp),
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
            Self::Offered => "offered",
            Self::Dispatched => "running",
            Self::Retrying(_) => "retrying",
            Self::Delayed(_) => "delayed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One component of an execution.
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
    /// The inbox message whose turn sent the last of them.
    pub cause: MessageId,
    pub fence: Option<Box<Fence>>,
    pub output: Option<Payload>,
    /// Own ports that fired.
    pub ports: Vec<String>,
    pub failure: Option<Box<Failure>>,
    /// The worker whose result counted last, and when that run began: a second run of the attempt is told
    /// from a second copy of its result by them.
    pub answered_by: Option<(WorkerId, Timestamp)>,
    /// When its first attempt became possible.
    pub since: Timestamp,
    /// Whether a worker gave the present attempt back before it began, so that it may be sent again.
    pub returned: bool,
    /// Connections in that fired, and that are dead.
    pub fired: u32,
    pub dead: u32,
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
    /// By index in the workflow.
    pub components: Vec<ComponentState>,
    /// How many of them have settled.
    pub settled: u32,
    /// How many of them are dispatched.
    pub dispatched: u32,
    /// How many of them are held back until the dispatch window has room.
    pub ready: u32,
    /// Those that failed, in journal order.
    pub failed: Vec<usize>,
    pub cancel: Option<Cancel>,
    /// Why the scope ends before its components do.
    pub stopping: Option<Failure>,
    pub output: Option<Payload>,
    pub failure: Option<Failure>,
}

impl PartialEq for Execution {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.workflow.hash == other.workflow.hash
            && self.accepted == other.accepted
            && (self.seq, self.last_at, self.created_at, self.started_at, self.status)
                == (other.seq, other.last_at, other.created_at, other.started_at, other.status)
            && self.components == other.components
            && (self.settled, self.dispatched, self.ready, &self.failed, &self.cancel, &self.stopping)
                == (
                    other.settled,
                    other.dispatched,
                    other.ready,
                    &other.failed,
                    &other.cancel,
                    &other.stopping,
                )
            && self.output == other.output
            && self.failure == other.failure
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
        let waiting = ComponentState {
            phase: Phase::Waiting,
            attempt: 0,
            lost: 0,
            dispatch: 0,
            dispatched_at: first.at,
            cause: first.cause,
            fence: None,
            output: None,
            ports: Vec::new(),
            failure: None,
            answered_by: None,
            since: first.at,
            returned: false,
            fired: 0,
            dead: 0,
        };
        let components = vec![waiting; workflow.components.len()];
        Ok(Self {
            id: first.execution,
            accepted: Arc::new((**accepted).clone()),
            parameters: Value::Object(accepted.parameters.clone()),
            workflow,
            seq: 1,
            last_at: first.at,
            created_at: first.at,
            started_at: None,
            status: Status::Pending,
            components,
            settled: 0,
            dispatched: 0,
            ready: 0,
            failed: Vec::new(),
            cancel: None,
            stopping: None,
            output: None,
            failure: None,
        })
    }

    /// Adds the next turn.
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
        self.close_turn(turn.at);
        Ok(())
    }

    /// Counts a turn whose events were applied one by one.
    pub fn close_turn(&mut self, at: Timestamp) {
        self.seq += 1;
        self.last_at = at;
    }

    /// The index of a task's component.
    pub fn index_of(&self, task: &TaskKey) -> Result<usize, ReplayError> {
        self.workflow
            .index_of(task.component.as_str())
            .ok_or_else(|| ReplayError::UnknownComponent(task.component.to_string()))
    }

    /// Applies one event of a turn caused by `cause` at `at`.
    pub fn apply(&mut self, event: &Event, at: Timestamp, cause: MessageId) -> Result<(), ReplayError> {
        match event {
            Event::Accepted(_) => return Err(ReplayError::NotAccepted),
            Event::Scheduled { .. } | Event::Noted { .. } => {}
            Event::Started => {
                self.status = Status::Running;
                self.started_at = Some(at);
            }
            Event::TaskReady { task } => {
                let index = self.index_of(task)?;
                self.set_phase(index, Phase::Ready);
                self.components[index].since = at;
            }
            Event::TaskOffered { task } => {
                let index = self.index_of(task)?;
                self.set_phase(index, Phase::Offered);
                self.components[index].since = at;
            }
            Event::TaskDispatched { task, attempt, dispatch } => {
                let index = self.index_of(task)?;
                if self.components[index].attempt == 0 && self.components[index].phase == Phase::Waiting {
                    self.components[index].since = at;
                }
                self.set_phase(index, Phase::Dispatched);
                let component = &mut self.components[index];
                if *attempt != component.attempt {
                    component.fence = None;
                }
                component.attempt = *attempt;
                component.dispatch = *dispatch;
                component.dispatched_at = at;
                component.cause = cause;
                component.returned = false;
            }
            Event::TaskGranted { task, worker, token, .. } => {
                let index = self.index_of(task)?;
                self.components[index].fence = Some(Box::new(Fence {
                    worker: *worker,
                    token: *token,
                    granted: true,
                    leased_until: None,
                }));
            }
            Event::TaskLeased { task, worker, token, until, .. } => {
                let index = self.index_of(task)?;
                let granted = self.components[index].fence.as_ref().is_some_and(|fence| fence.granted);
                self.components[index].fence = Some(Box::new(Fence {
                    worker: *worker,
                    token: *token,
                    granted,
                    leased_until: Some(*until),
                }));
            }
            Event::TaskLost { task, .. } => {
                let index = self.index_of(task)?;
                self.set_phase(index, Phase::Ready);
                let component = &mut self.components[index];
                component.lost += 1;
                component.fence = None;
            }
            Event::TaskReturned { task, .. } => {
                let index = self.index_of(task)?;
                self.set_phase(index, Phase::Ready);
                self.components[index].fence = None;
                self.components[index].returned = true;
            }
            Event::TaskCompleted { task, output, ports, worker, started_at, .. } => {
                let index = self.index_of(task)?;
                self.components[index].answered_by = Some((*worker, *started_at));
                self.complete(index, output.clone(), ports.clone());
            }
            Event::Decided { task, output, ports, .. } => {
                let index = self.index_of(task)?;
                self.complete(index, output.clone(), ports.clone());
            }
            Event::TaskFailed { task, failure, retry_at, worker, started_at, .. } => {
                let index = self.index_of(task)?;
                self.components[index].fence = None;
                self.components[index].answered_by = worker.zip(*started_at);
                match retry_at {
                    Some(retry_at) => {
                        self.components[index].failure = Some(Box::new(failure.clone()));
                        self.set_phase(index, Phase::Retrying(*retry_at));
                    }
                    None => self.fail(index, failure.clone()),
                }
            }
            Event::DecisionFailed { task, failure } => {
                let index = self.index_of(task)?;
                self.fail(index, failure.clone());
            }
            Event::Delayed { task, until } => {
                let index = self.index_of(task)?;
                self.components[index].since = at;
                self.set_phase(index, Phase::Delayed(*until));
            }
            Event::Skipped { task, .. } => {
                let index = self.index_of(task)?;
                self.set_phase(index, Phase::Skipped);
                self.settle_ports(index);
            }
            Event::CancelRequested { by, reason } => {
                self.cancel = Some(Cancel { by: by.clone(), reason: reason.clone() });
            }
            Event::Stopping { failure } => self.stopping = Some(failure.clone()),
            Event::TaskCancelled { task, .. } => {
                let index = self.index_of(task)?;
                self.components[index].fence = None;
                // Its ports stay pending for ever: what reads them ends with the scope (row P8).
                self.set_phase(index, Phase::Cancelled);
            }
            Event::Opened { .. }
            | Event::ScopeOpened { .. }
            | Event::RoundClosed { .. }
            | Event::RoundsStored { .. }
            | Event::RoundDelayed { .. }
            | Event::CompensationNoted { .. }
            | Event::Compensated { .. }
            | Event::Concluded { .. }
            | Event::ChildOrdered { .. }
            | Event::Asked { .. }
            | Event::Claimed { .. }
            | Event::Delegated { .. }
            | Event::Escalated { .. }
            | Event::Reminded { .. }
            | Event::Answered { .. }
            | Event::Awaiting { .. }
            | Event::SignalKept { .. } => {}
            Event::Finished { status, output, failure } => {
                self.status = *status;
                self.output.clone_from(output);
                self.failure.clone_from(failure);
            }
        }
        Ok(())
    }

    fn set_phase(&mut self, index: usize, phase: Phase) {
        let before = self.components[index].phase;
        if before == Phase::Dispatched {
            self.dispatched -= 1;
        }
        if phase == Phase::Dispatched {
            self.dispatched += 1;
        }
        if before == Phase::Ready {
            self.ready -= 1;
        }
        if phase == Phase::Ready {
            self.ready += 1;
        }
        if phase.is_settled() && !before.is_settled() {
            self.settled += 1;
        }
        self.components[index].phase = phase;
    }

    fn complete(&mut self, index: usize, output: Payload, ports: Vec<String>) {
        self.set_phase(index, Phase::Completed);
        let component = &mut self.components[index];
        component.output = Some(output);
        component.ports = ports;
        component.failure = None;
        component.fence = None;
        self.settle_ports(index);
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        self.set_phase(index, Phase::Failed);
        self.components[index].failure = Some(Box::new(failure));
        self.components[index].fence = None;
        self.failed.push(index);
        self.settle_ports(index);
    }

    /// Decides every port of a settled component at once (rows P2 to P7) and counts it at the readers.
    fn settle_ports(&mut self, index: usize) {
        let workflow = Arc::clone(&self.workflow);
        for (reader, port) in &workflow.components[index].outgoing {
            if self.port_fired(index, port) {
                self.components[*reader].fired += 1;
            } else {
                self.components[*reader].dead += 1;
            }
        }
    }

    /// Whether a port of a settled component fired.
    pub fn port_fired(&self, index: usize, port: &Output) -> bool {
        let state = &self.components[index];
        let component = &self.workflow.components[index];
        match (state.phase, port) {
            (Phase::Completed, Output::Success) => true,
            (Phase::Completed, Output::Own(own)) => {
                component.ports.get(*own).is_some_and(|name| state.ports.contains(name))
            }
            (Phase::Failed, Output::Error | Output::Timeout) => *port == self.failure_port(index),
            _ => false,
        }
    }

    /// The port that a failed component fires: `timeout` only when someone reads it (rows P4 to P6).
    pub fn failure_port(&self, index: usize) -> Output {
        let timed_out = self.components[index]
            .failure
            .as_ref()
            .is_some_and(|failure| failure.class == FailureClass::Timeout);
        if timed_out && self.workflow.components[index].timeout_is_read {
            Output::Timeout
        } else {
            Output::Error
        }
    }

    /// Whether a failure can no longer be handled: every reader of its port was skipped, or there is none
    /// (rows S1 to S3).
    pub fn is_unhandled(&self, index: usize) -> bool {
        let port = self.failure_port(index);
        self.workflow.components[index]
            .outgoing
            .iter()
            .filter(|(_, read)| *read == port)
            .all(|(reader, _)| matches!(self.components[*reader].phase, Phase::Skipped | Phase::Cancelled))
    }

    /// What a waiting component's join says (rows J1 to J10).
    pub fn join(&self, index: usize) -> Joined {
        let component = &self.workflow.components[index];
        let state = &self.components[index];
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
