//! `rate_limit`: a permit is asked for in a turn, taken in a deed of its own, and comes back as a message.
//!
//! Asking inside a decision would take permits for decisions that are thrown away.

use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass, LogLevel, control},
    execution::{AskedPermit, Event, Execution, Inner, Payload, Phase, Place, TaskKey, TimerKey},
    expression::EvaluationError,
    port::{
        rates::{Permit, PermitAsk, Rate},
        store::WaitChange,
    },
    time::{Timestamp, format_duration},
};

use super::{Command, Needs, Turning, people::duration, still_asks};

/// The longest key.
const LONGEST_KEY: usize = 512;

impl Turning<'_> {
    /// Asks for a permit.
    pub(super) fn ask_permit(&mut self, place: Place, config: control::RateLimit) -> Result<(), Needs> {
        let (key, rate, until) = match read(config, self.around.now) {
            Ok(read) => read,
            Err(failure) => return self.decision_failed(place, failure),
        };
        let task = self.key(place);
        self.emit(Event::PermitAsked { task, key, rate, until });
        self.start_limit(place);
        self.made.commands.extend(ask(self.execution, place));
        Ok(())
    }

    /// What became of a permit. In a pause it is left where it is: the end of the pause asks again.
    pub(super) fn permitted(&mut self, task: &TaskKey, permit: &Permit) -> Result<(), Needs> {
        let stands = self.execution.is_cancelling() || self.execution.is_paused();
        let place = self.execution.place_of(task).ok().filter(|_| !stands);
        let Some((place, asked)) = place.and_then(|place| Some((place, asked(self.execution, place)?)))
        else {
            return Ok(());
        };
        let asked = asked.clone();
        let held_to = permit.held_to.unwrap_or(asked.rate);
        if held_to != asked.rate {
            let message = format!(
                "`{task}` asks for {} under the rate limit `{}`, and somebody else for {held_to}: the lower holds",
                asked.rate, asked.key
            );
            self.note(LogLevel::Warn, message);
        }
        self.made.waits.push(WaitChange::Close { task: task.clone() });
        if permit.refused && asked.until.is_some() {
            self.drop_task_timers(place);
            let message = format!(
                "the rate limit `{}` ({held_to}) would let it through at {}, which is later than `max_wait` allows",
                asked.key, permit.at
            );
            return self.decision_failed(place, Failure::new(FailureClass::Timeout, message));
        }
        if permit.refused {
            return self.permit_decided(place, "refused", permit.at);
        }
        if permit.at > self.around.now && !planted!(B81PermitBeforeItsInstant) {
            self.emit(Event::Delayed { task: task.clone(), until: permit.at });
            self.set_timer(TimerKey::Delay(task.clone()), permit.at);
            return Ok(());
        }
        self.permit_decided(place, "admitted", permit.at)
    }

    /// It is let through (`admitted`) or not (`refused`); `at` is the instant of the permit.
    pub(super) fn permit_decided(&mut self, place: Place, port: &str, at: Timestamp) -> Result<(), Needs> {
        self.drop_task_timers(place);
        self.emit(Event::Decided {
            task: self.key(place),
            output: Payload::Inline(json!({ "at": at.to_string() })),
            ports: vec![port.to_owned()],
            log: Vec::new(),
        });
        self.settled(place)
    }

    /// Asks again for what was answered during a pause.
    pub(super) fn ask_permits(&mut self) {
        let execution = &*self.execution;
        let places = execution.open_scopes().flat_map(|scope| execution.places(scope));
        let asking = places.filter(|place| execution.at(*place).phase == Phase::Asking);
        let asks: Vec<Command> = asking.filter_map(|place| still_asks(execution, place)).collect();
        self.made.commands.extend(asks);
    }
}

/// The permit that a component asks for.
fn asked(execution: &Execution, place: Place) -> Option<&AskedPermit> {
    match (execution.at(place).phase, execution.at(place).inner.as_deref()) {
        (Phase::Asking, Some(Inner::Permit(asked))) => Some(asked),
        _ => None,
    }
}

/// The order for the permit that a task asks for.
pub(super) fn ask(execution: &Execution, place: Place) -> Option<Command> {
    let asked = asked(execution, place)?;
    Some(Command::AskPermit(Box::new(PermitAsk {
        execution: execution.id,
        task: execution.key(place),
        key: asked.key.clone(),
        rate: asked.rate,
        until: asked.until,
    })))
}

/// A `rate_limit` as it was resolved. A key that is a number is its text.
pub(super) fn rate_limit(mut config: Value) -> Result<control::RateLimit, EvaluationError> {
    if let Some(key @ (Value::Number(_) | Value::Bool(_))) = config.get_mut("key") {
        *key = Value::String(key.to_string());
    }
    super::control::read(config)
}

fn read(config: control::RateLimit, now: Timestamp) -> Result<(String, Rate, Option<Timestamp>), Failure> {
    let invalid = |message: String| Failure::new(FailureClass::InvalidConfig, message);
    let key = config.key;
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(invalid(format!("`key` has from 1 to {LONGEST_KEY} bytes, and is `{key}`")));
    }
    let per = duration("per", &config.per)?;
    if per.as_micros() < u128::from(config.limit) || config.limit == 0 {
        let per = format_duration(per);
        return Err(invalid(format!(
            "`limit` is {} per {per}: it takes from 1 to one a microsecond",
            config.limit
        )));
    }
    let burst = config.burst.unwrap_or(config.limit);
    if burst == 0 {
        return Err(invalid("`burst` is at least 1".to_owned()));
    }
    let until = match config.mode {
        control::RateMode::Wait => Some(now.after(duration("max_wait", &config.max_wait)?)),
        control::RateMode::Refuse => None,
    };
    Ok((key, Rate { limit: config.limit, per, burst }, until))
}
