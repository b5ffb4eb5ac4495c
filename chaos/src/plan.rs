//! Which faults come, in which order and at which pace: decided by the seed before anything is started.
//!
//! Whom a fault meets at work the machine decides.

use std::time::Duration;

use crate::{faults::Fault, random::Random};

/// A kind of fault that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Kill,
    Stop,
    Terminate,
    Cut,
    Silence,
    Purge,
}

impl Kind {
    const fn of(fault: Fault) -> Self {
        match fault {
            Fault::Kill(_) => Self::Kill,
            Fault::Stop(_) => Self::Stop,
            Fault::Terminate(_) => Self::Terminate,
            Fault::Cut => Self::Cut,
            Fault::Silence => Self::Silence,
            Fault::Purge => Self::Purge,
        }
    }
}

/// What the processes of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One `apg serve` on SQLite.
    Embedded,
    /// `apg api`, `apg coordinator` and `apg worker` on PostgreSQL, RabbitMQ and Redis.
    Cluster,
}

/// How often each fault is drawn.
const CLUSTER: &[(Fault, u64)] = &[
    (Fault::Kill("worker"), 25),
    (Fault::Kill("coordinator"), 12),
    (Fault::Kill("api"), 8),
    (Fault::Stop("worker"), 5),
    (Fault::Stop("coordinator"), 5),
    (Fault::Stop("api"), 2),
    (Fault::Terminate("worker"), 3),
    (Fault::Terminate("coordinator"), 2),
    (Fault::Terminate("api"), 1),
    (Fault::Cut, 10),
    (Fault::Silence, 6),
    (Fault::Purge, 3),
];
const EMBEDDED: &[(Fault, u64)] =
    &[(Fault::Kill("serve"), 6), (Fault::Stop("serve"), 1), (Fault::Terminate("serve"), 1)];

/// A fault that will come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub fault: Fault,
    /// Decides whom it hits, and for how long.
    pub seed: u64,
    /// From its beginning to that of the next one.
    pub pause: Duration,
}

/// Draws `count` faults of these kinds, `pause` apart on average. Every kind that the shape has comes at least
/// once when there are enough of them.
pub fn faults(seed: u64, count: usize, pause: Duration, shape: Shape, kinds: &[Kind]) -> Vec<Planned> {
    let table = if shape == Shape::Cluster { CLUSTER } else { EMBEDDED };
    let able: Vec<(Fault, u64)> =
        table.iter().copied().filter(|(fault, _)| kinds.contains(&Kind::of(*fault))).collect();
    let mut random = Random::new(seed);
    let mut drawn: Vec<Fault> = able.iter().map(|(fault, _)| *fault).take(count).collect();
    let total: u64 = able.iter().map(|(_, weight)| weight).sum();
    while !able.is_empty() && drawn.len() < count {
        let mut number = random.below(total);
        for (fault, weight) in &able {
            if number < *weight {
                drawn.push(*fault);
                break;
            }
            number -= weight;
        }
    }
    random.shuffle(&mut drawn);
    drawn
        .into_iter()
        .map(|fault| {
            // From half of it to one and a half.
            let pause = pause / 2 + pause * random.below(1_000) as u32 / 1_000;
            Planned { fault, seed: random.draw(), pause }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Kind] = &[Kind::Kill, Kind::Stop, Kind::Terminate, Kind::Cut, Kind::Silence, Kind::Purge];

    #[test]
    fn the_seed_decides_which_faults_come_when() {
        let draw = |seed| faults(seed, 60, Duration::from_secs(2), Shape::Cluster, ALL);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let sum: Duration = draw(7).iter().map(|planned| planned.pause).sum();
        assert!(sum > Duration::from_secs(90) && sum < Duration::from_secs(150), "{sum:?}");
    }

    #[test]
    fn each_kind_that_was_asked_for_comes_and_no_other() {
        let drawn = faults(1, 20, Duration::ZERO, Shape::Cluster, ALL);
        for (fault, _) in CLUSTER {
            assert!(drawn.iter().any(|planned| planned.fault == *fault), "{fault}");
        }
        let killed = faults(1, 20, Duration::ZERO, Shape::Cluster, &[Kind::Kill]);
        assert!(killed.len() == 20 && killed.iter().all(|planned| matches!(planned.fault, Fault::Kill(_))));
        assert!(faults(1, 20, Duration::ZERO, Shape::Embedded, &[Kind::Cut]).is_empty());
    }
}
