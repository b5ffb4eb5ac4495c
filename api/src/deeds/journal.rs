//! What the journal says: turns, log lines, and attempts.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    component::{LogLevel, LogLine},
    execution::{AnswerVerdict, Carry, Event, Payload, Plan, SkipReason, TaskKey, Turn},
    ids::{ExecutionId, WorkerId},
    port::slots::written_key,
    time::Timestamp,
    workflow::{Part, Workflow},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Deeds,
    executions::{FailureView, PayloadReference},
    folding::TURNS,
    page_limit,
};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Turns, in order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct JournalList {
    /// Each turn: `execution`, `seq` from 1, `cause`, `at`, `events`.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
    /// Where to go on; absent at the end of what there is now.
    pub next_cursor: Option<String>,
}

/// Which log lines to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Only lines of at least this level: `debug`, `info`, `warn`, `error`.
    #[param(value_type = Option<String>)]
    pub level: Option<LogLevel>,
    /// Only lines of this component.
    pub component: Option<String>,
    /// About this many (1 to 500; 50 when left out). The lines of one turn are not torn apart.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct LogEntry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    #[schema(value_type = String, example = "info")]
    pub level: LogLevel,
    /// The line.
    pub message: String,
    /// `component` when a component wrote it, `engine` when it tells what happened.
    #[schema(value_type = String, example = "engine")]
    pub source: &'static str,
    /// The component it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The attempt it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Further facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
    /// The turn it stands in.
    pub seq: u32,
}

/// Some log lines, oldest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LogList {
    /// The lines of this page.
    pub items: Vec<LogEntry>,
    /// Where to go on; absent at the end of what there is now.
    pub next_cursor: Option<String>,
}

/// A result that was used again.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct CachedView {
    /// The execution that gave it.
    #[schema(value_type = String)]
    pub execution: ExecutionId,
    /// When it gave it.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// One attempt of a task, or a component that needs none.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// The component.
    pub component: String,
    /// The rounds of the loops it stands in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iteration: Vec<u32>,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From 1; 0 for what the engine decides itself, and for what was answered from the cache.
    pub attempt: u32,
    /// `ready`, `limited`, `dispatched`, `running` (a worker said so, or its scopes or sub-workflow run), `asked`,
    /// `awaiting`, `completed`, `failed`, `lost`, `returned`, `delayed`, `skipped` or `cancelled`.
    #[schema(example = "completed")]
    pub status: &'static str,
    /// How often its message was sent.
    pub dispatches: u32,
    /// The worker that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker: Option<WorkerId>,
    /// When its message was first ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub dispatched_at: Option<Timestamp>,
    /// When the worker began, by the worker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Milliseconds between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// When the next attempt follows, or a delay is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// Why it was skipped or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The execution in which it ended so: this one does that again, and has kept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub carried_from: Option<ExecutionId>,
    /// Whether it does not run because another component is tried, which takes it to have ended so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Where its result comes from: it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedView>,
    /// Own ports that fired, beside `success`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// What it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Where its output is when it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_reference: Option<PayloadReference>,
}

impl AttemptView {
    /// One that has just begun.
    fn of(task: &TaskKey, kind: Option<String>, attempt: u32) -> Self {
        Self {
            component: task.component.to_string(),
            iteration: task.iteration.0.clone(),
            kind,
            attempt,
            status: "ready",
            dispatches: 0,
            worker: None,
            dispatched_at: None,
            started_at: None,
            finished_at: None,
            duration_ms: None,
            until: None,
            failure: None,
            reason: None,
            carried_from: None,
            pinned: false,
            cached: None,
            ports: Vec::new(),
            output: None,
            output_reference: None,
        }
    }
}

/// Attempts in the order in which they began.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// The attempts of this page.
    pub items: Vec<AttemptView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

fn cursor(text: Option<&str>) -> Result<u32, Problem> {
    text.map_or(Ok(0), |text| {
        text.parse().map_err(|_| Problem::new(Code::InvalidQuery, "`cursor` is not one that this list gave."))
    })
}

