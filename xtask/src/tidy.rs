//! The rules of the house that no lint knows. All breaches are reported together.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Which of our crates each may name. Everything else is a failed build.
const EDGES: &[(&str, &[&str])] = &[
    ("shared", &[]),
    ("store", &["shared"]),
    ("queue", &["shared"]),
    ("progress", &["shared"]),
    ("coordinator", &["shared"]),
    ("worker", &["shared"]),
    ("components", &["shared"]),
    ("api", &["shared"]),
    ("chaos", &["shared"]),
    ("cli", &["shared", "store", "queue", "progress", "coordinator", "worker", "components", "api", "chaos"]),
    ("tests", &["shared", "chaos", "cli"]),
    // It fills a store with what took months, past the API.
    ("loadtest", &["shared", "store"]),
    ("xtask", &["shared", "store", "queue", "progress", "coordinator", "worker", "components", "api", "cli"]),
];

/// Which of our crates may name an outside crate. Those that are not listed belong to everyone.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "components"]),
    ("flate2", &["store"]),
    ("lapin", &["queue"]),
    ("redis", &["progress"]),
    // `cli` serves what `api::operations_router` gives.
    ("axum", &["api", "chaos", "cli", "loadtest"]),
    ("utoipa", &["api"]),
    ("yrs", &["api", "tests"]),
    ("prometheus", &["api"]),
    ("clap", &["cli", "loadtest", "xtask"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli", "loadtest"]),
    ("anyhow", &["chaos", "cli", "loadtest", "tests", "xtask"]),
    ("minijinja", &["shared"]),
    ("backoff", &["shared"]),
    ("tracing-subscriber", &["cli", "loadtest"]),
];

/// The top-level modules of `shared`; another needs a page in docs/decisions and a line here.
const SHARED_MODULES: &[&str] = &[
    "component",
    "execution",
    "expression",
    "ids",
    "port",
    "retry",
    "schedule",
    "testing",
    "time",
    "wire",
    "workflow",
];

/// The largest file that is kept, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Checks every rule. `false` when one is broken.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let mut breaches = Vec::new();
    let metadata = metadata(root)?;
    edges(&metadata, &mut breaches);
    owners(&metadata, &mut breaches);
    shared_modules(root, &mut breaches)?;
    let files = kept_files(root)?;
    contents(root, &files, &mut breaches);
    crate_docs(root, &metadata, &mut breaches);
    error_pages(&files, &mut breaches);
    for breach in &breaches {
        eprintln!("error: {breach}");
    }
    if breaches.is_empty() {
        eprintln!("The house is tidy: {} files, {} crates", files.len(), packages(&metadata).len());
    } else {
        eprintln!("\n{} rules are broken; see `xtask/src/tidy.rs`", breaches.len());
    }
    Ok(breaches.is_empty())
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cargo cannot be run")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

fn packages(metadata: &Value) -> Vec<&Value> {
    metadata.get("packages").and_then(Value::as_array).into_iter().flatten().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The dependencies of a crate that end up in what it is; those of its tests may be others.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    package
        .get("dependencies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|dependency| dependency.get("kind").is_none_or(Value::is_null))
        .map(|dependency| text(dependency, "name"))
}

fn edges(metadata: &Value, breaches: &mut Vec<String>) {
    let ours: BTreeSet<&str> = packages(metadata).into_iter().map(|package| text(package, "name")).collect();
    for package in packages(metadata) {
        let name = text(package, "name");
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
            breaches.push(format!("the crate `{name}` has no line in EDGES"));
            continue;
        };
        for dependency in dependencies(package).filter(|dependency| ours.contains(dependency)) {
            if !allowed.contains(&dependency) {
                breaches.push(format!(
                    "`{name}` names `{dependency}`; it may name {}. Crates beside each other meet in a port of `shared`",
                    if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") }
                ));
            }
        }
    }
}

fn owners(metadata: &Value, breaches: &mut Vec<String>) {
    for package in packages(metadata) {
        let name = text(package, "name");
        for dependency in dependencies(package) {
            if let Some((_, owners)) = OWNERS.iter().find(|(outside, _)| *outside == dependency)
                && !owners.contains(&name)
            {
                breaches
                    .push(format!("`{name}` names `{dependency}`, which belongs to {}", owners.join(", ")));
            }
        }
    }
}

fn shared_modules(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let text =
        fs::read_to_string(root.join("shared/src/lib.rs")).context("shared/src/lib.rs cannot be read")?;
    for line in text.lines() {
        let Some(name) = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ")
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        else {
            continue;
        };
        if !SHARED_MODULES.contains(&name) {
            breaches.push(format!(
                "`shared` has a new module `{name}`; write docs/decisions/ a page why, and list it in SHARED_MODULES"
            ));
        }
    }
    Ok(())
}

/// What git keeps, or would.
fn kept_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git cannot be run")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut files: Vec<PathBuf> =
        names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    files.dedup();
    Ok(files)
}

