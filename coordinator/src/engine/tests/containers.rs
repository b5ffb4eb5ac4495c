//! Containers: the rows C1 to C9 of the reference, and what holds for loops of any size.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn statuses(case: &Case, id: &str) -> Vec<String> {
    let Value::Array(list) = case.output(id) else { panic!("{id} gives no list") };
    list.iter().map(|round| round["status"].as_str().unwrap_or_default().to_owned()).collect()
}

// ---- group --------------------------------------------------------------------------------------

const GROUP: &str = "g: { type: group, components: { a: { type: work }, b: { type: work, needs: [a] } } }
    after: { type: work, needs: [g] }
    handler: { type: work, needs: [g.error] }";

#[test]
fn c1_a_group_completes_with_its_body() {
    let mut case = Case::start(GROUP);
    case.shows("g running, a running, b waiting, after waiting");
    case.complete("a", json!(1));
    case.complete("b", json!(2));
    case.shows("g completed, after running, handler skipped");
    assert_eq!(case.output("g"), json!({ "a": 1, "b": 2 }));
}

#[test]
fn c1_a_group_fails_with_its_body() {
    let mut case = Case::start(GROUP);
    case.fail("a", "user");
    case.shows("g failed, after skipped, handler running");
    assert_eq!(case.class("g"), "user");
    case.complete("handler", Value::Null);
    case.ends(Status::Completed);
}

#[test]
fn c1_a_handled_failure_in_a_group_does_not_fail_it() {
    let mut case = Case::start(
        "g: { type: group, components: { a: { type: work }, h: { type: work, needs: [a.error] } } }",
    );
    case.fail("a", "user");
    case.complete("h", json!("mended"));
    case.shows("g completed");
    assert_eq!(case.output("g"), json!({ "h": "mended" }));
}

#[test]
fn c1_a_group_that_stops_cancels_only_its_own() {
    let mut case = Case::start(
        "g: { type: group, config: { on_unhandled_failure: stop }, components: { a: { type: work }, b: { type: work }, c: { type: work, needs: [b] } } }
         other: { type: work }",
    );
    case.fail("a", "user");
    case.shows("g failed, other running");
    assert_eq!(case.told, [case.told_to_stop(&["b"])]);
    case.ends(Status::Running);
    case.complete("other", Value::Null);
    case.ends(Status::Failed);
}

#[test]
fn a_parallel_with_components_is_a_scope() {
    let mut case = Case::start(
        "p: { type: parallel, components: { a: { type: work }, b: { type: work } } }
         after: { type: work, needs: [p] }",
    );
    case.complete("b", json!(2));
    case.complete("a", json!(1));
    case.shows("p completed, after running");
    assert_eq!(case.output("p"), json!({ "a": 1, "b": 2 }));
}

#[test]
fn an_end_that_terminates_ends_only_its_scope() {
    let mut case = Case::start(
        "g: { type: group, components: { a: { type: work }, slow: { type: work }, out: { type: end, needs: [a], config: { terminate: true, output: early } } } }
         after: { type: work, needs: [g] }",
    );
    case.complete("a", Value::Null);
    case.shows("g completed, after running");
    assert_eq!(case.output("g")["out"], json!("early"));
    assert_eq!(case.told, [case.told_to_stop(&["slow"])]);
}

#[test]
fn the_time_limit_of_a_container_ends_what_is_inside() {
    let mut case = Case::start(
        "g: { type: group, timeout: 5s, components: { a: { type: work }, d: { type: delay, config: { for: 1h } } } }
         late: { type: work, needs: [g.timeout] }",
    );
    case.tick(seconds(4));
    case.shows("g running");
    case.tick(SECOND);
    case.shows("g failed, late running");
    assert_eq!(case.class("g"), "timeout");
    assert_eq!(case.told, [case.told_to_stop(&["a"])]);
    assert!(case.timers.is_empty(), "{:?}", case.timers);
}

// ---- loop ----------------------------------------------------------------------------------------

fn each(config: &str) -> String {
    format!(
        "l: {{ type: loop, config: {{ items: [10, 20, 30], {config} }}, components: {{ a: {{ type: work, config: {{ n: '${{{{ item }}}}', i: '${{{{ index }}}}' }} }} }} }}
         after: {{ type: work, needs: [l] }}"
    )
}

