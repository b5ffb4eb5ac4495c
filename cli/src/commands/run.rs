//! `apg run`: one workflow, no server.
//!
//! The whole engine in this process over a database that is removed afterwards.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use shared::{
    component::{Failure, PayloadAccess},
    execution::{Event, Payload, Status, Turn},
    ids::{ExecutionId, TenantId},
    time::Timestamp,
};

use super::SettingsArgs;
use crate::{
    Exit,
    compose::{Ports, Roles, Running},
    documents, logging, output,
    parameters::ParameterArgs,
    settings::{SecretUrl, Settings},
    submit,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The document; `-` reads standard input.
    file: PathBuf,
    /// A further document that it calls as a sub-workflow; may be given several times, in the order needed.
    #[arg(long = "with", value_name = "FILE")]
    others: Vec<PathBuf>,
    #[command(flatten)]
    parameters: ParameterArgs,
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let (name, text) = documents::text(&args.file)?;
    let read = documents::read(&name, &text)?;
    for warning in &read.warnings {
        output::say(format_args!("{warning}\n"));
    }
    let workflow = &read.workflow;
    let given = args.parameters.read(|name| {
        let parameter = workflow.parameters.iter().find(|parameter| parameter.name == name)?;
        serde_json::to_value(parameter.kind).ok()?.as_str().map(ToOwned::to_owned)
    })?;
    let parameters = match workflow.check_parameters(&given) {
        Ok(parameters) => parameters,
        Err(problems) => {
            output::say(documents::show(&problems));
            return Ok(Exit::Wrong);
        }
    };

    let mut settings: Settings = settings.load()?.settings;
    logging::start(&settings, true)?;
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    settings.database.url =
        Some(SecretUrl::new(format!("sqlite:{}", folder.path().join("run.db").display())));
    settings.amqp.url = None;
    settings.redis.url = None;
    settings.monitoring.enabled = false;
    let ports = Ports::open(&settings).await?;
    let running = Running::start(&settings, &ports, Roles { api: false, coordinator: true, worker: true })?;
    for file in &args.others {
        let (name, text) = documents::text(file)?;
        submit::keep(&ports, &text, &documents::read(&name, &text)?, false).await?;
    }
    let row = submit::keep(&ports, &text, &read, false).await?;
    let execution = submit::start(&ports, &row, parameters).await?;
    let total = workflow.scopes[0].components.len() as u64;
    let ended = running.ended();
    let exit = tokio::select! {
        exit = follow(&ports, execution, total) => exit?,
        _ = tokio::signal::ctrl_c() => {
            output::say("Interrupted");
            // What still runs ends with the process; nothing of it is kept.
            return Ok(Exit::Interrupted);
        }
        () = ended.cancelled() => Exit::Failed,
    };
    running.stop().await?;
    Ok(exit)
}

