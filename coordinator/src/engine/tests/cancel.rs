//! Cancel in every state, and what still may happen after it.

use super::*;

/// Cancels a case and lets the grace pass; answers how `a` then stands.
#[track_caller]
fn cancelled(mut case: Case) -> &'static str {
    let sent = case.sent.len();
    case.cancel();
    // Everything that might still start something.
    case.take(Input::Start);
    case.take(Input::Wake);
    case.sweep();
    case.now = case.now.after(seconds(5));
    case.queue_lost_before = Some(case.now);
    case.sweep();
    assert!(case.cancel().events.is_empty(), "cancelled twice");
    case.tick(seconds(7_200));
    case.ends(Status::Cancelled);
    assert_eq!(case.sent.len(), sent, "something was sent after the cancel");
    case.phase("a")
}

const READER: &str = "b: { type: work, needs: [a], join: all_done }";

#[test]
fn cancel_while_pending() {
    assert_eq!(
        cancelled(Case::accept_with("", &format!("a: {{ type: work }}\n{READER}"), json!({}))),
        "skipped"
    );
}

#[test]
fn cancel_while_scheduled() {
    let Ok(workflow) = read("", "a: { type: work }") else { panic!("it can be saved") };
    let at = start_of_time().after(seconds(60));
    let mut case = Case::accept(workflow, json!({}), |accepted| accepted.scheduled_at = Some(at));
    case.take(Input::Start);
    assert_eq!(cancelled(case), "skipped");
}

#[test]
fn cancel_while_waiting() {
    assert_eq!(cancelled(Case::start("z: { type: work }\na: { type: work, needs: [z] }")), "skipped");
}

#[test]
fn cancel_while_ready() {
    let mut case = Case::accept_with("", &format!("a: {{ type: work }}\n{READER}"), json!({}));
    case.room = 0;
    case.take(Input::Start);
    case.room = 9;
    assert_eq!(cancelled(case), "cancelled");
}

#[test]
fn cancel_while_dispatched() {
    assert_eq!(cancelled(Case::start(&format!("a: {{ type: work }}\n{READER}"))), "cancelled");
}

#[test]
fn cancel_while_granted_or_leased() {
    for kind in [AskKind::Grant, AskKind::Lease] {
        let mut case = Case::start(&format!("a: {{ type: work, delivery: at_most_once }}\n{READER}"));
        case.ask("a", kind, 1);
        assert_eq!(cancelled(case), "cancelled");
    }
}

#[test]
fn cancel_while_retrying() {
    let mut case = Case::start("a: { type: work, retry: { max_attempts: 3, backoff: fixed, initial: 1m } }");
    case.fail("a", "connection");
    assert_eq!(cancelled(case), "cancelled");
}

#[test]
fn cancel_while_delayed() {
    assert_eq!(
        cancelled(Case::start(&format!("a: {{ type: delay, config: {{ for: 1h }} }}\n{READER}"))),
        "cancelled"
    );
}

#[test]
fn cancel_after_each_end_changes_nothing() {
    let mut failed = Case::start("a: { type: work }");
    failed.fail("a", "user");
    let mut completed = Case::start("a: { type: work }");
    completed.complete("a", Value::Null);
    let mut cancelled = Case::start("a: { type: work }");
    cancelled.cancel();
    cancelled.tick(seconds(10));
    for mut case in [failed, completed, cancelled] {
        let before = case.state.clone();
        assert!(case.cancel().events.is_empty());
        assert_eq!(case.state, before);
    }
}

#[test]
fn after_a_cancel_every_answer_of_a_worker_settles_the_task() {
    for (ending, expected) in [
        (completed(json!(1), &[]), "a completed, b skipped"),
        (failed("connection"), "a cancelled, b skipped"),
        (failed("user"), "a cancelled, b skipped"),
        (Ending::Lost { reason: String::new() }, "a cancelled, b skipped"),
        (Ending::Returned, "a cancelled, b skipped"),
        (Ending::NotGranted, "a cancelled, b skipped"),
    ] {
        let mut case = Case::start(&format!("a: {{ type: work }}\n{READER}"));
        case.cancel();
        case.end("a", ending);
        case.shows(expected);
        case.ends(Status::Cancelled);
        assert_eq!(case.sent.len(), 1);
    }
}

#[test]
fn after_a_cancel_nothing_is_granted_or_leased() {
    for kind in [AskKind::Grant, AskKind::Lease] {
        let mut case = Case::start("a: { type: work, delivery: at_most_once }");
        case.cancel();
        assert!(!case.ask("a", kind, 1));
    }
}

#[test]
fn after_a_cancel_the_message_of_an_order_does_not_send_it_again() {
    let mut case = Case::start("a: { type: work }");
    let cause = case.turns[1].cause;
    assert!(matches!(
        commands_again(&case.state, cause, &case.payloads).as_deref(),
        Ok([Command::Dispatch(_)])
    ));
    case.cancel();
    assert_eq!(commands_again(&case.state, cause, &case.payloads), Ok(Vec::new()));
}

#[test]
fn an_execution_that_is_being_cancelled_keeps_its_cancel_when_its_time_is_up() {
    let mut case = Case::start_with("timeout: 5s", "a: { type: work, total_timeout: 3s }", json!({}));
    case.cancel();
    case.tick(seconds(10));
    case.ends(Status::Cancelled);
    assert_eq!(case.end_class().as_deref(), Some("cancelled"));
}
