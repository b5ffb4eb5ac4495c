//! The safety net: what the sweep looks at, and what the API accepted for executions under way.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{Datelike, Months, NaiveDate};
use shared::{
    ids::{ExecutionId, RequestId, Shard, TenantId},
    port::slots::EXECUTIONS_KEY,
    port::store::{Journal, Request, StoreError, Sweeps},
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, FromRow};
use tracing::warn;
use uuid::Uuid;

use crate::{
    SqlStore, accounts, cache,
    dialect::{At, Batch, Cell, Engine, Kind},
    error, people, rates, rows,
    sql_store::{Db, in_task, in_transaction, on_pool},
};

/// How long a sweep is put off, in seconds, until the execution says itself when to look again; twice as long each time
/// that it does not. The statements have the first as a number.
pub(crate) const FIRST_SWEEP_SECONDS: u32 = 15;
pub(crate) const LONGEST_SWEEP_SECONDS: u32 = 1_800;

/// Only an open execution takes a request.
const ADD_REQUEST: &str = "\
insert into wo_requests (id, tenant_id, execution_id, shard, at, body)
select $1, e.tenant_id, e.id, e.shard, $2, $3
from wo_executions as e
where e.id = $4 and e.tenant_id = $5 and e.status in ('pending', 'running', 'paused')
on conflict do nothing";

/// The same request once more is kept already.
const FIND_REQUEST: &str = "\
select 1
from wo_requests
where id = $1";

const FORGET_REQUEST: &str = "\
delete from wo_requests
where id = $1";

/// Sweeps cross tenants.
const SWEEP_LAG: &str = "\
select min(sweep_at)
from wo_executions
where sweep_at <= $1";

const FORGET_KEYS: &str = "\
delete from wo_idempotency
where expires_at <= $1";

/// Processes that have not been heard of for a day are history.
const FORGET_WORKERS: &str = "\
delete from wo_workers
where seen_at <= $1";

pub(crate) const STATEMENTS: &[&str] =
    &[ADD_REQUEST, FIND_REQUEST, FORGET_REQUEST, SWEEP_LAG, FORGET_KEYS, FORGET_WORKERS];

pub(crate) static PUT_OFF: Batch = Batch::new(
    "\
with t (id, sweep_at, sweep_seconds) as ({rows})
update wo_executions as e
set sweep_at = t.sweep_at, sweep_seconds = t.sweep_seconds
from t
where e.id = t.id",
    &[Kind::Uuid, Kind::At, Kind::Int],
);

pub(crate) static SWEEP_AGAIN: Batch = Batch::new(
    "\
with t (id, sweep_at) as ({rows})
update wo_executions as e
set sweep_at = t.sweep_at, sweep_seconds = 15
from t
where e.id = t.id and (e.status in ('pending', 'running', 'paused')) is true",
    &[Kind::Uuid, Kind::At],
);

/// Nobody has to be told of these ends any more.
pub(crate) static SWEEP_DONE: Batch = Batch::new(
    "\
with t (id) as ({rows})
update wo_executions as e
set sweep_at = null
from t
where e.id = t.id and (e.status in ('completed', 'failed', 'cancelled')) is true",
    &[Kind::Uuid],
);

pub(crate) const BATCHES: &[&Batch] = &[&PUT_OFF, &SWEEP_AGAIN, &SWEEP_DONE];

#[derive(FromRow)]
struct RequestRecord {
    id: Uuid,
    tenant_id: Uuid,
    execution_id: Uuid,
    at: At,
    body: Vec<u8>,
}

impl RequestRecord {
    fn request(self) -> Result<Request, StoreError> {
        Ok(Request {
            id: RequestId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            execution: ExecutionId::from_uuid(self.execution_id),
            body: rows::decode(&self.body)?,
            at: self.at.0,
        })
    }
}

fn numbers(shards: &[Shard]) -> impl Iterator<Item = i32> + use<> {
    shards.iter().map(|shard| i32::from(shard.0)).collect::<Vec<_>>().into_iter()
}

