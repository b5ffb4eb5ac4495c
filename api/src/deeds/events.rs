//! Events that are published: kept with the executions they start, all or none.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    execution::{Received, start_hint},
    ids::{ExecutionId, ReceiptId, TriggerId},
    port::{
        store::Submitted,
        triggers::{EventAdded, Receipt, StoredEvent, TriggerStart, TriggerStarted},
    },
    time::Timestamp,
    workflow::triggers::Source,
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// How long an event is kept, and known again.
const EVENT_LIFE: Duration = Duration::from_hours(7 * 24);
/// Events in one call.
pub(crate) const MOST: usize = 1_000;

/// An event in the words of CloudEvents 1.0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CloudEvent {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) time: Option<Timestamp>,
    pub(crate) data: Value,
    /// The attribute `correlationkey`.
    pub(crate) key: Option<String>,
    /// Further attributes, as headers.
    pub(crate) attributes: Map<String, Value>,
}

/// What an event started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EventStart {
    /// The trigger that listened.
    #[schema(value_type = String)]
    pub trigger_id: TriggerId,
    /// The execution; none when the event is parked for this trigger.
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// Why it is parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<String>,
    /// Whether it waits for others, to start one execution with them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gathered: bool,
}

/// A published event, and what became of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Published {
    /// Its id.
    pub id: String,
    /// Where it came from.
    pub source: String,
    /// Whether the same event came before, so that nothing was done.
    pub known: bool,
    /// What it started.
    pub started: Vec<EventStart>,
    /// The executions that waited for it (`wait_for_event`) and are told of it.
    #[schema(value_type = Vec<String>)]
    pub told: Vec<ExecutionId>,
    /// Until when it is kept for those that will wait for it.
    #[schema(value_type = String, format = DateTime)]
    pub kept_until: Timestamp,
}

/// Published events, in the order they were sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PublishedList {
    /// Each event.
    pub items: Vec<Published>,
}

/// An event as it is kept.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Its id, unique for its source.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it came from.
    pub source: String,
    /// What correlates it with who waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// When it came in.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// Until when it is kept for those that will wait for it.
    #[schema(value_type = String, format = DateTime)]
    pub kept_until: Timestamp,
    /// What it says.
    pub body: Value,
}

/// Some events, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EventList {
    /// The events of this page.
    pub items: Vec<EventView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Which events to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Only those of this type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl CloudEvent {
    fn check(&self) -> Result<(), Problem> {
        let wrong = |detail: String| Err(Problem::new(Code::InvalidBody, detail));
        for (name, text) in [("id", &self.id), ("source", &self.source), ("type", &self.kind)] {
            if text.is_empty() || text.chars().count() > 500 {
                return wrong(format!("`{name}` of an event has 1 to 500 characters."));
            }
        }
        if self.key.as_ref().is_some_and(|key| key.is_empty() || key.chars().count() > 500) {
            return wrong("`correlationkey` of an event has 1 to 500 characters.".to_owned());
        }
        if self.kind.starts_with("execution.") {
            return wrong(format!("`{}` is a type that only the platform sends.", self.kind));
        }
        Ok(())
    }
}

