//! The promises of [`crate::port::triggers`], one function each.
//!
//! [`conformance!`](crate::testing::triggers::conformance) turns them into tests of an adapter.

use std::time::Duration;

use serde_json::{Map, json};

use crate::{
    component::Failure,
    execution::{Accepted, Mode, Status, first_turn},
    ids::{BackfillId, ExecutionId, MessageId, ReceiptId, TenantId, TriggerId, WorkflowId},
    port::{
        store::{
            Commit, DynStore, Page, Saved, StatusChange, Submission, Submitted, WorkflowDraft, WorkflowRow,
        },
        triggers::{
            Backfill, BackfillStatus, Cursor, EventAdded, Fire, FireOutcome, Gather, GatheredStep, KEPT_FILE,
            KEY_LIFE, Receipt, ScheduleStep, StepKept, StoredEvent, TriggerDraft, TriggerFilter, TriggerRow,
            TriggerStart, TriggerStarted,
        },
    },
    time::Timestamp,
    workflow::Priority,
};

/// Turns every promise into a test. `$make` is an `async fn() -> Fixture` that gives an empty store.
#[macro_export]
macro_rules! triggers_conformance {
    ($make:path) => {
        $crate::promises!(triggers, $make:
            saving_a_workflow_keeps_its_triggers
            an_unchanged_trigger_goes_on_and_a_changed_one_begins_anew
            a_trigger_that_is_no_longer_named_is_gone
            an_archived_workflow_has_no_triggers
            due_triggers_come_longest_overdue_first
            a_paused_trigger_is_not_due_and_stays_paused
            an_address_is_found_by_its_hash_and_replaced
            trouble_is_there_since_it_was_first_said
            no_tenant_sees_anothers_triggers
            a_step_keeps_fires_with_their_executions
            of_two_steps_on_one_sight_one_is_kept
            a_refused_execution_keeps_nothing_of_its_step
            a_fire_that_started_is_not_started_again
            rivals_start_each_fire_once
            a_pending_fire_waits_until_it_starts
            an_ended_execution_is_not_open
            a_start_is_kept_with_its_receipt
            the_same_key_starts_one_execution
            a_key_is_free_after_a_week
            rivals_with_one_key_start_one_execution
            a_refused_start_leaves_no_receipt
            what_is_parked_can_be_replayed_once
            receipts_come_newest_first
            starts_are_counted
            gathered_events_start_one_execution
            of_a_debounce_the_newest_event_counts
            gathered_events_are_parked_each_by_itself
            what_is_gathered_meanwhile_is_not_lost
            of_two_starts_of_what_was_gathered_one_is_kept
            an_event_is_kept_once_with_its_starts
            events_come_newest_first
            a_backfill_moves_with_its_fires
            a_backfill_leaves_the_rest_of_a_skipped_span_on_record
            a_paused_backfill_keeps_no_step
            an_ended_backfill_is_not_moved
            maintenance_keeps_what_is_new
        );
    };
}
pub use crate::triggers_conformance as conformance;

const TENANT: TenantId = TenantId::DEFAULT;
const QUOTA: u64 = 1_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + seconds) * 1_000_000)
}

fn page(limit: u32) -> Page {
    Page { after: None, limit }
}

fn trigger(name: &str, kind: &str, hash: &str, next: Option<i64>) -> TriggerDraft {
    TriggerDraft {
        name: name.to_owned(),
        kind: kind.to_owned(),
        enabled: true,
        hash: hash.to_owned(),
        next_fire_at: next.map(at),
    }
}

fn draft(id: WorkflowId, hash: &str, triggers: Vec<TriggerDraft>) -> WorkflowDraft {
    WorkflowDraft {
        id,
        tenant: TENANT,
        name: id.to_string(),
        description: String::new(),
        category: String::new(),
        tags: Vec::new(),
        document: "{}".to_owned(),
        hash: format!("{id} {hash}"),
        snapshot: "{}".to_owned(),
        triggers,
        publishes: None,
        principal: "someone".to_owned(),
        at: at(0),
    }
}

async fn workflow(store: &DynStore, triggers: Vec<TriggerDraft>) -> WorkflowRow {
    match store.workflow_create(draft(WorkflowId::generate(), "1", triggers)).await.expect("created") {
        Saved::Created(row) => row,
        other => panic!("{other:?}"),
    }
}

async fn scheduled(store: &DynStore) -> (WorkflowRow, TriggerRow) {
    let workflow = workflow(store, vec![trigger("s", "schedule_trigger", "h", Some(10))]).await;
    let row = row(store, TriggerId::of(workflow.id, "s")).await;
    (workflow, row)
}

async fn row(store: &DynStore, id: TriggerId) -> TriggerRow {
    store.trigger_get(TENANT, id).await.expect("read").expect("there")
}

fn submission(workflow: &WorkflowRow) -> Submission {
    let accepted = Accepted {
        parent: None,
        retry_of: None,
        trial: None,
        tenant: TENANT,
        workflow: workflow.id,
        version: workflow.version,
        hash: workflow.hash.clone(),
        parameters: Map::new(),
        priority: Priority::Normal,
        mode: Mode::Live,
        scheduled_at: None,
        tags: Vec::new(),
        principal: "someone".to_owned(),
        trigger: None,
    };
    Submission { first: first_turn(accepted, at(0)), idempotency: None, carries: Vec::new() }
}

fn starts(workflow: &WorkflowRow, seconds: i64) -> Fire {
    Fire {
        at: at(seconds),
        until: None,
        reason: "on time".to_owned(),
        submission: Some(submission(workflow)),
        pending: false,
    }
}

fn skips(seconds: i64, pending: bool) -> Fire {
    Fire { at: at(seconds), until: None, reason: "overlap".to_owned(), submission: None, pending }
}

