//! The step cache: results that other executions of a workflow use again.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use shared::{
    ids::{ComponentId, ExecutionId, TenantId, WorkflowId},
    port::{
        cache::{CacheEntry, CacheKey, CachedResult, StepCache},
        store::{Commit, StoreError},
    },
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{At, Batch, Cell, Engine, Kind},
    rows,
    sql_store::{in_transaction, on_pool},
};

pub(crate) static FIND_CACHED: Batch = Batch::new(
    "\
with t (tenant_id, workflow_id, component, hash) as ({rows})
select c.component, c.hash, c.execution_id, c.at, c.expires_at, c.ports, c.output
from t
join wo_cache as c on c.tenant_id = t.tenant_id and c.workflow_id = t.workflow_id and c.component = t.component
    and c.hash = t.hash",
    &[Kind::Uuid, Kind::Uuid, Kind::Text, Kind::Text],
);

pub(crate) static KEEP_CACHED: Batch = Batch::new(
    "\
with t (tenant_id, workflow_id, component, hash, execution_id, at, expires_at, ports, output) as ({rows})
insert into wo_cache (tenant_id, workflow_id, component, hash, execution_id, at, expires_at, ports, output)
select t.tenant_id, t.workflow_id, t.component, t.hash, t.execution_id, t.at, t.expires_at, t.ports, t.output
from t
where t.tenant_id is not null
on conflict (tenant_id, workflow_id, component, hash) do update
set execution_id = excluded.execution_id, at = excluded.at, expires_at = excluded.expires_at,
    ports = excluded.ports, output = excluded.output",
    &[
        Kind::Uuid,
        Kind::Uuid,
        Kind::Text,
        Kind::Text,
        Kind::Uuid,
        Kind::At,
        Kind::At,
        Kind::Text,
        Kind::Bytes,
    ],
);

pub(crate) const BATCHES: &[&Batch] = &[&FIND_CACHED, &KEEP_CACHED];

const CLEAR_CACHE: &str = "\
delete from wo_cache
where tenant_id = $1 and workflow_id = $2 and ($3 is null or component = $3)";

/// What nobody uses any more, over all tenants.
pub(crate) const FORGET_CACHED: &str = "\
delete from wo_cache
where expires_at <= $1";

pub(crate) const STATEMENTS: &[&str] = &[CLEAR_CACHE, FORGET_CACHED];

#[derive(Debug, FromRow)]
struct CacheRecord {
    component: String,
    hash: String,
    execution_id: Uuid,
    at: At,
    expires_at: At,
    ports: String,
    output: Vec<u8>,
}

/// The results that turns of one transaction keep, each key once: the last one counts.
#[derive(Default)]
pub(crate) struct Kept<'a>(BTreeMap<(Uuid, Uuid, &'a CacheKey), &'a CachedResult>);

impl<'a> Kept<'a> {
    pub(crate) fn add(&mut self, commit: &'a Commit) {
        let (tenant, workflow) = (*commit.tenant.as_uuid(), *commit.workflow.as_uuid());
        for CacheEntry { key, result } in &commit.cache {
            self.0.insert((tenant, workflow, key), result);
        }
    }

    pub(crate) async fn write(self, engine: &mut impl Engine) -> Result<(), sqlx::Error> {
        let mut cells = Vec::with_capacity(self.0.len() * 9);
        // In the order of keys, so that two transactions never wait for each other.
        for ((tenant, workflow, key), result) in self.0 {
            cells.extend([
                Cell::from(tenant),
                workflow.into(),
                key.component.as_str().to_owned().into(),
                key.hash.clone().into(),
                (*result.execution.as_uuid()).into(),
                result.at.into(),
                result.expires_at.into(),
                rows::tags_text(&result.ports).into(),
                result.output.clone().into(),
            ]);
        }
        engine.run(&KEEP_CACHED, cells).await.map(|_| ())
    }
}

#[async_trait]
impl StepCache for SqlStore {
    async fn cache_find(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        keys: &[CacheKey],
    ) -> Result<Vec<Option<CachedResult>>, StoreError> {
        let mut cells = Vec::with_capacity(keys.len() * 4);
        for key in keys {
            cells.extend([
                Cell::from(*tenant.as_uuid()),
                (*workflow.as_uuid()).into(),
                key.component.as_str().to_owned().into(),
                key.hash.clone().into(),
            ]);
        }
        let records: Vec<CacheRecord> = on_pool!(self, |pool, sql| match pool.acquire().await {
            Ok(mut connection) => connection.fetch(&FIND_CACHED, cells).await,
            Err(error) => Err(error),
        })?;
        let mut found = HashMap::with_capacity(records.len());
        for record in records {
            let key = CacheKey { component: ComponentId::new(&record.component), hash: record.hash };
            let result = CachedResult {
                output: record.output,
                ports: rows::tags(&record.ports)?,
                execution: ExecutionId::from_uuid(record.execution_id),
                at: record.at.0,
                expires_at: record.expires_at.0,
            };
            found.insert(key, result);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn cache_clear(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        component: Option<&ComponentId>,
    ) -> Result<u64, StoreError> {
        let component = component.map(|component| component.as_str().to_owned());
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(CLEAR_CACHE)
                .bind(*tenant.as_uuid())
                .bind(*workflow.as_uuid())
                .bind(component)
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected())
        })
    }
}
