//! How many turns a second a store keeps, and at what cost.
//!
//! `cargo run --release -p store --example turns`; with DATABASE_URL set, also on PostgreSQL. A row is one turn
//! with one finished task, the commonest there is. Prints one JSON line a case.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::{collections::HashSet, fs, time::Instant};

use serde_json::json;
use shared::{
    execution::{Accepted, Event, Mode, Payload, Status, TaskKey, Turn},
    ids::{ExecutionId, MessageId, TenantId, WorkerId, WorkflowId},
    port::store::{
        Commit, FinishedTask, Journal, Kept, Library, Saved, Submission, Submitted, WorkflowDraft,
        WorkflowRow,
    },
    time::Timestamp,
    workflow::Priority,
};
use sqlx::{AssertSqlSafe, ConnectOptions, postgres::PgConnectOptions};
use store::{Config, SqlStore};

const TURNS_EACH: u32 = 10;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = std::env::temp_dir().join(format!("turns-{}", std::process::id()));
    for (batch, rows) in [(1, 500), (32, 20_000), (256, 60_000)] {
        let path = folder.join(format!("{batch}.db"));
        let store = SqlStore::open(&Config::at(path.display().to_string())).await.expect("a store");
        measure("sqlite", &store, batch, rows).await;
        store.close().await;
    }
    fs::remove_dir_all(&folder).expect("a folder of ours");

    if let Ok(base) = std::env::var("DATABASE_URL") {
        let schema = format!("turns_{}", std::process::id());
        let options: PgConnectOptions = base.parse().expect("an address");
        let mut connection = options.connect().await.expect("PostgreSQL answers");
        let create = format!("create schema {schema}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.expect("a schema");
        let mark = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{mark}options[search_path]={schema}");
        store::migrate(&url).await.expect("migrated");
        for (batch, rows) in [(1, 2_000), (32, 20_000), (256, 60_000)] {
            let store = SqlStore::open(&Config::at(&url)).await.expect("a store");
            measure("postgres", &store, batch, rows).await;
            store.close().await;
        }
        let remove = format!("drop schema {schema} cascade");
        sqlx::query(AssertSqlSafe(remove)).execute(&mut connection).await.expect("removed");
    }
}

async fn measure(engine: &str, store: &SqlStore, batch: usize, rows: usize) {
    let workflow = workflow(store).await;
    let count = (rows / TURNS_EACH as usize).max(batch);
    let rounds = (rows / count).max(1) as u32;
    let now = store.now().await.expect("the present");
    let mut ids = Vec::with_capacity(count);

    let (wall, cpu) = (Instant::now(), cpu_ticks());
    while ids.len() < count {
        let some: Vec<Submission> =
            (0..batch.min(count - ids.len())).map(|_| submission(&workflow, now)).collect();
        ids.extend(some.iter().map(|submission| submission.first.execution));
        let answers = store.accept(some, u64::MAX).await.expect("accepted");
        assert!(answers.iter().all(|answer| *answer == Submitted::New));
    }
    report(engine, "accept", batch, count, wall, cpu);

    let (wall, cpu) = (Instant::now(), cpu_ticks());
    for seq in 2..2 + rounds {
        for some in ids.chunks(batch) {
            let turns = some.iter().map(|id| turn(&workflow, *id, seq, now)).collect();
            let answers = store.commit(turns).await.expect("kept");
            assert!(answers.iter().all(|answer| *answer == Kept::Committed));
        }
    }
    report(engine, "commit", batch, count * rounds as usize, wall, cpu);
}

fn report(engine: &str, deed: &str, batch: usize, rows: usize, wall: Instant, before: (u64, u64)) {
    let wall = wall.elapsed();
    let after = cpu_ticks();
    // A tick is 10 ms on Linux.
    let micros = |ticks: u64| (ticks * 10_000) as f64 / rows as f64;
    let line = json!({
        "engine": engine, "deed": deed, "batch": batch, "rows": rows,
        "rows_per_s": (rows as f64 / wall.as_secs_f64()).round(),
        "ms_per_batch": wall.as_secs_f64() * 1e3 * batch as f64 / rows as f64,
        "cpu_us_per_row": micros(after.0 - before.0),
        "server_cpu_us_per_row": if engine == "postgres" { micros(after.1.saturating_sub(before.1)) } else { 0.0 },
    });
    println!("{line}");
}

