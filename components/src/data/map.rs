//! `type: map`: one row to one row.

use std::sync::Arc;

use serde_json::{Map as Object, Value, json};
use shared::component::{ConfigProblem, Failure, FailureClass, Family, Field, Run};
use shared::expression::RowExpression;

use crate::{
    describe::{Component, Work, exactly_one, invalid_config, invalid_input},
    row_flow::{
        Pass, Row, RowWork, Step, check_row_expression, check_rows, check_total, compiled, row_type,
        size_of_row,
    },
};

row_type! {
    /// Makes one new row of each row.
    ///
    /// Either `fields` names the fields of the new row and how each is computed, or `expression` computes the
    /// whole row. Expressions are bare and see `item` (the row), `index` (from 0) and `bind`.
    /// The output is `rows`, `rows_in`, `rows_out` and `rows_bad`.
    Map, MapOperation {
        /// Each field of the new row and its expression, such as `total: item.price * item.quantity`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<std::collections::BTreeMap<String, String>>")]
        fields: Option<Object<String, Value>>,
        /// One expression for the whole new row, such as `item + 1`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expression: Option<String>,
        /// Whether the fields of the old row are kept beside `fields`.
        #[serde(default)]
        keep_rest: bool,
    }
}

enum Shape {
    Whole(Arc<RowExpression>),
    Fields { fields: Vec<(String, Arc<RowExpression>)>, keep_rest: bool },
}

pub(crate) struct MapStep(Shape);

impl MapOperation {
    pub(crate) fn step(self) -> Result<MapStep, Failure> {
        match (self.fields, self.expression) {
            (Some(fields), None) => {
                let mut list = Vec::with_capacity(fields.len());
                for (name, source) in fields {
                    let source = source.as_str().ok_or_else(|| {
                        invalid_config(format!("the expression of the field `{name}` must be text"))
                    })?;
                    list.push((name, compiled(source)?));
                }
                Ok(MapStep(Shape::Fields { fields: list, keep_rest: self.keep_rest }))
            }
            (None, Some(source)) => Ok(MapStep(Shape::Whole(compiled(&source)?))),
            _ => Err(invalid_config("exactly one of `fields` and `expression` must be given")),
        }
    }

    pub(crate) fn check(config: &Value, path: &[&str]) -> Vec<ConfigProblem> {
        let mut problems = exactly_one(config, &["fields", "expression"]);
        problems.extend(check_row_expression(config.get("expression"), &[path, &["expression"]].concat()));
        for (name, source) in config.get("fields").and_then(Value::as_object).into_iter().flatten() {
            problems.extend(check_row_expression(Some(source), &[path, &["fields", name]].concat()));
        }
        problems
    }
}

/// How the text at `path` below the settings of a map is read.
pub(crate) fn field(path: &[&str]) -> Field {
    match path {
        ["fields", _] | ["expression"] => Field::RowExpression,
        _ => Field::Template,
    }
}

impl MapStep {
    fn one<'a>(&'a self, row: &Row, bind: &Value) -> Result<(Value, usize), (Option<&'a str>, Failure)> {
        let index = row.number - 1;
        let made = match &self.0 {
            Shape::Whole(expression) => {
                expression.evaluate(&row.value, index, bind).map_err(|failure| (None, failure))?
            }
            Shape::Fields { fields, keep_rest } => {
                let mut made = match (&row.value, keep_rest) {
                    (Value::Object(object), true) => object.clone(),
                    (_, true) => {
                        return Err((None, invalid_input("`keep_rest` needs rows that are objects")));
                    }
                    (_, false) => Object::with_capacity(fields.len()),
                };
                for (name, expression) in fields {
                    let value = expression
                        .evaluate(&row.value, index, bind)
                        .map_err(|failure| (Some(name.as_str()), failure))?;
                    made.insert(name.clone(), value);
                }
                Value::Object(made)
            }
        };
        let size = size_of_row(&made).map_err(|failure| (None, failure))?;
        Ok((made, size))
    }
}

impl Step for MapStep {
    fn apply(&self, mut rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut total = 0;
        let mut done = 0;
        let mut wrong = None;
        rows.retain_mut(|row| {
            if wrong.is_some() {
                return false;
            }
            let checked = pass.check_cancelled(done);
            done += 1;
            let kept =
                match checked.map_err(|failure| (None, failure)).and_then(|()| self.one(row, pass.bind)) {
                    Ok((value, size)) => {
                        total += size;
                        row.value = value;
                        check_total(total).map(|()| true)
                    }
                    Err((_, failure)) if failure.class == FailureClass::Cancelled => Err(failure),
                    Err((field, failure)) => pass.bad(row.number, field, &row.value, failure).map(|()| false),
                };
            kept.unwrap_or_else(|failure| {
                wrong = Some(failure);
                false
            })
        });
        match wrong {
            Some(failure) => Err(failure),
            None => Ok(rows),
        }
    }
}

impl Component for Map {
    const KIND: &'static str = "map";
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Makes one new row of each row.";

