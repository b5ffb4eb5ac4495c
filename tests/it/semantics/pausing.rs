//! Pause and resume: nothing new starts, and nothing is lost.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::harness::{PATIENCE, place::Place, until};

both_shapes!(
    h1_readers_of_what_completes_in_a_pause_start_when_it_ends,
    h2_twice_is_once_and_an_ended_one_is_refused,
    h4_a_delay_that_comes_due_waits,
    h6_people_may_answer_in_a_pause,
    h7_cancel_and_kill_work_in_a_pause,
    h8_the_time_limit_of_the_execution_goes_on,
    h9_what_is_scheduled_does_not_begin,
);

impl Case<'_> {
    async fn pause(&self, reason: &str) -> Result<Value> {
        let path = format!("/api/v1/executions/{}/pause", self.id);
        self.place.api.post(&path, &json!({ "reason": reason })).await?.expect(200)
    }

    async fn resume(&self) -> Result<Value> {
        self.place.api.post(&format!("/api/v1/executions/{}/resume", self.id), &json!({})).await?.expect(200)
    }
}

async fn h1_readers_of_what_completes_in_a_pause_start_when_it_ends(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @waits }\nb: { @call(b), needs: [a] }").await?;
    case.shows("a awaiting").await?;
    let paused = case.pause("month end").await?;
    ensure!(paused["status"] == "paused" && paused["decided"] == true, "{paused}");
    case.go().await?;
    case.shows("a completed, b waiting").await?;

    let found = place.api.execution(&case.id).await?;
    ensure!(found["status"] == "paused" && found["paused"]["reason"] == "month end", "{found}");
    let why = place.api.get(&format!("/api/v1/executions/{}/why", case.id)).await?.expect(200)?;
    let summary = why["summary"].as_str().context("a summary")?;
    ensure!(summary.starts_with("It is paused by ") && summary.ends_with(": month end"), "{why}");
    ensure!(why["waiting"][0]["reason"] == "paused", "{why}");
    let listed = place.api.pages("/api/v1/executions?status=paused", 100).await?;
    ensure!(listed.iter().any(|one| one["id"] == case.id.as_str()), "it is listed");
    ensure!(case.calls().is_empty(), "nothing new starts");

    let resumed = case.resume().await?;
    ensure!(resumed["status"] == "running", "{resumed}");
    case.ends("completed").await?;
    ensure!(case.calls() == ["b"], "{:?}", case.calls());
    let events = place.api.events(&case.id).await?;
    let seq = |name: &str| events.iter().find(|event| event.name == name).map(|event| event.seq);
    ensure!(seq("paused").is_some() && seq("paused") < seq("resumed"), "{events:?}");
    Ok(())
}

async fn h2_twice_is_once_and_an_ended_one_is_refused(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @waits }").await?;
    case.shows("a awaiting").await?;
    ensure!(case.resume().await?["status"] == "running", "it was not paused");
    case.pause("once").await?;
    ensure!(case.pause("twice").await?["status"] == "paused", "it is paused");
    let found = place.api.execution(&case.id).await?;
    ensure!(found["paused"]["reason"] == "once", "the first pause holds: {found}");
    case.resume().await?;
    ensure!(case.resume().await?["status"] == "running", "it runs");
    case.go().await?;
    let found = case.ends("completed").await?;
    ensure!(found["paused"].is_null(), "{found}");
    for verb in ["pause", "resume"] {
        let path = format!("/api/v1/executions/{}/{verb}", case.id);
        place.api.post(&path, &json!({})).await?.problem(409, "execution_ended")?;
    }
    let unknown = "/api/v1/executions/execution_01890a5d-ac96-774b-bcce-b302099a8057/pause";
    let answer = place.api.post(unknown, &json!({})).await?;
    ensure!(answer.status == 404, "{}", answer.text);
    Ok(())
}

async fn h4_a_delay_that_comes_due_waits(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "d: { type: delay, config: { for: 1s } }
         after: { @call(after), needs: [d] }
         other: { type: delay, config: { for: 3s } }",
    )
    .await?;
    case.pause("").await?;
    // Another execution shows that more time has passed than the delay takes.
    let clock = Case::start(place, "tick: { type: delay, config: { for: 2s } }").await?;
    clock.ends("completed").await?;
    case.shows("d delayed, after waiting").await?;
    case.resume().await?;
    case.ends("completed").await?;
    ensure!(case.calls() == ["after"], "{:?}", case.calls());
    Ok(())
}

async fn h6_people_may_answer_in_a_pause(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "ask: { type: approval, config: { assignees: [ann] } }
         then: { @call(then), needs: [ask.approved] }",
    )
    .await?;
    case.shows("ask asked").await?;
    case.pause("").await?;
    case.answers("ask", "approve", json!({ "as": "ann" })).await?;
    case.shows("ask completed, then waiting").await?;
    case.resume().await?;
    case.ends("completed").await?;
    Ok(())
}

async fn h7_cancel_and_kill_work_in_a_pause(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @waits }\nb: { @call(b), needs: [a] }").await?;
    case.pause("").await?;
    case.stops().await?;

    let case = Case::start(place, "a: { @waits }").await?;
    case.pause("").await?;
    place.api.post(&format!("/api/v1/executions/{}/kill", case.id), &json!({})).await?.expect(202)?;
    case.ends("cancelled").await?;
    Ok(())
}

async fn h8_the_time_limit_of_the_execution_goes_on(place: &Place) -> Result<()> {
    let case = Case::start_with(place, "timeout: 2s", "a: { @waits }").await?;
    case.pause("").await?;
    case.fails("timeout").await?;
    Ok(())
}

async fn h9_what_is_scheduled_does_not_begin(place: &Place) -> Result<()> {
    let workflow =
        place.api.create("paused", "workflow: v1\nname: n\ncomponents: { a: { type: noop } }").await?;
    let far = json!({ "scheduled_at": "2200-01-01T00:00:00Z" });
    let id = place.api.execute(&workflow, &far).await?;
    let at = |verb: &str| format!("/api/v1/executions/{id}/{verb}");
    let paused = place.api.post(&at("pause"), &json!({})).await?.expect(200)?;
    ensure!(paused["status"] == "paused", "{paused}");
    let resumed = place.api.post(&at("resume"), &json!({})).await?.expect(200)?;
    ensure!(resumed["status"] == "pending", "{resumed}");
    let why = until(PATIENCE, "the reason", async || {
        let why = place.api.get(&at("why")).await?.expect(200)?;
        Ok((why["waiting"][0]["reason"] == "scheduled").then_some(why))
    })
    .await?;
    ensure!(why["status"] == "pending", "{why}");
    place.api.cancel(&id, "seen enough").await?.expect(202)?;
    place.api.ended(&id).await?;
    Ok(())
}
