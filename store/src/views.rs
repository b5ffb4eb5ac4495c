//! What people look at, and what the audit compares.

use std::time::Duration;

use async_trait::async_trait;
use shared::{
    execution::{Status, Turn},
    ids::{ExecutionId, TenantId, WorkflowId},
    port::slots::tenants_take_turns,
    port::store::{
        DueTimer, ExecutionFilter, ExecutionRow, Finding, LateResult, Page, Paged, SlotOwner, SlotOwners,
        StatisticsSlot, StatisticsSpan, StoreError, Views,
    },
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{At, executions},
    rows::{self, ExecutionRecord, JournalRecord, TimerRecord},
    sql_store::on_pool,
};

const EXECUTION: &str = "\
select id, tenant_id, workflow_id, workflow_name, version, status, priority, tags, principal, created_at,
    started_at, finished_at, blocked_by, failure, output, retry_of
from wo_executions
where tenant_id = $1 and id = $2";

const RETRIES: &str = "\
select id
from wo_executions
where tenant_id = $1 and retry_of = $2
order by id desc limit $3";

const TURNS: &str = "\
select j.execution_id, j.seq, j.cause, j.at, j.events
from wo_journal as j
join wo_executions as e on e.id = j.execution_id
where e.tenant_id = $1 and e.id = $2 and j.execution_id = $2 and j.seq > $3
order by j.seq limit $4";

const TIMERS: &str = "\
select m.execution_id, m.key, m.due_at, m.token
from wo_timers as m
join wo_executions as e on e.id = m.execution_id
where e.tenant_id = $1 and e.id = $2 and m.execution_id = $2
order by m.due_at, m.key";

const LATE: &str = "\
select l.record
from wo_late_results as l
join wo_executions as e on e.id = l.execution_id
where e.tenant_id = $1 and e.id = $2 and l.execution_id = $2
order by l.id";

/// Of one status, which the partial index is sorted by.
const ENDED_EXECUTIONS: &str = concat!(
    executions!(
        "wo_executions as e",
        "
    and e.status in ('completed', 'failed', 'cancelled')"
    ),
    "= $6
order by e.id desc limit $7"
);

/// Likewise; those that completed are most of a workflow's.
const WORKFLOW_ENDED_EXECUTIONS: &str = concat!(
    executions!(
        "wo_executions as e",
        "
    and e.workflow_id = $8
    and e.status in ('failed', 'cancelled')"
    ),
    "= $6
order by e.id desc limit $7"
);

/// Over all tenants. In two parts, so that the partial indexes are counted and not the executions.
const OPEN_COUNTS: &str = "\
select status, count(*)
from wo_executions
where tenant_id = $1 and status in ('pending', 'running', 'paused')
group by status";

const COUNTS: &str = "\
select status, count(*)
from wo_executions
where status in ('completed', 'failed', 'cancelled')
group by status
union all
select status, count(*)
from wo_executions
where status in ('pending', 'running', 'paused')
group by status";

/// Who holds a slot key. Over all tenants: the key says whose it is.
const HOLDERS: &str = "\
select execution_id, task, taken_at
from wo_slots
where key = $1
order by taken_at, execution_id, task limit $2";

/// Who waits for it.
const WAITING: &str = "\
select execution_id, task, since
from wo_slot_waits
where key = $1
order by rank, since, execution_id, task limit $2";

/// Those in line for whom there is a place.
pub(crate) const NEXT_IN_LINE: &str = "\
select execution_id
from (
    select execution_id, places, row_number() over (order by rank, since, execution_id, task) as place
    from (
        select execution_id, task, places, rank, since
        from wo_slot_waits
        where key = $1
        order by rank, since, execution_id, task limit $2) as front) as line
where place <= places - (select count(*) from wo_slots where key = $1)
order by place";

/// How many places are free under a key in whose line tenants take turns; null when nobody waits.
pub(crate) const FREE_PLACES: &str = "\
select (select places from wo_slot_waits where key = $1 limit 1) - (select count(*) from wo_slots where key = $1)";

