//! What a failure, a cancellation, a kill or a lost worker does to a scope: S1 to S16.

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::Case;
use crate::harness::{
    client::text,
    place::{Place, Shape},
    unique_name,
};

both_shapes!(
    s1_a_failure_with_a_reader_that_runs_is_handled,
    s2_a_failure_that_nobody_reads_is_unhandled,
    s3_all_done_on_success_alone_runs_and_handles_nothing,
    s4_a_handler_that_fails_is_judged_by_itself,
    s5_finish_lets_the_other_branches_go_on,
    s6_stop_cancels_what_runs_and_skips_the_rest,
    s7_without_an_unhandled_failure_the_scope_completes,
    s8_the_first_of_several_failures_is_the_error_and_all_are_listed,
    s9_a_failed_workflow_is_undone_then_handled_then_finished,
    s10_a_failed_compensation_is_recorded_and_the_others_go_on,
    s11_a_failed_finally_or_on_failure_is_recorded,
    s12_cancel_starts_nothing_new_and_cleans_up,
    s13_kill_ends_at_once_and_cleans_nothing_up,
    s14_the_first_commit_wins_between_cancel_and_completion,
    s15_the_time_limit_of_the_execution,
    s16_an_unknown_outcome_is_never_retried_and_a_person_decides,
);

async fn s1_a_failure_with_a_reader_that_runs_is_handled(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @call(a?status=404) }\nh: { @call(h), needs: [a.error] }").await?;
    let found = case.ends("completed").await?;
    ensure!(found["failure"].is_null(), "{found}");
    ensure!(found["failing"] == false, "{found}");
    case.shows("a failed, h completed").await?;
    // As long as a handler may come, it is not failing.
    let case = Case::start(
        place,
        "a: { @call(a?status=404) }
         b: { @waits }
         h: { @call(h), needs: [a.error, b] }",
    )
    .await?;
    case.shows("a failed, b awaiting, h waiting").await?;
    ensure!(place.api.execution(&case.id).await?["failing"] == false, "it may be handled");
    case.go().await?;
    case.ends("completed").await?;
    case.shows("a failed, h completed").await
}

async fn s2_a_failure_that_nobody_reads_is_unhandled(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @call(a?status=404) }\nb: { @call(b), needs: [a] }").await?;
    case.fails("not_found").await?;
    case.shows("a failed, b skipped").await?;
    // All readers are skipped.
    let case = Case::start(
        place,
        "a: { @call(a?status=404) }
         no: { type: noop, when: 'false' }
         h: { @call(h), needs: [a.error], when: 'false' }
         i: { @call(i), needs: [a.error, no] }",
    )
    .await?;
    case.fails("not_found").await?;
    case.shows("a failed, h skipped, i skipped").await?;
    // The port that fired counts, not another one.
    let case = Case::start(
        place,
        "a: { @call(a?hang=1), timeout: 300ms, retry: { max_attempts: 1 } }
         e: { @call(e), needs: [a.error] }
         t: { @call(t), needs: [a.timeout], when: 'false' }",
    )
    .await?;
    case.fails("timeout").await?;
    case.shows("a failed, e skipped, t skipped").await
}

async fn s3_all_done_on_success_alone_runs_and_handles_nothing(place: &Place) -> Result<()> {
    let components = "a: { @call(a?status=404) }\nb: { @call(b), needs: [a], join: all_done }";
    let case = Case::start(place, components).await?;
    let found = case.fails("not_found").await?;
    ensure!(found["failure"]["message"].as_str().is_some_and(|text| text.starts_with("a: ")), "{found}");
    case.shows("a failed, b completed").await?;
    // One that reads `error` as well handles it.
    let case = Case::start(place, &components.replace("[a]", "[a, a.error]")).await?;
    case.ends("completed").await?;
    case.shows("a failed, b completed").await
}

async fn s4_a_handler_that_fails_is_judged_by_itself(place: &Place) -> Result<()> {
    let two = "a: { @call(a?status=404) }
         h: { type: fail, needs: [a.error], config: { message: nothing left, class: user.no_stock } }";
    let case = Case::start(place, two).await?;
    let found = case.fails("user.no_stock").await?;
    ensure!(found["failure"]["details"] == json!({ "component": "h", "unhandled": ["h"] }), "{found}");
    case.shows("a failed, h failed").await?;
    let case = Case::start(place, &format!("{two}\nhh: {{ @call(hh), needs: [h.error] }}")).await?;
    case.ends("completed").await?;
    case.shows("a failed, h failed, hh completed").await
}

