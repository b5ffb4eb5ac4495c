//! Checking a document as a whole and compiling it. Every mistake is reported at once.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    cache::{Caching, LONGEST_TTL, SHORTEST_TTL, TTL},
    canonical,
    containers::{Plan, is_container, is_timeless},
    fusion,
    graph::{self, Point},
    limits::{Concurrency, OnConflict},
    model::{
        Component, Delivery, Join, Need, OnUnhandledFailure, Output, Parameter, ParameterType, Placement,
        Priority, Scope, Scopes, Workflow,
    },
    problem::{Problem, Problems, Severity, nearest},
    references::{Seen, Tables},
    schema::{self, shown},
    text::{self, Fault, Place, Tree},
    triggers::{self, Trigger},
};
use crate::{
    component::{Catalogue, Descriptor, FailureClass, Field, OwnPorts, Runs},
    expression::{Expression, Template, Use, kind_of},
    ids::ComponentId,
    retry::{Growth, RetryPolicy},
    time::parse_duration,
};

/// The most components one workflow may have.
pub const MAX_COMPONENTS: usize = 10_000;

/// A document that may be saved.
#[derive(Debug, Clone)]
pub struct Read {
    pub workflow: Arc<Workflow>,
    /// The canonical JSON text: what is hashed, stored and run.
    pub canonical: String,
    pub warnings: Vec<Problem>,
}

/// Reads a document written in YAML or JSON.
///
/// # Errors
/// Every mistake in it, each with line, column, the line itself and a caret.
pub fn read(text: &str, catalogue: &Catalogue) -> Result<Read, Problems> {
    let parsed = text::read(text).map_err(|fault| Problems::new(vec![fault_problem(fault, text)]))?;
    let value = parsed.tree.to_value();
    let mut faults: Vec<Problem> =
        parsed.faults.into_iter().map(|fault| fault_problem(fault, text)).collect();
    let mut checker = Checker::new(catalogue, false);
    let workflow = checker.document(&value);
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) = checker
        .found
        .into_iter()
        .map(|found| found.locate(&parsed.tree, &value, text))
        .partition(|problem| problem.severity == Severity::Error);
    faults.extend(errors);
    finish(workflow, faults, warnings, &value, catalogue)
}

/// A document as a value, not checked.
///
/// # Errors
/// When the text is not YAML or JSON, or has two equal keys.
pub fn parse(text: &str) -> Result<Value, Problems> {
    let parsed = text::read(text).map_err(|fault| Problems::new(vec![fault_problem(fault, text)]))?;
    if !parsed.faults.is_empty() {
        let faults = parsed.faults.into_iter().map(|fault| fault_problem(fault, text));
        return Err(Problems::new(faults.collect()));
    }
    Ok(parsed.tree.to_value())
}

/// Reads a document given as an object; problems carry a path instead of a line.
pub fn read_value(value: &Value, catalogue: &Catalogue) -> Result<Read, Problems> {
    let mut checker = Checker::new(catalogue, false);
    let workflow = checker.document(value);
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) = checker
        .found
        .into_iter()
        .map(Found::unlocated)
        .partition(|problem| problem.severity == Severity::Error);
    finish(workflow, errors, warnings, value, catalogue)
}

/// Compiles a snapshot: the canonical JSON of a document that was checked when it was saved.
///
/// Schemas and the order of references are not checked again.
pub fn compile_snapshot(canonical: &str, catalogue: &Catalogue) -> Result<Arc<Workflow>, Problems> {
    let value: Value = serde_json::from_str(canonical).map_err(|error| {
        Problems::new(vec![
            Found::new("syntax", format!("the snapshot is not JSON: {error}"), &[]).unlocated(),
        ])
    })?;
    let mut checker = Checker::new(catalogue, true);
    let workflow = checker.document(&value);
    let errors: Vec<Problem> = checker
        .found
        .into_iter()
        .filter(|found| found.severity == Severity::Error)
        .map(Found::unlocated)
        .collect();
    match workflow {
        Some(mut workflow) if errors.is_empty() => {
            workflow.hash = canonical::hash(canonical);
            Ok(Arc::new(workflow))
        }
        _ => Err(Problems::new(errors)),
    }
}

fn finish(
    workflow: Option<Workflow>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    value: &Value,
    catalogue: &Catalogue,
) -> Result<Read, Problems> {
    match (workflow, value.as_object()) {
        (Some(mut workflow), Some(document)) if errors.is_empty() => {
            let canonical = canonical::text(document, catalogue);
            workflow.hash = canonical::hash(&canonical);
            Ok(Read { workflow: Arc::new(workflow), canonical, warnings })
        }
        _ => Err(Problems::new(errors)),
    }
}

fn excerpt(text: &str, place: Place) -> Option<String> {
    let line = text.lines().nth(place.line.checked_sub(1)? as usize)?;
    let skip = (place.column.max(1) - 1) as usize;
    let length = line.chars().count();
    // A long line is shown around the place.
    let from = skip.saturating_sub(60);
    let shown: String = line.chars().skip(from).take(140).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let covered = text.get(place.start..place.end).and_then(|part| part.lines().next());
    let width = covered
        .map_or(1, |part| part.trim_end().chars().count())
        .clamp(1, length.saturating_sub(skip).clamp(1, 80));
    Some(format!("{shown}\n{}{}", " ".repeat(skip - from), "^".repeat(width)))
}

pub(super) fn fault_problem(fault: Fault, text: &str) -> Problem {
    Problem {
        code: fault.code,
        severity: Severity::Error,
        message: fault.message,
        path: Vec::new(),
        line: Some(fault.place.line),
        column: Some(fault.place.column),
        excerpt: excerpt(text, fault.place),
        suggestion: fault.suggestion,
    }
}

#[derive(Debug, Clone, Copy)]
enum At {
    Key,
    Value,
    /// Inside the text at the path, so many bytes from its beginning.
    Inside(usize),
}

/// A problem before it is looked up in the text.
#[derive(Debug)]
pub(super) struct Found {
    code: &'static str,
    severity: Severity,
    message: String,
    pub(super) path: Vec<String>,
    at: At,
    suggestion: Option<String>,
    /// Another place that the message is about.
    also: Option<Vec<String>>,
}

