//! `apg dead-letter`: messages that nobody could use.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

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
    /// Lists dead letters, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows one dead letter with its bytes.
    Get { id: String },
    /// Puts a dead letter back into the queue it came from, and removes it here.
    Replay { id: String },
    /// Removes a dead letter.
    Delete { id: String },
    /// Removes the dead letters that the filters find, at least one of them; `list` shows them first.
    Purge {
        #[command(flatten)]
        filter: Filter,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only those that came from this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only those whose reason contains this.
    #[arg(long)]
    reason: Option<String>,
    /// Only those of this execution.
    #[arg(long)]
    execution: Option<String>,
    /// Only those that were set aside before this instant.
    #[arg(long, value_name = "INSTANT")]
    before: Option<String>,
}

impl Filter {
    fn query(self) -> Vec<(&'static str, String)> {
        let all = [
            ("queue", self.queue),
            ("reason", self.reason),
            ("execution_id", self.execution),
            ("before", self.before),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

const PATH: &str = "/api/v1/dead-letters";

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    match args.verb {
        Verb::List { filter, limit } => {
            let items = client.list(PATH, &filter.query(), limit).await?;
            match client.output {
                Format::Json => output::json(&items),
                Format::Text => {
                    let rows: Vec<Vec<String>> = items
                        .iter()
                        .map(|item| {
                            ["id", "queue", "at", "execution", "reason"].map(|key| cell(item, key)).to_vec()
                        })
                        .collect();
                    output::data(&output::table(&["ID", "QUEUE", "AT", "EXECUTION", "REASON"], &rows));
                }
            }
        }
        Verb::Get { id } => {
            let letter = client.get(&format!("{PATH}/{}", segment(&id))).await?;
            client.show(&letter);
        }
        Verb::Replay { id } => {
            let answer = client.post(&format!("{PATH}/{}/replay", segment(&id)), &json!({})).await?;
            if client.output == Format::Json {
                output::json(&answer);
            }
            output::say(format_args!("{id} was sent again"));
        }
        Verb::Purge { filter } => {
            let query: Map<String, Value> =
                filter.query().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            let body = json!({ "query": query });
            let mut removed = 0;
            loop {
                let answer = client.post(&format!("{PATH}/purge"), &body).await?;
                removed += answer.get("removed").and_then(Value::as_u64).unwrap_or(0);
                if answer.get("more").and_then(Value::as_bool) != Some(true) {
                    break;
                }
            }
            if client.output == Format::Json {
                output::json(&json!({ "removed": removed }));
            }
            output::say(format_args!("{removed} were removed"));
        }
        Verb::Delete { id } => {
            client.ask(Method::DELETE, &format!("{PATH}/{}", segment(&id)), &[], None).await?;
            output::say(format_args!("{id} was removed"));
        }
    }
    Ok(Exit::Success)
}
