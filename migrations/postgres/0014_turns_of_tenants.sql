-- Tenants take turns in the line for `max_concurrent_executions`, by weight.

-- `turn` is when the next turn of a tenant is, the lowest first; `step` lies between one turn of it and the next, and
-- `served` is the last one that it had.
create table wo_slot_turns (
    key text not null,
    grp text not null,
    turn bigint not null,
    step bigint not null,
    served bigint not null,
    primary key (key, grp)
);

-- Who is next of a tenant.
create index wo_slot_waits_group on wo_slot_waits (key, grp, rank, since, execution_id, task);

-- Whoever waits already begins beside the others.
update wo_slot_waits
set grp = (select replace(e.tenant_id::text, '-', '') from wo_executions as e where e.id = wo_slot_waits.execution_id)
where key = 'executions';
insert into wo_slot_turns (key, grp, turn, step, served)
select distinct key, grp, 0, 1000000, 0
from wo_slot_waits
where key = 'executions' and grp is not null;
