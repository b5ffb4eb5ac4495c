//! YAML and JSON texts as a tree that knows where everything stands.
//!
//! The scanner is granit-parser, the one that serde-saphyr is built on: used directly, it also tells
//! how a text was quoted and where comments stand, which the formatter needs. Scalars follow YAML 1.2
//! with strict booleans. A text that is a JSON object is read as JSON.

use std::collections::HashMap;

use granit_parser::{Event, Parser, Placement, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Value};

/// The longest document, in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// The most nodes, with every alias counted as what it stands for.
pub(crate) const MAX_NODES: usize = 250_000;
/// How deep a document may be nested.
pub(crate) const MAX_DEPTH: usize = 64;

/// Where something stands in the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
    /// Bytes.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) place: Place,
    pub(crate) node: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Scalar(Value),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Tree,
    /// Brought in by `<<`, so that a key written beside it wins.
    merged: bool,
}

/// A comment and the line it stands on.
#[derive(Debug, Clone)]
pub(crate) struct Comment {
    pub(crate) line: u32,
    pub(crate) text: String,
    /// Whether it has the line for itself.
    pub(crate) alone: bool,
}

/// A mistake in the form of the text.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) place: Place,
    pub(crate) suggestion: Option<String>,
}

impl Fault {
    fn new(code: &'static str, message: impl Into<String>, place: Place) -> Self {
        Self { code, message: message.into(), place, suggestion: None }
    }

    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) tree: Tree,
    pub(crate) comments: Vec<Comment>,
    /// Mistakes that do not keep the rest from being read (two equal keys).
    pub(crate) faults: Vec<Fault>,
}

impl Tree {
    pub(crate) fn to_value(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Node::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for entry in entries {
                    map.insert(entry.key.clone(), entry.value.to_value());
                }
                Value::Object(map)
            }
        }
    }

    /// The key (if it has one) and the value at the end of `path`, or as far as the path leads.
    pub(crate) fn find(&self, path: &[String]) -> (Option<Place>, &Self) {
        let mut at = (None, self);
        for step in path {
            let next = match &at.1.node {
                Node::Map(entries) => entries
                    .iter()
                    .find(|entry| entry.key == *step)
                    .map(|entry| (Some(entry.key_place), &entry.value)),
                Node::List(items) => {
                    step.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (None, item))
                }
                Node::Scalar(_) => None,
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    fn count(&self) -> usize {
        1 + match &self.node {
            Node::Scalar(_) => 0,
            Node::List(items) => items.iter().map(Self::count).sum(),
            Node::Map(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
        }
    }
}

/// Reads a text. What keeps it from being read at all is the error.
pub(crate) fn read(text: &str) -> Result<Text, Fault> {
    let start = Place { line: 1, column: 1, start: 0, end: 0 };
    if text.len() > MAX_BYTES {
        return Err(Fault::new("too_large", "the document is larger than 1 MiB", start));
    }
    if text.starts_with('\u{feff}') {
        return Err(Fault::new("byte_order_mark", "the document begins with a byte order mark", start)
            .suggest("save it as UTF-8 without a byte order mark"));
    }
    let trimmed = text.trim_start();
    let is_json = trimmed
        .strip_prefix('{')
        .is_some_and(|rest| matches!(rest.trim_start().chars().next(), None | Some('"' | '}')));
    if !is_json {
        return yaml(text);
    }
    match Json::read(text) {
        Ok(read) => Ok(read),
        // A flow map of YAML may begin like JSON.
        Err(fault) => yaml(text).map_err(|_| fault),
    }
}

/// Builds the tree of a document from events.
struct Yaml<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Tree>,
    comments: Vec<Comment>,
    faults: Vec<Fault>,
    nodes: usize,
}

fn yaml(text: &str) -> Result<Text, Fault> {
    let mut reader = Yaml {
        text,
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        comments: Vec::new(),
        faults: Vec::new(),
        nodes: 0,
    };
    let empty = Fault::new("empty", "the document is empty", Place { line: 1, column: 1, start: 0, end: 0 });
    let mut tree = None;
    loop {
        let (event, span) = match reader.next() {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(fault) => return Err(fault),
        };
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {
                if tree.is_some() && matches!(event, Event::DocumentStart(..)) {
                    return Err(Fault::new(
                        "several_documents",
                        "one file holds one workflow",
                        reader.place(span),
                    )
                    .suggest("split the file at `---`, or use the bulk import"));
                }
            }
            event => tree = Some(reader.node(event, span, MAX_DEPTH)?),
        }
    }
    let tree = tree.ok_or(empty)?;
    Ok(Text { tree, comments: reader.comments, faults: reader.faults })
}

