//! Why is it waiting? For anything that does not run, one true sentence and the facts behind it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use serde::Serialize;
use shared::{
    execution::{Execution, Inner, Phase, Place, Status, TaskKey},
    ids::{ExecutionId, WorkerId},
    port::slots::{EXECUTIONS_KEY, SlotOwner, SlotOwners, tenants_take_turns, written_key},
    time::{Timestamp, format_duration},
    wire::WorkerRecord,
    workflow::{Component, Output},
};
use utoipa::ToSchema;

use super::{Deeds, workers::HEARD_WITHIN};
use crate::{
    caller::Caller,
    problem::{Code, Problem},
};

/// How long the broker may take to show that it is there.
const BROKER_WITHIN: Duration = Duration::from_secs(1);

/// Waiting things that one answer lists.
const MOST_SHOWN: usize = 500;
/// Lines that one answer looks into, and owners of a place that it names.
const MOST_LINES: usize = 100;
const MOST_OWNERS: u32 = 100;

/// Who holds what is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Holder {
    /// The execution that holds it.
    #[schema(value_type = String)]
    pub execution: ExecutionId,
    /// Its task, when that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub task: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// One thing that waits.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// The component; absent when the execution as a whole waits.
    pub component: Option<String>,
    /// The rounds of the loops it stands in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iteration: Vec<u32>,
    /// `paused`, `scheduled`, `slot`, `rate_limit`, `coordinator`, `connections`, `dispatch_window`, `retry`, `delay`, `no_worker`,
    /// `no_worker_for_type`, `no_worker_with_tags`, `workers_busy`, `worker`, `running`, `person`, `event`,
    /// `sub_workflow`, `broker`, `cleaning_up` or `ending`.
    #[schema(example = "retry")]
    pub reason: &'static str,
    /// The same for people.
    pub sentence: String,
    /// When it goes on, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The key that it waits in line for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who holds what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Vec<Holder>>,
    /// How many come before it in the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u32>,
    /// How many turns its tenant has where one of weight 1 has one, where tenants take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The components it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// The worker that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub worker: Option<WorkerId>,
}

impl Waiting {
    fn new(component: Option<&Component>, reason: &'static str, sentence: String) -> Self {
        Self {
            component: component.map(|component| component.id.to_string()),
            iteration: Vec::new(),
            reason,
            sentence,
            until: None,
            key: None,
            holders: None,
            ahead: None,
            weight: None,
            waits_for: Vec::new(),
            worker: None,
        }
    }

    fn until(mut self, at: Timestamp) -> Self {
        self.until = Some(at);
        self
    }
}

/// Why an execution waits.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Why {
    /// The execution.
    #[schema(value_type = String)]
    pub execution: ExecutionId,
    /// Its status word.
    #[schema(value_type = String, example = "running")]
    pub status: Status,
    /// The whole in one sentence.
    pub summary: String,
    /// Each thing that waits or is on its way.
    pub waiting: Vec<Waiting>,
}

/// What there is to know beside the journal.
struct Surroundings<'a> {
    now: Timestamp,
    /// Who holds the keys that are waited for, and who waits in their lines.
    lines: &'a HashMap<String, SlotOwners>,
    workers: &'a [WorkerRecord],
    /// Whether nothing can be sent or reported at present.
    is_broker_away: bool,
}

