//! What starts workflows by itself: webhooks, schedules, events, people, backfills.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::time::{Clock, SystemClock, Timestamp};

use crate::harness::{
    PATIENCE, RUNTIME, WEBHOOK_SECRET,
    brokers::{RabbitQueue, RedisStream},
    client::{Answer, text},
    place::{Place, Shape},
    process::Process,
    unique_name, until, workspace,
};

both_shapes!(
    every_scheme_of_webhooks_takes_what_is_genuine_and_nothing_else,
    a_webhook_refuses_what_it_does_not_take,
    a_webhook_without_its_secret_refuses_every_call,
    what_a_webhook_sends_is_data_and_nothing_else,
    a_webhook_may_wait_for_the_end,
    an_event_starts_who_listens_once,
    an_event_that_cannot_start_is_parked_and_replayed,
    events_are_gathered_into_batches,
    a_debounced_trigger_starts_once_with_the_newest_event,
    the_end_of_an_execution_starts_who_listens_once,
    ends_start_one_another_three_deep_and_no_further,
    a_file_that_appears_starts_once_and_is_put_away,
    a_folder_that_is_not_there_is_shown_as_degraded,
    each_message_of_a_queue_starts_once,
    each_entry_of_a_stream_starts_once,
    what_a_queue_brings_and_cannot_be_read_is_parked_and_replayed,
    what_is_rejected_goes_to_the_dead_letters,
    a_queue_that_is_not_there_is_shown_and_listened_to_when_it_is,
    a_control_queue_is_refused,
    a_paused_trigger_leaves_its_queue,
    a_manual_trigger_takes_parameters,
    a_trigger_lets_so_many_with_a_key_run_at_once,
    a_schedule_fires_in_time_and_pauses,
    a_backfill_is_counted_started_and_paused,
    the_command_line_knows_triggers,
    the_documents_of_the_guides_can_be_saved_and_fired,
);

/// A workflow with these triggers; its id.
async fn workflow(place: &Place, triggers: &str) -> Result<String> {
    let triggers: String = triggers.lines().map(|line| format!("  {line}\n")).collect();
    let document = format!(
        "workflow: v1\nname: triggered\nparameters:\n  given: {{ type: any }}\ntriggers:\n{triggers}components:\n  echo:\n    \
         type: noop\n    config: {{ value: \"${{{{ parameters.given | default('nothing') }}}}\" }}\noutput: ${{{{ components.echo.output }}}}\n"
    );
    place.api.create("triggered", &document).await
}

/// The trigger `t` of a workflow.
async fn trigger(place: &Place, workflow: &str) -> Result<Value> {
    let list = place.api.get(&format!("/api/v1/workflows/{workflow}/triggers")).await?.expect(200)?;
    list["items"][0].as_object().cloned().map(Value::Object).with_context(|| format!("no trigger: {list}"))
}

async fn post(place: &Place, path: &str) -> Result<Answer> {
    place.api.post(path, &json!({})).await
}

async fn executions(place: &Place, workflow: &str) -> Result<Vec<Value>> {
    place.api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await
}

