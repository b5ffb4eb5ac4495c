-- Triggers: what starts workflows by itself, what came in through it, and what it started.

-- The triggers of each workflow's newest version; `address_hash` is of the id in a webhook's address.
create table wo_triggers (
    id blob not null,
    tenant_id blob not null,
    workflow_id blob not null,
    version integer not null,
    name text not null,
    kind text not null,
    hash text not null,
    enabled integer not null,
    paused integer not null,
    trouble text,
    last_fire_at integer,
    next_fire_at integer,
    address_hash blob,
    updated_at integer not null,
    primary key (id)
);

-- What came in through a trigger, kept before it is answered. `event` and `bytes` only of what is parked.
create table wo_trigger_receipts (
    id blob not null,
    tenant_id blob not null,
    trigger_id blob not null,
    dedupe_key text,
    execution_id blob,
    received_at integer not null,
    outcome text not null,
    error text,
    event text,
    bytes blob,
    primary key (id)
);

-- The fires of schedules: one start for a trigger and instant. `is_open` until the execution is known to have ended.
create table wo_schedule_fires (
    trigger_id blob not null,
    fire_at integer not null,
    tenant_id blob not null,
    until_at integer,
    outcome text not null,
    reason text not null,
    execution_id blob,
    backfill_id blob,
    is_open integer not null,
    recorded_at integer not null,
    primary key (trigger_id, fire_at)
);

-- Fires of the past that are carried out.
create table wo_backfills (
    id blob not null,
    tenant_id blob not null,
    trigger_id blob not null,
    from_at integer not null,
    to_at integer not null,
    newest_first integer not null,
    parallel integer not null,
    reason text not null,
    status text not null,
    cursor_at integer,
    total integer not null,
    started integer not null,
    skipped integer not null,
    created_by text not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (id)
);

-- Published events. `sequence` is in order of arrival, `correlation` says who may wait for it.
create table wo_events (
    sequence blob not null,
    tenant_id blob not null,
    id text not null,
    kind text not null,
    source text not null,
    correlation text,
    time integer not null,
    event text not null,
    received_at integer not null,
    expires_at integer not null,
    primary key (sequence)
);

-- What is due next.
create index wo_triggers_due on wo_triggers (next_fire_at) where next_fire_at is not null;
-- The triggers of a workflow.
create index wo_triggers_workflow on wo_triggers (workflow_id);
-- The triggers of a type, for what listens.
create index wo_triggers_kind on wo_triggers (kind);
-- Where a webhook's call goes.
create unique index wo_triggers_address on wo_triggers (address_hash) where address_hash is not null;
-- One start a key.
create unique index wo_trigger_receipts_key on wo_trigger_receipts (trigger_id, dedupe_key) where dedupe_key is not null;
-- The receipts of a trigger, and how many there were lately.
create index wo_trigger_receipts_trigger on wo_trigger_receipts (trigger_id, received_at);
-- Receipts to forget.
create index wo_trigger_receipts_received on wo_trigger_receipts (received_at);
-- What may still run.
create index wo_schedule_fires_open on wo_schedule_fires (trigger_id) where is_open = 1;
-- What a backfill started and may still run.
create index wo_schedule_fires_backfill on wo_schedule_fires (backfill_id) where is_open = 1 and backfill_id is not null;
-- Fires that wait.
create index wo_schedule_fires_pending on wo_schedule_fires (trigger_id, fire_at) where outcome = 'pending';
-- Fires to forget.
create index wo_schedule_fires_recorded on wo_schedule_fires (recorded_at);
-- Backfills that go on.
create index wo_backfills_running on wo_backfills (id) where status = 'running';
-- An event once.
create unique index wo_events_id on wo_events (tenant_id, source, id);
-- Who waits for an event.
create index wo_events_correlation on wo_events (tenant_id, kind, correlation, received_at);
-- Events to forget.
create index wo_events_expiry on wo_events (expires_at);
