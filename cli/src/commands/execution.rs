//! `apg execution`: executions on a server.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    Exit,
    client::{Client, ClientArgs, segment},
    output::{self, Format, cell},
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
    /// Writes a test file in which an execution that has ended is a case: what it was answered, and how it ended.
    SaveAsTest {
        id: String,
        /// Where to; standard output without it. An existing file is not written over.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

const PATH: &str = "/api/v1/executions";

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

pub(crate) async fn run(args: Args) -> Result<Exit> {
    let client = Client::new(&args.client)?;
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
