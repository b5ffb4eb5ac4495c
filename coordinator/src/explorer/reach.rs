//! What executions have to do with each other, with people and with events: what `inbox` and `relations` do over
//! the real store, and what clients do over the API.

use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass},
    execution::{Answer, AnswerVerdict, Event, Payload, PersonKind, Received, StoredPayload, TaskKey},
    ids::{ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, WorkflowId},
    port::{rates::Permit, store::HumanTaskStatus},
    wire::{ChildEnding, InboxBody, InboxMessage, RequestBody},
};

use super::{shapes, world::World};
use crate::{
    desk::{Lookout, Notice, Outgoing},
    engine::ChildOrder,
    relations,
};

/// Events that a schedule publishes on its own, at most.
const MOST_EVENTS: usize = 6;

impl World {
    /// Turns what durable turns mean for others into hints. `false` when the store failed on the way.
    pub(super) fn reach(&mut self, outgoing: &mut Outgoing, faults: u32) -> bool {
        let mut hints = Vec::new();
        for order in outgoing.children.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            hints.extend(self.start_child(&order));
        }
        for notice in outgoing.parents.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            hints.push(self.tell(notice));
        }
        for (tenant, parent, child, kill) in outgoing.close.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            hints.extend(self.close((tenant, parent, child), kill));
        }
        for question in outgoing.questions.drain(..) {
            let turns = self.storage.journals.get(&question.parent);
            if turns.is_some_and(|turns| relations::has_left(turns, &question)) {
                let names = (question.tenant, question.parent, question.child);
                hints.extend(self.close(names, question.kill));
            }
        }
        for (tenant, ask) in outgoing.permits.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            let (execution, task) = (ask.execution, ask.task.clone());
            let is_open = self.storage.rows.get(&execution).is_some_and(|row| !row.status.is_terminal());
            let permit = if is_open {
                self.storage.rates.permit(tenant, ask, self.now)
            } else {
                Permit::unwanted(self.now)
            };
            hints.push(relations::permit_hint(execution, task, permit));
        }
        for displaced in outgoing.displaced.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            let who = (displaced.execution, displaced.task.clone(), displaced.by);
            self.storage.asked_to_leave.insert(who);
            let (request, message) = relations::displacing(displaced, self.now);
            let kept = self.storage.request(request.id, request.execution, request.body, request.at);
            hints.extend(kept.then_some(message));
        }
        for lookout in outgoing.waits.drain(..) {
            if self.dice.chance(faults) {
                return false;
            }
            hints.extend(self.look_out(&lookout));
        }
        for execution in outgoing.wake.drain(..) {
            hints.push(InboxMessage {
                id: MessageId::from_uuid(self.dice.uuid()),
                shard: Shard::of(execution),
                body: InboxBody::Wake { execution },
            });
        }
        outgoing.hints.extend(hints);
        true
    }

    fn tell(&mut self, notice: Notice) -> InboxMessage {
        let ending = match notice.ending {
            ChildEnding::Completed { output: Payload::Stored(stored) } => {
                let id = PayloadId::derived(notice.parent, &format!("output of {}", notice.child));
                match self.storage.payload(notice.child, stored.id) {
                    Some(value) => {
                        let bytes = value.to_string().into_bytes();
                        self.storage.payloads.insert((notice.parent, id), bytes);
                    }
                    None => self.broken("I0", format!("the output of {} was not kept", notice.child)),
                }
                ChildEnding::Completed { output: Payload::Stored(StoredPayload { id, size: stored.size }) }
            }
            other => other,
        };
        relations::message(notice.parent, notice.task, notice.child, ending)
    }

    fn close(
        &mut self,
        (tenant, parent, child): (TenantId, ExecutionId, ExecutionId),
        kill: bool,
    ) -> Option<InboxMessage> {
        let (request, message) = relations::closing((tenant, parent, child), kill, self.now);
        if self.storage.rows.contains_key(&child) {
            self.storage.asked_to_close.insert(child);
        }
        let kept = self.storage.request(request.id, child, request.body, request.at);
        kept.then_some(message)
    }

    fn look_out(&self, lookout: &Lookout) -> Vec<InboxMessage> {
        self.storage
            .events
            .iter()
            .filter(|(_, event)| {
                event.kind == lookout.event
                    && event.key.as_ref() == Some(&lookout.key)
                    && event.time >= lookout.early
            })
            .map(|(_, event)| relations::event_message(lookout, event))
            .collect()
    }

    fn start_child(&mut self, order: &ChildOrder) -> Vec<InboxMessage> {
        if let Some(row) = self.storage.rows.get(&order.child.id) {
            let notice = relations::notice_again(order, row.status, row.output.clone(), row.failure.clone());
            let mut messages = relations::start_again(order, row.status);
            messages.extend(notice.map(|notice| self.tell(notice)));
            return messages;
        }
        let found = shapes::shapes().iter().position(|shape| shape.name == order.child.workflow);
        let Some(shape) = found else {
            let failure = Failure::new(FailureClass::NotFound, "there is no such workflow");
            return vec![relations::refusal(order, failure)];
        };
        let mut parameters = Value::Object(order.child.parameters.clone());
        for (pointer, id) in &order.child.references {
            let value = self.storage.payload(order.parent, *id);
            if value.is_none() {
                self.broken("I0", format!("a parameter of {} was not kept", order.child.id));
            }
            if let (Some(place), Some(value)) = (parameters.pointer_mut(pointer), value) {
                *place = (*value).clone();
            }
        }
        let workflow = WorkflowId::from_uuid(uuid::Uuid::from_u128(shape as u128 + 1));
        let snapshot = &shapes::shapes()[shape];
        match relations::first_turn(order, (workflow, 1), snapshot, parameters, self.now) {
            Ok(first) => {
                self.tally.children += 1;
                self.storage.keep_first(first.clone());
                let mut messages = relations::accepted(order, first);
                if !self.plan.sweep {
                    // Nothing else would find a child whose caller was cancelled before the start was announced.
                    let start = messages.remove(0);
                    self.broker.inbox.publish(start);
                }
                messages
            }
            Err(failure) => vec![relations::refusal(order, failure)],
        }
    }

    pub(super) fn children_of(&self, parent: ExecutionId) -> impl Iterator<Item = ExecutionId> + '_ {
        self.storage.journals.iter().filter_map(move |(id, turns)| match turns.first()?.events.first()? {
            Event::Accepted(accepted) => {
                accepted.parent.as_ref().is_some_and(|it| it.execution == parent).then_some(*id)
            }
            _ => None,
        })
    }

    // ---- people --------------------------------------------------------------------------------

    /// Somebody answers, claims or hands on; now and then what is not open any more.
    pub(super) fn person(&mut self) {
        let all = self.dice.chance(15);
        let asked: Vec<(ExecutionId, TaskKey)> = self
            .storage
            .people
            .iter()
            .filter(|(_, person)| all || person.status == HumanTaskStatus::Open)
            .map(|(name, _)| name.clone())
            .collect();
        if !asked.is_empty() {
            let name = asked[self.dice.below(asked.len())].clone();
            self.answer(name, true);
        }
    }

    /// Answers one open question, so that a run comes to its end.
    pub(super) fn person_in_the_end(&mut self) -> bool {
        let open = self
            .storage
            .people
            .iter()
            .find(|(_, person)| person.status == HumanTaskStatus::Open)
            .map(|(name, _)| name.clone());
        match open {
            Some(name) => {
                self.answer(name, false);
                true
            }
            None => false,
        }
    }

    fn answer(&mut self, (execution, task): (ExecutionId, TaskKey), plays: bool) {
        let Some(person) = self.storage.people.get(&(execution, task.clone())) else { return };
        let assignees = person.assignees.clone();
        let kind = person.ask.kind;
        let name = assignees[self.dice.below(assignees.len())].clone();
        if plays && self.dice.chance(10) {
            let body = RequestBody::Claim { task, by: name.clone(), for_assignee: Some(name) };
            self.request(execution, body);
            return;
        }
        if plays && self.dice.chance(10) {
            let body = RequestBody::Delegate { task, by: name.clone(), from: name, to: "cid".to_owned() };
            self.request(execution, body);
            return;
        }
        let verdict = match kind {
            PersonKind::HumanTask => AnswerVerdict::Submit,
            _ if self.dice.chance(70) => AnswerVerdict::Approve,
            _ => AnswerVerdict::Reject,
        };
        self.tally.answers += 1;
        let answer = Answer {
            by: name.clone(),
            for_assignee: name,
            verdict,
            data: Some(json!({ "n": self.tally.answers })),
            comment: String::new(),
            at: self.now,
        };
        self.request(execution, RequestBody::Answer { task: task.clone(), answer: answer.clone() });
        if plays && self.dice.chance(20) {
            // The same person again, from another window.
            self.request(execution, RequestBody::Answer { task, answer });
        }
    }

    // ---- events and signals ----------------------------------------------------------------------

    pub(super) fn event(&mut self) {
        if self.storage.events.len() >= MOST_EVENTS {
            return;
        }
        let key = format!("k-{}", self.dice.below(3));
        self.publish_event("paid", &key);
    }

    fn publish_event(&mut self, kind: &str, key: &str) {
        let event = Received {
            id: format!("event-{}", self.storage.events.len()),
            kind: kind.to_owned(),
            source: "explorer".to_owned(),
            time: self.now,
            key: Some(key.to_owned()),
            body: json!({}),
        };
        self.storage.events.push((self.now, event.clone()));
        let waiting: Vec<Lookout> = self
            .storage
            .waits
            .iter()
            .filter(|(_, (awaited, of, early))| awaited == kind && of == key && *early <= event.time)
            .map(|((execution, task), (awaited, of, early))| Lookout {
                tenant: TenantId::DEFAULT,
                execution: *execution,
                task: task.clone(),
                event: awaited.clone(),
                key: of.clone(),
                early: *early,
            })
            .collect();
        for lookout in waiting {
            // The process that announces it may die.
            if !self.plan.sweep || self.dice.chance(80) {
                self.broker.inbox.publish(relations::event_message(&lookout, &event));
            }
        }
    }

    pub(super) fn signal(&mut self) {
        let open: Vec<ExecutionId> = self
            .storage
            .rows
            .iter()
            .filter(|(id, row)| {
                let hash = crate::desk::Desk::hash_of(&self.storage.journals[id]).unwrap_or_default();
                !row.status.is_terminal()
                    && shapes::find(hash).is_some_and(|it| it.name == "signalled" || it.name == "awaits")
            })
            .map(|(id, _)| *id)
            .collect();
        if !open.is_empty() {
            let execution = open[self.dice.below(open.len())];
            self.send_signal(execution, "go");
        }
    }

    fn send_signal(&mut self, execution: ExecutionId, name: &str) {
        let signal = Received {
            id: String::new(),
            kind: name.to_owned(),
            source: "explorer".to_owned(),
            time: self.now,
            key: None,
            body: json!({}),
        };
        let id = self.request(execution, RequestBody::Signal { signal });
        self.signals.push((execution, id));
    }

    /// Sends what one of the waits waits for, so that a run comes to its end.
    pub(super) fn event_in_the_end(&mut self) -> bool {
        let waiting = self
            .storage
            .waits
            .iter()
            .find(|(_, (event, ..))| event == "paid" || event == "go")
            .map(|((execution, _), (event, key, _))| (*execution, event.clone(), key.clone()));
        let Some((execution, event, key)) = waiting else { return false };
        if self.dice.chance(50) {
            self.send_signal(execution, &event);
        } else {
            self.publish_event(&event, &key);
        }
        true
    }

    /// A request came to nothing: a signal may do so only when nothing can receive it any more.
    pub(super) fn lost_signal(&mut self, request: RequestId) {
        let Some((_, execution, RequestBody::Signal { signal }, _)) =
            self.storage.requests.iter().find(|(id, ..)| *id == request)
        else {
            return;
        };
        let Some(turns) = self.storage.journals.get(execution) else { return };
        let accounted = turns.iter().flat_map(|turn| &turn.events).any(|event| match event {
            Event::SignalKept { signal: kept } => kept.identity() == signal.identity(),
            Event::EventReceived { id, .. } => *id == signal.identity(),
            Event::CancelRequested { .. } | Event::Finished { .. } => true,
            _ => false,
        });
        if !accounted {
            let message = format!("{execution} dropped the signal {}", signal.id);
            self.broken("I25", message);
        }
    }

    /// I24: one child for a call, and of the parent's order.
    pub(super) fn check_children(&mut self) {
        let mut seen: Vec<(ExecutionId, TaskKey)> = Vec::new();
        let mut wrong = None;
        for (id, turns) in &self.storage.journals {
            let Some(Event::Accepted(accepted)) = turns.first().and_then(|turn| turn.events.first()) else {
                continue;
            };
            let Some(parent) = &accepted.parent else { continue };
            let name = (parent.execution, parent.task.clone());
            if seen.contains(&name) {
                wrong = Some(format!("{} of {} has two executions", parent.task, parent.execution));
            }
            seen.push(name);
            let ordered = self.storage.journals.get(&parent.execution).is_some_and(|turns| {
                turns.iter().flat_map(|turn| &turn.events).any(
                    |event| matches!(event, Event::ChildOrdered { task, child, .. } if child == id && *task == parent.task),
                )
            });
            if !ordered {
                wrong = Some(format!("{id} was not ordered by {}", parent.execution));
            }
        }
        if let Some(message) = wrong {
            self.broken("I24", message);
        }
    }
}
