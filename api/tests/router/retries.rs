//! Executions done again, and many acted on at once: as a client sees them.

use api::Config;
use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass},
    execution::{Carry, Event, Payload, Status, StoredPayload, TaskKey},
    ids::{DeadLetterId, ExecutionId, PayloadId, Shard, TenantId, WorkerId},
    port::{
        queue::Queue,
        store::{DeadLetter, DeadLetters, Journal, Payloads},
    },
    time::Timestamp,
    wire::InboxBody,
};

use crate::{Api, completed, dispatched, start};

fn failed(component: &str) -> Vec<Event> {
    let failure = Failure::new(FailureClass::User(None), "no");
    let task_failed = Event::TaskFailed {
        task: TaskKey::of(component.into()),
        attempt: 1,
        failure: failure.clone(),
        retry_at: None,
        worker: Some(WorkerId::generate()),
        started_at: Some(Timestamp::from_micros(1_000)),
        log: Vec::new(),
    };
    vec![task_failed, Event::Finished { status: Status::Failed, output: None, failure: Some(failure) }]
}

/// One of which `first` completed with this and `second` failed.
async fn failed_second(api: &Api, output: Payload) -> ExecutionId {
    let id = api.execution().await;
    api.append(id, vec![Event::Started, dispatched("first")]).await;
    let mut event = completed("first", Value::Null);
    if let Event::TaskCompleted { output: given, .. } = &mut event {
        *given = output;
    }
    api.append(id, vec![event, dispatched("second")]).await;
    api.append(id, failed("second")).await;
    id
}

async fn again(api: &Api, id: ExecutionId, body: Value) -> ExecutionId {
    let retried = api.post(&format!("/api/v1/executions/{id}/retry"), body).await;
    assert_eq!(retried.status, 202, "{}", retried.text);
    let new = retried.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(retried.headers["location"], format!("/api/v1/executions/{new}"));
    new.parse().expect("an execution id")
}

