//! What must hold when the faults are over, and the figures.
//!
//! [`look`] reads what the API says, [`Tally::judge`] decides what is wrong with it. Nothing is changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::Value;
use shared::time::Timestamp;

use crate::{
    client::{Api, Event, is_ended},
    faults::Injected,
    probe::Effect,
    workload::{History, Kind, ONCE, Planned, Submission},
};

/// Executions that are read at once.
const READERS: usize = 8;
/// What one kind of breach says at most, in lines; all are counted.
const MOST_LINES: usize = 50;

/// The figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Executions that clients were to submit, and those that were answered.
    pub attempted: usize,
    pub accepted: usize,
    pub completed: usize,
    pub failed_as_planned: usize,
    /// Ended because a client asked for it.
    pub cancelled_as_planned: usize,
    /// Failed because three workers were lost with the same task.
    pub poisoned: usize,
    /// Accepted and not there.
    pub lost: usize,
    /// Two ends, two executions of one submission, an effect under two keys, or one repeated without a cause.
    pub doubled: usize,
    /// Accepted and not ended.
    pub stuck: usize,
    /// Ended otherwise than planned.
    pub unexpected: usize,
    /// Executions with an `at_most_once` attempt whose outcome a person had to say.
    pub outcome_unknown: usize,
    pub requests: usize,
    pub effects: usize,
    /// Effects beyond the first of a task and attempt.
    pub repeated: usize,
    /// Attempts that were lost with their worker, and messages that were sent again.
    pub lost_attempts: usize,
    pub dispatched_again: usize,
    #[serde(skip)]
    pub drained: Duration,
    /// Whatever breaks a promise, in sentences.
    pub findings: Vec<String>,
    /// When each execution had a turn.
    #[serde(skip)]
    pub turns: Vec<Vec<Timestamp>>,
}

