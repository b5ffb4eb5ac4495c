//! The expression language: minijinja inside `${{ }}`, strict, without clock, randomness,
//! environment or I/O, and under a budget.
//!
//! A plain path such as `components.fetch.output.total` is resolved on the JSON directly; everything
//! else goes through minijinja with a context that holds only what the expression names. Nothing here
//! loads a payload: what lies in the store is asked for with [`EvaluationError::Needs`].

mod engine;
mod scan;
mod template;

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::{
    component::{Failure, FailureClass},
    ids::PayloadId,
};

use engine::{Program, ScopeSource};
pub(crate) use template::Use;
pub use template::{Template, TemplateErrors, Written, WrittenPart};

/// The longest source of an expression, in characters.
pub const MAX_SOURCE: usize = 2_000;
/// What one evaluation may spend; every instruction costs one, data costs by its size.
pub const FUEL: u64 = 50_000;
/// The largest result of an expression, in bytes of JSON.
pub const MAX_RESULT: usize = 256 * 1024;
/// How deep a result may be nested.
pub const MAX_DEPTH: usize = 64;

/// A compiled bare expression (`when`, `condition`).
#[derive(Debug, PartialEq)]
pub struct Expression {
    pub source: String,
    program: Program,
}

/// What an evaluation may read. Implemented by the engine over an execution's state.
pub trait Scope: Send + Sync {
    /// The value of a root (`parameters`, `execution`, `workflow`) as JSON; absent if the root is unknown here.
    fn root(&self, name: &str) -> Option<Value>;
    /// What `components.<id>` is at this moment.
    fn component(&self, id: &str) -> Option<ComponentView<'_>>;
    /// As [`Scope::root`], for scopes that hold the value already; asked first, so that nothing is copied.
    fn root_ref(&self, name: &str) -> Option<&Value> {
        let _ = name;
        None
    }
}

/// The fields of `components.<id>`.
#[derive(Debug, Clone)]
pub struct ComponentView<'a> {
    /// `waiting`, `running`, `completed`, `failed`, `skipped`, `cancelled`.
    pub status: &'a str,
    pub output: Option<OutputView<'a>>,
    pub error: Option<&'a Failure>,
    pub attempts: u32,
}

/// An output that is here, or one that lies in the payload store.
#[derive(Debug, Clone, Copy)]
pub enum OutputView<'a> {
    Here(&'a Value),
    Stored(PayloadId),
}

/// Why an expression has no value.
#[derive(Debug, Clone)]
pub enum EvaluationError {
    /// The expression failed; classes `invalid_expression` and `limit_exceeded`.
    Failed(Failure),
    /// It looks into payloads that must be loaded first; load them and evaluate again.
    Needs(Vec<PayloadId>),
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Needs(payloads) => write!(f, "{} payloads must be loaded first", payloads.len()),
        }
    }
}

impl std::error::Error for EvaluationError {}

impl EvaluationError {
    fn invalid(message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::InvalidExpression, message))
    }

    fn limit(message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(FailureClass::LimitExceeded, message))
    }
}

/// What a template gives: the value, and where whole stored outputs were passed on unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub value: Value,
    /// JSON pointers into `value` (at each stands `null`) and the payload whose value belongs there.
    pub references: Vec<(String, PayloadId)>,
}

/// One step of a reference after its root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    Key(String),
    Index(usize),
}

/// What an expression names: a root and the path that is known without evaluating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub root: String,
    pub path: Vec<Segment>,
    /// The bytes of the source it stands in.
    pub start: usize,
    pub end: usize,
}

impl Reference {
    /// The id in `components.<id>…`.
    pub fn component(&self) -> Option<&str> {
        match (self.root.as_str(), self.path.first()) {
            ("components", Some(Segment::Key(id))) => Some(id),
            _ => None,
        }
    }

    /// The field in `components.<id>.<field>…`.
    pub fn component_field(&self) -> Option<&str> {
        match (self.root.as_str(), self.path.get(1)) {
            ("components", Some(Segment::Key(field))) => Some(field),
            _ => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(&self.root, &self.path))
    }
}

