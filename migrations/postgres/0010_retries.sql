-- Executions that do others again.

-- The execution that it does again.
alter table wo_executions add column retry_of uuid;

-- Those that do an execution again.
create index wo_executions_retry_of on wo_executions (retry_of) where retry_of is not null;
