//! What starts a workflow by itself: the `triggers:` of a document, read and compiled.

mod config;
mod messages;
mod read;
mod start;

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    limits::{Concurrency, limit_key},
    model::Workflow,
    problem::Problem,
};
use crate::{
    component::{Failure, FailureClass},
    execution::OriginSlot,
    expression::{ComponentView, EvaluationError, Expression, Scope, Template},
    port::triggers::Gather,
    schedule::{Schedule, ScheduleError},
    time::{Timestamp, parse_duration},
};

pub use config::{
    After, Catchup, Decode, EventTrigger, FileTrigger, HookMethod, Manual, OnBad, Overlap, QueueTrigger,
    Respond, ScheduleTrigger, Verify, WebhookTrigger,
};
pub use messages::MAX_MESSAGE;
pub(crate) use read::{FIELDS, canonical};
pub(super) use read::{Place, read};
pub use start::{Why, schedule_event};

/// The most triggers one workflow may have.
pub const MAX_TRIGGERS: usize = 50;

/// One trigger, ready to be used.
#[derive(Debug)]
pub struct Trigger {
    pub id: String,
    pub title: Option<String>,
    pub description: Option<String>,
    /// Whether its author wants it to start anything.
    pub enabled: bool,
    pub source: Source,
    /// The workflow's parameters, made of `event`. Absent for a trigger whose caller gives them.
    pub parameters: Option<Template>,
    /// What gives the key under which an event starts one execution within 7 days.
    pub dedupe_key: Option<Template>,
    pub max_per_hour: Option<u32>,
    /// At most so many of its executions run at once with the key that an event gives; the others wait.
    pub concurrency: Option<Concurrency>,
    /// SHA-256 of what it is, in hex: another one is another trigger.
    pub hash: String,
}

/// What a trigger listens to.
#[derive(Debug)]
pub enum Source {
    Manual(Manual),
    Schedule(Box<Timed>),
    Webhook(Hook),
    Event(Events),
    File(Files),
    Queue(QueueTrigger),
}

/// A schedule and what it does about fires that were missed or overlap.
#[derive(Debug)]
pub struct Timed {
    pub schedule: Schedule,
    pub catchup: Catchup,
    pub catchup_max: u32,
    pub overlap: Overlap,
}

/// A webhook with its limits read.
#[derive(Debug)]
pub struct Hook {
    pub config: WebhookTrigger,
    pub max_body: usize,
    /// So many calls in so much time.
    pub rate: (u32, Duration),
}

/// An event trigger with its filter compiled.
#[derive(Debug)]
pub struct Events {
    pub types: Vec<String>,
    pub source: Option<String>,
    pub filter: Option<Expression>,
    /// How its events wait to start one execution together.
    pub gather: Option<Gather>,
}

/// A file trigger with its texts read.
#[derive(Debug)]
pub struct Files {
    pub config: FileTrigger,
    pub pattern: globset::GlobMatcher,
    pub poll: Duration,
    pub stable_for: Duration,
}

/// Everything known about one trigger type.
#[derive(Clone, Copy)]
pub struct TriggerType {
    /// The type id users write.
    pub kind: &'static str,
    pub aliases: &'static [&'static str],
    /// One sentence for the palette.
    pub summary: &'static str,
    /// The JSON Schema of the config; refuses unknown fields.
    pub schema: fn() -> Value,
    /// A config that validates.
    pub example: fn() -> Value,
}

impl std::fmt::Debug for TriggerType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TriggerType").field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn schema_of<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// Every trigger type there is.
pub const TRIGGER_TYPES: &[TriggerType] = &[
    TriggerType {
        kind: "manual_trigger",
        aliases: &["manual"],
        summary: "Starts when somebody asks.",
        schema: schema_of::<Manual>,
        example: || json!({ "confirm": true }),
    },
    TriggerType {
        kind: "schedule_trigger",
        aliases: &["schedule", "scheduler"],
        summary: "Starts by time.",
        schema: schema_of::<ScheduleTrigger>,
        example: || json!({ "cron": "0 2 * * *", "timezone": "Europe/Berlin" }),
    },
    TriggerType {
        kind: "webhook_trigger",
        aliases: &["webhook", "http_trigger"],
        summary: "Starts by an HTTP call that proves where it comes from.",
        schema: schema_of::<WebhookTrigger>,
        example: || json!({ "path": "/orders", "verify": "github", "secret": "ORDERS_WEBHOOK" }),
    },
    TriggerType {
        kind: "event_trigger",
        aliases: &["event"],
        summary: "Starts on events that are published.",
        schema: schema_of::<EventTrigger>,
        example: || json!({ "types": ["order.*"], "filter": "event.body.total > 100" }),
    },
    TriggerType {
        kind: "file_trigger",
        aliases: &["file", "file_watch"],
        summary: "Starts on files that appear.",
        schema: schema_of::<FileTrigger>,
        example: || json!({ "connector": "files", "folder": "in", "pattern": "*.csv" }),
    },
    TriggerType {
        kind: "queue_trigger",
        aliases: &["queue", "stream_input"],
        summary: "Starts on messages of a broker outside.",
        schema: schema_of::<QueueTrigger>,
        example: || json!({ "connector": "broker", "queue": "orders" }),
    },
];

