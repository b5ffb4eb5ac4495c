//! Moving to another version (rows V1 to V12): before, at and after the present component.

use proptest::prelude::*;
use shared::execution::{SkipReason, moving::Move};

use super::*;

/// `a` has completed, `b` is running, `c` waits.
const CHAIN: &str = "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [b] }";

fn at_b() -> Case {
    let mut case = Case::start(CHAIN);
    case.complete("a", json!(1));
    case
}

impl Case {
    /// Why it was not moved.
    fn asks(&mut self, target: Arc<Workflow>, names: &[(&str, &str)], parameters: Value) -> Vec<String> {
        self.versions.push(Arc::clone(&target));
        let Value::Object(parameters) = parameters else { panic!("parameters are a map") };
        let asked = RequestBody::Move(Box::new(Move {
            by: "ann".to_owned(),
            reason: String::new(),
            version: self.versions.len() as u32,
            hash: target.hash.clone(),
            mapping: names.iter().map(|(old, new)| ((*old).into(), (*new).into())).collect(),
            parameters,
        }));
        self.state.learn(target);
        let decision = self.take(Input::Request(&asked));
        let refused = decision.events.iter().find_map(|event| match event {
            Event::MoveRefused { because, .. } => Some(because.clone()),
            _ => None,
        });
        if refused.is_none() {
            assert!(decision.events.iter().any(|event| matches!(event, Event::Moved(_))), "{decision:?}");
            assert_eq!(self.state.accepted.version as usize, self.versions.len());
        }
        refused.unwrap_or_default()
    }

    /// Moves it to these components.
    #[track_caller]
    fn moves(&mut self, components: &str, names: &[(&str, &str)]) {
        self.moves_with("", components, names, json!({}));
    }

    #[track_caller]
    fn moves_with(&mut self, head: &str, components: &str, names: &[(&str, &str)], parameters: Value) {
        let refused = self.asks(version(head, components), names, parameters);
        assert_eq!(refused, [""; 0], "{components}");
    }

    /// Is not moved to these components, and stays as it is; the reason holds `why`.
    #[track_caller]
    fn stays(&mut self, components: &str, names: &[(&str, &str)], why: &str) {
        let (before, commands) = (self.state.clone(), self.sent.len());
        let refused = self.asks(version("", components), names, json!({})).join("; ");
        assert!(refused.contains(why), "{refused:?} does not hold {why:?}");
        assert_eq!(self.state.scopes, before.scopes);
        assert_eq!(self.state.accepted, before.accepted);
        assert_eq!(self.sent.len(), commands);
        self.versions.pop();
    }
}

fn version(head: &str, components: &str) -> Arc<Workflow> {
    match read(head, components) {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    }
}

// ---- V1: something new --------------------------------------------------------------------

#[test]
fn v1_what_is_new_behind_the_present_component_runs_in_its_turn() {
    let mut case = at_b();
    case.moves(
        "a: { type: work }\nb: { type: work, needs: [a] }\nn: { type: work, needs: [b] }\nc: { type: work, needs: [n] }",
        &[],
    );
    case.shows("a completed, b running, n waiting, c waiting");
    case.complete("b", json!(2));
    case.shows("n running, c waiting");
    case.complete("n", json!(3));
    case.complete("c", json!(4));
    case.ends(Status::Completed);
}

#[test]
fn v1_what_is_new_beside_the_present_component_runs_at_once() {
    let mut case = at_b();
    let more = format!("{CHAIN}\nn: {{ type: work, needs: [a] }}\nm: {{ type: work }}");
    case.moves(&more, &[]);
    case.shows("b running, n running, m running, c waiting");
    assert_eq!((case.sent_of("b"), case.sent_of("n")), (vec![(1, 1)], vec![(1, 1)]));
}

#[test]
fn v1_what_is_new_before_the_present_component_is_passed_over() {
    let mut case = at_b();
    case.moves(
        "a: { type: work }\nn: { type: work, needs: [a] }\nm: { type: work, needs: [n] }\n\
         b: { type: work, needs: [m] }\nc: { type: work, needs: [b] }",
        &[],
    );
    case.shows("a completed, n skipped, m skipped, b running, c waiting");
    let passed =
        case.events().filter(|event| matches!(event, Event::Skipped { reason: SkipReason::PassedOver, .. }));
    assert_eq!(passed.count(), 2);
    case.complete("b", json!(2));
    case.complete("c", json!(3));
    case.ends(Status::Completed);
}

