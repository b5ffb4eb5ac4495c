//! The pure engine: what an execution's state and one input make happen next.
//!
//! [`decide`] reads no clock, no random source and no store, and awaits nothing. The same state and
//! input give the same turn on every machine, which is what lets a crash be repaired by deciding again.

/// Whether the schedule explorer planted this fault; never outside tests.
#[cfg(test)]
macro_rules! planted {
    ($bug:ident) => {
        crate::seeded::has(crate::seeded::Bug::$bug)
    };
}
#[cfg(not(test))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod control;
mod scope;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, collections::VecDeque, sync::Arc, time::Duration};

use serde_json::Value;
use shared::{
    component::{Failure, FailureClass, Runs},
    execution::{Event, Execution, Joined, Payload, Phase, SkipReason, Status, TaskKey, TimerKey},
    expression::EvaluationError,
    ids::{MessageId, PayloadId},
    port::{
        queue::Audience,
        store::{FinishedTask, LateResult, SlotClaim, StatusChange, TimerChange},
    },
    time::Timestamp,
    wire::{Ask, AskKind, Control, Ending, RequestBody, Task, TaskResult},
    workflow::{Delivery, Join, OnUnhandledFailure},
};

use scope::StateScope;

/// The slot key that every running execution holds, so that `max_concurrent_executions` is a set of rows.
pub const EXECUTIONS_KEY: &str = "executions";

/// Third lost worker of one task: the task is the danger, not the fleet.
pub const POISON_LOSSES: u32 = 3;

/// The engine's settings.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Executions that run at once, over all tenants.
    pub max_concurrent_executions: u32,
    /// A dispatched task that has been silent this long is sent again; doubled each time, up to `silence_cap`.
    pub silence: Duration,
    pub silence_cap: Duration,
    /// How long a lease lasts without a renewal.
    pub lease: Duration,
    /// How long cancelled tasks may clean up.
    pub cancel_grace: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_concurrent_executions: 10_000,
            silence: Duration::from_mins(1),
            silence_cap: Duration::from_mins(30),
            lease: Duration::from_mins(1),
            cancel_grace: Duration::from_secs(10),
        }
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
    pub payloads: &'a HashMap<PayloadId, Value>,
    /// Dispatches before this instant went with a queue that has lost everything.
    pub queue_lost_before: Option<Timestamp>,
    /// Whether tasks wait in the queues anyway, so that silence means nothing.
    pub queue_is_deep: bool,
}

