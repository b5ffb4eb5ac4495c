//! `apg test`: the cases of test files, without a server.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use shared::workflow::cases::{self, TestText};

use crate::{
    Exit,
    cases::{Outcome, Pure, Subject, actual, differences, junit, simulate},
    documents::{self, WrongDocument},
    output::{self, Format},
};

/// How the name of a test file ends.
const ENDINGS: [&str; 3] = [".test.yaml", ".test.yml", ".test.json"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Test files, and folders in which every `*.test.yaml` is meant.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// Only cases whose name holds this text; `*` stands for anything.
    #[arg(long, value_name = "PATTERN")]
    case: Option<String>,
    /// Writes what came in place of what was expected.
    #[arg(long)]
    update: bool,
    /// Also writes the outcome to this file as JUnit XML, for build servers.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How the outcome is written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn is_test(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

/// The test files that are meant, each once, in order.
fn find(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            let mut folders = vec![path.clone()];
            while let Some(folder) = folders.pop() {
                let entries = std::fs::read_dir(&folder)
                    .with_context(|| format!("{} cannot be read", folder.display()))?;
                for entry in entries {
                    let entry = entry.with_context(|| format!("{} cannot be read", folder.display()))?;
                    let kind = entry
                        .file_type()
                        .with_context(|| format!("{} cannot be read", entry.path().display()))?;
                    let hidden = entry.file_name().to_string_lossy().starts_with('.');
                    if kind.is_dir() && !hidden {
                        folders.push(entry.path());
                    } else if kind.is_file() && is_test(&entry.path()) {
                        found.insert(entry.path());
                    }
                }
            }
            if found.len() == before {
                bail!("{} holds no file that ends in `.test.yaml`", path.display());
            }
        } else {
            found.insert(path.clone());
        }
    }
    Ok(found)
}

/// Whether a name holds the pattern, whose stars stand for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A test file with the workflow it is about.
struct Loaded {
    name: String,
    text: String,
    tests: TestText,
    subject: Subject,
}

fn load(path: &Path) -> Result<Loaded> {
    let (name, text) = documents::text(path)?;
    let tests =
        cases::read_tests(&text).map_err(|problems| WrongDocument { problems: problems.named(&name) })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let document = match &tests.file.workflow {
        Some(file) => folder.join(file),
        None => {
            let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
            match stem {
                Some(stem) => PathBuf::from(format!("{stem}.yaml")),
                None => bail!(
                    "{name}: name the workflow's file with `workflow:`, or call this file `<workflow>.test.yaml`"
                ),
            }
        }
    };
    let workflow = |file: &Path| -> Result<_> {
        let (name, text) = documents::text(file)?;
        Ok(documents::read(&name, &text)?.workflow)
    };
    let subject = Subject {
        workflow: workflow(&document).with_context(|| format!("the workflow of {name}"))?,
        called: tests.file.with.iter().map(|file| workflow(&folder.join(file))).collect::<Result<_>>()?,
    };
    tests
        .check(&subject.workflow, &|called| subject.find(called))
        .map_err(|problems| WrongDocument { problems: problems.named(&name) })?;
    Ok(Loaded { name, text, tests, subject })
}

/// Shows why a file cannot be used; everything but a mistake in it is an error of its own.
fn wrong(error: &anyhow::Error) {
    match error.chain().find_map(|cause| cause.downcast_ref::<WrongDocument>()) {
        Some(document) => output::say(document),
        None => output::say(format_args!("error: {error:#}")),
    }
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let begun = Instant::now();
    let files = match find(&args.paths) {
        Ok(files) => files,
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            return Ok(Exit::Wrong);
        }
    };
    let mut loaded = Vec::new();
    let mut is_wrong = false;
    for path in &files {
        match load(path) {
            Ok(file) => loaded.push((path, file)),
            Err(error) => {
                is_wrong = true;
                wrong(&error);
            }
        }
    }
    if is_wrong {
        return Ok(Exit::Wrong);
    }
    let pure = Pure::new()?;
    let (mut passed, mut failed, mut updated) = (0_usize, 0_usize, 0_usize);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (path, file) in &loaded {
        let mut changes = Vec::new();
        for (index, case) in file.tests.file.cases.iter().enumerate() {
            if args.case.as_ref().is_some_and(|pattern| !matches(pattern, &case.name)) {
                continue;
            }
            let started = Instant::now();
            let simulated = simulate(&file.subject, &file.tests.file, case, &pure);
            let differences = differences(&case.expect, &simulated);
            let is_right = differences.is_empty();
            if args.output == Format::Text {
                let mark = if is_right { "passed" } else { "failed" };
                output::say(format_args!("{mark}  {}: {}", file.name, case.name));
                for difference in &differences {
                    output::say(format_args!("    {}", difference.to_string().replace('\n', "\n    ")));
                }
            }
            let is_updated = !is_right && args.update && simulated.stuck.is_empty();
            if is_right {
                passed += 1;
            } else if is_updated {
                changes.push((index, actual(&case.expect, &simulated)));
            } else {
                failed += 1;
            }
            outcomes.push(Outcome {
                file: file.name.clone(),
                case: case.name.clone(),
                elapsed: simulated.elapsed,
                took: started.elapsed(),
                differences,
                is_updated,
            });
        }
        if !changes.is_empty() {
            updated += changes.len();
            update(path, file, &changes)?;
        }
    }
    let count = passed + failed + updated;
    if count == 0 {
        let pattern = args.case.as_deref().unwrap_or_default();
        output::say(format_args!("error: no case is called like `{pattern}`"));
        return Ok(Exit::Wrong);
    }
    if let Some(path) = &args.junit {
        let text = junit(&outcomes)?;
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if args.output == Format::Json {
        let cases: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
        output::json(&json!({ "passed": passed, "failed": failed, "updated": updated, "cases": cases }));
    } else {
        let time = output::duration(begun.elapsed().as_millis() as u64);
        let more = if updated > 0 { format!(", {updated} updated") } else { String::new() };
        output::say(format_args!("{passed} of {count} cases passed{more} in {time}"));
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::Failed })
}

/// Writes expectations anew where they stand; everything else of the file stays as it is.
fn update(path: &Path, file: &Loaded, changes: &[(usize, cases::Expect)]) -> Result<()> {
    let mut lines: Vec<String> = file.text.lines().map(ToOwned::to_owned).collect();
    for (index, expect) in changes.iter().rev() {
        let Some((first, last, column)) = file.tests.expect_lines(*index) else {
            bail!(
                "{}: the case `{}` stands in one line; write it with one key a line to have it updated",
                file.name,
                file.tests.file.cases[*index].name
            );
        };
        let before: String = lines[first as usize - 1].chars().take(column as usize - 1).collect();
        let indentation = " ".repeat(column as usize - 1);
        let body = serde_saphyr::to_string(expect).context("the expectations cannot be written")?;
        let mut text = format!("{before}expect:");
        for line in body.lines() {
            let _ = write!(text, "\n{indentation}  {line}");
        }
        lines.splice(first as usize - 1..last as usize, [text]);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_of_a_name() {
        assert!(matches("large", "a large order") && matches("a*order", "a large order"));
        assert!(!matches("order*large", "a large order"));
    }

    #[test]
    fn a_test_file_has_a_name_before_its_ending() {
        assert!(is_test(Path::new("x/order.test.yaml")) && !is_test(Path::new("order.yaml")));
        assert!(!is_test(Path::new(".test.yaml")));
    }
}