fn mac(parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).expect("a key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

type Signed = Vec<(&'static str, String)>;

/// The headers of a call that is signed at a time.
fn signed(scheme: &str, id: &str, body: &[u8], at: i64) -> Signed {
    let time = at.to_string();
    match scheme {
        "standard_webhooks" => {
            let signature = STANDARD.encode(mac(&[id.as_bytes(), b".", time.as_bytes(), b".", body]));
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", time),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        "github" => vec![("x-hub-signature-256", format!("sha256={}", hex::encode(mac(&[body]))))],
        "stripe" => {
            let signature = hex::encode(mac(&[time.as_bytes(), b".", body]));
            vec![("stripe-signature", format!("t={time},v1={signature}"))]
        }
        "slack" => {
            let signature = hex::encode(mac(&[b"v0:", time.as_bytes(), b":", body]));
            vec![("x-slack-request-timestamp", time), ("x-slack-signature", format!("v0={signature}"))]
        }
        "hmac" => vec![("x-webhook-signature", hex::encode(mac(&[body])))],
        _ => vec![("x-api-key", WEBHOOK_SECRET.to_owned()), ("webhook-id", id.to_owned())],
    }
}

fn seconds() -> i64 {
    SystemClock.now().as_micros() / 1_000_000
}

async fn call(place: &Place, path: &str, headers: &Signed, body: &[u8]) -> Result<Answer> {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    place.api.send(Method::POST, path, &headers, Some(body.to_vec())).await
}

async fn hook(place: &Place, config: &str) -> Result<(String, String)> {
    let workflow = workflow(
        place,
        &format!("t:\n  type: webhook\n  config: {{ secret: IT_WEBHOOK, path: /orders, {config} }}\n  parameters: {{ given: \"${{{{ event.body }}}}\" }}"),
    )
    .await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    let address = post(place, &format!("/api/v1/triggers/{id}/rotate")).await?.expect(200)?;
    Ok((workflow, text(&address, "path")?))
}

async fn every_scheme_of_webhooks_takes_what_is_genuine_and_nothing_else(place: &Place) -> Result<()> {
    for scheme in ["standard_webhooks", "github", "stripe", "slack", "hmac", "api_key"] {
        let (workflow, path) = hook(place, &format!("verify: {scheme}")).await?;
        ensure!(path.ends_with("/orders"), "{path}");
        let body = json!({ "id": unique_name("evt"), "total": 7 }).to_string().into_bytes();
        let now = seconds();
        let good = signed(scheme, "msg_1", &body, now);
        for index in 0..good.len() {
            if good[index].0 == "webhook-id" && scheme == "api_key" {
                continue;
            }
            let mut missing = good.clone();
            missing.remove(index);
            call(place, &path, &missing, &body).await?.problem(401, "unauthorized")?;
            let mut wrong = good.clone();
            "0000".clone_into(&mut wrong[index].1);
            call(place, &path, &wrong, &body).await?.problem(401, "unauthorized")?;
            let mut twice = good.clone();
            twice.push(good[index].clone());
            call(place, &path, &twice, &body).await?.problem(401, "unauthorized")?;
        }
        if matches!(scheme, "standard_webhooks" | "stripe" | "slack") {
            call(place, &path, &signed(scheme, "msg_0", &body, now - 400), &body)
                .await?
                .problem(401, "unauthorized")?;
        }
        if scheme != "api_key" {
            call(place, &path, &good, b"{\"total\":8}").await?.problem(401, "unauthorized")?;
        }
        ensure!(executions(place, &workflow).await?.is_empty(), "{scheme}: a forged call started something");

        let first = call(place, &path, &good, &body).await?.expect(202)?;
        let execution = text(&first, "execution_id")?;
        let again = call(place, &path, &good, &body).await?.expect(202)?;
        ensure!(
            again["execution_id"] == execution.as_str() && again["duplicate"] == true,
            "{scheme}: {again}"
        );
        let ended = place.api.ended(&execution).await?;
        ensure!(ended["output"]["total"] == 7, "{scheme}: {ended}");
        ensure!(executions(place, &workflow).await?.len() == 1, "{scheme}: a replay started something");
        let id = text(&trigger(place, &workflow).await?, "id")?;
        let receipts = place.api.pages(&format!("/api/v1/triggers/{id}/receipts"), 50).await?;
        ensure!(receipts.len() == 1 && receipts[0]["execution_id"] == execution.as_str(), "{receipts:?}");
    }
    Ok(())
}

async fn a_webhook_refuses_what_it_does_not_take(place: &Place) -> Result<()> {
    let (workflow, path) = hook(place, "verify: github, max_body: 100B, rate_limit: 3/h").await?;
    let body = b"{}".to_vec();
    let good = signed("github", "", &body, seconds());
    let headers: Vec<(&str, &str)> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let wrong = place.api.send(Method::PUT, &path, &headers, Some(body.clone())).await?;
    wrong.problem(405, "method_not_allowed")?;
    let unknown = format!("/webhooks/{}/orders", "0".repeat(32));
    call(place, &unknown, &good, &body).await?.problem(404, "not_found")?;
    // The path alone leads nowhere.
    call(place, "/webhooks/orders", &good, &body).await?.problem(404, "not_found")?;
    let mut typed = good.clone();
    typed.push(("content-type", "text/plain".to_owned()));
    call(place, &path, &typed, &body).await?.problem(415, "unsupported_media_type")?;
    let large = format!("\"{}\"", "x".repeat(200)).into_bytes();
    call(place, &path, &signed("github", "", &large, 0), &large).await?.problem(413, "body_too_large")?;
    call(place, &path, &good, &body).await?.expect(202)?;
    let broken = b"{".to_vec();
    call(place, &path, &signed("github", "", &broken, 0), &broken).await?.problem(400, "malformed_json")?;
    call(place, &path, &good, &body).await?.expect(202)?;
    let limited = call(place, &path, &good, &body).await?;
    limited.problem(429, "rate_limited")?;
    ensure!(limited.header("retry-after").parse::<u64>().is_ok_and(|pause| pause > 60), "{limited:?}");

    let id = text(&trigger(place, &workflow).await?, "id")?;
    let paused = post(place, &format!("/api/v1/triggers/{id}/pause")).await?.expect(200)?;
    ensure!(paused["status"] == "paused", "{paused}");
    call(place, &path, &good, &body).await?.problem(409, "trigger_inactive")?;
    post(place, &format!("/api/v1/triggers/{id}/resume")).await?.expect(200)?;
    post(place, &format!("/api/v1/triggers/{id}/rotate")).await?.expect(200)?;
    call(place, &path, &good, &body).await?.problem(404, "not_found")?;
    Ok(())
}

async fn a_webhook_without_its_secret_refuses_every_call(place: &Place) -> Result<()> {
    for config in ["verify: github", "verify: github, secret: IT_NOWHERE"] {
        let workflow = workflow(place, &format!("t: {{ type: webhook, config: {{ {config} }} }}")).await?;
        let found = trigger(place, &workflow).await?;
        ensure!(found["status"] == "cannot_be_activated", "{found}");
        let id = text(&found, "id")?;
        let refused = post(place, &format!("/api/v1/triggers/{id}/rotate")).await?;
        refused.problem(409, "trigger_inactive")?;
    }
    // One that had its secret and lost it keeps its address, and refuses too.
    let (workflow, path) = hook(place, "verify: github").await?;
    let document = "workflow: v1\nname: triggered\ntriggers:\n  t: { type: webhook, config: { verify: github } }\ncomponents:\n  a: { type: noop }\n";
    let changed = json!({ "definition": document });
    place.api.put(&format!("/api/v1/workflows/{workflow}"), &changed).await?.expect(200)?;
    let body = b"{}".to_vec();
    for headers in [signed("github", "", &body, 0), Vec::new()] {
        call(place, &path, &headers, &body).await?.problem(409, "trigger_inactive")?;
    }
    ensure!(executions(place, &workflow).await?.is_empty());
    Ok(())
}

async fn what_a_webhook_sends_is_data_and_nothing_else(place: &Place) -> Result<()> {
    let (_, path) = hook(place, "verify: github").await?;
    let sent = json!(["${{ 7*7 }}", "{{7*7}}", "<script>alert(1)</script>", "../../etc/passwd", "nul \u{0}"]);
    let body = sent.to_string().into_bytes();
    let fired = call(place, &path, &signed("github", "", &body, 0), &body).await?.expect(202)?;
    let ended = place.api.ended(&text(&fired, "execution_id")?).await?;
    ensure!(ended["output"] == sent, "{ended}");
    Ok(())
}

async fn a_webhook_may_wait_for_the_end(place: &Place) -> Result<()> {
    let (_, path) = hook(place, "verify: hmac, respond: completed").await?;
    let body = json!({ "n": 1 }).to_string().into_bytes();
    let ended = call(place, &path, &signed("hmac", "", &body, 0), &body).await?.expect(200)?;
    ensure!(ended["status"] == "completed" && ended["output"]["n"] == 1, "{ended}");
    Ok(())
}

fn event(kind: &str, id: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "shop", "type": kind, "data": data })
}

async fn an_event_starts_who_listens_once(place: &Place) -> Result<()> {
    let kind = unique_name("order").replace('-', "_");
    let listens = workflow(
        place,
        &format!("t:\n  type: event\n  config: {{ types: [\"{kind}.*\"], filter: event.body.total > 100 }}\n  parameters: {{ given: \"${{{{ event.body.total }}}}\" }}"),
    )
    .await?;
    let id = unique_name("e");
    let created = format!("{kind}.created");
    let published = place
        .api
        .post("/api/v1/events", &event(&created, &id, &json!({ "total": 101 })))
        .await?
        .expect(202)?;
    let execution = text(&published["items"][0]["started"][0], "execution_id")?;
    ensure!(place.api.ended(&execution).await?["output"] == 101);
    let again = place
        .api
        .post("/api/v1/events", &event(&created, &id, &json!({ "total": 101 })))
        .await?
        .expect(202)?;
    ensure!(again["items"][0]["known"] == true, "{again}");
    // Too little, and another type.
    let batch = json!([
        event(&created, &format!("{id}2"), &json!({ "total": 1 })),
        event("other", &format!("{id}3"), &json!({ "total": 999 }))
    ]);
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let sent = place
        .api
        .send(Method::POST, "/api/v1/events", &headers, Some(batch.to_string().into_bytes()))
        .await?
        .expect(202)?;
    ensure!(
        sent["items"].as_array().is_some_and(|all| all.iter().all(|one| one["started"] == json!([]))),
        "{sent}"
    );
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", &format!("{id}4")),
        ("ce-source", "shop"),
        ("ce-type", &created),
    ];
    let sent = place
        .api
        .send(Method::POST, "/api/v1/events", &headers, Some(b"{\"total\":500}".to_vec()))
        .await?
        .expect(202)?;
    ensure!(sent["items"][0]["started"][0]["execution_id"].is_string(), "{sent}");
    ensure!(executions(place, &listens).await?.len() == 2);
    let forged = place.api.post("/api/v1/events", &event("execution.completed", &id, &Value::Null)).await?;
    forged.problem(422, "invalid_body")?;
    let list = place.api.get(&format!("/api/v1/events?type={created}")).await?.expect(200)?;
    ensure!(list["items"].as_array().map(Vec::len) == Some(3), "{list}");
    Ok(())
}

