//! What a worker has done so far, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use shared::wire::Ending;

/// Counters of one worker. Read at any time by the composition; written by the worker alone.
#[derive(Debug, Default)]
pub struct Stats {
    /// Attempts that completed.
    pub completed: AtomicU64,
    /// Attempts that failed, cancelled ones included.
    pub failed: AtomicU64,
    /// Attempts reported as lost: redelivered ones, and those stopped when the worker left.
    pub lost: AtomicU64,
    /// Attempts given back before they began.
    pub returned: AtomicU64,
    /// Attempts that did not run because nobody answered their request for a grant.
    pub not_granted: AtomicU64,
    /// Attempts whose result was dropped: a lease lost, a grant or lease refused.
    pub dropped: AtomicU64,
    /// Tasks that the broker had given to someone before.
    pub redelivered: AtomicU64,
    /// Second copies of a message that this worker had begun already.
    pub copies: AtomicU64,
    /// Tasks that arrived after they had been cancelled.
    pub cancelled_late: AtomicU64,
    /// Tasks handed over to a lease.
    pub leased: AtomicU64,
    /// Tasks under way now.
    pub running: AtomicU64,
    /// Result messages confirmed by the broker.
    pub messages: AtomicU64,
    /// Results in them; divided by `messages` it is the size of a batch.
    pub results: AtomicU64,
    /// Publishes that were tried again.
    pub publish_retries: AtomicU64,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, ending: &Ending) {
        Self::add(
            match ending {
                Ending::Completed { .. } => &self.completed,
                Ending::Failed(_) => &self.failed,
                Ending::Lost { .. } => &self.lost,
                Ending::Returned => &self.returned,
                Ending::NotGranted => &self.not_granted,
            },
            1,
        );
    }

    /// Mean number of results a message carried; zero before the first.
    pub fn results_per_message(&self) -> f64 {
        let messages = self.messages.load(Ordering::Relaxed);
        if messages == 0 { 0.0 } else { self.results.load(Ordering::Relaxed) as f64 / messages as f64 }
    }
}
