//! JSON whose texts hold expressions. Static parts are kept as they are and copied.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CompileError, EvaluationError, Reference, Rendered, RowExpression, Scope, Segment,
    engine::{Program, ScopeSource},
    scan::{self, Piece},
};
use crate::{
    component::{Failure, FailureClass, Field},
    ids::PayloadId,
};

/// A JSON value whose texts may hold expressions, compiled.
#[derive(Debug, PartialEq)]
pub struct Template {
    root: Node,
    secrets: Vec<String>,
}

#[derive(Debug, PartialEq)]
enum Node {
    Static(Value),
    Expression(Program),
    Text(Vec<Part>),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Expression(Program),
}

/// A template as it travels to where it is rendered: its expressions as they were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    Value(Value),
    Expression(String),
    Text(Vec<WrittenPart>),
    List(Vec<Written>),
    Map(Vec<(String, Written)>),
}

/// A piece of a text that holds expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrittenPart {
    Text(String),
    Expression(String),
}

/// The wrong texts of a value, each with the keys and indexes that lead to it.
pub type TemplateErrors = Vec<(Vec<String>, CompileError)>;

/// Where an expression of a value stands and what it names, for checks.
#[derive(Debug)]
pub(crate) struct Use {
    /// Keys and indexes that lead to the text.
    pub(crate) path: Vec<String>,
    /// Where the expression begins in the text, in bytes.
    pub(crate) offset: usize,
    pub(crate) source: String,
    pub(crate) references: Vec<Reference>,
    pub(crate) is_row: bool,
}

struct Compiler<'a> {
    field: &'a dyn Fn(&[&str]) -> Field,
    errors: TemplateErrors,
    secrets: Vec<String>,
    /// Absent when nobody asks.
    uses: Option<Vec<Use>>,
}

impl Template {
    /// Compiles a value; `field_kind` says how the text at a path (list indexes left out) is read.
    ///
    /// # Errors
    /// Every wrong text, each with its path and the position inside it.
    pub fn compile(value: &Value, field_kind: &dyn Fn(&[&str]) -> Field) -> Result<Self, TemplateErrors> {
        let mut compiler =
            Compiler { field: field_kind, errors: Vec::new(), secrets: Vec::new(), uses: None };
        let root = compiler.node(value, &mut Vec::new(), &mut Vec::new());
        if compiler.errors.is_empty() {
            Ok(Self { root, secrets: compiler.secrets })
        } else {
            Err(compiler.errors)
        }
    }

    /// As [`Template::compile`], with what could be compiled, every error and every use beside it.
    pub(crate) fn compile_with_uses(
        value: &Value,
        field_kind: &dyn Fn(&[&str]) -> Field,
    ) -> (Self, TemplateErrors, Vec<Use>) {
        let mut compiler =
            Compiler { field: field_kind, errors: Vec::new(), secrets: Vec::new(), uses: Some(Vec::new()) };
        let root = compiler.node(value, &mut Vec::new(), &mut Vec::new());
        (Self { root, secrets: compiler.secrets }, compiler.errors, compiler.uses.unwrap_or_default())
    }

    /// A template without expressions.
    pub fn constant(value: Value) -> Self {
        Self { root: Node::Static(value), secrets: Vec::new() }
    }

    /// Resolves every expression.
    pub fn render(&self, scope: &dyn Scope) -> Result<Rendered, EvaluationError> {
        if let Node::Static(value) = &self.root {
            return Ok(Rendered { value: value.clone(), references: Vec::new() });
        }
        let mut renderer = Renderer {
            source: ScopeSource(scope),
            needs: Vec::new(),
            references: Vec::new(),
            path: Vec::new(),
        };
        let value = renderer.node(&self.root)?;
        if renderer.needs.is_empty() {
            Ok(Rendered { value, references: renderer.references })
        } else {
            Err(EvaluationError::Needs(renderer.needs))
        }
    }

