//! Why is it waiting? Each reason that a user can meet, with its sentence and its data.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos::proxy::{Proxy, through};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, RUNTIME,
    client::{Api, text},
    place::{Addresses, Member, Place, Shape, given, member, migrate, settings},
    process::Process,
    run::Run,
    unique_name, until,
};

both_shapes!(
    for_what_its_connections_come_from,
    for_a_delay_to_be_over,
    for_the_next_attempt,
    for_a_person,
    for_an_event,
    for_a_sub_workflow,
    for_its_start,
    for_the_end_of_a_pause,
    for_a_worker_of_its_pool,
    for_somebody_outside,
    for_a_place_of_its_component,
    for_a_place_of_its_workflow,
    for_what_a_worker_runs_on_a_lease,
    for_what_comes_last,
    for_nothing_when_it_has_ended,
);

/// A document with these lines of components; `@call(name?script)` is a call of the probe.
fn document(place: &Place, head: &str, components: &str) -> String {
    let base = &place.probe.base;
    let label = unique_name("why");
    let mut parts = components.split("@call(");
    let mut lines = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (call, rest) = part.split_once(')').unwrap_or((part, ""));
        lines += &format!(
            "type: http_request, config: {{ method: POST, url: '{base}/effect/{label}/{call}' }}, timeout: 2m{rest}"
        );
    }
    let lines: Vec<String> = lines.lines().map(|line| format!("  {}", line.trim())).collect();
    format!("workflow: v1\nname: why\n{head}\ncomponents:\n{}\n", lines.join("\n"))
}

async fn start(place: &Place, head: &str, components: &str) -> Result<String> {
    place.api.start("why", &document(place, head, components), &json!({})).await
}

/// The whole answer, once something in it has this reason, and what has it.
async fn because(api: &Api, id: &str, reason: &str) -> Result<(Value, Value)> {
    let path = format!("/api/v1/executions/{id}/why");
    let what = format!("{id} waits because of `{reason}`");
    let found = until(PATIENCE, &what, async || {
        let why = api.get(&path).await?.expect(200)?;
        let waiting = why["waiting"].as_array().context("a list")?;
        let found = waiting.iter().find(|waiting| waiting["reason"] == reason).cloned();
        Ok(found.map(|waiting| (why, waiting)))
    });
    match found.await {
        Ok(found) => Ok(found),
        Err(error) => Err(error.context(api.get(&path).await?.text)),
    }
}

/// Whether a sentence is this one, in which `…` stands for anything.
fn says(waiting: &Value, pattern: &str) -> Result<()> {
    let sentence = waiting["sentence"].as_str().context("a sentence")?;
    let mut parts: Vec<&str> = pattern.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    let (mut at, mut is_it) = (0, true);
    for (number, part) in parts.into_iter().enumerate() {
        match sentence[at..].find(part) {
            Some(found) if number > 0 || found == 0 => at += found + part.len(),
            _ => is_it = false,
        }
    }
    is_it &= if pattern.contains('…') { sentence[at..].ends_with(last) } else { sentence == last };
    ensure!(is_it, "`{sentence}` is not `{pattern}`");
    Ok(())
}

/// Whether it says until when, and that lies ahead.
fn has_until(waiting: &Value) -> Result<()> {
    let until: shared::time::Timestamp = text(waiting, "until")?.parse()?;
    let now = shared::time::Clock::now(&shared::time::SystemClock);
    ensure!(until > now, "{until} is over: {waiting}");
    Ok(())
}

async fn stop(place: &Place, id: &str) -> Result<()> {
    place.api.post(&format!("/api/v1/executions/{id}/kill"), &json!({})).await?.expect(202)?;
    place.api.ended(id).await?;
    Ok(())
}

async fn for_what_its_connections_come_from(place: &Place) -> Result<()> {
    let id = start(
        place,
        "",
        "a: { type: delay, config: { for: 1h } }\nb: { type: delay, config: { for: 1h } }\nc: { type: noop, needs: [a, b] }",
    )
    .await?;
    let (why, waiting) = because(&place.api, &id, "connections").await?;
    says(&waiting, "It waits for a, b.")?;
    ensure!(waiting["component"] == "c" && waiting["waits_for"] == json!(["a", "b"]), "{waiting}");
    // What holds others up is said first.
    ensure!(
        why["summary"].as_str().is_some_and(|summary| summary.starts_with("`a`: It waits until ")),
        "{why}"
    );
    ensure!(
        why["summary"].as_str().is_some_and(|summary| summary.ends_with("2 more component(s) wait.")),
        "{why}"
    );
    stop(place, &id).await
}

