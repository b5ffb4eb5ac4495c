//! Workflows and their versions.

use async_trait::async_trait;
use shared::{
    ids::{TenantId, WorkflowId},
    port::store::{Library, Page, Paged, Saved, StoreError, WorkflowDraft, WorkflowFilter, WorkflowRow},
};
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
    documents::{DROP_DOCUMENT, DROP_UPDATES},
    rows::{self, WorkflowRecord},
    sql_store::{in_transaction, on_pool},
    triggers::{DROP_TRIGGERS, sync_triggers},
    versions::{PUBLISHED, REBASE_DRAFT},
};

pub(crate) const SNAPSHOT: &str = "\
select snapshot
from wo_snapshots
where hash = $1";

pub(crate) const ADD_SNAPSHOT: &str = "\
insert into wo_snapshots (hash, snapshot)
values ($1, $2)
on conflict do nothing";

const ADD_VERSION: &str = "\
insert into wo_workflow_versions (workflow_id, version, tenant_id, hash, document, created_by, created_at)
values ($1, $2, $3, $4, $5, $6, $7)";

const VERSION_HASH: &str = "\
select hash
from wo_workflow_versions
where tenant_id = $1 and workflow_id = $2 and version = $3";

/// Nothing when the id or the name is taken.
const ADD_WORKFLOW: &str = "\
insert into wo_workflows (id, tenant_id, name, description, category, tags, status, version, hash, document,
    created_by, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, 'active', 1, $7, $8, $9, $10, $10)
on conflict do nothing";

/// Takes the row for itself: of two updates the second sees the first.
const TOUCH_WORKFLOW: &str = "\
update wo_workflows
set updated_at = updated_at
where tenant_id = $1 and id = $2 and status = 'active'
returning id, tenant_id, name, description, category, tags, status, version, hash, document, created_by,
    created_at, updated_at";

const UPDATE_WORKFLOW: &str = "\
update wo_workflows
set name = $3, description = $4, category = $5, tags = $6, version = $7, hash = $8, document = $9, updated_at = $10
where tenant_id = $1 and id = $2
returning id, tenant_id, name, description, category, tags, status, version, hash, document, created_by,
    created_at, updated_at";

const ARCHIVE_WORKFLOW: &str = "\
update wo_workflows
set status = 'archived', updated_at = case when status = 'active' then $3 else updated_at end
where tenant_id = $1 and id = $2";

const WORKFLOW: &str = "\
select id, tenant_id, name, description, category, tags, status, version, hash, document, created_by, created_at,
    updated_at
from wo_workflows
where tenant_id = $1 and id = $2";

const WORKFLOW_BY_NAME: &str = "\
select id, tenant_id, name, description, category, tags, status, version, hash, document, created_by, created_at,
    updated_at
from wo_workflows
where tenant_id = $1 and name = $2 and status = 'active'";

const WORKFLOWS: &str = "\
select id, tenant_id, name, description, category, tags, status, version, hash, document, created_by, created_at,
    updated_at
from wo_workflows
where tenant_id = $1
    and ($2 is null or id < $2)
    and ($3 is null or category = $3)
    and ($4 is null or status = $4)
    and ($5 is null or tags like $5 escape '!')
    and ($6 is null or lower(name) like $6 escape '!' or lower(description) like $6 escape '!')
order by id desc limit $7";

pub(crate) const STATEMENTS: &[&str] = &[
    SNAPSHOT,
    ADD_SNAPSHOT,
    ADD_VERSION,
    ADD_WORKFLOW,
    TOUCH_WORKFLOW,
    UPDATE_WORKFLOW,
    ARCHIVE_WORKFLOW,
    WORKFLOW,
    WORKFLOW_BY_NAME,
    WORKFLOWS,
];

/// What the transaction found; rows are read into their type outside it.
enum Found {
    Created(WorkflowRecord),
    Updated(WorkflowRecord),
    NameTaken(Uuid),
    Missing,
    Stale(i32),
}

impl Found {
    fn saved(self) -> Result<Saved, StoreError> {
        Ok(match self {
            Self::Created(record) => Saved::Created(record.row()?),
            Self::Updated(record) => Saved::Updated(record.row()?),
            Self::NameTaken(id) => Saved::NameTaken(WorkflowId::from_uuid(id)),
            Self::Missing => Saved::Missing,
            Self::Stale(version) => Saved::Stale(version as u32),
        })
    }
}

/// Keeps the snapshot and the version of a draft.
macro_rules! add_version {
    ($tx:ident, $draft:ident, $version:expr) => {
        sqlx::query(ADD_SNAPSHOT).bind(&$draft.hash).bind(&$draft.snapshot).execute(&mut *$tx).await?;
        sqlx::query(ADD_VERSION)
            .bind(*$draft.id.as_uuid())
            .bind($version)
            .bind(*$draft.tenant.as_uuid())
            .bind(&$draft.hash)
            .bind(&$draft.document)
            .bind(&$draft.principal)
            .bind(At($draft.at))
            .execute(&mut *$tx)
            .await?;
    };
}