    /// As [`Template::render`], but when the field `name` is one plain path its value comes apart, however
    /// large it is, and `null` stands in its place.
    pub fn render_apart(
        &self,
        name: &str,
        scope: &dyn Scope,
    ) -> Result<(Rendered, Option<Value>), EvaluationError> {
        let Node::Map(fields) = &self.root else { return Ok((self.render(scope)?, None)) };
        let source = ScopeSource(scope);
        let path = fields.iter().find(|(key, _)| key == name).and_then(|(_, node)| match node {
            Node::Expression(program) => program.whole_path(&source),
            _ => None,
        });
        let Some(apart) = path.transpose()? else { return Ok((self.render(scope)?, None)) };
        let mut renderer = Renderer { source, needs: Vec::new(), references: Vec::new(), path: Vec::new() };
        let mut map = Map::with_capacity(fields.len());
        for (key, node) in fields {
            let value = if key == name {
                Value::Null
            } else {
                renderer.path.push(Step::Key(key));
                let value = renderer.node(node)?;
                renderer.path.pop();
                value
            };
            map.insert(key.clone(), value);
        }
        if renderer.needs.is_empty() {
            let rendered = Rendered { value: Value::Object(map), references: renderer.references };
            Ok((rendered, Some(apart)))
        } else {
            Err(EvaluationError::Needs(renderer.needs))
        }
    }

    /// The template as it travels; [`Template::read`] makes the same of it.
    pub fn written(&self) -> Written {
        fn write(node: &Node) -> Written {
            match node {
                Node::Static(value) => Written::Value(value.clone()),
                Node::Expression(program) => Written::Expression(program.source().to_owned()),
                Node::Text(parts) => Written::Text(
                    parts
                        .iter()
                        .map(|part| match part {
                            Part::Text(text) => WrittenPart::Text(text.clone()),
                            Part::Expression(program) => WrittenPart::Expression(program.source().to_owned()),
                        })
                        .collect(),
                ),
                Node::List(items) => Written::List(items.iter().map(write).collect()),
                Node::Map(fields) => {
                    Written::Map(fields.iter().map(|(key, item)| (key.clone(), write(item))).collect())
                }
            }
        }
        write(&self.root)
    }

    /// Compiles what [`Template::written`] gave.
    ///
    /// # Errors
    /// When it comes from a release whose expressions this one does not know.
    pub fn read(written: Written) -> Result<Self, CompileError> {
        fn node(written: Written) -> Result<Node, CompileError> {
            Ok(match written {
                Written::Value(value) => Node::Static(value),
                Written::Expression(source) => Node::Expression(Program::compile(&source)?),
                Written::Text(parts) => {
                    let parts = parts.into_iter().map(|part| {
                        Ok(match part {
                            WrittenPart::Text(text) => Part::Text(text),
                            WrittenPart::Expression(source) => Part::Expression(Program::compile(&source)?),
                        })
                    });
                    Node::Text(parts.collect::<Result<_, _>>()?)
                }
                Written::List(items) => Node::List(items.into_iter().map(node).collect::<Result<_, _>>()?),
                Written::Map(fields) => {
                    let fields = fields.into_iter().map(|(key, item)| Ok((key, node(item)?)));
                    Node::Map(fields.collect::<Result<_, _>>()?)
                }
            })
        }
        Ok(Self { root: node(written)?, secrets: Vec::new() })
    }

