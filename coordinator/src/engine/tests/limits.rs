//! Places under a `concurrency`: who takes one, who waits in line, and what gives one back.

use shared::port::slots::{FullSlot, SlotOwner, SlotOwners};

use super::*;

const ERP: &str = "concurrency: { key: erp, limit: 2 }";

fn other(number: u128) -> ExecutionId {
    ExecutionId::from_uuid(uuid::Uuid::from_u128(0x5000 + number))
}

impl Case {
    fn task_key(&self, text: &str) -> String {
        format!("task/{}/{text}", self.state.accepted.workflow.as_uuid())
    }

    fn workflow_key(&self, text: &str) -> String {
        format!("workflow/{}/{text}", self.state.accepted.workflow.as_uuid())
    }

    /// What the store said when the same was decided before.
    fn is_full(&mut self, key: String, free: u32) {
        self.full.insert(key, FullSlot { free, owners: SlotOwners::default() });
    }

    fn is_free(&mut self) {
        self.full.clear();
    }
}

fn keys(claims: &[shared::port::slots::SlotClaim]) -> Vec<(String, Option<String>)> {
    let name = |claim: &shared::port::slots::SlotClaim| claim.task.as_ref().map(ToString::to_string);
    claims.iter().map(|claim| (claim.key.clone(), name(claim))).collect()
}

fn given(decision: &Decision) -> Vec<String> {
    decision.give.iter().flatten().map(ToString::to_string).collect()
}

#[test]
fn a_task_takes_its_place_with_its_dispatch_and_gives_it_back_with_its_end() {
    let mut case = Case::accept_with("", &format!("a: {{ type: work, {ERP} }}"), json!({}));
    let key = case.task_key("erp");
    let start = case.take(Input::Start);
    assert_eq!(keys(&start.take)[1..], [(key.clone(), Some("a".to_owned()))]);
    assert!(start.events.iter().any(|event| matches!(
        event,
        Event::TaskDispatched { slot: Some(slot), .. } if *slot == key
    )));
    assert!(case.component("a").slot.as_ref().is_some_and(|slot| slot.is_held));
    let end = case.complete("a", json!(1));
    assert_eq!((given(&end), end.freed.contains(&key)), (vec!["a".to_owned()], true));
}

#[test]
fn who_finds_no_place_waits_in_line_and_goes_on_when_it_is_called() {
    let mut case =
        Case::accept_with("", &format!("a: {{ type: work, {ERP} }}\nb: {{ type: work }}"), json!({}));
    let key = case.task_key("erp");
    case.is_full(key.clone(), 0);
    let start = case.take(Input::Start);
    case.shows("a limited, b running");
    assert_eq!(keys(&start.wait), [(key.clone(), Some("a".to_owned()))]);
    assert_eq!(keys(&start.take).len(), 1, "only the place of the execution");
    assert_eq!(case.sent_of("a"), []);
    assert!(case.take(Input::Wake).events.is_empty(), "there is no place yet");
    case.is_free();
    let called = case.take(Input::Wake);
    assert_eq!(keys(&called.take), [(key, Some("a".to_owned()))]);
    case.shows("a running, b running");
    assert_eq!(case.sent_of("a"), [(1, 1)]);
}

#[test]
fn who_finds_no_place_leaves_the_room_to_the_next() {
    let mut case =
        Case::accept_with("", &format!("a: {{ type: work, {ERP} }}\nb: {{ type: work }}"), json!({}));
    case.room = 0;
    case.take(Input::Start);
    case.shows("a ready, b ready");
    let key = case.task_key("erp");
    case.is_full(key, 0);
    case.room = 1;
    case.take(Input::Wake);
    case.shows("a limited, b running");
}

#[test]
fn who_is_called_and_finds_no_room_is_held_back() {
    let mut case = Case::accept_with("", &format!("a: {{ type: work, {ERP} }}"), json!({}));
    let key = case.task_key("erp");
    case.is_full(key, 0);
    assert!(!case.take(Input::Start).held_back);
    case.is_free();
    case.room = 0;
    let called = case.take(Input::Wake);
    assert!(called.events.is_empty() && called.held_back, "{called:?}");
    case.room = 1;
    assert!(!case.take(Input::Wake).held_back);
    case.shows("a running");
}

#[test]
fn a_backoff_holds_no_place_and_a_lost_worker_keeps_it() {
    let mut case = Case::start(&format!(
        "a: {{ type: work, {ERP}, retry: {{ max_attempts: 3, backoff: fixed, initial: 5s, jitter: false, on: [unavailable] }} }}"
    ));
    assert!(given(&case.lose("a")).is_empty(), "the next attempt runs in its place");
    assert!(case.component("a").slot.as_ref().is_some_and(|slot| slot.is_held));
    let failed = case.fail("a", "unavailable");
    assert_eq!(given(&failed), ["a"]);
    assert!(case.component("a").slot.is_none());
    let key = case.task_key("erp");
    case.is_full(key.clone(), 0);
    case.tick(seconds(5));
    case.shows("a limited");
    case.is_free();
    let called = case.take(Input::Wake);
    assert_eq!(keys(&called.take), [(key, Some("a".to_owned()))]);
    assert_eq!(case.sent_of("a").last(), Some(&(3, 1)));
}