    fn example() -> Value {
        json!({
            "rows": [{ "price": 2, "quantity": 3 }],
            "fields": { "total": "item.price * item.quantity" },
            "keep_rest": true,
        })
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        field(path)
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = MapOperation::check(config, &[]);
        problems.extend(check_rows(config));
        problems
    }
}

impl Work for Map {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        Ok(Box::new(RowWork::new(flow, operation.step()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, output};

    #[tokio::test]
    async fn fields_are_computed_in_the_order_written() {
        let output = output(
            "map",
            json!({
                "rows": [{ "n": 1 }, { "n": 2 }],
                "fields": { "z": "item.n + bind.more", "a": "index" },
                "bind": { "more": 10 },
            }),
        )
        .await;
        assert_eq!(
            output.to_string(),
            r#"{"rows":[{"z":11,"a":0},{"z":12,"a":1}],"rows_in":2,"rows_out":2,"rows_bad":0}"#
        );
    }

    #[tokio::test]
    async fn a_number_is_counted_up() {
        let output = output("map", json!({ "rows": [41], "expression": "item + 1" })).await;
        assert_eq!(output["rows"], json!([42]));
    }

    #[tokio::test]
    async fn no_rows_give_no_rows() {
        let output = output("map", json!({ "rows": [], "expression": "item + 1" })).await;
        assert_eq!(output, json!({ "rows": [], "rows_in": 0, "rows_out": 0, "rows_bad": 0 }));
    }

    #[tokio::test]
    async fn a_missing_field_names_row_field_and_sample() {
        let failed =
            failure("map", json!({ "rows": [{ "a": 1 }, { "password": "x" }], "fields": { "b": "item.a" } }))
                .await;
        assert_eq!(failed.class, FailureClass::InvalidExpression);
        let details = failed.details.expect("details");
        assert_eq!(details["row"], 2);
        assert_eq!(details["field"], "b");
        assert_eq!(details["sample"], r#"{"password":"•••"}"#);
    }

    #[tokio::test]
    async fn wrong_rows_are_skipped_or_collected() {
        let config =
            |policy: &str| json!({ "rows": [1, "x", 3], "expression": "item + 1", "on_row_error": policy });
        let skipped = output("map", config("skip")).await;
        assert_eq!(skipped, json!({ "rows": [2, 4], "rows_in": 3, "rows_out": 2, "rows_bad": 1 }));
        let collected = output("map", config("collect")).await;
        assert_eq!(collected["bad"][0]["row"], 2);
        assert_eq!(collected["bad"][0]["class"], "invalid_expression");
        assert_eq!(failure("map", config("fail")).await.class, FailureClass::InvalidExpression);
    }

    #[tokio::test]
    async fn a_huge_row_and_huge_results_are_a_limit() {
        let big = "x".repeat(600_000);
        let huge = json!({ "rows": [1], "expression": "[bind.big, bind.big]", "bind": { "big": big } });
        assert_eq!(failure("map", huge).await.class, FailureClass::LimitExceeded);
        let many: Vec<u32> = (0..30).collect();
        let altogether = json!({ "rows": many, "expression": "bind.big", "bind": { "big": big } });
        assert_eq!(failure("map", altogether).await.class, FailureClass::LimitExceeded);
    }

    #[tokio::test]
    async fn a_row_set_stays_a_row_set() {
        let first = output("map", json!({ "rows": [1, 2], "expression": "item", "as": "rows" })).await;
        assert_eq!(first["rows"]["media_type"], "application/x-ndjson");
        assert_eq!(first["rows"]["rows"], 2);
        let (context, _) = crate::testing::context();
        let run = |config: Value| crate::testing::run_in("map", config, &context);
        let set = run(json!({ "rows": [1, 2], "expression": "item", "as": "rows" })).await.expect("rows");
        let next = run(json!({ "rows": set.output, "expression": "item + 1" })).await.expect("rows");
        assert_eq!(next.output["rows"]["rows"], 2);
        let back =
            run(json!({ "rows": next.output, "expression": "item", "as": "array" })).await.expect("rows");
        assert_eq!(back.output["rows"], json!([2, 3]));
    }

    #[tokio::test]
    async fn cancellation_ends_long_work() {
        let (context, _) = crate::testing::context();
        context.cancel.cancel();
        let rows: Vec<u32> = (0..1000).collect();
        let failed = crate::testing::run_in("map", json!({ "rows": rows, "expression": "item" }), &context)
            .await
            .expect_err("cancelled");
        assert_eq!(failed.class, FailureClass::Cancelled);
    }

    #[test]
    fn a_config_is_checked_before_it_runs() {
        assert!(Map::check(&json!({ "rows": [1], "expression": "item +" })).len() == 1);
        assert!(Map::check(&json!({ "rows": [1] })).len() == 1);
        assert!(Map::check(&json!({ "rows": 1, "expression": "item" })).len() == 1);
        assert!(Map::check(&json!({ "rows": "${{ x }}", "fields": { "a": "parameters.x" } })).len() == 1);
        assert!(Map::check(&Map::example()).is_empty());
    }
}
