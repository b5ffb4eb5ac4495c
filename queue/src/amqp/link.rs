//! One connection that is made again whenever it is lost.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use futures::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, Event, PublisherConfirm, options::ConfirmSelectOptions,
    uri::AMQPUri,
};
use shared::{port::queue::QueueError, retry::Reconnect};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Config, topology::Topology, unavailable};

/// How long a connection may take to be made, its declarations included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that comes back. Dropped, it closes.
pub(super) struct Link {
    live: watch::Receiver<Option<Arc<Live>>>,
    _stop: DropGuard,
}

/// A connection while it lasts.
pub(super) struct Live {
    pub(super) connection: Connection,
    /// For tasks, for the inbox, for the rest; only on the link that publishes.
    lanes: Vec<Lane>,
    lost: CancellationToken,
}

/// A confirm channel. Several callers may have messages in flight on it.
pub(super) struct Lane {
    channel: Channel,
    /// Held while messages are put in line, never while a confirm is awaited: lapin counts a message's
    /// confirm and queues its frames in two steps, which two callers must not interleave.
    order: Mutex<()>,
}

pub(super) type Sending<'a> = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;

impl Lane {
    /// Puts messages in line for the socket, in order, without waiting.
    ///
    /// lapin queues a publish's frames on its first poll and then waits until they are written. Awaiting
    /// one publish after the other would be a round trip to its I/O thread for each message.
    pub(super) fn enqueue<'a>(
        &'a self,
        make: impl FnOnce(&'a Channel) -> Vec<Sending<'a>>,
    ) -> Vec<Queued<'a>> {
        let sending = make(&self.channel);
        let mut nobody = Context::from_waker(Waker::noop());
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        sending
            .into_iter()
            .map(|mut sending| match sending.as_mut().poll(&mut nobody) {
                std::task::Poll::Ready(result) => Queued::Written(result),
                std::task::Poll::Pending => Queued::Waiting(sending),
            })
            .collect()
    }
}

/// A message in line for the socket.
pub(super) enum Queued<'a> {
    Written(lapin::Result<PublisherConfirm>),
    Waiting(Sending<'a>),
}

impl Queued<'_> {
    pub(super) async fn written(self) -> lapin::Result<PublisherConfirm> {
        match self {
            Self::Written(result) => result,
            Self::Waiting(sending) => sending.await,
        }
    }
}

impl Live {
    pub(super) fn lane(&self, number: usize) -> &Lane {
        &self.lanes[number]
    }

    /// Something is wrong with it: drop it and make a new one.
    pub(super) fn fail(&self) {
        self.lost.cancel();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled() || !self.connection.status().connected()
    }

    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Link {
    /// Connects, and keeps connected. With a topology: for publishing, declaring it first each time.
    pub(super) async fn open(
        config: &Config,
        purpose: &'static str,
        topology: Option<Topology>,
    ) -> Result<Self, QueueError> {
        let maker = Maker { config: config.clone(), purpose, topology };
        let first = Arc::new(maker.make().await?);
        let (sender, live) = watch::channel(Some(Arc::clone(&first)));
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "ends with the link, through `_stop`")]
        tokio::spawn(keep(maker, first, sender, stop.clone()));
        Ok(Self { live, _stop: stop.drop_guard() })
    }

    /// The connection, when there is one now.
    pub(super) fn now(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone().filter(|live| !live.is_lost())
    }

    /// Follows the connection over its losses.
    pub(super) fn follow(&self) -> Follower {
        Follower(self.live.clone())
    }
}

/// Sees each connection of a link.
pub(super) struct Follower(watch::Receiver<Option<Arc<Live>>>);

impl Follower {
    /// The connection, as soon as there is one; `None` when the link was closed.
    pub(super) async fn live(&mut self) -> Option<Arc<Live>> {
        self.0.wait_for(|live| live.as_ref().is_some_and(|live| !live.is_lost())).await.ok()?.clone()
    }
}

struct Maker {
    config: Config,
    purpose: &'static str,
    topology: Option<Topology>,
}

