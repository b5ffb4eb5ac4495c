//! The store in memory, for tests: the same promises, no durability.

mod accounts;
mod documents;
mod history;
mod triggers;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    execution::{Event, Status, TaskKey, TimerKey, Turn},
    ids::{
        ComponentId, CoordinatorId, DeadLetterId, ExecutionId, HumanTaskId, MessageId, NotificationId,
        PayloadId, RequestId, Shard, TenantId, Token, WorkerId, WorkflowId,
    },
    port::cache::{CacheEntry, CacheKey, CachedResult, StepCache},
    port::people::{
        EventWait, EventWaits, HumanTaskFilter, HumanTaskPage, HumanTaskRow, HumanTasks, KeyTaken, Keys,
        MailClaim, NotificationPage, NotificationRow, Notifications, Requests,
    },
    port::rates::{Permit, PermitAsk, RateRows, Rates},
    port::slots::SlotRows,
    port::store::{
        Commit, DeadLetter, DeadLetterFilter, DeadLetters, DueTimer, ExecutionFilter, ExecutionRow, Finding,
        FinishedTask, HumanTaskChange, HumanTaskStatus, Journal, Kept, LateResult, LeaseRenewal, Library,
        Members, Page, Paged, Payloads, Request, Saved, SlotOwners, StatisticsSlot, StatisticsSpan,
        StoreError, Stored, Submission, Submitted, Sweeps, TimerChange, Timers, Views, WaitChange,
        WorkflowDraft, WorkflowFilter, WorkflowRow,
    },
    port::versions::{DraftRow, VersionRow},
    time::{Clock, Timestamp},
    wire::WorkerRecord,
};

use uuid::Uuid;

use crate::{
    rows,
    sweeps::{FIRST_SWEEP_SECONDS, LONGEST_SWEEP_SECONDS},
    turns,
};

/// Everything in maps behind one lock. The same calls give the same answers: time comes from the clock it is
/// given, and lists are in the order of ids.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    // Held for one deed at a time, never over an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    executions: BTreeMap<ExecutionId, Execution>,
    journal: BTreeMap<ExecutionId, Vec<Turn>>,
    finished: Vec<(ExecutionId, FinishedTask)>,
    timers: BTreeMap<(ExecutionId, TimerKey), (Timestamp, Option<Token>)>,
    slots: SlotRows,
    requests: BTreeMap<RequestId, Request>,
    workflows: BTreeMap<WorkflowId, WorkflowRow>,
    versions: BTreeMap<(WorkflowId, u32), VersionRow>,
    drafts: BTreeMap<WorkflowId, DraftRow>,
    documents: BTreeMap<WorkflowId, documents::Document>,
    accounts: accounts::Rows,
    snapshots: HashMap<String, String>,
    keys: HashMap<(TenantId, String), Key>,
    coordinators: BTreeMap<CoordinatorId, Timestamp>,
    workers: BTreeMap<WorkerId, (WorkerRecord, Timestamp)>,
    payloads: HashMap<(ExecutionId, PayloadId), Vec<u8>>,
    late: Vec<LateResult>,
    letters: BTreeMap<DeadLetterId, DeadLetter>,
    people: BTreeMap<HumanTaskId, HumanTaskRow>,
    mails: BTreeMap<HumanTaskId, Mails>,
    notifications: BTreeMap<NotificationId, NotificationRow>,
    waits: BTreeMap<(ExecutionId, TaskKey), (TenantId, EventWait)>,
    rates: RateRows,
    cache: BTreeMap<(TenantId, WorkflowId, CacheKey), CachedResult>,
    secrets: BTreeMap<String, Vec<u8>>,
    nonces: BTreeMap<Uuid, Timestamp>,
    chores: BTreeMap<String, history::Chore>,
    shelf: triggers::Shelf,
    failing: Option<fn() -> StoreError>,
}

#[derive(Debug, Clone)]
struct Execution {
    row: ExecutionRow,
    sweep_at: Option<Timestamp>,
    sweep_seconds: u32,
}

#[derive(Debug, Clone)]
struct Key {
    hash: String,
    execution: ExecutionId,
    expires_at: Timestamp,
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State::default()) }
    }

    /// Every finished attempt, in order of its turn.
    pub fn finished_tasks(&self) -> Vec<(ExecutionId, FinishedTask)> {
        self.locked().finished.clone()
    }

    /// Fails every deed from now on in this way, until told otherwise.
    pub fn fail(&self, how: Option<fn() -> StoreError>) {
        self.locked().failing = how;
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.locked();
        match state.failing {
            Some(failing) => Err(failing()),
            None => Ok(state),
        }
    }

    fn before(&self, age: Duration) -> Timestamp {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.clock.now().as_micros().saturating_sub(age))
    }
}

impl State {
    fn open(&self, tenant: TenantId) -> u64 {
        let rows = self.executions.values().map(|execution| &execution.row);
        rows.filter(|row| row.tenant == tenant && !row.status.is_terminal()).count() as u64
    }

