//! The explorer's runs.

use super::{Plan, Tally, Violation, world::World};
use crate::seeded::{Bug, plant};

/// Schedules explored in the test run, and a sixteenth of it of each variant. `EXPLORER_SCHEDULES` asks for another
/// number.
const SCHEDULES: u64 = 24_000;
/// Schedules that a planted fault may survive.
const PATIENCE: u64 = 20_000;

fn schedules() -> u64 {
    std::env::var("EXPLORER_SCHEDULES").ok().and_then(|number| number.parse().ok()).unwrap_or(SCHEDULES)
}

fn run(plan: Plan) -> (Tally, Result<(), Violation>) {
    plant(plan.bug);
    let outcome = World::new(plan).run();
    plant(None);
    outcome
}

/// Explores seeds in as many threads as there are cores; the first violation wins.
fn explore(seeds: std::ops::Range<u64>, plan: impl Fn(u64) -> Plan + Sync) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let plan = &plan;
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let mut sum = Tally::default();
                    for seed in seeds.filter(|seed| seed % threads == thread) {
                        let plan = plan(seed);
                        let (tally, outcome) = run(plan);
                        sum.add(tally);
                        if let Err(violation) = outcome {
                            panic!("{}: {}\nreplay with {plan:?}", violation.invariant, violation.message);
                        }
                    }
                    sum
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(tally);
    }
    sum
}

/// A run that proves nothing is a failure too.
fn is_not_hollow(tally: &Tally) {
    println!("{tally:?}");
    for (count, what) in [
        (tally.kills, "kills"),
        (tally.cuts, "cut connections"),
        (tally.unknown_commits, "unknown commits"),
        (tally.lost_confirms, "lost confirms"),
        (tally.restarts, "broker restarts"),
        (tally.drains, "drains"),
        (tally.checked, "compared states"),
        (tally.loads, "loaded payloads"),
        (tally.payloads, "kept payloads"),
        (tally.half_reached, "batches that failed half way"),
        (tally.children, "children"),
        (tally.answers, "answers"),
        (tally.received, "received events"),
        (tally.undone, "compensations"),
        (tally.rounds, "rounds"),
        (tally.pauses, "pauses"),
        (tally.resumes, "resumes"),
        (tally.retries, "retries"),
        (tally.carried, "carried results"),
        (tally.refused, "refused retries"),
        (tally.cached, "results used again"),
        (tally.moved, "moves"),
        (tally.not_moved, "refused moves"),
    ] {
        assert!(count > 0, "no {what} in the whole run");
    }
    assert!(
        tally.completed * 100 >= tally.ended * 60,
        "fewer than 60 % of the executions completed: {tally:?}"
    );
}

#[test]
fn every_schedule_keeps_every_promise() {
    for seed in include_str!("seeds.txt").lines().filter_map(|line| line.trim().parse().ok()) {
        let (_, outcome) = run(Plan::of(seed));
        assert!(outcome.is_ok(), "the known seed {seed} fails again: {outcome:?}");
    }
    let tally = explore(0..schedules(), Plan::of);
    is_not_hollow(&tally);
    assert!(tally.wipes > 0 && tally.duplicates > 0 && tally.superseded > 0 && tally.late > 0, "{tally:?}");
    assert!(tally.followed > 0 && tally.permits > 0 && tally.passed > 0, "{tally:?}");
}

#[test]
fn without_faults_no_effect_is_repeated() {
    let tally = explore(0..schedules() / 16, |seed| Plan { faults: 0, sweep: false, ..Plan::of(seed) });
    assert_eq!(tally.repeats, 0);
}

#[test]
fn without_affinity_it_is_slower_but_right() {
    is_not_hollow(&explore(0..schedules() / 16, |seed| Plan { affinity: false, ..Plan::of(seed) }));
}

#[test]
fn with_every_task_leased_it_is_right() {
    is_not_hollow(&explore(0..schedules() / 16, |seed| Plan { lease_all: true, ..Plan::of(seed) }));
}

#[test]
fn in_batches_of_one_it_is_right() {
    is_not_hollow(&explore(0..schedules() / 16, |seed| Plan { batch: 1, ..Plan::of(seed) }));
}

#[test]
fn with_little_room_in_turns_and_journals_it_is_right() {
    is_not_hollow(&explore(0..schedules() / 16, |seed| Plan { small: true, batch: 12, ..Plan::of(seed) }));
}

#[test]
fn with_three_times_the_faults_it_is_right() {
    let tally = explore(0..schedules() / 16, |seed| Plan { faults: 15, ..Plan::of(seed) });
    assert!(tally.wipes > 0 && tally.completed > 0, "{tally:?}");
}

#[test]
fn without_the_safety_net_nothing_is_stuck_while_the_broker_keeps_its_data() {
    is_not_hollow(&explore(0..schedules() / 16, |seed| Plan { sweep: false, ..Plan::of(seed) }));
}

/// One seed, which whoever hunts names: `EXPLORER_SEED=7 cargo nextest run -p coordinator one_schedule`, and with
/// `EXPLORER_SWEEP=off` that of the schedules without the safety net.
#[test]
fn one_schedule() {
    let seed = std::env::var("EXPLORER_SEED").ok().and_then(|number| number.parse().ok());
    let plan = Plan::of(seed.unwrap_or_default());
    let sweep = plan.sweep && std::env::var("EXPLORER_SWEEP").as_deref() != Ok("off");
    let (tally, outcome) = run(Plan { sweep, ..plan });
    assert!(outcome.is_ok(), "{outcome:?} {tally:?}");
}

#[test]
fn every_planted_fault_is_found() {
    // `EXPLORER_BUG=B55` hunts one of them.
    let only = std::env::var("EXPLORER_BUG").unwrap_or_default();
    let mut missed = Vec::new();
    for bug in Bug::ALL.into_iter().filter(|bug| format!("{bug:?}").starts_with(&only)) {
        let found = (0..PATIENCE).find_map(|seed| {
            // Some faults make states that the engine's own assertions refuse: that is a find too.
            let outcome = std::panic::catch_unwind(|| run(Plan::hunting(seed, bug)).1);
            let outcome = outcome.unwrap_or_else(|_| {
                Err(Violation {
                    invariant: "assertion",
                    message: "the engine refused its own state".to_owned(),
                })
            });
            outcome.err().map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => {
                println!("{bug:?}: {} at seed {seed}: {}", violation.invariant, violation.message);
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
