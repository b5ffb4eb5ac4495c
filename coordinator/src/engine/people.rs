//! What people, events and signals bring.

use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    component::{
        Failure, FailureClass, LogLevel, LogLine,
        control::{self, OnExpiry, Quorum, Urgency},
    },
    execution::{
        Answer, AnswerVerdict, Event, Inner, Payload, PersonAsk, PersonKind, Phase, Place, Received, TaskKey,
        TimerKey,
    },
    expression::{EvaluationError, Expression},
    port::store::{HumanTaskChange, HumanTaskStatus, WaitChange},
    time::{Timestamp, parse_duration},
};

use super::{Command, Needs, Turning, control::read, kind_of, rendered, still_asks};

/// Signals that are kept for an execution until something waits for them.
const MOST_SIGNALS: usize = 1_000;

fn instant(now: Timestamp, name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    text.map(|text| duration(name, text).map(|duration| now.after(duration))).transpose()
}

pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Failure> {
    parse_duration(text)
        .map_err(|error| Failure::new(FailureClass::InvalidConfig, format!("`{name}`: {error}")))
}

fn escalations(
    now: Timestamp,
    list: Vec<control::Escalation>,
) -> Result<Vec<(Timestamp, Vec<String>)>, Failure> {
    let mut escalations = Vec::new();
    for step in list {
        escalations.push((now.after(duration("escalate.after", &step.after)?), step.to));
    }
    escalations.sort_by_key(|(at, _)| *at);
    Ok(escalations)
}

fn assignees(names: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let name = name.trim().to_owned();
        if !name.is_empty() && !all.contains(&name) {
            all.push(name);
        }
    }
    if all.is_empty() {
        return Err(Failure::new(FailureClass::InvalidConfig, "`assignees` names nobody"));
    }
    Ok(all)
}

/// An `approval` as it is asked.
pub(super) fn approval(
    config: control::Approval,
    title: String,
    now: Timestamp,
) -> Result<PersonAsk, Failure> {
    let assignees = assignees(config.assignees)?;
    let quorum = match &config.quorum {
        Quorum::Count(count) => *count,
        Quorum::Word(word) if word == "any" => 1,
        Quorum::Word(word) if word == "all" => assignees.len() as u32,
        Quorum::Word(word) => {
            let message = format!("`quorum`: `{word}` is neither `any` nor `all` nor a number");
            return Err(Failure::new(FailureClass::InvalidConfig, message));
        }
    };
    if quorum == 0 || quorum as usize > assignees.len() {
        let message = format!("`quorum` is {quorum}, and {} are asked", assignees.len());
        return Err(Failure::new(FailureClass::InvalidConfig, message));
    }
    Ok(PersonAsk {
        kind: PersonKind::Approval,
        title,
        message: config.message,
        form: config.form,
        assignees,
        quorum,
        due_at: None,
        expires_at: instant(now, "expires", config.expires.as_deref())?,
        on_expiry: config.on_expiry,
        remind_every: config.remind_every.as_deref().map(|it| duration("remind_every", it)).transpose()?,
        escalations: escalations(now, config.escalate)?,
        urgency: Urgency::Normal,
        allow_delegate: config.allow_delegate,
        requester_may_decide: config.requester_may_decide,
        links: config.links,
        claim: false,
    })
}

/// A `human_task` as it is asked.
pub(super) fn human_task(
    config: control::HumanTask,
    title: String,
    now: Timestamp,
) -> Result<PersonAsk, Failure> {
    Ok(PersonAsk {
        kind: PersonKind::HumanTask,
        title: config.title.unwrap_or(title),
        message: config.instructions,
        form: Some(config.form),
        assignees: assignees(config.assignees)?,
        quorum: 1,
        due_at: instant(now, "due", config.due.as_deref())?,
        expires_at: instant(now, "expires", config.expires.as_deref())?,
        on_expiry: OnExpiry::Expire,
        remind_every: None,
        escalations: escalations(now, config.escalate)?,
        urgency: config.priority,
        allow_delegate: config.allow_delegate,
        requester_may_decide: true,
        links: false,
        claim: config.claim,
    })
}

