//! `/api/v1/triggers`, `/api/v1/receipts`, `/api/v1/backfills`, `/api/v1/events` and `/webhooks`.

use axum::{
    Json,
    body::Body as Stream,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use shared::{
    ids::{BackfillId, ReceiptId, TriggerId, WorkflowId},
    port::triggers::BackfillStatus,
};

use super::{
    Refused,
    executions::PageQuery,
    extract::{Asked, At, Body, BodyOrDefault, IdempotencyKey},
};
use crate::{
    app::App,
    caller::Caller,
    deeds::{
        BackfillList, BackfillPreview, BackfillView, Call, CloudEvent, CreateBackfill, EventList, EventQuery,
        FireList, FireTrigger, Fired, HookAddress, NextFires, NextQuery, PublishedList, ReceiptList,
        ReceiptQuery, ReceiptView, TriggerList, TriggerQuery, TriggerView,
    },
    problem::{Code, Problem},
};

/// Lists the triggers of all workflows.
#[utoipa::path(get, path = "/api/v1/triggers", tag = "triggers", operation_id = "trigger_list",
    params(TriggerQuery),
    responses((status = 200, description = "A page of triggers", body = TriggerList), Refused))]
pub(crate) async fn trigger_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<TriggerQuery>,
) -> Result<Json<TriggerList>, Problem> {
    app.deeds.trigger_list(&caller, query).await.map(Json)
}

/// Lists the triggers of a workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/triggers", tag = "triggers", operation_id = "workflow_triggers",
    params(("id" = String, Path, description = "The workflow's id"), PageQuery),
    responses((status = 200, description = "A page of triggers", body = TriggerList), Refused))]
pub(crate) async fn workflow_triggers(
    State(app): State<App>,
    caller: Caller,
    At(id): At<WorkflowId>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<TriggerList>, Problem> {
    let query = TriggerQuery { workflow_id: Some(id), kind: None, limit: page.limit, cursor: page.cursor };
    app.deeds.trigger_list(&caller, query).await.map(Json)
}

/// Reads a trigger.
#[utoipa::path(get, path = "/api/v1/triggers/{id}", tag = "triggers", operation_id = "trigger_get",
    params(("id" = String, Path, description = "The trigger's id")),
    responses((status = 200, description = "The trigger", body = TriggerView), Refused))]
pub(crate) async fn trigger_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
) -> Result<Json<TriggerView>, Problem> {
    app.deeds.trigger_get(&caller, id).await.map(Json)
}

/// Pauses a trigger: it starts nothing until it is resumed, whatever is saved meanwhile.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/pause", tag = "triggers", operation_id = "trigger_pause",
    params(("id" = String, Path, description = "The trigger's id")),
    responses((status = 200, description = "The trigger as it is now", body = TriggerView), Refused))]
pub(crate) async fn trigger_pause(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
) -> Result<Json<TriggerView>, Problem> {
    app.deeds.trigger_pause(&caller, id, true).await.map(Json)
}

/// Lets a paused trigger go on. What a schedule would have fired meanwhile is not caught up with.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/resume", tag = "triggers", operation_id = "trigger_resume",
    params(("id" = String, Path, description = "The trigger's id")),
    responses((status = 200, description = "The trigger as it is now", body = TriggerView), Refused))]
pub(crate) async fn trigger_resume(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
) -> Result<Json<TriggerView>, Problem> {
    app.deeds.trigger_pause(&caller, id, false).await.map(Json)
}

/// Shows when a schedule fires next.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/next", tag = "triggers", operation_id = "trigger_next",
    params(("id" = String, Path, description = "The trigger's id"), NextQuery),
    responses((status = 200, description = "The next fires", body = NextFires), Refused))]
pub(crate) async fn trigger_next(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
    Asked(query): Asked<NextQuery>,
) -> Result<Json<NextFires>, Problem> {
    app.deeds.trigger_next(&caller, id, query).await.map(Json)
}

