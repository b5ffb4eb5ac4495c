//! A store that holds just enough for the API's own tests, and fails when told to.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use shared::{
    execution::{Event, Status, Turn},
    ids::{CoordinatorId, DeadLetterId, ExecutionId, PayloadId, RequestId, Shard, TenantId, WorkflowId},
    port::store::{
        Commit, DeadLetter, DeadLetters, DueTimer, ExecutionFilter, ExecutionRow, Finding, Journal, Kept,
        LateResult, LeaseRenewal, Library, Members, Page, Paged, Payloads, Request, Saved, SlotHolder,
        StoreError, Stored, Submission, Submitted, Sweeps, Timers, Views, WorkflowDraft, WorkflowFilter,
        WorkflowRow,
    },
    time::{Clock, SystemClock, Timestamp},
    wire::WorkerRecord,
};

#[derive(Default)]
struct Held {
    workflows: Vec<WorkflowRow>,
    snapshots: HashMap<String, String>,
    executions: Vec<(ExecutionRow, Vec<Turn>)>,
    keys: HashMap<String, (String, ExecutionId)>,
    requests: Vec<Request>,
    letters: Vec<DeadLetter>,
    payloads: HashMap<PayloadId, (ExecutionId, Vec<u8>)>,
    fail: Option<fn() -> StoreError>,
}

#[derive(Default)]
pub(crate) struct FakeStore(Mutex<Held>);

type Answer<T> = Result<T, StoreError>;

impl FakeStore {
    fn held(&self) -> Answer<MutexGuard<'_, Held>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.fail {
            Some(fail) => Err(fail()),
            None => Ok(held),
        }
    }

    /// Fails from now on, in this way.
    pub(crate) fn fail(&self, how: Option<fn() -> StoreError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fail = how;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.held().map(|held| held.requests.clone()).unwrap_or_default()
    }

    /// Adds a turn as a coordinator would.
    pub(crate) fn append(&self, id: ExecutionId, events: Vec<Event>) {
        let mut held = self.held().expect("the fake does not fail now");
        let (row, turns) =
            held.executions.iter_mut().find(|(row, _)| row.id == id).expect("the execution was accepted");
        let at = SystemClock.now();
        for event in &events {
            match event {
                Event::Started => {
                    row.status = Status::Running;
                    row.started_at = Some(at);
                }
                Event::Finished { status, output, failure } => {
                    row.status = *status;
                    row.finished_at = Some(at);
                    row.output.clone_from(output);
                    row.failure.clone_from(failure);
                }
                _ => {}
            }
        }
        let seq = turns.len() as u32 + 1;
        turns.push(Turn { execution: id, seq, cause: shared::ids::MessageId::generate(), at, events });
    }
}

#[async_trait]
impl Journal for FakeStore {
    async fn now(&self) -> Answer<Timestamp> {
        self.held().map(|_| SystemClock.now())
    }

    async fn accept(&self, submissions: Vec<Submission>, quota: u64) -> Answer<Vec<Submitted>> {
        let mut held = self.held()?;
        let mut answers = Vec::new();
        for submission in submissions {
            let Some(Event::Accepted(accepted)) = submission.first.events.first().cloned() else {
                return Err(StoreError::Corrupt("not accepted".into()));
            };
            if let Some((key, hash)) = &submission.idempotency
                && let Some((known, id)) = held.keys.get(key)
            {
                answers.push(if known == hash {
                    Submitted::Repeated(*id)
                } else {
                    Submitted::KeyReused(*id)
                });
                continue;
            }
            let open = held.executions.iter().filter(|(row, _)| !row.status.is_terminal()).count() as u64;
            if open >= quota {
                answers.push(Submitted::QuotaFull { open });
                continue;
            }
            let Some(workflow) = held.workflows.iter().find(|row| row.id == accepted.workflow).cloned()
            else {
                answers.push(Submitted::NoWorkflow);
                continue;
            };
            let id = submission.first.execution;
            if let Some((key, hash)) = submission.idempotency {
                held.keys.insert(key, (hash, id));
            }
            let row = ExecutionRow {
                id,
                tenant: accepted.tenant,
                workflow: accepted.workflow,
                workflow_name: workflow.name,
                version: accepted.version,
                status: Status::Pending,
                priority: accepted.priority,
                tags: accepted.tags,
                principal: accepted.principal,
                created_at: submission.first.at,
                started_at: None,
                finished_at: None,
                blocked_by: None,
                failure: None,
                output: None,
            };
            held.executions.push((row, vec![submission.first]));
            answers.push(Submitted::New);
        }
        Ok(answers)
    }

    async fn commit(&self, commits: Vec<Commit>) -> Answer<Vec<Kept>> {
        Ok(commits.iter().map(|_| Kept::Superseded).collect())
    }

