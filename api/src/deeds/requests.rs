//! Requests to executions under way: a row, a hint, and a definitive answer.

use std::time::Duration;

use futures::StreamExt;
use shared::{
    ids::{ExecutionId, MessageId, RequestId, Shard, TenantId},
    port::store::Request,
    time::Timestamp,
    wire::{InboxBody, InboxMessage, RequestBody},
};
use tokio::time::{Instant, sleep_until};

use super::Deeds;
use crate::problem::Problem;

/// How long a caller is kept waiting for a coordinator.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two looks at the request's row.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decided {
    /// A turn answered it, or it came to nothing.
    Now,
    /// It is durable; no coordinator has decided it yet.
    Later,
    /// The execution had ended; nothing was kept.
    Ended,
}

/// The cause that a request has, as the sweep names it too: hint and swept request are one cause.
pub(super) fn cause(execution: ExecutionId, id: RequestId) -> MessageId {
    MessageId::derived(execution, &format!("request/{id}"))
}

impl Deeds {
    /// Keeps a request, and hints. `false`, and nothing is kept, when the execution is unknown or has ended.
    ///
    /// The row first: with the broker down the request still holds, and is swept.
    pub(super) async fn request(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        id: RequestId,
        body: RequestBody,
        at: Timestamp,
    ) -> Result<bool, Problem> {
        let request = Request { id, tenant, execution, body: body.clone(), at };
        if !self.store.request(request).await? {
            return Ok(false);
        }
        self.hints.send(InboxMessage {
            id: cause(execution, id),
            shard: Shard::of(execution),
            body: InboxBody::Request { execution, id, body },
        });
        Ok(true)
    }

    /// Keeps a request and waits until it is decided, for ten seconds at most.
    ///
    /// The live display wakes the wait; the store is what is believed, and is asked without a wake too.
    pub(super) async fn request_decided(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        body: RequestBody,
        at: Timestamp,
    ) -> Result<Decided, Problem> {
        self.request_decided_as(tenant, execution, RequestId::generate(), body, at).await
    }

    /// As [`Self::request_decided`], under an id by which the turn that answers it is found.
    pub(super) async fn request_decided_as(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        id: RequestId,
        body: RequestBody,
        at: Timestamp,
    ) -> Result<Decided, Problem> {
        // Before the row, so that nothing falls between the two.
        let mut updates = self.progress.watch(execution).await.ok();
        if !self.request(tenant, execution, id, body, at).await? {
            return Ok(Decided::Ended);
        }
        let end = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        loop {
            // A store that does not answer now may answer by the end.
            match self.store.request_waits(id).await {
                Ok(false) => return Ok(Decided::Now),
                Ok(true) => {}
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= end {
                return Ok(Decided::Later);
            }
            let next = async {
                match &mut updates {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                update = next => {
                    if update.is_none() {
                        updates = None;
                    }
                }
                () = sleep_until((Instant::now() + pause).min(end)) => pause = (pause * 2).min(PAUSES.1),
            }
        }
    }
}
