//! Attempts: retries, losses, grants, leases, late results, the sweep, the dispatch window, payloads.

use shared::{
    execution::{Phase, StoredPayload},
    port::slots::SlotClaim,
    workflow::{Delivery, Priority},
};

use super::*;

fn retried(retry: &str) -> Case {
    Case::start(&format!("a: {{ type: work, retry: {{ {retry} }} }}\nb: {{ type: work, needs: [a] }}"))
}

/// The pause before the next attempt of `a`.
fn pause(case: &Case) -> Option<Duration> {
    case.timer(&TimerKey::Retry(case.key("a")))
}

#[test]
fn the_task_message_carries_what_the_worker_needs() {
    let mut case = Case::start_with(
        "parameters: { n: { type: integer } }",
        "a: { type: work, config: { n: '${{ parameters.n }}' }, timeout: 7s, delivery: at_most_once, queue_timeout: 1h,
              worker: { pool: gpu, tags: [big], priority: high } }"
            .replace('\n', " ")
            .as_str(),
        json!({ "n": 4 }),
    );
    let task = case.sent[0].clone();
    assert_eq!(task.config, json!({ "n": 4 }));
    assert_eq!((&*task.kind, task.attempt, task.dispatch), ("work", 1, 1));
    assert_eq!((task.timeout, task.delivery, task.lease_at_once), (seconds(7), Delivery::AtMostOnce, true));
    assert_eq!(
        (&*task.pool, task.tags.as_slice(), task.priority),
        ("gpu", &["big".to_owned()][..], Priority::High)
    );
    case.complete("a", json!(1));
    case.ends(Status::Completed);
}

#[test]
fn an_attempt_is_retried_after_its_pause() {
    let mut case = retried("max_attempts: 3, backoff: exponential, initial: 2s, cap: 3s, jitter: false");
    case.fail("a", "connection");
    case.shows("a retrying, b waiting");
    assert_eq!(pause(&case), Some(seconds(2)));
    case.tick(SECOND);
    case.shows("a retrying");
    case.tick(SECOND);
    case.shows("a running");
    case.fail("a", "http_5xx");
    assert_eq!(pause(&case), Some(seconds(3)), "the cap");
    case.tick(seconds(3));
    case.complete("a", json!(1));
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(case.component("a").failure, None);
    case.shows("a completed, b running");
}

#[test]
fn attempts_that_are_used_up_settle_as_failed() {
    let mut case = retried("max_attempts: 2, backoff: none");
    case.fail("a", "connection");
    case.tick(Duration::ZERO);
    case.fail("a", "timeout");
    case.shows("a failed, b skipped");
    assert_eq!(case.class("a"), "timeout");
    assert!(case.timers.is_empty());
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
}

#[test]
fn only_the_classes_of_the_policy_are_retried() {
    for (class, by_default) in [
        ("timeout", true),
        ("connection", true),
        ("rate_limited", true),
        ("http_5xx", true),
        ("unavailable", true),
        ("internal", true),
        ("http_4xx", false),
        ("not_found", false),
        ("conflict", false),
        ("unauthorized", false),
        ("user", false),
        ("user.no_stock", false),
        ("invalid_config", false),
        ("invalid_input", false),
        ("invalid_expression", false),
        ("limit_exceeded", false),
        ("egress_denied", false),
        ("script_error", false),
        ("sandbox_violation", false),
        ("outcome_unknown", false),
        ("cancelled", false),
    ] {
        let mut case = Case::start("a: { type: work }");
        case.fail("a", class);
        assert_eq!(case.phase("a"), if by_default { "retrying" } else { "failed" }, "{class}");
        let mut case = retried("on: [user, conflict]");
        case.fail("a", class);
        let named = class.starts_with("user") || class == "conflict";
        assert_eq!(case.phase("a"), if named { "retrying" } else { "failed" }, "{class}");
    }
}

