//! The promises of [`crate::port::people`], and of the store about what turns say of people and events.

use std::time::Duration;

use serde_json::json;

use super::store::{TENANT, accepted, another, execution, keep, other_tenant, start, to, turn, workflow};
use crate::{
    component::{
        Notice, Severity,
        control::{OnExpiry, Urgency},
    },
    execution::{Answer, AnswerVerdict, Iteration, PersonAsk, PersonKind, Status, TaskKey},
    ids::{ExecutionId, HumanTaskId, NotificationId, RequestId, Shard, TenantId},
    port::{
        people::{
            EventWait, HumanTaskCursor, HumanTaskFilter, HumanTaskPage, HumanTaskRow, KeyTaken, MailClaim,
            NotificationPage, NotificationRow,
        },
        store::{Commit, DynStore, HumanTaskChange, HumanTaskStatus, Kept, Request, WaitChange},
    },
    time::Timestamp,
    wire::RequestBody,
};

/// Turns every promise into a test. `$make` is an `async fn() -> Fixture` that gives an empty store.
#[macro_export]
macro_rules! people_conformance {
    ($make:path) => {
        $crate::promises!(people, $make:
            what_people_are_asked_comes_back
            a_human_task_follows_the_turns
            of_one_batch_the_last_word_counts
            a_turn_that_is_not_kept_asks_nobody
            an_end_cancels_what_is_open_and_nothing_else
            an_inbox_is_by_urgency_then_age
            an_inbox_is_found_by_any_of_its_names
            human_tasks_are_found_by_filter
            pages_of_an_inbox_neither_skip_nor_repeat
            no_tenant_sees_anothers_human_tasks
            a_wait_is_found_by_type_and_key
            a_wait_is_replaced_and_closed
            an_end_closes_waits
            a_long_key_is_a_key
            a_request_waits_until_answered_or_forgotten
            a_cause_is_known_once_kept
            a_key_stands_for_its_content
            a_secret_is_made_once
            a_nonce_is_used_once
            many_open_human_tasks_are_found_fast
            mails_are_claimed_by_one_and_sent_once
            a_reminder_is_mailed_again
            who_is_added_is_mailed_and_nobody_twice
            nothing_is_mailed_after_the_end
            a_notification_is_kept_once
            notifications_are_found_by_name_newest_first
            a_notification_is_read_by_whom_it_is_for
            old_notifications_are_forgotten_a_part_at_a_time
            the_audit_finds_who_asks_after_the_end
        );
    };
}
pub use crate::people_conformance as conformance;

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn ask(assignees: &[&str]) -> PersonAsk {
    PersonAsk {
        kind: PersonKind::Approval,
        title: "Review".to_owned(),
        message: "Is „this“ fine?".to_owned(),
        form: Some(json!({ "type": "object", "properties": { "n": { "type": "integer" } } })),
        assignees: assignees.iter().map(|name| (*name).to_owned()).collect(),
        quorum: 1,
        due_at: Some(instant(77)),
        expires_at: Some(instant(99)),
        on_expiry: OnExpiry::Reject,
        remind_every: Some(Duration::from_hours(24)),
        escalations: vec![(instant(88), vec!["boss".to_owned()])],
        urgency: Urgency::Normal,
        allow_delegate: true,
        requester_may_decide: false,
        links: true,
        claim: false,
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
        created_at: instant(5),
        reminded_at: None,
    }
}

fn answer(by: &str) -> Answer {
    Answer {
        by: by.to_owned(),
        for_assignee: by.to_owned(),
        verdict: AnswerVerdict::Approve,
        data: Some(json!({ "n": 3 })),
        comment: "Fine".to_owned(),
        at: instant(50),
    }
}

fn saying(mut commit: Commit, people: Vec<HumanTaskChange>) -> Commit {
    commit.people = people;
    commit
}

/// Asks somebody as `review`.
pub(super) fn asking_one(commit: Commit) -> Commit {
    saying(commit, vec![asking("review", ask(&["alice"]))])
}

/// Waits for an event as `wait`.
pub(super) fn waiting_for_one(commit: Commit) -> Commit {
    waiting(commit, vec![open("wait", "paid", "1")])
}

fn waiting(mut commit: Commit, waits: Vec<WaitChange>) -> Commit {
    commit.waits = waits;
    commit
}

fn open(task: &str, event: &str, key: &str) -> WaitChange {
    WaitChange::Open {
        task: TaskKey::of(task.into()),
        event: event.to_owned(),
        key: key.to_owned(),
        early: instant(1),
    }
}

