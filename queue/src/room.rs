//! How many tasks one taker holds, and may hold.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Shared by a taker and the answers of what it was handed.
#[derive(Debug)]
pub(crate) struct Room {
    held: AtomicUsize,
    limit: AtomicI64,
    freed: Notify,
}

impl Room {
    pub(crate) fn new(limit: u16) -> Self {
        Self { held: AtomicUsize::new(0), limit: AtomicI64::new(i64::from(limit)), freed: Notify::new() }
    }

    pub(crate) fn is_free(&self) -> bool {
        (self.held.load(Ordering::Acquire) as i64) < self.limit.load(Ordering::Acquire)
    }

    /// Waits until one more may be held. For the one taker only.
    pub(crate) async fn free(&self) {
        while !self.is_free() {
            self.freed.notified().await;
        }
    }

    pub(crate) fn enter(&self) {
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn leave(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_one();
    }

    /// Changes the limit, and answers what it now is.
    pub(crate) fn adjust(&self, by: i32) -> u16 {
        let limit = self.limit.fetch_add(i64::from(by), Ordering::AcqRel) + i64::from(by);
        self.freed.notify_one();
        u16::try_from(limit.max(0)).unwrap_or(u16::MAX)
    }
}