#[test]
fn v1_what_is_new_before_the_present_component_and_needed_later_is_in_the_way() {
    at_b().stays(
        "a: { type: work }\nn: { type: work, needs: [a] }\nb: { type: work, needs: [a, n] }\n\
         c: { type: work, needs: [b, n] }",
        &[],
        "`n` is new in version 2 and lies before what has begun, so that it will not run, and `c` needs it",
    );
}

// ---- V2: something gone --------------------------------------------------------------------

#[test]
fn v2_what_has_not_begun_may_go() {
    let mut case = at_b();
    case.moves("a: { type: work }\nb: { type: work, needs: [a] }", &[]);
    case.complete("b", json!(2));
    case.ends(Status::Completed);
}

#[test]
fn v2_what_is_under_way_may_not() {
    at_b().stays(
        "a: { type: work }\nbb: { type: work, needs: [a] }\nc: { type: work, needs: [bb] }",
        &[],
        "`b` is running, and version 2 has no such component; say in the mapping what it has become (`bb`?), or move \
         it when `b` has ended",
    );
}

#[test]
fn v2_what_has_ended_may_go_and_nothing_of_its_name_comes_again() {
    let mut case = at_b();
    case.moves("b: { type: work }\nc: { type: work, needs: [b] }", &[]);
    case.shows("b running, c waiting");
    case.stays(CHAIN, &[], "`a` of version 3 is another than the `a` that has run in this execution");
    case.complete("b", json!(2));
    case.complete("c", json!(3));
    case.ends(Status::Completed);
}

#[test]
fn v2_when_all_that_is_left_has_ended_it_ends() {
    let mut case = Case::start("a: { type: work }\nw: { type: delay, needs: [a], config: { for: 1h } }");
    case.moves("a: { type: work }", &[]);
    case.complete("a", json!(1));
    case.ends(Status::Completed);
    let mut case = Case::start("a: { type: work }\nb: { type: work, needs: [a] }");
    case.room = 0;
    let mut paused = case.clone();
    paused.take(Input::Request(&RequestBody::Pause { by: "ann".to_owned(), reason: String::new() }));
    paused.complete("a", json!(1));
    paused.moves("a: { type: work }", &[]);
    paused.ends(Status::Paused);
    paused.take(Input::Request(&RequestBody::Resume { by: "ann".to_owned() }));
    paused.ends(Status::Completed);
}

// ---- V3: something renamed -----------------------------------------------------------------

const RENAMED: &str = "x: { type: work }\ny: { type: work, needs: [x], config: { n: '${{ components.x.output }}' } }\n\
                       z: { type: work, needs: [y], config: { n: '${{ components.x.output + components.y.output }}' } }";

#[test]
fn v3_renamed_before_at_and_after() {
    let mut case = at_b();
    case.moves(RENAMED, &[("a", "x"), ("b", "y"), ("c", "z")]);
    case.shows("x completed, y running, z waiting");
    // What was sent answers under the name it was sent with.
    assert_eq!(case.sent.len(), 2);
    let result = case.report("b", completed(json!(2), &[]));
    assert_eq!(result.component.as_str(), "b");
    case.take(Input::Result(&result));
    case.shows("x completed, y completed, z running");
    assert_eq!(case.sent.last().map(|task| task.config["n"].clone()), Some(json!(3)));
    // A second copy is recognised.
    case.take(Input::Result(&result));
    assert_eq!(case.late, [""; 0]);
    case.complete("z", json!(4));
    case.ends(Status::Completed);
}

