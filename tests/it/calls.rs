//! Sub-workflows, and events that components wait for.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, client::text, place::Place, unique_name, until};

both_shapes!(
    a_sub_workflow_gives_its_output,
    a_saved_caller_keeps_the_version_it_was_saved_with,
    a_call_that_leads_nowhere_is_refused,
    a_sub_workflow_that_fails_fails_its_caller,
    a_detached_sub_workflow_goes_on_alone,
    a_cancelled_caller_ends_what_it_called,
    a_recursion_ends_at_its_depth,
    a_loop_calls_once_for_each_item,
    an_event_reaches_who_waits_for_it,
    an_event_that_comes_early_is_found,
    an_event_for_nobody_is_kept_and_shown,
);

const CHILD: &str = "\
workflow: v1
name: child
parameters: { n: { type: integer, required: true } }
components:
  add: { type: set_variables, config: { values: { n: '${{ parameters.n + 1 }}' } } }
output: { n: '${{ components.add.output.n }}' }
";

fn caller(child: &str, more: &str) -> String {
    format!(
        "workflow: v1
name: caller
components:
  call: {{ type: sub_workflow, config: {{ workflow: {child}, parameters: {{ n: 4 }}{more} }} }}
output: '${{{{ components.call.output }}}}'
"
    )
}

async fn a_sub_workflow_gives_its_output(place: &Place) -> Result<()> {
    let child = place.api.create("child", CHILD).await?;
    let ended = place.api.complete("caller", &caller(&child, ""), &json!({})).await?;
    ensure!(ended["output"] == json!({ "n": 5 }), "{ended}");
    Ok(())
}

async fn a_saved_caller_keeps_the_version_it_was_saved_with(place: &Place) -> Result<()> {
    let child = place.api.create("child", CHILD).await?;
    let pinned = place.api.create("caller", &caller(&child, "")).await?;
    let latest = place.api.create("caller", &caller(&child, ", version: latest")).await?;
    let newer = CHILD.replace("parameters.n + 1", "parameters.n + 100");
    place
        .api
        .put(&format!("/api/v1/workflows/{child}"), &json!({ "definition": newer }))
        .await?
        .expect(200)?;
    for (workflow, expected) in [(&pinned, 5), (&latest, 104)] {
        let id = place.api.execute(workflow, &json!({})).await?;
        let ended = place.api.ended(&id).await?;
        ensure!(ended["output"] == json!({ "n": expected }), "{ended}");
    }
    Ok(())
}

async fn a_call_that_leads_nowhere_is_refused(place: &Place) -> Result<()> {
    let child = place.api.create("child", CHILD).await?;
    let own = unique_name("itself");
    for (workflow, more, expected) in [
        ("nobody", "", "there is no workflow `nobody`"),
        (child.as_str(), ", version: 7", "has no version 7"),
        (own.as_str(), "", "calls itself"),
    ] {
        let body = json!({ "name": own, "definition": caller(workflow, more) });
        let problem = place.api.post("/api/v1/workflows", &body).await?.problem(422, "invalid_document")?;
        let message = problem["problems"][0]["message"].as_str().unwrap_or_default();
        ensure!(message.contains(expected), "{problem}");
    }
    Ok(())
}

async fn a_sub_workflow_that_fails_fails_its_caller(place: &Place) -> Result<()> {
    let child = CHILD.replace(
        "components:\n",
        "components:\n  stop: { type: fail, config: { message: no stock, class: user.stock } }\n",
    );
    let child = place.api.create("child", &child).await?;
    let ended = place.api.run("caller", &caller(&child, ""), &json!({})).await?;
    ensure!(ended["status"] == "failed" && ended["failure"]["class"] == "user.stock", "{ended}");
    // Its parameters are checked as those of any other execution.
    let wrong = caller(&child, "").replace("n: 4", "m: 4");
    let ended = place.api.run("caller", &wrong, &json!({})).await?;
    ensure!(ended["failure"]["class"] == "invalid_input", "{ended}");
    Ok(())
}

async fn a_detached_sub_workflow_goes_on_alone(place: &Place) -> Result<()> {
    let slow = CHILD.replace("components:\n", "components:\n  pause: { type: delay, config: { for: 1s } }\n");
    let child = place.api.create("child", &slow).await?;
    let ended = place.api.complete("caller", &caller(&child, ", wait: false"), &json!({})).await?;
    let id = text(&ended["output"], "execution")?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["status"] == "completed" && ended["output"]["n"] == 5, "{ended}");
    Ok(())
}

/// The execution that a component of another one started.
async fn called(place: &Place, id: &str) -> Result<String> {
    until(PATIENCE, "the sub-workflow", async || {
        let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
        let waiting = why["waiting"].as_array().cloned().unwrap_or_default();
        let found = waiting.iter().find(|waiting| waiting["reason"] == "sub_workflow");
        let Some(child) = found.and_then(|found| found["waits_for"][0].as_str()) else { return Ok(None) };
        // The order is in the journal before the child is accepted.
        let there = place.api.get(&format!("/api/v1/executions/{child}")).await?.status == 200;
        Ok(there.then(|| child.to_owned()))
    })
    .await
}

