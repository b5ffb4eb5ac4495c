//! `type: sub_workflow`. Its config is [`shared::component::control::SubWorkflow`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Effect, Family, control::SubWorkflow};

use crate::describe::{Component, is_expression, problem};

impl Component for SubWorkflow {
    const KIND: &'static str = "sub_workflow";
    const ALIASES: &'static [&'static str] = &["subprocess", "call_workflow"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Runs another workflow as an execution of its own.";

    fn example() -> Value {
        json!({ "workflow": "billing", "parameters": { "order": 4711 } })
    }

    fn effect(_: &Value) -> Effect {
        Effect::Idempotent
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let version = config.get("version");
        match config.get("workflow").and_then(Value::as_str) {
            Some(name) if name.trim().is_empty() => {
                problems.push(problem(&["workflow"], "the name or id of a workflow is required"));
            }
            Some(name) if name.contains("${{") && version.is_none_or(|version| version == "pinned") => {
                let mut found = problem(
                    &["workflow"],
                    "which version is pinned is fixed when this workflow is saved, so the name must be known then",
                );
                found.suggestion = Some("write the name, or set `version: latest`".to_owned());
                problems.push(found);
            }
            _ => {}
        }
        let fits = match version {
            None => true,
            Some(Value::Number(number)) => number.as_u64().is_some_and(|number| number >= 1),
            Some(Value::String(word)) => word == "pinned" || word == "latest" || word.contains("${{"),
            Some(_) => false,
        };
        if !fits {
            problems.push(problem(&["version"], "the version is `pinned`, `latest` or a number from 1"));
        }
        let key = config.get("execution_key").filter(|key| !is_expression(key)).and_then(Value::as_str);
        if key.is_some_and(|key| key.is_empty() || key.chars().count() > 200) {
            problems.push(problem(&["execution_key"], "the key has from 1 to 200 characters"));
        }
        problems
    }
}
