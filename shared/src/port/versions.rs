//! Published versions of workflows, and the drafts that become them.

use async_trait::async_trait;

use super::store::{Page, Paged, StoreError};
use crate::{
    ids::{TenantId, WorkflowId},
    time::Timestamp,
};

/// A published version: it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    pub workflow: WorkflowId,
    pub version: u32,
    pub hash: String,
    /// The document as its author wrote it.
    pub document: String,
    pub created_by: String,
    pub created_at: Timestamp,
}

/// What somebody works on: a text that need not be free of mistakes. A workflow has at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftRow {
    pub workflow: WorkflowId,
    /// Counts its changes, from 1.
    pub revision: u32,
    /// The version it was begun on.
    pub base: u32,
    pub document: String,
    pub updated_by: String,
    pub updated_at: Timestamp,
}

/// A draft on its way in.
#[derive(Debug, Clone)]
pub struct DraftChange {
    pub workflow: WorkflowId,
    pub tenant: TenantId,
    pub document: String,
    /// The version it is meant to follow; left out, it stays what it was, or is the newest for a new draft.
    pub base: Option<u32>,
    /// The revision that the caller saw; another one meanwhile is left alone.
    pub expected: Option<u32>,
    pub principal: String,
    pub at: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftKept {
    Kept(DraftRow),
    /// The draft is at this revision by now; 0 when there is none.
    Stale(u32),
    /// There is no such workflow, or it is archived.
    Missing,
}

/// Versions and drafts. A version comes into being when a workflow is saved, see [`super::store::Library`].
#[async_trait]
pub trait Versions: Send + Sync {
    /// Newest first.
    async fn version_list(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        page: Page,
    ) -> Result<Paged<VersionRow>, StoreError>;
    async fn version_get(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRow>, StoreError>;
    async fn draft_put(&self, change: DraftChange) -> Result<DraftKept, StoreError>;
    async fn draft_get(&self, tenant: TenantId, workflow: WorkflowId)
    -> Result<Option<DraftRow>, StoreError>;
    /// Throws a draft away; `false` when there is none.
    async fn draft_drop(&self, tenant: TenantId, workflow: WorkflowId) -> Result<bool, StoreError>;
}
