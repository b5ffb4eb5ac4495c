//! Time-outs of tasks and executions, and scheduled starts.

use super::*;

#[test]
fn an_attempt_that_timed_out_is_retried_and_then_fires_timeout_or_error() {
    for reader in ["a.timeout", "a.error"] {
        let mut case = Case::start(&format!(
            "a: {{ type: work, retry: {{ max_attempts: 2, backoff: none }} }}
             h: {{ type: work, needs: [{reader}] }}"
        ));
        case.fail("a", "timeout");
        case.shows("a retrying, h waiting");
        case.tick(Duration::ZERO);
        case.fail("a", "timeout");
        case.shows("a failed, h running");
    }
}

#[test]
fn total_timeout_ends_a_task_over_all_attempts() {
    let text = "a: { type: work, total_timeout: 1m, retry: { max_attempts: 9, backoff: fixed, initial: 50s, jitter: false } }
         h: { type: work, needs: [a.timeout] }";
    // While an attempt runs.
    let mut case = Case::start(text);
    case.tick(seconds(60));
    case.shows("a failed, h running");
    assert_eq!(case.class("a"), "timeout");
    let late = TaskResult { attempt: 1, ..case.report("a", completed(Value::Null, &[])) };
    assert!(case.take(Input::Result(&late)).events.is_empty());
    // While it waits for its next attempt.
    let mut case = Case::start(text);
    case.tick(seconds(30));
    case.fail("a", "connection");
    case.tick(seconds(30));
    case.shows("a failed, h running");
    assert!(case.timers.is_empty(), "{:?}", case.timers);
    // Across attempts.
    let mut case = Case::start(text);
    case.fail("a", "connection");
    case.tick(seconds(50));
    case.shows("a running");
    case.tick(seconds(10));
    case.shows("a failed, h running");
    // A task that is done in time leaves no timer.
    let mut case = Case::start(text);
    case.complete("a", Value::Null);
    assert!(case.timers.is_empty());
}

#[test]
fn total_timeout_of_a_leased_task_lets_its_lease_go() {
    let mut case = Case::start("a: { type: work, total_timeout: 30s }\nb: { type: work }");
    case.ask("a", AskKind::Lease, 1);
    case.tick(seconds(30));
    case.shows("a failed, b running");
    assert!(case.timers.is_empty(), "{:?}", case.timers);
}

#[test]
fn queue_timeout_ends_a_task_that_nobody_takes() {
    let text = "a: { type: work, queue_timeout: 30s }\nh: { type: work, needs: [a.error] }";
    let mut case = Case::start(text);
    assert!(case.sent[0].lease_at_once);
    case.tick(seconds(30));
    case.shows("a failed, h running");
    assert_eq!(case.class("a"), "timeout");
    // Held back by the dispatch window, it is waiting too.
    let mut case = Case::accept_with("", text, json!({}));
    case.room = 0;
    case.take(Input::Start);
    case.room = 1;
    case.tick(seconds(29));
    case.shows("a ready");
    case.tick(SECOND);
    case.shows("a failed, h running");
}

#[test]
fn a_task_for_workers_outside_waits_visibly_until_time_or_a_cancel_ends_it() {
    let text = "a: { type: task, queue_timeout: 30s }\nh: { type: work, needs: [a.error] }";
    let mut case = Case::start(text);
    case.shows("a offered, h waiting");
    assert!(case.sent.is_empty(), "no worker of ours is asked");
    case.tick(seconds(29));
    case.sweep();
    case.shows("a offered, h waiting");
    case.tick(SECOND);
    case.shows("a failed, h running");
    assert_eq!(case.class("a"), "timeout");
    let mut case = Case::start("a: { type: task }");
    case.cancel();
    case.ends(Status::Cancelled);
}

#[test]
fn queue_timeout_is_over_when_a_worker_takes_the_task() {
    let mut case = Case::start("a: { type: work, queue_timeout: 30s }");
    case.tick(seconds(29));
    assert!(case.ask("a", AskKind::Lease, 1));
    assert_eq!(case.timer(&TimerKey::Queue(case.key("a"))), None);
    // A hint of the old timer that was already under way.
    let key = TimerKey::Queue(case.key("a"));
    assert!(case.take(Input::Timer(&key)).events.is_empty());
    case.complete("a", Value::Null);
    case.ends(Status::Completed);
}

#[test]
fn a_scheduled_start_waits_for_its_instant() {
    let workflow = match read("", "a: { type: work }") {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let at = start_of_time().after(seconds(60));
    let mut case = Case::accept(workflow, json!({}), |accepted| accepted.scheduled_at = Some(at));
    let decision = case.take(Input::Start);
    assert!(decision.take.is_empty(), "a slot was taken before its time");
    case.ends(Status::Pending);
    assert_eq!(case.timer(&TimerKey::Scheduled), Some(seconds(60)));
    // Neither the message again nor a sweep starts it.
    assert!(case.take(Input::Start).events.is_empty());
    assert!(case.sweep().events.is_empty());
    case.tick(seconds(59));
    case.ends(Status::Pending);
    case.tick(SECOND);
    case.ends(Status::Running);
    case.shows("a running");
    assert!(case.take(Input::Timer(&TimerKey::Scheduled)).events.is_empty());
}

#[test]
fn a_scheduled_start_in_the_past_starts_at_once() {
    let workflow = match read("", "a: { type: work }") {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let mut case =
        Case::accept(workflow, json!({}), |accepted| accepted.scheduled_at = Some(start_of_time()));
    case.take(Input::Start);
    case.shows("a running");
}

#[test]
fn the_time_limit_counts_from_the_start_and_ends_with_the_execution() {
    let mut case = Case::accept_with("timeout: 10s", "a: { type: work }", json!({}));
    case.tick(seconds(100));
    case.take(Input::Start);
    case.tick(seconds(9));
    case.complete("a", Value::Null);
    case.ends(Status::Completed);
    assert!(case.take(Input::Timer(&TimerKey::Timeout)).events.is_empty());
}
