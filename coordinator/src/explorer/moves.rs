//! Open executions, moved to another version of their workflow: what the API does over the real store.

use shared::{
    execution::{
        Execution, Phase, Place, ROOT,
        moving::{self, Move, Moved},
    },
    ids::{ComponentId, ExecutionId},
    wire::RequestBody,
};

use super::{shapes, world::World};

impl World {
    /// Somebody moves an execution that can be moved as it stands; now and then one that cannot, as if it had gone on
    /// since it was looked at.
    pub(super) fn move_one(&mut self) {
        let open = self.storage.rows.iter().filter(|(_, row)| !row.status.is_terminal());
        let open: Vec<ExecutionId> = open.map(|(id, _)| *id).collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.dice.below(open.len())];
        let state = match Execution::replay_with(&self.storage.journals[&id], &shapes::find) {
            Ok(state) => state,
            Err(error) => return self.broken("I13", format!("the journal of {id} does not fold: {error}")),
        };
        let Some((target, version, mapping)) = shapes::other(&state.workflow) else { return };
        let asked = Move {
            by: "client".to_owned(),
            reason: String::new(),
            version,
            hash: target.hash.clone(),
            mapping,
            parameters: serde_json::Map::new(),
        };
        if moving::plan(&state, &target, &asked).is_ok() || self.dice.chance(20) {
            self.request(id, RequestBody::Move(Box::new(asked)));
        }
    }
}

/// How the components of the workflow's own scope stood before a move, by what they are called after it.
pub(super) struct Before(Vec<(ComponentId, Phase, u32, bool)>);

impl Before {
    pub(super) fn of(state: &Execution, moved: &Moved) -> Self {
        let each = state.places(ROOT).map(|place| {
            let id = &state.component(place).id;
            let called = moved.mapping.get(id).unwrap_or(id).clone();
            let at = state.at(place);
            (called, at.phase, at.attempt, at.output.is_some())
        });
        Self(each.collect())
    }

    /// I32: what had ended stands as it ended, and what was under way is not begun anew.
    pub(super) fn unlike(&self, state: &Execution) -> Option<String> {
        let wrong = self.0.iter().find(|(id, phase, attempt, gave)| {
            let index = state.workflow.index_of(id.as_str());
            let index = index.filter(|index| state.workflow.components[*index].scope == 0);
            let Some(index) = index else {
                return *phase != Phase::Waiting && !phase.is_settled();
            };
            let now = state.at(Place { scope: ROOT, component: index as u32 });
            match phase {
                Phase::Waiting => false,
                ended if ended.is_settled() => {
                    (now.phase, now.attempt, now.output.is_some()) != (*phase, *attempt, *gave)
                }
                _ => now.phase == Phase::Waiting || now.attempt < *attempt,
            }
        });
        wrong.map(|(id, phase, ..)| format!("{id} was {phase:?} before a move, and is another after it"))
    }
}
