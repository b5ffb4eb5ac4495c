//! Takes tasks, runs components, reports.
//!
//! Stateless: what it holds is in the broker (unacknowledged deliveries) or in the journal (leases and
//! grants), so a worker may die at any instant. It decides nothing: a redelivered task is reported, not
//! run again, and the engine says what follows.

mod board;
mod chain;
mod config;
mod execute;
mod heartbeat;
mod output;
mod report;
mod stats;

use std::{any::Any, future::Future, io, path::Path, sync::Arc, sync::atomic::AtomicU64, time::Duration};

use shared::{
    component::{Catalogue, NoticeAccess, PayloadAccess},
    ids::WorkerId,
    port::queue::{Controls, DynQueue, MOST_TAGS, QueueError, Subscription, Tasks},
    retry::Reconnect,
    time::Clock,
    wire::Control,
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

pub use config::Config;
pub use stats::Stats;

use board::Board;
use execute::Around;
use report::Reporter;

/// What stopped runs are given to let go, beyond what the attempt itself gives them.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// What the last results are given to be confirmed.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);

/// What a worker needs of the world.
#[derive(Clone)]
pub struct Ports {
    pub queue: DynQueue,
    pub catalogue: Catalogue,
    pub payloads: Arc<dyn PayloadAccess>,
    pub notices: Arc<dyn NoticeAccess>,
    /// Handed to components as it is ([`shared::component::Context::environment`]).
    pub environment: Arc<dyn Any + Send + Sync>,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The queue is closed, or is not what we declare.
    #[error("the worker's queue cannot be used")]
    Queue(#[source] QueueError),
    /// The folder for the tasks' scratch folders cannot be made.
    #[error("no scratch folder can be made in {folder}")]
    Scratch { folder: String, source: io::Error },
    /// It would take from too many lines.
    #[error(
        "worker.tags has {0} tags, and {MOST_TAGS} are the most: leave some out, or divide the pool (worker.pool)"
    )]
    Tags(usize),
}

impl WorkerError {
    /// Whether starting again may help without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Queue(error) => error.is_retryable(),
            Self::Scratch { .. } | Self::Tags(_) => false,
        }
    }
}

/// Runs a worker until `shutdown` and the drain after it.
pub async fn run(config: Config, ports: Ports, shutdown: CancellationToken) -> Result<(), WorkerError> {
    Worker::new(config, ports).run(shutdown).await
}

/// A worker that has not begun: its id and its counters are known before it runs.
#[derive(Debug)]
pub struct Worker {
    id: WorkerId,
    config: Config,
    ports: Ports,
    stats: Arc<Stats>,
}

impl Worker {
    pub fn new(config: Config, ports: Ports) -> Self {
        Self { id: WorkerId::generate(), config, ports, stats: Arc::default() }
    }

    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What it has done so far; to be kept by whoever shows metrics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Works until `shutdown`, then drains: takes nothing new, gives what runs its time to end, reports
    /// the rest as lost without cost, and leaves when the broker has confirmed it all.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let Self { id, config, ports, stats } = self;
        if config.tags.len() > MOST_TAGS {
            return Err(WorkerError::Tags(config.tags.len()));
        }
        let Some(controls) = connect(&shutdown, || ports.queue.controls(id)).await? else { return Ok(()) };
        let subscription = Subscription {
            worker: id,
            pool: config.pool.as_str().into(),
            tags: config.tags.clone(),
            concurrency: config.places(),
        };
        let Some(mut tasks) = connect(&shutdown, || ports.queue.tasks(subscription.clone())).await? else {
            return Ok(());
        };
        let folder = config.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = folder.join(format!("apg-{}", id.as_uuid()));
        make_private(&scratch)
            .map_err(|source| WorkerError::Scratch { folder: folder.display().to_string(), source })?;

