//! Schedules are rows; each fire is kept with the execution it starts in one transaction, fenced by what was seen.
//!
//! Like a timer, a schedule that is due soon is held here, so that it fires in time and nothing is asked while
//! nothing is due. Two coordinators may hold the same one: the fence lets one of them in.

mod backfills;
mod gathering;
mod plan;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use shared::{
    execution::{Turn, start_hint},
    ids::{ExecutionId, MessageId, RequestId, Shard, TenantId, TriggerId},
    port::{
        store::{Request, StoreError, Submission},
        triggers::{Cursor, Fire, ScheduleStep, StepKept, TriggerRow},
    },
    time::{Clock, Timestamp},
    wire::{InboxBody, InboxMessage, RequestBody},
    workflow::{
        Priority, Workflow,
        triggers::{Trigger, Why, schedule_event},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Config, Ports,
    membership::{self, Share},
    snapshots::Snapshots,
    store_clock::StoreClock,
};
use plan::{Act, Plan, Sight, plan};

/// Schedules due within this are held in memory.
const HORIZON: Duration = Duration::from_mins(1);
/// After this the store is tried again, and never sooner.
const RETRY: Duration = Duration::from_secs(1);
/// At most this many in one read.
const PAGE: u32 = 1_000;
/// How often old receipts, fires, events and notifications are removed.
const MAINTENANCE: Duration = Duration::from_hours(1);

/// The hands around the plan.
pub(crate) struct Schedules {
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    /// What is due soon.
    held: BTreeMap<TriggerId, (Timestamp, TenantId)>,
    snapshots: Snapshots,
}

/// A schedule as it was seen, and what is to be done about it. Nothing of it is kept yet.
struct Look {
    row: TriggerRow,
    workflow: Arc<Workflow>,
    open: Vec<ExecutionId>,
    planned: Plan,
    now: Timestamp,
}

/// What a look at a schedule finds.
enum Looked {
    /// Nothing is due; look again then, if ever.
    Idle(Option<Timestamp>),
    Due(Box<Look>),
}

/// The active triggers of a type that this coordinator serves first.
pub(crate) async fn ours(ports: &Ports, shards: &[Shard], kind: &str) -> Result<Vec<TriggerRow>, StoreError> {
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    let all = ports.store.triggers_active(kind).await?;
    Ok(all.into_iter().filter(|row| is_ours(shards, row.id)).collect())
}

/// Whether this coordinator serves a trigger first.
fn is_ours(shards: &[Shard], id: TriggerId) -> bool {
    shards.contains(&Shard::of(ExecutionId::from_uuid(*id.as_uuid())))
}

pub(crate) async fn run(
    config: Config,
    ports: Ports,
    clock: Arc<StoreClock>,
    mut share: watch::Receiver<Share>,
    shutdown: CancellationToken,
) {
    let snapshots = Snapshots::new(ports.clone());
    let mut this = Schedules { config, ports, clock, held: BTreeMap::new(), snapshots };
    let poll = Duration::from_secs(this.config.sweep_seconds.into()).max(RETRY);
    let mut next_read = this.clock.now();
    let mut maintained = tokio::time::Instant::now();
    loop {
        let now = this.clock.now();
        let shards = share.borrow_and_update().shards.clone();
        if now >= next_read {
            next_read = now.after(poll);
            match this.read(&shards, now).await {
                // A full page or a running backfill: there is more to do soon.
                Ok(true) => next_read = now.after(RETRY),
                Ok(false) => {}
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "Schedules could not be read");
                    next_read = now.after(RETRY);
                }
            }
        }
        this.fire().await;
        if maintained.elapsed() >= MAINTENANCE && !shards.is_empty() {
            maintained = tokio::time::Instant::now();
            if let Err(error) = this.forget().await {
                debug!(error = &error as &dyn std::error::Error, "Maintenance of triggers was put off");
            }
        }
        let wake = this.held.values().map(|(due, _)| *due).min().map_or(next_read, |due| due.min(next_read));
        tokio::select! {
            () = tokio::time::sleep(wake.since(this.clock.now())) => {}
            () = membership::changed(&mut share) => next_read = this.clock.now(),
            () = shutdown.cancelled() => return,
        }
    }
}

