//! `type: race`. Its config is [`shared::component::control::Race`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{Family, control::Race};

use crate::describe::Component;

/// Its ports, one for each of its components, are known from the document and not from its config.
impl Component for Race {
    const KIND: &'static str = "race";
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Starts all its components; the first that completes wins.";

    fn example() -> Value {
        json!({})
    }
}
