//! `type: log`. Its config is [`shared::component::control::Log`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::Log};

use crate::describe::Component;

impl Component for Log {
    const KIND: &'static str = "log";
    const ALIASES: &'static [&'static str] = &["logging"];
    const FAMILY: Family = Family::Utility;
    const SUMMARY: &'static str = "Writes a line in the execution's log.";

    fn example() -> Value {
        json!({ "message": "The order was shipped", "level": "info", "fields": { "order": 4711 } })
    }
}