impl Tally {
    /// Whether everything came of it that was promised.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
            && self.lost == 0
            && self.doubled == 0
            && self.stuck == 0
            && self.unexpected == 0
    }

    pub fn find(&mut self, text: impl Into<String>) {
        self.findings.push(text.into());
    }

    /// Judges one execution by what was read of it and what the probe saw.
    fn judge(&mut self, submission: &Submission, found: &Found, seen: &Seen<'_>) {
        let Submission { number, kind, id, is_cancelled, planned, .. } = submission;
        let Some(execution) = &found.execution else {
            self.lost += 1;
            return self.find(format!("{id} was accepted and is not there"));
        };
        let events = &found.events;
        let status = execution["status"].as_str().unwrap_or_default();
        self.turns.push(events.iter().filter_map(|event| event.at.parse().ok()).collect());
        if !is_ended(&execution["status"]) {
            self.stuck += 1;
            let last = events
                .iter()
                .rev()
                .take(6)
                .map(|e| format!("{} {} {:.200}", e.seq, e.name, e.fields.to_string()));
            let last: Vec<String> = last.collect();
            return self.find(format!(
                "{kind:?} {id} has not ended: {}; newest events: {}",
                found.why,
                last.join(" | ")
            ));
        }
        let ends = events.iter().filter(|event| event.name == "finished").count();
        let last = events.last().map(|event| event.name.as_str());
        if ends != 1 || last != Some("finished") {
            self.doubled += 1;
            self.find(format!("{id} has {ends} ends, its last event is {last:?}"));
        }
        self.outcome_unknown += usize::from(events.iter().any(|event| event.name == "asked"));
        let stories = stories(events, &found.late);
        let is_poison = stories.values().map(|story| story.lost).max() >= Some(3);
        match (status, planned) {
            ("completed", Planned::Completed | Planned::Ended) => {
                self.completed += 1;
                if *kind != Kind::Own && execution["output"] != *number as u64 {
                    self.unexpected += 1;
                    self.find(format!("{kind:?} {id} gave {} for {number}", execution["output"]));
                }
            }
            ("cancelled", _) if *is_cancelled => self.cancelled_as_planned += 1,
            ("failed", Planned::Failed | Planned::Ended) => self.failed_as_planned += 1,
            ("failed", _) if is_poison => self.poisoned += 1,
            _ => {
                self.unexpected += 1;
                let failures = events.iter().filter(|event| event.name.contains("failed"));
                let failures: Vec<String> = failures.map(|event| event.fields.to_string()).collect();
                self.find(format!(
                    "{kind:?} {id} ended as {status}: {}; {}",
                    execution["failure"],
                    failures.join(" | ")
                ));
            }
        }
        self.judge_effects(submission, events, &stories, seen);
    }

    /// A message explains one effect, and so does a result that came too late to count.
    fn judge_effects(
        &mut self,
        submission: &Submission,
        events: &[Event],
        stories: &HashMap<String, TaskStory>,
        seen: &Seen<'_>,
    ) {
        let Submission { kind, id, .. } = submission;
        for (task, story) in stories {
            self.lost_attempts += story.lost;
            self.dispatched_again += (story.messages as usize).saturating_sub(story.attempts.len());
            let times = seen.get(task.as_str()).map(Vec::as_slice).unwrap_or_default();
            self.repeated += times.len().saturating_sub(story.attempts.len());
            // A task of one's own may call as often as it likes.
            if *kind != Kind::Own && times.len() as u64 > story.messages + story.late as u64 {
                self.doubled += 1;
                let own = events.iter().filter(|event| event.task() == *task);
                let journal = own.map(|e| format!("{} {} {:.300}", e.at, e.name, e.fields.to_string()));
                self.find(format!(
                    "{kind:?} {id} {task}: effects at {times:?}, and {story:?} is all that explains them:\n    {}",
                    journal.collect::<Vec<_>>().join("\n    ")
                ));
            }
            if *kind == Kind::AtMostOnce && task == ONCE && times.len() as u64 > story.grants {
                self.doubled += 1;
                self.find(format!("{id} {task}: {} effects with {} grants", times.len(), story.grants));
            }
        }
        for stranger in seen.keys().filter(|task| !stories.contains_key(**task)) {
            self.doubled += 1;
            self.find(format!("{id}: an effect `{stranger}` of no task"));
        }
    }

    /// Judges what clients were told, and the effects of each submission.
    fn judge_history(&mut self, history: &History) {
        for wrong in &history.wrongs {
            self.find(wrong.clone());
        }
        self.doubled += history.doubles.len();
        self.findings.extend(history.doubles.iter().cloned());
        let known: BTreeSet<&str> =
            history.submissions.iter().map(|submission| submission.id.as_str()).collect();
        if known.len() != history.submissions.len() {
            self.doubled += history.submissions.len() - known.len();
            self.find("two keys were answered with the same execution");
        }
        let is_own = history.workflows.contains_key(&Kind::Own);
        for ((number, component), keys) in keys(&history.effects, is_own) {
            if keys.len() > 1 {
                self.doubled += 1;
                self.find(format!("the effect `{component}` of submission {number} came under {keys:?}"));
            }
        }
        if self.accepted != self.attempted {
            self.find(format!("{} of {} submissions were answered", self.accepted, self.attempted));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "attempted {} / accepted {} / lost {} / doubled {} / stuck {} / unexpected {} / re-run {}",
            self.attempted,
            self.accepted,
            self.lost,
            self.doubled,
            self.stuck,
            self.unexpected,
            self.repeated,
        )?;
        writeln!(
            f,
            "completed {}, failed as planned {}, cancelled {}, outcome unknown {}, poisoned {}; {} requests, {} \
             effects, {} lost attempts, {} dispatched again",
            self.completed,
            self.failed_as_planned,
            self.cancelled_as_planned,
            self.outcome_unknown,
            self.poisoned,
            self.requests,
            self.effects,
            self.lost_attempts,
            self.dispatched_again
        )?;
        write!(f, "all ended {:.1} s after the last fault", self.drained.as_secs_f64())
    }
}

