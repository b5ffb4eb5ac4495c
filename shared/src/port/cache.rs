//! The step cache: what components completed with, to be used again by other executions of their workflow.

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    ids::{ComponentId, ExecutionId, TenantId, WorkflowId},
    time::Timestamp,
};

/// The largest output that is kept, in bytes of JSON.
pub const LARGEST_CACHED: usize = 1024 * 1024;

/// What a result is kept under, among those of one workflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    pub component: ComponentId,
    /// As [`Caching::hash`](crate::workflow::Caching::hash) gives it.
    pub hash: String,
}

/// A result that may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    /// The JSON text of the output itself: nothing of its execution is needed to use it.
    pub output: Vec<u8>,
    /// Own ports that fired.
    pub ports: Vec<String>,
    /// The execution that gave it.
    pub execution: ExecutionId,
    /// When it was given.
    pub at: Timestamp,
    /// From this instant on nobody uses it.
    pub expires_at: Timestamp,
}

/// A result that a turn keeps. It replaces what is there under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    pub key: CacheKey,
    pub result: CachedResult,
}

/// Results to be used again. They are kept with turns ([`Commit::cache`](super::store::Commit)), and removed some time
/// after they have expired ([`Sweeps::maintain`](super::store::Sweeps::maintain)).
#[async_trait]
pub trait StepCache: Send + Sync {
    /// What is kept under these keys of a workflow, in their order, whether it has expired or not.
    async fn cache_find(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        keys: &[CacheKey],
    ) -> Result<Vec<Option<CachedResult>>, StoreError>;

    /// Removes the results of a workflow, or those of one of its components, and answers how many there were.
    async fn cache_clear(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        component: Option<&ComponentId>,
    ) -> Result<u64, StoreError>;
}