/// A turn for people: without the tokens that leases are fenced by.
fn shown(turn: &Turn) -> Value {
    let mut value = serde_json::to_value(turn).unwrap_or_default();
    if let Some(events) = value.get_mut("events").and_then(Value::as_array_mut) {
        for event in events {
            for name in ["task_granted", "task_leased"] {
                if let Some(fields) = event.get_mut(name).and_then(Value::as_object_mut) {
                    fields.remove("token");
                }
            }
        }
    }
    value
}

/// The log lines of a turn: what happened, each followed by what the component wrote meanwhile.
fn lines(turn: &Turn) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    let mut say = |level, message: String, of: Option<(&TaskKey, u32)>| {
        entries.push(LogEntry {
            at: turn.at,
            level,
            message,
            source: "engine",
            component: of.map(|(task, _)| task.component.to_string()),
            attempt: of.map(|(_, attempt)| attempt).filter(|attempt| *attempt > 0),
            fields: None,
            seq: turn.seq,
        });
    };
    let mut written: Vec<(&LogLine, Option<(&TaskKey, u32)>)> = Vec::new();
    for event in &turn.events {
        match event {
            Event::Accepted(accepted) => {
                let again = accepted.retry_of.map(|of| format!(", to do {of} again")).unwrap_or_default();
                let message =
                    format!("Accepted version {} from {}{again}", accepted.version, accepted.principal);
                say(LogLevel::Info, message, None);
            }
            Event::Carried { task, from, result } => {
                let ended = match &**result {
                    Carry::Completed { .. } => "completed".to_owned(),
                    Carry::Failed { failure, .. } => format!("failed ({failure})"),
                    Carry::Skipped { reason } => format!("is skipped: {}", skip(*reason)),
                };
                say(
                    LogLevel::Info,
                    format!("{task} {ended}, as in {from}; it does not run"),
                    Some((task, 0)),
                );
            }
            Event::Pinned { task, from, result } => {
                let ended = match &**result {
                    Carry::Completed { .. } => "is taken as completed".to_owned(),
                    Carry::Failed { failure, .. } => format!("is taken as failed ({failure})"),
                    Carry::Skipped { reason } => format!("is skipped: {}", skip(*reason)),
                };
                let by = from.map(|from| format!(", as in {from}")).unwrap_or_default();
                say(LogLevel::Info, format!("{task} {ended}{by}; it does not run"), Some((task, 0)));
            }
            Event::Scheduled { until } => say(LogLevel::Info, format!("Scheduled for {until}"), None),
            Event::Blocked { key, limit, displaces, .. } => {
                let asks = match displaces.len() {
                    0 => String::new(),
                    1 => "; the one in its way is asked to end".to_owned(),
                    many => format!("; the {many} in its way are asked to end"),
                };
                let message =
                    format!("Waits in line for one of {limit} places under `{}`{asks}", written_key(key));
                say(LogLevel::Info, message, None);
            }
            Event::Started => say(LogLevel::Info, "Started".to_owned(), None),
            Event::TaskReady { task } => {
                say(LogLevel::Debug, format!("{task} is ready and waits to be dispatched"), Some((task, 0)));
            }
            Event::TaskLimited { task, key, limit, displaces } => {
                let asks = if displaces.is_empty() { "" } else { "; those in its way are ended" };
                let name = written_key(key);
                let message = format!("{task} waits in line for one of {limit} places under `{name}`{asks}");
                say(LogLevel::Info, message, Some((task, 0)));
            }
            Event::TaskOffered { task, .. } => {
                say(
                    LogLevel::Info,
                    format!("{task} waits for a worker outside this platform"),
                    Some((task, 0)),
                );
            }
            Event::TaskDispatched { task, attempt, dispatch, .. } => {
                let again =
                    if *dispatch > 1 { format!(" again (message {dispatch})") } else { String::new() };
                let message = format!("{task}, attempt {attempt}, was sent to the workers{again}");
                say(LogLevel::Debug, message, Some((task, *attempt)));
            }
            Event::TaskCached { task, from, at, .. } => {
                let message = format!("{task} completed with what {from} gave at {at}; it does not run");
                say(LogLevel::Info, message, Some((task, 0)));
            }
            Event::TaskGranted { task, attempt, worker, .. } => {
                say(LogLevel::Debug, format!("{worker} may run {task} once"), Some((task, *attempt)));
            }
            Event::TaskLeased { task, attempt, worker, .. } => {
                say(
                    LogLevel::Debug,
                    format!("{worker} runs {task} and holds a lease"),
                    Some((task, *attempt)),
                );
            }
            Event::TaskLost { task, attempt, reason } => {
                say(LogLevel::Warn, format!("{task} lost its worker: {reason}"), Some((task, *attempt)));
            }
            Event::TaskReturned { task, attempt } => {
                say(
                    LogLevel::Info,
                    format!("{task} was given back by a worker that leaves"),
                    Some((task, *attempt)),
                );
            }
            Event::TaskCompleted { task, attempt, log, .. } => {
                written.extend(log.iter().map(|line| (line, Some((task, *attempt)))));
                say(LogLevel::Info, format!("{task} completed"), Some((task, *attempt)));
            }
            Event::TaskFailed { task, attempt, failure, retry_at, log, .. } => {
                written.extend(log.iter().map(|line| (line, Some((task, *attempt)))));
                match retry_at {
                    Some(at) => say(
                        LogLevel::Warn,
                        format!(
                            "{task}, attempt {attempt}, failed ({failure}); the next attempt is due at {at}"
                        ),
                        Some((task, *attempt)),
                    ),
                    None => {
                        say(LogLevel::Error, format!("{task} failed ({failure})"), Some((task, *attempt)));
                    }
                }
            }
            Event::Decided { task, log, .. } => {
                written.extend(log.iter().map(|line| (line, Some((task, 0)))));
                say(LogLevel::Debug, format!("{task} completed"), Some((task, 0)));
            }
            Event::DecisionFailed { task, failure } => {
                say(LogLevel::Error, format!("{task} failed ({failure})"), Some((task, 0)));
            }
            Event::Delayed { task, until } => {
                say(LogLevel::Info, format!("{task} waits until {until}"), Some((task, 0)));
            }
            Event::Skipped { task, reason } => {
                say(LogLevel::Debug, format!("{task} is skipped: {}", skip(*reason)), Some((task, 0)));
            }
            Event::CancelRequested { by, reason } => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                say(LogLevel::Warn, format!("{by} asked for the end{why}"), None);
            }
            Event::Paused { by, reason } => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                say(LogLevel::Warn, format!("{by} paused it{why}"), None);
            }
            Event::Resumed { by } => say(LogLevel::Info, format!("Its pause was ended by {by}"), None),
            Event::Moved(moved) => {
                let why = if moved.reason.is_empty() { String::new() } else { format!(": {}", moved.reason) };
                let names: Vec<String> =
                    moved.mapping.iter().map(|(old, new)| format!("; {old} is called {new}")).collect();
                let (from, to) = (moved.from, moved.version);
                let names = names.concat();
                say(
                    LogLevel::Warn,
                    format!("{} moved it from version {from} to {to}{why}{names}", moved.by),
                    None,
                );
            }
            Event::MoveRefused { by, version, because } => {
                let because = because.join("; ");
                say(LogLevel::Warn, format!("{by} wanted to move it to version {version}: {because}"), None);
            }
            Event::Stopping { failure, owner, round } => {
                let place = match (owner.as_ref().and_then(|(_, owner)| owner.as_ref()), round) {
                    (Some(owner), Some(round)) => format!(" in round {round} of {owner}"),
                    (Some(owner), None) => format!(" in {owner}"),
                    _ => String::new(),
                };
                say(LogLevel::Warn, format!("Nothing new starts{place} ({failure})"), None);
            }
            Event::Failing { task, failure } => {
                let message = format!("It will fail: nothing handles the failure of {task} ({failure})");
                say(LogLevel::Error, message, Some((task, 0)));
            }
            Event::Opened { task, plan } => {
                let what = match plan {
                    Plan::Rounds(plan) => format!("{task} begins, {} rounds", plan.count),
                    _ => format!("{task} begins"),
                };
                say(LogLevel::Debug, what, Some((task, 0)));
            }
            Event::ScopeOpened { part, owner, round, error, .. } => {
                let name = owner.as_ref().map_or_else(|| "the workflow".to_owned(), ToString::to_string);
                let because = error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
                let (level, message) = match (part, round) {
                    (Part::Body, Some(round)) => (LogLevel::Debug, format!("Round {round} of {name} begins")),
                    (Part::Body | Part::Workflow, _) => {
                        (LogLevel::Debug, format!("The body of {name} begins"))
                    }
                    (Part::Catch, _) => (LogLevel::Warn, format!("`catch` of {name} begins{because}")),
                    (Part::Finally, _) => (LogLevel::Debug, format!("`finally` of {name} begins")),
                    (Part::OnFailure, _) => (LogLevel::Warn, format!("`on_failure` begins{because}")),
                    (Part::Compensation, _) => (LogLevel::Warn, format!("{name} is being undone")),
                };
                say(level, message, owner.as_ref().map(|owner| (owner, 0)));
            }
            Event::RoundClosed { task, round, status, failure, .. } => {
                let because = failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
                let level = if failure.is_some() { LogLevel::Warn } else { LogLevel::Debug };
                say(
                    level,
                    format!("Round {round} of {task} ended as {}{because}", status.as_str()),
                    Some((task, 0)),
                );
            }
            Event::RoundDelayed { task, until } => {
                say(LogLevel::Debug, format!("{task} pauses until {until}"), Some((task, 0)));
            }
            Event::CompensationNoted { task, failure: Some(failure), .. } => {
                let message = format!("The compensation of {task} cannot be prepared ({failure})");
                say(LogLevel::Error, message, Some((task, 0)));
            }
            Event::Compensated { task, failure } => match failure {
                None => say(LogLevel::Info, format!("{task} was undone"), Some((task, 0))),
                Some(failure) => {
                    say(LogLevel::Error, format!("{task} could not be undone ({failure})"), Some((task, 0)));
                }
            },
            Event::Concluded { status, failure } => {
                let because = failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
                say(
                    LogLevel::Info,
                    format!("It will end as {}{because}; cleaning up comes first", status.as_str()),
                    None,
                );
            }
            Event::CleanupFailed { failure } => {
                say(LogLevel::Error, format!("Cleaning up failed ({failure})"), None);
            }
            Event::ChildOrdered { task, child, workflow, .. } => {
                say(LogLevel::Info, format!("{task} starts `{workflow}` as {child}"), Some((task, 0)));
            }
            Event::Asked { task, ask } => {
                let message = format!("{task} asks {}: {}", ask.assignees.join(", "), ask.message);
                say(LogLevel::Info, message, Some((task, 0)));
            }
            Event::Claimed { task, by } => {
                say(LogLevel::Info, format!("{by} took on {task}"), Some((task, 0)));
            }
            Event::Delegated { task, by, from, to } => {
                say(LogLevel::Info, format!("{by} handed {task} from {from} to {to}"), Some((task, 0)));
            }
            Event::Escalated { task, to } => {
                let message = format!("{task} also asks {}: nobody answered in time", to.join(", "));
                say(LogLevel::Warn, message, Some((task, 0)));
            }
            Event::Reminded { task } => {
                say(LogLevel::Info, format!("Those asked by {task} were reminded"), Some((task, 0)));
            }
            Event::Answered { task, answer } => {
                let verdict = match answer.verdict {
                    AnswerVerdict::Approve => "approves",
                    AnswerVerdict::Reject => "rejects",
                    AnswerVerdict::Submit => "hands in",
                };
                let for_whom = if answer.by == answer.for_assignee {
                    String::new()
                } else {
                    format!(" for {}", answer.for_assignee)
                };
                say(LogLevel::Info, format!("{}{for_whom} {verdict} {task}", answer.by), Some((task, 0)));
            }
            Event::Awaiting { task, event, key, until, .. } => {
                let message =
                    format!("{task} waits for the event `{event}` with the key `{key}` until {until}");
                say(LogLevel::Info, message, Some((task, 0)));
            }
            Event::PermitAsked { task, key, rate, .. } => {
                let message = format!("{task} asks for a permit under the rate limit `{key}`, {rate}");
                say(LogLevel::Info, message, Some((task, 0)));
            }
            Event::EventReceived { task, id } => {
                say(LogLevel::Info, format!("{task} received the event {id}"), Some((task, 0)));
            }
            Event::SignalKept { signal } => {
                let message = format!("The signal `{}` is kept: nothing waits for it yet", signal.kind);
                say(LogLevel::Info, message, None);
            }
            Event::TaskCancelled { task, attempt } => {
                say(LogLevel::Info, format!("{task} was cancelled"), Some((task, *attempt)));
            }
            Event::Noted { line } => written.push((line, None)),
            Event::Finished { status, failure, .. } => match failure {
                Some(failure) => {
                    say(LogLevel::Error, format!("Ended as {} ({failure})", status.as_str()), None);
                }
                None => say(LogLevel::Info, format!("Ended as {}", status.as_str()), None),
            },
            _ => {}
        }
    }
    let own = written.into_iter().map(|(line, of)| LogEntry {
        at: line.at,
        level: line.level,
        message: line.message.clone(),
        source: if of.is_some() { "component" } else { "engine" },
        component: of.map(|(task, _)| task.component.to_string()),
        attempt: of.map(|(_, attempt)| attempt).filter(|attempt| *attempt > 0),
        fields: line.fields.clone(),
        seq: turn.seq,
    });
    // What a component wrote came before its end.
    let mut all: Vec<LogEntry> = own.collect();
    all.append(&mut entries);
    all
}