/// A path as an author would write it.
fn dotted(root: &str, path: &[Segment]) -> String {
    let mut text = root.to_owned();
    for segment in path {
        match segment {
            Segment::Key(key)
                if !key.is_empty()
                    && !key.starts_with(|c: char| c.is_ascii_digit())
                    && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
            {
                text.push('.');
                text.push_str(key);
            }
            Segment::Key(key) => {
                let _ = write!(text, "['{key}']");
            }
            Segment::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// The text is not an expression that could run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    pub message: String,
    /// The byte of the text (the whole one that was given) where the trouble begins.
    pub offset: usize,
    pub suggestion: Option<String>,
}

impl CompileError {
    fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset, suggestion: None }
    }

    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl Expression {
    /// Compiles a bare expression, without `${{ }}`.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        if let Some(at) = source.find("${{") {
            return Err(CompileError::at(at, "this field is an expression itself and takes no `${{ }}`")
                .suggest("leave out `${{` and `}}`"));
        }
        let program = Program::compile(source)?;
        if let Some(secret) = program.references().iter().find(|reference| reference.root == "secrets") {
            return Err(CompileError::at(
                secret.start,
                "a secret has no value here: the worker alone replaces it",
            )
            .suggest("use `${{ secrets.NAME }}` alone or inside text in the config of a worker component"));
        }
        Ok(Self { source: source.to_owned(), program })
    }

    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        self.program.evaluate(&ScopeSource(scope))
    }

    /// Evaluates to true or false; anything else is `invalid_expression`, never false.
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, EvaluationError> {
        match self.evaluate(scope)? {
            Value::Bool(answer) => Ok(answer),
            other => Err(EvaluationError::invalid(format!(
                "`{}` must be true or false, and is {}",
                self.source,
                kind_of(&other)
            ))),
        }
    }

    /// Everything it names.
    pub fn references(&self) -> &[Reference] {
        self.program.references()
    }
}

/// A compiled bare expression that a worker evaluates once a row.
#[derive(Debug)]
pub struct RowExpression {
    pub source: String,
    program: Program,
}

/// The roots a row expression may name.
pub const ROW_ROOTS: &[&str] = &["item", "index", "bind", "accumulator"];

impl RowExpression {
    /// Compiles a bare expression over the roots `item`, `index`, `bind` and, in a fold, `accumulator`.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let expression = Expression::compile(source)?;
        for reference in expression.references() {
            if !ROW_ROOTS.contains(&reference.root.as_str()) {
                let error = CompileError::at(
                    reference.start,
                    format!(
                        "`{}` is not known here: a row expression sees `item`, `index` and `bind`",
                        reference.root
                    ),
                );
                return Err(match reference.root.as_str() {
                    "parameters" | "components" | "execution" | "workflow" => error.suggest(format!(
                        "pass it in with `bind: {{ name: \"${{{{ {reference} }}}}\" }}` and write `bind.name`"
                    )),
                    root => match crate::workflow::nearest(root, ROW_ROOTS.iter().copied()) {
                        Some(near) => error.suggest(format!("did you mean `{near}`?")),
                        None => error.suggest("a field of the row is `item.field`"),
                    },
                });
            }
        }
        Ok(Self { source: expression.source, program: expression.program })
    }

    /// The value for one row.
    pub fn evaluate(&self, item: &Value, index: u64, bind: &Value) -> Result<Value, Failure> {
        self.run(&engine::RowSource { item, index, bind, accumulator: None })
    }

    /// The next accumulator of a fold.
    pub fn fold(
        &self,
        accumulator: &Value,
        item: &Value,
        index: u64,
        bind: &Value,
    ) -> Result<Value, Failure> {
        self.run(&engine::RowSource { item, index, bind, accumulator: Some(accumulator) })
    }

    /// As [`RowExpression::evaluate`], for conditions: anything but true or false is a failure.
    pub fn test(&self, item: &Value, index: u64, bind: &Value) -> Result<bool, Failure> {
        match self.evaluate(item, index, bind)? {
            Value::Bool(answer) => Ok(answer),
            other => Err(Failure::new(
                FailureClass::InvalidExpression,
                format!(
                    "`{}` must be true or false, and is {} for row {index}",
                    self.source,
                    kind_of(&other)
                ),
            )),
        }
    }

    /// Everything it names.
    pub fn references(&self) -> &[Reference] {
        self.program.references()
    }

    fn run(&self, source: &engine::RowSource<'_>) -> Result<Value, Failure> {
        self.program.evaluate(source).map_err(|error| match error {
            EvaluationError::Failed(failure) => failure,
            EvaluationError::Needs(_) => {
                Failure::new(FailureClass::Internal, "a row expression asked for a stored payload")
            }
        })
    }
}

/// The kind of a value with its article, for sentences.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
