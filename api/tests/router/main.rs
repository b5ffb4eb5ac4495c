//! The API through its router, as a client sees it.

mod moves;
mod pages;
mod people;
mod retries;
mod sign_in;

use std::{sync::Arc, time::Duration};

use api::{Config, Ports, Secret};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use progress::{in_process::InProcessProgress, rooms::InProcessRooms};
use queue::in_process::InProcessQueue;
use serde_json::{Value, json};
use shared::{
    component::{Catalogue, Descriptor, Effect, Failure, FailureClass, Family, Field, OwnPorts, Runs},
    execution::{Event, Payload, Status, TaskKey, Turn},
    ids::{
        DeadLetterId, ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, WorkerId, WorkflowId,
    },
    port::{
        cache::{CacheEntry, CacheKey, CachedResult},
        queue::Queue,
        store::{Commit, DeadLetter, DeadLetters, Journal, Kept, StatusChange, StoreError, Sweeps, Views},
    },
    time::{Clock, SystemClock, Timestamp},
    wire::{InboxBody, InboxMessage, encode},
};
use store::MemoryStore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

fn catalogue() -> Catalogue {
    let echo = Descriptor {
        kind: "echo",
        aliases: &["repeat"],
        family: Family::Utility,
        runs: Runs::Worker,
        summary: "Gives back what it is given.",
        schema: || json!({ "type": "object", "properties": { "value": {} }, "additionalProperties": false }),
        example: || json!({ "value": 1 }),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Pure,
        field: |_, _| Field::Template,
        check: |_| Vec::new(),
        build: None,
    };
    let wait = Descriptor {
        kind: "wait_for_event",
        aliases: &[],
        family: Family::Time,
        runs: Runs::Coordinator,
        summary: "Waits for an event.",
        schema: || json!({ "type": "object", "properties": { "event": {}, "key": {} }, "additionalProperties": false }),
        example: || json!({ "event": "paid", "key": "k" }),
        ..echo.clone()
    };
    Catalogue::new(&[echo, wait])
}

const DOCUMENT: &str = "\
workflow: v1
name: greet
parameters:
  who: { type: string, required: true }
components:
  first: { type: echo, config: { value: '${{ parameters.who }}' } }
  second: { type: echo, needs: [first], config: { value: 2 } }
";

struct Answered {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The code of a problem, its status checked.
    fn code(&self) -> String {
        let body = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(self.headers["x-request-id"], body["trace_id"].as_str().expect("a trace id"), "{body}");
        body["code"].as_str().expect("a code").to_owned()
    }
}

struct Api {
    router: Router,
    store: Arc<MemoryStore>,
    queue: Arc<InProcessQueue>,
}

/// What programs show.
const KEY: &str = "a key of thirty-two characters or more";

fn start(config: Config) -> Api {
    let config = Config { key: Some(Secret::new(KEY)), ..config };
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let queue = Arc::new(InProcessQueue::new());
    let ports = Ports {
        secrets: std::sync::Arc::new(shared::port::secrets::EnvironmentSecrets),
        store: store.clone(),
        queue: queue.clone(),
        progress: Arc::new(InProcessProgress::new()),
        rooms: Arc::new(InProcessRooms::new()),
        catalogue: catalogue(),
        mailer: None,
        meters: Vec::new(),
    };
    let (router, _hinting) = api::router(config, ports, CancellationToken::new());
    Api { router, store, queue }
}

