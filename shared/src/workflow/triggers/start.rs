//! From something that came in to what is kept of it: the same for the API and for coordinators.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Source, Trigger, Unfit};
use crate::{
    execution::{Accepted, Mode, TriggerOrigin, first_turn},
    ids::{BackfillId, ReceiptId, TriggerId, WorkflowId},
    port::{
        store::Submission,
        triggers::{Gather, Receipt, TriggerDraft, TriggerRow, TriggerStart},
    },
    time::Timestamp,
    workflow::{Priority, Workflow},
};

/// Where a gathered event keeps how many executions have started one another before it.
const DEPTH: &str = "depth";

/// What is known about a start beside the event.
#[derive(Debug, Clone, Default)]
pub struct Why {
    pub receipt: Option<ReceiptId>,
    pub fire_time: Option<Timestamp>,
    pub backfill: Option<BackfillId>,
    pub depth: u32,
}

impl Workflow {
    /// Its triggers as they are kept with a version that is saved at `at`.
    pub fn trigger_drafts(&self, id: WorkflowId, at: Timestamp) -> Vec<TriggerDraft> {
        self.triggers
            .iter()
            .map(|trigger| TriggerDraft {
                name: trigger.id.clone(),
                kind: trigger.kind().to_owned(),
                enabled: trigger.enabled,
                hash: trigger.hash.clone(),
                next_fire_at: trigger.due_after(TriggerId::of(id, &trigger.id), at),
            })
            .collect()
    }

    /// The trigger with this id.
    pub fn trigger(&self, name: &str) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| trigger.id == name)
    }
}

/// The event that a fire of a schedule is.
pub fn schedule_event(row: &TriggerRow, fire: Timestamp, reason: &str) -> Value {
    json!({
        "id": format!("{}/{fire}", row.id),
        "type": "schedule.fired",
        "source": format!("triggers/{}", row.name),
        "time": fire.to_string(),
        "body": { "scheduled_at": fire.to_string(), "reason": reason },
        "headers": {},
    })
}

impl Trigger {
    /// How it gathers events before they start something, if it does.
    pub fn gather(&self) -> Option<Gather> {
        match &self.source {
            Source::Event(events) => events.gather,
            _ => None,
        }
    }

    /// The execution that events start which were gathered, oldest first. What it sees as `event` is the newest of
    /// them; when they are batched with their number as `count` and all of them as `batch`.
    pub fn gathered(
        &self,
        row: &TriggerRow,
        workflow: &Workflow,
        events: Vec<Value>,
        at: Timestamp,
    ) -> Result<Submission, Unfit> {
        let depths = events.iter().filter_map(|event| event[DEPTH].as_u64());
        let depth = u32::try_from(depths.max().unwrap_or_default()).unwrap_or(u32::MAX);
        let why = Why { depth, ..Why::default() };
        self.submission(row, workflow, &self.together(events), why, Priority::Normal, at)
    }

    /// Gathered events as the one that an execution sees.
    fn together(&self, mut events: Vec<Value>) -> Value {
        for event in events.iter_mut().filter_map(Value::as_object_mut) {
            event.remove(DEPTH);
        }
        let mut event = events.last().cloned().unwrap_or_else(|| json!({}));
        if matches!(self.gather(), Some(Gather::Batch { .. })) {
            event["count"] = json!(events.len());
            event["batch"] = Value::Array(events);
        }
        event
    }

