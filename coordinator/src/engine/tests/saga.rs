//! Compensation, `on_failure`, `finally`, kill, and sub-workflows: the rows S9 to S13.

use shared::{component::control::OnParentClose, execution::Parent, wire::ChildEnding};

use super::*;

const BOOK: &str = "a: { type: work, compensate: { type: work, config: { undo: '${{ this.output.id }}' } } }
    b: { type: work, needs: [a], compensate: { type: work, config: { undo: '${{ this.output.id }}' } } }
    c: { type: work, needs: [b] }";

fn undone(case: &Case) -> Vec<Value> {
    case.sent
        .iter()
        .filter(|task| task.component.as_str().ends_with(".compensate"))
        .map(|task| task.config["undo"].clone())
        .collect()
}

fn book(head: &str) -> Case {
    let mut case = Case::start_with(head, BOOK, json!({}));
    case.complete("a", json!({ "id": 1 }));
    case.complete("b", json!({ "id": 2 }));
    case
}

#[test]
fn s9_a_failed_workflow_is_undone_newest_first_then_handled_then_finished() {
    let head = "on_failure: { tell: { type: work, config: { why: '${{ error.message }}' } } }
finally: { last: { type: work, config: { status: '${{ execution.status }}' } } }";
    let mut case = book(head);
    case.fail("c", "user");
    case.shows("b.compensate running");
    case.ends(Status::Running);
    assert_eq!(undone(&case), [json!(2)], "one after the other");
    case.complete("b.compensate", Value::Null);
    assert_eq!(undone(&case), [json!(2), json!(1)]);
    case.complete("a.compensate", Value::Null);
    case.shows("tell running");
    let why = case.sent.last().map(|task| task.config["why"].clone());
    assert_eq!(why, Some(json!("c: it did not work")));
    case.complete("tell", Value::Null);
    case.shows("last running");
    assert_eq!(case.sent.last().map(|task| task.config["status"].clone()), Some(json!("failed")));
    case.ends(Status::Running);
    case.complete("last", Value::Null);
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user"));
}

#[test]
fn s9_a_completed_workflow_is_not_undone_but_finished() {
    let mut case = book(
        "on_failure: { tell: { type: work } }\nfinally: { last: { type: log, config: { message: '${{ execution.status }}' } } }",
    );
    case.complete("c", Value::Null);
    case.ends(Status::Completed);
    assert!(undone(&case).is_empty());
    let told = case.events().any(|event| {
        matches!(event, Event::Decided { log, .. } if log.iter().any(|line| line.message == "completed"))
    });
    assert!(told, "`finally` did not run");
}

#[test]
fn a_handled_failure_undoes_nothing() {
    let mut case = Case::start(
        "a: { type: work, compensate: { type: work } }
         b: { type: work, needs: [a] }
         h: { type: work, needs: [b.error] }",
    );
    case.complete("a", Value::Null);
    case.fail("b", "user");
    case.complete("h", Value::Null);
    case.ends(Status::Completed);
    assert_eq!(case.sent.len(), 3);
}

#[test]
fn compensations_are_retried_as_tasks_are() {
    let mut case = Case::start(
        "a: { type: work, compensate: { type: work, retry: { max_attempts: 2, backoff: fixed, initial: 1s, jitter: false } } }
         b: { type: work, needs: [a] }",
    );
    case.complete("a", Value::Null);
    case.fail("b", "user");
    case.fail("a.compensate", "connection");
    case.shows("a.compensate retrying");
    case.tick(seconds(1));
    case.complete("a.compensate", Value::Null);
    case.ends(Status::Failed);
}

#[test]
fn s10_a_failed_compensation_is_recorded_and_the_others_go_on() {
    let mut case = book("");
    case.fail("c", "user");
    case.fail("b.compensate", "invalid_input");
    case.complete("a.compensate", Value::Null);
    case.ends(Status::Failed);
    let failure = case.state.failure.clone().unwrap_or_else(|| panic!("it failed"));
    assert_eq!(failure.class.to_string(), "user", "the first failure stays the reason");
    let details = failure.details.unwrap_or_default();
    assert_eq!(details["compensation_incomplete"], json!(["b"]));
}

#[test]
fn s10_a_compensation_that_cannot_be_prepared_is_recorded_too() {
    let mut case = Case::start(
        "a: { type: work, compensate: { type: work, config: { undo: '${{ this.output.missing }}' } } }
         b: { type: work, needs: [a] }",
    );
    case.complete("a", json!({}));
    case.fail("b", "user");
    case.ends(Status::Failed);
    let details = case.state.failure.clone().and_then(|failure| failure.details).unwrap_or_default();
    assert_eq!(details["compensation_incomplete"], json!(["a"]));
}