/// Gives a webhook a new address, shown once. The old one is unknown from now on.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/rotate", tag = "triggers", operation_id = "trigger_rotate",
    params(("id" = String, Path, description = "The trigger's id")),
    responses((status = 200, description = "The new address", body = HookAddress), Refused))]
pub(crate) async fn trigger_rotate(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
) -> Result<Json<HookAddress>, Problem> {
    app.deeds.trigger_rotate(&caller, id).await.map(Json)
}

/// Starts the workflow of a trigger as if it had fired, with the data given. A fire of a schedule it is not.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/fire", tag = "triggers", operation_id = "trigger_fire",
    params(("id" = String, Path, description = "The trigger's id"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key starts nothing new for 7 days")),
    request_body(content = Option<FireTrigger>, content_type = "application/json"),
    responses((status = 202, description = "It is accepted", body = Fired), Refused))]
pub(crate) async fn trigger_fire(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
    IdempotencyKey(key): IdempotencyKey,
    BodyOrDefault(body): BodyOrDefault<FireTrigger>,
) -> Result<Response, Problem> {
    let fired = app.deeds.trigger_fire(&caller, id, body, key).await?;
    Ok((StatusCode::ACCEPTED, Json(fired)).into_response())
}

/// Lists the fires of a schedule, newest first: what started, what was skipped and why.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/fires", tag = "triggers", operation_id = "trigger_fires",
    params(("id" = String, Path, description = "The trigger's id"), PageQuery),
    responses((status = 200, description = "A page of fires", body = FireList), Refused))]
pub(crate) async fn trigger_fires(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<FireList>, Problem> {
    app.deeds.trigger_fires(&caller, id, page.cursor, page.limit).await.map(Json)
}

/// Lists what came in through a trigger, newest first.
#[utoipa::path(get, path = "/api/v1/triggers/{id}/receipts", tag = "triggers", operation_id = "trigger_receipts",
    params(("id" = String, Path, description = "The trigger's id"), ReceiptQuery),
    responses((status = 200, description = "A page of receipts", body = ReceiptList), Refused))]
pub(crate) async fn trigger_receipts(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
    Asked(query): Asked<ReceiptQuery>,
) -> Result<Json<ReceiptList>, Problem> {
    app.deeds.trigger_receipts(&caller, id, query).await.map(Json)
}

/// Reads a receipt; one that is parked with its event.
#[utoipa::path(get, path = "/api/v1/receipts/{id}", tag = "triggers", operation_id = "receipt_get",
    params(("id" = String, Path, description = "The receipt's id")),
    responses((status = 200, description = "The receipt", body = ReceiptView), Refused))]
pub(crate) async fn receipt_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ReceiptId>,
) -> Result<Json<ReceiptView>, Problem> {
    app.deeds.receipt_get(&caller, id).await.map(Json)
}

/// Starts what is parked, with the trigger as it is now.
#[utoipa::path(post, path = "/api/v1/receipts/{id}/replay", tag = "triggers", operation_id = "receipt_replay",
    params(("id" = String, Path, description = "The receipt's id")),
    responses((status = 202, description = "It is accepted", body = Fired), Refused))]
pub(crate) async fn receipt_replay(
    State(app): State<App>,
    caller: Caller,
    At(id): At<ReceiptId>,
) -> Result<Response, Problem> {
    let fired = app.deeds.receipt_replay(&caller, id).await?;
    Ok((StatusCode::ACCEPTED, Json(fired)).into_response())
}

/// Carries out fires of the past. With `dry_run` they are only counted and listed.
#[utoipa::path(post, path = "/api/v1/triggers/{id}/backfills", tag = "triggers", operation_id = "backfill_create",
    params(("id" = String, Path, description = "The schedule's id")),
    request_body = CreateBackfill,
    responses((status = 201, description = "The backfill, running", body = BackfillView),
              (status = 200, description = "What it would do (`dry_run`)", body = BackfillPreview), Refused))]
