//! The HTTP face: routes, and how problems are written. Every handler reads, does one deed, and answers.

mod decide;
mod executions;
mod extract;
mod frame;
mod gate;
mod human_tasks;
mod notifications;
mod operations;
mod pages;
mod rooms;
mod sign_in;
mod system;
mod triggers;
mod ui;
mod versions;
mod workflows;

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use utoipa::{
    IntoResponses, OpenApi, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response as Answer, ResponseBuilder},
};

pub use operations::operations_router;

use crate::{
    app::App,
    problem::{Code, Mistake, Problem, ProblemBody},
};

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
        }
        if self.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The refusals that any deed may be answered with, for the OpenAPI document.
pub(crate) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        let answer = |description: &str| {
            let content = ContentBuilder::new()
                .schema(Some(RefOr::Ref(Ref::from_schema_name(ProblemBody::name()))))
                .build();
            RefOr::T(
                ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", content)
                    .build(),
            )
        };
        BTreeMap::from([
            ("4XX".to_owned(), answer("The request cannot be done as it is; `code` says why.")),
            ("429".to_owned(), answer("Too much at once; `Retry-After` says when to try again.")),
            ("500".to_owned(), answer("A fault of the server.")),
            (
                "503".to_owned(),
                answer("The store or the queue is unavailable; `Retry-After` says when to try again."),
            ),
        ])
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "APG Workflow Orchestration",
        description = "Draw a business process as a graph of components, submit it, and it runs to its end. \
                       Lists answer `{items, next_cursor}`; errors are problem documents (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        workflows::workflow_list,
        workflows::workflow_create,
        workflows::workflow_validate,
        workflows::workflow_get,
        workflows::workflow_update,
        workflows::workflow_delete,
        workflows::cache_clear,
        workflows::workflow_execute,
        workflows::workflow_try,
        workflows::workflow_validate_saved,
        workflows::workflow_definition,
        versions::version_list,
        versions::version_get,
        versions::version_restore,
        versions::version_compare,
        versions::draft_get,
        versions::draft_put,
        versions::draft_delete,
        versions::draft_publish,
        rooms::draft_room,
        executions::execution_list,
        executions::execution_get,
        executions::execution_cancel,
        executions::execution_kill,
        executions::execution_pause,
        executions::execution_resume,
        executions::execution_retry,
        executions::execution_move,
        executions::execution_bulk,
        executions::execution_signal,
        executions::execution_waits,
        executions::execution_logs,
        executions::execution_tasks,
        executions::execution_journal,
        executions::execution_late,
        executions::execution_export,
        executions::execution_why,
        executions::execution_events,
        executions::execution_progress,
        human_tasks::human_task_list,
        human_tasks::human_task_get,
        human_tasks::human_task_approve,
        human_tasks::human_task_reject,
        human_tasks::human_task_submit,
        human_tasks::human_task_claim,
        human_tasks::human_task_delegate,
        human_tasks::human_task_links,
        notifications::notification_list,
        notifications::notification_read,
        triggers::trigger_list,
        triggers::workflow_triggers,
        triggers::trigger_get,
        triggers::trigger_pause,
        triggers::trigger_resume,
        triggers::trigger_next,
        triggers::trigger_rotate,
        triggers::trigger_fire,
        triggers::trigger_fires,
        triggers::trigger_receipts,
        triggers::receipt_get,
        triggers::receipt_replay,
        triggers::backfill_create,
        triggers::backfill_list,
        triggers::backfill_get,
        triggers::backfill_pause,
        triggers::backfill_resume,
        triggers::backfill_cancel,
        triggers::event_publish,
        triggers::event_list,
        triggers::webhook_call,
        system::component_list,
        system::component_get,
        system::workflow_schema,
        system::workflow_test_schema,
        system::worker_list,
        system::statistics,
        system::dead_letter_list,
        system::dead_letter_purge,
        system::dead_letter_get,
        system::dead_letter_replay,
        system::dead_letter_delete,
        system::payload_get,
        sign_in::session_get,
        sign_in::setup,
        sign_in::session_begin,
        sign_in::session_end,
        sign_in::link_create,
        sign_in::own_session_list,
        sign_in::own_session_end,
        sign_in::own_password_put,
        operations::health,
        operations::health_detailed,
        operations::metrics,
    ),
    components(schemas(
        ProblemBody,
        Mistake,
        crate::deeds::NotYet,
        crate::deeds::ProgressView,
        crate::deeds::DifferenceView
    )),
    tags(
        (name = "workflows", description = "What is to be done: documents and their versions."),
        (name = "executions", description = "What was and is being done."),
        (name = "human tasks", description = "What people are asked: approvals and work."),
        (name = "triggers", description = "What starts workflows by itself."),
        (name = "components", description = "What workflows are made of."),
        (name = "workers", description = "Who does it."),
        (name = "dead letters", description = "Messages nobody could use."),
        (name = "sign-in", description = "Who asks. Programs show a key in `X-API-Key`, or as `Authorization: Bearer`."),
        (name = "operations", description = "Health and metrics."),
    )
)]
pub(crate) struct Document;

