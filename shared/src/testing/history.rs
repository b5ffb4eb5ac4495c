//! What every store promises of executions after their end.

use std::time::Duration;

use serde_json::json;

use super::{
    people::{asking_one, waiting_for_one},
    store::{TENANT, accepted, keep, other_tenant, seconds, to, turn, workflow},
};
use crate::{
    execution::{Accepted, Event, Status, TaskKey, Turn},
    ids::{
        CoordinatorId, DeadLetterId, ExecutionId, HumanTaskId, MessageId, PayloadId, RequestId, TenantId,
        WorkerId,
    },
    port::{
        history::{EndedFilter, Forgotten, Leftover, Owner},
        store::{
            DeadLetter, DynStore, FinishedTask, LateResult, Request, Submission, Submitted, WorkflowRow,
        },
    },
    time::Timestamp,
    wire::RequestBody,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! history_conformance {
    ($make:path) => {
        $crate::promises!(history, $make:
            a_chore_is_done_by_one_at_a_time
            tenants_are_those_with_workflows
            ended_executions_are_found_by_how_and_when
            an_end_that_is_to_be_told_is_not_found
            old_open_executions_are_found
            what_is_forgotten_goes_whole
            what_is_open_or_to_be_told_is_not_forgotten
            forgetting_twice_is_forgetting_once
            what_is_left_of_nothing_is_found_and_goes
            payloads_are_listed_by_pages
            payloads_of_an_open_execution_are_not_dropped
            the_audit_is_clean_after_forgetting
        );
    };
}
pub use history_conformance as conformance;

/// When the executions of these tests were accepted, from so many seconds on.
fn old(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_600_000_000_000_000 + seconds * 1_000_000)
}

/// An execution accepted long ago.
async fn accepted_at(store: &DynStore, accepted: Accepted, at: Timestamp) -> ExecutionId {
    let id = ExecutionId::derived(ExecutionId::generate(), "old", at);
    let events = vec![Event::Accepted(Box::new(accepted))];
    let first = Turn { execution: id, seq: 1, cause: MessageId::generate(), at, events };
    let idempotency = Some((id.to_string(), "content".to_owned()));
    let submission = Submission { first, idempotency, carries: Vec::new() };
    assert_eq!(store.accept(vec![submission], 1_000).await.expect("accepted"), [Submitted::New]);
    id
}

async fn old_execution(store: &DynStore, workflow: &WorkflowRow, at: i64) -> ExecutionId {
    accepted_at(store, accepted(workflow), old(at)).await
}

/// Ends an execution, a moment after it was accepted.
async fn end(store: &DynStore, workflow: &WorkflowRow, id: ExecutionId, status: Status, at: i64) {
    let mut commit = to(turn(workflow, id, 2), status);
    commit.turn.at = old(at);
    keep(store, commit).await;
}

fn all(tenant: TenantId, status: Status, before: Timestamp) -> EndedFilter {
    EndedFilter { tenant, status, before, after: None, limit: 10 }
}

async fn found(store: &DynStore, filter: EndedFilter) -> Vec<ExecutionId> {
    store.ended(filter).await.expect("found").into_iter().map(|ended| ended.row.id).collect()
}

/// An ended execution with rows in every table, and the payload it has.
async fn rich(store: &DynStore, workflow: &WorkflowRow, at: i64) -> (ExecutionId, PayloadId) {
    let id = old_execution(store, workflow, at).await;
    let payload = PayloadId::generate();
    store.payload_put(workflow.tenant, id, payload, b"{}".to_vec()).await.expect("kept");
    let late = LateResult {
        execution: id,
        task: TaskKey::of("fetch".into()),
        attempt: 1,
        dispatch: 1,
        worker: WorkerId::generate(),
        at: old(at),
        ending: "completed".to_owned(),
        reason: "the attempt had ended".to_owned(),
    };
    store.record_late(vec![late]).await.expect("kept");
    let letter = DeadLetter {
        id: DeadLetterId::generate(),
        queue: "tasks".to_owned(),
        reason: "poison".to_owned(),
        at: old(at),
        execution: Some(id),
        message: None,
        headers: json!({}),
        bytes: b"x".to_vec(),
    };
    store.dead_letter_add(letter).await.expect("kept");
    let request = Request {
        id: RequestId::generate(),
        tenant: workflow.tenant,
        execution: id,
        body: RequestBody::Cancel { by: "someone".to_owned(), reason: String::new() },
        at: old(at),
    };
    assert!(store.request(request).await.expect("kept"));
    let mut commit = waiting_for_one(asking_one(turn(workflow, id, 2)));
    commit.finished.push(FinishedTask {
        task: TaskKey::of("fetch".into()),
        attempt: 1,
        kind: "http_request".into(),
        status: Status::Completed,
        failure_class: None,
        worker: None,
        started_at: old(at),
        finished_at: old(at),
    });
    commit.turn.at = old(at);
    keep(store, commit).await;
    let mut commit = to(turn(workflow, id, 3), Status::Completed);
    commit.turn.at = old(at + 1);
    keep(store, commit).await;
    (id, payload)
}

