//! `/api/v1/workflows`: what is created is read, changed, listed and archived; what is wrong is a problem
//! document that says where.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    client::{creation, text},
    place::Place,
    unique_name,
};

both_shapes!(
    a_workflow_is_created_read_changed_and_archived,
    a_name_is_taken_once,
    a_change_of_an_old_version_is_refused,
    bodies_that_are_no_json_are_refused,
    bodies_of_the_wrong_shape_are_refused,
    a_body_that_is_too_large_is_refused,
    what_is_not_there_is_404,
    a_cursor_that_no_list_gave_is_refused,
    a_document_with_mistakes_is_answered_with_all_of_them,
    parameters_that_do_not_fit_are_listed_all,
    pages_neither_skip_nor_repeat,
    versions_are_listed_compared_and_restored,
    a_draft_is_kept_with_its_mistakes_and_published_without,
    a_draft_that_fell_behind_is_not_published_unasked,
);

const SMALL: &str = "workflow: v1\nname: small\ncomponents:\n  a:\n    type: noop\n";

async fn a_workflow_is_created_read_changed_and_archived(place: &Place) -> Result<()> {
    let api = &place.api;
    let mut body = creation("crud", SMALL);
    body["description"] = json!("first");
    body["category"] = json!("tests");
    body["tags"] = json!(["one", "two"]);
    let created = api.post("/api/v1/workflows", &body).await?;
    let made = created.expect(201)?;
    let id = text(&made, "id")?;
    ensure!(created.header("location") == format!("/api/v1/workflows/{id}"), "{:?}", created.headers);
    ensure!(created.header("etag") == "\"1\"", "{:?}", created.headers);
    ensure!(
        made["version"] == 1 && made["status"] == "active" && made["tags"] == json!(["one", "two"]),
        "{made}"
    );

    let path = format!("/api/v1/workflows/{id}");
    let read = api.get(&path).await?.expect(200)?;
    ensure!(read["definition"] == SMALL && read["hash"] == made["hash"], "{read}");

    let described = api.put(&path, &json!({ "description": "second" })).await?.expect(200)?;
    ensure!(
        described["version"] == 1 && described["description"] == "second",
        "only the document counts: {described}"
    );
    let changed = SMALL.replace("noop", "noop\n  b:\n    type: noop\n    needs: [a]");
    let changed = api.put(&path, &json!({ "definition": changed })).await?.expect(200)?;
    ensure!(changed["version"] == 2 && changed["hash"] != made["hash"], "{changed}");
    let as_text = api.get(&format!("{path}/definition")).await?;
    ensure!(as_text.status == 200 && as_text.text.contains("needs: [a]"), "{}", as_text.text);

    api.delete(&path).await?.expect(204)?;
    let archived = api.get(&path).await?.expect(200)?;
    ensure!(archived["status"] == "archived", "{archived}");
    api.post(&format!("{path}/execute"), &json!({})).await?.problem(409, "workflow_archived")?;
    Ok(())
}

async fn a_name_is_taken_once(place: &Place) -> Result<()> {
    let body = creation("taken", SMALL);
    place.api.post("/api/v1/workflows", &body).await?.expect(201)?;
    place.api.post("/api/v1/workflows", &body).await?.problem(409, "name_taken")?;
    Ok(())
}

async fn a_change_of_an_old_version_is_refused(place: &Place) -> Result<()> {
    let api = &place.api;
    let path = format!("/api/v1/workflows/{}", api.create("stale", SMALL).await?);
    let change =
        |id: &str| json!({ "definition": SMALL.replace("a:", &format!("{id}:")) }).to_string().into_bytes();
    api.send(Method::PUT, &path, &[("if-match", "\"1\"")], Some(change("b"))).await?.expect(200)?;
    let late = api.send(Method::PUT, &path, &[("if-match", "\"1\"")], Some(change("c"))).await?;
    late.problem(412, "stale_version")?;
    Ok(())
}

