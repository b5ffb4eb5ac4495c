//! Real `apg` processes and what stands around them: a probe, private services, proxies, a client.
//!
//! Nothing here knows what a test expects. Processes are ended by the pid they were started with, and
//! by no other name.

pub(crate) mod brokers;
pub(crate) mod client;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod services;

use std::{
    future::Future,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long anything may take that must happen, on a loaded machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The runtime of clients and local servers. It outlives every test of the process.
pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

/// Runs something beside the test until the process ends or the handle is aborted.
pub(crate) fn beside<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// Asks every 50 ms until there is an answer.
///
/// # Errors
/// When there is none within `within`, with the last error that was met.
pub(crate) async fn until<T, F>(within: Duration, what: &str, mut ask: impl FnMut() -> F) -> Result<T>
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
                None => anyhow::anyhow!(waited),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The secret `IT_WEBHOOK` of every process.
pub(crate) const WEBHOOK_SECRET: &str = "correct horse battery staple";

/// A number that no other caller in this process gets.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A name that no other test uses, in this process or another.
pub(crate) fn unique_name(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), unique())
}

/// A loopback port that nobody listens on.
///
/// Below 32768, where Linux takes the ports of connections out: between this look and the use nothing
/// else takes it by chance.
pub(crate) fn free_port() -> Result<u16> {
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
    bail!("no loopback port is free")
}

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}

/// The binary under test, built with the same profile as the tests.
pub(crate) fn apg() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of the test binary")?;
    // <target>/<profile>/deps/it-<hash>
    let folder = own.parent().and_then(Path::parent).context("the folder of the test binary")?;
    let path = folder.join(format!("apg{}", std::env::consts::EXE_SUFFIX));
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{} is not there: run `cargo build -p cli --bin apg` (with the profile of the tests)",
        path.display()
    )
}

/// Puts the fields of `over` into `under`, map by map.
pub(crate) fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}