#[test]
fn v3_an_attempt_of_what_was_renamed_has_the_name_it_began_under() {
    let mut case = Case::start("a: { type: work, retry: { max_attempts: 3, backoff: fixed, initial: 10s } }");
    case.fail("a", "connection");
    case.moves("x: { type: work, retry: { max_attempts: 3, backoff: fixed, initial: 10s } }", &[("a", "x")]);
    case.tick(seconds(11));
    case.shows("x running");
    // The same key outside as before: what took effect does so once.
    assert_eq!(case.sent_of("a"), [(1, 1), (2, 1)]);
    case.complete("a", json!(1));
    case.ends(Status::Completed);
}

#[test]
fn v3_there_and_back() {
    let mut case = at_b();
    case.moves(RENAMED, &[("a", "x"), ("b", "y"), ("c", "z")]);
    case.moves(CHAIN, &[("x", "a"), ("y", "b"), ("z", "c")]);
    case.shows("a completed, b running, c waiting");
    assert_eq!(case.state.called_now(&case.key("y")), case.key("b"));
    case.complete("b", json!(2));
    case.complete("c", json!(3));
    case.ends(Status::Completed);
}

#[test]
fn v3_names_that_lead_nowhere() {
    let mut case = at_b();
    case.stays(CHAIN, &[("bb", "b")], "version 1 has no component `bb`; did you mean `b`?");
    case.stays(RENAMED, &[("a", "xx")], "`a` is to become `xx`, which version 2 has not; did you mean `x`?");
    case.stays(RENAMED, &[("a", "x"), ("b", "x")], "`a` and `b` would both become `x`");
    case.stays(
        "b: { type: work }\nc: { type: work, needs: [b] }",
        &[("a", "b")],
        "`a` and `b` would both become `b`; say in the mapping what becomes of `b` too",
    );
    case.stays(
        "a: { type: work }\ny: { type: work, needs: [a] }\nb: { type: work, needs: [y] }",
        &[("b", "y")],
        "`b` has begun and is to become `y`, and version 2 has another `b`",
    );
}

#[test]
fn v3_people_events_and_calls_go_on_under_another_name() {
    let mut case = Case::start(
        "r: { type: approval, config: { assignees: [ann] } }\ndone: { type: work, needs: [r.approved] }",
    );
    case.moves(
        "q: { type: approval, config: { assignees: [ann] } }\ndone: { type: work, needs: [q.approved] }",
        &[("r", "q")],
    );
    case.shows("q asked");
    case.decide("r", "ann", AnswerVerdict::Approve, None);
    case.shows("q completed, done running");
    let mut case = Case::start("d: { type: delay, config: { for: 30s } }\ne: { type: work, needs: [d] }");
    case.moves("w: { type: delay, config: { for: 10s } }\ne: { type: work, needs: [w] }", &[("d", "w")]);
    case.tick(seconds(20));
    case.shows("w delayed, e waiting");
    case.tick(seconds(20));
    case.shows("w completed, e running");
}

// ---- V4: something connected otherwise -----------------------------------------------------

#[test]
fn v4_what_has_not_begun_is_ready_by_its_new_connections() {
    let mut case = at_b();
    case.moves("a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [a] }", &[]);
    case.shows("b running, c running");
    let mut case = at_b();
    case.moves(
        "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [b, a.error], join: any }",
        &[],
    );
    case.complete("b", json!(2));
    case.shows("c running");
}

#[test]
fn v4_what_has_begun_waits_for_nothing() {
    let both =
        "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work }\nd: { type: work, needs: [c] }";
    let mut case = Case::start(both);
    case.complete("a", json!(1));
    let after = |needs: &str| {
        format!(
            "a: {{ type: work }}\nb: {{ type: work, needs: [{needs}] }}\nc: {{ type: work }}\nd: {{ type: work, needs: [c] }}"
        )
    };
    case.stays(
        &after("a, d"),
        &[],
        "`b` is running, and would wait for `d` in version 2, which has not ended; move executions that have not come \
         so far, or let `b` not need it",
    );
    case.stays(&after("a, c"), &[], "would wait for `c`");
    // What has ended lets it through, and need not have been needed before.
    case.complete("c", json!(2));
    case.moves(&after("c"), &[]);
    case.shows("b running, d running");
    // One of several is enough for `any`.
    case.moves(&after("c, d").replace("[c, d]", "[c, d], join: any"), &[]);
    case.complete("b", json!(3));
    case.stays(&after("a, d"), &[], "`b` has completed, and would wait for `d` in version 4");
}

