//! The room of a draft: a WebSocket over which people draw together.

use std::time::Duration;

use axum::{
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    response::Response,
};
use serde::Deserialize;
use shared::ids::WorkflowId;
use utoipa::IntoParams;

use super::extract::{Asked, At};
use crate::{
    app::App,
    caller::Caller,
    problem::{Code, Problem},
    rooms::Ending,
};

/// How long somebody stays in a room whose session has ended.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(20);

/// What is to be shared.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RoomQuery {
    /// The beginning of the caller's document. When the document of the room has another one, the connection is closed
    /// with 4409 and that one as the reason; the first to come decides.
    pub line: u32,
}

/// Joins those who draw a draft together: a WebSocket that speaks the protocol of y-websocket (see the designer's guide).
#[utoipa::path(get, path = "/api/v1/workflows/{id}/draft/room", tag = "workflows", operation_id = "draft_room",
    params(("id" = String, Path, description = "The workflow's id"), RoomQuery),
    responses((status = 101, description = "From here on it is a WebSocket"), super::Refused))]
pub(crate) async fn draft_room(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    Asked(query): Asked<RoomQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Problem::new(Code::InvalidHeader, "This path is a WebSocket; the request asks for none.")
    })?;
    let joined = app.hall.join(&caller, id, query.line).await?;
    let hall = app.hall.clone();
    let largest = hall.limits().frame;
    Ok(upgrade
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| async move { hall.serve(socket, joined, turned_out(&app, &caller)).await }))
}

/// Waits until whoever was let in may not stay. What cannot be found out is asked again.
async fn turned_out(app: &App, caller: &Caller) -> Ending {
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        match app.sign_in.may_stay(caller).await {
            Ok(true) | Err(_) => {}
            Ok(false) => return Ending::SIGNED_OUT,
        }
    }
}
