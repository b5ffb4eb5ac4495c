//! Fusion: which components travel together, and that nobody can tell from what came of it.

use shared::wire::{Chain, TaskResult};

use super::*;

/// The ids that travel with the first task that was sent.
fn along(components: &str) -> Vec<String> {
    let case = Case::start_with(
        "parameters: { n: { type: integer, default: 3 }, big: { type: any } }",
        components,
        json!({ "big": "x".repeat(9_000) }),
    );
    let chain = case.sent[0].chain.as_deref();
    chain.map_or(Vec::new(), |chain| chain.links.iter().map(|link| link.component.to_string()).collect())
}

/// The chain that travels with `id`'s last message.
fn chain_of(case: &Case, id: &str) -> Chain {
    let task = case.sent.iter().rev().find(|task| task.component.as_str() == id);
    match task.and_then(|task| task.chain.clone()) {
        Some(chain) => *chain,
        None => panic!("nothing travels with {id}"),
    }
}

/// What a worker would say of a run of `ids`, which gives each of them `outputs`.
fn run(case: &Case, ids: &[(&str, Ending)]) -> Vec<TaskResult> {
    let mut results: Vec<TaskResult> = Vec::new();
    for (position, (id, ending)) in ids.iter().enumerate() {
        let started_at = case.now.after(Duration::from_millis(position as u64));
        let result = match results.last() {
            None => TaskResult { started_at, ..case.report(id, ending.clone()) },
            Some(before) => TaskResult {
                attempt: 1,
                dispatch: 1,
                worker: before.worker,
                token: None,
                started_at,
                follows: Some(before.started_at),
                ..case.report(id, ending.clone())
            },
        };
        results.push(result);
    }
    results
}

fn take_all(case: &mut Case, results: &[TaskResult]) -> Decision {
    let inputs: Vec<Input<'_>> = results.iter().map(Input::Result).collect();
    match case.try_take(&inputs) {
        Ok(decision) => decision,
        Err(needs) => panic!("{needs:?}"),
    }
}

fn gives(value: Value) -> Ending {
    completed(value, &[])
}

const ROW: &str = "
a: { type: pure }
b: { type: pure, needs: [a], config: { seen: '${{ components.a.output }}' } }
c: { type: pure, needs: [b] }
";

#[test]
fn only_what_nobody_could_tell_apart_travels_together() {
    for (components, expected) in [
        (ROW, &["b", "c"][..]),
        ("a: { type: work }\nb: { type: pure, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: work, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: noop, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], when: 'true' }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a.error] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], join: all_done }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a] }\nc: { type: noop, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a] }\nc: { type: noop, needs: [a.error] }", &["b"]),
        ("a: { type: pure }\nx: { type: pure }\nb: { type: pure, needs: [a, x] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], delivery: at_most_once }", &[]),
        ("a: { type: pure, delivery: at_most_once }\nb: { type: pure, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], worker: { pool: gpu } }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], worker: { priority: high } }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], total_timeout: 1m }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], queue_timeout: 1m }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], concurrency: { key: k, limit: 1 } }", &[]),
        ("a: { type: pure, concurrency: { key: k, limit: 1 } }\nb: { type: pure, needs: [a] }", &[]),
        ("a: { type: pure }\nb: { type: pure, needs: [a], config: { n: '${{ parameters.n }}' } }", &["b"]),
        // What is large, or not yet settled, stays where it is.
        ("a: { type: pure }\nb: { type: pure, needs: [a], config: { n: '${{ parameters.big }}' } }", &[]),
        (
            "go: { type: noop }
a: { type: pure, needs: [go, slow], join: any }
slow: { type: delay, config: { for: 1h } }
b: { type: pure, needs: [a], config: { n: '${{ components.slow.status }}' } }",
            &[],
        ),
        (
            "go: { type: set_variables, config: { values: { n: 1 } } }
a: { type: pure, needs: [go] }
b: { type: pure, needs: [a], config: { n: '${{ components.go.output.n }}' } }",
            &["b"],
        ),
    ] {
        assert_eq!(along(components), expected, "{components}");
    }
}

#[test]
fn what_stands_in_a_container_travels_together_too() {
    let group = "g: { type: group, components: { a: { type: pure }, b: { type: pure, needs: [a] } } }";
    assert_eq!(along(group), ["b"]);
}

#[test]
fn one_setting_turns_it_off() {
    let mut case = Case::accept_with("", ROW, json!({}));
    case.rules.fusion = false;
    case.take(Input::Start);
    assert_eq!(case.sent[0].chain, None);
}

#[test]
fn a_whole_chain_is_one_turn_and_every_component_stands_in_it() {
    let mut case = Case::start(ROW);
    let results = run(&case, &[("a", gives(json!(1))), ("b", gives(json!(2))), ("c", failed("user"))]);
    let decision = take_all(&mut case, &results);
    case.shows("a completed, b completed, c failed");
    let turn: Vec<String> = decision.events.iter().map(|event| format!("{event:?}")).collect();
    let turn: Vec<&str> = turn.iter().filter_map(|event| event.split([' ', '(']).next()).collect();
    let each =
        ["TaskCompleted", "TaskDispatched", "TaskCompleted", "TaskDispatched", "TaskFailed", "Finished"];
    assert_eq!(turn, each);
    assert!(decision.commands.is_empty(), "{:?}", decision.commands);
    assert_eq!(decision.finished.len(), 3);
    assert_eq!(case.component("b").attempt, 1);
    case.ends(Status::Failed);
}

