//! Decides: the pure engine, and the inbox, timers and sweeps around it.
//!
//! Nobody else decides what happens to an execution. This crate knows no adapter: it is given a store,
//! a queue and a progress display.

/// Whether the schedule explorer planted this fault; never outside tests.
#[cfg(test)]
macro_rules! planted {
    ($bug:ident) => {
        crate::seeded::has(crate::seeded::Bug::$bug)
    };
}
#[cfg(not(test))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod audit;
pub mod desk;
pub mod engine;
#[cfg(test)]
mod explorer;
mod files;
mod held_back;
mod inbox;
mod lifecycle;
mod membership;
mod pace;
mod relations;
pub mod retention;
mod rows;
mod schedules;
#[cfg(test)]
mod seeded;
pub mod simulate;
mod snapshots;
mod stats;
mod store_clock;
mod streams;
mod sweeps;
mod timers;
mod weight;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{
    component::Catalogue,
    ids::{CoordinatorId, TenantId},
    port::{
        history::DynArchive,
        progress::DynProgress,
        queue::{DynQueue, QueueError},
        sources::{DynFolders, DynStreams},
        store::{DynStore, StoreError},
    },
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use audit::Audit;
pub use retention::Retention;
pub use stats::{DURATION_BUCKETS, Stats};
pub use weight::Weight;

/// How the coordinator admits, paces and repairs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Executions that run at once, over all tenants and coordinators; further ones wait as `pending`. A
    /// sub-workflow that is waited for runs in the place of its caller.
    #[serde(alias = "max_concurrent_workflows")]
    #[schemars(range(min = 1))]
    pub max_concurrent_executions: u32,
    /// Tasks that are dispatched and not yet finished, over all coordinators. The database is the long
    /// queue, the broker a short one; further tasks wait as `ready`.
    #[schemars(range(min = 1))]
    pub task_queue_size: u32,
    /// Shares of tenants, by tenant id: whole numbers from 1 to 1000. Who is not named has 1. Where more waits than
    /// may run, a tenant of weight 3 gets three places where one of weight 1 gets one: of `task_queue_size` and of
    /// `max_concurrent_executions`.
    #[schemars(with = "BTreeMap<String, Weight>")]
    pub tenant_weights: BTreeMap<TenantId, Weight>,
    /// Whether short components without effects that follow one another travel as one task, which spares a
    /// message and a commit for each. Every one of them still has its own attempts, log and place in the journal.
    pub fusion: bool,
    /// Seconds that cancelled tasks have to clean up before the execution ends without them.
    pub cancel_grace_seconds: u32,
    /// Seconds that a long task's lease lasts without a renewal.
    #[schemars(range(min = 5))]
    pub lease_seconds: u32,
    /// Seconds of silence after which a dispatched task is sent again; doubled each time, up to half an hour.
    #[schemars(range(min = 5))]
    pub silence_seconds: u32,
    /// Seconds between two looks for what was lost.
    #[schemars(range(min = 1))]
    pub sweep_seconds: u32,
    /// Days that notifications stay in the platform's list; then they are removed, read or not.
    #[schemars(range(min = 1))]
    pub keep_notifications_days: u32,
    /// Days that receipts of what came in, and fires that were skipped, can be looked at. At least the week in which
    /// a dedupe key starts one execution. What is parked, and what fires have started, stays.
    #[schemars(range(min = 7))]
    pub keep_receipts_days: u32,
    /// Executions kept in memory; others are read from the store when something happens to them.
    #[schemars(range(min = 1))]
    pub cached_executions: usize,
    /// Open executions beyond which schedules and backfills start no further ones: the API's own setting.
    #[serde(skip, default = "most_open")]
    pub max_open_executions: u64,
    /// How long executions are kept: a section of its own.
    #[serde(skip)]
    pub retention: Retention,
    /// How the rules are checked: a section of its own.
    #[serde(skip)]
    pub audit: Audit,
    /// Inbox messages that are decided and committed together, at most.
    #[schemars(range(min = 1))]
    pub batch: usize,
}

