//! `big`: a store with a million finished executions, and how long people wait for lists of them.
//!
//! A few executions run for real, and the store is filled with their like: the same journals, with ids and instants of
//! their own, through the deeds that the API and the coordinator use. So every row is as it would be.

use std::{
    collections::HashMap,
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shared::{
    execution::{Event, Status, Turn},
    ids::{ExecutionId, MessageId, TenantId, WorkflowId},
    port::store::{Commit, FinishedTask, Journal, Kept, StatusChange, Submission, Submitted},
    time::Timestamp,
};
use store::SqlStore;

use crate::{
    documents,
    process::round,
    server::{Shape, Started},
    workloads::{Bench, percentile},
};

/// Workflows whose executions they are.
const WORKFLOWS: usize = 20;
/// Executions in one deed.
const BATCH: usize = 500;
/// The time over which they lie.
const SPAN: Duration = Duration::from_hours(24 * 28);
/// One of so many failed, and one of so many was cancelled.
const FAILED: usize = 20;
const CANCELLED: usize = 5_000;
/// One of so many has the tag that is searched for.
const RARE: usize = 10_000;

/// Executions that a simulation goes over, at most.
const SIMULATED: usize = 20_000;

/// What an execution left, to be copied.
struct Model {
    workflow: WorkflowId,
    turns: Vec<Turn>,
    /// The type of each component.
    kinds: HashMap<String, String>,
}

fn kinds(definition: &Value) -> HashMap<String, String> {
    let components = definition["components"].as_object().into_iter().flatten();
    components
        .filter_map(|(id, component)| Some((id.clone(), component["type"].as_str()?.to_owned())))
        .collect()
}

/// Fills the store and measures the lists.
pub(crate) async fn run(bench: &Bench<'_>, started: &mut Started, shape: Shape) -> Result<()> {
    let (client, count) = (bench.client, bench.sizes.big);
    let far = Timestamp::from_micros(now()? + 86_400_000_000).to_string();
    let mut real = Vec::new();
    for number in 0..WORKFLOWS + 2 {
        let definition = match number {
            0 => documents::failing().definition,
            1 => documents::until(&far).definition,
            _ => documents::chain(1).definition,
        };
        let workflow = client.save(&definition).await?;
        let execution = client.submit(&workflow, Some("big")).await?;
        if number == 1 {
            client.started("big", Duration::from_millis(20)).await?;
            client.cancel_all(std::slice::from_ref(&execution)).await?;
        }
        client.watch(&execution).await?;
        real.push((workflow, execution, kinds(&definition)));
    }
    // Nobody else has the store meanwhile: a coordinator would take up what is only half copied.
    started.pause();
    let config = store::Config::at(started.database());
    let store = SqlStore::open(&config).await.context("the store cannot be opened")?;
    let mut models = Vec::new();
    for (workflow, execution, kinds) in real {
        let turns = store.load(&[execution.parse()?], 0, u32::MAX).await?.remove(0);
        let turns = turns.with_context(|| format!("{execution} has no journal"))?.turns;
        models.push(Model { workflow: workflow.parse()?, turns, kinds });
    }
    let begun = Instant::now();
    let ids = fill(&store, &models, count).await?;
    let filled = begun.elapsed().as_secs_f64();
    store.close().await;
    drop(store);
    started.resume(shape)?;
    client.ready(Duration::from_mins(2)).await?;
    measure(bench, &models, &ids, filled).await?;
    let single = models.get(2).context("a workflow of one step")?.workflow.to_string();
    audit(bench, started, &single, count).await?;
    simulate(bench, started, &single, count).await
}

/// The audit of all of it, and what those notice of it who run one execution after another meanwhile.
async fn audit(bench: &Bench<'_>, started: &Started, workflow: &str, count: usize) -> Result<()> {
    let case = documents::chain(1);
    let mut alone = Vec::with_capacity(bench.sizes.single);
    for _ in 0..bench.sizes.single {
        alone.push(1e3 * bench.once(workflow, &case).await?);
    }
    let mut command = started.command("audit");
    let begun = Instant::now();
    let mut audit = std::pin::pin!(tokio::task::spawn_blocking(move || (command.output(), begun.elapsed())));
    let mut beside = Vec::new();
    let (output, took) = loop {
        tokio::select! {
            biased;
            done = &mut audit => break done?,
            taken = bench.once(workflow, &case) => beside.push(1e3 * taken?),
        }
    };
    let output = output.context("the audit does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the audit found something: {}",
        said.lines().next().unwrap_or_default()
    );
    alone.sort_by(f64::total_cmp);
    beside.sort_by(f64::total_cmp);
    let fields = json!({
        "audit_s": round(took.as_secs_f64(), 2), "n": count, "beside": beside.len(),
        "alone_p50_ms": round(percentile(&alone, 0.5), 2), "alone_p99_ms": round(percentile(&alone, 0.99), 2),
        "beside_p50_ms": round(percentile(&beside, 0.5), 2), "beside_p99_ms": round(percentile(&beside, 0.99), 2),
    });
    bench.emit("big", fields, None)
}

/// A changed workflow over its past executions.
async fn simulate(bench: &Bench<'_>, started: &Started, workflow: &str, count: usize) -> Result<()> {
    let most = (count / WORKFLOWS / 2).clamp(1, SIMULATED);
    let mut changed = documents::chain(1).definition;
    changed["components"]["s1"]["config"]["expression"] = json!("item + 2");
    let mut command = started.command("simulate");
    command.args(["--server", &started.url, "--against", "last 30d", "--workflow", workflow, "-o", "json"]);
    command.args(["--limit", &most.to_string(), "-"]);
    let begun = Instant::now();
    let output = tokio::task::spawn_blocking(move || {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(changed.to_string().as_bytes())?;
        }
        child.wait_with_output()
    });
    let output = output.await?.context("the simulation does not start")?;
    let seconds = begun.elapsed().as_secs_f64();
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the simulation: {}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(said["compared"] == json!(most), "not all of {most} executions were compared: {said}");
    let fields = json!({
        "simulated": most, "changed": said["changed"], "simulate_s": round(seconds, 2),
        "simulated_per_s": round(most as f64 / seconds, 0),
    });
    bench.emit("big", fields, None)
}

