//! News between rooms of one document: in process, and over Redis, which keeps nothing of them.
//!
//! The channel `<namespace>:rooms:<workflow>` carries each as bytes: who tells it (8), its kind (1), a number (8), and
//! what there is to it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use redis::{Client, aio::ConnectionManager};
use shared::{
    ids::WorkflowId,
    port::rooms::{RoomEvent, RoomNews, Rooms, RoomsError},
};
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::{
    channels::{Channels, connection, while_held},
    redis::Config,
    watchers::Watchers,
};

/// News that go out in one pipeline, in bytes.
const BATCH: usize = 1024 * 1024;
/// News that wait while Redis is slow or away, in bytes; then the oldest are dropped.
const WAITING: usize = 16 * 1024 * 1024;

/// News inside this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct InProcessRooms {
    watchers: Arc<Watchers<WorkflowId, RoomNews>>,
}

impl InProcessRooms {
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Rooms for InProcessRooms {
    fn tell(&self, workflow: WorkflowId, news: RoomNews) {
        if !self.watchers.is_empty() {
            self.watchers.show(&workflow, news);
        }
    }

    async fn listen(&self, workflow: WorkflowId) -> Result<BoxStream<'static, RoomNews>, RoomsError> {
        Ok(self.watchers.watch(workflow).boxed())
    }
}

/// News over Redis. Clones are the same.
#[derive(Clone)]
pub struct RedisRooms {
    core: Arc<Core>,
    _stop: Arc<DropGuard>,
}

struct Core {
    namespace: String,
    connection: ConnectionManager,
    channels: Channels,
    outgoing: Mutex<Outgoing>,
    arrived: Notify,
}

#[derive(Default)]
struct Outgoing {
    news: VecDeque<(WorkflowId, Vec<u8>)>,
    bytes: usize,
}

impl Outgoing {
    fn push(&mut self, workflow: WorkflowId, news: Vec<u8>) {
        self.bytes += news.len();
        self.news.push_back((workflow, news));
        while self.bytes > WAITING {
            let Some((_, oldest)) = self.news.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    fn take(&mut self) -> Vec<(WorkflowId, Vec<u8>)> {
        let mut taken = Vec::new();
        let mut size = 0;
        while size < BATCH {
            let Some((workflow, news)) = self.news.pop_front() else { break };
            size += news.len();
            taken.push((workflow, news));
        }
        self.bytes -= size;
        taken
    }
}

fn encode(news: &RoomNews) -> Vec<u8> {
    let (kind, number, body): (u8, u64, &[u8]) = match &news.what {
        RoomEvent::Update { number, body } => (0, *number, body),
        RoomEvent::People(body) => (1, 0, body),
        RoomEvent::Opened => (2, 0, &[]),
    };
    [&news.from.to_be_bytes(), &[kind][..], &number.to_be_bytes(), body].concat()
}

/// Nothing for what another release may tell and we cannot read.
fn decode(bytes: &[u8]) -> Option<RoomNews> {
    let (from, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (number, body) = rest.split_first_chunk()?;
    let what = match kind {
        0 => RoomEvent::Update { number: u64::from_be_bytes(*number), body: body.into() },
        1 => RoomEvent::People(body.into()),
        2 => RoomEvent::Opened,
        _ => return None,
    };
    Some(RoomNews { from: u64::from_be_bytes(*from), what })
}

impl RedisRooms {
    /// Makes it. Connects when first needed, and again whenever that is lost.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(config: &Config) -> Result<Self, RoomsError> {
        let lost = |error: redis::RedisError| RoomsError(error.into());
        let client = Client::open(config.url.as_str()).map_err(lost)?;
        let core = Arc::new(Core {
            namespace: config.namespace.clone(),
            connection: connection(&client).map_err(lost)?,
            channels: Channels::new(client),
            outgoing: Mutex::default(),
            arrived: Notify::new(),
        });
        Ok(Self { _stop: while_held(send_all(Arc::clone(&core))), core })
    }
}

impl Core {
    fn channel(&self, workflow: WorkflowId) -> String {
        format!("{}:rooms:{workflow}", self.namespace)
    }

    async fn take(&self) -> Vec<(WorkflowId, Vec<u8>)> {
        loop {
            let news = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).take();
            if !news.is_empty() {
                return news;
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
        let mut pipeline = redis::pipe();
        for (workflow, news) in core.take().await {
            pipeline.cmd("PUBLISH").arg(core.channel(workflow)).arg(news).ignore();
        }
        let sent: Result<(), _> = pipeline.query_async(&mut connection).await;
        match sent {
            Ok(()) if !reachable => {
                reachable = true;
                tracing::info!("People on other API processes are heard at once again");
            }
            Ok(()) => {}
            Err(error) => {
                if reachable {
                    tracing::warn!(
                        cause = %error,
                        "People on other API processes are heard some seconds later: Redis does not answer"
                    );
                }
                reachable = false;
                // The connection manager paces its own tries; this paces refusals.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[async_trait]
impl Rooms for RedisRooms {
    fn tell(&self, workflow: WorkflowId, news: RoomNews) {
        self.core.outgoing.lock().unwrap_or_else(PoisonError::into_inner).push(workflow, encode(&news));
        self.core.arrived.notify_one();
    }

    async fn listen(&self, workflow: WorkflowId) -> Result<BoxStream<'static, RoomNews>, RoomsError> {
        let heard = self.core.channels.listen(self.core.channel(workflow)).await.map_err(RoomsError)?;
        Ok(heard.filter_map(async |bytes| decode(&bytes)).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_release_tells_is_left_out() {
        let known = RoomNews { from: 1, what: RoomEvent::Opened };
        assert_eq!(decode(&encode(&known)), Some(known.clone()));
        let mut unknown = encode(&known);
        unknown[8] = 9;
        assert_eq!(decode(&unknown), None);
        assert_eq!(decode(&[0; 16]), None);
    }

    #[test]
    fn the_oldest_is_dropped_when_too_much_waits() {
        let mut outgoing = Outgoing::default();
        for number in 0..20_u8 {
            outgoing.push(WorkflowId::generate(), vec![number; BATCH]);
        }
        assert_eq!((outgoing.news.len(), outgoing.bytes), (16, WAITING));
        assert_eq!(outgoing.take().first().map(|(_, news)| news[0]), Some(4));
        assert_eq!(outgoing.bytes, WAITING - BATCH);
    }
}
