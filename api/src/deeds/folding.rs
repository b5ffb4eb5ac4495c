//! Executions folded from their journals. Those that people look at again and again are kept folded, so
//! that a look costs only the turns since the last one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use shared::{
    execution::{Event, Execution},
    ids::{ExecutionId, TenantId},
};
use tokio::sync::OwnedMutexGuard;

use super::Deeds;
use crate::problem::Problem;

/// Executions kept folded; a folded one holds its outputs, so there are few.
const KEPT: usize = 24;
/// Turns read at once.
pub(super) const TURNS: u32 = 500;

type Slot = Arc<tokio::sync::Mutex<Option<Execution>>>;

#[derive(Debug, Default)]
pub(crate) struct Folds {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    uses: u64,
    /// With the use that was its last.
    slots: HashMap<ExecutionId, (u64, Slot)>,
}

impl Folds {
    fn slot(&self, id: ExecutionId) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { uses, slots } = &mut *kept;
        *uses += 1;
        if !slots.contains_key(&id) && slots.len() >= KEPT {
            let oldest = slots.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                slots.remove(&oldest);
            }
        }
        let (used, slot) = slots.entry(id).or_default();
        *used = *uses;
        Arc::clone(slot)
    }

    fn forget(&self, id: ExecutionId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).slots.remove(&id);
    }
}

impl Deeds {
    /// The execution as it is now; always `Some` inside. `None` when it is not this tenant's.
    pub(super) async fn fold(
        &self,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<Option<OwnedMutexGuard<Option<Execution>>>, Problem> {
        let mut slot = self.folds.slot(id).lock_owned().await;
        let folded = self.fold_into(&mut slot, tenant, id, u32::MAX).await;
        let is_kept =
            matches!((&folded, &*slot), (Ok(()), Some(execution)) if !execution.status.is_terminal());
        if !is_kept {
            self.folds.forget(id);
        }
        folded?;
        Ok(match &*slot {
            Some(execution) if execution.accepted.tenant == tenant => Some(slot),
            _ => None,
        })
    }

    /// The execution as it was after turn `last`.
    pub(super) async fn fold_to(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        last: u32,
    ) -> Result<Option<Execution>, Problem> {
        let mut execution = None;
        self.fold_into(&mut execution, tenant, id, last).await?;
        Ok(execution)
    }

    async fn fold_into(
        &self,
        slot: &mut Option<Execution>,
        tenant: TenantId,
        id: ExecutionId,
        last: u32,
    ) -> Result<(), Problem> {
        if slot.as_ref().is_some_and(|execution| execution.accepted.tenant != tenant) {
            return Ok(());
        }
        loop {
            let after = slot.as_ref().map_or(0, |execution| execution.seq);
            let wanted = TURNS.min(last.saturating_sub(after));
            let turns = self.store.execution_turns(tenant, id, after, wanted).await?;
            let is_last = turns.len() < TURNS as usize;
            let mut rest = turns.as_slice();
            if slot.is_none() {
                let Some(first) = turns.first() else { return Ok(()) };
                let Some(Event::Accepted(accepted)) = first.events.first() else {
                    return Err(Problem::internal(format_args!(
                        "the journal of {id} does not begin with its acceptance"
                    )));
                };
                let workflow = self.snapshot(&accepted.hash).await?;
                *slot = Some(Execution::replay(workflow, &turns[..1]).map_err(Problem::internal)?);
                rest = &turns[1..];
            }
            if let Some(execution) = slot.as_mut() {
                for turn in rest {
                    if let Some(moved) = turn.moved() {
                        execution.learn(self.snapshot(&moved.hash).await?);
                    }
                    if let Err(error) = execution.append(turn) {
                        *slot = None;
                        return Err(Problem::internal(format_args!(
                            "the journal of {id} does not fold: {error}"
                        )));
                    }
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
