//! `type: loop`. Its config is [`shared::component::control::Loop`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Family, control::Loop};

use crate::describe::{Component, is_expression, problem};

impl Component for Loop {
    const KIND: &'static str = "loop";
    const ALIASES: &'static [&'static str] = &["foreach", "for_each"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Runs its components once for each item of a list.";

    fn example() -> Value {
        json!({ "items": ["north", "south"], "max_parallel": 2, "on_item_error": "collect" })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if let Some(items) = config.get("items").filter(|items| !is_expression(items)) {
            // A map is a row set, which is read item by item.
            if !items.is_array() && !items.is_object() {
                problems
                    .push(problem(&["items"], "the items must be a list, or an expression that gives one"));
            }
        }
        if let Some(text) =
            config.get("tolerate").filter(|value| !is_expression(value)).and_then(Value::as_str)
            && !is_share(text)
        {
            problems.push(problem(
                &["tolerate"],
                format!("`{text}` must be a number such as 3, or a share from 0% to 100%, such as `5%`"),
            ));
        }
        problems
    }
}

/// Whether a text is a share such as `5%` or `0.5%`.
fn is_share(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|number| {
        number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && number.parse::<f64>().is_ok_and(|share| (0.0..=100.0).contains(&share))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_found() {
        let problems = |config: Value| Loop::check(&config).len();
        assert_eq!(problems(json!({ "items": "a, b" })), 1);
        assert_eq!(problems(json!({ "items": 3 })), 1);
        assert_eq!(problems(json!({ "items": "${{ parameters.lines }}" })), 0);
        for fits in [json!("5%"), json!("0%"), json!("100%"), json!("0.5%"), json!(3), json!("${{ 1 }}")] {
            assert_eq!(problems(json!({ "items": [], "tolerate": fits })), 0, "{fits}");
        }
        for wrong in ["5", "%", "-1%", "101%", "5 %", "1e1%", "inf%", "5%%", ""] {
            assert_eq!(problems(json!({ "items": [], "tolerate": wrong })), 1, "{wrong}");
        }
    }
}
