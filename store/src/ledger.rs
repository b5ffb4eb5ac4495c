//! How many open executions a tenant has at most, so that a submission need not count them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use shared::ids::TenantId;

/// An upper bound for each tenant: what was counted, and what this process has accepted since.
///
/// Other processes accept too, so a count is believed for a second, and for ten while not half the quota is
/// used. A bound that is reached is always counted again. Held by the tasks that write submissions.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<HashMap<TenantId, Bound>>);

#[derive(Debug, Clone, Copy)]
struct Bound {
    open: u64,
    counted_at: Instant,
}

impl Ledger {
    /// Whether `count` more surely fit under `quota`, as far as is known here.
    pub(crate) fn has_room(&self, tenant: TenantId, count: u64, quota: u64) -> bool {
        let bounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bounds.get(&tenant).is_some_and(|bound| {
            let after = bound.open + count;
            let life = if after <= quota / 2 { Duration::from_secs(10) } else { Duration::from_secs(1) };
            after <= quota && bound.counted_at.elapsed() < life
        })
    }

    /// Whether `count` more fit under `quota`, whenever that was counted.
    pub(crate) fn fits(&self, tenant: TenantId, count: u64, quota: u64) -> bool {
        let bounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bounds.get(&tenant).is_some_and(|bound| bound.open + count <= quota)
    }

    pub(crate) fn counted(&self, tenant: TenantId, open: u64) {
        let bound = Bound { open, counted_at: Instant::now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, bound);
    }

    pub(crate) fn added(&self, tenant: TenantId, count: u64) {
        if let Some(bound) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&tenant) {
            bound.open += count;
        }
    }
}
