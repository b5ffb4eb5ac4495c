//! What this worker says about itself, and the renewal of the leases it holds.
//!
//! Nothing here is needed for correctness but the renewals, and a lost one is followed by the next.

use std::{sync::Arc, time::Duration};

use shared::{
    ids::{MessageId, SHARDS, Shard},
    port::queue::QueueError,
    time::Timestamp,
    wire::{InboxBody, InboxMessage, WorkerRecord},
};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::execute::Around;

/// Publishes a record at the start, at each interval, and at once when the worker begins to leave.
pub(crate) async fn records(around: Arc<Around>, leaving: CancellationToken) {
    let started_at = around.clock.now();
    let shard = Shard((around.worker.as_uuid().as_u128() % u128::from(SHARDS)) as u16);
    let mut system = System::new().ok();
    let mut ticks = interval(Duration::from_secs(around.config.heartbeat_seconds.get().into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leaving.cancelled(), if !told => {}
        }
        told = leaving.is_cancelled();
        let record = record(&around, system.as_mut(), started_at, told);
        let message = InboxMessage { id: MessageId::generate(), shard, body: InboxBody::Worker { record } };
        if let Err(problem) = around.queue.publish_inbox(vec![message]).await {
            debug!(error = &problem as &dyn std::error::Error, "This worker's record could not be published");
        }
    }
}

fn record(
    around: &Around,
    system: Option<&mut System>,
    started_at: Timestamp,
    draining: bool,
) -> WorkerRecord {
    let pid = Pid::from_u32(std::process::id());
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    let (cpu_percent, memory_bytes) = system.map_or((0.0, 0), |system| {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        system.process(pid).map_or((0.0, 0), |process| (process.cpu_usage(), process.memory()))
    });
    WorkerRecord {
        id: around.worker,
        host: System::host_name().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pool: around.config.pool.clone(),
        tags: around.config.tags.clone(),
        kinds: around
            .catalogue
            .iter()
            .filter(|descriptor| descriptor.build.is_some())
            .map(|descriptor| descriptor.kind.to_owned())
            .collect(),
        concurrency: around.config.places().into(),
        running: around.board.running() as u32,
        cpu_percent,
        memory_bytes,
        started_at,
        draining,
    }
}

/// Renews all leases, one message a shard and interval.
pub(crate) async fn renewals(around: Arc<Around>) {
    let mut ticks = interval(Duration::from_secs(around.config.renewal_seconds.get().into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(problem) = renew(&around).await {
            warn!(
                error = &problem as &dyn std::error::Error,
                "Leases could not be renewed; the next interval tries again"
            );
        }
    }
}

async fn renew(around: &Around) -> Result<(), QueueError> {
    let messages: Vec<InboxMessage> = around
        .board
        .leases()
        .into_iter()
        .map(|(shard, renewals)| InboxMessage {
            id: MessageId::generate(),
            shard,
            body: InboxBody::Renew { worker: around.worker, renewals },
        })
        .collect();
    if messages.is_empty() {
        return Ok(());
    }
    around.queue.publish_inbox(messages).await
}
