//! Rows as they are read, and the small codecs between columns and types.

use serde::{Serialize, de::DeserializeOwned};
use shared::{
    execution::{Status, Turn},
    ids::{ExecutionId, MessageId, TenantId, WorkflowId},
    port::store::{DueTimer, ExecutionRow, Page, Paged, StoreError, WorkflowRow},
    time::Timestamp,
    workflow::Priority,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{dialect::At, error};

/// MessagePack with named fields.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    rmp_serde::encode::write_named(&mut bytes, value).map_err(error::corrupt)?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(error::corrupt)
}

/// As the column is sorted: the most urgent first.
pub(crate) const fn priority_number(priority: Priority) -> i32 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

fn priority(number: i32) -> Result<Priority, StoreError> {
    Priority::ALL
        .into_iter()
        .find(|priority| priority_number(*priority) == number)
        .ok_or_else(|| StoreError::Corrupt(format!("{number} is no priority").into()))
}

pub(crate) fn status(text: &str) -> Result<Status, StoreError> {
    text.parse().map_err(|error: String| StoreError::Corrupt(error.into()))
}

/// A JSON array, in which one tag can be found with `like`.
pub(crate) fn tags_text(tags: &[String]) -> String {
    serde_json::Value::from(tags).to_string()
}

pub(crate) fn tags(text: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text).map_err(error::corrupt)
}

/// What matches a column of tags that has this one, with `!` as escape.
pub(crate) fn tag_pattern(tag: &str) -> String {
    contains_pattern(&serde_json::Value::from(tag).to_string())
}

/// What matches a column that contains this text, with `!` as escape.
pub(crate) fn contains_pattern(text: &str) -> String {
    format!("%{}%", text.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
}

/// At most this many rows a page.
pub(crate) fn page_size(limit: u32) -> i64 {
    i64::from(limit.clamp(1, 500))
}

#[derive(Debug, FromRow)]
pub(crate) struct JournalRecord {
    pub(crate) execution_id: Uuid,
    pub(crate) seq: i32,
    cause: Uuid,
    at: At,
    events: Vec<u8>,
}

impl JournalRecord {
    pub(crate) fn turn(self) -> Result<Turn, StoreError> {
        Ok(Turn {
            execution: ExecutionId::from_uuid(self.execution_id),
            seq: self.seq as u32,
            cause: MessageId::from_uuid(self.cause),
            at: self.at.0,
            events: decode(&self.events)?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct ExecutionRecord {
    id: Uuid,
    tenant_id: Uuid,
    workflow_id: Uuid,
    workflow_name: String,
    version: i32,
    status: String,
    priority: i32,
    tags: String,
    principal: String,
    created_at: At,
    started_at: Option<At>,
    finished_at: Option<At>,
    blocked_by: Option<String>,
    failure: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
    retry_of: Option<Uuid>,
}

impl ExecutionRecord {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn row(self) -> Result<ExecutionRow, StoreError> {
        Ok(ExecutionRow {
            id: ExecutionId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            workflow: WorkflowId::from_uuid(self.workflow_id),
            workflow_name: self.workflow_name,
            version: self.version as u32,
            status: status(&self.status)?,
            priority: priority(self.priority)?,
            tags: tags(&self.tags)?,
            principal: self.principal,
            created_at: self.created_at.0,
            started_at: self.started_at.map(|at| at.0),
            finished_at: self.finished_at.map(|at| at.0),
            blocked_by: self.blocked_by,
            failure: self.failure.map(|bytes| decode(&bytes)).transpose()?,
            output: self.output.map(|bytes| decode(&bytes)).transpose()?,
            retry_of: self.retry_of.map(ExecutionId::from_uuid),
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct TimerRecord {
    execution_id: Uuid,
    key: String,
    due_at: At,
    token: Option<Uuid>,
}

impl TimerRecord {
    pub(crate) fn timer(self) -> Result<DueTimer, StoreError> {
        Ok(DueTimer {
            execution: ExecutionId::from_uuid(self.execution_id),
            key: self.key.parse().map_err(error::corrupt)?,
            due_at: self.due_at.0,
            token: self.token.map(shared::ids::Token::from_uuid),
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct WorkflowRecord {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    description: String,
    category: String,
    tags: String,
    pub(crate) status: String,
    pub(crate) version: i32,
    pub(crate) hash: String,
    document: String,
    created_by: String,
    created_at: At,
    updated_at: At,
}

impl WorkflowRecord {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn row(self) -> Result<WorkflowRow, StoreError> {
        Ok(WorkflowRow {
            id: WorkflowId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            name: self.name,
            description: self.description,
            category: self.category,
            tags: tags(&self.tags)?,
            status: self.status,
            version: self.version as u32,
            hash: self.hash,
            document: self.document,
            created_by: self.created_by,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

/// The lower bound of UUIDv7 ids made at or after an instant.
pub(crate) fn first_id_at(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_micros() / 1_000).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}

/// The cursor is none of ours; nothing comes after it.
#[derive(Debug)]
pub(crate) struct Nowhere;

/// What follows a cursor that is none of ours.
pub(crate) fn no_rows<T>() -> Paged<T> {
    Paged { items: Vec::new(), next: None }
}

/// Where the last page ended: the text of an id.
pub(crate) fn cursor<I: std::str::FromStr>(page: &Page) -> Result<Option<I>, Nowhere> {
    page.after.as_deref().map(|text| text.parse().map_err(|_| Nowhere)).transpose()
}

/// A page of one row more than `limit`, if there is more.
pub(crate) fn paged<T>(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Paged<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Paged { items, next }
}
