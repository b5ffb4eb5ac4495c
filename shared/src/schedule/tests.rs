use chrono::{Datelike, Offset, Timelike};
use chrono_tz::OffsetComponents;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn zone(name: &str) -> Tz {
    parse_zone(name).expect("a zone")
}

/// The zones whose changes are looked at, and instants shortly before some of them.
const CHANGES: &[(&str, &str)] = &[
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ("America/New_York", "2027-03-13T12:00:00Z"),
    ("America/New_York", "2026-10-31T12:00:00Z"),
    // Half an hour.
    ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
    // At midnight, so that a day begins at one o'clock.
    ("America/Sao_Paulo", "2018-11-03T12:00:00Z"),
    ("America/Sao_Paulo", "2019-02-16T12:00:00Z"),
    ("Africa/Cairo", "2026-04-23T12:00:00Z"),
    ("Africa/Cairo", "2026-10-29T06:00:00Z"),
    // A whole day that was left out.
    ("Pacific/Apia", "2011-12-29T00:00:00Z"),
];

/// Cron expressions, each with what it asks of second, minute, hour, day and weekday (0 is Sunday), told apart
/// from how it is read.
type Fits = fn(u32, u32, u32, u32, u32) -> bool;
const CRONS: &[(&str, bool, Fits)] = &[
    ("30 2 * * *", true, |s, m, h, _, _| s == 0 && m == 30 && h == 2),
    ("15 0,1,2 * * *", true, |s, m, h, _, _| s == 0 && m == 15 && h < 3),
    ("*/15 * * * *", false, |s, m, _, _, _| s == 0 && m.is_multiple_of(15)),
    ("0 */2 * * *", false, |s, m, h, _, _| s == 0 && m == 0 && h.is_multiple_of(2)),
    ("30 45 1 * * 0", true, |s, m, h, _, w| s == 30 && m == 45 && h == 1 && w == 0),
    ("0 0 1 1,4,5 * *", true, |s, m, h, d, _| s == 0 && m == 0 && h == 1 && matches!(d, 1 | 4 | 5)),
];

/// Every fire of a cron after `from` and up to `to`, by looking at each second, knowing nothing of the reader.
fn enumerated(fits: Fits, fixed: bool, zone: Tz, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let fit = |local: &NaiveDateTime| {
        fits(
            local.second(),
            local.minute(),
            local.hour(),
            local.day(),
            local.weekday().num_days_from_sunday(),
        )
    };
    let second = TimeDelta::seconds(1);
    // From long before, so that whatever was left out or shown before counts.
    let mut seen = from.to_datetime() - TimeDelta::days(3);
    let mut latest = (seen - second).with_timezone(&zone).naive_local();
    while seen <= to.to_datetime() {
        let local = seen.with_timezone(&zone).naive_local();
        let fires = if fixed {
            // Local times that are new: those shown now and, at a gap, all that it left out.
            let mut next = latest + second;
            let mut any = false;
            while next <= local {
                any |= fit(&next);
                next += second;
            }
            any
        } else {
            fit(&local)
        };
        latest = latest.max(local);
        let at = Timestamp::from_datetime(seen);
        if fires && at > from {
            found.push(at);
        }
        seen += second;
    }
    found
}

#[test]
fn over_every_change_of_the_clock_nothing_is_missed_and_nothing_doubled() {
    for (name, before) in CHANGES {
        let zone = zone(name);
        let from = at(before);
        let to = from.after(Duration::from_hours(60));
        let offsets = |at: Timestamp| {
            let offset = zone.offset_from_utc_datetime(&at.to_datetime().naive_utc());
            (offset.fix(), offset.dst_offset())
        };
        assert_ne!(offsets(from).0, offsets(to).0, "{name} changes its clock after {before}");
        for (cron, fixed, fits) in CRONS {
            let schedule = Schedule::cron(cron, zone).expect("a schedule");
            let found: Vec<Timestamp> = schedule.fires_after(from).take_while(|at| *at <= to).collect();
            assert_eq!(found, enumerated(*fits, *fixed, zone, from, to), "{name} {before} {cron}");
        }
    }
}

