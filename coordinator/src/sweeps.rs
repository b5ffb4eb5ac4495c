//! The safety net: finds what was accepted and never started, what was sent and never answered, and what
//! the API accepted and nobody heard of. Progress never depends on it while nothing is lost.

use std::{sync::Arc, time::Duration};

use shared::{
    ids::{MessageId, Shard},
    port::store::StoreError,
    wire::{InboxBody, InboxMessage},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    Config, Ports, Stats,
    membership::{self, Share},
};

/// At most this many executions in one sweep.
const PAGE: u32 = 500;
/// Waiting executions that are woken in one sweep; each that starts and ends wakes the next.
const WOKEN: u32 = 20;
/// A request whose hint has not been answered for this long is hinted again.
const REQUEST_AGE: Duration = Duration::from_secs(5);
/// How often partitions are made and old keys removed.
const MAINTENANCE: Duration = Duration::from_hours(1);

pub(crate) async fn run(
    config: Config,
    ports: Ports,
    mut share: watch::Receiver<Share>,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) {
    let pause = Duration::from_secs(config.sweep_seconds.into());
    let mut first = true;
    let mut maintained = tokio::time::Instant::now();
    loop {
        let shards = share.borrow_and_update().shards.clone();
        if !shards.is_empty() {
            if first && ports.queue.dies_with_the_process() {
                // The queue died with the last process: to the engine that is a wiped broker.
                match ports.store.sweep_all(&shards).await {
                    Ok(0) => first = false,
                    Ok(open) => {
                        info!(open, "Open executions of an earlier process go on");
                        first = false;
                    }
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, "The sweep could not begin");
                    }
                }
            } else {
                first = false;
            }
            match sweep(&ports, &shards, &stats).await {
                // A full page: there is more to do now.
                Ok(found) if found >= PAGE as usize => continue,
                Ok(_) => {}
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "The sweep could not read the store");
                }
            }
        }
        if maintained.elapsed() >= MAINTENANCE {
            maintained = tokio::time::Instant::now();
            if let Err(error) = ports.store.maintain().await {
                debug!(error = &error as &dyn std::error::Error, "Maintenance was put off");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if first { Duration::from_millis(200) } else { pause }) => {}
            () = membership::changed(&mut share) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn sweep(ports: &Ports, shards: &[Shard], stats: &Stats) -> Result<usize, StoreError> {
    let mut hints = Vec::new();
    let due = ports.store.sweep_due(shards, PAGE).await?;
    let mut found = due.len();
    if found > 0 {
        Stats::set(&stats.sweep_lag_micros, ports.store.sweep_lag().await?.as_micros() as u64);
    } else {
        Stats::set(&stats.sweep_lag_micros, 0);
    }
    hints.extend(due.iter().map(|&execution| hint(execution, InboxBody::Sweep { execution })));
    for request in ports.store.requests_waiting(shards, REQUEST_AGE, PAGE).await? {
        hints.push(InboxMessage {
            id: MessageId::derived(request.execution, &format!("request/{}", request.id)),
            shard: Shard::of(request.execution),
            body: InboxBody::Request { execution: request.execution, id: request.id, body: request.body },
        });
    }
    // Places that became free while nobody who knows the waiting was there.
    for execution in ports.store.lines_at_rest(WOKEN).await? {
        if shards.contains(&Shard::of(execution)) {
            hints.push(hint(execution, InboxBody::Wake { execution }));
        }
    }
    if !hints.is_empty() {
        Stats::add(&stats.swept, hints.len() as u64);
        if let Err(error) = ports.queue.publish_inbox(hints).await {
            debug!(error = &error as &dyn std::error::Error, "What the sweep found could not be announced");
            // Nobody heard of them, however often that happens: the next sweep finds them again.
            let now = ports.store.now().await?;
            ports.store.sweep_again(due.into_iter().map(|execution| (execution, now)).collect()).await?;
            found = 0;
        }
    }
    Ok(found)
}

pub(crate) fn hint(execution: shared::ids::ExecutionId, body: InboxBody) -> InboxMessage {
    InboxMessage { id: MessageId::generate(), shard: Shard::of(execution), body }
}
