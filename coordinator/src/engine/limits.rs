//! Places under a `concurrency`: taken with the turn that starts something, given back with the turn that ends it.
//!
//! A turn takes the places it needs as if they were free. When the store says that one is not, the same input is
//! decided again with what stands about that key ([`Surroundings::full`](super::Surroundings)): then who finds no
//! place waits in line for it, or does what its `on_conflict` says.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use shared::{
    component::{Failure, FailureClass, Runs},
    execution::{Event, Execution, Inner, Phase, Place, ROOT, SkipReason, Status, TaskKey},
    expression::EvaluationError,
    ids::{ExecutionId, MessageId, TenantId},
    port::slots::{
        EXECUTIONS_KEY, FullSlot, SlotClaim, SlotOwner, tenant_group, tenants_take_turns, written_key,
    },
    workflow::{Concurrency, OnConflict, limit_key},
};

use super::{Command, Loaded, Needs, Rules, StateScope, Turning};

/// Tasks of one key that are tried at once when the line is called: nearly always there is one place.
const CALLED_AT_ONCE: usize = 16;

/// What stands about the keys that a turn could not have.
pub type Full = HashMap<String, FullSlot>;

/// A place that an execution needs to begin.
#[derive(Debug)]
pub(super) struct Claim {
    slot: SlotClaim,
    on_conflict: OnConflict,
}

/// What a task finds that asks for its place.
pub(super) enum Stand {
    /// It may run; with the key of a place that it takes now.
    Runs(Option<String>),
    /// It stands in line.
    Waits,
    /// It was skipped or failed over it.
    Settled,
}

fn claim(key: String, group: Option<String>, concurrency: (u32, OnConflict), of: &Execution) -> SlotClaim {
    let (limit, on_conflict) = concurrency;
    SlotClaim {
        key,
        limit,
        task: None,
        priority: of.accepted.priority,
        group,
        weight: 1,
        displaces: on_conflict == OnConflict::CancelRunning,
    }
}

/// The places that an execution holds while it runs. What its author limits comes first.
pub(super) fn claims(
    execution: &Execution,
    payloads: &Loaded,
    rules: &Rules,
) -> Result<Vec<Claim>, EvaluationError> {
    let mut claims = Vec::new();
    let workflow = execution.accepted.workflow.as_uuid();
    if let Some(Concurrency { key, limit, on_conflict }) = &execution.workflow.concurrency
        && let Some(text) = limit_key(&key.render(&StateScope::new(execution, payloads, ROOT))?.value)
    {
        let (key, group) = match on_conflict {
            OnConflict::Fair => (format!("workflow/{workflow}"), Some(text)),
            _ => (format!("workflow/{workflow}/{text}"), None),
        };
        let slot = claim(key, group, (*limit, *on_conflict), execution);
        claims.push(Claim { slot, on_conflict: *on_conflict });
    }
    if let Some(origin) = &execution.accepted.trigger
        && let Some(slot) = &origin.slot
    {
        let key = format!("trigger/{}/{}", origin.trigger.as_uuid(), slot.key);
        let on_conflict = slot.on_conflict;
        let slot = claim(key, None, (slot.limit, on_conflict), execution);
        claims.push(Claim { slot, on_conflict });
    }
    // Who is waited for runs in the place of the one that waits: with places of their own, as many callers as there
    // are places would wait for ever.
    if execution.accepted.parent.as_ref().is_none_or(|parent| !parent.waits || planted!(B53ChildTakesAPlace))
    {
        let limit = (rules.max_concurrent_executions, OnConflict::Queue);
        let tenant = execution.accepted.tenant;
        let tenant = if planted!(B85TenantsTakeNoTurns) { TenantId::DEFAULT } else { tenant };
        let slot = SlotClaim {
            weight: rules.weight(tenant),
            ..claim(EXECUTIONS_KEY.to_owned(), Some(tenant_group(tenant)), limit, execution)
        };
        claims.push(Claim { slot, on_conflict: OnConflict::Queue });
    }
    Ok(claims)
}

/// The keys of the places that an execution holds as a whole.
pub(super) fn keys(execution: &Execution, payloads: &Loaded, rules: &Rules) -> Vec<String> {
    // What cannot be resolved any more is found by who looks at the lines.
    let claims = claims(execution, payloads, rules).unwrap_or_default();
    claims.into_iter().map(|claim| claim.slot.key).collect()
}

/// Those who must go, so that one who comes after all of them has a place: the oldest.
fn in_the_way(full: &FullSlot, limit: u32) -> impl Iterator<Item = &SlotOwner> {
    let before = full.owners.holders.len() + full.owners.waiting.len();
    let too_many = (before + 1).saturating_sub(limit as usize);
    full.owners.holders.iter().chain(&full.owners.waiting).take(too_many)
}