/// The same over all keys, but for the one whose tenants take turns.
pub(crate) const LINES_AT_REST: &str = "\
select line.execution_id
from (
    select key, execution_id, places,
        row_number() over (partition by key order by rank, since, execution_id, task) as place
    from wo_slot_waits
    where key <> 'executions') as line
left join (select key, count(*) as holders from wo_slots group by key) as held on held.key = line.key
where line.place <= line.places - coalesce(held.holders, 0)
order by line.place limit $1";

/// Over all tenants, for the audit.
const AUDIT_PAGE: &str = "\
select id, tenant_id, workflow_id, workflow_name, version, status, priority, tags, principal, created_at,
    started_at, finished_at, blocked_by, failure, output, retry_of
from wo_executions
where $1 is null or id > $1
order by id limit $2";

/// Over all tenants, for the audit.
const IDLE_SLOTS: &str = "\
select s.execution_id, s.key
from wo_slots as s
left join wo_executions as e on e.id = s.execution_id
where e.id is null or e.status not in ('pending', 'running', 'paused')
order by s.execution_id, s.key";

/// Over all tenants, for the audit.
const IDLE_LINES: &str = "\
select w.execution_id, w.key
from wo_slot_waits as w
left join wo_executions as e on e.id = w.execution_id
where e.id is null or e.status not in ('pending', 'running')
order by w.execution_id, w.key";

/// Over all tenants, for the audit.
const IDLE_TIMERS: &str = "\
select m.execution_id, m.key
from wo_timers as m
left join wo_executions as e on e.id = m.execution_id
where e.id is null or e.status not in ('pending', 'running', 'paused')
order by m.execution_id, m.key";

/// Open questions to people whose executions are not open.
const IDLE_QUESTIONS: &str = "\
select h.execution_id, h.task
from wo_human_tasks as h
left join wo_executions as e on e.id = h.execution_id
where h.status = 'open' and (e.id is null or e.status not in ('pending', 'running', 'paused'))
order by h.execution_id, h.task";

/// Waits for events whose executions are not open.
const IDLE_WAITS: &str = "\
select w.execution_id, w.task
from wo_event_waits as w
left join wo_executions as e on e.id = w.execution_id
where e.id is null or e.status not in ('pending', 'running', 'paused')
order by w.execution_id, w.task";

/// Over all tenants, for the audit.
const HEADLESS: &str = "\
select distinct j.execution_id
from wo_journal as j
left join wo_executions as e on e.id = j.execution_id
where j.execution_id > $1 and j.execution_id <= $2 and e.id is null
order by j.execution_id";

pub(crate) const STATEMENTS: &[&str] = &[
    EXECUTION,
    RETRIES,
    TURNS,
    TIMERS,
    LATE,
    ENDED_EXECUTIONS,
    WORKFLOW_ENDED_EXECUTIONS,
    COUNTS,
    OPEN_COUNTS,
    HOLDERS,
    WAITING,
    NEXT_IN_LINE,
    FREE_PLACES,
    LINES_AT_REST,
    AUDIT_PAGE,
    IDLE_SLOTS,
    IDLE_LINES,
    IDLE_TIMERS,
    IDLE_QUESTIONS,
    IDLE_WAITS,
    HEADLESS,
];

/// An index that a list is read by, a part of it at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Open,
    Failing,
    Ended,
    Workflow,
    WorkflowEnded,
    Tagged,
    OddlyTagged,
}

