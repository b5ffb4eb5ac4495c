//! Layers: defaults, then the file, then the environment, then flags; every mistake of all of them at once.
//!
//! It reads no file and no environment of its own accord: [`Sources`] are given.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Settings,
    environment::{ALIASES, Effect, RETIRED, VARIABLES},
    file::{self, Entry, Node},
    keys::{Key, Redaction, Shape, keys},
    mistake::{Mistake, Mistakes, Origin},
    redact_url,
};

/// What a configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file's name, as it is shown, and its text.
    pub file: Option<(String, String)>,
    /// The process's environment.
    pub environment: BTreeMap<String, String>,
    /// `section.key=value`, with the flag they came from.
    pub flags: Vec<(String, String)>,
}

/// A configuration, and where each setting that is not a default came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// By dotted key.
    pub origins: BTreeMap<String, Origin>,
    /// What was given and has no effect.
    pub warnings: Vec<Mistake>,
}

impl Loaded {
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }
}

/// A setting as one layer gives it.
struct Given {
    value: Value,
    origin: Origin,
}

struct Loader<'a> {
    keys: Vec<Key>,
    environment: &'a BTreeMap<String, String>,
    given: BTreeMap<String, Given>,
    /// Further places of one key: what stands under a name of a map, such as one connector.
    inner: BTreeMap<String, Origin>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

/// Puts the layers on each other.
///
/// # Errors
/// Everything that is wrong, in the order file, environment, flags, and then what does not fit together.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut loader = Loader {
        keys: keys(),
        environment: &sources.environment,
        given: BTreeMap::new(),
        inner: BTreeMap::new(),
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    if let Some((path, text)) = &sources.file {
        match file::read(text) {
            Ok(Node::Map(entries)) => loader.file(path, "", &entries),
            Ok(_) => loader.mistakes.push(Mistake::new(
                "",
                "the file must hold sections, such as `database:`",
                Origin::File { path: path.clone(), line: 1, column: 1 },
            )),
            Err((message, (line, column))) => {
                loader.mistakes.push(Mistake::new(
                    "",
                    message,
                    Origin::File { path: path.clone(), line, column },
                ));
            }
        }
    }
    loader.variables();
    for (flag, text) in &sources.flags {
        let origin = Origin::Flag { text: format!("{flag} {}", text.split('=').next().unwrap_or_default()) };
        match text.split_once('=') {
            Some((key, value)) => loader.text(key.trim(), value, origin),
            None => loader.mistakes.push(
                Mistake::new(
                    "",
                    format!("`{text}` is not a setting and a value"),
                    Origin::Flag { text: flag.clone() },
                )
                .with_suggestion(Some(format!("write {flag} section.key=value"))),
            ),
        }
    }
    loader.finish()
}

