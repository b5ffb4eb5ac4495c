use serde_json::json;
use shared::component::FailureClass;

use super::*;
use crate::engine::tests::read;

fn says(says: Says) -> Reply {
    Reply { says, after: Duration::ZERO }
}

fn gives(output: Value) -> Says {
    Says::Completed { output, ports: Vec::new() }
}

fn fails(class: FailureClass) -> Says {
    Says::Failed(Failure::new(class, "the shop is busy"))
}

fn answers(verdict: AnswerVerdict, by: &str) -> Says {
    Says::Answered { verdict, data: None, comment: String::new(), by: by.to_owned(), for_assignee: None }
}

fn always(what: Says) -> Mock {
    Mock::Always(says(what))
}

fn simulate(components: &str, mocks: &[(&str, Mock)]) -> Simulated {
    simulate_with("", components, mocks, None)
}

fn simulate_with(
    head: &str,
    components: &str,
    mocks: &[(&str, Mock)],
    find: Option<Finder<'_>>,
) -> Simulated {
    let workflow = match read(head, components) {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let mocks = Mocks(mocks.iter().map(|(key, mock)| ((*key).to_owned(), mock.clone())).collect());
    let mut simulation = Simulation::new(workflow, Map::new(), &mocks);
    simulation.find = find;
    simulation.run()
}

fn seen<'a>(simulated: &'a Simulated, key: &str) -> &'a Seen {
    match simulated.tasks.iter().find(|(task, _)| task.to_string() == key) {
        Some((_, seen)) => seen,
        None => panic!("{key} was never seen: {simulated:?}"),
    }
}

