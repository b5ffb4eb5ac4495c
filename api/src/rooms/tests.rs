//! Rooms without sockets: clients are documents that sit in them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use progress::rooms::InProcessRooms;
use shared::{
    ids::{TenantId, WorkflowId},
    port::{
        documents::Documents,
        rooms::{DynRooms, RoomNews, Rooms, RoomsError},
        store::{Library, Saved, StoreError, WorkflowDraft},
    },
    time::{SystemClock, Timestamp},
};
use store::MemoryStore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use yrs::{
    Doc, Map, ReadTxn, Transact, Update, WriteTxn,
    block::ClientID,
    sync::{AwarenessUpdate, Message, SyncMessage, awareness::AwarenessUpdateEntry},
    updates::{decoder::Decode, encoder::Encode},
};

use super::{Ending, Hall, Joined, Limits, Said, Seat};
use crate::{
    caller::{Caller, Permission},
    problem::Code,
};

const TENANT: TenantId = TenantId::DEFAULT;
const LINE: u32 = 7;
const SOON: Duration = Duration::from_secs(20);

/// What rooms stand on, and a workflow.
struct World {
    store: Arc<MemoryStore>,
    rooms: DynRooms,
    workflow: WorkflowId,
    limits: Limits,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let workflow = WorkflowId::generate();
        let draft = WorkflowDraft {
            id: workflow,
            tenant: TENANT,
            name: "w".to_owned(),
            description: String::new(),
            category: String::new(),
            tags: Vec::new(),
            hash: "h".to_owned(),
            snapshot: "{}".to_owned(),
            document: "{}".to_owned(),
            publishes: None,
            triggers: Vec::new(),
            principal: "someone".to_owned(),
            at: Timestamp::from_micros(1_700_000_000_000_000),
        };
        assert!(matches!(store.workflow_create(draft).await.expect("created"), Saved::Created(_)));
        // Nothing here waits for what is done every few seconds.
        let limits = Limits { reread: Duration::from_hours(1), ..Limits::default() };
        Self { store, rooms: Arc::new(InProcessRooms::new()), workflow, limits }
    }

    fn hall(&self) -> (Hall, CancellationToken) {
        let shutdown = CancellationToken::new();
        (Hall::new(self.store.clone(), Arc::clone(&self.rooms), self.limits, shutdown.clone()), shutdown)
    }

    async fn rows(&self) -> (bool, usize) {
        let part = self.store.document_read(TENANT, self.workflow, 0).await.expect("read").expect("there");
        (part.snapshot.is_some(), part.updates.len())
    }

    async fn client(&self, hall: &Hall, id: u64) -> Client {
        self.client_as(hall, id, &someone(id)).await
    }

    async fn client_as(&self, hall: &Hall, id: u64, caller: &Caller) -> Client {
        let mut client = Client { doc: Doc::with_client_id(id), id, clock: 0, seat: None };
        client.join(self, hall, caller).await;
        client
    }
}

fn someone(id: u64) -> Caller {
    Caller { principal: format!("person {id}").into(), ..Caller::owner() }
}

fn viewer() -> Caller {
    Caller { permissions: [Permission::Read].into(), ..someone(0) }
}

struct Client {
    doc: Doc,
    id: u64,
    clock: u32,
    seat: Option<Seat>,
}

impl Client {
    async fn join(&mut self, world: &World, hall: &Hall, caller: &Caller) {
        match hall.join(caller, world.workflow, LINE).await.expect("let in") {
            Joined::Seat(seat) => self.seat = Some(seat),
            Joined::Not(ending) => panic!("{ending:?}"),
        }
        let vector = self.doc.transact().state_vector();
        self.say(Message::Sync(SyncMessage::SyncStep1(vector))).await;
    }

    fn seat(&mut self) -> &mut Seat {
        self.seat.as_mut().expect("joined")
    }

    async fn say(&mut self, message: Message) {
        let seat = self.seat();
        let said = Said::Frame(seat.number, message.encode_v1().into());
        assert!(seat.room.send(said).await.is_ok());
    }

    /// Writes offline, and answers what others have to be told.
    fn write(&self, name: &str, value: &str) -> Vec<u8> {
        let before = self.doc.transact().state_vector();
        let mut transaction = self.doc.transact_mut();
        transaction.get_or_insert_map("registers").insert(&mut transaction, name, value);
        drop(transaction);
        self.doc.transact().encode_diff_v1(&before)
    }

