//! Versions, comparison and drafts: `/api/v1/workflows/{id}/versions`, `/compare`, `/draft`, `/publish`.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::ids::WorkflowId;

use super::{
    Refused,
    executions::PageQuery,
    extract::{Asked, At, Body, BodyOrDefault, IfMatch},
    workflows::versioned,
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        CompareQuery, Comparison, DraftView, PublishDraft, SaveDraft, VersionList, VersionView, WorkflowView,
    },
    problem::Problem,
};

fn revised(view: DraftView) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.revision)) {
        headers.insert(header::ETAG, tag);
    }
    (headers, Json(view)).into_response()
}

/// Lists the published versions of a workflow, newest first.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/versions", tag = "workflows", operation_id = "version_list",
    params(("id" = String, Path, description = "The workflow's id"), PageQuery),
    responses((status = 200, description = "A page of versions", body = VersionList), Refused))]
pub(crate) async fn version_list(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<VersionList>, Problem> {
    app.deeds.version_list(&caller, id, page.cursor, page.limit).await.map(Json)
}

/// Reads a published version with its document.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/versions/{version}", tag = "workflows", operation_id = "version_get",
    params(("id" = String, Path, description = "The workflow's id"),
           ("version" = u32, Path, description = "The version's number")),
    responses((status = 200, description = "The version", body = VersionView), Refused))]
pub(crate) async fn version_get(
    State(app): State<App>,
    caller: Caller,
    At((id, version)): At<(WorkflowId, u32)>,
) -> Result<Json<VersionView>, Problem> {
    app.deeds.version_get(&caller, id, version).await.map(Json)
}

/// Makes an older version the newest again: its document is published under the next number.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/versions/{version}/restore", tag = "workflows",
    operation_id = "version_restore",
    params(("id" = String, Path, description = "The workflow's id"),
           ("version" = u32, Path, description = "The version's number"),
           ("If-Match" = Option<String>, Header, description = "The newest version you saw, in quotes; another one meanwhile is answered with `stale_version`")),
    responses((status = 200, description = "The workflow as it is now", body = WorkflowView), Refused))]
pub(crate) async fn version_restore(
    State(app): State<App>,
    caller: Caller,
    At((id, version)): At<(WorkflowId, u32)>,
    IfMatch(expected): IfMatch,
) -> Result<Response, Problem> {
    let view = app.deeds.version_restore(&caller, id, version, expected).await?;
    Ok(versioned(StatusCode::OK, view))
}

/// Says what is different between two versions, or between a version and the draft.
///
/// By meaning: components, connections, parameters and triggers are compared by id. Layout, comments and the order of
/// `needs` do not show.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/compare", tag = "workflows", operation_id = "version_compare",
    params(("id" = String, Path, description = "The workflow's id"), CompareQuery),
    responses((status = 200, description = "The differences; none when both do the same", body = Comparison), Refused))]
pub(crate) async fn version_compare(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    Asked(query): Asked<CompareQuery>,
) -> Result<Json<Comparison>, Problem> {
    app.deeds.version_compare(&caller, id, query).await.map(Json)
}

/// Reads the draft of a workflow, with every mistake in it.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/draft", tag = "workflows", operation_id = "draft_get",
    params(("id" = String, Path, description = "The workflow's id")),
    responses((status = 200, description = "The draft", body = DraftView), Refused))]
pub(crate) async fn draft_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
) -> Result<Response, Problem> {
    app.deeds.draft_get(&caller, id).await.map(revised)
}

/// Keeps a draft. It may have mistakes; executions know nothing of it until it is published.
#[utoipa::path(put, path = "/api/v1/workflows/{id}/draft", tag = "workflows", operation_id = "draft_put",
    params(("id" = String, Path, description = "The workflow's id"),
           ("If-Match" = Option<String>, Header, description = "The revision the change is based on, in quotes (0 for none); another one meanwhile is answered with `stale_version`")),
    request_body = SaveDraft,
    responses((status = 200, description = "The draft as it is now", body = DraftView), Refused))]
pub(crate) async fn draft_put(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    IfMatch(expected): IfMatch,
    Body(body): Body<SaveDraft>,
) -> Result<Response, Problem> {
    app.deeds.draft_put(&caller, id, body, expected).await.map(revised)
}

/// Throws the draft away.
#[utoipa::path(delete, path = "/api/v1/workflows/{id}/draft", tag = "workflows", operation_id = "draft_delete",
    params(("id" = String, Path, description = "The workflow's id")),
    responses((status = 204, description = "It is gone"), Refused))]
pub(crate) async fn draft_delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
) -> Result<StatusCode, Problem> {
    app.deeds.draft_drop(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Publishes the draft: it becomes the next version, and new executions are of that.
#[utoipa::path(post, path = "/api/v1/workflows/{id}/publish", tag = "workflows", operation_id = "draft_publish",
    params(("id" = String, Path, description = "The workflow's id"),
           ("If-Match" = Option<String>, Header, description = "The revision you saw, in quotes; another one meanwhile is answered with `stale_version`")),
    request_body(content = Option<PublishDraft>, content_type = "application/json"),
    responses((status = 200, description = "The workflow at its new version", body = WorkflowView), Refused))]
pub(crate) async fn draft_publish(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    IfMatch(expected): IfMatch,
    BodyOrDefault(body): BodyOrDefault<PublishDraft>,
) -> Result<Response, Problem> {
    let view = app.deeds.draft_publish(&caller, id, body, expected).await?;
    Ok(versioned(StatusCode::OK, view))
}
