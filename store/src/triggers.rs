//! Triggers, what came in through them, and what they started.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use shared::{
    ids::{BackfillId, ExecutionId, ReceiptId, TenantId, TriggerId, WorkflowId},
    port::{
        store::{Page, Paged, StoreError, Submission, Submitted},
        triggers::{
            Backfill, BackfillStatus, Cursor, EventAdded, FireOutcome, FireRow, Gather, GatheredStep,
            KEY_LIFE, Receipt, ScheduleStep, StepKept, StoredEvent, TriggerFilter, TriggerRow, TriggerStart,
            TriggerStarted, Triggers,
        },
    },
    time::Timestamp,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{At, Cell, Engine},
    error, rows,
    sql_store::{in_transaction, on_pool},
    turns::{self, Entry, Halt, Mode},
};

/// With another hash it begins anew; what is paused stays paused, and an address stays.
pub(crate) const SYNC_TRIGGER: &str = "\
insert into wo_triggers (id, tenant_id, workflow_id, version, name, kind, hash, enabled, paused, last_fire_at,
    next_fire_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $9)
on conflict (id) do update set
    version = excluded.version,
    kind = excluded.kind,
    hash = excluded.hash,
    enabled = excluded.enabled,
    trouble = case when wo_triggers.hash = excluded.hash then wo_triggers.trouble else null end,
    trouble_since = case when wo_triggers.hash = excluded.hash then wo_triggers.trouble_since else null end,
    last_fire_at = case when wo_triggers.hash = excluded.hash then wo_triggers.last_fire_at
        else excluded.last_fire_at end,
    next_fire_at = case when wo_triggers.paused = 1 then null
        when wo_triggers.hash = excluded.hash then wo_triggers.next_fire_at
        else excluded.next_fire_at end,
    updated_at = excluded.updated_at";

pub(crate) const DROP_OLD_TRIGGERS: &str = "\
delete from wo_triggers
where workflow_id = $1 and version <> $2";

pub(crate) const DROP_TRIGGERS: &str = "\
delete from wo_triggers
where workflow_id = $1 and tenant_id = $2";

macro_rules! trigger_rows {
    ($rest:literal) => {
        concat!(
            "\
select t.id, t.tenant_id, t.workflow_id, w.name as workflow_name, t.version, w.hash as snapshot, t.name, t.kind,
    t.enabled, t.paused, t.trouble, t.trouble_since, t.last_fire_at, t.next_fire_at,
    case when t.address_hash is null then 0 else 1 end as has_address, t.updated_at
from wo_triggers as t
join wo_workflows as w on w.id = t.workflow_id
",
            $rest
        )
    };
}

const TRIGGERS: &str = trigger_rows!(
    "\
where t.tenant_id = $1
    and ($2 is null or t.id > $2)
    and ($3 is null or t.workflow_id = $3)
    and ($4 is null or t.kind = $4)
order by t.id limit $5"
);

const TRIGGER: &str = trigger_rows!("where t.tenant_id = $1 and t.id = $2");

/// What listens, over all tenants.
const TRIGGERS_ACTIVE: &str = trigger_rows!(
    "where t.kind = $1 and t.enabled = 1 and t.paused = 0 and w.status = 'active' order by t.id"
);

const TRIGGER_AT: &str = trigger_rows!("where t.address_hash = $1");

/// Due triggers, over all tenants.
const TRIGGERS_DUE: &str = trigger_rows!(
    "where t.next_fire_at <= $1 and t.paused = 0 and w.status = 'active' order by t.next_fire_at, t.id limit $2"
);

/// What was missed meanwhile is nobody's catch-up.
const PAUSE_TRIGGER: &str = "\
update wo_triggers
set paused = $3,
    next_fire_at = $4,
    last_fire_at = case when paused = 1 and $3 = 0 then $5 else last_fire_at end,
    updated_at = $5
where tenant_id = $1 and id = $2";

const TRIGGER_ADDRESS: &str = "\
update wo_triggers
set address_hash = $3, updated_at = $4
where tenant_id = $1 and id = $2";

const TRIGGER_TROUBLE: &str = "\
update wo_triggers
set trouble = $2,
    trouble_since = case when $2 is null then null else coalesce(trouble_since, $3) end
where id = $1 and trouble is distinct from $2";

/// Holds a trigger while fires of it are kept.
const HOLD_TRIGGER: &str = "\
update wo_triggers
set updated_at = updated_at
where tenant_id = $1 and id = $2
returning last_fire_at, next_fire_at, paused";

const HOLD_BACKFILL: &str = "\
update wo_backfills
set updated_at = updated_at
where tenant_id = $1 and id = $2 and status = 'running'
returning cursor_at";

const MOVE_TRIGGER: &str = "\
update wo_triggers
set last_fire_at = $2, next_fire_at = $3
where id = $1";

const MOVE_BACKFILL: &str = "\
update wo_backfills
set cursor_at = $2, status = $3, started = started + $4, skipped = skipped + $5, updated_at = $6
where id = $1";

const FIND_FIRE: &str = "\
select outcome, until_at, reason, recorded_at
from wo_schedule_fires
where trigger_id = $1 and fire_at = $2";

const KEEP_FIRE: &str = "\
insert into wo_schedule_fires (trigger_id, fire_at, tenant_id, until_at, outcome, reason, execution_id, backfill_id,
    is_open, recorded_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (trigger_id, fire_at) do update set
    until_at = excluded.until_at,
    outcome = excluded.outcome,
    reason = excluded.reason,
    execution_id = excluded.execution_id,
    backfill_id = excluded.backfill_id,
    is_open = excluded.is_open,
    recorded_at = excluded.recorded_at";

const CLOSE_FIRES: &str = "\
update wo_schedule_fires
set is_open = 0
where trigger_id = $1 and is_open = 1
    and not exists (
        select 1 from wo_executions as e
        where e.id = wo_schedule_fires.execution_id and e.status in ('pending', 'running', 'paused'))";

