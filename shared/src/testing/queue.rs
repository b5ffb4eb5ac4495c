//! The promises of [`crate::port::queue`].
//!
//! Each function is one promise. `queue_conformance!(make)` makes a test of each, where
//! `make()` gives, in time, a `Subject`: a queue that nobody else uses.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    execution::Iteration,
    ids::{ComponentId, ExecutionId, MessageId, Shard, TenantId, Token, WorkerId},
    port::queue::{Audience, Delivery, DynQueue, Inbox, QueueError, Subscription, Tasks, line},
    wire::{Control, InboxBody, InboxMessage, Task},
    workflow::Priority,
};

/// A queue under test, and the pool that its tests use.
pub struct Subject {
    pub queue: DynQueue,
    pub pool: Arc<str>,
}

/// How long anything awaited may take.
const SOON: Duration = Duration::from_secs(20);
/// How long nothing happens before we believe that nothing will.
const QUIET: Duration = Duration::from_millis(300);

/// Makes a test of each promise: `queue_conformance!(make)`.
#[macro_export]
macro_rules! queue_conformance {
    ($make:expr) => {
        $crate::queue_conformance!(
            $make;
            delivers_a_task_as_it_was_published,
            delivers_every_task_once_when_all_are_acknowledged,
            an_acknowledged_task_does_not_come_again,
            a_task_dropped_unanswered_comes_again_and_says_so,
            a_requeued_task_comes_again_and_says_so,
            hands_out_no_more_than_the_concurrency,
            a_task_handed_over_takes_room_until_it_ends,
            room_can_shrink_to_nothing_and_come_back,
            hands_out_high_before_normal_before_low,
            lets_no_priority_starve,
            two_workers_share_a_pool,
            after_a_stop_what_was_handed_out_can_be_answered,
            what_a_stopped_worker_did_not_take_goes_to_another,
            a_receive_given_up_loses_nothing,
            delivers_an_inbox_message_as_it_was_published,
            receives_what_has_arrived_and_no_more_than_asked_for,
            an_inbox_serves_nothing_before_it_is_told,
            an_inbox_message_dropped_unanswered_comes_again,
            a_message_answered_late_keeps_no_other_waiting,
            inbox_messages_published_together_come_each_for_itself,
            a_shard_moves_to_its_new_owner,
            a_shard_nobody_serves_is_taken_over,
            says_a_control_to_the_worker_meant,
            says_a_control_to_everyone,
            keeps_no_control_for_those_away,
            concurrent_publishes_all_arrive,
            tells_how_full_the_queues_are,
            a_task_goes_to_a_worker_with_its_tags,
            tasks_that_may_share_a_message_come_each_for_itself,
            answers_a_check
        );
    };
    ($make:expr; $($promise:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::testing::queue::$promise($make().await).await;
            }
        )+
    };
}

/// A task of a pool.
pub fn task(pool: &Arc<str>, priority: Priority, attempt: u32) -> Task {
    Task {
        tenant: TenantId::DEFAULT,
        execution: ExecutionId::generate(),
        component: ComponentId::new("fetch"),
        iteration: Iteration::default(),
        kind: "http".into(),
        attempt,
        dispatch: 1,
        config: json!({"url": "https://example.org/", "count": attempt, "none": null}),
        references: Vec::new(),
        timeout: Duration::from_secs(30),
        delivery: crate::workflow::Delivery::default(),
        lease_at_once: false,
        pool: Arc::clone(pool),
        tags: vec!["eu".into()],
        priority,
        reply_to: None,
        chain: None,
        may_share: false,
    }
}

/// A small message of a shard.
pub fn message(shard: Shard) -> InboxMessage {
    let execution = ExecutionId::generate();
    InboxMessage { id: MessageId::generate(), shard, body: InboxBody::Sweep { execution } }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(SOON, future).await;
    in_time.unwrap_or_else(|_| panic!("{what} did not happen within {SOON:?}"))
}

async fn quiet<T: std::fmt::Debug>(what: &str, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(QUIET, future).await {
        panic!("{what}, and yet came {value:?}");
    }
}

