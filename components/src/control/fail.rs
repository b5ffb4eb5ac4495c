//! `type: fail`. Its config is [`shared::component::control::Fail`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, FailureClass, Family, control::Fail};

use crate::describe::{Component, is_expression, problem};

impl Component for Fail {
    const KIND: &'static str = "fail";
    const ALIASES: &'static [&'static str] = &["raise", "throw"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Ends its branch as failed, with a message and a class of your own.";

    fn example() -> Value {
        json!({ "message": "The order has no lines", "class": "user.empty_order" })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let Some(class) = config.get("class").filter(|class| !is_expression(class)).and_then(Value::as_str)
        else {
            return Vec::new();
        };
        match class.parse::<FailureClass>() {
            Ok(FailureClass::User(_)) => Vec::new(),
            Ok(_) => vec![problem(
                &["class"],
                format!("`{class}` is a class of the platform; write `user` or `user.{class}`"),
            )],
            Err(_) => vec![problem(
                &["class"],
                "the class must be `user` or `user.<id>`, with at most 64 letters, digits, _ and - in the id",
            )],
        }
    }
}