fn step(seen: &TriggerRow, last: i64, next: Option<i64>, fires: Vec<Fire>) -> ScheduleStep {
    ScheduleStep {
        tenant: TENANT,
        trigger: seen.id,
        cursor: Cursor::Schedule {
            seen_last: seen.last_fire_at,
            seen_next: seen.next_fire_at,
            last: Some(at(last)),
            next: next.map(at),
        },
        fires,
        at: at(last),
    }
}

async fn keep(store: &DynStore, step: ScheduleStep) -> Vec<ExecutionId> {
    match store.schedule_step(step, QUOTA).await.expect("kept") {
        StepKept::Kept { started } => started,
        other => panic!("{other:?}"),
    }
}

async fn end(store: &DynStore, workflow: &WorkflowRow, execution: ExecutionId) {
    let mut first = submission(workflow).first;
    first.execution = execution;
    first.seq = 2;
    first.cause = MessageId::generate();
    let change = StatusChange { status: Status::Completed, failure: None::<Failure>, output: None };
    let commit = Commit {
        people: Vec::new(),
        waits: Vec::new(),
        cache: Vec::new(),
        turn: first,
        tenant: TENANT,
        workflow: workflow.id,
        change: Some(change),
        timers: Vec::new(),
        give: Vec::new(),
        take: Vec::new(),
        wait: Vec::new(),
        release: true,
        has_asked: false,
        finished: Vec::new(),
        request: None,
        sweep_at: None,
    };
    store.commit(vec![commit]).await.expect("ended");
}

async fn is_there(store: &DynStore, execution: ExecutionId) -> bool {
    let row = store.execution_get(TENANT, execution).await.expect("read");
    let journal = store.load(&[execution], 0, u32::MAX).await.expect("read").remove(0);
    assert_eq!(row.is_some(), journal.is_some(), "a row and a journal come together");
    row.is_some()
}

async fn outcomes(store: &DynStore, trigger: TriggerId) -> Vec<(Timestamp, FireOutcome)> {
    let fires = store.fire_list(TENANT, trigger, page(500)).await.expect("read");
    fires.items.into_iter().rev().map(|fire| (fire.at, fire.outcome)).collect()
}

fn receipt(trigger: TriggerId, key: Option<&str>, seconds: i64) -> Receipt {
    Receipt {
        id: ReceiptId::generate(),
        tenant: TENANT,
        trigger,
        key: key.map(ToOwned::to_owned),
        execution: None,
        received_at: at(seconds),
        outcome: "started".to_owned(),
        error: None,
        event: None,
        bytes: None,
    }
}

fn start(workflow: &WorkflowRow, trigger: TriggerId, key: Option<&str>, seconds: i64) -> TriggerStart {
    let submission = submission(workflow);
    let receipt = Receipt { execution: Some(submission.first.execution), ..receipt(trigger, key, seconds) };
    TriggerStart { receipt, submission: Some(submission), gather: None }
}

async fn start_one(store: &DynStore, start: TriggerStart) -> TriggerStarted {
    store.trigger_start(vec![start], QUOTA).await.expect("an answer").remove(0)
}

pub async fn saving_a_workflow_keeps_its_triggers(store: DynStore) {
    let triggers =
        vec![trigger("b", "webhook_trigger", "1", None), trigger("a", "schedule_trigger", "2", Some(60))];
    let workflow = workflow(&store, triggers).await;
    let filter = TriggerFilter { workflow: Some(workflow.id), kind: None };
    let mut found = store.trigger_list(TENANT, filter, page(10)).await.expect("read").items;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let [a, b] = &found[..] else { panic!("{found:?}") };
    assert_eq!((a.id, b.id), (TriggerId::of(workflow.id, "a"), TriggerId::of(workflow.id, "b")));
    assert_eq!((a.next_fire_at, a.last_fire_at), (Some(at(60)), Some(at(0))));
    assert_eq!((b.next_fire_at, b.has_address, b.paused, b.enabled), (None, false, false, true));
    assert_eq!((a.version, &a.snapshot, &a.workflow_name), (1, &workflow.hash, &workflow.name));
    let filter = TriggerFilter { workflow: None, kind: Some("webhook_trigger".to_owned()) };
    let hooks = store.trigger_list(TENANT, filter, page(10)).await.expect("read").items;
    assert_eq!(hooks, std::slice::from_ref(b));
    assert_eq!(store.triggers_active("webhook_trigger").await.expect("read"), hooks);
    let first = store.trigger_list(TENANT, TriggerFilter::default(), page(1)).await.expect("read");
    let rest = Page { after: first.next.clone(), limit: 1 };
    let second = store.trigger_list(TENANT, TriggerFilter::default(), rest).await.expect("read");
    assert!(first.items[0].id < second.items[0].id && second.next.is_none());
}

pub async fn an_unchanged_trigger_goes_on_and_a_changed_one_begins_anew(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    keep(&store, step(&seen, 10, Some(20), vec![starts(&workflow, 10)])).await;
    let same = vec![trigger("s", "schedule_trigger", "h", Some(99))];
    let again = WorkflowDraft { at: at(50), ..draft(workflow.id, "2", same) };
    store.workflow_update(again, None).await.expect("updated");
    let found = row(&store, seen.id).await;
    assert_eq!((found.last_fire_at, found.next_fire_at, found.version), (Some(at(10)), Some(at(20)), 2));
    let other = vec![trigger("s", "schedule_trigger", "other", Some(99))];
    let again = WorkflowDraft { at: at(60), ..draft(workflow.id, "3", other) };
    store.workflow_update(again, None).await.expect("updated");
    let found = row(&store, seen.id).await;
    assert_eq!((found.last_fire_at, found.next_fire_at, found.version), (Some(at(60)), Some(at(99)), 3));
    let off = vec![TriggerDraft { enabled: false, ..trigger("s", "schedule_trigger", "off", Some(99)) }];
    store.workflow_update(draft(workflow.id, "4", off), None).await.expect("updated");
    let found = row(&store, seen.id).await;
    assert_eq!((found.enabled, found.next_fire_at), (false, None));
    assert!(store.triggers_active("schedule_trigger").await.expect("read").is_empty());
}