fn skip(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::DeadConnection => "its connections cannot be met any more",
        SkipReason::WhenFalse => "its `when` is false",
        SkipReason::NoPlace => "no place was free under its `concurrency`",
        SkipReason::ScopeEnded => "its scope ends",
        SkipReason::NothingRan => "each of its children was skipped",
        SkipReason::NotTried => "what is tried does without it",
        SkipReason::PassedOver => "it is new in the version moved to, and lies before what had begun",
    }
}

/// How far a journal was read for the list of its attempts: what must be known to read on.
#[derive(Debug, Clone, Default)]
pub(super) struct Reached {
    /// The last turn that was read.
    seq: u32,
    /// How many attempts had begun.
    begun: usize,
    /// The newest attempt of each task that may go on: its place in the list, and its number. A task that has
    /// settled begins no other, so this is as long as what is open.
    newest: HashMap<TaskKey, (usize, u32)>,
    /// The snapshots that it was moved to.
    moved_to: Vec<String>,
}

/// Places in journals that lists of attempts have come to, so that the next page need not begin at the first
/// turn. Where none is known the page is the same, and only costs more.
#[derive(Debug, Default)]
pub(crate) struct Places {
    kept: Mutex<VecDeque<(ExecutionId, Reached)>>,
}

impl Places {
    /// Places that are kept.
    const MOST: usize = 24;

