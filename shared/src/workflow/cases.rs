//! Test files: what a workflow does, case by case, with mocks for the world outside.
//!
//! Read, and checked against the workflow that they are about; every mistake is reported with its line. Nothing here
//! runs a case.

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    check::{Found, fault_problem},
    model::Workflow,
    problem::{Problems, nearest},
    schema,
    text::{self, Tree},
};
use crate::{
    component::{FailureClass, Runs},
    execution::TaskKey,
    time::parse_duration,
};

/// The largest value that a test written from an execution holds, in bytes of JSON.
pub const LARGEST_VALUE: usize = 64 * 1024;

/// The version of a test file's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    V1,
}

/// Tests of one workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestFile {
    /// The version of this form.
    pub test: Version,
    /// The workflow's file, seen from this one. Without it, the file of the same name: `order.yaml` for
    /// `order.test.yaml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Files of workflows that it calls and that are simulated with it, seen from this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// `pure` runs components without a mock for real when their output depends on nothing but their input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunFor>,
    pub cases: Vec<Case>,
}

/// Which components without a mock run for real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunFor {
    Pure,
}

/// One execution of the workflow, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// What it is started with.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// What `execution` says in expressions, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<CaseExecution>,
    /// Answers of the world outside, by component (`pack`) or round of a loop (`pack[2]`). A list answers one asking
    /// after the other: the attempts of a task, the people asked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mocks: BTreeMap<String, Mocked>,
    pub expect: Expect,
}

/// What `execution` says in expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseExecution {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it starts, such as `2026-01-31T12:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

/// One answer for every asking, or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Mocked {
    Each(Vec<Mock>),
    Always(Box<Mock>),
}

impl Mocked {
    pub fn list(&self) -> &[Mock] {
        match self {
            Self::Each(list) => list,
            Self::Always(mock) => std::slice::from_ref(mock),
        }
    }
}

/// What one asking is answered: exactly one of `output`, `error`, `approve`, `reject`, `submit`, `event`, `expire`
/// and `mocks`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mock {
    /// A task or sub-workflow completes with this.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Own ports that fire with `output`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// An attempt or sub-workflow fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MockError>,
    /// A person approves, with what was filled in.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub approve: Option<Value>,
    /// A person rejects, with what was filled in.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub reject: Option<Value>,
    /// A person hands in a human task.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub submit: Option<Value>,
    /// Who answers; `tester` when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The assignee that the answer counts for; the next of those asked when it is not said.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_assignee: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The body of the event that comes.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
    /// Nobody answers, or no event comes: the wait ends by its own time-out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expire: bool,
    /// The sub-workflow is simulated, with these mocks of its components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mocks: Option<BTreeMap<String, Mocked>>,
    /// How long after it was asked, such as `90s`. At once when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Tells a field that is `null` from one that is not there.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A failure of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MockError {
    /// A failure class, such as `timeout` or `http_5xx`.
    pub class: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// What is expected; what is not named may be anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EndStatus>,
    /// The whole output.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ExpectError>,
    /// By component, where it stands, or more about it. In a loop `pack` means every round and `pack[2]` one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ExpectComponent>,
    /// Components that nothing outside is asked by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_called: Vec<String>,
}

/// How an execution ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    Completed,
    Failed,
    Cancelled,
}

impl EndStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The failure that is expected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectError {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// A part of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a component ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentStatus {
    Completed,
    Failed,
    Skipped,
    Cancelled,
    /// It never began.
    Waiting,
}

impl ComponentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Waiting => "waiting",
        }
    }
}

/// What is expected of a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExpectComponent {
    Status(ComponentStatus),
    More(Box<ExpectMore>),
}

/// More than where a component ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectMore {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ComponentStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Its whole output.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ExpectError>,
    /// What it was called with the last time. Of a map only the keys given here are compared.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub called_with: Option<Value>,
}

/// The JSON Schema (2020-12) of a test file.
pub fn test_schema() -> Value {
    let mut schema = Value::from(schemars::schema_for!(TestFile));
    schema["title"] = Value::from("Tests of a workflow");
    schema["properties"]["cases"]["minItems"] = Value::from(1);
    schema["$defs"]["Expect"]["minProperties"] = Value::from(1);
    schema
}

