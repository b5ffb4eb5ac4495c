//! Documents: a corpus with one file a rule, the canonical form, the hash, and properties.

mod common;

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::{ORDER, catalogue};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shared::{
    component::{FailureClass, Runs},
    retry::Growth,
    workflow::{self, Join, Need, OnUnhandledFailure, Output, Part, Problems, Workflow},
};

fn problems(text: &str) -> Problems {
    match workflow::read(text, &catalogue()) {
        Ok(_) => panic!("nothing is wrong with\n{text}"),
        Err(problems) => problems,
    }
}

fn codes(problems: &Problems) -> Vec<&'static str> {
    problems.list.iter().map(|problem| problem.code).collect()
}

/// Each file of `tests/documents` is refused with exactly the messages beside it.
/// `UPDATE_EXPECTED=1` writes them anew.
#[test]
fn every_mistake_has_its_message() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    let mut names: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    names.sort();
    assert!(names.len() > 40);
    let mut wrong = String::new();
    for path in names {
        let text = fs::read_to_string(&path).expect("a text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let message = match workflow::read(&text, &catalogue()) {
            Ok(read) => {
                let mut message = "accepted\n".to_owned();
                for warning in &read.warnings {
                    let _ = writeln!(message, "\n{warning}");
                }
                message
            }
            Err(problems) => format!("{}\n", problems.named(name.as_str())),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &message).expect("it is written");
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(message.as_str()) {
            let _ = writeln!(wrong, "{name}:\n{message}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_order_example_is_read() {
    let read = workflow::read(ORDER, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let workflow = &read.workflow;
    assert_eq!(workflow.name, "order-fulfilment");
    assert_eq!(workflow.labels["team"], "shop");
    let ids: Vec<&str> = workflow.components.iter().map(|component| component.id.as_str()).collect();
    assert_eq!(ids, ["fetch", "large", "note", "ship", "failed"]);
    let fetch = &workflow.components[0];
    assert_eq!(
        (&*fetch.kind, fetch.runs, fetch.outgoing.as_slice()),
        ("http_request", Runs::Worker, &[(1, Output::Success)][..])
    );
    assert_eq!((fetch.retry.max_attempts, fetch.retry.growth), (5, Growth::Exponential));
    assert_eq!(fetch.retry.on, [FailureClass::Timeout, FailureClass::Http5xx]);
    assert_eq!(fetch.timeout.as_secs(), 30);
    assert_eq!(fetch.config.secrets(), ["SHOP"]);
    let ship = &workflow.components[3];
    assert_eq!(ship.join, Join::Any);
    assert_eq!(ship.needs, [Need { from: 1, port: Output::Own(1) }, Need { from: 2, port: Output::Success }]);
    assert!(ship.timeout_is_read && !fetch.timeout_is_read);
    assert_eq!(ship.retry.max_attempts, 3);
    assert_eq!(workflow.components[4].retry.max_attempts, 1);
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);

    let again = workflow::compile_snapshot(&read.canonical, &catalogue()).expect("the snapshot compiles");
    assert_eq!(again.hash, workflow.hash);
    assert_eq!(again.components.len(), 5);
    assert!(!read.canonical.contains("layout"));
    assert!(read.canonical.contains(r#""type":"http_request""#));
}

/// What a compiled workflow is made of, as one text.
fn shape(workflow: &Workflow) -> String {
    let mut shape = format!("{:?} {:?} {:?}\n", workflow.scopes, workflow.on_failure, workflow.finally);
    for component in &workflow.components {
        let _ = writeln!(
            shape,
            "{} {} {:?} {:?} {:?} {} {} {:?} {:?} {:?} {:?}",
            component.id,
            component.kind,
            component.needs,
            component.outgoing,
            component.ports,
            component.scope,
            component.position,
            component.scopes,
            component.compensate,
            component.timeout,
            component.retry,
        );
    }
    shape
}

/// What the engine relies on.
fn assert_sound(workflow: &Workflow) {
    let all = &workflow.components;
    assert_eq!((workflow.scopes[0].part, workflow.scopes[0].owner), (Part::Workflow, None));
    for (number, scope) in workflow.scopes.iter().enumerate() {
        for (position, index) in scope.components.iter().enumerate() {
            assert_eq!((all[*index].scope, all[*index].position), (number, position));
            assert!(scope.owner.is_none_or(|owner| owner < *index));
        }
        let named = match (scope.part, scope.owner) {
            (Part::Workflow, None) => Some(0),
            (Part::OnFailure, None) => workflow.on_failure,
            (Part::Finally, None) => workflow.finally,
            (Part::Body, Some(owner)) => all[owner].scopes.body,
            (Part::Catch, Some(owner)) => all[owner].scopes.catch,
            (Part::Finally, Some(owner)) => all[owner].scopes.finally,
            (Part::Compensation, Some(owner)) => all[owner].compensate.map(|index| all[index].scope),
            other => panic!("{other:?}"),
        };
        assert_eq!(named, Some(number));
    }
    for (index, component) in all.iter().enumerate() {
        assert_eq!(workflow.index_of(component.id.as_str()), Some(index));
        assert_eq!(workflow.scope_of(index).components[component.position], index);
        for need in &component.needs {
            assert_eq!(all[need.from].scope, component.scope);
            assert!(all[need.from].outgoing.contains(&(index, need.port.clone())));
        }
        let mut loops = 0;
        let mut inner = index;
        for outer in workflow.enclosing(index) {
            let scope = workflow.scope_of(inner);
            assert_eq!(scope.owner, Some(outer));
            loops += usize::from(scope.part == Part::Body && all[outer].is_loop());
            inner = outer;
        }
        assert_eq!(workflow.scope_of(inner).owner, None);
        assert_eq!(workflow.loops_of(index), loops);
        if let Some(undo) = component.compensate {
            assert_eq!(all[undo].id.as_str(), format!("{}.compensate", component.id));
            assert!(all[undo].needs.is_empty() && all[undo].compensate.is_none());
        }
    }
}

const FULFILMENT: &str = include_str!("documents/order_fulfilment.yaml");

#[test]
fn the_complete_example_is_read_into_scopes() {
    let read = workflow::read(FULFILMENT, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    let workflow = &read.workflow;
    assert_sound(workflow);
    assert!(workflow.compensate_on_cancel);
    let ids: Vec<&str> = workflow.components.iter().map(|component| component.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "fetch",
            "score",
            "risky",
            "review",
            "cleared",
            "refuse",
            "reserve",
            "ship",
            "desk",
            "record",
            "hold",
            "hold.compensate",
            "notify",
            "done"
        ]
    );
    let parts: Vec<(Part, Option<usize>, usize)> =
        workflow.scopes.iter().map(|scope| (scope.part, scope.owner, scope.loops)).collect();
    assert_eq!(
        parts,
        [
            (Part::Workflow, None, 0),
            (Part::Body, Some(6), 1),
            (Part::Compensation, Some(10), 1),
            (Part::OnFailure, None, 0),
            (Part::Finally, None, 0),
        ]
    );
    let reserve = &workflow.components[6];
    assert_eq!((&*reserve.kind, reserve.timeout, reserve.retry.max_attempts), ("loop", Duration::MAX, 1));
    assert_eq!(workflow.components[3].timeout, Duration::MAX);
    assert_eq!(workflow.components[11].retry.max_attempts, 3);
    assert_eq!(workflow.enclosing(11).collect::<Vec<_>>(), [10, 6]);
    assert_eq!(FULFILMENT.matches("${{").count() + 2, 22);

    let once = workflow::format(FULFILMENT).expect("it is YAML");
    assert_eq!(workflow::format(&once).expect("it is YAML"), once);
    assert_eq!(workflow::read(&once, &catalogue()).expect("it is right").canonical, read.canonical);
    let again = workflow::compile_snapshot(&read.canonical, &catalogue()).expect("the snapshot compiles");
    assert_eq!((shape(&again), &again.hash), (shape(workflow), &workflow.hash));
    let without = FULFILMENT.split("layout:").next().expect("a part");
    assert_eq!(workflow::read(without, &catalogue()).expect("it is right").workflow.hash, workflow.hash);
    for (from, to) in [
        ("compensate_on_cancel: true", "compensate_on_cancel: false"),
        ("line: ${{ index }}", "line: ${{ index + 1 }}"),
        ("method: DELETE", "method: PUT"),
        ("level: error", "level: info"),
        ("execution ${{ execution.id }} is", "${{ execution.id }} is"),
    ] {
        assert!(FULFILMENT.contains(from), "{from}");
        let changed = workflow::read(&FULFILMENT.replace(from, to), &catalogue()).expect("it is right");
        assert_ne!(changed.workflow.hash, workflow.hash, "{from}");
    }
}

#[test]
fn the_order_of_keys_and_needs_inside_containers_changes_nothing_and_comments_stay() {
    let text = "workflow: v1\nname: t\ncomponents:\n  t:\n    finally: # always\n      z: { type: noop }\n    catch:\n      # who knows\n      y:\n        title: y\n        type: pass\n    components:\n      a:\n        compensate: # back\n          config: { value: 1 }\n          # nothing\n          type: pass\n        type: noop\n      b: { type: noop }\n      # the last\n      c: { needs: [b, a.success], type: noop }\n    type: try\n";
    let once = workflow::format(text).expect("it is YAML");
    insta::assert_snapshot!(once);
    assert_eq!(workflow::format(&once).expect("it is YAML"), once);
    let (before, after) = (
        workflow::read(text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}")),
        workflow::read(&once, &catalogue()).unwrap_or_else(|problems| panic!("{problems}\n{once}")),
    );
    assert_eq!(before.canonical, after.canonical);
    insta::assert_snapshot!(before.canonical);
    assert_eq!(shape(&before.workflow), shape(&after.workflow));
}

#[test]
fn time_limits_and_failure_rules_of_containers_are_compiled() {
    let text = "workflow: v1\nname: t\non_unhandled_failure: stop\ncomponents:\n  g:\n    type: group\n    timeout: 2h\n    total_timeout: 1h\n    config: { on_unhandled_failure: stop }\n    components:\n      p:\n        type: parallel\n        components:\n          w:\n            type: while_loop\n            config: { condition: iteration < 3 }\n            components:\n              r:\n                type: race\n                components: { x: { type: noop }, y: { type: delay, config: { for: 1s } } }\n  q: { type: parallel, config: { branches: [b] } }\n  s: { type: sub_workflow, timeout: 1m, config: { workflow: other } }\n";
    let read = workflow::read(text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let workflow = &read.workflow;
    assert_sound(workflow);
    let of = |id: &str| &workflow.components[workflow.index_of(id).expect("it is there")];
    assert_eq!(of("g").timeout, Duration::from_hours(1));
    assert_eq!(of("p").timeout, Duration::MAX);
    assert_eq!(of("q").timeout, Duration::from_mins(1));
    assert_eq!((of("s").timeout, of("s").retry.max_attempts), (Duration::from_mins(1), 1));
    assert!(of("p").is_container() && !of("q").is_container() && of("w").is_loop());
    assert_eq!(of("r").ports, ["x", "y"]);
    let rule = |id: &str| workflow.scope_of(workflow.index_of(id).expect("it is there")).on_unhandled_failure;
    assert_eq!(rule("g"), OnUnhandledFailure::Stop);
    assert_eq!(rule("p"), OnUnhandledFailure::Stop);
    assert_eq!(rule("w"), OnUnhandledFailure::Finish);
    assert_eq!(workflow.loops_of(workflow.index_of("x").expect("it is there")), 1);
    // What is asked later stays a text.
    assert_eq!(of("w").config.as_constant(), Some(&json!({ "condition": "iteration < 3" })));
}

#[test]
fn containers_stand_sixteen_deep_and_no_deeper() {
    let nested = |depth: usize| {
        let mut value = json!({ "type": "noop" });
        for level in (0..depth).rev() {
            value = json!({ "type": "group", "components": { format!("g{}", level + 1): value } });
        }
        json!({ "workflow": "v1", "name": "t", "components": { "g0": value } })
    };
    let read = workflow::read(&nested(workflow::MAX_NESTING).to_string(), &catalogue());
    let read = read.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(read.workflow.enclosing(workflow::MAX_NESTING).count(), workflow::MAX_NESTING);
    let problems = workflow::read_value(&nested(120), &catalogue()).expect_err("it is too deep");
    assert_eq!(codes(&problems), ["nested_too_deep"]);
}

#[test]
fn nested_components_count_towards_the_limit() {
    let mut text = "workflow: v1\nname: t\ncomponents:\n".to_owned();
    for group in 0..100 {
        let _ = writeln!(text, "  g{group}:\n    type: group\n    components:");
        for index in 0..99 {
            let _ = writeln!(text, "      g{group}_{index}: {{ type: noop }}");
        }
    }
    let read = workflow::read(&text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(read.workflow.components.len(), workflow::MAX_COMPONENTS);
    assert_sound(&read.workflow);
    let more = format!("{text}finally:\n  z: {{ type: noop }}\n");
    assert_eq!(codes(&problems(&more)), ["too_many_components"]);
    let more = text.replace("g7_7: { type: noop }", "g7_7: { type: noop, compensate: { type: noop } }");
    assert_eq!(codes(&problems(&more)), ["too_many_components"]);
}

#[test]
fn a_document_given_as_an_object_has_paths() {
    let value =
        json!({ "workflow": "v1", "name": "t", "components": { "a": { "type": "nop", "needs": ["b"] } } });
    let problems = workflow::read_value(&value, &catalogue()).expect_err("it is wrong");
    let paths: Vec<String> = problems.list.iter().map(|problem| problem.path.join(".")).collect();
    assert_eq!(paths, ["components.a.type", "components.a.needs.0"]);
    assert!(problems.list.iter().all(|problem| problem.line.is_none()));
    let shown = serde_json::to_value(&problems).expect("problems are JSON");
    assert_eq!(shown[0]["code"], "unknown_type");
    assert_eq!(shown[0]["suggestion"], "did you mean `noop`?");
}

#[test]
fn yaml_json_and_object_are_one_document() {
    let read = workflow::read(ORDER, &catalogue()).expect("it is right");
    let value: Value = serde_json::from_str(&read.canonical).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON");
    assert_eq!(workflow::read(&pretty, &catalogue()).expect("it is right").canonical, read.canonical);
    assert_eq!(workflow::read_value(&value, &catalogue()).expect("it is right").canonical, read.canonical);
}

#[test]
fn formatting_keeps_the_document_and_changes_nothing_the_second_time() {
    let once = workflow::format(ORDER).expect("it is YAML");
    assert_eq!(workflow::format(&once).expect("it is YAML"), once);
    let (before, after) = (
        workflow::read(ORDER, &catalogue()).expect("it is right"),
        workflow::read(&once, &catalogue()).unwrap_or_else(|problems| panic!("{problems}\n{once}")),
    );
    assert_eq!(before.canonical, after.canonical);
    insta::assert_snapshot!(once);
}

#[test]
fn layout_and_key_order_do_not_change_the_hash_and_everything_else_does() {
    let hash = |text: &str| {
        workflow::read(text, &catalogue()).unwrap_or_else(|p| panic!("{p}")).workflow.hash.clone()
    };
    let base = hash(ORDER);
    assert_eq!(base, hash(&ORDER.replace("x: 10", "x: 99")));
    assert_eq!(base, hash(ORDER.split("layout:").next().expect("a part")));
    assert_eq!(
        base,
        hash(&ORDER.replace(
            "    type: noop\n    needs: [large.true]\n",
            "    needs: [large.true]\n    type: noop\n"
        ))
    );
    assert_eq!(
        base,
        hash(&ORDER.replace(
            "      method: POST\n      url: https://shop.example/ship\n",
            "      url: https://shop.example/ship\n      method: POST\n"
        ))
    );
    assert_eq!(base, hash(&ORDER.replace("[large.false, note]", "[note.success, large.false]")));
    assert_eq!(base, hash(&ORDER.replace("type: http\n", "type: http_request@1\n")));
    for (from, to) in [
        ("name: order-fulfilment", "name: other"),
        ("team: shop", "team: web"),
        ("limit: 1\n", "limit: 2\n"),
        ("timeout: 2h", "timeout: 3h"),
        ("default: 10000", "default: 10001"),
        ("method: POST", "method: PUT"),
        ("max_attempts: 5", "max_attempts: 4"),
        ("A large order", "A larger order"),
        ("[large.false, note]", "[note]"),
        ("timeout: 30s", "timeout: 31s"),
        ("| default(none)", "| default(1)"),
    ] {
        assert!(ORDER.contains(from), "{from}");
        assert_ne!(base, hash(&ORDER.replace(from, to)), "{from}");
    }
}

#[test]
fn aliases_and_merge_keys_work_within_a_budget() {
    let text = "workflow: v1\nname: t\ncomponents:\n  a: &base\n    type: noop\n    title: x\n  b:\n    <<: *base\n    title: y\n  c: *base\n";
    let read = workflow::read(text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let titles: Vec<Option<&str>> = read.workflow.components.iter().map(|c| c.title.as_deref()).collect();
    assert_eq!(titles, [Some("x"), Some("y"), Some("x")]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", vec![format!("*a{before}"); 10].join(", "));
    }
    assert_eq!(codes(&problems(&bomb)), ["too_many_nodes"]);
    let deep = format!("{}x", "- ".repeat(80));
    assert_eq!(codes(&problems(&deep)), ["too_deep"]);
    assert_eq!(codes(&problems(&"[".repeat(100_000))), codes(&problems(&"[".repeat(100_000))));
    assert_eq!(codes(&problems(&"# x\n".repeat(300_000))), ["too_large"]);
    assert_eq!(codes(&problems(&format!("{{\"a\":{}1", "[".repeat(5_000)))), ["too_deep"]);
}

#[test]
fn warnings_do_not_keep_a_document_from_being_saved() {
    let text = "workflow: v1\nname: t\ncomponents:\n  s:\n    type: start\n  loose:\n    type: noop\n  p:\n    type: parallel\n    needs: [s]\n    config:\n      branches: [x, y]\n  d:\n    type: decision\n    needs: [p.x]\n    config:\n      condition: 1 < 2\n  t:\n    type: noop\n    needs: [d.true]\n  j:\n    type: join\n    needs: [t]\n  e:\n    type: noop\n    needs: [d, t]\n    join: all_done\n    config:\n      value: ${{ components.t.output }}\n";
    let read = workflow::read(text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let mut codes: Vec<&str> = read.warnings.iter().map(|warning| warning.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["join_of_one", "unguarded", "unreachable", "unused_branch"]);
}

#[test]
fn parameters_are_checked_all_at_once_and_defaults_filled_in() {
    let text = "workflow: v1\nname: t\nparameters:\n  id: { type: string, required: true, minLength: 2 }\n  n: { type: integer, default: 3 }\n  mode: { type: string, enum: [fast, slow] }\n  any: { type: any }\ncomponents:\n  a:\n    type: noop\n";
    let read = workflow::read(text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let given = |value: Value| value.as_object().cloned().unwrap_or_default();
    let checked =
        read.workflow.check_parameters(&given(json!({ "id": "ab", "any": [1] }))).expect("they fit");
    assert_eq!(Value::Object(checked), json!({ "id": "ab", "n": 3, "any": [1] }));
    let problems = read
        .workflow
        .check_parameters(&given(json!({ "n": "3", "mode": "fats", "idd": 1 })))
        .expect_err("they do not fit");
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(shown.join("\n"));
    assert!(read.workflow.check_parameters(&Map::new()).is_err());
}

#[test]
fn large_workflows_are_read_in_bounded_time() {
    let mut text = "workflow: v1\nname: t\ncomponents:\n  c0:\n    type: noop\n".to_owned();
    for index in 1..3_000 {
        let _ = writeln!(
            text,
            "  c{index}:\n    type: noop\n    needs: [c{0}]\n    config:\n      value: ${{{{ components.c{0}.output }}}}",
            index - 1
        );
    }
    let begun = Instant::now();
    let read = workflow::read(&text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    let reading = begun.elapsed();
    let begun = Instant::now();
    workflow::compile_snapshot(&read.canonical, &catalogue()).expect("it compiles");
    let compiling = begun.elapsed();
    eprintln!("3,000 components: read in {reading:?}, compiled in {compiling:?}");
    assert!(reading.as_secs() < 20 && compiling.as_secs() < 10);
    let broken = text.replace("type: noop", "type: nope");
    let begun = Instant::now();
    assert_eq!(problems(&broken).list.len(), 3_000);
    assert!(begun.elapsed().as_secs() < 30);
}

#[test]
fn the_schema_for_editors_knows_every_type() {
    let schema = workflow::json_schema(&catalogue());
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let text = schema.to_string();
    for name in ["config_http_request", "config_switch", "config_while_loop", "\"http\"", "\"noop@1\""] {
        assert!(text.contains(name), "{name}");
    }
    // Every reference leads somewhere.
    for (at, _) in text.match_indices("\"$ref\":\"#") {
        let pointer = text[at + 9..].split('"').next().expect("a text");
        assert!(schema.pointer(pointer.trim_start_matches('#')).is_some(), "{pointer}");
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(|number| json!(number)),
        "\\PC{0,20}".prop_map(Value::from),
        "[ a-z0-9:#'\"\\n\\t.,{}$&*!|>%@`?~=<-]{0,24}".prop_map(Value::from),
        proptest::sample::select(vec![
            "no",
            "on",
            "1e3",
            "0x1f",
            "~",
            "null",
            ".5",
            "+1",
            "- a",
            "a: b",
            "...",
            "---",
            "\u{feff}x",
            "\u{7f}",
            "a\r\nb",
            "x\n",
            "x\n\n",
            " x\ny"
        ])
        .prop_map(Value::from),
    ]
}

fn data() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("[a-z<:# -]{0,6}|on|1|null", inner), 0..5)
                .prop_map(|list| Value::Object(list.into_iter().collect())),
        ]
    })
}

/// A component of a random document, before it has an id.
#[derive(Debug, Clone)]
struct Block {
    kind: usize,
    needs: u8,
    undone: bool,
    inner: [Vec<Block>; 3],
}

fn block() -> impl Strategy<Value = Block> {
    let leaf = (any::<u8>(), any::<bool>()).prop_map(|(needs, undone)| Block {
        kind: 0,
        needs,
        undone,
        inner: [Vec::new(), Vec::new(), Vec::new()],
    });
    leaf.prop_recursive(5, 40, 4, |inner| {
        let some = |least| proptest::collection::vec(inner.clone(), least..4);
        (1..8_usize, any::<u8>(), any::<bool>(), some(2), some(1), some(0)).prop_map(
            |(kind, needs, undone, body, catch, finally)| Block {
                kind,
                needs,
                undone,
                inner: [body, catch, finally],
            },
        )
    })
}

/// Components of random blocks, each with an id of its own.
fn blocks(list: &[Block], count: &mut usize, needs: bool, undone: bool) -> Value {
    const KINDS: [&str; 8] = ["pass", "group", "foreach", "for_loop", "while", "race", "try", "parallel"];
    let mut components = Map::new();
    for block in list {
        let earlier: Vec<String> = components.keys().cloned().collect();
        let id = format!("c{count}");
        *count += 1;
        let mut fields = Map::new();
        if block.undone && undone {
            fields.insert(
                "compensate".to_owned(),
                json!({ "config": { "value": "${{ this.output }}" }, "type": "pass" }),
            );
        }
        for (name, inner) in ["components", "catch", "finally"].into_iter().zip(&block.inner) {
            let is_try = KINDS[block.kind] == "try";
            if block.kind > 0 && !inner.is_empty() && (name == "components" || is_try) {
                let inside = blocks(inner, count, KINDS[block.kind] != "race", undone && name != "finally");
                fields.insert(name.to_owned(), inside);
            }
        }
        let chosen: Vec<&String> = earlier
            .iter()
            .enumerate()
            .filter(|(at, _)| needs && block.needs & (1 << (at % 8)) != 0)
            .map(|(_, id)| id)
            .rev()
            .collect();
        if !chosen.is_empty() {
            fields.insert("needs".to_owned(), json!(chosen));
        }
        fields.insert("type".to_owned(), json!(KINDS[block.kind]));
        let config = match KINDS[block.kind] {
            "foreach" => json!({ "items": [1, 2] }),
            "for_loop" => json!({ "to": 3 }),
            "while" => json!({ "condition": "iteration < 2" }),
            _ => Value::Null,
        };
        if !config.is_null() {
            fields.insert("config".to_owned(), config);
        }
        components.insert(id, Value::Object(fields));
    }
    Value::Object(components)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_nested_document_is_the_same_from_its_canonical_form(
        body in proptest::collection::vec(block(), 1..5),
        on_failure in proptest::collection::vec(block(), 0..2),
        finally in proptest::collection::vec(block(), 0..2),
    ) {
        let mut count = 0;
        let mut document = json!({ "workflow": "v1", "name": "t" });
        for (name, list, undone) in [("finally", &finally, false), ("on_failure", &on_failure, false), ("components", &body, true)] {
            if !list.is_empty() {
                document[name] = blocks(list, &mut count, true, undone);
            }
        }
        let text = document.to_string();
        let read = workflow::read(&text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_sound(&read.workflow);
        let compiled = workflow::compile_snapshot(&read.canonical, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
        prop_assert_eq!(shape(&compiled), shape(&read.workflow));
        prop_assert_eq!(&compiled.hash, &read.workflow.hash);
        let once = workflow::format(&text).unwrap_or_else(|problems| panic!("{problems}"));
        prop_assert_eq!(&workflow::format(&once).expect("what was written is read"), &once);
        let again = workflow::read(&once, &catalogue()).unwrap_or_else(|problems| panic!("{problems}\n{once}"));
        prop_assert_eq!(&again.canonical, &read.canonical);
        prop_assert_eq!(shape(&again.workflow), shape(&read.workflow));
        let value: Value = serde_json::from_str(&read.canonical).expect("JSON");
        prop_assert_eq!(&workflow::read_value(&value, &catalogue()).expect("it is right").canonical, &read.canonical);
    }

    #[test]
    fn no_text_panics_the_reader(text in "\\PC{0,200}") {
        let _ = workflow::read(&text, &catalogue()).map_err(|problems| problems.to_string());
        let _ = workflow::format(&text);
    }

    #[test]
    fn no_damaged_document_panics_the_reader(at in 0..ORDER.len(), cut in 0..40_usize, put in "[ \\n\\t:{}'\"\\[\\]&*#$a-z-]{0,6}") {
        let from = (0..=at).rev().find(|at| ORDER.is_char_boundary(*at)).expect("the beginning is one");
        let to = (from + cut..=ORDER.len()).find(|at| ORDER.is_char_boundary(*at)).unwrap_or(ORDER.len());
        let text = format!("{}{put}{}", &ORDER[..from], &ORDER[to..]);
        let _ = workflow::read(&text, &catalogue()).map_err(|problems| problems.to_string());
        if let Ok(once) = workflow::format(&text) {
            prop_assert_eq!(workflow::format(&once).expect("what was written is read"), once);
        }
    }

    #[test]
    fn no_damaged_nested_document_panics_the_reader(at in 0..FULFILMENT.len(), cut in 0..60_usize, put in "[ \\n\\t:{}'\"\\[\\]&*#$a-z-]{0,6}|compensate: |components: |catch: x|type: race\\n") {
        let from = (0..=at).rev().find(|at| FULFILMENT.is_char_boundary(*at)).expect("the beginning is one");
        let to = (from + cut..=FULFILMENT.len()).find(|at| FULFILMENT.is_char_boundary(*at)).unwrap_or(FULFILMENT.len());
        let text = format!("{}{put}{}", &FULFILMENT[..from], &FULFILMENT[to..]);
        let read = workflow::read(&text, &catalogue()).map_err(|problems| problems.to_string());
        if let Ok(read) = read {
            assert_sound(&read.workflow);
            workflow::compile_snapshot(&read.canonical, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
        }
        if let Ok(once) = workflow::format(&text) {
            prop_assert_eq!(workflow::format(&once).expect("what was written is read"), once);
        }
    }

    #[test]
    fn any_data_survives_formatting(data in data()) {
        let document = json!({
            "workflow": "v1", "name": "t", "components": { "a": { "type": "query", "config": { "sql": "x", "arguments": [data] } } },
        });
        let text = document.to_string();
        let once = workflow::format(&text).unwrap_or_else(|problems| panic!("{problems}"));
        prop_assert_eq!(&workflow::format(&once).unwrap_or_else(|problems| panic!("{problems}\n{once}")), &once);
        let before = workflow::read(&text, &catalogue()).map(|read| read.canonical).map_err(|problems| codes(&problems));
        let after = workflow::read(&once, &catalogue()).map(|read| read.canonical).map_err(|problems| codes(&problems));
        prop_assert_eq!(before, after, "{}", once);
    }
}

#[test]
fn comments_stay_where_they_belong_when_keys_are_put_in_order() {
    let text = "# top\n\n# about the name\nname: t # short\nworkflow: v1\ncomponents:\n  a:\n    # how\n    config: # settings\n      # the value\n      value: [1, # one\n        2]\n    # what\n    type: noop\n  # last of all\n";
    let once = workflow::format(text).expect("it is YAML");
    insta::assert_snapshot!(once);
    assert_eq!(workflow::format(&once).expect("it is YAML"), once);
}
