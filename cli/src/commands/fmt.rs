//! `apg fmt`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{Exit, documents, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The documents; `-` reads standard input and writes standard output.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Changes nothing; says which documents are not in canonical form, and exits with 1 when there are any.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let mut exit = Exit::Success;
    for path in &args.files {
        let (name, text) = documents::text(path)?;
        let formatted = match shared::workflow::format(&text) {
            Ok(formatted) => formatted,
            Err(problems) => {
                output::say(problems.named(&name));
                exit = Exit::Wrong;
                continue;
            }
        };
        if path.as_os_str() == "-" && !args.check {
            output::data(&formatted);
        } else if formatted != text && args.check {
            output::say(format_args!("{name} is not in canonical form; run `apg fmt {name}`"));
            exit = if exit == Exit::Wrong { exit } else { Exit::Failed };
        } else if formatted != text {
            std::fs::write(path, formatted).with_context(|| format!("{name} cannot be written"))?;
            output::say(format_args!("{name} was written anew"));
        }
    }
    Ok(exit)
}
