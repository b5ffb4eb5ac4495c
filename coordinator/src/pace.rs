//! How long tasks of each component type take of late: short ones may share a message.

use std::{collections::HashMap, sync::Arc, time::Duration};

/// Tasks that take longer are not held up by others of their message, and hold up none.
const SHORT: Duration = Duration::from_millis(10);
/// The weight of one more attempt, as a share of 1.
const WEIGHT: f64 = 1.0 / 16.0;

/// Mean seconds of the last attempts by component type. A restart forgets them.
#[derive(Debug, Default)]
pub(crate) struct Pace(HashMap<Arc<str>, f64>);

impl Pace {
    /// Takes note of how long an attempt took.
    pub(crate) fn note(&mut self, kind: &Arc<str>, took: Duration) {
        let took = took.as_secs_f64();
        match self.0.get_mut(kind) {
            Some(mean) => *mean += WEIGHT * (took - *mean),
            None => drop(self.0.insert(Arc::clone(kind), took)),
        }
    }

    /// Whether tasks of a type are known to be short.
    pub(crate) fn is_short(&self, kind: &str) -> bool {
        self.0.get(kind).is_some_and(|mean| *mean < SHORT.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_short_when_its_attempts_are_and_not_before_one_was_seen() {
        let (kind, mut pace) = (Arc::from("set"), Pace::default());
        assert!(!pace.is_short(&kind));
        pace.note(&kind, Duration::from_millis(1));
        assert!(pace.is_short(&kind) && !pace.is_short("script"));
        // One slow attempt says that some are slow, and many short ones that it was an exception.
        pace.note(&kind, Duration::from_secs(1));
        assert!(!pace.is_short(&kind));
        for _ in 0..100 {
            pace.note(&kind, Duration::from_millis(1));
        }
        assert!(pace.is_short(&kind));
    }
}
