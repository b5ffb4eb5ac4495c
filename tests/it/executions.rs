//! What becomes of executions: control flow, failures and retries, waiting, cancelling, large values.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use shared::time::Timestamp;

use crate::harness::{
    PATIENCE,
    client::{Event, text},
    place::Place,
    unique_name, until,
};

both_shapes!(
    a_decision_takes_one_way,
    a_switch_takes_the_case_or_the_default,
    branches_run_side_by_side_and_join,
    what_travels_together_is_shown_one_by_one,
    what_fails_on_the_way_together_fails_as_it_would_alone,
    an_error_port_handles_a_failure,
    an_unhandled_failure_fails_the_execution,
    retries_follow_the_class_and_back_off,
    a_class_that_is_not_named_is_not_retried,
    a_delay_waits,
    a_scheduled_execution_starts_when_it_is_due,
    the_same_key_and_body_are_one_execution,
    the_same_key_and_another_body_are_refused,
    cancelling_a_scheduled_execution,
    cancelling_a_running_task,
    cancelling_an_ended_execution_changes_nothing,
    an_execution_times_out,
    a_task_times_out,
    a_concurrency_key_with_limit_1_never_overlaps,
    every_priority_is_accepted,
    a_large_output_goes_round,
    a_wrong_field_is_named_by_row_and_column,
    an_at_most_once_task_runs_once,
    an_at_most_once_task_is_not_retried_after_a_failure_in_the_dark,
    a_long_task_is_leased_and_completes,
    effects_are_not_repeated_without_faults,
    an_input_is_the_output_before_it,
);

/// A call of the probe as the config of an `http_request`.
fn call(place: &Place, label: &str, component: &str, script: &str) -> String {
    format!("{{ method: POST, url: \"{}/effect/{label}/{component}?{script}\" }}", place.probe.base)
}

fn document(components: &str) -> String {
    format!("workflow: v1\nname: test\n{components}")
}

fn at(text: &str) -> Result<Timestamp> {
    text.parse().with_context(|| format!("{text} is no instant"))
}

fn named<'a>(events: &'a [Event], name: &str, component: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.name == name && event.component() == component).collect()
}

fn id(execution: &Value) -> Result<String> {
    text(execution, "id")
}

async fn a_decision_takes_one_way(place: &Place) -> Result<()> {
    let document = document(
        "parameters:\n  n: { type: integer, required: true }\ncomponents:\n  large:\n    type: decision\n    config: { condition: \
         parameters.n > 10 }\n  yes:\n    type: set_variables\n    needs: [large.true]\n    config: { values: { way: large } }\n  no:\n    \
         type: set_variables\n    needs: [large.false]\n    config: { values: { way: small } }\n  done:\n    type: end\n    needs: [yes, \
         no]\n    join: any\n    config: { output: \"${{ components.yes.output.way if components.yes.status == 'completed' else \
         components.no.output.way }}\" }\n",
    );
    for (n, way, skipped) in [(11, "large", "no"), (10, "small", "yes")] {
        let found = place.api.complete("decision", &document, &json!({ "n": n })).await?;
        ensure!(found["output"] == way, "{found}");
        let events = place.api.events(&id(&found)?).await?;
        ensure!(named(&events, "skipped", skipped).len() == 1, "{events:?}");
    }
    Ok(())
}

async fn a_switch_takes_the_case_or_the_default(place: &Place) -> Result<()> {
    let document = document(
        "parameters:\n  tier: { type: string, required: true }\ncomponents:\n  way:\n    type: switch\n    config: { value: \"${{ \
         parameters.tier }}\", cases: { gold: gold, silver: silver } }\n  a:\n    type: noop\n    needs: [way.gold]\n  b:\n    type: \
         noop\n    needs: [way.silver]\n  c:\n    type: noop\n    needs: [way.default]\n",
    );
    for (tier, runs) in [("gold", "a"), ("silver", "b"), ("tin", "c")] {
        let found = place.api.complete("switch", &document, &json!({ "tier": tier })).await?;
        let events = place.api.events(&id(&found)?).await?;
        for component in ["a", "b", "c"] {
            let expected = usize::from(component != runs);
            ensure!(named(&events, "skipped", component).len() == expected, "{tier}: {events:?}");
        }
    }
    Ok(())
}

