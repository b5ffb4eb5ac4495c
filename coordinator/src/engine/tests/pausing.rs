//! Pause and resume (rows H1 to H9).

use shared::execution::Received;

use super::*;

impl Case {
    fn pause(&mut self) -> Decision {
        self.take(Input::Request(&RequestBody::Pause {
            by: "ann".to_owned(),
            reason: "month end".to_owned(),
        }))
    }

    fn resume(&mut self) -> Decision {
        self.take(Input::Request(&RequestBody::Resume { by: "bob".to_owned() }))
    }

    /// Everything that might start something in a pause; what is sent is a breach.
    #[track_caller]
    fn stands_still(&mut self) {
        let sent = self.sent.len();
        self.take(Input::Start);
        self.take(Input::Wake);
        self.sweep();
        self.now = self.now.after(seconds(120));
        self.sweep();
        self.ends(Status::Paused);
        assert_eq!(self.sent.len(), sent, "something was sent in a pause");
    }
}

#[test]
fn h1_readers_of_what_completes_in_a_pause_start_when_it_ends() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.pause();
    case.complete("a", json!(1));
    case.shows("a completed, b waiting");
    case.stands_still();
    case.resume();
    case.shows("a completed, b running");
    assert_eq!(case.sent_of("b"), [(1, 1)]);
    case.complete("b", json!(2));
    case.ends(Status::Completed);
}

#[test]
fn h2_a_request_that_comes_again_changes_nothing_that_was_said_since() {
    let mut case = Case::start("a: { type: work }");
    case.pause();
    let pause = case.messages;
    case.resume();
    let resume = case.messages;
    let again = |case: &mut Case, message: u128, body: &RequestBody| {
        case.messages = message - 1;
        let decision = case.take(Input::Request(body));
        case.messages = resume.max(message) + 10;
        decision
    };
    let (by, reason) = ("ann".to_owned(), String::new());
    assert!(again(&mut case, pause, &RequestBody::Pause { by: by.clone(), reason }).events.is_empty());
    case.ends(Status::Running);
    case.pause();
    assert!(again(&mut case, resume, &RequestBody::Resume { by }).events.is_empty());
    case.ends(Status::Paused);
}

#[test]
fn h2_twice_is_once_and_resuming_what_runs_changes_nothing() {
    let mut case = Case::start("a: { type: work }");
    assert!(case.resume().events.is_empty());
    assert_eq!(case.pause().change.map(|change| change.status), Some(Status::Paused));
    assert!(case.pause().events.is_empty());
    assert_eq!(case.resume().change.map(|change| change.status), Some(Status::Running));
    assert!(case.resume().events.is_empty());
    case.complete("a", json!(null));
    case.ends(Status::Completed);
    assert!(case.pause().events.is_empty(), "an ended execution is not paused");
}

#[test]
fn h3_a_retry_waits_for_the_end_of_the_pause() {
    const A: &str = "a: { type: work, retry: { max_attempts: 3, backoff: fixed, initial: 10s } }";
    // The failure comes before the pause, and in it.
    for early in [true, false] {
        let mut case = Case::start(A);
        if early {
            case.fail("a", "connection");
        }
        case.pause();
        if !early {
            case.fail("a", "connection");
        }
        case.shows("a retrying");
        assert_eq!(case.timer(&TimerKey::Retry(case.key("a"))), None);
        // One that was on its way.
        let key = TimerKey::Retry(case.key("a"));
        case.now = case.now.after(seconds(30));
        case.take(Input::Timer(&key));
        case.stands_still();
        case.shows("a retrying");
        case.resume();
        case.tick(seconds(1));
        assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
    }
}

#[test]
fn h3_a_retry_that_is_not_due_yet_keeps_its_instant() {
    let mut case = Case::start("a: { type: work, retry: { backoff: fixed, initial: 10m, jitter: false } }");
    case.fail("a", "connection");
    let due = case.timer(&TimerKey::Retry(case.key("a")));
    case.pause();
    case.resume();
    assert_eq!(case.timer(&TimerKey::Retry(case.key("a"))), due);
}

