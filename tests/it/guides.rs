//! Every workflow document in `docs/guides` is saved, and those that say what comes out are executed.
//!
//! A comment over a document says so: `<!-- output: JSON -->` or `<!-- status: failed -->`. A document that others
//! call by name has `<!-- name: add-one -->`.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{client::text, place::Place, unique_name, workspace};

both_shapes!(the_documents_of_the_guides_do_what_the_guides_say,);

/// One document of a guide.
struct Example {
    /// The guide and the line.
    place: String,
    text: String,
    /// What the comment over it says: a word and the rest.
    expects: Option<(String, String)>,
}

fn examples(guide: &str, text: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut expects = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            expects = comment.split_once(": ").map(|(word, rest)| (word.to_owned(), rest.to_owned()));
        } else if line.trim_start() == "```yaml" {
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```").collect();
            let text = inside.join("\n");
            let expects = expects.take();
            if text.starts_with("workflow: v1") {
                found.push(Example { place: format!("{guide}:{}", number + 1), text, expects });
            }
        } else if !line.is_empty() {
            expects = None;
        }
    }
    found
}

async fn the_documents_of_the_guides_do_what_the_guides_say(place: &Place) -> Result<()> {
    let mut executed = 0;
    let mut guides: Vec<_> =
        std::fs::read_dir(workspace().join("docs/guides"))?.collect::<std::io::Result<_>>()?;
    guides.sort_by_key(std::fs::DirEntry::path);
    for guide in guides {
        let name = guide.file_name().to_string_lossy().into_owned();
        let guide_text = std::fs::read_to_string(guide.path())?;
        let mut named: Vec<(String, String)> = Vec::new();
        for example in examples(&name, &guide_text) {
            let mut document = example.text.clone();
            for (name, own) in &named {
                document = document.replace(&format!("workflow: {name}"), &format!("workflow: {own}"));
            }
            let own = unique_name("guide");
            // What starts itself would go on starting after the test: those documents have a test of their own.
            let starts_itself = document.contains("\ntriggers:");
            if starts_itself {
                let checked =
                    place.api.post("/api/v1/workflows/validate", &json!({ "definition": document })).await?;
                let checked = checked.expect(200)?;
                ensure!(checked["valid"] == true, "{}: {checked}", example.place);
                continue;
            }
            let answer =
                place.api.post("/api/v1/workflows", &json!({ "name": own, "definition": document })).await?;
            let saved = answer.expect(201).with_context(|| example.place.clone())?;
            let Some((word, rest)) = example.expects else { continue };
            if word == "name" {
                named.push((rest, own));
                continue;
            }
            let id = place.api.execute(&text(&saved, "id")?, &json!({})).await?;
            let ended = place.api.ended(&id).await?;
            executed += 1;
            match word.as_str() {
                "output" => {
                    let expected: Value =
                        serde_json::from_str(&rest).with_context(|| example.place.clone())?;
                    ensure!(
                        ended["status"] == "completed" && ended["output"] == expected,
                        "{}: {ended}",
                        example.place
                    );
                }
                "status" => ensure!(ended["status"] == rest.as_str(), "{}: {ended}", example.place),
                other => anyhow::bail!("{}: `{other}` says nothing", example.place),
            }
        }
    }
    ensure!(executed >= 10, "only {executed} documents were executed");
    Ok(())
}
