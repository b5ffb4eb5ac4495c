//! What becomes of executions after their end. Decides nothing about whose time is over.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use chrono::{Months, NaiveDate};
use shared::{
    ids::{CoordinatorId, ExecutionId, PayloadId, TenantId},
    port::{
        history::{Ended, EndedFilter, Forgotten, History, Leftover, Limits, Month, Owner},
        store::StoreError,
    },
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
    error,
    rows::{self, ExecutionRecord},
    sql_store::{Db, in_task, in_transaction, on_pool},
};

/// How far the clock that an id was made by and that of the store may lie apart.
const SLACK: Duration = Duration::from_hours(24);
/// How long the removal of a month waits for others that use the tables; everybody else waits behind it meanwhile.
const MONTH_LOCK_TIMEOUT: &str = "set local lock_timeout = '200ms'";

const CHORE_TAKE: &str = "\
insert into wo_chores (name, holder, held_until, note)
values ($1, $2, $3, '')
on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
where wo_chores.holder = excluded.holder or wo_chores.held_until <= $4
returning note";

const CHORE_NOTE: &str = "\
update wo_chores
set note = $3
where name = $1 and holder = $2";

/// Every execution is of a workflow, and workflows stay.
const TENANTS: &str = "\
select distinct tenant_id
from wo_workflows
order by tenant_id";

/// The statuses are written out for the partial index.
const ENDED: &str = "\
select e.id, e.tenant_id, e.workflow_id, e.workflow_name, e.version, e.status, e.priority, e.tags, e.principal,
    e.created_at, e.started_at, e.finished_at, e.blocked_by, e.failure, e.output, e.retry_of,
    (select max(j.seq) from wo_journal as j where j.execution_id = e.id) as turns
from wo_executions as e
where e.tenant_id = $1 and e.status = $2 and e.status in ('completed', 'failed', 'cancelled')
    and e.id > $3 and e.id < $4 and e.finished_at < $5 and e.sweep_at is null
order by e.id limit $6";

const OPEN_BEFORE: &str = "\
select id
from wo_executions
where tenant_id = $1 and status in ('pending', 'running', 'paused') and id > $2 and id < $3
order by id limit $4";

macro_rules! owners {
    ($from:literal) => {
        concat!(
            "\
with p (execution_id) as (
    select distinct execution_id
    from ",
            $from,
            "
    where execution_id is not null and execution_id > $1 and execution_id < $2
    order by execution_id limit $3)
select p.execution_id, e.status, e.finished_at
from p
left join wo_executions as e on e.id = p.execution_id
order by p.execution_id"
        )
    };
}

const PAYLOAD_OWNERS: &str = owners!("wo_payloads");
const LATE_OWNERS: &str = owners!("wo_late_results");
const HUMAN_TASK_OWNERS: &str = owners!("wo_human_tasks");
const LETTER_OWNERS: &str = owners!("wo_dead_letters");

const PAYLOAD_LIST: &str = "\
select id
from wo_payloads
where execution_id = $1 and id > $2
order by id limit $3";

pub(crate) const STATEMENTS: &[&str] = &[
    CHORE_TAKE,
    CHORE_NOTE,
    TENANTS,
    ENDED,
    OPEN_BEFORE,
    PAYLOAD_OWNERS,
    LATE_OWNERS,
    HUMAN_TASK_OWNERS,
    LETTER_OWNERS,
    PAYLOAD_LIST,
];

/// The months that there are, in PostgreSQL.
const MONTHS: &str = "\
select c.relname::text
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
where i.inhparent = 'wo_executions'::regclass and c.relname ~ '^wo_executions_[0-9]{4}_[0-9]{2}$'
order by 1";

#[derive(FromRow)]
struct EndedRecord {
    #[sqlx(flatten)]
    row: ExecutionRecord,
    turns: Option<i32>,
}

