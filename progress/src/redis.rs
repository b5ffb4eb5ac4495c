//! Progress over Redis, for when those who work and those who watch are different processes.
//!
//! The hash `<namespace>:execution:<id>` holds where an execution stands, for people and scripts; the
//! channel `<namespace>:progress:<id>` carries each update as JSON. Nothing here reads the hash back.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use redis::{Client, Pipeline, aio::ConnectionManager};
use shared::{
    ids::ExecutionId,
    port::progress::{Progress, ProgressError, Update},
};
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::channels::{ANSWER_TIMEOUT, Channels, connection, while_held};

/// Updates that go out in one pipeline.
const BATCH: usize = 500;

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
    connection: ConnectionManager,
    channels: Channels,
    outgoing: Mutex<VecDeque<Update>>,
    arrived: Notify,
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
        let connection = connection(&client).map_err(lost)?;
        let core = Arc::new(Core {
            config: config.clone(),
            connection,
            channels: Channels::new(client),
            outgoing: Mutex::default(),
            arrived: Notify::new(),
        });
        Ok(Self { _stop: while_held(send_all(Arc::clone(&core))), core })
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
        let heard = self.core.channels.listen(self.core.channel(execution)).await.map_err(ProgressError)?;
        let updates = heard.filter_map(async |bytes| {
            serde_json::from_slice(&bytes)
                // A newer release may show what we cannot read.
                .inspect_err(|error| tracing::debug!(%error, "Ignored a progress update"))
                .ok()
        });
        Ok(updates.boxed())
    }

    async fn check(&self) -> Result<(), ProgressError> {
        let mut connection = self.core.connection.clone();
        let ping = async { redis::cmd("PING").query_async::<()>(&mut connection).await };
        tokio::time::timeout(ANSWER_TIMEOUT, ping).await.map_err(lost)?.map_err(lost)
    }
}
