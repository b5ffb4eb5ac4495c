//! Reading `triggers:`; every mistake at once.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    ENDINGS, EventTrigger, Events, FileTrigger, Files, Hook, LIFECYCLE, MAX_TRIGGERS, Manual, QueueTrigger,
    ScheduleTrigger, Source, TRIGGER_TYPES, Timed, Trigger, TriggerType, Verify, WebhookTrigger, fits,
    parse_rate, parse_size, trigger_type,
};
use crate::{
    component::Field,
    expression::{Expression, Template, Use},
    port::triggers::Gather,
    time::parse_duration,
    workflow::{
        canonical::CONCURRENCY,
        limits::{Concurrency, OnConflict},
        model::Parameter,
        problem::nearest,
        schema::{self, shown},
    },
};

/// The fields of a trigger, in canonical order.
pub(crate) const FIELDS: &[&str] = &[
    "type",
    "title",
    "description",
    "enabled",
    "config",
    "parameters",
    "dedupe_key",
    "max_per_hour",
    "concurrency",
];
/// How the names begin of what the platform itself and RabbitMQ use.
const OWN_QUEUES: [&str; 3] = ["apg.", "apg:", "amq."];
/// Fields of a trigger that may also stand in its config.
const EITHER: [&str; 2] = ["dedupe_key", "max_per_hour"];

/// Where a mistake is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workflow) enum Place {
    Key,
    Value,
    /// Inside the text, so many bytes from its beginning.
    Inside(usize),
}

/// A mistake before it is looked up in the text.
#[derive(Debug, Clone)]
pub(in crate::workflow) struct Mistake {
    pub(in crate::workflow) code: &'static str,
    pub(in crate::workflow) message: String,
    /// From the document's root.
    pub(in crate::workflow) path: Vec<String>,
    pub(in crate::workflow) place: Place,
    pub(in crate::workflow) suggestion: Option<String>,
    pub(in crate::workflow) is_warning: bool,
}

impl Mistake {
    fn at_key(mut self) -> Self {
        self.place = Place::Key;
        self
    }