#[test]
fn s11_a_failed_finally_fails_a_completed_execution() {
    let mut case = Case::start_with("finally: { f: { type: work } }", "a: { type: work }", json!({}));
    case.complete("a", Value::Null);
    case.fail("f", "invalid_input");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("invalid_input"));
}

#[test]
fn s11_a_failed_execution_keeps_its_first_error() {
    let head = "on_failure: { h: { type: work } }\nfinally: { f: { type: work } }";
    let mut case = Case::start_with(head, "a: { type: work }", json!({}));
    case.fail("a", "user");
    case.fail("h", "not_found");
    case.fail("f", "invalid_input");
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("user"));
    let details = case.state.failure.clone().and_then(|failure| failure.details).unwrap_or_default();
    assert_eq!(details["cleanup_failed"]["class"], "not_found");
}

#[test]
fn s12_cancel_runs_finally_and_compensates_only_where_asked() {
    for (head, expected) in [("", 0), ("compensate_on_cancel: true", 2)] {
        let mut case = book(&format!("{head}\nfinally: {{ f: {{ type: work }} }}"));
        case.cancel();
        case.fail("c", "cancelled");
        let mut seen = 0;
        for id in ["b.compensate", "a.compensate"] {
            if seen < expected {
                case.shows(&format!("{id} running"));
                case.complete(id, Value::Null);
                seen += 1;
            }
        }
        case.shows("f running");
        case.complete("f", Value::Null);
        case.ends(Status::Cancelled);
        assert_eq!(undone(&case).len(), expected);
    }
}

#[test]
fn s12_what_completes_while_cancelling_can_be_undone() {
    let mut case = Case::start_with(
        "compensate_on_cancel: true",
        "a: { type: work, compensate: { type: work } }",
        json!({}),
    );
    case.cancel();
    case.complete("a", Value::Null);
    case.shows("a.compensate running");
    case.complete("a.compensate", Value::Null);
    case.ends(Status::Cancelled);
}

#[test]
fn s13_kill_fences_now_and_cleans_nothing_up() {
    let mut case = book("compensate_on_cancel: true\nfinally: { f: { type: work } }");
    let result = case.report("c", completed(Value::Null, &[]));
    case.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    case.ends(Status::Cancelled);
    assert!(undone(&case).is_empty() && case.sent_of("f").is_empty());
    let details = case.state.failure.clone().and_then(|failure| failure.details).unwrap_or_default();
    assert_eq!(details["reason"], "killed");
    assert_eq!(case.told, [case.told_to_stop(&["c"])]);
    assert!(case.take(Input::Result(&result)).events.is_empty());
    assert_eq!(case.late.len(), 1);
}

#[test]
fn s13_kill_ends_what_only_cleans_up() {
    let mut case = book("");
    case.fail("c", "user");
    case.shows("b.compensate running");
    case.take(Input::Request(&RequestBody::Kill { by: "ann".to_owned(), reason: String::new() }));
    case.ends(Status::Cancelled);
}

#[test]
fn s15_a_time_limit_is_followed_by_cleaning_up() {
    let mut case = Case::start_with(
        "timeout: 1m\nfinally: { f: { type: work } }",
        "a: { type: work, compensate: { type: work } }\nslow: { type: work, needs: [a] }",
        json!({}),
    );
    case.complete("a", Value::Null);
    case.tick(seconds(60));
    case.shows("a.compensate running");
    case.complete("a.compensate", Value::Null);
    case.complete("f", Value::Null);
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("timeout"));
}

#[test]
fn the_rounds_of_a_loop_are_undone_with_what_they_saw() {
    let mut case = Case::start(
        "l: { type: loop, config: { items: [x, y] }, components: { p: { type: work }, hold: { type: work, needs: [p], compensate: { type: work, config: { undo: '${{ item }}-${{ this.output }}-${{ components.p.output }}' } } } } }
         ship: { type: work, needs: [l] }",
    );
    for (round, id) in [(1, "p1"), (0, "p0")] {
        case.complete(&format!("p[{round}]"), json!(id));
        case.complete(&format!("hold[{round}]"), json!(round));
    }
    case.fail("ship", "user");
    case.complete("hold.compensate[0]", Value::Null);
    case.complete("hold.compensate[1]", Value::Null);
    case.ends(Status::Failed);
    assert_eq!(undone(&case), [json!("x-0-p0"), json!("y-1-p1")], "newest first");
}

#[test]
fn on_failure_stays_away_when_all_is_well() {
    let mut case = Case::start_with("on_failure: { h: { type: work } }", "a: { type: work }", json!({}));
    case.complete("a", Value::Null);
    case.ends(Status::Completed);
    assert_eq!(case.sent.len(), 1);
}