    /// The value itself when it holds no expression.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.root {
            Node::Static(value) => Some(value),
            _ => None,
        }
    }

    /// A field of the value when that field holds no expression, whatever stands beside it.
    pub fn constant_field(&self, name: &str) -> Option<&Value> {
        match &self.root {
            Node::Static(value) => value.get(name),
            Node::Map(fields) => {
                fields.iter().find(|(key, _)| key == name).and_then(|(_, node)| match node {
                    Node::Static(value) => Some(value),
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// The names of the secrets that the worker will put in.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Everything it names.
    pub fn references(&self) -> Vec<&Reference> {
        fn collect<'a>(node: &'a Node, list: &mut Vec<&'a Reference>) {
            match node {
                Node::Static(_) => {}
                Node::Expression(program) => list.extend(program.references()),
                Node::Text(parts) => list.extend(parts.iter().flat_map(|part| match part {
                    Part::Text(_) => &[],
                    Part::Expression(program) => program.references(),
                })),
                Node::List(items) => items.iter().for_each(|item| collect(item, list)),
                Node::Map(fields) => fields.iter().for_each(|(_, item)| collect(item, list)),
            }
        }
        let mut list = Vec::new();
        collect(&self.root, &mut list);
        list
    }
}

impl Compiler<'_> {
    fn node<'v>(&mut self, value: &'v Value, keys: &mut Vec<&'v str>, path: &mut Vec<String>) -> Node {
        match value {
            Value::String(text) => match self.text(text, keys, path) {
                Ok(node) => node,
                Err(error) => {
                    self.errors.push((path.clone(), error));
                    Node::Static(Value::Null)
                }
            },
            Value::Array(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    nodes.push(self.node(item, keys, path));
                    path.pop();
                }
                if nodes.iter().all(|node| matches!(node, Node::Static(_))) {
                    Node::Static(Value::Array(nodes.into_iter().map(Node::into_static).collect()))
                } else {
                    Node::List(nodes)
                }
            }
            Value::Object(fields) => {
                let mut nodes = Vec::with_capacity(fields.len());
                for (key, item) in fields {
                    keys.push(key);
                    path.push(key.clone());
                    nodes.push((key.clone(), self.node(item, keys, path)));
                    path.pop();
                    keys.pop();
                }
                if nodes.iter().all(|(_, node)| matches!(node, Node::Static(_))) {
                    Node::Static(Value::Object(
                        nodes.into_iter().map(|(key, node)| (key, node.into_static())).collect(),
                    ))
                } else {
                    Node::Map(nodes)
                }
            }
            other => Node::Static(other.clone()),
        }
    }

    fn text(&mut self, text: &str, keys: &[&str], path: &[String]) -> Result<Node, CompileError> {
        let as_is = || Node::Static(Value::String(text.to_owned()));
        match (self.field)(keys) {
            Field::Template => self.template(text, path),
            Field::Expression => {
                let expression = super::Expression::compile(text)?;
                self.note(path, 0, text, &expression.program, false);
                Ok(Node::Expression(expression.program))
            }
            Field::RowExpression => {
                let expression = RowExpression::compile(text)?;
                self.note(path, 0, text, &expression.program, true);
                Ok(as_is())
            }
            Field::Deferred => {
                let expression = super::Expression::compile(text)?;
                self.note(path, 0, text, &expression.program, false);
                Ok(as_is())
            }
            Field::Verbatim => match text.find("${{") {
                Some(at) => {
                    Err(CompileError::at(at, "this text is passed on as it is and takes no `${{ }}`")
                        .suggest("put the value in the field for arguments and refer to it from the text"))
                }
                None => Ok(as_is()),
            },
        }
    }

    fn note(&mut self, path: &[String], offset: usize, source: &str, program: &Program, is_row: bool) {
        if let Some(uses) = &mut self.uses {
            uses.push(Use {
                path: path.to_vec(),
                offset,
                source: source.to_owned(),
                references: program.references().to_vec(),
                is_row,
            });
        }
    }

    fn template(&mut self, text: &str, path: &[String]) -> Result<Node, CompileError> {
        if !text.contains("${") {
            return Ok(Node::Static(Value::String(text.to_owned())));
        }
        let pieces = scan::pieces(text)?;
        let alone = pieces.len() == 1;
        let mut parts: Vec<Part> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Text(text) => push_text(&mut parts, text),
                Piece::Expression(source, offset) => {
                    let program = Program::compile(source).map_err(|mut error| {
                        error.offset += offset;
                        error
                    })?;
                    self.note(path, offset, source, &program, false);
                    match secret(&program, source).map_err(|mut error| {
                        error.offset += offset;
                        error
                    })? {
                        Some(name) => {
                            push_text(&mut parts, &format!("${{{{ secrets.{name} }}}}"));
                            if !self.secrets.contains(&name) {
                                self.secrets.push(name);
                            }
                        }
                        None if alone => return Ok(Node::Expression(program)),
                        None => parts.push(Part::Expression(program)),
                    }
                }
            }
        }
        Ok(match parts.as_mut_slice() {
            [] => Node::Static(Value::String(String::new())),
            [Part::Text(text)] => Node::Static(Value::String(std::mem::take(text))),
            _ => Node::Text(parts),
        })
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(before)) => before.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The name, when the program is exactly `secrets.NAME`.
fn secret(program: &Program, source: &str) -> Result<Option<String>, CompileError> {
    let Some(reference) = program.references().iter().find(|reference| reference.root == "secrets") else {
        return Ok(None);
    };
    match reference.path.as_slice() {
        [Segment::Key(name)] if source.trim() == reference.to_string() => Ok(Some(name.clone())),
        _ => {
            Err(CompileError::at(reference.start, "a secret is a mark that the worker replaces, not a value")
                .suggest("write `${{ secrets.NAME }}` alone or inside text, never in an operation"))
        }
    }
}

