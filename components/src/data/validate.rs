//! `type: validate`: checks a value or rows against a schema or rules. Remote references are never fetched.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::component::{
    ConfigProblem, Context, Failure, FailureClass, Family, Field, Outcome, OwnPorts, Run,
};
use shared::expression::RowExpression;
use std::sync::Arc;

use super::{deduplicate::canonical, sort::compare_numbers};
use crate::{
    describe::{Component, Work, cancelled, exactly_one, invalid_config, is_expression, problem},
    row_flow::{Row, RowsAs, arrive, aside, check_row_expression, compiled, depart, lookup, sample},
};

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The value is there and is not null.
    NotNull,
    /// No other row has the value.
    Unique,
    /// The value is of the kind named by `type`.
    Type,
    /// The number lies from `min` to `max`, both included.
    Range,
    /// The text or list has from `min` to `max` characters or elements.
    Length,
    /// The text matches `pattern`.
    Pattern,
    /// The value is one of `values`.
    Enum,
    /// `expression` is true.
    Expression,
}

/// A kind of JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    String,
    /// A number without a fraction.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
}

/// One rule. Null and absent values are the business of `not_null` alone; the other checks let them pass.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's name in the report.
    pub name: String,
    /// The field, or a path such as `customer.name`. Only `expression` can do without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is looked at.
    pub check: Check,
    /// How many rows in a hundred may break the rule while the whole still counts as valid.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub max_bad_percent: f64,
    /// For `type`: the wanted kind.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// For `range` and `length`: the smallest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<serde_json::Number>,
    /// For `range` and `length`: the largest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<serde_json::Number>,
    /// For `pattern`: a regular expression; the text matches when it is found anywhere inside. Anchor it with `^` and `$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// For `enum`: the values allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// For `expression`: a bare expression over `item`, `index` and `bind` that is true for a good row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// What happens with data that is not valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// The task fails as `invalid_input`, with the report in its details.
    #[default]
    Fail,
    /// The task completes; the port `valid` or `invalid` fires.
    Route,
}

fn twenty() -> u32 {
    20
}

/// Checks a value or rows against a JSON Schema, rules, or both.
///
/// The output is `valid`, a `report` for each rule (`name`, `bad`, `percent`, `passed`, `sample`), and what was
/// checked: `value`; or `rows` (the good ones), `rows_in`, `rows_out`, `rows_bad` and `bad` (the first of the
/// bad ones). A schema stands in the report as `schema`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validate {
    /// The value to check. Either this or `rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The rows to check, each by itself: a list, the output of a component that has `rows`, or a row set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Value>,
    /// A JSON Schema (2020-12) for the value or for each row. References to other documents are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Rules for the value or for each row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What happens with data that is not valid.
    #[serde(default)]
    pub on_invalid: OnInvalid,
    /// How many bad rows the report shows for each rule.
    #[serde(default = "twenty")]
    #[schemars(range(min = 0, max = 1000))]
    pub sample: u32,
    /// Values from outside that the expressions see as `bind`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub bind: Map<String, Value>,
    /// The form of the rows that are given back; by default the form in which they came.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<RowsAs>,
}

struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("a reference to another document ({uri}) is not followed; write the schema out").into())
    }
}

/// Compiles a schema; patterns take linear time, references to other documents are refused.
pub(crate) fn compile_schema(schema: &Value) -> Result<jsonschema::Validator, Failure> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(invalid_config("a JSON Schema is an object"));
    }
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_retriever(Nowhere)
        .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(1 << 20))
        .should_validate_formats(true)
        .build(schema)
        .map_err(|wrong| {
            invalid_config(format!("the schema is broken at `{}`: {wrong}", wrong.instance_path()))
        })
}

enum Test {
    NotNull,
    Unique,
    Kind(Kind),
    Range(Option<serde_json::Number>, Option<serde_json::Number>),
    Length(Option<u64>, Option<u64>),
    Pattern(Regex),
    Enum(Vec<Value>),
    Expression(Arc<RowExpression>),
}