async fn branches_run_side_by_side_and_join(place: &Place) -> Result<()> {
    let label = unique_name("parallel");
    let mut components =
        "components:\n  split:\n    type: parallel\n    config: { branches: [l, m, r] }\n".to_owned();
    for branch in ["l", "m", "r"] {
        components += &format!(
            "  {branch}_call:\n    type: http_request\n    needs: [split.{branch}]\n    config: {}\n",
            call(place, &label, branch, "delay_ms=1500")
        );
    }
    components += "  both:\n    type: join\n    needs: [l_call, m_call, r_call]\n  done:\n    type: end\n    needs: [both]\n    config: { output: \
                   [\"${{ components.l_call.output.body.component }}\", \"${{ components.r_call.output.body.component }}\"] }\n";
    let found = place.api.complete("parallel", &document(&components), &json!({})).await?;
    ensure!(found["output"] == json!(["l", "r"]), "{found}");
    let effects = place.probe.of(&label);
    ensure!(effects.len() == 3, "{effects:?}");
    let last_began = effects.iter().map(|effect| effect.began).max();
    let first_ended = effects.iter().filter_map(|effect| effect.ended).min();
    ensure!(last_began < first_ended, "they ran side by side: {effects:?}");
    Ok(())
}

/// Three pure components in a row, of which the last looks at all of them.
fn row(last: &str) -> String {
    document(&format!(
        "parameters: {{ n: {{ type: integer, default: 10 }} }}
components:
  one: {{ type: map, config: {{ rows: [1, 2], expression: item + 1 }} }}
  two:
    type: map
    needs: [one]
    config: {{ rows: \"${{{{ components.one.output.rows }}}}\", expression: item * bind.n, bind: {{ n: \"${{{{ parameters.n }}}}\" }} }}
  three: {last}
  done: {{ type: end, needs: [three], config: {{ output: \"${{{{ components.three.output.rows }}}}\" }} }}
"
    ))
}

async fn what_travels_together_is_shown_one_by_one(place: &Place) -> Result<()> {
    let document = row(
        "{ type: map, needs: [two], config: { rows: \"${{ components.one.output.rows + components.two.output.rows }}\", expression: \"item + 0\" } }",
    );
    let found = place.api.complete("row", &document, &json!({})).await?;
    ensure!(found["output"] == json!([2, 3, 20, 30]), "{found}");
    let id = text(&found, "id")?;
    let events = place.api.events(&id).await?;
    let of = |name: &str| -> Vec<(&str, u64)> {
        events.iter().filter(|it| it.name == name).map(|it| (it.component(), it.seq)).collect()
    };
    let (sent, completed) = (of("task_dispatched"), of("task_completed"));
    let ids = |list: &[(&str, u64)]| list.iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>();
    ensure!(ids(&sent) == ["one", "two", "three"] && ids(&completed) == ids(&sent), "{events:?}");
    ensure!(
        completed.iter().all(|(_, seq)| *seq == completed[0].1),
        "they came back in one turn: {completed:?}"
    );
    let tasks = place.api.pages(&format!("/api/v1/executions/{id}/tasks"), 50).await?;
    for name in ["one", "two", "three"] {
        let task = tasks.iter().find(|task| task["component"] == name).context("each has its row")?;
        ensure!(task["status"] == "completed" && task["attempt"] == 1, "{task}");
        ensure!(task["worker"].is_string() && task["started_at"].is_string(), "{task}");
    }
    Ok(())
}

async fn what_fails_on_the_way_together_fails_as_it_would_alone(place: &Place) -> Result<()> {
    // The last names a field that does not exist, once in its config and once in a row.
    for (last, class) in [
        (
            "{ type: map, needs: [two], config: { rows: \"${{ components.two.output.rows.none }}\", expression: item } }",
            "invalid_expression",
        ),
        (
            "{ type: map, needs: [two], config: { rows: [1], expression: item.none.deeper } }",
            "invalid_expression",
        ),
    ] {
        let found = place.api.run("row", &row(last), &json!({})).await?;
        ensure!(found["status"] == "failed", "{found}");
        let events = place.api.events(&text(&found, "id")?).await?;
        let completed = events.iter().filter(|it| it.name == "task_completed").count();
        ensure!(completed == 2, "{events:?}");
        let failed = events.iter().find(|it| matches!(it.name.as_str(), "task_failed" | "decision_failed"));
        let failed = failed.context("a failure")?;
        ensure!(failed.component() == "three" && failed.fields["failure"]["class"] == class, "{failed:?}");
    }
    Ok(())
}

async fn an_error_port_handles_a_failure(place: &Place) -> Result<()> {
    let label = unique_name("handled");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    retry: {{ max_attempts: 1 }}\n  mend:\n    type: \
         set_variables\n    needs: [call.error]\n    config: {{ values: {{ class: \"${{{{ components.call.error.class }}}}\" }} }}\n  \
         done:\n    type: end\n    needs: [mend]\n    config: {{ output: \"${{{{ components.mend.output.class }}}}\" }}\n",
        call(place, &label, "call", "status=500")
    ));
    let found = place.api.complete("handled", &document, &json!({})).await?;
    ensure!(found["output"] == "http_5xx", "{found}");
    Ok(())
}

async fn an_unhandled_failure_fails_the_execution(place: &Place) -> Result<()> {
    let document = document(
        "components:\n  boom:\n    type: fail\n    config: { message: no stock, class: user.no_stock }\n  other:\n    type: noop\n  \
         after:\n    type: noop\n    needs: [other]\n",
    );
    let found = place.api.run("unhandled", &document, &json!({})).await?;
    ensure!(found["status"] == "failed" && found["failure"]["class"] == "user.no_stock", "{found}");
    ensure!(found["failure"]["message"].as_str().is_some_and(|text| text.contains("no stock")), "{found}");
    let events = place.api.events(&id(&found)?).await?;
    ensure!(
        named(&events, "decided", "after").len() == 1,
        "branches that do not depend on it go on: {events:?}"
    );
    Ok(())
}

async fn retries_follow_the_class_and_back_off(place: &Place) -> Result<()> {
    let label = unique_name("retry");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    retry: {{ max_attempts: 4, backoff: exponential, initial: \
         400ms, cap: 10s, jitter: false, on: [http_5xx] }}\n",
        call(place, &label, "call", "fail=2")
    ));
    let found = place.api.complete("retry", &document, &json!({})).await?;
    let events = place.api.events(&id(&found)?).await?;
    let failed = named(&events, "task_failed", "call");
    ensure!(failed.len() == 2, "{events:?}");
    let dispatched = named(&events, "task_dispatched", "call");
    ensure!(dispatched.len() == 3, "{events:?}");
    for (index, event) in failed.iter().enumerate() {
        ensure!(event.fields["failure"]["class"] == "http_5xx", "{event:?}");
        ensure!(event.fields["attempt"] == index as u64 + 1, "{event:?}");
        let retry_at = at(&text(&event.fields, "retry_at")?)?;
        let pause = retry_at.since(at(&event.at)?);
        let expected = Duration::from_millis(400 << index);
        ensure!(pause == expected, "the pause after attempt {} is {pause:?}", index + 1);
        ensure!(at(&dispatched[index + 1].at)? >= retry_at, "attempt {} came too early", index + 2);
    }
    let effects = place.probe.of(&label);
    ensure!(effects.len() == 3 && effects.iter().all(|effect| effect.key == effects[0].key), "{effects:?}");
    Ok(())
}

async fn a_class_that_is_not_named_is_not_retried(place: &Place) -> Result<()> {
    let label = unique_name("no-retry");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    retry: {{ max_attempts: 4, initial: 10ms, on: [http_5xx] \
         }}\n",
        call(place, &label, "call", "status=404")
    ));
    let found = place.api.run("no-retry", &document, &json!({})).await?;
    ensure!(found["status"] == "failed" && found["failure"]["class"] == "not_found", "{found}");
    ensure!(place.probe.of(&label).len() == 1, "one call");
    Ok(())
}

async fn a_delay_waits(place: &Place) -> Result<()> {
    let document = document(
        "components:\n  pause:\n    type: delay\n    config: { for: 1200ms }\n  after:\n    type: noop\n    needs: [pause]\n",
    );
    let found = place.api.complete("delay", &document, &json!({})).await?;
    let events = place.api.events(&id(&found)?).await?;
    let (begun, over) = (named(&events, "delayed", "pause"), named(&events, "decided", "pause"));
    let waited =
        at(&over.first().context("its end")?.at)?.since(at(&begun.first().context("its begin")?.at)?);
    ensure!(waited >= Duration::from_millis(1200), "{waited:?}");
    ensure!(
        waited < Duration::from_secs(10),
        "a timer is late by {:?}",
        waited.saturating_sub(Duration::from_millis(1200))
    );
    Ok(())
}

const ONE: &str = "workflow: v1\nname: one\nparameters:\n  n: { type: integer, default: 1 }\ncomponents:\n  a:\n    type: noop\n    config: { \
                   value: \"${{ parameters.n }}\" }\n  done:\n    type: end\n    needs: [a]\n    config: { output: \"${{ components.a.output }}\" }\n";

async fn a_scheduled_execution_starts_when_it_is_due(place: &Place) -> Result<()> {
    let workflow = place.api.create("scheduled", ONE).await?;
    let first = place.api.execute(&workflow, &json!({})).await?;
    let now = at(&text(&place.api.execution(&first).await?, "created_at")?)?;
    let due = now.after(Duration::from_secs(3));
    let later = place.api.execute(&workflow, &json!({ "scheduled_at": due.to_string() })).await?;
    let waiting = place.api.execution(&later).await?;
    ensure!(waiting["status"] == "pending" && waiting["scheduled_at"] == due.to_string(), "{waiting}");
    let why = place.api.get(&format!("/api/v1/executions/{later}/why")).await?.expect(200)?;
    ensure!(why["waiting"][0]["reason"] == "scheduled", "{why}");
    let found = place.api.ended(&later).await?;
    ensure!(at(&text(&found, "started_at")?)? >= due, "{found}");
    Ok(())
}

async fn submit(
    place: &Place,
    workflow: &str,
    key: &str,
    body: &Value,
) -> Result<crate::harness::client::Answer> {
    let path = format!("/api/v1/workflows/{workflow}/execute");
    let bytes = body.to_string().into_bytes();
    place.api.send(Method::POST, &path, &[("idempotency-key", key)], Some(bytes)).await
}

async fn the_same_key_and_body_are_one_execution(place: &Place) -> Result<()> {
    let workflow = place.api.create("key", ONE).await?;
    let key = unique_name("key");
    let body = json!({ "parameters": { "n": 5 } });
    let answers = futures::future::join_all((0..6).map(|_| submit(place, &workflow, &key, &body))).await;
    let mut ids = Vec::new();
    let mut new = 0;
    for answer in answers {
        let answer = answer?.expect(202)?;
        new += usize::from(answer["repeated"] == false);
        ids.push(text(&answer, "id")?);
    }
    ids.dedup();
    ensure!(ids.len() == 1 && new == 1, "{ids:?}, {new} new");
    let found = place.api.ended(&ids[0]).await?;
    ensure!(found["output"] == 5, "{found}");
    let again = submit(place, &workflow, &key, &body).await?.expect(202)?;
    ensure!(again["id"] == ids[0].as_str() && again["repeated"] == true, "{again}");
    let all = place.api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await?;
    ensure!(all.len() == 1, "{all:?}");
    Ok(())
}

async fn the_same_key_and_another_body_are_refused(place: &Place) -> Result<()> {
    let workflow = place.api.create("key-other", ONE).await?;
    let key = unique_name("key");
    submit(place, &workflow, &key, &json!({ "parameters": { "n": 1 } })).await?.expect(202)?;
    let other = submit(place, &workflow, &key, &json!({ "parameters": { "n": 2 } })).await?;
    other.problem(422, "idempotency_key_reused")?;
    submit(place, &workflow, "", &json!({})).await?.problem(400, "invalid_header")?;
    Ok(())
}

async fn cancelling_a_scheduled_execution(place: &Place) -> Result<()> {
    let workflow = place.api.create("cancel-pending", ONE).await?;
    let id = place.api.execute(&workflow, &json!({ "scheduled_at": "2200-01-01T00:00:00Z" })).await?;
    let answer = place.api.cancel(&id, "changed my mind").await?.expect(202)?;
    ensure!(answer["status"] == "pending", "{answer}");
    let found = place.api.ended(&id).await?;
    ensure!(found["status"] == "cancelled", "{found}");
    let events = place.api.events(&id).await?;
    ensure!(!events.iter().any(|event| event.name == "started"), "{events:?}");
    let asked = events.iter().find(|event| event.name == "cancel_requested").context("the request")?;
    ensure!(asked.fields["reason"] == "changed my mind", "{asked:?}");
    Ok(())
}

async fn cancelling_a_running_task(place: &Place) -> Result<()> {
    let label = unique_name("cancel");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    timeout: 10m\n  after:\n    type: noop\n    needs: [call]\n",
        call(place, &label, "call", "hang=1")
    ));
    let id = place.api.start("cancel-running", &document, &json!({})).await?;
    until(PATIENCE, "the call", async || Ok((!place.probe.of(&label).is_empty()).then_some(()))).await?;
    place.api.cancel(&id, "enough").await?.expect(202)?;
    let found = place.api.ended(&id).await?;
    ensure!(found["status"] == "cancelled", "{found}");
    let events = place.api.events(&id).await?;
    ensure!(named(&events, "task_cancelled", "call").len() == 1, "{events:?}");
    ensure!(place.probe.of(&label).len() == 1, "no further effect");
    Ok(())
}

async fn cancelling_an_ended_execution_changes_nothing(place: &Place) -> Result<()> {
    let found = place.api.complete("cancel-ended", ONE, &json!({})).await?;
    let id = id(&found)?;
    place.api.cancel(&id, "too late").await?.problem(409, "execution_ended")?;
    ensure!(place.api.execution(&id).await?["status"] == "completed", "it stays as it is");
    Ok(())
}

async fn an_execution_times_out(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: slow\ntimeout: 1s\ncomponents:\n  pause:\n    type: delay\n    config: { for: 10m }\n";
    let found = place.api.run("timeout", document, &json!({})).await?;
    ensure!(found["status"] == "failed" && found["failure"]["class"] == "timeout", "{found}");
    Ok(())
}

async fn a_task_times_out(place: &Place) -> Result<()> {
    let label = unique_name("timeout");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    timeout: 1s\n    retry: {{ max_attempts: 1 }}\n  late:\n    \
         type: noop\n    needs: [call.timeout]\n",
        call(place, &label, "call", "hang=1")
    ));
    let found = place.api.complete("task-timeout", &document, &json!({})).await?;
    let events = place.api.events(&id(&found)?).await?;
    ensure!(
        named(&events, "task_failed", "call")
            .first()
            .is_some_and(|e| e.fields["failure"]["class"] == "timeout")
    );
    ensure!(named(&events, "decided", "late").len() == 1, "the port `timeout` fires: {events:?}");
    Ok(())
}