    fn accept(&mut self, submission: Submission, quota: u64) -> Result<Submitted, StoreError> {
        let first = submission.first;
        let Some(Event::Accepted(accepted)) = first.events.first().filter(|_| first.seq == 1) else {
            return Err(StoreError::Corrupt(
                "a submission begins with turn 1 and the event `accepted`".into(),
            ));
        };
        let tenant = accepted.tenant;
        if let Some((key, hash)) = &submission.idempotency
            && let Some(known) = self.keys.get(&(tenant, key.clone()))
            && known.expires_at > first.at
        {
            return Ok(if known.hash == *hash {
                Submitted::Repeated(known.execution)
            } else {
                Submitted::KeyReused(known.execution)
            });
        }
        if self.executions.get(&first.execution).is_some_and(|execution| execution.row.tenant == tenant) {
            return Ok(Submitted::Repeated(first.execution));
        }
        let workflow = self.workflows.get(&accepted.workflow);
        let Some(workflow) = workflow.filter(|row| row.tenant == tenant && row.status == "active") else {
            return Ok(Submitted::NoWorkflow);
        };
        let open = self.open(tenant);
        if open >= quota {
            return Ok(Submitted::QuotaFull { open });
        }
        let carried: Option<Vec<(PayloadId, Vec<u8>)>> = submission
            .carries
            .iter()
            .map(|id| {
                let source = accepted.carries_from().filter(|source| self.is_of(tenant, *source))?;
                Some((*id, self.payloads.get(&(source, *id))?.clone()))
            })
            .collect();
        let Some(carried) = carried else { return Ok(Submitted::NothingToCarry) };
        let start = accepted.scheduled_at.map_or(first.at, |at| at.max(first.at));
        let row = ExecutionRow {
            id: first.execution,
            tenant,
            workflow: accepted.workflow,
            workflow_name: workflow.name.clone(),
            version: accepted.version,
            status: Status::Pending,
            priority: accepted.priority,
            tags: accepted.tags.clone(),
            principal: accepted.principal.clone(),
            created_at: first.at,
            started_at: None,
            finished_at: None,
            blocked_by: None,
            failure: None,
            output: None,
            retry_of: accepted.retry_of,
        };
        for (id, bytes) in carried {
            self.payloads.insert((first.execution, id), bytes);
        }
        let execution = Execution {
            row,
            sweep_at: Some(start.after(turns::FIRST_SWEEP)),
            sweep_seconds: FIRST_SWEEP_SECONDS,
        };
        self.executions.insert(first.execution, execution);
        if let Some((key, hash)) = submission.idempotency {
            let expires_at = first.at.after(turns::KEY_LIFE);
            self.keys.insert((tenant, key), Key { hash, execution: first.execution, expires_at });
        }
        self.journal.insert(first.execution, vec![first]);
        Ok(Submitted::New)
    }

    fn commit(&mut self, commit: Commit) -> Kept {
        let id = commit.turn.execution;
        let at = commit.turn.at;
        let last = self.journal.get(&id).map_or(0, |turns| turns.len() as u32);
        if last == 0 || commit.turn.seq != last + 1 {
            return Kept::Superseded;
        }
        if let Err(full) = self.slots.commit((id, at), &commit.give, &commit.take, &commit.wait) {
            return Kept::Refused { full };
        }
        if let Some(execution) =
            self.executions.get_mut(&id).filter(|found| found.row.tenant == commit.tenant)
        {
            if commit.change.is_some()
                || commit.release
                || !commit.take.is_empty()
                || commit.leaves_its_line()
            {
                execution.row.blocked_by = None;
            }
            if let Some(moved) = commit.turn.moved() {
                execution.row.version = moved.version;
            }
            if let Some(claim) = commit.wait.iter().find(|claim| claim.task.is_none()) {
                execution.row.blocked_by = Some(claim.key.clone());
            }
            let mut ends = commit.release;
            if let Some(change) = commit.change {
                let begins = matches!(change.status, Status::Running | Status::Completed)
                    || commit.turn.events.iter().any(|event| matches!(event, Event::Started));
                if begins && execution.row.started_at.is_none() {
                    execution.row.started_at = Some(at);
                }
                if change.status.is_terminal() {
                    ends = true;
                    execution.row.finished_at = execution.row.finished_at.or(Some(at));
                }
                execution.row.status = change.status;
                let earlier = execution.row.failure.take().filter(|_| !change.status.is_terminal());
                execution.row.failure = change.failure.or(earlier);
                execution.row.output = change.output.or(execution.row.output.take());
            }
            if ends {
                execution.sweep_at = commit.sweep_at.filter(|_| execution.row.status.is_terminal());
            } else if commit.sweep_at.is_some() {
                execution.sweep_at = commit.sweep_at;
                execution.sweep_seconds = FIRST_SWEEP_SECONDS;
            }
        }
        for timer in commit.timers {
            match timer {
                TimerChange::Set { key, due_at, token } => {
                    self.timers.insert((id, key), (due_at, token));
                }
                TimerChange::Clear { key } => {
                    self.timers.remove(&(id, key));
                }
            }
        }
        for change in commit.people {
            self.ask(id, commit.tenant, commit.workflow, at, change);
        }
        for wait in commit.waits {
            match wait {
                WaitChange::Open { task, event, key, early } => {
                    let wait = EventWait { execution: id, task: task.clone(), event, key, early };
                    self.waits.insert((id, task), (commit.tenant, wait));
                }
                WaitChange::Close { task } => {
                    self.rates.settle(id, &task);
                    self.waits.remove(&(id, task));
                }
            }
        }
        if commit.release {
            self.timers.retain(|(execution, _), _| *execution != id);
            self.slots.release(id);
        }
        if commit.release && commit.has_asked {
            self.rates.release(id);
            self.waits.retain(|(execution, _), _| *execution != id);
            let open = self.people.values_mut().filter(|row| row.status == HumanTaskStatus::Open);
            for row in open.filter(|row| row.execution == id) {
                row.status = HumanTaskStatus::Cancelled;
                row.ended_at = Some(at);
            }
        }
        if let Some(request) = commit.request {
            self.requests.remove(&request);
        }
        for CacheEntry { key, result } in commit.cache {
            self.cache.insert((commit.tenant, commit.workflow, key), result);
        }
        self.finished.extend(commit.finished.into_iter().map(|task| (id, task)));
        self.journal.entry(id).or_default().push(commit.turn);
        Kept::Committed
    }