impl Rule {
    fn problem(&self) -> Option<(&'static str, String)> {
        if self.field.is_none() && self.check != Check::Expression {
            return Some(("field", format!("the rule `{}` needs a `field`", self.name)));
        }
        let (name, is_given) = match self.check {
            Check::Type => ("type", self.kind.is_some()),
            Check::Range | Check::Length => ("min", self.min.is_some() || self.max.is_some()),
            Check::Pattern => ("pattern", self.pattern.is_some()),
            Check::Enum => ("values", !self.values.is_empty()),
            Check::Expression => ("expression", self.expression.is_some()),
            Check::NotNull | Check::Unique => ("check", true),
        };
        (!is_given).then(|| (name, format!("the rule `{}` needs `{name}`", self.name)))
    }

    fn test(&self) -> Result<Test, Failure> {
        if let Some((_, message)) = self.problem() {
            return Err(invalid_config(message));
        }
        let length = |bound: &Option<serde_json::Number>| {
            bound
                .as_ref()
                .map(|bound| {
                    bound.as_u64().ok_or_else(|| {
                        invalid_config(format!(
                            "the bounds of the rule `{}` must be whole and not negative",
                            self.name
                        ))
                    })
                })
                .transpose()
        };
        Ok(match self.check {
            Check::NotNull => Test::NotNull,
            Check::Unique => Test::Unique,
            Check::Type => Test::Kind(self.kind.unwrap_or(Kind::String)),
            Check::Range => Test::Range(self.min.clone(), self.max.clone()),
            Check::Length => Test::Length(length(&self.min)?, length(&self.max)?),
            Check::Pattern => Test::Pattern(compile_pattern(self.pattern.as_deref().unwrap_or_default())?),
            Check::Enum => Test::Enum(self.values.clone()),
            Check::Expression => Test::Expression(compiled(self.expression.as_deref().unwrap_or_default())?),
        })
    }
}

fn compile_pattern(pattern: &str) -> Result<Regex, Failure> {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|wrong| invalid_config(format!("the pattern is broken: {wrong}")))
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

impl Test {
    /// Whether the value keeps the rule. What an expression cannot work on breaks it.
    fn keeps(&self, row: &Row, value: Option<&Value>, bind: &Value, seen: &mut HashSet<String>) -> bool {
        if let Self::Expression(expression) = self {
            return expression
                .evaluate(&row.value, row.number - 1, bind)
                .is_ok_and(|answer| answer == Value::Bool(true));
        }
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return !matches!(self, Self::NotNull);
        };
        match self {
            Self::NotNull | Self::Expression(_) => true,
            Self::Unique => {
                let mut key = String::new();
                canonical(value, &mut key);
                seen.insert(key)
            }
            Self::Kind(kind) => kind.fits(value),
            Self::Range(min, max) => match value {
                Value::Number(number) => {
                    min.as_ref().is_none_or(|min| compare_numbers(number, min).is_ge())
                        && max.as_ref().is_none_or(|max| compare_numbers(number, max).is_le())
                }
                _ => false,
            },
            Self::Length(min, max) => {
                let length = match value {
                    Value::String(text) => text.chars().count() as u64,
                    Value::Array(list) => list.len() as u64,
                    _ => return false,
                };
                min.is_none_or(|min| length >= min) && max.is_none_or(|max| length <= max)
            }
            Self::Pattern(pattern) => value.as_str().is_some_and(|text| pattern.is_match(text)),
            Self::Enum(values) => values.contains(value),
        }
    }
}

struct Prepared {
    rules: Vec<(Rule, Test)>,
    schema: Option<jsonschema::Validator>,
    bind: Value,
    sample: usize,
}

struct Checking {
    data: Value,
    is_rows: bool,
    form: Option<RowsAs>,
    on_invalid: OnInvalid,
    prepared: Arc<Prepared>,
}

struct Checked {
    good: Vec<Value>,
    rows_in: u64,
    rows_bad: u64,
    bad: Vec<Value>,
    report: Vec<Value>,
    valid: bool,
}

