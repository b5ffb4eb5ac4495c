//! `apg audit`: whether what lies in the store keeps every rule.

use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::SettingsArgs;
use crate::{
    Exit, compose, logging,
    output::{self, Format},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the findings are written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// How much less urgent than others, of 19.
#[cfg(unix)]
const LESS_URGENT: i32 = 10;

/// Lets whatever else runs on this machine go first.
fn give_way() {
    #[cfg(unix)]
    if let Err(error) = rustix::process::nice(LESS_URGENT) {
        tracing::debug!(%error, "The audit is as urgent as everything else");
    }
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let settings = settings.load()?.settings;
    logging::start(&settings, true)?;
    crate::install_tls();
    give_way();
    let store = compose::open_store_to_read(&settings).await?;
    let counts = store.execution_counts().await.context("the store cannot be read")?;
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let bar = if output::is_watched() { ProgressBar::new(total) } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut said = 0;
    let mut on_progress = |progress: coordinator::audit::Progress| {
        bar.set_position(progress.executions);
        if bar.is_hidden() && progress.executions >= said + 10_000 {
            said = progress.executions;
            output::say(format_args!("{said} of {total} executions, {} findings", progress.findings));
        }
    };
    let report = coordinator::audit::run(store, components::catalogue(), &mut on_progress)
        .await
        .context("the store cannot be read")?;
    bar.finish_and_clear();
    match args.output {
        Format::Json => output::json(&report),
        Format::Text => {
            let rows: Vec<Vec<String>> = report
                .findings
                .iter()
                .map(|finding| {
                    let execution = finding.execution.map_or_else(|| "-".to_owned(), |id| id.to_string());
                    vec![finding.invariant.clone(), execution, finding.message.clone()]
                })
                .collect();
            if !rows.is_empty() {
                output::data(&output::table(&["RULE", "EXECUTION", "FINDING"], &rows));
            }
            output::say(format_args!(
                "{} executions ({} completed, {} failed, {} cancelled, {} open), {} turns, {} findings",
                report.checked.executions,
                report.completed,
                report.failed,
                report.cancelled,
                report.open,
                report.checked.turns,
                report.findings.len()
            ));
        }
    }
    Ok(if report.findings.is_empty() { Exit::Success } else { Exit::Failed })
}
