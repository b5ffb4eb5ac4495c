//! The promises of [`crate::port::store`], one function each.
//!
//! [`conformance!`](crate::testing::store::conformance) turns them into tests of an adapter. Nothing here looks at
//! how a store keeps what it promises.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Event, Mode, Payload, Status, TaskKey, TimerKey, Turn,
        moving::{Move, Moved},
    },
    ids::{
        CoordinatorId, DeadLetterId, ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, Token,
        WorkerId, WorkflowId,
    },
    port::slots::EXECUTIONS_KEY,
    port::store::{
        Commit, DeadLetter, DeadLetterFilter, DynStore, ExecutionFilter, ExecutionRow, FinishedTask,
        FullSlot, Kept, LateResult, LeaseRenewal, Page, Request, Saved, SlotClaim, SlotOwner, SlotOwners,
        StatisticsSlot, StatisticsSpan, StatusChange, Stored, Submission, Submitted, TimerChange,
        WorkflowDraft, WorkflowFilter, WorkflowRow,
    },
    time::Timestamp,
    wire::{RequestBody, WorkerRecord},
    workflow::Priority,
};

/// A store for one test, and what must live as long (a folder, a database).
pub struct Fixture {
    pub store: DynStore,
    pub keep: Box<dyn Any + Send>,
}

/// Turns every promise into a test. `$make` is an `async fn() -> Fixture` that gives an empty store.
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        $crate::promises!(store, $make:
            the_clock_goes_on
            a_submission_is_there_once_accepted
            an_accepted_execution_is_pending
            accepts_in_the_order_asked
            an_idempotency_key_answers_with_the_same_execution
            an_idempotency_key_with_other_content_is_told
            an_idempotency_key_twice_in_one_call_counts_once
            an_idempotency_key_is_forgotten_after_a_day
            an_idempotency_key_belongs_to_its_tenant
            a_refused_submission_leaves_its_key_free
            refuses_a_submission_for_no_workflow
            refuses_a_submission_for_an_archived_workflow
            refuses_a_submission_for_another_tenants_workflow
            refuses_a_submission_over_quota
            an_ended_execution_makes_room_in_the_quota
            the_same_submission_again_is_the_same_execution
            many_submissions_at_once_are_all_kept
            appends_in_order
            keeps_several_turns_of_one_execution_in_one_call
            refuses_a_stale_turn
            refuses_a_turn_from_the_future
            refuses_a_turn_of_an_unknown_execution
            refuses_what_builds_on_a_refused_turn
            a_refused_turn_takes_no_other_with_it
            a_refused_turn_changes_nothing
            of_many_rivals_one_is_kept
            many_batches_at_once_are_all_kept
            a_dropped_caller_cancels_nothing
            loads_in_the_order_asked
            a_journal_is_loaded_in_pages
            an_open_execution_shows_why_it_will_fail
            turns_come_back_as_they_went_in
            the_row_follows_the_turns
            a_slot_is_given_to_as_many_as_its_limit
            a_slot_already_held_is_not_counted_twice
            all_slots_or_none
            a_refusal_names_those_in_the_way_when_asked
            who_stands_in_line_is_shown_and_called
            what_is_given_back_in_the_batch_that_took_it_is_free
            who_need_not_wait_is_told
            a_line_goes_by_priority_then_time
            groups_of_a_line_take_turns
            tenants_take_turns_by_weight
            who_begins_to_wait_comes_beside_those_of_other_tenants
            tasks_give_back_what_they_hold_and_wait_for
            the_end_of_one_makes_room_for_another_in_one_call
            who_waits_is_called_whoever_is_quicker
            an_end_gives_back_slots_and_timers
            rivals_for_a_slot_never_exceed_its_limit
            a_timer_is_replaced_and_cleared
            due_timers_come_longest_overdue_first
            timers_of_other_shards_are_not_ours
            a_lease_is_renewed_by_its_holder
            refuses_a_late_or_foreign_renewal
            an_accepted_execution_is_swept_unless_started
            a_sweep_is_put_off
            a_sweep_in_the_future_waits
            an_end_that_is_to_be_told_is_swept_until_it_is
            everything_open_can_be_swept_at_once
            an_ended_execution_is_not_swept
            the_sweep_says_how_late_it_is
            a_request_is_kept_until_answered
            refuses_a_request_for_an_ended_or_unknown_execution
            a_request_can_be_forgotten
            maintenance_does_no_harm
            a_workflow_is_kept_as_version_one
            a_workflow_name_is_unique_in_its_tenant
            a_new_hash_is_a_new_version
            refuses_a_stale_update
            refuses_an_update_of_nothing
            an_archived_workflow_frees_its_name
            workflows_are_found_by_filter
            pages_neither_skip_nor_repeat
            executions_are_found_by_filter
            no_tenant_sees_anothers_rows
            an_unknown_id_is_absent
            late_results_come_in_order_of_arrival
            counts_executions_by_status
            tells_what_became_of_what_was_accepted
            the_audit_finds_nothing_wrong
            the_audit_finds_what_is_wrong
            the_audit_pages_all_executions
            coordinators_are_those_heard_of
            workers_are_those_heard_of
            a_payload_belongs_to_its_execution
            a_move_changes_the_version_of_the_row
            a_move_that_lost_a_race_changes_nothing
            a_move_out_of_a_line_is_shown
            a_retry_says_what_it_does_again
            what_a_retry_carries_is_its_own
            refuses_a_retry_of_which_a_payload_is_gone
            no_retry_takes_from_another_tenant
            a_dead_letter_is_kept_until_removed
            dead_letters_are_found_and_removed_by_filter
            instants_come_back_as_they_went_in
        );
    };
}
pub use crate::store_conformance as conformance;

pub(super) const TENANT: TenantId = TenantId::DEFAULT;
const NO_QUOTA: u64 = 1_000_000;

pub(super) fn other_tenant() -> TenantId {
    TenantId::from_uuid(uuid::Uuid::from_u128(2))
}

pub(super) fn draft(tenant: TenantId, name: &str) -> WorkflowDraft {
    WorkflowDraft {
        id: WorkflowId::generate(),
        tenant,
        name: name.to_owned(),
        description: format!("What {name} is for"),
        category: "general".to_owned(),
        tags: vec!["tag".to_owned(), format!("of_{name}")],
        document: format!("name: {name}"),
        hash: format!("hash of {name}"),
        snapshot: format!("canonical {name}"),
        triggers: Vec::new(),
        publishes: None,
        principal: "someone".to_owned(),
        at: Timestamp::from_micros(1_700_000_000_000_001),
    }
}

pub(super) async fn workflow(store: &DynStore, tenant: TenantId, name: &str) -> WorkflowRow {
    match store.workflow_create(draft(tenant, name)).await.expect("created") {
        Saved::Created(row) => row,
        other => panic!("{other:?}"),
    }
}

pub(super) fn accepted(workflow: &WorkflowRow) -> Accepted {
    Accepted {
        parent: None,
        retry_of: None,
        trial: None,
        tenant: workflow.tenant,
        workflow: workflow.id,
        version: 1,
        hash: workflow.hash.clone(),
        parameters: Map::new(),
        priority: Priority::Normal,
        mode: Mode::Live,
        scheduled_at: None,
        tags: Vec::new(),
        principal: "someone".to_owned(),
        trigger: None,
    }
}

fn submission(at: Timestamp, accepted: Accepted) -> Submission {
    let first = Turn {
        execution: ExecutionId::generate(),
        seq: 1,
        cause: MessageId::generate(),
        at,
        events: vec![Event::Accepted(Box::new(accepted))],
    };
    Submission { first, idempotency: None, carries: Vec::new() }
}

fn with_key(mut submission: Submission, key: &str, hash: &str) -> Submission {
    submission.idempotency = Some((key.to_owned(), hash.to_owned()));
    submission
}

/// An accepted execution of a workflow of its own.
pub(super) async fn execution(store: &DynStore) -> (WorkflowRow, ExecutionId) {
    let name = format!("w{}", ExecutionId::generate().as_uuid().simple());
    let workflow = workflow(store, TENANT, &name).await;
    let id = another(store, &workflow).await;
    (workflow, id)
}

pub(super) async fn another(store: &DynStore, workflow: &WorkflowRow) -> ExecutionId {
    start(store, accepted(workflow)).await
}

