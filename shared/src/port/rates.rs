//! Permits under rate limits: so many a period under one key, over all executions of a tenant.
//!
//! The arithmetic is the same for every store ([`RateRow::ask`]); stores keep the rows.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::store::StoreError;
use crate::{
    execution::TaskKey,
    ids::{ExecutionId, TenantId},
    time::{Timestamp, format_duration},
};

/// How long the lowest limit for a key holds after it was last asked for, at least.
const REMEMBERED: Duration = Duration::from_hours(24);

/// So many permits a period, of which some may be given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Permits in one period; at least 1.
    pub limit: u32,
    /// The period; with `limit` it is at least a microsecond a permit.
    pub per: Duration,
    /// Permits that may be given at once after a quiet time; at least 1.
    pub burst: u32,
}

impl Rate {
    /// Microseconds from one permit to the next when none is saved up.
    fn interval(self) -> i64 {
        let per = i64::try_from(self.per.as_micros()).unwrap_or(i64::MAX);
        let limit = i64::from(self.limit.max(1));
        (per / limit + i64::from(per % limit != 0)).max(1)
    }

    /// Whether it lets fewer through than another in the long run.
    fn is_lower(self, other: Self) -> bool {
        self.interval() > other.interval()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} per {}", self.limit, format_duration(self.per))
    }
}

/// A task asks for a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitAsk {
    pub execution: ExecutionId,
    pub task: TaskKey,
    pub key: String,
    pub rate: Rate,
    /// Until when it would wait for its permit; absent when it takes one now or none.
    pub until: Option<Timestamp>,
}

/// What became of it. Asked again by the same task, a permit is the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// When the task may go on; with `refused`, when it could have.
    pub at: Timestamp,
    pub refused: bool,
    /// The limit that held, when it is another and lower one than the task asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_to: Option<Rate>,
}

impl Permit {
    /// The answer for an execution that has ended: nobody wants a permit any more.
    pub const fn unwanted(now: Timestamp) -> Self {
        Self { at: now, refused: true, held_to: None }
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRow {
    /// The theoretical arrival time of the next permit.
    pub next: Timestamp,
    /// The lowest limit that is asked for.
    pub rate: Rate,
    /// When it was last asked for.
    pub asked_at: Timestamp,
}

impl RateRow {
    /// A key that nobody has asked for.
    pub const fn new(rate: Rate, now: Timestamp) -> Self {
        Self { next: now, rate, asked_at: now }
    }

    /// Gives the next permit, or refuses; a refusal takes nothing.
    ///
    /// The generic cell rate algorithm (ITU-T I.371, virtual scheduling): a permit moves the theoretical arrival
    /// time on by one interval, and may be given before it by the intervals of a burst.
    pub fn ask(&mut self, rate: Rate, until: Option<Timestamp>, now: Timestamp) -> Permit {
        let quiet = now.since(self.asked_at);
        if !self.rate.is_lower(rate) || quiet > REMEMBERED.max(self.rate.per.saturating_mul(2)) {
            self.rate = rate;
            self.asked_at = now;
        }
        let interval = self.rate.interval();
        let early = interval.saturating_mul(i64::from(self.rate.burst.max(1)) - 1);
        let at = now.max(Timestamp::from_micros(self.next.as_micros().saturating_sub(early)));
        let refused = at > until.unwrap_or(now);
        if !refused {
            self.next = Timestamp::from_micros(self.next.max(now).as_micros().saturating_add(interval));
        }
        Permit { at, refused, held_to: (self.rate != rate).then_some(self.rate) }
    }
}

/// The rows of a store in memory.
#[derive(Debug, Clone, Default)]
pub struct RateRows {
    keys: HashMap<(TenantId, String), RateRow>,
    permits: BTreeMap<(ExecutionId, TaskKey), Timestamp>,
}

impl RateRows {
    /// As [`Rates::permit`].
    pub fn permit(&mut self, tenant: TenantId, ask: PermitAsk, now: Timestamp) -> Permit {
        let owner = (ask.execution, ask.task);
        if let Some(at) = self.permits.get(&owner) {
            return Permit { at: *at, refused: false, held_to: None };
        }
        let row = self.keys.entry((tenant, ask.key)).or_insert_with(|| RateRow::new(ask.rate, now));
        let permit = row.ask(ask.rate, ask.until, now);
        if !permit.refused {
            self.permits.insert(owner, permit.at);
        }
        permit
    }

    /// Forgets the permit of a task that goes on.
    pub fn settle(&mut self, execution: ExecutionId, task: &TaskKey) {
        self.permits.remove(&(execution, task.clone()));
    }

    /// Forgets the permits of an execution that ends.
    pub fn release(&mut self, execution: ExecutionId) {
        self.permits.retain(|(owner, _), _| *owner != execution);
    }

    /// The tasks that have a permit and have not gone on.
    pub fn held(&self) -> impl Iterator<Item = &(ExecutionId, TaskKey)> {
        self.permits.keys()
    }
}

/// Rate limits over all executions of a tenant.
#[async_trait]
pub trait Rates: Send + Sync {
    /// Gives a permit to a task of an open execution, or says when there would be one. A task that asks again is
    /// given the permit it has; it is forgotten with the task's wait or with the execution.
    async fn permit(&self, tenant: TenantId, ask: PermitAsk, now: Timestamp) -> Result<Permit, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * SECOND)
    }

