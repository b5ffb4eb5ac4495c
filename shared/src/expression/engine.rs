//! Compiling and evaluating one expression: the direct way for plain paths, minijinja for the rest.

use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

use minijinja::{
    Environment, ErrorKind, UndefinedBehavior, Value as Dynamic,
    value::{Kwargs, ValueKind},
};
use serde_json::{Map, Value};

use super::{
    CompileError, EvaluationError, FUEL, MAX_DEPTH, MAX_RESULT, MAX_SOURCE, OutputView, Reference, Scope,
    Segment, dotted, kind_of,
    scan::{self, Token},
};
use crate::{ids::PayloadId, workflow::nearest};

/// The filters authors may use. What could be a bomb beyond fuel, or prints internals, is not among them.
const FILTERS: &[&str] = &[
    "lower",
    "upper",
    "title",
    "capitalize",
    "replace",
    "length",
    "count",
    "dictsort",
    "items",
    "reverse",
    "trim",
    "join",
    "split",
    "lines",
    "default",
    "d",
    "round",
    "abs",
    "int",
    "float",
    "attr",
    "first",
    "last",
    "min",
    "max",
    "sort",
    "list",
    "string",
    "bool",
    "batch",
    "slice",
    "sum",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "map",
    "groupby",
    "unique",
    "chain",
    "zip",
    "format",
    "tojson",
    "urlencode",
    "escape",
    "e",
];
const REMOVED_FILTERS: &[&str] = &["safe", "pprint", "indent"];
const TESTS: &[&str] = &[
    "undefined",
    "defined",
    "none",
    "boolean",
    "odd",
    "even",
    "divisibleby",
    "number",
    "integer",
    "int",
    "float",
    "string",
    "sequence",
    "iterable",
    "mapping",
    "startingwith",
    "endingwith",
    "lower",
    "upper",
    "eq",
    "equalto",
    "ne",
    "lt",
    "lessthan",
    "le",
    "gt",
    "greaterthan",
    "ge",
    "in",
    "true",
    "false",
];

/// How many signs and names one expression may have; bounds the recursion of the compiler.
const MAX_TOKENS: usize = 1_000;
/// How many operators may follow one another in one chain.
const MAX_OPERATORS: usize = 300;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    environment.set_debug(false);
    let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    for name in globals {
        environment.remove_global(&name);
    }
    for name in REMOVED_FILTERS {
        environment.remove_filter(name);
    }
    environment.add_filter("sum", sum);
    environment
});

/// The sum of numbers. The library's own also adds lists up, in quadratic time that no fuel pays for.
fn sum(values: Dynamic, options: Kwargs) -> Result<Dynamic, minijinja::Error> {
    let wrong = |message: String| minijinja::Error::new(ErrorKind::InvalidOperation, message);
    let attribute: Option<String> = options.get("attribute")?;
    let start: Option<Dynamic> = options.get("start")?;
    options.assert_all_used()?;
    let (mut whole, mut float, mut is_float) = (0_i128, 0.0_f64, false);
    let mut add = |item: &Dynamic| {
        if item.kind() != ValueKind::Number {
            return match item.kind() {
                ValueKind::Invalid => item.try_iter().map(drop),
                other => Err(wrong(format!("sum takes numbers, and one item is {other}"))),
            };
        }
        match i128::try_from(item.clone()).ok().filter(|_| item.is_integer()) {
            Some(integer) => {
                whole = whole.checked_add(integer).ok_or_else(|| wrong("the sum is too large".to_owned()))?;
            }
            None => {
                is_float = true;
                float += f64::try_from(item.clone())?;
            }
        }
        Ok(())
    };
    if let Some(start) = start {
        add(&start)?;
    }
    for item in values.try_iter()? {
        match &attribute {
            Some(path) => {
                let mut at = item;
                for field in path.split('.') {
                    at = at.get_attr(field)?;
                }
                add(&at)?;
            }
            None => add(&item)?,
        }
    }
    Ok(if is_float {
        Dynamic::from(whole as f64 + float)
    } else {
        i64::try_from(whole).map_or_else(|_| Dynamic::from(whole), Dynamic::from)
    })
}

/// One compiled expression.
#[derive(Debug)]
pub(super) struct Program {
    references: Vec<Reference>,
    /// Absent when the whole expression is the one reference.
    compiled: Option<minijinja::Expression<'static, 'static>>,
    source: String,
}

