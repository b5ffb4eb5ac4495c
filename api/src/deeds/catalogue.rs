//! The component types there are.

use serde::Serialize;
use serde_json::Value;
use shared::component::{Descriptor, Effect, Family, Runs};
use utoipa::ToSchema;

use super::Deeds;
use crate::{
    caller::{Caller, Permission},
    documents,
    problem::Problem,
};

/// A component type.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ComponentType {
    /// What authors write as `type`.
    #[serde(rename = "type")]
    #[schema(example = "http_request")]
    pub kind: &'static str,
    /// Other names that are read as this type.
    pub aliases: &'static [&'static str],
    /// The shelf of the palette it stands on.
    #[schema(value_type = String, example = "integrations")]
    pub family: Family,
    /// `coordinator`: decided by the engine. `worker`: a task.
    #[schema(value_type = String, example = "worker")]
    pub runs: Runs,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What a second run does: `pure`, `reads`, `idempotent` or `effect`. For the example; it may depend on
    /// the config.
    #[schema(value_type = String, example = "reads")]
    pub effect: Effect,
    /// Its ports, for the example; they may depend on the config.
    pub ports: Vec<String>,
    /// Whether at most one of its own ports fires.
    pub ports_are_exclusive: bool,
    /// Seconds one attempt may take when the author gives no `timeout`.
    pub default_timeout_seconds: u64,
    /// A config that runs.
    pub example: Value,
    /// The JSON Schema (2020-12) of its config; its descriptions are the manual.
    #[schema(value_type = Object)]
    pub schema: Value,
}

impl From<&Descriptor> for ComponentType {
    fn from(descriptor: &Descriptor) -> Self {
        let example = (descriptor.example)();
        let own = (descriptor.ports)(&example);
        let mut ports = vec!["success".to_owned(), "error".to_owned(), "timeout".to_owned()];
        ports.extend(own.names);
        Self {
            kind: descriptor.kind,
            aliases: descriptor.aliases,
            family: descriptor.family,
            runs: descriptor.runs,
            summary: descriptor.summary,
            effect: (descriptor.effect)(&example),
            ports,
            ports_are_exclusive: own.exclusive,
            default_timeout_seconds: descriptor.default_timeout(&example).as_secs(),
            schema: (descriptor.schema)(),
            example,
        }
    }
}

/// Every component type, in the order of the palette.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ComponentList {
    /// All of them.
    pub items: Vec<ComponentType>,
    /// Always absent: there is one page.
    pub next_cursor: Option<String>,
}

impl Deeds {
    pub(crate) fn component_list(&self, caller: &Caller) -> Result<ComponentList, Problem> {
        caller.must(Permission::Read)?;
        Ok(ComponentList {
            items: self.catalogue.iter().map(ComponentType::from).collect(),
            next_cursor: None,
        })
    }

    pub(crate) fn component_get(&self, caller: &Caller, kind: &str) -> Result<ComponentType, Problem> {
        caller.must(Permission::Read)?;
        self.catalogue
            .get(kind)
            .map(ComponentType::from)
            .ok_or_else(|| Problem::not_found(format_args!("component type `{}`", kind.escape_debug())))
    }

    /// The JSON Schema of workflow documents.
    pub(crate) fn workflow_schema(&self) -> Value {
        documents::schema(&self.catalogue)
    }

    /// Hints that were left to the sweep.
    pub(crate) fn hints_lost(&self) -> u64 {
        self.hints.lost()
    }
}