#[test]
fn as_many_rounds_run_as_there_are_places() {
    let body = format!("x: {{ type: work, {ERP} }}");
    let mut case = Case::accept_with(
        "",
        &format!(
            "l: {{ type: loop, config: {{ items: [1, 2, 3, 4, 5], max_parallel: 5 }}, components: {{ {body} }} }}"
        ),
        json!({}),
    );
    let key = case.task_key("erp");
    case.is_full(key, 2);
    let start = case.take(Input::Start);
    assert_eq!((case.sent.len(), start.wait.len(), case.state.limited.len()), (2, 3, 3));
    case.is_free();
    // Asked for all, the store says that there is one; then one is asked for.
    let key = case.task_key("erp");
    let all = case.clone().take(Input::Wake);
    assert_eq!(all.take.len(), 3);
    case.is_full(key, 1);
    let called = case.take(Input::Wake);
    assert_eq!((called.take.len(), case.sent.len(), case.state.limited.len()), (1, 3, 2));
    assert!(given(&case.cancel()).len() == 2, "those in line leave it");
}

#[test]
fn a_long_line_is_called_in_parts() {
    let mut case = Case::accept_with(
        "",
        "l: { type: for_loop, config: { to: 40, max_parallel: 40 }, components: { x: { type: work, concurrency: { key: k, limit: 40 } } } }",
        json!({}),
    );
    let key = case.task_key("k");
    case.is_full(key, 0);
    case.take(Input::Start);
    assert_eq!(case.state.limited.len(), 40);
    case.is_free();
    let called = case.take(Input::Wake);
    assert_eq!(called.take.len(), 16);
    assert!(called.commands.contains(&Command::GoOn), "there may be places for the others");
}

#[test]
fn what_is_dropped_is_skipped_with_what_depends_on_it() {
    let mut case = Case::accept_with(
        "",
        "a: { type: work, concurrency: { key: k, on_conflict: drop_new } }\nb: { type: work, needs: [a] }",
        json!({}),
    );
    let key = case.task_key("k");
    case.is_full(key, 0);
    let start = case.take(Input::Start);
    case.shows("a skipped, b skipped");
    assert!(start.wait.is_empty());
    case.ends(Status::Completed);
}

#[test]
fn the_newest_task_displaces_the_oldest_in_its_way() {
    let mut case = Case::accept_with(
        "",
        "a: { type: work, concurrency: { key: k, limit: 2, on_conflict: cancel_running } }",
        json!({}),
    );
    let key = case.task_key("k");
    let owner = |number: u128| SlotOwner {
        execution: other(number),
        task: Some(TaskKey::of("a".into())),
        since: start_of_time(),
    };
    let owners = SlotOwners { holders: vec![owner(1), owner(2)], waiting: vec![owner(3)] };
    case.full.insert(key, FullSlot { free: 0, owners });
    let start = case.take(Input::Start);
    assert!(start.take.iter().all(|claim| claim.task.is_none()));
    let displaced: Vec<ExecutionId> = start
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Displace { execution, task: Some(_) } => Some(*execution),
            _ => None,
        })
        .collect();
    assert_eq!(displaced, [other(1), other(2)], "of three before it, one may stay");
    let swept = case.sweep();
    assert_eq!(
        swept.commands.iter().filter(|command| matches!(command, Command::Displace { .. })).count(),
        2,
        "who was not told is told again"
    );
}

#[test]
fn a_displaced_task_fails_and_its_worker_is_told() {
    let mut case = Case::start(
        "a: { type: work, concurrency: { key: k, on_conflict: cancel_running }, retry: { max_attempts: 3, on: [unavailable] } }\nb: { type: work, needs: [a.error] }",
    );
    let body = RequestBody::Displace { task: case.key("a"), by: other(7) };
    let decision = case.take(Input::Request(&body));
    assert_eq!(given(&decision), ["a"]);
    case.shows("a failed, b running");
    assert_eq!(case.class("a"), "cancelled");
    assert!(case.told.contains(&case.told_to_stop(&["a"])));
    assert!(case.take(Input::Request(&body)).events.is_empty(), "it has no place any more");
}

#[test]
fn a_paused_execution_stands_in_no_line() {
    let mut case =
        Case::accept_with("", &format!("a: {{ type: work, {ERP} }}\nb: {{ type: work }}"), json!({}));
    let key = case.task_key("erp");
    case.is_full(key.clone(), 0);
    case.take(Input::Start);
    let pause = RequestBody::Pause { by: "ann".to_owned(), reason: String::new() };
    let paused = case.take(Input::Request(&pause));
    assert_eq!((given(&paused), paused.freed.contains(&key)), (vec!["a".to_owned()], true));
    case.is_free();
    assert!(case.take(Input::Wake).events.is_empty());
    case.is_full(key.clone(), 0);
    let resumed = case.take(Input::Request(&RequestBody::Resume { by: "ann".to_owned() }));
    assert_eq!(keys(&resumed.wait), [(key, Some("a".to_owned()))], "it comes to the end of the line");
    case.shows("a limited, b running");
}

