//! `apg migrate`.

use anyhow::Result;

use super::SettingsArgs;
use crate::{Exit, compose, logging, output, settings::redact_url};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Changes nothing; says what there is to do, and exits with 1 when there is anything.
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let settings = settings.load()?.settings;
    logging::start(&settings, true)?;
    let url = compose::database_url(&settings);
    let before =
        if args.check { compose::migration_status(&url).await? } else { compose::migrate(&url).await? };
    let shown = redact_url(&url);
    let word = if args.check { "to be run" } else { "ran" };
    for (version, name) in &before.pending {
        output::say(format_args!("{word}: {version} {name}"));
    }
    if before.pending.is_empty() {
        output::say(format_args!("{shown} is up to date, at version {}", before.applied));
    } else if !args.check {
        output::say(format_args!("{shown} was brought from version {} to {}", before.applied, before.known));
    }
    Ok(if args.check && !before.pending.is_empty() { Exit::Failed } else { Exit::Success })
}