#[test]
fn a_pause_is_jittered_and_always_the_same_one() {
    let pauses: Vec<Option<Duration>> = (0..2)
        .map(|_| {
            let mut case = Case::start("a: { type: work }");
            case.fail("a", "connection");
            pause(&case)
        })
        .collect();
    assert_eq!(pauses[0], pauses[1]);
    assert!(pauses[0] < Some(SECOND), "{pauses:?}");
}

#[test]
fn the_pause_is_at_least_what_the_other_side_asked_for() {
    let mut case = retried("max_attempts: 3, backoff: fixed, initial: 1s, jitter: false");
    let mut failure = Failure::new(FailureClass::RateLimited, "slow down");
    failure.retry_after = Some(seconds(40));
    case.end("a", Ending::Failed(failure));
    assert_eq!(pause(&case), Some(seconds(40)));
}

#[test]
fn a_retry_that_is_due_twice_or_too_early_is_one_retry() {
    let mut case = retried("max_attempts: 3, backoff: fixed, initial: 5s, jitter: false");
    case.fail("a", "connection");
    let key = TimerKey::Retry(case.key("a"));
    assert!(case.take(Input::Timer(&key)).events.is_empty());
    case.tick(seconds(5));
    assert!(case.take(Input::Timer(&key)).events.is_empty());
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
}

#[test]
fn a_config_that_cannot_be_computed_fails_the_task() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work, needs: [a], config: { x: '${{ components.a.output.n + 1 }}' } }
         c: { type: work, needs: [b.error] }",
    );
    case.complete("a", json!({}));
    case.shows("b failed, c running");
    assert_eq!(case.class("b"), "invalid_expression");
    assert!(case.sent_of("b").is_empty());
}

// ---- losses ------------------------------------------------------------------------------------

#[test]
fn a_lost_worker_costs_no_attempt_of_the_policy() {
    let mut case = retried("max_attempts: 2, backoff: none");
    case.lose("a");
    case.shows("a running");
    assert_eq!(case.component("a").spent(), 1);
    case.fail("a", "connection");
    case.shows("a retrying");
    case.tick(Duration::ZERO);
    case.lose("a");
    case.fail("a", "connection");
    case.shows("a failed");
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1), (3, 1), (4, 1)]);
}

#[test]
fn the_third_lost_worker_makes_the_task_poison() {
    let mut case =
        Case::start("a: { type: work, retry: { max_attempts: 9 } }\nh: { type: work, needs: [a.error] }");
    case.lose("a");
    case.lose("a");
    case.shows("a running");
    case.lose("a");
    case.shows("a failed, h running");
    assert_eq!(case.class("a"), "internal");
    assert_eq!(case.poison.len(), 1);
    assert!(case.failure("a").message.starts_with("poison: 3 workers"));
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn a_task_that_was_returned_twice_goes_out_once() {
    let mut case = Case::start("a: { type: work }");
    let returned = case.report("a", Ending::Returned);
    case.take(Input::Result(&returned));
    assert!(case.take(Input::Result(&returned)).events.is_empty());
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2)]);
}

#[test]
fn a_returned_task_goes_out_again_as_the_same_attempt() {
    let mut case = Case::start("a: { type: work }");
    case.end("a", Ending::Returned);
    case.end("a", Ending::Returned);
    case.shows("a running");
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2), (1, 3)]);
    // Returned when nothing may go out: later it is still the same attempt.
    case.room = 0;
    case.end("a", Ending::Returned);
    case.shows("a ready");
    case.room = 1;
    case.take(Input::Wake);
    assert_eq!(case.sent_of("a").last(), Some(&(1, 4)));
}

// ---- grants and leases -------------------------------------------------------------------------

const ONCE: &str = "a: { type: work, delivery: at_most_once }";

#[test]
fn an_attempt_is_granted_once() {
    let mut case = Case::start(ONCE);
    assert!(case.ask("a", AskKind::Grant, 1));
    assert!(!case.ask("a", AskKind::Grant, 2), "a second worker");
    assert!(case.ask("a", AskKind::Grant, 1), "the same question again has the same answer");
    assert_eq!(case.events().filter(|event| matches!(event, Event::TaskGranted { .. })).count(), 1);
    case.complete("a", json!(1));
    case.ends(Status::Completed);
    assert!(!case.ask("a", AskKind::Grant, 1), "it has ended");
}