pub(crate) async fn backfill_create(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TriggerId>,
    Body(body): Body<CreateBackfill>,
) -> Result<Response, Problem> {
    Ok(match app.deeds.backfill_create(&caller, id, body).await? {
        Ok(made) => (StatusCode::CREATED, Json(made)).into_response(),
        Err(preview) => Json(preview).into_response(),
    })
}

/// Lists backfills, newest first.
#[utoipa::path(get, path = "/api/v1/backfills", tag = "triggers", operation_id = "backfill_list",
    params(PageQuery),
    responses((status = 200, description = "A page of backfills", body = BackfillList), Refused))]
pub(crate) async fn backfill_list(
    State(app): State<App>,
    caller: Caller,
    Asked(page): Asked<PageQuery>,
) -> Result<Json<BackfillList>, Problem> {
    app.deeds.backfill_list(&caller, page.cursor, page.limit).await.map(Json)
}

/// Reads a backfill.
#[utoipa::path(get, path = "/api/v1/backfills/{id}", tag = "triggers", operation_id = "backfill_get",
    params(("id" = String, Path, description = "The backfill's id")),
    responses((status = 200, description = "The backfill", body = BackfillView), Refused))]
pub(crate) async fn backfill_get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<BackfillId>,
) -> Result<Json<BackfillView>, Problem> {
    app.deeds.backfill_get(&caller, id).await.map(Json)
}

/// Pauses a backfill: it starts nothing further until it is resumed.
#[utoipa::path(post, path = "/api/v1/backfills/{id}/pause", tag = "triggers", operation_id = "backfill_pause",
    params(("id" = String, Path, description = "The backfill's id")),
    responses((status = 200, description = "The backfill as it is now", body = BackfillView), Refused))]
pub(crate) async fn backfill_pause(
    State(app): State<App>,
    caller: Caller,
    At(id): At<BackfillId>,
) -> Result<Json<BackfillView>, Problem> {
    app.deeds.backfill_move(&caller, id, BackfillStatus::Paused).await.map(Json)
}

/// Lets a paused backfill go on where it stopped.
#[utoipa::path(post, path = "/api/v1/backfills/{id}/resume", tag = "triggers", operation_id = "backfill_resume",
    params(("id" = String, Path, description = "The backfill's id")),
    responses((status = 200, description = "The backfill as it is now", body = BackfillView), Refused))]
pub(crate) async fn backfill_resume(
    State(app): State<App>,
    caller: Caller,
    At(id): At<BackfillId>,
) -> Result<Json<BackfillView>, Problem> {
    app.deeds.backfill_move(&caller, id, BackfillStatus::Running).await.map(Json)
}

/// Ends a backfill: it starts nothing further; what it has started goes on.
#[utoipa::path(post, path = "/api/v1/backfills/{id}/cancel", tag = "triggers", operation_id = "backfill_cancel",
    params(("id" = String, Path, description = "The backfill's id")),
    responses((status = 200, description = "The backfill as it is now", body = BackfillView), Refused))]
pub(crate) async fn backfill_cancel(
    State(app): State<App>,
    caller: Caller,
    At(id): At<BackfillId>,
) -> Result<Json<BackfillView>, Problem> {
    app.deeds.backfill_move(&caller, id, BackfillStatus::Cancelled).await.map(Json)
}

/// Publishes events as CloudEvents 1.0 over HTTP: structured, as a batch, or binary (attributes as `ce-` headers).
///
/// An event is kept with the executions it starts; the same source and id again starts nothing.
#[utoipa::path(post, path = "/api/v1/events", tag = "triggers", operation_id = "event_publish",
    request_body(content = Value, content_type = "application/cloudevents+json",
        description = "A CloudEvent, or a list of them as `application/cloudevents-batch+json`"),
    responses((status = 202, description = "They are kept, with what they started", body = PublishedList), Refused))]
pub(crate) async fn event_publish(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = limited(body, app.config.body_limit_bytes).await?;
    let events = cloud_events(&parts.headers, &bytes)?;
    let published = app.deeds.events_publish(&caller, events).await?;
    Ok((StatusCode::ACCEPTED, Json(published)).into_response())
}