async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format_args!("path `{}`", uri.path().escape_debug()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("`{}` does not take {method}.", uri.path().escape_debug()))
}

/// Every route of the API.
pub(crate) fn routes(app: App) -> Router {
    let payloads = get(system::worker_payload_get)
        .put(system::worker_payload_put)
        .layer(DefaultBodyLimit::max(app.config.payload_limit_bytes));
    let notices = axum::routing::put(system::worker_notices_put)
        .layer(DefaultBodyLimit::max(app.config.payload_limit_bytes));
    Router::new()
        .route("/", get(ui::home))
        .route("/workflow_orchestration", get(ui::page))
        .route("/workflow_orchestration/", get(ui::page))
        .route("/workflow_orchestration/assets/{*name}", get(ui::asset))
        .route("/workflow_orchestration/{*path}", get(ui::page))
        .route("/assets/style.css", get(pages::style))
        .route("/docs/errors", get(pages::error_list))
        .route("/docs/errors/{code}", get(pages::error_page))
        .route("/health", get(operations::health))
        .route("/health/detailed", get(operations::health_detailed))
        .route("/metrics", get(operations::metrics))
        .route("/api/v1/docs", get(pages::docs))
        .route("/api/v1/openapi.json", get(pages::openapi_json))
        .route("/api/v1/setup", post(sign_in::setup))
        .route("/api/v1/auth/session", get(sign_in::session_get))
        .route("/api/v1/auth/login", post(sign_in::session_begin))
        .route("/api/v1/auth/logout", post(sign_in::session_end))
        .route("/api/v1/auth/links", post(sign_in::link_create))
        .route("/api/v1/me/sessions", get(sign_in::own_session_list))
        .route("/api/v1/me/sessions/{id}", delete(sign_in::own_session_end))
        .route("/api/v1/me/password", post(sign_in::own_password_put))
        .route("/api/v1/workflows", get(workflows::workflow_list).post(workflows::workflow_create))
        .route("/api/v1/workflows/validate", post(workflows::workflow_validate))
        .route(
            "/api/v1/workflows/{id}",
            get(workflows::workflow_get).put(workflows::workflow_update).delete(workflows::workflow_delete),
        )
        .route("/api/v1/workflows/{id}/cache", delete(workflows::cache_clear))
        .route("/api/v1/workflows/{id}/execute", post(workflows::workflow_execute))
        .route("/api/v1/workflows/{id}/try", post(workflows::workflow_try))
        .route("/api/v1/workflows/{id}/validate", post(workflows::workflow_validate_saved))
        .route("/api/v1/workflows/{id}/definition", get(workflows::workflow_definition))
        .route("/api/v1/workflows/{id}/versions", get(versions::version_list))
        .route("/api/v1/workflows/{id}/versions/{version}", get(versions::version_get))
        .route("/api/v1/workflows/{id}/versions/{version}/restore", post(versions::version_restore))
        .route("/api/v1/workflows/{id}/compare", get(versions::version_compare))
        .route(
            "/api/v1/workflows/{id}/draft",
            get(versions::draft_get).put(versions::draft_put).delete(versions::draft_delete),
        )
        .route("/api/v1/workflows/{id}/draft/room", get(rooms::draft_room))
        .route("/api/v1/workflows/{id}/publish", post(versions::draft_publish))
        .route("/api/v1/executions", get(executions::execution_list))
        .route("/api/v1/executions/{id}", get(executions::execution_get))
        .route("/api/v1/executions/{id}/cancel", post(executions::execution_cancel))
        .route("/api/v1/executions/{id}/kill", post(executions::execution_kill))
        .route("/api/v1/executions/{id}/pause", post(executions::execution_pause))
        .route("/api/v1/executions/{id}/resume", post(executions::execution_resume))
        .route("/api/v1/executions/{id}/retry", post(executions::execution_retry))
        .route("/api/v1/executions/{id}/progress", get(executions::execution_progress))
        .route("/api/v2/executions/{id}/move", post(executions::execution_move))
        .route("/api/v2/executions/bulk", post(executions::execution_bulk))
        .route("/api/v1/executions/{id}/signals", post(executions::execution_signal))
        .route("/api/v1/executions/{id}/waits", get(executions::execution_waits))
        .route("/api/v1/executions/{id}/logs", get(executions::execution_logs))
        .route("/api/v1/executions/{id}/tasks", get(executions::execution_tasks))
        .route("/api/v1/executions/{id}/journal", get(executions::execution_journal))
        .route("/api/v1/executions/{id}/late-results", get(executions::execution_late))
        .route("/api/v2/executions/{id}/export", get(executions::execution_export))
        .route("/api/v1/executions/{id}/why", get(executions::execution_why))
        .route("/api/v1/executions/{id}/events", get(executions::execution_events))
        .route("/api/v1/human-tasks", get(human_tasks::human_task_list))
        .route("/api/v1/human-tasks/{id}", get(human_tasks::human_task_get))
        .route("/api/v1/human-tasks/{id}/approve", post(human_tasks::human_task_approve))
        .route("/api/v1/human-tasks/{id}/reject", post(human_tasks::human_task_reject))
        .route("/api/v1/human-tasks/{id}/submit", post(human_tasks::human_task_submit))
        .route("/api/v1/human-tasks/{id}/claim", post(human_tasks::human_task_claim))
        .route("/api/v1/human-tasks/{id}/delegate", post(human_tasks::human_task_delegate))
        .route("/api/v1/human-tasks/{id}/links", post(human_tasks::human_task_links))
        .route("/api/v1/notifications", get(notifications::notification_list))
        .route("/api/v1/notifications/{id}/read", post(notifications::notification_read))
        .route("/decide/{token}", get(decide::decide_page).post(decide::decide))
        .route("/api/v1/workflows/{id}/triggers", get(triggers::workflow_triggers))
        .route("/api/v1/triggers", get(triggers::trigger_list))
        .route("/api/v1/triggers/{id}", get(triggers::trigger_get))
        .route("/api/v1/triggers/{id}/pause", post(triggers::trigger_pause))
        .route("/api/v1/triggers/{id}/resume", post(triggers::trigger_resume))
        .route("/api/v1/triggers/{id}/next", get(triggers::trigger_next))
        .route("/api/v1/triggers/{id}/rotate", post(triggers::trigger_rotate))
        .route("/api/v1/triggers/{id}/fire", post(triggers::trigger_fire))
        .route("/api/v1/triggers/{id}/fires", get(triggers::trigger_fires))
        .route("/api/v1/triggers/{id}/receipts", get(triggers::trigger_receipts))
        .route("/api/v1/triggers/{id}/backfills", post(triggers::backfill_create))
        .route("/api/v1/receipts/{id}", get(triggers::receipt_get))
        .route("/api/v1/receipts/{id}/replay", post(triggers::receipt_replay))
        .route("/api/v1/backfills", get(triggers::backfill_list))
        .route("/api/v1/backfills/{id}", get(triggers::backfill_get))
        .route("/api/v1/backfills/{id}/pause", post(triggers::backfill_pause))
        .route("/api/v1/backfills/{id}/resume", post(triggers::backfill_resume))
        .route("/api/v1/backfills/{id}/cancel", post(triggers::backfill_cancel))
        .route("/api/v1/events", get(triggers::event_list).post(triggers::event_publish))
        .route("/webhooks/{id}", any(triggers::webhook_call))
        .route("/webhooks/{id}/{*path}", any(triggers::webhook_call))
        .route("/api/v1/components", get(system::component_list))
        .route("/api/v1/components/{type}", get(system::component_get))
        .route("/api/v1/schemas/workflow.json", get(system::workflow_schema))
        .route("/api/v1/schemas/workflow-test.json", get(system::workflow_test_schema))
        .route("/api/v1/workers", get(system::worker_list))
        .route("/api/v1/statistics", get(system::statistics))
        .route("/api/v1/dead-letters", get(system::dead_letter_list))
        .route("/api/v1/dead-letters/purge", post(system::dead_letter_purge))
        .route("/api/v1/dead-letters/{id}", get(system::dead_letter_get).delete(system::dead_letter_delete))
        .route("/api/v1/dead-letters/{id}/replay", post(system::dead_letter_replay))
        .route("/api/v1/payloads/{execution}/{id}", get(system::payload_get))
        .route("/internal/payloads/{execution}/{id}", payloads)
        .route("/internal/notifications/{execution}", notices)
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_path)
        .layer(DefaultBodyLimit::max(app.config.body_limit_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}
