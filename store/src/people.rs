//! What people are asked, who waits for events, keys: what turns write about them, and how it is read.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    component::{Notice, Severity},
    execution::{PersonAsk, TaskKey},
    ids::{ExecutionId, HumanTaskId, MessageId, NotificationId, RequestId, TenantId, WorkflowId},
    port::{
        people::{
            EventWait, EventWaits, HumanTaskFilter, HumanTaskPage, HumanTaskRow, HumanTasks, KeyTaken, Keys,
            MailClaim, NotificationPage, NotificationRow, Notifications, Requests,
        },
        store::{Commit, HumanTaskChange, HumanTaskStatus, Paged, StoreError, WaitChange},
    },
    time::Timestamp,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{At, Batch, Cell, Engine, Kind},
    error, rates, rows,
    sql_store::{in_transaction, on_pool},
    turns,
};

/// Workflow and requester are those of the execution, copied once.
pub(crate) static KEEP_HUMAN_TASKS: Batch = Batch::new(
    "\
with t (id, tenant_id, execution_id, task, workflow_id, kind, urgency, status, assignees, claimed_by, created_at,
    reminded_at, handed_at, ended_at, ask, answers) as ({rows})
insert into wo_human_tasks (id, tenant_id, execution_id, task, workflow_id, workflow_name, requester, kind, urgency,
    status, assignees, claimed_by, created_at, reminded_at, handed_at, ended_at, ask, answers)
select t.id, t.tenant_id, t.execution_id, t.task, t.workflow_id, e.workflow_name, e.principal, t.kind, t.urgency,
    t.status, t.assignees, t.claimed_by, t.created_at, t.reminded_at, t.handed_at, t.ended_at, t.ask, t.answers
from t
join wo_executions as e on e.id = t.execution_id and (e.tenant_id = t.tenant_id) is true
where t.id is not null
on conflict (id) do update
set urgency = excluded.urgency, status = excluded.status, assignees = excluded.assignees,
    claimed_by = excluded.claimed_by, created_at = excluded.created_at, reminded_at = excluded.reminded_at,
    handed_at = case when wo_human_tasks.assignees = excluded.assignees then wo_human_tasks.handed_at
        else excluded.handed_at end,
    ended_at = excluded.ended_at, ask = excluded.ask, answers = excluded.answers",
    &[
        Kind::Uuid,
        Kind::Uuid,
        Kind::Uuid,
        Kind::Text,
        Kind::Uuid,
        Kind::Text,
        Kind::Int,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::At,
        Kind::At,
        Kind::At,
        Kind::At,
        Kind::Bytes,
        Kind::Bytes,
    ],
);

pub(crate) static DROP_ASSIGNEES: Batch = Batch::new(
    "\
delete from wo_human_task_assignees
where task_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) static ADD_ASSIGNEES: Batch = Batch::new(
    "\
with t (task_id, assignee, tenant_id, execution_id, is_open) as ({rows})
insert into wo_human_task_assignees (task_id, assignee, tenant_id, execution_id, is_open)
select t.task_id, t.assignee, t.tenant_id, t.execution_id, t.is_open
from t
where t.task_id is not null
on conflict do nothing",
    &[Kind::Uuid, Kind::Text, Kind::Uuid, Kind::Uuid, Kind::Int],
);

pub(crate) static CLOSE_ASSIGNEES: Batch = Batch::new(
    "\
update wo_human_task_assignees
set is_open = 0
where is_open = 1 and execution_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) static CANCEL_HUMAN_TASKS: Batch = Batch::new(
    "\
with t (execution_id, at) as ({rows})
update wo_human_tasks as h
set status = 'cancelled', ended_at = t.at
from t
where h.execution_id = t.execution_id and h.status = 'open'",
    &[Kind::Uuid, Kind::At],
);