impl Subject {
    async fn tasks(&self, concurrency: u16) -> Box<dyn Tasks> {
        let worker = WorkerId::generate();
        let pool = Arc::clone(&self.pool);
        let subscription = Subscription { worker, pool, tags: vec!["eu".into(), "gpu".into()], concurrency };
        self.queue.tasks(subscription).await.expect("the queue gives tasks")
    }

    async fn publish(&self, priority: Priority, attempts: std::ops::Range<u32>) {
        let tasks = attempts.map(|attempt| task(&self.pool, priority, attempt)).collect();
        soon("a publish", self.queue.publish_tasks(tasks)).await.expect("the queue takes tasks");
    }

    async fn inbox(&self, first: &[Shard]) -> Box<dyn Inbox> {
        let mut inbox = self.queue.inbox().await.expect("the queue has an inbox");
        inbox.serve(first).await.expect("an inbox serves shards");
        inbox
    }

    async fn send(&self, messages: Vec<InboxMessage>) {
        soon("a publish", self.queue.publish_inbox(messages)).await.expect("the queue takes messages");
    }
}

async fn next(tasks: &mut Box<dyn Tasks>) -> Delivery<Task> {
    soon("a task", tasks.receive()).await.expect("the queue delivers")
}

/// Receives and acknowledges until `count` messages are there.
async fn gather(inbox: &mut Box<dyn Inbox>, count: usize) -> Vec<InboxMessage> {
    let mut found = Vec::new();
    while found.len() < count {
        for delivery in soon("a message", inbox.receive(100)).await.expect("the queue delivers") {
            delivery.answer.ack().await;
            found.push(delivery.message);
        }
    }
    found
}

pub async fn delivers_a_task_as_it_was_published(subject: Subject) {
    let sent = task(&subject.pool, Priority::Normal, 3);
    subject.queue.publish_tasks(vec![sent.clone()]).await.expect("the queue takes a task");
    let mut tasks = subject.tasks(1).await;
    let delivery = next(&mut tasks).await;
    assert_eq!(delivery.message, sent);
    assert!(!delivery.redelivered);
    delivery.answer.ack().await;
}

pub async fn delivers_every_task_once_when_all_are_acknowledged(subject: Subject) {
    subject.publish(Priority::Normal, 0..300).await;
    let mut tasks = subject.tasks(16).await;
    let mut seen = vec![0; 300];
    for _ in 0..300 {
        let delivery = next(&mut tasks).await;
        seen[delivery.message.attempt as usize] += 1;
        delivery.answer.ack().await;
    }
    assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
    quiet("all were delivered", tasks.receive()).await;
}

pub async fn an_acknowledged_task_does_not_come_again(subject: Subject) {
    subject.publish(Priority::Normal, 0..1).await;
    let mut tasks = subject.tasks(1).await;
    next(&mut tasks).await.answer.ack().await;
    drop(tasks);
    let mut others = subject.tasks(1).await;
    quiet("it was acknowledged", others.receive()).await;
}

pub async fn a_task_dropped_unanswered_comes_again_and_says_so(subject: Subject) {
    subject.publish(Priority::Normal, 7..8).await;
    let mut tasks = subject.tasks(1).await;
    drop(next(&mut tasks).await);
    let again = next(&mut tasks).await;
    assert_eq!((again.message.attempt, again.redelivered), (7, true));
    again.answer.ack().await;
}

pub async fn a_requeued_task_comes_again_and_says_so(subject: Subject) {
    subject.publish(Priority::Normal, 7..8).await;
    let mut tasks = subject.tasks(1).await;
    next(&mut tasks).await.answer.requeue().await;
    let again = next(&mut tasks).await;
    assert_eq!((again.message.attempt, again.redelivered), (7, true));
    again.answer.ack().await;
}

pub async fn hands_out_no_more_than_the_concurrency(subject: Subject) {
    for priority in Priority::ALL {
        subject.publish(priority, 0..5).await;
    }
    let mut tasks = subject.tasks(3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut tasks).await);
    }
    quiet("three of three are held", tasks.receive()).await;
    held.pop().expect("three are held").answer.ack().await;
    held.push(next(&mut tasks).await);
    quiet("three of three are held again", tasks.receive()).await;
}

