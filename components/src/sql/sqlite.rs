//! SQLite.

use std::{path::Path, time::Duration};

use futures::TryStreamExt;
use serde_json::{Map, Number, Value};
use shared::component::{Failure, FailureClass};
use sqlx::{
    AssertSqlSafe, Column, Either, Executor, Row, SqliteConnection, SqlitePool, TypeInfo, ValueRef,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow},
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Dialect, failure};
use crate::environment::Pools;

/// The pool for a mode; the one for reading is opened read-only by SQLite itself.
pub(crate) async fn pool<'a>(pools: &'a Pools, path: &Path, writes: bool) -> Result<&'a SqlitePool, Failure> {
    let options =
        SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(5)).foreign_keys(true);
    let wrong = |error| failure(&error, Dialect::Sqlite);
    let writable = pools
        .sqlite
        .get_or_try_init(|| async {
            if let Some(folder) = path.parent() {
                tokio::fs::create_dir_all(folder).await.map_err(sqlx::Error::Io)?;
            }
            let options = options.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
            SqlitePoolOptions::new().max_connections(1).connect_with(options).await
        })
        .await
        .map_err(wrong)?;
    if writes {
        return Ok(writable);
    }
    pools
        .sqlite_read_only
        .get_or_try_init(|| SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)))
        .await
        .map_err(wrong)
}

/// Lets a running statement be stopped.
pub(crate) async fn watch(connection: &mut SqliteConnection, stop: CancellationToken) -> Result<(), Failure> {
    let mut handle = connection.lock_handle().await.map_err(|error| failure(&error, Dialect::Sqlite))?;
    handle.set_progress_handler(10_000, move || !stop.is_cancelled());
    Ok(())
}

/// Runs one statement that was looked at.
pub(crate) async fn execute(
    connection: &mut SqliteConnection,
    sql: &str,
    params: &[Value],
    max_rows: u64,
) -> Result<Answer, Failure> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for param in params {
        query = match param {
            Value::Null => query.bind(None::<String>),
            Value::Bool(is_true) => query.bind(*is_true),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => query.bind(whole),
                (None, Some(float)) if number.is_f64() => query.bind(float),
                _ => query.bind(number.to_string()),
            },
            Value::String(text) => query.bind(text.clone()),
            other => query.bind(other.to_string()),
        };
    }
    let mut answer = Answer::default();
    let mut stream = connection.fetch_many(query);
    while let Some(next) = stream.try_next().await.map_err(|error| failure(&error, Dialect::Sqlite))? {
        match next {
            Either::Left(done) => answer.affected += done.rows_affected(),
            Either::Right(row) => answer.push(to_json(&row)?, max_rows)?,
        }
    }
    Ok(answer)
}

fn to_json(row: &SqliteRow) -> Result<Value, Failure> {
    let wrong = |error| failure(&error, Dialect::Sqlite);
    let mut object = Map::with_capacity(row.columns().len());
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(wrong)?;
        let kind = raw.type_info().name().to_owned();
        let value = if raw.is_null() {
            Value::Null
        } else {
            match kind.as_str() {
                // A value is stored as an integer; only its column says that it is a boolean.
                "INTEGER" | "BOOLEAN" if column.type_info().name() == "BOOLEAN" => {
                    row.try_get_unchecked::<bool, _>(index).map_err(wrong)?.into()
                }
                "INTEGER" | "INT4" | "INT8" | "BIGINT" => {
                    row.try_get_unchecked::<i64, _>(index).map_err(wrong)?.into()
                }
                "REAL" => {
                    let float = row.try_get_unchecked::<f64, _>(index).map_err(wrong)?;
                    Number::from_f64(float).map_or(Value::Null, Value::Number)
                }
                "BLOB" => hex::encode(row.try_get_unchecked::<Vec<u8>, _>(index).map_err(wrong)?).into(),
                _ => row.try_get_unchecked::<String, _>(index).map_err(wrong)?.into(),
            }
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(Value::Object(object))
}

/// The class of a result code.
///
/// Source: the list of result codes in SQLite's documentation; the lowest byte is the primary code.
pub(super) fn class(code: &str, message: &str) -> FailureClass {
    match code.parse::<u32>().unwrap_or(0) & 0xff {
        5 | 6 | 13 | 10 => FailureClass::Unavailable,
        9 => FailureClass::Cancelled,
        14 => FailureClass::NotFound,
        18 => FailureClass::LimitExceeded,
        19 | 20 | 25 => FailureClass::InvalidInput,
        // The code of a missing table is that of every other mistake in a statement.
        1 if message.starts_with("no such table") => FailureClass::NotFound,
        _ => FailureClass::InvalidConfig,
    }
}
