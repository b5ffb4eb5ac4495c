-- Since when something is wrong with a trigger.
alter table wo_triggers add column trouble_since integer;
