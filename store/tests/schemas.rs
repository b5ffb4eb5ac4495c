//! Both schemas are one, and every statement is one that both engines understand.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

mod common;

use std::collections::BTreeSet;

use common::Schema;
use shared::{
    ids::TenantId,
    port::store::{StoreError, Views},
};
use sqlx::{
    ConnectOptions, Connection, Executor, SqlSafeStr, SqliteConnection, sqlite::SqliteConnectOptions,
};
use store::{Config, OpenError, SqlStore};

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
