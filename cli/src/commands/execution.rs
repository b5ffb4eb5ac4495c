//! `apg execution`: executions on a server.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::SettingsArgs;
use crate::{
    Exit,
    client::{Client, ClientArgs, segment},
    output::{self, Format, cell},
    parameters::ParameterArgs,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists executions, newest first.
    List {
        /// `pending`, `running`, `paused`, `completed`, `failed`, `cancelled`; several with commas.
        #[arg(long)]
        status: Option<String>,
        /// Only those that go on and will fail.
        #[arg(long)]
        failing: bool,
        /// The id of a workflow.
        #[arg(long)]
        workflow: Option<String>,
        #[arg(long)]
        tag: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows an execution with its output or failure.
    Get { id: String },
    /// Follows an execution to its end; the exit status is the execution's.
    Watch { id: String },
    /// Shows what its components wrote.
    Logs {
        id: String,
        /// At most this many lines.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Shows where each component stands.
    Tasks { id: String },
    /// Shows every event, in order.
    Journal {
        id: String,
        /// At most this many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Ends an execution. One that has ended stays as it is.
    Cancel {
        id: String,
        /// Why; it is kept in the journal.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Ends an execution at once: nothing cleans up. One that has ended stays as it is.
    Kill {
        id: String,
        /// Why; it is kept in the journal.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Pauses an execution: nothing new starts until it is resumed. What runs goes on.
    Pause {
        id: String,
        /// Why; it is kept in the journal.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Lets a paused execution go on.
    Resume { id: String },
    /// Does an execution that has ended again, as a new one: what completed is kept, what failed runs again with what
    /// follows from it.
    Retry {
        id: String,
        /// `failed`; or components that run again too, with commas between; or `whole`, which keeps nothing.
        #[arg(long, value_delimiter = ',', default_value = "failed")]
        from: Vec<String>,
        /// The version that runs: `same`, `newest` or a number.
        #[arg(long, value_name = "VERSION", default_value = "same")]
        workflow_version: String,
        /// Parameters that are to be others; those left out stay as they were.
        #[command(flatten)]
        parameters: ParameterArgs,
        /// Only shows what would be kept and what would run.
        #[arg(long)]
        dry_run: bool,
        /// The same key starts one execution, however often it is asked for.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Follows the new one to its end; the exit status is the execution's.
        #[arg(long, conflicts_with = "dry_run")]
        watch: bool,
    },
    /// Lets an open execution go on as another version of its workflow: what has ended stays, what is under way goes on.
    Move {
        id: String,
        /// The version that it goes on as: `newest` or a number.
        #[arg(long, value_name = "VERSION", default_value = "newest")]
        to: String,
        /// A component that has another id there; may be given several times.
        #[arg(long, value_name = "OLD=NEW", value_parser = renaming)]
        map: Vec<(String, String)>,
        /// Parameters that it has not yet.
        #[command(flatten)]
        parameters: ParameterArgs,
        /// Why; it is kept in the journal.
        #[arg(long, default_value = "")]
        reason: String,
        /// Only shows whether it can be moved, and what would become of each component.
        #[arg(long)]
        dry_run: bool,
    },
    /// Does one thing to every execution that the filters find, and says what became of each.
    Bulk {
        action: BulkAction,
        /// `pending`, `running`, `paused`, `completed`, `failed`, `cancelled`; several with commas.
        #[arg(long)]
        status: Option<String>,
        /// Only those that go on and will fail.
        #[arg(long)]
        failing: bool,
        /// The id of a workflow.
        #[arg(long)]
        workflow: Option<String>,
        #[arg(long)]
        tag: Option<String>,
        /// Accepted at or after this instant.
        #[arg(long, value_name = "INSTANT")]
        created_from: Option<String>,
        /// Accepted before this instant.
        #[arg(long, value_name = "INSTANT")]
        created_to: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only shows what would be done, or why not.
        #[arg(long)]
        dry_run: bool,
        /// Why, for `cancel`, `kill`, `pause` and `move`; it is kept in each journal.
        #[arg(long, default_value = "")]
        reason: String,
        /// For `move`: the version that they go on as.
        #[arg(long, value_name = "VERSION", default_value = "newest")]
        to: String,
        /// For `move`: a component that has another id there; may be given several times.
        #[arg(long, value_name = "OLD=NEW", value_parser = renaming)]
        map: Vec<(String, String)>,
        /// For `retry`: what runs again, as in `apg execution retry`.
        #[arg(long, value_delimiter = ',', default_value = "failed")]
        from: Vec<String>,
        /// For `retry`: the version that runs.
        #[arg(long, value_name = "VERSION", default_value = "same")]
        workflow_version: String,
        /// With the same key nothing is done twice to an execution.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Sends a signal to an execution that waits for it, or will.
    Signal {
        id: String,
        /// The `event` of the component that waits.
        name: String,
        /// What it brings, as JSON.
        #[arg(long, value_name = "JSON", default_value = "null")]
        data: String,
    },
    /// Lists the events that an execution waits for.
    Waits { id: String },
    /// Says what an execution is waiting for.
    Why { id: String },
    /// Writes everything that there is of an execution as one line of JSON: what an archive keeps.
    Export { id: String },
    /// Writes a test file in which an execution that has ended is a case: what it was answered, and how it ended.
    SaveAsTest {
        id: String,
        /// Where to; standard output without it. An existing file is not written over.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// What is done to each execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BulkAction {
    Retry,
    Cancel,
    Kill,
    Pause,
    Resume,
    Move,
}

impl BulkAction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Move => "move",
        }
    }
}

const PATH: &str = "/api/v1/executions";
const BULK_PATH: &str = "/api/v2/executions/bulk";
/// Executions that one request acts on.
const BULK_PAGE: usize = 50;

fn at(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}

fn list(client: &Client, items: &[Value], columns: &[(&str, &str)]) {
    match client.output {
        Format::Json => output::json(&items),
        Format::Text => {
            let rows: Vec<Vec<String>> =
                items.iter().map(|item| columns.iter().map(|(_, key)| cell(item, key)).collect()).collect();
            let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
            output::data(&output::table(&headings, &rows));
        }
    }
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    match args.verb {
        Verb::List { status, failing, workflow, tag, limit } => {
            let failing = failing.then(|| "true".to_owned());
            let query: Vec<(&str, String)> =
                [("status", status), ("failing", failing), ("workflow_id", workflow), ("tag", tag)]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect();
            let columns = [
                ("ID", "id"),
                ("WORKFLOW", "workflow_name"),
                ("STATUS", "status"),
                ("FAILING", "failing_component"),
                ("CREATED", "created_at"),
                ("MILLISECONDS", "duration_ms"),
                ("BLOCKED BY", "blocked_by"),
            ];
            list(&client, &client.list(PATH, &query, limit).await?, &columns);
        }
        Verb::Get { id } => client.show(&client.get(&at(&id)).await?),
        Verb::Watch { id } => return follow(&client, &id).await,
        Verb::Export { id } => {
            client.copy(&format!("/api/v2/executions/{}/export", segment(&id)), output::bytes).await?;
        }
        Verb::Logs { id, limit } => {
            let lines = client.list(&format!("{}/logs", at(&id)), &[], limit).await?;
            match client.output {
                Format::Json => output::json(&lines),
                Format::Text => {
                    for line in &lines {
                        output::data(&format!(
                            "{}  {:5}  {}  {}",
                            cell(line, "at"),
                            cell(line, "level"),
                            cell(line, "component"),
                            cell(line, "message")
                        ));
                    }
                }
            }
        }
        Verb::Tasks { id } => {
            let columns = [
                ("COMPONENT", "component"),
                ("TYPE", "type"),
                ("STATUS", "status"),
                ("ATTEMPT", "attempt"),
                ("MILLISECONDS", "duration_ms"),
                ("WORKER", "worker"),
            ];
            list(&client, &client.list(&format!("{}/tasks", at(&id)), &[], 10_000).await?, &columns);
        }
        Verb::Journal { id, limit } => {
            let turns = client.list(&format!("{}/journal", at(&id)), &[], limit).await?;
            match client.output {
                Format::Json => output::json(&turns),
                Format::Text => {
                    for turn in &turns {
                        for event in turn.get("events").and_then(Value::as_array).into_iter().flatten() {
                            output::data(&format!("{:>5}  {}  {event}", cell(turn, "seq"), cell(turn, "at")));
                        }
                    }
                }
            }
        }
        Verb::Cancel { id, reason } => {
            let answer = client.post(&format!("{}/cancel", at(&id)), &json!({ "reason": reason })).await?;
            client.show(&answer);
        }
        Verb::Kill { id, reason } => {
            let answer = client.post(&format!("{}/kill", at(&id)), &json!({ "reason": reason })).await?;
            client.show(&answer);
        }
        Verb::Pause { id, reason } => {
            let answer = client.post(&format!("{}/pause", at(&id)), &json!({ "reason": reason })).await?;
            client.show(&answer);
        }
        Verb::Resume { id } => {
            client.show(&client.post(&format!("{}/resume", at(&id)), &json!({})).await?);
        }
        Verb::Retry { id, from, workflow_version, parameters, dry_run, key, watch } => {
            let found = client.get(&at(&id)).await?;
            // The parameters that it was started with say which of them are texts.
            let is_text = |name: &str| found["parameters"][name].is_string().then(|| "string".to_owned());
            let body = json!({
                "from": one_or_all(from),
                "version": version(&workflow_version),
                "parameters": parameters.read(is_text)?,
                "dry_run": dry_run,
            });
            let path = format!("{}/retry", at(&id));
            let answer = client.post_once(&path, &body, key.as_deref()).await?;
            show_retried(&client, &answer);
            if watch {
                return follow(&client, &cell(&answer, "id")).await;
            }
        }
        Verb::Move { id, to, map, parameters, reason, dry_run } => {
            let body = json!({
                "version": version(&to),
                "mapping": mapping(map),
                "parameters": parameters.read(|_| None)?,
                "reason": reason,
                "dry_run": dry_run,
            });
            let path = format!("/api/v2/executions/{}/move", segment(&id));
            show_moved(&client, &client.post(&path, &body).await?);
        }
        Verb::Bulk {
            action,
            status,
            failing,
            workflow,
            tag,
            created_from,
            created_to,
            limit,
            dry_run,
            reason,
            to,
            map,
            from,
            workflow_version,
            key,
        } => {
            let texts = [
                ("status", status),
                ("workflow_id", workflow),
                ("tag", tag),
                ("created_from", created_from),
                ("created_to", created_to),
            ];
            let mut query = Map::new();
            query
                .extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
            if failing {
                query.insert("failing".to_owned(), json!(true));
            }
            let body = json!({
                "action": action.as_str(),
                "dry_run": dry_run,
                "reason": reason,
                "retry": { "from": one_or_all(from), "version": version(&workflow_version) },
                "move": { "version": version(&to), "mapping": mapping(map), "reason": reason },
            });
            return bulk(&client, body, query, limit, key.as_deref()).await;
        }
        Verb::Signal { id, name, data } => {
            let data: Value = serde_json::from_str(&data).context("--data is not JSON")?;
            let body = json!({ "name": name, "data": data });
            client.show(&client.post(&format!("{}/signals", at(&id)), &body).await?);
        }
        Verb::Waits { id } => {
            let columns =
                [("COMPONENT", "component"), ("EVENT", "event"), ("KEY", "key"), ("SINCE", "early")];
            list(&client, &client.list(&format!("{}/waits", at(&id)), &[], 10_000).await?, &columns);
        }
        Verb::SaveAsTest { id, file } => return super::save::run(&client, &id, file.as_deref()).await,
        Verb::Why { id } => {
            let answer = client.get(&format!("{}/why", at(&id))).await?;
            if client.output == Format::Json {
                output::json(&answer);
            } else {
                output::data(&cell(&answer, "summary"));
                for waiting in answer.get("waiting").and_then(Value::as_array).into_iter().flatten() {
                    output::data(&format!("  {}: {}", cell(waiting, "component"), cell(waiting, "sentence")));
                }
            }
        }
    }
    Ok(Exit::Success)
}

/// A word, or a number as one.
fn version(text: &str) -> Value {
    text.parse::<u32>().map_or_else(|_| json!(text), |number| json!(number))
}

/// Page by page, to `limit` executions or the end. What was refused makes the exit status that of a failure.
async fn bulk(
    client: &Client,
    mut body: Value,
    mut query: Map<String, Value>,
    limit: usize,
    key: Option<&str>,
) -> Result<Exit> {
    let mut items: Vec<Value> = Vec::new();
    while items.len() < limit {
        query.insert("limit".to_owned(), json!((limit - items.len()).min(BULK_PAGE)));
        body["query"] = Value::Object(query.clone());
        let page = client.post_once(BULK_PATH, &body, key).await?;
        items.extend(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
        match page.get("next_cursor") {
            Some(Value::String(cursor)) => query.insert("cursor".to_owned(), json!(cursor)),
            _ => break,
        };
    }
    let columns = [
        ("EXECUTION", "execution"),
        ("STATUS", "status"),
        ("OUTCOME", "outcome"),
        ("RETRIED AS", "retried_as"),
        ("WHY NOT", "detail"),
    ];
    list(client, &items, &columns);
    let refused = items.iter().filter(|item| item["outcome"] == "refused").count();
    output::say(format_args!("{} executions, {refused} refused", items.len()));
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for item in items.iter().filter(|item| item["outcome"] == "refused") {
        *reasons.entry(cell(item, "detail")).or_default() += 1;
    }
    for (reason, count) in reasons {
        output::say(format_args!("{count:>6}  {reason}"));
    }
    Ok(if refused == 0 { Exit::Success } else { Exit::Failed })
}

/// `OLD=NEW`.
fn renaming(text: &str) -> Result<(String, String), String> {
    let names = text.split_once('=').filter(|(old, new)| !old.is_empty() && !new.is_empty());
    names
        .map(|(old, new)| (old.to_owned(), new.to_owned()))
        .ok_or_else(|| format!("`{text}` is not OLD=NEW, such as fetch=load"))
}

fn mapping(map: Vec<(String, String)>) -> Value {
    Value::Object(map.into_iter().map(|(old, new)| (old, json!(new))).collect())
}

/// What becomes of each component, then the version.
fn show_moved(client: &Client, answer: &Value) {
    if client.output == Format::Json {
        output::json(answer);
        return;
    }
    let components = answer.get("components").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<String>> = components
        .map(|it| vec![cell(it, "component"), cell(it, "was"), cell(it, "fate"), cell(it, "status")])
        .collect();
    output::data(&output::table(&["COMPONENT", "WAS", "FATE", "STATUS"], &rows));
    let (id, from, to) = (cell(answer, "id"), cell(answer, "from_version"), cell(answer, "version"));
    match (answer["dry_run"] == true, answer["decided"] == true) {
        (true, _) => {
            output::say(format_args!("{id} can be moved from version {from} to {to}; nothing was done"));
        }
        (false, true) => output::say(format_args!("{id} goes on as version {to}")),
        (false, false) => {
            output::say(format_args!("{id} is to go on as version {to}; that is not decided yet"));
        }
    }
}

/// One word or id alone, and several as a list.
fn one_or_all(mut from: Vec<String>) -> Value {
    match from.len() {
        1 => json!(from.remove(0)),
        _ => json!(from),
    }
}

/// What becomes of each component, then the new execution.
fn show_retried(client: &Client, answer: &Value) {
    if client.output == Format::Json {
        output::json(answer);
        return;
    }
    let components = answer.get("components").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Vec<String>> = components
        .map(|component| {
            let fate = if component["kept"] == true { "kept" } else { "runs" };
            vec![cell(component, "component"), fate.to_owned(), cell(component, "sentence")]
        })
        .collect();
    output::data(&output::table(&["COMPONENT", "FATE", "WHY"], &rows));
    match answer.get("id").and_then(Value::as_str) {
        Some(id) => output::say(format_args!("{id} {}", cell(answer, "status"))),
        None => output::say("Nothing was started"),
    }
}

/// Follows an execution to its end: a bar for people, a line a change otherwise, its output at the end.
pub(crate) async fn follow(client: &Client, id: &str) -> Result<Exit> {
    let bar = output::is_watched().then(|| {
        let bar = ProgressBar::new(100);
        // The template is a constant, so it is well formed.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent}% {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut failures = 0_u32;
    let ended = loop {
        let looked = tokio::select! {
            looked = look(client, id) => looked,
            _ = tokio::signal::ctrl_c() => {
                output::say(format_args!("No longer watching; {id} goes on"));
                return Ok(Exit::Interrupted);
            }
        };
        match looked {
            Ok((execution, tasks)) => {
                failures = 0;
                for task in &tasks {
                    let (component, state) = (cell(task, "component"), cell(task, "status"));
                    if state != "waiting" && shown.get(&component) != Some(&state) {
                        let time = task.get("duration_ms").and_then(Value::as_u64).map(output::duration);
                        let line = format!("{state:9}  {component}  {}", time.unwrap_or_default());
                        match &bar {
                            Some(bar) => bar.println(line.trim_end()),
                            None => output::say(line.trim_end()),
                        }
                        shown.insert(component, state);
                    }
                }
                let status = cell(&execution, "status");
                if let Some(bar) = &bar {
                    bar.set_message(status.clone());
                    let part = execution.get("progress").and_then(Value::as_f64).unwrap_or(0.0);
                    bar.set_position(part as u64);
                }
                if status
                    .parse::<shared::execution::Status>()
                    .is_ok_and(shared::execution::Status::is_terminal)
                {
                    break execution;
                }
            }
            // A server that restarts is waited for; one that refuses is not.
            Err(error) if error.is::<crate::client::Refused>() || failures >= 30 => return Err(error),
            Err(_) => failures += 1,
        }
        tokio::time::sleep(Duration::from_millis(if failures > 0 { 1_000 } else { 300 })).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let status = cell(&ended, "status");
    let time = ended.get("duration_ms").and_then(Value::as_u64).map(output::duration).unwrap_or_default();
    output::say(format_args!("{id} {status} {time}"));
    if let Some(failure) = ended.get("failure").filter(|failure| !failure.is_null()) {
        output::say(format_args!("error: {}: {}", cell(failure, "class"), cell(failure, "message")));
    }
    if client.output == Format::Json {
        output::json(&ended);
    } else if let Some(output) = ended.get("output").filter(|output| !output.is_null()) {
        output::json(output);
    }
    Ok(if status == "completed" { Exit::Success } else { Exit::Failed })
}

async fn look(client: &Client, id: &str) -> Result<(Value, Vec<Value>)> {
    // Tasks first: what they show then is never newer than the end they are shown before.
    let tasks = client.list(&format!("{}/tasks", at(id)), &[], 10_000).await.unwrap_or_default();
    Ok((client.get(&at(id)).await?, tasks))
}