pub(super) async fn start(store: &DynStore, accepted: Accepted) -> ExecutionId {
    let submission = submission(store.now().await.expect("the present"), accepted);
    let id = submission.first.execution;
    assert_eq!(store.accept(vec![submission], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
    id
}

pub(super) fn turn(workflow: &WorkflowRow, execution: ExecutionId, seq: u32) -> Commit {
    Commit {
        people: Vec::new(),
        waits: Vec::new(),
        cache: Vec::new(),
        turn: Turn {
            execution,
            seq,
            cause: MessageId::generate(),
            at: Timestamp::from_micros(1_700_000_000_000_000 + i64::from(seq)),
            events: vec![Event::TaskReady { task: TaskKey::of(format!("task_{seq}").as_str().into()) }],
        },
        tenant: workflow.tenant,
        workflow: workflow.id,
        change: None,
        timers: Vec::new(),
        give: Vec::new(),
        take: Vec::new(),
        wait: Vec::new(),
        release: false,
        has_asked: false,
        finished: Vec::new(),
        request: None,
        sweep_at: None,
    }
}

pub(super) fn to(mut commit: Commit, status: Status) -> Commit {
    commit.change = Some(StatusChange { status, failure: None, output: None });
    if status == Status::Running {
        commit.turn.events = vec![Event::Started];
    }
    if status.is_terminal() {
        commit.turn.events = vec![Event::Finished { status, output: None, failure: None }];
        (commit.release, commit.has_asked) = (true, true);
    }
    commit
}

fn claim(key: &str, limit: u32) -> SlotClaim {
    SlotClaim {
        key: key.to_owned(),
        limit,
        task: None,
        priority: Priority::Normal,
        group: None,
        weight: 1,
        displaces: false,
    }
}

fn taking(mut commit: Commit, key: &str, limit: u32) -> Commit {
    commit.take.push(claim(key, limit));
    commit
}

fn waiting(mut commit: Commit, claim: SlotClaim) -> Commit {
    commit.wait.push(claim);
    commit
}

fn refused(key: &str, free: u32) -> Kept {
    let full = FullSlot { free, owners: SlotOwners::default() };
    Kept::Refused { full: HashMap::from([(key.to_owned(), full)]) }
}

async fn holders(store: &DynStore, key: &str) -> Vec<ExecutionId> {
    let owners = store.slot_owners(key, 100).await.expect("read");
    owners.holders.into_iter().map(|holder| holder.execution).collect()
}

async fn line(store: &DynStore, key: &str) -> Vec<ExecutionId> {
    let owners = store.slot_owners(key, 100).await.expect("read");
    owners.waiting.into_iter().map(|waiting| waiting.execution).collect()
}

fn setting(mut commit: Commit, key: TimerKey, due_at: Timestamp, token: Option<Token>) -> Commit {
    commit.timers.push(TimerChange::Set { key, due_at, token });
    commit
}

pub(super) async fn keep(store: &DynStore, commit: Commit) {
    assert_eq!(keep_any(store, commit).await, Kept::Committed);
}

async fn keep_any(store: &DynStore, commit: Commit) -> Kept {
    store.commit(vec![commit]).await.expect("an answer").remove(0)
}

async fn journal(store: &DynStore, id: ExecutionId) -> Vec<Turn> {
    store
        .load(&[id], 0, u32::MAX)
        .await
        .expect("loaded")
        .remove(0)
        .map(|stored| stored.turns)
        .unwrap_or_default()
}

fn shards() -> Vec<Shard> {
    Shard::all().collect()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - by.as_micros() as i64)
}

fn page(limit: u32) -> Page {
    Page { after: None, limit }
}

pub async fn the_clock_goes_on(store: DynStore) {
    let first = store.now().await.expect("the present");
    let second = store.now().await.expect("the present");
    assert!(second >= first);
}

pub async fn a_submission_is_there_once_accepted(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let submission = submission(Timestamp::from_micros(5), accepted(&workflow));
    let first = submission.first.clone();
    assert_eq!(store.accept(vec![submission], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
    assert_eq!(journal(&store, first.execution).await, [first]);
}

pub async fn an_accepted_execution_is_pending(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let mut wanted = accepted(&workflow);
    wanted.priority = Priority::High;
    wanted.tags = vec!["a".to_owned(), "b\"%_!".to_owned()];
    wanted.version = 3;
    let submission = submission(Timestamp::from_micros(5), wanted);
    let id = submission.first.execution;
    store.accept(vec![submission], NO_QUOTA).await.expect("accepted");
    let row = store.execution_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!((row.id, row.tenant, row.workflow), (id, TENANT, workflow.id));
    assert_eq!((row.workflow_name.as_str(), row.version, row.status), ("w", 3, Status::Pending));
    assert_eq!((row.priority, row.principal.as_str()), (Priority::High, "someone"));
    assert_eq!(row.tags, ["a", "b\"%_!"]);
    assert_eq!((row.created_at, row.started_at, row.finished_at), (Timestamp::from_micros(5), None, None));
    assert_eq!((row.blocked_by, row.failure, row.output), (None, None, None));
}

pub async fn accepts_in_the_order_asked(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let mut lost = accepted(&workflow);
    lost.workflow = WorkflowId::generate();
    let batch = vec![
        submission(now, accepted(&workflow)),
        submission(now, lost),
        submission(now, accepted(&workflow)),
    ];
    let ids: Vec<ExecutionId> = batch.iter().map(|submission| submission.first.execution).collect();
    let answers = store.accept(batch, NO_QUOTA).await.expect("an answer");
    assert_eq!(answers, [Submitted::New, Submitted::NoWorkflow, Submitted::New]);
    let there: Vec<bool> =
        store.load(&ids, 0, 10).await.expect("loaded").iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, true]);
    assert_eq!(store.accept(Vec::new(), NO_QUOTA).await.expect("an answer"), []);
}

pub async fn an_idempotency_key_answers_with_the_same_execution(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let first = with_key(submission(now, accepted(&workflow)), "key", "content");
    let id = first.first.execution;
    assert_eq!(store.accept(vec![first], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
    let again = with_key(submission(now, accepted(&workflow)), "key", "content");
    let second = again.first.execution;
    // The quota is full by now; a repeat is answered all the same.
    assert_eq!(store.accept(vec![again], 1).await.expect("accepted"), [Submitted::Repeated(id)]);
    assert!(journal(&store, second).await.is_empty());
}

pub async fn an_idempotency_key_with_other_content_is_told(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let first = with_key(submission(now, accepted(&workflow)), "key", "content");
    let id = first.first.execution;
    store.accept(vec![first], NO_QUOTA).await.expect("accepted");
    let other = with_key(submission(now, accepted(&workflow)), "key", "other content");
    assert_eq!(store.accept(vec![other], NO_QUOTA).await.expect("an answer"), [Submitted::KeyReused(id)]);
}

pub async fn an_idempotency_key_twice_in_one_call_counts_once(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let batch: Vec<Submission> =
        (0..2).map(|_| with_key(submission(now, accepted(&workflow)), "key", "content")).collect();
    let id = batch[0].first.execution;
    let answers = store.accept(batch, NO_QUOTA).await.expect("an answer");
    assert_eq!(answers, [Submitted::New, Submitted::Repeated(id)]);
}

pub async fn an_idempotency_key_is_forgotten_after_a_day(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let old = with_key(submission(earlier(now, seconds(25 * 3_600)), accepted(&workflow)), "key", "content");
    store.accept(vec![old], NO_QUOTA).await.expect("accepted");
    let new = with_key(submission(now, accepted(&workflow)), "key", "other content");
    let id = new.first.execution;
    assert_eq!(store.accept(vec![new], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
    let again = with_key(submission(now, accepted(&workflow)), "key", "other content");
    assert_eq!(store.accept(vec![again], NO_QUOTA).await.expect("accepted"), [Submitted::Repeated(id)]);
}

pub async fn an_idempotency_key_belongs_to_its_tenant(store: DynStore) {
    let ours = workflow(&store, TENANT, "w").await;
    let theirs = workflow(&store, other_tenant(), "w").await;
    let now = store.now().await.expect("the present");
    for workflow in [ours, theirs] {
        let submission = with_key(submission(now, accepted(&workflow)), "key", "content");
        assert_eq!(store.accept(vec![submission], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
    }
}

pub async fn a_refused_submission_leaves_its_key_free(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let refused = with_key(submission(now, accepted(&workflow)), "key", "content");
    assert_eq!(store.accept(vec![refused], 0).await.expect("an answer"), [Submitted::QuotaFull { open: 0 }]);
    let accepted = with_key(submission(now, accepted(&workflow)), "key", "content");
    assert_eq!(store.accept(vec![accepted], NO_QUOTA).await.expect("accepted"), [Submitted::New]);
}

pub async fn refuses_a_submission_for_no_workflow(store: DynStore) {
    let mut wanted = accepted(&workflow(&store, TENANT, "w").await);
    wanted.workflow = WorkflowId::generate();
    let submission = submission(Timestamp::from_micros(5), wanted);
    let id = submission.first.execution;
    assert_eq!(store.accept(vec![submission], NO_QUOTA).await.expect("an answer"), [Submitted::NoWorkflow]);
    assert!(journal(&store, id).await.is_empty());
    assert_eq!(store.execution_get(TENANT, id).await.expect("read"), None);
}

pub async fn refuses_a_submission_for_an_archived_workflow(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    assert!(store.workflow_delete(TENANT, workflow.id).await.expect("archived"));
    let late = submission(Timestamp::from_micros(5), accepted(&workflow));
    assert_eq!(store.accept(vec![late], NO_QUOTA).await.expect("an answer"), [Submitted::NoWorkflow]);
    assert!(store.execution_get(TENANT, id).await.expect("read").is_some(), "its executions stay");
}

pub async fn refuses_a_submission_for_another_tenants_workflow(store: DynStore) {
    let theirs = workflow(&store, other_tenant(), "w").await;
    let mut wanted = accepted(&theirs);
    wanted.tenant = TENANT;
    let submission = submission(Timestamp::from_micros(5), wanted);
    assert_eq!(store.accept(vec![submission], NO_QUOTA).await.expect("an answer"), [Submitted::NoWorkflow]);
}

pub async fn refuses_a_submission_over_quota(store: DynStore) {
    let ours = workflow(&store, TENANT, "w").await;
    let theirs = workflow(&store, other_tenant(), "w").await;
    let now = store.now().await.expect("the present");
    let batch = (0..3).map(|_| submission(now, accepted(&ours))).collect();
    let answers = store.accept(batch, 2).await.expect("an answer");
    assert_eq!(answers, [Submitted::New, Submitted::New, Submitted::QuotaFull { open: 2 }]);
    let one = submission(now, accepted(&theirs));
    assert_eq!(
        store.accept(vec![one], 2).await.expect("an answer"),
        [Submitted::New],
        "a quota is a tenant's"
    );
}

pub async fn an_ended_execution_makes_room_in_the_quota(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let full = store.accept(vec![submission(now, accepted(&workflow))], 1).await.expect("an answer");
    assert_eq!(full, [Submitted::QuotaFull { open: 1 }]);
    keep(&store, to(turn(&workflow, id, 2), Status::Completed)).await;
    let room = store.accept(vec![submission(now, accepted(&workflow))], 1).await.expect("an answer");
    assert_eq!(room, [Submitted::New]);
}

pub async fn the_same_submission_again_is_the_same_execution(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let submission = submission(Timestamp::from_micros(5), accepted(&workflow));
    let id = submission.first.execution;
    store.accept(vec![submission.clone()], NO_QUOTA).await.expect("accepted");
    let answers = store.accept(vec![submission], NO_QUOTA).await.expect("an answer");
    assert_eq!(answers, [Submitted::Repeated(id)]);
    assert_eq!(journal(&store, id).await.len(), 1);
}

pub async fn many_submissions_at_once_are_all_kept(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let calls = (0..40).map(|call| {
        let (store, workflow) = (Arc::clone(&store), workflow.clone());
        tokio::spawn(async move {
            let keyed =
                with_key(submission(now, accepted(&workflow)), &format!("key {}", call % 4), "content");
            let batch = vec![submission(now, accepted(&workflow)), keyed];
            store.accept(batch, NO_QUOTA).await.expect("accepted")
        })
    });
    let (mut new, mut repeated) = (0, 0);
    for call in calls.collect::<Vec<_>>() {
        for answer in call.await.expect("no panic") {
            match answer {
                Submitted::New => new += 1,
                Submitted::Repeated(_) => repeated += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((new, repeated), (44, 36));
    assert_eq!(store.execution_counts().await.expect("counted"), [(Status::Pending, 44)]);
}

pub async fn appends_in_order(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    for seq in 2..6 {
        keep(&store, turn(&workflow, id, seq)).await;
    }
    let numbers: Vec<u32> = journal(&store, id).await.iter().map(|turn| turn.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(store.commit(Vec::new()).await.expect("an answer"), []);
}

pub async fn keeps_several_turns_of_one_execution_in_one_call(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let (other_workflow, other) = execution(&store).await;
    let batch = vec![
        turn(&workflow, id, 2),
        turn(&other_workflow, other, 2),
        turn(&workflow, id, 3),
        turn(&workflow, id, 4),
    ];
    assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Committed; 4]);
    assert_eq!(journal(&store, id).await.len(), 4);
    assert_eq!(journal(&store, other).await.len(), 2);
}

pub async fn refuses_a_stale_turn(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let first = turn(&workflow, id, 2);
    keep(&store, first.clone()).await;
    assert_eq!(keep_any(&store, turn(&workflow, id, 2)).await, Kept::Superseded);
    assert_eq!(keep_any(&store, turn(&workflow, id, 1)).await, Kept::Superseded);
    assert_eq!(journal(&store, id).await[1], first.turn, "the first stays");
}

pub async fn refuses_a_turn_from_the_future(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    assert_eq!(keep_any(&store, turn(&workflow, id, 3)).await, Kept::Superseded);
    assert_eq!(journal(&store, id).await.len(), 1);
}

pub async fn refuses_a_turn_of_an_unknown_execution(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    let unknown = ExecutionId::generate();
    for seq in [0, 1, 2] {
        assert_eq!(keep_any(&store, turn(&workflow, unknown, seq)).await, Kept::Superseded);
    }
    assert!(journal(&store, unknown).await.is_empty());
}

pub async fn refuses_what_builds_on_a_refused_turn(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, turn(&workflow, id, 2)).await;
    let batch = vec![turn(&workflow, id, 2), turn(&workflow, id, 3)];
    assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Superseded; 2]);
    assert_eq!(journal(&store, id).await.len(), 2);
}

pub async fn a_refused_turn_takes_no_other_with_it(store: DynStore) {
    let (workflow, stale) = execution(&store).await;
    keep(&store, turn(&workflow, stale, 2)).await;
    let (left, right) = (another(&store, &workflow).await, another(&store, &workflow).await);
    let batch = vec![turn(&workflow, left, 2), turn(&workflow, stale, 2), turn(&workflow, right, 2)];
    let answers = store.commit(batch).await.expect("an answer");
    assert_eq!(answers, [Kept::Committed, Kept::Superseded, Kept::Committed]);
    for id in [left, stale, right] {
        assert_eq!(journal(&store, id).await.len(), 2);
    }
}

pub async fn a_refused_turn_changes_nothing(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, turn(&workflow, id, 2)).await;
    let before = store.execution_get(TENANT, id).await.expect("read");
    let stale = to(turn(&workflow, id, 2), Status::Running);
    let stale = taking(setting(stale, TimerKey::Timeout, Timestamp::from_micros(9), None), "key", 1);
    assert_eq!(keep_any(&store, stale).await, Kept::Superseded);
    assert_eq!(store.execution_get(TENANT, id).await.expect("read"), before);
    assert_eq!(store.execution_timers(TENANT, id).await.expect("read"), []);
    assert_eq!(holders(&store, "key").await, []);
}

pub async fn of_many_rivals_one_is_kept(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    for seq in (2..12).step_by(2) {
        let rivals = (0..8).map(|_| {
            let store = Arc::clone(&store);
            let batch = vec![turn(&workflow, id, seq), turn(&workflow, id, seq + 1)];
            tokio::spawn(async move { store.commit(batch).await.expect("an answer") })
        });
        let mut kept = 0;
        for rival in rivals.collect::<Vec<_>>() {
            match rival.await.expect("no panic").as_slice() {
                [Kept::Committed, Kept::Committed] => kept += 1,
                [Kept::Superseded, Kept::Superseded] => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(kept, 1);
    }
    let turns = journal(&store, id).await;
    assert_eq!(turns.len(), 11);
}

pub async fn many_batches_at_once_are_all_kept(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(another(&store, &workflow).await);
    }
    let calls = ids.chunks(5).map(|ids| {
        let (store, workflow, ids) = (Arc::clone(&store), workflow.clone(), ids.to_vec());
        tokio::spawn(async move {
            for seq in 2..8 {
                let batch: Vec<Commit> = ids.iter().map(|id| turn(&workflow, *id, seq)).collect();
                assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Committed; 5]);
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic");
    }
    for id in ids {
        assert_eq!(journal(&store, id).await.len(), 7);
    }
}

pub async fn a_dropped_caller_cancels_nothing(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let asked = {
        let store = Arc::clone(&store);
        let commit = turn(&workflow, id, 2);
        tokio::spawn(async move { store.commit(vec![commit]).await })
    };
    tokio::task::yield_now().await;
    asked.abort();
    let _ = asked.await;
    // Whether the turn was on its way or not: the next is kept, after at most one look.
    if keep_any(&store, turn(&workflow, id, 2)).await == Kept::Superseded {
        keep(&store, turn(&workflow, id, 3)).await;
    }
    let turns = journal(&store, id).await;
    assert!(turns.iter().zip(1..).all(|(turn, seq)| turn.seq == seq));
}

pub async fn loads_in_the_order_asked(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    let loaded = store.load(&[second, ExecutionId::generate(), first, second], 0, 10).await.expect("loaded");
    let ids: Vec<Option<ExecutionId>> =
        loaded.iter().map(|stored| stored.as_ref().map(|stored| stored.turns[0].execution)).collect();
    assert_eq!(ids, [Some(second), None, Some(first), Some(second)]);
    assert!(store.load(&[], 0, 10).await.expect("loaded").is_empty());
}

pub async fn a_journal_is_loaded_in_pages(store: DynStore) {
    let (workflow, long) = execution(&store).await;
    let short = another(&store, &workflow).await;
    for seq in 2..=5 {
        keep(&store, turn(&workflow, long, seq)).await;
    }
    let page = async |after, most| {
        let loaded = store.load(&[short, long], after, most).await.expect("loaded");
        let numbers = |stored: &Option<Stored>| -> Option<Vec<u32>> {
            stored.as_ref().map(|stored| stored.turns.iter().map(|turn| turn.seq).collect())
        };
        let ends: Vec<_> = loaded.iter().map(|stored| stored.as_ref()?.goes_on(most)).collect();
        (numbers(&loaded[0]), numbers(&loaded[1]), ends)
    };
    assert_eq!(page(0, 2).await, (Some(vec![1]), Some(vec![1, 2]), vec![None, Some(2)]));
    assert_eq!(page(2, 2).await, (None, Some(vec![3, 4]), vec![None, Some(4)]));
    assert_eq!(page(4, 2).await, (None, Some(vec![5]), vec![None, None]));
    assert_eq!(page(5, 2).await, (None, None, vec![None, None]));
    assert_eq!(page(0, u32::MAX).await.1, Some(vec![1, 2, 3, 4, 5]));
}

/// A turn that changes the row.
fn shown(mut commit: Commit, status: Status, failure: Option<Failure>) -> Commit {
    commit.change = Some(StatusChange { status, failure, output: None });
    commit
}

pub async fn an_open_execution_shows_why_it_will_fail(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    keep(&store, shown(turn(&workflow, id, 2), Status::Running, None)).await;
    keep(&store, shown(turn(&workflow, other, 2), Status::Running, None)).await;
    let failing = async || {
        let filter = ExecutionFilter { failing: true, ..ExecutionFilter::default() };
        let page = Page { after: None, limit: 10 };
        let found = store.execution_list(TENANT, filter, page).await.expect("listed");
        found.items.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(failing().await, []);
    let why = Failure::new(FailureClass::Connection, "a: refused");
    keep(&store, shown(turn(&workflow, id, 3), Status::Running, Some(why.clone()))).await;
    keep(&store, turn(&workflow, id, 4)).await;
    assert_eq!(failing().await, [id]);
    let row = store.execution_get(TENANT, id).await.expect("read").expect("it is there");
    assert_eq!((row.status, row.failure), (Status::Running, Some(why.clone())));
    for workflow in [Some(row.workflow), Some(WorkflowId::generate()), None] {
        let filter = ExecutionFilter { failing: true, workflow, ..ExecutionFilter::default() };
        let found =
            store.execution_list(TENANT, filter, Page { after: None, limit: 10 }).await.expect("listed");
        assert_eq!(found.items.len(), usize::from(workflow.is_none_or(|workflow| workflow == row.workflow)));
    }
    // How it ends says why it ended, and nothing of before.
    keep(&store, shown(turn(&workflow, id, 5), Status::Cancelled, None)).await;
    assert_eq!(failing().await, []);
    let row = store.execution_get(TENANT, id).await.expect("read").expect("it is there");
    assert_eq!((row.status, row.failure), (Status::Cancelled, None));
}

pub async fn turns_come_back_as_they_went_in(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let mut rich = turn(&workflow, id, 2);
    rich.turn.events = vec![
        Event::TaskCompleted {
            task: TaskKey::of("fetch".into()),
            attempt: 2,
            output: Payload::Inline(
                json!({ "n": 9_007_199_254_740_993_u64, "f": 1.5, "t": "ä\u{0}", "z": null }),
            ),
            ports: vec!["found".to_owned()],
            worker: WorkerId::generate(),
            started_at: Timestamp::from_micros(5),
            finished_at: Timestamp::from_micros(6),
            log: Vec::new(),
        },
        Event::Noted {
            line: crate::component::LogLine {
                at: Timestamp::from_micros(7),
                level: crate::component::LogLevel::Info,
                message: "x".repeat(10_000),
                fields: None,
            },
        },
    ];
    keep(&store, rich.clone()).await;
    assert_eq!(journal(&store, id).await[1], rich.turn);
    assert_eq!(store.execution_turns(TENANT, id, 1, 10).await.expect("read"), [rich.turn]);
    assert_eq!(store.execution_turns(TENANT, id, 0, 1).await.expect("read")[0].seq, 1);
    assert_eq!(store.execution_turns(TENANT, id, 2, 10).await.expect("read"), []);
}

pub async fn the_row_follows_the_turns(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let start = to(turn(&workflow, id, 2), Status::Running);
    let mut end = to(turn(&workflow, id, 4), Status::Failed);
    let failure = Failure::new(FailureClass::Timeout, "it took too long").with_details(json!({ "after": 3 }));
    end.change = Some(StatusChange {
        status: Status::Failed,
        failure: Some(failure.clone()),
        output: Some(Payload::Inline(json!([1, "two"]))),
    });
    end.finished.push(FinishedTask {
        task: TaskKey::of("fetch".into()),
        attempt: 1,
        kind: "http".into(),
        status: Status::Failed,
        failure_class: Some("timeout".to_owned()),
        worker: Some(WorkerId::generate()),
        started_at: Timestamp::from_micros(1),
        finished_at: Timestamp::from_micros(2),
    });
    keep(&store, start.clone()).await;
    let row = store.execution_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!((row.status, row.started_at, row.finished_at), (Status::Running, Some(start.turn.at), None));
    let batch = vec![turn(&workflow, id, 3), end.clone()];
    assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Committed; 2]);
    let row = store.execution_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!(row.status, Status::Failed);
    assert_eq!((row.started_at, row.finished_at), (Some(start.turn.at), Some(end.turn.at)));
    assert_eq!(row.failure, Some(failure));
    assert_eq!(row.output, Some(Payload::Inline(json!([1, "two"]))));
}

pub async fn a_slot_is_given_to_as_many_as_its_limit(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    let third = another(&store, &workflow).await;
    let batch = [first, second, third]
        .map(|id| taking(to(turn(&workflow, id, 2), Status::Running), "key", 2))
        .to_vec();
    let answers = store.commit(batch).await.expect("an answer");
    assert_eq!(answers, [Kept::Committed, Kept::Committed, refused("key", 0)]);
    let mut held = holders(&store, "key").await;
    held.sort_unstable();
    let mut wanted = [first, second];
    wanted.sort_unstable();
    assert_eq!(held, wanted);
    assert_eq!(store.slot_owners("key", 1).await.expect("read").holders.len(), 1);
    assert_eq!(journal(&store, third).await.len(), 1, "a refused turn is not kept");
}

pub async fn a_slot_already_held_is_not_counted_twice(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, taking(turn(&workflow, id, 2), "key", 1)).await;
    keep(&store, taking(turn(&workflow, id, 3), "key", 1)).await;
    assert_eq!(holders(&store, "key").await, [id]);
}

pub async fn all_slots_or_none(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    keep(&store, taking(turn(&workflow, first, 2), "full", 1)).await;
    let both = taking(taking(turn(&workflow, second, 2), "free", 1), "full", 1);
    assert_eq!(keep_any(&store, both).await, refused("full", 0));
    assert_eq!(holders(&store, "free").await, []);
}

pub async fn a_refusal_names_those_in_the_way_when_asked(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let [second, third] = [another(&store, &workflow).await, another(&store, &workflow).await];
    let task = Some(TaskKey::of("fetch".into()));
    let of_task = SlotClaim { task: task.clone(), ..claim("key", 1) };
    let mut taken = turn(&workflow, first, 2);
    taken.take.push(of_task);
    taken.turn.at = Timestamp::from_micros(10);
    keep(&store, taken).await;
    let mut waits = waiting(turn(&workflow, second, 2), claim("key", 1));
    waits.turn.at = Timestamp::from_micros(20);
    keep(&store, waits).await;
    let mut late = turn(&workflow, third, 2);
    late.take.push(SlotClaim { displaces: true, ..claim("key", 1) });
    let owner = |execution, task, at| SlotOwner { execution, task, since: Timestamp::from_micros(at) };
    let owners = SlotOwners { holders: vec![owner(first, task, 10)], waiting: vec![owner(second, None, 20)] };
    let full = HashMap::from([("key".to_owned(), FullSlot { free: 0, owners })]);
    assert_eq!(keep_any(&store, late).await, Kept::Refused { full });
}

pub async fn what_is_given_back_in_the_batch_that_took_it_is_free(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    let third = another(&store, &workflow).await;
    keep(&store, taking(turn(&workflow, first, 2), "key", 1)).await;
    let given = |mut commit: Commit, task: Option<&str>| {
        commit.give.push(task.map(|id| TaskKey::of(id.into())));
        commit
    };
    let of_task = |id: &str, key: &str| SlotClaim { task: Some(TaskKey::of(id.into())), ..claim(key, 1) };
    // It begins to wait, and is cancelled.
    let cancelled = given(to(turn(&workflow, second, 3), Status::Cancelled), None);
    let batch = vec![waiting(turn(&workflow, second, 2), claim("key", 1)), cancelled];
    assert_eq!(store.commit(batch).await.expect("kept"), [Kept::Committed, Kept::Committed]);
    assert_eq!(line(&store, "key").await, []);
    // One task takes a place, gives it back and has another; one leaves the line, and comes again.
    let mut took = turn(&workflow, third, 2);
    took.take.push(of_task("a", "x"));
    took.wait.push(of_task("b", "key"));
    let mut later = given(given(turn(&workflow, third, 3), Some("a")), Some("b"));
    later.take.push(of_task("a", "y"));
    let mut last = turn(&workflow, third, 4);
    last.wait.push(of_task("b", "key"));
    let kept = store.commit(vec![took, later, last]).await.expect("kept");
    assert_eq!(kept, [Kept::Committed, Kept::Committed, Kept::Committed]);
    assert_eq!((holders(&store, "x").await, holders(&store, "y").await), (vec![], vec![third]));
    assert_eq!(line(&store, "key").await, [third]);
    let mut ended = to(turn(&workflow, third, 5), Status::Completed);
    ended.give.push(Some(TaskKey::of("b".into())));
    keep(&store, ended).await;
    assert_eq!((line(&store, "key").await, holders(&store, "y").await), (vec![], vec![]));
}

pub async fn who_stands_in_line_is_shown_and_called(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    keep(&store, taking(turn(&workflow, first, 2), "key", 1)).await;
    let before = store.execution_get(TENANT, second).await.expect("read").expect("there");
    let refusal = taking(to(turn(&workflow, second, 2), Status::Running), "key", 1);
    assert_eq!(keep_any(&store, refusal).await, refused("key", 0));
    assert_eq!(store.execution_get(TENANT, second).await.expect("read"), Some(before.clone()));
    keep(&store, waiting(turn(&workflow, second, 2), claim("key", 1))).await;
    let row = store.execution_get(TENANT, second).await.expect("read").expect("there");
    assert_eq!((row.blocked_by.as_deref(), row.status), (Some("key"), before.status));
    assert_eq!(line(&store, "key").await, [second]);
    for key in ["key", "other"] {
        assert_eq!(store.next_in_line(key, 10).await.expect("read"), []);
    }
    assert_eq!(store.lines_at_rest(10).await.expect("read"), []);
    keep(&store, to(turn(&workflow, first, 3), Status::Completed)).await;
    assert_eq!(store.next_in_line("key", 10).await.expect("read"), [second]);
    assert_eq!(store.lines_at_rest(10).await.expect("read"), [second]);
    let row = keep_any(&store, taking(to(turn(&workflow, second, 3), Status::Running), "key", 1)).await;
    assert_eq!(row, Kept::Committed);
    let row = store.execution_get(TENANT, second).await.expect("read").expect("there");
    assert_eq!((row.blocked_by, row.status), (None, Status::Running));
    assert_eq!((line(&store, "key").await, holders(&store, "key").await), (vec![], vec![second]));
}

pub async fn who_need_not_wait_is_told(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let waits = waiting(turn(&workflow, id, 2), claim("key", 3));
    assert_eq!(keep_any(&store, waits).await, refused("key", 3));
    assert_eq!((line(&store, "key").await, journal(&store, id).await.len()), (vec![], 1));
}

pub async fn a_line_goes_by_priority_then_time(store: DynStore) {
    let (workflow, holder) = execution(&store).await;
    keep(&store, taking(turn(&workflow, holder, 2), "key", 1)).await;
    let mut ids = Vec::new();
    let urgent = |urgent| if urgent { Priority::High } else { Priority::Normal };
    for (at, is_urgent) in [(20, false), (10, false), (30, true)] {
        let id = another(&store, &workflow).await;
        let claim = SlotClaim { priority: urgent(is_urgent), ..claim("key", 1) };
        let mut waits = waiting(turn(&workflow, id, 2), claim);
        waits.turn.at = Timestamp::from_micros(at);
        keep(&store, waits).await;
        ids.push(id);
    }
    let mut again = waiting(turn(&workflow, ids[1], 3), claim("key", 1));
    again.turn.at = Timestamp::from_micros(40);
    keep(&store, again).await;
    assert_eq!(line(&store, "key").await, [ids[2], ids[1], ids[0]], "who asks again keeps its place");
    keep(&store, to(turn(&workflow, holder, 3), Status::Completed)).await;
    let late = taking(turn(&workflow, another(&store, &workflow).await, 2), "key", 1);
    assert_eq!(keep_any(&store, late).await, refused("key", 0), "who comes now comes after them");
    let second = taking(turn(&workflow, ids[1], 4), "key", 1);
    assert_eq!(keep_any(&store, second).await, refused("key", 0), "it is not its turn");
    keep(&store, taking(turn(&workflow, ids[2], 3), "key", 1)).await;
    assert_eq!(line(&store, "key").await, [ids[1], ids[0]]);
}

pub async fn groups_of_a_line_take_turns(store: DynStore) {
    let (workflow, holder) = execution(&store).await;
    let of = |group: &str| SlotClaim { group: Some(group.to_owned()), ..claim("key", 1) };
    let mut first = turn(&workflow, holder, 2);
    first.take.push(of("a"));
    keep(&store, first).await;
    let mut ids = Vec::new();
    for (at, group) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c")] {
        let id = another(&store, &workflow).await;
        let mut waits = waiting(turn(&workflow, id, 2), of(group));
        waits.turn.at = Timestamp::from_micros(at);
        keep(&store, waits).await;
        ids.push(id);
    }
    assert_eq!(line(&store, "key").await, [ids[0], ids[3], ids[5], ids[1], ids[4], ids[2]]);
    // Two turns later somebody new comes before who has had its turn.
    for (before, next, group) in [(holder, ids[0], "a"), (ids[0], ids[3], "b")] {
        let seq = journal(&store, before).await.len() as u32 + 1;
        keep(&store, to(turn(&workflow, before, seq), Status::Completed)).await;
        let mut takes = turn(&workflow, next, 3);
        takes.take.push(of(group));
        keep(&store, takes).await;
    }
    let new = another(&store, &workflow).await;
    let mut waits = waiting(turn(&workflow, new, 2), of("d"));
    waits.turn.at = Timestamp::from_micros(9);
    keep(&store, waits).await;
    assert_eq!(line(&store, "key").await, [ids[5], ids[1], ids[4], new, ids[2]]);
}

/// The line for executions, as [`claim`]s of a tenant.
fn of_tenant(tenant: &str, weight: u32, priority: Priority) -> SlotClaim {
    SlotClaim { group: Some(tenant.to_owned()), weight, priority, ..claim(EXECUTIONS_KEY, 1) }
}

/// One begins to wait at this instant.
async fn waits_at(store: &DynStore, workflow: &WorkflowRow, at: i64, claim: SlotClaim) -> ExecutionId {
    let id = another(store, workflow).await;
    let mut waits = waiting(turn(workflow, id, 2), claim);
    waits.turn.at = Timestamp::from_micros(at);
    keep(store, waits).await;
    id
}

/// One ends, and who is next takes its place.
async fn follows(
    store: &DynStore,
    workflow: &WorkflowRow,
    (before, next): (ExecutionId, ExecutionId),
    claim: SlotClaim,
) {
    let seq = journal(store, before).await.len() as u32 + 1;
    keep(store, to(turn(workflow, before, seq), Status::Completed)).await;
    assert_eq!(store.next_in_line(EXECUTIONS_KEY, 10).await.expect("read"), [next]);
    assert_eq!(store.lines_at_rest(10).await.expect("read"), [next]);
    let mut takes = turn(workflow, next, 3);
    takes.take.push(claim);
    keep(store, takes).await;
    assert!(store.next_in_line(EXECUTIONS_KEY, 10).await.expect("read").is_empty());
}

pub async fn tenants_take_turns_by_weight(store: DynStore) {
    let (workflow, holder) = execution(&store).await;
    let a = |priority| of_tenant("a", 2, priority);
    let b = |priority| of_tenant("b", 1, priority);
    let mut first = turn(&workflow, holder, 2);
    first.take.push(a(Priority::Normal));
    keep(&store, first).await;
    let mut ids = Vec::new();
    for at in 0..3 {
        ids.push(waits_at(&store, &workflow, 10 + at, a(Priority::Normal)).await);
    }
    for at in 3..5 {
        ids.push(waits_at(&store, &workflow, 10 + at, b(Priority::Normal)).await);
    }
    assert_eq!(line(&store, EXECUTIONS_KEY).await, [ids[0], ids[3], ids[1], ids[2], ids[4]]);
    let high = waits_at(&store, &workflow, 30, b(Priority::High)).await;
    let expected = [ids[0], high, ids[1], ids[2], ids[3], ids[4]];
    assert_eq!(line(&store, EXECUTIONS_KEY).await, expected, "it comes before its own alone");
    let late = another(&store, &workflow).await;
    let late = taking(turn(&workflow, late, 2), EXECUTIONS_KEY, 1);
    assert_eq!(keep_any(&store, late).await, refused(EXECUTIONS_KEY, 0));
    // A batch in which one who is not next asks too.
    follows(&store, &workflow, (holder, ids[0]), a(Priority::Normal)).await;
    let mut early = turn(&workflow, ids[1], 3);
    early.take.push(a(Priority::Normal));
    assert_eq!(keep_any(&store, early).await, refused(EXECUTIONS_KEY, 0), "it is not its turn");
    follows(&store, &workflow, (ids[0], high), b(Priority::High)).await;
    assert_eq!(line(&store, EXECUTIONS_KEY).await, expected[2..]);
    // One leaves in between, and those behind it come nearer.
    let mut leaves = to(turn(&workflow, ids[1], 3), Status::Cancelled);
    leaves.give.push(None);
    keep(&store, leaves).await;
    assert_eq!(line(&store, EXECUTIONS_KEY).await, [ids[2], ids[3], ids[4]]);
}

pub async fn who_begins_to_wait_comes_beside_those_of_other_tenants(store: DynStore) {
    let (workflow, holder) = execution(&store).await;
    let of = |tenant: &str| of_tenant(tenant, 1, Priority::Normal);
    let mut first = turn(&workflow, holder, 2);
    first.take.push(of("b"));
    keep(&store, first).await;
    let mut ids = Vec::new();
    for at in 0..4 {
        ids.push(waits_at(&store, &workflow, 10 + at, of("b")).await);
    }
    follows(&store, &workflow, (holder, ids[0]), of("b")).await;
    follows(&store, &workflow, (ids[0], ids[1]), of("b")).await;
    // It has saved up no turns: it begins where the last turn was. Of equals the lower one is first.
    let new = waits_at(&store, &workflow, 20, of("a")).await;
    let second = waits_at(&store, &workflow, 21, of("a")).await;
    assert_eq!(line(&store, EXECUTIONS_KEY).await, [new, second, ids[2], ids[3]]);
    follows(&store, &workflow, (ids[1], new), of("a")).await;
    follows(&store, &workflow, (new, second), of("a")).await;
    // It comes again, and the turns that it has had are not forgotten.
    let again = waits_at(&store, &workflow, 30, of("a")).await;
    let other = waits_at(&store, &workflow, 31, of("c")).await;
    assert_eq!(line(&store, EXECUTIONS_KEY).await, [ids[2], other, again, ids[3]]);
    follows(&store, &workflow, (second, ids[2]), of("b")).await;
    follows(&store, &workflow, (ids[2], other), of("c")).await;
    assert_eq!(line(&store, EXECUTIONS_KEY).await, [again, ids[3]]);
}

pub async fn tasks_give_back_what_they_hold_and_wait_for(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    let task = |id: &str| Some(TaskKey::of(id.into()));
    let of = |id: &str| SlotClaim { task: task(id), ..claim("key", 2) };
    let mut takes = turn(&workflow, first, 2);
    takes.take.extend([of("a"), of("b")]);
    takes.wait.push(of("c"));
    keep(&store, takes).await;
    keep(&store, waiting(turn(&workflow, second, 2), of("x"))).await;
    assert_eq!(holders(&store, "key").await, [first, first]);
    assert_eq!(line(&store, "key").await.len(), 2);
    let row = store.execution_get(TENANT, first).await.expect("read").expect("there");
    assert_eq!(row.blocked_by, None, "its tasks wait, and it does not");
    // One gives its place back and the one in line takes it, in one turn.
    let mut swaps = turn(&workflow, first, 3);
    swaps.give.push(task("a"));
    swaps.take.push(of("c"));
    keep(&store, swaps).await;
    assert_eq!((holders(&store, "key").await.len(), line(&store, "key").await), (2, vec![second]));
    let mut gives = turn(&workflow, first, 4);
    gives.give.extend([task("b"), task("nothing")]);
    keep(&store, gives).await;
    assert_eq!(store.next_in_line("key", 10).await.expect("read"), [second]);
    let mut leaves = turn(&workflow, second, 3);
    leaves.give.push(task("x"));
    keep(&store, leaves).await;
    assert_eq!((holders(&store, "key").await, line(&store, "key").await), (vec![first], vec![]));
    // A turn that is not kept gives nothing back.
    let mut stale = turn(&workflow, first, 4);
    stale.give.push(task("c"));
    assert_eq!(keep_any(&store, stale).await, Kept::Superseded);
    let mut refusal = turn(&workflow, first, 5);
    refusal.give.push(task("c"));
    refusal.wait.push(of("d"));
    assert_eq!(keep_any(&store, refusal).await, refused("key", 2));
    assert_eq!(holders(&store, "key").await, [first]);
}

pub async fn the_end_of_one_makes_room_for_another_in_one_call(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    keep(&store, taking(turn(&workflow, first, 2), "key", 1)).await;
    keep(&store, waiting(turn(&workflow, second, 2), claim("key", 1))).await;
    let wanted = taking(to(turn(&workflow, second, 3), Status::Running), "key", 1);
    let batch = vec![to(turn(&workflow, first, 3), Status::Completed), wanted];
    assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Committed; 2]);
    let row = store.execution_get(TENANT, second).await.expect("read").expect("there");
    assert_eq!((row.status, row.blocked_by), (Status::Running, None));
    assert_eq!(line(&store, "key").await, []);
}

pub async fn an_end_gives_back_slots_and_timers(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let start = taking(taking(turn(&workflow, id, 2), "one", 1), "two", 1);
    keep(&store, setting(start, TimerKey::Timeout, Timestamp::from_micros(9), None)).await;
    let end = to(turn(&workflow, id, 3), Status::Cancelled);
    keep(&store, setting(end, TimerKey::CancelGrace, Timestamp::from_micros(9), None)).await;
    for key in ["one", "two"] {
        assert_eq!(holders(&store, key).await, []);
    }
    assert_eq!(store.execution_timers(TENANT, id).await.expect("read"), []);
    assert_eq!(store.timers_due(&shards(), Timestamp::from_micros(99), 10).await.expect("read"), []);
}

pub async fn rivals_for_a_slot_never_exceed_its_limit(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(another(&store, &workflow).await);
    }
    let calls = ids.into_iter().map(|id| {
        let store = Arc::clone(&store);
        let commit = taking(taking(turn(&workflow, id, 2), "b", 100), "a", 3);
        tokio::spawn(async move { keep_any(&store, commit).await })
    });
    let mut kept = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.expect("no panic") {
            Kept::Committed => kept += 1,
            Kept::Refused { full } => assert_eq!(full.into_keys().collect::<Vec<_>>(), ["a"]),
            Kept::Superseded => panic!("nobody else writes it"),
        }
    }
    assert_eq!(kept, 3);
    assert_eq!(holders(&store, "a").await.len(), 3);
    assert_eq!(holders(&store, "b").await.len(), 3);
}

pub async fn who_waits_is_called_whoever_is_quicker(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    for _ in 0..20 {
        let [first, second] = [another(&store, &workflow).await, another(&store, &workflow).await];
        keep(&store, taking(turn(&workflow, first, 2), "key", 1)).await;
        // As coordinators do: one gives its place back and looks who is next, the other begins to wait meanwhile.
        let gives = tokio::spawn({
            let (store, end) = (Arc::clone(&store), to(turn(&workflow, first, 3), Status::Completed));
            async move {
                keep(&store, end).await;
                store.next_in_line("key", 10).await.expect("read")
            }
        });
        let waits = waiting(turn(&workflow, second, 2), claim("key", 1));
        let answer = keep_any(&store, waits).await;
        let next = gives.await.expect("no panic");
        match answer {
            Kept::Committed => assert_eq!(next, [second], "it waits, and nobody calls it"),
            other => assert_eq!(other, refused("key", 1)),
        }
        let seq = journal(&store, second).await.len() as u32 + 1;
        let end = to(turn(&workflow, second, seq), Status::Cancelled);
        keep(&store, Commit { give: vec![None], ..end }).await;
    }
}

pub async fn a_timer_is_replaced_and_cleared(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let key = TimerKey::Retry(TaskKey::of("fetch".into()));
    let token = Some(Token::generate());
    keep(&store, setting(turn(&workflow, id, 2), key.clone(), Timestamp::from_micros(20), None)).await;
    let both = setting(turn(&workflow, id, 3), key.clone(), Timestamp::from_micros(30), token);
    keep(&store, setting(both, TimerKey::Timeout, Timestamp::from_micros(25), None)).await;
    let timers = store.execution_timers(TENANT, id).await.expect("read");
    let seen: Vec<_> =
        timers.iter().map(|timer| (timer.key.clone(), timer.due_at.as_micros(), timer.token)).collect();
    assert_eq!(seen, [(TimerKey::Timeout, 25, None), (key.clone(), 30, token)]);
    let mut clear = turn(&workflow, id, 4);
    clear.timers.push(TimerChange::Clear { key: key.clone() });
    // In one call the later turn has the last word.
    let batch = vec![clear, setting(turn(&workflow, id, 5), key.clone(), Timestamp::from_micros(50), None)];
    assert_eq!(store.commit(batch).await.expect("an answer"), vec![Kept::Committed; 2]);
    let mut clear = turn(&workflow, id, 6);
    clear.timers.push(TimerChange::Clear { key: TimerKey::Timeout });
    keep(&store, clear).await;
    let timers = store.execution_timers(TENANT, id).await.expect("read");
    let seen: Vec<_> = timers.iter().map(|timer| (timer.key.clone(), timer.due_at.as_micros())).collect();
    assert_eq!(seen, [(key, 50)]);
}

pub async fn due_timers_come_longest_overdue_first(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    keep(&store, setting(turn(&workflow, first, 2), TimerKey::Timeout, Timestamp::from_micros(30), None))
        .await;
    keep(&store, setting(turn(&workflow, second, 2), TimerKey::Timeout, Timestamp::from_micros(10), None))
        .await;
    keep(&store, setting(turn(&workflow, first, 3), TimerKey::Scheduled, Timestamp::from_micros(20), None))
        .await;
    let due = store.timers_due(&shards(), Timestamp::from_micros(30), 10).await.expect("read");
    let seen: Vec<_> = due.iter().map(|timer| (timer.execution, timer.due_at.as_micros())).collect();
    assert_eq!(seen, [(second, 10), (first, 20), (first, 30)]);
    assert_eq!(store.timers_due(&shards(), Timestamp::from_micros(30), 2).await.expect("read"), due[..2]);
    assert_eq!(store.timers_due(&shards(), Timestamp::from_micros(29), 10).await.expect("read"), due[..2]);
}

pub async fn timers_of_other_shards_are_not_ours(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, setting(turn(&workflow, id, 2), TimerKey::Timeout, Timestamp::from_micros(30), None)).await;
    let ours = Shard::of(id);
    let others: Vec<Shard> = Shard::all().filter(|shard| *shard != ours).collect();
    let until = Timestamp::from_micros(99);
    assert_eq!(store.timers_due(&[ours], until, 10).await.expect("read").len(), 1);
    assert_eq!(store.timers_due(&others, until, 10).await.expect("read"), []);
    assert_eq!(store.timers_due(&[], until, 10).await.expect("read"), []);
}

