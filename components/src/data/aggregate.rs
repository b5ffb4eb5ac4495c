//! `type: aggregate`: figures over rows, one row a group.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use shared::component::{ConfigProblem, Failure, FailureClass, Family, Run};

use super::{deduplicate::canonical, sort::compare_numbers};
use crate::{
    describe::{Component, Work, invalid_config, invalid_input, problem},
    row_flow::{Pass, Row, RowWork, Step, absent, check_rows, kind_of, lookup, row_type},
};

/// One figure of a group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `count`, `sum`, `avg`, `min`, `max`, `median`, `stddev` (of a sample), `distinct` (how many values
    /// differ), `first`, `last`, `list`, or a percentile from `p50` to `p99`.
    #[schemars(regex(
        pattern = r"^(count|sum|avg|min|max|median|stddev|distinct|first|last|list|p[5-9][0-9])$"
    ))]
    pub op: String,
    /// The field that is looked at. Only `count` can do without it and then counts rows; with it, values that are not null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

fn a_million() -> u64 {
    1_000_000
}

row_type! {
    /// Counts, sums and other figures over rows, one row for each group.
    ///
    /// Null is left out of every figure. Sums of integers are exact or fail. Without rows and without `by` there
    /// is one group with `count` 0 and null for the rest. The output is `rows` (one a group, in the order in which
    /// the groups first appear), `rows_in` and `rows_out`.
    Aggregate, AggregateOperation {
        /// Each figure's name, and how it is computed.
        metrics: std::collections::BTreeMap<String, Metric>,
        /// The fields whose values make a group; all rows are one group without them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by: Vec<String>,
        /// How many groups there may be.
        #[serde(default = "a_million")]
        max_groups: u64,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Percentile(u8),
    Stddev,
    Distinct,
    First,
    Last,
    List,
}

fn op(text: &str) -> Option<Op> {
    Some(match text {
        "count" => Op::Count,
        "sum" => Op::Sum,
        "avg" => Op::Avg,
        "min" => Op::Min,
        "max" => Op::Max,
        "median" => Op::Percentile(50),
        "stddev" => Op::Stddev,
        "distinct" => Op::Distinct,
        "first" => Op::First,
        "last" => Op::Last,
        "list" => Op::List,
        other => {
            let percent = other.strip_prefix('p').filter(|digits| digits.len() == 2)?.parse().ok()?;
            return (50..=99).contains(&percent).then_some(Op::Percentile(percent));
        }
    })
}

struct Figure {
    name: String,
    op: Op,
    field: Option<String>,
}

pub(crate) struct AggregateStep {
    figures: Vec<Figure>,
    by: Vec<String>,
    max_groups: usize,
}

impl AggregateOperation {
    pub(crate) fn step(self) -> Result<AggregateStep, Failure> {
        let figures = self
            .metrics
            .into_iter()
            .map(|(name, metric)| {
                let op = op(&metric.op).ok_or_else(|| {
                    invalid_config(format!("the metric `{name}` has the unknown op `{}`", metric.op))
                })?;
                if op != Op::Count && metric.field.is_none() {
                    return Err(invalid_config(format!("the metric `{name}` needs a `field`")));
                }
                Ok(Figure { name, op, field: metric.field })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(AggregateStep {
            figures,
            by: self.by,
            max_groups: usize::try_from(self.max_groups).unwrap_or(usize::MAX),
        })
    }
}

/// What one figure of one group has seen.
#[derive(Default)]
struct Tally {
    count: u64,
    sum: Sum,
    numbers: Vec<Number>,
    best: Option<Value>,
    values: Vec<Value>,
    seen: std::collections::HashSet<String>,
}

/// A sum that is exact while all its numbers are integers.
struct Sum {
    exact: Option<i64>,
    overflowed: bool,
    /// The float sum and its compensation.
    ///
    /// Source: A. Neumaier, *Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen*, 1974.
    float: (f64, f64),
}

impl Default for Sum {
    fn default() -> Self {
        Self { exact: Some(0), overflowed: false, float: (0.0, 0.0) }
    }
}

impl Sum {
    fn add(&mut self, number: &Number) {
        if let Some(exact) = self.exact {
            match number.as_i64() {
                Some(more) => {
                    self.exact = exact.checked_add(more);
                    self.overflowed |= self.exact.is_none();
                }
                None => {
                    self.overflowed |= number.is_u64();
                    self.exact = None;
                }
            }
        }
        let (sum, correction) = self.float;
        let value = number.as_f64().unwrap_or(f64::NAN);
        let next = sum + value;
        let lost = if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        self.float = (next, correction + lost);
    }

    fn total(&self) -> f64 {
        self.float.0 + self.float.1
    }
}

fn float(value: f64) -> Result<Value, Failure> {
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| Failure::new(FailureClass::LimitExceeded, "the figure is larger than a number can be"))
}

impl Tally {
    fn add(&mut self, op: Op, value: Option<&Value>) -> Result<(), Failure> {
        let Some(value) = value else {
            self.count += 1;
            return Ok(());
        };
        if value.is_null() && !matches!(op, Op::First | Op::Last | Op::List) {
            return Ok(());
        }
        self.count += 1;
        match op {
            Op::Count => {}
            Op::Sum | Op::Avg | Op::Percentile(_) | Op::Stddev => {
                let Value::Number(number) = value else {
                    self.count -= 1;
                    return Err(invalid_input(format!("{} is no number", kind_of(value))));
                };
                self.sum.add(number);
                if matches!(op, Op::Percentile(_) | Op::Stddev) {
                    self.numbers.push(number.clone());
                }
            }
            Op::Min | Op::Max => {
                let better = match (&self.best, value) {
                    (None, Value::Number(_) | Value::String(_)) => true,
                    (Some(Value::Number(best)), Value::Number(number)) => {
                        let order = compare_numbers(number, best);
                        if op == Op::Min { order.is_lt() } else { order.is_gt() }
                    }
                    (Some(Value::String(best)), Value::String(text)) => {
                        if op == Op::Min {
                            text < best
                        } else {
                            text > best
                        }
                    }
                    _ => return Err(invalid_input(format!("{} cannot be compared here", kind_of(value)))),
                };
                if better {
                    self.best = Some(value.clone());
                }
            }
            Op::Distinct => {
                let mut key = String::new();
                canonical(value, &mut key);
                self.seen.insert(key);
            }
            Op::First => {
                self.best.get_or_insert_with(|| value.clone());
            }
            Op::Last => self.best = Some(value.clone()),
            Op::List => self.values.push(value.clone()),
        }
        Ok(())
    }

    fn answer(mut self, op: Op) -> Result<Value, Failure> {
        Ok(match op {
            Op::Count => self.count.into(),
            Op::Distinct => self.seen.len().into(),
            Op::List => Value::Array(self.values),
            Op::Min | Op::Max | Op::First | Op::Last => self.best.unwrap_or_default(),
            _ if self.count == 0 => Value::Null,
            Op::Sum => match self.sum.exact {
                Some(exact) => exact.into(),
                None if self.sum.overflowed => {
                    return Err(Failure::new(
                        FailureClass::LimitExceeded,
                        "the sum of integers is beyond 64 bits",
                    ));
                }
                None => float(self.sum.total())?,
            },
            Op::Avg => float(self.sum.total() / self.count as f64)?,
            Op::Stddev => {
                if self.count < 2 {
                    return Ok(Value::Null);
                }
                let mean = self.sum.total() / self.count as f64;
                let squares: f64 = self
                    .numbers
                    .iter()
                    .map(|number| (number.as_f64().unwrap_or(f64::NAN) - mean).powi(2))
                    .sum();
                float((squares / (self.count - 1) as f64).sqrt())?
            }
            Op::Percentile(percent) => {
                self.numbers.sort_by(compare_numbers);
                percentile(&self.numbers, percent)?
            }
        })
    }
}

/// The percentile of sorted numbers, between two neighbours by the share of the way.
///
/// Source: type 7 in R. Hyndman and Y. Fan, *Sample Quantiles in Statistical Packages*, 1996.
fn percentile(sorted: &[Number], percent: u8) -> Result<Value, Failure> {
    let place = (sorted.len() - 1) * usize::from(percent);
    let (below, share) = (place / 100, place % 100);
    if share == 0 {
        return Ok(Value::Number(sorted[below].clone()));
    }
    let (low, high) =
        (sorted[below].as_f64().unwrap_or(f64::NAN), sorted[below + 1].as_f64().unwrap_or(f64::NAN));
    float(low + (high - low) * share as f64 / 100.0)
}

impl AggregateStep {
    fn key(&self, row: &Value) -> Result<(String, Vec<Value>), (String, Failure)> {
        let mut key = String::new();
        let mut values = Vec::with_capacity(self.by.len());
        for field in &self.by {
            let value = lookup(row, field).ok_or_else(|| (field.clone(), absent(field)))?;
            canonical(value, &mut key);
            key.push('\n');
            values.push(value.clone());
        }
        Ok((key, values))
    }
}

impl Step for AggregateStep {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut groups: Vec<(Vec<Value>, Vec<Tally>)> = Vec::new();
        let fresh = || self.figures.iter().map(|_| Tally::default()).collect::<Vec<_>>();
        if self.by.is_empty() {
            places.insert(String::new(), 0);
            groups.push((Vec::new(), fresh()));
        }
        'rows: for (done, row) in rows.into_iter().enumerate() {
            pass.check_cancelled(done)?;
            let (key, values) = match self.key(&row.value) {
                Ok(key) => key,
                Err((field, failure)) => {
                    pass.bad(row.number, Some(&field), &row.value, failure)?;
                    continue;
                }
            };
            let mut taken = Vec::with_capacity(self.figures.len());
            for figure in &self.figures {
                let value = match &figure.field {
                    None => None,
                    Some(field) => match lookup(&row.value, field) {
                        Some(value) => Some(value),
                        None => {
                            pass.bad(row.number, Some(field), &row.value, absent(field))?;
                            continue 'rows;
                        }
                    },
                };
                taken.push(value);
            }
            let place = match places.get(&key) {
                Some(place) => *place,
                None => {
                    if groups.len() >= self.max_groups {
                        return Err(Failure::new(
                            FailureClass::LimitExceeded,
                            format!(
                                "row {} begins group {}; at most {} are allowed (`max_groups`)",
                                row.number,
                                groups.len() + 1,
                                self.max_groups
                            ),
                        ));
                    }
                    places.insert(key, groups.len());
                    groups.push((values, fresh()));
                    groups.len() - 1
                }
            };
            for ((figure, tally), value) in self.figures.iter().zip(&mut groups[place].1).zip(taken) {
                if let Err(failure) = tally.add(figure.op, value) {
                    pass.bad(row.number, figure.field.as_deref(), &row.value, failure)?;
                }
            }
        }
        (1..)
            .zip(groups)
            .map(|(number, (values, tallies))| {
                let mut row: Map<String, Value> = self.by.iter().cloned().zip(values).collect();
                for (figure, tally) in self.figures.iter().zip(tallies) {
                    let answer = tally.answer(figure.op).map_err(|mut failure| {
                        failure.message = format!("metric `{}`: {}", figure.name, failure.message);
                        failure
                    })?;
                    row.insert(figure.name.clone(), answer);
                }
                Ok(Row { number, value: Value::Object(row) })
            })
            .collect()
    }
}

