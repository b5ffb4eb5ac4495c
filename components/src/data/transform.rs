//! `type: transform`: a chain of row operations in one task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::component::{ConfigProblem, Failure, Family, Field, Run};

use super::{
    aggregate::AggregateOperation, deduplicate::DeduplicateOperation, filter::FilterOperation,
    flatten::FlattenOperation, map::MapOperation, sort::SortOperation,
};
use crate::{
    describe::{Component, Work, invalid_config, problem},
    row_flow::{Flow, OnRowError, RowWork, RowsAs, Step, check_row_expression, check_rows},
};

/// One operation of the chain, with the settings of the type of that name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// One row to one row.
    Map(MapOperation),
    /// Keeps rows.
    Filter(FilterOperation),
    /// Orders rows.
    Sort(SortOperation),
    /// Counts, sums and other figures, one row a group.
    Aggregate(AggregateOperation),
    /// Nested to flat.
    Flatten(FlattenOperation),
    /// One row of each key.
    Deduplicate(DeduplicateOperation),
}

/// Applies operations to rows, one after another, in one task.
///
/// Each operation takes the rows that the one before it gave. An error names the operation's index (from 0).
/// The output is `rows`, `rows_in`, `rows_out` and `rows_bad`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// The rows: a list, the output of a component that has `rows`, or a row set.
    pub rows: Value,
    /// The operations, each a map with one key: `map`, `filter`, `sort`, `aggregate`, `flatten` or `deduplicate`.
    #[schemars(length(min = 1, max = 50))]
    pub operations: Vec<Operation>,
    /// Values from outside the rows that the expressions see as `bind`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub bind: Map<String, Value>,
    /// The form of the rows that are given back; by default the form in which they came.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<RowsAs>,
    /// What happens with a row that cannot be worked on.
    #[serde(default)]
    pub on_row_error: OnRowError,
}

impl Component for Transform {
    const KIND: &'static str = "transform";
    const ALIASES: &'static [&'static str] = &["data_transform", "data_transformer"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Applies a chain of operations to rows in one task.";

    fn example() -> Value {
        json!({
            "rows": [{ "name": "Ada", "age": 36 }, { "name": "Bob", "age": 12 }],
            "operations": [
                { "filter": { "condition": "item.age >= bind.adult" } },
                { "map": { "fields": { "name": "item.name | upper" } } },
            ],
            "bind": { "adult": 18 },
        })
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        match path {
            ["operations", "map", rest @ ..] => super::map::field(rest),
            ["operations", "filter", "condition"] => Field::RowExpression,
            _ => Field::Template,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems: Vec<_> = check_rows(config).into_iter().collect();
        let operations = config.get("operations").and_then(Value::as_array);
        for (index, operation) in operations.into_iter().flatten().enumerate() {
            let index = index.to_string();
            if let Some(map) = operation.get("map") {
                problems.extend(MapOperation::check(map, &["operations", &index, "map"]));
            }
            if let Some(filter) = operation.get("filter") {
                let path = ["operations", &index, "filter", "condition"];
                problems.extend(check_row_expression(filter.get("condition"), &path));
            }
            if operation.as_object().is_some_and(|operation| operation.len() != 1) {
                problems.push(problem(&["operations", &index], "an operation is a map with exactly one key"));
            }
        }
        problems
    }
}

impl Work for Transform {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        if self.operations.is_empty() || self.operations.len() > 50 {
            return Err(invalid_config("`operations` takes from 1 to 50 operations"));
        }
        let steps = self
            .operations
            .into_iter()
            .enumerate()
            .map(|(index, operation)| {
                operation.step().map_err(|mut failure| {
                    failure.message = format!("operation {index}: {}", failure.message);
                    failure
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let flow = Flow {
            rows: self.rows,
            bind: Value::Object(self.bind),
            form: self.form,
            on_row_error: self.on_row_error,
        };
        Ok(Box::new(RowWork::chain(flow, steps)))
    }
}

impl Operation {
    fn step(self) -> Result<Box<dyn Step>, Failure> {
        Ok(match self {
            Self::Map(operation) => Box::new(operation.step()?),
            Self::Filter(operation) => Box::new(operation.step()?),
            Self::Sort(operation) => Box::new(operation.step()?),
            Self::Aggregate(operation) => Box::new(operation.step()?),
            Self::Flatten(operation) => Box::new(operation.step()?),
            Self::Deduplicate(operation) => Box::new(operation.step()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::component::FailureClass;

    use super::*;
    use crate::testing::{failure, output};

    #[tokio::test]
    async fn operations_follow_one_another() {
        let output = output(
            "transform",
            json!({
                "rows": [
                    { "c": "DE", "n": 2 }, { "c": "FR", "n": 1 }, { "c": "DE", "n": 5 }, { "c": "DE", "n": 5 },
                ],
                "operations": [
                    { "deduplicate": {} },
                    { "map": { "fields": { "n": "item.n * 10" }, "keep_rest": true } },
                    { "aggregate": { "by": ["c"], "metrics": { "sum": { "op": "sum", "field": "n" } } } },
                    { "sort": { "by": [{ "field": "sum", "order": "desc" }] } },
                    { "filter": { "condition": "item.sum > 10" } },
                ],
            }),
        )
        .await;
        assert_eq!(
            output,
            json!({ "rows": [{ "c": "DE", "sum": 70 }], "rows_in": 4, "rows_out": 1, "rows_bad": 0 })
        );
    }

    #[tokio::test]
    async fn an_error_names_its_operation() {
        let failed = failure(
            "transform",
            json!({
                "rows": [{ "a": "x" }],
                "operations": [{ "deduplicate": {} }, { "map": { "expression": "item.a * 2 + 1" } }],
            }),
        )
        .await;
        assert_eq!(failed.class, FailureClass::InvalidExpression);
        assert!(failed.message.starts_with("operation 1: row 1"), "{failed}");
        assert_eq!(failed.details.expect("details")["operation"], 1);
    }

    #[tokio::test]
    async fn an_unknown_operation_is_refused() {
        let failed = failure("transform", json!({ "rows": [], "operations": [{ "shuffle": {} }] })).await;
        assert_eq!(failed.class, FailureClass::InvalidConfig);
        assert!(failed.message.contains("shuffle"), "{failed}");
    }

    #[test]
    fn row_expressions_are_known_by_their_place() {
        let config = Transform::example();
        assert_eq!(Transform::field(&config, &["operations", "map", "fields", "name"]), Field::RowExpression);
        assert_eq!(Transform::field(&config, &["operations", "filter", "condition"]), Field::RowExpression);
        assert_eq!(Transform::field(&config, &["bind", "adult"]), Field::Template);
        let wrong = json!({ "rows": [], "operations": [{ "filter": { "condition": "1 +" } }] });
        assert_eq!(Transform::check(&wrong)[0].path, ["operations", "0", "filter", "condition"]);
    }
}