    fn ask(
        &mut self,
        execution: ExecutionId,
        tenant: TenantId,
        workflow: WorkflowId,
        at: Timestamp,
        change: HumanTaskChange,
    ) {
        let Some(of) = self.executions.get(&execution).filter(|found| found.row.tenant == tenant) else {
            return;
        };
        let id = HumanTaskId::derived(execution, &change.task.to_string());
        let row = HumanTaskRow {
            id,
            tenant,
            execution,
            task: change.task,
            workflow,
            workflow_name: of.row.workflow_name.clone(),
            requester: of.row.principal.clone(),
            ask: change.ask,
            assignees: change.assignees,
            claimed_by: change.claimed_by,
            answers: change.answers,
            status: change.status,
            created_at: change.created_at,
            reminded_at: change.reminded_at,
            ended_at: (change.status != HumanTaskStatus::Open).then_some(at),
        };
        if self.people.get(&id).is_none_or(|earlier| earlier.assignees != row.assignees) {
            self.mails.entry(id).or_default().handed_at = Some(at);
        }
        self.people.insert(id, row);
    }

    fn is_of(&self, tenant: TenantId, id: ExecutionId) -> bool {
        self.executions.get(&id).is_some_and(|execution| execution.row.tenant == tenant)
    }

    fn name_holder(&self, tenant: TenantId, name: &str) -> Option<&WorkflowRow> {
        self.workflows.values().find(|row| row.tenant == tenant && row.name == name && row.status == "active")
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        drop(self.state()?);
        Ok(self.clock.now())
    }

    async fn accept(&self, submissions: Vec<Submission>, quota: u64) -> Result<Vec<Submitted>, StoreError> {
        let mut state = self.state()?;
        submissions.into_iter().map(|submission| state.accept(submission, quota)).collect()
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Kept>, StoreError> {
        let mut state = self.state()?;
        // What builds on a turn that is not kept is not kept.
        let mut broken = BTreeSet::new();
        Ok(commits
            .into_iter()
            .map(|commit| {
                let id = commit.turn.execution;
                if broken.contains(&id) {
                    return Kept::Superseded;
                }
                let kept = state.commit(commit);
                if kept != Kept::Committed {
                    broken.insert(id);
                }
                kept
            })
            .collect())
    }

    async fn load(
        &self,
        executions: &[ExecutionId],
        after: u32,
        most: u32,
    ) -> Result<Vec<Option<Stored>>, StoreError> {
        let state = self.state()?;
        let page = |turns: &Vec<Turn>| -> Vec<Turn> {
            turns.iter().filter(|turn| turn.seq > after).take(most as usize).cloned().collect()
        };
        let page = |id| state.journal.get(id).map(page).filter(|turns| !turns.is_empty());
        Ok(executions.iter().map(|id| page(id).map(|turns| Stored { turns })).collect())
    }

    async fn snapshot(&self, hash: &str) -> Result<Option<String>, StoreError> {
        Ok(self.state()?.snapshots.get(hash).cloned())
    }

    async fn snapshot_put(&self, hash: &str, canonical: &str) -> Result<(), StoreError> {
        self.state()?.snapshots.entry(hash.to_owned()).or_insert_with(|| canonical.to_owned());
        Ok(())
    }

    async fn next_in_line(&self, key: &str, limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        let mut next = self.state()?.slots.next_in_line(key);
        next.truncate(limit as usize);
        Ok(next)
    }

    async fn record_late(&self, late: Vec<LateResult>) -> Result<(), StoreError> {
        self.state()?.late.extend(late);
        Ok(())
    }
}

#[async_trait]
impl Timers for MemoryStore {
    async fn timers_due(
        &self,
        shards: &[Shard],
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueTimer>, StoreError> {
        let state = self.state()?;
        let mut due: Vec<DueTimer> = state
            .timers
            .iter()
            .filter(|((id, _), (due_at, _))| *due_at <= until && shards.contains(&Shard::of(*id)))
            .map(timer)
            .collect();
        due.sort_by(|a, b| (a.due_at, a.execution, &a.key).cmp(&(b.due_at, b.execution, &b.key)));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn renew_leases(
        &self,
        renewals: Vec<LeaseRenewal>,
        until: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        Ok(renewals
            .into_iter()
            .map(|renewal| {
                let lease = state.timers.get_mut(&(renewal.execution, TimerKey::Lease(renewal.task)));
                match lease {
                    Some((due_at, token)) if *token == Some(renewal.token) && *due_at > now => {
                        *due_at = until;
                        true
                    }
                    _ => false,
                }
            })
            .collect())
    }
}

fn timer(((id, key), (due_at, token)): (&(ExecutionId, TimerKey), &(Timestamp, Option<Token>))) -> DueTimer {
    DueTimer { execution: *id, key: key.clone(), due_at: *due_at, token: *token }
}

#[async_trait]
impl Sweeps for MemoryStore {
    async fn sweep_due(&self, shards: &[Shard], limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let mut due: Vec<(Timestamp, ExecutionId)> = state
            .executions
            .values()
            .filter(|execution| shards.contains(&Shard::of(execution.row.id)))
            .filter_map(|execution| execution.sweep_at.map(|at| (at, execution.row.id)))
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort();
        due.truncate(limit as usize);
        for (_, id) in &due {
            if let Some(execution) = state.executions.get_mut(id) {
                execution.sweep_at = Some(now.after(Duration::from_secs(u64::from(execution.sweep_seconds))));
                execution.sweep_seconds = (execution.sweep_seconds * 2).min(LONGEST_SWEEP_SECONDS);
            }
        }
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    async fn sweep_all(&self, shards: &[Shard]) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let open = state.executions.values_mut().filter(|execution| {
            !execution.row.status.is_terminal() && shards.contains(&Shard::of(execution.row.id))
        });
        let mut count = 0;
        for execution in open {
            execution.sweep_at = Some(now);
            execution.sweep_seconds = FIRST_SWEEP_SECONDS;
            count += 1;
        }
        Ok(count)
    }

    async fn lines_at_rest(&self, limit: u32) -> Result<Vec<ExecutionId>, StoreError> {
        let mut resting = self.state()?.slots.lines_at_rest();
        resting.truncate(limit as usize);
        Ok(resting)
    }

    async fn sweep_again(&self, at: Vec<(ExecutionId, Timestamp)>) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for (id, at) in at {
            if let Some(execution) =
                state.executions.get_mut(&id).filter(|found| !found.row.status.is_terminal())
            {
                execution.sweep_at = Some(at);
                execution.sweep_seconds = FIRST_SWEEP_SECONDS;
            }
        }
        Ok(())
    }

    async fn sweep_done(&self, ended: &[ExecutionId]) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for id in ended {
            if let Some(execution) =
                state.executions.get_mut(id).filter(|found| found.row.status.is_terminal())
            {
                execution.sweep_at = None;
            }
        }
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        if state.requests.contains_key(&request.id) {
            return Ok(true);
        }
        let open = state.executions.get(&request.execution).is_some_and(|execution| {
            execution.row.tenant == request.tenant && !execution.row.status.is_terminal()
        });
        if open {
            state.requests.insert(request.id, request);
        }
        Ok(open)
    }

