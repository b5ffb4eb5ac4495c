//! `type: csv_parse`: CSV to rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use shared::{
    component::{ConfigProblem, Context, Failure, FailureClass, Family, Outcome, Run},
    time::Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::{
    describe::{Component, Work, cancelled, invalid_config, invalid_input, problem},
    file_value::bytes_of,
    row_flow::{OnRowError, RowsAs, aside, depart, sample},
};

const MAX_FIELD_BYTES: usize = 1024 * 1024;
const MAX_COLUMNS: usize = 10_000;
const MAX_LISTED: usize = 1_000;

/// What the text of a column stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// The text as it stands.
    Text,
    /// A whole number of up to 64 bits.
    Integer,
    /// A number such as `12.50` or `1e3`, with a point.
    Number,
    /// `true`, `false`, `yes`, `no`, `1` or `0`, in any case.
    Boolean,
    /// A day such as `2030-01-31`; stays text.
    Date,
    /// An instant in RFC 3339, such as `2030-01-31T08:00:00Z`; stays text.
    Datetime,
    /// Any JSON value.
    Json,
}

/// How bytes become characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// UTF-8; a byte order mark is dropped.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1 (Latin 1).
    #[serde(rename = "iso-8859-1")]
    Latin1,
}

/// What happens with a line that has fewer or more fields than there are columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ragged {
    /// The line is a wrong row.
    #[default]
    Error,
    /// Fields that are missing become null, fields too many are dropped.
    Pad,
}

fn comma() -> String {
    ",".to_owned()
}

fn quote() -> String {
    "\"".to_owned()
}

fn yes() -> bool {
    true
}

/// Reads CSV into rows.
///
/// An empty field of a column with a type other than `text` becomes null. A fault names the row (from 1, the
/// header not counted), the line of the text and the column.
/// The output is `rows`, `rows_in`, `rows_out`, `rows_bad` and `columns`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvParse {
    /// The CSV: text, or a file such as the output of a `file_operation` that reads.
    pub input: Value,
    /// The character between fields.
    #[serde(default = "comma")]
    #[schemars(length(equal = 1))]
    pub delimiter: String,
    /// The character around fields that hold delimiters or line ends.
    #[serde(default = "quote")]
    #[schemars(length(equal = 1))]
    pub quote: String,
    /// Whether the first line names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// The columns' names; they replace those of the header. Without a header and without them, columns are `column_1` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What the text of a column stands for; `text` for columns not named here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, ColumnType>,
    /// How bytes become characters.
    #[serde(default)]
    pub encoding: Encoding,
    /// How many lines before the CSV are skipped.
    #[serde(default)]
    pub skip_lines: u32,
    /// What happens with a line that has fewer or more fields than there are columns.
    #[serde(default)]
    pub ragged: Ragged,
    /// The form of the rows that are given back.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<RowsAs>,
    /// What happens with a row that has a fault.
    #[serde(default)]
    pub on_row_error: OnRowError,
}

/// The one ASCII character of a setting.
fn character(text: &str, name: &str) -> Result<u8, Failure> {
    match text.as_bytes() {
        [one] if one.is_ascii() => Ok(*one),
        _ => Err(invalid_config(format!("`{name}` must be one ASCII character"))),
    }
}

fn value_of(text: &str, kind: ColumnType) -> Result<Value, &'static str> {
    if kind == ColumnType::Text {
        return Ok(Value::from(text));
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Null);
    }
    match kind {
        ColumnType::Text => Ok(Value::from(text)),
        ColumnType::Integer => {
            trimmed.parse::<i64>().map(Value::from).map_err(|_| "is not an integer of 64 bits")
        }
        ColumnType::Number => {
            if let Ok(whole) = trimmed.parse::<i64>() {
                return Ok(Value::from(whole));
            }
            let well_formed = trimmed.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            trimmed
                .parse::<f64>()
                .ok()
                .filter(|_| well_formed)
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or("is not a number")
        }
        ColumnType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(Value::Bool(true)),
            "false" | "no" | "0" => Ok(Value::Bool(false)),
            _ => Err("is not a boolean"),
        },
        ColumnType::Date => chrono::NaiveDate::parse_from_str(trimmed, "%Y-%m-%d")
            .map(|_| Value::from(trimmed))
            .map_err(|_| "is not a day such as 2030-01-31"),
        ColumnType::Datetime => trimmed
            .parse::<Timestamp>()
            .map(|_| Value::from(trimmed))
            .map_err(|_| "is not an instant such as 2030-01-31T08:00:00Z"),
        ColumnType::Json => serde_json::from_str(trimmed).map_err(|_| "is not JSON"),
    }
}

