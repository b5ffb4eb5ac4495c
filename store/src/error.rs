//! What an error of the database means to a caller. The only place that looks into `sqlx::Error`.

use shared::port::store::StoreError;

/// A statement failed, and nothing it was part of was kept.
pub(crate) fn undone(error: sqlx::Error) -> StoreError {
    if is_ours(&error) {
        StoreError::Corrupt(Box::new(error))
    } else {
        StoreError::Unavailable(Box::new(error))
    }
}

/// `commit`, or a statement that is its own transaction, failed: it may have happened all the same.
pub(crate) fn unknown(error: sqlx::Error) -> StoreError {
    match &error {
        // The server answered: it has refused, hence not done it. PostgreSQL's class 57 is a server going down.
        sqlx::Error::Database(answer)
            if answer.code().is_none_or(|code| !code.starts_with("57") && !is_io(&code)) =>
        {
            undone(error)
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::ColumnDecode { .. } => {
            undone(error)
        }
        _ => StoreError::Unknown(Box::new(error)),
    }
}

/// What was read is not what was written.
pub(crate) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(Box::new(error))
}

/// The task that did it is gone.
pub(crate) fn lost() -> StoreError {
    StoreError::Unknown("the task that wrote it ended without an answer".into())
}

/// Others changed what it builds on, each time it was tried. Nothing of it is kept.
pub(crate) fn contended() -> StoreError {
    StoreError::Unavailable("others changed the same rows at every try".into())
}

/// Two transactions stood in each other's way and one was rolled back: do it again at once.
pub(crate) fn is_collision(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| {
        // PostgreSQL: deadlock, serialisation failure. SQLite: busy and its kin.
        matches!(code.as_ref(), "40P01" | "40001" | "5" | "6" | "261" | "517")
    })
}

/// Whether the connection can be used again.
pub(crate) fn is_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(answer) => {
            answer.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        _ => false,
    }
}

/// SQLite's result codes for the disk: 10 and its extended ones (low byte 10).
fn is_io(code: &str) -> bool {
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 10)
}

/// Whether trying again cannot help: the statement or the data is wrong.
fn is_ours(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(answer) => match answer.code() {
            // SQLite's codes are numbers below 5 characters; PostgreSQL's have 5.
            Some(code) if code.len() < 5 => {
                // error, corrupt, too big, constraint, mismatch, misuse, not a database
                code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 1 | 11 | 18 | 19 | 20 | 21 | 26))
            }
            // Out of resources, operator's doing, connection, lock trouble, rolled back, system.
            Some(code) => {
                !["08", "53", "55", "57", "40", "58", "25"].iter().any(|class| code.starts_with(class))
            }
            None => true,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => false,
        _ => true,
    }
}
