//! Pause and resume (rows H1 to H9): nothing new starts, and nothing is lost.
//!
//! A paused execution records what comes in, and decides nothing of what follows from it: components that settle
//! are held in the state, and are followed when the pause ends. Timers that would start something are taken away
//! meanwhile; those that limit something go on.

use shared::{
    execution::{Event, Phase, Place, Status, TimerKey},
    port::store::StatusChange,
    time::Timestamp,
};

use super::{Command, Needs, Turning};

/// Whether something starts when this timer is due, and not only ends.
pub(super) const fn starts(key: &TimerKey) -> bool {
    matches!(key, TimerKey::Scheduled | TimerKey::Retry(_) | TimerKey::Delay(_) | TimerKey::Pause(_))
}

impl Turning<'_> {
    /// Whether this message paused or resumed it before: it comes again when its acknowledgement was lost, and
    /// others may have said otherwise since.
    fn is_heard(&self) -> bool {
        self.execution.paused_by.contains(&self.cause) && !planted!(B66PauseCountsAgain)
    }

    /// Nothing new starts until it is resumed. Twice is once; what is being cancelled is not paused.
    pub(super) fn pause(&mut self, by: &str, reason: &str) {
        if self.execution.is_paused() || self.execution.is_cancelling() || self.is_heard() {
            return;
        }
        for (key, _) in self.starting_timers() {
            self.clear_timer(key);
        }
        if !planted!(B68PausedStaysInLine) {
            self.leave_the_lines();
        }
        self.emit(Event::Paused { by: by.to_owned(), reason: reason.to_owned() });
        self.made.change = Some(StatusChange { status: Status::Paused, failure: None, output: None });
    }

    /// Goes on from where it stood, with what came in meanwhile.
    pub(super) fn resume(&mut self, by: &str) -> Result<(), Needs> {
        if !self.execution.is_paused() || self.is_heard() {
            return Ok(());
        }
        if !planted!(B61HeldIsForgotten) {
            self.held = self.execution.held.iter().copied().collect();
        }
        let looks_again = self.execution.looks_again;
        self.end_pause(by);
        if !planted!(B62TimersStayAway) {
            for (key, due) in self.starting_timers() {
                self.set_timer(key, due);
            }
        }
        if self.execution.status == Status::Pending {
            // It begins in a turn of its own, so that the end of the pause waits for no place.
            self.made.sweep_at = Some(self.around.now.after(self.around.rules.silence));
            self.made.commands.push(Command::GoOn);
            return Ok(());
        }
        while let Some(place) = self.held.pop_front() {
            self.follow(place)?;
        }
        if looks_again && !planted!(B75MoveInAPauseForgotten) {
            self.look_again();
        }
        // What the queue lost meanwhile was not sent again: the sweep looks now.
        self.made.sweep_at = Some(self.around.now);
        self.ask_permits();
        self.call_the_line(true)?;
        self.resume_rounds()
    }

    /// Ends the pause, if there is one. What was held is not followed here.
    pub(super) fn end_pause(&mut self, by: &str) {
        if self.execution.is_paused() {
            self.emit(Event::Resumed { by: by.to_owned() });
            let status = self.execution.status;
            self.made.change = Some(StatusChange { status, failure: None, output: None });
        }
    }

    /// The timers that would start something, and when.
    fn starting_timers(&self) -> Vec<(TimerKey, Timestamp)> {
        let execution = &*self.execution;
        let scheduled = execution.accepted.scheduled_at.filter(|_| execution.started_at.is_none());
        let mut timers: Vec<(TimerKey, Timestamp)> =
            scheduled.map(|at| (TimerKey::Scheduled, at)).into_iter().collect();
        for scope in execution.open_scopes() {
            timers.extend(execution.places(scope).filter_map(|place| self.starting_timer(place)));
        }
        timers
    }

    fn starting_timer(&self, place: Place) -> Option<(TimerKey, Timestamp)> {
        let key = || self.key(place);
        match self.phase(place) {
            Phase::Retrying(at) => Some((TimerKey::Retry(key()), at)),
            Phase::Delayed(until) => Some((TimerKey::Delay(key()), until)),
            Phase::Open => {
                let until = self.execution.container(place)?.rounds.paused_until?;
                Some((TimerKey::Pause(key()), until))
            }
            _ => None,
        }
    }
}
