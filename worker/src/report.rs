//! Tells coordinators how attempts ended; acknowledges their deliveries after the confirm, never before.
//!
//! What finished for an inbox while its last publish was in flight goes in one message. Does
//! not bound what waits: unacknowledged deliveries hold credit, so the intake stops by itself.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, stream::FuturesUnordered};
use shared::{
    ids::{MessageId, SHARDS, Shard},
    port::queue::{Acknowledge, DynQueue},
    retry::Reconnect,
    wire::{InboxBody, InboxMessage, TaskResult},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::stats::Stats;

/// Results in one message; a coordinator decides them in one commit.
const MOST_RESULTS: usize = 256;
/// Bytes of results in one message, about; brokers slow down with larger ones.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// An attempt that ended, on its way.
pub(crate) struct Finished {
    pub(crate) result: TaskResult,
    /// Of those that followed it in its chain; they stay in one message with it.
    pub(crate) followers: Vec<TaskResult>,
    /// Bytes of all outputs and logs, about.
    pub(crate) size: usize,
    /// The inbox that it goes to.
    pub(crate) to: Shard,
    pub(crate) held: Held,
}

/// What an attempt holds until its result is confirmed.
pub(crate) enum Held {
    /// Its delivery: dropped unanswered, it comes again.
    Delivery(Box<dyn Acknowledge>),
    /// A lease, and the place that was taken away from the intake.
    Lease,
}

impl Held {
    /// Lets go, once nothing more depends on it.
    pub(crate) async fn release(self, credit: &mpsc::UnboundedSender<i32>) {
        match self {
            Self::Delivery(answer) => answer.ack().await,
            Self::Lease => {
                // The receiver is gone only when the worker is.
                let _ = credit.send(1);
            }
        }
    }
}

pub(crate) struct Reporter {
    queue: DynQueue,
    stats: Arc<Stats>,
    credit: mpsc::UnboundedSender<i32>,
    waiting: Mutex<Vec<Vec<Finished>>>,
    arrived: Notify,
}

impl Reporter {
    pub(crate) fn new(queue: DynQueue, stats: Arc<Stats>, credit: mpsc::UnboundedSender<i32>) -> Self {
        let waiting = Mutex::new((0..SHARDS).map(|_| Vec::new()).collect());
        Self { queue, stats, credit, waiting, arrived: Notify::new() }
    }

    pub(crate) fn send(&self, finished: Finished) {
        for result in std::iter::once(&finished.result).chain(&finished.followers) {
            self.stats.ended(&result.ending);
        }
        let shard = usize::from(finished.to.0 % SHARDS);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)[shard].push(finished);
        self.arrived.notify_one();
    }

    /// Publishes until `closing` and nothing waits. After `give_up` what is not confirmed is left to
    /// the broker, which delivers its tasks again.
    pub(crate) async fn run(&self, closing: CancellationToken, give_up: CancellationToken) {
        let mut busy = [false; SHARDS as usize];
        let mut in_flight = FuturesUnordered::new();
        let mut closed = false;
        loop {
            let batch = self.take(&mut busy);
            if !batch.is_empty() {
                in_flight.push(self.publish(batch, &give_up));
            } else if in_flight.is_empty() && closed {
                return;
            }
            tokio::select! {
                Some(shards) = in_flight.next() => {
                    for shard in shards {
                        busy[shard] = false;
                    }
                }
                () = self.arrived.notified() => {}
                () = closing.cancelled(), if !closed => closed = true,
            }
        }
    }

    /// What waits for the shards that have nothing in flight.
    fn take(&self, busy: &mut [bool]) -> Vec<(usize, Vec<Finished>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        for (shard, list) in waiting.iter_mut().enumerate() {
            if !busy[shard] && !list.is_empty() {
                busy[shard] = true;
                batch.push((shard, mem::take(list)));
            }
        }
        batch
    }

    async fn publish(&self, batch: Vec<(usize, Vec<Finished>)>, give_up: &CancellationToken) -> Vec<usize> {
        let mut shards = Vec::with_capacity(batch.len());
        let mut messages = Vec::with_capacity(batch.len());
        let mut held = Vec::new();
        for (shard, list) in batch {
            shards.push(shard);
            for results in messages_of(list, &mut held) {
                messages.push(InboxMessage {
                    id: MessageId::generate(),
                    shard: Shard(shard as u16),
                    body: InboxBody::Results { results },
                });
            }
        }
        let result_count = messages.iter().map(results_in).sum::<u64>();
        let message_count = messages.len() as u64;
        let confirmed = tokio::select! {
            () = self.until_confirmed(messages) => true,
            () = give_up.cancelled() => false,
        };
        if confirmed {
            Stats::add(&self.stats.messages, message_count);
            Stats::add(&self.stats.results, result_count);
            for held in held {
                held.release(&self.credit).await;
            }
        } else {
            error!(results = result_count, "Results could not be published; their tasks are delivered again");
        }
        shards
    }

    /// The same messages again until the broker holds them: twice is one cause, never is a lost result.
    async fn until_confirmed(&self, messages: Vec<InboxMessage>) {
        let mut pauses = Reconnect::default();
        loop {
            let Err(problem) = self.queue.publish_inbox(messages.clone()).await else { return };
            Stats::add(&self.stats.publish_retries, 1);
            let pause = pauses.pause();
            warn!(
                error = &problem as &dyn std::error::Error,
                retry_in_ms = pause.as_millis() as u64,
                "Results could not be published; trying again"
            );
            tokio::time::sleep(pause).await;
        }
    }
}

fn results_in(message: &InboxMessage) -> u64 {
    match &message.body {
        InboxBody::Results { results } => results.len() as u64,
        _ => 0,
    }
}

/// The results in lots that fit a message each.
fn messages_of(list: Vec<Finished>, held: &mut Vec<Held>) -> Vec<Vec<TaskResult>> {
    let mut lots = Vec::new();
    let mut lot = Vec::with_capacity(list.len().min(MOST_RESULTS));
    let mut bytes = 0;
    for finished in list {
        if lot.len() >= MOST_RESULTS || (bytes + finished.size > MOST_BYTES && !lot.is_empty()) {
            lots.push(mem::take(&mut lot));
            bytes = 0;
        }
        bytes += finished.size;
        lot.push(finished.result);
        lot.extend(finished.followers);
        held.push(finished.held);
    }
    lots.push(lot);
    lots
}
