//! A trigger on a broker that does as it is told.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use serde_json::{Map, json};
use shared::{
    component::{Catalogue, Descriptor, Effect, Family, Field, OwnPorts, Runs, control},
    ids::{TenantId, WorkflowId},
    port::{
        sources::{Folders, Seen, SeenFile, Streams},
        store::{DynStore, Page, Saved, WorkflowDraft},
    },
    time::ManualClock,
    workflow::{self, triggers::After},
};
use store::MemoryStore;
use tokio::sync::Notify;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
struct Held {
    waiting: VecDeque<Incoming>,
    out: Vec<Incoming>,
    answers: Vec<(String, Answer)>,
    /// The most that were out at once.
    most_out: usize,
    /// So many subscriptions are refused.
    refusals: usize,
    /// So many answers are lost with their subscription.
    losses: usize,
    listened: usize,
    holds: usize,
}

/// A broker that a test writes to and reads the answers of.
#[derive(Debug, Default)]
struct Broker {
    held: Mutex<Held>,
    changed: Notify,
}

impl Broker {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panicked")
    }

    fn send(&self, id: Option<&str>, body: &str) {
        self.lock().waiting.push_back(Incoming {
            tag: 0,
            id: id.map(ToOwned::to_owned),
            time: None,
            headers: Map::new(),
            body: body.as_bytes().to_vec(),
            flaw: None,
        });
        self.changed.notify_waiters();
    }

    /// Waits until the broker has heard so many answers.
    async fn answered(&self, count: usize) -> Vec<(String, Answer)> {
        self.until(|held| held.answers.len() >= count).await;
        self.lock().answers.clone()
    }

    async fn until(&self, is: impl Fn(&Held) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if is(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never so: {:?}", self.lock()));
    }
}

#[derive(Debug)]
struct Outside(Arc<Broker>);

#[async_trait]
impl Streams for Outside {
    async fn listen(&self, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
        assert_eq!((what.connector.as_str(), what.queue.as_str(), what.prefetch), ("shop", "orders", 3));
        let mut held = self.0.lock();
        held.listened += 1;
        if held.refusals > 0 {
            held.refusals -= 1;
            drop(held);
            self.0.changed.notify_waiters();
            return Err(SourceError("connection refused".to_owned()));
        }
        drop(held);
        self.0.changed.notify_waiters();
        Ok(Box::new(Ear { broker: Arc::clone(&self.0), prefetch: what.prefetch.into(), tags: 0 }))
    }
}

struct Ear {
    broker: Arc<Broker>,
    prefetch: usize,
    tags: u64,
}

#[async_trait]
impl Listener for Ear {
    async fn receive(&mut self, most: usize) -> Result<Vec<Incoming>, SourceError> {
        let (prefetch, broker) = (self.prefetch, Arc::clone(&self.broker));
        broker.until(|held| !held.waiting.is_empty() && held.out.len() < prefetch).await;
        let mut held = broker.lock();
        let mut given = Vec::new();
        while given.len() < most
            && held.out.len() < prefetch
            && let Some(mut message) = held.waiting.pop_front()
        {
            self.tags += 1;
            message.tag = self.tags;
            held.out.push(message.clone());
            given.push(message);
        }
        held.most_out = held.most_out.max(held.out.len());
        Ok(given)
    }

    async fn answer(&mut self, answers: &[(u64, Answer)]) -> Result<(), SourceError> {
        let mut held = self.broker.lock();
        if !answers.is_empty() && held.losses > 0 {
            held.losses -= 1;
            return Err(SourceError("the connection was lost".to_owned()));
        }
        for (tag, answer) in answers {
            let at = held.out.iter().position(|one| one.tag == *tag).expect("it is out");
            let message = held.out.remove(at);
            held.answers.push((message.id.unwrap_or_default(), *answer));
        }
        drop(held);
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), SourceError> {
        self.broker.lock().holds += 1;
        self.broker.changed.notify_waiters();
        Ok(())
    }

    async fn close(self: Box<Self>) {
        let mut held = self.broker.lock();
        let back: Vec<Incoming> = held.out.drain(..).collect();
        held.waiting.extend(back);
        drop(held);
        self.broker.changed.notify_waiters();
    }
}

#[derive(Debug)]
struct NoFolders;

#[async_trait]
impl Folders for NoFolders {
    async fn look(&self, _: &str, _: &str, _: &globset::GlobMatcher) -> Result<Seen, SourceError> {
        Ok(Seen::default())
    }

    async fn check(&self, _: &str, _: &SeenFile) -> Result<(), SourceError> {
        Ok(())
    }

    async fn put_away(&self, _: &str, _: &SeenFile, _: After) -> Result<(), SourceError> {
        Ok(())
    }
}

fn catalogue() -> Catalogue {
    Catalogue::new(&[Descriptor {
        kind: "noop",
        aliases: &[],
        family: Family::Basic,
        runs: Runs::Coordinator,
        summary: "",
        schema: || schemars::schema_for!(control::Noop).to_value(),
        example: || json!({}),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Pure,
        field: |_, _| Field::Template,
        check: |_| Vec::new(),
        build: None,
    }])
}