/// Why something stands in line for `key`, and is the execution's or that of its `task`.
fn in_line(
    (execution, task): (ExecutionId, Option<&TaskKey>),
    component: Option<&Component>,
    (key, limit): (&str, u32),
    around: &Surroundings<'_>,
) -> Waiting {
    let none = SlotOwners::default();
    let owners = around.lines.get(key).unwrap_or(&none);
    let is_it = |owner: &SlotOwner| owner.execution == execution && owner.task.as_ref() == task;
    let ahead = owners.waiting.iter().position(is_it).map(|ahead| ahead as u32);
    let name = if key == EXECUTIONS_KEY {
        match limit {
            1 => "the one place for executions at once".to_owned(),
            _ => format!("one of the {limit} places for executions at once"),
        }
    } else if limit == 1 {
        format!("the place under `{}`", written_key(key))
    } else {
        format!("one of the {limit} places under `{}`", written_key(key))
    };
    let of = |owner: &SlotOwner| match &owner.task {
        Some(task) => format!("{task} of {}", owner.execution),
        None => owner.execution.to_string(),
    };
    let held = match owners.holders.as_slice() {
        holders if (holders.len() as u32) < limit => "which are not all taken any more".to_owned(),
        [one] => format!("which {} holds", of(one)),
        [first, ..] => format!("which are all taken, first by {}", of(first)),
        [] => "which nobody may have".to_owned(),
    };
    let held = if limit == 1 { held.replace("are not all taken any more", "is free again") } else { held };
    let turns = if tenants_take_turns(key) { ", and tenants take turns" } else { "" };
    let before = match ahead {
        None if owners.waiting.len() >= MOST_OWNERS as usize => {
            format!("; {MOST_OWNERS} or more come before it{turns}")
        }
        None | Some(0) => String::new(),
        Some(ahead) => format!("; {ahead} come before it{turns}"),
    };
    let sentence = format!("It waits for {name}, {held}{before}.");
    let holders = owners.holders.iter().map(|holder| Holder {
        execution: holder.execution,
        task: holder.task.as_ref().map(ToString::to_string),
        since: holder.since,
    });
    Waiting {
        key: Some(written_key(key).to_owned()),
        holders: Some(holders.collect()),
        ahead,
        ..Waiting::new(component, "slot", sentence)
    }
}

/// A duration a person can read: whole seconds above one second.
fn roughly(duration: Duration) -> String {
    if duration >= Duration::from_secs(1) {
        format_duration(Duration::from_secs(duration.as_secs()))
    } else {
        format_duration(Duration::from_millis(duration.as_millis() as u64))
    }
}

fn pending(execution: &Execution, around: &Surroundings<'_>) -> Waiting {
    if let Some(at) = execution.accepted.scheduled_at.filter(|at| *at > around.now) {
        let sentence = format!("It is scheduled to start at {at}, in {}.", roughly(at.since(around.now)));
        return Waiting::new(None, "scheduled", sentence).until(at);
    }
    if let Some(line) = &execution.line {
        let waiting = in_line((execution.id, None), None, (&line.key, line.limit), around);
        return Waiting { weight: line.weight, ..waiting };
    }
    let age = roughly(around.now.since(execution.last_at));
    if around.is_broker_away {
        let sentence = format!(
            "It was accepted {age} ago; the broker does not answer, and it is taken up when it does again."
        );
        return Waiting::new(None, "broker", sentence);
    }
    Waiting::new(
        None,
        "coordinator",
        format!("It was accepted {age} ago and waits for a coordinator to take it up."),
    )
}

fn port_name(from: &Component, port: &Output) -> String {
    match port {
        Output::Success => from.id.to_string(),
        Output::Error => format!("{}.error", from.id),
        Output::Timeout => format!("{}.timeout", from.id),
        Output::Own(own) => match from.ports.get(*own) {
            Some(name) => format!("{}.{name}", from.id),
            None => from.id.to_string(),
        },
    }
}

