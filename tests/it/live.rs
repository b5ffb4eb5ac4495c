//! Watching an execution: server-sent events, tasks, logs, and why it waits.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{PATIENCE, place::Place, unique_name, until};

both_shapes!(
    events_go_from_a_snapshot_to_the_end,
    events_of_an_ended_execution_are_its_end,
    tasks_and_logs_tell_what_happened,
    every_moment_can_be_looked_at_again,
    statistics_tell_what_became_of_what_was_accepted,
    why_tells_what_is_waited_for,
);

const THREE: &str = "workflow: v1\nname: three\ncomponents:\n  a:\n    type: log\n    config: { message: first, level: warn }\n  b:\n    \
                     type: delay\n    needs: [a]\n    config: { for: 500ms }\n  c:\n    type: map\n    needs: [b]\n    config: { \
                     rows: [1, 2], expression: item * 2 }\n";

async fn events_go_from_a_snapshot_to_the_end(place: &Place) -> Result<()> {
    let id = place.api.start("live", THREE, &json!({})).await?;
    let sights = place.api.watch(&id).await?;
    let (first, last) = (sights.first().context("an event")?, sights.last().context("an event")?);
    ensure!(first.name == "snapshot" && first.data["total"] == 3, "{first:?}");
    ensure!(
        last.name == "end" && last.data["status"] == "completed" && last.data["settled"] == 3,
        "{last:?}"
    );
    ensure!(sights.iter().filter(|sight| sight.name == "end").count() == 1, "{sights:?}");
    let numbers: Vec<u64> = sights.iter().filter_map(|sight| sight.data["seq"].as_u64()).collect();
    ensure!(numbers.is_sorted(), "{numbers:?}");
    Ok(())
}

async fn events_of_an_ended_execution_are_its_end(place: &Place) -> Result<()> {
    let found = place.api.complete("live-ended", THREE, &json!({})).await?;
    let sights = place.api.watch(found["id"].as_str().unwrap_or_default()).await?;
    let last = sights.last().context("an event")?;
    ensure!(last.name == "end" && last.data["status"] == "completed", "{sights:?}");
    Ok(())
}

async fn every_moment_can_be_looked_at_again(place: &Place) -> Result<()> {
    let found = place.api.complete("moments", THREE, &json!({})).await?;
    let path = format!("/api/v1/executions/{}/progress", found["id"].as_str().unwrap_or_default());
    let now = place.api.get(&path).await?.expect(200)?;
    let last = now["last_seq"].as_u64().context("a number")?;
    ensure!(now["seq"] == last && now["status"] == "completed" && now["settled"] == 3, "{now}");
    let mut settled = Vec::new();
    for at in 1..=last {
        let then = place.api.get(&format!("{path}?at={at}")).await?.expect(200)?;
        ensure!(then["seq"] == at && then["last_seq"] == last && then["total"] == 3, "{then}");
        settled.push(then["settled"].as_u64().context("a number")?);
    }
    ensure!(settled.is_sorted() && settled.first() == Some(&0) && settled.last() == Some(&3), "{settled:?}");
    for wrong in [0, last + 1] {
        let refused = place.api.get(&format!("{path}?at={wrong}")).await?.problem(400, "invalid_query")?;
        ensure!(
            refused["detail"].as_str().is_some_and(|text| text.contains("has the turns 1 to")),
            "{refused}"
        );
    }
    Ok(())
}

async fn statistics_tell_what_became_of_what_was_accepted(place: &Place) -> Result<()> {
    let workflow = place.api.create("statistics", THREE).await?;
    for _ in 0..2 {
        let id = place.api.execute(&workflow, &json!({})).await?;
        place.api.ended(&id).await?;
    }
    let path = format!("/api/v1/statistics?workflow_id={workflow}");
    let found = place.api.get(&path).await?.expect(200)?;
    let items = found["items"].as_array().context("a list")?;
    let sum = |field: &str| items.iter().filter_map(|item| item[field].as_u64()).sum::<u64>();
    ensure!(items.len() == 48 && found["bucket_seconds"] == 1800, "{found}");
    ensure!((sum("accepted"), sum("completed"), sum("failed")) == (2, 2, 0), "{found}");
    ensure!(sum("duration_p95_ms") >= 500 && found["open"]["running"].is_u64(), "{found}");
    place.api.get(&format!("{path}&bucket=1")).await?.problem(400, "invalid_query")?;
    Ok(())
}

async fn tasks_and_logs_tell_what_happened(place: &Place) -> Result<()> {
    let found = place.api.complete("tasks", THREE, &json!({})).await?;
    let id = found["id"].as_str().unwrap_or_default();
    let tasks = place.api.pages(&format!("/api/v1/executions/{id}/tasks"), 2).await?;
    let mapped = tasks.iter().find(|task| task["component"] == "c").context("the task c")?;
    ensure!(mapped["status"] == "completed" && mapped["attempt"] == 1 && mapped["type"] == "map", "{mapped}");
    ensure!(mapped["worker"].is_string() && mapped["output"]["rows"] == json!([2, 4]), "{mapped}");
    let logs = place.api.pages(&format!("/api/v1/executions/{id}/logs"), 500).await?;
    let own = logs.iter().find(|line| line["message"] == "first").context("the line of `a`")?;
    ensure!(own["level"] == "warn" && own["component"] == "a", "{own}");
    let warnings =
        place.api.pages(&format!("/api/v1/executions/{id}/logs?level=warn&component=a"), 500).await?;
    ensure!(warnings.len() == 1, "{warnings:?}");
    let events = place.api.events(id).await?;
    ensure!(events.first().is_some_and(|e| e.name == "accepted"), "{events:?}");
    ensure!(events.last().is_some_and(|e| e.name == "finished"), "{events:?}");
    let late = place.api.get(&format!("/api/v1/executions/{id}/late-results")).await?.expect(200)?;
    ensure!(late["items"].is_array(), "{late}");
    Ok(())
}

async fn why_tells_what_is_waited_for(place: &Place) -> Result<()> {
    let label = unique_name("why");
    let document = format!(
        "workflow: v1\nname: why\ncomponents:\n  pause:\n    type: delay\n    config: {{ for: 60s }}\n  retried:\n    type: \
         http_request\n    config: {{ method: POST, url: \"{}/effect/{label}/retried?status=500\" }}\n    retry: {{ \
         max_attempts: 5, initial: 60s, cap: 60s, jitter: false, on: [http_5xx] }}\n  never:\n    type: noop\n    needs: [pause, \
         retried]\n",
        place.probe.base
    );
    let id = place.api.start("why", &document, &json!({})).await?;
    let why = until(PATIENCE, "three reasons", async || {
        let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
        let reason = |component: &str| {
            let all = why["waiting"].as_array()?;
            all.iter().find(|one| one["component"] == component)?["reason"].as_str().map(ToOwned::to_owned)
        };
        let is_so = reason("pause").as_deref() == Some("delay")
            && reason("retried").as_deref() == Some("retry")
            && reason("never").as_deref() == Some("connections");
        Ok(is_so.then_some(why))
    })
    .await?;
    let pause = why["waiting"].as_array().and_then(|all| all.iter().find(|one| one["reason"] == "delay"));
    ensure!(pause.is_some_and(|one| one["until"].is_string()), "{why}");
    place.api.cancel(&id, "seen enough").await?.expect(202)?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["status"] == "cancelled", "{ended}");
    Ok(())
}