/// One thing that may change an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    Start,
    Result(&'a TaskResult),
    Ask(&'a Ask),
    Timer(&'a TimerKey),
    Request(&'a RequestBody),
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
}

/// What a decision makes: a turn (when `events` is not empty) and what goes with it.
#[derive(Debug, Default)]
pub struct Decision {
    pub events: Vec<Event>,
    pub commands: Vec<Command>,
    pub change: Option<StatusChange>,
    pub timers: Vec<TimerChange>,
    pub take: Vec<SlotClaim>,
    pub release: bool,
    pub finished: Vec<FinishedTask>,
    pub late: Vec<LateResult>,
    /// When the sweep should look again.
    pub sweep_at: Option<Timestamp>,
}

/// The decision needs payloads that are not loaded; the state is spoilt and must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsPayloads(pub Vec<PayloadId>);

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
) -> Result<Decision, NeedsPayloads> {
    let mut turning =
        Turning { execution, cause, around, made: Decision::default(), changed: VecDeque::new(), ordered: 0 };
    for input in inputs {
        turning.take(input)?;
    }
    turning.advance()?;
    turning.fill_room()?;
    // What could not be prepared has failed, and its readers may be ready.
    turning.advance()?;
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
    payloads: &HashMap<PayloadId, Value>,
) -> Result<Vec<Command>, NeedsPayloads> {
    let mut commands = Vec::new();
    if execution.cancel.is_some() {
        return Ok(commands);
    }
    for (index, component) in execution.components.iter().enumerate() {
        if component.phase == Phase::Dispatched && component.cause == cause && component.fence.is_none() {
            match make_task(execution, payloads, index, component.attempt, component.dispatch) {
                Ok(task) => commands.push(Command::Dispatch(Box::new(task))),
                Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
                // It was rendered once; the same state renders the same.
                Err(EvaluationError::Failed(_)) => {}
            }
        }
    }
    Ok(commands)
}

/// The slots that an execution holds while it runs.
pub fn slots(
    execution: &Execution,
    payloads: &HashMap<PayloadId, Value>,
    rules: &Rules,
) -> Result<Vec<SlotClaim>, EvaluationError> {
    let mut claims =
        vec![SlotClaim { key: EXECUTIONS_KEY.to_owned(), limit: rules.max_concurrent_executions }];
    if let Some(concurrency) = &execution.workflow.concurrency {
        let key = concurrency.key.render(&StateScope::new(execution, payloads))?.value;
        let text = key.as_str().map_or_else(|| key.to_string(), ToOwned::to_owned);
        claims.push(SlotClaim {
            key: format!("workflow/{}/{text}", execution.accepted.workflow.as_uuid()),
            limit: concurrency.limit,
        });
    }
    Ok(claims)
}

/// The message that asks a worker for one attempt.
fn make_task(
    execution: &Execution,
    payloads: &HashMap<PayloadId, Value>,
    index: usize,
    attempt: u32,
    dispatch: u32,
) -> Result<Task, EvaluationError> {
    let component = &execution.workflow.components[index];
    let rendered = component.config.render(&StateScope::new(execution, payloads))?;
    Ok(Task {
        tenant: execution.accepted.tenant,
        execution: execution.id,
        component: component.id.clone(),
        iteration: Default::default(),
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
    })
}

/// What is known of an attempt that ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// It never began: whoever held it says so.
    No,
    Unknown,
}

/// A decision in the making: every event is applied as it is emitted.
struct Turning<'a> {
    execution: &'a mut Execution,
    cause: MessageId,
    around: &'a Surroundings<'a>,
    made: Decision,
    /// Components whose connections changed and that may be ready.
    changed: VecDeque<usize>,
    /// Tasks ordered so far.
    ordered: u32,
}

