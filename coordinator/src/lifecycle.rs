//! The ends of executions as events: what listens to `execution.…` starts, once for each end.
//!
//! The turn that ends an execution leaves a mark for the sweep wherever somebody listens. It is taken away
//! when everything that follows is durable, so that neither a process nor a broker that dies in between
//! loses a start; the key of the receipt keeps a second telling from starting anything.
//!
//! Who listens is read every [`READ_EVERY`]. What ended lately is remembered, and told to a listener that is
//! met for the first time: a trigger hears what ends after it was saved.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{
    execution::{Event, Turn, start_hint},
    ids::{ExecutionId, ReceiptId, TenantId},
    port::{
        store::{DynStore, StoreError, Submitted},
        triggers::{Receipt, TriggerRow, TriggerStart, TriggerStarted},
    },
    time::Timestamp,
    wire::InboxMessage,
    workflow::{
        Workflow,
        triggers::{Events, MOST_DEEP, Source, Trigger},
    },
};

use crate::desk::End;

/// How many parents of a sub-workflow are looked at.
const MOST_PARENTS: usize = 20;

/// How often it is read who listens.
const READ_EVERY: Duration = Duration::from_secs(2);
/// How long an end is remembered: some readings, and what the clocks of two machines differ by.
const REMEMBERED: Duration = Duration::from_secs(5);
/// At most this many ends are remembered.
const MOST_REMEMBERED: usize = 1_000;

/// Who listens to the ends of executions, and what ended lately.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    read_at: Option<Instant>,
    /// Oldest first.
    lately: VecDeque<End>,
}

impl Listeners {
    /// When they are to be read at the latest, although nothing happens.
    pub(crate) fn next_reading(&self) -> Option<Instant> {
        if self.lately.is_empty() { None } else { Some(self.read_at? + READ_EVERY) }
    }

    pub(crate) fn are_due(&self) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= READ_EVERY)
    }

    /// They are being read. What fails is tried again when they are due the next time.
    pub(crate) fn begin_reading(&mut self) {
        self.read_at = Some(Instant::now());
    }

    /// Takes those that were read, and tells the new ones what ended since they were saved; answers the hints of what
    /// was started.
    pub(crate) async fn learn(
        &mut self,
        store: &DynStore,
        all: Vec<Listener>,
        quota: u64,
        now: Timestamp,
    ) -> Result<Vec<InboxMessage>, StoreError> {
        let mut hints = Vec::new();
        for listener in all.iter().filter(|listener| !self.all.iter().any(|known| known.is(listener))) {
            let missed: Vec<End> =
                self.lately.iter().filter(|end| end.at >= listener.row.updated_at).cloned().collect();
            hints.extend(tell(store, std::slice::from_ref(listener), &missed, quota, now).await?.0);
        }
        self.all = all;
        let old = |end: &End| now.since(end.at) > REMEMBERED;
        while self.lately.front().is_some_and(old) {
            self.lately.pop_front();
        }
        Ok(hints)
    }

    /// Tells ends; answers the hints of what was started, and the marked ones about which nothing is left to be done.
    pub(crate) async fn tell(
        &mut self,
        store: &DynStore,
        ends: Vec<End>,
        quota: u64,
        now: Timestamp,
    ) -> Result<(Vec<InboxMessage>, Vec<ExecutionId>), StoreError> {
        let told = tell(store, &self.all, &ends, quota, now).await?;
        self.lately.extend(ends);
        let surplus = self.lately.len().saturating_sub(MOST_REMEMBERED);
        self.lately.drain(..surplus);
        Ok(told)
    }
}

/// A trigger that starts on the ends of executions.
#[derive(Debug)]
pub(crate) struct Listener {
    row: TriggerRow,
    workflow: Arc<Workflow>,
}

impl Listener {
    /// The trigger, if it listens to executions.
    pub(crate) fn new(row: TriggerRow, workflow: Arc<Workflow>) -> Option<Self> {
        let this = Self { row, workflow };
        this.parts()?.1.hears_executions().then_some(this)
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.row.tenant
    }

    /// Whether both are the same trigger of the same version.
    fn is(&self, other: &Self) -> bool {
        (self.row.id, &self.row.snapshot) == (other.row.id, &other.row.snapshot)
    }

    fn parts(&self) -> Option<(&Trigger, &Events)> {
        let trigger = self.workflow.trigger(&self.row.name)?;
        match &trigger.source {
            Source::Event(events) => Some((trigger, events)),
            _ => None,
        }
    }
}

/// The event that the end of an execution is.
fn event(end: &End) -> Value {
    let mut body = json!({
        "id": end.execution,
        "workflow": end.accepted.workflow,
        "name": end.name,
        "version": end.accepted.version,
        "status": end.status.as_str(),
    });
    if let Some(failure) = &end.failure {
        body["failure"] = json!(failure);
    }
    if let Some(trigger) = &end.accepted.trigger {
        body["trigger"] = json!(trigger);
    }
    json!({
        "id": format!("{}/{}", end.execution, end.status.as_str()),
        "type": kind(end),
        "source": source(end),
        "time": end.at.to_string(),
        "body": body,
        "headers": {},
    })
}

