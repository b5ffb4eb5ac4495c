//! Open executions, moved to another version of their workflow: what has happened stays, and nothing half moves.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, document, with_calls};
use crate::harness::{
    PATIENCE,
    client::{Answer, creation, text},
    place::{Place, Shape},
    unique_name, until,
};

both_shapes!(
    v1_added_removed_and_renamed_before_at_and_after,
    v2_a_task_that_is_out_answers_under_its_old_name,
    v3_what_is_in_the_way_is_said_and_nothing_moves,
    v4_a_scheduled_and_a_paused_one_and_a_new_parameter,
    v5_there_and_back,
    v6_a_moved_one_is_done_again_as_it_ended,
    v7_many_are_moved_after_a_look,
    v8_the_command_line_moves_and_saves_a_test,
    v9_the_audit_finds_nothing_in_moves,
);

/// A workflow with versions.
struct Versions<'a> {
    place: &'a Place,
    name: String,
    id: String,
    label: String,
}

impl<'a> Versions<'a> {
    async fn begin(place: &'a Place, components: &str) -> Result<Self> {
        let (name, label) = (unique_name("moved"), unique_name("row"));
        let text_of = with_calls(&document("", components), place, &label)
            .replace("name: row", &format!("name: {name}"));
        let created = place.api.post("/api/v1/workflows", &creation(&name, &text_of)).await?.expect(201)?;
        Ok(Self { place, id: text(&created, "id")?, name, label })
    }

    /// Publishes the next version.
    async fn next(&self, head: &str, components: &str) -> Result<()> {
        let text_of = with_calls(&document(head, components), self.place, &self.label);
        let text_of = text_of.replace("name: row", &format!("name: {}", self.name));
        let body = json!({ "name": self.name, "definition": text_of });
        self.place.api.put(&format!("/api/v1/workflows/{}", self.id), &body).await?.expect(200)?;
        Ok(())
    }

    async fn start(&self, body: &Value) -> Result<Case<'a>> {
        let id = self.place.api.execute(&self.id, body).await?;
        Ok(Case { place: self.place, id, label: self.label.clone() })
    }
}

impl Case<'_> {
    async fn moves(&self, body: &Value) -> Result<Answer> {
        self.place.api.post(&format!("/api/v2/executions/{}/move", self.id), body).await
    }

    async fn is_refused(&self, body: &Value, why: &str) -> Result<()> {
        let problem = self.moves(body).await?.problem(422, "move_refused")?;
        ensure!(text(&problem, "detail")?.contains(why), "{problem}");
        Ok(())
    }

    async fn logs(&self) -> Result<String> {
        let lines = self.place.api.pages(&format!("/api/v1/executions/{}/logs", self.id), 100).await?;
        Ok(lines.iter().filter_map(|line| line["message"].as_str()).collect::<Vec<_>>().join("\n"))
    }
}

