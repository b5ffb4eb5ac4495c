//! Forms: what people fill in, checked against the JSON Schema of the task.

use serde_json::Value;

use crate::problem::{Code, Mistake, Problem};

/// The most that may be filled in, in bytes of JSON: it travels in messages and stands in the journal.
const LARGEST: usize = shared::execution::Payload::INLINE_LIMIT;

struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("a reference to another document ({uri}) is not followed").into())
    }
}

fn mistake(path: Vec<String>, message: String) -> Value {
    let mistake = Mistake::new(Code::InvalidForm, path, message);
    serde_json::to_value(mistake).unwrap_or_default()
}

/// Every way in which `data` does not fit the schema. Patterns take linear time, references to other
/// documents are not followed.
fn mistakes(schema: &Value, data: &Value) -> Result<Vec<Value>, String> {
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_retriever(Nowhere)
        .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(1 << 20))
        .should_validate_formats(true)
        .build(schema)
        .map_err(|wrong| format!("at `{}`: {wrong}", wrong.instance_path()))?;
    let mut found = Vec::new();
    for wrong in validator.iter_errors(data) {
        let path: Vec<String> = wrong
            .instance_path()
            .to_string()
            .split('/')
            .skip(1)
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        let below = |name: &str| [path.clone(), vec![name.to_owned()]].concat();
        use jsonschema::error::ValidationErrorKind as Kind;
        match wrong.kind() {
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                found.push(mistake(below(name), format!("`{name}` is required")));
            }
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    found.push(mistake(below(name), format!("the form has no field `{name}`")));
                }
            }
            // Without the value, which may be long and is known to whoever sent it.
            _ => found.push(mistake(path, wrong.masked().to_string())),
        }
    }
    Ok(found)
}

/// Refuses what does not fit the form, listing every field.
pub(super) fn check(form: Option<&Value>, data: Option<&Value>) -> Result<(), Problem> {
    let size = data.map_or(0, |data| data.to_string().len());
    if size > LARGEST {
        let detail = format!("`data` has {size} bytes; at most {LARGEST} can be filled in.");
        return Err(Problem::new(Code::InvalidForm, detail));
    }
    let Some(form) = form else { return Ok(()) };
    // Whoever fills in nothing sends an empty form.
    let empty = Value::Object(serde_json::Map::new());
    let found = mistakes(form, data.unwrap_or(&empty)).map_err(|wrong| {
        Problem::new(
            Code::InvalidForm,
            format!("The form of this task is no JSON Schema, so nothing fits it: {wrong}."),
        )
    })?;
    if found.is_empty() {
        return Ok(());
    }
    let detail = match found.len() {
        1 => "One field is missing or wrong.".to_owned(),
        many => format!("{many} fields are missing or wrong."),
    };
    Err(Problem::new(Code::InvalidForm, detail).with_problems(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form() -> Value {
        json!({
            "type": "object",
            "properties": {
                "amount": { "type": "number", "minimum": 0 },
                "due": { "type": "string", "format": "date" },
                "lines": { "type": "array", "items": { "type": "object", "required": ["a/b"] } },
            },
            "required": ["amount", "due"],
            "additionalProperties": false,
        })
    }

    #[test]
    fn every_wrong_field_is_listed_with_its_path() {
        let data = json!({ "amount": -1, "lines": [{}], "extra": 1 });
        let problem = check(Some(&form()), Some(&data)).expect_err("refused");
        let mut paths: Vec<String> = problem
            .problems
            .iter()
            .map(|problem| {
                problem["path"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .collect();
        paths.sort();
        assert_eq!(paths, ["amount", "due", "extra", "lines.0.a/b"]);
        assert_eq!(problem.detail, "4 fields are missing or wrong.");
    }

    #[test]
    fn what_fits_is_let_through() {
        assert_eq!(check(Some(&form()), Some(&json!({ "amount": 1.5, "due": "2026-02-28" }))), Ok(()));
        assert!(check(Some(&form()), Some(&json!({ "amount": 1.5, "due": "2026-02-30" }))).is_err());
        assert_eq!(check(Some(&json!({ "type": "object" })), None), Ok(()), "an empty form");
        assert_eq!(check(None, Some(&json!("anything"))), Ok(()));
    }

    #[test]
    fn too_much_and_a_broken_form_are_told() {
        let large = Value::from("x".repeat(LARGEST));
        assert!(check(None, Some(&large)).expect_err("refused").detail.contains("at most 65536"));
        let broken = json!({ "type": "objekt" });
        assert!(check(Some(&broken), None).expect_err("refused").detail.contains("no JSON Schema"));
        let remote = json!({ "$ref": "https://elsewhere.example/schema.json" });
        assert!(check(Some(&remote), None).is_err());
    }
}
