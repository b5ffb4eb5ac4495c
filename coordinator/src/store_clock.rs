//! The store's clock, read now and then and carried on by the machine's monotonic clock in between, so
//! that a wall clock that jumps moves no timer and no lease.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    port::store::DynStore,
    retry::Reconnect,
    time::{Clock, Timestamp},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const EVERY: Duration = Duration::from_mins(1);

/// A clock that agrees with the store's to within a round trip.
#[derive(Debug)]
pub(crate) struct StoreClock {
    origin: Instant,
    /// The store's time at `origin`, in microseconds.
    offset: AtomicI64,
}

impl StoreClock {
    /// Reads the store's clock, waiting until the store answers or the shutdown comes.
    pub(crate) async fn start(store: &DynStore, shutdown: &CancellationToken) -> Self {
        let clock = Self { origin: Instant::now(), offset: AtomicI64::new(0) };
        let mut pause = Reconnect::default();
        while let Err(error) = clock.read(store).await {
            warn!(error = &error as &dyn std::error::Error, "The store does not answer; trying again");
            tokio::select! {
                () = tokio::time::sleep(pause.pause()) => {}
                () = shutdown.cancelled() => break,
            }
        }
        clock
    }

    async fn read(&self, store: &DynStore) -> Result<(), shared::port::store::StoreError> {
        let before = self.origin.elapsed();
        let now = store.now().await?;
        let middle = (before + self.origin.elapsed()) / 2;
        self.offset.store(now.as_micros() - middle.as_micros() as i64, Ordering::Relaxed);
        Ok(())
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.offset.load(Ordering::Relaxed) + self.origin.elapsed().as_micros() as i64)
    }
}

/// Reads the store's clock again every minute.
pub(crate) async fn keep(clock: Arc<StoreClock>, store: DynStore, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.cancelled() => return,
        }
        // Unreachable for a moment: the monotonic clock carries on, and others report the trouble.
        let _ = clock.read(&store).await;
    }
}
