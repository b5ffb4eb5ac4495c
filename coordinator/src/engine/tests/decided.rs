//! What the engine decides itself: exits, routers, waits, lines, failures, outputs.

use super::*;

#[test]
fn start_gives_the_parameters_over_its_defaults() {
    let case = Case::start_with(
        "parameters: { a: { type: integer }, b: { type: integer, default: 2 } }",
        "s: { type: start, config: { defaults: { a: 7, b: 7 } } }",
        json!({ "b": 3 }),
    );
    assert_eq!(case.output("s"), json!({ "a": 7, "b": 3 }));
    case.ends(Status::Completed);
    assert!(case.sent.is_empty());
}

#[test]
fn end_gives_what_it_needs_or_what_it_says() {
    let mut case = Case::start(
        "a: { type: work }\nb: { type: noop, when: false }\ndone: { type: end, needs: [a, b], join: any }",
    );
    case.complete("a", json!([1]));
    assert_eq!(case.result(), Some(json!({ "a": [1] })));

    let mut case = Case::start(
        "a: { type: work }
         done: { type: end, needs: [a], config: { output: { n: '${{ components.a.output + 1 }}' } } }",
    );
    case.complete("a", json!(1));
    assert_eq!(case.result(), Some(json!({ "n": 2 })));
}

#[test]
fn several_ends_give_a_map_and_none_gives_nothing() {
    let case = Case::start(
        "one: { type: end, config: { output: 1 } }
         two: { type: end, config: { output: 2 } }
         never: { type: end, when: false }",
    );
    assert_eq!(case.result(), Some(json!({ "one": 1, "two": 2 })));
    assert_eq!(Case::start("a: { type: noop }").state.output, None);
}

#[test]
fn the_output_of_the_workflow_goes_before_its_ends() {
    let case = Case::start_with(
        "output: { n: '${{ components.done.output * 2 }}', at: '${{ execution.status }}' }",
        "done: { type: end, config: { output: 21 } }",
        json!({}),
    );
    assert_eq!(case.result(), Some(json!({ "n": 42, "at": "running" })));
}

#[test]
fn an_output_that_cannot_be_computed_fails_the_execution() {
    let mut case =
        Case::start_with("output: { n: '${{ components.a.output.n.m }}' }", "a: { type: work }", json!({}));
    case.complete("a", json!({}));
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("invalid_expression"));
}

#[test]
fn a_failed_end_fails_with_its_message() {
    let case = Case::start("out: { type: end, config: { outcome: failed, message: no stock } }");
    case.ends(Status::Failed);
    assert_eq!(case.class("out"), "user");
    assert_eq!(case.failure("out").message, "no stock");
}

#[test]
fn a_terminating_end_cancels_what_runs_and_completes() {
    let mut case = Case::start(
        "a: { type: work }
         slow: { type: work }
         after: { type: work, needs: [slow] }
         out: { type: end, needs: [a], config: { terminate: true, output: first } }",
    );
    case.complete("a", Value::Null);
    case.shows("slow cancelled, after skipped, out completed");
    case.ends(Status::Completed);
    assert_eq!(case.result(), Some(json!("first")));
    assert_eq!(case.told, [case.told_to_stop(&["slow"])]);
}

#[test]
fn a_terminating_end_in_the_turn_of_an_order_takes_the_order_back() {
    let case = Case::start("slow: { type: work }\nout: { type: end, config: { terminate: true } }");
    case.shows("slow cancelled, out completed");
    assert!(case.sent.is_empty(), "the task went out although its execution had ended");
}

#[test]
fn a_terminating_failed_end_fails_at_once() {
    let mut case = Case::start(
        "a: { type: work }
         slow: { type: work }
         out: { type: end, needs: [a], config: { terminate: true, outcome: failed, message: give up } }",
    );
    case.complete("a", Value::Null);
    case.shows("slow cancelled, out failed");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user"));
}

#[test]
fn a_decision_chooses_one_side() {
    for (n, sides) in [(4, "yes running, no skipped"), (3, "yes skipped, no running")] {
        let mut case = Case::start(
            "a: { type: work }
             big: { type: decision, needs: [a], config: { condition: components.a.output > 3 } }
             yes: { type: work, needs: [big.true] }
             no: { type: work, needs: [big.false] }
             either: { type: work, needs: [big] }",
        );
        case.complete("a", json!(n));
        case.shows(sides);
        case.shows("either running");
        assert_eq!(case.output("big"), json!(n > 3));
    }
}

