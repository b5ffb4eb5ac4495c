//! `type: file_operation`: files and folders below a connector's root.
//!
//! Every path is opened relative to the root by `cap-std`, which lets neither `..` nor a link lead out of it.

use std::{
    io::{self, Read, Write},
    path::{Component as Part, Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use cap_std::{
    ambient_authority,
    fs::{Dir, Metadata, OpenOptions},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    component::{ConfigProblem, Context, Effect, Failure, FailureClass, Family, Outcome, OwnPorts, Run},
    time::Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Environment,
    describe::{Component, Work, cancelled, invalid_config, is_expression, problem},
    environment::Connector,
    file_value::{FileValue, MAX_FILE_BYTES, digest, media_type_of},
    row_flow::aside,
};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Gives the file as a file value.
    Read,
    /// Writes `content`.
    Write,
    /// Adds `content` at the end; makes the file when it is missing.
    Append,
    /// Copies `path` to `to`.
    Copy,
    /// Moves `path` to `to`.
    Move,
    /// Removes a file or an empty folder; one that is missing is removed already.
    Delete,
    /// Lists a folder.
    List,
    /// Says what `path` is, how large, and when it was changed.
    Info,
    /// Makes a folder and those above it; one that exists is fine.
    MakeFolder,
}

/// What happens when the target exists. One with the same bytes is always fine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// The task fails as `conflict`.
    #[default]
    Fail,
    /// The target is replaced.
    Replace,
    /// Nothing is done, and the output says `skipped: true`.
    Skip,
    /// A number is added to the name: `report-1.csv`.
    Rename,
}

fn yes() -> bool {
    true
}

/// Reads, writes and arranges files below the root folder of a connector.
///
/// Reading gives a file value (`file`, `name`, `media_type`, `size`, `sha256`) that other components take as input.
/// Text is written as it is, a file value as its bytes, any other value as JSON.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileOperation {
    /// The connector of a folder, such as `files`.
    pub connector: String,
    /// What is done.
    pub action: Action,
    /// The path below the connector's root, with `/` between names.
    pub path: String,
    /// For `copy` and `move`: the new path below the same root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For `write` and `append`: text, a file value, or any value to be written as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// For `list`: which names are listed, such as `*.csv` or `**/*.csv` for the folders below too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What happens when the target of `write`, `copy` or `move` exists.
    #[serde(default)]
    pub if_exists: IfExists,
    /// Whether `write` and `copy` put the whole file in place at once, so that nobody sees half of it.
    #[serde(default = "yes")]
    pub atomic: bool,
    /// Whether the output of `write`, `copy` and `info` has the SHA-256 of the file.
    #[serde(default = "yes")]
    pub checksum: bool,
}

/// How many entries a list may have.
const MAX_LISTED: usize = 10_000;
const MAX_DEPTH: usize = 32;

fn refused(path: &str, why: &str) -> Failure {
    Failure::new(FailureClass::Unauthorized, format!("`{}` {why}", short(path)))
}

fn short(path: &str) -> String {
    path.chars().take(200).collect()
}

/// The path as it may be opened: names only, none that leads up.
pub(crate) fn inside(path: &str) -> Result<PathBuf, Failure> {
    if path.contains('\0') || path.contains('\\') {
        return Err(invalid_config(format!(
            "the path `{}` has a character that is not allowed",
            short(path)
        )));
    }
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Part::Normal(name) => clean.push(name),
            Part::CurDir => {}
            Part::ParentDir | Part::RootDir | Part::Prefix(_) => {
                return Err(refused(
                    path,
                    "leads out of the connector's folder; write it relative to that, without `..`",
                ));
            }
        }
    }
    Ok(clean)
}

fn io_failure(path: &str, doing: &str, error: &io::Error) -> Failure {
    use io::ErrorKind;
    let class = match error.kind() {
        ErrorKind::NotFound => FailureClass::NotFound,
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => FailureClass::Conflict,
        ErrorKind::PermissionDenied => FailureClass::Unauthorized,
        ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => FailureClass::InvalidInput,
        ErrorKind::FileTooLarge => FailureClass::LimitExceeded,
        _ => FailureClass::Unavailable,
    };
    Failure::new(class, format!("{doing} `{}`: {error}", short(path)))
}

