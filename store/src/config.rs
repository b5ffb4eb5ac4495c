//! Where the truth is kept, and why a store would not open.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Where the truth is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host/database`, `sqlite:path`, a path, or `sqlite::memory:` for a file
    /// that goes when the process ends.
    pub url: String,
    /// Connections for reading and for small deeds. PostgreSQL: up to six more write turns.
    pub pool_size: u32,
    /// How long a deed waits for a connection before it says that the store is unavailable.
    #[serde(with = "shared::time::text")]
    pub acquire_timeout: Duration,
    /// `full`: what was accepted survives a power cut. `normal`: it survives a crash of the process only,
    /// and is faster. Of no meaning to PostgreSQL.
    pub sqlite_synchronous: Synchronous,
}

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    #[default]
    Full,
    Normal,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "sqlite:apg.db".to_owned(),
            pool_size: 8,
            acquire_timeout: Duration::from_secs(5),
            sqlite_synchronous: Synchronous::Full,
        }
    }
}

impl Config {
    /// The defaults at another place.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Postgres(String),
    Sqlite(PathBuf),
    /// A file of its own, removed when the store is dropped.
    Temporary,
}

impl Place {
    pub(crate) fn of(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
        match path {
            "" => Err(OpenError::Address { url: url.to_owned() }),
            ":memory:" => Ok(Self::Temporary),
            other if other.contains("://") => Err(OpenError::Address { url: other.to_owned() }),
            other => Ok(Self::Sqlite(PathBuf::from(other))),
        }
    }
}

/// Why a store would not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names no engine we know.
    #[error("`{url}` is no address of a store; use postgres://…, sqlite:<path> or a path")]
    Address { url: String },
    /// Another process has the file open.
    #[error("{} is in use by another process; one process at a time may open a SQLite store", path.display())]
    Locked { path: PathBuf },
    /// The file's place cannot be written.
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The schema is older than this release.
    #[error("the database schema is at version {applied} and this release needs {known}; run `apg migrate`")]
    OldSchema { applied: i64, known: i64 },
    /// The database did not answer, or refused.
    #[error("the database cannot be opened")]
    Unreachable(#[source] sqlx::Error),
    /// A migration did not go through.
    #[error("the database schema cannot be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

impl OpenError {
    /// Whether the database did not answer or was not ready: it may be in a moment. One that refuses the user
    /// or does not exist will go on so.
    pub fn is_retryable(&self) -> bool {
        let Self::Unreachable(error) = self else { return false };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::AnyDriverError(_) => true,
            // What stands before a database takes connections and closes them while that is away; sqlx then has not
            // read the byte that it asked for, and takes it for a zero.
            sqlx::Error::Protocol(text) => text.contains("SSLRequest: 0x00"),
            // Classes of SQLSTATE: no connection, no resources, an operator's intervention (starting, stopping).
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                ["08", "53", "57"].iter().any(|class| code.len() == 5 && code.starts_with(class))
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_decides_the_engine() {
        let place = |url| Place::of(url).expect("an address");
        assert_eq!(place("postgresql://h/d"), Place::Postgres("postgresql://h/d".to_owned()));
        assert_eq!(place("sqlite:a/b.db"), Place::Sqlite("a/b.db".into()));
        assert_eq!(place("sqlite:///a/b.db"), Place::Sqlite("/a/b.db".into()));
        assert_eq!(place("b.db"), Place::Sqlite("b.db".into()));
        assert_eq!(place("sqlite::memory:"), Place::Temporary);
        assert!(matches!(Place::of("mysql://h/d"), Err(OpenError::Address { .. })));
        assert!(matches!(Place::of(""), Err(OpenError::Address { .. })));
    }
}