/// Lists the events that were published, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "triggers", operation_id = "event_list",
    params(EventQuery),
    responses((status = 200, description = "A page of events", body = EventList), Refused))]
pub(crate) async fn event_list(
    State(app): State<App>,
    caller: Caller,
    Asked(query): Asked<EventQuery>,
) -> Result<Json<EventList>, Problem> {
    app.deeds.event_list(&caller, query).await.map(Json)
}

#[derive(Debug, Deserialize)]
pub(crate) struct HookPath {
    id: String,
}

/// Calls a webhook. What stands behind the id in the path is decoration.
///
/// Answered once the start is durable. How a call is signed is said by the trigger's `verify`.
#[utoipa::path(post, path = "/webhooks/{id}", tag = "triggers", operation_id = "webhook_call",
    params(("id" = String, Path, description = "The webhook's id, as `rotate` showed it")),
    request_body(content = Value, content_type = "application/json"),
    responses((status = 202, description = "It is kept, with the execution it started", body = Fired),
              (status = 200, description = "The execution has ended (`respond: completed`)", body = Fired), Refused))]
pub(crate) async fn webhook_call(
    State(app): State<App>,
    Path(HookPath { id }): Path<HookPath>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let call = Call { id: &id, method: parts.method.as_str(), headers: &parts.headers };
    let open = app.deeds.hook_open(&call).await?;
    let bytes = limited(body, open.max_body).await?;
    let fired = app.deeds.hook_call(open, &parts.headers, &bytes).await?;
    let ended = fired.status.is_some_and(|status| matches!(status, "completed" | "failed" | "cancelled"));
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(fired)).into_response())
}

/// The raw bytes of a body, at most so many.
async fn limited(body: Stream, most: usize) -> Result<Vec<u8>, Problem> {
    use futures::StreamExt;
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        let part =
            part.map_err(|error| Problem::new(Code::MalformedJson, format!("The body broke off: {error}.")))?;
        if bytes.len() + part.len() > most {
            return Err(Problem::new(Code::BodyTooLarge, format!("At most {most} bytes are read.")));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn text(map: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match map.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::new(Code::InvalidBody, format!("`{name}` of an event is text."))),
    }
}

fn finish(mut map: Map<String, Value>, data: Value) -> Result<CloudEvent, Problem> {
    let missing =
        |name: &str| Problem::new(Code::InvalidBody, format!("An event needs `{name}` (CloudEvents 1.0)."));
    match text(&mut map, "specversion")?.as_deref() {
        Some("1.0") => {}
        Some(other) => {
            return Err(Problem::new(
                Code::InvalidBody,
                format!("`specversion` is `{other}`; this server reads `1.0`."),
            ));
        }
        None => return Err(missing("specversion")),
    }
    let time = text(&mut map, "time")?
        .map(|time| {
            time.parse().map_err(|_| {
                Problem::new(Code::InvalidBody, format!("`time` of an event is no instant: `{time}`."))
            })
        })
        .transpose()?;
    Ok(CloudEvent {
        id: text(&mut map, "id")?.ok_or_else(|| missing("id"))?,
        source: text(&mut map, "source")?.ok_or_else(|| missing("source"))?,
        kind: text(&mut map, "type")?.ok_or_else(|| missing("type"))?,
        key: text(&mut map, "correlationkey")?,
        time,
        data,
        attributes: map,
    })
}

fn structured(value: Value) -> Result<CloudEvent, Problem> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Value::Object(mut map) = value else {
        return Err(Problem::new(Code::InvalidBody, "An event is a JSON object."));
    };
    let data = map.shift_remove("data");
    let data = match (data, text(&mut map, "data_base64")?) {
        (Some(data), None) => data,
        (None, Some(encoded)) => {
            STANDARD
                .decode(&encoded)
                .map_err(|_| Problem::new(Code::InvalidBody, "`data_base64` of an event is not base64."))?;
            Value::from(encoded)
        }
        (None, None) => Value::Null,
        (Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidBody, "An event has `data` or `data_base64`, not both."));
        }
    };
    finish(map, data)
}

