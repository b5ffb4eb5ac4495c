//! What is known about a component type without running it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Run};

/// What running a component twice does (`catalogue` chapter of the docs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Output depends on config and input only.
    Pure,
    /// Looks outside, changes nothing.
    Reads,
    /// Changes something outside; a second run leaves the same state.
    Idempotent,
    /// A second run may be seen by others.
    Effect,
}

/// Where a component is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// Decided by the engine: costs no message and does no I/O.
    Coordinator,
    /// A task for a worker.
    Worker,
    /// Offered to workers outside this platform; no worker of ours takes it.
    External,
}

/// The shelf of the palette a type stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    Basic,
    Control,
    Time,
    People,
    Data,
    Formats,
    Integrations,
    Messaging,
    Utility,
}

/// How a field of a config is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Text may hold `${{ … }}`, resolved before the component runs.
    Template,
    /// The whole text is one expression, resolved before the component runs (`condition`).
    Expression,
    /// The whole text is one expression that the worker evaluates once a row (`item`, `index`, `bind`).
    RowExpression,
    /// The whole text is one expression that the engine evaluates when it needs it, perhaps more than once
    /// (`condition` of a `while_loop`, `filter` over `event`).
    Deferred,
    /// Text is passed on as it is; `${{` inside is refused when the workflow is saved (SQL, filters).
    Verbatim,
}

/// The ports a component has besides `success`, `error` and `timeout`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPorts {
    pub names: Vec<String>,
    /// Whether at most one of them ever fires, so that a join `all` over two of them can never be met.
    pub exclusive: bool,
}

impl OwnPorts {
    pub fn none() -> Self {
        Self::default()
    }

    /// Ports of which exactly one fires.
    pub fn one_of(names: &[&str]) -> Self {
        Self { names: names.iter().map(ToString::to_string).collect(), exclusive: true }
    }
}

/// A mistake in a config that its JSON Schema cannot express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Keys and indexes from the config's root to the wrong value.
    pub path: Vec<String>,
    pub message: String,
    pub suggestion: Option<String>,
}

/// Everything the platform knows about one component type.
#[derive(Clone)]
pub struct Descriptor {
    /// The type id users write.
    pub kind: &'static str,
    /// Other names that are read as this type and written back as it.
    pub aliases: &'static [&'static str],
    pub family: Family,
    pub runs: Runs,
    /// One sentence for the palette; the rest of the page is in the schema's descriptions.
    pub summary: &'static str,
    /// The JSON Schema (2020-12) of the config; refuses unknown fields.
    pub schema: fn() -> Value,
    /// A config that validates and runs.
    pub example: fn() -> Value,
    /// Own ports, known from the config alone.
    pub ports: fn(&Value) -> OwnPorts,
    /// What a second run does; may depend on the config (an HTTP GET only reads).
    pub effect: fn(&Value) -> Effect,
    /// How the text at `path` (keys from the config's root; list indexes are left out) is read.
    pub field: fn(config: &Value, path: &[&str]) -> Field,
    /// Mistakes that the schema cannot express. Does no I/O and runs no user code.
    pub check: fn(&Value) -> Vec<ConfigProblem>,
    /// Makes a runnable component of a resolved config; absent for what the engine decides.
    #[allow(clippy::type_complexity, reason = "a name for it would hide what it takes and gives")]
    pub build: Option<fn(Value) -> Result<Box<dyn Run>, Failure>>,
}

impl Descriptor {
    /// The time-out of one attempt when the author gives none.
    pub fn default_timeout(&self, config: &Value) -> Duration {
        match (self.effect)(config) {
            Effect::Pure => Duration::from_mins(1),
            Effect::Reads | Effect::Idempotent | Effect::Effect => Duration::from_secs(30),
        }
    }

    /// Whether the type's tasks are tried again by default.
    pub fn is_retried_by_default(&self, config: &Value) -> bool {
        (self.effect)(config) != Effect::Pure
    }
}

impl std::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Descriptor").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Every component type there is, in the order the palette shows them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    list: Arc<[Descriptor]>,
    by_name: Arc<HashMap<&'static str, usize>>,
    /// The config schemas, each made when it is first asked for.
    schemas: Arc<[OnceLock<Value>]>,
}

impl Catalogue {
    pub fn new(list: &[Descriptor]) -> Self {
        let mut by_name = HashMap::new();
        for (index, descriptor) in list.iter().enumerate() {
            for name in std::iter::once(&descriptor.kind).chain(descriptor.aliases) {
                let earlier = by_name.insert(*name, index);
                debug_assert!(earlier.is_none(), "the name {name} is given twice");
            }
        }
        let schemas = list.iter().map(|_| OnceLock::new()).collect();
        Self { list: list.into(), by_name: Arc::new(by_name), schemas }
    }

    /// The type with this id or alias.
    pub fn get(&self, name: &str) -> Option<&Descriptor> {
        self.by_name.get(name).map(|index| &self.list[*index])
    }

    /// The JSON Schema of a type's config; made once.
    pub fn schema(&self, name: &str) -> Option<&Value> {
        let index = *self.by_name.get(name)?;
        Some(self.schemas[index].get_or_init(|| (self.list[index].schema)()))
    }

    /// Every id and alias.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.list.iter()
    }
}
