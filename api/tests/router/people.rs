//! What people are asked, links, signals: as a client sees them. A small coordinator of our own decides.

use std::{sync::Arc, time::Duration};

use api::Config;
use serde_json::{Value, json};
use shared::{
    component::control::{OnExpiry, Urgency},
    execution::{Answer, AnswerVerdict, Event, PersonAsk, PersonKind, Status, TaskKey, Turn},
    ids::{ExecutionId, HumanTaskId, MessageId, RequestId, Shard, TenantId},
    port::{
        people::HumanTasks,
        queue::Queue,
        store::{
            Commit, HumanTaskChange, HumanTaskStatus, Journal, Kept, StatusChange, Sweeps, Views, WaitChange,
        },
    },
    time::{Clock, SystemClock, Timestamp},
    wire::{InboxBody, RequestBody},
};
use store::MemoryStore;
use tokio::task::JoinHandle;

use crate::{Answered, Api, start};

fn ask(assignees: &[&str]) -> PersonAsk {
    PersonAsk {
        kind: PersonKind::Approval,
        title: "Pay <b>this</b>?".to_owned(),
        message: "An invoice of 5 & more.\n\nSee \"the\" file.".to_owned(),
        form: None,
        assignees: assignees.iter().map(|name| (*name).to_owned()).collect(),
        quorum: 1,
        due_at: None,
        expires_at: None,
        on_expiry: OnExpiry::Expire,
        remind_every: None,
        escalations: Vec::new(),
        urgency: Urgency::Normal,
        allow_delegate: true,
        requester_may_decide: false,
        links: true,
        claim: false,
    }
}

fn work(assignees: &[&str]) -> PersonAsk {
    let form = json!({
        "type": "object",
        "properties": { "amount": { "type": "number" }, "note": { "type": "string" } },
        "required": ["amount", "note"],
    });
    PersonAsk {
        kind: PersonKind::HumanTask,
        form: Some(form),
        claim: true,
        links: false,
        requester_may_decide: true,
        ..ask(assignees)
    }
}

fn asking(task: &str, ask: PersonAsk) -> HumanTaskChange {
    HumanTaskChange {
        task: TaskKey::of(task.into()),
        assignees: ask.assignees.clone(),
        ask,
        claimed_by: None,
        answers: Vec::new(),
        status: HumanTaskStatus::Open,
        created_at: SystemClock.now(),
        reminded_at: None,
    }
}

/// Keeps a turn as a coordinator would.
async fn keep(store: &MemoryStore, id: ExecutionId, cause: MessageId, fill: impl FnOnce(&mut Commit)) {
    let tenant = TenantId::DEFAULT;
    let row = store.execution_get(tenant, id).await.expect("read").expect("it was accepted");
    let turns =
        store.load(&[id], 0, u32::MAX).await.expect("read").remove(0).expect("it has a journal").turns;
    let turn =
        Turn { execution: id, seq: turns.len() as u32 + 1, cause, at: SystemClock.now(), events: Vec::new() };
    let mut commit = Commit {
        people: Vec::new(),
        waits: Vec::new(),
        cache: Vec::new(),
        turn,
        tenant,
        workflow: row.workflow,
        change: None,
        timers: Vec::new(),
        give: Vec::new(),
        take: Vec::new(),
        wait: Vec::new(),
        release: false,
        has_asked: true,
        finished: Vec::new(),
        request: None,
        sweep_at: None,
    };
    fill(&mut commit);
    assert_eq!(store.commit(vec![commit]).await.expect("kept"), [Kept::Committed]);
}

