//! Approvals, human tasks, events and signals.

use shared::{execution::Received, port::store::HumanTaskStatus};

use super::*;

const ASK: &str = "r: { type: approval, config: { assignees: [ann, bob], expires: 48h } }
    yes: { type: work, needs: [r.approved] }
    no: { type: work, needs: [r.rejected] }
    late: { type: work, needs: [r.expired] }";

fn ask(config: &str) -> Case {
    Case::start(&ASK.replace("expires: 48h", config))
}

#[test]
fn an_approval_waits_for_the_first_answer() {
    let mut case = Case::start(ASK);
    case.shows("r asked");
    let decision = case.decide("r", "ann", AnswerVerdict::Approve, Some(json!({ "limit": 5 })));
    case.shows("r completed, yes running, no skipped, late skipped");
    assert_eq!(decision.people.last().map(|change| change.status), Some(HumanTaskStatus::Approved));
    assert_eq!(case.output("r")["data"], json!({ "limit": 5 }));
    assert_eq!(case.output("r")["decision"], "approved");
    let second = case.decide("r", "bob", AnswerVerdict::Reject, None);
    assert!(second.events.is_empty(), "the first answer counts");
}

#[test]
fn a_rejection_rejects() {
    let mut case = ask("quorum: all");
    case.decide("r", "ann", AnswerVerdict::Approve, None);
    case.shows("r asked");
    case.decide("r", "bob", AnswerVerdict::Reject, None);
    case.shows("r completed, yes skipped, no running");
}

#[test]
fn a_quorum_counts_each_assignee_once() {
    let mut case = ask("quorum: 2");
    case.decide("r", "ann", AnswerVerdict::Approve, None);
    assert!(case.decide("r", "ann", AnswerVerdict::Approve, None).events.is_empty());
    case.shows("r asked");
    case.decide("r", "bob", AnswerVerdict::Approve, None);
    case.shows("r completed, yes running");
}

#[test]
fn nobody_else_may_answer() {
    let mut case = Case::start(ASK);
    assert!(case.decide("r", "eve", AnswerVerdict::Approve, None).events.is_empty());
    assert!(case.decide("r", "ann", AnswerVerdict::Submit, None).events.is_empty());
    case.shows("r asked");
}

#[test]
fn an_approval_expires_as_its_author_wants() {
    for (config, expected) in [
        ("expires: 48h", "yes skipped, no skipped, late running"),
        ("expires: 48h, on_expiry: approve", "yes running, no skipped, late skipped"),
        ("expires: 48h, on_expiry: reject", "yes skipped, no running, late skipped"),
    ] {
        let mut case = ask(config);
        case.tick(seconds(48 * 3_600 - 1));
        case.shows("r asked");
        case.tick(seconds(1));
        case.shows(expected);
        assert!(case.decide("r", "ann", AnswerVerdict::Approve, None).events.is_empty());
    }
}

#[test]
fn more_people_are_asked_when_nobody_answers() {
    let mut case = ask("escalate: [{ after: 2h, to: [boss] }], remind_every: 1h");
    assert!(case.decide("r", "boss", AnswerVerdict::Approve, None).events.is_empty());
    case.tick(seconds(3_600));
    let reminded = case.events().filter(|event| matches!(event, Event::Reminded { .. })).count();
    assert_eq!(reminded, 1);
    case.tick(seconds(3_600));
    case.decide("r", "boss", AnswerVerdict::Approve, None);
    case.shows("yes running");
}

#[test]
fn an_assignee_hands_it_on() {
    let mut case = Case::start(ASK);
    let task = case.key("r");
    let delegate = |from: &str| RequestBody::Delegate {
        task: task.clone(),
        by: from.to_owned(),
        from: from.to_owned(),
        to: "cid".to_owned(),
    };
    assert!(case.take(Input::Request(&delegate("eve"))).events.is_empty());
    case.take(Input::Request(&delegate("ann")));
    assert!(case.decide("r", "ann", AnswerVerdict::Approve, None).events.is_empty());
    case.decide("r", "cid", AnswerVerdict::Approve, None);
    case.shows("yes running");
    let mut closed = ask("allow_delegate: false");
    assert!(closed.take(Input::Request(&delegate("ann"))).events.is_empty());
}

#[test]
fn a_human_task_is_claimed_and_handed_in() {
    let mut case = Case::start(
        "h: { type: human_task, config: { assignees: [desk], form: { type: object } } }
         after: { type: work, needs: [h.submitted], config: { n: '${{ components.h.output.data.n }}' } }",
    );
    let task = case.key("h");
    let claim = |by: &str, assignee: &str| RequestBody::Claim {
        task: task.clone(),
        by: by.to_owned(),
        for_assignee: Some(assignee.to_owned()),
    };
    assert!(case.take(Input::Request(&claim("ann", "ann"))).events.is_empty(), "it is with the desk");
    case.take(Input::Request(&claim("ann", "desk")));
    assert!(case.take(Input::Request(&claim("bob", "desk"))).events.is_empty(), "it is taken");
    let answer = Answer {
        by: "bob".to_owned(),
        for_assignee: "desk".to_owned(),
        verdict: AnswerVerdict::Submit,
        data: Some(json!({ "n": 3 })),
        comment: String::new(),
        at: case.now,
    };
    let late = case.take(Input::Request(&RequestBody::Answer { task: case.key("h"), answer }));
    let [Event::Noted { line }] = &late.events[..] else { panic!("{:?}", late.events) };
    assert_eq!(line.message, "the answer of bob to `h` was refused: ann has claimed it");
    case.shows("h asked, after waiting");
    case.decide("h", "desk", AnswerVerdict::Submit, Some(json!({ "n": 4 })));
    case.shows("h completed, after running");
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "n": 4 })));
}

