//! Executions that have ended, done again: what completed does not run twice.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, document, with_calls};
use crate::harness::{
    PATIENCE,
    client::{Answer, Event, text},
    place::Place,
    unique_name, until,
};

both_shapes!(
    a_failed_one_goes_on_where_it_failed,
    a_killed_one_goes_on_and_its_values_in_the_store_are_its_own,
    a_component_and_what_follows_run_again,
    an_open_one_and_what_cannot_be_kept_are_refused,
    a_newer_version_takes_what_fits,
    the_same_key_retries_once,
    many_are_done_again_at_once_after_a_look,
    many_are_ended_at_once_and_a_repeat_does_nothing,
    the_command_line_retries,
    the_audit_finds_nothing_in_retries,
);

impl Case<'_> {
    async fn retry(&self, body: &Value) -> Result<Answer> {
        self.place.api.post(&format!("/api/v1/executions/{}/retry", self.id), body).await
    }
}

impl<'a> Case<'a> {
    /// The execution that does this one again.
    async fn again(&self, body: &Value) -> Result<Case<'a>> {
        let retried = self.retry(body).await?.expect(202)?;
        ensure!(retried["retry_of"] == self.id.as_str(), "{retried}");
        Ok(Case { place: self.place, id: text(&retried, "id")?, label: self.label.clone() })
    }
}

/// `b` fails the first time that it is called.
const CHAIN: &str = "a: { @call(a) }
     b: { @call(b?refuse=1), needs: [a] }
     c: { @call(c), needs: [b] }";

async fn a_failed_one_goes_on_where_it_failed(place: &Place) -> Result<()> {
    let case = Case::start(place, CHAIN).await?;
    case.ends("failed").await?;
    ensure!(case.calls() == ["a", "b"], "{:?}", case.calls());

    let plan = case.retry(&json!({ "dry_run": true })).await?.expect(200)?;
    ensure!(plan["id"].is_null() && plan["components"][0]["kept"] == true, "{plan}");
    ensure!(
        plan["components"][1]["reason"] == "failed" && plan["components"][2]["reason"] == "follows",
        "{plan}"
    );
    ensure!(place.api.execution(&case.id).await?["retried_by"].is_null(), "nothing was started");

    let again = case.again(&json!({})).await?;
    let found = again.ends("completed").await?;
    ensure!(case.calls() == ["a", "b", "b", "c"], "{:?}", case.calls());
    ensure!(found["retry_of"] == case.id.as_str() && found["created_by"] == "owner", "{found}");
    let old = place.api.execution(&case.id).await?;
    ensure!(old["status"] == "failed" && old["retried_by"] == json!([again.id]), "{old}");

    let events = place.api.events(&again.id).await?;
    let carried: Vec<&str> =
        events.iter().filter(|event| event.name == "carried").map(Event::component).collect();
    ensure!(carried == ["a"], "{events:?}");
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", again.id), 50).await?;
    let a = tasks.iter().find(|task| task["component"] == "a").context("a is listed")?;
    ensure!(a["status"] == "completed" && a["carried_from"] == case.id.as_str(), "{a}");
    let logs = place.api.pages(&format!("/api/v1/executions/{}/logs", again.id), 50).await?;
    let said = format!("a completed, as in {}; it does not run", case.id);
    ensure!(logs.iter().any(|line| line["message"] == said.as_str()), "{logs:?}");
    Ok(())
}

async fn a_killed_one_goes_on_and_its_values_in_the_store_are_its_own(place: &Place) -> Result<()> {
    // What is given is too large for the journal.
    let case = Case::start(
        place,
        "big: { @call(big?bytes=100000) }
         wait: { @waits, needs: [big] }
         count: { type: set_variables, needs: [wait], config: { values: { n: '${{ components.big.output.body.text | length }}' } } }
         done: { type: end, needs: [count], config: { output: '${{ components.count.output.n }}' } }",
    )
    .await?;
    case.shows("wait awaiting").await?;
    place.api.post(&format!("/api/v1/executions/{}/kill", case.id), &json!({})).await?.expect(202)?;
    case.ends("cancelled").await?;

    let again = case.again(&json!({})).await?;
    again.shows("big completed, wait awaiting").await?;
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", again.id), 50).await?;
    let big = tasks.iter().find(|task| task["component"] == "big").context("big is listed")?;
    let href = text(&big["output_reference"], "href")?;
    ensure!(href.contains(&again.id), "the value is its own: {href}");
    ensure!(place.api.get(&href).await?.status == 200, "{href}");
    again.go().await?;
    let found = again.ends("completed").await?;
    ensure!(found["output"] == 100_000 && case.calls() == ["big"], "{found}");
    Ok(())
}