async fn an_event_that_cannot_start_is_parked_and_replayed(place: &Place) -> Result<()> {
    let kind = unique_name("odd").replace('-', "_");
    let listens = workflow(
        place,
        &format!("t:\n  type: event\n  config: {{ types: [{kind}], filter: event.body.total > 100 }}\n  parameters: {{ given: \"${{{{ event.id }}}}\" }}"),
    )
    .await?;
    let id = unique_name("e");
    let sent =
        place.api.post("/api/v1/events", &event(&kind, &id, &json!({ "sum": 5 }))).await?.expect(202)?;
    ensure!(
        sent["items"][0]["started"][0]["parked"].as_str().is_some_and(|why| why.contains("filter")),
        "{sent}"
    );
    let trigger = text(&trigger(place, &listens).await?, "id")?;
    let parked = place.api.pages(&format!("/api/v1/triggers/{trigger}/receipts?outcome=parked"), 50).await?;
    ensure!(parked.len() == 1, "{parked:?}");
    let receipt = text(&parked[0], "id")?;
    let whole = place.api.get(&format!("/api/v1/receipts/{receipt}")).await?.expect(200)?;
    ensure!(whole["event"]["body"]["sum"] == 5 && whole["error"].is_string(), "{whole}");
    let path = format!("/api/v1/receipts/{receipt}/replay");
    let started = post(place, &path).await?.expect(202)?;
    let execution = text(&started, "execution_id")?;
    ensure!(place.api.ended(&execution).await?["output"] == id.as_str());
    let again = post(place, &path).await?.expect(202)?;
    ensure!(again["duplicate"] == true && again["execution_id"] == execution.as_str(), "{again}");
    Ok(())
}

/// Sends so many events of a type, each of which a trigger gathers.
async fn gather(place: &Place, kind: &str, numbers: std::ops::Range<u32>) -> Result<()> {
    for number in numbers {
        let id = format!("{kind}-{number}");
        let sent = place
            .api
            .post("/api/v1/events", &event(kind, &id, &json!({ "n": number })))
            .await?
            .expect(202)?;
        let started = &sent["items"][0]["started"][0];
        ensure!(started["gathered"] == true && started["execution_id"].is_null(), "{sent}");
    }
    Ok(())
}

/// Waits for so many executions of a workflow; their outputs.
async fn started_by(place: &Place, workflow: &str, count: usize) -> Result<Vec<Value>> {
    let found = until(PATIENCE, "the executions", async || {
        let found = executions(place, workflow).await?;
        Ok((found.len() >= count).then_some(found))
    })
    .await?;
    ensure!(found.len() == count, "{found:?}");
    let mut outputs = Vec::new();
    for execution in &found {
        outputs.push(place.api.ended(&text(execution, "id")?).await?["output"].clone());
    }
    Ok(outputs)
}