async fn a_cancelled_caller_ends_what_it_called(place: &Place) -> Result<()> {
    let slow = CHILD.replace("components:\n", "components:\n  pause: { type: delay, config: { for: 1h } }\n");
    let child = place.api.create("child", &slow).await?;
    for (policy, expected) in [("cancel", "cancelled"), ("kill", "cancelled"), ("leave", "running")] {
        let document = caller(&child, &format!(", on_parent_close: {policy}"));
        let id = place.api.start("caller", &document, &json!({})).await?;
        let inner = called(place, &id).await?;
        place.api.cancel(&id, "not needed").await?.expect(202)?;
        place.api.ended(&id).await?;
        until(PATIENCE, policy, async || {
            let found = place.api.execution(&inner).await?;
            Ok((found["status"] == expected).then_some(()))
        })
        .await?;
        if policy == "leave" {
            place.api.cancel(&inner, "").await?.expect(202)?;
        }
    }
    Ok(())
}

async fn a_recursion_ends_at_its_depth(place: &Place) -> Result<()> {
    let name = unique_name("itself");
    let document = format!(
        "workflow: v1
name: itself
components:
  again: {{ type: sub_workflow, config: {{ workflow: {name}, version: latest }} }}
"
    );
    let body = json!({ "name": name, "definition": document });
    let made = place.api.post("/api/v1/workflows", &body).await?.expect(201)?;
    let id = place.api.execute(&text(&made, "id")?, &json!({})).await?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["status"] == "failed" && ended["failure"]["class"] == "limit_exceeded", "{ended}");
    Ok(())
}

async fn a_loop_calls_once_for_each_item(place: &Place) -> Result<()> {
    let child = place.api.create("child", CHILD).await?;
    let document = format!(
        "workflow: v1
name: caller
components:
  each:
    type: loop
    config: {{ items: [10, 20, 30] }}
    components:
      call: {{ type: sub_workflow, config: {{ workflow: {child}, parameters: {{ n: '${{{{ item }}}}' }} }} }}
output: '${{{{ components.each.output | map(attribute=\"output.call.n\") | list }}}}'
"
    );
    let ended = place.api.complete("caller", &document, &json!({})).await?;
    ensure!(ended["output"] == json!([11, 21, 31]), "{ended}");
    let children = place.api.pages(&format!("/api/v1/executions?workflow_id={child}"), 50).await?;
    ensure!(children.len() == 3, "{} executions for 3 items", children.len());
    Ok(())
}

fn waiting(key: &str) -> String {
    format!(
        "workflow: v1
name: waits
components:
  paid: {{ type: wait_for_event, config: {{ event: order.paid, key: '{key}', filter: 'event.body.amount > 1' }} }}
output: '${{{{ components.paid.output.body }}}}'
"
    )
}

async fn publish(place: &Place, key: &str, body: &Value) -> Result<Value> {
    let event = json!({
        "specversion": "1.0",
        "id": unique_name("event"),
        "source": "tests",
        "type": "order.paid",
        "correlationkey": key,
        "data": body,
    });
    let sent = place.api.post("/api/v1/events", &event).await?.expect(202)?;
    Ok(sent["items"][0].clone())
}

async fn is_waiting(place: &Place, id: &str) -> Result<()> {
    until(PATIENCE, "the wait", async || {
        let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
        Ok((why["waiting"][0]["reason"] == "event").then_some(()))
    })
    .await
}

async fn an_event_reaches_who_waits_for_it(place: &Place) -> Result<()> {
    let key = unique_name("key");
    let first = place.api.start("waits", &waiting(&key), &json!({})).await?;
    let second = place.api.start("waits", &waiting(&key), &json!({})).await?;
    for id in [&first, &second] {
        is_waiting(place, id).await?;
    }
    publish(place, &unique_name("key"), &json!({ "amount": 5 })).await?;
    publish(place, &key, &json!({ "amount": 1 })).await?;
    let sent = publish(place, &key, &json!({ "amount": 7 })).await?;
    ensure!(sent["told"].as_array().map(Vec::len) == Some(2), "{sent}");
    for id in [&first, &second] {
        let ended = place.api.ended(id).await?;
        ensure!(ended["status"] == "completed" && ended["output"]["amount"] == 7, "{ended}");
    }
    Ok(())
}

async fn an_event_that_comes_early_is_found(place: &Place) -> Result<()> {
    let key = unique_name("key");
    publish(place, &key, &json!({ "amount": 1 })).await?;
    publish(place, &key, &json!({ "amount": 3 })).await?;
    let ended = place.api.complete("waits", &waiting(&key), &json!({})).await?;
    ensure!(ended["output"]["amount"] == 3, "{ended}");
    Ok(())
}

async fn an_event_for_nobody_is_kept_and_shown(place: &Place) -> Result<()> {
    let key = unique_name("key");
    let sent = publish(place, &key, &json!({ "amount": 9 })).await?;
    ensure!(sent["told"] == json!([]) && sent["kept_until"].is_string(), "{sent}");
    let events = place.api.pages("/api/v1/events?type=order.paid", 500).await?;
    ensure!(events.iter().any(|event| event["key"] == key.as_str()), "it is not shown");
    Ok(())
}
