//! Stores for tests, each with a place of its own that goes with it.

// Each test file uses its part.
#![allow(dead_code, reason = "shared between test files")]

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use store::{Config, SqlStore};

/// Where the PostgreSQL of the tests is.
pub(crate) fn database_url() -> String {
    std::env::var("DATABASE_URL").unwrap_or_else(|_| {
        panic!("DATABASE_URL is not set: run `deploy/dev/services up` (or `make test`, which does)")
    })
}

/// A schema of its own, dropped at the end.
pub(crate) struct Schema {
    base: String,
    name: String,
}

impl Schema {
    /// An empty schema.
    pub(crate) async fn create() -> Self {
        let schema = Self { base: database_url(), name: format!("t_{}", uuid::Uuid::new_v4().simple()) };
        let mut connection = schema.connect().await;
        sqlx::query(AssertSqlSafe(format!("create schema {}", schema.name)))
            .execute(&mut connection)
            .await
            .expect("a schema of one's own");
        connection.close().await.expect("closed");
        schema
    }

    /// A schema with the tables.
    pub(crate) async fn migrated() -> Self {
        let schema = Self::create().await;
        store::migrate(&schema.url()).await.expect("migrated");
        schema
    }

    pub(crate) fn url(&self) -> String {
        let mark = if self.base.contains('?') { '&' } else { '?' };
        format!("{}{mark}options[search_path]={}", self.base, self.name)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().expect("an address");
        options.connect().await.expect("PostgreSQL answers at DATABASE_URL")
    }

    pub(crate) async fn store(&self) -> SqlStore {
        let config = Config { pool_size: 4, ..Config::at(self.url()) };
        SqlStore::open(&config).await.expect("opened")
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (base, name) = (self.base.clone(), self.name.clone());
        // The runtime of the test may be ending: the schema goes on a thread with its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let options: PgConnectOptions = base.parse()?;
                let mut connection = options.options([("client_min_messages", "error")]).connect().await?;
                sqlx::query(AssertSqlSafe(format!("drop schema {name} cascade")))
                    .execute(&mut connection)
                    .await?;
                connection.close().await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("schema {} is left behind: {error}", self.name);
        }
    }
}
