//! Results that are used again by other executions of a workflow.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, document, with_calls};
use crate::harness::{
    client::{creation, text},
    place::Place,
    unique_name,
};

both_shapes!(
    the_same_key_is_called_once_and_a_retry_calls_again,
    who_waits_for_a_place_uses_what_the_first_one_gave,
    what_is_kept_can_be_removed,
);

struct Saved<'a> {
    place: &'a Place,
    workflow: String,
    label: String,
}

impl<'a> Saved<'a> {
    async fn new(place: &'a Place, head: &str, components: &str) -> Result<Self> {
        let label = unique_name("row");
        let document = with_calls(&document(head, components), place, &label);
        let saved = place.api.post("/api/v1/workflows", &creation("row", &document)).await?.expect(201)?;
        Ok(Self { place, workflow: text(&saved, "id")?, label })
    }

    async fn start(&self, parameters: &Value) -> Result<Case<'a>> {
        let id = self.place.api.execute(&self.workflow, &json!({ "parameters": parameters })).await?;
        Ok(Case { place: self.place, id, label: self.label.clone() })
    }

    async fn completes(&self, parameters: &Value) -> Result<(Case<'a>, Value)> {
        let case = self.start(parameters).await?;
        let found = case.ends("completed").await?;
        Ok((case, found))
    }
}

const HEAD: &str = "parameters: { k: { type: any } }";

async fn the_same_key_is_called_once_and_a_retry_calls_again(place: &Place) -> Result<()> {
    let saved = Saved::new(
        place,
        HEAD,
        "a: { @call(a?bytes=100000), cache: { key: '${{ parameters.k }}', ttl: 1h } }
         b: { type: set_variables, needs: [a], config: { values: { n: '${{ components.a.output.body.text | length }}' } } }
         done: { type: end, needs: [b], config: { output: '${{ components.b.output.n }}' } }",
    )
    .await?;
    let (first, found) = saved.completes(&json!({ "k": 1 })).await?;
    ensure!(found["output"] == 100_000 && first.calls() == ["a"], "{found}");
    let (second, found) = saved.completes(&json!({ "k": 1 })).await?;
    ensure!(found["output"] == 100_000 && second.calls() == ["a"], "{:?}", second.calls());
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", second.id), 50).await?;
    let a = tasks.iter().find(|task| task["component"] == "a").context("a is listed")?;
    ensure!(
        a["status"] == "completed" && a["attempt"] == 0 && a["cached"]["execution"] == first.id.as_str(),
        "{a}"
    );
    let href = text(&a["output_reference"], "href")?;
    ensure!(href.contains(&second.id), "the value is its own: {href}");
    // Another key, and none.
    for (k, calls) in [(json!(2), 2), (json!(null), 3), (json!(null), 4)] {
        let (case, _) = saved.completes(&json!({ "k": k })).await?;
        ensure!(case.calls().len() == calls, "{k}: {:?}", case.calls());
    }
    let path = format!("/api/v1/executions/{}/retry", second.id);
    let again = place.api.post(&path, &json!({ "from": "a" })).await?.expect(202)?;
    let again = Case { place, id: text(&again, "id")?, label: saved.label.clone() };
    again.ends("completed").await?;
    ensure!(again.calls().len() == 5, "{:?}", again.calls());
    Ok(())
}

async fn who_waits_for_a_place_uses_what_the_first_one_gave(place: &Place) -> Result<()> {
    let saved =
        Saved::new(place, "", "a: { @call(a?delay_ms=300), cache: { key: k }, concurrency: { key: k } }")
            .await?;
    let (first, second) = (saved.start(&json!({})).await?, saved.start(&json!({})).await?);
    first.ends("completed").await?;
    second.ends("completed").await?;
    ensure!(second.calls() == ["a"], "{:?}", second.calls());
    Ok(())
}

async fn what_is_kept_can_be_removed(place: &Place) -> Result<()> {
    let saved = Saved::new(
        place,
        "",
        "a: { @call(a), cache: { key: k } }
         b: { @call(b), cache: { ttl: 1h } }",
    )
    .await?;
    let (case, _) = saved.completes(&json!({})).await?;
    saved.completes(&json!({})).await?;
    ensure!(case.calls().len() == 2, "{:?}", case.calls());
    let server = ["--server", place.api.base.as_str()];
    let clear = ["workflow", "clear-cache", &saved.workflow, "--component", "a"];
    let cleared = place.apg(&[&clear[..], &server[..]].concat()).await?;
    ensure!(cleared.code == 0, "{cleared:?}");
    saved.completes(&json!({})).await?;
    let mut calls = case.calls();
    calls.sort();
    ensure!(calls == ["a", "a", "b"], "{calls:?}");
    let path = format!("/api/v1/workflows/{}/cache", saved.workflow);
    let answer = place.api.delete(&path).await?.expect(200)?;
    ensure!(answer["removed"] == 2, "{answer}");
    Ok(())
}
