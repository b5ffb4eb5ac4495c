//! The store's present without a query for each request.

use std::time::{Duration, Instant};

use shared::{
    port::store::{DynStore, StoreError},
    time::{Clock, SystemClock, Timestamp},
};
use tokio::sync::Mutex;

/// How long a measured difference is believed. Clocks drift by milliseconds in this time.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// This machine's clock, corrected by its difference from the store's.
#[derive(Debug, Default)]
pub(crate) struct StoreClock {
    measured: Mutex<Option<(Instant, i64)>>,
}

impl StoreClock {
    /// The present by the store's clock, off by half a round trip at most.
    pub(crate) async fn now(&self, store: &DynStore) -> Result<Timestamp, StoreError> {
        // Held over the query on purpose: those who come meanwhile need the same answer.
        let mut measured = self.measured.lock().await;
        let offset = match *measured {
            Some((at, offset)) if at.elapsed() < BELIEVED_FOR => offset,
            _ => {
                let before = SystemClock.now().as_micros();
                let theirs = store.now().await?.as_micros();
                let after = SystemClock.now().as_micros();
                let offset = theirs - before.midpoint(after);
                *measured = Some((Instant::now(), offset));
                offset
            }
        };
        Ok(Timestamp::from_micros(SystemClock.now().as_micros() + offset))
    }
}