async fn for_a_delay_to_be_over(place: &Place) -> Result<()> {
    let id = start(place, "", "a: { type: delay, config: { for: 1h } }").await?;
    let (_, waiting) = because(&place.api, &id, "delay").await?;
    says(&waiting, "It waits until …, 3…s from now.")?;
    ensure!(waiting["component"] == "a", "{waiting}");
    has_until(&waiting)?;
    stop(place, &id).await
}

async fn for_the_next_attempt(place: &Place) -> Result<()> {
    let retry = "retry: { max_attempts: 3, initial: 1h, cap: 1h, jitter: false, on: [http_5xx] }";
    let id = start(place, "", &format!("a: {{ @call(a?status=500), {retry} }}")).await?;
    let (_, waiting) = because(&place.api, &id, "retry").await?;
    says(&waiting, "Attempt 1 failed (http_5xx…); the next one is due at …, in 3…s.")?;
    has_until(&waiting)?;
    stop(place, &id).await
}

async fn for_a_person(place: &Place) -> Result<()> {
    let id = start(
        place,
        "",
        "a: { type: approval, config: { assignees: [finance, legal], expires: 48h, quorum: all } }",
    )
    .await?;
    let (_, waiting) = because(&place.api, &id, "person").await?;
    says(&waiting, "It has waited … for an answer of finance, legal.")?;
    ensure!(waiting["waits_for"] == json!(["finance", "legal"]), "{waiting}");
    has_until(&waiting)?;
    // Who took it on is named.
    let tasks = place.api.get(&format!("/api/v1/human-tasks?execution_id={id}")).await?.expect(200)?;
    let task = text(&tasks["items"][0], "id")?;
    let body = json!({ "as": "finance" });
    place.api.post(&format!("/api/v1/human-tasks/{task}/approve"), &body).await?.expect(200)?;
    until(PATIENCE, "the answer that is there", async || {
        let (_, waiting) = because(&place.api, &id, "person").await?;
        Ok(says(&waiting, "It has waited … for an answer of finance, legal. 1 of 2 have answered.")
            .is_ok()
            .then_some(()))
    })
    .await?;
    stop(place, &id).await
}

async fn for_an_event(place: &Place) -> Result<()> {
    let id =
        start(place, "", "a: { type: wait_for_event, config: { event: paid, key: order-7, within: 2h } }")
            .await?;
    let (_, waiting) = because(&place.api, &id, "event").await?;
    says(&waiting, "It waits for the event `paid` with the key `order-7` until ….")?;
    has_until(&waiting)?;
    stop(place, &id).await
}

async fn for_a_sub_workflow(place: &Place) -> Result<()> {
    let child =
        place.api.create("child", &document(place, "", "a: { type: delay, config: { for: 1h } }")).await?;
    let id =
        start(place, "", &format!("a: {{ type: sub_workflow, config: {{ workflow: {child} }} }}")).await?;
    let (_, waiting) = because(&place.api, &id, "sub_workflow").await?;
    let called = waiting["waits_for"][0].as_str().context("the execution it waits for")?.to_owned();
    says(&waiting, &format!("It waits for {called}, which runs `…`."))?;
    let (_, inside) = because(&place.api, &called, "delay").await?;
    ensure!(inside["component"] == "a", "{inside}");
    stop(place, &id).await
}

async fn for_its_start(place: &Place) -> Result<()> {
    let workflow = place.api.create("why", &document(place, "", "a: { type: noop }")).await?;
    let at = shared::time::Clock::now(&shared::time::SystemClock).after(Duration::from_hours(2)).to_string();
    let id = place.api.execute(&workflow, &json!({ "scheduled_at": at })).await?;
    let (why, waiting) = because(&place.api, &id, "scheduled").await?;
    says(&waiting, "It is scheduled to start at …, in 7…s.")?;
    ensure!(why["status"] == "pending" && waiting["component"].is_null(), "{why}");
    ensure!(text(&waiting, "until")?.parse::<shared::time::Timestamp>()? == at.parse()?, "{waiting} {at}");
    stop(place, &id).await
}

async fn for_the_end_of_a_pause(place: &Place) -> Result<()> {
    let id = start(place, "", "a: { type: wait_for_event, config: { event: go, key: k, within: 1h } }\nb: { type: noop, needs: [a] }").await?;
    because(&place.api, &id, "event").await?;
    let path = format!("/api/v1/executions/{id}");
    place.api.post(&format!("{path}/pause"), &json!({ "reason": "month end" })).await?.expect(200)?;
    let (why, waiting) = because(&place.api, &id, "paused").await?;
    says(&waiting, "It is paused by … since …: month end")?;
    ensure!(why["summary"] == waiting["sentence"] && why["status"] == "paused", "{why}");
    stop(place, &id).await
}