async fn a_component_and_what_follows_run_again(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a) }
         b: { @call(b), needs: [a] }
         c: { @call(c), needs: [b] }",
    )
    .await?;
    case.ends("completed").await?;
    case.retry(&json!({})).await?.problem(422, "retry_refused")?;
    let again = case.again(&json!({ "from": "b" })).await?;
    again.ends("completed").await?;
    ensure!(case.calls() == ["a", "b", "c", "b", "c"], "{:?}", case.calls());
    let whole = again.again(&json!({ "from": "whole" })).await?;
    whole.ends("completed").await?;
    ensure!(case.calls().len() == 8, "{:?}", case.calls());
    Ok(())
}

async fn an_open_one_and_what_cannot_be_kept_are_refused(place: &Place) -> Result<()> {
    let label = unique_name("row");
    let head = "parameters: { n: { type: integer, default: 1 } }";
    let components = "a: { type: set_variables, config: { values: { n: '${{ parameters.n }}' } } }
         g: { type: group, components: { x: { type: noop } } }
         w: { @waits, needs: [a] }";
    let case = Case::start_document(
        place,
        &with_calls(&document(head, components), place, &label),
        &label,
        &json!({}),
    )
    .await?;
    case.shows("w awaiting").await?;
    case.retry(&json!({})).await?.problem(409, "execution_open")?;
    case.stops().await?;

    let refused = |body: Value| {
        let case = &case;
        async move { case.retry(&body).await?.problem(422, "retry_refused") }
    };
    let unknown = refused(json!({ "from": "aa" })).await?;
    ensure!(text(&unknown, "detail")?.contains("did you mean `a`?"), "{unknown}");
    let inside = refused(json!({ "from": "x" })).await?;
    ensure!(text(&inside, "detail")?.contains("name `g`"), "{inside}");
    let reads = refused(json!({ "parameters": { "n": 2 } })).await?;
    ensure!(text(&reads, "detail")?.contains("let `a` run again too"), "{reads}");
    ensure!(reads["problems"][0]["path"] == json!(["a"]), "{reads}");
    case.retry(&json!({ "parameters": { "m": 2 } })).await?.problem(422, "invalid_parameters")?;
    case.retry(&json!({ "version": 9 })).await?.problem(404, "not_found")?;
    case.retry(&json!({ "version": "old" })).await?.problem(422, "invalid_body")?;

    let again = case.again(&json!({ "from": "a", "parameters": { "n": 2 } })).await?;
    again.shows("a completed, w awaiting").await?;
    let found = place.api.execution(&again.id).await?;
    ensure!(found["parameters"]["n"] == 2, "{found}");
    again.stops().await?;
    Ok(())
}

async fn a_newer_version_takes_what_fits(place: &Place) -> Result<()> {
    let label = unique_name("row");
    let name = unique_name("row");
    let text_of = |components: &str| with_calls(&document("", components), place, &label);
    let first = text_of("a: { @call(a) }\nb: { @call(b?status=400), needs: [a] }");
    let created = place
        .api
        .post("/api/v1/workflows", &json!({ "name": name, "definition": first }))
        .await?
        .expect(201)?;
    let workflow = text(&created, "id")?;
    let id = place.api.execute(&workflow, &json!({})).await?;
    let case = Case { place, id, label: label.clone() };
    case.ends("failed").await?;

    let update = async |components: &str| {
        let body = json!({ "name": name, "definition": text_of(components) });
        place.api.put(&format!("/api/v1/workflows/{workflow}"), &body).await?.expect(200)
    };
    update("a: { @call(other) }\nb: { @call(b), needs: [a] }").await?;
    let refused = case.retry(&json!({ "version": "newest" })).await?.problem(422, "retry_refused")?;
    ensure!(text(&refused, "detail")?.contains("`a` is another in this version (config.url)"), "{refused}");

    update("a: { @call(a) }\nb: { @call(mended), needs: [a] }").await?;
    let again = case.again(&json!({ "version": "newest" })).await?;
    let found = again.ends("completed").await?;
    ensure!(found["workflow_version"] == 3, "{found}");
    ensure!(case.calls() == ["a", "b", "mended"], "{:?}", case.calls());
    Ok(())
}

