//! Who watches which execution in this process.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::Stream;
use shared::{ids::ExecutionId, port::progress::Update};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Updates a slow watcher may be behind; then it misses the oldest.
const BEHIND: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// So that showing costs nothing while nobody watches.
    count: AtomicUsize,
    by_execution: Mutex<HashMap<ExecutionId, broadcast::Sender<Update>>>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, broadcast::Sender<Update>>> {
        self.by_execution.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    pub(crate) fn show(&self, update: Update) {
        if let Some(sender) = self.lock().get(&update.execution) {
            // Nobody left is no error.
            let _ = sender.send(update);
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, execution: ExecutionId) -> Watch {
        let mut watchers = self.lock();
        let receiver = watchers.entry(execution).or_insert_with(|| broadcast::channel(BEHIND).0).subscribe();
        drop(watchers);
        self.count.fetch_add(1, Ordering::AcqRel);
        Watch { updates: Some(BroadcastStream::new(receiver)), execution, watchers: Arc::clone(self) }
    }

    /// Whether anybody watches this execution.
    pub(crate) fn has(&self, execution: ExecutionId) -> bool {
        self.lock().contains_key(&execution)
    }

    /// Ends every watch.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }
}

/// The updates of one execution. Dropped, it is no longer counted.
pub(crate) struct Watch {
    updates: Option<BroadcastStream<Update>>,
    execution: ExecutionId,
    watchers: Arc<Watchers>,
}

impl Stream for Watch {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        let Some(updates) = self.updates.as_mut() else { return Poll::Ready(None) };
        loop {
            return match Pin::new(&mut *updates).poll_next(cx) {
                Poll::Ready(Some(Ok(update))) => Poll::Ready(Some(update)),
                // Fell behind: what follows is newer.
                Poll::Ready(Some(Err(_))) => continue,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Before looking, so that the sender does not count us.
        self.updates = None;
        self.watchers.count.fetch_sub(1, Ordering::AcqRel);
        let mut watchers = self.watchers.lock();
        if watchers.get(&self.execution).is_some_and(|sender| sender.receiver_count() == 0) {
            watchers.remove(&self.execution);
        }
    }
}
