use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use shared::{
    component::control::OnParentClose,
    execution::{Accepted, Mode, Parent, Payload, StoredPayload, TaskKey, Turn},
    ids::{MessageId, WorkerId, WorkflowId},
    port::{
        history::{Archive, ArchivePart},
        store::{
            Commit, Kept, Saved, StatusChange, Submission, Submitted, WorkflowDraft, WorkflowRow,
            list_of_parts,
        },
    },
    time::{Clock, ManualClock},
    workflow::Priority,
};
use store::MemoryStore;

use super::*;

const TENANT: TenantId = TenantId::DEFAULT;

/// A store, its clock, and what is counted.
struct World {
    store: DynStore,
    clock: Arc<ManualClock>,
    workflow: WorkflowRow,
    stats: Stats,
    archive: Option<DynArchive>,
    config: Retention,
}

fn start() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().expect("an instant")
}

fn days(count: u32) -> Duration {
    DAY * count
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(start()));
        let store: DynStore = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
        let draft = WorkflowDraft {
            id: WorkflowId::generate(),
            tenant: TENANT,
            name: "w".to_owned(),
            description: String::new(),
            category: String::new(),
            tags: Vec::new(),
            document: String::new(),
            hash: "hash".to_owned(),
            snapshot: String::new(),
            triggers: Vec::new(),
            publishes: None,
            principal: "someone".to_owned(),
            at: start(),
        };
        let Saved::Created(workflow) = store.workflow_create(draft).await.expect("saved") else {
            panic!("not created")
        };
        let config = Retention { completed_days: 30, failed_days: 90, cancelled_days: 0, archive: None };
        Self { store, clock, workflow, stats: Stats::default(), archive: None, config }
    }

    /// An execution that is accepted now.
    async fn accepted(&self, parent: Option<ExecutionId>) -> ExecutionId {
        let at = self.clock.now();
        let parent = parent.map(|execution| Parent {
            execution,
            task: TaskKey::of("call".into()),
            ordered_in: 2,
            depth: 1,
            waits: false,
            on_parent_close: OnParentClose::Leave,
        });
        let accepted = Accepted {
            parent,
            retry_of: None,
            trial: None,
            tenant: TENANT,
            workflow: self.workflow.id,
            version: 1,
            hash: "hash".to_owned(),
            parameters: Map::new(),
            priority: Priority::Normal,
            mode: Mode::Live,
            scheduled_at: None,
            tags: Vec::new(),
            principal: "someone".to_owned(),
            trigger: None,
        };
        let id = ExecutionId::derived(ExecutionId::generate(), "it", at);
        let first = Turn {
            execution: id,
            seq: 1,
            cause: MessageId::generate(),
            at,
            events: vec![Event::Accepted(Box::new(accepted))],
        };
        let submission = Submission { first, idempotency: None, carries: Vec::new() };
        assert_eq!(self.store.accept(vec![submission], 1_000).await.expect("accepted"), [Submitted::New]);
        id
    }

    async fn add(&self, id: ExecutionId, seq: u32, events: Vec<Event>, status: Option<Status>) {
        let commit = Commit {
            turn: Turn { execution: id, seq, cause: MessageId::generate(), at: self.clock.now(), events },
            tenant: TENANT,
            workflow: self.workflow.id,
            change: status.map(|status| StatusChange { status, failure: None, output: None }),
            timers: Vec::new(),
            give: Vec::new(),
            take: Vec::new(),
            wait: Vec::new(),
            release: status.is_some(),
            has_asked: false,
            finished: Vec::new(),
            request: None,
            sweep_at: None,
            people: Vec::new(),
            waits: Vec::new(),
            cache: Vec::new(),
        };
        assert_eq!(self.store.commit(vec![commit]).await.expect("an answer"), [Kept::Committed]);
    }

    async fn end(&self, id: ExecutionId, status: Status) {
        let events = vec![Event::Finished { status, output: None, failure: None }];
        self.add(id, 2, events, Some(status)).await;
    }

    async fn ended(&self, status: Status) -> ExecutionId {
        let id = self.accepted(None).await;
        self.end(id, status).await;
        id
    }

    async fn payload(&self, id: ExecutionId, bytes: &[u8]) -> PayloadId {
        let payload = PayloadId::generate();
        self.store.payload_put(TENANT, id, payload, bytes.to_vec()).await.expect("kept");
        payload
    }

    async fn is_there(&self, id: ExecutionId) -> bool {
        self.store.execution_get(TENANT, id).await.expect("read").is_some()
    }

    /// Whether all of an execution that has a payload is there, or nothing of it.
    async fn is_whole(&self, id: ExecutionId) -> bool {
        let row = self.is_there(id).await;
        let journal =
            self.store.load(&[id], 0, 10).await.expect("read")[0].as_ref().map_or(0, |s| s.turns.len());
        let payloads = self.store.payload_list(id, None, 10).await.expect("read").len();
        matches!((row, journal, payloads), (true, 2, 1) | (false, 0, 0))
    }

    async fn pass_of(&self, holder: CoordinatorId, batches: usize) -> Result<Forgotten, RetentionError> {
        let (store, archive) = (Arc::clone(&self.store), self.archive.clone());
        let mut pass = Pass::new(holder, self.config.clone(), store, archive, &self.stats);
        pass.batch = Batch { executions: 2, turns: 100, owners: 2 };
        let left = AtomicUsize::new(batches);
        let is_over = || {
            let was = left.load(Ordering::Relaxed);
            left.store(was.saturating_sub(1), Ordering::Relaxed);
            was == 0
        };
        pass.run(&is_over).await
    }

    async fn pass(&self) -> Forgotten {
        self.pass_of(CoordinatorId::generate(), usize::MAX).await.expect("it ends")
    }

    /// Lets time pass, and with it whoever holds the chore.
    fn later(&self, by: Duration) {
        self.clock.advance(by);
    }
}