async fn a_concurrency_key_with_limit_1_never_overlaps(place: &Place) -> Result<()> {
    let label = unique_name("exclusive");
    let document = format!(
        "workflow: v1\nname: exclusive\nparameters:\n  k: {{ type: string, default: x }}\nconcurrency: {{ key: \"{label}-${{{{ \
         parameters.k }}}}\", limit: 1 }}\ncomponents:\n  call:\n    type: http_request\n    config: {}\n",
        call(place, &label, "call", "delay_ms=150")
    );
    let workflow = place.api.create("exclusive", &document).await?;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(place.api.execute(&workflow, &json!({})).await?);
    }
    for id in &ids {
        let found = place.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
    }
    let mut effects = place.probe.of(&label);
    effects.sort_by_key(|effect| effect.began);
    ensure!(effects.len() == 8, "{effects:?}");
    for pair in effects.windows(2) {
        ensure!(pair[0].ended.is_some_and(|ended| ended <= pair[1].began), "two at once: {pair:?}");
    }
    Ok(())
}

async fn every_priority_is_accepted(place: &Place) -> Result<()> {
    let document =
        document("components:\n  a:\n    type: map\n    config: { rows: [1], expression: item }\n");
    let workflow = place.api.create("priority", &document).await?;
    for priority in ["high", "normal", "low"] {
        let id = place.api.execute(&workflow, &json!({ "priority": priority })).await?;
        let found = place.api.ended(&id).await?;
        ensure!(found["status"] == "completed" && found["priority"] == priority, "{found}");
    }
    Ok(())
}

