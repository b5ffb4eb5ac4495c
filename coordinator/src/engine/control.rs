//! The components that the engine decides itself: they cost no message.

use std::{collections::HashMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use shared::{
    component::{Failure, FailureClass, LogLine, control},
    execution::{Event, Execution, Payload, Phase, TimerKey},
    expression::EvaluationError,
    ids::PayloadId,
    time::{Timestamp, parse_duration},
};

use super::{NeedsPayloads, Turning, kind_of, scope::StateScope};

/// A log line is cut at this many bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// What a decided component does.
enum Verdict {
    Completed {
        output: Value,
        ports: Vec<String>,
        log: Vec<LogLine>,
    },
    Failed(Failure),
    Delayed(Timestamp),
    /// Completed, and nothing else of the scope goes on.
    Terminated(Value),
    /// Failed, and nothing else of the scope goes on.
    FailedAtOnce(Failure),
}

impl Verdict {
    fn of(output: Value) -> Self {
        Self::Completed { output, ports: Vec::new(), log: Vec::new() }
    }

    fn invalid(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Failed(Failure::new(class, message))
    }
}

impl Turning<'_> {
    /// Decides a component without a worker.
    pub(super) fn control(&mut self, index: usize) -> Result<(), NeedsPayloads> {
        let verdict = match self.verdict(index) {
            Ok(verdict) => verdict,
            Err(EvaluationError::Needs(missing)) => return Err(NeedsPayloads(missing)),
            Err(EvaluationError::Failed(failure)) => Verdict::Failed(failure),
        };
        let task = self.key(index);
        match verdict {
            Verdict::Completed { output, ports, log } => {
                self.emit(Event::Decided { task, output: Payload::Inline(output), ports, log });
                self.settled(index);
            }
            Verdict::Failed(failure) => self.decision_failed(index, failure),
            Verdict::FailedAtOnce(failure) => {
                self.decision_failed(index, failure.clone());
                self.stop(failure);
            }
            Verdict::Delayed(until) => {
                self.emit(Event::Delayed { task: task.clone(), until });
                self.set_timer(TimerKey::Delay(task), until);
            }
            Verdict::Terminated(output) => {
                self.emit(Event::Decided {
                    task,
                    output: Payload::Inline(output),
                    ports: Vec::new(),
                    log: Vec::new(),
                });
                self.stop(Failure::new(FailureClass::Cancelled, "an `end` with `terminate` was reached"));
            }
        }
        Ok(())
    }

    fn verdict(&self, index: usize) -> Result<Verdict, EvaluationError> {
        let execution = &*self.execution;
        let workflow = Arc::clone(&execution.workflow);
        let component = &workflow.components[index];
        let scope = StateScope::new(execution, self.around.payloads);
        let rendered = component.config.render(&scope)?;
        if !rendered.references.is_empty() {
            // What is decided here looks at its values, so a stored one must be loaded.
            return Err(EvaluationError::Needs(rendered.references.into_iter().map(|(_, id)| id).collect()));
        }
        let config = rendered.value;
        Ok(match &*component.kind {
            "start" => {
                let config: control::Start = read(config)?;
                let mut output = config.defaults;
                output.extend(execution.accepted.parameters.clone());
                Verdict::of(Value::Object(output))
            }
            "end" => {
                let config: control::End = read(config)?;
                if config.outcome == control::EndOutcome::Failed {
                    let message =
                        config.message.unwrap_or_else(|| "the workflow reached a failed end".to_owned());
                    let failure = Failure::new(FailureClass::User(None), message);
                    return Ok(if config.terminate {
                        Verdict::FailedAtOnce(failure)
                    } else {
                        Verdict::Failed(failure)
                    });
                }
                let output = match config.output {
                    Some(output) => output,
                    None => Value::Object(outputs_of_needs(execution, self.around.payloads, index)?),
                };
                if config.terminate { Verdict::Terminated(output) } else { Verdict::of(output) }
            }
            "noop" => Verdict::of(read::<control::Noop>(config)?.value),
            "log" => {
                let config: control::Log = read(config)?;
                let line = LogLine {
                    at: self.around.now,
                    level: config.level,
                    message: cut(config.message),
                    fields: (!config.fields.is_empty()).then_some(Value::Object(config.fields)),
                };
                Verdict::Completed { output: Value::Null, ports: Vec::new(), log: vec![line] }
            }
            "set_variables" => Verdict::of(Value::Object(read::<control::SetVariables>(config)?.values)),
            "decision" => match read::<control::Decision>(config)?.condition {
                Value::Bool(verdict) => Verdict::Completed {
                    output: Value::Bool(verdict),
                    ports: vec![if verdict { "true" } else { "false" }.to_owned()],
                    log: Vec::new(),
                },
                other => Verdict::invalid(
                    FailureClass::InvalidExpression,
                    format!("`condition` gives {}, not true or false", kind_of(&other)),
                ),
            },
            "switch" => {
                // A value that turned out to be null is a value, and leaves by `default`.
                let value = config.get("value").cloned();
                switch(value.as_ref(), &read(config)?)
            }
            "parallel" => {
                let branches = read::<control::Parallel>(config)?.branches;
                Verdict::Completed { output: Value::Null, ports: branches, log: Vec::new() }
            }
            "join" => Verdict::of(Value::Object(outputs_of_needs(execution, self.around.payloads, index)?)),
            "delay" => delay(&read(config)?, self.around.now),
            "fail" => {
                let config: control::Fail = read(config)?;
                match config.class.parse() {
                    Ok(class @ FailureClass::User(_)) => Verdict::Failed(Failure {
                        details: config.details,
                        ..Failure::new(class, config.message)
                    }),
                    _ => Verdict::invalid(
                        FailureClass::InvalidConfig,
                        format!("`{}` is no class of your own; write `user` or `user.<id>`", config.class),
                    ),
                }
            }
            other => {
                Verdict::invalid(FailureClass::Internal, format!("this coordinator cannot decide `{other}`"))
            }
        })
    }
}