#[test]
fn what_is_asked_ends_with_its_scope() {
    let mut case = Case::start(
        "r: { type: race, components: { q: { type: approval, config: { assignees: [ann] } }, d: { type: delay, config: { for: 1h } } } }",
    );
    case.tick(seconds(3_600));
    case.ends(Status::Completed);
    assert!(case.decide("q", "ann", AnswerVerdict::Approve, None).events.is_empty());
}

#[test]
fn a_contradiction_in_an_approval_fails_it() {
    let case = ask("quorum: 3");
    assert_eq!(case.class("r"), "invalid_config");
}

// ---- events and signals --------------------------------------------------------------------------

const WAIT: &str = "w: { type: wait_for_event, config: { event: paid, key: '7', within: 1h, filter: 'event.body.amount > 10' } }
    after: { type: work, needs: [w.received], config: { n: '${{ components.w.output.body.amount }}' } }
    late: { type: work, needs: [w.timeout] }";

fn event(id: &str, key: Option<&str>, amount: u32) -> Received {
    Received {
        id: id.to_owned(),
        kind: "paid".to_owned(),
        source: "test".to_owned(),
        time: start_of_time(),
        key: key.map(str::to_owned),
        body: json!({ "amount": amount }),
    }
}

fn send(case: &mut Case, event: &Received) -> Decision {
    let task = case.key("w");
    case.take(Input::Event { task: &task, event })
}

#[test]
fn a_wait_takes_the_first_event_that_fits() {
    let mut case = Case::start(WAIT);
    case.shows("w awaiting");
    assert!(send(&mut case, &event("1", Some("8"), 50)).events.is_empty(), "another key");
    assert!(send(&mut case, &event("2", Some("7"), 5)).events.is_empty(), "the filter is false");
    send(&mut case, &event("3", Some("7"), 50));
    case.shows("w completed, after running, late skipped");
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "n": 50 })));
    assert!(send(&mut case, &event("3", Some("7"), 50)).events.is_empty(), "the same event again");
    // A second one is recorded and changes nothing.
    send(&mut case, &event("4", Some("7"), 60));
    assert!(case.events().any(|event| matches!(event, Event::Noted { .. })));
}

#[test]
fn a_wait_looks_for_what_came_before_it() {
    let mut case = Case::accept_with("", WAIT, json!({}));
    let decision = case.take(Input::Start);
    let early = start_of_time().as_micros() - 3_600_000_000;
    let looks = decision.commands.iter().any(|command| {
        matches!(command, Command::FindEvents { event, key, early: from, .. }
            if event == "paid" && key == "7" && from.as_micros() == early)
    });
    assert!(looks, "{:?}", decision.commands);
    assert_eq!(decision.waits.len(), 1);
}

#[test]
fn a_wait_times_out() {
    let mut case = Case::start(WAIT);
    case.tick(seconds(3_600));
    case.shows("w failed, after skipped, late running");
    assert_eq!(case.class("w"), "timeout");
}

fn signal(case: &mut Case, id: &str, name: &str) -> Decision {
    let signal = Received { kind: name.to_owned(), ..event(id, None, 99) };
    case.take(Input::Request(&RequestBody::Signal { signal }))
}

#[test]
fn a_signal_goes_to_whoever_waits_for_its_name() {
    let mut case = Case::start(WAIT);
    signal(&mut case, "1", "other");
    case.shows("w awaiting");
    signal(&mut case, "2", "paid");
    case.shows("w completed, after running");
}

#[test]
fn an_early_signal_is_kept_for_the_one_that_will_wait() {
    let mut case = Case::start(
        "a: { type: work }
         w: { type: wait_for_event, needs: [a], config: { event: paid, key: '7' } }
         v: { type: wait_for_event, needs: [w], config: { event: paid, key: '7' } }",
    );
    signal(&mut case, "1", "paid");
    assert!(signal(&mut case, "1", "paid").events.is_empty(), "the same signal again");
    signal(&mut case, "2", "paid");
    assert_eq!(case.state.signals.len(), 2);
    case.complete("a", Value::Null);
    case.shows("w completed, v completed");
    assert_eq!(case.output("v")["id"], "2", "each signal is received once, in order");
    case.ends(Status::Completed);
}

#[test]
fn waits_of_a_loop_receive_one_event_each() {
    let mut case = Case::start(
        "l: { type: for_loop, config: { to: 2, max_parallel: 2 }, components: { w: { type: wait_for_event, config: { event: paid, key: '${{ item }}' } } } }",
    );
    let task = case.key("w[1]");
    case.take(Input::Event { task: &task, event: &event("1", Some("2"), 1) });
    case.shows("l running");
    signal(&mut case, "2", "paid");
    case.ends(Status::Completed);
}

#[test]
fn a_filter_that_fails_is_noted_and_the_wait_goes_on() {
    let mut case = Case::start(
        "w: { type: wait_for_event, config: { event: paid, key: '7', filter: 'event.body.missing > 1' } }",
    );
    let task = case.key("w");
    case.take(Input::Event { task: &task, event: &event("1", Some("7"), 1) });
    case.shows("w awaiting");
    assert!(case.events().any(|event| matches!(event, Event::Noted { .. })));
}