    async fn requests_waiting(
        &self,
        shards: &[Shard],
        age: Duration,
        limit: u32,
    ) -> Result<Vec<Request>, StoreError> {
        let before = self.before(age);
        let state = self.state()?;
        let mut waiting: Vec<Request> = state
            .requests
            .values()
            .filter(|request| request.at < before && shards.contains(&Shard::of(request.execution)))
            .cloned()
            .collect();
        waiting.sort_by_key(|request| (request.at, request.id));
        waiting.truncate(limit as usize);
        Ok(waiting)
    }

    async fn forget_request(&self, id: RequestId) -> Result<(), StoreError> {
        self.state()?.requests.remove(&id);
        Ok(())
    }

    async fn sweep_lag(&self) -> Result<Duration, StoreError> {
        let now = self.clock.now();
        let oldest = self.state()?.executions.values().filter_map(|execution| execution.sweep_at).min();
        Ok(oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)))
    }

    async fn maintain(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        state.keys.retain(|_, key| key.expires_at > now);
        state.nonces.retain(|_, expires_at| *expires_at > now);
        state.cache.retain(|_, result| result.expires_at > now);
        state.accounts.forget(now);
        Ok(())
    }
}

#[async_trait]
impl Library for MemoryStore {
    async fn workflow_create(&self, draft: WorkflowDraft) -> Result<Saved, StoreError> {
        let mut state = self.state()?;
        if let Some(other) = state.name_holder(draft.tenant, &draft.name) {
            return Ok(Saved::NameTaken(other.id));
        }
        if state.workflows.contains_key(&draft.id) {
            return Ok(Saved::NameTaken(draft.id));
        }
        state.sync_triggers(&draft, 1);
        let kept = draft.clone();
        let row = WorkflowRow {
            id: draft.id,
            tenant: draft.tenant,
            name: draft.name,
            description: draft.description,
            category: draft.category,
            tags: draft.tags,
            status: "active".to_owned(),
            version: 1,
            hash: draft.hash,
            document: draft.document,
            created_by: draft.principal,
            created_at: draft.at,
            updated_at: draft.at,
        };
        state.snapshots.entry(kept.hash.clone()).or_insert_with(|| kept.snapshot.clone());
        state.add_version(&row, &kept);
        state.workflows.insert(draft.id, row.clone());
        Ok(Saved::Created(row))
    }

    async fn workflow_update(
        &self,
        draft: WorkflowDraft,
        expected: Option<u32>,
    ) -> Result<Saved, StoreError> {
        let mut state = self.state()?;
        let here = state.workflows.get(&draft.id);
        let Some(here) = here.filter(|row| row.tenant == draft.tenant && row.status == "active") else {
            return Ok(Saved::Missing);
        };
        if expected.is_some_and(|expected| expected != here.version) {
            return Ok(Saved::Stale(here.version));
        }
        if let Some(other) = state.name_holder(draft.tenant, &draft.name).filter(|other| other.id != draft.id)
        {
            return Ok(Saved::NameTaken(other.id));
        }
        let mut row = here.clone();
        if row.hash != draft.hash {
            row.version += 1;
            state.snapshots.entry(draft.hash.clone()).or_insert_with(|| draft.snapshot.clone());
        }
        state.sync_triggers(&draft, row.version);
        state.add_version(&row, &draft);
        row.name = draft.name;
        row.description = draft.description;
        row.category = draft.category;
        row.tags = draft.tags;
        row.hash = draft.hash;
        row.document = draft.document;
        row.updated_at = draft.at;
        state.workflows.insert(draft.id, row.clone());
        Ok(Saved::Updated(row))
    }

