//! The rules, a test each. Here is the driver; the rows of the reference are in the modules.

mod caching;
mod cancel;
mod containers;
mod decided;
mod desk;
mod fusion;
mod limits;
mod moving;
mod pausing;
mod people;
mod properties;
mod rates;
mod retrying;
mod rows;
mod saga;
mod tasks;
mod time;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    component::{
        Catalogue, Descriptor, Effect, Failure, FailureClass, Family, Field, OwnPorts, Runs, control,
    },
    execution::{
        Accepted, Answer, AnswerVerdict, Event, Execution, Payload, Status, TaskKey, TimerKey, Turn,
    },
    ids::{ExecutionId, MessageId, PayloadId, TenantId, Token, WorkerId, WorkflowId},
    port::store::TimerChange,
    time::Timestamp,
    wire::{Ask, AskKind, Control, Ending, RequestBody, Task, TaskResult},
    workflow::{self, Problems, Workflow},
};

use super::{Command, Decision, Full, Input, Needs, Rules, Surroundings, commands_again, decide};

/// The schema of a config.
macro_rules! schema_of {
    ($type:ty) => {
        || schemars::schema_for!($type).to_value()
    };
}

/// What the engine decides, and four tasks: `work`; `pure`, which has no effects; `pick`, which fires one of the ports its config
/// names; and `fork`, which may fire several.
fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let anything = || json!({ "type": "object", "additionalProperties": true });
        let decided = |kind, schema| Descriptor { runs: Runs::Coordinator, ..descriptor(kind, schema) };
        Catalogue::new(&[
            decided("start", schema_of!(control::Start)),
            decided("end", schema_of!(control::End)),
            decided("noop", schema_of!(control::Noop)),
            decided("join", schema_of!(control::Join)),
            decided("delay", schema_of!(control::Delay)),
            decided("fail", schema_of!(control::Fail)),
            Descriptor {
                ports: |_| OwnPorts::one_of(&["admitted", "refused"]),
                ..decided("rate_limit", schema_of!(control::RateLimit))
            },
            decided("log", schema_of!(control::Log)),
            decided("set_variables", schema_of!(control::SetVariables)),
            Descriptor { ports: branch_ports, ..decided("parallel", schema_of!(control::Parallel)) },
            Descriptor {
                ports: |_| OwnPorts::one_of(&["true", "false"]),
                field: |_, _| Field::Expression,
                ..decided("decision", schema_of!(control::Decision))
            },
            Descriptor {
                ports: switch_ports,
                field: switch_field,
                ..decided("switch", schema_of!(control::Switch))
            },
            decided("group", schema_of!(control::Group)),
            decided("loop", schema_of!(control::Loop)),
            decided("for_loop", schema_of!(control::ForLoop)),
            decided("race", schema_of!(control::Race)),
            decided("sub_workflow", schema_of!(control::SubWorkflow)),
            Descriptor {
                field: |_, path| if path == ["condition"] { Field::Deferred } else { Field::Template },
                ..decided("while_loop", schema_of!(control::WhileLoop))
            },
            Descriptor {
                ports: |_| OwnPorts { names: vec!["caught".to_owned()], exclusive: false },
                ..decided("try_catch", schema_of!(control::TryCatch))
            },
            Descriptor {
                ports: |_| OwnPorts::one_of(&["approved", "rejected", "expired"]),
                ..decided("approval", schema_of!(control::Approval))
            },
            Descriptor {
                ports: |_| OwnPorts::one_of(&["submitted", "expired"]),
                ..decided("human_task", schema_of!(control::HumanTask))
            },
            Descriptor {
                ports: |_| OwnPorts { names: vec!["received".to_owned()], exclusive: false },
                field: |_, path| if path == ["filter"] { Field::Deferred } else { Field::Template },
                ..decided("wait_for_event", schema_of!(control::WaitForEvent))
            },
            Descriptor { ports: picked_ports, ..descriptor("pick", anything) },
            Descriptor { ports: fork_ports, ..descriptor("fork", anything) },
            descriptor("work", anything),
            Descriptor { effect: |_| Effect::Pure, ..descriptor("pure", anything) },
            Descriptor { runs: Runs::External, ..descriptor("task", anything) },
        ])
    })
}