impl Found {
    pub(super) fn new(code: &'static str, message: impl Into<String>, path: &[&str]) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            path: path.iter().map(ToString::to_string).collect(),
            at: At::Value,
            suggestion: None,
            also: None,
        }
    }

    /// Names a second place, with its line where there is one.
    pub(super) fn also(mut self, path: &[&str]) -> Self {
        self.also = Some(path.iter().map(ToString::to_string).collect());
        self
    }

    pub(super) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub(super) fn at_key(mut self) -> Self {
        self.at = At::Key;
        self
    }

    pub(super) fn inside(mut self, offset: usize) -> Self {
        self.at = At::Inside(offset);
        self
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(super) fn maybe(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    fn unlocated(self) -> Problem {
        Problem {
            code: self.code,
            severity: self.severity,
            message: self.message,
            path: self.path,
            line: None,
            column: None,
            excerpt: None,
            suggestion: self.suggestion,
        }
    }

    pub(super) fn locate(self, tree: &Tree, document: &Value, text: &str) -> Problem {
        let (key, at) = tree.find(&self.path);
        let mut place = at.place;
        let other = self.also.as_ref().map(|path| {
            let (key, at) = tree.find(path);
            key.unwrap_or(at.place).line
        });
        match self.at {
            At::Key => place = key.unwrap_or(place),
            // A map in block style begins at its first key; its own key says more.
            At::Value if matches!(at.node, text::Node::Map(_)) => place = key.unwrap_or(place),
            At::Value => {}
            At::Inside(offset) => {
                let mut value = Some(document);
                for step in &self.path {
                    value = value.and_then(|value| match value {
                        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
                        other => other.get(step),
                    });
                }
                if let Some(inside) =
                    value.and_then(Value::as_str).and_then(|value| inside(text, place, value, offset))
                {
                    place = inside;
                }
            }
        }
        let excerpt = excerpt(text, place);
        let mut problem = self.unlocated();
        if let Some(other) = other {
            problem.message = format!("{} (line {other})", problem.message);
        }
        if problem.suggestion.as_ref().is_some_and(|suggestion| suggestion.starts_with("quote it: ")) {
            // What the author wrote (`00123`), not what was read of it (`123`).
            if let Some(written) =
                text.get(place.start..place.end).filter(|written| !written.trim().is_empty())
            {
                problem.suggestion = Some(format!("quote it: \"{}\"", written.trim()));
            }
        }
        Problem { line: Some(place.line), column: Some(place.column), excerpt, ..problem }
    }
}

/// Where the byte `offset` of a text value stands in the source, when the source shows it as it is.
fn inside(text: &str, place: Place, value: &str, offset: usize) -> Option<Place> {
    let before = value.get(..offset.min(value.len()))?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = value[line_start..].lines().next()?;
    let found = place.start + text.get(place.start..)?.find(line)?;
    let start = found + (before.len() - line_start);
    let source_line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let word =
        text[start..].find(|c: char| !(c.is_alphanumeric() || "_.[]'".contains(c))).unwrap_or(1).max(1);
    Some(Place {
        line: text[..start].matches('\n').count() as u32 + 1,
        column: text[source_line..start].chars().count() as u32 + 1,
        start,
        end: (start + word).min(text.len()),
    })
}

/// What is read of one component before the graph is known.
pub(super) struct Draft<'a> {
    pub(super) id: Cow<'a, str>,
    /// Where it stands in the document.
    pub(super) path: Vec<&'a str>,
    pub(super) fields: Option<&'a Map<String, Value>>,
    pub(super) kind: Option<&'a Descriptor>,
    title: Option<String>,
    pub(super) needs: Vec<(Vec<String>, &'a str)>,
    pub(super) join: Join,
    pub(super) join_given: bool,
    pub(super) when: Option<Expression>,
    config: Template,
    pub(super) config_value: Value,
    pub(super) uses: Vec<Use>,
    pub(super) ports: OwnPorts,
    retry: RetryPolicy,
    timeout: Option<Duration>,
    queue_timeout: Option<Duration>,
    total_timeout: Option<Duration>,
    delivery: Delivery,
    placement: Placement,
    pub(super) concurrency: Option<Concurrency>,
    /// What the key of `concurrency` uses.
    pub(super) concurrency_uses: Vec<Use>,
    cache: Option<Caching>,
    /// What the key of `cache` uses.
    pub(super) cache_uses: Vec<Use>,
    pub(super) scope: usize,
    pub(super) position: usize,
    pub(super) scopes: Scopes,
    pub(super) compensate: Option<usize>,
}

impl Draft<'_> {
    /// The canonical type; empty when it is not known.
    pub(super) fn type_name(&self) -> &'static str {
        self.kind.map_or("", |kind| kind.kind)
    }
}

pub(super) struct Checker<'a> {
    pub(super) catalogue: &'a Catalogue,
    /// Whether the document was checked before, so that only what compiling needs is done.
    pub(super) trusted: bool,
    pub(super) found: Vec<Found>,
}

pub(super) fn path_of(base: &[&str], rest: &[String]) -> Vec<String> {
    base.iter().map(ToString::to_string).chain(rest.iter().cloned()).collect()
}

/// The path of a field under `path`.
pub(super) fn below<'p>(path: &[&'p str], name: &'p str) -> Vec<&'p str> {
    [path, &[name]].concat()
}

impl<'a> Checker<'a> {
    fn new(catalogue: &'a Catalogue, trusted: bool) -> Self {
        Self { catalogue, trusted, found: Vec::new() }
    }

    pub(super) fn report(&mut self, found: Found) {
        self.found.push(found);
    }

    // Reading fields.