impl Api {
    /// Sends as a program that shows the key, unless it shows something else.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            all.push(("x-api-key", KEY));
        }
        self.send_bare(method, path, &all, body).await
    }

    async fn send_bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        // What is compressed is not text; its headers say enough.
        let is_text = !parts.headers.contains_key("content-encoding");
        let text = if is_text { String::from_utf8(bytes.to_vec()).expect("text") } else { String::new() };
        Answered { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn get(&self, path: &str) -> Answered {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answered {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// The id of a saved workflow.
    async fn workflow(&self) -> String {
        let made = self.post("/api/v1/workflows", json!({ "definition": DOCUMENT })).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The id of an accepted execution.
    async fn execution(&self) -> ExecutionId {
        let workflow = self.workflow().await;
        let path = format!("/api/v1/workflows/{workflow}/execute");
        let accepted = self.post(&path, json!({ "parameters": { "who": "you" } })).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        accepted.json()["id"].as_str().expect("an id").parse().expect("an execution id")
    }

    /// Adds a turn that keeps a result.
    async fn keep_cached(&self, id: ExecutionId, entry: CacheEntry) {
        self.append_with(id, (MessageId::generate(), None), Vec::new(), vec![entry]).await;
    }

    /// Adds a turn as a coordinator would.
    async fn append(&self, id: ExecutionId, events: Vec<Event>) {
        self.append_as(id, (MessageId::generate(), None), events).await;
    }

    /// The same, as the answer to a message, and to the request in it.
    async fn append_as(&self, id: ExecutionId, answers: (MessageId, Option<RequestId>), events: Vec<Event>) {
        self.append_with(id, answers, events, Vec::new()).await;
    }

    async fn append_with(
        &self,
        id: ExecutionId,
        (cause, request): (MessageId, Option<RequestId>),
        events: Vec<Event>,
        cache: Vec<CacheEntry>,
    ) {
        let tenant = TenantId::DEFAULT;
        let row = self.store.execution_get(tenant, id).await.expect("read").expect("it was accepted");
        let turns = self
            .store
            .load(&[id], 0, u32::MAX)
            .await
            .expect("read")
            .remove(0)
            .expect("it has a journal")
            .turns;
        let change = events.iter().find_map(|event| match event {
            Event::Started => Some(StatusChange { status: Status::Running, failure: None, output: None }),
            Event::Finished { status, output, failure } => {
                Some(StatusChange { status: *status, failure: failure.clone(), output: output.clone() })
            }
            _ => None,
        });
        let turn = Turn { execution: id, seq: turns.len() as u32 + 1, cause, at: SystemClock.now(), events };
        let commit = Commit {
            people: Vec::new(),
            waits: Vec::new(),
            cache,
            turn,
            tenant,
            workflow: row.workflow,
            change,
            timers: Vec::new(),
            give: Vec::new(),
            take: Vec::new(),
            wait: Vec::new(),
            release: false,
            has_asked: true,
            finished: Vec::new(),
            request,
            sweep_at: None,
        };
        assert_eq!(self.store.commit(vec![commit]).await.expect("kept"), [Kept::Committed]);
    }
}

fn completed(component: &str, output: Value) -> Event {
    Event::TaskCompleted {
        task: TaskKey::of(component.into()),
        attempt: 1,
        output: Payload::Inline(output),
        ports: Vec::new(),
        worker: WorkerId::generate(),
        started_at: Timestamp::from_micros(1_000),
        finished_at: Timestamp::from_micros(3_000),
        log: Vec::new(),
    }
}

fn dispatched(component: &str) -> Event {
    Event::TaskDispatched {
        task: TaskKey::of(component.into()),
        attempt: 1,
        dispatch: 1,
        slot: None,
        cache: None,
    }
}

#[tokio::test]
async fn a_workflow_is_saved_read_changed_and_archived() {
    let api = start(Config::default());
    let id = api.workflow().await;
    let path = format!("/api/v1/workflows/{id}");

    let read = api.get(&path).await;
    assert_eq!(read.headers["etag"], "\"1\"");
    let body = read.json();
    assert_eq!(
        (&body["name"], &body["version"], &body["status"]),
        (&json!("greet"), &json!(1), &json!("active"))
    );
    assert_eq!(body["definition"], DOCUMENT);
    assert_eq!(body["parameters"][0], json!({ "name": "who", "type": "string", "required": true }));

    let yaml = api.get(&format!("{path}/definition")).await;
    assert_eq!((yaml.status, yaml.text.as_str()), (200, DOCUMENT));

    let change = json!({ "definition": DOCUMENT.replace("value: 2", "value: 3"), "tags": ["x"] }).to_string();
    let json = ("content-type", "application/json");
    let changed = api.send("PUT", &path, &[json, ("if-match", "\"1\"")], &change).await;
    assert_eq!((changed.status, &changed.json()["version"]), (200, &json!(2)), "{}", changed.text);
    let late = api.send("PUT", &path, &[json, ("if-match", "\"1\"")], &change).await;
    assert_eq!((late.status, late.code().as_str()), (412, "stale_version"));

    let listed = api.get("/api/v1/workflows?tag=x&limit=10").await.json();
    assert_eq!((listed["items"].as_array().map(Vec::len), &listed["next_cursor"]), (Some(1), &Value::Null));

    let again = api.post("/api/v1/workflows", json!({ "definition": DOCUMENT })).await;
    assert_eq!((again.status, again.code().as_str()), (409, "name_taken"));

    assert_eq!(api.send("DELETE", &path, &[], "").await.status, 204);
    let refused = api.post(&format!("{path}/execute"), json!({ "parameters": { "who": "you" } })).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "workflow_archived"));
}

#[tokio::test]
async fn mistakes_in_a_document_come_all_at_once() {
    let api = start(Config::default());
    let wrong =
        "workflow: v1\nname: bad\ncomponents:\n  a: { type: ecko }\n  b: { type: echo, needs: [c] }\n";
    let refused = api.post("/api/v1/workflows", json!({ "definition": wrong })).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "invalid_document"));
    let problems = refused.json()["problems"].as_array().cloned().unwrap_or_default();
    assert!(problems.len() >= 2, "{}", refused.text);
    assert!(problems.iter().all(|problem| problem["line"].is_u64()), "{}", refused.text);

    let checked = api.post("/api/v1/workflows/validate", json!({ "definition": wrong })).await;
    assert_eq!((checked.status, &checked.json()["valid"]), (200, &json!(false)));
    let fine = api.post("/api/v1/workflows/validate", json!({ "definition": DOCUMENT })).await;
    assert_eq!(fine.json(), json!({ "valid": true, "problems": [], "warnings": [] }));
}