async fn s5_finish_lets_the_other_branches_go_on(place: &Place) -> Result<()> {
    for head in ["", "on_unhandled_failure: finish"] {
        let case = Case::start_with(
            place,
            head,
            "a: { @call(a?status=404) }
             b: { @waits }
             c: { @call(c), needs: [b] }
             never: { @call(never), needs: [a] }
             after: { @call(after), needs: [a, c], join: all_done }",
        )
        .await?;
        case.shows("a failed, b awaiting, c waiting, never skipped, after waiting").await?;
        // It goes on, and says at once that it will fail.
        let found = place.api.execution(&case.id).await?;
        ensure!(found["status"] == "running" && found["failing"] == true, "{found}");
        ensure!(found["failing_component"] == "a" && found["failing_since"].is_string(), "{found}");
        ensure!(found["failure"]["class"] == "not_found" && found["completed_at"].is_null(), "{found}");
        ensure!(place.api.snapshot(&case.id).await?["failing"] == true, "its watchers see it");
        let listed = place.api.pages("/api/v1/executions?failing=true", 50).await?;
        let listed = listed.iter().find(|item| item["id"] == json!(case.id));
        ensure!(listed.is_some_and(|item| item["failing_component"] == "a"), "{listed:?}");
        let log = place.api.pages(&format!("/api/v1/executions/{}/logs?level=error", case.id), 50).await?;
        let said = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|it| it.starts_with("It will fail"))
        };
        ensure!(log.iter().filter(|line| said(line)).count() == 1, "{log:?}");
        case.go().await?;
        let found = case.fails("not_found").await?;
        ensure!(found["failing"] == false && found["failing_since"].is_null(), "{found}");
        case.shows("a failed, b completed, c completed, never skipped, after completed").await?;
        ensure!(case.calls() == ["a", "c", "after"], "{:?}", case.calls());
    }
    Ok(())
}

async fn s6_stop_cancels_what_runs_and_skips_the_rest(place: &Place) -> Result<()> {
    let stop = "on_unhandled_failure: stop";
    let case = Case::start_with(
        place,
        stop,
        "w: { @waits }
         a: { @call(a?status=404), needs: [w] }
         b: { @call(b?hang=1), timeout: 10m }
         c: { @call(c), needs: [b] }
         later: { type: delay, config: { for: 1h } }
         line: { type: log, needs: [a], join: all_done, config: { message: never } }
         task: { @call(task), needs: [a], join: all_done }",
    )
    .await?;
    case.is_called("b").await?;
    case.go().await?;
    case.fails("not_found").await?;
    case.shows("a failed, b cancelled, c skipped, later cancelled, line skipped, task skipped").await?;
    ensure!(case.calls() == ["b", "a"], "{:?}", case.calls());
    // A failure that is handled stops nothing.
    let case = Case::start_with(
        place,
        stop,
        "a: { @call(a?status=404) }
         h: { @call(h), needs: [a.error] }
         b: { @waits }
         c: { @call(c), needs: [b] }",
    )
    .await?;
    case.shows("a failed, h completed, b awaiting").await?;
    case.go().await?;
    case.ends("completed").await?;
    case.shows("c completed").await?;
    // A group stops its own, and nothing outside.
    let case = Case::start(
        place,
        "g: { type: group, config: { on_unhandled_failure: stop }, components: { w: { @waits }, a: { @call(a?status=404), needs: [w] }, b: { @call(b?hang=1), timeout: 10m }, c: { @call(c), needs: [b] }, d: { @call(d), needs: [a], join: all_done } } }
         h: { type: delay, needs: [g.error], config: { for: 1ms } }
         other: { @call(other?delay_ms=300) }
         last: { @call(last), needs: [other, h] }",
    )
    .await?;
    case.is_called("b").await?;
    case.go().await?;
    case.ends("completed").await?;
    case.shows("g failed, h completed, other completed, last completed").await?;
    let events = case.events("b").await?;
    ensure!(events.iter().any(|event| event.name == "task_cancelled"), "{events:?}");
    ensure!(case.skipped_for("c").await? == "scope_ended", "`c` has the reason");
    ensure!(case.skipped_for("d").await? == "scope_ended", "`d` has the reason");
    Ok(())
}

