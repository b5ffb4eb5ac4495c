//! Documents that several people change at once.

use async_trait::async_trait;
use shared::{
    ids::{TenantId, WorkflowId},
    port::{
        documents::{DocumentPart, DocumentUpdate, Documents},
        store::StoreError,
    },
    time::Timestamp,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
    sql_store::{in_transaction, on_pool},
    versions::NEWEST,
};

const BEGIN: &str = "\
insert into wo_documents (workflow_id, tenant_id, line, last_number, snapshot_number, snapshot, updated_at)
values ($1, $2, $3, 0, 0, null, $4)
on conflict (workflow_id) do nothing";

const LINE: &str = "\
select line
from wo_documents
where tenant_id = $1 and workflow_id = $2";

/// One statement, so that it sees one moment: a squash in between would leave neither updates nor snapshot.
const READ: &str = "\
select line, last_number, case when snapshot_number > $3 then snapshot end as body, snapshot_number as number
from wo_documents
where tenant_id = $1 and workflow_id = $2
union all
select cast(null as bigint), d.last_number, u.body, u.number
from wo_documents as d
join wo_document_updates as u on u.workflow_id = d.workflow_id
where d.tenant_id = $1 and d.workflow_id = $2 and u.number > $3
order by number";

/// Draws numbers; takes the row for itself, so that numbers are seen in their order.
const DRAW_NUMBERS: &str = "\
update wo_documents
set last_number = last_number + $3, updated_at = $4
where tenant_id = $1 and workflow_id = $2
returning last_number";

const APPEND: &str = "\
insert into wo_document_updates (workflow_id, number, author, at, body)
values ($1, $2, $3, $4, $5)";

const SQUASH: &str = "\
update wo_documents
set snapshot_number = $3, snapshot = $4
where tenant_id = $1 and workflow_id = $2 and snapshot_number < $3 and last_number >= $3";

const SQUASHED: &str = "\
delete from wo_document_updates
where workflow_id = $1 and number <= $2";

/// What goes with its workflow.
pub(crate) const DROP_UPDATES: &str = "\
delete from wo_document_updates
where workflow_id in (select workflow_id from wo_documents where tenant_id = $1 and workflow_id = $2)";

pub(crate) const DROP_DOCUMENT: &str = "\
delete from wo_documents
where tenant_id = $1 and workflow_id = $2";

pub(crate) const STATEMENTS: &[&str] =
    &[BEGIN, LINE, READ, DRAW_NUMBERS, APPEND, SQUASH, SQUASHED, DROP_UPDATES, DROP_DOCUMENT];

#[derive(Debug, FromRow)]
struct PartRecord {
    /// Of the document; none for an update.
    line: Option<i64>,
    last_number: i64,
    body: Option<Vec<u8>>,
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[async_trait]
impl Documents for SqlStore {
    async fn document_begin(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        line: u32,
        at: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        let (tenant, workflow) = (*tenant.as_uuid(), *workflow.as_uuid());
        in_transaction!(self, |tx, sql| {
            let newest: Option<i32> =
                sqlx::query_scalar(NEWEST).bind(tenant).bind(workflow).fetch_optional(&mut *tx).await?;
            if newest.is_none() {
                return Ok(None);
            }
            sqlx::query(BEGIN)
                .bind(workflow)
                .bind(tenant)
                .bind(i64::from(line))
                .bind(At(at))
                .execute(&mut *tx)
                .await?;
            let line: i64 = sqlx::query_scalar(LINE).bind(tenant).bind(workflow).fetch_one(&mut *tx).await?;
            Ok(Some(line as u32))
        })
    }

    async fn document_read(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        after: u64,
    ) -> Result<Option<DocumentPart>, StoreError> {
        let (tenant, workflow): (Uuid, Uuid) = (*tenant.as_uuid(), *workflow.as_uuid());
        let records: Vec<PartRecord> = on_pool!(self, |pool, sql| sqlx::query_as(READ)
            .bind(tenant)
            .bind(workflow)
            .bind(number(after))
            .fetch_all(pool)
            .await)?;
        let mut part: Option<DocumentPart> = None;
        let mut updates = Vec::new();
        for record in records {
            match record.line {
                Some(line) => {
                    part = Some(DocumentPart {
                        line: line as u32,
                        last: record.last_number as u64,
                        snapshot: record.body,
                        updates: Vec::new(),
                    });
                }
                None => updates.extend(record.body),
            }
        }
        Ok(part.map(|part| DocumentPart { updates, ..part }))
    }

    async fn document_append(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        updates: Vec<DocumentUpdate>,
        at: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let (tenant, workflow) = (*tenant.as_uuid(), *workflow.as_uuid());
        in_transaction!(self, |tx, sql| {
            let count = number(updates.len() as u64);
            let last: Option<i64> = sqlx::query_scalar(DRAW_NUMBERS)
                .bind(tenant)
                .bind(workflow)
                .bind(count)
                .bind(At(at))
                .fetch_optional(&mut *tx)
                .await?;
            let Some(last) = last else { return Ok(None) };
            for (update, number) in updates.iter().zip(last - count + 1..) {
                sqlx::query(APPEND)
                    .bind(workflow)
                    .bind(number)
                    .bind(&update.author)
                    .bind(At(at))
                    .bind(&update.body)
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(Some(last as u64))
        })
    }

    async fn document_squash(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        up_to: u64,
        snapshot: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let (tenant, workflow) = (*tenant.as_uuid(), *workflow.as_uuid());
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(SQUASH)
                .bind(tenant)
                .bind(workflow)
                .bind(number(up_to))
                .bind(&snapshot)
                .execute(&mut *tx)
                .await?
                .rows_affected()
                > 0;
            if done {
                sqlx::query(SQUASHED).bind(workflow).bind(number(up_to)).execute(&mut *tx).await?;
            }
            Ok(done)
        })
    }
}
