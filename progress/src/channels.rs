//! Channels of Redis, all of them over one connection of this process.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig, PubSubSink},
};
use shared::port::Cause;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::watchers::Watchers;

/// How long Redis may take to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection that commands go over. Connects when first needed, and again whenever that is lost.
pub(crate) fn connection(client: &Client) -> redis::RedisResult<ConnectionManager> {
    let settings = ConnectionManagerConfig::new()
        .set_number_of_retries(3)
        .set_max_delay(Duration::from_secs(2))
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    ConnectionManager::new_lazy_with_config(client.clone(), settings)
}

/// Does some work until the last clone of what it answers is dropped.
pub(crate) fn while_held(work: impl Future<Output = ()> + Send + 'static) -> Arc<DropGuard> {
    let stop = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "ends with the last handle, through the guard")]
    tokio::spawn(stop.clone().run_until_cancelled_owned(work));
    Arc::new(stop.drop_guard())
}

/// What comes over channels. Connects when first needed.
pub(crate) struct Channels {
    client: Client,
    watching: tokio::sync::Mutex<Option<Watching>>,
}

/// The one connection that all watchers of this process share.
struct Watching {
    sink: PubSubSink,
    watchers: Arc<Watchers<String, Arc<[u8]>>>,
    subscribed: HashSet<String>,
    ended: CancellationToken,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Channels {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, watching: tokio::sync::Mutex::default() }
    }

    async fn connect(&self) -> Result<Watching, Cause> {
        let connect = tokio::time::timeout(ANSWER_TIMEOUT, self.client.get_async_pubsub());
        let (sink, mut messages) = connect.await??.split();
        let watchers = Arc::new(Watchers::<String, Arc<[u8]>>::default());
        let ended = CancellationToken::new();
        let (shown, over) = (Arc::clone(&watchers), ended.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the connection, or when `Watching` is dropped"
        )]
        tokio::spawn(async move {
            let ends = over.clone().drop_guard();
            while let Some(Some(message)) = over.run_until_cancelled(messages.next()).await {
                shown.show(&message.get_channel_name().to_owned(), message.get_payload_bytes().into());
            }
            drop(ends);
            // Their streams end, and they look at the store.
            shown.end();
        });
        Ok(Watching { sink, watchers, subscribed: HashSet::new(), ended })
    }

    /// What comes over a channel from now on, until the connection is lost.
    pub(crate) async fn listen(&self, channel: String) -> Result<BoxStream<'static, Arc<[u8]>>, Cause> {
        let mut slot = self.watching.lock().await;
        if slot.as_ref().is_none_or(|watching| watching.ended.is_cancelled()) {
            *slot = Some(self.connect().await?);
        }
        let Some(watching) = slot.as_mut() else { return Err("not connected".into()) };
        let unwatched: Vec<String> =
            watching.subscribed.iter().filter(|known| !watching.watchers.has(known)).cloned().collect();
        // Before subscribing, so that nothing is missed in between.
        let watch = watching.watchers.watch(channel.clone());
        let ask = async {
            for gone in unwatched {
                if gone != channel {
                    watching.subscribed.remove(&gone);
                    watching.sink.unsubscribe(gone).await?;
                }
            }
            if !watching.subscribed.contains(&channel) {
                watching.sink.subscribe(&channel).await?;
                watching.subscribed.insert(channel);
            }
            Ok::<(), redis::RedisError>(())
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, ask).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                watching.ended.cancel();
                return Err(error.into());
            }
            Err(late) => {
                watching.ended.cancel();
                return Err(late.into());
            }
        }
        let ended = watching.ended.clone();
        if ended.is_cancelled() {
            return Err("the connection was lost".into());
        }
        // Lives as long as the last watcher or the display.
        Ok(watch.take_until(ended.cancelled_owned()).boxed())
    }
}