async fn s7_without_an_unhandled_failure_the_scope_completes(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a?status=404) }
         never: { @call(never), needs: [a] }
         h: { @call(h), needs: [a.error] }
         b: { @call(b), when: 'false' }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("a failed, never skipped, h completed, b skipped").await
}

async fn s8_the_first_of_several_failures_is_the_error_and_all_are_listed(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a) }
         w: { @waits }
         b: { @call(b?status=404), needs: [w] }
         c: { type: fail, needs: [a], config: { message: the third letter, class: user.third } }",
    )
    .await?;
    case.shows("a completed, w awaiting, b waiting, c failed").await?;
    case.go().await?;
    let found = case.fails("user.third").await?;
    ensure!(found["failure"]["message"] == "c: the third letter", "{found}");
    ensure!(found["failure"]["details"] == json!({ "component": "c", "unhandled": ["c", "b"] }), "{found}");
    Ok(())
}

/// Two that can be undone, and a third with this script.
fn book(third: &str) -> String {
    format!(
        "a: {{ @call(a), compensate: {{ @call(undo_a) }} }}
         b: {{ @call(b), needs: [a], compensate: {{ @call(undo_b) }} }}
         c: {{ @call(c?{third}), needs: [b], timeout: 10m, compensate: {{ @call(undo_c) }} }}"
    )
}

/// `on_failure` and `finally`, each with one call.
const CLEANUP: &str = "on_failure: { tell: { @call(tell) } }\nfinally: { last: { @call(last) } }";

async fn s9_a_failed_workflow_is_undone_then_handled_then_finished(place: &Place) -> Result<()> {
    let head = "on_failure: { tell: { @call(tell), when: 'error.class == \"not_found\"' } }
finally: { last: { @call(last), when: 'execution.status == \"failed\"' } }";
    let case = Case::start_with(place, head, &book("status=404")).await?;
    case.fails("not_found").await?;
    ensure!(
        case.calls() == ["a", "b", "c", "undo_b", "undo_a", "tell", "last"],
        "newest first, one after the other: {:?}",
        case.calls()
    );
    let effects = place.probe.of(&case.label);
    for pair in effects.windows(2) {
        ensure!(pair[0].ended.is_some_and(|ended| ended <= pair[1].began), "two at once: {pair:?}");
    }
    // What completes is not undone, but finished.
    let case = Case::start_with(place, CLEANUP, &book("")).await?;
    case.ends("completed").await?;
    ensure!(case.calls() == ["a", "b", "c", "last"], "{:?}", case.calls());
    Ok(())
}

async fn s10_a_failed_compensation_is_recorded_and_the_others_go_on(place: &Place) -> Result<()> {
    let retried =
        "undo_b?status=500), retry: { max_attempts: 2, backoff: fixed, initial: 1ms, on: [http_5xx] }";
    let components = book("status=404").replace("undo_b)", retried);
    let case = Case::start_with(place, CLEANUP, &components).await?;
    let found = case.fails("not_found").await?;
    ensure!(found["failure"]["details"]["compensation_incomplete"] == json!(["b"]), "{found}");
    ensure!(
        case.calls() == ["a", "b", "c", "undo_b", "undo_b", "undo_a", "tell", "last"],
        "{:?}",
        case.calls()
    );
    Ok(())
}

async fn s11_a_failed_finally_or_on_failure_is_recorded(place: &Place) -> Result<()> {
    let head = CLEANUP.replace("last)", "last?status=404)");
    let case = Case::start_with(place, &head, "a: { @call(a) }").await?;
    case.fails("not_found").await?;
    case.shows("a completed").await?;
    ensure!(case.calls() == ["a", "last"], "{:?}", case.calls());
    // What failed before keeps its first error.
    for (tell, last) in [("?status=404", ""), ("", "?status=404"), ("?status=404", "?status=404")] {
        let head =
            CLEANUP.replace("tell)", &format!("tell{tell})")).replace("last)", &format!("last{last})"));
        let case =
            Case::start_with(place, &head, "a: { type: fail, config: { message: x, class: user.first } }")
                .await?;
        let found = case.fails("user.first").await?;
        ensure!(found["failure"]["details"]["cleanup_failed"]["class"] == "not_found", "{found}");
        ensure!(case.calls() == ["tell", "last"], "{:?}", case.calls());
    }
    Ok(())
}

