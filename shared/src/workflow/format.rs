//! The canonical YAML of a document: fixed order of the known fields, components as written, block style.
//!
//! Comments are kept: one that has its line for itself stands above the key or item it stood above, one
//! at the end of a line stays on the line of its key. A comment inside a flow collection moves to the end
//! of the document. Aliases and merge keys are written out, and `needs` are sorted.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::{
    canonical::{CACHE, COMPONENT, CONCURRENCY, DOCUMENT, PARAMETER, RETRY, WORKER},
    check::fault_problem,
    problem::Problems,
    text::{self, Comment, Node, Text, Tree},
};

/// Writes a document in its canonical form. Formatting twice changes nothing.
///
/// # Errors
/// When the text is not YAML or JSON, or has two equal keys. Nothing else is checked.
pub fn format(text: &str) -> Result<String, Problems> {
    let parsed = text::read(text).map_err(|fault| Problems::new(vec![fault_problem(fault, text)]))?;
    if !parsed.faults.is_empty() {
        return Err(Problems::new(
            parsed.faults.into_iter().map(|fault| fault_problem(fault, text)).collect(),
        ));
    }
    let Text { tree, comments, .. } = parsed;
    let value = tree.to_value();
    let mut written = String::new();
    for careful in [false, true] {
        written = Writer::new(text, &comments, careful).write(&tree);
        // The formatter must never change what a document says.
        if text::read(&written).is_ok_and(|again| same(again.tree.to_value(), value.clone())) {
            return Ok(written);
        }
    }
    Ok(written)
}

/// Whether two documents say the same: the order of keys and of `needs` means nothing here.
fn same(mut a: Value, mut b: Value) -> bool {
    sort_needs(&mut a);
    sort_needs(&mut b);
    a == b
}

fn sort_needs(document: &mut Value) {
    for name in ["components", "on_failure", "catch", "finally"] {
        let components = document.get_mut(name).and_then(Value::as_object_mut);
        for component in components.into_iter().flat_map(|map| map.values_mut()) {
            if let Some(needs) = component.get_mut("needs").and_then(Value::as_array_mut) {
                needs.sort_by_key(|need| need.as_str().unwrap_or_default().to_owned());
            }
            sort_needs(component);
        }
    }
}

struct Writer<'t> {
    lines: Vec<&'t str>,
    /// Comments with a line of their own, by line; taken as they are written.
    alone: BTreeMap<u32, &'t str>,
    right: BTreeMap<u32, &'t str>,
    /// Whether every text is put in quotes.
    careful: bool,
    out: String,
}

/// Where in the document a map stands, which decides the order of its keys.
#[derive(Clone, Copy)]
enum Place {
    Document,
    Parameters,
    Triggers,
    Components,
    Fixed(&'static [&'static str]),
    Component,
    Free,
}

impl<'t> Writer<'t> {
    fn new(text: &'t str, comments: &'t [Comment], careful: bool) -> Self {
        let of = |alone: bool| {
            comments
                .iter()
                .filter(|comment| comment.alone == alone)
                .map(|comment| (comment.line, comment.text.trim_end()))
                .collect()
        };
        Self { lines: text.lines().collect(), alone: of(true), right: of(false), careful, out: String::new() }
    }

    fn write(mut self, tree: &Tree) -> String {
        match &tree.node {
            Node::Map(entries) if !entries.is_empty() => self.map(tree, 0, Place::Document, false),
            Node::List(items) if !items.is_empty() => self.list(tree, 0),
            _ => {
                self.inline(tree, 0, None);
            }
        }
        self.rest();
        self.out
    }

    /// The comments that stand directly above `line`, and a blank line where the source has one.
    fn above(&mut self, line: u32, indent: usize, blank: bool) {
        let is_blank =
            |at: u32| at >= 1 && self.lines.get(at as usize - 1).is_some_and(|line| line.trim().is_empty());
        let mut first = line;
        let mut at = line;
        while at > 1 && (self.alone.contains_key(&(at - 1)) || is_blank(at - 1)) {
            at -= 1;
            if self.alone.contains_key(&at) {
                first = at;
            }
        }
        if blank && is_blank(first - 1) {
            self.out.push('\n');
        }
        let pending: Vec<(u32, &str)> =
            self.alone.range(first..line).map(|(at, text)| (*at, *text)).collect();
        for (index, (at, text)) in pending.iter().enumerate() {
            if index > 0 && self.lines.get(*at as usize - 2).is_some_and(|line| line.trim().is_empty()) {
                self.out.push('\n');
            }
            let _ = writeln!(self.out, "{}{text}", " ".repeat(indent));
            self.alone.remove(at);
        }
        let after_comment = pending.last().is_some_and(|(at, _)| *at < line - 1);
        if after_comment {
            self.out.push('\n');
        }
    }