#[test]
fn v4_what_was_skipped_stays_so() {
    let branch = |needs: &str| {
        format!(
            "w: {{ type: decision, config: {{ condition: 1 > 2 }} }}\ny: {{ type: work, needs: [{needs}] }}\n\
             n: {{ type: work, needs: [w.false] }}\nm: {{ type: work }}"
        )
    };
    let mut case = Case::start(&branch("w.true"));
    case.shows("y skipped, n running");
    case.stays(&branch("w"), &[], "`y` was skipped, and would run in version 2");
    case.stays(&branch("n"), &[], "`y` was skipped, and would wait for `n` in version 2");
    // One dead connection is enough, whatever the others do.
    case.moves(&branch("w.true, m"), &[]);
    case.complete("n", json!(1));
    case.complete("m", json!(1));
    case.ends(Status::Completed);
}

// ---- V5: something configured otherwise ----------------------------------------------------

#[test]
fn v5_a_config_counts_from_the_next_time_it_is_read() {
    let with = |n: u32| {
        format!(
            "a: {{ type: work, config: {{ n: {n} }} }}\n\
             b: {{ type: work, needs: [a], config: {{ n: {n} }}, retry: {{ max_attempts: 2, backoff: fixed, initial: 1s }} }}\n\
             c: {{ type: work, needs: [b], config: {{ n: {n} }} }}"
        )
    };
    let mut case = Case::start(&with(1));
    case.complete("a", json!("of one"));
    case.moves(&with(2), &[]);
    assert_eq!(case.output("a"), json!("of one"));
    assert_eq!(case.sent.len(), 2);
    case.fail("b", "connection");
    case.tick(seconds(2));
    case.complete("b", json!(null));
    let sent: Vec<Value> = case.sent.iter().map(|task| task.config["n"].clone()).collect();
    assert_eq!(sent, [json!(1), json!(1), json!(2), json!(2)]);
}

#[test]
fn v5_another_type_is_another_component() {
    let mut case = at_b();
    let kinds = |a: &str, b: &str, c: &str| {
        format!("a: {{ type: {a} }}\nb: {{ type: {b}, needs: [a] }}\nc: {{ type: {c}, needs: [b] }}")
    };
    case.stays(
        &kinds("noop", "work", "work"),
        &[],
        "`a` has completed as `work`, and is `noop` in version 2",
    );
    case.stays(&kinds("work", "noop", "work"), &[], "`b` is running as `work`, and is `noop` in version 2");
    case.moves(&kinds("work", "work", "noop"), &[]);
    case.complete("b", json!(2));
    case.ends(Status::Completed);
}

#[test]
fn v5_time_limits_are_those_of_the_new_version() {
    let limited = |fields: &str| format!("a: {{ type: work, {fields} }}");
    let total = TimerKey::Total(TaskKey::of("a".into()));
    let queue = TimerKey::Queue(TaskKey::of("a".into()));
    let mut case = Case::start(&limited("total_timeout: 1h"));
    case.tick(seconds(60));
    case.moves_with("timeout: 2h", &limited("queue_timeout: 10m"), &[], json!({}));
    assert_eq!(case.timer(&total), None);
    assert_eq!(case.timer(&queue), Some(seconds(540)));
    assert_eq!(case.timer(&TimerKey::Timeout), Some(seconds(7_140)));
    case.moves(&limited("total_timeout: 2m"), &[]);
    assert_eq!((case.timer(&queue), case.timer(&TimerKey::Timeout)), (None, None));
    case.tick(seconds(61));
    assert_eq!(case.class("a"), "timeout");
}

#[test]
fn v5_attempts_that_the_new_version_does_not_allow() {
    let allowed = |most: u32| {
        format!("a: {{ type: work, retry: {{ max_attempts: {most}, backoff: fixed, initial: 10s }} }}")
    };
    let mut case = Case::start(&allowed(3));
    case.fail("a", "connection");
    case.stays(&allowed(1), &[], "`a` is at attempt 2, and version 2 allows 1");
    case.moves(&allowed(2), &[]);
    case.tick(seconds(11));
    case.fail("a", "connection");
    case.ends(Status::Failed);
}

