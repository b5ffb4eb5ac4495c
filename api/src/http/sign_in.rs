//! Signing in and out, and where one is signed in.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::ids::SessionId;

use super::{
    Refused,
    extract::{At, Body},
    gate,
};
use crate::{
    app::App,
    caller::Caller,
    problem::Problem,
    sign_in::{Link, NewLink, NewPassword, Opener, OwnSessionList, SessionView, Setup, SignInAs, Visitor},
};

/// An answer with which a session begins.
fn begun(
    app: &App,
    headers: &HeaderMap,
    status: StatusCode,
    (opener, view): (Opener, SessionView),
) -> Result<Response, Problem> {
    let cookie = gate::cookie(&app.config, headers, Some(opener.reveal()))?;
    Ok((status, [(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// Says who is signed in.
#[utoipa::path(get, path = "/api/v1/auth/session", tag = "sign-in", operation_id = "session_get",
    responses((status = 200, description = "Who is signed in, if anybody", body = SessionView), Refused))]
pub(crate) async fn session_get(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<SessionView>, Problem> {
    app.sign_in.session(gate::session(&app.config, &headers)).await.map(Json)
}

/// Uses a link: makes the first owner, or gives somebody a new password, and signs them in.
#[utoipa::path(post, path = "/api/v1/setup", tag = "sign-in", operation_id = "setup", request_body = Setup,
    responses((status = 201, description = "Signed in; the cookie keeps the session", body = SessionView), Refused))]
pub(crate) async fn setup(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Body(setup): Body<Setup>,
) -> Result<Response, Problem> {
    begun(&app, &headers, StatusCode::CREATED, app.sign_in.setup(setup, &visitor).await?)
}

/// Signs somebody in.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "sign-in", operation_id = "session_begin", request_body = SignInAs,
    responses((status = 200, description = "Signed in; the cookie keeps the session", body = SessionView), Refused))]
pub(crate) async fn session_begin(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Body(who): Body<SignInAs>,
) -> Result<Response, Problem> {
    begun(&app, &headers, StatusCode::OK, app.sign_in.sign_in(who, &visitor).await?)
}

/// Signs out: the session that asks has ended.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "sign-in", operation_id = "session_end",
    responses((status = 204, description = "Signed out"), Refused))]
pub(crate) async fn session_end(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.sign_in.sign_out(&caller).await?;
    let cookie = gate::cookie(&app.config, &headers, None)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Makes a link that works once, for a day: it makes the first owner, or gives somebody a new password.
#[utoipa::path(post, path = "/api/v1/auth/links", tag = "sign-in", operation_id = "link_create", request_body = NewLink,
    responses((status = 201, description = "The link; show it to whom it is for", body = Link), Refused))]
pub(crate) async fn link_create(
    State(app): State<App>,
    caller: Caller,
    Body(link): Body<NewLink>,
) -> Result<(StatusCode, Json<Link>), Problem> {
    let link = app.sign_in.link(&caller, &app.config.base_url(), link).await?;
    Ok((StatusCode::CREATED, Json(link)))
}

/// Lists where the caller is signed in.
#[utoipa::path(get, path = "/api/v1/me/sessions", tag = "sign-in", operation_id = "own_session_list",
    responses((status = 200, description = "All sessions of the caller, the latest first", body = OwnSessionList), Refused))]
pub(crate) async fn own_session_list(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<OwnSessionList>, Problem> {
    app.sign_in.own_sessions(&caller).await.map(Json)
}

/// Ends a session of the caller.
#[utoipa::path(delete, path = "/api/v1/me/sessions/{id}", tag = "sign-in", operation_id = "own_session_end",
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It has ended"), Refused))]
pub(crate) async fn own_session_end(
    State(app): State<App>,
    caller: Caller,
    At(id): At<SessionId>,
) -> Result<StatusCode, Problem> {
    app.sign_in.end_session(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the caller's password. All their sessions end; this browser gets a new one.
#[utoipa::path(post, path = "/api/v1/me/password", tag = "sign-in", operation_id = "own_password_put", request_body = NewPassword,
    responses((status = 200, description = "Replaced; the cookie keeps the new session", body = SessionView), Refused))]
pub(crate) async fn own_password_put(
    State(app): State<App>,
    caller: Caller,
    visitor: Visitor,
    headers: HeaderMap,
    Body(password): Body<NewPassword>,
) -> Result<Response, Problem> {
    begun(&app, &headers, StatusCode::OK, app.sign_in.new_password(&caller, password, &visitor).await?)
}
