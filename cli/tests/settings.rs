//! What people see of a configuration: every mistake of a bad one, the effect of a good one.

use std::{fmt::Write as _, fs, path::Path};

use cli::settings::{Loaded, Mistakes, Sources, example, keys, load, print, schema};

/// Reads a file whose first comments give the environment (`# env:`) and the flags (`# set:`).
fn loaded(path: &Path) -> Result<Loaded, Mistakes> {
    let text = fs::read_to_string(path).expect("a file of the corpus");
    let mut sources = Sources::default();
    for line in text.lines() {
        if let Some((name, value)) = line.strip_prefix("# env: ").and_then(|rest| rest.split_once('=')) {
            sources.environment.insert(name.to_owned(), value.to_owned());
        } else if let Some(text) = line.strip_prefix("# set: ") {
            sources.flags.push(("--set".to_owned(), text.to_owned()));
        }
    }
    sources.file = Some(("config/config.yaml".to_owned(), text));
    load(&sources)
}

fn corpus(name: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn every_mistake_is_reported_with_its_origin() {
    for path in corpus("bad") {
        let mistakes = loaded(&path).expect_err("a bad configuration");
        assert!(!mistakes.to_string().contains("hunter2"), "{} shows a secret", path.display());
        insta::assert_snapshot!(format!("bad_{}", stem(&path)), mistakes.to_string());
    }
}

#[test]
fn layers_lie_on_each_other() {
    for path in corpus("good") {
        let loaded = loaded(&path).unwrap_or_else(|mistakes| panic!("{}: {mistakes}", path.display()));
        let mut shown = print(&loaded, true);
        for warning in &loaded.warnings {
            let _ = write!(shown, "\n{}", warning.warning());
        }
        assert!(!shown.contains("hunter2"), "{} shows a secret", path.display());
        assert!(!format!("{:?}", loaded.settings).contains("hunter2"), "debug output shows a secret");
        insta::assert_snapshot!(format!("good_{}", stem(&path)), shown);
    }
}

#[test]
fn the_example_is_the_defaults() {
    let sources = Sources { file: Some(("example".to_owned(), example())), ..Sources::default() };
    let from_example = load(&sources).expect("the example is right");
    let defaults = load(&Sources::default()).expect("the defaults are right");
    assert_eq!(print(&from_example, false), print(&defaults, false));
}

#[test]
fn every_setting_is_documented() {
    for key in keys() {
        assert!(key.doc.ends_with('.') || key.doc.ends_with(')'), "{} has no sentence", key.path);
    }
    assert!(schema()["properties"]["engine"].is_object());
}

#[test]
fn every_variable_names_a_setting() {
    let keys = keys();
    for variable in cli::settings::VARIABLES {
        if let cli::settings::Effect::Sets(path) = variable.effect {
            assert!(keys.iter().any(|key| key.path == path && !key.is_section), "{}", variable.name);
        }
    }
}