pub async fn a_lease_is_renewed_by_its_holder(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let (task, token) = (TaskKey::of("long".into()), Token::generate());
    let lease = TimerKey::Lease(task.clone());
    keep(&store, setting(turn(&workflow, id, 2), lease, now.after(seconds(600)), Some(token))).await;
    let until = now.after(seconds(900));
    let renewal = LeaseRenewal { execution: id, task, token };
    let answers = store.renew_leases(vec![renewal.clone(), renewal], until).await.expect("an answer");
    assert_eq!(answers, [true, true]);
    assert_eq!(store.execution_timers(TENANT, id).await.expect("read")[0].due_at, until);
    assert_eq!(store.renew_leases(Vec::new(), until).await.expect("an answer"), Vec::<bool>::new());
}

pub async fn refuses_a_late_or_foreign_renewal(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let token = Token::generate();
    let [ours, late, gone] = ["ours", "late", "gone"].map(|name| TaskKey::of(name.into()));
    let both =
        setting(turn(&workflow, id, 2), TimerKey::Lease(ours.clone()), now.after(seconds(600)), Some(token));
    let ran_out = earlier(now, seconds(60));
    keep(&store, setting(both, TimerKey::Lease(late.clone()), ran_out, Some(token))).await;
    let renewal = |task: &TaskKey, token| LeaseRenewal { execution: id, task: task.clone(), token };
    let renewals = vec![
        renewal(&ours, Token::generate()),
        renewal(&late, token),
        renewal(&gone, token),
        renewal(&ours, token),
    ];
    let until = now.after(seconds(900));
    let answers = store.renew_leases(renewals, until).await.expect("an answer");
    assert_eq!(answers, [false, false, false, true]);
    let timers = store.execution_timers(TENANT, id).await.expect("read");
    let due: Vec<Timestamp> = timers.iter().map(|timer| timer.due_at).collect();
    assert_eq!(due, [ran_out, until]);
}

