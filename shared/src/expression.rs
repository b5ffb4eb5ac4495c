//! The expression language: minijinja inside `${{ }}`, strict, without clock, randomness,
//! environment or I/O, and under a budget.

use serde_json::Value;

use crate::{
    component::{Failure},
    ids::PayloadId,
};

/// A compiled bare expression (`when`, `condition`).
#[derive(Debug)]
pub struct Expression {
    pub source: String,
}

/// A JSON value whose texts may hold expressions, compiled.
#[derive(Debug)]
pub struct Template {
}

/// What an evaluation may read. Implemented by the engine over an execution's state.
pub trait Scope: Send + Sync {
    /// The value of a root (`parameters`, `execution`, `workflow`) as JSON; absent if the root is unknown here.
    fn root(&self, name: &str) -> Option<Value>;
    /// What `components.<id>` is at this moment.
    fn component(&self, id: &str) -> Option<ComponentView<'_>>;
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

/// What a template gives: the value, and where whole stored outputs were passed on unread.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub value: Value,
    /// JSON pointers into `value` (at each stands `null`) and the payload whose value belongs there.
    pub references: Vec<(String, PayloadId)>,
}

impl Expression {
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluationError> {
        let _ = scope;
        todo!()
    }
}

impl Template {
    /// Resolves every expression.
    pub fn render(&self, scope: &dyn Scope) -> Result<Rendered, EvaluationError> {
        let _ = scope;
        todo!()
    }
}
