-- Whoever a question is given to is mailed at once, and nobody twice in one round; notifications are kept for a time.

-- When it was last given to other people.
alter table wo_human_tasks add column handed_at timestamptz;
-- Those who were mailed since everybody was asked.
alter table wo_human_tasks add column mailed_to text;

drop index wo_human_tasks_unmailed;
-- Questions whose mails were not sent.
create index wo_human_tasks_unmailed on wo_human_tasks (created_at, id)
where status = 'open' and (mailed_for is null or mailed_for < coalesce(reminded_at, created_at) or mailed_for < handed_at);
-- Notifications to forget.
create index wo_notifications_created on wo_notifications (created_at, id);