#[test]
fn an_output_that_cannot_be_made_fails_before_cleaning_up() {
    let mut case = Case::start_with(
        "output: { x: '${{ components.a.output.missing }}' }\non_failure: { h: { type: work } }",
        "a: { type: work }",
        json!({}),
    );
    case.complete("a", json!({}));
    case.shows("h running");
    case.complete("h", Value::Null);
    case.ends(Status::Failed);
    assert_eq!(case.end_class().as_deref(), Some("invalid_expression"));
}

// ---- sub-workflows -------------------------------------------------------------------------------

const CALL: &str = "s: { type: sub_workflow, config: { workflow: child, version: 3, parameters: { n: 1 } } }
    after: { type: work, needs: [s], config: { n: '${{ components.s.output.n }}' } }
    h: { type: work, needs: [s.error] }";

fn orders(case: &Case) -> Vec<(shared::ids::ExecutionId, String, Option<u32>, Value)> {
    case.events()
        .filter_map(|event| match event {
            Event::ChildOrdered { child, workflow, version, parameters, .. } => {
                Some((*child, workflow.clone(), *version, Value::Object(parameters.clone())))
            }
            _ => None,
        })
        .collect()
}

fn tell(case: &mut Case, ending: &ChildEnding) {
    let child = orders(case)[0].0;
    let task = case.key("s");
    case.take(Input::Child { task: &task, child, ending });
}

#[test]
fn a_sub_workflow_is_ordered_once_and_its_output_is_the_components() {
    let mut case = Case::start(CALL);
    case.shows("s running");
    let orders = orders(&case);
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].1.as_str(), orders[0].2, &orders[0].3), ("child", Some(3), &json!({ "n": 1 })));
    tell(&mut case, &ChildEnding::Accepted);
    case.shows("s running");
    tell(&mut case, &ChildEnding::Completed { output: Payload::Inline(json!({ "n": 5 })) });
    case.shows("s completed, after running");
    assert_eq!(case.sent.last().map(|task| task.config.clone()), Some(json!({ "n": 5 })));
    let before = case.turns.len();
    tell(&mut case, &ChildEnding::Completed { output: Payload::Inline(json!({ "n": 6 })) });
    assert_eq!(case.turns.len(), before, "an ending counts once");
}

#[test]
fn a_sub_workflow_that_fails_or_is_refused_fails_its_component() {
    let failure = Failure::new(FailureClass::NotFound, "there is no workflow `child`");
    for ending in [
        ChildEnding::Failed { failure: failure.clone() },
        ChildEnding::Refused { failure },
        ChildEnding::Cancelled { failure: None },
    ] {
        let mut case = Case::start(CALL);
        tell(&mut case, &ending);
        case.shows("s failed, after skipped, h running");
    }
}

#[test]
fn a_detached_sub_workflow_completes_when_it_is_accepted() {
    let mut case = Case::start(
        "s: { type: sub_workflow, config: { workflow: child, wait: false, on_parent_close: kill } }
         after: { type: work, needs: [s] }",
    );
    let child = orders(&case)[0].0;
    tell(&mut case, &ChildEnding::Accepted);
    case.shows("s completed, after running");
    let decision = case.complete("after", Value::Null);
    case.ends(Status::Completed);
    assert!(decision.commands.contains(&Command::CloseChild { child, kill: true }));
}

#[test]
fn a_cancelled_parent_ends_its_child_by_its_policy() {
    for (policy, expected) in [("cancel", Some(false)), ("kill", Some(true)), ("leave", None)] {
        let mut case = Case::start(&format!(
            "s: {{ type: sub_workflow, config: {{ workflow: child, on_parent_close: {policy} }} }}"
        ));
        let child = orders(&case)[0].0;
        let decision = case.cancel();
        let closed = decision.commands.iter().find_map(|command| match command {
            Command::CloseChild { child: closed, kill } if *closed == child => Some(*kill),
            _ => None,
        });
        assert_eq!(closed, expected, "{policy}");
        case.ends(Status::Cancelled);
    }
    assert_eq!(serde_json::to_value(OnParentClose::Leave).ok(), Some(json!("leave")));
}