/// Reads the events of a call in each of the three modes.
fn cloud_events(headers: &HeaderMap, bytes: &[u8]) -> Result<Vec<CloudEvent>, Problem> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = header("content-type");
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = || {
        serde_json::from_slice::<Value>(bytes)
            .map_err(|error| Problem::new(Code::MalformedJson, format!("The body is no JSON: {error}.")))
    };
    let is_binary = headers.contains_key("ce-specversion");
    match essence.as_str() {
        "application/cloudevents+json" => Ok(vec![structured(json()?)?]),
        "application/cloudevents-batch+json" => match json()? {
            Value::Array(events) => events.into_iter().map(structured).collect(),
            _ => Err(Problem::new(Code::InvalidBody, "A batch is a list of events.")),
        },
        _ if is_binary => {
            let mut map = Map::new();
            for (name, value) in headers {
                if let Some(attribute) = name.as_str().strip_prefix("ce-") {
                    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    if map.insert(attribute.to_owned(), Value::from(text)).is_some() {
                        let detail = format!("The header `{name}` is given more than once.");
                        return Err(Problem::new(Code::InvalidHeader, detail));
                    }
                }
            }
            let data = if bytes.is_empty() {
                Value::Null
            } else if essence == "application/json" || essence.ends_with("+json") {
                json()?
            } else {
                Value::from(String::from_utf8_lossy(bytes).into_owned())
            };
            Ok(vec![finish(map, data)?])
        }
        "application/json" => Ok(vec![structured(json()?)?]),
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            "Send `application/cloudevents+json`, `application/cloudevents-batch+json`, or `ce-` headers.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().expect("a header"), value.parse().expect("a value")))
            .collect::<HeaderMap>()
    }

    #[test]
    fn an_event_reads_the_same_in_each_mode() {
        let structured = br#"{"specversion":"1.0","id":"1","source":"shop","type":"order.created","correlationkey":"A-7","region":"eu","data":{"n":1}}"#;
        let one = cloud_events(
            &headers(&[("content-type", "application/cloudevents+json; charset=utf-8")]),
            structured,
        );
        let one = one.expect("structured");
        let batch = [b"[".as_slice(), structured, b"]"].concat();
        let many = cloud_events(&headers(&[("content-type", "application/cloudevents-batch+json")]), &batch);
        let binary = headers(&[
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "shop"),
            ("ce-type", "order.created"),
            ("ce-correlationkey", "A-7"),
            ("ce-region", "eu"),
        ]);
        let binary = cloud_events(&binary, br#"{"n":1}"#).expect("binary");
        assert_eq!(one, many.expect("a batch"));
        assert_eq!(one, binary);
        assert_eq!((one[0].key.as_deref(), &one[0].attributes["region"]), (Some("A-7"), &Value::from("eu")));
    }

    #[test]
    fn what_is_no_event_is_told_why() {
        let kind = headers(&[("content-type", "application/cloudevents+json")]);
        for (body, part) in [
            (r#"{"id":"1","source":"s","type":"t"}"#, "specversion"),
            (r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#, "`1.0`"),
            (r#"{"specversion":"1.0","source":"s","type":"t"}"#, "`id`"),
            (r#"{"specversion":"1.0","id":1,"source":"s","type":"t"}"#, "is text"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"x"}"#, "instant"),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":"aa=="}"#,
                "not both",
            ),
            ("[]", "object"),
            ("{", "no JSON"),
        ] {
            let problem = cloud_events(&kind, body.as_bytes()).expect_err(body);
            assert!(problem.detail.contains(part), "{body}: {}", problem.detail);
        }
        let plain = cloud_events(&headers(&[("content-type", "text/plain")]), b"x").expect_err("refused");
        assert_eq!(plain.code, Code::UnsupportedMediaType);
    }
}