// ---- V6: containers ------------------------------------------------------------------------

#[test]
fn v6_an_open_container_stays_as_it_is() {
    for (kind, config) in [("group", "{}"), ("loop", "{ items: [1, 2], max_parallel: 1 }")] {
        let with = |body: &str, more: &str| {
            format!(
                "s: {{ type: work }}\nbox: {{ type: {kind}, needs: [s], config: {config}, components: {{ {body} }} }}\n\
                 e: {{ type: work, needs: [box] }}\n{more}"
            )
        };
        let one = "i: { type: work }, j: { type: work, needs: [i] }";
        let mut case = Case::start(&with(one, ""));
        // Before it is open it may be another.
        let mut early = case.clone();
        early.moves(&with("k: { type: noop }", ""), &[]);
        early.complete("s", json!(1));
        early.shows("box completed, e running");
        case.complete("s", json!(1));
        let inside = if kind == "loop" { "i[0]" } else { "i" };
        for (body, what) in [
            ("i: { type: work }", "`components` of `box`"),
            ("i: { type: work }, k: { type: work, needs: [i] }", "what became of `j` inside it"),
            ("i: { type: work }, j: { type: noop, needs: [i] }", "`type` of `j`"),
            ("i: { type: work, config: { n: 1 } }, j: { type: work, needs: [i] }", "`config` of `i`"),
            ("i: { type: work }, j: { type: work }", "`needs` of `j`"),
        ] {
            let why = format!("`box` is open, and {what} is another in version 2");
            case.stays(&with(body, ""), &[], &why);
        }
        case.moves(&with(one, "m: { type: work }"), &[]);
        case.shows(&format!("box running, {inside} running, m running"));
        case.moves(&with(one, "m: { type: work }").replace("box", "bin"), &[("box", "bin")]);
    }
}

#[test]
fn v6_an_open_race_stays_as_it_is() {
    let with = |id: &str, body: &str| {
        format!(
            "{id}: {{ type: race, components: {{ {body} }} }}\nwon: {{ type: work, needs: [{id}.i] }}\n\
             lost: {{ type: work, needs: [{id}.j] }}"
        )
    };
    let two = "i: { type: work }, j: { type: work }";
    let mut case = Case::start(&with("r", two));
    case.stays(
        &with("r", &format!("{two}, k: {{ type: work }}")),
        &[],
        "`r` is open, and `components` of `r` is another in version 2",
    );
    case.stays(
        &with("r", "i: { type: noop }, j: { type: work }"),
        &[],
        "`r` is open, and `type` of `i` is another in version 2",
    );
    case.moves(&with("s", two), &[("r", "s")]);
    case.complete("j", json!(1));
    case.shows("s completed, won skipped, lost running");
    case.complete("lost", json!(2));
    case.ends(Status::Completed);
}

#[test]
fn v6_a_loop_that_was_renamed_goes_on_with_its_rounds() {
    let with = |id: &str| {
        format!(
            "{id}: {{ type: for_loop, config: {{ to: 3, max_parallel: 2 }}, components: {{ x: {{ type: work }} }} }}\n\
             e: {{ type: work, needs: [{id}], config: {{ all: '${{{{ components.{id}.output | length }}}}' }} }}"
        )
    };
    let mut case = Case::start(&with("l"));
    case.complete("x[0]", json!(0));
    case.moves(&with("rounds"), &[("l", "rounds")]);
    for round in ["x[1]", "x[2]"] {
        case.complete(round, json!(1));
    }
    case.shows("rounds completed, e running");
    assert_eq!(case.sent.last().map(|task| task.config["all"].clone()), Some(json!(3)));
}

#[test]
fn v6_what_ran_inside_a_container_has_its_name_for_ever() {
    let mut case =
        Case::start("g: { type: group, components: { x: { type: work } } }\nb: { type: work, needs: [g] }");
    case.complete("x", json!(1));
    case.stays(
        "x: { type: work }\nb: { type: work }",
        &[],
        "`x` of version 2 is another than the `x` that has run",
    );
    case.moves("y: { type: work }\nb: { type: work }", &[]);
    case.shows("y running, b running");
}