/// A test file as text and as what it says; not yet compared with its workflow.
#[derive(Debug)]
pub struct TestText {
    pub file: TestFile,
    text: String,
    value: Value,
    tree: Tree,
}

/// Reads a test file written in YAML or JSON.
///
/// # Errors
/// Every mistake in its form, each with line, column, the line itself and a caret.
pub fn read_tests(text: &str) -> Result<TestText, Problems> {
    let parsed = text::read(text).map_err(|fault| Problems::new(vec![fault_problem(fault, text)]))?;
    let value = parsed.tree.to_value();
    let mut problems: Vec<_> = parsed.faults.into_iter().map(|fault| fault_problem(fault, text)).collect();
    for wrong in schema::check(&test_schema(), &value, None) {
        let path: Vec<&str> = wrong.path.iter().map(String::as_str).collect();
        let message = match (path.as_slice(), wrong.code) {
            (["cases"], "config_value") => "a test file without cases tests nothing".to_owned(),
            ([.., "expect"], "config_value") => "a case that expects nothing cannot fail".to_owned(),
            _ => wrong.message,
        };
        let mut found = Found::new(wrong.code, message, &path).maybe(wrong.suggestion);
        if wrong.at_key {
            found = found.at_key();
        }
        problems.push(found.locate(&parsed.tree, &value, text));
    }
    if !problems.is_empty() {
        return Err(Problems::new(problems));
    }
    match serde_json::from_value::<TestFile>(value.clone()) {
        Ok(file) => Ok(TestText { file, text: text.to_owned(), value, tree: parsed.tree }),
        Err(error) => {
            let found = Found::new("test_file", error.to_string(), &[]);
            Err(Problems::new(vec![found.locate(&parsed.tree, &value, text)]))
        }
    }
}

impl TestText {
    /// The lines (from 1, both included) on which the expectations of a case stand, and the column (from 1) of their
    /// key; nothing when the case is written in one line.
    pub fn expect_lines(&self, case: usize) -> Option<(u32, u32, u32)> {
        let path = ["cases".to_owned(), case.to_string(), "expect".to_owned()];
        let (key, _) = self.tree.find(&path);
        let key = key?;
        let lines: Vec<&str> = self.text.lines().collect();
        let at = key.line as usize - 1;
        let before: String = lines.get(at)?.chars().take(key.column as usize - 1).collect();
        if !before.chars().all(|c| c == ' ' || c == '-') {
            return None;
        }
        let mut last = at;
        for (number, line) in lines.iter().enumerate().skip(at + 1) {
            let indentation = line.chars().take_while(|c| *c == ' ').count();
            match line.trim() {
                "" => {}
                _ if indentation >= key.column as usize => last = number,
                _ => break,
            }
        }
        Some((key.line, last as u32 + 1, key.column))
    }

    /// Compares it with the workflow it is about; `called` finds those it calls.
    ///
    /// # Errors
    /// Every name that the workflow has not, and every mock that does not fit its component.
    pub fn check(
        &self,
        workflow: &Workflow,
        called: &dyn Fn(&str) -> Option<std::sync::Arc<Workflow>>,
    ) -> Result<(), Problems> {
        let mut checker = Checker { found: Vec::new(), called };
        let mut names = HashSet::new();
        for (index, case) in self.file.cases.iter().enumerate() {
            let index = index.to_string();
            let path = vec!["cases".to_owned(), index];
            if !names.insert(case.name.as_str()) {
                checker.wrong(
                    "case_name",
                    format!("two cases are called `{}`", case.name),
                    &path,
                    &["name"],
                    None,
                );
            }
            checker.case(workflow, case, &path);
        }
        if checker.found.is_empty() {
            return Ok(());
        }
        let located = checker
            .found
            .into_iter()
            .map(|found| found.locate(&self.tree, &self.value, &self.text))
            .collect();
        Err(Problems::new(located))
    }
}

struct Checker<'a> {
    found: Vec<Found>,
    called: &'a dyn Fn(&str) -> Option<std::sync::Arc<Workflow>>,
}