async fn the_same_key_retries_once(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { type: fail, config: { message: no } }").await?;
    case.ends("failed").await?;
    let path = format!("/api/v1/executions/{}/retry", case.id);
    let key = unique_name("key");
    let send = async |body: Value| {
        let headers = [("idempotency-key", key.as_str())];
        place.api.send(Method::POST, &path, &headers, Some(body.to_string().into_bytes())).await
    };
    let first = send(json!({})).await?;
    ensure!(first.header("location").starts_with("/api/v1/executions/"), "{first:?}");
    let first = first.expect(202)?;
    let second = send(json!({})).await?.expect(202)?;
    ensure!(first["repeated"] == false && second["repeated"] == true, "{first} {second}");
    ensure!(first["id"] == second["id"], "{first} {second}");
    send(json!({ "from": "whole" })).await?.problem(422, "idempotency_key_reused")?;
    Ok(())
}

/// One action on all with a tag, under a key.
async fn bulk(place: &Place, key: &str, body: &Value) -> Result<Value> {
    let headers = [("idempotency-key", key)];
    let body = Some(body.to_string().into_bytes());
    place.api.send(Method::POST, "/api/v2/executions/bulk", &headers, body).await?.expect(200)
}

/// The executions of a bulk answer with this outcome.
fn with(report: &Value, outcome: &str) -> usize {
    report["items"]
        .as_array()
        .map_or(0, |items| items.iter().filter(|item| item["outcome"] == outcome).count())
}

async fn many_are_done_again_at_once_after_a_look(place: &Place) -> Result<()> {
    let tag = unique_name("tag");
    let label = unique_name("row");
    let failing = with_calls(&document("", CHAIN), place, &label);
    let workflow = place.api.create("many", &failing).await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = place.api.execute(&workflow, &json!({ "tags": [tag] })).await?;
        place.api.ended(&id).await?;
        ids.push(id);
    }
    // The first failed once; the others passed what fails once.
    let query = json!({ "tag": tag, "limit": 2 });
    let key = unique_name("key");
    let look = bulk(place, &key, &json!({ "action": "retry", "query": query, "dry_run": true })).await?;
    ensure!(look["items"].as_array().map(Vec::len) == Some(2), "{look}");
    let cursor = text(&look, "next_cursor")?;
    let rest = json!({ "tag": tag, "limit": 2, "cursor": cursor });
    let look = bulk(place, &key, &json!({ "action": "retry", "query": rest, "dry_run": true })).await?;
    ensure!(with(&look, "would") == 1 && look["items"][0]["again"] == json!(["b", "c"]), "{look}");

    let all = json!({ "action": "retry", "query": { "tag": tag } });
    let done = bulk(place, &key, &all).await?;
    ensure!(with(&done, "accepted") == 1 && with(&done, "refused") == 2, "{done}");
    let new = done["items"]
        .as_array()
        .and_then(|items| items.iter().find_map(|item| item["retried_as"].as_str()))
        .context("a new execution")?
        .to_owned();
    ensure!(place.api.ended(&new).await?["status"] == "completed", "it goes on");
    let again = bulk(place, &key, &all).await?;
    ensure!(with(&again, "repeated") == 1 && with(&again, "accepted") == 0, "{again}");
    let without = json!({ "action": "kill", "query": {} });
    place.api.post("/api/v2/executions/bulk", &without).await?.problem(422, "invalid_body")?;
    Ok(())
}