pub async fn a_task_handed_over_takes_room_until_it_ends(subject: Subject) {
    subject.publish(Priority::Normal, 0..6).await;
    let mut tasks = subject.tasks(2).await;
    let long = next(&mut tasks).await;
    tasks.adjust(-1).await;
    long.answer.ack().await;
    let held = next(&mut tasks).await;
    quiet("one is held, one runs on", tasks.receive()).await;
    tasks.adjust(1).await;
    let also = next(&mut tasks).await;
    held.answer.ack().await;
    also.answer.ack().await;
}

pub async fn room_can_shrink_to_nothing_and_come_back(subject: Subject) {
    subject.publish(Priority::Normal, 0..3).await;
    let mut tasks = subject.tasks(1).await;
    let long = next(&mut tasks).await;
    tasks.adjust(-1).await;
    long.answer.ack().await;
    quiet("there is no room", tasks.receive()).await;
    tasks.adjust(1).await;
    for _ in 0..2 {
        next(&mut tasks).await.answer.ack().await;
    }
}

pub async fn hands_out_high_before_normal_before_low(subject: Subject) {
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        subject.publish(priority, 0..1).await;
    }
    let mut tasks = subject.tasks(1).await;
    let delivery = next(&mut tasks).await;
    assert_eq!(delivery.message.priority, Priority::High);
    delivery.answer.ack().await;
}

pub async fn lets_no_priority_starve(subject: Subject) {
    for priority in Priority::ALL {
        subject.publish(priority, 0..60).await;
    }
    let mut tasks = subject.tasks(4).await;
    let mut low = 0;
    for _ in 0..100 {
        let delivery = next(&mut tasks).await;
        low += u32::from(delivery.message.priority == Priority::Low);
        delivery.answer.ack().await;
    }
    assert!(low > 0, "a hundred tasks, and none of low priority");
}

pub async fn two_workers_share_a_pool(subject: Subject) {
    subject.publish(Priority::Normal, 0..40).await;
    let mut first = subject.tasks(2).await;
    let held = [next(&mut first).await, next(&mut first).await];
    let mut second = subject.tasks(2).await;
    for _ in 0..38 {
        next(&mut second).await.answer.ack().await;
    }
    for delivery in held {
        delivery.answer.ack().await;
    }
    quiet("all are done", first.receive()).await;
}

pub async fn after_a_stop_what_was_handed_out_can_be_answered(subject: Subject) {
    subject.publish(Priority::Normal, 0..1).await;
    let mut tasks = subject.tasks(1).await;
    let delivery = next(&mut tasks).await;
    tasks.stop().await;
    assert!(matches!(tasks.receive().await, Err(QueueError::Closed)));
    delivery.answer.ack().await;
    drop(tasks);
    let mut others = subject.tasks(1).await;
    quiet("it was acknowledged", others.receive()).await;
}

pub async fn what_a_stopped_worker_did_not_take_goes_to_another(subject: Subject) {
    subject.publish(Priority::Normal, 0..20).await;
    let mut first = subject.tasks(8).await;
    let held = next(&mut first).await;
    first.stop().await;
    let mut second = subject.tasks(8).await;
    for _ in 0..19 {
        next(&mut second).await.answer.ack().await;
    }
    held.answer.ack().await;
}

pub async fn a_receive_given_up_loses_nothing(subject: Subject) {
    let mut tasks = subject.tasks(4).await;
    let publish = subject.publish(Priority::Normal, 0..50);
    let receive = async {
        let mut count = 0;
        while count < 50 {
            if let Ok(delivery) = tokio::time::timeout(Duration::from_micros(50), tasks.receive()).await {
                delivery.expect("the queue delivers").answer.ack().await;
                count += 1;
            }
        }
    };
    soon("fifty tasks", futures::future::join(publish, receive)).await;
}