fn most_open() -> u64 {
    100_000
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_executions: 10_000,
            task_queue_size: 1_000,
            tenant_weights: BTreeMap::new(),
            fusion: true,
            cancel_grace_seconds: 10,
            lease_seconds: 60,
            silence_seconds: 60,
            sweep_seconds: 5,
            keep_notifications_days: 90,
            keep_receipts_days: 30,
            cached_executions: 20_000,
            max_open_executions: most_open(),
            retention: Retention::default(),
            audit: Audit::default(),
            batch: 512,
        }
    }
}

impl Config {
    fn rules(&self) -> engine::Rules {
        engine::Rules {
            max_concurrent_executions: self.max_concurrent_executions,
            tenant_weights: self
                .tenant_weights
                .iter()
                .map(|(tenant, weight)| (*tenant, weight.get()))
                .collect(),
            silence: Duration::from_secs(self.silence_seconds.into()),
            silence_cap: Duration::from_mins(30),
            lease: Duration::from_secs(self.lease_seconds.into()),
            cancel_grace: Duration::from_secs(self.cancel_grace_seconds.into()),
            fusion: self.fusion,
            cache: true,
            limits: engine::Limits::default(),
        }
    }
}

/// What a coordinator works with.
#[derive(Clone)]
pub struct Ports {
    pub store: DynStore,
    pub queue: DynQueue,
    pub progress: DynProgress,
    pub catalogue: Catalogue,
    /// The folders that file triggers look at.
    pub folders: DynFolders,
    /// The brokers that queue triggers listen at.
    pub streams: DynStreams,
    /// Where executions are written before they are removed.
    pub archive: Option<DynArchive>,
}

/// Why a coordinator had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatorError {
    #[error("the coordinator could not use its queue")]
    Queue(#[from] QueueError),
    #[error("the coordinator could not use its store")]
    Store(#[from] StoreError),
}

/// Runs a coordinator until `shutdown`; then finishes the batch at hand and leaves.
///
/// Trouble with store, queue or display is waited out, not an error.
pub async fn run(
    config: Config,
    ports: Ports,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) -> Result<(), CoordinatorError> {
    let id = CoordinatorId::generate();
    let clock = Arc::new(store_clock::StoreClock::start(&ports.store, &shutdown).await);
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let inbox = ports.queue.inbox().await?;
    let (shards_sender, shards) = watch::channel(membership::Share::default());
    let (timer_sender, timer_receiver) = mpsc::unbounded_channel();
    // The helpers end with the coordinator, after the inbox has made its last decisions.
    let helpers = CancellationToken::new();
    let background = [
        spawn(membership::run(id, ports.clone(), shards_sender, helpers.clone())),
        spawn(timers::run(
            ports.clone(),
            Arc::clone(&clock),
            shards.clone(),
            timer_receiver,
            Arc::clone(&stats),
            helpers.clone(),
        )),
        spawn(sweeps::run(
            config.clone(),
            ports.clone(),
            shards.clone(),
            Arc::clone(&stats),
            helpers.clone(),
        )),
        spawn(schedules::run(
            config.clone(),
            ports.clone(),
            Arc::clone(&clock),
            shards.clone(),
            helpers.clone(),
        )),
        spawn(files::run(config.clone(), ports.clone(), Arc::clone(&clock), shards.clone(), helpers.clone())),
        spawn(streams::run(
            config.clone(),
            ports.clone(),
            Arc::clone(&clock),
            shards.clone(),
            helpers.clone(),
        )),
        spawn(audit::run_rounds(
            id,
            config.audit.clone(),
            ports.clone(),
            shards.clone(),
            Arc::clone(&stats),
            helpers.clone(),
        )),
        spawn(retention::run(
            id,
            config.retention.clone(),
            ports.clone(),
            shards.clone(),
            Arc::clone(&stats),
            helpers.clone(),
        )),
        spawn(store_clock::keep(Arc::clone(&clock), Arc::clone(&ports.store), helpers.clone())),
    ];
    info!(coordinator = %id, "Coordinator {id} is ready");
    let outcome = inbox::run(&config, &ports, inbox, shards, clock, timer_sender, &stats, &shutdown).await;
    helpers.cancel();
    for task in background {
        // A helper that panicked has said so in the log; there is nothing left to save.
        let _ = task.await;
    }
    info!(coordinator = %id, "Coordinator {id} has left");
    outcome
}

#[expect(clippy::disallowed_methods, reason = "the coordinator's own background tasks, awaited in `run`")]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
