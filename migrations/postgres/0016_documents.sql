-- What people draw together: a document of each workflow, as updates that are passed on and kept.

-- `line` names the beginning that its updates go back to; `snapshot` holds all of them up to `snapshot_number`.
create table wo_documents (
    workflow_id uuid not null,
    tenant_id uuid not null,
    line bigint not null,
    last_number bigint not null,
    snapshot_number bigint not null,
    snapshot bytea,
    updated_at timestamptz not null,
    primary key (workflow_id)
);

-- Numbered without gaps: the number is drawn with the row of the document locked.
create table wo_document_updates (
    workflow_id uuid not null,
    number bigint not null,
    author text not null,
    at timestamptz not null,
    body bytea not null,
    primary key (workflow_id, number)
);