async fn a_large_output_goes_round(place: &Place) -> Result<()> {
    let label = unique_name("large");
    // Above the limit of what travels inline, and again as the input of a task.
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n  again:\n    type: http_request\n    needs: [call]\n    config: {{ \
         method: POST, url: \"{}/effect/{label}/again\", body: \"${{{{ components.call.output.body }}}}\" }}\n  done:\n    type: end\n    \
         needs: [again]\n    config: {{ output: \"${{{{ components.call.output.body }}}}\" }}\n",
        call(place, &label, "call", "bytes=200000"),
        place.probe.base
    ));
    let found = place.api.complete("large", &document, &json!({})).await?;
    let id = id(&found)?;
    let whole = match &found["output_reference"]["href"] {
        Value::String(href) => place.api.get(href).await?.expect(200)?,
        _ => found["output"].clone(),
    };
    ensure!(whole["text"].as_str().map(str::len) == Some(200_000), "{:.300}", found.to_string());
    let effects = place.probe.of(&label);
    let sent = effects.iter().find(|effect| effect.component == "again").context("the second call")?;
    ensure!(sent.body["text"] == whole["text"], "the input is the output: {:.300}", sent.body.to_string());
    let events = place.api.events(&id).await?;
    let completed = named(&events, "task_completed", "call");
    let output = &completed.first().context("its end")?.fields["output"];
    ensure!(
        output["stored"]["size"].as_u64() > Some(200_000),
        "it does not stand in the journal: {:.300}",
        output.to_string()
    );
    let tasks = place.api.pages(&format!("/api/v1/executions/{id}/tasks"), 50).await?;
    let href =
        tasks.iter().find_map(|task| task["output_reference"]["href"].as_str()).context("a reference")?;
    let payload = place.api.get(href).await?.expect(200)?;
    ensure!(payload["body"]["text"] == whole["text"], "the payload is the output");
    Ok(())
}