#[test]
fn c2_foreach_completes_with_every_round_in_the_order_of_the_items() {
    let mut case = Case::start(&each("max_parallel: 10"));
    case.shows("l running, a[0] running, a[1] running, a[2] running");
    let configs: Vec<Value> = case.sent.iter().map(|task| task.config.clone()).collect();
    assert_eq!(configs, [json!({"n": 10, "i": 0}), json!({"n": 20, "i": 1}), json!({"n": 30, "i": 2})]);
    for round in ["a[2]", "a[0]", "a[1]"] {
        case.complete(round, json!(round));
    }
    case.shows("l completed, after running");
    assert_eq!(
        case.output("l"),
        json!([
            { "index": 0, "status": "completed", "output": { "a": "a[0]" }, "error": null },
            { "index": 1, "status": "completed", "output": { "a": "a[1]" }, "error": null },
            { "index": 2, "status": "completed", "output": { "a": "a[2]" }, "error": null },
        ])
    );
}

#[test]
fn c2_foreach_without_items_completes_with_an_empty_list() {
    let case = Case::start("l: { type: loop, config: { items: [] }, components: { a: { type: work } } }");
    case.shows("l completed");
    assert_eq!(case.output("l"), json!([]));
    case.ends(Status::Completed);
}

#[test]
fn c2_foreach_stops_at_the_first_failed_round_and_cancels_the_others() {
    let mut case = Case::start(&each("max_parallel: 2"));
    case.fail("a[1]", "user");
    case.shows("l failed, after skipped");
    assert_eq!(case.class("l"), "user");
    assert!(case.failure("l").message.starts_with("round 1:"), "{}", case.failure("l").message);
    assert_eq!(case.told, [case.told_to_stop(&["a[0]"])]);
    assert!(case.sent_of("a[2]").is_empty());
    case.ends(Status::Failed);
}

#[test]
fn c3_foreach_that_collects_never_fails_for_an_item() {
    let mut case = Case::start(&each("on_item_error: collect"));
    case.fail("a[0]", "user");
    case.fail("a[1]", "invalid_input");
    case.complete("a[2]", json!(1));
    case.shows("l completed, after running");
    assert_eq!(statuses(&case, "l"), ["failed", "failed", "completed"]);
    let output = case.output("l");
    assert_eq!(output[1]["error"]["class"], "invalid_input");
}

#[test]
fn c4_foreach_tolerates_failures_up_to_a_number() {
    let mut case = Case::start(&each("tolerate: 1"));
    case.fail("a[0]", "user");
    case.complete("a[1]", json!(1));
    case.complete("a[2]", json!(1));
    case.shows("l completed");
    let mut case = Case::start(&each("tolerate: 1"));
    case.fail("a[0]", "user");
    case.shows("l running");
    case.fail("a[2]", "invalid_input");
    case.shows("l failed");
    assert_eq!(case.class("l"), "invalid_input", "the first beyond the tolerated is the failure");
}

#[test]
fn c4_foreach_tolerates_a_share_of_its_rounds() {
    let text = "l: { type: loop, config: { items: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], tolerate: 20% }, components: { a: { type: work } } }";
    let mut case = Case::start(text);
    for round in 0..10 {
        let id = format!("a[{round}]");
        if round < 2 {
            case.fail(&id, "user")
        } else {
            case.complete(&id, Value::Null)
        };
    }
    case.shows("l completed");
    let mut case = Case::start(text);
    for round in 0..3 {
        case.fail(&format!("a[{round}]"), "user");
    }
    case.shows("l failed");
}

#[test]
fn rounds_begin_only_as_others_end() {
    let mut case = Case::start(&each("max_parallel: 1"));
    case.shows("a[0] running");
    assert_eq!(case.sent.len(), 1);
    case.complete("a[0]", Value::Null);
    assert_eq!(case.sent.len(), 2);
    case.complete("a[1]", Value::Null);
    case.complete("a[2]", Value::Null);
    case.shows("l completed");
}

#[test]
fn batches_give_each_round_a_list() {
    let case = Case::start(
        "l: { type: loop, config: { items: [1, 2, 3, 4, 5], batch_size: 2 }, components: { a: { type: work, config: { n: '${{ item }}' } } } }",
    );
    let configs: Vec<Value> = case.sent.iter().map(|task| task.config["n"].clone()).collect();
    assert_eq!(configs, [json!([1, 2]), json!([3, 4]), json!([5])]);
}