impl Maker {
    async fn make(&self) -> Result<Live, QueueError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.try_make())
            .await
            .unwrap_or_else(|_| Err(unavailable("the broker did not answer in time")))
    }

    async fn try_make(&self) -> Result<Live, QueueError> {
        // lapin's texts for a malformed URL do not repeat it, and so not its password.
        let mut uri: AMQPUri =
            self.config.url.parse().map_err(|_| QueueError::Topology("the AMQP URL is malformed".into()))?;
        uri.query.heartbeat = Some(u16::try_from(self.config.heartbeat.as_secs()).unwrap_or(u16::MAX));
        let name = format!("{} {}", self.config.namespace, self.purpose);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connect_uri(uri, properties).await.map_err(unavailable)?;
        let mut lanes = Vec::new();
        if let Some(topology) = &self.topology {
            let channel = connection.create_channel().await.map_err(unavailable)?;
            topology.declare(&channel).await?;
            for _ in 0..3 {
                let channel = connection.create_channel().await.map_err(unavailable)?;
                channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(unavailable)?;
                lanes.push(Lane { channel, order: Mutex::new(()) });
            }
        }
        Ok(Live { connection, lanes, lost: CancellationToken::new() })
    }
}

/// A connection that is not made again, for `purpose`. Whoever holds it closes it.
pub(super) async fn connect(config: &Config, purpose: &'static str) -> Result<Live, QueueError> {
    Maker { config: config.clone(), purpose, topology: None }.make().await
}

/// Says goodbye to a broker that may be gone: not for long.
pub(super) async fn close(live: &Live) {
    let _ = tokio::time::timeout(Duration::from_secs(2), live.connection.close(200, "bye".into())).await;
}

/// Holds one connection after the other until stopped.
async fn keep(
    maker: Maker,
    first: Arc<Live>,
    sender: watch::Sender<Option<Arc<Live>>>,
    stop: CancellationToken,
) {
    let mut live = Some(first);
    let mut pauses = Reconnect::default();
    loop {
        if let Some(live) = live.take() {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = wait_for_loss(&live) => false,
            };
            live.fail();
            sender.send_replace(None);
            close(&live).await;
            if stopped {
                return;
            }
            tracing::warn!(purpose = maker.purpose, "Lost the broker; connecting again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pauses.pause()) => {}
        }
        let made = tokio::select! {
            () = stop.cancelled() => return,
            made = maker.make() => made,
        };
        match made {
            Ok(made) => {
                pauses.reset();
                tracing::info!(purpose = maker.purpose, "Connected to the broker again");
                let made = Arc::new(made);
                sender.send_replace(Some(Arc::clone(&made)));
                live = Some(made);
            }
            Err(error @ QueueError::Topology(_)) => {
                tracing::error!(purpose = maker.purpose, "Cannot use the broker: {error}");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::debug!(purpose = maker.purpose, cause, "The broker is still away");
            }
        }
    }
}

pub(super) async fn wait_for_loss(live: &Live) {
    let mut events = Box::pin(live.connection.events_listener());
    // It may have been lost before anybody listened.
    if live.is_lost() {
        return;
    }
    loop {
        tokio::select! {
            () = live.lost() => return,
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "The broker takes no messages for now");
                }
                Some(Event::ConnectionUnblocked) => tracing::info!("The broker takes messages again"),
                // A channel's error comes here too; then the connection lives on.
                Some(Event::Error(_)) if live.connection.status().connected() => {}
                Some(Event::Error(_)) | None => return,
                Some(_) => {}
            },
        }
    }
}

/// The broker's version, from the first frame it sends. `None` over TLS, or when it does not say.
pub(super) async fn server_version(url: &str) -> Option<(u32, u32)> {
    let uri: AMQPUri = url.parse().ok()?;
    if !matches!(uri.scheme, lapin::uri::AMQPScheme::AMQP) {
        return None;
    }
    let ask = async {
        let address = (uri.authority.host.as_str(), uri.authority.port);
        let mut socket = tokio::net::TcpStream::connect(address).await.ok()?;
        socket.write_all(b"AMQP\0\0\x09\x01").await.ok()?;
        let mut head = [0; 7];
        socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes(head[3..7].try_into().ok()?).min(64 * 1024);
        let mut frame = vec![0; length as usize];
        socket.read_exact(&mut frame).await.ok()?;
        version_in(&frame)
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?
}

/// Finds `version` in the server's properties: its key, `S`, a length and the text.
fn version_in(frame: &[u8]) -> Option<(u32, u32)> {
    const KEY: &[u8] = b"\x07versionS";
    let at = frame.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?) as usize;
    let text = std::str::from_utf8(frame.get(at + 4..at + 4 + length)?).ok()?;
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn reads_the_version_a_broker_greets_with() {
        assert_eq!(version_in(b"..\x07versionS\0\0\0\x063.10.8\x08platform"), Some((3, 10)));
        assert_eq!(version_in(b"..\x07versionS\0\0\0\x094.1.0-rc2.."), Some((4, 1)));
        assert_eq!(version_in(b"..\x07versionS\xff\xff\xff\xff4.1"), None);
        assert_eq!(version_in(b""), None);
    }
}
