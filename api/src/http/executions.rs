//! `/api/v1/executions`.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body as Stream,
    extract::State,
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::StreamExt;
use serde::Deserialize;
use shared::{ids::ExecutionId, port::store::StoreError};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;
use utoipa::IntoParams;

use super::{
    Refused,
    extract::{Asked, At, Body, BodyOrDefault, IdempotencyKey},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        BulkExecutions, BulkReport, CancelExecution, Cancelled, ExecutionList, ExecutionQuery, ExecutionView,
        JournalList, LateList, LogList, LogQuery, Moment, MomentQuery, MoveExecution, MovedView,
        PauseExecution, Retried, RetryExecution, SendSignal, Sight, SignalSent, Standing, TaskList, WaitList,
        Why,
    },
    problem::Problem,
};

/// A page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Lists executions, newest first.
#[utoipa::path(get, path = "/api/v1/executions", tag = "executions", operation_id = "execution_list",
    params(ExecutionQuery),
    responses((status = 200, description = "A page of executions", body = ExecutionList), Refused))]
pub(crate) async fn execution_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<ExecutionQuery>,
) -> Result<Json<ExecutionList>, Problem> {
    app.deeds.execution_list(&caller, query).await.map(Json)
}

/// Reads an execution with its progress and output.
#[utoipa::path(get, path = "/api/v1/executions/{id}", tag = "executions", operation_id = "execution_get",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "The execution", body = ExecutionView), Refused))]
pub(crate) async fn execution_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Json<ExecutionView>, Problem> {
    app.deeds.execution_get(&caller, id).await.map(Json)
}

/// Asks for the end of an execution.
///
/// Cancelling one that has ended is refused with 409 and how it ended.
#[utoipa::path(post, path = "/api/v1/executions/{id}/cancel", tag = "executions", operation_id = "execution_cancel",
    params(("id" = String, Path, description = "The execution's id")),
    request_body(content = Option<CancelExecution>, content_type = "application/json"),
    responses((status = 202, description = "It is durable; the execution ends soon", body = Cancelled),
              (status = 409, description = "The execution had ended already"), Refused))]
pub(crate) async fn execution_cancel(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    BodyOrDefault(body): BodyOrDefault<CancelExecution>,
) -> Result<Response, Problem> {
    app.deeds.execution_cancel(&caller, id, body).await.map(ending)
}

fn ending(cancelled: Cancelled) -> Response {
    (StatusCode::ACCEPTED, Json(cancelled)).into_response()
}

/// Ends an execution at once: nothing cleans up, and what runs does not count any more.
///
/// For an execution whose cancellation takes too long. Killing one that has ended is refused with 409.
#[utoipa::path(post, path = "/api/v1/executions/{id}/kill", tag = "executions", operation_id = "execution_kill",
    params(("id" = String, Path, description = "The execution's id")),
    request_body(content = Option<CancelExecution>, content_type = "application/json"),
    responses((status = 202, description = "It is durable; the execution ends at once", body = Cancelled),
              (status = 409, description = "The execution had ended already"), Refused))]
pub(crate) async fn execution_kill(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    BodyOrDefault(body): BodyOrDefault<CancelExecution>,
) -> Result<Response, Problem> {
    app.deeds.execution_kill(&caller, id, body).await.map(ending)
}

/// Pauses an execution: nothing new starts until it is resumed.
///
/// What runs at workers goes on, and its result is kept; people may answer; time limits go on. Pausing a paused one
/// changes nothing. An execution that has ended or is being cancelled is refused with 409. 202 when no coordinator has
/// decided it within ten seconds: it is durable.
#[utoipa::path(post, path = "/api/v1/executions/{id}/pause", tag = "executions", operation_id = "execution_pause",
    params(("id" = String, Path, description = "The execution's id")),
    request_body(content = Option<PauseExecution>, content_type = "application/json"),
    responses((status = 200, description = "Where it stands", body = Standing),
              (status = 202, description = "It is durable and not decided yet", body = Standing),
              (status = 409, description = "The execution had ended, or is being cancelled"), Refused))]
pub(crate) async fn execution_pause(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    BodyOrDefault(body): BodyOrDefault<PauseExecution>,
) -> Result<Response, Problem> {
    app.deeds.execution_pause(&caller, id, body).await.map(standing)
}

/// Lets a paused execution go on, with what came in meanwhile.
///
/// Resuming one that is not paused changes nothing. An execution that has ended is refused with 409.
#[utoipa::path(post, path = "/api/v1/executions/{id}/resume", tag = "executions", operation_id = "execution_resume",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "Where it stands", body = Standing),
              (status = 202, description = "It is durable and not decided yet", body = Standing),
              (status = 409, description = "The execution had ended"), Refused))]