/// A table of months, by what its name says: the instants in which it begins and ends.
fn span(name: &str) -> Option<(Timestamp, Timestamp)> {
    let mut parts = name.strip_prefix("wo_executions_")?.split('_');
    let (year, month) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let first = NaiveDate::from_ymd_opt(year, month, 1)?;
    let next = first.checked_add_months(Months::new(1))?;
    let midnight = |day: NaiveDate| Timestamp::from_datetime(day.and_time(chrono::NaiveTime::MIN).and_utc());
    Some((midnight(first), midnight(next)))
}

fn after(id: Option<ExecutionId>) -> Uuid {
    id.map_or(Uuid::nil(), |id| *id.as_uuid())
}

/// Somebody else holds what is to be locked, or waits for us.
fn is_taken(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "55P03" | "40P01"))
}

#[async_trait]
impl History for SqlStore {
    async fn chore_take(
        &self,
        chore: &str,
        holder: CoordinatorId,
        hold: Duration,
    ) -> Result<Option<String>, StoreError> {
        let now = self.clock().await?;
        let chore = chore.to_owned();
        in_transaction!(self, |tx, sql| {
            sqlx::query_scalar(CHORE_TAKE)
                .bind(chore)
                .bind(*holder.as_uuid())
                .bind(At(now.after(hold)))
                .bind(At(now))
                .fetch_optional(&mut *tx)
                .await
        })
    }

