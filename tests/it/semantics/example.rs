//! The worked example of the reference, case by case, with a shop that the test plays.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{place::Place, probe::Part, unique_name, workspace};

both_shapes!(
    example_low_risk,
    example_risky_approved,
    example_risky_rejected,
    example_risky_expired,
    example_ship_fails,
    example_ship_and_desk_fail,
    example_reserve_fails,
    example_fetch_fails,
);

/// The path of the order in the shop.
const ORDER: &str = "orders/A-7";

/// What is broken when the second line cannot be held.
const SECOND_HOLD: &str = "the second hold";

/// Starts the document as it stands, but for the hosts and these edits; the shop and the others play along, except
/// for `broken`.
async fn order<'a>(place: &'a Place, score: u32, broken: &str, edits: &[(&str, &str)]) -> Result<Case<'a>> {
    let path = workspace().join("shared/tests/documents/order_fulfilment.yaml");
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let label = unique_name("example");
    let base = format!("{}/play/{label}", place.probe.base);
    let own_key = format!("key: {label}-${{{{ parameters.order_id }}}}");
    let hosts =
        ["shop", "fraud", "stock"].map(|host| (format!("https://{host}.example"), format!("{base}/{host}")));
    let hosts = hosts.iter().map(|(from, to)| (from.as_str(), to.as_str()));
    let key = ("key: ${{ parameters.order_id }}", own_key.as_str());
    for (from, to) in hosts.chain([key]).chain(edits.iter().copied()) {
        ensure!(text.contains(from), "the document has no `{from}`");
        text = text.replace(from, to);
    }
    let scored: Part =
        if score > 80 { |_| (200, json!({ "score": 99 })) } else { |_| (200, json!({ "score": 1 })) };
    let held: Part = if broken == SECOND_HOLD {
        |body| if body["line"] == 0 { (201, json!({ "id": "h0" })) } else { (409, json!({})) }
    } else {
        |body| (201, json!({ "id": format!("h{}", body["line"]) }))
    };
    let parts: [(&str, Part); 7] = [
        (&format!("GET shop/{ORDER}"), |_| {
            let lines = json!([{ "sku": "s0", "stock": true }, { "sku": "digital", "stock": false }, { "sku": "s1", "stock": true }]);
            (200, json!({ "lines": lines }))
        }),
        ("POST fraud/score", scored),
        (&format!("POST shop/{ORDER}/refuse"), |_| (200, json!({}))),
        ("POST stock/holds", held),
        ("DELETE stock/holds/h0", |_| (200, json!({}))),
        ("DELETE stock/holds/h1", |_| (200, json!({}))),
        ("POST shop/ship", |body| (200, json!({ "tracking": "T-1", "holds": body["holds"] }))),
    ];
    for (what, part) in parts.into_iter().filter(|(what, _)| *what != broken) {
        place.probe.plays(&label, what, part);
    }
    Case::start_document(place, &text, &label, &json!({ "order_id": "A-7" })).await
}

/// Looks at the end: the components of the table, and the line that `finally` writes.
async fn ends(case: &Case<'_>, row: [&str; 6], status: &str) -> Result<Value> {
    let found = case.ends(status).await?;
    let names = ["review", "cleared", "refuse", "ship", "desk", "record"];
    let expected: Vec<String> = names.iter().zip(row).map(|(name, word)| format!("{name} {word}")).collect();
    case.shows(&expected.join(", ")).await?;
    let logs = case.place.api.pages(&format!("/api/v1/executions/{}/logs", case.id), 500).await?;
    let says = |line: &str| logs.iter().any(|found| found["message"] == line);
    ensure!(says(&format!("execution {} is {status}", case.id)), "{logs:?}");
    ensure!(says(&format!("ship {}, refuse {}", row[3], row[2])), "{logs:?}");
    let told = logs.iter().any(|line| line["component"] == "notify" && line["level"] == "error");
    ensure!(told == (status == "failed"), "`on_failure` is for failures: {logs:?}");
    Ok(found)
}

/// The holds that were released.
fn released(case: &Case<'_>) -> Vec<String> {
    let calls = case.calls().into_iter();
    let mut all: Vec<String> =
        calls.filter_map(|call| Some(call.strip_prefix("DELETE stock/holds/")?.to_owned())).collect();
    all.sort();
    all
}

