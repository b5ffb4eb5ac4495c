//! Real executions under faults: `apg` processes, proxies between them and their services, a load whose
//! effects are counted, and the question whether everything came of it that was promised.
//!
//! It knows `apg` from outside alone: its verbs, its REST API, and what arrives at the probe. It starts no
//! service and reads no database.

pub mod broker;
pub mod checks;
pub mod client;
pub mod faults;
pub mod field;
pub mod plan;
pub mod probe;
pub mod proxy;
pub mod random;
pub mod report;
pub mod workload;

use std::{
    future::Future,
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use tokio::task::JoinHandle;

/// How long anything may take that must happen, on a loaded machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Asks every 50 ms until there is an answer.
///
/// # Errors
/// When there is none within `within`, with the last error that was met.
pub async fn until<T, F>(within: Duration, what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        let last = match ask().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() > within {
            let waited = format!("{what}: not within {} s", within.as_secs());
            return Err(match last {
                Some(error) => error.context(waited),
                None => anyhow!(waited),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A loopback port that nobody listens on.
///
/// Below 32768, where Linux takes the ports of connections out: between this look and the use nothing
/// else takes it by chance.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new((std::process::id().wrapping_mul(7_919) % u32::from(COUNT)) as u16));
    for _ in 0..1_000 {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no loopback port between {FIRST} and {} is free; end what listens there", FIRST + COUNT)
}

/// Something that runs beside, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Beside(JoinHandle<()>);

impl Beside {
    #[expect(clippy::disallowed_methods, reason = "ended with whoever holds it")]
    pub(crate) fn run(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Waits for its end.
    pub(crate) async fn join(mut self) -> Result<()> {
        (&mut self.0).await.map_err(|error| anyhow!("something that ran beside broke down: {error}"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}