async fn versions_are_listed_compared_and_restored(place: &Place) -> Result<()> {
    let api = &place.api;
    let path = format!("/api/v1/workflows/{}", api.create("versions", SMALL).await?);
    let second =
        SMALL.replace("noop", "noop\n    config: { value: 1 }\n  b:\n    type: noop\n    needs: [a]");
    api.put(&path, &json!({ "definition": second })).await?.expect(200)?;

    let listed = api.get(&format!("{path}/versions")).await?.expect(200)?;
    let numbers: Vec<&Value> =
        listed["items"].as_array().context("items")?.iter().map(|item| &item["version"]).collect();
    ensure!(numbers == [2, 1] && listed["items"][0]["newest"] == true, "{listed}");
    let first = api.get(&format!("{path}/versions/1")).await?.expect(200)?;
    ensure!(first["definition"] == SMALL && first["newest"] == false, "{first}");
    api.get(&format!("{path}/versions/3")).await?.problem(404, "not_found")?;

    let found = api.get(&format!("{path}/compare?from=1&to=2")).await?.expect(200)?;
    let expected = json!([
        { "change": "changed", "subject": "component", "id": "a", "path": ["config"], "after": { "value": 1 } },
        { "change": "added", "subject": "component", "id": "b", "after": { "type": "noop" } },
        { "change": "added", "subject": "connection", "id": "a -> b" },
    ]);
    ensure!(found["differences"] == expected, "{found}");
    api.get(&format!("{path}/compare?from=first")).await?.problem(400, "invalid_query")?;

    let restored = api.post(&format!("{path}/versions/1/restore"), &json!({})).await?.expect(200)?;
    ensure!(restored["version"] == 3 && restored["hash"] == first["hash"], "{restored}");
    let same = api.get(&format!("{path}/compare?from=1&to=newest")).await?.expect(200)?;
    ensure!(same["differences"] == json!([]) && same["to"] == "3", "{same}");
    Ok(())
}

async fn a_draft_is_kept_with_its_mistakes_and_published_without(place: &Place) -> Result<()> {
    let api = &place.api;
    let id = api.create("drafted", SMALL).await?;
    let path = format!("/api/v1/workflows/{id}");
    api.get(&format!("{path}/draft")).await?.problem(404, "not_found")?;

    let broken = SMALL.replace("noop", "noopp");
    let kept = api.put(&format!("{path}/draft"), &json!({ "definition": broken })).await?.expect(200)?;
    ensure!(kept["valid"] == false && kept["problems"][0]["line"] == 5 && kept["revision"] == 1, "{kept}");
    api.post(&format!("{path}/publish"), &json!({})).await?.problem(422, "invalid_document")?;
    let still = api.get(&format!("{path}/draft")).await?.expect(200)?;
    ensure!(still["definition"] == broken, "a refusal loses nothing: {still}");

    let mended = SMALL.replace("noop", "noop\n    title: Mended");
    let body = json!({ "definition": mended }).to_string().into_bytes();
    let draft = format!("{path}/draft");
    let late = api.send(Method::PUT, &draft, &[("if-match", "\"7\"")], Some(body.clone())).await?;
    late.problem(412, "stale_version")?;
    let kept = api.send(Method::PUT, &draft, &[("if-match", "\"1\"")], Some(body)).await?;
    ensure!(kept.expect(200)?["valid"] == true && kept.header("etag") == "\"2\"", "{:?}", kept.headers);
    let unchanged = api.get(&path).await?.expect(200)?;
    ensure!(unchanged["version"] == 1 && unchanged["definition"] == SMALL, "{unchanged}");
    let found = api.get(&format!("{path}/compare")).await?.expect(200)?;
    ensure!(found["differences"][0]["path"] == json!(["title"]) && found["to"] == "draft", "{found}");

    let published = api.post(&format!("{path}/publish"), &json!({})).await?.expect(200)?;
    ensure!(published["version"] == 2 && published["definition"] == mended, "{published}");
    api.get(&draft).await?.problem(404, "not_found")?;
    let execution = api.execute(&id, &json!({})).await?;
    ensure!(api.ended(&execution).await?["workflow_version"] == 2);

    api.put(&draft, &json!({ "definition": SMALL })).await?.expect(200)?;
    api.delete(&draft).await?.expect(204)?;
    api.delete(&draft).await?.problem(404, "not_found")?;
    Ok(())
}