/// A `wait_for_event` as it was resolved. A key that is a number is its text.
pub(super) fn wait_for_event(mut config: Value) -> Result<control::WaitForEvent, EvaluationError> {
    if let Some(key @ (Value::Number(_) | Value::Bool(_))) = config.get_mut("key") {
        *key = Value::String(key.to_string());
    }
    read(config)
}

impl Turning<'_> {
    // ---- people ------------------------------------------------------------------------------

    pub(super) fn ask_people(&mut self, place: Place, ask: PersonAsk) {
        let task = self.key(place);
        self.emit(Event::Asked { task, ask: Box::new(ask) });
        self.start_limit(place);
        self.set_person_timer(place);
        self.person_stands(place, HumanTaskStatus::Open);
    }

    /// An `at_most_once` attempt ended in the dark: whether it took effect is for a person to say (row S16).
    pub(super) fn ask_for_the_outcome(&mut self, place: Place, reason: &str) {
        let id = self.execution.component(place).id.to_string();
        self.drop_task_timers(place);
        let ask = PersonAsk {
            kind: PersonKind::Outcome,
            title: format!("Did `{id}` take effect?"),
            message: format!(
                "{reason}. It may run at most once and is not tried again by itself. Approve if it took \
                 effect: the component completes with what you hand in. Reject if it did not: it runs again."
            ),
            form: None,
            assignees: vec!["role:owner".to_owned()],
            quorum: 1,
            due_at: None,
            expires_at: None,
            on_expiry: OnExpiry::Expire,
            remind_every: None,
            escalations: Vec::new(),
            urgency: Urgency::High,
            allow_delegate: true,
            requester_may_decide: true,
            links: false,
            claim: false,
        };
        let task = self.key(place);
        self.emit(Event::Asked { task, ask: Box::new(ask) });
        self.person_stands(place, HumanTaskStatus::Open);
    }

    /// Shows what people are asked as it stands now.
    pub(super) fn person_stands(&mut self, place: Place, status: HumanTaskStatus) {
        let Some(person) = self.execution.person(place) else { return };
        let change = HumanTaskChange {
            task: self.key(place),
            ask: person.ask.clone(),
            assignees: person.assignees.clone(),
            claimed_by: person.claimed_by.clone(),
            answers: person.answers.clone(),
            status,
            created_at: self.execution.at(place).since,
            reminded_at: person.reminded_at,
        };
        self.made.people.retain(|earlier| earlier.task != change.task);
        self.made.people.push(change);
    }

    /// One timer for whatever comes first: a reminder, an escalation, the expiry.
    fn set_person_timer(&mut self, place: Place) {
        let Some(person) = self.execution.person(place) else { return };
        let reminder = person
            .ask
            .remind_every
            .map(|every| person.reminded_at.unwrap_or(self.execution.at(place).since).after(every));
        let escalation = person.ask.escalations.get(person.escalated).map(|(at, _)| *at);
        let next = [reminder, escalation, person.ask.expires_at].into_iter().flatten().min();
        if let Some(next) = next {
            let task = self.key(place);
            self.set_timer(TimerKey::Person(task), next);
        }
    }

    pub(super) fn person_is_late(&mut self, place: Place) -> Result<(), Needs> {
        let now = self.around.now;
        let task = self.key(place);
        self.clear_timer(TimerKey::Person(task.clone()));
        let Some(person) = self.execution.person(place) else { return Ok(()) };
        if person.ask.expires_at.is_some_and(|at| at <= now || planted!(B48ReminderExpires)) {
            let on_expiry = person.ask.on_expiry;
            let (status, port) = match (on_expiry, person.ask.kind) {
                (OnExpiry::Approve, PersonKind::Approval) => (HumanTaskStatus::Approved, "approved"),
                (OnExpiry::Reject, PersonKind::Approval) => (HumanTaskStatus::Rejected, "rejected"),
                _ => (HumanTaskStatus::Expired, "expired"),
            };
            return self.person_done(place, status, port, None);
        }
        while let Some(person) = self.execution.person(place)
            && let Some((at, to)) = person.ask.escalations.get(person.escalated).cloned()
            && at <= now
        {
            self.emit(Event::Escalated { task: task.clone(), to });
        }
        let since = self.execution.at(place).since;
        if let Some(person) = self.execution.person(place)
            && let Some(every) = person.ask.remind_every
            && person.reminded_at.unwrap_or(since).after(every) <= now
        {
            self.emit(Event::Reminded { task });
        }
        self.set_person_timer(place);
        self.person_stands(place, HumanTaskStatus::Open);
        Ok(())
    }

    fn asked_place(&self, task: &TaskKey) -> Option<Place> {
        let place = self.execution.place_of(task).ok()?;
        (self.phase(place) == Phase::Asked && !self.execution.is_cancelling()).then_some(place)
    }

    /// A person answers; what came second is refused by changing nothing.
    pub(super) fn answer(&mut self, task: &TaskKey, answer: &Answer) -> Result<(), Needs> {
        let Some(place) = self.asked_place(task) else { return Ok(()) };
        let Some(person) = self.execution.person(place) else { return Ok(()) };
        let is_asked = person.assignees.contains(&answer.for_assignee);
        let has_answered = person.answers.iter().any(|earlier| earlier.for_assignee == answer.for_assignee);
        if !is_asked || (has_answered && !planted!(B39SecondAnswerCounts)) {
            return Ok(());
        }
        // The sender may have looked before the task was handed on and claimed anew.
        if let Some(holder) = person.claimed_by.clone().filter(|holder| *holder != answer.by) {
            let by = &answer.by;
            self.note(
                LogLevel::Info,
                format!("the answer of {by} to `{task}` was refused: {holder} has claimed it"),
            );
            return Ok(());
        }
        let fits = match person.ask.kind {
            PersonKind::Approval | PersonKind::Outcome => answer.verdict != AnswerVerdict::Submit,
            PersonKind::HumanTask => answer.verdict == AnswerVerdict::Submit,
        };
        if !fits {
            return Ok(());
        }
        let kind = person.ask.kind;
        let quorum = person.ask.quorum as usize;
        self.emit(Event::Answered { task: task.clone(), answer: answer.clone() });
        let approvals = self.execution.person(place).map_or(0, |person| {
            person.answers.iter().filter(|answer| answer.verdict == AnswerVerdict::Approve).count()
        });
        match (kind, answer.verdict) {
            (PersonKind::Outcome, AnswerVerdict::Approve) => {
                self.person_stands(place, HumanTaskStatus::Approved);
                let output = Payload::Inline(answer.data.clone().unwrap_or_default());
                let task = task.clone();
                self.emit_closing(Event::Decided { task, output, ports: Vec::new(), log: Vec::new() });
                self.settled(place)
            }
            (PersonKind::Outcome, _) => {
                self.person_stands(place, HumanTaskStatus::Rejected);
                self.start_clocks(place);
                self.dispatch(place)
            }
            (_, AnswerVerdict::Submit) => {
                self.person_done(place, HumanTaskStatus::Submitted, "submitted", Some(answer))
            }
            (_, AnswerVerdict::Reject) => {
                self.person_done(place, HumanTaskStatus::Rejected, "rejected", Some(answer))
            }
            (_, AnswerVerdict::Approve) if approvals >= quorum && !planted!(B40AnswerDecidesNothing) => {
                self.person_done(place, HumanTaskStatus::Approved, "approved", Some(answer))
            }
            (_, AnswerVerdict::Approve) => {
                self.person_stands(place, HumanTaskStatus::Open);
                Ok(())
            }
        }
    }

    fn person_done(
        &mut self,
        place: Place,
        status: HumanTaskStatus,
        port: &str,
        last: Option<&Answer>,
    ) -> Result<(), Needs> {
        let Some(person) = self.execution.person(place) else { return Ok(()) };
        let answers: Vec<Value> = person
            .answers
            .iter()
            .map(|answer| {
                json!({
                    "by": answer.by,
                    "for": answer.for_assignee,
                    "verdict": match answer.verdict {
                        AnswerVerdict::Approve => "approve",
                        AnswerVerdict::Reject => "reject",
                        AnswerVerdict::Submit => "submit",
                    },
                    "comment": answer.comment,
                    "data": answer.data,
                    "at": answer.at.to_string(),
                })
            })
            .collect();
        let output = json!({
            "decision": port,
            "by": last.map(|answer| answer.by.clone()),
            "comment": last.map(|answer| answer.comment.clone()),
            "data": last.and_then(|answer| answer.data.clone()),
            "answers": answers,
        });
        self.person_stands(place, status);
        self.container_done(place, Payload::Inline(output), vec![port.to_owned()])
    }

    pub(super) fn claim(&mut self, task: &TaskKey, by: &str, for_assignee: Option<&str>) {
        let Some(place) = self.asked_place(task) else { return };
        // Of somebody it was taken from meanwhile, it would be claimed for ever.
        let may = self.execution.person(place).is_some_and(|person| {
            person.claimed_by.is_none()
                && for_assignee.is_none_or(|asked| person.assignees.iter().any(|name| name == asked))
        });
        if may {
            self.emit(Event::Claimed { task: task.clone(), by: by.to_owned() });
            self.person_stands(place, HumanTaskStatus::Open);
        }
    }

    pub(super) fn delegate(&mut self, task: &TaskKey, by: &str, from: &str, to: &str) {
        let Some(place) = self.asked_place(task) else { return };
        let may = self.execution.person(place).is_some_and(|person| {
            let has_answered = person.answers.iter().any(|answer| answer.for_assignee == from);
            person.ask.allow_delegate && person.assignees.iter().any(|name| name == from) && !has_answered
        });
        if may && from != to {
            self.emit(Event::Delegated {
                task: task.clone(),
                by: by.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
            });
            self.person_stands(place, HumanTaskStatus::Open);
        }
    }

    // ---- events and signals --------------------------------------------------------------------

    /// Begins to wait for an event; one that came early, or a kept signal, ends the wait at once.
    pub(super) fn await_event(&mut self, place: Place, config: control::WaitForEvent) -> Result<(), Needs> {
        let now = self.around.now;
        let (within, early) = match duration("within", &config.within)
            .and_then(|it| Ok((it, duration("early", &config.early)?)))
        {
            Ok(both) => both,
            Err(failure) => return self.decision_failed(place, failure),
        };
        if config.key.is_empty() {
            let failure = Failure::new(FailureClass::InvalidConfig, "`key` is empty: nothing could match it");
            return self.decision_failed(place, failure);
        }
        let task = self.key(place);
        let until = now.after(within);
        let early = Timestamp::from_micros(now.as_micros() - early.as_micros() as i64);
        self.emit(Event::Awaiting {
            task: task.clone(),
            event: config.event.clone(),
            key: config.key.clone(),
            until,
            early,
        });
        self.start_limit(place);
        self.set_timer(TimerKey::Within(task.clone()), until);
        self.made.waits.push(WaitChange::Open {
            task: task.clone(),
            event: config.event.clone(),
            key: config.key.clone(),
            early,
        });
        if !planted!(B37EventsNotLookedFor) {
            self.made.commands.push(Command::FindEvents {
                task,
                event: config.event,
                key: config.key,
                early,
            });
        }
        for signal in self.execution.signals.clone() {
            if self.phase(place) == Phase::Awaiting {
                self.offer_event(place, &signal)?;
            }
        }
        Ok(())
    }

    /// An event that a task waited for when it was sent here.
    pub(super) fn event_came(&mut self, task: &TaskKey, event: &Received) -> Result<(), Needs> {
        if self.execution.received.contains(&event.identity()) || self.execution.is_cancelling() {
            return Ok(());
        }
        let place = self.execution.place_of(task).ok().filter(|place| self.phase(*place) == Phase::Awaiting);
        let Some(place) = place else {
            self.note(LogLevel::Info, format!("the event {} came after `{task}` had ended", event.id));
            return Ok(());
        };
        self.offer_event(place, event).map(|_| ())
    }

    /// A signal goes to the first component that waits for its name, or is kept for one that will.
    pub(super) fn signal(&mut self, signal: &Received) -> Result<(), Needs> {
        let known = self.execution.received.contains(&signal.identity())
            || self.execution.signals.iter().any(|kept| kept.identity() == signal.identity());
        if (known && !planted!(B50EventReceivedTwice)) || self.execution.is_cancelling() {
            return Ok(());
        }
        let open: Vec<u32> = self.execution.open_scopes().collect();
        for scope in open {
            let places: Vec<Place> = self.execution.places(scope).collect();
            for place in places {
                if self.phase(place) == Phase::Awaiting && self.offer_event(place, signal)? {
                    return Ok(());
                }
            }
        }
        if planted!(B38EarlySignalDropped) {
            return Ok(());
        }
        if self.execution.signals.len() >= MOST_SIGNALS {
            let name = &signal.kind;
            self.note(
                LogLevel::Warn,
                format!("the signal `{name}` was dropped: {MOST_SIGNALS} others wait to be received"),
            );
            return Ok(());
        }
        self.emit(Event::SignalKept { signal: signal.clone() });
        Ok(())
    }

    /// Gives an event to a component that waits; answers whether it took it.
    fn offer_event(&mut self, place: Place, event: &Received) -> Result<bool, Needs> {
        let Some(Inner::Wait(wait)) = self.execution.at(place).inner.as_deref() else { return Ok(false) };
        if wait.event != event.kind || event.key.as_ref().is_some_and(|key| *key != wait.key) {
            return Ok(false);
        }
        let value = json!({
            "id": event.id,
            "type": event.kind,
            "source": event.source,
            "time": event.time.to_string(),
            "key": event.key,
            "body": event.body,
        });
        match self.fits(place, &value) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => {
                let task = self.key(place);
                let message =
                    format!("the filter of `{task}` failed for the event {}: {}", event.id, failure.message);
                self.note(LogLevel::Warn, message);
                return Ok(false);
            }
        }
        let task = self.key(place);
        self.emit(Event::EventReceived { task: task.clone(), id: event.identity() });
        self.made
            .waits
            .retain(|change| !matches!(change, WaitChange::Open { task: opened, .. } if *opened == task));
        self.made.waits.push(WaitChange::Close { task });
        self.container_done(place, Payload::Inline(value), vec!["received".to_owned()])?;
        Ok(true)
    }

    fn fits(&self, place: Place, event: &Value) -> Result<bool, EvaluationError> {
        let config = wait_for_event(rendered(self.execution, &self.payloads, place)?.value)?;
        let Some(filter) = config.filter else { return Ok(true) };
        let invalid =
            |message: String| EvaluationError::Failed(Failure::new(FailureClass::InvalidExpression, message));
        let filter = Expression::compile(&filter).map_err(|error| invalid(error.message))?;
        match filter.evaluate(&self.scope(place).with_event(event.clone()))? {
            Value::Bool(verdict) => Ok(verdict),
            other => Err(invalid(format!("`filter` gives {}, not true or false", kind_of(&other)))),
        }
    }

    pub(super) fn note(&mut self, level: LogLevel, message: String) {
        let line = LogLine { at: self.around.now, level, message, fields: None };
        self.emit(Event::Noted { line });
    }

    /// Looks again for what a lost message should have brought to components that wait for others.
    pub(super) fn sweep_what_waits(&mut self) {
        let execution = &*self.execution;
        let places = execution.open_scopes().flat_map(|scope| execution.places(scope));
        let asks: Vec<Command> = places.filter_map(|place| still_asks(execution, place)).collect();
        self.made.commands.extend(asks);
    }
}
