//! An execution without a store, a queue or a clock: the real engine, answered by mocks.
//!
//! Time is skipped: what waits fires at once, in the order in which it is due. The same workflow, parameters and
//! mocks give the same outcome on every machine. Nothing here runs a component by itself; who wants pure ones to
//! run for real hands in how.

#[cfg(test)]
mod tests;
mod world;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use shared::{
    component::{self, Failure},
    execution::{AnswerVerdict, Mode, Status, TaskKey},
    ids::ExecutionId,
    time::Timestamp,
    wire::Task,
    workflow::{Component, Workflow},
};

/// How long an execution may take by its own clock, in days: ten years.
const MOST_DAYS: u64 = 3_650;
/// Decisions after which a simulation is given up.
const MOST_STEPS: u32 = 1_000_000;

/// How pure components are run for real; nothing for those that it will not run.
pub type Runner<'a> = &'a dyn Fn(&Component, &Task) -> Option<Result<component::Outcome, Failure>>;

/// Finds the workflow that a `sub_workflow` names; nothing when it is not at hand.
pub type Finder<'a> = &'a dyn Fn(&str) -> Option<Arc<Workflow>>;

/// What stands for the world outside: answers by component (`pack`) or by round of a loop (`pack[2]`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mocks(pub BTreeMap<String, Mock>);

/// What one component is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Mock {
    /// The same each time it asks.
    Always(Reply),
    /// The n-th time the n-th, and no more.
    Each(Vec<Reply>),
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub says: Says,
    /// How long after it was asked.
    pub after: Duration,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Says {
    /// A task, or a sub-workflow, completed.
    Completed { output: Value, ports: Vec<String> },
    /// An attempt, or a sub-workflow, failed.
    Failed(Failure),
    /// The worker of an attempt was lost.
    Lost,
    /// A person answered.
    Answered {
        verdict: AnswerVerdict,
        data: Option<Value>,
        comment: String,
        by: String,
        /// The assignee it counts for; the next of those asked when absent.
        for_assignee: Option<String>,
    },
    /// The event came that is waited for; its body.
    Event(Value),
    /// Nobody answers, nothing comes: the wait ends by its own time-out.
    Expires,
    /// The sub-workflow is simulated itself, with these mocks.
    Simulated(Mocks),
}

impl Mocks {
    /// The answers for one task: those of its round, or those of the component in every round.
    fn of(&self, task: &TaskKey) -> Option<&Mock> {
        self.0.get(&task.to_string()).or_else(|| self.0.get(task.component.as_str()))
    }
}

impl Mock {
    /// The answer to the n-th asking among those that `fits`, from 0.
    fn nth(&self, n: usize, fits: impl Fn(&Says) -> bool) -> Option<&Reply> {
        match self {
            Self::Always(reply) => Some(reply).filter(|reply| fits(&reply.says)),
            Self::Each(list) => list.iter().filter(|reply| fits(&reply.says)).nth(n),
        }
    }

    fn all(&self) -> &[Reply] {
        match self {
            Self::Always(reply) => std::slice::from_ref(reply),
            Self::Each(list) => list,
        }
    }
}

/// One execution to be simulated.
pub struct Simulation<'a> {
    pub workflow: Arc<Workflow>,
    /// Checked, with their defaults.
    pub parameters: Map<String, Value>,
    pub mocks: &'a Mocks,
    pub run_pure: Option<Runner<'a>>,
    pub find: Option<Finder<'a>>,
    /// What `execution.id` says.
    pub id: ExecutionId,
    /// When it is started.
    pub at: Timestamp,
    /// The version that `workflow.version` says.
    pub version: u32,
    pub mode: Mode,
}

impl<'a> Simulation<'a> {
    /// One with an id and a beginning that are always the same.
    pub fn new(workflow: Arc<Workflow>, parameters: Map<String, Value>, mocks: &'a Mocks) -> Self {
        Self {
            workflow,
            parameters,
            mocks,
            run_pure: None,
            find: None,
            id: ExecutionId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
            // 1 January 2026.
            at: Timestamp::from_micros(1_767_225_600_000_000),
            version: 1,
            mode: Mode::Test,
        }
    }

    /// Drives it to its end, or to where it cannot go on.
    pub fn run(self) -> Simulated {
        world::World::new(self, None).run()
    }
}

/// Why a simulation went no further.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stuck {
    /// Nothing says how a component answers.
    #[error("`{task}` ({kind}) needs a mock{}: it was called with {input}", nth(*.attempt))]
    NoMock { task: String, kind: String, attempt: u32, input: Value },
    /// It waits for something that no mock brings and no timer ends.
    #[error("`{task}` is {state} and nothing will end that")]
    Waits { task: String, state: &'static str },
    /// Only workers outside this platform carry it out.
    #[error("`{task}` waits for a worker outside this platform, which is not simulated")]
    Outside { task: String },
    /// The engine asks for a value that lies in a payload store.
    #[error("a row set kept in a file is needed; let the mock give its rows as a list")]
    Stored,
    #[error("it was not done after {MOST_STEPS} decisions: does a loop never end?")]
    Steps,
    #[error("it was not done after ten years by its own clock")]
    Years,
}

fn nth(attempt: u32) -> String {
    if attempt > 1 { format!(" for attempt {attempt}") } else { String::new() }
}

/// What became of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// `completed`, `failed`, `skipped`, `cancelled`, or where it stands.
    pub status: &'static str,
    /// 0 for what is no task.
    pub attempts: u32,
    pub output: Option<Value>,
    pub failure: Option<Failure>,
    /// Own ports that fired.
    pub ports: Vec<String>,
    /// What it was called with, once an attempt: a task's config, what people were asked, the event that was
    /// waited for, a sub-workflow's parameters.
    pub calls: Vec<Value>,
}

/// How a simulation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    pub status: Status,
    pub output: Option<Value>,
    pub failure: Option<Failure>,
    /// Why it went no further; empty when it ended.
    pub stuck: Vec<Stuck>,
    pub tasks: BTreeMap<TaskKey, Seen>,
    /// In which order components settled.
    pub order: Vec<TaskKey>,
    /// By its own clock.
    pub elapsed: Duration,
}
