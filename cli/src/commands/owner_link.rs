//! `apg owner-link`: a link that lets somebody in who has no password, or has forgotten it.

use anyhow::Result;
use serde_json::{Value, json};

use super::SettingsArgs;
use crate::{
    Exit,
    client::{Client, ClientArgs},
    output::{self, Format},
};

/// A link that works once, for a day: it makes the first owner, or gives somebody a new password and ends all their
/// sessions.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// Whose password is forgotten; without a name the link makes the first owner.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let client = Client::new(settings, &args.client)?;
    let link = client.post("/api/v1/auth/links", &json!({ "name": args.name })).await?;
    match client.output {
        Format::Json => output::json(&link),
        Format::Text => output::data(link["url"].as_str().unwrap_or_default()),
    }
    if let Some(until) = link.get("expires_at").and_then(Value::as_str) {
        output::say(format_args!("It works once, until {until}"));
    }
    Ok(Exit::Success)
}
