//! `apg completions`.

use crate::{Exit, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "apg", &mut script);
    output::data(&String::from_utf8_lossy(&script));
    Exit::Success
}