#[derive(Default)]
struct Count {
    bad: u64,
    sample: Vec<Value>,
    seen: HashSet<String>,
}

impl Prepared {
    fn check(
        &self,
        rows: Vec<Row>,
        cancel: &tokio_util::sync::CancellationToken,
    ) -> Result<Checked, Failure> {
        let rows_in = rows.len() as u64;
        let mut counts: Vec<Count> = (0..=self.rules.len()).map(|_| Count::default()).collect();
        let mut good = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        let mut rows_bad = 0;
        for (done, row) in rows.into_iter().enumerate() {
            if done.is_multiple_of(256) && cancel.is_cancelled() {
                return Err(cancelled("checking rows"));
            }
            let mut broken = Vec::new();
            if let Some(wrong) = self.schema.as_ref().and_then(|schema| schema.validate(&row.value).err()) {
                let place = wrong.instance_path().to_string();
                let said = wrong.masked().to_string();
                let count = &mut counts[self.rules.len()];
                count.bad += 1;
                if count.sample.len() < self.sample {
                    count.sample.push(json!({ "row": row.number, "path": place, "message": said }));
                }
                broken.push("schema");
            }
            for ((rule, test), count) in self.rules.iter().zip(&mut counts) {
                let value = rule.field.as_deref().and_then(|field| lookup(&row.value, field));
                if !test.keeps(&row, value, &self.bind, &mut count.seen) {
                    count.bad += 1;
                    if count.sample.len() < self.sample {
                        let shown = sample(value.unwrap_or(if rule.field.is_some() {
                            &Value::Null
                        } else {
                            &row.value
                        }));
                        count.sample.push(json!({ "row": row.number, "value": shown }));
                    }
                    broken.push(&rule.name);
                }
            }
            if broken.is_empty() {
                good.push(row.value);
            } else {
                rows_bad += 1;
                if bad.len() < self.sample {
                    bad.push(json!({ "row": row.number, "rules": broken, "sample": sample(&row.value) }));
                }
            }
        }
        let mut valid = true;
        let mut report = Vec::with_capacity(counts.len());
        let names = self.rules.iter().map(|(rule, _)| (rule.name.as_str(), rule.max_bad_percent));
        let schema = self.schema.as_ref().map(|_| ("schema", 0.0));
        for ((name, allowed), count) in names.chain(schema).zip(&counts) {
            let percent = if rows_in == 0 { 0.0 } else { count.bad as f64 * 100.0 / rows_in as f64 };
            let passed = percent <= allowed;
            valid &= passed;
            report.push(json!({
                "name": name,
                "bad": count.bad,
                "percent": (percent * 100.0).round() / 100.0,
                "passed": passed,
                "sample": count.sample,
            }));
        }
        Ok(Checked { good, rows_in, rows_bad, bad, report, valid })
    }
}

#[async_trait]
impl Run for Checking {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (rows, came_as_row_set) = if self.is_rows {
            let arrived = arrive(&self.data, context).await?;
            (arrived.rows, arrived.as_row_set)
        } else {
            (vec![Row { number: 1, value: self.data.clone() }], false)
        };
        let (prepared, cancel) = (self.prepared.clone(), context.cancel.clone());
        let checked = aside(move || prepared.check(rows, &cancel)).await?;
        if !checked.valid && self.on_invalid == OnInvalid::Fail {
            let broken: Vec<String> = checked
                .report
                .iter()
                .filter(|rule| rule["passed"] == false)
                .map(|rule| format!("`{}` ({} bad)", rule["name"].as_str().unwrap_or_default(), rule["bad"]))
                .collect();
            let of = if self.is_rows { format!(" in {} rows", checked.rows_in) } else { String::new() };
            return Err(Failure::new(
                FailureClass::InvalidInput,
                format!("the data breaks {}{of}", broken.join(", ")),
            )
            .with_details(json!({ "report": checked.report, "bad": checked.bad })));
        }
        let mut output = json!({ "valid": checked.valid, "report": checked.report });
        if self.is_rows {
            let as_row_set = self.form.map_or(came_as_row_set, |form| form == RowsAs::Rows);
            output["rows_in"] = checked.rows_in.into();
            output["rows_out"] = checked.good.len().into();
            output["rows_bad"] = checked.rows_bad.into();
            output["bad"] = Value::Array(checked.bad);
            output["rows"] = depart(checked.good, as_row_set, context).await?;
        } else {
            output["value"] = self.data.clone();
        }
        let ports = match (self.on_invalid, checked.valid) {
            (OnInvalid::Fail, _) => Vec::new(),
            (OnInvalid::Route, true) => vec!["valid".to_owned()],
            (OnInvalid::Route, false) => vec!["invalid".to_owned()],
        };
        Ok(Outcome { output, ports })
    }
}

