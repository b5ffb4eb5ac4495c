//! `type: switch`. Its config is [`shared::component::control::Switch`]; the engine decides it.

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Family, Field, OwnPorts, control::Switch};

use super::check_port_name;
use crate::describe::{Component, is_expression, problem};

fn compares(config: &Value) -> bool {
    config.get("value").is_some_and(|value| !value.is_null())
}

impl Component for Switch {
    const KIND: &'static str = "switch";
    const ALIASES: &'static [&'static str] = &["case"];
    const FAMILY: Family = Family::Control;
    const SUMMARY: &'static str = "Chooses between many ways; what matches no case leaves by `default`.";

    fn example() -> Value {
        json!({ "value": "gold", "cases": { "gold": "gold", "silver": "silver" } })
    }

    fn ports(config: &Value) -> OwnPorts {
        let cases = config.get("cases").and_then(Value::as_object);
        let names = cases.into_iter().flat_map(|cases| cases.keys().cloned());
        OwnPorts {
            names: names.chain(std::iter::once("default".to_owned())).collect(),
            exclusive: config.get("match").and_then(Value::as_str) != Some("all"),
        }
    }

    fn field(config: &Value, path: &[&str]) -> Field {
        match path {
            ["cases", ..] if !compares(config) => Field::Expression,
            _ => Field::Template,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let Some(cases) = config.get("cases").and_then(Value::as_object) else { return Vec::new() };
        let mut problems = Vec::new();
        let mut seen: Vec<(&String, &Value)> = Vec::new();
        for (name, literal) in cases {
            if name == "default" {
                problems.push(problem(
                    &["cases", name],
                    "`default` is the port of what matches no case; choose another name",
                ));
            } else {
                problems.extend(check_port_name(name, &["cases", name]));
            }
            if let Some((earlier, _)) =
                seen.iter().find(|(_, known)| *known == literal && !is_expression(literal))
            {
                problems.push(problem(
                    &["cases", name],
                    format!("the cases `{earlier}` and `{name}` stand for the same; the second could never be chosen"),
                ));
            }
            if !compares(config) && !literal.is_string() && !literal.is_boolean() {
                problems.push(problem(
                    &["cases", name],
                    "without `value` each case is a bare expression that is true or false",
                ));
            }
            seen.push((name, literal));
        }
        problems
    }
}