/// Why a task that was sent has not come back.
fn dispatched(execution: &Execution, place: Place, around: &Surroundings<'_>) -> Waiting {
    let component = execution.component(place);
    let state = execution.at(place);
    let since = roughly(around.now.since(state.dispatched_at));
    if let Some(fence) = &state.fence {
        let result = if around.is_broker_away {
            " The broker does not answer, and its result waits for it."
        } else {
            ""
        };
        let sentence = format!("{} runs it; it was sent {since} ago.{result}", fence.worker);
        let waiting = Waiting::new(Some(component), "running", sentence);
        return Waiting { worker: Some(fence.worker), ..waiting };
    }
    // Of workers nothing is heard then either.
    if around.is_broker_away {
        let sentence = format!(
            "It was sent {since} ago; the broker does not answer, and what it and the workers say to each other waits for it."
        );
        return Waiting::new(Some(component), "broker", sentence);
    }
    let pool = &component.placement.pool;
    let in_pool: Vec<&WorkerRecord> =
        around.workers.iter().filter(|worker| *worker.pool == **pool && !worker.draining).collect();
    if in_pool.is_empty() {
        let sentence = format!("No worker of the pool `{pool}` is alive; it was sent {since} ago.");
        return Waiting::new(Some(component), "no_worker", sentence);
    }
    let able: Vec<&&WorkerRecord> =
        in_pool.iter().filter(|worker| worker.kinds.iter().any(|kind| **kind == *component.kind)).collect();
    if able.is_empty() {
        let sentence = format!("No worker of the pool `{pool}` offers the type `{}`.", component.kind);
        return Waiting::new(Some(component), "no_worker_for_type", sentence);
    }
    let tags = &component.placement.tags;
    let tagged: Vec<&&&WorkerRecord> =
        able.iter().filter(|worker| tags.iter().all(|tag| worker.tags.contains(tag))).collect();
    if tagged.is_empty() {
        let sentence = format!("No worker of the pool `{pool}` has all the tags {}.", tags.join(", "));
        return Waiting::new(Some(component), "no_worker_with_tags", sentence);
    }
    let all_busy = tagged.iter().all(|worker| worker.running >= worker.concurrency);
    if all_busy {
        let sentence = format!(
            "It was sent {since} ago; the {} worker(s) of the pool `{pool}` that can run it are busy, perhaps with it.",
            tagged.len()
        );
        return Waiting::new(Some(component), "workers_busy", sentence);
    }
    let sentence =
        format!("It was sent to the pool `{pool}` {since} ago and is with a worker or about to be.");
    Waiting::new(Some(component), "worker", sentence)
}

