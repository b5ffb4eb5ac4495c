//! `type: deduplicate`: the first or last row of each key.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::component::{ConfigProblem, Failure, Family, OwnPorts, Run};

use crate::{
    describe::{Component, Work},
    row_flow::{Pass, Row, RowWork, Step, absent, check_rows, lookup, row_type},
};

/// Which row of a key stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first one.
    #[default]
    First,
    /// The last one, in the place of the last one.
    Last,
}

row_type! {
    /// Keeps one row of each key.
    ///
    /// The port `unique` fires always, `duplicates` when a row was dropped.
    Deduplicate, DeduplicateOperation {
        /// The fields that make the key; the whole row without them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by: Vec<String>,
        /// Which row of a key stays.
        #[serde(default)]
        keep: Keep,
    }
}

pub(crate) struct DeduplicateStep(DeduplicateOperation);

impl DeduplicateOperation {
    #[expect(clippy::unnecessary_wraps, reason = "every operation makes its step this way")]
    pub(crate) fn step(self) -> Result<DeduplicateStep, Failure> {
        Ok(DeduplicateStep(self))
    }
}

/// A text that equal values share, whatever the order of their keys.
pub(crate) fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort_unstable();
            into.push('{');
            for key in keys {
                into.push_str(&Value::from(key.as_str()).to_string());
                into.push(':');
                canonical(&object[key.as_str()], into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(list) => {
            into.push('[');
            for value in list {
                canonical(value, into);
                into.push(',');
            }
            into.push(']');
        }
        other => into.push_str(&other.to_string()),
    }
}

impl Step for DeduplicateStep {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(rows.len());
        let mut kept: Vec<Option<Row>> = Vec::with_capacity(rows.len());
        'rows: for (done, row) in rows.into_iter().enumerate() {
            pass.check_cancelled(done)?;
            let mut key = String::new();
            if self.0.by.is_empty() {
                canonical(&row.value, &mut key);
            }
            for field in &self.0.by {
                let Some(value) = lookup(&row.value, field) else {
                    pass.bad(row.number, Some(field), &row.value, absent(field))?;
                    continue 'rows;
                };
                canonical(value, &mut key);
                key.push('\n');
            }
            match (seen.get(&key).copied(), self.0.keep) {
                (Some(_), Keep::First) => {}
                (earlier, _) => {
                    if let Some(earlier) = earlier {
                        kept[earlier] = None;
                    }
                    seen.insert(key, kept.len());
                    kept.push(Some(row));
                }
            }
        }
        Ok(kept.into_iter().flatten().collect())
    }
}

impl Component for Deduplicate {
    const KIND: &'static str = "deduplicate";
    const ALIASES: &'static [&'static str] = &["distinct"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Keeps one row of each key.";

    fn example() -> Value {
        json!({ "rows": [{ "id": 1 }, { "id": 1 }, { "id": 2 }], "by": ["id"] })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts { names: vec!["unique".to_owned(), "duplicates".to_owned()], exclusive: false }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        check_rows(config).into_iter().collect()
    }
}

impl Work for Deduplicate {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        Ok(Box::new(RowWork::new(flow, operation.step()?).with_ports(|rows_in, rows_out, rows_bad| {
            let mut ports = vec!["unique".to_owned()];
            if rows_out + rows_bad < rows_in {
                ports.push("duplicates".to_owned());
            }
            ports
        })))
    }
}

#[cfg(test)]
mod tests {
    use shared::component::FailureClass;

    use super::*;
    use crate::testing::{failure, outcome};

    #[tokio::test]
    async fn one_row_a_key_stays() {
        let rows = json!([{ "k": 1, "n": 1 }, { "k": 2, "n": 2 }, { "n": 3, "k": 1 }]);
        let first = outcome("deduplicate", json!({ "rows": rows, "by": ["k"] })).await;
        assert_eq!(first.output["rows"], json!([{ "k": 1, "n": 1 }, { "k": 2, "n": 2 }]));
        assert_eq!(first.ports, ["unique", "duplicates"]);
        let last = outcome("deduplicate", json!({ "rows": rows, "by": ["k"], "keep": "last" })).await;
        assert_eq!(last.output["rows"], json!([{ "k": 2, "n": 2 }, { "n": 3, "k": 1 }]));
        let whole = outcome("deduplicate", json!({ "rows": [{ "a": 1, "b": 2 }, { "b": 2, "a": 1 }] })).await;
        assert_eq!(whole.output["rows_out"], 1);
        assert_eq!(outcome("deduplicate", json!({ "rows": [1, 2] })).await.ports, ["unique"]);
    }

    #[tokio::test]
    async fn a_key_that_is_missing_is_a_row_error() {
        let failed = failure("deduplicate", json!({ "rows": [{}], "by": ["k"] })).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
    }
}
