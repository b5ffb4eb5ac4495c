-- What people work on before they publish it.

-- At most one draft a workflow; its text need not be free of mistakes.
create table wo_workflow_drafts (
    workflow_id uuid not null,
    tenant_id uuid not null,
    revision integer not null,
    base_version integer not null,
    document text not null,
    updated_by text not null,
    updated_at timestamptz not null,
    primary key (workflow_id)
);