fn component(execution: &Execution, place: Place, around: &Surroundings<'_>) -> Option<Waiting> {
    let component = execution.component(place);
    let state = execution.at(place);
    Some(match state.phase {
        Phase::Waiting => {
            let waits_for: Vec<String> = component
                .needs
                .iter()
                .filter(|need| {
                    let from = Place { scope: place.scope, component: need.from as u32 };
                    !execution.at(from).phase.is_settled()
                })
                .map(|need| port_name(&execution.workflow.components[need.from], &need.port))
                .collect();
            let sentence = if waits_for.is_empty() && execution.is_paused() {
                "Its connections have settled; it is taken up when the pause ends.".to_owned()
            } else if waits_for.is_empty() {
                "Its connections have settled; the next decision takes it up.".to_owned()
            } else {
                format!("It waits for {}.", waits_for.join(", "))
            };
            Waiting { waits_for, ..Waiting::new(Some(component), "connections", sentence) }
        }
        Phase::Ready if execution.is_paused() => {
            Waiting::new(Some(component), "paused", "It may run, and is sent when the pause ends.".to_owned())
        }
        Phase::Ready if around.is_broker_away => {
            let since = roughly(around.now.since(state.since));
            let sentence = format!(
                "It may run since {since}; the broker does not answer, and it is sent when it does again."
            );
            Waiting::new(Some(component), "broker", sentence)
        }
        Phase::Ready => Waiting::new(
            Some(component),
            "dispatch_window",
            format!(
                "It may run since {} and waits until the dispatch window has room.",
                roughly(around.now.since(state.since))
            ),
        ),
        Phase::Limited if execution.is_paused() => {
            let sentence = "It comes to the end of its line when the pause ends.".to_owned();
            Waiting::new(Some(component), "paused", sentence)
        }
        Phase::Limited => {
            let slot = state.slot.as_ref()?;
            let key = execution.key(place);
            in_line((execution.id, Some(&key)), Some(component), (&slot.key, slot.limit), around)
        }
        Phase::Offered => Waiting::new(
            Some(component),
            "no_worker",
            format!(
                "No worker offers `{}`: it has waited {} for one outside this platform to ask for it.",
                component.kind,
                roughly(around.now.since(state.since))
            ),
        ),
        Phase::Dispatched => dispatched(execution, place, around),
        Phase::Retrying(at) => {
            let why = state.failure.as_ref().map(|failure| format!(" ({failure})")).unwrap_or_default();
            let sentence = format!(
                "Attempt {} failed{why}; the next one is due at {at}, in {}.",
                state.attempt,
                roughly(at.since(around.now))
            );
            Waiting::new(Some(component), "retry", sentence).until(at)
        }
        Phase::Asking => {
            let Some(Inner::Permit(permit)) = state.inner.as_deref() else { return None };
            let sentence =
                format!("It asks when the rate limit `{}` ({}) lets it through.", permit.key, permit.rate);
            Waiting { key: Some(permit.key.clone()), ..Waiting::new(Some(component), "rate_limit", sentence) }
        }
        Phase::Delayed(at) => match state.inner.as_deref() {
            Some(Inner::Permit(permit)) => {
                let sentence = format!(
                    "The rate limit `{}` ({}) lets it through at {at}, {} from now.",
                    permit.key,
                    permit.rate,
                    roughly(at.since(around.now))
                );
                let waiting = Waiting::new(Some(component), "rate_limit", sentence).until(at);
                Waiting { key: Some(permit.key.clone()), ..waiting }
            }
            _ => {
                let sentence = format!("It waits until {at}, {} from now.", roughly(at.since(around.now)));
                Waiting::new(Some(component), "delay", sentence).until(at)
            }
        },
        // What is inside says it.
        Phase::Open => match execution.container(place).map(|container| &container.rounds) {
            Some(shared::execution::Rounds { paused_until: Some(until), next, .. }) => {
                let sentence = format!("It pauses until {until}, before round {next}.");
                Waiting::new(Some(component), "delay", sentence).until(*until)
            }
            _ => return None,
        },
        Phase::Calling => {
            let Some(Inner::Child(child)) = state.inner.as_deref() else { return None };
            let sentence = format!("It waits for {}, which runs `{}`.", child.id, child.workflow);
            let waiting = Waiting::new(Some(component), "sub_workflow", sentence);
            Waiting { waits_for: vec![child.id.to_string()], ..waiting }
        }
        Phase::Asked => {
            let person = execution.person(place)?;
            let since = roughly(around.now.since(state.since));
            let whom = match &person.claimed_by {
                Some(by) => format!("{by}, who took it on"),
                None => person.assignees.join(", "),
            };
            let answers = match person.answers.len() {
                0 => String::new(),
                some => format!(" {some} of {} have answered.", person.assignees.len()),
            };
            let sentence = format!("It has waited {since} for an answer of {whom}.{answers}");
            let waiting = Waiting::new(Some(component), "person", sentence);
            let waiting = Waiting { waits_for: person.assignees.clone(), ..waiting };
            match person.ask.expires_at {
                Some(at) => waiting.until(at),
                None => waiting,
            }
        }
        Phase::Awaiting => {
            let Some(Inner::Wait(wait)) = state.inner.as_deref() else { return None };
            let sentence = format!(
                "It waits for the event `{}` with the key `{}` until {}.",
                wait.event, wait.key, wait.until
            );
            Waiting::new(Some(component), "event", sentence).until(wait.until)
        }
        Phase::Completed | Phase::Failed | Phase::Skipped | Phase::Cancelled => return None,
    })
}