#[test]
fn h4_a_delay_that_comes_due_waits() {
    let mut case = Case::start("a: { type: delay, config: { for: 30s } }\nb: { type: work, needs: [a] }");
    case.pause();
    case.tick(seconds(300));
    case.stands_still();
    case.shows("a delayed, b waiting");
    case.resume();
    case.tick(seconds(1));
    case.shows("a completed, b running");
}

#[test]
fn h5_no_round_and_no_container_opens() {
    let mut case = Case::start(
        "a: { type: work }
l: { type: for_loop, config: { from: 1, to: 3, max_parallel: 1 }, components: { in: { type: work } } }
g: { type: group, needs: [a], components: { inside: { type: work } } }",
    );
    case.pause();
    case.complete("in[0]", json!(1));
    case.complete("a", json!(1));
    case.stands_still();
    case.shows("g waiting, l running");
    assert_eq!(case.sent_of("in[1]"), []);
    case.resume();
    case.shows("g running, in[1] running, inside running");
    case.complete("in[1]", json!(1));
    case.complete("in[2]", json!(1));
    case.complete("inside", json!(1));
    case.ends(Status::Completed);
}

#[test]
fn h5_a_loop_that_rests_between_rounds_rests_on() {
    let mut case = Case::start(
        "l: { type: while_loop, config: { condition: 'iteration < 2', max_iterations: 5, pause: 10s }, \
         components: { in: { type: work } } }",
    );
    case.complete("in[0]", json!(1));
    case.pause();
    case.tick(seconds(60));
    case.stands_still();
    assert_eq!(case.sent_of("in[1]"), []);
    case.resume();
    case.tick(seconds(1));
    assert_eq!(case.sent_of("in[1]"), [(1, 1)]);
}

#[test]
fn h5_the_first_of_a_race_to_complete_in_a_pause_has_won() {
    let mut case = Case::start("r: { type: race, components: { a: { type: work }, b: { type: work } } }");
    case.pause();
    case.complete("b", json!("b"));
    case.complete("a", json!("a"));
    case.stands_still();
    case.resume();
    case.ends(Status::Completed);
    assert_eq!(case.output("r"), json!({ "winner": "b", "output": "b" }));
}

#[test]
fn h5_both_parts_of_a_scope_that_settles_in_a_pause_end_it_once() {
    let mut case = Case::start(
        "t: { type: try_catch, components: { a: { type: work, retry: { max_attempts: 1 } }, \
         b: { type: work, retry: { max_attempts: 1 } } }, catch: { mend: { type: work } } }",
    );
    case.pause();
    case.fail("a", "connection");
    case.fail("b", "connection");
    case.resume();
    assert_eq!(case.sent_of("mend"), [(1, 1)]);
    case.complete("mend", json!(1));
    case.ends(Status::Completed);
}

#[test]
fn h6_people_may_answer_and_events_are_received() {
    let mut case = Case::start(
        "ask: { type: approval, config: { assignees: [ann] } }
then: { type: work, needs: [ask.approved] }
wait: { type: wait_for_event, config: { event: paid, key: k, within: 1h } }
paid: { type: work, needs: [wait] }",
    );
    case.pause();
    case.decide("ask", "ann", AnswerVerdict::Approve, None);
    let event = Received {
        id: "1".to_owned(),
        kind: "paid".to_owned(),
        source: "shop".to_owned(),
        time: case.now,
        key: Some("k".to_owned()),
        body: json!({}),
    };
    let task = case.key("wait");
    case.take(Input::Event { task: &task, event: &event });
    case.shows("ask completed, then waiting, wait completed, paid waiting");
    case.stands_still();
    case.resume();
    case.shows("then running, paid running");
}

#[test]
fn h7_cancel_and_kill_work_in_a_pause() {
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.pause();
    case.cancel();
    assert!(!case.state.is_paused());
    case.complete("a", json!(1));
    case.ends(Status::Cancelled);
    case.shows("a completed, b skipped");

    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.pause();
    case.complete("a", json!(1));
    case.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    case.ends(Status::Cancelled);
}

