//! A store in memory with commit points. Rows are serialisable; a commit may be unknown.

use std::collections::{BTreeMap, HashMap, HashSet};

use shared::{
    execution::{Event, Status, TimerKey, Turn},
    ids::{ExecutionId, RequestId, Token},
    port::store::{Commit, Kept, TimerChange},
    time::Timestamp,
    wire::RequestBody,
};

use crate::seeded::{Bug, has};

/// The projection of one execution.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) status: Status,
    pub(super) sweep_at: Option<Timestamp>,
    pub(super) blocked_by: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Storage {
    pub(super) journals: BTreeMap<ExecutionId, Vec<Turn>>,
    pub(super) rows: BTreeMap<ExecutionId, Row>,
    pub(super) timers: BTreeMap<(ExecutionId, TimerKey), (Timestamp, Option<Token>)>,
    /// Key and holder.
    pub(super) slots: Vec<(String, ExecutionId)>,
    pub(super) requests: Vec<(RequestId, ExecutionId, RequestBody, Timestamp)>,
    pub(super) idempotency: HashMap<String, ExecutionId>,
    /// The most holders a key had at once, with its limit.
    pub(super) most_holders: HashMap<String, (usize, u32)>,
}

impl Storage {
    /// Accepts an execution; answers with the one the key already has.
    pub(super) fn accept(&mut self, first: Turn, key: &str, check_key: bool) -> ExecutionId {
        if check_key && let Some(earlier) = self.idempotency.get(key) {
            return *earlier;
        }
        let id = first.execution;
        self.idempotency.insert(key.to_owned(), id);
        self.rows.insert(
            id,
            Row {
                status: Status::Pending,
                sweep_at: Some(first.at.after(std::time::Duration::from_secs(10))),
                blocked_by: None,
            },
        );
        self.journals.insert(id, vec![first]);
        id
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
        for claim in &commit.take {
            let holders =
                self.slots.iter().filter(|(key, holder)| *key == claim.key && *holder != id).count();
            if holders >= claim.limit as usize {
                if let Some(row) = self.rows.get_mut(&id) {
                    row.blocked_by = Some(claim.key.clone());
                }
                return Kept::Refused { key: claim.key.clone() };
            }
        }
        for claim in &commit.take {
            if !self.slots.iter().any(|(key, holder)| *key == claim.key && *holder == id) {
                self.slots.push((claim.key.clone(), id));
            }
            let holders = self.slots.iter().filter(|(key, _)| *key == claim.key).count();
            let most = self.most_holders.entry(claim.key.clone()).or_insert((0, claim.limit));
            most.0 = most.0.max(holders);
        }
        let journal = self.journals.entry(id).or_default();
        if !has(Bug::B16AcknowledgedCommitRolledBack) || commit.turn.seq % 7 != 3 {
            journal.push(commit.turn.clone());
        }
        let Some(row) = self.rows.get_mut(&id) else { return Kept::Committed };
        row.blocked_by = None;
        if let Some(change) = &commit.change {
            row.status = change.status;
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
        if let Some(request) = commit.request {
            self.requests.retain(|(held, ..)| *held != request);
        }
        if commit.release {
            if !has(Bug::B28SlotNotReleased) {
                self.slots.retain(|(_, holder)| *holder != id);
            }
            self.timers.retain(|(owner, _), _| *owner != id);
        }
        Kept::Committed
    }

    pub(super) fn has_dispatch(
        &self,
        execution: ExecutionId,
        component: &str,
        attempt: u32,
        dispatch: u32,
    ) -> bool {
        self.journals.get(&execution).is_some_and(|turns| {
            turns.iter().flat_map(|turn| &turn.events).any(|event| {
                matches!(event, Event::TaskDispatched { task, attempt: a, dispatch: d }
                    if task.component.as_str() == component && *a == attempt && *d == dispatch)
            })
        })
    }

    pub(super) fn has_grant(
        &self,
        execution: ExecutionId,
        component: &str,
        attempt: u32,
        token: Token,
    ) -> bool {
        self.journals.get(&execution).is_some_and(|turns| {
            turns.iter().flat_map(|turn| &turn.events).any(|event| {
                matches!(event, Event::TaskGranted { task, attempt: a, token: t, .. }
                    if task.component.as_str() == component && *a == attempt && *t == token)
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
