//! What people and programs see: data on standard output, everything else on standard error.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
};

use serde_json::Value;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// JSON for programs.
    Json,
}

/// Writes to standard output. A reader that has had enough (`| head`) ends the program, quietly.
pub(crate) fn data(text: &str) {
    bytes(text.as_bytes());
    if !text.ends_with('\n') {
        bytes(b"\n");
    }
}

/// As [`data`], with nothing added.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

pub(crate) fn json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).expect("what is shown is plain data");
    data(&text);
}

/// A line for people, beside the data.
pub(crate) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether someone watches standard error as it comes.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Rows under their headings, columns two spaces apart.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let count = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = headings.iter().map(|heading| count(heading)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(count(cell));
        }
    }
    let line = |cells: Vec<&str>| -> String {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - count(cell) + 2));
        }
        format!("{}\n", text.trim_end())
    };
    let mut out = line(headings.to_vec());
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}

/// A value of an answer as a cell: text as it is, everything else as JSON, nothing as a dash.
pub(crate) fn cell(item: &Value, key: &str) -> String {
    match item.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(Value::Array(list)) if list.is_empty() => "-".to_owned(),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// One object as `name  value` lines, nested values as indented JSON.
pub(crate) fn object(value: &Value) -> String {
    let Some(map) = value.as_object() else {
        return serde_json::to_string_pretty(value).unwrap_or_default();
    };
    let width = map.keys().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in map {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Object(inner) if inner.is_empty() => continue,
            Value::Array(inner) if inner.is_empty() => continue,
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        let indented = text.trim_end().replace('\n', &format!("\n{}", " ".repeat(width + 2)));
        let _ = writeln!(out, "{name:width$}  {indented}");
    }
    out
}

/// Milliseconds as people say them.
pub(crate) fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["ä".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["id", "n"], &rows), "id    n\nä     1\nlong  22\n");
    }
}
