//! Component types, schemas, workers, dead letters, payloads.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use shared::{
    component::Notice,
    ids::{DeadLetterId, ExecutionId, PayloadId, TenantId},
};

use super::{
    Refused,
    extract::{Asked, At, Body},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        ComponentList, ComponentType, DeadLetterList, DeadLetterQuery, DeadLetterView, PurgeDeadLetters,
        Purged, Replayed, Statistics, StatisticsQuery, WorkerList,
    },
    problem::{Code, Problem},
};

/// Lists every component type with its schema.
#[utoipa::path(get, path = "/api/v1/components", tag = "components", operation_id = "component_list",
    responses((status = 200, description = "All component types, in the order of the palette", body = ComponentList), Refused))]
pub(crate) async fn component_list(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<ComponentList>, Problem> {
    app.deeds.component_list(&caller).map(Json)
}

/// Reads one component type by its name or an alias.
#[utoipa::path(get, path = "/api/v1/components/{type}", tag = "components", operation_id = "component_get",
    params(("type" = String, Path, description = "What authors write as `type`")),
    responses((status = 200, description = "The component type", body = ComponentType), Refused))]
pub(crate) async fn component_get(
    State(app): State<App>,
    caller: Caller,
    At(kind): At<String>,
) -> Result<Json<ComponentType>, Problem> {
    app.deeds.component_get(&caller, &kind).map(Json)
}

/// Reads the JSON Schema of workflow documents, for editors.
#[utoipa::path(get, path = "/api/v1/schemas/workflow.json", tag = "components", operation_id = "workflow_schema",
    responses((status = 200, description = "A JSON Schema (2020-12)", body = Value, content_type = "application/schema+json"), Refused))]
pub(crate) async fn workflow_schema(State(app): State<App>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/schema+json")],
        Json(app.deeds.workflow_schema()).into_response().into_body(),
    )
        .into_response()
}

/// Reads the JSON Schema of test files (`<name>.test.yaml`), for editors.
#[utoipa::path(get, path = "/api/v1/schemas/workflow-test.json", tag = "components", operation_id = "workflow_test_schema",
    responses((status = 200, description = "A JSON Schema (2020-12)", body = Value, content_type = "application/schema+json"), Refused))]
pub(crate) async fn workflow_test_schema() -> Response {
    (
        [(header::CONTENT_TYPE, "application/schema+json")],
        Json(shared::workflow::cases::test_schema()).into_response().into_body(),
    )
        .into_response()
}

/// Lists workers that were heard of within 30 seconds.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers", operation_id = "worker_list",
    responses((status = 200, description = "All of them", body = WorkerList), Refused))]
pub(crate) async fn worker_list(State(app): State<App>, caller: Caller) -> Result<Json<WorkerList>, Problem> {
    app.deeds.worker_list(&caller).await.map(Json)
}

/// How many executions were accepted, how they ended and how long they took, by slots of time.
#[utoipa::path(get, path = "/api/v1/statistics", tag = "executions", operation_id = "statistics",
    params(StatisticsQuery),
    responses((status = 200, description = "The slots", body = Statistics), Refused))]
pub(crate) async fn statistics(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<StatisticsQuery>,
) -> Result<Json<Statistics>, Problem> {
    app.deeds.statistics(&caller, query).await.map(Json)
}

/// Lists messages nobody could use, newest first.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "dead letters", operation_id = "dead_letter_list",
    params(DeadLetterQuery),
    responses((status = 200, description = "A page of dead letters", body = DeadLetterList), Refused))]
pub(crate) async fn dead_letter_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<DeadLetterQuery>,
) -> Result<Json<DeadLetterList>, Problem> {
    app.deeds.dead_letter_list(&caller, query).await.map(Json)
}

/// Removes the dead letters that a query finds, oldest first, at most 10,000 of them.
#[utoipa::path(post, path = "/api/v1/dead-letters/purge", tag = "dead letters", operation_id = "dead_letter_purge",
    request_body = PurgeDeadLetters,
    responses((status = 200, description = "How many were removed", body = Purged), Refused))]
pub(crate) async fn dead_letter_purge(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PurgeDeadLetters>,
) -> Result<Json<Purged>, Problem> {
    app.deeds.dead_letter_purge(&caller, body).await.map(Json)
}

/// Reads a dead letter with its content.
#[utoipa::path(get, path = "/api/v1/dead-letters/{id}", tag = "dead letters", operation_id = "dead_letter_get",
    params(("id" = String, Path, description = "The dead letter's id")),
    responses((status = 200, description = "The dead letter", body = DeadLetterView), Refused))]
