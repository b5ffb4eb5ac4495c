//! Executions that have ended, done again: what the API does over the real store.

use std::{collections::BTreeSet, sync::Arc};

use shared::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Event, Status, Turn,
        again::{self, Ended, Plan, Refusal, Wanted},
    },
    ids::{ExecutionId, MessageId, PayloadId},
    port::store::{Finding, parts_of},
};

use super::{check::Wrong, shapes, world::World};
use crate::{
    audit::Claims,
    desk::Desk,
    seeded::{Bug, has},
};

/// Executions that a schedule does again, at most.
const MOST_RETRIES: u64 = 5;

/// What is done again, and what is kept of it.
#[derive(Debug, Clone)]
pub(super) struct Again {
    pub(super) accepted: Accepted,
    pub(super) events: Vec<Event>,
    pub(super) payloads: Vec<PayloadId>,
}

impl World {
    /// Somebody does an execution again; now and then one that is open, which is refused. Answers whether it is done.
    pub(super) fn retry(&mut self) -> bool {
        let any = self.dice.chance(20);
        let wanted: Vec<ExecutionId> = self
            .storage
            .rows
            .iter()
            .filter(|(_, row)| any || row.status.is_terminal())
            .map(|(id, _)| *id)
            .collect();
        if wanted.is_empty() || self.tally.retries >= MOST_RETRIES {
            return false;
        }
        let of = wanted[self.dice.below(wanted.len())];
        match self.plan_again(of) {
            Ok((shape, again)) => {
                self.tally.retries += 1;
                let carried = again.events.iter().filter(|event| matches!(event, Event::Carried { .. }));
                self.tally.carried += carried.count() as u64;
                self.ask_again(shape, again);
                true
            }
            Err(_) => {
                self.tally.refused += 1;
                false
            }
        }
    }

    fn plan_again(&mut self, of: ExecutionId) -> Result<(usize, Again), Refusal> {
        let mut turns = self.storage.journals[&of].clone();
        if has(Bug::B65RetryOfAnOpenOne) && !self.storage.rows[&of].status.is_terminal() {
            turns.push(self.as_if_ended(of, turns.len() as u32 + 1));
        }
        let hash = Desk::hash_of(&turns).unwrap_or_default();
        let Some(begun_as) = shapes::find(hash) else { return Err(Refusal::NothingFailed) };
        let shape = shapes::shapes().iter().position(|shape| shape.name == begun_as.name).unwrap_or_default();
        let last = Desk::moves_of(&turns).last().and_then(shapes::find);
        let workflow = &last.unwrap_or_else(|| Arc::clone(&begun_as));
        let wanted = match self.dice.below(4) {
            0 => Wanted::Whole,
            1 => {
                let own = &workflow.scopes[0].components;
                let one = own[self.dice.below(own.len())];
                Wanted::Components(vec![workflow.components[one].id.clone()])
            }
            _ => Wanted::Failed,
        };
        let folded = turns.split_first().ok_or(Refusal::NothingFailed).and_then(|(first, rest)| {
            let begun = Ended::begin(Arc::clone(&begun_as), first);
            let folded = begun.and_then(|mut ended| {
                for turn in rest {
                    let target = turn.moved().and_then(|moved| shapes::find(&moved.hash));
                    if let Some(target) = target {
                        ended.learn(target);
                    }
                    ended.see(turn)?;
                }
                Ok(ended)
            });
            folded.map_err(|error| {
                self.broken("I13", format!("the journal of {of} does not fold: {error}"));
                Refusal::NothingFailed
            })
        });
        let ended = folded?;
        let accepted = (*ended.execution().accepted).clone();
        let plan = again::plan(&ended, workflow, &[], &wanted, &accepted.parameters)?;
        let payloads = self.carried_payloads(of, &plan);
        let accepted = Accepted { retry_of: Some(of), parent: None, trigger: None, ..accepted };
        Ok((shape, Again { accepted, events: plan.events(of), payloads }))
    }

    /// A turn that ends what goes on, for a planted fault that takes it for ended.
    fn as_if_ended(&mut self, execution: ExecutionId, seq: u32) -> Turn {
        let failure = Failure::new(FailureClass::Cancelled, "as if it had ended");
        Turn {
            execution,
            seq,
            cause: MessageId::from_uuid(self.dice.uuid()),
            at: self.now,
            events: vec![Event::Finished { status: Status::Cancelled, output: None, failure: Some(failure) }],
        }
    }

    fn carried_payloads(&self, of: ExecutionId, plan: &Plan) -> Vec<PayloadId> {
        if has(Bug::B64CarriedPayloadsLeftBehind) {
            return Vec::new();
        }
        let mut waiting = plan.payloads();
        let mut found = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            let parts = self.storage.payloads.get(&(of, id)).and_then(|bytes| parts_of(bytes));
            if found.insert(id) {
                waiting.extend(parts.into_iter().flatten());
            }
        }
        found.into_iter().collect()
    }

    /// I30: what was kept had ended so, in an execution that had ended, and did not run.
    pub(super) fn check_carried(&self) -> Option<Wrong> {
        for (id, turns) in &self.storage.journals {
            let Some(first) = turns.first() else { continue };
            let Some(mut claims) = Claims::of(first) else { continue };
            let of = self.storage.journals.get(&claims.of).map_or(&[][..], Vec::as_slice);
            // There is one clock here.
            if of.last().is_none_or(|last| last.at > first.at) {
                return Some(("I30", format!("{id} does {} again, which had not ended", claims.of)));
            }
            claims.see(of);
            let mut findings: Vec<Finding> = Vec::new();
            claims.end(&mut findings);
            if let Some(finding) = findings.into_iter().next() {
                return Some(("I30", format!("{id}: {}", finding.message)));
            }
            let carried = turns.iter().flat_map(|turn| &turn.events).find_map(|event| match event {
                Event::Carried { task, .. } => {
                    let ran = self.effects.iter().any(|it| it.execution == *id && it.task == *task);
                    ran.then_some(task)
                }
                _ => None,
            });
            if let Some(task) = carried {
                return Some(("I30", format!("{id} has kept {task}, and ran it")));
            }
        }
        None
    }
}