/// What asks others to make room for what waits here; only for what the turn of `cause` put in line, when given.
pub(super) fn displacing(execution: &Execution, cause: Option<MessageId>) -> Vec<Command> {
    let is_of = |made_by: MessageId| cause.is_none_or(|cause| cause == made_by);
    let line = execution.line.as_deref().filter(|line| is_of(line.cause));
    let executions = line.into_iter().flat_map(|line| &line.displaces);
    let mut commands: Vec<Command> =
        executions.map(|of| Command::Displace { execution: *of, task: None }).collect();
    for state in execution.limited.iter().map(|place| execution.at(*place)).filter(|state| is_of(state.cause))
    {
        if let Some(Inner::Displacing(tasks)) = state.inner.as_deref() {
            commands.extend(tasks.iter().map(|(of, task)| displace(*of, task)));
        }
    }
    commands
}

fn displace(execution: ExecutionId, task: &TaskKey) -> Command {
    Command::Displace { execution, task: Some(task.clone()) }
}

impl Turning<'_> {
    /// Whether an execution may begin. Otherwise it was put in line, or has ended over it.
    pub(super) fn enters(&mut self, claims: Vec<Claim>) -> bool {
        let full = claims.iter().find_map(|claim| {
            let full = self.around.full.get(&claim.slot.key).filter(|full| full.free == 0)?;
            Some((claim, full))
        });
        let Some((Claim { slot, on_conflict }, full)) = full else {
            self.made.take.extend(claims.into_iter().map(|claim| claim.slot));
            return true;
        };
        if *on_conflict == OnConflict::DropNew {
            let key = written_key(&slot.key);
            let message = format!("dropped: {} run already under `{key}`", slot.limit);
            let failure = Failure::new(FailureClass::Cancelled, message)
                .with_details(json!({ "reason": "dropped", "key": key }));
            self.finish(Status::Cancelled, None, Some(failure));
            return false;
        }
        self.made.wait.push(slot.clone());
        if self.execution.line.as_deref().is_none_or(|line| line.key != slot.key) {
            self.leave_the_lines();
            let displaces: Vec<ExecutionId> = match on_conflict {
                OnConflict::CancelRunning => in_the_way(full, slot.limit).map(|it| it.execution).collect(),
                _ => Vec::new(),
            };
            let commands = displaces.iter().map(|of| Command::Displace { execution: *of, task: None });
            self.made.commands.extend(commands);
            let weight = tenants_take_turns(&slot.key).then_some(slot.weight);
            self.emit(Event::Blocked { key: slot.key.clone(), limit: slot.limit, displaces, weight });
            self.made.sweep_at = Some(self.around.now.after(self.around.rules.silence));
        }
        false
    }

    /// The place that a task needs, if it needs one.
    fn task_claim(&self, place: Place) -> Result<Option<SlotClaim>, EvaluationError> {
        let component = self.execution.component(place);
        let Some(Concurrency { key, limit, on_conflict }) = &component.concurrency else { return Ok(None) };
        let Some(text) = limit_key(&key.render(&self.scope(place))?.value) else { return Ok(None) };
        let workflow = self.execution.accepted.workflow.as_uuid();
        let (key, group) = match on_conflict {
            OnConflict::Fair => (format!("task/{workflow}/{}/", component.id), Some(text)),
            _ => (format!("task/{workflow}/{text}"), None),
        };
        let claim = claim(key, group, (*limit, *on_conflict), self.execution);
        Ok(Some(SlotClaim { task: Some(self.key(place)), ..claim }))
    }

    /// Asks for the place of a task that is about to be ordered.
    pub(super) fn place_for(&mut self, place: Place) -> Result<Stand, Needs> {
        let workflow = Arc::clone(&self.execution.workflow);
        let Some(concurrency) = &workflow.components[place.index()].concurrency else {
            return Ok(Stand::Runs(None));
        };
        if self.execution.at(place).slot.as_ref().is_some_and(|slot| slot.is_held) {
            return Ok(Stand::Runs(None));
        }
        let claim = match self.task_claim(place) {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(Stand::Runs(None)),
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => {
                self.drop_task_timers(place);
                self.decision_failed(place, failure)?;
                return Ok(Stand::Settled);
            }
        };
        let full = self.around.full.get(&claim.key);
        let taken = self.made.take.iter().filter(|taken| taken.key == claim.key).count();
        let Some(full) = full.filter(|full| taken >= full.free as usize) else {
            let key = claim.key.clone();
            self.made.take.push(claim);
            return Ok(Stand::Runs(Some(key)));
        };
        if concurrency.on_conflict == OnConflict::DropNew {
            self.drop_task_timers(place);
            self.emit(Event::Skipped { task: self.key(place), reason: SkipReason::NoPlace });
            self.settled(place)?;
            return Ok(Stand::Settled);
        }
        if self.phase(place) != Phase::Limited {
            let displaces: Vec<(ExecutionId, TaskKey)> = match concurrency.on_conflict {
                OnConflict::CancelRunning => in_the_way(full, claim.limit)
                    .filter_map(|owner| Some((owner.execution, owner.task.clone()?)))
                    .collect(),
                _ => Vec::new(),
            };
            self.made.commands.extend(displaces.iter().map(|(of, task)| displace(*of, task)));
            self.emit(Event::TaskLimited {
                task: self.key(place),
                key: claim.key.clone(),
                limit: claim.limit,
                displaces,
            });
        }
        self.made.wait.push(claim);
        Ok(Stand::Waits)
    }

    /// Tries again what stands in line: a place may be free now. After a pause all of it takes its stand again.
    pub(super) fn call_the_line(&mut self, all: bool) -> Result<(), Needs> {
        let stands = self.execution.status != Status::Running || self.execution.is_cancelling();
        if planted!(B70LineNotCalled)
            || stands
            || self.execution.limited.is_empty()
            || self.execution.is_paused()
        {
            return Ok(());
        }
        let mut called: HashMap<String, (usize, usize)> = HashMap::new();
        for place in self.execution.limited.clone() {
            if !self.is_open(place) || self.phase(place) != Phase::Limited {
                continue;
            }
            let Some(slot) = &self.execution.at(place).slot else { continue };
            let key = slot.key.clone();
            let (tried, _) = called.entry(key.clone()).or_default();
            if !all && (*tried >= CALLED_AT_ONCE || self.ordered >= self.around.room) {
                self.made.held_back |= *tried < CALLED_AT_ONCE;
                continue;
            }
            *tried += 1;
            let runs = self.execution.component(place).runs;
            match runs {
                Runs::External => self.offer(place)?,
                // Whoever it waited for may have given what it would.
                _ if self.recalled(place)? => {}
                _ => {
                    let (attempt, dispatch) = super::tasks::next_dispatch(self.execution, place);
                    self.send(place, attempt, dispatch)?;
                }
            }
            if !self.is_open(place) || self.phase(place) != Phase::Limited {
                called.entry(key).or_default().1 += 1;
            }
        }
        // All that were tried had a place: there may be more.
        if called.values().any(|(tried, had)| *tried >= CALLED_AT_ONCE && tried == had) {
            self.made.commands.push(Command::GoOn);
        }
        Ok(())
    }

    /// A newer task takes the place of this one, which fails; it may have ended, or given it back.
    pub(super) fn displaced(&mut self, task: &TaskKey, by: ExecutionId) -> Result<(), Needs> {
        let Ok(place) = self.execution.place_of(task) else { return Ok(()) };
        let state = self.execution.at(place);
        if state.slot.is_none() || self.execution.is_cancelling() {
            return Ok(());
        }
        let (attempt, runs) = (state.attempt, state.phase == Phase::Dispatched);
        let failure = Failure::new(FailureClass::Cancelled, format!("a newer task of {by} took its place"))
            .with_details(json!({ "reason": "displaced", "by": by }));
        if runs {
            self.finished(place, attempt, Status::Cancelled, Some(&failure), None);
            self.stopped.push(task.clone());
        }
        self.fail_task(place, failure)
    }

    /// Leaves every line: for the time of a pause, or for ever.
    pub(super) fn leave_the_lines(&mut self) {
        if let Some(line) = self.execution.line.as_deref() {
            self.made.freed.push(line.key.clone());
            self.made.give.push(None);
        }
        for place in &self.execution.limited {
            if let Some(slot) = &self.execution.at(*place).slot {
                self.made.freed.push(slot.key.clone());
            }
            self.made.give.push(Some(self.execution.key(*place)));
        }
    }

    /// What the turn gave back goes with it, and what it took for it does not.
    pub(super) fn give_back(&mut self) {
        for given in self.execution.take_given_back() {
            let phase = self.execution.place_of(&given.task).map(|place| self.phase(place));
            if planted!(B67SlotKeptInBackoff) && matches!(phase, Ok(Phase::Retrying(_))) {
                continue;
            }
            let of_it = |claim: &SlotClaim| claim.task.as_ref() == Some(&given.task);
            self.made.take.retain(|claim| !of_it(claim));
            self.made.wait.retain(|claim| !of_it(claim));
            self.made.give.push(Some(given.task));
            self.made.freed.push(given.key);
        }
    }
}
