//! How long to wait before the next try: of a task (a pure function of the policy and a seed) and of
//! a connection (the crate `backoff`, which nobody else names).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::component::FailureClass;

/// How the pauses grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// No pause.
    None,
    /// Always `initial`.
    Fixed,
    /// Doubled each time, up to `cap`.
    Exponential,
}

/// When and how often a failed attempt is followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included. Lost workers cost none.
    pub max_attempts: u32,
    pub growth: Growth,
    pub initial: Duration,
    pub cap: Duration,
    /// Whether the pause is drawn evenly from zero up to its length.
    pub jitter: bool,
    /// Classes that are tried again; empty means those of [`FailureClass::is_retried_by_default`].
    pub on: Vec<FailureClass>,
}

impl RetryPolicy {
    /// One attempt.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            growth: Growth::None,
            initial: Duration::ZERO,
            cap: Duration::ZERO,
            jitter: false,
            on: Vec::new(),
        }
    }

    /// Three attempts, exponential from one second, capped at a minute, with full jitter.
    pub fn standard() -> Self {
        Self {
            max_attempts: 3,
            growth: Growth::Exponential,
            initial: Duration::from_secs(1),
            cap: Duration::from_mins(1),
            jitter: true,
            on: Vec::new(),
        }
    }

    /// Whether a failure of this class is tried again after `spent` attempts that count.
    pub fn allows(&self, class: &FailureClass, spent: u32) -> bool {
        spent < self.max_attempts
            && class.may_be_retried()
            && if self.on.is_empty() { class.is_retried_by_default() } else { self.names(class) }
    }

    /// `user` names every `user.<id>` too.
    fn names(&self, class: &FailureClass) -> bool {
        self.on.iter().any(|named| {
            named == class || matches!((named, class), (FailureClass::User(None), FailureClass::User(_)))
        })
    }

    /// The pause after the attempt number `spent` (from 1).
    ///
    /// The same `seed` gives the same pause, so that a replay schedules the same timer.
    ///
    /// Source: "full jitter" in M. Brooker, *Exponential Backoff and Jitter*, AWS, 2015.
    pub fn pause(&self, spent: u32, seed: u64) -> Duration {
        let longest = match self.growth {
            Growth::None => return Duration::ZERO,
            Growth::Fixed => self.initial.min(self.cap.max(self.initial)),
            Growth::Exponential => {
                let doubled = self.initial.saturating_mul(1_u32 << spent.saturating_sub(1).min(30));
                doubled.min(self.cap)
            }
        };
        if !self.jitter {
            return longest;
        }
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(scale(mix(seed ^ u64::from(spent)), micros))
    }
}

/// A number from 0 to `below` inclusive, evenly spread over `random`.
fn scale(random: u64, below: u64) -> u64 {
    ((u128::from(random) * (u128::from(below) + 1)) >> 64) as u64
}

/// One step of SplitMix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The pauses between tries to reach a service: exponential with jitter, without an end.
#[derive(Debug)]
pub struct Reconnect(backoff::ExponentialBackoff);

impl Reconnect {
    /// From `first` up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self(backoff::ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            max_interval: longest,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        })
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        use backoff::backoff::Backoff;
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// The service answered: the next trouble starts from the shortest pause.
    pub fn reset(&mut self) {
        use backoff::backoff::Backoff;
        self.0.reset();
    }
}

impl Default for Reconnect {
    /// From 100 ms up to 5 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exponential_pauses_double_up_to_the_cap() {
        let policy = RetryPolicy { jitter: false, ..RetryPolicy::standard() };
        let seconds: Vec<u64> = (1..=8).map(|spent| policy.pause(spent, 0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_policy_that_names_user_takes_own_names_too() {
        let policy = RetryPolicy { on: vec![FailureClass::User(None)], ..RetryPolicy::standard() };
        assert!(policy.allows(&FailureClass::User(Some("no_stock".into())), 1));
        assert!(!policy.allows(&FailureClass::Timeout, 1));
        assert!(!policy.allows(&FailureClass::User(None), 3));
    }

    #[test]
    fn no_policy_retries_the_unknown_and_the_cancelled() {
        for class in [FailureClass::OutcomeUnknown, FailureClass::Cancelled] {
            let policy = RetryPolicy { on: vec![class.clone()], ..RetryPolicy::standard() };
            assert!(!policy.allows(&class, 1));
        }
    }

    proptest! {
        #[test]
        fn a_jittered_pause_is_repeatable_and_within_its_length(spent in 1_u32..40, seed: u64) {
            let policy = RetryPolicy::standard();
            let whole = RetryPolicy { jitter: false, ..policy.clone() };
            let pause = policy.pause(spent, seed);
            prop_assert_eq!(pause, policy.pause(spent, seed));
            prop_assert!(pause <= whole.pause(spent, seed));
        }
    }
}
