//! What a document may say, and what is made of it: W1 to W9.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Case, document, is_mistake, refused};
use crate::harness::{
    client::{creation, text},
    place::Place,
    run::Run,
};

both_shapes!(
    w1_ids_are_unique_in_the_whole_document,
    w2_needs_list_connections_within_a_scope,
    w3_cycles_are_refused,
    w4_a_body_sees_what_is_upstream_and_nobody_sees_into_it,
    w5_a_type_may_carry_its_version_and_its_config_is_checked,
    w6_layout_makes_no_version,
    w7_the_text_is_kept_and_the_checked_snapshot_runs,
    w8_there_is_one_canonical_form,
    w9_unknown_keys_are_refused_with_the_nearest_known_one,
);

/// The hash of a document that can be saved.
async fn hash(place: &Place, document: &str) -> Result<String> {
    let made = place.api.post("/api/v1/workflows", &creation("hashed", document)).await?;
    text(&made.expect(201).context(document.to_owned())?, "hash")
}

async fn w1_ids_are_unique_in_the_whole_document(place: &Place) -> Result<()> {
    let unique = "an id is unique in the whole document, containers included";
    for (head, components, path) in [
        (
            "",
            "b: { type: noop }\na: { type: group, components: { b: { type: noop } } }",
            "components.a.components.b",
        ),
        ("finally: { b: { type: noop } }", "b: { type: noop }", "finally.b"),
        ("on_failure: { b: { type: noop } }", "b: { type: noop }", "on_failure.b"),
        (
            "",
            "a: { type: group, components: { c: { type: noop } } }\nb: { type: group, components: { c: { type: noop } } }",
            "components.b.components.c",
        ),
    ] {
        let mistake = refused(place, &document(head, components)).await?;
        is_mistake(&mistake, "duplicate_id", path, unique)?;
    }
    for (id, suggestion) in
        [("9d", "write `d`"), ("Pay_Out", "write `pay_out`"), ("pay-out", "write `pay_out`")]
    {
        let mistake = refused(place, &document("", &format!("{id}: {{ type: noop }}"))).await?;
        is_mistake(&mistake, "id_form", &format!("components.{id}"), suggestion)?;
    }
    // 64 characters are allowed, 65 are not.
    hash(place, &document("", &format!("{}: {{ type: noop }}", "a".repeat(64)))).await?;
    let mistake = refused(place, &document("", &format!("{}: {{ type: noop }}", "a".repeat(65)))).await?;
    ensure!(mistake["code"] == "id_form", "{mistake}");
    // The journal speaks of the id, people see the title.
    let case =
        Case::start(place, "pay_out: { type: approval, title: Pay out, config: { assignees: [ann] } }")
            .await?;
    case.shows("pay_out asked").await?;
    let path = format!("/api/v1/human-tasks?execution_id={}", case.id);
    let items = place.api.pages(&path, 5).await?;
    ensure!(items[0]["component"] == "pay_out" && items[0]["title"] == "Pay out", "{items:?}");
    case.stops().await
}

async fn w2_needs_list_connections_within_a_scope(place: &Place) -> Result<()> {
    let three = |needs: &str| {
        document(
            "",
            &format!("a: {{ type: noop }}\nb: {{ type: noop }}\nc: {{ type: noop, needs: [{needs}] }}"),
        )
    };
    let first = hash(place, &three("a, b")).await?;
    for same in ["b, a", "a.success, b", "b, a.success"] {
        ensure!(hash(place, &three(same)).await? == first, "[{same}] is the same document");
    }
    for other in ["a", "a.error, b", "b"] {
        ensure!(hash(place, &three(other)).await? != first, "[{other}] is another document");
    }
    for (needs, code, path, suggestion) in [
        ("a, z", "unknown_component", "components.c.needs.1", "did you mean `a`?"),
        (
            "a.succes, b",
            "unknown_port",
            "components.c.needs.0",
            "did you mean `a.success`? its ports are `success`, `error`, `timeout`",
        ),
    ] {
        let mistake = refused(place, &three(needs)).await?;
        is_mistake(&mistake, code, path, suggestion)?;
    }
    for (components, path, suggestion) in [
        (
            "a: { type: noop }\nb: { type: group, needs: [a], components: { c: { type: noop, needs: [a] } } }",
            "components.b.components.c.needs.0",
            "let `b` need it: what is inside starts after that",
        ),
        (
            "b: { type: group, components: { c: { type: noop } } }\nd: { type: noop, needs: [c] }",
            "components.d.needs.0",
            "need `b`",
        ),
    ] {
        let mistake = refused(place, &document("", components)).await?;
        is_mistake(&mistake, "need_across_scopes", path, suggestion)?;
    }
    Ok(())
}