pub async fn a_trigger_that_is_no_longer_named_is_gone(store: DynStore) {
    let both = vec![trigger("a", "manual_trigger", "1", None), trigger("b", "manual_trigger", "2", None)];
    let workflow = workflow(&store, both).await;
    let one = vec![trigger("a", "manual_trigger", "1", None)];
    store.workflow_update(draft(workflow.id, "2", one), None).await.expect("updated");
    assert!(store.trigger_get(TENANT, TriggerId::of(workflow.id, "a")).await.expect("read").is_some());
    assert!(store.trigger_get(TENANT, TriggerId::of(workflow.id, "b")).await.expect("read").is_none());
    store.workflow_update(draft(workflow.id, "3", Vec::new()), None).await.expect("updated");
    assert!(store.trigger_get(TENANT, TriggerId::of(workflow.id, "a")).await.expect("read").is_none());
}

pub async fn an_archived_workflow_has_no_triggers(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    store.workflow_delete(TENANT, workflow.id).await.expect("archived");
    assert!(store.trigger_get(TENANT, seen.id).await.expect("read").is_none());
    assert!(store.triggers_due(at(1_000), 10).await.expect("read").is_empty());
    let late = step(&seen, 10, Some(20), vec![starts(&workflow, 10)]);
    assert_eq!(store.schedule_step(late, QUOTA).await.expect("an answer"), StepKept::Superseded);
}

pub async fn due_triggers_come_longest_overdue_first(store: DynStore) {
    let triggers = [("a", 30), ("b", 10), ("c", 20), ("d", 40)]
        .map(|(name, next)| trigger(name, "schedule_trigger", name, Some(next)));
    workflow(&store, triggers.to_vec()).await;
    let names = |rows: Vec<TriggerRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(store.triggers_due(at(30), 10).await.expect("read")), ["b", "c", "a"]);
    assert_eq!(names(store.triggers_due(at(30), 1).await.expect("read")), ["b"]);
    assert!(store.triggers_due(at(9), 10).await.expect("read").is_empty());
}

pub async fn a_paused_trigger_is_not_due_and_stays_paused(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    assert!(store.trigger_pause(TENANT, seen.id, true, None).await.expect("paused"));
    let found = row(&store, seen.id).await;
    assert_eq!((found.paused, found.next_fire_at, found.is_active()), (true, None, false));
    assert!(store.triggers_due(at(1_000), 10).await.expect("read").is_empty());
    let late = step(&seen, 10, Some(20), vec![starts(&workflow, 10)]);
    assert_eq!(store.schedule_step(late, QUOTA).await.expect("an answer"), StepKept::Superseded);
    let other = vec![trigger("s", "schedule_trigger", "other", Some(99))];
    store.workflow_update(draft(workflow.id, "2", other), None).await.expect("updated");
    let found = row(&store, seen.id).await;
    assert_eq!((found.paused, found.next_fire_at), (true, None));
    let before = store.now().await.expect("the present");
    assert!(store.trigger_pause(TENANT, seen.id, false, Some(at(70))).await.expect("resumed"));
    let found = row(&store, seen.id).await;
    assert_eq!((found.paused, found.next_fire_at), (false, Some(at(70))));
    assert!(found.last_fire_at >= Some(before), "what it missed is no catch-up");
    assert!(!store.trigger_pause(TENANT, TriggerId::generate(), true, None).await.expect("an answer"));
}

pub async fn an_address_is_found_by_its_hash_and_replaced(store: DynStore) {
    let workflow = workflow(&store, vec![trigger("w", "webhook_trigger", "1", None)]).await;
    let id = TriggerId::of(workflow.id, "w");
    assert!(store.trigger_at(&[1; 32]).await.expect("read").is_none());
    assert!(store.trigger_address(TENANT, id, [1; 32]).await.expect("kept"));
    let found = store.trigger_at(&[1; 32]).await.expect("read").expect("there");
    assert_eq!((found.id, found.has_address), (id, true));
    assert!(store.trigger_address(TENANT, id, [2; 32]).await.expect("kept"));
    assert!(store.trigger_at(&[1; 32]).await.expect("read").is_none());
    let changed = vec![trigger("w", "webhook_trigger", "2", None)];
    store.workflow_update(draft(workflow.id, "2", changed), None).await.expect("updated");
    assert!(store.trigger_at(&[2; 32]).await.expect("read").is_some(), "a new version keeps the address");
}

pub async fn trouble_is_there_since_it_was_first_said(store: DynStore) {
    let (_, seen) = scheduled(&store).await;
    assert_eq!((seen.trouble, seen.trouble_since), (None, None));
    let id = seen.id;
    store.trigger_trouble(id, Some("refused".to_owned())).await.expect("kept");
    let first = row(&store, id).await;
    assert_eq!(first.trouble.as_deref(), Some("refused"));
    assert!(first.trouble_since.is_some());
    store.trigger_trouble(id, Some("too slow".to_owned())).await.expect("kept");
    let second = row(&store, id).await;
    assert_eq!((second.trouble.as_deref(), second.trouble_since), (Some("too slow"), first.trouble_since));
    store.trigger_trouble(id, None).await.expect("kept");
    let mended = row(&store, id).await;
    assert_eq!((mended.trouble, mended.trouble_since), (None, None));
}

