//! Progress over Redis, for when those who work and those who watch are different processes.
//!
//! The hash `<namespace>:execution:<id>` holds where an execution stands, for people and scripts; the
//! channel `<namespace>:progress:<id>` carries each update as JSON. Nothing here reads the hash back.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use redis::{
    Client, Pipeline,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSubSink},
};
use shared::{
    ids::ExecutionId,
    port::progress::{Progress, ProgressError, Update},
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::watchers::Watchers;

/// Updates that go out in one pipeline.
const BATCH: usize = 500;
/// How long Redis may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach Redis and what to keep there.
#[derive(Clone)]
pub struct Config {
    /// `redis://:password@host:6379/0`, or `rediss://`.
    pub url: String,
    /// What every key and channel begins with.
    pub namespace: String,
    /// How long the state of an execution stays after its last update.
    pub keep: Duration,
    /// Updates that wait while Redis is slow or away; then the oldest are dropped.
    pub buffer: usize,
}

impl Config {
    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), namespace: "apg".into(), keep: Duration::from_hours(24), buffer: 10_000 }
    }
}

impl std::fmt::Debug for Config {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("keep", &self.keep)
            .field("buffer", &self.buffer)
            .finish_non_exhaustive()
    }
}

/// Progress over Redis. Clones are the same display.
#[derive(Clone)]
pub struct RedisProgress {
    core: Arc<Core>,
    _stop: Arc<DropGuard>,
}

struct Core {
    config: Config,
    client: Client,
    connection: ConnectionManager,
    outgoing: Mutex<VecDeque<Update>>,
    arrived: Notify,
    watching: tokio::sync::Mutex<Option<Watching>>,
}

/// The one connection that all watchers of this process share.
struct Watching {
    sink: PubSubSink,
    watchers: Arc<Watchers>,
    subscribed: HashSet<ExecutionId>,
    ended: CancellationToken,
}

fn lost(cause: impl Into<shared::port::Cause>) -> ProgressError {
    ProgressError(cause.into())
}

impl RedisProgress {
    /// Makes the display. Connects when first needed, and again whenever that is lost.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(config: &Config) -> Result<Self, ProgressError> {
        let client = Client::open(config.url.as_str()).map_err(lost)?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(3)
            .set_max_delay(Duration::from_secs(2))
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), settings).map_err(lost)?;
        let core = Arc::new(Core {
            config: config.clone(),
            client,
            connection,
            outgoing: Mutex::default(),
            arrived: Notify::new(),
            watching: tokio::sync::Mutex::default(),
        });
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "ends with the last handle, through `_stop`")]
        tokio::spawn(stop.clone().run_until_cancelled_owned(send_all(Arc::clone(&core))));
        Ok(Self { core, _stop: Arc::new(stop.drop_guard()) })
    }
}

impl Core {
    fn channel(&self, execution: ExecutionId) -> String {
        format!("{}:progress:{execution}", self.config.namespace)
    }

    fn pipeline(&self, updates: &[Update]) -> Pipeline {
        let mut pipeline = redis::pipe();
        // One state an execution: of several updates the last counts.
        let last: HashMap<ExecutionId, &Update> =
            updates.iter().map(|update| (update.execution, update)).collect();
        for (execution, update) in last {
            let key = format!("{}:execution:{execution}", self.config.namespace);
            pipeline
                .cmd("HSET")
                .arg(&key)
                .arg("seq")
                .arg(update.seq)
                .arg("status")
                .arg(update.status.as_str())
                .arg("settled")
                .arg(update.settled)
                .arg("total")
                .arg(update.total)
                .arg("at")
                .arg(update.at.to_string())
                .ignore();
            pipeline.cmd("EXPIRE").arg(&key).arg(self.config.keep.as_secs()).ignore();
        }
        for update in updates {
            match serde_json::to_string(update) {
                Ok(json) => {
                    pipeline.cmd("PUBLISH").arg(self.channel(update.execution)).arg(json).ignore();
                }
                Err(error) => tracing::error!(%error, "A progress update cannot be written as JSON"),
            }
        }
        pipeline
    }

