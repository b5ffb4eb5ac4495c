//! Executions moved to another version: as a client sees what a coordinator decides.

use api::Config;
use serde_json::{Value, json};
use shared::{
    execution::{Event, moving::Moved},
    ids::{ExecutionId, Shard},
    port::queue::Queue,
    wire::{InboxBody, RequestBody},
};

use crate::{Answered, Api, completed, dispatched, start};

/// As the workflow of the other tests, with one more at the end.
const SECOND: &str = "\
workflow: v1
name: greet
parameters:
  who: { type: string, required: true }
components:
  first: { type: echo, config: { value: '${{ parameters.who }}' } }
  second: { type: echo, needs: [first], config: { value: 2 } }
  third: { type: echo, needs: [second], config: { value: 3 } }
";

/// One of which `second` is running, and whose workflow has a second version.
async fn at_second(api: &Api) -> ExecutionId {
    let id = api.execution().await;
    api.append(id, vec![Event::Started, dispatched("first")]).await;
    api.append(id, vec![completed("first", json!(1)), dispatched("second")]).await;
    let workflow = api.get(&format!("/api/v1/executions/{id}")).await.json()["workflow_id"].clone();
    let path = format!("/api/v1/workflows/{}", workflow.as_str().expect("an id"));
    let body = json!({ "name": "greet", "definition": SECOND }).to_string();
    let saved = api.send("PUT", &path, &[("content-type", "application/json")], &body).await;
    assert_eq!(saved.status, 200, "{}", saved.text);
    id
}

/// Asks for a move, and answers it as a coordinator that decides so would.
async fn decided(api: &Api, id: ExecutionId, decide: impl Fn(&Moved) -> Event) -> Answered {
    let mut inbox = api.queue.inbox().await.expect("an inbox");
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("all shards");
    let path = format!("/api/v2/executions/{id}/move");
    let asked = api.post(&path, json!({ "version": 2, "reason": "mended" }));
    let answers = async {
        loop {
            for delivery in inbox.receive(10).await.expect("hints") {
                let message = delivery.message;
                delivery.answer.ack().await;
                let cause = message.id;
                let InboxBody::Request { execution, id: request, body } = message.body else {
                    continue;
                };
                let RequestBody::Move(asked) = body else { continue };
                assert_eq!(execution, id);
                let moved = Moved {
                    by: asked.by,
                    reason: asked.reason,
                    from: 1,
                    version: asked.version,
                    hash: asked.hash,
                    mapping: asked.mapping,
                    parameters: serde_json::Map::from_iter([("who".to_owned(), json!("you"))]),
                };
                api.append_as(id, (cause, Some(request)), vec![decide(&moved)]).await;
                return;
            }
        }
    };
    tokio::join!(asked, answers).0
}

#[tokio::test]
async fn a_look_says_what_would_become_of_each_component_and_does_nothing() {
    let api = start(Config::default());
    let id = at_second(&api).await;
    let look = api.post(&format!("/api/v2/executions/{id}/move"), json!({ "dry_run": true })).await;
    assert_eq!(look.status, 200, "{}", look.text);
    let look = look.json();
    assert_eq!(
        (&look["from_version"], &look["version"], &look["decided"]),
        (&json!(1), &json!(2), &json!(false))
    );
    let fates: Vec<(&Value, &Value)> = look["components"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|component| (&component["component"], &component["fate"]))
        .collect();
    let expected = [("first", "kept"), ("second", "goes_on"), ("third", "new")];
    assert_eq!(
        fates,
        expected.map(|(a, b)| (json!(a), json!(b))).iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
    );
    assert_eq!(api.get(&format!("/api/v1/executions/{id}")).await.json()["workflow_version"], 1);
}

#[tokio::test]
async fn what_was_decided_is_read_from_the_turn_that_answers_it() {
    let api = start(Config::default());
    let id = at_second(&api).await;
    let moved = decided(&api, id, |moved| Event::Moved(Box::new(moved.clone()))).await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!((&moved.json()["decided"], &moved.json()["version"]), (&json!(true), &json!(2)));
    let found = api.get(&format!("/api/v1/executions/{id}")).await.json();
    assert_eq!((&found["workflow_version"], &found["parameters"]), (&json!(2), &json!({ "who": "you" })));
    // What is new is known by its type.
    api.append(id, vec![completed("second", json!(2)), dispatched("third")]).await;
    let tasks = api.get(&format!("/api/v1/executions/{id}/tasks")).await.json();
    assert_eq!(
        (&tasks["items"][2]["component"], &tasks["items"][2]["type"]),
        (&json!("third"), &json!("echo"))
    );
    let logs = api.get(&format!("/api/v1/executions/{id}/logs")).await;
    assert!(logs.text.contains("owner moved it from version 1 to 2: mended"), "{}", logs.text);
    let again = api.post(&format!("/api/v2/executions/{id}/move"), json!({ "version": 2 })).await;
    assert_eq!(again.code(), "move_refused");
}

#[tokio::test]
async fn a_move_that_cannot_be_made_any_more_says_why() {
    let api = start(Config::default());
    let id = at_second(&api).await;
    let refused = decided(&api, id, |moved| Event::MoveRefused {
        by: moved.by.clone(),
        version: moved.version,
        because: vec!["`second` is running, and it went on".to_owned()],
    })
    .await;
    assert_eq!((refused.status, refused.code()), (422, "move_refused".to_owned()), "{}", refused.text);
    assert!(refused.text.contains("It went on meanwhile"), "{}", refused.text);
    assert!(refused.text.contains("`second` is running, and it went on."), "{}", refused.text);
    assert_eq!(api.get(&format!("/api/v1/executions/{id}")).await.json()["workflow_version"], 1);
}