#[test]
fn v6_what_is_under_way_does_not_change_its_place() {
    at_b().stays(
        "a: { type: work }\ng: { type: group, needs: [a], components: { b: { type: work } } }\nc: { type: work, needs: [g] }",
        &[],
        "`b` is running, and stands in another place in version 2",
    );
}

// ---- V7: failures and what undoes ----------------------------------------------------------

#[test]
fn v7_a_failure_is_handled_as_it_was() {
    let handled = "a: { type: work }\nh: { type: work, needs: [a.error] }\nb: { type: work }";
    let mut case = Case::start(handled);
    case.fail("a", "user");
    case.stays(
        "a: { type: work }\nb: { type: work }",
        &[],
        "`h` is running, and version 2 has no such component",
    );
    case.complete("h", json!(1));
    case.stays(
        "a: { type: work }\nb: { type: work }",
        &[],
        "`a` has failed and that is handled, and in version 2 nothing would handle it",
    );
    case.moves(
        "a: { type: work }\nmend: { type: work, needs: [a.error] }\nb: { type: work }",
        &[("h", "mend")],
    );
    case.complete("b", json!(2));
    case.ends(Status::Completed);
    let mut case = Case::start("a: { type: work }\nb: { type: work }");
    case.fail("a", "user");
    assert!(case.state.is_failing());
    case.stays(handled, &[], "`a` has failed and nothing handles that, and in version 2 something would");
    case.stays(
        "b: { type: work }",
        &[],
        "`a` has failed and nothing handles that, and version 2 has no such component",
    );
}

#[test]
fn v7_what_can_be_undone_is_undone_in_the_new_version() {
    let with =
        |id: &str, undo: &str| format!("{id}: {{ type: work{undo} }}\nb: {{ type: work, needs: [{id}] }}");
    let undo = ", compensate: { type: work, config: { of: '${{ this.output }}' } }";
    let mut case = Case::start(&with("a", undo));
    case.complete("a", json!(7));
    case.stays(&with("a", ""), &[], "`a` has completed and can be undone, and version 2 cannot undo it so");
    case.moves(&with("x", undo), &[("a", "x")]);
    case.fail("b", "user");
    assert_eq!(
        case.sent.last().map(|task| (task.component.to_string(), task.config["of"].clone())),
        Some(("x.compensate".to_owned(), json!(7)))
    );
    case.complete("x.compensate", json!(null));
    case.ends(Status::Failed);
}

// ---- V8: parameters ------------------------------------------------------------------------

#[test]
fn v8_parameters_that_the_new_version_requires() {
    let head = "parameters: { n: { type: integer, required: true }, m: { type: integer, default: 5 } }";
    let reads =
        format!("{CHAIN}\nd: {{ type: work, config: {{ n: '${{{{ parameters.n + parameters.m }}}}' }} }}");
    let mut case = at_b();
    let refused = case.asks(version(head, &reads), &[], json!({})).join("; ");
    assert_eq!(
        refused,
        "version 2 requires the parameter `n`, which this execution has not; give it with the move"
    );
    let refused = case.asks(version(head, &reads), &[], json!({ "n": "x" })).join("; ");
    assert!(refused.contains("as version 3 wants it"), "{refused}");
    case.moves_with(head, &reads, &[], json!({ "n": 2 }));
    assert_eq!(case.sent.last().map(|task| task.config["n"].clone()), Some(json!(7)));
    let refused = case.asks(version(head, CHAIN), &[], json!({ "n": 3 })).join("; ");
    assert!(refused.contains("the parameter `n` has a value that may have been read"), "{refused}");
}

// ---- V9: when ------------------------------------------------------------------------------