impl Loader<'_> {
    fn key(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    fn file(&mut self, path: &str, prefix: &str, entries: &[Entry]) {
        for entry in entries {
            let full = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            let origin = Origin::File { path: path.to_owned(), line: entry.at.0, column: entry.at.1 };
            let Some(key) = self.known(&full, &origin) else { continue };
            if !key.is_section {
                if let (Shape::Map, Node::Map(inner)) = (key.shape(), &entry.value) {
                    for part in inner {
                        self.inner.insert(
                            format!("{}.{}", key.path, part.key),
                            Origin::File { path: path.to_owned(), line: part.at.0, column: part.at.1 },
                        );
                    }
                }
                let mut value = entry.value.to_value();
                let whole = value.as_str().is_some_and(|text| text.trim().starts_with("${"));
                if self.interpolate(&key.path, &mut value, &origin) {
                    if let Some(text) = value.as_str()
                        && (whole || matches!(key.shape(), Shape::OneOf(_)))
                    {
                        value = key.shape().read(text);
                    }
                    self.given.insert(key.path.clone(), Given { value, origin });
                }
                continue;
            }
            match &entry.value {
                Node::Map(inner) => self.file(path, &key.path, inner),
                // `database:` with nothing under it.
                Node::Leaf(Value::Null) => {}
                other => {
                    let first =
                        self.keys.iter().find(|inner| inner.path.starts_with(&format!("{}.", key.path)));
                    let suggestion =
                        first.map(|inner| format!("put settings under it, such as `{}`", inner.path));
                    self.mistakes.push(
                        Mistake::new(
                            key.path.clone(),
                            format!("expected a section, found {}", found(&other.to_value())),
                            origin,
                        )
                        .with_suggestion(suggestion),
                    );
                }
            }
        }
    }

    /// The key of that path; otherwise a mistake or a warning is noted.
    fn known(&mut self, path: &str, origin: &Origin) -> Option<Key> {
        let path = ALIASES.iter().find(|(alias, _)| *alias == path).map_or(path, |(_, name)| name);
        if let Some(key) = self.key(path) {
            return Some(key.clone());
        }
        if let Some((_, instead)) = RETIRED.iter().find(|(retired, _)| {
            path.strip_prefix(retired).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }) {
            self.warnings.push(Mistake::new(path, format!("has no effect; {instead}"), origin.clone()));
            return None;
        }
        let suggestion = self.nearest(path).map(|near| format!("did you mean `{near}`?"));
        self.mistakes
            .push(Mistake::new(path, "there is no such setting", origin.clone()).with_suggestion(suggestion));
        None
    }

    /// The known key that was most likely meant.
    fn nearest(&self, path: &str) -> Option<String> {
        let name = path.rsplit('.').next().unwrap_or(path);
        let depth = path.matches('.').count();
        self.keys
            .iter()
            .map(|key| {
                // A key that stands in another section counts as near when its own name is.
                let whole = strsim::damerau_levenshtein(path, &key.path);
                let own =
                    strsim::damerau_levenshtein(name, key.name()) + usize::from(key.depth() != depth) + 1;
                let own = if name.len() > 3 { own } else { usize::MAX };
                (whole.min(own), key)
            })
            .filter(|(distance, _)| *distance <= (name.len() / 3).max(1) + 1)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, key)| key.path.clone())
    }

    fn variables(&mut self) {
        let environment = self.environment;
        for variable in VARIABLES {
            let Some(text) = environment.get(variable.name).filter(|text| !text.is_empty()) else { continue };
            let origin = Origin::Environment { name: variable.name.to_owned() };
            match variable.effect {
                Effect::Sets(key) => self.text(key, text, origin),
                Effect::Nothing(instead) => {
                    self.warnings.push(Mistake::new("", format!("has no effect; {instead}"), origin));
                }
            }
        }
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix("APG_").filter(|rest| rest.contains("__")) else { continue };
            if !text.is_empty() {
                let key = rest.to_ascii_lowercase().replace("__", ".");
                self.text(&key, text, Origin::Environment { name: name.clone() });
            }
        }
    }

    /// Takes a setting given as text.
    fn text(&mut self, path: &str, text: &str, origin: Origin) {
        // One entry of a map, such as a connector, may be given alone.
        if self.key(path).is_none()
            && let Some(map) = self
                .keys
                .iter()
                .find(|key| {
                    key.shape() == Shape::Map
                        && !key.is_section
                        && path.starts_with(&format!("{}.", key.path))
                })
                .cloned()
        {
            let name = path[map.path.len() + 1..].to_owned();
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            self.inner.insert(path.to_owned(), origin.clone());
            let given = self
                .given
                .entry(map.path.clone())
                .or_insert_with(|| Given { value: Value::Object(Map::new()), origin });
            if let Some(object) = given.value.as_object_mut() {
                object.insert(name, value);
            }
            return;
        }
        let Some(key) = self.known(path, &origin) else { return };
        if key.is_section {
            let message = "is a section; give one of its settings".to_owned();
            self.mistakes.push(Mistake::new(key.path, message, origin));
            return;
        }
        let mut value = Value::from(text);
        // The environment is taken as it is; only what people write may refer to it.
        if matches!(origin, Origin::Flag { .. }) && !self.interpolate(&key.path, &mut value, &origin) {
            return;
        }
        let value = key.shape().read(value.as_str().unwrap_or_default());
        self.given.insert(key.path.clone(), Given { value, origin });
    }

    /// Replaces `${NAME}` and `${NAME:-default}` in every text of `value`; `$${` is a plain `${`.
    fn interpolate(&mut self, key: &str, value: &mut Value, origin: &Origin) -> bool {
        match value {
            Value::String(text) => match interpolated(text, self.environment) {
                Ok(new) => {
                    *text = new;
                    true
                }
                Err(message) => {
                    self.mistakes.push(Mistake::new(key, message, origin.clone()));
                    false
                }
            },
            Value::Array(list) => {
                let mut all = true;
                for item in list {
                    all &= self.interpolate(key, item, origin);
                }
                all
            }
            Value::Object(map) => {
                let mut all = true;
                for (name, item) in map {
                    let at = self.inner.get(&format!("{key}.{name}")).unwrap_or(origin).clone();
                    all &= self.interpolate(&format!("{key}.{name}"), item, &at);
                }
                all
            }
            _ => true,
        }
    }

    fn finish(mut self) -> Result<Loaded, Mistakes> {
        let defaults = serde_json::to_value(Settings::default()).expect("the settings are plain data");
        let mut tree = defaults.clone();
        let given = std::mem::take(&mut self.given);
        let mut origins = BTreeMap::new();
        for (path, Given { value, origin }) in given {
            let Some(key) = self.key(&path).cloned() else { continue };
            // `key:` with nothing behind it leaves the default.
            if value.is_null() {
                continue;
            }
            if let Some(mistake) = wrong(&key, &value, &origin) {
                self.mistakes.push(mistake);
                continue;
            }
            let mut wrong_parts = 0;
            if let (Shape::Map, Some(entries)) = (key.shape(), value.as_object()) {
                for (name, part) in entries {
                    let only: Map<String, Value> = [(name.clone(), part.clone())].into_iter().collect();
                    if let Err(error) = settings_with(&defaults, &path, Value::Object(only)) {
                        let full = format!("{path}.{name}");
                        let at = self.inner.get(&full).cloned().unwrap_or_else(|| origin.clone());
                        self.mistakes.push(Mistake::new(full, error.to_string(), at));
                        wrong_parts += 1;
                    }
                }
            }
            if wrong_parts > 0 {
                continue;
            }
            if let Err(error) = settings_with(&defaults, &path, value.clone()) {
                let message = match key.redaction() {
                    Redaction::Hidden => "cannot be read".to_owned(),
                    Redaction::None if key.is_address() => {
                        format!("expected {}, found {}", key.expected(), found(&value))
                    }
                    Redaction::None => error.to_string(),
                };
                self.mistakes.push(Mistake::new(path, message, origin));
                continue;
            }
            put(&mut tree, &path, value);
            origins.insert(path, origin);
        }
        let settings: Settings = match serde_json::from_value(tree) {
            Ok(settings) => settings,
            Err(error) => {
                // Each setting alone was read, so this is not to be expected; say it rather than stop here.
                self.mistakes.push(Mistake::new("", error.to_string(), Origin::Default));
                return Err(Mistakes(self.mistakes));
            }
        };
        for (key, message) in settings.check() {
            let origin = origins.get(key).cloned().unwrap_or_default();
            self.mistakes.push(Mistake::new(key, message, origin));
        }
        if self.mistakes.is_empty() {
            Ok(Loaded { settings, origins, warnings: self.warnings })
        } else {
            self.mistakes.sort_by_key(|mistake| match &mistake.origin {
                Origin::File { line, column, .. } => (0, *line, *column),
                Origin::Environment { .. } => (1, 0, 0),
                Origin::Flag { .. } => (2, 0, 0),
                Origin::Default => (3, 0, 0),
            });
            Err(Mistakes(self.mistakes))
        }
    }
}