struct Parsed {
    rows: Vec<Value>,
    rows_in: u64,
    bad_rows: u64,
    bad: Vec<Value>,
    columns: Vec<String>,
}

fn limit(message: String) -> Failure {
    Failure::new(FailureClass::LimitExceeded, message)
}

fn wrong_csv(error: &csv::Error, skipped: u64) -> Failure {
    let line = error.position().map(|position| position.line() + skipped);
    let what = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("field {} is not UTF-8; set `encoding`", err.field() + 1)
        }
        _ => "the text is not CSV".to_owned(),
    };
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    invalid_input(format!("{place}{what}")).with_details(json!({ "line": line }))
}

impl CsvParse {
    fn parse(&self, bytes: &[u8], cancel: &CancellationToken) -> Result<Parsed, Failure> {
        let latin;
        let mut bytes = match self.encoding {
            Encoding::Utf8 => bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes),
            Encoding::Latin1 => {
                latin = bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
                latin.as_bytes()
            }
        };
        for _ in 0..self.skip_lines {
            bytes = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => &bytes[end + 1..],
                None => &[],
            };
        }
        let skipped = u64::from(self.skip_lines);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(character(&self.delimiter, "delimiter")?)
            .quote(character(&self.quote, "quote")?)
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        let mut record = csv::StringRecord::new();
        let mut columns: Vec<String> = self.columns.clone();
        if self.header {
            let found = reader.read_record(&mut record).map_err(|error| wrong_csv(&error, skipped))?;
            if found && columns.is_empty() {
                columns = record.iter().map(|name| name.trim().to_owned()).collect();
            }
        }
        let mut parsed =
            Parsed { rows: Vec::new(), rows_in: 0, bad_rows: 0, bad: Vec::new(), columns: Vec::new() };
        let mut kinds = self.prepare(&columns)?;
        loop {
            if parsed.rows_in.is_multiple_of(256) && cancel.is_cancelled() {
                return Err(cancelled("reading CSV"));
            }
            if !reader.read_record(&mut record).map_err(|error| wrong_csv(&error, skipped))? {
                break;
            }
            parsed.rows_in += 1;
            if columns.is_empty() {
                columns = (1..=record.len()).map(|number| format!("column_{number}")).collect();
                kinds = self.prepare(&columns)?;
            }
            match self.row(&record, &columns, &kinds) {
                Ok(row) => parsed.rows.push(row),
                Err(fault) if fault.class == FailureClass::LimitExceeded => {
                    return Err(limit(format!("row {}: {}", parsed.rows_in, fault.message)));
                }
                Err(fault) => {
                    let line = record.position().map(|position| position.line() + skipped);
                    let shown = sample(&Value::from(record.iter().collect::<Vec<_>>().join(&self.delimiter)));
                    let column = fault.details.clone().unwrap_or_default();
                    match self.on_row_error {
                        OnRowError::Fail => {
                            let at_line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
                            return Err(Failure::new(
                                fault.class,
                                format!("row {}{at_line}: {}; the row: {shown}", parsed.rows_in, fault.message),
                            )
                            .with_details(
                                json!({ "row": parsed.rows_in, "line": line, "column": column, "sample": shown }),
                            ));
                        }
                        OnRowError::Skip => parsed.bad_rows += 1,
                        OnRowError::Collect => {
                            parsed.bad_rows += 1;
                            if parsed.bad.len() < MAX_LISTED {
                                parsed.bad.push(json!({
                                    "row": parsed.rows_in,
                                    "line": line,
                                    "column": column,
                                    "class": fault.class,
                                    "message": fault.message,
                                    "sample": shown,
                                }));
                            }
                        }
                    }
                }
            }
        }
        parsed.columns = columns;
        Ok(parsed)
    }

    /// The type of each column, in their order.
    fn prepare(&self, columns: &[String]) -> Result<Vec<ColumnType>, Failure> {
        if columns.len() > MAX_COLUMNS {
            return Err(limit(format!(
                "there are {} columns; at most {MAX_COLUMNS} are read",
                columns.len()
            )));
        }
        for (index, name) in columns.iter().enumerate() {
            if columns[..index].contains(name) {
                return Err(invalid_input(format!(
                    "two columns are named `{name}`; name them with `columns`"
                )));
            }
        }
        if !columns.is_empty()
            && let Some(unknown) = self.types.keys().find(|name| !columns.contains(name))
        {
            let shown =
                columns.iter().take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(invalid_input(format!("`types` names the column `{unknown}`; there are {shown}")));
        }
        Ok(columns.iter().map(|name| self.types.get(name).copied().unwrap_or(ColumnType::Text)).collect())
    }

    /// One row; a failure's details are the column.
    fn row(
        &self,
        record: &csv::StringRecord,
        columns: &[String],
        kinds: &[ColumnType],
    ) -> Result<Value, Failure> {
        if record.len() > MAX_COLUMNS {
            return Err(limit(format!(
                "the row has {} fields; at most {MAX_COLUMNS} are read",
                record.len()
            )));
        }
        if record.len() != columns.len() && self.ragged == Ragged::Error {
            return Err(invalid_input(format!(
                "the row has {} fields, there are {} columns; `ragged: pad` lets it pass",
                record.len(),
                columns.len()
            )));
        }
        let mut row = Map::with_capacity(columns.len());
        for (index, (name, kind)) in columns.iter().zip(kinds).enumerate() {
            let value = match record.get(index) {
                None => Value::Null,
                Some(text) if text.len() > MAX_FIELD_BYTES => {
                    return Err(limit(format!(
                        "column `{name}`: the field has {} bytes; at most {MAX_FIELD_BYTES} are read",
                        text.len()
                    )));
                }
                Some(text) => value_of(text, *kind).map_err(|what| {
                    let shown: String = text.chars().take(60).collect();
                    invalid_input(format!("column `{name}`: `{shown}` {what}"))
                        .with_details(Value::from(name.as_str()))
                })?,
            };
            row.insert(name.clone(), value);
        }
        Ok(Value::Object(row))
    }
}