#[test]
fn a_decision_on_something_else_than_true_or_false_fails() {
    let mut case = Case::start(
        "a: { type: work }\nbig: { type: decision, needs: [a], config: { condition: components.a.output } }",
    );
    case.complete("a", json!("yes"));
    assert_eq!(case.class("big"), "invalid_expression");
}

/// The ports that a switch with `rest` in its config fires when `a` gives `n`.
fn switched(rest: &str, n: Value) -> Case {
    let mut case = Case::start(&format!(
        "a: {{ type: work }}
         s: {{ type: switch, needs: [a], config: {{ {rest} }} }}"
    ));
    case.complete("a", n);
    case
}

#[test]
fn a_switch_compares_a_value() {
    let rest = "value: '${{ components.a.output }}', cases: { gold: gold, five: 5, list: [1] }";
    for (value, port) in [
        (json!("gold"), "gold"),
        (json!(5), "five"),
        (json!(5.0), "five"),
        (json!("5"), "default"),
        (json!([1]), "list"),
        (json!(null), "default"),
    ] {
        assert_eq!(switched(rest, value.clone()).output("s"), json!([port]), "{value}");
    }
}

#[test]
fn a_switch_takes_the_first_match_in_the_order_written() {
    let cases = "cases: { small: components.a.output < 10, big: components.a.output > 3, a_last: components.a.output > 5 }";
    assert_eq!(switched(cases, json!(1)).output("s"), json!(["small"]));
    assert_eq!(switched(cases, json!(7)).output("s"), json!(["small"]));
    assert_eq!(switched(cases, json!(70)).output("s"), json!(["big"]));
    assert_eq!(switched("cases: { big: components.a.output > 3 }", json!(1)).output("s"), json!(["default"]));
}

#[test]
fn a_switch_may_take_every_match() {
    let cases = "match: all, cases: { small: components.a.output < 10, big: components.a.output > 3, a_last: components.a.output > 50 }";
    let case = switched(cases, json!(7));
    assert_eq!(case.output("s"), json!(["small", "big"]));
    assert_eq!(case.component("s").ports, ["small", "big"]);
    assert_eq!(switched(cases, json!(70)).output("s"), json!(["big", "a_last"]));
}

#[test]
fn a_switch_case_that_is_neither_true_nor_false_fails() {
    let case = switched("cases: { big: components.a.output + 1 }", json!(1));
    assert_eq!(case.class("s"), "invalid_expression");
}

#[test]
fn set_variables_keeps_types_and_joins_text() {
    let case = Case::start_with(
        "parameters: { n: { type: integer }, list: { type: array } }",
        "v: { type: set_variables, config: { values: { n: '${{ parameters.n * 2 }}', text: 'n is ${{ parameters.n }}', list: '${{ parameters.list }}' } } }",
        json!({ "n": 4, "list": [1, { "x": null }] }),
    );
    assert_eq!(case.output("v"), json!({ "n": 8, "text": "n is 4", "list": [1, { "x": null }] }));
}