impl Turning<'_> {
    fn emit(&mut self, event: Event) {
        // Every event is about a component of this workflow: the keys are taken from it.
        let applied = self.execution.apply(&event, self.around.now, self.cause);
        debug_assert!(applied.is_ok(), "{applied:?}");
        self.made.events.push(event);
    }

    fn key(&self, index: usize) -> TaskKey {
        TaskKey::of(self.execution.workflow.components[index].id.clone())
    }

    fn phase(&self, index: usize) -> Phase {
        self.execution.components[index].phase
    }

    fn set_timer(&mut self, key: TimerKey, due_at: Timestamp) {
        self.made.timers.push(TimerChange::Set { key, due_at, token: None });
    }

    fn clear_timer(&mut self, key: TimerKey) {
        self.made.timers.push(TimerChange::Clear { key });
    }

    fn take(&mut self, input: &Input<'_>) -> Result<(), NeedsPayloads> {
        match input {
            Input::Result(result) => return self.result(result),
            Input::Ask(ask) => self.ask(ask),
            _ if self.execution.status.is_terminal() && !planted!(B21NoTerminalCheck) => {}
            Input::Start | Input::Wake => return self.start(),
            Input::Timer(key) => return self.timer(key),
            Input::Request(RequestBody::Cancel { by, reason }) => self.cancel(by, reason),
            Input::Request(_) => {}
            Input::Sweep => return self.sweep(),
        }
        Ok(())
    }

    // ---- beginning -------------------------------------------------------------------------

    /// Admits a pending execution; on a running one it does nothing ([`Self::fill_room`] does the rest).
    fn start(&mut self) -> Result<(), NeedsPayloads> {
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
        match slots(self.execution, self.around.payloads, self.around.rules) {
            Ok(claims) => self.made.take = claims,
            Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
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
        self.changed.extend(
            workflow
                .components
                .iter()
                .enumerate()
                .filter(|(_, component)| component.needs.is_empty())
                .map(|(index, _)| index),
        );
        Ok(())
    }

    // ---- what workers say ------------------------------------------------------------------

    fn result(&mut self, result: &TaskResult) -> Result<(), NeedsPayloads> {
        let key = result.key();
        let Ok(index) = self.execution.index_of(&key) else {
            self.late(result, "the workflow has no such component");
            return Ok(());
        };
        let component = &self.execution.components[index];
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
                self.attempt_failed(index, result, failure);
                return Ok(());
            }
            self.late(result, "the attempt is held by another worker");
            return Ok(());
        }
        if matches!(result.ending, Ending::Returned) && component.dispatch != result.dispatch {
            self.late(result, "the attempt has been sent again since");
            return Ok(());
        }
        match &result.ending {
            Ending::Completed { output, ports } => self.completed(index, result, output, ports),
            Ending::Failed(failure) => self.attempt_failed(index, result, failure.clone()),
            Ending::Lost { reason } => return self.lost(index, reason, Ran::Unknown),
            Ending::NotGranted => {
                return self.lost(index, "it was not granted in time and did not run", Ran::No);
            }
            Ending::Returned if self.execution.cancel.is_some() => {
                self.drop_task_timers(index);
                self.emit(Event::TaskCancelled { task: key, attempt: result.attempt });
            }
            Ending::Returned => {
                self.emit(Event::TaskReturned { task: key, attempt: result.attempt });
                self.made.timers.push(TimerChange::Clear { key: TimerKey::Lease(self.key(index)) });
                return self.dispatch(index);
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

    fn completed(&mut self, index: usize, result: &TaskResult, output: &Payload, ports: &[String]) {
        let component = &self.execution.workflow.components[index];
        let ports = ports.iter().filter(|port| component.ports.contains(port)).cloned().collect();
        self.finished(index, result.attempt, Status::Completed, None, Some(result));
        self.drop_task_timers(index);
        self.emit(Event::TaskCompleted {
            task: self.key(index),
            attempt: result.attempt,
            output: output.clone(),
            ports,
            worker: result.worker,
            started_at: result.started_at,
            finished_at: result.finished_at,
            log: result.log.clone(),
        });
        self.settled(index);
    }

    /// An attempt failed: another follows, or the component settles as failed.
    fn attempt_failed(&mut self, index: usize, result: &TaskResult, failure: Failure) {
        let task = self.key(index);
        self.finished(index, result.attempt, Status::Failed, Some(&failure), Some(result));
        if self.execution.cancel.is_some() {
            self.drop_task_timers(index);
            self.emit(Event::TaskCancelled { task, attempt: result.attempt });
            return;
        }
        let state = &self.execution.components[index];
        let component = &self.execution.workflow.components[index];
        let at_most_once_in_the_dark =
            component.delivery == Delivery::AtMostOnce && failure.class == FailureClass::OutcomeUnknown;
        let retried = !at_most_once_in_the_dark && component.retry.allows(&failure.class, state.spent());
        let retry_at = retried.then(|| {
            let seed = (self.execution.id.as_uuid().as_u128() as u64) ^ ((index as u64) << 32);
            let pause = component.retry.pause(state.spent(), seed);
            self.around.now.after(pause.max(failure.retry_after.unwrap_or_default()))
        });
        if state.fence.is_some() {
            self.clear_timer(TimerKey::Lease(task.clone()));
        }
        if let Some(retry_at) = retry_at {
            self.set_timer(TimerKey::Retry(task.clone()), retry_at);
        } else {
            self.drop_task_timers(index);
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
        if retry_at.is_none() {
            self.settled(index);
        }
    }

    /// A worker was lost with an attempt: it costs none of the policy's, and a further one follows.
    fn lost(&mut self, index: usize, reason: &str, ran: Ran) -> Result<(), NeedsPayloads> {
        let task = self.key(index);
        let state = &self.execution.components[index];
        let (attempt, dispatch) = (state.attempt, state.dispatch);
        let granted = state.fence.as_ref().is_some_and(|fence| fence.granted);
        let fenced = state.fence.is_some();
        if fenced {
            self.clear_timer(TimerKey::Lease(task.clone()));
        }
        if self.execution.cancel.is_some() {
            self.drop_task_timers(index);
            self.emit(Event::TaskCancelled { task, attempt });
            return Ok(());
        }
        let failure = if granted && ran == Ran::Unknown {
            Some(Failure::new(
                FailureClass::OutcomeUnknown,
                format!("{reason}; the attempt had been granted, and whether it took effect is unknown"),
            ))
        } else if ran == Ran::Unknown && self.execution.components[index].lost + 1 >= POISON_LOSSES {
            let failure = Failure::new(
                FailureClass::Internal,
                format!("poison: {POISON_LOSSES} workers were lost while they ran this task ({reason})"),
            );
            if let Ok(message) = make_task(self.execution, self.around.payloads, index, attempt, dispatch) {
                self.made.commands.push(Command::Poison(Box::new(message), failure.message.clone()));
            }
            Some(failure)
        } else {
            None
        };
        self.emit(Event::TaskLost { task: task.clone(), attempt, reason: reason.to_owned() });
        match failure {
            Some(failure) => {
                self.drop_task_timers(index);
                self.finished(index, attempt, Status::Failed, Some(&failure), None);
                self.emit(Event::TaskFailed {
                    task,
                    attempt,
                    failure,
                    retry_at: None,
                    worker: None,
                    started_at: None,
                    log: Vec::new(),
                });
                self.settled(index);
                Ok(())
            }
            None => self.dispatch(index),
        }
    }

    fn ask(&mut self, ask: &Ask) {
        let state =
            self.execution.index_of(&ask.key()).ok().map(|index| (index, &self.execution.components[index]));
        let mut granted = false;
        if let Some((index, state)) = state
            && !self.execution.status.is_terminal()
            && self.execution.cancel.is_none()
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
                    self.lease(index, token, until);
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
                        self.lease(index, token, until);
                        self.emit(Event::TaskLeased { task, attempt, worker, token, until });
                    }
                    true
                }
                (Some(_), AskKind::Lease) => false,
            };
        }
        self.made
            .commands
            .push(Command::Tell(Audience::Worker(ask.worker), Control::Answer { token: ask.token, granted }));
    }

    fn lease(&mut self, index: usize, token: shared::ids::Token, until: Timestamp) {
        let task = self.key(index);
        self.made.timers.push(TimerChange::Clear { key: TimerKey::Queue(task.clone()) });
        self.made.timers.push(TimerChange::Set {
            key: TimerKey::Lease(task),
            due_at: until,
            token: Some(token),
        });
    }

    // ---- time ------------------------------------------------------------------------------

    fn timer(&mut self, key: &TimerKey) -> Result<(), NeedsPayloads> {
        let index = match key {
            TimerKey::Scheduled => return self.start(),
            TimerKey::Timeout => {
                self.clear_timer(TimerKey::Timeout);
                if self.execution.status == Status::Running && self.execution.cancel.is_none() {
                    let failure =
                        Failure::new(FailureClass::Timeout, "the execution took longer than its time limit");
                    self.stop(failure);
                }
                return Ok(());
            }
            TimerKey::CancelGrace => {
                self.clear_timer(TimerKey::CancelGrace);
                self.end_running();
                return Ok(());
            }
            TimerKey::Person(_) | TimerKey::Within(_) | TimerKey::Pause(_) => return Ok(()),
            TimerKey::Retry(task)
            | TimerKey::Delay(task)
            | TimerKey::Lease(task)
            | TimerKey::Queue(task)
            | TimerKey::Total(task) => {
                let Ok(index) = self.execution.index_of(task) else { return Ok(()) };
                index
            }
        };
        let now = self.around.now;
        let phase = self.phase(index);
        match key {
            TimerKey::Retry(_) => {
                let due = matches!(phase, Phase::Retrying(at) if at <= now);
                let fires = due || planted!(B20RetryTimerFiresTwice);
                if fires || planted!(B21NoTerminalCheck) {
                    self.clear_timer(key.clone());
                    return self.dispatch(index);
                }
            }
            TimerKey::Delay(task) => {
                if let Phase::Delayed(until) = phase
                    && until <= now
                {
                    self.clear_timer(key.clone());
                    self.emit(Event::Decided {
                        task: task.clone(),
                        output: Payload::Inline(serde_json::json!({ "until": until.to_string() })),
                        ports: Vec::new(),
                        log: Vec::new(),
                    });
                    self.settled(index);
                }
            }
            TimerKey::Lease(_) => {
                if phase == Phase::Dispatched && self.execution.components[index].fence.is_some() {
                    return self.lost(index, "its lease ran out without a renewal", Ran::Unknown);
                }
            }
            TimerKey::Queue(_) => {
                let unclaimed = self.execution.components[index].fence.is_none();
                if unclaimed && matches!(phase, Phase::Ready | Phase::Offered | Phase::Dispatched) {
                    self.give_up(index, "no worker took it within its queue time-out");
                }
            }
            TimerKey::Total(_) => {
                if !phase.is_settled() && phase != Phase::Waiting {
                    self.give_up(index, "it took longer than its total time-out over all attempts");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends a task as timed out, whatever its worker does.
    fn give_up(&mut self, index: usize, why: &str) {
        let attempt = self.execution.components[index].attempt;
        let failure = Failure::new(FailureClass::Timeout, why);
        self.drop_task_timers(index);
        self.finished(index, attempt, Status::Failed, Some(&failure), None);
        self.emit(Event::TaskFailed {
            task: self.key(index),
            attempt,
            failure,
            retry_at: None,
            worker: None,
            started_at: None,
            log: Vec::new(),
        });
        self.settled(index);
    }

    /// Looks for what may have been lost and sends it again.
    fn sweep(&mut self) -> Result<(), NeedsPayloads> {
        if self.execution.status == Status::Pending {
            return self.start();
        }
        let now = self.around.now;
        let rules = self.around.rules;
        let mut next: Option<Timestamp> = None;
        for index in 0..self.execution.components.len() {
            let state = &self.execution.components[index];
            if state.phase != Phase::Dispatched {
                continue;
            }
            let leased = state.fence.as_ref().is_some_and(|fence| fence.leased_until.is_some());
            let queue_lost = self.around.queue_lost_before.is_some_and(|before| state.dispatched_at < before);
            if leased {
                if queue_lost {
                    // One process: the holder of the lease died with the queue.
                    self.lost(index, "the process that ran it ended", Ran::Unknown)?;
                }
                continue;
            }
            let granted = state.fence.is_some();
            // A granted attempt may rightly run to its time-out before it is missed.
            let patience = if granted {
                rules.silence + self.execution.workflow.components[index].timeout
            } else {
                rules.silence
            };
            let due = state.dispatched_at.after(
                patience
                    .saturating_mul(1 << (state.dispatch - 1).min(16))
                    .min(rules.silence_cap.max(patience)),
            );
            if queue_lost || (due <= now && !self.around.queue_is_deep) {
                if granted || self.execution.cancel.is_some() {
                    self.lost(index, "nothing was heard of it", Ran::Unknown)?;
                } else {
                    let (attempt, dispatch) = if planted!(B19SweepRaisesTheAttempt) {
                        (state.attempt + 1, 1)
                    } else {
                        (state.attempt, state.dispatch + 1)
                    };
                    self.send(index, attempt, dispatch)?;
                }
            } else {
                next = Some(next.map_or(due, |at| at.min(due)));
            }
        }
        // The floor keeps an execution that waits for a person from being looked at all the time.
        let latest = now.after(rules.silence_cap);
        let soonest = now.after(Duration::from_secs(5));
        self.made.sweep_at = Some(next.unwrap_or(latest).min(latest).max(soonest));
        Ok(())
    }

    // ---- ending ----------------------------------------------------------------------------

    fn cancel(&mut self, by: &str, reason: &str) {
        if self.execution.cancel.is_some() {
            return;
        }
        self.emit(Event::CancelRequested { by: by.to_owned(), reason: reason.to_owned() });
        self.skip_the_rest();
        if self.execution.dispatched > 0 {
            self.set_timer(TimerKey::CancelGrace, self.around.now.after(self.around.rules.cancel_grace));
            self.made
                .commands
                .push(Command::Tell(Audience::Everyone, Control::Cancel { execution: self.execution.id }));
        }
    }

    /// The scope fails now: what runs is cancelled, what waits is skipped (row S6).
    fn stop(&mut self, failure: Failure) {
        self.emit(Event::Stopping { failure });
        self.skip_the_rest();
        self.end_running();
    }

    fn skip_the_rest(&mut self) {
        for index in 0..self.execution.components.len() {
            let task = self.key(index);
            match self.phase(index) {
                Phase::Waiting => self.emit(Event::Skipped { task, reason: SkipReason::ScopeEnded }),
                Phase::Ready | Phase::Offered | Phase::Retrying(_) | Phase::Delayed(_) => {
                    let attempt = self.execution.components[index].attempt;
                    self.emit(Event::TaskCancelled { task, attempt });
                }
                _ => {}
            }
        }
        self.changed.clear();
    }

    fn end_running(&mut self) {
        if self.execution.dispatched == 0 {
            return;
        }
        for index in 0..self.execution.components.len() {
            if self.phase(index) == Phase::Dispatched {
                let attempt = self.execution.components[index].attempt;
                self.finished(index, attempt, Status::Cancelled, None, None);
                self.emit(Event::TaskCancelled { task: self.key(index), attempt });
            }
        }
        // What this turn ordered before it came to the end does not go out.
        self.made.commands.retain(|command| !matches!(command, Command::Dispatch(_)));
        self.made
            .commands
            .push(Command::Tell(Audience::Everyone, Control::Cancel { execution: self.execution.id }));
    }

    fn finish(&mut self, status: Status, output: Option<Payload>, failure: Option<Failure>) {
        self.emit(Event::Finished { status, output: output.clone(), failure: failure.clone() });
        self.made.change = Some(StatusChange { status, failure, output });
        self.made.timers.clear();
        self.made.sweep_at = None;
        self.made.release = true;
    }

    // ---- going on --------------------------------------------------------------------------

    /// A component settled: its readers may be ready.
    fn settled(&mut self, index: usize) {
        let workflow = Arc::clone(&self.execution.workflow);
        self.changed.extend(workflow.components[index].outgoing.iter().map(|(reader, _)| *reader));
    }

    /// Decides everything that can be decided now, and the end when there is nothing left.
    fn advance(&mut self) -> Result<(), NeedsPayloads> {
        if self.execution.status != Status::Running && self.execution.cancel.is_none() {
            return Ok(());
        }
        loop {
            // Asked before each component, so that nothing begins that the scope's end would cancel again.
            let mut next = 0;
            if self.execution.workflow.on_unhandled_failure == OnUnhandledFailure::Stop
                && !self.execution.failed.is_empty()
                && self.execution.stopping.is_none()
                && self.execution.cancel.is_none()
            {
                if let Some(failed) = self.first_unhandled() {
                    let failure = self.failure_of(failed);
                    self.stop(failure);
                }
                // The others say first whether the failure is handled: no `all_done` runs when it is not.
                let components = &self.execution.workflow.components;
                let is_early = |index: &usize| components[*index].join != Join::AllDone;
                next = self.changed.iter().position(is_early).unwrap_or(0);
            }
            let Some(index) = self.changed.remove(next) else { break };
            if self.phase(index) == Phase::Waiting {
                self.consider(index)?;
            }
        }
        if self.execution.settled as usize == self.execution.components.len()
            && !self.execution.status.is_terminal()
        {
            self.end()?;
        }
        Ok(())
    }

    fn first_unhandled(&self) -> Option<usize> {
        self.execution.failed.iter().copied().find(|index| self.execution.is_unhandled(*index))
    }

    fn failure_of(&self, index: usize) -> Failure {
        let id = &self.execution.workflow.components[index].id;
        let failure = self.execution.components[index].failure.as_deref();
        let class = failure.map_or(FailureClass::Internal, |failure| failure.class.clone());
        let message = failure.map_or("", |failure| failure.message.as_str());
        let all: Vec<&str> = self
            .execution
            .failed
            .iter()
            .filter(|index| self.execution.is_unhandled(**index))
            .map(|index| self.execution.workflow.components[*index].id.as_str())
            .collect();
        Failure::new(class, format!("{id}: {message}"))
            .with_details(serde_json::json!({ "component": id.as_str(), "unhandled": all }))
    }

    /// Everything has settled: the execution ends.
    fn end(&mut self) -> Result<(), NeedsPayloads> {
        if let Some(cancel) = self.execution.cancel.clone() {
            let message = if cancel.reason.is_empty() {
                format!("cancelled by {}", cancel.by)
            } else {
                format!("cancelled by {}: {}", cancel.by, cancel.reason)
            };
            self.finish(Status::Cancelled, None, Some(Failure::new(FailureClass::Cancelled, message)));
            return Ok(());
        }
        let failure = self
            .execution
            .stopping
            .clone()
            .filter(|failure| failure.class != FailureClass::Cancelled)
            .or_else(|| self.first_unhandled().map(|index| self.failure_of(index)));
        if let Some(failure) = failure {
            self.finish(Status::Failed, None, Some(failure));
            return Ok(());
        }
        match control::output(self.execution, self.around.payloads) {
            Ok(output) => self.finish(Status::Completed, output, None),
            Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
            Err(EvaluationError::Failed(failure)) => self.finish(Status::Failed, None, Some(failure)),
        }
        Ok(())
    }

    /// Asks a waiting component's join, then its `when`, then decides or orders it.
    fn consider(&mut self, index: usize) -> Result<(), NeedsPayloads> {
        match self.execution.join(index) {
            Joined::Waits if planted!(B18JoinCountedFromMessages) => {}
            Joined::Waits => return Ok(()),
            Joined::Skipped => {
                self.emit(Event::Skipped { task: self.key(index), reason: SkipReason::DeadConnection });
                self.settled(index);
                return Ok(());
            }
            Joined::Ready => {}
        }
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[index];
        if let Some(when) = &component.when {
            let verdict = match when.evaluate(&StateScope::new(self.execution, self.around.payloads)) {
                Ok(Value::Bool(verdict)) => Ok(verdict),
                Ok(other) => Err(Failure::new(
                    FailureClass::InvalidExpression,
                    format!("`when` gives {}, not true or false", kind_of(&other)),
                )),
                Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
                Err(EvaluationError::Failed(failure)) => Err(failure),
            };
            match verdict {
                Ok(true) => {}
                Ok(false) => {
                    self.emit(Event::Skipped { task: self.key(index), reason: SkipReason::WhenFalse });
                    self.settled(index);
                    return Ok(());
                }
                Err(failure) => {
                    self.decision_failed(index, failure);
                    return Ok(());
                }
            }
        }
        match component.runs {
            Runs::Coordinator => self.control(index),
            Runs::Worker => {
                self.start_clocks(index);
                self.dispatch(index)
            }
            Runs::External => self.offer(index),
        }
    }

    /// From here on a task may wait in a queue, and has so long in all.
    fn start_clocks(&mut self, index: usize) {
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[index];
        if let Some(total) = component.total_timeout {
            self.set_timer(TimerKey::Total(self.key(index)), self.around.now.after(total));
        }
        if let Some(queue) = component.queue_timeout {
            self.set_timer(TimerKey::Queue(self.key(index)), self.around.now.after(queue));
        }
    }

    /// Offers a task to workers outside this platform. Its config is resolved now, so that a mistake in it
    /// is not found only when somebody asks.
    fn offer(&mut self, index: usize) -> Result<(), NeedsPayloads> {
        match make_task(self.execution, self.around.payloads, index, 1, 1) {
            Ok(_) => {
                self.start_clocks(index);
                self.emit(Event::TaskOffered { task: self.key(index) });
            }
            Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
            Err(EvaluationError::Failed(failure)) => self.decision_failed(index, failure),
        }
        Ok(())
    }

    fn decision_failed(&mut self, index: usize, failure: Failure) {
        self.emit(Event::DecisionFailed { task: self.key(index), failure });
        self.settled(index);
    }

    /// Orders the next attempt of a task, or marks it ready when the dispatch window is full.
    fn dispatch(&mut self, index: usize) -> Result<(), NeedsPayloads> {
        if self.ordered >= self.around.room {
            if self.phase(index) != Phase::Ready {
                self.emit(Event::TaskReady { task: self.key(index) });
            }
            return Ok(());
        }
        let (attempt, dispatch) = next_dispatch(self.execution, index);
        self.send(index, attempt, dispatch)
    }

    fn send(&mut self, index: usize, attempt: u32, dispatch: u32) -> Result<(), NeedsPayloads> {
        match make_task(self.execution, self.around.payloads, index, attempt, dispatch) {
            Ok(task) => {
                self.emit(Event::TaskDispatched { task: self.key(index), attempt, dispatch });
                self.made.commands.push(Command::Dispatch(Box::new(task)));
                self.ordered += 1;
            }
            Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
            Err(EvaluationError::Failed(failure)) => {
                self.drop_task_timers(index);
                self.decision_failed(index, failure);
            }
        }
        Ok(())
    }

    /// Orders tasks that were held back, as far as the dispatch window has room.
    fn fill_room(&mut self) -> Result<(), NeedsPayloads> {
        if self.execution.status != Status::Running || self.execution.cancel.is_some() {
            return Ok(());
        }
        if self.execution.ready == 0 || self.ordered >= self.around.room {
            return Ok(());
        }
        for index in 0..self.execution.components.len() {
            if self.phase(index) == Phase::Ready {
                if self.ordered >= self.around.room {
                    break;
                }
                self.dispatch(index)?;
            }
        }
        Ok(())
    }

    fn drop_task_timers(&mut self, index: usize) {
        let workflow = Arc::clone(&self.execution.workflow);
        let component = &workflow.components[index];
        if self.execution.components[index].fence.is_some() {
            self.clear_timer(TimerKey::Lease(self.key(index)));
        }
        if matches!(self.phase(index), Phase::Retrying(_)) {
            self.clear_timer(TimerKey::Retry(self.key(index)));
        }
        if component.total_timeout.is_some() {
            self.clear_timer(TimerKey::Total(self.key(index)));
        }
        if component.queue_timeout.is_some() {
            self.clear_timer(TimerKey::Queue(self.key(index)));
        }
    }

    fn finished(
        &mut self,
        index: usize,
        attempt: u32,
        status: Status,
        failure: Option<&Failure>,
        result: Option<&TaskResult>,
    ) {
        let state = &self.execution.components[index];
        self.made.finished.push(FinishedTask {
            task: self.key(index),
            attempt,
            kind: Arc::clone(&self.execution.workflow.components[index].kind),
            status,
            failure_class: failure.map(|failure| failure.class.to_string()),
            worker: result.map(|result| result.worker),
            started_at: result.map_or(state.dispatched_at, |result| result.started_at),
            finished_at: result.map_or(self.around.now, |result| result.finished_at),
        });
    }
}

/// The numbers of the next message for a task: a returned attempt goes on, anything else is a new one.
fn next_dispatch(execution: &Execution, index: usize) -> (u32, u32) {
    let state = &execution.components[index];
    if state.returned { (state.attempt, state.dispatch + 1) } else { (state.attempt + 1, 1) }
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
