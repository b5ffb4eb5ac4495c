//! A run from its first submission to its report.

use std::{fmt::Write as _, pin::pin, time::Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, stream::FuturesUnordered};
use serde::Serialize;
use serde_json::Value;

use crate::{
    checks::{self, Recovery, Spread, Tally},
    faults::{Fault, Injected},
    field::Field,
    plan::{Planned, Shape},
    random::Random,
    workload::{Load, Workload},
};

/// What `apg audit` said.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Audited {
    pub executions: u64,
    pub findings: Vec<Value>,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Audited {
    /// Reads the answer of `apg audit --output json`.
    pub fn read(code: i32, out: &str, err: &str) -> Self {
        let failure = || Some(format!("`apg audit` ended with status {code}: {}", err.trim_end()));
        let Ok(found) = serde_json::from_str::<Value>(out) else {
            return Self { failure: failure(), ..Self::default() };
        };
        let findings = found["findings"].as_array().cloned().unwrap_or_default();
        let failure = if code != 0 && findings.is_empty() { failure() } else { None };
        Self { executions: found["checked"]["executions"].as_u64().unwrap_or(0), findings, failure }
    }

    /// Whether it found nothing, and saw at least this many executions.
    pub fn is_clean(&self, executions: usize) -> bool {
        self.failure.is_none() && self.findings.is_empty() && self.executions >= executions as u64
    }
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything came of it that was promised.
    pub is_sound: bool,
    /// What a run is repeated with.
    pub seed: u64,
    pub shape: Shape,
    /// Processes of each role.
    pub processes: String,
    pub took_seconds: f64,
    pub faults: usize,
    #[serde(flatten)]
    pub tally: Tally,
    /// From the last fault to the end of the last execution.
    pub drained_seconds: f64,
    /// A new execution after all that, from its submission to its end.
    pub fresh_seconds: Option<f64>,
    /// By kind of fault, with all together as `all`.
    pub recovery: Vec<Recovery>,
    pub audit: Audited,
    /// Ends of processes that no fault asked for, each in a sentence.
    pub ended_by_themselves: Vec<String>,
}

/// A run.
#[derive(Debug)]
pub struct Order {
    /// A word that no other run on these services has.
    pub label: String,
    pub shape: Shape,
    pub processes: String,
    pub load: Load,
    pub faults: Vec<Planned>,
}

/// Lets the load run while the faults happen, and looks at what came of it. The audit is the caller's: it is asked
/// for when every process has ended.
///
/// `say` is told of each fault, and at which number of accepted executions.
///
/// # Errors
/// When there is nothing to look at: no API answers, or no workflow can be kept.
pub async fn run(
    field: &Field,
    order: &Order,
    say: &(dyn Fn(usize, &str) + Sync),
    audit: impl AsyncFnOnce() -> Result<Audited>,
) -> Result<Report> {
    let begun = Instant::now();
    field.is_ready().await?;
    let mut workload = Workload::begin(&field.apis(), &order.label, order.load.clone()).await?;
    let portion = order.load.executions.div_ceil(order.faults.len().max(1));
    let (mut injected, mut failures) = (Vec::new(), Vec::new());
    {
        let (workload, mut under_way) = (&workload, FuturesUnordered::new());
        let mut note = |fault: Fault, done: Result<Injected>| match done {
            Ok(one) => {
                say(workload.accepted(), &one.to_string());
                injected.push(one);
            }
            Err(error) => failures.push(format!("the fault `{fault}`: {error:#}")),
        };
        // A fault may last beyond the beginning of the next one.
        for Planned { fault, seed, pause } in &order.faults {
            // New work with every fault, so that each meets some under way.
            workload.allow(portion);
            under_way.push(async move {
                let done = async {
                    workload.is_under_way().await?;
                    field.inject(*fault, &mut Random::new(*seed)).await
                };
                (*fault, done.await)
            });
            let mut pause = pin!(tokio::time::sleep(*pause));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some((fault, done)) = under_way.next() => note(fault, done),
                }
            }
        }
        while let Some((fault, done)) = under_way.next().await {
            note(fault, done);
        }
    }
    workload.allow(order.load.executions);
    let history = workload.end().await?;
    let base = field.apis().into_iter().next().context("none of the processes has an API")?;
    let mut tally = checks::look(&base, &order.load.api_key, &history).await?;
    tally.findings.extend(failures);
    let hollow = checks::hollowness(&history, &tally, injected.len(), order.faults.len());
    tally.findings.extend(hollow);
    let fresh_seconds = match workload.fresh().await {
        Ok(took) => Some(took.as_secs_f64()),
        Err(error) => {
            tally.find(format!("a new execution after the faults: {error:#}"));
            None
        }
    };
    let took_seconds = begun.elapsed().as_secs_f64();
    let ended_by_themselves = field.surprises();
    if let Err(error) = field.stop().await {
        tally.find(format!("{error:#}"));
    }
    let audit = audit()
        .await
        .unwrap_or_else(|error| Audited { failure: Some(format!("{error:#}")), ..Audited::default() });
    Ok(Report {
        is_sound: tally.is_sound() && audit.is_clean(tally.accepted),
        seed: order.load.seed,
        shape: order.shape,
        processes: order.processes.clone(),
        took_seconds,
        faults: injected.len(),
        drained_seconds: tally.drained.as_secs_f64(),
        fresh_seconds,
        recovery: checks::recovery(&injected, &history.effects, &tally.turns),
        tally,
        audit,
        ended_by_themselves,
    })
}