/// What is wrong with a value, in the words of its schema.
fn wrong(key: &Key, value: &Value, origin: &Origin) -> Option<Mistake> {
    let shape = key.shape();
    if shape.admits(value) {
        return None;
    }
    let message = match key.redaction() {
        Redaction::Hidden => format!("expected {}", key.expected()),
        Redaction::None => format!("expected {}, found {}", key.expected(), found(value)),
    };
    let suggestion = match (&shape, value.as_str()) {
        (Shape::OneOf(words), Some(text)) => words
            .iter()
            .map(|word| (strsim::damerau_levenshtein(&text.to_lowercase(), word), word))
            .filter(|(distance, _)| *distance <= 2)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, word)| format!("did you mean `{word}`?")),
        (Shape::Whole { .. }, Some(text)) if shape.admits(&shape.read(text)) => {
            Some("write the number without quotes".to_owned())
        }
        (Shape::YesNo, Some(text)) if shape.admits(&shape.read(text)) => {
            Some("write true or false".to_owned())
        }
        (Shape::List(_), Some(_)) => Some("write a list: [first, second]".to_owned()),
        _ => None,
    };
    Some(Mistake::new(key.path.clone(), message, origin.clone()).with_suggestion(suggestion))
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.contains("://") => format!("`{}`", redact_url(text)),
        Value::String(text) => {
            let short: String = text.chars().take(60).collect();
            format!("`{short}`{}", if short.len() < text.len() { "…" } else { "" })
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a section".to_owned(),
        other => format!("`{other}`"),
    }
}

fn put(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = value;
}

fn settings_with(defaults: &Value, path: &str, value: Value) -> Result<Settings, serde_json::Error> {
    let mut tree = defaults.clone();
    put(&mut tree, path, value);
    serde_json::from_value(tree)
}

fn interpolated(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if start > 0 && rest.as_bytes()[start - 1] == b'$' {
            out.push_str(&rest[..start - 1]);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            return Err("`${` is not closed; write `$${` for the characters themselves".to_owned());
        };
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err(format!("`${{{name}}}` does not name an environment variable"));
        }
        match (environment.get(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => out.push_str(value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable {name} is not set; set it, or write `${{{name}:-a default}}`"
                ));
            }
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
