//! `type: while_loop`. Its config is [`shared::component::control::WhileLoop`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Family, Field, control::WhileLoop};

use crate::describe::{Component, check_duration, problem};

impl Component for WhileLoop {
    const KIND: &'static str = "while_loop";
    const ALIASES: &'static [&'static str] = &["while"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Runs its components again and again while a condition holds.";

    fn example() -> Value {
        json!({ "condition": "iteration < 3", "max_iterations": 10 })
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        if path == ["condition"] { Field::Deferred } else { Field::Template }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if config.get("condition").is_some_and(|condition| !condition.is_string() && !condition.is_boolean())
        {
            problems
                .push(problem(&["condition"], "the condition is a bare expression that is true or false"));
        }
        problems.extend(check_duration(config, &["pause"], true));
        problems
    }
}
