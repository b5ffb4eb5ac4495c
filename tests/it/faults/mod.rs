//! Whole processes under faults: what was accepted ends once, whatever is killed, stopped, cut off or
//! wiped meanwhile.
//!
//! The seed decides which faults come in which order and whom they hit; `APG_FAULT_SEED` gives another.
//! Which messages are under way at that moment, the machine decides.

mod chaos;
mod field;
mod process;

use std::time::Duration;

use ::chaos::{
    checks::{self, Recovery},
    faults::Fault::{Cut, Kill, Silence, Stop, Terminate},
    random::Random,
    report::Audited,
    workload::{Load, Workload},
};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{API_KEY, RUNTIME, unique_name};

use field::{Fault, Field};

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

/// Everything accepted has ended this long after the last fault.
const BOUND: Duration = Duration::from_mins(2);
/// A new submission ends this soon after the faults.
const FRESH: Duration = Duration::from_secs(10);

async fn hold(field: Field, plan: Plan) -> Result<()> {
    let mut random = Random::new(plan.seed ^ 0x5eed);
    let load = Load {
        api_key: API_KEY.to_owned(),
        executions: plan.executions,
        seed: plan.seed,
        clients: 6,
        rest: Duration::from_millis(600),
        patience: BOUND,
        own: None,
    };
    let mut workload = Workload::begin(&field.apis(), &unique_name("faults"), load).await?;
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
    let base = field.apis().into_iter().next().context("an API")?;
    let mut tally = checks::look(&base, API_KEY, &history).await?;
    eprintln!("seed {}\n{tally}", plan.seed);
    for Recovery { fault, count, lasted, next_effect, next_turn } in
        checks::recovery(&injected, &history.effects, &tally.turns)
    {
        eprintln!(
            "{fault:24} x{count}: lasted up to {:5.1} s, next effect within {:5.1} s, next turn {:5.1} s",
            lasted.max, next_effect.max, next_turn.max
        );
    }
    let hollow = checks::hollowness(&history, &tally, injected.len(), plan.faults.len());
    tally.findings.extend(hollow);
    match workload.fresh().await {
        Ok(took) if took <= FRESH => {}
        Ok(took) => tally.find(format!("a new execution took {took:?}")),
        Err(error) => tally.find(format!("a new execution: {error:#}")),
    }
    for surprise in field.surprises() {
        eprintln!("{surprise}");
    }
    let output = field.alone(&["audit", "--output", "json"]).await?;
    let audit = Audited::read(output.code, &output.out, &output.err);
    if !audit.is_clean(tally.accepted) {
        tally.find(format!("{audit:?}"));
    }
    let shown: Vec<&str> = tally.findings.iter().map(String::as_str).take(20).collect();
    ensure!(tally.is_sound(), "{} findings, of which:\n{}", tally.findings.len(), shown.join("\n"));
    Ok(())
}

fn run(field: impl Future<Output = Result<Field>>, plan: Plan) -> Result<()> {
    RUNTIME.block_on(async {
        let field = field.await?;
        let logs = field.logs();
        hold(field, plan).await.inspect_err(|error| {
            // Before the logs, which are long.
            eprintln!("{error:#}");
            for log in logs {
                eprintln!("---- {}\n{}", log.display(), crate::harness::process::tail(&log, 25));
            }
        })
    })
}

#[test]
fn a_cluster_keeps_its_promise_under_25_faults() -> Result<()> {
    let kinds = [
        (Fault::Of(Kill("worker")), 5),
        (Fault::Of(Kill("coordinator")), 3),
        (Fault::Of(Kill("api")), 2),
        (Fault::Of(Stop("worker")), 2),
        (Fault::Of(Stop("coordinator")), 2),
        (Fault::Of(Stop("api")), 1),
        (Fault::Of(Terminate("worker")), 1),
        (Fault::Of(Terminate("coordinator")), 1),
        (Fault::Of(Cut), 2),
        (Fault::Of(Silence), 2),
        (Fault::KillBroker, 1),
        (Fault::KillDatabase, 1),
        (Fault::FlushDisplay, 1),
        (Fault::WipeBroker, 1),
    ];
    run(Field::cluster(), Plan::new(500, &kinds))
}

#[test]
fn one_process_keeps_its_promise_when_it_is_killed_5_times() -> Result<()> {
    run(Field::embedded(&json!({})), Plan::new(200, &[(Fault::Of(Kill("serve")), 5)]))
}