pub async fn an_accepted_execution_is_swept_unless_started(store: DynStore) {
    let workflow = workflow(&store, TENANT, "w").await;
    let now = store.now().await.expect("the present");
    let fresh = submission(now, accepted(&workflow));
    let lost = submission(earlier(now, seconds(60)), accepted(&workflow));
    let mut later = accepted(&workflow);
    later.scheduled_at = Some(now.after(seconds(60)));
    let later = submission(earlier(now, seconds(60)), later);
    let wanted = lost.first.execution;
    store.accept(vec![fresh, lost, later], NO_QUOTA).await.expect("accepted");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [wanted]);
}

pub async fn a_sweep_is_put_off(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let mut due = turn(&workflow, id, 2);
    due.sweep_at = Some(earlier(now, seconds(1)));
    keep(&store, due).await;
    let others: Vec<Shard> = Shard::all().filter(|shard| *shard != Shard::of(id)).collect();
    assert_eq!(store.sweep_due(&others, 10).await.expect("swept"), []);
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [id]);
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [], "it is put off");
    store.sweep_again(vec![(id, earlier(now, seconds(1)))]).await.expect("set");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [id]);
}

pub async fn a_sweep_in_the_future_waits(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let second = another(&store, &workflow).await;
    let third = another(&store, &workflow).await;
    let now = store.now().await.expect("the present");
    store
        .sweep_again(vec![(second, earlier(now, seconds(5))), (first, earlier(now, seconds(9)))])
        .await
        .expect("set");
    store.sweep_again(vec![(third, now.after(seconds(60)))]).await.expect("set");
    assert_eq!(store.sweep_due(&shards(), 1).await.expect("swept"), [first], "the oldest first");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [second]);
    // A turn without a wish leaves it as it is.
    store.sweep_again(vec![(third, earlier(now, seconds(5)))]).await.expect("set");
    keep(&store, to(turn(&workflow, third, 2), Status::Running)).await;
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [third]);
}

