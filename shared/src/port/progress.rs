//! Live progress: what people watch. Promises nothing durable; may be flushed at any moment.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::Cause;
use crate::{
    execution::Status,
    ids::{ComponentId, ExecutionId, TenantId},
    time::Timestamp,
};

/// Where one component stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentProgress {
    pub component: ComponentId,
    /// `ready`, `running`, `retrying`, `waiting`, `completed`, `failed`, `skipped` or `cancelled`.
    pub state: String,
    pub attempt: u32,
    /// Rounds of a loop that have ended, and rounds in all (0 when that is not known).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<(u32, u32)>,
}

/// What one turn changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    /// The turn; a watcher that has seen a higher one ignores this.
    pub seq: u32,
    pub at: Timestamp,
    pub status: Status,
    /// Whether it goes on and will fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failing: bool,
    /// Components settled, and components in all.
    pub settled: u32,
    pub total: u32,
    /// The components whose state changed.
    pub components: Vec<ComponentProgress>,
}

/// The display cannot be reached. Nobody stops working for that.
#[derive(Debug, thiserror::Error)]
#[error("progress display unavailable")]
pub struct ProgressError(#[source] pub Cause);

/// A display of live progress.
#[async_trait]
pub trait Progress: Send + Sync {
    /// Shows updates. Returns at once: delivery goes on behind, and what cannot be delivered is dropped.
    fn show(&self, updates: Vec<Update>);

    /// The updates of one execution from now on. Ends when the display is lost; then look at the store.
    async fn watch(&self, execution: ExecutionId) -> Result<BoxStream<'static, Update>, ProgressError>;

    /// Whether the display answers now.
    async fn check(&self) -> Result<(), ProgressError>;
}

/// A display behind a pointer.
pub type DynProgress = Arc<dyn Progress>;
