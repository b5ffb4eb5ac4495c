//! `type: wait_for_event`. Its config is [`shared::component::control::WaitForEvent`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Effect, Family, Field, OwnPorts, control::WaitForEvent};

use crate::describe::{Component, check_duration, problem};

impl Component for WaitForEvent {
    const KIND: &'static str = "wait_for_event";
    const ALIASES: &'static [&'static str] = &["wait_event", "receive"];
    const FAMILY: Family = Family::Time;
    const SUMMARY: &'static str = "Waits for an event or signal of a type, with a key.";

    fn example() -> Value {
        json!({ "event": "payment.received", "key": "order-4711", "filter": "event.body.amount > 0" })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts { names: vec!["received".to_owned()], exclusive: false }
    }

    fn effect(_: &Value) -> Effect {
        Effect::Idempotent
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        if path == ["filter"] { Field::Deferred } else { Field::Template }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        for name in ["event", "key"] {
            let text = config.get(name).and_then(Value::as_str);
            if text.is_some_and(|text| text.trim().is_empty() || text.chars().count() > 512) {
                problems.push(problem(&[name], format!("`{name}` has from 1 to 512 characters")));
            }
        }
        problems.extend(check_duration(config, &["within"], false));
        problems.extend(check_duration(config, &["early"], true));
        problems
    }
}
