//! How rows pass through the row-wise types: taken from an array or a row set, one step after another,
//! a wrong row named by number, field and masked sample.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::component::{ConfigProblem, Context, Failure, FailureClass, Outcome, Run};
use shared::expression::RowExpression;
use tokio_util::sync::CancellationToken;

use crate::{
    describe::{cancelled, invalid_input, is_expression, problem},
    file_value::{FileValue, ROW_SET},
};

/// What happens with a row that cannot be worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRowError {
    /// The task fails and names the row.
    #[default]
    Fail,
    /// The row is left out and counted in `rows_bad`.
    Skip,
    /// As `skip`, and the output lists the row under `bad` (the first 1,000).
    Collect,
}

/// The form of the rows that are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowsAs {
    /// A list in the output.
    Array,
    /// A file of one JSON object a line.
    Rows,
}

/// One row and its number in the input, counted from 1.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) value: Value,
}

/// The largest row that an expression may make.
const MAX_ROW_BYTES: usize = 1024 * 1024;
/// What all rows of a task may come to.
pub(crate) const MAX_RESULT_BYTES: usize = 16 * 1024 * 1024;
/// How many wrong rows are listed.
const MAX_COLLECTED: usize = 1_000;
/// Up to here rows are worked on at once, without a thread of their own.
const SMALL: usize = 128;
/// How many compiled expressions are kept.
const MAX_COMPILED: usize = 1_000;

/// What the settings that every row-wise type has say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    pub(crate) rows: Value,
    pub(crate) bind: Value,
    pub(crate) form: Option<RowsAs>,
    pub(crate) on_row_error: OnRowError,
}

/// Rows that arrived, and whether they came as a row set.
pub(crate) struct Arrived {
    pub(crate) rows: Vec<Row>,
    pub(crate) as_row_set: bool,
}

/// The rows of a value: an array, an object with `rows`, or a row set.
pub(crate) async fn arrive(value: &Value, context: &Context) -> Result<Arrived, Failure> {
    let inner = match value {
        Value::Object(object) if object.get("file").is_none() => object.get("rows").unwrap_or(value),
        other => other,
    };
    if let Value::Array(list) = inner {
        let rows = (1..).zip(list).map(|(number, value)| Row { number, value: value.clone() }).collect();
        return Ok(Arrived { rows, as_row_set: false });
    }
    let Some(file) = FileValue::of(inner) else {
        return Err(invalid_input(format!(
            "`rows` must be a list, an object with `rows`, or a row set; it is {}",
            kind_of(inner)
        )));
    };
    let bytes = file.bytes(context).await?;
    let mut rows = Vec::new();
    for (line, text) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value = serde_json::from_slice(text).map_err(|wrong| {
            invalid_input(format!("line {line} of the row set `{}` is not JSON: {wrong}", file.name))
                .with_details(json!({ "line": line }))
        })?;
        rows.push(Row { number: rows.len() as u64 + 1, value });
    }
    Ok(Arrived { rows, as_row_set: true })
}

/// The rows as a value of the output.
pub(crate) async fn depart(rows: Vec<Value>, as_row_set: bool, context: &Context) -> Result<Value, Failure> {
    if !as_row_set {
        return Ok(Value::Array(rows));
    }
    let mut bytes = Vec::new();
    for row in &rows {
        serde_json::to_writer(&mut bytes, row).expect("a value is JSON");
        bytes.push(b'\n');
    }
    let mut file = FileValue::keep(context, "rows.ndjson".to_owned(), ROW_SET, bytes).await?;
    file.rows = Some(rows.len() as u64);
    Ok(file.to_json())
}

