//! `type: decision`. Its config is [`shared::component::control::Decision`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, Field, OwnPorts, control::Decision};

use crate::describe::Component;

impl Component for Decision {
    const KIND: &'static str = "decision";
    const ALIASES: &'static [&'static str] = &["if_then", "if_then_else", "condition"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Chooses between two ways by a condition that is true or false.";

    fn example() -> Value {
        json!({ "condition": "2 > 1" })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts::one_of(&["true", "false"])
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        if path == ["condition"] { Field::Expression } else { Field::Template }
    }
}