const TRIGGER_OPEN: &str = "\
select f.execution_id
from wo_schedule_fires as f
join wo_executions as e on e.id = f.execution_id
where f.trigger_id = $1 and f.is_open = 1 and e.status in ('pending', 'running', 'paused')
order by f.fire_at";

const BACKFILL_OPEN: &str = "\
select count(*)
from wo_schedule_fires as f
join wo_executions as e on e.id = f.execution_id
where f.backfill_id = $1 and f.is_open = 1 and e.status in ('pending', 'running', 'paused')";

const FIRES_PENDING: &str = "\
select fire_at
from wo_schedule_fires
where trigger_id = $1 and outcome = 'pending'
order by fire_at limit 1000";

const FIRES: &str = "\
select trigger_id, fire_at, until_at, outcome, reason, execution_id, backfill_id, recorded_at
from wo_schedule_fires
where tenant_id = $1 and trigger_id = $2 and ($3 is null or fire_at < $3)
order by fire_at desc limit $4";

const STARTED_SINCE: &str = "\
select (select count(distinct execution_id) from wo_trigger_receipts
        where trigger_id = $1 and received_at >= $2 and outcome = 'started')
    + (select count(*) from wo_schedule_fires
        where trigger_id = $1 and recorded_at >= $2 and outcome = 'started')";

/// A key that has run out is free again; that of a file that stays where it is does not run out.
const EXPIRE_KEY: &str = "\
update wo_trigger_receipts
set dedupe_key = null
where trigger_id = $1 and dedupe_key = $2 and received_at < $3 and dedupe_key not like 'kept file %'";

const KEEP_RECEIPT: &str = "\
insert into wo_trigger_receipts (id, tenant_id, trigger_id, dedupe_key, execution_id, received_at, outcome, error,
    event, bytes)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict do nothing";

const DROP_RECEIPT: &str = "\
delete from wo_trigger_receipts
where id = $1";

macro_rules! receipt_rows {
    ($event:literal, $rest:literal) => {
        concat!(
            "select id, tenant_id, trigger_id, dedupe_key, execution_id, received_at, outcome, error, ",
            $event,
            "\nfrom wo_trigger_receipts\n",
            $rest
        )
    };
}

const RECEIPT_BY_KEY: &str = receipt_rows!("event, bytes", "where trigger_id = $1 and dedupe_key = $2");
const RECEIPT: &str = receipt_rows!("event, bytes", "where tenant_id = $1 and id = $2");
const RECEIPTS: &str = receipt_rows!(
    "cast(null as text) as event, null as bytes",
    "\
where tenant_id = $1 and trigger_id = $2 and ($3 is null or id < $3) and ($4 is null or outcome = $4)
order by id desc limit $5"
);

const COUNT_GATHERED: &str = "\
select count(*)
from wo_trigger_receipts
where trigger_id = $1 and outcome = 'gathered'";

const SUPERSEDE_GATHERED: &str = "\
update wo_trigger_receipts
set outcome = 'superseded', event = null
where trigger_id = $1 and outcome = 'gathered' and id <> $2";

const GATHERED: &str = receipt_rows!(
    "event, bytes",
    "where trigger_id = $1 and outcome = 'gathered' order by received_at, id limit $2"
);

/// Of two replays one finds it parked.
const HOLD_PARKED: &str = "\
update wo_trigger_receipts
set outcome = 'started', error = null, execution_id = $3, event = null, bytes = null
where tenant_id = $1 and id = $2 and outcome = 'parked'";

const PARK_AGAIN: &str = "\
update wo_trigger_receipts
set outcome = 'parked', error = $2, execution_id = null, event = $3, bytes = $4
where id = $1";

const KEEP_EVENT: &str = "\
insert into wo_events (sequence, tenant_id, id, kind, source, correlation, time, event, received_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict do nothing";

const DROP_EVENT: &str = "\
delete from wo_events
where sequence = $1";

const EVENT: &str = "\
select sequence, tenant_id, id, kind, source, correlation, time, event, received_at, expires_at
from wo_events
where tenant_id = $1 and source = $2 and id = $3";

const EVENTS: &str = "\
select sequence, tenant_id, id, kind, source, correlation, time, event, received_at, expires_at
from wo_events
where tenant_id = $1 and ($2 is null or sequence < $2) and ($3 is null or kind = $3)
order by sequence desc limit $4";

const EVENTS_BETWEEN: &str = "\
select sequence, tenant_id, id, kind, source, correlation, time, event, received_at, expires_at
from wo_events
where tenant_id = $1 and kind = $2 and correlation = $3 and received_at >= $4
order by received_at limit $5";

const ADD_BACKFILL: &str = "\
insert into wo_backfills (id, tenant_id, trigger_id, from_at, to_at, newest_first, parallel, reason, status, cursor_at,
    total, started, skipped, created_by, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
on conflict do nothing";

macro_rules! backfill_rows {
    ($rest:literal) => {
        concat!(
            "\
select id, tenant_id, trigger_id, from_at, to_at, newest_first, parallel, reason, status, cursor_at, total, started,
    skipped, created_by, created_at, updated_at
from wo_backfills
",
            $rest
        )
    };
}

const BACKFILL: &str = backfill_rows!("where tenant_id = $1 and id = $2");
const BACKFILLS: &str =
    backfill_rows!("where tenant_id = $1 and ($2 is null or id < $2) order by id desc limit $3");
/// Over all tenants.
const BACKFILLS_RUNNING: &str = backfill_rows!("where status = 'running' order by id");

const BACKFILL_STATUS: &str = "\
update wo_backfills
set status = $3, updated_at = $4
where tenant_id = $1 and id = $2 and status in ('running', 'paused')";

const FORGET_RECEIPTS: &str = "\
delete from wo_trigger_receipts
where id in (
    select id
    from wo_trigger_receipts
    where received_at < $1 and outcome <> 'parked' and (dedupe_key is null or dedupe_key not like 'kept file %')
    order by received_at, id limit $2)";

/// What has started is known for ever, so that no backfill starts it again.
const FORGET_FIRES: &str = "\
delete from wo_schedule_fires
where (trigger_id, fire_at) in (
    select trigger_id, fire_at
    from wo_schedule_fires
    where recorded_at < $1 and outcome = 'skipped'
    order by recorded_at, trigger_id, fire_at limit $2)";

