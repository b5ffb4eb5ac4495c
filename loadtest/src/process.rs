//! CPU and memory of process trees, read from `/proc`. Linux only.
//!
//! Counts the same way as the peers' harness: descendants belong to their root, reaped children to
//! their parent, and PSS counts a shared page once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is measured: our own processes, and the services they use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots {
    pub(crate) own: Vec<u32>,
    pub(crate) services: Vec<u32>,
}

/// The fields of `/proc/PID/stat` after the name; the name may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The roots and all their descendants.
fn tree(roots: &[u32]) -> BTreeSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids() {
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut todo) = (BTreeSet::new(), roots.to_vec());
    while let Some(pid) = todo.pop() {
        if found.insert(pid) {
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// CPU seconds used so far by the trees, reaped children included.
fn cpu_seconds(roots: &[u32]) -> f64 {
    let ticks: u64 = tree(roots)
        .into_iter()
        .filter_map(stat)
        .flat_map(|fields| fields.get(11..15).unwrap_or_default().to_vec())
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The sum of PSS of the trees in MiB.
fn pss_mb(roots: &[u32]) -> f64 {
    let kib: u64 = tree(roots)
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok())
        })
        .sum();
    kib as f64 / 1024.0
}

/// The process that listens on a TCP port of this machine.
pub(crate) fn listener(port: u16) -> Option<u32> {
    let wanted = format!(":{port:04X}");
    let inodes: HashSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| {
            text.lines()
                .skip(1)
                .filter_map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    // State 0A is "listening".
                    (fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A")
                        .then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
                })
                .collect::<Vec<_>>()
        })
        .collect();
    let mut owners: Vec<u32> = pids()
        .filter(|pid| {
            fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|entry| {
                fs::read_link(entry.path())
                    .is_ok_and(|target| target.to_str().is_some_and(|target| inodes.contains(target)))
            })
        })
        .collect();
    // Children inherit the socket; the parent came first, and its tree holds them.
    let all: HashSet<u32> = owners.iter().copied().collect();
    owners.retain(|pid| {
        stat(*pid)
            .and_then(|fields| fields.get(1)?.parse().ok())
            .is_none_or(|parent: u32| !all.contains(&parent))
    });
    owners.first().copied()
}

/// Whether a process has ended, reaped or not.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields.first().is_none_or(|state| state == "Z"))
}

/// How busy the machine is with other things too: the load average over a minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or_default()
}

/// Measures from its start to [`Meter::stop`].
pub(crate) struct Meter {
    roots: Roots,
    began: Instant,
    own_before: f64,
    services_before: f64,
    done: CancellationToken,
    sampler: JoinHandle<(f64, f64)>,
}

/// What was used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    pub(crate) own_cpu: f64,
    pub(crate) services_cpu: f64,
    pub(crate) own_peak: f64,
    pub(crate) peak: f64,
}

impl Meter {
    pub(crate) fn start(roots: &Roots, every: Duration) -> Self {
        let done = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "awaited at the end of the measurement")]
        let sampler = tokio::spawn(sample(roots.clone(), every, done.clone()));
        Self {
            own_before: cpu_seconds(&roots.own),
            services_before: cpu_seconds(&roots.services),
            roots: roots.clone(),
            began: Instant::now(),
            done,
            sampler,
        }
    }

    pub(crate) async fn stop(self) -> Used {
        let wall = self.began.elapsed();
        let own_cpu = cpu_seconds(&self.roots.own) - self.own_before;
        let services_cpu = cpu_seconds(&self.roots.services) - self.services_before;
        self.done.cancel();
        let (own_peak, services_peak) = self.sampler.await.unwrap_or_default();
        Used { wall, own_cpu, services_cpu, own_peak, peak: own_peak + services_peak }
    }
}

/// The highest memory of both groups until told to stop, and at that moment.
async fn sample(roots: Roots, every: Duration, done: CancellationToken) -> (f64, f64) {
    let (mut own, mut services) = (0.0_f64, 0.0_f64);
    loop {
        let stop = tokio::select! {
            () = done.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        own = own.max(pss_mb(&roots.own));
        services = services.max(pss_mb(&roots.services));
        if stop {
            return (own, services);
        }
    }
}

impl Used {
    pub(crate) fn cpu(&self) -> f64 {
        self.own_cpu + self.services_cpu
    }

    /// The fields every line has.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let fields = json!({
            "cpu_s": round(self.cpu(), 2),
            "own_cpu_s": round(self.own_cpu, 2),
            "services_cpu_s": round(self.services_cpu, 2),
            "peak_pss_mb": round(self.peak, 0),
            "own_peak_pss_mb": round(self.own_peak, 1),
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

pub(crate) fn round(number: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places);
    (number * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = socket.local_addr().expect("it is bound").port();
        assert_eq!(listener(port), Some(std::process::id()));
    }

    #[test]
    fn this_process_has_memory_and_is_in_its_own_tree() {
        let me = std::process::id();
        assert!(tree(&[me]).contains(&me));
        assert!(pss_mb(&[me]) > 0.0);
        assert!(cpu_seconds(&[me]) >= 0.0);
    }
}
