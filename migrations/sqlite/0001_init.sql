-- The first schema: executions with their journal, and all that stands beside it.

-- Instants are whole microseconds since 1970 UTC: 8 bytes that need no parsing. Ids are 16-byte blobs.

-- Where each execution stands: a projection of its journal, written in the same transactions.
create table wo_executions (
    id blob not null,
    tenant_id blob not null,
    shard integer not null,
    workflow_id blob not null,
    workflow_name text not null,
    version integer not null,
    status text not null,
    priority integer not null,
    tags text not null,
    principal text not null,
    created_at integer not null,
    started_at integer,
    finished_at integer,
    blocked_by text,
    blocked_at integer,
    failure blob,
    output blob,
    sweep_at integer,
    sweep_seconds integer not null,
    primary key (id)
);

-- The truth: turns, whole, in order. `events` is MessagePack with named fields.
create table wo_journal (
    execution_id blob not null,
    seq integer not null,
    cause blob not null,
    at integer not null,
    events blob not null,
    primary key (execution_id, seq)
);

-- Finished attempts, for history and statistics.
create table wo_tasks (
    execution_id blob not null,
    task text not null,
    attempt integer not null,
    tenant_id blob not null,
    workflow_id blob not null,
    kind text not null,
    status text not null,
    failure_class text,
    worker_id blob,
    started_at integer not null,
    finished_at integer not null,
    primary key (execution_id, task, attempt)
);

-- Timers and leases of open executions; `token` is the holder of a lease.
create table wo_timers (
    execution_id blob not null,
    key text not null,
    shard integer not null,
    due_at integer not null,
    token blob,
    primary key (execution_id, key)
);

-- Who holds a concurrency key: a row with an owner, never a counter.
create table wo_slots (
    key text not null,
    execution_id blob not null,
    taken_at integer not null,
    primary key (key, execution_id)
);

-- What the API accepted for an execution under way and no turn has answered yet.
create table wo_requests (
    id blob not null,
    tenant_id blob not null,
    execution_id blob not null,
    shard integer not null,
    at integer not null,
    body blob not null,
    primary key (id)
);

-- Workflows, each with its newest version.
create table wo_workflows (
    id blob not null,
    tenant_id blob not null,
    name text not null,
    description text not null,
    category text not null,
    tags text not null,
    status text not null,
    version integer not null,
    hash text not null,
    document text not null,
    created_by text not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (id)
);

-- Every version of every workflow as its author wrote it.
create table wo_workflow_versions (
    workflow_id blob not null,
    version integer not null,
    tenant_id blob not null,
    hash text not null,
    document text not null,
    created_by text not null,
    created_at integer not null,
    primary key (workflow_id, version)
);

-- The canonical text of each version, once a hash.
create table wo_snapshots (
    hash text not null,
    snapshot text not null,
    primary key (hash)
);

-- Keys under which a submission answers with the same execution again, for 24 hours.
create table wo_idempotency (
    tenant_id blob not null,
    key text not null,
    hash text not null,
    execution_id blob not null,
    expires_at integer not null,
    primary key (tenant_id, key)
);

-- Live coordinators: they share the shards.
create table wo_coordinators (
    id blob not null,
    host text not null,
    seen_at integer not null,
    primary key (id)
);

-- Live workers and what they said last, as MessagePack.
create table wo_workers (
    id blob not null,
    seen_at integer not null,
    record blob not null,
    primary key (id)
);

-- Values too large to travel.
create table wo_payloads (
    execution_id blob not null,
    id blob not null,
    tenant_id blob not null,
    bytes blob not null,
    primary key (execution_id, id)
);

-- Results that came too late to count; `id` is in order of arrival.
create table wo_late_results (
    id blob not null,
    execution_id blob not null,
    record blob not null,
    primary key (id)
);

-- Messages nobody could use.
create table wo_dead_letters (
    id blob not null,
    queue text not null,
    reason text not null,
    at integer not null,
    execution_id blob,
    message_id blob,
    headers text not null,
    bytes blob not null,
    primary key (id)
);

-- The open executions of a tenant: quota and lists.
create index wo_executions_open on wo_executions (tenant_id, id) where status in ('pending', 'running', 'paused');
-- What the sweep looks at next.
create index wo_executions_sweep on wo_executions (sweep_at) where sweep_at is not null;
-- Who waits for a slot.
create index wo_executions_blocked on wo_executions (blocked_by, priority, blocked_at) where blocked_by is not null;
-- What went wrong lately.
create index wo_executions_failed on wo_executions (tenant_id, id) where status = 'failed';
-- The executions of a workflow.
create index wo_executions_workflow on wo_executions (tenant_id, workflow_id, id);
-- Due timers, the longest overdue first.
create index wo_timers_due on wo_timers (due_at, shard);
-- What an execution gives back at its end.
create index wo_slots_execution on wo_slots (execution_id);
-- Requests whose hint was lost.
create index wo_requests_at on wo_requests (at);
-- One active workflow a name.
create unique index wo_workflows_name on wo_workflows (tenant_id, name) where status = 'active';
-- Late results of an execution.
create index wo_late_results_execution on wo_late_results (execution_id, id);
-- Keys to forget.
create index wo_idempotency_expiry on wo_idempotency (expires_at);