/// The keys under which the effects of each submission came, by component. Of a workflow of one's own, whose
/// components may share an address, the executions they are of.
fn keys(effects: &[Effect], is_own: bool) -> BTreeMap<(i64, &str), BTreeSet<&str>> {
    let mut all: BTreeMap<(i64, &str), BTreeSet<&str>> = BTreeMap::new();
    for effect in effects {
        let Some(number) = effect.number else { continue };
        let (component, key) =
            if is_own { ("", effect.execution()) } else { (effect.component.as_str(), effect.key.as_str()) };
        all.entry((number, component)).or_default().insert(key);
    }
    all
}

/// When each task of an execution had its effects.
type Seen<'a> = HashMap<&'a str, Vec<Timestamp>>;

/// What was read of an execution.
#[derive(Debug, Clone, Default)]
struct Found {
    /// Nothing when it is not there.
    execution: Option<Value>,
    events: Vec<Event>,
    late: Vec<Value>,
    /// Why it has not ended.
    why: String,
}

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
        if !matches!(event.name.as_str(), "task_dispatched" | "task_granted" | "task_lost") {
            continue;
        }
        let story = all.entry(event.task()).or_default();
        match event.name.as_str() {
            "task_dispatched" => {
                story.messages += 1;
                story.attempts.extend(event.fields["attempt"].as_u64());
            }
            "task_granted" => story.grants += 1,
            _ => story.lost += 1,
        }
    }
    for result in late {
        all.entry(result["task"].as_str().unwrap_or_default().to_owned()).or_default().late += 1;
    }
    all
}

async fn read(api: &Api, id: &str) -> Result<Found> {
    let answer = api.get(&format!("/api/v1/executions/{id}")).await?;
    if answer.status == 404 {
        return Ok(Found::default());
    }
    let execution = answer.expect(200)?;
    let events = api.events(id).await?;
    let late = api.get(&format!("/api/v1/executions/{id}/late-results")).await?.expect(200)?;
    let late = late["items"].as_array().cloned().unwrap_or_default();
    let why = if is_ended(&execution["status"]) {
        String::new()
    } else {
        api.get(&format!("/api/v1/executions/{id}/why")).await?.text
    };
    Ok(Found { execution: Some(execution), events, late, why })
}

/// Reads every execution of the load and judges it.
///
/// # Errors
/// When the API does not answer; what is wrong with executions is in the tally.
pub async fn look(base: &str, api_key: &str, history: &History) -> Result<Tally> {
    let mut tally = Tally {
        attempted: history.attempted,
        accepted: history.submissions.len(),
        effects: history.effects.len(),
        drained: history.drained,
        requests: history.submissions.iter().map(|submission| submission.requests).sum(),
        ..Tally::default()
    };
    tally.judge_history(history);
    let api = Api::new(base, Duration::from_secs(30))?.showing(api_key);
    let mut effects: HashMap<&str, Seen<'_>> = HashMap::new();
    for effect in &history.effects {
        effects.entry(effect.execution()).or_default().entry(effect.task()).or_default().push(effect.at);
    }
    let api = &api;
    let mut all = futures::stream::iter(&history.submissions)
        .map(async |submission| {
            let found = read(api, &submission.id).await.with_context(|| format!("{submission:?}"))?;
            Ok::<_, anyhow::Error>((submission, found))
        })
        .buffer_unordered(READERS);
    while let Some((submission, found)) = all.try_next().await? {
        let uuid = submission.id.trim_start_matches("execution_");
        tally.judge(submission, &found, &effects.remove(uuid).unwrap_or_default());
    }
    for (execution, seen) in effects {
        tally.doubled += 1;
        let tasks: Vec<&str> = seen.into_keys().collect();
        tally.find(format!("effects of {execution}, which nobody was told of: {tasks:?}"));
    }
    let known: BTreeSet<&str> = history.submissions.iter().map(|submission| submission.id.as_str()).collect();
    for workflow in history.workflows.values() {
        for execution in api.pages(&format!("/api/v1/executions?workflow_id={workflow}"), 500).await? {
            if !known.contains(execution["id"].as_str().unwrap_or_default()) {
                tally.doubled += 1;
                tally.find(format!("nobody was told of {}", execution["id"]));
            }
        }
    }
    Ok(tally)
}

