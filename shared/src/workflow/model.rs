//! The compiled snapshot that the engine runs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    component::{Effect, Runs},
    expression::{Expression, Template},
    ids::ComponentId,
    retry::RetryPolicy,
};

/// One workflow version, ready to run. Indexes into `components` are stable for its hash.
#[derive(Debug)]
pub struct Workflow {
    pub name: String,
    pub title: Option<String>,
    pub description: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of the canonical form without `layout`, in hex.
    pub hash: String,
    pub parameters: Vec<Parameter>,
    /// What starts it by itself, in the order written.
    pub triggers: Vec<super::triggers::Trigger>,
    pub concurrency: Option<Concurrency>,
    /// How long an execution may take in all.
    pub timeout: Option<Duration>,
    pub on_unhandled_failure: OnUnhandledFailure,
    /// In the order written.
    pub components: Vec<Component>,
    pub output: Option<Template>,
    pub(crate) by_id: HashMap<ComponentId, usize>,
}

impl Workflow {
    /// Where a component stands in `components`.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }
}

/// What a workflow is started with.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterType,
    pub required: bool,
    pub default: Option<Value>,
    /// The only values allowed, when given.
    pub choices: Vec<Value>,
    pub description: Option<String>,
    /// The JSON Schema its value must fit.
    pub schema: Value,
}

/// The JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
    Any,
}

/// At most `limit` executions at once hold the key that `key` gives for their parameters.
#[derive(Debug)]
pub struct Concurrency {
    pub key: Template,
    pub limit: u32,
}

/// What an unhandled failure does to its siblings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhandledFailure {
    /// Branches that do not depend on it go on; then the scope fails.
    #[default]
    Finish,
    /// Running siblings are cancelled, the others skipped, the scope fails now.
    Stop,
}

/// When a component with several connections is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Every connection fired; skipped as soon as one is dead.
    #[default]
    All,
    /// The first connection that fires, once; skipped when all are dead.
    Any,
    /// Every connection settled, fired or dead.
    AllDone,
}

/// The port of a component that a connection leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    Success,
    Error,
    Timeout,
    /// An own port, as an index into [`Component::ports`].
    Own(usize),
}

/// One connection in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Index of the component it comes from.
    pub from: usize,
    pub port: Output,
}

/// How often a task may start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Again after a loss; effects carry an idempotency key.
    #[default]
    AtLeastOnce,
    /// Only with a durable grant; an unknown outcome stops it.
    AtMostOnce,
}

/// Which of a pool's three queues a task goes to.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// Which workers may take a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// `default` unless the author names one.
    pub pool: Arc<str>,
    /// A worker must have all of them.
    pub tags: Vec<String>,
    /// Overrides the execution's priority.
    pub priority: Option<Priority>,
}

/// One block of a workflow.
#[derive(Debug)]
pub struct Component {
    pub id: ComponentId,
    /// The canonical type.
    pub kind: Arc<str>,
    pub title: Option<String>,
    pub runs: Runs,
    /// What a second run does.
    pub effect: Effect,
    pub needs: Vec<Need>,
    pub join: Join,
    pub when: Option<Expression>,
    /// The config, with its expressions compiled.
    pub config: Template,
    /// Own ports, beside `success`, `error` and `timeout`.
    pub ports: Vec<String>,
    pub retry: RetryPolicy,
    /// Of one attempt.
    pub timeout: Duration,
    /// Over all attempts.
    pub total_timeout: Option<Duration>,
    /// Waiting to be taken by a worker.
    pub queue_timeout: Option<Duration>,
    pub delivery: Delivery,
    pub placement: Placement,
    /// Connections out: the reader's index and the port, in the order of the readers.
    pub outgoing: Vec<(usize, Output)>,
    /// Whether a connection leaves the `timeout` port.
    pub timeout_is_read: bool,
}
