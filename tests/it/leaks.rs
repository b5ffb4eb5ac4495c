//! Places under a `concurrency` that others leaked or gave out too often, one test a case. Each names the report
//! that it repeats.
//!
//! Nothing here looks at the rows: a leaked place shows in that the next one never begins, and one given out
//! too often in that too many run at once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::{
    PATIENCE, RUNTIME,
    client::text,
    place::{Place, Shape},
    unique_name, until,
};

both_shapes!(
    a_cancelled_execution_gives_back_the_places_of_its_tasks,
    killing_what_runs_lets_one_in_and_killing_what_waits_lets_nobody_in,
    killing_all_that_run_at_once_lets_as_many_in,
    what_is_done_again_waits_like_everybody,
    what_comes_beyond_the_limit_is_dropped_and_the_limit_stays,
    what_is_started_by_hand_is_limited_as_well,
    what_waits_for_its_next_attempt_holds_no_place,
    the_newest_takes_the_place_of_the_oldest,
    keys_take_turns_for_a_place,
);

/// A workflow of which `limit` may run at once, each until its event comes, which is never.
fn holding(limit: u32, on_conflict: &str) -> String {
    format!(
        "workflow: v1\nname: holding\nparameters:\n  key: {{ type: string, default: one }}\nconcurrency: {{ key: \
         '${{{{ parameters.key }}}}', limit: {limit}, on_conflict: {on_conflict} }}\ncomponents:\n  hold: {{ type: \
         wait_for_event, config: {{ event: it.never, key: k }} }}\n"
    )
}

async fn status(place: &Place, id: &str) -> Result<String> {
    text(&place.api.execution(id).await?, "status")
}

async fn is(place: &Place, id: &str, wanted: &str) -> Result<()> {
    until(PATIENCE, &format!("{id} is {wanted}"), async || {
        Ok((status(place, id).await? == wanted).then_some(()))
    })
    .await
}

/// Waits until it stands in line: from then on nothing but a place is missing.
async fn waits(place: &Place, id: &str) -> Result<Value> {
    until(PATIENCE, &format!("{id} waits in line"), async || {
        let why = place.api.get(&format!("/api/v1/executions/{id}/why")).await?.expect(200)?;
        let waiting = why["waiting"].as_array().cloned().unwrap_or_default();
        Ok(waiting.into_iter().find(|waiting| waiting["reason"] == "slot"))
    })
    .await
}

async fn kill(place: &Place, id: &str) -> Result<()> {
    place.api.post(&format!("/api/v1/executions/{id}/kill"), &json!({})).await?.expect(202)?;
    Ok(())
}

async fn running(place: &Place, ids: &[String]) -> Result<usize> {
    let mut running = 0;
    for id in ids {
        running += usize::from(status(place, id).await? == "running");
    }
    Ok(running)
}

/// Starts one after the other, each when the one before runs, stands in line or has ended.
async fn started(place: &Place, workflow: &str, count: usize) -> Result<Vec<String>> {
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..count {
        let id = place.api.execute(workflow, &json!({})).await?;
        until(PATIENCE, &format!("{id} is decided"), async || {
            let found = place.api.execution(&id).await?;
            Ok((found["status"] != "pending" || !found["blocked_by"].is_null()).then_some(()))
        })
        .await?;
        ids.push(id);
    }
    Ok(ids)
}

async fn end_all(place: &Place, ids: &[String]) -> Result<()> {
    for id in ids {
        if !matches!(status(place, id).await?.as_str(), "completed" | "failed" | "cancelled") {
            kill(place, id).await?;
            is(place, id, "cancelled").await?;
        }
    }
    Ok(())
}

/// A workflow whose task calls the probe and holds one of `limit` places meanwhile.
fn calling(place: &Place, label: &str, limit: u32, delay_ms: u32, more: &str) -> String {
    let base = &place.probe.base;
    format!(
        "workflow: v1\nname: calling\ncomponents:\n  call:\n    type: http_request\n    concurrency: {{ key: erp, limit: \
         {limit} }}\n    config: {{ method: POST, url: \"{base}/effect/{label}/call?delay_ms={delay_ms}\" }}\n{more}"
    )
}

/// The most calls of a label that were under way at once.
fn most_at_once(place: &Place, label: &str) -> usize {
    let calls = place.probe.of(label);
    let at = |instant| {
        calls
            .iter()
            .filter(|call| call.began <= instant && call.ended.is_none_or(|end| end > instant))
            .count()
    };
    calls.iter().map(|call| at(call.began)).max().unwrap_or(0)
}

