//! Expressions that are evaluated once a row, with the roots `item`, `index` and `bind` only.
//!
//! No clock, no randomness, no I/O; a row has a budget.

use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, value::Serde};
use serde_json::Value;
use shared::component::{Failure, FailureClass};

/// What one row may spend.
const FUEL: u64 = 50_000;
/// Characters of source.
const MAX_SOURCE: usize = 2_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    for name in ["debug", "namespace"] {
        engine.remove_global(name);
    }
    engine
});

/// One compiled expression over a row.
pub(crate) struct RowExpression {
    compiled: Expression<'static, 'static>,
    reads_index: bool,
    reads_bind: bool,
}

impl RowExpression {
    /// Compiles a bare expression (no `${{ }}`).
    pub(crate) fn compile(source: &str) -> Result<Self, Failure> {
        let wrong = |message| Failure::new(FailureClass::InvalidExpression, message);
        if source.chars().count() > MAX_SOURCE {
            return Err(wrong(format!("an expression may have {MAX_SOURCE} characters at most")));
        }
        if source.contains("${{") {
            return Err(wrong(
                "an expression of rows is bare: write it without `${{ }}` and pass values in with `bind`"
                    .to_owned(),
            ));
        }
        let compiled = ENGINE
            .compile_expression_owned(source.to_owned())
            .map_err(|error| wrong(format!("`{}`: {}", cut(source), said(&error))))?;
        for name in compiled.undeclared_variables(false) {
            if !["item", "index", "bind"].contains(&name.as_str())
                && ENGINE.globals().all(|(known, _)| known != name)
            {
                return Err(wrong(format!(
                    "`{}`: `{name}` is unknown here; an expression of rows sees `item`, `index` and `bind`",
                    cut(source)
                )));
            }
        }
        Ok(Self { compiled, reads_index: source.contains("index"), reads_bind: source.contains("bind") })
    }

    /// The expression's value for one row.
    pub(crate) fn evaluate(&self, item: &Value, index: u64, bind: &Value) -> Result<Value, Failure> {
        let mut roots = vec![("item", minijinja::Value::from(Serde(item)))];
        if self.reads_index {
            roots.push(("index", minijinja::Value::from(index)));
        }
        if self.reads_bind {
            roots.push(("bind", minijinja::Value::from(Serde(bind))));
        }
        let value = self.compiled.eval(minijinja::Value::from_pairs(roots)).map_err(|error| {
            let class = match error.kind() {
                ErrorKind::OutOfFuel => FailureClass::LimitExceeded,
                _ => FailureClass::InvalidExpression,
            };
            Failure::new(class, said(&error))
        })?;
        if value.is_undefined() {
            return Err(Failure::new(FailureClass::InvalidExpression, "the value is missing"));
        }
        serde_json::to_value(&value).map_err(|error| {
            Failure::new(FailureClass::InvalidExpression, format!("the result is not JSON: {error}"))
        })
    }
}

fn said(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn cut(source: &str) -> String {
    source.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(source: &str, item: Value) -> Result<Value, FailureClass> {
        RowExpression::compile(source)
            .and_then(|expression| expression.evaluate(&item, 4, &json!({"rate": 2})))
            .map_err(|failure| failure.class)
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(evaluate("item + 1", json!(1)), Ok(json!(2)));
        assert_eq!(evaluate("item.n * bind.rate + index", json!({"n": 3})), Ok(json!(10)));
        assert_eq!(
            evaluate("item", json!({"z": 1, "a": 9_007_199_254_740_993_i64})).expect("a row").to_string(),
            r#"{"z":1,"a":9007199254740993}"#
        );
    }

    #[test]
    fn what_is_missing_or_endless_is_said() {
        assert_eq!(evaluate("item.b", json!({})), Err(FailureClass::InvalidExpression));
        assert_eq!(evaluate("item.b + 1", json!({})), Err(FailureClass::InvalidExpression));
        assert_eq!(evaluate("secrets.a", json!({})), Err(FailureClass::InvalidExpression));
        assert_eq!(evaluate("1 +", json!({})), Err(FailureClass::InvalidExpression));
    }
}