/// Makes the folder that a path lies in; a link in its place that leads out is refused.
fn make_parent(root: &Dir, path: &str, clean: &Path) -> Result<(), Failure> {
    let Some(parent) = clean.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    let made = match root.metadata(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => root.create_dir_all(parent),
        found => found.map(|_| ()),
    };
    made.map_err(|error| io_failure(path, "making the folder of", &error))
}

pub(crate) fn changed_at(metadata: &Metadata) -> Option<Timestamp> {
    let since = metadata.modified().ok()?.into_std().duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?))
}

fn kind_of(metadata: &Metadata) -> &'static str {
    if metadata.is_file() {
        "file"
    } else if metadata.is_dir() {
        "folder"
    } else if metadata.is_symlink() {
        "link"
    } else {
        "other"
    }
}

/// One operation, ready for a thread where it may block.
struct Job {
    config: FileOperation,
    root: PathBuf,
    content: Vec<u8>,
    /// Names the temporary file of this attempt.
    mark: String,
    cancel: CancellationToken,
}

enum Answer {
    Bytes(Vec<u8>),
    Output(Value),
    Listed(Vec<Value>),
}

impl Job {
    fn open_root(&self) -> Result<Dir, Failure> {
        let makes = matches!(self.config.action, Action::Write | Action::Append | Action::MakeFolder);
        let open = || {
            if makes {
                std::fs::create_dir_all(&self.root)?;
            }
            Dir::open_ambient_dir(&self.root, ambient_authority())
        };
        open().map_err(|error| io_failure(&self.config.connector, "the folder of the connector", &error))
    }

