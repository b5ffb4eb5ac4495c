//! Ports, joins and scopes: a test for each row of the reference that is built.

use shared::execution::SkipReason;

use super::*;

/// A component with two own ports, and a reader of each of its ports.
const PORTS: &str = "a: { type: fork, config: { ports: [x, y] }, retry: { max_attempts: 1 } }
    success: { type: work, needs: [a] }
    x: { type: work, needs: [a.x] }
    y: { type: work, needs: [a.y] }
    error: { type: work, needs: [a.error] }";

/// As [`PORTS`], and somebody reads `timeout`.
fn ports_with_timeout() -> String {
    format!("{PORTS}\n    timeout: {{ type: work, needs: [a.timeout] }}")
}

#[test]
fn p1_before_it_settles_every_port_is_pending() {
    let case = Case::start(&ports_with_timeout());
    case.shows("a running, success waiting, x waiting, y waiting, error waiting, timeout waiting");
}

#[test]
fn p2_completed_without_own_ports_fires_success() {
    let mut case = Case::start(
        "a: { type: work }
         success: { type: work, needs: [a] }
         error: { type: work, needs: [a.error] }
         timeout: { type: work, needs: [a.timeout] }",
    );
    case.complete("a", json!(1));
    case.shows("a completed, success running, error skipped, timeout skipped");
}

#[test]
fn p3_completed_fires_success_and_the_chosen_ports() {
    let mut case = Case::start(&ports_with_timeout());
    case.choose("a", &["y"]);
    case.shows("a completed, success running, x skipped, y running, error skipped, timeout skipped");

    let mut case = Case::start(PORTS);
    case.choose("a", &["x", "y", "no_such_port"]);
    case.shows("success running, x running, y running, error skipped");
}

#[test]
fn p4_failed_fires_error() {
    let mut case = Case::start(&ports_with_timeout());
    case.fail("a", "connection");
    case.shows("a failed, success skipped, x skipped, y skipped, error running, timeout skipped");
}

#[test]
fn p5_timed_out_fires_timeout_when_somebody_reads_it() {
    let mut case = Case::start(&ports_with_timeout());
    case.fail("a", "timeout");
    case.shows("a failed, success skipped, x skipped, y skipped, error skipped, timeout running");
}

#[test]
fn p6_timed_out_fires_error_when_nobody_reads_timeout() {
    let mut case = Case::start(PORTS);
    case.fail("a", "timeout");
    case.shows("a failed, success skipped, x skipped, y skipped, error running");
}

#[test]
fn p7_skipped_kills_every_port() {
    let case = Case::start(&ports_with_timeout().replacen("type: fork,", "type: fork, when: false,", 1));
    case.shows("a skipped, success skipped, x skipped, y skipped, error skipped, timeout skipped");
}

#[test]
fn p8_cancelled_leaves_its_ports_pending_for_ever() {
    let mut case = Case::start(&ports_with_timeout());
    case.cancel();
    case.tick(seconds(10));
    case.shows("a cancelled, success skipped, x skipped, y skipped, error skipped, timeout skipped");
    for reader in ["success", "x", "y", "error", "timeout"] {
        assert_eq!((case.component(reader).fired, case.component(reader).dead), (0, 0), "{reader}");
    }
    case.ends(Status::Cancelled);
}

/// What the three joins say about these connections (`f`ired, `d`ead, `p`ending), settled in this order.
fn joins(edges: &str) -> String {
    let sources: Vec<String> = (0..edges.len()).map(|at| format!("e{at}")).collect();
    let needs = sources.join(", ");
    let mut text: String = sources.iter().map(|id| format!("{id}: {{ type: work }}\n")).collect();
    for (id, join) in [("on_all", "all"), ("on_any", "any"), ("on_all_done", "all_done")] {
        text.push_str(&format!("{id}: {{ type: work, needs: [{needs}], join: {join} }}\n"));
    }
    let mut case = Case::start(&text);
    for (id, edge) in sources.iter().zip(edges.chars()) {
        match edge {
            'f' => {
                case.complete(id, Value::Null);
            }
            'd' => {
                case.fail(id, "user");
            }
            _ => {}
        }
    }
    ["on_all", "on_any", "on_all_done"]
        .map(|id| match case.phase(id) {
            "running" => "ready",
            "waiting" => "waits",
            other => other,
        })
        .join(" ")
}