fn now() -> Result<i64> {
    Ok(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?)
}

/// Which model the execution with this number is like.
fn like(number: usize) -> usize {
    match number {
        _ if number % CANCELLED == CANCELLED - 1 => 1,
        _ if number % FAILED == FAILED - 1 => 0,
        _ => 2 + number % WORKFLOWS,
    }
}

/// Keeps so many copies, the oldest first, and answers their ids.
async fn fill(store: &SqlStore, models: &[Model], count: usize) -> Result<Vec<ExecutionId>> {
    let seed = ExecutionId::generate();
    let begin = now()? - i64::try_from(SPAN.as_micros())?;
    let apart = i64::try_from(SPAN.as_micros())? / i64::try_from(count.max(1))?;
    let mut ids = Vec::with_capacity(count);
    let mut number = 0;
    while number < count {
        let mut submissions = Vec::with_capacity(BATCH);
        let mut commits = Vec::with_capacity(BATCH * 3);
        for number in number..(number + BATCH).min(count) {
            let model = &models[like(number)];
            let at = Timestamp::from_micros(begin + apart * i64::try_from(number)?);
            let id = ExecutionId::derived(seed, &number.to_string(), at);
            ids.push(id);
            let (first, rest) = copied(model, id, at, number)?;
            submissions.push(Submission { first, idempotency: None, carries: Vec::new() });
            commits.extend(rest.into_iter().map(|turn| commit(model, turn)));
        }
        let answers = store.accept(submissions, u64::MAX).await?;
        ensure!(answers.iter().all(|answer| *answer == Submitted::New), "the store refused: {answers:?}");
        let kept = store.commit(commits).await?;
        ensure!(kept.iter().all(|answer| *answer == Kept::Committed), "the store refused turns");
        number += BATCH;
    }
    Ok(ids)
}

/// The journal of a model as that of another execution.
fn copied(model: &Model, id: ExecutionId, at: Timestamp, number: usize) -> Result<(Turn, Vec<Turn>)> {
    let origin = model.turns.first().context("a journal has a first turn")?.at.as_micros();
    let moved = |instant: Timestamp| Timestamp::from_micros(instant.as_micros() - origin + at.as_micros());
    let mut turns = model.turns.iter().map(|turn| {
        let mut turn = turn.clone();
        (turn.execution, turn.cause, turn.at) = (id, MessageId::generate(), moved(turn.at));
        for event in &mut turn.events {
            match event {
                Event::Accepted(accepted) => {
                    accepted.tags = vec![format!("group-{}", number % 100)];
                    if number % RARE == RARE / 2 {
                        accepted.tags.push("rare".to_owned());
                    }
                }
                Event::TaskCompleted { started_at, finished_at, .. } => {
                    (*started_at, *finished_at) = (moved(*started_at), moved(*finished_at));
                }
                _ => {}
            }
        }
        turn
    });
    let first = turns.next().context("a journal has a first turn")?;
    Ok((first, turns.collect()))
}