pub async fn a_chore_is_done_by_one_at_a_time(store: DynStore) {
    let [first, second] = [CoordinatorId::generate(), CoordinatorId::generate()];
    let take = async |holder, hold| store.chore_take("sweep", holder, hold).await.expect("an answer");
    assert_eq!(take(first, seconds(60)).await.as_deref(), Some(""));
    assert_eq!(take(second, seconds(60)).await, None);
    assert!(!store.chore_note("sweep", second, "theirs").await.expect("an answer"));
    assert!(store.chore_note("sweep", first, "half of it").await.expect("an answer"));
    assert_eq!(take(first, seconds(60)).await.as_deref(), Some("half of it"));
    // Another chore is nobody's.
    assert_eq!(store.chore_take("other", second, seconds(60)).await.expect("taken").as_deref(), Some(""));
    // Held no longer: whoever comes next goes on from the note.
    assert_eq!(take(first, Duration::ZERO).await.as_deref(), Some("half of it"));
    assert_eq!(take(second, seconds(60)).await.as_deref(), Some("half of it"));
    assert!(!store.chore_note("sweep", first, "too late").await.expect("an answer"));
    assert_eq!(take(second, seconds(60)).await.as_deref(), Some("half of it"));
}

pub async fn tenants_are_those_with_workflows(store: DynStore) {
    assert_eq!(store.tenants().await.expect("read"), []);
    workflow(&store, other_tenant(), "w").await;
    workflow(&store, TENANT, "w").await;
    workflow(&store, TENANT, "v").await;
    assert_eq!(store.tenants().await.expect("read"), [TENANT, other_tenant()]);
}

pub async fn ended_executions_are_found_by_how_and_when(store: DynStore) {
    let ours = workflow(&store, TENANT, "w").await;
    let theirs = workflow(&store, other_tenant(), "w").await;
    let mut ids = Vec::new();
    for at in [1, 2, 3] {
        ids.push(old_execution(&store, &ours, at).await);
    }
    let open = old_execution(&store, &ours, 4).await;
    let foreign = old_execution(&store, &theirs, 1).await;
    end(&store, &ours, ids[0], Status::Completed, 10).await;
    end(&store, &ours, ids[1], Status::Failed, 10).await;
    end(&store, &ours, ids[2], Status::Completed, 11).await;
    end(&store, &theirs, foreign, Status::Completed, 10).await;
    let completed = |before| all(TENANT, Status::Completed, before);
    assert_eq!(found(&store, completed(old(100))).await, [ids[0], ids[2]], "by id");
    assert_eq!(found(&store, completed(old(11))).await, [ids[0]], "before, not at");
    assert_eq!(found(&store, completed(old(10))).await, []);
    assert_eq!(found(&store, all(TENANT, Status::Failed, old(100))).await, [ids[1]]);
    assert_eq!(found(&store, all(TENANT, Status::Cancelled, old(100))).await, []);
    assert_eq!(found(&store, all(TENANT, Status::Pending, old(100))).await, [], "{open} is open");
    assert_eq!(found(&store, all(other_tenant(), Status::Completed, old(100))).await, [foreign]);
    assert_eq!(found(&store, EndedFilter { limit: 1, ..completed(old(100)) }).await, [ids[0]]);
    let next = EndedFilter { after: Some(ids[0]), ..completed(old(100)) };
    assert_eq!(found(&store, next).await, [ids[2]]);
    let first = store.ended(completed(old(11))).await.expect("found").remove(0);
    assert_eq!((first.turns, first.row.finished_at), (2, Some(old(10))));
}

