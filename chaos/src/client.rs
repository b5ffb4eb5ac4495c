//! A client of the REST API, with the few moves that a load and its checks make.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::until;

/// An answer, read.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// The body of an answer with this status.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "expected {status}, got {}: {:.2000}", self.status, self.text);
        if self.text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {:.300}", self.text))
    }
}

/// One event of a journal, with the turn it stands in.
#[derive(Debug, Clone)]
pub struct Event {
    pub seq: u64,
    pub at: String,
    /// `task_completed`, `finished`, …
    pub name: String,
    pub fields: Value,
}

impl Event {
    /// The component it is about.
    pub fn component(&self) -> &str {
        self.fields["task"]["component"].as_str().unwrap_or_default()
    }

    /// The task it is about, as in an idempotency key: the component, and the round of each loop around it.
    pub fn task(&self) -> String {
        let rounds = self.fields["task"]["iteration"].as_array().into_iter().flatten();
        format!("{}{}", self.component(), rounds.map(|round| format!("[{round}]")).collect::<String>())
    }
}

/// Every event of the turns of the journal of `execution`, in order.
///
/// # Errors
/// When the turns are not numbered without a gap from 1, or one of them is no turn.
pub fn events_of(execution: &str, turns: &[Value]) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let seq = turn["seq"].as_u64().context("a turn has a number")?;
        ensure!(seq == index as u64 + 1, "turn {seq} of {execution} stands at place {}", index + 1);
        for event in turn["events"].as_array().context("a turn has events")? {
            let (name, fields) = match event {
                Value::String(name) => (name.clone(), Value::Null),
                Value::Object(map) => {
                    let (name, fields) = map.iter().next().context("an event has a name")?;
                    (name.clone(), fields.clone())
                }
                other => bail!("{other} is no event"),
            };
            events.push(Event { seq, at: text(turn, "at")?, name, fields });
        }
    }
    Ok(events)
}

/// Whether an execution with this status has ended.
pub fn is_ended(status: &Value) -> bool {
    matches!(status.as_str(), Some("completed" | "failed" | "cancelled"))
}

/// A text field.
pub fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(ToOwned::to_owned).with_context(|| format!("no text `{field}` in {value}"))
}

/// A client of one API process.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    shown: Option<String>,
}

impl Api {
    /// `timeout` holds for each request.
    pub fn new(base: &str, timeout: Duration) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(timeout)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { http, base: base.to_owned(), shown: None })
    }

    /// The same, showing a key to the API.
    #[must_use]
    pub fn showing(mut self, api_key: &str) -> Self {
        self.shown = Some(api_key.to_owned());
        self
    }

    /// Sends a request; `key` makes it one that is done once, however often it is sent.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(api_key) = &self.shown {
            request = request.header("x-api-key", api_key);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("no answer to {path}"))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.with_context(|| format!("half an answer to {path}"))?;
        Ok(Answer { status, text })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, None, Some(body)).await
    }

    /// Keeps a workflow; its id.
    pub async fn create(&self, name: &str, document: &str) -> Result<String> {
        let body = json!({ "name": name, "definition": document });
        let answer = self.post("/api/v1/workflows", &body).await?;
        text(&answer.expect(201).with_context(|| format!("the workflow `{name}`"))?, "id")
    }

    /// Every item of a list, page by page.
    pub async fn pages(&self, path: &str, limit: u32) -> Result<Vec<Value>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{joint}limit={limit}{after}")).await?.expect(200)?;
            all.extend(page["items"].as_array().context("a list has items")?.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// Every event of a journal, in order.
    ///
    /// # Errors
    /// When its turns are not numbered without a gap.
    pub async fn events(&self, id: &str) -> Result<Vec<Event>> {
        events_of(id, &self.pages(&format!("/api/v1/executions/{id}/journal"), 500).await?)
    }

    /// Waits until the API answers; how long it took.
    pub async fn is_up(&self, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        until(within, &format!("an answer of {}", self.base), async || {
            Ok((self.get("/health").await?.status == 200).then_some(()))
        })
        .await?;
        Ok(started.elapsed())
    }
}