fn wait(execution: ExecutionId, task: &str, event: &str, key: &str) -> EventWait {
    EventWait {
        execution,
        task: TaskKey::of(task.into()),
        event: event.to_owned(),
        key: key.to_owned(),
        early: instant(1),
    }
}

fn id_of(execution: ExecutionId, task: &str) -> HumanTaskId {
    HumanTaskId::derived(execution, task)
}

async fn read(store: &DynStore, id: HumanTaskId) -> Option<HumanTaskRow> {
    store.human_task_get(TENANT, id).await.expect("read")
}

fn open_of(names: &[&str]) -> HumanTaskFilter {
    HumanTaskFilter {
        assignees: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        status: Some(HumanTaskStatus::Open),
        ..HumanTaskFilter::default()
    }
}

async fn found(store: &DynStore, filter: HumanTaskFilter) -> Vec<String> {
    let page = HumanTaskPage { after: None, limit: 500 };
    let listed = store.human_task_list(TENANT, filter, page).await.expect("listed");
    listed.items.into_iter().map(|row| row.task.to_string()).collect()
}

pub async fn what_people_are_asked_comes_back(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let mut change = asking("review", ask(&["group:finance", "ä\"b\\"]));
    change.task.iteration = Iteration(vec![3, 14]);
    keep(&store, saying(turn(&workflow, id, 2), vec![change.clone()])).await;
    let row = read(&store, id_of(id, "review[3][14]")).await.expect("there");
    assert_eq!(row.task, change.task);
    assert_eq!((row.tenant, row.execution, row.workflow), (TENANT, id, workflow.id));
    assert_eq!((row.workflow_name, row.requester.as_str()), (workflow.name, "someone"));
    assert_eq!((row.ask, row.assignees), (change.ask, change.assignees));
    assert_eq!((row.status, row.created_at), (HumanTaskStatus::Open, instant(5)));
    assert_eq!((row.claimed_by, row.answers, row.reminded_at, row.ended_at), (None, Vec::new(), None, None));
    assert_eq!(read(&store, id_of(id, "review")).await, None);
}

pub async fn a_human_task_follows_the_turns(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let first = asking("review", ask(&["alice", "bob"]));
    keep(&store, saying(turn(&workflow, id, 2), vec![first.clone()])).await;
    let mut next = first.clone();
    next.assignees = vec!["carol".to_owned(), "bob".to_owned()];
    next.claimed_by = Some("bob".to_owned());
    next.reminded_at = Some(instant(40));
    keep(&store, saying(turn(&workflow, id, 3), vec![next.clone()])).await;
    let row = read(&store, id_of(id, "review")).await.expect("there");
    assert_eq!((&row.assignees, &row.claimed_by), (&next.assignees, &next.claimed_by));
    assert_eq!((row.reminded_at, row.ended_at), (Some(instant(40)), None));
    assert_eq!(found(&store, open_of(&["alice"])).await, [""; 0]);
    assert_eq!(found(&store, open_of(&["carol"])).await, ["review"]);
    next.answers = vec![answer("bob")];
    next.status = HumanTaskStatus::Approved;
    let last = turn(&workflow, id, 4);
    let at = last.turn.at;
    keep(&store, saying(last, vec![next])).await;
    let row = read(&store, id_of(id, "review")).await.expect("there");
    assert_eq!((row.status, row.ended_at), (HumanTaskStatus::Approved, Some(at)));
    assert_eq!(row.answers, [answer("bob")]);
    assert_eq!(found(&store, open_of(&["carol", "bob"])).await, [""; 0]);
    let all = HumanTaskFilter { status: None, ..open_of(&["carol"]) };
    assert_eq!(found(&store, all).await, ["review"]);
    // The same component asks once more.
    let again = HumanTaskChange { created_at: instant(60), ..first };
    keep(&store, saying(turn(&workflow, id, 5), vec![again])).await;
    let row = read(&store, id_of(id, "review")).await.expect("there");
    assert_eq!((row.status, row.created_at, row.ended_at), (HumanTaskStatus::Open, instant(60), None));
    assert_eq!((row.answers, row.claimed_by), (Vec::new(), None));
    assert_eq!(found(&store, open_of(&["alice"])).await, ["review"]);
}

pub async fn of_one_batch_the_last_word_counts(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let (_, second) = execution(&store).await;
    let first = asking("review", ask(&["alice"]));
    let mut answered = first.clone();
    answered.status = HumanTaskStatus::Rejected;
    let batch = vec![
        saying(turn(&workflow, id, 2), vec![first.clone(), asking("other", ask(&["alice"]))]),
        saying(turn(&workflow, id, 3), vec![answered]),
        turn(&workflow, second, 2),
    ];
    let kept = store.commit(batch).await.expect("an answer");
    assert_eq!(kept, [Kept::Committed, Kept::Committed, Kept::Committed]);
    let row = read(&store, id_of(id, "review")).await.expect("there");
    assert_eq!(row.status, HumanTaskStatus::Rejected);
    assert_eq!(found(&store, open_of(&["alice"])).await, ["other"]);
}