pub(crate) async fn dead_letter_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<DeadLetterId>,
) -> Result<Json<DeadLetterView>, Problem> {
    app.deeds.dead_letter_get(&caller, id).await.map(Json)
}

/// Sends a dead letter again, and drops it once the broker holds it.
#[utoipa::path(post, path = "/api/v1/dead-letters/{id}/replay", tag = "dead letters", operation_id = "dead_letter_replay",
    params(("id" = String, Path, description = "The dead letter's id")),
    responses((status = 200, description = "It was sent", body = Replayed), Refused))]
pub(crate) async fn dead_letter_replay(
    State(app): State<App>,
    caller: Caller,
    At(id): At<DeadLetterId>,
) -> Result<Json<Replayed>, Problem> {
    app.deeds.dead_letter_replay(&caller, id).await.map(Json)
}

/// Drops a dead letter.
#[utoipa::path(delete, path = "/api/v1/dead-letters/{id}", tag = "dead letters", operation_id = "dead_letter_delete",
    params(("id" = String, Path, description = "The dead letter's id")),
    responses((status = 204, description = "It is gone"), Refused))]
pub(crate) async fn dead_letter_delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<DeadLetterId>,
) -> Result<StatusCode, Problem> {
    app.deeds.dead_letter_remove(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a value that is too large to stand in an answer.
#[utoipa::path(get, path = "/api/v1/payloads/{execution}/{id}", tag = "executions", operation_id = "payload_get",
    params(("execution" = String, Path, description = "The execution's id"),
           ("id" = String, Path, description = "The payload's id")),
    responses((status = 200, description = "Its bytes; `application/json` when they are JSON", content_type = "application/octet-stream"), Refused))]
pub(crate) async fn payload_get(
    State(app): State<App>,
    caller: Caller,
    At((execution, id)): At<(ExecutionId, PayloadId)>,
) -> Result<Response, Problem> {
    let bytes = app.deeds.payload_get(&caller, execution, id).await?;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
    let mut headers = HeaderMap::new();
    let kind = if is_json { "application/json" } else { "application/octet-stream" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // A workflow's bytes are never shown as a page of ours.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok((headers, bytes).into_response())
}

/// Refuses whoever does not show the workers' secret.
fn must_be_worker(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(secret) = &app.config.worker_token else {
        return Err(Problem::new(
            Code::Forbidden,
            "The worker gateway is closed: no `worker_token` is configured.",
        ));
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("Bearer "))
        .unwrap_or_default();
    // Hashes, so that the time to compare says nothing about how much of the secret was right.
    if Sha256::digest(given.trim()) == Sha256::digest(secret.reveal()) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Unauthorized,
        "The worker gateway wants `Authorization: Bearer` and the worker token.",
    ))
}

/// Whose task it is of which a worker speaks.
fn tenant_of(headers: &HeaderMap) -> Result<TenantId, Problem> {
    match headers.get("x-tenant-id") {
        None => Ok(TenantId::DEFAULT),
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Problem::new(Code::InvalidHeader, "`X-Tenant-Id` is not a tenant id.")),
    }
}

/// Keeps what a worker tells people (`X-Tenant-Id` names the tenant; without it, the default one).
pub(crate) async fn worker_notices_put(
    State(app): State<App>,
    At(execution): At<ExecutionId>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Problem> {
    must_be_worker(&app, &headers)?;
    let tenant = tenant_of(&headers)?;
    let notices = Json::<Vec<Notice>>::from_request(request, &app).await.map_err(|rejection| {
        Problem::new(Code::InvalidBody, format!("The body is not a list of notices: {rejection}."))
    })?;
    app.deeds.worker_notices_put(tenant, execution, notices.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps a payload that a worker made (`X-Tenant-Id` names the tenant; without it, the default one).
pub(crate) async fn worker_payload_put(
    State(app): State<App>,
    At((execution, id)): At<(ExecutionId, PayloadId)>,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Problem> {
    must_be_worker(&app, &headers)?;
    let tenant = tenant_of(&headers)?;
    let bytes = Bytes::from_request(request, &app).await.map_err(|rejection| {
        let limit = app.config.payload_limit_bytes;
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(Code::BodyTooLarge, format!("A payload has at most {limit} bytes."))
        } else {
            Problem::new(Code::InvalidBody, format!("The body broke off: {rejection}."))
        }
    })?;
    app.deeds.worker_payload_put(tenant, execution, id, bytes.to_vec()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a payload for a worker.
pub(crate) async fn worker_payload_get(
    State(app): State<App>,
    At((execution, id)): At<(ExecutionId, PayloadId)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    must_be_worker(&app, &headers)?;
    let bytes = app.deeds.worker_payload_get(execution, id).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}
