//! `type: human_task`. Its config is [`shared::component::control::HumanTask`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Effect, Family, OwnPorts, control::HumanTask};

use super::check_request;
use crate::describe::{Component, check_duration};

impl Component for HumanTask {
    const KIND: &'static str = "human_task";
    const ALIASES: &'static [&'static str] = &["manual_task", "form_input"];
    const FAMILY: Family = Family::People;
    const SUMMARY: &'static str = "Asks people for work and its data, and waits for them.";

    fn example() -> Value {
        json!({
            "assignees": ["role:clerk"],
            "instructions": "Read the amount from the scan.",
            "form": {
                "type": "object",
                "properties": { "amount": { "type": "number" } },
                "required": ["amount"]
            }
        })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts::one_of(&["submitted", "expired"])
    }

    fn effect(_: &Value) -> Effect {
        Effect::Effect
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = check_request(config);
        problems.extend(check_duration(config, &["due"], false));
        problems
    }
}
