//! RabbitMQ when the network, the broker's declarations or the messages are not as they should be.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use queue::amqp::{AmqpQueue, Config, DeadMessage};
use shared::{
    ids::{ExecutionId, Shard, WorkerId},
    port::queue::{Audience, Queue, QueueError, Subscription, Tasks},
    testing::queue::{message, task},
    wire::Control,
    workflow::Priority,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

fn url() -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    std::env::var("AMQP_URL")
        .expect("AMQP_URL is not set: run `deploy/dev/services up` (or `make test`, which does)")
}

fn config(url: String) -> Config {
    let mut config = Config::new(url);
    config.namespace = format!("test.{}", uuid::Uuid::now_v7());
    config
}

/// Stands between us and the broker, and cuts connections when told.
struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<CancellationToken>>,
}

impl Proxy {
    async fn start(url: &str) -> Self {
        let uri: lapin::uri::AMQPUri = url.parse().expect("an AMQP URL");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(Mutex::new(CancellationToken::new()));
        let current = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let cut = current.lock().expect("nobody panicked").clone();
                let to = (uri.authority.host.clone(), uri.authority.port);
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(to).await.expect("the broker is there");
                    let _ =
                        cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut here, &mut there)).await;
                });
            }
        });
        Self { address, connections }
    }

    fn url(&self, url: &str) -> String {
        let mut uri: lapin::uri::AMQPUri = url.parse().expect("an AMQP URL");
        uri.authority.host = self.address.ip().to_string();
        uri.authority.port = self.address.port();
        uri.to_string()
    }

    fn cut(&self) {
        let mut connections = self.connections.lock().expect("nobody panicked");
        std::mem::take(&mut *connections).cancel();
    }
}

async fn proxied() -> (Proxy, AmqpQueue) {
    let direct = url();
    let proxy = Proxy::start(&direct).await;
    let queue = AmqpQueue::connect(&config(proxy.url(&direct))).await.expect("the broker takes us");
    (proxy, queue)
}

async fn tasks(queue: &AmqpQueue, concurrency: u16) -> Box<dyn Tasks> {
    let subscription = Subscription {
        worker: WorkerId::generate(),
        pool: "default".into(),
        tags: vec!["eu".into()],
        concurrency,
    };
    queue.tasks(subscription).await.expect("the queue gives tasks")
}

