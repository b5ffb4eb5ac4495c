//! Refusing before accepting, and letting through so many a period.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shared::time::Timestamp;

use crate::harness::{
    PATIENCE,
    client::text,
    place::{Place, Shape},
    unique_name, until,
};

both_shapes!(
    beyond_the_quota_a_submission_is_refused_and_nothing_is_lost,
    a_rate_limit_spreads_what_many_executions_ask_for,
    who_waits_for_a_permit_says_until_when,
    who_does_not_wait_is_refused,
    a_result_is_used_again_until_it_is_cleared,
);

async fn beyond_the_quota_a_submission_is_refused_and_nothing_is_lost(place: &Place) -> Result<()> {
    // Of its own, since the quota counts every open execution.
    let own = match place.shape {
        Shape::Embedded => {
            Place::start(Shape::Embedded, &json!({ "api": { "max_open_executions": 2 } })).await?
        }
        Shape::Cluster => place.second_api(&json!({ "api": { "max_open_executions": 2 } })).await?,
    };
    let document =
        "workflow: v1\nname: quota\ncomponents:\n  pause:\n    type: delay\n    config: { for: 2s }\n";
    let workflow = own.api.create("quota", document).await?;
    let mut accepted = Vec::new();
    let mut refused = None;
    for _ in 0..3 {
        let answer = own.api.post(&format!("/api/v1/workflows/{workflow}/execute"), &json!({})).await?;
        if answer.status == 202 {
            accepted.push(text(&answer.expect(202)?, "id")?);
        } else {
            refused = Some(answer);
        }
    }
    let refused = refused.context("the third is one too many")?;
    refused.problem(429, "quota_exceeded")?;
    ensure!(
        refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0),
        "{:?}",
        refused.headers
    );
    for id in &accepted {
        let found = own.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
    }
    let all = own.api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await?;
    ensure!(all.len() == accepted.len(), "what was refused is not there: {all:?}");
    Ok(())
}

/// The instant at which the component `calm` of an execution was let through.
async fn let_through(place: &Place, id: &str) -> Result<Timestamp> {
    let found = place.api.ended(id).await?;
    ensure!(found["status"] == "completed", "{found}");
    Ok(text(&found["output"], "at")?.parse()?)
}

async fn a_rate_limit_spreads_what_many_executions_ask_for(place: &Place) -> Result<()> {
    const EVERY: Duration = Duration::from_millis(200);
    let key = unique_name("rate");
    let document = format!(
        "workflow: v1
name: spread
components:
  calm: {{ type: rate_limit, config: {{ key: {key}, limit: 5, per: 1s, burst: 2 }} }}
output: ${{{{ components.calm.output }}}}
"
    );
    let workflow = place.api.create("spread", &document).await?;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(place.api.execute(&workflow, &json!({})).await?);
    }
    let mut given = Vec::new();
    for id in &ids {
        given.push(let_through(place, id).await?);
    }
    given.sort();
    // A burst of two, then one every fifth of a second.
    for (position, three) in given.windows(3).enumerate() {
        ensure!(three[2].since(three[0]) >= EVERY, "{position}: {given:?}");
    }
    Ok(())
}

async fn who_waits_for_a_permit_says_until_when(place: &Place) -> Result<()> {
    let key = unique_name("rate");
    let document = format!(
        "workflow: v1
name: hourly
components:
  calm: {{ type: rate_limit, config: {{ key: {key}, limit: 1, per: 1h, max_wait: 90m }} }}
"
    );
    let workflow = place.api.create("hourly", &document).await?;
    let first = place.api.execute(&workflow, &json!({})).await?;
    ensure!(place.api.ended(&first).await?["status"] == "completed");
    let second = place.api.execute(&workflow, &json!({})).await?;
    let waiting = until(PATIENCE, "the reason", async || {
        let why = place.api.get(&format!("/api/v1/executions/{second}/why")).await?.expect(200)?;
        let found =
            why["waiting"].as_array().into_iter().flatten().find(|it| it["until"].is_string()).cloned();
        Ok(found.filter(|it| it["reason"] == "rate_limit"))
    })
    .await?;
    ensure!(waiting["key"] == key.as_str() && waiting["component"] == "calm", "{waiting}");
    let sentence = text(&waiting, "sentence")?;
    ensure!(
        sentence.starts_with(&format!("The rate limit `{key}` (1 per 1h) lets it through at ")),
        "{sentence}"
    );
    // Giving up leaves nothing behind that the audit would find; the permit it had is used up.
    place.api.cancel(&second, "no patience").await?.expect(202)?;
    ensure!(place.api.ended(&second).await?["status"] == "cancelled");
    let third = place.api.execute(&workflow, &json!({})).await?;
    let failed = place.api.ended(&third).await?;
    ensure!(failed["status"] == "failed", "an hour and a half is not enough for the third: {failed}");
    let shown = failed.to_string();
    ensure!(shown.contains("max_wait") && shown.contains("timeout"), "{failed}");
    Ok(())
}

