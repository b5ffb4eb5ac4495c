//! The other side of `http_request`: an HTTP server that answers by script and keeps what it was asked.
//!
//! What it keeps is the log of effects: an effect is a call that arrived here. It decides nothing about them.
//!
//! `POST /effect/<label>/<component>?<script>` with
//! `n=number` (which submission it is of), `fail=n` (the first n calls of a task are answered 503), `status=s` (always
//! s), `delay_ms=n`, `hang=n` (the first n are never answered),
//! `refuse=n` (the first n calls are answered 400, whichever execution they are of),
//! `bytes=n` (the answer holds a text of n bytes).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use shared::time::{Clock, SystemClock, Timestamp};

use crate::Beside;

/// One call.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Whose it is: a test, or a run.
    pub label: String,
    /// What it is called in its path.
    pub component: String,
    /// The submission it is of, when it says so.
    pub number: Option<i64>,
    /// The `Idempotency-Key`: execution and task.
    pub key: String,
    pub began: Instant,
    /// The same by the clock on the wall, to be read beside logs and journals.
    pub at: Timestamp,
    /// When it was answered; `None` while it is under way or when the caller hung up.
    pub ended: Option<Instant>,
    pub body: Value,
}

impl Effect {
    /// The UUID of the execution, from the key.
    pub fn execution(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }

    /// The task, from the key.
    pub fn task(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, task)| task)
    }
}

#[derive(Debug, Default)]
struct Kept {
    effects: Vec<Effect>,
    /// Calls so far by label and component, and by those and the key.
    counts: HashMap<(String, String, Option<String>), usize>,
}

/// Every call so far.
#[derive(Debug, Default)]
pub struct Log(Mutex<Kept>);

/// A call that was noted.
#[derive(Debug, Clone, Copy)]
pub struct Noted {
    index: usize,
    /// Which call it is of its task.
    pub number: usize,
    /// Which call it is of all tasks with its name.
    pub of_all: usize,
}

impl Log {
    /// Notes a call that begins.
    pub fn begin(
        &self,
        (label, component): (&str, &str),
        number: Option<i64>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Noted {
        let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |key: Option<String>| {
            let count = kept.counts.entry((label.to_owned(), component.to_owned(), key)).or_default();
            *count += 1;
            *count
        };
        let (of_all, of_task) = (count(None), count(Some(key.to_owned())));
        kept.effects.push(Effect {
            label: label.to_owned(),
            component: component.to_owned(),
            number,
            key: key.to_owned(),
            began: Instant::now(),
            at: SystemClock.now(),
            ended: None,
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
        });
        Noted { index: kept.effects.len() - 1, number: of_task, of_all }
    }

    /// Notes that it is answered.
    pub fn end(&self, noted: Noted) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.effects[noted.index].ended = Some(Instant::now());
    }

    /// Every call so far, in the order of arrival.
    pub fn all(&self) -> Vec<Effect> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).effects.clone()
    }

    /// Whether an execution had any effect.
    fn has(&self, execution: &str) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.effects.iter().any(|effect| execution.ends_with(effect.execution()))
    }
}

/// A running probe; it ends when it is dropped.
#[derive(Debug)]
pub struct Probe {
    pub base: String,
    pub log: Arc<Log>,
    _server: Beside,
}

impl Probe {
    /// Starts one on a free loopback port.
    pub async fn start() -> Result<Self> {
        Self::start_with(Arc::default(), Router::new()).await
    }

    /// The same with further routes, which note what they are asked in the same log.
    pub async fn start_with(log: Arc<Log>, more: Router) -> Result<Self> {
        let router = Router::new()
            .route("/effect/{label}/{component}", any(effect))
            .with_state(Arc::clone(&log))
            .merge(more);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("the probe's port")?;
        let base = format!("http://{}", listener.local_addr().context("the probe's address")?);
        let server = Beside::run(async move {
            // It serves until it is dropped; accepting fails for single connections alone.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { base, log, _server: server })
    }

    /// Whether an execution (`execution_<uuid>`) had any effect.
    pub fn saw(&self, execution: &str) -> bool {
        self.log.has(execution)
    }
}

async fn effect(
    State(log): State<Arc<Log>>,
    Path((label, component)): Path<(String, String)>,
    Query(script): Query<HashMap<String, i64>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let noted = log.begin((&label, &component), script.get("n").copied(), &headers, &body);
    let given = |name: &str| script.get(name).copied().unwrap_or(0).max(0) as u64;
    if noted.number as u64 <= given("hang") {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(given("delay_ms"))).await;
    log.end(noted);
    let status = match script.get("status") {
        Some(status) => StatusCode::from_u16(*status as u16).unwrap_or(StatusCode::IM_A_TEAPOT),
        None if noted.number as u64 <= given("fail") => StatusCode::SERVICE_UNAVAILABLE,
        None if noted.of_all as u64 <= given("refuse") => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let mut answer = json!({ "label": label, "component": component, "call": noted.number });
    if script.contains_key("bytes") {
        answer["text"] = Value::from("x".repeat(given("bytes") as usize));
    }
    (status, Json(answer)).into_response()
}