pub(crate) async fn execution_resume(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Response, Problem> {
    app.deeds.execution_resume(&caller, id).await.map(standing)
}

fn standing(standing: Standing) -> Response {
    let status = if standing.decided { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(standing)).into_response()
}

/// Does an execution that has ended again, as a new one.
///
/// What completed is kept and does not run again; the answer says of each component what becomes of it. The old
/// execution stays as it is. With the header `Idempotency-Key`, the same retry is started once within 24 hours.
/// One that is open is refused with 409; one of which what would be kept does not fit, with 422 and what would.
#[utoipa::path(post, path = "/api/v1/executions/{id}/retry", tag = "executions", operation_id = "execution_retry",
    params(("id" = String, Path, description = "The execution's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key and content start one execution")),
    request_body(content = Option<RetryExecution>, content_type = "application/json"),
    responses((status = 202, description = "It is accepted", body = Retried),
              (status = 200, description = "What a dry run shows", body = Retried),
              (status = 409, description = "The execution has not ended"), Refused))]
pub(crate) async fn execution_retry(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    IdempotencyKey(key): IdempotencyKey,
    BodyOrDefault(body): BodyOrDefault<RetryExecution>,
) -> Result<Response, Problem> {
    let retried = app.deeds.execution_retry(&caller, id, body, key).await?;
    Ok(match retried.id {
        Some(new) => {
            let location = [(header::LOCATION, format!("/api/v1/executions/{new}"))];
            (StatusCode::ACCEPTED, location, Json(retried)).into_response()
        }
        None => Json(retried).into_response(),
    })
}

/// Lets an open execution go on as another version of its workflow.
///
/// Components are the same by their ids; `mapping` names those that are called otherwise. What has ended stays as it
/// ended, what is under way goes on, and what has not begun is as the new version says. Whether it can is checked
/// before it is accepted, and again when it is decided: then nothing happens in between. With `dry_run` nothing is done.
/// One that has ended is refused with 409; one that cannot be moved, with 422, why, and what would work. 202 when no
/// coordinator has decided it within ten seconds: it is durable.
#[utoipa::path(post, path = "/api/v2/executions/{id}/move", tag = "executions", operation_id = "execution_move",
    params(("id" = String, Path, description = "The execution's id")),
    request_body = MoveExecution,
    responses((status = 200, description = "It is moved; or what a dry run shows", body = MovedView),
              (status = 202, description = "It is durable and not decided yet", body = MovedView),
              (status = 409, description = "The execution had ended"), Refused))]
pub(crate) async fn execution_move(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    Body(body): Body<MoveExecution>,
) -> Result<Response, Problem> {
    let moved = app.deeds.execution_move(&caller, id, body).await?;
    let status = if moved.decided || moved.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(moved)).into_response())
}

/// Retries, cancels, kills, pauses, resumes or moves the executions that a query finds, and answers for each.
///
/// A page at a time, newest first, at most 100: go on with `next_cursor`. With `dry_run` nothing is done, and the answer
/// says what would be, or why not. Each accepted action is durable by itself. With the header `Idempotency-Key`, nothing
/// is done twice to an execution within 24 hours: ask again with the same key when an answer was lost.
#[utoipa::path(post, path = "/api/v2/executions/bulk", tag = "executions", operation_id = "execution_bulk",
    params(("Idempotency-Key" = Option<String>, Header, description = "With the same key nothing is done twice to an execution")),
    request_body = BulkExecutions,
    responses((status = 200, description = "What became of each execution of the page", body = BulkReport), Refused))]
pub(crate) async fn execution_bulk(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<BulkExecutions>,
) -> Result<Json<BulkReport>, Problem> {
    app.deeds.execution_bulk(&caller, body, key).await.map(Json)
}

/// Sends a signal to an execution: an event for one of its `wait_for_event`.
///
/// It may come before the component waits; it is kept. With the header `Idempotency-Key`, the same signal is sent
/// once within 24 hours.
#[utoipa::path(post, path = "/api/v1/executions/{id}/signals", tag = "executions", operation_id = "execution_signal",
    params(("id" = String, Path, description = "The execution's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key and content are sent once")),
    request_body = SendSignal,
    responses((status = 202, description = "It is durable", body = SignalSent), Refused))]
pub(crate) async fn execution_signal(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<SendSignal>,
) -> Result<Response, Problem> {
    let sent = app.deeds.signal_send(&caller, id, body, key).await?;
    Ok((StatusCode::ACCEPTED, Json(sent)).into_response())
}

/// Lists the events that an execution waits for now.
#[utoipa::path(get, path = "/api/v1/executions/{id}/waits", tag = "executions", operation_id = "execution_waits",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "All of them", body = WaitList), Refused))]
pub(crate) async fn execution_waits(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Json<WaitList>, Problem> {
    app.deeds.wait_list(&caller, id).await.map(Json)
}

/// Reads the log: what happened, and what components wrote.
#[utoipa::path(get, path = "/api/v1/executions/{id}/logs", tag = "executions", operation_id = "execution_logs",
    params(("id" = String, Path, description = "The execution's id"), LogQuery),
    responses((status = 200, description = "A page of lines, oldest first", body = LogList), Refused))]
