//! Who is alive, large payloads, late results, and messages set aside.

use std::time::Duration;

use async_trait::async_trait;
use shared::{
    ids::{CoordinatorId, DeadLetterId, ExecutionId, MessageId, PayloadId, TenantId, WorkerId},
    port::store::{DeadLetter, DeadLetterFilter, DeadLetters, Members, Page, Paged, Payloads, StoreError},
    time::Timestamp,
    wire::WorkerRecord,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{At, Batch, Cell, Engine, Kind},
    error, rows,
    sql_store::{in_transaction, on_pool},
};

const COORDINATOR_ALIVE: &str = "\
insert into wo_coordinators (id, host, seen_at)
values ($1, $2, $3)
on conflict (id) do update set host = excluded.host, seen_at = excluded.seen_at";

const COORDINATORS: &str = "\
select id
from wo_coordinators
where seen_at >= $1
order by id";

/// Whoever has been silent for so long does not come back: ids are made at the start of a process.
const FORGET_COORDINATORS: &str = "\
delete from wo_coordinators
where seen_at < $1";

const COORDINATOR_GONE: &str = "\
delete from wo_coordinators
where id = $1";

const WORKERS: &str = "\
select record, seen_at
from wo_workers
where seen_at >= $1
order by id";

/// What is kept is kept: an id names the same bytes for ever.
const PUT_PAYLOAD: &str = "\
insert into wo_payloads (execution_id, id, tenant_id, bytes)
values ($1, $2, $3, $4)
on conflict do nothing";

const GET_PAYLOAD: &str = "\
select bytes
from wo_payloads
where execution_id = $1 and id = $2";

const SLICE_PAYLOAD: &str = "\
select substr(bytes, $3, $4)
from wo_payloads
where execution_id = $1 and id = $2";

const ADD_LETTER: &str = "\
insert into wo_dead_letters (id, queue, reason, at, execution_id, message_id, headers, bytes)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict do nothing";

const LETTERS: &str = "\
select id, queue, reason, at, execution_id, message_id, headers, bytes
from wo_dead_letters
where ($1 is null or queue = $1)
    and ($2 is null or lower(reason) like $2 escape '!')
    and ($3 is null or execution_id = $3)
    and ($4 is null or at < $4)
    and ($5 is null or id < $5)
order by id desc limit $6";

const PURGE_LETTERS: &str = "\
delete from wo_dead_letters
where id in (
    select id
    from wo_dead_letters
    where ($1 is null or queue = $1)
        and ($2 is null or lower(reason) like $2 escape '!')
        and ($3 is null or execution_id = $3)
        and ($4 is null or at < $4)
    order by id limit $5)";

const LETTER: &str = "\
select id, queue, reason, at, execution_id, message_id, headers, bytes
from wo_dead_letters
where id = $1";

const REMOVE_LETTER: &str = "\
delete from wo_dead_letters
where id = $1";

/// What matches a reason that contains this text, whatever the case.
fn part_of_reason(text: &str) -> String {
    rows::contains_pattern(&text.to_lowercase())
}

pub(crate) const STATEMENTS: &[&str] = &[
    COORDINATOR_ALIVE,
    COORDINATORS,
    FORGET_COORDINATORS,
    COORDINATOR_GONE,
    WORKERS,
    PUT_PAYLOAD,
    GET_PAYLOAD,
    SLICE_PAYLOAD,
    ADD_LETTER,
    LETTERS,
    LETTER,
    REMOVE_LETTER,
    PURGE_LETTERS,
];

static WORKERS_ALIVE: Batch = Batch::new(
    "\
with t (id, seen_at, record) as ({rows})
insert into wo_workers (id, seen_at, record)
select t.id, t.seen_at, t.record
from t
where t.id is not null
on conflict (id) do update set seen_at = excluded.seen_at, record = excluded.record",
    &[Kind::Uuid, Kind::At, Kind::Bytes],
);

pub(crate) static ADD_LATE: Batch = Batch::new(
    "\
with t (id, execution_id, record) as ({rows})
insert into wo_late_results (id, execution_id, record)
select t.id, t.execution_id, t.record
from t
where t.id is not null",
    &[Kind::Uuid, Kind::Uuid, Kind::Bytes],
);

pub(crate) const BATCHES: &[&Batch] = &[&WORKERS_ALIVE, &ADD_LATE];

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}

#[async_trait]
impl Members for SqlStore {
    async fn coordinator_alive(
        &self,
        id: CoordinatorId,
        host: &str,
        expiry: Duration,
    ) -> Result<Vec<CoordinatorId>, StoreError> {
        let now = self.clock().await?;
        let host = host.to_owned();
        let ids: Vec<Uuid> = in_transaction!(self, |tx, sql| {
            sqlx::query(COORDINATOR_ALIVE)
                .bind(*id.as_uuid())
                .bind(host)
                .bind(At(now))
                .execute(&mut *tx)
                .await?;
            let long_ago = before(now, expiry.saturating_mul(100).max(Duration::from_hours(1)));
            sqlx::query(FORGET_COORDINATORS).bind(At(long_ago)).execute(&mut *tx).await?;
            sqlx::query_scalar(COORDINATORS).bind(At(before(now, expiry))).fetch_all(&mut *tx).await
        })?;
        Ok(ids.into_iter().map(CoordinatorId::from_uuid).collect())
    }