    async fn draw(&mut self, name: &str, value: &str) {
        let update = self.write(name, value);
        self.say(Message::Sync(SyncMessage::Update(update))).await;
    }

    async fn point(&mut self, at: &str) {
        self.clock += 1;
        let entry = AwarenessUpdateEntry { clock: self.clock, json: at.into() };
        let clients = [(ClientID::new(self.id), entry)].into();
        self.say(Message::Awareness(AwarenessUpdate { clients })).await;
    }

    /// Takes one message, answers it as clients do, and gives it.
    async fn hear(&mut self) -> Message {
        let frame = timeout(SOON, self.seat().outbox.recv()).await.expect("soon").expect("the room is open");
        self.seat().waiting.fetch_sub(frame.len(), std::sync::atomic::Ordering::AcqRel);
        let message = Message::decode_v1(&frame).expect("a message");
        match &message {
            Message::Sync(SyncMessage::SyncStep1(vector)) => {
                let answer = self.doc.transact().encode_state_as_update_v1(vector);
                self.say(Message::Sync(SyncMessage::SyncStep2(answer))).await;
            }
            Message::Sync(SyncMessage::SyncStep2(update) | SyncMessage::Update(update)) => {
                let update = Update::decode_v1(update).expect("an update");
                self.doc.transact_mut().apply_update(update).expect("applied");
            }
            _ => {}
        }
        message
    }

    fn get(&self, name: &str) -> Option<String> {
        let transaction = self.doc.transact();
        let value = transaction.get_map("registers")?.get(&transaction, name)?;
        Some(value.to_string(&transaction))
    }

    async fn until(&mut self, name: &str, value: &str) {
        while self.get(name).as_deref() != Some(value) {
            self.hear().await;
        }
    }

    /// Until somebody is said to be there like this.
    async fn sees(&mut self, id: u64, json: &str) {
        loop {
            if let Message::Awareness(people) = self.hear().await
                && people.clients.get(&ClientID::new(id)).is_some_and(|entry| &*entry.json == json)
            {
                return;
            }
        }
    }

    async fn ended(&mut self) -> Ending {
        timeout(SOON, &mut self.seat().end).await.expect("soon").expect("with a reason")
    }
}

#[tokio::test]
async fn two_who_draw_have_one_document_and_see_each_other() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let (mut one, mut two) = (world.client(&hall, 1).await, world.client(&hall, 2).await);
    one.draw("a", "1").await;
    two.draw("b", "2").await;
    one.until("b", "2").await;
    two.until("a", "1").await;
    one.point("{\"at\":1}").await;
    two.sees(1, "{\"at\":1}").await;
    one.sees(1, "{\"at\":1}").await;
    let mut three = world.client(&hall, 3).await;
    three.sees(1, "{\"at\":1}").await;
    three.until("a", "1").await;
    three.until("b", "2").await;
    drop(one.seat.take());
    two.sees(1, "null").await;
}

#[tokio::test]
async fn what_was_drawn_alone_is_merged() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    one.draw("a", "1").await;
    let mut two = world.client(&hall, 2).await;
    two.until("a", "1").await;
    drop(two.seat.take());
    two.write("b", "offline");
    one.draw("c", "meanwhile").await;
    two.join(&world, &hall, &someone(2)).await;
    two.until("c", "meanwhile").await;
    one.until("b", "offline").await;
}

#[tokio::test]
async fn a_viewer_sees_and_is_seen_and_changes_nothing() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    one.draw("a", "1").await;
    let mut two = world.client_as(&hall, 2, &viewer()).await;
    two.until("a", "1").await;
    two.point("{}").await;
    one.sees(2, "{}").await;
    two.draw("a", "mine").await;
    assert_eq!(two.ended().await, Ending::MAY_NOT_EDIT);
    one.sees(2, "null").await;
    assert_eq!(one.get("a").as_deref(), Some("1"));
    assert_eq!(world.rows().await, (false, 1));
    let nobody = Caller { permissions: [].into(), ..someone(3) };
    let refused = hall.join(&nobody, world.workflow, LINE).await.err().expect("refused");
    assert_eq!(refused.code, Code::Forbidden);
}