impl PartialEq for Program {
    /// The rest follows from the source.
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What a reference stands on.
pub(super) enum Base<'a> {
    /// The value that the first `.1` segments of the path lead to.
    Here(Cow<'a, Value>, usize),
    Stored(PayloadId),
    /// It does not exist; the text says why.
    Absent(String),
}

/// Where a program finds the values it names.
pub(super) trait Source {
    fn base(&self, reference: &Reference) -> Base<'_>;
}

impl Program {
    pub(super) fn compile(source: &str) -> Result<Self, CompileError> {
        if source.chars().count() > MAX_SOURCE {
            return Err(CompileError::at(
                0,
                format!("the expression is longer than {MAX_SOURCE} characters"),
            )
            .suggest("do this in a `transform` on a worker"));
        }
        let lexemes = scan::lexemes(source)?;
        if lexemes.is_empty() {
            return Err(CompileError::at(0, "the expression is empty"));
        }
        let operators = lexemes.iter().filter(|lexeme| is_operator(lexeme.token)).count();
        if lexemes.len() > MAX_TOKENS || operators > MAX_OPERATORS {
            return Err(CompileError::at(0, "the expression has too many parts")
                .suggest("do this in a `transform` on a worker"));
        }
        let names = scan::names(&lexemes);
        if let Some((name, at)) = names.calls.first() {
            let error =
                CompileError::at(*at, format!("`{name}` is no function: expressions have filters instead"));
            return Err(match nearest(name, FILTERS.iter().copied()) {
                Some(near) => error.suggest(format!("did you mean `… | {near}`?")),
                None => error.suggest("write `value | filter`, such as `components.a.output.list | length`"),
            });
        }
        known(&names.filters, FILTERS, "filter")?;
        known(&names.tests, TESTS, "test")?;
        for reference in &names.references {
            if ["self", "loop", "super", "caller", "varargs", "kwargs"].contains(&reference.root.as_str()) {
                return Err(CompileError::at(reference.start, format!("`{}` is not a root", reference.root)));
            }
        }
        let is_path = names.references.len() == 1
            && names.references[0].start == lexemes[0].start
            && Some(names.references[0].end) == lexemes.last().map(|last| last.end);
        let compiled = if is_path {
            None
        } else {
            let compiled = ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| {
                let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                let offset = error.range().map_or(0, |range| range.start.min(source.len()));
                CompileError::at(offset, format!("this is not an expression: {message}"))
            })?;
            // Our own scan gives positions; the parser has the last word on what is read.
            for root in compiled.undeclared_variables(false) {
                if !names.references.iter().any(|reference| reference.root == root) {
                    return Err(CompileError::at(
                        0,
                        format!("`{root}` is used in a way that cannot be checked"),
                    ));
                }
            }
            Some(compiled)
        };
        Ok(Self { references: names.references, compiled, source: source.trim().to_owned() })
    }