    fn inside(mut self, offset: usize) -> Self {
        self.place = Place::Inside(offset);
        self
    }

    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    fn maybe(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

fn mistake(code: &'static str, path: &[&str], message: impl Into<String>) -> Mistake {
    Mistake {
        code,
        message: message.into(),
        path: path.iter().map(ToString::to_string).collect(),
        place: Place::Value,
        suggestion: None,
        is_warning: false,
    }
}

fn names(list: &[&str]) -> String {
    list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Reads the value of `triggers:`. With mistakes, what could be read is not to be used.
pub(in crate::workflow) fn read(value: &Value, parameters: &[Parameter]) -> (Vec<Trigger>, Vec<Mistake>) {
    let mut reader = Reader { parameters, found: Vec::new(), is_batch: false };
    let triggers = reader.triggers(value);
    (triggers, reader.found)
}

struct Reader<'a> {
    parameters: &'a [Parameter],
    found: Vec<Mistake>,
    /// Whether `event` is what a batch starts with.
    is_batch: bool,
}

impl Reader<'_> {
    fn report(&mut self, mistake: Mistake) {
        self.found.push(mistake);
    }

    fn triggers(&mut self, value: &Value) -> Vec<Trigger> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return Vec::new(),
            other => {
                self.report(
                    mistake("field_type", &["triggers"], format!("expected a map, got {}", shown(other)))
                        .suggest("write `nightly: { type: schedule, config: { cron: \"0 2 * * *\" } }`"),
                );
                return Vec::new();
            }
        };
        if map.len() > MAX_TRIGGERS {
            self.report(
                mistake(
                    "too_many_triggers",
                    &["triggers"],
                    format!("a workflow has at most {MAX_TRIGGERS} triggers"),
                )
                .at_key(),
            );
            return Vec::new();
        }
        map.iter().filter_map(|(id, value)| self.trigger(id, value)).collect()
    }

    fn trigger(&mut self, id: &str, value: &Value) -> Option<Trigger> {
        let path = ["triggers", id];
        let bytes = id.as_bytes();
        let formed = (1..=64).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !formed {
            let message = format!(
                "`{id}` cannot be the id of a trigger: use a-z, 0-9 and _, a letter first, at most 64"
            );
            self.report(mistake("id_form", &path, message).at_key());
        }
        let Value::Object(fields) = value else {
            self.report(
                mistake("field_type", &path, format!("expected a map, got {}", shown(value)))
                    .suggest("write `{ type: schedule, config: { cron: \"0 2 * * *\" } }`"),
            );
            return None;
        };
        for key in fields.keys().filter(|key| !FIELDS.contains(&key.as_str())) {
            let found = mistake(
                "unknown_field",
                &["triggers", id, key],
                format!("unknown field `{key}` of a trigger"),
            );
            let near = nearest(key, FIELDS.iter().copied());
            self.report(match near {
                Some(near) => found.suggest(format!("did you mean `{near}`?")).at_key(),
                None => found.suggest(format!("the fields are {}", names(FIELDS))).at_key(),
            });
        }
        let kind = self.kind(fields, &path)?;
        let before = self.found.len();
        let none = Map::new();
        let config = match fields.get("config") {
            Some(Value::Object(config)) => config,
            None | Some(Value::Null) => &none,
            Some(other) => {
                self.report(mistake(
                    "field_type",
                    &["triggers", id, "config"],
                    format!("expected a map, got {}", shown(other)),
                ));
                return None;
            }
        };
        let source = self.source(kind, id, config);
        let text = |this: &mut Self, name: &str| match fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => {
                this.report(mistake(
                    "field_type",
                    &["triggers", id, name],
                    format!("expected text, got {}", shown(other)),
                ));
                None
            }
        };
        let (title, description) = (text(self, "title"), text(self, "description"));
        let enabled = match fields.get("enabled") {
            None => true,
            Some(Value::Bool(enabled)) => *enabled,
            Some(other) => {
                self.report(mistake(
                    "field_type",
                    &["triggers", id, "enabled"],
                    format!("expected true or false, got {}", shown(other)),
                ));
                true
            }
        };
        // A key is of each event that comes in, parameters and places of what starts.
        let is_batch =
            matches!(&source, Some(Source::Event(Events { gather: Some(Gather::Batch { .. }), .. })));
        self.is_batch = is_batch;
        let parameters = self.given_parameters(id, fields, source.as_ref());
        self.is_batch = false;
        let (value, key_path) = self.either(id, fields, config, "dedupe_key");
        let dedupe_key = value.map(|value| {
            if !value.is_string() {
                self.found.push(Mistake {
                    path: key_path.clone(),
                    ..mistake("field_type", &[], format!("expected text, got {}", shown(value)))
                });
            }
            self.template(value, &key_path)
        });
        let (value, limit_path) = self.either(id, fields, config, "max_per_hour");
        let max_per_hour = value.and_then(|value| {
            let number = value.as_u64().filter(|number| (1..=1_000_000).contains(number));
            if number.is_none() {
                let message = format!("expected a whole number from 1 to 1000000, got {}", shown(value));
                self.found.push(Mistake { path: limit_path, ..mistake("field_value", &[], message) });
            }
            number.map(|number| number as u32)
        });
        self.is_batch = is_batch;
        let concurrency = fields.get("concurrency").and_then(|value| self.concurrency(id, value));
        self.is_batch = false;
        if self.found[before..].iter().any(|found| !found.is_warning) {
            return None;
        }
        let mut own = fields.clone();
        for name in ["title", "description"] {
            own.shift_remove(name);
        }
        let hash = hex::encode(Sha256::digest(canonical_one(&own).to_string().as_bytes()));
        Some(Trigger {
            id: id.to_owned(),
            title,
            description,
            enabled,
            source: source?,
            parameters,
            dedupe_key,
            max_per_hour,
            concurrency,
            hash,
        })
    }

    /// How many of its executions with the same key run at once.
    fn concurrency(&mut self, id: &str, value: &Value) -> Option<Concurrency> {
        let path = ["triggers", id, "concurrency"];
        let Value::Object(fields) = value else {
            self.report(
                mistake("field_type", &path, format!("expected a map, got {}", shown(value)))
                    .suggest("write `{ key: \"${{ event.body.customer }}\", limit: 1 }`"),
            );
            return None;
        };
        for key in fields.keys().filter(|key| !CONCURRENCY.contains(&key.as_str())) {
            let found = mistake(
                "unknown_field",
                &[path[0], path[1], path[2], key],
                format!("unknown field `{key}` of `concurrency`"),
            );
            self.report(found.suggest(format!("the fields are {}", names(CONCURRENCY))).at_key());
        }
        let limit = match fields.get("limit") {
            None => 1,
            Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
                Some(limit) if limit > 0 => limit,
                _ => {
                    let message = format!("expected a whole number from 1, got {}", shown(value));
                    self.report(mistake("field_value", &[path[0], path[1], path[2], "limit"], message));
                    return None;
                }
            },
        };
        let on_conflict = match fields.get("on_conflict") {
            None => OnConflict::Queue,
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(OnConflict::Fair) => {
                    let place = [path[0], path[1], path[2], "on_conflict"];
                    self.report(
                        mistake("field_value", &place, "the events of a trigger do not take turns by key")
                            .suggest("set `concurrency` with `fair` on the workflow"),
                    );
                    return None;
                }
                Ok(on_conflict) => on_conflict,
                Err(_) => {
                    let place = [path[0], path[1], path[2], "on_conflict"];
                    let message = format!(
                        "expected one of `queue`, `drop_new`, `cancel_running`, got {}",
                        shown(value)
                    );
                    self.report(mistake("field_value", &place, message));
                    return None;
                }
            },
        };
        let Some(key) = fields.get("key") else {
            self.report(
                mistake("missing_field", &path, "`key` is required")
                    .at_key()
                    .suggest("add a text, the same for all executions or made of `event`"),
            );
            return None;
        };
        let key_path = [path[0], path[1], path[2], "key"];
        if !key.is_string() {
            self.report(mistake("field_type", &key_path, format!("expected text, got {}", shown(key))));
        }
        Some(Concurrency { key: self.template(key, &key_path.map(str::to_owned)), limit, on_conflict })
    }

    fn kind(&mut self, fields: &Map<String, Value>, path: &[&str; 2]) -> Option<&'static TriggerType> {
        let whole = [path[0], path[1], "type"];
        let all =
            || TRIGGER_TYPES.iter().flat_map(|kind| std::iter::once(&kind.kind).chain(kind.aliases)).copied();
        match fields.get("type") {
            Some(Value::String(name)) => {
                let found = trigger_type(name);
                if found.is_none() {
                    let near = nearest(name, all());
                    self.report(
                        mistake("unknown_type", &whole, format!("there is no trigger type `{name}`"))
                            .suggest(near.map_or_else(
                                || {
                                    let kinds: Vec<&str> =
                                        TRIGGER_TYPES.iter().map(|kind| kind.kind).collect();
                                    format!("the trigger types are {}", names(&kinds))
                                },
                                |near| format!("did you mean `{near}`?"),
                            )),
                    );
                }
                found
            }
            Some(other) => {
                self.report(mistake("field_type", &whole, format!("expected text, got {}", shown(other))));
                None
            }
            None => {
                self.report(
                    mistake("missing_field", path, "`type` is required")
                        .at_key()
                        .suggest("add `type: schedule`"),
                );
                None
            }
        }
    }

    /// A field that may stand beside the config or in it.
    fn either<'v>(
        &mut self,
        id: &str,
        fields: &'v Map<String, Value>,
        config: &'v Map<String, Value>,
        name: &str,
    ) -> (Option<&'v Value>, Vec<String>) {
        let path = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
        match (fields.get(name), config.get(name)) {
            (Some(value), None) => (Some(value), path(&["triggers", id, name])),
            (None, Some(value)) => (Some(value), path(&["triggers", id, "config", name])),
            (Some(value), Some(_)) => {
                self.report(
                    mistake(
                        "duplicate_field",
                        &["triggers", id, "config", name],
                        format!("`{name}` is given twice: beside `config` and in it"),
                    )
                    .at_key()
                    .suggest("remove one of them"),
                );
                (Some(value), path(&["triggers", id, name]))
            }
            (None, None) => (None, Vec::new()),
        }
    }

    fn template(&mut self, value: &Value, path: &[String]) -> Template {
        let (template, errors, uses) = Template::compile_with_uses(value, &|_| Field::Template);
        for (rest, error) in errors {
            let found =
                mistake("expression", &[], error.message).inside(error.offset).maybe(error.suggestion);
            self.found.push(Mistake { path: [path, &rest].concat(), ..found });
        }
        for used in &uses {
            self.uses(used, path);
        }
        template
    }

    /// Only `event` is known before an execution is.
    fn uses(&mut self, used: &Use, base: &[String]) {
        const OF_A_BATCH: &[&str] = &["id", "type", "source", "time", "body", "headers", "batch", "count"];
        let fields = if self.is_batch { OF_A_BATCH } else { &OF_A_BATCH[..6] };
        for reference in &used.references {
            let path = [base, &used.path].concat();
            let offset = used.offset + reference.start;
            if reference.root == "event" {
                if let Some(crate::expression::Segment::Key(field)) = reference.path.first()
                    && !fields.contains(&field.as_str())
                {
                    let near = nearest(field, fields.iter().copied());
                    let found =
                        mistake("reference", &[], format!("`event` has no field `{field}`")).inside(offset);
                    let found = found.suggest(near.map_or_else(
                        || format!("its fields are {}; what was sent is in `event.body`", names(fields)),
                        |near| format!("did you mean `event.{near}`?"),
                    ));
                    self.found.push(Mistake { path, ..found });
                }
            } else {
                let found =
                    mistake("unknown_root", &[], format!("`{}` is not known in a trigger", reference.root))
                        .inside(offset)
                        .suggest("the root is `event`: `event.body`, `event.id`, `event.type`, `event.time`");
                self.found.push(Mistake { path, ..found });
            }
        }
    }

    fn given_parameters(
        &mut self,
        id: &str,
        fields: &Map<String, Value>,
        source: Option<&Source>,
    ) -> Option<Template> {
        let base = ["triggers".to_owned(), id.to_owned(), "parameters".to_owned()];
        let none = Map::new();
        let given = match fields.get("parameters") {
            Some(Value::Object(given)) => Some(given),
            None | Some(Value::Null) => None,
            Some(other) => {
                self.report(mistake(
                    "field_type",
                    &["triggers", id, "parameters"],
                    format!("expected a map, got {}", shown(other)),
                ));
                return None;
            }
        };
        // The caller of a manual trigger gives the parameters.
        if given.is_none() && matches!(source, None | Some(Source::Manual(_))) {
            return None;
        }
        let map = given.unwrap_or(&none);
        for (name, value) in map {
            let path = ["triggers", id, "parameters", name.as_str()];
            let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == *name) else {
                let near = nearest(name, self.parameters.iter().map(|parameter| parameter.name.as_str()));
                self.report(
                    mistake("unknown_parameter", &path, format!("the workflow has no parameter `{name}`"))
                        .at_key()
                        .suggest(near.map_or_else(
                            || format!("add it under `parameters:`: `{name}: {{ type: string }}`"),
                            |near| format!("did you mean `{near}`?"),
                        )),
                );
                continue;
            };
            for wrong in schema::check(&parameter.schema, value, Some(&|_: &[&str]| Field::Template)) {
                let mut found =
                    mistake("parameter", &[], format!("`{name}`: {}", wrong.message)).maybe(wrong.suggestion);
                found.path = [path.map(str::to_owned).to_vec(), wrong.path].concat();
                self.report(found);
            }
        }
        for parameter in self.parameters {
            if parameter.required && parameter.default.is_none() && !map.contains_key(&parameter.name) {
                let name = &parameter.name;
                self.report(
                    mistake(
                        "missing_parameter",
                        &["triggers", id],
                        format!("the parameter `{name}` is required, and the trigger gives none"),
                    )
                    .at_key()
                    .suggest(format!("add `parameters: {{ {name}: \"${{{{ event.body.{name} }}}}\" }}`")),
                );
            }
        }
        Some(self.template(&Value::Object(map.clone()), &base))
    }

    /// The config as its type, checked against the schema.
    fn config<T: DeserializeOwned>(
        &mut self,
        kind: &TriggerType,
        id: &str,
        config: &Map<String, Value>,
    ) -> Option<T> {
        let mut own = config.clone();
        for name in EITHER {
            own.shift_remove(name);
        }
        let value = Value::Object(own);
        let before = self.found.len();
        for wrong in schema::check(&(kind.schema)(), &value, None) {
            let mut found = mistake(wrong.code, &[], wrong.message).maybe(wrong.suggestion);
            found.path = ["triggers".to_owned(), id.to_owned(), "config".to_owned()].into();
            found.path.extend(wrong.path);
            self.report(if wrong.at_key { found.at_key() } else { found });
        }
        fn open(value: &Value, path: &mut Vec<String>, found: &mut Vec<Mistake>) {
            match value {
                Value::String(text) => {
                    if let Some(at) = text.find("${{") {
                        let wrong = mistake(
                            "expression",
                            &[],
                            "a trigger's config is fixed when it is saved and takes no `${{ }}`",
                        );
                        let wrong = match text.split_once("secrets.") {
                            Some((_, rest)) => {
                                let name: String = rest
                                    .chars()
                                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                                    .collect();
                                wrong.suggest(format!("write the bare name of the secret: `{name}`"))
                            }
                            None => wrong.suggest("expressions stand in `parameters` and `dedupe_key`"),
                        };
                        found.push(Mistake { path: path.clone(), ..wrong.inside(at) });
                    }
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        path.push(index.to_string());
                        open(item, path, found);
                        path.pop();
                    }
                }
                Value::Object(map) => {
                    for (name, item) in map {
                        path.push(name.clone());
                        open(item, path, found);
                        path.pop();
                    }
                }
                _ => {}
            }
        }
        let mut path = ["triggers", id, "config"].map(str::to_owned).to_vec();
        open(&value, &mut path, &mut self.found);
        if self.found.len() > before {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(config) => Some(config),
            Err(error) => {
                self.report(mistake("config", &["triggers", id, "config"], error.to_string()));
                None
            }
        }
    }

    fn source(&mut self, kind: &TriggerType, id: &str, config: &Map<String, Value>) -> Option<Source> {
        match kind.kind {
            "manual_trigger" => self.config::<Manual>(kind, id, config).map(Source::Manual),
            "schedule_trigger" => {
                let read = self.config::<ScheduleTrigger>(kind, id, config)?;
                match read.schedule() {
                    Ok(schedule) => Some(Source::Schedule(Box::new(Timed {
                        schedule,
                        catchup: read.catchup,
                        catchup_max: read.catchup_max,
                        overlap: read.overlap,
                    }))),
                    Err(error) => {
                        let given = config.contains_key(error.field);
                        let path: Vec<&str> = if given {
                            vec!["triggers", id, "config", error.field]
                        } else {
                            vec!["triggers", id]
                        };
                        let found = mistake("schedule", &path, error.message).maybe(error.suggestion);
                        self.report(if given { found.inside(error.offset) } else { found.at_key() });
                        None
                    }
                }
            }
            "webhook_trigger" => self.webhook(kind, id, config),
            "event_trigger" => self.event(kind, id, config),
            "file_trigger" => self.file(kind, id, config),
            _ => self.queue(kind, id, config),
        }
    }

    fn webhook(&mut self, kind: &TriggerType, id: &str, config: &Map<String, Value>) -> Option<Source> {
        let read = self.config::<WebhookTrigger>(kind, id, config)?;
        let at = |name| ["triggers", id, "config", name];
        let is_name = |name: &str| {
            (1..=100).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        match &read.secret {
            Some(name) if !is_name(name) => self.report(
                mistake("secret", &at("secret"), "this is not the name of a secret")
                    .suggest("write its name in letters, digits and _, such as `ORDERS_WEBHOOK`; never the secret itself"),
            ),
            Some(_) => {}
            None => {
                let mut found = mistake(
                    "no_secret",
                    &["triggers", id],
                    "without a `secret` this webhook cannot be activated: it refuses every call",
                )
                .at_key()
                .suggest("add `secret: NAME`, the name of a secret");
                found.is_warning = true;
                self.report(found);
            }
        }
        if let Some(header) = &read.header {
            if !matches!(read.verify, Verify::Hmac | Verify::ApiKey) {
                self.report(
                    mistake("config", &at("header"), "only `hmac` and `api_key` take another header")
                        .at_key()
                        .suggest("remove it"),
                );
            }
            let token = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            if header.is_empty() || !header.bytes().all(token) {
                self.report(mistake("config_value", &at("header"), format!("`{header}` is not a header")));
            }
        }
        let max_body = parse_size(&read.max_body).filter(|size| (1..=1024 * 1024).contains(size));
        if max_body.is_none() {
            self.report(
                mistake(
                    "config_value",
                    &at("max_body"),
                    format!("`{}` is no size from 1B to 1MiB", read.max_body),
                )
                .suggest("write a number and a unit: 512B, 256KiB, 1MiB"),
            );
        }
        let rate = parse_rate(&read.rate_limit);
        if rate.is_none() {
            self.report(
                mistake("config_value", &at("rate_limit"), format!("`{}` is no rate", read.rate_limit))
                    .suggest("write `60/min`, `5/s` or `1000/h`"),
            );
        }
        let (kind, parameters) = read.content_type.split_once('/').unwrap_or_default();
        if kind.is_empty() || parameters.is_empty() || read.content_type.contains([';', ' ']) {
            let message = format!("`{}` is no content type", read.content_type);
            self.report(
                mistake("config_value", &at("content_type"), message).suggest("write `application/json`"),
            );
        }
        Some(Source::Webhook(Hook { max_body: max_body?, rate: rate?, config: read }))
    }

    fn event(&mut self, kind: &TriggerType, id: &str, config: &Map<String, Value>) -> Option<Source> {
        let read = self.config::<EventTrigger>(kind, id, config)?;
        let gather = self.gather(id, &read);
        for (index, pattern) in read.types.iter().enumerate() {
            let index = index.to_string();
            let path = ["triggers", id, "config", "types", &index];
            let part = |part: &str| {
                part == "*"
                    || (!part.is_empty()
                        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
            };
            if !pattern.split('.').all(part) || pattern.len() > 200 {
                self.report(
                    mistake("event_pattern", &path, format!("`{pattern}` is no pattern of event types"))
                        .suggest("write names with dots between them, `*` for one part: `order.*`"),
                );
            } else if pattern.starts_with(LIFECYCLE) && !ENDINGS.iter().any(|kind| fits(pattern, kind)) {
                let near = nearest(pattern, ENDINGS.into_iter());
                self.report(
                    mistake("event_pattern", &path, format!("the platform sends no event `{pattern}`"))
                        .suggest(near.map_or_else(
                            || format!("it sends {}; `execution.*` stands for all", names(&ENDINGS)),
                            |near| format!("did you mean `{near}`?"),
                        )),
                );
            }
        }
        let filter = read.filter.as_deref().and_then(|source| {
            let path = ["triggers", id, "config", "filter"].map(str::to_owned);
            match Expression::compile(source) {
                Ok(filter) => {
                    let used = Use {
                        path: Vec::new(),
                        offset: 0,
                        source: filter.source.clone(),
                        references: filter.references().to_vec(),
                        is_row: false,
                    };
                    self.uses(&used, &path);
                    Some(filter)
                }
                Err(error) => {
                    let found = mistake("expression", &[], error.message)
                        .inside(error.offset)
                        .maybe(error.suggestion);
                    self.found.push(Mistake { path: path.to_vec(), ..found });
                    None
                }
            }
        });
        Some(Source::Event(Events { types: read.types, source: read.source, filter, gather }))
    }

    fn gather(&mut self, id: &str, read: &EventTrigger) -> Option<Gather> {
        let least = Duration::from_secs(1);
        let at = |name| ["triggers", id, "config", name];
        let wrong = |name, message: &str, mend: &str| {
            mistake("config_value", &at(name), message.to_owned()).at_key().suggest(mend)
        };
        match (&read.debounce, &read.batch_within) {
            (Some(_), Some(_)) => {
                self.report(wrong(
                    "debounce",
                    "a trigger either waits for quiet or gathers a batch",
                    "keep `debounce`, or `batch_within` with `batch_size`",
                ));
                None
            }
            (Some(_), None) if read.batch_size > 1 => {
                self.report(wrong(
                    "batch_size",
                    "with `debounce` one execution starts with the newest event",
                    "leave out `batch_size`, or write `batch_within` instead of `debounce`",
                ));
                None
            }
            (None, None) if read.batch_size > 1 => {
                self.report(wrong(
                    "batch_size",
                    "a batch that is not full would wait for ever",
                    "say when it starts all the same: `batch_within: 1m`",
                ));
                None
            }
            (None, Some(_)) if read.batch_size < 2 => {
                self.report(wrong(
                    "batch_within",
                    "a batch of one is full at once",
                    "say how many it takes: `batch_size: 100`",
                ));
                None
            }
            (Some(quiet), None) => self.duration(id, "debounce", quiet, least).map(Gather::Debounce),
            (None, Some(within)) => {
                let within = self.duration(id, "batch_within", within, least)?;
                Some(Gather::Batch { size: read.batch_size, within })
            }
            (None, None) => None,
        }
    }

    fn batch(&mut self, id: &str, size: u32) {
        if size > 1 {
            self.report(
                mistake(
                    "not_supported",
                    &["triggers", id, "config", "batch_size"],
                    "more than one in a batch belongs to a later release",
                )
                .suggest("write `batch_size: 1`, or leave it out"),
            );
        }
    }

    fn duration(&mut self, id: &str, name: &str, text: &str, least: Duration) -> Option<Duration> {
        let path = ["triggers", id, "config", name];
        match parse_duration(text) {
            Ok(duration) if duration >= least && duration <= Duration::from_hours(24) => Some(duration),
            Ok(_) => {
                let message = format!("`{name}` is from {} to 1d", crate::time::format_duration(least));
                self.report(mistake("duration", &path, message));
                None
            }
            Err(error) => {
                self.report(mistake("duration", &path, error.to_string()));
                None
            }
        }
    }

    fn file(&mut self, kind: &TriggerType, id: &str, config: &Map<String, Value>) -> Option<Source> {
        let read = self.config::<FileTrigger>(kind, id, config)?;
        self.batch(id, read.batch_size);
        let at = |name| ["triggers", id, "config", name];
        if let Some(folder) = &read.folder
            && (folder.starts_with(['/', '\\']) || folder.split(['/', '\\']).any(|part| part == ".."))
        {
            self.report(
                mistake(
                    "outside_root",
                    &at("folder"),
                    format!("`{folder}` leads out of the connector's folder"),
                )
                .suggest("write a path inside it, such as `in/orders`"),
            );
        }
        let pattern = match globset::GlobBuilder::new(&read.pattern).literal_separator(true).build() {
            Ok(glob) => Some(glob.compile_matcher()),
            Err(error) => {
                let message = format!("`{}` is no pattern of file names: {}", read.pattern, error.kind());
                self.report(
                    mistake("glob", &at("pattern"), message).suggest("write `*.csv` or `order-*.{json,xml}`"),
                );
                None
            }
        };
        let poll = self.duration(id, "poll", &read.poll, Duration::from_secs(1));
        let stable_for = self.duration(id, "stable_for", &read.stable_for, Duration::ZERO);
        Some(Source::File(Files { pattern: pattern?, poll: poll?, stable_for: stable_for?, config: read }))
    }

    fn queue(&mut self, kind: &TriggerType, id: &str, config: &Map<String, Value>) -> Option<Source> {
        let read = self.config::<QueueTrigger>(kind, id, config)?;
        let at = |name| ["triggers", id, "config", name];
        if read.connector.is_empty() {
            self.report(
                mistake("config_value", &at("connector"), "the name of a connector is not empty")
                    .suggest("name a connector of kind `rabbitmq` or `redis`"),
            );
        }
        if OWN_QUEUES.iter().any(|prefix| read.queue.starts_with(prefix)) {
            self.report(
                mistake(
                    "own_queue",
                    &at("queue"),
                    format!("`{}` is a control queue: taking from it would stop the platform", read.queue),
                )
                .suggest("name a queue of your own"),
            );
        } else if !(1..=255).contains(&read.queue.len()) || read.queue.contains(char::is_control) {
            let message = "the name of a queue has from 1 to 255 bytes, and no control characters";
            self.report(mistake("config_value", &at("queue"), message));
        }
        Some(Source::Queue(read))
    }
}

fn canonical_one(fields: &Map<String, Value>) -> Value {
    let mut whole = fields.clone();
    if let Some(Value::Object(config)) = whole.get_mut("config") {
        let moved: Vec<(String, Value)> = EITHER
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), config.shift_remove(*name)?)))
            .collect();
        config.sort_keys();
        for (name, value) in moved {
            whole.entry(name).or_insert(value);
        }
    }
    let mut ordered = Map::new();
    for name in FIELDS {
        if let Some(value) = whole.shift_remove(*name) {
            let value = match (*name, value) {
                ("type", Value::String(written)) => {
                    Value::from(trigger_type(&written).map_or(written.as_str(), |kind| kind.kind))
                }
                (_, value) => value,
            };
            ordered.insert((*name).to_owned(), value);
        }
    }
    ordered.extend(whole);
    Value::Object(ordered)
}

/// `triggers:` in the one form that is hashed and stored.
pub(crate) fn canonical(triggers: &Value) -> Value {
    match triggers {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(id, value)| {
                    (id.clone(), value.as_object().map_or_else(|| value.clone(), canonical_one))
                })
                .collect(),
        ),
        other => other.clone(),
    }
}
