//! `apg test` as a shell sees it: files found, cases passed and failed, and what is said of a wrong file.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

const ORDER: &str = "\
workflow: v1
name: order
parameters:
  total: { type: integer, required: true }
components:
  large:
    type: decision
    config: { condition: parameters.total >= 1000 }
  review:
    type: approval
    needs: [large.true]
    config: { assignees: [finance], expires: 48h }
  ship:
    type: http_request
    needs: [large.false, review.approved]
    join: any
    config: { method: POST, url: 'http://shop.example/ship', body: '${{ parameters.total }}' }
    retry: { max_attempts: 3, backoff: fixed, initial: 1h, cap: 1h, on: [http_5xx] }
  done:
    type: end
    needs: [ship]
    config: { output: '${{ components.ship.output }}' }
";

const CASES: &str = "\
test: v1
cases:
  - name: a small order is shipped
    parameters: { total: 5 }
    mocks:
      ship:
        - error: { class: http_5xx, message: busy }
        - output: { accepted: true }
    expect:
      status: completed
      output: { accepted: true }
      components:
        ship: { attempts: 2, called_with: { body: 5 } }
        review: skipped
      never_called: [review]
  - name: a large order is refused
    parameters: { total: 1000 }
    mocks:
      review: { reject: null, by: ann, after: 3h }
    expect:
      components: { review: completed, ship: skipped }
      never_called: [ship]
";

fn folder(tests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("order.yaml"), ORDER).expect("a document");
    std::fs::write(folder.path().join("order.test.yaml"), tests).expect("a test file");
    folder
}

fn apg(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_apg"))
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

/// The exit status, and standard error.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn cases_of_a_folder_pass() {
    let folder = folder(CASES);
    let (code, said) = said(&apg(folder.path(), &["test"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 of 2 cases passed"), "{said}");
}

#[test]
fn what_differs_is_shown_by_path() {
    let folder = folder(&CASES.replace("accepted: true }\n      comp", "accepted: false }\n      comp"));
    let (code, said) = said(&apg(folder.path(), &["test", "order.test.yaml"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("output.accepted\n      expected: false\n      actual:   true"), "{said}");
    assert!(said.contains("1 of 2 cases passed"), "{said}");
}

#[test]
fn a_component_without_a_mock_fails_its_case() {
    let folder =
        folder(&CASES.replace("review: { reject: null, by: ann, after: 3h }", "ship: { output: 1 }"));
    let (code, said) = said(&apg(folder.path(), &["test"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`review` (approval) needs a mock: it was called with"), "{said}");
}

#[test]
fn a_wrong_file_exits_with_two() {
    let wrong = folder(&CASES.replace("      ship:\n        - error", "      shipp:\n        - error"));
    let (code, text) = said(&apg(wrong.path(), &["test"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("order.test.yaml:6:7") && text.contains("did you mean `ship`?"), "{text}");

    let empty = tempfile::tempdir().expect("a folder");
    let (code, text) = said(&apg(empty.path(), &["test"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("holds no file that ends in `.test.yaml`"), "{text}");

    let none = folder(CASES);
    let (code, text) = said(&apg(none.path(), &["test", "--case", "no such"]));
    assert_eq!(code, Some(2), "{text}");
}

#[test]
fn one_case_is_chosen_and_told_to_programs() {
    let folder = folder(CASES);
    let ran = apg(folder.path(), &["test", "--case", "small*shipped", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON and nothing else");
    assert_eq!(report["passed"], 1, "{report}");
    assert_eq!(report["cases"][0]["case"], "a small order is shipped", "{report}");
    assert!(report["cases"][0]["elapsed_ms"].as_u64() > Some(0), "the retry took its time: {report}");
}

#[test]
fn build_servers_are_told_which_case_failed_and_why() {
    let folder = folder(&CASES.replace("accepted: true }\n      comp", "accepted: false }\n      comp"));
    let (code, text) = said(&apg(folder.path(), &["test", "--junit", "junit.xml"]));
    assert_eq!(code, Some(1), "{text}");
    let written = std::fs::read_to_string(folder.path().join("junit.xml")).expect("the file");
    let report = quick_junit::Report::deserialize_from_str(&written).expect("JUnit XML");
    assert_eq!((report.tests, report.failures, report.test_suites.len()), (2, 1, 1), "{written}");
    let cases = &report.test_suites[0].test_cases;
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, ["a small order is shipped", "a large order is refused"]);
    let quick_junit::TestCaseStatus::NonSuccess { description: Some(description), .. } = &cases[0].status
    else {
        panic!("the first failed: {written}")
    };
    assert!(description.contains("output.accepted\n  expected: false\n  actual:   true"), "{written}");
    assert!(matches!(cases[1].status, quick_junit::TestCaseStatus::Success { .. }), "{written}");

    let (code, text) = said(&apg(folder.path(), &["test", "--junit", "nowhere/junit.xml"]));
    assert!(code == Some(1) && text.contains("nowhere/junit.xml cannot be written"), "{text}");
}

#[test]
fn expectations_are_updated_where_they_stand() {
    let folder =
        folder(&CASES.replace("output: { accepted: true }\n      comp", "output: { other: 1 }\n      comp"));
    let (code, text) = said(&apg(folder.path(), &["test", "--update"]));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = said(&apg(folder.path(), &["test"]));
    assert_eq!(code, Some(0), "{text}");
    let written = std::fs::read_to_string(folder.path().join("order.test.yaml")).expect("the file");
    assert!(written.contains("accepted: true") && !written.contains("other"), "{written}");
    assert!(written.contains("- error: { class: http_5xx, message: busy }"), "the rest stays: {written}");
}

/// The example workflows, each with its cases.
#[test]
fn the_examples_pass() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let (code, text) = said(&apg(&examples, &["test"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("7 of 7 cases passed"), "{text}");
}

/// The workflow and the test file of the guide are what the guide says.
#[test]
fn the_guide_is_right() {
    let guide = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/testing-workflows.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let block = |start: &str| {
        let at = guide.find(&format!("```yaml\n{start}")).expect("a block of the guide");
        guide[at + 8..].split("\n```").next().expect("its text").to_owned()
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("order.yaml"), block("workflow: v1")).expect("a document");
    std::fs::write(folder.path().join("order.test.yaml"), block("test: v1")).expect("a test file");
    let (code, text) = said(&apg(folder.path(), &["test"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 of 2 cases passed"), "{text}");
}

/// Hundreds of cases a second are wanted; here is only shown that many end, and each as expected.
#[test]
fn many_cases_run_in_one_go() {
    use std::fmt::Write as _;
    let mut tests = "test: v1\ncases:\n".to_owned();
    for number in 0..500 {
        let _ = write!(
            tests,
            "  - name: case {number}\n    parameters: {{ total: {number} }}\n    mocks: {{ ship: {{ output: {number} }} }}\n    expect: {{ output: {number} }}\n"
        );
    }
    let folder = folder(&tests);
    let (code, text) = said(&apg(folder.path(), &["test"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("500 of 500 cases passed"), "{text}");
}