#[async_trait]
impl Run for CsvParse {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (bytes, name) = bytes_of(&self.input, context).await?;
        let (config, cancel) = (self.clone(), context.cancel.clone());
        let parsed = aside(move || config.parse(&bytes, &cancel)).await.map_err(|mut failure| {
            failure.message = format!("{name}: {}", failure.message);
            failure
        })?;
        let rows_out = parsed.rows.len();
        let rows = depart(parsed.rows, self.form == Some(RowsAs::Rows), context).await?;
        let mut output = json!({
            "rows": rows,
            "rows_in": parsed.rows_in,
            "rows_out": rows_out,
            "rows_bad": parsed.bad_rows,
            "columns": parsed.columns,
        });
        if self.on_row_error == OnRowError::Collect {
            output["bad"] = Value::Array(parsed.bad);
        }
        Ok(Outcome::of(output))
    }
}

impl Component for CsvParse {
    const KIND: &'static str = "csv_parse";
    const FAMILY: Family = Family::Formats;
    const SUMMARY: &'static str = "Reads CSV into rows.";

    fn example() -> Value {
        json!({ "input": "name,age\nAda,36\nBob,12\n", "types": { "age": "integer" } })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        for name in ["delimiter", "quote"] {
            if let Some(text) = config.get(name).and_then(Value::as_str)
                && let Err(wrong) = character(text, name)
            {
                problems.push(problem(&[name], wrong.message));
            }
        }
        problems
    }
}

impl Work for CsvParse {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        character(&self.delimiter, "delimiter")?;
        character(&self.quote, "quote")?;
        Ok(Box::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, failure, output, run_in};

