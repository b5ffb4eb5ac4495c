//! What a coordinator counts, for the metrics page.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shared::execution::Status;

/// The upper bounds of the duration histogram, in seconds.
pub const DURATION_BUCKETS: [f64; 12] =
    [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0];

/// Counters of one coordinator process. Written by its tasks, read by the metrics page.
#[derive(Debug, Default)]
pub struct Stats {
    pub completed: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
    /// Executions by duration, not cumulated; the last is beyond the largest bound.
    pub durations: [AtomicU64; DURATION_BUCKETS.len() + 1],
    pub duration_micros: AtomicU64,
    pub turns: AtomicU64,
    pub events: AtomicU64,
    pub batches: AtomicU64,
    pub messages: AtomicU64,
    pub redelivered: AtomicU64,
    pub superseded: AtomicU64,
    pub late_results: AtomicU64,
    pub swept: AtomicU64,
    pub timers_fired: AtomicU64,
    /// How late the last timer fired, in microseconds.
    pub timer_lateness_micros: AtomicU64,
    /// How late the sweep is, in microseconds.
    pub sweep_lag_micros: AtomicU64,
    /// How long the last batch waited and took until it was durable, in microseconds.
    pub inbox_lag_micros: AtomicU64,
    /// Tasks dispatched and not settled.
    pub outstanding: AtomicU64,
    pub cached_executions: AtomicU64,
    /// What was removed since its time was over.
    pub forgotten_executions: AtomicU64,
    pub forgotten_turns: AtomicU64,
    pub forgotten_tasks: AtomicU64,
    pub forgotten_payloads: AtomicU64,
    pub forgotten_human_tasks: AtomicU64,
    pub forgotten_others: AtomicU64,
    /// For how long the oldest execution whose time is over has been there, in microseconds.
    pub retention_lag_micros: AtomicU64,
    /// When everything was looked at last, in microseconds since 1970; 0 when it was not.
    pub retention_run_at: AtomicU64,
    /// Breaches of rules that are known.
    pub audit_findings: AtomicU64,
    pub audited_executions: AtomicU64,
    /// When the last look ended, and the last one that reached the end of the store, as above.
    pub audit_run_at: AtomicU64,
    pub audit_round_at: AtomicU64,
}

impl Stats {
    pub(crate) fn ended(&self, status: Status, took: Duration) {
        let counter = match status {
            Status::Completed => &self.completed,
            Status::Failed => &self.failed,
            _ => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket =
            DURATION_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(DURATION_BUCKETS.len());
        self.durations[bucket].fetch_add(1, Ordering::Relaxed);
        self.duration_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn set(counter: &AtomicU64, to: u64) {
        counter.store(to, Ordering::Relaxed);
    }
}
