//! Both schemas are one, and every statement is one that both engines understand.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

mod common;

use std::collections::BTreeSet;

use common::Schema;
use shared::{
    ids::{ExecutionId, Shard, TenantId},
    port::{
        history::{History, Limits},
        store::{StoreError, Sweeps, Views},
    },
    time::Timestamp,
};
use sqlx::{
    ConnectOptions, Connection, Executor, SqlSafeStr, SqliteConnection, sqlite::SqliteConnectOptions,
};
use store::{Config, OpenError, SqlStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn sqlite() -> (tempfile::TempDir, SqliteConnection) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("apg.db");
    store::migrate(&path.display().to_string()).await.expect("migrated");
    let connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("opened");
    (folder, connection)
}

#[tokio::test]
async fn both_schemas_name_the_same_columns() {
    let schema = Schema::migrated().await;
    let mut postgres = schema.connect().await;
    let there: Vec<(String, String, String)> = sqlx::query_as(
        "select c.table_name::text, c.column_name::text, c.is_nullable::text
        from information_schema.columns as c
        join pg_class as p on p.relname = c.table_name and p.relnamespace = current_schema()::regnamespace
        where c.table_schema = current_schema() and c.table_name like 'wo!_%' escape '!' and not p.relispartition",
    )
    .fetch_all(&mut postgres)
    .await
    .expect("columns");
    let there: BTreeSet<_> = there.into_iter().collect();
    let (_folder, mut sqlite) = sqlite().await;
    let here: Vec<(String, String, String)> = sqlx::query_as(
        "select m.name, c.name, case when c.\"notnull\" = 1 then 'NO' else 'YES' end
        from sqlite_master as m, pragma_table_info(m.name) as c
        where m.type = 'table' and m.name like 'wo!_%' escape '!'",
    )
    .fetch_all(&mut sqlite)
    .await
    .expect("columns");
    let here: BTreeSet<_> = here.into_iter().collect();
    assert!(here.len() > 110, "{}", here.len());
    assert_eq!(here, there);
}

#[tokio::test]
async fn every_statement_prepares_on_both() {
    let schema = Schema::migrated().await;
    let mut postgres = schema.connect().await;
    let (_folder, mut sqlite) = sqlite().await;
    let statements = store::statements();
    assert!(statements.len() > 90, "{}", statements.len());
    for (in_postgres, in_sqlite) in statements {
        if let Err(error) = postgres.prepare(in_postgres.into_sql_str()).await {
            // Without values the server may not guess a type: that is our caller's to say.
            let code = error.as_database_error().and_then(|error| error.code().map(|code| code.to_string()));
            assert!(
                matches!(code.as_deref(), Some("42P18" | "42P08")) && in_postgres.contains("is null"),
                "PostgreSQL: {error}\n{in_postgres}"
            );
        }
        if let Err(error) = sqlite.prepare(in_sqlite.into_sql_str()).await {
            panic!("SQLite: {error}\n{in_sqlite}");
        }
    }
}

/// A page costs what it gives, however much there is: no list is sorted, and none reads a whole table to find its page.
#[tokio::test]
async fn lists_of_executions_are_read_by_an_index() {
    let (_folder, mut sqlite) = sqlite().await;
    let statements = store::statements();
    // But by tags that have no row: those are rare enough.
    let is_list = |text: &&str| text.contains("id desc limit $7") && !text.contains("tags like");
    let lists: Vec<&str> = statements.iter().map(|(_, text)| *text).filter(is_list).collect();
    assert_eq!(lists.len(), 6);
    for text in lists {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("explain query plan {text}")))
                .fetch_all(&mut sqlite)
                .await
                .expect("a plan");
        let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        let is_good = |step: &&str| {
            !step.contains("TEMP B-TREE") && (!step.starts_with("SCAN") || step.contains("json_each"))
        };
        assert!(steps.iter().all(is_good), "{steps:#?}\n{text}");
    }
}