const FORGET_EVENTS: &str = "\
delete from wo_events
where sequence in (
    select sequence
    from wo_events
    where expires_at < $1
    order by expires_at, sequence limit $2)";

pub(crate) const STATEMENTS: &[&str] = &[
    SYNC_TRIGGER,
    DROP_OLD_TRIGGERS,
    DROP_TRIGGERS,
    TRIGGERS,
    TRIGGER,
    TRIGGERS_ACTIVE,
    TRIGGER_AT,
    TRIGGERS_DUE,
    PAUSE_TRIGGER,
    TRIGGER_ADDRESS,
    TRIGGER_TROUBLE,
    HOLD_TRIGGER,
    HOLD_BACKFILL,
    MOVE_TRIGGER,
    MOVE_BACKFILL,
    FIND_FIRE,
    KEEP_FIRE,
    CLOSE_FIRES,
    COUNT_GATHERED,
    SUPERSEDE_GATHERED,
    GATHERED,
    TRIGGER_OPEN,
    BACKFILL_OPEN,
    FIRES_PENDING,
    FIRES,
    STARTED_SINCE,
    EXPIRE_KEY,
    KEEP_RECEIPT,
    DROP_RECEIPT,
    RECEIPT_BY_KEY,
    RECEIPT,
    RECEIPTS,
    HOLD_PARKED,
    PARK_AGAIN,
    KEEP_EVENT,
    DROP_EVENT,
    EVENT,
    EVENTS,
    EVENTS_BETWEEN,
    ADD_BACKFILL,
    BACKFILL,
    BACKFILLS,
    BACKFILLS_RUNNING,
    BACKFILL_STATUS,
    FORGET_RECEIPTS,
    FORGET_FIRES,
    FORGET_EVENTS,
];

/// Brings the triggers of a workflow in line with its newest version.
macro_rules! sync_triggers {
    ($tx:ident, $draft:ident, $version:expr) => {
        for trigger in &$draft.triggers {
            sqlx::query($crate::triggers::SYNC_TRIGGER)
                .bind(*shared::ids::TriggerId::of($draft.id, &trigger.name).as_uuid())
                .bind(*$draft.tenant.as_uuid())
                .bind(*$draft.id.as_uuid())
                .bind($version)
                .bind(&trigger.name)
                .bind(&trigger.kind)
                .bind(&trigger.hash)
                .bind(i32::from(trigger.enabled))
                .bind(At($draft.at))
                .bind(trigger.next_fire_at.filter(|_| trigger.enabled).map(At))
                .execute(&mut *$tx)
                .await?;
        }
        // What an unchanged version no longer names is gone too.
        let names: Vec<Uuid> = $draft
            .triggers
            .iter()
            .map(|trigger| *shared::ids::TriggerId::of($draft.id, &trigger.name).as_uuid())
            .collect();
        if names.is_empty() {
            sqlx::query($crate::triggers::DROP_TRIGGERS)
                .bind(*$draft.id.as_uuid())
                .bind(*$draft.tenant.as_uuid())
                .execute(&mut *$tx)
                .await?;
        } else {
            sqlx::query($crate::triggers::DROP_OLD_TRIGGERS)
                .bind(*$draft.id.as_uuid())
                .bind($version)
                .execute(&mut *$tx)
                .await?;
        }
    };
}
pub(crate) use sync_triggers;

#[derive(FromRow)]
struct TriggerRecord {
    id: Uuid,
    tenant_id: Uuid,
    workflow_id: Uuid,
    workflow_name: String,
    version: i32,
    snapshot: String,
    name: String,
    kind: String,
    enabled: i32,
    paused: i32,
    trouble: Option<String>,
    trouble_since: Option<At>,
    last_fire_at: Option<At>,
    next_fire_at: Option<At>,
    has_address: i32,
    updated_at: At,
}

impl TriggerRecord {
    fn row(self) -> TriggerRow {
        TriggerRow {
            id: TriggerId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            workflow: WorkflowId::from_uuid(self.workflow_id),
            workflow_name: self.workflow_name,
            version: self.version as u32,
            snapshot: self.snapshot,
            name: self.name,
            kind: self.kind,
            enabled: self.enabled == 1,
            paused: self.paused == 1,
            trouble: self.trouble,
            trouble_since: self.trouble_since.map(|at| at.0),
            last_fire_at: self.last_fire_at.map(|at| at.0),
            next_fire_at: self.next_fire_at.map(|at| at.0),
            has_address: self.has_address == 1,
            updated_at: self.updated_at.0,
        }
    }
}

#[derive(FromRow)]
struct FireRecord {
    trigger_id: Uuid,
    fire_at: At,
    until_at: Option<At>,
    outcome: String,
    reason: String,
    execution_id: Option<Uuid>,
    backfill_id: Option<Uuid>,
    recorded_at: At,
}

impl FireRecord {
    fn row(self) -> Result<FireRow, StoreError> {
        let outcome = match self.outcome.as_str() {
            "started" => FireOutcome::Started,
            "skipped" => FireOutcome::Skipped,
            "pending" => FireOutcome::Pending,
            other => return Err(StoreError::Corrupt(format!("`{other}` is no outcome of a fire").into())),
        };
        Ok(FireRow {
            trigger: TriggerId::from_uuid(self.trigger_id),
            at: self.fire_at.0,
            until: self.until_at.map(|at| at.0),
            outcome,
            reason: self.reason,
            execution: self.execution_id.map(ExecutionId::from_uuid),
            backfill: self.backfill_id.map(BackfillId::from_uuid),
            recorded_at: self.recorded_at.0,
        })
    }
}

#[derive(FromRow)]
struct ReceiptRecord {
    id: Uuid,
    tenant_id: Uuid,
    trigger_id: Uuid,
    dedupe_key: Option<String>,
    execution_id: Option<Uuid>,
    received_at: At,
    outcome: String,
    error: Option<String>,
    event: Option<String>,
    bytes: Option<Vec<u8>>,
}

