//! What people look at, and what the audit compares.

use async_trait::async_trait;
use shared::{
    execution::{Event, Status, Turn},
    ids::{ExecutionId, TenantId},
    port::store::{
        DueTimer, ExecutionFilter, ExecutionRow, Finding, JOURNAL_PAGE, Journal, LateResult, Page, Paged,
        SlotOwner, SlotOwners, StoreError, Views,
    },
};
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
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

/// Over all tenants.
const COUNTS: &str = "\
select status, count(*)
from wo_executions
group by status
order by status";

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

/// The same over all keys.
pub(crate) const LINES_AT_REST: &str = "\
select line.execution_id
from (
    select key, execution_id, places,
        row_number() over (partition by key order by rank, since, execution_id, task) as place
    from wo_slot_waits) as line
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
where e.id is null
order by j.execution_id";

/// Over all tenants, for the audit.
const GAPS: &str = "\
select execution_id, min(seq), max(seq), count(*)
from wo_journal
group by execution_id
having min(seq) <> 1 or max(seq) <> count(*)
order by execution_id";

/// Over all tenants, for the audit.
const EMPTY: &str = "\
select e.id
from wo_executions as e
where not exists (select 1 from wo_journal as j where j.execution_id = e.id)
order by e.id";

pub(crate) const STATEMENTS: &[&str] = &[
    EXECUTION,
    RETRIES,
    TURNS,
    TIMERS,
    LATE,
    COUNTS,
    HOLDERS,
    WAITING,
    NEXT_IN_LINE,
    LINES_AT_REST,
    AUDIT_PAGE,
    IDLE_SLOTS,
    IDLE_LINES,
    IDLE_TIMERS,
    IDLE_QUESTIONS,
    IDLE_WAITS,
    HEADLESS,
    GAPS,
    EMPTY,
];

/// How many journals the audit reads at once.
const AUDIT_STEP: u32 = 200;

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
        let after = after.map(|id| *id.as_uuid());
        let limit = rows::page_size(page.limit);
        let wanted: &[Status] = if filter.status.is_empty() { &Status::ALL } else { &filter.status };
        let records: Vec<ExecutionRecord> = on_pool!(self, |pool, sql| {
            let text = if filter.failing {
                sql::FAILING_EXECUTIONS
            } else if filter.workflow.is_some() {
                sql::WORKFLOW_EXECUTIONS
            } else if wanted.iter().all(|status| !status.is_terminal()) {
                sql::OPEN_EXECUTIONS
            } else if *wanted == [Status::Failed] {
                sql::FAILED_EXECUTIONS
            } else {
                sql::EXECUTIONS
            };
            let mut query = sqlx::query_as(text)
                .bind(*tenant.as_uuid())
                .bind(after)
                .bind(filter.created_from.map(At))
                .bind(filter.created_to.map(At))
                .bind(filter.tag.as_deref().map(rows::tag_pattern))
                .bind(sql::texts(wanted.iter().map(|status| status.as_str().to_owned())))
                .bind(limit + 1);
            if filter.failing || filter.workflow.is_some() {
                query = query.bind(filter.workflow.map(|workflow| *workflow.as_uuid()));
            }
            query.fetch_all(pool).await
        })?;
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
        let counts: Vec<(String, i64)> =
            on_pool!(self, |pool, sql| sqlx::query_as(COUNTS).fetch_all(pool).await)?;
        let mut counted: Vec<(Status, u64)> = Vec::new();
        for (text, count) in counts {
            counted.push((rows::status(&text)?, count as u64));
        }
        counted.sort();
        Ok(counted)
    }

    async fn slot_owners(&self, key: &str, limit: u32) -> Result<SlotOwners, StoreError> {
        let mut owners = SlotOwners::default();
        for (statement, of) in [(HOLDERS, &mut owners.holders), (WAITING, &mut owners.waiting)] {
            let rows: Vec<(Uuid, String, At)> = on_pool!(self, |pool, sql| sqlx::query_as(statement)
                .bind(key)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await)?;
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
        let headless: Vec<Uuid> =
            on_pool!(self, |pool, sql| sqlx::query_scalar(HEADLESS).fetch_all(pool).await)?;
        let gaps: Vec<(Uuid, i32, i32, i64)> =
            on_pool!(self, |pool, sql| sqlx::query_as(GAPS).fetch_all(pool).await)?;
        let empty: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(EMPTY).fetch_all(pool).await)?;

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
        for id in headless {
            find("I2", id, "has a journal and no row".to_owned());
        }
        for (id, first, last, count) in &gaps {
            find("I2", *id, format!("its journal has {count} turns from {first} to {last}"));
        }
        for id in empty {
            find("I0", id, "has no journal".to_owned());
        }
        let broken: Vec<ExecutionId> = gaps.iter().map(|(id, ..)| ExecutionId::from_uuid(*id)).collect();

        let mut after = None;
        loop {
            let page = self.audit_page(after, AUDIT_STEP).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            let whole: Vec<&ExecutionRow> = page.iter().filter(|row| !broken.contains(&row.id)).collect();
            for row in whole {
                let mut ends = Ends::default();
                let mut after = Some(0);
                while let Some(seq) = after {
                    let page = self.load(&[row.id], seq, JOURNAL_PAGE).await?.into_iter().flatten().next();
                    after = page.as_ref().and_then(|page| page.goes_on(JOURNAL_PAGE));
                    ends.see(page.as_ref().map_or(&[], |page| &page.turns));
                }
                findings.extend(ends.compare(row));
            }
        }
        Ok(findings)
    }
}

/// How a journal ends, seen page by page.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    last: u32,
    /// The turns that end it, and as what: there should be one at most.
    found: Vec<(u32, Status)>,
}

impl Ends {
    pub(crate) fn see(&mut self, turns: &[Turn]) {
        for turn in turns {
            self.last = turn.seq;
            for event in &turn.events {
                if let Event::Finished { status, .. } = event {
                    self.found.push((turn.seq, *status));
                }
            }
        }
    }

    /// Whether a row says what its journal says.
    pub(crate) fn compare(&self, row: &ExecutionRow) -> Option<Finding> {
        let wrong = match self.found.as_slice() {
            [] if self.last > 0 && row.status.is_terminal() => {
                format!("is {} and its journal has no end", row.status.as_str())
            }
            [(seq, _)] if *seq != self.last => "has turns after its end".to_owned(),
            [(_, status)] if *status != row.status => {
                format!("is {} and its journal ends as {}", row.status.as_str(), status.as_str())
            }
            [] | [_] => return None,
            more => format!("has {} ends", more.len()),
        };
        Some(Finding { invariant: "I2".to_owned(), execution: Some(row.id), message: wrong })
    }
}