/// The lines of an execution, one for each component that settles.
struct Lines {
    bar: ProgressBar,
    dispatched: HashMap<String, Timestamp>,
    ended: Option<(Status, Option<Payload>, Option<Failure>)>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Lines {
    fn new(total: u64) -> Self {
        let bar = if output::is_watched() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {pos}/{len} {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, dispatched: HashMap::new(), ended: None, started_at: None, ended_at: None }
    }

    fn say(&self, text: &str) {
        if self.bar.is_hidden() { output::say(text) } else { self.bar.println(text) }
    }

    fn settled(&self, state: &str, component: &str, since: Option<Timestamp>, at: Timestamp, more: &str) {
        let time =
            since.map(|since| output::duration(at.since(since).as_millis() as u64)).unwrap_or_default();
        self.say(format!("{state:9}  {component:24}  {time:>10}  {more}").trim_end());
        self.bar.inc(1);
    }

    fn turn(&mut self, turn: Turn) {
        let at = turn.at;
        for event in turn.events {
            // The rounds of a loop may be many: the loop itself says how they went.
            if event.task().is_some_and(|task| !task.iteration.is_none()) {
                continue;
            }
            match event {
                Event::Started => self.started_at = Some(at),
                Event::TaskDispatched { task, .. } => {
                    self.dispatched.insert(task.to_string(), at);
                }
                Event::TaskCompleted { task, started_at, finished_at, .. } => {
                    self.settled("completed", &task.to_string(), Some(started_at), finished_at, "");
                }
                Event::Decided { task, .. } => self.settled("completed", &task.to_string(), None, at, ""),
                Event::TaskFailed { task, attempt, failure, retry_at, .. } => {
                    let task = task.to_string();
                    let since = self.dispatched.get(&task).copied();
                    match retry_at {
                        None => self.settled("failed", &task, since, at, &failure.to_string()),
                        Some(retry_at) => {
                            let pause = output::duration(retry_at.since(at).as_millis() as u64);
                            self.say(&format!(
                                "retrying   {task:24}  attempt {attempt}, again in {pause}: {failure}"
                            ));
                        }
                    }
                }
                Event::DecisionFailed { task, failure } => {
                    self.settled("failed", &task.to_string(), None, at, &failure.to_string());
                }
                Event::Skipped { task, .. } => self.settled("skipped", &task.to_string(), None, at, ""),
                Event::TaskCancelled { task, .. } => {
                    self.settled("cancelled", &task.to_string(), None, at, "");
                }
                Event::TaskOffered { task, .. } => {
                    self.say(&format!("waiting    {task:24}  no worker offers it"));
                }
                Event::Asked { task, ask } => {
                    let whom = ask.assignees.join(", ");
                    self.say(&format!(
                        "waiting    {task:24}  asks {whom}, and nobody can answer here: use `apg serve`"
                    ));
                }
                Event::Awaiting { task, event, until, .. } => {
                    self.say(&format!("waiting    {task:24}  for the event `{event}` until {until}"));
                }
                Event::ChildOrdered { task, workflow, child, .. } => {
                    self.say(&format!("calling    {task:24}  {workflow} as {child}"));
                }
                Event::Compensated { task, failure: None } => {
                    self.say(&format!("undone     {task}"));
                }
                Event::Compensated { task, failure: Some(failure) } => {
                    self.say(&format!("not undone {task:24}  {failure}"));
                }
                Event::Delayed { task, until } => self.say(&format!("waiting    {task:24}  until {until}")),
                Event::Finished { status, output, failure } => {
                    self.ended = Some((status, output, failure));
                    self.ended_at = Some(at);
                }
                _ => {}
            }
        }
    }
}

/// Shows an execution until it ends; its output goes to standard output.
pub(crate) async fn follow(ports: &Ports, execution: ExecutionId, total: u64) -> Result<Exit> {
    let mut lines = Lines::new(total);
    let mut seq = 0;
    let (status, output, failure) = loop {
        let turns = ports
            .truth()?
            .store
            .execution_turns(TenantId::DEFAULT, execution, seq, 500)
            .await
            .context("the journal cannot be read")?;
        let is_quiet = turns.is_empty();
        for turn in turns {
            seq = turn.seq;
            lines.turn(turn);
        }
        if let Some(ended) = lines.ended.take() {
            break ended;
        }
        if is_quiet {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    lines.bar.finish_and_clear();
    let time = match (lines.started_at, lines.ended_at) {
        (Some(from), Some(to)) => format!(" in {}", output::duration(to.since(from).as_millis() as u64)),
        _ => String::new(),
    };
    output::say(format_args!("{} {}{time}", execution, status.as_str()));
    if let Some(failure) = failure {
        output::say(format_args!("error: {failure}"));
    }
    if let Some(output) = output {
        output::json(&whole(ports, execution, output).await?);
    }
    Ok(if status == Status::Completed { Exit::Success } else { Exit::Failed })
}

async fn whole(ports: &Ports, execution: ExecutionId, payload: Payload) -> Result<Value> {
    match payload {
        Payload::Inline(value) => Ok(value),
        Payload::Stored(stored) => {
            let bytes = PayloadAccess::get(&*ports.payloads, execution, stored.id)
                .await
                .map_err(|failure| anyhow::anyhow!("the output cannot be read: {failure}"))?;
            serde_json::from_slice(&bytes).context("the output is not JSON")
        }
    }
}