#[test]
fn a_log_line_is_journaled_with_level_and_fields() {
    let case = Case::start_with(
        "parameters: { n: { type: integer } }",
        "l: { type: log, config: { message: 'n is ${{ parameters.n }}', level: warn, fields: { n: '${{ parameters.n }}' } } }",
        json!({ "n": 4 }),
    );
    let lines: Vec<_> = case
        .events()
        .filter_map(|event| match event {
            Event::Decided { log, .. } => Some(log.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].message, "n is 4");
    assert_eq!(lines[0].level, shared::component::LogLevel::Warn);
    assert_eq!(lines[0].fields, Some(json!({ "n": 4 })));
    assert_eq!(lines[0].at, start_of_time());
}

#[test]
fn a_long_or_wild_log_line_is_cut_and_tamed() {
    let long = "ä".repeat(10_000);
    let case = Case::start_with(
        "parameters: { text: { type: string } }",
        "l: { type: log, config: { message: '${{ parameters.text }}' } }",
        json!({ "text": format!("\u{1b}[31m{long}") }),
    );
    let Some(Event::Decided { log, .. }) = case.events().find(|event| matches!(event, Event::Decided { .. }))
    else {
        panic!("it was decided")
    };
    let line = &log[0].message;
    assert!(line.starts_with("\\u{1b}[31m"), "{}", &line[..20]);
    assert!(line.ends_with("ä … (cut)"));
    assert!(line.len() < 16 * 1024 + 32);
}

#[test]
fn fail_fails_with_a_class_of_its_own() {
    let mut case = Case::start(
        "f: { type: fail, config: { message: sold out, class: user.no_stock, details: { sku: 7 } } }
         h: { type: work, needs: [f.error] }",
    );
    assert_eq!(case.class("f"), "user.no_stock");
    assert_eq!(case.failure("f").details, Some(json!({ "sku": 7 })));
    case.complete("h", Value::Null);
    case.ends(Status::Completed);

    assert_eq!(Case::start("f: { type: fail, config: { message: no } }").class("f"), "user");
    let case = Case::start("f: { type: fail, config: { message: no, class: timeout } }");
    assert_eq!(case.class("f"), "invalid_config");
}

#[test]
fn a_delay_waits_for_its_duration() {
    let mut case = Case::start("d: { type: delay, config: { for: 90s } }\na: { type: work, needs: [d] }");
    case.shows("d delayed, a waiting");
    assert_eq!(case.timer(&TimerKey::Delay(case.key("d"))), Some(seconds(90)));
    // A hint that comes too early decides nothing.
    let key = TimerKey::Delay(case.key("d"));
    assert!(case.take(Input::Timer(&key)).events.is_empty());
    case.tick(seconds(90));
    case.shows("d completed, a running");
    assert_eq!(case.output("d"), json!({ "until": start_of_time().after(seconds(90)).to_string() }));
}

#[test]
fn a_delay_waits_for_an_instant() {
    let until = start_of_time().after(seconds(3_600));
    let text = format!("d: {{ type: delay, config: {{ until: '{until}' }} }}");
    let mut case = Case::start(&text);
    case.tick(seconds(3_599));
    case.shows("d delayed");
    case.tick(SECOND);
    case.shows("d completed");
}

#[test]
fn a_delay_into_the_past_is_over_at_once() {
    for config in ["until: '2001-01-01T00:00:00Z'", "for: 0s"] {
        let case = Case::start(&format!("d: {{ type: delay, config: {{ {config} }} }}"));
        case.shows("d completed");
        assert!(case.timers.is_empty());
    }
}

#[test]
fn a_delay_that_cannot_be_read_fails() {
    for (config, class) in [
        ("for: '${{ parameters.x }}'", "invalid_config"),
        ("until: '${{ parameters.x }}'", "invalid_config"),
        ("for: 1s, until: '2001-01-01T00:00:00Z'", "invalid_config"),
        ("", "invalid_config"),
        ("for: 366d", "limit_exceeded"),
        ("until: '2999-01-01T00:00:00Z'", "limit_exceeded"),
    ] {
        let case = Case::start_with(
            "parameters: { x: { type: string } }",
            &format!("d: {{ type: delay, config: {{ {config} }} }}"),
            json!({ "x": "soon" }),
        );
        assert_eq!(case.class("d"), class, "{config}");
    }
}

#[test]
fn parallel_opens_every_branch_and_join_closes_them() {
    let mut case = Case::start(
        "go: { type: parallel, config: { branches: [left, right] } }
         a: { type: work, needs: [go.left] }
         b: { type: work, needs: [go.right] }
         both: { type: join, needs: [a, b] }
         out: { type: noop, needs: [both], config: { value: '${{ components.both.output.a }}' } }",
    );
    case.shows("a running, b running");
    case.complete("b", json!(2));
    case.complete("a", json!(1));
    assert_eq!(case.output("both"), json!({ "a": 1, "b": 2 }));
    assert_eq!(case.output("out"), json!(1));
    case.ends(Status::Completed);
}

#[test]
fn a_config_that_is_wrong_once_resolved_fails() {
    let case = Case::start_with(
        "parameters: { level: { type: string } }",
        "l: { type: log, config: { message: hello, level: '${{ parameters.level }}' } }",
        json!({ "level": "loud" }),
    );
    assert_eq!(case.class("l"), "invalid_config");
}

/// A chain of handlers that all fail while they are prepared, as long as a workflow may be.
#[test]
fn ten_thousand_failing_handlers_need_no_deep_stack() {
    let mut text = String::from("c0: { type: work, config: { x: '${{ parameters.gone }}' } }\n");
    for at in 1..shared::workflow::MAX_COMPONENTS {
        let before = at - 1;
        text.push_str(&format!(
            "c{at}: {{ type: work, needs: [c{before}.error], config: {{ x: '${{{{ parameters.gone }}}}' }} }}\n"
        ));
    }
    let workflow = match read("parameters: { gone: { type: string } }", &text) {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let ending = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        let mut case = Case::accept(workflow, json!({}), |_| {});
        case.take(Input::Start);
        case.state.status
    });
    let ending = ending.map(std::thread::JoinHandle::join);
    assert!(matches!(ending, Ok(Ok(Status::Failed))), "{ending:?}");
}
