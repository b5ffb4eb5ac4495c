//! What people draw together: updates of one document a workflow, passed on and kept, never read.

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    ids::{TenantId, WorkflowId},
    time::Timestamp,
};

/// What somebody added to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentUpdate {
    pub author: String,
    pub body: Vec<u8>,
}

/// What there is of a document after a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentPart {
    /// The beginning that its updates go back to.
    pub line: u32,
    /// The number of its last update; 0 when there is none yet.
    pub last: u64,
    /// All updates up to some number as one, when that number is beyond the one asked for.
    pub snapshot: Option<Vec<u8>>,
    /// The updates after it, in the order of their numbers.
    pub updates: Vec<Vec<u8>>,
}

/// Documents that several people change at once. A document goes when its workflow is deleted.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Begins the document of a workflow unless it has one, and answers its beginning; nothing when the workflow is
    /// unknown or archived.
    async fn document_begin(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        line: u32,
        at: Timestamp,
    ) -> Result<Option<u32>, StoreError>;

    /// What there is of a document after this number: one moment of it, whatever others do meanwhile. With what the
    /// caller knows it is the whole of it up to [`DocumentPart::last`].
    async fn document_read(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        after: u64,
    ) -> Result<Option<DocumentPart>, StoreError>;

    /// Keeps updates in this order, all or none, and answers the number of the last; nothing when there is no document.
    async fn document_append(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        updates: Vec<DocumentUpdate>,
        at: Timestamp,
    ) -> Result<Option<u64>, StoreError>;

    /// Puts one update in the place of all up to a number. Does nothing, and answers `false`, when that was done up to
    /// this number or a later one, or when there is no document.
    async fn document_squash(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        up_to: u64,
        snapshot: Vec<u8>,
    ) -> Result<bool, StoreError>;
}
