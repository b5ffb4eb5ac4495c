//! `type: noop`. Its config is [`shared::component::control::Noop`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::Noop};

use crate::describe::Component;

impl Component for Noop {
    const KIND: &'static str = "noop";
    const ALIASES: &'static [&'static str] = &["pass"];
    const FAMILY: Family = Family::Basic;
    const SUMMARY: &'static str = "Passes a value on: a place holder and a joining point.";

    fn example() -> Value {
        json!({ "value": { "total": 3 } })
    }
}
