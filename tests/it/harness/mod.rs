//! Real `apg` processes and what stands around them: a probe, private services, proxies, a client.
//!
//! Nothing here knows what a test expects. Processes are ended by the pid they were started with, and
//! by no other name.

pub(crate) mod brokers;
pub(crate) mod client;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod services;

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, bail};
pub(crate) use chaos::{PATIENCE, free_port, until};
use serde_json::Value;

/// The runtime of clients and local servers. It outlives every test of the process.
pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
});

/// What programs show to every process.
pub(crate) const API_KEY: &str = "the-key-that-the-tests-show-to-every-server";

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
