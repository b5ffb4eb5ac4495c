//! What is wrong with a document: where, what was expected, and how to mend it.

use std::fmt;

use serde::Serialize;

/// Whether a problem keeps the document from being saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable name for programs, such as `unknown_type`.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    /// Keys and indexes from the document's root.
    pub path: Vec<String>,
    /// From 1; absent when the document was given as an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The line itself and, under it, a caret at the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: Option<&str>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        let file = file.unwrap_or("workflow");
        match (self.line, self.column, &self.excerpt) {
            (Some(line), Some(column), Some(excerpt)) => {
                let number = line.to_string();
                let gutter = " ".repeat(number.len());
                write!(f, "\n{gutter}--> {file}:{line}:{column}\n{gutter} |")?;
                let mut lines = excerpt.lines();
                write!(f, "\n{number} | {}", lines.next().unwrap_or_default())?;
                write!(f, "\n{gutter} | {}", lines.next().unwrap_or_default())?;
            }
            (Some(line), Some(column), None) => write!(f, "\n --> {file}:{line}:{column}")?,
            _ if !self.path.is_empty() => write!(f, "\n --> {}", self.path.join("."))?,
            _ => {}
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  = help: {suggestion}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a document, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    pub list: Vec<Problem>,
    /// The name shown before line and column.
    #[serde(skip)]
    pub file: Option<String>,
}

impl Problems {
    pub(crate) fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.line.unwrap_or(0), problem.column.unwrap_or(0)));
        Self { list, file: None }
    }

    /// Shows `file` before line and column.
    #[must_use]
    pub fn named(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.write(f, self.file.as_deref())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The nearest of the known names, when one is near enough to have been meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > 80 {
        return None;
    }
    let allowed = (wrong.chars().count() / 3).max(1);
    known
        .filter(|name| name.len().abs_diff(wrong.len()) <= allowed && *name != wrong)
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits between two names, a swap of neighbours counting as one.
///
/// Source: optimal string alignment, R. A. Wagner and R. Lowrance, *An Extension of the
/// String-to-String Correction Problem*, 1975.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: [Vec<usize>; 3] = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        rows[2][0] = i;
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[1][j] + 1).min(rows[2][j - 1] + 1).min(rows[1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}
