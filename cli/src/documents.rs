//! Workflow documents on disk.

use std::{fmt, path::Path};

use anyhow::{Context, Result};
use shared::workflow::{self, Problem, Problems, Read};

/// A document or its parameters are wrong.
#[derive(Debug)]
pub(crate) struct WrongDocument {
    pub(crate) problems: Problems,
}

impl fmt::Display for WrongDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problems)
    }
}

impl std::error::Error for WrongDocument {}

/// The name shown, and the text; `-` reads standard input.
pub(crate) fn text(path: &Path) -> Result<(String, String)> {
    if path.as_os_str() == "-" {
        let text = std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?;
        return Ok(("standard input".to_owned(), text));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok((path.display().to_string(), text))
}

/// Reads and checks a document.
pub(crate) fn read(name: &str, text: &str) -> Result<Read, WrongDocument> {
    workflow::read(text, &components::catalogue())
        .map_err(|problems| WrongDocument { problems: problems.named(name) })
}

/// Problems as a block for people.
pub(crate) fn show(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}