    fn rate(limit: u32, seconds: u64, burst: u32) -> Rate {
        Rate { limit, per: Duration::from_secs(seconds), burst }
    }

    /// When permits that are all asked for at once are given, in seconds.
    fn given(rate: Rate, count: usize) -> Vec<i64> {
        let mut row = RateRow::new(rate, at(0));
        (0..count).map(|_| row.ask(rate, Some(at(1_000_000)), at(0)).at.as_micros() / SECOND).collect()
    }

    #[test]
    fn a_burst_is_given_at_once_and_the_rest_in_its_time() {
        assert_eq!(given(rate(1, 10, 1), 4), [0, 10, 20, 30]);
        assert_eq!(given(rate(6, 60, 3), 6), [0, 0, 0, 10, 20, 30]);
        assert_eq!(given(rate(6, 60, 6), 8), [0, 0, 0, 0, 0, 0, 10, 20]);
    }

    #[test]
    fn a_quiet_time_saves_up_a_burst_and_no_more() {
        let rate = rate(1, 1, 3);
        let mut row = RateRow::new(rate, at(0));
        for _ in 0..3 {
            assert_eq!(row.ask(rate, None, at(0)).at, at(0));
        }
        let free: Vec<bool> = (0..4).map(|_| !row.ask(rate, None, at(1_000)).refused).collect();
        assert_eq!(free, [true, true, true, false]);
    }

    #[test]
    fn a_refusal_takes_nothing_and_says_when() {
        let rate = rate(1, 10, 1);
        let mut row = RateRow::new(rate, at(0));
        row.ask(rate, None, at(0));
        for _ in 0..5 {
            let refused = row.ask(rate, None, at(1));
            assert_eq!((refused.refused, refused.at), (true, at(10)));
            assert!(row.ask(rate, Some(at(9)), at(1)).refused);
        }
        assert_eq!(row.ask(rate, Some(at(10)), at(1)), Permit { at: at(10), refused: false, held_to: None });
    }

    #[test]
    fn the_lowest_limit_holds_while_it_is_asked_for() {
        let (high, low) = (rate(100, 1, 100), rate(1, 1, 1));
        let mut row = RateRow::new(high, at(0));
        assert_eq!(row.ask(low, Some(at(60)), at(0)).held_to, None);
        let next = row.ask(high, Some(at(60)), at(0));
        assert_eq!((next.at, next.held_to), (at(1), Some(low)));
        let day = 24 * 3_600;
        assert_eq!(row.ask(high, None, at(day + 1)).held_to, None);
    }

    #[test]
    fn no_window_ever_holds_more_than_a_period_and_a_burst() {
        let rate = rate(7, 20, 3);
        let mut row = RateRow::new(rate, at(0));
        let mut given = Vec::new();
        let mut now = 0_i64;
        for step in 0..500_i64 {
            now += (step * 7_919 % 5) * 400_000;
            let permit = row.ask(rate, None, Timestamp::from_micros(now));
            if !permit.refused {
                given.push(now);
            }
        }
        for (position, first) in given.iter().enumerate() {
            let within = given[position..].iter().filter(|at| **at < first + 20 * SECOND).count();
            assert!(within <= 7 + 3, "{within} in the period from {first}");
        }
        assert!(given.len() > 100);
    }
}
