//! `type: for_loop`. Its config is [`shared::component::control::ForLoop`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Family, control::ForLoop};

use crate::describe::{Component, problem};

/// The most rounds of one loop.
const MOST: u64 = 100_000;

impl Component for ForLoop {
    const KIND: &'static str = "for_loop";
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Runs its components once for each number of a range.";

    fn example() -> Value {
        json!({ "from": 1, "to": 5 })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let number = |name: &str| match config.get(name) {
            None if name != "to" => Some(1),
            value => value.and_then(Value::as_i64),
        };
        let step = number("step");
        if step == Some(0) {
            return vec![problem(&["step"], "with a step of 0 the loop would never end")];
        }
        let (Some(from), Some(to), Some(step)) = (number("from"), number("to"), step) else {
            return Vec::new();
        };
        let (way, step) = (i128::from(to) - i128::from(from), i128::from(step));
        if way != 0 && (way > 0) != (step > 0) {
            return vec![problem(
                if config.get("step").is_some() { &["step"] } else { &["to"] },
                format!("from {from} in steps of {step} the loop goes away from {to}"),
            )];
        }
        let rounds = way / step + 1;
        if rounds > i128::from(MOST) {
            return vec![problem(
                &["to"],
                format!("the loop would have {rounds} rounds; the most is {MOST}"),
            )];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_ranges_are_found() {
        let problem = |config: Value| ForLoop::check(&config).pop().map(|problem| problem.path.join("."));
        assert_eq!(problem(json!({ "to": 0, "step": 0 })).as_deref(), Some("step"));
        assert_eq!(problem(json!({ "to": 0 })).as_deref(), Some("to"));
        assert_eq!(problem(json!({ "from": 5, "to": 9, "step": -1 })).as_deref(), Some("step"));
        assert_eq!(problem(json!({ "from": 5, "to": 1, "step": -2 })), None);
        assert_eq!(problem(json!({ "from": 5, "to": 5, "step": -2 })), None);
        assert_eq!(problem(json!({ "to": 100_000 })), None);
        assert_eq!(problem(json!({ "to": 100_001 })).as_deref(), Some("to"));
        assert_eq!(problem(json!({ "from": i64::MIN, "to": i64::MAX })).as_deref(), Some("to"));
        assert_eq!(problem(json!({ "from": i64::MAX, "to": i64::MIN, "step": i64::MIN })), None);
        assert_eq!(problem(json!({ "to": "${{ parameters.n }}", "step": -1 })), None);
        assert_eq!(problem(json!({ "to": "${{ parameters.n }}", "step": 0 })).as_deref(), Some("step"));
    }
}