#[tokio::test]
async fn what_is_kept_stands_in_the_first_turn_and_the_start_is_read_where_it_lies() {
    let api = start(Config::default());
    let id = failed_second(&api, Payload::Inline(json!(7))).await;
    let mut inbox = api.queue.inbox().await.expect("an inbox");
    let new = again(&api, id, json!({})).await;
    let turns = api.store.load(&[new], 0, 10).await.expect("read").remove(0).expect("a journal").turns;
    let [turn] = &turns[..] else { panic!("{turns:?}") };
    let [Event::Accepted(accepted), Event::Carried { task, from, result }] = &turn.events[..] else {
        panic!("{turn:?}")
    };
    assert_eq!(
        (accepted.retry_of, accepted.principal.as_str(), &accepted.trigger),
        (Some(id), "owner", &None)
    );
    assert_eq!((task, *from), (&TaskKey::of("first".into()), id));
    let kept = Carry::Completed { output: Payload::Inline(json!(7)), ports: Vec::new(), attempts: 1 };
    assert_eq!(**result, kept);
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("all shards");
    loop {
        let hints = inbox.receive(10).await.expect("hints");
        let is_ours = |body: &InboxBody| matches!(body, InboxBody::Wake { execution } if *execution == new);
        if hints.iter().any(|delivery| is_ours(&delivery.message.body)) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn files_and_values_that_what_is_kept_names_are_the_new_ones_own() {
    let api = start(Config::default());
    let id = api.execution().await;
    let (value, file, elsewhere) = (PayloadId::generate(), PayloadId::generate(), PayloadId::generate());
    let put = async |payload: PayloadId, text: String| {
        api.store.payload_put(TenantId::DEFAULT, id, payload, text.into_bytes()).await.expect("kept");
    };
    // Longer than what is looked through at once, and the name stands across the border.
    let border = 1024 * 1024 - 20;
    put(value, format!(r#"{{"pad":"{}","file":"{file}"}}"#, "x".repeat(border - 18))).await;
    put(file, format!("rows of {elsewhere}")).await;
    put(elsewhere, "more".to_owned()).await;
    let left = PayloadId::generate();
    put(left, "nobody names it".to_owned()).await;
    api.append(id, vec![Event::Started, dispatched("first")]).await;
    let mut event = completed("first", Value::Null);
    if let Event::TaskCompleted { output, .. } = &mut event {
        *output = Payload::Stored(StoredPayload { id: value, size: border as u64 });
    }
    api.append(id, vec![event, dispatched("second")]).await;
    api.append(id, failed("second")).await;
    let new = again(&api, id, json!({})).await;
    for (payload, is_there) in [(value, true), (file, true), (elsewhere, true), (left, false)] {
        let found = api.store.payload_get(new, payload).await.expect("read");
        assert_eq!(found.is_some(), is_there, "{payload}");
    }
}

#[tokio::test]
async fn a_value_that_is_gone_is_said_and_nothing_is_started() {
    let api = start(Config::default());
    let gone = Payload::Stored(StoredPayload { id: PayloadId::generate(), size: 9 });
    let id = failed_second(&api, gone).await;
    let path = format!("/api/v1/executions/{id}/retry");
    let refused = api.post(&path, json!({})).await;
    assert_eq!(refused.code(), "retry_refused");
    assert!(refused.text.contains("ask for `whole`"), "{}", refused.text);
    assert!(api.get(&format!("/api/v1/executions/{id}")).await.json()["retried_by"].is_null());
    again(&api, id, json!({ "from": "whole" })).await;
}

#[tokio::test]
async fn a_bulk_action_needs_a_filter_and_answers_for_each() {
    let api = start(Config::default());
    let id = failed_second(&api, Payload::Inline(json!(1))).await;
    let path = "/api/v2/executions/bulk";
    assert_eq!(api.post(path, json!({ "action": "kill", "query": {} })).await.code(), "invalid_body");
    let unknown = api.post(path, json!({ "action": "erase", "query": { "status": "failed" } })).await;
    assert_eq!(unknown.code(), "invalid_body");
    let look =
        api.post(path, json!({ "action": "retry", "query": { "status": "failed" }, "dry_run": true })).await;
    let item = look.json()["items"][0].clone();
    assert_eq!(
        (item["outcome"].as_str(), item["again"].clone()),
        (Some("would"), json!(["second"])),
        "{item}"
    );
    let late = api.post(path, json!({ "action": "pause", "query": { "status": "failed" } })).await.json();
    assert_eq!(late["items"][0]["code"], "execution_ended", "{late}");
    let done = api.post(path, json!({ "action": "retry", "query": { "status": "failed" } })).await.json();
    let new = done["items"][0]["retried_as"].as_str().expect("an id").to_owned();
    let shown = api.get(&format!("/api/v1/executions/{id}")).await.json();
    assert_eq!(shown["retried_by"], json!([new]), "{shown}");
    assert_eq!(api.get(&format!("/api/v1/executions/{new}")).await.json()["retry_of"], json!(id));
}

#[tokio::test]
async fn dead_letters_are_listed_and_removed_by_filter() {
    let api = start(Config::default());
    for (queue, reason) in [("tasks", "poison: 3 workers"), ("tasks", "torn"), ("inbox", "torn")] {
        let letter = DeadLetter {
            id: DeadLetterId::generate(),
            queue: queue.to_owned(),
            reason: reason.to_owned(),
            at: Timestamp::from_micros(5),
            execution: None,
            message: None,
            headers: Value::Null,
            bytes: Vec::new(),
        };
        api.store.dead_letter_add(letter).await.expect("kept");
    }
    let count = async |query: &str| {
        let found = api.get(&format!("/api/v1/dead-letters{query}")).await.json();
        found["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((count("").await, count("?queue=tasks&reason=TORN").await), (3, 1));
    let purge = "/api/v1/dead-letters/purge";
    assert_eq!(api.post(purge, json!({ "query": {} })).await.code(), "invalid_body");
    let removed = api.post(purge, json!({ "query": { "reason": "torn" } })).await.json();
    assert_eq!(removed, json!({ "removed": 2, "more": false }));
    assert_eq!(count("").await, 1);
}
