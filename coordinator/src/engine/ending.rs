//! How scopes and executions end: cancelled, killed, stopped, failed, undone, completed.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass},
    execution::{Event, Execution, Payload, Phase, Place, ROOT, SkipReason, Status, TaskKey, TimerKey},
    expression::{ComponentView, EvaluationError, OutputView, Scope as _},
    port::{
        queue::Audience,
        store::{HumanTaskStatus, StatusChange, WaitChange},
    },
    wire::{ChildEnding, Control},
    workflow::Part,
};

use super::{Command, Inner, Needs, Turning, children, control};

/// What an execution that ended says to others: to the one that started it, and to those it started.
pub(super) fn last_words(execution: &Execution) -> Vec<Command> {
    let mut commands = Vec::new();
    for (child, policy) in &execution.detached {
        commands.extend(children::close_by(*child, *policy));
    }
    if let Some(parent) = execution.accepted.parent.as_ref().filter(|parent| parent.waits) {
        let failure = || {
            execution
                .failure
                .clone()
                .unwrap_or_else(|| Failure::new(FailureClass::Internal, "it failed without a reason"))
        };
        let ending = match execution.status {
            Status::Completed => ChildEnding::Completed {
                output: execution.output.clone().unwrap_or(Payload::Inline(Value::Null)),
            },
            Status::Cancelled => ChildEnding::Cancelled { failure: execution.failure.clone() },
            _ => ChildEnding::Failed { failure: failure() },
        };
        commands.push(Command::TellParent {
            parent: parent.execution,
            task: parent.task.clone(),
            ending: Box::new(ending),
        });
    }
    commands
}