    #[tokio::test]
    async fn fields_become_what_their_types_say() {
        let output = output(
            "csv_parse",
            json!({
                "input": "\u{feff}t;i;n;b;d;j\n\"a;\"\"b\"\"\nc\";7;1.50;YES;2030-01-31;{\"x\":1}\n 😀 ;;2;0;;[]\n",
                "delimiter": ";",
                "types": { "i": "integer", "n": "number", "b": "boolean", "d": "date", "j": "json" },
            }),
        )
        .await;
        assert_eq!(
            output["rows"],
            json!([
                { "t": "a;\"b\"\nc", "i": 7, "n": 1.5, "b": true, "d": "2030-01-31", "j": { "x": 1 } },
                { "t": " 😀 ", "i": null, "n": 2, "b": false, "d": null, "j": [] },
            ])
        );
        assert_eq!(output["columns"], json!(["t", "i", "n", "b", "d", "j"]));
    }

    #[tokio::test]
    async fn a_fault_names_row_line_and_column() {
        let failed =
            failure("csv_parse", json!({ "input": "a,b\n\"x\ny\",1\nz,two\n", "types": { "b": "integer" } }))
                .await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
        let details = failed.details.clone().expect("details");
        assert_eq!(
            (&details["row"], &details["line"], &details["column"]),
            (&json!(2), &json!(4), &json!("b"))
        );
        assert!(failed.message.contains("`two` is not an integer"), "{failed}");
    }

    #[tokio::test]
    async fn ragged_lines_fail_or_are_padded() {
        let config = |ragged: &str, policy: &str| json!({ "input": "a,b\n1\n1,2,3\n1,2\n", "ragged": ragged, "on_row_error": policy });
        assert_eq!(failure("csv_parse", config("error", "fail")).await.class, FailureClass::InvalidInput);
        let padded = output("csv_parse", config("pad", "fail")).await;
        assert_eq!(padded["rows"][0], json!({ "a": "1", "b": null }));
        let collected = output("csv_parse", config("error", "collect")).await;
        assert_eq!((&collected["rows_bad"], &collected["bad"][1]["row"]), (&json!(2), &json!(2)));
    }

    #[tokio::test]
    async fn empty_and_headless_texts_have_a_result() {
        let empty = output("csv_parse", json!({ "input": "" })).await;
        assert_eq!(empty, json!({ "rows": [], "rows_in": 0, "rows_out": 0, "rows_bad": 0, "columns": [] }));
        let headless =
            output("csv_parse", json!({ "input": "junk\n1,2\n", "header": false, "skip_lines": 1 })).await;
        assert_eq!(headless["rows"], json!([{ "column_1": "1", "column_2": "2" }]));
    }

    #[tokio::test]
    async fn limits_and_wrong_inputs_are_said() {
        let wide = vec!["x"; MAX_COLUMNS + 1].join(",");
        assert_eq!(failure("csv_parse", json!({ "input": wide })).await.class, FailureClass::LimitExceeded);
        let long = format!("a\n{}\n", "x".repeat(MAX_FIELD_BYTES + 1));
        assert_eq!(failure("csv_parse", json!({ "input": long })).await.class, FailureClass::LimitExceeded);
        let just = format!("a\n{}\n", "x".repeat(MAX_FIELD_BYTES));
        assert_eq!(output("csv_parse", json!({ "input": just })).await["rows_out"], 1);
        for wrong in [
            json!({ "input": 5 }),
            json!({ "input": "a,a\n1,2" }),
            json!({ "input": "a\n", "types": { "b": "text" } }),
        ] {
            assert_eq!(failure("csv_parse", wrong).await.class, FailureClass::InvalidInput);
        }
        let delimiter = failure("csv_parse", json!({ "input": "", "delimiter": "||" })).await;
        assert_eq!(delimiter.class, FailureClass::InvalidConfig);
    }

    #[tokio::test]
    async fn cancellation_ends_it() {
        let (context, _) = context();
        context.cancel.cancel();
        let failed = run_in("csv_parse", CsvParse::example(), &context).await.expect_err("cancelled");
        assert_eq!(failed.class, FailureClass::Cancelled);
    }
}
