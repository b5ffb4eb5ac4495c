//! When a schedule fires: cron or a fixed pace, in a time zone, without a clock.
//!
//! The rule for the days on which clocks are changed:
//!
//! * **Fixed times** (`every` has none; a cron whose seconds, minutes and hours are written without `*` and
//!   `/`, such as `30 2 * * *` or `0 9,17 * * *`) fire once for each local time. A local time that does not
//!   exist fires at the first instant after the gap. A local time that exists twice fires at the first of the
//!   two. Local times that fall on one instant that way fire once.
//! * **Intervals** (any other cron, such as `*/15 * * * *`) follow the clock on the wall: what the gap leaves
//!   out does not fire, what is shown twice fires twice, so the pace goes on as time passes.
//! * **`every`** counts elapsed time from `starts`, or from 1970-01-01T00:00:00Z, and knows no zone.

use std::{str::FromStr, time::Duration};

use chrono::{DateTime, Days, NaiveDateTime, TimeDelta, TimeZone, Utc, offset::LocalResult};
use chrono_tz::Tz;
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use sha2::{Digest, Sha256};

use crate::time::Timestamp;

/// The shortest pace of a schedule.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest pace, and the longest jitter is a day.
pub const LONGEST: Duration = Duration::from_hours(366 * 24);
pub const LONGEST_JITTER: Duration = Duration::from_hours(24);
/// A change of the clock that leaves out more than this has never been made.
const LONGEST_GAP: TimeDelta = TimeDelta::hours(26);

/// What says when.
#[derive(Debug, Clone)]
enum Rule {
    Every {
        pace: Duration,
        anchor: Timestamp,
    },
    /// Fires are local times, each mapped to one instant.
    Fixed(Box<Cron>),
    /// Fires are instants whose local time fits.
    Interval(Box<Cron>),
}

/// When something fires.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
    zone: Tz,
    starts: Option<Timestamp>,
    ends: Option<Timestamp>,
    jitter: Duration,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// The setting that is wrong: `cron`, `every`, `timezone`, `starts`, `ends`, `jitter`.
    pub field: &'static str,
    pub message: String,
    /// The byte of the setting's text where the trouble begins.
    pub offset: usize,
    pub suggestion: Option<String>,
}

impl ScheduleError {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into(), offset: 0, suggestion: None }
    }

    fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// A zone by its IANA name.
pub fn parse_zone(name: &str) -> Result<Tz, ScheduleError> {
    Tz::from_str(name).map_err(|_| {
        let lower = name.to_lowercase();
        let place = lower.rsplit('/').next().unwrap_or(&lower).to_owned();
        let close = chrono_tz::TZ_VARIANTS
            .iter()
            .map(|zone| zone.name())
            .find(|known| known.to_lowercase() == lower)
            .or_else(|| {
                chrono_tz::TZ_VARIANTS
                    .iter()
                    .map(|zone| zone.name())
                    .find(|known| known.to_lowercase().rsplit('/').next().is_some_and(|known| known == place))
            })
            .or_else(|| {
                crate::workflow::nearest(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()))
            });
        let error =
            ScheduleError::new("timezone", format!("`{name}` is not a time zone of the IANA database"));
        match close {
            Some(close) => error.suggest(format!("did you mean `{close}`?")),
            None => error.suggest("write a name such as `Europe/Berlin` or `UTC`"),
        }
    })
}

const FIELDS: [&str; 6] = ["seconds", "minutes", "hours", "day of month", "month", "day of week"];

/// The words of a text, each with the byte it begins at.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut rest = 0;
    for word in text.split_whitespace() {
        let at = text[rest..].find(word).map_or(rest, |at| rest + at);
        found.push((at, word));
        rest = at + word.len();
    }
    found
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

