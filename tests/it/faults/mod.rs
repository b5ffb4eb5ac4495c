//! Whole processes under faults: what was accepted ends once, whatever is killed, stopped, cut off or
//! wiped meanwhile.
//!
//! The seed decides which faults come in which order and whom they hit; `APG_FAULT_SEED` gives another.
//! Which messages are under way at that moment, the machine decides.

mod checks;
mod field;
mod process;
mod random;
mod workload;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::RUNTIME;

use field::{Fault, Field};
use random::Random;
use workload::Workload;

/// What a fault test is made of.
struct Plan {
    executions: usize,
    faults: Vec<Fault>,
    seed: u64,
}

impl Plan {
    fn new(executions: usize, kinds: &[(Fault, usize)]) -> Self {
        let seed =
            std::env::var("APG_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_260_801);
        let mut faults: Vec<Fault> = kinds.iter().flat_map(|(fault, count)| vec![*fault; *count]).collect();
        Random::new(seed).shuffle(&mut faults);
        Self { executions, faults, seed }
    }
}

async fn hold(field: Field, plan: Plan) -> Result<()> {
    let mut random = Random::new(plan.seed ^ 0x5eed);
    let workload = Workload::begin(&field, plan.executions, plan.seed).await?;
    // A single node of RabbitMQ may lose what was declared just before it is killed.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let portion = plan.executions.div_ceil(plan.faults.len());
    let mut injected = Vec::new();
    for fault in &plan.faults {
        // New work with every fault, so that each meets some under way.
        workload.allow(portion);
        workload.is_under_way().await.with_context(|| format!("before {fault:?}"))?;
        injected.push(field.inject(*fault, &mut random).await.with_context(|| format!("{fault:?}"))?);
        tokio::time::sleep(Duration::from_millis(500 + random.below(1_500))).await;
    }
    workload.allow(plan.executions);
    let history = workload.end().await?;
    let report = checks::run(&field, &history, &injected).await;
    eprintln!("seed {}", plan.seed);
    for line in checks::recovery(&injected, &history) {
        eprintln!("{line}");
    }
    let report = report?;
    eprintln!("{report}");
    ensure!(
        injected.len() == plan.faults.len(),
        "hollow: {} faults of {}",
        injected.len(),
        plan.faults.len()
    );
    let shown: Vec<&str> = report.findings.iter().map(String::as_str).take(20).collect();
    ensure!(report.is_sound(), "{} findings, of which:\n{}", report.findings.len(), shown.join("\n"));
    Ok(())
}

fn run(field: impl Future<Output = Result<Field>>, plan: Plan) -> Result<()> {
    RUNTIME.block_on(async {
        let field = field.await?;
        let logs = field.logs();
        hold(field, plan).await.inspect_err(|_| {
            for log in logs {
                eprintln!("---- {}\n{}", log.display(), crate::harness::process::tail(&log, 25));
            }
        })
    })
}

#[test]
fn a_cluster_keeps_its_promise_under_25_faults() -> Result<()> {
    let kinds = [
        (Fault::Kill("worker"), 5),
        (Fault::Kill("coordinator"), 3),
        (Fault::Kill("api"), 2),
        (Fault::Stop("worker"), 2),
        (Fault::Stop("coordinator"), 2),
        (Fault::Stop("api"), 1),
        (Fault::Terminate("worker"), 1),
        (Fault::Terminate("coordinator"), 1),
        (Fault::Reset, 2),
        (Fault::Silence, 2),
        (Fault::KillBroker, 1),
        (Fault::KillDatabase, 1),
        (Fault::FlushDisplay, 1),
        (Fault::WipeBroker, 1),
    ];
    run(Field::cluster(), Plan::new(500, &kinds))
}

#[test]
fn one_process_keeps_its_promise_when_it_is_killed_5_times() -> Result<()> {
    run(Field::embedded(&json!({})), Plan::new(200, &[(Fault::Kill("serve"), 5)]))
}