async fn w3_cycles_are_refused(place: &Place) -> Result<()> {
    let two = "a: { type: noop, needs: [b] }\nb: { type: noop, needs: [a] }";
    for components in [
        two.to_owned(),
        format!("g: {{ type: group, components: {{ {} }} }}", two.replace('\n', ", ")),
        "a: { type: noop, needs: [a] }".to_owned(),
        "a: { type: noop, needs: [c.error] }\nb: { type: noop, needs: [a] }\nc: { type: noop, needs: [b] }"
            .to_owned(),
    ] {
        let mistake = refused(place, &document("", &components)).await?;
        ensure!(mistake["code"] == "cycle", "{mistake}");
        let suggestion = mistake["suggestion"].as_str().unwrap_or_default();
        ensure!(suggestion.contains("container") || suggestion.contains("remove"), "{mistake}");
    }
    // The loops are containers.
    let case = Case::start(
        place,
        "w: { type: while, config: { condition: iteration < 2 }, components: { a: { @call(a) } } }",
    )
    .await?;
    case.ends("completed").await?;
    ensure!(case.calls() == ["a", "a"], "{:?}", case.calls());
    Ok(())
}

async fn w4_a_body_sees_what_is_upstream_and_nobody_sees_into_it(place: &Place) -> Result<()> {
    let text = |inside: &str, after: &str| {
        format!(
            "before: {{ type: noop, config: {{ value: 7 }} }}
             beside: {{ type: noop }}
             outer: {{ type: group, needs: [before], components: {{ inner: {{ type: foreach, config: {{ items: [1, 2] }}, components: {{ deep: {{ type: noop, config: {{ value: '${{{{ {inside} }}}}' }} }} }} }} }} }}
             after: {{ type: end, needs: [outer], config: {{ output: '${{{{ {after} }}}}' }} }}"
        )
    };
    let seen = text("components.before.output + item", "components.outer.output.inner");
    let case = Case::start(place, &seen).await?;
    let found = case.ends("completed").await?;
    ensure!(found["output"][1]["output"]["deep"] == 9, "{found}");
    for (inside, after, code, path, suggestion) in [
        (
            "components.beside.output",
            "1",
            "not_upstream",
            "components.outer.components.inner.components.deep.config.value",
            "add `beside` to the `needs` of `outer`",
        ),
        (
            "1",
            "components.deep.output",
            "out_of_scope",
            "components.after.config.output",
            "use `components.outer.output`, which holds the outputs of what is inside",
        ),
    ] {
        let mistake = refused(place, &document("", &text(inside, after))).await?;
        is_mistake(&mistake, code, path, suggestion)?;
    }
    Ok(())
}

async fn w5_a_type_may_carry_its_version_and_its_config_is_checked(place: &Place) -> Result<()> {
    let of = |kind: &str| document("", &format!("a: {{ type: {kind}, config: {{ for: 1ms }} }}"));
    ensure!(hash(place, &of("delay")).await? == hash(place, &of("delay@1")).await?, "1 is the newest");
    let mistake = refused(place, &of("delay@2")).await?;
    is_mistake(&mistake, "type_version", "components.a.type", "write `delay@1` or `delay`")?;
    let mistake = refused(place, &of("dealy")).await?;
    is_mistake(&mistake, "unknown_type", "components.a.type", "did you mean `delay`?")?;
    for (component, path) in [
        ("type: delay, config: { four: 1s }", "components.a.config"),
        (
            "type: foreach, config: { items: [1], max_parallel: 0 }, components: { b: { type: noop } }",
            "components.a.config.max_parallel",
        ),
        ("type: log, config: { message: m, level: loud }", "components.a.config.level"),
        ("type: log, config: {}", "components.a.config"),
    ] {
        let mistake = refused(place, &document("", &format!("a: {{ {component} }}"))).await?;
        let keys = mistake["path"].as_array().context("a path")?;
        let found = keys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".");
        ensure!(found.starts_with(path), "it is at {path}: {mistake}");
    }
    Ok(())
}

async fn w6_layout_makes_no_version(place: &Place) -> Result<()> {
    let plain = document("", "a: { type: noop }");
    let placed = |x: u32| format!("{plain}\nlayout: {{ a: [{x}, 20] }}\n");
    let made = place.api.post("/api/v1/workflows", &creation("placed", &plain)).await?.expect(201)?;
    let path = format!("/api/v1/workflows/{}", text(&made, "id")?);
    for x in [10, 80] {
        let moved = place.api.put(&path, &json!({ "definition": placed(x) })).await?.expect(200)?;
        ensure!(moved["version"] == 1 && moved["hash"] == made["hash"], "{moved}");
        ensure!(moved["definition"] == placed(x), "where it lies is kept: {moved}");
    }
    let changed = placed(80).replace("a: { type: noop }", "a: { type: noop, when: 'true' }");
    let changed = place.api.put(&path, &json!({ "definition": changed })).await?.expect(200)?;
    ensure!(changed["version"] == 2 && changed["hash"] != made["hash"], "{changed}");
    Ok(())
}

