//! The workloads, each ending in one JSON line with the keys of the peers' table.

use std::{
    io::Write,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use shared::time::Timestamp;

use crate::{
    client::Client,
    documents::{self, Case},
    process::{self, Meter, Roots, Used, round},
    server::{Shape, Started},
};

/// How often memory is sampled while something runs, and how often an end is looked for.
const SAMPLE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(50);

/// How much of each workload is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Sizes {
    /// Steps of W1's chain.
    #[arg(long, default_value_t = 40)]
    pub(crate) chain: usize,
    /// Runs of W1.
    #[arg(long, default_value_t = 10)]
    pub(crate) chain_runs: usize,
    /// Widths of W2, each measured apart.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    pub(crate) widths: Vec<usize>,
    /// Runs of W2.
    #[arg(long, default_value_t = 5)]
    pub(crate) width_runs: usize,
    /// Items of `loop`, each number measured apart.
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    pub(crate) items: Vec<usize>,
    /// Rounds of `loop` that run at once.
    #[arg(long, default_value_t = 100)]
    pub(crate) parallel: usize,
    /// Executions of `waiting`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) waiting: usize,
    /// Finished executions in the store of `big`.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT")]
    pub(crate) big: usize,
    /// How often `big` asks for each kind of list.
    #[arg(long, default_value_t = 200)]
    pub(crate) big_runs: usize,
    /// Executions of W3.
    #[arg(long, default_value_t = 1000)]
    pub(crate) flows: usize,
    /// Steps of each of them.
    #[arg(long, default_value_t = 10)]
    pub(crate) steps: usize,
    /// Runs of W3.
    #[arg(long, default_value_t = 3)]
    pub(crate) flow_runs: usize,
    /// Executions of W4.
    #[arg(long, default_value_t = 200)]
    pub(crate) single: usize,
    /// Seconds of the idle measurement.
    #[arg(long, default_value_t = 10)]
    pub(crate) idle_seconds: u64,
    /// Worker processes of `scale`.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    pub(crate) scale_workers: Vec<usize>,
    /// Tasks each of those workers runs at once. Small, so that waiting is the limit and not the cores.
    #[arg(long, default_value_t = 4)]
    pub(crate) scale_concurrency: usize,
    /// Seconds each number of workers is kept busy, about.
    #[arg(long, default_value_t = 5)]
    pub(crate) scale_seconds: usize,
}

pub(crate) struct Bench<'a> {
    pub(crate) client: &'a Client,
    pub(crate) roots: Roots,
    pub(crate) sizes: &'a Sizes,
    /// On every line: peer, variant, shape, versions.
    pub(crate) base: Map<String, Value>,
}

