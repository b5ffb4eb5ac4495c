//! What rooms of one document in several processes tell each other. Promises nothing durable: what is not delivered is
//! read from the store (see [`super::documents`]).

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::Cause;
use crate::ids::WorkflowId;

/// What one room tells the others of its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomNews {
    /// Who tells it, so that nobody listens to themselves.
    pub from: u64,
    pub what: RoomEvent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// An update that is kept under a number.
    Update { number: u64, body: Arc<[u8]> },
    /// Who is there now, and who is no longer.
    People(Arc<[u8]>),
    /// A room was opened and does not know yet who is there.
    Opened,
}

/// Rooms of other processes cannot be reached. Everybody goes on, and reads the store.
#[derive(Debug, thiserror::Error)]
#[error("other rooms cannot be reached")]
pub struct RoomsError(#[source] pub Cause);

/// What carries news between rooms.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// Tells the other rooms of a workflow's document. Returns at once: delivery goes on behind, and what cannot be
    /// delivered is dropped.
    fn tell(&self, workflow: WorkflowId, news: RoomNews);

    /// What is told from now on. It may be told twice, or not at all. Ends when others cannot be heard any more; then
    /// listen again, and look at the store.
    async fn listen(&self, workflow: WorkflowId) -> Result<BoxStream<'static, RoomNews>, RoomsError>;
}

/// What carries news, behind a pointer.
pub type DynRooms = Arc<dyn Rooms>;
