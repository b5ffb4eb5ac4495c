//! Published versions, and drafts.

use async_trait::async_trait;
use shared::{
    ids::{TenantId, WorkflowId},
    port::{
        store::{Page, Paged, StoreError},
        versions::{DraftChange, DraftKept, DraftRow, VersionRow, Versions},
    },
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
    rows,
    sql_store::{in_transaction, on_pool},
};

const LIST: &str = "\
select workflow_id, version, hash, document, created_by, created_at
from wo_workflow_versions
where tenant_id = $1 and workflow_id = $2 and ($3 is null or version < $3)
order by version desc limit $4";

const GET: &str = "\
select workflow_id, version, hash, document, created_by, created_at
from wo_workflow_versions
where tenant_id = $1 and workflow_id = $2 and version = $3";

/// The newest version; takes the row for itself, so that publishing waits or is seen.
pub(crate) const NEWEST: &str = "\
update wo_workflows
set updated_at = updated_at
where tenant_id = $1 and id = $2 and status = 'active'
returning version";

const PUT_DRAFT: &str = "\
insert into wo_workflow_drafts (workflow_id, tenant_id, revision, base_version, document, updated_by, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (workflow_id) do update set
    revision = excluded.revision,
    base_version = excluded.base_version,
    document = excluded.document,
    updated_by = excluded.updated_by,
    updated_at = excluded.updated_at";

const DRAFT: &str = "\
select workflow_id, revision, base_version, document, updated_by, updated_at
from wo_workflow_drafts
where tenant_id = $1 and workflow_id = $2";

const DROP_DRAFT: &str = "\
delete from wo_workflow_drafts
where tenant_id = $1 and workflow_id = $2";

/// The draft that was published goes, unless it was changed meanwhile.
pub(crate) const PUBLISHED: &str = "\
delete from wo_workflow_drafts
where workflow_id = $1 and revision = $2";

/// What it was changed to follows the version just published.
pub(crate) const REBASE_DRAFT: &str = "\
update wo_workflow_drafts
set base_version = $2
where workflow_id = $1";

pub(crate) const STATEMENTS: &[&str] =
    &[LIST, GET, NEWEST, PUT_DRAFT, DRAFT, DROP_DRAFT, PUBLISHED, REBASE_DRAFT];

#[derive(Debug, FromRow)]
struct VersionRecord {
    workflow_id: Uuid,
    version: i32,
    hash: String,
    document: String,
    created_by: String,
    created_at: At,
}

impl VersionRecord {
    fn row(self) -> VersionRow {
        VersionRow {
            workflow: WorkflowId::from_uuid(self.workflow_id),
            version: self.version as u32,
            hash: self.hash,
            document: self.document,
            created_by: self.created_by,
            created_at: self.created_at.0,
        }
    }
}

#[derive(Debug, FromRow)]
struct DraftRecord {
    workflow_id: Uuid,
    revision: i32,
    base_version: i32,
    document: String,
    updated_by: String,
    updated_at: At,
}

impl DraftRecord {
    fn row(self) -> DraftRow {
        DraftRow {
            workflow: WorkflowId::from_uuid(self.workflow_id),
            revision: self.revision as u32,
            base: self.base_version as u32,
            document: self.document,
            updated_by: self.updated_by,
            updated_at: self.updated_at.0,
        }
    }
}

#[async_trait]
impl Versions for SqlStore {
    async fn version_list(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        page: Page,
    ) -> Result<Paged<VersionRow>, StoreError> {
        let Ok(before) = rows::cursor::<i32>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let records: Vec<VersionRecord> = on_pool!(self, |pool, sql| sqlx::query_as(LIST)
            .bind(*tenant.as_uuid())
            .bind(*workflow.as_uuid())
            .bind(before)
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items = records.into_iter().map(VersionRecord::row).collect();
        Ok(rows::paged(items, limit, |row| row.version.to_string()))
    }

    async fn version_get(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRow>, StoreError> {
        let record: Option<VersionRecord> = on_pool!(self, |pool, sql| sqlx::query_as(GET)
            .bind(*tenant.as_uuid())
            .bind(*workflow.as_uuid())
            .bind(i32::try_from(version).unwrap_or(i32::MAX))
            .fetch_optional(pool)
            .await)?;
        Ok(record.map(VersionRecord::row))
    }

    async fn draft_put(&self, change: DraftChange) -> Result<DraftKept, StoreError> {
        in_transaction!(self, |tx, sql| {
            let newest: Option<i32> = sqlx::query_scalar(NEWEST)
                .bind(*change.tenant.as_uuid())
                .bind(*change.workflow.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(newest) = newest else { return Ok(DraftKept::Missing) };
            let here: Option<DraftRecord> = sqlx::query_as(DRAFT)
                .bind(*change.tenant.as_uuid())
                .bind(*change.workflow.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let (revision, base) = here.map_or((0, newest), |here| (here.revision, here.base_version));
            if change.expected.is_some_and(|expected| expected != revision as u32) {
                return Ok(DraftKept::Stale(revision as u32));
            }
            let base = change.base.map_or(base, |base| i32::try_from(base).unwrap_or(i32::MAX));
            sqlx::query(PUT_DRAFT)
                .bind(*change.workflow.as_uuid())
                .bind(*change.tenant.as_uuid())
                .bind(revision + 1)
                .bind(base)
                .bind(&change.document)
                .bind(&change.principal)
                .bind(At(change.at))
                .execute(&mut *tx)
                .await?;
            Ok(DraftKept::Kept(DraftRow {
                workflow: change.workflow,
                revision: revision as u32 + 1,
                base: base as u32,
                document: change.document,
                updated_by: change.principal,
                updated_at: change.at,
            }))
        })
    }

    async fn draft_get(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
    ) -> Result<Option<DraftRow>, StoreError> {
        let record: Option<DraftRecord> = on_pool!(self, |pool, sql| sqlx::query_as(DRAFT)
            .bind(*tenant.as_uuid())
            .bind(*workflow.as_uuid())
            .fetch_optional(pool)
            .await)?;
        Ok(record.map(DraftRecord::row))
    }

    async fn draft_drop(&self, tenant: TenantId, workflow: WorkflowId) -> Result<bool, StoreError> {
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(DROP_DRAFT)
                .bind(*tenant.as_uuid())
                .bind(*workflow.as_uuid())
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    }
}