impl Component for Validate {
    const KIND: &'static str = "validate";
    const ALIASES: &'static [&'static str] = &["data_validation", "data_quality"];
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Checks a value or rows against a schema or rules.";

    fn example() -> Value {
        json!({
            "rows": [{ "id": 1, "price": 9.5 }, { "id": 2, "price": 3 }],
            "rules": [
                { "name": "id is there", "field": "id", "check": "not_null" },
                { "name": "price in range", "field": "price", "check": "range", "min": 0, "max": 1000 },
            ],
        })
    }

    fn ports(config: &Value) -> OwnPorts {
        if config.get("on_invalid").and_then(Value::as_str) == Some("route") {
            OwnPorts::one_of(&["valid", "invalid"])
        } else {
            OwnPorts::none()
        }
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        match path {
            ["rules", "expression"] => Field::RowExpression,
            ["schema", ..] | ["rules", "pattern"] => Field::Verbatim,
            _ => Field::Template,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = exactly_one(config, &["value", "rows"]);
        let schema = config.get("schema").filter(|schema| !schema.is_null());
        let rules = config.get("rules").and_then(Value::as_array);
        if schema.is_none() && rules.is_none_or(Vec::is_empty) {
            problems.push(problem(&[], "give a `schema`, `rules`, or both; nothing is checked otherwise"));
        }
        if let Some(schema) = schema.filter(|schema| !is_expression(schema))
            && let Err(wrong) = compile_schema(schema)
        {
            problems.push(problem(&["schema"], wrong.message));
        }
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let index = index.to_string();
            problems.extend(check_row_expression(rule.get("expression"), &["rules", &index, "expression"]));
            if let Some(pattern) = rule.get("pattern").and_then(Value::as_str)
                && let Err(wrong) = compile_pattern(pattern)
            {
                problems.push(problem(&["rules", &index, "pattern"], wrong.message));
            }
            if let Ok(rule) = serde_json::from_value::<Rule>(rule.clone())
                && let Some((field, message)) = rule.problem()
            {
                problems.push(problem(&["rules", &index, field], message));
            }
        }
        problems
    }
}

