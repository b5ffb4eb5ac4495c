//! A component tried while its workflow is drawn: what is before it runs or is pinned, and nothing behind it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, document, with_calls};
use crate::harness::{
    client::{Answer, Event, creation, text},
    place::Place,
    unique_name,
};

both_shapes!(
    a_draft_with_mistakes_elsewhere_is_tried_up_to_a_component,
    only_the_component_runs_on_pinned_data,
    data_of_another_execution_stands_in,
    what_cannot_be_tried_is_refused,
    a_try_is_no_version_and_starts_nothing,
    the_command_line_tries,
);

/// A workflow with this document, and the name of its calls.
async fn saved(place: &Place, head: &str, components: &str) -> Result<(String, String)> {
    let label = unique_name("row");
    let document = with_calls(&document(head, components), place, &label);
    let workflow = place.api.post("/api/v1/workflows", &creation("row", &document)).await?.expect(201)?;
    Ok((text(&workflow, "id")?, label))
}

async fn tried(place: &Place, workflow: &str, body: &Value) -> Result<Answer> {
    place.api.post(&format!("/api/v1/workflows/{workflow}/try"), body).await
}

/// The accepted try of `body`, and its answer.
async fn case<'a>(
    place: &'a Place,
    (workflow, label): &(String, String),
    body: &Value,
) -> Result<(Case<'a>, Value)> {
    let answer = tried(place, workflow, body).await?.expect(202)?;
    Ok((Case { place, id: text(&answer, "id")?, label: label.clone() }, answer))
}

fn fates(answer: &Value) -> String {
    let each = answer["components"].as_array().into_iter().flatten();
    let words = each.map(|one| {
        format!(
            "{} {}",
            one["component"].as_str().unwrap_or_default(),
            one["fate"].as_str().unwrap_or_default()
        )
    });
    words.collect::<Vec<_>>().join(", ")
}

const CHAIN: &str = "a: { @call(a) }
     b: { @call(b), needs: [a] }
     c: { @call(c), needs: [b] }
     d: { @call(d), needs: [c] }";

async fn a_draft_with_mistakes_elsewhere_is_tried_up_to_a_component(place: &Place) -> Result<()> {
    let saved = saved(place, "", CHAIN).await?;
    let draft = with_calls(
        &document(
            "",
            "a: { @call(a) }
             b: { type: set_variables, needs: [a], config: { values: { n: '${{ components.a.output.status }}' } } }
             c: { type: no_such_thing, needs: [b] }",
        ),
        place,
        &saved.1,
    );
    let path = format!("/api/v1/workflows/{}/draft", saved.0);
    place.api.put(&path, &json!({ "definition": draft })).await?.expect(200)?;
    let (case, answer) = case(place, &saved, &json!({ "component": "b" })).await?;
    ensure!(fates(&answer) == "a runs, b runs", "{answer}");
    let found = case.ends("completed").await?;
    ensure!(found["try"] == json!({ "component": "b", "only": false }), "{found}");
    ensure!(found["tags"] == json!(["try"]) && case.calls() == ["a"], "{found}");
    // The part with the mistake cannot be tried, and says why.
    let refused =
        tried(place, &saved.0, &json!({ "component": "c" })).await?.problem(422, "invalid_document")?;
    ensure!(refused["problems"][0]["path"][1] == "c", "{refused}");
    Ok(())
}