/// The parts that a list is put together of, each with the statuses that it gives. None reads far more than it gives.
fn parts(filter: &ExecutionFilter, asked: &[Status]) -> Vec<(Part, Vec<Status>)> {
    if filter.failing {
        return vec![(Part::Failing, asked.to_vec())];
    }
    if let Some(tag) = &filter.tag {
        let has_rows = tag.chars().count() <= LONGEST_TAG && !tag.contains('\0');
        return vec![(if has_rows { Part::Tagged } else { Part::OddlyTagged }, asked.to_vec())];
    }
    let of_workflow = filter.workflow.is_some();
    if of_workflow && Status::ALL.iter().all(|status| asked.contains(status)) {
        return vec![(Part::Workflow, asked.to_vec())];
    }
    let (ended, open): (Vec<Status>, Vec<Status>) = asked.iter().partition(|status| status.is_terminal());
    let mut parts = Vec::new();
    if !open.is_empty() {
        parts.push((Part::Open, open));
    }
    let ended: std::collections::BTreeSet<Status> = ended.into_iter().collect();
    parts.extend(ended.into_iter().map(|status| match (of_workflow, status) {
        (false, _) => (Part::Ended, vec![status]),
        (true, Status::Completed) => (Part::Workflow, vec![status]),
        (true, _) => (Part::WorkflowEnded, vec![status]),
    }));
    parts
}

/// Longer tags have no rows of their own: see the migration.
const LONGEST_TAG: usize = 200;
/// How long after its id was made an execution may be accepted (a sub-workflow, once a coordinator is there again), and
/// how long before, by another clock.
const ID_BEFORE: Duration = Duration::from_hours(24);
const ID_AFTER: Duration = Duration::from_hours(1);

/// The ids between which a list lies: below the first, from the second on.
fn span(filter: &ExecutionFilter, after: Option<ExecutionId>) -> (Uuid, Uuid) {
    let cursor = after.map_or(Uuid::max(), |id| *id.as_uuid());
    let upper = filter.created_to.map_or(Uuid::max(), |to| rows::first_id_at(to.after(ID_AFTER)));
    let lower = filter.created_from.map_or(Uuid::nil(), |from| {
        let micros = i64::try_from(ID_BEFORE.as_micros()).unwrap_or(i64::MAX);
        rows::first_id_at(Timestamp::from_micros(from.as_micros().saturating_sub(micros)))
    });
    (cursor.min(upper), lower)
}

fn counted(counts: Vec<(String, i64)>) -> Result<Vec<(Status, u64)>, StoreError> {
    let counted = counts.into_iter().map(|(text, count)| Ok((rows::status(&text)?, count as u64)));
    let mut counted: Vec<(Status, u64)> = counted.collect::<Result<_, StoreError>>()?;
    counted.sort();
    Ok(counted)
}