fn read<T: DeserializeOwned>(config: Value) -> Result<T, EvaluationError> {
    // A component without `config` has an empty one.
    let config = if config.is_null() { Value::Object(Map::new()) } else { config };
    serde_json::from_value(config).map_err(|error| {
        EvaluationError::Failed(Failure::new(
            FailureClass::InvalidConfig,
            format!("the config is wrong after its expressions were resolved: {error}"),
        ))
    })
}

/// The cases are asked in the order written.
fn switch(value: Option<&Value>, config: &control::Switch) -> Verdict {
    let mut ports = Vec::new();
    for (port, case) in &config.cases {
        let matches = match (value, case) {
            (Some(value), case) => equal(value, case),
            (None, Value::Bool(verdict)) => *verdict,
            (None, other) => {
                return Verdict::invalid(
                    FailureClass::InvalidExpression,
                    format!("the case `{port}` gives {}, not true or false", kind_of(other)),
                );
            }
        };
        if matches {
            ports.push(port.clone());
            if config.matching == control::SwitchMatch::First {
                break;
            }
        }
    }
    if ports.is_empty() {
        ports.push("default".to_owned());
    }
    let output = Value::from(ports.clone());
    Verdict::Completed { output, ports, log: Vec::new() }
}

/// Equal values of equal types; `1` and `1.0` are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) if a.is_f64() != b.is_f64() => x.total_cmp(&y).is_eq(),
        _ => a == b,
    }
}