async fn events_are_gathered_into_batches(place: &Place) -> Result<()> {
    let kind = unique_name("many").replace('-', "_");
    let listens = workflow(
        place,
        &format!(
            "t:
  type: event
  config: {{ types: [{kind}], batch_size: 3, batch_within: 2s }}
  parameters: {{ given: \"${{{{ event.batch | map(attribute='body') | map(attribute='n') | list }}}}\" }}"
        ),
    )
    .await?;
    gather(place, &kind, 0..5).await?;
    let mut batches = started_by(place, &listens, 2).await?;
    batches.sort_by_key(ToString::to_string);
    ensure!(batches == [json!([0, 1, 2]), json!([3, 4])], "{batches:?}");
    let trigger = text(&trigger(place, &listens).await?, "id")?;
    let all = place.api.pages(&format!("/api/v1/triggers/{trigger}/receipts?outcome=started"), 50).await?;
    ensure!(all.len() == 5, "every event has its receipt: {all:?}");
    Ok(())
}

async fn a_debounced_trigger_starts_once_with_the_newest_event(place: &Place) -> Result<()> {
    let kind = unique_name("storm").replace('-', "_");
    let listens = workflow(
        place,
        &format!(
            "t:
  type: event
  config: {{ types: [{kind}], debounce: 2s }}
  parameters: {{ given: \"${{{{ event.body.n }}}}\" }}"
        ),
    )
    .await?;
    gather(place, &kind, 0..4).await?;
    let found = started_by(place, &listens, 1).await?;
    ensure!(found == [json!(3)], "{found:?}");
    let trigger = text(&trigger(place, &listens).await?, "id")?;
    let outcome = async |name: &str| {
        place.api.pages(&format!("/api/v1/triggers/{trigger}/receipts?outcome={name}"), 50).await
    };
    ensure!(outcome("superseded").await?.len() == 3 && outcome("started").await?.len() == 1);
    Ok(())
}

/// Starts so many executions of a workflow and waits for their ends.
async fn run(place: &Place, workflow: &str, count: usize) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        ids.insert(place.api.execute(workflow, &json!({})).await?);
    }
    for id in &ids {
        place.api.ended(id).await?;
    }
    Ok(ids)
}

/// A workflow whose executions end in this status, and one that starts on their ends.
async fn heard(place: &Place, component: &str, types: &str) -> Result<(String, String)> {
    let name = unique_name("heard").replace('-', "_");
    let document = format!("workflow: v1\nname: {name}\ncomponents:\n  a: {component}\n");
    let source = place.api.create(&name, &document).await?;
    let listens = workflow(
        place,
        &format!("t:\n  type: event\n  config: {{ types: [{types}], source: apg/{name} }}\n  parameters: {{ given: \"${{{{ event.body }}}}\" }}"),
    )
    .await?;
    Ok((source, listens))
}

/// The ids of the executions whose ends a workflow was started by, each checked to be there once.
async fn ends_heard(place: &Place, listens: &str) -> Result<BTreeSet<String>> {
    let all = executions(place, listens).await?;
    let mut heard = BTreeSet::new();
    for row in &all {
        let ended = place.api.ended(&text(row, "id")?).await?;
        ensure!(heard.insert(text(&ended["output"], "id")?), "heard twice: {ended}");
    }
    Ok(heard)
}

/// Waits until whoever ends executions of a workflow knows of its listener.
async fn is_listened_to(place: &Place, source: &str, listens: &str) -> Result<()> {
    until(PATIENCE, "a listener that is known everywhere", async || {
        let ran = run(place, source, 12).await?;
        Ok(ran.is_subset(&ends_heard(place, listens).await?).then_some(()))
    })
    .await
}

async fn the_end_of_an_execution_starts_who_listens_once(place: &Place) -> Result<()> {
    let (source, listens) = heard(place, "{ type: noop }", "execution.completed").await?;
    // No waiting for anybody to have read the trigger: it hears what ends after it was saved.
    let one = run(place, &source, 1).await?.pop_first().context("an execution")?;
    let body = until(PATIENCE, "the start", async || {
        for row in executions(place, &listens).await? {
            let ended = place.api.ended(&text(&row, "id")?).await?;
            if ended["output"]["id"] == one.as_str() {
                return Ok(Some(ended["output"].clone()));
            }
        }
        Ok(None)
    })
    .await?;
    ensure!(body["status"] == "completed" && body["workflow"] == source.as_str(), "{body}");
    ensure!(body["version"] == 1 && body["name"].is_string() && body.get("failure").is_none(), "{body}");

    let fails = "{ type: fail, config: { message: no luck } }";
    let (source, listens) = heard(place, fails, "\"execution.*\"").await?;
    let ran = run(place, &source, 5).await?;
    until(PATIENCE, "every end", async || {
        Ok(ran.is_subset(&ends_heard(place, &listens).await?).then_some(()))
    })
    .await?;
    for row in executions(place, &listens).await? {
        let ended = place.api.ended(&text(&row, "id")?).await?;
        let body = &ended["output"];
        ensure!(body["status"] == "failed" && body["failure"]["message"].is_string(), "{body}");
    }
    Ok(())
}

async fn ends_start_one_another_three_deep_and_no_further(place: &Place) -> Result<()> {
    let name = unique_name("deep").replace('-', "_");
    let document = format!(
        "workflow: v1\nname: {name}\ntriggers:\n  t:\n    type: event\n    config: {{ types: [\"execution.*\"], source: apg/{name} }}\ncomponents:\n  a: {{ type: noop }}\n"
    );
    let workflow = place.api.create(&name, &document).await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    let sizes = async || -> Result<(usize, Vec<Value>)> {
        let parked = place.api.pages(&format!("/api/v1/triggers/{id}/receipts?outcome=parked"), 500).await?;
        Ok((executions(place, &workflow).await?.len(), parked))
    };
    let runs = AtomicUsize::new(0);
    // A coordinator that does not know of a trigger yet may cut a chain short; it never makes one longer.
    let parked = until(PATIENCE, "a chain of four", async || {
        let (before, parked_before) = sizes().await?;
        run(place, &workflow, 1).await?;
        runs.fetch_add(1, Relaxed);
        let last = until(Duration::from_secs(5), "its last end", async || {
            let (all, parked) = sizes().await?;
            Ok((parked.len() > parked_before.len()).then_some((all, parked)))
        });
        let Ok((all, parked)) = last.await else { return Ok(None) };
        ensure!(all <= runs.load(Relaxed) * 4, "{all} executions");
        Ok((all == before + 4 && parked.len() == parked_before.len() + 1).then_some(parked))
    })
    .await?;
    ensure!(parked[0]["error"].as_str().is_some_and(|why| why.contains("3 executions")), "{parked:?}");
    Ok(())
}

/// One more coordinator, which has its share of the work and is to die.
async fn mortal_coordinator(place: &Place) -> Result<Process> {
    let name = unique_name("coordinator");
    let log = place.front.log().with_file_name(format!("{name}.log"));
    let mortal = Process::start(&name, place.front.command(&["coordinator"])?, &log)?;
    until(PATIENCE, "its share", async || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        Ok(said.contains("share of the inbox shards changed").then_some(()))
    })
    .await?;
    Ok(mortal)
}

#[test]
fn no_end_is_lost_or_told_twice_when_a_coordinator_dies() -> Result<()> {
    crate::at(Shape::Cluster, async |place: &Place| {
        let (source, listens) = heard(place, "{ type: noop }", "execution.completed").await?;
        is_listened_to(place, &source, &listens).await?;
        let mortal = mortal_coordinator(place).await?;
        let mut ran = BTreeSet::new();
        let mut mortal = Some(mortal);
        for index in 0..120 {
            ran.insert(place.api.execute(&source, &json!({})).await?);
            if index == 90
                && let Some(mortal) = mortal.take()
            {
                mortal.kill()?;
            }
        }
        until(PATIENCE, "every end", async || {
            Ok(ran.is_subset(&ends_heard(place, &listens).await?).then_some(()))
        })
        .await
    })
}

/// A folder of the connector `files`, and a workflow that starts on the files in it.
async fn folder(place: &Place, config: &str) -> Result<(PathBuf, String, String)> {
    let name = unique_name("in");
    let folder = place.front.log().with_file_name("files").join(&name);
    let workflow = workflow(
        place,
        &format!("t:\n  type: file\n  config: {{ connector: files, folder: {name}, poll: 1s, stable_for: 0s, {config} }}\n  parameters: {{ given: \"${{{{ event.body.files }}}}\" }}"),
    )
    .await?;
    Ok((folder, name, workflow))
}

async fn a_file_that_appears_starts_once_and_is_put_away(place: &Place) -> Result<()> {
    let (keeps, name, kept) = folder(place, "pattern: \"*.csv\"").await?;
    std::fs::create_dir_all(&keeps)?;
    std::os::unix::fs::symlink("/etc/passwd", keeps.join("link.csv"))?;
    std::fs::write(keeps.join("other.txt"), "no")?;
    std::fs::write(keeps.join("a.csv"), "one")?;
    fires_reach(place, &kept, 1).await?;
    let id = text(&trigger(place, &kept).await?, "id")?;
    let parked = until(PATIENCE, "the link that leads out", async || {
        let all = place.api.pages(&format!("/api/v1/triggers/{id}/receipts?outcome=parked"), 50).await?;
        Ok((!all.is_empty()).then_some(all))
    })
    .await?;
    ensure!(parked[0]["error"].as_str().is_some_and(|why| why.contains("link.csv")), "{parked:?}");
    std::fs::write(keeps.join("a.csv"), "changed")?;
    fires_reach(place, &kept, 2).await?;
    for row in executions(place, &kept).await? {
        let file = &place.api.ended(&text(&row, "id")?).await?["output"][0];
        ensure!(file["path"] == format!("{name}/a.csv") && file["name"] == "a.csv", "{file}");
        ensure!(matches!(file["size"].as_u64(), Some(3 | 7)), "{file}");
    }

    for (after, is_moved) in [("move", true), ("delete", false)] {
        let (drops, _, taken) = folder(place, &format!("after: {after}")).await?;
        std::fs::create_dir_all(&drops)?;
        for index in 0..5 {
            std::fs::write(drops.join(format!("{index}.txt")), "x")?;
        }
        until(PATIENCE, "an empty folder", async || {
            let left = std::fs::read_dir(&drops)?.filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            });
            Ok((left.count() == 0).then_some(()))
        })
        .await?;
        ensure!(executions(place, &taken).await?.len() == 5, "{after}: each starts once");
        ensure!(drops.join("done/4.txt").exists() == is_moved, "{after}");
    }
    ensure!(executions(place, &kept).await?.len() == 2, "what stays does not start again");
    Ok(())
}