impl Checker<'_> {
    fn wrong(
        &mut self,
        code: &'static str,
        message: String,
        path: &[String],
        more: &[&str],
        suggestion: Option<String>,
    ) {
        let path: Vec<&str> = path.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.found.push(Found::new(code, message, &path).maybe(suggestion));
    }

    fn wrong_key(
        &mut self,
        code: &'static str,
        message: String,
        path: &[String],
        suggestion: Option<String>,
    ) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        self.found.push(Found::new(code, message, &path).at_key().maybe(suggestion));
    }

    fn case(&mut self, workflow: &Workflow, case: &Case, path: &[String]) {
        if let Err(problems) = workflow.check_parameters(&case.parameters) {
            for problem in problems {
                let mut at = path.to_vec();
                if !case.parameters.is_empty() {
                    at.push("parameters".to_owned());
                    at.extend(problem.path);
                }
                self.wrong_key(problem.code, problem.message, &at, problem.suggestion);
            }
        }
        if let Some(execution) = &case.execution {
            if let Some(id) =
                execution.id.as_deref().filter(|id| id.parse::<crate::ids::ExecutionId>().is_err())
            {
                let message = format!("`{id}` is not the id of an execution");
                self.wrong("execution_id", message, path, &["execution", "id"], None);
            }
            if let Some(at) = &execution.started_at
                && at.parse::<crate::time::Timestamp>().is_err()
            {
                let message = format!("`{at}` is not an instant");
                let help = Some("write it like 2026-01-31T12:00:00Z".to_owned());
                self.wrong("instant", message, path, &["execution", "started_at"], help);
            }
        }
        let mut at = path.to_vec();
        at.push("mocks".to_owned());
        self.mocks(workflow, &case.mocks, &at);
        let mut at = path.to_vec();
        at.push("expect".to_owned());
        self.class(
            case.expect.error.as_ref().and_then(|error| error.class.as_deref()),
            &at,
            &["error", "class"],
        );
        for (id, expected) in &case.expect.components {
            let mut at = at.clone();
            at.extend(["components".to_owned(), id.clone()]);
            self.component(workflow, id, &at);
            if let ExpectComponent::More(more) = expected {
                let class = more.error.as_ref().and_then(|error| error.class.as_deref());
                self.class(class, &at, &["error", "class"]);
            }
        }
        for (index, id) in case.expect.never_called.iter().enumerate() {
            let mut at = at.clone();
            at.extend(["never_called".to_owned(), index.to_string()]);
            self.component(workflow, id, &at);
        }
    }

    fn class(&mut self, class: Option<&str>, path: &[String], more: &[&str]) {
        let Some(class) = class.filter(|class| class.parse::<FailureClass>().is_err()) else { return };
        let near = nearest(class, FailureClass::NAMES.iter().copied());
        let help = near.map_or_else(
            || format!("the classes are {}, and user.<name>", FailureClass::NAMES.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.wrong("failure_class", format!("`{class}` is not a failure class"), path, more, Some(help));
    }

    /// The component that a key names, as an index.
    fn component(&mut self, workflow: &Workflow, key: &str, path: &[String]) -> Option<usize> {
        let Ok(task) = key.parse::<TaskKey>() else {
            let message = format!("`{key}` names no component");
            self.wrong_key("unknown_component", message, path, Some("write `pack` or `pack[2]`".to_owned()));
            return None;
        };
        let id = task.component.as_str();
        let Some(index) = workflow.index_of(id) else {
            let near = nearest(id, workflow.components.iter().map(|component| component.id.as_str()));
            let message = format!("the workflow `{}` has no component `{id}`", workflow.name);
            self.wrong_key(
                "unknown_component",
                message,
                path,
                near.map(|near| format!("did you mean `{near}`?")),
            );
            return None;
        };
        let (given, loops) = (task.iteration.0.len(), workflow.loops_of(index));
        if given != 0 && given != loops {
            let message = match loops {
                0 => format!("`{id}` stands in no loop"),
                _ => format!("`{id}` stands in {loops} loops, and {given} rounds are named"),
            };
            let whole = format!("write `{id}{}`", "[0]".repeat(loops));
            self.wrong_key("round", message, path, Some(whole));
        }
        Some(index)
    }

    fn mocks(&mut self, workflow: &Workflow, mocks: &BTreeMap<String, Mocked>, path: &[String]) {
        for (key, mocked) in mocks {
            let mut at = path.to_vec();
            at.push(key.clone());
            let Some(index) = self.component(workflow, key, &at) else { continue };
            match mocked {
                Mocked::Always(mock) => self.mock(workflow, index, mock, &at),
                Mocked::Each(list) => {
                    if list.is_empty() {
                        let message = format!("the list of answers for `{key}` is empty");
                        self.wrong_key(
                            "mock",
                            message,
                            &at,
                            Some("give it one, or remove the mock".to_owned()),
                        );
                    }
                    for (number, mock) in list.iter().enumerate() {
                        let mut at = at.clone();
                        at.push(number.to_string());
                        self.mock(workflow, index, mock, &at);
                    }
                }
            }
        }
    }

    fn mock(&mut self, workflow: &Workflow, index: usize, mock: &Mock, path: &[String]) {
        let component = &workflow.components[index];
        let (id, kind) = (&component.id, &*component.kind);
        let given: Vec<&str> = [
            ("output", mock.output.is_some()),
            ("error", mock.error.is_some()),
            ("approve", mock.approve.is_some()),
            ("reject", mock.reject.is_some()),
            ("submit", mock.submit.is_some()),
            ("event", mock.event.is_some()),
            ("expire", mock.expire),
            ("mocks", mock.mocks.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        let fitting: &[&str] = match (component.runs, kind) {
            (Runs::Worker, _) => &["output", "error", "approve", "reject"],
            (Runs::External, _) => {
                let message =
                    format!("`{id}` waits for a worker outside this platform, which is not simulated");
                return self.wrong_key("mock", message, path, None);
            }
            (Runs::Coordinator, "approval") => &["approve", "reject", "expire"],
            (Runs::Coordinator, "human_task") => &["submit", "expire"],
            (Runs::Coordinator, "wait_for_event") => &["event", "expire"],
            (Runs::Coordinator, "sub_workflow") => &["output", "error", "mocks"],
            (Runs::Coordinator, _) => {
                let message =
                    format!("`{id}` ({kind}) is decided by the engine: a mock for it would never be asked");
                return self.wrong_key("mock", message, path, Some("remove it".to_owned()));
            }
        };
        let list = fitting.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match given.as_slice() {
            [one] if fitting.contains(one) => {}
            [one] => {
                let message = format!("`{one}` is no answer to `{id}` ({kind})");
                self.wrong("mock", message, path, &[one], Some(format!("it takes one of {list}")));
            }
            [] => {
                let message = format!("the mock of `{id}` answers nothing");
                self.wrong_key("mock", message, path, Some(format!("give it one of {list}")));
            }
            [_, second, ..] => {
                let message = format!("the mock of `{id}` gives two answers: {}", given.join(" and "));
                let help = "leave one, or write a list of answers, one asking after the other";
                self.wrong("mock", message, path, &[second], Some(help.to_owned()));
            }
        }
        for (number, port) in mock.ports.iter().enumerate() {
            if !component.ports.contains(port) {
                let near = nearest(port, component.ports.iter().map(String::as_str));
                let message = format!("`{id}` has no port `{port}` of its own");
                let help = near.map(|near| format!("did you mean `{near}`?"));
                self.wrong("unknown_port", message, path, &["ports", &number.to_string()], help);
            }
        }
        self.class(mock.error.as_ref().map(|error| error.class.as_str()), path, &["error", "class"]);
        if let Some(Err(error)) = mock.after.as_deref().map(parse_duration) {
            self.wrong("duration", error.to_string(), path, &["after"], None);
        }
        if let Some(inner) = &mock.mocks {
            let name = component.config.constant_field("workflow").and_then(Value::as_str);
            match name.and_then(|name| (self.called)(name)) {
                Some(called) => {
                    let mut at = path.to_vec();
                    at.push("mocks".to_owned());
                    self.mocks(&called, inner, &at);
                }
                None => {
                    let name = name.unwrap_or("it calls");
                    let message = format!("the workflow `{name}` is not among the files of `with`");
                    let help = "name its file under `with`, or give the mock an `output`".to_owned();
                    self.wrong("sub_workflow", message, path, &["mocks"], Some(help));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