async fn s12_cancel_starts_nothing_new_and_cleans_up(place: &Place) -> Result<()> {
    for (compensates, expected) in [
        ("", vec!["a", "b", "c", "last"]),
        ("compensate_on_cancel: true\n", vec!["a", "b", "c", "undo_b", "undo_a", "last"]),
    ] {
        let components = book("hang=1")
            + "\nd: { @call(d), needs: [c], join: all_done }
               pause: { type: delay, config: { for: 1h } }
               again: { @call(again?status=500), retry: { max_attempts: 3, initial: 1h, cap: 1h, on: [http_5xx] } }";
        let case = Case::start_with(place, &format!("{compensates}{CLEANUP}"), &components).await?;
        case.is_called("c").await?;
        case.shows("c running, d waiting, pause delayed, again retrying").await?;
        place.api.cancel(&case.id, "wrong order").await?.expect(202)?;
        let found = case.ends("cancelled").await?;
        ensure!(found["failure"]["class"] == "cancelled", "{found}");
        ensure!(
            found["failure"]["message"].as_str().is_some_and(|text| text.contains("wrong order")),
            "{found}"
        );
        case.shows("a completed, b completed, c cancelled, d skipped, pause cancelled, again cancelled")
            .await?;
        let mut calls = case.calls();
        calls.retain(|call| call != "again");
        ensure!(calls == expected, "{calls:?}");
    }
    Ok(())
}

async fn s13_kill_ends_at_once_and_cleans_nothing_up(place: &Place) -> Result<()> {
    let head = format!("compensate_on_cancel: true\n{CLEANUP}");
    let kill = async |case: &Case<'_>| {
        let path = format!("/api/v1/executions/{}/kill", case.id);
        place.api.post(&path, &json!({ "reason": "stuck" })).await?.expect(202)?;
        let found = case.ends("cancelled").await?;
        ensure!(found["failure"]["details"]["reason"] == "killed", "{found}");
        Ok(())
    };
    let case = Case::start_with(place, &head, &book("hang=1")).await?;
    case.is_called("c").await?;
    kill(&case).await?;
    case.shows("a completed, b completed, c cancelled").await?;
    ensure!(case.calls() == ["a", "b", "c"], "nothing cleans up: {:?}", case.calls());
    // Also what only cleans up.
    let components = book("status=404").replace("undo_b)", "undo_b?hang=1), timeout: 10m");
    let case = Case::start_with(place, &head, &components).await?;
    case.is_called("undo_b").await?;
    kill(&case).await?;
    ensure!(case.calls() == ["a", "b", "c", "undo_b"], "{:?}", case.calls());
    Ok(())
}

/// The one that lost is answered 409, and changes nothing.
async fn s14_the_first_commit_wins_between_cancel_and_completion(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @call(a) }").await?;
    case.ends("completed").await?;
    for verb in ["cancel", "kill"] {
        let path = format!("/api/v1/executions/{}/{verb}", case.id);
        place.api.post(&path, &json!({})).await?.problem(409, "execution_ended")?;
    }
    let before = place.api.events(&case.id).await?.len();
    case.ends("completed").await?;
    ensure!(place.api.events(&case.id).await?.len() == before, "the journal of what ended stays as it is");
    // A person's answer after the cancellation is the one that comes too late.
    let case = Case::start(place, "r: { type: approval, config: { assignees: [ann] } }").await?;
    case.shows("r asked").await?;
    let path = format!("/api/v1/human-tasks?execution_id={}", case.id);
    let task = text(&place.api.pages(&path, 1).await?[0], "id")?;
    case.stops().await?;
    let late =
        place.api.post(&format!("/api/v1/human-tasks/{task}/approve"), &json!({ "as": "ann" })).await?;
    late.problem(409, "task_ended")?;
    case.ends("cancelled").await?;
    // At the same moment: one of the two, whole.
    let (mut completed, mut cancelled) = (0, 0);
    for delay in [0, 10, 20, 40, 80] {
        let case = Case::start_with(place, CLEANUP, &format!("a: {{ @call(a?delay_ms={delay}) }}")).await?;
        case.is_called("a").await?;
        let answer = place.api.cancel(&case.id, "").await?;
        ensure!(matches!(answer.status, 202 | 409), "{}", answer.text);
        let found = place.api.ended(&case.id).await?;
        let events = place.api.events(&case.id).await?;
        let count = |name: &str| events.iter().filter(|event| event.name == name).count();
        ensure!(count("finished") == 1, "it ends once: {events:?}");
        match found["status"].as_str() {
            Some("completed") => {
                ensure!(count("task_completed") > 0 && case.calls() == ["a", "last"], "{events:?}");
                completed += 1;
            }
            Some("cancelled") => {
                ensure!(answer.status == 202 && count("cancel_requested") == 1, "{events:?}");
                cancelled += 1;
            }
            _ => bail!("{found}"),
        }
    }
    ensure!(completed + cancelled == 5, "each ends one way");
    Ok(())
}

