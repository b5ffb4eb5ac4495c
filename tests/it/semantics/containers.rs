//! When a container completes and when it fails: C1 to C9.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::place::Place;

both_shapes!(
    c1_a_group_completes_or_fails_with_its_body,
    c2_a_foreach_stops_at_the_first_failed_item,
    c2_a_foreach_walks_through_a_row_set,
    c3_a_foreach_that_collects_never_fails_for_an_item,
    c4_a_foreach_tolerates_failures_up_to_a_limit,
    c5_a_while_ends_when_its_condition_is_false,
    c6_a_try_completes_when_its_catch_does,
    c7_a_try_with_finally_ends_after_it,
    c8_the_first_child_of_a_race_wins,
    c9_a_race_of_which_every_child_was_skipped_is_skipped,
);

/// Gives back what `id` gave.
fn gives(id: &str) -> String {
    format!("output: {{ it: '${{{{ components.{id}.output | d(none) }}}}' }}")
}

/// Items of a foreach as they ended.
fn statuses(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|item| item["status"].as_str()).collect()
}

async fn c1_a_group_completes_or_fails_with_its_body(place: &Place) -> Result<()> {
    let group = |script: &str, body: &str| {
        format!(
            "g: {{ type: group, components: {{ a: {{ @call(a?{script}) }}, b: {{ @call(b), needs: [a] }}{body} }} }}
             after: {{ @call(after), needs: [g] }}
             handler: {{ @call(handler), needs: [g.error] }}"
        )
    };
    let case = Case::start_with(place, &gives("g"), &group("", "")).await?;
    let found = case.ends("completed").await?;
    case.shows("g completed, after completed, handler skipped").await?;
    ensure!(case.calls() == ["a", "b", "after"], "{:?}", case.calls());
    let output = &found["output"]["it"];
    ensure!(output["a"]["body"]["component"] == "a" && output["b"]["body"]["component"] == "b", "{found}");

    let case = Case::start_with(place, "", &group("status=404", "")).await?;
    case.ends("completed").await?;
    case.shows("g failed, after skipped, handler completed").await?;
    ensure!(case.calls() == ["a", "handler"], "{:?}", case.calls());
    // What is handled inside does not fail it.
    let case = Case::start(place, &group("status=404", ", h: { @call(h), needs: [a.error] }")).await?;
    case.ends("completed").await?;
    case.shows("g completed, after completed, handler skipped").await
}

/// A foreach over three items that asks the probe for the status of each.
fn foreach(statuses: [u16; 3], config: &str) -> String {
    format!(
        "l: {{ type: foreach, config: {{ items: {statuses:?}, {config} }}, components: {{ a: {{ @call(a?status=${{{{ item }}}}) }} }} }}
         after: {{ @call(after), needs: [l] }}"
    )
}

async fn c2_a_foreach_stops_at_the_first_failed_item(place: &Place) -> Result<()> {
    let case = Case::start_with(place, &gives("l"), &foreach([200, 201, 202], "on_item_error: stop")).await?;
    let found = case.ends("completed").await?;
    case.shows("l completed, after completed").await?;
    let list = &found["output"]["it"];
    ensure!(statuses(list) == ["completed"; 3], "{found}");
    for (index, status) in [200, 201, 202].into_iter().enumerate() {
        let item = &list[index];
        ensure!(item["index"] == index && item["output"]["a"]["status"] == status, "in their order: {found}");
        ensure!(item["error"].is_null(), "{found}");
    }
    // No items.
    let components = foreach([200; 3], "max_parallel: 1").replace("[200, 200, 200]", "[]");
    let case = Case::start_with(place, &gives("l"), &components).await?;
    let found = case.ends("completed").await?;
    ensure!(found["output"]["it"] == json!([]), "{found}");
    ensure!(case.calls() == ["after"], "{:?}", case.calls());
    // The first failed item ends the others: one is under way, one has not begun.
    let case = Case::start(
        place,
        "l: { type: foreach, config: { items: ['hang=1', 'status=404', ''], max_parallel: 2 }, components: { a: { @call(a?${{ item }}), timeout: 10m }, b: { @call(b), needs: [a] } } }
         after: { @call(after), needs: [l] }",
    )
    .await?;
    case.fails("not_found").await?;
    case.shows("l failed, after skipped").await?;
    let events = case.events("a").await?;
    ensure!(events.iter().any(|event| event.name == "task_cancelled"), "the first is cancelled: {events:?}");
    ensure!(case.calls().iter().all(|call| call == "a") && case.calls().len() <= 2, "{:?}", case.calls());
    Ok(())
}