fn kind(end: &End) -> String {
    format!("execution.{}", end.status.as_str())
}

fn source(end: &End) -> String {
    format!("apg/{}", end.name)
}

/// Starts what listens to these ends; answers the hints of what was started, and the marked ends about which nothing
/// is left to be done. May be done twice.
async fn tell(
    store: &DynStore,
    listeners: &[Listener],
    ends: &[End],
    quota: u64,
    now: Timestamp,
) -> Result<(Vec<InboxMessage>, Vec<ExecutionId>), StoreError> {
    let (mut hints, mut told) = (Vec::new(), Vec::new());
    for end in ends {
        let mut is_told = true;
        // Nothing follows from what is only tried.
        let is_meant =
            |listener: &&Listener| listener.tenant() == end.accepted.tenant && end.accepted.trial.is_none();
        for listener in listeners.iter().filter(is_meant) {
            let Some((trigger, events)) = listener.parts() else { continue };
            if events.names_execution(&kind(end), &source(end)) {
                match start(store, listener, trigger, events, end, quota, now).await? {
                    Heard::Started(first) => hints.push(start_hint(*first)),
                    Heard::Nothing => {}
                    Heard::Changed => is_told = false,
                }
            }
        }
        if is_told && end.is_marked {
            told.push(end.execution);
        }
    }
    Ok((hints, told))
}

/// What became of an end for one listener.
enum Heard {
    Started(Box<Turn>),
    /// It is not meant, parked, or was started before.
    Nothing,
    /// The trigger was changed since it was read: the sweep tells the new one.
    Changed,
}

async fn start(
    store: &DynStore,
    listener: &Listener,
    trigger: &Trigger,
    events: &Events,
    end: &End,
    quota: u64,
    now: Timestamp,
) -> Result<Heard, StoreError> {
    let row = match store.trigger_get(listener.row.tenant, listener.row.id).await? {
        Some(row) if !row.is_active() => return Ok(Heard::Nothing),
        Some(row) if row.snapshot != listener.row.snapshot => return Ok(Heard::Changed),
        Some(row) => row,
        None => return Ok(Heard::Nothing),
    };
    let event = event(end);
    let id = event["id"].as_str().unwrap_or_default();
    let parked = |error: String| TriggerStart {
        receipt: Receipt {
            id: ReceiptId::generate(),
            tenant: row.tenant,
            trigger: row.id,
            key: trigger.key(&event).ok().flatten().or_else(|| Some(id.to_owned())),
            execution: None,
            received_at: now,
            outcome: "parked".to_owned(),
            error: Some(error),
            event: Some(event.clone()),
            bytes: None,
        },
        submission: None,
        gather: None,
    };
    let depth = depth(store, end).await?;
    let made = match events.passes(&event) {
        Ok(false) => return Ok(Heard::Nothing),
        Err(failure) => parked(format!("the filter failed: {failure}")),
        Ok(true) if depth >= MOST_DEEP => parked(format!(
            "{MOST_DEEP} executions have started one another by their ends already; no further one is started"
        )),
        Ok(true) if is_full(store, trigger, &row, now).await? => {
            parked(format!("`max_per_hour` ({}) was reached", trigger.max_per_hour.unwrap_or_default()))
        }
        Ok(true) => match trigger.hear(&row, &listener.workflow, &event, depth + 1, now) {
            Ok(mut start) => {
                // Without a key the same end, told again, would start once more.
                start.receipt.key.get_or_insert_with(|| id.to_owned());
                start
            }
            Err((parked, _)) => parked,
        },
    };
    let first = made.submission.as_ref().map(|submission| submission.first.clone());
    match store.trigger_start(vec![made], quota).await?.pop() {
        Some(TriggerStarted::New) => {
            Ok(first.map_or(Heard::Nothing, |first| Heard::Started(Box::new(first))))
        }
        Some(TriggerStarted::Refused(Submitted::QuotaFull { open })) => {
            let kept = parked(format!("{open} executions are open, and {quota} may be"));
            store.trigger_start(vec![kept], quota).await?;
            Ok(Heard::Nothing)
        }
        _ => Ok(Heard::Nothing),
    }
}

async fn is_full(
    store: &DynStore,
    trigger: &Trigger,
    row: &TriggerRow,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(most) = trigger.max_per_hour else { return Ok(false) };
    let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
    Ok(store.trigger_started_since(row.id, hour).await? >= u64::from(most))
}

/// How many executions started one another before it. A sub-workflow stands where its parent does.
async fn depth(store: &DynStore, end: &End) -> Result<u32, StoreError> {
    let mut accepted = Arc::clone(&end.accepted);
    for _ in 0..MOST_PARENTS {
        let Some(parent) = &accepted.parent else { break };
        let first = store.execution_turns(accepted.tenant, parent.execution, 0, 1).await?;
        match first.into_iter().next().and_then(|turn| turn.events.into_iter().next()) {
            Some(Event::Accepted(found)) => accepted = Arc::new(*found),
            _ => break,
        }
    }
    Ok(accepted.trigger.as_ref().map_or(0, |origin| origin.depth))
}
