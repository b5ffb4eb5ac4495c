//! Triggers in memory.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use shared::{
    ids::{BackfillId, ExecutionId, ReceiptId, TenantId, TriggerId},
    port::{
        store::{Page, Paged, StoreError, Submission, Submitted, WorkflowDraft},
        triggers::{
            Backfill, BackfillStatus, Cursor, EventAdded, FireOutcome, FireRow, Gather, GatheredStep,
            KEPT_FILE, KEY_LIFE, Receipt, ScheduleStep, StepKept, StoredEvent, TriggerFilter, TriggerRow,
            TriggerStart, TriggerStarted, Triggers,
        },
    },
    time::Timestamp,
};

use super::{MemoryStore, State};
use crate::rows;

#[derive(Debug, Clone)]
struct Kept {
    row: TriggerRow,
    hash: String,
    address: Option<[u8; 32]>,
}

/// What is kept of triggers.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    triggers: BTreeMap<TriggerId, Kept>,
    receipts: BTreeMap<ReceiptId, Receipt>,
    fires: BTreeMap<(TriggerId, Timestamp), FireRow>,
    events: BTreeMap<ReceiptId, StoredEvent>,
    backfills: BTreeMap<BackfillId, Backfill>,
}

impl State {
    /// Brings the triggers of a workflow in line with its newest version.
    pub(super) fn sync_triggers(&mut self, draft: &WorkflowDraft, version: u32) {
        let mut names = Vec::new();
        for trigger in &draft.triggers {
            let id = TriggerId::of(draft.id, &trigger.name);
            names.push(id);
            let next = trigger.next_fire_at.filter(|_| trigger.enabled);
            let row = TriggerRow {
                id,
                tenant: draft.tenant,
                workflow: draft.id,
                workflow_name: draft.name.clone(),
                version,
                snapshot: draft.hash.clone(),
                name: trigger.name.clone(),
                kind: trigger.kind.clone(),
                enabled: trigger.enabled,
                paused: false,
                trouble: None,
                trouble_since: None,
                last_fire_at: Some(draft.at),
                next_fire_at: next,
                has_address: false,
                updated_at: draft.at,
            };
            let mut kept = Kept { row, hash: trigger.hash.clone(), address: None };
            if let Some(old) = self.shelf.triggers.get(&id) {
                kept.address = old.address;
                kept.row.has_address = old.address.is_some();
                kept.row.paused = old.row.paused;
                if old.hash == kept.hash {
                    kept.row.trouble.clone_from(&old.row.trouble);
                    kept.row.trouble_since = old.row.trouble_since;
                    kept.row.last_fire_at = old.row.last_fire_at;
                    kept.row.next_fire_at = old.row.next_fire_at;
                }
                if kept.row.paused {
                    kept.row.next_fire_at = None;
                }
            }
            self.shelf.triggers.insert(id, kept);
        }
        self.shelf.triggers.retain(|id, kept| kept.row.workflow != draft.id || names.contains(id));
    }

    pub(super) fn drop_triggers(&mut self, tenant: TenantId, workflow: shared::ids::WorkflowId) {
        self.shelf.triggers.retain(|_, kept| kept.row.workflow != workflow || kept.row.tenant != tenant);
    }

    /// All executions, or the first refusal and none.
    fn accept_all(&mut self, all: Vec<Submission>, quota: u64) -> Result<Result<(), Submitted>, StoreError> {
        let mut new = Vec::new();
        for submission in all {
            let id = submission.first.execution;
            match self.accept(submission, quota)? {
                Submitted::New => new.push(id),
                refusal => {
                    for id in new {
                        self.executions.remove(&id);
                        self.journal.remove(&id);
                    }
                    return Ok(Err(refusal));
                }
            }
        }
        Ok(Ok(()))
    }

