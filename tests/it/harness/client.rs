//! A client of the REST API, with the few moves that every test makes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
pub(crate) use chaos::client::{Event, is_ended, text};
use futures::StreamExt;
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use super::{API_KEY, PATIENCE, unique_name, until};

/// An answer, read.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("{} is not JSON: {:.300}", self.status, self.text))
    }

    /// The body of an answer with this status.
    pub(crate) fn expect(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "expected {status}, got {}: {:.2000}", self.status, self.text);
        if self.text.is_empty() { Ok(Value::Null) } else { self.json() }
    }

    /// The body of a problem with this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Result<Value> {
        let body = self.expect(status)?;
        let kind = self.header("content-type");
        ensure!(
            kind == "application/problem+json",
            "a problem is `application/problem+json`, this is `{kind}`"
        );
        ensure!(body["code"] == code, "expected the code `{code}`: {body}");
        for field in ["type", "title", "detail"] {
            ensure!(
                body[field].as_str().is_some_and(|text| !text.is_empty()),
                "a problem has a `{field}`: {body}"
            );
        }
        ensure!(body["status"] == status, "a problem repeats its status: {body}");
        Ok(body)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One server-sent event.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A client of one API process.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    pub(crate) base: String,
}

/// The body that creates a workflow under a name of its own.
pub(crate) fn creation(name: &str, document: &str) -> Value {
    json!({ "name": unique_name(name), "definition": document })
}

impl Api {
    pub(crate) fn new(base: &str) -> Result<Self> {
        Self::with_timeout(base, Duration::from_secs(30))
    }