impl Turning<'_> {
    /// Nothing new starts, and what runs gets the signal and its time to clean up (row S12).
    pub(super) fn cancel(&mut self, by: &str, reason: &str) {
        if self.execution.cancel.is_some() || self.execution.outcome.is_some() {
            return;
        }
        self.emit(Event::CancelRequested { by: by.to_owned(), reason: reason.to_owned() });
        let open: Vec<u32> = self.execution.open_scopes().collect();
        for scope in open {
            let places: Vec<Place> = self.execution.places(scope).collect();
            for place in places {
                match self.phase(place) {
                    Phase::Dispatched | Phase::Open => {}
                    _ => self.end_component(place),
                }
            }
        }
        self.changed.clear();
        self.ended.clear();
        if !self.execution.dispatched.is_empty() {
            self.set_timer(TimerKey::CancelGrace, self.around.now.after(self.around.rules.cancel_grace));
            self.stopped = self.execution.dispatched.iter().map(|place| self.execution.key(*place)).collect();
        }
    }

    /// Ends the execution now: attempts are fenced, nothing cleans up (row S13).
    pub(super) fn kill(&mut self, by: &str, reason: &str) {
        if self.execution.cancel.is_none() {
            self.emit(Event::CancelRequested { by: by.to_owned(), reason: reason.to_owned() });
        }
        let own: Vec<u32> = self
            .execution
            .open_scopes()
            .filter(|scope| self.execution.scope(*scope).owner.is_none())
            .collect();
        for scope in own {
            self.end_scope(scope);
        }
        self.changed.clear();
        self.ended.clear();
        let message =
            if reason.is_empty() { format!("killed by {by}") } else { format!("killed by {by}: {reason}") };
        let failure =
            Failure::new(FailureClass::Cancelled, message).with_details(json!({ "reason": "killed" }));
        self.finish(Status::Cancelled, None, Some(failure));
    }

    /// A scope ends now: what runs is cancelled, what waits is skipped (row S6).
    pub(super) fn stop(&mut self, scope: u32, failure: Failure) {
        let state = self.execution.scope(scope);
        let definition = self.execution.definition(scope);
        let owner = match (definition.part, state.owner) {
            (Part::Workflow, _) => None,
            (part, owner) => Some((part, owner.map(|owner| self.execution.key(owner)))),
        };
        let round = state.owner.filter(|owner| self.execution.component(*owner).is_loop()).and_then(|_| {
            (definition.part == Part::Body).then(|| state.iteration.0.last().copied()).flatten()
        });
        self.emit(Event::Stopping { failure, owner, round });
        self.end_scope(scope);
        if planted!(B43StopReachesOutside) {
            self.end_running();
        }
        self.ended.push_back(scope);
    }

    /// Ends every component of a scope that has not settled, and what is inside it.
    pub(super) fn end_scope(&mut self, scope: u32) {
        let places: Vec<Place> = self.execution.places(scope).collect();
        for place in places {
            self.end_component(place);
        }
        self.changed.retain(|place| place.scope != scope);
    }

    fn end_component(&mut self, place: Place) {
        let task = self.key(place);
        match self.phase(place) {
            Phase::Completed | Phase::Failed | Phase::Skipped | Phase::Cancelled => {}
            Phase::Waiting => self.emit(Event::Skipped { task, reason: SkipReason::ScopeEnded }),
            Phase::Dispatched => self.end_task(place),
            Phase::Ready | Phase::Limited | Phase::Offered | Phase::Retrying(_) | Phase::Delayed(_) => {
                self.drop_task_timers(place);
                let attempt = self.execution.at(place).attempt;
                self.emit(Event::TaskCancelled { task, attempt });
            }
            Phase::Open | Phase::Calling | Phase::Asked | Phase::Awaiting | Phase::Asking => {
                self.end_inside(place);
                self.drop_task_timers(place);
                let attempt = self.execution.at(place).attempt;
                self.emit_closing(Event::TaskCancelled { task, attempt });
            }
        }
    }

    /// A running task is cancelled without waiting for its worker, which is told.
    fn end_task(&mut self, place: Place) {
        let task = self.key(place);
        let attempt = self.execution.at(place).attempt;
        self.finished(place, attempt, Status::Cancelled, None, None);
        self.drop_task_timers(place);
        self.emit(Event::TaskCancelled { task: task.clone(), attempt });
        // What this turn ordered before it came to the end does not go out.
        let before = self.made.commands.len();
        self.made
            .commands
            .retain(|command| !matches!(command, Command::Dispatch(ordered) if ordered.key() == task));
        if self.made.commands.len() == before {
            self.stopped.push(task);
        }
    }

    /// Ends what a component holds: the scopes of a container, the execution of a sub-workflow, what people
    /// are asked, the wait for an event.
    pub(super) fn end_inside(&mut self, place: Place) {
        match self.execution.at(place).inner.as_deref() {
            Some(Inner::Container(container)) => {
                for scope in container.open.clone() {
                    self.end_scope(scope);
                }
            }
            Some(Inner::Child(_)) if planted!(B47ChildNotClosed) => {}
            Some(Inner::Child(child)) => {
                let close = children::close(child);
                self.made.commands.extend(close);
            }
            Some(Inner::Person(_)) => self.person_stands(place, HumanTaskStatus::Cancelled),
            Some(Inner::Wait(_) | Inner::Permit(_)) => {
                let task = self.key(place);
                self.made.waits.push(WaitChange::Close { task });
            }
            Some(Inner::Displacing(_)) | None => {}
        }
    }

    /// The time to clean up is over.
    pub(super) fn end_running(&mut self) {
        for place in self.execution.dispatched.clone() {
            self.end_task(place);
        }
    }

    /// Tells the workers of tasks whose scope ended.
    pub(super) fn tell_stopped(&mut self) {
        if !self.stopped.is_empty() {
            let tasks = std::mem::take(&mut self.stopped);
            let control = Control::Cancel { execution: self.execution.id, tasks };
            self.made.commands.push(Command::Tell(Audience::Everyone, control));
        }
    }

    pub(super) fn finish(&mut self, status: Status, output: Option<Payload>, failure: Option<Failure>) {
        self.leave_the_lines();
        self.emit(Event::Finished { status, output: output.clone(), failure: failure.clone() });
        self.made.change = Some(StatusChange { status, failure, output });
        self.made.timers.clear();
        self.made.waits.clear();
        self.made.wait.clear();
        self.made.sweep_at = None;
        self.made.release = true;
        let words = last_words(self.execution);
        self.made.commands.extend(words);
    }

    // ---- scopes ------------------------------------------------------------------------------

    /// Why a settled scope failed, if it did (rows S5 to S8).
    pub(super) fn scope_failure(&self, scope: u32) -> Option<Failure> {
        let stopping = &self.execution.scope(scope).stopping;
        stopping
            .clone()
            .filter(|failure| failure.class != FailureClass::Cancelled)
            .or_else(|| self.execution.unhandled(scope).next().map(|place| self.failure_of(place)))
    }

    /// Every component of a scope has settled.
    pub(super) fn scope_ended(&mut self, scope: u32) -> Result<(), Needs> {
        let part = self.execution.definition(scope).part;
        match (part, self.execution.scope(scope).owner) {
            (Part::Workflow, _) => self.workflow_ended(),
            // The execution is being cancelled: its containers end when the last task has.
            _ if self.execution.is_cancelling() => Ok(()),
            (Part::Compensation, _) => {
                let failure = self.scope_failure(scope);
                let definition = self.execution.definition(scope);
                if let Some(owner) = definition.owner {
                    let task = TaskKey {
                        component: self.execution.workflow.components[owner].id.clone(),
                        iteration: self.execution.scope(scope).iteration.clone(),
                    };
                    self.emit_closing(Event::Compensated { task, failure });
                }
                self.clean_up()
            }
            (_, Some(owner)) => self.part_ended(owner, part, scope),
            (_, None) => {
                if let Some(failure) = self.scope_failure(scope) {
                    self.emit(Event::CleanupFailed { failure });
                }
                self.clean_up()
            }
        }
    }

    /// The workflow's scope has settled: the outcome is decided, and what cleans up follows (row S9).
    fn workflow_ended(&mut self) -> Result<(), Needs> {
        if self.execution.outcome.is_some() || self.execution.status.is_terminal() {
            return Ok(());
        }
        let (status, failure) = if let Some(cancel) = &self.execution.cancel {
            let message = if cancel.reason.is_empty() {
                format!("cancelled by {}", cancel.by)
            } else {
                format!("cancelled by {}: {}", cancel.by, cancel.reason)
            };
            (Status::Cancelled, Some(Failure::new(FailureClass::Cancelled, message)))
        } else if let Some(failure) = self.scope_failure(ROOT) {
            (Status::Failed, Some(failure))
        } else {
            // An output that cannot be made fails the execution as a component would.
            match control::output(self.execution, &self.payloads) {
                Ok(output) if self.execution.workflow.finally.is_none() => {
                    self.finish(Status::Completed, output, None);
                    return Ok(());
                }
                Ok(_) => (Status::Completed, None),
                Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
                Err(EvaluationError::Failed(failure)) => (Status::Failed, Some(failure)),
            }
        };
        let workflow = Arc::clone(&self.execution.workflow);
        let undoes = !self.execution.undo.is_empty()
            && (status == Status::Failed || (status == Status::Cancelled && workflow.compensate_on_cancel));
        let handles = status == Status::Failed && workflow.on_failure.is_some();
        let skips = planted!(B31FinallySkippedAfterCancel) && status == Status::Cancelled;
        let began = self.execution.started_at.is_some();
        if began && (undoes || handles || workflow.finally.is_some()) && !skips {
            self.clear_timer(TimerKey::Timeout);
            self.clear_timer(TimerKey::CancelGrace);
            if let (Status::Failed, Some(failure)) = (status, &failure) {
                self.show_failing(failure.clone());
            }
            self.emit(Event::Concluded { status, failure });
            return self.clean_up();
        }
        self.finish(status, None, failure);
        Ok(())
    }

    /// Goes on with cleaning up: compensations, newest first, then `on_failure`, then `finally`, then the end.
    fn clean_up(&mut self) -> Result<(), Needs> {
        let Some(outcome) = self.execution.outcome.clone() else { return Ok(()) };
        let workflow = Arc::clone(&self.execution.workflow);
        while self.execution.must_undo() {
            let next = if planted!(B29CompensationOldestFirst) { 0 } else { self.execution.undo.len() - 1 };
            let Some(undo) = self.execution.undo.get(next).cloned() else { break };
            if undo.failure.is_some() {
                self.emit(Event::Compensated { task: undo.task, failure: undo.failure });
                continue;
            }
            self.begin_part(Part::Compensation, Some(undo.task), None);
            return Ok(());
        }
        if outcome.status == Status::Failed
            && workflow.on_failure.is_some()
            && !self.execution.on_failure_begun
        {
            self.begin_part(Part::OnFailure, None, outcome.failure);
            return Ok(());
        }
        if workflow.finally.is_some() && !self.execution.finally_begun {
            self.begin_part(Part::Finally, None, None);
            return Ok(());
        }
        self.conclude(outcome.status, outcome.failure)
    }

    fn conclude(&mut self, status: Status, failure: Option<Failure>) -> Result<(), Needs> {
        let cleanup = self.execution.cleanup_failures.first().cloned();
        let (status, failure) = match (status, cleanup) {
            (Status::Completed, Some(cleanup)) => (Status::Failed, Some(cleanup)),
            (Status::Completed, None) => match control::output(self.execution, &self.payloads) {
                Ok(output) => {
                    self.finish(Status::Completed, output, None);
                    return Ok(());
                }
                Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
                Err(EvaluationError::Failed(failure)) => (Status::Failed, Some(failure)),
            },
            (status, cleanup) => {
                (status, failure.map(|failure| self.with_remarks(failure, cleanup.as_ref())))
            }
        };
        self.finish(status, None, failure);
        Ok(())
    }

    /// What went wrong while cleaning up, beside the failure that led there (rows S10 and S11).
    fn with_remarks(&self, mut failure: Failure, cleanup: Option<&Failure>) -> Failure {
        let mut details = match failure.details.take() {
            Some(Value::Object(details)) => details,
            Some(other) => serde_json::Map::from_iter([("details".to_owned(), other)]),
            None => serde_json::Map::new(),
        };
        if !self.execution.undo_failed.is_empty() {
            let tasks: Vec<String> = self.execution.undo_failed.iter().map(ToString::to_string).collect();
            details.insert("compensation_incomplete".to_owned(), Value::from(tasks));
        }
        if let Some(cleanup) = cleanup {
            details.insert("cleanup_failed".to_owned(), cleanup.to_value());
        }
        failure.details = (!details.is_empty()).then_some(Value::Object(details));
        failure
    }

    /// Opens a scope that is no round of a loop.
    pub(super) fn begin_part(&mut self, part: Part, owner: Option<TaskKey>, error: Option<Failure>) {
        let workflow = Arc::clone(&self.execution.workflow);
        let iteration = owner.as_ref().map(|owner| owner.iteration.clone()).unwrap_or_default();
        let index = owner.as_ref().and_then(|owner| workflow.index_of(owner.component.as_str()));
        let scopes = index.map(|index| &workflow.components[index]);
        let scope = match (part, scopes) {
            (Part::OnFailure, _) => workflow.on_failure,
            (Part::Finally, None) => workflow.finally,
            (Part::Finally, Some(component)) => component.scopes.finally,
            (Part::Catch, Some(component)) => component.scopes.catch,
            (Part::Body, Some(component)) => component.scopes.body,
            (Part::Compensation, Some(component)) => {
                component.compensate.map(|undoing| workflow.components[undoing].scope)
            }
            _ => None,
        };
        self.emit(Event::ScopeOpened { part, owner, round: None, item: None, error });
        if let Some(open) = scope.and_then(|scope| self.execution.scope_in(scope, &iteration)) {
            self.begin_scope(open);
        }
    }

    // ---- compensation ------------------------------------------------------------------------

    /// Notes what the compensation of a component that completed would be given: later its scope may be gone.
    pub(super) fn note_compensation(&mut self, place: Place) -> Result<(), Needs> {
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        let Some(undoing) = component.compensate else { return Ok(()) };
        let task = self.key(place);
        let scope = self.scope(place);
        let this = match scope.component(component.id.as_str()) {
            Some(ComponentView { output: Some(OutputView::Stored(id)), .. }) => {
                return Err(Needs::Payloads(vec![id]));
            }
            Some(ComponentView { output: Some(OutputView::Here(value)), status, attempts, .. }) => {
                json!({ "output": value, "status": status, "error": null, "attempts": attempts })
            }
            _ => json!({ "output": null, "status": "completed", "error": null, "attempts": 0 }),
        };
        let rendered = workflow.components[undoing].config.render(&scope.with_this(this));
        let noted = match rendered {
            Ok(rendered) => Event::CompensationNoted {
                task,
                config: rendered.value,
                references: rendered.references,
                failure: None,
            },
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => Event::CompensationNoted {
                task,
                config: Value::Null,
                references: Vec::new(),
                failure: Some(failure),
            },
        };
        self.emit(noted);
        Ok(())
    }
}
