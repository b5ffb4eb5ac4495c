//! What the roles of this process count, as samples of the metrics page.
//!
//! Roles keep plain counters and know no metrics library; names are given here, once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api::{Kind, Meter, Sample};
use coordinator::DURATION_BUCKETS;

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn seconds(micros: &AtomicU64) -> f64 {
    read(micros) / 1_000_000.0
}

/// What a coordinator counts.
pub(crate) fn coordinator(stats: Arc<coordinator::Stats>) -> Meter {
    Arc::new(move || {
        let ended = |status, counter| {
            Sample::counter("workflow_executions_total", "Executions that ended, by how.", read(counter))
                .label("status", status)
        };
        let mut count = 0;
        let mut buckets = Vec::new();
        for (index, observed) in stats.durations.iter().enumerate() {
            count += observed.load(Ordering::Relaxed);
            if let Some(bound) = DURATION_BUCKETS.get(index) {
                buckets.push((*bound, count));
            }
        }
        let forgotten = |kind, counter| {
            Sample::counter(
                "retention_deleted_total",
                "What was removed as its time was over, by kind.",
                read(counter),
            )
            .label("kind", kind)
        };
        vec![
            forgotten("executions", &stats.forgotten_executions),
            forgotten("turns", &stats.forgotten_turns),
            forgotten("tasks", &stats.forgotten_tasks),
            forgotten("payloads", &stats.forgotten_payloads),
            forgotten("human_tasks", &stats.forgotten_human_tasks),
            forgotten("others", &stats.forgotten_others),
            Sample::gauge(
                "retention_lag_seconds",
                "For how long the oldest execution whose time is over has been there.",
                seconds(&stats.retention_lag_micros),
            ),
            Sample::gauge(
                "retention_last_run_timestamp_seconds",
                "When everything was looked at last; 0 when it was not since the start.",
                seconds(&stats.retention_run_at),
            ),
            Sample::gauge(
                "apg_audit_findings",
                "Breaches of rules that are known.",
                read(&stats.audit_findings),
            ),
            Sample::counter(
                "apg_audit_executions_total",
                "Executions whose journals were checked.",
                read(&stats.audited_executions),
            ),
            Sample::gauge(
                "apg_audit_last_run_timestamp_seconds",
                "When the rules were checked last; 0 when they were not since the start.",
                seconds(&stats.audit_run_at),
            ),
            Sample::gauge(
                "apg_audit_last_round_timestamp_seconds",
                "When the last execution of a round was checked; 0 when none was since the start.",
                seconds(&stats.audit_round_at),
            ),
            ended("completed", &stats.completed),
            ended("failed", &stats.failed),
            ended("cancelled", &stats.cancelled),
            Sample {
                name: "workflow_execution_duration_seconds",
                help: "Time from an execution's start to its end.",
                kind: Kind::Histogram { buckets, count },
                labels: Vec::new(),
                value: seconds(&stats.duration_micros),
            },
            Sample::counter("coordinator_turns_total", "Turns that were committed.", read(&stats.turns)),
            Sample::counter("coordinator_events_total", "Events in them.", read(&stats.events)),
            Sample::counter(
                "coordinator_batches_total",
                "Batches decided and committed together.",
                read(&stats.batches),
            ),
            Sample::counter(
                "coordinator_messages_total",
                "Inbox messages that were taken.",
                read(&stats.messages),
            ),
            Sample::counter(
                "coordinator_redelivered_total",
                "Inbox messages that the broker had given to someone before.",
                read(&stats.redelivered),
            ),
            Sample::counter(
                "coordinator_superseded_total",
                "Turns that lost a race and were decided again.",
                read(&stats.superseded),
            ),
            Sample::counter(
                "coordinator_late_results_total",
                "Results that came too late to count, or twice.",
                read(&stats.late_results),
            ),
            Sample::counter(
                "coordinator_swept_total",
                "Executions that a sweep looked at.",
                read(&stats.swept),
            ),
            Sample::counter(
                "coordinator_timers_fired_total",
                "Timers that fired.",
                read(&stats.timers_fired),
            ),
            Sample::gauge(
                "coordinator_timer_lateness_seconds",
                "How late the last timer fired.",
                seconds(&stats.timer_lateness_micros),
            ),
            Sample::gauge(
                "coordinator_sweep_lag_seconds",
                "How late the sweep is.",
                seconds(&stats.sweep_lag_micros),
            ),
            Sample::gauge(
                "coordinator_inbox_lag_seconds",
                "How long the last batch took until it was durable.",
                seconds(&stats.inbox_lag_micros),
            ),
            Sample::gauge(
                "coordinator_outstanding_tasks",
                "Tasks dispatched and not settled.",
                read(&stats.outstanding),
            ),
            Sample::gauge(
                "coordinator_cached_executions",
                "Executions kept in memory.",
                read(&stats.cached_executions),
            ),
        ]
    })
}

/// What a worker counts.
pub(crate) fn worker(stats: Arc<worker::Stats>) -> Meter {
    Arc::new(move || {
        let attempts = |outcome, counter| {
            Sample::counter("worker_attempts_total", "Attempts that ended, by how.", read(counter))
                .label("outcome", outcome)
        };
        vec![
            attempts("completed", &stats.completed),
            attempts("failed", &stats.failed),
            attempts("lost", &stats.lost),
            attempts("returned", &stats.returned),
            attempts("not_granted", &stats.not_granted),
            attempts("dropped", &stats.dropped),
            Sample::gauge("worker_running_tasks", "Tasks under way.", read(&stats.running)),
            Sample::counter(
                "worker_redelivered_total",
                "Tasks that the broker had given to someone before.",
                read(&stats.redelivered),
            ),
            Sample::counter(
                "worker_cancelled_late_total",
                "Tasks that arrived after their execution had been cancelled.",
                read(&stats.cancelled_late),
            ),
            Sample::counter("worker_leased_total", "Tasks handed over to a lease.", read(&stats.leased)),
            Sample::counter(
                "worker_messages_total",
                "Result messages that the broker confirmed.",
                read(&stats.messages),
            ),
            Sample::counter("worker_results_total", "Results in them.", read(&stats.results)),
            Sample::counter(
                "worker_publish_retries_total",
                "Publishes that were tried again.",
                read(&stats.publish_retries),
            ),
        ]
    })
}