impl Bench<'_> {
    /// Prints a line; those who read it may stop at any time.
    pub(crate) fn emit(&self, workload: &str, fields: Value, used: Option<&Used>) -> Result<()> {
        let mut line = self.base.clone();
        line.insert("workload".to_owned(), json!(workload));
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        line.extend(used.map(Used::fields).unwrap_or_default());
        let refusals = self.client.refusals.swap(0, Ordering::Relaxed);
        if refusals > 0 {
            line.insert("refusals".to_owned(), json!(refusals));
        }
        line.insert("load1".to_owned(), json!(process::load()));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", Value::Object(line))?;
        Ok(out.flush()?)
    }

    pub(crate) async fn run(&self, workload: &str) -> Result<()> {
        match workload {
            "idle" => self.idle().await,
            "W1" => self.w1().await,
            "W2" => {
                for width in &self.sizes.widths {
                    self.w2(*width).await?;
                }
                Ok(())
            }
            "W3" => self.w3().await,
            "W4" => self.w4().await,
            "loop" => {
                for items in &self.sizes.items {
                    self.items(*items).await?;
                }
                Ok(())
            }
            "admission" => self.admission().await,
            "waiting" => self.waiting().await,
            other => anyhow::bail!("there is no workload {other}"),
        }
    }

    /// One execution from its submission to its end, in seconds; the check is not timed.
    pub(crate) async fn once(&self, workflow: &str, case: &Case) -> Result<f64> {
        let begun = Instant::now();
        let execution = self.client.submit(workflow, None).await?;
        self.client.watch(&execution).await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.client.check(&execution, &case.expected).await?;
        Ok(seconds)
    }

    async fn repeated(&self, case: &Case, warm: usize, runs: usize) -> Result<(Vec<f64>, Used)> {
        let workflow = self.client.save(&case.definition).await?;
        for _ in 0..warm {
            self.once(&workflow, case).await?;
        }
        let meter = Meter::start(&self.roots, SAMPLE);
        let mut seconds = Vec::with_capacity(runs);
        for _ in 0..runs {
            seconds.push(self.once(&workflow, case).await?);
        }
        let used = meter.stop().await;
        seconds.sort_by(f64::total_cmp);
        Ok((seconds, used))
    }

    async fn idle(&self) -> Result<()> {
        let case = documents::chain(1);
        let workflow = self.client.save(&case.definition).await?;
        self.once(&workflow, &case).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let meter = Meter::start(&self.roots, Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(self.sizes.idle_seconds)).await;
        let used = meter.stop().await;
        let percent = |cpu: f64| round(100.0 * cpu / used.wall.as_secs_f64(), 2);
        let fields = json!({
            "idle_cpu_pct": percent(used.cpu()),
            "own_idle_cpu_pct": percent(used.own_cpu),
            "pss_mb": round(used.peak, 0),
            "own_pss_mb": round(used.own_peak, 1),
        });
        self.emit("idle", fields, Some(&used))
    }

    async fn w1(&self) -> Result<()> {
        let (length, runs) = (self.sizes.chain, self.sizes.chain_runs);
        let (seconds, used) = self.repeated(&documents::chain(length), 1, runs).await?;
        let steps = length as f64;
        let median = percentile(&seconds, 0.5) * 1e3;
        let fields = json!({
            "n": length, "runs": runs, "wall_ms": round(median, 2),
            "min": round(first(&seconds) * 1e3, 2), "max": round(last(&seconds) * 1e3, 2),
            "per_step_ms": round(median / steps, 3),
            "cpu_ms_per_step": round(1e3 * used.cpu() / runs as f64 / steps, 3),
        });
        self.emit("W1", fields, Some(&used))
    }

    async fn w2(&self, width: usize) -> Result<()> {
        let small = documents::fan_out(width.min(20));
        let workflow = self.client.save(&small.definition).await?;
        self.once(&workflow, &small).await?;
        let runs = self.sizes.width_runs;
        let (seconds, used) = self.repeated(&documents::fan_out(width), 0, runs).await?;
        let median = percentile(&seconds, 0.5) * 1e3;
        let fields = json!({
            "n": width, "runs": runs, "wall_ms": round(median, 1),
            "min": round(first(&seconds) * 1e3, 1), "max": round(last(&seconds) * 1e3, 1),
            "steps_per_s": round(width as f64 / median * 1e3, 1),
            "cpu_ms_per_step": round(1e3 * used.cpu() / runs as f64 / width as f64, 3),
        });
        self.emit("W2", fields, Some(&used))
    }

    /// Many executions at once, from the first submission to the last end, in seconds.
    async fn many(&self, workflow: &str, flows: usize, expected: &Value) -> Result<(f64, Used)> {
        static RUN: AtomicUsize = AtomicUsize::new(0);
        let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
        let tag = format!("bench-{since:x}-{}", RUN.fetch_add(1, Ordering::Relaxed));
        let meter = Meter::start(&self.roots, SAMPLE);
        let begun = Instant::now();
        let executions = self.client.submit_many(workflow, flows, &tag).await?;
        self.client.drained(&tag, LOOK).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let used = meter.stop().await;
        ensure!(executions.len() == flows, "{} of {flows} executions were accepted", executions.len());
        self.client.check_all(&executions, expected).await?;
        Ok((seconds, used))
    }

    async fn w3(&self) -> Result<()> {
        let (flows, runs) = (self.sizes.flows, self.sizes.flow_runs);
        let case = documents::chain(self.sizes.steps);
        let workflow = self.client.save(&case.definition).await?;
        self.many(&workflow, flows.min(20), &case.expected).await?;
        let mut seconds = Vec::with_capacity(runs);
        let mut total: Option<Used> = None;
        for _ in 0..runs {
            let (took, used) = self.many(&workflow, flows, &case.expected).await?;
            seconds.push(took);
            total = Some(sum(total, used));
        }
        let used = total.context("W3 needs at least one run")?;
        seconds.sort_by(f64::total_cmp);
        let steps = flows * self.sizes.steps;
        let median = percentile(&seconds, 0.5);
        let all = (steps * runs) as f64;
        let fields = json!({
            "flows": flows, "steps": steps, "runs": runs, "wall_s": round(median, 3),
            "min": round(first(&seconds), 3), "max": round(last(&seconds), 3),
            "steps_per_s": round(steps as f64 / median, 1),
            "flows_per_s": round(flows as f64 / median, 1),
            "steps_per_cpu_s": (used.cpu() > 0.0).then(|| round(all / used.cpu(), 1)),
            "cpu_ms_per_step": round(1e3 * used.cpu() / all, 3),
        });
        self.emit("W3", fields, Some(&used))
    }

    /// W3 without a limit and with one under which all have room, in turn: what asking for a place costs.
    async fn admission(&self) -> Result<()> {
        let (flows, runs) = (self.sizes.flows, self.sizes.flow_runs.max(2));
        let free = documents::chain(self.sizes.steps);
        let mut limited = free.clone();
        limited.definition["name"] = json!("bench-limited");
        limited.definition["concurrency"] = json!({ "key": "bench", "limit": flows });
        let cases = [free, limited];
        let mut workflows = Vec::new();
        for case in &cases {
            let workflow = self.client.save(&case.definition).await?;
            self.many(&workflow, flows.min(20), &case.expected).await?;
            workflows.push(workflow);
        }
        let mut totals: [Option<Used>; 2] = [None, None];
        for _ in 0..runs {
            for ((case, workflow), total) in cases.iter().zip(&workflows).zip(&mut totals) {
                let (_, used) = self.many(workflow, flows, &case.expected).await?;
                *total = Some(sum(*total, used));
            }
        }
        let all = (flows * self.sizes.steps * runs) as f64;
        let [free, limited] = totals.map(|total| total.map_or(0.0, |used| 1e3 * used.cpu() / all));
        let fields = json!({
            "flows": flows, "steps": flows * self.sizes.steps, "runs": runs,
            "free_cpu_ms_per_step": round(free, 4), "limited_cpu_ms_per_step": round(limited, 4),
            "more_percent": (free > 0.0).then(|| round(100.0 * (limited / free - 1.0), 1)),
        });
        self.emit("admission", fields, None)
    }

    async fn w4(&self) -> Result<()> {
        let count = self.sizes.single;
        let (seconds, used) = self.repeated(&documents::chain(1), 3, count).await?;
        let ms = |share: f64| round(percentile(&seconds, share) * 1e3, 2);
        let fields = json!({
            "n": count, "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99),
            "max": round(last(&seconds) * 1e3, 2),
            "cpu_ms_per_step": round(1e3 * used.cpu() / count as f64, 3),
        });
        self.emit("W4", fields, Some(&used))
    }

    /// One loop over so many items: what each of them costs, and the memory of the whole.
    async fn items(&self, count: usize) -> Result<()> {
        let small = documents::each(20, self.sizes.parallel);
        let workflow = self.client.save(&small.definition).await?;
        self.once(&workflow, &small).await?;
        let runs = (20_000 / count).max(1);
        let (seconds, used) = self.repeated(&documents::each(count, self.sizes.parallel), 0, runs).await?;
        let median = percentile(&seconds, 0.5);
        let fields = json!({
            "n": count, "runs": runs, "wall_s": round(median, 3),
            "items_per_s": round(count as f64 / median, 1),
            "cpu_ms_per_item": round(1e3 * used.cpu() / (count * runs) as f64, 4),
            "own_pss_mb": round(used.own_peak, 1),
        });
        self.emit("loop", fields, Some(&used))
    }

    /// Many executions that wait for days, and then as many whose wait ends at one instant.
    async fn waiting(&self) -> Result<()> {
        let count = self.sizes.waiting;
        let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
        let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as i64);
        let at = |micros: i64| Timestamp::from_micros(micros).to_string();
        let far = documents::until(&at(now() + 86_400_000_000 * 3));
        let workflow = self.client.save(&far.definition).await?;
        // As many come and go first: what is measured is what waiting holds, and not what a process and its
        // database grow by when they do all this for the first time.
        let tag = format!("bench-gone-{since:x}");
        let gone = self.client.submit_many(&workflow, count, &tag).await?;
        self.client.started(&tag, LOOK).await?;
        self.client.cancel_all(&gone).await?;
        self.client.drained(&tag, LOOK).await?;
        let before = Meter::start(&self.roots, SAMPLE);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = before.stop().await;
        let waiting = self.client.submit_many(&workflow, count, &format!("bench-far-{since:x}")).await?;
        self.client.started(&format!("bench-far-{since:x}"), LOOK).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let meter = Meter::start(&self.roots, Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(self.sizes.idle_seconds)).await;
        let used = meter.stop().await;
        let fields = json!({
            "n": count,
            "own_kb_each": round((used.own_peak - before.own_peak) * 1024.0 / count as f64, 2),
            "own_idle_cpu_pct": round(100.0 * used.own_cpu / used.wall.as_secs_f64(), 2),
            "own_pss_mb": round(used.own_peak, 1),
        });
        self.emit("waiting", fields, Some(&used))?;
        // They hold the places that the next ones need.
        self.client.cancel_all(&waiting).await?;
        self.client.drained(&format!("bench-far-{since:x}"), LOOK).await?;
        // Accepted and begun well before it is over.
        let due = now() + 1_000_000 * (10 + count as i64 / 300);
        let soon = documents::until(&at(due));
        let workflow = self.client.save(&soon.definition).await?;
        let tag = format!("bench-due-{since:x}");
        let meter = Meter::start(&self.roots, SAMPLE);
        self.client.submit_many(&workflow, count, &tag).await?;
        ensure!(now() < due, "the wait was over before {count} executions were accepted");
        self.client.drained(&tag, LOOK).await?;
        let used = meter.stop().await;
        let mut late: Vec<f64> = Vec::with_capacity(count);
        for ended in self.client.finished(&tag).await? {
            late.push((ended - due) as f64 / 1e3);
        }
        late.sort_by(f64::total_cmp);
        ensure!(late.len() == count && first(&late) >= 0.0, "{} of {count} ended when due", late.len());
        let fields = json!({
            "n": count, "p50_ms": round(percentile(&late, 0.5), 1), "p99_ms": round(percentile(&late, 0.99), 1),
            "max": round(last(&late), 1),
        });
        self.emit("timers", fields, Some(&used))
    }

    /// W3 with a step that waits 20 ms, with more and more worker processes.
    pub(crate) async fn scale(&mut self, started: &mut Started, url: &str) -> Result<()> {
        let length = self.sizes.steps;
        let case = documents::calls(length, url);
        let workflow = self.client.save(&case.definition).await?;
        let mut alone = None;
        for workers in self.sizes.scale_workers.clone() {
            while started.workers() < workers {
                started.spawn("worker")?;
            }
            self.roots.own = started.pids();
            // A first few show that the new ones take tasks.
            self.many(&workflow, workers * self.sizes.scale_concurrency, &case.expected).await?;
            let a_second = workers * self.sizes.scale_concurrency * 1000 / 20;
            let flows = (a_second * self.sizes.scale_seconds / length).max(workers);
            let (seconds, used) = self.many(&workflow, flows, &case.expected).await?;
            let steps = flows * length;
            let each = steps as f64 / seconds / workers as f64;
            let one = *alone.get_or_insert(each);
            let fields = json!({
                "workers": workers, "steps": steps, "wall_s": round(seconds, 3),
                "steps_per_s": round(steps as f64 / seconds, 1),
                "steps_per_s_per_worker": round(each, 1),
                "of_linear": round(each / one, 3),
                "steps_per_cpu_s": (used.cpu() > 0.0).then(|| round(steps as f64 / used.cpu(), 1)),
            });
            self.emit("scale", fields, Some(&used))?;
        }
        Ok(())
    }
}

