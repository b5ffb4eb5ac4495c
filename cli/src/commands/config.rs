//! `apg config`: whether the settings are right, and which hold.

use anyhow::Result;
use serde_json::json;

use super::SettingsArgs;
use crate::{
    Exit,
    output::{self, Format},
    settings::{load, print, shown_tree},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Reports every wrong setting, with the place it came from.
    Check,
    /// Shows the settings in effect, with secrets dotted.
    Print {
        /// Says beside each setting where it came from.
        #[arg(long)]
        origins: bool,
    },
}

pub(crate) fn run(settings: &SettingsArgs, args: &Args) -> Result<Exit> {
    match (&args.verb, args.output) {
        (Verb::Check, Format::Text) => {
            settings.load()?;
            output::say("The settings are right");
            Ok(Exit::Success)
        }
        (Verb::Check, Format::Json) => {
            let (mistakes, warnings) = match load(&settings.sources()?) {
                Ok(loaded) => (Vec::new(), loaded.warnings),
                Err(mistakes) => (mistakes.0, Vec::new()),
            };
            output::json(
                &json!({ "valid": mistakes.is_empty(), "mistakes": mistakes, "warnings": warnings }),
            );
            Ok(if mistakes.is_empty() { Exit::Success } else { Exit::Wrong })
        }
        (Verb::Print { origins }, Format::Text) => {
            output::data(&print(&settings.load()?, *origins));
            Ok(Exit::Success)
        }
        (Verb::Print { origins }, Format::Json) => {
            let loaded = settings.load()?;
            let tree = shown_tree(&loaded.settings);
            if *origins {
                output::json(&json!({ "settings": tree, "origins": loaded.origins }));
            } else {
                output::json(&tree);
            }
            Ok(Exit::Success)
        }
    }
}