#[tokio::test]
async fn a_slow_reader_leaves_and_joins_again() {
    let mut world = World::new().await;
    world.limits.queue = 8;
    let (hall, _shutdown) = world.hall();
    let (mut one, mut slow) = (world.client(&hall, 1).await, world.client(&hall, 2).await);
    for number in 0..20 {
        one.draw("n", &number.to_string()).await;
        // What one says is echoed only to others; this waits until the room has heard it.
        one.point(&number.to_string()).await;
        one.sees(1, &number.to_string()).await;
    }
    assert_eq!(slow.ended().await, Ending::SLOW);
    slow.join(&world, &hall, &someone(2)).await;
    slow.until("n", "19").await;
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    let mut world = World::new().await;
    world.limits.queue_bytes = 10_000;
    let (hall, _shutdown) = world.hall();
    let (mut one, mut slow) = (world.client(&hall, 1).await, world.client(&hall, 2).await);
    for number in 0..4 {
        one.draw(&number.to_string(), &"x".repeat(6_000)).await;
    }
    assert_eq!(slow.ended().await, Ending::SLOW);
    drop(one);
}

#[tokio::test]
async fn a_document_survives_its_server() {
    let mut world = World::new().await;
    world.limits.updates = 3;
    let (hall, shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    let mut two = world.client(&hall, 2).await;
    for number in 0..5 {
        one.draw("n", &number.to_string()).await;
        two.until("n", &number.to_string()).await;
    }
    assert!(world.rows().await.0, "many updates have become a snapshot");
    shutdown.cancel();
    assert_eq!(one.ended().await, Ending::RESTART);
    assert_eq!(two.ended().await, Ending::RESTART);
    timeout(SOON, hall.ended()).await.expect("the room ends");
    assert_eq!(world.rows().await, (true, 0), "and the rest with it");
    let (next, _shutdown) = world.hall();
    let mut three = world.client(&next, 3).await;
    three.until("n", "4").await;
}

#[tokio::test(start_paused = true)]
async fn a_room_ends_when_nobody_is_in_it() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    one.draw("a", "1").await;
    let mut two = world.client(&hall, 2).await;
    two.until("a", "1").await;
    assert_eq!(world.rows().await, (false, 1));
    drop((one, two));
    hall.inner.tasks.close();
    timeout(world.limits.empty * 2, hall.inner.tasks.wait()).await.expect("it ends by itself");
    assert!(hall.inner.open.lock().expect("nobody panicked").is_empty());
    assert_eq!(world.rows().await, (true, 0));
    let mut three = world.client(&hall, 3).await;
    three.until("a", "1").await;
}

#[tokio::test(start_paused = true)]
async fn one_who_is_alone_and_idle_is_told_something() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    one.draw("a", "1").await;
    // Its own first step is asked, and the other answered.
    while !matches!(one.hear().await, Message::Sync(SyncMessage::SyncStep2(_))) {}
    for _ in 0..5 {
        let told = timeout(Duration::from_secs(15), one.hear()).await.expect("told in time");
        assert!(matches!(told, Message::Awareness(people) if people.clients.is_empty()));
    }
}

#[tokio::test]
async fn rooms_of_two_processes_are_one() {
    let world = World::new().await;
    let ((here, _a), (there, _b)) = (world.hall(), world.hall());
    let mut one = world.client(&here, 1).await;
    one.point("{\"at\":1}").await;
    one.sees(1, "{\"at\":1}").await;
    let mut two = world.client(&there, 2).await;
    two.sees(1, "{\"at\":1}").await;
    one.draw("a", "1").await;
    two.until("a", "1").await;
    for number in 0..10 {
        one.draw("n", &number.to_string()).await;
        two.draw("m", &number.to_string()).await;
    }
    one.until("m", "9").await;
    two.until("n", "9").await;
    let part = world.store.document_read(TENANT, world.workflow, 0).await.expect("read").expect("there");
    assert_eq!(part.last, 21, "each is kept once");
    drop(two.seat.take());
    two.join(&world, &here, &someone(2)).await;
    two.point("{}").await;
    one.sees(2, "{}").await;
    drop(one.seat.take());
    two.sees(1, "null").await;
}

/// Carries nothing.
struct Broken;

#[async_trait]
impl Rooms for Broken {
    fn tell(&self, _: WorkflowId, _: RoomNews) {}

