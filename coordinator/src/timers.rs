//! Timers are rows; those due soon are also held here, so that they fire in time without polling.
//!
//! A timer that fires only sends a hint to the inbox. The row stays until its turn is in the journal,
//! and until then the hint is sent again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use shared::{
    execution::TimerKey,
    ids::{ExecutionId, MessageId, Shard},
    port::store::{DueTimer, StoreError},
    time::{Clock, Timestamp},
    wire::{InboxBody, InboxMessage},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Ports, Stats,
    membership::{self, Share},
    store_clock::StoreClock,
};

/// Timers due within this are held in memory.
const HORIZON: Duration = Duration::from_mins(1);
/// How often the store is asked for them.
const POLL: Duration = Duration::from_secs(30);
/// After this the store or the broker is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// At most this many in one read; the next read follows at once.
const PAGE: u32 = 5_000;

/// A timer that was set.
pub(crate) type Set = (ExecutionId, TimerKey, Timestamp);

pub(crate) async fn run(
    ports: Ports,
    clock: Arc<StoreClock>,
    mut share: watch::Receiver<Share>,
    mut set: mpsc::UnboundedReceiver<Set>,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) {
    let mut heap: BinaryHeap<Reverse<(Timestamp, ExecutionId, TimerKey)>> = BinaryHeap::new();
    // What is in the heap, by its latest due time: a timer that was moved leaves its old entry behind.
    let mut held: HashMap<(ExecutionId, TimerKey), Timestamp> = HashMap::new();
    let mut next_poll = clock.now();
    loop {
        let now = clock.now();
        if now >= next_poll {
            let shards = share.borrow_and_update().shards.clone();
            next_poll = now.after(POLL);
            if !shards.is_empty() {
                match ports.store.timers_due(&shards, now.after(HORIZON), PAGE).await {
                    Ok(due) => {
                        if due.len() as u32 == PAGE {
                            next_poll = now.after(RETRY);
                        }
                        for DueTimer { execution, key, due_at, .. } in due {
                            hold(&mut heap, &mut held, execution, key, due_at);
                        }
                    }
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, "Timers could not be read");
                        next_poll = now.after(RETRY);
                    }
                }
            }
        }
        fire(&ports, &stats, &mut heap, &mut held, clock.now()).await;
        let wake = heap.peek().map_or(next_poll, |Reverse((due, ..))| (*due).min(next_poll));
        tokio::select! {
            () = tokio::time::sleep(wake.since(clock.now())) => {}
            () = membership::changed(&mut share) => next_poll = clock.now(),
            timer = set.recv() => {
                let Some((execution, key, due_at)) = timer else { return };
                let horizon = clock.now().after(HORIZON);
                if due_at <= horizon {
                    hold(&mut heap, &mut held, execution, key, due_at);
                }
                while let Ok((execution, key, due_at)) = set.try_recv() {
                    if due_at <= horizon {
                        hold(&mut heap, &mut held, execution, key, due_at);
                    }
                }
            }
            () = shutdown.cancelled() => return,
        }
    }
}

fn hold(
    heap: &mut BinaryHeap<Reverse<(Timestamp, ExecutionId, TimerKey)>>,
    held: &mut HashMap<(ExecutionId, TimerKey), Timestamp>,
    execution: ExecutionId,
    key: TimerKey,
    due_at: Timestamp,
) {
    if held.insert((execution, key.clone()), due_at) != Some(due_at) {
        heap.push(Reverse((due_at, execution, key)));
    }
}

/// Sends a hint for each timer that is due.
async fn fire(
    ports: &Ports,
    stats: &Stats,
    heap: &mut BinaryHeap<Reverse<(Timestamp, ExecutionId, TimerKey)>>,
    held: &mut HashMap<(ExecutionId, TimerKey), Timestamp>,
    now: Timestamp,
) {
    let mut due = Vec::new();
    while let Some(Reverse((at, ..))) = heap.peek()
        && *at <= now
        && let Some(Reverse((at, execution, key))) = heap.pop()
    {
        let name = (execution, key);
        if held.get(&name) == Some(&at) {
            held.remove(&name);
            due.push((at, name.0, name.1));
        }
    }
    let leases = match leases_run_out(ports, &due, now).await {
        Ok(leases) => leases,
        Err(error) => {
            debug!(error = &error as &dyn std::error::Error, "Leases could not be read");
            due.retain(|(_, execution, key)| {
                let is_lease = matches!(key, TimerKey::Lease(_));
                if is_lease {
                    hold(heap, held, *execution, key.clone(), now.after(RETRY));
                }
                !is_lease
            });
            HashSet::new()
        }
    };
    let mut hints = Vec::new();
    let mut latest = Duration::ZERO;
    for (at, execution, key) in due {
        let name = (execution, key);
        if matches!(name.1, TimerKey::Lease(_)) && !leases.contains(&name) {
            continue;
        }
        let (execution, key) = name;
        latest = latest.max(now.since(at));
        hints.push(InboxMessage {
            id: MessageId::derived(execution, &format!("timer/{key}/{}", at.as_micros())),
            shard: Shard::of(execution),
            body: InboxBody::Timer { execution, key },
        });
    }
    if hints.is_empty() {
        return;
    }
    Stats::add(&stats.timers_fired, hints.len() as u64);
    Stats::set(&stats.timer_lateness_micros, latest.as_micros() as u64);
    if let Err(error) = ports.queue.publish_inbox(hints).await {
        // The rows are still there: the next poll finds them again.
        debug!(error = &error as &dyn std::error::Error, "Due timers could not be announced; they stay due");
        tokio::time::sleep(RETRY).await;
    }
}

/// Which of the leases among `due` have run out: a lease is moved in the store by its renewals, and only its row
/// knows. One read for all of them.
async fn leases_run_out(
    ports: &Ports,
    due: &[(Timestamp, ExecutionId, TimerKey)],
    now: Timestamp,
) -> Result<HashSet<(ExecutionId, TimerKey)>, StoreError> {
    let mut shards: Vec<Shard> = due
        .iter()
        .filter(|(_, _, key)| matches!(key, TimerKey::Lease(_)))
        .map(|(_, execution, _)| Shard::of(*execution))
        .collect();
    shards.sort_unstable();
    shards.dedup();
    if shards.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = ports.store.timers_due(&shards, now, PAGE).await?;
    Ok(rows.into_iter().map(|row| (row.execution, row.key)).collect())
}
