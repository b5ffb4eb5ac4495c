//! `apg trigger`, `apg backfill`, `apg event`: what starts workflows by itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::SettingsArgs;
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
    /// Lists triggers.
    List {
        /// Only those of this workflow.
        #[arg(long, value_name = "ID")]
        workflow: Option<String>,
        /// Only those of this type, such as `schedule`.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows one trigger.
    Show { id: String },
    /// Pauses a trigger: it starts nothing until it is resumed.
    Pause { id: String },
    /// Lets a paused trigger go on from now.
    Resume { id: String },
    /// Shows when a schedule fires next.
    Next {
        id: String,
        /// How many fires.
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// Starts the workflow of a trigger as if it had fired.
    Fire {
        id: String,
        /// The data as JSON; for a manual trigger the workflow's parameters.
        #[arg(long, value_name = "JSON")]
        body: Option<String>,
    },
    /// Gives a webhook a new address, and shows it once.
    Rotate { id: String },
    /// Lists the fires of a schedule, newest first, and why some were skipped.
    Fires {
        id: String,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Lists what came in through a trigger, newest first.
    Receipts {
        id: String,
        /// Only what is parked.
        #[arg(long)]
        parked: bool,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Starts what is parked, by the id of its receipt.
    Replay { receipt: String },
}

const PATH: &str = "/api/v1/triggers";

/// Shows a list as a table, or as JSON.
fn show(client: &Client, items: &[Value], columns: &[&str]) {
    match client.output {
        Format::Json => output::json(&items),
        Format::Text => {
            let rows: Vec<Vec<String>> =
                items.iter().map(|item| columns.iter().map(|key| cell(item, key)).collect()).collect();
            let heads: Vec<String> = columns.iter().map(|key| key.to_uppercase()).collect();
            let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
            output::data(&output::table(&heads, &rows));
        }
    }
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    let of = |id: &str, verb: &str| format!("{PATH}/{}/{verb}", segment(id));
    match args.verb {
        Verb::List { workflow, kind, limit } => {
            let mut query = Vec::new();
            query.extend(workflow.as_deref().map(|id| ("workflow_id", id.to_owned())));
            query.extend(kind.as_deref().map(|kind| ("type", kind.to_owned())));
            let items = client.list(PATH, &query, limit).await?;
            show(&client, &items, &["id", "name", "workflow_name", "type", "status", "next_fire_at"]);
        }
        Verb::Show { id } => client.show(&client.get(&format!("{PATH}/{}", segment(&id))).await?),
        Verb::Pause { id } => client.show(&client.post(&of(&id, "pause"), &json!({})).await?),
        Verb::Resume { id } => client.show(&client.post(&of(&id, "resume"), &json!({})).await?),
        Verb::Next { id, count } => {
            let answer = client.get(&format!("{}?count={count}", of(&id, "next"))).await?;
            match client.output {
                Format::Json => output::json(&answer),
                Format::Text => {
                    let all = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
                    let rows: Vec<Vec<String>> = all("fires")
                        .iter()
                        .zip(all("local"))
                        .map(|(at, local)| vec![plain(at), plain(&local)])
                        .collect();
                    let zone = plain(&answer["timezone"]).to_uppercase();
                    output::data(&output::table(&["UTC", &zone], &rows));
                }
            }
        }
        Verb::Fire { id, body } => {
            let body = body.map(|text| serde_json::from_str::<Value>(&text)).transpose();
            let body = body.context("`--body` is no JSON")?;
            let asked = body.map_or_else(|| json!({}), |body| json!({ "body": body }));
            client.show(&client.post(&of(&id, "fire"), &asked).await?);
        }
        Verb::Rotate { id } => client.show(&client.post(&of(&id, "rotate"), &json!({})).await?),
        Verb::Fires { id, limit } => {
            let items = client.list(&of(&id, "fires"), &[], limit).await?;
            show(&client, &items, &["at", "until", "outcome", "execution_id", "reason"]);
        }
        Verb::Receipts { id, parked, limit } => {
            let query: Vec<(&str, String)> =
                parked.then(|| ("outcome", "parked".to_owned())).into_iter().collect();
            let items = client.list(&of(&id, "receipts"), &query, limit).await?;
            show(&client, &items, &["id", "received_at", "outcome", "execution_id", "dedupe_key", "error"]);
        }
        Verb::Replay { receipt } => {
            let path = format!("/api/v1/receipts/{}/replay", segment(&receipt));
            client.show(&client.post(&path, &json!({})).await?);
        }
    }
    Ok(Exit::Success)
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackfillArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: BackfillVerb,
}

#[derive(Debug, clap::Subcommand)]
enum BackfillVerb {
    /// Carries out the fires of a schedule in a range of the past.
    Create {
        /// The schedule's id.
        trigger: String,
        /// The first instant (RFC 3339), included.
        #[arg(long, value_name = "TIME")]
        from: String,
        /// The last instant (RFC 3339), included.
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Why; kept with each start.
        #[arg(long)]
        reason: String,
        /// How many executions are open at once.
        #[arg(long, default_value_t = 1)]
        parallel: u32,
        /// Begins with the newest.
        #[arg(long)]
        newest_first: bool,
        /// Only counts and lists what would start.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists backfills, newest first.
    List {
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows one backfill.
    Show { id: String },
    /// Pauses a backfill.
    Pause { id: String },
    /// Lets a paused backfill go on where it stopped.
    Resume { id: String },
    /// Ends a backfill; what it has started goes on.
    Cancel { id: String },
}

const BACKFILLS: &str = "/api/v1/backfills";

pub(crate) async fn backfill(settings: &SettingsArgs, args: BackfillArgs) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    let of = |id: &str| format!("{BACKFILLS}/{}", segment(id));
    match args.verb {
        BackfillVerb::Create { trigger, from, to, reason, parallel, newest_first, dry_run } => {
            let asked = json!({
                "from": from, "to": to, "reason": reason, "parallel": parallel, "dry_run": dry_run,
                "order": if newest_first { "newest_first" } else { "oldest_first" },
            });
            client.show(&client.post(&format!("{PATH}/{}/backfills", segment(&trigger)), &asked).await?);
        }
        BackfillVerb::List { limit } => {
            let items = client.list(BACKFILLS, &[], limit).await?;
            show(&client, &items, &["id", "trigger_id", "status", "total", "started", "skipped", "reason"]);
        }
        BackfillVerb::Show { id } => client.show(&client.get(&of(&id)).await?),
        BackfillVerb::Pause { id } => {
            client.show(&client.post(&format!("{}/pause", of(&id)), &json!({})).await?);
        }
        BackfillVerb::Resume { id } => {
            client.show(&client.post(&format!("{}/resume", of(&id)), &json!({})).await?);
        }
        BackfillVerb::Cancel { id } => {
            client.show(&client.post(&format!("{}/cancel", of(&id)), &json!({})).await?);
        }
    }
    Ok(Exit::Success)
}

#[derive(Debug, clap::Args)]
pub(crate) struct EventArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: EventVerb,
}

#[derive(Debug, clap::Subcommand)]
enum EventVerb {
    /// Publishes an event, and shows what it started.
    Send {
        /// Its type, such as `order.created`.
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// Its id; the same source and id again starts nothing.
        #[arg(long)]
        id: String,
        /// Where it comes from.
        #[arg(long, default_value = "apg")]
        source: String,
        /// What correlates it with who waits for it.
        #[arg(long)]
        key: Option<String>,
        /// What it says, as JSON.
        #[arg(long, value_name = "JSON", conflicts_with = "file")]
        data: Option<String>,
        /// A file with what it says, as JSON.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Lists the events that were published, newest first.
    List {
        /// Only those of this type.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

const EVENTS: &str = "/api/v1/events";

pub(crate) async fn event(settings: &SettingsArgs, args: EventArgs) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    match args.verb {
        EventVerb::Send { kind, id, source, key, data, file } => {
            let text = match (data, file) {
                (Some(text), _) => Some(text),
                (None, Some(path)) => Some(
                    std::fs::read_to_string(&path)
                        .with_context(|| format!("{} cannot be read", path.display()))?,
                ),
                (None, None) => None,
            };
            let data = text.map(|text| serde_json::from_str::<Value>(&text)).transpose();
            let data = data.context("what the event says is no JSON")?;
            let mut event = json!({ "specversion": "1.0", "id": id, "source": source, "type": kind });
            if let Some(key) = key {
                event["correlationkey"] = Value::from(key);
            }
            if let Some(data) = data {
                event["data"] = data;
            }
            client.show(&client.post(EVENTS, &event).await?);
        }
        EventVerb::List { kind, limit } => {
            let query: Vec<(&str, String)> = kind.map(|kind| ("type", kind)).into_iter().collect();
            let items = client.list(EVENTS, &query, limit).await?;
            show(&client, &items, &["id", "type", "source", "key", "received_at"]);
        }
    }
    Ok(Exit::Success)
}
