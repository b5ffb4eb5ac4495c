//! `apg simulate`: past executions, replayed with a changed workflow.
//!
//! Nothing is run and nothing is written: a component answers what it answered then.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use coordinator::simulate::{Seen, Simulated, Simulation, Stuck};
use serde_json::{Value, json};
use shared::{
    execution::Mode,
    time::{Clock, SystemClock, parse_duration},
    workflow::Workflow,
};
use tokio::task::JoinSet;

use super::SettingsArgs;
use crate::{
    Exit,
    client::{Client, ClientArgs, segment},
    documents,
    history::{self, Past},
    output::{self, Format, cell},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// The changed document; `-` reads standard input. Without it, the draft on the server.
    file: Option<PathBuf>,
    /// Which executions: those accepted in this time, such as `last 7d`.
    #[arg(long, value_name = "PERIOD", default_value = "last 7d")]
    against: String,
    /// The workflow on the server, by id or name; the document's own name without it.
    #[arg(long, value_name = "WORKFLOW", required_unless_present = "file")]
    workflow: Option<String>,
    /// At most this many executions, the newest first.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
}

/// Journals that are asked for at once: each is a request, and most of its time is waiting.
const READERS: usize = 16;

/// One way in which executions would be different, and which.
#[derive(Debug, Default)]
struct Group {
    count: usize,
    /// The first of them.
    execution: String,
    example: String,
}

fn period(text: &str) -> Result<Duration> {
    let bare = text.trim();
    let bare = bare.strip_prefix("last ").unwrap_or(bare).trim();
    parse_duration(bare).with_context(|| format!("--against `{text}`: write it like `last 7d`"))
}

/// A value for one line.
fn short(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    if text.chars().count() <= 200 {
        text
    } else {
        format!("{} …", text.chars().take(200).collect::<String>())
    }
}

/// Where two values differ; list indexes are left out, so that equal changes are one.
fn paths(path: &str, was: &Value, is: &Value, found: &mut Vec<(String, String)>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            for key in was.keys().chain(is.keys().filter(|key| !was.contains_key(*key))) {
                let path = format!("{path}.{key}");
                match (was.get(key), is.get(key)) {
                    (Some(was), Some(is)) => paths(&path, was, is, found),
                    (was, is) => found.push((path, format!("{} → {}", short(was), short(is)))),
                }
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (was, is) in was.iter().zip(is) {
                paths(&format!("{path}[]"), was, is, found);
            }
        }
        _ if was == is => {}
        _ => found.push((path.to_owned(), format!("{} → {}", short(Some(was)), short(Some(is))))),
    }
}

/// What is different, each with an example of how.
fn changes(was: &Simulated, is: &Simulated) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for stuck in &is.stuck {
        match stuck {
            Stuck::NoMock { task, kind, attempt, input } => {
                let id = task.split('[').next().unwrap_or(task);
                let again = if *attempt > 1 { " once more" } else { "" };
                found.push((
                    format!("new call{again}: {id} ({kind})"),
                    format!("with {}", short(Some(input))),
                ));
            }
            other => found.push((format!("it goes no further: {other}"), String::new())),
        }
    }
    for (task, now) in &is.tasks {
        let id = &task.component;
        let waiting = Seen { status: "waiting", ..Seen::default() };
        let then = was.tasks.get(task).unwrap_or(&waiting);
        // Of an execution that went no further nothing is known beyond what settled.
        let is_open = !is.stuck.is_empty() && !matches!(now.status, "completed" | "failed" | "skipped");
        if then.status != now.status && !is_open {
            found.push((format!("component {id}: {} → {}", then.status, now.status), String::new()));
        } else if then.ports != now.ports && !is_open {
            let route =
                |ports: &[String]| if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
            found.push((
                format!("route of {id}: {} → {}", route(&then.ports), route(&now.ports)),
                String::new(),
            ));
        }
        if let (Some(then), Some(now)) = (then.calls.last(), now.calls.last()) {
            paths(&format!("input of {id}"), then, now, &mut found);
        }
    }
    if is.stuck.is_empty() {
        for (task, then) in was.tasks.iter().filter(|(task, _)| !is.tasks.contains_key(*task)) {
            found.push((format!("component {}: {} → gone", task.component, then.status), String::new()));
        }
        if was.status != is.status {
            let why = is.failure.as_ref().map(ToString::to_string).unwrap_or_default();
            found.push((format!("status: {} → {}", was.status.as_str(), is.status.as_str()), why));
        }
        match (&was.output, &is.output) {
            (Some(was), Some(is)) => paths("output", was, is, &mut found),
            (was, is) if was != is => {
                found
                    .push(("output".to_owned(), format!("{} → {}", short(was.as_ref()), short(is.as_ref()))));
            }
            _ => {}
        }
    }
    // A loop changes in each round, and that is one change.
    let mut known = std::collections::HashSet::new();
    found.retain(|(key, _)| known.insert(key.clone()));
    found
}

