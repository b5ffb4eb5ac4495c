//! `apg archive`: executions that were removed, as lines of JSON.

use std::path::PathBuf;

use anyhow::Result;
use shared::ids::ExecutionId;

use crate::{Exit, compose, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, as in `retention.archive`.
    folder: PathBuf,
    /// Only this execution.
    #[arg(long, value_name = "ID")]
    execution: Option<ExecutionId>,
}

/// Writes each execution once, however often a line of it was kept.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let mut found = 0_u64;
    compose::read_archive(&args.folder, |id, line| {
        if args.execution.is_none_or(|wanted| wanted == id) {
            output::bytes(line);
            found += 1;
        }
        Ok(args.execution.is_none() || found == 0)
    })?;
    match args.execution {
        Some(id) if found == 0 => {
            output::say(format_args!("{id} is not in {}", args.folder.display()));
            Ok(Exit::Failed)
        }
        _ => Ok(Exit::Success),
    }
}