async fn who_does_not_wait_is_refused(place: &Place) -> Result<()> {
    let key = unique_name("rate");
    let document = format!(
        "workflow: v1
name: once
components:
  calm: {{ type: rate_limit, config: {{ key: {key}, limit: 1, per: 1h, mode: refuse }} }}
  sent: {{ type: noop, needs: [calm.admitted], config: {{ value: sent }} }}
  kept: {{ type: noop, needs: [calm.refused], config: {{ value: kept }} }}
output: ${{{{ components.sent.output if components.sent.status == \"completed\" else components.kept.output }}}}
"
    );
    let workflow = place.api.create("once", &document).await?;
    let mut outputs: Vec<Value> = Vec::new();
    for _ in 0..3 {
        let id = place.api.execute(&workflow, &json!({})).await?;
        outputs.push(place.api.ended(&id).await?["output"].clone());
    }
    ensure!(outputs == [json!("sent"), json!("kept"), json!("kept")], "{outputs:?}");
    Ok(())
}

/// What became of the component `a`: its attempt, and the execution whose result it used.
async fn used_of(place: &Place, id: &str) -> Result<(Value, Value)> {
    let found = place.api.ended(id).await?;
    ensure!(found["status"] == "completed", "{found}");
    let tasks = place.api.pages(&format!("/api/v1/executions/{id}/tasks"), 50).await?;
    let task = tasks.iter().find(|task| task["component"] == "a").context("a settled")?;
    Ok((task["attempt"].clone(), task["cached"]["execution"].clone()))
}

async fn a_result_is_used_again_until_it_is_cleared(place: &Place) -> Result<()> {
    let document = "workflow: v1
name: cached
parameters: { of: { type: string, default: x } }
components:
  a: { type: map, config: { rows: ['${{ parameters.of }}'], expression: item }, cache: {} }
output: ${{ components.a.output.rows }}
";
    let workflow = place.api.create("cached", document).await?;
    let first = place.api.execute(&workflow, &json!({})).await?;
    ensure!(used_of(place, &first).await? == (json!(1), Value::Null));
    let second = place.api.execute(&workflow, &json!({})).await?;
    ensure!(used_of(place, &second).await? == (json!(0), json!(first)));
    ensure!(place.api.execution(&second).await?["output"] == json!(["x"]));
    let other = place.api.execute(&workflow, &json!({ "parameters": { "of": "y" } })).await?;
    ensure!(used_of(place, &other).await? == (json!(1), Value::Null));
    let again =
        place.api.post(&format!("/api/v1/executions/{second}/retry"), &json!({ "from": "whole" })).await?;
    let again = text(&again.expect(202)?, "id")?;
    ensure!(used_of(place, &again).await? == (json!(1), Value::Null), "what is done again runs");
    let path = format!("/api/v1/workflows/{workflow}/cache");
    let cleared = place.api.delete(&format!("{path}?component=a")).await?.expect(200)?;
    ensure!(cleared == json!({ "removed": 2 }), "{cleared}");
    let last = place.api.execute(&workflow, &json!({})).await?;
    ensure!(used_of(place, &last).await? == (json!(1), Value::Null));
    Ok(())
}