async fn a_wrong_field_is_named_by_row_and_column(place: &Place) -> Result<()> {
    let document = document(
        "components:\n  parse:\n    type: csv_parse\n    config: { input: \"id,price\\n1,2.50\\n2,cheap\\n\", types: { price: number } }\n",
    );
    let found = place.api.run("csv", &document, &json!({})).await?;
    ensure!(found["status"] == "failed" && found["failure"]["class"] == "invalid_input", "{found}");
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", id(&found)?), 50).await?;
    let details = &tasks.first().context("the task")?["failure"]["details"];
    ensure!(details["row"] == 2 && details["column"] == "price", "{tasks:?}");
    let message = found["failure"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("row 2") && message.contains("price"), "{message}");
    Ok(())
}

async fn an_at_most_once_task_runs_once(place: &Place) -> Result<()> {
    let label = unique_name("once");
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    delivery: at_most_once\n    config: {}\n",
        call(place, &label, "call", "delay_ms=200")
    ));
    let found = place.api.complete("once", &document, &json!({})).await?;
    let events = place.api.events(&id(&found)?).await?;
    ensure!(named(&events, "task_granted", "call").len() == 1, "one grant: {events:?}");
    let seq = |name: &str| named(&events, name, "call").first().map(|event| event.seq);
    ensure!(
        seq("task_dispatched") < seq("task_granted") && seq("task_granted") < seq("task_completed"),
        "{events:?}"
    );
    ensure!(place.probe.of(&label).len() == 1, "one effect");
    Ok(())
}

