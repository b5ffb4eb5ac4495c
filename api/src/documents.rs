//! The only place that reads workflow documents: text or object in, snapshot or a list of mistakes out.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use shared::{
    component::Catalogue,
    execution::trying::{self, Refusal},
    ids::TenantId,
    port::{
        calls::pin_calls,
        store::{DynStore, StoreError},
    },
    workflow::{self, Problems, Read, Workflow},
};

/// A document as its author sends it.
#[derive(Debug, Clone)]
pub(crate) enum Definition {
    /// YAML or JSON as text.
    Text(String),
    Object(Map<String, Value>),
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = match Value::deserialize(deserializer)? {
            Value::String(text) => return Ok(Self::Text(text)),
            Value::Object(object) => return Ok(Self::Object(object)),
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Array(_) => "a list",
        };
        Err(serde::de::Error::custom(format_args!(
            "`definition` is {found}; send the workflow document as an object, or as text in YAML or JSON"
        )))
    }
}

/// A document without mistakes.
pub(crate) struct Document {
    pub workflow: Arc<Workflow>,
    /// The text that is hashed and kept under the hash.
    pub canonical: String,
    /// The text as its author wrote it.
    pub text: String,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Value>,
}

fn listed<T: Serialize>(problems: &[T]) -> Vec<Value> {
    problems
        .iter()
        .map(|problem| serde_json::to_value(problem).unwrap_or_else(|error| Value::String(error.to_string())))
        .collect()
}

fn all(problems: &Problems) -> Vec<Value> {
    listed(&problems.list)
}

impl Document {
    fn of(read: Read, text: String) -> Self {
        Self { workflow: read.workflow, canonical: read.canonical, text, warnings: listed(&read.warnings) }
    }

    /// The same with the versions of its sub-workflows fixed, or the calls that lead nowhere.
    pub(crate) async fn pinned(
        self,
        store: &DynStore,
        catalogue: &Catalogue,
        tenant: TenantId,
        name: &str,
    ) -> Result<Result<Self, Vec<Value>>, StoreError> {
        let read = Read { workflow: self.workflow, canonical: self.canonical, warnings: Vec::new() };
        let pinned = pin_calls(store, catalogue, tenant, name, read).await?;
        Ok(pinned
            .map(|read| Self { warnings: self.warnings, ..Self::of(read, self.text) })
            .map_err(|problems| all(&problems)))
    }
}

/// The part of a document that a component depends on, read and checked; mistakes elsewhere do not matter.
pub(crate) fn read_part(
    definition: Definition,
    component: &str,
    catalogue: &Catalogue,
) -> Result<Result<Document, Refusal>, Vec<Value>> {
    let value = match definition {
        Definition::Text(text) => workflow::parse(&text).map_err(|problems| all(&problems))?,
        Definition::Object(object) => Value::Object(object),
    };
    match trying::part_of(&value, component) {
        Ok(Value::Object(part)) => read(Definition::Object(part), catalogue).map(Ok),
        Ok(other) => Err(workflow::read_value(&other, catalogue).err().map_or_else(Vec::new, |it| all(&it))),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Reads and checks a document as a whole: all of its mistakes come at once.
pub(crate) fn read(definition: Definition, catalogue: &Catalogue) -> Result<Document, Vec<Value>> {
    let (read, text) = match definition {
        Definition::Text(text) => (workflow::read(&text, catalogue), text),
        Definition::Object(object) => {
            let value = Value::Object(object);
            // An object was meant to be shown again, and JSON is what its author wrote.
            let text = serde_json::to_string_pretty(&value).unwrap_or_default();
            (workflow::read_value(&value, catalogue), text)
        }
    };
    let read = read.map_err(|problems| all(&problems))?;
    Ok(Document::of(read, text))
}

/// Compiles a snapshot that was checked when it was saved.
pub(crate) fn compile(canonical: &str, catalogue: &Catalogue) -> Result<Arc<Workflow>, String> {
    workflow::compile_snapshot(canonical, catalogue).map_err(|problems| problems.to_string())
}

/// Fills in defaults, or answers with everything that does not fit.
pub(crate) fn check_parameters(
    workflow: &Workflow,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<Value>> {
    workflow.check_parameters(given).map_err(|problems| listed(&problems))
}

/// The JSON Schema of documents, for editors.
pub(crate) fn schema(catalogue: &Catalogue) -> Value {
    workflow::json_schema(catalogue)
}

/// A document as YAML, whichever way it was written.
pub(crate) fn as_yaml(text: &str) -> String {
    if !text.trim_start().starts_with('{') {
        return text.to_owned();
    }
    workflow::format(text)
        // JSON is YAML too.
        .unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_stays_as_it_was_written_and_json_becomes_yaml() {
        let yaml = "# ours\nname: a\n";
        assert_eq!(as_yaml(yaml), yaml);
        let made = as_yaml(r#"{"workflow":"v1","name":"a","components":{"go":{"type":"noop"}}}"#);
        assert!(made.contains("name: a\n") && !made.contains('{'), "{made}");
    }
}
