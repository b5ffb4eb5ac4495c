-- What people are told, and which questions were sent to them by mail.

-- The id is made of the task's idempotency key and the recipient: told again, it is the same row.
create table wo_notifications (
    id uuid not null,
    tenant_id uuid not null,
    execution_id uuid not null,
    recipient text not null,
    subject text not null,
    text text not null,
    severity text not null,
    created_at timestamptz not null,
    read_at timestamptz,
    primary key (id)
);

-- The asking (when it was made, or the last reminder) that mails were sent for.
alter table wo_human_tasks add column mailed_for timestamptz;
-- Since when a process is sending them.
alter table wo_human_tasks add column mail_claimed_at timestamptz;

-- Those of a name, newest first.
create index wo_notifications_recipient on wo_notifications (tenant_id, recipient, created_at, id);
-- Questions whose mails were not sent.
create index wo_human_tasks_unmailed on wo_human_tasks (created_at, id)
where status = 'open' and (mailed_for is null or mailed_for < coalesce(reminded_at, created_at));