#[test]
fn v9_the_same_message_again_changes_nothing() {
    let mut case = at_b();
    let target = version("", RENAMED);
    let asked = RequestBody::Move(Box::new(Move {
        by: "ann".to_owned(),
        reason: String::new(),
        version: 2,
        hash: target.hash.clone(),
        mapping: [("a", "x"), ("b", "y"), ("c", "z")]
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect(),
        parameters: serde_json::Map::new(),
    }));
    case.versions.push(Arc::clone(&target));
    case.state.learn(Arc::clone(&target));
    case.take(Input::Request(&asked));
    let message = case.messages;
    // Somebody moves it back, and then the first message comes again.
    case.moves(CHAIN, &[("x", "a"), ("y", "b"), ("z", "c")]);
    case.messages = message - 1;
    case.state.learn(target);
    assert!(case.take(Input::Request(&asked)).events.is_empty());
    case.messages += 100;
    assert_eq!(case.state.accepted.version, 3);
}

#[test]
fn v9_what_ends_is_not_moved() {
    let mut case = at_b();
    let version_of = case.state.accepted.version;
    case.cancel();
    case.stays(CHAIN, &[], "it is being ended, and only cleans up");
    assert_eq!(case.state.accepted.version, version_of);
    let mut case = at_b();
    case.complete("b", json!(2));
    case.complete("c", json!(3));
    let target = version("", CHAIN);
    let asked = RequestBody::Move(Box::new(Move {
        by: "ann".to_owned(),
        reason: String::new(),
        version: 2,
        hash: target.hash.clone(),
        mapping: Default::default(),
        parameters: serde_json::Map::new(),
    }));
    case.state.learn(target);
    assert!(case.take(Input::Request(&asked)).events.is_empty(), "it has ended");
}

#[test]
fn v9_before_it_begins_it_is_as_if_it_had_been_accepted_so() {
    let mut case = Case::accept_with("", CHAIN, json!({}));
    case.moves("x: { type: work }", &[]);
    case.take(Input::Wake);
    case.shows("x running");
    case.complete("x", json!(1));
    case.ends(Status::Completed);
}

#[test]
fn v9_what_is_for_later_is_for_later() {
    for begun in [false, true] {
        let later = start_of_time().after(seconds(3_600));
        let mut case =
            Case::accept(version("", CHAIN), json!({}), |accepted| accepted.scheduled_at = Some(later));
        if begun {
            case.take(Input::Start);
        }
        case.moves("x: { type: work }", &[]);
        assert_eq!(case.timer(&TimerKey::Scheduled), Some(seconds(3_600)));
        case.tick(seconds(3_601));
        case.shows("x running");
    }
}

#[test]
fn v9_in_a_pause_what_is_ready_waits_for_its_end() {
    let mut case = at_b();
    case.take(Input::Request(&RequestBody::Pause { by: "ann".to_owned(), reason: String::new() }));
    case.moves(&format!("{CHAIN}\nn: {{ type: work, needs: [a] }}"), &[]);
    case.sweep();
    case.shows("b running, n waiting");
    case.ends(Status::Paused);
    case.take(Input::Request(&RequestBody::Resume { by: "ann".to_owned() }));
    case.shows("b running, n running");
}

#[test]
fn v9_a_snapshot_that_cannot_be_compiled_is_said_so() {
    let mut case = at_b();
    let asked = RequestBody::Move(Box::new(Move {
        by: "ann".to_owned(),
        reason: String::new(),
        version: 2,
        hash: "unknown".to_owned(),
        mapping: Default::default(),
        parameters: serde_json::Map::new(),
    }));
    let decision = case.take(Input::Request(&asked));
    assert!(matches!(&decision.events[..], [Event::MoveRefused { version: 2, because, .. }]
        if because[0].contains("does not know")));
}

// ---- V10: whatever the graph ---------------------------------------------------------------

/// Goes some steps of a generated graph.
fn some_steps(case: &mut Case, blocks: &[super::properties::Block], picks: &[u8], steps: usize) {
    let mut next = picks.iter().cycle().map(|pick| usize::from(*pick));
    for step in 0..steps {
        if step == 0 {
            case.take(Input::Start);
        }
        if case.state.status.is_terminal() {
            return;
        }
        let out: Vec<usize> =
            (0..blocks.len()).filter(|at| case.phase(&format!("c{at}")) == "running").collect();
        match out.get(next.next().unwrap_or_default() % out.len().max(1)) {
            Some(at) => super::properties::one_step(case, &format!("c{at}"), blocks[*at].fate),
            None => case.tick(seconds(7)),
        }
    }
}