async fn for_a_worker_of_its_pool(place: &Place) -> Result<()> {
    let pool = unique_name("gpu");
    let id = start(place, "", &format!("a: {{ @call(a), worker: {{ pool: {pool} }} }}")).await?;
    let (_, waiting) = because(&place.api, &id, "no_worker").await?;
    says(&waiting, &format!("No worker of the pool `{pool}` is alive; it was sent … ago."))?;
    stop(place, &id).await
}

async fn for_somebody_outside(place: &Place) -> Result<()> {
    let id = start(place, "", "a: { type: task, config: { topic: invoice.print } }").await?;
    let (_, waiting) = because(&place.api, &id, "no_worker").await?;
    says(&waiting, "No worker offers `task`: it has waited … for one outside this platform to ask for it.")?;
    stop(place, &id).await
}

/// Two executions for one place: the first holds it, the second waits for it.
async fn for_one_place(place: &Place, head: &str, more: &str, component: &Value) -> Result<()> {
    let key = unique_name("erp");
    let (head, more) = (head.replace("KEY", &key), more.replace("KEY", &key));
    let components = format!("a: {{ @call(a?delay_ms=60000){more} }}");
    let workflow = place.api.create("why", &document(place, &head, &components)).await?;
    let first = place.api.execute(&workflow, &json!({})).await?;
    because(&place.api, &first, "running").await?;
    let second = place.api.execute(&workflow, &json!({})).await?;
    let (_, waiting) = because(&place.api, &second, "slot").await?;
    says(&waiting, &format!("It waits for the place under `{key}`, which …{first} holds."))?;
    ensure!(waiting["key"] == key.as_str() && waiting["ahead"] == 0, "{waiting}");
    ensure!(waiting["holders"][0]["execution"] == first.as_str(), "{waiting}");
    ensure!(waiting["holders"][0]["since"].is_string() && waiting["component"] == *component, "{waiting}");
    stop(place, &second).await?;
    stop(place, &first).await
}

async fn for_a_place_of_its_component(place: &Place) -> Result<()> {
    for_one_place(place, "", ", concurrency: { key: KEY, limit: 1 }", &json!("a")).await
}

async fn for_a_place_of_its_workflow(place: &Place) -> Result<()> {
    for_one_place(place, "concurrency: { key: KEY, limit: 1 }", "", &Value::Null).await
}

async fn for_what_a_worker_runs_on_a_lease(place: &Place) -> Result<()> {
    // Handed over after two seconds.
    let id = start(place, "", "a: { @call(a?delay_ms=60000) }").await?;
    let (_, waiting) = because(&place.api, &id, "running").await?;
    let worker = text(&waiting, "worker")?;
    says(&waiting, &format!("{worker} runs it; it was sent … ago."))?;
    let workers = place.api.get("/api/v1/workers").await?.expect(200)?;
    let is_known =
        workers["items"].as_array().is_some_and(|all| all.iter().any(|one| one["id"] == worker.as_str()));
    ensure!(is_known, "{worker} is none of {workers}");
    stop(place, &id).await
}

async fn for_what_comes_last(place: &Place) -> Result<()> {
    let text = document(place, "", "a: { type: fail, config: { message: no } }")
        + "finally:\n  last: { type: delay, config: { for: 1h } }\n";
    let id = place.api.start("why", &text, &json!({})).await?;
    let (why, waiting) = because(&place.api, &id, "cleaning_up").await?;
    says(&waiting, "It will end as failed; its compensations, `on_failure` and `finally` come first.")?;
    let inside = why["waiting"].as_array().and_then(|all| all.iter().find(|one| one["component"] == "last"));
    ensure!(inside.is_some_and(|one| one["reason"] == "delay"), "{why}");
    stop(place, &id).await
}

async fn for_nothing_when_it_has_ended(place: &Place) -> Result<()> {
    let id = start(place, "", "a: { type: noop }").await?;
    place.api.ended(&id).await?;
    let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
    ensure!(why["waiting"] == json!([]), "{why}");
    ensure!(
        why["summary"].as_str().is_some_and(|text| text.starts_with("It ended as completed at ")),
        "{why}"
    );
    Ok(())
}

/// One process with room for little: one execution, one task, one place in its worker.
fn narrow(over: Value) -> Result<Place> {
    RUNTIME.block_on(Place::start(Shape::Embedded, &over))
}