async fn c2_a_foreach_walks_through_a_row_set(place: &Place) -> Result<()> {
    const ROWS: usize = 1_203;
    let text: String = (0..ROWS).map(|row| format!("{row}\\n")).collect();
    let start = async |loops: &str| {
        let components = format!(
            "list: {{ type: csv_parse, config: {{ input: \"n\\n{text}\", types: {{ n: integer }}, as: rows }} }}
             l: {{ type: foreach, needs: [list], config: {{ items: '${{{{ components.list.output.rows }}}}', {loops} }}, \
             components: {{ a: {{ type: noop, config: {{ value: '${{{{ item }}}}' }} }} }} }}"
        );
        Case::start_with(place, &gives("l"), &components).await
    };
    let given = async |case: &Case<'_>| -> Result<Vec<Value>> {
        let found = case.ends("completed").await?;
        let reference = found["output_reference"]["href"].as_str().map(ToOwned::to_owned);
        let output = match reference {
            Some(path) => place.api.get(&path).await?.expect(200)?,
            None => found["output"].clone(),
        };
        let list = output["it"].as_array().cloned().unwrap_or_default();
        Ok(list.iter().map(|round| round["output"]["a"].clone()).collect())
    };
    let case = start("max_parallel: 50").await?;
    let rows: Vec<Value> = (0..ROWS).map(|row| json!({ "n": row })).collect();
    ensure!(given(&case).await? == rows, "every row is an item, in order");
    let case = start("batch_size: 100").await?;
    let batches: Vec<Value> = rows.chunks(100).map(|batch| json!(batch)).collect();
    ensure!(given(&case).await? == batches, "a batch is a list of rows");
    // Too many are refused before the first.
    let case = start(&format!("max_items: {}", ROWS - 1)).await?;
    case.fails("limit_exceeded").await?;
    ensure!(case.events("a").await?.is_empty(), "no round began");
    Ok(())
}

async fn c3_a_foreach_that_collects_never_fails_for_an_item(place: &Place) -> Result<()> {
    let components = foreach([404, 200, 409], "on_item_error: collect");
    let case = Case::start_with(place, &gives("l"), &components).await?;
    let found = case.ends("completed").await?;
    case.shows("l completed, after completed").await?;
    let list = &found["output"]["it"];
    ensure!(statuses(list) == ["failed", "completed", "failed"], "{found}");
    ensure!(list[0]["error"]["class"] == "not_found" && list[1]["error"].is_null(), "{found}");
    ensure!(list[2]["error"]["class"].is_string(), "{found}");
    Ok(())
}

async fn c4_a_foreach_tolerates_failures_up_to_a_limit(place: &Place) -> Result<()> {
    for (tolerate, statuses, ends) in [
        ("1", [404, 200, 200], "completed"),
        ("1", [404, 200, 404], "failed"),
        ("34%", [200, 404, 200], "completed"),
        ("34%", [404, 404, 200], "failed"),
        ("33%", [200, 200, 404], "failed"),
        ("0", [200, 404, 200], "failed"),
    ] {
        // One after the other.
        let config = format!("tolerate: {tolerate}, max_parallel: 1");
        let case = Case::start(place, &foreach(statuses, &config)).await?;
        case.ends(ends).await?;
        let after = if ends == "completed" { "completed" } else { "skipped" };
        case.shows(&format!("l {ends}, after {after}")).await?;
    }
    Ok(())
}