#[test]
fn j1_fired_and_fired() {
    assert_eq!(joins("ff"), "ready ready ready");
}

#[test]
fn j2_fired_and_dead() {
    assert_eq!(joins("fd"), "skipped ready ready");
    assert_eq!(joins("df"), "skipped ready ready");
}

#[test]
fn j3_fired_and_pending() {
    assert_eq!(joins("fp"), "waits ready waits");
    assert_eq!(joins("pf"), "waits ready waits");
}

#[test]
fn j4_dead_and_dead() {
    assert_eq!(joins("dd"), "skipped skipped ready");
}

#[test]
fn j5_dead_and_pending() {
    assert_eq!(joins("dp"), "skipped waits waits");
    assert_eq!(joins("pd"), "skipped waits waits");
}

#[test]
fn j6_pending_and_pending() {
    assert_eq!(joins("pp"), "waits waits waits");
}

#[test]
fn j7_one_connection_fired() {
    assert_eq!(joins("f"), "ready ready ready");
}

#[test]
fn j8_one_connection_dead() {
    assert_eq!(joins("d"), "skipped skipped ready");
}

#[test]
fn j9_one_connection_pending() {
    assert_eq!(joins("p"), "waits waits waits");
}

#[test]
fn j10_without_needs_it_is_ready_at_the_start() {
    Case::start("a: { type: work }").shows("a running");
    Case::start("a: { type: work, join: all }").shows("a running");
    for join in ["any", "all_done"] {
        assert_eq!(refused(&format!("a: {{ type: work, join: {join} }}")).0, "join_without_needs");
    }
}

/// The table again, for every mixture of up to four connections.
#[test]
fn joins_of_any_width_follow_the_table() {
    for code in 0..3_u32.pow(4) {
        let edges: String = (0..4).map(|at| ['f', 'd', 'p'][(code / 3_u32.pow(at) % 3) as usize]).collect();
        let count = |edge| edges.matches(edge).count();
        let (fired, dead, pending) = (count('f'), count('d'), count('p'));
        let all = match (dead, pending) {
            (1.., _) => "skipped",
            (_, 0) => "ready",
            _ => "waits",
        };
        let any = match (fired, pending) {
            (1.., _) => "ready",
            (_, 0) => "skipped",
            _ => "waits",
        };
        let all_done = if pending == 0 { "ready" } else { "waits" };
        assert_eq!(joins(&edges), format!("{all} {any} {all_done}"), "{edges}");
    }
}

#[test]
fn j11_any_starts_once_and_cancels_nobody() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work }
         first: { type: work, needs: [a, b], join: any }",
    );
    case.complete("a", Value::Null);
    case.shows("first running, b running");
    case.complete("first", json!("done"));
    case.complete("b", Value::Null);
    case.shows("a completed, b completed, first completed");
    assert_eq!(case.sent_of("first"), [(1, 1)]);
    case.ends(Status::Completed);
}

#[test]
fn j12_ready_and_when_is_false() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work, needs: [a], when: components.a.output > 3 }
         c: { type: work, needs: [b] }",
    );
    case.complete("a", json!(3));
    case.shows("b skipped, c skipped");
    assert!(case.events().any(
        |event| *event == Event::Skipped { task: TaskKey::of("b".into()), reason: SkipReason::WhenFalse }
    ));
    case.ends(Status::Completed);
}

#[test]
fn j13_ready_and_when_cannot_be_decided() {
    for (when, output) in
        [("components.a.output.n", json!({ "n": 3 })), ("components.a.output.n > 1", json!({}))]
    {
        let mut case = Case::start(&format!(
            "a: {{ type: work }}
             b: {{ type: work, needs: [a], when: {when}, retry: {{ max_attempts: 5, on: [invalid_expression] }} }}
             c: {{ type: work, needs: [b.error] }}"
        ));
        case.complete("a", output);
        case.shows("b failed, c running");
        assert_eq!(case.class("b"), "invalid_expression");
        assert_eq!(case.component("b").attempt, 0, "it was tried");
        assert!(case.timers.is_empty(), "it is retried");
    }
}