#[test]
fn a_time_that_is_left_out_fires_once_after_the_gap_and_one_that_comes_twice_fires_once() {
    let berlin = Schedule::cron("30 2 * * *", zone("Europe/Berlin")).expect("a schedule");
    let spring = berlin.preview(at("2026-03-28T00:00:00Z"), 3);
    assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"].map(at));
    let autumn = berlin.preview(at("2026-10-24T01:00:00Z"), 2);
    assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"].map(at));
    let quarters = Schedule::cron("*/15 * * * *", zone("Europe/Berlin")).expect("a schedule");
    for before in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
        let fires = quarters.preview(at(before), 60);
        assert!(fires.windows(2).all(|two| two[1].since(two[0]) == Duration::from_mins(15)), "{fires:?}");
    }
}

#[test]
fn two_times_that_fall_into_one_gap_fire_once() {
    let schedule = Schedule::cron("10,20,30 2 * * *", zone("Europe/Berlin")).expect("a schedule");
    let day: Vec<Timestamp> = schedule
        .fires_after(at("2026-03-28T23:00:00Z"))
        .take_while(|fire| *fire < at("2026-03-29T22:00:00Z"))
        .collect();
    assert_eq!(day, ["2026-03-29T01:00:00Z"].map(at));
}

#[test]
fn a_pace_counts_from_where_it_starts() {
    let every = Schedule::every(Duration::from_secs(7)).expect("a pace");
    assert_eq!(every.after(Timestamp::from_micros(-1)), Some(Timestamp::from_micros(0)));
    assert_eq!(every.after(Timestamp::from_micros(0)), Some(Timestamp::from_micros(7_000_000)));
    let starts = at("2026-01-01T00:00:03Z");
    let every = every.between(Some(starts), Some(starts.after(Duration::from_secs(15)))).expect("a schedule");
    let fires: Vec<Timestamp> = every.fires_after(Timestamp::from_micros(0)).collect();
    assert_eq!(fires, [0, 7, 14].map(|seconds| starts.after(Duration::from_secs(seconds))));
}

#[test]
fn starts_and_ends_bound_a_cron() {
    let (starts, ends) = (at("2026-01-02T00:00:00Z"), at("2026-01-04T00:00:00Z"));
    let daily = Schedule::cron("@daily", Tz::UTC).expect("a schedule");
    let daily = daily.between(Some(starts), Some(ends)).expect("a schedule");
    let fires: Vec<Timestamp> = daily.fires_after(Timestamp::from_micros(0)).collect();
    assert_eq!(fires, [starts, at("2026-01-03T00:00:00Z"), ends]);
    let wrong = Schedule::cron("@daily", Tz::UTC).expect("a schedule").between(Some(ends), Some(starts));
    assert_eq!(wrong.err().map(|error| error.field), Some("ends"));
    let empty = Schedule::cron("0 0 1 * *", Tz::UTC).expect("a schedule").between(Some(starts), Some(ends));
    assert!(empty.is_err(), "nothing fires between the 2nd and the 4th");
}