/// The start is durable and the move has not happened when the process dies: whoever comes next moves the file.
#[test]
fn a_file_whose_move_a_kill_prevents_is_moved_later_and_starts_nothing_twice() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Embedded, &json!({})).await?;
        let (drops, _, workflow) = folder(&place, "pattern: \"*.csv\", after: move").await?;
        std::fs::create_dir_all(&drops)?;
        // A file where the destination would be: nothing can be moved there.
        let obstacle = drops.join("done");
        std::fs::write(&obstacle, "in the way")?;
        std::fs::write(drops.join("a.csv"), "one")?;
        let is = async |place: &Place, status: &str| {
            until(PATIENCE, status, async || {
                Ok((trigger(place, &workflow).await?["status"] == status).then_some(()))
            })
            .await
        };
        fires_reach(&place, &workflow, 1).await?;
        is(&place, "degraded").await?;
        place.processes[0].kill()?;
        ensure!(drops.join("a.csv").exists(), "it was not moved before the kill");
        std::fs::remove_file(&obstacle)?;
        place.processes[0] = place.front.start()?;
        place.front.is_up(&place.processes[0]).await?;
        until(PATIENCE, "the moved file", async || {
            Ok((obstacle.join("a.csv").exists() && !drops.join("a.csv").exists()).then_some(()))
        })
        .await?;
        is(&place, "active").await?;
        ensure!(executions(&place, &workflow).await?.len() == 1, "it started once");
        Ok(())
    })
}

async fn a_folder_that_is_not_there_is_shown_as_degraded(place: &Place) -> Result<()> {
    let (missing, _, workflow) = folder(place, "pattern: \"*\"").await?;
    let is = async |status: &str| {
        until(PATIENCE, status, async || {
            let found = trigger(place, &workflow).await?;
            Ok((found["status"] == status).then_some(found))
        })
        .await
    };
    let found = is("degraded").await?;
    ensure!(found["trouble"].is_string(), "{found}");
    std::fs::create_dir_all(missing)?;
    is("active").await?;
    Ok(())
}

/// A workflow that starts on the messages of a queue.
async fn listens(place: &Place, connector: &str, queue: &str, config: &str) -> Result<String> {
    let trigger = format!(
        "t:\n  type: queue\n  config: {{ connector: {connector}, queue: {queue}{config} }}\n  parameters: {{ given: \"${{{{ event.body }}}}\" }}"
    );
    workflow(place, &trigger).await
}

async fn receipts(place: &Place, workflow: &str, outcome: &str) -> Result<Vec<Value>> {
    let id = text(&trigger(place, workflow).await?, "id")?;
    place.api.pages(&format!("/api/v1/triggers/{id}/receipts?outcome={outcome}"), 500).await
}

async fn receipts_reach(place: &Place, workflow: &str, outcome: &str, least: usize) -> Result<Vec<Value>> {
    until(PATIENCE, &format!("{least} {outcome} receipts"), async || {
        let all = receipts(place, workflow, outcome).await?;
        Ok((all.len() >= least).then_some(all))
    })
    .await
}

async fn status_is(place: &Place, workflow: &str, status: &str) -> Result<Value> {
    until(PATIENCE, status, async || {
        let found = trigger(place, workflow).await?;
        Ok((found["status"] == status).then_some(found))
    })
    .await
}

/// The outputs of all executions of a workflow, once they have ended.
async fn outputs(place: &Place, workflow: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for row in executions(place, workflow).await? {
        all.push(place.api.ended(&text(&row, "id")?).await?["output"].clone());
    }
    Ok(all)
}

async fn each_message_of_a_queue_starts_once(place: &Place) -> Result<()> {
    let queue = RabbitQueue::new().await?;
    let workflow = listens(place, "broker", &queue.name, "").await?;
    for index in 0..500 {
        queue.send(Some(&format!("m{index}")), json!({ "n": index }).to_string().as_bytes()).await?;
    }
    // The same messages once more.
    for index in 0..20 {
        queue.send(Some(&format!("m{index}")), json!({ "n": index }).to_string().as_bytes()).await?;
    }
    fires_reach(place, &workflow, 500).await?;
    until(PATIENCE, "an empty queue", async || Ok((queue.depth().await?.0 == 0).then_some(()))).await?;
    // Behind the repeated ones.
    queue.send(None, b"\"last\"").await?;
    fires_reach(place, &workflow, 501).await?;
    let all = outputs(place, &workflow).await?;
    ensure!(all.len() == 501, "{} executions", all.len());
    let numbers: BTreeSet<u64> = all.iter().filter_map(|output| output["n"].as_u64()).collect();
    ensure!(numbers.len() == 500 && all.contains(&json!("last")), "each has its own message");
    let unnamed: Vec<Value> = receipts(place, &workflow, "started")
        .await?
        .into_iter()
        .filter(|receipt| receipt["dedupe_key"].is_null())
        .collect();
    ensure!(
        unnamed.len() == 1
            && unnamed[0]["error"].as_str().is_some_and(|said| said.starts_with("at least once")),
        "{unnamed:?}"
    );
    Ok(())
}

async fn each_entry_of_a_stream_starts_once(place: &Place) -> Result<()> {
    let stream = RedisStream::new().await?;
    let workflow = listens(place, "streams", &stream.key, ", prefetch: 50").await?;
    for index in 0..500 {
        stream.send(&[("body", json!({ "n": index }).to_string().as_bytes())]).await?;
    }
    stream.send(&[("order", b"A-7")]).await?;
    fires_reach(place, &workflow, 501).await?;
    until(PATIENCE, "acknowledgements", async || Ok((stream.pending().await? == 0).then_some(()))).await?;
    let all = outputs(place, &workflow).await?;
    ensure!(all.len() == 501, "{} executions", all.len());
    let numbers: BTreeSet<u64> = all.iter().filter_map(|output| output["n"].as_u64()).collect();
    ensure!(numbers.len() == 500 && all.contains(&json!({ "order": "A-7" })), "each has its own entry");
    Ok(())
}