    async fn workflow_delete(&self, tenant: TenantId, id: WorkflowId) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let Some(row) = state.workflows.get_mut(&id).filter(|row| row.tenant == tenant) else {
            return Ok(false);
        };
        if row.status == "active" {
            "archived".clone_into(&mut row.status);
            row.updated_at = now;
        }
        state.drop_triggers(tenant, id);
        state.documents.remove(&id);
        Ok(true)
    }

    async fn workflow_get(
        &self,
        tenant: TenantId,
        id: WorkflowId,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        Ok(self.state()?.workflows.get(&id).filter(|row| row.tenant == tenant).cloned())
    }

    async fn workflow_by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<WorkflowRow>, StoreError> {
        Ok(self.state()?.name_holder(tenant, name).cloned())
    }

    async fn workflow_hash(
        &self,
        tenant: TenantId,
        id: WorkflowId,
        version: u32,
    ) -> Result<Option<String>, StoreError> {
        let state = self.state()?;
        let mine = state.workflows.get(&id).is_some_and(|row| row.tenant == tenant);
        Ok(mine.then(|| state.versions.get(&(id, version)).map(|row| row.hash.clone())).flatten())
    }

    async fn workflow_list(
        &self,
        tenant: TenantId,
        filter: WorkflowFilter,
        page: Page,
    ) -> Result<Paged<WorkflowRow>, StoreError> {
        let Ok(after) = rows::cursor::<WorkflowId>(&page) else { return Ok(rows::no_rows()) };
        let search = filter.search.map(|text| text.to_lowercase());
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        let wanted = state.workflows.values().rev().filter(|row| {
            row.tenant == tenant
                && after.is_none_or(|after| row.id < after)
                && filter.category.as_ref().is_none_or(|category| *category == row.category)
                && filter.status.as_ref().is_none_or(|status| *status == row.status)
                && filter.tag.as_ref().is_none_or(|tag| row.tags.contains(tag))
                && search.as_ref().is_none_or(|text| {
                    row.name.to_lowercase().contains(text) || row.description.to_lowercase().contains(text)
                })
        });
        let items = wanted.take(limit as usize + 1).cloned().collect();
        Ok(rows::paged(items, limit, |row: &WorkflowRow| row.id.to_string()))
    }
}

#[async_trait]
impl Views for MemoryStore {
    async fn execution_get(
        &self,
        tenant: TenantId,
        id: ExecutionId,
    ) -> Result<Option<ExecutionRow>, StoreError> {
        let state = self.state()?;
        Ok(state
            .executions
            .get(&id)
            .map(|execution| &execution.row)
            .filter(|row| row.tenant == tenant)
            .cloned())
    }

    async fn execution_list(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
        page: Page,
    ) -> Result<Paged<ExecutionRow>, StoreError> {
        let Ok(after) = rows::cursor::<ExecutionId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        let wanted = state.executions.values().rev().map(|execution| &execution.row).filter(|row| {
            row.tenant == tenant
                && after.is_none_or(|after| row.id < after)
                && filter.workflow.is_none_or(|workflow| row.workflow == workflow)
                && (!filter.failing || row.failure.is_some() && !row.status.is_terminal())
                && (filter.status.is_empty() || filter.status.contains(&row.status))
                && filter.tag.as_ref().is_none_or(|tag| row.tags.contains(tag))
                && filter.created_from.is_none_or(|from| row.created_at >= from)
                && filter.created_to.is_none_or(|to| row.created_at < to)
        });
        let items = wanted.take(limit as usize + 1).cloned().collect();
        Ok(rows::paged(items, limit, |row: &ExecutionRow| row.id.to_string()))
    }

    async fn execution_retries(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let state = self.state()?;
        let rows = state.executions.values().rev().map(|execution| &execution.row);
        let retries = rows.filter(|row| row.tenant == tenant && row.retry_of == Some(id));
        Ok(retries.take(limit as usize).map(|row| row.id).collect())
    }