pub async fn a_turn_that_is_not_kept_asks_nobody(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let stale = waiting(
        saying(turn(&workflow, id, 1), vec![asking("review", ask(&["alice"]))]),
        vec![open("hear", "paid", "1")],
    );
    assert_eq!(store.commit(vec![stale]).await.expect("an answer"), [Kept::Superseded]);
    assert_eq!(read(&store, id_of(id, "review")).await, None);
    assert_eq!(store.wait_list(TENANT, id).await.expect("read"), []);
}

pub async fn an_end_cancels_what_is_open_and_nothing_else(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    let mut done = asking("done", ask(&["alice"]));
    done.status = HumanTaskStatus::Submitted;
    let asked = vec![asking("review", ask(&["alice"])), done];
    keep(&store, saying(turn(&workflow, id, 2), asked)).await;
    keep(&store, saying(turn(&workflow, other, 2), vec![asking("elsewhere", ask(&["alice"]))])).await;
    // What the last turn itself asks ends with it.
    let end = to(turn(&workflow, id, 3), Status::Failed);
    let at = end.turn.at;
    keep(&store, saying(end, vec![asking("late", ask(&["alice"]))])).await;
    for task in ["review", "late"] {
        let row = read(&store, id_of(id, task)).await.expect("there");
        assert_eq!((row.status, row.ended_at), (HumanTaskStatus::Cancelled, Some(at)), "{task}");
    }
    let row = read(&store, id_of(id, "done")).await.expect("there");
    assert_eq!(row.status, HumanTaskStatus::Submitted);
    assert_eq!(found(&store, open_of(&["alice"])).await, ["elsewhere"]);
}

pub async fn an_inbox_is_by_urgency_then_age(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let wanted = [
        ("low", Urgency::Low, 1),
        ("new", Urgency::Normal, 9),
        ("old", Urgency::Normal, 2),
        ("high", Urgency::High, 8),
    ];
    let asked = wanted
        .into_iter()
        .map(|(task, urgency, at)| {
            let mut change = asking(task, PersonAsk { urgency, ..ask(&["alice"]) });
            change.created_at = instant(at);
            change
        })
        .collect();
    keep(&store, saying(turn(&workflow, id, 2), asked)).await;
    let everybodys = HumanTaskFilter { assignees: None, ..open_of(&[]) };
    for filter in [everybodys, open_of(&["alice"])] {
        assert_eq!(found(&store, filter.clone()).await, ["high", "old", "new", "low"]);
        let all = HumanTaskFilter { status: None, ..filter };
        assert_eq!(found(&store, all).await, ["new", "high", "old", "low"], "newest first");
    }
}

pub async fn an_inbox_is_found_by_any_of_its_names(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let long = "x".repeat(5_000);
    let asked = vec![
        asking("a", ask(&["user:alice", "group:finance", "user:alice"])),
        asking("b", ask(&["group:finance"])),
        asking("c", ask(&["bob", &long])),
        asking("d", ask(&[])),
    ];
    keep(&store, saying(turn(&workflow, id, 2), asked)).await;
    let sorted = async |names: &[&str]| {
        let mut tasks = found(&store, open_of(names)).await;
        tasks.sort();
        tasks
    };
    assert_eq!(sorted(&["user:alice"]).await, ["a"]);
    assert_eq!(sorted(&["user:alice", "group:finance"]).await, ["a", "b"], "each once");
    assert_eq!(sorted(&["alice", "nobody", "%"]).await, [""; 0]);
    assert_eq!(sorted(&[]).await, [""; 0]);
    assert_eq!(sorted(&["bob"]).await, ["c"]);
    let row = read(&store, id_of(id, "c")).await.expect("there");
    assert_eq!(row.assignees, ["bob".to_owned(), long]);
}

