-- What people draw together: a document of each workflow, as updates that are passed on and kept.

-- `line` names the beginning that its updates go back to; `snapshot` holds all of them up to `snapshot_number`.
create table wo_documents (
    workflow_id blob not null,
    tenant_id blob not null,
    line integer not null,
    last_number integer not null,
    snapshot_number integer not null,
    snapshot blob,
    updated_at integer not null,
    primary key (workflow_id)
);

-- Numbered without gaps: the number is drawn with the row of the document locked.
create table wo_document_updates (
    workflow_id blob not null,
    number integer not null,
    author text not null,
    at integer not null,
    body blob not null,
    primary key (workflow_id, number)
);