    pub(super) fn fields(&mut self, map: &Map<String, Value>, known: &[&str], path: &[&str], what: &str) {
        for key in map.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let mut whole = path.to_vec();
            whole.push(key);
            let found =
                Found::new("unknown_field", format!("unknown field `{key}` of {what}"), &whole).at_key();
            let near = nearest(key, known.iter().copied());
            self.report(match near {
                Some(near) => found.suggest(format!("did you mean `{near}`?")),
                None => found.suggest(format!("the fields are {}", list(known))),
            });
        }
    }

    pub(super) fn wrong_type(&mut self, path: &[&str], expected: &str, value: &Value) {
        let found = Found::new("field_type", format!("expected {expected}, got {}", shown(value)), path);
        let suggestion = match value {
            Value::Number(_) | Value::Bool(_) if expected == "text" => Some(format!("quote it: \"{value}\"")),
            _ => None,
        };
        self.report(found.maybe(suggestion));
    }

    pub(super) fn map<'v>(
        &mut self,
        parent: &'v Map<String, Value>,
        name: &str,
        path: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        match parent.get(name)? {
            Value::Object(map) => Some(map),
            Value::Null => None,
            other => {
                self.wrong_type(&[path, &[name]].concat(), "a map", other);
                None
            }
        }
    }

    fn text<'v>(&mut self, parent: &'v Map<String, Value>, name: &str, path: &[&str]) -> Option<&'v str> {
        match parent.get(name)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(&[path, &[name]].concat(), "text", other);
                None
            }
        }
    }

    fn owned(&mut self, parent: &Map<String, Value>, name: &str, path: &[&str]) -> Option<String> {
        self.text(parent, name, path).map(str::to_owned)
    }

    fn duration(&mut self, parent: &Map<String, Value>, name: &str, path: &[&str]) -> Option<Duration> {
        let whole = [path, &[name]].concat();
        match parent.get(name)? {
            Value::String(text) => match parse_duration(text) {
                Ok(duration) => Some(duration),
                Err(error) => {
                    self.report(Found::new("duration", error.to_string(), &whole));
                    None
                }
            },
            Value::Number(number) => {
                self.report(
                    Found::new(
                        "duration",
                        format!("`{number}` has no unit: a bare number is not a duration"),
                        &whole,
                    )
                    .suggest(format!("add a unit: {number}s, {number}ms, {number}m")),
                );
                None
            }
            other => {
                self.wrong_type(&whole, "a duration such as 30s", other);
                None
            }
        }
    }

    fn choice<T: serde::de::DeserializeOwned>(
        &mut self,
        parent: &Map<String, Value>,
        name: &str,
        path: &[&str],
        names: &[&str],
    ) -> Option<T> {
        let value = parent.get(name)?;
        if let (Some(text), Ok(choice)) = (value.as_str(), serde_json::from_value(value.clone()))
            && names.contains(&text)
        {
            return Some(choice);
        }
        let near = value.as_str().and_then(|text| nearest(text, names.iter().copied()));
        self.report(
            Found::new(
                "field_value",
                format!("expected one of {}, got {}", list(names), shown(value)),
                &[path, &[name]].concat(),
            )
            .maybe(near.map(|near| format!("did you mean `{near}`?"))),
        );
        None
    }

    fn count(&mut self, parent: &Map<String, Value>, name: &str, path: &[&str], most: u64) -> Option<u32> {
        let value = parent.get(name)?;
        match value.as_u64() {
            Some(number) if number >= 1 && number <= most => Some(number as u32),
            _ => {
                self.report(Found::new(
                    "field_value",
                    format!("expected a whole number from 1 to {most}, got {}", shown(value)),
                    &[path, &[name]].concat(),
                ));
                None
            }
        }
    }

    fn texts(&mut self, parent: &Map<String, Value>, name: &str, path: &[&str]) -> Vec<String> {
        let whole = [path, &[name]].concat();
        match parent.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let mut texts = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    match item {
                        Value::String(text) => texts.push(text.clone()),
                        other => {
                            let index = index.to_string();
                            self.wrong_type(&[&whole[..], &[&index]].concat(), "text", other);
                        }
                    }
                }
                texts
            }
            Some(other) => {
                self.wrong_type(&whole, "a list of texts", other);
                Vec::new()
            }
        }
    }

    // The document.

    fn document(&mut self, value: &Value) -> Option<Workflow> {
        let Value::Object(document) = value else {
            self.report(
                Found::new("document", format!("a workflow is a map, and this is {}", kind_of(value)), &[])
                    .suggest("begin with `workflow: v1`"),
            );
            return None;
        };
        let known: Vec<&str> = canonical::DOCUMENT.to_vec();
        self.fields(document, &known, &[], "a workflow");
        match document.get("workflow") {
            Some(Value::String(version)) if version == "v1" => {}
            None => self.report(
                Found::new("missing_field", "`workflow` is required: it names the format", &[])
                    .suggest("begin with `workflow: v1`"),
            ),
            Some(other) => self.report(
                Found::new(
                    "format_version",
                    format!("this build reads `v1`, got {}", shown(other)),
                    &["workflow"],
                )
                .suggest("write `workflow: v1`"),
            ),
        }
        let name = match document.get("name") {
            Some(_) => self.owned(document, "name", &[]).unwrap_or_default(),
            None => {
                self.report(
                    Found::new("missing_field", "`name` is required", &[]).suggest("add `name: my-workflow`"),
                );
                String::new()
            }
        };
        if document.get("name").is_some_and(Value::is_string)
            && (name.trim().is_empty() || name.chars().count() > 200)
        {
            self.report(Found::new("field_value", "a name has from 1 to 200 characters", &["name"]));
        }
        let title = self.owned(document, "title", &[]);
        let description = self.owned(document, "description", &[]);
        let labels = self.labels(document);
        let parameters = self.parameters(document);
        let names: HashSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let triggers = self.triggers(document, &parameters);
        let timeout = self.duration(document, "timeout", &[]);
        let on_unhandled_failure = self
            .choice::<OnUnhandledFailure>(document, "on_unhandled_failure", &[], &["finish", "stop"])
            .unwrap_or_default();
        let concurrency = self.workflow_concurrency(document, &names);
        let compensate_on_cancel = match document.get("compensate_on_cancel") {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.wrong_type(&["compensate_on_cancel"], "true or false", other);
                false
            }
        };
        let plan = self.plan(document, on_unhandled_failure);
        let points: Vec<Vec<Point>> =
            (0..plan.scopes.len()).map(|scope| self.connect(&plan, scope)).collect();
        for (scope, points) in points.iter().enumerate() {
            self.shape(&plan, scope, points);
        }
        let orders: Vec<Option<Vec<usize>>> = (0..plan.scopes.len())
            .map(|scope| match graph::order(&points[scope]) {
                Ok(order) => Some(order),
                Err(cycle) => {
                    self.cycle(&plan, scope, &points[scope], &cycle);
                    None
                }
            })
            .collect();
        let tables = Tables::new(&points, &orders);
        let output = document.get("output").filter(|value| !value.is_null()).map(|value| {
            let (template, uses) = self.template(value, &["output"], &|_| Field::Template);
            if !self.trusted {
                let seen = Seen::by_output(&plan, &tables);
                for used in &uses {
                    self.uses(used, &["output"], &names, &plan.by_id, Some(&seen));
                }
            }
            template
        });
        if !self.trusted {
            for (scope, order) in orders.iter().enumerate() {
                if let Some(order) = order {
                    self.flow(&plan, scope, &points[scope], order);
                }
            }
            self.every_use(&plan, &tables, &names);
            self.same_limits(&plan);
        }
        if self.found.iter().any(|found| found.severity == Severity::Error) {
            return None;
        }
        let Plan { drafts, scopes, by_id, on_failure, finally } = plan;
        let has_cache = drafts.iter().any(|draft| draft.cache.is_some());
        let points = (scopes.iter().zip(points))
            .flat_map(|(scope, points)| scope.components.iter().copied().zip(points))
            .collect();
        Some(Workflow {
            name,
            title,
            description,
            labels,
            hash: String::new(),
            parameters,
            triggers,
            concurrency,
            timeout,
            on_unhandled_failure,
            compensate_on_cancel,
            components: components(drafts, &scopes, points),
            has_cache,
            may_stop: scopes.iter().any(|scope| scope.on_unhandled_failure == OnUnhandledFailure::Stop),
            scopes,
            on_failure,
            finally,
            output,
            by_id,
        })
    }

    fn labels(&mut self, document: &Map<String, Value>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        if let Some(map) = self.map(document, "labels", &[]) {
            for name in map.keys() {
                if let Some(text) = self.owned(map, name, &["labels"]) {
                    labels.insert(name.clone(), text);
                }
            }
        }
        labels
    }

    fn parameters(&mut self, document: &Map<String, Value>) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        let Some(map) = self.map(document, "parameters", &[]) else { return parameters };
        for (name, value) in map {
            let path = ["parameters", name.as_str()];
            if !is_id(name) {
                self.report(id_form(name, "a parameter", &path));
            }
            let Value::Object(fields) = value else {
                self.report(
                    Found::new("field_type", format!("expected a map, got {}", shown(value)), &path)
                        .suggest("write `{ type: string, required: true }`"),
                );
                continue;
            };
            let mut known = canonical::PARAMETER.to_vec();
            known.push("choices");
            self.fields(fields, &known, &path, "a parameter");
            let kind = self
                .choice::<ParameterType>(
                    fields,
                    "type",
                    &path,
                    &["string", "integer", "number", "boolean", "array", "object", "any"],
                )
                .unwrap_or(ParameterType::Any);
            let required = match fields.get("required") {
                None => false,
                Some(Value::Bool(required)) => *required,
                Some(other) => {
                    self.wrong_type(&[&path[..], &["required"]].concat(), "true or false", other);
                    false
                }
            };
            let given = ["enum", "choices"].into_iter().find(|word| fields.contains_key(*word));
            let choices = match given.and_then(|word| Some((word, fields.get(word)?))) {
                Some((_, Value::Array(choices))) if !choices.is_empty() => choices.clone(),
                Some((word, other)) => {
                    self.wrong_type(&[&path[..], &[word]].concat(), "a list of values", other);
                    Vec::new()
                }
                None => Vec::new(),
            };
            let mut rules = fields.clone();
            for word in ["required", "default", "choices", "title", "description", "type", "enum"] {
                rules.shift_remove(word);
            }
            if let Some(name) = kind.schema_type() {
                rules.insert("type".to_owned(), Value::from(name));
            }
            if !choices.is_empty() {
                rules.insert("enum".to_owned(), Value::Array(choices.clone()));
            }
            let schema = Value::Object(rules);
            let default = fields.get("default").cloned();
            if let Some(default) = &default {
                for mismatch in schema::check(&schema, default, None) {
                    let mut found = Found::new(
                        "parameter_default",
                        format!("the default of `{name}` does not fit its type: {}", mismatch.message),
                        &[],
                    )
                    .maybe(mismatch.suggestion);
                    found.path = path_of(&[path[0], path[1], "default"], &mismatch.path);
                    self.report(found);
                }
            }
            let description = self.owned(fields, "description", &path);
            parameters.push(Parameter {
                name: name.clone(),
                kind,
                required,
                default,
                choices,
                description,
                schema,
            });
        }
        parameters
    }

    fn triggers(&mut self, document: &Map<String, Value>, parameters: &[Parameter]) -> Vec<Trigger> {
        let Some(value) = document.get("triggers") else { return Vec::new() };
        let (triggers, mistakes) = triggers::read(value, parameters);
        for mistake in mistakes {
            let mut found = Found::new(mistake.code, mistake.message, &[]).maybe(mistake.suggestion);
            found.path = mistake.path;
            found.severity = if mistake.is_warning { Severity::Warning } else { Severity::Error };
            found.at = match mistake.place {
                triggers::Place::Key => At::Key,
                triggers::Place::Value => At::Value,
                triggers::Place::Inside(offset) => At::Inside(offset),
            };
            self.report(found);
        }
        triggers
    }

    /// What `concurrency` of the workflow or of a component says, and what its key uses.
    pub(super) fn concurrency(
        &mut self,
        parent: &Map<String, Value>,
        path: &[&str],
    ) -> Option<(Concurrency, Vec<Use>)> {
        let fields = self.map(parent, "concurrency", path)?;
        let whole = below(path, "concurrency");
        self.fields(fields, canonical::CONCURRENCY, &whole, "`concurrency`");
        let limit = self.count(fields, "limit", &whole, u64::from(u32::MAX)).unwrap_or(1);
        let names = ["queue", "drop_new", "cancel_running", "fair"];
        let on_conflict =
            self.choice::<OnConflict>(fields, "on_conflict", &whole, &names).unwrap_or_default();
        let Some(key) = fields.get("key") else {
            self.report(
                Found::new("missing_field", "`key` is required", &whole)
                    .at_key()
                    .suggest("add a text, the same for all or with `${{ }}`"),
            );
            return None;
        };
        let key_path = below(&whole, "key");
        if !key.is_string() {
            self.wrong_type(&key_path, "text", key);
        }
        let (key, uses) = self.template(key, &key_path, &|_| Field::Template);
        if on_conflict == OnConflict::Fair && uses.is_empty() {
            self.report(
                Found::new(
                    "contradictory_limits",
                    "`fair` lets keys take turns, and this key is the same for all",
                    &key_path,
                )
                .suggest("make the key of what should take turns, such as `${{ parameters.customer }}`, or write `on_conflict: queue`"),
            );
        }
        Some((Concurrency { key, limit, on_conflict }, uses))
    }

    fn workflow_concurrency(
        &mut self,
        document: &Map<String, Value>,
        names: &HashSet<&str>,
    ) -> Option<Concurrency> {
        let (concurrency, uses) = self.concurrency(document, &[])?;
        if !self.trusted {
            let none = HashMap::new();
            for used in &uses {
                for reference in used.references.iter().filter(|reference| reference.root == "components") {
                    self.report(
                        Found::new(
                            "reference",
                            "no component has run when the key is computed",
                            &["concurrency", "key"],
                        )
                        .inside(used.offset + reference.start)
                        .suggest("use `parameters`"),
                    );
                }
                if used.references.iter().all(|reference| reference.root != "components") {
                    self.uses(used, &["concurrency", "key"], names, &none, None);
                }
            }
        }
        Some(concurrency)
    }

    /// Compiles a value with expressions and reports what is wrong in it.
    fn template(
        &mut self,
        value: &Value,
        path: &[&str],
        field: &dyn Fn(&[&str]) -> Field,
    ) -> (Template, Vec<Use>) {
        let (template, errors, uses) = Template::compile_with_uses(value, field);
        for (rest, error) in errors {
            let mut found =
                Found::new("expression", error.message, &[]).inside(error.offset).maybe(error.suggestion);
            found.path = path_of(path, &rest);
            self.report(found);
        }
        (template, uses)
    }

    // The components.

    /// What one component says for itself; `path` leads to it.
    pub(super) fn draft<'v>(&mut self, id: Cow<'v, str>, path: Vec<&'v str>, value: &'v Value) -> Draft<'v>
    where
        'a: 'v,
    {
        let fields = match value {
            Value::Object(fields) => fields,
            other => {
                self.report(
                    Found::new("field_type", format!("expected a map, got {}", shown(other)), &path)
                        .suggest("write `type:` under the id"),
                );
                return Draft::new(id, path);
            }
        };
        self.fields(fields, canonical::COMPONENT, &path, "a component");

        let mut draft = Draft::new(id, path.clone());
        draft.fields = Some(fields);
        draft.kind = self.kind(fields, &path, &draft.id);
        draft.title = self.owned(fields, "title", &path);
        self.text(fields, "description", &path);
        draft.needs = self.needs(fields, &path);
        draft.join_given = fields.contains_key("join");
        draft.join = self.choice(fields, "join", &path, &["all", "any", "all_done"]).unwrap_or_default();
        draft.when = self.when(fields, &path);

        let config = fields.get("config").filter(|config| !config.is_null());
        draft.config_value = match config {
            Some(config @ Value::Object(_)) => config.clone(),
            Some(other) => {
                self.wrong_type(&below(&path, "config"), "a map", other);
                Value::Object(Map::new())
            }
            None => Value::Object(Map::new()),
        };
        if let Some(descriptor) = draft.kind {
            self.config(&mut draft, descriptor, config.is_some());
        }

        let standard = draft.kind.is_none_or(|kind| {
            kind.runs != Runs::Coordinator && kind.is_retried_by_default(&draft.config_value)
        });
        let base = if standard { RetryPolicy::standard() } else { RetryPolicy::never() };
        draft.retry = self.retry(fields, &path, base);
        draft.timeout = self.duration(fields, "timeout", &path);
        draft.queue_timeout = self.duration(fields, "queue_timeout", &path);
        draft.total_timeout = self.duration(fields, "total_timeout", &path);
        for name in ["timeout", "queue_timeout", "total_timeout"] {
            let zero = match name {
                "timeout" => draft.timeout,
                "queue_timeout" => draft.queue_timeout,
                _ => draft.total_timeout,
            };
            if zero == Some(Duration::ZERO) {
                self.report(Found::new("duration", "must be longer than zero", &below(&path, name)));
            }
        }
        draft.delivery =
            self.choice(fields, "delivery", &path, &["at_least_once", "at_most_once"]).unwrap_or_default();
        draft.placement = self.placement(fields, &path);
        if let Some((concurrency, uses)) = self.concurrency(fields, &path) {
            self.task_limit(&draft, &concurrency);
            draft.concurrency = Some(concurrency);
            draft.concurrency_uses = uses;
        }
        self.cache(&mut draft, fields);
        draft
    }

    /// What `cache` of a component says.
    fn cache(&mut self, draft: &mut Draft<'_>, fields: &Map<String, Value>) {
        let path = draft.path.clone();
        let Some(cache) = self.map(fields, "cache", &path) else { return };
        let whole = below(&path, "cache");
        self.fields(cache, canonical::CACHE, &whole, "`cache`");
        let ttl = self.duration(cache, "ttl", &whole).unwrap_or(TTL);
        if !(SHORTEST_TTL..=LONGEST_TTL).contains(&ttl) {
            self.report(Found::new(
                "duration",
                "a result is used again for 1s to 365d",
                &below(&whole, "ttl"),
            ));
        }
        let written = cache.get("key");
        let key = written.map(|key| {
            let key_path = below(&whole, "key");
            if key.is_null() {
                self.report(
                    Found::new(
                        "field_value",
                        "what has no key is not cached, and this never has one",
                        &key_path,
                    )
                    .suggest("remove `key`: the resolved config is the key then"),
                );
            }
            self.template(key, &key_path, &|_| Field::Template)
        });
        let (key, uses) = key.map_or((None, Vec::new()), |(key, uses)| (Some(key), uses));
        draft.cache_uses = uses;
        self.cache_place(draft, fields, &whole);
        if let Some(kind) = draft.kind {
            let config = canonical::sorted(&draft.config_value);
            draft.cache = Some(Caching::new(key, ttl, kind.kind, &config, written));
        }
    }

    /// Which components have no results that could be used again.
    fn cache_place(&mut self, draft: &Draft<'_>, fields: &Map<String, Value>, whole: &[&str]) {
        let Some(kind) = draft.kind else { return };
        let name = kind.kind;
        if is_container(name) && (name != "parallel" || fields.contains_key("components")) {
            // That is said where its other fields are looked at.
            return;
        }
        let on_workers = "give `cache` to components that a worker runs";
        let wrong = match kind.runs {
            _ if is_timeless(name) && !is_container(name) => {
                Some((format!("`{name}` waits for others, and what they say is not used again"), on_workers))
            }
            Runs::Coordinator => {
                Some((format!("`{name}` is decided by the engine, which takes no time"), on_workers))
            }
            Runs::External => {
                Some((format!("`{name}` is carried out outside this platform, each time anew"), on_workers))
            }
            Runs::Worker if draft.delivery == Delivery::AtMostOnce => Some((
                "what is `at_most_once` acts each time, and a result that is used again does nothing"
                    .to_owned(),
                "remove `cache`, or write `delivery: at_least_once`",
            )),
            Runs::Worker if fields.get("compensate").is_some_and(|undo| !undo.is_null()) => Some((
                "a result that is used again did nothing that `compensate` could undo".to_owned(),
                "remove `cache`, or `compensate`",
            )),
            Runs::Worker => None,
        };
        if let Some((message, suggestion)) = wrong {
            self.report(Found::new("cache_place", message, whole).at_key().suggest(suggestion));
        }
    }

    /// What only some components can have of `concurrency`.
    fn task_limit(&mut self, draft: &Draft<'_>, concurrency: &Concurrency) {
        let Some(kind) = draft.kind else { return };
        let whole = below(&draft.path, "concurrency");
        if kind.runs == Runs::Coordinator {
            let found = Found::new(
                "concurrency_place",
                format!("`{}` is decided by the engine and holds no place", kind.kind),
                &whole,
            );
            let suggestion = if is_container(kind.kind) {
                "give `concurrency` to the components inside"
            } else {
                "set `concurrency` on the workflow, or on a component that a worker runs"
            };
            self.report(found.at_key().suggest(suggestion));
        }
        if draft.delivery == Delivery::AtMostOnce && concurrency.on_conflict == OnConflict::CancelRunning {
            self.report(
                Found::new(
                    "contradictory_limits",
                    "`cancel_running` would end a task whose outcome is then unknown, and it is `at_most_once`",
                    &below(&whole, "on_conflict"),
                )
                .suggest("write `on_conflict: queue`, or `delivery: at_least_once`"),
            );
        }
    }

    /// Components that name the same key share its places, so they must agree on how many there are.
    fn same_limits(&mut self, plan: &Plan<'_>) {
        let mut first: HashMap<String, (&str, u32, OnConflict)> = HashMap::new();
        for draft in &plan.drafts {
            let Some(concurrency) = &draft.concurrency else { continue };
            let written = draft.fields.and_then(|fields| fields.get("concurrency")?.get("key")?.as_str());
            let Some(written) = written else { continue };
            let of = (&*draft.id, concurrency.limit, concurrency.on_conflict);
            let (id, limit, on_conflict) = *first.entry(written.to_owned()).or_insert(of);
            if (limit, on_conflict) != (of.1, of.2) {
                self.report(
                    Found::new(
                        "contradictory_limits",
                        format!(
                            "`{}` and `{id}` share this key and disagree on its limit or conflict",
                            draft.id
                        ),
                        &below(&draft.path, "concurrency"),
                    )
                    .at_key()
                    .suggest("give both the same `limit` and `on_conflict`, or keys of their own"),
                );
            }
        }
    }

    fn kind<'v>(&mut self, fields: &Map<String, Value>, path: &[&str], id: &str) -> Option<&'v Descriptor>
    where
        'a: 'v,
    {
        let catalogue = self.catalogue;
        if !fields.contains_key("type") {
            let found = Found::new("missing_field", format!("`type` is required for `{id}`"), path).at_key();
            self.report(found.suggest("add `type:`, such as `type: http_request`"));
            return None;
        }
        let written = self.text(fields, "type", path)?;
        let whole = below(path, "type");
        let (name, major) = written.split_once('@').unwrap_or((written, "1"));
        let Some(descriptor) = catalogue.get(name) else {
            let near =
                nearest(name, catalogue.names()).and_then(|near| catalogue.get(near).map(|it| (near, it)));
            self.report(
                Found::new("unknown_type", format!("there is no component type `{name}`"), &whole).maybe(
                    near.map(|(near, descriptor)| {
                        if near == descriptor.kind {
                            format!("did you mean `{near}`?")
                        } else {
                            format!("did you mean `{near}` (an alias of `{}`)?", descriptor.kind)
                        }
                    }),
                ),
            );
            return None;
        };
        if major != "1" {
            self.report(
                Found::new("type_version", format!("`{name}` has no version `{major}`"), &whole)
                    .suggest(format!("write `{name}@1` or `{name}`")),
            );
        }
        Some(descriptor)
    }

    fn needs<'v>(&mut self, fields: &'v Map<String, Value>, path: &[&str]) -> Vec<(Vec<String>, &'v str)> {
        match fields.get("needs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                let mut needs = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let index = index.to_string();
                    match item {
                        Value::String(text) => {
                            needs.push((path_of(path, &["needs".to_owned(), index]), text.as_str()));
                        }
                        other => self.wrong_type(
                            &[path, &["needs", &index]].concat(),
                            "a connection `id` or `id.port`",
                            other,
                        ),
                    }
                }
                // The order means nothing; that of the canonical form is the one that runs.
                needs.sort_by_key(|(_, text)| text.strip_suffix(".success").unwrap_or(text));
                needs
            }
            Some(other) => {
                let found = Found::new(
                    "field_type",
                    format!("expected a list of connections, got {}", shown(other)),
                    &below(path, "needs"),
                );
                let suggestion = other.as_str().map(|text| format!("write it as a list: [{text}]"));
                self.report(found.maybe(suggestion));
                Vec::new()
            }
        }
    }

    fn when(&mut self, fields: &Map<String, Value>, path: &[&str]) -> Option<Expression> {
        let whole = below(path, "when");
        let source = match fields.get("when")? {
            Value::String(source) => source.clone(),
            Value::Bool(flag) => flag.to_string(),
            other => {
                self.wrong_type(&whole, "a bare expression", other);
                return None;
            }
        };
        match Expression::compile(&source) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.report(
                    Found::new("expression", error.message, &whole)
                        .inside(error.offset)
                        .maybe(error.suggestion),
                );
                None
            }
        }
    }

    fn config(&mut self, draft: &mut Draft<'_>, descriptor: &Descriptor, given: bool) {
        let component = draft.path.clone();
        let base = below(&component, "config");
        let place: &[&str] = if given { &base } else { &component };
        let config = std::mem::take(&mut draft.config_value);
        let field = |keys: &[&str]| (descriptor.field)(&config, keys);
        let mut fits = true;
        if !self.trusted
            && let Some(schema) = self.catalogue.schema(descriptor.kind)
        {
            for mismatch in schema::check(schema, &config, Some(&field)) {
                fits = false;
                let name = mismatch.path.join(".");
                let message = if name.is_empty() || mismatch.at_key {
                    format!("config of `{}`: {}", descriptor.kind, mismatch.message)
                } else {
                    format!("config of `{}`, `{name}`: {}", descriptor.kind, mismatch.message)
                };
                let mut found = Found::new(mismatch.code, message, &[]).maybe(mismatch.suggestion);
                found.path = path_of(place, &mismatch.path);
                if mismatch.at_key || !given {
                    found = found.at_key();
                }
                self.report(found);
            }
        }
        let (template, uses) = self.template(&config, &base, &field);
        draft.config = template;
        draft.uses = uses;
        draft.ports = match (descriptor.kind, draft.fields) {
            // A race has a port for each of its children, so that what comes after can tell who won.
            ("race", Some(fields)) => {
                let children = fields.get("components").and_then(Value::as_object);
                OwnPorts {
                    names: children.into_iter().flatten().map(|(id, _)| id.clone()).collect(),
                    exclusive: true,
                }
            }
            _ => (descriptor.ports)(&config),
        };
        if fits && !self.trusted {
            for problem in (descriptor.check)(&config) {
                let mut found = Found::new("config", problem.message, &[]).maybe(problem.suggestion);
                found.path = path_of(place, &problem.path);
                self.report(found);
            }
            let mut seen: HashSet<&str> = ["success", "error", "timeout"].into();
            for port in &draft.ports.names {
                let message = if descriptor.kind == "race" {
                    if !["success", "error", "timeout"].contains(&port.as_str()) {
                        continue;
                    }
                    format!("a component of a race becomes a port of it, and `{port}` is one already")
                } else if ["success", "error", "timeout"].contains(&port.as_str()) {
                    format!("the port name `{port}` is reserved")
                } else if !is_id(port) {
                    format!(
                        "`{port}` cannot be the name of a port: use a-z, 0-9 and _, a letter first, at most 64"
                    )
                } else if !seen.insert(port) {
                    format!("the port `{port}` is named twice")
                } else {
                    continue;
                };
                self.report(Found::new("port_name", message, place).at_key());
            }
        }
        if descriptor.runs == Runs::Coordinator && !draft.config.secrets().is_empty() {
            for used in &draft.uses {
                for reference in used.references.iter().filter(|reference| reference.root == "secrets") {
                    let mut found = Found::new(
                        "secret",
                        format!("`{}` is decided by the engine, which never sees a secret", descriptor.kind),
                        &[],
                    )
                    .inside(used.offset + reference.start)
                    .suggest("secrets can be used in the config of components that run on a worker");
                    found.path = path_of(&base, &used.path);
                    self.found.push(found);
                }
            }
        }
        draft.config_value = config;
    }

    fn retry(&mut self, fields: &Map<String, Value>, path: &[&str], base: RetryPolicy) -> RetryPolicy {
        let Some(retry) = self.map(fields, "retry", path) else { return base };
        let whole = below(path, "retry");
        self.fields(retry, canonical::RETRY, &whole, "`retry`");
        let mut policy = RetryPolicy::standard();
        if let Some(attempts) = self.count(retry, "max_attempts", &whole, 1_000) {
            policy.max_attempts = attempts;
        }
        let names = ["none", "fixed", "exponential"];
        if let Some(growth) = self.choice::<Growth>(retry, "backoff", &whole, &names) {
            policy.growth = growth;
        }
        let initial = self.duration(retry, "initial", &whole);
        let cap = self.duration(retry, "cap", &whole);
        policy.initial = initial.unwrap_or(policy.initial);
        policy.cap = cap.unwrap_or(policy.cap.max(policy.initial));
        if policy.cap < policy.initial {
            self.report(Found::new("field_value", "`cap` is shorter than `initial`", &below(&whole, "cap")));
        }
        match retry.get("jitter") {
            None => {}
            Some(Value::Bool(jitter)) => policy.jitter = *jitter,
            Some(other) => {
                self.wrong_type(&below(&whole, "jitter"), "true or false", other);
            }
        }
        for (index, name) in self.texts(retry, "on", &whole).iter().enumerate() {
            let index = index.to_string();
            let place = [&whole[..], &["on", &index]].concat();
            match name.parse::<FailureClass>() {
                Ok(class) if class.may_be_retried() => policy.on.push(class),
                Ok(class) => {
                    self.report(Found::new("field_value", format!("`{class}` is never tried again"), &place));
                }
                Err(error) => {
                    let near = nearest(name, FailureClass::NAMES.iter().copied());
                    let suggestion = near.map_or_else(
                        || format!("the classes are {}, and `user.<id>`", list(FailureClass::NAMES)),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.report(Found::new("field_value", error.to_string(), &place).suggest(suggestion));
                }
            }
        }
        policy
    }

    fn placement(&mut self, fields: &Map<String, Value>, path: &[&str]) -> Placement {
        let mut placement = Placement { pool: Arc::from("default"), tags: Vec::new(), priority: None };
        let Some(worker) = self.map(fields, "worker", path) else { return placement };
        let whole = below(path, "worker");
        self.fields(worker, canonical::WORKER, &whole, "`worker`");
        if let Some(pool) = self.text(worker, "pool", &whole) {
            let fits = !pool.is_empty()
                && pool.len() <= 64
                && pool.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if !fits {
                self.report(Found::new(
                    "field_value",
                    "the name of a pool has letters, digits, `_` and `-`, at most 64",
                    &below(&whole, "pool"),
                ));
            }
            placement.pool = Arc::from(pool);
        }
        placement.tags = self.texts(worker, "tags", &whole);
        placement.priority = self.choice::<Priority>(worker, "priority", &whole, &["high", "normal", "low"]);
        placement
    }

    // The graph.

    /// Resolves the `needs` of one scope, to places in it. What cannot be resolved is reported and left out.
    fn connect(&mut self, plan: &Plan<'_>, scope: usize) -> Vec<Point> {
        let members = &plan.scopes[scope].components;
        let mut points = Vec::with_capacity(members.len());
        for draft in members.iter().map(|index| &plan.drafts[*index]) {
            let mut needs: Vec<Need> = Vec::new();
            let mut seen: HashSet<(usize, Output)> = HashSet::new();
            for (path, written) in &draft.needs {
                let (id, port) = written.split_once('.').unwrap_or((written, "success"));
                let found = |code, message: String| {
                    let mut found = Found::new(code, message, &[]);
                    found.path.clone_from(path);
                    found
                };
                let Some(from) = plan.by_id.get(id).copied() else {
                    let near = nearest(id, members.iter().map(|index| &*plan.drafts[*index].id));
                    let suggestion = near.map(|near| format!("did you mean `{near}`?"));
                    self.report(
                        found("unknown_component", format!("there is no component `{id}`")).maybe(suggestion),
                    );
                    continue;
                };
                let source = &plan.drafts[from];
                if source.scope != scope {
                    let (message, suggestion) = plan.across(draft, from);
                    self.report(found("need_across_scopes", message).suggest(suggestion));
                    continue;
                }
                let output = match port {
                    "success" => Output::Success,
                    "error" => Output::Error,
                    "timeout" => Output::Timeout,
                    own => match source.ports.names.iter().position(|name| name == own) {
                        Some(index) => Output::Own(index),
                        None => {
                            if source.kind.is_some() {
                                let names: Vec<&str> = ["success", "error", "timeout"]
                                    .into_iter()
                                    .chain(source.ports.names.iter().map(String::as_str))
                                    .collect();
                                let near = nearest(own, names.iter().copied());
                                let ports = format!("its ports are {}", list(&names));
                                let suggestion = match near {
                                    Some(near) => format!("did you mean `{id}.{near}`? {ports}"),
                                    None => ports,
                                };
                                self.report(
                                    found("unknown_port", format!("`{id}` has no port `{own}`"))
                                        .suggest(suggestion),
                                );
                            }
                            continue;
                        }
                    },
                };
                if !seen.insert((from, output.clone())) {
                    let message = format!("the connection `{id}.{port}` is given twice");
                    self.report(found("duplicate_connection", message).suggest("remove one of them"));
                    continue;
                }
                match source.kind.map(|kind| kind.kind) {
                    Some("end") => self.report(
                        found("need_of_end", format!("nothing can come after the `end` component `{id}`"))
                            .suggest("need what the `end` needs"),
                    ),
                    Some("fail") if output == Output::Success => self.report(
                        found("need_of_fail", format!("`{id}` never succeeds: it is a `fail` component"))
                            .suggest(format!("did you mean `{id}.error`?")),
                    ),
                    _ => {}
                }
                needs.push(Need { from: source.position, port: output });
            }
            points.push(Point { needs, join: draft.join, exclusive: draft.ports.exclusive });
        }
        points
    }

    /// Rules about single components that need their kind and their connections.
    fn shape(&mut self, plan: &Plan<'_>, scope: usize, points: &[Point]) {
        let members = &plan.scopes[scope].components;
        let drafts = || members.iter().map(|index| &plan.drafts[*index]);
        let mut start: Option<&str> = None;
        let mut read: HashSet<(usize, usize)> = HashSet::new();
        for point in points {
            for need in &point.needs {
                if let Output::Own(port) = need.port {
                    read.insert((need.from, port));
                }
            }
        }
        for (index, draft) in drafts().enumerate() {
            let path = &draft.path;
            if draft.needs.is_empty() && draft.join_given && draft.join != Join::All {
                let name = if draft.join == Join::Any { "any" } else { "all_done" };
                self.report(
                    Found::new(
                        "join_without_needs",
                        format!("`join: {name}` of `{}` has no connections to wait for", draft.id),
                        &below(path, "join"),
                    )
                    .suggest("add `needs`, or remove `join`"),
                );
            }
            match draft.kind.map(|kind| kind.kind) {
                Some("start") => {
                    if !draft.needs.is_empty() {
                        self.report(
                            Found::new(
                                "needs_of_start",
                                format!("`{}` is a `start`, so nothing comes before it", draft.id),
                                &below(path, "needs"),
                            )
                            .at_key()
                            .suggest("remove `needs`, or use `noop`"),
                        );
                    }
                    match start {
                        Some(first) => self.report(
                            Found::new(
                                "two_starts",
                                format!("`{}` is a second `start`; the first is `{first}`", draft.id),
                                path,
                            )
                            .at_key()
                            .suggest("keep one; components without `needs` start at once anyway"),
                        ),
                        None => start = Some(&draft.id),
                    }
                }
                Some("join") if draft.needs.len() < 2 => self.report(
                    Found::new(
                        "join_of_one",
                        format!("`{}` joins fewer than two connections", draft.id),
                        path,
                    )
                    .at_key()
                    .warning(),
                ),
                Some("parallel") => {
                    for (port, name) in draft.ports.names.iter().enumerate() {
                        if !read.contains(&(index, port)) {
                            self.report(
                                Found::new(
                                    "unused_branch",
                                    format!("nobody needs the branch `{}.{name}`", draft.id),
                                    path,
                                )
                                .at_key()
                                .warning(),
                            );
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(start) = start {
            for (draft, point) in drafts().zip(points) {
                let is_loose = point.needs.is_empty() && draft.needs.is_empty();
                if is_loose && draft.kind.is_some_and(|kind| kind.kind != "start") {
                    self.report(
                        Found::new(
                            "unreachable",
                            format!(
                                "`{}` is not reached from `{start}`: it has no `needs` and starts at once",
                                draft.id
                            ),
                            &draft.path,
                        )
                        .at_key()
                        .warning()
                        .suggest(format!("add `needs: [{start}]`")),
                    );
                }
            }
        }
    }

    fn cycle(&mut self, plan: &Plan<'_>, scope: usize, points: &[Point], cycle: &[usize]) {
        let Some(first) = cycle.first().copied() else { return };
        let drafts: Vec<&Draft<'_>> =
            plan.scopes[scope].components.iter().map(|index| &plan.drafts[*index]).collect();
        let mut names: Vec<&str> = cycle.iter().map(|index| &*drafts[*index].id).collect();
        names.push(&drafts[first].id);
        let last = cycle.last().copied().unwrap_or(first);
        let place = points[first].needs.iter().position(|need| need.from == last).unwrap_or(0);
        let mut found =
            Found::new("cycle", format!("these components wait for one another: {}", names.join(" → ")), &[])
                .suggest("remove one of the connections; a loop is a container");
        found.path = drafts[first]
            .needs
            .get(place)
            .map_or_else(|| path_of(&drafts[first].path, &[]), |(path, _)| path.clone());
        self.report(found);
    }
}

impl<'a> Draft<'a> {
    fn new(id: Cow<'a, str>, path: Vec<&'a str>) -> Self {
        Self {
            id,
            path,
            fields: None,
            kind: None,
            title: None,
            needs: Vec::new(),
            join: Join::All,
            join_given: false,
            when: None,
            config: Template::constant(Value::Object(Map::new())),
            config_value: Value::Object(Map::new()),
            uses: Vec::new(),
            ports: OwnPorts::none(),
            retry: RetryPolicy::never(),
            timeout: None,
            queue_timeout: None,
            total_timeout: None,
            delivery: Delivery::default(),
            placement: Placement { pool: Arc::from("default"), tags: Vec::new(), priority: None },
            concurrency: None,
            concurrency_uses: Vec::new(),
            cache: None,
            cache_uses: Vec::new(),
            scope: 0,
            position: 0,
            scopes: Scopes::default(),
            compensate: None,
        }
    }

    /// The time-out as the author gave it; a container and what waits for others have all the time there is.
    fn time_limit(&self, descriptor: &Descriptor) -> Duration {
        if is_timeless(descriptor.kind) && (self.scopes.body.is_some() || !is_container(descriptor.kind)) {
            let given = [self.timeout, self.total_timeout].into_iter().flatten();
            given.min().unwrap_or(Duration::MAX)
        } else {
            self.timeout.unwrap_or_else(|| descriptor.default_timeout(&self.config_value))
        }
    }
}

/// The compiled components; called when nothing is wrong, so every kind is known.
///
/// `points` gives each component with its connections as places in its scope.
fn components(drafts: Vec<Draft<'_>>, scopes: &[Scope], mut points: Vec<(usize, Point)>) -> Vec<Component> {
    points.sort_by_key(|(index, _)| *index);
    let mut outgoing: Vec<Vec<(usize, Output)>> = vec![Vec::new(); drafts.len()];
    let mut timeout_is_read = vec![false; drafts.len()];
    for (index, point) in &mut points {
        let members = &scopes[drafts[*index].scope].components;
        for need in &mut point.needs {
            need.from = members[need.from];
            outgoing[need.from].push((*index, need.port.clone()));
            if need.port == Output::Timeout {
                timeout_is_read[need.from] = true;
            }
        }
    }
    let mut kinds: HashMap<&'static str, Arc<str>> = HashMap::new();
    let whole = drafts.into_iter().zip(points).zip(outgoing.into_iter().zip(timeout_is_read));
    let mut components: Vec<Component> = whole
        .filter_map(|((draft, (_, point)), (outgoing, timeout_is_read))| {
            let descriptor = draft.kind?;
            Some(Component {
                id: ComponentId::new(&draft.id),
                kind: kinds.entry(descriptor.kind).or_insert_with(|| Arc::from(descriptor.kind)).clone(),
                runs: descriptor.runs,
                effect: (descriptor.effect)(&draft.config_value),
                needs: point.needs,
                join: draft.join,
                timeout: draft.time_limit(descriptor),
                title: draft.title,
                when: draft.when,
                config: draft.config,
                ports: draft.ports.names,
                retry: draft.retry,
                total_timeout: draft.total_timeout,
                queue_timeout: draft.queue_timeout,
                delivery: draft.delivery,
                placement: draft.placement,
                concurrency: draft.concurrency,
                cache: draft.cache,
                outgoing,
                timeout_is_read,
                scope: draft.scope,
                position: draft.position,
                scopes: draft.scopes,
                compensate: draft.compensate,
                fuses: None,
            })
        })
        .collect();
    fusion::mark(&mut components);
    components
}

/// Whether a text has the form `[a-z][a-z0-9_]{0,63}`.
pub(super) fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
}

pub(super) fn id_form(text: &str, what: &str, path: &[&str]) -> Found {
    let mut mended: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .skip_while(|c| !c.is_ascii_lowercase())
        .collect();
    mended.truncate(64);
    let found = Found::new(
        "id_form",
        format!("`{text}` cannot be the id of {what}: use a-z, 0-9 and _, a letter first, at most 64"),
        path,
    )
    .at_key();
    if mended.is_empty() { found } else { found.suggest(format!("write `{mended}`")) }
}

pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
