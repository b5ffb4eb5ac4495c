//! What is different between two versions of a workflow, by meaning: components, connections, parameters and
//! triggers by their ids, and not lines of text.
//!
//! Both sides are canonical snapshots, so neither layout, comments, spelling of types nor the order of
//! `needs` shows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::canonical;

/// What happened to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Removed,
    /// A component has another id and is otherwise what it was.
    Renamed,
    /// A component stands in another scope.
    Moved,
    Changed,
    /// The same things stand in another order.
    Reordered,
}

/// What it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A field of the workflow itself.
    Workflow,
    Parameter,
    Trigger,
    Component,
    Connection,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub change: Change,
    pub subject: Subject,
    /// The parameter, trigger or component; `a.true -> b` for a connection; the field of a workflow.
    pub id: String,
    /// Where below it, such as `["config", "url"]`; empty for the whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// What it was: the value at `path`, the id before a renaming, or the scope before a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A component apart from what stands inside it.
struct Block<'a> {
    /// Such as `components`, `on_failure` or `pack.catch`.
    scope: String,
    own: Map<String, Value>,
    needs: BTreeSet<&'a str>,
}

impl Block<'_> {
    /// Whether it does the same, wherever it is connected.
    fn is_same(&self, other: &Self) -> bool {
        self.own == other.own && self.scope == other.scope
    }
}

const SCOPES: &[&str] = &["components", "catch", "finally"];

#[derive(Default)]
struct Blocks<'a> {
    by_id: BTreeMap<String, Block<'a>>,
    /// The ids of each scope, in the order written.
    orders: BTreeMap<String, Vec<String>>,
}

impl<'a> Blocks<'a> {
    fn of(document: &'a Map<String, Value>) -> Self {
        let mut all = Self::default();
        for part in ["components", "on_failure", "finally"] {
            all.scope(part.to_owned(), document.get(part));
        }
        all
    }

    fn scope(&mut self, name: String, components: Option<&'a Value>) {
        let Some(Value::Object(components)) = components else { return };
        self.orders.insert(name.clone(), components.keys().cloned().collect());
        for (id, value) in components {
            self.component(id.clone(), name.clone(), value);
        }
    }

    fn component(&mut self, id: String, scope: String, value: &'a Value) {
        let Value::Object(map) = value else { return };
        for inner in SCOPES {
            self.scope(format!("{id}.{inner}"), map.get(*inner));
        }
        if let Some(undo) = map.get("compensate") {
            self.component(format!("{id}.compensate"), format!("{id}.compensate"), undo);
        }
        let is_own = |name: &str| !SCOPES.contains(&name) && name != "compensate" && name != "needs";
        let own = map.iter().filter(|(name, _)| is_own(name)).map(|(a, b)| (a.clone(), b.clone())).collect();
        let needs = map
            .get("needs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        self.by_id.insert(id, Block { scope, own, needs });
    }
}

/// What differs between two canonical snapshots, as [`super::Read::canonical`] gives them: fields of the workflow
/// first, then parameters, triggers, components and connections, each by id.
///
/// A text that is no JSON object counts as a document without anything in it.
pub fn compare(before: &str, after: &str) -> Vec<Difference> {
    let parse = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (before, after) = (parse(before), parse(after));
    let mut found = Vec::new();
    for &field in canonical::DOCUMENT {
        match field {
            "parameters" => named(&before, &after, field, Subject::Parameter, &mut found),
            "triggers" => named(&before, &after, field, Subject::Trigger, &mut found),
            "components" | "on_failure" | "finally" => {}
            _ => deep(before.get(field), after.get(field), &mut Vec::new(), &mut |path, before, after| {
                found.push(Difference::of(Subject::Workflow, field, path, before, after));
            }),
        }
    }
    components(&Blocks::of(&before), &Blocks::of(&after), &mut found);
    found.sort_by(|a, b| (a.subject, &a.id, a.change, &a.path).cmp(&(b.subject, &b.id, b.change, &b.path)));
    found
}

/// Compares maps whose keys are names of things.
fn named(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    field: &str,
    subject: Subject,
    found: &mut Vec<Difference>,
) {
    let none = Map::new();
    let before = before.get(field).and_then(Value::as_object).unwrap_or(&none);
    let after = after.get(field).and_then(Value::as_object).unwrap_or(&none);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        deep(before.get(name), after.get(name), &mut Vec::new(), &mut |path, before, after| {
            found.push(Difference::of(subject, name, path, before, after));
        });
    }
    order(subject, field, before.keys(), after.keys(), found);
}