pub(crate) async fn execution_logs(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    Asked(query): Asked<LogQuery>,
) -> Result<Json<LogList>, Problem> {
    app.deeds.execution_logs(&caller, id, query).await.map(Json)
}

/// Reads every attempt: status, worker, times, failure, output.
#[utoipa::path(get, path = "/api/v1/executions/{id}/tasks", tag = "executions", operation_id = "execution_tasks",
    params(("id" = String, Path, description = "The execution's id"), PageQuery),
    responses((status = 200, description = "A page of attempts in the order in which they began", body = TaskList), Refused))]
pub(crate) async fn execution_tasks(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<TaskList>, Problem> {
    app.deeds.execution_tasks(&caller, id, page.cursor.as_deref(), page.limit).await.map(Json)
}

/// Reads the journal: the append-only truth, turn by turn.
#[utoipa::path(get, path = "/api/v1/executions/{id}/journal", tag = "executions", operation_id = "execution_journal",
    params(("id" = String, Path, description = "The execution's id"), PageQuery),
    responses((status = 200, description = "A page of turns", body = JournalList), Refused))]
pub(crate) async fn execution_journal(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<JournalList>, Problem> {
    app.deeds.execution_journal(&caller, id, page.cursor.as_deref(), page.limit).await.map(Json)
}

/// Lists results that came too late to count.
#[utoipa::path(get, path = "/api/v1/executions/{id}/late-results", tag = "executions", operation_id = "execution_late_results",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "All of them, in order of arrival", body = LateList), Refused))]
pub(crate) async fn execution_late(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Json<LateList>, Problem> {
    app.deeds.execution_late(&caller, id).await.map(Json)
}

/// Writes everything that there is of an execution as one line of JSON: what an archive keeps.
///
/// Its row, every turn of its journal, its payloads by id, and results that came too late. It comes piece by piece; one
/// that is open is written as far as it is. An answer that breaks off has no line break at its end.
#[utoipa::path(get, path = "/api/v2/executions/{id}/export", tag = "executions", operation_id = "execution_export",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "The line", body = String, content_type = "application/x-ndjson"), Refused))]
pub(crate) async fn execution_export(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Response, Problem> {
    let line = app.deeds.execution_export(&caller, id).await?;
    let pieces = futures::stream::try_unfold(line, |mut line| async move {
        let piece = line.next().await.inspect_err(|error| {
            warn!(error = error as &dyn std::error::Error, "An export broke off");
        })?;
        Ok::<_, StoreError>(piece.map(|piece| (piece, line)))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Stream::from_stream(pieces)).into_response())
}

/// Says why an execution waits: a sentence, and the facts behind it.
#[utoipa::path(get, path = "/api/v1/executions/{id}/why", tag = "executions", operation_id = "execution_why",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "What waits, and for what", body = Why), Refused))]
pub(crate) async fn execution_why(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Json<Why>, Problem> {
    app.deeds.execution_why(&caller, id).await.map(Json)
}

fn event(sight: &Sight) -> Event {
    let (name, view) = match sight {
        Sight::Snapshot(view) => ("snapshot", view),
        Sight::Update(view) => ("update", view),
        Sight::End(view) => ("end", view),
    };
    // One line: JSON has no raw line breaks.
    let data = serde_json::to_string(view).unwrap_or_default();
    Event::default().event(name).id(view.seq.to_string()).data(data)
}

/// Watches an execution: server-sent events until its end.
///
/// First a `snapshot` with every component, then an `update` for each change (or another `snapshot` when
/// some were missed), at last `end`. Each one's data is a `Progress`. A comment comes every 15 seconds
/// when nothing happens.
#[utoipa::path(get, path = "/api/v1/executions/{id}/events", tag = "executions", operation_id = "execution_events",
    params(("id" = String, Path, description = "The execution's id")),
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream"), Refused))]
pub(crate) async fn execution_events(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
) -> Result<Response, Problem> {
    let sights = app.deeds.execution_watch(caller, id, app.shutdown.clone()).await?;
    let events = ReceiverStream::new(sights).map(|sight| Ok::<_, Infallible>(event(&sight)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

/// Where an execution stands, or stood after an earlier turn of its journal.
///
/// The same as the first event of `/events`, with the number of the last turn.
#[utoipa::path(get, path = "/api/v1/executions/{id}/progress", tag = "executions", operation_id = "execution_progress",
    params(("id" = String, Path, description = "The execution's id"), MomentQuery),
    responses((status = 200, description = "The moment", body = Moment), Refused))]
pub(crate) async fn execution_progress(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ExecutionId>,
    Asked(query): Asked<MomentQuery>,
) -> Result<Json<Moment>, Problem> {
    app.deeds.execution_moment(&caller, id, query).await.map(Json)
}
