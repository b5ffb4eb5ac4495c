-- Results of components that other executions of their workflow use again.

-- `hash` stands for what the component is and for its key; `output` is the JSON text itself, so that a row stands when its
-- execution is forgotten. Read by key; removed when it has expired.
create table wo_cache (
    tenant_id uuid not null,
    workflow_id uuid not null,
    component text not null,
    hash text not null,
    execution_id uuid not null,
    at timestamptz not null,
    expires_at timestamptz not null,
    ports text not null,
    output bytea not null,
    primary key (tenant_id, workflow_id, component, hash)
);
create index wo_cache_expires on wo_cache (expires_at);