#[test]
fn what_is_no_list_or_too_long_fails_before_the_first_round() {
    for (items, more, class) in
        [("'text'", "", "invalid_input"), ("[1, 2, 3]", ", max_items: 2", "limit_exceeded")]
    {
        let case = Case::start(&format!(
            "l: {{ type: loop, config: {{ items: {items}{more} }}, components: {{ a: {{ type: work }} }} }}"
        ));
        assert_eq!(case.class("l"), class);
        assert!(case.sent.is_empty());
    }
}

#[test]
fn loops_nest_and_each_round_has_its_own_scope() {
    let mut case = Case::start(
        "o: { type: loop, config: { items: [1, 2], max_parallel: 1 }, components: { i: { type: for_loop, config: { from: 1, to: 2, max_parallel: 2 }, components: { a: { type: work, config: { n: '${{ item }}' } } } }, last: { type: work, needs: [i], config: { n: '${{ item }}', before: '${{ components.i.output | length }}' } } } }",
    );
    case.shows("a[0][0] running, a[0][1] running, last[0] waiting");
    case.complete("a[0][1]", json!(1));
    case.complete("a[0][0]", json!(1));
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "n": 1, "before": 2 })));
    case.complete("last[0]", json!("x"));
    case.shows("a[1][0] running");
    case.complete("a[1][0]", json!(1));
    case.complete("a[1][1]", json!(1));
    case.complete("last[1]", json!("y"));
    case.ends(Status::Completed);
    assert_eq!(case.output("o")[1]["output"]["last"], "y");
}

#[test]
fn a_result_of_a_round_that_is_gone_is_late() {
    let mut case = Case::start(&each("max_parallel: 1"));
    let twice = case.report("a[0]", completed(json!(1), &[]));
    case.take(Input::Result(&twice));
    assert!(case.take(Input::Result(&twice)).events.is_empty());
    assert_eq!(case.late, ["its round or scope had ended"]);
}

#[test]
fn for_loop_counts_up_and_down() {
    for (config, expected) in [
        ("from: 1, to: 3", vec![1, 2, 3]),
        ("from: 5, to: 1, step: -2", vec![5, 3, 1]),
        ("from: 2, to: 2", vec![2]),
        ("from: 1, to: 4, step: 2", vec![1, 3]),
    ] {
        let case = Case::start(&format!(
            "l: {{ type: for_loop, config: {{ {config}, max_parallel: 10 }}, components: {{ a: {{ type: work, config: {{ n: '${{{{ item }}}}' }} }} }} }}"
        ));
        let numbers: Vec<Value> = case.sent.iter().map(|task| task.config["n"].clone()).collect();
        assert_eq!(numbers, expected.into_iter().map(Value::from).collect::<Vec<_>>());
    }
}

#[test]
fn a_range_that_leads_nowhere_fails() {
    let case = Case::start_with(
        "parameters: { to: { type: integer, default: 9 } }",
        "l: { type: for_loop, config: { from: 10, to: '${{ parameters.to }}' }, components: { a: { type: work } } }",
        json!({ "to": 9 }),
    );
    assert_eq!(case.class("l"), "invalid_input");
}

/// A loop whose rounds the engine decides alone, of any length, runs in turns of bounded size, and its
/// results do not stay in the state.
#[test]
fn a_long_loop_is_decided_in_turns_of_bounded_size() {
    let mut case = Case::start(
        "l: { type: for_loop, config: { to: 5000, max_parallel: 100 }, components: { a: { type: set_variables, config: { values: { n: '${{ item }}' } } } } }",
    );
    let mut turns = 0;
    while case.state.status == Status::Running {
        case.take(Input::Wake);
        turns += 1;
        assert!(turns < 100, "it does not end");
    }
    case.ends(Status::Completed);
    assert!(turns > 5, "one turn held everything");
    let longest = case.turns.iter().map(|turn| turn.events.len()).max();
    assert!(longest < Some(2_000), "{longest:?} events in one turn");
    let parts = case.events().filter(|event| matches!(event, Event::RoundsStored { .. })).count();
    assert_eq!(parts, 10);
    let output = &case.component("l").output;
    assert!(matches!(output, Some(Payload::Stored(_))), "{output:?}");
}

