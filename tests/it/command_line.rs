//! The verbs that need no server.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::harness::{
    PATIENCE, RUNTIME, place::Place, place::Shape, process::Output, process::finish, run::Run,
};

/// Writes files in a new folder and runs `apg` with the settings of the embedded place.
fn apg(files: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    let place = Place::shared(Shape::Embedded)?;
    let folder = Run::this()?.folder("command")?;
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    let paths: Vec<String> = arguments
        .iter()
        .map(|argument| match files.iter().find(|(name, _)| name == argument) {
            Some((name, _)) => folder.join(name).display().to_string(),
            None => (*argument).to_owned(),
        })
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    RUNTIME.block_on(finish(place.front.command(&paths)?, PATIENCE))
}

const BROKEN: &str = r#"
workflow: v1
name: broken
components:
  parse:
    type: csv_parse
    config:
      input: "id,price\n1,2.50\n2,cheap\n"
      types: { price: number }
  done:
    type: end
    needs: [parse]
"#;

#[test]
fn run_of_a_broken_csv_ends_with_1_and_names_row_and_column() -> Result<()> {
    let output = apg(&[("broken.yaml", BROKEN)], &["run", "broken.yaml"])?;
    ensure!(output.code == 1, "{output:?}");
    ensure!(output.err.contains("row 2") && output.err.contains("price"), "{}", output.err);
    Ok(())
}

#[test]
fn run_without_a_required_parameter_ends_with_2() -> Result<()> {
    let document = "workflow: v1\nname: needy\nparameters:\n  who: { type: string, required: true }\ncomponents:\n  \
                    done:\n    type: end\n    config: { output: \"${{ parameters.who }}\" }\n";
    let output = apg(&[("needy.yaml", document)], &["run", "needy.yaml"])?;
    ensure!(output.code == 2 && output.err.contains("who"), "{output:?}");
    Ok(())
}

#[test]
fn validate_points_at_every_mistake() -> Result<()> {
    let document = "workflow: v1\nname: wrong\ncomponents:\n  a:\n    type: http_reqest\n    config: { url: x }\n  \
                    b:\n    type: noop\n    needs: [c]\n";
    let output = apg(&[("wrong.yaml", document)], &["validate", "wrong.yaml"])?;
    ensure!(output.code == 2, "{output:?}");
    for part in ["http_request", "wrong.yaml:5", "^", "`c`"] {
        ensure!(output.err.contains(part), "{part} is missing:\n{}", output.err);
    }
    let output = apg(&[("wrong.yaml", document)], &["validate", "--output", "json", "wrong.yaml"])?;
    let report: Value = serde_json::from_str(&output.out)?;
    ensure!(
        output.code == 2 && report[0]["problems"].as_array().is_some_and(|all| all.len() >= 2),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn validate_accepts_what_is_right() -> Result<()> {
    let output = apg(&[("broken.yaml", BROKEN)], &["validate", "broken.yaml"])?;
    ensure!(output.code == 0, "{output:?}");
    Ok(())
}

#[test]
fn a_wrong_setting_ends_with_2_and_its_name() -> Result<()> {
    let output = apg(&[], &["--set", "engine.lease_secs=5", "config", "check"])?;
    ensure!(output.code == 2 && output.err.contains("engine.lease_secs"), "{output:?}");
    Ok(())
}