impl Component for Aggregate {
    const KIND: &'static str = "aggregate";
    const ALIASES: &'static [&'static str] = &["aggregator", "data_aggregation"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Counts, sums and other figures over rows, one row for each group.";

    fn example() -> Value {
        json!({
            "rows": [{ "country": "DE", "total": 5 }, { "country": "FR", "total": 7 }],
            "by": ["country"],
            "metrics": { "orders": { "op": "count" }, "revenue": { "op": "sum", "field": "total" } },
        })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems: Vec<_> = check_rows(config).into_iter().collect();
        for (name, metric) in config.get("metrics").and_then(Value::as_object).into_iter().flatten() {
            let counts = metric.get("op").and_then(Value::as_str) == Some("count");
            if !counts && metric.get("field").is_none() {
                problems.push(problem(&["metrics", name], "only `count` can do without a `field`"));
            }
        }
        problems
    }
}

impl Work for Aggregate {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        let collects = flow.on_row_error != crate::row_flow::OnRowError::Fail;
        let work = RowWork::new(flow, operation.step()?);
        Ok(Box::new(if collects { work } else { work.without_bad_count() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, output};

    fn all(field: &str) -> Value {
        let ops =
            ["sum", "avg", "min", "max", "median", "stddev", "distinct", "first", "last", "list", "p90"];
        let metrics: Map<String, Value> =
            ops.iter().map(|op| ((*op).to_owned(), json!({ "op": op, "field": field }))).collect();
        Value::Object(metrics)
    }

    #[tokio::test]
    async fn every_figure_is_right() {
        let rows: Vec<Value> = [3, 1, 4, 1, 5].iter().map(|n| json!({ "n": n })).collect();
        let output = output("aggregate", json!({ "rows": rows, "metrics": all("n") })).await;
        assert_eq!(
            output["rows"][0],
            json!({
                "sum": 14, "avg": 2.8, "min": 1, "max": 5, "median": 3, "distinct": 4, "first": 3, "last": 5,
                "list": [3, 1, 4, 1, 5], "p90": 4.6, "stddev": 3.2_f64.sqrt(),
            })
        );
        assert_eq!((&output["rows_in"], &output["rows_out"]), (&json!(5), &json!(1)));
    }

    #[tokio::test]
    async fn nothing_counts_zero_and_has_no_average() {
        let metrics = json!({ "n": { "op": "count" }, "a": { "op": "avg", "field": "x" } });
        let output = output("aggregate", json!({ "rows": [], "metrics": metrics })).await;
        assert_eq!(output["rows"], json!([{ "n": 0, "a": null }]));
    }

    #[tokio::test]
    async fn groups_come_in_the_order_of_their_first_row() {
        let output = output("aggregate", Aggregate::example()).await;
        assert_eq!(
            output["rows"],
            json!([
                { "country": "DE", "orders": 1, "revenue": 5 }, { "country": "FR", "orders": 1, "revenue": 7 },
            ])
        );
    }

    #[tokio::test]
    async fn a_sum_is_exact_or_fails() {
        let metrics = json!({ "s": { "op": "sum", "field": "n" } });
        let large = i64::MAX;
        let failed =
            failure("aggregate", json!({ "rows": [{ "n": large }, { "n": 1 }], "metrics": metrics })).await;
        assert_eq!(failed.class, FailureClass::LimitExceeded);
        let tenths: Vec<Value> = (0..10).map(|_| json!({ "n": 0.1 })).collect();
        assert_eq!(
            output("aggregate", json!({ "rows": tenths, "metrics": metrics })).await["rows"][0]["s"],
            1.0
        );
    }

    #[tokio::test]
    async fn text_in_a_sum_and_too_many_groups_are_refused() {
        let metrics = json!({ "s": { "op": "sum", "field": "n" } });
        let text = failure("aggregate", json!({ "rows": [{ "n": "5" }], "metrics": metrics })).await;
        assert_eq!(text.class, FailureClass::InvalidInput);
        let many = json!({
            "rows": [{ "n": 1 }, { "n": 2 }], "by": ["n"], "metrics": metrics, "max_groups": 1,
        });
        assert_eq!(failure("aggregate", many).await.class, FailureClass::LimitExceeded);
        let missing = failure("aggregate", json!({ "rows": [{}], "metrics": metrics })).await;
        assert_eq!(missing.details.expect("details")["field"], "n");
    }
}