async fn what_a_queue_brings_and_cannot_be_read_is_parked_and_replayed(place: &Place) -> Result<()> {
    let (queue, stream) = (RabbitQueue::new().await?, RedisStream::new().await?);
    queue.send(Some("torn"), b"{torn").await?;
    stream.send(&[("body", b"{torn")]).await?;
    for (connector, name) in [("broker", &queue.name), ("streams", &stream.key)] {
        let workflow = listens(place, connector, name, "").await?;
        let parked = receipts_reach(place, &workflow, "parked", 1).await?;
        let id = text(&parked[0], "id")?;
        let receipt = place.api.get(&format!("/api/v1/receipts/{id}")).await?.expect(200)?;
        ensure!(
            receipt["bytes"] == STANDARD.encode("{torn") && receipt["event"]["body"].is_null(),
            "{receipt}"
        );
        ensure!(receipt["error"].as_str().is_some_and(|why| why.contains("not JSON")), "{receipt}");
        let replay = format!("/api/v1/receipts/{id}/replay");
        post(place, &replay).await?.problem(422, "invalid_body")?;
        // Its trigger is taught to read it.
        let document = format!(
            "workflow: v1\nname: triggered\nparameters:\n  given: {{ type: any }}\ntriggers:\n  t:\n    type: queue\n    \
             config: {{ connector: {connector}, queue: {name}, decode: text }}\n    \
             parameters: {{ given: \"${{{{ event.body }}}}\" }}\ncomponents:\n  echo:\n    type: noop\n    \
             config: {{ value: \"${{{{ parameters.given }}}}\" }}\noutput: ${{{{ components.echo.output }}}}\n"
        );
        let changed = json!({ "definition": document });
        place.api.put(&format!("/api/v1/workflows/{workflow}"), &changed).await?.expect(200)?;
        let started = post(place, &replay).await?.expect(202)?;
        let ended = place.api.ended(&text(&started, "execution_id")?).await?;
        ensure!(ended["output"] == "{torn", "{ended}");
    }
    Ok(())
}

async fn what_is_rejected_goes_to_the_dead_letters(place: &Place) -> Result<()> {
    let (queue, stream) = (RabbitQueue::new().await?, RedisStream::new().await?);
    let workflow = listens(place, "broker", &queue.name, ", on_bad: reject").await?;
    queue.send(Some("torn"), b"{torn").await?;
    queue.send(Some("good"), b"7").await?;
    let dead = until(PATIENCE, "a dead letter", async || queue.rejected().await).await?;
    ensure!(dead == b"{torn", "{dead:?}");
    let refused = receipts_reach(place, &workflow, "refused", 1).await?;
    ensure!(refused[0]["error"].as_str().is_some_and(|why| why.contains("not JSON")), "{refused:?}");
    fires_reach(place, &workflow, 1).await?;

    let workflow = listens(place, "streams", &stream.key, ", on_bad: reject").await?;
    stream.send(&[("body", b"{torn")]).await?;
    receipts_reach(place, &workflow, "refused", 1).await?;
    until(PATIENCE, "an acknowledgement", async || Ok((stream.pending().await? == 0).then_some(()))).await
}

async fn a_queue_that_is_not_there_is_shown_and_listened_to_when_it_is(place: &Place) -> Result<()> {
    let queue = RabbitQueue::new().await?;
    queue.delete().await?;
    let workflow = listens(place, "broker", &queue.name, "").await?;
    let found = status_is(place, &workflow, "degraded").await?;
    ensure!(found["trouble"].as_str().is_some_and(|why| why.contains(&queue.name)), "{found}");
    ensure!(text(&found, "trouble_since")?.parse::<Timestamp>().is_ok(), "{found}");
    let shown = place.apg(&["trigger", "show", &text(&found, "id")?, "--server", &place.api.base]).await?;
    ensure!(
        shown.code == 0 && shown.out.contains("degraded") && shown.out.contains(&queue.name),
        "{shown:?}"
    );
    queue.declare().await?;
    queue.send(Some("m"), b"1").await?;
    fires_reach(place, &workflow, 1).await?;
    let found = status_is(place, &workflow, "active").await?;
    ensure!(found["trouble"].is_null() && found["trouble_since"].is_null(), "{found}");
    for connector in ["files", "nowhere"] {
        let workflow = listens(place, connector, &queue.name, "").await?;
        let found = status_is(place, &workflow, "degraded").await?;
        ensure!(found["trouble"].as_str().is_some_and(|why| why.contains(connector)), "{found}");
    }
    Ok(())
}

async fn a_control_queue_is_refused(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: thief\ntriggers:\n  t: { type: queue, config: { connector: broker, queue: apg.inbox.0 } }\n\
                    components:\n  a: { type: noop }\n";
    let refused = place.api.post("/api/v1/workflows", &json!({ "definition": document })).await?;
    ensure!(refused.status == 422 && refused.json()?.to_string().contains("own_queue"), "{refused:?}");
    if place.shape == Shape::Cluster {
        // Under another namespace it is seen when it is listened to.
        let namespace = place.namespace()?;
        let workflow = listens(place, "broker", &format!("{namespace}.inbox.0"), "").await?;
        let found = status_is(place, &workflow, "degraded").await?;
        ensure!(found["trouble"].as_str().is_some_and(|why| why.contains("control queue")), "{found}");
    }
    Ok(())
}

async fn a_paused_trigger_leaves_its_queue(place: &Place) -> Result<()> {
    let queue = RabbitQueue::new().await?;
    let workflow = listens(place, "broker", &queue.name, "").await?;
    let listeners = async |count: u32| {
        let what = format!("{count} listeners");
        until(PATIENCE, &what, async || Ok((queue.depth().await?.1 == count).then_some(()))).await
    };
    listeners(1).await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    post(place, &format!("/api/v1/triggers/{id}/pause")).await?.expect(200)?;
    listeners(0).await?;
    queue.send(Some("m"), b"1").await?;
    ensure!(queue.depth().await?.0 == 1 && executions(place, &workflow).await?.is_empty());
    post(place, &format!("/api/v1/triggers/{id}/resume")).await?.expect(200)?;
    fires_reach(place, &workflow, 1).await
}

