//! A checker for the part of JSON Schema 2020-12 that the catalogue's schemas and parameters use.
//!
//! It is lenient where an expression stands: its value is not known when a document is saved.

use serde_json::{Map, Value};

use super::problem::nearest;
use crate::{component::Field, expression::kind_of};

/// A value that does not fit.
#[derive(Debug, Clone)]
pub(crate) struct Mismatch {
    pub(crate) code: &'static str,
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    /// Whether the key, not the value, is what is wrong.
    pub(crate) at_key: bool,
}

/// How the text at a path of a config is read.
pub(crate) type FieldKind<'a> = dyn Fn(&[&str]) -> Field + 'a;

pub(crate) struct Checker<'a> {
    root: &'a Value,
    /// How the text at a path is read; absent where texts are only texts.
    field: Option<&'a FieldKind<'a>>,
    path: Vec<String>,
    found: Vec<Mismatch>,
}

/// Every way in which `value` does not fit `schema`.
pub(crate) fn check(schema: &Value, value: &Value, field: Option<&FieldKind<'_>>) -> Vec<Mismatch> {
    let mut checker = Checker { root: schema, field, path: Vec::new(), found: Vec::new() };
    checker.node(schema, value, 0);
    checker.found
}

impl Checker<'_> {
    fn wrong(&mut self, code: &'static str, message: String, suggestion: Option<String>) {
        self.found.push(Mismatch { code, path: self.path.clone(), message, suggestion, at_key: false });
    }

    /// Whether the text stands for a value that only the run knows.
    fn is_open(&self, value: &Value) -> bool {
        let (Some(field), Value::String(text)) = (self.field, value) else { return false };
        let keys: Vec<&str> =
            self.path.iter().map(String::as_str).filter(|step| step.parse::<usize>().is_err()).collect();
        match field(&keys) {
            Field::Expression | Field::RowExpression | Field::Deferred => true,
            Field::Template => text.contains("${{"),
            Field::Verbatim => false,
        }
    }

    fn node(&mut self, schema: &Value, value: &Value, depth: usize) {
        let Value::Object(rules) = schema else {
            if schema == &Value::Bool(false) {
                self.wrong("config", "nothing may stand here".to_owned(), Some("remove it".to_owned()));
            }
            return;
        };
        if depth > 64 || self.is_open(value) {
            return;
        }
        if let Some(target) = rules.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            if let Some(target) = target {
                self.node(&target, value, depth + 1);
            }
        }
        for part in rules.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.node(part, value, depth + 1);
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(choices) = rules.get(word).and_then(Value::as_array) {
                self.choice(choices, value, depth);
            }
        }
        if let Some(expected) = rules.get("const")
            && expected != value
        {
            self.wrong("config_value", format!("expected {expected}, got {}", shown(value)), None);
            return;
        }
        if let Some(allowed) = rules.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            self.not_among(allowed, value);
            return;
        }
        if !self.type_fits(rules, value) {
            return;
        }
        match value {
            Value::Object(map) => self.object(rules, map, depth),
            Value::Array(items) => self.list(rules, items, depth),
            Value::String(text) => self.text(rules, text),
            Value::Number(_) => self.number(rules, value),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn type_fits(&mut self, rules: &Map<String, Value>, value: &Value) -> bool {
        let names: Vec<&str> = match rules.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let fits = names.iter().any(|name| match (*name, value) {
            ("null", Value::Null)
            | ("boolean", Value::Bool(_))
            | ("number", Value::Number(_))
            | ("string", Value::String(_))
            | ("array", Value::Array(_))
            | ("object", Value::Object(_)) => true,
            ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
            _ => false,
        });
        if !fits {
            let expected: Vec<&str> =
                names.iter().map(|name| article(name)).filter(|name| *name != "null").collect();
            let suggestion = match (names.first(), value) {
                (Some(&"string"), Value::Number(_) | Value::Bool(_)) => {
                    Some(format!("quote it: \"{value}\""))
                }
                (Some(&"integer" | &"number" | &"boolean"), Value::String(text))
                    if serde_json::from_str::<Value>(text).is_ok() =>
                {
                    Some(format!("remove the quotes: {text}"))
                }
                (Some(&"array"), other) if !other.is_object() && !other.is_null() => {
                    Some(format!("write it as a list: [{other}]"))
                }
                _ => None,
            };
            self.wrong(
                "config_type",
                format!("expected {}, got {}", expected.join(" or "), shown(value)),
                suggestion,
            );
        }
        fits
    }

    fn not_among(&mut self, allowed: &[Value], value: &Value) {
        let names: Vec<String> = allowed.iter().map(plain).collect();
        let near = value.as_str().and_then(|text| nearest(text, names.iter().map(String::as_str)));
        let suggestion = near.map(|near| format!("did you mean `{near}`?"));
        let mut list = names.iter().take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if names.len() > 20 {
            list.push_str(", …");
        }
        self.wrong("config_value", format!("expected one of {list}, got {}", shown(value)), suggestion);
    }

    /// `anyOf` and `oneOf` alike: what fits no branch is reported for the branch it comes nearest to.
    fn choice(&mut self, choices: &[Value], value: &Value, depth: usize) {
        let start = self.found.len();
        let mut best: Option<(bool, usize, Vec<Mismatch>)> = None;
        let mut constants = Vec::new();
        for choice in choices {
            self.node(choice, value, depth + 1);
            let found = self.found.split_off(start);
            if found.is_empty() {
                return;
            }
            let is_null = choice.get("type") == Some(&Value::from("null"));
            if is_null {
                continue;
            }
            let target = choice
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|target| self.root.pointer(target.strip_prefix('#')?))
                .unwrap_or(choice);
            if let Some(constant) = target.get("const") {
                constants.push(constant.clone());
            }
            constants.extend(target.get("enum").and_then(Value::as_array).into_iter().flatten().cloned());
            let here = self.path.len();
            let wrong_tag = found.iter().any(|mismatch| {
                mismatch.code == "config_value"
                    && mismatch.path.len() == here + 1
                    && mismatch.message.starts_with("expected \"")
            });
            let wrong_type =
                found.iter().any(|mismatch| mismatch.path.len() == here && mismatch.code == "config_type");
            let rank = (!wrong_tag && !wrong_type, usize::MAX - found.len());
            if best.as_ref().is_none_or(|(fits, few, _)| rank > (*fits, *few)) {
                best = Some((rank.0, rank.1, found));
            }
        }
        if !constants.is_empty() && !value.is_object() && !value.is_array() {
            self.not_among(&constants, value);
            return;
        }
        match best {
            Some((_, _, found)) => self.found.extend(found),
            None => self.wrong("config_type", format!("{} does not fit here", shown(value)), None),
        }
    }

    fn object(&mut self, rules: &Map<String, Value>, map: &Map<String, Value>, depth: usize) {
        let empty = Map::new();
        let properties = rules.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for name in
            rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !map.contains_key(name) {
                let near = nearest(
                    name,
                    map.keys().map(String::as_str).filter(|key| !properties.contains_key(*key)),
                );
                self.wrong(
                    "config_missing",
                    format!("`{name}` is required"),
                    near.map(|near| format!("did you mean `{name}` where `{near}` stands?")),
                );
            }
        }
        let additional = rules.get("additionalProperties");
        for (key, item) in map {
            self.path.push(key.clone());
            if let Some(schema) = properties.get(key) {
                self.node(schema, item, depth + 1);
            } else if additional == Some(&Value::Bool(false)) {
                let near = nearest(key, properties.keys().map(String::as_str));
                let suggestion = match near {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if properties.is_empty() => Some("it takes no fields".to_owned()),
                    None => Some(format!(
                        "the fields are {}",
                        properties.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                    )),
                };
                self.found.push(Mismatch {
                    code: "unknown_field",
                    path: self.path.clone(),
                    message: format!("there is no field `{key}` here"),
                    suggestion,
                    at_key: true,
                });
            } else if let Some(schema) = additional {
                self.node(schema, item, depth + 1);
            }
            self.path.pop();
        }
        self.size(rules, "minProperties", "maxProperties", map.len(), "entries");
    }

    fn list(&mut self, rules: &Map<String, Value>, items: &[Value], depth: usize) {
        self.size(rules, "minItems", "maxItems", items.len(), "items");
        let prefix = rules.get("prefixItems").and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let schema = prefix.and_then(|list| list.get(index)).or_else(|| rules.get("items"));
            if let Some(schema) = schema {
                self.path.push(index.to_string());
                self.node(schema, item, depth + 1);
                self.path.pop();
            }
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true))
            && items.len() <= 1_000
            && items.iter().enumerate().any(|(index, item)| items[..index].contains(item))
        {
            self.wrong("config_value", "the items must differ from one another".to_owned(), None);
        }
    }

    fn text(&mut self, rules: &Map<String, Value>, text: &str) {
        self.size(rules, "minLength", "maxLength", text.chars().count(), "characters");
    }

    fn size(&mut self, rules: &Map<String, Value>, least: &str, most: &str, size: usize, what: &str) {
        if let Some(least) = rules.get(least).and_then(Value::as_u64).filter(|least| (size as u64) < *least) {
            self.wrong("config_value", format!("expected at least {least} {what}, got {size}"), None);
        }
        if let Some(most) = rules.get(most).and_then(Value::as_u64).filter(|most| (size as u64) > *most) {
            self.wrong("config_value", format!("expected at most {most} {what}, got {size}"), None);
        }
    }

    fn number(&mut self, rules: &Map<String, Value>, value: &Value) {
        let Some(number) = value.as_f64() else { return };
        let limit = |name: &str| rules.get(name).and_then(Value::as_f64).map(|limit| (limit, &rules[name]));
        if let Some((_, shown)) = limit("minimum").filter(|(least, _)| number < *least) {
            self.wrong("config_value", format!("expected at least {shown}, got {value}"), None);
        }
        if let Some((_, shown)) = limit("maximum").filter(|(most, _)| number > *most) {
            self.wrong("config_value", format!("expected at most {shown}, got {value}"), None);
        }
        if let Some((_, shown)) = limit("exclusiveMinimum").filter(|(least, _)| number <= *least) {
            self.wrong("config_value", format!("expected more than {shown}, got {value}"), None);
        }
        if let Some((_, shown)) = limit("exclusiveMaximum").filter(|(most, _)| number >= *most) {
            self.wrong("config_value", format!("expected less than {shown}, got {value}"), None);
        }
    }
}

fn article(name: &str) -> &str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        other => other,
    }
}

/// A value as it is named in a sentence.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::Bool(_) => {
            format!("{} {value}", if value.is_number() { "the number" } else { "the boolean" })
        }
        Value::String(text) if text.chars().count() <= 40 => format!("the text \"{text}\""),
        other => kind_of(other).to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
