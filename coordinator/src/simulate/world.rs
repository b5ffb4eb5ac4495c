//! The world around one simulated execution: what is due next, and what the engine is told of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Answer, Event, Execution, Parent, Payload, PersonAsk, Place, Received, Status, TaskKey,
        TimerKey, Turn,
    },
    ids::{ExecutionId, MessageId, TenantId, WorkerId, WorkflowId},
    port::{
        rates::{Permit, RateRows},
        store::{TimerChange, parts_of},
    },
    time::Timestamp,
    wire::{ChildEnding, Control, Ending, RequestBody, Task, TaskResult},
};
use uuid::Uuid;

use super::{MOST_DAYS, MOST_STEPS, Mocks, Reply, Says, Seen, Simulated, Simulation, Stuck};
use crate::engine::{
    ChildOrder, Command, Decision, Full, Input, Limits, Loaded, Needs, Rules, Surroundings, decide,
};

/// Something that will reach the engine.
#[derive(Debug)]
enum Coming {
    Start,
    Wake,
    Result(Box<TaskResult>),
    Answer { task: TaskKey, answer: Answer },
    Event { task: TaskKey, event: Received },
    Permit { task: TaskKey, permit: Permit },
    Child { task: TaskKey, child: ExecutionId, ending: ChildEnding },
}

/// One simulated execution and everything around it.
pub(super) struct World<'a> {
    setup: Simulation<'a>,
    first: Turn,
    rules: Rules,
    now: Timestamp,
    /// By instant, then in the order in which they were caused.
    coming: BTreeMap<(Timestamp, u32), Coming>,
    timers: BTreeMap<TimerKey, Timestamp>,
    rates: RateRows,
    payloads: Loaded,
    caused: u32,
    messages: u128,
    tasks: BTreeMap<TaskKey, Seen>,
    order: Vec<TaskKey>,
    stuck: Vec<Stuck>,
    /// How often a component was asked something that is no attempt.
    asked: BTreeMap<TaskKey, usize>,
}