fn delay(config: &control::Delay, now: Timestamp) -> Verdict {
    const LONGEST_DAYS: u64 = 365;
    let longest = std::time::Duration::from_secs(LONGEST_DAYS * 86_400);
    let until = match (&config.duration, &config.until) {
        (Some(text), None) => match parse_duration(text) {
            Ok(duration) => now.after(duration),
            Err(error) => return Verdict::invalid(FailureClass::InvalidConfig, format!("`for`: {error}")),
        },
        (None, Some(text)) => match text.parse::<Timestamp>() {
            Ok(until) => until,
            Err(_) => {
                return Verdict::invalid(
                    FailureClass::InvalidConfig,
                    format!(
                        "`until`: `{text}` is not an instant; write RFC 3339, such as 2026-01-31T09:00:00Z"
                    ),
                );
            }
        },
        _ => return Verdict::invalid(FailureClass::InvalidConfig, "give either `for` or `until`"),
    };
    if until.since(now) > longest {
        return Verdict::invalid(
            FailureClass::LimitExceeded,
            format!("a delay lasts at most {LONGEST_DAYS} days; {until} is further away"),
        );
    }
    if until <= now {
        return Verdict::of(serde_json::json!({ "until": until.to_string() }));
    }
    Verdict::Delayed(until)
}

/// The output of each completed component that this one needs, by id.
fn outputs_of_needs(
    execution: &Execution,
    payloads: &HashMap<PayloadId, Value>,
    index: usize,
) -> Result<Map<String, Value>, EvaluationError> {
    let mut outputs = Map::new();
    let mut missing = Vec::new();
    for need in &execution.workflow.components[index].needs {
        let state = &execution.components[need.from];
        if state.phase != Phase::Completed {
            continue;
        }
        let id = execution.workflow.components[need.from].id.to_string();
        match value_of(state.output.as_ref(), payloads) {
            Ok(value) => {
                outputs.insert(id, value);
            }
            Err(payload) => missing.push(payload),
        }
    }
    if missing.is_empty() { Ok(outputs) } else { Err(EvaluationError::Needs(missing)) }
}

fn value_of(output: Option<&Payload>, payloads: &HashMap<PayloadId, Value>) -> Result<Value, PayloadId> {
    match output {
        None => Ok(Value::Null),
        Some(Payload::Inline(value)) => Ok(value.clone()),
        Some(Payload::Stored(stored)) => payloads.get(&stored.id).cloned().ok_or(stored.id),
    }
}

/// What a completed execution gives back: its `output`, else what its `end`s say, else nothing.
pub(super) fn output(
    execution: &Execution,
    payloads: &HashMap<PayloadId, Value>,
) -> Result<Option<Payload>, EvaluationError> {
    if let Some(template) = &execution.workflow.output {
        let rendered = template.render(&StateScope::new(execution, payloads))?;
        if !rendered.references.is_empty() {
            return Err(EvaluationError::Needs(rendered.references.into_iter().map(|(_, id)| id).collect()));
        }
        return Ok(Some(Payload::Inline(rendered.value)));
    }
    let mut ends = execution
        .workflow
        .components
        .iter()
        .zip(&execution.components)
        .filter(|(component, state)| &*component.kind == "end" && state.phase == Phase::Completed);
    let Some((_, first)) = ends.next() else { return Ok(None) };
    if ends.next().is_none() {
        return Ok(first.output.clone());
    }
    let mut outputs = Map::new();
    for (component, state) in execution.workflow.components.iter().zip(&execution.components) {
        if &*component.kind == "end" && state.phase == Phase::Completed {
            let value =
                value_of(state.output.as_ref(), payloads).map_err(|id| EvaluationError::Needs(vec![id]))?;
            outputs.insert(component.id.to_string(), value);
        }
    }
    Ok(Some(Payload::Inline(Value::Object(outputs))))
}

fn cut(mut message: String) -> String {
    if message.len() > LONGEST_LINE {
        let mut end = LONGEST_LINE;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" … (cut)");
    }
    // A log is read in terminals: control characters would be obeyed there.
    if message.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        message = message
            .chars()
            .flat_map(|c| {
                let escape = c.is_control() && c != '\n' && c != '\t';
                let text = if escape { c.escape_default().to_string() } else { c.to_string() };
                text.chars().collect::<Vec<_>>()
            })
            .collect();
    }
    message
}