#[tokio::test]
async fn a_submission_is_durable_and_hinted_before_long() {
    let api = start(Config::default());
    let mut inbox = api.queue.inbox().await.expect("an inbox");
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("shards");
    let id = api.execution().await;

    let hint = inbox.receive(10).await.expect("a hint").remove(0).message;
    assert_eq!(hint.id, MessageId::derived(id, "start"));
    assert!(matches!(&hint.body, InboxBody::Start { first } if first.execution == id && first.seq == 1));

    let body = api.get(&format!("/api/v1/executions/{id}")).await.json();
    assert_eq!((&body["status"], &body["parameters"]["who"]), (&json!("pending"), &json!("you")));
    let why = api.get(&format!("/api/v1/executions/{id}/why")).await.json();
    assert_eq!(why["waiting"][0]["reason"], "coordinator");
}

#[tokio::test]
async fn an_idempotency_key_starts_nothing_twice() {
    let api = start(Config::default());
    let path = format!("/api/v1/workflows/{}/execute", api.workflow().await);
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let send = |body: &'static str| api.send("POST", &path, &headers, body);
    let first = send(r#"{"parameters":{"who":"a"}}"#).await.json();
    let second = send(r#"{"parameters":{"who":"a"},"tags":[]}"#).await.json();
    assert_eq!(
        (&first["id"], &first["repeated"], &second["repeated"]),
        (&second["id"], &json!(false), &json!(true))
    );
    let other = send(r#"{"parameters":{"who":"b"}}"#).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    assert!(
        other.json()["detail"]
            .as_str()
            .is_some_and(|text| text.contains(first["id"].as_str().expect("an id")))
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let api = start(Config { max_open_executions: 0, body_limit_bytes: 2_000, ..Config::default() });
    let id = api.workflow().await;
    let execute = format!("/api/v1/workflows/{id}/execute");

    let wrong = api.post(&execute, json!({ "parameters": { "whom": 1 } })).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (422, "invalid_parameters"));
    assert_eq!(wrong.json()["problems"].as_array().map(Vec::len), Some(2), "{}", wrong.text);

    let full = api.post(&execute, json!({ "parameters": { "who": "you" } })).await;
    assert_eq!(
        (full.status, full.code().as_str(), &full.headers["retry-after"]),
        (429, "quota_exceeded", &"5".parse().expect("a header"))
    );

    let json = ("content-type", "application/json");
    for (method, path, headers, body, status, code) in [
        ("POST", "/api/v1/workflows", vec![json], "{oops", 400, "malformed_json"),
        ("POST", "/api/v1/workflows", vec![json], r#"{"definition":"","colour":1}"#, 422, "invalid_body"),
        ("POST", "/api/v1/workflows", vec![json], r#"{"definition":{},"tags":"x"}"#, 422, "invalid_body"),
        (
            "POST",
            "/api/v1/workflows",
            vec![("content-type", "text/plain")],
            "{}",
            415,
            "unsupported_media_type",
        ),
        ("POST", "/api/v1/workflows", vec![], "{}", 415, "unsupported_media_type"),
        ("GET", "/api/v1/workflows?colour=red", vec![], "", 400, "invalid_query"),
        ("GET", "/api/v1/executions?status=done", vec![], "", 400, "invalid_query"),
        ("GET", "/api/v1/workflows/nonsense", vec![], "", 404, "not_found"),
        (
            "GET",
            "/api/v1/executions/execution_00000000-0000-0000-0000-000000000000",
            vec![],
            "",
            404,
            "not_found",
        ),
        ("GET", "/api/v1/nothing", vec![], "", 404, "not_found"),
        ("PATCH", "/api/v1/workflows", vec![], "", 405, "method_not_allowed"),
        ("POST", execute.as_str(), vec![("idempotency-key", "")], "", 400, "invalid_header"),
        ("POST", execute.as_str(), vec![("origin", "http://evil.example")], "", 403, "forbidden"),
        ("PUT", "/internal/payloads/x/y", vec![], "", 404, "not_found"),
    ] {
        let refused = api.send(method, path, &headers, body).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (status, code),
            "{method} {path}: {}",
            refused.text
        );
    }
    let large = api.send("POST", "/api/v1/workflows", &[json], &"x".repeat(3_000)).await;
    assert_eq!((large.status, large.code().as_str()), (413, "body_too_large"));
}

#[tokio::test]
async fn a_store_that_fails_is_answered_with_later() {
    let api = start(Config::default());
    let id = api.workflow().await;
    let path = format!("/api/v1/workflows/{id}");
    api.store.fail(Some(|| StoreError::Unavailable("down".into())));
    let refused = api.get(&path).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    let health = api.get("/health/detailed").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("down")));
    assert_eq!(api.get("/health").await.status, 200);
    api.store.fail(Some(|| StoreError::Unknown("reset".into())));
    assert_eq!(api.get(&path).await.code(), "outcome_unknown");
    api.store.fail(None);
    let health = api.get("/health/detailed").await;
    assert_eq!(
        (health.status, &health.json()["status"], &health.json()["workers"]),
        (200, &json!("degraded"), &json!(0))
    );
}

#[tokio::test]
async fn a_long_journal_gives_its_attempts_in_pages() {
    const ATTEMPTS: u32 = 1_300;
    let api = start(Config::default());
    let id = api.execution().await;
    api.append(id, vec![Event::Started, dispatched("first")]).await;
    for attempt in 1..ATTEMPTS {
        let task = || TaskKey::of("first".into());
        let failed = Event::TaskFailed {
            task: task(),
            attempt,
            failure: Failure::new(FailureClass::Connection, "reset"),
            retry_at: Some(Timestamp::from_micros(1)),
            worker: None,
            started_at: None,
            log: Vec::new(),
        };
        let again = Event::TaskDispatched {
            task: task(),
            attempt: attempt + 1,
            dispatch: 1,
            slot: None,
            cache: None,
        };
        api.append(id, vec![failed, again]).await;
    }
    let page = async |cursor: Option<String>| {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let list = api.get(&format!("/api/v1/executions/{id}/tasks?limit=500{cursor}")).await.json();
        let items = list["items"].as_array().expect("a list").clone();
        let shown = |item: &Value| (item["attempt"].as_u64(), item["status"].as_str().map(ToOwned::to_owned));
        (items.iter().map(shown).collect::<Vec<_>>(), list["next_cursor"].as_str().map(ToOwned::to_owned))
    };
    // The last page first: nothing is known of where it begins.
    let (cold, end) = page(Some("1000".to_owned())).await;
    assert_eq!((cold.len(), end), (300, None));
    let (mut all, mut next) = page(None).await;
    while let Some(cursor) = next {
        let (more, after) = page(Some(cursor)).await;
        all.extend(more);
        next = after;
    }
    assert_eq!(all[1_000..], cold);
    let expected: Vec<_> = (1..=ATTEMPTS)
        .map(|attempt| {
            let status = if attempt == ATTEMPTS { "dispatched" } else { "failed" };
            (Some(u64::from(attempt)), Some(status.to_owned()))
        })
        .collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn what_was_used_again_is_shown_and_can_be_cleared() {
    let api = start(Config::default());
    let id = api.execution().await;
    let (from, at) = (ExecutionId::generate(), Timestamp::from_micros(1_700_000_000_000_000));
    let cached = Event::TaskCached {
        task: TaskKey::of("first".into()),
        key: "k".to_owned(),
        from,
        at,
        output: Payload::Inline(json!(7)),
        ports: Vec::new(),
    };
    api.append(id, vec![Event::Started, cached]).await;
    let tasks = api.get(&format!("/api/v1/executions/{id}/tasks")).await.json();
    let task = &tasks["items"][0];
    assert_eq!(
        (&task["status"], &task["attempt"], &task["output"]),
        (&json!("completed"), &json!(0), &json!(7))
    );
    assert_eq!(task["cached"], json!({ "execution": from.to_string(), "at": at.to_string() }));
    let logs = api.get(&format!("/api/v1/executions/{id}/logs")).await.text;
    assert!(logs.contains(&format!("first completed with what {from} gave")), "{logs}");

    let tenant = TenantId::DEFAULT;
    let workflow = api.store.execution_get(tenant, id).await.expect("read").expect("accepted").workflow;
    let path = format!("/api/v1/workflows/{workflow}/cache");
    for component in ["a", "b"] {
        let key = CacheKey { component: component.into(), hash: "k".to_owned() };
        let result =
            CachedResult { output: b"1".to_vec(), ports: Vec::new(), execution: from, at, expires_at: at };
        api.keep_cached(id, CacheEntry { key, result }).await;
    }
    let cleared = api.send("DELETE", &format!("{path}?component=a"), &[], "").await;
    assert_eq!((cleared.status, cleared.json()), (200, json!({ "removed": 1 })));
    assert_eq!(api.send("DELETE", &path, &[], "").await.json(), json!({ "removed": 1 }));
    assert_eq!(api.send("DELETE", &path, &[], "").await.json(), json!({ "removed": 0 }));
    let unknown = format!("/api/v1/workflows/{}/cache", WorkflowId::generate());
    assert_eq!(api.send("DELETE", &unknown, &[], "").await.status, 404);
    assert_eq!(api.send("DELETE", &format!("{path}?of=a"), &[], "").await.status, 400);
}

#[tokio::test]
async fn what_waits_has_a_beginning_as_well_as_an_end() {
    let api = start(Config::default());
    let id = api.execution().await;
    let task = || TaskKey::of("first".into());
    let delayed = Event::Delayed { task: task(), until: Timestamp::from_micros(1_700_000_000_000_000) };
    api.append(id, vec![Event::Started, delayed]).await;
    let shown = async || api.get(&format!("/api/v1/executions/{id}/tasks")).await.json()["items"][0].clone();
    let waiting = shown().await;
    assert_eq!((&waiting["status"], waiting["started_at"].is_string()), (&json!("delayed"), true));
    let decided = Event::Decided {
        task: task(),
        output: Payload::Inline(Value::Null),
        ports: Vec::new(),
        log: Vec::new(),
    };
    api.append(id, vec![decided]).await;
    let ended = shown().await;
    assert_eq!((&ended["status"], &ended["started_at"]), (&json!("completed"), &waiting["started_at"]));
    assert!(ended["duration_ms"].is_u64(), "{ended}");
}

#[tokio::test]
async fn an_execution_is_seen_as_it_moves() {
    let api = start(Config::default());
    let id = api.execution().await;
    let path = format!("/api/v1/executions/{id}");
    api.append(id, vec![Event::Started, dispatched("first")]).await;

    let why = api.get(&format!("{path}/why")).await.json();
    assert_eq!(why["waiting"][0]["reason"], "no_worker", "{why}");
    assert_eq!(why["waiting"][1]["waits_for"], json!(["first"]), "{why}");

    api.append(id, vec![completed("first", json!("you")), dispatched("second")]).await;
    let body = api.get(&path).await.json();
    assert_eq!((&body["status"], &body["progress"]), (&json!("running"), &json!(50.0)));

    let output = Some(Payload::Inline(json!({ "said": "you" })));
    let end = Event::Finished { status: Status::Completed, output, failure: None };
    api.append(id, vec![completed("second", json!(2)), end]).await;
    let body = api.get(&path).await.json();
    assert_eq!(
        (&body["status"], &body["progress"], &body["output"]["said"]),
        (&json!("completed"), &json!(100.0), &json!("you"))
    );

    let tasks = api.get(&format!("{path}/tasks")).await.json();
    assert_eq!(
        (&tasks["items"][0]["component"], &tasks["items"][0]["duration_ms"]),
        (&json!("first"), &json!(2))
    );
    assert_eq!(
        (&tasks["items"][1]["status"], &tasks["items"][1]["type"]),
        (&json!("completed"), &json!("echo"))
    );

    let first = api.get(&format!("{path}/journal?limit=3")).await.json();
    let rest = api
        .get(&format!("{path}/journal?limit=3&cursor={}", first["next_cursor"].as_str().expect("more")))
        .await;
    assert_eq!((&rest.json()["items"][0]["seq"], &rest.json()["next_cursor"]), (&json!(4), &Value::Null));

    let logs = api.get(&format!("{path}/logs?level=info")).await.json();
    let lines: Vec<&str> =
        logs["items"].as_array().into_iter().flatten().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(
        lines,
        [
            "Accepted version 1 from owner",
            "Started",
            "first completed",
            "second completed",
            "Ended as completed"
        ]
    );

    let cancelled = api.send("POST", &format!("{path}/cancel"), &[], "").await;
    assert_eq!((cancelled.status, &cancelled.json()["code"]), (409, &json!("execution_ended")));

    let events = api.get(&format!("{path}/events")).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    let names: Vec<&str> = events.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["snapshot", "end"], "{}", events.text);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_reaches_the_end_even_when_the_display_shows_nothing() {
    let api = start(Config::default());
    let id = api.execution().await;
    api.append(id, vec![Event::Started]).await;
    let path = format!("/api/v1/executions/{id}/events");
    let watching = api.get(&path);
    let ending = async {
        tokio::task::yield_now().await;
        api.append(id, vec![Event::Finished { status: Status::Cancelled, output: None, failure: None }])
            .await;
    };
    let (events, ()) = tokio::join!(watching, ending);
    assert!(
        events.text.contains("event: end") && events.text.contains("\"status\":\"cancelled\""),
        "{}",
        events.text
    );
}

#[tokio::test]
async fn a_cancellation_is_a_row_before_it_is_a_hint() {
    let api = start(Config::default());
    let mut inbox = api.queue.inbox().await.expect("an inbox");
    let id = api.execution().await;
    let cancelled =
        api.post(&format!("/api/v1/executions/{id}/cancel"), json!({ "reason": "no need" })).await;
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (202, &json!("pending")));
    let shards: Vec<Shard> = Shard::all().collect();
    let waiting = api.store.requests_waiting(&shards, Duration::ZERO, 10).await.expect("read");
    let request = waiting.first().expect("a request");
    inbox.serve(&shards).await.expect("shards");
    // What is not acknowledged comes again, so the same hint may come more than once.
    let hint = loop {
        let hints = inbox.receive(10).await.expect("hints").into_iter().map(|delivery| delivery.message);
        let is_ours =
            |hint: &InboxMessage| matches!(&hint.body, InboxBody::Request { id, .. } if *id == request.id);
        if let Some(hint) = hints.into_iter().find(is_ours) {
            break hint;
        }
        tokio::task::yield_now().await;
    };
    let cause = MessageId::derived(id, &format!("request/{}", request.id));
    assert_eq!(hint.id, cause);
}

#[tokio::test]
async fn a_dead_letter_is_sent_again_and_then_gone() {
    let api = start(Config::default());
    let execution = ExecutionId::generate();
    let shard = Shard::of(execution);
    let message = InboxMessage { id: MessageId::generate(), shard, body: InboxBody::Sweep { execution } };
    let mut letter = DeadLetter {
        id: DeadLetterId::generate(),
        queue: "inbox".to_owned(),
        reason: "test".to_owned(),
        at: Timestamp::from_micros(0),
        execution: Some(execution),
        message: Some(message.id),
        headers: Value::Null,
        bytes: encode(&message).expect("bytes"),
    };
    let path = format!("/api/v1/dead-letters/{}", letter.id);
    api.store.dead_letter_add(letter.clone()).await.expect("kept");
    assert_eq!(api.get(&path).await.json()["content"]["shard"], json!(shard.0));
    let replayed = api.post(&format!("{path}/replay"), json!({})).await;
    assert_eq!((replayed.status, &replayed.json()["sent_as"]), (200, &json!("inbox")));
    let mut inbox = api.queue.inbox().await.expect("an inbox");
    inbox.serve(&[shard]).await.expect("a shard");
    assert_eq!(inbox.receive(1).await.expect("the message")[0].message, message);
    assert_eq!(api.get(&path).await.status, 404);

    letter.bytes = b"rubbish".to_vec();
    api.store.dead_letter_add(letter).await.expect("kept");
    assert_eq!(api.post(&format!("{path}/replay"), json!({})).await.code(), "dead_letter_unreadable");
}

#[tokio::test]
async fn payloads_are_for_workers_with_the_token_and_for_their_execution() {
    let closed = start(Config::default());
    let gateway = format!("/internal/payloads/{}/{}", ExecutionId::generate(), PayloadId::generate());
    assert_eq!(closed.get(&gateway).await.code(), "forbidden");

    let api = start(Config { worker_token: Some(Secret::new("s3cret")), ..Config::default() });
    let execution = api.execution().await;
    let payload = PayloadId::generate();
    let gateway = format!("/internal/payloads/{execution}/{payload}");
    assert_eq!(
        api.send("PUT", &gateway, &[("authorization", "Bearer wrong")], "1").await.code(),
        "unauthorized"
    );
    let right = [("authorization", "Bearer s3cret")];
    assert_eq!(api.send("PUT", &gateway, &right, "{\"a\":1}").await.status, 204);
    assert_eq!(api.send("GET", &gateway, &right, "").await.text, "{\"a\":1}");
    let shown = api.get(&format!("/api/v1/payloads/{execution}/{payload}")).await;
    assert_eq!(
        (shown.headers["content-type"].as_bytes(), shown.text.as_str()),
        (&b"application/json"[..], "{\"a\":1}")
    );
    let elsewhere = format!("/internal/payloads/{}/{payload}", ExecutionId::generate());
    assert_eq!(api.send("GET", &elsewhere, &right, "").await.code(), "not_found");
}

#[tokio::test]
async fn notices_are_put_by_workers_with_the_token_for_an_execution_there_is() {
    let api = start(Config { worker_token: Some(Secret::new("s3cret")), ..Config::default() });
    let execution = api.execution().await;
    let notice = |to: &str| {
        let id = shared::ids::NotificationId::derived(execution, "key", to);
        json!({ "id": id, "to": to, "subject": "Stock", "text": "Low", "severity": "warning" })
    };
    let body = json!([notice("owner"), notice("somebody")]).to_string();
    let gateway = format!("/internal/notifications/{execution}");
    let json_type = ("content-type", "application/json");
    let wrong = [("authorization", "Bearer wrong"), json_type];
    assert_eq!(api.send("PUT", &gateway, &wrong, &body).await.code(), "unauthorized");
    let right = [("authorization", "Bearer s3cret"), json_type];
    // Told again, it is the same.
    for _ in 0..2 {
        assert_eq!(api.send("PUT", &gateway, &right, &body).await.status, 204);
    }
    let mine = api.get("/api/v1/notifications").await.json();
    let items = mine["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "{mine}");
    assert_eq!((&items[0]["to"], &items[0]["severity"]), (&json!("owner"), &json!("warning")));
    assert_eq!(items[0]["execution_id"], json!(execution));
    assert_eq!(api.send("PUT", &gateway, &right, "{}").await.code(), "invalid_body");
    let elsewhere = format!("/internal/notifications/{}", ExecutionId::generate());
    assert_eq!(api.send("PUT", &elsewhere, &right, &body).await.code(), "not_found");
    let other = [("x-tenant-id", "nobody"), right[0], json_type];
    assert_eq!(api.send("PUT", &gateway, &other, &body).await.code(), "invalid_header");
}

#[tokio::test]
async fn the_promised_metrics_are_there() {
    let api = start(Config::default());
    api.execution().await;
    let text = api.get("/metrics").await.text;
    for start in [
        "workflow_executions_total{status=\"completed\"} ",
        "workflow_executions_total{status=\"failed\"} ",
        "workflow_executions_total{status=\"cancelled\"} ",
        "workflow_execution_duration_seconds_bucket{le=",
        "workflow_active_count 1",
        "workflow_queue_depth ",
        "system_cpu_percent ",
        "system_memory_percent ",
        "api_request_duration_seconds_bucket{le=",
        "api_requests_total{endpoint=\"/workflows\",method=\"POST\"} 1",
        "sweep_lag_seconds ",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start} is not in\n{text}");
    }
}

#[tokio::test]
async fn every_documented_path_is_served_and_every_page_is_shown() {
    let api = start(Config::default());
    let document = api.get("/api/v1/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            let path = path.replace("{id}", "x").replace("{type}", "echo").replace("{execution}", "x");
            let answered = api.send(&method.to_uppercase(), &path, &[], "").await;
            let is_served = answered.status != 405 && !answered.text.contains("There is no path");
            assert!(is_served, "{method} {path}: {}", answered.text);
        }
    }
    for page in ["/api/v1/docs", "/docs/errors", "/docs/errors/not_found"] {
        let shown = api.get(page).await;
        assert_eq!(
            (shown.status, shown.headers["x-content-type-options"].as_bytes()),
            (200, &b"nosniff"[..]),
            "{page}"
        );
        assert!(shown.text.starts_with("<!doctype html>") && !shown.text.contains("<script"), "{page}");
    }
    let kind = api.get("/api/v1/components/repeat").await.json();
    assert_eq!(
        (&kind["type"], &kind["family"], &kind["ports"]),
        (&json!("echo"), &json!("utility"), &json!(["success", "error", "timeout"]))
    );
    assert!(api.get("/api/v1/schemas/workflow.json").await.json().is_object());
}