/// Runs to the end; each task goes by the name it was sent with.
fn to_the_end(mut case: Case, blocks: &[super::properties::Block]) -> Case {
    if case.state.status == Status::Pending {
        case.take(Input::Wake);
    }
    for _ in 0..1_000 {
        if case.state.status.is_terminal() {
            return case;
        }
        let out =
            case.state.dispatched.iter().next().map(|place| case.state.key(*place).component.to_string());
        match out {
            Some(id) => {
                let at: usize = id[1..].parse().expect("generated ids have a number");
                super::properties::one_step(&mut case, &id, blocks[at].fate);
            }
            None if !case.state.ready.is_empty() => {
                case.take(Input::Wake);
            }
            None => case.tick(seconds(7)),
        }
    }
    panic!("it does not end: {:?}", case.turns)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// To the same under other names it can always be moved, and ends as it would have.
    #[test]
    fn v10_to_the_same_it_can_always_be_moved(
        blocks in super::properties::graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
        steps in 0_usize..20,
        renames in any::<bool>(),
    ) {
        let Some(case) = super::properties::accepted("", &blocks) else { return Ok(()) };
        let unmoved = super::properties::run(case.clone(), &blocks, 1_000, |_| 0);
        let mut case = case;
        some_steps(&mut case, &blocks, &picks, steps);
        if case.state.status.is_terminal() {
            return Ok(());
        }
        let text: String = blocks.iter().map(|block| block.line.as_str()).collect();
        let ids: Vec<(String, String)> =
            (0..blocks.len()).map(|at| (format!("c{at}"), format!("d{at}"))).collect();
        let (text, names) = if renames {
            let text = ids.iter().rev().fold(text, |text, (old, new)| text.replace(old.as_str(), new));
            (text, ids.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect())
        } else {
            (format!("{text}more: {{ type: noop }}\n"), Vec::new())
        };
        let refused = case.asks(version("", &text), &names, json!({}));
        prop_assert_eq!(refused, Vec::<String>::new());
        let moved = to_the_end(case, &blocks);
        let (status, mut ended) = super::properties::summary(&moved);
        ended.truncate(blocks.len());
        prop_assert_eq!(rid_of_names((status, ended)), rid_of_names(super::properties::summary(&unmoved)));
    }

    /// To whatever it can be moved, what has begun stays, and it comes to an end.
    #[test]
    fn v10_to_another_graph_it_is_moved_whole_or_not_at_all(
        from in super::properties::graph(),
        to in super::properties::graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
        steps in 0_usize..20,
    ) {
        let Some(mut case) = super::properties::accepted("", &from) else { return Ok(()) };
        let text: String = to.iter().map(|block| block.line.as_str()).collect();
        let Ok(target) = read("", &text) else { return Ok(()) };
        some_steps(&mut case, &from, &picks, steps);
        if case.state.status.is_terminal() {
            return Ok(());
        }
        let before = case.clone();
        let refused = case.asks(target, &[], json!({}));
        if !refused.is_empty() {
            prop_assert_eq!(&case.state.scopes, &before.state.scopes);
            return Ok(());
        }
        for at in 0..from.len().min(to.len()) {
            let id = format!("c{at}");
            let was = before.component(&id);
            if was.phase.is_settled() {
                prop_assert_eq!(case.component(&id).phase, was.phase);
                prop_assert_eq!(&case.component(&id).output, &was.output);
            }
        }
        let ended = to_the_end(case, &to);
        prop_assert!(ended.state.root().is_settled());
    }
}

/// The outputs of generated tasks are their names.
fn rid_of_names(
    (status, ended): (Status, Vec<super::properties::Ended>),
) -> (Status, Vec<super::properties::Ended>) {
    let ended = ended.into_iter().map(|(phase, ports, output, class)| {
        (phase, ports, output.map(|_| Payload::Inline(Value::Null)), class)
    });
    (status, ended.collect())
}
