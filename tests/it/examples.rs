//! The example documents run, at a server and without one.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, place::Place, place::Shape, process::finish, unique_name, workspace};

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
    let place = Place::shared(Shape::Embedded)?;
    let file = workspace().join("examples").join(format!("{name}.yaml"));
    let mut arguments = vec!["run".to_owned(), file.display().to_string()];
    arguments.extend(parameters.iter().map(|(name, value)| format!("--param={name}={value}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    crate::harness::RUNTIME.block_on(async {
        let mut outputs: Vec<Value> = Vec::new();
        for _ in 0..2 {
            let output = finish(place.front.command(&arguments)?, PATIENCE).await?;
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
    let place = Place::shared(Shape::Embedded)?;
    let label = unique_name("run-order");
    runs_twice_the_same(
        "order",
        &[("shop_url", &format!("{}/shop/{label}", place.probe.base)), ("total", "30")],
    )
}
