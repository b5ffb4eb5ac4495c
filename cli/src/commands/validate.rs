//! `apg validate`.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::{
    Exit, documents,
    output::{self, Format},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The documents; `-` reads standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How the problems are written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let mut exit = Exit::Success;
    let mut reports = Vec::new();
    for path in &args.files {
        let (name, text) = documents::text(path)?;
        match (documents::read(&name, &text), args.output) {
            (Ok(read), Format::Text) => {
                for warning in &read.warnings {
                    output::say(format_args!("{warning}\n"));
                }
                let count = read.workflow.components.len();
                output::say(format_args!("{name}: {} is right, {count} components", read.workflow.name));
            }
            (Ok(read), Format::Json) => {
                reports
                    .push(json!({ "file": name, "valid": true, "problems": [], "warnings": read.warnings }));
            }
            (Err(wrong), format) => {
                exit = Exit::Wrong;
                if format == Format::Json {
                    let problems = &wrong.problems;
                    reports
                        .push(json!({ "file": name, "valid": false, "problems": problems, "warnings": [] }));
                } else {
                    output::say(&wrong);
                    let count = wrong.problems.list.len();
                    output::say(format_args!(
                        "\n{name}: {count} problem{}",
                        if count == 1 { "" } else { "s" }
                    ));
                }
            }
        }
    }
    if args.output == Format::Json {
        output::json(&reports);
    }
    Ok(exit)
}
