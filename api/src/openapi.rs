//! The OpenAPI document, made from the handlers and the shapes they read and answer.

use std::sync::OnceLock;

use serde_json::Value;
use utoipa::OpenApi;

/// The document, made once.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_json::to_value(crate::http::Document::openapi()).expect("an OpenAPI document is always JSON")
    })
}

/// What is said about a field, also where its shape has a name or may be null.
pub(crate) fn description(shape: &Value) -> Option<&str> {
    let own = shape["description"].as_str();
    own.or_else(|| {
        shape["oneOf"].as_array().into_iter().flatten().find_map(|one| one["description"].as_str())
    })
}

/// The OpenAPI 3.1 document of this release, as served at `/api/v1/openapi.json`.
pub fn openapi() -> Value {
    document().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_field_is_described() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert!(parameter["description"].is_string(), "{method} {path}: {}", parameter["name"]);
                }
            }
        }
        for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
            assert!(schema["description"].is_string(), "{name} has no description");
            for (field, shape) in schema["properties"].as_object().into_iter().flatten() {
                assert!(description(shape).is_some(), "{name}.{field} has no description");
            }
        }
    }

    #[test]
    fn no_reference_leads_nowhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(name)) = map.get("$ref") {
                        found.push(name.clone());
                    }
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(document(), &mut found);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document().pointer(pointer).is_some(), "{reference}");
        }
    }
}
