//! `type: try_catch`. Its config is [`shared::component::control::TryCatch`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, FailureClass, Family, OwnPorts, control::TryCatch};

use crate::describe::{Component, is_expression, problem};

impl Component for TryCatch {
    const KIND: &'static str = "try_catch";
    const ALIASES: &'static [&'static str] = &["try"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Runs its components, and others when they fail or at the end in any case.";

    fn example() -> Value {
        json!({ "classes": ["timeout", "connection"] })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts { names: vec!["caught".to_owned()], exclusive: false }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let Some(classes) = config.get("classes").and_then(Value::as_array) else { return problems };
        if classes.is_empty() {
            problems.push(problem(
                &["classes"],
                "an empty list catches nothing; leave `classes` out to catch all",
            ));
        }
        for (index, class) in classes.iter().enumerate().filter(|(_, class)| !is_expression(class)) {
            let index = index.to_string();
            let place = ["classes", index.as_str()];
            match class.as_str().map(str::parse::<FailureClass>) {
                Some(Ok(FailureClass::Cancelled)) => {
                    problems.push(problem(&place, "what was cancelled cannot be caught"));
                }
                Some(Err(wrong)) => {
                    let mut found = problem(&place, wrong.to_string());
                    found.suggestion =
                        Some(format!("the classes are {}, and `user.<id>`", FailureClass::NAMES.join(", ")));
                    problems.push(found);
                }
                Some(Ok(_)) | None => {}
            }
        }
        problems
    }
}
