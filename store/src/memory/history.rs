//! What becomes of executions after their end, in memory. Executions do not lie by month.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use shared::{
    ids::{CoordinatorId, ExecutionId, PayloadId, TenantId},
    port::{
        history::{Ended, EndedFilter, Forgotten, History, Leftover, Limits, Month, Owner},
        store::StoreError,
    },
    time::Timestamp,
};

use super::{MemoryStore, State};
use crate::rows;

/// Who does a chore.
#[derive(Debug)]
pub(super) struct Chore {
    holder: CoordinatorId,
    held_until: Timestamp,
    note: String,
}

/// How many entries `retain` took out of a map.
macro_rules! removed {
    ($map:expr, |$($part:pat_param),+| $keep:expr) => {{
        let before = $map.len();
        $map.retain(|$($part),+| $keep);
        (before - $map.len()) as u64
    }};
}

impl State {
    fn forget(&mut self, id: ExecutionId) -> Forgotten {
        let turns = self.journal.remove(&id).map_or(0, |turns| turns.len() as u64);
        let tasks = removed!(self.finished, |(execution, _)| *execution != id);
        let payloads = removed!(self.payloads, |(execution, _), _| *execution != id);
        let asked: Vec<_> =
            self.people.values().filter(|row| row.execution == id).map(|row| row.id).collect();
        self.mails.retain(|task, _| !asked.contains(task));
        self.people.retain(|task, _| !asked.contains(task));
        self.waits.retain(|(execution, _), _| *execution != id);
        self.rates.release(id);
        self.timers.retain(|(execution, _), _| *execution != id);
        self.slots.release(id);
        let others = removed!(self.late, |late| late.execution != id)
            + removed!(self.requests, |_, request| request.execution != id)
            + removed!(self.keys, |_, key| key.execution != id)
            + removed!(self.letters, |_, letter| letter.execution != Some(id));
        let executions = u64::from(self.executions.remove(&id).is_some());
        Forgotten { executions, turns, tasks, payloads, human_tasks: asked.len() as u64, others }
    }
}

#[async_trait]
impl History for MemoryStore {
    async fn chore_take(
        &self,
        chore: &str,
        holder: CoordinatorId,
        hold: Duration,
    ) -> Result<Option<String>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let held_until = now.after(hold);
        let held = state.chores.entry(chore.to_owned()).or_insert_with(|| Chore {
            holder,
            held_until,
            note: String::new(),
        });
        if held.holder != holder && held.held_until > now {
            return Ok(None);
        }
        (held.holder, held.held_until) = (holder, held_until);
        Ok(Some(held.note.clone()))
    }

    async fn chore_note(&self, chore: &str, holder: CoordinatorId, note: &str) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let held = state.chores.get_mut(chore).filter(|held| held.holder == holder);
        Ok(held.map(|held| note.clone_into(&mut held.note)).is_some())
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, StoreError> {
        let tenants: BTreeSet<TenantId> = self.state()?.workflows.values().map(|row| row.tenant).collect();
        Ok(tenants.into_iter().collect())
    }

    async fn ended(&self, filter: EndedFilter) -> Result<Vec<Ended>, StoreError> {
        let state = self.state()?;
        let found = state.executions.values().filter(|execution| {
            let row = &execution.row;
            row.tenant == filter.tenant
                && row.status == filter.status
                && row.status.is_terminal()
                && filter.after.is_none_or(|after| row.id > after)
                && row.finished_at.is_some_and(|at| at < filter.before)
                && execution.sweep_at.is_none()
        });
        let ended = |execution: &super::Execution| Ended {
            row: execution.row.clone(),
            turns: state.journal.get(&execution.row.id).map_or(0, |turns| turns.len() as u32),
        };
        Ok(found.take(filter.limit as usize).map(ended).collect())
    }

    async fn open_before(
        &self,
        tenant: TenantId,
        before: Timestamp,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let state = self.state()?;
        let rows = state.executions.values().map(|execution| &execution.row);
        let open = rows.filter(|row| {
            row.tenant == tenant
                && !row.status.is_terminal()
                && row.created_at < before
                && after.is_none_or(|after| row.id > after)
        });
        Ok(open.take(limit as usize).map(|row| row.id).collect())
    }

    async fn open_among(&self, executions: &[ExecutionId]) -> Result<Vec<ExecutionId>, StoreError> {
        let state = self.state()?;
        let is_open =
            |id: &ExecutionId| state.executions.get(id).is_some_and(|found| !found.row.status.is_terminal());
        Ok(executions.iter().copied().filter(is_open).collect())
    }

    async fn forget(&self, executions: &[ExecutionId]) -> Result<Forgotten, StoreError> {
        let mut state = self.state()?;
        let mut gone = Forgotten::default();
        for id in executions {
            let stays = state
                .executions
                .get(id)
                .is_some_and(|found| !found.row.status.is_terminal() || found.sweep_at.is_some());
            if !stays {
                gone += state.forget(*id);
            }
        }
        Ok(gone)
    }

    async fn months(&self, _before: Timestamp) -> Result<Vec<Month>, StoreError> {
        Ok(Vec::new())
    }

    async fn forget_month(&self, _month: &Month, _limits: Limits) -> Result<Option<Forgotten>, StoreError> {
        Ok(None)
    }

    async fn owners(
        &self,
        of: Leftover,
        before: Timestamp,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<Owner>, StoreError> {
        let state = self.state()?;
        let all: BTreeSet<ExecutionId> = match of {
            Leftover::Payloads => state.payloads.keys().map(|(execution, _)| *execution).collect(),
            Leftover::LateResults => state.late.iter().map(|late| late.execution).collect(),
            Leftover::HumanTasks => state.people.values().map(|row| row.execution).collect(),
            Leftover::DeadLetters => state.letters.values().filter_map(|letter| letter.execution).collect(),
        };
        let bound = rows::first_id_at(before);
        let found =
            all.into_iter().filter(|id| after.is_none_or(|after| *id > after) && *id.as_uuid() < bound);
        let owner = |id: ExecutionId| {
            let row = state.executions.get(&id).map(|execution| &execution.row);
            Owner {
                execution: id,
                status: row.map(|row| row.status),
                finished_at: row.and_then(|row| row.finished_at),
            }
        };
        Ok(found.take(limit as usize).map(owner).collect())
    }

    async fn payload_list(
        &self,
        execution: ExecutionId,
        after: Option<PayloadId>,
        limit: u32,
    ) -> Result<Vec<PayloadId>, StoreError> {
        let state = self.state()?;
        let ids: BTreeSet<PayloadId> =
            state.payloads.keys().filter(|(of, _)| *of == execution).map(|(_, id)| *id).collect();
        Ok(ids.into_iter().filter(|id| after.is_none_or(|after| *id > after)).take(limit as usize).collect())
    }

    async fn payload_drop(&self, execution: ExecutionId, ids: &[PayloadId]) -> Result<u64, StoreError> {
        let mut state = self.state()?;
        if !state.executions.get(&execution).is_some_and(|found| found.row.status.is_terminal()) {
            return Ok(0);
        }
        Ok(removed!(state.payloads, |(of, id), _| *of != execution || !ids.contains(id)))
    }
}
