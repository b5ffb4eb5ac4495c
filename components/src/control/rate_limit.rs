//! `type: rate_limit`. Its config is [`shared::component::control::RateLimit`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Effect, Family, OwnPorts, control::RateLimit};

use crate::describe::{Component, check_duration, problem};

impl Component for RateLimit {
    const KIND: &'static str = "rate_limit";
    const ALIASES: &'static [&'static str] = &["throttle"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Lets so many through a period, over all executions.";

    fn example() -> Value {
        json!({ "key": "crm", "limit": 100, "per": "1m", "burst": 10 })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts::one_of(&["admitted", "refused"])
    }

    fn effect(_: &Value) -> Effect {
        Effect::Idempotent
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if config
            .get("key")
            .and_then(Value::as_str)
            .is_some_and(|key| key.trim().is_empty() || key.len() > 512)
        {
            problems.push(problem(&["key"], "`key` has from 1 to 512 bytes"));
        }
        problems.extend(check_duration(config, &["per"], false));
        problems.extend(check_duration(config, &["max_wait"], true));
        if config.get("mode").and_then(Value::as_str) == Some("refuse") && config.get("max_wait").is_some() {
            let mut contradiction = problem(&["max_wait"], "`mode: refuse` does not wait");
            contradiction.suggestion = Some("remove `max_wait`, or write `mode: wait`".to_owned());
            problems.push(contradiction);
        }
        problems
    }
}