fn replay(past: &Past, workflow: &Arc<Workflow>) -> Result<Simulated, String> {
    let parameters = past.parameters(workflow)?;
    let mut simulation = Simulation::new(Arc::clone(workflow), parameters, &past.mocks);
    simulation.id = past.id;
    simulation.at = past.started_at;
    simulation.version = past.accepted.version;
    simulation.mode = Mode::Live;
    Ok(simulation.run())
}

/// What the replays found.
#[derive(Debug, Default)]
struct Found {
    groups: BTreeMap<String, Group>,
    compared: usize,
    changed: usize,
    /// Why executions could not be compared, and how many.
    skipped: BTreeMap<String, usize>,
}

impl Found {
    fn skip(&mut self, why: impl Into<String>) {
        *self.skipped.entry(why.into()).or_default() += 1;
    }

    fn compare(&mut self, past: &Past, before: &Arc<Workflow>, draft: &Arc<Workflow>) {
        if past.was_cancelled {
            return self.skip("somebody cancelled them");
        }
        if past.accepted.trial.is_some() {
            return self.skip("they only tried a part of it");
        }
        if past.has_carried {
            return self.skip("they do others again, and what they have kept was answered there");
        }
        let was = replay(past, before);
        let is = replay(past, draft);
        let was = match was {
            Ok(was) if was.stuck.is_empty() && was.status == past.status => was,
            _ if !past.left_out.is_empty() => {
                return self.skip("a result is larger than 64 KiB and not in the journal");
            }
            _ => return self.skip("replaying them as they were does not end as they did"),
        };
        let mut found = match is {
            Ok(is) => changes(&was, &is),
            Err(why) => vec![(format!("parameters: {why}"), String::new())],
        };
        self.compared += 1;
        if !found.is_empty() {
            self.changed += 1;
        }
        for (key, example) in found.drain(..) {
            let group = self.groups.entry(key).or_default();
            if group.count == 0 {
                group.execution = past.id.to_string();
                group.example = example;
            }
            group.count += 1;
        }
    }
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    let since = period(&args.against)?;
    let document = match &args.file {
        Some(path) => {
            let (name, text) = documents::text(path)?;
            Some(documents::read(&name, &text)?.workflow)
        }
        None => None,
    };
    let name = match (&args.workflow, &document) {
        (Some(name), _) => name.clone(),
        (None, Some(document)) => document.name.clone(),
        (None, None) => bail!("give a document, or name a workflow that has a draft"),
    };
    let workflow = super::workflow::find(&client, &name).await?;
    let id = cell(&workflow, "id");
    let draft = match document {
        Some(document) => document,
        None => {
            let answer = client.get(&format!("/api/v1/workflows/{}/draft", segment(&id))).await?;
            history::compile(&answer, &format!("the draft of {name}"))?
        }
    };
    // The server's clock decides what is in the period only to the difference of both clocks.
    let now = SystemClock.now();
    let from = shared::time::Timestamp::from_micros(
        now.as_micros().saturating_sub(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
    );
    let query = [
        ("workflow_id", id),
        ("status", "completed,failed,cancelled".to_owned()),
        ("created_from", from.to_string()),
    ];
    let executions = client.list("/api/v1/executions", &query, args.limit).await?;
    let begun = Instant::now();
    let mut found = Found::default();
    let mut versions: HashMap<u32, Arc<Workflow>> = HashMap::new();
    let mut ids = executions.iter().map(|execution| cell(execution, "id")).enumerate();
    let mut reading: JoinSet<Result<(usize, Past)>> = JoinSet::new();
    // Journals come in any order and are compared in that of the list, so that the first one of a change is always
    // the newest.
    let mut early: BTreeMap<usize, Past> = BTreeMap::new();
    for next in 0..executions.len() {
        let past = loop {
            while reading.len() < READERS
                && let Some((index, id)) = ids.next()
            {
                let client = client.clone();
                reading.spawn(async move { Ok((index, history::read(&client, &id).await?)) });
            }
            if let Some(past) = early.remove(&next) {
                break past;
            }
            let read = reading.join_next().await.context("an execution was not read")?;
            let (index, past) = read.context("reading an execution broke down")??;
            early.insert(index, past);
        };
        let version = past.accepted.version;
        let before = match versions.get(&version) {
            Some(before) => Arc::clone(before),
            None => {
                let before = history::version(&client, &past).await?;
                versions.insert(version, Arc::clone(&before));
                before
            }
        };
        found.compare(&past, &before, &draft);
    }
    show(&found, begun.elapsed(), client.output);
    if executions.is_empty() {
        bail!("`{name}` has no execution that ended within `{}`", args.against);
    }
    if found.compared == 0 {
        bail!("none of {} executions could be compared", executions.len());
    }
    Ok(if found.changed == 0 { Exit::Success } else { Exit::Failed })
}

fn show(found: &Found, took: Duration, format: Format) {
    let mut groups: Vec<(&String, &Group)> = found.groups.iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    let rate = found.compared as f64 / took.as_secs_f64().max(1e-6);
    if format == Format::Json {
        let changes: Vec<Value> = groups
            .iter()
            .map(|(what, group)| {
                json!({ "change": what, "executions": group.count, "first": group.execution, "example": group.example })
            })
            .collect();
        output::json(&json!({
            "compared": found.compared, "changed": found.changed, "skipped": found.skipped,
            "changes": changes, "executions_per_second": rate.round(),
        }));
        return;
    }
    for (what, group) in groups {
        output::data(&format!("{:>6} ×  {what}", group.count));
        let example = if group.example.is_empty() { String::new() } else { format!(": {}", group.example) };
        output::data(&format!("          such as {}{example}", group.execution));
    }
    for (why, count) in &found.skipped {
        output::say(format_args!("{count} not compared: {why}"));
    }
    output::say(format_args!(
        "{} of {} executions would be different ({rate:.0} executions a second were read and replayed, as they were and \
         with the change)",
        found.changed, found.compared
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_with_and_without_its_word() {
        assert_eq!(period("last 7d").ok(), Some(Duration::from_hours(7 * 24)));
        assert_eq!(period("12h").ok(), Some(Duration::from_hours(12)));
        assert!(period("yesterday").is_err());
    }

    #[test]
    fn equal_changes_of_a_list_have_one_path() {
        let mut found = Vec::new();
        paths("input of a", &json!([{ "n": 1 }, { "n": 2 }]), &json!([{ "n": 3 }, { "n": 4 }]), &mut found);
        assert!(found.iter().all(|(path, _)| path == "input of a[].n"), "{found:?}");
        assert_eq!(found[0].1, "1 → 3");
    }
}