async fn a_draft_that_fell_behind_is_not_published_unasked(place: &Place) -> Result<()> {
    let api = &place.api;
    let path = format!("/api/v1/workflows/{}", api.create("behind", SMALL).await?);
    let with = |title: &str| SMALL.replace("noop", &format!("noop\n    title: {title}"));
    let draft = format!("{path}/draft");
    api.put(&draft, &json!({ "definition": with("mine") })).await?.expect(200)?;
    api.put(&path, &json!({ "definition": with("theirs") })).await?.expect(200)?;

    let behind = api.get(&draft).await?.expect(200)?;
    ensure!(behind["behind"] == true && behind["base_version"] == 1, "{behind}");
    let refused = api.post(&format!("{path}/publish"), &json!({})).await?.problem(412, "stale_version")?;
    ensure!(refused["detail"].as_str().unwrap_or_default().contains("replaces: 2"), "{refused}");
    let wrong = api.put(&draft, &json!({ "definition": SMALL, "base_version": 9 })).await?;
    wrong.problem(422, "invalid_body")?;
    let published = api.post(&format!("{path}/publish"), &json!({ "replaces": 2 })).await?.expect(200)?;
    ensure!(published["version"] == 3 && published["definition"] == with("mine"), "{published}");
    Ok(())
}

async fn bodies_that_are_no_json_are_refused(place: &Place) -> Result<()> {
    let api = &place.api;
    let path = "/api/v1/workflows";
    for broken in ["{\"name\": ", "name: x", "{\"name\": \"x\",}", "\u{0}"] {
        let answer = api.send(Method::POST, path, &[], Some(broken.as_bytes().to_vec())).await?;
        let problem = answer.problem(400, "malformed_json").with_context(|| format!("{broken:?}"))?;
        ensure!(problem["problems"][0]["line"] == 1, "it says where: {problem}");
    }
    let form = api.send(Method::POST, path, &[("content-type", "text/plain")], Some(b"{}".to_vec())).await?;
    form.problem(415, "unsupported_media_type")?;
    Ok(())
}

async fn bodies_of_the_wrong_shape_are_refused(place: &Place) -> Result<()> {
    let api = &place.api;
    let unknown = api.post("/api/v1/workflows", &json!({ "nam": "x", "definition": SMALL })).await?;
    let problem = unknown.problem(422, "invalid_body")?;
    ensure!(problem["detail"].as_str().unwrap_or_default().contains("nam"), "it names the field: {problem}");
    let wrong = api.post("/api/v1/workflows", &json!({ "name": 7, "definition": SMALL })).await?;
    wrong.problem(422, "invalid_body")?;
    let missing = api.post("/api/v1/workflows", &json!({ "name": "x" })).await?;
    missing.problem(422, "invalid_body")?;
    let workflow = api.create("shape", SMALL).await?;
    let path = format!("/api/v1/workflows/{workflow}/execute");
    for body in
        [json!({ "priority": "urgent" }), json!({ "parameters": [] }), json!({ "scheduled_at": "soon" })]
    {
        api.post(&path, &body).await?.problem(422, "invalid_body").with_context(|| body.to_string())?;
    }
    Ok(())
}

async fn a_body_that_is_too_large_is_refused(place: &Place) -> Result<()> {
    let body = json!({ "name": "x".repeat(2 * 1024 * 1024), "definition": SMALL });
    place.api.post("/api/v1/workflows", &body).await?.problem(413, "body_too_large")?;
    Ok(())
}

async fn what_is_not_there_is_404(place: &Place) -> Result<()> {
    let api = &place.api;
    let nobody = "01890000-0000-7000-8000-000000000000";
    for path in [
        format!("/api/v1/workflows/workflow_{nobody}"),
        "/api/v1/workflows/no-id".to_owned(),
        format!("/api/v1/executions/execution_{nobody}"),
        format!("/api/v1/executions/execution_{nobody}/journal"),
        format!("/api/v1/executions/execution_{nobody}/tasks"),
        format!("/api/v1/executions/execution_{nobody}/logs"),
        format!("/api/v1/executions/execution_{nobody}/why"),
        format!("/api/v1/executions/execution_{nobody}/events"),
        "/api/v1/components/no_such_type".to_owned(),
        "/api/v1/nothing".to_owned(),
    ] {
        api.get(&path).await?.problem(404, "not_found").with_context(|| path.clone())?;
    }
    api.cancel(&format!("execution_{nobody}"), "").await?.problem(404, "not_found")?;
    let wrong_method = api.delete("/api/v1/executions").await?;
    wrong_method.problem(405, "method_not_allowed")?;
    Ok(())
}