pub async fn human_tasks_are_found_by_filter(store: DynStore) {
    let (one, first) = execution(&store).await;
    let (other, second) = execution(&store).await;
    let work = PersonAsk { kind: PersonKind::HumanTask, ..ask(&["alice"]) };
    let mut expired = asking("c", ask(&["bob"]));
    expired.status = HumanTaskStatus::Expired;
    keep(&store, saying(turn(&one, first, 2), vec![asking("a", ask(&["alice"])), expired])).await;
    keep(&store, saying(turn(&other, second, 2), vec![asking("b", work)])).await;
    let all = HumanTaskFilter::default;
    for (filter, wanted) in [
        (HumanTaskFilter { execution: Some(first), status: Some(HumanTaskStatus::Open), ..all() }, vec!["a"]),
        (HumanTaskFilter { execution: Some(second), ..all() }, vec!["b"]),
        (HumanTaskFilter { workflow: Some(other.id), ..all() }, vec!["b"]),
        (HumanTaskFilter { kind: Some(PersonKind::HumanTask), ..all() }, vec!["b"]),
        (HumanTaskFilter { kind: Some(PersonKind::Approval), ..open_of(&["alice"]) }, vec!["a"]),
        (HumanTaskFilter { status: Some(HumanTaskStatus::Expired), ..open_of(&["bob"]) }, vec!["c"]),
        (HumanTaskFilter { status: Some(HumanTaskStatus::Rejected), ..all() }, vec![]),
    ] {
        assert_eq!(found(&store, filter.clone()).await, wanted, "{filter:?}");
    }
}

pub async fn pages_of_an_inbox_neither_skip_nor_repeat(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let urgencies = [Urgency::High, Urgency::Normal, Urgency::Low];
    let asked = (0..25_usize)
        .map(|number| {
            let urgency = urgencies[number % 3];
            let mut change = asking(&format!("t{number}"), PersonAsk { urgency, ..ask(&["alice"]) });
            // Some at the same instant.
            change.created_at = instant(number as i64 / 4);
            change
        })
        .collect();
    keep(&store, saying(turn(&workflow, id, 2), asked)).await;
    for filter in [
        open_of(&["alice"]),
        HumanTaskFilter { assignees: None, ..open_of(&[]) },
        HumanTaskFilter { status: None, ..open_of(&["alice"]) },
        HumanTaskFilter::default(),
    ] {
        let whole = found(&store, filter.clone()).await;
        assert_eq!(whole.len(), 25);
        let (mut pages, mut after) = (Vec::new(), None::<HumanTaskCursor>);
        loop {
            let page = HumanTaskPage { after, limit: 7 };
            let listed = store.human_task_list(TENANT, filter.clone(), page).await.expect("listed");
            pages.extend(listed.items.into_iter().map(|row| row.task.to_string()));
            match listed.next {
                Some(next) => after = Some(next.parse().expect("a cursor")),
                None => break,
            }
        }
        assert_eq!(pages, whole);
    }
}

pub async fn no_tenant_sees_anothers_human_tasks(store: DynStore) {
    let (ours, id) = execution(&store).await;
    let asked = saying(turn(&ours, id, 2), vec![asking("review", ask(&["alice"]))]);
    keep(&store, waiting(asked, vec![open("hear", "paid", "1")])).await;
    let theirs = workflow(&store, other_tenant(), "theirs").await;
    let their_execution = start(&store, accepted(&theirs)).await;
    let asked = saying(turn(&theirs, their_execution, 2), vec![asking("theirs", ask(&["alice"]))]);
    keep(&store, waiting(asked, vec![open("hear", "paid", "1")])).await;
    let seen = async |tenant: TenantId, id: HumanTaskId| {
        store.human_task_get(tenant, id).await.expect("read").is_some()
    };
    assert!(!seen(other_tenant(), id_of(id, "review")).await);
    assert!(seen(other_tenant(), id_of(their_execution, "theirs")).await);
    assert!(!seen(TENANT, id_of(their_execution, "theirs")).await);
    assert_eq!(found(&store, open_of(&["alice"])).await, ["review"]);
    assert_eq!(found(&store, HumanTaskFilter::default()).await, ["review"]);
    let waits = store.waits_for(TENANT, "paid", "1").await.expect("read");
    assert_eq!(waits, [wait(id, "hear", "paid", "1")]);
    assert_eq!(store.wait_list(TENANT, their_execution).await.expect("read"), []);
}

pub async fn a_wait_is_found_by_type_and_key(store: DynStore) {
    let (workflow, one) = execution(&store).await;
    let other = another(&store, &workflow).await;
    let waits =
        vec![open("b", "paid", "1"), open("a", "paid", "1"), open("c", "paid", "2"), open("d", "sent", "1")];
    keep(&store, waiting(turn(&workflow, one, 2), waits)).await;
    keep(&store, waiting(turn(&workflow, other, 2), vec![open("a", "paid", "1")])).await;
    let mut wanted =
        vec![wait(one, "a", "paid", "1"), wait(one, "b", "paid", "1"), wait(other, "a", "paid", "1")];
    wanted.sort_by_key(|wait| (wait.execution, wait.task.to_string()));
    assert_eq!(store.waits_for(TENANT, "paid", "1").await.expect("read"), wanted);
    assert_eq!(store.waits_for(TENANT, "paid", "2").await.expect("read"), [wait(one, "c", "paid", "2")]);
    assert_eq!(store.waits_for(TENANT, "paid", "").await.expect("read"), []);
    assert_eq!(store.waits_for(TENANT, "paid\n1", "").await.expect("read"), []);
    let all = store.wait_list(TENANT, one).await.expect("read");
    let tasks: Vec<String> = all.iter().map(|wait| wait.task.to_string()).collect();
    assert_eq!(tasks, ["a", "b", "c", "d"]);
}

