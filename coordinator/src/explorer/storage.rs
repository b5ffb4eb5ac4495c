//! A store in memory with commit points. Rows are serialisable; a commit may be unknown.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;
use shared::{
    component::Failure,
    execution::{Event, Payload, Received, Status, TaskKey, TimerKey, Turn},
    ids::{ExecutionId, PayloadId, RequestId, TenantId, Token, WorkflowId},
    port::cache::{CacheEntry, CacheKey, CachedResult},
    port::rates::RateRows,
    port::slots::{EXECUTIONS_KEY, SlotRows},
    port::store::{Commit, HumanTaskChange, HumanTaskStatus, Kept, TimerChange, WaitChange},
    time::Timestamp,
    wire::RequestBody,
};

use crate::seeded::{Bug, has};

/// The projection of one execution.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) status: Status,
    pub(super) sweep_at: Option<Timestamp>,
    pub(super) output: Option<Payload>,
    pub(super) failure: Option<Failure>,
}

/// The event, the key, and since when.
pub(super) type Awaited = (String, String, Timestamp);

impl Row {
    fn new(first: &Turn) -> Self {
        Self {
            status: Status::Pending,
            sweep_at: Some(first.at.after(std::time::Duration::from_secs(10))),
            output: None,
            failure: None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Storage {
    pub(super) journals: BTreeMap<ExecutionId, Vec<Turn>>,
    pub(super) rows: BTreeMap<ExecutionId, Row>,
    pub(super) timers: BTreeMap<(ExecutionId, TimerKey), (Timestamp, Option<Token>)>,
    pub(super) slots: SlotRows,
    pub(super) requests: Vec<(RequestId, ExecutionId, RequestBody, Timestamp)>,
    pub(super) idempotency: HashMap<String, ExecutionId>,
    /// The most holders a key had at once, with its limit.
    pub(super) most_holders: HashMap<String, (usize, u32)>,
    /// Of each tenant that waits for a place among all executions: how many of others were given one meanwhile, since
    /// it had one itself. The most there were, and all of them.
    passed: HashMap<TenantId, u64>,
    pub(super) most_passed: HashMap<TenantId, u64>,
    pub(super) passes: u64,
    pub(super) payloads: HashMap<(ExecutionId, PayloadId), Vec<u8>>,
    /// What people are asked, as the last turn left it.
    pub(super) people: BTreeMap<(ExecutionId, TaskKey), HumanTaskChange>,
    pub(super) waits: BTreeMap<(ExecutionId, TaskKey), Awaited>,
    pub(super) rates: RateRows,
    /// Results to be used again. None is removed.
    pub(super) cache: HashMap<(WorkflowId, CacheKey), CachedResult>,
    /// Events that were published, with when.
    pub(super) events: Vec<(Timestamp, Received)>,
    /// Children that were asked to end while they were open, or found ended.
    pub(super) asked_to_close: HashSet<ExecutionId>,
    /// Who was asked to make room, and by whom.
    pub(super) asked_to_leave: HashSet<(ExecutionId, Option<TaskKey>, ExecutionId)>,
    /// Turns in all journals.
    pub(super) turns: u64,
}

impl Storage {
    /// When the sweep should look at open executions again.
    pub(super) fn sweep_again(&mut self, at: impl IntoIterator<Item = (ExecutionId, Timestamp)>) {
        for (execution, at) in at {
            if let Some(row) = self.rows.get_mut(&execution).filter(|row| !row.status.is_terminal()) {
                row.sweep_at = Some(at);
            }
        }
    }

    /// Accepts an execution; answers with the one the key already has.
    pub(super) fn accept(&mut self, first: Turn, key: &str, check_key: bool) -> ExecutionId {
        if check_key && let Some(earlier) = self.idempotency.get(key) {
            return *earlier;
        }
        let id = first.execution;
        self.idempotency.insert(key.to_owned(), id);
        self.keep_first(first);
        id
    }

    /// Gives an execution that does `of` again these values of it as its own.
    pub(super) fn carry(&mut self, of: ExecutionId, to: ExecutionId, payloads: &[PayloadId]) {
        for id in payloads {
            if let Some(bytes) = self.payloads.get(&(of, *id)).cloned() {
                self.payloads.insert((to, *id), bytes);
            }
        }
    }

    /// Keeps the first turn of an execution that is not there yet.
    pub(super) fn keep_first(&mut self, first: Turn) {
        let id = first.execution;
        if !self.journals.contains_key(&id) {
            self.rows.insert(id, Row::new(&first));
            self.journals.insert(id, vec![first]);
            self.turns += 1;
        }
    }

    /// Keeps a request for an execution that is open; the same again is the same.
    pub(super) fn request(
        &mut self,
        id: RequestId,
        execution: ExecutionId,
        body: RequestBody,
        at: Timestamp,
    ) -> bool {
        if self.requests.iter().any(|(kept, ..)| *kept == id) {
            return true;
        }
        let open = self.rows.get(&execution).is_some_and(|row| !row.status.is_terminal());
        if open {
            self.requests.push((id, execution, body, at));
        }
        open
    }

    /// A stored value, put together when it lies there in parts.
    pub(super) fn payload(&self, execution: ExecutionId, id: PayloadId) -> Option<Arc<Value>> {
        let bytes = self.payloads.get(&(execution, id))?;
        let Some((1, parts)) = bytes.split_first() else {
            return serde_json::from_slice(bytes).ok().map(Arc::new);
        };
        let mut whole = Vec::new();
        for part in parts.chunks(16) {
            let part = PayloadId::from_uuid(uuid::Uuid::from_slice(part).ok()?);
            let list: Vec<Value> = serde_json::from_slice(self.payloads.get(&(execution, part))?).ok()?;
            whole.extend(list);
        }
        Some(Arc::new(Value::Array(whole)))
    }

    /// The value itself, wherever it lies.
    pub(super) fn value(&self, execution: ExecutionId, payload: &Payload) -> Option<Value> {
        match payload {
            Payload::Inline(value) => Some(value.clone()),
            Payload::Stored(stored) => self.payload(execution, stored.id).map(|value| (*value).clone()),
        }
    }

    pub(super) fn commit(&mut self, commits: &[Commit]) -> Vec<Kept> {
        let lost_fence = has(Bug::B27LostFenceDropsTheBatch)
            && commits.iter().any(|commit| {
                self.journals.get(&commit.turn.execution).map_or(0, Vec::len) as u32 >= commit.turn.seq
            });
        let mut refused: HashSet<ExecutionId> = HashSet::new();
        commits
            .iter()
            .map(|commit| {
                // A later turn of an execution was decided on top of the refused one.
                if refused.contains(&commit.turn.execution) {
                    return Kept::Superseded;
                }
                let kept = self.keep(commit, lost_fence);
                if kept != Kept::Committed {
                    refused.insert(commit.turn.execution);
                }
                if lost_fence && kept != Kept::Superseded { Kept::Committed } else { kept }
            })
            .collect()
    }

    /// A tenant was given a place among all executions.
    fn passes_by(&mut self, tenant: TenantId, has_waited: bool) {
        let in_line = self.slots.waiting().filter(|(key, ..)| *key == EXECUTIONS_KEY);
        let of = |id: ExecutionId| match self.journals.get(&id)?.first()?.events.first()? {
            Event::Accepted(accepted) => Some(accepted.tenant),
            _ => None,
        };
        let waiting: HashSet<TenantId> = in_line.filter_map(|(_, id, _)| of(id)).collect();
        self.passed.retain(|other, _| waiting.contains(other) && *other != tenant);
        for other in waiting.into_iter().filter(|other| has_waited && *other != tenant) {
            self.passes += 1;
            let passed = self.passed.entry(other).or_default();
            *passed += 1;
            let most = self.most_passed.entry(other).or_default();
            *most = (*most).max(*passed);
        }
    }

    fn keep(&mut self, commit: &Commit, drop_silently: bool) -> Kept {
        let id = commit.turn.execution;
        let Some(journal) = self.journals.get(&id) else { return Kept::Superseded };
        let next = journal.len() as u32 + 1;
        if commit.turn.seq != next && !has(Bug::B1AppendWithoutSequence) {
            return Kept::Superseded;
        }
        if drop_silently {
            return Kept::Committed;
        }
        let at = commit.turn.at;
        let has_waited = self.slots.blocked_by(id) == Some(EXECUTIONS_KEY);
        if let Err(full) = self.slots.commit((id, at), &commit.give, &commit.take, &commit.wait) {
            return Kept::Refused { full };
        }
        if commit.take.iter().any(|claim| claim.key == EXECUTIONS_KEY) {
            self.passes_by(commit.tenant, has_waited);
        }
        for claim in &commit.take {
            let holders = self.slots.held().filter(|(key, ..)| *key == claim.key).count();
            let most = self.most_holders.entry(claim.key.clone()).or_insert((0, claim.limit));
            most.0 = most.0.max(holders);
        }
        let journal = self.journals.entry(id).or_default();
        if !has(Bug::B16AcknowledgedCommitRolledBack) || commit.turn.seq % 7 != 3 {
            journal.push(commit.turn.clone());
            self.turns += 1;
        }
        for CacheEntry { key, result } in &commit.cache {
            self.cache.insert((commit.workflow, key.clone()), result.clone());
        }
        let Some(row) = self.rows.get_mut(&id) else { return Kept::Committed };
        if let Some(change) = &commit.change {
            row.status = change.status;
            row.output = change.output.clone().or(row.output.take());
            row.failure = change.failure.clone().or(row.failure.take());
        }
        if let Some(at) = commit.sweep_at {
            row.sweep_at = Some(at);
        }
        if row.status.is_terminal() {
            row.sweep_at = None;
        }
        for timer in &commit.timers {
            match timer {
                TimerChange::Set { key, due_at, token } => {
                    self.timers.insert((id, key.clone()), (*due_at, *token));
                }
                TimerChange::Clear { key } => {
                    self.timers.remove(&(id, key.clone()));
                }
            }
        }
        for person in &commit.people {
            self.people.insert((id, person.task.clone()), person.clone());
        }
        for wait in &commit.waits {
            match wait {
                WaitChange::Open { task, event, key, early } => {
                    self.waits.insert((id, task.clone()), (event.clone(), key.clone(), *early));
                }
                WaitChange::Close { task } => {
                    self.rates.settle(id, task);
                    self.waits.remove(&(id, task.clone()));
                }
            }
        }
        if let Some(request) = commit.request {
            self.requests.retain(|(held, ..)| *held != request);
        }
        if commit.release {
            if !has(Bug::B28SlotNotReleased) {
                self.slots.release(id);
            }
            self.timers.retain(|(owner, _), _| *owner != id);
        }
        if commit.release && commit.has_asked {
            self.rates.release(id);
            self.waits.retain(|(owner, _), _| *owner != id);
            for ((owner, _), person) in &mut self.people {
                if *owner == id && person.status == HumanTaskStatus::Open {
                    person.status = HumanTaskStatus::Cancelled;
                }
            }
        }
        Kept::Committed
    }

    pub(super) fn has_dispatch(
        &self,
        execution: ExecutionId,
        key: &TaskKey,
        attempt: u32,
        dispatch: u32,
    ) -> bool {
        self.journals.get(&execution).is_some_and(|turns| {
            turns.iter().flat_map(|turn| &turn.events).any(|event| {
                matches!(event, Event::TaskDispatched { task, attempt: a, dispatch: d, .. }
                    if task == key && *a == attempt && *d == dispatch)
            })
        })
    }

    pub(super) fn has_grant(
        &self,
        execution: ExecutionId,
        key: &TaskKey,
        attempt: u32,
        token: Token,
    ) -> bool {
        self.journals.get(&execution).is_some_and(|turns| {
            turns.iter().flat_map(|turn| &turn.events).any(|event| {
                matches!(event, Event::TaskGranted { task, attempt: a, token: t, .. }
                    if task == key && *a == attempt && *t == token)
            })
        })
    }

    /// Moves a lease that has not run out.
    pub(super) fn renew(
        &mut self,
        execution: ExecutionId,
        key: TimerKey,
        token: Token,
        now: Timestamp,
        until: Timestamp,
    ) -> bool {
        match self.timers.get_mut(&(execution, key)) {
            Some((due, held)) if *held == Some(token) && *due > now => {
                *due = until;
                true
            }
            _ => false,
        }
    }

    pub(super) fn open(&self) -> usize {
        self.rows.values().filter(|row| !row.status.is_terminal()).count()
    }
}