    /// The last place that is known at which no more than `begun` attempts had begun.
    fn before(&self, id: ExecutionId, begun: usize) -> Reached {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of = kept.iter().filter(|(of, place)| *of == id && place.begun <= begun);
        of.max_by_key(|(_, place)| place.seq).map(|(_, place)| place.clone()).unwrap_or_default()
    }

    fn keep(&self, id: ExecutionId, place: Reached) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, known)| *of != id || known.seq != place.seq);
        if kept.len() >= Self::MOST {
            kept.pop_front();
        }
        kept.push_back((id, place));
    }
}

/// One page of the attempts that a journal tells of, in the order in which they began. Of the others only their
/// number is kept.
struct Attempts {
    /// Every version that it has been of so far.
    workflows: Vec<Arc<Workflow>>,
    execution: ExecutionId,
    reached: Reached,
    /// The places in the list that the page shows.
    page: Range<usize>,
    list: Vec<AttemptView>,
    /// What happens to the others is written here, and looked at by nobody.
    other: AttemptView,
}

impl Attempts {
    fn new(execution: ExecutionId, reached: Reached, page: Range<usize>) -> Self {
        let other = AttemptView::of(&TaskKey::of("other".into()), None, 0);
        Self { workflows: Vec::new(), execution, reached, page, list: Vec::new(), other }
    }