#[test]
fn what_a_worker_leaves_is_ordered() {
    let mut case = Case::start(ROW);
    let results = run(&case, &[("a", gives(json!(1))), ("b", gives(json!(2)))]);
    take_all(&mut case, &results);
    assert_eq!(case.sent_of("c"), [(1, 1)]);
    assert_eq!(case.sent_of("b"), []);
    case.complete("c", json!(3));
    case.ends(Status::Completed);
}

#[test]
fn one_that_fails_on_the_way_is_tried_again_with_what_follows_it() {
    let mut case = Case::start(
        "a: { type: pure }
b: { type: pure, needs: [a], retry: { max_attempts: 2, backoff: fixed, initial: 5s, on: [user] } }
c: { type: pure, needs: [b], config: { seen: '${{ components.b.attempts }}' } }",
    );
    let results = run(&case, &[("a", gives(json!(1))), ("b", failed("user"))]);
    take_all(&mut case, &results);
    case.shows("a completed, b retrying, c waiting");
    case.tick(seconds(5));
    assert_eq!(case.sent_of("b"), [(2, 1)]);
    let chain = chain_of(&case, "b");
    assert_eq!(chain.links.len(), 1);
    let results = run(&case, &[("b", gives(json!(2))), ("c", gives(json!(3)))]);
    take_all(&mut case, &results);
    case.ends(Status::Completed);
}

#[test]
fn in_a_pause_only_what_was_ordered_counts() {
    let mut case = Case::start(ROW);
    let results = run(&case, &[("a", gives(json!(1))), ("b", gives(json!(2))), ("c", gives(json!(3)))]);
    case.take(Input::Request(&RequestBody::Pause { by: "ann".to_owned(), reason: String::new() }));
    take_all(&mut case, &results);
    case.shows("a completed, b waiting, c waiting");
    assert_eq!(case.late.len(), 2, "{:?}", case.late);
    case.take(Input::Request(&RequestBody::Resume { by: "ann".to_owned() }));
    case.shows("b running");
    assert_eq!(case.sent_of("b"), [(1, 1)]);
}

#[test]
fn what_followed_another_run_does_not_count() {
    let mut case = Case::start(ROW);
    let counted = run(&case, &[("a", gives(json!(1)))]);
    let mut other = run(&case, &[("a", gives(json!(9))), ("b", gives(json!(9)))]);
    for result in &mut other {
        result.worker = worker(7);
    }
    take_all(&mut case, &counted);
    case.shows("a completed, b running");
    take_all(&mut case, &other);
    case.shows("a completed, b running");
    assert_eq!(case.late.len(), 2, "{:?}", case.late);
}

#[test]
fn a_worker_makes_the_configs_that_a_coordinator_would() {
    let components = "
first: { type: set_variables, config: { values: { who: Ada, list: [1, 2] } } }
broken: { type: work, config: { x: 1 } }
a: { type: pure, needs: [first, broken.error], config: { n: '${{ parameters.n }}' } }
b: { type: pure, needs: [a], config: { text: 'Dear ${{ components.first.output.who }}, ${{ components.a.output.n + 1 }} of ${{ parameters.n }}', whole: '${{ components.a.output }}', list: ['${{ components.first.output.list | sum }}', plain], error: '${{ components.broken.error.class }}', mode: '${{ execution.mode }}', secret: '${{ secrets.TOKEN }}', none: '${{ parameters.m | default(7) }}', all: '${{ parameters | length }}' } }
c: { type: pure, needs: [b], config: { deep: { n: '${{ components.b.output.text | upper }}', at: '${{ components.b.attempts }}' } } }
";
    let start = |fusion: bool| {
        let head = "parameters: { n: { type: integer }, m: { type: integer } }";
        let mut case = Case::accept_with(head, components, json!({ "n": 4 }));
        case.rules.fusion = fusion;
        case.take(Input::Start);
        case.fail("broken", "user");
        case
    };
    let outputs = [json!({ "n": 4 }), json!({ "text": "so" }), json!(null)];
    let mut plain = start(false);
    for (id, output) in ["a", "b", "c"].iter().zip(&outputs) {
        plain.complete(id, output.clone());
    }
    plain.ends(Status::Completed);
    let fused = start(true);
    let chain = chain_of(&fused, "a");
    let head = fused.sent.last().expect("a task");
    let mut results: Vec<TaskResult> = vec![fused.report("a", gives(outputs[0].clone()))];
    for (link, output) in chain.links.into_iter().zip(&outputs[1..]) {
        let task = link.task(head, &chain.sees, &results[0], &results[1..]).expect("a task");
        let sent = plain.sent.iter().find(|sent| sent.component == task.component).expect("it was sent");
        assert_eq!(&task, &Task { chain: None, may_share: false, ..sent.clone() });
        results.push(TaskResult {
            component: task.component.clone(),
            ..fused.report("a", gives(output.clone()))
        });
    }
    assert_eq!(results.len(), 3);
}