fn said(error: &CronError) -> String {
    match error {
        CronError::EmptyPattern => "nothing is written".to_owned(),
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.trim_end_matches('.').to_owned(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    }
}

/// Reads a cron expression of 5 or 6 fields, or a nickname such as `@daily`.
fn parse_cron(text: &str) -> Result<Cron, ScheduleError> {
    let fields = words(text);
    let nickname = fields.len() == 1 && fields[0].1.starts_with('@');
    if nickname {
        let known = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
        if !known.iter().any(|name| name.eq_ignore_ascii_case(fields[0].1)) {
            let error = ScheduleError::new("cron", format!("`{}` is not a cron nickname", fields[0].1));
            return Err(match crate::workflow::nearest(fields[0].1, known.iter().copied()) {
                Some(near) => error.suggest(format!("did you mean `{near}`?")),
                None => error.suggest("the nicknames are @yearly, @monthly, @weekly, @daily and @hourly"),
            });
        }
    } else if !(5..=6).contains(&fields.len()) {
        let at = fields.get(6).map_or(text.trim_end().len(), |(at, _)| *at);
        return Err(ScheduleError::new(
            "cron",
            format!(
                "a cron expression has 5 fields, or 6 with seconds in front; this one has {}",
                fields.len()
            ),
        )
        .at(at)
        .suggest("write minute, hour, day of month, month, day of week, such as `0 2 * * *`"));
    }
    parser().parse(text).map_err(|error| {
        // Each field alone, to find the one that is wrong.
        let names = &FIELDS[6 - fields.len().clamp(1, 6)..];
        for (index, (at, field)) in fields.iter().enumerate() {
            let mut alone = vec!["*"; fields.len()];
            alone[index] = field;
            if let Err(error) = parser().parse(&alone.join(" ")) {
                let name = names.get(index).copied().unwrap_or("cron");
                return ScheduleError::new(
                    "cron",
                    format!("`{field}` cannot be the {name} of a cron expression: {}", said(&error)),
                )
                .at(*at);
            }
        }
        ScheduleError::new("cron", format!("`{text}` is not a cron expression: {}", said(&error)))
    })
}

/// Whether seconds, minutes and hours name times instead of a pace.
fn is_fixed(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let time = match fields.len() {
        5 => &fields[..2],
        6 => &fields[..3],
        _ => return !text.trim().eq_ignore_ascii_case("@hourly"),
    };
    time.iter().all(|field| !field.contains(['*', '/', '?']))
}

/// Whole microseconds, for arithmetic on instants.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(micros(by)))
}

impl Schedule {
    /// Fires when a cron expression says, in the zone.
    pub fn cron(text: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let cron = Box::new(parse_cron(text)?);
        // Far enough for a leap day on a certain weekday, over a year that is no leap year.
        let reference = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).single();
        let found = reference.and_then(|at| cron.find_next_occurrence(&at, true).ok());
        if found.is_none() {
            return Err(ScheduleError::new("cron", format!("`{text}` never fires: there is no such day"))
                .suggest("look at the day of month and the month: February has no 30th"));
        }
        let rule = if is_fixed(text) { Rule::Fixed(cron) } else { Rule::Interval(cron) };
        Ok(Self { rule, zone, starts: None, ends: None, jitter: Duration::ZERO })
    }

    /// Fires each time this much has passed, counted from `starts` or from 1970.
    pub fn every(pace: Duration) -> Result<Self, ScheduleError> {
        if pace < SHORTEST {
            return Err(ScheduleError::new("every", "a schedule fires at most once a second")
                .suggest("write `1s` or more"));
        }
        if pace > LONGEST {
            return Err(ScheduleError::new("every", "a pace is at most 366 days")
                .suggest("use `cron` for rarer fires"));
        }
        let rule = Rule::Every { pace, anchor: Timestamp::from_micros(0) };
        Ok(Self { rule, zone: Tz::UTC, starts: None, ends: None, jitter: Duration::ZERO })
    }

    /// Only from `starts` on and until `ends`, both included.
    pub fn between(
        mut self,
        starts: Option<Timestamp>,
        ends: Option<Timestamp>,
    ) -> Result<Self, ScheduleError> {
        if let (Some(starts), Some(ends)) = (starts, ends)
            && ends <= starts
        {
            return Err(ScheduleError::new("ends", "`ends` is not after `starts`: it never fires"));
        }
        if let (Rule::Every { anchor, .. }, Some(starts)) = (&mut self.rule, starts) {
            *anchor = starts;
        }
        (self.starts, self.ends) = (starts, ends);
        if ends.is_some() && self.after(starts.unwrap_or(Timestamp::from_micros(0))).is_none() {
            let first = starts.and_then(|starts| self.at_or_after(starts));
            if first.is_none() {
                return Err(ScheduleError::new("ends", "nothing fires between `starts` and `ends`"));
            }
        }
        Ok(self)
    }

    /// Starts each fire up to this much later, by an amount that the schedule and the fire decide.
    pub fn with_jitter(mut self, jitter: Duration) -> Result<Self, ScheduleError> {
        if jitter > LONGEST_JITTER {
            return Err(ScheduleError::new("jitter", "jitter is at most a day"));
        }
        self.jitter = jitter;
        Ok(self)
    }

    /// How much later than its instant a fire may be carried out.
    pub fn longest_jitter(&self) -> Duration {
        self.jitter
    }

    /// The zone its times are read in.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// When the fire of `at` is carried out: the same on every machine.
    pub fn due(&self, seed: &[u8], at: Timestamp) -> Timestamp {
        let span = self.jitter.as_millis() as u64;
        if span == 0 {
            return at;
        }
        let digest = Sha256::new().chain_update(seed).chain_update(at.as_micros().to_be_bytes()).finalize();
        let mut number = [0_u8; 8];
        number.copy_from_slice(&digest[..8]);
        at.after(Duration::from_millis(u64::from_be_bytes(number) % (span + 1)))
    }

    /// The first fire at or after an instant.
    pub fn at_or_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.after(earlier(at, Duration::from_micros(1)))
    }

    /// The first fire after an instant; none when there is no further one.
    pub fn after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = match self.starts {
            Some(starts) => after.max(earlier(starts, Duration::from_micros(1))),
            None => after,
        };
        let found = match &self.rule {
            Rule::Every { pace, anchor } => Some(every_after(*pace, *anchor, after)),
            Rule::Fixed(cron) => fixed_after(cron, self.zone, after.to_datetime()),
            Rule::Interval(cron) => {
                let local = after.to_datetime().with_timezone(&self.zone);
                let found = cron.find_next_occurrence(&local, false).ok();
                found.map(|at| Timestamp::from_datetime(at.with_timezone(&Utc)))
            }
        }?;
        if self.ends.is_some_and(|ends| found > ends) { None } else { Some(found) }
    }

    /// The fires after an instant, in order.
    pub fn fires_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let mut at = after;
        std::iter::from_fn(move || {
            at = self.after(at)?;
            Some(at)
        })
    }

    /// The next fires after an instant.
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        self.fires_after(after).take(count).collect()
    }

    /// The last fires after `after` and up to `until`, at most `most`, in order; and whether there were more.
    ///
    /// What it costs depends on `most` and not on how long the time between is.
    pub fn latest(&self, after: Timestamp, until: Timestamp, most: usize) -> (Vec<Timestamp>, bool) {
        if until <= after || most == 0 {
            return (Vec::new(), self.after(after).is_some_and(|at| at <= until));
        }
        let whole = until.since(after);
        let mut window = Duration::from_secs(most as u64).min(whole);
        loop {
            let from = earlier(until, window).max(after);
            let mut found: Vec<Timestamp> = self.fires_after(from).take_while(|at| *at <= until).collect();
            if found.len() >= most || window >= whole {
                let cut = found.len().saturating_sub(most);
                found.drain(..cut);
                let first = found.first().copied();
                let more = cut > 0
                    || first.is_some_and(|first| self.after(after).is_some_and(|earliest| earliest < first));
                return (found, more);
            }
            window = window.saturating_mul(2).min(whole);
        }
    }
}

