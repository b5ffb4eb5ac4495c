//! The example documents run, at a server and without one.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, RUNTIME,
    place::{Place, member, settings},
    probe::Probe,
    process::finish,
    run::Run,
    unique_name, workspace,
};

fn document(name: &str) -> Result<String> {
    let path = workspace().join("examples").join(format!("{name}.yaml"));
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

both_shapes!(hello_greets, etl_sums_orders_up_twice_the_same, an_order_is_placed_at_a_shop_that_fails_first);

async fn hello_greets(place: &Place) -> Result<()> {
    let found = place.api.complete("hello", &document("hello")?, &json!({ "name": "Ada" })).await?;
    ensure!(found["output"] == json!({ "greeting": "Hello, Ada!", "numbers": [1, 2, 3] }), "{found}");
    ensure!(found["parameters"] == json!({ "name": "Ada" }), "{found}");
    ensure!(found["progress"] == 100.0, "{found}");
    Ok(())
}

async fn etl_sums_orders_up_twice_the_same(place: &Place) -> Result<()> {
    let workflow = place.api.create("etl", &document("etl")?).await?;
    let mut outputs = Vec::new();
    for _ in 0..2 {
        let id = place.api.execute(&workflow, &json!({})).await?;
        let found = place.api.ended(&id).await?;
        ensure!(found["status"] == "completed", "{found}");
        outputs.push(found["output"].clone());
    }
    ensure!(outputs[0] == outputs[1], "{outputs:?}");
    ensure!(
        outputs[0]["rows_read"].as_u64() > Some(0) && outputs[0]["stored"].as_u64() > Some(0),
        "{outputs:?}"
    );
    Ok(())
}

async fn an_order_is_placed_at_a_shop_that_fails_first(place: &Place) -> Result<()> {
    let label = unique_name("order");
    let parameters = json!({
        "shop_url": format!("{}/shop/{label}", place.probe.base), "order_id": "A-7", "total": 1250,
        "shipping": "express",
    });
    let found = place.api.complete("order", &document("order")?, &parameters).await?;
    ensure!(found["output"]["order_id"] == "A-7" && found["output"]["shop"]["accepted"] == true, "{found}");
    ensure!(found["output"]["lines"].as_array().map(Vec::len) == Some(2), "{found}");
    let effects = place.probe.of(&label);
    ensure!(effects.len() == 2, "one refusal, one order: {effects:?}");
    ensure!(
        !effects[0].key.is_empty() && effects[0].key == effects[1].key,
        "one key for both attempts: {effects:?}"
    );
    let events = place.api.events(found["id"].as_str().unwrap_or_default()).await?;
    let is =
        |name: &str, component: &str| events.iter().any(|e| e.name == name && e.component() == component);
    ensure!(
        is("skipped", "by_standard") && is("skipped", "by_pick_up") && !is("skipped", "approve"),
        "{events:?}"
    );
    Ok(())
}

/// `apg run` of an example: the same outcome every time, and nothing but the output on standard output.
fn runs_twice_the_same(name: &str, parameters: &[(&str, &str)]) -> Result<()> {
    let folder = Run::this()?.folder("run")?;
    let runner = member("run", "run", &folder, &settings(&folder, &json!({}))?, None)?;
    let file = workspace().join("examples").join(format!("{name}.yaml")).display().to_string();
    let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut arguments = vec!["run", &file];
    arguments.extend(parameters.iter().flat_map(|parameter| ["-p", parameter]));
    RUNTIME.block_on(async {
        let mut outputs: Vec<Value> = Vec::new();
        for _ in 0..2 {
            let output = finish(runner.command(&arguments)?, PATIENCE).await?;
            ensure!(output.code == 0, "it ended with {}: {}", output.code, output.err);
            let value = serde_json::from_str(&output.out);
            outputs.push(value.with_context(|| format!("standard output is the output: {:?}", output.out))?);
        }
        ensure!(outputs[0] == outputs[1], "{outputs:?}");
        ensure!(outputs[0].is_object(), "{outputs:?}");
        Ok(())
    })
}

#[test]
fn apg_run_hello_twice() -> Result<()> {
    runs_twice_the_same("hello", &[("name", "Ada")])
}

#[test]
fn apg_run_etl_twice() -> Result<()> {
    runs_twice_the_same("etl", &[])
}

#[test]
fn apg_run_order_twice() -> Result<()> {
    let probe = RUNTIME.block_on(Probe::start())?;
    let shop = format!("{}/shop/run-order", probe.base);
    runs_twice_the_same("order", &[("shop_url", &shop), ("total", "30")])?;
    ensure!(probe.of("run-order").len() == 4, "each run is refused once and tried again");
    Ok(())
}

/// What the comments at the head of each example tell people to type is understood.
#[test]
fn the_commands_in_the_examples_are_right() -> Result<()> {
    let folder = Run::this()?.folder("typed")?;
    let runner = member("typed", "run", &folder, &settings(&folder, &json!({}))?, None)?;
    for name in ["hello", "etl", "order"] {
        for line in document(name)?.lines().filter_map(|line| line.strip_prefix("#   apg ")) {
            // The file that is meant is not there in the folder of the test: a wrong flag ends with 2 before.
            let file = workspace().join(format!("examples/{name}.yaml")).display().to_string();
            let words: Vec<&str> = line
                .split(' ')
                .map(|word| word.trim_matches('\''))
                .map(|word| if word.starts_with("examples/") { file.as_str() } else { word })
                .collect();
            let output = RUNTIME.block_on(finish(runner.command(&words)?, PATIENCE))?;
            ensure!(output.code != 2, "apg {line}: {}", output.err);
        }
    }
    Ok(())
}
