//! What was expected, and what came.

use std::fmt;

use coordinator::simulate::{Seen, Simulated};
use serde_json::{Value, json};
use shared::{
    component::Failure,
    execution::TaskKey,
    workflow::cases::{ComponentStatus, EndStatus, Expect, ExpectComponent, ExpectError, ExpectMore},
};

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Difference {
    /// Where, such as `output.total`.
    pub(crate) path: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, expected, actual } = self;
        write!(f, "{path}\n  expected: {expected}\n  actual:   {actual}")
    }
}

struct Comparing {
    found: Vec<Difference>,
}

impl Comparing {
    fn differ(&mut self, path: &str, expected: impl Into<String>, actual: impl Into<String>) {
        self.found.push(Difference {
            path: path.to_owned(),
            expected: expected.into(),
            actual: actual.into(),
        });
    }

    fn text(&mut self, path: &str, expected: &str, actual: &str) {
        if expected != actual {
            self.differ(path, expected, actual);
        }
    }

    /// Values, down to where they differ. Of a map, `partly` compares only the keys that are expected.
    fn value(&mut self, path: &str, expected: &Value, actual: Option<&Value>, partly: bool) {
        let Some(actual) = actual else {
            return self.differ(path, expected.to_string(), "nothing");
        };
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                for (key, value) in expected {
                    self.value(&format!("{path}.{key}"), value, actual.get(key), partly);
                }
                for (key, value) in actual.iter().filter(|(key, _)| !partly && !expected.contains_key(*key)) {
                    self.differ(&format!("{path}.{key}"), "nothing", value.to_string());
                }
            }
            (Value::Array(expected), Value::Array(actual)) => {
                for (index, value) in expected.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), value, actual.get(index), partly);
                }
                for (index, value) in actual.iter().enumerate().skip(expected.len()) {
                    self.differ(&format!("{path}[{index}]"), "nothing", value.to_string());
                }
            }
            // 1 and 1.0 are one number.
            (Value::Number(expected), Value::Number(actual)) if expected.as_f64() == actual.as_f64() => {}
            _ if expected == actual => {}
            _ => self.differ(path, expected.to_string(), actual.to_string()),
        }
    }

    fn error(&mut self, path: &str, expected: &ExpectError, actual: Option<&Failure>) {
        let Some(actual) = actual else {
            return self.differ(path, json!(expected).to_string(), "no error");
        };
        if let Some(class) = &expected.class {
            self.text(&format!("{path}.class"), class, &actual.class.to_string());
        }
        if let Some(part) = expected.message.as_deref().filter(|part| !actual.message.contains(*part)) {
            self.differ(&format!("{path}.message"), format!("… {part} …"), actual.message.clone());
        }
    }

    fn component(&mut self, path: &str, expected: &ExpectComponent, seen: Option<&Seen>) {
        let nothing = Seen { status: "waiting", ..Seen::default() };
        let seen = seen.unwrap_or(&nothing);
        let more = match expected {
            ExpectComponent::Status(status) => return self.text(path, status.as_str(), seen.status),
            ExpectComponent::More(more) => more,
        };
        if let Some(status) = more.status {
            self.text(&format!("{path}.status"), status.as_str(), seen.status);
        }
        if let Some(attempts) = more.attempts.filter(|attempts| *attempts != seen.attempts) {
            self.differ(&format!("{path}.attempts"), attempts.to_string(), seen.attempts.to_string());
        }
        if let Some(output) = &more.output {
            self.value(&format!("{path}.output"), output, seen.output.as_ref(), false);
        }
        if let Some(error) = &more.error {
            self.error(&format!("{path}.error"), error, seen.failure.as_ref());
        }
        if let Some(input) = &more.called_with {
            self.value(&format!("{path}.called_with"), input, seen.calls.last(), true);
        }
    }
}

/// What a key of an expectation means: one task, or a component in every round.
fn tasks_of<'a>(key: &str, simulated: &'a Simulated) -> Vec<(&'a TaskKey, &'a Seen)> {
    simulated
        .tasks
        .iter()
        .filter(|(task, _)| task.component.as_str() == key || task.to_string() == key)
        .collect()
}

