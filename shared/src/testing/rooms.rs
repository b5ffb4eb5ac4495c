//! The promises of [`crate::port::rooms`].
//!
//! `rooms_conformance!(make)` makes a test of each, where `make()` gives, in time, a `DynRooms`.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};

use crate::{
    ids::WorkflowId,
    port::rooms::{DynRooms, RoomEvent, RoomNews},
};

/// How long anything awaited may take.
const SOON: Duration = Duration::from_secs(20);

/// Makes a test of each promise: `rooms_conformance!(make)`.
#[macro_export]
macro_rules! rooms_conformance {
    ($make:expr) => {
        $crate::rooms_conformance!(
            $make;
            a_listener_hears_news_as_they_were_told,
            a_listener_hears_only_of_its_document,
            every_listener_hears_everything,
            telling_nobody_does_nothing,
            a_document_can_be_listened_to_again
        );
    };
    ($make:expr; $($promise:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::testing::rooms::$promise($make().await).await;
            }
        )+
    };
}

fn update(number: u64) -> RoomNews {
    RoomNews { from: u64::MAX, what: RoomEvent::Update { number, body: [0, 255, 1].into() } }
}

async fn next(news: &mut BoxStream<'static, RoomNews>) -> RoomNews {
    tokio::time::timeout(SOON, news.next()).await.expect("news come soon").expect("it is not lost")
}

async fn listen(rooms: &DynRooms, workflow: WorkflowId) -> BoxStream<'static, RoomNews> {
    rooms.listen(workflow).await.expect("it can be listened to")
}

pub async fn a_listener_hears_news_as_they_were_told(rooms: DynRooms) {
    let workflow = WorkflowId::generate();
    let mut news = listen(&rooms, workflow).await;
    let told = [
        update(1),
        RoomNews { from: 0, what: RoomEvent::Opened },
        RoomNews { from: 7, what: RoomEvent::People([1, 0, 2].into()) },
        RoomNews { from: 7, what: RoomEvent::People([].into()) },
        update(u64::MAX),
    ];
    for each in &told {
        rooms.tell(workflow, each.clone());
    }
    for each in told {
        assert_eq!(next(&mut news).await, each);
    }
}

pub async fn a_listener_hears_only_of_its_document(rooms: DynRooms) {
    let (mine, other) = (WorkflowId::generate(), WorkflowId::generate());
    let mut news = listen(&rooms, mine).await;
    let _other = listen(&rooms, other).await;
    rooms.tell(other, update(1));
    rooms.tell(mine, update(2));
    assert_eq!(next(&mut news).await, update(2));
}

pub async fn every_listener_hears_everything(rooms: DynRooms) {
    let workflow = WorkflowId::generate();
    let mut one = listen(&rooms, workflow).await;
    let mut two = listen(&rooms, workflow).await;
    rooms.tell(workflow, update(1));
    assert_eq!(next(&mut one).await, update(1));
    assert_eq!(next(&mut two).await, update(1));
    drop(one);
    rooms.tell(workflow, update(2));
    assert_eq!(next(&mut two).await, update(2));
}

pub async fn telling_nobody_does_nothing(rooms: DynRooms) {
    let workflow = WorkflowId::generate();
    rooms.tell(WorkflowId::generate(), update(1));
    let mut news = listen(&rooms, workflow).await;
    rooms.tell(workflow, update(2));
    assert_eq!(next(&mut news).await, update(2));
}

pub async fn a_document_can_be_listened_to_again(rooms: DynRooms) {
    let workflow = WorkflowId::generate();
    drop(listen(&rooms, workflow).await);
    drop(listen(&rooms, WorkflowId::generate()).await);
    let mut news = listen(&rooms, workflow).await;
    rooms.tell(workflow, update(1));
    assert_eq!(next(&mut news).await, update(1));
}
