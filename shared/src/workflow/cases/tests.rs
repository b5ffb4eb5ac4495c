use super::*;
use crate::{
    component::{Catalogue, Descriptor, Effect, Family, OwnPorts},
    workflow,
};

/// `ask` of people, `task` for workers, `decision`: as far as a test file looks at them.
fn catalogue() -> Catalogue {
    let kind = |kind, runs| Descriptor {
        kind,
        aliases: &[],
        family: Family::Basic,
        runs,
        summary: "",
        schema: || serde_json::json!({ "type": "object" }),
        example: || serde_json::json!({}),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Effect,
        field: |_, _| crate::component::Field::Template,
        check: |_| Vec::new(),
        build: None,
    };
    Catalogue::new(&[
        kind("task", Runs::Worker),
        kind("approval", Runs::Coordinator),
        kind("decision", Runs::Coordinator),
    ])
}

fn workflow() -> std::sync::Arc<Workflow> {
    let text = "\
workflow: v1
name: order
parameters:
  id: { type: string, required: true }
components:
  fetch: { type: task }
  review: { type: approval, needs: [fetch] }
  large: { type: decision, needs: [fetch] }
";
    workflow::read(text, &catalogue()).expect("a workflow").workflow
}

/// What is said of a file, as people see it.
fn problems(text: &str) -> String {
    let read = match read_tests(text) {
        Ok(read) => read,
        Err(problems) => return problems.named("order.test.yaml").to_string(),
    };
    match read.check(&workflow(), &|_| None) {
        Ok(()) => "none".to_owned(),
        Err(problems) => problems.named("order.test.yaml").to_string(),
    }
}

fn case(mocks: &str, expect: &str) -> String {
    format!(
        "test: v1\ncases:\n  - name: one\n    parameters: {{ id: a }}\n    mocks:\n      {mocks}\n    expect:\n      {expect}\n"
    )
}

#[test]
fn a_right_file_is_right() {
    assert_eq!(problems(&case("fetch: { output: null }", "status: completed")), "none");
    let list = "fetch: [{ error: { class: timeout } }, { output: 1, after: 3s }]";
    assert_eq!(problems(&case(list, "components: { fetch: completed }")), "none");
}

#[test]
fn an_unknown_key_is_shown_with_what_was_meant() {
    let said = problems(&case("fetch: { outptu: 1 }", "status: completed"));
    assert!(
        said.contains("there is no field `outptu` here") && said.contains("did you mean `output`?"),
        "{said}"
    );
    assert!(said.contains("--> order.test.yaml:6:16") && said.contains("^^^^^^"), "{said}");
}

#[test]
fn an_unknown_component_is_shown_with_what_was_meant() {
    for text in [
        case("fetsh: { output: 1 }", "status: completed"),
        case("fetch: { output: 1 }", "components: { fetsh: completed }"),
        case("fetch: { output: 1 }", "never_called: [fetsh]"),
    ] {
        let said = problems(&text);
        assert!(
            said.contains("has no component `fetsh`") && said.contains("did you mean `fetch`?"),
            "{said}"
        );
        assert!(said.contains("--> order.test.yaml:"), "{said}");
    }
}

#[test]
fn a_mock_that_would_never_be_asked_is_refused() {
    for (mock, why) in [
        ("large: { output: true }", "is decided by the engine"),
        ("fetch: { submit: {} }", "`submit` is no answer to `fetch` (task)"),
        ("review: { output: {} }", "it takes one of `approve`, `reject`, `expire`"),
        ("fetch: {}", "answers nothing"),
        ("fetch: { output: 1, error: { class: timeout } }", "gives two answers"),
        ("fetch: []", "is empty"),
        ("\"fetch[2]\": { output: 1 }", "stands in no loop"),
        ("fetch: { output: 1, ports: [found] }", "has no port `found` of its own"),
        ("fetch: { error: { class: timeuot } }", "did you mean `timeout`?"),
        ("fetch: { output: 1, after: soon }", "is not a duration"),
    ] {
        let said = problems(&case(mock, "status: completed"));
        assert!(said.contains(why), "{mock}: {said}");
    }
}

#[test]
fn a_file_that_tests_nothing_is_refused() {
    assert!(problems("test: v1\ncases: []\n").contains("a test file without cases tests nothing"));
    let expects_nothing = problems(&case("fetch: { output: 1 }", "{}"));
    assert!(expects_nothing.contains("a case that expects nothing cannot fail"), "{expects_nothing}");
    assert!(problems("test: v2\ncases: []\n").contains("v1"));
}

#[test]
fn parameters_are_the_workflows() {
    let text =
        "test: v1\ncases:\n  - name: one\n    parameters: { idd: a }\n    expect: { status: failed }\n";
    let said = problems(text);
    assert!(said.contains("no parameter `idd`") && said.contains("`id` is required"), "{said}");
}

#[test]
fn expectations_are_found_again() {
    let text = "test: v1\ncases:\n  - name: one\n    expect:\n      status: failed\n\n      output: 1\n\n  - { name: two, expect: { status: failed } }\n";
    let read = read_tests(text).expect("a file");
    assert_eq!(read.expect_lines(0), Some((4, 7, 5)));
    assert_eq!(read.expect_lines(1), None);
}