    fn start(&mut self, start: TriggerStart, quota: u64) -> Result<TriggerStarted, StoreError> {
        let TriggerStart { receipt, submission, gather } = start;
        if self.shelf.receipts.contains_key(&receipt.id) {
            return Ok(TriggerStarted::New);
        }
        if receipt.key.is_some() {
            let same = self
                .shelf
                .receipts
                .values_mut()
                .find(|known| known.trigger == receipt.trigger && known.key == receipt.key);
            if let Some(known) = same {
                if is_lasting(known) || known.received_at.after(KEY_LIFE) >= receipt.received_at {
                    return Ok(TriggerStarted::Duplicate(Box::new(known.clone())));
                }
                known.key = None;
            }
        }
        if let Err(refusal) = self.accept_all(submission.into_iter().collect(), quota)? {
            return Ok(TriggerStarted::Refused(refusal));
        }
        let (trigger, id, now) = (receipt.trigger, receipt.id, receipt.received_at);
        self.shelf.receipts.insert(id, receipt);
        if let Some(gather) = gather {
            self.gather(trigger, id, gather, now);
        }
        Ok(TriggerStarted::New)
    }

    /// An event waits for others.
    fn gather(&mut self, trigger: TriggerId, id: ReceiptId, gather: Gather, now: Timestamp) {
        let shelf = &mut self.shelf;
        let ours = shelf.receipts.values_mut().filter(|it| it.trigger == trigger && it.outcome == "gathered");
        let mut count = 0;
        for receipt in ours {
            count += 1;
            if matches!(gather, Gather::Debounce(_)) && receipt.id != id {
                "superseded".clone_into(&mut receipt.outcome);
                receipt.event = None;
            }
        }
        if let Some(kept) = shelf.triggers.get_mut(&trigger) {
            let since = kept.row.next_fire_at.and(kept.row.last_fire_at);
            let (since, due) = gather.came(since, count, now);
            (kept.row.last_fire_at, kept.row.next_fire_at) = (Some(since), Some(due));
        }
    }

    fn is_open(&self, id: ExecutionId) -> bool {
        self.executions.get(&id).is_some_and(|execution| !execution.row.status.is_terminal())
    }
}

fn page_of<T: Clone>(items: Vec<T>, page: &Page, cursor: impl Fn(&T) -> String) -> Paged<T> {
    let limit = rows::page_size(page.limit);
    rows::paged(items.into_iter().take(limit as usize + 1).collect(), limit, cursor)
}

#[async_trait]
impl Triggers for MemoryStore {
    async fn trigger_list(
        &self,
        tenant: TenantId,
        filter: TriggerFilter,
        page: Page,
    ) -> Result<Paged<TriggerRow>, StoreError> {
        let Ok(after) = rows::cursor::<TriggerId>(&page) else { return Ok(rows::no_rows()) };
        let state = self.state()?;
        let rows = state.shelf.triggers.values().map(|kept| &kept.row);
        let found = rows
            .filter(|row| row.tenant == tenant && after.is_none_or(|after| row.id > after))
            .filter(|row| filter.workflow.is_none_or(|workflow| row.workflow == workflow))
            .filter(|row| filter.kind.as_ref().is_none_or(|kind| row.kind == *kind))
            .cloned()
            .collect();
        Ok(page_of(found, &page, |row| row.id.to_string()))
    }

    async fn trigger_get(&self, tenant: TenantId, id: TriggerId) -> Result<Option<TriggerRow>, StoreError> {
        let state = self.state()?;
        Ok(state.shelf.triggers.get(&id).map(|kept| kept.row.clone()).filter(|row| row.tenant == tenant))
    }

    async fn triggers_active(&self, kind: &str) -> Result<Vec<TriggerRow>, StoreError> {
        let state = self.state()?;
        let rows = state.shelf.triggers.values().map(|kept| &kept.row);
        Ok(rows.filter(|row| row.kind == kind && row.is_active()).cloned().collect())
    }

    async fn trigger_at(&self, address: &[u8; 32]) -> Result<Option<TriggerRow>, StoreError> {
        let state = self.state()?;
        let mut all = state.shelf.triggers.values();
        Ok(all.find(|kept| kept.address.as_ref() == Some(address)).map(|kept| kept.row.clone()))
    }

    async fn trigger_pause(
        &self,
        tenant: TenantId,
        id: TriggerId,
        paused: bool,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let found = state.shelf.triggers.get_mut(&id).map(|kept| &mut kept.row);
        let Some(row) = found.filter(|row| row.tenant == tenant) else { return Ok(false) };
        if row.paused && !paused {
            row.last_fire_at = Some(now);
        }
        row.paused = paused;
        row.next_fire_at = next.filter(|_| !paused);
        row.updated_at = now;
        Ok(true)
    }

