//! `type: group`. Its config is [`shared::component::control::Group`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, Field, control::Group};

use crate::describe::Component;

impl Component for Group {
    const KIND: &'static str = "group";
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Holds components that run as a graph of their own.";

    fn example() -> Value {
        json!({ "on_unhandled_failure": "stop" })
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        // What a failure does is a fact of the workflow, known before it runs.
        if path == ["on_unhandled_failure"] { Field::Verbatim } else { Field::Template }
    }
}