    pub(super) fn references(&self) -> &[Reference] {
        &self.references
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The payload, when the program is nothing but one whole output that lies in the store.
    pub(super) fn whole_stored_output(&self, source: &dyn Source) -> Option<PayloadId> {
        if self.compiled.is_some() || self.references[0].path.len() != 2 {
            return None;
        }
        match source.base(&self.references[0]) {
            Base::Stored(payload) => Some(payload),
            _ => None,
        }
    }

    pub(super) fn evaluate(&self, source: &dyn Source) -> Result<Value, EvaluationError> {
        match &self.compiled {
            None => self.follow(source, true),
            Some(compiled) => self.run(compiled, source),
        }
    }

    /// The value of a plain path, however large it is; `None` when the program is more than a path.
    pub(super) fn whole_path(&self, source: &dyn Source) -> Option<Result<Value, EvaluationError>> {
        self.compiled.is_none().then(|| self.follow(source, false))
    }

    /// The direct way: walks the JSON.
    fn follow(&self, source: &dyn Source, limited: bool) -> Result<Value, EvaluationError> {
        let reference = &self.references[0];
        match source.base(reference) {
            Base::Stored(payload) => Err(EvaluationError::Needs(vec![payload])),
            Base::Absent(why) => Err(EvaluationError::invalid(why)),
            Base::Here(value, used) => {
                let found = match walk(&value, reference, used) {
                    Ok(found) => found,
                    Err(why) => {
                        return character(&value, reference, used)
                            .ok_or_else(|| EvaluationError::invalid(why));
                    }
                };
                if limited {
                    measure(found)?;
                }
                Ok(if used == reference.path.len() { value.into_owned() } else { found.clone() })
            }
        }
    }

    fn run(
        &self,
        compiled: &minijinja::Expression<'static, 'static>,
        source: &dyn Source,
    ) -> Result<Value, EvaluationError> {
        let mut tree = Tree::default();
        let mut needs = Vec::new();
        for reference in &self.references {
            match source.base(reference) {
                Base::Stored(payload) => {
                    if !needs.contains(&payload) {
                        needs.push(payload);
                    }
                }
                Base::Absent(_) => tree.insert_absent(reference),
                Base::Here(value, used) => tree.insert(reference, used, value),
            }
        }
        if !needs.is_empty() {
            return Err(EvaluationError::Needs(needs));
        }
        let result = compiled.eval(tree.into_dynamic()).map_err(|error| self.explain(&error, source))?;
        let mut budget = MAX_RESULT;
        if result.is_undefined() {
            return Err(EvaluationError::invalid(
                self.missing(source).unwrap_or_else(|| format!("`{}` has no value", self.source)),
            ));
        }
        self.to_json(&result, &mut budget, MAX_DEPTH, source)
    }

    /// The first reference that leads nowhere, as a sentence.
    fn missing(&self, source: &dyn Source) -> Option<String> {
        self.references.iter().find_map(|reference| match source.base(reference) {
            Base::Absent(why) => Some(why),
            Base::Stored(_) => None,
            Base::Here(value, used) => walk(&value, reference, used).err(),
        })
    }

    fn explain(&self, error: &minijinja::Error, source: &dyn Source) -> EvaluationError {
        match error.kind() {
            ErrorKind::OutOfFuel => EvaluationError::limit(format!(
                "`{}` costs more than {FUEL} steps; do this in a `transform` on a worker",
                shortened(&self.source)
            )),
            ErrorKind::UndefinedError => EvaluationError::invalid(
                self.missing(source)
                    .unwrap_or_else(|| format!("`{}`: a value is missing", shortened(&self.source))),
            ),
            kind => {
                let detail = error.detail().map_or_else(|| kind.to_string(), str::to_owned);
                let message = format!("`{}`: {detail}", shortened(&self.source));
                if detail.contains("too large") || detail.contains("recursion") {
                    EvaluationError::limit(message)
                } else {
                    EvaluationError::invalid(message)
                }
            }
        }
    }

    fn to_json(
        &self,
        value: &Dynamic,
        budget: &mut usize,
        depth: usize,
        source: &dyn Source,
    ) -> Result<Value, EvaluationError> {
        let wrong =
            |message: String| EvaluationError::invalid(format!("`{}`: {message}", shortened(&self.source)));
        if depth == 0 {
            return Err(EvaluationError::limit(format!("the result is nested deeper than {MAX_DEPTH}")));
        }
        Ok(match value.kind() {
            ValueKind::Undefined => {
                return Err(wrong(
                    self.missing(source).unwrap_or_else(|| "a value in the result is missing".to_owned()),
                ));
            }
            ValueKind::None => {
                spend(budget, 4)?;
                Value::Null
            }
            ValueKind::Bool => {
                spend(budget, 5)?;
                Value::Bool(value.is_true())
            }
            ValueKind::Number => {
                spend(budget, 8)?;
                number(value).ok_or_else(|| wrong(format!("{value} is not a number that JSON can hold")))?
            }
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                spend(budget, text.len() + 2)?;
                Value::String(text.to_owned())
            }
            ValueKind::Seq | ValueKind::Iterable => {
                spend(budget, 2)?;
                let mut list = Vec::new();
                for item in value.try_iter().map_err(|error| self.explain(&error, source))? {
                    spend(budget, 1)?;
                    list.push(self.to_json(&item, budget, depth - 1, source)?);
                }
                Value::Array(list)
            }
            ValueKind::Map => {
                spend(budget, 2)?;
                let mut map = Map::new();
                for key in value.try_iter().map_err(|error| self.explain(&error, source))? {
                    let field = value.get_item(&key).map_err(|error| self.explain(&error, source))?;
                    let name = match key.as_str() {
                        Some(text) => text.to_owned(),
                        None if matches!(key.kind(), ValueKind::Number | ValueKind::Bool) => key.to_string(),
                        None => return Err(wrong("a key of a map must be text".to_owned())),
                    };
                    spend(budget, name.len() + 4)?;
                    let field = self.to_json(&field, budget, depth - 1, source)?;
                    map.insert(name, field);
                }
                Value::Object(map)
            }
            ValueKind::Invalid => {
                // The engine ran dry inside a lazily computed list.
                return Err(match value.clone().try_iter() {
                    Err(error) => self.explain(&error, source),
                    Ok(_) => wrong("the result is invalid".to_owned()),
                });
            }
            other => return Err(wrong(format!("the result is {other}, which is not data"))),
        })
    }
}

