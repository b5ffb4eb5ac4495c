//! What is to be done about the fires of a schedule: a function of what is known, and nothing else.

use std::{fmt, time::Duration};

use shared::{
    time::Timestamp,
    workflow::triggers::{Catchup, Overlap, Timed},
};

/// A fire that is carried out within this is on time; a later one was missed, and `catchup` says what of it.
pub(crate) const GRACE: Duration = Duration::from_mins(1);
/// Fires that wait at most.
const MOST_WAITING: usize = 1_000;
/// Fires that are kept together at most; the next ones follow at once.
const MOST_AT_ONCE: usize = 500;
/// How often it is looked whether what fires wait for has ended.
const WAIT: Duration = Duration::from_secs(1);

/// What is known when a schedule is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// Up to where its time has been looked at.
    pub(crate) last: Timestamp,
    pub(crate) now: Timestamp,
    /// Fires that wait, oldest first.
    pub(crate) pending: Vec<Timestamp>,
    /// Open executions of its fires.
    pub(crate) open: usize,
    /// How many may still start within this hour.
    pub(crate) room: Option<u64>,
}

/// Why a fire starts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody was there, and `catchup` leaves it out.
    Missed(Catchup),
    /// More was missed than `catchup_max`.
    TooManyMissed,
    /// An execution of an earlier fire is open.
    Overlap,
    /// A later fire is due already, and would cancel it.
    Overtaken,
    /// Too many fires wait.
    TooManyWaiting,
    /// `max_per_hour` is reached.
    MaxPerHour,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missed(Catchup::None) => "missed while nothing ran; `catchup: none` leaves it out",
            Self::Missed(_) => "missed while nothing ran; `catchup: last` carries out the last one only",
            Self::TooManyMissed => "missed while nothing ran; more than `catchup_max` were missed after it",
            Self::Overlap => "an execution of an earlier fire was still open; `overlap: skip` leaves it out",
            Self::Overtaken => "a later fire was due already; `overlap: cancel_running` starts the last one",
            Self::TooManyWaiting => "1,000 fires wait already",
            Self::MaxPerHour => "`max_per_hour` was reached",
        })
    }
}

/// What is done about one fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Start,
    /// Those that are open are cancelled before.
    CancelAndStart,
    /// It waits until the earlier ones have ended.
    Wait,
    Skip(Reason),
}

/// What is done, and from where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order of their instants.
    pub(crate) acts: Vec<(Timestamp, Act)>,
    /// A span of fires that are skipped together: the first, and the last instant before those looked at.
    pub(crate) span: Option<(Timestamp, Timestamp, Reason)>,
    pub(crate) last: Timestamp,
    /// When to look again.
    pub(crate) next: Option<Timestamp>,
}

/// Decides about everything that is due.
pub(crate) fn plan(timed: &Timed, seed: &[u8], sight: &Sight) -> Plan {
    let schedule = &timed.schedule;
    let is_late = |fire: Timestamp| sight.now.since(schedule.due(seed, fire)) > GRACE;
    // As many as can be on time or caught up with; what is older is skipped as one.
    let on_time = (GRACE + schedule.longest_jitter()).as_secs() as usize + 1;
    let most = timed.catchup_max as usize + on_time;
    let (mut fires, mut more) = schedule.latest(sight.last, sight.now, most);
    // One after another also where jitter would turn them round.
    let due = fires.iter().take_while(|fire| schedule.due(seed, **fire) <= sight.now).count();
    fires.truncate(due);
    if fires.is_empty() {
        more = false;
    }

    let late: Vec<Timestamp> = fires.iter().copied().filter(|fire| is_late(*fire)).collect();
    let caught_up: &[Timestamp] = match timed.catchup {
        Catchup::Last if late.len() == fires.len() => &late[late.len().saturating_sub(1)..],
        Catchup::None | Catchup::Last => &[],
        Catchup::All => &late[late.len().saturating_sub(timed.catchup_max as usize)..],
    };
    let missed = |fire: Timestamp| {
        (is_late(fire) && !caught_up.contains(&fire)).then_some(match timed.catchup {
            Catchup::All => Reason::TooManyMissed,
            other => Reason::Missed(other),
        })
    };

    let mut hand = Hand { open: sight.open, waiting: sight.pending.len(), room: sight.room };
    let mut acts = Vec::new();
    for fire in &sight.pending {
        if hand.open > 0 && timed.overlap != Overlap::Allow {
            break;
        }
        if hand.room == Some(0) {
            break;
        }
        hand.waiting -= 1;
        acts.push((*fire, hand.start(Act::Start)));
    }
    for (index, fire) in fires.iter().enumerate() {
        let is_last = index + 1 == fires.len();
        let act = match missed(*fire) {
            Some(reason) => Act::Skip(reason),
            None => hand.act(timed.overlap, is_late(*fire) && timed.catchup == Catchup::All, is_last),
        };
        acts.push((*fire, act));
    }

    let span = more.then(|| {
        let first = schedule.after(sight.last).unwrap_or(sight.last);
        let end = Timestamp::from_micros(fires.first().map_or(sight.now, |fire| *fire).as_micros() - 1);
        let reason = match timed.catchup {
            Catchup::All => Reason::TooManyMissed,
            other => Reason::Missed(other),
        };
        (first, end, reason)
    });
    let is_cut = acts.len() > MOST_AT_ONCE;
    acts.truncate(MOST_AT_ONCE);
    let waits = hand.waiting > 0 || acts.iter().any(|(_, act)| *act == Act::Wait);
    let looked_at = if is_cut {
        acts.iter().map(|(fire, _)| *fire).filter(|fire| *fire > sight.last).max()
    } else {
        fires.last().copied()
    };
    let last = looked_at.unwrap_or(sight.last).max(sight.last);
    let next = if is_cut {
        Some(sight.now)
    } else {
        let next = schedule.after(last).map(|fire| schedule.due(seed, fire));
        let soon = waits.then(|| sight.now.after(WAIT));
        [next, soon].into_iter().flatten().min()
    };
    Plan { acts, span, last, next }
}

/// What is left while fires are dealt out.
struct Hand {
    open: usize,
    waiting: usize,
    room: Option<u64>,
}

impl Hand {
    fn start(&mut self, act: Act) -> Act {
        self.open += 1;
        if let Some(room) = &mut self.room {
            *room -= 1;
        }
        act
    }

    fn act(&mut self, overlap: Overlap, is_caught_up: bool, is_last: bool) -> Act {
        if self.room == Some(0) {
            return Act::Skip(Reason::MaxPerHour);
        }
        let is_free = self.open == 0 && self.waiting == 0;
        match overlap {
            Overlap::Allow => self.start(Act::Start),
            _ if is_free => self.start(Act::Start),
            Overlap::Queue => self.wait(),
            // All of what was missed is wanted: one after another.
            Overlap::Skip | Overlap::CancelRunning if is_caught_up => self.wait(),
            Overlap::Skip => Act::Skip(Reason::Overlap),
            Overlap::CancelRunning if !is_last => Act::Skip(Reason::Overtaken),
            Overlap::CancelRunning => self.start(Act::CancelAndStart),
        }
    }

    fn wait(&mut self) -> Act {
        if self.waiting >= MOST_WAITING {
            return Act::Skip(Reason::TooManyWaiting);
        }
        self.waiting += 1;
        Act::Wait
    }
}

#[cfg(test)]
mod tests;
