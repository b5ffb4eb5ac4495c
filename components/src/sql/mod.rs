//! SQL on SQLite and PostgreSQL for components: statements looked at before they are sent, values
//! bound and read by the types the database names.
//!
//! Nothing of a user's data is ever put into the text of a statement.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::collections::BTreeMap;

use serde_json::Value;
use shared::component::{Failure, FailureClass};

use crate::describe::invalid_config;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// What one statement gave.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Value>,
    pub(crate) affected: u64,
}

impl Answer {
    /// Keeps a row, up to a limit.
    fn push(&mut self, row: Value, max_rows: u64) -> Result<(), Failure> {
        if self.rows.len() as u64 >= max_rows {
            return Err(Failure::new(
                FailureClass::LimitExceeded,
                format!("the statement gives more than {max_rows} rows (`max_rows`)"),
            ));
        }
        self.rows.push(row);
        Ok(())
    }
}

/// A piece of a statement: code, or something whose content is no code (text, quoted name, comment).
enum Piece<'a> {
    Code(&'a str),
    Opaque(&'a str),
    Comment,
}

/// The length of what starts with a character that opens something opaque, if it does.
fn opaque(rest: &str, before: Option<char>, dialect: Dialect) -> Option<(usize, bool)> {
    let closed_by = |close: char, escapes: bool| {
        let mut characters = rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            if escapes && c == '\\' {
                characters.next();
            } else if c == close {
                if characters.peek().is_some_and(|(_, next)| *next == close) && close != ']' {
                    characters.next();
                } else {
                    return at + c.len_utf8();
                }
            }
        }
        rest.len()
    };
    if rest.starts_with("--") {
        return Some((rest.find('\n').unwrap_or(rest.len()), true));
    }
    if rest.starts_with("/*") {
        let (mut depth, mut at) = (0_usize, 0);
        while at < rest.len() {
            if rest[at..].starts_with("/*") && (depth == 0 || dialect == Dialect::Postgres) {
                depth += 1;
                at += 2;
            } else if rest[at..].starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                at += rest[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        return Some((at, true));
    }
    let length = match rest.chars().next()? {
        '\'' => closed_by('\'', dialect == Dialect::Postgres && matches!(before, Some('e' | 'E'))),
        '"' => closed_by('"', false),
        '`' if dialect == Dialect::Sqlite => closed_by('`', false),
        '[' if dialect == Dialect::Sqlite => closed_by(']', false),
        '$' if dialect == Dialect::Postgres && !before.is_some_and(|c| c.is_alphanumeric() || c == '_') => {
            let tag_end = rest[1..].find('$')? + 2;
            let tag = &rest[..tag_end];
            let name = &tag[1..tag_end - 1];
            let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if !is_tag {
                return None;
            }
            rest[tag_end..].find(tag).map_or(rest.len(), |at| tag_end + at + tag_end)
        }
        _ => return None,
    };
    Some((length, false))
}

fn pieces(sql: &str, dialect: Dialect) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut before = None;
    while let Some(c) = sql[at..].chars().next() {
        if let Some((length, is_comment)) = opaque(&sql[at..], before, dialect) {
            if start < at {
                pieces.push(Piece::Code(&sql[start..at]));
            }
            pieces.push(if is_comment { Piece::Comment } else { Piece::Opaque(&sql[at..at + length]) });
            at += length;
            start = at;
            before = None;
        } else {
            at += c.len_utf8();
            before = Some(c);
        }
    }
    if start < sql.len() {
        pieces.push(Piece::Code(&sql[start..]));
    }
    pieces
}

/// Words that would leave the transaction, the file, or the rules of the connection.
const REFUSED: [&str; 24] = [
    "attach",
    "detach",
    "vacuum",
    "pragma",
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "prepare",
    "deallocate",
    "set",
    "reset",
    "discard",
    "copy",
    "load",
    "listen",
    "unlisten",
    "notify",
    "lock",
    "do",
];

/// Refuses what a statement may not be, and puts quoted names into its `{name}` holes.
pub(crate) fn prepare(
    sql: &str,
    identifiers: &BTreeMap<String, String>,
    dialect: Dialect,
) -> Result<String, Failure> {
    if sql.contains("${{") {
        return Err(invalid_config(
            "`${{ }}` may not stand inside SQL; write $1, $2 … and pass values with `params`",
        ));
    }
    if sql.contains('\0') {
        return Err(invalid_config("SQL may not hold a null character"));
    }
    let mut made = String::with_capacity(sql.len());
    // The first words of what stands between semicolons.
    let mut firsts: Vec<Vec<String>> = vec![Vec::new()];
    for piece in pieces(sql, dialect) {
        match piece {
            Piece::Comment => made.push(' '),
            Piece::Opaque(text) => {
                if let Some(words) = firsts.last_mut() {
                    words.push("'".to_owned());
                }
                made.push_str(text);
            }
            Piece::Code(code) => {
                for (index, part) in code.split(';').enumerate() {
                    if index > 0 {
                        firsts.push(Vec::new());
                    }
                    let words = firsts.last_mut().expect("there is a first one");
                    let split = part.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                    words.extend(split.filter(|word| !word.is_empty()).map(str::to_lowercase));
                    if words.is_empty() && !part.trim().is_empty() {
                        words.push("?".to_owned());
                    }
                }
                fill(code, identifiers, dialect, &mut made)?;
            }
        }
    }
    while firsts.last().is_some_and(Vec::is_empty) {
        firsts.pop();
    }
    let Some(words) = firsts.first().filter(|words| !words.is_empty()) else {
        return Err(invalid_config("the statement is empty"));
    };
    let is_trigger = dialect == Dialect::Sqlite
        && words[0] == "create"
        && words.iter().take(4).any(|word| word == "trigger");
    if firsts.len() > 1 && !is_trigger {
        return Err(invalid_config("more than one statement; write them as a list in `statements`"));
    }
    let last = firsts.len() - 1;
    for (index, words) in firsts.iter().enumerate() {
        let Some(first) = words.first() else { continue };
        let ends_trigger = is_trigger && index == last && index > 0 && first == "end" && words.len() == 1;
        if REFUSED.contains(&first.as_str()) && !ends_trigger {
            return Err(invalid_config(format!("a statement may not start with `{first}`")));
        }
    }
    Ok(made)
}

fn fill(
    code: &str,
    identifiers: &BTreeMap<String, String>,
    dialect: Dialect,
    made: &mut String,
) -> Result<(), Failure> {
    let mut rest = code;
    while let Some(open) = rest.find('{') {
        made.push_str(&rest[..open]);
        let close = rest[open..].find('}').ok_or_else(|| invalid_config("a `{` in the SQL is not closed"))?;
        let name = rest[open + 1..open + close].trim();
        let identifier = identifiers.get(name).ok_or_else(|| {
            invalid_config(format!("the SQL has the hole `{{{name}}}`, but `identifiers` does not"))
        })?;
        for (index, part) in identifier.split('.').enumerate() {
            let mut characters = part.chars();
            let well_formed = characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
                && part.len() <= 63
                && characters.all(|c| c.is_alphanumeric() || c == '_');
            if !well_formed {
                return Err(invalid_config(format!(
                    "the identifier `{name}` must be a name of letters, digits and _, with a dot before it for a schema"
                )));
            }
            if index > 0 {
                made.push('.');
            }
            // In SQLite a name in double quotes that does not exist would be taken for text.
            let (left, right) = if dialect == Dialect::Sqlite { ('[', ']') } else { ('"', '"') };
            made.push(left);
            made.push_str(part);
            made.push(right);
        }
        rest = &rest[open + close + 1..];
    }
    made.push_str(rest);
    Ok(())
}

/// The class of a database's error.
pub(crate) fn failure(error: &sqlx::Error, dialect: Dialect) -> Failure {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let class = match error.kind() {
                sqlx::error::ErrorKind::UniqueViolation
                | sqlx::error::ErrorKind::ForeignKeyViolation
                | sqlx::error::ErrorKind::ExclusionViolation => FailureClass::Conflict,
                sqlx::error::ErrorKind::NotNullViolation | sqlx::error::ErrorKind::CheckViolation => {
                    FailureClass::InvalidInput
                }
                _ if dialect == Dialect::Postgres => postgres::class(&code),
                _ => sqlite::class(&code, error.message()),
            };
            Failure::new(class, format!("the database answered: {}", error.message()))
                .with_details(serde_json::json!({ "code": code }))
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            Failure::new(FailureClass::Unavailable, "no connection to the database is free")
        }
        sqlx::Error::Io(error) => {
            Failure::new(FailureClass::Connection, format!("the database cannot be reached: {error}"))
        }
        sqlx::Error::Tls(error) => {
            Failure::new(FailureClass::Connection, format!("no secure connection to the database: {error}"))
        }
        other => Failure::new(FailureClass::InvalidConfig, format!("the statement cannot be run: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_leave_their_place_are_refused() {
        let none = BTreeMap::new();
        for sql in [
            "attach 'x' as y",
            "/* a */ ATTACH 'x' as y",
            "-- a\nattach 'x' as y",
            "vacuum into 'x'",
            "pragma query_only = off",
            "commit",
            "select 1; select 2",
            "select 1; attach 'x' as y",
            "",
            "  -- nothing",
            "/* /* */ attach 'x' as y -- */",
            "create trigger t after insert on a begin select 1; end; attach 'x' as y",
            "create trigger t after insert on a begin select 1; attach 'x' as y; end",
            "set transaction read write",
            "select ${{ x }}",
            ";attach 'x' as y",
            "select ';'';'; select 2",
        ] {
            assert!(prepare(sql, &none, Dialect::Sqlite).is_err(), "{sql}");
        }
        for sql in [
            "copy a to program 'x'",
            "do $$ begin end $$",
            "select 1; select 2",
            "rollback",
            "select $a$;$a$; x",
        ] {
            assert!(prepare(sql, &none, Dialect::Postgres).is_err(), "{sql}");
        }
        for sql in [
            "select 1",
            "select 1;",
            "select ';' as a, \"b;c\", [d;e] from t -- ;\n",
            "(select 1)",
            "with a as (select 1) select * from a",
            "create trigger t after insert on a begin select 1; end;",
        ] {
            assert!(prepare(sql, &none, Dialect::Sqlite).is_ok(), "{sql}");
        }
        for sql in [
            "select $$a;b$$",
            "select $x$ ; $x$, $1",
            "select E'\\';' as a",
            "/* /* ; */ ; */ select '{}'::json",
        ] {
            assert!(prepare(sql, &none, Dialect::Postgres).is_ok(), "{sql}");
        }
    }

    #[test]
    fn names_are_quoted_into_holes() {
        let names = BTreeMap::from([("table".to_owned(), "shop.orders".to_owned())]);
        let made = |dialect| prepare("select '{table}' from {table}", &names, dialect).expect("a statement");
        assert_eq!(made(Dialect::Sqlite), "select '{table}' from [shop].[orders]");
        assert_eq!(made(Dialect::Postgres), "select '{table}' from \"shop\".\"orders\"");
        for wrong in ["a\"b", "a]b", "", "a b", "1a", "a;b"] {
            let names = BTreeMap::from([("table".to_owned(), wrong.to_owned())]);
            assert!(prepare("select * from {table}", &names, Dialect::Sqlite).is_err(), "{wrong}");
        }
        assert!(prepare("select * from {other}", &names, Dialect::Sqlite).is_err());
    }
}