async fn c5_a_while_ends_when_its_condition_is_false(place: &Place) -> Result<()> {
    let repeat = |config: &str, body: &str| {
        format!(
            "w: {{ type: while, config: {{ {config} }}, components: {{ a: {{ @call(a?{body}) }} }} }}
             after: {{ @call(after), needs: [w] }}
             handler: {{ type: end, needs: [w.error], config: {{ output: '${{{{ components.w.error }}}}' }} }}"
        )
    };
    let case = Case::start_with(place, &gives("w"), &repeat("condition: iteration < 3", "")).await?;
    let found = case.ends("completed").await?;
    case.shows("w completed, after completed, handler skipped").await?;
    ensure!(found["output"]["it"]["iterations"] == 3, "{found}");
    ensure!(case.calls() == ["a", "a", "a", "after"], "{:?}", case.calls());
    // The round before is known.
    let condition = "condition: iteration == 0 or (previous.a.body.call == 1 and iteration < 2)";
    let case = Case::start(place, &repeat(condition, "")).await?;
    case.ends("completed").await?;
    ensure!(case.calls() == ["a", "a", "after"], "{:?}", case.calls());
    // Its body fails.
    let case = Case::start(place, &repeat("condition: 'true'", "status=404")).await?;
    let found = case.ends("completed").await?;
    case.shows("w failed, after skipped, handler completed").await?;
    ensure!(found["output"]["class"] == "not_found", "{found}");
    // It goes on for too long.
    let case = Case::start(place, &repeat("condition: 'true', max_iterations: 2", "")).await?;
    let found = case.ends("completed").await?;
    case.shows("w failed, after skipped, handler completed").await?;
    ensure!(found["output"]["class"] == "limit_exceeded", "{found}");
    ensure!(case.calls() == ["a", "a"], "{:?}", case.calls());
    Ok(())
}

