//! Executions with tasks that the dispatch window had no room for, and who of them has the room that comes free.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use shared::{
    ids::{ExecutionId, TenantId},
    port::slots::Turns,
};

/// An execution that may dispatch tasks that were held back, and how many when others want the room too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    pub execution: ExecutionId,
    pub dealt: Option<u32>,
}

/// Executions with tasks held back: each once, those of a tenant in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    lines: BTreeMap<TenantId, BTreeMap<u64, ExecutionId>>,
    stands: HashMap<ExecutionId, (TenantId, u64)>,
    next: u64,
    /// When each of these tenants is next.
    turns: Turns<TenantId>,
}

impl HeldBack {
    pub(crate) fn len(&self) -> usize {
        self.stands.len()
    }

    /// Whether another tenant waits for room.
    pub(crate) fn has_others(&self, tenant: TenantId) -> bool {
        self.lines.keys().any(|other| *other != tenant)
    }

    /// Who stands here already keeps its place.
    pub(crate) fn add(&mut self, execution: ExecutionId, tenant: TenantId, weight: u32) {
        if self.stands.contains_key(&execution) {
            return;
        }
        if !self.lines.contains_key(&tenant) {
            self.turns.join(tenant, weight);
        }
        self.stands.insert(execution, (tenant, self.next));
        self.lines.entry(tenant).or_default().insert(self.next, execution);
        self.next += 1;
    }

    /// Nothing of it is held back any more.
    pub(crate) fn remove(&mut self, execution: ExecutionId) {
        let Some((tenant, place)) = self.stands.remove(&execution) else { return };
        if let Some(line) = self.lines.get_mut(&tenant) {
            line.remove(&place);
            if line.is_empty() {
                self.lines.remove(&tenant);
                self.turns.wait(|tenant| self.lines.contains_key(tenant));
                self.turns.forget();
            }
        }
    }

    /// Executions that may dispatch now that there is room for so many tasks: they leave. Several tenants take turns,
    /// by weight.
    pub(crate) fn feed(
        &mut self,
        free: usize,
        wants: impl Fn(ExecutionId) -> usize,
        weight: impl Fn(TenantId) -> u32,
    ) -> Vec<Fed> {
        if free == 0 || self.lines.is_empty() {
            return Vec::new();
        }
        let mut fed = Vec::new();
        if self.lines.len() == 1 {
            let next = self.lines.values().flat_map(BTreeMap::values).take(free);
            fed.extend(next.map(|execution| Fed { execution: *execution, dealt: None }));
        } else {
            for (tenant, places) in self.deal(free, &wants, weight) {
                self.spread(tenant, places, &wants, &mut fed);
            }
        }
        for Fed { execution, .. } in &fed {
            self.remove(*execution);
        }
        fed
    }

    /// Deals so many places of the window to the tenants that wait, and to nobody more than it can use.
    fn deal(
        &mut self,
        free: usize,
        wants: &impl Fn(ExecutionId) -> usize,
        weight: impl Fn(TenantId) -> u32,
    ) -> BTreeMap<TenantId, usize> {
        let mut next: BinaryHeap<Reverse<(i64, TenantId)>> =
            self.lines.keys().map(|tenant| Reverse((self.turns.turn(tenant, 0), *tenant))).collect();
        let mut left: HashMap<TenantId, usize> = HashMap::new();
        let mut dealt = BTreeMap::new();
        for _ in 0..free {
            let Some(Reverse((_, tenant))) = next.pop() else { break };
            let left = left.entry(tenant).or_insert_with(|| {
                let mut wanted = 0;
                for execution in self.lines.get(&tenant).into_iter().flat_map(BTreeMap::values) {
                    wanted += wants(*execution);
                    if wanted >= free {
                        break;
                    }
                }
                wanted
            });
            *left = left.saturating_sub(1);
            *dealt.entry(tenant).or_insert(0) += 1;
            self.turns.serve(&tenant, weight(tenant));
            if *left > 0 {
                next.push(Reverse((self.turns.turn(&tenant, 0), tenant)));
            }
        }
        dealt
    }

    /// Spreads a tenant's places over its executions, in their order: one each, and what is left over evenly.
    fn spread(
        &self,
        tenant: TenantId,
        places: usize,
        wants: &impl Fn(ExecutionId) -> usize,
        fed: &mut Vec<Fed>,
    ) {
        let next = self.lines.get(&tenant).into_iter().flat_map(BTreeMap::values).take(places);
        let mut shares: Vec<(ExecutionId, usize, u32)> =
            next.map(|execution| (*execution, wants(*execution), 1)).collect();
        let mut left = places - shares.len();
        while left > 0 {
            let before = left;
            for (_, wanted, dealt) in &mut shares {
                if left > 0 && (*dealt as usize) < *wanted {
                    *dealt += 1;
                    left -= 1;
                }
            }
            if left == before {
                break;
            }
        }
        fed.extend(shares.into_iter().map(|(execution, _, dealt)| Fed { execution, dealt: Some(dealt) }));
    }
}