#[async_trait]
impl Sweeps for SqlStore {
    async fn sweep_due(&self, shards: &[Shard], limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        let now = self.clock().await?;
        let shards = numbers(shards);
        // A sweep that finds nothing writes nothing.
        if self.sweep_lag_at(now).await?.is_none() {
            return Ok(Vec::new());
        }
        in_transaction!(self, |tx, sql| {
            let due: Vec<(Uuid, At, i32)> = sqlx::query_as(sql::SWEEP_DUE)
                .bind(sql::numbers(shards))
                .bind(At(now))
                .bind(i64::from(limit))
                .fetch_all(&mut *tx)
                .await?;
            let mut cells: Vec<Cell> = Vec::with_capacity(due.len() * 3);
            for (id, _, seconds) in &due {
                let seconds = u32::try_from(*seconds).unwrap_or(FIRST_SWEEP_SECONDS);
                let longer = (seconds * 2).min(LONGEST_SWEEP_SECONDS);
                let next = now.after(Duration::from_secs(u64::from(seconds)));
                cells.extend([(*id).into(), next.into(), Cell::from(longer as i32)]);
            }
            tx.run(&PUT_OFF, cells).await?;
            Ok(due.into_iter().map(|(id, ..)| ExecutionId::from_uuid(id)).collect())
        })
    }

    async fn sweep_all(&self, shards: &[Shard]) -> Result<u64, StoreError> {
        let now = self.clock().await?;
        let shards = numbers(shards);
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(sql::SWEEP_ALL)
                .bind(sql::numbers(shards))
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected())
        })
    }

    async fn lines_at_rest(&self, limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(crate::views::LINES_AT_REST)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        let mut resting = crate::places::each_once(ids);
        let left = limit.saturating_sub(resting.len() as u32);
        if left > 0 {
            resting.extend(self.next_in_line(EXECUTIONS_KEY, left).await?);
        }
        Ok(resting)
    }

    async fn sweep_again(&self, at: Vec<(ExecutionId, Timestamp)>) -> Result<(), StoreError> {
        if at.is_empty() {
            return Ok(());
        }
        // The last word on an execution counts.
        let wanted: std::collections::BTreeMap<ExecutionId, Timestamp> = at.into_iter().collect();
        in_transaction!(self, |tx, sql| {
            let mut cells: Vec<Cell> = Vec::with_capacity(wanted.len() * 2);
            for (id, at) in &wanted {
                cells.extend([(*id.as_uuid()).into(), Cell::from(*at)]);
            }
            tx.run(&SWEEP_AGAIN, cells).await?;
            Ok(())
        })
    }

    async fn sweep_done(&self, ended: &[ExecutionId]) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        let ids: std::collections::BTreeSet<ExecutionId> = ended.iter().copied().collect();
        in_transaction!(self, |tx, sql| {
            tx.run(&SWEEP_DONE, ids.iter().map(|id| Cell::from(*id.as_uuid())).collect()).await?;
            Ok(())
        })
    }

    async fn request(&self, request: Request) -> Result<bool, StoreError> {
        let body = rows::encode(&request.body)?;
        in_transaction!(self, |tx, sql| {
            let added = sqlx::query(ADD_REQUEST)
                .bind(*request.id.as_uuid())
                .bind(At(request.at))
                .bind(body)
                .bind(*request.execution.as_uuid())
                .bind(*request.tenant.as_uuid())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if added > 0 {
                return Ok(true);
            }
            let kept: Option<i32> =
                sqlx::query_scalar(FIND_REQUEST).bind(*request.id.as_uuid()).fetch_optional(&mut *tx).await?;
            Ok(kept.is_some())
        })
    }

    async fn requests_waiting(
        &self,
        shards: &[Shard],
        age: Duration,
        limit: u32,
    ) -> Result<Vec<Request>, StoreError> {
        let now = self.clock().await?;
        let before = Timestamp::from_micros(now.as_micros().saturating_sub(age.as_micros() as i64));
        let records: Vec<RequestRecord> = on_pool!(self, |pool, sql| sqlx::query_as(sql::REQUESTS_WAITING)
            .bind(sql::numbers(numbers(shards)))
            .bind(At(before))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(RequestRecord::request).collect()
    }

    async fn forget_request(&self, id: RequestId) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(FORGET_REQUEST).bind(*id.as_uuid()).execute(&mut *tx).await?;
            Ok(())
        })
    }

    async fn sweep_lag(&self) -> Result<Duration, StoreError> {
        let now = self.clock().await?;
        Ok(self.sweep_lag_at(now).await?.map_or(Duration::ZERO, |oldest| now.since(oldest)))
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        self.make_partitions().await?;
        let now = self.clock().await?;
        let yesterday = Timestamp::from_micros(now.as_micros() - 24 * 3_600 * 1_000_000);
        in_transaction!(self, |tx, sql| {
            sqlx::query(FORGET_KEYS).bind(At(now)).execute(&mut *tx).await?;
            sqlx::query(FORGET_WORKERS).bind(At(yesterday)).execute(&mut *tx).await?;
            sqlx::query(people::FORGET_NONCES).bind(At(now)).execute(&mut *tx).await?;
            sqlx::query(rates::FORGET_RATES).bind(At(yesterday)).execute(&mut *tx).await?;
            sqlx::query(cache::FORGET_CACHED).bind(At(now)).execute(&mut *tx).await?;
            sqlx::query(accounts::FORGET_SESSIONS).bind(At(now)).execute(&mut *tx).await?;
            sqlx::query(accounts::FORGET_LINKS).bind(At(now)).execute(&mut *tx).await?;
            sqlx::query(accounts::FORGET_TRIES).bind(At(yesterday)).execute(&mut *tx).await?;
            Ok(())
        })
    }
}