pub async fn a_wait_is_replaced_and_closed(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, waiting(turn(&workflow, id, 2), vec![open("a", "paid", "1"), open("b", "paid", "1")])).await;
    let close = WaitChange::Close { task: TaskKey::of("b".into()) };
    keep(&store, waiting(turn(&workflow, id, 3), vec![open("a", "paid", "2"), close])).await;
    assert_eq!(store.waits_for(TENANT, "paid", "1").await.expect("read"), []);
    assert_eq!(store.waits_for(TENANT, "paid", "2").await.expect("read"), [wait(id, "a", "paid", "2")]);
    // Opened and closed in one batch.
    let close = || vec![WaitChange::Close { task: TaskKey::of("a".into()) }];
    let batch = vec![
        waiting(turn(&workflow, id, 4), vec![open("a", "paid", "3")]),
        waiting(turn(&workflow, id, 5), close()),
    ];
    store.commit(batch).await.expect("an answer");
    keep(&store, waiting(turn(&workflow, id, 6), close())).await;
    assert_eq!(store.wait_list(TENANT, id).await.expect("read"), []);
}

pub async fn an_end_closes_waits(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    keep(&store, waiting(turn(&workflow, id, 2), vec![open("a", "paid", "1")])).await;
    keep(&store, waiting(turn(&workflow, other, 2), vec![open("a", "paid", "1")])).await;
    let end = to(turn(&workflow, id, 3), Status::Cancelled);
    keep(&store, waiting(end, vec![open("b", "paid", "1")])).await;
    assert_eq!(store.waits_for(TENANT, "paid", "1").await.expect("read"), [wait(other, "a", "paid", "1")]);
}