async fn only_the_component_runs_on_pinned_data(place: &Place) -> Result<()> {
    let saved = saved(
        place,
        "parameters: { n: { type: integer, default: 1 } }",
        "a: { @call(a) }
         big: { type: decision, needs: [a], config: { condition: components.a.output.body.n > parameters.n } }
         b: { type: set_variables, needs: [big.true], config: { values: { n: '${{ components.a.output.body.n }}' } } }
         failed: { @call(failed), needs: [a.error] }
         c: { @call(c), needs: [b] }",
    )
    .await?;
    let body = json!({
        "component": "b", "only": true,
        "pinned": { "a": { "output": { "body": { "n": 41 } } }, "big": { "output": true } },
    });
    let (one, answer) = case(place, &saved, &body).await?;
    ensure!(fates(&answer) == "a pinned, big pinned, b runs", "{answer}");
    one.ends("completed").await?;
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", one.id), 50).await?;
    let of = |id: &str| tasks.iter().find(|task| task["component"] == id).context("it is listed");
    ensure!(of("b")?["output"]["n"] == 41, "{tasks:?}");
    ensure!(of("a")?["pinned"] == true && of("a")?["carried_from"].is_null(), "{tasks:?}");
    ensure!(one.calls().is_empty(), "{:?}", one.calls());
    // An error that is pinned leaves by its port.
    let body = json!({
        "component": "failed",
        "pinned": { "a": { "error": { "class": "http_5xx", "message": "busy" } } },
    });
    let (two, _) = case(place, &saved, &body).await?;
    two.ends("completed").await?;
    ensure!(two.calls() == ["failed"], "{:?}", two.calls());
    // Up to a component that is behind a pinned one: what only that needs is left out.
    let body = json!({ "component": "c", "pinned": { "b": { "output": {} } } });
    let (three, answer) = case(place, &saved, &body).await?;
    ensure!(fates(&answer) == "a left_out, big left_out, b pinned, c runs", "{answer}");
    three.ends("completed").await?;
    three.shows("a skipped, big skipped, b completed, c completed").await?;
    ensure!(three.calls() == ["failed", "c"], "{:?}", three.calls());
    Ok(())
}

async fn data_of_another_execution_stands_in(place: &Place) -> Result<()> {
    let saved = saved(
        place,
        "",
        "a: { @call(a?bytes=100000) }
         b: { type: set_variables, needs: [a], config: { values: { n: '${{ components.a.output.body.text | length }}' } } }
         c: { @call(c), needs: [b] }",
    )
    .await?;
    let path = format!("/api/v1/workflows/{}/execute", saved.0);
    let whole = place.api.post(&path, &json!({})).await?.expect(202)?;
    let whole = text(&whole, "id")?;
    place.api.ended(&whole).await?;
    let body = json!({ "component": "b", "only": true, "data_from": whole });
    let (case, answer) = case(place, &saved, &body).await?;
    ensure!(fates(&answer) == "a taken, b runs", "{answer}");
    case.ends("completed").await?;
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", case.id), 50).await?;
    let a = tasks.iter().find(|task| task["component"] == "a").context("a is listed")?;
    let href = text(&a["output_reference"], "href")?;
    ensure!(href.contains(&case.id) && a["carried_from"] == whole.as_str(), "the value is its own: {a}");
    let b = tasks.iter().find(|task| task["component"] == "b").context("b is listed")?;
    ensure!(b["output"]["n"] == 100_000 && case.calls() == ["a", "c"], "{b}");
    Ok(())
}

async fn what_cannot_be_tried_is_refused(place: &Place) -> Result<()> {
    let saved = saved(
        place,
        "",
        "a: { @call(a) }
         g: { type: group, needs: [a], components: { x: { type: noop } } }
         big: { type: decision, needs: [a], config: { condition: 'true' } }
         b: { @call(b), needs: [g, big.true] }",
    )
    .await?;
    let rows = [
        (json!({ "component": "bb" }), "did you mean `b`?"),
        (json!({ "component": "x" }), "stands inside `g`; try `g`"),
        (json!({ "component": "b", "only": true, "pinned": { "g": { "output": 1 } } }), "`big` has no data"),
        (json!({ "component": "b", "pinned": { "b": { "output": 1 } } }), "is pinned and would not run"),
        (json!({ "component": "a", "pinned": { "g": { "output": 1 } } }), "is not before `a`"),
        (
            json!({ "component": "b", "pinned": { "big": { "output": 1, "ports": ["treu"] } } }),
            "did you mean `true`?",
        ),
    ];
    for (body, why) in rows {
        let refused = tried(place, &saved.0, &body).await?.problem(422, "try_refused")?;
        ensure!(text(&refused, "detail")?.contains(why), "{body}: {refused}");
    }
    let both =
        json!({ "component": "b", "pinned": { "g": { "output": 1, "error": { "class": "timeout" } } } });
    tried(place, &saved.0, &both).await?.problem(422, "invalid_body")?;
    let list = place.api.get(&format!("/api/v1/executions?workflow_id={}", saved.0)).await?.expect(200)?;
    ensure!(list["items"] == json!([]), "nothing was started: {list}");
    Ok(())
}