#[test]
fn for_a_place_among_all_executions() -> Result<()> {
    let tenant = "tenant_00000000-0000-0000-0000-000000000001";
    let engine = json!({ "max_concurrent_executions": 1, "tenant_weights": { tenant: 3 } });
    let place = narrow(json!({ "engine": engine }))?;
    RUNTIME.block_on(async {
        let first = start(&place, "", "a: { type: delay, config: { for: 1h } }").await?;
        because(&place.api, &first, "delay").await?;
        let second = start(&place, "", "a: { type: noop }").await?;
        let (why, waiting) = because(&place.api, &second, "slot").await?;
        says(&waiting, &format!("It waits for the one place for executions at once, which {first} holds."))?;
        ensure!(why["status"] == "pending" && waiting["holders"][0]["execution"] == first.as_str(), "{why}");
        ensure!(waiting["weight"] == 3, "{why}");
        let third = start(&place, "", "a: { type: noop }").await?;
        let (_, waiting) = because(&place.api, &third, "slot").await?;
        let before = "; 1 come before it, and tenants take turns.";
        says(
            &waiting,
            &format!("It waits for the one place for executions at once, which {first} holds{before}"),
        )?;
        ensure!(waiting["ahead"] == 1, "{waiting}");
        stop(&place, &third).await?;
        stop(&place, &second).await?;
        stop(&place, &first).await
    })
}

#[test]
fn for_room_in_the_dispatch_window() -> Result<()> {
    let place = narrow(json!({ "engine": { "task_queue_size": 1 } }))?;
    RUNTIME.block_on(async {
        let first = start(&place, "", "a: { @call(a?delay_ms=60000) }").await?;
        because(&place.api, &first, "running").await?;
        let second = start(&place, "", "a: { @call(a) }").await?;
        let (_, waiting) = because(&place.api, &second, "dispatch_window").await?;
        says(&waiting, "It may run since … and waits until the dispatch window has room.")?;
        stop(&place, &first).await?;
        let found = place.api.ended(&second).await?;
        ensure!(found["status"] == "completed", "{found}");
        Ok(())
    })
}

#[test]
fn for_busy_workers_and_for_one_with_its_tags() -> Result<()> {
    let over = json!({ "worker": { "concurrency": 1, "handover_after_seconds": 60 } });
    let place = narrow(over)?;
    RUNTIME.block_on(async {
        let first = start(&place, "", "a: { @call(a?delay_ms=60000) }").await?;
        let second = start(&place, "", "a: { @call(a) }").await?;
        let (_, waiting) = because(&place.api, &second, "workers_busy").await?;
        let busy = "It was sent … ago; the 1 worker(s) of the pool `default` that can run it are busy, perhaps with it.";
        says(&waiting, busy)?;
        let third = start(&place, "", "a: { @call(a), worker: { tags: [eu, mars] } }").await?;
        let (_, waiting) = because(&place.api, &third, "no_worker_with_tags").await?;
        says(&waiting, "No worker of the pool `default` has all the tags eu, mars.")?;
        stop(&place, &first).await?;
        let found = place.api.ended(&second).await?;
        ensure!(found["status"] == "completed", "{found}");
        // It waits for such a worker, however many others are free.
        because(&place.api, &third, "no_worker_with_tags").await?;
        stop(&place, &third).await
    })
}

#[test]
fn for_a_task_to_stop_that_does_not() -> Result<()> {
    crate::at(Shape::Cluster, async |place| {
        let pool = unique_name("stopped");
        let worker = place.second_worker(&pool).await?;
        let id = start(place, "", &format!("a: {{ @call(a?delay_ms=60000), worker: {{ pool: {pool} }} }}"))
            .await?;
        because(&place.api, &id, "running").await?;
        // It hears nothing any more, and is waited for as long as `engine.cancel_grace_seconds` says.
        worker.signal(rustix::process::Signal::STOP)?;
        place.api.cancel(&id, "enough").await?.expect(202)?;
        let (why, waiting) = because(&place.api, &id, "ending").await?;
        says(&waiting, "… asked for its end; it waits for its running tasks to stop.")?;
        ensure!(why["summary"] == waiting["sentence"] && waiting["component"].is_null(), "{why}");
        let found = place.api.ended(&id).await?;
        ensure!(found["status"] == "cancelled", "{found}");
        Ok(())
    })
}

/// A cluster that begins with its API alone, and whose database and broker can be taken away.
struct Cut {
    api: Api,
    folder: std::path::PathBuf,
    settings: std::path::PathBuf,
    addresses: Addresses,
    processes: Vec<Process>,
}

