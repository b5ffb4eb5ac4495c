//! What past executions were answered, read from their journals, as mocks for the same or a changed workflow.
//!
//! It asks nobody but the server; nothing is run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use coordinator::simulate::{Mock, Mocks, Reply, Says};
use serde_json::{Map, Value};
use shared::{
    component::FailureClass,
    execution::{Accepted, Event, Payload, Status, TaskKey, moving::Moved},
    ids::ExecutionId,
    time::Timestamp,
    workflow::{self, Workflow},
};

use crate::{
    client::{Client, segment},
    documents::WrongDocument,
};

/// Turns of one journal that are read at most.
const MOST_TURNS: usize = 100_000;

/// One past execution.
pub(crate) struct Past {
    pub(crate) id: ExecutionId,
    pub(crate) accepted: Accepted,
    pub(crate) started_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) output: Option<Value>,
    pub(crate) failure: Option<shared::component::Failure>,
    pub(crate) mocks: Mocks,
    /// Tasks with a value that is too large for the journal: what they were answered is not known here.
    pub(crate) left_out: BTreeSet<String>,
    /// Whether somebody asked for its end, which no mock does.
    pub(crate) was_cancelled: bool,
    /// Whether results of another execution, or written by hand, stand in for some that it had not itself.
    pub(crate) has_carried: bool,
    /// Whether it was moved to another version under way: what it ran first may be of none it has now.
    pub(crate) has_moved: bool,
}

/// Collects the answers of one journal.
#[derive(Default)]
struct Reading {
    replies: BTreeMap<String, Vec<Reply>>,
    asked_at: BTreeMap<String, Timestamp>,
    /// Components that people, events or sub-workflows answer.
    waits: BTreeMap<String, Wait>,
    left_out: BTreeSet<String>,
    /// What components were called before they were renamed by a move, and what then.
    names: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Person,
    Event,
    Child,
}

impl Reading {
    fn asks(&mut self, task: &TaskKey, at: Timestamp) {
        self.asked_at.insert(task.to_string(), at);
    }

    fn says(&mut self, task: &TaskKey, at: Timestamp, says: Says) {
        let key = task.to_string();
        let after = self.asked_at.get(&key).map_or(Duration::ZERO, |asked| at.since(*asked));
        self.replies.entry(key).or_default().push(Reply { says, after });
    }

    fn completes(&mut self, task: &TaskKey, at: Timestamp, output: Payload, ports: Vec<String>) {
        match output {
            Payload::Inline(output) => self.says(task, at, Says::Completed { output, ports }),
            Payload::Stored(_) => {
                self.left_out.insert(task.to_string());
            }
        }
    }

    /// The task as it is called at the end, once all names are known.
    fn called(&self, key: &str) -> String {
        let (id, rounds) = key.split_at(key.find('[').unwrap_or(key.len()));
        format!("{}{rounds}", self.names.get(id).map_or(id, String::as_str))
    }

    fn renamed(&mut self, moved: &Moved) {
        for (old, new) in &moved.mapping {
            let (old, new) = (old.to_string(), new.to_string());
            self.names.values_mut().filter(|called| **called == old).for_each(|it| it.clone_from(&new));
            self.names.insert(old, new);
        }
    }

    /// Everything by what it is called at the end.
    fn by_last_names(mut self) -> Self {
        let mut replies: BTreeMap<String, Vec<Reply>> = BTreeMap::new();
        for (key, list) in std::mem::take(&mut self.replies) {
            replies.entry(self.called(&key)).or_default().extend(list);
        }
        self.left_out = self.left_out.iter().map(|key| self.called(key)).collect();
        Self { replies, ..self }
    }

    fn event(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::TaskDispatched { task, .. } => self.asks(&task, at),
            Event::TaskCompleted { task, output, ports, started_at, finished_at, .. } => {
                // How long it ran, by its worker's clock: waiting for a worker counts against no time-out.
                self.asked_at.insert(task.to_string(), started_at);
                self.completes(&task, finished_at, output, ports);
            }
            Event::TaskCached { task, output, ports, .. } => {
                self.asks(&task, at);
                self.completes(&task, at, output, ports);
            }
            // Without a worker it is the engine that gave the task up; the losses before it say why.
            Event::TaskFailed { task, failure, worker, .. }
                if worker.is_some() || failure.class != FailureClass::Internal =>
            {
                self.says(&task, at, Says::Failed(failure));
            }
            Event::TaskLost { task, .. } => self.says(&task, at, Says::Lost),
            Event::Asked { task, .. } => {
                self.waits.insert(task.to_string(), Wait::Person);
                self.asks(&task, at);
            }
            Event::Answered { task, answer } => self.says(
                &task,
                at,
                Says::Answered {
                    verdict: answer.verdict,
                    data: answer.data,
                    comment: answer.comment,
                    by: answer.by,
                    for_assignee: Some(answer.for_assignee),
                },
            ),
            Event::Awaiting { task, .. } => {
                self.waits.insert(task.to_string(), Wait::Event);
                self.asks(&task, at);
            }
            Event::ChildOrdered { task, .. } => {
                self.waits.insert(task.to_string(), Wait::Child);
                self.asks(&task, at);
            }
            Event::Decided { task, output, ports, .. } => match self.waits.get(&task.to_string()) {
                Some(Wait::Child) => self.completes(&task, at, output, Vec::new()),
                Some(Wait::Event) => match output {
                    Payload::Inline(mut output) => {
                        let body = output.get_mut("body").map(Value::take).unwrap_or_default();
                        self.says(&task, at, Says::Event(body));
                    }
                    Payload::Stored(_) => {
                        self.left_out.insert(task.to_string());
                    }
                },
                Some(Wait::Person) if ports.iter().any(|port| port == "expired") => {
                    self.says(&task, at, Says::Expires);
                }
                Some(Wait::Person) if !self.replies.contains_key(&task.to_string()) => {
                    self.says(&task, at, Says::Expires);
                }
                Some(Wait::Person) | None => {}
            },
            Event::DecisionFailed { task, failure } => match self.waits.get(&task.to_string()) {
                Some(Wait::Child) => self.says(&task, at, Says::Failed(failure)),
                Some(Wait::Event | Wait::Person) => self.says(&task, at, Says::Expires),
                None => {}
            },
            _ => {}
        }
    }
}

