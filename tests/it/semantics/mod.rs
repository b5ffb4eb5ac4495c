//! The tables of the reference, a test for each row: ports (P), joins (J), failure and scope (S), containers (C), the
//! document (W), and the cases of the worked example.
//!
//! Each row is a document whose components are named in it, and what becomes of them is read in the snapshot that
//! everybody who watches an execution gets. `@call(name?script)` in a document is an `http_request` to the probe.

mod caching;
mod containers;
mod document;
mod example;
mod joins;
mod moving;
mod pausing;
mod ports;
mod retrying;
mod scopes;
mod trying;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE,
    client::{Event, creation, is_ended, text},
    place::Place,
    unique_name, until,
};

/// A component that waits until the test sends it the signal `go`.
const WAITS: &str = "type: wait_for_event, config: { event: go, key: k, within: 1h }";

/// A document: a head, and components with one line each.
fn document(head: &str, components: &str) -> String {
    let mut text = format!("workflow: v1\nname: row\n{head}\ncomponents:\n");
    for line in components.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text += &format!("  {line}\n");
    }
    text.replace("@waits", WAITS)
}

/// Writes `@call(name?script)` out.
fn with_calls(document: &str, place: &Place, label: &str) -> String {
    let mut parts = document.split("@call(");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (call, rest) = part.split_once(')').unwrap_or((part, ""));
        let url = format!("{}/effect/{label}/{call}", place.probe.base);
        text += &format!("type: http_request, config: {{ method: POST, url: \"{url}\" }}{rest}");
    }
    text
}

/// A row under way.
struct Case<'a> {
    place: &'a Place,
    id: String,
    label: String,
}

impl<'a> Case<'a> {
    /// Starts a document with these components and nothing else.
    async fn start(place: &'a Place, components: &str) -> Result<Self> {
        Self::start_with(place, "", components).await
    }

    async fn start_with(place: &'a Place, head: &str, components: &str) -> Result<Self> {
        let label = unique_name("row");
        let document = with_calls(&document(head, components), place, &label);
        Self::start_document(place, &document, &label, &json!({})).await
    }

    async fn start_document(
        place: &'a Place,
        document: &str,
        label: &str,
        parameters: &Value,
    ) -> Result<Self> {
        let id = place.api.start("row", document, parameters).await?;
        Ok(Self { place, id, label: label.to_owned() })
    }

    /// The word of every component that is shown now, and of the execution.
    async fn seen(&self) -> Result<(BTreeMap<String, String>, String)> {
        let snapshot = self.place.api.snapshot(&self.id).await?;
        let components = snapshot["components"].as_array().context("a snapshot has components")?;
        let words = components.iter().map(|one| Ok((text(one, "component")?, text(one, "state")?)));
        Ok((words.collect::<Result<_>>()?, text(&snapshot, "status")?))
    }

    /// Waits until components stand like this, all at once: `a completed, b waiting`.
    async fn shows(&self, expected: &str) -> Result<()> {
        let shown = until(PATIENCE, expected, async || {
            let (seen, status) = self.seen().await?;
            let mut all = true;
            for part in expected.split(", ") {
                let (component, word) = part.split_once(' ').context("`component word`")?;
                all &= seen.get(component).is_some_and(|seen| seen == word);
            }
            // What has ended stays as it is.
            Ok((all || is_ended(&json!(status))).then_some(all))
        });
        match shown.await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} is not `{expected}` but {:?}", self.id, self.seen().await?),
            Err(error) => Err(error.context(format!("{}: {:?}", self.id, self.seen().await?))),
        }
    }

    /// Waits for the end, and for one like this.
    async fn ends(&self, status: &str) -> Result<Value> {
        let found = self.place.api.ended(&self.id).await?;
        ensure!(found["status"] == status, "it must end as {status}: {found}");
        Ok(found)
    }

    /// Waits for the end as failed with this class.
    async fn fails(&self, class: &str) -> Result<Value> {
        let found = self.ends("failed").await?;
        ensure!(found["failure"]["class"] == class, "it must fail as {class}: {found}");
        Ok(found)
    }

    /// Ends what the row leaves waiting.
    async fn stops(&self) -> Result<()> {
        self.place.api.cancel(&self.id, "seen enough").await?.expect(202)?;
        self.ends("cancelled").await?;
        Ok(())
    }

    /// The calls of these names that arrived at the probe, in order.
    fn calls(&self) -> Vec<String> {
        self.place.probe.of(&self.label).into_iter().map(|effect| effect.component).collect()
    }

    /// Waits until a call of this name is under way.
    async fn is_called(&self, name: &str) -> Result<()> {
        until(PATIENCE, name, async || Ok(self.calls().iter().any(|call| call == name).then_some(()))).await
    }

    /// Lets the components that wait for it go on.
    async fn go(&self) -> Result<()> {
        let path = format!("/api/v1/executions/{}/signals", self.id);
        self.place.api.post(&path, &json!({ "name": "go" })).await?.expect(202)?;
        Ok(())
    }

    /// Answers what a component asks, once it asks.
    async fn answers(&self, component: &str, verb: &str, body: Value) -> Result<Value> {
        let path = format!("/api/v1/human-tasks?execution_id={}", self.id);
        let task = until(PATIENCE, &format!("the question of {component}"), async || {
            let items = self.place.api.pages(&path, 50).await?;
            let open = items.iter().find(|item| item["component"] == component && item["status"] == "open");
            open.map(|item| text(item, "id")).transpose()
        })
        .await?;
        self.place.api.post(&format!("/api/v1/human-tasks/{task}/{verb}"), &body).await?.expect(200)
    }

    /// The events about one component.
    async fn events(&self, component: &str) -> Result<Vec<Event>> {
        let mut events = self.place.api.events(&self.id).await?;
        events.retain(|event| event.component() == component);
        Ok(events)
    }

    /// Why a component was skipped.
    async fn skipped_for(&self, component: &str) -> Result<String> {
        let events = self.events(component).await?;
        let skipped = events.iter().find(|event| event.name == "skipped");
        text(&skipped.with_context(|| format!("{component} was not skipped: {events:?}"))?.fields, "reason")
    }
}

/// What is wrong with a document that cannot be saved: its only mistake, with its place.
async fn refused(place: &Place, document: &str) -> Result<Value> {
    let answer = place.api.post("/api/v1/workflows", &creation("refused", document)).await?;
    let problem = answer.problem(422, "invalid_document").context(document.to_owned())?;
    let mistakes = problem["problems"].as_array().context("a list")?;
    ensure!(mistakes.len() == 1, "one mistake: {problem}");
    let mistake = &mistakes[0];
    ensure!(mistake["line"].is_u64() && mistake["column"].is_u64(), "it has its place: {mistake}");
    ensure!(mistake["message"].as_str().is_some_and(|text| !text.is_empty()), "it says what: {mistake}");
    Ok(mistake.clone())
}

/// Looks that a mistake has this code, path and suggestion.
fn is_mistake(mistake: &Value, code: &str, path: &str, suggestion: &str) -> Result<()> {
    let keys = mistake["path"].as_array().context("a path")?;
    let found = keys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".");
    ensure!(
        mistake["code"] == code && found == path && mistake["suggestion"] == suggestion,
        "expected `{code}` at `{path}`, `{suggestion}`: {mistake}"
    );
    Ok(())
}
