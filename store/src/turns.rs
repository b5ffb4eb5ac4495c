//! Submissions and turns as statements: everything that waits becomes one transaction.
//!
//! First the fast way, which supposes that everything is kept and only counts rows. If a count is not as
//! supposed, the transaction is rolled back and done again the careful way, which asks row by row.
//! Decides nothing about workflows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use shared::{
    execution::{Event, Status, Turn},
    ids::{ExecutionId, PayloadId, Shard, TenantId},
    port::store::{Commit, Kept, StoreError, Submission, Submitted, TimerChange},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    Ledger, cache,
    dialect::{Batch, Cell, Engine, Kind},
    error,
    people::{Asks, Changes},
    places, rows,
};

/// Turns whose predecessor is there and whose own number is free. `base` is the first of a chain of turns of
/// one execution in one batch.
pub(crate) static KEEP_TURNS: Batch = Batch::new(
    "\
with t (execution_id, seq, base, cause, at, events) as ({rows})
insert into wo_journal (execution_id, seq, cause, at, events)
select t.execution_id, t.seq, t.cause, t.at, t.events
from t
where exists (select 1 from wo_journal as p where p.execution_id = t.execution_id and p.seq = t.base - 1)
on conflict do nothing",
    &[Kind::Uuid, Kind::Int, Kind::Int, Kind::Uuid, Kind::At, Kind::Bytes],
);

/// The same, saying which were kept.
pub(crate) static KEEP_TURNS_CAREFULLY: Batch = Batch::new(
    "\
with t (execution_id, seq, base, cause, at, events) as ({rows})
insert into wo_journal (execution_id, seq, cause, at, events)
select t.execution_id, t.seq, t.cause, t.at, t.events
from t
where exists (select 1 from wo_journal as p where p.execution_id = t.execution_id and p.seq = t.base - 1)
on conflict do nothing
returning execution_id, seq",
    &[Kind::Uuid, Kind::Int, Kind::Int, Kind::Uuid, Kind::At, Kind::Bytes],
);

/// Takes back turns that this transaction has kept.
pub(crate) static DROP_TURNS: Batch = Batch::new(
    "\
with t (execution_id, seq) as ({rows})
delete from wo_journal
where (execution_id, seq) in (select execution_id, seq from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Int],
);

// `is true` keeps the tenant out of the choice of an index: a plan that is made over an empty table may take one that
// begins with it, and then reads all of a tenant's executions for each.
pub(crate) static CHANGE_EXECUTIONS: Batch = Batch::new(
    "\
with t (id, tenant_id, status, started_at, finished_at, failure, output, sweep, sweep_at, unblock, version)
    as ({rows})
update wo_executions as e
set status = coalesce(t.status, e.status),
    version = coalesce(t.version, e.version),
    started_at = coalesce(e.started_at, t.started_at),
    finished_at = coalesce(e.finished_at, t.finished_at),
    failure = case when t.finished_at is null then coalesce(t.failure, e.failure) else t.failure end,
    output = coalesce(t.output, e.output),
    blocked_by = case when t.unblock = 1 then null else e.blocked_by end,
    sweep_at = case when t.sweep = 1 then t.sweep_at else e.sweep_at end,
    sweep_seconds = case when t.sweep = 1 then 15 else e.sweep_seconds end
from t
where e.id = t.id and (e.tenant_id = t.tenant_id) is true",
    &[
        Kind::Uuid,
        Kind::Uuid,
        Kind::Text,
        Kind::At,
        Kind::At,
        Kind::Bytes,
        Kind::Bytes,
        Kind::Int,
        Kind::At,
        Kind::Int,
        Kind::Int,
    ],
);

/// What an execution that has not begun waits for, beside its status.
pub(crate) static BLOCK: Batch = Batch::new(
    "\
with t (id, tenant_id, key) as ({rows})
update wo_executions as e
set blocked_by = t.key
from t
where e.id = t.id and (e.tenant_id = t.tenant_id) is true",
    &[Kind::Uuid, Kind::Uuid, Kind::Text],
);

pub(crate) static SET_TIMERS: Batch = Batch::new(
    "\
with t (execution_id, key, shard, due_at, token) as ({rows})
insert into wo_timers (execution_id, key, shard, due_at, token)
select t.execution_id, t.key, t.shard, t.due_at, t.token
from t
where t.execution_id is not null
on conflict (execution_id, key) do update set due_at = excluded.due_at, token = excluded.token",
    &[Kind::Uuid, Kind::Text, Kind::Int, Kind::At, Kind::Uuid],
);