impl Report {
    /// Its figures, in the order in which they are shown: what, and how many.
    fn figures(&self) -> Vec<(&'static str, String)> {
        let Tally { attempted, accepted, .. } = &self.tally;
        let tally = &self.tally;
        let audit = match &self.audit.failure {
            Some(failure) => failure.clone(),
            None => format!("{} executions, {} findings", self.audit.executions, self.audit.findings.len()),
        };
        vec![
            ("accepted", format!("{accepted} of {attempted}")),
            ("completed", tally.completed.to_string()),
            ("failed as planned", tally.failed_as_planned.to_string()),
            ("cancelled as planned", tally.cancelled_as_planned.to_string()),
            ("failed after three lost workers", tally.poisoned.to_string()),
            ("lost", tally.lost.to_string()),
            ("doubled", tally.doubled.to_string()),
            ("stuck", tally.stuck.to_string()),
            ("ended otherwise than planned", tally.unexpected.to_string()),
            ("effects, and those repeated with a cause", format!("{}, {}", tally.effects, tally.repeated)),
            ("attempts lost with their worker", tally.lost_attempts.to_string()),
            ("outcomes a person had to say", tally.outcome_unknown.to_string()),
            ("faults", self.faults.to_string()),
            ("processes that ended by themselves", self.ended_by_themselves.len().to_string()),
            ("audit", audit),
            ("all had ended after the last fault", format!("{:.1} s", self.drained_seconds)),
            ("a new execution then took", self.fresh_seconds.map_or("-".to_owned(), |s| format!("{s:.1} s"))),
            ("the whole took", format!("{:.0} s", self.took_seconds)),
        ]
    }