impl ReceiptRecord {
    fn receipt(self) -> Result<Receipt, StoreError> {
        Ok(Receipt {
            id: ReceiptId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            trigger: TriggerId::from_uuid(self.trigger_id),
            key: self.dedupe_key,
            execution: self.execution_id.map(ExecutionId::from_uuid),
            received_at: self.received_at.0,
            outcome: self.outcome,
            error: self.error,
            event: self.event.map(|text| serde_json::from_str(&text)).transpose().map_err(error::corrupt)?,
            bytes: self.bytes,
        })
    }
}

#[derive(FromRow)]
struct EventRecord {
    sequence: Uuid,
    tenant_id: Uuid,
    id: String,
    kind: String,
    source: String,
    correlation: Option<String>,
    time: At,
    event: String,
    received_at: At,
    expires_at: At,
}

impl EventRecord {
    fn event(self) -> Result<StoredEvent, StoreError> {
        Ok(StoredEvent {
            tenant: TenantId::from_uuid(self.tenant_id),
            id: self.id,
            kind: self.kind,
            source: self.source,
            key: self.correlation,
            time: self.time.0,
            event: serde_json::from_str(&self.event).map_err(error::corrupt)?,
            received_at: self.received_at.0,
            expires_at: self.expires_at.0,
        })
    }
}

#[derive(FromRow)]
struct BackfillRecord {
    id: Uuid,
    tenant_id: Uuid,
    trigger_id: Uuid,
    from_at: At,
    to_at: At,
    newest_first: i32,
    parallel: i32,
    reason: String,
    status: String,
    cursor_at: Option<At>,
    total: i64,
    started: i64,
    skipped: i64,
    created_by: String,
    created_at: At,
    updated_at: At,
}

