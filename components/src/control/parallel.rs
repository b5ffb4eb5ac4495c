//! `type: parallel`. Its config is [`shared::component::control::Parallel`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Family, OwnPorts, control::Parallel};

use super::check_port_name;
use crate::describe::{Component, problem};

fn branches(config: &Value) -> impl Iterator<Item = &str> {
    config.get("branches").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl Component for Parallel {
    const KIND: &'static str = "parallel";
    const ALIASES: &'static [&'static str] = &["split"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Opens branches, or holds components, that run side by side.";

    fn example() -> Value {
        json!({ "branches": ["stock", "payment"] })
    }

    fn ports(config: &Value) -> OwnPorts {
        OwnPorts { names: branches(config).map(str::to_owned).collect(), exclusive: false }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut seen = Vec::new();
        for (index, name) in branches(config).enumerate() {
            let index = index.to_string();
            problems.extend(check_port_name(name, &["branches", &index]));
            if seen.contains(&name) {
                problems.push(problem(&["branches", &index], format!("the branch `{name}` is named twice")));
            }
            seen.push(name);
        }
        problems
    }
}