/// The fate of each component of an answer: `x kept, n new`.
fn fates(moved: &Value) -> String {
    let each = moved["components"].as_array().into_iter().flatten();
    let each = each.map(|it| {
        format!(
            "{} {}",
            it["component"].as_str().unwrap_or_default(),
            it["fate"].as_str().unwrap_or_default()
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

const FIRST: &str = "a: { @call(a) }
     old: { @call(old), needs: [a] }
     hold: { @waits, needs: [old] }
     b: { @call(b), needs: [hold] }
     last: { @call(last), needs: [b] }";

const SECOND: &str = "x: { @call(a) }
     early: { @call(early), needs: [x] }
     gate: { @waits, needs: [early] }
     n: { @call(n), needs: [gate] }
     b: { @call(b), needs: [n] }
     side: { @call(side), needs: [x], when: \"components.x.status == 'completed'\" }
     end: { type: end, needs: [b, side], config: { output: '${{ components.x.output.status }}' } }";

fn to_second() -> Value {
    json!({ "version": 2, "mapping": { "a": "x", "hold": "gate" }, "reason": "mended" })
}

async fn v1_added_removed_and_renamed_before_at_and_after(place: &Place) -> Result<()> {
    let workflow = Versions::begin(place, FIRST).await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting").await?;
    workflow.next("", SECOND).await?;

    let mut look = to_second();
    look["dry_run"] = json!(true);
    let look = case.moves(&look).await?.expect(200)?;
    let expected =
        "x kept, early passed_over, gate goes_on, n new, b waits, side new, end new, old gone, last gone";
    ensure!(look["dry_run"] == true && fates(&look) == expected, "{look}");
    ensure!(place.api.execution(&case.id).await?["workflow_version"] == 1, "nothing was done");

    let moved = case.moves(&to_second()).await?.expect(200)?;
    ensure!(moved["decided"] == true && moved["from_version"] == 1 && moved["version"] == 2, "{moved}");
    let found = place.api.execution(&case.id).await?;
    ensure!(found["workflow_version"] == 2 && found["status"] == "running", "{found}");
    case.shows("x completed, early skipped, gate awaiting, n waiting, side completed").await?;
    let why = place.api.get(&format!("/api/v1/executions/{}/why", case.id)).await?.expect(200)?;
    ensure!(
        why["waiting"].as_array().is_some_and(|list| list.iter().any(|it| it["component"] == "gate")),
        "{why}"
    );

    case.go().await?;
    let found = case.ends("completed").await?;
    ensure!(found["output"] == 200, "{found}");
    ensure!(case.calls() == ["a", "old", "side", "n", "b"], "{:?}", case.calls());
    let logs = case.logs().await?;
    ensure!(
        logs.contains("moved it from version 1 to 2: mended; a is called x; hold is called gate"),
        "{logs}"
    );
    let tasks = place.api.pages(&format!("/api/v1/executions/{}/tasks", case.id), 3).await?;
    ensure!(tasks.iter().all(|task| task["type"].is_string()), "each is of a version: {tasks:?}");
    let again = case.moves(&to_second()).await?;
    again.problem(409, "execution_ended")?;
    Ok(())
}

async fn v2_a_task_that_is_out_answers_under_its_old_name(place: &Place) -> Result<()> {
    let workflow =
        Versions::begin(place, "a: { @call(a?delay_ms=2000) }\nb: { @call(b), needs: [a] }").await?;
    let case = workflow.start(&json!({})).await?;
    case.is_called("a").await?;
    workflow
        .next("", "x: { @call(a?delay_ms=2000) }\nb: { @call(b), needs: [x] }\nc: { @call(c), needs: [b] }")
        .await?;
    let moved = case.moves(&json!({ "mapping": { "a": "x" } })).await?.expect(200)?;
    ensure!(fates(&moved) == "x goes_on, b waits, c new", "{moved}");
    case.ends("completed").await?;
    ensure!(case.calls() == ["a", "b", "c"], "each once: {:?}", case.calls());
    Ok(())
}

async fn v3_what_is_in_the_way_is_said_and_nothing_moves(place: &Place) -> Result<()> {
    let workflow = Versions::begin(
        place,
        "a: { @call(a) }
         hold: { @waits, needs: [a] }
         l: { type: loop, needs: [a], config: { items: [1] }, components: { inside: { @waits } } }
         b: { @call(b), needs: [hold] }",
    )
    .await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting, l running").await?;
    workflow.next("", "a: { @call(a) }\nholds: { @waits, needs: [a] }").await?;
    workflow
        .next(
            "",
            "a: { @call(a) }
             n: { @call(n), needs: [a] }
             hold: { @waits, needs: [n] }
             l: { type: loop, needs: [a], config: { items: [1] }, components: { inside: { @waits }, more: { type: noop } } }
             b: { @call(b), needs: [hold, n] }",
        )
        .await?;
    case.is_refused(
        &json!({ "version": 2 }),
        "`hold` waits for an event, and version 2 has no such component",
    )
    .await?;
    case.is_refused(&json!({ "version": 2 }), "say in the mapping what it has become (`holds`?)").await?;
    case.is_refused(&json!({ "version": 3 }), "`l` is open, and `components` of `l` is another in version 3")
        .await?;
    case.is_refused(&json!({ "version": 2, "mapping": { "hold": "hols" } }), "did you mean `holds`?").await?;
    case.is_refused(&json!({ "version": 1 }), "It is of version 1 already").await?;
    let other = place.api.create("other", &document("", "a: { type: noop }")).await?;
    case.is_refused(&json!({ "version": 1, "workflow_id": other }), "and no version of").await?;
    case.moves(&json!({ "version": 9 })).await?.problem(404, "not_found")?;
    let draft = case.moves(&json!({ "version": "draft" })).await?.problem(422, "invalid_body")?;
    ensure!(text(&draft, "detail")?.contains("publish it first"), "{draft}");
    let found = place.api.execution(&case.id).await?;
    ensure!(found["workflow_version"] == 1 && found["status"] == "running", "{found}");
    case.stops().await
}

async fn v4_a_scheduled_and_a_paused_one_and_a_new_parameter(place: &Place) -> Result<()> {
    let workflow = Versions::begin(place, "a: { @call(a) }\nhold: { @waits, needs: [a] }").await?;
    let later = workflow.start(&json!({ "scheduled_at": "2999-01-01T00:00:00Z" })).await?;
    let paused = workflow.start(&json!({})).await?;
    paused.shows("hold awaiting").await?;
    place.api.post(&format!("/api/v1/executions/{}/pause", paused.id), &json!({})).await?.expect(200)?;
    workflow
        .next(
            "parameters: { who: { type: string, required: true } }",
            "a: { @call(a) }
             hold: { @waits, needs: [a] }
             n: { type: set_variables, needs: [a], config: { values: { who: '${{ parameters.who }}' } } }
             done: { type: end, needs: [n, hold], config: { output: '${{ components.n.output.who }}' } }",
        )
        .await?;
    paused.is_refused(&json!({ "version": 2 }), "ersion 2 requires the parameter `who`").await?;
    let body = json!({ "version": 2, "parameters": { "who": "ann" } });
    paused.moves(&body).await?.expect(200)?;
    paused.shows("hold awaiting, n waiting").await?;
    ensure!(place.api.execution(&paused.id).await?["status"] == "paused", "it is paused still");
    place.api.post(&format!("/api/v1/executions/{}/resume", paused.id), &json!({})).await?.expect(200)?;
    paused.shows("n completed").await?;
    paused.go().await?;
    let found = paused.ends("completed").await?;
    ensure!(found["output"] == "ann" && found["parameters"] == json!({ "who": "ann" }), "{found}");

    later.moves(&body).await?.expect(200)?;
    let found = place.api.execution(&later.id).await?;
    ensure!(found["status"] == "pending" && found["workflow_version"] == 2, "{found}");
    ensure!(found["parameters"] == json!({ "who": "ann" }), "{found}");
    later.stops().await
}

async fn v5_there_and_back(place: &Place) -> Result<()> {
    let workflow = Versions::begin(place, "hold: { @waits }\nb: { @call(b), needs: [hold] }").await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting").await?;
    workflow.next("", "gate: { @waits }\nc: { @call(c), needs: [gate] }").await?;
    case.moves(&json!({ "mapping": { "hold": "gate" } })).await?.expect(200)?;
    let back = case.moves(&json!({ "version": 1, "mapping": { "gate": "hold" } })).await?.expect(200)?;
    ensure!(back["from_version"] == 2 && back["version"] == 1, "{back}");
    case.go().await?;
    case.ends("completed").await?;
    ensure!(case.calls() == ["b"], "{:?}", case.calls());
    Ok(())
}

async fn v6_a_moved_one_is_done_again_as_it_ended(place: &Place) -> Result<()> {
    let workflow = Versions::begin(place, "a: { @call(a) }\nhold: { @waits, needs: [a] }").await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting").await?;
    workflow
        .next("", "x: { @call(a) }\nhold: { @waits, needs: [x] }\nb: { @call(b?refuse=1), needs: [hold] }")
        .await?;
    case.moves(&json!({ "mapping": { "a": "x" } })).await?.expect(200)?;
    case.go().await?;
    case.ends("failed").await?;
    let path = format!("/api/v1/executions/{}/retry", case.id);
    let retried = place.api.post(&path, &json!({})).await?.expect(202)?;
    ensure!(retried["workflow_version"] == 2, "{retried}");
    ensure!(
        retried["components"][0]["component"] == "x" && retried["components"][0]["kept"] == true,
        "{retried}"
    );
    let again = Case { place, id: text(&retried, "id")?, label: case.label.clone() };
    again.ends("completed").await?;
    ensure!(case.calls() == ["a", "b", "b"], "{:?}", case.calls());
    Ok(())
}

async fn v7_many_are_moved_after_a_look(place: &Place) -> Result<()> {
    let workflow =
        Versions::begin(place, "a: { @waits }\nb: { @waits, needs: [a] }\nc: { type: noop, needs: [b] }")
            .await?;
    let mut cases = Vec::new();
    for _ in 0..3 {
        let case = workflow.start(&json!({})).await?;
        case.shows("a awaiting").await?;
        cases.push(case);
    }
    cases[0].go().await?;
    cases[0].shows("b awaiting").await?;
    workflow.next("", "a: { @waits }\nbb: { @waits, needs: [a] }").await?;
    let bulk = async |key: &str, body: &Value| {
        let headers = [("idempotency-key", key)];
        let body = Some(body.to_string().into_bytes());
        place.api.send(Method::POST, "/api/v2/executions/bulk", &headers, body).await
    };
    let body = |dry_run: bool| {
        json!({
            "action": "move", "dry_run": dry_run, "query": { "workflow_id": workflow.id, "status": "running" },
            "move": { "version": 2 },
        })
    };
    let key = unique_name("key");
    let look = bulk(&key, &body(true)).await?.expect(200)?;
    ensure!(look["counts"] == json!({ "would": 2, "refused": 1 }), "{look}");
    ensure!(look["reasons"][0]["code"] == "move_refused" && look["reasons"][0]["count"] == 1, "{look}");
    ensure!(text(&look["reasons"][0], "detail")?.contains("`b` waits for an event"), "{look}");
    let done = bulk(&key, &body(false)).await?.expect(200)?;
    ensure!(done["counts"] == json!({ "accepted": 2, "refused": 1 }), "{done}");
    for case in &cases[1..] {
        until(PATIENCE, "it is moved", async || {
            Ok((place.api.execution(&case.id).await?["workflow_version"] == 2).then_some(()))
        })
        .await?;
    }
    ensure!(place.api.execution(&cases[0].id).await?["workflow_version"] == 1, "it stays");
    let again = bulk(&key, &body(false)).await?.expect(200)?;
    ensure!(again["counts"] == json!({ "unchanged": 2, "refused": 1 }), "{again}");
    let everywhere = json!({ "action": "move", "query": { "status": "running" }, "move": { "version": 2 } });
    bulk(&unique_name("key"), &everywhere).await?.problem(422, "invalid_body")?;
    for case in &cases {
        case.stops().await?;
    }
    Ok(())
}

async fn v8_the_command_line_moves_and_saves_a_test(place: &Place) -> Result<()> {
    let workflow = Versions::begin(place, "a: { @call(a) }\nhold: { @waits, needs: [a] }").await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting").await?;
    workflow
        .next("", "x: { @call(a) }\nhold: { @waits, needs: [x] }\nb: { @call(b), needs: [hold] }")
        .await?;
    let server = ["--server", place.api.base.as_str()];
    let verb = ["execution", "move", &case.id, "--to", "2", "--map", "a=x"];
    let look = place.apg(&[&verb[..], &["--dry-run"], &server].concat()).await?;
    ensure!(
        look.code == 0 && look.out.contains("goes_on") && look.err.contains("nothing was done"),
        "{look:?}"
    );
    let refused =
        place.apg(&[&["execution", "move", &case.id, "--map", "a=y"], &server[..]].concat()).await?;
    ensure!(refused.code != 0 && refused.err.contains("which version 2 has not"), "{refused:?}");
    let moved = place.apg(&[&verb[..], &server].concat()).await?;
    ensure!(moved.code == 0 && moved.err.contains("goes on as version 2"), "{moved:?}");
    case.go().await?;
    case.ends("completed").await?;
    let saved = place.apg(&[&["execution", "save-as-test", &case.id], &server[..]].concat()).await?;
    ensure!(saved.out.contains("it was moved to version 2 under way"), "{saved:?}");
    ensure!(saved.out.contains("    x:") && saved.out.contains("    b:"), "{saved:?}");
    Ok(())
}

async fn v9_the_audit_finds_nothing_in_moves(place: &Place) -> Result<()> {
    // A SQLite file is one process's at a time.
    let own = match place.shape {
        Shape::Cluster => None,
        Shape::Embedded => Some(Place::start(Shape::Embedded, &json!({})).await?),
    };
    let at = own.as_ref().unwrap_or(place);
    let workflow = Versions::begin(at, FIRST).await?;
    let case = workflow.start(&json!({})).await?;
    case.shows("hold awaiting").await?;
    workflow.next("", SECOND).await?;
    case.moves(&to_second()).await?.expect(200)?;
    case.go().await?;
    case.ends("completed").await?;
    if let Some(own) = &own {
        own.processes[0].terminate(PATIENCE).await?;
    }
    let output = at.apg(&["audit", "--output", "json"]).await?;
    let report: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
    ensure!(output.code == 0 && report["findings"] == json!([]), "{report}");
    Ok(())
}