#[async_trait]
impl Library for SqlStore {
    async fn workflow_create(&self, draft: WorkflowDraft) -> Result<Saved, StoreError> {
        let found = in_transaction!(self, |tx, sql| {
            let added = sqlx::query(ADD_WORKFLOW)
                .bind(*draft.id.as_uuid())
                .bind(*draft.tenant.as_uuid())
                .bind(&draft.name)
                .bind(&draft.description)
                .bind(&draft.category)
                .bind(rows::tags_text(&draft.tags))
                .bind(&draft.hash)
                .bind(&draft.document)
                .bind(&draft.principal)
                .bind(At(draft.at))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if added == 0 {
                let named: Option<WorkflowRecord> = sqlx::query_as(WORKFLOW_BY_NAME)
                    .bind(*draft.tenant.as_uuid())
                    .bind(&draft.name)
                    .fetch_optional(&mut *tx)
                    .await?;
                return Ok(Found::NameTaken(named.map_or(*draft.id.as_uuid(), |record| record.id())));
            }
            add_version!(tx, draft, 1_i32);
            sync_triggers!(tx, draft, 1_i32);
            let record = sqlx::query_as(WORKFLOW)
                .bind(*draft.tenant.as_uuid())
                .bind(*draft.id.as_uuid())
                .fetch_one(&mut *tx)
                .await?;
            Ok(Found::Created(record))
        })?;
        found.saved()
    }

    async fn workflow_update(
        &self,
        draft: WorkflowDraft,
        expected: Option<u32>,
    ) -> Result<Saved, StoreError> {
        let found = in_transaction!(self, |tx, sql| {
            let here: Option<WorkflowRecord> = sqlx::query_as(TOUCH_WORKFLOW)
                .bind(*draft.tenant.as_uuid())
                .bind(*draft.id.as_uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(here) = here else { return Ok(Found::Missing) };
            if expected.is_some_and(|expected| expected as i32 != here.version) {
                return Ok(Found::Stale(here.version));
            }
            let named: Option<WorkflowRecord> = sqlx::query_as(WORKFLOW_BY_NAME)
                .bind(*draft.tenant.as_uuid())
                .bind(&draft.name)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(other) = named.map(|record| record.id()).filter(|other| other != draft.id.as_uuid()) {
                return Ok(Found::NameTaken(other));
            }
            let version = if here.hash == draft.hash { here.version } else { here.version + 1 };
            if version != here.version {
                add_version!(tx, draft, version);
            }
            sync_triggers!(tx, draft, version);
            if let Some(revision) = draft.publishes {
                let id = *draft.id.as_uuid();
                sqlx::query(PUBLISHED).bind(id).bind(revision as i32).execute(&mut *tx).await?;
                sqlx::query(REBASE_DRAFT).bind(id).bind(version).execute(&mut *tx).await?;
            }
            let record = sqlx::query_as(UPDATE_WORKFLOW)
                .bind(*draft.tenant.as_uuid())
                .bind(*draft.id.as_uuid())
                .bind(&draft.name)
                .bind(&draft.description)
                .bind(&draft.category)
                .bind(rows::tags_text(&draft.tags))
                .bind(version)
                .bind(&draft.hash)
                .bind(&draft.document)
                .bind(At(draft.at))
                .fetch_one(&mut *tx)
                .await?;
            Ok(Found::Updated(record))
        })?;
        found.saved()
    }

    async fn workflow_delete(&self, tenant: TenantId, id: WorkflowId) -> Result<bool, StoreError> {
        let now = self.clock().await?;
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(ARCHIVE_WORKFLOW)
                .bind(*tenant.as_uuid())
                .bind(*id.as_uuid())
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            sqlx::query(DROP_TRIGGERS).bind(*id.as_uuid()).bind(*tenant.as_uuid()).execute(&mut *tx).await?;
            for gone in [DROP_UPDATES, DROP_DOCUMENT] {
                sqlx::query(gone).bind(*tenant.as_uuid()).bind(*id.as_uuid()).execute(&mut *tx).await?;
            }
            Ok(done.rows_affected() > 0)
        })
    }

    async fn workflow_get(
        &self,
        tenant: TenantId,
        id: WorkflowId,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        let record: Option<WorkflowRecord> = on_pool!(self, |pool, sql| sqlx::query_as(WORKFLOW)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(WorkflowRecord::row).transpose()
    }

    async fn workflow_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        let record: Option<WorkflowRecord> = on_pool!(self, |pool, sql| sqlx::query_as(WORKFLOW_BY_NAME)
            .bind(*tenant.as_uuid())
            .bind(name)
            .fetch_optional(pool)
            .await)?;
        record.map(WorkflowRecord::row).transpose()
    }

    async fn workflow_hash(
        &self,
        tenant: TenantId,
        id: WorkflowId,
        version: u32,
    ) -> Result<Option<String>, StoreError> {
        on_pool!(self, |pool, sql| sqlx::query_scalar(VERSION_HASH)
            .bind(*tenant.as_uuid())
            .bind(*id.as_uuid())
            .bind(i32::try_from(version).unwrap_or(i32::MAX))
            .fetch_optional(pool)
            .await)
    }

    async fn workflow_list(
        &self,
        tenant: TenantId,
        filter: WorkflowFilter,
        page: Page,
    ) -> Result<Paged<WorkflowRow>, StoreError> {
        let Ok(after) = rows::cursor::<WorkflowId>(&page) else { return Ok(rows::no_rows()) };
        let after = after.map(|id| *id.as_uuid());
        let limit = rows::page_size(page.limit);
        let records: Vec<WorkflowRecord> = on_pool!(self, |pool, sql| sqlx::query_as(WORKFLOWS)
            .bind(*tenant.as_uuid())
            .bind(after)
            .bind(filter.category.as_deref())
            .bind(filter.status.as_deref())
            .bind(filter.tag.as_deref().map(rows::tag_pattern))
            .bind(filter.search.as_deref().map(|text| rows::contains_pattern(&text.to_lowercase())))
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items: Result<Vec<WorkflowRow>, StoreError> =
            records.into_iter().map(WorkflowRecord::row).collect();
        Ok(rows::paged(items?, limit, |row| row.id.to_string()))
    }
}