fn contents(root: &Path, files: &[PathBuf], breaches: &mut Vec<String>) {
    for file in files {
        let full = root.join(file);
        // A file that was removed and not yet committed as such.
        let Ok(size) = fs::metadata(&full).map(|meta| meta.len()) else { continue };
        if size > LARGEST {
            breaches.push(format!("{} is larger than 1 MiB", file.display()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&full) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(path) = MACHINE_PATHS.iter().find(|path| holds_path(line, path)) {
                breaches.push(format!(
                    "{}:{} names a path of one machine (`{path}…`)",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
}

/// Whether a path that begins so stands in the line by itself, and not inside a longer path or a URL.
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "_-./}~$*".contains(c)))
    })
}

fn crate_docs(root: &Path, metadata: &Value, breaches: &mut Vec<String>) {
    for package in packages(metadata) {
        let name = text(package, "name");
        let sources = root.join(name).join("src");
        for file in ["lib.rs", "main.rs"] {
            if let Ok(text) = fs::read_to_string(sources.join(file))
                && !text.starts_with("//!")
            {
                breaches.push(format!(
                    "{name}/src/{file} does not open with `//!`: what it is for, and what not"
                ));
            }
        }
    }
}

/// Every code of a problem has a page, and every page a code.
fn error_pages(files: &[PathBuf], breaches: &mut Vec<String>) {
    let pages: BTreeSet<String> = files
        .iter()
        .filter(|file| {
            file.starts_with("docs/errors") && file.extension().is_some_and(|ending| ending == "md")
        })
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let codes: BTreeSet<String> = api::Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    for code in codes.difference(&pages) {
        breaches.push(format!("the error code `{code}` has no page docs/errors/{code}.md"));
    }
    for page in pages.difference(&codes) {
        breaches.push(format!("docs/errors/{page}.md describes a code that nothing answers with"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[&str]) -> Value {
        let list: Vec<Value> =
            dependencies.iter().map(|name| json!({ "name": name, "kind": null })).collect();
        json!({ "name": name, "dependencies": list })
    }

    #[test]
    fn sideways_edges_and_borrowed_crates_are_found() {
        let metadata = json!({ "packages": [
            package("shared", &["serde"]),
            package("worker", &["shared", "store", "lapin"]),
            package("store", &["shared", "sqlx"]),
        ] });
        let mut breaches = Vec::new();
        edges(&metadata, &mut breaches);
        owners(&metadata, &mut breaches);
        assert_eq!(breaches.len(), 2, "{breaches:?}");
        assert!(breaches[0].contains("`worker` names `store`"));
        assert!(breaches[1].contains("`worker` names `lapin`"));
    }

    #[test]
    fn a_machine_path_is_told_from_a_url() {
        let home = MACHINE_PATHS[0];
        assert!(holds_path(&format!("see {home}me/x"), home));
        assert!(!holds_path(&format!("https://example.com{home}x"), home));
    }
}