/// What the engine does with requests about people: the first answer of an assignee counts.
async fn decide(
    store: &MemoryStore,
    execution: ExecutionId,
    id: RequestId,
    body: RequestBody,
    cause: MessageId,
) {
    let task = match &body {
        RequestBody::Answer { task, .. }
        | RequestBody::Claim { task, .. }
        | RequestBody::Delegate { task, .. } => task.clone(),
        _ => return,
    };
    let human_task = HumanTaskId::derived(execution, &task.to_string());
    let row = store.human_task_get(TenantId::DEFAULT, human_task).await.expect("read").expect("it is asked");
    let mut next = HumanTaskChange {
        task,
        ask: row.ask,
        assignees: row.assignees,
        claimed_by: row.claimed_by,
        answers: row.answers,
        status: row.status,
        created_at: row.created_at,
        reminded_at: row.reminded_at,
    };
    let is_open = next.status == HumanTaskStatus::Open;
    let counts = match body {
        RequestBody::Answer { answer, .. }
            if is_open && next.answers.iter().all(|known| known.for_assignee != answer.for_assignee) =>
        {
            let verdict = answer.verdict;
            next.answers.push(answer);
            next.status = match verdict {
                AnswerVerdict::Reject => HumanTaskStatus::Rejected,
                AnswerVerdict::Submit => HumanTaskStatus::Submitted,
                AnswerVerdict::Approve if next.answers.len() >= next.ask.quorum as usize => {
                    HumanTaskStatus::Approved
                }
                AnswerVerdict::Approve => HumanTaskStatus::Open,
            };
            true
        }
        RequestBody::Claim { by, .. } if is_open && next.claimed_by.is_none() => {
            next.claimed_by = Some(by);
            true
        }
        RequestBody::Delegate { from, to, .. } if is_open && next.assignees.contains(&from) => {
            next.assignees.retain(|name| *name != from);
            next.assignees.push(to);
            true
        }
        _ => false,
    };
    if !counts {
        return store.forget_request(id).await.expect("forgotten");
    }
    keep(store, execution, cause, |commit| {
        commit.people.push(next);
        commit.request = Some(id);
    })
    .await;
}

struct People {
    api: Arc<Api>,
    execution: ExecutionId,
    coordinator: Option<JoinHandle<()>>,
}

impl Drop for People {
    fn drop(&mut self) {
        if let Some(coordinator) = &self.coordinator {
            coordinator.abort();
        }
    }
}

impl People {
    /// An execution that asks, and somebody who decides.
    async fn asked(asks: Vec<(&str, PersonAsk)>) -> Self {
        let mut people = Self::undecided(asks).await;
        let mut inbox = people.api.queue.inbox().await.expect("an inbox");
        let store = Arc::clone(&people.api.store);
        #[expect(clippy::disallowed_methods, reason = "aborted when the fixture is dropped")]
        let coordinator = tokio::spawn(async move {
            inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("shards");
            loop {
                for delivery in inbox.receive(10).await.expect("hints") {
                    if let InboxBody::Request { execution, id, body } = delivery.message.body {
                        decide(&store, execution, id, body, delivery.message.id).await;
                    }
                    delivery.answer.ack().await;
                }
            }
        });
        people.coordinator = Some(coordinator);
        people
    }

    /// The same with nobody who decides.
    async fn undecided(asks: Vec<(&str, PersonAsk)>) -> Self {
        let config = Config { public_url: Some("https://flows.example/".to_owned()), ..Config::default() };
        let api = Arc::new(start(config));
        let execution = api.execution().await;
        let changes = asks.into_iter().map(|(task, ask)| asking(task, ask)).collect();
        keep(&api.store, execution, MessageId::generate(), |commit| commit.people = changes).await;
        Self { api, execution, coordinator: None }
    }

    fn path(&self, task: &str) -> String {
        format!("/api/v1/human-tasks/{}", HumanTaskId::derived(self.execution, task))
    }

    async fn post(&self, task: &str, verb: &str, body: Value) -> Answered {
        self.api.post(&format!("{}/{verb}", self.path(task)), body).await
    }

    async fn links(&self, task: &str, assignee: &str) -> (String, String) {
        let made = self.post(task, "links", json!({ "assignee": assignee, "expires_in": "2h" })).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let body = made.json();
        let path = |key: &str| {
            let url = body[key].as_str().expect("a link").to_owned();
            url.strip_prefix("https://flows.example").expect("the public address").to_owned()
        };
        (path("approve_url"), path("reject_url"))
    }
}

fn refusal(answered: &Answered) -> (u16, String) {
    (answered.status, answered.code())
}