async fn s15_the_time_limit_of_the_execution(place: &Place) -> Result<()> {
    let head = format!("timeout: 800ms\n{CLEANUP}");
    let components = book("hang=1")
        + "\nd: { @call(d), needs: [c], join: all_done }
           h: { @call(h), needs: [c.error, c.timeout], join: any }
           pause: { type: delay, config: { for: 1h } }";
    let case = Case::start_with(place, &head, &components).await?;
    case.fails("timeout").await?;
    case.shows("a completed, b completed, c cancelled, d skipped, h skipped, pause cancelled").await?;
    ensure!(case.calls() == ["a", "b", "c", "undo_b", "undo_a", "tell", "last"], "{:?}", case.calls());
    Ok(())
}

/// Three executions with an `at_most_once` attempt under way in this pool; somebody reads the `error` of the last.
async fn granted(place: &Place, pool: &str) -> Result<Vec<(String, String)>> {
    let task = format!(
        "a: {{ @call(a?hang=1), delivery: at_most_once, worker: {{ pool: {pool} }}, timeout: 10m, retry: {{ max_attempts: 5 }} }}
         after: {{ type: end, needs: [a], config: {{ output: '${{{{ components.a.output }}}}' }} }}"
    );
    let reader =
        "\nh: { type: end, needs: [a.error], config: { output: '${{ components.a.error.class }}' } }";
    let mut all = Vec::new();
    for components in [task.clone(), task.clone(), task + reader] {
        let case = Case::start(place, &components).await?;
        case.is_called("a").await?;
        all.push((case.id, case.label));
    }
    Ok(all)
}

/// What becomes of them when their worker was lost.
async fn decided(place: &Place, granted: Vec<(String, String)>) -> Result<()> {
    let cases: Vec<Case<'_>> = granted.into_iter().map(|(id, label)| Case { place, id, label }).collect();
    // Somebody reads `error`.
    let found = cases[2].ends("completed").await?;
    ensure!(found["output"] == "outcome_unknown", "{found}");
    cases[2].shows("a failed, after skipped, h completed").await?;
    // A person says that it took effect: it completes with what they hand in.
    cases[0].shows("a asked, after waiting").await?;
    cases[0].answers("a", "approve", json!({ "data": { "sent": true } })).await?;
    let found = cases[0].ends("completed").await?;
    ensure!(found["output"] == json!({ "sent": true }), "{found}");
    // Or that it did not: it runs again.
    cases[1].shows("a asked, after waiting").await?;
    for case in &cases {
        ensure!(case.calls() == ["a"], "it is never tried again by itself: {:?}", case.calls());
    }
    cases[1].answers("a", "reject", json!({})).await?;
    let found = cases[1].ends("completed").await?;
    ensure!(found["output"]["body"]["call"] == 2, "{found}");
    ensure!(cases[1].calls() == ["a", "a"], "{:?}", cases[1].calls());
    Ok(())
}

async fn s16_an_unknown_outcome_is_never_retried_and_a_person_decides(place: &Place) -> Result<()> {
    match place.shape {
        Shape::Cluster => {
            let pool = unique_name("lonely");
            let worker = place.second_worker(&pool).await?;
            let granted = granted(place, &pool).await?;
            worker.kill()?;
            let _next = place.second_worker(&pool).await?;
            decided(place, granted).await
        }
        Shape::Embedded => {
            // The worker is the process.
            let mut place = Place::start(Shape::Embedded, &json!({})).await?;
            let granted = granted(&place, "default").await?;
            place.processes[0].kill()?;
            place.processes[0] = place.front.start()?;
            place.front.is_up(&place.processes[0]).await?;
            decided(&place, granted).await.inspect_err(|_| eprintln!("{}", place.tails(40)))
        }
    }
}