pub async fn no_tenant_sees_anothers_triggers(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let other = TenantId::generate();
    assert!(store.trigger_get(other, seen.id).await.expect("read").is_none());
    assert!(
        store.trigger_list(other, TriggerFilter::default(), page(10)).await.expect("read").items.is_empty()
    );
    assert!(!store.trigger_pause(other, seen.id, true, None).await.expect("an answer"));
    assert!(!store.trigger_address(other, seen.id, [3; 32]).await.expect("an answer"));
    let foreign = ScheduleStep { tenant: other, ..step(&seen, 10, None, vec![starts(&workflow, 10)]) };
    assert_eq!(store.schedule_step(foreign, QUOTA).await.expect("an answer"), StepKept::Superseded);
    let kept = start(&workflow, seen.id, Some("k"), 0);
    let id = kept.receipt.id;
    start_one(&store, kept).await;
    assert!(store.receipt_get(other, id).await.expect("read").is_none());
    assert!(store.receipt_list(other, seen.id, None, page(10)).await.expect("read").items.is_empty());
}

pub async fn a_step_keeps_fires_with_their_executions(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let span = Fire { until: Some(at(8)), ..skips(1, false) };
    let fires = vec![span, skips(9, false), starts(&workflow, 10)];
    let started = keep(&store, step(&seen, 10, Some(20), fires)).await;
    assert_eq!(started.len(), 1);
    assert!(is_there(&store, started[0]).await);
    let found = store.fire_list(TENANT, seen.id, page(10)).await.expect("read").items;
    assert_eq!(found.len(), 3);
    assert_eq!(
        (found[0].at, found[0].outcome, found[0].execution),
        (at(10), FireOutcome::Started, Some(started[0]))
    );
    assert_eq!(
        (found[1].at, found[1].outcome, found[1].reason.as_str()),
        (at(9), FireOutcome::Skipped, "overlap")
    );
    assert_eq!((found[2].at, found[2].until), (at(1), Some(at(8))));
    let now = row(&store, seen.id).await;
    assert_eq!((now.last_fire_at, now.next_fire_at), (Some(at(10)), Some(at(20))));
    assert_eq!(store.trigger_open(seen.id).await.expect("read"), started);
    let first = store.fire_list(TENANT, seen.id, page(2)).await.expect("read");
    let rest = store.fire_list(TENANT, seen.id, Page { after: first.next, limit: 2 }).await.expect("read");
    assert_eq!((rest.items.len(), rest.items[0].at), (1, at(1)));
}

pub async fn of_two_steps_on_one_sight_one_is_kept(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    keep(&store, step(&seen, 10, Some(20), vec![starts(&workflow, 10)])).await;
    let second = starts(&workflow, 10);
    let execution = second.submission.as_ref().expect("one").first.execution;
    let kept = store.schedule_step(step(&seen, 10, Some(20), vec![second]), QUOTA).await.expect("an answer");
    assert_eq!(kept, StepKept::Superseded);
    assert!(!is_there(&store, execution).await);
}

pub async fn a_refused_execution_keeps_nothing_of_its_step(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let fires = vec![starts(&workflow, 10), starts(&workflow, 11)];
    let ids: Vec<ExecutionId> =
        fires.iter().filter_map(|fire| Some(fire.submission.as_ref()?.first.execution)).collect();
    let kept = store.schedule_step(step(&seen, 11, Some(20), fires), 1).await.expect("an answer");
    assert_eq!(kept, StepKept::Refused(Submitted::QuotaFull { open: 1 }));
    for id in ids {
        assert!(!is_there(&store, id).await);
    }
    assert_eq!(row(&store, seen.id).await.last_fire_at, seen.last_fire_at);
    assert!(outcomes(&store, seen.id).await.is_empty());
    // Nothing stands in the way later.
    keep(&store, step(&seen, 10, Some(20), vec![starts(&workflow, 10)])).await;
}

pub async fn a_fire_that_started_is_not_started_again(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    keep(&store, step(&seen, 10, Some(20), vec![starts(&workflow, 10)])).await;
    let now = row(&store, seen.id).await;
    let fires = vec![starts(&workflow, 10), starts(&workflow, 20)];
    assert_eq!(keep(&store, step(&now, 20, Some(30), fires)).await.len(), 1);
    assert_eq!(store.trigger_open(seen.id).await.expect("read").len(), 2);
}