impl Cut {
    async fn start(database: &Proxy, broker: &Proxy, straight: &Addresses) -> Result<Self> {
        let folder = Run::this()?.folder("why")?;
        let over = json!({
            "amqp": { "namespace": unique_name("apgwhy"), "heartbeat_seconds": 2 },
            "database": { "pool_timeout": 2 },
        });
        let settings = settings(&folder, &over)?;
        let addresses = Addresses {
            database: through(&straight.database, database.port)?,
            amqp: through(&straight.amqp, broker.port)?,
            redis: straight.redis.clone(),
        };
        let front = member("api", "api", &folder, &settings, Some(&addresses))?;
        migrate(&front).await?;
        let process = front.start()?;
        front.is_up(&process).await?;
        let api = Api::new(&front.base())?;
        Ok(Self { api, folder, settings, addresses, processes: vec![process] })
    }

    fn member(&self, verb: &'static str) -> Result<Member> {
        member(verb, verb, &self.folder, &self.settings, Some(&self.addresses))
    }

    async fn completes(&self, id: &str) -> Result<()> {
        let found = self.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
        Ok(())
    }
}

fn port_of(url: &str) -> Result<String> {
    let url = reqwest::Url::parse(url)?;
    let host = url.host_str().context("a host")?;
    Ok(format!("{host}:{}", url.port().context("a port")?))
}

#[test]
fn for_a_coordinator_for_the_broker_and_for_the_database() -> Result<()> {
    let straight = Addresses::given("why")?;
    RUNTIME.block_on(async {
        let (to_database, to_broker) = (port_of(&straight.database)?, port_of(&given("AMQP_URL")?)?);
        let (database, broker) = (Proxy::start(&to_database).await?, Proxy::start(&to_broker).await?);
        let (database_port, broker_port) = (database.port, broker.port);
        let mut cut = Cut::start(&database, &broker, &straight).await?;
        let document = "workflow: v1\nname: why\ncomponents:\n  a: { type: map, config: { rows: [1], expression: item } }\n";
        let workflow = cut.api.create("why", document).await?;

        let first = cut.api.execute(&workflow, &json!({})).await?;
        let (why, waiting) = because(&cut.api, &first, "coordinator").await?;
        says(&waiting, "It was accepted … ago and waits for a coordinator to take it up.")?;
        ensure!(why["status"] == "pending" && waiting["component"].is_null(), "{why}");
        let coordinator = cut.member("coordinator")?.start()?;
        cut.processes.push(coordinator);
        let (_, waiting) = because(&cut.api, &first, "no_worker").await?;
        says(&waiting, "No worker of the pool `default` is alive; it was sent … ago.")?;
        ensure!(waiting["component"] == "a", "{waiting}");

        // What was sent waits for the broker, and so does what is accepted now.
        drop(broker);
        let (_, waiting) = because(&cut.api, &first, "broker").await?;
        says(&waiting, "It was sent … ago; the broker does not answer, and what it and the workers say to each other waits for it.")?;
        ensure!(waiting["component"] == "a", "{waiting}");
        let second = cut.api.execute(&workflow, &json!({})).await?;
        let (why, waiting) = because(&cut.api, &second, "broker").await?;
        says(&waiting, "It was accepted … ago; the broker does not answer, and it is taken up when it does again.")?;
        ensure!(why["summary"] == waiting["sentence"], "{why}");
        let broker = Proxy::start_at(broker_port, &to_broker).await?;
        let worker = cut.member("worker")?.start()?;
        cut.processes.push(worker);
        cut.completes(&first).await?;
        cut.completes(&second).await?;

        // Without the database nothing can be read, and that is what is said.
        let later = "workflow: v1\nname: why\ncomponents:\n  a: { type: delay, config: { for: 1h } }\n";
        let id = cut.api.start("why", later, &json!({})).await?;
        because(&cut.api, &id, "delay").await?;
        drop(database);
        let path = format!("/api/v1/executions/{id}/why");
        let problem = until(PATIENCE, "the loss of the database", async || {
            let answer = cut.api.get(&path).await?;
            Ok((answer.status != 200).then_some(answer))
        })
        .await?;
        let problem = problem.problem(503, "store_unavailable")?;
        let detail = text(&problem, "detail")?;
        ensure!(detail.starts_with(&format!("The database does not answer, so {id} cannot be read.")), "{detail}");
        ensure!(detail.contains("it waits for the database"), "{detail}");
        let database = Proxy::start_at(database_port, &to_database).await?;
        because(&cut.api, &id, "delay").await?;
        drop((database, broker));
        Ok(())
    })
}