async fn an_at_most_once_task_is_not_retried_after_a_failure_in_the_dark(place: &Place) -> Result<()> {
    let label = unique_name("dark");
    // The call times out: whether it had an effect is not known.
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    delivery: at_most_once\n    config: {}\n    timeout: 1s\n    retry: {{ \
         max_attempts: 3, initial: 10ms, on: [http_5xx] }}\n",
        call(place, &label, "call", "hang=1")
    ));
    let found = place.api.run("dark", &document, &json!({})).await?;
    ensure!(found["status"] == "failed", "{found}");
    ensure!(place.probe.of(&label).len() == 1, "one effect");
    Ok(())
}

async fn a_long_task_is_leased_and_completes(place: &Place) -> Result<()> {
    let label = unique_name("long");
    // Longer than the hand-over and longer than a lease that nobody renews.
    let document = document(&format!(
        "components:\n  call:\n    type: http_request\n    config: {}\n    timeout: 60s\n",
        call(place, &label, "call", "delay_ms=9000")
    ));
    let found = place.api.complete("long", &document, &json!({})).await?;
    let events = place.api.events(&id(&found)?).await?;
    ensure!(named(&events, "task_leased", "call").len() == 1, "one lease: {events:?}");
    ensure!(named(&events, "task_lost", "call").is_empty(), "it was not lost: {events:?}");
    ensure!(place.probe.of(&label).len() == 1, "one effect");
    Ok(())
}

