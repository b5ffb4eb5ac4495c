//! Whether the parts that a process stands on answer.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use shared::port::{progress::DynProgress, queue::DynQueue, store::DynStore};
use utoipa::ToSchema;

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// One part that a process stands on.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    /// Without it nothing can be accepted: the process is down, not merely degraded.
    is_vital: bool,
    ask: Arc<dyn Fn() -> Answer + Send + Sync>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("is_vital", &self.is_vital)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// A check of your own; `ask` says what is wrong. It is given two seconds.
    pub fn new<F, A>(name: &'static str, is_vital: bool, ask: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, is_vital, ask: Arc::new(move || Box::pin(ask())) }
    }

    /// Whether the store answers.
    pub fn store(store: DynStore) -> Self {
        Self::new("store", true, move || {
            let store = Arc::clone(&store);
            async move { store.now().await.map(|_| ()).map_err(|error| error.to_string()) }
        })
    }

    /// Whether the queue answers.
    pub fn queue(queue: DynQueue) -> Self {
        Self::new("queue", false, move || {
            let queue = Arc::clone(&queue);
            async move { queue.check(PATIENCE).await.map_err(|error| error.to_string()) }
        })
    }

    /// Whether the display of live progress answers.
    pub fn progress(progress: DynProgress) -> Self {
        Self::new("progress", false, move || {
            let progress = Arc::clone(&progress);
            async move { progress.check().await.map_err(|error| error.to_string()) }
        })
    }
}

/// How well a part or the whole does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All is well.
    Ok,
    /// It works, with something missing.
    Degraded,
    /// It does not work.
    Down,
}

/// How one part does.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartHealth {
    /// `ok` or `down`.
    pub status: Condition,
    /// How long it took to answer.
    pub duration_ms: f64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How the process and what it stands on do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` (the queue, the display or every worker is missing: things are accepted and wait), or
    /// `down` (answered with 503: nothing can be accepted).
    pub status: Condition,
    /// The release that answers.
    pub version: &'static str,
    /// Each part: `store`, `queue`, `progress`.
    #[schema(value_type = std::collections::HashMap<String, PartHealth>)]
    pub components: BTreeMap<&'static str, PartHealth>,
    /// Workers that are alive; absent when this process does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Asks every part at once.
pub(crate) async fn look(checks: &[Check]) -> Health {
    let asked = checks.iter().map(|check| async {
        let started = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, (check.ask)())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let part = PartHealth {
            status: if answer.is_ok() { Condition::Ok } else { Condition::Down },
            duration_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            detail: answer.err(),
        };
        (check.name, check.is_vital, part)
    });
    let answers = futures::future::join_all(asked).await;
    let status =
        answers.iter().fold(Condition::Ok, |worst, (_, is_vital, part)| match (part.status, is_vital) {
            (Condition::Ok, _) => worst,
            (_, true) => Condition::Down,
            (_, false) if worst == Condition::Down => worst,
            (_, false) => Condition::Degraded,
        });
    Health {
        status,
        version: VERSION,
        components: answers.into_iter().map(|(name, _, part)| (name, part)).collect(),
        workers: None,
    }
}
