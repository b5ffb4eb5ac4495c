//! `type: task`: work for a worker outside this platform. No worker of ours runs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::component::{ConfigProblem, Effect, Family};

use crate::describe::{Component, is_expression, problem};

/// Hands work to an external worker that polls a topic.
///
/// The task waits until a worker of the topic takes it; while there is none, the execution says
/// "no worker offers task". What the worker answers is the output.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What external workers ask for, such as `invoice.print`.
    pub topic: String,
    /// What the worker receives.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// A JSON Schema (2020-12) that the input must match before the task is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// A JSON Schema (2020-12) that the worker's answer must match; otherwise the task fails as `invalid_input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

impl Component for Task {
    const KIND: &'static str = "task";
    const ALIASES: &'static [&'static str] = &["service_task", "external_task"];
    const FAMILY: Family = Family::Basic;
    const SUMMARY: &'static str = "Hands work to an external worker that polls a topic.";

    fn example() -> Value {
        json!({ "topic": "invoice.print", "input": { "invoice": 4711 } })
    }

    fn effect(_: &Value) -> Effect {
        Effect::Effect
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        for name in ["input_schema", "output_schema"] {
            if let Some(schema) = config.get(name).filter(|schema| !is_expression(schema))
                && let Err(wrong) = crate::data::validate::compile_schema(schema)
            {
                problems.push(problem(&[name], wrong.message));
            }
        }
        problems
    }
}