/// What the steps of one task share.
pub(crate) struct Pass<'a> {
    pub(crate) bind: &'a Value,
    policy: OnRowError,
    cancel: CancellationToken,
    /// The index of the operation in a chain, for messages.
    pub(crate) operation: Option<usize>,
    pub(crate) bad_rows: u64,
    pub(crate) bad: Vec<Value>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(bind: &'a Value, policy: OnRowError, cancel: CancellationToken) -> Self {
        Self { bind, policy, cancel, operation: None, bad_rows: 0, bad: Vec::new() }
    }

    /// Deals with a wrong row by the author's policy; an error ends the task.
    pub(crate) fn bad(
        &mut self,
        number: u64,
        field: Option<&str>,
        value: &Value,
        failure: Failure,
    ) -> Result<(), Failure> {
        let sample = sample(value);
        match self.policy {
            OnRowError::Fail => {
                let place = field.map(|field| format!(", field `{field}`")).unwrap_or_default();
                let mut details = json!({ "row": number, "sample": sample });
                if let Some(field) = field {
                    details["field"] = field.into();
                }
                merge(&mut details, failure.details);
                Err(Failure::new(
                    failure.class,
                    format!("row {number}{place}: {}; the row: {sample}", failure.message),
                )
                .with_details(details))
            }
            OnRowError::Skip => {
                self.bad_rows += 1;
                Ok(())
            }
            OnRowError::Collect => {
                self.bad_rows += 1;
                if self.bad.len() < MAX_COLLECTED {
                    let mut entry = json!({
                        "row": number,
                        "class": failure.class,
                        "message": failure.message,
                        "sample": sample,
                    });
                    if let Some(field) = field {
                        entry["field"] = field.into();
                    }
                    if let Some(operation) = self.operation {
                        entry["operation"] = operation.into();
                    }
                    merge(&mut entry, failure.details);
                    self.bad.push(entry);
                }
                Ok(())
            }
        }
    }

    /// To be asked now and then in long loops.
    pub(crate) fn check_cancelled(&self, done: usize) -> Result<(), Failure> {
        if done.is_multiple_of(256) && self.cancel.is_cancelled() {
            return Err(cancelled("working through rows"));
        }
        Ok(())
    }
}

fn merge(into: &mut Value, more: Option<Value>) {
    if let (Some(into), Some(Value::Object(more))) = (into.as_object_mut(), more) {
        for (key, value) in more {
            into.entry(key).or_insert(value);
        }
    }
}

/// One operation over all rows.
pub(crate) trait Step: Send + Sync {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure>;
}

/// Which own ports fire after the last step.
type Ports = fn(rows_in: u64, rows_out: u64, rows_bad: u64) -> Vec<String>;

/// A task that takes rows, applies steps, and gives rows.
pub(crate) struct RowWork {
    flow: Arc<Flow>,
    steps: Arc<[Box<dyn Step>]>,
    is_chain: bool,
    counts_bad: bool,
    ports: Ports,
}

impl RowWork {
    pub(crate) fn new(flow: Flow, step: impl Step + 'static) -> Self {
        Self {
            flow: Arc::new(flow),
            steps: Arc::new([Box::new(step) as Box<dyn Step>]),
            is_chain: false,
            counts_bad: true,
            ports: |_, _, _| Vec::new(),
        }
    }

    pub(crate) fn chain(flow: Flow, steps: Vec<Box<dyn Step>>) -> Self {
        Self {
            flow: Arc::new(flow),
            steps: steps.into(),
            is_chain: true,
            counts_bad: true,
            ports: |_, _, _| Vec::new(),
        }
    }

    pub(crate) fn with_ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }
}

struct Done {
    rows: Vec<Value>,
    rows_in: u64,
    rows_bad: u64,
    bad: Vec<Value>,
}

