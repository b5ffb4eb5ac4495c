//! `type: set_variables`. Its config is [`shared::component::control::SetVariables`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::SetVariables};

use crate::describe::Component;

impl Component for SetVariables {
    const KIND: &'static str = "set_variables";
    const ALIASES: &'static [&'static str] = &["set_variable", "assign"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Computes named values that later components read as its output.";

    fn example() -> Value {
        json!({ "values": { "greeting": "Hello", "times": 3 } })
    }
}