impl<'t> Yaml<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Fault> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.scan_fault(&error)),
                Some(Ok((Event::Comment(text, placement), span))) => self.comments.push(Comment {
                    line: span.start.line() as u32,
                    text: format!("#{text}"),
                    alone: placement != Placement::Right,
                }),
                Some(Ok(next)) => return Ok(Some(next)),
            }
        }
    }

    fn expect(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.next()? {
            Some(next) => Ok(next),
            None => Err(Fault::new(
                "syntax",
                "the document ends too early",
                Place { line: 1, column: 1, start: 0, end: 0 },
            )),
        }
    }

    fn place(&self, span: Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).min(self.text.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, self.text.len());
        Place { line: span.start.line() as u32, column: span.start.col() as u32 + 1, start, end }
    }

    fn scan_fault(&self, error: &ScanError) -> Fault {
        let marker = error.marker();
        let start = marker.byte_offset().unwrap_or(0).min(self.text.len());
        let mut place =
            Place { line: marker.line() as u32, column: marker.col() as u32 + 1, start, end: start };
        let line = self.text.lines().nth((place.line as usize).saturating_sub(1)).unwrap_or_default();
        let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        let info = error.info();
        if indentation.contains('\t') {
            place.column = indentation.chars().take_while(|c| *c != '\t').count() as u32 + 1;
            return Fault::new("tab", "a tab cannot be used as indentation", place)
                .suggest("indent with spaces");
        }
        let fault = Fault::new("syntax", format!("this is not YAML: {info}"), place);
        if let Some(at) = line.find("${{").filter(|at| line[..*at].contains(['{', '['])) {
            place.column = line[..at].chars().count() as u32 + 1;
            return Fault::new("syntax", "inside `{ … }` or `[ … ]` an expression must be quoted", place)
                .suggest("write \"${{ … }}\", or use block style: one key a line");
        }
        if line.matches(": ").count() > 1 {
            return fault.suggest("a text with `: ` must be quoted");
        }
        fault
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(
                "too_many_nodes",
                "the document has more than 250,000 nodes, aliases included",
                place,
            ));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Tree, Fault> {
        let place = self.place(span);
        if depth == 0 {
            return Err(Fault::new("too_deep", "the document is nested deeper than 64", place));
        }
        let (tree, anchor) = match event {
            Event::Alias(id) => {
                let tree = self.anchors.get(&id).cloned().ok_or_else(|| {
                    Fault::new("syntax", "an alias cannot stand inside what it names", place)
                })?;
                self.spend(tree.count(), place)?;
                if depth_of(&tree) >= depth {
                    return Err(Fault::new("too_deep", "the document is nested deeper than 64", place));
                }
                return Ok(tree);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(1, place)?;
                let plain = style == ScalarStyle::Plain;
                let forced = match tag.as_deref() {
                    None => false,
                    Some(tag) if tag.core_suffix() == Some("str") => true,
                    Some(tag) => return Err(tag_fault(&tag.original(), place)),
                };
                let node = if plain && !forced {
                    let value = match resolve(&text) {
                        Ok(value) => value,
                        Err(message) => {
                            self.faults.push(
                                Fault::new("number", message, place).suggest(format!("quote it: \"{text}\"")),
                            );
                            Value::String(text.into_owned())
                        }
                    };
                    Node::Scalar(value)
                } else {
                    Node::Scalar(Value::String(text.into_owned()))
                };
                (Tree { place, node }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                if let Some(tag) = tag.as_deref().filter(|tag| tag.core_suffix() != Some("seq")) {
                    return Err(tag_fault(&tag.original(), place));
                }
                self.spend(1, place)?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.expect()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, span, depth - 1)?);
                }
                (Tree { place, node: Node::List(items) }, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                if let Some(tag) = tag.as_deref().filter(|tag| tag.core_suffix() != Some("map")) {
                    return Err(tag_fault(&tag.original(), place));
                }
                self.spend(1, place)?;
                let entries = self.entries(depth)?;
                (Tree { place, node: Node::Map(entries) }, anchor)
            }
            _ => return Err(Fault::new("syntax", "this is not a value", place)),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        Ok(tree)
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.expect()?;
            let key_place = self.place(span);
            let (key, plain) = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, style, ..) => (text.into_owned(), style == ScalarStyle::Plain),
                _ => {
                    return Err(Fault::new("syntax", "a key must be text", key_place)
                        .suggest("quote it; inside `{ … }` an expression must be quoted: \"${{ … }}\""));
                }
            };
            self.spend(1, key_place)?;
            let (event, span) = self.expect()?;
            let value = self.node(event, span, depth - 1)?;
            if plain && key == "<<" {
                let sources = match value.node {
                    Node::Map(merged) => vec![merged],
                    Node::List(items) if items.iter().all(|item| matches!(item.node, Node::Map(_))) => items
                        .into_iter()
                        .filter_map(
                            |item| if let Node::Map(merged) = item.node { Some(merged) } else { None },
                        )
                        .collect(),
                    _ => {
                        return Err(Fault::new("merge", "`<<` takes a map or a list of maps", value.place)
                            .suggest("refer to an anchor on a map: `<<: *name`"));
                    }
                };
                for entry in sources.into_iter().flatten() {
                    if !places.contains_key(&entry.key) {
                        places.insert(entry.key.clone(), entries.len());
                        entries.push(Entry { merged: true, ..entry });
                    }
                }
                continue;
            }
            match places.get(&key).copied() {
                Some(earlier) if entries[earlier].merged => {
                    entries[earlier] = Entry { key, key_place, value, merged: false };
                }
                Some(earlier) => self.faults.push(duplicate(&key, key_place, entries[earlier].key_place)),
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push(Entry { key, key_place, value, merged: false });
                }
            }
        }
    }
}