#[test]
fn j14_when_is_not_asked_when_the_join_says_skipped() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work, needs: [a], when: components.a.output.n > 1 }",
    );
    case.fail("a", "user");
    case.shows("a failed, b skipped");
    assert!(case.events().any(|event| *event
        == Event::Skipped { task: TaskKey::of("b".into()), reason: SkipReason::DeadConnection }));
}

#[test]
fn j15_all_done_runs_when_every_connection_is_dead() {
    let case = Case::start(
        "which: { type: decision, config: { condition: 1 > 2 } }
         a: { type: noop, needs: [which.true] }
         b: { type: work, needs: [a], join: all_done }
         c: { type: work, needs: [a], join: all_done, when: components.a.status == 'completed' }",
    );
    case.shows("a skipped, b running, c skipped");
}

#[test]
fn j16_both_sides_of_a_decision_are_refused_when_saving() {
    let (code, suggestion) = refused(
        "which: { type: decision, config: { condition: 1 > 2 } }
         a: { type: noop, needs: [which.true] }
         b: { type: noop, needs: [which.false] }
         c: { type: noop, needs: [a, b] }",
    );
    assert_eq!((code, suggestion.as_str()), ("never_ready", "did you mean `join: any`?"));
    // However far behind the ports the branches meet, and for the ports of a failure too.
    for (first, second) in [("success", "error"), ("error", "timeout"), ("success", "timeout")] {
        let (code, suggestion) = refused(&format!(
            "x: {{ type: work }}
             a: {{ type: noop, needs: [x.{first}] }}
             b: {{ type: noop, needs: [a] }}
             c: {{ type: noop, needs: [x.{second}] }}
             d: {{ type: noop, needs: [b, c] }}"
        ));
        assert_eq!((code, suggestion.as_str()), ("never_ready", "did you mean `join: any`?"));
    }
}

#[test]
fn j17_two_exclusive_ports_are_refused_when_saving() {
    let (code, suggestion) = refused(
        "which: { type: decision, config: { condition: 1 > 2 } }
         c: { type: noop, needs: [which.true, which.false] }",
    );
    assert_eq!((code, suggestion.as_str()), ("exclusive_ports", "did you mean `join: any`?"));
}

#[test]
fn j18_the_same_connection_twice_is_refused_when_saving() {
    let (code, _) = refused("a: { type: noop }\nb: { type: noop, needs: [a, a.success] }");
    assert_eq!(code, "duplicate_connection");
}

#[test]
fn j19_a_scope_of_skipped_components_completes() {
    let case = Case::start("a: { type: work, when: false }\nb: { type: work, needs: [a] }");
    case.shows("a skipped, b skipped");
    case.ends(Status::Completed);
    assert!(case.sent.is_empty());
}

#[test]
fn s1_a_failure_with_a_reader_that_runs_is_handled() {
    let mut case = Case::start("a: { type: work }\nh: { type: work, needs: [a.error] }");
    case.fail("a", "user");
    case.shows("a failed, h running");
    case.complete("h", Value::Null);
    case.ends(Status::Completed);
    assert_eq!(case.state.failure, None);
}

#[test]
fn s2_a_failure_without_a_reader_is_unhandled() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.fail("a", "user");
    case.shows("a failed, b skipped");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user"));
}

#[test]
fn s2_a_failure_whose_readers_were_all_skipped_is_unhandled() {
    let mut case = Case::start("a: { type: work }\nh: { type: work, needs: [a.error], when: false }");
    case.fail("a", "user");
    case.shows("a failed, h skipped");
    case.ends(Status::Failed);
    // A reader of the port that did not fire handles nothing.
    let mut case = Case::start(
        "a: { type: work, retry: { max_attempts: 1 } }
         e: { type: work, needs: [a.error] }
         t: { type: work, needs: [a.timeout], when: false }",
    );
    case.fail("a", "timeout");
    case.shows("e skipped, t skipped");
    case.ends(Status::Failed);
}

#[test]
fn s3_all_done_on_success_alone_runs_and_handles_nothing() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a], join: all_done }");
    case.fail("a", "user");
    case.shows("b running");
    case.complete("b", Value::Null);
    case.ends(Status::Failed);
    assert!(case.state.failure.as_ref().is_some_and(|failure| failure.message.starts_with("a: ")));
}