async fn example_low_risk(place: &Place) -> Result<()> {
    let case = order(place, 1, "", &[]).await?;
    let row = ["skipped", "completed", "skipped", "completed", "skipped", "completed"];
    let found = ends(&case, row, "completed").await?;
    ensure!(found["output"] == json!({ "tracking": "T-1", "lines_held": 2 }), "{found}");
    ensure!(released(&case).is_empty(), "{:?}", case.calls());
    let effects = place.probe.of(&case.label);
    let ship = effects.iter().find(|effect| effect.component == "POST shop/ship").context("the call")?;
    ensure!(ship.body["holds"] == json!(["h0", "h1"]), "in the order of the lines: {}", ship.body);
    Ok(())
}

async fn example_risky_approved(place: &Place) -> Result<()> {
    let case = order(place, 99, "", &[]).await?;
    case.shows("review asked, cleared waiting, refuse waiting, ship waiting, desk waiting, record waiting")
        .await?;
    case.answers("review", "approve", json!({ "as": "risk-team" })).await?;
    let row = ["completed", "completed", "skipped", "completed", "skipped", "completed"];
    let found = ends(&case, row, "completed").await?;
    ensure!(found["output"]["tracking"] == "T-1", "{found}");
    Ok(())
}

const REFUSED: [&str; 6] = ["completed", "skipped", "completed", "skipped", "skipped", "completed"];

async fn example_risky_rejected(place: &Place) -> Result<()> {
    let case = order(place, 99, "", &[]).await?;
    case.answers("review", "reject", json!({ "as": "risk-team" })).await?;
    let found = ends(&case, REFUSED, "completed").await?;
    ensure!(found["output"] == json!({ "tracking": null, "lines_held": 2 }), "{found}");
    Ok(())
}

async fn example_risky_expired(place: &Place) -> Result<()> {
    let case = order(place, 99, "", &[("expires: 24h", "expires: 300ms")]).await?;
    ends(&case, REFUSED, "completed").await?;
    Ok(())
}

async fn example_ship_fails(place: &Place) -> Result<()> {
    let case = order(place, 1, "POST shop/ship", &[]).await?;
    let asked = case.answers("desk", "approve", json!({ "as": "dispatch-desk" })).await?;
    ensure!(asked["message"].as_str().is_some_and(|text| text.starts_with("Ship A-7 by hand: ")), "{asked}");
    let row = ["skipped", "completed", "skipped", "failed", "completed", "completed"];
    ends(&case, row, "completed").await?;
    ensure!(released(&case).is_empty(), "what is handled undoes nothing: {:?}", case.calls());
    Ok(())
}

async fn example_ship_and_desk_fail(place: &Place) -> Result<()> {
    // The desk is asked for more approvals than it has people.
    let nobody = ("assignees: [dispatch-desk]", "assignees: [dispatch-desk]\n      quorum: 2");
    let case = order(place, 1, "POST shop/ship", &[nobody]).await?;
    let row = ["skipped", "completed", "skipped", "failed", "failed", "completed"];
    let found = ends(&case, row, "failed").await?;
    ensure!(found["failure"]["details"]["unhandled"] == json!(["desk"]), "{found}");
    ensure!(released(&case) == ["h0", "h1"], "{:?}", case.calls());
    Ok(())
}

async fn example_reserve_fails(place: &Place) -> Result<()> {
    // One after the other, so that it is known which of them is held when the next one fails.
    let case = order(place, 1, SECOND_HOLD, &[("max_parallel: 10", "max_parallel: 1")]).await?;
    let row = ["skipped", "completed", "skipped", "skipped", "skipped", "completed"];
    let found = ends(&case, row, "failed").await?;
    ensure!(found["failure"]["details"]["unhandled"] == json!(["reserve"]), "{found}");
    ensure!(released(&case) == ["h0"], "{:?}", case.calls());
    Ok(())
}

async fn example_fetch_fails(place: &Place) -> Result<()> {
    let case = order(place, 1, &format!("GET shop/{ORDER}"), &[]).await?;
    let row = ["skipped", "skipped", "skipped", "skipped", "skipped", "completed"];
    let found = ends(&case, row, "failed").await?;
    ensure!(found["failure"]["details"]["unhandled"] == json!(["fetch"]), "{found}");
    ensure!(case.calls() == [format!("GET shop/{ORDER}")], "{:?}", case.calls());
    Ok(())
}
