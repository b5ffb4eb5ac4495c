//! `type: sort`: orders rows, stable.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::component::{ConfigProblem, Failure, Family, Run};

use crate::{
    describe::{Component, Work, invalid_input},
    row_flow::{Pass, Row, RowWork, Step, absent, check_rows, kind_of, lookup, row_type},
};

/// Upwards or downwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The smallest first.
    #[default]
    Asc,
    /// The largest first.
    Desc,
}

/// Where null stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// Before every value.
    First,
    /// After every value.
    #[default]
    Last,
}

/// How text is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Collation {
    /// By code point.
    #[default]
    Binary,
    /// Without case, and numbers inside text by their value: `item 2` before `item 10`.
    Natural,
}

/// One key of the order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SortKey {
    /// The field, or a path such as `customer.name`.
    pub field: String,
    /// Upwards or downwards.
    #[serde(default)]
    pub order: Order,
    /// Where null and absent values stand, whichever way the order goes.
    #[serde(default)]
    pub nulls: Nulls,
    /// How text is compared.
    #[serde(default)]
    pub collation: Collation,
}

row_type! {
    /// Orders rows; rows with equal keys keep their order.
    ///
    /// All values of a key must be of one kind: numbers, text or booleans.
    Sort, SortOperation {
        /// The keys, the most important first.
        #[schemars(length(min = 1))]
        by: Vec<SortKey>,
        /// How many rows are kept, from the first; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    }
}

pub(crate) struct SortStep(SortOperation);

impl SortOperation {
    pub(crate) fn step(self) -> Result<SortStep, Failure> {
        if self.by.is_empty() {
            return Err(crate::describe::invalid_config("`by` needs at least one key"));
        }
        Ok(SortStep(self))
    }
}

fn rank(value: &Value) -> Option<u8> {
    match value {
        Value::Number(_) => Some(1),
        Value::String(_) => Some(2),
        Value::Bool(_) => Some(3),
        _ => None,
    }
}

/// Compares two numbers; integers exactly.
pub(crate) fn compare_numbers(a: &serde_json::Number, b: &serde_json::Number) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        match (a.peek().copied(), b.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let digits = |from: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                    let mut run = String::new();
                    while let Some(digit) = from.next_if(char::is_ascii_digit) {
                        run.push(digit);
                    }
                    run.trim_start_matches('0').to_owned()
                };
                let (x, y) = (digits(&mut a), digits(&mut b));
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(x), Some(y)) => {
                let order = x.to_lowercase().cmp(y.to_lowercase());
                if order != Ordering::Equal {
                    return order;
                }
                a.next();
                b.next();
            }
        }
    }
}

fn compare(key: &SortKey, a: &Value, b: &Value) -> Ordering {
    let nulls = |a_is_null: bool| match (key.nulls, a_is_null) {
        (Nulls::First, true) | (Nulls::Last, false) => Ordering::Less,
        (Nulls::First, false) | (Nulls::Last, true) => Ordering::Greater,
    };
    let order = match (a, b) {
        (Value::Null, Value::Null) => return Ordering::Equal,
        (Value::Null, _) => return nulls(true),
        (_, Value::Null) => return nulls(false),
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => match key.collation {
            Collation::Binary => a.cmp(b),
            Collation::Natural => natural(a, b),
        },
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    if key.order == Order::Desc { order.reverse() } else { order }
}

impl Step for SortStep {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut ranks: Vec<Option<u8>> = vec![None; self.0.by.len()];
        let mut keyed: Vec<(Vec<Value>, Row)> = Vec::with_capacity(rows.len());
        'rows: for (done, row) in rows.into_iter().enumerate() {
            pass.check_cancelled(done)?;
            let mut keys = Vec::with_capacity(ranks.len());
            for (key, known) in self.0.by.iter().zip(&mut ranks) {
                let value = match lookup(&row.value, &key.field) {
                    Some(value) => value.clone(),
                    None if row.value.is_object() => Value::Null,
                    None => {
                        pass.bad(row.number, Some(&key.field), &row.value, absent(&key.field))?;
                        continue 'rows;
                    }
                };
                if !value.is_null() {
                    let this = rank(&value);
                    if this.is_none() || known.is_some_and(|known| Some(known) != this) {
                        let wrong = invalid_input(format!(
                            "{} cannot be ordered among the other values of this key",
                            kind_of(&value)
                        ));
                        pass.bad(row.number, Some(&key.field), &row.value, wrong)?;
                        continue 'rows;
                    }
                    *known = this;
                }
                keys.push(value);
            }
            keyed.push((keys, row));
        }
        keyed.sort_by(|(a, _), (b, _)| {
            self.0
                .by
                .iter()
                .zip(a.iter().zip(b))
                .map(|(key, (a, b))| compare(key, a, b))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        let limit = self.0.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(keyed.into_iter().take(limit).map(|(_, row)| row).collect())
    }
}

impl Component for Sort {
    const KIND: &'static str = "sort";
    const ALIASES: &'static [&'static str] = &["order_by"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Orders rows by one or more keys.";

    fn example() -> Value {
        json!({ "rows": [{ "total": 5 }, { "total": 9 }], "by": [{ "field": "total", "order": "desc" }] })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        check_rows(config).into_iter().collect()
    }
}

impl Work for Sort {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        Ok(Box::new(RowWork::new(flow, operation.step()?)))
    }
}

#[cfg(test)]
mod tests {
    use shared::component::FailureClass;

    use super::*;
    use crate::testing::{failure, output};

    #[tokio::test]
    async fn rows_are_ordered_and_equal_ones_stay() {
        let rows = json!([
            { "k": "b", "n": 1 }, { "k": "a", "n": 2 }, { "k": null, "n": 3 }, { "k": "b", "n": 4 },
        ]);
        let numbers = |by: Value, limit: Value| {
            let config = json!({ "rows": rows, "by": by, "limit": limit });
            async move {
                let output = output("sort", config).await;
                output["rows"]
                    .as_array()
                    .expect("rows")
                    .iter()
                    .map(|row| row["n"].as_u64())
                    .collect::<Vec<_>>()
            }
        };
        let some = |list: &[u64]| list.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(numbers(json!([{ "field": "k" }]), Value::Null).await, some(&[2, 1, 4, 3]));
        assert_eq!(
            numbers(json!([{ "field": "k", "order": "desc", "nulls": "first" }]), json!(3)).await,
            some(&[3, 1, 4])
        );
    }

    #[tokio::test]
    async fn mixed_kinds_have_no_order() {
        let failed =
            failure("sort", json!({ "rows": [{ "k": 1 }, { "k": "1" }], "by": [{ "field": "k" }] })).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
        assert_eq!(failed.details.expect("details")["row"], 2);
    }

    #[test]
    fn numbers_inside_text_count_by_value() {
        assert_eq!(natural("item 2", "item 10"), Ordering::Less);
        assert_eq!(natural("Item 02", "item 2"), Ordering::Equal);
        assert_eq!(natural("a", "B"), Ordering::Less);
    }
}