fn apply_all(
    mut rows: Vec<Row>,
    flow: &Flow,
    steps: &[Box<dyn Step>],
    is_chain: bool,
    cancel: CancellationToken,
) -> Result<Done, Failure> {
    let rows_in = rows.len() as u64;
    let mut pass = Pass::new(&flow.bind, flow.on_row_error, cancel);
    for (index, step) in steps.iter().enumerate() {
        pass.operation = is_chain.then_some(index);
        rows = step.apply(rows, &mut pass).map_err(|mut failure| {
            if is_chain {
                failure.message = format!("operation {index}: {}", failure.message);
                let mut details = failure.details.take().unwrap_or_else(|| json!({}));
                merge(&mut details, Some(json!({ "operation": index })));
                failure.details = Some(details);
            }
            failure
        })?;
    }
    Ok(Done {
        rows: rows.into_iter().map(|row| row.value).collect(),
        rows_in,
        rows_bad: pass.bad_rows,
        bad: pass.bad,
    })
}

#[async_trait]
impl Run for RowWork {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let arrived = arrive(&self.flow.rows, context).await?;
        let as_row_set = match self.flow.form {
            Some(form) => form == RowsAs::Rows,
            None => arrived.as_row_set,
        };
        let cancel = context.cancel.clone();
        let done = if arrived.rows.len() <= SMALL {
            apply_all(arrived.rows, &self.flow, &self.steps, self.is_chain, cancel)?
        } else {
            let (flow, steps, is_chain) = (self.flow.clone(), self.steps.clone(), self.is_chain);
            aside(move || apply_all(arrived.rows, &flow, &steps, is_chain, cancel)).await?
        };
        let rows_out = done.rows.len() as u64;
        let rows = depart(done.rows, as_row_set, context).await?;
        let mut output = Map::new();
        output.insert("rows".to_owned(), rows);
        output.insert("rows_in".to_owned(), done.rows_in.into());
        output.insert("rows_out".to_owned(), rows_out.into());
        if self.counts_bad {
            output.insert("rows_bad".to_owned(), done.rows_bad.into());
        }
        if self.flow.on_row_error == OnRowError::Collect {
            output.insert("bad".to_owned(), Value::Array(done.bad));
        }
        Ok(Outcome {
            output: Value::Object(output),
            ports: (self.ports)(done.rows_in, rows_out, done.rows_bad),
        })
    }
}

/// Runs long work on a thread where it blocks nobody.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(broken) => Err(Failure::new(
            FailureClass::Internal,
            format!("the work on a thread of its own broke: {broken}"),
        )),
    }
}

/// The compiled form of an expression; compiled once a source and kept.
pub(crate) fn compiled(source: &str) -> Result<Arc<RowExpression>, Failure> {
    static COMPILED: LazyLock<RwLock<HashMap<String, Arc<RowExpression>>>> = LazyLock::new(RwLock::default);
    if let Some(known) = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(source) {
        return Ok(known.clone());
    }
    let expression = RowExpression::compile(source).map_err(|error| {
        let source: String = source.chars().take(80).collect();
        Failure::new(FailureClass::InvalidExpression, format!("`{source}`: {}", error.message))
    })?;
    let expression = Arc::new(expression);
    let mut known = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= MAX_COMPILED {
        known.clear();
    }
    known.insert(source.to_owned(), expression.clone());
    Ok(expression)
}

/// Problems of an expression of rows in a config.
pub(crate) fn check_row_expression(source: Option<&Value>, path: &[&str]) -> Option<ConfigProblem> {
    let source = source.filter(|source| !source.is_null())?;
    let Some(text) = source.as_str() else {
        return Some(problem(path, "an expression of rows is text, such as `item.price * item.quantity`"));
    };
    RowExpression::compile(text).err().map(|failure| problem(path, failure.message))
}

/// A value's place in a row: the key as it stands, or a path of keys and indexes joined with dots.
pub(crate) fn lookup<'a>(row: &'a Value, field: &str) -> Option<&'a Value> {
    if let Some(value) = row.get(field) {
        return Some(value);
    }
    field.contains('.').then_some(())?;
    field.split('.').try_fold(row, |value, key| match value {
        Value::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get(index)),
        other => other.get(key),
    })
}