fn is_operator(token: Token<'_>) -> bool {
    matches!(
        token,
        Token::Sign('+' | '-' | '*' | '/' | '%' | '~' | '<' | '>' | '=' | '!' | '|' | '(' | '[' | '{')
            | Token::Name("and" | "or" | "not" | "in" | "is" | "if" | "else")
    )
}

fn known(used: &[(&str, usize)], names: &[&str], what: &str) -> Result<(), CompileError> {
    for (name, at) in used {
        if !names.contains(name) {
            let error = CompileError::at(*at, format!("there is no {what} `{name}`"));
            return Err(match nearest(name, names.iter().copied()) {
                Some(near) => error.suggest(format!("did you mean `{near}`?")),
                None => error,
            });
        }
    }
    Ok(())
}

fn number(value: &Dynamic) -> Option<Value> {
    if value.is_integer() {
        return i64::try_from(value.clone())
            .map(Value::from)
            .or_else(|_| u64::try_from(value.clone()).map(Value::from))
            .ok();
    }
    let float = f64::try_from(value.clone()).ok()?;
    serde_json::Number::from_f64(float).map(Value::Number)
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), EvaluationError> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| {
        EvaluationError::limit(format!(
            "the result is larger than {} KiB; do this in a `transform` on a worker",
            MAX_RESULT / 1024
        ))
    })?;
    Ok(())
}

/// Refuses a value that is larger than a result may be.
fn measure(value: &Value) -> Result<(), EvaluationError> {
    fn spent(value: &Value, budget: &mut usize) -> Result<(), EvaluationError> {
        match value {
            Value::Null | Value::Bool(_) => spend(budget, 4),
            Value::Number(_) => spend(budget, 8),
            Value::String(text) => spend(budget, text.len() + 2),
            Value::Array(list) => {
                spend(budget, 2 + list.len())?;
                list.iter().try_for_each(|item| spent(item, budget))
            }
            Value::Object(map) => {
                spend(budget, 2)?;
                map.iter().try_for_each(|(key, item)| {
                    spend(budget, key.len() + 4)?;
                    spent(item, budget)
                })
            }
        }
    }
    spent(value, &mut { MAX_RESULT })
}

fn shortened(source: &str) -> Cow<'_, str> {
    match source.char_indices().nth(80) {
        Some((at, _)) => Cow::Owned(format!("{}…", &source[..at])),
        None => Cow::Borrowed(source),
    }
}

/// An index into a text gives one character, as in the interpreter.
fn character(value: &Value, reference: &Reference, used: usize) -> Option<Value> {
    let mut above = reference.clone();
    let Some(Segment::Index(index)) = above.path.pop() else { return None };
    if above.path.len() < used {
        return None;
    }
    let found = walk(value, &above, used).ok()?.as_str()?.chars().nth(index)?;
    Some(Value::from(found.to_string()))
}

/// Follows a reference from the value that its first `used` segments lead to.
fn walk<'a>(value: &'a Value, reference: &Reference, used: usize) -> Result<&'a Value, String> {
    let mut at = value;
    for (index, segment) in reference.path.iter().enumerate().skip(used) {
        let next = match (at, segment) {
            (Value::Object(map), Segment::Key(key)) => map.get(key),
            (Value::Array(list), Segment::Index(place)) => list.get(*place),
            _ => None,
        };
        at = next.ok_or_else(|| {
            let parent = dotted(&reference.root, &reference.path[..index]);
            let whole = dotted(&reference.root, &reference.path[..=index]);
            match (at, segment) {
                (Value::Object(map), Segment::Key(key)) => {
                    match nearest(key, map.keys().map(String::as_str)) {
                        Some(near) => format!("`{whole}` is missing: did you mean `{near}`?"),
                        None => format!("`{whole}` is missing: `{parent}` has no field `{key}`"),
                    }
                }
                (Value::Array(list), Segment::Index(_)) => {
                    format!("`{whole}` is missing: the list has {} items", list.len())
                }
                (other, _) => format!("`{whole}` is missing: `{parent}` is {}", kind_of(other)),
            }
        })?;
    }
    Ok(at)
}

/// The part of the context that an expression names.
#[derive(Default)]
struct Tree {
    children: BTreeMap<String, Tree>,
    value: Option<Dynamic>,
}

impl Tree {
    fn at(&mut self, reference: &Reference, length: usize) -> Option<&mut Self> {
        let mut tree = self.children.entry(reference.root.clone()).or_default();
        for segment in &reference.path[..length] {
            if tree.value.is_some() {
                return None;
            }
            match segment {
                Segment::Key(key) => tree = tree.children.entry(key.clone()).or_default(),
                Segment::Index(_) => return None,
            }
        }
        (tree.value.is_none()).then_some(tree)
    }