    /// An event that starts something by itself, as its execution sees it.
    pub fn alone<'a>(&self, event: &'a Value) -> Cow<'a, Value> {
        match self.gather() {
            Some(_) => Cow::Owned(self.together(vec![event.clone()])),
            None => Cow::Borrowed(event),
        }
    }

    /// When it is due first after an instant, if time starts it. One that gathers events is looked at once, for
    /// what it gathered before.
    pub fn due_after(&self, id: TriggerId, after: Timestamp) -> Option<Timestamp> {
        if self.gather().is_some() {
            return Some(after);
        }
        let timed = self.timed()?;
        let next = timed.schedule.after(after)?;
        Some(timed.schedule.due(id.as_uuid().as_bytes(), next))
    }

    /// The execution that an event starts, not yet kept.
    pub fn submission(
        &self,
        row: &TriggerRow,
        workflow: &Workflow,
        event: &Value,
        why: Why,
        priority: Priority,
        at: Timestamp,
    ) -> Result<Submission, Unfit> {
        let accepted = Accepted {
            parent: None,
            retry_of: None,
            trial: None,
            tenant: row.tenant,
            workflow: row.workflow,
            version: row.version,
            hash: row.snapshot.clone(),
            parameters: self.parameters(workflow, event)?,
            priority,
            mode: Mode::Live,
            scheduled_at: None,
            tags: Vec::new(),
            principal: format!("trigger/{}", row.name),
            trigger: Some(TriggerOrigin {
                trigger: row.id,
                name: row.name.clone(),
                receipt: why.receipt,
                fire_time: why.fire_time,
                backfill: why.backfill,
                depth: why.depth,
                slot: self.slot(event)?,
            }),
        };
        Ok(Submission { first: first_turn(accepted, at), idempotency: None, carries: Vec::new() })
    }

    /// What is kept of an event that came in: its start, or, when it cannot be one, the event with the reason.
    pub fn start(
        &self,
        row: &TriggerRow,
        workflow: &Workflow,
        event: &Value,
        depth: u32,
        at: Timestamp,
    ) -> Result<TriggerStart, (TriggerStart, Unfit)> {
        let parked = |key: Option<String>, unfit: Unfit| {
            let error = Some(unfit.to_string());
            let receipt = Receipt { error, event: Some(event.clone()), ..receipt(row, key, "parked", at) };
            (TriggerStart { receipt, submission: None, gather: None }, unfit)
        };
        let key = match self.key(event) {
            Ok(key) => key,
            // Without its key it is told apart by its id.
            Err(unfit) => return Err(parked(key_of_id(event), unfit)),
        };
        let event = &*self.alone(event);
        let started = receipt(row, key.clone(), "started", at);
        let why = Why { receipt: Some(started.id), depth, ..Why::default() };
        match self.submission(row, workflow, event, why, Priority::Normal, at) {
            Ok(submission) => Ok(TriggerStart {
                receipt: Receipt { execution: Some(submission.first.execution), ..started },
                submission: Some(submission),
                gather: None,
            }),
            Err(unfit) => Err(parked(key, unfit)),
        }
    }

    /// What is kept of an event that was heard: it waits for others when the trigger gathers, and starts otherwise.
    pub fn hear(
        &self,
        row: &TriggerRow,
        workflow: &Workflow,
        event: &Value,
        depth: u32,
        at: Timestamp,
    ) -> Result<TriggerStart, (TriggerStart, Unfit)> {
        let (Some(gather), Ok(key)) = (self.gather(), self.key(event)) else {
            return self.start(row, workflow, event, depth, at);
        };
        let mut event = event.clone();
        event[DEPTH] = json!(depth);
        let receipt = Receipt { event: Some(event), ..receipt(row, key, "gathered", at) };
        Ok(TriggerStart { receipt, submission: None, gather: Some(gather) })
    }

    /// What is kept of something that came in and cannot be read: the event without it, its bytes and the reason.
    pub fn unreadable(
        &self,
        row: &TriggerRow,
        event: Value,
        bytes: Vec<u8>,
        why: String,
        at: Timestamp,
    ) -> TriggerStart {
        // The author's own key is made of what cannot be read.
        let own = if self.dedupe_key.is_none() { self.key(&event).ok().flatten() } else { None };
        let key = own.or_else(|| key_of_id(&event));
        let receipt = Receipt {
            error: Some(why),
            event: Some(event),
            bytes: Some(bytes),
            ..receipt(row, key, "parked", at)
        };
        TriggerStart { receipt, submission: None, gather: None }
    }
}

/// The key of what has no other, if it has an id.
fn key_of_id(event: &Value) -> Option<String> {
    event["id"].as_str().map(|id| format!("parked {id}"))
}

/// A receipt that says nothing yet but its outcome.
fn receipt(row: &TriggerRow, key: Option<String>, outcome: &str, at: Timestamp) -> Receipt {
    Receipt {
        id: ReceiptId::generate(),
        tenant: row.tenant,
        trigger: row.id,
        key,
        execution: None,
        received_at: at,
        outcome: outcome.to_owned(),
        error: None,
        event: None,
        bytes: None,
    }
}