async fn a_cursor_that_no_list_gave_is_refused(place: &Place) -> Result<()> {
    for path in [
        "/api/v1/workflows?cursor=%00x",
        "/api/v1/executions?cursor=nonsense",
        "/api/v1/executions?status=done",
    ] {
        place.api.get(path).await?.problem(400, "invalid_query").with_context(|| path.to_owned())?;
    }
    Ok(())
}

async fn a_document_with_mistakes_is_answered_with_all_of_them(place: &Place) -> Result<()> {
    let wrong = "workflow: v1\nname: wrong\ncomponents:\n  a:\n    type: nop\n  b:\n    type: noop\n    needs: [z]\n  c:\n    \
                 type: decision\n    config: { condition: parameters.x > }\n";
    let answer = place.api.post("/api/v1/workflows", &creation("wrong", wrong)).await?;
    let problem = answer.problem(422, "invalid_document")?;
    let problems = problem["problems"].as_array().context("a list")?;
    ensure!(problems.len() >= 3, "{problem}");
    for one in problems {
        ensure!(
            one["line"].as_u64().is_some() && one["column"].as_u64().is_some(),
            "each has its place: {one}"
        );
    }
    let checked =
        place.api.post("/api/v1/workflows/validate", &json!({ "definition": wrong })).await?.expect(200)?;
    ensure!(checked["valid"] == false && checked["problems"] == problem["problems"], "{checked}");
    Ok(())
}

async fn parameters_that_do_not_fit_are_listed_all(place: &Place) -> Result<()> {
    let document = "workflow: v1\nname: p\nparameters:\n  who: { type: string, required: true }\n  many: { type: integer, \
                    default: 1 }\n  way: { type: string, default: a, choices: [a, b] }\ncomponents:\n  a:\n    type: noop\n    \
                    config: { value: \"${{ parameters.who }}\" }\n";
    let created = place.api.post("/api/v1/workflows", &creation("parameters", document)).await?;
    let workflow = text(&created.expect(201)?, "id")?;
    let path = format!("/api/v1/workflows/{workflow}/execute");
    let body = json!({ "parameters": { "many": "three", "other": 1 } });
    let problem = place.api.post(&path, &body).await?.problem(422, "invalid_parameters")?;
    let all = problem["problems"].to_string();
    for name in ["who", "many", "other"] {
        ensure!(all.contains(name), "`{name}` is missing: {problem}");
    }
    Ok(())
}

async fn pages_neither_skip_nor_repeat(place: &Place) -> Result<()> {
    let api = &place.api;
    let tag = unique_name("page");
    let workflow = api.create("pages", SMALL).await?;
    let mut ids = HashSet::new();
    for _ in 0..11 {
        ids.insert(api.execute(&workflow, &json!({ "tags": [tag] })).await?);
    }
    let path = format!("/api/v1/executions?tag={tag}");
    // New ones arrive while the pages are read; those that were there come exactly once.
    let first = api.get(&format!("{path}&limit=4")).await?.expect(200)?;
    for _ in 0..3 {
        api.execute(&workflow, &json!({ "tags": [tag] })).await?;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        for item in page["items"].as_array().context("items")? {
            seen.push(text(item, "id")?);
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        page = api.get(&format!("{path}&limit=4&cursor={next}")).await?.expect(200)?;
    }
    let once: HashSet<String> = seen.iter().cloned().collect();
    ensure!(once.len() == seen.len(), "repeated: {seen:?}");
    ensure!(ids.is_subset(&once), "skipped: {:?}", ids.difference(&once));
    let all = api.pages(&path, 500).await?;
    ensure!(all.len() == 14, "{}", all.len());
    let times: Vec<&Value> = all.iter().map(|item| &item["created_at"]).collect();
    ensure!(times.is_sorted_by(|a, b| a.as_str() >= b.as_str()), "newest first: {times:?}");
    Ok(())
}