    /// The table of figures, and the one of faults: headings and rows of each.
    pub fn tables(&self) -> [(Vec<&'static str>, Vec<Vec<String>>); 2] {
        let figures = self.figures().into_iter().map(|(what, count)| vec![what.to_owned(), count]).collect();
        let spread = |spread: &Spread| match spread.count {
            0 => "-".to_owned(),
            _ => format!("{:.1} / {:.1} / {:.1}", spread.p50, spread.p99, spread.max),
        };
        let recovery = self.recovery.iter().map(|one| {
            let Recovery { fault, count, lasted, next_effect, next_turn } = one;
            vec![fault.clone(), count.to_string(), spread(lasted), spread(next_effect), spread(next_turn)]
        });
        [
            (vec!["WHAT", "FIGURE"], figures),
            (
                vec!["FAULT", "COUNT", "IT LASTED", "NEXT EFFECT", "NEXT TURN OF WHAT WAS OPEN"],
                recovery.collect(),
            ),
        ]
    }

    /// The verdict in one sentence.
    pub fn verdict(&self) -> String {
        if self.is_sound {
            return "Nothing was lost, doubled or stuck, and the audit is clean.".to_owned();
        }
        let Tally { lost, doubled, stuck, unexpected, findings, .. } = &self.tally;
        format!(
            "A promise was broken: {lost} lost, {doubled} doubled, {stuck} stuck, {unexpected} ended otherwise than              planned, {} findings, {} of the audit.",
            findings.len(),
            self.audit.findings.len() + usize::from(self.audit.failure.is_some())
        )
    }

    /// What broke a promise, in sentences, those of the audit last.
    pub fn breaches(&self) -> Vec<String> {
        let of_audit = self.audit.findings.iter().map(|finding| format!("audit: {finding}"));
        let mut all: Vec<String> = checks::shown(&self.tally.findings).to_vec();
        all.extend(checks::shown(&of_audit.collect::<Vec<_>>()).iter().cloned());
        all.extend(self.audit.failure.clone());
        all
    }

    /// The report for people, as Markdown.
    pub fn markdown(&self, command: &str) -> String {
        let mut out = format!(
            "# Executions under faults\n\n```sh\n{command}\n```\n\n**{}** Seed {}; {}.\n",
            self.verdict(),
            self.seed,
            self.processes
        );
        for (headings, rows) in self.tables() {
            let _ = write!(
                out,
                "\n| {} |\n|{}\n",
                headings.join(" | ").to_lowercase(),
                " --- |".repeat(headings.len())
            );
            for row in rows {
                let _ = writeln!(out, "| {} |", row.join(" | ").replace('\n', " "));
            }
        }
        out.push_str("\nTimes are seconds: half of them were shorter than the first figure, 99 of 100 than the second.\n");
        for (title, lines) in [
            ("What is wrong", self.breaches()),
            ("Processes that ended by themselves", self.ended_by_themselves.clone()),
        ] {
            if !lines.is_empty() {
                let _ = write!(out, "\n## {title}\n\n");
                for line in lines {
                    let _ = writeln!(out, "* {}", line.replace('\n', "\n  "));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tally: Tally, audit: Audited) -> Report {
        Report {
            is_sound: tally.is_sound() && audit.is_clean(tally.accepted),
            seed: 7,
            shape: Shape::Embedded,
            processes: "1 serve".to_owned(),
            took_seconds: 12.0,
            faults: 3,
            tally,
            drained_seconds: 1.0,
            fresh_seconds: Some(0.2),
            recovery: Vec::new(),
            audit,
            ended_by_themselves: Vec::new(),
        }
    }

    #[test]
    fn an_audit_that_found_something_failed_or_saw_too_little_is_not_clean() {
        let clean = Audited::read(0, r#"{"checked":{"executions":5},"findings":[]}"#, "");
        assert!(report(Tally { accepted: 5, ..Tally::default() }, clean.clone()).is_sound);
        assert!(!report(Tally { accepted: 6, ..Tally::default() }, clean).is_sound, "it saw too few");
        let found = Audited::read(1, r#"{"checked":{"executions":5},"findings":[{"invariant":"I1"}]}"#, "");
        let found = report(Tally::default(), found);
        assert!(!found.is_sound && found.breaches().len() == 1 && found.markdown("apg chaos").contains("I1"));
        let failed = report(Tally::default(), Audited::read(1, "", "error: no database"));
        assert!(!failed.is_sound && failed.verdict().contains("1 of the audit"), "{}", failed.verdict());
    }

    #[test]
    fn what_is_wrong_stands_in_the_report_and_in_the_json() {
        let mut tally = Tally { accepted: 5, stuck: 1, ..Tally::default() };
        tally.find("execution_1 has not ended");
        let report = report(tally, Audited { executions: 5, ..Audited::default() });
        let markdown = report.markdown("apg chaos --seed 7");
        assert!(
            markdown.contains("1 stuck") && markdown.contains("* execution_1 has not ended"),
            "{markdown}"
        );
        let json = serde_json::to_value(&report).expect("plain data");
        assert!(json["is_sound"] == false && json["stuck"] == 1 && json["seed"] == 7, "{json}");
    }
}