    async fn load(&self, executions: &[ExecutionId]) -> Answer<Vec<Option<Stored>>> {
        Ok(executions.iter().map(|_| None).collect())
    }

    async fn snapshot(&self, hash: &str) -> Answer<Option<String>> {
        Ok(self.held()?.snapshots.get(hash).cloned())
    }

    async fn blocked_by(&self, _key: &str, _limit: u32) -> Answer<Vec<ExecutionId>> {
        Ok(Vec::new())
    }

    async fn record_late(&self, _late: Vec<LateResult>) -> Answer<()> {
        Ok(())
    }
}

#[async_trait]
impl Timers for FakeStore {
    async fn timers_due(&self, _shards: &[Shard], _until: Timestamp, _limit: u32) -> Answer<Vec<DueTimer>> {
        Ok(Vec::new())
    }

    async fn renew_leases(&self, renewals: Vec<LeaseRenewal>, _until: Timestamp) -> Answer<Vec<bool>> {
        Ok(renewals.iter().map(|_| false).collect())
    }
}

#[async_trait]
impl Sweeps for FakeStore {
    async fn sweep_due(&self, _shards: &[Shard], _limit: u32) -> Answer<Vec<ExecutionId>> {
        Ok(Vec::new())
    }

    async fn sweep_all(&self, _shards: &[Shard]) -> Answer<u64> {
        Ok(0)
    }

    async fn sweep_again(&self, _at: Vec<(ExecutionId, Timestamp)>) -> Answer<()> {
        Ok(())
    }

    async fn request(&self, request: Request) -> Answer<bool> {
        let mut held = self.held()?;
        let is_open =
            held.executions.iter().any(|(row, _)| row.id == request.execution && !row.status.is_terminal());
        if is_open {
            held.requests.push(request);
        }
        Ok(is_open)
    }

    async fn requests_waiting(&self, _shards: &[Shard], _age: Duration, _limit: u32) -> Answer<Vec<Request>> {
        Ok(Vec::new())
    }

    async fn forget_request(&self, _id: RequestId) -> Answer<()> {
        Ok(())
    }

    async fn sweep_lag(&self) -> Answer<Duration> {
        self.held().map(|_| Duration::ZERO)
    }

    async fn maintain(&self) -> Answer<()> {
        Ok(())
    }
}

fn row(draft: WorkflowDraft, version: u32, created_at: Timestamp) -> WorkflowRow {
    WorkflowRow {
        id: draft.id,
        tenant: draft.tenant,
        name: draft.name,
        description: draft.description,
        category: draft.category,
        tags: draft.tags,
        status: "active".to_owned(),
        version,
        hash: draft.hash,
        document: draft.document,
        created_by: draft.principal,
        created_at,
        updated_at: draft.at,
    }
}

#[async_trait]
impl Library for FakeStore {
    async fn workflow_create(&self, draft: WorkflowDraft) -> Answer<Saved> {
        let mut held = self.held()?;
        if let Some(other) = held.workflows.iter().find(|row| row.name == draft.name) {
            return Ok(Saved::NameTaken(other.id));
        }
        held.snapshots.insert(draft.hash.clone(), draft.snapshot.clone());
        let at = draft.at;
        let made = row(draft, 1, at);
        held.workflows.push(made.clone());
        Ok(Saved::Created(made))
    }

    async fn workflow_update(&self, draft: WorkflowDraft, expected: Option<u32>) -> Answer<Saved> {
        let mut held = self.held()?;
        held.snapshots.insert(draft.hash.clone(), draft.snapshot.clone());
        let Some(found) = held.workflows.iter_mut().find(|row| row.id == draft.id) else {
            return Ok(Saved::Missing);
        };
        if expected.is_some_and(|expected| expected != found.version) {
            return Ok(Saved::Stale(found.version));
        }
        let version = found.version + u32::from(found.hash != draft.hash);
        *found = row(draft, version, found.created_at);
        Ok(Saved::Updated(found.clone()))
    }

    async fn workflow_delete(&self, _tenant: TenantId, id: WorkflowId) -> Answer<bool> {
        let mut held = self.held()?;
        let found = held.workflows.iter_mut().find(|row| row.id == id);
        Ok(found.map(|row| "archived".clone_into(&mut row.status)).is_some())
    }

    async fn workflow_get(&self, tenant: TenantId, id: WorkflowId) -> Answer<Option<WorkflowRow>> {
        Ok(self.held()?.workflows.iter().find(|row| row.id == id && row.tenant == tenant).cloned())
    }

    async fn workflow_by_name(&self, _tenant: TenantId, name: &str) -> Answer<Option<WorkflowRow>> {
        Ok(self.held()?.workflows.iter().find(|row| row.name == name).cloned())
    }