    async fn take(&self) -> Vec<Update> {
        loop {
            {
                let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
                let count = outgoing.len().min(BATCH);
                if count > 0 {
                    return outgoing.drain(..count).collect();
                }
            }
            self.arrived.notified().await;
        }
    }
}

/// Sends whatever waits, one pipeline after the other.
async fn send_all(core: Arc<Core>) {
    let mut connection = core.connection.clone();
    let mut reachable = true;
    loop {
        let updates = core.take().await;
        let sent: Result<(), _> = core.pipeline(&updates).query_async(&mut connection).await;
        match sent {
            Ok(()) if !reachable => {
                reachable = true;
                tracing::info!("Live progress is shown again");
            }
            Ok(()) => {}
            Err(error) => {
                if reachable {
                    tracing::warn!(cause = %error, "Live progress is not shown: Redis does not answer");
                }
                reachable = false;
                // The connection manager paces its own tries; this paces refusals.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Core {
    async fn connect_watching(&self) -> Result<Watching, ProgressError> {
        let connect = tokio::time::timeout(ANSWER_TIMEOUT, self.client.get_async_pubsub());
        let (sink, mut messages) = connect.await.map_err(lost)?.map_err(lost)?.split();
        let watchers = Arc::new(Watchers::default());
        let ended = CancellationToken::new();
        let (shown, over) = (Arc::clone(&watchers), ended.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the connection, or when `Watching` is dropped"
        )]
        tokio::spawn(async move {
            let ends = over.clone().drop_guard();
            while let Some(Some(message)) = over.run_until_cancelled(messages.next()).await {
                match serde_json::from_slice(message.get_payload_bytes()) {
                    Ok(update) => shown.show(update),
                    // A newer release may show what we cannot read.
                    Err(error) => tracing::debug!(%error, "Ignored a progress update"),
                }
            }
            drop(ends);
            // Their streams end, and they look at the store.
            shown.end();
        });
        Ok(Watching { sink, watchers, subscribed: HashSet::new(), ended })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

#[async_trait]
impl Progress for RedisProgress {
    fn show(&self, updates: Vec<Update>) {
        let mut outgoing = self.core.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.extend(updates);
        let over = outgoing.len().saturating_sub(self.core.config.buffer);
        outgoing.drain(..over);
        drop(outgoing);
        self.core.arrived.notify_one();
    }

    async fn watch(&self, execution: ExecutionId) -> Result<BoxStream<'static, Update>, ProgressError> {
        let core = &self.core;
        let mut slot = core.watching.lock().await;
        if slot.as_ref().is_none_or(|watching| watching.ended.is_cancelled()) {
            *slot = Some(core.connect_watching().await?);
        }
        let Some(watching) = slot.as_mut() else { return Err(lost("not connected")) };
        let unwatched: Vec<ExecutionId> =
            watching.subscribed.iter().filter(|known| !watching.watchers.has(**known)).copied().collect();
        // Before subscribing, so that nothing is missed in between.
        let watch = watching.watchers.watch(execution);
        let ask = async {
            for gone in unwatched {
                if gone != execution {
                    watching.subscribed.remove(&gone);
                    watching.sink.unsubscribe(core.channel(gone)).await?;
                }
            }
            if !watching.subscribed.contains(&execution) {
                watching.sink.subscribe(core.channel(execution)).await?;
                watching.subscribed.insert(execution);
            }
            Ok::<(), redis::RedisError>(())
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, ask).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                watching.ended.cancel();
                return Err(lost(error));
            }
            Err(late) => {
                watching.ended.cancel();
                return Err(lost(late));
            }
        }
        let ended = watching.ended.clone();
        if ended.is_cancelled() {
            return Err(lost("the connection was lost"));
        }
        // Lives as long as the last watcher or the display.
        Ok(watch.take_until(ended.cancelled_owned()).boxed())
    }

    async fn check(&self) -> Result<(), ProgressError> {
        let mut connection = self.core.connection.clone();
        let ping = async { redis::cmd("PING").query_async::<()>(&mut connection).await };
        tokio::time::timeout(ANSWER_TIMEOUT, ping).await.map_err(lost)?.map_err(lost)
    }
}