#[test]
fn a_key_that_gives_nothing_limits_nothing() {
    let head = "parameters: { k: { type: any } }\nconcurrency: { key: '${{ parameters.k }}' }";
    let of = |value: Value| {
        let components = "a: { type: work, concurrency: { key: '${{ parameters.k }}' } }";
        let mut case = Case::accept_with(head, components, json!({ "k": value }));
        case.take(Input::Start).take.len()
    };
    assert_eq!([of(json!("x")), of(json!("")), of(Value::Null)], [3, 1, 1]);
}

#[test]
fn groups_share_the_places_of_a_fair_key() {
    let mut case = Case::accept_with(
        "parameters: { k: { type: string } }\nconcurrency: { key: '${{ parameters.k }}', limit: 3, on_conflict: fair }",
        "a: { type: work, concurrency: { key: '${{ parameters.k }}', on_conflict: fair } }",
        json!({ "k": "ann" }),
    );
    let start = case.take(Input::Start);
    let workflow = case.state.accepted.workflow.as_uuid();
    let shared: Vec<(String, Option<String>)> =
        start.take.iter().map(|claim| (claim.key.clone(), claim.group.clone())).collect();
    let ann = || Some("ann".to_owned());
    assert_eq!(shared[0], (format!("workflow/{workflow}"), ann()));
    assert_eq!(shared[2], (format!("task/{workflow}/a/"), ann()));
}

#[test]
fn an_execution_without_a_place_stands_in_one_line_at_a_time() {
    let mut case = Case::accept_with("concurrency: { key: k }", "a: { type: work }", json!({}));
    let key = case.workflow_key("k");
    case.is_full(key.clone(), 0);
    let blocked = case.take(Input::Start);
    assert_eq!(keys(&blocked.wait), [(key.clone(), None)]);
    case.ends(Status::Pending);
    assert!(case.take(Input::Start).events.is_empty(), "it stands there already");
    case.is_free();
    let all = shared::port::slots::EXECUTIONS_KEY;
    case.is_full(all.to_owned(), 0);
    let moved = case.take(Input::Wake);
    assert_eq!((moved.give.as_slice(), moved.freed.as_slice()), ([None].as_slice(), [key].as_slice()));
    assert_eq!(keys(&moved.wait), [(all.to_owned(), None)]);
    let cancelled = case.cancel();
    assert_eq!(cancelled.give, [None]);
    assert!(cancelled.freed.contains(&all.to_owned()));
    case.ends(Status::Cancelled);
}

#[test]
fn an_execution_that_is_dropped_ends_at_once_and_says_why() {
    let mut case =
        Case::accept_with("concurrency: { key: k, on_conflict: drop_new }", "a: { type: work }", json!({}));
    let key = case.workflow_key("k");
    case.is_full(key, 0);
    let dropped = case.take(Input::Start);
    case.ends(Status::Cancelled);
    assert_eq!(case.end_class().as_deref(), Some("cancelled"));
    assert!(dropped.take.is_empty() && dropped.wait.is_empty());
}

#[test]
fn the_newest_execution_asks_those_in_its_way_to_end() {
    let mut case = Case::accept_with(
        "concurrency: { key: k, on_conflict: cancel_running }",
        "a: { type: work }",
        json!({}),
    );
    let owner = |number: u128| SlotOwner { execution: other(number), task: None, since: start_of_time() };
    let owners = SlotOwners { holders: vec![owner(1)], waiting: vec![owner(2)] };
    let key = case.workflow_key("k");
    case.full.insert(key, FullSlot { free: 0, owners });
    let blocked = case.take(Input::Start);
    let asked = [1, 2].map(|number| Command::Displace { execution: other(number), task: None });
    assert_eq!(blocked.commands, asked);
    let again = commands_again(&case.state, case.turns[1].cause, &case.payloads).expect("nothing is needed");
    assert_eq!(again, asked, "a redelivery asks again");
}

#[test]
fn what_cannot_be_limited_is_refused_with_what_would_work() {
    let code = |components: &str| refused(components).0;
    assert_eq!(code("a: { type: noop, concurrency: { key: k } }"), "concurrency_place");
    assert_eq!(
        code(
            "a: { type: work, delivery: at_most_once, concurrency: { key: k, on_conflict: cancel_running } }"
        ),
        "contradictory_limits"
    );
    assert_eq!(
        code(
            "a: { type: work, concurrency: { key: k } }\nb: { type: work, concurrency: { key: k, limit: 2 } }"
        ),
        "contradictory_limits"
    );
    assert_eq!(code("a: { type: work, concurrency: { key: k, on_conflict: fair } }"), "contradictory_limits");
    assert_eq!(code("a: { type: work, concurrency: { limit: 2 } }"), "missing_field");
    let (code, suggestion) = refused("a: { type: work, concurrency: { key: k, on_conflict: drop_now } }");
    assert_eq!((code, suggestion.as_str()), ("field_value", "did you mean `drop_new`?"));
    assert_eq!(refused("a: { type: work, concurrency: { key: '${{ secrets.TOKEN }}' } }").0, "secret");
}
