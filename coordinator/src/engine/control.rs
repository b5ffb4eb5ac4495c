//! The components that the engine decides itself: they cost no message.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use shared::{
    component::{Failure, FailureClass, LogLine, control},
    execution::{
        Event, Execution, Items, Payload, PersonAsk, Phase, Place, Plan, ROOT, RoundsPlan, TimerKey,
    },
    expression::{EvaluationError, Rendered},
    time::{Timestamp, parse_duration},
    workflow::Component,
};

use super::{
    Loaded, Needs, Turning, kind_of,
    people::{approval, duration, human_task, wait_for_event},
    rates::rate_limit,
    rendered,
    scope::StateScope,
};

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
    Open(Plan),
    Loop(control::Loop, Arc<Value>),
    Call(Rendered),
    Ask(PersonAsk),
    Await(control::WaitForEvent),
    Permit(control::RateLimit),
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
    pub(super) fn control(&mut self, place: Place) -> Result<(), Needs> {
        let verdict = match self.verdict(place) {
            Ok(verdict) => verdict,
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => Verdict::Failed(failure),
        };
        let task = self.key(place);
        match verdict {
            Verdict::Completed { output, ports, log } => {
                self.emit(Event::Decided { task, output: Payload::Inline(output), ports, log });
                self.settled(place)
            }
            Verdict::Failed(failure) => self.decision_failed(place, failure),
            Verdict::FailedAtOnce(failure) => {
                self.decision_failed(place, failure.clone())?;
                self.stop(place.scope, failure);
                Ok(())
            }
            Verdict::Delayed(until) => {
                self.emit(Event::Delayed { task: task.clone(), until });
                self.set_timer(TimerKey::Delay(task), until);
                Ok(())
            }
            Verdict::Terminated(output) => {
                let output = Payload::Inline(output);
                self.emit(Event::Decided { task, output, ports: Vec::new(), log: Vec::new() });
                let failure = Failure::new(FailureClass::Cancelled, "an `end` with `terminate` was reached");
                self.stop(place.scope, failure);
                Ok(())
            }
            Verdict::Open(plan) => self.open(place, plan),
            Verdict::Loop(config, items) => self.open_loop(place, &config, &items),
            Verdict::Call(rendered) => self.call(place, rendered),
            Verdict::Ask(ask) => {
                self.ask_people(place, ask);
                Ok(())
            }
            Verdict::Await(config) => self.await_event(place, config),
            Verdict::Permit(config) => self.ask_permit(place, config),
        }
    }

    fn verdict(&self, place: Place) -> Result<Verdict, EvaluationError> {
        let execution = &*self.execution;
        let workflow = Arc::clone(&execution.workflow);
        let component = &workflow.components[place.index()];
        let now = self.around.now;
        let failed = |failure: Failure| EvaluationError::Failed(failure);
        let mut items = None;
        let rendered = if &*component.kind == "loop" {
            // A list may be far larger than what an expression may give.
            let (rendered, apart) = component
                .config
                .render_apart("items", &StateScope::new(execution, &self.payloads, place.scope))?;
            items = apart;
            rendered
        } else {
            rendered(execution, &self.payloads, place)?
        };
        if &*component.kind == "sub_workflow" {
            return Ok(Verdict::Call(rendered));
        }
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
                    None => Value::Object(outputs_of_needs(execution, &self.payloads, place)?),
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
            "parallel" if component.is_container() => Verdict::Open(Plan::Group),
            "parallel" => {
                let branches = read::<control::Parallel>(config)?.branches;
                Verdict::Completed { output: Value::Null, ports: branches, log: Vec::new() }
            }
            "join" => Verdict::of(Value::Object(outputs_of_needs(execution, &self.payloads, place)?)),
            "rate_limit" => Verdict::Permit(rate_limit(config)?),
            "delay" => delay(&read(config)?, self.around.now),
            "group" => Verdict::Open(Plan::Group),
            "race" => Verdict::Open(Plan::Race),
            "try_catch" => {
                let config: control::TryCatch = read(config)?;
                let mut classes = Vec::new();
                for name in config.classes.iter().flatten() {
                    let class = name.parse::<FailureClass>().map_err(|error| {
                        failed(Failure::new(FailureClass::InvalidConfig, format!("`classes`: {error}")))
                    })?;
                    classes.push(class);
                }
                Verdict::Open(Plan::Try { classes: config.classes.map(|_| classes) })
            }
            "loop" => {
                let config: control::Loop = read(config)?;
                let items = Arc::new(items.unwrap_or_else(|| config.items.clone()));
                Verdict::Loop(config, items)
            }
            "for_loop" => for_loop(&read(config)?),
            "while_loop" => {
                let config: control::WhileLoop = read(config)?;
                Verdict::Open(Plan::While {
                    max_rounds: config.max_iterations,
                    pause: duration("pause", &config.pause).map_err(failed)?,
                    keep_last: config.keep_last,
                })
            }
            "approval" => Verdict::Ask(approval(read(config)?, title(component), now).map_err(failed)?),
            "human_task" => Verdict::Ask(human_task(read(config)?, title(component), now).map_err(failed)?),
            "wait_for_event" => Verdict::Await(wait_for_event(config)?),
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

pub(super) fn read<T: DeserializeOwned>(config: Value) -> Result<T, EvaluationError> {
    // A component without `config` has an empty one.
    let config = if config.is_null() { Value::Object(Map::new()) } else { config };
    serde_json::from_value(config).map_err(|error| {
        EvaluationError::Failed(Failure::new(
            FailureClass::InvalidConfig,
            format!("the config is wrong after its expressions were resolved: {error}"),
        ))
    })
}

fn title(component: &Component) -> String {
    component.title.clone().unwrap_or_else(|| component.id.to_string())
}

/// A loop over numbers.
fn for_loop(config: &control::ForLoop) -> Verdict {
    const MOST: i128 = 100_000;
    let control::ForLoop { from, to, step, max_parallel, on_item_error } = config;
    if *step == 0 {
        return Verdict::invalid(FailureClass::InvalidInput, "`step` is 0: the loop would never end");
    }
    let distance = i128::from(*to) - i128::from(*from);
    if distance != 0 && (distance > 0) != (*step > 0) {
        let message = format!("from {from} by steps of {step} never reaches {to}");
        return Verdict::invalid(FailureClass::InvalidInput, message);
    }
    let count = distance / i128::from(*step) + 1;
    if count > MOST {
        let message = format!("{count} rounds, and a loop has at most {MOST}");
        return Verdict::invalid(FailureClass::LimitExceeded, message);
    }
    Verdict::Open(Plan::Rounds(RoundsPlan {
        count: count as u32,
        max_parallel: (*max_parallel).max(1),
        tolerated: match on_item_error {
            control::OnItemError::Stop => 0,
            control::OnItemError::Collect => u32::MAX,
        },
        items: Items::Range { from: *from, step: *step },
    }))
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
    payloads: &Loaded,
    place: Place,
) -> Result<Map<String, Value>, EvaluationError> {
    let needs = &execution.component(place).needs;
    let places = needs.iter().map(|need| Place { scope: place.scope, component: need.from as u32 });
    outputs(execution, payloads, places)
}

fn outputs(
    execution: &Execution,
    payloads: &Loaded,
    places: impl Iterator<Item = Place>,
) -> Result<Map<String, Value>, EvaluationError> {
    let mut outputs = Map::new();
    let mut missing = Vec::new();
    for place in places {
        let state = execution.at(place);
        if state.phase != Phase::Completed {
            continue;
        }
        let value = match &state.output {
            None => Value::Null,
            Some(Payload::Inline(value)) => value.clone(),
            Some(Payload::Stored(stored)) => match payloads.get(&stored.id) {
                Some(value) => (**value).clone(),
                None => {
                    missing.push(stored.id);
                    continue;
                }
            },
        };
        outputs.insert(execution.component(place).id.to_string(), value);
    }
    if missing.is_empty() { Ok(outputs) } else { Err(EvaluationError::Needs(missing)) }
}

/// What a completed execution gives back: its `output`, else what its `end`s say, else nothing.
pub(super) fn output(execution: &Execution, payloads: &Loaded) -> Result<Option<Payload>, EvaluationError> {
    if let Some(template) = &execution.workflow.output {
        let rendered = template.render(&StateScope::new(execution, payloads, ROOT))?;
        if !rendered.references.is_empty() {
            return Err(EvaluationError::Needs(rendered.references.into_iter().map(|(_, id)| id).collect()));
        }
        return Ok(Some(Payload::Inline(rendered.value)));
    }
    let ends: Vec<Place> = execution
        .places(ROOT)
        .filter(|place| {
            &*execution.component(*place).kind == "end" && execution.at(*place).phase == Phase::Completed
        })
        .collect();
    match ends[..] {
        [] => Ok(None),
        [only] => Ok(execution.at(only).output.clone()),
        _ => {
            let outputs = outputs(execution, payloads, ends.into_iter())?;
            Ok(Some(Payload::Inline(Value::Object(outputs))))
        }
    }
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