impl SqlStore {
    async fn executions_of(
        &self,
        tenant: TenantId,
        filter: &ExecutionFilter,
        part: Part,
        wanted: &[Status],
        (below, from): (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<ExecutionRecord>, StoreError> {
        on_pool!(self, |pool, sql| {
            let text = match part {
                Part::Open => sql::OPEN_EXECUTIONS,
                Part::Failing => sql::FAILING_EXECUTIONS,
                Part::Ended => ENDED_EXECUTIONS,
                Part::Workflow => sql::WORKFLOW_EXECUTIONS,
                Part::WorkflowEnded => WORKFLOW_ENDED_EXECUTIONS,
                Part::Tagged => sql::TAGGED_EXECUTIONS,
                Part::OddlyTagged => sql::ODDLY_TAGGED_EXECUTIONS,
            };
            let mut query = sqlx::query_as(text)
                .bind(*tenant.as_uuid())
                .bind(below)
                .bind(from)
                .bind(filter.created_from.map(At))
                .bind(filter.created_to.map(At));
            query = match (part, wanted) {
                (Part::Ended | Part::WorkflowEnded, [status, ..]) => query.bind(status.as_str()),
                _ => query.bind(sql::texts(wanted.iter().map(|status| status.as_str().to_owned()))),
            };
            query = query.bind(limit);
            if part != Part::Ended {
                query = query.bind(filter.workflow.map(|workflow| *workflow.as_uuid()));
            }
            query = match part {
                Part::Tagged => query.bind(filter.tag.as_deref()),
                Part::OddlyTagged => query.bind(filter.tag.as_deref().map(rows::tag_pattern)),
                _ => query,
            };
            // Planned for these very values: a plan for any value may read the key and not the index.
            query.persistent(false).fetch_all(pool).await
        })
    }
}

#[async_trait]
impl Views for SqlStore {
    async fn execution_get(
        &self,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<Option<ExecutionRow>, StoreError> {
        let record: Option<ExecutionRecord> = on_pool!(self, |pool, sql| sqlx::query_as(EXECUTION)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(ExecutionRecord::row).transpose()
    }

    async fn execution_list(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
        page: Page,
    ) -> Result<Paged<ExecutionRow>, StoreError> {
        let Ok(after) = rows::cursor::<ExecutionId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let asked: &[Status] = if filter.status.is_empty() { &Status::ALL } else { &filter.status };
        let span = span(&filter, after);
        let mut records: Vec<ExecutionRecord> = Vec::new();
        for (part, wanted) in parts(&filter, asked) {
            records.extend(self.executions_of(tenant, &filter, part, &wanted, span, limit + 1).await?);
        }
        // What ended between two parts is in both: it is as it was seen last.
        records.reverse();
        records.sort_by_key(|record| std::cmp::Reverse(record.id()));
        records.dedup_by_key(|record| record.id());
        records.truncate(limit as usize + 1);
        let items: Result<Vec<ExecutionRow>, StoreError> =
            records.into_iter().map(ExecutionRecord::row).collect();
        Ok(rows::paged(items?, limit, |row| row.id.to_string()))
    }

    async fn execution_retries(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(RETRIES)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        Ok(ids.into_iter().map(ExecutionId::from_uuid).collect())
    }

    async fn execution_turns(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Turn>, StoreError> {
        let records: Vec<JournalRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TURNS)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .bind(i32::try_from(after).unwrap_or(i32::MAX))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(JournalRecord::turn).collect()
    }

    async fn execution_timers(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<DueTimer>, StoreError> {
        let records: Vec<TimerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TIMERS)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(TimerRecord::timer).collect()
    }

    async fn execution_late(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<LateResult>, StoreError> {
        let records: Vec<Vec<u8>> = on_pool!(self, |pool, sql| sqlx::query_scalar(LATE)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_all(pool)
            .await)?;
        records.iter().map(|bytes| rows::decode(bytes)).collect()
    }

    async fn execution_counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        counted(on_pool!(self, |pool, sql| sqlx::query_as(COUNTS).fetch_all(pool).await)?)
    }

    async fn execution_open(&self, tenant: TenantId) -> Result<Vec<(Status, u64)>, StoreError> {
        counted(on_pool!(self, |pool, sql| sqlx::query_as(OPEN_COUNTS)
            .bind(*tenant.as_uuid())
            .fetch_all(pool)
            .await)?)
    }

    async fn execution_statistics(
        &self,
        tenant: TenantId,
        span: StatisticsSpan,
        workflow: Option<WorkflowId>,
    ) -> Result<Vec<StatisticsSlot>, StoreError> {
        type Record = (i64, i64, i64, i64, i64, Option<i64>, Option<i64>, Option<i64>);
        let filter = ExecutionFilter {
            created_from: Some(span.from),
            created_to: Some(span.to),
            ..ExecutionFilter::default()
        };
        let (below, from) = self::span(&filter, None);
        let slot = i64::try_from(span.slot.as_micros()).unwrap_or(i64::MAX).max(1);
        let records: Vec<Record> = on_pool!(self, |pool, sql| sqlx::query_as(sql::STATISTICS)
            .bind(*tenant.as_uuid())
            .bind(from)
            .bind(below)
            .bind(At(span.from))
            .bind(At(span.to))
            .bind(span.from.as_micros())
            .bind(slot)
            .bind(workflow.map(|workflow| *workflow.as_uuid()))
            .fetch_all(pool)
            .await)?;
        let length = |micros: Option<i64>| micros.map(|micros| Duration::from_micros(micros.max(0) as u64));
        let slots =
            records.into_iter().map(|(at, accepted, completed, failed, cancelled, half, most, wait)| {
                StatisticsSlot {
                    slot: at as u32,
                    accepted: accepted as u64,
                    completed: completed as u64,
                    failed: failed as u64,
                    cancelled: cancelled as u64,
                    ran_p50: length(half),
                    ran_p95: length(most),
                    waited_p95: length(wait),
                }
            });
        Ok(slots.collect())
    }

    async fn slot_owners(&self, key: &str, limit: u32) -> Result<SlotOwners, StoreError> {
        let mut owners = SlotOwners::default();
        for (statement, of) in [(HOLDERS, &mut owners.holders), (WAITING, &mut owners.waiting)] {
            let rows: Vec<(Uuid, String, At)> = if statement == WAITING && tenants_take_turns(key) {
                let line = self.line_by_turns(key, limit.into()).await?;
                line.into_iter().map(|(of, task, since, _)| (of, task, since)).collect()
            } else {
                on_pool!(self, |pool, sql| sqlx::query_as(statement)
                    .bind(key)
                    .bind(i64::from(limit))
                    .fetch_all(pool)
                    .await)?
            };
            for (execution, task, since) in rows {
                let execution = ExecutionId::from_uuid(execution);
                of.push(SlotOwner { execution, task: crate::places::task(&task)?, since: since.0 });
            }
        }
        Ok(owners)
    }

    async fn audit_page(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let records: Vec<ExecutionRecord> = on_pool!(self, |pool, sql| sqlx::query_as(AUDIT_PAGE)
            .bind(after.map(|id| *id.as_uuid()))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(ExecutionRecord::row).collect()
    }

    async fn audit_tables(&self) -> Result<Vec<Finding>, StoreError> {
        let slots: Vec<(Uuid, String)> =
            on_pool!(self, |pool, sql| sqlx::query_as(IDLE_SLOTS).fetch_all(pool).await)?;
        let lines: Vec<(Uuid, String)> =
            on_pool!(self, |pool, sql| sqlx::query_as(IDLE_LINES).fetch_all(pool).await)?;
        let timers: Vec<(Uuid, String)> =
            on_pool!(self, |pool, sql| sqlx::query_as(IDLE_TIMERS).fetch_all(pool).await)?;
        let questions: Vec<(Uuid, String)> =
            on_pool!(self, |pool, sql| sqlx::query_as(IDLE_QUESTIONS).fetch_all(pool).await)?;
        let waits: Vec<(Uuid, String)> =
            on_pool!(self, |pool, sql| sqlx::query_as(IDLE_WAITS).fetch_all(pool).await)?;

        let mut findings = Vec::new();
        let mut find = |invariant: &str, id: Uuid, message: String| {
            let execution = Some(ExecutionId::from_uuid(id));
            findings.push(Finding { invariant: invariant.to_owned(), execution, message });
        };
        for (id, key) in slots {
            find("I15", id, format!("holds slot `{key}` and is not open"));
        }
        for (id, key) in lines {
            find("I15", id, format!("waits in line for `{key}` and may not begin anything"));
        }
        for (id, key) in timers {
            find("I6", id, format!("has timer `{key}` and is not open"));
        }
        for (id, task) in questions {
            find("I6", id, format!("asks people as `{task}` and is not open"));
        }
        for (id, task) in waits {
            find("I6", id, format!("waits for an event as `{task}` and is not open"));
        }
        Ok(findings)
    }

    async fn audit_headless(
        &self,
        after: Option<ExecutionId>,
        until: Option<ExecutionId>,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(HEADLESS)
            .bind(after.map_or(Uuid::nil(), |id| *id.as_uuid()))
            .bind(until.map_or(Uuid::max(), |id| *id.as_uuid()))
            .fetch_all(pool)
            .await)?;
        Ok(ids.into_iter().map(ExecutionId::from_uuid).collect())
    }
}