pub async fn an_end_that_is_to_be_told_is_not_found(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let id = old_execution(&store, &workflow, 1).await;
    let mut commit = to(turn(&workflow, id, 2), Status::Completed);
    commit.turn.at = old(2);
    commit.sweep_at = Some(old(3));
    keep(&store, commit).await;
    let filter = all(TENANT, Status::Completed, old(100));
    assert_eq!(found(&store, filter).await, []);
    store.sweep_done(&[id]).await.expect("told");
    assert_eq!(found(&store, filter).await, [id]);
}

pub async fn old_open_executions_are_found(store: DynStore) {
    let ours = workflow(&store, TENANT, "w").await;
    let theirs = workflow(&store, other_tenant(), "w").await;
    let first = old_execution(&store, &ours, 1).await;
    let ended = old_execution(&store, &ours, 2).await;
    let last = old_execution(&store, &ours, 3).await;
    let foreign = old_execution(&store, &theirs, 1).await;
    end(&store, &ours, ended, Status::Cancelled, 5).await;
    accepted_at(&store, accepted(&ours), store.now().await.expect("the present")).await;
    let open = async |tenant, after, limit| {
        store.open_before(tenant, old(1_000), after, limit).await.expect("found")
    };
    assert_eq!(open(TENANT, None, 10).await, [first, last]);
    assert_eq!(open(TENANT, None, 1).await, [first]);
    assert_eq!(open(TENANT, Some(first), 10).await, [last]);
    assert_eq!(open(other_tenant(), None, 10).await, [foreign]);
    let mut among =
        store.open_among(&[last, ended, first, ExecutionId::generate()]).await.expect("an answer");
    among.sort();
    assert_eq!(among, [first, last]);
    assert_eq!(store.open_among(&[]).await.expect("an answer"), []);
}

pub async fn what_is_forgotten_goes_whole(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let (gone, payload) = rich(&store, &workflow, 1).await;
    let (other, kept) = rich(&store, &workflow, 2).await;
    let went = store.forget(&[gone]).await.expect("forgotten");
    let expected = Forgotten { executions: 1, turns: 3, tasks: 1, payloads: 1, human_tasks: 1, others: 4 };
    assert_eq!(went, expected);
    assert_eq!(store.execution_get(TENANT, gone).await.expect("read"), None);
    assert!(store.load(&[gone], 0, 10).await.expect("read")[0].is_none());
    assert_eq!(store.payload_get(gone, payload).await.expect("read"), None);
    assert_eq!(store.human_task_get(TENANT, HumanTaskId::derived(gone, "review")).await.expect("read"), None);
    assert_eq!(store.wait_list(TENANT, gone).await.expect("read"), []);
    for leftover in Leftover::ALL {
        let owners = store.owners(leftover, old(1_000), None, 10).await.expect("read");
        assert_eq!(owners.iter().map(|owner| owner.execution).collect::<Vec<_>>(), [other], "{leftover:?}");
    }
    // The other one has everything that it had.
    assert_eq!(store.load(&[other], 0, 10).await.expect("read")[0].as_ref().map(|s| s.turns.len()), Some(3));
    assert_eq!(store.payload_get(other, kept).await.expect("read"), Some(b"{}".to_vec()));
    assert!(
        store.human_task_get(TENANT, HumanTaskId::derived(other, "review")).await.expect("read").is_some()
    );
    assert_eq!(store.execution_late(TENANT, other).await.expect("read").len(), 1);
    assert_eq!(store.forget(&[other]).await.expect("forgotten"), expected, "nothing of it was missing");
}