#[test]
fn a_result_with_a_wrong_token_does_not_count() {
    let mut case = Case::start(ONCE);
    case.ask("a", AskKind::Grant, 1);
    for wrong in [None, Some(token(2))] {
        let result =
            TaskResult { token: wrong, worker: worker(2), ..case.report("a", completed(json!(2), &[])) };
        assert!(case.take(Input::Result(&result)).events.is_empty());
    }
    case.shows("a running");
    assert_eq!(case.late.len(), 2);
    case.complete("a", json!(1));
    assert_eq!(case.output("a"), json!(1));
}

#[test]
fn an_attempt_whose_grant_never_arrived_did_not_run() {
    // The answer was lost: the worker that holds the grant says that it did not begin.
    let mut case = Case::start(ONCE);
    case.ask("a", AskKind::Grant, 1);
    case.end("a", Ending::NotGranted);
    case.shows("a running");
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
    // However often: no worker was lost by it.
    for _ in 0..5 {
        case.end("a", Ending::NotGranted);
    }
    case.shows("a running");
    assert!(case.poison.is_empty());
    assert_eq!(case.component("a").spent(), 1);
    // The question of an attempt that was given up is refused.
    let ask = Ask {
        execution: case.state.id,
        component: "a".into(),
        iteration: Default::default(),
        attempt: 1,
        worker: worker(1),
        token: token(1),
        kind: AskKind::Grant,
    };
    assert!(case.take(Input::Ask(&ask)).events.is_empty());
    assert_eq!(case.told.last(), Some(&Control::Answer { token: token(1), granted: false }));
}

#[test]
fn a_leased_task_is_fenced_by_its_token_and_outlives_silence() {
    let mut case = Case::start("a: { type: work }");
    assert!(case.ask("a", AskKind::Lease, 1));
    assert!(case.late.is_empty());
    assert!(!case.ask("a", AskKind::Lease, 2));
    let copy = "it began a copy of the task, of which another worker has the lease";
    assert_eq!(case.late, [copy]);
    assert!(case.ask("a", AskKind::Lease, 1), "the same question again");
    assert_eq!(case.timer(&TimerKey::Lease(case.key("a"))), Some(seconds(60)));
    case.now = case.now.after(seconds(3_600));
    case.sweep();
    assert_eq!(case.sent_of("a"), [(1, 1)], "a leased task was sent again");
    case.complete("a", json!(1));
    assert!(case.timers.is_empty());
    // A copy that began when the first had ended gives nothing either, and is known all the same.
    assert!(!case.ask("a", AskKind::Lease, 3));
    let over = "it went on with the task after that had ended or been given up";
    assert_eq!(case.late, [copy, over]);
}

#[test]
fn a_lease_that_runs_out_is_a_lost_worker() {
    let mut case = Case::start("a: { type: work, retry: { max_attempts: 1 } }");
    case.ask("a", AskKind::Lease, 1);
    let late = case.report("a", completed(json!("old"), &[]));
    case.tick(seconds(60));
    case.shows("a running");
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
    assert!(case.take(Input::Result(&late)).events.is_empty());
    assert_eq!(case.late, ["another attempt is under way"]);
    assert!(!case.timers.contains_key(&TimerKey::Lease(case.key("a"))));
}

#[test]
fn a_granted_and_leased_attempt_whose_lease_runs_out_is_unknown() {
    let mut case = Case::start(ONCE);
    case.ask("a", AskKind::Grant, 1);
    assert!(case.ask("a", AskKind::Lease, 1));
    assert!(!case.ask("a", AskKind::Grant, 2));
    // A redelivery says nothing about the holder: its lease decides.
    let lost = TaskResult {
        token: None,
        worker: worker(2),
        ..case.report("a", Ending::Lost { reason: String::new() })
    };
    assert!(case.take(Input::Result(&lost)).events.is_empty());
    case.tick(seconds(60));
    // Only a person can say what came of it.
    case.shows("a asked");
}