/// Ticks of this process, and of all processes named postgres.
fn cpu_ticks() -> (u64, u64) {
    let ticks = |path: &str| -> Option<(String, u64)> {
        let text = fs::read_to_string(path).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some((name.to_owned(), fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?))
    };
    let own = ticks("/proc/self/stat").map_or(0, |(_, ticks)| ticks);
    let mut seen = HashSet::new();
    let mut server = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = format!("{}/stat", entry.path().display());
        if let Some((name, ticks)) = ticks(&path)
            && name.starts_with("postgres")
            && seen.insert(path)
        {
            server += ticks;
        }
    }
    (own, server)
}

async fn workflow(store: &SqlStore) -> WorkflowRow {
    let id = WorkflowId::generate();
    let draft = WorkflowDraft {
        id,
        tenant: TenantId::DEFAULT,
        name: id.to_string(),
        description: String::new(),
        category: String::new(),
        tags: Vec::new(),
        document: String::new(),
        hash: id.to_string(),
        snapshot: String::new(),
        triggers: Vec::new(),
        publishes: None,
        principal: "bench".to_owned(),
        at: Timestamp::from_micros(1),
    };
    match store.workflow_create(draft).await.expect("created") {
        Saved::Created(row) => row,
        other => panic!("{other:?}"),
    }
}

fn submission(workflow: &WorkflowRow, at: Timestamp) -> Submission {
    let accepted = Accepted {
        parent: None,
        retry_of: None,
        trial: None,
        tenant: workflow.tenant,
        workflow: workflow.id,
        version: 1,
        hash: workflow.hash.clone(),
        parameters: [("n".to_owned(), json!(1))].into_iter().collect(),
        priority: Priority::Normal,
        mode: Mode::Live,
        scheduled_at: None,
        tags: Vec::new(),
        principal: "bench".to_owned(),
        trigger: None,
    };
    let first = Turn {
        execution: ExecutionId::generate(),
        seq: 1,
        cause: MessageId::generate(),
        at,
        events: vec![Event::Accepted(Box::new(accepted))],
    };
    Submission { first, idempotency: None, carries: Vec::new() }
}

fn turn(workflow: &WorkflowRow, execution: ExecutionId, seq: u32, at: Timestamp) -> Commit {
    let worker = WorkerId::generate();
    let done = TaskKey::of(format!("step_{seq}").as_str().into());
    let next = TaskKey::of(format!("step_{}", seq + 1).as_str().into());
    let completed = Event::TaskCompleted {
        task: done.clone(),
        attempt: 1,
        output: Payload::Inline(json!({ "n": seq })),
        ports: Vec::new(),
        worker,
        started_at: at,
        finished_at: at,
        log: Vec::new(),
    };
    Commit {
        people: Vec::new(),
        has_asked: false,
        waits: Vec::new(),
        cache: Vec::new(),
        turn: Turn {
            execution,
            seq,
            cause: MessageId::generate(),
            at,
            events: vec![
                completed,
                Event::TaskReady { task: next.clone() },
                Event::TaskDispatched { task: next, attempt: 1, dispatch: 1, slot: None, cache: None },
            ],
        },
        tenant: workflow.tenant,
        workflow: workflow.id,
        change: None,
        timers: Vec::new(),
        give: Vec::new(),
        take: Vec::new(),
        wait: Vec::new(),
        release: false,
        finished: vec![FinishedTask {
            task: done,
            attempt: 1,
            kind: "add".into(),
            status: Status::Completed,
            failure_class: None,
            worker: Some(worker),
            started_at: at,
            finished_at: at,
        }],
        request: None,
        sweep_at: None,
    }
}