        let (credit, mut credits) = mpsc::unbounded_channel();
        let reporter = Arc::new(Reporter::new(Arc::clone(&ports.queue), Arc::clone(&stats), credit.clone()));
        let drain = Duration::from_secs(config.drain_seconds.into());
        let around = Arc::new(Around {
            worker: id,
            config,
            queue: ports.queue,
            catalogue: ports.catalogue,
            payloads: ports.payloads,
            notices: ports.notices,
            environment: ports.environment,
            clock: ports.clock,
            board: Arc::new(Board::default()),
            reporter: Arc::clone(&reporter),
            credit,
            stats,
            scratch: scratch.clone(),
            next_scratch: AtomicU64::new(0),
        });
        let leaving = shutdown.child_token();
        let (closing, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut beside = JoinSet::new();
        beside.spawn(heartbeat::records(Arc::clone(&around), leaving.clone()));
        beside.spawn(heartbeat::renewals(Arc::clone(&around)));
        beside.spawn(listen(Arc::clone(&around), controls));
        let mut reporting = {
            let (closing, give_up) = (closing.clone(), give_up.clone());
            #[expect(clippy::disallowed_methods, reason = "awaited when the worker leaves")]
            tokio::spawn(async move { reporter.run(closing, give_up).await })
        };
        info!(worker.id = %id, pool = %around.config.pool, places = around.config.places(), "Worker {id} takes tasks");

        let outcome = take(&around, tasks.as_mut(), &mut credits, &leaving).await;
        leaving.cancel();
        tasks.stop().await;
        let running = around.board.running();
        info!(worker.id = %id, running, "Worker {id} takes no more tasks and waits for those that run");
        if timeout(drain, around.board.empty()).await.is_err() {
            around.board.stop_all();
            if timeout(STOP_WITHIN, around.board.empty()).await.is_err() {
                warn!(worker.id = %id, running = around.board.running(), "Tasks did not stop; the broker delivers them again");
            }
        }
        closing.cancel();
        if timeout(FLUSH_WITHIN, &mut reporting).await.is_err() {
            give_up.cancel();
            // It ends at once now; a panic in it has nothing left to lose.
            let _ = reporting.await;
        }
        beside.shutdown().await;
        // Answers go through it, so it stays until the last of them.
        drop(tasks);
        if let Err(problem) = tokio::fs::remove_dir_all(&scratch).await {
            warn!(
                error = &problem as &dyn std::error::Error,
                "The worker's scratch folder could not be removed"
            );
        }
        info!(worker.id = %id, "Worker {id} has left");
        outcome
    }
}

/// Hands deliveries on until the worker leaves. Everything here may be cancelled at each await: a
/// delivery is either not taken yet or handed on.
async fn take(
    around: &Arc<Around>,
    tasks: &mut dyn Tasks,
    credits: &mut mpsc::UnboundedReceiver<i32>,
    leaving: &CancellationToken,
) -> Result<(), WorkerError> {
    let mut pauses = Reconnect::default();
    loop {
        let received = tokio::select! {
            biased;
            () = leaving.cancelled() => return Ok(()),
            Some(first) = credits.recv() => {
                let mut by = first;
                while let Ok(more) = credits.try_recv() {
                    by += more;
                }
                if by != 0 {
                    tasks.adjust(by).await;
                }
                continue;
            }
            received = tasks.receive() => received,
        };
        match received {
            Ok(delivery) => {
                pauses.reset();
                let Some(admitted) = around.admit(delivery).await else { continue };
                let around = Arc::clone(around);
                let span = admitted.span();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "on the board until it ends, and who leaves waits for the board"
                )]
                tokio::spawn(async move { around.attempt(admitted).await }.instrument(span));
            }
            Err(error) if error.is_retryable() => {
                warn!(error = &error as &dyn std::error::Error, "No tasks can be received; trying again");
                tokio::select! {
                    () = tokio::time::sleep(pauses.pause()) => {}
                    () = leaving.cancelled() => return Ok(()),
                }
            }
            Err(error) => return Err(WorkerError::Queue(error)),
        }
    }
}

/// Does what coordinators say.
async fn listen(around: Arc<Around>, mut controls: Box<dyn Controls>) {
    let mut pauses = Reconnect::default();
    loop {
        match controls.receive().await {
            Ok(Control::Answer { token, granted }) => around.board.answered(token, granted),
            Ok(Control::Lost { tokens }) => around.board.lose(&tokens),
            Ok(Control::Cancel { execution, tasks }) => around.board.cancel(execution, tasks),
            // A newer release says something that this one does not know: never needed for correctness.
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(pauses.pause()).await;
                continue;
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "Nothing more is heard from coordinators");
                return;
            }
        }
        pauses.reset();
    }
}

/// Tries until it succeeds; `None` when told to leave meanwhile.
async fn connect<T, F>(shutdown: &CancellationToken, deed: impl Fn() -> F) -> Result<Option<T>, WorkerError>
where
    F: Future<Output = Result<T, QueueError>>,
{
    let mut pauses = Reconnect::default();
    loop {
        let pause = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            outcome = deed() => match outcome {
                Ok(made) => return Ok(Some(made)),
                Err(error) if error.is_retryable() => {
                    let pause = pauses.pause();
                    warn!(error = &error as &dyn std::error::Error, retry_in_ms = pause.as_millis() as u64, "The queue cannot be reached; trying again");
                    pause
                }
                Err(error) => return Err(WorkerError::Queue(error)),
            },
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tasks' files are nobody else's business.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