fn descriptor(kind: &'static str, schema: fn() -> Value) -> Descriptor {
    Descriptor {
        kind,
        aliases: &[],
        family: Family::Basic,
        runs: Runs::Worker,
        summary: "",
        schema,
        example: || json!({}),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Reads,
        field: |_, _| Field::Template,
        check: |_| Vec::new(),
        build: None,
    }
}

fn texts(config: &Value, name: &str) -> Vec<String> {
    let list = config.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn branch_ports(config: &Value) -> OwnPorts {
    OwnPorts { names: texts(config, "branches"), exclusive: false }
}

fn picked_ports(config: &Value) -> OwnPorts {
    OwnPorts { names: texts(config, "ports"), exclusive: true }
}

fn fork_ports(config: &Value) -> OwnPorts {
    OwnPorts { names: texts(config, "ports"), exclusive: false }
}

fn switch_ports(config: &Value) -> OwnPorts {
    let names =
        config.get("cases").and_then(Value::as_object).into_iter().flat_map(|cases| cases.keys().cloned());
    OwnPorts {
        names: names.chain(["default".to_owned()]).collect(),
        exclusive: config.get("match").and_then(Value::as_str) != Some("all"),
    }
}

fn switch_field(config: &Value, path: &[&str]) -> Field {
    let compares = config.get("value").is_some();
    if path.first() == Some(&"cases") && !compares { Field::Expression } else { Field::Template }
}

/// A document: `head` at its top, and one component a line.
fn document(head: &str, components: &str) -> String {
    let mut text = format!("workflow: v1\nname: test\n{head}\ncomponents:\n");
    for line in components.lines() {
        text.push_str("  ");
        text.push_str(line.trim_start());
        text.push('\n');
    }
    text
}

pub(crate) fn read(head: &str, components: &str) -> Result<Arc<Workflow>, Problems> {
    workflow::read(&document(head, components), catalogue()).map(|read| read.workflow)
}

/// The code and suggestion of the one problem that keeps a document from being saved.
fn refused(components: &str) -> (&'static str, String) {
    match read("", components) {
        Ok(_) => panic!("it was saved:\n{components}"),
        Err(problems) => {
            assert_eq!(problems.list.len(), 1, "{problems}");
            let problem = &problems.list[0];
            (problem.code, problem.suggestion.clone().unwrap_or_default())
        }
    }
}

/// One execution and everything around it that the engine is told.
#[derive(Clone)]
struct Case {
    /// Every version that it has been of, or may be moved to.
    versions: Vec<Arc<Workflow>>,
    turns: Vec<Turn>,
    state: Execution,
    now: Timestamp,
    rules: Rules,
    /// Room in the dispatch window at each decision.
    room: u32,
    queue_is_deep: bool,
    full: Full,
    cached: Option<super::Cached>,
    queue_lost_before: Option<Timestamp>,
    payloads: super::Loaded,
    timers: BTreeMap<TimerKey, Timestamp>,
    /// Every task sent, in order.
    sent: Vec<Task>,
    told: Vec<Control>,
    poison: Vec<String>,
    late: Vec<String>,
    messages: u128,
}

const SECOND: Duration = Duration::from_secs(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn worker(number: u128) -> WorkerId {
    WorkerId::from_uuid(uuid::Uuid::from_u128(0x1000 + number))
}

fn token(number: u128) -> Token {
    Token::from_uuid(uuid::Uuid::from_u128(0x2000 + number))
}

fn start_of_time() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

/// The first turn of an execution of `workflow`.
fn first_turn(workflow: &Workflow, parameters: Value, change: impl FnOnce(&mut Accepted)) -> Turn {
    let Value::Object(parameters) = parameters else { panic!("parameters are a map") };
    let mut accepted = Accepted {
        parent: None,
        retry_of: None,
        trial: None,
        tenant: TenantId::DEFAULT,
        workflow: WorkflowId::from_uuid(uuid::Uuid::from_u128(3)),
        version: 1,
        hash: workflow.hash.clone(),
        parameters,
        priority: Default::default(),
        mode: Default::default(),
        scheduled_at: None,
        tags: Vec::new(),
        principal: "test".to_owned(),
        trigger: None,
    };
    change(&mut accepted);
    Turn {
        execution: ExecutionId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        seq: 1,
        cause: MessageId::from_uuid(uuid::Uuid::from_u128(1)),
        at: start_of_time(),
        events: vec![Event::Accepted(Box::new(accepted))],
    }
}

impl Case {
    /// Accepted, not started.
    fn accept(workflow: Arc<Workflow>, parameters: Value, change: impl FnOnce(&mut Accepted)) -> Self {
        let first = first_turn(&workflow, parameters, change);
        Self::begin(workflow, first)
    }

    fn begin(workflow: Arc<Workflow>, first: Turn) -> Self {
        let versions = vec![Arc::clone(&workflow)];
        let Ok(state) = Execution::replay(workflow, std::slice::from_ref(&first)) else { panic!("it folds") };
        Self {
            versions,
            now: first.at,
            turns: vec![first],
            state,
            rules: Rules::default(),
            room: 1_000,
            queue_is_deep: false,
            full: Full::new(),
            cached: None,
            queue_lost_before: None,
            payloads: HashMap::new(),
            timers: BTreeMap::new(),
            sent: Vec::new(),
            told: Vec::new(),
            poison: Vec::new(),
            late: Vec::new(),
            messages: 1,
        }
    }

    fn accept_with(head: &str, components: &str, parameters: Value) -> Self {
        match read(head, components) {
            Ok(workflow) => Self::accept(workflow, parameters, |_| {}),
            Err(problems) => panic!("{problems}"),
        }
    }

    /// Started.
    fn start(components: &str) -> Self {
        Self::start_with("", components, json!({}))
    }

    fn start_with(head: &str, components: &str, parameters: Value) -> Self {
        let mut case = Self::accept_with(head, components, parameters);
        case.take(Input::Start);
        case
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings {
            rules: &self.rules,
            now: self.now,
            room: self.room,
            payloads: &self.payloads,
            queue_lost_before: self.queue_lost_before,
            queue_is_deep: self.queue_is_deep,
            full: &self.full,
            cached: self.cached.as_ref(),
        }
    }

    /// Decides inputs of one message, and checks what holds for every turn.
    fn try_take(&mut self, inputs: &[Input<'_>]) -> Result<Decision, Needs> {
        self.messages += 1;
        let cause = MessageId::from_uuid(uuid::Uuid::from_u128(self.messages));
        let mut state = self.state.clone();
        let decision = decide(&mut state, inputs, cause, &self.around())?;
        if decision.events.is_empty() {
            assert_eq!(state, self.state, "a decision without events changed the state");
        } else {
            let turn = Turn {
                execution: state.id,
                seq: state.seq,
                cause,
                at: self.now,
                events: decision.events.clone(),
            };
            self.turns.push(turn);
        }
        self.state = state;
        for change in &decision.timers {
            match change {
                TimerChange::Set { key, due_at, .. } => self.timers.insert(key.clone(), *due_at),
                TimerChange::Clear { key } => self.timers.remove(key),
            };
        }
        if self.state.status.is_terminal() {
            self.timers.clear();
        }
        let mut now_sent = Vec::new();
        for command in &decision.commands {
            match command {
                Command::Dispatch(task) => {
                    now_sent.push((task.component.clone(), task.attempt, task.dispatch));
                    self.sent.push((**task).clone());
                }
                Command::Tell(_, control) => self.told.push(control.clone()),
                Command::Poison(_, reason) => self.poison.push(reason.clone()),
                _ => {}
            }
        }
        self.late.extend(decision.late.iter().map(|late| late.reason.clone()));
        self.check(cause, now_sent);
        Ok(decision)
    }

    fn check(&self, cause: MessageId, mut sent: Vec<(shared::ids::ComponentId, u32, u32)>) {
        // The state is what its journal folds to.
        let find = |hash: &str| self.versions.iter().find(|version| version.hash == hash).cloned();
        let Ok(replayed) = Execution::replay_with(&self.turns, &find) else {
            panic!("the journal does not fold: {:?}", self.turns)
        };
        assert_eq!(replayed, self.state, "the state is not what its journal folds to");
        // The journal keeps every rule that the audit knows.
        let mut findings = Vec::new();
        let _ = crate::audit::journal(self.state.id, &find, &self.turns, &mut findings);
        assert!(findings.is_empty(), "{findings:?}\n{:#?}", self.turns);
        // The message again: exactly the tasks of its turn.
        let Ok(again) = commands_again(&self.state, cause, &self.payloads) else {
            panic!("the payloads were there")
        };
        let mut again: Vec<_> = again
            .into_iter()
            .filter_map(|command| match command {
                Command::Dispatch(task) => Some((task.component.clone(), task.attempt, task.dispatch)),
                _ => None,
            })
            .collect();
        again.sort();
        sent.sort();
        assert_eq!(again, sent, "the same message again would send something else");
    }

    fn take(&mut self, input: Input<'_>) -> Decision {
        match self.try_take(&[input]) {
            Ok(decision) => decision,
            Err(needs) => panic!("{needs:?}"),
        }
    }

    /// The task `id`, or `id[2]` in round 2 of a loop.
    #[expect(clippy::unused_self, reason = "reads like the rest of the driver")]
    fn key(&self, id: &str) -> TaskKey {
        match format!("delay/{id}").parse() {
            Ok(TimerKey::Delay(task)) => task,
            other => panic!("{id} is no task: {other:?}"),
        }
    }

    fn component(&self, id: &str) -> &shared::execution::ComponentState {
        match self.state.place_of(&self.key(id)) {
            Ok(place) => self.state.at(place),
            Err(error) => panic!("{id}: {error}"),
        }
    }

    /// What the holder of the present attempt of a task would report.
    fn report(&self, id: &str, ending: Ending) -> TaskResult {
        let state = self.component(id);
        TaskResult {
            execution: self.state.id,
            component: self.key(id).component,
            iteration: self.key(id).iteration,
            attempt: state.attempt,
            dispatch: state.dispatch,
            worker: state.fence.as_ref().map_or(worker(1), |fence| fence.worker),
            token: state.fence.as_ref().map(|fence| fence.token),
            started_at: self.now,
            finished_at: self.now,
            ending,
            log: Vec::new(),
            follows: None,
        }
    }

    fn end(&mut self, id: &str, ending: Ending) -> Decision {
        let result = self.report(id, ending);
        self.take(Input::Result(&result))
    }

    fn complete(&mut self, id: &str, output: Value) -> Decision {
        self.end(id, completed(output, &[]))
    }

    fn choose(&mut self, id: &str, ports: &[&str]) -> Decision {
        self.end(id, completed(Value::Null, ports))
    }

    fn fail(&mut self, id: &str, class: &str) -> Decision {
        self.end(id, failed(class))
    }

    fn lose(&mut self, id: &str) -> Decision {
        self.end(id, Ending::Lost { reason: "the broker delivered it again".to_owned() })
    }

    fn ask(&mut self, id: &str, kind: AskKind, number: u128) -> bool {
        let ask = Ask {
            execution: self.state.id,
            component: self.key(id).component,
            iteration: self.key(id).iteration,
            attempt: self.component(id).attempt,
            worker: worker(number),
            token: token(number),
            kind,
        };
        self.take(Input::Ask(&ask));
        match self.told.last() {
            Some(Control::Answer { token: answered, granted }) if *answered == token(number) => *granted,
            other => panic!("no answer to the ask: {other:?}"),
        }
    }

    fn cancel(&mut self) -> Decision {
        self.take(Input::Request(&RequestBody::Cancel {
            by: "ann".to_owned(),
            reason: "wrong order".to_owned(),
        }))
    }

    /// What the workers of these tasks are told when their scope ends.
    fn told_to_stop(&self, ids: &[&str]) -> Control {
        let tasks = ids.iter().map(|id| self.key(id)).collect();
        Control::Cancel { execution: self.state.id, tasks }
    }

    /// A person answers what a component asks.
    fn decide(&mut self, id: &str, who: &str, verdict: AnswerVerdict, data: Option<Value>) -> Decision {
        let task = self.key(id);
        self.decide_at(task, who, verdict, data)
    }

    fn decide_at(
        &mut self,
        task: TaskKey,
        who: &str,
        verdict: AnswerVerdict,
        data: Option<Value>,
    ) -> Decision {
        let answer = Answer {
            by: "ann".to_owned(),
            for_assignee: who.to_owned(),
            verdict,
            data,
            comment: String::new(),
            at: self.now,
        };
        self.take(Input::Request(&RequestBody::Answer { task, answer }))
    }

    fn sweep(&mut self) -> Decision {
        self.take(Input::Sweep)
    }

    /// Lets time pass, and every timer fire at its own instant.
    fn tick(&mut self, pause: Duration) {
        let until = self.now.after(pause);
        while let Some((key, due)) =
            self.timers.iter().map(|(key, due)| (key.clone(), *due)).min_by_key(|(_, due)| *due)
        {
            if due > until {
                break;
            }
            self.now = self.now.max(due);
            self.timers.remove(&key);
            self.take(Input::Timer(&key));
        }
        self.now = until;
    }

    fn phase(&self, id: &str) -> &'static str {
        self.component(id).phase.as_str()
    }

    /// Whether each component stands as said: `"a completed, b skipped"`.
    #[track_caller]
    fn shows(&self, expected: &str) {
        let shown: Vec<String> = expected
            .split(", ")
            .filter_map(|part| part.split_once(' '))
            .map(|(id, _)| format!("{id} {}", self.phase(id)))
            .collect();
        assert_eq!(shown.join(", "), expected);
    }

    #[track_caller]
    fn ends(&self, status: Status) {
        assert_eq!(self.state.status, status, "{:?}", self.state.failure);
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.turns.iter().flat_map(|turn| &turn.events)
    }

    fn failure(&self, id: &str) -> &Failure {
        match &self.component(id).failure {
            Some(failure) => failure,
            None => panic!("{id} has not failed: {}", self.phase(id)),
        }
    }

    fn class(&self, id: &str) -> String {
        self.failure(id).class.to_string()
    }

    /// The class of the execution's failure.
    fn end_class(&self) -> Option<String> {
        self.state.failure.as_ref().map(|failure| failure.class.to_string())
    }

    fn output(&self, id: &str) -> Value {
        match &self.component(id).output {
            Some(Payload::Inline(value)) => value.clone(),
            other => panic!("{id} has no output in the journal: {other:?}"),
        }
    }

    fn result(&self) -> Option<Value> {
        match &self.state.output {
            Some(Payload::Inline(value)) => Some(value.clone()),
            _ => None,
        }
    }

    fn sent_of(&self, id: &str) -> Vec<(u32, u32)> {
        self.sent
            .iter()
            .filter(|task| task.key() == self.key(id))
            .map(|task| (task.attempt, task.dispatch))
            .collect()
    }

    fn timer(&self, key: &TimerKey) -> Option<Duration> {
        self.timers.get(key).map(|due| due.since(self.now))
    }
}

fn completed(output: Value, ports: &[&str]) -> Ending {
    Ending::Completed {
        output: Payload::Inline(output),
        ports: ports.iter().map(ToString::to_string).collect(),
    }
}

fn failed(class: &str) -> Ending {
    match class.parse::<FailureClass>() {
        Ok(class) => Ending::Failed(Failure::new(class, "it did not work")),
        Err(error) => panic!("{error}"),
    }
}