pub async fn delivers_an_inbox_message_as_it_was_published(subject: Subject) {
    let sent: Vec<InboxMessage> = Shard::all().map(message).collect();
    subject.send(sent.clone()).await;
    let mut inbox = subject.inbox(&Shard::all().collect::<Vec<_>>()).await;
    let mut found = gather(&mut inbox, sent.len()).await;
    found.sort_by_key(|message| message.shard);
    assert_eq!(found, sent);
}

pub async fn receives_what_has_arrived_and_no_more_than_asked_for(subject: Subject) {
    subject.send((0..50).map(|_| message(Shard(3))).collect()).await;
    let mut inbox = subject.inbox(&[Shard(3)]).await;
    let mut count = 0;
    while count < 50 {
        let found = soon("messages", inbox.receive(7)).await.expect("the queue delivers");
        assert!((1..=7).contains(&found.len()));
        count += found.len();
        for delivery in found {
            delivery.answer.ack().await;
        }
    }
}

pub async fn an_inbox_serves_nothing_before_it_is_told(subject: Subject) {
    subject.send(vec![message(Shard(0))]).await;
    let mut inbox = subject.queue.inbox().await.expect("the queue has an inbox");
    quiet("it serves nothing", inbox.receive(1)).await;
    inbox.serve(&[Shard(0)]).await.expect("an inbox serves shards");
    assert_eq!(gather(&mut inbox, 1).await.len(), 1);
}

pub async fn an_inbox_message_dropped_unanswered_comes_again(subject: Subject) {
    let sent = message(Shard(5));
    subject.send(vec![sent.clone()]).await;
    let mut inbox = subject.inbox(&[Shard(5)]).await;
    drop(soon("a message", inbox.receive(10)).await.expect("the queue delivers"));
    let again = soon("the message again", inbox.receive(10)).await.expect("the queue delivers");
    assert_eq!(again.len(), 1);
    for delivery in again {
        assert!(delivery.redelivered);
        assert_eq!(delivery.message, sent);
        delivery.answer.ack().await;
    }
}

pub async fn a_message_answered_late_keeps_no_other_waiting(subject: Subject) {
    for _ in 0..20 {
        subject.send(vec![message(Shard(1))]).await;
    }
    let mut inbox = subject.inbox(&[Shard(1)]).await;
    let mut slow = None;
    let mut count = 0;
    while count < 20 {
        for delivery in soon("messages", inbox.receive(20)).await.expect("the queue delivers") {
            count += 1;
            match slow {
                None => slow = Some(delivery),
                Some(_) => delivery.answer.ack().await,
            }
        }
    }
    let slow = slow.expect("twenty were delivered");
    let id = slow.message.id;
    drop(slow);
    let again = soon("the slow one again", inbox.receive(20)).await.expect("the queue delivers");
    assert_eq!(again.iter().map(|delivery| delivery.message.id).collect::<Vec<_>>(), [id]);
}

pub async fn inbox_messages_published_together_come_each_for_itself(subject: Subject) {
    let sent: Vec<InboxMessage> = (0..100).map(|number| message(Shard(number % 2))).collect();
    subject.send(sent.clone()).await;
    let mut inbox = subject.inbox(&[Shard(0), Shard(1)]).await;
    let mut found = Vec::new();
    while found.len() < sent.len() {
        found.extend(soon("messages", inbox.receive(7)).await.expect("the queue delivers"));
    }
    assert!(found.iter().all(|delivery| !delivery.redelivered));
    for shard in [Shard(0), Shard(1)] {
        let of = |message: &&InboxMessage| message.shard == shard;
        let received: Vec<_> = found.iter().map(|delivery| &delivery.message).filter(of).collect();
        assert_eq!(received, sent.iter().filter(of).collect::<Vec<_>>());
    }
    // What is given back comes again, with those that travelled with it at most.
    let given_back = found[50].message.id;
    for delivery in found {
        if delivery.message.id == given_back {
            delivery.answer.requeue().await;
        } else {
            delivery.answer.ack().await;
        }
    }
    let mut again = Vec::new();
    while !again.contains(&given_back) {
        for delivery in soon("the message again", inbox.receive(1)).await.expect("the queue delivers") {
            assert!(delivery.redelivered);
            again.push(delivery.message.id);
            delivery.answer.ack().await;
        }
    }
    assert!(again.len() <= 16, "{again:?}");
}

