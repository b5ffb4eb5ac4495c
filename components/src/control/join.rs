//! `type: join`. Its config is [`shared::component::control::Join`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::Join};

use crate::describe::Component;

impl Component for Join {
    const KIND: &'static str = "join";
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Closes branches; its output maps each completed branch to its output.";

    fn example() -> Value {
        json!({})
    }
}