pub async fn a_long_key_is_a_key(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    // Not compressible below the size of an index page.
    let key: String = (0..40_000_u32)
        .map(|number| char::from(b'a' + (number.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
        .collect();
    keep(&store, waiting(turn(&workflow, id, 2), vec![open("a", &key, &key)])).await;
    assert_eq!(store.waits_for(TENANT, &key, &key).await.expect("read"), [wait(id, "a", &key, &key)]);
}

pub async fn a_request_waits_until_answered_or_forgotten(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let make = |name: &str| Request {
        id: RequestId::derived(id, name),
        tenant: TENANT,
        execution: id,
        body: RequestBody::Answer { task: TaskKey::of("review".into()), answer: answer(name) },
        at: instant(5),
    };
    let (first, second) = (make("first"), make("second"));
    assert!(!store.request_waits(first.id).await.expect("read"));
    for request in [&first, &second] {
        assert!(store.request(request.clone()).await.expect("kept"));
        assert!(store.request_waits(request.id).await.expect("read"));
    }
    let shards: Vec<Shard> = Shard::all().collect();
    let mut waiting = store.requests_waiting(&shards, Duration::ZERO, 10).await.expect("read");
    waiting.sort_by_key(|request| request.id != first.id);
    assert_eq!(waiting, [first.clone(), second.clone()], "they come back as they went in");
    let mut answered = turn(&workflow, id, 2);
    answered.request = Some(first.id);
    keep(&store, answered).await;
    store.forget_request(second.id).await.expect("forgotten");
    for request in [first, second] {
        assert!(!store.request_waits(request.id).await.expect("read"));
    }
}

pub async fn a_cause_is_known_once_kept(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    let turn = turn(&workflow, id, 2);
    let cause = turn.turn.cause;
    assert!(!store.was_caused(id, cause).await.expect("read"));
    keep(&store, turn).await;
    assert!(store.was_caused(id, cause).await.expect("read"));
    assert!(!store.was_caused(other, cause).await.expect("read"));
}

pub async fn a_key_stands_for_its_content(store: DynStore) {
    let id = ExecutionId::generate();
    let take = async |tenant, key: &str, hash: &str, at| {
        store.key_take(tenant, key, hash, id, at).await.expect("an answer")
    };
    assert_eq!(take(TENANT, "k", "h", instant(0)).await, KeyTaken::New);
    assert_eq!(take(TENANT, "k", "h", instant(1)).await, KeyTaken::Same);
    assert_eq!(take(TENANT, "k", "other", instant(1)).await, KeyTaken::Other);
    assert_eq!(take(other_tenant(), "k", "other", instant(1)).await, KeyTaken::New);
    let tomorrow = instant(0).after(Duration::from_hours(24));
    assert_eq!(take(TENANT, "k", "other", tomorrow).await, KeyTaken::New, "a day later it is free");
}

pub async fn a_secret_is_made_once(store: DynStore) {
    let all = futures::future::join_all((0..8_u8).map(|number| store.key_or("links", vec![number; 32])));
    let all: Vec<Vec<u8>> = all.await.into_iter().map(|made| made.expect("a key")).collect();
    assert!(all.iter().all(|key| *key == all[0]), "everybody gets the same");
    assert_eq!(store.key_or("links", vec![9; 32]).await.expect("a key"), all[0]);
    assert_eq!(store.key_or("other", vec![9; 32]).await.expect("a key"), [9; 32]);
}

pub async fn a_nonce_is_used_once(store: DynStore) {
    let nonce = *RequestId::generate().as_uuid();
    let tomorrow = store.now().await.expect("the present").after(Duration::from_hours(24));
    let uses = futures::future::join_all((0..8).map(|_| store.nonce_use(nonce, tomorrow))).await;
    assert_eq!(uses.into_iter().filter(|used| *used.as_ref().expect("an answer")).count(), 1);
    store.maintain().await.expect("done");
    assert!(
        !store.nonce_use(nonce, tomorrow).await.expect("an answer"),
        "maintenance keeps it until it expires"
    );
    store.nonce_free(nonce).await.expect("done");
    assert!(store.nonce_use(nonce, tomorrow).await.expect("an answer"));
    let past = *RequestId::generate().as_uuid();
    assert!(store.nonce_use(past, instant(0)).await.expect("an answer"));
    store.maintain().await.expect("done");
    assert!(store.nonce_use(past, instant(0)).await.expect("an answer"), "an expired one is forgotten");
}

/// 10,000 open tasks: a page of a busy inbox and of a quiet one.
pub async fn many_open_human_tasks_are_found_fast(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    for part in 0..20_u32 {
        let asked = (0..500_u32)
            .map(|number| {
                let name = if number == 7 { "role:rare" } else { "role:busy" };
                let mut change = asking(&format!("t{part}_{number}"), ask(&[name, "group:all"]));
                change.created_at = instant(i64::from(part * 500 + number));
                change
            })
            .collect();
        keep(&store, saying(turn(&workflow, id, part + 2), asked)).await;
    }
    let begun = std::time::Instant::now();
    for (names, wanted) in
        [(&["role:rare"][..], 20), (&["role:busy"], 50), (&["role:busy", "group:all", "x"], 50)]
    {
        let page = HumanTaskPage { after: None, limit: 50 };
        let listed = store.human_task_list(TENANT, open_of(names), page).await.expect("listed");
        assert_eq!(listed.items.len(), wanted, "{names:?}");
        assert_eq!(listed.items[0].task.to_string(), if wanted == 20 { "t0_7" } else { "t0_0" });
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "three pages took {took:?}");
}

const MINUTE: Duration = Duration::from_mins(1);

async fn mailed(store: &DynStore, now: Timestamp) -> Vec<HumanTaskId> {
    let rows = store.mails_claim(now, MINUTE, 10).await.expect("claimed");
    rows.into_iter().map(|claim| claim.row.id).collect()
}

/// The one question that is to be mailed.
async fn claim(store: &DynStore, now: Timestamp) -> MailClaim {
    let mut claims = store.mails_claim(now, MINUTE, 10).await.expect("claimed");
    assert_eq!(claims.len(), 1, "{claims:?}");
    claims.remove(0)
}

pub async fn mails_are_claimed_by_one_and_sent_once(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, saying(turn(&workflow, id, 2), vec![asking("review", ask(&["a@b.example"]))])).await;
    let review = id_of(id, "review");
    let claims = futures::future::join_all((0..8).map(|_| store.mails_claim(instant(100), MINUTE, 10))).await;
    let claimed: Vec<MailClaim> = claims.into_iter().flat_map(|rows| rows.expect("an answer")).collect();
    assert_eq!(claimed.iter().map(|claim| claim.row.id).collect::<Vec<_>>(), [review]);
    assert_eq!(Some(&claimed[0].row), read(&store, review).await.as_ref());
    assert_eq!(mailed(&store, instant(100).after(MINUTE / 2)).await, []);
    // Whoever claimed it is gone.
    let later = instant(100).after(MINUTE);
    assert_eq!(mailed(&store, later).await, [review]);
    store.mails_done(review, claimed[0].asked_at, Vec::new()).await.expect("done");
    assert_eq!(mailed(&store, later.after(MINUTE * 9)).await, []);
}

pub async fn a_reminder_is_mailed_again(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let change = asking("review", ask(&["a@b.example"]));
    keep(&store, saying(turn(&workflow, id, 2), vec![change.clone()])).await;
    let review = id_of(id, "review");
    let first = claim(&store, instant(100)).await;
    // The reminder comes while the first mails are sent: they are not those of the reminder.
    let reminded_at = first.asked_at.after(MINUTE);
    let reminded = HumanTaskChange { reminded_at: Some(reminded_at), ..change };
    keep(&store, saying(turn(&workflow, id, 3), vec![reminded])).await;
    store.mails_done(review, first.asked_at, vec!["a@b.example".to_owned()]).await.expect("done");
    let second = claim(&store, instant(101)).await;
    assert_eq!((second.asked_at, second.mailed), (reminded_at, Vec::new()));
    store.mails_done(review, second.asked_at, Vec::new()).await.expect("done");
    store.mails_done(review, first.asked_at, Vec::new()).await.expect("a late word");
    assert_eq!(mailed(&store, instant(102).after(MINUTE)).await, []);
}

pub async fn who_is_added_is_mailed_and_nobody_twice(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let change = asking("review", ask(&["a@b.example"]));
    keep(&store, saying(turn(&workflow, id, 2), vec![change.clone()])).await;
    let review = id_of(id, "review");
    let first = claim(&store, instant(100)).await;
    let a = vec!["a@b.example".to_owned()];
    store.mails_done(review, first.asked_at, a.clone()).await.expect("done");
    assert_eq!(mailed(&store, instant(101)).await, []);
    // Whatever else changes, nobody new is asked.
    let later = |seq: u32, change: HumanTaskChange| {
        let mut commit = turn(&workflow, id, seq);
        commit.turn.at = first.asked_at.after(MINUTE * seq);
        saying(commit, vec![change])
    };
    keep(&store, later(3, HumanTaskChange { claimed_by: Some("a".to_owned()), ..change.clone() })).await;
    assert_eq!(mailed(&store, instant(102)).await, []);
    let both = vec!["a@b.example".to_owned(), "c@d.example".to_owned()];
    let given = HumanTaskChange { assignees: both.clone(), ..change };
    keep(&store, later(4, given.clone())).await;
    let second = claim(&store, instant(103)).await;
    assert_eq!((&second.row.assignees, second.mailed), (&both, a));
    assert!(second.asked_at > first.asked_at);
    store.mails_done(review, second.asked_at, both).await.expect("done");
    assert_eq!(mailed(&store, instant(104)).await, []);
    // A reminder goes to everybody.
    let reminded = HumanTaskChange { reminded_at: Some(second.asked_at.after(MINUTE)), ..given };
    keep(&store, later(5, reminded)).await;
    assert_eq!(claim(&store, instant(105)).await.mailed, Vec::<String>::new());
}

pub async fn nothing_is_mailed_after_the_end(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let change = asking("review", ask(&["a@b.example"]));
    keep(&store, saying(turn(&workflow, id, 2), vec![change])).await;
    keep(&store, to(turn(&workflow, id, 3), Status::Completed)).await;
    assert_eq!(mailed(&store, instant(100)).await, []);
}

pub async fn old_notifications_are_forgotten_a_part_at_a_time(store: DynStore) {
    let (_, id) = execution(&store).await;
    let rows = ["a", "b", "c", "d"].iter().zip([10, 20, 30, 40]);
    let rows = rows.map(|(key, at)| told(TENANT, id, key, "ann", at)).collect();
    store.notification_add(rows).await.expect("kept");
    let left = async || {
        let page = NotificationPage { after: None, limit: 10 };
        let found = store.notification_list(TENANT, vec!["ann".to_owned()], false, page).await;
        found.expect("read").items.into_iter().map(|row| row.created_at).collect::<Vec<_>>()
    };
    assert!(store.notifications_forget(instant(40), 2).await.expect("done"), "there may be more");
    assert_eq!(left().await.len(), 2);
    assert!(!store.notifications_forget(instant(40), 2).await.expect("done"));
    assert_eq!(left().await, [instant(40)]);
}

fn told(tenant: TenantId, execution: ExecutionId, key: &str, to: &str, at: i64) -> NotificationRow {
    let notice = Notice {
        id: NotificationId::derived(execution, key, to),
        to: to.to_owned(),
        subject: "Stock is „low“".to_owned(),
        text: "Five are left.\nOrder more.".to_owned(),
        severity: Severity::Warning,
    };
    NotificationRow { tenant, execution, notice, created_at: instant(at), read_at: None }
}

async fn all_of(store: &DynStore, names: &[&str], unread: bool) -> Vec<NotificationRow> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let page = NotificationPage { after: None, limit: 500 };
    store.notification_list(TENANT, names, unread, page).await.expect("listed").items
}

pub async fn a_notification_is_kept_once(store: DynStore) {
    let (_, id) = execution(&store).await;
    let first = told(TENANT, id, "k", "boss", 1);
    store.notification_add(vec![first.clone()]).await.expect("kept");
    let again = NotificationRow { created_at: instant(9), ..first.clone() };
    store.notification_add(vec![again, told(TENANT, id, "k", "clerk", 2)]).await.expect("kept");
    assert_eq!(all_of(&store, &["boss"], false).await, [first]);
    assert_eq!(all_of(&store, &["clerk", "boss"], false).await.len(), 2);
    store.notification_add(Vec::new()).await.expect("nothing to keep");
}

pub async fn notifications_are_found_by_name_newest_first(store: DynStore) {
    let (_, id) = execution(&store).await;
    let all: Vec<NotificationRow> =
        (0..5).map(|number| told(TENANT, id, &number.to_string(), "group:a", number % 3)).collect();
    store.notification_add(all.clone()).await.expect("kept");
    store.notification_add(vec![told(TENANT, id, "x", "b", 7)]).await.expect("kept");
    store.notification_add(vec![told(other_tenant(), id, "y", "group:a", 7)]).await.expect("kept");
    let mut expected = all;
    expected.sort_by_key(|row| std::cmp::Reverse(row.cursor()));
    assert_eq!(all_of(&store, &["group:a", "nobody"], false).await, expected);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = NotificationPage { after, limit: 2 };
        let names = vec!["group:a".to_owned()];
        let listed = store.notification_list(TENANT, names, true, page).await.expect("listed");
        found.extend(listed.items);
        let Some(next) = listed.next else { break };
        after = Some(next.parse().expect("a cursor"));
    }
    assert_eq!(found, expected);
    assert_eq!(all_of(&store, &[], false).await, []);
}

