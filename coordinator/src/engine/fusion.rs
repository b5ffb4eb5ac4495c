//! Fusion: what a worker may go on with by itself after a task (`docs/decisions/0025`).
//!
//! A chain is an offer. Whatever does not fit it, and whatever a worker leaves, is ordered in the ordinary way,
//! with the same outcome.

use serde_json::{Value, json};
use shared::{
    execution::{Execution, Phase, Place},
    expression::{OutputView, Reference, Scope, Segment},
    ids::ComponentId,
    wire::{Chain, Link, Seen, Sees, TaskResult},
};

use super::{Loaded, scope::StateScope};
use crate::desk::is_longer_than;

/// Most components of a chain beside its first.
const MOST_LINKS: usize = 100;
/// The largest value that travels for a chain's expressions, in bytes of JSON.
const LARGEST_SEEN: usize = 8 * 1024;

/// How a component stands that stays as it is.
const SETTLED: [Phase; 4] = [Phase::Completed, Phase::Failed, Phase::Skipped, Phase::Cancelled];

/// What may be run right after a task by its worker; nothing when no component is.
pub(super) fn chain(execution: &Execution, payloads: &Loaded, place: Place) -> Option<Box<Chain>> {
    let mut next = execution.component(place).fuses?;
    let scope = StateScope::new(execution, payloads, place.scope);
    let mut seeing =
        Seeing { scope: &scope, chain: vec![&execution.component(place).id], sees: Sees::default() };
    let mut links = Vec::new();
    while links.len() < MOST_LINKS {
        let at = Place { scope: place.scope, component: next as u32 };
        let component = execution.component(at);
        // One that was carried over has settled already.
        if execution.at(at).phase != Phase::Waiting || execution.at(at).attempt > 0 {
            break;
        }
        if !component.config.references().into_iter().all(|reference| seeing.take(reference)) {
            break;
        }
        links.push(Link {
            component: component.id.clone(),
            kind: std::sync::Arc::clone(&component.kind),
            config: component.config.written(),
            timeout: component.timeout,
        });
        seeing.chain.push(&component.id);
        let Some(further) = component.fuses else { break };
        next = further;
    }
    let sees = seeing.sees;
    (!links.is_empty()).then(|| Box::new(Chain { links, sees }))
}

/// Gathers what expressions will see.
struct Seeing<'a> {
    scope: &'a StateScope<'a>,
    /// The task and the links so far.
    chain: Vec<&'a ComponentId>,
    sees: Sees,
}

impl Seeing<'_> {
    /// Whether what is named can go along: it is small, is here, and will not change.
    fn take(&mut self, reference: &Reference) -> bool {
        if reference.root == "components" {
            return reference.component().is_some_and(|id| self.take_component(id));
        }
        let owned;
        let value = match self.scope.root_ref(&reference.root) {
            Some(value) => value,
            None => match self.scope.root(&reference.root) {
                Some(value) => {
                    owned = value;
                    &owned
                }
                None => return false,
            },
        };
        // Of a map the one field that is named: parameters may be large, and each component names few.
        if let (Value::Object(fields), Some(Segment::Key(name))) = (value, reference.path.first()) {
            let seen = self.sees.roots.entry(&reference.root).or_insert_with(|| json!({}));
            let Some(field) = fields.get(name) else { return true };
            let fits = !is_longer_than(field, LARGEST_SEEN);
            if let Value::Object(seen) = seen
                && fits
            {
                seen.entry(name).or_insert_with(|| field.clone());
            }
            return fits;
        }
        let fits = !is_longer_than(value, LARGEST_SEEN);
        if fits {
            self.sees.roots.insert(reference.root.clone(), value.clone());
        }
        fits
    }

    fn take_component(&mut self, id: &str) -> bool {
        if self.chain.iter().any(|link| link.as_str() == id) || self.sees.components.contains_key(id) {
            return true;
        }
        let Some(view) = self.scope.component(id) else { return false };
        if !SETTLED.iter().any(|phase| phase.as_str() == view.status) {
            return false;
        }
        let output = match view.output {
            None => None,
            Some(OutputView::Here(value)) if !is_longer_than(value, LARGEST_SEEN) => Some(value.clone()),
            Some(_) => return false,
        };
        let seen = Seen {
            status: view.status.to_owned(),
            output,
            error: view.error.cloned(),
            attempts: view.attempts,
        };
        self.sees.components.insert(ComponentId::from(id), seen);
        true
    }
}

impl super::Turning<'_> {
    /// Whether a result that follows another in a chain stands on the run that counted: the one before it was
    /// completed by the same worker, in the run that this one says.
    pub(super) fn stands_on_what_counts(&self, place: Place, result: &TaskResult) -> bool {
        let Some(begun) = result.follows else { return true };
        let need = self.execution.component(place).needs.first();
        let before = need.map(|need| Place { scope: place.scope, component: need.from as u32 });
        let moved_at = self.execution.moved_at;
        before.map(|before| self.execution.at(before)).is_some_and(|before| {
            // A chain that was ordered before a move has the configs of the version before.
            before.answered_by == Some((result.worker, begun))
                && moved_at.is_none_or(|moved_at| before.dispatched_at > moved_at)
        }) || planted!(B78FollowerOfAnotherRunCounts)
    }

    /// A planted fault: whatever might have been run in a chain is taken as run.
    pub(super) fn is_never_sent(&self, place: Place) -> bool {
        let components = &self.execution.workflow.components;
        let follows = |index: usize| components[index].fuses == Some(place.component as usize);
        planted!(B79FollowerNeverSent)
            && self.execution.component(place).needs.first().is_some_and(|need| follows(need.from))
    }
}
