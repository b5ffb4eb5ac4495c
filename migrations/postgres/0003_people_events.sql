-- What people are asked, events that are waited for, and what signed links need.

-- The inbox: a projection of the journal, written in the same transactions. `ask` and `answers` are MessagePack with
-- named fields.
create table wo_human_tasks (
    id uuid not null,
    tenant_id uuid not null,
    execution_id uuid not null,
    task text not null,
    workflow_id uuid not null,
    workflow_name text not null,
    requester text not null,
    kind text not null,
    urgency integer not null,
    status text not null,
    assignees text not null,
    claimed_by text,
    created_at timestamptz not null,
    reminded_at timestamptz,
    ended_at timestamptz,
    ask bytea not null,
    answers bytea not null,
    primary key (id)
);

-- Whom each is with, one row a name, so that an inbox is found by its names.
create table wo_human_task_assignees (
    task_id uuid not null,
    assignee text not null,
    tenant_id uuid not null,
    execution_id uuid not null,
    is_open integer not null,
    primary key (task_id, assignee)
);

-- Who waits for which event. `lookup` is made of type and key, which may be long.
create table wo_event_waits (
    execution_id uuid not null,
    task text not null,
    tenant_id uuid not null,
    lookup uuid not null,
    event text not null,
    key text not null,
    early timestamptz not null,
    primary key (execution_id, task)
);

-- Secrets of this installation that its processes share; made by whoever is first.
create table wo_keys (
    name text not null,
    bytes bytea not null,
    primary key (name)
);

-- What may be used once and was.
create table wo_nonces (
    nonce uuid not null,
    expires_at timestamptz not null,
    primary key (nonce)
);

-- The inbox of a tenant: the most urgent first, then the oldest.
create index wo_human_tasks_open on wo_human_tasks (tenant_id, urgency, created_at, id) where status = 'open';
-- All of a tenant, newest first.
create index wo_human_tasks_newest on wo_human_tasks (tenant_id, created_at, id);
-- Those of an execution.
create index wo_human_tasks_execution on wo_human_tasks (execution_id);
-- Those of a name.
create index wo_human_task_assignees_name on wo_human_task_assignees (tenant_id, assignee, is_open);
-- What an execution's end takes out of inboxes.
create index wo_human_task_assignees_open on wo_human_task_assignees (execution_id) where is_open = 1;
-- Whom an event is for.
create index wo_event_waits_lookup on wo_event_waits (tenant_id, lookup);
-- Nonces to forget.
create index wo_nonces_expiry on wo_nonces (expires_at);