/// Turns are written with plans that are made once, over empty tables; none of them may read a tenant's executions to
/// find one.
#[tokio::test]
async fn turns_find_executions_by_their_key() {
    let schema = Schema::migrated().await;
    let mut postgres = schema.connect().await;
    for setting in [
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
    ] {
        postgres.execute(sqlx::AssertSqlSafe(format!("set {setting}"))).await.expect("it is set");
    }
    let mut asked = 0;
    for (text, _) in store::statements() {
        if !text.contains("unnest(") || !text.contains("wo_executions as e") {
            continue;
        }
        asked += 1;
        let values = (1..100).take_while(|number| text.contains(&format!("${number}:"))).count();
        let nulls = vec!["null"; values].join(", ");
        postgres.execute(sqlx::AssertSqlSafe(format!("prepare turn as {text}"))).await.expect("prepared");
        let plan: Vec<(String,)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("explain execute turn({nulls})")))
                .persistent(false)
                .fetch_all(&mut postgres)
                .await
                .expect("a plan");
        postgres.execute("deallocate turn").await.expect("forgotten");
        let steps: Vec<&str> = plan.iter().map(|(step,)| step.as_str()).collect();
        let reads_many =
            |step: &&str| step.contains("tenant_id_workflow_id") || step.contains("tenant_id_status");
        assert!(!steps.iter().any(reads_many), "{steps:#?}\n{text}");
    }
    assert!(asked >= 4, "{asked}");
}

#[tokio::test]
async fn an_older_schema_is_refused_with_a_sentence() {
    let schema = Schema::create().await;
    let status = store::migration_status(&schema.url()).await.expect("a status");
    assert_eq!((status.applied, status.pending.last().map(|(version, _)| *version)), (0, Some(status.known)));
    let refused = SqlStore::open(&Config::at(schema.url())).await.err().expect("refused");
    assert!(matches!(refused, OpenError::OldSchema { applied: 0, .. }), "{refused:?}");
    assert!(refused.to_string().contains("apg migrate"), "{refused}");
    store::migrate(&schema.url()).await.expect("migrated");
    store::migrate(&schema.url()).await.expect("again, which does nothing");
    let status = store::migration_status(&schema.url()).await.expect("a status");
    assert_eq!((status.applied, status.pending.len()), (status.known, 0));
    schema.store().await.close().await;
}

/// Branches take numbers before they are joined: a lower one may come later.
#[tokio::test]
async fn a_migration_is_taken_after_one_with_a_higher_number() {
    let undo = [
        "drop table wo_slot_turns",
        "drop index wo_slot_waits_group",
        "delete from _sqlx_migrations where version = 14",
    ];
    let schema = Schema::migrated().await;
    let mut postgres = schema.connect().await;
    let (folder, mut sqlite) = sqlite().await;
    for text in undo {
        sqlx::query(text).execute(&mut postgres).await.expect("undone");
        sqlx::query(text).execute(&mut sqlite).await.expect("undone");
    }
    sqlite.close().await.expect("closed");
    for url in [schema.url(), folder.path().join("apg.db").display().to_string()] {
        let before = store::migrate(&url).await.expect("migrated");
        assert!(before.applied > 14, "{before:?}");
        assert_eq!(before.pending.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [14]);
        let status = store::migration_status(&url).await.expect("a status");
        assert!(status.pending.is_empty(), "{status:?}");
    }
}

#[tokio::test]
async fn months_are_made_ahead() {
    let schema = Schema::migrated().await;
    schema.store().await.close().await;
    let mut connection = schema.connect().await;
    let made: i64 = sqlx::query_scalar(
        "select count(*) from pg_inherits
        where inhparent in ('wo_executions'::regclass, 'wo_journal'::regclass, 'wo_tasks'::regclass)",
    )
    .fetch_one(&mut connection)
    .await
    .expect("counted");
    assert_eq!(made, 3 * 5, "four months and the default one, three times");
}