pub async fn a_shard_moves_to_its_new_owner(subject: Subject) {
    let shard = Shard(2);
    let mut old = subject.inbox(&[shard]).await;
    subject.send(vec![message(shard)]).await;
    gather(&mut old, 1).await;
    let mut new = subject.inbox(&[shard]).await;
    old.serve(&[]).await.expect("an inbox serves shards");
    subject.send((0..5).map(|_| message(shard)).collect()).await;
    // Messages may still be on their way to the old one.
    let mut count = 0;
    while count < 5 {
        let found = soon("messages", async {
            tokio::select! { found = new.receive(9) => found, found = old.receive(9) => found }
        });
        for delivery in found.await.expect("the queue delivers") {
            delivery.answer.ack().await;
            count += 1;
        }
    }
    subject.send(vec![message(shard)]).await;
    gather(&mut new, 1).await;
}

pub async fn a_shard_nobody_serves_is_taken_over(subject: Subject) {
    let mut leaving = subject.inbox(&[Shard(0)]).await;
    let mut staying = subject.inbox(&[Shard(1)]).await;
    subject.send(vec![message(Shard(0))]).await;
    gather(&mut leaving, 1).await;
    drop(leaving);
    subject.send(vec![message(Shard(0))]).await;
    gather(&mut staying, 1).await;
}

pub async fn says_a_control_to_the_worker_meant(subject: Subject) {
    let (one, two) = (WorkerId::generate(), WorkerId::generate());
    let mut first = subject.queue.controls(one).await.expect("the queue has controls");
    let mut second = subject.queue.controls(two).await.expect("the queue has controls");
    let said = Control::Answer { token: Token::generate(), granted: true };
    subject.queue.publish_control(Audience::Worker(one), said.clone()).await.expect("it can be said");
    assert_eq!(soon("a control", first.receive()).await.expect("it is heard"), said);
    quiet("it was said to another", second.receive()).await;
}

pub async fn says_a_control_to_everyone(subject: Subject) {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(subject.queue.controls(WorkerId::generate()).await.expect("the queue has controls"));
    }
    let said = Control::Cancel { execution: ExecutionId::generate(), tasks: Vec::new() };
    subject.queue.publish_control(Audience::Everyone, said.clone()).await.expect("it can be said");
    for controls in &mut all {
        assert_eq!(soon("a control", controls.receive()).await.expect("it is heard"), said);
    }
}

pub async fn keeps_no_control_for_those_away(subject: Subject) {
    let worker = WorkerId::generate();
    let said = Control::Cancel { execution: ExecutionId::generate(), tasks: Vec::new() };
    subject.queue.publish_control(Audience::Worker(worker), said.clone()).await.expect("no error");
    subject.queue.publish_control(Audience::Everyone, said).await.expect("no error");
    let mut controls = subject.queue.controls(worker).await.expect("the queue has controls");
    quiet("it was away", controls.receive()).await;
}

pub async fn concurrent_publishes_all_arrive(subject: Subject) {
    let mut tasks = subject.tasks(64).await;
    let publishes = (0..100).map(|number| subject.publish(Priority::Normal, number..number + 1));
    let receive = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 100 {
            let delivery = next(&mut tasks).await;
            seen.insert(delivery.message.attempt);
            delivery.answer.ack().await;
        }
    };
    futures::future::join(futures::future::join_all(publishes), receive).await;
}