    async fn chore_note(&self, chore: &str, holder: CoordinatorId, note: &str) -> Result<bool, StoreError> {
        let (chore, note) = (chore.to_owned(), note.to_owned());
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(CHORE_NOTE)
                .bind(chore)
                .bind(*holder.as_uuid())
                .bind(note)
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(TENANTS).fetch_all(pool).await)?;
        Ok(ids.into_iter().map(TenantId::from_uuid).collect())
    }

    async fn ended(&self, filter: EndedFilter) -> Result<Vec<Ended>, StoreError> {
        // Planned for these very values, as lists are.
        let records: Vec<EndedRecord> = on_pool!(self, |pool, sql| sqlx::query_as(ENDED)
            .persistent(false)
            .bind(*filter.tenant.as_uuid())
            .bind(filter.status.as_str())
            .bind(after(filter.after))
            .bind(rows::first_id_at(filter.before.after(SLACK)))
            .bind(At(filter.before))
            .bind(i64::from(filter.limit))
            .fetch_all(pool)
            .await)?;
        let ended = |record: EndedRecord| {
            Ok(Ended { row: record.row.row()?, turns: record.turns.unwrap_or_default() as u32 })
        };
        records.into_iter().map(ended).collect()
    }

    async fn open_before(
        &self,
        tenant: TenantId,
        before: Timestamp,
        since: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(OPEN_BEFORE)
            .persistent(false)
            .bind(*tenant.as_uuid())
            .bind(after(since))
            .bind(rows::first_id_at(before.after(SLACK)))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        Ok(ids.into_iter().map(ExecutionId::from_uuid).collect())
    }

    async fn open_among(&self, executions: &[ExecutionId]) -> Result<Vec<ExecutionId>, StoreError> {
        if executions.is_empty() {
            return Ok(Vec::new());
        }
        let ids = executions.iter().map(|id| *id.as_uuid());
        let open: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(sql::OPEN_AMONG)
            .bind(sql::ids(ids))
            .fetch_all(pool)
            .await)?;
        Ok(open.into_iter().map(ExecutionId::from_uuid).collect())
    }

    async fn forget(&self, executions: &[ExecutionId]) -> Result<Forgotten, StoreError> {
        if executions.is_empty() {
            return Ok(Forgotten::default());
        }
        // In one order, so that two transactions never wait for each other.
        let wanted: std::collections::BTreeSet<Uuid> = executions.iter().map(|id| *id.as_uuid()).collect();
        in_transaction!(self, |tx, sql| {
            let there: Vec<Uuid> = sqlx::query_scalar(sql::FORGET_KNOWN)
                .bind(sql::ids(wanted.iter().copied()))
                .fetch_all(&mut *tx)
                .await?;
            let there: HashSet<Uuid> = there.into_iter().collect();
            let ours: Vec<Uuid> = sqlx::query_scalar(sql::FORGET_HELD)
                .bind(sql::ids(wanted.iter().copied()))
                .fetch_all(&mut *tx)
                .await?;
            let mut going: Vec<Uuid> = ours;
            going.extend(wanted.into_iter().filter(|id| !there.contains(id)));
            // The names of people's tasks are found through the tasks.
            let texts = [
                sql::FORGET_TURNS,
                sql::FORGET_TASKS,
                sql::FORGET_PAYLOADS,
                sql::FORGET_ASSIGNEES,
                sql::FORGET_HUMAN_TASKS,
                sql::FORGET_WAITS,
                sql::FORGET_PERMITS,
                sql::FORGET_TIMERS,
                sql::FORGET_SLOTS,
                sql::FORGET_SLOT_WAITS,
                sql::FORGET_LATE,
                sql::FORGET_REQUESTS,
                sql::FORGET_KEYS,
                sql::FORGET_LETTERS,
                sql::FORGET_EXECUTIONS,
            ];
            let mut gone = [0_u64; 15];
            for (text, count) in texts.into_iter().zip(&mut gone) {
                let ids = sql::ids(going.iter().copied());
                *count = sqlx::query(text).bind(ids).execute(&mut *tx).await?.rows_affected();
            }
            let [
                turns,
                tasks,
                payloads,
                _,
                human_tasks,
                _,
                _,
                _,
                _,
                _,
                late,
                requests,
                keys,
                letters,
                executions,
            ] = gone;
            let others = late + requests + keys + letters;
            Ok(Forgotten { executions, turns, tasks, payloads, human_tasks, others })
        })
    }

    async fn months(&self, before: Timestamp) -> Result<Vec<Month>, StoreError> {
        let Db::Postgres(pool) = &self.inner.db else { return Ok(Vec::new()) };
        let names: Vec<String> = sqlx::query_scalar(MONTHS).fetch_all(pool).await.map_err(error::undone)?;
        let months = names.into_iter().filter_map(|name| {
            let (_, end) = span(&name)?;
            Some(Month { name, end })
        });
        Ok(months.filter(|month| month.end <= before).collect())
    }

    async fn forget_month(&self, month: &Month, limits: Limits) -> Result<Option<Forgotten>, StoreError> {
        let Db::Postgres(pool) = self.inner.db.clone() else { return Ok(None) };
        // The name becomes part of statements: it is made again from what it says.
        let Some((from, to)) = span(&month.name) else { return Ok(None) };
        let date = from.to_datetime().format("%Y_%m").to_string();
        in_task(async move {
            #[expect(clippy::disallowed_methods, reason = "in a task of its own: nobody cancels it")]
            let mut transaction = pool.begin().await.map_err(error::undone)?;
            let dropped = drop_month(&mut transaction, &date, (from, to), limits).await;
            match dropped {
                Ok(Some(gone)) => {
                    transaction.commit().await.map_err(error::unknown)?;
                    Ok(Some(gone))
                }
                Ok(None) => {
                    transaction.rollback().await.map_err(error::undone)?;
                    Ok(None)
                }
                Err(cause) if is_taken(&cause) => {
                    transaction.rollback().await.map_err(error::undone)?;
                    Ok(None)
                }
                Err(cause) => Err(error::undone(cause)),
            }
        })
        .await
    }

    async fn owners(
        &self,
        of: Leftover,
        before: Timestamp,
        since: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<Owner>, StoreError> {
        let text = match of {
            Leftover::Payloads => PAYLOAD_OWNERS,
            Leftover::LateResults => LATE_OWNERS,
            Leftover::HumanTasks => HUMAN_TASK_OWNERS,
            Leftover::DeadLetters => LETTER_OWNERS,
        };
        let records: Vec<(Uuid, Option<String>, Option<At>)> =
            on_pool!(self, |pool, sql| sqlx::query_as(text)
                .bind(after(since))
                .bind(rows::first_id_at(before))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await)?;
        let owner = |(id, status, finished_at): (Uuid, Option<String>, Option<At>)| {
            Ok(Owner {
                execution: ExecutionId::from_uuid(id),
                status: status.map(|text| rows::status(&text)).transpose()?,
                finished_at: finished_at.map(|at| at.0),
            })
        };
        records.into_iter().map(owner).collect()
    }

    async fn payload_list(
        &self,
        execution: ExecutionId,
        since: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<PayloadId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(PAYLOAD_LIST)
            .bind(*execution.as_uuid())
            .bind(since.map_or(Uuid::nil(), |id| *id.as_uuid()))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        Ok(ids.into_iter().map(PayloadId::from_uuid).collect())
    }

    async fn payload_drop(&self, execution: ExecutionId, ids: &[PayloadId]) -> Result<u64, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| *id.as_uuid()).collect();
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(sql::PAYLOAD_DROP)
                .bind(sql::ids(ids.into_iter()))
                .bind(*execution.as_uuid())
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected())
        })
    }
}