/// Reads an execution that has ended.
pub(crate) async fn read(client: &Client, id: &str) -> Result<Past> {
    let turns = client.list(&format!("/api/v1/executions/{}/journal", segment(id)), &[], MOST_TURNS).await?;
    past(id, &turns)
}

fn past(id: &str, turns: &[Value]) -> Result<Past> {
    let mut reading = Reading::default();
    let mut accepted = None;
    let mut started_at = None;
    let mut ended = None;
    let mut was_cancelled = false;
    let mut has_carried = false;
    let mut has_moved = false;
    let mut first_id = None;
    for turn in turns {
        let field = |name: &str| turn.get(name).and_then(Value::as_str).unwrap_or_default();
        let at: Timestamp = field("at").parse().with_context(|| format!("a turn of {id} has no instant"))?;
        first_id = first_id.or_else(|| field("execution").parse::<ExecutionId>().ok());
        for event in turn.get("events").and_then(Value::as_array).into_iter().flatten() {
            // Shown without their tokens, and nothing is answered by them.
            if event.get("task_granted").is_some() || event.get("task_leased").is_some() {
                continue;
            }
            let event: Event = serde_json::from_value(event.clone()).with_context(|| {
                format!("an event of {id} is not understood: is the server newer than this program?")
            })?;
            match event {
                Event::Accepted(it) => accepted = Some(*it),
                Event::Started => started_at = Some(at),
                Event::CancelRequested { .. } => was_cancelled = true,
                Event::Carried { .. } | Event::Pinned { .. } => has_carried = true,
                Event::Finished { status, output, failure } => ended = Some((status, output, failure)),
                Event::Moved(moved) => {
                    reading.renamed(&moved);
                    has_moved = true;
                    if let Some(accepted) = &mut accepted {
                        let Moved { version, hash, parameters, .. } = *moved;
                        *accepted = Accepted { version, hash, parameters, ..accepted.clone() };
                    }
                }
                event => reading.event(event, at),
            }
        }
    }
    let (Some(accepted), Some(id)) = (accepted, first_id) else { bail!("{id} has no journal") };
    let Some((status, output, failure)) = ended else {
        bail!("{id} has not ended: only what has ended can be replayed")
    };
    let output = match output {
        Some(Payload::Inline(output)) => Some(output),
        Some(Payload::Stored(_)) => {
            reading.left_out.insert("output".to_owned());
            None
        }
        None => None,
    };
    let reading = reading.by_last_names();
    let mocks = reading
        .replies
        .into_iter()
        .filter(|(key, _)| !reading.left_out.contains(key))
        .map(|(key, list)| (key, Mock::Each(list)))
        .collect();
    Ok(Past {
        id,
        started_at: started_at.unwrap_or(Timestamp::from_micros(0)),
        status,
        output,
        failure,
        mocks: Mocks(mocks),
        left_out: reading.left_out,
        was_cancelled,
        has_carried,
        has_moved,
        accepted,
    })
}

impl Past {
    /// The parameters as a changed workflow takes them: those it still has, with its own defaults.
    pub(crate) fn parameters(&self, workflow: &Workflow) -> Result<Map<String, Value>, String> {
        let known = |name: &str| workflow.parameters.iter().any(|parameter| parameter.name == name);
        let given: Map<String, Value> = self
            .accepted
            .parameters
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        workflow.check_parameters(&given).map_err(|problems| {
            problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
        })
    }
}

/// The version of a workflow that an execution ran, compiled.
pub(crate) async fn version(client: &Client, past: &Past) -> Result<Arc<Workflow>> {
    let (workflow, number) = (past.accepted.workflow, past.accepted.version);
    let found = client.get(&format!("/api/v1/workflows/{workflow}/versions/{number}")).await?;
    compile(&found, &format!("version {number} of {workflow}"))
}

/// The document of an answer that holds a `definition`.
pub(crate) fn compile(answer: &Value, name: &str) -> Result<Arc<Workflow>> {
    let catalogue = components::catalogue();
    let read = match answer.get("definition") {
        Some(Value::String(text)) => workflow::read(text, &catalogue),
        Some(value) => workflow::read_value(value, &catalogue),
        None => bail!("the server gives no document for {name}"),
    };
    Ok(read.map_err(|problems| WrongDocument { problems: problems.named(name) })?.workflow)
}