pub(crate) static OPEN_WAITS: Batch = Batch::new(
    "\
with t (execution_id, task, tenant_id, lookup, event, key, early) as ({rows})
insert into wo_event_waits (execution_id, task, tenant_id, lookup, event, key, early)
select t.execution_id, t.task, t.tenant_id, t.lookup, t.event, t.key, t.early
from t
where t.execution_id is not null
on conflict (execution_id, task) do update
set lookup = excluded.lookup, event = excluded.event, key = excluded.key, early = excluded.early",
    &[Kind::Uuid, Kind::Text, Kind::Uuid, Kind::Uuid, Kind::Text, Kind::Text, Kind::At],
);

pub(crate) static CLOSE_WAITS: Batch = Batch::new(
    "\
with t (execution_id, task) as ({rows})
delete from wo_event_waits
where (execution_id, task) in (select execution_id, task from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

pub(crate) static RELEASE_WAITS: Batch = Batch::new(
    "\
delete from wo_event_waits
where execution_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) const BATCHES: &[&Batch] = &[
    &KEEP_HUMAN_TASKS,
    &DROP_ASSIGNEES,
    &ADD_ASSIGNEES,
    &CLOSE_ASSIGNEES,
    &CANCEL_HUMAN_TASKS,
    &OPEN_WAITS,
    &CLOSE_WAITS,
    &RELEASE_WAITS,
];

const HUMAN_TASK: &str = "\
select h.id, h.tenant_id, h.execution_id, h.task, h.workflow_id, h.workflow_name, h.requester, h.status,
    h.assignees, h.claimed_by, h.created_at, h.reminded_at, h.ended_at, h.ask, h.answers
from wo_human_tasks as h
where h.tenant_id = $1 and h.id = $2";

/// As an inbox is read.
const OPEN_HUMAN_TASKS: &str = "\
select h.id, h.tenant_id, h.execution_id, h.task, h.workflow_id, h.workflow_name, h.requester, h.status,
    h.assignees, h.claimed_by, h.created_at, h.reminded_at, h.ended_at, h.ask, h.answers
from wo_human_tasks as h
where h.tenant_id = $1 and h.status = 'open'
    and ($2 is null or h.execution_id = $2)
    and ($3 is null or h.workflow_id = $3)
    and ($4 is null or h.kind = $4)
    and ($5 is null or (h.urgency, h.created_at, h.id) > ($5, $6, $7))
order by h.urgency, h.created_at, h.id limit $8";

const HUMAN_TASKS: &str = "\
select h.id, h.tenant_id, h.execution_id, h.task, h.workflow_id, h.workflow_name, h.requester, h.status,
    h.assignees, h.claimed_by, h.created_at, h.reminded_at, h.ended_at, h.ask, h.answers
from wo_human_tasks as h
where h.tenant_id = $1
    and ($2 is null or h.execution_id = $2)
    and ($3 is null or h.workflow_id = $3)
    and ($4 is null or h.kind = $4)
    and ($5 is null or h.status = $5)
    and ($6 is null or (h.created_at, h.id) < ($6, $7))
order by h.created_at desc, h.id desc limit $8";

/// The outer condition is asked again of a row that another process held meanwhile.
const CLAIM_MAILS: &str = "\
update wo_human_tasks
set mail_claimed_at = $1
where (mail_claimed_at is null or mail_claimed_at <= $2) and id in (
    select h.id
    from wo_human_tasks as h
    where h.status = 'open'
        and (h.mailed_for is null or h.mailed_for < coalesce(h.reminded_at, h.created_at)
            or h.mailed_for < h.handed_at)
        and (h.mail_claimed_at is null or h.mail_claimed_at <= $2)
    order by h.created_at, h.id limit $3)
returning id, tenant_id, execution_id, task, workflow_id, workflow_name, requester, status,
    assignees, claimed_by, created_at, reminded_at, ended_at, ask, answers, handed_at, mailed_for, mailed_to";

const MAILS_DONE: &str = "\
update wo_human_tasks
set mailed_for = $2, mailed_to = $3, mail_claimed_at = null
where id = $1 and (mailed_for is null or mailed_for < $2)";

const ADD_NOTIFICATION: &str = "\
insert into wo_notifications (id, tenant_id, execution_id, recipient, subject, text, severity, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict do nothing";

const FORGET_NOTIFICATIONS: &str = "\
delete from wo_notifications
where id in (
    select id
    from wo_notifications
    where created_at < $1
    order by created_at, id limit $2)";

const WAITS_FOR: &str = "\
select execution_id, task, event, key, early
from wo_event_waits
where tenant_id = $1 and lookup = $2 and event = $3 and key = $4
order by execution_id, task";

const WAITS: &str = "\
select execution_id, task, event, key, early
from wo_event_waits
where tenant_id = $1 and execution_id = $2
order by task";

const REQUEST_WAITS: &str = "\
select 1
from wo_requests
where id = $1";

const WAS_CAUSED: &str = "\
select 1
from wo_journal
where execution_id = $1 and cause = $2 limit 1";

const EXPIRE_KEY: &str = "\
delete from wo_idempotency
where tenant_id = $1 and key = $2 and expires_at <= $3";

const TAKE_KEY: &str = "\
insert into wo_idempotency (tenant_id, key, hash, execution_id, expires_at)
values ($1, $2, $3, $4, $5)
on conflict do nothing";

const HELD_KEY: &str = "\
select hash
from wo_idempotency
where tenant_id = $1 and key = $2";

const ADD_SECRET: &str = "\
insert into wo_keys (name, bytes)
values ($1, $2)
on conflict do nothing";

const SECRET: &str = "\
select bytes
from wo_keys
where name = $1";

const USE_NONCE: &str = "\
insert into wo_nonces (nonce, expires_at)
values ($1, $2)
on conflict do nothing";

const FREE_NONCE: &str = "\
delete from wo_nonces
where nonce = $1";

pub(crate) const FORGET_NONCES: &str = "\
delete from wo_nonces
where expires_at <= $1";

pub(crate) const STATEMENTS: &[&str] = &[
    HUMAN_TASK,
    OPEN_HUMAN_TASKS,
    HUMAN_TASKS,
    CLAIM_MAILS,
    MAILS_DONE,
    ADD_NOTIFICATION,
    FORGET_NOTIFICATIONS,
    WAITS_FOR,
    WAITS,
    REQUEST_WAITS,
    WAS_CAUSED,
    EXPIRE_KEY,
    TAKE_KEY,
    HELD_KEY,
    ADD_SECRET,
    SECRET,
    USE_NONCE,
    FREE_NONCE,
    FORGET_NONCES,
];

/// A longer name is nobody's: none is found by it.
const LONGEST_NAME: usize = 255;

/// What type and key are found by, however long they are.
pub(crate) fn lookup(event: &str, key: &str) -> Uuid {
    // The length keeps two pairs with the same text apart.
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}\n{event}\n{key}", event.len()).as_bytes())
}

/// What a step says about people, already bytes.
pub(crate) struct Asks {
    ask: Vec<u8>,
    answers: Vec<u8>,
}

impl Asks {
    pub(crate) fn of(change: &HumanTaskChange) -> Result<Self, StoreError> {
        Ok(Self { ask: rows::encode(&change.ask)?, answers: rows::encode(&change.answers)? })
    }
}

/// What a batch of kept turns changes about people and waits: the last word on each counts.
#[derive(Default)]
pub(crate) struct Changes<'a> {
    people: BTreeMap<Uuid, (&'a Commit, &'a HumanTaskChange, &'a Asks)>,
    waits: BTreeMap<(Uuid, String), Option<Wait<'a>>>,
}

struct Wait<'a> {
    tenant: Uuid,
    event: &'a str,
    key: &'a str,
    early: Timestamp,
}