    async fn coordinator_gone(&self, id: CoordinatorId) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(COORDINATOR_GONE).bind(*id.as_uuid()).execute(&mut *tx).await?;
            Ok(())
        })
    }

    async fn worker_alive(&self, records: Vec<WorkerRecord>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let now = self.clock().await?;
        // The last word of a worker counts.
        let mut last: std::collections::BTreeMap<WorkerId, Vec<u8>> = std::collections::BTreeMap::new();
        for record in &records {
            last.insert(record.id, rows::encode(record)?);
        }
        in_transaction!(self, |tx, sql| {
            let mut cells: Vec<Cell> = Vec::with_capacity(last.len() * 3);
            for (id, record) in last {
                cells.extend([(*id.as_uuid()).into(), now.into(), Cell::from(record)]);
            }
            tx.run(&WORKERS_ALIVE, cells).await?;
            Ok(())
        })
    }

    async fn workers(&self, expiry: Duration) -> Result<Vec<(WorkerRecord, Timestamp)>, StoreError> {
        let since = before(self.clock().await?, expiry);
        let records: Vec<(Vec<u8>, At)> =
            on_pool!(self, |pool, sql| sqlx::query_as(WORKERS).bind(At(since)).fetch_all(pool).await)?;
        records.into_iter().map(|(bytes, seen_at)| Ok((rows::decode(&bytes)?, seen_at.0))).collect()
    }
}

#[async_trait]
impl Payloads for SqlStore {
    async fn payload_put(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        id: PayloadId,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(PUT_PAYLOAD)
                .bind(*execution.as_uuid())
                .bind(*id.as_uuid())
                .bind(*tenant.as_uuid())
                .bind(bytes)
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }

    async fn payload_get(
        &self,
        execution: ExecutionId,
        id: PayloadId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        on_pool!(self, |pool, sql| sqlx::query_scalar(GET_PAYLOAD)
            .bind(*execution.as_uuid())
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)
    }

    async fn payload_slice(
        &self,
        execution: ExecutionId,
        id: PayloadId,
        from: u64,
        most: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        // Both engines count from 1, and neither holds bytes behind what fits in the number.
        let from = i32::try_from(from.saturating_add(1)).unwrap_or(i32::MAX);
        on_pool!(self, |pool, sql| sqlx::query_scalar(SLICE_PAYLOAD)
            .bind(*execution.as_uuid())
            .bind(*id.as_uuid())
            .bind(from)
            .bind(i32::try_from(most).unwrap_or(i32::MAX))
            .fetch_optional(pool)
            .await)
    }
}

#[derive(FromRow)]
struct LetterRecord {
    id: Uuid,
    queue: String,
    reason: String,
    at: At,
    execution_id: Option<Uuid>,
    message_id: Option<Uuid>,
    headers: String,
    bytes: Vec<u8>,
}

impl LetterRecord {
    fn letter(self) -> Result<DeadLetter, StoreError> {
        Ok(DeadLetter {
            id: DeadLetterId::from_uuid(self.id),
            queue: self.queue,
            reason: self.reason,
            at: self.at.0,
            execution: self.execution_id.map(ExecutionId::from_uuid),
            message: self.message_id.map(MessageId::from_uuid),
            headers: serde_json::from_str(&self.headers).map_err(error::corrupt)?,
            bytes: self.bytes,
        })
    }
}

#[async_trait]
impl DeadLetters for SqlStore {
    async fn dead_letter_add(&self, letter: DeadLetter) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(ADD_LETTER)
                .bind(*letter.id.as_uuid())
                // A broker's names are any bytes; PostgreSQL's text takes no nul.
                .bind(letter.queue.replace('\0', "\u{fffd}"))
                .bind(letter.reason.replace('\0', "\u{fffd}"))
                .bind(At(letter.at))
                .bind(letter.execution.map(|id| *id.as_uuid()))
                .bind(letter.message.map(|id| *id.as_uuid()))
                .bind(letter.headers.to_string())
                .bind(letter.bytes)
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }

    async fn dead_letter_list(
        &self,
        filter: DeadLetterFilter,
        page: Page,
    ) -> Result<Paged<DeadLetter>, StoreError> {
        let Ok(after) = rows::cursor::<DeadLetterId>(&page) else { return Ok(rows::no_rows()) };
        let after = after.map(|id| *id.as_uuid());
        let limit = rows::page_size(page.limit);
        let records: Vec<LetterRecord> = on_pool!(self, |pool, sql| sqlx::query_as(LETTERS)
            .bind(filter.queue.as_deref())
            .bind(filter.reason.as_deref().map(part_of_reason))
            .bind(filter.execution.map(|id| *id.as_uuid()))
            .bind(filter.before.map(At))
            .bind(after)
            .bind(limit + 1)
            .fetch_all(pool)
            .await)?;
        let items: Result<Vec<DeadLetter>, StoreError> =
            records.into_iter().map(LetterRecord::letter).collect();
        Ok(rows::paged(items?, limit, |letter| letter.id.to_string()))
    }

    async fn dead_letter_get(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        let record: Option<LetterRecord> = on_pool!(self, |pool, sql| sqlx::query_as(LETTER)
            .bind(*id.as_uuid())
            .fetch_optional(pool)
            .await)?;
        record.map(LetterRecord::letter).transpose()
    }

    async fn dead_letter_purge(&self, filter: DeadLetterFilter, most: u32) -> Result<u64, StoreError> {
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(PURGE_LETTERS)
                .bind(filter.queue.as_deref())
                .bind(filter.reason.as_deref().map(part_of_reason))
                .bind(filter.execution.map(|id| *id.as_uuid()))
                .bind(filter.before.map(At))
                .bind(i64::from(most))
                .execute(&mut *tx)
                .await?;
            Ok(done.rows_affected())
        })
    }

    async fn dead_letter_remove(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        in_transaction!(self, |tx, sql| {
            let done = sqlx::query(REMOVE_LETTER).bind(*id.as_uuid()).execute(&mut *tx).await?;
            Ok(done.rows_affected() > 0)
        })
    }
}