fn duplicate(key: &str, place: Place, earlier: Place) -> Fault {
    Fault::new(
        "duplicate_key",
        format!("the key `{key}` is given twice; first in line {}", earlier.line),
        place,
    )
    .suggest("rename or remove one of them")
}

fn tag_fault(tag: &str, place: Place) -> Fault {
    Fault::new("tag", format!("the tag `{tag}` is not supported"), place).suggest("remove it")
}

fn depth_of(tree: &Tree) -> usize {
    1 + match &tree.node {
        Node::Scalar(_) => 0,
        Node::List(items) => items.iter().map(depth_of).max().unwrap_or(0),
        Node::Map(entries) => entries.iter().map(|entry| depth_of(&entry.value)).max().unwrap_or(0),
    }
}

/// What a plain scalar means: the core schema of YAML 1.2, with `true` and `false` as the only booleans.
pub(crate) fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(Ok(value)) => value,
            Some(Err(message)) => return Err(message),
            None => Value::String(text.to_owned()),
        },
    })
}

fn number(text: &str) -> Option<Result<Value, String>> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(format!("`{text}` is not a number that JSON can hold")));
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text
            .strip_prefix(prefix)
            .filter(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix)))
        {
            return Some(match u64::from_str_radix(digits, radix) {
                Ok(number) => Ok(Value::from(number)),
                Err(_) => Err(format!("`{text}` is too large for a number")),
            });
        }
    }
    if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        return Some(match (unsigned.parse::<i64>(), unsigned.parse::<u64>()) {
            (Ok(number), _) => Ok(Value::from(number)),
            (_, Ok(number)) => Ok(Value::from(number)),
            _ => Err(format!("`{text}` is too large for a whole number")),
        });
    }
    let (mantissa, exponent) = match bare.find(['e', 'E']) {
        Some(at) => (&bare[..at], Some(&bare[at + 1..])),
        None => (bare, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_float = (!whole.is_empty() || !fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|part| {
            let part = part.strip_prefix(['+', '-']).unwrap_or(part);
            !part.is_empty() && digits(part)
        });
    if !is_float {
        return None;
    }
    let float = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    Some(float.map(Value::Number).ok_or_else(|| format!("`{text}` is too large for a number")))
}

/// JSON with line and column.
struct Json<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    line_start: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl<'t> Json<'t> {
    fn read(text: &'t str) -> Result<Text, Fault> {
        let mut reader = Self { text, at: 0, line: 1, line_start: 0, nodes: 0, faults: Vec::new() };
        reader.space();
        let tree = reader.value(MAX_DEPTH)?;
        reader.space();
        if reader.at < text.len() {
            return Err(Fault::new("syntax", "the document goes on after its end", reader.here()));
        }
        Ok(Text { tree, comments: Vec::new(), faults: reader.faults })
    }

    fn here(&self) -> Place {
        let column =
            self.text.get(self.line_start..self.at).map_or(1, |line| line.chars().count() as u32 + 1);
        Place { line: self.line, column, start: self.at, end: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.at + 1;
                }
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    fn wrong(&self, message: impl Into<String>) -> Fault {
        Fault::new("syntax", format!("this is not JSON: {}", message.into()), self.here())
    }

    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        let found = self.text[self.at..].chars().next();
        Err(match found {
            Some(found) => self.wrong(format!("expected `{}`, found `{found}`", byte as char)),
            None => self.wrong(format!("expected `{}`, found the end", byte as char)),
        })
    }

    fn value(&mut self, depth: usize) -> Result<Tree, Fault> {
        let mut place = self.here();
        self.nodes += 1;
        if depth == 0 {
            return Err(Fault::new("too_deep", "the document is nested deeper than 64", place));
        }
        if self.nodes > MAX_NODES {
            return Err(Fault::new("too_many_nodes", "the document has more than 250,000 nodes", place));
        }
        let node = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Node::Map(self.entries(depth)?)
            }
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                self.space();
                if self.peek() == Some(b']') {
                    self.at += 1;
                } else {
                    loop {
                        self.space();
                        items.push(self.value(depth - 1)?);
                        self.space();
                        if self.peek() == Some(b',') {
                            self.at += 1;
                            continue;
                        }
                        self.take(b']')?;
                        break;
                    }
                }
                Node::List(items)
            }
            Some(b'"') => Node::Scalar(Value::String(self.string()?)),
            Some(_) => {
                let rest = &self.text[self.at..];
                let length = rest
                    .find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | ':' | '"'))
                    .unwrap_or(rest.len());
                let word = &rest[..length];
                let value: Value = serde_json::from_str(word).map_err(|_| {
                    self.wrong(if word.is_empty() {
                        "a value is missing".to_owned()
                    } else {
                        format!("`{word}` is no value")
                    })
                })?;
                self.at += length;
                Node::Scalar(value)
            }
            None => return Err(self.wrong("a value is missing at the end")),
        };
        place.end = self.at;
        Ok(Tree { place, node })
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(entries);
        }
        loop {
            self.space();
            let mut key_place = self.here();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in quotes is missing"));
            }
            let key = self.string()?;
            key_place.end = self.at;
            self.space();
            self.take(b':')?;
            self.space();
            let value = self.value(depth - 1)?;
            match places.get(&key) {
                Some(earlier) => self.faults.push(duplicate(&key, key_place, entries[*earlier].key_place)),
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push(Entry { key, key_place, value, merged: false });
                }
            }
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.take(b'}')?;
            return Ok(entries);
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                None | Some(b'\n') => return Err(self.wrong("a text in quotes is not closed")),
                Some(b'\\') => end += 2,
                Some(b'"') => break,
                Some(_) => end += 1,
            }
        }
        let text =
            self.text.get(self.at..=end).ok_or_else(|| self.wrong("a text in quotes is not closed"))?;
        let read = serde_json::from_str(text).map_err(|error| self.wrong(format!("{error} in this text")))?;
        self.at = end + 1;
        Ok(read)
    }
}