pub async fn rivals_start_each_fire_once(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, workflow, id) = (store.clone(), workflow.clone(), seen.id);
        rivals.spawn(async move {
            let mut kept = 0;
            loop {
                let seen = row(&store, id).await;
                let last = seen.next_fire_at.expect("one").as_micros() / 1_000_000 - 1_800_000_000;
                if last > 100 {
                    return kept;
                }
                let fires = vec![starts(&workflow, last)];
                match store.schedule_step(step(&seen, last, Some(last + 10), fires), QUOTA).await {
                    Ok(StepKept::Kept { started }) => kept += started.len(),
                    Ok(StepKept::Superseded) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    let kept: usize = rivals.join_all().await.into_iter().sum();
    assert_eq!(kept, 10);
    let expected: Vec<_> = (1..=10).map(|n| (at(n * 10), FireOutcome::Started)).collect();
    assert_eq!(outcomes(&store, seen.id).await, expected);
    assert_eq!(store.trigger_open(seen.id).await.expect("read").len(), 10);
}

pub async fn a_pending_fire_waits_until_it_starts(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    keep(&store, step(&seen, 10, Some(11), vec![skips(10, true)])).await;
    assert_eq!(store.fires_pending(seen.id).await.expect("read"), [at(10)]);
    let now = row(&store, seen.id).await;
    assert_eq!(keep(&store, step(&now, 10, Some(20), vec![starts(&workflow, 10)])).await.len(), 1);
    assert!(store.fires_pending(seen.id).await.expect("read").is_empty());
    assert_eq!(outcomes(&store, seen.id).await, [(at(10), FireOutcome::Started)]);
}

pub async fn an_ended_execution_is_not_open(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let started = keep(&store, step(&seen, 10, Some(20), vec![starts(&workflow, 10)])).await;
    end(&store, &workflow, started[0]).await;
    assert!(store.trigger_open(seen.id).await.expect("read").is_empty());
    let now = row(&store, seen.id).await;
    let second = keep(&store, step(&now, 20, Some(30), vec![starts(&workflow, 20)])).await;
    assert_eq!(store.trigger_open(seen.id).await.expect("read"), second);
}

pub async fn a_start_is_kept_with_its_receipt(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let kept = start(&workflow, seen.id, Some("k"), 5);
    assert_eq!(start_one(&store, kept.clone()).await, TriggerStarted::New);
    assert!(is_there(&store, kept.receipt.execution.expect("one")).await);
    let found = store.receipt_get(TENANT, kept.receipt.id).await.expect("read");
    assert_eq!(found, Some(kept.receipt));
}

pub async fn the_same_key_starts_one_execution(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let first = start(&workflow, seen.id, Some("k"), 5);
    start_one(&store, first.clone()).await;
    let second = start(&workflow, seen.id, Some("k"), 6);
    assert_eq!(start_one(&store, second.clone()).await, TriggerStarted::Duplicate(Box::new(first.receipt)));
    assert!(!is_there(&store, second.receipt.execution.expect("one")).await);
    assert_eq!(
        start_one(&store, start(&workflow, TriggerId::generate(), Some("k"), 6)).await,
        TriggerStarted::New
    );
    for _ in 0..2 {
        assert_eq!(start_one(&store, start(&workflow, seen.id, None, 6)).await, TriggerStarted::New);
    }
}

pub async fn a_key_is_free_after_a_week(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    start_one(&store, start(&workflow, seen.id, Some("k"), 0)).await;
    let week = KEY_LIFE.as_secs() as i64;
    assert!(matches!(
        start_one(&store, start(&workflow, seen.id, Some("k"), week - 1)).await,
        TriggerStarted::Duplicate(_)
    ));
    assert_eq!(start_one(&store, start(&workflow, seen.id, Some("k"), week + 1)).await, TriggerStarted::New);
    // A file that stays where it is would start again otherwise.
    let kept = format!("{KEPT_FILE}a.csv 1 2026");
    assert_eq!(start_one(&store, start(&workflow, seen.id, Some(&kept), 0)).await, TriggerStarted::New);
    assert!(matches!(
        start_one(&store, start(&workflow, seen.id, Some(&kept), week + 1)).await,
        TriggerStarted::Duplicate(_)
    ));
}

pub async fn rivals_with_one_key_start_one_execution(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, start) = (store.clone(), start(&workflow, seen.id, Some("k"), 0));
        rivals.spawn(async move { start_one(&store, start).await });
    }
    let answers = rivals.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == TriggerStarted::New).count(), 1, "{answers:?}");
    assert_eq!(store.receipt_list(TENANT, seen.id, None, page(50)).await.expect("read").items.len(), 1);
}

pub async fn a_refused_start_leaves_no_receipt(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let kept = start(&workflow, seen.id, Some("k"), 0);
    let answer = store.trigger_start(vec![kept.clone()], 0).await.expect("an answer").remove(0);
    assert_eq!(answer, TriggerStarted::Refused(Submitted::QuotaFull { open: 0 }));
    assert!(store.receipt_get(TENANT, kept.receipt.id).await.expect("read").is_none());
    assert_eq!(start_one(&store, kept).await, TriggerStarted::New);
}

pub async fn what_is_parked_can_be_replayed_once(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let parked = Receipt {
        outcome: "parked".to_owned(),
        error: Some("the filter failed\u{0}".to_owned()),
        event: Some(json!({ "body": { "a": 1 } })),
        bytes: Some(vec![0, 255]),
        ..receipt(seen.id, Some("k"), 0)
    };
    let id = parked.id;
    let start = TriggerStart { receipt: parked, submission: None, gather: None };
    assert_eq!(start_one(&store, start).await, TriggerStarted::New);
    let found = store.receipt_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!((found.event, found.bytes), (Some(json!({ "body": { "a": 1 } })), Some(vec![0, 255])));
    let first = submission(&workflow);
    let refused = store.receipt_replay(TENANT, id, first.clone(), 0).await.expect("an answer");
    assert_eq!(refused, TriggerStarted::Refused(Submitted::QuotaFull { open: 0 }));
    let found = store.receipt_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!((found.outcome.as_str(), found.bytes), ("parked", Some(vec![0, 255])));
    let execution = first.first.execution;
    assert_eq!(store.receipt_replay(TENANT, id, first, QUOTA).await.expect("an answer"), TriggerStarted::New);
    assert!(is_there(&store, execution).await);
    let found = store.receipt_get(TENANT, id).await.expect("read").expect("there");
    assert_eq!((found.outcome.as_str(), found.execution), ("started", Some(execution)));
    let again = store.receipt_replay(TENANT, id, submission(&workflow), QUOTA).await.expect("an answer");
    assert!(matches!(again, TriggerStarted::Duplicate(_)), "{again:?}");
    let nothing = store.receipt_replay(TENANT, ReceiptId::generate(), submission(&workflow), QUOTA).await;
    assert_eq!(nothing.expect("an answer"), TriggerStarted::Missing);
}

