//! `apg chaos` as a user runs it: with the first command of its guide in both shapes, with a workflow that fails, and
//! interrupted.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, RUNTIME,
    place::{Addresses, member, settings},
    process::{Output, finish, tail},
    run::Run,
    services::descendants,
    until, workspace,
};

/// As long as the guide's first command may take.
const WITHIN: std::time::Duration = std::time::Duration::from_mins(4);

/// The commands of the guide that begin with `apg chaos`, without `apg`.
fn commands() -> Result<Vec<Vec<String>>> {
    let guide = fs::read_to_string(workspace().join("docs/guides/chaos.md"))?.replace("\\\n", " ");
    let blocks = guide.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("apg "));
    let words =
        |line: &str| line.split_whitespace().take_while(|word| *word != "#").map(ToOwned::to_owned).collect();
    Ok(lines.filter(|line| line.starts_with("chaos")).map(words).collect())
}

async fn chaos(folder: &Path, addresses: Option<&Addresses>, arguments: &[&str]) -> Result<(Output, Value)> {
    let settings = settings(folder, &json!({}))?;
    let member = member("chaos", "chaos", folder, &settings, addresses)?;
    let report = folder.join("report.json");
    let path = report.display().to_string();
    let output = finish(member.command(&[arguments, &["--json", &path]].concat())?, WITHIN).await?;
    let report = match fs::read(&report) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{output:?}"))?,
        Err(_) => Value::Null,
    };
    Ok((output, report))
}

/// The first command of the guide, and what it must say.
async fn the_guide_holds(folder: &Path, addresses: Option<&Addresses>) -> Result<()> {
    let command = commands()?.into_iter().next().context("the guide has a command")?;
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    let markdown = folder.join("report.md").display().to_string();
    arguments.extend(["--report", &markdown]);
    let (output, report) = chaos(folder, addresses, &arguments).await?;
    ensure!(output.code == 0, "{}\n{}\n{report:#}", output.out, output.err);
    ensure!(report["is_sound"] == true && report["seed"] == 7 && report["accepted"] == 60, "{report:#}");
    for figure in ["lost", "doubled", "stuck", "unexpected"] {
        ensure!(report[figure] == 0, "{figure}: {report:#}");
    }
    let count = |figure: &str| report[figure].as_u64().unwrap_or(0);
    let ended = ["completed", "failed_as_planned", "cancelled_as_planned", "poisoned"].map(count);
    ensure!(ended.iter().sum::<u64>() == 60 && count("completed") > 30, "{report:#}");
    ensure!(report["faults"] == 8 && count("effects") >= 60, "{report:#}");
    let audit = &report["audit"];
    ensure!(audit["findings"] == json!([]) && audit["executions"].as_u64() >= Some(60), "{audit}");
    let recovery = report["recovery"].as_array().context("a list")?;
    let all = recovery.iter().find(|one| one["fault"] == "all").context("all faults together")?;
    ensure!(all["count"] == 8 && all["next_turn"]["count"].as_u64() > Some(0), "{all}");
    let kinds =
        recovery.iter().filter(|one| one["fault"] != "all").map(|one| one["count"].as_u64().unwrap_or(0));
    ensure!(kinds.sum::<u64>() == 8, "{recovery:?}");
    let markdown = fs::read_to_string(markdown)?;
    ensure!(
        markdown.contains("Nothing was lost, doubled or stuck") && markdown.contains("| kill "),
        "{markdown}"
    );
    ensure!(output.out.contains("Nothing was lost, doubled or stuck"), "{}", output.out);
    Ok(())
}

#[test]
fn one_process_is_broken_as_the_guide_says() -> Result<()> {
    let folder = Run::this()?.folder("chaos")?;
    RUNTIME.block_on(the_guide_holds(&folder, None))
}