/// A try whose body, `catch` and `finally` each make one call.
fn attempt(body: &str, parts: &[(&str, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(part, script)| format!(", {part}: {{ in_{part}: {{ @call({part}?{script}) }} }}"))
        .collect();
    format!(
        "t: {{ type: try, components: {{ a: {{ @call(a?{body}) }} }}{parts} }}
         caught: {{ @call(caught), needs: [t.caught] }}
         after: {{ @call(after), needs: [t] }}"
    )
}

const BAD: &str = "status=404";

async fn c6_a_try_completes_when_its_catch_does(place: &Place) -> Result<()> {
    let case = Case::start_with(place, &gives("t"), &attempt("", &[("catch", "")])).await?;
    let found = case.ends("completed").await?;
    case.shows("t completed, caught skipped, after completed").await?;
    ensure!(found["output"]["it"]["a"]["body"]["component"] == "a", "{found}");
    ensure!(case.calls() == ["a", "after"], "{:?}", case.calls());

    let case = Case::start_with(place, &gives("t"), &attempt(BAD, &[("catch", "")])).await?;
    let found = case.ends("completed").await?;
    case.shows("t completed, caught completed, after completed").await?;
    ensure!(found["output"]["it"]["in_catch"]["body"]["component"] == "catch", "{found}");

    let case = Case::start(place, &attempt(BAD, &[("catch", "status=409")])).await?;
    case.ends("failed").await?;
    case.shows("t failed, caught skipped, after skipped").await?;
    ensure!(case.calls() == ["a", "catch"], "{:?}", case.calls());
    // A class that `catch` does not take.
    let components =
        attempt(BAD, &[("catch", "")]).replace("type: try,", "type: try, config: { classes: [user] },");
    let case = Case::start(place, &components).await?;
    case.fails("not_found").await?;
    ensure!(case.calls() == ["a"], "{:?}", case.calls());
    // What failed is known inside.
    let case = Case::start_with(
        place,
        &gives("t"),
        "t: { type: try, components: { a: { @call(a?status=404) } }, catch: { c: { type: set_variables, config: { values: { class: '${{ error.class }}' } } } } }",
    )
    .await?;
    let found = case.ends("completed").await?;
    ensure!(found["output"]["it"]["c"]["class"] == "not_found", "{found}");
    Ok(())
}

async fn c7_a_try_with_finally_ends_after_it(place: &Place) -> Result<()> {
    for (body, catch, last, ends, calls) in [
        ("", Some(""), "", "completed", &["a", "finally", "after"][..]),
        (BAD, Some(""), "", "completed", &["a", "catch", "finally"]),
        (BAD, Some(BAD), "", "failed", &["a", "catch", "finally"]),
        ("", Some(""), BAD, "failed", &["a", "finally"]),
        (BAD, Some(""), BAD, "failed", &["a", "catch", "finally"]),
        (BAD, None, "", "failed", &["a", "finally"]),
        ("", None, "", "completed", &["a", "finally", "after"]),
    ] {
        let mut parts: Vec<_> = catch.map(|catch| ("catch", catch)).into_iter().collect();
        parts.push(("finally", last));
        let case = Case::start(place, &attempt(body, &parts)).await?;
        case.ends(ends).await?;
        let word = if ends == "completed" { "completed" } else { "skipped" };
        case.shows(&format!("t {ends}, after {word}")).await?;
        let found = case.calls();
        ensure!(
            found.starts_with(&calls.iter().map(|call| (*call).to_owned()).collect::<Vec<_>>()),
            "{found:?}"
        );
    }
    Ok(())
}

/// A race of two calls.
fn race(a: &str, b: &str) -> String {
    format!(
        "r: {{ type: race, components: {{ a: {{ @call(a?{a}), timeout: 10m }}, b: {{ @call(b?{b}), timeout: 10m }} }} }}
         won: {{ @call(won), needs: [r.a] }}
         lost: {{ @call(lost), needs: [r.b] }}"
    )
}

async fn c8_the_first_child_of_a_race_wins(place: &Place) -> Result<()> {
    let case = Case::start_with(place, &gives("r"), &race("", "hang=1")).await?;
    let found = case.ends("completed").await?;
    case.shows("r completed, won completed, lost skipped").await?;
    let output = &found["output"]["it"];
    ensure!(output["winner"] == "a" && output["output"]["body"]["component"] == "a", "{found}");
    let events = case.events("b").await?;
    ensure!(events.iter().any(|event| event.name == "task_cancelled"), "the loser is cancelled: {events:?}");
    // One that fails leaves it to the others.
    let case = Case::start(place, &race(BAD, "delay_ms=100")).await?;
    case.ends("completed").await?;
    case.shows("r completed, won skipped, lost completed").await?;
    // All fail.
    let case = Case::start(place, &race(BAD, "status=404")).await?;
    case.fails("not_found").await?;
    case.shows("r failed, won skipped, lost skipped").await?;
    // One fails, the other is skipped.
    let components = race(BAD, "").replace("@call(b?)", "@call(b?), when: 'false'");
    let case = Case::start(place, &components).await?;
    case.fails("not_found").await?;
    case.shows("r failed, won skipped, lost skipped").await
}

async fn c9_a_race_of_which_every_child_was_skipped_is_skipped(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "r: { type: race, components: { a: { @call(a), when: 'false' }, b: { @call(b), when: 'false' } } }
         after: { @call(after), needs: [r] }
         anyway: { @call(anyway), needs: [r], join: all_done }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("r skipped, after skipped, anyway completed").await?;
    ensure!(case.calls() == ["anyway"], "{:?}", case.calls());
    Ok(())
}