/// A table that is added must go with its execution, or say for how long it is kept by itself.
#[tokio::test]
async fn every_table_that_names_an_execution_has_its_time() {
    let goes_with_it = [
        "wo_dead_letters",
        "wo_event_waits",
        "wo_human_task_assignees",
        "wo_human_tasks",
        "wo_idempotency",
        "wo_journal",
        "wo_late_results",
        "wo_payloads",
        "wo_permits",
        "wo_requests",
        "wo_slot_waits",
        "wo_slots",
        "wo_tasks",
        "wo_timers",
    ];
    // `engine.keep_notifications_days`, `engine.keep_receipts_days`, and the `ttl` of a result.
    let has_a_time_of_its_own = ["wo_cache", "wo_notifications", "wo_schedule_fires", "wo_trigger_receipts"];
    // The database removes these itself, with the row that they are of.
    let by_trigger = ["wo_execution_tags"];
    let known: BTreeSet<&str> =
        goes_with_it.into_iter().chain(has_a_time_of_its_own).chain(by_trigger).collect();
    let (_folder, mut sqlite) = sqlite().await;
    let there: Vec<String> = sqlx::query_scalar(
        "select m.name
        from sqlite_master as m, pragma_table_info(m.name) as c
        where m.type = 'table' and c.name = 'execution_id'",
    )
    .fetch_all(&mut sqlite)
    .await
    .expect("tables");
    assert_eq!(there.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
    let deleted_from = |table: &str| {
        store::statements().iter().any(|(_, text)| {
            text.starts_with(&format!("delete from {table}\n")) && text.contains("select unhex(value)")
        })
    };
    for table in goes_with_it {
        assert!(deleted_from(table), "{table}");
    }
}

/// An execution as a row, accepted in September of 2020, and what lies beside it.
async fn add_old(connection: &mut sqlx::PgConnection, number: u32, status: &str, ended: &str) {
    let id = format!("0174a000-0000-7000-8000-{number:012}");
    for text in [
        format!(
            "insert into wo_executions (id, tenant_id, shard, workflow_id, workflow_name, version, status, priority,
                tags, principal, created_at, finished_at, sweep_seconds)
            values ('{id}', '{id}', 0, '{id}', 'w', 1, '{status}', 1, '[]', 'someone', '2020-09-18',
                case '{ended}' when '' then null else '{ended}' end::timestamptz, 60)"
        ),
        format!("insert into wo_journal values ('{id}', 1, '{id}', '2020-09-18', '')"),
        format!("insert into wo_payloads values ('{id}', '{id}', '{id}', '')"),
        format!("insert into wo_idempotency values ('{id}', 'key', 'hash', '{id}', '2020-09-19')"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut *connection).await.expect("added");
    }
}

#[tokio::test]
async fn a_month_goes_when_nothing_in_it_must_stay() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let mut connection = schema.connect().await;
    for table in ["wo_executions", "wo_journal", "wo_tasks"] {
        let text = format!(
            "create table {table}_2020_09 partition of {table}
            for values from ('01744710-9800-0000-0000-000000000000') to ('0174e18f-2400-0000-0000-000000000000')"
        );
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.expect("made");
    }
    add_old(&mut connection, 1, "completed", "2020-09-20").await;
    add_old(&mut connection, 2, "failed", "2020-10-20").await;
    let at = |text: &str| -> Option<Timestamp> { Some(text.parse().expect("an instant")) };
    let now = at("2026-11-28T00:00:00Z").expect("an instant");
    let months = store.months(now).await.expect("read");
    let old: Vec<&str> =
        months.iter().map(|month| month.name.as_str()).filter(|name| name.contains("2020")).collect();
    assert_eq!(old, ["wo_executions_2020_09"]);
    let month = months[0].clone();
    assert_eq!(Some(month.end), at("2020-10-01T00:00:00Z"));
    assert!(store.months(at("2020-09-30T23:59:59Z").expect("an instant")).await.expect("read").is_empty());
    let limits = |completed, failed| Limits { completed: at(completed), failed: at(failed), cancelled: None };
    let count = "select count(*) from wo_executions";
    for must_stay in [
        limits("2020-09-20T00:00:00Z", "2020-12-01T00:00:00Z"),
        limits("2020-12-01T00:00:00Z", "2020-10-20T00:00:00Z"),
        Limits::default(),
    ] {
        assert_eq!(store.forget_month(&month, must_stay).await.expect("an answer"), None);
    }
    let good = limits("2020-12-01T00:00:00Z", "2020-12-01T00:00:00Z");
    add_old(&mut connection, 3, "running", "").await;
    assert_eq!(store.forget_month(&month, good).await.expect("an answer"), None, "one is open");
    sqlx::query(
        "update wo_executions set status = 'completed', finished_at = '2020-09-20' where status = 'running'",
    )
    .execute(&mut connection)
    .await
    .expect("ended");
    // Whoever uses the table is not waited for: it goes another time.
    sqlx::query("begin").execute(&mut connection).await.expect("begun");
    let there: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(there, 3);
    assert_eq!(store.forget_month(&month, good).await.expect("an answer"), None);
    sqlx::query("rollback").execute(&mut connection).await.expect("ended");
    let gone = store.forget_month(&month, good).await.expect("an answer").expect("it went");
    assert_eq!((gone.executions, gone.others), (3, 3), "with their keys");
    let there: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(there, 0);
    assert!(!store.months(now).await.expect("read").contains(&month));
    // What lay beside it is found as left over.
    let left = store.owners(shared::port::history::Leftover::Payloads, now, None, 10).await.expect("read");
    assert_eq!(left.iter().map(|owner| owner.status).collect::<Vec<_>>(), [None; 3]);
    store.close().await;
}