    /// What is absent must still have the maps above it, so that `is defined` can look.
    fn insert_absent(&mut self, reference: &Reference) {
        if !reference.path.is_empty() {
            let above = reference.path.len().min(if reference.root == "components" { 2 } else { 1 }) - 1;
            self.at(reference, above);
        }
    }

    fn insert(&mut self, reference: &Reference, used: usize, value: Cow<'_, Value>) {
        let mut at: &Value = &value;
        let mut length = used;
        for segment in &reference.path[used..] {
            match (at, segment) {
                (Value::Object(map), Segment::Key(key)) => match map.get(key) {
                    Some(next) => at = next,
                    None => {
                        self.at(reference, length);
                        return;
                    }
                },
                _ => break,
            }
            length += 1;
        }
        if let Some(tree) = self.at(reference, length) {
            tree.value = Some(dynamic(at));
            tree.children.clear();
        }
    }

    fn into_dynamic(self) -> Dynamic {
        match self.value {
            Some(value) => value,
            None => {
                Dynamic::from_pairs(self.children.into_iter().map(|(key, tree)| (key, tree.into_dynamic())))
            }
        }
    }
}

fn dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::from(()),
        Value::Bool(flag) => Dynamic::from(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Dynamic::from(integer),
            (None, Some(integer)) => Dynamic::from(integer),
            (None, None) => Dynamic::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Dynamic::from(text.as_str()),
        Value::Array(list) => Dynamic::from(list.iter().map(dynamic).collect::<Vec<_>>()),
        Value::Object(map) => Dynamic::from_pairs(map.iter().map(|(key, item)| (key.clone(), dynamic(item)))),
    }
}

/// An execution's state as a source.
pub(super) struct ScopeSource<'a>(pub(super) &'a dyn Scope);

impl Source for ScopeSource<'_> {
    fn base(&self, reference: &Reference) -> Base<'_> {
        if reference.root != "components" {
            return match self.0.root_ref(&reference.root) {
                Some(value) => Base::Here(Cow::Borrowed(value), 0),
                None => match self.0.root(&reference.root) {
                    Some(value) => Base::Here(Cow::Owned(value), 0),
                    None => Base::Absent(format!("`{}` is not known here", reference.root)),
                },
            };
        }
        let (Some(id), Some(field)) = (reference.component(), reference.component_field()) else {
            return Base::Absent(format!(
                "`{reference}` is incomplete: write `components.<id>.output`, `.status`, `.error` or `.attempts`"
            ));
        };
        let Some(view) = self.0.component(id) else {
            return Base::Absent(format!("`{reference}` is missing: there is no component `{id}`"));
        };
        match field {
            "status" => Base::Here(Cow::Owned(Value::from(view.status)), 2),
            "attempts" => Base::Here(Cow::Owned(Value::from(view.attempts)), 2),
            "error" => match view.error {
                Some(failure) => Base::Here(Cow::Owned(failure.to_value()), 2),
                None => Base::Absent(format!(
                    "`{reference}` is missing: `{id}` has not failed, it is {}",
                    view.status
                )),
            },
            "output" => match view.output {
                Some(OutputView::Here(value)) => Base::Here(Cow::Borrowed(value), 2),
                Some(OutputView::Stored(payload)) => Base::Stored(payload),
                None => Base::Absent(format!(
                    "`{reference}` is missing: `{id}` has no output, it is {}",
                    view.status
                )),
            },
            _ => Base::Absent(format!(
                "`{reference}` is missing: a component has `output`, `status`, `error` and `attempts`"
            )),
        }
    }
}

/// One row as a source.
pub(super) struct RowSource<'a> {
    pub(super) item: &'a Value,
    pub(super) index: u64,
    pub(super) bind: &'a Value,
    pub(super) accumulator: Option<&'a Value>,
}

impl Source for RowSource<'_> {
    fn base(&self, reference: &Reference) -> Base<'_> {
        match (reference.root.as_str(), self.accumulator) {
            ("item", _) => Base::Here(Cow::Borrowed(self.item), 0),
            ("index", _) => Base::Here(Cow::Owned(Value::from(self.index)), 0),
            ("bind", _) => Base::Here(Cow::Borrowed(self.bind), 0),
            ("accumulator", Some(value)) => Base::Here(Cow::Borrowed(value), 0),
            (other, _) => Base::Absent(format!("`{other}` is not known here")),
        }
    }
}
