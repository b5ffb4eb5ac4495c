//! Processes end and begin again on the same data, and begin before the services they need.

use anyhow::{Context, Result, ensure};
use chaos::proxy::{Proxy, through};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, RUNTIME, free_port,
    place::{Addresses, Place, Shape, member, migrate, settings},
    process::tail,
    run::Run,
    services::{Service, Services},
    unique_name, until,
};

/// Open executions of every kind: not started, waiting for a timer, a retry, a task under way.
async fn open_executions(place: &Place, label: &str) -> Result<Vec<String>> {
    let base = &place.probe.base;
    let document = format!(
        "workflow: v1\nname: open\ncomponents:\n  first:\n    type: http_request\n    config: {{ method: POST, url: \
         \"{base}/effect/{label}/first\" }}\n  pause:\n    type: delay\n    needs: [first]\n    config: {{ for: 2s }}\n  slow:\n    type: \
         http_request\n    needs: [first]\n    config: {{ method: POST, url: \"{base}/effect/{label}/slow?delay_ms=1500\" }}\n  again:\n    type: \
         http_request\n    needs: [first]\n    config: {{ method: POST, url: \"{base}/effect/{label}/again?fail=1\" }}\n    retry: {{ \
         max_attempts: 3, initial: 1s, jitter: false, on: [http_5xx] }}\n  done:\n    type: end\n    needs: [pause, slow, again]\n    \
         config: {{ output: done }}\n"
    );
    let workflow = place.api.create("open", &document).await?;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(place.api.execute(&workflow, &json!({})).await?);
    }
    Ok(ids)
}

async fn all_complete(place: &Place, ids: &[String]) -> Result<()> {
    for id in ids {
        let found = place.api.ended(id).await?;
        ensure!(found["status"] == "completed" && found["output"] == "done", "{found}");
    }
    Ok(())
}

async fn audit_is_clean(place: &mut Place) -> Result<()> {
    // The database file is one process's at a time.
    for process in place.processes.drain(..) {
        process.terminate(PATIENCE).await?;
    }
    let output = place.apg(&["audit", "--output", "json"]).await?;
    ensure!(output.code == 0, "{output:?}");
    Ok(())
}

#[test]
fn what_was_open_when_the_process_was_killed_completes() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Embedded, &json!({})).await?;
        let label = unique_name("killed");
        let ids = open_executions(&place, &label).await?;
        until(
            PATIENCE,
            "some calls under way",
            async || Ok((place.probe.of(&label).len() > 5).then_some(())),
        )
        .await?;
        place.processes[0].kill()?;
        place.processes[0] = place.front.start()?;
        place.front.is_up(&place.processes[0]).await?;
        all_complete(&place, &ids).await.inspect_err(|_| eprintln!("{}", place.tails(40)))?;
        audit_is_clean(&mut place).await
    })
}

#[test]
fn what_was_open_when_the_process_was_asked_to_end_completes() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Embedded, &json!({})).await?;
        let label = unique_name("asked");
        let ids = open_executions(&place, &label).await?;
        until(
            PATIENCE,
            "some calls under way",
            async || Ok((place.probe.of(&label).len() > 5).then_some(())),
        )
        .await?;
        place.processes[0].terminate(PATIENCE).await?;
        place.processes[0] = place.front.start()?;
        place.front.is_up(&place.processes[0]).await?;
        all_complete(&place, &ids).await.inspect_err(|_| eprintln!("{}", place.tails(40)))?;
        audit_is_clean(&mut place).await
    })
}

/// Many short tasks share messages, and a message comes again as a whole.
#[test]
fn short_tasks_outlive_the_workers_that_had_them() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Cluster, &json!({ "engine": { "fusion": false } })).await?;
        let pool = unique_name("brief");
        let mut document = "workflow: v1\nname: brief\ncomponents:\n".to_owned();
        for step in 0..8 {
            let needs = if step == 0 { String::new() } else { format!(", needs: [s{}]", step - 1) };
            let config = format!("{{ rows: [{step}], expression: item + 1 }}");
            document +=
                &format!("  s{step}: {{ type: map{needs}, worker: {{ pool: {pool} }}, config: {config} }}\n");
        }
        document += "  end: { type: end, needs: [s7], config: { output: done } }\n";
        let workflow = place.api.create("brief", &document).await?;
        // The first says how long such a task takes.
        let mut worker = place.second_worker(&pool).await?;
        place.api.ended(&place.api.execute(&workflow, &json!({})).await?).await?;
        let mut ids = Vec::new();
        for _ in 0..3 {
            worker.kill()?;
            for _ in 0..150 {
                ids.push(place.api.execute(&workflow, &json!({})).await?);
            }
            // All of them want it at once.
            worker = place.second_worker(&pool).await?;
            let journal = format!("/api/v1/executions/{}/journal", ids[ids.len() - 150]);
            until(PATIENCE, "the first of many", async || {
                let found = place.api.get(&journal).await?;
                Ok(found.text.contains("completed").then_some(()))
            })
            .await?;
        }
        all_complete(&place, &ids).await.inspect_err(|_| eprintln!("{}", place.tails(40)))?;
        drop(worker);
        audit_is_clean(&mut place).await
    })
}