/// Publishes like our callers: again, until it is taken.
async fn publish(queue: &AmqpQueue, attempts: std::ops::Range<u32>) {
    let pool = "default".into();
    let tasks: Vec<_> = attempts.map(|attempt| task(&pool, Priority::Normal, attempt)).collect();
    soon("a publish", async {
        while let Err(error) = queue.publish_tasks(tasks.clone()).await {
            assert!(error.is_retryable(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A channel beside the queue under test.
async fn beside() -> (Connection, lapin::Channel) {
    let connection =
        Connection::connect(&url(), ConnectionProperties::default()).await.expect("the broker takes us");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_again_after_a_reconnection() {
    let (proxy, queue) = proxied().await;
    let mut tasks = tasks(&queue, 4).await;
    publish(&queue, 0..20).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(soon("a task", tasks.receive()).await.expect("a task"));
    }
    proxy.cut();
    // Answers of the old channel: dropped, and they harm nothing on the new one.
    for delivery in held {
        delivery.answer.ack().await;
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 20 {
        let delivery = soon("a task", tasks.receive()).await.expect("receive goes on");
        seen.insert(delivery.message.attempt);
        delivery.answer.ack().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_still_run_keep_their_room_over_a_reconnection() {
    let (proxy, queue) = proxied().await;
    let mut tasks = tasks(&queue, 2).await;
    publish(&queue, 0..4).await;
    let first = soon("a task", tasks.receive()).await.expect("a task");
    let second = soon("a task", tasks.receive()).await.expect("a task");
    proxy.cut();
    publish(&queue, 4..5).await;
    tokio::time::timeout(Duration::from_millis(500), tasks.receive())
        .await
        .expect_err("two of two still run");
    drop(first);
    let third = soon("a task", tasks.receive()).await.expect("a task");
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_goes_on_after_a_reconnection() {
    let (proxy, queue) = proxied().await;
    let mut inbox = queue.inbox().await.expect("an inbox");
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("it serves");
    for _ in 0..3 {
        let sent: Vec<_> = Shard::all().map(message).collect();
        soon("a publish", async {
            while queue.publish_inbox(sent.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let mut wanted: std::collections::HashSet<_> = sent.iter().map(|message| message.id).collect();
        while !wanted.is_empty() {
            for delivery in soon("a message", inbox.receive(100)).await.expect("receive goes on") {
                wanted.remove(&delivery.message.id);
                delivery.answer.ack().await;
            }
        }
        proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_hears_again_after_a_reconnection() {
    let (proxy, queue) = proxied().await;
    let worker = WorkerId::generate();
    let mut controls = queue.controls(worker).await.expect("controls");
    proxy.cut();
    let said = Control::Cancel { execution: ExecutionId::generate(), tasks: Vec::new() };
    let say = async {
        loop {
            // What is said while it is away is lost; and it may be unsayable for a moment.
            let _ = queue.publish_control(Audience::Worker(worker), said.clone()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::select! {
        () = say => None,
        heard = soon("a control", controls.receive()) => heard.ok(),
    };
    assert_eq!(heard, Some(said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_over_cuts() {
    let (proxy, queue) = proxied().await;
    let mut tasks = tasks(&queue, 16).await;
    let sending = async {
        for batch in 0..50 {
            publish(&queue, batch * 10..(batch + 1) * 10).await;
            if batch % 10 == 5 {
                proxy.cut();
            }
        }
    };
    let receiving = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 500 {
            let delivery = soon("a task", tasks.receive()).await.expect("receive goes on");
            seen.insert(delivery.message.attempt);
            delivery.answer.ack().await;
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_declaration_on_the_broker_is_refused_with_the_difference() {
    let config = config(url());
    let (_connection, channel) = beside().await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let name = format!("{}.inbox.00", config.namespace);
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.expect("declared");
    match AmqpQueue::connect(&config).await {
        Err(error @ QueueError::Topology(_)) => {
            assert!(error.to_string().contains("x-single-active-consumer"), "{error}");
            assert!(error.to_string().contains(&name), "{error}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is not what we declare"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_nobody_can_read_goes_to_the_dead_letters() {
    let mut config = config(url());
    let kept: Arc<Mutex<Vec<DeadMessage>>> = Arc::default();
    let sink = Arc::clone(&kept);
    config.dead_sink = Some(Arc::new(move |dead| sink.lock().expect("nobody panicked").push(dead)));
    let queue = AmqpQueue::connect(&config).await.expect("the broker takes us");
    let (_connection, channel) = beside().await;
    let name = format!("{}.tasks.default.normal", config.namespace);
    let properties = BasicProperties::default().with_message_id("it".into());
    channel
        .basic_publish(
            "".into(),
            name.as_str().into(),
            BasicPublishOptions::default(),
            b"\x00\x01rubbish",
            properties,
        )
        .await
        .expect("published");
    publish(&queue, 1..2).await;
    let mut tasks = tasks(&queue, 1).await;
    let delivery = soon("the task behind it", tasks.receive()).await.expect("a task");
    assert_eq!(delivery.message.attempt, 1);
    delivery.answer.ack().await;
    let kept = kept.lock().expect("nobody panicked").clone();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].queue.as_str(), kept[0].message_id.as_deref()), (name.as_str(), Some("it")));
    let dead = channel
        .basic_get(format!("{}.dead", config.namespace).into(), Default::default())
        .await
        .expect("the queue is there")
        .expect("the message is there");
    assert_eq!(dead.delivery.data, b"\x00\x01rubbish");
    let headers = dead.delivery.properties.headers().clone().expect("it says why");
    assert!(headers.contains_key("queue") && headers.contains_key("reason"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_newer_release_stays_for_it() {
    let config = config(url());
    let queue = AmqpQueue::connect(&config).await.expect("the broker takes us");
    let (_connection, channel) = beside().await;
    let name = format!("{}.tasks.default.normal", config.namespace);
    channel
        .basic_publish(
            "".into(),
            name.as_str().into(),
            BasicPublishOptions::default(),
            b"\x00\x02later",
            BasicProperties::default(),
        )
        .await
        .expect("published");
    let _tasks = tasks(&queue, 1).await;
    soon("the consumer to stop, and the message to be back", async {
        loop {
            let depths = queue.depths().await.expect("the depths");
            let normal = depths.iter().find(|depth| depth.priority == Priority::Normal).expect("it is there");
            let high = depths.iter().find(|depth| depth.priority == Priority::High).expect("it is there");
            // The consumers of the other queues show that it had begun.
            if (normal.ready, normal.consumers, high.consumers) == (1, 0, 1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
