//! The JSON Schema of the whole document, for editors. It is more lenient than the reader, which has
//! the last word: an editor cannot follow connections and expressions.

use serde_json::{Map, Value, json};

use super::containers::{NOT_ON_CONTAINERS, is_container};
use crate::component::{Catalogue, FailureClass};

/// The JSON Schema (2020-12) of a workflow document.
pub fn json_schema(catalogue: &Catalogue) -> Value {
    let mut definitions = Map::new();
    let mut choices = Vec::new();
    let mut names = Vec::new();
    for descriptor in catalogue.iter() {
        let kinds: Vec<String> = std::iter::once(descriptor.kind)
            .chain(descriptor.aliases.iter().copied())
            .flat_map(|name| [name.to_owned(), format!("{name}@1")])
            .collect();
        let mut config = catalogue.schema(descriptor.kind).cloned().unwrap_or(Value::Bool(true));
        hoist(descriptor.kind, &mut config, &mut definitions);
        definitions.insert(format!("config_{}", descriptor.kind), config);
        let mut then =
            json!({ "properties": { "config": { "$ref": format!("#/$defs/config_{}", descriptor.kind) } } });
        // A field that a type has not is one that no value fits.
        let fields = &mut then["properties"];
        if !is_container(descriptor.kind) {
            fields["components"] = Value::Bool(false);
        }
        if descriptor.kind != "try_catch" {
            fields["catch"] = Value::Bool(false);
            fields["finally"] = Value::Bool(false);
        }
        if is_container(descriptor.kind) && descriptor.kind != "parallel" {
            then["required"] = json!(["components"]);
            for name in NOT_ON_CONTAINERS.iter().map(|(name, ..)| *name) {
                then["properties"][name] = Value::Bool(false);
            }
        }
        choices.push(json!({
            "if": { "properties": { "type": { "enum": kinds } }, "required": ["type"] },
            "then": then,
        }));
        names.push(json!({ "const": descriptor.kind, "description": descriptor.summary }));
        names.extend(
            kinds.iter().filter(|name| *name != descriptor.kind).map(|name| json!({ "const": name })),
        );
    }
    let triggers = trigger(&mut definitions);
    let duration = json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" });
    let id = "^[a-z][a-z0-9_]{0,63}$";
    definitions.insert("duration".to_owned(), duration);
    definitions.insert(
        "concurrency".to_owned(),
        json!({
            "description": "So many with the same key run at once; `on_conflict` says what becomes of the others.",
            "type": "object",
            "required": ["key"],
            "additionalProperties": false,
            "properties": {
                "key": {
                    "description": "Text, the same for all or with `${{ }}`. What gives null or nothing is not limited.",
                    "type": "string"
                },
                "limit": { "type": "integer", "minimum": 1, "default": 1 },
                "on_conflict": {
                    "description": "`queue` waits; `drop_new` does not run; `cancel_running` ends the oldest in its way; `fair` waits, and the keys take turns under one limit.",
                    "enum": ["queue", "drop_new", "cancel_running", "fair"],
                    "default": "queue"
                }
            }
        }),
    );
    definitions.insert(
        "cache".to_owned(),
        json!({
            "description": "What it completes with is used again, for the same key and as long as `ttl` says.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "key": {
                    "description": "Any value, with `${{ }}` where it should tell some from others; the resolved config when it is left out. What gives null is not cached."
                },
                "ttl": {
                    "description": "From 1s to 365d.",
                    "default": "1d",
                    "allOf": [{ "$ref": "#/$defs/duration" }]
                }
            }
        }),
    );
    definitions.insert(
        "components".to_owned(),
        json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": id },
            "additionalProperties": { "$ref": "#/$defs/component" }
        }),
    );
    definitions.insert(
        "component".to_owned(),
        json!({
            "type": "object",
            "required": ["type"],
            "additionalProperties": false,
            "properties": {
                "type": { "description": "The component type.", "anyOf": names },
                "title": { "type": "string" },
                "description": { "type": "string" },
                "needs": {
                    "description": "Connections in: `id` or `id.port`.",
                    "type": "array", "items": { "type": "string" }, "uniqueItems": true
                },
                "join": { "enum": ["all", "any", "all_done"] },
                "when": { "description": "A bare expression; false means skipped.", "type": ["string", "boolean"] },
                "config": { "type": "object" },
                "components": {
                    "description": "What stands inside a container: a graph of its own.",
                    "$ref": "#/$defs/components"
                },
                "catch": {
                    "description": "Runs when the components of a `try_catch` failed; `error` is what happened.",
                    "$ref": "#/$defs/components"
                },
                "finally": {
                    "description": "Runs at the end of a `try_catch` in any case.",
                    "$ref": "#/$defs/components"
                },
                "compensate": {
                    "description": "Undoes this component when the execution fails later; `this` is what it gave.",
                    "allOf": [{ "$ref": "#/$defs/component" }],
                    "properties": {
                        "needs": false, "join": false, "when": false, "components": false, "catch": false,
                        "finally": false, "compensate": false
                    }
                },
                "retry": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "max_attempts": { "type": "integer", "minimum": 1, "maximum": 1000 },
                        "backoff": { "enum": ["none", "fixed", "exponential"] },
                        "initial": { "$ref": "#/$defs/duration" },
                        "cap": { "$ref": "#/$defs/duration" },
                        "jitter": { "type": "boolean" },
                        "on": {
                            "type": "array",
                            "items": { "anyOf": [{ "enum": FailureClass::NAMES }, { "type": "string", "pattern": "^user\\." }] }
                        }
                    }
                },
                "timeout": { "$ref": "#/$defs/duration" },
                "queue_timeout": { "$ref": "#/$defs/duration" },
                "total_timeout": { "$ref": "#/$defs/duration" },
                "delivery": { "enum": ["at_least_once", "at_most_once"] },
                "worker": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "tags": { "type": "array", "items": { "type": "string" } },
                        "pool": { "type": "string" },
                        "priority": { "enum": ["high", "normal", "low"] }
                    }
                },
                "cache": { "$ref": "#/$defs/cache" },
                "concurrency": { "$ref": "#/$defs/concurrency" }
            },
            "allOf": choices,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workflow v1",
        "type": "object",
        "required": ["workflow", "name", "components"],
        "additionalProperties": false,
        "properties": {
            "workflow": { "const": "v1" },
            "name": { "type": "string", "minLength": 1, "maxLength": 200 },
            "title": { "type": "string" },
            "description": { "type": "string" },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            "parameters": {
                "type": "object",
                "propertyNames": { "pattern": id },
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "type": { "enum": ["string", "integer", "number", "boolean", "array", "object", "any"] },
                        "required": { "type": "boolean" },
                        "description": { "type": "string" },
                        "enum": { "type": "array", "minItems": 1 }
                    }
                }
            },
            "triggers": {
                "description": "What starts the workflow by itself.",
                "type": "object",
                "propertyNames": { "pattern": id },
                "additionalProperties": triggers
            },
            "concurrency": { "$ref": "#/$defs/concurrency" },
            "timeout": { "$ref": "#/$defs/duration" },
            "on_unhandled_failure": { "enum": ["finish", "stop"] },
            "compensate_on_cancel": {
                "description": "Whether a cancelled execution is undone as a failed one is.",
                "type": "boolean"
            },
            "components": { "$ref": "#/$defs/components" },
            "on_failure": {
                "description": "Runs when the execution fails, after what is undone; `error` is what happened.",
                "$ref": "#/$defs/components"
            },
            "finally": {
                "description": "Runs at the end of an execution in any case.",
                "$ref": "#/$defs/components"
            },
            "output": { "description": "What the execution gives back; texts may hold `${{ }}`." },
            "layout": { "description": "Positions and notes for the designer; not part of the version." }
        },
        "$defs": definitions,
    })
}

