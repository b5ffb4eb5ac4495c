//! Metrics in Prometheus text: our own, those of the machine, and what other roles measure.
//!
//! Counts that the store knows are asked for when somebody looks, and kept for a few seconds.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry, TextEncoder};
use shared::{execution::Status, port::queue::QueueDepth};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::{app::App, problem::Problem};

/// What kind of number a sample is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Upper bounds with how many observations were at or below each, ascending and without infinity; how
    /// many there were in all. The sample's `value` is their sum.
    Histogram {
        buckets: Vec<(f64, u64)>,
        count: u64,
    },
}

/// One number that a role measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// From closed sets; never an id.
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

impl Sample {
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Counter, labels: Vec::new(), value }
    }

    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// What a role measures, read whenever somebody looks. Must not block.
pub type Meter = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

fn labels(labels: &[(&'static str, String)], bound: Option<&str>) -> String {
    let mut all: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    all.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

/// Writes samples as Prometheus text, those of one name together.
pub(crate) fn write_samples(samples: &[Sample]) -> String {
    let mut by_name: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_name.entry(sample.name).or_default().push(sample);
    }
    let mut text = String::new();
    for (name, samples) in by_name {
        let kind = match samples[0].kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram { .. } => "histogram",
        };
        let help = samples[0].help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in samples {
            let own = labels(&sample.labels, None);
            if let Kind::Histogram { buckets, count } = &sample.kind {
                for (bound, below) in buckets {
                    let _ = writeln!(
                        text,
                        "{name}_bucket{} {below}",
                        labels(&sample.labels, Some(&number(*bound)))
                    );
                }
                let _ = writeln!(text, "{name}_bucket{} {count}", labels(&sample.labels, Some("+Inf")));
                let _ = writeln!(text, "{name}_sum{own} {}", number(sample.value));
                let _ = writeln!(text, "{name}_count{own} {count}");
            } else {
                let _ = writeln!(text, "{name}{own} {}", number(sample.value));
            }
        }
    }
    text
}

/// The machine and this process, looked at no more than once a second.
pub(crate) struct Machine {
    last: Mutex<(Option<System>, Option<Looked>)>,
}

/// What was seen, and when.
type Looked = (Instant, Vec<Sample>);

impl Machine {
    pub(crate) fn new() -> Self {
        // Where the machine cannot be looked at, its metrics are left out.
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            // CPU use is a difference; this is the first end of it.
            system.refresh_cpu_usage();
        }
        Self { last: Mutex::new((system, None)) }
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (system, kept) = &mut *last;
        if let Some((at, samples)) = kept
            && at.elapsed() < Duration::from_secs(1)
        {
            return samples.clone();
        }
        let Some(system) = system else { return Vec::new() };
        system.refresh_cpu_usage();
        system.refresh_memory();
        let pid = Pid::from_u32(std::process::id());
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        let total = system.total_memory().max(1) as f64;
        let mut samples = vec![
            Sample::gauge(
                "system_cpu_percent",
                "CPU use of the machine over all cores, in percent.",
                f64::from(system.global_cpu_usage()),
            ),
            Sample::gauge(
                "system_memory_percent",
                "Memory in use on the machine, in percent.",
                system.used_memory() as f64 * 100.0 / total,
            ),
        ];
        if let Some(process) = system.process(pid) {
            samples.extend([
                Sample::gauge(
                    "process_resident_memory_bytes",
                    "Memory of this process.",
                    process.memory() as f64,
                ),
                Sample::counter(
                    "process_cpu_seconds_total",
                    "CPU time this process has used.",
                    process.accumulated_cpu_time() as f64 / 1e3,
                ),
                Sample::gauge(
                    "process_start_time_seconds",
                    "When this process started, in seconds since 1970.",
                    process.start_time() as f64,
                ),
            ]);
        }
        *kept = Some((Instant::now(), samples.clone()));
        samples
    }
}

const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of the time executions take.
const EXECUTION_BOUNDS: [f64; 10] = [0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 86_400.0];

/// The metrics of the API role.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    responses: IntCounterVec,
    duration: Histogram,
    pub machine: Machine,
    stored: tokio::sync::Mutex<Option<Looked>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter =
                IntCounterVec::new(Opts::new(name, help), labels).expect("the name and labels are fixed");
            registry.register(Box::new(counter.clone())).expect("each name is registered once");
            counter
        };
        let requests =
            counter("api_requests_total", "Requests by method and endpoint.", &["method", "endpoint"]);
        let responses = counter("api_responses_total", "Answers by class of status.", &["status"]);
        let duration = Histogram::with_opts(
            HistogramOpts::new("api_request_duration_seconds", "Time to answer a request.")
                .buckets(BOUNDS.to_vec()),
        )
        .expect("the name and buckets are fixed");
        registry.register(Box::new(duration.clone())).expect("each name is registered once");
        Self {
            registry,
            requests,
            responses,
            duration,
            machine: Machine::new(),
            stored: tokio::sync::Mutex::new(None),
        }
    }

    pub(crate) fn answered(&self, method: &str, endpoint: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, endpoint]).inc();
        let class = match status {
            0..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.responses.with_label_values(&[class]).inc();
        self.duration.observe(took.as_secs_f64());
    }
}