pub async fn an_end_that_is_to_be_told_is_swept_until_it_is(store: DynStore) {
    let (workflow, quiet) = execution(&store).await;
    let told = another(&store, &workflow).await;
    let now = store.now().await.expect("the present");
    keep(&store, to(turn(&workflow, quiet, 2), Status::Completed)).await;
    let mut last = to(turn(&workflow, told, 2), Status::Failed);
    last.sweep_at = Some(earlier(now, seconds(1)));
    keep(&store, last).await;
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [told]);
    assert!(store.sweep_lag().await.expect("read").is_zero());
    let open = another(&store, &workflow).await;
    store.sweep_again(vec![(open, earlier(now, seconds(1)))]).await.expect("set");
    store.sweep_done(&[told, open]).await.expect("done");
    store.sweep_done(&[]).await.expect("done");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [open], "what is open stays");
}

pub async fn everything_open_can_be_swept_at_once(store: DynStore) {
    let (workflow, open) = execution(&store).await;
    let ended = another(&store, &workflow).await;
    keep(&store, to(turn(&workflow, ended, 2), Status::Completed)).await;
    let others: Vec<Shard> = Shard::all().filter(|shard| *shard != Shard::of(open)).collect();
    assert_eq!(store.sweep_all(&others).await.expect("swept"), 0);
    assert_eq!(store.sweep_all(&shards()).await.expect("swept"), 1);
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), [open]);
}

pub async fn an_ended_execution_is_not_swept(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    store.sweep_again(vec![(id, earlier(now, seconds(5)))]).await.expect("set");
    keep(&store, to(turn(&workflow, id, 2), Status::Completed)).await;
    store.sweep_again(vec![(id, earlier(now, seconds(5)))]).await.expect("set");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), []);
    assert_eq!(store.sweep_lag().await.expect("read"), Duration::ZERO);
}

pub async fn the_sweep_says_how_late_it_is(store: DynStore) {
    let (_, id) = execution(&store).await;
    assert_eq!(store.sweep_lag().await.expect("read"), Duration::ZERO);
    let now = store.now().await.expect("the present");
    store.sweep_again(vec![(id, earlier(now, seconds(100)))]).await.expect("set");
    let lag = store.sweep_lag().await.expect("read");
    assert!(lag >= seconds(100) && lag < seconds(160), "{lag:?}");
}