#[test]
fn s4_a_handler_that_fails_is_judged_by_itself() {
    let text = "a: { type: work }
         h: { type: work, needs: [a.error] }
         hh: { type: work, needs: [h.error] }";
    let mut case = Case::start(text);
    case.fail("a", "user");
    case.fail("h", "user.no_stock");
    case.complete("hh", Value::Null);
    case.ends(Status::Completed);

    let mut case = Case::start(text.rsplit_once('\n').map_or(text, |(most, _)| most));
    case.fail("a", "user");
    case.fail("h", "user.no_stock");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user.no_stock"));
    let details = case.state.failure.as_ref().and_then(|failure| failure.details.clone());
    assert_eq!(details, Some(json!({ "component": "h", "unhandled": ["h"] })));
}

fn user() -> FailureClass {
    FailureClass::User(None)
}

#[test]
fn s5_a_failure_that_may_be_handled_is_not_reported() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work }
         h: { type: work, needs: [a.error, b] }",
    );
    case.fail("a", "user");
    assert!(!case.state.is_failing());
    // The handler is skipped: now nothing is left.
    case.fail("b", "user");
    assert_eq!(case.state.failing, None);
    case.ends(Status::Failed);

    let mut case = Case::start(
        "a: { type: work }
         b: { type: work }
         c: { type: work }
         h: { type: work, needs: [a.error, b] }",
    );
    case.fail("a", "user");
    case.fail("b", "user");
    let failing = case.state.failing.clone().expect("it is failing");
    assert_eq!(failing.task, Some(case.key("a")));
    case.complete("c", Value::Null);
    case.ends(Status::Failed);
    assert!(!case.state.is_failing());
}

#[test]
fn s5_a_container_answers_for_what_fails_inside() {
    let mut case = Case::start(
        "g: { type: group, components: { i: { type: work }, j: { type: work } } }
         w: { type: work }",
    );
    case.fail("i", "user");
    assert!(!case.state.is_failing());
    case.complete("j", Value::Null);
    let failing = case.state.failing.clone().expect("it is failing");
    assert_eq!(failing.task, Some(case.key("g")));
    // Cleaning up is part of it.
    let (head, text) = ("finally: { f: { type: work } }", "a: { type: work }");
    let mut case = Case::start_with(head, text, json!({}));
    case.fail("a", "user");
    case.ends(Status::Running);
    assert!(case.state.is_failing());
    case.complete("f", Value::Null);
    case.ends(Status::Failed);
}

#[test]
fn s5_finish_lets_the_other_branches_go_on() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work }
         c: { type: work, needs: [b] }
         after: { type: work, needs: [a, c], join: all_done }",
    );
    assert!(!case.state.is_failing());
    let since = case.now;
    let decision = case.fail("a", "user");
    case.ends(Status::Running);
    // It is said at once that it will fail, and once.
    let change = decision.change.expect("its row says so");
    assert_eq!((change.status, change.failure.map(|failure| failure.class)), (Status::Running, Some(user())));
    let failing = case.state.failing.clone().expect("it is failing");
    assert_eq!((failing.since, failing.task, failing.failure.class), (since, Some(case.key("a")), user()));
    let decision = case.complete("b", Value::Null);
    assert!(
        decision.change.is_none()
            && !decision.events.iter().any(|event| matches!(event, Event::Failing { .. }))
    );
    case.shows("c running, after waiting");
    case.complete("c", Value::Null);
    case.shows("after running");
    case.complete("after", Value::Null);
    case.ends(Status::Failed);
}

#[test]
fn s6_stop_cancels_what_runs_and_skips_the_rest() {
    let mut case = Case::start_with(
        "on_unhandled_failure: stop",
        "a: { type: work }
         b: { type: work }
         c: { type: work, needs: [b] }
         line: { type: log, needs: [a], join: all_done, config: { message: never } }
         task: { type: work, needs: [a], join: all_done }",
        json!({}),
    );
    case.fail("a", "user");
    case.shows("a failed, b cancelled, c skipped, line skipped, task skipped");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user"));
    assert!(case.sent_of("task").is_empty(), "a task went out although the scope had ended");
    assert_eq!(case.told, [case.told_to_stop(&["b"])]);
    // What still arrives changes nothing.
    let late = TaskResult { attempt: 1, ..case.report("b", completed(Value::Null, &[])) };
    assert!(case.take(Input::Result(&late)).events.is_empty());
    assert_eq!(case.late.len(), 1);
}

