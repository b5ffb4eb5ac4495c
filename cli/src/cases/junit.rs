//! The outcome of test files as JUnit XML, which build servers read.

use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::Difference;

/// How one case went.
pub(crate) struct Outcome {
    pub(crate) file: String,
    pub(crate) case: String,
    /// The time that passed in the case, with its waits and pauses.
    pub(crate) elapsed: Duration,
    /// The time that running it took.
    pub(crate) took: Duration,
    pub(crate) differences: Vec<Difference>,
    /// Whether what came was written in place of what was expected.
    pub(crate) is_updated: bool,
}

impl Outcome {
    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "file": self.file, "case": self.case, "passed": self.differences.is_empty(),
            "differences": self.differences, "elapsed_ms": self.elapsed.as_millis() as u64,
        })
    }
}

/// One suite for each file, in the order in which they come; a case fails with its differences. A case whose
/// expectations were written anew has passed.
pub(crate) fn junit(outcomes: &[Outcome]) -> Result<String> {
    let mut report = Report::new("apg test");
    for file in outcomes.chunk_by(|one, next| one.file == next.file) {
        let name = file.first().map(|outcome| outcome.file.as_str()).unwrap_or_default();
        let mut suite = TestSuite::new(name);
        suite.set_time(file.iter().map(|outcome| outcome.took).sum());
        for outcome in file {
            let mut status = TestCaseStatus::success();
            if !outcome.differences.is_empty() && !outcome.is_updated {
                let lines: Vec<String> = outcome.differences.iter().map(ToString::to_string).collect();
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(match lines.len() {
                    1 => "1 difference".to_owned(),
                    count => format!("{count} differences"),
                });
                status.set_type("difference").set_description(lines.join("\n"));
            }
            let mut case = TestCase::new(outcome.case.as_str(), status);
            case.set_classname(name).set_time(outcome.took);
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string().context("the outcome cannot be written as XML")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(file: &str, case: &str, differences: &[(&str, &str, &str)]) -> Outcome {
        let difference = |(path, expected, actual): &(&str, &str, &str)| Difference {
            path: (*path).to_owned(),
            expected: (*expected).to_owned(),
            actual: (*actual).to_owned(),
        };
        Outcome {
            file: file.to_owned(),
            case: case.to_owned(),
            elapsed: Duration::from_hours(48),
            took: Duration::from_millis(20),
            differences: differences.iter().map(difference).collect(),
            is_updated: false,
        }
    }

    #[test]
    fn it_reads_back_as_it_was() {
        let different = [("output", "\"<a> & \u{7}b\"", "nothing"), ("status", "completed", "failed")];
        let updated = Outcome { is_updated: true, ..outcome("b.test.yaml", "third", &different) };
        let outcomes = [
            outcome("a.test.yaml", "first \"quoted\"", &[]),
            outcome("a.test.yaml", "second", &different),
            updated,
        ];
        let text = junit(&outcomes).expect("XML");
        let read = Report::deserialize_from_str(&text).expect("its own XML");
        let counts: Vec<_> = read
            .test_suites
            .iter()
            .map(|suite| (suite.name.as_str().to_owned(), suite.test_cases.len(), suite.failures))
            .collect();
        assert_eq!(counts, [("a.test.yaml".to_owned(), 2, 1), ("b.test.yaml".to_owned(), 1, 0)]);
        assert_eq!((read.tests, read.failures), (3, 1));
        let first = &read.test_suites[0].test_cases[0];
        assert_eq!(first.name.as_str(), "first \"quoted\"");
        assert_eq!(first.time, Some(Duration::from_millis(20)));
        let TestCaseStatus::NonSuccess { message, description, .. } =
            &read.test_suites[0].test_cases[1].status
        else {
            panic!("the second failed: {text}")
        };
        assert_eq!(message.as_ref().map(quick_junit::XmlString::as_str), Some("2 differences"));
        let description = description.as_ref().map(quick_junit::XmlString::as_str).unwrap_or_default();
        assert!(description.contains("\"<a> & b\"") && description.contains("status"), "{description}");
    }
}
