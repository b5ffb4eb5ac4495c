//! Opening a store, its connections, and the deeds on the journal.

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use shared::{
    execution::Turn,
    ids::ExecutionId,
    port::slots::tenants_take_turns,
    port::store::{Commit, Journal, Kept, LateResult, StoreError, Stored, Submission, Submitted},
    time::{Clock, SystemClock, Timestamp},
};
use sqlx::{
    ConnectOptions, Connection, Executor, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use uuid::Uuid;

use crate::{
    Config, Ledger, OpenError, Synchronous,
    config::Place,
    dialect::{At, ByTurns},
    error, migrate,
    rows::{self, JournalRecord},
    turns::{Entry, Step},
    writer::{self, Job},
};

/// The truth in PostgreSQL or SQLite. A clone is the same store.
#[derive(Clone)]
pub struct SqlStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    accepts: UnboundedSender<Job>,
    commits: UnboundedSender<Job>,
    pub(crate) ledger: Arc<Ledger>,
    /// PostgreSQL's clock as it was read last, and when that was here.
    read_clock: Mutex<Option<(Timestamp, Instant)>>,
    // Dropped after the pools: the lock and the temporary file outlive the connections.
    _file: Option<HeldFile>,
}

/// The two engines. Both hold pools, which are handles: a clone is the same pool.
#[derive(Clone)]
pub(crate) enum Db {
    Postgres(PgPool),
    Sqlite { writer: SqlitePool, readers: SqlitePool },
}

/// Runs a read on either engine; `$sql` is the dialect module.
macro_rules! on_pool {
    ($self:expr, |$pool:ident, $sql:ident| $body:expr) => {
        match &$self.inner.db {
            $crate::sql_store::Db::Postgres($pool) => {
                #[allow(unused_imports, reason = "not every read needs a dialect")]
                use $crate::dialect::postgres as $sql;
                $body.map_err($crate::error::undone)
            }
            $crate::sql_store::Db::Sqlite { readers: $pool, .. } => {
                #[allow(unused_imports, reason = "not every read needs a dialect")]
                use $crate::dialect::sqlite as $sql;
                $body.map_err($crate::error::undone)
            }
        }
    };
}
pub(crate) use on_pool;

/// Does a whole deed in one transaction, in a task of its own: a caller that goes away cancels nothing.
///
/// The body answers `Result<T, sqlx::Error>` and owns what it names.
macro_rules! in_transaction {
    ($self:expr, |$tx:ident, $sql:ident| $body:block) => {{
        let db = $self.inner.db.clone();
        $crate::sql_store::in_task(async move {
            match db {
                $crate::sql_store::Db::Postgres(pool) => {
                    #[allow(unused_imports, reason = "not every deed needs a dialect")]
                    use $crate::dialect::postgres as $sql;
                    #[expect(clippy::disallowed_methods, reason = "in a task of its own: nobody cancels it")]
                    let mut transaction = pool.begin().await.map_err($crate::error::undone)?;
                    let $tx: &mut sqlx::PgConnection = &mut transaction;
                    let done: Result<_, sqlx::Error> = async { $body }.await;
                    let done = done.map_err($crate::error::undone)?;
                    transaction.commit().await.map_err($crate::error::unknown)?;
                    Ok(done)
                }
                $crate::sql_store::Db::Sqlite { writer, .. } => {
                    #[allow(unused_imports, reason = "not every deed needs a dialect")]
                    use $crate::dialect::sqlite as $sql;
                    let mut transaction =
                        writer.begin_with("begin immediate").await.map_err($crate::error::undone)?;
                    let $tx: &mut sqlx::SqliteConnection = &mut transaction;
                    let done: Result<_, sqlx::Error> = async { $body }.await;
                    let done = done.map_err($crate::error::undone)?;
                    transaction.commit().await.map_err($crate::error::unknown)?;
                    Ok(done)
                }
            }
        })
        .await
    }};
}
pub(crate) use in_transaction;

/// Runs a deed to its end, whatever becomes of the caller.
#[expect(clippy::disallowed_methods, reason = "awaited here; a caller that goes away leaves it to its end")]
pub(crate) async fn in_task<T: Send + 'static>(
    deed: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(deed).await.unwrap_or_else(|_| Err(error::lost()))
}

