//! The program as a shell sees it: what it writes where, and its exit status.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs `apg` in an empty folder that holds one document, with nothing of the caller's environment.
fn apg(document: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("flow.yaml"), document).expect("a document");
    run(folder.path(), arguments)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_apg"))
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A worker needs the broker alone; whoever keeps executions needs a database that all can reach.
#[test]
fn a_broker_without_a_database_is_enough_for_a_worker_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = |verb: &str| {
        Command::new(env!("CARGO_BIN_EXE_apg"))
            .args(["--set", "app.startup_seconds=0", verb])
            .env_clear()
            .env("AMQP_URL", "amqp://127.0.0.1:1")
            .current_dir(folder.path())
            .output()
            .expect("the program starts")
    };
    let (serve, worker) = (started("serve"), started("worker"));
    let said = text(&serve.stderr);
    assert!(
        serve.status.code() == Some(1) && said.contains("AMQP_URL is set and DATABASE_URL is not"),
        "{said}"
    );
    // Its settings are right: what it misses is the broker.
    let said = text(&worker.stderr);
    assert!(worker.status.code() == Some(1) && !said.contains("setting"), "{said}");
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

const ADDS: &str = "\
workflow: v1
name: adds
parameters:
  number: { type: integer, required: true }
  word: { type: string, default: '1' }
components:
  done:
    type: end
    config:
      output: { next: '${{ parameters.number + 1 }}', word: '${{ parameters.word }}' }
";

const FAILS: &str = "\
workflow: v1
name: fails
components:
  stop:
    type: fail
    config: { message: enough }
";

#[test]
fn a_workflow_runs_without_a_server_and_gives_its_output() {
    let ran = apg(ADDS, &["run", "flow.yaml", "-p", "number=41", "-p", "word=7"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let output: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON and nothing else");
    assert_eq!(output, serde_json::json!({ "next": 42, "word": "7" }));
    assert!(text(&ran.stderr).contains("completed"), "{}", text(&ran.stderr));
}

#[test]
fn a_failed_workflow_exits_with_one() {
    let ran = apg(FAILS, &["run", "flow.yaml"]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("enough"));
}

#[test]
fn wrong_parameters_and_documents_exit_with_two() {
    let ran = apg(ADDS, &["run", "flow.yaml", "-p", "numbr=1"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stderr).contains("did you mean `number`?"), "{}", text(&ran.stderr));
    let ran = apg("workflow: v1\nname: x\ncomponents: { a: { type: htp } }\n", &["validate", "flow.yaml"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stderr).contains("flow.yaml:3:"), "{}", text(&ran.stderr));
}

#[test]
fn a_role_of_its_own_asks_for_the_services_it_shares() {
    let all = "set AMQP_URL and DATABASE_URL and REDIS_URL";
    // A worker holds no database login.
    for (verb, missing) in [("api", all), ("coordinator", all), ("worker", "set AMQP_URL. ")] {
        let ran = apg("", &[verb]);
        assert_eq!(ran.status.code(), Some(2));
        assert!(text(&ran.stderr).contains(missing), "{}", text(&ran.stderr));
    }
}

#[test]
fn migrations_are_told_then_run_then_done() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(folder.path(), &["migrate", "--check"]).status.code(), Some(1));
    assert_eq!(run(folder.path(), &["migrate"]).status.code(), Some(0));
    assert_eq!(run(folder.path(), &["migrate", "--check"]).status.code(), Some(0));
    let audited = run(folder.path(), &["audit", "--output", "json"]);
    assert_eq!(audited.status.code(), Some(0), "{}", text(&audited.stderr));
}
