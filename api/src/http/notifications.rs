//! `/api/v1/notifications`.

use axum::{Json, extract::State};
use shared::ids::NotificationId;

use super::{
    Refused,
    extract::{Asked, At},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{NotificationList, NotificationQuery, NotificationView},
    problem::Problem,
};

/// Lists what the caller was told.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "human tasks", operation_id = "notification_list",
    params(NotificationQuery),
    responses((status = 200, description = "A page of notifications", body = NotificationList), Refused))]
pub(crate) async fn notification_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<NotificationQuery>,
) -> Result<Json<NotificationList>, Problem> {
    app.deeds.notification_list(&caller, query).await.map(Json)
}

/// Says that a notification was read. Said again, the first time stays.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/read", tag = "human tasks", operation_id = "notification_read",
    params(("id" = String, Path, description = "The notification's id")),
    responses((status = 200, description = "The notification", body = NotificationView), Refused))]
pub(crate) async fn notification_read(
    State(app): State<App>,
    caller: Caller,
    At(id): At<NotificationId>,
) -> Result<Json<NotificationView>, Problem> {
    app.deeds.notification_read(&caller, id).await.map(Json)
}