// ---- late and duplicate ------------------------------------------------------------------------

#[test]
fn a_result_twice_counts_once_and_is_no_news() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    let result = case.report("a", completed(json!(1), &[]));
    let decision = match case.try_take(&[Input::Result(&result), Input::Result(&result)]) {
        Ok(decision) => decision,
        Err(needs) => panic!("{needs:?}"),
    };
    assert_eq!(decision.events.len(), 2, "{:?}", decision.events);
    assert!(case.take(Input::Result(&result)).events.is_empty());
    assert!(case.late.is_empty());
    case.shows("a completed, b running");
}

#[test]
fn a_result_of_another_worker_or_attempt_is_recorded_as_late() {
    let mut case = retried("max_attempts: 3, backoff: fixed, initial: 1s, jitter: false");
    let first = TaskResult { worker: worker(8), ..case.report("a", completed(json!(1), &[])) };
    case.fail("a", "connection");
    assert!(case.take(Input::Result(&first)).events.is_empty(), "while it waits for its next attempt");
    case.tick(SECOND);
    assert!(case.take(Input::Result(&first)).events.is_empty(), "while the next attempt runs");
    case.complete("a", json!(2));
    let other = TaskResult { worker: worker(9), ..case.report("a", completed(json!(3), &[])) };
    assert!(case.take(Input::Result(&other)).events.is_empty(), "after it settled");
    assert_eq!(case.late.len(), 3);
    assert_eq!(case.output("a"), json!(2));
}

#[test]
fn a_result_nobody_waits_for_changes_nothing() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    for (id, attempt) in [("gone", 1), ("b", 1), ("a", 7)] {
        let result =
            TaskResult { component: id.into(), attempt, ..case.report("a", completed(json!(1), &[])) };
        assert!(case.take(Input::Result(&result)).events.is_empty(), "{id}");
    }
    assert_eq!(case.late.len(), 3);
    let key = TimerKey::Retry(TaskKey::of("gone".into()));
    assert!(case.take(Input::Timer(&key)).events.is_empty());
}

// ---- the sweep ---------------------------------------------------------------------------------

#[test]
fn the_sweep_starts_what_was_accepted_and_not_started() {
    let mut case = Case::accept_with("", "a: { type: work }", json!({}));
    case.sweep();
    case.shows("a running");
}

#[test]
fn the_sweep_sends_silent_tasks_again_and_backs_off() {
    let mut case = Case::start("a: { type: work }");
    let mut at = Vec::new();
    for _ in 0..400 {
        case.now = case.now.after(seconds(30));
        if !case.sweep().events.is_empty() {
            at.push(case.now.since(start_of_time()).as_secs() / 60);
        }
    }
    // After 1, 2, 4, 8, 16 and then 30 minutes of silence, the same attempt each time.
    assert_eq!(at, [1, 3, 7, 15, 31, 61, 91, 121, 151, 181]);
    assert!(case.sent_of("a").iter().all(|(attempt, _)| *attempt == 1));
    assert_eq!(case.sent_of("a").last(), Some(&(1, 11)));
}

#[test]
fn the_sweep_says_when_to_look_again() {
    let mut case = Case::start("a: { type: work }");
    case.now = case.now.after(seconds(20));
    assert_eq!(case.sweep().sweep_at, Some(start_of_time().after(seconds(60))));
    // Sent again, it is looked for again.
    case.now = case.now.after(seconds(40));
    assert_eq!(case.sweep().sweep_at, Some(case.now.after(seconds(60))));
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2)]);
    assert_eq!(case.sweep().sweep_at, Some(case.now.after(seconds(60))), "it would be missed after 120");
    // While nothing is with a worker, after as long as it has stood still.
    let mut case = Case::start("d: { type: delay, config: { for: 2h } }");
    for (after, next) in [(0, 60), (60, 60), (60, 120), (120, 240), (3_600, 30 * 60)] {
        case.now = case.now.after(seconds(after));
        assert_eq!(case.sweep().sweep_at, Some(case.now.after(seconds(next))), "{after}");
    }
}

