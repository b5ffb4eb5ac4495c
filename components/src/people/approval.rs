//! `type: approval`. Its config is [`shared::component::control::Approval`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Effect, Family, OwnPorts, control::Approval};

use super::check_request;
use crate::describe::{Component, check_duration, is_expression, problem};

impl Component for Approval {
    const KIND: &'static str = "approval";
    const FAMILY: Family = Family::People;
    const SUMMARY: &'static str = "Asks people for a decision and waits for it.";

    fn example() -> Value {
        json!({ "assignees": ["group:finance"], "message": "Pay the invoice 4711?", "expires": "48h" })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts::one_of(&["approved", "rejected", "expired"])
    }

    fn effect(_: &Value) -> Effect {
        Effect::Effect
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = check_request(config);
        problems.extend(check_duration(config, &["remind_every"], false));
        let fits = match config.get("quorum") {
            None => true,
            Some(Value::Number(number)) => number.as_u64().is_some_and(|number| number >= 1),
            Some(Value::String(word)) => word == "any" || word == "all" || word.contains("${{"),
            Some(_) => false,
        };
        if !fits {
            problems.push(problem(&["quorum"], "the quorum is `any`, `all` or a number from 1"));
        }
        if let Some(outcome) = config.get("on_expiry").filter(|outcome| !is_expression(outcome))
            && outcome != "expire"
            && config.get("expires").is_none_or(Value::is_null)
        {
            let mut found = problem(&["on_expiry"], "without `expires` the time is never over");
            found.suggestion = Some("add `expires`, such as `expires: 48h`".to_owned());
            problems.push(found);
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_found() {
        let problems = |more: Value| {
            let mut config = json!({ "assignees": ["ann"] });
            for (name, value) in more.as_object().expect("a map") {
                config[name] = value.clone();
            }
            let found: Vec<String> =
                Approval::check(&config).into_iter().map(|problem| problem.path.join(".")).collect();
            found.join(" ")
        };
        assert_eq!(problems(json!({})), "");
        assert_eq!(problems(json!({ "assignees": [] })), "assignees");
        assert_eq!(
            problems(json!({ "assignees": ["user:ann", "team:x", "role:", " "] })),
            "assignees.1 assignees.2 assignees.3"
        );
        assert_eq!(problems(json!({ "assignees": ["${{ parameters.boss }}"] })), "");
        assert_eq!(problems(json!({ "expires": "48" })), "expires");
        assert_eq!(problems(json!({ "expires": "0s" })), "expires");
        assert_eq!(problems(json!({ "expires": "366d" })), "expires");
        assert_eq!(problems(json!({ "expires": "${{ parameters.time }}" })), "");
        assert_eq!(problems(json!({ "remind_every": "daily" })), "remind_every");
        assert_eq!(problems(json!({ "quorum": "most" })), "quorum");
        assert_eq!(problems(json!({ "quorum": 0 })), "quorum");
        assert_eq!(problems(json!({ "quorum": 2 })), "");
        assert_eq!(problems(json!({ "on_expiry": "approve" })), "on_expiry");
        assert_eq!(problems(json!({ "on_expiry": "approve", "expires": "1d" })), "");
        assert_eq!(problems(json!({ "form": { "type": "x" } })), "form");
        assert_eq!(
            problems(
                json!({ "expires": "1d", "escalate": [{ "after": "2d", "to": ["b"] }, { "after": "x", "to": [] }] })
            ),
            "escalate.0.after escalate.1.after escalate.1.to"
        );
    }
}