impl SqlStore {
    /// Since when the oldest execution has been due for a sweep.
    async fn sweep_lag_at(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let oldest: Option<At> =
            on_pool!(self, |pool, sql| sqlx::query_scalar(SWEEP_LAG).bind(At(now)).fetch_one(pool).await)?;
        Ok(oldest.map(|at| at.0))
    }

    /// Makes the partitions of the previous, this and the next two months.
    ///
    /// Whoever comes second finds them. When a month's rows lie in the default partition already, they stay
    /// there, which costs nothing but the dropping of that month.
    pub(crate) async fn make_partitions(&self) -> Result<(), StoreError> {
        let Db::Postgres(pool) = self.inner.db.clone() else { return Ok(()) };
        let today = self.clock().await?.to_datetime().date_naive();
        in_task(async move {
            for (name, text) in partitions(today) {
                let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
                    .bind(&name)
                    .fetch_one(&pool)
                    .await
                    .map_err(error::undone)?;
                if there {
                    continue;
                }
                if let Err(cause) = sqlx::query(AssertSqlSafe(text)).execute(&pool).await {
                    if error::is_connection(&cause) {
                        return Err(error::undone(cause));
                    }
                    // Several processes that start together make the same ones: whoever is second finds them.
                    let twice = ["42P07", "23505"];
                    if cause.as_database_error().and_then(sqlx::error::DatabaseError::code).is_none_or(|code| !twice.contains(&&*code)) {
                        warn!(error = %cause, "Partition {name} was not made; its rows go to the default one");
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

/// Names and statements of the partitions that should be there today.
fn partitions(today: NaiveDate) -> Vec<(String, String)> {
    let this = today.with_day(1).expect("every month has a first day");
    let months = [
        this.checked_sub_months(Months::new(1)),
        Some(this),
        this.checked_add_months(Months::new(1)),
        this.checked_add_months(Months::new(2)),
    ];
    let mut all = Vec::new();
    for first in months.into_iter().flatten() {
        let Some(next) = first.checked_add_months(Months::new(1)) else { continue };
        let bound = |day: NaiveDate| {
            let midnight = day.and_time(chrono::NaiveTime::MIN).and_utc();
            rows::first_id_at(Timestamp::from_datetime(midnight))
        };
        for table in ["wo_executions", "wo_journal", "wo_tasks"] {
            let name = format!("{table}_{}_{:02}", first.year(), first.month());
            let text = format!(
                "create table if not exists {name} partition of {table} for values from ('{}') to ('{}')",
                bound(first),
                bound(next)
            );
            all.push((name, text));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_meet_without_gap_over_the_turn_of_the_year() {
        let day = NaiveDate::from_ymd_opt(2026, 12, 31).expect("a day");
        let all = partitions(day);
        assert_eq!(all.len(), 12);
        let january = all.iter().find(|(name, _)| name == "wo_journal_2027_01").expect("next month");
        let december = all.iter().find(|(name, _)| name == "wo_journal_2026_12").expect("this month");
        let end = december.1.split("to ").nth(1).expect("an end");
        assert!(january.1.contains(&format!("from {end}")), "{} {}", december.1, january.1);
    }
}
