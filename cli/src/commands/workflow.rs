//! `apg workflow`: workflows on a server.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::SettingsArgs;
use super::execution;
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

/// What stands beside the document.
#[derive(Debug, clap::Args)]
struct Fields {
    /// The name shown in lists; the document's own without it.
    #[arg(long)]
    name: Option<String>,
    /// A sentence about it.
    #[arg(long)]
    description: Option<String>,
    /// The shelf it stands on.
    #[arg(long)]
    category: Option<String>,
    /// A tag. May be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists workflows, newest first.
    List {
        /// Part of a name or description.
        #[arg(long)]
        search: Option<String>,
        #[arg(long)]
        category: Option<String>,
        #[arg(long)]
        tag: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows a workflow.
    Get {
        /// Its id or name.
        workflow: String,
    },
    /// Keeps a document as a new workflow.
    Create {
        /// The document; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        fields: Fields,
    },
    /// Keeps a document as the next version of a workflow.
    Update {
        /// Its id or name.
        workflow: String,
        /// The document; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        fields: Fields,
    },
    /// Lists the published versions of a workflow, newest first.
    Versions {
        /// Its id or name.
        workflow: String,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Says what is different between two versions, by meaning.
    Compare {
        /// Its id or name.
        workflow: String,
        /// A version's number, `newest` or `draft`.
        #[arg(default_value = "newest")]
        from: String,
        /// A version's number, `newest` or `draft`.
        #[arg(default_value = "draft")]
        to: String,
    },
    /// Publishes an older version again, under the next number.
    Restore {
        /// Its id or name.
        workflow: String,
        /// The version's number.
        #[arg(value_name = "VERSION")]
        number: u32,
    },
    /// Shows the draft of a workflow, or keeps a document as its draft. It may have mistakes.
    Draft {
        /// Its id or name.
        workflow: String,
        /// The document to be kept; `-` reads standard input.
        file: Option<PathBuf>,
        /// The version it is meant to follow, when that is not the one it was begun on.
        #[arg(long, value_name = "VERSION", requires = "file")]
        base: Option<u32>,
    },
    /// Throws the draft of a workflow away.
    Discard {
        /// Its id or name.
        workflow: String,
    },
    /// Publishes the draft of a workflow: it becomes the next version.
    Publish {
        /// Its id or name.
        workflow: String,
        /// The newest version, when the draft was begun on an older one.
        #[arg(long, value_name = "VERSION")]
        replaces: Option<u32>,
    },
    /// Clears the cache of a workflow: what its components gave is not used again.
    ClearCache {
        /// Its id or name.
        workflow: String,
        /// Only what this component gave.
        #[arg(long)]
        component: Option<String>,
    },
    /// Archives a workflow: it takes no new executions, and those it has stay.
    Delete {
        /// Its id or name.
        workflow: String,
    },
    /// Tries a component with what is before it, and nothing behind it. Nothing is saved or published.
    Try {
        /// The id or name of the workflow.
        workflow: String,
        /// The component, of the workflow's own scope.
        component: String,
        /// The document; without it the draft is tried, or the newest version. `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Runs the component alone: what it depends on is pinned, or taken from `--data-from`.
        #[arg(long)]
        only: bool,
        /// What a component is taken to have given; it does not run. The value is JSON. May be given several times.
        #[arg(long = "pin", value_name = "COMPONENT=OUTPUT")]
        pins: Vec<String>,
        /// An execution of the workflow: how components ended there stands in for those that are not pinned.
        #[arg(long, value_name = "EXECUTION")]
        data_from: Option<String>,
        #[command(flatten)]
        parameters: ParameterArgs,
        /// Waits for the end; the exit status is the execution's.
        #[arg(long, short)]
        wait: bool,
    },
    /// Starts an execution.
    Run {
        /// Its id or name.
        workflow: String,
        #[command(flatten)]
        parameters: ParameterArgs,
        /// `high`, `normal` or `low`.
        #[arg(long)]
        priority: Option<String>,
        /// Not before this instant (RFC 3339).
        #[arg(long)]
        scheduled_at: Option<String>,
        /// A tag of the execution. May be given several times.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Waits for the end; the exit status is the execution's.
        #[arg(long, short)]
        wait: bool,
    },
}

const PATH: &str = "/api/v1/workflows";

fn document(path: &PathBuf) -> Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn body(fields: Fields, definition: String) -> Value {
    let mut body = Map::new();
    body.insert("definition".to_owned(), definition.into());
    for (name, value) in
        [("name", fields.name), ("description", fields.description), ("category", fields.category)]
    {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.into());
        }
    }
    if !fields.tags.is_empty() {
        body.insert("tags".to_owned(), fields.tags.into());
    }
    Value::Object(body)
}