pub(super) fn request(tenant: TenantId, execution: ExecutionId, at: Timestamp) -> Request {
    let body = RequestBody::Cancel { by: "someone".to_owned(), reason: "no need".to_owned() };
    Request { id: RequestId::generate(), tenant, execution, body, at }
}

pub async fn a_request_is_kept_until_answered(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let older = request(TENANT, id, earlier(now, seconds(90)));
    let old = request(TENANT, id, earlier(now, seconds(60)));
    let fresh = request(TENANT, id, now);
    for request in [&old, &older, &fresh] {
        assert!(store.request(request.clone()).await.expect("kept"));
    }
    assert!(store.request(old.clone()).await.expect("kept"), "the same again is kept already");
    let waiting = store.requests_waiting(&shards(), seconds(10), 10).await.expect("read");
    assert_eq!(waiting, [older.clone(), old.clone()]);
    assert_eq!(
        store.requests_waiting(&shards(), seconds(10), 1).await.expect("read"),
        std::slice::from_ref(&older)
    );
    assert_eq!(store.requests_waiting(&[], seconds(10), 10).await.expect("read"), []);
    let mut answer = turn(&workflow, id, 2);
    answer.request = Some(older.id);
    keep(&store, answer).await;
    assert_eq!(store.requests_waiting(&shards(), seconds(10), 10).await.expect("read"), [old]);
}

pub async fn refuses_a_request_for_an_ended_or_unknown_execution(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let past = Timestamp::from_micros(5);
    assert!(!store.request(request(TENANT, ExecutionId::generate(), past)).await.expect("an answer"));
    assert!(!store.request(request(other_tenant(), id, past)).await.expect("an answer"));
    keep(&store, to(turn(&workflow, id, 2), Status::Completed)).await;
    assert!(!store.request(request(TENANT, id, past)).await.expect("an answer"));
    assert_eq!(store.requests_waiting(&shards(), Duration::ZERO, 10).await.expect("read"), []);
}

pub async fn a_request_can_be_forgotten(store: DynStore) {
    let (_, id) = execution(&store).await;
    let request = request(TENANT, id, Timestamp::from_micros(5));
    store.request(request.clone()).await.expect("kept");
    store.forget_request(request.id).await.expect("forgotten");
    store.forget_request(request.id).await.expect("forgotten");
    assert_eq!(store.requests_waiting(&shards(), Duration::ZERO, 10).await.expect("read"), []);
}

pub async fn maintenance_does_no_harm(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let now = store.now().await.expect("the present");
    let kept = with_key(submission(now, accepted(&workflow)), "key", "content");
    let execution = kept.first.execution;
    store.accept(vec![kept], NO_QUOTA).await.expect("accepted");
    store.maintain().await.expect("maintained");
    store.maintain().await.expect("maintained");
    let again = with_key(submission(now, accepted(&workflow)), "key", "content");
    assert_eq!(
        store.accept(vec![again], NO_QUOTA).await.expect("an answer"),
        [Submitted::Repeated(execution)]
    );
    keep(&store, turn(&workflow, id, 2)).await;
}

pub async fn a_workflow_is_kept_as_version_one(store: DynStore) {
    let draft = draft(TENANT, "w");
    let Saved::Created(row) = store.workflow_create(draft.clone()).await.expect("created") else {
        panic!("not created")
    };
    assert_eq!((row.id, row.tenant, row.version), (draft.id, TENANT, 1));
    assert_eq!((row.status.as_str(), row.tags.as_slice()), ("active", draft.tags.as_slice()));
    assert_eq!((row.created_at, row.updated_at), (draft.at, draft.at));
    assert_eq!((&row.document, &row.hash, &row.created_by), (&draft.document, &draft.hash, &draft.principal));
    assert_eq!(store.workflow_get(TENANT, draft.id).await.expect("read"), Some(row.clone()));
    assert_eq!(store.workflow_by_name(TENANT, "w").await.expect("read"), Some(row));
    assert_eq!(store.snapshot(&draft.hash).await.expect("read"), Some(draft.snapshot));
}

pub async fn a_workflow_name_is_unique_in_its_tenant(store: DynStore) {
    let first = workflow(&store, TENANT, "w").await;
    let taken = store.workflow_create(draft(TENANT, "w")).await.expect("an answer");
    assert_eq!(taken, Saved::NameTaken(first.id));
    workflow(&store, other_tenant(), "w").await;
    let second = workflow(&store, TENANT, "v").await;
    let mut renamed = draft(TENANT, "w");
    renamed.id = second.id;
    assert_eq!(store.workflow_update(renamed, None).await.expect("an answer"), Saved::NameTaken(first.id));
    assert_eq!(store.workflow_get(TENANT, second.id).await.expect("read"), Some(second));
}

pub async fn a_new_hash_is_a_new_version(store: DynStore) {
    let first = workflow(&store, TENANT, "w").await;
    let mut draft = draft(TENANT, "w");
    draft.id = first.id;
    draft.description = "Other words".into();
    draft.at = Timestamp::from_micros(1_800_000_000_000_000);
    let Saved::Updated(same) = store.workflow_update(draft.clone(), Some(1)).await.expect("an answer") else {
        panic!("not updated")
    };
    assert_eq!((same.version, same.description.as_str()), (1, "Other words"));
    assert_eq!((same.created_at, same.updated_at), (first.created_at, draft.at));
    draft.hash = "another hash".into();
    draft.snapshot = "another text".into();
    draft.name = "renamed".into();
    let Saved::Updated(next) = store.workflow_update(draft.clone(), None).await.expect("an answer") else {
        panic!("not updated")
    };
    assert_eq!((next.version, next.name.as_str()), (2, "renamed"));
    assert_eq!(store.snapshot("another hash").await.expect("read").as_deref(), Some("another text"));
    assert_eq!(store.snapshot(&first.hash).await.expect("read").as_deref(), Some("canonical w"));
    assert_eq!(store.snapshot("no hash").await.expect("read"), None);
    // Back to what it was: another version with a known snapshot.
    draft.hash = first.hash.clone();
    let Saved::Updated(back) = store.workflow_update(draft, Some(2)).await.expect("an answer") else {
        panic!("not updated")
    };
    assert_eq!(back.version, 3);
}

pub async fn refuses_a_stale_update(store: DynStore) {
    let first = workflow(&store, TENANT, "w").await;
    let mut draft = draft(TENANT, "w");
    draft.id = first.id;
    draft.hash = "another hash".into();
    assert_eq!(store.workflow_update(draft, Some(7)).await.expect("an answer"), Saved::Stale(1));
    assert_eq!(store.workflow_get(TENANT, first.id).await.expect("read"), Some(first));
}

pub async fn refuses_an_update_of_nothing(store: DynStore) {
    assert_eq!(store.workflow_update(draft(TENANT, "w"), None).await.expect("an answer"), Saved::Missing);
    let theirs = workflow(&store, other_tenant(), "w").await;
    let mut stolen = draft(TENANT, "w");
    stolen.id = theirs.id;
    assert_eq!(store.workflow_update(stolen, None).await.expect("an answer"), Saved::Missing);
}

pub async fn an_archived_workflow_frees_its_name(store: DynStore) {
    let first = workflow(&store, TENANT, "w").await;
    assert!(store.workflow_delete(TENANT, first.id).await.expect("archived"));
    assert_eq!(store.workflow_by_name(TENANT, "w").await.expect("read"), None);
    let row = store.workflow_get(TENANT, first.id).await.expect("read").expect("still there");
    assert_eq!(row.status, "archived");
    let mut update = draft(TENANT, "w");
    update.id = first.id;
    assert_eq!(store.workflow_update(update, None).await.expect("an answer"), Saved::Missing);
    let second = workflow(&store, TENANT, "w").await;
    assert_eq!(store.workflow_by_name(TENANT, "w").await.expect("read"), Some(second));
    assert!(!store.workflow_delete(TENANT, WorkflowId::generate()).await.expect("an answer"));
    assert!(!store.workflow_delete(other_tenant(), first.id).await.expect("an answer"));
}

pub async fn workflows_are_found_by_filter(store: DynStore) {
    let first = workflow(&store, TENANT, "orders_100%").await;
    let mut special = draft(TENANT, "Invoices");
    special.category = "billing".into();
    special.tags = vec!["it's \"quoted\"".to_owned()];
    store.workflow_create(special.clone()).await.expect("created");
    let gone = workflow(&store, TENANT, "gone").await;
    store.workflow_delete(TENANT, gone.id).await.expect("archived");
    let list = async |filter: WorkflowFilter| -> Vec<WorkflowId> {
        let found = store.workflow_list(TENANT, filter, page(10)).await.expect("read");
        found.items.iter().map(|row| row.id).collect()
    };
    let filter = WorkflowFilter::default;
    assert_eq!(list(filter()).await, [gone.id, special.id, first.id], "newest first");
    assert_eq!(list(WorkflowFilter { category: Some("billing".to_owned()), ..filter() }).await, [special.id]);
    assert_eq!(list(WorkflowFilter { status: Some("archived".to_owned()), ..filter() }).await, [gone.id]);
    let tag = Some("it's \"quoted\"".to_owned());
    assert_eq!(list(WorkflowFilter { tag, ..filter() }).await, [special.id]);
    assert_eq!(
        list(WorkflowFilter { tag: Some("quoted".to_owned()), ..filter() }).await,
        [],
        "not a part of one"
    );
    assert_eq!(list(WorkflowFilter { search: Some("INVOICE".to_owned()), ..filter() }).await, [special.id]);
    assert_eq!(list(WorkflowFilter { search: Some("0%".to_owned()), ..filter() }).await, [first.id]);
    assert_eq!(list(WorkflowFilter { search: Some("what ORDERS".to_owned()), ..filter() }).await, [first.id]);
}