pub async fn what_is_open_or_to_be_told_is_not_forgotten(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let open = old_execution(&store, &workflow, 1).await;
    let payload = PayloadId::generate();
    store.payload_put(TENANT, open, payload, b"1".to_vec()).await.expect("kept");
    let told = old_execution(&store, &workflow, 2).await;
    let mut commit = to(turn(&workflow, told, 2), Status::Failed);
    commit.sweep_at = Some(old(3));
    keep(&store, commit).await;
    let ended = old_execution(&store, &workflow, 3).await;
    end(&store, &workflow, ended, Status::Completed, 4).await;
    let went = store.forget(&[open, told, ended]).await.expect("forgotten");
    assert_eq!((went.executions, went.turns, went.payloads), (1, 2, 0));
    for id in [open, told] {
        assert!(store.execution_get(TENANT, id).await.expect("read").is_some());
        assert!(store.load(&[id], 0, 10).await.expect("read")[0].is_some());
    }
    assert_eq!(store.payload_get(open, payload).await.expect("read"), Some(b"1".to_vec()));
    store.sweep_done(&[told]).await.expect("told");
    assert_eq!(store.forget(&[open, told]).await.expect("forgotten").executions, 1);
}

pub async fn forgetting_twice_is_forgetting_once(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let (id, _) = rich(&store, &workflow, 1).await;
    assert_eq!(store.forget(&[id, id]).await.expect("forgotten").executions, 1);
    assert_eq!(store.forget(&[id]).await.expect("forgotten"), Forgotten::default());
    assert_eq!(store.forget(&[]).await.expect("forgotten"), Forgotten::default());
}

pub async fn what_is_left_of_nothing_is_found_and_goes(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let there = old_execution(&store, &workflow, 1).await;
    let nowhere = ExecutionId::derived(ExecutionId::generate(), "gone", old(2));
    let recent = ExecutionId::generate();
    for id in [there, nowhere, recent] {
        store.payload_put(TENANT, id, PayloadId::generate(), b"1".to_vec()).await.expect("kept");
        store.payload_put(TENANT, id, PayloadId::generate(), b"2".to_vec()).await.expect("kept");
    }
    let owners =
        async |after, limit| store.owners(Leftover::Payloads, old(1_000), after, limit).await.expect("read");
    let gone = Owner { execution: nowhere, status: None, finished_at: None };
    let open = Owner { execution: there, status: Some(Status::Pending), finished_at: None };
    assert_eq!(owners(None, 10).await, [open, gone]);
    assert_eq!(owners(None, 1).await, [open]);
    assert_eq!(owners(Some(there), 10).await, [gone]);
    let went = store.forget(&[there, nowhere]).await.expect("forgotten");
    assert_eq!(went, Forgotten { payloads: 2, ..Forgotten::default() });
    assert_eq!(owners(None, 10).await, [open]);
}

pub async fn payloads_are_listed_by_pages(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let id = old_execution(&store, &workflow, 1).await;
    let mut ids: Vec<PayloadId> = (0..3).map(|_| PayloadId::generate()).collect();
    for payload in &ids {
        store.payload_put(TENANT, id, *payload, b"1".to_vec()).await.expect("kept");
    }
    ids.sort();
    let list = async |after, limit| store.payload_list(id, after, limit).await.expect("read");
    assert_eq!(list(None, 10).await, ids);
    assert_eq!(list(None, 2).await, ids[..2]);
    assert_eq!(list(Some(ids[1]), 2).await, ids[2..]);
    assert_eq!(store.payload_list(ExecutionId::generate(), None, 10).await.expect("read"), []);
}

pub async fn payloads_of_an_open_execution_are_not_dropped(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let id = old_execution(&store, &workflow, 1).await;
    let [first, second] = [PayloadId::generate(), PayloadId::generate()];
    for payload in [first, second] {
        store.payload_put(TENANT, id, payload, b"1".to_vec()).await.expect("kept");
    }
    assert_eq!(store.payload_drop(id, &[first]).await.expect("an answer"), 0);
    end(&store, &workflow, id, Status::Completed, 2).await;
    assert_eq!(store.payload_drop(id, &[]).await.expect("an answer"), 0);
    assert_eq!(store.payload_drop(id, &[first]).await.expect("an answer"), 1);
    assert_eq!(store.payload_drop(id, &[first]).await.expect("an answer"), 0);
    assert_eq!(store.payload_list(id, None, 10).await.expect("read"), [second]);
}

pub async fn the_audit_is_clean_after_forgetting(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let (gone, _) = rich(&store, &workflow, 1).await;
    rich(&store, &workflow, 2).await;
    old_execution(&store, &workflow, 3).await;
    store.forget(&[gone]).await.expect("forgotten");
    assert_eq!(store.audit_tables().await.expect("audited"), []);
}
