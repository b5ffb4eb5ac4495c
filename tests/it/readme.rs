//! The README's first screen: its requests are sent as they stand, one after another.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::{API_KEY, place::Place, workspace};

both_shapes!(the_requests_of_the_readme_work);

/// Where the README's server listens.
const SERVER: &str = "http://127.0.0.1:5000";

/// The `curl` commands of the first fenced block that has some, each with its here-document.
fn requests(readme: &str) -> Vec<String> {
    let block = readme.split("```sh").map(|rest| rest.split("```").next().unwrap_or_default());
    let block = block.into_iter().find(|block| block.contains("curl ")).unwrap_or_default();
    block
        .split("\n\n")
        .flat_map(|paragraph| {
            let body: Vec<&str> = paragraph.lines().filter(|line| !line.starts_with('#')).collect();
            // Lines that stand together are one command when they go on, and several when each begins anew.
            if body.iter().filter(|line| line.starts_with("curl ")).count() > 1 {
                body.into_iter().map(ToOwned::to_owned).collect()
            } else {
                vec![body.join("\n").trim().to_owned()]
            }
        })
        .filter(|command| command.starts_with("curl "))
        .collect()
}

async fn the_requests_of_the_readme_work(place: &Place) -> Result<()> {
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let commands = requests(&readme);
    ensure!(commands.len() >= 5, "the README's requests were not found: {commands:?}");
    let (mut workflow, mut execution) = (String::new(), String::new());
    for command in commands {
        let filled = command
            .replace(SERVER, &place.api.base)
            .replace("WORKFLOW_ID", &workflow)
            .replace("EXECUTION_ID", &execution);
        let ran = tokio::process::Command::new("sh")
            .args(["-c", &filled])
            .env("APG_API_KEY", API_KEY)
            .stdin(Stdio::null())
            .output()
            .await
            .context("sh and curl are needed to try the README")?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        ensure!(ran.status.success() && !said.contains("\"code\""), "{filled}\n{said}");
        if let Some(id) = serde_json::from_str::<Value>(&said)
            .ok()
            .and_then(|answer| answer["id"].as_str().map(ToOwned::to_owned))
        {
            if id.starts_with("workflow_") {
                workflow = id;
            } else {
                execution = id;
            }
        }
    }
    let ended = place.api.ended(&execution).await?;
    ensure!(ended["output"] == "Hello, Ada!", "{ended}");
    Ok(())
}
