//! Brings a schema up to date, and says where it stands. Never changes data on its own.

use sqlx::{ConnectOptions, Connection, PgConnection, Sqlite, SqliteConnection, migrate::Migrator};

use crate::{
    config::{OpenError, Place},
    sql_store,
};

static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Where a schema stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The newest version that the database has; 0 when it has none.
    pub applied: i64,
    /// The newest version that this release knows.
    pub known: i64,
    /// What is to be done, in order: version and name.
    pub pending: Vec<(i64, String)>,
}

impl MigrationStatus {
    fn of(migrator: &Migrator, applied: &[i64]) -> Self {
        Self {
            applied: applied.iter().copied().max().unwrap_or(0),
            known: migrator.iter().map(|migration| migration.version).max().unwrap_or(0),
            pending: migrator
                .iter()
                .filter(|migration| !applied.contains(&migration.version))
                .map(|migration| (migration.version, migration.description.to_string()))
                .collect(),
        }
    }

    /// A newer schema is fine: migrations expand before they contract.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(OpenError::OldSchema { applied: self.applied, known: self.known })
        }
    }
}

/// Brings the schema at `url` up to date, and answers where it stood before.
///
/// Two at once wait for each other. A schema newer than this release is left alone.
pub async fn migrate(url: &str) -> Result<MigrationStatus, OpenError> {
    match Place::of(url)? {
        Place::Postgres(url) => {
            let mut connection =
                sql_store::postgres_options(&url)?.connect().await.map_err(OpenError::Unreachable)?;
            let before = postgres_status(&mut connection).await?;
            sharing(&POSTGRES)
                .run_direct(None, &mut connection, false)
                .await
                .map_err(OpenError::Migration)?;
            connection.close().await.map_err(OpenError::Unreachable)?;
            Ok(before)
        }
        Place::Sqlite(path) => {
            let _lock = sql_store::lock(&path)?;
            let mut connection = sql_store::sqlite_options(&path, crate::Synchronous::Full)
                .connect()
                .await
                .map_err(OpenError::Unreachable)?;
            let before = migrate_sqlite(&mut connection).await?;
            connection.close().await.map_err(OpenError::Unreachable)?;
            Ok(before)
        }
        Place::Temporary => Ok(MigrationStatus::of(&SQLITE, &[])),
    }
}

/// Where the schema at `url` stands.
pub async fn migration_status(url: &str) -> Result<MigrationStatus, OpenError> {
    match Place::of(url)? {
        Place::Postgres(url) => {
            let mut connection =
                sql_store::postgres_options(&url)?.connect().await.map_err(OpenError::Unreachable)?;
            postgres_status(&mut connection).await
        }
        Place::Sqlite(path) if path.exists() => {
            let mut connection = sql_store::sqlite_options(&path, crate::Synchronous::Full)
                .create_if_missing(false)
                .connect()
                .await
                .map_err(OpenError::Unreachable)?;
            sqlite_status(&mut connection).await
        }
        Place::Sqlite(_) | Place::Temporary => Ok(MigrationStatus::of(&SQLITE, &[])),
    }
}

pub(crate) async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<MigrationStatus, OpenError> {
    let before = sqlite_status(connection).await?;
    if !before.pending.is_empty() {
        sharing(&SQLITE).run_direct(None, connection, false).await.map_err(OpenError::Migration)?;
    }
    Ok(before)
}

/// Tolerates what a newer release has applied.
fn sharing(migrator: &Migrator) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrator.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    migrator
}

const APPLIED: &str = "select version from _sqlx_migrations where success order by version";

pub(crate) async fn postgres_status(connection: &mut PgConnection) -> Result<MigrationStatus, OpenError> {
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await
        .map_err(OpenError::Unreachable)?;
    let applied: Vec<i64> = if there {
        sqlx::query_scalar(APPLIED).fetch_all(&mut *connection).await.map_err(OpenError::Unreachable)?
    } else {
        Vec::new()
    };
    Ok(MigrationStatus::of(&POSTGRES, &applied))
}

pub(crate) async fn sqlite_status(connection: &mut SqliteConnection) -> Result<MigrationStatus, OpenError> {
    let there: Option<i64> = sqlx::query_scalar::<Sqlite, i64>(
        "select 1 from sqlite_master where type = 'table' and name = '_sqlx_migrations'",
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(OpenError::Unreachable)?;
    let applied: Vec<i64> = if there.is_some() {
        sqlx::query_scalar(APPLIED).fetch_all(&mut *connection).await.map_err(OpenError::Unreachable)?
    } else {
        Vec::new()
    };
    Ok(MigrationStatus::of(&SQLITE, &applied))
}