fn detail(answered: &Answered) -> String {
    answered.json()["detail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_inbox_shows_what_is_asked() {
    let people = People::asked(vec![
        ("pay", ask(&["role:owner", "finance"])),
        ("check", PersonAsk { urgency: Urgency::High, ..work(&["alice"]) }),
    ])
    .await;
    let names = async |query: &str| {
        let listed = people.api.get(&format!("/api/v1/human-tasks{query}")).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        let items = listed.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["component"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["check", "pay"], "the most urgent first");
    assert_eq!(names("?mine=true").await, ["pay"]);
    assert_eq!(names("?mine=true&assignee=finance").await, [""; 0]);
    assert_eq!(names("?assignee=alice").await, ["check"]);
    assert_eq!(names("?kind=approval").await, ["pay"]);
    assert_eq!(names(&format!("?execution_id={}&status=any", people.execution)).await.len(), 2);
    assert_eq!(names("?status=approved").await, [""; 0]);
    let first = people.api.get("/api/v1/human-tasks?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().expect("more");
    assert_eq!(names(&format!("?limit=1&cursor={cursor}")).await, ["pay"]);
    for wrong in ["?status=done", "?kind=form", "?cursor=x", "?colour=red"] {
        let refused = people.api.get(&format!("/api/v1/human-tasks{wrong}")).await;
        assert_eq!(refusal(&refused), (400, "invalid_query".to_owned()), "{wrong}");
    }

    let shown = people.api.get(&people.path("pay")).await.json();
    assert_eq!(
        (&shown["kind"], &shown["status"], &shown["is_mine"], &shown["requester"], &shown["workflow_name"]),
        (&json!("approval"), &json!("open"), &json!(true), &json!("owner"), &json!("greet"))
    );
    assert_eq!(shown["assignees"], json!(["role:owner", "finance"]));
    let nobody = people.api.get(&people.path("nothing")).await;
    assert_eq!(refusal(&nobody), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn an_answer_is_definitive_and_recorded() {
    let people =
        People::asked(vec![("pay", PersonAsk { quorum: 2, ..ask(&["finance", "group:legal"]) })]).await;
    let refused = people.post("pay", "approve", json!({})).await;
    assert_eq!(refusal(&refused), (403, "not_asked".to_owned()));
    assert!(
        detail(&refused).contains("finance, group:legal") && detail(&refused).contains("`as`"),
        "{}",
        refused.text
    );

    let first = people
        .post("pay", "approve", json!({ "as": "finance", "comment": "fine", "data": { "n": 1 } }))
        .await;
    assert_eq!((first.status, &first.json()["status"]), (200, &json!("open")), "{}", first.text);
    let answer = &first.json()["answers"][0];
    assert_eq!(
        (&answer["by"], &answer["for_assignee"], &answer["verdict"], &answer["comment"], &answer["data"]),
        (&json!("owner"), &json!("finance"), &json!("approve"), &json!("fine"), &json!({ "n": 1 }))
    );
    let again = people.post("pay", "reject", json!({ "as": "finance" })).await;
    assert_eq!(refusal(&again), (409, "already_answered".to_owned()));
    assert!(detail(&again).starts_with("owner has approved it for finance"), "{}", again.text);
    let wrong = people.post("pay", "reject", json!({ "as": "sales" })).await;
    assert_eq!(refusal(&wrong), (403, "not_asked".to_owned()));
    let submitted = people.post("pay", "submit", json!({ "as": "legal" })).await;
    assert_eq!(refusal(&submitted), (409, "wrong_action".to_owned()));

    // `legal` is enough for `group:legal`.
    let second = people.post("pay", "approve", json!({ "as": "legal" })).await;
    assert_eq!((second.status, &second.json()["status"]), (200, &json!("approved")), "{}", second.text);
    let late = people.post("pay", "approve", json!({ "as": "legal" })).await;
    assert_eq!(refusal(&late), (409, "task_ended".to_owned()));
    assert!(detail(&late).starts_with("owner approved it at "), "{}", late.text);
}

#[tokio::test]
async fn whoever_started_it_does_not_decide_alone() {
    let mine = ["user:owner", "finance"];
    let people = People::asked(vec![
        ("pay", ask(&mine)),
        ("free", PersonAsk { requester_may_decide: true, ..ask(&mine) }),
    ])
    .await;
    for body in [json!({}), json!({ "as": "owner" }), json!({ "as": "user:owner" })] {
        let refused = people.post("pay", "approve", body).await;
        assert_eq!(refusal(&refused), (403, "requester_may_not_decide".to_owned()));
    }
    assert_eq!(people.post("pay", "approve", json!({ "as": "finance" })).await.status, 200);
    assert_eq!(people.post("free", "approve", json!({})).await.status, 200);
}

#[tokio::test]
async fn work_is_claimed_filled_in_and_handed_in() {
    let people = People::asked(vec![("check", work(&["owner", "alice"]))]).await;
    let form = json!({ "data": { "amount": 5, "note": "fine" } });
    let unclaimed = people.post("check", "submit", form.clone()).await;
    assert_eq!(refusal(&unclaimed), (409, "claim_conflict".to_owned()));
    let approved = people.post("check", "approve", json!({})).await;
    assert_eq!(refusal(&approved), (409, "wrong_action".to_owned()));
    for _ in 0..2 {
        let claimed = people.post("check", "claim", json!({})).await;
        assert_eq!(
            (claimed.status, &claimed.json()["claimed_by"]),
            (200, &json!("owner")),
            "{}",
            claimed.text
        );
    }
    let wrong = people.post("check", "submit", json!({ "data": { "amount": "much" } })).await;
    assert_eq!(refusal(&wrong), (422, "invalid_form".to_owned()));
    let mut paths: Vec<Value> = wrong.json()["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|problem| problem["path"].clone())
        .collect();
    paths.sort_by_key(ToString::to_string);
    assert_eq!(paths, [json!(["amount"]), json!(["note"])]);
    let done = people.post("check", "submit", form).await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("submitted")), "{}", done.text);
}

#[tokio::test]
async fn a_claim_of_another_is_respected() {
    let people = People::asked(vec![]).await;
    let held = HumanTaskChange {
        claimed_by: Some("alice".to_owned()),
        ..asking("check", work(&["owner", "alice"]))
    };
    keep(&people.api.store, people.execution, MessageId::generate(), |commit| commit.people.push(held)).await;
    let claimed = people.post("check", "claim", json!({})).await;
    assert_eq!(refusal(&claimed), (409, "claim_conflict".to_owned()));
    let submitted = people.post("check", "submit", json!({ "data": { "amount": 1, "note": "" } })).await;
    assert_eq!(
        (refusal(&submitted), detail(&submitted).as_str()),
        ((409, "claim_conflict".to_owned()), "alice has claimed it.")
    );
}

#[tokio::test]
async fn a_task_is_handed_on() {
    let people = People::asked(vec![
        ("pay", ask(&["finance", "legal"])),
        ("fixed", PersonAsk { allow_delegate: false, ..ask(&["owner"]) }),
    ])
    .await;
    let handed = people.post("pay", "delegate", json!({ "to": "user:carol", "as": "finance" })).await;
    assert_eq!(
        (handed.status, &handed.json()["assignees"]),
        (200, &json!(["legal", "user:carol"])),
        "{}",
        handed.text
    );
    let fixed = people.post("fixed", "delegate", json!({ "to": "carol" })).await;
    assert_eq!(refusal(&fixed), (409, "wrong_action".to_owned()));
    let twice = people.post("pay", "delegate", json!({ "to": "user:carol", "as": "legal" })).await;
    assert_eq!(refusal(&twice), (409, "wrong_action".to_owned()));
    let nobody = people.post("pay", "delegate", json!({ "to": "user:", "as": "legal" })).await;
    assert_eq!(refusal(&nobody), (422, "invalid_body".to_owned()));
    let missing = people.post("pay", "delegate", json!({})).await;
    assert_eq!(refusal(&missing), (422, "invalid_body".to_owned()));
}

#[tokio::test]
async fn of_two_answers_at_once_one_counts_and_the_other_hears_who_was_first() {
    let people = People::asked(vec![("pay", ask(&["finance", "legal"]))]).await;
    let (one, other) = tokio::join!(
        people.post("pay", "approve", json!({ "as": "finance" })),
        people.post("pay", "reject", json!({ "as": "legal" }))
    );
    let mut both = [one, other];
    both.sort_by_key(|answered| answered.status);
    assert_eq!((both[0].status, refusal(&both[1])), (200, (409, "task_ended".to_owned())));
    assert!(detail(&both[1]).starts_with("owner "), "{}", both[1].text);
}

#[tokio::test(start_paused = true)]
async fn without_a_coordinator_an_answer_is_kept_for_later() {
    let people = People::undecided(vec![("pay", ask(&["finance"]))]).await;
    let kept = people.post("pay", "approve", json!({ "as": "finance" })).await;
    assert_eq!((kept.status, &kept.json()["status"]), (202, &json!("pending")), "{}", kept.text);
    assert_eq!(kept.json()["status_url"], people.path("pay"));
    let shards: Vec<Shard> = Shard::all().collect();
    let waiting = people.api.store.requests_waiting(&shards, Duration::ZERO, 10).await.expect("read");
    let [request] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert!(matches!(&request.body, RequestBody::Answer { answer: Answer { by, .. }, .. } if by == "owner"));
}

#[tokio::test]
async fn a_task_of_an_ended_execution_takes_nothing() {
    let people = People::asked(vec![("pay", ask(&["finance"])), ("late", ask(&["finance"]))]).await;
    let mut late = asking("late", ask(&["finance"]));
    late.status = HumanTaskStatus::Expired;
    keep(&people.api.store, people.execution, MessageId::generate(), |commit| {
        commit.people.push(late);
        commit.change = Some(StatusChange { status: Status::Cancelled, failure: None, output: None });
        commit.turn.events.push(Event::Finished { status: Status::Cancelled, output: None, failure: None });
        commit.release = true;
    })
    .await;
    for (task, said) in [("pay", "It was cancelled"), ("late", "Its time was over")] {
        for (verb, body) in [
            ("approve", json!({ "as": "finance" })),
            ("delegate", json!({ "to": "x" })),
            ("links", json!({ "assignee": "finance" })),
        ] {
            let refused = people.post(task, verb, body).await;
            assert_eq!(refusal(&refused), (409, "task_ended".to_owned()), "{task} {verb}");
            assert!(detail(&refused).starts_with(said), "{}", refused.text);
        }
    }
}

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn a_link_shows_and_then_decides_once() {
    let people = People::asked(vec![("pay", PersonAsk { quorum: 2, ..ask(&["finance", "legal"]) })]).await;
    let (approve, reject) = people.links("pay", "finance").await;
    for _ in 0..2 {
        let page = people.api.send("GET", &approve, &[HTML], "").await;
        assert_eq!(
            (page.status, &page.headers["content-type"]),
            (200, &"text/html; charset=utf-8".parse().expect("a header"))
        );
        assert!(
            page.text.contains("<form method=\"post\">") && page.text.contains(">Approve</button>"),
            "{}",
            page.text
        );
        assert!(
            page.text.contains("Pay &lt;b&gt;this&lt;/b&gt;?") && page.text.contains("5 &amp; more."),
            "{}",
            page.text
        );
        assert!(!page.text.contains("<script") && !page.text.contains("style="), "{}", page.text);
        let policy = page.headers["content-security-policy"].to_str().expect("text");
        assert!(
            policy.starts_with("default-src 'none'")
                && policy.contains("form-action 'self'")
                && !policy.contains("unsafe")
        );
        // With `no-referrer` a browser would post with `Origin: null`.
        assert_eq!(page.headers["referrer-policy"], "same-origin");
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    let origin = ("origin", "http://localhost");
    let foreign =
        people.api.send("POST", &approve, &[HTML, FORM, ("origin", "https://evil.example")], "").await;
    assert_eq!(foreign.status, 403);
    let done = people.api.send("POST", &approve, &[HTML, FORM, origin], "comment=ok+%26+more").await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert!(done.text.contains("You approved it"), "{}", done.text);
    let shown = people.api.get(&people.path("pay")).await.json();
    assert_eq!(
        (&shown["answers"][0]["by"], &shown["answers"][0]["for_assignee"], &shown["answers"][0]["comment"]),
        (&json!("link:finance"), &json!("finance"), &json!("ok & more"))
    );
    // One answer of a quorum: the task is open, and both links are used.
    assert_eq!(shown["status"], "open");
    for link in [&approve, &reject] {
        let refused = people.api.send("POST", link, &[FORM], "").await;
        assert_eq!(refusal(&refused), (403, "link_refused".to_owned()));
        let page = people.api.send("GET", link, &[HTML], "").await;
        assert!(page.status == 200 && !page.text.contains("<form"), "{}", page.text);
    }
    let (_, reject) = people.links("pay", "legal").await;
    let done = people.api.send("POST", &reject, &[], "").await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("rejected")), "{}", done.text);
    let over = people.api.send("POST", &reject, &[], "").await;
    assert_eq!(refusal(&over), (409, "task_ended".to_owned()));
    let page = people.api.send("POST", &reject, &[HTML], "").await;
    assert!(page.status == 409 && page.text.contains("link:legal rejected it"), "{}", page.text);
}

#[tokio::test]
async fn a_link_that_is_not_ours_decides_nothing() {
    let people = People::asked(vec![("pay", ask(&["finance", "legal"]))]).await;
    let (approve, reject) = people.links("pay", "finance").await;
    let (payload, signature) = approve.rsplit_once('.').expect("two parts");
    let (other_payload, _) = reject.rsplit_once('.').expect("two parts");
    for wrong in [
        format!("{other_payload}.{signature}"),
        format!("{payload}."),
        format!("{payload}x.{signature}"),
        "/decide/x".to_owned(),
    ] {
        for method in ["GET", "POST"] {
            let refused = people.api.send(method, &wrong, &[], "").await;
            assert_eq!(refusal(&refused), (403, "link_refused".to_owned()), "{method} {wrong}");
            let page = people.api.send(method, &wrong, &[HTML], "").await;
            assert!(page.status == 403 && page.headers["content-type"] == "text/html; charset=utf-8");
        }
    }
    // Handed to somebody else: the link of the one before is void.
    let handed = people.post("pay", "delegate", json!({ "to": "carol", "as": "finance" })).await;
    assert_eq!(handed.status, 200, "{}", handed.text);
    let refused = people.api.send("POST", &approve, &[], "").await;
    assert_eq!(
        (refusal(&refused), detail(&refused).as_str()),
        ((403, "link_refused".to_owned()), "The task is with somebody else by now.")
    );
}

#[tokio::test]
async fn links_are_made_only_where_they_are_wanted() {
    let form = work(&[]).form;
    let people = People::asked(vec![
        ("pay", ask(&["finance"])),
        ("plain", PersonAsk { links: false, ..ask(&["finance"]) }),
        ("form", PersonAsk { form, ..ask(&["finance"]) }),
        ("check", PersonAsk { links: true, ..work(&["finance"]) }),
        (
            "short",
            PersonAsk {
                expires_at: Some(SystemClock.now().after(Duration::from_mins(5))),
                ..ask(&["finance"])
            },
        ),
    ])
    .await;
    for task in ["plain", "form", "check"] {
        let refused = people.post(task, "links", json!({ "assignee": "finance" })).await;
        assert_eq!(refusal(&refused), (409, "wrong_action".to_owned()), "{task}");
    }
    for body in [
        json!({ "assignee": "sales" }),
        json!({ "assignee": "finance", "expires_in": "1s" }),
        json!({ "assignee": "finance", "expires_in": "31d" }),
        json!({ "assignee": "finance", "expires_in": "soon" }),
        json!({}),
    ] {
        let refused = people.post("pay", "links", body).await;
        assert_eq!(refusal(&refused), (422, "invalid_body".to_owned()));
    }
    let made = people.post("short", "links", json!({ "assignee": "finance" })).await.json();
    let expires_at: Timestamp = serde_json::from_value(made["expires_at"].clone()).expect("an instant");
    assert!(expires_at.since(SystemClock.now()) <= Duration::from_mins(5), "no longer than the task waits");
    // Nothing of a link is kept in the journal.
    let journal = people.api.get(&format!("/api/v1/executions/{}/journal", people.execution)).await;
    assert!(!journal.text.contains("/decide/"), "{}", journal.text);
}

const WAITING: &str = "\
workflow: v1
name: waiting
components:
  paid: { type: wait_for_event, config: { event: paid, key: k } }
  sent: { type: wait_for_event, needs: [paid], config: { event: shipped, key: '${{ execution.id }}' } }
";

async fn waiting(api: &Api, document: &str) -> ExecutionId {
    let made = api.post("/api/v1/workflows", json!({ "definition": document })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = format!("/api/v1/workflows/{}/execute", made.json()["id"].as_str().expect("an id"));
    let accepted = api.post(&path, json!({})).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    accepted.json()["id"].as_str().expect("an id").parse().expect("an execution id")
}

#[tokio::test]
async fn a_signal_is_a_row_before_it_is_a_hint_and_sent_once_a_key() {
    let api = start(Config::default());
    let id = waiting(&api, WAITING).await;
    let path = format!("/api/v1/executions/{id}/signals");
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let send = |body: &'static str| api.send("POST", &path, &headers, body);
    let first = send(r#"{"name":"paid","data":{"amount":5}}"#).await;
    assert_eq!((first.status, &first.json()["repeated"]), (202, &json!(false)), "{}", first.text);
    let shards: Vec<Shard> = Shard::all().collect();
    let waiting = async || api.store.requests_waiting(&shards, Duration::ZERO, 10).await.expect("read");
    // Before a turn has it: the same row.
    let second = send(r#"{"name":"paid","data":{"amount":5}}"#).await;
    assert_eq!(first.json()["id"], second.json()["id"]);
    let kept = waiting().await;
    let [request] = kept.as_slice() else { panic!("{kept:?}") };
    let RequestBody::Signal { signal } = &request.body else { panic!("{request:?}") };
    assert_eq!((signal.kind.as_str(), &signal.key, &signal.body), ("paid", &None, &json!({ "amount": 5 })));
    assert_eq!(signal.id, request.id.to_string());
    // Afterwards: nothing new.
    let cause = MessageId::derived(id, &format!("request/{}", request.id));
    let answered = request.id;
    keep(&api.store, id, cause, |commit| commit.request = Some(answered)).await;
    let third = send(r#"{"name":"paid","data":{"amount":5}}"#).await;
    assert_eq!((third.status, &third.json()["repeated"]), (202, &json!(true)), "{}", third.text);
    assert_eq!(waiting().await, []);
    let other = send(r#"{"name":"paid","data":{"amount":6}}"#).await;
    assert_eq!(refusal(&other), (422, "idempotency_key_reused".to_owned()));
}

#[tokio::test]
async fn a_signal_for_nobody_is_refused() {
    let api = start(Config::default());
    let id = waiting(&api, WAITING).await;
    let path = format!("/api/v1/executions/{id}/signals");
    let wrong = api.post(&path, json!({ "name": "payed" })).await;
    assert_eq!(
        (refusal(&wrong), detail(&wrong).as_str()),
        ((422, "unknown_signal".to_owned()), "The workflow waits for `paid`, `shipped`.")
    );
    let large = api.post(&path, json!({ "name": "paid", "data": "x".repeat(70_000) })).await;
    assert_eq!(refusal(&large), (422, "invalid_body".to_owned()));
    let nowhere = format!("/api/v1/executions/{}/signals", ExecutionId::generate());
    assert_eq!(refusal(&api.post(&nowhere, json!({ "name": "paid" })).await), (404, "not_found".to_owned()));
    // Names that only the run knows: nobody can say that one is wrong.
    let open = waiting(
        &api,
        &WAITING
            .replace("name: waiting", "name: open")
            .replace("event: paid", "event: '${{ execution.id }}'"),
    )
    .await;
    let accepted =
        api.post(&format!("/api/v1/executions/{open}/signals"), json!({ "name": "anything" })).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    keep(&api.store, id, MessageId::generate(), |commit| {
        commit.change = Some(StatusChange { status: Status::Completed, failure: None, output: None });
        commit.turn.events.push(Event::Finished { status: Status::Completed, output: None, failure: None });
        commit.release = true;
    })
    .await;
    let late = api.post(&path, json!({ "name": "paid" })).await;
    assert_eq!(refusal(&late), (409, "execution_ended".to_owned()));
    assert!(detail(&late).starts_with("It ended as completed at "), "{}", late.text);
}

#[tokio::test]
async fn what_an_execution_waits_for_is_listed() {
    let api = start(Config::default());
    let id = waiting(&api, WAITING).await;
    let path = format!("/api/v1/executions/{id}/waits");
    assert_eq!(api.get(&path).await.json()["items"], json!([]));
    let open = WaitChange::Open {
        task: TaskKey::of("paid".into()),
        event: "paid".to_owned(),
        key: "k".to_owned(),
        early: Timestamp::from_micros(0),
    };
    keep(&api.store, id, MessageId::generate(), |commit| commit.waits.push(open)).await;
    let listed = api.get(&path).await.json();
    assert_eq!(
        listed["items"][0],
        json!({ "component": "paid", "event": "paid", "key": "k", "early": "1970-01-01T00:00:00.000000Z" })
    );
}

#[tokio::test]
async fn a_kill_is_a_row_before_it_is_a_hint() {
    let api = start(Config::default());
    let id = api.execution().await;
    let killed = api.post(&format!("/api/v1/executions/{id}/kill"), json!({ "reason": "stuck" })).await;
    assert_eq!((killed.status, &killed.json()["status"]), (202, &json!("pending")));
    let shards: Vec<Shard> = Shard::all().collect();
    let waiting = api.store.requests_waiting(&shards, Duration::ZERO, 10).await.expect("read");
    let wanted = RequestBody::Kill { by: "owner".to_owned(), reason: "stuck".to_owned() };
    assert_eq!(waiting.first().map(|request| &request.body), Some(&wanted));
}