#[test]
fn a_cluster_is_broken_as_the_guide_says_and_its_database_is_for_nothing_else() -> Result<()> {
    let folder = Run::this()?.folder("chaos")?;
    let addresses = Addresses::given("chaos")?;
    RUNTIME.block_on(async {
        the_guide_holds(&folder, Some(&addresses)).await?;
        // A database that serves something else is not broken unasked.
        let settings = settings(&folder, &json!({}))?;
        let api = member("api", "api", &folder, &settings, Some(&addresses))?;
        let process = api.start()?;
        api.is_up(&process).await?;
        let client = crate::harness::client::Api::new(&api.base())?;
        let document = "workflow: v1\nname: orders\ncomponents:\n  a: { type: noop }\n";
        client.create("orders", document).await?;
        process.terminate(PATIENCE).await?;
        let (refused, _) = chaos(&folder, Some(&addresses), &["chaos", "--executions", "1"]).await?;
        ensure!(refused.code == 2 && refused.err.contains("orders-"), "{refused:?}");
        ensure!(refused.err.contains("--this-is-a-test-cluster"), "{refused:?}");
        // It asks before it begins, not with the first fault.
        let nobody = ["chaos", "--this-is-a-test-cluster", "--management", "http://127.0.0.1:1"];
        let (refused, _) = chaos(&folder, Some(&addresses), &nobody).await?;
        ensure!(refused.code == 2 && refused.err.contains("--management: no answer from"), "{refused:?}");
        Ok(())
    })
}

#[test]
fn a_workflow_that_fails_is_found_unless_it_may() -> Result<()> {
    let folder = Run::this()?.folder("chaos")?;
    let file = folder.join("own.yaml");
    fs::write(
        &file,
        "workflow: v1\nname: own\nparameters:\n  n: { type: integer, required: true }\n  probe: { type: string, required: \
         true }\ncomponents:\n  ship:\n    type: http_request\n    config: { method: POST, url: '${{ parameters.probe \
         }}/ship?n=${{ parameters.n }}' }\n  broken:\n    type: fail\n    needs: [ship]\n    config: { message: no }\n",
    )?;
    let file = file.display().to_string();
    let arguments = ["chaos", "--executions", "6", "--faults", "1", "--kinds", "kill", "--workflow", &file];
    RUNTIME.block_on(async {
        let (output, report) = chaos(&folder, None, &arguments).await?;
        ensure!(output.code == 1 && report["is_sound"] == false, "{output:?} {report:#}");
        let cancelled = report["cancelled_as_planned"].as_u64().context("a figure")?;
        ensure!(report["unexpected"].as_u64() == Some(6 - cancelled), "{report:#}");
        ensure!(report["effects"].as_u64() > Some(0), "{report:#}");
        ensure!(output.out.contains("ended otherwise than planned"), "{}", output.out);

        let (output, report) = chaos(&folder, None, &[&arguments[..], &["--may-fail"]].concat()).await?;
        ensure!(output.code == 0 && report["is_sound"] == true, "{output:?} {report:#}");
        Ok(())
    })
}

#[test]
fn interrupted_it_ends_what_it_started() -> Result<()> {
    let folder = Run::this()?.folder("chaos")?;
    RUNTIME.block_on(async {
        let settings = settings(&folder, &json!({}))?;
        let member = member("chaos", "chaos", &folder, &settings, None)?;
        let arguments = ["chaos", "--executions", "1000", "--faults", "100", "--kinds", "stop"];
        let command = member.command(&arguments)?;
        let process = crate::harness::process::Process::start("chaos", command, &member.log())?;
        let what = "a fault, and the process that it hit";
        let children = until(PATIENCE, what, async || {
            let children = descendants(process.pid());
            let has_begun = tail(&member.log(), 5).contains("stop serve");
            Ok((has_begun && !children.is_empty()).then_some(children))
        })
        .await
        .with_context(|| process.tail(20))?;
        process.signal(Signal::INT)?;
        let status = process.wait(PATIENCE).await?;
        ensure!(status.code() == Some(130), "{status}: {}", process.tail(20));
        for child in children {
            ensure!(!Path::new(&format!("/proc/{child}")).exists(), "{child} goes on");
        }
        Ok(())
    })
}

#[test]
fn every_command_of_the_guide_is_understood() -> Result<()> {
    let folder = Run::this()?.folder("chaos")?;
    let commands = commands()?;
    ensure!(commands.len() >= 4, "{commands:?}");
    RUNTIME.block_on(async {
        for command in commands {
            let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            arguments.push("--help");
            let (output, _) = chaos(&folder, None, &arguments).await?;
            ensure!(output.code == 0, "{command:?}: {output:?}");
        }
        Ok(())
    })
}
