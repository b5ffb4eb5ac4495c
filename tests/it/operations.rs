//! Health, metrics, and the verbs that look at a running place.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE,
    place::{Place, Shape},
    process::Process,
    unique_name, until,
};

both_shapes!(
    health_is_answered,
    metrics_bear_the_promised_names,
    workers_are_listed,
    components_and_schemas_are_served,
    doctor_finds_nothing_bad,
    audit_finds_nothing,
    an_execution_is_exported_as_one_line,
);

async fn health_is_answered(place: &Place) -> Result<()> {
    let health = place.api.get("/health").await?.expect(200)?;
    ensure!(health["status"] == "ok" && health["version"].is_string(), "{health}");
    let detailed = place.api.get("/health/detailed").await?.expect(200)?;
    ensure!(detailed["status"] == "ok" && detailed["workers"].as_u64() >= Some(1), "{detailed}");
    for part in ["store", "queue", "progress"] {
        ensure!(detailed["components"][part]["status"] == "ok", "{part}: {detailed}");
    }
    Ok(())
}

/// As the specification writes them.
const PROMISED: &[&str] = &[
    "workflow_executions_total{status=\"completed\"}",
    "workflow_executions_total{status=\"failed\"}",
    "workflow_executions_total{status=\"cancelled\"}",
    "workflow_execution_duration_seconds",
    "workflow_active_count",
    "workflow_queue_depth",
    "system_cpu_percent",
    "system_memory_percent",
    "api_request_duration_seconds",
    "api_requests_total{endpoint=\"/workflows\",method=\"GET\"}",
    "api_requests_total{endpoint=\"/workflows\",method=\"POST\"}",
];

async fn metrics_bear_the_promised_names(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: measured\ncomponents:\n  a:\n    type: noop\n";
    place.api.complete("measured", document, &json!({})).await?;
    place.api.get("/api/v1/workflows").await?.expect(200)?;
    let answer = place.api.get("/metrics").await?;
    ensure!(answer.status == 200 && answer.header("content-type").starts_with("text/plain"), "{answer:?}");
    for name in PROMISED {
        ensure!(
            answer.text.lines().any(|line| line.starts_with(name)),
            "{name} is missing:\n{}",
            answer.text
        );
    }
    Ok(())
}

async fn workers_are_listed(place: &Place) -> Result<()> {
    let workers = place.api.get("/api/v1/workers").await?.expect(200)?;
    let first = workers["items"].as_array().and_then(|all| all.first()).context("a worker")?;
    ensure!(
        first["pool"] == "default" && first["types"].as_array().is_some_and(|all| all.len() > 5),
        "{first}"
    );
    Ok(())
}

async fn components_and_schemas_are_served(place: &Place) -> Result<()> {
    let components = place.api.get("/api/v1/components").await?.expect(200)?;
    let all = components["items"].as_array().context("a list")?;
    for kind in ["http_request", "csv_parse", "decision", "delay"] {
        ensure!(all.iter().any(|one| one["type"] == kind), "{kind} is missing");
    }
    let schema = place.api.get("/api/v1/schemas/workflow.json").await?.expect(200)?;
    ensure!(schema["properties"]["components"].is_object(), "{schema}");
    let openapi = place.api.get("/api/v1/openapi.json").await?.expect(200)?;
    ensure!(openapi["paths"]["/api/v1/workflows/{id}/execute"]["post"].is_object(), "no path to execute");
    Ok(())
}

async fn doctor_finds_nothing_bad(place: &Place) -> Result<()> {
    let output = place.apg(&["doctor", "--output", "json"]).await?;
    let report: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
    ensure!(output.code == 0 && report["state"] != "bad", "{report}");
    Ok(())
}

async fn audit_finds_nothing(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: audited\ncomponents:\n  a:\n    type: map\n    config: { rows: [1], expression: item }\n";
    place.api.complete("audited", document, &json!({})).await?;
    // Beside the processes that write, in both shapes.
    let output = place.apg(&["audit", "--output", "json"]).await?;
    let report: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
    ensure!(output.code == 0 && report["findings"] == json!([]), "{report}");
    ensure!(report["checked"]["executions"].as_u64() >= Some(1), "something was checked: {report}");
    ensure!(report["checked"]["turns"].as_u64() >= Some(2), "{report}");
    Ok(())
}

async fn an_execution_is_exported_as_one_line(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: exported\nparameters:\n  rows: { type: array }\ncomponents:\n  a:\n    type: map\n    \
        config: { rows: \"${{ parameters.rows }}\", expression: item }\n";
    // Larger than what travels: it lies in the payload store.
    let rows: Vec<String> = (0..2_000).map(|number| format!("row {number} {}", "x".repeat(50))).collect();
    let ended = place.api.complete("exported", document, &json!({ "rows": rows })).await?;
    let id = ended["id"].as_str().context("an id")?;
    let output = place.apg(&["execution", "export", id, "--server", &place.api.base]).await?;
    ensure!(output.code == 0 && output.out.ends_with('\n') && output.out.lines().count() == 1, "{output:?}");
    let line: Value = serde_json::from_str(&output.out)?;
    ensure!(line["id"] == id && line["execution"]["status"] == "completed", "{line}");
    let turns = line["journal"].as_array().context("turns")?;
    ensure!(turns.len() >= 2 && turns.iter().zip(1..).all(|(turn, seq)| turn["seq"] == seq), "{line}");
    let payloads = line["payloads"].as_object().context("payloads")?;
    ensure!(
        payloads.values().any(|value| value["json"].to_string().contains("row 1999")),
        "{}",
        payloads.len()
    );
    let unknown = "execution_01890000-0000-7000-8000-000000000000";
    let unknown = place.apg(&["execution", "export", unknown, "--server", &place.api.base]).await?;
    ensure!(
        unknown.code != 0 && unknown.out.is_empty() && unknown.err.contains("execution_0189"),
        "{unknown:?}"
    );
    Ok(())
}

#[test]
fn a_task_waits_for_a_worker_with_its_tags() -> Result<()> {
    crate::at(Shape::Cluster, async |place: &Place| {
        let tag = unique_name("tag");
        let document = format!(
            "workflow: v1\nname: tagged\ncomponents:\n  a:\n    type: map\n    config: {{ rows: [1], expression: item + 1 }}\n    \
             worker: {{ tags: [{tag}] }}\noutput: ${{{{ components.a.output.rows }}}}\n"
        );
        let id = place.api.start("tagged", &document, &json!({})).await?;
        until(PATIENCE, "the reason", async || {
            let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
            let found = why["waiting"].as_array().into_iter().flatten().next().cloned();
            Ok(found.filter(|waiting| waiting["reason"] == "no_worker_with_tags"))
        })
        .await?;
        let log = place.front.log().with_file_name(format!("{tag}.log"));
        let tags = format!("worker.tags={tag}");
        let worker = Process::start(&tag, place.front.command(&["--set", &tags, "worker"])?, &log)?;
        let ended = place.api.ended(&id).await?;
        worker.kill()?;
        ensure!(ended["output"] == json!([2]), "{ended}");
        Ok(())
    })
}