fn explain(execution: &Execution, around: &Surroundings<'_>) -> Why {
    let mut waiting = Vec::new();
    if let Some(pause) = &execution.pause {
        let reason =
            if pause.reason.is_empty() { ".".to_owned() } else { format!(": {}", pause.reason.trim_end()) };
        let sentence = format!("It is paused by {} since {}{reason}", pause.by, pause.since);
        waiting.push(Waiting::new(None, "paused", sentence));
    }
    if let Some(cancel) = execution.cancel.as_ref().filter(|_| execution.is_cancelling()) {
        let sentence = format!("{} asked for its end; it waits for its running tasks to stop.", cancel.by);
        waiting.push(Waiting::new(None, "ending", sentence));
    } else if let Some(outcome) = execution.outcome.as_ref().filter(|_| !execution.status.is_terminal()) {
        let sentence = format!(
            "It will end as {}; its compensations, `on_failure` and `finally` come first.",
            outcome.status.as_str()
        );
        waiting.push(Waiting::new(None, "cleaning_up", sentence));
    } else if let Some(failure) =
        execution.root().stopping.as_ref().filter(|_| !execution.status.is_terminal())
    {
        let sentence = format!("It ends ({failure}) and waits for its running tasks to stop.");
        waiting.push(Waiting::new(None, "ending", sentence));
    }
    match execution.status {
        Status::Completed | Status::Failed | Status::Cancelled => {}
        Status::Pending => waiting.push(pending(execution, around)),
        Status::Running | Status::Paused => {
            let is_ending = waiting.iter().any(|waiting| waiting.reason == "ending");
            for scope in execution.open_scopes() {
                for place in execution.places(scope) {
                    let phase = execution.at(place).phase;
                    if is_ending && phase != Phase::Dispatched {
                        continue;
                    }
                    // A loop of a thousand rounds says enough with the first hundred of them.
                    if waiting.len() < MOST_SHOWN {
                        waiting.extend(component(execution, place, around).map(|waiting| {
                            let iteration = execution.scope(place.scope).iteration.0.clone();
                            Waiting { iteration, ..waiting }
                        }));
                    }
                }
            }
            // What holds others up comes first: what only waits for its connections is the longest list.
            waiting.sort_by_key(|waiting| waiting.reason == "connections");
        }
    }
    let summary = match execution.status {
        status if status.is_terminal() => {
            format!("It ended as {} at {}; nothing waits.", status.as_str(), execution.last_at)
        }
        _ => match waiting.iter().find(|waiting| waiting.reason != "connections").or(waiting.first()) {
            Some(Waiting { component: None, sentence, .. }) => sentence.clone(),
            Some(Waiting { component: Some(component), sentence, .. }) => {
                let others = waiting.len() - 1;
                let more =
                    if others > 0 { format!(" {others} more component(s) wait.") } else { String::new() };
                format!("`{component}`: {sentence}{more}")
            }
            None => "Everything has settled; the next decision ends it.".to_owned(),
        },
    };
    Why { execution: execution.id, status: execution.status, summary, waiting }
}

impl Deeds {
    /// Why an execution waits.
    ///
    /// # Errors
    /// Without the database nothing of it can be read: the problem says that everything waits for it.
    pub(crate) async fn execution_why(&self, caller: &Caller, id: ExecutionId) -> Result<Why, Problem> {
        self.read_why(caller, id).await.map_err(|problem| match problem.code {
            // Nothing is done here whose outcome could be unknown.
            Code::StoreUnavailable | Code::OutcomeUnknown => Problem::new(
                Code::StoreUnavailable,
                format!(
                    "The database does not answer, so {id} cannot be read. Nothing is decided meanwhile: it waits for the \
                     database, and goes on when that answers again."
                ),
            ),
            _ => problem,
        })
    }

    async fn read_why(&self, caller: &Caller, id: ExecutionId) -> Result<Why, Problem> {
        let row = self.execution_row(caller, id).await?;
        let is_broker_away = !row.status.is_terminal() && self.queue.check(BROKER_WITHIN).await.is_err();
        let workers: Vec<WorkerRecord> =
            self.store.workers(HEARD_WITHIN).await?.into_iter().map(|(record, _)| record).collect();
        let now = self.clock.now(&self.store).await?;
        let folded = self.fold(caller.tenant, id).await?;
        let execution =
            folded.as_ref().and_then(|slot| slot.as_ref()).ok_or_else(|| Problem::not_found(id))?;
        let slots = execution.limited.iter().filter_map(|place| execution.at(*place).slot.as_ref());
        let mut keys: BTreeSet<String> = slots.map(|slot| slot.key.clone()).take(MOST_LINES).collect();
        keys.extend(execution.line.as_ref().map(|line| line.key.clone()));
        let mut lines = HashMap::new();
        for key in keys {
            lines.insert(key.clone(), self.store.slot_owners(&key, MOST_OWNERS).await?);
        }
        let around = Surroundings { now, lines: &lines, workers: &workers, is_broker_away };
        Ok(explain(execution, &around))
    }
}
