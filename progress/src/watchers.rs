//! Who watches what in this process.

use std::{
    collections::HashMap,
    hash::Hash,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Messages a slow watcher may be behind; then it misses the oldest.
const BEHIND: usize = 256;

/// Watchers of things that are named by `K`, who are shown `V`.
#[derive(Debug)]
pub(crate) struct Watchers<K, V> {
    /// So that showing costs nothing while nobody watches.
    count: AtomicUsize,
    by_key: Mutex<HashMap<K, broadcast::Sender<V>>>,
}

impl<K, V> Default for Watchers<K, V> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), by_key: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Watchers<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, broadcast::Sender<V>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    pub(crate) fn show(&self, key: &K, value: V) {
        if let Some(sender) = self.lock().get(key) {
            // Nobody left is no error.
            let _ = sender.send(value);
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, key: K) -> Watch<K, V>
    where
        V: Send + 'static,
    {
        let mut watchers = self.lock();
        let receiver =
            watchers.entry(key.clone()).or_insert_with(|| broadcast::channel(BEHIND).0).subscribe();
        drop(watchers);
        self.count.fetch_add(1, Ordering::AcqRel);
        Watch { values: Some(BroadcastStream::new(receiver)), key, watchers: Arc::clone(self) }
    }

    /// Whether anybody watches this.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.lock().contains_key(key)
    }

    /// Ends every watch.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }
}

/// What is shown of one thing. Dropped, it is no longer counted.
pub(crate) struct Watch<K: Hash + Eq + Clone, V: Clone> {
    values: Option<BroadcastStream<V>>,
    key: K,
    watchers: Arc<Watchers<K, V>>,
}

// Nothing in it is pinned.
impl<K: Hash + Eq + Clone, V: Clone> Unpin for Watch<K, V> {}

impl<K: Hash + Eq + Clone, V: Clone + Send + 'static> Stream for Watch<K, V> {
    type Item = V;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<V>> {
        let Some(values) = self.values.as_mut() else { return Poll::Ready(None) };
        loop {
            return match Pin::new(&mut *values).poll_next(cx) {
                Poll::Ready(Some(Ok(value))) => Poll::Ready(Some(value)),
                // Fell behind: what follows is newer.
                Poll::Ready(Some(Err(_))) => continue,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Watch<K, V> {
    fn drop(&mut self) {
        // Before looking, so that the sender does not count us.
        self.values = None;
        self.watchers.count.fetch_sub(1, Ordering::AcqRel);
        let mut watchers = self.watchers.lock();
        if watchers.get(&self.key).is_some_and(|sender| sender.receiver_count() == 0) {
            watchers.remove(&self.key);
        }
    }
}
