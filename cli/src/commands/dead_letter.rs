//! `apg dead-letter`: messages that nobody could use.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;

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
}

const PATH: &str = "/api/v1/dead-letters";

pub(crate) async fn run(args: Args) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    match args.verb {
        Verb::List { limit } => {
            let items = client.list(PATH, &[], limit).await?;
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
        Verb::Delete { id } => {
            client.ask(Method::DELETE, &format!("{PATH}/{}", segment(&id)), &[], None).await?;
            output::say(format_args!("{id} was removed"));
        }
    }
    Ok(Exit::Success)
}