/// Looks whether the run showed anything: a run in which nothing could go wrong proves nothing.
pub fn hollowness(history: &History, tally: &Tally, injected: usize, planned: usize) -> Option<String> {
    let ended = tally.completed + tally.cancelled_as_planned + tally.failed_as_planned;
    if ended * 100 < history.attempted * 60 {
        return Some(format!(
            "{ended} of {} executions ended as planned: too few to show anything",
            history.attempted
        ));
    }
    if injected < planned {
        return Some(format!("only {injected} of {planned} faults were made"));
    }
    (history.effects.is_empty() && !history.workflows.contains_key(&Kind::Own))
        .then(|| "no effect arrived at the probe: nothing could be counted".to_owned())
}

/// How long something took, many times, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        // The smallest sample that so many of a hundred do not exceed.
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1) - 1;
            samples.get(rank).copied().unwrap_or_default()
        };
        Self { count: samples.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

/// Faults of one kind, and how long they were felt.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    pub fault: String,
    pub count: usize,
    /// Until what was hit ran again.
    pub lasted: Spread,
    /// From the fault to the next effect of anything.
    pub next_effect: Spread,
    /// From the fault to the next turn of each execution that was open then, whatever it waited for.
    pub next_turn: Spread,
}

/// What every fault did, by kind, and all together under the name `all`.
pub fn recovery(injected: &[Injected], effects: &[Effect], turns: &[Vec<Timestamp>]) -> Vec<Recovery> {
    let mut by_kind: BTreeMap<&str, Vec<&Injected>> = BTreeMap::new();
    for one in injected {
        by_kind.entry(one.fault.as_str()).or_default().push(one);
    }
    by_kind.insert("all", injected.iter().collect());
    let mut began: Vec<_> = effects.iter().map(|effect| effect.began).collect();
    began.sort_unstable();
    let of = |(fault, all): (&str, Vec<&Injected>)| {
        let next_effect = all.iter().filter_map(|one| {
            let next = began.get(began.partition_point(|began| *began <= one.at))?;
            Some(next.duration_since(one.at).as_secs_f64())
        });
        let next_turn = all.iter().flat_map(|one| {
            turns.iter().filter_map(|turns| {
                let next = turns.partition_point(|at| *at <= one.when);
                // Before its first turn it was not there, after its last one it had ended.
                (next > 0 && next < turns.len()).then(|| turns[next].since(one.when).as_secs_f64())
            })
        });
        Recovery {
            fault: fault.to_owned(),
            count: all.len(),
            lasted: Spread::of(all.iter().map(|one| one.lasted.as_secs_f64()).collect()),
            next_effect: Spread::of(next_effect.collect()),
            next_turn: Spread::of(next_turn.collect()),
        }
    };
    by_kind.into_iter().map(of).collect()
}

