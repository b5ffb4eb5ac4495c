use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::schedule::{Schedule, parse_zone};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).after(Duration::from_secs(seconds))
}

fn every(seconds: u64, catchup: Catchup, overlap: Overlap) -> Timed {
    let schedule = Schedule::every(Duration::from_secs(seconds)).expect("a pace");
    Timed { schedule, catchup, catchup_max: 100, overlap }
}

fn sight(last: u64, now: u64) -> Sight {
    Sight { last: at(last), now: at(now), pending: Vec::new(), open: 0, room: None }
}

fn acts(plan: &Plan) -> Vec<(u64, Act)> {
    plan.acts.iter().map(|(fire, act)| (fire.since(at(0)).as_secs(), *act)).collect()
}

#[test]
fn each_policy_about_what_was_missed() {
    use Act::{Skip, Start, Wait};
    let missed = |catchup| Skip(Reason::Missed(catchup));
    // A fire every 100 s, three of them missed, the last one a minute and more ago.
    let late = sight(0, 370);
    // The same, and one more that is on time.
    let on_time = sight(0, 400);
    for (catchup, expected, with_one_on_time) in [
        (
            Catchup::None,
            [missed(Catchup::None), missed(Catchup::None), missed(Catchup::None)],
            [missed(Catchup::None), missed(Catchup::None), missed(Catchup::None), Start],
        ),
        (
            Catchup::Last,
            [missed(Catchup::Last), missed(Catchup::Last), Start],
            [missed(Catchup::Last), missed(Catchup::Last), missed(Catchup::Last), Start],
        ),
        (Catchup::All, [Start, Wait, Wait], [Start, Wait, Wait, Skip(Reason::Overlap)]),
    ] {
        let plan_late = plan(&every(100, catchup, Overlap::Skip), b"", &late);
        assert_eq!(acts(&plan_late).iter().map(|(_, act)| *act).collect::<Vec<_>>(), expected, "{catchup:?}");
        let plan_on_time = plan(&every(100, catchup, Overlap::Skip), b"", &on_time);
        assert_eq!(
            acts(&plan_on_time).iter().map(|(_, act)| *act).collect::<Vec<_>>(),
            with_one_on_time,
            "{catchup:?}"
        );
        assert_eq!((plan_on_time.last, plan_late.span), (at(400), None));
    }
    let all = plan(&every(100, Catchup::All, Overlap::Allow), b"", &on_time);
    assert_eq!(acts(&all), [(100, Start), (200, Start), (300, Start), (400, Start)]);
    assert_eq!(all.next, Some(at(500)));
}

#[test]
fn each_policy_about_what_overlaps() {
    let busy = Sight { open: 1, ..sight(0, 100) };
    for (overlap, expected) in [
        (Overlap::Skip, Act::Skip(Reason::Overlap)),
        (Overlap::Queue, Act::Wait),
        (Overlap::CancelRunning, Act::CancelAndStart),
        (Overlap::Allow, Act::Start),
    ] {
        let planned = plan(&every(100, Catchup::Last, overlap), b"", &busy);
        assert_eq!(acts(&planned), [(100, expected)]);
        let soon = if expected == Act::Wait { at(101) } else { at(200) };
        assert_eq!(planned.next, Some(soon), "{overlap:?}");
        let free = plan(&every(100, Catchup::Last, overlap), b"", &sight(0, 100));
        assert_eq!(acts(&free), [(100, Act::Start)]);
    }
}

#[test]
fn what_waits_starts_in_turn_once_the_earlier_ones_have_ended() {
    let queue = every(100, Catchup::Last, Overlap::Queue);
    let waiting = Sight { pending: vec![at(100), at(200)], ..sight(200, 250) };
    let busy = plan(&queue, b"", &Sight { open: 1, ..waiting.clone() });
    assert_eq!((acts(&busy), busy.next), (Vec::new(), Some(at(251))));
    let free = plan(&queue, b"", &waiting);
    assert_eq!((acts(&free), free.next, free.last), (vec![(100, Act::Start)], Some(at(251)), at(200)));
    let last = plan(&queue, b"", &Sight { pending: vec![at(200)], ..waiting });
    assert_eq!((acts(&last), last.next), (vec![(200, Act::Start)], Some(at(300))));
}