#[test]
fn a_task_is_answered_by_its_mock_and_its_readers_see_that() {
    let simulated = simulate(
        "a: { type: work, config: { x: 1 } }
         b: { type: work, needs: [a], config: { got: '${{ components.a.output.n }}' } }",
        &[("a", always(gives(json!({ "n": 7 })))), ("b", always(gives(Value::Null)))],
    );
    assert_eq!(simulated.stuck, []);
    assert_eq!(simulated.status, Status::Completed);
    assert_eq!(seen(&simulated, "a").calls, [json!({ "x": 1 })]);
    assert_eq!(seen(&simulated, "b").calls, [json!({ "got": 7 })]);
    assert_eq!(simulated.order.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_component_without_a_mock_is_named_with_its_input() {
    let simulated = simulate("a: { type: work, config: { x: 1 } }", &[]);
    assert_eq!(simulated.status, Status::Running);
    let said = simulated.stuck[0].to_string();
    assert_eq!(said, r#"`a` (work) needs a mock: it was called with {"x":1}"#);
}

#[test]
fn retries_are_due_at_once_and_their_pauses_count() {
    let retry =
        "retry: { max_attempts: 3, backoff: fixed, initial: 1h, cap: 1h, jitter: false, on: [http_5xx] }";
    let list =
        vec![says(fails(FailureClass::Http5xx)), says(fails(FailureClass::Http5xx)), says(gives(json!(1)))];
    let simulated = simulate(&format!("a: {{ type: work, {retry} }}"), &[("a", Mock::Each(list.clone()))]);
    assert_eq!(simulated.status, Status::Completed, "{simulated:?}");
    assert_eq!(seen(&simulated, "a").attempts, 3);
    assert_eq!(simulated.elapsed, Duration::from_hours(2));

    let too_few = Mock::Each(list[..1].to_vec());
    let simulated = simulate(&format!("a: {{ type: work, {retry} }}"), &[("a", too_few)]);
    assert!(simulated.stuck[0].to_string().starts_with("`a` (work) needs a mock for attempt 2"));
}

#[test]
fn a_round_of_a_loop_has_a_mock_of_its_own() {
    let simulated = simulate(
        "all: { type: loop, config: { items: [1, 2, 3] }, components: { pack: { type: work, config: { n: '${{ item }}' } } } }",
        &[("pack", always(gives(json!("any")))), ("pack[1]", always(gives(json!("second"))))],
    );
    assert_eq!(simulated.status, Status::Completed, "{simulated:?}");
    assert_eq!(seen(&simulated, "pack[0]").output, Some(json!("any")));
    assert_eq!(seen(&simulated, "pack[1]").output, Some(json!("second")));
    assert_eq!(seen(&simulated, "pack[2]").calls, [json!({ "n": 3 })]);
}

#[test]
fn a_loop_of_many_rounds_ends() {
    let simulated = simulate(
        "all: { type: for_loop, config: { from: 1, to: 5000 }, components: { pack: { type: work } } }",
        &[("pack", always(gives(Value::Null)))],
    );
    assert_eq!(simulated.stuck, []);
    assert_eq!(simulated.status, Status::Completed);
    assert_eq!(simulated.tasks.keys().filter(|task| task.component.as_str() == "pack").count(), 5_000);
}

#[test]
fn what_takes_longer_than_its_time_out_has_timed_out() {
    let late = Mock::Always(Reply { says: gives(json!(1)), after: Duration::from_mins(2) });
    let simulated = simulate("a: { type: work, timeout: 1m, retry: { max_attempts: 1 } }", &[("a", late)]);
    assert_eq!(simulated.failure.map(|failure| failure.class), Some(FailureClass::Timeout));
    assert_eq!(simulated.elapsed, Duration::from_mins(1));
}

#[test]
fn people_answer_or_let_it_expire() {
    let ask = "ask: { type: approval, config: { assignees: [ann, bob], quorum: 2, expires: 2d } }
               go: { type: noop, needs: [ask.approved] }";
    let both = Mock::Each(vec![
        says(answers(AnswerVerdict::Approve, "ann")),
        Reply { says: answers(AnswerVerdict::Approve, "bob"), after: Duration::from_hours(3) },
    ]);
    let simulated = simulate(ask, &[("ask", both)]);
    assert_eq!(seen(&simulated, "ask").ports, ["approved"], "{simulated:?}");
    assert_eq!(simulated.elapsed, Duration::from_hours(3));

    let simulated = simulate(ask, &[("ask", always(Says::Expires))]);
    assert_eq!(seen(&simulated, "ask").ports, ["expired"], "{simulated:?}");
    assert_eq!(seen(&simulated, "go").status, "skipped");
    assert_eq!(simulated.elapsed, Duration::from_hours(48));

    let simulated = simulate(ask, &[]);
    assert!(simulated.stuck[0].to_string().contains("`ask` (approval) needs a mock"), "{simulated:?}");
}

#[test]
fn a_wait_without_end_says_so() {
    let ask = "ask: { type: approval, config: { assignees: [ann, bob], quorum: 2 } }";
    let simulated = simulate(ask, &[("ask", always(answers(AnswerVerdict::Approve, "ann")))]);
    assert_eq!(simulated.stuck[0].to_string(), "`ask` is asked and nothing will end that");
}

#[test]
fn events_come_after_their_while_or_not_at_all() {
    let wait = "wait: { type: wait_for_event, config: { event: paid, key: '7', within: 1d } }";
    let comes =
        Mock::Always(Reply { says: Says::Event(json!({ "sum": 3 })), after: Duration::from_hours(1) });
    let simulated = simulate(wait, &[("wait", comes)]);
    assert_eq!(simulated.status, Status::Completed, "{simulated:?}");
    assert_eq!(simulated.elapsed, Duration::from_hours(1));
    assert_eq!(seen(&simulated, "wait").calls, [json!({ "event": "paid", "key": "7" })]);

    let simulated = simulate(wait, &[("wait", always(Says::Expires))]);
    assert_eq!(simulated.failure.map(|failure| failure.class), Some(FailureClass::Timeout));
    assert_eq!(simulated.elapsed, Duration::from_hours(24));
}

#[test]
fn a_sub_workflow_is_answered_or_simulated() {
    let call = "call: { type: sub_workflow, config: { workflow: child } }";
    let simulated = simulate(call, &[("call", always(gives(json!({ "n": 1 }))))]);
    assert_eq!(seen(&simulated, "call").output, Some(json!({ "n": 1 })), "{simulated:?}");

    let child = match read("output: { n: '${{ components.inner.output }}' }", "inner: { type: work }") {
        Ok(child) => child,
        Err(problems) => panic!("{problems}"),
    };
    let find = |name: &str| (name == "child").then(|| Arc::clone(&child));
    let inner = Mocks([("inner".to_owned(), always(gives(json!(5))))].into());
    let simulated = simulate_with("", call, &[("call", always(Says::Simulated(inner)))], Some(&find));
    assert_eq!(seen(&simulated, "call").output, Some(json!({ "n": 5 })), "{simulated:?}");

    let simulated = simulate_with("", call, &[], Some(&find));
    assert!(simulated.stuck[0].to_string().starts_with("`call/inner` (work) needs a mock"), "{simulated:?}");
}

#[test]
fn the_same_is_simulated_the_same_every_time() {
    let components = "a: { type: work, retry: { max_attempts: 2 } }
                      b: { type: work, needs: [a.error], config: { id: '${{ execution.id }}' } }";
    let mocks = [("a", always(fails(FailureClass::Http5xx))), ("b", always(gives(json!(1))))];
    assert_eq!(simulate(components, &mocks), simulate(components, &mocks));
}

#[test]
fn a_pure_component_may_run_for_real() {
    let workflow = match read("", "a: { type: work, config: { x: 20 } }") {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let run = |_: &Component, task: &Task| {
        let doubled = task.config["x"].as_i64().map(|x| x * 2);
        Some(Ok(component::Outcome::of(json!(doubled))))
    };
    let mocks = Mocks::default();
    let mut simulation = Simulation::new(workflow, Map::new(), &mocks);
    simulation.run_pure = Some(&run);
    assert_eq!(seen(&simulation.run(), "a").output, Some(json!(40)));
}
