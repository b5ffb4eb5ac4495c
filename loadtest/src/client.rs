//! The driver's side of the ordinary REST API, made to cost little itself.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::time::Timestamp;

/// Requests under way at once.
const AT_ONCE: usize = 32;
/// How long any one workload may take.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
    /// Answers of 429 and 503, after which a request was sent again.
    pub(crate) refusals: AtomicU64,
}

impl Client {
    pub(crate) fn new(base: &str, key: Option<String>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(AT_ONCE * 2)
            .tcp_nodelay(true)
            .timeout(PATIENCE)
            .build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key, refusals: AtomicU64::new(0) })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        loop {
            let mut request = self.request(method.clone(), path);
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = request.send().await.with_context(|| format!("{method} {path}"))?;
            let status = answer.status();
            if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let bytes = answer.bytes().await?;
            ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
            return Ok(if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? });
        }
    }

    /// Reads a path once; what it gives, and how long that took in milliseconds.
    pub(crate) async fn timed(&self, path: &str) -> Result<(Value, f64)> {
        let begun = std::time::Instant::now();
        let answer = self.send(Method::GET, path, None).await?;
        Ok((answer, begun.elapsed().as_secs_f64() * 1e3))
    }

    /// Waits until the server answers.
    pub(crate) async fn ready(&self, within: Duration) -> Result<()> {
        let asked = tokio::time::timeout(within, async {
            loop {
                let answer =
                    self.request(Method::GET, "/health").timeout(Duration::from_secs(2)).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        asked.await.with_context(|| format!("{} does not answer", self.base))
    }

    /// Saves a workflow and gives its id.
    pub(crate) async fn save(&self, definition: &Value) -> Result<String> {
        let name = format!(
            "{}-{:x}",
            definition["name"].as_str().unwrap_or("bench"),
            std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
        );
        let mut definition = definition.clone();
        definition["name"] = json!(name);
        let saved = self
            .send(Method::POST, "/api/v1/workflows", Some(&json!({ "name": name, "definition": definition })))
            .await?;
        Ok(saved["id"].as_str().context("a saved workflow has an id")?.to_owned())
    }

    /// Starts an execution and gives its id.
    pub(crate) async fn submit(&self, workflow: &str, tag: Option<&str>) -> Result<String> {
        let tags: Vec<&str> = tag.into_iter().collect();
        let path = format!("/api/v1/workflows/{workflow}/execute");
        let accepted =
            self.send(Method::POST, &path, Some(&json!({ "parameters": {}, "tags": tags }))).await?;
        Ok(accepted["id"].as_str().context("an accepted execution has an id")?.to_owned())
    }

    /// Starts many executions, some requests at a time.
    pub(crate) async fn submit_many(&self, workflow: &str, count: usize, tag: &str) -> Result<Vec<String>> {
        stream::iter(0..count)
            .map(|_| self.submit(workflow, Some(tag)))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Waits for the end of one execution on its event stream: one connection, and no polling.
    pub(crate) async fn watch(&self, execution: &str) -> Result<()> {
        let path = format!("/api/v1/executions/{execution}/events");
        let mut answer =
            self.request(Method::GET, &path).header("accept", "text/event-stream").send().await?;
        ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
        let mut unread = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            unread.extend_from_slice(&chunk);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data:")
                    && is_over(data)
                {
                    return Ok(());
                }
            }
        }
        // The stream may end before it says so, when the server had nothing to show it with.
        self.poll(execution).await
    }

    async fn poll(&self, execution: &str) -> Result<()> {
        let path = format!("/api/v1/executions/{execution}");
        loop {
            let view = self.send(Method::GET, &path, None).await?;
            if ends(view["status"].as_str().unwrap_or_default()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until no execution with this tag is open. One row is asked for, so that it costs little.
    pub(crate) async fn drained(&self, tag: &str, every: Duration) -> Result<()> {
        let path = format!("/api/v1/executions?tag={tag}&status=pending,running,paused&limit=1");
        let asked = tokio::time::timeout(PATIENCE, async {
            loop {
                let open = self.send(Method::GET, &path, None).await?;
                match open["items"].as_array() {
                    Some(items) if items.is_empty() => return Ok(()),
                    Some(_) => tokio::time::sleep(every).await,
                    None => bail!("the list of executions has no items"),
                }
            }
        });
        asked.await.context("the executions did not end in time")?
    }

    /// Checks what an execution gave.
    /// Waits until every execution with this tag has been taken up.
    pub(crate) async fn started(&self, tag: &str, every: Duration) -> Result<()> {
        loop {
            let path = format!("/api/v1/executions?tag={tag}&status=pending&limit=1");
            let page = self.send(Method::GET, &path, None).await?;
            if page["items"].as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            tokio::time::sleep(every).await;
        }
    }

    pub(crate) async fn cancel_all(&self, executions: &[String]) -> Result<()> {
        stream::iter(executions)
            .map(|id| async move {
                let path = format!("/api/v1/executions/{id}/cancel");
                self.send(Method::POST, &path, Some(&json!({}))).await.map(|_| ())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// When each execution with this tag ended, in microseconds since 1970.
    pub(crate) async fn finished(&self, tag: &str) -> Result<Vec<i64>> {
        let (mut ends, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/executions?tag={tag}&limit=500{cursor}");
            let page = self.send(Method::GET, &path, None).await?;
            for item in page["items"].as_array().into_iter().flatten() {
                let at = item["completed_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
                ends.push(at.context("an execution that has not ended")?.as_micros());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ends),
            }
        }
    }

    pub(crate) async fn check(&self, execution: &str, expected: &Value) -> Result<()> {
        let view = self.send(Method::GET, &format!("/api/v1/executions/{execution}"), None).await?;
        ensure!(
            view["status"] == "completed",
            "{execution} ended as {}: {}",
            view["status"],
            view["failure"]
        );
        ensure!(view["output"] == *expected, "{execution} gave {} instead of {expected}", view["output"]);
        Ok(())
    }

    pub(crate) async fn check_all(&self, executions: &[String], expected: &Value) -> Result<()> {
        stream::iter(executions)
            .map(|execution| self.check(execution, expected))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await
    }
}

fn ends(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

fn is_over(data: &[u8]) -> bool {
    serde_json::from_slice::<Value>(data).is_ok_and(|view| view["status"].as_str().is_some_and(ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_final_status_is_the_end() {
        assert!(is_over(br#" {"seq":3,"status":"completed","components":[]}"#));
        assert!(!is_over(br#" {"status":"running","components":[{"state":"completed"}]}"#));
        assert!(!is_over(b" hello"));
    }
}