/// A failure that says a field is absent.
pub(crate) fn absent(field: &str) -> Failure {
    invalid_input(format!("the field `{field}` is missing"))
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// At most 200 characters of a row, with what looks like a secret masked.
pub(crate) fn sample(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = match value {
        Value::String(text) => text.clone(),
        other => masked(other).to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - 1).chain(std::iter::once('…')).collect()
}

fn masked(value: &Value) -> Value {
    const SECRET: [&str; 8] =
        ["password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "credential"];
    match value {
        Value::Object(object) => Value::Object(
            object
                .iter()
                .map(|(key, value)| {
                    let name = key.to_ascii_lowercase();
                    let hidden = SECRET.iter().any(|word| name.contains(word));
                    (key.clone(), if hidden { Value::from("•••") } else { masked(value) })
                })
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.iter().take(50).map(masked).collect()),
        other => other.clone(),
    }
}

/// Refuses a row that grew too large; gives its size otherwise.
pub(crate) fn size_of_row(value: &Value) -> Result<usize, Failure> {
    let size = rough_size(value);
    if size > MAX_ROW_BYTES {
        return Err(Failure::new(
            FailureClass::LimitExceeded,
            format!("the row has about {size} bytes; at most {MAX_ROW_BYTES} are allowed"),
        ));
    }
    Ok(size)
}

/// Refuses results that grew too large altogether.
pub(crate) fn check_total(total: usize) -> Result<(), Failure> {
    if total > MAX_RESULT_BYTES {
        return Err(Failure::new(
            FailureClass::LimitExceeded,
            format!(
                "the expressions of this task made about {total} bytes; at most {MAX_RESULT_BYTES} are allowed"
            ),
        ));
    }
    Ok(())
}

fn rough_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(|value| rough_size(value) + 1).sum::<usize>() + 2,
        Value::Object(object) => {
            object.iter().map(|(key, value)| key.len() + 4 + rough_size(value)).sum::<usize>() + 2
        }
    }
}

/// Declares a row-wise component and the operation of the same settings for `transform`.
macro_rules! row_type {
    (
        $(#[$doc:meta])*
        $name:ident, $operation:ident {
            $($(#[$field_meta:meta])* $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The rows: a list, the output of a component that has `rows`, or a row set.
            pub rows: serde_json::Value,
            $($(#[$field_meta])* pub $field: $kind,)*
            /// Values from outside the rows that the expressions see as `bind`.
            #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
            pub bind: serde_json::Map<String, serde_json::Value>,
            /// The form of the rows that are given back; by default the form in which they came.
            #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
            pub form: Option<$crate::row_flow::RowsAs>,
            /// What happens with a row that cannot be worked on.
            #[serde(default)]
            pub on_row_error: $crate::row_flow::OnRowError,
        }

        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $operation {
            $($(#[$field_meta])* pub $field: $kind,)*
        }

        impl $name {
            fn split(self) -> ($operation, $crate::row_flow::Flow) {
                (
                    $operation { $($field: self.$field,)* },
                    $crate::row_flow::Flow {
                        rows: self.rows,
                        bind: serde_json::Value::Object(self.bind),
                        form: self.form,
                        on_row_error: self.on_row_error,
                    },
                )
            }
        }
    };
}

pub(crate) use row_type;

/// Problems of a row-wise config: literal `rows` of the wrong kind.
pub(crate) fn check_rows(config: &Value) -> Option<ConfigProblem> {
    let rows = config.get("rows").filter(|rows| !is_expression(rows))?;
    (!rows.is_array() && !rows.is_object()).then(|| {
        problem(&["rows"], "`rows` must be a list, or an expression such as ${{ components.read.output }}")
    })
}

impl RowWork {
    /// Leaves `rows_bad` out of the output, for types that answer groups instead of rows.
    pub(crate) fn without_bad_count(mut self) -> Self {
        self.counts_bad = false;
        self
    }
}