#[tokio::test(start_paused = true)]
async fn each_status_has_its_time() {
    let world = World::new().await;
    let completed = world.ended(Status::Completed).await;
    let failed = world.ended(Status::Failed).await;
    let cancelled = world.ended(Status::Cancelled).await;
    let open = world.accepted(None).await;
    let there = async || {
        let mut there = Vec::new();
        for id in [completed, failed, cancelled, open] {
            there.push(world.is_there(id).await);
        }
        there
    };
    world.later(days(30));
    world.pass().await;
    assert_eq!(there().await, [true, true, true, true], "not before its last moment is over");
    world.later(Duration::from_mins(5));
    assert_eq!(world.pass().await.executions, 1);
    assert_eq!(there().await, [false, true, true, true]);
    world.later(days(60));
    world.pass().await;
    assert_eq!(there().await, [false, false, true, true]);
    world.later(days(10_000));
    world.pass().await;
    assert_eq!(there().await, [false, false, true, true], "0 days are for ever");
    assert_eq!(world.stats.forgotten_executions.load(Ordering::Relaxed), 2);
    assert_eq!(world.stats.forgotten_turns.load(Ordering::Relaxed), 4);
    assert_eq!(world.stats.retention_lag_micros.load(Ordering::Relaxed), 0);
    assert_eq!(world.stats.retention_run_at.load(Ordering::Relaxed), world.clock.now().as_micros() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_sub_workflow_stays_while_its_caller_is_open() {
    let world = World::new().await;
    let caller = world.accepted(None).await;
    let child = world.accepted(Some(caller)).await;
    world.end(child, Status::Completed).await;
    world.later(days(40));
    world.pass().await;
    assert!(world.is_there(child).await, "asked for again, it would be started again");
    world.end(caller, Status::Completed).await;
    world.later(Duration::from_mins(5));
    world.pass().await;
    assert_eq!((world.is_there(child).await, world.is_there(caller).await), (false, true));
    world.later(days(31));
    world.pass().await;
    assert!(!world.is_there(caller).await);
}

#[tokio::test(start_paused = true)]
async fn a_caller_stays_while_its_sub_workflow_is_open() {
    let world = World::new().await;
    let caller = world.accepted(None).await;
    let child = world.accepted(Some(caller)).await;
    let other = world.ended(Status::Completed).await;
    world.end(caller, Status::Completed).await;
    world.later(days(40));
    world.pass().await;
    assert_eq!((world.is_there(caller).await, world.is_there(other).await), (true, false));
    world.end(child, Status::Completed).await;
    world.later(Duration::from_mins(5));
    world.pass().await;
    assert!(!world.is_there(caller).await);
}

#[tokio::test(start_paused = true)]
async fn ended_between_any_two_batches_nothing_is_half() {
    for batches in 0..8 {
        let world = World::new().await;
        let mut ids = Vec::new();
        for _ in 0..9 {
            let id = world.ended(Status::Completed).await;
            world.payload(id, b"1").await;
            ids.push(id);
        }
        world.later(days(31));
        let first = world.pass_of(CoordinatorId::generate(), batches).await.expect("it ends");
        let mut left = 0;
        for id in &ids {
            assert!(world.is_whole(*id).await, "{id} is half after {batches} batches");
            left += u64::from(world.is_there(*id).await);
        }
        assert_eq!(first.executions + left, 9);
        // What died holds the chore for a while, and then somebody goes on.
        world.later(HOLD);
        assert_eq!(world.pass().await.executions, left);
        assert_eq!(world.store.audit_tables().await.expect("audited"), []);
    }
}

#[tokio::test(start_paused = true)]
async fn one_coordinator_does_it_at_a_time() {
    let world = World::new().await;
    let id = world.ended(Status::Completed).await;
    world.later(days(31));
    let [first, second] = [CoordinatorId::generate(), CoordinatorId::generate()];
    assert!(world.store.chore_take(CHORE, first, HOLD).await.expect("an answer").is_some());
    let gone = world.pass_of(second, usize::MAX).await.expect("it ends");
    assert_eq!((gone, world.is_there(id).await), (Forgotten::default(), true));
    let gone = world.pass_of(first, usize::MAX).await.expect("it ends");
    assert_eq!(gone.executions, 1);
}

fn completed(output: Payload) -> Event {
    Event::TaskCompleted {
        task: TaskKey::of("fetch".into()),
        attempt: 1,
        output,
        ports: Vec::new(),
        worker: WorkerId::generate(),
        started_at: start(),
        finished_at: start(),
        log: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_that_nothing_names_go_a_day_after_the_end() {
    let world = World::new().await;
    let id = world.accepted(None).await;
    let part = world.payload(id, b"[1]").await;
    let list = world.payload(id, &list_of_parts(&[part])).await;
    let file = world.payload(id, b"a file").await;
    let row = world.payload(id, json!({ "file": file }).to_string().as_bytes()).await;
    let orphan = world.payload(id, b"of a turn that was not kept").await;
    let stored = Payload::Stored(StoredPayload { id: list, size: 3 });
    world.add(id, 2, vec![completed(stored), completed(Payload::Inline(json!([{ "at": row }])))], None).await;
    world.later(days(3));
    world.pass().await;
    let list_of = async || world.store.payload_list(id, None, 10).await.expect("read");
    assert_eq!(list_of().await.len(), 5, "it is open: a result may be on its way");
    let end = vec![Event::Finished { status: Status::Completed, output: None, failure: None }];
    world.add(id, 3, end, Some(Status::Completed)).await;
    world.later(Duration::from_hours(23));
    world.pass().await;
    assert_eq!(list_of().await.len(), 5, "looked for once a day");
    world.later(Duration::from_hours(2));
    assert_eq!(world.pass().await.payloads, 1);
    let mut kept = vec![part, list, file, row];
    kept.sort();
    assert_eq!(list_of().await, kept, "{orphan} is gone");
    // Those of an execution that never came to be.
    let nobody = ExecutionId::derived(id, "nobody", world.clock.now());
    world.payload(nobody, b"1").await;
    world.later(days(3));
    assert_eq!(world.pass().await.payloads, 1);
}

/// Keeps lines in memory, and fails at the part with a number.
#[derive(Default)]
struct Shelf {
    lines: Mutex<Vec<Vec<u8>>>,
    parts: AtomicUsize,
    fails_at: Option<usize>,
}

struct Sheet(Arc<Shelf>, Vec<u8>);

struct Shelved(Arc<Shelf>);

#[async_trait]
impl Archive for Shelved {
    async fn begin(&self, _at: Timestamp) -> Result<Box<dyn ArchivePart>, ArchiveError> {
        Ok(Box::new(Sheet(Arc::clone(&self.0), Vec::new())))
    }

    async fn close_days(&self, _now: Timestamp) -> Result<(), ArchiveError> {
        Ok(())
    }
}

#[async_trait]
impl ArchivePart for Sheet {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        self.1.extend(bytes);
        Ok(())
    }

    async fn keep(self: Box<Self>) -> Result<(), ArchiveError> {
        let shelf = &self.0;
        if shelf.fails_at == Some(shelf.parts.fetch_add(1, Ordering::Relaxed)) {
            return Err(ArchiveError { place: "shelf".to_owned(), source: "the disk is full".into() });
        }
        let lines = self.1.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        shelf.lines.lock().expect("nobody panicked").extend(lines);
        Ok(())
    }
}

fn read(shelf: &Shelf) -> Vec<Value> {
    let lines = shelf.lines.lock().expect("nobody panicked");
    lines.iter().map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_goes_is_written_down_first() {
    let mut world = World::new().await;
    let shelf = Arc::new(Shelf::default());
    world.archive = Some(Arc::new(Shelved(Arc::clone(&shelf))));
    let id = world.accepted(None).await;
    let stored = world.payload(id, b"{\"a\":\n1}").await;
    let event = completed(Payload::Stored(StoredPayload { id: stored, size: 7 }));
    world.add(id, 2, vec![event], None).await;
    let end = vec![Event::Finished { status: Status::Completed, output: None, failure: None }];
    world.add(id, 3, end, Some(Status::Completed)).await;
    world.later(days(31));
    world.pass().await;
    assert!(!world.is_there(id).await);
    let lines = read(&shelf);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["id"], json!(id));
    assert_eq!(lines[0]["execution"]["status"], "completed");
    let journal: Vec<Turn> = serde_json::from_value(lines[0]["journal"].clone()).expect("turns");
    assert_eq!(journal.iter().map(|turn| turn.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(lines[0]["payloads"], json!({ (stored.to_string()): { "json": { "a": 1 } } }));
    assert_eq!(lines[0]["late_results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_archived_stays() {
    let mut world = World::new().await;
    let shelf = Arc::new(Shelf { fails_at: Some(1), ..Shelf::default() });
    world.archive = Some(Arc::new(Shelved(Arc::clone(&shelf))));
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(world.ended(Status::Completed).await);
    }
    world.later(days(31));
    let holder = CoordinatorId::generate();
    let failed = world.pass_of(holder, usize::MAX).await.expect_err("the disk is full");
    assert!(matches!(failed, RetentionError::Archive(_)), "{failed:?}");
    let mut there = 0;
    for id in &ids {
        there += u32::from(world.is_there(*id).await);
    }
    assert_eq!((there, read(&shelf).len()), (4, 2));
    let gone = world.pass_of(holder, usize::MAX).await.expect("there is room again");
    assert_eq!((gone.executions, read(&shelf).len()), (4, 6));
}