#[test]
fn what_cannot_be_a_cron_is_told_with_its_place() {
    for (text, offset, part) in [
        ("0 25 * * *", 2, "hours"),
        ("61 * * * *", 0, "minutes"),
        ("* * * 13 *", 6, "month"),
        ("0 0 * * 9", 8, "day of week"),
        ("x * * * *", 0, "minutes"),
        ("0 70 * * * *", 2, "minutes"),
        ("0 2 * *", 7, "5 fields"),
        ("0 0 2 * * * 2026", 12, "5 fields"),
        ("", 0, "5 fields"),
        ("@dayly", 0, "nickname"),
        ("0 0 30 2 *", 0, "never fires"),
        ("0 0 31 4,6,9,11 *", 0, "never fires"),
    ] {
        let error = Schedule::cron(text, Tz::UTC).expect_err(text);
        assert_eq!((error.field, error.offset), ("cron", offset), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    for text in ["0 2 * * *", "0 0 29 2 *", "*/5 9-17 * * MON-FRI", "0 0 L * *", "0 0 * * 5#2", "@hourly"] {
        Schedule::cron(text, Tz::UTC).expect(text);
    }
}

#[test]
fn a_zone_that_does_not_exist_is_told_with_the_nearest_name() {
    assert_eq!(
        parse_zone("europe/berlin").expect_err("wrong").suggestion.as_deref(),
        Some("did you mean `Europe/Berlin`?")
    );
    assert_eq!(
        parse_zone("Berlin").expect_err("wrong").suggestion.as_deref(),
        Some("did you mean `Europe/Berlin`?")
    );
    assert_eq!(parse_zone("Europe/Berlin").expect("right"), Tz::Europe__Berlin);
    assert!(Schedule::every(Duration::from_millis(999)).is_err());
    assert!(Schedule::every(Duration::from_secs(1)).is_ok());
}

#[test]
fn jitter_is_the_same_every_time_and_never_longer_than_asked() {
    let jitter = Duration::from_secs(30);
    let schedule = Schedule::every(Duration::from_mins(1)).and_then(|all| all.with_jitter(jitter));
    let schedule = schedule.expect("a schedule");
    let fires = schedule.preview(at("2026-01-01T00:00:00Z"), 200);
    let due: Vec<Timestamp> = fires.iter().map(|fire| schedule.due(b"a", *fire)).collect();
    assert!(fires.iter().zip(&due).all(|(fire, due)| *due >= *fire && due.since(*fire) <= jitter));
    assert_eq!(due, fires.iter().map(|fire| schedule.due(b"a", *fire)).collect::<Vec<_>>());
    assert_ne!(due, fires.iter().map(|fire| schedule.due(b"b", *fire)).collect::<Vec<_>>());
    let spread: std::collections::BTreeSet<_> = due.iter().zip(&fires).map(|(d, f)| d.since(*f)).collect();
    assert!(spread.len() > 150, "it spreads: {}", spread.len());
}

#[test]
fn the_latest_fires_of_a_long_time_are_found_without_walking_through_it() {
    let every = Schedule::every(Duration::from_secs(1)).expect("a pace");
    let (from, to) = (at("1990-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
    let (found, more) = every.latest(from, to, 3);
    assert_eq!(found, ["2025-12-31T23:59:58Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"].map(at));
    assert!(more);
    let yearly = Schedule::cron("@yearly", Tz::UTC).expect("a schedule");
    let (found, more) = yearly.latest(at("2023-06-01T00:00:00Z"), to, 100);
    assert_eq!((found.len(), more), (3, false));
    assert_eq!(yearly.latest(to, to, 5), (Vec::new(), false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the time is cut into windows, each fire belongs to exactly one.
    #[test]
    fn no_fire_is_missed_or_doubled_between_two_looks(
        change in 0..CHANGES.len(),
        cron in 0..CRONS.len(),
        cuts in proptest::collection::vec(1_u64..40_000, 1..12),
    ) {
        let (name, before) = CHANGES[change];
        let (text, fixed, fits) = CRONS[cron];
        let zone = zone(name);
        let schedule = Schedule::cron(text, zone).expect("a schedule");
        let mut from = at(before);
        let begin = from;
        let mut found = Vec::new();
        for cut in cuts {
            let to = from.after(Duration::from_secs(cut));
            found.extend(schedule.fires_after(from).take_while(|at| *at <= to));
            let (latest, more) = schedule.latest(from, to, 1_000);
            prop_assert!(!more);
            prop_assert_eq!(&found[found.len() - latest.len()..], &latest[..]);
            from = to;
        }
        prop_assert_eq!(found, enumerated(fits, fixed, zone, begin, from));
    }
}