    async fn execution_turns(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Turn>, StoreError> {
        let state = self.state()?;
        if !state.is_of(tenant, id) {
            return Ok(Vec::new());
        }
        let turns = state.journal.get(&id).into_iter().flatten();
        Ok(turns.filter(|turn| turn.seq > after).take(limit as usize).cloned().collect())
    }

    async fn execution_timers(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<DueTimer>, StoreError> {
        let state = self.state()?;
        if !state.is_of(tenant, id) {
            return Ok(Vec::new());
        }
        let mut timers: Vec<DueTimer> =
            state.timers.iter().filter(|((execution, _), _)| *execution == id).map(timer).collect();
        timers.sort_by(|a, b| (a.due_at, &a.key).cmp(&(b.due_at, &b.key)));
        Ok(timers)
    }

    async fn execution_late(&self, tenant: TenantId, id: ExecutionId) -> Result<Vec<LateResult>, StoreError> {
        let state = self.state()?;
        if !state.is_of(tenant, id) {
            return Ok(Vec::new());
        }
        Ok(state.late.iter().filter(|late| late.execution == id).cloned().collect())
    }

    async fn execution_counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
        for execution in self.state()?.executions.values() {
            *counts.entry(execution.row.status).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    async fn execution_open(&self, tenant: TenantId) -> Result<Vec<(Status, u64)>, StoreError> {
        let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
        let state = self.state()?;
        let rows = state.executions.values().map(|execution| &execution.row);
        for row in rows.filter(|row| row.tenant == tenant && !row.status.is_terminal()) {
            *counts.entry(row.status).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    async fn execution_statistics(
        &self,
        tenant: TenantId,
        span: StatisticsSpan,
        workflow: Option<WorkflowId>,
    ) -> Result<Vec<StatisticsSlot>, StoreError> {
        let state = self.state()?;
        let mut slots: BTreeMap<u32, Vec<&ExecutionRow>> = BTreeMap::new();
        for row in state.executions.values().map(|execution| &execution.row) {
            let is_meant = row.tenant == tenant
                && (span.from..span.to).contains(&row.created_at)
                && workflow.is_none_or(|workflow| workflow == row.workflow);
            if is_meant {
                let slot = row.created_at.since(span.from).as_micros() / span.slot.as_micros().max(1);
                slots.entry(slot as u32).or_default().push(row);
            }
        }
        let part = |mut lengths: Vec<Duration>, twentieths: usize| {
            lengths.sort();
            let place = (lengths.len() * twentieths).div_ceil(20);
            lengths.get(place.saturating_sub(1)).copied()
        };
        let slots = slots.into_iter().map(|(slot, rows)| {
            let ended = |status: Status| rows.iter().filter(|row| row.status == status).count() as u64;
            let ran = || {
                rows.iter()
                    .filter_map(|row| Some(row.finished_at?.since(row.started_at?)))
                    .collect::<Vec<_>>()
            };
            let waited = rows.iter().filter_map(|row| Some(row.started_at?.since(row.created_at))).collect();
            StatisticsSlot {
                slot,
                accepted: rows.len() as u64,
                completed: ended(Status::Completed),
                failed: ended(Status::Failed),
                cancelled: ended(Status::Cancelled),
                ran_p50: part(ran(), 10),
                ran_p95: part(ran(), 19),
                waited_p95: part(waited, 19),
            }
        });
        Ok(slots.collect())
    }

    async fn slot_owners(&self, key: &str, limit: u32) -> Result<SlotOwners, StoreError> {
        Ok(self.state()?.slots.owners(key, limit))
    }

    async fn audit_page(
        &self,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        let state = self.state()?;
        let rows = state.executions.values().map(|execution| &execution.row);
        Ok(rows
            .filter(|row| after.is_none_or(|after| row.id > after))
            .take(limit as usize)
            .cloned()
            .collect())
    }

    async fn audit_tables(&self) -> Result<Vec<Finding>, StoreError> {
        let state = self.state()?;
        let mut findings = Vec::new();
        let is_open =
            |id: &ExecutionId| state.executions.get(id).is_some_and(|found| !found.row.status.is_terminal());
        let mut find = |invariant: &str, id: ExecutionId, message: String| {
            findings.push(Finding { invariant: invariant.to_owned(), execution: Some(id), message });
        };
        for (key, id, ..) in state.slots.held().filter(|(_, id, ..)| !is_open(id)) {
            find("I15", id, format!("holds slot `{key}` and is not open"));
        }
        let may_begin = |id: &ExecutionId| is_open(id) && state.executions[id].row.status != Status::Paused;
        for (key, id, _) in state.slots.waiting().filter(|(_, id, _)| !may_begin(id)) {
            find("I15", id, format!("waits in line for `{key}` and may not begin anything"));
        }
        for (id, key) in state.timers.keys().filter(|(id, _)| !is_open(id)) {
            find("I6", *id, format!("has timer `{key}` and is not open"));
        }
        let asking = state.people.values().filter(|row| row.status == HumanTaskStatus::Open);
        for row in asking.filter(|row| !is_open(&row.execution)) {
            find("I6", row.execution, format!("asks people as `{}` and is not open", row.task));
        }
        for (id, task) in state.waits.keys().filter(|(id, _)| !is_open(id)) {
            find("I6", *id, format!("waits for an event as `{task}` and is not open"));
        }
        Ok(findings)
    }

    async fn audit_headless(
        &self,
        after: Option<ExecutionId>,
        until: Option<ExecutionId>,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let state = self.state()?;
        let is_meant = |id: &ExecutionId| {
            after.is_none_or(|after| *id > after) && until.is_none_or(|until| *id <= until)
        };
        let rows = &state.executions;
        Ok(state.journal.keys().copied().filter(|id| is_meant(id) && !rows.contains_key(id)).collect())
    }
}

#[async_trait]
impl Members for MemoryStore {
    async fn coordinator_alive(
        &self,
        id: CoordinatorId,
        _host: &str,
        expiry: Duration,
    ) -> Result<Vec<CoordinatorId>, StoreError> {
        let (now, since) = (self.clock.now(), self.before(expiry));
        let mut state = self.state()?;
        state.coordinators.insert(id, now);
        Ok(state.coordinators.iter().filter(|(_, seen_at)| **seen_at >= since).map(|(id, _)| *id).collect())
    }

    async fn coordinator_gone(&self, id: CoordinatorId) -> Result<(), StoreError> {
        self.state()?.coordinators.remove(&id);
        Ok(())
    }

    async fn worker_alive(&self, records: Vec<WorkerRecord>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        state.workers.extend(records.into_iter().map(|record| (record.id, (record, now))));
        Ok(())
    }

    async fn workers(&self, expiry: Duration) -> Result<Vec<(WorkerRecord, Timestamp)>, StoreError> {
        let since = self.before(expiry);
        Ok(self.state()?.workers.values().filter(|(_, seen_at)| *seen_at >= since).cloned().collect())
    }
}

#[async_trait]
impl Payloads for MemoryStore {
    async fn payload_put(
        &self,
        _tenant: TenantId,
        execution: ExecutionId,
        id: PayloadId,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.state()?.payloads.entry((execution, id)).or_insert(bytes);
        Ok(())
    }

    async fn payload_get(
        &self,
        execution: ExecutionId,
        id: PayloadId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state()?.payloads.get(&(execution, id)).cloned())
    }

    async fn payload_slice(
        &self,
        execution: ExecutionId,
        id: PayloadId,
        from: u64,
        most: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.state()?;
        let slice = |bytes: &Vec<u8>| bytes.iter().copied().skip(from as usize).take(most as usize).collect();
        Ok(state.payloads.get(&(execution, id)).map(slice))
    }
}

/// Whether a filter asks for this dead letter.
fn is_meant(filter: &DeadLetterFilter, letter: &DeadLetter) -> bool {
    let holds = |part: &String| letter.reason.to_lowercase().contains(&part.to_lowercase());
    filter.queue.as_ref().is_none_or(|queue| *queue == letter.queue)
        && filter.reason.as_ref().is_none_or(holds)
        && filter.execution.is_none_or(|id| letter.execution == Some(id))
        && filter.before.is_none_or(|before| letter.at < before)
}

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn dead_letter_add(&self, letter: DeadLetter) -> Result<(), StoreError> {
        self.state()?.letters.entry(letter.id).or_insert(letter);
        Ok(())
    }

    async fn dead_letter_list(
        &self,
        filter: DeadLetterFilter,
        page: Page,
    ) -> Result<Paged<DeadLetter>, StoreError> {
        let Ok(after) = rows::cursor::<DeadLetterId>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        let letters =
            state.letters.values().rev().filter(|letter| after.is_none_or(|after| letter.id < after));
        let letters = letters.filter(|letter| is_meant(&filter, letter));
        let items = letters.take(limit as usize + 1).cloned().collect();
        Ok(rows::paged(items, limit, |letter: &DeadLetter| letter.id.to_string()))
    }

    async fn dead_letter_get(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.state()?.letters.get(&id).cloned())
    }

    async fn dead_letter_purge(&self, filter: DeadLetterFilter, most: u32) -> Result<u64, StoreError> {
        let mut state = self.state()?;
        let meant = state.letters.values().filter(|letter| is_meant(&filter, letter));
        let meant: Vec<DeadLetterId> = meant.map(|letter| letter.id).take(most as usize).collect();
        for id in &meant {
            state.letters.remove(id);
        }
        Ok(meant.len() as u64)
    }

    async fn dead_letter_remove(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        Ok(self.state()?.letters.remove(&id).is_some())
    }
}

#[async_trait]
impl HumanTasks for MemoryStore {
    async fn human_task_get(
        &self,
        tenant: TenantId,
        id: HumanTaskId,
    ) -> Result<Option<HumanTaskRow>, StoreError> {
        Ok(self.state()?.people.get(&id).filter(|row| row.tenant == tenant).cloned())
    }

    async fn human_task_list(
        &self,
        tenant: TenantId,
        filter: HumanTaskFilter,
        page: HumanTaskPage,
    ) -> Result<Paged<HumanTaskRow>, StoreError> {
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        let is_open = filter.status == Some(HumanTaskStatus::Open);
        let mut wanted: Vec<&HumanTaskRow> = state
            .people
            .values()
            .filter(|row| {
                row.tenant == tenant
                    && filter.status.is_none_or(|status| row.status == status)
                    && filter.execution.is_none_or(|id| row.execution == id)
                    && filter.workflow.is_none_or(|id| row.workflow == id)
                    && filter.kind.is_none_or(|kind| row.ask.kind == kind)
                    && filter
                        .assignees
                        .as_ref()
                        .is_none_or(|names| row.assignees.iter().any(|assignee| names.contains(assignee)))
            })
            .collect();
        let newest = |row: &HumanTaskRow| std::cmp::Reverse((row.created_at, row.id));
        if is_open {
            wanted.sort_by_key(|row| row.cursor());
        } else {
            wanted.sort_by_key(|row| newest(row));
        }
        let items = wanted
            .into_iter()
            .filter(|row| {
                page.after.is_none_or(|after| {
                    if is_open {
                        row.cursor() > after
                    } else {
                        (row.created_at, row.id) < (after.created_at, after.id)
                    }
                })
            })
            .take(limit as usize + 1)
            .cloned()
            .collect();
        Ok(rows::paged(items, limit, |row: &HumanTaskRow| row.cursor().to_string()))
    }

    async fn mails_claim(
        &self,
        now: Timestamp,
        stale: Duration,
        limit: u32,
    ) -> Result<Vec<MailClaim>, StoreError> {
        let mut state = self.state()?;
        let before = Timestamp::from_micros(now.as_micros() - stale.as_micros() as i64);
        let mut due: Vec<MailClaim> = state
            .people
            .values()
            .filter(|row| row.status == HumanTaskStatus::Open)
            .filter_map(|row| {
                let mails = state.mails.get(&row.id).cloned().unwrap_or_default();
                let round = row.round_at();
                let asked_at = mails.handed_at.map_or(round, |handed| handed.max(round));
                let is_due = mails.sent_for.is_none_or(|sent| sent < asked_at)
                    && mails.claimed_at.is_none_or(|at| at <= before);
                let is_this_round = mails.sent_for.is_some_and(|sent| sent >= round);
                let mailed = if is_this_round { mails.sent_to } else { Vec::new() };
                is_due.then(|| MailClaim { row: row.clone(), asked_at, mailed })
            })
            .collect();
        due.sort_by_key(|claim| (claim.row.created_at, claim.row.id));
        due.truncate(limit as usize);
        for claim in &due {
            state.mails.entry(claim.row.id).or_default().claimed_at = Some(now);
        }
        Ok(due)
    }

    async fn mails_done(
        &self,
        id: HumanTaskId,
        asked_at: Timestamp,
        mailed: Vec<String>,
    ) -> Result<(), StoreError> {
        let mut state = self.state()?;
        let mails = state.mails.entry(id).or_default();
        if mails.sent_for.is_none_or(|sent| sent < asked_at) {
            (mails.sent_for, mails.sent_to, mails.claimed_at) = (Some(asked_at), mailed, None);
        }
        Ok(())
    }
}

/// What is known of the mails of a question.
#[derive(Debug, Default, Clone)]
struct Mails {
    /// When it was last given to other people.
    handed_at: Option<Timestamp>,
    sent_for: Option<Timestamp>,
    sent_to: Vec<String>,
    claimed_at: Option<Timestamp>,
}

#[async_trait]
impl Notifications for MemoryStore {
    async fn notification_add(&self, rows: Vec<NotificationRow>) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for row in rows {
            state.notifications.entry(row.notice.id).or_insert(row);
        }
        Ok(())
    }

    async fn notification_list(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        unread_only: bool,
        page: NotificationPage,
    ) -> Result<Paged<NotificationRow>, StoreError> {
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        let mut wanted: Vec<&NotificationRow> = state
            .notifications
            .values()
            .filter(|row| {
                row.tenant == tenant
                    && names.contains(&row.notice.to)
                    && !(unread_only && row.read_at.is_some())
                    && page.after.is_none_or(|after| row.cursor() < after)
            })
            .collect();
        wanted.sort_by_key(|row| std::cmp::Reverse(row.cursor()));
        let items = wanted.into_iter().take(limit as usize + 1).cloned().collect();
        Ok(rows::paged(items, limit, |row: &NotificationRow| row.cursor().to_string()))
    }

    async fn notifications_forget(&self, before: Timestamp, limit: u32) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let old: Vec<NotificationId> = state
            .notifications
            .iter()
            .filter(|(_, row)| row.created_at < before)
            .map(|(id, _)| *id)
            .take(limit as usize)
            .collect();
        state.notifications.retain(|id, _| !old.contains(id));
        Ok(old.len() >= limit as usize)
    }

