-- What has ended is found by how it ended, and goes when its time is over.

-- What one process at a time does: who, until when, and a note for whoever does it next.
create table wo_chores (
    name text not null,
    holder blob not null,
    held_until integer not null,
    note text not null,
    primary key (name)
);

-- Ended executions by how they ended: lists, and what is to go.
create index wo_executions_ended on wo_executions (tenant_id, status, id)
where status in ('completed', 'failed', 'cancelled');
drop index wo_executions_failed;
-- What goes with an execution.
create index wo_idempotency_execution on wo_idempotency (execution_id);
create index wo_dead_letters_execution on wo_dead_letters (execution_id) where execution_id is not null;
-- The few of a workflow that did not complete.
create index wo_executions_workflow_ended on wo_executions (tenant_id, workflow_id, status, id)
where status in ('failed', 'cancelled');

-- One row a tag of an execution, so that a tag is found among a million. Kept by the database itself, since tags never
-- change; longer ones, which an index may refuse, are looked for in the executions.
create table wo_execution_tags (
    tenant_id blob not null,
    tag text not null,
    execution_id blob not null,
    primary key (tenant_id, tag, execution_id)
);
create trigger wo_executions_tagged after insert on wo_executions when new.tags <> '[]'
begin
    insert into wo_execution_tags (tenant_id, tag, execution_id)
    select distinct new.tenant_id, t.value, new.id from json_each(new.tags) as t where length(t.value) <= 200;
end;
create trigger wo_executions_untagged after delete on wo_executions when old.tags <> '[]'
begin
    delete from wo_execution_tags
    where tenant_id = old.tenant_id and execution_id = old.id and tag in (select value from json_each(old.tags));
end;
insert into wo_execution_tags (tenant_id, tag, execution_id)
select distinct e.tenant_id, t.value, e.id from wo_executions as e, json_each(e.tags) as t
where e.tags <> '[]' and length(t.value) <= 200;
