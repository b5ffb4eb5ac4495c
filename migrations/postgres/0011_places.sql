-- Places under concurrency keys: for tasks as well as executions, and a line for each key.

-- The task that holds it; empty when the execution as a whole does. `places` is how many may hold the key, `grp` with
-- which others it takes turns, `rank` in which round it was served.
alter table wo_slots add column task text not null default '';
alter table wo_slots add column places integer not null default 1;
alter table wo_slots add column grp text;
alter table wo_slots add column rank integer not null default 0;
alter table wo_slots drop constraint wo_slots_pkey;
alter table wo_slots add primary key (key, execution_id, task);

-- Who waits for a place: the lowest rank first, and among equals who came first.
create table wo_slot_waits (
    key text not null,
    execution_id uuid not null,
    task text not null,
    since timestamptz not null,
    places integer not null,
    grp text,
    rank integer not null,
    primary key (key, execution_id, task)
);

-- Who is next.
create index wo_slot_waits_line on wo_slot_waits (key, rank, since, execution_id, task);
-- What an execution waits for.
create index wo_slot_waits_execution on wo_slot_waits (execution_id);

-- Whoever waited is swept at once, and comes into its line.
update wo_executions
set blocked_by = null, sweep_at = created_at
where blocked_by is not null and status = 'pending';

drop index wo_executions_blocked;
-- `wo_executions.blocked_at` is read by nobody any more. It goes in a later release, since processes of the one before write
-- it while a cluster is upgraded.
