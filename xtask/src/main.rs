//! Generators and house rules: `cargo xtask`.
//!
//! Nothing of the product calls it; it reads the product.

mod commands;
mod component_pages;
mod generate;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Generators and house rules.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Writes what is generated from the code: examples, schemas and reference pages.
    Generate {
        /// Changes nothing; says which files differ, and fails when there are any.
        #[arg(long)]
        check: bool,
    },
    /// Checks the rules of the house.
    Tidy,
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse().task {
        Task::Generate { check } => generate::run(&root(), check),
        Task::Tidy => tidy::run(&root()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
