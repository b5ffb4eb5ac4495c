-- Places under concurrency keys: for tasks as well as executions, and a line for each key.

-- Who holds a key. The task is empty when the execution as a whole does. `places` is how many may hold the key, `grp`
-- with which others it takes turns, `rank` in which round it was served.
alter table wo_slots rename to wo_slots_before;
create table wo_slots (
    key text not null,
    execution_id blob not null,
    taken_at integer not null,
    task text not null default '',
    places integer not null default 1,
    grp text,
    rank integer not null default 0,
    primary key (key, execution_id, task)
);
insert into wo_slots (key, execution_id, taken_at)
select key, execution_id, taken_at
from wo_slots_before;
drop table wo_slots_before;
-- What an execution gives back at its end.
create index wo_slots_execution on wo_slots (execution_id);

-- Who waits for a place: the lowest rank first, and among equals who came first.
create table wo_slot_waits (
    key text not null,
    execution_id blob not null,
    task text not null,
    since integer not null,
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
