//! What must hold when the faults are over, and the figures.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shared::time::Timestamp;

use crate::harness::client::{Api, Event, is_ended};

use super::{
    field::{Field, Injected},
    workload::{self, History, Kind, Submission},
};

/// Everything accepted has ended this long after the last fault.
pub(super) const BOUND: Duration = Duration::from_mins(2);
/// A new submission ends this soon after the faults.
const FRESH: Duration = Duration::from_secs(10);

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    attempted: usize,
    acknowledged: usize,
    lost: usize,
    duplicated: usize,
    stuck: usize,
    /// Effects beyond the first of a task and attempt.
    repeated: usize,
    /// Repeated effects without a recorded cause.
    unexplained: usize,
    /// Tasks that a lost worker or a silent queue made run again.
    lost_attempts: usize,
    dispatched_again: usize,
    outcome_unknown: usize,
    poisoned: usize,
    cancelled: usize,
    completed: usize,
    requests: usize,
    effects: usize,
    drained: Duration,
    fresh: Duration,
    surprises: Vec<String>,
    /// Whatever breaks a promise.
    pub(super) findings: Vec<String>,
}

impl Report {
    pub(super) fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, text: impl Into<String>) {
        self.findings.push(text.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "attempted {} / acknowledged {} / lost {} / duplicated {} / stuck {} / re-run {} (unexplained {})",
            self.attempted,
            self.acknowledged,
            self.lost,
            self.duplicated,
            self.stuck,
            self.repeated,
            self.unexplained
        )?;
        writeln!(
            f,
            "completed {}, cancelled {}, outcome unknown {}, poisoned {}; {} requests, {} effects, {} lost attempts, {} \
             dispatched again",
            self.completed,
            self.cancelled,
            self.outcome_unknown,
            self.poisoned,
            self.requests,
            self.effects,
            self.lost_attempts,
            self.dispatched_again
        )?;
        writeln!(
            f,
            "all ended {:.1} s after the last fault, a new one within {:.1} s; {} processes ended by themselves",
            self.drained.as_secs_f64(),
            self.fresh.as_secs_f64(),
            self.surprises.len()
        )?;
        for surprise in &self.surprises {
            writeln!(f, "  {surprise}")?;
        }
        write!(f, "{} findings", self.findings.len())
    }
}

/// From each fault to the next effect: how long nothing at all was done, by kind of fault.
pub(super) fn recovery(injected: &[Injected], history: &History) -> Vec<String> {
    let mut by_kind: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for one in injected {
        let next = history.effects.iter().map(|effect| effect.began).filter(|began| *began > one.at).min();
        let pause = next.map_or(f64::NAN, |next| next.duration_since(one.at).as_secs_f64());
        by_kind.entry(format!("{:?}", one.fault)).or_default().push((one.lasted.as_secs_f64(), pause));
    }
    by_kind
        .into_iter()
        .map(|(kind, all)| {
            let most = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(0.0, f64::max);
            let count = all.len();
            format!(
                "{kind:24} x{count}: lasted up to {:5.1} s, next effect within {:5.1} s",
                most(|t| t.0),
                most(|t| t.1)
            )
        })
        .collect()
}

/// When each component of an execution had its effects.
type Seen<'a> = HashMap<&'a str, Vec<Timestamp>>;

/// What a journal says of one task.
#[derive(Debug, Default)]
struct TaskStory {
    /// Messages sent, over all attempts.
    messages: u64,
    attempts: BTreeSet<u64>,
    grants: u64,
    lost: usize,
    /// Results that did not count: the trace of a message that was there twice.
    late: usize,
}

fn stories(events: &[Event], late: &[Value]) -> HashMap<String, TaskStory> {
    let mut all: HashMap<String, TaskStory> = HashMap::new();
    for event in events {
        let story = all.entry(event.component().to_owned()).or_default();
        match event.name.as_str() {
            "task_dispatched" => {
                story.messages += 1;
                story.attempts.extend(event.fields["attempt"].as_u64());
            }
            "task_granted" => story.grants += 1,
            "task_lost" => story.lost += 1,
            _ => {}
        }
    }
    for result in late {
        let component = result["task"].as_str().unwrap_or_default();
        all.entry(component.to_owned()).or_default().late += 1;
    }
    all
}