/// Drops the three tables of a month and what small tables have of it. `None` when something in it must stay.
async fn drop_month(
    connection: &mut sqlx::PgConnection,
    date: &str,
    (from, to): (Timestamp, Timestamp),
    limits: Limits,
) -> Result<Option<Forgotten>, sqlx::Error> {
    // An ended execution never opens again, and no new one gets an id of the past: what is seen here stays true.
    let stays: bool = sqlx::query_scalar(AssertSqlSafe(format!(
        "select exists (
            select 1 from wo_executions_{date}
            where sweep_at is not null or not coalesce(
                status = 'completed' and finished_at < $1
                or status = 'failed' and finished_at < $2
                or status = 'cancelled' and finished_at < $3, false))"
    )))
    .bind(limits.completed.map(At))
    .bind(limits.failed.map(At))
    .bind(limits.cancelled.map(At))
    .fetch_one(&mut *connection)
    .await?;
    if stays {
        return Ok(None);
    }
    let executions: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from wo_executions_{date}")))
            .fetch_one(&mut *connection)
            .await?;
    // Counting rows that go would cost more than letting them go: these are the database's estimates.
    let estimate = "select greatest(reltuples, 0)::int8 from pg_class where oid = $1::regclass";
    let mut rows = [0_i64; 2];
    for (table, count) in ["wo_journal", "wo_tasks"].iter().zip(&mut rows) {
        *count =
            sqlx::query_scalar(estimate).bind(format!("{table}_{date}")).fetch_one(&mut *connection).await?;
    }
    let mut others = 0;
    let small = [
        "wo_timers",
        "wo_slots",
        "wo_slot_waits",
        "wo_event_waits",
        "wo_permits",
        "wo_requests",
        "wo_idempotency",
        "wo_execution_tags",
    ];
    for table in small {
        let text = format!("delete from {table} where execution_id >= $1 and execution_id < $2");
        let done = sqlx::query(AssertSqlSafe(text))
            .bind(rows::first_id_at(from))
            .bind(rows::first_id_at(to))
            .execute(&mut *connection)
            .await?;
        // A tag is a part of its execution.
        others += if table == "wo_execution_tags" { 0 } else { done.rows_affected() };
    }
    sqlx::query(MONTH_LOCK_TIMEOUT).execute(&mut *connection).await?;
    let tables = format!("drop table wo_journal_{date}, wo_tasks_{date}, wo_executions_{date}");
    sqlx::query(AssertSqlSafe(tables)).execute(&mut *connection).await?;
    let [turns, tasks] = rows.map(|count| count as u64);
    Ok(Some(Forgotten { executions: executions as u64, turns, tasks, others, ..Forgotten::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_from_its_name() {
        let (from, to) = span("wo_executions_2026_12").expect("a month");
        assert_eq!(from.to_string(), "2026-12-01T00:00:00.000000Z");
        assert_eq!(to.to_string(), "2027-01-01T00:00:00.000000Z");
        for other in ["wo_executions_default", "wo_executions_2026_13", "wo_journal_2026_12"] {
            assert_eq!(span(other), None, "{other}");
        }
    }
}
