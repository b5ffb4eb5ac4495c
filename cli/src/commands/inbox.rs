//! `apg inbox`: what people are asked on a server.

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

/// An answer.
#[derive(Debug, clap::Args)]
struct AnswerArgs {
    id: String,
    /// Kept with the answer, for people.
    #[arg(long, default_value = "")]
    comment: String,
    /// What is filled in, as JSON.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// A YAML or JSON file with what is filled in; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    data_file: Option<PathBuf>,
    /// The assignee it counts for, when there is a choice or it is given on behalf of others.
    #[arg(long = "as", value_name = "ASSIGNEE")]
    on_behalf_of: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists what is asked: the most urgent first, then the oldest.
    List {
        /// Only what is with this assignee.
        #[arg(long)]
        assignee: Option<String>,
        /// Only what is with you.
        #[arg(long)]
        mine: bool,
        /// `open`, `approved`, `rejected`, `submitted`, `expired`, `cancelled` or `any`.
        #[arg(long)]
        status: Option<String>,
        /// `approval` or `human_task`.
        #[arg(long)]
        kind: Option<String>,
        /// The id of an execution.
        #[arg(long)]
        execution: Option<String>,
        /// The id of a workflow.
        #[arg(long)]
        workflow: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows what is asked, with the answers so far.
    Show { id: String },
    /// Approves.
    Approve(AnswerArgs),
    /// Rejects.
    Reject(AnswerArgs),
    /// Hands in what is asked for.
    Submit(AnswerArgs),
    /// Takes a task on, so that nobody else does the same work.
    Claim {
        id: String,
        /// The assignee it is claimed as, when there is a choice.
        #[arg(long = "as", value_name = "ASSIGNEE")]
        on_behalf_of: Option<String>,
    },
    /// Hands a task to somebody else.
    Delegate {
        id: String,
        /// A user, role or group.
        to: String,
        /// The assignee that is replaced, when there is a choice.
        #[arg(long = "as", value_name = "ASSIGNEE")]
        on_behalf_of: Option<String>,
    },
}

const PATH: &str = "/api/v1/human-tasks";

fn at(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}

impl AnswerArgs {
    fn body(&self) -> Result<Value> {
        let data = match (&self.data, &self.data_file) {
            (Some(text), _) => Some(serde_json::from_str(text).context("--data is not JSON")?),
            (None, Some(path)) => {
                let text = if path.as_os_str() == "-" {
                    std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
                } else {
                    std::fs::read_to_string(path)
                        .with_context(|| format!("{} cannot be read", path.display()))?
                };
                let read = serde_saphyr::from_str::<Value>(&text);
                Some(read.with_context(|| format!("{} is neither YAML nor JSON", path.display()))?)
            }
            (None, None) => None,
        };
        Ok(json!({ "comment": self.comment, "data": data, "as": self.on_behalf_of }))
    }
}

async fn ask(client: &Client, id: &str, verb: &str, body: &Value) -> Result<()> {
    let answer = client.post(&format!("{}/{verb}", at(id)), body).await?;
    client.show(&answer);
    match answer.get("status_url") {
        Some(_) => output::say(format_args!("Kept; no coordinator has decided it yet")),
        None => output::say(format_args!("{id} is {}", cell(&answer, "status"))),
    }
    Ok(())
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    match args.verb {
        Verb::List { assignee, mine, status, kind, execution, workflow, limit } => {
            let mine = mine.then(|| "true".to_owned());
            let query: Vec<(&str, String)> = [
                ("assignee", assignee),
                ("mine", mine),
                ("status", status),
                ("kind", kind),
                ("execution_id", execution),
                ("workflow_id", workflow),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
            let items = client.list(PATH, &query, limit).await?;
            match client.output {
                Format::Json => output::json(&items),
                Format::Text => {
                    let keys =
                        ["id", "kind", "title", "urgency", "assignees", "status", "due_at", "claimed_by"];
                    let rows: Vec<Vec<String>> =
                        items.iter().map(|item| keys.map(|key| cell(item, key)).to_vec()).collect();
                    let headings = ["ID", "KIND", "TITLE", "URGENCY", "WITH", "STATUS", "DUE", "CLAIMED BY"];
                    output::data(&output::table(&headings, &rows));
                }
            }
        }
        Verb::Show { id } => client.show(&client.get(&at(&id)).await?),
        Verb::Approve(answer) => ask(&client, &answer.id, "approve", &answer.body()?).await?,
        Verb::Reject(answer) => ask(&client, &answer.id, "reject", &answer.body()?).await?,
        Verb::Submit(answer) => ask(&client, &answer.id, "submit", &answer.body()?).await?,
        Verb::Claim { id, on_behalf_of } => {
            ask(&client, &id, "claim", &json!({ "as": on_behalf_of })).await?;
        }
        Verb::Delegate { id, to, on_behalf_of } => {
            ask(&client, &id, "delegate", &json!({ "to": to, "as": on_behalf_of })).await?;
        }
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_comes_from_the_line_or_a_file() {
        let file = std::env::temp_dir().join(format!("apg-inbox-{}.yaml", std::process::id()));
        std::fs::write(&file, "amount: 5\n").expect("a file");
        let mut answer = AnswerArgs {
            id: "x".to_owned(),
            comment: "fine".to_owned(),
            data: None,
            data_file: Some(file.clone()),
            on_behalf_of: Some("finance".to_owned()),
        };
        let wanted = json!({ "comment": "fine", "data": { "amount": 5 }, "as": "finance" });
        assert_eq!(answer.body().expect("a body"), wanted);
        std::fs::remove_file(file).expect("removed");
        answer.data = Some(r#"{"amount":5}"#.to_owned());
        assert_eq!(answer.body().expect("a body"), wanted);
        answer.data = Some("oops".to_owned());
        assert!(answer.body().is_err());
    }
}
