//! RabbitMQ keeps the promises of the port `Streams`, and what is its own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use shared::{
    port::sources::{Answer, Listen, Listener, SourceError, Streams},
    testing::streams::{Sender, Subject},
};

const SOON: Duration = Duration::from_secs(20);

fn url() -> String {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    std::env::var("AMQP_URL")
        .expect("AMQP_URL is not set: run `deploy/dev/services up` (or `make test`, which does)")
}

#[derive(Debug)]
struct Broker(String);

#[async_trait]
impl Streams for Broker {
    async fn listen(&self, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
        queue::amqp::listen(&queue::amqp::Config::new(&self.0), what).await
    }
}

struct Outside {
    _connection: Connection,
    channel: Channel,
    queue: String,
}

impl Outside {
    async fn new(arguments: FieldTable) -> Self {
        let connection =
            Connection::connect(&url(), ConnectionProperties::default()).await.expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let queue = format!("theirs.{}", uuid::Uuid::now_v7());
        // Goes with the connection of the test; others may take from it meanwhile.
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.as_str().into(), options, arguments).await.expect("declared");
        Self { _connection: connection, channel, queue }
    }

    fn listen(&self) -> Listen {
        Listen {
            connector: "broker".to_owned(),
            queue: self.queue.clone(),
            group: None,
            consumer: "me".to_owned(),
            prefetch: 10,
        }
    }

    async fn publish(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let key = self.queue.as_str().into();
        let confirm = self.channel.basic_publish("".into(), key, options, body, properties).await;
        confirm.expect("published").await.expect("confirmed");
    }
}

#[async_trait]
impl Sender for Outside {
    async fn send(&self, bodies: &[&str]) {
        for body in bodies {
            let id = uuid::Uuid::now_v7().to_string();
            self.publish(body.as_bytes(), BasicProperties::default().with_message_id(id.into())).await;
        }
    }
}

async fn make() -> Subject {
    let outside = Outside::new(FieldTable::default()).await;
    let listen = outside.listen();
    Subject { streams: Arc::new(Broker(url())), listen, sender: Arc::new(outside) }
}