#[test]
fn only_so_many_an_hour() {
    let planned =
        plan(&every(10, Catchup::Last, Overlap::Allow), b"", &Sight { room: Some(2), ..sight(0, 40) });
    let full = Act::Skip(Reason::MaxPerHour);
    assert_eq!(acts(&planned), [(10, Act::Start), (20, Act::Start), (30, full), (40, full)]);
}

#[test]
fn only_the_newest_are_caught_up_with_and_the_rest_is_one_span() {
    let mut timed = every(100, Catchup::All, Overlap::Allow);
    timed.catchup_max = 3;
    let planned = plan(&timed, b"", &sight(0, 100_070));
    let started: Vec<u64> =
        acts(&planned).into_iter().filter(|(_, act)| *act == Act::Start).map(|(fire, _)| fire).collect();
    assert_eq!(started, [99_800, 99_900, 100_000]);
    let (first, end, reason) = planned.span.expect("a span");
    assert_eq!((first, reason), (at(100), Reason::TooManyMissed));
    assert!(end < planned.acts[0].0 && end > first);
    assert_eq!(planned.last, at(100_000));
    let fires = planned.acts.len() as u64 + end.since(first).as_secs() / 100 + 1;
    assert_eq!(fires, 1_000, "each fire is in the span or among the acts");
}

#[test]
fn nothing_is_due_before_its_jitter_is_over() {
    let schedule =
        Schedule::every(Duration::from_secs(100)).and_then(|all| all.with_jitter(Duration::from_secs(50)));
    let timed = Timed {
        schedule: schedule.expect("a schedule"),
        catchup: Catchup::Last,
        catchup_max: 1,
        overlap: Overlap::Allow,
    };
    let due = timed.schedule.due(b"x", at(100));
    let before = Timestamp::from_micros(due.as_micros() - 1);
    let planned = plan(&timed, b"x", &Sight { now: before, ..sight(0, 0) });
    assert_eq!((planned.acts, planned.next, planned.last), (Vec::new(), Some(due), at(0)));
    let planned = plan(&timed, b"x", &Sight { now: due, ..sight(0, 0) });
    assert_eq!(acts(&planned), [(100, Act::Start)]);
}

/// A mistake that the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// What is kept is not compared with what was seen.
    NoFence,
    /// It goes on from now and not from the last fire.
    CursorAtNow,
    /// What is late is dropped without a word.
    DropLate,
    /// What is kept and what is moved are two deeds, and a kill may come between.
    TwoDeeds,
    /// A fire that waited is forgotten when the next one is due.
    ForgetWaiting,
    /// Two fires that follow one another closely are taken for one.
    MergeNear,
    /// The first fire after a pause is left out.
    SkipFirst,
}