pub(crate) static CLEAR_TIMERS: Batch = Batch::new(
    "\
with t (execution_id, key) as ({rows})
delete from wo_timers
where (execution_id, key) in (select execution_id, key from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

pub(crate) static RELEASE_TIMERS: Batch = Batch::new(
    "\
delete from wo_timers
where execution_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) static RELEASE_SLOTS: Batch = Batch::new(
    "\
delete from wo_slots
where execution_id in ({ids})",
    &[Kind::Uuid],
);

pub(crate) static GIVE_SLOTS: Batch = Batch::new(
    "\
with t (execution_id, task) as ({rows})
delete from wo_slots
where (execution_id, task) in (select execution_id, task from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

pub(crate) static LEAVE_LINES: Batch = Batch::new(
    "\
with t (execution_id, task) as ({rows})
delete from wo_slot_waits
where (execution_id, task) in (select execution_id, task from t where execution_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

/// How many hold each key, and whether anybody waits for it.
pub(crate) static COUNT_SLOTS: Batch = Batch::new(
    "\
with t (key) as ({rows})
select t.key,
    (select count(*) from wo_slots as s where s.key = t.key),
    (select count(*) from (select 1 from wo_slot_waits as w where w.key = t.key limit 1) as line)
from t
where t.key is not null",
    &[Kind::Text],
);

/// The first of one line.
pub(crate) static LINE: Batch = Batch::new(
    "\
with t (key, most) as ({rows})
select w.execution_id, w.task, w.rank
from wo_slot_waits as w
where w.key = (select max(key) from t)
order by w.rank, w.since, w.execution_id, w.task limit (select max(most) from t)",
    &[Kind::Text, Kind::Int],
);

/// Who holds one key, and who waits for it.
pub(crate) static HOLDERS: Batch = Batch::new(
    "\
with t (key, most) as ({rows})
select s.execution_id, s.task, s.taken_at
from wo_slots as s
where s.key = (select max(key) from t)
order by s.taken_at, s.execution_id, s.task limit (select max(most) from t)",
    &[Kind::Text, Kind::Int],
);
pub(crate) static WAITING: Batch = Batch::new(
    "\
with t (key, most) as ({rows})
select w.execution_id, w.task, w.since
from wo_slot_waits as w
where w.key = (select max(key) from t)
order by w.rank, w.since, w.execution_id, w.task limit (select max(most) from t)",
    &[Kind::Text, Kind::Int],
);

/// The last round that was served of a key, and the last one of a group.
pub(crate) static ROUNDS: Batch = Batch::new(
    "\
with t (key, grp) as ({rows})
select t.key, t.grp,
    coalesce((select max(s.rank) from wo_slots as s where s.key = t.key), 0),
    coalesce((select max(s.rank) from wo_slots as s where s.key = t.key and s.grp = t.grp), 0),
    coalesce((select max(w.rank) from wo_slot_waits as w where w.key = t.key and w.grp = t.grp), 0)
from t
where t.key is not null",
    &[Kind::Text, Kind::Text],
);

/// Where the tenants stand that take turns, and whether anybody of them waits.
pub(crate) static STANDS: Batch = Batch::new(
    "\
with t (key) as ({rows})
select l.grp, l.turn, l.step, l.served,
    (select count(*) from (select 1 from wo_slot_waits as w where w.key = l.key and w.grp = l.grp limit 1) as line)
from t
join wo_slot_turns as l on l.key = t.key",
    &[Kind::Text],
);

pub(crate) static KEEP_STANDS: Batch = Batch::new(
    "\
with t (key, grp, turn, step, served) as ({rows})
insert into wo_slot_turns (key, grp, turn, step, served)
select t.key, t.grp, t.turn, t.step, t.served
from t
where t.key is not null
on conflict (key, grp) do update set turn = excluded.turn, step = excluded.step, served = excluded.served",
    &[Kind::Text, Kind::Text, Kind::Long, Kind::Long, Kind::Long],
);

pub(crate) static FORGET_STANDS: Batch = Batch::new(
    "\
with t (key, grp) as ({rows})
delete from wo_slot_turns
where (key, grp) in (select key, grp from t where key is not null)",
    &[Kind::Text, Kind::Text],
);

pub(crate) static HELD_SLOTS: Batch = Batch::new(
    "\
with t (execution_id) as ({rows})
select s.key, s.execution_id, s.task
from t
join wo_slots as s on s.execution_id = t.execution_id",
    &[Kind::Uuid],
);

pub(crate) static TAKE_SLOTS: Batch = Batch::new(
    "\
with t (key, execution_id, task, taken_at, places, grp, rank) as ({rows})
insert into wo_slots (key, execution_id, task, taken_at, places, grp, rank)
select t.key, t.execution_id, t.task, t.taken_at, t.places, t.grp, t.rank
from t
where t.key is not null
on conflict do nothing",
    &[Kind::Text, Kind::Uuid, Kind::Text, Kind::At, Kind::Int, Kind::Text, Kind::Int],
);

/// Who stands in line already keeps its place. One whom a process of the release before put there has no tenant yet.
pub(crate) static JOIN_LINES: Batch = Batch::new(
    "\
with t (key, execution_id, task, since, places, grp, rank) as ({rows})
insert into wo_slot_waits (key, execution_id, task, since, places, grp, rank)
select t.key, t.execution_id, t.task, t.since, t.places, t.grp, t.rank
from t
where t.key is not null
on conflict (key, execution_id, task) do update set grp = excluded.grp where wo_slot_waits.grp is null",
    &[Kind::Text, Kind::Uuid, Kind::Text, Kind::At, Kind::Int, Kind::Text, Kind::Int],
);

pub(crate) static FINISH_TASKS: Batch = Batch::new(
    "\
with t (execution_id, task, attempt, tenant_id, workflow_id, kind, status, failure_class, worker_id,
    started_at, finished_at) as ({rows})
insert into wo_tasks (execution_id, task, attempt, tenant_id, workflow_id, kind, status, failure_class, worker_id,
    started_at, finished_at)
select t.execution_id, t.task, t.attempt, t.tenant_id, t.workflow_id, t.kind, t.status, t.failure_class, t.worker_id,
    t.started_at, t.finished_at
from t
where t.execution_id is not null
on conflict do nothing",
    &[
        Kind::Uuid,
        Kind::Text,
        Kind::Int,
        Kind::Uuid,
        Kind::Uuid,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Uuid,
        Kind::At,
        Kind::At,
    ],
);

pub(crate) static ANSWER_REQUESTS: Batch = Batch::new(
    "\
with t (id) as ({rows})
delete from wo_requests
where id in (select id from t where id is not null)",
    &[Kind::Uuid],
);

pub(crate) static ADD_KEYS: Batch = Batch::new(
    "\
with t (tenant_id, key, hash, execution_id, expires_at) as ({rows})
insert into wo_idempotency (tenant_id, key, hash, execution_id, expires_at)
select t.tenant_id, t.key, t.hash, t.execution_id, t.expires_at
from t
where t.tenant_id is not null
on conflict do nothing",
    &[Kind::Uuid, Kind::Text, Kind::Text, Kind::Uuid, Kind::At],
);

pub(crate) static EXPIRE_KEYS: Batch = Batch::new(
    "\
with t (tenant_id, key, now) as ({rows})
delete from wo_idempotency
where exists (
    select 1 from t
    where t.tenant_id = wo_idempotency.tenant_id and t.key = wo_idempotency.key
        and wo_idempotency.expires_at <= t.now)",
    &[Kind::Uuid, Kind::Text, Kind::At],
);

pub(crate) static FIND_KEYS: Batch = Batch::new(
    "\
with t (tenant_id, key) as ({rows})
select i.hash, i.execution_id
from t
join wo_idempotency as i on i.tenant_id = t.tenant_id and i.key = t.key",
    &[Kind::Uuid, Kind::Text],
);

pub(crate) static DROP_KEYS: Batch = Batch::new(
    "\
with t (tenant_id, key) as ({rows})
delete from wo_idempotency
where (tenant_id, key) in (select tenant_id, key from t where tenant_id is not null)",
    &[Kind::Uuid, Kind::Text],
);

/// Only for workflows that take executions.
pub(crate) static ADD_EXECUTIONS: Batch = Batch::new(
    "\
with t (id, tenant_id, shard, workflow_id, version, priority, tags, principal, created_at, sweep_at, retry_of)
    as ({rows})
insert into wo_executions (id, tenant_id, shard, workflow_id, workflow_name, version, status, priority, tags,
    principal, created_at, sweep_at, sweep_seconds, retry_of)
select t.id, t.tenant_id, t.shard, t.workflow_id, w.name, t.version, 'pending', t.priority, t.tags,
    t.principal, t.created_at, t.sweep_at, 15, t.retry_of
from t
join wo_workflows as w on w.id = t.workflow_id
where w.tenant_id = t.tenant_id and w.status = 'active'
on conflict do nothing",
    &[
        Kind::Uuid,
        Kind::Uuid,
        Kind::Int,
        Kind::Uuid,
        Kind::Int,
        Kind::Int,
        Kind::Text,
        Kind::Text,
        Kind::At,
        Kind::At,
        Kind::Uuid,
    ],
);

/// Payloads of an execution that another, which does it again, has as its own.
pub(crate) static CARRY_PAYLOADS: Batch = Batch::new(
    "\
with t (execution_id, source_id, tenant_id, id) as ({rows})
insert into wo_payloads (execution_id, id, tenant_id, bytes)
select t.execution_id, p.id, p.tenant_id, p.bytes
from t
join wo_payloads as p on p.execution_id = t.source_id and p.id = t.id
where p.tenant_id = t.tenant_id
on conflict do nothing",
    &[Kind::Uuid, Kind::Uuid, Kind::Uuid, Kind::Uuid],
);

/// Takes back what this transaction has carried.
pub(crate) static DROP_PAYLOADS: Batch = Batch::new(
    "\
with t (execution_id) as ({rows})
delete from wo_payloads
where execution_id in (select execution_id from t where execution_id is not null)",
    &[Kind::Uuid],
);

pub(crate) static FIND_EXECUTIONS: Batch = Batch::new(
    "\
with t (id, tenant_id) as ({rows})
select e.id
from t
join wo_executions as e on e.id = t.id and (e.tenant_id = t.tenant_id) is true",
    &[Kind::Uuid, Kind::Uuid],
);

pub(crate) static ADD_TURNS: Batch = Batch::new(
    "\
with t (execution_id, seq, cause, at, events) as ({rows})
insert into wo_journal (execution_id, seq, cause, at, events)
select t.execution_id, t.seq, t.cause, t.at, t.events
from t
where t.execution_id is not null",
    &[Kind::Uuid, Kind::Int, Kind::Uuid, Kind::At, Kind::Bytes],
);

pub(crate) static COUNT_OPEN: Batch = Batch::new(
    "\
with t (tenant_id) as ({rows})
select t.tenant_id, (
    select count(*) from wo_executions as e
    where e.tenant_id = t.tenant_id and e.status in ('pending', 'running', 'paused'))
from t
where t.tenant_id is not null",
    &[Kind::Uuid],
);

/// All of the above, for the test that prepares them.
pub(crate) static BATCHES: &[&Batch] = &[
    &KEEP_TURNS,
    &KEEP_TURNS_CAREFULLY,
    &DROP_TURNS,
    &CHANGE_EXECUTIONS,
    &BLOCK,
    &SET_TIMERS,
    &CLEAR_TIMERS,
    &RELEASE_TIMERS,
    &RELEASE_SLOTS,
    &GIVE_SLOTS,
    &LEAVE_LINES,
    &COUNT_SLOTS,
    &LINE,
    &HOLDERS,
    &WAITING,
    &ROUNDS,
    &STANDS,
    &KEEP_STANDS,
    &FORGET_STANDS,
    &HELD_SLOTS,
    &TAKE_SLOTS,
    &JOIN_LINES,
    &FINISH_TASKS,
    &ANSWER_REQUESTS,
    &ADD_KEYS,
    &EXPIRE_KEYS,
    &FIND_KEYS,
    &DROP_KEYS,
    &ADD_EXECUTIONS,
    &CARRY_PAYLOADS,
    &DROP_PAYLOADS,
    &FIND_EXECUTIONS,
    &ADD_TURNS,
    &COUNT_OPEN,
    &DROP_EXECUTIONS,
];

/// How long an idempotency key answers.
pub(crate) const KEY_LIFE: std::time::Duration = std::time::Duration::from_hours(24);
/// How long after its acceptance an execution is swept if nothing has started it.
pub(crate) const FIRST_SWEEP: std::time::Duration = std::time::Duration::from_secs(10);

/// Which way to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Fast,
    Careful,
}

/// Why a transaction is to be rolled back.
pub(crate) enum Halt {
    /// Something is not as the fast way supposed.
    Surprise,
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// A submission on its way, its events already bytes.
pub(crate) struct Entry {
    pub(crate) submission: Submission,
    pub(crate) events: Vec<u8>,
    tenant: TenantId,
    quota: u64,
}

impl Entry {
    /// Refuses a turn that does not begin an execution: it would be a journal without a head.
    pub(crate) fn new(submission: Submission, quota: u64) -> Result<Self, StoreError> {
        let events = rows::encode(&submission.first.events)?;
        match (submission.first.seq, submission.first.events.first()) {
            (1, Some(Event::Accepted(accepted))) => {
                Ok(Self { tenant: accepted.tenant, events, quota, submission })
            }
            _ => Err(StoreError::Corrupt("a submission begins with turn 1 and the event `accepted`".into())),
        }
    }

    fn first(&self) -> &Turn {
        &self.submission.first
    }

    pub(crate) fn id(&self) -> Uuid {
        *self.first().execution.as_uuid()
    }

    fn tenant(&self) -> Uuid {
        *self.tenant.as_uuid()
    }

    fn key_cells(&self) -> Option<[Cell; 5]> {
        self.submission.idempotency.as_ref().map(|(key, hash)| {
            [
                self.tenant().into(),
                key.clone().into(),
                hash.clone().into(),
                self.id().into(),
                self.first().at.after(KEY_LIFE).into(),
            ]
        })
    }

    /// A row for each payload that is carried.
    fn carry_cells(&self) -> Vec<Cell> {
        let Some(Event::Accepted(accepted)) = self.first().events.first() else { return Vec::new() };
        let Some(source) = accepted.carries_from() else { return Vec::new() };
        let carries = self.submission.carries.iter();
        let row = |id: &PayloadId| [self.id(), *source.as_uuid(), self.tenant(), *id.as_uuid()];
        carries.flat_map(row).map(Cell::from).collect()
    }

    fn execution_cells(&self) -> [Cell; 11] {
        let first = self.first();
        let Some(Event::Accepted(accepted)) = first.events.first() else {
            unreachable!("checked when the entry was made");
        };
        let start = accepted.scheduled_at.map_or(first.at, |at| at.max(first.at));
        [
            self.id().into(),
            self.tenant().into(),
            i32::from(Shard::of(first.execution).0).into(),
            (*accepted.workflow.as_uuid()).into(),
            i32::try_from(accepted.version).unwrap_or(i32::MAX).into(),
            rows::priority_number(accepted.priority).into(),
            rows::tags_text(&accepted.tags).into(),
            accepted.principal.clone().into(),
            first.at.into(),
            start.after(FIRST_SWEEP).into(),
            accepted.retry_of.map(|source| *source.as_uuid()).into(),
        ]
    }

    fn turn_cells(&self) -> [Cell; 5] {
        let first = self.first();
        [
            self.id().into(),
            1.into(),
            (*first.cause.as_uuid()).into(),
            first.at.into(),
            self.events.clone().into(),
        ]
    }
}

/// Keeps submissions, and answers in order.
pub(crate) async fn accept(
    engine: &mut impl Engine,
    entries: &[&Entry],
    ledger: &Ledger,
    mode: Mode,
) -> Result<Vec<Submitted>, Halt> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    match mode {
        Mode::Fast => accept_fast(engine, entries, ledger).await,
        Mode::Careful => accept_carefully(engine, entries, ledger).await,
    }
}

async fn accept_fast(
    engine: &mut impl Engine,
    entries: &[&Entry],
    ledger: &Ledger,
) -> Result<Vec<Submitted>, Halt> {
    // In the order of ids, so that two transactions with the same rows never wait for each other.
    let mut sorted: Vec<&Entry> = entries.to_vec();
    sorted.sort_by_key(|entry| entry.id());

    let mut wanted: BTreeMap<TenantId, (u64, u64)> = BTreeMap::new();
    for entry in entries {
        let (count, quota) = wanted.entry(entry.tenant).or_insert((0, entry.quota));
        *count += 1;
        *quota = (*quota).min(entry.quota);
    }
    let unsure: Vec<Cell> = wanted
        .iter()
        .filter(|(tenant, (count, quota))| !ledger.has_room(**tenant, *count, *quota))
        .map(|(tenant, _)| (*tenant.as_uuid()).into())
        .collect();
    for (tenant, open) in engine.fetch::<(Uuid, i64)>(&COUNT_OPEN, unsure).await? {
        ledger.counted(TenantId::from_uuid(tenant), open as u64);
    }
    if wanted.iter().any(|(tenant, (count, quota))| !ledger.fits(*tenant, *count, *quota)) {
        return Err(Halt::Surprise);
    }

    let mut keyed: Vec<[Cell; 5]> = Vec::new();
    let mut by_key: Vec<&Entry> =
        entries.iter().copied().filter(|e| e.submission.idempotency.is_some()).collect();
    by_key.sort_by(|a, b| (a.tenant, &a.submission.idempotency).cmp(&(b.tenant, &b.submission.idempotency)));
    keyed.extend(by_key.iter().filter_map(|entry| entry.key_cells()));
    let keys = keyed.len() as u64;
    if engine.run(&ADD_KEYS, keyed.into_iter().flatten().collect()).await? != keys {
        return Err(Halt::Surprise);
    }
    let executions = sorted.iter().flat_map(|entry| entry.execution_cells()).collect();
    if engine.run(&ADD_EXECUTIONS, executions).await? != entries.len() as u64 {
        return Err(Halt::Surprise);
    }
    let carried: u64 = entries.iter().map(|entry| entry.submission.carries.len() as u64).sum();
    let payloads = sorted.iter().flat_map(|entry| entry.carry_cells()).collect();
    if engine.run(&CARRY_PAYLOADS, payloads).await? != carried {
        return Err(Halt::Surprise);
    }
    engine.run(&ADD_TURNS, sorted.iter().flat_map(|entry| entry.turn_cells()).collect()).await?;
    for (tenant, (count, _)) in wanted {
        ledger.added(tenant, count);
    }
    Ok(vec![Submitted::New; entries.len()])
}

async fn accept_carefully(
    engine: &mut impl Engine,
    entries: &[&Entry],
    ledger: &Ledger,
) -> Result<Vec<Submitted>, Halt> {
    // Names are held in one order before anything is written: two careful transactions never cross.
    let mut names: Vec<String> = entries
        .iter()
        .filter_map(|entry| {
            entry.submission.idempotency.as_ref().map(|(key, _)| format!("key {} {key}", entry.tenant))
        })
        .collect();
    names.sort();
    names.dedup();
    engine.lock(names).await?;
    let tenants: HashSet<TenantId> = entries.iter().map(|entry| entry.tenant).collect();
    let tenants = tenants.iter().map(|tenant| (*tenant.as_uuid()).into()).collect();
    let mut open: HashMap<TenantId, u64> = HashMap::new();
    for (tenant, count) in engine.fetch::<(Uuid, i64)>(&COUNT_OPEN, tenants).await? {
        open.insert(TenantId::from_uuid(tenant), count as u64);
    }
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        let open = open.entry(entry.tenant).or_default();
        let answer = accept_one(engine, entry, *open).await?;
        if answer == Submitted::New {
            *open += 1;
        }
        answers.push(answer);
    }
    for (tenant, count) in open {
        ledger.counted(tenant, count);
    }
    Ok(answers)
}

async fn accept_one(engine: &mut impl Engine, entry: &Entry, open: u64) -> Result<Submitted, Halt> {
    let tenant = entry.tenant();
    if let Some((key, hash)) = &entry.submission.idempotency {
        let expired = vec![tenant.into(), key.clone().into(), entry.first().at.into()];
        engine.run(&EXPIRE_KEYS, expired).await?;
        let cells = entry.key_cells().into_iter().flatten().collect();
        if engine.run(&ADD_KEYS, cells).await? == 0 {
            let found: Vec<(String, Uuid)> =
                engine.fetch(&FIND_KEYS, vec![tenant.into(), key.clone().into()]).await?;
            let Some((kept, execution)) = found.into_iter().next() else {
                // Whoever held the key has just let it go.
                return Err(Halt::Surprise);
            };
            let execution = ExecutionId::from_uuid(execution);
            return Ok(if kept == *hash {
                Submitted::Repeated(execution)
            } else {
                Submitted::KeyReused(execution)
            });
        }
    }
    let known: Vec<(Uuid,)> = engine.fetch(&FIND_EXECUTIONS, vec![entry.id().into(), tenant.into()]).await?;
    let refusal = if known.is_empty() {
        if engine.run(&ADD_EXECUTIONS, entry.execution_cells().into()).await? == 0 {
            Some(Submitted::NoWorkflow)
        } else if open >= entry.quota {
            engine.run(&DROP_EXECUTIONS, vec![entry.id().into()]).await?;
            Some(Submitted::QuotaFull { open })
        } else if engine.run(&CARRY_PAYLOADS, entry.carry_cells()).await?
            != entry.submission.carries.len() as u64
        {
            engine.run(&DROP_PAYLOADS, vec![entry.id().into()]).await?;
            engine.run(&DROP_EXECUTIONS, vec![entry.id().into()]).await?;
            Some(Submitted::NothingToCarry)
        } else {
            engine.run(&ADD_TURNS, entry.turn_cells().into()).await?;
            None
        }
    } else {
        // The same submission once more, after an answer that was lost on the way.
        return Ok(Submitted::Repeated(entry.first().execution));
    };
    let Some(refusal) = refusal else { return Ok(Submitted::New) };
    if let Some((key, _)) = &entry.submission.idempotency {
        engine.run(&DROP_KEYS, vec![tenant.into(), key.clone().into()]).await?;
    }
    Ok(refusal)
}

/// Takes back an execution that this transaction has added.
pub(crate) static DROP_EXECUTIONS: Batch = Batch::new(
    "\
with t (id) as ({rows})
delete from wo_executions
where id in (select id from t where id is not null)",
    &[Kind::Uuid],
);

/// A turn on its way, its events already bytes.
pub(crate) struct Step {
    pub(crate) commit: Commit,
    pub(crate) events: Vec<u8>,
    /// Failure and output as bytes.
    failure: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
    /// One for each of `commit.people`.
    asks: Vec<Asks>,
}

impl Step {
    pub(crate) fn new(commit: Commit) -> Result<Self, StoreError> {
        let events = rows::encode(&commit.turn.events)?;
        let change = commit.change.as_ref();
        let failure = change.and_then(|change| change.failure.as_ref()).map(rows::encode).transpose()?;
        let output = change.and_then(|change| change.output.as_ref()).map(rows::encode).transpose()?;
        let asks = commit.people.iter().map(Asks::of).collect::<Result<_, _>>()?;
        Ok(Self { commit, events, failure, output, asks })
    }

    pub(crate) fn id(&self) -> Uuid {
        *self.commit.turn.execution.as_uuid()
    }

    pub(crate) fn seq(&self) -> i32 {
        i32::try_from(self.commit.turn.seq).unwrap_or(i32::MAX)
    }
}

/// A chain of consecutive turns of one execution; the members are indices of steps.
pub(crate) struct Chain {
    base: i32,
    pub(crate) members: Vec<usize>,
}

/// Keeps turns, and answers in order. `calls` are the steps of each caller.
pub(crate) async fn commit(
    engine: &mut impl Engine,
    calls: &[&[Step]],
    mode: Mode,
) -> Result<Vec<Vec<Kept>>, Halt> {
    let steps: Vec<&Step> = calls.iter().flat_map(|call| call.iter()).collect();
    let mut answers: Vec<Option<Kept>> = vec![None; steps.len()];
    if steps.is_empty() {
        return Ok(calls.iter().map(|_| Vec::new()).collect());
    }

    // Before any row is touched, so that nobody waits for a key while holding rows of ours.
    let claims = steps.iter().flat_map(|step| step.commit.take.iter().chain(&step.commit.wait));
    let mut names: Vec<String> = claims.map(|claim| format!("slot {}", claim.key)).collect();
    names.sort();
    names.dedup();
    engine.lock(names).await?;

    let mut chains = chains(calls, &mut answers);
    keep(engine, &steps, &chains, &mut answers, mode).await?;
    // What is kept may still be refused a slot.
    chains.retain(|chain| chain.members.iter().any(|member| answers[*member].is_none()));
    places::settle(engine, &steps, &chains, &mut answers).await?;
    change(engine, &steps, &mut answers).await?;

    let mut answers = answers.into_iter().map(|answer| answer.unwrap_or(Kept::Committed));
    Ok(calls.iter().map(|call| answers.by_ref().take(call.len()).collect()).collect())
}

/// Orders the steps in chains; what repeats a number of this batch is superseded already.
fn chains(calls: &[&[Step]], answers: &mut [Option<Kept>]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut places: HashMap<(Uuid, i32), usize> = HashMap::new();
    let mut index = 0;
    for call in calls {
        // What builds on a turn that is not kept is not kept.
        let mut broken: HashSet<Uuid> = HashSet::new();
        for step in *call {
            let (id, seq) = (step.id(), step.seq());
            if broken.contains(&id) || places.contains_key(&(id, seq)) {
                answers[index] = Some(Kept::Superseded);
                broken.insert(id);
            } else {
                let chain = match places.get(&(id, seq - 1)) {
                    Some(chain) => *chain,
                    None => {
                        chains.push(Chain { base: seq, members: Vec::new() });
                        chains.len() - 1
                    }
                };
                places.insert((id, seq), chain);
                chains[chain].members.push(index);
            }
            index += 1;
        }
    }
    chains
}

async fn keep(
    engine: &mut impl Engine,
    steps: &[&Step],
    chains: &[Chain],
    answers: &mut [Option<Kept>],
    mode: Mode,
) -> Result<(), Halt> {
    let mut order: Vec<(&Step, i32)> = chains
        .iter()
        .flat_map(|chain| chain.members.iter().map(|member| (steps[*member], chain.base)))
        .collect();
    order.sort_by_key(|(step, _)| (step.id(), step.seq()));
    let mut cells = Vec::with_capacity(order.len() * 6);
    for (step, base) in &order {
        let turn = &step.commit.turn;
        cells.extend([
            Cell::from(step.id()),
            step.seq().into(),
            (*base).into(),
            (*turn.cause.as_uuid()).into(),
            turn.at.into(),
            step.events.clone().into(),
        ]);
    }
    if mode == Mode::Fast {
        if engine.run(&KEEP_TURNS, cells).await? != order.len() as u64 {
            return Err(Halt::Surprise);
        }
        return Ok(());
    }
    let kept: HashSet<(Uuid, i32)> = engine.fetch(&KEEP_TURNS_CAREFULLY, cells).await?.into_iter().collect();
    let mut orphans: Vec<Cell> = Vec::new();
    for chain in chains {
        let mut whole = true;
        for member in &chain.members {
            let step = steps[*member];
            let here = kept.contains(&(step.id(), step.seq()));
            if whole && here {
                continue;
            }
            whole = false;
            answers[*member] = Some(Kept::Superseded);
            if here {
                // Someone else took the number before it while we were writing.
                orphans.extend([step.id().into(), step.seq().into()]);
            }
        }
    }
    engine.run(&DROP_TURNS, orphans).await?;
    Ok(())
}

/// What several turns of one execution change in its row, folded into one change.
#[derive(Default)]
struct Change {
    tenant: Uuid,
    status: Option<Status>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    failure: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
    /// Whether `sweep_at` is to be written.
    sweep: bool,
    sweep_at: Option<Timestamp>,
    unblock: bool,
    /// The version that it was moved to.
    version: Option<u32>,
}

/// What a timer is to be.
type Timer = Option<(Timestamp, Option<Uuid>)>;

/// Everything the kept turns change beside the journal.
async fn change(engine: &mut impl Engine, steps: &[&Step], answers: &mut [Option<Kept>]) -> Result<(), Halt> {
    let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
    let mut timers: BTreeMap<(Uuid, String), Timer> = BTreeMap::new();
    let mut released: BTreeSet<Uuid> = BTreeSet::new();
    let mut asked: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
    let mut requests: Vec<Uuid> = Vec::new();
    let mut people = Changes::default();
    let mut cached = cache::Kept::default();
    let mut finished: Vec<Cell> = Vec::new();
    for (step, answer) in steps.iter().zip(answers) {
        if answer.is_some() {
            continue;
        }
        let commit = &step.commit;
        let (id, at) = (step.id(), commit.turn.at);
        let ends = commit.change.as_ref().is_some_and(|change| change.status.is_terminal());
        let moved = commit.turn.moved();
        let unblocks =
            commit.change.is_some() || commit.release || !commit.take.is_empty() || commit.leaves_its_line();
        if unblocks || commit.sweep_at.is_some() || moved.is_some() {
            let entry = changes.entry(id).or_default();
            entry.tenant = *commit.tenant.as_uuid();
            entry.unblock |= unblocks;
            entry.version = moved.map(|moved| moved.version).or(entry.version);
            if let Some(change) = &commit.change {
                entry.status = Some(change.status);
                let begins = matches!(change.status, Status::Running | Status::Completed)
                    || commit.turn.events.iter().any(|event| matches!(event, Event::Started));
                if begins && entry.started_at.is_none() {
                    entry.started_at = Some(at);
                }
                if ends {
                    entry.finished_at = Some(at);
                }
                // An open execution that has a failure will fail; how it ends says why it ended.
                let earlier = entry.failure.take().filter(|_| !ends);
                entry.failure = step.failure.clone().or(earlier);
                entry.output = step.output.clone().or(entry.output.take());
            }
            if ends || commit.release {
                // What others are to be told of an end is found by the sweep when a process dies over it.
                (entry.sweep, entry.sweep_at) = (true, commit.sweep_at.filter(|_| ends));
            } else if commit.sweep_at.is_some() {
                (entry.sweep, entry.sweep_at) = (true, commit.sweep_at);
            }
        }
        for timer in &commit.timers {
            match timer {
                TimerChange::Set { key, due_at, token } => {
                    timers
                        .insert((id, key.to_string()), Some((*due_at, token.map(|token| *token.as_uuid()))));
                }
                TimerChange::Clear { key } => {
                    timers.insert((id, key.to_string()), None);
                }
            }
        }
        if commit.release {
            released.insert(id);
            if commit.has_asked {
                asked.insert(id, at);
            }
        }
        people.add(commit, &step.asks);
        cached.add(commit);
        requests.extend(commit.request.map(|request| *request.as_uuid()));
        for task in &commit.finished {
            finished.extend([
                Cell::from(id),
                task.task.to_string().into(),
                i32::try_from(task.attempt).unwrap_or(i32::MAX).into(),
                (*commit.tenant.as_uuid()).into(),
                (*commit.workflow.as_uuid()).into(),
                task.kind.to_string().into(),
                task.status.as_str().to_owned().into(),
                task.failure_class.clone().into(),
                task.worker.map(|worker| *worker.as_uuid()).into(),
                task.started_at.into(),
                task.finished_at.into(),
            ]);
        }
    }

    let mut cells = Vec::with_capacity(changes.len() * 11);
    for (id, change) in changes {
        cells.extend([
            Cell::from(id),
            change.tenant.into(),
            change.status.map(|status| status.as_str().to_owned()).into(),
            change.started_at.into(),
            change.finished_at.into(),
            change.failure.into(),
            change.output.into(),
            i32::from(change.sweep).into(),
            change.sweep_at.into(),
            i32::from(change.unblock).into(),
            change.version.map(|version| i32::try_from(version).unwrap_or(i32::MAX)).into(),
        ]);
    }
    engine.run(&CHANGE_EXECUTIONS, cells).await?;

    let gone: HashSet<Uuid> = released.iter().copied().collect();
    people.write(engine, &gone).await?;
    engine.release(released.into_iter().collect()).await?;
    engine.release_asked(asked.into_iter().collect()).await?;
    let (mut set, mut cleared) = (Vec::new(), Vec::new());
    for ((id, key), timer) in timers {
        if gone.contains(&id) {
            continue;
        }
        match timer {
            Some((due_at, token)) => {
                let shard = i32::from(Shard::of(ExecutionId::from_uuid(id)).0);
                set.extend([id.into(), key.into(), shard.into(), due_at.into(), Cell::from(token)]);
            }
            None => cleared.extend([Cell::from(id), key.into()]),
        }
    }
    engine.run(&SET_TIMERS, set).await?;
    engine.run(&CLEAR_TIMERS, cleared).await?;
    engine.run(&FINISH_TASKS, finished).await?;
    cached.write(engine).await?;
    requests.sort_unstable();
    engine.run(&ANSWER_REQUESTS, requests.into_iter().map(Cell::from).collect()).await?;
    Ok(())
}

/// Whether an error of one caller's data may have failed the others.
pub(crate) fn is_private(error: &sqlx::Error) -> bool {
    !error::is_connection(error)
}
