-- Rate limits: what is known of each key, and the permits of tasks that have not gone on yet. Events that are gathered.

-- `next_at` is the theoretical arrival time of the next permit, `asked_at` when the limit that holds was last asked for.
create table wo_rates (
    tenant_id blob not null,
    key text not null,
    next_at integer not null,
    permits integer not null,
    per_micros integer not null,
    burst integer not null,
    asked_at integer not null,
    primary key (tenant_id, key)
);
create index wo_rates_next on wo_rates (next_at);

create table wo_permits (
    execution_id blob not null,
    task text not null,
    tenant_id blob not null,
    at integer not null,
    primary key (execution_id, task)
);

-- Events that wait to start one execution together.
create index wo_trigger_receipts_gathered on wo_trigger_receipts (trigger_id, received_at, id)
where outcome = 'gathered';
