//! `/api/v1/human-tasks`.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use shared::{execution::AnswerVerdict, ids::HumanTaskId};

use super::{
    Refused,
    extract::{Asked, At, Body, BodyOrDefault},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        AnswerHumanTask, Answered, ClaimHumanTask, DelegateHumanTask, HumanTaskList, HumanTaskQuery,
        HumanTaskView, Links, MakeLinks, NotYet,
    },
    problem::Problem,
};

/// Lists what people are asked: an inbox.
#[utoipa::path(get, path = "/api/v1/human-tasks", tag = "human tasks", operation_id = "human_task_list",
    params(HumanTaskQuery),
    responses((status = 200, description = "A page of human tasks", body = HumanTaskList), Refused))]
pub(crate) async fn human_task_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<HumanTaskQuery>,
) -> Result<Json<HumanTaskList>, Problem> {
    app.deeds.human_task_list(&caller, query).await.map(Json)
}

/// Reads a human task with its answers.
#[utoipa::path(get, path = "/api/v1/human-tasks/{id}", tag = "human tasks", operation_id = "human_task_get",
    params(("id" = String, Path, description = "The human task's id")),
    responses((status = 200, description = "The human task", body = HumanTaskView), Refused))]
pub(crate) async fn human_task_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
) -> Result<Json<HumanTaskView>, Problem> {
    app.deeds.human_task_get(&caller, id).await.map(Json)
}

/// What a deed of a person is answered with.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, clippy::large_enum_variant, reason = "none is made: the description alone reads it")]
enum Answer {
    /// It counts: the human task as it is now.
    #[response(status = 200)]
    Now(HumanTaskView),
    /// It is kept; look later what became of it.
    #[response(status = 202)]
    Later(NotYet),
}

fn answer(answered: Answered) -> Response {
    match answered {
        Answered::Now(view) => Json(view).into_response(),
        Answered::Later(later) => (StatusCode::ACCEPTED, Json(later)).into_response(),
    }
}

/// Approves.
///
/// The first answer of each assignee counts. The answer is definitive: 200 when it counts, 409 with who was
/// first when it does not, and 202 only when no coordinator decided it within ten seconds.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/approve", tag = "human tasks", operation_id = "human_task_approve",
    params(("id" = String, Path, description = "The human task's id")),
    request_body(content = Option<AnswerHumanTask>, content_type = "application/json"),
    responses(Answer, Refused))]
pub(crate) async fn human_task_approve(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    BodyOrDefault(body): BodyOrDefault<AnswerHumanTask>,
) -> Result<Response, Problem> {
    app.deeds.human_task_answer(&caller, id, AnswerVerdict::Approve, body).await.map(answer)
}

/// Rejects.
///
/// One rejection rejects, whatever the quorum. Answered as `approve` is.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/reject", tag = "human tasks", operation_id = "human_task_reject",
    params(("id" = String, Path, description = "The human task's id")),
    request_body(content = Option<AnswerHumanTask>, content_type = "application/json"),
    responses(Answer, Refused))]
pub(crate) async fn human_task_reject(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    BodyOrDefault(body): BodyOrDefault<AnswerHumanTask>,
) -> Result<Response, Problem> {
    app.deeds.human_task_answer(&caller, id, AnswerVerdict::Reject, body).await.map(answer)
}

/// Hands in what a human task asks for.
///
/// `data` is checked against the form, and every wrong field is listed. Answered as `approve` is.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/submit", tag = "human tasks", operation_id = "human_task_submit",
    params(("id" = String, Path, description = "The human task's id")),
    request_body(content = Option<AnswerHumanTask>, content_type = "application/json"),
    responses(Answer, Refused))]
pub(crate) async fn human_task_submit(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    BodyOrDefault(body): BodyOrDefault<AnswerHumanTask>,
) -> Result<Response, Problem> {
    app.deeds.human_task_answer(&caller, id, AnswerVerdict::Submit, body).await.map(answer)
}

/// Takes a human task on, so that nobody else does the same work.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/claim", tag = "human tasks", operation_id = "human_task_claim",
    params(("id" = String, Path, description = "The human task's id")),
    request_body(content = Option<ClaimHumanTask>, content_type = "application/json"),
    responses(Answer, Refused))]
pub(crate) async fn human_task_claim(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    BodyOrDefault(body): BodyOrDefault<ClaimHumanTask>,
) -> Result<Response, Problem> {
    app.deeds.human_task_claim(&caller, id, body).await.map(answer)
}

/// Hands a human task to somebody else.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/delegate", tag = "human tasks", operation_id = "human_task_delegate",
    params(("id" = String, Path, description = "The human task's id")),
    request_body = DelegateHumanTask,
    responses(Answer, Refused))]
pub(crate) async fn human_task_delegate(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    Body(body): Body<DelegateHumanTask>,
) -> Result<Response, Problem> {
    app.deeds.human_task_delegate(&caller, id, body).await.map(answer)
}

/// Makes two signed links, for a mail, with which an assignee decides once.
#[utoipa::path(post, path = "/api/v1/human-tasks/{id}/links", tag = "human tasks", operation_id = "human_task_links",
    params(("id" = String, Path, description = "The human task's id")),
    request_body = MakeLinks,
    responses((status = 201, description = "The links", body = Links), Refused))]
pub(crate) async fn human_task_links(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HumanTaskId>,
    Body(body): Body<MakeLinks>,
) -> Result<Response, Problem> {
    let links = app.deeds.links_make(&caller, id, body).await?;
    Ok((StatusCode::CREATED, Json(links)).into_response())
}
