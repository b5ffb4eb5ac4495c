//! Measures the engine through its ordinary REST API, with the workloads and the figures of its peers.
//!
//! Prints one JSON line a workload. It judges nothing: no timed figure gates a build.

mod big;
mod client;
mod documents;
mod process;
mod server;
mod table;
mod workloads;

use std::{
    io::{BufRead, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Map, Value, json};

use client::Client;
use server::{Shape, Started};
use workloads::{Bench, Sizes};

/// Measures a running server, or one that it starts itself.
#[derive(Debug, Parser)]
#[command(name = "apg-loadtest", version)]
struct Args {
    /// What to run: idle, W1, W2, W3, W4, admission, loop, waiting, scale, big.
    #[arg(long, value_delimiter = ',', default_value = "idle,W1,W2,W3,W4")]
    workloads: Vec<String>,
    /// Start it on private ports with its data in a folder of its own, and stop it afterwards. A cluster
    /// needs DATABASE_URL (a user that may create databases), AMQP_URL and REDIS_URL.
    #[arg(long, value_enum, conflicts_with = "server")]
    start: Option<Shape>,
    /// The binary to start.
    #[arg(long, default_value = "target/release/apg", value_name = "FILE")]
    apg: PathBuf,
    /// A setting for what is started, such as engine.task_queue_size=5000. May be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Worker processes of a started cluster.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    workers: usize,
    /// Measure this running server instead.
    #[arg(long, env = "APG_BASE_URL", default_value = "http://127.0.0.1:5000", value_name = "URL")]
    server: String,
    /// The key to show it.
    #[arg(long, env = "APG_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// How the running server is composed.
    #[arg(long, value_enum, default_value_t = Shape::Embedded)]
    shape: Shape,
    /// Processes of the running server, with commas between; their children count with them.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Processes of its broker, database and Redis. Found by their ports when they were started here.
    #[arg(long, value_delimiter = ',')]
    service_pids: Vec<u32>,
    /// A word for this configuration, shown in the table beside the shape.
    #[arg(long, value_name = "WORD")]
    variant: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Print a table of the lines in these files instead, ours and the peers'.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    table: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every workload could be measured.
async fn run(args: Args) -> Result<bool> {
    if !args.table.is_empty() {
        let mut lines = Vec::new();
        for path in &args.table {
            let file =
                std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
            lines.extend(std::io::BufReader::new(file).lines().map_while(Result::ok));
        }
        write!(std::io::stdout(), "{}", table::table(lines.into_iter()))?;
        return Ok(true);
    }
    let shape = args.start.unwrap_or(args.shape);
    let wants = |name: &str| args.workloads.iter().any(|workload| workload == name);
    let ordinary: Vec<String> =
        args.workloads.iter().filter(|name| !matches!(name.as_str(), "scale" | "big")).cloned().collect();
    let mut good = true;
    if !ordinary.is_empty() {
        let started =
            args.start.map(|shape| Started::new(shape, &args.apg, &args.set, args.workers)).transpose()?;
        let url = started.as_ref().map_or(args.server.as_str(), |started| started.url.as_str());
        let key = started.as_ref().map_or(args.api_key.clone(), |started| Some(started.key.clone()));
        let client = Client::new(url, key)?;
        wait(&client, started.as_ref()).await?;
        let bench = Bench {
            client: &client,
            roots: server::roots(started.as_ref(), &args.pids, &args.service_pids, shape)?,
            sizes: &args.sizes,
            base: base(&args, shape, started.as_ref())?,
        };
        for workload in &ordinary {
            if let Err(error) = bench.run(workload).await {
                bench.emit(workload, json!({ "error": short(&error) }), None)?;
                // What comes after a failure would mean nothing.
                good = false;
                break;
            }
        }
    }
    if good && wants("scale") {
        good = scale(&args, shape).await?;
    }
    if good && wants("big") {
        good = big(&args, shape).await?;
    }
    Ok(good)
}

async fn big(args: &Args, shape: Shape) -> Result<bool> {
    let client = Client::new(&args.server, None)?;
    let base = base(args, shape, None)?;
    let bench = Bench { client: &client, roots: process::Roots::default(), sizes: &args.sizes, base };
    if args.start.is_none() {
        bench.emit("big", json!({ "skipped": "needs --start: it fills a store" }), None)?;
        return Ok(true);
    }
    let mut started = Started::new(shape, &args.apg, &args.set, 1)?;
    let client = Client::new(&started.url, Some(started.key.clone()))?;
    wait(&client, Some(&started)).await?;
    let bench = Bench { client: &client, ..bench };
    if let Err(error) = big::run(&bench, &mut started, shape).await {
        bench.emit("big", json!({ "error": short(&error) }), None)?;
        return Ok(false);
    }
    Ok(true)
}

async fn scale(args: &Args, shape: Shape) -> Result<bool> {
    let mut sets = args.set.clone();
    sets.push(format!("worker.concurrency={}", args.sizes.scale_concurrency));
    if args.start != Some(Shape::Cluster) {
        let client = Client::new(&args.server, None)?;
        let base = base(args, shape, None)?;
        let bench = Bench { client: &client, roots: process::Roots::default(), sizes: &args.sizes, base };
        bench.emit("scale", json!({ "skipped": "needs --start cluster" }), None)?;
        return Ok(true);
    }
    let service = workloads::slow_service().await?;
    // The service listens on this machine, which components may not reach unless they are allowed to.
    if let Some(address) = service.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'))
        && !sets.iter().any(|set| set.starts_with("components.egress.allow="))
    {
        sets.push(format!("components.egress.allow={address}"));
    }
    let mut started = Started::new(
        Shape::Cluster,
        &args.apg,
        &sets,
        args.sizes.scale_workers.first().copied().unwrap_or(1),
    )?;
    let client = Client::new(&started.url, Some(started.key.clone()))?;
    wait(&client, Some(&started)).await?;
    let mut bench = Bench {
        client: &client,
        roots: server::roots(Some(&started), &[], &args.service_pids, Shape::Cluster)?,
        sizes: &args.sizes,
        base: base(args, shape, Some(&started))?,
    };
    if let Err(error) = bench.scale(&mut started, &service).await {
        bench.emit("scale", json!({ "error": short(&error) }), None)?;
        return Ok(false);
    }
    Ok(true)
}

/// Waits until the server answers, or one of its processes ends.
async fn wait(client: &Client, started: Option<&Started>) -> Result<()> {
    let ended = async {
        let pids = started.map(Started::pids).unwrap_or_default();
        while !pids.iter().any(|pid| process::is_gone(*pid)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answered = tokio::select! {
        answered = client.ready(Duration::from_secs(30)) => answered,
        () = ended => Err(anyhow::anyhow!("a process ended before the server answered")),
    };
    answered.with_context(|| started.map(Started::last_words).unwrap_or_default())
}

/// What every line says.
fn base(args: &Args, shape: Shape, started: Option<&Started>) -> Result<Map<String, Value>> {
    let folder = started.map_or_else(std::env::temp_dir, |started| started.folder().to_owned());
    let version = Command::new(&args.apg)
        .arg("--version")
        .output()
        .ok()
        .and_then(|done| Some(String::from_utf8(done.stdout).ok()?.trim().to_owned()))
        .unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let fields = json!({
        "peer": "apg",
        "variant": workloads::variant(shape, args.variant.as_deref()),
        "shape": shape.as_str(),
        "version": version,
        "versions": { "apg": version, "loadtest": env!("CARGO_PKG_VERSION"), "kernel": kernel.trim() },
        "fdatasync_ms": workloads::fdatasync_ms(&folder)?,
    });
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn short(error: &anyhow::Error) -> String {
    format!("{error:#}").chars().take(300).collect()
}