async fn a_try_is_no_version_and_starts_nothing(place: &Place) -> Result<()> {
    let label = &unique_name("row");
    let named = document("", "a: { @waits }\n b: { @call(b), needs: [a] }")
        .replace("name: row", &format!("name: {label}"));
    let workflow = creation("row", &with_calls(&named, place, label));
    let workflow = place.api.post("/api/v1/workflows", &workflow).await?.expect(201)?;
    let saved = (text(&workflow, "id")?, label.clone());
    let head = format!(
        "triggers: {{ ends: {{ type: event_trigger, config: {{ types: [execution.completed], source: apg/{label} }} }} }}"
    );
    let listens = with_calls(&document(&head, "after: { @call(after) }"), place, label);
    place.api.post("/api/v1/workflows", &creation("row", &listens)).await?.expect(201)?;
    let (one, _) = case(place, &saved, &json!({ "component": "a" })).await?;
    one.shows("a awaiting").await?;
    let path = format!("/api/v2/executions/{}/move", one.id);
    let refused = place.api.post(&path, &json!({ "version": 1 })).await?.problem(422, "move_refused")?;
    ensure!(refused["problems"][0]["code"] == "trial", "{refused}");
    one.go().await?;
    one.ends("completed").await?;
    // A real one is heard of; what was tried before it would have been by then.
    let whole = place.api.post(&format!("/api/v1/workflows/{}/execute", saved.0), &json!({})).await?;
    let whole = Case { place, id: text(&whole.expect(202)?, "id")?, label: label.clone() };
    whole.shows("a awaiting").await?;
    whole.go().await?;
    whole.ends("completed").await?;
    whole.is_called("after").await?;
    ensure!(whole.calls() == ["b", "after"], "{:?}", whole.calls());
    let events = place.api.events(&one.id).await?;
    ensure!(!events.iter().any(|event| event.component() == "b"), "{events:?}");
    let again =
        place.api.post(&format!("/api/v1/executions/{}/retry", one.id), &json!({ "from": "a" })).await?;
    let again = Case { place, id: text(&again.expect(202)?, "id")?, label: label.clone() };
    again.shows("a awaiting").await?;
    again.stops().await?;
    Ok(())
}

async fn the_command_line_tries(place: &Place) -> Result<()> {
    let saved = saved(place, "", CHAIN).await?;
    let server = ["--server", place.api.base.as_str()];
    let pinned = ["workflow", "try", &saved.0, "c", "--pin", r#"b={"n":1}"#, "--wait"];
    let ran = place.apg(&[&pinned[..], &server[..]].concat()).await?;
    ensure!(ran.code == 0, "{ran:?}");
    let refused = place.apg(&[&["workflow", "try", &saved.0, "c", "--only"], &server[..]].concat()).await?;
    ensure!(refused.code != 0 && refused.err.contains("`b` has no data"), "{refused:?}");
    let list =
        place.api.get(&format!("/api/v1/executions?workflow_id={}&tag=try", saved.0)).await?.expect(200)?;
    let id = text(&list["items"][0], "id")?;
    let events = place.api.events(&id).await?;
    let pinned: Vec<&str> =
        events.iter().filter(|event| event.name == "pinned").map(Event::component).collect();
    ensure!(pinned == ["a", "b"], "{events:?}");
    Ok(())
}
