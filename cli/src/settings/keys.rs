//! Which settings there are: read from the JSON Schema of [`Settings`], so that nothing is listed twice.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::Settings;

/// One setting, or one section.
#[derive(Debug, Clone)]
pub struct Key {
    /// Dotted.
    pub path: String,
    /// Its doc comment.
    pub doc: String,
    pub default: Value,
    /// The schema, without references at its top.
    pub schema: Value,
    /// Whether other keys stand under this one.
    pub is_section: bool,
}

/// What an address to listen on looks like, in whichever section.
const LISTEN: &str = "an address and a port, such as 127.0.0.1:5000";

/// How a value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redaction {
    None,
    /// Not a character of it, since a password may stand anywhere.
    Hidden,
}

impl Key {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// How many sections it stands in.
    pub fn depth(&self) -> usize {
        self.path.matches('.').count()
    }

    /// The variable that gives it, beside those of [`super::VARIABLES`].
    pub fn variable(&self) -> String {
        format!("APG_{}", self.path.replace('.', "__").to_uppercase())
    }

    pub(super) fn redaction(&self) -> Redaction {
        if super::is_secret_name(self.name()) || self.schema.to_string().contains("\"x-redact\"") {
            Redaction::Hidden
        } else {
            Redaction::None
        }
    }

    /// The alternatives of the schema that are not null.
    pub(super) fn shape(&self) -> Shape {
        Shape::of(&self.schema)
    }

    /// Whether it is an address to listen on, of which a schema can only say that it is text.
    pub(super) fn is_address(&self) -> bool {
        self.name() == "listen"
    }

    /// After "expected".
    pub(super) fn expected(&self) -> String {
        if self.is_address() { LISTEN.to_owned() } else { self.shape().describe() }
    }

    pub(super) fn example(&self) -> Option<&Value> {
        self.schema.get("examples").and_then(Value::as_array).and_then(|list| list.first())
    }
}

/// What a value must look like, as far as people are told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Text,
    Whole { min: Option<i64>, max: Option<i64> },
    Number,
    YesNo,
    OneOf(Vec<String>),
    List(Box<Shape>),
    Map,
    Any,
}

impl Shape {
    fn of(schema: &Value) -> Self {
        if let Some(values) = words(schema) {
            return Self::OneOf(values);
        }
        for combined in ["anyOf", "oneOf"] {
            if let Some(list) = schema.get(combined).and_then(Value::as_array) {
                let mut real = list.iter().filter(|part| part.get("type") != Some(&json!("null")));
                return match (real.next(), real.next()) {
                    (Some(only), None) => Self::of(only),
                    _ => Self::Any,
                };
            }
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("")
            }
            _ => "",
        };
        let bound = |name| schema.get(name).and_then(Value::as_i64);
        match kind {
            "string" => Self::Text,
            "integer" => Self::Whole { min: bound("minimum"), max: bound("maximum") },
            "number" => Self::Number,
            "boolean" => Self::YesNo,
            "array" => Self::List(Box::new(schema.get("items").map_or(Self::Any, Self::of))),
            "object" => Self::Map,
            _ => Self::Any,
        }
    }

    /// After "expected".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Whole { min: Some(min), max: Some(max) } => format!("a whole number from {min} to {max}"),
            Self::Whole { min: Some(min), max: None } => format!("a whole number, {min} or more"),
            Self::Whole { min: None, max: Some(max) } => format!("a whole number, {max} or less"),
            Self::Whole { min: None, max: None } => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::YesNo => "true or false".to_owned(),
            Self::OneOf(values) => format!("one of {}", values.join(", ")),
            Self::List(item) => match &**item {
                Self::Text => "a list of texts".to_owned(),
                Self::Whole { .. } => "a list of whole numbers".to_owned(),
                _ => "a list".to_owned(),
            },
            Self::Map => "a section".to_owned(),
            Self::Any => "something else".to_owned(),
        }
    }

    /// Whether a value has this shape.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Whole { min, max } => match (value.as_i64(), value.as_u64()) {
                (Some(n), _) => min.is_none_or(|min| n >= min) && max.is_none_or(|max| n <= max),
                (None, Some(_)) => max.is_none(),
                (None, None) => false,
            },
            Self::Number => value.is_number(),
            Self::YesNo => value.is_boolean(),
            Self::OneOf(values) => value.as_str().is_some_and(|text| values.iter().any(|word| word == text)),
            Self::List(item) => {
                value.as_array().is_some_and(|list| list.iter().all(|value| item.admits(value)))
            }
            Self::Map => value.is_object(),
            Self::Any => true,
        }
    }

    /// Reads text of an environment variable or flag as this shape; text that cannot be read stays text.
    pub(super) fn read(&self, text: &str) -> Value {
        let parsed = match self {
            Self::Text | Self::Any => None,
            Self::OneOf(values) => values
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text.trim()))
                .or_else(|| match text.trim().to_ascii_lowercase().as_str() {
                    // The names of other logging libraries.
                    "warning" => values.iter().find(|word| *word == "warn"),
                    "critical" | "fatal" => values.iter().find(|word| *word == "error"),
                    _ => None,
                })
                .map(|word| Value::from(word.as_str())),
            Self::Whole { .. } => text.trim().replace('_', "").parse::<i64>().ok().map(Value::from),
            Self::Number => text.trim().parse::<f64>().ok().map(Value::from),
            Self::YesNo => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::List(item) => serde_json::from_str(text).ok().filter(Value::is_array).or_else(|| {
                Some(
                    text.split(',')
                        .map(str::trim)
                        .filter(|part| !part.is_empty())
                        .map(|part| item.read(part))
                        .collect(),
                )
            }),
            Self::Map => serde_json::from_str(text).ok(),
        };
        parsed.unwrap_or_else(|| Value::from(text))
    }
}