#[tokio::test]
async fn a_sweep_is_put_off_for_longer_only_while_nothing_comes_of_it() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    let mut connection = schema.connect().await;
    add_old(&mut connection, 1, "running", "").await;
    let id = ExecutionId::from_uuid("0174a000-0000-7000-8000-000000000001".parse().expect("an id"));
    let past: Timestamp = "2020-09-20T00:00:00Z".parse().expect("an instant");
    let shards: Vec<Shard> = Shard::all().collect();
    let answer = vec![(id, past)];
    store.sweep_again(answer.clone()).await.expect("set");
    // The pause of the next one, once this one is put off.
    let mut next = async || -> i32 {
        sqlx::query_scalar("update wo_executions set sweep_at = '2020-09-20' returning sweep_seconds")
            .fetch_one(&mut connection)
            .await
            .expect("read")
    };
    assert_eq!(next().await, 15);
    for expected in [30, 60, 120] {
        assert_eq!(store.sweep_due(&shards, 10).await.expect("swept"), [id]);
        assert_eq!(next().await, expected);
    }
    store.sweep_again(answer).await.expect("set");
    assert_eq!(next().await, 15, "it answered");
    store.close().await;
}

#[tokio::test]
async fn a_sqlite_file_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::at(folder.path().join("apg.db").display().to_string());
    let store = SqlStore::open(&config).await.expect("opened");
    let refused = SqlStore::open(&config).await.err().expect("refused");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    store.close().await;
    drop(store);
    SqlStore::open(&config).await.expect("opened once it is free");
}

#[tokio::test]
async fn a_sqlite_file_is_read_beside_its_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::at(folder.path().join("apg.db").display().to_string());
    let nothing = SqlStore::open_to_read(&config).await.err().expect("there is none");
    assert!(matches!(nothing, OpenError::Unreachable(_)), "{nothing:?}");
    assert!(!folder.path().join("apg.db").exists(), "looking makes nothing");
    let owner = SqlStore::open(&config).await.expect("opened");
    let reader = SqlStore::open_to_read(&config).await.expect("opened beside it");
    let holder = shared::ids::CoordinatorId::generate();
    let hold = std::time::Duration::from_mins(1);
    assert!(reader.chore_take("x", holder, hold).await.is_err(), "it writes nothing");
    assert_eq!(owner.chore_take("x", holder, hold).await.expect("taken").as_deref(), Some(""));
    assert!(owner.chore_note("x", holder, "seen").await.expect("noted"));
    assert_eq!(reader.execution_counts().await.expect("read"), []);
    assert_eq!(reader.audit_tables().await.expect("read"), []);
    owner.close().await;
    drop(owner);
    assert_eq!(reader.execution_counts().await.expect("read"), [], "and without it");
    reader.close().await;
    drop(reader);
    SqlStore::open(&config).await.expect("opened again");
}

/// Whether a start waits for what answers the first message of each connection so, and then closes it.
async fn is_waited_for(answer: &'static [u8]) -> bool {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).await.expect("asked");
            stream.write_all(answer).await.expect("answered");
        }
    });
    let config = Config::at(format!("postgres://apg@{address}/apg"));
    let error = SqlStore::open(&config).await.err().expect("there is no database");
    answering.abort();
    error.is_retryable()
}

#[tokio::test]
async fn a_start_waits_for_a_database_whose_proxy_is_there_and_for_nothing_else() {
    assert!(is_waited_for(b"").await, "the database behind it is away");
    assert!(!is_waited_for(b"HTTP/1.1 400 Bad Request").await, "this is no database");
}

#[tokio::test]
async fn a_temporary_store_leaves_nothing_behind() {
    let store = SqlStore::open(&Config::at("sqlite::memory:")).await.expect("opened");
    assert_eq!(store.execution_counts().await.expect("counted"), []);
    store.close().await;
}

#[tokio::test]
async fn an_unreachable_store_can_be_tried_again() {
    let schema = Schema::migrated().await;
    let store = schema.store().await;
    store.close().await;
    let error = store
        .execution_get(TenantId::DEFAULT, shared::ids::ExecutionId::generate())
        .await
        .expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)) && error.is_retryable(), "{error:?}");
    let nowhere =
        SqlStore::open(&Config::at("postgres://nobody@127.0.0.1:1/nothing")).await.err().expect("refused");
    assert!(nowhere.is_retryable(), "{nowhere:?}");
    drop(schema.connect().await.close().await);
}