    async fn workflow_list(
        &self,
        _tenant: TenantId,
        filter: WorkflowFilter,
        _page: Page,
    ) -> Answer<Paged<WorkflowRow>> {
        let held = self.held()?;
        let is_wanted = |row: &&WorkflowRow| filter.tag.as_ref().is_none_or(|tag| row.tags.contains(tag));
        Ok(Paged { items: held.workflows.iter().rev().filter(is_wanted).cloned().collect(), next: None })
    }
}

#[async_trait]
impl Views for FakeStore {
    async fn execution_get(&self, tenant: TenantId, id: ExecutionId) -> Answer<Option<ExecutionRow>> {
        let held = self.held()?;
        Ok(held
            .executions
            .iter()
            .map(|(row, _)| row)
            .find(|row| row.id == id && row.tenant == tenant)
            .cloned())
    }

    async fn execution_list(
        &self,
        _tenant: TenantId,
        filter: ExecutionFilter,
        _page: Page,
    ) -> Answer<Paged<ExecutionRow>> {
        let held = self.held()?;
        let rows = held.executions.iter().rev().map(|(row, _)| row);
        let items =
            rows.filter(|row| filter.status.is_empty() || filter.status.contains(&row.status)).cloned();
        Ok(Paged { items: items.collect(), next: None })
    }

    async fn execution_turns(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        after: u32,
        limit: u32,
    ) -> Answer<Vec<Turn>> {
        let held = self.held()?;
        let found = held.executions.iter().find(|(row, _)| row.id == id && row.tenant == tenant);
        let turns = found.map(|(_, turns)| turns.as_slice()).unwrap_or_default();
        Ok(turns.iter().filter(|turn| turn.seq > after).take(limit as usize).cloned().collect())
    }

    async fn execution_timers(&self, _tenant: TenantId, _id: ExecutionId) -> Answer<Vec<DueTimer>> {
        Ok(Vec::new())
    }

    async fn execution_late(&self, _tenant: TenantId, _id: ExecutionId) -> Answer<Vec<LateResult>> {
        Ok(Vec::new())
    }

    async fn execution_counts(&self) -> Answer<Vec<(Status, u64)>> {
        let held = self.held()?;
        Ok(held.executions.iter().map(|(row, _)| (row.status, 1)).collect())
    }

    async fn slot_holders(&self, _key: &str, _limit: u32) -> Answer<Vec<SlotHolder>> {
        Ok(Vec::new())
    }

    async fn audit_page(&self, _after: Option<ExecutionId>, _limit: u32) -> Answer<Vec<ExecutionRow>> {
        Ok(Vec::new())
    }

    async fn audit_tables(&self) -> Answer<Vec<Finding>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Members for FakeStore {
    async fn coordinator_alive(
        &self,
        id: CoordinatorId,
        _host: &str,
        _expiry: Duration,
    ) -> Answer<Vec<CoordinatorId>> {
        Ok(vec![id])
    }

    async fn coordinator_gone(&self, _id: CoordinatorId) -> Answer<()> {
        Ok(())
    }

    async fn worker_alive(&self, _records: Vec<WorkerRecord>) -> Answer<()> {
        Ok(())
    }

    async fn workers(&self, _expiry: Duration) -> Answer<Vec<(WorkerRecord, Timestamp)>> {
        self.held().map(|_| Vec::new())
    }
}

#[async_trait]
impl Payloads for FakeStore {
    async fn payload_put(
        &self,
        _tenant: TenantId,
        execution: ExecutionId,
        id: PayloadId,
        bytes: Vec<u8>,
    ) -> Answer<()> {
        self.held()?.payloads.insert(id, (execution, bytes));
        Ok(())
    }

    async fn payload_get(&self, execution: ExecutionId, id: PayloadId) -> Answer<Option<Vec<u8>>> {
        let held = self.held()?;
        Ok(held.payloads.get(&id).filter(|(of, _)| *of == execution).map(|(_, bytes)| bytes.clone()))
    }
}

#[async_trait]
impl DeadLetters for FakeStore {
    async fn dead_letter_add(&self, letter: DeadLetter) -> Answer<()> {
        self.held()?.letters.push(letter);
        Ok(())
    }

    async fn dead_letter_list(&self, _page: Page) -> Answer<Paged<DeadLetter>> {
        Ok(Paged { items: self.held()?.letters.clone(), next: None })
    }

    async fn dead_letter_get(&self, id: DeadLetterId) -> Answer<Option<DeadLetter>> {
        Ok(self.held()?.letters.iter().find(|letter| letter.id == id).cloned())
    }

    async fn dead_letter_remove(&self, id: DeadLetterId) -> Answer<bool> {
        let mut held = self.held()?;
        let before = held.letters.len();
        held.letters.retain(|letter| letter.id != id);
        Ok(held.letters.len() < before)
    }
}
