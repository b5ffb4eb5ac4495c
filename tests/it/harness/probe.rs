//! The other side of `http_request` in the tests: what answers by script for all loads, and parts that tests play.
//!
//! `/effect/<label>/<component>` is that of [`chaos::probe`]. `/shop/<label>/orders` is the shop of the examples: its
//! first answer is 503. `/play/<label>/<path>` answers as the test said with [`Probe::plays`], and 404 otherwise.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, post},
};
pub(crate) use chaos::probe::Effect;
use chaos::probe::{self, Log};
use serde_json::{Value, json};

/// What is answered to a body.
pub(crate) type Part = fn(&Value) -> (u16, Value);

/// By label, and method and path.
type Parts = Mutex<HashMap<(String, String), Part>>;

#[derive(Clone, Default)]
struct Stage {
    log: Arc<Log>,
    parts: Arc<Parts>,
}

/// A running probe.
pub(crate) struct Probe {
    pub(crate) base: String,
    stage: Stage,
    _server: probe::Probe,
}

impl Probe {
    /// Starts one on a free port; it runs until it is dropped.
    pub(crate) async fn start() -> Result<Self> {
        let stage = Stage::default();
        let more = Router::new()
            .route("/shop/{label}/orders", post(shop))
            .route("/play/{label}/{*path}", any(play))
            .with_state(stage.clone());
        let server = probe::Probe::start_with(Arc::clone(&stage.log), more).await?;
        Ok(Self { base: server.base.clone(), stage, _server: server })
    }

    /// Below `/play`, `what` (such as `POST stock/holds`) is answered like this from now on.
    pub(crate) fn plays(&self, label: &str, what: &str, part: Part) {
        let mut parts = self.stage.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert((label.to_owned(), what.to_owned()), part);
    }

    /// The calls of one test, in the order of arrival.
    pub(crate) fn of(&self, label: &str) -> Vec<Effect> {
        self.stage.log.all().into_iter().filter(|effect| effect.label == label).collect()
    }
}

async fn play(
    State(stage): State<Stage>,
    method: Method,
    Path((label, path)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let what = format!("{method} {path}");
    stage.log.end(stage.log.begin((&label, &what), None, &headers, &body));
    let part = stage.parts.lock().unwrap_or_else(PoisonError::into_inner).get(&(label, what)).copied();
    let Some(part) = part else { return StatusCode::NOT_FOUND.into_response() };
    let (status, answer) = part(&serde_json::from_slice(&body).unwrap_or(Value::Null));
    (StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), Json(answer)).into_response()
}

async fn shop(
    State(stage): State<Stage>,
    Path(label): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let noted = stage.log.begin((&label, "shop"), None, &headers, &body);
    stage.log.end(noted);
    if noted.number == 1 {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "counting the stock" })))
            .into_response();
    }
    let order: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Json(json!({ "accepted": true, "order": order })).into_response()
}