/// PrefectHQ/prefect#8566: tasks of a cancelled run went on holding their slots.
async fn a_cancelled_execution_gives_back_the_places_of_its_tasks(place: &Place) -> Result<()> {
    let label = unique_name("cancelled");
    let workflow = place.api.create("cancelled", &calling(place, &label, 1, 60_000, "")).await?;
    let first = place.api.execute(&workflow, &json!({})).await?;
    until(PATIENCE, "its call", async || Ok((!place.probe.of(&label).is_empty()).then_some(()))).await?;
    let second = place.api.execute(&workflow, &json!({})).await?;
    let why = waits(place, &second).await?;
    ensure!(why["holders"][0]["execution"] == first.as_str() && why["component"] == "call", "{why}");
    ensure!(why["key"] == "erp" && why["ahead"] == 0, "{why}");
    place.api.cancel(&first, "").await?.expect(202)?;
    is(place, &first, "cancelled").await?;
    until(PATIENCE, "the call of the next", async || Ok((place.probe.of(&label).len() >= 2).then_some(())))
        .await?;
    end_all(place, &[second]).await
}

/// kestra-io/kestra#13211: after a kill more ran than the limit allows.
async fn killing_what_runs_lets_one_in_and_killing_what_waits_lets_nobody_in(place: &Place) -> Result<()> {
    let workflow = place.api.create("killed", &holding(2, "queue")).await?;
    let ids = started(place, &workflow, 5).await?;
    is(place, &ids[0], "running").await?;
    is(place, &ids[1], "running").await?;
    for id in &ids[2..] {
        waits(place, id).await?;
    }
    kill(place, &ids[3]).await?;
    is(place, &ids[3], "cancelled").await?;
    kill(place, &ids[0]).await?;
    is(place, &ids[2], "running").await?;
    waits(place, &ids[4]).await?;
    ensure!(running(place, &ids).await? == 2, "as many as there are places");
    end_all(place, &ids).await
}

/// kestra-io/kestra#13743: of two places that became free together one stayed empty.
async fn killing_all_that_run_at_once_lets_as_many_in(place: &Place) -> Result<()> {
    let workflow = place.api.create("bulk", &holding(2, "queue")).await?;
    let ids = started(place, &workflow, 5).await?;
    is(place, &ids[1], "running").await?;
    waits(place, &ids[4]).await?;
    let (first, second) = tokio::join!(kill(place, &ids[0]), kill(place, &ids[1]));
    first?;
    second?;
    is(place, &ids[2], "running").await?;
    is(place, &ids[3], "running").await?;
    waits(place, &ids[4]).await?;
    ensure!(running(place, &ids).await? == 2, "as many as there are places");
    end_all(place, &ids).await
}

/// kestra-io/kestra#7880: what was restarted went past the limit.
async fn what_is_done_again_waits_like_everybody(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: again\nparameters:\n  fails: { type: boolean, default: false }\nconcurrency: { key: \
                    one }\ncomponents:\n  stop: { type: fail, when: parameters.fails, config: { message: asked for } }\n  hold: { \
                    type: wait_for_event, when: 'not parameters.fails', config: { event: it.never, key: k } }\n";
    let workflow = place.api.create("again", document).await?;
    let failed = place.api.execute(&workflow, &json!({ "parameters": { "fails": true } })).await?;
    is(place, &failed, "failed").await?;
    let holds = place.api.execute(&workflow, &json!({})).await?;
    is(place, &holds, "running").await?;
    let again =
        place.api.post(&format!("/api/v1/executions/{failed}/retry"), &json!({})).await?.expect(202)?;
    let again = text(&again, "id")?;
    waits(place, &again).await?;
    kill(place, &holds).await?;
    is(place, &again, "failed").await
}

/// kestra-io/kestra#13141: the first that came too many was refused, and those after it ran.
async fn what_comes_beyond_the_limit_is_dropped_and_the_limit_stays(place: &Place) -> Result<()> {
    let workflow = place.api.create("dropping", &holding(2, "drop_new")).await?;
    let ids = started(place, &workflow, 2).await?;
    for id in &ids {
        is(place, id, "running").await?;
    }
    let late = started(place, &workflow, 4).await?;
    for id in &late {
        is(place, id, "cancelled").await?;
        let found = place.api.execution(id).await?;
        ensure!(found["failure"].to_string().contains("dropped"), "{found}");
    }
    end_all(place, &ids).await?;
    let next = started(place, &workflow, 1).await?;
    is(place, &next[0], "running").await?;
    end_all(place, &next).await
}

/// kestra-io/kestra#12031: what people started by hand was not limited.
async fn what_is_started_by_hand_is_limited_as_well(place: &Place) -> Result<()> {
    let document = holding(1, "queue") + "triggers:\n  t: { type: manual }\n";
    let workflow = place.api.create("by-hand", &document).await?;
    let triggers = place.api.get(&format!("/api/v1/workflows/{workflow}/triggers")).await?.expect(200)?;
    let trigger = text(&triggers["items"][0], "id")?;
    let fire = format!("/api/v1/triggers/{trigger}/fire");
    let mut ids = started(place, &workflow, 1).await?;
    is(place, &ids[0], "running").await?;
    ids.push(text(&place.api.post(&fire, &json!({})).await?.expect(202)?, "execution_id")?);
    waits(place, &ids[1]).await?;
    ids.extend(started(place, &workflow, 1).await?);
    let why = waits(place, &ids[2]).await?;
    ensure!(why["ahead"] == 1, "{why}");
    end_all(place, &ids).await
}