    /// The comments that found no place: inside flow collections, or after everything else.
    fn rest(&mut self) {
        let mut rest = std::mem::take(&mut self.alone);
        rest.append(&mut self.right);
        for text in rest.values() {
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// Ends a line, with the comment that the source has at the end of `line`.
    fn end(&mut self, line: u32) {
        if let Some(comment) = self.right.remove(&line) {
            let _ = write!(self.out, " {comment}");
        }
        self.out.push('\n');
    }

    fn map(&mut self, tree: &Tree, indent: usize, place: Place, after_dash: bool) {
        let Node::Map(entries) = &tree.node else { return };
        let order: &[&str] = match place {
            Place::Document => DOCUMENT,
            Place::Component => COMPONENT,
            Place::Fixed(order) => order,
            Place::Parameters | Place::Triggers | Place::Components | Place::Free => &[],
        };
        let rank = |key: &str| order.iter().position(|name| *name == key).unwrap_or(order.len());
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|entry| rank(&entry.key));
        for (index, entry) in sorted.into_iter().enumerate() {
            let line = entry.key_place.line;
            if !(after_dash && index == 0) {
                self.above(line, indent, index > 0);
                let _ = write!(self.out, "{}", " ".repeat(indent));
            }
            let key = self.key(&entry.key);
            let _ = write!(self.out, "{key}:");
            let below = match (place, entry.key.as_str()) {
                (Place::Document, "parameters") => Place::Parameters,
                (Place::Document, "components" | "on_failure" | "finally")
                | (Place::Component, "components" | "catch" | "finally") => Place::Components,
                (Place::Document, "triggers") => Place::Triggers,
                (Place::Triggers, _) => Place::Fixed(super::triggers::FIELDS),
                (Place::Document | Place::Component, "concurrency") => Place::Fixed(CONCURRENCY),
                (Place::Parameters, _) => Place::Fixed(PARAMETER),
                (Place::Components, _) | (Place::Component, "compensate") => Place::Component,
                (Place::Component, "retry") => Place::Fixed(RETRY),
                (Place::Component, "worker") => Place::Fixed(WORKER),
                (Place::Component, "cache") => Place::Fixed(CACHE),
                _ => Place::Free,
            };
            match &entry.value.node {
                Node::Map(inner) if !inner.is_empty() => {
                    self.end(line);
                    self.map(&entry.value, indent + 2, below, false);
                }
                Node::List(items) if !items.is_empty() => {
                    self.end(line);
                    if matches!(place, Place::Component) && entry.key == "needs" {
                        let mut items = items.clone();
                        items.sort_by_key(|item| match &item.node {
                            Node::Scalar(Value::String(need)) => need.clone(),
                            _ => String::new(),
                        });
                        self.list(&Tree { place: entry.value.place, node: Node::List(items) }, indent + 2);
                    } else {
                        self.list(&entry.value, indent + 2);
                    }
                }
                _ => {
                    self.out.push(' ');
                    self.inline(&entry.value, indent + 2, Some(line));
                }
            }
        }
    }

    fn list(&mut self, tree: &Tree, indent: usize) {
        let Node::List(items) = &tree.node else { return };
        for (index, item) in items.iter().enumerate() {
            let line = item.place.line;
            self.above(line, indent, index > 0);
            let _ = write!(self.out, "{}- ", " ".repeat(indent));
            match &item.node {
                Node::Map(inner) if !inner.is_empty() => self.map(item, indent + 2, Place::Free, true),
                Node::List(inner) if !inner.is_empty() => {
                    self.out.pop();
                    self.end(line);
                    self.list(item, indent + 2);
                }
                _ => self.inline(item, indent + 2, Some(line)),
            }
        }
    }

    /// A value that stands on the line of its key, and the end of that line.
    fn inline(&mut self, tree: &Tree, indent: usize, line: Option<u32>) {
        let line = line.unwrap_or(tree.place.line);
        let value = match &tree.node {
            Node::Map(_) => "{}".to_owned(),
            Node::List(_) => "[]".to_owned(),
            Node::Scalar(Value::String(text)) => {
                if !self.careful && is_block(text) {
                    let chomp = if text.ends_with('\n') { "" } else { "-" };
                    let _ = write!(self.out, "|{chomp}");
                    self.end(line);
                    for part in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                        if !part.is_empty() {
                            let _ = write!(self.out, "{}{part}", " ".repeat(indent));
                        }
                        self.out.push('\n');
                    }
                    return;
                }
                self.text(text)
            }
            Node::Scalar(value) => value.to_string(),
        };
        self.out.push_str(&value);
        self.end(line);
    }

    fn text(&self, text: &str) -> String {
        if !self.careful && is_plain(text) { text.to_owned() } else { quoted(text) }
    }

    fn key(&self, key: &str) -> String {
        // `on` and its kin stay plain as keys; only the reader's own rules matter there.
        if !self.careful && key != "<<" && (is_plain(key) || key == "on") {
            key.to_owned()
        } else {
            quoted(key)
        }
    }
}

/// Whether a text of several lines can stand as a block.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    text.contains('\n')
        && !body.is_empty()
        && !body.ends_with('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && body.lines().all(|line| line.trim_end() == line)
        && text.chars().all(|c| c == '\n' || is_printable(c))
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a text can stand without quotes and is read as the same text.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let lower = text.to_ascii_lowercase();
    text.len() <= 500
        && text.trim() == text
        && !"-?:,[]{}#&*!|>'\"%@`=".contains(first)
        && !text.contains(": ")
        && !text.ends_with(':')
        && !text.contains(" #")
        && !text.starts_with("...")
        && text.chars().all(|c| is_printable(c) && c != '\t')
        // What YAML 1.1 would take for a boolean is quoted for readers that still do.
        && !["yes", "no", "on", "off"].contains(&lower.as_str())
        && matches!(text::resolve(text), Ok(Value::String(_)))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if u32::from(c) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}