    pub(crate) fn with_timeout(base: &str, timeout: Duration) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(timeout).build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        // Who shows something else is not given it beside.
        let is_other = |(name, _): &(&str, &str)| matches!(*name, "authorization" | "x-api-key" | "cookie");
        // A webhook and a link prove by themselves who asks.
        let proves_itself = path.starts_with("/webhooks/") || path.starts_with("/decide/");
        if !proves_itself && !headers.iter().any(is_other) {
            request = request.header("x-api-key", API_KEY);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            if !headers.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", "application/json");
            }
            request = request.body(body);
        }
        let answer = request.send().await.with_context(|| format!("no answer to {path}"))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.with_context(|| format!("half an answer to {path}"))?;
        Ok(Answer { status, headers, text })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, &[], Some(body.to_string().into_bytes())).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, &[], Some(body.to_string().into_bytes())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// Creates a workflow under a name of its own; its id.
    pub(crate) async fn create(&self, name: &str, document: &str) -> Result<String> {
        let answer = self.post("/api/v1/workflows", &creation(name, document)).await?;
        text(&answer.expect(201).with_context(|| format!("creating\n{document}"))?, "id")
    }

    /// Starts an execution; its id.
    pub(crate) async fn execute(&self, workflow: &str, body: &Value) -> Result<String> {
        text(&self.post(&format!("/api/v1/workflows/{workflow}/execute"), body).await?.expect(202)?, "id")
    }

    /// Creates a workflow and starts an execution of it with these parameters.
    pub(crate) async fn start(&self, name: &str, document: &str, parameters: &Value) -> Result<String> {
        let workflow = self.create(name, document).await?;
        self.execute(&workflow, &json!({ "parameters": parameters })).await
    }

    pub(crate) async fn execution(&self, id: &str) -> Result<Value> {
        self.get(&format!("/api/v1/executions/{id}")).await?.expect(200)
    }

    /// Waits for the end of an execution.
    pub(crate) async fn ended(&self, id: &str) -> Result<Value> {
        let found = until(PATIENCE, &format!("the end of {id}"), async || {
            let found = self.execution(id).await?;
            Ok(is_ended(&found["status"]).then_some(found))
        })
        .await;
        match found {
            Ok(found) => Ok(found),
            Err(error) => {
                let why = self.get(&format!("/api/v1/executions/{id}/why")).await.map(|answer| answer.text);
                let journal = self.get(&format!("/api/v1/executions/{id}/journal?limit=500")).await;
                let journal = journal.map(|answer| answer.text).unwrap_or_default();
                Err(error.context(format!("why: {}\njournal: {journal}", why.unwrap_or_default())))
            }
        }
    }

    /// Runs a document to its end.
    pub(crate) async fn run(&self, name: &str, document: &str, parameters: &Value) -> Result<Value> {
        let id = self.start(name, document, parameters).await?;
        self.ended(&id).await
    }

    /// Runs a document that must complete; its execution.
    pub(crate) async fn complete(&self, name: &str, document: &str, parameters: &Value) -> Result<Value> {
        let found = self.run(name, document, parameters).await?;
        ensure!(found["status"] == "completed", "it must complete: {found}");
        Ok(found)
    }

    /// Every event of the journal, in order. Sequence numbers without a gap are a promise, so it is checked.
    pub(crate) async fn events(&self, id: &str) -> Result<Vec<Event>> {
        chaos::client::events_of(id, &self.pages(&format!("/api/v1/executions/{id}/journal"), 500).await?)
    }

    /// Every item of a list, page by page.
    pub(crate) async fn pages(&self, path: &str, limit: u32) -> Result<Vec<Value>> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{joint}limit={limit}{after}")).await?.expect(200)?;
            let items = page["items"].as_array().context("a list has items")?;
            ensure!(items.len() <= limit as usize || path.contains("/logs"), "a page is longer than asked");
            all.extend(items.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }

    pub(crate) async fn cancel(&self, id: &str, reason: &str) -> Result<Answer> {
        self.post(&format!("/api/v1/executions/{id}/cancel"), &json!({ "reason": reason })).await
    }

    /// Reads server-sent events until the stream ends.
    pub(crate) async fn watch(&self, id: &str) -> Result<Vec<Sight>> {
        let url = format!("{}/api/v1/executions/{id}/events", self.base);
        let answer = self
            .http
            .get(url)
            .timeout(PATIENCE)
            .header("accept", "text/event-stream")
            .header("x-api-key", API_KEY)
            .send()
            .await?;
        ensure!(answer.status().as_u16() == 200, "events are answered with {}", answer.status());
        let mut stream = answer.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.context("the stream of events broke off")?);
        }
        let text = String::from_utf8(bytes)?;
        let mut sights = Vec::new();
        for block in text.split("\n\n") {
            let field = |name: &str| {
                let found = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                found.map(str::trim_start)
            };
            if let (Some(name), Some(data)) = (field("event"), field("data")) {
                sights.push(Sight { name: name.to_owned(), data: serde_json::from_str(data)? });
            }
        }
        Ok(sights)
    }

    /// Where every component of an execution stands now: the first of its live events.
    pub(crate) async fn snapshot(&self, id: &str) -> Result<Value> {
        let url = format!("{}/api/v1/executions/{id}/events", self.base);
        let answer = self
            .http
            .get(url)
            .header("accept", "text/event-stream")
            .header("x-api-key", API_KEY)
            .send()
            .await?;
        ensure!(answer.status().as_u16() == 200, "events are answered with {}", answer.status());
        let mut stream = answer.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.context("the stream of events broke off")?);
            let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") else { continue };
            let block = std::str::from_utf8(&bytes[..end])?;
            ensure!(block.lines().any(|line| line == "event: snapshot"), "a snapshot comes first: {block}");
            let data = block.lines().find_map(|line| line.strip_prefix("data: ")).context("no data")?;
            return Ok(serde_json::from_str(data)?);
        }
        bail!("the stream of events ended without one")
    }

    /// Waits until the API answers.
    pub(crate) async fn is_up(&self, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        until(within, &format!("an answer of {}", self.base), async || {
            Ok((self.get("/health").await?.status == 200).then_some(()))
        })
        .await?;
        Ok(started.elapsed())
    }
}