#[test]
fn a_loop_over_many_items_lays_them_aside() {
    let items: Vec<u32> = (0..1_200).collect();
    let mut case = Case::accept_with(
        "parameters: { items: { type: array } }",
        "l: { type: loop, config: { items: '${{ parameters.items }}', max_parallel: 3 }, components: { a: { type: work, config: { n: '${{ item }}' } } } }",
        json!({ "items": items }),
    );
    let decision = case.take(Input::Start);
    assert_eq!(decision.payloads.len(), 3, "lists of 500 items each");
    for (id, bytes) in decision.payloads {
        case.payloads.insert(id, Arc::new(serde_json::from_slice(&bytes).unwrap_or_default()));
    }
    for round in 0..1_200 {
        case.complete(&format!("a[{round}]"), json!(round));
        assert!(case.state.open_count() <= 4);
    }
    case.ends(Status::Completed);
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "n": 1_199 })));
    let kept: usize = case.turns.iter().map(|turn| turn.events.len()).max().unwrap_or_default();
    assert!(kept < 20, "a turn of {kept} events");
}

// ---- while ---------------------------------------------------------------------------------------

#[test]
fn c5_while_ends_when_its_condition_is_false() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'iteration < 3' }, components: { a: { type: work, config: { i: '${{ iteration }}' } } } }",
    );
    for round in 0..3 {
        case.complete(&format!("a[{round}]"), json!(round * 10));
    }
    case.shows("w completed");
    let output = case.output("w");
    assert_eq!(output["iterations"], 3);
    assert_eq!(output["last"], json!({ "a": 20 }));
    assert_eq!(output["rounds"][0]["output"], json!({ "a": 0 }));
}

#[test]
fn c5_while_sees_the_round_before() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'iteration == 0 or previous.a.more' }, components: { a: { type: work, config: { page: '${{ previous.a.next if iteration > 0 else 1 }}' } } } }",
    );
    case.complete("a[0]", json!({ "more": true, "next": 7 }));
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "page": 7 })));
    case.complete("a[1]", json!({ "more": false, "next": 8 }));
    case.shows("w completed");
}

#[test]
fn c5_while_fails_with_its_body() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'true' }, components: { a: { type: work } } }",
    );
    case.fail("a[0]", "user");
    case.shows("w failed");
    assert_eq!(case.class("w"), "user");
}

#[test]
fn c5_while_fails_at_its_limit_and_keeps_the_last_rounds() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'true', max_iterations: 4, keep_last: 2 }, components: { a: { type: work } } }",
    );
    for round in 0..4 {
        case.complete(&format!("a[{round}]"), json!(round));
    }
    assert_eq!(case.class("w"), "limit_exceeded");
    let details = case.failure("w").details.clone().unwrap_or_default();
    assert_eq!(details["iterations"], 4);
    assert_eq!(details["rounds"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_while_loop_pauses_between_its_rounds() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'iteration < 2', pause: 30s }, components: { a: { type: work } } }",
    );
    case.complete("a[0]", Value::Null);
    assert_eq!(case.timer(&TimerKey::Pause(case.key("w"))), Some(seconds(30)));
    case.tick(seconds(29));
    assert_eq!(case.sent.len(), 1);
    case.tick(SECOND);
    assert_eq!(case.sent.len(), 2);
    case.complete("a[1]", Value::Null);
    case.tick(seconds(30));
    case.ends(Status::Completed);
}

#[test]
fn a_condition_that_is_no_truth_fails_the_loop() {
    let case = Case::start(
        "w: { type: while_loop, config: { condition: '1 + 1' }, components: { a: { type: work } } }",
    );
    assert_eq!(case.class("w"), "invalid_expression");
}

// ---- try_catch -----------------------------------------------------------------------------------

const TRY: &str = "t: { type: try_catch, components: { a: { type: work } }, catch: { c: { type: work, config: { why: '${{ error.class }}', what: '${{ error.message }}' } } } }
    caught: { type: work, needs: [t.caught] }
    after: { type: work, needs: [t] }";

#[test]
fn c6_try_completes_with_its_body() {
    let mut case = Case::start(TRY);
    case.complete("a", json!(1));
    case.shows("t completed, caught skipped, after running");
    assert_eq!(case.output("t"), json!({ "a": 1 }));
}