#[test]
fn an_execution_tells_the_one_that_started_it() {
    let workflow = match read("output: { n: 1 }", "a: { type: work }") {
        Ok(workflow) => workflow,
        Err(problems) => panic!("{problems}"),
    };
    let parent = Parent {
        execution: ExecutionId::generate(),
        task: TaskKey::of("s".into()),
        ordered_in: 2,
        depth: 1,
        waits: true,
        on_parent_close: OnParentClose::Cancel,
    };
    let mut case = Case::accept(workflow, json!({}), |accepted| accepted.parent = Some(parent.clone()));
    case.take(Input::Start);
    let decision = case.complete("a", Value::Null);
    let told = decision.commands.iter().find_map(|command| match command {
        Command::TellParent { parent, ending, .. } => Some((*parent, (**ending).clone())),
        _ => None,
    });
    let output = Payload::Inline(json!({ "n": 1 }));
    assert_eq!(told, Some((parent.execution, ChildEnding::Completed { output })));
}

#[test]
fn a_chain_of_sub_workflows_ends_at_its_depth() {
    let Ok(workflow) = read("", "s: { type: sub_workflow, config: { workflow: self, version: latest } }")
    else {
        panic!("it can be saved")
    };
    let parent = Parent {
        execution: ExecutionId::generate(),
        task: TaskKey::of("s".into()),
        ordered_in: 2,
        depth: 10,
        waits: true,
        on_parent_close: OnParentClose::Cancel,
    };
    let mut case = Case::accept(workflow, json!({}), |accepted| accepted.parent = Some(parent));
    case.take(Input::Start);
    assert_eq!(case.class("s"), "limit_exceeded");
    assert!(orders(&case).is_empty());
}

/// A timer that was on its way when the cleaning up began.
#[test]
fn the_grace_of_a_cancel_does_not_end_what_cleans_up() {
    let mut case = Case::start_with(
        "compensate_on_cancel: true",
        "a: { type: work, compensate: { type: work } }",
        json!({}),
    );
    case.cancel();
    case.complete("a", Value::Null);
    case.shows("a.compensate running");
    assert!(case.take(Input::Timer(&TimerKey::CancelGrace)).events.is_empty());
    case.complete("a.compensate", Value::Null);
    case.ends(Status::Cancelled);
}

fn closed_again(case: &Case) -> Vec<Command> {
    let Some(last) = case.turns.last() else { panic!("there are turns") };
    let Ok(commands) = commands_again(&case.state, last.cause, &case.payloads) else {
        panic!("the payloads were there")
    };
    commands.into_iter().filter(|command| matches!(command, Command::CloseChild { .. })).collect()
}

#[test]
fn the_message_that_ended_a_call_asks_for_the_end_of_its_child_again() {
    let mut case = Case::start(
        "r: { type: race, components: { s: { type: sub_workflow, config: { workflow: child, version: 1 } }, fast: { type: work } } }
         after: { type: work, needs: [r] }",
    );
    let child = orders(&case)[0].0;
    case.complete("fast", Value::Null);
    case.shows("r completed, after running");
    assert_eq!(closed_again(&case), [Command::CloseChild { child, kill: false }]);

    let mut case = Case::start(
        "s: { type: sub_workflow, timeout: 5s, config: { workflow: child, version: 1, on_parent_close: kill } }
         after: { type: work, needs: [s.timeout] }",
    );
    let child = orders(&case)[0].0;
    case.tick(seconds(5));
    case.shows("s failed, after running");
    assert_eq!(closed_again(&case), [Command::CloseChild { child, kill: true }]);
}

fn called(policy: OnParentClose, waits: bool) -> Case {
    let Ok(workflow) = read("", "a: { type: work }") else { panic!("it can be saved") };
    let parent = Parent {
        execution: ExecutionId::generate(),
        task: TaskKey::of("s".into()),
        ordered_in: 2,
        depth: 1,
        waits,
        on_parent_close: policy,
    };
    let mut case = Case::accept(workflow, json!({}), |accepted| accepted.parent = Some(parent));
    case.take(Input::Start);
    case
}

#[test]
fn a_sub_workflow_asks_now_and_then_whether_it_is_still_wanted() {
    for (policy, kill) in [
        (OnParentClose::Cancel, Some(false)),
        (OnParentClose::Kill, Some(true)),
        (OnParentClose::Leave, None),
    ] {
        let mut case = called(policy, true);
        let asked = case.sweep().commands.iter().find_map(|command| match command {
            Command::AskParent { kill, .. } => Some(*kill),
            _ => None,
        });
        assert_eq!(asked, kill);
    }
}

#[test]
fn who_is_waited_for_takes_no_place_of_its_own() {
    let places = |case: &Case| {
        super::super::limits::claims(&case.state, &case.payloads, &case.rules).map(|it| it.len()).ok()
    };
    assert_eq!(places(&called(OnParentClose::Cancel, true)), Some(0));
    assert_eq!(places(&called(OnParentClose::Leave, false)), Some(1));
}
