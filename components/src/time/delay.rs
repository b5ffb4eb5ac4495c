//! `type: delay`. Its config is [`shared::component::control::Delay`]; the engine decides it.

use serde_json::{Value, json};
use shared::{
    component::{ConfigProblem, Family, control::Delay},
    time::Timestamp,
};

use crate::describe::{Component, check_duration, exactly_one, is_expression, problem};

impl Component for Delay {
    const KIND: &'static str = "delay";
    const ALIASES: &'static [&'static str] = &["timer", "wait", "sleep"];
    const FAMILY: Family = Family::Time;
    const SUMMARY: &'static str = "Waits durably for a while or until an instant, with no worker held.";

    fn example() -> Value {
        json!({ "for": "1s" })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = exactly_one(config, &["for", "until"]);
        let literal =
            |name: &str| config.get(name).filter(|value| !is_expression(value)).and_then(Value::as_str);
        problems.extend(check_duration(config, &["for"], true));
        if let Some(text) = literal("until")
            && text.parse::<Timestamp>().is_err()
        {
            problems.push(problem(
                &["until"],
                "the instant must be written as in RFC 3339, such as 2030-01-31T08:00:00Z",
            ));
        }
        problems
    }
}