async fn a_manual_trigger_takes_parameters(place: &Place) -> Result<()> {
    let workflow = workflow(place, "t: { type: manual, max_per_hour: 2 }").await?;
    let path = format!("/api/v1/triggers/{}/fire", text(&trigger(place, &workflow).await?, "id")?);
    let fired = place.api.post(&path, &json!({ "body": { "given": 5 } })).await?.expect(202)?;
    ensure!(place.api.ended(&text(&fired, "execution_id")?).await?["output"] == 5);
    let wrong = place.api.post(&path, &json!({ "body": { "givn": 5 } })).await?;
    wrong.problem(422, "invalid_parameters")?;
    post(place, &path).await?.expect(202)?;
    post(place, &path).await?.problem(429, "rate_limited")?;
    Ok(())
}

async fn a_trigger_lets_so_many_with_a_key_run_at_once(place: &Place) -> Result<()> {
    let document = "workflow: v1
name: keyed
parameters:
  customer: { type: string, required: true }
triggers:
  t: { type: manual, concurrency: { key: '${{ event.body.customer }}' } }
components:
  hold: { type: wait_for_event, config: { event: it.never, key: k } }
";
    let workflow = place.api.create("keyed", document).await?;
    let path = format!("/api/v1/triggers/{}/fire", text(&trigger(place, &workflow).await?, "id")?);
    let fire = async |customer: &str| -> Result<String> {
        let fired = place.api.post(&path, &json!({ "body": { "customer": customer } })).await?.expect(202)?;
        text(&fired, "execution_id")
    };
    let (first, second, other) = (fire("a").await?, fire("a").await?, fire("b").await?);
    let is = async |id: &str, status: &str| {
        until(PATIENCE, &format!("{id} is {status}"), async || {
            let found = place.api.get(&format!("/api/v1/executions/{id}")).await?.expect(200)?;
            Ok((found["status"] == status).then_some(found))
        })
        .await
    };
    is(&first, "running").await?;
    is(&other, "running").await?;
    let why = until(PATIENCE, "the reason", async || {
        let why = place.api.get(&format!("/api/v1/executions/{second}/why")).await?.expect(200)?;
        Ok(why.to_string().contains(&first).then_some(why))
    })
    .await?;
    ensure!(is(&second, "pending").await?["blocked_by"].as_str().is_some_and(|key| key == "a"), "{why}");
    post(place, &format!("/api/v1/executions/{first}/cancel")).await?;
    is(&second, "running").await?;
    for id in [second, other] {
        post(place, &format!("/api/v1/executions/{id}/cancel")).await?;
    }
    Ok(())
}

fn instants(value: &Value) -> Result<Vec<Timestamp>> {
    let all = value.as_array().context("a list")?;
    all.iter().map(|at| Ok(at.as_str().context("an instant")?.parse()?)).collect()
}

/// Checks that the fires of a schedule `every: 1s` that started follow one another without a gap; how many.
async fn gapless(place: &Place, workflow: &str) -> Result<usize> {
    let id = text(&trigger(place, workflow).await?, "id")?;
    let fires = place.api.pages(&format!("/api/v1/triggers/{id}/fires"), 100).await?;
    ensure!(fires.iter().all(|fire| fire["outcome"] == "started"), "{fires:?}");
    let at = instants(&fires.iter().map(|fire| fire["at"].clone()).collect::<Value>())?;
    for pair in at.windows(2) {
        ensure!(pair[0].since(pair[1]) == Duration::from_secs(1), "{at:?}");
    }
    let of_fires: BTreeSet<String> =
        fires.iter().map(|fire| text(fire, "execution_id")).collect::<Result<_>>()?;
    let all: BTreeSet<String> =
        executions(place, workflow).await?.iter().map(|row| text(row, "id")).collect::<Result<_>>()?;
    ensure!(of_fires == all && all.len() == fires.len(), "executions and fires differ: {of_fires:?} {all:?}");
    Ok(fires.len())
}

async fn fires_reach(place: &Place, workflow: &str, least: usize) -> Result<()> {
    until(PATIENCE, &format!("{least} fires"), async || {
        Ok((executions(place, workflow).await?.len() >= least).then_some(()))
    })
    .await
}

async fn a_schedule_fires_in_time_and_pauses(place: &Place) -> Result<()> {
    let workflow = workflow(
        place,
        "t:\n  type: schedule\n  config: { every: 1s, overlap: allow, catchup: all }\n  parameters: { given: \"${{ event.time }}\" }",
    )
    .await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    let next = place.api.get(&format!("/api/v1/triggers/{id}/next?count=3")).await?.expect(200)?;
    ensure!(instants(&next["fires"])?.len() == 3 && next["timezone"] == "UTC", "{next}");
    fires_reach(place, &workflow, 3).await?;
    post(place, &format!("/api/v1/triggers/{id}/pause")).await?.expect(200)?;
    let count = gapless(place, &workflow).await?;
    for row in executions(place, &workflow).await? {
        let ended = place.api.ended(&text(&row, "id")?).await?;
        ensure!(ended["output"].as_str().is_some_and(|at| at.parse::<Timestamp>().is_ok()), "{ended}");
    }
    // A manual run is no fire.
    post(place, &format!("/api/v1/triggers/{id}/fire")).await?.expect(202)?;
    let fires = place.api.pages(&format!("/api/v1/triggers/{id}/fires"), 100).await?;
    ensure!(fires.len() == count, "{fires:?}");
    Ok(())
}

async fn a_backfill_is_counted_started_and_paused(place: &Place) -> Result<()> {
    let workflow = workflow(
        place,
        "t:\n  type: schedule\n  config: { cron: \"0 2 * * *\", timezone: Europe/Berlin }\n  parameters: { given: \"${{ event.time }}\" }",
    )
    .await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    let path = format!("/api/v1/triggers/{id}/backfills");
    let mut asked = json!({
        "from": "2026-03-27T00:00:00Z", "to": "2026-04-04T12:00:00Z", "reason": "the shop was closed",
        "parallel": 2, "dry_run": true,
    });
    let tried = place.api.post(&path, &asked).await?.expect(200)?;
    ensure!(tried["total"] == 9 && tried["fires"][2] == "2026-03-29T01:00:00.000000Z", "{tried}");
    ensure!(executions(place, &workflow).await?.is_empty(), "it was only tried");
    asked["dry_run"] = json!(false);
    let made = place.api.post(&path, &asked).await?.expect(201)?;
    let backfill = format!("/api/v1/backfills/{}", text(&made, "id")?);
    let paused = post(place, &format!("{backfill}/pause")).await?.expect(200)?;
    let before = executions(place, &workflow).await?.len() as u64;
    ensure!(paused["status"] == "paused" && paused["started"].as_u64() <= Some(before), "{paused}");
    post(place, &format!("{backfill}/resume")).await?.expect(200)?;
    let done = until(PATIENCE, "the end of the backfill", async || {
        let found = place.api.get(&backfill).await?.expect(200)?;
        Ok((found["status"] == "completed").then_some(found))
    })
    .await?;
    ensure!(done["started"] == 9 && done["skipped"] == 0, "{done}");
    let all = executions(place, &workflow).await?;
    ensure!(all.len() == 9 && all.iter().all(|row| row["priority"] == "low"), "{all:?}");
    // The same range again starts nothing.
    let again = place.api.post(&path, &asked).await?.expect(201)?;
    let again = format!("/api/v1/backfills/{}", text(&again, "id")?);
    let done = until(PATIENCE, "the end of the second backfill", async || {
        let found = place.api.get(&again).await?.expect(200)?;
        Ok((found["status"] == "completed").then_some(found))
    })
    .await?;
    ensure!(done["started"] == 0 && done["skipped"] == 9, "{done}");
    ensure!(executions(place, &workflow).await?.len() == 9);
    asked["to"] = json!("2999-01-01T00:00:00Z");
    place.api.post(&path, &asked).await?.problem(422, "invalid_body")?;
    Ok(())
}