/// A turn with what it changes beside the journal, as its events say.
fn commit(model: &Model, turn: Turn) -> Commit {
    let mut change = None;
    let mut finished = Vec::new();
    for event in &turn.events {
        match event {
            Event::Started => {
                change = Some(StatusChange { status: Status::Running, failure: None, output: None });
            }
            Event::Finished { status, output, failure } => {
                change =
                    Some(StatusChange { status: *status, failure: failure.clone(), output: output.clone() });
            }
            Event::TaskCompleted { task, attempt, worker, started_at, finished_at, .. } => {
                let kind = model.kinds.get(task.component.as_str()).map_or("", String::as_str);
                finished.push(FinishedTask {
                    task: task.clone(),
                    attempt: *attempt,
                    kind: kind.into(),
                    status: Status::Completed,
                    failure_class: None,
                    worker: Some(*worker),
                    started_at: *started_at,
                    finished_at: *finished_at,
                });
            }
            Event::TaskFailed { task, attempt, failure, worker, .. } => {
                let kind = model.kinds.get(task.component.as_str()).map_or("", String::as_str);
                finished.push(FinishedTask {
                    task: task.clone(),
                    attempt: *attempt,
                    kind: kind.into(),
                    status: Status::Failed,
                    failure_class: Some(failure.class.to_string()),
                    worker: *worker,
                    started_at: turn.at,
                    finished_at: turn.at,
                });
            }
            _ => {}
        }
    }
    let release = change.as_ref().is_some_and(|change| change.status.is_terminal());
    Commit {
        tenant: TenantId::DEFAULT,
        workflow: model.workflow,
        change,
        timers: Vec::new(),
        give: Vec::new(),
        take: Vec::new(),
        wait: Vec::new(),
        release,
        has_asked: false,
        finished,
        request: None,
        sweep_at: None,
        people: Vec::new(),
        waits: Vec::new(),
        cache: Vec::new(),
        turn,
    }
}

/// Asks for each kind of list again and again.
async fn measure(bench: &Bench<'_>, models: &[Model], ids: &[ExecutionId], filled: f64) -> Result<()> {
    let count = ids.len();
    let middle = ids.get(count / 2).context("nothing was filled")?;
    let oldest = ids.get(count / 100).context("nothing was filled")?;
    let workflow = models.get(2).context("a workflow")?.workflow;
    let day = |back: i64| Ok::<_, anyhow::Error>(Timestamp::from_micros(now()? - back * 86_400_000_000));
    let lists = [
        ("first_page", String::new()),
        ("completed", "status=completed".to_owned()),
        ("failed", "status=failed".to_owned()),
        ("cancelled", "status=cancelled".to_owned()),
        ("open", "status=pending,running,paused".to_owned()),
        ("ended_badly", "status=failed,cancelled".to_owned()),
        ("workflow", format!("workflow_id={workflow}")),
        ("workflow_failed", format!("workflow_id={workflow}&status=failed")),
        ("tag", "tag=group-7".to_owned()),
        ("rare_tag", "tag=rare".to_owned()),
        ("no_such_tag", "tag=nobody".to_owned()),
        ("deep", format!("cursor={middle}")),
        ("deepest", format!("cursor={oldest}")),
        ("deep_completed", format!("status=completed&cursor={middle}")),
        ("deep_workflow", format!("workflow_id={workflow}&cursor={middle}")),
        ("a_day", format!("created_from={}&created_to={}", day(14)?, day(13)?)),
    ];
    let mut worst: f64 = 0.0;
    for (name, query) in lists {
        let path = format!("/api/v1/executions?limit=50&{query}");
        let (answer, _) = bench.client.timed(&path).await?;
        let items = answer["items"].as_array().map_or(0, Vec::len);
        let mut taken = Vec::with_capacity(bench.sizes.big_runs);
        for _ in 0..bench.sizes.big_runs {
            taken.push(bench.client.timed(&path).await?.1);
        }
        worst = worst.max(emit(bench, name, count, items, taken)?);
    }
    let mut taken = Vec::with_capacity(bench.sizes.big_runs);
    // Far from each other, so that none is found in a page that the last one left behind.
    for id in ids.iter().step_by((count / bench.sizes.big_runs).max(1)).take(bench.sizes.big_runs) {
        let (view, milliseconds) = bench.client.timed(&format!("/api/v1/executions/{id}")).await?;
        ensure!(view["id"] == json!(id.to_string()), "{id} is not there");
        taken.push(milliseconds);
    }
    worst = worst.max(emit(bench, "get", count, 1, taken)?);
    let fields = json!({
        "n": count, "filled_s": round(filled, 1), "filled_per_s": round(count as f64 / filled, 0),
        "worst_p99_ms": round(worst, 2),
    });
    bench.emit("big", fields, None)
}

/// Prints a line, and answers its p99.
fn emit(bench: &Bench<'_>, list: &str, count: usize, items: usize, mut taken: Vec<f64>) -> Result<f64> {
    taken.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&taken, 0.5), percentile(&taken, 0.99));
    let fields = json!({
        "list": list, "n": count, "items": items, "p50_ms": round(p50, 2), "p99_ms": round(p99, 2),
    });
    bench.emit("big", fields, None)?;
    Ok(p99)
}
