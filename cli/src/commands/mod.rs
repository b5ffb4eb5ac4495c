//! The verbs of `apg`, one file each.
//!
//! A verb reads its arguments, does one thing, and writes the outcome. What it does lies elsewhere.

mod archive;
mod audit;
mod chaos;
mod completions;
mod config;
mod dead_letter;
mod doctor;
mod execution;
mod fmt;
mod inbox;
mod migrate;
mod owner_link;
mod roles;
mod run;
mod save;
mod serve;
mod simulate;
mod test;
mod trigger;
mod validate;
mod workflow;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    Exit,
    compose::{NotShared, Roles},
    documents::WrongDocument,
    output,
    settings::{Loaded, Mistakes, Sources, load},
};

/// Runs workflows: business processes drawn as graphs of components.
#[derive(Debug, Parser)]
#[command(name = "apg", version, propagate_version = true, arg_required_else_help = false)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Ends when the process with this pid does, which must be the one that started it. Linux only; for programs that
    /// start others.
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub(crate) ends_with: Option<i32>,
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
                    return Err(error)
                        .context(format!("the configuration file {DEFAULT_FILE} cannot be read"));
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
    /// Runs everything in one process; what `apg` alone does.
    Serve(serve::Args),
    /// Serves the API. Needs PostgreSQL, RabbitMQ and Redis.
    Api,
    /// Decides what runs next. Needs PostgreSQL, RabbitMQ and Redis.
    Coordinator(roles::Args),
    /// Runs tasks. Needs RabbitMQ.
    Worker(roles::Args),
    /// Runs one workflow without a server, and writes its output to standard output.
    Run(run::Args),
    /// Reports every problem of workflow documents.
    Validate(validate::Args),
    /// Runs the cases of test files, without a server, and says what is not as expected.
    Test(test::Args),
    /// Replays past executions of a server with a changed workflow, and lists what would be different.
    Simulate(simulate::Args),
    /// Writes workflow documents in their canonical form.
    Fmt(fmt::Args),
    /// Brings the database's tables up to date.
    Migrate(migrate::Args),
    /// Looks at this machine and the services it uses, and says how to mend what is wrong.
    Doctor(doctor::Args),
    /// Checks that everything in the database keeps the rules.
    Audit(audit::Args),
    /// Breaks processes of its own while executions run, and looks for what was lost, doubled or stuck.
    Chaos(chaos::Args),
    /// Reads executions that were removed after their time, from the folder they were written to.
    Archive(archive::Args),
    /// Checks or shows the settings.
    Config(config::Args),
    /// Looks at workflows on a server, changes them, and starts executions.
    Workflow(workflow::Args),
    /// Looks at executions on a server.
    Execution(execution::Args),
    /// Looks at what people are asked on a server, and answers it.
    Inbox(inbox::Args),
    /// Looks at messages that nobody could use, and sends them again.
    DeadLetter(dead_letter::Args),
    /// What starts workflows by itself, on a server.
    Trigger(trigger::Args),
    /// Fires of the past that are carried out, on a server.
    Backfill(trigger::BackfillArgs),
    /// Events that start workflows, on a server.
    Event(trigger::EventArgs),
    /// Makes a link for the first owner, or for somebody who has forgotten their password, on a server.
    OwnerLink(owner_link::Args),
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
    if let Some(wrong) = error.downcast_ref::<WrongDocument>() {
        output::say(wrong);
        return Exit::Wrong;
    }
    output::say(format_args!("error: {error}"));
    for cause in error.chain().skip(1) {
        output::say(format_args!("  because: {cause}"));
    }
    if error.is::<NotShared>() {
        return Exit::Wrong;
    }
    match error.downcast_ref::<crate::client::Refused>() {
        Some(refused) if matches!(refused.status, 400 | 404 | 409 | 413 | 415 | 422) => Exit::Wrong,
        _ => Exit::Failed,
    }
}

/// A runtime for verbs that only wait for one thing at a time.
fn small_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no async runtime can be started")
}

/// A runtime for roles.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no async runtime can be started")
}

/// Makes this process end when the one that started it does, however that ends.
#[cfg(target_os = "linux")]
fn end_with(parent: i32) -> Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("the end of the process that started this one cannot be watched")?;
    // It may have ended before it was watched.
    let is_there = getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent);
    anyhow::ensure!(is_there, "the process {parent} has not started this one, or has ended");
    Ok(())
}

/// Elsewhere nothing tells a process of it: whoever starts others ends them.
#[cfg(not(target_os = "linux"))]
fn end_with(_parent: i32) -> Result<()> {
    Ok(())
}

fn run(cli: Cli) -> Result<Exit> {
    if let Some(parent) = cli.ends_with {
        end_with(parent)?;
    }
    let settings = &cli.settings;
    match cli.verb {
        None => runtime()?.block_on(serve::run(settings, serve::Args::default())),
        Some(Verb::Serve(args)) => runtime()?.block_on(serve::run(settings, args)),
        Some(Verb::Api) => {
            let roles = Roles { api: true, coordinator: false, worker: false };
            runtime()?.block_on(roles::run(settings, "api", roles::Args::default(), roles))
        }
        Some(Verb::Coordinator(args)) => {
            let roles = Roles { api: false, coordinator: true, worker: false };
            runtime()?.block_on(roles::run(settings, "coordinator", args, roles))
        }
        Some(Verb::Worker(args)) => {
            let roles = Roles { api: false, coordinator: false, worker: true };
            runtime()?.block_on(roles::run(settings, "worker", args, roles))
        }
        Some(Verb::Run(args)) => {
            let runtime = runtime()?;
            let exit = runtime.block_on(run::run(settings, args));
            // After an interrupt something may still run; nobody waits for it.
            runtime.shutdown_background();
            exit
        }
        Some(Verb::Validate(args)) => validate::run(&args),
        Some(Verb::Test(args)) => test::run(&args),
        Some(Verb::Simulate(args)) => small_runtime()?.block_on(simulate::run(settings, args)),
        Some(Verb::Fmt(args)) => fmt::run(&args),
        Some(Verb::Migrate(args)) => small_runtime()?.block_on(migrate::run(settings, args)),
        Some(Verb::Doctor(args)) => small_runtime()?.block_on(doctor::run(settings, args)),
        Some(Verb::Audit(args)) => runtime()?.block_on(audit::run(settings, args)),
        Some(Verb::Chaos(args)) => runtime()?.block_on(chaos::run(settings, args)),
        Some(Verb::Archive(args)) => archive::run(&args),
        Some(Verb::Config(args)) => config::run(settings, &args),
        Some(Verb::Workflow(args)) => small_runtime()?.block_on(workflow::run(settings, args)),
        Some(Verb::Execution(args)) => small_runtime()?.block_on(execution::run(settings, args)),
        Some(Verb::Inbox(args)) => small_runtime()?.block_on(inbox::run(settings, args)),
        Some(Verb::Trigger(args)) => small_runtime()?.block_on(trigger::run(settings, args)),
        Some(Verb::Backfill(args)) => small_runtime()?.block_on(trigger::backfill(settings, args)),
        Some(Verb::Event(args)) => small_runtime()?.block_on(trigger::event(settings, args)),
        Some(Verb::DeadLetter(args)) => small_runtime()?.block_on(dead_letter::run(settings, args)),
        Some(Verb::OwnerLink(args)) => small_runtime()?.block_on(owner_link::run(settings, args)),
        Some(Verb::Completions(args)) => Ok(completions::run(&args)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