pub async fn pages_neither_skip_nor_repeat(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    for _ in 0..6 {
        another(&store, &workflow).await;
    }
    let mut seen = Vec::new();
    let mut next = page(3);
    loop {
        let found = store.execution_list(TENANT, ExecutionFilter::default(), next).await.expect("read");
        assert!(found.items.len() <= 3);
        seen.extend(found.items.iter().map(|row| row.id));
        another(&store, &workflow).await;
        let Some(after) = found.next else { break };
        next = Page { after: Some(after), limit: 3 };
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    let all = store.execution_list(TENANT, ExecutionFilter::default(), page(500)).await.expect("read");
    assert_eq!(all.items.len(), 10);
    assert_eq!(all.next, None);
}

pub async fn executions_are_found_by_filter(store: DynStore) {
    let (one, pending) = execution(&store).await;
    let two = workflow(&store, TENANT, "two").await;
    let mut tagged = accepted(&two);
    tagged.tags = vec!["a_b".to_owned(), "c".to_owned()];
    let tagged = start(&store, tagged).await;
    let failed = another(&store, &two).await;
    keep(&store, to(turn(&two, failed, 2), Status::Failed)).await;
    let created = store.execution_get(TENANT, failed).await.expect("read").expect("there").created_at;
    let list = async |filter: ExecutionFilter| -> Vec<ExecutionId> {
        let found = store.execution_list(TENANT, filter, page(10)).await.expect("read");
        found.items.iter().map(|row| row.id).collect()
    };
    let filter = ExecutionFilter::default;
    assert_eq!(list(filter()).await, [failed, tagged, pending]);
    assert_eq!(list(ExecutionFilter { workflow: Some(one.id), ..filter() }).await, [pending]);
    assert_eq!(list(ExecutionFilter { workflow: Some(two.id), ..filter() }).await, [failed, tagged]);
    let status = |status: &[Status]| ExecutionFilter { status: status.to_vec(), ..filter() };
    assert_eq!(list(status(&[Status::Failed])).await, [failed]);
    assert_eq!(list(status(&[Status::Pending, Status::Running])).await, [tagged, pending]);
    assert_eq!(list(status(&[Status::Pending, Status::Failed])).await, [failed, tagged, pending]);
    assert_eq!(list(status(&[Status::Completed])).await, []);
    assert_eq!(list(ExecutionFilter { tag: Some("a_b".to_owned()), ..filter() }).await, [tagged]);
    assert_eq!(list(ExecutionFilter { tag: Some("axb".to_owned()), ..filter() }).await, []);
    assert_eq!(list(ExecutionFilter { tag: Some("c".to_owned()), ..filter() }).await, [tagged]);
    // A long one, and one that no database takes as text.
    let mut odd = accepted(&one);
    odd.tags = vec!["x".repeat(300), "a\0b".to_owned(), "c".to_owned(), "c".to_owned()];
    let odd = start(&store, odd).await;
    let tagged_with = async |tag: &str| list(ExecutionFilter { tag: Some(tag.to_owned()), ..filter() }).await;
    assert_eq!(tagged_with(&"x".repeat(300)).await, [odd]);
    assert_eq!(tagged_with("a\0b").await, [odd]);
    assert_eq!(tagged_with("x").await, []);
    let both =
        |workflow| ExecutionFilter { workflow: Some(workflow), tag: Some("a_b".to_owned()), ..filter() };
    assert_eq!((list(both(two.id)).await, list(both(one.id)).await), (vec![tagged], vec![]));
    let of =
        |workflow, status| ExecutionFilter { workflow: Some(workflow), status: vec![status], ..filter() };
    assert_eq!(list(of(two.id, Status::Failed)).await, [failed]);
    assert_eq!(list(of(one.id, Status::Failed)).await, []);
    assert_eq!(list(of(two.id, Status::Pending)).await, [tagged]);
    assert_eq!(list(of(two.id, Status::Completed)).await, []);
    assert_eq!(list(status(&[Status::Cancelled, Status::Failed, Status::Failed])).await, [failed]);
    let from = ExecutionFilter { created_from: Some(created), ..filter() };
    assert!(list(from).await.contains(&failed));
    let until = ExecutionFilter { created_to: Some(created), ..filter() };
    assert!(!list(until).await.contains(&failed), "up to, not including");
}

pub async fn no_tenant_sees_anothers_rows(store: DynStore) {
    let (ours, id) = execution(&store).await;
    keep(&store, setting(turn(&ours, id, 2), TimerKey::Timeout, Timestamp::from_micros(9), None)).await;
    store.record_late(vec![late(id, 1)]).await.expect("kept");
    let stranger = other_tenant();
    assert_eq!(store.workflow_get(stranger, ours.id).await.expect("read"), None);
    assert_eq!(store.workflow_by_name(stranger, &ours.name).await.expect("read"), None);
    assert_eq!(store.execution_get(stranger, id).await.expect("read"), None);
    assert_eq!(store.execution_turns(stranger, id, 0, 10).await.expect("read"), []);
    assert_eq!(store.execution_timers(stranger, id).await.expect("read"), []);
    assert_eq!(store.execution_late(stranger, id).await.expect("read"), []);
    let workflows = store.workflow_list(stranger, WorkflowFilter::default(), page(10)).await.expect("read");
    assert_eq!(workflows.items, []);
    let executions =
        store.execution_list(stranger, ExecutionFilter::default(), page(10)).await.expect("read");
    assert_eq!(executions.items, []);
}

pub async fn an_unknown_id_is_absent(store: DynStore) {
    let id = ExecutionId::generate();
    assert_eq!(store.workflow_get(TENANT, WorkflowId::generate()).await.expect("read"), None);
    assert_eq!(store.workflow_by_name(TENANT, "nobody").await.expect("read"), None);
    assert_eq!(store.execution_get(TENANT, id).await.expect("read"), None);
    assert_eq!(store.execution_turns(TENANT, id, 0, 10).await.expect("read"), []);
    assert_eq!(store.payload_get(id, PayloadId::generate()).await.expect("read"), None);
    assert_eq!(store.dead_letter_get(DeadLetterId::generate()).await.expect("read"), None);
    assert!(store.load(&[id], 0, u32::MAX).await.expect("loaded")[0].is_none());
    store.sweep_again(vec![(id, Timestamp::from_micros(5))]).await.expect("no error");
    assert_eq!(store.sweep_due(&shards(), 10).await.expect("swept"), []);
}

fn late(execution: ExecutionId, attempt: u32) -> LateResult {
    LateResult {
        execution,
        task: TaskKey::of("fetch".into()),
        attempt,
        dispatch: 1,
        worker: WorkerId::generate(),
        at: Timestamp::from_micros(5),
        ending: "completed".to_owned(),
        reason: "the attempt had ended".to_owned(),
    }
}

pub async fn late_results_come_in_order_of_arrival(store: DynStore) {
    let (_, id) = execution(&store).await;
    let all: Vec<LateResult> = [3, 1, 2].map(|attempt| late(id, attempt)).to_vec();
    store.record_late(all[..2].to_vec()).await.expect("kept");
    store.record_late(all[2..].to_vec()).await.expect("kept");
    store.record_late(Vec::new()).await.expect("kept");
    assert_eq!(store.execution_late(TENANT, id).await.expect("read"), all);
    assert_eq!(journal(&store, id).await.len(), 1, "beside the journal");
}

pub async fn counts_executions_by_status(store: DynStore) {
    assert_eq!(store.execution_counts().await.expect("counted"), []);
    let (workflow, first) = execution(&store).await;
    another(&store, &workflow).await;
    keep(&store, to(turn(&workflow, first, 2), Status::Completed)).await;
    let counts = store.execution_counts().await.expect("counted");
    assert_eq!(counts, [(Status::Pending, 1), (Status::Completed, 1)]);
    assert_eq!(store.execution_open(TENANT).await.expect("counted"), [(Status::Pending, 1)]);
    assert_eq!(store.execution_open(other_tenant()).await.expect("counted"), []);
}

pub async fn tells_what_became_of_what_was_accepted(store: DynStore) {
    let (workflow, _) = execution(&store).await;
    let (other, _) = execution(&store).await;
    let minute = Duration::from_mins(1);
    // Before everything else of this test.
    let from = store.now().await.expect("the present").after(minute * 10);
    let span = StatisticsSpan { from, to: from.after(minute * 3), slot: minute };
    let seconds = |at: Timestamp, seconds: u64| at.after(Duration::from_secs(seconds));
    // When it was accepted, how long it waited and ran, and how it ended.
    let rows = [
        (&workflow, 0, 1, 4, Status::Completed),
        (&workflow, 1, 2, 8, Status::Completed),
        (&workflow, 59, 3, 6, Status::Failed),
        (&workflow, 120, 0, 1, Status::Cancelled),
        (&other, 121, 7, 0, Status::Running),
        (&workflow, 180, 1, 1, Status::Completed),
    ];
    for (workflow, at, waits, runs, status) in rows {
        let submission = submission(seconds(from, at), accepted(workflow));
        let id = submission.first.execution;
        store.accept(vec![submission], NO_QUOTA).await.expect("accepted");
        let mut started = to(turn(workflow, id, 2), Status::Running);
        started.turn.at = seconds(from, at + waits);
        keep(&store, started).await;
        if status.is_terminal() {
            let mut ended = to(turn(workflow, id, 3), status);
            ended.turn.at = seconds(from, at + waits + runs);
            keep(&store, ended).await;
        }
    }
    let length = |seconds| Some(Duration::from_secs(seconds));
    let first = StatisticsSlot {
        slot: 0,
        accepted: 3,
        completed: 2,
        failed: 1,
        cancelled: 0,
        ran_p50: length(6),
        ran_p95: length(8),
        waited_p95: length(3),
    };
    let third = StatisticsSlot {
        slot: 2,
        accepted: 2,
        cancelled: 1,
        ran_p50: length(1),
        ran_p95: length(1),
        waited_p95: length(7),
        ..StatisticsSlot::default()
    };
    let found = store.execution_statistics(TENANT, span, None).await.expect("read");
    assert_eq!(found, [first, third]);
    let found = store.execution_statistics(TENANT, span, Some(other.id)).await.expect("read");
    let running = StatisticsSlot { slot: 2, accepted: 1, waited_p95: length(7), ..StatisticsSlot::default() };
    assert_eq!(found, [running]);
    let elsewhere = store.execution_statistics(other_tenant(), span, None).await.expect("read");
    assert_eq!(elsewhere, []);
}

pub async fn the_audit_finds_nothing_wrong(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let start = taking(to(turn(&workflow, id, 2), Status::Running), "key", 1);
    keep(&store, setting(start, TimerKey::Timeout, Timestamp::from_micros(9), None)).await;
    another(&store, &workflow).await;
    assert_eq!(store.audit_tables().await.expect("audited"), []);
    keep(&store, to(turn(&workflow, id, 3), Status::Completed)).await;
    assert_eq!(store.audit_tables().await.expect("audited"), []);
}

pub async fn the_audit_finds_what_is_wrong(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    // An end that releases nothing.
    let start = taking(to(turn(&workflow, id, 2), Status::Running), "key", 1);
    keep(&store, setting(start, TimerKey::Timeout, Timestamp::from_micros(9), None)).await;
    let mut end = turn(&workflow, id, 3);
    end.change = Some(StatusChange { status: Status::Completed, failure: None, output: None });
    keep(&store, end).await;
    let findings = store.audit_tables().await.expect("audited");
    assert!(findings.iter().all(|finding| finding.execution == Some(id)));
    let mut invariants: Vec<&str> = findings.iter().map(|finding| finding.invariant.as_str()).collect();
    invariants.sort_unstable();
    assert_eq!(invariants, ["I15", "I6"], "{findings:?}");
    assert_eq!(store.audit_headless(None, None).await.expect("audited"), []);
}

pub async fn the_audit_pages_all_executions(store: DynStore) {
    let (ours, first) = execution(&store).await;
    let theirs = workflow(&store, other_tenant(), "w").await;
    let second = another(&store, &theirs).await;
    let third = another(&store, &ours).await;
    let page = store.audit_page(None, 2).await.expect("read");
    assert_eq!(page.iter().map(|row| row.id).collect::<Vec<_>>(), [first, second]);
    let page = store.audit_page(Some(second), 2).await.expect("read");
    assert_eq!(page.iter().map(|row| row.id).collect::<Vec<_>>(), [third]);
}

pub async fn coordinators_are_those_heard_of(store: DynStore) {
    let [first, second] = [CoordinatorId::generate(), CoordinatorId::generate()];
    assert_eq!(store.coordinator_alive(first, "host", seconds(60)).await.expect("an answer"), [first]);
    let both = store.coordinator_alive(second, "host", seconds(60)).await.expect("an answer");
    assert_eq!(both, [first, second]);
    let again = store.coordinator_alive(first, "host", seconds(60)).await.expect("an answer");
    assert_eq!(again, [first, second]);
    store.coordinator_gone(first).await.expect("gone");
    assert_eq!(store.coordinator_alive(second, "host", seconds(60)).await.expect("an answer"), [second]);
}

pub async fn workers_are_those_heard_of(store: DynStore) {
    let mut record = WorkerRecord {
        id: WorkerId::generate(),
        host: "host".to_owned(),
        version: "1".to_owned(),
        pool: "default".to_owned(),
        tags: vec!["gpu".to_owned()],
        kinds: vec!["http".to_owned()],
        concurrency: 4,
        running: 1,
        cpu_percent: 1.5,
        memory_bytes: 1 << 30,
        started_at: Timestamp::from_micros(5),
        draining: false,
    };
    let before = store.now().await.expect("the present");
    store.worker_alive(vec![record.clone()]).await.expect("heard");
    record.running = 2;
    store.worker_alive(vec![record.clone()]).await.expect("heard");
    let workers = store.workers(seconds(60)).await.expect("read");
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0].0, record);
    assert!(workers[0].1 >= before);
    store.worker_alive(Vec::new()).await.expect("heard");
}

/// An execution that does another again and carries these payloads of it.
async fn retry(
    store: &DynStore,
    workflow: &WorkflowRow,
    of: ExecutionId,
    carries: &[PayloadId],
) -> (ExecutionId, Submitted) {
    let at = store.now().await.expect("the present");
    let accepted = Accepted { retry_of: Some(of), ..accepted(workflow) };
    let submission = Submission { carries: carries.to_vec(), ..submission(at, accepted) };
    let id = submission.first.execution;
    let answer =
        store.accept(vec![with_key(submission, "again", "content")], NO_QUOTA).await.expect("an answer");
    (id, answer.into_iter().next().expect("one answer"))
}

fn moving(mut commit: Commit, version: u32) -> Commit {
    commit.turn.events = vec![Event::Moved(Box::new(Moved {
        by: "someone".to_owned(),
        reason: String::new(),
        from: 1,
        version,
        hash: format!("hash of version {version}"),
        mapping: BTreeMap::from([("old".into(), "new".into())]),
        parameters: Map::new(),
    }))];
    commit
}