#[test]
fn s6_stop_asks_the_handlers_before_it_lets_an_all_done_run() {
    let mut case = Case::start_with(
        "on_unhandled_failure: stop",
        "a: { type: work }
         line: { type: log, needs: [a], join: all_done, config: { message: never } }
         h: { type: work, needs: [a.error], when: false }",
        json!({}),
    );
    case.fail("a", "user");
    case.shows("a failed, line skipped, h skipped");
    case.ends(Status::Failed);
}

#[test]
fn s6_stop_waits_for_a_handler() {
    let mut case = Case::start_with(
        "on_unhandled_failure: stop",
        "a: { type: work }
         h: { type: work, needs: [a.error] }
         b: { type: work }",
        json!({}),
    );
    case.fail("a", "user");
    case.shows("h running, b running");
    case.complete("h", Value::Null);
    case.complete("b", Value::Null);
    case.ends(Status::Completed);
}

#[test]
fn s7_without_an_unhandled_failure_the_scope_completes() {
    let mut case = Case::start(
        "a: { type: work }
         never: { type: work, needs: [a] }
         h: { type: work, needs: [a.error] }
         b: { type: work, when: false }",
    );
    case.fail("a", "user");
    case.complete("h", Value::Null);
    case.shows("a failed, never skipped, h completed, b skipped");
    case.ends(Status::Completed);
}

#[test]
fn s8_the_first_of_several_failures_is_the_error_and_all_are_listed() {
    let mut case = Case::start("a: { type: work }\nb: { type: work }\nc: { type: work }");
    case.fail("c", "user.third");
    case.complete("a", Value::Null);
    case.fail("b", "user.second");
    case.ends(Status::Failed);
    let Some(failure) = case.state.failure.clone() else { panic!("it failed") };
    assert_eq!(failure.class.to_string(), "user.third");
    assert_eq!(failure.message, "c: it did not work");
    assert_eq!(failure.details, Some(json!({ "component": "c", "unhandled": ["c", "b"] })));
}

#[test]
fn s12_cancel_starts_nothing_new_and_waits_for_what_runs() {
    let mut case = Case::start(
        "a: { type: work }
         b: { type: work, needs: [a] }
         pause: { type: delay, config: { for: 1h } }
         r: { type: work, retry: { max_attempts: 3, backoff: fixed, initial: 1h, jitter: false } }",
    );
    case.fail("r", "connection");
    case.shows("a running, b waiting, pause delayed, r retrying");
    case.cancel();
    case.shows("a running, b skipped, pause cancelled, r cancelled");
    assert_eq!(case.told, [case.told_to_stop(&["a"])]);
    assert_eq!(case.timer(&TimerKey::CancelGrace), Some(seconds(10)));
    case.ends(Status::Running);
    case.fail("a", "cancelled");
    case.shows("a cancelled");
    case.ends(Status::Cancelled);
    let message = case.state.failure.as_ref().map(|failure| failure.message.clone());
    assert_eq!(message.as_deref(), Some("cancelled by ann: wrong order"));
    assert_eq!(case.end_class().as_deref(), Some("cancelled"));
}

#[test]
fn s12_the_grace_ends_what_does_not_answer() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.cancel();
    case.tick(seconds(9));
    case.ends(Status::Running);
    case.tick(SECOND);
    case.shows("a cancelled, b skipped");
    case.ends(Status::Cancelled);
}

#[test]
fn s14_the_first_commit_wins_between_cancel_and_completion() {
    let mut case = Case::start("a: { type: work }");
    case.complete("a", Value::Null);
    case.ends(Status::Completed);
    assert!(case.cancel().events.is_empty());
    case.ends(Status::Completed);

    let mut case = Case::start("a: { type: work }");
    case.cancel();
    case.complete("a", Value::Null);
    case.shows("a completed");
    case.ends(Status::Cancelled);
}

#[test]
fn s15_the_time_limit_of_the_execution() {
    let mut case = Case::start_with(
        "timeout: 1m",
        "a: { type: work }
         b: { type: work, needs: [a] }
         c: { type: work, needs: [b], join: all_done }
         pause: { type: delay, config: { for: 1h } }",
        json!({}),
    );
    case.tick(seconds(59));
    case.ends(Status::Running);
    case.tick(SECOND);
    case.shows("a cancelled, b skipped, c skipped, pause cancelled");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("timeout"));
    assert_eq!(case.told, [case.told_to_stop(&["a"])]);
}