#[test]
fn journals_that_cannot_be_read_are_findings_and_the_others_are_checked() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Cluster, &json!({})).await?;
        let label = unique_name("damaged");
        let ids = open_executions(&place, &label).await?;
        all_complete(&place, &ids).await.inspect_err(|_| eprintln!("{}", place.tails(40)))?;
        for process in place.processes.drain(..) {
            process.terminate(PATIENCE).await?;
        }
        let bare = |nth: usize| ids[nth].trim_start_matches("execution_");
        for change in [
            format!("delete from wo_journal where seq = 2 and execution_id = '{}'", bare(3)),
            format!("delete from wo_journal where seq = 1 and execution_id = '{}'", bare(5)),
            format!("update wo_journal set events = '\\x00' where seq = 1 and execution_id = '{}'", bare(7)),
            format!("delete from wo_journal where execution_id = '{}'", bare(9)),
            format!("delete from wo_executions where id = '{}'", bare(11)),
        ] {
            place.damage(&change)?;
        }
        let output = place.apg(&["audit", "--output", "json"]).await?;
        ensure!(output.code == 1, "{output:?}");
        let report: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
        let mut found: Vec<(&str, &str)> = report["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some((one["execution"].as_str()?, one["invariant"].as_str()?)))
            .collect();
        found.sort_unstable();
        let mut asked: Vec<(&str, &str)> = [(3, "I2"), (5, "I2"), (7, "I2"), (9, "I0"), (11, "I2")]
            .map(|(nth, rule)| (ids[nth].as_str(), rule))
            .into();
        asked.sort_unstable();
        ensure!(found == asked, "{report}");
        ensure!(report["checked"]["executions"] == 19, "{report}");
        Ok(())
    })
}

#[test]
fn a_second_process_on_the_same_data_is_refused() -> Result<()> {
    RUNTIME.block_on(async {
        let place = Place::start(Shape::Embedded, &json!({})).await?;
        let second = place.front.command(&["--set", "api.listen=127.0.0.1:0", "serve"])?;
        let output = crate::harness::process::finish(second, PATIENCE).await?;
        ensure!(output.code == 1, "{output:?}");
        ensure!(output.err.contains("another process") || output.err.contains("lock"), "{}", output.err);
        place
            .api
            .complete("still", "workflow: v1\nname: s\ncomponents:\n  a:\n    type: noop\n", &json!({}))
            .await?;
        Ok(())
    })
}

#[test]
fn a_process_that_starts_before_its_services_waits_for_them() -> Result<()> {
    RUNTIME.block_on(async {
        let services = Services::start().await?;
        let folder = Run::this()?.folder("early")?;
        let settings = settings(&folder, &json!({}))?;
        let addresses = services.addresses();
        migrate(&member("tool", "api", &folder, &settings, Some(&addresses))?).await?;
        let (database, broker) = (free_port()?, free_port()?);
        let away = Addresses {
            database: through(&addresses.database, database)?,
            amqp: through(&addresses.amqp, broker)?,
            redis: addresses.redis.clone(),
        };
        let early = member("early", "api", &folder, &settings, Some(&away))?;
        let process = early.start()?;
        let mut proxies = Vec::new();
        for (port, service) in [(database, Service::Database), (broker, Service::Broker)] {
            let word = if service == Service::Database { "database" } else { "broker" };
            until(PATIENCE, &format!("a word on the {word}"), async || {
                let log = tail(&early.log(), 50);
                Ok(log
                    .lines()
                    .any(|line| line.contains("does not answer yet") && line.contains(word))
                    .then_some(()))
            })
            .await?;
            proxies.push(Proxy::start_at(port, &format!("127.0.0.1:{}", services.port(service))).await?);
        }
        early.is_up(&process).await?;
        process.terminate(PATIENCE).await
    })
}

#[test]
fn a_database_that_refuses_the_login_is_not_waited_for() -> Result<()> {
    RUNTIME.block_on(async {
        let services = Services::start().await?;
        let folder = Run::this()?.folder("refused")?;
        let settings = settings(&folder, &json!({ "app": { "startup_seconds": 3600 } }))?;
        let mut addresses = services.addresses();
        let mut url = reqwest::Url::parse(&addresses.database)?;
        url.set_path("/nothing");
        addresses.database = url.to_string();
        let refused = member("refused", "api", &folder, &settings, Some(&addresses))?;
        let output = crate::harness::process::finish(refused.command(&["api"])?, PATIENCE).await?;
        ensure!(output.code == 1 && output.err.contains("nothing"), "{output:?}");
        Ok(())
    })
}
