//! What is looked for, and when: whatever was lost is missed in time.

use std::time::Duration;

use shared::execution::{Execution, Phase, Status};

use super::{shapes, world::World};

/// How long a sweep whose hint was lost is put off, and the least between two.
const SLACK: Duration = Duration::from_secs(20);

impl World {
    /// I35: the sweep looks at what is with a queue or a worker as soon as that is to be missed, however long the
    /// execution had stood still before.
    pub(super) fn check_looks(&mut self) {
        if !self.plan.sweep {
            return;
        }
        let mut wrong = None;
        for (id, row) in self.storage.rows.iter().filter(|(_, row)| row.status == Status::Running) {
            // Whether it folds is asked elsewhere.
            let Ok(state) = Execution::replay_with(&self.storage.journals[id], &shapes::find) else {
                continue;
            };
            if state.is_paused() {
                continue;
            }
            for place in &state.dispatched {
                let task = state.at(*place);
                let missed = match task.fence.as_deref() {
                    _ if task.phase != Phase::Dispatched => continue,
                    // Its timer fires.
                    Some(fence) if fence.leased_until.is_some() => continue,
                    Some(fence) => fence.since.after(self.rules.silence + state.component(*place).timeout),
                    None => task.dispatched_at.after(self.rules.patience(task.dispatch)),
                };
                let latest = missed.max(self.now).after(SLACK);
                if row.sweep_at.is_none_or(|at| at > latest) {
                    let key = state.key(*place);
                    wrong = Some(format!(
                        "{id} {key}: to be missed at {missed}, looked for at {:?}",
                        row.sweep_at
                    ));
                }
            }
        }
        if let Some(message) = wrong {
            self.broken("I35", message);
        }
    }
}