impl Node {
    fn into_static(self) -> Value {
        match self {
            Self::Static(value) => value,
            _ => Value::Null,
        }
    }
}

struct Renderer<'a> {
    source: ScopeSource<'a>,
    needs: Vec<PayloadId>,
    references: Vec<(String, PayloadId)>,
    path: Vec<Step<'a>>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Renderer<'a> {
    fn node(&mut self, node: &'a Node) -> Result<Value, EvaluationError> {
        Ok(match node {
            Node::Static(value) => value.clone(),
            Node::Expression(program) => {
                if let Some(payload) = program.whole_stored_output(&self.source) {
                    self.references.push((self.pointer(), payload));
                    return Ok(Value::Null);
                }
                self.evaluate(program)?
            }
            Node::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(part) => text.push_str(part),
                        Part::Expression(program) => match self.evaluate(program)? {
                            Value::String(part) => text.push_str(&part),
                            other => text.push_str(&other.to_string()),
                        },
                    }
                    if text.len() > super::MAX_RESULT {
                        return Err(EvaluationError::limit(format!(
                            "a text is larger than {} KiB",
                            super::MAX_RESULT / 1024
                        )));
                    }
                }
                let own: usize =
                    parts.iter().map(|part| if let Part::Text(text) = part { marks(text) } else { 0 }).sum();
                if marks(&text) != own {
                    return Err(forged());
                }
                Value::String(text)
            }
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    list.push(self.node(item)?);
                    self.path.pop();
                }
                Value::Array(list)
            }
            Node::Map(fields) => {
                let mut map = Map::with_capacity(fields.len());
                for (key, item) in fields {
                    self.path.push(Step::Key(key));
                    let value = self.node(item)?;
                    map.insert(key.clone(), value);
                    self.path.pop();
                }
                Value::Object(map)
            }
        })
    }

    /// The value of an expression. Needs are gathered, so that one load serves the whole template.
    fn evaluate(&mut self, program: &Program) -> Result<Value, EvaluationError> {
        match program.evaluate(&self.source) {
            Ok(value) if forges_a_secret(&value) => Err(forged()),
            Ok(value) => Ok(value),
            Err(EvaluationError::Needs(payloads)) => {
                for payload in payloads {
                    if !self.needs.contains(&payload) {
                        self.needs.push(payload);
                    }
                }
                Ok(Value::Null)
            }
            Err(error) => Err(error),
        }
    }

    fn pointer(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            text.push('/');
            match step {
                Step::Key(key) => text.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => text.push_str(&index.to_string()),
            }
        }
        text
    }
}

/// How many marks of secrets a text holds.
fn marks(text: &str) -> usize {
    text.match_indices("${{").filter(|(at, _)| text[at + 3..].trim_start().starts_with("secrets")).count()
}

fn forged() -> EvaluationError {
    EvaluationError::Failed(Failure::new(
        FailureClass::InvalidInput,
        "data may not hold the mark of a secret (`${{ secrets.… }}`): the worker would fill it in",
    ))
}

/// Whether data would be taken for the mark of a secret, and so give its holder the secret.
fn forges_a_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => marks(text) > 0,
        Value::Array(list) => list.iter().any(forges_a_secret),
        Value::Object(map) => map.iter().any(|(key, item)| marks(key) > 0 || forges_a_secret(item)),
        _ => false,
    }
}