impl Deeds {
    /// Publishes events, each with the executions it starts.
    pub(crate) async fn events_publish(
        &self,
        caller: &Caller,
        events: Vec<CloudEvent>,
    ) -> Result<PublishedList, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        if events.is_empty() || events.len() > MOST {
            return Err(Problem::new(Code::InvalidBody, format!("A call holds 1 to {MOST} events.")));
        }
        events.iter().try_for_each(CloudEvent::check)?;
        let mut items = Vec::with_capacity(events.len());
        for event in events {
            items.push(self.publish(caller, event).await?);
        }
        Ok(PublishedList { items })
    }

    async fn publish(&self, caller: &Caller, event: CloudEvent) -> Result<Published, Problem> {
        let now = self.clock.now(&self.store).await?;
        let time = event.time.unwrap_or(now);
        let whole = json!({
            "id": event.id,
            "type": event.kind,
            "source": event.source,
            "time": time.to_string(),
            "body": event.data,
            "headers": event.attributes,
        });
        let mut starts = Vec::new();
        for row in self.store.triggers_active("event_trigger").await? {
            if row.tenant != caller.tenant {
                continue;
            }
            let armed = self.armed(row).await?;
            let trigger = armed.trigger()?;
            let Source::Event(listens) = &trigger.source else { continue };
            if !listens.names(&event.kind, &event.source) {
                continue;
            }
            let parked = |error: String| TriggerStart {
                receipt: Receipt {
                    id: ReceiptId::generate(),
                    tenant: armed.row.tenant,
                    trigger: armed.row.id,
                    key: trigger.key(&whole).unwrap_or_default(),
                    execution: None,
                    received_at: now,
                    outcome: "parked".to_owned(),
                    error: Some(error),
                    event: Some(whole.clone()),
                    bytes: None,
                },
                submission: None,
                gather: None,
            };
            match listens.passes(&whole) {
                Ok(false) => continue,
                // Never dropped without a word.
                Err(failure) => {
                    starts.push(parked(format!("the filter failed: {failure}")));
                    continue;
                }
                Ok(true) => {}
            }
            if let Some(most) = trigger.max_per_hour {
                let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
                if self.store.trigger_started_since(armed.row.id, hour).await? >= u64::from(most) {
                    starts.push(parked(format!("`max_per_hour` ({most}) was reached")));
                    continue;
                }
            }
            match trigger.hear(&armed.row, &armed.workflow, &whole, 0, now) {
                Ok(start) | Err((start, _)) => starts.push(start),
            }
        }
        let stored = StoredEvent {
            tenant: caller.tenant,
            id: event.id.clone(),
            kind: event.kind,
            source: event.source.clone(),
            key: event.key,
            time,
            event: whole,
            received_at: now,
            expires_at: now.after(EVENT_LIFE),
        };
        let (received, kept_until) = (stored.received(), stored.expires_at);
        let added = self.store.event_add(stored, starts.clone(), self.quota).await?;
        // Also when it was known: whoever sent it again may have been cut off before anybody was told.
        let told = self.tell_waiting(caller, &received).await?;
        let EventAdded::New(outcomes) = added else {
            let (id, source) = (event.id, event.source);
            return Ok(Published { id, source, known: true, started: Vec::new(), told, kept_until });
        };
        let mut started = Vec::new();
        for (start, outcome) in starts.into_iter().zip(outcomes) {
            let TriggerStart { receipt, submission, gather } = start;
            match outcome {
                TriggerStarted::New => {
                    if let Some(submission) = submission {
                        self.hints.send(start_hint(submission.first));
                    }
                    started.push(EventStart {
                        trigger_id: receipt.trigger,
                        execution_id: receipt.execution,
                        parked: receipt.error,
                        gathered: gather.is_some(),
                    });
                }
                TriggerStarted::Duplicate(earlier) => started.push(EventStart {
                    trigger_id: earlier.trigger,
                    execution_id: earlier.execution,
                    gathered: earlier.outcome == "gathered",
                    parked: earlier.error,
                }),
                TriggerStarted::Refused(Submitted::QuotaFull { open }) => {
                    return Err(Problem::new(
                        Code::QuotaExceeded,
                        format!(
                            "{open} executions are open, and {} may be. Send the event again: what it has started \
                             is not started again.",
                            self.quota
                        ),
                    ));
                }
                // The workflow was archived a moment ago: nobody listens any more.
                TriggerStarted::Refused(_) | TriggerStarted::Missing => {}
            }
        }
        Ok(Published { id: event.id, source: event.source, known: false, started, told, kept_until })
    }

    /// Tells the executions that wait for an event that it came. It is durable by now: one that begins to wait
    /// meanwhile finds it itself.
    async fn tell_waiting(&self, caller: &Caller, event: &Received) -> Result<Vec<ExecutionId>, Problem> {
        let Some(key) = &event.key else { return Ok(Vec::new()) };
        let waits = self.store.waits_for(caller.tenant, &event.kind, key).await?;
        let mut told = Vec::with_capacity(waits.len());
        for wait in waits {
            if !told.contains(&wait.execution) {
                told.push(wait.execution);
            }
            self.hints.send(wait.hint(event));
        }
        Ok(told)
    }

    pub(crate) async fn event_list(&self, caller: &Caller, query: EventQuery) -> Result<EventList, Problem> {
        caller.must(Permission::Read)?;
        let page = page::<ReceiptId>(query.cursor, query.limit)?;
        let found = self.store.event_list(caller.tenant, query.kind, page).await?;
        let items = found
            .items
            .into_iter()
            .map(|mut event| EventView {
                body: event.event["body"].take(),
                id: event.id,
                kind: event.kind,
                source: event.source,
                key: event.key,
                time: event.time,
                received_at: event.received_at,
                kept_until: event.expires_at,
            })
            .collect();
        Ok(EventList { items, next_cursor: found.next })
    }
}