impl BackfillRecord {
    fn backfill(self) -> Result<Backfill, StoreError> {
        let status = BackfillStatus::ALL.into_iter().find(|status| status.as_str() == self.status);
        let status = status.ok_or_else(|| {
            StoreError::Corrupt(format!("`{}` is no status of a backfill", self.status).into())
        })?;
        Ok(Backfill {
            id: BackfillId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            trigger: TriggerId::from_uuid(self.trigger_id),
            from: self.from_at.0,
            to: self.to_at.0,
            newest_first: self.newest_first == 1,
            parallel: self.parallel as u32,
            reason: self.reason,
            status,
            cursor: self.cursor_at.map(|at| at.0),
            total: self.total as u64,
            started: self.started as u64,
            skipped: self.skipped as u64,
            created_by: self.created_by,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}

/// Where the rest of a span begins when its first fire is taken out.
fn behind(fire: Timestamp) -> Timestamp {
    Timestamp::from_micros(fire.as_micros() + 1)
}

fn json_text(value: &serde_json::Value) -> String {
    value.to_string()
}

/// Text as PostgreSQL can hold it: it has no nul character.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Accepts executions inside a transaction of ours: all of them, or the first refusal and none.
async fn accept(
    engine: &mut impl Engine,
    entries: &[Entry],
    ledger: &crate::Ledger,
) -> Result<Result<(), Submitted>, sqlx::Error> {
    if entries.is_empty() {
        return Ok(Ok(()));
    }
    let all: Vec<&Entry> = entries.iter().collect();
    let answers = match turns::accept(&mut *engine, &all, ledger, Mode::Careful).await {
        Ok(answers) => answers,
        Err(Halt::Failed(error)) => return Err(error),
        Err(Halt::Surprise) => {
            return Err(sqlx::Error::Protocol("a submission of a trigger met an idempotency key".to_owned()));
        }
    };
    let Some(refusal) = answers.iter().find(|answer| **answer != Submitted::New) else { return Ok(Ok(())) };
    let kept = entries.iter().zip(&answers).filter(|(_, answer)| **answer == Submitted::New);
    let ids: Vec<Uuid> = kept.map(|(entry, _)| *entry.submission.first.execution.as_uuid()).collect();
    engine.run(&turns::DROP_TURNS, ids.iter().flat_map(|id| [Cell::from(*id), 1.into()]).collect()).await?;
    engine.run(&turns::DROP_EXECUTIONS, ids.into_iter().map(Cell::from).collect()).await?;
    Ok(Err(refusal.clone()))
}

/// What is to be kept of one start, its events already bytes.
struct Start {
    receipt: Receipt,
    entry: Option<Entry>,
    gather: Option<Gather>,
}

fn starts(given: Vec<TriggerStart>, quota: u64) -> Result<Vec<Start>, StoreError> {
    given
        .into_iter()
        .map(|start| {
            let entry = start.submission.map(|submission| Entry::new(submission, quota)).transpose()?;
            Ok(Start { receipt: start.receipt, entry, gather: start.gather })
        })
        .collect()
}

/// What the transaction found; records are read into their type outside it.
enum Outcome {
    New,
    Duplicate(ReceiptRecord),
    Refused(Submitted),
}

impl Outcome {
    fn started(self) -> Result<TriggerStarted, StoreError> {
        Ok(match self {
            Self::New => TriggerStarted::New,
            Self::Duplicate(record) => TriggerStarted::Duplicate(Box::new(record.receipt()?)),
            Self::Refused(refusal) => TriggerStarted::Refused(refusal),
        })
    }
}

/// Says when the events that a trigger has gathered are due, one more of them having come.
macro_rules! gather_one {
    ($tx:ident, $receipt:ident, $gather:ident) => {{
        // The trigger's row first: whoever starts what was gathered holds it too.
        let held: Option<(Option<At>, Option<At>, i32)> = sqlx::query_as(HOLD_TRIGGER)
            .bind(*$receipt.tenant.as_uuid())
            .bind(*$receipt.trigger.as_uuid())
            .fetch_optional(&mut *$tx)
            .await?;
        if let Some((last, next, _)) = held {
            let count: i64 = sqlx::query_scalar(COUNT_GATHERED)
                .bind(*$receipt.trigger.as_uuid())
                .fetch_one(&mut *$tx)
                .await?;
            if matches!($gather, Gather::Debounce(_)) {
                sqlx::query(SUPERSEDE_GATHERED)
                    .bind(*$receipt.trigger.as_uuid())
                    .bind(*$receipt.id.as_uuid())
                    .execute(&mut *$tx)
                    .await?;
            }
            let since = next.and(last).map(|at| at.0);
            let (since, due) = $gather.came(since, count as u32, $receipt.received_at);
            sqlx::query(MOVE_TRIGGER)
                .bind(*$receipt.trigger.as_uuid())
                .bind(At(since))
                .bind(At(due))
                .execute(&mut *$tx)
                .await?;
        }
    }};
}

/// Keeps the receipt, then the execution; without the execution the receipt goes again.
macro_rules! start_one {
    ($tx:ident, $start:ident, $ledger:ident) => {{
        let Start { receipt, entry, gather } = $start;
        if let Some(key) = &receipt.key {
            sqlx::query(EXPIRE_KEY)
                .bind(*receipt.trigger.as_uuid())
                .bind(key)
                .bind(At(before(receipt.received_at, KEY_LIFE)))
                .execute(&mut *$tx)
                .await?;
        }
        let kept = sqlx::query(KEEP_RECEIPT)
            .bind(*receipt.id.as_uuid())
            .bind(*receipt.tenant.as_uuid())
            .bind(*receipt.trigger.as_uuid())
            .bind(receipt.key.as_deref())
            .bind(receipt.execution.map(|id| *id.as_uuid()))
            .bind(At(receipt.received_at))
            .bind(&receipt.outcome)
            .bind(receipt.error.as_deref().map(plain))
            .bind(receipt.event.as_ref().map(json_text))
            .bind(receipt.bytes.as_deref())
            .execute(&mut *$tx)
            .await?
            .rows_affected();
        if kept == 0 {
            let earlier: Option<ReceiptRecord> = sqlx::query_as(RECEIPT_BY_KEY)
                .bind(*receipt.trigger.as_uuid())
                .bind(receipt.key.as_deref().unwrap_or_default())
                .fetch_optional(&mut *$tx)
                .await?;
            // The same receipt once more, after an answer that was lost.
            earlier.map_or(Outcome::New, Outcome::Duplicate)
        } else {
            let entries: Vec<Entry> = entry.into_iter().collect();
            match accept(&mut *$tx, &entries, &$ledger).await? {
                Ok(()) => {
                    if let Some(gather) = gather {
                        gather_one!($tx, receipt, gather);
                    }
                    Outcome::New
                }
                Err(refusal) => {
                    sqlx::query(DROP_RECEIPT).bind(*receipt.id.as_uuid()).execute(&mut *$tx).await?;
                    Outcome::Refused(refusal)
                }
            }
        }
    }};
}

#[async_trait]
impl Triggers for SqlStore {
    async fn trigger_list(
        &self,
        tenant: TenantId,
        filter: TriggerFilter,
        page: Page,
    ) -> Result<Paged<TriggerRow>, StoreError> {
        let Ok(after) = rows::cursor::<TriggerId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<TriggerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TRIGGERS)
            .bind(*tenant.as_uuid())
            .bind(after.map(|id| *id.as_uuid()))
            .bind(filter.workflow.map(|id| *id.as_uuid()))
            .bind(filter.kind.as_deref())
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items = records.into_iter().map(TriggerRecord::row).collect();
        Ok(rows::paged(items, limit, |row| row.id.to_string()))
    }

    async fn trigger_get(&self, tenant: TenantId, id: TriggerId) -> Result<Option<TriggerRow>, StoreError> {
        let record: Option<TriggerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TRIGGER)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        Ok(record.map(TriggerRecord::row))
    }

    async fn triggers_active(&self, kind: &str) -> Result<Vec<TriggerRow>, StoreError> {
        let records: Vec<TriggerRecord> =
            on_pool!(self, |pool, sql| sqlx::query_as(TRIGGERS_ACTIVE).bind(kind).fetch_all(pool).await)?;
        Ok(records.into_iter().map(TriggerRecord::row).collect())
    }

    async fn trigger_at(&self, address: &[u8; 32]) -> Result<Option<TriggerRow>, StoreError> {
        let record: Option<TriggerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TRIGGER_AT)
            .bind(&address[..])
            .fetch_optional(pool)
            .await)?;
        Ok(record.map(TriggerRecord::row))
    }

    async fn trigger_pause(
        &self,
        tenant: TenantId,
        id: TriggerId,
        paused: bool,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let now = self.clock().await?;
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(PAUSE_TRIGGER)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(i32::from(paused))
                .bind(next.filter(|_| !paused).map(At))
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    }

    async fn trigger_address(
        &self,
        tenant: TenantId,
        id: TriggerId,
        address: [u8; 32],
    ) -> Result<bool, StoreError> {
        let now = self.clock().await?;
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(TRIGGER_ADDRESS)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(&address[..])
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    }

    async fn trigger_trouble(&self, id: TriggerId, trouble: Option<String>) -> Result<(), StoreError> {
        let now = self.clock().await?;
        in_transaction!(self, |tx, sql| {
            sqlx::query(TRIGGER_TROUBLE)
                .bind(*id.as_uuid())
                .bind(trouble.as_deref().map(plain))
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }

    async fn triggers_due(&self, until: Timestamp, limit: u32) -> Result<Vec<TriggerRow>, StoreError> {
        let records: Vec<TriggerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(TRIGGERS_DUE)
            .bind(At(until))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        Ok(records.into_iter().map(TriggerRecord::row).collect())
    }

    async fn schedule_step(&self, step: ScheduleStep, quota: u64) -> Result<StepKept, StoreError> {
        let ScheduleStep { tenant, trigger, cursor, fires, at } = step;
        let mut prepared = Vec::with_capacity(fires.len());
        for fire in fires {
            let execution = fire.submission.as_ref().map(|submission| submission.first.execution);
            let entry = fire.submission.map(|submission| Entry::new(submission, quota)).transpose()?;
            prepared.push((fire.at, fire.until, fire.reason, fire.pending, execution, entry));
        }
        let ledger = Arc::clone(&self.inner.ledger);
        in_transaction!(self, |tx, sql| {
            let held: Option<(Option<At>, Option<At>, i32)> = sqlx::query_as(HOLD_TRIGGER)
                .bind(*tenant.as_uuid())
                .bind(*trigger.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some((last, next, paused)) = held else { return Ok(StepKept::Superseded) };
            let (last, next) = (last.map(|at| at.0), next.map(|at| at.0));
            let backfill = match &cursor {
                Cursor::Schedule { seen_last, seen_next, .. } => {
                    if paused == 1 || *seen_last != last || *seen_next != next {
                        return Ok(StepKept::Superseded);
                    }
                    None
                }
                Cursor::Backfill { id, seen, .. } => {
                    let found: Option<Option<At>> = sqlx::query_scalar(HOLD_BACKFILL)
                        .bind(*tenant.as_uuid())
                        .bind(*id.as_uuid())
                        .fetch_optional(&mut *tx)
                        .await?;
                    if found.is_none_or(|cursor| cursor.map(|at| at.0) != *seen) {
                        return Ok(StepKept::Superseded);
                    }
                    Some(*id)
                }
            };
            sqlx::query(CLOSE_FIRES).bind(*trigger.as_uuid()).execute(&mut *tx).await?;
            let (mut entries, mut kept, mut rests, mut passed) = (Vec::new(), Vec::new(), Vec::new(), 0_i64);
            for (fire, until, reason, pending, execution, entry) in prepared {
                let before: Option<(String, Option<At>, String, At)> = sqlx::query_as(FIND_FIRE)
                    .bind(*trigger.as_uuid())
                    .bind(At(fire))
                    .fetch_optional(&mut *tx)
                    .await?;
                // What has started is not started again, and a backfill takes nothing that waits.
                let is_taken = match before.as_ref().map(|(outcome, ..)| outcome.as_str()) {
                    Some("started") => true,
                    Some("pending") => backfill.is_some(),
                    Some(_) => backfill.is_none() && entry.is_none(),
                    None => false,
                };
                if is_taken {
                    passed += 1;
                    continue;
                }
                // The record of a span goes on behind the fire that is taken out of it.
                if let Some((_, Some(last), why, seen)) = before
                    && until.is_none()
                    && last.0 > fire
                {
                    rests.push((behind(fire), last, why, seen));
                }
                entries.extend(entry);
                kept.push((fire, until, reason, pending, execution));
            }
            if let Err(refusal) = accept(&mut *tx, &entries, &ledger).await? {
                return Ok(StepKept::Refused(refusal));
            }
            for (first, last, reason, seen) in rests {
                sqlx::query(KEEP_FIRE)
                    .bind(*trigger.as_uuid())
                    .bind(At(first))
                    .bind(*tenant.as_uuid())
                    .bind(last)
                    .bind(FireOutcome::Skipped.as_str())
                    .bind(reason)
                    .bind(None::<Uuid>)
                    .bind(None::<Uuid>)
                    .bind(0)
                    .bind(seen)
                    .execute(&mut *tx)
                    .await?;
            }
            let mut started = Vec::new();
            for (fire, until, reason, pending, execution) in kept {
                let outcome = match (execution, pending) {
                    (Some(_), _) => FireOutcome::Started,
                    (None, true) => FireOutcome::Pending,
                    (None, false) => FireOutcome::Skipped,
                };
                sqlx::query(KEEP_FIRE)
                    .bind(*trigger.as_uuid())
                    .bind(At(fire))
                    .bind(*tenant.as_uuid())
                    .bind(until.map(At))
                    .bind(outcome.as_str())
                    .bind(plain(&reason))
                    .bind(execution.map(|id| *id.as_uuid()))
                    .bind(backfill.map(|id| *id.as_uuid()))
                    .bind(i32::from(execution.is_some()))
                    .bind(At(at))
                    .execute(&mut *tx)
                    .await?;
                match execution {
                    Some(execution) => started.push(execution),
                    None => passed += 1,
                }
            }
            match cursor {
                Cursor::Schedule { last, next, .. } => {
                    sqlx::query(MOVE_TRIGGER)
                        .bind(*trigger.as_uuid())
                        .bind(last.map(At))
                        .bind(next.map(At))
                        .execute(&mut *tx)
                        .await?;
                }
                Cursor::Backfill { id, cursor, is_done, .. } => {
                    let status = if is_done { BackfillStatus::Completed } else { BackfillStatus::Running };
                    sqlx::query(MOVE_BACKFILL)
                        .bind(*id.as_uuid())
                        .bind(cursor.map(At))
                        .bind(status.as_str())
                        .bind(started.len() as i64)
                        .bind(passed)
                        .bind(At(at))
                        .execute(&mut *tx)
                        .await?;
                }
            }
            Ok(StepKept::Kept { started })
        })
    }

    async fn trigger_open(&self, id: TriggerId) -> Result<Vec<ExecutionId>, StoreError> {
        let ids: Vec<Uuid> = on_pool!(self, |pool, sql| sqlx::query_scalar(TRIGGER_OPEN)
            .bind(*id.as_uuid())
            .fetch_all(pool)
            .await)?;
        Ok(ids.into_iter().map(ExecutionId::from_uuid).collect())
    }

    async fn backfill_open(&self, id: BackfillId) -> Result<u64, StoreError> {
        let open: i64 = on_pool!(self, |pool, sql| sqlx::query_scalar(BACKFILL_OPEN)
            .bind(*id.as_uuid())
            .fetch_one(pool)
            .await)?;
        Ok(open as u64)
    }

    async fn fires_pending(&self, id: TriggerId) -> Result<Vec<Timestamp>, StoreError> {
        let at: Vec<At> = on_pool!(self, |pool, sql| sqlx::query_scalar(FIRES_PENDING)
            .bind(*id.as_uuid())
            .fetch_all(pool)
            .await)?;
        Ok(at.into_iter().map(|at| at.0).collect())
    }

    async fn fire_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        page: Page,
    ) -> Result<Paged<FireRow>, StoreError> {
        let Ok(after) = rows::cursor::<Timestamp>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<FireRecord> = on_pool!(self, |pool, sql| sqlx::query_as(FIRES)
            .bind(*tenant.as_uuid())
            .bind(*trigger.as_uuid())
            .bind(after.map(At))
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items: Result<Vec<FireRow>, StoreError> = records.into_iter().map(FireRecord::row).collect();
        Ok(rows::paged(items?, limit, |row| row.at.to_string()))
    }

    async fn trigger_started_since(&self, id: TriggerId, since: Timestamp) -> Result<u64, StoreError> {
        let started: i64 = on_pool!(self, |pool, sql| sqlx::query_scalar(STARTED_SINCE)
            .bind(*id.as_uuid())
            .bind(At(since))
            .fetch_one(pool)
            .await)?;
        Ok(started as u64)
    }

    async fn trigger_start(
        &self,
        given: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<Vec<TriggerStarted>, StoreError> {
        let all = starts(given, quota)?;
        let ledger = Arc::clone(&self.inner.ledger);
        let outcomes: Vec<Outcome> = in_transaction!(self, |tx, sql| {
            let mut outcomes = Vec::with_capacity(all.len());
            for start in all {
                outcomes.push(start_one!(tx, start, ledger));
            }
            Ok(outcomes)
        })?;
        outcomes.into_iter().map(Outcome::started).collect()
    }

    async fn receipt_replay(
        &self,
        tenant: TenantId,
        id: ReceiptId,
        submission: Submission,
        quota: u64,
    ) -> Result<TriggerStarted, StoreError> {
        let execution = submission.first.execution;
        let entry = Entry::new(submission, quota)?;
        let ledger = Arc::clone(&self.inner.ledger);
        let found: Option<Outcome> = in_transaction!(self, |tx, sql| {
            let record: Option<ReceiptRecord> = sqlx::query_as(RECEIPT)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(record) = record else { return Ok(None) };
            let held = sqlx::query(HOLD_PARKED)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(*execution.as_uuid())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if held == 0 {
                return Ok(Some(Outcome::Duplicate(record)));
            }
            let entries = vec![entry];
            if let Err(refusal) = accept(&mut *tx, &entries, &ledger).await? {
                sqlx::query(PARK_AGAIN)
                    .bind(*id.as_uuid())
                    .bind(record.error)
                    .bind(record.event)
                    .bind(record.bytes)
                    .execute(&mut *tx)
                    .await?;
                return Ok(Some(Outcome::Refused(refusal)));
            }
            Ok(Some(Outcome::New))
        })?;
        found.map_or(Ok(TriggerStarted::Missing), Outcome::started)
    }

    async fn gathered(&self, id: TriggerId, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        let records: Vec<ReceiptRecord> = on_pool!(self, |pool, sql| sqlx::query_as(GATHERED)
            .bind(*id.as_uuid())
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(ReceiptRecord::receipt).collect()
    }

    async fn gathered_start(&self, step: GatheredStep, quota: u64) -> Result<StepKept, StoreError> {
        let GatheredStep { tenant, trigger, seen_last, seen_next, receipts, gather, start, at } = step;
        let (entry, why) = match start {
            Ok(submission) => (Some(Entry::new(*submission, quota)?), None),
            Err(why) => (None, Some(plain(&why))),
        };
        let ledger = Arc::clone(&self.inner.ledger);
        in_transaction!(self, |tx, sql| {
            let held: Option<(Option<At>, Option<At>, i32)> = sqlx::query_as(HOLD_TRIGGER)
                .bind(*tenant.as_uuid())
                .bind(*trigger.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let is_seen = held.is_some_and(|(last, next, paused)| {
                paused == 0 && last.map(|at| at.0) == seen_last && next.map(|at| at.0) == seen_next
            });
            if !is_seen {
                return Ok(StepKept::Superseded);
            }
            let entries: Vec<Entry> = entry.into_iter().collect();
            if let Err(refusal) = accept(&mut *tx, &entries, &ledger).await? {
                return Ok(StepKept::Refused(refusal));
            }
            let started: Vec<ExecutionId> =
                entries.iter().map(|entry| entry.submission.first.execution).collect();
            sqlx::query(sql::CLOSE_GATHERED)
                .bind(sql::ids(receipts.iter().map(|id| *id.as_uuid())))
                .bind(if started.is_empty() { "parked" } else { "started" })
                .bind(started.first().map(|id| *id.as_uuid()))
                .bind(why)
                .execute(&mut *tx)
                .await?;
            let left: i64 =
                sqlx::query_scalar(COUNT_GATHERED).bind(*trigger.as_uuid()).fetch_one(&mut *tx).await?;
            sqlx::query(MOVE_TRIGGER)
                .bind(*trigger.as_uuid())
                .bind(At(at))
                .bind(gather.left(left as u32, at).map(At))
                .execute(&mut *tx)
                .await?;
            Ok(StepKept::Kept { started })
        })
    }

    async fn receipt_get(&self, tenant: TenantId, id: ReceiptId) -> Result<Option<Receipt>, StoreError> {
        let record: Option<ReceiptRecord> = on_pool!(self, |pool, sql| sqlx::query_as(RECEIPT)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(ReceiptRecord::receipt).transpose()
    }

    async fn receipt_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        outcome: Option<String>,
        page: Page,
    ) -> Result<Paged<Receipt>, StoreError> {
        let Ok(after) = rows::cursor::<ReceiptId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<ReceiptRecord> = on_pool!(self, |pool, sql| sqlx::query_as(RECEIPTS)
            .bind(*tenant.as_uuid())
            .bind(*trigger.as_uuid())
            .bind(after.map(|id| *id.as_uuid()))
            .bind(outcome.as_deref())
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items: Result<Vec<Receipt>, StoreError> =
            records.into_iter().map(ReceiptRecord::receipt).collect();
        Ok(rows::paged(items?, limit, |row| row.id.to_string()))
    }

    async fn event_add(
        &self,
        event: StoredEvent,
        given: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<EventAdded, StoreError> {
        let all = starts(given, quota)?;
        let ledger = Arc::clone(&self.inner.ledger);
        let sequence = ReceiptId::generate();
        let outcomes: Option<Vec<Outcome>> = in_transaction!(self, |tx, sql| {
            let kept = sqlx::query(KEEP_EVENT)
                .bind(*sequence.as_uuid())
                .bind(*event.tenant.as_uuid())
                .bind(plain(&event.id))
                .bind(plain(&event.kind))
                .bind(plain(&event.source))
                .bind(event.key.as_deref().map(plain))
                .bind(At(event.time))
                .bind(json_text(&event.event))
                .bind(At(event.received_at))
                .bind(At(event.expires_at))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if kept == 0 {
                return Ok(None);
            }
            let mut outcomes = Vec::with_capacity(all.len());
            for start in all {
                outcomes.push(start_one!(tx, start, ledger));
            }
            // Sent again later it must not be known.
            if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(Submitted::QuotaFull { .. })))
            {
                sqlx::query(DROP_EVENT).bind(*sequence.as_uuid()).execute(&mut *tx).await?;
            }
            Ok(Some(outcomes))
        })?;
        match outcomes {
            None => Ok(EventAdded::Known),
            Some(outcomes) => {
                outcomes.into_iter().map(Outcome::started).collect::<Result<_, _>>().map(EventAdded::New)
            }
        }
    }

    async fn events_between(
        &self,
        tenant: TenantId,
        kind: &str,
        key: &str,
        from: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let records: Vec<EventRecord> = on_pool!(self, |pool, sql| sqlx::query_as(EVENTS_BETWEEN)
            .bind(*tenant.as_uuid())
            .bind(plain(kind))
            .bind(plain(key))
            .bind(At(from))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(EventRecord::event).collect()
    }

    async fn event_get(
        &self,
        tenant: TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let record: Option<EventRecord> = on_pool!(self, |pool, sql| sqlx::query_as(EVENT)
            .bind(*tenant.as_uuid())
            .bind(plain(source))
            .bind(plain(id))
            .fetch_optional(pool)
            .await)?;
        record.map(EventRecord::event).transpose()
    }

    async fn event_list(
        &self,
        tenant: TenantId,
        kind: Option<String>,
        page: Page,
    ) -> Result<Paged<StoredEvent>, StoreError> {
        let Ok(after) = rows::cursor::<ReceiptId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<EventRecord> = on_pool!(self, |pool, sql| sqlx::query_as(EVENTS)
            .bind(*tenant.as_uuid())
            .bind(after.map(|id| *id.as_uuid()))
            .bind(kind.as_deref())
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let found = rows::paged(records, limit, |record| ReceiptId::from_uuid(record.sequence).to_string());
        let items: Result<Vec<StoredEvent>, StoreError> =
            found.items.into_iter().map(EventRecord::event).collect();
        Ok(Paged { items: items?, next: found.next })
    }

    async fn backfill_create(&self, backfill: Backfill) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(ADD_BACKFILL)
                .bind(*backfill.id.as_uuid())
                .bind(*backfill.tenant.as_uuid())
                .bind(*backfill.trigger.as_uuid())
                .bind(At(backfill.from))
                .bind(At(backfill.to))
                .bind(i32::from(backfill.newest_first))
                .bind(i32::try_from(backfill.parallel).unwrap_or(i32::MAX))
                .bind(plain(&backfill.reason))
                .bind(backfill.status.as_str())
                .bind(backfill.cursor.map(At))
                .bind(backfill.total as i64)
                .bind(backfill.started as i64)
                .bind(backfill.skipped as i64)
                .bind(&backfill.created_by)
                .bind(At(backfill.created_at))
                .bind(At(backfill.updated_at))
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }

    async fn backfill_get(&self, tenant: TenantId, id: BackfillId) -> Result<Option<Backfill>, StoreError> {
        let record: Option<BackfillRecord> = on_pool!(self, |pool, sql| sqlx::query_as(BACKFILL)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(BackfillRecord::backfill).transpose()
    }

    async fn backfill_list(&self, tenant: TenantId, page: Page) -> Result<Paged<Backfill>, StoreError> {
        let Ok(after) = rows::cursor::<BackfillId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<BackfillRecord> = on_pool!(self, |pool, sql| sqlx::query_as(BACKFILLS)
            .bind(*tenant.as_uuid())
            .bind(after.map(|id| *id.as_uuid()))
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items: Result<Vec<Backfill>, StoreError> =
            records.into_iter().map(BackfillRecord::backfill).collect();
        Ok(rows::paged(items?, limit, |row| row.id.to_string()))
    }

    async fn backfills_running(&self) -> Result<Vec<Backfill>, StoreError> {
        let records: Vec<BackfillRecord> =
            on_pool!(self, |pool, sql| sqlx::query_as(BACKFILLS_RUNNING).fetch_all(pool).await)?;
        records.into_iter().map(BackfillRecord::backfill).collect()
    }

    async fn backfill_move(
        &self,
        tenant: TenantId,
        id: BackfillId,
        to: BackfillStatus,
    ) -> Result<Option<Backfill>, StoreError> {
        let now = self.clock().await?;
        let record: Option<BackfillRecord> = in_transaction!(self, |tx, sql| {
            sqlx::query(BACKFILL_STATUS)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(to.as_str())
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            sqlx::query_as(BACKFILL)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .fetch_optional(&mut *tx)
                .await
        })?;
        record.map(BackfillRecord::backfill).transpose()
    }

    async fn triggers_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError> {
        let now = self.clock().await?;
        in_transaction!(self, |tx, sql| {
            let mut more = false;
            for (text, at) in [(FORGET_RECEIPTS, before), (FORGET_FIRES, before), (FORGET_EVENTS, now)] {
                let gone = sqlx::query(text).bind(At(at)).bind(i64::from(limit)).execute(&mut *tx).await?;
                more |= gone.rows_affected() >= u64::from(limit);
            }
            Ok(more)
        })
    }
}
