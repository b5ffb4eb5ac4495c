//! Results that are used again: what the store keeps of them, and what must hold of those that were.

use shared::{
    execution::{Event, TaskKey, Turn},
    ids::ExecutionId,
    port::cache::CacheKey,
    time::Timestamp,
};

use super::{check::Wrong, shapes, world::World};
use crate::{desk::Desk, engine::Cached};

impl World {
    /// What stands in the cache of an execution's workflow under these keys.
    pub(super) fn find_cached(&self, execution: ExecutionId, keys: Vec<CacheKey>) -> Cached {
        let first = self.storage.journals.get(&execution).and_then(|turns| turns.first());
        let workflow = first.and_then(|first| match first.events.first() {
            Some(Event::Accepted(accepted)) => Some(accepted.workflow),
            _ => None,
        });
        let find = |key: &CacheKey| self.storage.cache.get(&(workflow?, key.clone())).cloned();
        keys.into_iter().map(|key| (key.clone(), find(&key))).collect()
    }

    /// I34: what was used again is what a run of that component gave under that key, and had not expired; what is done
    /// again runs.
    pub(super) fn check_cached(&mut self) -> Option<Wrong> {
        let mut used = 0;
        let mut wrong = None;
        for (id, turns) in &self.storage.journals {
            let does_again = matches!(
                turns.first().and_then(|first| first.events.first()),
                Some(Event::Accepted(accepted)) if accepted.retry_of.is_some()
            );
            for turn in turns {
                for event in &turn.events {
                    let Event::TaskCached { task, key, from, at, output, ports } = event else { continue };
                    used += 1;
                    let value = self.storage.value(*id, output);
                    let given = self.given(*from, task, key, *at);
                    let is_given =
                        given.iter().any(|(text, fired, _)| Some(text) == value.as_ref() && fired == ports);
                    if !is_given {
                        wrong =
                            Some(format!("{task} of {id} was given what nobody gave at {at} under its key"));
                    } else if given.iter().all(|(.., expires_at)| *expires_at <= turn.at) {
                        wrong = Some(format!("{task} of {id} was given what had expired at {}", turn.at));
                    }
                    if does_again {
                        wrong = Some(format!("{task} of {id} was to run again, and did not"));
                    }
                }
            }
        }
        self.tally.cached += used;
        wrong.map(|message| ("I34", message))
    }

    /// What an execution gave under a key at an instant, and until when that could be used.
    fn given(
        &self,
        from: ExecutionId,
        task: &TaskKey,
        key: &str,
        at: Timestamp,
    ) -> Vec<(serde_json::Value, Vec<String>, Timestamp)> {
        let Some(turns) = self.storage.journals.get(&from) else { return Vec::new() };
        let mut hash = Desk::hash_of(turns).unwrap_or_default();
        let mut given = Vec::new();
        for (position, turn) in turns.iter().enumerate() {
            for event in &turn.events {
                match event {
                    Event::Moved(moved) => hash = &moved.hash,
                    Event::TaskCompleted { task: of, attempt, output, ports, .. } if turn.at == at => {
                        // It may have been called otherwise when it was sent.
                        let ttl = shapes::find(hash).and_then(|workflow| {
                            let index = workflow.index_of(task.component.as_str())?;
                            Some(workflow.components[index].cache.as_ref()?.ttl)
                        });
                        let sent = sent_under(&turns[..=position], of, *attempt) == Some(key);
                        if let (Some(value), Some(ttl), true) = (self.storage.value(from, output), ttl, sent)
                        {
                            given.push((value, ports.clone(), at.after(ttl)));
                        }
                    }
                    _ => {}
                }
            }
        }
        given
    }
}

/// What the result of an attempt was to be kept under when it was sent.
fn sent_under<'a>(turns: &'a [Turn], of: &TaskKey, of_attempt: u32) -> Option<&'a str> {
    let events = turns.iter().flat_map(|turn| &turn.events);
    let mut sent = events.filter_map(|event| match event {
        Event::TaskDispatched { task, attempt, cache, .. } if task == of && *attempt == of_attempt => {
            Some(cache.as_deref())
        }
        _ => None,
    });
    sent.next_back().flatten()
}