    async fn notification_read(
        &self,
        tenant: TenantId,
        names: Vec<String>,
        id: NotificationId,
        at: Timestamp,
    ) -> Result<Option<NotificationRow>, StoreError> {
        let mut state = self.state()?;
        let found = state.notifications.get_mut(&id);
        let found = found.filter(|row| row.tenant == tenant && names.contains(&row.notice.to));
        Ok(found.map(|row| {
            row.read_at.get_or_insert(at);
            row.clone()
        }))
    }
}

#[async_trait]
impl Rates for MemoryStore {
    async fn permit(&self, tenant: TenantId, ask: PermitAsk, now: Timestamp) -> Result<Permit, StoreError> {
        let mut state = self.state()?;
        let is_open = state
            .executions
            .get(&ask.execution)
            .is_some_and(|execution| execution.row.tenant == tenant && !execution.row.status.is_terminal());
        Ok(if is_open { state.rates.permit(tenant, ask, now) } else { Permit::unwanted(now) })
    }
}

#[async_trait]
impl StepCache for MemoryStore {
    async fn cache_find(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        keys: &[CacheKey],
    ) -> Result<Vec<Option<CachedResult>>, StoreError> {
        let state = self.state()?;
        let find = |key: &CacheKey| state.cache.get(&(tenant, workflow, key.clone())).cloned();
        Ok(keys.iter().map(find).collect())
    }

