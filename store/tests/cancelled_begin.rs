//! R1: a `begin` that is cancelled in flight must not swallow what the next user of its connection writes.
//!
//! Fails without `store::guarded` on sqlx 0.9.0. The guard stays until a release passes without it.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

mod common;

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use common::Schema;
use shared::{
    ids::{ExecutionId, PayloadId, TenantId},
    port::store::Payloads,
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

const CANCELLED: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_begin_loses_no_acknowledged_write() {
    let schema = Schema::create().await;
    let options: PgConnectOptions = schema.url().parse().expect("an address");
    let pool =
        store::guarded(PgPoolOptions::new()).max_connections(2).connect_with(options).await.expect("a pool");
    sqlx::query("create table kept (number bigint primary key)").execute(&pool).await.expect("a table");
    let mut acknowledged = 0_i64;
    for round in 0..CANCELLED {
        // Dropped after some polls: not yet sent, sent and not answered, answered and not read.
        let mut begin = Box::pin(pool.begin());
        for _ in 0..round % 5 {
            if poll_fn(|cx| Poll::Ready(begin.as_mut().poll(cx).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        let number = i64::try_from(round).expect("small");
        sqlx::query("insert into kept (number) values ($1)")
            .bind(number)
            .execute(&pool)
            .await
            .expect("acknowledged");
        acknowledged += 1;
    }
    let mut other = schema.connect().await;
    let seen: i64 =
        sqlx::query_scalar("select count(*) from kept").fetch_one(&mut other).await.expect("counted");
    assert_eq!(seen, acknowledged, "acknowledged writes that a second connection does not see are lost");
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deed_goes_on_when_its_caller_hangs_up() {
    let schema = Schema::migrated().await;
    let store = Arc::new(schema.store().await);
    let execution = ExecutionId::generate();
    for round in 0..CANCELLED {
        let deed = store.payload_put(TenantId::DEFAULT, execution, PayloadId::generate(), vec![1]);
        let _ = tokio::time::timeout(Duration::from_micros(20 + round * 5), deed).await;
    }
    let last = PayloadId::generate();
    store.payload_put(TenantId::DEFAULT, execution, last, vec![2]).await.expect("acknowledged");
    let mut other = schema.connect().await;
    let seen: i64 = sqlx::query_scalar("select count(*) from wo_payloads where id = $1")
        .bind(*last.as_uuid())
        .fetch_one(&mut other)
        .await
        .expect("counted");
    assert_eq!(seen, 1);
    store.close().await;
}