impl<'a> Changes<'a> {
    pub(crate) fn add(&mut self, commit: &'a Commit, asks: &'a [Asks]) {
        for (change, asks) in commit.people.iter().zip(asks) {
            let id = HumanTaskId::derived(commit.turn.execution, &change.task.to_string());
            self.people.insert(*id.as_uuid(), (commit, change, asks));
        }
        let execution = *commit.turn.execution.as_uuid();
        for wait in &commit.waits {
            match wait {
                WaitChange::Open { task, event, key, early } => {
                    let tenant = *commit.tenant.as_uuid();
                    let wait = Wait { tenant, event, key, early: *early };
                    self.waits.insert((execution, task.to_string()), Some(wait));
                }
                WaitChange::Close { task } => {
                    self.waits.insert((execution, task.to_string()), None);
                }
            }
        }
    }

    /// Writes them, but for waits of executions that end in this batch. Asks nothing when there are none.
    pub(crate) async fn write(
        self,
        engine: &mut impl Engine,
        gone: &HashSet<Uuid>,
    ) -> Result<(), sqlx::Error> {
        let (mut tasks, mut ids, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (id, (commit, change, asks)) in self.people {
            let execution = *commit.turn.execution.as_uuid();
            let is_open = change.status == HumanTaskStatus::Open;
            tasks.extend([
                Cell::from(id),
                (*commit.tenant.as_uuid()).into(),
                execution.into(),
                change.task.to_string().into(),
                (*commit.workflow.as_uuid()).into(),
                change.ask.kind.as_str().to_owned().into(),
                HumanTaskRow::urgency_number(change.ask.urgency).into(),
                change.status.as_str().to_owned().into(),
                rows::tags_text(&change.assignees).into(),
                change.claimed_by.clone().into(),
                change.created_at.into(),
                change.reminded_at.into(),
                commit.turn.at.into(),
                (!is_open).then_some(commit.turn.at).into(),
                asks.ask.clone().into(),
                asks.answers.clone().into(),
            ]);
            ids.push(Cell::from(id));
            let mut assignees: Vec<&String> =
                change.assignees.iter().filter(|name| name.len() <= LONGEST_NAME).collect();
            assignees.sort();
            assignees.dedup();
            for assignee in assignees {
                names.extend([
                    Cell::from(id),
                    assignee.clone().into(),
                    (*commit.tenant.as_uuid()).into(),
                    execution.into(),
                    i32::from(is_open).into(),
                ]);
            }
        }
        engine.run(&KEEP_HUMAN_TASKS, tasks).await?;
        engine.run(&DROP_ASSIGNEES, ids).await?;
        engine.run(&ADD_ASSIGNEES, names).await?;

        let (mut opened, mut closed) = (Vec::new(), Vec::new());
        for ((execution, task), wait) in self.waits {
            if gone.contains(&execution) {
                continue;
            }
            match wait {
                Some(wait) => opened.extend([
                    Cell::from(execution),
                    task.into(),
                    wait.tenant.into(),
                    lookup(wait.event, wait.key).into(),
                    wait.event.to_owned().into(),
                    wait.key.to_owned().into(),
                    wait.early.into(),
                ]),
                None => closed.extend([Cell::from(execution), task.into()]),
            }
        }
        engine.run(&OPEN_WAITS, opened).await?;
        engine.run(&rates::DROP_PERMITS, closed.clone()).await?;
        engine.run(&CLOSE_WAITS, closed).await?;
        Ok(())
    }
}

#[derive(Debug, FromRow)]
struct HumanTaskRecord {
    id: Uuid,
    tenant_id: Uuid,
    execution_id: Uuid,
    task: String,
    workflow_id: Uuid,
    workflow_name: String,
    requester: String,
    status: String,
    assignees: String,
    claimed_by: Option<String>,
    created_at: At,
    reminded_at: Option<At>,
    ended_at: Option<At>,
    ask: Vec<u8>,
    answers: Vec<u8>,
}

impl HumanTaskRecord {
    fn row(self) -> Result<HumanTaskRow, StoreError> {
        let status = HumanTaskStatus::ALL.into_iter().find(|status| status.as_str() == self.status);
        Ok(HumanTaskRow {
            id: HumanTaskId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            execution: ExecutionId::from_uuid(self.execution_id),
            task: self.task.parse().map_err(error::corrupt)?,
            workflow: WorkflowId::from_uuid(self.workflow_id),
            workflow_name: self.workflow_name,
            requester: self.requester,
            ask: rows::decode::<PersonAsk>(&self.ask)?,
            assignees: rows::tags(&self.assignees)?,
            claimed_by: self.claimed_by,
            answers: rows::decode(&self.answers)?,
            status: status.ok_or_else(|| {
                StoreError::Corrupt(format!("`{}` is no status of a human task", self.status).into())
            })?,
            created_at: self.created_at.0,
            reminded_at: self.reminded_at.map(|at| at.0),
            ended_at: self.ended_at.map(|at| at.0),
        })
    }
}

#[derive(Debug, FromRow)]
struct MailRecord {
    #[sqlx(flatten)]
    task: HumanTaskRecord,
    handed_at: Option<At>,
    mailed_for: Option<At>,
    mailed_to: Option<String>,
}

impl MailRecord {
    fn claim(self) -> Result<MailClaim, StoreError> {
        let row = self.task.row()?;
        let round = row.round_at();
        let asked_at = self.handed_at.map_or(round, |handed| handed.0.max(round));
        let mailed = match (self.mailed_for, self.mailed_to) {
            (Some(sent), Some(names)) if sent.0 >= round => rows::tags(&names)?,
            _ => Vec::new(),
        };
        Ok(MailClaim { row, asked_at, mailed })
    }
}

#[async_trait]
impl HumanTasks for SqlStore {
    async fn human_task_get(
        &self,
        tenant: TenantId,
        id: HumanTaskId,
    ) -> Result<Option<HumanTaskRow>, StoreError> {
        let record: Option<HumanTaskRecord> = on_pool!(self, |pool, sql| sqlx::query_as(HUMAN_TASK)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(HumanTaskRecord::row).transpose()
    }

    async fn human_task_list(
        &self,
        tenant: TenantId,
        filter: HumanTaskFilter,
        page: HumanTaskPage,
    ) -> Result<Paged<HumanTaskRow>, StoreError> {
        let limit = rows::page_size(page.limit);
        let is_open = filter.status == Some(HumanTaskStatus::Open);
        let records: Vec<HumanTaskRecord> = on_pool!(self, |pool, sql| {
            let text = match (is_open, &filter.assignees) {
                (true, None) => OPEN_HUMAN_TASKS,
                (true, Some(_)) => sql::OPEN_HUMAN_TASKS_OF,
                (false, None) => HUMAN_TASKS,
                (false, Some(_)) => sql::HUMAN_TASKS_OF,
            };
            let mut query = sqlx::query_as(text)
                .bind(*tenant.as_uuid())
                .bind(filter.execution.map(|id| *id.as_uuid()))
                .bind(filter.workflow.map(|id| *id.as_uuid()))
                .bind(filter.kind.map(|kind| kind.as_str().to_owned()));
            let (at, id) =
                (page.after.map(|after| At(after.created_at)), page.after.map(|after| *after.id.as_uuid()));
            query = if is_open {
                query.bind(page.after.map(|after| after.urgency)).bind(at).bind(id)
            } else {
                query.bind(filter.status.map(|status| status.as_str().to_owned())).bind(at).bind(id)
            };
            query = query.bind(limit + 1);
            if let Some(names) = filter.assignees {
                query = query.bind(sql::texts(names.into_iter()));
            }
            query.fetch_all(pool).await
        })?;
        let items: Result<Vec<HumanTaskRow>, StoreError> =
            records.into_iter().map(HumanTaskRecord::row).collect();
        Ok(rows::paged(items?, limit, |row| row.cursor().to_string()))
    }

    async fn mails_claim(
        &self,
        now: Timestamp,
        stale: Duration,
        limit: u32,
    ) -> Result<Vec<MailClaim>, StoreError> {
        let before = Timestamp::from_micros(now.as_micros() - stale.as_micros() as i64);
        let records: Vec<MailRecord> = in_transaction!(self, |tx, sql| {
            sqlx::query_as(CLAIM_MAILS)
                .bind(At(now))
                .bind(At(before))
                .bind(i64::from(limit))
                .fetch_all(&mut *tx)
                .await
        })?;
        let claims: Result<Vec<MailClaim>, StoreError> = records.into_iter().map(MailRecord::claim).collect();
        let mut claims = claims?;
        claims.sort_by_key(|claim| (claim.row.created_at, claim.row.id));
        Ok(claims)
    }

    async fn mails_done(
        &self,
        id: HumanTaskId,
        asked_at: Timestamp,
        mailed: Vec<String>,
    ) -> Result<(), StoreError> {
        let mailed = rows::tags_text(&mailed);
        in_transaction!(self, |tx, sql| {
            sqlx::query(MAILS_DONE)
                .bind(*id.as_uuid())
                .bind(At(asked_at))
                .bind(mailed.as_str())
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }
}

#[derive(Debug, FromRow)]
struct NotificationRecord {
    id: Uuid,
    tenant_id: Uuid,
    execution_id: Uuid,
    recipient: String,
    subject: String,
    text: String,
    severity: String,
    created_at: At,
    read_at: Option<At>,
}

impl NotificationRecord {
    fn row(self) -> Result<NotificationRow, StoreError> {
        let severity = Severity::ALL.into_iter().find(|severity| severity.as_str() == self.severity);
        Ok(NotificationRow {
            tenant: TenantId::from_uuid(self.tenant_id),
            execution: ExecutionId::from_uuid(self.execution_id),
            notice: Notice {
                id: NotificationId::from_uuid(self.id),
                to: self.recipient,
                subject: self.subject,
                text: self.text,
                severity: severity.ok_or_else(|| {
                    StoreError::Corrupt(format!("`{}` is no severity", self.severity).into())
                })?,
            },
            created_at: self.created_at.0,
            read_at: self.read_at.map(|at| at.0),
        })
    }
}

#[async_trait]
impl Notifications for SqlStore {
    async fn notification_add(&self, rows: Vec<NotificationRow>) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            for NotificationRow { tenant, execution, notice, created_at, .. } in rows {
                sqlx::query(ADD_NOTIFICATION)
                    .bind(*notice.id.as_uuid())
                    .bind(*tenant.as_uuid())
                    .bind(*execution.as_uuid())
                    .bind(notice.to)
                    .bind(notice.subject)
                    .bind(notice.text)
                    .bind(notice.severity.as_str())
                    .bind(At(created_at))
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(())
        })
    }

    async fn notification_list(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        unread_only: bool,
        page: NotificationPage,
    ) -> Result<Paged<NotificationRow>, StoreError> {
        let limit = rows::page_size(page.limit);
        let records: Vec<NotificationRecord> =
            on_pool!(self, |pool, sql| sqlx::query_as(sql::NOTIFICATIONS_OF)
                .bind(*tenant.as_uuid())
                .bind(i32::from(unread_only))
                .bind(page.after.map(|after| At(after.created_at)))
                .bind(page.after.map(|after| *after.id.as_uuid()))
                .bind(limit + 1)
                .bind(sql::texts(names.into_iter()))
                .fetch_all(pool)
                .await)?;
        let items: Result<Vec<NotificationRow>, StoreError> =
            records.into_iter().map(NotificationRecord::row).collect();
        Ok(rows::paged(items?, limit, |row| row.cursor().to_string()))
    }

    async fn notifications_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError> {
        in_transaction!(self, |tx, sql| {
            let gone = sqlx::query(FORGET_NOTIFICATIONS)
                .bind(At(before))
                .bind(i64::from(limit))
                .execute(&mut *tx)
                .await?;
            Ok(gone.rows_affected() >= u64::from(limit))
        })
    }

    async fn notification_read(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        id: NotificationId,
        at: Timestamp,
    ) -> Result<Option<NotificationRow>, StoreError> {
        let record: Option<NotificationRecord> = in_transaction!(self, |tx, sql| {
            sqlx::query_as(sql::READ_NOTIFICATION)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(At(at))
                .bind(sql::texts(names.into_iter()))
                .fetch_optional(&mut *tx)
                .await
        })?;
        record.map(NotificationRecord::row).transpose()
    }
}

fn wait(
    (execution, task, event, key, early): (Uuid, String, String, String, At),
) -> Result<EventWait, StoreError> {
    Ok(EventWait {
        execution: ExecutionId::from_uuid(execution),
        task: task.parse::<TaskKey>().map_err(error::corrupt)?,
        event,
        key,
        early: early.0,
    })
}

#[async_trait]
impl EventWaits for SqlStore {
    async fn waits_for(
        &self,
        tenant: TenantId,
        event: &str,
        key: &str,
    ) -> Result<Vec<EventWait>, StoreError> {
        let found: Vec<_> = on_pool!(self, |pool, sql| sqlx::query_as(WAITS_FOR)
            .bind(*tenant.as_uuid())
            .bind(lookup(event, key))
            .bind(event)
            .bind(key)
            .fetch_all(pool)
            .await)?;
        found.into_iter().map(wait).collect()
    }