struct Place {
    memory: Arc<MemoryStore>,
    store: DynStore,
    clock: Arc<ManualClock>,
    broker: Arc<Broker>,
    row: TriggerRow,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Place {
    /// A trigger that is listened for.
    async fn new(broker: Broker, fields: &str, config: &str) -> Self {
        let document = format!(
            "workflow: v1\nname: t\nparameters:\n  n: {{ type: integer, required: true }}\ntriggers:\n  a:\n    type: queue\n    \
             parameters: {{ n: \"${{{{ event.body.n }}}}\" }}\n{fields}    config: {{ connector: shop, queue: orders, prefetch: 3{config} }}\n\
             components:\n  a: {{ type: noop }}\n"
        );
        let read = workflow::read(&document, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_000_000_000_000_000)));
        let memory = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
        let store: DynStore = Arc::clone(&memory) as _;
        let id = WorkflowId::generate();
        let draft = WorkflowDraft {
            id,
            tenant: TenantId::DEFAULT,
            name: "t".to_owned(),
            description: String::new(),
            category: String::new(),
            tags: Vec::new(),
            document,
            hash: "h".to_owned(),
            snapshot: read.canonical,
            triggers: read.workflow.trigger_drafts(id, clock.now()),
            publishes: None,
            principal: "someone".to_owned(),
            at: clock.now(),
        };
        let saved = store.workflow_create(draft).await.expect("created");
        assert!(matches!(saved, Saved::Created(_)), "{saved:?}");
        let row = store.triggers_active("queue_trigger").await.expect("read").remove(0);
        let broker = Arc::new(broker);
        let ports = Ports {
            store: Arc::clone(&store),
            queue: Arc::new(queue::in_process::InProcessQueue::new()),
            progress: Arc::new(progress::in_process::InProcessProgress::new()),
            catalogue: catalogue(),
            folders: Arc::new(NoFolders),
            streams: Arc::new(Outside(Arc::clone(&broker))),
            archive: None,
        };
        let consumer = Consumer {
            quota: 1_000,
            ports,
            clock: Arc::clone(&clock) as _,
            row: row.clone(),
            state: State::default(),
        };
        let stop = CancellationToken::new();
        let task = spawn(consumer.run(stop.clone()));
        Self { memory, store, clock, broker, row, stop, task }
    }

    async fn receipts(&self, outcome: &str) -> Vec<Receipt> {
        let page = Page { limit: 500, ..Page::default() };
        let (tenant, outcome) = (TenantId::DEFAULT, Some(outcome.to_owned()));
        self.store.receipt_list(tenant, self.row.id, outcome, page).await.expect("read").items
    }

    /// Waits until the trigger shows this, and gives since when.
    async fn shows(&self, part: Option<&str>) -> Option<Timestamp> {
        let wait = async {
            loop {
                let row = self.store.trigger_get(TenantId::DEFAULT, self.row.id).await;
                if let Ok(Some(row)) = row
                    && match (part, &row.trouble) {
                        (Some(part), Some(trouble)) => trouble.contains(part),
                        (part, trouble) => part.is_none() && trouble.is_none(),
                    }
                {
                    return row.trouble_since;
                }
                // The clock of these tests moves by itself while all wait.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("never shown: {part:?}"))
    }

    async fn ends(self) {
        self.stop.cancel();
        self.task.await.expect("it ended by itself");
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_starts_once_and_is_then_acknowledged() {
    let broker = Broker::default();
    for index in 0..20 {
        broker.send(Some(&format!("m{index}")), &format!("{{\"n\": {index}}}"));
    }
    let place = Place::new(broker, "", "").await;
    let answers = place.broker.answered(20).await;
    assert!(answers.iter().all(|(_, answer)| *answer == Answer::Done));
    assert_eq!(place.receipts("started").await.len(), 20);
    assert_eq!(place.broker.lock().most_out, 3, "no more than the prefetch");
    // The same once more, long after.
    place.broker.send(Some("m7"), "{\"n\": 7}");
    place.broker.answered(21).await;
    assert_eq!(place.receipts("started").await.len(), 20);
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_is_lost_starts_nothing_twice() {
    let broker = Broker::default();
    broker.lock().losses = 2;
    broker.send(Some("m1"), "{\"n\": 1}");
    let place = Place::new(broker, "", "").await;
    assert_eq!(place.broker.answered(1).await, [("m1".to_owned(), Answer::Done)]);
    assert_eq!(place.broker.lock().listened, 3);
    assert_eq!(place.receipts("started").await.len(), 1);
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nothing_tells_apart_says_so() {
    let broker = Broker::default();
    broker.lock().losses = 1;
    broker.send(None, "{\"n\": 1}");
    let place = Place::new(broker, "", "").await;
    place.broker.answered(1).await;
    let receipts = place.receipts("started").await;
    assert_eq!(receipts.len(), 2, "at least once");
    for receipt in receipts {
        assert!(receipt.key.is_none());
        assert!(receipt.error.is_some_and(|said| said.starts_with("at least once")));
    }
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_authors_key_tells_messages_apart() {
    let broker = Broker::default();
    for id in [None, None, Some("other")] {
        broker.send(id, "{\"n\": 5}");
    }
    let place = Place::new(broker, "    dedupe_key: \"order ${{ event.body.n }}\"\n", "").await;
    place.broker.answered(3).await;
    let receipts = place.receipts("started").await;
    assert_eq!(receipts.len(), 1);
    assert_eq!((receipts[0].key.as_deref(), &receipts[0].error), (Some("order 5"), &None));
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_parked_with_its_bytes() {
    let broker = Broker::default();
    broker.send(Some("torn"), "{");
    broker.send(Some("wrong"), "{\"n\": \"many\"}");
    broker.send(Some("good"), "{\"n\": 1}");
    let place = Place::new(broker, "", "").await;
    let answers = place.broker.answered(3).await;
    assert!(answers.iter().all(|(_, answer)| *answer == Answer::Done));
    assert_eq!(place.receipts("started").await.len(), 1);
    let parked = place.receipts("parked").await;
    assert_eq!(parked.len(), 2);
    for receipt in parked {
        let whole =
            place.store.receipt_get(TenantId::DEFAULT, receipt.id).await.expect("read").expect("there");
        let event = whole.event.expect("an event");
        match event["id"].as_str() {
            Some("torn") => {
                assert_eq!(whole.bytes.as_deref(), Some(b"{".as_slice()));
                assert!(whole.error.is_some_and(|why| why.contains("not JSON")));
            }
            Some("wrong") => assert_eq!(event["body"]["n"], "many"),
            other => panic!("{other:?}"),
        }
    }
    place.broker.send(Some("torn"), "{");
    place.broker.answered(4).await;
    assert_eq!(place.receipts("parked").await.len(), 2, "parked once");
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_is_refused_and_may_come_again() {
    let broker = Broker::default();
    for (id, body) in [("torn", "{"), ("wrong", "{}"), ("good", "{\"n\": 1}")] {
        broker.send(Some(id), body);
    }
    let place = Place::new(broker, "", ", on_bad: reject").await;
    let mut answers = place.broker.answered(3).await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    let (done, rejected) = (Answer::Done, Answer::Rejected);
    let expected = [("good", done), ("torn", rejected), ("wrong", rejected)];
    assert_eq!(answers, expected.map(|(id, answer)| (id.to_owned(), answer)));
    let refused = place.receipts("refused").await;
    assert!(refused.len() == 2 && refused.iter().all(|one| one.key.is_none() && one.error.is_some()));
    // Mended, and sent again under its id.
    place.broker.send(Some("torn"), "{\"n\": 2}");
    place.broker.answered(4).await;
    assert_eq!(place.receipts("started").await.len(), 2);
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn above_its_rate_messages_wait_unacknowledged() {
    let broker = Broker::default();
    for index in 0..3 {
        broker.send(Some(&format!("m{index}")), "{\"n\": 1}");
    }
    let place = Place::new(broker, "    max_per_hour: 2\n", "").await;
    assert_eq!(place.broker.answered(2).await.len(), 2);
    assert!(place.shows(Some("held back: it starts at most 2 executions an hour")).await.is_some());
    place.broker.until(|held| held.holds > 1).await;
    assert_eq!(place.broker.lock().out.len(), 1);
    place.clock.advance(HOUR + Duration::from_secs(1));
    place.broker.answered(3).await;
    assert_eq!(place.receipts("started").await.len(), 3);
    assert_eq!(place.shows(None).await, None);
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_shown_until_it_is_back() {
    let broker = Broker::default();
    broker.lock().refusals = 4;
    let place = Place::new(broker, "", "").await;
    let since = place.shows(Some("connection refused")).await;
    assert_eq!(since, Some(place.clock.now()));
    place.clock.advance(HOUR);
    place.broker.until(|held| held.listened >= 4).await;
    assert_eq!(place.shows(Some("connection refused")).await, since, "since it began");
    assert_eq!(place.shows(None).await, None);
    place.broker.send(Some("m1"), "{\"n\": 1}");
    place.broker.answered(1).await;
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_nothing_is_acknowledged_and_nothing_lost() {
    let place = Place::new(Broker::default(), "", "").await;
    place.broker.until(|held| held.listened == 1).await;
    place.memory.fail(Some(|| StoreError::Unavailable("away".into())));
    place.broker.send(Some("m1"), "{\"n\": 1}");
    place.broker.until(|held| held.holds > 2).await;
    assert!(place.broker.lock().answers.is_empty());
    place.memory.fail(None);
    place.broker.answered(1).await;
    assert_eq!(place.receipts("started").await.len(), 1);
    place.shows(None).await;
    place.ends().await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_back_what_is_held() {
    let broker = Broker::default();
    broker.send(Some("m1"), "{\"n\": 1}");
    broker.send(Some("m2"), "{\"n\": 1}");
    let place = Place::new(broker, "    max_per_hour: 1\n", "").await;
    place.broker.answered(1).await;
    let broker = Arc::clone(&place.broker);
    broker.until(|held| held.holds > 0).await;
    place.ends().await;
    let held = broker.lock();
    assert_eq!((held.out.len(), held.waiting.len()), (0, 1));
}
