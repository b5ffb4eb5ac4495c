//! Tasks for workers: ordered, answered, lost, retried and missed.

use std::{ops::Bound, sync::Arc, time::Duration};

use shared::{
    component::{Failure, FailureClass, LogLevel},
    execution::{Event, Execution, Payload, Phase, Place, ROOT, ReplayError, Status, TimerKey},
    expression::EvaluationError,
    port::{
        queue::Audience,
        store::{FinishedTask, LateResult, TimerChange, WaitChange},
    },
    time::Timestamp,
    wire::{Ask, AskKind, Control, Ending, Task, TaskResult},
    workflow::{Component, Delivery, Output},
};

use super::{
    Command, Loaded, Needs, POISON_LOSSES, Rules, Turning,
    caching::Kept,
    fusion,
    limits::{self, Stand},
    pausing, rendered,
};
use crate::desk::is_longer_than;

/// How many tasks that were held back one turn looks at, when they leave the room to others.
const TRIES: usize = 256;
/// The largest config of a task that shares its message with others, in bytes of JSON.
const LARGEST_SHARED: usize = 1024;
/// The least time until the sweep looks at an execution again.
const SOONEST: Duration = Duration::from_secs(5);

/// What is known of an attempt that ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// It never began: whoever held it says so.
    No,
    Unknown,
}

/// How long a component may take in all, over its attempts and whatever is inside it.
pub(super) fn time_limit(component: &Component) -> Option<std::time::Duration> {
    let is_task = !matches!(component.runs, shared::component::Runs::Coordinator);
    let own = (!is_task && component.timeout != std::time::Duration::MAX).then_some(component.timeout);
    match (component.total_timeout, own) {
        (Some(total), Some(own)) => Some(total.min(own)),
        (total, own) => total.or(own),
    }
}

/// The message that asks a worker for one attempt.
pub(super) fn make_task(
    execution: &Execution,
    payloads: &Loaded,
    place: Place,
    attempt: u32,
    dispatch: u32,
) -> Result<Task, EvaluationError> {
    let component = execution.component(place);
    let rendered = rendered(execution, payloads, place)?;
    // Values that must be fetched take as long as they take, and large ones fill a message by themselves. What was lost
    // once travels alone: should it be what brings workers down, it takes nothing with it again.
    let is_small = rendered.references.is_empty() && !is_longer_than(&rendered.value, LARGEST_SHARED);
    let may_share = component.is_plain() && is_small && (attempt, dispatch) == (1, 1);
    Ok(Task {
        tenant: execution.accepted.tenant,
        execution: execution.id,
        // What was sent before it was renamed answers under that name, and is known outside by it.
        component: execution.key(place).component,
        iteration: execution.scope(place.scope).iteration.clone(),
        kind: Arc::clone(&component.kind),
        attempt,
        dispatch,
        config: rendered.value,
        references: rendered.references,
        timeout: component.timeout,
        delivery: component.delivery,
        lease_at_once: component.queue_timeout.is_some(),
        pool: Arc::clone(&component.placement.pool),
        tags: component.placement.tags.clone(),
        priority: component.placement.priority.unwrap_or(execution.accepted.priority),
        reply_to: None,
        chain: None,
        may_share,
    })
}

/// The numbers of the next message for a task: a returned attempt goes on, anything else is a new one.
pub(super) fn next_dispatch(execution: &Execution, place: Place) -> (u32, u32) {
    let state = execution.at(place);
    if state.returned { (state.attempt, state.dispatch + 1) } else { (state.attempt + 1, 1) }
}

/// When a task that is with a queue or a worker is to be missed. Not if it is leased: the end of its lease has a timer.
fn missed_at(execution: &Execution, place: Place, rules: &Rules) -> Option<Timestamp> {
    let state = execution.at(place);
    match state.fence.as_deref() {
        _ if state.phase != Phase::Dispatched => None,
        None => Some(state.dispatched_at.after(rules.patience(state.dispatch))),
        Some(fence) if fence.leased_until.is_some() => None,
        // It runs, and may rightly do so up to its time-out, however often it had to be sent.
        Some(fence) => Some(fence.since.after(rules.silence + execution.component(place).timeout)),
    }
}