/// The schema of one trigger.
fn trigger(definitions: &mut Map<String, Value>) -> Value {
    let mut choices = Vec::new();
    let mut names = Vec::new();
    for kind in super::triggers::TRIGGER_TYPES {
        let all: Vec<String> = std::iter::once(kind.kind)
            .chain(kind.aliases.iter().copied())
            .flat_map(|name| [name.to_owned(), format!("{name}@1")])
            .collect();
        let mut config = (kind.schema)();
        hoist(kind.kind, &mut config, definitions);
        if let Some(properties) = config.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("dedupe_key".to_owned(), json!({ "type": "string" }));
            properties.insert("max_per_hour".to_owned(), json!({ "type": "integer", "minimum": 1 }));
        }
        definitions.insert(format!("config_{}", kind.kind), config);
        choices.push(json!({
            "if": { "properties": { "type": { "enum": all } }, "required": ["type"] },
            "then": { "properties": { "config": { "$ref": format!("#/$defs/config_{}", kind.kind) } } },
        }));
        names.push(json!({ "const": kind.kind, "description": kind.summary }));
        names.extend(all.iter().filter(|name| *name != kind.kind).map(|name| json!({ "const": name })));
    }
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": { "description": "The trigger type.", "anyOf": names },
            "title": { "type": "string" },
            "description": { "type": "string" },
            "enabled": { "description": "Whether it starts anything.", "type": "boolean" },
            "config": { "type": "object" },
            "parameters": { "description": "The workflow's parameters, made of `event`.", "type": "object" },
            "dedupe_key": { "description": "The same key starts one execution within 7 days.", "type": "string" },
            "max_per_hour": { "type": "integer", "minimum": 1 },
            "concurrency": { "$ref": "#/$defs/concurrency" }
        },
        "allOf": choices,
    })
}

/// Moves a config schema's own definitions to the top under names of their own, and lets expressions stand anywhere.
fn hoist(kind: &str, schema: &mut Value, definitions: &mut Map<String, Value>) {
    fn rename(kind: &str, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    if let ("$ref", Value::String(target)) = (key.as_str(), &mut *item) {
                        if let Some(name) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/$defs/{kind}_{name}");
                        }
                    } else {
                        rename(kind, item);
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|item| rename(kind, item)),
            _ => {}
        }
    }
    fn open(schema: &mut Value) {
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            for property in properties.values_mut() {
                let is_text = property.get("type").and_then(Value::as_str) == Some("string");
                if !is_text && property.is_object() {
                    let whole = property.take();
                    let about = whole.get("description").cloned();
                    *property = json!({ "anyOf": [whole, { "type": "string", "pattern": "\\$\\{\\{" }] });
                    if let Some(about) = about {
                        property["description"] = about;
                    }
                }
            }
        }
    }
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("$schema");
    }
    rename(kind, schema);
    if let Some(Value::Object(own)) = schema.as_object_mut().and_then(|map| map.shift_remove("$defs")) {
        for (name, definition) in own {
            definitions.insert(format!("{kind}_{name}"), definition);
        }
    }
    open(schema);
}