/// The trigger type with this id or alias, with or without `@1`.
pub fn trigger_type(name: &str) -> Option<&'static TriggerType> {
    let bare = name.strip_suffix("@1").unwrap_or(name);
    TRIGGER_TYPES.iter().find(|kind| kind.kind == bare || kind.aliases.contains(&bare))
}

struct EventScope<'a>(&'a Value);

impl Scope for EventScope<'_> {
    fn root(&self, name: &str) -> Option<Value> {
        self.root_ref(name).cloned()
    }

    fn component(&self, _id: &str) -> Option<ComponentView<'_>> {
        None
    }

    fn root_ref(&self, name: &str) -> Option<&Value> {
        (name == "event").then_some(self.0)
    }
}

fn failed(error: EvaluationError) -> Failure {
    match error {
        EvaluationError::Failed(failure) => failure,
        EvaluationError::Needs(_) => Failure::new(FailureClass::Internal, "an event holds no stored payload"),
    }
}

/// Why an event starts nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfit {
    /// An expression failed.
    Expression(Failure),
    /// The parameters do not fit the workflow.
    Parameters(Vec<Problem>),
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expression(failure) => write!(f, "{failure}"),
            Self::Parameters(problems) => {
                let texts: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
                f.write_str(&texts.join("; "))
            }
        }
    }
}

/// How the types of the platform's own events begin.
pub const LIFECYCLE: &str = "execution.";
/// The ends of executions that can be listened to.
pub const ENDINGS: [&str; 3] = ["execution.completed", "execution.failed", "execution.cancelled"];
/// So many executions may start one another, each by the end of the one before.
pub const MOST_DEEP: u32 = 3;

/// The most characters of a dedupe key.
pub const MAX_KEY: usize = 500;

impl Trigger {
    /// The canonical type.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Manual(_) => "manual_trigger",
            Source::Schedule(_) => "schedule_trigger",
            Source::Webhook(_) => "webhook_trigger",
            Source::Event(_) => "event_trigger",
            Source::File(_) => "file_trigger",
            Source::Queue(_) => "queue_trigger",
        }
    }

    /// Its schedule, if time starts it.
    pub fn timed(&self) -> Option<&Timed> {
        match &self.source {
            Source::Schedule(timed) => Some(timed),
            _ => None,
        }
    }

    /// The workflow's parameters for an event, checked, with defaults filled in.
    pub fn parameters(&self, workflow: &Workflow, event: &Value) -> Result<Map<String, Value>, Unfit> {
        let given = match &self.parameters {
            Some(template) => {
                template.render(&EventScope(event)).map_err(|error| Unfit::Expression(failed(error)))?.value
            }
            None if matches!(self.source, Source::Manual(_)) => {
                event.get("body").cloned().unwrap_or_default()
            }
            None => Value::Object(Map::new()),
        };
        let given = match given {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        workflow.check_parameters(&given).map_err(Unfit::Parameters)
    }

    /// The slot that an execution takes which this event starts.
    pub fn slot(&self, event: &Value) -> Result<Option<OriginSlot>, Unfit> {
        let Some(concurrency) = &self.concurrency else { return Ok(None) };
        let key =
            concurrency.key.render(&EventScope(event)).map_err(|error| Unfit::Expression(failed(error)))?;
        Ok(limit_key(&key.value).map(|key| OriginSlot {
            key,
            limit: concurrency.limit,
            on_conflict: concurrency.on_conflict,
        }))
    }

    /// The key under which an event starts one execution; its id when the author gives none.
    pub fn key(&self, event: &Value) -> Result<Option<String>, Unfit> {
        let value = match &self.dedupe_key {
            Some(template) => {
                template.render(&EventScope(event)).map_err(|error| Unfit::Expression(failed(error)))?.value
            }
            // Ids of events and messages are unique for their source only.
            None if matches!(self.source, Source::Event(_) | Source::Queue(_)) => {
                match (&event["source"], &event["id"]) {
                    (Value::String(source), Value::String(id)) => Value::from(format!("{source} {id}")),
                    _ => Value::Null,
                }
            }
            None => event.get("id").cloned().unwrap_or_default(),
        };
        Ok(match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
        .map(|key| {
            let key = key.replace('\0', "\u{fffd}");
            match &self.source {
                // Both the queue's name and the id may be long: cut, two messages would be one.
                Source::Queue(_) if key.chars().count() > MAX_KEY => {
                    hex::encode(Sha256::digest(key.as_bytes()))
                }
                _ => key.chars().take(MAX_KEY).collect(),
            }
        }))
    }
}

