//! What is generated, and where it lies.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{commands, component_pages};

/// A folder in which every file is generated.
const WHOLLY_GENERATED: &[&str] = &["docs/reference/components"];

/// Every generated file with its text.
fn files() -> Vec<(PathBuf, String)> {
    let catalogue = components::catalogue();
    let mut files = vec![
        ("config/config.example.yaml".into(), cli::settings::example()),
        ("config/config.schema.json".into(), pretty(&cli::settings::schema())),
        ("docs/reference/config.md".into(), cli::settings::reference()),
        ("docs/reference/cli.md".into(), commands::page(cli::commands::command())),
        ("docs/reference/openapi.json".into(), pretty(&api::openapi())),
        ("docs/reference/workflow.schema.json".into(), pretty(&shared::workflow::json_schema(&catalogue))),
        ("docs/reference/workflow-test.schema.json".into(), pretty(&shared::workflow::cases::test_schema())),
        ("docs/reference/components.json".into(), pretty(&component_pages::palette(&catalogue))),
        ("docs/reference/components/README.md".into(), component_pages::index(&catalogue)),
    ];
    for descriptor in catalogue.iter() {
        let path = format!("docs/reference/components/{}.md", descriptor.kind);
        files.push((path.into(), component_pages::page(descriptor)));
    }
    files
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Writes the files, or only says which differ. `false` when `check` found a difference.
pub(crate) fn run(root: &Path, check: bool) -> Result<bool> {
    let files = files();
    let mut differing = Vec::new();
    for (path, text) in &files {
        let full = root.join(path);
        let mut text = text.trim_end().to_owned();
        text.push('\n');
        if fs::read_to_string(&full).is_ok_and(|there| there == text) {
            continue;
        }
        differing.push(path.display().to_string());
        if !check {
            if let Some(folder) = full.parent() {
                fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            }
            fs::write(&full, text).with_context(|| format!("{} cannot be written", full.display()))?;
        }
    }
    let known: BTreeSet<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    for folder in WHOLLY_GENERATED {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = Path::new(folder).join(entry?.file_name());
            if !known.contains(&path) {
                differing.push(format!("{} (generated no more)", path.display()));
                if !check {
                    fs::remove_file(root.join(&path))?;
                }
            }
        }
    }
    if differing.is_empty() {
        eprintln!("{} generated files are up to date", files.len());
        return Ok(true);
    }
    for path in &differing {
        eprintln!("{} {path}", if check { "differs:" } else { "wrote" });
    }
    if check {
        eprintln!("\nRun `cargo xtask generate` and commit what it changes");
    }
    Ok(!check)
}
