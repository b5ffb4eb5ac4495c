//! `type: start`. Its config is [`shared::component::control::Start`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::Start};

use crate::describe::Component;

impl Component for Start {
    const KIND: &'static str = "start";
    const FAMILY: Family = Family::Basic;
    const SUMMARY: &'static str = "Marks where an execution begins; its output is the checked parameters.";

    fn example() -> Value {
        json!({ "defaults": { "region": "eu" } })
    }
}