async fn effects_are_not_repeated_without_faults(place: &Place) -> Result<()> {
    let label = unique_name("effects");
    let mut components = "components:\n".to_owned();
    for n in 0..12 {
        components += &format!(
            "  c{n}:\n    type: http_request\n    config: {}\n",
            call(place, &label, &format!("c{n}"), "")
        );
    }
    let workflow = place.api.create("effects", &document(&components)).await?;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(place.api.execute(&workflow, &json!({})).await?);
    }
    for id in &ids {
        let found = place.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
    }
    let effects = place.probe.of(&label);
    let mut keys: Vec<&str> = effects.iter().map(|effect| effect.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    ensure!(effects.len() == 120 && keys.len() == 120, "{} effects of {} tasks", effects.len(), keys.len());
    Ok(())
}

async fn an_input_is_the_output_before_it(place: &Place) -> Result<()> {
    let mut components =
        "components:\n  c0:\n    type: map\n    config: { rows: [1], expression: item }\n".to_owned();
    for n in 1..8 {
        components += &format!(
            "  c{n}:\n    type: map\n    needs: [c{0}]\n    config: {{ rows: \"${{{{ components.c{0}.output.rows }}}}\", expression: item * 3 }}\n",
            n - 1
        );
    }
    components += "  done:\n    type: end\n    needs: [c7]\n    config: { output: \"${{ components.c7.output.rows }}\" }\n";
    let found = place.api.complete("chain", &document(&components), &json!({})).await?;
    ensure!(found["output"] == json!([2187]), "{found}");
    Ok(())
}