pub async fn tells_how_full_the_queues_are(subject: Subject) {
    subject.publish(Priority::High, 0..5).await;
    subject.publish(Priority::Low, 0..2).await;
    let ready = |depths: Vec<crate::port::queue::QueueDepth>, pool: &str| -> Vec<u64> {
        Priority::ALL
            .iter()
            .flat_map(|priority| {
                depths
                    .iter()
                    .filter(|depth| depth.pool == pool && depth.priority == *priority)
                    .map(|depth| depth.ready)
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let found = soon("the depths", subject.queue.depths()).await.expect("the queue tells its depths");
    assert_eq!(ready(found, &line(&subject.pool, &["eu".to_owned()])), [5, 0, 2]);
}

pub async fn a_task_goes_to_a_worker_with_its_tags(subject: Subject) {
    let worker = async |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let pool = Arc::clone(&subject.pool);
        let subscription = Subscription { worker: WorkerId::generate(), pool, tags, concurrency: 10 };
        subject.queue.tasks(subscription).await.expect("the queue gives tasks")
    };
    let (mut plain, mut gpu, mut both) =
        (worker(&[]).await, worker(&["gpu"]).await, worker(&["eu", "gpu"]).await);
    let asks = |attempt: u32, tags: &[&str]| Task {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..task(&subject.pool, Priority::Normal, attempt)
    };
    // In any order, and however often they are named.
    let tasks = vec![asks(1, &["gpu", "eu", "gpu"]), asks(2, &["eu"])];
    soon("a publish", subject.queue.publish_tasks(tasks)).await.expect("the queue takes tasks");
    let mut found = Vec::new();
    for _ in 0..2 {
        let taken = soon("a task", both.receive()).await.expect("a task");
        found.push(taken.message.attempt);
        taken.answer.ack().await;
    }
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
    quiet("nobody else has the tag", plain.receive()).await;
    quiet("nobody else has both", gpu.receive()).await;
    both.stop().await;
    drop(both);
    soon("a publish", subject.queue.publish_tasks(vec![asks(3, &["gpu"]), asks(4, &["tpu"])]))
        .await
        .expect("the queue takes tasks");
    let taken = soon("a task", gpu.receive()).await.expect("a task");
    assert_eq!(taken.message.attempt, 3);
    taken.answer.ack().await;
    quiet("nobody has the tag", gpu.receive()).await;
    // What nobody can take keeps nobody from what everybody can.
    soon("a publish", subject.queue.publish_tasks(vec![asks(5, &[])])).await.expect("the queue takes tasks");
    gpu.stop().await;
    drop(gpu);
    let taken = soon("a task", plain.receive()).await.expect("a task");
    assert_eq!(taken.message.attempt, 5);
    taken.answer.ack().await;
}

pub async fn tasks_that_may_share_a_message_come_each_for_itself(subject: Subject) {
    const COUNT: u32 = 100;
    let publish = async || {
        let tasks = (0..COUNT)
            .map(|attempt| Task { may_share: true, ..task(&subject.pool, Priority::Normal, attempt) })
            .collect();
        soon("a publish", subject.queue.publish_tasks(tasks)).await.expect("the queue takes tasks");
    };
    // One place: one at a time, in order.
    publish().await;
    let mut one = subject.tasks(1).await;
    for attempt in 0..COUNT {
        let delivery = next(&mut one).await;
        assert_eq!((delivery.message.attempt, delivery.redelivered), (attempt, false));
        quiet("the place is taken", one.receive()).await;
        delivery.answer.ack().await;
    }
    quiet("all were delivered", one.receive()).await;
    one.stop().await;
    drop(one);
    // What one of them gives back comes again, with those of its message at most.
    publish().await;
    let mut many = subject.tasks(200).await;
    for _ in 0..COUNT {
        let delivery = next(&mut many).await;
        if delivery.message.attempt == 50 {
            delivery.answer.requeue().await;
        } else {
            delivery.answer.ack().await;
        }
    }
    let mut again = Vec::new();
    while !again.contains(&50) {
        let delivery = next(&mut many).await;
        assert!(delivery.redelivered);
        again.push(delivery.message.attempt);
        delivery.answer.ack().await;
    }
    assert!(again.len() <= 16, "{again:?}");
}

pub async fn answers_a_check(subject: Subject) {
    subject.queue.check(Duration::from_secs(5)).await.expect("the queue answers");
}