/// A turn that moves an execution changes the version in its row, and nothing else of it.
pub async fn a_move_changes_the_version_of_the_row(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let (_, other) = execution(&store).await;
    keep(&store, to(turn(&workflow, id, 2), Status::Running)).await;
    let row = async |id| store.execution_get(TENANT, id).await.expect("read").expect("it is there");
    let (before, untouched) = (row(id).await, row(other).await);
    assert_eq!(before.version, 1);
    let request = RequestId::generate();
    let asked = Request {
        id: request,
        tenant: TENANT,
        execution: id,
        body: RequestBody::Move(Box::new(Move {
            by: "someone".to_owned(),
            reason: "why".to_owned(),
            version: 2,
            hash: "hash of version 2".to_owned(),
            mapping: BTreeMap::from([("old".into(), "new".into())]),
            parameters: Map::from_iter([("n".to_owned(), Value::from(1))]),
        })),
        at: before.created_at,
    };
    assert!(store.request(asked).await.expect("kept"));
    keep(&store, Commit { request: Some(request), ..moving(turn(&workflow, id, 3), 2) }).await;
    assert!(!store.request_waits(request).await.expect("read"), "the turn answers the request");
    assert_eq!(row(id).await, ExecutionRow { version: 2, ..before.clone() });
    assert_eq!(row(other).await, untouched);
    // Several turns in one call: the last move counts, and a turn after it takes nothing back.
    let kept = store
        .commit(vec![
            moving(turn(&workflow, id, 4), 3),
            moving(turn(&workflow, id, 5), 4),
            turn(&workflow, id, 6),
        ])
        .await
        .expect("kept");
    assert_eq!(kept, [Kept::Committed, Kept::Committed, Kept::Committed]);
    assert_eq!(row(id).await, ExecutionRow { version: 4, ..before });
    let filter = ExecutionFilter { workflow: Some(workflow.id), ..ExecutionFilter::default() };
    let listed = store.execution_list(TENANT, filter, Page { after: None, limit: 10 }).await.expect("read");
    assert_eq!(listed.items.iter().map(|row| row.version).collect::<Vec<_>>(), [4]);
}

/// A move whose turn is not kept leaves the version as it was.
pub async fn a_move_that_lost_a_race_changes_nothing(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    keep(&store, to(turn(&workflow, id, 2), Status::Running)).await;
    let kept = store.commit(vec![moving(turn(&workflow, id, 2), 2)]).await.expect("answered");
    assert_eq!(kept, [Kept::Superseded]);
    let row = store.execution_get(TENANT, id).await.expect("read").expect("it is there");
    assert_eq!(row.version, 1);
}

/// One that leaves its line with a move is not shown as waiting in it.
pub async fn a_move_out_of_a_line_is_shown(store: DynStore) {
    let (workflow, holder) = execution(&store).await;
    let id = another(&store, &workflow).await;
    keep(&store, taking(to(turn(&workflow, holder, 2), Status::Running), "old", 1)).await;
    keep(&store, waiting(turn(&workflow, id, 2), claim("old", 1))).await;
    let row = async || store.execution_get(TENANT, id).await.expect("read").expect("it is there");
    assert_eq!(row().await.blocked_by.as_deref(), Some("old"));
    keep(&store, Commit { give: vec![None], ..moving(turn(&workflow, id, 3), 2) }).await;
    let row = row().await;
    assert_eq!((row.blocked_by, row.version), (None, 2));
    assert!(store.next_in_line("old", 10).await.expect("read").is_empty());
}

pub async fn a_retry_says_what_it_does_again(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let again = |of| start(&store, Accepted { retry_of: Some(of), ..accepted(&workflow) });
    let (second, third) = (again(first).await, again(first).await);
    let of_second = again(second).await;
    let row = store.execution_get(TENANT, second).await.expect("read").expect("there");
    assert_eq!(row.retry_of, Some(first));
    assert_eq!(store.execution_get(TENANT, first).await.expect("read").expect("there").retry_of, None);
    let retries = async |of, limit| store.execution_retries(TENANT, of, limit).await.expect("read");
    assert_eq!(retries(first, 10).await, [third, second]);
    assert_eq!(retries(first, 1).await, [third]);
    assert_eq!(retries(second, 10).await, [of_second]);
    assert_eq!(retries(third, 10).await, []);
    assert_eq!(store.execution_retries(other_tenant(), first, 10).await.expect("read"), []);
    let listed = store.execution_list(TENANT, ExecutionFilter::default(), Page { after: None, limit: 10 });
    let listed = listed.await.expect("read").items;
    assert_eq!(listed.iter().filter(|row| row.retry_of == Some(first)).count(), 2);
}

pub async fn what_a_retry_carries_is_its_own(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let (kept, left) = (PayloadId::generate(), PayloadId::generate());
    store.payload_put(TENANT, first, kept, b"kept".to_vec()).await.expect("kept");
    store.payload_put(TENANT, first, left, b"left".to_vec()).await.expect("kept");
    let (id, answer) = retry(&store, &workflow, first, &[kept]).await;
    assert_eq!(answer, Submitted::New);
    assert_eq!(store.payload_get(id, kept).await.expect("read"), Some(b"kept".to_vec()));
    assert_eq!(store.payload_get(id, left).await.expect("read"), None);
    assert_eq!(store.payload_get(first, kept).await.expect("read"), Some(b"kept".to_vec()));
    // Once more under its key: the first one, and nothing else.
    let (other, answer) = retry(&store, &workflow, first, &[kept]).await;
    assert_eq!(answer, Submitted::Repeated(id));
    assert_eq!(store.payload_get(other, kept).await.expect("read"), None);
}

pub async fn refuses_a_retry_of_which_a_payload_is_gone(store: DynStore) {
    let (workflow, first) = execution(&store).await;
    let (there, gone) = (PayloadId::generate(), PayloadId::generate());
    store.payload_put(TENANT, first, there, b"there".to_vec()).await.expect("kept");
    let (id, answer) = retry(&store, &workflow, first, &[there, gone]).await;
    assert_eq!(answer, Submitted::NothingToCarry);
    assert_eq!(store.execution_get(TENANT, id).await.expect("read"), None);
    assert_eq!(store.payload_get(id, there).await.expect("read"), None);
    assert!(store.load(&[id], 0, 10).await.expect("read")[0].is_none());
    // Its key is free.
    let (_, answer) = retry(&store, &workflow, first, &[there]).await;
    assert_eq!(answer, Submitted::New);
}

pub async fn no_retry_takes_from_another_tenant(store: DynStore) {
    let theirs = workflow(&store, other_tenant(), "theirs").await;
    let first = another(&store, &theirs).await;
    let payload = PayloadId::generate();
    store.payload_put(other_tenant(), first, payload, b"secret".to_vec()).await.expect("kept");
    let ours = workflow(&store, TENANT, "ours").await;
    let (id, answer) = retry(&store, &ours, first, &[payload]).await;
    assert_eq!(answer, Submitted::NothingToCarry);
    assert_eq!(store.payload_get(id, payload).await.expect("read"), None);
}

pub async fn a_payload_belongs_to_its_execution(store: DynStore) {
    let (_, id) = execution(&store).await;
    let (payload, bytes) = (PayloadId::generate(), vec![7_u8; 300_000]);
    store.payload_put(TENANT, id, payload, bytes.clone()).await.expect("kept");
    store.payload_put(TENANT, id, payload, bytes.clone()).await.expect("kept");
    assert_eq!(store.payload_get(id, payload).await.expect("read"), Some(bytes));
    assert_eq!(store.payload_get(ExecutionId::generate(), payload).await.expect("read"), None);
    let (numbers, whole) = (PayloadId::generate(), (0..=255).collect::<Vec<u8>>());
    store.payload_put(TENANT, id, numbers, whole.clone()).await.expect("kept");
    for (from, most, expected) in [(0, 256, 0..256), (0, 3, 0..3), (250, 10, 250..256), (256, 9, 256..256)] {
        let slice = store.payload_slice(id, numbers, from, most).await.expect("read");
        assert_eq!(slice.as_deref(), Some(&whole[expected]));
    }
    assert_eq!(store.payload_slice(ExecutionId::generate(), numbers, 0, 9).await.expect("read"), None);
}

pub async fn dead_letters_are_found_and_removed_by_filter(store: DynStore) {
    let execution = ExecutionId::generate();
    let add = async |queue: &str, reason: &str, micros: i64, execution: Option<ExecutionId>| {
        let letter = DeadLetter {
            id: DeadLetterId::generate(),
            queue: queue.to_owned(),
            reason: reason.to_owned(),
            at: Timestamp::from_micros(micros),
            execution,
            message: None,
            headers: json!({}),
            bytes: b"x".to_vec(),
        };
        store.dead_letter_add(letter.clone()).await.expect("kept");
        letter.id
    };
    let first = add("tasks", "Poison: 100% lost", 1, Some(execution)).await;
    let second = add("tasks", "no message of ours", 2, None).await;
    let third = add("inbox", "poison", 3, None).await;
    let found = async |filter: DeadLetterFilter| {
        let page = store.dead_letter_list(filter, Page { after: None, limit: 10 }).await.expect("read");
        page.items.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    let all = DeadLetterFilter::default();
    let poison = DeadLetterFilter { reason: Some("poison".to_owned()), ..all.clone() };
    assert_eq!(found(all.clone()).await, [third, second, first]);
    assert_eq!(
        found(DeadLetterFilter { queue: Some("tasks".to_owned()), ..all.clone() }).await,
        [second, first]
    );
    assert_eq!(found(poison.clone()).await, [third, first]);
    assert_eq!(found(DeadLetterFilter { reason: Some("0%".to_owned()), ..all.clone() }).await, [first]);
    assert_eq!(found(DeadLetterFilter { execution: Some(execution), ..all.clone() }).await, [first]);
    let before = DeadLetterFilter { before: Some(Timestamp::from_micros(3)), ..all.clone() };
    assert_eq!(found(before).await, [second, first]);
    assert_eq!(store.dead_letter_purge(poison.clone(), 1).await.expect("removed"), 1);
    assert_eq!(found(poison.clone()).await, [third], "the oldest first");
    assert_eq!(store.dead_letter_purge(poison, 9).await.expect("removed"), 1);
    assert_eq!(found(all).await, [second]);
}

pub async fn a_dead_letter_is_kept_until_removed(store: DynStore) {
    let letters: Vec<DeadLetter> = (0..3)
        .map(|index| DeadLetter {
            id: DeadLetterId::generate(),
            queue: "tasks".to_owned(),
            reason: "no message of ours".to_owned(),
            at: Timestamp::from_micros(index),
            execution: (index == 1).then(ExecutionId::generate),
            message: (index == 2).then(MessageId::generate),
            headers: json!({ "x-death": [index], "nul": "\u{0}" }),
            bytes: vec![0, 255, index as u8],
        })
        .collect();
    for letter in &letters {
        store.dead_letter_add(letter.clone()).await.expect("kept");
    }
    store.dead_letter_add(letters[0].clone()).await.expect("kept already");
    let first = store.dead_letter_list(DeadLetterFilter::default(), page(2)).await.expect("read");
    assert_eq!(first.items, [letters[2].clone(), letters[1].clone()]);
    let rest = store
        .dead_letter_list(DeadLetterFilter::default(), Page { after: first.next, limit: 2 })
        .await
        .expect("read");
    assert_eq!((rest.items.as_slice(), rest.next), (&letters[..1], None));
    assert_eq!(store.dead_letter_get(letters[1].id).await.expect("read").as_ref(), Some(&letters[1]));
    assert!(store.dead_letter_remove(letters[1].id).await.expect("removed"));
    assert!(!store.dead_letter_remove(letters[1].id).await.expect("an answer"));
    assert_eq!(
        store.dead_letter_list(DeadLetterFilter::default(), page(10)).await.expect("read").items.len(),
        2
    );
}

pub async fn instants_come_back_as_they_went_in(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    for (seq, micros) in [(2, 1_700_000_000_123_457_i64), (3, -1), (4, 253_402_300_799_999_999), (5, 0)] {
        let mut commit = turn(&workflow, id, seq);
        commit.turn.at = Timestamp::from_micros(micros);
        keep(&store, setting(commit, TimerKey::Timeout, Timestamp::from_micros(micros), None)).await;
        assert_eq!(journal(&store, id).await.last().map(|turn| turn.at.as_micros()), Some(micros));
        let timers = store.execution_timers(TENANT, id).await.expect("read");
        assert_eq!(timers[0].due_at.as_micros(), micros);
    }
}