    fn kind(&self, id: &str) -> Option<String> {
        self.workflows.iter().rev().find_map(|workflow| {
            let index = workflow.index_of(id)?;
            Some(workflow.components[index].kind.to_string())
        })
    }

    /// Whether what follows changes nothing that the page shows, and it is known that there is more.
    fn is_done(&self) -> bool {
        self.reached.begun > self.page.end
            && !self.reached.newest.values().any(|(index, _)| self.page.contains(index))
    }

    /// The entry for this attempt; one that has no number yet takes it.
    fn at(&mut self, task: &TaskKey, attempt: u32) -> &mut AttemptView {
        let newest = self.reached.newest.get(task);
        let known = newest.filter(|(_, known)| *known == attempt || *known == 0);
        let index = if let Some((index, _)) = known {
            *index
        } else {
            let index = self.reached.begun;
            self.reached.begun += 1;
            if self.page.contains(&index) {
                let kind = self.kind(task.component.as_str());
                self.list.push(AttemptView::of(task, kind, attempt));
            }
            index
        };
        self.reached.newest.insert(task.clone(), (index, attempt));
        let shown = index.checked_sub(self.page.start).filter(|_| self.page.contains(&index));
        let entry = match shown {
            Some(shown) => &mut self.list[shown],
            None => &mut self.other,
        };
        entry.attempt = attempt;
        entry
    }

