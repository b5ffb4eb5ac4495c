//! The other side of `http_request`: an HTTP server that answers by script and keeps what it was asked.
//!
//! What it keeps is the effect log of the invariants: an effect is a call that arrived here.
//!
//! `POST /effect/<label>/<component>?<script>` with
//! `fail=n` (the first n calls of a task are answered 503), `status=s` (always s), `delay_ms=n`, `hang=n` (the first n are
//! never answered),
//! `refuse=n` (the first n calls are answered 400, whichever execution they are of),
//! `bytes=n` (the answer holds a text of n bytes). `/shop/<label>/orders` is the shop of the examples: its first
//! answer is 503. `/play/<label>/<path>` answers as the test said with [`Probe::plays`], and 404 otherwise.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use serde_json::{Value, json};
use shared::time::{Clock, SystemClock, Timestamp};

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    /// What the test calls it.
    pub(crate) label: String,
    /// The component, or method and path below `/play`.
    pub(crate) component: String,
    /// The `Idempotency-Key`: execution and component.
    pub(crate) key: String,
    pub(crate) began: Instant,
    /// The same by the clock on the wall, to be read beside logs and journals.
    pub(crate) at: Timestamp,
    /// When it was answered; `None` while it is under way or when the caller hung up.
    pub(crate) ended: Option<Instant>,
    pub(crate) body: Value,
}

impl Effect {
    /// The UUID of the execution, from the key.
    pub(crate) fn execution(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }
}

/// What is answered to a body.
pub(crate) type Part = fn(&Value) -> (u16, Value);

#[derive(Default)]
struct Log {
    effects: Mutex<Vec<Effect>>,
    /// By label, and method and path.
    parts: Mutex<HashMap<(String, String), Part>>,
}

impl Log {
    /// Its place in the log, and which call it is of its task, and of all tasks with its name.
    fn begin(
        &self,
        label: &str,
        component: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> (usize, usize, usize) {
        let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |effect: &&Effect| effect.label == label && effect.component == component;
        let of_all = effects.iter().filter(named).count() + 1;
        let number = effects.iter().filter(named).filter(|effect| effect.key == key).count() + 1;
        effects.push(Effect {
            label: label.to_owned(),
            component: component.to_owned(),
            key: key.to_owned(),
            began: Instant::now(),
            at: SystemClock.now(),
            ended: None,
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
        });
        (effects.len() - 1, number, of_all)
    }

    fn end(&self, index: usize) {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)[index].ended = Some(Instant::now());
    }
}

/// A running probe.
pub(crate) struct Probe {
    pub(crate) base: String,
    log: Arc<Log>,
}

impl Probe {
    /// Starts one on a free port; it runs until the process ends.
    pub(crate) async fn start() -> Result<Self> {
        let log = Arc::new(Log::default());
        let router = Router::new()
            .route("/effect/{label}/{component}", any(effect))
            .route("/shop/{label}/orders", post(shop))
            .route("/play/{label}/{*path}", any(play))
            .with_state(Arc::clone(&log));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        super::beside(async move { axum::serve(listener, router).await });
        Ok(Self { base, log })
    }

    /// Below `/play`, `what` (such as `POST stock/holds`) is answered like this from now on.
    pub(crate) fn plays(&self, label: &str, what: &str, part: Part) {
        let mut parts = self.log.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert((label.to_owned(), what.to_owned()), part);
    }

    /// Every call so far, in the order of arrival.
    pub(crate) fn all(&self) -> Vec<Effect> {
        self.log.effects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The calls of one test.
    pub(crate) fn of(&self, label: &str) -> Vec<Effect> {
        self.all().into_iter().filter(|effect| effect.label == label).collect()
    }
}

async fn effect(
    State(log): State<Arc<Log>>,
    Path((label, component)): Path<(String, String)>,
    Query(script): Query<HashMap<String, u64>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (index, number, of_all) = log.begin(&label, &component, &headers, &body);
    let given = |name: &str| script.get(name).copied().unwrap_or(0);
    if number as u64 <= given("hang") {
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(given("delay_ms"))).await;
    log.end(index);
    let status = match script.get("status") {
        Some(status) => StatusCode::from_u16(*status as u16).unwrap_or(StatusCode::IM_A_TEAPOT),
        None if number as u64 <= given("fail") => StatusCode::SERVICE_UNAVAILABLE,
        None if of_all as u64 <= given("refuse") => StatusCode::BAD_REQUEST,
        None => StatusCode::OK,
    };
    let mut answer = json!({ "label": label, "component": component, "call": number });
    if let Some(bytes) = script.get("bytes") {
        answer["text"] = Value::from("x".repeat(*bytes as usize));
    }
    (status, Json(answer)).into_response()
}

async fn play(
    State(log): State<Arc<Log>>,
    method: Method,
    Path((label, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let what = format!("{method} {path}");
    let (index, ..) = log.begin(&label, &what, &headers, &body);
    log.end(index);
    let part = log.parts.lock().unwrap_or_else(PoisonError::into_inner).get(&(label, what)).copied();
    let Some(part) = part else { return StatusCode::NOT_FOUND.into_response() };
    let (status, answer) = part(&serde_json::from_slice(&body).unwrap_or(Value::Null));
    (StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), Json(answer)).into_response()
}

async fn shop(
    State(log): State<Arc<Log>>,
    Path(label): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (index, number, _) = log.begin(&label, "shop", &headers, &body);
    log.end(index);
    if number == 1 {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "counting the stock" })))
            .into_response();
    }
    let order: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Json(json!({ "accepted": true, "order": order })).into_response()
}