#[tokio::test]
async fn others_are_not_let_in_without_being_told_to() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let ports = Ports {
        secrets: std::sync::Arc::new(shared::port::secrets::EnvironmentSecrets),
        store,
        queue: Arc::new(InProcessQueue::new()),
        progress: Arc::new(InProcessProgress::new()),
        rooms: Arc::new(InProcessRooms::new()),
        catalogue: catalogue(),
        mailer: None,
        meters: Vec::new(),
    };
    let config = Config { listen: ([0, 0, 0, 0], 0).into(), ..Config::default() };
    let refused = api::run(config, ports, CancellationToken::new()).await;
    assert!(matches!(refused, Err(api::ApiError::Remote(_))));
}

#[tokio::test]
async fn a_problem_reads_the_same_for_ever() {
    let api = start(Config::default());
    let headers = [("content-type", "application/json"), ("x-request-id", "trace-1")];
    let refused = api.send("POST", "/api/v1/workflows/validate", &headers, "{\"definition\": 7}").await;
    insta::assert_json_snapshot!(refused.json(), @r#"
    {
      "type": "/docs/errors/invalid_body",
      "title": "The body has the wrong shape",
      "status": 422,
      "detail": "`definition` is a number; send the workflow document as an object, or as text in YAML or JSON (line 1, column 17).",
      "code": "invalid_body",
      "trace_id": "trace-1",
      "problems": [
        {
          "code": "invalid_body",
          "message": "`definition` is a number; send the workflow document as an object, or as text in YAML or JSON",
          "severity": "error",
          "path": [],
          "line": 1,
          "column": 17
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn the_end_waits_for_nothing_when_nothing_is_under_way() {
    let ports = Ports {
        secrets: std::sync::Arc::new(shared::port::secrets::EnvironmentSecrets),
        store: Arc::new(MemoryStore::new(Arc::new(SystemClock))),
        queue: Arc::new(InProcessQueue::new()),
        progress: Arc::new(InProcessProgress::new()),
        rooms: Arc::new(InProcessRooms::new()),
        catalogue: catalogue(),
        mailer: None,
        meters: Vec::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let shutdown = CancellationToken::new();
    let served = api::serve(listener, Config::default(), ports, shutdown.clone());
    shutdown.cancel();
    let served = tokio::time::timeout(std::time::Duration::from_secs(1), served).await;
    assert!(matches!(served, Ok(Ok(()))), "{served:?}");
}

#[tokio::test]
async fn whatever_waits_says_until_when() {
    let api = start(Config::default());
    let workflow = api.workflow().await;
    let later = json!({ "parameters": { "who": "you" }, "scheduled_at": "2999-01-01T00:00:00Z" });
    let accepted = api.post(&format!("/api/v1/workflows/{workflow}/execute"), later).await.json();
    let id: ExecutionId = accepted["id"].as_str().expect("an id").parse().expect("an execution id");
    let path = format!("/api/v1/executions/{id}/why");
    let why = api.get(&path).await.json();
    assert_eq!(
        (&why["waiting"][0]["reason"], &why["waiting"][0]["until"]),
        (&json!("scheduled"), &json!("2999-01-01T00:00:00.000000Z"))
    );

    let failed = Event::TaskFailed {
        task: TaskKey::of("first".into()),
        attempt: 1,
        failure: Failure::new(FailureClass::Http5xx, "the shop answered 502"),
        retry_at: "2999-01-02T00:00:00Z".parse().ok(),
        worker: None,
        started_at: None,
        log: Vec::new(),
    };
    api.append(id, vec![Event::Started, dispatched("first"), failed]).await;
    let why = api.get(&path).await.json();
    assert_eq!(
        (&why["waiting"][0]["reason"], &why["waiting"][0]["until"]),
        (&json!("retry"), &json!("2999-01-02T00:00:00.000000Z"))
    );
    let summary = why["summary"].as_str().expect("a sentence");
    assert!(summary.starts_with("`first`: Attempt 1 failed (http_5xx: the shop answered 502);"), "{summary}");
}