    async fn cache_clear(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        component: Option<&ComponentId>,
    ) -> Result<u64, StoreError> {
        let mut state = self.state()?;
        let before = state.cache.len();
        state.cache.retain(|(of, kept, key), _| {
            (*of, *kept) != (tenant, workflow)
                || component.is_some_and(|component| *component != key.component)
        });
        Ok((before - state.cache.len()) as u64)
    }
}

#[async_trait]
impl EventWaits for MemoryStore {
    async fn waits_for(
        &self,
        tenant: TenantId,
        event: &str,
        key: &str,
    ) -> Result<Vec<EventWait>, StoreError> {
        let state = self.state()?;
        let ours = state.waits.values().filter(|(of, _)| *of == tenant).map(|(_, wait)| wait);
        Ok(ours.filter(|wait| wait.event == event && wait.key == key).cloned().collect())
    }

    async fn wait_list(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
    ) -> Result<Vec<EventWait>, StoreError> {
        let state = self.state()?;
        let ours = state.waits.values().filter(|(of, _)| *of == tenant).map(|(_, wait)| wait);
        let mut waits: Vec<EventWait> = ours.filter(|wait| wait.execution == execution).cloned().collect();
        waits.sort_by_key(|wait| wait.task.to_string());
        Ok(waits)
    }
}

#[async_trait]
impl Requests for MemoryStore {
    async fn request_waits(&self, id: RequestId) -> Result<bool, StoreError> {
        Ok(self.state()?.requests.contains_key(&id))
    }

    async fn was_caused(&self, execution: ExecutionId, cause: MessageId) -> Result<bool, StoreError> {
        let state = self.state()?;
        Ok(state.journal.get(&execution).into_iter().flatten().any(|turn| turn.cause == cause))
    }

    async fn key_take(
        &self,
        tenant: TenantId,
        key: &str,
        hash: &str,
        execution: ExecutionId,
        now: Timestamp,
    ) -> Result<KeyTaken, StoreError> {
        let mut state = self.state()?;
        let place = (tenant, key.to_owned());
        if let Some(held) = state.keys.get(&place).filter(|held| held.expires_at > now) {
            return Ok(if held.hash == hash { KeyTaken::Same } else { KeyTaken::Other });
        }
        let expires_at = now.after(turns::KEY_LIFE);
        state.keys.insert(place, Key { hash: hash.to_owned(), execution, expires_at });
        Ok(KeyTaken::New)
    }
}

#[async_trait]
impl Keys for MemoryStore {
    async fn key_or(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        Ok(self.state()?.secrets.entry(name.to_owned()).or_insert(fresh).clone())
    }

    async fn nonce_use(&self, nonce: Uuid, expires_at: Timestamp) -> Result<bool, StoreError> {
        Ok(self.state()?.nonces.insert(nonce, expires_at).is_none())
    }

    async fn nonce_free(&self, nonce: Uuid) -> Result<(), StoreError> {
        self.state()?.nonces.remove(&nonce);
        Ok(())
    }
}