    async fn wait_list(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
    ) -> Result<Vec<EventWait>, StoreError> {
        let found: Vec<_> = on_pool!(self, |pool, sql| sqlx::query_as(WAITS)
            .bind(*tenant.as_uuid())
            .bind(*execution.as_uuid())
            .fetch_all(pool)
            .await)?;
        found.into_iter().map(wait).collect()
    }
}

#[async_trait]
impl Requests for SqlStore {
    async fn request_waits(&self, id: RequestId) -> Result<bool, StoreError> {
        let found: Option<i32> = on_pool!(self, |pool, sql| sqlx::query_scalar(REQUEST_WAITS)
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        Ok(found.is_some())
    }

    async fn was_caused(&self, execution: ExecutionId, cause: MessageId) -> Result<bool, StoreError> {
        let found: Option<i32> = on_pool!(self, |pool, sql| sqlx::query_scalar(WAS_CAUSED)
            .bind(*execution.as_uuid())
            .bind(*cause.as_uuid())
            .fetch_optional(pool)
            .await)?;
        Ok(found.is_some())
    }

    async fn key_take(
        &self,
        tenant: TenantId,
        key: &str,
        hash: &str,
        execution: ExecutionId,
        now: Timestamp,
    ) -> Result<KeyTaken, StoreError> {
        let (tenant, key, hash) = (*tenant.as_uuid(), key.to_owned(), hash.to_owned());
        in_transaction!(self, |tx, sql| {
            sqlx::query(EXPIRE_KEY).bind(tenant).bind(&key).bind(At(now)).execute(&mut *tx).await?;
            let taken = sqlx::query(TAKE_KEY)
                .bind(tenant)
                .bind(&key)
                .bind(&hash)
                .bind(*execution.as_uuid())
                .bind(At(now.after(turns::KEY_LIFE)))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if taken > 0 {
                return Ok(KeyTaken::New);
            }
            let held: Option<String> =
                sqlx::query_scalar(HELD_KEY).bind(tenant).bind(&key).fetch_optional(&mut *tx).await?;
            Ok(if held.as_ref() == Some(&hash) { KeyTaken::Same } else { KeyTaken::Other })
        })
    }
}

#[async_trait]
impl Keys for SqlStore {
    async fn key_or(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let name = name.to_owned();
        in_transaction!(self, |tx, sql| {
            sqlx::query(ADD_SECRET).bind(&name).bind(&fresh).execute(&mut *tx).await?;
            let kept: Vec<u8> = sqlx::query_scalar(SECRET).bind(&name).fetch_one(&mut *tx).await?;
            Ok(kept)
        })
    }

    async fn nonce_use(&self, nonce: Uuid, expires_at: Timestamp) -> Result<bool, StoreError> {
        in_transaction!(self, |tx, sql| {
            let used = sqlx::query(USE_NONCE)
                .bind(nonce)
                .bind(At(expires_at))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            Ok(used > 0)
        })
    }

    async fn nonce_free(&self, nonce: Uuid) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(FREE_NONCE).bind(nonce).execute(&mut *tx).await?;
            Ok(())
        })
    }
}