impl Work for Validate {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (data, is_rows) = match (self.value, self.rows) {
            (Some(value), None) => (value, false),
            (None, Some(rows)) => (rows, true),
            _ => return Err(invalid_config("exactly one of `value` and `rows` must be given")),
        };
        let mut names = BTreeMap::new();
        let mut rules = Vec::with_capacity(self.rules.len());
        for rule in self.rules {
            if names.insert(rule.name.clone(), ()).is_some() {
                return Err(invalid_config(format!("two rules are named `{}`", rule.name)));
            }
            let test = rule.test()?;
            rules.push((rule, test));
        }
        Ok(Box::new(Checking {
            data,
            is_rows,
            form: self.form,
            on_invalid: self.on_invalid,
            prepared: Arc::new(Prepared {
                rules,
                schema: self.schema.as_ref().map(compile_schema).transpose()?,
                bind: Value::Object(self.bind),
                sample: self.sample as usize,
            }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, outcome};

    fn rules() -> Value {
        json!([
            { "name": "there", "field": "a", "check": "not_null" },
            { "name": "once", "field": "a", "check": "unique" },
            { "name": "whole", "field": "n", "check": "type", "type": "integer" },
            { "name": "range", "field": "n", "check": "range", "min": 1, "max": 5 },
            { "name": "short", "field": "a", "check": "length", "max": 3 },
            { "name": "letters", "field": "a", "check": "pattern", "pattern": "^[a-z]+$" },
            { "name": "known", "field": "a", "check": "enum", "values": ["a", "b", "LONG"] },
            { "name": "sum", "check": "expression", "expression": "item.n < bind.limit" },
        ])
    }

    #[tokio::test]
    async fn every_rule_finds_its_bad_rows() {
        let outcome = outcome(
            "validate",
            json!({
                "rows": [{ "a": "a", "n": 1 }, { "a": "a", "n": 2.5 }, { "n": 9 }, { "a": "LONG", "n": 3 }],
                "rules": rules(), "on_invalid": "route", "bind": { "limit": 8 },
            }),
        )
        .await;
        assert_eq!(outcome.ports, ["invalid"]);
        let bad: Vec<u64> = outcome.output["report"]
            .as_array()
            .expect("report")
            .iter()
            .map(|rule| rule["bad"].as_u64().expect("count"))
            .collect();
        assert_eq!(bad, [1, 1, 1, 1, 1, 1, 0, 1]);
        assert_eq!(outcome.output["rows"], json!([{ "a": "a", "n": 1 }]));
        assert_eq!(outcome.output["rows_bad"], 3);
    }

    #[tokio::test]
    async fn some_bad_rows_may_be_allowed() {
        let config = |percent: f64| {
            json!({
                "rows": [{ "a": 1 }, { "a": null }],
                "rules": [{ "name": "there", "field": "a", "check": "not_null", "max_bad_percent": percent }],
            })
        };
        assert_eq!(outcome("validate", config(50.0)).await.output["rows_out"], 1);
        let failed = failure("validate", config(49.0)).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
        assert_eq!(failed.details.expect("details")["report"][0]["bad"], 1);
    }

    #[tokio::test]
    async fn a_value_is_checked_by_its_schema() {
        let config = |value: Value| json!({ "value": value, "schema": { "type": "object", "required": ["id"] }, "on_invalid": "route" });
        let good = outcome("validate", config(json!({ "id": 1 }))).await;
        assert_eq!((good.ports, &good.output["value"]), (vec!["valid".to_owned()], &json!({ "id": 1 })));
        assert_eq!(outcome("validate", config(json!({}))).await.ports, ["invalid"]);
    }

    #[tokio::test]
    async fn a_remote_reference_is_refused() {
        for reference in ["http://127.0.0.1:1/schema.json", "file:///etc/passwd", "https://example.com/s"] {
            let config = json!({ "value": 1, "schema": { "$ref": reference } });
            assert_eq!(failure("validate", config.clone()).await.class, FailureClass::InvalidConfig);
            assert_eq!(Validate::check(&config).len(), 1, "{reference}");
        }
        let inside =
            json!({ "value": 1, "schema": { "$ref": "#/$defs/n", "$defs": { "n": { "type": "integer" } } } });
        assert_eq!(outcome("validate", inside).await.output["valid"], true);
    }

    #[test]
    fn broken_rules_are_found_when_saving() {
        let of = |rule: Value| Validate::check(&json!({ "rows": [], "rules": [rule] })).len();
        assert_eq!(of(json!({ "name": "x", "field": "a", "check": "pattern", "pattern": "(" })), 1);
        assert_eq!(of(json!({ "name": "x", "check": "not_null" })), 1);
        assert_eq!(of(json!({ "name": "x", "field": "a", "check": "range" })), 1);
        assert_eq!(of(json!({ "name": "x", "check": "expression", "expression": "1 +" })), 1);
        assert_eq!(Validate::check(&json!({ "value": 1, "schema": { "type": "nonsense" } })).len(), 1);
        assert_eq!(Validate::check(&json!({ "value": 1 })).len(), 1);
    }
}