    async fn trigger_address(
        &self,
        tenant: TenantId,
        id: TriggerId,
        address: [u8; 32],
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let found = state.shelf.triggers.get_mut(&id).filter(|kept| kept.row.tenant == tenant);
        let Some(kept) = found else { return Ok(false) };
        kept.address = Some(address);
        kept.row.has_address = true;
        kept.row.updated_at = now;
        Ok(true)
    }

    async fn trigger_trouble(&self, id: TriggerId, trouble: Option<String>) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some(kept) = self.state()?.shelf.triggers.get_mut(&id) {
            kept.row.trouble_since = trouble.as_ref().map(|_| kept.row.trouble_since.unwrap_or(now));
            kept.row.trouble = trouble;
        }
        Ok(())
    }

    async fn triggers_due(&self, until: Timestamp, limit: u32) -> Result<Vec<TriggerRow>, StoreError> {
        let state = self.state()?;
        let rows = state.shelf.triggers.values().map(|kept| &kept.row);
        let mut due: Vec<TriggerRow> = rows
            .filter(|row| !row.paused && row.next_fire_at.is_some_and(|next| next <= until))
            .cloned()
            .collect();
        due.sort_by_key(|row| (row.next_fire_at, row.id));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn schedule_step(&self, step: ScheduleStep, quota: u64) -> Result<StepKept, StoreError> {
        let mut state = self.state()?;
        let found = state.shelf.triggers.get(&step.trigger).map(|kept| &kept.row);
        let Some(row) = found.filter(|row| row.tenant == step.tenant) else {
            return Ok(StepKept::Superseded);
        };
        let backfill = match &step.cursor {
            Cursor::Schedule { seen_last, seen_next, .. } => {
                if row.paused || row.last_fire_at != *seen_last || row.next_fire_at != *seen_next {
                    return Ok(StepKept::Superseded);
                }
                None
            }
            Cursor::Backfill { id, seen, .. } => {
                let runs = state.shelf.backfills.get(id).is_some_and(|backfill| {
                    backfill.tenant == step.tenant
                        && backfill.status == BackfillStatus::Running
                        && backfill.cursor == *seen
                });
                if !runs {
                    return Ok(StepKept::Superseded);
                }
                Some(*id)
            }
        };
        let (mut submissions, mut kept, mut rests, mut passed) = (Vec::new(), Vec::new(), Vec::new(), 0_u64);
        for fire in step.fires {
            let before = state.shelf.fires.get(&(step.trigger, fire.at)).cloned();
            let is_taken = match before.as_ref().map(|before| before.outcome) {
                Some(FireOutcome::Started) => true,
                Some(FireOutcome::Pending) => backfill.is_some(),
                Some(FireOutcome::Skipped) => backfill.is_none() && fire.submission.is_none(),
                None => false,
            };
            if is_taken {
                passed += 1;
                continue;
            }
            if let Some(span) = before
                && fire.until.is_none()
                && span.until.is_some_and(|last| last > fire.at)
            {
                rests.push(FireRow { at: Timestamp::from_micros(fire.at.as_micros() + 1), ..span });
            }
            let execution = fire.submission.as_ref().map(|submission| submission.first.execution);
            submissions.extend(fire.submission);
            kept.push((fire.at, fire.until, fire.reason, fire.pending, execution));
        }
        if let Err(refusal) = state.accept_all(submissions, quota)? {
            return Ok(StepKept::Refused(refusal));
        }
        for rest in rests {
            state.shelf.fires.insert((step.trigger, rest.at), rest);
        }
        let mut started = Vec::new();
        for (at, until, reason, pending, execution) in kept {
            let outcome = match (execution, pending) {
                (Some(_), _) => FireOutcome::Started,
                (None, true) => FireOutcome::Pending,
                (None, false) => FireOutcome::Skipped,
            };
            let row = FireRow {
                trigger: step.trigger,
                at,
                until,
                outcome,
                reason,
                execution,
                backfill,
                recorded_at: step.at,
            };
            state.shelf.fires.insert((step.trigger, at), row);
            match execution {
                Some(execution) => started.push(execution),
                None => passed += 1,
            }
        }
        match step.cursor {
            Cursor::Schedule { last, next, .. } => {
                if let Some(kept) = state.shelf.triggers.get_mut(&step.trigger) {
                    kept.row.last_fire_at = last;
                    kept.row.next_fire_at = next;
                }
            }
            Cursor::Backfill { id, cursor, is_done, .. } => {
                if let Some(backfill) = state.shelf.backfills.get_mut(&id) {
                    backfill.cursor = cursor;
                    backfill.status =
                        if is_done { BackfillStatus::Completed } else { BackfillStatus::Running };
                    backfill.started += started.len() as u64;
                    backfill.skipped += passed;
                    backfill.updated_at = step.at;
                }
            }
        }
        Ok(StepKept::Kept { started })
    }

    async fn trigger_open(&self, id: TriggerId) -> Result<Vec<ExecutionId>, StoreError> {
        let state = self.state()?;
        let fires = state.shelf.fires.values().filter(|fire| fire.trigger == id);
        Ok(fires.filter_map(|fire| fire.execution).filter(|id| state.is_open(*id)).collect())
    }

    async fn backfill_open(&self, id: BackfillId) -> Result<u64, StoreError> {
        let state = self.state()?;
        let fires = state.shelf.fires.values().filter(|fire| fire.backfill == Some(id));
        Ok(fires.filter_map(|fire| fire.execution).filter(|id| state.is_open(*id)).count() as u64)
    }

    async fn fires_pending(&self, id: TriggerId) -> Result<Vec<Timestamp>, StoreError> {
        let state = self.state()?;
        let fires = state.shelf.fires.values().filter(|fire| fire.trigger == id);
        Ok(fires.filter(|fire| fire.outcome == FireOutcome::Pending).map(|fire| fire.at).take(1000).collect())
    }

    async fn fire_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        page: Page,
    ) -> Result<Paged<FireRow>, StoreError> {
        let Ok(after) = rows::cursor::<Timestamp>(&page) else { return Ok(rows::no_rows()) };
        let state = self.state()?;
        let is_of = state.shelf.fires.values().filter(|fire| fire.trigger == trigger);
        let is_ours = state.shelf.triggers.get(&trigger).is_none_or(|kept| kept.row.tenant == tenant);
        let found = is_of.filter(|fire| is_ours && after.is_none_or(|after| fire.at < after)).rev();
        Ok(page_of(found.cloned().collect(), &page, |fire| fire.at.to_string()))
    }

    async fn trigger_started_since(&self, id: TriggerId, since: Timestamp) -> Result<u64, StoreError> {
        let state = self.state()?;
        let receipts = state.shelf.receipts.values().filter(|receipt| {
            receipt.trigger == id && receipt.received_at >= since && receipt.outcome == "started"
        });
        // Several events may have started one.
        let executions: HashSet<ExecutionId> = receipts.filter_map(|receipt| receipt.execution).collect();
        let fires = state.shelf.fires.values().filter(|fire| {
            fire.trigger == id && fire.recorded_at >= since && fire.outcome == FireOutcome::Started
        });
        Ok((executions.len() + fires.count()) as u64)
    }

    async fn trigger_start(
        &self,
        starts: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<Vec<TriggerStarted>, StoreError> {
        let mut state = self.state()?;
        starts.into_iter().map(|start| state.start(start, quota)).collect()
    }

    async fn receipt_replay(
        &self,
        tenant: TenantId,
        id: ReceiptId,
        submission: Submission,
        quota: u64,
    ) -> Result<TriggerStarted, StoreError> {
        let mut state = self.state()?;
        let Some(receipt) = state.shelf.receipts.get(&id).filter(|receipt| receipt.tenant == tenant).cloned()
        else {
            return Ok(TriggerStarted::Missing);
        };
        if receipt.outcome != "parked" {
            return Ok(TriggerStarted::Duplicate(Box::new(receipt)));
        }
        let execution = submission.first.execution;
        if let Err(refusal) = state.accept_all(vec![submission], quota)? {
            return Ok(TriggerStarted::Refused(refusal));
        }
        let started = Receipt {
            outcome: "started".to_owned(),
            execution: Some(execution),
            error: None,
            event: None,
            bytes: None,
            ..receipt
        };
        state.shelf.receipts.insert(id, started);
        Ok(TriggerStarted::New)
    }

    async fn gathered(&self, id: TriggerId, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        let state = self.state()?;
        let ours = state.shelf.receipts.values().filter(|it| it.trigger == id && it.outcome == "gathered");
        let mut found: Vec<Receipt> = ours.cloned().collect();
        found.sort_by_key(|receipt| (receipt.received_at, receipt.id));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn gathered_start(&self, step: GatheredStep, quota: u64) -> Result<StepKept, StoreError> {
        let mut state = self.state()?;
        let found = state.shelf.triggers.get(&step.trigger).map(|kept| &kept.row);
        let is_seen = found.is_some_and(|row| {
            row.tenant == step.tenant
                && !row.paused
                && row.last_fire_at == step.seen_last
                && row.next_fire_at == step.seen_next
        });
        if !is_seen {
            return Ok(StepKept::Superseded);
        }
        let started: Vec<ExecutionId> =
            step.start.iter().map(|submission| submission.first.execution).collect();
        if let Ok(submission) = &step.start
            && let Err(refusal) = state.accept_all(vec![(**submission).clone()], quota)?
        {
            return Ok(StepKept::Refused(refusal));
        }
        let shelf = &mut state.shelf;
        for id in &step.receipts {
            let Some(receipt) = shelf.receipts.get_mut(id) else { continue };
            match &step.start {
                Ok(submission) => {
                    "started".clone_into(&mut receipt.outcome);
                    receipt.execution = Some(submission.first.execution);
                    receipt.event = None;
                }
                Err(why) => {
                    "parked".clone_into(&mut receipt.outcome);
                    receipt.error = Some(why.clone());
                }
            }
        }
        let ours =
            shelf.receipts.values().filter(|it| it.trigger == step.trigger && it.outcome == "gathered");
        let left = ours.count() as u32;
        if let Some(kept) = shelf.triggers.get_mut(&step.trigger) {
            kept.row.last_fire_at = Some(step.at);
            kept.row.next_fire_at = step.gather.left(left, step.at);
        }
        Ok(StepKept::Kept { started })
    }

    async fn receipt_get(&self, tenant: TenantId, id: ReceiptId) -> Result<Option<Receipt>, StoreError> {
        Ok(self.state()?.shelf.receipts.get(&id).filter(|receipt| receipt.tenant == tenant).cloned())
    }

    async fn receipt_list(
        &self,
        tenant: TenantId,
        trigger: TriggerId,
        outcome: Option<String>,
        page: Page,
    ) -> Result<Paged<Receipt>, StoreError> {
        let Ok(after) = rows::cursor::<ReceiptId>(&page) else { return Ok(rows::no_rows()) };
        let state = self.state()?;
        let found = state
            .shelf
            .receipts
            .values()
            .rev()
            .filter(|receipt| receipt.tenant == tenant && receipt.trigger == trigger)
            .filter(|receipt| after.is_none_or(|after| receipt.id < after))
            .filter(|receipt| outcome.as_ref().is_none_or(|outcome| receipt.outcome == *outcome))
            .map(|receipt| Receipt { event: None, bytes: None, ..receipt.clone() })
            .collect();
        Ok(page_of(found, &page, |receipt| receipt.id.to_string()))
    }

    async fn event_add(
        &self,
        event: StoredEvent,
        starts: Vec<TriggerStart>,
        quota: u64,
    ) -> Result<EventAdded, StoreError> {
        let mut state = self.state()?;
        let is_known = state.shelf.events.values().any(|known| {
            (known.tenant, &known.source, &known.id) == (event.tenant, &event.source, &event.id)
        });
        if is_known {
            return Ok(EventAdded::Known);
        }
        let mut outcomes = Vec::with_capacity(starts.len());
        for start in starts {
            outcomes.push(state.start(start, quota)?);
        }
        let full = |outcome: &TriggerStarted| {
            matches!(outcome, TriggerStarted::Refused(Submitted::QuotaFull { .. }))
        };
        if !outcomes.iter().any(full) {
            state.shelf.events.insert(ReceiptId::generate(), event);
        }
        Ok(EventAdded::New(outcomes))
    }

    async fn event_get(
        &self,
        tenant: TenantId,
        source: &str,
        id: &str,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let state = self.state()?;
        let mut events = state.shelf.events.values();
        Ok(events.find(|event| event.tenant == tenant && event.source == source && event.id == id).cloned())
    }

    async fn events_between(
        &self,
        tenant: TenantId,
        kind: &str,
        key: &str,
        from: Timestamp,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let state = self.state()?;
        let mut found: Vec<StoredEvent> = state
            .shelf
            .events
            .values()
            .filter(|event| event.tenant == tenant && event.kind == kind && event.received_at >= from)
            .filter(|event| event.key.as_deref() == Some(key))
            .cloned()
            .collect();
        found.sort_by_key(|event| event.received_at);
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn event_list(
        &self,
        tenant: TenantId,
        kind: Option<String>,
        page: Page,
    ) -> Result<Paged<StoredEvent>, StoreError> {
        let Ok(after) = rows::cursor::<ReceiptId>(&page) else { return Ok(rows::no_rows()) };
        let state = self.state()?;
        let found: Vec<(ReceiptId, StoredEvent)> = state
            .shelf
            .events
            .iter()
            .rev()
            .filter(|(id, event)| event.tenant == tenant && after.is_none_or(|after| **id < after))
            .filter(|(_, event)| kind.as_ref().is_none_or(|kind| event.kind == *kind))
            .map(|(id, event)| (*id, event.clone()))
            .collect();
        let paged = page_of(found, &page, |(id, _)| id.to_string());
        Ok(Paged { items: paged.items.into_iter().map(|(_, event)| event).collect(), next: paged.next })
    }

    async fn backfill_create(&self, backfill: Backfill) -> Result<(), StoreError> {
        self.state()?.shelf.backfills.entry(backfill.id).or_insert(backfill);
        Ok(())
    }

    async fn backfill_get(&self, tenant: TenantId, id: BackfillId) -> Result<Option<Backfill>, StoreError> {
        Ok(self.state()?.shelf.backfills.get(&id).filter(|backfill| backfill.tenant == tenant).cloned())
    }

    async fn backfill_list(&self, tenant: TenantId, page: Page) -> Result<Paged<Backfill>, StoreError> {
        let Ok(after) = rows::cursor::<BackfillId>(&page) else { return Ok(rows::no_rows()) };
        let state = self.state()?;
        let all = state.shelf.backfills.values().rev();
        let found = all
            .filter(|backfill| backfill.tenant == tenant && after.is_none_or(|after| backfill.id < after))
            .cloned()
            .collect();
        Ok(page_of(found, &page, |backfill| backfill.id.to_string()))
    }

    async fn backfills_running(&self) -> Result<Vec<Backfill>, StoreError> {
        let state = self.state()?;
        let all = state.shelf.backfills.values();
        Ok(all.filter(|backfill| backfill.status == BackfillStatus::Running).cloned().collect())
    }

    async fn backfill_move(
        &self,
        tenant: TenantId,
        id: BackfillId,
        to: BackfillStatus,
    ) -> Result<Option<Backfill>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let found = state.shelf.backfills.get_mut(&id).filter(|backfill| backfill.tenant == tenant);
        Ok(found.map(|backfill| {
            if matches!(backfill.status, BackfillStatus::Running | BackfillStatus::Paused) {
                backfill.status = to;
                backfill.updated_at = now;
            }
            backfill.clone()
        }))
    }

    async fn triggers_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let limit = limit as usize;
        let mut state = self.state()?;
        let shelf = &mut state.shelf;
        let receipts: Vec<ReceiptId> = shelf
            .receipts
            .values()
            .filter(|receipt| {
                receipt.received_at < before && receipt.outcome != "parked" && !is_lasting(receipt)
            })
            .map(|receipt| receipt.id)
            .take(limit)
            .collect();
        let fires: Vec<(TriggerId, Timestamp)> = shelf
            .fires
            .iter()
            .filter(|(_, fire)| fire.recorded_at < before && fire.outcome == FireOutcome::Skipped)
            .map(|(key, _)| *key)
            .take(limit)
            .collect();
        let events: Vec<ReceiptId> = shelf
            .events
            .iter()
            .filter(|(_, event)| event.expires_at < now)
            .map(|(key, _)| *key)
            .take(limit)
            .collect();
        shelf.receipts.retain(|id, _| !receipts.contains(id));
        shelf.fires.retain(|key, _| !fires.contains(key));
        shelf.events.retain(|key, _| !events.contains(key));
        Ok([receipts.len(), fires.len(), events.len()].contains(&limit))
    }
}

/// The receipt of a file that stays where it is.
fn is_lasting(receipt: &Receipt) -> bool {
    receipt.key.as_ref().is_some_and(|key| key.starts_with(KEPT_FILE))
}