/// What a store keeps of one schedule.
#[derive(Debug, Clone)]
struct Kept {
    last: Timestamp,
    started: BTreeMap<Timestamp, u32>,
    skipped: BTreeMap<Timestamp, Option<Timestamp>>,
    pending: Vec<Timestamp>,
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Two coordinators look at one schedule, each at its own pace; between any two steps one may be killed, and both
/// may be away for a while. Answers what was wrong.
fn simulate(timed: &Timed, fault: Fault, seed: u64, hours: u64) -> Result<usize, String> {
    let mut dice = seed | 1;
    let begin = Timestamp::from_micros(1_774_700_000_000_000);
    let end = begin.after(Duration::from_hours(hours));
    let mut store =
        Kept { last: begin, started: BTreeMap::new(), skipped: BTreeMap::new(), pending: Vec::new() };
    let mut now = begin;
    // What each has seen and not yet kept.
    let mut hands: [Option<(Sight, Plan)>; 2] = [None, None];
    let mut open = 0_usize;
    while now < end {
        let pause = match random(&mut dice) % 100 {
            // Both are away.
            0 => random(&mut dice) % 20_000,
            1..10 => random(&mut dice) % 300,
            _ => random(&mut dice) % 20,
        };
        now = now.after(Duration::from_millis(pause * 1_000 + random(&mut dice) % 1_000)).min(end);
        if random(&mut dice).is_multiple_of(3) {
            open = 0;
        }
        let who = (random(&mut dice) % 2) as usize;
        match hands[who].take() {
            None => {
                let sight = Sight { last: store.last, now, pending: store.pending.clone(), open, room: None };
                let planned = plan(timed, b"seed", &sight);
                hands[who] = Some((sight, planned));
            }
            // Killed between seeing and keeping.
            Some(_) if random(&mut dice).is_multiple_of(7) => {}
            Some((sight, mut planned)) => {
                let is_same = store.last == sight.last && store.pending == sight.pending;
                if !is_same && fault != Fault::NoFence {
                    continue;
                }
                match fault {
                    Fault::DropLate => {
                        planned.acts.retain(|(fire, _)| sight.now.since(*fire) <= GRACE);
                    }
                    Fault::MergeNear => {
                        planned.acts.dedup_by(|b, a| b.0.since(a.0) < Duration::from_secs(30));
                    }
                    Fault::SkipFirst if planned.acts.len() > 1 => {
                        planned.acts.remove(0);
                    }
                    Fault::ForgetWaiting if planned.acts.iter().any(|(fire, _)| *fire > sight.last) => {
                        store.pending.clear();
                    }
                    _ => {}
                }
                for (fire, act) in &planned.acts {
                    store.pending.retain(|waiting| waiting != fire);
                    match act {
                        Act::Start | Act::CancelAndStart => {
                            *store.started.entry(*fire).or_default() += 1;
                            open += 1;
                        }
                        Act::Wait => store.pending.push(*fire),
                        Act::Skip(_) => {
                            store.skipped.insert(*fire, None);
                        }
                    }
                }
                if let Some((first, until, _)) = planned.span {
                    store.skipped.insert(first, Some(until));
                }
                if fault == Fault::TwoDeeds && random(&mut dice).is_multiple_of(5) {
                    continue;
                }
                store.last = if fault == Fault::CursorAtNow { now } else { planned.last };
            }
        }
    }
    // The last look, with nobody in between, until nothing is due and nothing waits.
    for _ in 0..10_000 {
        let sight = Sight { last: store.last, now, pending: store.pending.clone(), open: 0, room: None };
        let planned = plan(timed, b"seed", &sight);
        if planned.acts.is_empty() {
            break;
        }
        for (fire, act) in planned.acts {
            store.pending.retain(|waiting| *waiting != fire);
            match act {
                Act::Start | Act::CancelAndStart => *store.started.entry(fire).or_default() += 1,
                Act::Wait => store.pending.push(fire),
                Act::Skip(_) => {
                    store.skipped.insert(fire, None);
                }
            }
        }
        if let Some((first, until, _)) = planned.span {
            store.skipped.insert(first, Some(until));
        }
        store.last = planned.last;
    }
    if let Some((fire, times)) = store.started.iter().find(|(_, times)| **times > 1) {
        return Err(format!("{fire} started {times} times"));
    }
    let mut fires = 0;
    for fire in timed.schedule.fires_after(begin).take_while(|fire| *fire <= store.last) {
        fires += 1;
        let skipped = store.skipped.contains_key(&fire)
            || store
                .skipped
                .iter()
                .any(|(first, until)| *first <= fire && until.is_some_and(|end| fire <= end));
        let started = store.started.contains_key(&fire);
        if !started && !skipped {
            return Err(format!("{fire} was missed without a word"));
        }
        if started && store.skipped.contains_key(&fire) {
            return Err(format!("{fire} was skipped and started"));
        }
        if timed.catchup == Catchup::All && timed.overlap == Overlap::Allow && !started {
            return Err(format!("{fire} was not caught up with"));
        }
    }
    if timed.schedule.after(store.last).is_some_and(|fire| fire <= now) {
        return Err("something was left due".to_owned());
    }
    if store.started.keys().any(|fire| timed.schedule.at_or_after(*fire) != Some(*fire)) {
        return Err("something started that never fired".to_owned());
    }
    Ok(fires)
}

fn many(pace: u64, catchup: Catchup, overlap: Overlap) -> Timed {
    Timed { catchup_max: 10_000, ..every(pace, catchup, overlap) }
}

#[test]
fn ten_thousand_fires_by_two_coordinators_none_missed_and_none_doubled() {
    let mut fires = 0;
    for (index, catchup) in [Catchup::None, Catchup::Last, Catchup::All].into_iter().enumerate() {
        for overlap in [Overlap::Skip, Overlap::Queue, Overlap::CancelRunning, Overlap::Allow] {
            for (pace, hours) in [(1, 1), (7, 3), (600, 600)] {
                let timed = many(pace, catchup, overlap);
                let seed = 815 + index as u64;
                fires += simulate(&timed, Fault::None, seed, hours)
                    .unwrap_or_else(|wrong| panic!("{catchup:?} {overlap:?} every {pace}s: {wrong}"));
            }
        }
    }
    assert!(fires >= 10_000, "{fires}");
}

#[test]
fn a_cron_over_the_change_of_the_clock_is_neither_missed_nor_doubled() {
    let zone = parse_zone("Europe/Berlin").expect("a zone");
    for cron in ["30 2 * * *", "*/5 * * * *", "0 1-3 * * *"] {
        let schedule = Schedule::cron(cron, zone).expect("a schedule");
        let timed = Timed { schedule, catchup: Catchup::All, catchup_max: 10_000, overlap: Overlap::Allow };
        for seed in 1..6 {
            simulate(&timed, Fault::None, seed, 24 * 4)
                .unwrap_or_else(|wrong| panic!("{cron} {seed}: {wrong}"));
        }
    }
}

#[test]
fn every_planted_fault_is_found() {
    for (fault, overlap) in [
        (Fault::NoFence, Overlap::Allow),
        (Fault::CursorAtNow, Overlap::Allow),
        (Fault::DropLate, Overlap::Allow),
        (Fault::TwoDeeds, Overlap::Allow),
        (Fault::ForgetWaiting, Overlap::Queue),
        (Fault::MergeNear, Overlap::Allow),
        (Fault::SkipFirst, Overlap::Allow),
    ] {
        let timed = many(20, Catchup::All, overlap);
        let found = (1..40).any(|seed| simulate(&timed, fault, seed * 7_919, 24).is_err());
        assert!(found, "{fault:?} was not found");
        for seed in 1..40 {
            simulate(&timed, Fault::None, seed * 7_919, 2)
                .unwrap_or_else(|wrong| panic!("without a fault: {wrong}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_seed_nothing_is_missed_and_nothing_doubled(
        seed in 1_u64..u64::MAX,
        pace in 1_u64..2_000,
        catchup in prop_oneof![Just(Catchup::None), Just(Catchup::Last), Just(Catchup::All)],
        overlap in prop_oneof![
            Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::CancelRunning), Just(Overlap::Allow)
        ],
        most in 1_u32..500,
    ) {
        let mut timed = every(pace, catchup, overlap);
        timed.catchup_max = if catchup == Catchup::All && overlap == Overlap::Allow { 10_000 } else { most };
        let hours = (pace / 10).clamp(1, 200);
        if let Err(wrong) = simulate(&timed, Fault::None, seed, hours) {
            prop_assert!(false, "{wrong}");
        }
    }
}