impl Schedules {
    /// Holds what is due soon, and carries backfills on. Answers whether there is more to do soon.
    async fn read(&mut self, shards: &[Shard], now: Timestamp) -> Result<bool, StoreError> {
        if shards.is_empty() {
            return Ok(false);
        }
        let due = self.ports.store.triggers_due(now.after(HORIZON), PAGE).await?;
        let is_full = due.len() as u32 == PAGE;
        self.held = due
            .into_iter()
            .filter(|row| is_ours(shards, row.id))
            .filter_map(|row| Some((row.id, (row.next_fire_at?, row.tenant))))
            .collect();
        let goes_on = self.backfill(shards).await?;
        Ok(is_full || goes_on)
    }

    /// Removes what has been kept for long enough, a bounded part at a time.
    async fn forget(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let days_ago =
            |days: u32| Timestamp::from_micros(now.as_micros() - i64::from(days) * 86_400 * 1_000_000);
        let (store, config) = (&self.ports.store, &self.config);
        while store.triggers_forget(days_ago(config.keep_receipts_days), PAGE).await? {}
        while store.notifications_forget(days_ago(config.keep_notifications_days), PAGE).await? {}
        Ok(())
    }

    /// Carries out everything that is due.
    async fn fire(&mut self) {
        let now = self.clock.now();
        let due: Vec<(TriggerId, TenantId)> = self
            .held
            .iter()
            .filter(|(_, (due, _))| *due <= now)
            .map(|(id, (_, tenant))| (*id, *tenant))
            .collect();
        for (id, tenant) in due {
            match self.step(tenant, id).await {
                Ok(Some(next)) if next <= self.clock.now().after(HORIZON) => {
                    self.held.insert(id, (next, tenant));
                }
                Ok(_) => {
                    self.held.remove(&id);
                }
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "A schedule could not be carried out yet"
                    );
                    self.held.insert(id, (self.clock.now().after(RETRY), tenant));
                }
            }
        }
    }

    /// Sees to one schedule; answers when to look again.
    async fn step(&mut self, tenant: TenantId, id: TriggerId) -> Result<Option<Timestamp>, StoreError> {
        match self.look(tenant, id).await? {
            Looked::Idle(next) => Ok(next),
            Looked::Due(look) => self.carry_out(*look).await,
        }
    }

    /// Looks at one schedule, and changes nothing; what a trigger of events gathered is started.
    async fn look(&mut self, tenant: TenantId, id: TriggerId) -> Result<Looked, StoreError> {
        let Some(row) = self.ports.store.trigger_get(tenant, id).await? else {
            return Ok(Looked::Idle(None));
        };
        let now = self.clock.now();
        if row.next_fire_at.is_none_or(|next| next > now) || !row.is_active() {
            return Ok(Looked::Idle(row.next_fire_at));
        }
        let Some(workflow) = self.snapshots.workflow(&row).await? else {
            return Ok(Looked::Idle(Some(now.after(RETRY * 30))));
        };
        let Some(trigger) = workflow.trigger(&row.name) else {
            return Ok(Looked::Idle(Some(now.after(RETRY * 30))));
        };
        let Some(timed) = trigger.timed() else {
            return self.gathered(&row, &workflow, now).await.map(Looked::Idle);
        };
        let open = self.ports.store.trigger_open(id).await?;
        let room = match trigger.max_per_hour {
            Some(most) => {
                let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
                let started = self.ports.store.trigger_started_since(id, hour).await?;
                Some(u64::from(most).saturating_sub(started))
            }
            None => None,
        };
        let sight = Sight {
            last: row.last_fire_at.unwrap_or(row.updated_at),
            now,
            pending: self.ports.store.fires_pending(id).await?,
            open: open.len(),
            room,
        };
        let planned = plan(timed, id.as_uuid().as_bytes(), &sight);
        Ok(Looked::Due(Box::new(Look { row, workflow, open, planned, now })))
    }

    /// Does what a look found to be due, unless somebody has moved the schedule since.
    async fn carry_out(&self, look: Look) -> Result<Option<Timestamp>, StoreError> {
        let Look { row, workflow, open, planned, now } = look;
        let Some(trigger) = workflow.trigger(&row.name) else { return Ok(None) };
        if planned.acts.iter().any(|(_, act)| *act == Act::CancelAndStart) {
            self.cancel(&row, open, now).await?;
        }
        let span = planned.span.map(|(first, until, reason)| Fire {
            at: first,
            until: Some(until),
            reason: reason.to_string(),
            submission: None,
            pending: false,
        });
        let mut fires: Vec<Fire> = span.into_iter().collect();
        for (fire, act) in planned.acts {
            fires.push(match act {
                Act::Start | Act::CancelAndStart => {
                    let why = Why { fire_time: Some(fire), ..Why::default() };
                    started(&row, trigger, &workflow, fire, "the schedule", why, Priority::Normal, now)
                }
                Act::Wait => Fire {
                    at: fire,
                    until: None,
                    reason: "waits until earlier executions have ended".to_owned(),
                    submission: None,
                    pending: true,
                },
                Act::Skip(reason) => Fire {
                    at: fire,
                    until: None,
                    reason: reason.to_string(),
                    submission: None,
                    pending: false,
                },
            });
        }
        let step = ScheduleStep {
            tenant: row.tenant,
            trigger: row.id,
            cursor: Cursor::Schedule {
                seen_last: row.last_fire_at,
                seen_next: row.next_fire_at,
                last: Some(planned.last),
                next: planned.next,
            },
            fires,
            at: now,
        };
        match self.commit(step).await? {
            StepKept::Kept { .. } => Ok(planned.next),
            StepKept::Superseded => Ok(Some(now.after(RETRY))),
            StepKept::Refused(refusal) => {
                warn!(trigger = %row.id, ?refusal, "A schedule could not start an execution yet");
                Ok(Some(now.after(RETRY * 5)))
            }
        }
    }

    /// Keeps a step, and tells the inbox of what it started.
    async fn commit(&self, step: ScheduleStep) -> Result<StepKept, StoreError> {
        let firsts: Vec<Turn> = step
            .fires
            .iter()
            .filter_map(|fire| {
                fire.submission.as_ref().map(|submission: &Submission| submission.first.clone())
            })
            .collect();
        let kept = self.ports.store.schedule_step(step, self.config.max_open_executions).await?;
        if let StepKept::Kept { started } = &kept {
            let hints: Vec<InboxMessage> = firsts
                .into_iter()
                .filter(|first| started.contains(&first.execution))
                .map(start_hint)
                .collect();
            if !hints.is_empty()
                && let Err(error) = self.ports.queue.publish_inbox(hints).await
            {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "What a schedule started is found by the sweep"
                );
            }
        }
        Ok(kept)
    }

    /// Asks the open executions of a trigger to end. Twice is harmless.
    async fn cancel(
        &self,
        row: &TriggerRow,
        open: Vec<ExecutionId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut hints = Vec::new();
        for execution in open {
            let id = RequestId::generate();
            let body = RequestBody::Cancel {
                by: format!("trigger/{}", row.name),
                reason: "the next fire of its schedule was due (`overlap: cancel_running`)".to_owned(),
            };
            let request = Request { id, tenant: row.tenant, execution, body: body.clone(), at: now };
            if self.ports.store.request(request).await? {
                hints.push(InboxMessage {
                    id: MessageId::derived(execution, &format!("request/{id}")),
                    shard: Shard::of(execution),
                    body: InboxBody::Request { execution, id, body },
                });
            }
        }
        if !hints.is_empty()
            && let Err(error) = self.ports.queue.publish_inbox(hints).await
        {
            debug!(error = &error as &dyn std::error::Error, "A cancellation is found by the sweep");
        }
        Ok(())
    }
}

/// A fire with the execution it starts; without one, and with the reason, when its parameters do not fit.
#[expect(clippy::too_many_arguments, reason = "all there is to know about one start")]
fn started(
    row: &TriggerRow,
    trigger: &Trigger,
    workflow: &Workflow,
    fire: Timestamp,
    reason: &str,
    why: Why,
    priority: Priority,
    now: Timestamp,
) -> Fire {
    let event = schedule_event(row, fire, reason);
    let made = trigger.submission(row, workflow, &event, why, priority, now);
    let (submission, reason) = match made {
        Ok(submission) => (Some(submission), reason.to_owned()),
        Err(unfit) => (None, format!("its parameters could not be made: {unfit}")),
    };
    Fire { at: fire, until: None, reason, submission, pending: false }
}

#[cfg(test)]
mod simulation;
