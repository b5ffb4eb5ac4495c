//! Streams of Redis keep the promises of the port `Streams`, and what is their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use progress::streams::{Config, listen};
use redis::aio::MultiplexedConnection;
use shared::{
    port::sources::{Answer, Incoming, Listen, Listener, SourceError, Streams},
    testing::streams::{Sender, Subject},
};

const SOON: Duration = Duration::from_secs(20);

fn config() -> Config {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let url = std::env::var("REDIS_URL")
        .expect("REDIS_URL is not set: run `deploy/dev/services up` (or `make test`, which does)");
    Config::new(url)
}

#[derive(Debug)]
struct Broker(Config);

#[async_trait]
impl Streams for Broker {
    async fn listen(&self, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
        listen(&self.0, what).await
    }
}

struct Outside {
    connection: MultiplexedConnection,
    stream: String,
}

impl Outside {
    async fn new() -> Self {
        let client = redis::Client::open(config().url).expect("a URL");
        let connection = client.get_multiplexed_async_connection().await.expect("connected");
        Self { connection, stream: format!("theirs:{}", uuid::Uuid::now_v7()) }
    }

    fn listen(&self) -> Listen {
        Listen {
            connector: "redis".to_owned(),
            queue: self.stream.clone(),
            group: None,
            consumer: "me".to_owned(),
            prefetch: 10,
        }
    }

    async fn ask(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection.clone()).await.expect("an answer")
    }
}

#[async_trait]
impl Sender for Outside {
    async fn send(&self, bodies: &[&str]) {
        for body in bodies {
            self.ask(&["XADD", &self.stream, "*", "body", body]).await;
        }
    }
}

async fn make() -> Subject {
    let outside = Outside::new().await;
    Subject { streams: Arc::new(Broker(config())), listen: outside.listen(), sender: Arc::new(outside) }
}

shared::streams_conformance!(make);

async fn one(listener: &mut dyn Listener) -> Incoming {
    let found = tokio::time::timeout(SOON, listener.receive(1)).await.expect("in time");
    found.expect("an entry").remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_says_its_id_and_time() {
    let outside = Outside::new().await;
    outside.ask(&["XADD", &outside.stream, "1000000000000-7", "order", "A-7", "total", "12"]).await;
    let mut listener = listen(&config(), &outside.listen()).await.expect("it listens");
    let entry = one(&mut *listener).await;
    assert_eq!(entry.id.as_deref(), Some("1000000000000-7"));
    assert_eq!(entry.time.map(|at| at.to_string()).as_deref(), Some("2001-09-09T01:46:40.000000Z"));
    assert_eq!(entry.body, br#"{"order":"A-7","total":"12"}"#);
    assert_eq!(entry.headers["stream"], outside.stream.as_str());
    assert_eq!(entry.headers["stream_id"], "1000000000000-7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_left_unanswered_is_taken_over_when_it_is_idle() {
    let outside = Outside::new().await;
    outside.send(&["a", "b"]).await;
    let mut dead = listen(&config(), &outside.listen()).await.expect("it listens");
    let left = one(&mut *dead).await;
    let mut alive = Listen { consumer: "other".to_owned(), ..outside.listen() };
    let patient = config();
    let mut listener = listen(&patient, &alive).await.expect("it listens");
    // Not what is out and may still be dealt with.
    let entry = one(&mut *listener).await;
    assert_eq!(entry.body, b"b");
    listener.answer(&[(entry.tag, Answer::Done)]).await.expect("answered");
    listener.close().await;
    dead.close().await;
    alive.consumer = "third".to_owned();
    let hasty = Config { idle: Duration::from_millis(1), ..config() };
    let mut listener = listen(&hasty, &alive).await.expect("it listens");
    let again = one(&mut *listener).await;
    assert_eq!((again.id, again.headers["redelivered"].clone()), (left.id, true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_group_is_given_the_whole_stream() {
    let outside = Outside::new().await;
    outside.send(&["a"]).await;
    for group in ["one", "two"] {
        let what = Listen { group: Some(group.to_owned()), ..outside.listen() };
        let mut listener = listen(&config(), &what).await.expect("it listens");
        let entry = one(&mut *listener).await;
        assert_eq!(entry.body, b"a");
        listener.answer(&[(entry.tag, Answer::Done)]).await.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_deleted_while_it_was_out_keeps_nothing_waiting() {
    let outside = Outside::new().await;
    outside.send(&["a", "b"]).await;
    let mut first = listen(&config(), &outside.listen()).await.expect("it listens");
    let gone = one(&mut *first).await;
    first.close().await;
    outside.ask(&["XDEL", &outside.stream, gone.id.as_deref().expect("an id")]).await;
    let mut second = listen(&config(), &outside.listen()).await.expect("it listens");
    let next = one(&mut *second).await;
    assert_eq!(next.body, b"b");
    second.answer(&[(next.tag, Answer::Done)]).await.expect("answered");
    let pending = outside.ask(&["XPENDING", &outside.stream, "apg"]).await;
    assert!(
        format!("{pending:?}").contains("int(0)") || format!("{pending:?}").contains("Int(0)"),
        "{pending:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_gone_is_an_error_and_made_anew() {
    let outside = Outside::new().await;
    let mut listener = listen(&config(), &outside.listen()).await.expect("it listens");
    outside.ask(&["DEL", &outside.stream]).await;
    let error =
        tokio::time::timeout(SOON, listener.receive(1)).await.expect("in time").expect_err("it is gone");
    assert!(error.to_string().contains(&outside.stream), "{error}");
    outside.send(&["a"]).await;
    let mut listener = listen(&config(), &outside.listen()).await.expect("it listens");
    assert_eq!(one(&mut *listener).await.body, b"a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_no_stream_or_ours_is_refused() {
    let outside = Outside::new().await;
    outside.ask(&["SET", &outside.stream, "text"]).await;
    let refused = listen(&config(), &outside.listen()).await.err().expect("refused").to_string();
    assert!(refused.contains(&outside.stream), "{refused}");
    let own = Listen { queue: "apg:execution:x".to_owned(), ..outside.listen() };
    let refused = listen(&config(), &own).await.err().expect("refused").to_string();
    assert!(refused.contains("platform itself"), "{refused}");
    let away = Config::new("redis://:secret@127.0.0.1:1/0");
    let refused = listen(&away, &outside.listen()).await.err().expect("refused").to_string();
    assert!(refused.contains("Redis cannot be used") && !refused.contains("secret"), "{refused}");
}