    async fn listen(&self, _: WorkflowId) -> Result<BoxStream<'static, RoomNews>, RoomsError> {
        Ok(futures::stream::pending().boxed())
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_were_not_told_is_read() {
    let mut world = World::new().await;
    world.rooms = Arc::new(Broken);
    world.limits.reread = Duration::from_secs(5);
    let ((here, _a), (there, _b)) = (world.hall(), world.hall());
    let (mut one, mut two) = (world.client(&here, 1).await, world.client(&there, 2).await);
    one.draw("a", "1").await;
    two.draw("b", "2").await;
    two.until("a", "1").await;
    one.until("b", "2").await;
    // One of both puts a snapshot in the place of what the other has not read yet.
    for number in 0..250 {
        one.draw("n", &number.to_string()).await;
    }
    two.until("n", "249").await;
}

#[tokio::test]
async fn only_so_many_come_in() {
    let mut world = World::new().await;
    (world.limits.connections, world.limits.of_one) = (3, 2);
    let (hall, _shutdown) = world.hall();
    let _one = world.client(&hall, 1).await;
    let mut again = world.client(&hall, 1).await;
    let refused = hall.join(&someone(1), world.workflow, LINE).await.err().expect("too many of one");
    assert_eq!(refused.code, Code::RateLimited);
    let _two = world.client(&hall, 2).await;
    let refused = hall.join(&someone(3), world.workflow, LINE).await.err().expect("too many");
    assert_eq!(refused.code, Code::RateLimited);
    drop(again.seat.take());
    world.client(&hall, 3).await;
}

#[tokio::test]
async fn the_first_to_come_says_where_a_document_begins() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let _one = world.client(&hall, 1).await;
    match hall.join(&someone(2), world.workflow, 8).await.expect("answered") {
        Joined::Not(ending) => assert_eq!((ending.code, &*ending.reason), (4409, "7")),
        Joined::Seat(_) => panic!("two beginnings in one document"),
    }
}

#[tokio::test]
async fn a_room_ends_with_its_workflow() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    world.store.workflow_delete(TENANT, world.workflow).await.expect("archived");
    one.draw("a", "1").await;
    assert_eq!(one.ended().await, Ending::GONE);
    let refused = hall.join(&someone(1), world.workflow, LINE).await.err().expect("refused");
    assert_eq!(refused.code, Code::NotFound);
}

#[tokio::test]
async fn what_cannot_be_kept_is_shown_to_nobody_and_told_again() {
    let world = World::new().await;
    let (hall, _shutdown) = world.hall();
    let (mut one, mut two) = (world.client(&hall, 1).await, world.client(&hall, 2).await);
    one.draw("a", "1").await;
    two.until("a", "1").await;
    world.store.fail(Some(|| StoreError::Unavailable("away".into())));
    one.draw("a", "2").await;
    assert_eq!(one.ended().await, Ending::NOT_KEPT);
    assert_eq!(two.ended().await, Ending::NOT_KEPT);
    let refused = hall.join(&someone(1), world.workflow, LINE).await.err().expect("refused");
    assert_eq!(refused.code, Code::StoreUnavailable);
    world.store.fail(None);
    two.join(&world, &hall, &someone(2)).await;
    while !matches!(two.hear().await, Message::Sync(SyncMessage::SyncStep2(_))) {}
    assert_eq!(two.get("a").as_deref(), Some("1"));
    one.join(&world, &hall, &someone(1)).await;
    while one.hear().await != Message::Sync(SyncMessage::SyncStep1(two.doc.transact().state_vector())) {}
    two.until("a", "2").await;
}

#[tokio::test]
async fn what_is_no_message_ends_a_connection_alone() {
    let mut world = World::new().await;
    world.limits.document = 1_000;
    let (hall, _shutdown) = world.hall();
    let mut one = world.client(&hall, 1).await;
    for garbage in [&[9, 9, 9][..], &[0, 2, 3, 1, 1], &[0, 7]] {
        let mut bad = world.client(&hall, 2).await;
        let seat = bad.seat();
        let said = Said::Frame(seat.number, garbage.to_vec().into());
        assert!(seat.room.send(said).await.is_ok());
        assert_eq!(bad.ended().await, Ending::MALFORMED, "{garbage:?}");
    }
    let mut large = world.client(&hall, 2).await;
    large.draw("a", &"x".repeat(2_000)).await;
    assert_eq!(large.ended().await, Ending::FULL);
    one.draw("a", "1").await;
    one.point("{}").await;
    one.sees(1, "{}").await;
    assert_eq!(world.rows().await, (false, 1));
}
