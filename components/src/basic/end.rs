//! `type: end`. Its config is [`shared::component::control::End`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::End};

use crate::describe::Component;

impl Component for End {
    const KIND: &'static str = "end";
    const FAMILY: Family = Family::Basic;
    const SUMMARY: &'static str = "Marks an exit and shapes the execution's output.";

    fn example() -> Value {
        json!({ "output": { "done": true } })
    }
}