fn every_after(pace: Duration, anchor: Timestamp, after: Timestamp) -> Timestamp {
    let (pace, anchor) = (micros(pace), anchor.as_micros());
    let passed = after.as_micros().saturating_sub(anchor);
    let steps = passed.div_euclid(pace) + 1;
    Timestamp::from_micros(anchor.saturating_add(steps.saturating_mul(pace)))
}

/// The one instant of a local time.
fn instant(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
        // The gap ends where the first later local time exists: found by halving, to the second.
        LocalResult::None => {
            let exists = |seconds: i64| {
                let at = local.checked_add_signed(TimeDelta::seconds(seconds))?;
                zone.from_local_datetime(&at).earliest()
            };
            let (mut without, mut with) = (0_i64, LONGEST_GAP.num_seconds());
            exists(with)?;
            while with - without > 1 {
                let middle = i64::midpoint(without, with);
                if exists(middle).is_some() { with = middle } else { without = middle }
            }
            exists(with).map(|at| at.with_timezone(&Utc))
        }
    }
}

fn fixed_after(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<Timestamp> {
    let local = after.with_timezone(&zone).naive_local();
    let before = after.checked_sub_signed(LONGEST_GAP)?.with_timezone(&zone).naive_local();
    // Where the clock was changed just before, local times earlier than the present one may still be to come.
    let from = if local.signed_duration_since(before) == LONGEST_GAP {
        local
    } else {
        local.checked_sub_days(Days::new(2))?
    };
    let mut at = from.and_utc();
    loop {
        at = cron.find_next_occurrence(&at, false).ok()?;
        let found = instant(zone, at.naive_utc())?;
        if found > after {
            return Some(Timestamp::from_datetime(found));
        }
    }
}

#[cfg(test)]
mod tests;