/// apache/airflow#43448: what only waits for its time was counted as running.
async fn what_waits_for_its_next_attempt_holds_no_place(place: &Place) -> Result<()> {
    let label = unique_name("backoff");
    let base = &place.probe.base;
    let document = format!(
        "workflow: v1\nname: backoff\nparameters:\n  fails: {{ type: integer, default: 0 }}\ncomponents:\n  call:\n    type: \
         http_request\n    concurrency: {{ key: erp }}\n    retry: {{ max_attempts: 2, backoff: fixed, initial: 1h, jitter: \
         false, on: [http_5xx] }}\n    config: {{ method: POST, url: \"{base}/effect/{label}/call?fail=${{{{ parameters.fails \
         }}}}\" }}\n"
    );
    let workflow = place.api.create("backoff", &document).await?;
    let first = place.api.execute(&workflow, &json!({ "parameters": { "fails": 1 } })).await?;
    until(PATIENCE, "its backoff", async || {
        let why = place.api.get(&format!("/api/v1/executions/{first}/why")).await?.expect(200)?;
        Ok((why["waiting"][0]["reason"] == "retry").then_some(()))
    })
    .await?;
    let second = place.api.execute(&workflow, &json!({})).await?;
    is(place, &second, "completed").await?;
    end_all(place, &[first]).await
}

async fn the_newest_takes_the_place_of_the_oldest(place: &Place) -> Result<()> {
    let workflow = place.api.create("newest", &holding(1, "cancel_running")).await?;
    let ids = started(place, &workflow, 3).await?;
    is(place, &ids[0], "cancelled").await?;
    is(place, &ids[1], "cancelled").await?;
    is(place, &ids[2], "running").await?;
    let found = place.api.execution(&ids[0]).await?;
    ensure!(found["failure"].to_string().contains("takes its place"), "{found}");
    end_all(place, &ids).await
}

async fn keys_take_turns_for_a_place(place: &Place) -> Result<()> {
    let workflow = place.api.create("turns", &holding(1, "fair")).await?;
    let mut ids = Vec::new();
    // Three of ann's are there before the first of bob's comes.
    for key in ["ann", "ann", "ann", "bob"] {
        let id = place.api.execute(&workflow, &json!({ "parameters": { "key": key } })).await?;
        if ids.is_empty() {
            is(place, &id, "running").await?;
        } else {
            waits(place, &id).await?;
        }
        ids.push(id);
    }
    kill(place, &ids[0]).await?;
    is(place, &ids[1], "running").await?;
    kill(place, &ids[1]).await?;
    is(place, &ids[3], "running").await?;
    waits(place, &ids[2]).await?;
    end_all(place, &ids).await
}

/// PrefectHQ/prefect#15952, opsmill/infrahub#9856 and #9925: a process died while its tasks held places, or had
/// just got them, and the places stayed taken. Processes of a cluster are killed in `faults`, with such workflows
/// among the others.
#[test]
fn processes_that_are_killed_leak_no_place_and_give_out_none_too_many() -> Result<()> {
    RUNTIME.block_on(async {
        let mut place = Place::start(Shape::Embedded, &json!({})).await?;
        let outcome = under_kills(&mut place).await;
        outcome.inspect_err(|_| eprintln!("{}", place.tails(40)))?;
        for process in place.processes.drain(..) {
            process.terminate(PATIENCE).await?;
        }
        let audit = place.apg(&["audit", "--output", "json"]).await?;
        ensure!(audit.code == 0, "{audit:?}");
        Ok(())
    })
}

async fn under_kills(place: &mut Place) -> Result<()> {
    const KILLS: usize = 3;
    let label = unique_name("kills");
    let after = "  each:\n    type: for_loop\n    needs: [call]\n    config: { to: 3, max_parallel: 3 }\n    components:\n      again:\n        \
                 type: http_request\n        concurrency: { key: erp, limit: 3 }\n        config: { method: POST, url: \"BASE\" }\n";
    let url = format!("{}/effect/{label}/again?delay_ms=150", place.probe.base);
    let document = calling(place, &label, 3, 150, &after.replace("BASE", &url));
    let workflow = place.api.create("kills", &document).await?;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(place.api.execute(&workflow, &json!({})).await?);
    }
    for round in 1..=KILLS {
        until(PATIENCE, "more calls", async || Ok((place.probe.of(&label).len() >= 5 * round).then_some(())))
            .await?;
        place.processes[0].kill()?;
        place.processes[0] = place.front.start()?;
        place.front.is_up(&place.processes[0]).await?;
    }
    for id in &ids {
        let found = place.api.ended(id).await?;
        ensure!(found["status"] == "completed", "{found}");
    }
    // A call that its worker did not outlive goes on at the server while the next attempt runs in its place.
    let most = most_at_once(place, &label);
    ensure!(most <= 3 + 3 * KILLS, "{most} calls at once, and there are 3 places");
    let last = place.api.execute(&workflow, &json!({})).await?;
    let found = place.api.ended(&last).await?;
    ensure!(found["status"] == "completed", "{found}");
    Ok(())
}
