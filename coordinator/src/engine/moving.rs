//! Moving to another version (rows V1 to V9): the check is repeated where it is decided, and nothing half moves.

use std::{sync::Arc, time::Duration};

use shared::{
    execution::{
        Event, Phase, Place, ROOT, SkipReason, Status, TaskKey, TimerKey,
        moving::{self, Move, Moved, Obstacle},
    },
    time::Timestamp,
};

use super::{Command, Turning, tasks::time_limit};

/// The time limits of a component that is under way, before the move.
struct Clocks {
    task: TaskKey,
    total: Option<Duration>,
    queue: Option<Duration>,
}

impl Turning<'_> {
    /// Goes on as another version, or says why it cannot. The same message again changes nothing.
    pub(super) fn move_to(&mut self, asked: &Move) {
        if self.execution.moved_by.contains(&self.cause) && !planted!(B71MoveCountsAgain) {
            return;
        }
        let plan = match self.execution.learned(&asked.hash).cloned() {
            Some(target) => moving::plan(self.execution, &target, asked),
            None => Err(vec![Obstacle::not_compiled(asked.version)]),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(_) if planted!(B76MoveNotCheckedAgain) && self.execution.learned(&asked.hash).is_some() => {
                let parameters = self.execution.accepted.parameters.clone();
                moving::Plan { steps: Vec::new(), gone: Vec::new(), parameters }
            }
            Err(obstacles) => {
                let because = obstacles.into_iter().map(|obstacle| obstacle.message).collect();
                let (by, version) = (asked.by.clone(), asked.version);
                self.emit(Event::MoveRefused { by, version, because });
                return;
            }
        };
        let clocks = self.clocks();
        let had_limit = self.execution.workflow.timeout;
        let concurrency = Arc::clone(&self.execution.workflow);
        let has_line = self.execution.line.is_some();
        if has_line && !planted!(B72LineOfTheOldVersion) {
            let target = self.execution.learned(&asked.hash);
            if target.is_some_and(|target| target.concurrency != concurrency.concurrency) {
                self.leave_the_lines();
            }
        }
        self.emit(Event::Moved(Box::new(Moved {
            by: asked.by.clone(),
            reason: asked.reason.clone(),
            from: self.execution.accepted.version,
            version: asked.version,
            hash: asked.hash.clone(),
            mapping: asked.mapping.clone(),
            parameters: plan.parameters.clone(),
        })));
        self.set_clocks(clocks, had_limit);
        for id in plan.passed_over() {
            let task = TaskKey::of(id.clone());
            self.emit(Event::Skipped { task, reason: SkipReason::PassedOver });
        }
        if self.execution.is_paused() {
            return;
        }
        let later = self.execution.accepted.scheduled_at.filter(|until| *until > self.around.now);
        if self.execution.status == Status::Pending {
            // It begins in a turn of its own, as what was accepted so. Nothing may have seen yet that it is for later.
            match later {
                Some(until) => self.set_timer(TimerKey::Scheduled, until),
                None => self.made.commands.push(Command::GoOn),
            }
            let due = later.unwrap_or(self.around.now);
            self.made.sweep_at = Some(due.after(self.around.rules.silence));
        } else if !planted!(B73NewReadersForgotten) {
            self.look_again();
        }
    }

    /// Puts whatever has not begun in the workflow's own scope among what may be ready.
    pub(super) fn look_again(&mut self) {
        let waiting = self.execution.places(ROOT).filter(|place| self.phase(*place) == Phase::Waiting);
        let waiting: Vec<Place> = waiting.collect();
        self.changed.extend(waiting);
    }

    /// The time limits of what is under way in the workflow's own scope; what is inside containers stays as it is.
    fn clocks(&self) -> Vec<Clocks> {
        let places = self.execution.places(ROOT);
        let under_way =
            places.filter(|place| self.phase(*place) != Phase::Waiting && !self.phase(*place).is_settled());
        under_way
            .map(|place| {
                let component = self.execution.component(place);
                let (task, total) = (self.key(place), time_limit(component));
                Clocks { task, total, queue: component.queue_timeout }
            })
            .collect()
    }

    /// Time limits are those of the new version from here on, counted from when each began.
    fn set_clocks(&mut self, clocks: Vec<Clocks>, had_limit: Option<Duration>) {
        for Clocks { task, total, queue } in clocks {
            let Ok(place) = self.execution.place_of(&task) else { continue };
            let component = self.execution.component(place);
            let (state, limits) =
                (self.execution.at(place), (time_limit(component), component.queue_timeout));
            let since = state.since;
            let waits = state.fence.is_none()
                && matches!(state.phase, Phase::Ready | Phase::Limited | Phase::Offered | Phase::Dispatched);
            self.change_clock(TimerKey::Total(task.clone()), (total, limits.0), since, true);
            self.change_clock(TimerKey::Queue(task), (queue, limits.1), since, waits);
        }
        if let Some(started_at) = self.execution.started_at {
            let limit = self.execution.workflow.timeout;
            self.change_clock(TimerKey::Timeout, (had_limit, limit), started_at, true);
        }
    }

    fn change_clock(
        &mut self,
        key: TimerKey,
        (before, after): (Option<Duration>, Option<Duration>),
        since: Timestamp,
        is_set: bool,
    ) {
        match after {
            _ if before == after || planted!(B74ClocksOfTheOldVersion) => {}
            Some(limit) if is_set => self.set_timer(key, since.after(limit)),
            Some(_) => {}
            None => self.clear_timer(key),
        }
    }
}