/// The workflow of that id, or the one of that name.
pub(super) async fn find(client: &Client, workflow: &str) -> Result<Value> {
    if workflow.parse::<shared::ids::WorkflowId>().is_ok() {
        return client.get(&format!("{PATH}/{}", segment(workflow))).await;
    }
    let items = client.list(PATH, &[("search", workflow.to_owned())], 500).await?;
    let mut named = items.iter().filter(|item| item.get("name").and_then(Value::as_str) == Some(workflow));
    match (named.next().and_then(|item| item.get("id")).and_then(Value::as_str), named.next()) {
        (Some(id), None) => client.get(&format!("{PATH}/{}", segment(id))).await,
        (Some(_), Some(_)) => bail!("several workflows are named `{workflow}`; give the id"),
        (None, _) => bail!("no workflow is named `{workflow}`; see `apg workflow list`"),
    }
}

fn id_of(workflow: &Value) -> String {
    segment(&cell(workflow, "id"))
}

fn show(client: &Client, workflow: &Value) {
    for warning in workflow.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        output::say(format_args!("warning: {}", cell(warning, "message")));
    }
    client.show(workflow);
}

/// Differences as lines: what, where, and how it was and is.
fn differences(found: &Value) -> String {
    let all = found.get("differences").and_then(Value::as_array).cloned().unwrap_or_default();
    if all.is_empty() {
        return format!("{} and {} do the same", cell(found, "from"), cell(found, "to"));
    }
    let line = |one: &Value| {
        let sign = match cell(one, "change").as_str() {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let mut text = format!("{sign} {} {}", cell(one, "subject"), cell(one, "id"));
        for part in one.get("path").and_then(Value::as_array).into_iter().flatten() {
            text.push('.');
            text.push_str(part.as_str().unwrap_or_default());
        }
        if sign == '~' {
            if one.get("path").is_none() {
                text = format!("{text} {}", cell(one, "change"));
            }
            let side = |key: &str| one.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
            text = format!("{text}: {} -> {}", side("before"), side("after"));
        }
        text
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Parameters, of which the workflow says which are texts.
fn typed(parameters: &ParameterArgs, workflow: &Value) -> Result<Map<String, Value>> {
    let types = workflow.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    parameters.read(|name| {
        let declared = types.iter().find(|declared| cell(declared, "name") == name)?;
        declared.get("type").and_then(Value::as_str).map(ToOwned::to_owned)
    })
}

/// What components are taken to have given.
fn pinned(pins: &[String]) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for pin in pins {
        let Some((component, output)) = pin.split_once('=') else {
            bail!("`{pin}` is not a component and its output; write --pin component=output");
        };
        let output: Value = serde_json::from_str(output).unwrap_or_else(|_| Value::from(output));
        all.insert(component.to_owned(), json!({ "output": output }));
    }
    Ok(all)
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    match args.verb {
        Verb::List { search, category, tag, limit } => {
            let query: Vec<(&str, String)> = [("search", search), ("category", category), ("tag", tag)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let items = client.list(PATH, &query, limit).await?;
            match client.output {
                Format::Json => output::json(&items),
                Format::Text => {
                    let rows: Vec<Vec<String>> = items
                        .iter()
                        .map(|item| {
                            ["id", "name", "version", "status", "category", "tags", "updated_at"]
                                .map(|key| cell(item, key))
                                .to_vec()
                        })
                        .collect();
                    let headings = ["ID", "NAME", "VERSION", "STATUS", "CATEGORY", "TAGS", "UPDATED"];
                    output::data(&output::table(&headings, &rows));
                }
            }
        }
        Verb::Get { workflow } => show(&client, &find(&client, &workflow).await?),
        Verb::Create { file, fields } => {
            let body = body(fields, document(&file)?);
            show(&client, &client.post(PATH, &body).await?);
        }
        Verb::Update { workflow, file, fields } => {
            let body = body(fields, document(&file)?);
            let path = format!("{PATH}/{}", id_of(&find(&client, &workflow).await?));
            show(&client, &client.ask(Method::PUT, &path, &[], Some(&body)).await?);
        }
        Verb::Versions { workflow, limit } => {
            let path = format!("{PATH}/{}/versions", id_of(&find(&client, &workflow).await?));
            let items = client.list(&path, &[], limit).await?;
            match client.output {
                Format::Json => output::json(&items),
                Format::Text => {
                    let keys = ["version", "newest", "created_at", "created_by", "hash"];
                    let rows: Vec<Vec<String>> =
                        items.iter().map(|item| keys.map(|key| cell(item, key)).to_vec()).collect();
                    output::data(&output::table(&["VERSION", "NEWEST", "PUBLISHED", "BY", "HASH"], &rows));
                }
            }
        }
        Verb::Compare { workflow, from, to } => {
            let path = format!("{PATH}/{}/compare", id_of(&find(&client, &workflow).await?));
            let found = client.ask(Method::GET, &path, &[("from", from), ("to", to)], None).await?;
            match client.output {
                Format::Json => output::json(&found),
                Format::Text => output::data(&differences(&found)),
            }
        }
        Verb::Restore { workflow, number } => {
            let path =
                format!("{PATH}/{}/versions/{number}/restore", id_of(&find(&client, &workflow).await?));
            show(&client, &client.ask(Method::POST, &path, &[], None).await?);
        }
        Verb::Draft { workflow, file, base } => {
            let path = format!("{PATH}/{}/draft", id_of(&find(&client, &workflow).await?));
            let draft = match file {
                None => client.get(&path).await?,
                Some(file) => {
                    let body = json!({ "definition": document(&file)?, "base_version": base });
                    client.ask(Method::PUT, &path, &[], Some(&body)).await?
                }
            };
            for problem in draft.get("problems").and_then(Value::as_array).into_iter().flatten() {
                output::say(format_args!("mistake: {}", cell(problem, "message")));
            }
            show(&client, &draft);
        }
        Verb::Discard { workflow } => {
            let path = format!("{PATH}/{}/draft", id_of(&find(&client, &workflow).await?));
            client.ask(Method::DELETE, &path, &[], None).await?;
            output::say(format_args!("The draft of {workflow} is gone"));
        }
        Verb::Publish { workflow, replaces } => {
            let path = format!("{PATH}/{}/publish", id_of(&find(&client, &workflow).await?));
            show(&client, &client.post(&path, &json!({ "replaces": replaces })).await?);
        }
        Verb::ClearCache { workflow, component } => {
            let path = format!("{PATH}/{}/cache", id_of(&find(&client, &workflow).await?));
            let query: Vec<(&str, String)> = component.into_iter().map(|id| ("component", id)).collect();
            let answer = client.ask(Method::DELETE, &path, &query, None).await?;
            let removed = answer.get("removed").and_then(Value::as_u64).unwrap_or_default();
            output::say(format_args!("{removed} cached results of {workflow} were removed"));
        }
        Verb::Delete { workflow } => {
            let path = format!("{PATH}/{}", id_of(&find(&client, &workflow).await?));
            client.ask(Method::DELETE, &path, &[], None).await?;
            output::say(format_args!("{workflow} was archived"));
        }
        Verb::Try { workflow, component, file, only, pins, data_from, parameters, wait } => {
            let found = find(&client, &workflow).await?;
            let mut body = json!({
                "component": component,
                "only": only,
                "pinned": pinned(&pins)?,
                "parameters": typed(&parameters, &found)?,
            });
            if let Some(file) = file {
                body["definition"] = document(&file)?.into();
            }
            if let Some(execution) = data_from {
                body["data_from"] = execution.into();
            }
            let tried = client.post(&format!("{PATH}/{}/try", id_of(&found)), &body).await?;
            if wait {
                let id = cell(&tried, "id");
                output::say(format_args!("Started {id}"));
                return execution::follow(&client, &id).await;
            }
            show(&client, &tried);
        }
        Verb::Run { workflow, parameters, priority, scheduled_at, tags, wait } => {
            let found = find(&client, &workflow).await?;
            let mut body = json!({ "parameters": typed(&parameters, &found)? });
            if let Some(priority) = priority {
                body["priority"] = priority.into();
            }
            if let Some(at) = scheduled_at {
                body["scheduled_at"] = at.into();
            }
            if !tags.is_empty() {
                body["tags"] = tags.into();
            }
            let started = client.post(&format!("{PATH}/{}/execute", id_of(&found)), &body).await?;
            if wait {
                let id = cell(&started, "id");
                output::say(format_args!("Started {id}"));
                return execution::follow(&client, &id).await;
            }
            show(&client, &started);
        }
    }
    Ok(Exit::Success)
}