async fn w7_the_text_is_kept_and_the_checked_snapshot_runs(place: &Place) -> Result<()> {
    let one = document(
        "output: { which: '${{ components.b.output }}' }",
        "w: { @waits }   # somebody says when\nb: { type: noop, needs: [w], config: { value: one } }",
    );
    let made = place.api.post("/api/v1/workflows", &creation("kept", &one)).await?.expect(201)?;
    let (workflow, path) = (text(&made, "id")?, format!("/api/v1/workflows/{}", text(&made, "id")?));
    let kept = place.api.get(&format!("{path}/definition")).await?;
    ensure!(kept.status == 200 && kept.text == one, "letter by letter: {}", kept.text);
    let start = async || {
        let id = place.api.execute(&workflow, &json!({})).await?;
        anyhow::Ok(Case { place, id, label: String::new() })
    };
    let before = start().await?;
    before.shows("w awaiting, b waiting").await?;
    let two = one.replace("value: one", "value: two");
    let changed = place.api.put(&path, &json!({ "definition": two })).await?.expect(200)?;
    ensure!(changed["version"] == 2, "{changed}");
    let after = start().await?;
    for (case, version, which) in [(&before, 1, "one"), (&after, 2, "two")] {
        case.shows("w awaiting").await?;
        case.go().await?;
        let found = case.ends("completed").await?;
        ensure!(found["workflow_version"] == version && found["output"]["which"] == which, "{found}");
    }
    // What is not correct is not saved, not even as a draft.
    let wrong =
        place.api.put(&path, &json!({ "definition": one.replace("type: noop", "type: nop") })).await?;
    wrong.problem(422, "invalid_document")?;
    let kept = place.api.get(&format!("{path}/definition")).await?;
    ensure!(kept.text == two, "{}", kept.text);
    Ok(())
}

async fn w8_there_is_one_canonical_form(place: &Place) -> Result<()> {
    // In the wrong order, in flow style, with comments.
    let written = "\
# Above all.
name: row
components:
  b: { needs: [a.success, c], type: noop }   # the second
  # Before the first.
  a:
    config: { value: [1, 2] }
    type: noop
  c: {type: noop}
workflow: v1
";
    let file = Run::this()?.folder("fmt")?.join("row.yaml");
    let name = file.display().to_string();
    fs::write(&file, written)?;
    let checked = place.apg(&["fmt", "--check", &name]).await?;
    ensure!(checked.code == 1, "it is not in canonical form: {checked:?}");
    ensure!(place.apg(&["fmt", &name]).await?.code == 0, "it can be written anew");
    let formatted = fs::read_to_string(&file)?;
    ensure!(formatted.contains("# the second") && formatted.contains("# Before the first."), "{formatted}");
    ensure!(!formatted.contains('{'), "block style: {formatted}");
    let at = |text: &str| formatted.find(text).with_context(|| format!("no `{text}`: {formatted}"));
    ensure!(at("workflow:")? < at("name:")? && at("name:")? < at("components:")?, "{formatted}");
    ensure!(at("  b:")? < at("  a:")? && at("  a:")? < at("  c:")?, "components as written: {formatted}");
    let b = &formatted[at("  b:")?..at("  a:")?];
    ensure!(b.find("type:") < b.find("needs:"), "{formatted}");
    // Once more changes nothing, and it is the same workflow.
    ensure!(place.apg(&["fmt", "--check", &name]).await?.code == 0, "{formatted}");
    ensure!(hash(place, &formatted).await? == hash(place, written).await?, "{formatted}");
    Ok(())
}

async fn w9_unknown_keys_are_refused_with_the_nearest_known_one(place: &Place) -> Result<()> {
    for (head, component, code, path, suggestion) in [
        ("lables: { team: a }", "type: noop", "unknown_field", "lables", "did you mean `labels`?"),
        ("", "type: noop, need: [b]", "unknown_field", "components.a.need", "did you mean `needs`?"),
        (
            "",
            "type: noop, retry: { max_attempt: 3 }",
            "unknown_field",
            "components.a.retry.max_attempt",
            "did you mean `max_attempts`?",
        ),
        (
            "",
            "type: noop, worker: { tag: [x] }",
            "unknown_field",
            "components.a.worker.tag",
            "did you mean `tags`?",
        ),
        (
            "parameters: { n: { type: integer, defualt: 1 } }",
            "type: noop",
            "unknown_field",
            "parameters.n.defualt",
            "did you mean `default`?",
        ),
    ] {
        let mistake = refused(place, &document(head, &format!("a: {{ {component} }}"))).await?;
        is_mistake(&mistake, code, path, suggestion)?;
    }
    let mistake =
        refused(place, &document("", "a: { type: log, config: { message: m, levle: info } }")).await?;
    ensure!(mistake["suggestion"].as_str().is_some_and(|text| text.contains("level")), "{mistake}");
    // Editors get the schema.
    let served = place.api.get("/api/v1/schemas/workflow.json").await?;
    ensure!(served.header("content-type").contains("json"), "{:?}", served.headers);
    let schema = served.expect(200)?;
    ensure!(schema["additionalProperties"] == false, "unknown keys are wrong there, too: {schema:.300}");
    for field in ["workflow", "name", "parameters", "components", "finally", "output", "layout"] {
        ensure!(schema["properties"][field].is_object(), "the schema knows `{field}`");
    }
    Ok(())
}