/// Says so when what stands on both sides stands in another order.
fn order<'a>(
    subject: Subject,
    id: &str,
    before: impl Iterator<Item = &'a String> + Clone,
    after: impl Iterator<Item = &'a String> + Clone,
    found: &mut Vec<Difference>,
) {
    let known: BTreeSet<&String> = before.clone().collect();
    let kept: BTreeSet<&String> = after.clone().filter(|name| known.contains(name)).collect();
    let before: Vec<&String> = before.filter(|name| kept.contains(name)).collect();
    let after: Vec<&String> = after.filter(|name| kept.contains(name)).collect();
    if before != after {
        found.push(Difference {
            change: Change::Reordered,
            subject,
            id: id.to_owned(),
            path: Vec::new(),
            before: Some(before.into_iter().cloned().collect()),
            after: Some(after.into_iter().cloned().collect()),
        });
    }
}

impl Difference {
    fn of(
        subject: Subject,
        id: &str,
        path: &[String],
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Self {
        let change = match (before, after) {
            (None, _) if path.is_empty() => Change::Added,
            (_, None) if path.is_empty() => Change::Removed,
            _ => Change::Changed,
        };
        Self {
            change,
            subject,
            id: id.to_owned(),
            path: path.to_vec(),
            before: before.cloned(),
            after: after.cloned(),
        }
    }
}

/// Told where two values differ, and how.
type Report<'a> = dyn FnMut(&[String], Option<&Value>, Option<&Value>) + 'a;

/// Reports each smallest part that differs. Lists differ as a whole.
fn deep(before: Option<&Value>, after: Option<&Value>, path: &mut Vec<String>, report: &mut Report<'_>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                path.push(name.clone());
                deep(before.get(name), after.get(name), path, report);
                path.pop();
            }
        }
        (before, after) if before == after => {}
        (before, after) => report(path, before, after),
    }
}

/// Ids that went and ids that came, where each is the only one that does the same.
fn renamed(before: &Blocks<'_>, after: &Blocks<'_>) -> BTreeMap<String, String> {
    let gone: Vec<_> = before.by_id.iter().filter(|(id, _)| !after.by_id.contains_key(*id)).collect();
    let come: Vec<_> = after.by_id.iter().filter(|(id, _)| !before.by_id.contains_key(*id)).collect();
    let mut pairs = BTreeMap::new();
    for (old, was) in &gone {
        let mut same = come.iter().filter(|(_, is)| was.is_same(is));
        if let (Some((new, is)), None) = (same.next(), same.next())
            && gone.iter().filter(|(_, other)| other.is_same(is)).count() == 1
        {
            pairs.insert((*old).clone(), (*new).clone());
        }
    }
    pairs
}

