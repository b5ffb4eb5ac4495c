use std::sync::atomic::Ordering;

use serde_json::Map;
use shared::{
    execution::{Accepted, Event, Mode, Status, Turn},
    ids::{MessageId, TenantId, WorkflowId},
    port::store::{
        Commit, JOURNAL_PAGE, Kept, Saved, StatusChange, Submission, Submitted, WorkflowDraft, WorkflowRow,
    },
    time::{Clock, ManualClock, Timestamp},
    workflow::{self, Priority},
};
use store::MemoryStore;

use super::*;

const TENANT: TenantId = TenantId::DEFAULT;

struct World {
    store: DynStore,
    clock: Arc<ManualClock>,
    workflow: WorkflowRow,
    stats: Stats,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_700_000_000_000_000)));
        let store: DynStore = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
        let text = "workflow: v1\nname: w\ncomponents:\n  a: { type: work }\n";
        let read = workflow::read(text, &crate::explorer::catalogue()).expect("a workflow");
        let draft = WorkflowDraft {
            id: WorkflowId::generate(),
            tenant: TENANT,
            name: "w".to_owned(),
            description: String::new(),
            category: String::new(),
            tags: Vec::new(),
            document: text.to_owned(),
            hash: read.workflow.hash.clone(),
            snapshot: read.canonical,
            triggers: Vec::new(),
            publishes: None,
            principal: "someone".to_owned(),
            at: clock.now(),
        };
        let Saved::Created(workflow) = store.workflow_create(draft).await.expect("saved") else {
            panic!("not created")
        };
        Self { store, clock, workflow, stats: Stats::default() }
    }

    async fn accepted(&self) -> ExecutionId {
        let accepted = Accepted {
            parent: None,
            retry_of: None,
            trial: None,
            tenant: TENANT,
            workflow: self.workflow.id,
            version: 1,
            hash: self.workflow.hash.clone(),
            parameters: Map::new(),
            priority: Priority::Normal,
            mode: Mode::Live,
            scheduled_at: None,
            tags: Vec::new(),
            principal: "someone".to_owned(),
            trigger: None,
        };
        let first = Turn {
            execution: ExecutionId::generate(),
            seq: 1,
            cause: MessageId::generate(),
            at: self.clock.now(),
            events: vec![Event::Accepted(Box::new(accepted))],
        };
        let id = first.execution;
        let submission = Submission { first, idempotency: None, carries: Vec::new() };
        assert_eq!(self.store.accept(vec![submission], 1_000).await.expect("accepted"), [Submitted::New]);
        id
    }

    /// Its journal ends as cancelled, and its row as told.
    async fn end(&self, id: ExecutionId, row: Status) {
        let event = Event::Finished { status: Status::Cancelled, output: None, failure: None };
        let commit = Commit {
            turn: Turn {
                execution: id,
                seq: 2,
                cause: MessageId::generate(),
                at: self.clock.now(),
                events: vec![event],
            },
            tenant: TENANT,
            workflow: self.workflow.id,
            change: Some(StatusChange { status: row, failure: None, output: None }),
            timers: Vec::new(),
            give: Vec::new(),
            take: Vec::new(),
            wait: Vec::new(),
            release: true,
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

    async fn ended(&self, row: Status) -> ExecutionId {
        let id = self.accepted().await;
        self.end(id, row).await;
        id
    }

    fn auditor(&self) -> Auditor {
        let mut auditor = Auditor::new(Arc::clone(&self.store), crate::explorer::catalogue());
        auditor.page = 2;
        auditor
    }

    fn rounds(&self, id: CoordinatorId) -> Rounds {
        Rounds::new(id, Arc::clone(&self.store), self.auditor())
    }

    /// What is known to be wrong, and how many executions were checked so far.
    fn counted(&self) -> (u64, u64) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.stats.audit_findings), read(&self.stats.audited_executions))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_counted_until_it_is_gone() {
    let world = World::new().await;
    world.accepted().await;
    world.ended(Status::Cancelled).await;
    let mut rounds = world.rounds(CoordinatorId::generate());
    rounds.look(&world.stats, &|_| false).await.expect("looked");
    assert_eq!(world.counted(), (0, 2));
    let wrong = world.ended(Status::Completed).await;
    world.ended(Status::Cancelled).await;
    for checked in [6, 10] {
        rounds.look(&world.stats, &|_| false).await.expect("looked");
        assert_eq!(world.counted(), (1, checked), "once, however often it is seen");
    }
    assert_eq!(rounds.known[&Some(wrong)][0].invariant, "I13");
    assert_eq!(world.stats.audit_round_at.load(Ordering::Relaxed), world.clock.now().as_micros() as u64);
    world.store.forget(&[wrong]).await.expect("gone");
    rounds.look(&world.stats, &|_| false).await.expect("looked");
    assert_eq!(world.counted(), (0, 13));
}

#[tokio::test(start_paused = true)]
async fn a_look_goes_on_where_the_last_one_ended() {
    let world = World::new().await;
    for _ in 0..4 {
        world.ended(Status::Cancelled).await;
    }
    let wrong = world.ended(Status::Completed).await;
    let [first, second] = [CoordinatorId::generate(), CoordinatorId::generate()];
    let mut rounds = world.rounds(first);
    rounds.look(&world.stats, &|_| true).await.expect("looked");
    assert_eq!(world.counted(), (0, 2));
    assert_eq!(world.stats.audit_round_at.load(Ordering::Relaxed), 0);
    // Another one does not, while the first is there; then it goes on.
    let mut others = world.rounds(second);
    others.look(&world.stats, &|_| true).await.expect("looked");
    assert_eq!(world.counted(), (0, 2));
    world.clock.advance(HOLD);
    others.look(&world.stats, &|_| true).await.expect("looked");
    assert_eq!(world.counted(), (0, 4));
    others.look(&world.stats, &|_| true).await.expect("looked");
    assert_eq!(world.counted(), (1, 5), "{wrong}");
    assert_ne!(world.stats.audit_round_at.load(Ordering::Relaxed), 0);
    others.look(&world.stats, &|_| true).await.expect("looked");
    assert_eq!(world.counted(), (1, 7), "from the beginning");
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_meanwhile_is_not_wrong() {
    let world = World::new().await;
    let id = world.accepted().await;
    let before = world.store.execution_get(TENANT, id).await.expect("read").expect("there");
    world.end(id, Status::Cancelled).await;
    let after = world.store.load(&[id], 0, JOURNAL_PAGE).await.expect("read").remove(0);
    let mut report = Report::default();
    world.auditor().execution(&before, after.clone(), &mut report).await.expect("looked");
    assert_eq!(report.findings, []);
    // It went after its row was read.
    world.store.forget(&[id]).await.expect("gone");
    world.auditor().execution(&before, after, &mut report).await.expect("looked");
    assert_eq!(report.findings, []);
}
