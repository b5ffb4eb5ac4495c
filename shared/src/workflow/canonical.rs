//! The one form that is hashed and stored: fixed order of the known fields, canonical types, no layout.
//!
//! The order of keys counts only where it can be seen: components (the palette and the indexes),
//! parameters (the form) and maps inside a config value (cases, columns).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::component::Catalogue;

/// The fields of a document, in canonical order.
pub(crate) const DOCUMENT: &[&str] = &[
    "workflow",
    "name",
    "title",
    "description",
    "labels",
    "parameters",
    "triggers",
    "concurrency",
    "timeout",
    "on_unhandled_failure",
    "compensate_on_cancel",
    "components",
    "on_failure",
    "finally",
    "output",
    "layout",
];
/// The fields of a component, in canonical order.
pub(crate) const COMPONENT: &[&str] = &[
    "type",
    "title",
    "description",
    "needs",
    "join",
    "when",
    "config",
    "components",
    "catch",
    "finally",
    "retry",
    "timeout",
    "queue_timeout",
    "total_timeout",
    "delivery",
    "worker",
    "cache",
    "compensate",
    "concurrency",
];
pub(crate) const RETRY: &[&str] = &["max_attempts", "backoff", "initial", "cap", "jitter", "on"];
pub(crate) const WORKER: &[&str] = &["tags", "pool", "priority"];
pub(crate) const CACHE: &[&str] = &["key", "ttl"];
pub(crate) const CONCURRENCY: &[&str] = &["key", "limit", "on_conflict"];
pub(crate) const PARAMETER: &[&str] = &[
    "type",
    "title",
    "description",
    "required",
    "default",
    "enum",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "additionalProperties",
    "minProperties",
    "maxProperties",
];

/// Known fields first, in their order; the others after them, as written.
fn ordered(map: &Map<String, Value>, order: &[&str], each: &dyn Fn(&str, &Value) -> Value) -> Value {
    let mut result = Map::with_capacity(map.len());
    for name in order {
        if let Some(value) = map.get(*name) {
            result.insert((*name).to_owned(), each(name, value));
        }
    }
    for (name, value) in map {
        if !order.contains(&name.as_str()) {
            result.insert(name.clone(), each(name, value));
        }
    }
    Value::Object(result)
}

/// The keys of a map in one order, those inside it as they are.
pub(super) fn sorted(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    Value::Object(keys.into_iter().map(|key| (key.clone(), map[key].clone())).collect())
}

fn under(value: &Value, order: &[&str]) -> Value {
    match value {
        Value::Object(map) => ordered(map, order, &|_, value| value.clone()),
        other => other.clone(),
    }
}

/// The type as snapshots carry it: canonical, and without the major version 1.
pub(crate) fn kind<'a>(written: &'a str, catalogue: &'a Catalogue) -> &'a str {
    let bare = written.strip_suffix("@1").unwrap_or(written);
    catalogue.get(bare).map_or(bare, |descriptor| descriptor.kind)
}

fn component(map: &Map<String, Value>, catalogue: &Catalogue) -> Value {
    ordered(map, COMPONENT, &|name, value| match (name, value) {
        ("type", Value::String(written)) => Value::from(kind(written, catalogue)),
        ("needs", Value::Array(needs)) => {
            let mut needs: Vec<Value> = needs
                .iter()
                .map(|need| match need.as_str() {
                    Some(need) => Value::from(need.strip_suffix(".success").unwrap_or(need)),
                    None => need.clone(),
                })
                .collect();
            needs.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            Value::Array(needs)
        }
        ("config", value) => sorted(value),
        ("retry", value) => under(value, RETRY),
        ("worker", value) => under(value, WORKER),
        ("cache", value) => under(value, CACHE),
        ("concurrency", value) => under(value, CONCURRENCY),
        ("components" | "catch" | "finally", value) => components(value, catalogue),
        ("compensate", Value::Object(map)) => component(map, catalogue),
        (_, value) => value.clone(),
    })
}

fn components(value: &Value, catalogue: &Catalogue) -> Value {
    let Value::Object(components) = value else { return value.clone() };
    let each =
        |value: &Value| value.as_object().map_or_else(|| value.clone(), |map| component(map, catalogue));
    Value::Object(components.iter().map(|(id, value)| (id.clone(), each(value))).collect())
}

/// The canonical JSON text of a document.
pub(crate) fn text(document: &Map<String, Value>, catalogue: &Catalogue) -> String {
    let mut document = document.clone();
    document.shift_remove("layout");
    let value = ordered(&document, DOCUMENT, &|name, value| match (name, value) {
        ("labels", value) => sorted(value),
        ("concurrency", value) => under(value, CONCURRENCY),
        ("triggers", value) => super::triggers::canonical(value),
        ("parameters", Value::Object(parameters)) => Value::Object(
            parameters.iter().map(|(name, value)| (name.clone(), under(value, PARAMETER))).collect(),
        ),
        ("components" | "on_failure" | "finally", value) => components(value, catalogue),
        (_, value) => value.clone(),
    });
    value.to_string()
}

pub(crate) fn hash(canonical: &str) -> String {
    hex::encode(Sha256::digest(canonical.as_bytes()))
}