    /// The bytes of a regular file; devices and pipes are never opened.
    fn read(root: &Dir, path: &str, clean: &Path) -> Result<Vec<u8>, Failure> {
        let metadata = root.metadata(clean).map_err(|error| io_failure(path, "reading", &error))?;
        if !metadata.is_file() {
            return Err(refused(path, "is not a file"));
        }
        if metadata.len() > MAX_FILE_BYTES as u64 {
            return Err(too_large(path, metadata.len()));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        let file = root.open(clean).map_err(|error| io_failure(path, "reading", &error))?;
        file.take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| io_failure(path, "reading", &error))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(too_large(path, bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Puts bytes at a path by the author's choice of what happens when it exists.
    fn put(&self, root: &Dir, path: &str, bytes: &[u8]) -> Result<Value, Failure> {
        let mut clean = inside(path)?;
        if clean.file_name().is_none() {
            return Err(invalid_config("`path` must name a file"));
        }
        make_parent(root, path, &clean)?;
        let mut replaced = false;
        let mut exclusive = true;
        match root.metadata(&clean) {
            Ok(found) => {
                if !found.is_file() {
                    return Err(refused(path, "exists and is not a file"));
                }
                if found.len() == bytes.len() as u64 && Self::read(root, path, &clean)? == bytes {
                    return Ok(self.written(&clean, bytes, json!({ "unchanged": true })));
                }
                match self.config.if_exists {
                    IfExists::Fail => return Err(exists(path)),
                    IfExists::Skip => return Ok(json!({ "path": slashed(&clean), "skipped": true })),
                    IfExists::Replace => {
                        replaced = true;
                        exclusive = false;
                    }
                    IfExists::Rename => clean = Self::free_name(root, &clean, bytes)?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_failure(path, "looking at", &error)),
        }
        if !self.config.atomic {
            let mut options = OpenOptions::new();
            options.write(true).create(true);
            if exclusive {
                options.create_new(true);
            } else {
                options.truncate(true);
            }
            let mut file =
                root.open_with(&clean, &options).map_err(|error| io_failure(path, "writing", &error))?;
            file.write_all(bytes)
                .and_then(|()| file.sync_all())
                .map_err(|error| io_failure(path, "writing", &error))?;
            return Ok(self.written(&clean, bytes, json!({ "replaced": replaced })));
        }
        let temporary = clean.with_file_name(format!(".{}.tmp", self.mark));
        let placed = Self::write_new(root, &temporary, bytes).and_then(|()| {
            if self.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if exclusive {
                // A link fails when the name is taken, a rename would replace it.
                match root.hard_link(&temporary, root, &clean) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                    Err(_) => root.rename(&temporary, root, &clean),
                    Ok(()) => root.remove_file(&temporary),
                }
            } else {
                root.rename(&temporary, root, &clean)
            }
        });
        if let Err(error) = placed {
            // Best effort: the file may not have been made at all.
            drop(root.remove_file(&temporary));
            if self.cancel.is_cancelled() {
                return Err(cancelled("writing a file"));
            }
            return Err(io_failure(path, "writing", &error));
        }
        Ok(self.written(&clean, bytes, json!({ "replaced": replaced })))
    }

    fn write_new(root: &Dir, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = root.open_with(path, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// The first name with a number that is free, or that holds these bytes already.
    fn free_name(root: &Dir, clean: &Path, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let stem = clean.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let ending =
            clean.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        for number in 1..1_000 {
            let next = clean.with_file_name(format!("{stem}-{number}{ending}"));
            if !root.exists(&next) || root.read(&next).is_ok_and(|known| known == bytes) {
                return Ok(next);
            }
        }
        Err(Failure::new(
            FailureClass::LimitExceeded,
            format!("`{}` and 999 names after it are taken", slashed(clean)),
        ))
    }

    fn written(&self, clean: &Path, bytes: &[u8], more: Value) -> Value {
        let mut output = json!({ "path": slashed(clean), "size": bytes.len() });
        if self.config.checksum {
            output["sha256"] = digest(bytes).into();
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            output[key.as_str()] = value.clone();
        }
        output
    }

    fn do_it(&self) -> Result<Answer, Failure> {
        let config = &self.config;
        let path = config.path.as_str();
        let clean = inside(path)?;
        let to = config.to.as_deref().map(|to| inside(to).map(|clean| (to, clean))).transpose()?;
        let root = self.open_root()?;
        let target = || to.as_ref().ok_or_else(|| invalid_config("`to` must be given"));
        Ok(match config.action {
            Action::Read => Answer::Bytes(Self::read(&root, path, &clean)?),
            Action::Write => Answer::Output(self.put(&root, path, &self.content)?),
            Action::Append => Answer::Output(self.append(&root, path, &clean)?),
            Action::Copy => {
                let bytes = Self::read(&root, path, &clean)?;
                Answer::Output(self.put(&root, target()?.0, &bytes)?)
            }
            Action::Move => {
                let (to, target) = target()?;
                Answer::Output(self.rename(&root, &clean, to, target)?)
            }
            Action::Delete => {
                let removed = match root.symlink_metadata(&clean) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                    Err(error) => return Err(io_failure(path, "deleting", &error)),
                    Ok(found) => {
                        let removed =
                            if found.is_dir() { root.remove_dir(&clean) } else { root.remove_file(&clean) };
                        removed.map_err(|error| io_failure(path, "deleting", &error))?;
                        true
                    }
                };
                Answer::Output(json!({ "path": slashed(&clean), "deleted": removed }))
            }
            Action::List => Answer::Listed(self.list(&root, path, &clean)?),
            Action::Info => {
                let shown = if clean.as_os_str().is_empty() { Path::new(".") } else { &clean };
                let metadata =
                    root.metadata(shown).map_err(|error| io_failure(path, "looking at", &error))?;
                let mut output = described(&clean, &metadata);
                if config.checksum && metadata.is_file() && metadata.len() <= MAX_FILE_BYTES as u64 {
                    output["sha256"] = digest(&Self::read(&root, path, &clean)?).into();
                }
                Answer::Output(output)
            }
            Action::MakeFolder => {
                root.create_dir_all(&clean).map_err(|error| io_failure(path, "making", &error))?;
                Answer::Output(json!({ "path": slashed(&clean) }))
            }
        })
    }

    fn append(&self, root: &Dir, path: &str, clean: &Path) -> Result<Value, Failure> {
        make_parent(root, path, clean)?;
        if root.metadata(clean).is_ok_and(|found| !found.is_file()) {
            return Err(refused(path, "exists and is not a file"));
        }
        let appended =
            root.open_with(clean, OpenOptions::new().append(true).create(true)).and_then(|mut file| {
                file.write_all(&self.content)?;
                file.sync_all()?;
                Ok(file.metadata()?.len())
            });
        let size = appended.map_err(|error| io_failure(path, "writing", &error))?;
        Ok(json!({ "path": slashed(clean), "size": size, "appended": self.content.len() }))
    }

    fn rename(&self, root: &Dir, clean: &Path, to: &str, target: &Path) -> Result<Value, Failure> {
        let path = self.config.path.as_str();
        let source = match root.symlink_metadata(clean) {
            Ok(source) => source,
            // The attempt before this one may have moved it: then the target is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(io_failure(path, "moving", &error));
            }
            Err(error) => return Err(io_failure(path, "moving", &error)),
        };
        make_parent(root, to, target)?;
        let mut place = target.to_owned();
        if root.symlink_metadata(target).is_ok() {
            match self.config.if_exists {
                IfExists::Fail => return Err(exists(to)),
                IfExists::Skip => return Ok(json!({ "path": slashed(target), "skipped": true })),
                IfExists::Replace if source.is_dir() => {
                    return Err(Failure::new(FailureClass::Conflict, "a folder replaces nothing"));
                }
                IfExists::Replace => {}
                IfExists::Rename => {
                    let bytes = if source.is_file() { Self::read(root, path, clean)? } else { Vec::new() };
                    place = Self::free_name(root, target, &bytes)?;
                }
            }
        }
        root.rename(clean, root, &place).map_err(|error| io_failure(path, "moving", &error))?;
        Ok(json!({ "path": slashed(&place), "from": slashed(clean) }))
    }

    fn list(&self, root: &Dir, path: &str, clean: &Path) -> Result<Vec<Value>, Failure> {
        let pattern = self.config.pattern.as_deref().unwrap_or("*");
        let matcher = compile_pattern(pattern)?;
        let deep = pattern.contains("**") || pattern.contains('/');
        let mut found = Vec::new();
        let mut waiting = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = waiting.pop() {
            if self.cancel.is_cancelled() {
                return Err(cancelled("listing a folder"));
            }
            let full = clean.join(&folder);
            let opened = if full.as_os_str().is_empty() { root.entries() } else { root.read_dir(&full) };
            for entry in opened.map_err(|error| io_failure(path, "listing", &error))? {
                let entry = entry.map_err(|error| io_failure(path, "listing", &error))?;
                let relative = folder.join(entry.file_name());
                let metadata = entry.metadata().map_err(|error| io_failure(path, "listing", &error))?;
                if deep && metadata.is_dir() && depth < MAX_DEPTH {
                    waiting.push((relative.clone(), depth + 1));
                }
                if matcher.is_match(&relative) {
                    if found.len() >= MAX_LISTED {
                        return Err(Failure::new(
                            FailureClass::LimitExceeded,
                            format!("more than {MAX_LISTED} entries match; narrow `pattern`"),
                        ));
                    }
                    found.push(described(&clean.join(&relative), &metadata));
                }
            }
        }
        found.sort_by(|a, b| a["path"].as_str().cmp(&b["path"].as_str()));
        Ok(found)
    }
}

fn compile_pattern(pattern: &str) -> Result<globset::GlobMatcher, Failure> {
    globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|wrong| invalid_config(format!("`pattern` is broken: {wrong}")))
}

fn exists(path: &str) -> Failure {
    Failure::new(
        FailureClass::Conflict,
        format!("`{}` exists; say with `if_exists` whether to replace, skip or rename", short(path)),
    )
}

fn too_large(path: &str, size: u64) -> Failure {
    Failure::new(
        FailureClass::LimitExceeded,
        format!("`{}` has {size} bytes; at most {MAX_FILE_BYTES} are read", short(path)),
    )
}

pub(crate) fn slashed(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn described(path: &Path, metadata: &Metadata) -> Value {
    json!({
        "path": slashed(path),
        "name": path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        "kind": kind_of(metadata),
        "size": metadata.len(),
        "changed_at": changed_at(metadata),
    })
}

#[async_trait]
impl Run for FileOperation {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let place = Environment::of(context)?.place(&self.connector)?;
        let Connector::Folder { root } = &place.connector else {
            return Err(invalid_config(format!("the connector `{}` is not a folder", self.connector)));
        };
        let content = match &self.content {
            None => Vec::new(),
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(value) => match FileValue::of(value) {
                Some(file) => file.bytes(context).await?,
                None => {
                    let mut bytes = serde_json::to_vec_pretty(value).expect("a value is JSON");
                    bytes.push(b'\n');
                    bytes
                }
            },
        };
        let job = Arc::new(Job {
            config: self.clone(),
            root: root.clone(),
            content,
            mark: digest(format!("{}/{}", context.idempotency_key, context.attempt).as_bytes())[..24]
                .to_owned(),
            cancel: context.cancel.clone(),
        });
        if context.cancel.is_cancelled() {
            return Err(cancelled("waiting to touch files"));
        }
        match aside(move || job.do_it()).await? {
            Answer::Output(output) => Ok(Outcome::of(output)),
            Answer::Bytes(bytes) => {
                let name = Path::new(&self.path).file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.unwrap_or_default();
                let media_type = media_type_of(&name);
                Ok(Outcome::of(FileValue::keep(context, name, media_type, bytes).await?.to_json()))
            }
            Answer::Listed(entries) => {
                let port = if entries.is_empty() { "empty" } else { "found" };
                Ok(Outcome {
                    output: json!({ "count": entries.len(), "entries": entries }),
                    ports: vec![port.to_owned()],
                })
            }
        }
    }
}

impl Component for FileOperation {
    const KIND: &'static str = "file_operation";
    const ALIASES: &'static [&'static str] = &["file_system", "file"];
    const FAMILY: Family = Family::Integrations;
    const SUMMARY: &'static str = "Reads, writes and arranges files below a connector's folder.";

    fn example() -> Value {
        json!({ "connector": "files", "action": "write", "path": "out/hello.txt", "content": "Hello" })
    }

    fn ports(config: &Value) -> OwnPorts {
        if config.get("action").and_then(Value::as_str) == Some("list") {
            OwnPorts::one_of(&["found", "empty"])
        } else {
            OwnPorts::none()
        }
    }

    fn effect(config: &Value) -> Effect {
        match config.get("action").and_then(Value::as_str) {
            Some("read" | "list" | "info") => Effect::Reads,
            Some("append") => Effect::Effect,
            _ => Effect::Idempotent,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let action = config.get("action").and_then(Value::as_str);
        let needs = match action {
            Some("copy" | "move") => Some("to"),
            Some("write" | "append") => Some("content"),
            _ => None,
        };
        if let Some(name) = needs.filter(|name| config.get(*name).is_none()) {
            problems
                .push(problem(&[], format!("the action `{}` needs `{name}`", action.unwrap_or_default())));
        }
        for name in ["path", "to"] {
            if let Some(path) = config.get(name).filter(|path| !is_expression(path)).and_then(Value::as_str)
                && let Err(wrong) = inside(path)
            {
                problems.push(problem(&[name], wrong.message));
            }
        }
        if let Some(pattern) =
            config.get("pattern").filter(|text| !is_expression(text)).and_then(Value::as_str)
            && let Err(wrong) = compile_pattern(pattern)
        {
            problems.push(problem(&["pattern"], wrong.message));
        }
        problems
    }
}

impl Work for FileOperation {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        match self.action {
            Action::Write | Action::Append if self.content.is_none() => {
                Err(invalid_config("`content` must be given"))
            }
            Action::Copy | Action::Move if self.to.is_none() => Err(invalid_config("`to` must be given")),
            _ => Ok(Box::new(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, run_in};

    async fn run(config: Value, context: &Context) -> Result<Outcome, Failure> {
        let mut config = config;
        config["connector"] = "files".into();
        run_in("file_operation", config, context).await
    }

    async fn class(config: Value, context: &Context) -> FailureClass {
        let shown = config.to_string();
        run(config, context).await.map(|outcome| outcome.output).expect_err(&shown).class
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let (context, folder) = context();
        let text = "Grüße 😀 שלום ${{ 7*7 }}";
        let written = run(json!({ "action": "write", "path": "a/b/ü.txt", "content": text }), &context)
            .await
            .expect("written");
        assert_eq!(
            (&written.output["size"], &written.output["replaced"]),
            (&json!(text.len()), &json!(false))
        );
        let read =
            run(json!({ "action": "read", "path": "a/b/ü.txt" }), &context).await.expect("read").output;
        assert_eq!((&read["name"], &read["media_type"]), (&json!("ü.txt"), &json!("text/plain")));
        assert_eq!(read["sha256"], written.output["sha256"]);
        let copy = json!({ "action": "write", "path": "copy.txt", "content": read });
        run(copy, &context).await.expect("a file is written");
        assert_eq!(std::fs::read_to_string(folder.path().join("files/copy.txt")).expect("text"), text);
        run(json!({ "action": "write", "path": "v.json", "content": { "a": [1] } }), &context)
            .await
            .expect("JSON");
        let json = std::fs::read_to_string(folder.path().join("files/v.json")).expect("text");
        assert_eq!(json, "{\n  \"a\": [\n    1\n  ]\n}\n");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("files")).expect("a folder").collect();
        assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
    }

    #[tokio::test]
    async fn an_existing_target_is_treated_as_the_author_says() {
        let (context, folder) = context();
        for atomic in [true, false] {
            let write = |content: &str, policy: &str| {
                json!({ "action": "write", "path": format!("x-{atomic}.txt"), "content": content,
                        "if_exists": policy, "atomic": atomic })
            };
            run(write("one", "fail"), &context).await.expect("new");
            assert_eq!(class(write("two", "fail"), &context).await, FailureClass::Conflict);
            let again = run(write("one", "fail"), &context).await.expect("the same twice");
            assert_eq!(again.output["unchanged"], true);
            let skipped = run(write("two", "skip"), &context).await.expect("skipped");
            assert_eq!(skipped.output["skipped"], true);
            let renamed = run(write("two", "rename"), &context).await.expect("renamed");
            assert_eq!(renamed.output["path"], format!("x-{atomic}-1.txt"));
            let replaced = run(write("three", "replace"), &context).await.expect("replaced");
            assert_eq!(replaced.output["replaced"], true);
            let text =
                std::fs::read_to_string(folder.path().join(format!("files/x-{atomic}.txt"))).expect("text");
            assert_eq!(text, "three");
        }
    }

    #[tokio::test]
    async fn files_are_arranged() {
        let (context, _folder) = context();
        run(json!({ "action": "make_folder", "path": "d/e" }), &context).await.expect("made");
        run(json!({ "action": "append", "path": "d/log.txt", "content": "a" }), &context)
            .await
            .expect("appended");
        let more = run(json!({ "action": "append", "path": "d/log.txt", "content": "b" }), &context)
            .await
            .expect("more");
        assert_eq!(more.output["size"], 2);
        run(json!({ "action": "copy", "path": "d/log.txt", "to": "d/e/copy.csv" }), &context)
            .await
            .expect("copied");
        run(json!({ "action": "move", "path": "d/log.txt", "to": "moved.txt" }), &context)
            .await
            .expect("moved");
        let info =
            run(json!({ "action": "info", "path": "moved.txt" }), &context).await.expect("info").output;
        assert_eq!((&info["kind"], &info["size"]), (&json!("file"), &json!(2)));
        let listed = run(json!({ "action": "list", "path": "" }), &context).await.expect("listed");
        assert_eq!(listed.ports, ["found"]);
        assert_eq!(listed.output["count"], 2);
        let deep = run(json!({ "action": "list", "path": ".", "pattern": "**/*.csv" }), &context)
            .await
            .expect("deep");
        assert_eq!(deep.output["entries"][0]["path"], "d/e/copy.csv");
        let none =
            run(json!({ "action": "list", "path": "d", "pattern": "*.pdf" }), &context).await.expect("none");
        assert_eq!((none.ports, &none.output["count"]), (vec!["empty".to_owned()], &json!(0)));
        for expected in [true, false] {
            let deleted =
                run(json!({ "action": "delete", "path": "moved.txt" }), &context).await.expect("deleted");
            assert_eq!(deleted.output["deleted"], expected);
        }
        assert_eq!(class(json!({ "action": "delete", "path": "d" }), &context).await, FailureClass::Conflict);
        assert_eq!(
            class(json!({ "action": "read", "path": "gone" }), &context).await,
            FailureClass::NotFound
        );
    }

    #[tokio::test]
    async fn no_path_leads_out_of_the_root() {
        let (context, folder) = context();
        run(json!({ "action": "make_folder", "path": "in" }), &context).await.expect("made");
        let outside = folder.path().join("outside");
        std::fs::create_dir_all(&outside).expect("outside");
        std::fs::write(outside.join("secret.txt"), "secret").expect("a secret");
        let files = folder.path().join("files");
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(&outside, files.join("link")).expect("a link");
            symlink(outside.join("secret.txt"), files.join("file-link")).expect("a link");
            symlink("../../outside", files.join("in/relative")).expect("a link");
            symlink("/dev/zero", files.join("device")).expect("a link");
        }
        for path in [
            "../outside/secret.txt",
            "in/../../outside/secret.txt",
            "/etc/passwd",
            "..",
            "./../outside",
            "link/secret.txt",
            "file-link",
            "in/relative/secret.txt",
            "device",
        ] {
            for action in ["read", "info"] {
                let failed = class(json!({ "action": action, "path": path }), &context).await;
                assert_eq!(failed, FailureClass::Unauthorized, "{action} {path}");
            }
            for config in [
                json!({ "action": "write", "path": path, "content": "x", "if_exists": "replace" }),
                json!({ "action": "append", "path": path, "content": "x" }),
            ] {
                assert_eq!(class(config, &context).await, FailureClass::Unauthorized, "{path}");
            }
        }
        for (path, to) in [("link/secret.txt", "stolen"), ("in", "../in"), ("in", "link/in")] {
            let failed = class(json!({ "action": "move", "path": path, "to": to }), &context).await;
            assert_eq!(failed, FailureClass::Unauthorized, "{path} to {to}");
        }
        assert_eq!(
            class(json!({ "action": "list", "path": "link" }), &context).await,
            FailureClass::Unauthorized
        );
        assert_eq!(
            class(json!({ "action": "read", "path": "a\\..\\b" }), &context).await,
            FailureClass::InvalidConfig
        );
        assert_eq!(std::fs::read_to_string(outside.join("secret.txt")).expect("still there"), "secret");
        assert_eq!(std::fs::read_dir(&outside).expect("outside").count(), 1);
        let removed =
            run(json!({ "action": "delete", "path": "link" }), &context).await.expect("the link goes");
        assert_eq!(removed.output["deleted"], true);
        assert!(outside.join("secret.txt").exists());
    }

    #[tokio::test]
    async fn cancelled_work_leaves_nothing() {
        let (context, folder) = context();
        context.cancel.cancel();
        let config = json!({ "action": "write", "path": "x.txt", "content": "x" });
        assert_eq!(class(config, &context).await, FailureClass::Cancelled);
        assert!(!folder.path().join("files/x.txt").exists());
    }

    #[tokio::test]
    async fn a_wrong_connector_is_named() {
        let (context, _folder) = context();
        for connector in ["nowhere", "data"] {
            let config = json!({ "connector": connector, "action": "read", "path": "x" });
            let failed = run_in("file_operation", config, &context).await.expect_err("no folder");
            assert_eq!(failed.class, FailureClass::InvalidConfig);
        }
    }
}