pub async fn receipts_come_newest_first(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let all: Vec<TriggerStart> = (0..3).map(|n| start(&workflow, seen.id, None, n)).collect();
    let ids: Vec<ReceiptId> = all.iter().map(|start| start.receipt.id).collect();
    assert_eq!(store.trigger_start(all, QUOTA).await.expect("kept"), vec![TriggerStarted::New; 3]);
    let first = store.receipt_list(TENANT, seen.id, None, page(2)).await.expect("read");
    assert_eq!(first.items.iter().map(|receipt| receipt.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let rest = Page { after: first.next, limit: 2 };
    let rest = store.receipt_list(TENANT, seen.id, None, rest).await.expect("read");
    assert_eq!((rest.items[0].id, rest.next), (ids[0], None));
    let parked = store.receipt_list(TENANT, seen.id, Some("parked".to_owned()), page(9)).await.expect("read");
    assert!(parked.items.is_empty());
}

const BATCH: Gather = Gather::Batch { size: 3, within: Duration::from_mins(1) };

/// An event that a trigger gathers.
async fn gather(store: &DynStore, trigger: TriggerId, gather: Gather, seconds: i64) -> ReceiptId {
    let receipt = Receipt {
        outcome: "gathered".to_owned(),
        event: Some(json!({ "id": seconds })),
        ..receipt(trigger, Some(&format!("event {seconds}")), seconds)
    };
    let id = receipt.id;
    let start = TriggerStart { receipt, submission: None, gather: Some(gather) };
    assert_eq!(start_one(store, start).await, TriggerStarted::New);
    id
}

/// A trigger of events with nothing gathered.
async fn listening(store: &DynStore) -> (WorkflowRow, TriggerId) {
    let workflow = workflow(store, vec![trigger("e", "event_trigger", "h", None)]).await;
    let id = TriggerId::of(workflow.id, "e");
    (workflow, id)
}

async fn gathered(store: &DynStore, trigger: TriggerId) -> Vec<ReceiptId> {
    let found = store.gathered(trigger, 100).await.expect("read");
    assert!(found.iter().all(|receipt| receipt.event.is_some()), "{found:?}");
    found.into_iter().map(|receipt| receipt.id).collect()
}

fn together(
    seen: &TriggerRow,
    receipts: Vec<ReceiptId>,
    start: Result<Submission, &str>,
    seconds: i64,
) -> GatheredStep {
    GatheredStep {
        tenant: TENANT,
        trigger: seen.id,
        seen_last: seen.last_fire_at,
        seen_next: seen.next_fire_at,
        receipts,
        gather: BATCH,
        start: start.map(Box::new).map_err(ToOwned::to_owned),
        at: at(seconds),
    }
}

async fn outcome_of(store: &DynStore, id: ReceiptId) -> (String, Option<ExecutionId>, bool) {
    let found = store.receipt_get(TENANT, id).await.expect("read").expect("there");
    (found.outcome, found.execution, found.event.is_some())
}

pub async fn gathered_events_start_one_execution(store: DynStore) {
    let (workflow, id) = listening(&store).await;
    let first = gather(&store, id, BATCH, 10).await;
    let due = async || row(&store, id).await.next_fire_at;
    assert_eq!(due().await, Some(at(70)), "so long after the first");
    gather(&store, id, BATCH, 20).await;
    assert_eq!(due().await, Some(at(70)));
    gather(&store, id, BATCH, 30).await;
    assert_eq!(due().await, Some(at(30)), "three are a batch");
    let late = gather(&store, id, BATCH, 35).await;
    let seen = row(&store, id).await;
    let receipts = gathered(&store, id).await;
    assert_eq!((receipts.len(), receipts[0], receipts[3]), (4, first, late));
    let submission = submission(&workflow);
    let execution = submission.first.execution;
    let step = together(&seen, receipts[..3].to_vec(), Ok(submission), 40);
    let refused = store.gathered_start(step.clone(), 0).await.expect("an answer");
    assert_eq!(refused, StepKept::Refused(Submitted::QuotaFull { open: 0 }));
    assert_eq!(gathered(&store, id).await.len(), 4, "nothing of a refused start is kept");
    let kept = store.gathered_start(step, QUOTA).await.expect("an answer");
    assert_eq!(kept, StepKept::Kept { started: vec![execution] });
    assert!(is_there(&store, execution).await);
    assert_eq!(outcome_of(&store, first).await, ("started".to_owned(), Some(execution), false));
    assert_eq!(gathered(&store, id).await, [late]);
    assert_eq!(due().await, Some(at(100)), "what is left is a batch of its own");
    assert_eq!(store.trigger_started_since(id, at(0)).await.expect("counted"), 1);
}

pub async fn of_a_debounce_the_newest_event_counts(store: DynStore) {
    let (_, id) = listening(&store).await;
    let quiet = Gather::Debounce(Duration::from_secs(5));
    let mut before = None;
    for (seconds, due) in [(0, 5), (4, 9), (8, 13), (49, 50)] {
        let newest = gather(&store, id, quiet, seconds).await;
        assert_eq!(row(&store, id).await.next_fire_at, Some(at(due)));
        assert_eq!(gathered(&store, id).await, [newest]);
        if let Some(before) = before.replace(newest) {
            assert_eq!(outcome_of(&store, before).await, ("superseded".to_owned(), None, false));
        }
    }
}

pub async fn gathered_events_are_parked_each_by_itself(store: DynStore) {
    let (_, id) = listening(&store).await;
    let all = [gather(&store, id, BATCH, 1).await, gather(&store, id, BATCH, 2).await];
    let step = together(&row(&store, id).await, all.to_vec(), Err("does not fit"), 61);
    let kept = store.gathered_start(step, QUOTA).await.expect("an answer");
    assert_eq!(kept, StepKept::Kept { started: Vec::new() });
    for one in all {
        assert_eq!(outcome_of(&store, one).await, ("parked".to_owned(), None, true));
    }
    assert_eq!(row(&store, id).await.next_fire_at, None);
}

pub async fn what_is_gathered_meanwhile_is_not_lost(store: DynStore) {
    let (workflow, id) = listening(&store).await;
    let first = gather(&store, id, BATCH, 1).await;
    let seen = row(&store, id).await;
    // It changes nothing that is seen of the trigger.
    let second = gather(&store, id, BATCH, 2).await;
    let kept = store.gathered_start(together(&seen, vec![first], Ok(submission(&workflow)), 61), QUOTA).await;
    assert!(matches!(kept, Ok(StepKept::Kept { .. })), "{kept:?}");
    assert_eq!(gathered(&store, id).await, [second]);
    assert_eq!(row(&store, id).await.next_fire_at, Some(at(121)));
}

pub async fn of_two_starts_of_what_was_gathered_one_is_kept(store: DynStore) {
    let (workflow, id) = listening(&store).await;
    let receipts = vec![gather(&store, id, BATCH, 1).await];
    let seen = row(&store, id).await;
    let starts = (0..4).map(|_| {
        store.gathered_start(together(&seen, receipts.clone(), Ok(submission(&workflow)), 61), QUOTA)
    });
    let kept: Vec<StepKept> =
        futures::future::join_all(starts).await.into_iter().map(|kept| kept.expect("an answer")).collect();
    let started = kept.iter().filter(|kept| matches!(kept, StepKept::Kept { .. })).count();
    assert_eq!(started, 1, "{kept:?}");
    assert_eq!(store.trigger_started_since(id, at(0)).await.expect("counted"), 1);
}

pub async fn starts_are_counted(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    start_one(&store, start(&workflow, seen.id, None, 5)).await;
    start_one(&store, start(&workflow, seen.id, None, 15)).await;
    keep(&store, step(&seen, 20, Some(30), vec![starts(&workflow, 20), skips(19, false)])).await;
    assert_eq!(store.trigger_started_since(seen.id, at(0)).await.expect("counted"), 3);
    assert_eq!(store.trigger_started_since(seen.id, at(10)).await.expect("counted"), 2);
    assert_eq!(store.trigger_started_since(seen.id, at(21)).await.expect("counted"), 0);
}

fn event(id: &str, kind: &str) -> StoredEvent {
    StoredEvent {
        tenant: TENANT,
        id: id.to_owned(),
        kind: kind.to_owned(),
        source: "shop".to_owned(),
        key: Some("A-7".to_owned()),
        time: at(0),
        event: json!({ "id": id, "body": { "text": "nul \u{0}" } }),
        received_at: at(1),
        expires_at: at(2),
    }
}

pub async fn an_event_is_kept_once_with_its_starts(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let first = start(&workflow, seen.id, Some("shop e1"), 0);
    let execution = first.receipt.execution.expect("one");
    let added = store.event_add(event("e1", "order"), vec![first], QUOTA).await.expect("added");
    assert_eq!(added, EventAdded::New(vec![TriggerStarted::New]));
    assert!(is_there(&store, execution).await);
    let found = store.event_get(TENANT, "shop", "e1").await.expect("read");
    assert_eq!(found, Some(event("e1", "order")));
    let second = start(&workflow, seen.id, None, 0);
    let known = store.event_add(event("e1", "order"), vec![second.clone()], QUOTA).await.expect("an answer");
    assert_eq!(known, EventAdded::Known);
    assert!(!is_there(&store, second.receipt.execution.expect("one")).await);
    let full = start(&workflow, seen.id, None, 0);
    let refused = store.event_add(event("e2", "order"), vec![full], 0).await.expect("an answer");
    assert!(matches!(refused, EventAdded::New(ref all) if matches!(all[0], TriggerStarted::Refused(_))));
    assert!(store.event_get(TENANT, "shop", "e2").await.expect("read").is_none(), "it can be sent again");
}

pub async fn events_come_newest_first(store: DynStore) {
    for (id, kind) in [("1", "a"), ("2", "b"), ("3", "a")] {
        store.event_add(event(id, kind), Vec::new(), QUOTA).await.expect("added");
    }
    let first = store.event_list(TENANT, None, page(2)).await.expect("read");
    assert_eq!(first.items.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["3", "2"]);
    let rest = store.event_list(TENANT, None, Page { after: first.next, limit: 2 }).await.expect("read");
    assert_eq!((rest.items[0].id.as_str(), rest.next), ("1", None));
    let of_a = store.event_list(TENANT, Some("a".to_owned()), page(9)).await.expect("read");
    assert_eq!(of_a.items.len(), 2);
    assert!(store.event_list(TenantId::generate(), None, page(9)).await.expect("read").items.is_empty());
}

fn backfill(trigger: TriggerId) -> Backfill {
    Backfill {
        id: BackfillId::generate(),
        tenant: TENANT,
        trigger,
        from: at(-100),
        to: at(-1),
        newest_first: false,
        parallel: 2,
        reason: "the shop was closed".to_owned(),
        status: BackfillStatus::Running,
        cursor: None,
        total: 3,
        started: 0,
        skipped: 0,
        created_by: "someone".to_owned(),
        created_at: at(0),
        updated_at: at(0),
    }
}

fn backfill_step(backfill: &Backfill, seconds: i64, fires: Vec<Fire>, is_done: bool) -> ScheduleStep {
    ScheduleStep {
        tenant: TENANT,
        trigger: backfill.trigger,
        cursor: Cursor::Backfill {
            id: backfill.id,
            seen: backfill.cursor,
            cursor: Some(at(seconds)),
            is_done,
        },
        fires,
        at: at(0),
    }
}

pub async fn a_backfill_moves_with_its_fires(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    keep(
        &store,
        step(&seen, 10, Some(20), vec![starts(&workflow, -50), skips(-40, false), skips(-30, true)]),
    )
    .await;
    let made = backfill(seen.id);
    store.backfill_create(made.clone()).await.expect("created");
    assert_eq!(store.backfills_running().await.expect("read"), std::slice::from_ref(&made));
    let fires = [-60, -50, -40, -30].map(|seconds| starts(&workflow, seconds)).to_vec();
    let started = keep(&store, backfill_step(&made, -30, fires, false)).await;
    assert_eq!(started.len(), 2, "what had started and what waits is left alone; what was skipped is not");
    let found = store.backfill_get(TENANT, made.id).await.expect("read").expect("there");
    assert_eq!((found.started, found.skipped, found.cursor), (2, 2, Some(at(-30))));
    assert_eq!(store.backfill_open(made.id).await.expect("read"), 2);
    end(&store, &workflow, started[0]).await;
    assert_eq!(store.backfill_open(made.id).await.expect("read"), 1);
    let stale = backfill_step(&made, -20, vec![starts(&workflow, -20)], false);
    assert_eq!(store.schedule_step(stale, QUOTA).await.expect("an answer"), StepKept::Superseded);
    keep(&store, backfill_step(&found, -1, Vec::new(), true)).await;
    let ended = store.backfill_get(TENANT, made.id).await.expect("read").expect("there");
    assert_eq!(ended.status, BackfillStatus::Completed);
    assert!(store.backfills_running().await.expect("read").is_empty());
    assert_eq!(row(&store, seen.id).await.next_fire_at, Some(at(20)), "the schedule itself did not move");
}

pub async fn a_backfill_leaves_the_rest_of_a_skipped_span_on_record(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let span = Fire { until: Some(at(-40)), reason: "missed".to_owned(), ..skips(-60, false) };
    keep(&store, step(&seen, 10, Some(20), vec![span])).await;
    let made = backfill(seen.id);
    store.backfill_create(made.clone()).await.expect("created");
    let fires = [-60, -50, -40].map(|seconds| starts(&workflow, seconds)).to_vec();
    assert_eq!(keep(&store, backfill_step(&made, -40, fires, true)).await.len(), 3);
    let found = store.fire_list(TENANT, seen.id, page(10)).await.expect("read").items;
    let skipped: Vec<_> = found.iter().filter(|fire| fire.outcome == FireOutcome::Skipped).collect();
    assert_eq!(found.len(), 4);
    assert_eq!((skipped.len(), skipped[0].until, skipped[0].reason.as_str()), (1, Some(at(-40)), "missed"));
    assert!(at(-60) < skipped[0].at && skipped[0].at < at(-50));
}

pub async fn a_paused_backfill_keeps_no_step(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let made = backfill(seen.id);
    store.backfill_create(made.clone()).await.expect("created");
    let paused = store.backfill_move(TENANT, made.id, BackfillStatus::Paused).await.expect("moved");
    assert_eq!(paused.map(|backfill| backfill.status), Some(BackfillStatus::Paused));
    let late = backfill_step(&made, -60, vec![starts(&workflow, -60)], false);
    assert_eq!(store.schedule_step(late.clone(), QUOTA).await.expect("an answer"), StepKept::Superseded);
    store.backfill_move(TENANT, made.id, BackfillStatus::Running).await.expect("moved");
    assert_eq!(keep(&store, late).await.len(), 1);
}

pub async fn an_ended_backfill_is_not_moved(store: DynStore) {
    let (_, seen) = scheduled(&store).await;
    let (first, second) = (backfill(seen.id), backfill(seen.id));
    store.backfill_create(first.clone()).await.expect("created");
    store.backfill_create(second.clone()).await.expect("created");
    for to in [BackfillStatus::Cancelled, BackfillStatus::Running] {
        let found = store.backfill_move(TENANT, first.id, to).await.expect("an answer").expect("there");
        assert_eq!(found.status, BackfillStatus::Cancelled);
    }
    let list = store.backfill_list(TENANT, page(1)).await.expect("read");
    assert_eq!(list.items[0].id, second.id);
    let rest = store.backfill_list(TENANT, Page { after: list.next, limit: 1 }).await.expect("read");
    assert_eq!((rest.items[0].id, rest.next), (first.id, None));
    let nobody = TenantId::generate();
    assert!(
        store.backfill_move(nobody, first.id, BackfillStatus::Paused).await.expect("an answer").is_none()
    );
}

pub async fn maintenance_keeps_what_is_new(store: DynStore) {
    let (workflow, seen) = scheduled(&store).await;
    let now = store.now().await.expect("the present");
    let mut kept = start(&workflow, seen.id, Some("k"), 0);
    kept.receipt.received_at = now;
    let id = kept.receipt.id;
    start_one(&store, kept).await;
    let mut kept = event("e", "a");
    kept.expires_at = now.after(Duration::from_hours(1));
    store.event_add(kept, Vec::new(), QUOTA).await.expect("added");
    let mut gone = event("f", "a");
    gone.expires_at = Timestamp::from_micros(now.as_micros() - 1_000_000);
    store.event_add(gone, Vec::new(), QUOTA).await.expect("added");
    // Recorded long ago by the store's clock: what was skipped may go, what has started may not.
    let long_ago = now.as_micros() / 1_000_000 - 1_800_000_000 - 90 * 86_400;
    let old = step(&seen, long_ago, Some(20), vec![starts(&workflow, 10), skips(11, false)]);
    let started = keep(&store, old).await;
    end(&store, &workflow, started[0]).await;
    // The next step sees that it has ended.
    let later = row(&store, seen.id).await;
    keep(&store, step(&later, 12, Some(20), Vec::new())).await;
    // What was skipped goes, a part at a time; the receipt is younger.
    let before = Timestamp::from_micros(now.as_micros() - 86_400 * 1_000_000);
    assert!(store.triggers_forget(before, 1).await.expect("done"), "there may be more");
    assert!(!store.triggers_forget(before, 1).await.expect("done"));
    assert_eq!(outcomes(&store, seen.id).await, [(at(10), FireOutcome::Started)]);
    assert_eq!(store.event_list(TENANT, None, page(10)).await.expect("read").items.len(), 1);
    let made = backfill(seen.id);
    store.backfill_create(made.clone()).await.expect("created");
    let again = keep(&store, backfill_step(&made, 11, vec![starts(&workflow, 10)], true)).await;
    assert!(again.is_empty(), "a fire that started long ago started again");
    assert!(store.receipt_get(TENANT, id).await.expect("read").is_some());
    let later = now.after(Duration::from_secs(1));
    assert!(!store.triggers_forget(later, 10).await.expect("done"));
    assert!(store.receipt_get(TENANT, id).await.expect("read").is_none());
    assert!(!outcomes(&store, seen.id).await.is_empty(), "what has started is never forgotten");
    assert!(store.event_get(TENANT, "shop", "e").await.expect("read").is_some());
    assert!(store.event_get(TENANT, "shop", "f").await.expect("read").is_none());
}
