//! `/api/v1/workflows`.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::ids::WorkflowId;

use super::{
    Refused,
    extract::{Asked, At, Body, BodyOrDefault, IdempotencyKey, IfMatch},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        CacheQuery, Cleared, ExecuteWorkflow, SaveWorkflow, Submission, Tried, TryWorkflow, UpdateWorkflow,
        ValidateWorkflow, Validation, WorkflowList, WorkflowQuery, WorkflowView,
    },
    problem::Problem,
};

/// A workflow with its version as the `ETag`.
pub(super) fn versioned(status: StatusCode, view: WorkflowView) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.version)) {
        headers.insert(header::ETAG, tag);
    }
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::from_str(&format!("/api/v1/workflows/{}", view.id))
    {
        headers.insert(header::LOCATION, location);
    }
    (status, headers, Json(view)).into_response()
}

/// Lists workflows, newest first.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", operation_id = "workflow_list",
    params(WorkflowQuery),
    responses((status = 200, description = "A page of workflows", body = WorkflowList), Refused))]
pub(crate) async fn workflow_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<WorkflowQuery>,
) -> Result<Json<WorkflowList>, Problem> {
    app.deeds.workflow_list(&caller, query).await.map(Json)
}

/// Creates a workflow from a document.
///
/// Mistakes in the document come all at once, with line, column and suggestion (`invalid_document`).
#[utoipa::path(post, path = "/api/v1/workflows", tag = "workflows", operation_id = "workflow_create",
    request_body = SaveWorkflow,
    responses((status = 201, description = "The workflow, at version 1", body = WorkflowView), Refused))]
pub(crate) async fn workflow_create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<SaveWorkflow>,
) -> Result<Response, Problem> {
    let view = app.deeds.workflow_create(&caller, body).await?;
    Ok(versioned(StatusCode::CREATED, view))
}

/// Reads a workflow with its newest document.
#[utoipa::path(get, path = "/api/v1/workflows/{id}", tag = "workflows", operation_id = "workflow_get",
    params(("id" = String, Path, description = "The workflow's id")),
    responses((status = 200, description = "The workflow", body = WorkflowView), Refused))]
pub(crate) async fn workflow_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
) -> Result<Response, Problem> {
    let view = app.deeds.workflow_get(&caller, id).await?;
    Ok(versioned(StatusCode::OK, view))
}

/// Changes a workflow. A changed document becomes its next version; running executions keep theirs.
#[utoipa::path(put, path = "/api/v1/workflows/{id}", tag = "workflows", operation_id = "workflow_update",
    params(("id" = String, Path, description = "The workflow's id"),
           ("If-Match" = Option<String>, Header, description = "The version the change is based on, in quotes; another one meanwhile is answered with `stale_version`")),
    request_body = UpdateWorkflow,
    responses((status = 200, description = "The workflow as it is now", body = WorkflowView), Refused))]
pub(crate) async fn workflow_update(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    IfMatch(expected): IfMatch,
    Body(body): Body<UpdateWorkflow>,
) -> Result<Response, Problem> {
    let view = app.deeds.workflow_update(&caller, id, body, expected).await?;
    Ok(versioned(StatusCode::OK, view))
}

/// Archives a workflow: it takes no new executions, and those it has stay.
#[utoipa::path(delete, path = "/api/v1/workflows/{id}", tag = "workflows", operation_id = "workflow_delete",
    params(("id" = String, Path, description = "The workflow's id")),
    responses((status = 204, description = "It is archived"), Refused))]
pub(crate) async fn workflow_delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
) -> Result<StatusCode, Problem> {
    app.deeds.workflow_archive(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears the cache of a workflow: what its components gave is not used again.
///
/// What runs meanwhile is kept when it completes.
#[utoipa::path(delete, path = "/api/v1/workflows/{id}/cache", tag = "workflows", operation_id = "cache_clear",
    params(("id" = String, Path, description = "The workflow's id"), CacheQuery),
    responses((status = 200, description = "How many results were removed", body = Cleared), Refused))]
pub(crate) async fn cache_clear(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    Asked(query): Asked<CacheQuery>,
) -> Result<Json<Cleared>, Problem> {
    app.deeds.cache_clear(&caller, id, query).await.map(Json)
}

/// Starts an execution of the newest version.
///
/// Once this is answered with 202 the execution will run to an end, whatever stops meanwhile.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/execute", tag = "workflows", operation_id = "workflow_execute",
    params(("id" = String, Path, description = "The workflow's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key and content within 24 hours answer with the same execution and start nothing new")),
    request_body(content = Option<ExecuteWorkflow>, content_type = "application/json"),
    responses((status = 202, description = "It is accepted", body = Submission), Refused))]
pub(crate) async fn workflow_execute(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    IdempotencyKey(key): IdempotencyKey,
    BodyOrDefault(body): BodyOrDefault<ExecuteWorkflow>,
) -> Result<Response, Problem> {
    let submission = app.deeds.execute(&caller, id, body, key).await?;
    let location = format!("/api/v1/executions/{}", submission.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(submission)).into_response())
}

/// Tries a component of a document that need not be published, with what is before it.
///
/// It is an execution of that part alone, found by the tag `try`; nothing behind the component runs, and nothing is
/// saved. Components that are pinned do not run: they are taken to have ended as `pinned` or `data_from` says.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/try", tag = "workflows", operation_id = "workflow_try",
    params(("id" = String, Path, description = "The workflow's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key and content within 24 hours answer with the same execution and start nothing new")),
    request_body = TryWorkflow,
    responses((status = 202, description = "It is accepted", body = Tried), Refused))]
pub(crate) async fn workflow_try(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<TryWorkflow>,
) -> Result<Response, Problem> {
    let tried = app.deeds.workflow_try(&caller, id, body, key).await?;
    let location = format!("/api/v1/executions/{}", tried.submission.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(tried)).into_response())
}

/// Checks a document without saving it.
#[utoipa::path(post, path = "/api/v1/workflows/validate", tag = "workflows", operation_id = "workflow_validate",
    request_body = ValidateWorkflow,
    responses((status = 200, description = "What checking showed, also when there are mistakes", body = Validation), Refused))]
pub(crate) async fn workflow_validate(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<ValidateWorkflow>,
) -> Result<Json<Validation>, Problem> {
    app.deeds.workflow_validate(&caller, body.definition).await.map(Json)
}

/// Checks a saved workflow, or a document that might become its next version.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/validate", tag = "workflows", operation_id = "workflow_validate_saved",
    params(("id" = String, Path, description = "The workflow's id")),
    request_body(content = Option<ValidateWorkflow>, content_type = "application/json"),
    responses((status = 200, description = "What checking showed, also when there are mistakes", body = Validation), Refused))]
pub(crate) async fn workflow_validate_saved(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    BodyOrDefault(body): BodyOrDefault<Option<ValidateWorkflow>>,
) -> Result<Json<Validation>, Problem> {
    let definition = body.map(|body| body.definition);
    app.deeds.workflow_validate_saved(&caller, id, definition).await.map(Json)
}

/// Reads the newest document as YAML text.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/definition", tag = "workflows", operation_id = "workflow_definition",
    params(("id" = String, Path, description = "The workflow's id")),
    responses((status = 200, description = "The document", body = String, content_type = "application/yaml"), Refused))]
pub(crate) async fn workflow_definition(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
) -> Result<Response, Problem> {
    let (text, version) = app.deeds.workflow_definition(&caller, id).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/yaml".to_owned()), (header::ETAG, format!("\"{version}\""))];
    Ok((headers, text).into_response())
}