impl<'a> World<'a> {
    pub(super) fn new(setup: Simulation<'a>, parent: Option<Parent>) -> Self {
        let accepted = Accepted {
            parent,
            tenant: TenantId::DEFAULT,
            workflow: WorkflowId::from_uuid(Uuid::from_u128(1)),
            version: setup.version,
            hash: setup.workflow.hash.clone(),
            parameters: setup.parameters.clone(),
            priority: Default::default(),
            mode: setup.mode,
            scheduled_at: None,
            tags: Vec::new(),
            principal: "test".to_owned(),
            trigger: None,
            retry_of: None,
            trial: None,
        };
        let first = Turn {
            execution: setup.id,
            seq: 1,
            cause: MessageId::from_uuid(Uuid::from_u128(1)),
            at: setup.at,
            events: vec![Event::Accepted(Box::new(accepted))],
        };
        // Nothing is laid aside that need not be: there is no store it would burden.
        let limits = Limits {
            inline: usize::MAX,
            kept_rounds: u32::MAX,
            heavy_rounds: usize::MAX,
            ..Limits::default()
        };
        Self {
            now: setup.at,
            setup,
            first,
            // Every task is answered by itself here, and nobody gave anything before.
            rules: Rules { limits, fusion: false, cache: false, ..Rules::default() },
            coming: BTreeMap::new(),
            timers: BTreeMap::new(),
            rates: RateRows::default(),
            payloads: HashMap::new(),
            caused: 0,
            messages: 1,
            tasks: BTreeMap::new(),
            order: Vec::new(),
            stuck: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Simulated {
        let workflow = Arc::clone(&self.setup.workflow);
        let Ok(mut execution) = Execution::replay(workflow, std::slice::from_ref(&self.first)) else {
            // The first turn is made above and begins as a journal must.
            return self.ended(None);
        };
        self.comes(Duration::ZERO, Coming::Start);
        let end_of_time = self.setup.at.after(Duration::from_hours(24 * MOST_DAYS));
        for _ in 0..MOST_STEPS {
            if execution.status.is_terminal() || !self.stuck.is_empty() {
                return self.ended(Some(&execution));
            }
            let timer = self.timers.iter().map(|(key, due)| (*due, key.clone())).min();
            let message = self.coming.first_key_value().map(|((at, _), _)| *at);
            let next = match (message, &timer) {
                (Some(at), Some((due, _))) => at.min(*due),
                (Some(at), None) => at,
                (None, Some((due, _))) => *due,
                (None, None) => {
                    self.waits(&execution);
                    return self.ended(Some(&execution));
                }
            };
            if next > end_of_time {
                self.stuck.push(Stuck::Years);
                return self.ended(Some(&execution));
            }
            self.now = self.now.max(next);
            // What came at the very instant is heard before the clock strikes.
            if message.is_some_and(|at| at <= next) {
                if let Some((_, coming)) = self.coming.pop_first() {
                    self.hears(&mut execution, &coming);
                }
            } else if let Some((_, key)) = timer {
                self.timers.remove(&key);
                self.turn(&mut execution, &Input::Timer(&key));
            }
        }
        self.stuck.push(Stuck::Steps);
        self.ended(Some(&execution))
    }

    fn comes(&mut self, after: Duration, what: Coming) {
        self.caused += 1;
        self.coming.insert((self.now.after(after), self.caused), what);
    }

    fn hears(&mut self, execution: &mut Execution, coming: &Coming) {
        match coming {
            Coming::Start => self.turn(execution, &Input::Start),
            Coming::Wake => self.turn(execution, &Input::Wake),
            Coming::Result(result) => self.turn(execution, &Input::Result(result)),
            Coming::Answer { task, answer } => {
                let body = RequestBody::Answer { task: task.clone(), answer: answer.clone() };
                self.turn(execution, &Input::Request(&body));
            }
            Coming::Event { task, event } => self.turn(execution, &Input::Event { task, event }),
            Coming::Permit { task, permit } => self.turn(execution, &Input::Permit { task, permit }),
            Coming::Child { task, child, ending } => {
                self.turn(execution, &Input::Child { task, child: *child, ending });
            }
        }
    }

    /// One decision, and what follows from it.
    fn turn(&mut self, execution: &mut Execution, input: &Input<'_>) {
        self.messages += 1;
        let cause = MessageId::from_uuid(Uuid::from_u128(self.messages));
        let around = Surroundings {
            rules: &self.rules,
            now: self.now,
            room: u32::MAX,
            payloads: &self.payloads,
            queue_lost_before: None,
            queue_is_deep: false,
            full: &Full::new(),
            cached: None,
        };
        let decision = match decide(execution, std::slice::from_ref(input), cause, &around) {
            Ok(decision) => decision,
            // Everything that was laid aside is loaded; what else there is, no simulation has.
            Err(Needs::Payloads(_) | Needs::Rows(_) | Needs::Cached(_)) => {
                self.stuck.push(Stuck::Stored);
                return;
            }
        };
        self.keep(&decision);
        for event in &decision.events {
            self.note(execution, event);
        }
        for change in &decision.timers {
            match change {
                TimerChange::Set { key, due_at, .. } => self.timers.insert(key.clone(), *due_at),
                TimerChange::Clear { key } => self.timers.remove(key),
            };
        }
        for command in &decision.commands {
            match command {
                Command::Dispatch(task) => self.call(execution, task),
                Command::Tell(_, Control::Cancel { tasks, .. }) => self.stop(tasks),
                Command::StartChild(order) => self.start_child(execution, order),
                Command::GoOn => self.comes(Duration::ZERO, Coming::Wake),
                // Nobody else asks for permits.
                Command::AskPermit(ask) => {
                    let permit = self.rates.permit(TenantId::DEFAULT, (**ask).clone(), self.now);
                    self.comes(Duration::ZERO, Coming::Permit { task: ask.task.clone(), permit });
                }
                Command::CloseChild { child, .. } => {
                    let closed = |coming: &Coming| matches!(coming, Coming::Child { child: it, .. } if it == child);
                    self.coming.retain(|_, coming| !closed(coming));
                }
                Command::Tell(..)
                | Command::Poison(..)
                | Command::TellParent { .. }
                | Command::AskParent { .. }
                // Nobody else is there to make room: every place is free.
                | Command::Displace { .. }
                // What is waited for is told by mocks.
                | Command::FindEvents { .. } => {}
            }
        }
        for event in &decision.events {
            match event {
                Event::Asked { task, ask } => self.ask(execution, task, ask),
                Event::Awaiting { task, event, key, .. } => self.await_event(task, event, key),
                Event::TaskOffered { task, .. } => self.stuck.push(Stuck::Outside { task: task.to_string() }),
                _ => {}
            }
        }
    }

    /// Keeps what the engine laid aside.
    fn keep(&mut self, decision: &Decision) {
        for (id, bytes) in &decision.payloads {
            let value = match parts_of(bytes) {
                Some(parts) => {
                    let lists = parts.iter().filter_map(|part| self.payloads.get(part)?.as_array());
                    Value::Array(lists.flatten().cloned().collect())
                }
                // It was written from a value a moment ago.
                None => serde_json::from_slice(bytes).unwrap_or_default(),
            };
            self.payloads.insert(*id, Arc::new(value));
        }
    }

    fn value(&self, payload: &Payload) -> Option<Value> {
        match payload {
            Payload::Inline(value) => Some(value.clone()),
            Payload::Stored(stored) => self.payloads.get(&stored.id).map(|value| (**value).clone()),
        }
    }

    // ---- what is seen ------------------------------------------------------------------------

    fn settles(&mut self, task: &TaskKey, status: &'static str, attempts: Option<u32>) -> &mut Seen {
        self.order.push(task.clone());
        let seen = self.tasks.entry(task.clone()).or_default();
        seen.status = status;
        if let Some(attempts) = attempts {
            seen.attempts = attempts;
        }
        seen
    }

    fn note(&mut self, execution: &Execution, event: &Event) {
        match event {
            Event::TaskCompleted { task, attempt, output, ports, .. } => {
                let output = self.value(output);
                let seen = self.settles(task, "completed", Some(*attempt));
                seen.output = output;
                seen.ports.clone_from(ports);
            }
            Event::Decided { task, output, ports, .. } => {
                let output = self.value(output);
                let seen = self.settles(task, "completed", None);
                seen.output = output;
                seen.ports.clone_from(ports);
            }
            Event::TaskFailed { task, attempt, failure, retry_at: None, .. } => {
                self.settles(task, "failed", Some(*attempt)).failure = Some(failure.clone());
            }
            Event::DecisionFailed { task, failure } => {
                self.settles(task, "failed", None).failure = Some(failure.clone());
            }
            Event::Skipped { task, .. } => {
                self.settles(task, "skipped", None);
            }
            Event::TaskCancelled { task, attempt } => {
                self.settles(task, "cancelled", Some(*attempt));
            }
            Event::TaskDispatched { task, attempt, .. } => {
                let seen = self.tasks.entry(task.clone()).or_default();
                seen.status = "running";
                seen.attempts = *attempt;
            }
            Event::Finished { .. } => self.note_places(execution),
            _ => {}
        }
    }

    /// What has said nothing of itself: it stands where the state says.
    fn note_places(&mut self, execution: &Execution) {
        for scope in execution.open_scopes() {
            let places: Vec<Place> = execution.places(scope).collect();
            for place in places {
                let status = execution.at(place).phase.as_str();
                self.tasks.entry(execution.key(place)).or_default().status = status;
            }
        }
    }

    fn called(&mut self, task: &TaskKey, input: Value) {
        self.tasks.entry(task.clone()).or_default().calls.push(input);
    }

    fn waits(&mut self, execution: &Execution) {
        for scope in execution.open_scopes() {
            for place in execution.places(scope) {
                let phase = execution.at(place).phase;
                let is_waiting = phase.is_settled() || matches!(phase, shared::execution::Phase::Waiting);
                if !is_waiting && !execution.component(place).is_container() {
                    let task = execution.key(place).to_string();
                    self.stuck.push(Stuck::Waits { task, state: phase.as_str() });
                }
            }
        }
        if self.stuck.is_empty() {
            self.stuck.push(Stuck::Waits { task: execution.workflow.name.clone(), state: "running" });
        }
    }

    fn ended(mut self, execution: Option<&Execution>) -> Simulated {
        if let Some(execution) = execution.filter(|execution| !execution.status.is_terminal()) {
            self.note_places(execution);
        }
        Simulated {
            status: execution.map_or(Status::Pending, |execution| execution.status),
            output: execution.and_then(|execution| self.value(execution.output.as_ref()?)),
            failure: execution.and_then(|execution| execution.failure.clone()),
            stuck: self.stuck,
            tasks: self.tasks,
            order: self.order,
            elapsed: self.now.since(self.setup.at),
        }
    }

    // ---- what answers ------------------------------------------------------------------------

    fn no_mock(&mut self, task: &TaskKey, kind: &str, attempt: u32, input: Value) {
        let (task, kind) = (task.to_string(), kind.to_owned());
        self.stuck.push(Stuck::NoMock { task, kind, attempt, input });
    }

    /// A worker would be sent this task.
    fn call(&mut self, execution: &Execution, task: &Task) {
        let key = task.key();
        self.called(&key, task.config.clone());
        let is_result = |says: &Says| matches!(says, Says::Completed { .. } | Says::Failed(_) | Says::Lost);
        let mocks = self.setup.mocks;
        let reply = mocks.of(&key).and_then(|mock| mock.nth(task.attempt as usize - 1, is_result)).cloned();
        let reply = match reply {
            Some(reply) => reply,
            None => {
                let component = execution
                    .workflow
                    .index_of(task.component.as_str())
                    .map(|at| &execution.workflow.components[at]);
                let ran = match (self.setup.run_pure, component) {
                    // A mock that has run out is not made up for.
                    (Some(run), Some(component)) if mocks.of(&key).is_none() => run(component, task),
                    _ => None,
                };
                match ran {
                    Some(Ok(done)) => Reply {
                        says: Says::Completed { output: done.output, ports: done.ports },
                        after: Duration::ZERO,
                    },
                    Some(Err(failure)) => Reply { says: Says::Failed(failure), after: Duration::ZERO },
                    None => return self.no_mock(&key, &task.kind, task.attempt, task.config.clone()),
                }
            }
        };
        let mut after = reply.after;
        let ending = match reply.says {
            // What is said to fail fails as it is said.
            Says::Completed { .. } if after > task.timeout => {
                after = task.timeout;
                let message = format!("took longer than {}", shared::time::format_duration(task.timeout));
                Ending::Failed(Failure::new(FailureClass::Timeout, message))
            }
            Says::Completed { output, ports } => Ending::Completed { output: Payload::Inline(output), ports },
            Says::Failed(failure) => Ending::Failed(failure),
            _ => Ending::Lost { reason: "the mock says so".to_owned() },
        };
        // It has a worker from the beginning.
        self.timers.remove(&TimerKey::Queue(key));
        let result = TaskResult {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            attempt: task.attempt,
            dispatch: task.dispatch,
            worker: WorkerId::from_uuid(Uuid::from_u128(1)),
            token: None,
            started_at: self.now,
            finished_at: self.now.after(after),
            ending,
            log: Vec::new(),
            follows: None,
        };
        self.comes(after, Coming::Result(Box::new(result)));
    }

    /// Workers are told to stop: they do, at once.
    fn stop(&mut self, tasks: &[TaskKey]) {
        let stopped: Vec<(Timestamp, u32)> = self
            .coming
            .iter()
            .filter(|(_, coming)| matches!(coming, Coming::Result(result) if tasks.contains(&result.key())))
            .map(|(at, _)| *at)
            .collect();
        for at in stopped {
            if let Some(Coming::Result(mut result)) = self.coming.remove(&at) {
                let failure = Failure::new(FailureClass::Cancelled, "the execution was cancelled");
                result.ending = Ending::Failed(failure);
                result.finished_at = self.now;
                self.comes(Duration::ZERO, Coming::Result(result));
            }
        }
    }

    fn ask(&mut self, execution: &Execution, task: &TaskKey, ask: &PersonAsk) {
        let form = ask.form.clone();
        let input =
            json!({ "title": ask.title, "message": ask.message, "assignees": ask.assignees, "form": form });
        self.called(task, input.clone());
        let mut free = ask.assignees.clone();
        let mut is_known = false;
        let replies: Vec<Reply> =
            self.setup.mocks.of(task).map(|mock| mock.all().to_vec()).unwrap_or_default();
        let mut answers: Vec<(Duration, Answer)> = Vec::new();
        for reply in replies {
            match reply.says {
                Says::Expires => is_known = true,
                Says::Answered { verdict, data, comment, by, for_assignee } => {
                    is_known = true;
                    let wanted = for_assignee.unwrap_or_else(|| by.clone());
                    let at = free.iter().position(|name| *name == wanted).unwrap_or(0);
                    let for_assignee = if free.is_empty() { wanted } else { free.remove(at) };
                    let at = self.now.after(reply.after);
                    answers.push((reply.after, Answer { by, for_assignee, verdict, data, comment, at }));
                }
                _ => {}
            }
        }
        for (after, answer) in answers {
            self.comes(after, Coming::Answer { task: task.clone(), answer });
        }
        if !is_known {
            let kind = execution
                .workflow
                .index_of(task.component.as_str())
                .map_or("approval", |at| &execution.workflow.components[at].kind)
                .to_owned();
            self.no_mock(task, &kind, 1, input);
        }
    }

    fn await_event(&mut self, task: &TaskKey, event: &str, key: &str) {
        let input = json!({ "event": event, "key": key });
        self.called(task, input.clone());
        let replies: Vec<Reply> =
            self.setup.mocks.of(task).map(|mock| mock.all().to_vec()).unwrap_or_default();
        let mut is_known = false;
        for (number, reply) in replies.into_iter().enumerate() {
            match reply.says {
                Says::Expires => is_known = true,
                Says::Event(body) => {
                    is_known = true;
                    let event = Received {
                        id: format!("{task}/{number}"),
                        kind: event.to_owned(),
                        source: "test".to_owned(),
                        time: self.now.after(reply.after),
                        key: Some(key.to_owned()),
                        body,
                    };
                    self.comes(reply.after, Coming::Event { task: task.clone(), event });
                }
                _ => {}
            }
        }
        if !is_known {
            self.no_mock(task, "wait_for_event", 1, input);
        }
    }

    fn start_child(&mut self, execution: &Execution, order: &ChildOrder) {
        let task = &order.task;
        let child = order.child.id;
        let input = Value::Object(order.child.parameters.clone());
        self.called(task, input.clone());
        let asked = self.asked.entry(task.clone()).or_default();
        let number = *asked;
        *asked += 1;
        let fits =
            |says: &Says| matches!(says, Says::Completed { .. } | Says::Failed(_) | Says::Simulated(_));
        let mocks = self.setup.mocks;
        let reply = mocks.of(task).and_then(|mock| mock.nth(number, fits)).cloned();
        if !order.child.waits {
            return self.comes(
                Duration::ZERO,
                Coming::Child { task: task.clone(), child, ending: ChildEnding::Accepted },
            );
        }
        let found = self.setup.find.and_then(|find| find(&order.child.workflow));
        let (after, ending) = match (reply.map(|reply| (reply.says, reply.after)), found) {
            (Some((Says::Completed { output, .. }, after)), _) => {
                (after, ChildEnding::Completed { output: Payload::Inline(output) })
            }
            (Some((Says::Failed(failure), after)), _) => (after, ChildEnding::Failed { failure }),
            (given, Some(workflow)) => {
                let mocks = match given {
                    Some((Says::Simulated(mocks), _)) => mocks,
                    _ => Mocks::default(),
                };
                let parameters = match workflow.check_parameters(&order.child.parameters) {
                    Ok(parameters) => parameters,
                    Err(problems) => {
                        let all: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
                        let failure = Failure::new(FailureClass::InvalidInput, all.join("; "));
                        let ending = ChildEnding::Refused { failure };
                        return self
                            .comes(Duration::ZERO, Coming::Child { task: task.clone(), child, ending });
                    }
                };
                let parent = Parent {
                    execution: execution.id,
                    task: task.clone(),
                    ordered_in: order.child.ordered_in,
                    depth: order.depth,
                    waits: order.child.waits,
                    on_parent_close: order.child.on_parent_close,
                };
                let inner = Simulation {
                    workflow,
                    parameters,
                    mocks: &mocks,
                    run_pure: self.setup.run_pure,
                    find: self.setup.find,
                    id: child,
                    at: self.now,
                    version: order.child.version.unwrap_or(1),
                    mode: order.mode,
                };
                let ended = World::new(inner, Some(parent)).run();
                if !ended.stuck.is_empty() {
                    let inside = |name: String| format!("{task}/{name}");
                    self.stuck.extend(ended.stuck.into_iter().map(|stuck| match stuck {
                        Stuck::NoMock { task, kind, attempt, input } => {
                            Stuck::NoMock { task: inside(task), kind, attempt, input }
                        }
                        Stuck::Waits { task, state } => Stuck::Waits { task: inside(task), state },
                        Stuck::Outside { task } => Stuck::Outside { task: inside(task) },
                        other => other,
                    }));
                    return;
                }
                let ending = match (ended.status, ended.failure) {
                    (Status::Completed, _) => {
                        ChildEnding::Completed { output: Payload::Inline(ended.output.unwrap_or_default()) }
                    }
                    (Status::Failed, Some(failure)) => ChildEnding::Failed { failure },
                    (_, failure) => ChildEnding::Cancelled { failure },
                };
                (ended.elapsed, ending)
            }
            (_, None) => return self.no_mock(task, "sub_workflow", 1, input),
        };
        self.comes(after, Coming::Child { task: task.clone(), child, ending });
    }
}