#[test]
fn a_granted_attempt_is_missed_when_it_cannot_run_any_longer() {
    let mut case = Case::start("a: { type: work, delivery: at_most_once, timeout: 10s }");
    for after in [60, 120] {
        case.now = case.now.after(seconds(after));
        case.sweep();
    }
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2), (1, 3)]);
    case.now = case.now.after(seconds(200));
    assert!(case.ask("a", AskKind::Grant, 1));
    // It began now, however long it lay in the queue, and however often it was sent.
    case.now = case.now.after(seconds(69));
    assert_eq!(case.sweep().sweep_at, Some(case.now.after(seconds(5))));
    case.shows("a running");
    case.now = case.now.after(seconds(1));
    case.sweep();
    case.shows("a asked");
}

#[test]
fn silence_means_nothing_while_the_queue_is_deep() {
    let mut case = Case::start("a: { type: work }");
    case.queue_is_deep = true;
    case.now = case.now.after(seconds(3_600));
    assert!(case.sweep().events.is_empty());
    case.queue_is_deep = false;
    assert!(!case.sweep().events.is_empty());
}

#[test]
fn a_lost_queue_is_repaired_at_once() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work }
         c: { type: work, delivery: at_most_once }
         d: { type: work, delivery: at_most_once }",
    );
    case.ask("b", AskKind::Lease, 1);
    case.ask("c", AskKind::Grant, 2);
    case.now = case.now.after(SECOND);
    case.queue_lost_before = Some(case.now);
    case.queue_is_deep = true;
    case.sweep();
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2)], "it may not have run: the same attempt");
    assert_eq!(case.sent_of("b"), [(1, 1), (2, 1)], "it ran: its holder is lost");
    assert_eq!(case.sent_of("d"), [(1, 1), (1, 2)]);
    case.shows("c asked");
    // What was sent since is left alone.
    assert!(case.sweep().events.is_empty());
}

#[test]
fn a_granted_attempt_is_missed_after_its_time_out() {
    let mut case = Case::start("a: { type: work, delivery: at_most_once, timeout: 5m }");
    case.ask("a", AskKind::Grant, 1);
    case.now = case.now.after(seconds(359));
    assert!(case.sweep().events.is_empty());
    case.now = case.now.after(SECOND);
    case.sweep();
    case.shows("a asked");
}

// ---- the dispatch window -----------------------------------------------------------------------

#[test]
fn tasks_are_held_back_without_room_and_go_out_with_it() {
    let text = "a: { type: work }\nb: { type: work }\nc: { type: work }\nd: { type: noop }";
    for (room, expected) in [
        (0, "a ready, b ready, c ready, d completed"),
        (1, "a running, b ready, c ready, d completed"),
        (2, "a running, b running, c ready, d completed"),
        (3, "a running, b running, c running, d completed"),
    ] {
        let mut case = Case::accept_with("", text, json!({}));
        case.room = room;
        case.take(Input::Start);
        case.shows(expected);
        assert_eq!(case.state.ready.len() as u32, 3 - room);
        case.room = 2;
        case.take(Input::Wake);
        assert_eq!(case.state.ready.len() as u32, (3 - room).saturating_sub(2));
        case.take(Input::Wake);
        case.shows("a running, b running, c running");
        for id in ["c", "a", "b"] {
            case.complete(id, Value::Null);
        }
        case.ends(Status::Completed);
        assert_eq!(case.sent.len(), 3);
    }
}

#[test]
fn a_retry_without_room_waits_as_ready() {
    let mut case = retried("max_attempts: 2, backoff: none");
    case.fail("a", "connection");
    case.room = 0;
    case.tick(Duration::ZERO);
    case.shows("a ready");
    case.room = 1;
    case.take(Input::Wake);
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
}