    /// A task has settled: no attempt of it follows.
    fn settled(&mut self, task: &TaskKey) {
        self.reached.newest.remove(task);
    }

    fn end(entry: &mut AttemptView, status: &'static str, started: Option<Timestamp>, finished: Timestamp) {
        entry.status = status;
        entry.until = None;
        entry.started_at = started.or(entry.started_at);
        entry.finished_at = Some(finished);
        entry.duration_ms = entry.started_at.map(|started| finished.since(started).as_millis() as u64);
    }

    fn give(&mut self, task: &TaskKey, attempt: u32, output: &Payload, ports: &[String]) {
        let execution = self.execution;
        let entry = self.at(task, attempt);
        entry.ports = ports.to_vec();
        match output {
            Payload::Inline(value) => entry.output = Some(value.clone()),
            Payload::Stored(stored) => {
                entry.output_reference = Some(PayloadReference::new(execution, stored.id, stored.size));
            }
        }
    }

    /// A component that does not run: it ended so elsewhere, or somebody says so.
    fn stands(&mut self, task: &TaskKey, from: Option<ExecutionId>, result: &Carry, pinned: bool) {
        let attempts = match result {
            Carry::Completed { attempts, .. } | Carry::Failed { attempts, .. } => *attempts,
            Carry::Skipped { .. } => 0,
        };
        let entry = self.at(task, attempts);
        entry.carried_from = from;
        entry.pinned = pinned;
        match result {
            Carry::Completed { output, ports, .. } => {
                entry.status = "completed";
                self.give(task, attempts, output, ports);
            }
            Carry::Failed { failure, .. } => {
                entry.status = "failed";
                entry.failure = Some(failure.into());
            }
            Carry::Skipped { reason } => {
                entry.status = "skipped";
                entry.reason = Some(skip(*reason).to_owned());
            }
        }
        self.settled(task);
    }