/// Connections that write turns: the server batches what several flush at once.
const COMMIT_WRITERS: usize = 3;
/// Connections that write submissions.
const ACCEPT_WRITERS: usize = 2;
/// No statement of ours takes longer unless something is wrong.
const STATEMENT_TIMEOUT: &str = "30s";
/// How long a reading of the server's clock is carried on by ours.
const CLOCK_LIFE: Duration = Duration::from_secs(1);

impl SqlStore {
    /// Opens the store that the URL names.
    ///
    /// A SQLite file is created and brought up to date; a PostgreSQL schema must be, see [`crate::migrate()`].
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let ledger = Arc::new(Ledger::default());
        match Place::of(&config.url)? {
            Place::Postgres(url) => Self::open_postgres(config, &url, &ledger).await,
            Place::Sqlite(path) => {
                let file = HeldFile { _lock: lock(&path)?, temporary: None };
                Self::open_sqlite(config, &path, file, &ledger).await
            }
            Place::Temporary => {
                #[expect(clippy::disallowed_methods, reason = "the name of a file, and no id")]
                let path = std::env::temp_dir().join(format!("apg-{}.db", Uuid::now_v7().simple()));
                let file = HeldFile { _lock: lock(&path)?, temporary: Some(path.clone()) };
                Self::open_sqlite(config, &path, file, &ledger).await
            }
        }
    }

    /// Opens a store to read from, beside whoever has it open: it takes no lock and changes nothing. A deed that writes is
    /// refused by a SQLite file.
    ///
    /// # Errors
    /// When there is none, or its schema is older than this release.
    pub async fn open_to_read(config: &Config) -> Result<Self, OpenError> {
        let path = match Place::of(&config.url)? {
            Place::Postgres(_) | Place::Temporary => return Self::open(config).await,
            Place::Sqlite(path) => path,
        };
        // In WAL mode readers and the writer do not wait for each other, whichever process they are of.
        let options = sqlite_options(&path, config.sqlite_synchronous)
            .create_if_missing(false)
            .pragma("query_only", "on");
        let mut connection = options.connect().await.map_err(OpenError::Unreachable)?;
        migrate::sqlite_status(&mut connection).await?.check()?;
        connection.close().await.map_err(OpenError::Unreachable)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(config.pool_size.clamp(1, 8))
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options);
        let ledger = Arc::new(Ledger::default());
        let turns = writer::sqlite(&readers, &ledger);
        Ok(Self {
            inner: Arc::new(Inner {
                db: Db::Sqlite { writer: readers.clone(), readers },
                accepts: turns.clone(),
                commits: turns,
                ledger,
                read_clock: Mutex::new(None),
                _file: None,
            }),
        })
    }

    async fn open_postgres(config: &Config, url: &str, ledger: &Arc<Ledger>) -> Result<Self, OpenError> {
        let options = postgres_options(url)?;
        // A pool would go on trying for as long as somebody may wait for a connection, and then not say why.
        let mut connection = options.connect().await.map_err(OpenError::Unreachable)?;
        migrate::postgres_status(&mut connection).await?.check()?;
        connection.close().await.map_err(OpenError::Unreachable)?;
        let pool = guarded(PgPoolOptions::new())
            .max_connections(config.pool_size.max(2))
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options.clone());
        // Turns are found by key and nothing else. Plans are made once: planning over a year of partitions
        // costs more than running; and a plan made over empty tables must not read whole ones later.
        let writing = options.options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        let store = Self {
            inner: Arc::new(Inner {
                db: Db::Postgres(pool),
                accepts: writer::postgres(&writing, ACCEPT_WRITERS, ledger),
                commits: writer::postgres(&writing, COMMIT_WRITERS, ledger),
                ledger: Arc::clone(ledger),
                read_clock: Mutex::new(None),
                _file: None,
            }),
        };
        store.make_partitions().await.map_err(|error| match error {
            StoreError::Unavailable(cause) | StoreError::Unknown(cause) | StoreError::Corrupt(cause) => {
                OpenError::Unreachable(sqlx::Error::AnyDriverError(cause))
            }
            other => OpenError::Unreachable(sqlx::Error::AnyDriverError(Box::new(other))),
        })?;
        Ok(store)
    }

    async fn open_sqlite(
        config: &Config,
        path: &Path,
        file: HeldFile,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, OpenError> {
        let mut options = sqlite_options(path, config.sqlite_synchronous);
        if file.temporary.is_some() {
            // It goes with the process: there is nothing to survive.
            options = options.synchronous(SqliteSynchronous::Off);
        }
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(config.acquire_timeout)
            // A deed that was cut off must not leave its transaction to the next.
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        connection.execute("rollback").await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(OpenError::Unreachable)?;
        let mut connection = writer.acquire().await.map_err(OpenError::Unreachable)?;
        migrate::migrate_sqlite(&mut connection).await?;
        drop(connection);
        let readers = SqlitePoolOptions::new()
            .max_connections(config.pool_size.clamp(1, 8))
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options.pragma("query_only", "on"));
        let turns = writer::sqlite(&writer, ledger);
        Ok(Self {
            inner: Arc::new(Inner {
                db: Db::Sqlite { writer, readers },
                accepts: turns.clone(),
                commits: turns,
                ledger: Arc::clone(ledger),
                read_clock: Mutex::new(None),
                _file: Some(file),
            }),
        })
    }

    /// Closes the connections. What is under way ends first.
    pub async fn close(&self) {
        match &self.inner.db {
            Db::Postgres(pool) => pool.close().await,
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// The first of a line in which tenants take turns.
    pub(crate) async fn line_by_turns(&self, key: &str, most: i64) -> Result<Vec<ByTurns>, StoreError> {
        on_pool!(self, |pool, sql| sqlx::query_as(sql::LINE_BY_TURNS)
            .bind(key)
            .bind(most)
            .fetch_all(pool)
            .await)
    }

    /// The database's clock. SQLite's is this machine's.
    pub(crate) async fn clock(&self) -> Result<Timestamp, StoreError> {
        let Db::Postgres(pool) = &self.inner.db else { return Ok(SystemClock.now()) };
        let read = *self.inner.read_clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, at)) = read {
            let passed = at.elapsed();
            if passed < CLOCK_LIFE {
                return Ok(then.after(passed));
            }
        }
        let asked = Instant::now();
        let now: At =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.map_err(error::undone)?;
        // From when it was asked: our present is never ahead of the server's.
        *self.inner.read_clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((now.0, asked));
        Ok(now.0)
    }
}

