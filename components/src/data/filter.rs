//! `type: filter`: keeps rows.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::component::{ConfigProblem, Failure, FailureClass, Family, Field, OwnPorts, Run};
use shared::expression::RowExpression;

use crate::{
    describe::{Component, Work},
    row_flow::{Pass, Row, RowWork, Step, check_row_expression, check_rows, compiled, kind_of, row_type},
};

row_type! {
    /// Keeps the rows for which a condition is true.
    ///
    /// The port `found` fires when a row is left, `empty` when none is.
    /// The output is `rows`, `rows_in`, `rows_out` and `rows_bad`.
    Filter, FilterOperation {
        /// A bare expression over `item`, `index` and `bind` that is true or false, such as `item.total > 100`.
        condition: String,
    }
}

pub(crate) struct FilterStep(Arc<RowExpression>);

impl FilterOperation {
    pub(crate) fn step(self) -> Result<FilterStep, Failure> {
        Ok(FilterStep(compiled(&self.condition)?))
    }
}

impl Step for FilterStep {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut kept = Vec::with_capacity(rows.len());
        for (done, row) in rows.into_iter().enumerate() {
            pass.check_cancelled(done)?;
            let answer = self.0.evaluate(&row.value, row.number - 1, pass.bind).and_then(|value| {
                value.as_bool().ok_or_else(|| {
                    Failure::new(
                        FailureClass::InvalidExpression,
                        format!("the condition must be true or false; it is {}", kind_of(&value)),
                    )
                })
            });
            match answer {
                Ok(true) => kept.push(row),
                Ok(false) => {}
                Err(failure) => pass.bad(row.number, Some("condition"), &row.value, failure)?,
            }
        }
        Ok(kept)
    }
}

impl Component for Filter {
    const KIND: &'static str = "filter";
    const ALIASES: &'static [&'static str] = &["filter_data"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Keeps the rows for which a condition is true.";

    fn example() -> Value {
        json!({ "rows": [{ "total": 50 }, { "total": 150 }], "condition": "item.total > 100" })
    }

    fn ports(_: &Value) -> OwnPorts {
        OwnPorts::one_of(&["found", "empty"])
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        if path == ["condition"] { Field::RowExpression } else { Field::Template }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        check_row_expression(config.get("condition"), &["condition"])
            .into_iter()
            .chain(check_rows(config))
            .collect()
    }
}

impl Work for Filter {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        Ok(Box::new(
            RowWork::new(flow, operation.step()?)
                .with_ports(|_, rows_out, _| vec![if rows_out > 0 { "found" } else { "empty" }.to_owned()]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, outcome};

    #[tokio::test]
    async fn rows_are_kept_and_the_port_says_whether_any() {
        let some = outcome("filter", Filter::example()).await;
        assert_eq!(some.output["rows"], json!([{ "total": 150 }]));
        assert_eq!(some.ports, ["found"]);
        let none = outcome(
            "filter",
            json!({ "rows": [1], "condition": "item > bind.limit", "bind": { "limit": 1 } }),
        )
        .await;
        assert_eq!(none.output, json!({ "rows": [], "rows_in": 1, "rows_out": 0, "rows_bad": 0 }));
        assert_eq!(none.ports, ["empty"]);
    }

    #[tokio::test]
    async fn a_condition_that_is_no_boolean_names_the_row() {
        let failed = failure("filter", json!({ "rows": [true, 5], "condition": "item" })).await;
        assert_eq!(failed.class, FailureClass::InvalidExpression);
        assert_eq!(failed.details.expect("details")["row"], 2);
    }

    #[tokio::test]
    async fn rows_that_are_no_rows_are_refused() {
        let failed = failure("filter", json!({ "rows": 5, "condition": "true" })).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
    }
}