#[test]
fn s16_an_unknown_outcome_is_never_retried() {
    let text = "a: { type: work, delivery: at_most_once, retry: { max_attempts: 5 } }";
    let mut case = Case::start(text);
    assert!(case.ask("a", AskKind::Grant, 1));
    let lost = TaskResult {
        token: None,
        worker: worker(2),
        ..case.report("a", Ending::Lost { reason: String::new() })
    };
    case.take(Input::Result(&lost));
    case.shows("a asked");
    assert_eq!(case.sent_of("a"), [(1, 1)]);
    case.ends(Status::Running);
    // A person says that it took effect: it completes with what they hand in.
    let mut took_effect = case.clone();
    took_effect.decide("a", "role:owner", AnswerVerdict::Approve, Some(json!({ "sent": true })));
    took_effect.shows("a completed");
    assert_eq!(took_effect.output("a"), json!({ "sent": true }));
    took_effect.ends(Status::Completed);
    // Or that it did not: it runs again, as an attempt that costs none of the policy's.
    case.decide("a", "role:owner", AnswerVerdict::Reject, None);
    case.shows("a running");
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
    assert!(case.ask("a", AskKind::Grant, 3));
    case.complete("a", Value::Null);
    case.ends(Status::Completed);

    let mut case = Case::start(&format!("{text}\nh: {{ type: work, needs: [a.error] }}"));
    case.ask("a", AskKind::Grant, 1);
    case.fail("a", "outcome_unknown");
    case.shows("a failed, h running");
    case.complete("h", Value::Null);
    case.ends(Status::Completed);
}

/// The document of the reference as far as its components exist: a person is a task with three ports, a
/// loop is one task.
const ORDER: &str = "fetch: { type: work }
    score: { type: work, needs: [fetch] }
    risky: { type: decision, needs: [score], config: { condition: components.score.output > 50 } }
    review: { type: pick, needs: [risky.true], config: { ports: [approved, rejected, expired] } }
    cleared: { type: join, needs: [risky.false, review.approved], join: any }
    refuse: { type: work, needs: [review.rejected, review.expired], join: any }
    reserve: { type: work, needs: [fetch] }
    ship: { type: work, needs: [reserve, cleared] }
    desk: { type: work, needs: [ship.error] }
    record: { type: log, needs: [ship, refuse], join: all_done, config: { message: recorded } }";

/// What happens in the order document when some tasks fail.
fn order(score: u32, review: &str, failing: &[&str]) -> (String, Case) {
    let mut case = Case::start(ORDER);
    while case.state.status == Status::Running {
        let Some(id) = ["fetch", "score", "review", "refuse", "reserve", "ship", "desk"]
            .into_iter()
            .find(|id| case.phase(id) == "running")
        else {
            panic!("nothing goes on")
        };
        if failing.contains(&id) {
            case.fail(id, "user");
        } else if id == "review" {
            case.choose(id, &[review]);
        } else {
            case.complete(id, json!(score));
        }
    }
    let shown = ["review", "cleared", "refuse", "ship", "desk", "record"].map(|id| case.phase(id)).join(" ");
    (format!("{shown}: {}", case.state.status.as_str()), case)
}

#[test]
fn the_worked_example_ends_as_its_table_says() {
    for (score, review, failing, expected) in [
        (1, "", &[][..], "skipped completed skipped completed skipped completed: completed"),
        (99, "approved", &[], "completed completed skipped completed skipped completed: completed"),
        (99, "rejected", &[], "completed skipped completed skipped skipped completed: completed"),
        (99, "expired", &[], "completed skipped completed skipped skipped completed: completed"),
        (1, "", &["ship"], "skipped completed skipped failed completed completed: completed"),
        (1, "", &["ship", "desk"], "skipped completed skipped failed failed completed: failed"),
        (1, "", &["reserve"], "skipped completed skipped skipped skipped completed: failed"),
        (1, "", &["fetch"], "skipped skipped skipped skipped skipped completed: failed"),
    ] {
        assert_eq!(order(score, review, failing).0, expected, "score {score}, {review}, failing {failing:?}");
    }
}
