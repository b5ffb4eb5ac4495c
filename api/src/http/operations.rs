//! Health and metrics, for the API and for processes that serve nothing else.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    caller::Caller,
    health::{self, Check, Condition, Health, VERSION},
    metrics::{self, Machine, Meter, Sample, write_samples},
    problem::Problem,
};

const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// That the process lives.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `ok`.
    pub status: Condition,
    /// The release that answers.
    pub version: &'static str,
}

const ALIVE: Alive = Alive { status: Condition::Ok, version: VERSION };

/// Says that the process lives. Asks nothing else, so it is cheap.
#[utoipa::path(get, path = "/health", tag = "operations", operation_id = "health",
    responses((status = 200, description = "It lives", body = Alive)))]
pub(crate) async fn health() -> Json<Alive> {
    Json(ALIVE)
}

fn answer(health: Health) -> Response {
    let status = match health.status {
        Condition::Ok | Condition::Degraded => StatusCode::OK,
        Condition::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health)).into_response()
}

/// Says how the process and what it stands on do.
#[utoipa::path(get, path = "/health/detailed", tag = "operations", operation_id = "health_detailed",
    responses((status = 200, description = "It works, perhaps with something missing", body = Health),
              (status = 503, description = "It does not work", body = Health)))]
pub(crate) async fn health_detailed(State(app): State<App>) -> Response {
    let mut health = health::look(&app.checks).await;
    if health.status != Condition::Down
        && let Ok(workers) = app.deeds.worker_list(&Caller::owner()).await
    {
        let able = workers.items.iter().filter(|worker| !worker.draining).count();
        health.workers = Some(able);
        if able == 0 && health.status == Condition::Ok {
            health.status = Condition::Degraded;
        }
    }
    answer(health)
}

/// Reads every metric of this process, as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = metrics::text(&app).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TEXT)], text).into_response())
}

struct Operations {
    meters: Vec<Meter>,
    checks: Vec<Check>,
    machine: Machine,
}

/// `/health`, `/health/detailed` and `/metrics` alone: for processes without the API.
pub fn operations_router(meters: Vec<Meter>, checks: Vec<Check>) -> Router {
    let operations = Arc::new(Operations { meters, checks, machine: Machine::new() });
    Router::new()
        .route("/health", get(health))
        .route(
            "/health/detailed",
            get(|State(operations): State<Arc<Operations>>| async move {
                answer(health::look(&operations.checks).await)
            }),
        )
        .route(
            "/metrics",
            get(|State(operations): State<Arc<Operations>>| async move {
                let mut samples: Vec<Sample> = operations.machine.samples();
                samples.extend(operations.meters.iter().flat_map(|meter| meter()));
                ([(header::CONTENT_TYPE, METRICS_TEXT)], write_samples(&samples))
            }),
        )
        .with_state(operations)
}