#[test]
fn h7_what_is_being_cancelled_is_not_paused() {
    let mut case = Case::start("a: { type: work }");
    case.cancel();
    assert!(case.pause().events.is_empty());
}

#[test]
fn h7_a_cancel_in_a_pause_cleans_up() {
    let Ok(workflow) = read("finally: { tidy: { type: work } }", "a: { type: work }") else {
        panic!("it can be saved")
    };
    let mut case = Case::accept(workflow, json!({}), |_| {});
    case.take(Input::Start);
    case.pause();
    case.complete("a", json!(1));
    case.cancel();
    assert_eq!(case.sent_of("tidy"), [(1, 1)]);
    case.complete("tidy", json!(1));
    case.ends(Status::Cancelled);
}

#[test]
fn h8_time_limits_go_on() {
    let mut case = Case::accept_with("timeout: 60s", "a: { type: work }", json!({}));
    case.take(Input::Start);
    case.pause();
    case.tick(seconds(61));
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("timeout"));

    let mut case = Case::start("a: { type: work, total_timeout: 60s }\nb: { type: work, needs: [a.error] }");
    case.pause();
    case.tick(seconds(61));
    case.ends(Status::Paused);
    case.shows("a failed, b waiting");
    case.resume();
    case.shows("b running");
}

#[test]
fn h9_what_has_not_begun_does_not_begin() {
    let mut case = Case::accept_with("", "a: { type: work }", json!({}));
    case.pause();
    case.stands_still();
    assert!(case.turns.iter().flat_map(|turn| &turn.events).all(|event| *event != Event::Started));
    let resumed = case.resume();
    assert_eq!(resumed.change.map(|change| change.status), Some(Status::Pending));
    assert!(resumed.take.is_empty(), "a full slot would take the end of the pause back");
    assert!(resumed.commands.contains(&Command::GoOn));
    case.take(Input::Wake);
    case.shows("a running");
}

#[test]
fn h9_what_is_scheduled_starts_at_its_time_or_at_the_end_of_the_pause() {
    for (paused, at_once) in [(30, false), (120, true)] {
        let Ok(workflow) = read("", "a: { type: work }") else { panic!("it can be saved") };
        let at = start_of_time().after(seconds(60));
        let mut case = Case::accept(workflow, json!({}), |accepted| accepted.scheduled_at = Some(at));
        case.take(Input::Start);
        case.pause();
        assert_eq!(case.timer(&TimerKey::Scheduled), None);
        case.tick(seconds(paused));
        case.ends(Status::Paused);
        case.resume();
        case.take(Input::Wake);
        assert_eq!(case.state.started_at.is_some(), at_once);
        case.tick(seconds(60));
        case.shows("a running");
    }
}

#[test]
fn a_task_whose_worker_is_lost_in_a_pause_runs_again_after_it() {
    let mut case = Case::start("a: { type: work }");
    case.pause();
    case.lose("a");
    case.shows("a ready");
    case.stands_still();
    case.resume();
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
}

#[test]
fn a_task_that_the_queue_lost_in_a_pause_is_sent_again_after_it() {
    let mut case = Case::start("a: { type: work }");
    case.pause();
    case.now = case.now.after(seconds(5));
    case.queue_lost_before = Some(case.now);
    case.sweep();
    assert_eq!(case.sent_of("a"), [(1, 1)]);
    assert_eq!(case.resume().sweep_at, Some(case.now));
    case.sweep();
    assert_eq!(case.sent_of("a"), [(1, 1), (1, 2)]);
}

#[test]
fn a_pause_holds_the_cleaning_up_too() {
    let Ok(workflow) = read("finally: { tidy: { type: work } }", "a: { type: work }") else {
        panic!("it can be saved")
    };
    let mut case = Case::accept(workflow, json!({}), |_| {});
    case.take(Input::Start);
    case.pause();
    case.complete("a", json!(1));
    case.stands_still();
    case.resume();
    case.pause();
    case.complete("tidy", json!(1));
    case.stands_still();
    case.resume();
    case.ends(Status::Completed);
}