/// Everything that is not as expected. A simulation that did not end is never as expected.
pub(crate) fn differences(expect: &Expect, simulated: &Simulated) -> Vec<Difference> {
    let mut comparing = Comparing { found: Vec::new() };
    for stuck in &simulated.stuck {
        comparing.differ("simulation", "an end", stuck.to_string());
    }
    if !comparing.found.is_empty() {
        return comparing.found;
    }
    if let Some(status) = expect.status {
        comparing.text("status", status.as_str(), simulated.status.as_str());
        // The reason says more than the word.
        if let (Some(last), Some(failure)) = (comparing.found.last_mut(), &simulated.failure) {
            last.actual = format!("{} ({failure})", last.actual);
        }
    }
    if let Some(output) = &expect.output {
        comparing.value("output", output, simulated.output.as_ref(), false);
    }
    if let Some(error) = &expect.error {
        comparing.error("error", error, simulated.failure.as_ref());
    }
    for (key, expected) in &expect.components {
        let tasks = tasks_of(key, simulated);
        if tasks.is_empty() {
            comparing.component(&format!("components.{key}"), expected, None);
        }
        for (task, seen) in tasks {
            comparing.component(&format!("components.{task}"), expected, Some(seen));
        }
    }
    for key in &expect.never_called {
        for (task, seen) in tasks_of(key, simulated) {
            if let Some(call) = seen.calls.last() {
                let actual = format!("called {} times, at last with {call}", seen.calls.len());
                comparing.differ(&format!("never_called.{task}"), "no call", actual);
            }
        }
    }
    comparing.found
}

fn end_status(simulated: &Simulated) -> Option<EndStatus> {
    serde_json::from_value(json!(simulated.status)).ok()
}

fn component_status(seen: &Seen) -> Option<ComponentStatus> {
    serde_json::from_value(json!(seen.status)).ok()
}

/// The same expectations with what came in place of what was expected.
pub(crate) fn actual(expect: &Expect, simulated: &Simulated) -> Expect {
    let error = |expected: &ExpectError, failure: Option<&Failure>| {
        failure.map(|failure| ExpectError {
            class: expected.class.as_ref().map(|_| failure.class.to_string()),
            message: expected.message.as_ref().map(|part| {
                if failure.message.contains(part) { part.clone() } else { failure.message.clone() }
            }),
        })
    };
    let components = expect.components.iter().map(|(key, expected)| {
        let tasks = tasks_of(key, simulated);
        let seen = tasks
            .first()
            .map_or_else(|| Seen { status: "waiting", ..Seen::default() }, |(_, seen)| (*seen).clone());
        let found = match expected {
            ExpectComponent::Status(status) => {
                ExpectComponent::Status(component_status(&seen).unwrap_or(*status))
            }
            ExpectComponent::More(more) => ExpectComponent::More(Box::new(ExpectMore {
                status: more.status.and_then(|_| component_status(&seen)),
                attempts: more.attempts.map(|_| seen.attempts),
                output: more.output.as_ref().and_then(|_| seen.output.clone()),
                error: more.error.as_ref().and_then(|it| error(it, seen.failure.as_ref())),
                called_with: more.called_with.as_ref().and_then(|it| Some(cut(it, seen.calls.last()?))),
            })),
        };
        (key.clone(), found)
    });
    let found = Expect {
        status: expect.status.and_then(|_| end_status(simulated)),
        output: simulated.output.clone().filter(|_| expect.output.is_some()),
        error: expect.error.as_ref().and_then(|it| error(it, simulated.failure.as_ref())),
        components: components.collect(),
        never_called: expect
            .never_called
            .iter()
            .filter(|key| tasks_of(key, simulated).iter().all(|(_, seen)| seen.calls.is_empty()))
            .cloned()
            .collect(),
    };
    // A case must expect something.
    if found == Expect::default() { Expect { status: end_status(simulated), ..found } } else { found }
}

/// Of a map, what the pattern names.
fn cut(pattern: &Value, actual: &Value) -> Value {
    match (pattern, actual) {
        (Value::Object(pattern), Value::Object(actual)) => pattern
            .iter()
            .filter_map(|(key, inner)| Some((key.clone(), cut(inner, actual.get(key)?))))
            .collect(),
        _ => actual.clone(),
    }
}