/// The findings as they are shown: many of a kind say no more than some.
pub fn shown(findings: &[String]) -> &[String] {
    &findings[..findings.len().min(MOST_LINES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use serde_json::json;

    const ID: &str = "execution_0192f0c4-0000-7000-8000-000000000001";

    fn submission(kind: Kind, planned: Planned) -> Submission {
        Submission { number: 7, kind, id: ID.to_owned(), requests: 1, is_cancelled: false, planned }
    }

    fn event(name: &str, fields: &Value) -> Event {
        Event {
            seq: 1,
            at: "2026-11-29T00:00:00.000000Z".to_owned(),
            name: name.to_owned(),
            fields: fields.clone(),
        }
    }

    fn sent(component: &str, attempt: u64) -> Event {
        event("task_dispatched", &json!({ "task": { "component": component }, "attempt": attempt }))
    }

    /// An execution of one task that ended as it should.
    fn right() -> Found {
        Found {
            execution: Some(json!({ "status": "completed", "output": 7 })),
            events: vec![event("accepted", &Value::Null), sent("a", 1), event("finished", &Value::Null)],
            ..Found::default()
        }
    }

    fn judged(kind: Kind, found: &Found, effects: usize) -> Tally {
        let mut tally = Tally::default();
        let planned = if kind == Kind::Fails { Planned::Failed } else { Planned::Completed };
        let mut seen = Seen::new();
        if effects > 0 {
            seen.insert("a", vec![Timestamp::from_micros(0); effects]);
        }
        tally.judge(&submission(kind, planned), found, &seen);
        tally
    }

    fn effect(number: i64, component: &str, key: &str) -> Effect {
        Effect {
            label: "x".to_owned(),
            component: component.to_owned(),
            number: Some(number),
            key: key.to_owned(),
            began: Instant::now(),
            at: Timestamp::from_micros(0),
            ended: None,
            body: Value::Null,
        }
    }

    fn history(effects: Vec<Effect>) -> History {
        History {
            attempted: 1,
            submissions: vec![submission(Kind::Chain, Planned::Completed)],
            effects,
            workflows: [(Kind::Chain, "workflow_1".to_owned())].into(),
            doubles: Vec::new(),
            wrongs: Vec::new(),
            drained: Duration::ZERO,
        }
    }

    fn judged_history(history: &History) -> Tally {
        let mut tally = Tally { attempted: 1, accepted: 1, ..Tally::default() };
        tally.judge_history(history);
        tally
    }

    #[test]
    fn what_went_right_is_sound() {
        let tally = judged(Kind::Chain, &right(), 1);
        assert!(tally.is_sound() && tally.completed == 1, "{tally:?}");
        let keyed = vec![effect(7, "a", "x/a"), effect(7, "a", "x/a"), effect(8, "a", "y/a")];
        let tally = judged_history(&history(keyed));
        assert!(tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn an_accepted_execution_that_is_not_there_is_lost() {
        let tally = judged(Kind::Chain, &Found::default(), 0);
        assert!(tally.lost == 1 && !tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn one_that_has_not_ended_is_stuck() {
        let found = Found { execution: Some(json!({ "status": "running" })), ..right() };
        let tally = judged(Kind::Chain, &found, 1);
        assert!(tally.stuck == 1 && !tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn two_ends_are_one_too_many() {
        let mut found = right();
        found.events.push(event("finished", &Value::Null));
        let tally = judged(Kind::Chain, &found, 1);
        assert!(tally.doubled == 1 && !tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn an_effect_beyond_its_messages_is_doubled_and_one_with_a_cause_is_not() {
        let tally = judged(Kind::Chain, &right(), 2);
        assert!(tally.doubled == 1 && tally.repeated == 1, "{tally:?}");
        let mut again = right();
        again.events.insert(2, sent("a", 1));
        let tally = judged(Kind::Chain, &again, 2);
        assert!(tally.is_sound() && tally.repeated == 1 && tally.dispatched_again == 1, "{tally:?}");
        let late = Found { late: vec![json!({ "task": "a" })], ..right() };
        assert!(judged(Kind::Chain, &late, 2).is_sound());
    }

    #[test]
    fn an_effect_of_no_task_and_one_without_a_grant_are_doubled() {
        let mut found = right();
        found.events.remove(1);
        assert_eq!(judged(Kind::Chain, &found, 1).doubled, 1);
        let tally = judged(Kind::AtMostOnce, &right(), 1);
        assert!(tally.doubled == 1 && !tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn an_effect_under_two_keys_is_doubled() {
        let tally = judged_history(&history(vec![effect(7, "a", "x/a"), effect(7, "a", "y/a")]));
        assert!(tally.doubled == 1 && !tally.is_sound(), "{tally:?}");
        let mut own = history(vec![effect(7, "a", "x/a"), effect(7, "a", "x/b")]);
        own.workflows = [(Kind::Own, "workflow_1".to_owned())].into();
        assert!(judged_history(&own).is_sound(), "two of its components may share an address");
        own.effects.push(effect(7, "a", "y/a"));
        assert_eq!(judged_history(&own).doubled, 1);
    }

    #[test]
    fn a_key_with_two_executions_and_an_execution_with_two_keys_are_doubled() {
        let mut two = history(Vec::new());
        two.doubles.push("the key k is execution_1 and execution_2".to_owned());
        assert!(judged_history(&two).doubled == 1 && !judged_history(&two).is_sound());
        let mut shared = history(Vec::new());
        shared.submissions.push(submission(Kind::Chain, Planned::Completed));
        assert_eq!(judged_history(&shared).doubled, 1);
    }

    #[test]
    fn an_end_that_was_not_planned_is_unexpected() {
        let failed = Found { execution: Some(json!({ "status": "failed" })), ..right() };
        assert_eq!(judged(Kind::Chain, &failed, 1).unexpected, 1);
        let tally = judged(Kind::Fails, &failed, 1);
        assert!(tally.is_sound() && tally.failed_as_planned == 1, "{tally:?}");
        let completed = judged(Kind::Fails, &right(), 1);
        assert!(completed.unexpected == 1 && !completed.is_sound(), "{completed:?}");
        let other = Found { execution: Some(json!({ "status": "completed", "output": 8 })), ..right() };
        assert_eq!(judged(Kind::Chain, &other, 1).unexpected, 1);
        let cancelled = Found { execution: Some(json!({ "status": "cancelled" })), ..right() };
        assert_eq!(judged(Kind::Chain, &cancelled, 1).unexpected, 1, "nobody asked for it");
    }

    #[test]
    fn three_lost_workers_are_a_cause_to_fail() {
        let mut found = Found { execution: Some(json!({ "status": "failed" })), ..right() };
        for _ in 0..3 {
            found.events.insert(1, event("task_lost", &json!({ "task": { "component": "a" } })));
        }
        let tally = judged(Kind::Chain, &found, 1);
        assert!(tally.poisoned == 1 && tally.is_sound(), "{tally:?}");
    }

    #[test]
    fn a_run_that_shows_nothing_is_hollow() {
        let full = history(vec![effect(7, "a", "x/a")]);
        let tally = Tally { completed: 1, ..Tally::default() };
        assert_eq!(hollowness(&full, &tally, 5, 5), None);
        assert!(hollowness(&full, &tally, 4, 5).is_some(), "a fault is missing");
        assert!(hollowness(&full, &Tally::default(), 5, 5).is_some(), "nothing completed");
        assert!(hollowness(&history(Vec::new()), &tally, 5, 5).is_some(), "nothing was counted");
    }

    #[test]
    fn a_fault_is_felt_until_the_next_turn_of_what_was_open() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let injected = vec![Injected {
            fault: "kill worker".to_owned(),
            target: "worker-1".to_owned(),
            at: Instant::now(),
            when: at(10),
            lasted: Duration::from_secs(1),
        }];
        // Open with a turn 3 s later; ended before; begun after.
        let turns = vec![vec![at(9), at(13)], vec![at(1), at(9)], vec![at(11), at(12)]];
        let found = recovery(&injected, &[], &turns);
        let killed = found.iter().find(|one| one.fault == "kill worker").expect("its kind");
        assert_eq!(killed.next_turn, Spread { count: 1, p50: 3.0, p99: 3.0, max: 3.0 });
        assert_eq!(killed.next_effect.count, 0);
    }

    #[test]
    fn percentiles_are_samples_that_came() {
        let spread = Spread::of((1..=200).map(f64::from).collect());
        assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }
}