/// Checks everything, then ends the processes and lets `apg audit` look.
pub(super) async fn run(field: &Field, history: &History, injected: &[Injected]) -> Result<Report> {
    let mut report = Report {
        attempted: history.attempted,
        acknowledged: history.submissions.len(),
        effects: history.effects.len(),
        drained: history.drained,
        requests: history.submissions.iter().map(|submission| submission.requests).sum(),
        surprises: field.surprises(),
        findings: history.wrongs.clone(),
        ..Report::default()
    };
    let api = Api::new(field.apis().first().context("an API")?)?;
    let mut effects: HashMap<&str, Seen<'_>> = HashMap::new();
    for effect in &history.effects {
        let of = effects.entry(effect.execution()).or_default();
        of.entry(effect.component.as_str()).or_default().push(effect.at);
    }
    for submission in &history.submissions {
        let uuid = submission.id.trim_start_matches("execution_");
        let seen = effects.get(uuid).cloned().unwrap_or_default();
        check_one(&api, submission, &seen, &mut report).await.with_context(|| format!("{submission:?}"))?;
    }

    let known: BTreeSet<&str> = history.submissions.iter().map(|submission| submission.id.as_str()).collect();
    if known.len() != history.submissions.len() {
        report.find("two keys share an execution");
    }
    let mut there = 0;
    for workflow in history.workflows.values() {
        for execution in api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await? {
            there += 1;
            if !known.contains(execution["id"].as_str().unwrap_or_default()) {
                report.duplicated += 1;
                report.find(format!("nobody was told of {}", execution["id"]));
            }
        }
    }
    let ok = (report.completed + report.cancelled) * 100 / history.attempted.max(1);
    if ok < 60 || injected.is_empty() || there == 0 || history.effects.is_empty() {
        report.find(format!("hollow: {ok} % ok, {} faults, {there} executions", injected.len()));
    }
    if report.acknowledged != report.attempted {
        report.find(format!("{} of {} were acknowledged", report.acknowledged, report.attempted));
    }

    match workload::fresh(field, history).await {
        Ok(took) => {
            report.fresh = took;
            if took > FRESH {
                report.find(format!("a new execution took {took:?}"));
            }
        }
        Err(error) => report.find(format!("a new execution: {error:#}")),
    }

    let output = field.alone(&["audit", "--output", "json"]).await;
    match output {
        Err(error) => report.find(format!("{error:#}")),
        Ok(output) => {
            let audit: Value = serde_json::from_str(&output.out).with_context(|| format!("{output:?}"))?;
            if output.code != 0 || audit["findings"] != json!([]) {
                report.find(format!("audit: {}", audit["findings"]));
            }
            if audit["checked"]["executions"].as_u64() < Some(there as u64) {
                report.find(format!("the audit saw too few executions: {}", audit["checked"]));
            }
        }
    }
    Ok(report)
}

async fn check_one(api: &Api, submission: &Submission, seen: &Seen<'_>, report: &mut Report) -> Result<()> {
    let Submission { number, kind, id, is_cancelled, .. } = submission;
    let answer = api.get(&format!("/api/v1/executions/{id}")).await?;
    if answer.status == 404 {
        report.lost += 1;
        report.find(format!("{id} was acknowledged and is not there"));
        return Ok(());
    }
    let found = answer.expect(200)?;
    let events = api.events(id).await?;
    let late = api.get(&format!("/api/v1/executions/{id}/late-results")).await?.expect(200)?;
    let late = late["items"].as_array().cloned().unwrap_or_default();
    let stories = stories(&events, &late);
    if !is_ended(&found["status"]) {
        report.stuck += 1;
        let why = api.get(&format!("/api/v1/executions/{id}/why")).await?.text;
        let last: Vec<String> =
            events.iter().rev().take(6).map(|e| format!("{} {} {}", e.seq, e.name, e.fields)).collect();
        report.find(format!("{kind:?} {id} has not ended: {why}; newest events: {}", last.join(" | ")));
        return Ok(());
    }
    let ends = events.iter().filter(|event| event.name == "finished").count();
    let last = events.last().map(|event| event.name.as_str());
    if ends != 1 || last != Some("finished") {
        report.duplicated += 1;
        report.find(format!("{id} has {ends} ends, its last event is {last:?}"));
    }
    report.outcome_unknown += usize::from(events.iter().any(|event| event.name == "asked"));
    let lost: usize = stories.values().map(|story| story.lost).sum();
    match found["status"].as_str().unwrap_or_default() {
        "completed" => {
            report.completed += 1;
            if found["output"] != *number as u64 {
                report.find(format!("{kind:?} {id} gave {} for {number}", found["output"]));
            }
        }
        "cancelled" if *is_cancelled => report.cancelled += 1,
        "failed" if lost >= 3 => report.poisoned += 1,
        status => {
            let failures: Vec<String> = events
                .iter()
                .filter(|event| event.name.contains("failed"))
                .map(|event| event.fields.to_string())
                .collect();
            report.find(format!(
                "{kind:?} {id} ended as {status}: {}; {}",
                found["failure"],
                failures.join(" | ")
            ));
        }
    }
    for (component, story) in &stories {
        report.lost_attempts += story.lost;
        report.dispatched_again += (story.messages as usize).saturating_sub(story.attempts.len());
        let name = probe_name(*kind, component);
        let count = seen.get(name).map_or(0, Vec::len);
        report.repeated += count.saturating_sub(story.attempts.len());
        if count as u64 > story.messages + story.late as u64 {
            report.unexplained += 1;
            let times = seen.get(name).map(Vec::as_slice).unwrap_or_default();
            let own = events.iter().filter(|event| event.component() == component);
            let journal: Vec<String> =
                own.map(|e| format!("{} {} {:.300}", e.at, e.name, e.fields.to_string())).collect();
            report.find(format!(
                "{kind:?} {id} {component}: effects at {times:?}, and {story:?} is all that explains them:\n    {}",
                journal.join("\n    ")
            ));
        }
        if *kind == Kind::AtMostOnce && component == "a" && count as u64 > story.grants {
            report.find(format!("{id} {component}: {count} effects with {} grants", story.grants));
        }
    }
    let strangers =
        seen.keys().filter(|name| !stories.keys().any(|component| probe_name(*kind, component) == **name));
    for stranger in strangers {
        report.find(format!("{id}: an effect `{stranger}` of no task"));
    }
    Ok(())
}

/// What a component calls itself at the probe.
fn probe_name(kind: Kind, component: &str) -> &str {
    match (kind, component) {
        (Kind::Diamond, "l_call") => "l",
        (Kind::Diamond, "r_call") => "r",
        _ => component,
    }
}