    fn add(&mut self, turn: &Turn) {
        self.reached.seq = turn.seq;
        for event in &turn.events {
            match event {
                Event::Carried { task, from, result } => self.stands(task, Some(*from), result, false),
                Event::Pinned { task, from, result } => self.stands(task, *from, result, true),
                Event::TaskReady { task } => {
                    self.at(task, 0).status = "ready";
                }
                Event::TaskLimited { task, .. } => {
                    self.at(task, 0).status = "limited";
                }
                Event::TaskOffered { task, .. } => {
                    self.at(task, 0).status = "offered";
                }
                Event::TaskDispatched { task, attempt, dispatch, .. } => {
                    let entry = self.at(task, *attempt);
                    entry.status = "dispatched";
                    entry.dispatches = *dispatch;
                    entry.dispatched_at.get_or_insert(turn.at);
                }
                Event::TaskCached { task, from, at, output, ports, .. } => {
                    let entry = self.at(task, 0);
                    Self::end(entry, "completed", None, turn.at);
                    entry.cached = Some(CachedView { execution: *from, at: *at });
                    self.give(task, 0, output, ports);
                    self.settled(task);
                }
                Event::TaskGranted { task, attempt, worker, .. }
                | Event::TaskLeased { task, attempt, worker, .. } => {
                    let entry = self.at(task, *attempt);
                    entry.status = "running";
                    entry.worker = Some(*worker);
                }
                Event::TaskLost { task, attempt, reason } => {
                    let entry = self.at(task, *attempt);
                    Self::end(entry, "lost", None, turn.at);
                    entry.reason = Some(reason.clone());
                }
                Event::TaskReturned { task, attempt } => self.at(task, *attempt).status = "returned",
                Event::TaskCompleted {
                    task,
                    attempt,
                    output,
                    ports,
                    worker,
                    started_at,
                    finished_at,
                    ..
                } => {
                    let entry = self.at(task, *attempt);
                    entry.worker = Some(*worker);
                    Self::end(entry, "completed", Some(*started_at), *finished_at);
                    self.give(task, *attempt, output, ports);
                    self.settled(task);
                }
                Event::TaskFailed { task, attempt, failure, retry_at, worker, started_at, .. } => {
                    let entry = self.at(task, *attempt);
                    entry.worker = worker.or(entry.worker);
                    Self::end(entry, "failed", *started_at, turn.at);
                    entry.failure = Some(failure.into());
                    entry.until = *retry_at;
                    if retry_at.is_none() {
                        self.settled(task);
                    }
                }
                Event::Decided { task, output, ports, .. } => {
                    Self::end(self.at(task, 0), "completed", None, turn.at);
                    self.give(task, 0, output, ports);
                    self.settled(task);
                }
                Event::DecisionFailed { task, failure } => {
                    let entry = self.at(task, 0);
                    Self::end(entry, "failed", None, turn.at);
                    entry.failure = Some(failure.into());
                    self.settled(task);
                }
                Event::Delayed { task, until } => {
                    let entry = self.at(task, 0);
                    entry.status = "delayed";
                    entry.started_at = Some(turn.at);
                    entry.until = Some(*until);
                }
                Event::Opened { task, .. } | Event::ChildOrdered { task, .. } => {
                    let entry = self.at(task, 0);
                    entry.status = "running";
                    entry.started_at = Some(turn.at);
                }
                Event::Asked { task, .. } => {
                    let entry = self.at(task, 0);
                    entry.status = "asked";
                    entry.started_at.get_or_insert(turn.at);
                }
                Event::PermitAsked { task, .. } => self.at(task, 0).status = "limited",
                Event::Awaiting { task, until, .. } => {
                    let entry = self.at(task, 0);
                    entry.status = "awaiting";
                    entry.started_at = Some(turn.at);
                    entry.until = Some(*until);
                }
                Event::Skipped { task, reason } => {
                    let entry = self.at(task, 0);
                    Self::end(entry, "skipped", None, turn.at);
                    entry.reason = Some(skip(*reason).to_owned());
                    self.settled(task);
                }
                Event::TaskCancelled { task, attempt } => {
                    Self::end(self.at(task, *attempt), "cancelled", None, turn.at);
                    self.settled(task);
                }
                _ => {}
            }
        }
    }
}