/// A connection whose `begin` was cancelled in flight goes back to the pool inside a transaction, and what the
/// next user writes is never committed (sqlx 0.9.0). This rolls back before each use.
pub fn guarded(options: PgPoolOptions) -> PgPoolOptions {
    options.before_acquire(|connection, _| {
        Box::pin(async move {
            connection.execute("rollback").await?;
            Ok(true)
        })
    })
}

pub(crate) fn postgres_options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(OpenError::Unreachable)?;
    Ok(options
        .application_name("apg")
        .options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
            ("jit", "off"),
            // `rollback` outside a transaction is our guard and no news.
            ("client_min_messages", "error"),
        ])
        .statement_cache_capacity(512)
        .disable_statement_logging())
}

pub(crate) fn sqlite_options(path: &Path, synchronous: Synchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .pragma("cache_size", "-16000")
        .pragma("temp_store", "memory")
        .statement_cache_capacity(512)
        .disable_statement_logging()
}

/// Held as long as the store is open.
pub(crate) struct HeldFile {
    _lock: File,
    /// Removed at the end.
    temporary: Option<PathBuf>,
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            for suffix in ["", "-wal", "-shm", ".lock"] {
                // What is not there needs no removing, and nobody can be told.
                let _ = std::fs::remove_file(beside(path, suffix));
            }
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Takes the one lock of a SQLite store; the system gives it back when the process ends.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Turns in the order of the ids asked for.
pub(crate) fn gather(
    executions: &[ExecutionId],
    after: u32,
    records: Vec<JournalRecord>,
) -> Result<Vec<Option<Stored>>, StoreError> {
    let mut found: std::collections::HashMap<ExecutionId, Vec<Turn>> = std::collections::HashMap::new();
    for record in records {
        let turn = record.turn()?;
        found.entry(turn.execution).or_default().push(turn);
    }
    let mut gathered: Vec<Option<Stored>> = Vec::with_capacity(executions.len());
    for (place, id) in executions.iter().enumerate() {
        let Some(turns) = found.remove(id) else {
            // Asked for twice, perhaps.
            let before = executions[..place].iter().position(|other| other == id);
            gathered.push(before.and_then(|before| gathered[before].clone()));
            continue;
        };
        if turns.iter().zip(after + 1..).any(|(turn, seq)| turn.seq != seq) {
            return Err(StoreError::Corrupt(format!("the journal of {id} has a gap").into()));
        }
        gathered.push(Some(Stored { turns }));
    }
    Ok(gathered)
}

#[async_trait]
impl Journal for SqlStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.clock().await
    }

    async fn accept(&self, submissions: Vec<Submission>, quota: u64) -> Result<Vec<Submitted>, StoreError> {
        if submissions.is_empty() {
            return Ok(Vec::new());
        }
        let entries: Result<Vec<Entry>, StoreError> =
            submissions.into_iter().map(|submission| Entry::new(submission, quota)).collect();
        let (answer, answered) = oneshot::channel();
        let job = Job::Accept { entries: entries?, answer };
        self.inner.accepts.send(job).map_err(|_| error::lost())?;
        answered.await.unwrap_or_else(|_| Err(error::lost()))
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Kept>, StoreError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let steps: Result<Vec<Step>, StoreError> = commits.into_iter().map(Step::new).collect();
        let (answer, answered) = oneshot::channel();
        let job = Job::Commit { steps: steps?, answer };
        self.inner.commits.send(job).map_err(|_| error::lost())?;
        answered.await.unwrap_or_else(|_| Err(error::lost()))
    }

    async fn load(
        &self,
        executions: &[ExecutionId],
        after: u32,
        most: u32,
    ) -> Result<Vec<Option<Stored>>, StoreError> {
        if executions.is_empty() {
            return Ok(Vec::new());
        }
        let ids = executions.iter().map(|id| *id.as_uuid());
        let seq = |seq: u32| i32::try_from(seq).unwrap_or(i32::MAX);
        let records: Vec<JournalRecord> = on_pool!(self, |pool, sql| sqlx::query_as(sql::LOAD)
            .bind(sql::ids(ids))
            .bind(seq(after))
            .bind(seq(after.saturating_add(most)))
            .fetch_all(pool)
            .await)?;
        gather(executions, after, records)
    }

    async fn snapshot(&self, hash: &str) -> Result<Option<String>, StoreError> {
        on_pool!(self, |pool, sql| sqlx::query_scalar(crate::library::SNAPSHOT)
            .bind(hash)
            .fetch_optional(pool)
            .await)
    }

    async fn snapshot_put(&self, hash: &str, canonical: &str) -> Result<(), StoreError> {
        let (hash, canonical) = (hash.to_owned(), canonical.to_owned());
        in_transaction!(self, |tx, sql| {
            sqlx::query(crate::library::ADD_SNAPSHOT).bind(&hash).bind(&canonical).execute(&mut *tx).await?;
            Ok(())
        })
    }

    async fn next_in_line(&self, key: &str, limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        if tenants_take_turns(key) {
            let free: Option<i64> =
                on_pool!(self, |pool, sql| sqlx::query_scalar(crate::views::FREE_PLACES)
                    .bind(key)
                    .fetch_one(pool)
                    .await)?;
            let most = free.unwrap_or(0).min(limit.into());
            let line = if most > 0 { self.line_by_turns(key, most).await? } else { Vec::new() };
            return Ok(crate::places::each_once(line.into_iter().map(|(of, ..)| of).collect()));
        }
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(crate::views::NEXT_IN_LINE)
            .bind(key)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        Ok(crate::places::each_once(ids))
    }

    #[expect(clippy::disallowed_methods, reason = "a key of a row that nothing names")]
    async fn record_late(&self, late: Vec<LateResult>) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(late.len() * 3);
        for result in &late {
            rows.extend([
                Uuid::now_v7().into(),
                (*result.execution.as_uuid()).into(),
                rows::encode(result)?.into(),
            ]);
        }
        if rows.is_empty() {
            return Ok(());
        }
        in_transaction!(self, |tx, sql| {
            crate::dialect::Engine::run(tx, &crate::members::ADD_LATE, rows).await?;
            Ok(())
        })
    }
}