pub async fn a_notification_is_read_by_whom_it_is_for(store: DynStore) {
    let (_, id) = execution(&store).await;
    let row = told(TENANT, id, "k", "boss", 1);
    store.notification_add(vec![row.clone()]).await.expect("kept");
    let seen = async |tenant, name: &str, at| {
        let read = store.notification_read(tenant, vec![name.to_owned()], row.notice.id, instant(at)).await;
        read.expect("an answer").and_then(|row| row.read_at)
    };
    assert_eq!(seen(TENANT, "clerk", 5).await, None);
    assert_eq!(seen(other_tenant(), "boss", 5).await, None);
    assert_eq!(all_of(&store, &["boss"], true).await.len(), 1);
    assert_eq!(seen(TENANT, "boss", 6).await, Some(instant(6)));
    assert_eq!(seen(TENANT, "boss", 7).await, Some(instant(6)));
    assert_eq!(all_of(&store, &["boss"], true).await, []);
    assert_eq!(all_of(&store, &["boss"], false).await.len(), 1);
}

pub async fn the_audit_finds_who_asks_after_the_end(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let asks = saying(turn(&workflow, id, 2), vec![asking("review", ask(&["a"]))]);
    keep(&store, to(waiting(asks, vec![open("hear", "paid", "k")]), Status::Running)).await;
    assert_eq!(store.audit_tables().await.expect("audited"), []);
    let (other_workflow, good) = (workflow.clone(), another(&store, &workflow).await);
    let asks = saying(turn(&other_workflow, good, 2), vec![asking("review", ask(&["a"]))]);
    keep(&store, waiting(asks, vec![open("hear", "paid", "k")])).await;
    keep(&store, to(turn(&other_workflow, good, 3), Status::Completed)).await;
    assert_eq!(store.audit_tables().await.expect("audited"), []);
    // An end that releases nothing.
    let mut end = to(turn(&workflow, id, 3), Status::Completed);
    end.release = false;
    keep(&store, end).await;
    let findings = store.audit_tables().await.expect("audited");
    assert!(findings.iter().all(|finding| finding.execution == Some(id)), "{findings:?}");
    let of: Vec<(&str, bool, bool)> = findings
        .iter()
        .map(|finding| {
            let message = &finding.message;
            (finding.invariant.as_str(), message.contains("`review`"), message.contains("`hear`"))
        })
        .collect();
    assert_eq!(of, [("I6", true, false), ("I6", false, true)]);
}