fn depth_samples(depths: &[QueueDepth]) -> Vec<Sample> {
    let total: u64 = depths.iter().map(|depth| depth.ready).sum();
    let mut samples = vec![Sample::gauge(
        "workflow_queue_depth",
        "Task messages that no worker has taken, over all pools.",
        total as f64,
    )];
    samples.extend(depths.iter().map(|depth| {
        Sample::gauge("queue_ready_messages", "Task messages that no worker has taken.", depth.ready as f64)
            .label("pool", depth.pool.clone())
            .label("priority", depth.priority.as_str())
    }));
    samples
}

fn count_samples(counts: &[(Status, u64)]) -> Vec<Sample> {
    let of = |status: Status| {
        counts.iter().filter(|(found, _)| *found == status).map(|(_, many)| *many).sum::<u64>() as f64
    };
    let mut samples: Vec<Sample> = [Status::Completed, Status::Failed, Status::Cancelled]
        .into_iter()
        .map(|status| {
            Sample::counter("workflow_executions_total", "Executions that ended, by how.", of(status))
                .label("status", status.as_str())
        })
        .collect();
    let active = of(Status::Pending) + of(Status::Running) + of(Status::Paused);
    samples.push(Sample::gauge(
        "workflow_active_count",
        "Executions that were accepted and have not ended.",
        active,
    ));
    samples
}

/// What store and queue know, at most five seconds old. What cannot be asked is left out.
async fn stored(app: &App) -> Vec<Sample> {
    let mut kept = app.metrics.stored.lock().await;
    if let Some((at, samples)) = &*kept
        && at.elapsed() < Duration::from_secs(5)
    {
        return samples.clone();
    }
    let patience = Duration::from_secs(2);
    let (counts, lag, depths) = tokio::join!(
        tokio::time::timeout(patience, app.store.execution_counts()),
        tokio::time::timeout(patience, app.store.sweep_lag()),
        tokio::time::timeout(patience, app.queue.depths()),
    );
    let mut samples = Vec::new();
    if let Ok(Ok(counts)) = counts {
        samples.extend(count_samples(&counts));
    }
    if let Ok(Ok(lag)) = lag {
        samples.push(Sample::gauge(
            "sweep_lag_seconds",
            "Age of the oldest execution that is due for a sweep.",
            lag.as_secs_f64(),
        ));
    }
    if let Ok(Ok(depths)) = depths {
        samples.extend(depth_samples(&depths));
    }
    *kept = Some((Instant::now(), samples.clone()));
    samples
}

/// Everything this process measures, as Prometheus text.
pub(crate) async fn text(app: &App) -> Result<String, Problem> {
    let mut text =
        TextEncoder::new().encode_to_string(&app.metrics.registry.gather()).map_err(Problem::internal)?;
    let mut samples = stored(app).await;
    samples.extend(app.metrics.machine.samples());
    samples.push(Sample::counter(
        "api_hints_lost_total",
        "Hints that the queue did not take, so that the sweep had to find what they told of.",
        app.deeds.hints_lost() as f64,
    ));
    let known: Vec<&str> = samples.iter().map(|sample| sample.name).collect();
    // What the store counted over all processes outranks what a role of this one counted.
    let of_roles: Vec<Sample> =
        app.meters.iter().flat_map(|meter| meter()).filter(|sample| !known.contains(&sample.name)).collect();
    samples.extend(of_roles);
    let promised = "workflow_execution_duration_seconds";
    if !samples.iter().any(|sample| sample.name == promised) {
        // Coordinators observe it; a process without one has seen no execution end.
        samples.push(Sample {
            name: promised,
            help: "Time from an execution's start to its end.",
            kind: Kind::Histogram { buckets: EXECUTION_BOUNDS.map(|bound| (bound, 0)).to_vec(), count: 0 },
            labels: Vec::new(),
            value: 0.0,
        });
    }
    text.push_str(&write_samples(&samples));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_and_labels_are_escaped() {
        let text = write_samples(&[
            Sample::gauge("b", "Two.", 1.5).label("pool", "a\"b\\c\nd"),
            Sample {
                name: "a_seconds",
                help: "One.",
                kind: Kind::Histogram { buckets: vec![(0.5, 1), (1.0, 3)], count: 4 },
                labels: vec![("kind", "x".to_owned())],
                value: 7.25,
            },
            Sample::gauge("b", "Two.", 2.0),
        ]);
        let wanted = r#"# HELP a_seconds One.
# TYPE a_seconds histogram
a_seconds_bucket{kind="x",le="0.5"} 1
a_seconds_bucket{kind="x",le="1"} 3
a_seconds_bucket{kind="x",le="+Inf"} 4
a_seconds_sum{kind="x"} 7.25
a_seconds_count{kind="x"} 4
# HELP b Two.
# TYPE b gauge
b{pool="a\"b\\c\nd"} 1.5
b 2
"#;
        assert_eq!(text, wanted);
    }

    #[test]
    fn every_end_is_counted_even_when_there_was_none() {
        let text =
            write_samples(&count_samples(&[(Status::Running, 2), (Status::Pending, 1), (Status::Failed, 4)]));
        for line in [
            "workflow_executions_total{status=\"completed\"} 0",
            "workflow_executions_total{status=\"failed\"} 4",
            "workflow_executions_total{status=\"cancelled\"} 0",
            "workflow_active_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