shared::streams_conformance!(make);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_a_message_is_given_as_headers() {
    let outside = Outside::new(FieldTable::default()).await;
    let mut own = FieldTable::default();
    own.insert("kind".into(), AMQPValue::LongString("order".into()));
    own.insert("routing_key".into(), AMQPValue::LongString("forged".into()));
    own.insert("total".into(), AMQPValue::LongLongInt(-7));
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_timestamp(1_000_000_000)
        .with_priority(3)
        .with_headers(own);
    outside.publish(b"x", properties).await;
    outside.publish(b"y", BasicProperties::default().with_timestamp(u64::MAX)).await;
    let mut listener = Broker(url()).listen(&outside.listen()).await.expect("it listens");
    let mut found = listener.receive(1).await.expect("a message");
    found.extend(listener.receive(1).await.expect("a message"));
    assert_eq!(found[0].id, None);
    assert_eq!(found[0].time.map(|at| at.to_string()).as_deref(), Some("2001-09-09T01:46:40.000000Z"));
    let headers = &found[0].headers;
    assert_eq!(headers["kind"], "order");
    assert_eq!(headers["total"], -7);
    assert_eq!(headers["content_type"], "text/plain");
    assert_eq!(headers["priority"], 3);
    assert_eq!(headers["routing_key"], outside.queue.as_str(), "what the broker says goes first");
    assert_eq!(found[1].time, None, "no instant");
    listener.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_message_goes_to_the_dead_letters() {
    let dead = Outside::new(FieldTable::default()).await;
    let exchange = format!("dlx.{}", uuid::Uuid::now_v7());
    let (kind, none) = (ExchangeKind::Fanout, FieldTable::default());
    let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    dead.channel
        .exchange_declare(exchange.as_str().into(), kind, options, none.clone())
        .await
        .expect("declared");
    let (name, options) = (dead.queue.as_str().into(), QueueBindOptions::default());
    dead.channel.queue_bind(name, exchange.as_str().into(), "".into(), options, none).await.expect("bound");
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(exchange.into()));
    let outside = Outside::new(arguments).await;
    outside.send(&["bad", "good"]).await;
    let mut listener = Broker(url()).listen(&outside.listen()).await.expect("it listens");
    let mut found = Vec::new();
    while found.len() < 2 {
        found.extend(listener.receive(2).await.expect("messages"));
    }
    listener
        .answer(&[(found[0].tag, Answer::Rejected), (found[1].tag, Answer::Done)])
        .await
        .expect("answered");
    let get = async {
        loop {
            let name = dead.queue.as_str().into();
            let options = BasicGetOptions { no_ack: true };
            if let Some(message) = dead.channel.basic_get(name, options).await.expect("asked") {
                return message.delivery.data;
            }
            tokio::task::yield_now().await;
        }
    };
    let data = tokio::time::timeout(SOON, get).await.expect("in time");
    assert_eq!(data, b"bad");
    listener.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_not_there_or_is_ours_is_refused() {
    let outside = Outside::new(FieldTable::default()).await;
    let refused = async |what: Listen| {
        let listened = Broker(url()).listen(&what).await;
        listened.err().expect("refused").to_string()
    };
    let nowhere = format!("nowhere.{}", uuid::Uuid::now_v7());
    let said = refused(Listen { queue: nowhere.clone(), ..outside.listen() }).await;
    assert!(said.contains(&nowhere) && said.contains("NOT"), "{said}");
    for own in ["apg.inbox.0", "apg.tasks.default.high", "apg.dead", "amq.gen-x"] {
        let said = refused(Listen { queue: own.to_owned(), ..outside.listen() }).await;
        assert!(said.contains("control queue"), "{said}");
    }
    let said = refused(Listen { group: Some("g".to_owned()), ..outside.listen() }).await;
    assert!(said.contains("`group` is for streams"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_queue_or_a_connection_is_an_error() {
    let outside = Outside::new(FieldTable::default()).await;
    let mut listener = Broker(url()).listen(&outside.listen()).await.expect("it listens");
    let name = outside.queue.as_str().into();
    outside.channel.queue_delete(name, QueueDeleteOptions::default()).await.expect("deleted");
    let error =
        tokio::time::timeout(SOON, listener.receive(1)).await.expect("in time").expect_err("it is gone");
    assert!(!error.to_string().is_empty());
    listener.close().await;

    // Through somebody in between who hangs up.
    let outside = Outside::new(FieldTable::default()).await;
    let there =
        url().split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("host:port").to_owned();
    let between = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = between.local_addr().expect("it is bound");
    let cut = tokio_util::sync::CancellationToken::new();
    let until = cut.clone();
    let (to, forward) = (there.clone(), async move {
        let (mut here, _) = between.accept().await.expect("a connection");
        let mut there = tokio::net::TcpStream::connect(there).await.expect("the broker is there");
        let _ = until.run_until_cancelled(tokio::io::copy_bidirectional(&mut here, &mut there)).await;
    });
    let forward = tokio::spawn(forward);
    let through = Broker(url().replace(&to, &address.to_string()));
    let mut listener = through.listen(&outside.listen()).await.expect("it listens");
    outside.send(&["a"]).await;
    let found = listener.receive(1).await.expect("a message");
    cut.cancel();
    forward.await.expect("it hung up");
    let error =
        tokio::time::timeout(SOON, listener.receive(1)).await.expect("in time").expect_err("it is lost");
    assert!(error.to_string().contains("lost"), "{error}");
    listener.close().await;
    // What was out comes again.
    let mut listener = Broker(url()).listen(&outside.listen()).await.expect("it listens");
    let again = tokio::time::timeout(SOON, listener.receive(1)).await.expect("in time").expect("a message");
    assert_eq!((again[0].id.clone(), again[0].body.clone()), (found[0].id.clone(), b"a".to_vec()));
    listener.close().await;
}
