//! Results that are used again: found before a task is ordered, kept with the turn in which it completes.
//!
//! What stands in the cache is asked for once a decision ([`Needs::Cached`]). What a decision reaches only through
//! that is left to a turn of its own: a row of components whose results are all there would else be decided again for
//! each of them, each time from its beginning.

use std::collections::HashMap;

use serde_json::Value;
use shared::{
    component::LogLevel,
    execution::{Event, Execution, Payload, Phase, Place, again::payloads_in},
    expression::EvaluationError,
    port::cache::{CacheEntry, CacheKey, CachedResult, LARGEST_CACHED},
};

use super::{Needs, Turning, rendered};

/// Results that one decision asks for at most: each may be as large as [`LARGEST_CACHED`].
const MOST_ASKED: usize = 64;

/// What stands in the cache under the keys that were asked for.
pub type Cached = HashMap<CacheKey, Option<CachedResult>>;

/// What the result of a task is kept under.
pub(super) enum Kept {
    /// It is not kept.
    Nowhere,
    Under(String),
    /// Its key holds an output that lies in the payload store.
    TooLarge,
}

/// Whether a task may have been left to a turn that asks for its result.
pub(super) fn may_be_put_off(execution: &Execution) -> bool {
    let is_first = |place: &Place| execution.at(*place).attempt == 0;
    execution.ready.iter().any(|place| is_first(place) && execution.component(*place).cache.is_some())
}

impl Turning<'_> {
    /// What the result of a task is kept under, as its expressions stand now.
    pub(super) fn kept_under(&self, place: Place) -> Result<Kept, EvaluationError> {
        let component = self.execution.component(place);
        let Some(caching) = component.cache.as_ref().filter(|_| self.around.rules.cache) else {
            return Ok(Kept::Nowhere);
        };
        let key = match &caching.key {
            Some(key) => key.render(&self.scope(place))?,
            None => rendered(self.execution, &self.payloads, place)?,
        };
        if !key.references.is_empty() {
            return Ok(Kept::TooLarge);
        }
        Ok(caching.hash(&key.value).map_or(Kept::Nowhere, Kept::Under))
    }

    /// Whether a task need not be ordered now: a result was used again, or it is first to be known whether there is
    /// one.
    pub(super) fn recalled(&mut self, place: Place) -> Result<bool, Needs> {
        let is_first = self.execution.at(place).attempt == 0;
        // What is done again, or tried, is to run.
        let accepted = &self.execution.accepted;
        let is_tried = || {
            let id = &self.execution.component(place).id;
            accepted.trial.as_ref().is_some_and(|trial| trial.component == *id)
        };
        let reads = (accepted.retry_of.is_none() || planted!(B84RetryReadsTheCache)) && !is_tried();
        if !is_first || !reads {
            return Ok(false);
        }
        let hash = match self.kept_under(place) {
            Ok(Kept::Under(hash)) => hash,
            // What fails here fails again, and is said, when the task is ordered.
            Ok(Kept::Nowhere | Kept::TooLarge) | Err(EvaluationError::Failed(_)) => return Ok(false),
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
        };
        let key = CacheKey { component: self.execution.component(place).id.clone(), hash };
        let Some(cached) = self.around.cached else {
            if self.unknown.len() < MOST_ASKED && !self.unknown.contains(&key) {
                self.unknown.push(key);
            }
            return Ok(false);
        };
        match cached.get(&key) {
            None => {
                self.put_off(place);
                Ok(true)
            }
            Some(Some(result)) if result.expires_at > self.around.now || planted!(B82ExpiredResultUsed) => {
                self.use_again(place, key.hash, result)
            }
            Some(_) => Ok(false),
        }
    }

    /// Leaves a task to a turn that asks for its result.
    fn put_off(&mut self, place: Place) {
        // Who stands in line is called by the wake.
        if !matches!(self.phase(place), Phase::Ready | Phase::Limited) {
            self.emit(Event::TaskReady { task: self.key(place) });
        }
        self.go_on();
    }

    /// Completes a task with a result that another execution gave.
    fn use_again(&mut self, place: Place, key: String, result: &CachedResult) -> Result<bool, Needs> {
        let task = self.key(place);
        let output: Value = match serde_json::from_slice(&result.output) {
            Ok(output) => output,
            Err(error) => {
                self.note(LogLevel::Warn, format!("what was cached for {task} cannot be read: {error}"));
                return Ok(false);
            }
        };
        let known = &self.execution.component(place).ports;
        let ports = result.ports.iter().filter(|port| known.contains(port)).cloned().collect();
        self.drop_task_timers(place);
        self.emit(Event::TaskCached {
            task,
            key,
            from: result.execution,
            at: result.at,
            output: Payload::Inline(output),
            ports,
        });
        self.settled(place)?;
        Ok(true)
    }

    /// Keeps what a task completes with for others, under the key that it was sent with: what its expressions see may
    /// have changed since.
    pub(super) fn keep_result(
        &mut self,
        place: Place,
        output: &Payload,
        ports: &[String],
    ) -> Result<(), Needs> {
        let component = self.execution.component(place);
        let Some(caching) = &component.cache else { return Ok(()) };
        let Some(mut hash) = self.execution.at(place).cache_key.as_deref().map(str::to_owned) else {
            return Ok(());
        };
        if planted!(B83KeptUnderTheKeyOfNow)
            && let Ok(Kept::Under(now)) = self.kept_under(place)
        {
            hash = now;
        }
        let text = match output {
            Payload::Inline(value) => Some(value.to_string()),
            Payload::Stored(stored) if stored.size > LARGEST_CACHED as u64 => None,
            Payload::Stored(stored) => {
                let value = self.payloads.get(&stored.id).ok_or_else(|| Needs::Payloads(vec![stored.id]))?;
                Some(value.to_string())
            }
        };
        let text = text.filter(|text| text.len() <= LARGEST_CACHED);
        let why_not = match &text {
            None => Some("it is larger than 1 MiB"),
            // They are removed with the execution.
            Some(text) if !payloads_in(text.as_bytes()).is_empty() => {
                Some("it names files of this execution")
            }
            Some(_) => None,
        };
        if let (Some(text), None) = (text, why_not) {
            let now = self.around.now;
            self.made.cache.push(CacheEntry {
                key: CacheKey { component: component.id.clone(), hash },
                result: CachedResult {
                    output: text.into_bytes(),
                    ports: ports.to_vec(),
                    execution: self.execution.id,
                    at: now,
                    expires_at: now.after(caching.ttl),
                },
            });
        } else if let Some(why_not) = why_not {
            let task = self.key(place);
            self.note(LogLevel::Info, format!("what {task} gave is not cached: {why_not}"));
        }
        Ok(())
    }
}