#[test]
fn a_held_back_task_that_cannot_be_prepared_lets_its_readers_go_on() {
    let mut case = Case::accept_with(
        "parameters: { gone: { type: string } }",
        "a: { type: work, config: { x: '${{ parameters.gone }}' } }
         h: { type: work, needs: [a.error] }
         never: { type: work, needs: [a] }",
        json!({}),
    );
    case.room = 0;
    case.take(Input::Start);
    case.shows("a ready");
    case.room = 1;
    case.take(Input::Wake);
    case.shows("a failed, h running, never skipped");
}

// ---- slots -------------------------------------------------------------------------------------

#[test]
fn starting_takes_the_slots_and_ending_gives_them_back() {
    let mut case = Case::accept_with(
        "concurrency: { key: 'customer ${{ parameters.n }}', limit: 2 }\nparameters: { n: { type: integer } }",
        "a: { type: work }",
        json!({ "n": 7 }),
    );
    let start = case.take(Input::Start);
    let key = format!("workflow/{}/customer 7", case.state.accepted.workflow.as_uuid());
    let claim = |key: String, limit| SlotClaim {
        key,
        limit,
        task: None,
        priority: Priority::Normal,
        group: None,
        weight: 1,
        displaces: false,
    };
    let all = claim(shared::port::slots::EXECUTIONS_KEY.to_owned(), 10_000);
    let group = Some(shared::port::slots::tenant_group(case.state.accepted.tenant));
    assert_eq!(start.take, [claim(key, 2), SlotClaim { group, ..all }]);
    assert!(!start.release);
    assert!(case.take(Input::Start).take.is_empty(), "they were taken twice");
    assert!(case.complete("a", Value::Null).release);
}

#[test]
fn a_key_that_cannot_be_computed_fails_the_execution() {
    let mut case = Case::accept_with(
        "concurrency: { key: '${{ parameters.n + 1 }}', limit: 2 }\nparameters: { n: { type: string } }",
        "a: { type: work }",
        json!({ "n": "seven" }),
    );
    let start = case.take(Input::Start);
    assert!(start.take.is_empty());
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("invalid_expression"));
}

// ---- payloads ----------------------------------------------------------------------------------

fn stored(number: u128) -> (PayloadId, Ending) {
    let id = PayloadId::from_uuid(uuid::Uuid::from_u128(0x3000 + number));
    let output = Payload::Stored(StoredPayload { id, size: 100_000 });
    (id, Ending::Completed { output, ports: Vec::new() })
}

#[test]
fn a_stored_payload_is_asked_for_where_its_value_decides() {
    for (reader, expected) in [
        (
            "b: { type: decision, needs: [a], config: { condition: components.a.output.n > 3 } }",
            "b completed",
        ),
        ("b: { type: work, needs: [a], when: components.a.output.n > 3 }", "b running"),
        ("b: { type: work, needs: [a], config: { n: '${{ components.a.output.n }}' } }", "b running"),
        ("b: { type: noop, needs: [a], config: { value: '${{ components.a.output }}' } }", "b completed"),
        ("b: { type: join, needs: [a] }", "b completed"),
    ] {
        let mut case = Case::start(&format!("a: {{ type: work }}\n{reader}"));
        let (id, ending) = stored(1);
        let result = case.report("a", ending);
        let before = case.state.clone();
        assert_eq!(
            case.try_take(&[Input::Result(&result)]).err(),
            Some(Needs::Payloads(vec![id])),
            "{reader}"
        );
        assert_eq!(case.state, before);
        case.payloads.insert(id, std::sync::Arc::new(json!({ "n": 4 })));
        case.take(Input::Result(&result));
        case.shows(expected);
    }
}

#[test]
fn a_stored_payload_that_is_only_passed_on_travels_as_a_reference() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work, needs: [a], config: { body: '${{ components.a.output }}' } }",
    );
    let (id, ending) = stored(1);
    case.end("a", ending);
    case.shows("b running");
    let task = &case.sent[1];
    assert_eq!(task.references, [("/body".to_owned(), id)]);
    assert_eq!(case.component("a").phase, Phase::Completed);
}
