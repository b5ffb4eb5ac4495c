//! The compiled snapshot that the engine runs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{cache::Caching, limits::Concurrency};
use crate::{
    component::{Effect, Runs},
    expression::{Expression, Reference, Template},
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
    /// Whether a cancelled execution is compensated as a failed one is.
    pub compensate_on_cancel: bool,
    /// Every component of the document, those inside containers and other scopes too, each container before
    /// its own; the components of the workflow's scope in the order written.
    pub components: Vec<Component>,
    /// The scopes; the first is the workflow's.
    pub scopes: Vec<Scope>,
    /// Whether any of them stops at an unhandled failure.
    pub may_stop: bool,
    /// Whether results of any component are used again.
    pub has_cache: bool,
    /// The scope that runs when the execution fails.
    pub on_failure: Option<usize>,
    /// The scope that runs at the end in any case.
    pub finally: Option<usize>,
    pub output: Option<Template>,
    pub(crate) by_id: HashMap<ComponentId, usize>,
}

impl Workflow {
    /// Where a component stands in `components`. That which undoes `x` is called `x.compensate`.
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The scope a component stands in.
    pub fn scope_of(&self, index: usize) -> &Scope {
        &self.scopes[self.components[index].scope]
    }

    /// The components that a component stands inside, from the nearest outward: the owners of the scopes
    /// around it. A compensation stands inside the component that it undoes.
    pub fn enclosing(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.scope_of(index).owner, |owner| self.scope_of(*owner).owner)
    }

    /// How many loops stand around a component: the length of its iterations.
    pub fn loops_of(&self, index: usize) -> usize {
        self.scope_of(index).loops
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

/// Which part of a workflow or container a scope is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The workflow's `components`.
    Workflow,
    /// The workflow's `on_failure`.
    OnFailure,
    /// The `finally` of a workflow or of a `try_catch`.
    Finally,
    /// The `components` of a container.
    Body,
    /// The `catch` of a `try_catch`.
    Catch,
    /// The one component of a `compensate`.
    Compensation,
}

/// Components that stand and end together: connections never leave their scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub part: Part,
    /// The container, or the component that is compensated; absent for the workflow's own scopes.
    pub owner: Option<usize>,
    /// Indexes into [`Workflow::components`], in the order written.
    pub components: Vec<usize>,
    pub on_unhandled_failure: OnUnhandledFailure,
    /// Loops around it, counting its owner: the length of its iterations.
    pub loops: usize,
}

/// The scopes of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes {
    pub body: Option<usize>,
    pub catch: Option<usize>,
    pub finally: Option<usize>,
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
    /// Of one attempt. A container and what waits for people, events or another execution has one attempt:
    /// the shorter of its `timeout` and `total_timeout`, and [`Duration::MAX`] when neither is given.
    pub timeout: Duration,
    /// Over all attempts.
    pub total_timeout: Option<Duration>,
    /// Waiting to be taken by a worker.
    pub queue_timeout: Option<Duration>,
    pub delivery: Delivery,
    pub placement: Placement,
    /// How many of its tasks run at once, over all executions of the workflow.
    pub concurrency: Option<Concurrency>,
    /// How its results are used again.
    pub cache: Option<Caching>,
    /// Connections out: the reader's index and the port, in the order of the readers.
    pub outgoing: Vec<(usize, Output)>,
    /// Whether a connection leaves the `timeout` port.
    pub timeout_is_read: bool,
    /// The scope it stands in, as an index into [`Workflow::scopes`].
    pub scope: usize,
    /// Where it stands in its scope.
    pub position: usize,
    /// What stands inside it; all absent for what is no container.
    pub scopes: Scopes,
    /// The component that undoes it: an index into [`Workflow::components`]. Its id is `<id>.compensate`.
    pub compensate: Option<usize>,
    /// The component that the same worker may run right after it, in the same task.
    pub fuses: Option<usize>,
}

impl Component {
    pub const fn is_container(&self) -> bool {
        self.scopes.body.is_some()
    }

    /// Whether it is no more than a function of its config: it has no effect, and no limit or clock beside its attempt.
    pub fn is_plain(&self) -> bool {
        self.runs == Runs::Worker
            && self.effect == Effect::Pure
            && self.delivery == Delivery::AtLeastOnce
            && self.concurrency.is_none()
            && self.cache.is_none()
            && self.queue_timeout.is_none()
            && self.total_timeout.is_none()
    }

    /// Looks at everything that its config refers to.
    pub fn config_references(&self, mut look: impl FnMut(&Reference)) {
        self.config.references().into_iter().for_each(&mut look);
        // These are kept as texts until they are asked.
        for field in ["condition", "filter"] {
            let source = self.config.constant_field(field).and_then(Value::as_str);
            let deferred = source.and_then(|source| Expression::compile(source).ok());
            deferred.iter().flat_map(Expression::references).for_each(&mut look);
        }
    }

    /// Whether every round of it has a number: its body's iterations are one longer than its own.
    pub fn is_loop(&self) -> bool {
        matches!(&*self.kind, "loop" | "for_loop" | "while_loop") && self.is_container()
    }
}