impl Events {
    /// Whether an event of this type and source is meant.
    pub fn names(&self, kind: &str, source: &str) -> bool {
        self.source.as_deref().is_none_or(|wanted| wanted == source)
            && self.types.iter().any(|pattern| fits(pattern, kind))
    }

    /// Whether it wants to hear of the ends of executions: a pattern that says so, not a mere `*`.
    pub fn hears_executions(&self) -> bool {
        self.types.iter().any(|pattern| pattern.starts_with(LIFECYCLE))
    }

    /// Whether the end of an execution of this type and source is meant.
    pub fn names_execution(&self, kind: &str, source: &str) -> bool {
        self.source.as_deref().is_none_or(|wanted| wanted == source)
            && self.types.iter().any(|pattern| pattern.starts_with(LIFECYCLE) && fits(pattern, kind))
    }

    /// Whether an event passes the filter.
    pub fn passes(&self, event: &Value) -> Result<bool, Failure> {
        self.filter
            .as_ref()
            .map_or(Ok(true), |filter| filter.evaluate_bool(&EventScope(event)).map_err(failed))
    }
}

/// Whether a dotted type fits a pattern in which `*` stands for a part, and at the end for all that follow.
fn fits(pattern: &str, kind: &str) -> bool {
    let mut parts = kind.split('.');
    let mut wanted = pattern.split('.').peekable();
    while let Some(want) = wanted.next() {
        let Some(part) = parts.next() else { return false };
        if want == "*" && wanted.peek().is_none() {
            return true;
        }
        if want != "*" && want != part {
            return false;
        }
    }
    parts.next().is_none()
}

impl ScheduleTrigger {
    /// The schedule it describes.
    pub fn schedule(&self) -> Result<Schedule, ScheduleError> {
        let wrong = |field, message: String| ScheduleError { field, message, offset: 0, suggestion: None };
        let zone = crate::schedule::parse_zone(&self.timezone)?;
        let schedule = match (&self.cron, &self.every) {
            (Some(cron), None) => Schedule::cron(cron, zone)?,
            (None, Some(every)) => {
                Schedule::every(parse_duration(every).map_err(|error| wrong("every", error.to_string()))?)?
            }
            (Some(_), Some(_)) => {
                return Err(wrong("every", "a schedule has either `cron` or `every`, not both".to_owned()));
            }
            (None, None) => return Err(wrong("cron", "a schedule needs `cron` or `every`".to_owned())),
        };
        let instant = |field, text: &Option<String>| {
            text.as_deref()
                .map(|text| {
                    text.parse::<Timestamp>().map_err(|_| {
                        wrong(field, format!("`{text}` is not an instant; write 2026-01-31T08:00:00Z"))
                    })
                })
                .transpose()
        };
        let (starts, ends) = (instant("starts", &self.starts)?, instant("ends", &self.ends)?);
        let jitter = parse_duration(&self.jitter).map_err(|error| wrong("jitter", error.to_string()))?;
        schedule.between(starts, ends)?.with_jitter(jitter)
    }
}

/// Reads `512B`, `256KiB`, `1MiB`.
pub fn parse_size(text: &str) -> Option<usize> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let each: usize = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(each)
}

/// Reads `60/min`, `5/s`, `1000/h`.
pub fn parse_rate(text: &str) -> Option<(u32, Duration)> {
    let (count, unit) = text.split_once('/')?;
    let per = match unit.trim() {
        "s" | "sec" => Duration::from_secs(1),
        "m" | "min" => Duration::from_mins(1),
        "h" | "hour" => Duration::from_hours(1),
        _ => return None,
    };
    let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
    Some((count, per))
}

#[cfg(test)]
mod tests;
