//! Permits under rate limits.

use std::time::Duration;

use async_trait::async_trait;
use shared::{
    ids::TenantId,
    port::{
        rates::{Permit, PermitAsk, Rate, RateRow, Rates},
        store::StoreError,
    },
    time::Timestamp,
};
use sqlx::FromRow;

use crate::{
    SqlStore,
    dialect::{At, Batch, Kind},
    sql_store::in_transaction,
};

/// What is known of a key, locked against whoever else asks for it.
const RATE: &str = "\
insert into wo_rates (tenant_id, key, next_at, permits, per_micros, burst, asked_at)
values ($1, $2, $3, $4, $5, $6, $3)
on conflict (tenant_id, key) do update
set key = excluded.key
returning next_at, permits, per_micros, burst, asked_at";

/// Held until the permit is kept, so that no end comes in between.
const HOLD_EXECUTION: &str = "\
update wo_executions
set status = status
where tenant_id = $1 and id = $2 and status in ('pending', 'running', 'paused')";

const KEEP_RATE: &str = "\
update wo_rates
set next_at = $3, permits = $4, per_micros = $5, burst = $6, asked_at = $7
where tenant_id = $1 and key = $2";

const PERMIT: &str = "\
select at
from wo_permits
where execution_id = $1 and task = $2";

const GIVE_PERMIT: &str = "\
insert into wo_permits (execution_id, task, tenant_id, at)
values ($1, $2, $3, $4)";

/// Permits of tasks that go on.
pub(crate) static DROP_PERMITS: Batch = Batch::new(
    "\
with t (execution_id, task) as ({rows})
delete from wo_permits
where (execution_id, task) in (select execution_id, task from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

/// Permits of executions that end.
pub(crate) static RELEASE_PERMITS: Batch = Batch::new(
    "\
delete from wo_permits
where execution_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) const BATCHES: &[&Batch] = &[&DROP_PERMITS, &RELEASE_PERMITS];

/// Keys whose permits are all saved up again for a day.
pub(crate) const FORGET_RATES: &str = "\
delete from wo_rates
where next_at < $1 and asked_at < $1";

pub(crate) const STATEMENTS: &[&str] = &[RATE, HOLD_EXECUTION, KEEP_RATE, PERMIT, GIVE_PERMIT, FORGET_RATES];

#[derive(Debug, FromRow)]
struct RateRecord {
    next_at: At,
    permits: i32,
    per_micros: i64,
    burst: i32,
    asked_at: At,
}

impl From<RateRecord> for RateRow {
    fn from(row: RateRecord) -> Self {
        let rate = Rate {
            limit: row.permits.unsigned_abs(),
            per: Duration::from_micros(row.per_micros.unsigned_abs()),
            burst: row.burst.unsigned_abs(),
        };
        Self { next: row.next_at.0, rate, asked_at: row.asked_at.0 }
    }
}

/// A rate as its columns.
fn columns(rate: Rate) -> (i32, i64, i32) {
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    (small(rate.limit), i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX), small(rate.burst))
}

#[async_trait]
impl Rates for SqlStore {
    async fn permit(&self, tenant: TenantId, ask: PermitAsk, now: Timestamp) -> Result<Permit, StoreError> {
        let tenant = *tenant.as_uuid();
        let (execution, task) = (*ask.execution.as_uuid(), ask.task.to_string());
        in_transaction!(self, |tx, sql| {
            let open = sqlx::query(HOLD_EXECUTION).bind(tenant).bind(execution).execute(&mut *tx).await?;
            if open.rows_affected() == 0 {
                return Ok(Permit::unwanted(now));
            }
            let (limit, per, burst) = columns(ask.rate);
            let row: RateRecord = sqlx::query_as(RATE)
                .bind(tenant)
                .bind(&ask.key)
                .bind(At(now))
                .bind(limit)
                .bind(per)
                .bind(burst)
                .fetch_one(&mut *tx)
                .await?;
            let given: Option<At> =
                sqlx::query_scalar(PERMIT).bind(execution).bind(&task).fetch_optional(&mut *tx).await?;
            if let Some(At(at)) = given {
                return Ok(Permit { at, refused: false, held_to: None });
            }
            let mut row = RateRow::from(row);
            let permit = row.ask(ask.rate, ask.until, now);
            let (limit, per, burst) = columns(row.rate);
            sqlx::query(KEEP_RATE)
                .bind(tenant)
                .bind(&ask.key)
                .bind(At(row.next))
                .bind(limit)
                .bind(per)
                .bind(burst)
                .bind(At(row.asked_at))
                .execute(&mut *tx)
                .await?;
            if !permit.refused {
                sqlx::query(GIVE_PERMIT)
                    .bind(execution)
                    .bind(&task)
                    .bind(tenant)
                    .bind(At(permit.at))
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(permit)
        })
    }
}
