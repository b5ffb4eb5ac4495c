//! Sub-workflows whose version is fixed when the workflow that calls them is saved.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Problem, Problems, Severity, Workflow, canonical};
use crate::component::control::VersionChoice;

/// A `sub_workflow` whose workflow is known before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The component's id.
    pub component: String,
    /// The name or id of the workflow.
    pub workflow: String,
    pub version: VersionChoice,
}

impl Call {
    /// Whether the version is to be fixed now.
    pub fn is_pinned(&self) -> bool {
        self.version == VersionChoice::default()
    }

    /// A mistake about it.
    pub fn problem(&self, message: String, suggestion: Option<String>) -> Problem {
        Problem {
            code: "sub_workflow",
            severity: Severity::Error,
            message: format!("`{}`: {message}", self.component),
            path: vec!["components".to_owned(), self.component.clone(), "config".to_owned()],
            line: None,
            column: None,
            excerpt: None,
            suggestion,
        }
    }
}

impl Workflow {
    /// The sub-workflows it names. One whose name is an expression is known only when it runs.
    pub fn calls(&self) -> Vec<Call> {
        let calling = self.components.iter().filter(|component| &*component.kind == "sub_workflow");
        calling
            .filter_map(|component| {
                let workflow = component.config.constant_field("workflow")?.as_str()?.to_owned();
                let version = match component.config.constant_field("version") {
                    Some(value) => serde_json::from_value(value.clone()).ok()?,
                    None => VersionChoice::default(),
                };
                Some(Call { component: component.id.to_string(), workflow, version })
            })
            .collect()
    }
}

/// The canonical text and hash of a snapshot in which each of these components calls one version of one
/// workflow: `pins` gives the workflow's id and the version's number by component.
///
/// # Errors
/// When the text is no snapshot.
pub fn pin(canonical: &str, pins: &BTreeMap<String, (String, u32)>) -> Result<(String, String), Problems> {
    let mut value: Value = serde_json::from_str(canonical).map_err(|error| {
        let call =
            Call { component: String::new(), workflow: String::new(), version: VersionChoice::default() };
        Problems::new(vec![call.problem(format!("the snapshot is not JSON: {error}"), None)])
    })?;
    if let Value::Object(document) = &mut value {
        for scope in ["components", "on_failure", "finally"] {
            if let Some(Value::Object(components)) = document.get_mut(scope) {
                pin_scope(components, pins);
            }
        }
    }
    let text = value.to_string();
    let hash = canonical::hash(&text);
    Ok((text, hash))
}

fn pin_scope(components: &mut Map<String, Value>, pins: &BTreeMap<String, (String, u32)>) {
    for (id, component) in components {
        let Value::Object(component) = component else { continue };
        if let (Some((workflow, version)), Some(Value::Object(config))) =
            (pins.get(id), component.get_mut("config"))
        {
            config.insert("workflow".to_owned(), Value::from(workflow.clone()));
            config.insert("version".to_owned(), Value::from(*version));
        }
        for scope in ["components", "catch", "finally"] {
            if let Some(Value::Object(inside)) = component.get_mut(scope) {
                pin_scope(inside, pins);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_changes_the_call_and_the_hash_and_nothing_else() {
        let text = r#"{"workflow":"v1","name":"a","components":{"g":{"type":"group","components":{"s":{"type":"sub_workflow","config":{"workflow":"b"}}}}}}"#;
        let pins = BTreeMap::from([("s".to_owned(), ("workflow_1".to_owned(), 3))]);
        let (pinned, hash) = pin(text, &pins).expect("it is a snapshot");
        let value: Value = serde_json::from_str(&pinned).expect("it is JSON");
        let config = &value["components"]["g"]["components"]["s"]["config"];
        assert_eq!(*config, serde_json::json!({ "workflow": "workflow_1", "version": 3 }));
        assert_ne!(hash, canonical::hash(text));
        let (same, _) = pin(&pinned, &BTreeMap::new()).expect("it is a snapshot");
        assert_eq!(same, pinned);
    }
}