/// Serves an answer after 20 ms on a private port, and gives its address.
pub(crate) async fn slow_service() -> Result<String> {
    async fn answer() -> &'static str {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "done"
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let app = axum::Router::new().route("/", axum::routing::get(answer));
    #[expect(clippy::disallowed_methods, reason = "serves until the program ends")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

/// How long the disk under a folder takes to keep a few bytes: median of 200, in milliseconds.
pub(crate) fn fdatasync_ms(folder: &Path) -> Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut taken = Vec::with_capacity(200);
    for _ in 0..200 {
        file.write_all(&[0; 512])?;
        let begun = Instant::now();
        file.sync_data()?;
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    Ok(round(percentile(&taken, 0.5), 3))
}

pub(crate) fn variant(shape: Shape, given: Option<&str>) -> String {
    given.map_or_else(|| shape.as_str().to_owned(), |given| format!("{} {given}", shape.as_str()))
}

/// Of sorted numbers; zero when there are none.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((share * sorted.len() as f64) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// What was used in all.
fn sum(so_far: Option<Used>, used: Used) -> Used {
    so_far.map_or(used, |sum| Used {
        wall: sum.wall + used.wall,
        own_cpu: sum.own_cpu + used.own_cpu,
        services_cpu: sum.services_cpu + used.services_cpu,
        own_peak: sum.own_peak.max(used.own_peak),
        peak: sum.peak.max(used.peak),
    })
}

fn first(sorted: &[f64]) -> f64 {
    sorted.first().copied().unwrap_or_default()
}

fn last(sorted: &[f64]) -> f64 {
    sorted.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as the API does, with every execution at its end after three looks.
    async fn pretended_api() -> String {
        use axum::{
            Json, Router,
            extract::{Path, Query},
            routing::{get, post},
        };
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        let list = |Query(query): Query<std::collections::HashMap<String, String>>| async move {
            assert!(query["tag"].starts_with("bench-") && query["limit"] == "1");
            let over = LOOKS.fetch_add(1, Ordering::Relaxed) % 3 == 2;
            Json(json!({ "items": if over { vec![] } else { vec![json!({ "status": "running" })] } }))
        };
        let events = |Path(id): Path<String>| async move {
            format!(
                "event: snapshot\ndata: {{\"execution\":\"{id}\",\"status\":\"running\"}}\n\n\
                 event: end\ndata: {{\"execution\":\"{id}\",\"status\":\"completed\"}}\n\n"
            )
        };
        let app = Router::new()
            .route("/health", get(|| async { "{}" }))
            .route(
                "/api/v1/workflows",
                post(|Json(body): Json<Value>| async move {
                    let steps = body["definition"]["components"].as_object().map_or(0, Map::len) - 1;
                    Json(json!({ "id": steps.to_string() }))
                }),
            )
            .route(
                "/api/v1/workflows/{id}/execute",
                post(|Path(id): Path<String>| async move { Json(json!({ "id": id, "status": "pending" })) }),
            )
            .route("/api/v1/executions", get(list))
            .route("/api/v1/executions/{id}/events", get(events))
            .route(
                "/api/v1/executions/{id}",
                get(|Path(id): Path<String>| async move {
                    Json(json!({ "status": "completed", "output": [id.parse::<u64>().unwrap_or(0)] }))
                }),
            );
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    #[tokio::test]
    async fn each_workload_drives_the_api_to_its_end_and_checks_results() {
        #[derive(clap::Parser)]
        struct Given {
            #[command(flatten)]
            sizes: Sizes,
        }
        let sizes = <Given as clap::Parser>::parse_from([
            "",
            "--chain",
            "4",
            "--chain-runs",
            "2",
            "--flows",
            "40",
            "--single",
            "5",
        ])
        .sizes;
        let client = Client::new(&pretended_api().await, None).expect("a client");
        client.ready(Duration::from_secs(5)).await.expect("it answers");
        let roots = Roots { own: vec![std::process::id()], services: Vec::new() };
        let bench = Bench { client: &client, roots, sizes: &sizes, base: Map::new() };
        for workload in ["W1", "W3", "W4", "admission"] {
            bench.run(workload).await.expect("it is measured");
        }
        // It gives something else than a fan-out should.
        let wrong = bench.run("W2").await.expect_err("a wrong result is found");
        assert!(wrong.to_string().contains("instead of"), "{wrong:#}");
    }

    #[test]
    fn percentiles_are_those_of_the_peers_harness() {
        let sorted: Vec<f64> = (0..200).map(f64::from).collect();
        assert!((percentile(&sorted, 0.5) - 100.0).abs() < 1e-9);
        assert!((percentile(&sorted, 0.99) - 198.0).abs() < 1e-9);
        assert!((percentile(&[], 0.5)).abs() < 1e-9);
    }
}