/// When the sweep should look at an execution that sent something now: when the first of it is to be missed.
pub(crate) fn looked_for_at(execution: &Execution, rules: &Rules, now: Timestamp) -> Timestamp {
    let missed = execution.dispatched.iter().filter_map(|place| missed_at(execution, *place, rules));
    let sent = now.after(rules.silence);
    if planted!(B87LookPutOff) {
        return sent;
    }
    missed.min().unwrap_or(sent).min(sent).max(now.after(SOONEST))
}

impl Turning<'_> {
    /// Whether somebody reads the port that a failure of the component would fire.
    fn is_failure_read(&self, place: Place) -> bool {
        self.execution.component(place).outgoing.iter().any(|(_, port)| *port == Output::Error)
    }

    // ---- what workers say ------------------------------------------------------------------

    pub(super) fn result(&mut self, result: &TaskResult) -> Result<(), Needs> {
        let mut key = result.key();
        if planted!(B77OldNamesForgotten) && self.execution.called_now(&key) != key {
            self.late(result, "the workflow has no such component");
            return Ok(());
        }
        if planted!(B42LateResultOfAClosedRound) && self.execution.place_of(&key).is_err() {
            let mut running = self.execution.dispatched.iter().map(|place| self.execution.key(*place));
            key = running.rfind(|it| it.component == key.component).unwrap_or(key);
        }
        let place = match self.execution.place_of(&key) {
            Ok(place) => place,
            Err(ReplayError::ScopeNotOpen(_)) => {
                self.late(result, "its round or scope had ended");
                return Ok(());
            }
            Err(_) => {
                self.late(result, "the workflow has no such component");
                return Ok(());
            }
        };
        let component = self.execution.at(place);
        if self.execution.status.is_terminal() || component.phase != Phase::Dispatched {
            let again = component.attempt == result.attempt
                && component.answered_by == Some((result.worker, result.started_at));
            if !again {
                self.late(result, "the task had settled, or waits for its next attempt");
            }
            return Ok(());
        }
        if component.attempt != result.attempt && !planted!(B6ResultWithoutAttemptCheck) {
            self.late(result, "another attempt is under way");
            return Ok(());
        }
        if !self.stands_on_what_counts(place, result) {
            self.late(result, "it followed a run whose result did not count");
            return Ok(());
        }
        if let Some(fence) = &component.fence
            && result.token != Some(fence.token)
            && !planted!(B7LeasedResultWithoutToken)
        {
            // A redelivery of a granted attempt has no token of its own: the holder may still be at work,
            // or be lost; only the grant's fate decides.
            let lost = matches!(result.ending, Ending::Lost { .. });
            if lost && fence.granted && fence.leased_until.is_none() {
                let failure = Failure::new(
                    FailureClass::OutcomeUnknown,
                    "the worker that was granted this attempt was lost; whether it took effect is unknown",
                );
                return self.attempt_failed(place, result, failure);
            }
            self.late(result, "the attempt is held by another worker");
            return Ok(());
        }
        if matches!(result.ending, Ending::Returned) && component.dispatch != result.dispatch {
            self.late(result, "the attempt has been sent again since");
            return Ok(());
        }
        match &result.ending {
            Ending::Completed { output, ports } => return self.completed(place, result, output, ports),
            Ending::Failed(failure) => return self.attempt_failed(place, result, failure.clone()),
            Ending::Lost { reason } => return self.lost(place, reason, Ran::Unknown),
            Ending::NotGranted => {
                return self.lost(place, "it was not granted in time and did not run", Ran::No);
            }
            Ending::Returned if self.execution.is_cancelling() => {
                self.drop_task_timers(place);
                self.emit(Event::TaskCancelled { task: key, attempt: result.attempt });
            }
            Ending::Returned => {
                self.emit(Event::TaskReturned { task: key, attempt: result.attempt });
                self.made.timers.push(TimerChange::Clear { key: TimerKey::Lease(self.key(place)) });
                return self.dispatch(place);
            }
        }
        Ok(())
    }

    fn late(&mut self, result: &TaskResult, reason: &str) {
        self.made.late.push(LateResult {
            execution: result.execution,
            task: result.key(),
            attempt: result.attempt,
            dispatch: result.dispatch,
            worker: result.worker,
            at: self.around.now,
            ending: match result.ending {
                Ending::Completed { .. } => "completed",
                Ending::Failed(_) => "failed",
                Ending::Lost { .. } => "lost",
                Ending::Returned | Ending::NotGranted => "returned",
            }
            .to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn completed(
        &mut self,
        place: Place,
        result: &TaskResult,
        output: &Payload,
        ports: &[String],
    ) -> Result<(), Needs> {
        let component = self.execution.component(place);
        let ports: Vec<String> =
            ports.iter().filter(|port| component.ports.contains(port)).cloned().collect();
        self.keep_result(place, output, &ports)?;
        self.finished(place, result.attempt, Status::Completed, None, Some(result));
        self.drop_task_timers(place);
        self.emit(Event::TaskCompleted {
            task: self.key(place),
            attempt: result.attempt,
            output: output.clone(),
            ports,
            worker: result.worker,
            started_at: result.started_at,
            finished_at: result.finished_at,
            log: result.log.clone(),
        });
        self.settled(place)
    }

    /// An attempt failed: another follows, or the component settles as failed.
    fn attempt_failed(&mut self, place: Place, result: &TaskResult, failure: Failure) -> Result<(), Needs> {
        let task = self.key(place);
        self.finished(place, result.attempt, Status::Failed, Some(&failure), Some(result));
        if self.execution.is_cancelling() {
            self.drop_task_timers(place);
            self.emit(Event::TaskCancelled { task, attempt: result.attempt });
            return Ok(());
        }
        let state = self.execution.at(place);
        let component = self.execution.component(place);
        let at_most_once_in_the_dark =
            component.delivery == Delivery::AtMostOnce && failure.class == FailureClass::OutcomeUnknown;
        let asks = !planted!(B49OutcomeNotAsked);
        if at_most_once_in_the_dark && !self.is_failure_read(place) && asks {
            self.ask_for_the_outcome(place, &failure.message);
            return Ok(());
        }
        let retried = !at_most_once_in_the_dark && component.retry.allows(&failure.class, state.spent());
        let retry_at = retried.then(|| {
            let rounds = self.execution.scope(place.scope).iteration.0.iter();
            let round = rounds.fold(0_u64, |all, round| all.wrapping_mul(31).wrapping_add(u64::from(*round)));
            let seed =
                (self.execution.id.as_uuid().as_u128() as u64) ^ (u64::from(place.component) << 32) ^ round;
            let pause = component.retry.pause(state.spent(), seed);
            self.around.now.after(pause.max(failure.retry_after.unwrap_or_default()))
        });
        if state.fence.is_some() {
            self.clear_timer(TimerKey::Lease(task.clone()));
        }
        if let Some(retry_at) = retry_at {
            // In a pause it is set at the end of the pause.
            if !self.execution.is_paused() {
                self.set_timer(TimerKey::Retry(task.clone()), retry_at);
            }
        } else {
            self.drop_task_timers(place);
        }
        self.emit(Event::TaskFailed {
            task,
            attempt: result.attempt,
            failure,
            retry_at,
            worker: Some(result.worker),
            started_at: Some(result.started_at),
            log: result.log.clone(),
        });
        if retry_at.is_none() { self.settled(place) } else { Ok(()) }
    }

    /// A worker was lost with an attempt: it costs none of the policy's, and a further one follows.
    fn lost(&mut self, place: Place, reason: &str, ran: Ran) -> Result<(), Needs> {
        let task = self.key(place);
        let state = self.execution.at(place);
        let (attempt, dispatch) = (state.attempt, state.dispatch);
        let granted = state.fence.as_ref().is_some_and(|fence| fence.granted);
        let fenced = state.fence.is_some();
        if fenced {
            self.clear_timer(TimerKey::Lease(task.clone()));
        }
        if self.execution.is_cancelling() {
            self.drop_task_timers(place);
            self.emit(Event::TaskCancelled { task, attempt });
            return Ok(());
        }
        if granted && ran == Ran::Unknown && !self.is_failure_read(place) {
            self.finished(place, attempt, Status::Failed, None, None);
            self.ask_for_the_outcome(place, reason);
            return Ok(());
        }
        let failure = if granted && ran == Ran::Unknown {
            Some(Failure::new(
                FailureClass::OutcomeUnknown,
                format!("{reason}; the attempt had been granted, and whether it took effect is unknown"),
            ))
        } else if ran == Ran::Unknown && self.execution.at(place).lost + 1 >= POISON_LOSSES {
            let failure = Failure::new(
                FailureClass::Internal,
                format!("poison: {POISON_LOSSES} workers were lost while they ran this task ({reason})"),
            );
            if let Ok(message) = make_task(self.execution, &self.payloads, place, attempt, dispatch) {
                self.made.commands.push(Command::Poison(Box::new(message), failure.message.clone()));
            }
            Some(failure)
        } else {
            None
        };
        self.emit(Event::TaskLost { task, attempt, reason: reason.to_owned() });
        match failure {
            Some(failure) => {
                self.finished(place, attempt, Status::Failed, Some(&failure), None);
                self.fail_task(place, failure)
            }
            None => self.dispatch(place),
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) {
        let state = self.execution.place_of(&ask.key()).ok().map(|place| (place, self.execution.at(place)));
        let mut granted = false;
        let mut copy = None;
        if let Some((place, state)) = state
            && !self.execution.status.is_terminal()
            && !self.execution.is_cancelling()
            && state.phase == Phase::Dispatched
            && state.attempt == ask.attempt
        {
            let (task, attempt, worker, token) = (ask.key(), ask.attempt, ask.worker, ask.token);
            let until = self.around.now.after(self.around.rules.lease);
            granted = match (&state.fence, ask.kind) {
                (None, AskKind::Grant) => {
                    self.emit(Event::TaskGranted { task, attempt, worker, token });
                    true
                }
                (None, AskKind::Lease) => {
                    self.lease(place, token, until);
                    self.emit(Event::TaskLeased { task, attempt, worker, token, until });
                    true
                }
                (Some(_), AskKind::Grant) if planted!(B9SecondGrant) => {
                    self.emit(Event::TaskGranted { task, attempt, worker, token });
                    true
                }
                (Some(fence), AskKind::Grant) => fence.token == token,
                (Some(fence), AskKind::Lease) if fence.token == token => {
                    if fence.leased_until.is_none() {
                        self.lease(place, token, until);
                        self.emit(Event::TaskLeased { task, attempt, worker, token, until });
                    }
                    true
                }
                (Some(_), AskKind::Lease) => {
                    copy = Some((
                        state.dispatch,
                        "it began a copy of the task, of which another worker has the lease",
                    ));
                    false
                }
            };
        } else if let Some((_, state)) = state
            && ask.kind == AskKind::Lease
            && (state.attempt > ask.attempt
                || (state.attempt == ask.attempt && matches!(state.phase, Phase::Completed | Phase::Failed)))
        {
            copy = Some((state.dispatch, "it went on with the task after that had ended or been given up"));
        }
        // Its message was sent twice, as after a crash between commit and publish, and both copies began.
        if let Some((dispatch, reason)) = copy {
            self.made.late.push(LateResult {
                execution: self.execution.id,
                task: ask.key(),
                attempt: ask.attempt,
                dispatch,
                worker: ask.worker,
                at: self.around.now,
                ending: "stopped".to_owned(),
                reason: reason.to_owned(),
            });
        }
        self.made
            .commands
            .push(Command::Tell(Audience::Worker(ask.worker), Control::Answer { token: ask.token, granted }));
    }

    fn lease(&mut self, place: Place, token: shared::ids::Token, until: Timestamp) {
        let task = self.key(place);
        self.made.timers.push(TimerChange::Clear { key: TimerKey::Queue(task.clone()) });
        self.made.timers.push(TimerChange::Set {
            key: TimerKey::Lease(task),
            due_at: until,
            token: Some(token),
        });
    }

    // ---- time ------------------------------------------------------------------------------

    pub(super) fn timer(&mut self, key: &TimerKey) -> Result<(), Needs> {
        let place = match key {
            TimerKey::Scheduled => return self.start(),
            TimerKey::Timeout => {
                self.clear_timer(TimerKey::Timeout);
                if self.execution.started_at.is_some()
                    && !self.execution.status.is_terminal()
                    && !self.execution.is_cancelling()
                    && self.execution.outcome.is_none()
                {
                    let failure =
                        Failure::new(FailureClass::Timeout, "the execution took longer than its time limit");
                    self.end_pause("the time limit");
                    self.stop(ROOT, failure);
                }
                return Ok(());
            }
            TimerKey::CancelGrace => {
                self.clear_timer(TimerKey::CancelGrace);
                // A timer that was on its way when the cleaning up began has nothing to end.
                if self.execution.is_cancelling() || planted!(B51GraceEndsTheCleaningUp) {
                    self.end_running();
                }
                return Ok(());
            }
            TimerKey::Retry(task)
            | TimerKey::Delay(task)
            | TimerKey::Lease(task)
            | TimerKey::Queue(task)
            | TimerKey::Total(task)
            | TimerKey::Person(task)
            | TimerKey::Within(task)
            | TimerKey::Pause(task) => {
                let Ok(place) = self.execution.place_of(task) else { return Ok(()) };
                place
            }
        };
        let now = self.around.now;
        let phase = self.phase(place);
        // On its way when the pause began; it is set again when the pause ends.
        if self.execution.is_paused() && pausing::starts(key) && !planted!(B60TimersFireInAPause) {
            return Ok(());
        }
        match key {
            TimerKey::Retry(_) => {
                let due = matches!(phase, Phase::Retrying(at) if at <= now);
                let fires = due || planted!(B20RetryTimerFiresTwice);
                if fires || planted!(B21NoTerminalCheck) {
                    self.clear_timer(key.clone());
                    return self.dispatch(place);
                }
            }
            TimerKey::Delay(task) => {
                if let Phase::Delayed(until) = phase
                    && until <= now
                {
                    self.clear_timer(key.clone());
                    if &*self.execution.component(place).kind == "rate_limit" {
                        return self.permit_decided(place, "admitted", until);
                    }
                    self.emit(Event::Decided {
                        task: task.clone(),
                        output: Payload::Inline(serde_json::json!({ "until": until.to_string() })),
                        ports: Vec::new(),
                        log: Vec::new(),
                    });
                    return self.settled(place);
                }
            }
            TimerKey::Lease(_) => {
                if phase == Phase::Dispatched && self.execution.at(place).fence.is_some() {
                    return self.lost(place, "its lease ran out without a renewal", Ran::Unknown);
                }
            }
            TimerKey::Queue(_) => {
                let unclaimed = self.execution.at(place).fence.is_none();
                if unclaimed
                    && matches!(phase, Phase::Ready | Phase::Limited | Phase::Offered | Phase::Dispatched)
                {
                    return self.give_up(place, "no worker took it within its queue time-out");
                }
            }
            TimerKey::Total(_) => {
                if !phase.is_settled() && phase != Phase::Waiting {
                    return self.give_up(place, "it took longer than its time limit");
                }
            }
            TimerKey::Person(_) => {
                if phase == Phase::Asked {
                    return self.person_is_late(place);
                }
            }
            TimerKey::Within(task) => {
                if phase == Phase::Awaiting {
                    self.clear_timer(key.clone());
                    self.made.waits.push(WaitChange::Close { task: task.clone() });
                    let failure = Failure::new(FailureClass::Timeout, "no event came within its time");
                    return self.decision_failed(place, failure);
                }
            }
            TimerKey::Pause(_) => {
                let paused = self.execution.container(place).and_then(|it| it.rounds.paused_until);
                if paused.is_some_and(|until| until <= now) {
                    self.clear_timer(key.clone());
                    return self.next_while_round(place, true);
                }
            }
            TimerKey::Scheduled | TimerKey::Timeout | TimerKey::CancelGrace => {}
        }
        Ok(())
    }

    /// Ends a component as timed out, whatever its worker or its scopes do.
    fn give_up(&mut self, place: Place, why: &str) -> Result<(), Needs> {
        let failure = Failure::new(FailureClass::Timeout, why);
        if !matches!(
            self.phase(place),
            Phase::Ready | Phase::Limited | Phase::Offered | Phase::Dispatched | Phase::Retrying(_)
        ) {
            self.end_inside(place);
            self.drop_task_timers(place);
            return self.decision_failed(place, failure);
        }
        let attempt = self.execution.at(place).attempt;
        self.finished(place, attempt, Status::Failed, Some(&failure), None);
        self.fail_task(place, failure)
    }

    /// Settles a task as failed that no worker gave a result for.
    pub(super) fn fail_task(&mut self, place: Place, failure: Failure) -> Result<(), Needs> {
        self.drop_task_timers(place);
        self.emit(Event::TaskFailed {
            task: self.key(place),
            attempt: self.execution.at(place).attempt,
            failure,
            retry_at: None,
            worker: None,
            started_at: None,
            log: Vec::new(),
        });
        self.settled(place)
    }

    /// Looks for what may have been lost and sends it again.
    pub(super) fn sweep(&mut self) -> Result<(), Needs> {
        self.ask_parent();
        let displacing = limits::displacing(self.execution, None);
        self.made.commands.extend(displacing);
        if self.execution.status == Status::Pending {
            return self.start();
        }
        let now = self.around.now;
        let rules = self.around.rules;
        let mut next: Option<Timestamp> = None;
        self.sweep_what_waits();
        for place in self.execution.dispatched.clone() {
            if !self.is_open(place) {
                continue;
            }
            let state = self.execution.at(place);
            if state.phase != Phase::Dispatched {
                continue;
            }
            let queue_lost = self.around.queue_lost_before.is_some_and(|before| state.dispatched_at < before);
            let Some(missed) = missed_at(self.execution, place, rules) else {
                if queue_lost {
                    // One process: the holder of the lease died with the queue.
                    self.lost(place, "the process that ran it ended", Ran::Unknown)?;
                }
                continue;
            };
            if !queue_lost && (missed > now || self.around.queue_is_deep) {
                next = Some(next.map_or(missed, |at| at.min(missed)));
                continue;
            }
            if state.fence.is_some() || self.execution.is_cancelling() {
                self.lost(place, "nothing was heard of it", Ran::Unknown)?;
            } else if !self.execution.is_paused() {
                let (attempt, dispatch) = if planted!(B19SweepRaisesTheAttempt) {
                    (state.attempt + 1, 1)
                } else {
                    (state.attempt, state.dispatch + 1)
                };
                self.send(place, attempt, dispatch)?;
            }
        }
        // Whatever else was lost is looked for when the execution has stood still for twice as long.
        let latest = now.after(rules.between(now.since(self.execution.last_at)));
        let soonest = now.after(SOONEST);
        self.made.sweep_at = Some(next.unwrap_or(latest).min(latest).max(soonest));
        Ok(())
    }

    /// From here on a task may wait in a queue, and has so long in all.
    pub(super) fn start_clocks(&mut self, place: Place) {
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        if let Some(total) = time_limit(component) {
            self.set_timer(TimerKey::Total(self.key(place)), self.around.now.after(total));
        }
        if let Some(queue) = component.queue_timeout {
            self.set_timer(TimerKey::Queue(self.key(place)), self.around.now.after(queue));
        }
    }

    /// Offers a task to workers outside this platform. Its config is resolved now, so that a mistake in it
    /// is not found only when somebody asks.
    pub(super) fn offer(&mut self, place: Place) -> Result<(), Needs> {
        match make_task(self.execution, &self.payloads, place, 1, 1) {
            Ok(_) => {
                if self.phase(place) == Phase::Waiting {
                    self.start_clocks(place);
                }
                if let Stand::Runs(slot) = self.place_for(place)? {
                    self.emit(Event::TaskOffered { task: self.key(place), slot });
                }
            }
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => return self.decision_failed(place, failure),
        }
        Ok(())
    }

    pub(super) fn decision_failed(&mut self, place: Place, failure: Failure) -> Result<(), Needs> {
        self.emit_closing(Event::DecisionFailed { task: self.key(place), failure });
        self.settled(place)
    }

    /// Orders the next attempt of a task, or marks it ready when the dispatch window is full.
    pub(super) fn dispatch(&mut self, place: Place) -> Result<(), Needs> {
        let paused = self.execution.is_paused() && !planted!(B60TimersFireInAPause);
        if (self.begun == Some(place) || self.is_never_sent(place)) && !paused {
            let (attempt, dispatch) = next_dispatch(self.execution, place);
            self.emit(Event::TaskDispatched {
                task: self.key(place),
                attempt,
                dispatch,
                slot: None,
                cache: None,
            });
            return Ok(());
        }
        if !paused && self.recalled(place)? {
            return Ok(());
        }
        if paused || self.ordered >= self.around.room {
            if self.phase(place) != Phase::Ready {
                self.emit(Event::TaskReady { task: self.key(place) });
            }
            return Ok(());
        }
        let (attempt, dispatch) = next_dispatch(self.execution, place);
        self.send(place, attempt, dispatch)
    }

    pub(super) fn send(&mut self, place: Place, attempt: u32, dispatch: u32) -> Result<(), Needs> {
        let task = make_task(self.execution, &self.payloads, place, attempt, dispatch);
        match task.and_then(|task| Ok((task, self.kept_under(place)?))) {
            Ok((mut task, kept)) => {
                let Stand::Runs(slot) = self.place_for(place)? else { return Ok(()) };
                let cache = match kept {
                    Kept::Under(hash) => Some(hash),
                    Kept::Nowhere => None,
                    Kept::TooLarge => {
                        let task = self.key(place);
                        self.note(LogLevel::Info, format!("what {task} gives is not cached: its key holds an output that is larger than 64 KiB"));
                        None
                    }
                };
                if self.around.rules.fusion {
                    task.chain = fusion::chain(self.execution, &self.payloads, place);
                }
                self.emit(Event::TaskDispatched { task: self.key(place), attempt, dispatch, slot, cache });
                self.made.commands.push(Command::Dispatch(Box::new(task)));
                self.ordered += 1;
            }
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => {
                self.drop_task_timers(place);
                return self.decision_failed(place, failure);
            }
        }
        Ok(())
    }

    /// Orders tasks that were held back, as far as the dispatch window has room.
    pub(super) fn fill_room(&mut self) -> Result<(), Needs> {
        if self.execution.status != Status::Running || self.execution.is_cancelling() {
            return Ok(());
        }
        if self.execution.ready.is_empty() || self.ordered >= self.around.room {
            return Ok(());
        }
        // Some of them find no place under a key, or a result that was kept: others have the room then.
        let mut tries = TRIES.max((self.around.room - self.ordered) as usize);
        let mut after = Bound::Unbounded;
        while self.ordered < self.around.room {
            let Some(place) = self.execution.ready.range((after, Bound::Unbounded)).next().copied() else {
                break;
            };
            if tries == 0 {
                self.go_on();
                break;
            }
            tries -= 1;
            after = Bound::Excluded(place);
            if self.is_open(place) && self.phase(place) == Phase::Ready {
                self.dispatch(place)?;
            }
        }
        Ok(())
    }

    pub(super) fn drop_task_timers(&mut self, place: Place) {
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[place.index()];
        if self.execution.at(place).fence.is_some() {
            self.clear_timer(TimerKey::Lease(self.key(place)));
        }
        let own = match self.phase(place) {
            Phase::Retrying(_) => Some(TimerKey::Retry(self.key(place))),
            Phase::Delayed(_) => Some(TimerKey::Delay(self.key(place))),
            Phase::Asked => Some(TimerKey::Person(self.key(place))),
            Phase::Awaiting => Some(TimerKey::Within(self.key(place))),
            Phase::Open
                if self.execution.container(place).is_some_and(|it| it.rounds.paused_until.is_some()) =>
            {
                Some(TimerKey::Pause(self.key(place)))
            }
            _ => None,
        };
        if let Some(own) = own {
            self.clear_timer(own);
        }
        if time_limit(component).is_some() {
            self.clear_timer(TimerKey::Total(self.key(place)));
        }
        if component.queue_timeout.is_some() {
            self.clear_timer(TimerKey::Queue(self.key(place)));
        }
    }

    pub(super) fn finished(
        &mut self,
        place: Place,
        attempt: u32,
        status: Status,
        failure: Option<&Failure>,
        result: Option<&TaskResult>,
    ) {
        let state = self.execution.at(place);
        self.made.finished.push(FinishedTask {
            task: self.key(place),
            attempt,
            kind: Arc::clone(&self.execution.component(place).kind),
            status,
            failure_class: failure.map(|failure| failure.class.to_string()),
            worker: result.map(|result| result.worker),
            started_at: result.map_or(state.dispatched_at, |result| result.started_at),
            finished_at: result.map_or(self.around.now, |result| result.finished_at),
        });
    }
}
