//! Hints to coordinators: what was made durable is told to the queue, behind the answer.
//!
//! Nothing here is needed for correctness. A hint that is lost is made up for by the sweep, so a broker
//! that is down or slow neither fails nor delays a request.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use shared::{port::queue::DynQueue, wire::InboxMessage};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

/// Hints that wait for the broker; those beyond are left to the sweep.
const WAITING: usize = 8_192;
/// Hints in one publish.
const TOGETHER: usize = 256;
/// Publishes under way at once: few, so that what is accepted meanwhile travels together.
const UNDER_WAY: usize = 2;

/// Where deeds leave their hints.
#[derive(Debug)]
pub(crate) struct Hints {
    sender: mpsc::Sender<InboxMessage>,
    lost: Arc<AtomicU64>,
}

/// What sends the hints.
pub(crate) struct Hinting {
    receiver: mpsc::Receiver<InboxMessage>,
    queue: DynQueue,
    lost: Arc<AtomicU64>,
}

impl Hints {
    pub(crate) fn new(queue: DynQueue) -> (Self, Hinting) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        (Self { sender, lost: Arc::clone(&lost) }, Hinting { receiver, queue, lost })
    }

    /// Sends a hint behind the answer. Never waits.
    pub(crate) fn send(&self, hint: InboxMessage) {
        if self.sender.try_send(hint).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            debug!("Too many hints wait for the broker; the sweep will find this execution");
        }
    }

    /// Hints that were left to the sweep.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Hinting {
    /// Sends hints until nobody is left who could leave one, and all that were left are sent.
    ///
    /// What arrives while publishes are under way goes together in the next.
    pub(crate) async fn run(mut self) {
        let slots = Arc::new(Semaphore::new(UNDER_WAY));
        let mut together = Vec::with_capacity(TOGETHER);
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            if self.receiver.recv_many(&mut together, TOGETHER).await == 0 {
                break;
            }
            let hints = std::mem::take(&mut together);
            let queue = Arc::clone(&self.queue);
            let lost = Arc::clone(&self.lost);
            #[expect(
                clippy::disallowed_methods,
                reason = "holds a slot until it ends, and all slots are waited for"
            )]
            tokio::spawn(async move {
                let many = hints.len() as u64;
                if let Err(error) = queue.publish_inbox(hints).await
                    && lost.fetch_add(many, Ordering::Relaxed).is_multiple_of(1_000)
                {
                    warn!(cause = %error, "The queue takes no hints; accepted executions wait for the sweep");
                }
                drop(slot);
            });
        }
        let all = u32::try_from(UNDER_WAY).unwrap_or(u32::MAX);
        drop(slots.acquire_many(all).await);
    }
}