fn components(before: &Blocks<'_>, after: &Blocks<'_>, found: &mut Vec<Difference>) {
    let renamed = renamed(before, after);
    let new_names: BTreeSet<&String> = renamed.values().collect();
    let mut push = |change, subject, id: &str, before: Option<Value>, after: Option<Value>| {
        found.push(Difference { change, subject, id: id.to_owned(), path: Vec::new(), before, after });
    };
    for (id, was) in &before.by_id {
        if let Some(new) = renamed.get(id) {
            push(
                Change::Renamed,
                Subject::Component,
                new,
                Some(id.as_str().into()),
                Some(new.as_str().into()),
            );
        } else if !after.by_id.contains_key(id) {
            push(Change::Removed, Subject::Component, id, Some(was.own.clone().into()), None);
        }
    }
    // The scopes of a renamed container are its scopes still.
    let scope = |name: &str| match name.split_once('.') {
        Some((owner, part)) if renamed.contains_key(owner) => format!("{}.{part}", renamed[owner]),
        _ => name.to_owned(),
    };
    for (id, is) in after.by_id.iter().filter(|(id, _)| !new_names.contains(id)) {
        match before.by_id.get(id).map(|was| scope(&was.scope)) {
            None => push(Change::Added, Subject::Component, id, None, Some(is.own.clone().into())),
            Some(was) if was != is.scope => {
                push(Change::Moved, Subject::Component, id, Some(was.into()), Some(is.scope.as_str().into()));
            }
            Some(_) => {}
        }
    }
    let edges = |blocks: &Blocks<'_>, name: &dyn Fn(&str) -> String| -> BTreeSet<String> {
        let each = |(id, block): (&String, &Block<'_>)| -> Vec<String> {
            let end = name(id);
            let from = |need: &str| match need.split_once('.') {
                Some((from, port)) => format!("{}.{port} -> {end}", name(from)),
                None => format!("{} -> {end}", name(need)),
            };
            block.needs.iter().map(|need| from(need)).collect()
        };
        blocks.by_id.iter().flat_map(each).collect()
    };
    let was = edges(before, &|id| renamed.get(id).cloned().unwrap_or_else(|| id.to_owned()));
    let is = edges(after, &str::to_owned);
    for edge in was.difference(&is) {
        push(Change::Removed, Subject::Connection, edge, None, None);
    }
    for edge in is.difference(&was) {
        push(Change::Added, Subject::Connection, edge, None, None);
    }
    for (id, is) in &after.by_id {
        let Some(was) = before.by_id.get(id) else { continue };
        let names: BTreeSet<&String> = was.own.keys().chain(is.own.keys()).collect();
        for name in names {
            let mut path = vec![name.clone()];
            deep(was.own.get(name), is.own.get(name), &mut path, &mut |path, before, after| {
                found.push(Difference::of(Subject::Component, id, path, before, after));
            });
        }
    }
    for (scope, is) in &after.orders {
        if let Some(was) = before.orders.get(scope) {
            order(Subject::Component, scope, was.iter(), is.iter(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        compare(&before.to_string(), &after.to_string())
            .into_iter()
            .map(|found| {
                let text = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
                format!(
                    "{:?} {:?} {} {} {} {}",
                    found.change,
                    found.subject,
                    found.id,
                    found.path.join("."),
                    text(found.before),
                    text(found.after)
                )
            })
            .collect()
    }

    fn document() -> Value {
        json!({
            "workflow": "v1", "name": "w",
            "parameters": { "n": { "type": "integer" } },
            "components": {
                "a": { "type": "noop", "config": { "value": 1 } },
                "b": { "type": "log", "needs": ["a"], "config": { "message": "x" } },
                "pack": { "type": "group", "needs": ["a"], "components": { "inner": { "type": "noop" } } },
            },
        })
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> Value {
        let mut document = document();
        edit(&mut document);
        document
    }

    #[test]
    fn the_same_document_has_no_differences() {
        assert_eq!(lines(&document(), &document()), Vec::<String>::new());
    }

    #[test]
    fn a_field_of_a_config_is_named_by_its_path() {
        let after = edited(|document| document["components"]["a"]["config"]["value"] = 2.into());
        assert_eq!(lines(&document(), &after), ["Changed Component a config.value 1 2"]);
    }

    #[test]
    fn components_and_their_connections_come_and_go() {
        let after = edited(|document| {
            document["components"]["b"]["needs"] = json!(["pack"]);
            document["components"]["c"] = json!({ "type": "fail", "needs": ["b.error"] });
        });
        let expected = [
            r#"Added Component c  - {"type":"fail"}"#,
            "Removed Connection a -> b  - -",
            "Added Connection b.error -> c  - -",
            "Added Connection pack -> b  - -",
        ];
        assert_eq!(lines(&document(), &after), expected);
    }

    #[test]
    fn another_id_is_a_renaming_and_keeps_its_connections() {
        let after = edited(|document| {
            let components = document["components"].as_object_mut().expect("a map");
            let a = components.shift_remove("a").expect("a");
            components.shift_insert(0, "first".to_owned(), a);
            components["b"]["needs"] = json!(["first"]);
            components["pack"]["needs"] = json!(["first"]);
        });
        assert_eq!(lines(&document(), &after), [r#"Renamed Component first  "a" "first""#]);
    }

    #[test]
    fn what_stands_in_a_renamed_container_has_not_moved() {
        let after = edited(|document| {
            let components = document["components"].as_object_mut().expect("a map");
            let pack = components.shift_remove("pack").expect("pack");
            components.insert("crate".to_owned(), pack);
        });
        assert_eq!(lines(&document(), &after), [r#"Renamed Component crate  "pack" "crate""#]);
    }

    #[test]
    fn two_that_do_the_same_are_not_taken_for_a_renaming() {
        let after = edited(|document| {
            let components = document["components"].as_object_mut().expect("a map");
            components.shift_remove("b");
            components.insert("b1".into(), json!({ "type": "log", "config": { "message": "x" } }));
            components.insert("b2".into(), json!({ "type": "log", "config": { "message": "x" } }));
        });
        let found = lines(&document(), &after);
        assert!(found.iter().any(|line| line.starts_with("Removed Component b ")), "{found:?}");
        assert!(found.iter().any(|line| line.starts_with("Added Component b2 ")), "{found:?}");
    }

    #[test]
    fn a_component_in_another_scope_was_moved() {
        let after = edited(|document| {
            let inner = document["components"]["pack"]["components"].take();
            document["components"]["inner"] = inner["inner"].clone();
            document["components"]["pack"]["components"] = json!({ "other": { "type": "stop" } });
        });
        let found = lines(&document(), &after);
        assert!(
            found.contains(&r#"Moved Component inner  "pack.components" "components""#.into()),
            "{found:?}"
        );
    }

    #[test]
    fn parameters_triggers_and_fields_are_compared_by_name() {
        let after = edited(|document| {
            document["timeout"] = "1h".into();
            document["parameters"]["n"]["minimum"] = 1.into();
            document["parameters"]["m"] = json!({ "type": "string" });
            document["triggers"] = json!({ "nightly": { "type": "schedule_trigger" } });
        });
        let expected = [
            r#"Added Workflow timeout  - "1h""#,
            r#"Added Parameter m  - {"type":"string"}"#,
            "Changed Parameter n minimum - 1",
            r#"Added Trigger nightly  - {"type":"schedule_trigger"}"#,
        ];
        assert_eq!(lines(&document(), &after), expected);
    }

    #[test]
    fn another_order_is_said_once_for_the_scope() {
        let after = edited(|document| {
            let components = document["components"].as_object_mut().expect("a map");
            let a = components.shift_remove("a").expect("a");
            components.insert("a".into(), a);
        });
        let expected = [r#"Reordered Component components  ["a","b","pack"] ["b","pack","a"]"#];
        assert_eq!(lines(&document(), &after), expected);
    }

    #[test]
    fn what_undoes_a_component_is_compared_too() {
        let after = edited(|document| {
            document["components"]["a"]["compensate"] =
                json!({ "type": "log", "config": { "message": "undo" } });
        });
        let found = lines(&document(), &after);
        let expected = [r#"Added Component a.compensate  - {"config":{"message":"undo"},"type":"log"}"#];
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&expected[0][..30]), "{found:?}");
    }
}