async fn the_command_line_knows_triggers(place: &Place) -> Result<()> {
    let workflow =
        workflow(place, "t: { type: schedule, config: { cron: \"0 2 * * *\", timezone: Europe/Berlin } }")
            .await?;
    let id = text(&trigger(place, &workflow).await?, "id")?;
    let base = place.api.base.clone();
    let apg = async |words: &[&str]| {
        let output = place.apg(&[words, &["--server", &base]].concat()).await?;
        ensure!(output.code == 0, "{words:?}: {}", output.err);
        Ok(output.out)
    };
    let listed = apg(&["trigger", "list", "--workflow", &workflow]).await?;
    ensure!(listed.contains(&id) && listed.contains("schedule_trigger"), "{listed}");
    let next = apg(&["trigger", "next", &id, "--count", "2"]).await?;
    ensure!(next.contains("T02:00:00+0") && next.contains("EUROPE/BERLIN"), "{next}");
    ensure!(apg(&["trigger", "pause", &id]).await?.contains("paused"));
    ensure!(apg(&["trigger", "resume", &id]).await?.contains("active"));
    ensure!(apg(&["trigger", "fire", &id]).await?.contains("execution_"));
    ensure!(apg(&["trigger", "receipts", &id]).await?.contains("started"));
    let tried = apg(&[
        "backfill",
        "create",
        &id,
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-03T00:00:00Z",
        "--reason",
        "r",
        "--dry-run",
    ])
    .await?;
    ensure!(tried.contains("total"), "{tried}");
    let sent = apg(&["event", "send", "--type", "nobody.listens", "--id", &unique_name("e"), "--data", "{}"])
        .await?;
    ensure!(sent.contains("known"), "{sent}");
    Ok(())
}

async fn the_documents_of_the_guides_can_be_saved_and_fired(place: &Place) -> Result<()> {
    for (guide, least) in [("triggers", 5), ("schedules", 3), ("webhooks", 1)] {
        let text = std::fs::read_to_string(workspace().join(format!("docs/guides/{guide}.md")))?;
        let documents: Vec<&str> =
            text.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        ensure!(!documents.is_empty(), "{guide} has no document");
        for document in documents {
            let workflow = place.api.create(guide, document).await?;
            let list = place.api.get(&format!("/api/v1/workflows/{workflow}/triggers")).await?.expect(200)?;
            let triggers = list["items"].as_array().context("triggers")?;
            ensure!(triggers.len() >= least, "{guide}: {list}");
            for trigger in triggers {
                let id = trigger["id"].as_str().context("an id")?;
                // Each fires with what its parameters ask for; then it is left in peace.
                let given = match trigger["type"].as_str() {
                    Some("manual_trigger") => json!({ "order_id": "A-7" }),
                    _ => json!({ "order_id": "A-7", "ref": "main" }),
                };
                let fired = place
                    .api
                    .post(&format!("/api/v1/triggers/{id}/fire"), &json!({ "body": given }))
                    .await?
                    .expect(202)?;
                let ended = place.api.ended(fired["execution_id"].as_str().context("an execution")?).await?;
                ensure!(ended["status"] == "completed", "{guide}: {ended}");
                post(place, &format!("/api/v1/triggers/{id}/pause")).await?.expect(200)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_schedule_goes_on_through_the_death_of_a_coordinator() -> Result<()> {
    crate::at(Shape::Cluster, async |place: &Place| {
        let mortal = mortal_coordinator(place).await?;
        // So many that some are surely those of the one that dies.
        let mut all = Vec::new();
        for _ in 0..8 {
            let triggers = "a: { type: schedule, config: { every: 1s, overlap: allow, catchup: all }, parameters: { given: 1 } }";
            all.push(workflow(place, triggers).await?);
        }
        for workflow in &all {
            fires_reach(place, workflow, 3).await?;
        }
        mortal.kill()?;
        let mut before = Vec::new();
        for workflow in &all {
            before.push(executions(place, workflow).await?.len());
        }
        for (workflow, before) in all.iter().zip(&before) {
            fires_reach(place, workflow, before + 10).await?;
        }
        for (workflow, before) in all.iter().zip(before) {
            let id = text(&trigger(place, workflow).await?, "id")?;
            post(place, &format!("/api/v1/triggers/{id}/pause")).await?.expect(200)?;
            ensure!(gapless(place, workflow).await? >= before + 10);
        }
        Ok(())
    })
}

#[test]
fn each_message_starts_once_through_the_death_of_a_coordinator() -> Result<()> {
    crate::at(Shape::Cluster, async |place: &Place| {
        let (queue, stream) = (RabbitQueue::new().await?, RedisStream::new().await?);
        let queued = listens(place, "broker", &queue.name, ", prefetch: 5").await?;
        let streamed = listens(place, "streams", &stream.key, ", prefetch: 5").await?;
        // Those of the shared place live on; several die, so that surely one of them looked after each trigger.
        for round in 0..4 {
            let mortal = mortal_coordinator(place).await?;
            for index in 0..125 {
                let body = json!({ "n": round * 125 + index }).to_string();
                queue.send(Some(&format!("m{round}-{index}")), body.as_bytes()).await?;
                stream.send(&[("body", body.as_bytes())]).await?;
                if index == 60 {
                    // In the middle of what it has begun.
                    mortal.kill()?;
                }
            }
        }
        for workflow in [&queued, &streamed] {
            fires_reach(place, workflow, 500).await?;
        }
        until(PATIENCE, "nothing that waits", async || {
            Ok((queue.depth().await?.0 == 0 && stream.pending().await? == 0).then_some(()))
        })
        .await?;
        for workflow in [&queued, &streamed] {
            let all = outputs(place, workflow).await?;
            let numbers: BTreeSet<u64> = all.iter().filter_map(|output| output["n"].as_u64()).collect();
            ensure!(all.len() == 500 && numbers.len() == 500, "{} executions", all.len());
        }
        Ok(())
    })
}