#[test]
fn c6_try_completes_when_catch_does_and_fires_caught() {
    let mut case = Case::start(TRY);
    case.fail("a", "user");
    case.shows("t running, c running");
    let config = case.sent.last().map(|task| task.config.clone()).unwrap_or_default();
    assert_eq!(config["why"], "user");
    case.complete("c", json!("mended"));
    case.shows("t completed, caught running, after running");
    assert_eq!(case.output("t"), json!({ "c": "mended" }));
}

#[test]
fn c6_try_fails_when_catch_does() {
    let mut case = Case::start(TRY);
    case.fail("a", "user");
    case.fail("c", "invalid_input");
    case.shows("t failed, caught skipped, after skipped");
    assert_eq!(case.class("t"), "invalid_input");
}

#[test]
fn c6_catch_takes_only_its_classes() {
    let text = "t: { type: try_catch, config: { classes: [not_found, user.stock] }, components: { a: { type: work } }, catch: { c: { type: work } } }";
    for (class, expected) in [
        ("not_found", "t running"),
        ("user.stock", "t running"),
        ("user", "t failed"),
        ("invalid_input", "t failed"),
    ] {
        let mut case = Case::start(text);
        case.fail("a", class);
        case.shows(expected);
    }
}

#[test]
fn c7_finally_runs_in_any_case() {
    let text = "t: { type: try_catch, components: { a: { type: work } }, catch: { c: { type: work } }, finally: { f: { type: work } } }";
    for (outcomes, expected) in [
        ("a+ f+", "t completed"),
        ("a- c+ f+", "t completed"),
        ("a- c- f+", "t failed"),
        ("a+ f-", "t failed"),
        ("a- c+ f-", "t failed"),
    ] {
        let mut case = Case::start(text);
        for outcome in outcomes.split(' ') {
            let (id, works) = outcome.split_at(1);
            if works == "+" {
                case.complete(id, Value::Null)
            } else {
                case.fail(id, "user")
            };
        }
        case.shows(expected);
    }
}

#[test]
fn c7_a_try_with_finally_alone_fails_as_its_body_did() {
    let mut case = Case::start(
        "t: { type: try_catch, components: { a: { type: work } }, finally: { f: { type: work } } }",
    );
    case.fail("a", "not_found");
    case.shows("t running, f running");
    case.complete("f", Value::Null);
    case.shows("t failed");
    assert_eq!(case.class("t"), "not_found");
}

// ---- race ----------------------------------------------------------------------------------------

const RACE: &str = "r: { type: race, components: { a: { type: work }, b: { type: work } } }
    won: { type: work, needs: [r.a] }
    lost: { type: work, needs: [r.b] }";

#[test]
fn c8_the_first_child_wins_and_the_others_are_cancelled() {
    let mut case = Case::start(RACE);
    let loser = case.report("b", completed(json!("late"), &[]));
    case.complete("a", json!("first"));
    case.shows("r completed, won running, lost skipped");
    assert_eq!(case.output("r"), json!({ "winner": "a", "output": "first" }));
    assert_eq!(case.told, [case.told_to_stop(&["b"])]);
    assert!(case.take(Input::Result(&loser)).events.is_empty());
    assert_eq!(case.late.len(), 1);
}

#[test]
fn c8_a_failed_child_leaves_the_race_to_the_others() {
    let mut case = Case::start(RACE);
    case.fail("a", "user");
    case.shows("r running");
    case.complete("b", json!(2));
    case.shows("r completed, won skipped, lost running");
}

#[test]
fn c8_a_race_fails_when_no_child_completed_and_one_failed() {
    let mut case = Case::start(RACE);
    case.fail("b", "invalid_input");
    case.fail("a", "user");
    case.shows("r failed");
    assert_eq!(case.class("r"), "invalid_input", "the first failure by the journal");
}

#[test]
fn c9_a_race_of_which_every_child_was_skipped_is_skipped() {
    let case = Case::start(
        "r: { type: race, components: { a: { type: work, when: 'false' }, b: { type: work, when: 'false' } } }
         after: { type: work, needs: [r] }
         anyway: { type: work, needs: [r], join: all_done }",
    );
    case.shows("r skipped, after skipped, anyway running");
}