async fn many_are_ended_at_once_and_a_repeat_does_nothing(place: &Place) -> Result<()> {
    let tag = unique_name("tag");
    let workflow = place.api.create("many", &document("", "a: { @waits }")).await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(place.api.execute(&workflow, &json!({ "tags": [tag] })).await?);
    }
    let query = json!({ "tag": tag });
    let paused = bulk(place, &unique_name("key"), &json!({ "action": "pause", "query": query })).await?;
    ensure!(with(&paused, "accepted") == 3, "{paused}");
    let paused = until(PATIENCE, "three paused", async || {
        let found = place.api.pages(&format!("/api/v1/executions?tag={tag}&status=paused"), 50).await?;
        Ok((found.len() == 3).then_some(found))
    })
    .await?;
    ensure!(paused.len() == 3, "{paused:?}");
    let key = unique_name("key");
    let resume = json!({ "action": "resume", "query": query });
    let resumed = bulk(place, &key, &resume).await?;
    ensure!(with(&resumed, "accepted") == 3, "{resumed}");
    until(PATIENCE, "none paused", async || {
        let found = place.api.pages(&format!("/api/v1/executions?tag={tag}&status=paused"), 50).await?;
        Ok(found.is_empty().then_some(()))
    })
    .await?;
    ensure!(with(&bulk(place, &key, &resume).await?, "repeated") == 3, "a repeat does nothing");

    let cancelled = bulk(place, &unique_name("key"), &json!({ "action": "cancel", "query": query })).await?;
    ensure!(with(&cancelled, "accepted") == 3, "{cancelled}");
    for id in &ids {
        ensure!(place.api.ended(id).await?["status"] == "cancelled", "{id}");
    }
    let late = bulk(place, &unique_name("key"), &json!({ "action": "kill", "query": query })).await?;
    ensure!(with(&late, "refused") == 3 && late["items"][0]["code"] == "execution_ended", "{late}");
    Ok(())
}

async fn the_command_line_retries(place: &Place) -> Result<()> {
    let tag = unique_name("tag");
    let label = unique_name("row");
    let workflow = place.api.create("command", &with_calls(&document("", CHAIN), place, &label)).await?;
    let id = place.api.execute(&workflow, &json!({ "tags": [tag] })).await?;
    place.api.ended(&id).await?;
    let server = ["--server", place.api.base.as_str()];
    let look = place.apg(&[&["execution", "retry", &id, "--dry-run"], &server[..]].concat()).await?;
    ensure!(look.code == 0 && look.out.contains("It completed, and is kept."), "{look:?}");
    let bulk = ["execution", "bulk", "retry", "--tag", &tag, "--dry-run", "--output", "json"];
    let found = place.apg(&[&bulk[..], &server[..]].concat()).await?;
    let items: Value = serde_json::from_str(&found.out).with_context(|| format!("{found:?}"))?;
    ensure!(found.code == 0 && items[0]["outcome"] == "would", "{found:?}");
    let ran = place.apg(&[&["execution", "retry", &id, "--watch"], &server[..]].concat()).await?;
    ensure!(ran.code == 0, "{ran:?}");
    let refused = place.apg(&[&["execution", "retry", &id, "--from", "z"], &server[..]].concat()).await?;
    ensure!(refused.code != 0 && refused.err.contains("no component `z`"), "{refused:?}");
    Ok(())
}

async fn the_audit_finds_nothing_in_retries(place: &Place) -> Result<()> {
    use crate::harness::place::Shape;
    // A SQLite file is one process's at a time.
    let own = match place.shape {
        Shape::Cluster => None,
        Shape::Embedded => Some(Place::start(Shape::Embedded, &json!({})).await?),
    };
    let at = own.as_ref().unwrap_or(place);
    let label = unique_name("row");
    let id = at.api.start("audited", &with_calls(&document("", CHAIN), at, &label), &json!({})).await?;
    at.api.ended(&id).await?;
    let retried = at.api.post(&format!("/api/v1/executions/{id}/retry"), &json!({})).await?.expect(202)?;
    at.api.ended(&text(&retried, "id")?).await?;
    if let Some(own) = &own {
        own.processes[0].terminate(PATIENCE).await?;
    }
    let output = at.apg(&["audit", "--output", "json"]).await?;
    let report: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
    ensure!(output.code == 0 && report["findings"] == json!([]), "{report}");
    Ok(())
}