impl Deeds {
    pub(crate) async fn execution_journal(
        &self,
        caller: &Caller,
        id: ExecutionId,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<JournalList, Problem> {
        caller.must(Permission::Read)?;
        let after = cursor(after)?;
        let limit = page_limit(limit);
        let turns = self.store.execution_turns(caller.tenant, id, after, limit).await?;
        if turns.is_empty() {
            self.execution_row(caller, id).await?;
        }
        let next = turns.last().filter(|_| turns.len() == limit as usize).map(|turn| turn.seq.to_string());
        Ok(JournalList { items: turns.iter().map(shown).collect(), next_cursor: next })
    }

    pub(crate) async fn execution_logs(
        &self,
        caller: &Caller,
        id: ExecutionId,
        query: LogQuery,
    ) -> Result<LogList, Problem> {
        caller.must(Permission::Read)?;
        let mut after = cursor(query.cursor.as_deref())?;
        let limit = page_limit(query.limit) as usize;
        if after == 0 {
            self.execution_row(caller, id).await?;
        }
        let mut items = Vec::new();
        loop {
            let turns = self.store.execution_turns(caller.tenant, id, after, TURNS).await?;
            let is_last = turns.len() < TURNS as usize;
            let mut turns = turns.into_iter().peekable();
            while let Some(turn) = turns.next() {
                after = turn.seq;
                items.extend(lines(&turn).into_iter().filter(|entry| {
                    query.level.is_none_or(|least| entry.level >= least)
                        && query.component.as_deref().is_none_or(|of| entry.component.as_deref() == Some(of))
                }));
                let more = turns.peek().is_some() || !is_last;
                if items.len() >= limit && more {
                    return Ok(LogList { items, next_cursor: Some(after.to_string()) });
                }
            }
            if is_last {
                return Ok(LogList { items, next_cursor: None });
            }
        }
    }

    pub(crate) async fn execution_tasks(
        &self,
        caller: &Caller,
        id: ExecutionId,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<TaskList, Problem> {
        caller.must(Permission::Read)?;
        let skip = cursor(after)? as usize;
        let limit = page_limit(limit) as usize;
        let first = self.store.execution_turns(caller.tenant, id, 0, 1).await?;
        let Some(first) = first.first() else { return Err(Problem::not_found(id)) };
        let Some(Event::Accepted(accepted)) = first.events.first() else {
            return Err(Problem::internal(format_args!(
                "the journal of {id} does not begin with its acceptance"
            )));
        };
        let page = skip..skip.saturating_add(limit);
        let mut attempts = Attempts::new(id, self.places.before(id, skip), page.clone());
        attempts.workflows.push(self.snapshot(&accepted.hash).await?);
        for hash in attempts.reached.moved_to.clone() {
            attempts.workflows.push(self.snapshot(&hash).await?);
        }
        loop {
            let before = attempts.reached.clone();
            let turns = self.store.execution_turns(caller.tenant, id, before.seq, TURNS).await?;
            for turn in &turns {
                if let Some(moved) = turn.moved() {
                    attempts.workflows.push(self.snapshot(&moved.hash).await?);
                    attempts.reached.moved_to.push(moved.hash.clone());
                }
                attempts.add(turn);
            }
            // The next page begins behind this place.
            if (before.begun..attempts.reached.begun).contains(&page.end) {
                self.places.keep(id, before);
            }
            if turns.len() < TURNS as usize || attempts.is_done() {
                break;
            }
        }
        let more = attempts.reached.begun > page.end;
        Ok(TaskList { items: attempts.list, next_cursor: more.then(|| page.end.to_string()) })
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        component::{Failure, FailureClass},
        ids::{MessageId, Token},
    };

    use super::*;

    fn turn(seq: u32, events: Vec<Event>) -> Turn {
        Turn {
            execution: ExecutionId::generate(),
            seq,
            cause: MessageId::generate(),
            at: Timestamp::from_micros(i64::from(seq) * 1_000_000),
            events,
        }
    }

    #[test]
    fn a_lease_is_shown_without_its_token() {
        let token = Token::generate();
        let value = shown(&turn(
            2,
            vec![Event::TaskLeased {
                task: TaskKey::of("a".into()),
                attempt: 1,
                worker: WorkerId::generate(),
                token,
                until: Timestamp::from_micros(1),
            }],
        ));
        assert!(!value.to_string().contains(&token.as_uuid().to_string()));
        assert_eq!(value["events"][0]["task_leased"]["attempt"], 1);
    }

    #[test]
    fn a_retry_is_a_line_that_says_why_and_until_when() {
        let entries = lines(&turn(
            3,
            vec![Event::TaskFailed {
                task: TaskKey::of("fetch".into()),
                attempt: 1,
                failure: Failure::new(FailureClass::Http5xx, "the shop answered 502"),
                retry_at: Some(Timestamp::from_micros(9_000_000)),
                worker: None,
                started_at: None,
                log: vec![LogLine {
                    at: Timestamp::from_micros(2_500_000),
                    level: LogLevel::Info,
                    message: "asking the shop".to_owned(),
                    fields: None,
                }],
            }],
        ));
        let texts: Vec<&str> = entries.iter().map(|entry| entry.message.as_str()).collect();
        assert_eq!(
            texts,
            [
                "asking the shop",
                "fetch, attempt 1, failed (http_5xx: the shop answered 502); the next attempt is due at \
                 1970-01-01T00:00:09.000000Z"
            ]
        );
        assert_eq!(entries[1].level, LogLevel::Warn);
    }
}