#[test]
fn a_race_cancels_what_is_inside_its_losers() {
    let mut case = Case::start(
        "r: { type: race, components: { fast: { type: work }, slow: { type: for_loop, config: { to: 3, max_parallel: 2 }, components: { a: { type: work } } }, wait: { type: delay, config: { for: 1h } } } }",
    );
    case.shows("a[0] running, a[1] running");
    case.complete("fast", Value::Null);
    case.ends(Status::Completed);
    assert_eq!(case.told, [case.told_to_stop(&["a[0]", "a[1]"])]);
    assert_eq!(case.state.open_count(), 1);
}

// ---- cancel --------------------------------------------------------------------------------------

#[test]
fn cancel_lets_tasks_inside_containers_clean_up_and_opens_nothing() {
    let mut case = Case::start(
        "l: { type: for_loop, config: { to: 9, max_parallel: 2 }, components: { a: { type: work }, b: { type: work, needs: [a] } } }
         after: { type: work, needs: [l] }",
    );
    case.cancel();
    case.shows("l running, a[0] running, b[0] skipped, after skipped");
    case.complete("a[0]", Value::Null);
    case.fail("a[1]", "cancelled");
    case.ends(Status::Cancelled);
    assert_eq!(case.sent.len(), 2);
    case.shows("l cancelled");
}

#[test]
fn nothing_is_left_of_a_container_that_ended() {
    let mut case = Case::start(
        "t: { type: try_catch, components: { l: { type: for_loop, config: { to: 2, max_parallel: 2 }, components: { r: { type: race, components: { x: { type: work }, y: { type: work } } } } } }, catch: { c: { type: work } } }",
    );
    case.complete("x[0]", Value::Null);
    case.fail("x[1]", "user");
    case.fail("y[1]", "user");
    case.shows("t running, c running");
    case.complete("c", Value::Null);
    case.ends(Status::Completed);
    assert_eq!(case.state.open_count(), 1);
    assert!(case.state.dispatched.is_empty() && case.state.loops.is_empty());
}

/// A sweep may come before the timer does, and the timer would then be due for ever.
#[test]
fn a_pause_that_something_else_ended_has_no_timer() {
    let mut case = Case::start(
        "w: { type: while_loop, config: { condition: 'iteration < 2', pause: 30s }, components: { a: { type: work } } }",
    );
    case.complete("a[0]", Value::Null);
    case.now = case.now.after(seconds(31));
    case.sweep();
    case.shows("a[1] running");
    assert!(case.timers.is_empty(), "{:?}", case.timers);
}

#[test]
fn a_message_again_goes_on_with_the_rounds_that_were_put_off() {
    let mut case = Case::accept_with(
        "",
        "l: { type: for_loop, config: { to: 5000, max_parallel: 100 }, components: { a: { type: noop } } }",
        json!({}),
    );
    let decision = case.take(Input::Start);
    assert!(decision.commands.contains(&Command::GoOn));
    let cause = case.turns[1].cause;
    assert_eq!(commands_again(&case.state, cause, &case.payloads), Ok(vec![Command::GoOn]));
}

/// The parts of the list lie in the store, the list itself does not yet.
#[test]
fn what_follows_a_long_loop_can_look_into_its_output() {
    let mut case = Case::start(
        "l: { type: for_loop, config: { to: 1100, max_parallel: 1 }, components: { a: { type: work } } }
         after: { type: work, needs: [l], config: { seen: '${{ components.l.output | length }}' } }",
    );
    for round in 0..1_099 {
        let decision = case.complete(&format!("a[{round}]"), json!(round));
        for (id, bytes) in decision.payloads {
            case.payloads.insert(id, Arc::new(serde_json::from_slice(&bytes).unwrap_or_default()));
        }
    }
    let kept = std::mem::take(&mut case.payloads);
    let last = case.report("a[1099]", completed(json!(1), &[]));
    let cause = MessageId::generate();
    let decided =
        |case: &Case| decide(&mut case.state.clone(), &[Input::Result(&last)], cause, &case.around());
    let Err(Needs::Payloads(ids)) = decided(&case) else { panic!("the earlier parts are not loaded") };
    assert_eq!(ids.len(), 2);
    for id in ids {
        let Some(list) = kept.get(&id) else { panic!("{id} was never kept") };
        case.payloads.insert(id, Arc::clone(list));
    }
    let seen = decided(&case).map(|decision| match &decision.commands[..] {
        [Command::Dispatch(task)] => task.config["seen"].clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(seen, Ok(json!(1_100)));
}
