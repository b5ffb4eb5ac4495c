//! The verbs of `apg`, one file each.
//!
//! A verb reads its arguments, does one thing, and writes the outcome. What it does lies elsewhere.

mod completions;
mod config;
mod dead_letter;
mod execution;
mod workflow;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    Exit, output,
    settings::{Loaded, Mistakes, Sources, load},
};

/// Runs workflows: business processes drawn as graphs of components.
#[derive(Debug, Parser)]
#[command(name = "apg", version, propagate_version = true, arg_required_else_help = false)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// Where settings come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArgs {
    /// The configuration file; without it, config/config.yaml when it is there.
    #[arg(long, env = "APG_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as engine.task_queue_size=500. May be given several times.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Where the configuration lies unless it is named.
const DEFAULT_FILE: &str = "config/config.yaml";

impl SettingsArgs {
    /// The layers as they lie on this machine.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let file = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
                Some((path.display().to_string(), text))
            }
            None => match std::fs::read_to_string(DEFAULT_FILE) {
                Ok(text) => Some((DEFAULT_FILE.to_owned(), text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => {
                    return Err(error).context(format!("the configuration file {DEFAULT_FILE} cannot be read"));
                }
            },
        };
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let flags = self.set.iter().map(|text| ("--set".to_owned(), text.clone())).collect();
        Ok(Sources { file, environment, flags })
    }

    /// The settings; warnings are written to standard error.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let loaded = load(&self.sources()?)?;
        for warning in &loaded.warnings {
            output::say(warning.warning());
        }
        Ok(loaded)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Checks or shows the settings.
    Config(config::Args),
    /// Looks at workflows on a server, changes them, and starts executions.
    Workflow(workflow::Args),
    /// Looks at executions on a server.
    Execution(execution::Args),
    /// Looks at messages that nobody could use, and sends them again.
    DeadLetter(dead_letter::Args),
    /// Writes the completions of a shell to standard output.
    Completions(completions::Args),
}

/// The command line, for shell completions and the reference page.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = run(cli).unwrap_or_else(|error| report(&error));
    ExitCode::from(exit as u8)
}

/// Shows an error with its causes, and tells how the program ends for it.
fn report(error: &anyhow::Error) -> Exit {
    if let Some(mistakes) = error.downcast_ref::<Mistakes>() {
        output::say(mistakes);
        return Exit::Wrong;
    }
    output::say(format_args!("error: {error}"));
    for cause in error.chain().skip(1) {
        output::say(format_args!("  because: {cause}"));
    }
    match error.downcast_ref::<crate::client::Refused>() {
        Some(refused) if matches!(refused.status, 400 | 404 | 409 | 413 | 415 | 422) => Exit::Wrong,
        _ => Exit::Failed,
    }
}

/// A runtime for verbs that only wait for one thing at a time.
fn small_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime can be started")
}

fn run(cli: Cli) -> Result<Exit> {
    let settings = &cli.settings;
    match cli.verb {
        Some(Verb::Config(args)) => config::run(settings, &args),
        Some(Verb::Workflow(args)) => small_runtime()?.block_on(workflow::run(args)),
        Some(Verb::Execution(args)) => small_runtime()?.block_on(execution::run(args)),
        Some(Verb::DeadLetter(args)) => small_runtime()?.block_on(dead_letter::run(args)),
        Some(Verb::Completions(args)) => completions::run(&args),
        None => {
            Cli::command().print_help().context("standard output cannot be written")?;
            Ok(Exit::Wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
