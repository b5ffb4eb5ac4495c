//! Checking what an execution is started with.

use serde_json::{Map, Value};

use super::{
    model::{ParameterType, Workflow},
    problem::{Problem, Severity, nearest},
    schema,
};

impl ParameterType {
    /// Its name in JSON Schema; `any` has none.
    pub(crate) fn schema_type(self) -> Option<&'static str> {
        Some(match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
            Self::Any => return None,
        })
    }
}

fn problem(code: &'static str, message: String, path: Vec<String>, suggestion: Option<String>) -> Problem {
    Problem {
        code,
        severity: Severity::Error,
        message,
        path,
        line: None,
        column: None,
        excerpt: None,
        suggestion,
    }
}

impl Workflow {
    /// The parameters with their defaults filled in.
    ///
    /// # Errors
    /// Every wrong one: unknown, missing, or of the wrong type or value.
    pub fn check_parameters(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Problem>> {
        let mut problems = Vec::new();
        for name in given.keys() {
            if !self.parameters.iter().any(|parameter| parameter.name == *name) {
                let near = nearest(name, self.parameters.iter().map(|parameter| parameter.name.as_str()));
                problems.push(problem(
                    "unknown_parameter",
                    format!("the workflow has no parameter `{name}`"),
                    vec![name.clone()],
                    near.map(|near| format!("did you mean `{near}`?")),
                ));
            }
        }
        let mut checked = Map::new();
        for parameter in &self.parameters {
            match (given.get(&parameter.name), &parameter.default) {
                (Some(value), _) => {
                    for mismatch in schema::check(&parameter.schema, value, None) {
                        let mut path = vec![parameter.name.clone()];
                        path.extend(mismatch.path);
                        let message = format!("{}: {}", path.join("."), mismatch.message);
                        problems.push(problem("parameter", message, path, mismatch.suggestion));
                    }
                    checked.insert(parameter.name.clone(), value.clone());
                }
                (None, Some(default)) => {
                    checked.insert(parameter.name.clone(), default.clone());
                }
                (None, None) if parameter.required => problems.push(problem(
                    "missing_parameter",
                    format!("the parameter `{}` is required", parameter.name),
                    vec![parameter.name.clone()],
                    None,
                )),
                (None, None) => {}
            }
        }
        if problems.is_empty() { Ok(checked) } else { Err(problems) }
    }
}