/// The words of an enum: `enum`, or `oneOf` with a `const` each, which schemars makes when variants have docs.
fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return list.iter().map(|word| word.as_str().map(ToOwned::to_owned)).collect();
    }
    let list = schema.get("oneOf").and_then(Value::as_array)?;
    let mut all = Vec::new();
    for part in list {
        match part.get("const").and_then(Value::as_str) {
            Some(word) => all.push(word.to_owned()),
            None => all.extend(words(part)?),
        }
    }
    Some(all)
}

/// The JSON Schema of a configuration file.
pub fn schema() -> Value {
    let mut value = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Settings>()
        .to_value();
    value["$id"] = json!("https://apg.example/schema/config.schema.json");
    value
}

/// Every section and setting, in the order of the type; a section stands before what is in it.
pub fn keys() -> Vec<Key> {
    let _: fn(&mut schemars::SchemaGenerator) -> schemars::Schema = Settings::json_schema;
    let root = schema();
    let defaults = serde_json::to_value(Settings::default()).expect("the settings are plain data");
    let mut all = Vec::new();
    walk(&root, &root, "", &defaults, &mut all);
    all
}

/// The schema with a reference at its top replaced by what it names; its own fields win.
fn resolved(root: &Value, schema: &Value) -> Value {
    let mut schema = schema.clone();
    while let Some(name) = schema.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned) {
        let target =
            name.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).cloned().unwrap_or_default();
        let mut merged = target.as_object().cloned().unwrap_or_default();
        if let Some(own) = schema.as_object() {
            merged.extend(own.iter().filter(|(key, _)| *key != "$ref").map(|(k, v)| (k.clone(), v.clone())));
        }
        schema = Value::Object(merged);
    }
    for combined in ["anyOf", "oneOf"] {
        if let Some(list) = schema.get_mut(combined).and_then(Value::as_array_mut) {
            for part in list {
                *part = resolved(root, part);
            }
        }
    }
    schema
}

fn walk(root: &Value, schema: &Value, prefix: &str, defaults: &Value, all: &mut Vec<Key>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let schema = resolved(root, property);
        let is_section = schema.get("properties").is_some();
        let default = defaults.get(name).cloned().unwrap_or_default();
        let doc = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        all.push(Key {
            path: path.clone(),
            doc,
            default: default.clone(),
            schema: schema.clone(),
            is_section,
        });
        if is_section {
            walk(root, &schema, &path, &default, all);
        }
    }
}
