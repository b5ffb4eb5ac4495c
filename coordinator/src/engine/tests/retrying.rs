//! Executions that have ended, done again (rows A1 to A13): what is kept, what runs again, and what is refused.

use proptest::prelude::*;
use shared::{
    execution::{
        Carry,
        again::{Ended, Fate, Plan, Refusal, Wanted, plan},
    },
    workflow::compare,
};

use super::*;

fn ended(case: &Case) -> Ended {
    let (first, rest) = case.turns.split_first().expect("it has turns");
    let mut ended = Ended::begin(Arc::clone(&case.state.workflow), first).expect("it folds");
    for turn in rest {
        ended.see(turn).expect("it folds");
    }
    assert_eq!(*ended.execution(), case.state);
    ended
}

/// `failed`, `whole`, or ids.
fn wanted(text: &str) -> Wanted {
    match text {
        "failed" => Wanted::Failed,
        "whole" => Wanted::Whole,
        ids => Wanted::Components(ids.split(' ').map(shared::ids::ComponentId::new).collect()),
    }
}

fn planned(case: &Case, from: &str) -> Result<Plan, Refusal> {
    let parameters = &case.state.accepted.parameters;
    plan(&ended(case), &case.state.workflow, &[], &wanted(from), parameters)
}

/// `a completed, b skipped, c follows`.
fn fates(plan: &Plan) -> String {
    let words = plan.components.iter().map(|(id, fate)| {
        let word = match fate {
            Fate::Kept(Carry::Completed { .. }) => "completed",
            Fate::Kept(Carry::Failed { .. }) => "handled",
            Fate::Kept(Carry::Skipped { .. }) => "skipped",
            Fate::Again(why) => why.as_str(),
        };
        format!("{id} {word}")
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The execution that does this one again, accepted.
fn accepted_again(case: &Case, plan: &Plan) -> Case {
    again_as(case, &case.state.workflow, plan, json!(case.state.accepted.parameters))
}

fn again_as(case: &Case, workflow: &Arc<Workflow>, plan: &Plan, parameters: Value) -> Case {
    let of = case.state.id;
    let id = ExecutionId::from_uuid(uuid::Uuid::from_u128(of.as_uuid().as_u128() + 1));
    let mut first = first_turn(workflow, parameters, |accepted| accepted.retry_of = Some(of));
    first.execution = id;
    first.at = case.now;
    first.events.extend(plan.events(of));
    let mut again = Case::begin(Arc::clone(workflow), first);
    again.payloads = case.payloads.clone();
    again
}

fn again(case: &Case, from: &str) -> Case {
    let plan = planned(case, from).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut again = accepted_again(case, &plan);
    again.take(Input::Start);
    again
}

/// Runs a document by a script: `a`, `b fails`, `c left`; at its end nothing is out.
fn run(head: &str, components: &str, script: &str) -> Case {
    let mut case = Case::start_with(head, components, json!({}));
    for step in script.split(", ").filter(|step| !step.is_empty()) {
        match step.split_once(' ') {
            None => case.complete(step, json!(format!("of {step}"))),
            Some((id, "fails")) => case.fail(id, "user"),
            Some((id, port)) => case.choose(id, &[port]),
        };
    }
    case
}

#[test]
fn a1_what_completed_is_kept_and_what_failed_runs_again_with_what_follows() {
    // Components, script, what runs again, and the fates.
    let rows = [
        // A chain that failed in its middle.
        (
            "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [b] }",
            "a, b fails",
            "failed",
            "a completed, b failed, c follows",
        ),
        // A branch beside it is kept; their join is not.
        (
            "a: { type: work }\nb: { type: work }\nc: { type: join, needs: [a, b] }\nd: { type: work, needs: [b] }",
            "a fails, b, d",
            "failed",
            "a failed, b completed, c follows, d completed",
        ),
        // A component, and what follows; the failure elsewhere too.
        (
            "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work }\nd: { type: work, needs: [c] }",
            "a, c, b, d fails",
            "a",
            "a named, b follows, c completed, d failed",
        ),
        // The branch that was not taken stays so.
        (
            "a: { type: pick, config: { ports: [left, right] } }
             l: { type: work, needs: [a.left] }
             r: { type: work, needs: [a.right] }
             z: { type: work, needs: [l, r], join: any }",
            "a left, l, z fails",
            "failed",
            "a completed, l completed, r skipped, z failed",
        ),
        (
            "a: { type: work }\nw: { type: work, needs: [a], when: false }\nz: { type: work, needs: [w, a], join: all_done }",
            "a, z fails",
            "failed",
            "a completed, w skipped, z failed",
        ),
        // A failure that was handled is done with.
        (
            "a: { type: work }\nh: { type: work, needs: [a.error] }\nz: { type: work, needs: [h] }",
            "a fails, h, z fails",
            "failed",
            "a handled, h completed, z failed",
        ),
        // One whose handler failed is not.
        (
            "a: { type: work }\nh: { type: work, needs: [a.error] }",
            "a fails, h fails",
            "failed",
            "a failed, h failed",
        ),
        // Who reads both ends of a failure follows it.
        (
            "a: { type: work }\nz: { type: work, needs: [a], join: all_done }",
            "a fails, z",
            "failed",
            "a failed, z follows",
        ),
        // One that did not need it in the end follows it all the same.
        (
            "a: { type: work }\nb: { type: work }\nz: { type: work, needs: [a, b], join: any }",
            "a, z, b fails",
            "failed",
            "a completed, b failed, z follows",
        ),
        // An `end` is put together anew.
        (
            "a: { type: work }\ne: { type: end, needs: [a] }\nb: { type: work }",
            "a, b fails",
            "failed",
            "a completed, e exit, b failed",
        ),
        ("a: { type: work }\nb: { type: work, needs: [a] }", "a, b", "whole", "a whole, b whole"),
        ("a: { type: work }\nb: { type: work, needs: [a] }", "a, b", "b", "a completed, b named"),
    ];
    for (components, script, from, expected) in rows {
        let case = run("", components, script);
        assert!(case.state.status.is_terminal(), "{script}");
        let plan = planned(&case, from).unwrap_or_else(|refusal| panic!("{script}: {refusal}"));
        assert_eq!(fates(&plan), expected, "{components}\n{script}");
    }
}

#[test]
fn a2_what_is_kept_never_runs_and_what_follows_reads_it() {
    let components = "a: { type: work }
         b: { type: work, needs: [a], config: { got: '${{ components.a.output }}' } }
         c: { type: work, needs: [b] }";
    let case = run("", components, "a, b fails");
    let mut again = again(&case, "failed");
    again.shows("a completed, b running, c waiting");
    assert_eq!(again.sent.len(), 1);
    assert_eq!(again.sent[0].config["got"], json!("of a"));
    again.complete("b", json!(2));
    again.complete("c", json!(3));
    again.ends(Status::Completed);
    assert!(again.sent_of("a").is_empty());
    // The old one is as it was.
    case.ends(Status::Failed);
}

#[test]
fn a3_cancelled_and_killed_ones_go_on_where_they_stood() {
    let components = "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [b] }";
    let mut cancelled = Case::start(components);
    cancelled.complete("a", json!(1));
    cancelled.cancel();
    cancelled.fail("b", "cancelled");
    cancelled.ends(Status::Cancelled);
    assert_eq!(
        fates(&planned(&cancelled, "failed").expect("planned")),
        "a completed, b unfinished, c unfinished"
    );
    again(&cancelled, "failed").shows("a completed, b running, c waiting");

    let mut killed = Case::start(components);
    killed.complete("a", json!(1));
    killed.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    killed.ends(Status::Cancelled);
    again(&killed, "failed").shows("a completed, b running, c waiting");

    // Ended before it began.
    let mut early = Case::accept_with("", components, json!({}));
    early.cancel();
    early.ends(Status::Cancelled);
    again(&early, "failed").shows("a running, b waiting, c waiting");
}

#[test]
fn a4_what_is_open_or_has_nothing_to_do_again_is_refused() {
    let components = "a: { type: work }\ng: { type: group, components: { x: { type: work } } }";
    let open = Case::start_with("finally: { f: { type: noop } }", components, json!({}));
    assert_eq!(planned(&open, "failed"), Err(Refusal::Open(Status::Running)));
    let mut case = open;
    case.complete("a", json!(1));
    case.complete("x", json!(1));
    case.ends(Status::Completed);
    assert_eq!(planned(&case, "failed"), Err(Refusal::NothingFailed));
    let refusal = |from: &str| match planned(&case, from) {
        Err(refusal) => refusal.to_string(),
        Ok(plan) => panic!("{}", fates(&plan)),
    };
    assert_eq!(refusal("x"), "`x` stands inside `g`, which runs again as a whole; name `g`");
    assert_eq!(refusal("aa"), "the workflow has no component `aa`; did you mean `a`?");
    assert!(refusal("f").starts_with("`f` cleans up"), "{}", refusal("f"));
}

#[test]
fn a5_what_was_undone_runs_again_and_what_was_not_can_still_be() {
    let components = "a: { type: work, compensate: { type: work, config: { undo: '${{ this.output }}' } } }
         b: { type: work, needs: [a] }
         c: { type: work, needs: [b] }";
    let mut case = run("", components, "a, b, c fails");
    case.complete("a.compensate", Value::Null);
    case.ends(Status::Failed);
    assert_eq!(fates(&planned(&case, "failed").expect("planned")), "a undone, b follows, c failed");

    // Killed, nothing was undone: who goes on answers for it.
    let mut killed = run("", components, "a, b");
    killed.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    let mut again = again(&killed, "failed");
    again.shows("a completed, b completed, c running");
    again.fail("c", "user");
    assert_eq!(again.sent.last().map(|task| task.config["undo"].clone()), Some(json!("of a")));
    again.complete("a.compensate", Value::Null);
    again.ends(Status::Failed);
}

#[test]
fn a6_a_container_is_kept_when_it_completed_and_runs_again_as_a_whole_when_not() {
    let components = "l: { type: for_loop, config: { to: 2 }, components: { x: { type: work } } }
         g: { type: group, needs: [l], components: { y: { type: work }, z: { type: work, needs: [y] } } }";
    let mut case = Case::start(components);
    case.complete("x[0]", json!(1));
    case.complete("x[1]", json!(2));
    case.complete("y", json!(3));
    case.fail("z", "user");
    let plan = planned(&case, "failed").expect("planned");
    assert_eq!(fates(&plan), "l completed, g failed");
    let Some((id, Fate::Again(why))) = plan.components.last() else { panic!("{plan:?}") };
    let index = case.state.workflow.index_of(id.as_str()).expect("it is there");
    let sentence = why.sentence(&case.state.workflow.components[index]);
    assert_eq!(sentence, "It failed. A container runs again as a whole, also what completed inside it.");
    let mut again = again(&case, "failed");
    assert_eq!(again.output("l"), case.output("l"));
    again.shows("g running, y running");
    again.complete("y", json!(4));
    again.complete("z", json!(5));
    again.ends(Status::Completed);
}

#[test]
fn a7_an_execution_that_was_started_beside_and_ended_with_it_is_started_again() {
    let components =
        "s: { type: sub_workflow, config: { workflow: other, wait: false, on_parent_close: POLICY } }
         b: { type: work, needs: [s] }";
    for (policy, expected) in
        [("cancel", "s closed, b failed"), ("kill", "s closed, b failed"), ("leave", "s completed, b failed")]
    {
        let mut case = Case::start(&components.replace("POLICY", policy));
        let (task, child) = (case.key("s"), called(&case));
        case.take(Input::Child { task: &task, child, ending: &shared::wire::ChildEnding::Accepted });
        case.fail("b", "user");
        assert_eq!(fates(&planned(&case, "failed").expect("planned")), expected, "{policy}");
    }
}

fn called(case: &Case) -> ExecutionId {
    let child = case.events().find_map(|event| match event {
        Event::ChildOrdered { child, .. } => Some(*child),
        _ => None,
    });
    child.expect("it was called")
}

#[test]
fn a8_a_failed_sub_workflow_is_called_again() {
    let mut case = Case::start("s: { type: sub_workflow, config: { workflow: other } }");
    let (task, child) = (case.key("s"), called(&case));
    let failure = Failure::new(FailureClass::User(None), "no");
    case.take(Input::Child { task: &task, child, ending: &shared::wire::ChildEnding::Failed { failure } });
    case.ends(Status::Failed);
    let again = again(&case, "failed");
    assert_ne!(called(&again), child);
}

#[test]
fn a9_a_retry_can_be_done_again() {
    let components = "a: { type: work }\nb: { type: work, needs: [a] }\nc: { type: work, needs: [b] }";
    let case = run("", components, "a, b fails");
    let mut second = again(&case, "failed");
    second.complete("b", json!(2));
    second.fail("c", "user");
    let plan = planned(&second, "failed").expect("planned");
    assert_eq!(fates(&plan), "a completed, b completed, c failed");
    let carried = plan.events(second.state.id);
    assert!(
        carried.iter().all(|event| matches!(event, Event::Carried { from, .. } if *from == second.state.id))
    );
    again(&second, "failed").shows("a completed, b completed, c running");
}

#[test]
fn a10_an_execution_of_which_everything_is_kept_ends_at_once() {
    let mut case = run("finally: { f: { type: work } }", "a: { type: work }", "a");
    case.fail("f", "user");
    case.ends(Status::Failed);
    let mut again = again(&case, "failed");
    again.shows("a completed, f running");
    again.complete("f", Value::Null);
    again.ends(Status::Completed);
}

#[test]
fn a11_what_is_kept_must_fit_the_version_that_runs() {
    const A: &str = "a: { type: work, config: { n: 1 } }";
    const B: &str = "b: { type: work, needs: [a] }";
    const G: &str = "g: { type: group, components: { x: { type: work, config: { n: 1 } } } }";
    let mut case = Case::start(&[A, G, B].join("\n"));
    case.complete("a", json!(1));
    case.complete("x", json!(1));
    case.fail("b", "user");
    let text = [A, G, B].join("\n");
    let try_as = |components: &[&str], from: &str| {
        let (before, after) = (document("", &text), document("", &components.join("\n")));
        let (before, after) = (
            workflow::read(&before, catalogue()).expect("fine"),
            workflow::read(&after, catalogue()).expect("fine"),
        );
        let differences = compare(&before.canonical, &after.canonical);
        let parameters = &case.state.accepted.parameters;
        plan(&ended(&case), &after.workflow, &differences, &wanted(from), parameters)
            .map(|plan| fates(&plan))
            .map_err(|refusal| refusal.to_string())
    };
    let doubt = |found: Result<String, String>| match found {
        Err(text) => text,
        Ok(fates) => panic!("{fates}"),
    };
    // Only what runs again is mended, and how a kept one would have run does not matter.
    let mended = "b: { type: work, needs: [a], config: { n: 2 } }";
    let slower = "a: { type: work, title: First, timeout: 5s, config: { n: 1 } }";
    assert_eq!(try_as(&[slower, G, mended], "failed").as_deref(), Ok("a completed, g completed, b failed"));
    // A new one runs.
    let new = "n: { type: work }";
    assert_eq!(try_as(&[A, G, B, new], "failed").as_deref(), Ok("a completed, g completed, b failed, n new"));
    // A kept one that is another is refused, and which.
    let other = "a: { type: work, config: { n: 2 } }";
    let text = doubt(try_as(&[other, G, B], "failed"));
    assert!(
        text.contains("`a` is another in this version (config.n)") && text.contains("let `a` run again too"),
        "{text}"
    );
    assert_eq!(try_as(&[other, G, B], "a").as_deref(), Ok("a named, g completed, b failed"));
    assert!(try_as(&[other, G, B], "whole").is_ok());
    // So is one inside which something is.
    let inside = "g: { type: group, components: { x: { type: work, config: { n: 2 } } } }";
    let text = doubt(try_as(&[A, inside, B], "failed"));
    assert!(text.contains("`g` is another in this version (x: config.n)"), "{text}");
    // And one that waits for others now.
    let waits = "g: { type: group, needs: [a], components: { x: { type: work, config: { n: 1 } } } }";
    let text = doubt(try_as(&[A, waits, B], "failed"));
    assert!(text.contains("`g` is another in this version (needs)"), "{text}");
    // One that is gone cannot be let run.
    let alone = "b: { type: work }";
    let text = doubt(try_as(&[G, alone], "failed"));
    assert!(text.contains("`a` does not stand among") && text.contains("(`same`)"), "{text}");
}

#[test]
fn a12_what_reads_a_parameter_that_is_changed_is_not_kept_unasked() {
    let head = "parameters: { n: { type: integer, default: 1 }, m: { type: integer, default: 1 } }";
    let components = "s: { type: start }
         a: { type: work, needs: [s], config: { n: '${{ parameters.n }}' } }
         b: { type: work, needs: [s], config: { m: '${{ components.s.output.m }}' } }
         c: { type: work, needs: [a, b], config: { m: '${{ parameters.m }}' } }";
    let mut case = Case::start_with(head, components, json!({ "n": 1, "m": 1 }));
    case.complete("a", json!(1));
    case.complete("b", json!(1));
    case.fail("c", "user");
    let with = |n: i64, m: i64, from: &str| {
        let Value::Object(parameters) = json!({ "n": n, "m": m }) else { panic!("a map") };
        plan(&ended(&case), &case.state.workflow, &[], &wanted(from), &parameters)
    };
    assert_eq!(
        fates(&with(1, 1, "failed").expect("as it was")),
        "s completed, a completed, b completed, c failed"
    );
    let refusal = |n, m| with(n, m, "failed").map(|plan| fates(&plan)).expect_err("refused").to_string();
    assert!(refusal(2, 1).contains("`a` read `n`, which you change"), "{}", refusal(2, 1));
    assert!(refusal(1, 2).contains("`b` read `m`, which you change"), "{}", refusal(1, 2));
    // `start` gives the new ones, and what only follows from it need not run.
    let plan = with(1, 2, "b").expect("planned");
    assert_eq!(fates(&plan), "s parameters, a completed, b named, c failed");
    let mut again = again_as(&case, &case.state.workflow, &plan, json!({ "n": 1, "m": 2 }));
    again.take(Input::Start);
    again.shows("s completed, a completed, b running, c waiting");
    assert_eq!(again.sent[0].config["m"], json!(2));
}

#[test]
fn a13_what_runs_at_most_once_and_may_have_acted_is_not_repeated_unasked() {
    let refused =
        |case: &Case, from: &str| planned(case, from).map(|plan| fates(&plan)).map_err(|it| it.to_string());
    let kill = || RequestBody::Kill { by: "ann".to_owned(), reason: String::new() };
    // Killed while it may have paid.
    let mut case =
        Case::start("pay: { type: work, delivery: at_most_once }\nb: { type: work, needs: [pay] }");
    assert!(case.ask("pay", AskKind::Grant, 1));
    case.take(Input::Request(&kill()));
    let text = refused(&case, "failed").expect_err("refused");
    assert!(
        text.contains("`pay` runs at most once, and may have") && text.contains("let `pay` run again too"),
        "{text}"
    );
    assert_eq!(refused(&case, "pay").as_deref(), Ok("pay named, b unfinished"));
    assert!(refused(&case, "whole").is_ok());
    // Nobody had begun it.
    let mut case = Case::start("pay: { type: work, delivery: at_most_once }");
    case.take(Input::Request(&kill()));
    assert_eq!(refused(&case, "failed").as_deref(), Ok("pay unfinished"));
    // It is known to have failed.
    let mut case = Case::start("pay: { type: work, delivery: at_most_once }");
    assert!(case.ask("pay", AskKind::Grant, 1));
    case.fail("pay", "user");
    assert_eq!(refused(&case, "failed").as_deref(), Ok("pay failed"));
    // One inside a loop has paid, and the loop runs as a whole.
    let mut case = Case::start(
        "l: { type: for_loop, config: { to: 2 }, components: { pay: { type: work, delivery: at_most_once } } }",
    );
    assert!(case.ask("pay[0]", AskKind::Grant, 1));
    case.complete("pay[0]", json!(1));
    case.take(Input::Request(&kill()));
    let text = refused(&case, "failed").expect_err("refused");
    assert!(text.contains("`l` began a task inside it that runs at most once"), "{text}");
    assert_eq!(refused(&case, "l").as_deref(), Ok("l named"));
}

/// Runs a generated graph to its end, or cancels or kills it on the way.
fn to_an_end(case: Case, blocks: &[super::properties::Block], picks: &[u8], steps: usize, how: u8) -> Case {
    let mut next = picks.iter().cycle().map(|pick| usize::from(*pick));
    if how == 0 {
        return super::properties::run(case, blocks, 1_000, |_| next.next().unwrap_or_default());
    }
    let mut case = case;
    super::properties::take(&mut case, &Input::Start);
    for _ in 0..steps {
        if case.state.status.is_terminal() {
            return case;
        }
        let out: Vec<usize> =
            (0..blocks.len()).filter(|at| case.phase(&format!("c{at}")) == "running").collect();
        match out.get(next.next().unwrap_or_default() % out.len().max(1)) {
            Some(at) => super::properties::one_step(&mut case, &format!("c{at}"), blocks[*at].fate),
            None => case.tick(seconds(7)),
        }
    }
    if case.state.status.is_terminal() {
        return case;
    }
    if how == 1 {
        case.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    } else {
        case.cancel();
        case.tick(seconds(10));
    }
    case
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// What is kept and what runs again is everything; nothing that follows from what runs again is kept; and the
    /// new execution ends without running anything that it has kept.
    #[test]
    fn nothing_is_lost_and_nothing_kept_follows_from_what_runs_again(
        blocks in super::properties::graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
        steps in 0_usize..20,
        how in 0_u8..3,
        pick in any::<prop::sample::Index>(),
        from in 0_u8..4,
    ) {
        let Some(case) = super::properties::accepted("", &blocks) else { return Ok(()) };
        let case = to_an_end(case, &blocks, &picks, steps, how);
        prop_assert!(case.state.status.is_terminal());
        let from = match from {
            0 => "whole".to_owned(),
            1 => format!("c{}", pick.index(blocks.len())),
            _ => "failed".to_owned(),
        };
        let plan = match planned(&case, &from) {
            Ok(plan) => plan,
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::NothingFailed);
                prop_assert_eq!(case.state.status, Status::Completed);
                return Ok(());
            }
        };
        let workflow = &case.state.workflow;
        let all: Vec<&str> = plan.components.iter().map(|(id, _)| id.as_str()).collect();
        let own: Vec<&str> =
            workflow.scopes[0].components.iter().map(|index| workflow.components[*index].id.as_str()).collect();
        prop_assert_eq!(all, own);
        let kept: std::collections::BTreeSet<&str> = plan
            .components
            .iter()
            .filter(|(_, fate)| matches!(fate, Fate::Kept(_)))
            .map(|(id, _)| id.as_str())
            .collect();
        for id in &kept {
            let component = &workflow.components[workflow.index_of(id).expect("it is there")];
            for need in &component.needs {
                let from = workflow.components[need.from].id.as_str();
                prop_assert!(kept.contains(from), "{id} is kept and {from}, which it needs, is not");
            }
        }
        let mut again = accepted_again(&case, &plan);
        for id in &kept {
            prop_assert_eq!(again.phase(id), case.phase(id));
            prop_assert_eq!(&again.component(id).output, &case.component(id).output);
            prop_assert_eq!(&again.component(id).ports, &case.component(id).ports);
        }
        let mut next = picks.iter().cycle().map(|pick| usize::from(*pick));
        again = super::properties::run(again, &blocks, 1_000, |_| next.next().unwrap_or_default());
        prop_assert!(again.state.root().is_settled());
        for task in &again.sent {
            prop_assert!(!kept.contains(task.component.as_str()), "{} ran though it was kept", task.component);
        }
        // What ends the same way ends the same, in whatever execution.
        if how == 0 && from == "failed" {
            prop_assert_eq!(super::properties::summary(&again), super::properties::summary(&case));
        }
    }
}
