//! The promises of [`crate::port::sources::Streams`].
//!
//! Each function is one promise. `streams_conformance!(make)` makes a test of each, where `make()` gives, in time, a
//! `Subject`: a queue that nobody else uses.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::port::sources::{Answer, Incoming, Listen, Listener, Streams};

/// A broker under test.
pub struct Subject {
    pub streams: Arc<dyn Streams>,
    /// How to listen to its queue; the prefetch is the test's.
    pub listen: Listen,
    pub sender: Arc<dyn Sender>,
}

/// Puts messages into the queue under test.
#[async_trait]
pub trait Sender: Send + Sync {
    async fn send(&self, bodies: &[&str]);
}

/// How long anything awaited may take.
const SOON: Duration = Duration::from_secs(20);
/// How long nothing happens before we believe that nothing will.
const QUIET: Duration = Duration::from_millis(300);

/// Makes a test of each promise: `streams_conformance!(make)`.
#[macro_export]
macro_rules! streams_conformance {
    ($make:expr) => {
        $crate::streams_conformance!(
            $make;
            gives_a_message_as_it_was_sent,
            gives_what_waited_before_it_was_listened_to,
            gives_what_has_arrived_and_no_more_than_asked_for,
            gives_no_more_than_the_prefetch,
            an_answered_message_does_not_come_again,
            a_rejected_message_does_not_come_again,
            what_is_not_answered_comes_again_to_the_next,
            what_is_held_is_still_out,
            answers_may_come_in_any_order,
        );
    };
    ($make:expr; $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::testing::streams::$promise($make().await).await;
            }
        )+
    };
}

async fn listen(subject: &Subject, prefetch: u16) -> Box<dyn Listener> {
    let what = Listen { prefetch, ..subject.listen.clone() };
    subject.streams.listen(&what).await.expect("it listens")
}

/// The next so many messages.
async fn next(listener: &mut dyn Listener, count: usize) -> Vec<Incoming> {
    let mut found = Vec::new();
    while found.len() < count {
        let left = count - found.len();
        let received = tokio::time::timeout(SOON, listener.receive(left)).await.expect("messages in time");
        found.extend(received.expect("messages"));
    }
    found
}

/// Whether nothing comes. The listener is of no further use.
async fn is_quiet(mut listener: Box<dyn Listener>) -> bool {
    let quiet = tokio::time::timeout(QUIET, listener.receive(10)).await.is_err();
    listener.close().await;
    quiet
}

fn bodies(messages: &[Incoming]) -> BTreeSet<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

fn set(bodies: &[&str]) -> BTreeSet<String> {
    bodies.iter().map(|body| (*body).to_owned()).collect()
}

async fn answer(listener: &mut dyn Listener, messages: &[Incoming], answer: Answer) {
    let answers: Vec<(u64, Answer)> = messages.iter().map(|message| (message.tag, answer)).collect();
    listener.answer(&answers).await.expect("answered");
}

pub async fn gives_a_message_as_it_was_sent(subject: Subject) {
    let mut listener = listen(&subject, 10).await;
    subject.sender.send(&["{\"n\":1} \u{1f980}"]).await;
    let message = next(&mut *listener, 1).await.remove(0);
    assert_eq!(message.body, "{\"n\":1} \u{1f980}".as_bytes());
    assert_eq!(message.flaw, None);
    assert!(message.id.is_some(), "the sender gives ids");
    assert_eq!(message.headers["redelivered"], false);
    listener.close().await;
}

pub async fn gives_what_waited_before_it_was_listened_to(subject: Subject) {
    subject.sender.send(&["a", "b"]).await;
    let mut listener = listen(&subject, 10).await;
    assert_eq!(bodies(&next(&mut *listener, 2).await), set(&["a", "b"]));
    listener.close().await;
}

pub async fn gives_what_has_arrived_and_no_more_than_asked_for(subject: Subject) {
    subject.sender.send(&["a", "b", "c"]).await;
    let mut listener = listen(&subject, 10).await;
    let received = tokio::time::timeout(SOON, listener.receive(2)).await.expect("in time").expect("messages");
    assert!((1..=2).contains(&received.len()));
    let rest = next(&mut *listener, 3 - received.len()).await;
    assert_eq!(&bodies(&received) | &bodies(&rest), set(&["a", "b", "c"]));
    listener.close().await;
}

pub async fn gives_no_more_than_the_prefetch(subject: Subject) {
    subject.sender.send(&["a", "b", "c"]).await;
    let mut listener = listen(&subject, 2).await;
    let out = next(&mut *listener, 2).await;
    assert!(tokio::time::timeout(QUIET, listener.receive(10)).await.is_err(), "two are out");
    answer(&mut *listener, &out[..1], Answer::Done).await;
    assert_eq!(next(&mut *listener, 1).await.len(), 1);
    assert!(is_quiet(listener).await);
}

pub async fn an_answered_message_does_not_come_again(subject: Subject) {
    subject.sender.send(&["a", "b", "c"]).await;
    let mut listener = listen(&subject, 10).await;
    let messages = next(&mut *listener, 3).await;
    answer(&mut *listener, &messages, Answer::Done).await;
    listener.close().await;
    assert!(is_quiet(listen(&subject, 10).await).await);
}

pub async fn a_rejected_message_does_not_come_again(subject: Subject) {
    subject.sender.send(&["a", "b"]).await;
    let mut listener = listen(&subject, 10).await;
    let messages = next(&mut *listener, 2).await;
    answer(&mut *listener, &messages[..1], Answer::Rejected).await;
    answer(&mut *listener, &messages[1..], Answer::Done).await;
    listener.close().await;
    assert!(is_quiet(listen(&subject, 10).await).await);
}

pub async fn what_is_not_answered_comes_again_to_the_next(subject: Subject) {
    subject.sender.send(&["a", "b", "c"]).await;
    let mut first = listen(&subject, 10).await;
    let messages = next(&mut *first, 3).await;
    answer(&mut *first, &messages[1..2], Answer::Done).await;
    first.close().await;
    let mut second = listen(&subject, 10).await;
    let again = next(&mut *second, 2).await;
    let expected = &bodies(&messages) - &bodies(&messages[1..2]);
    assert_eq!(bodies(&again), expected);
    let ids = |messages: &[Incoming]| messages.iter().map(|one| one.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(&again), &ids(&messages) - &ids(&messages[1..2]), "with the same ids");
    assert!(again.iter().all(|message| message.headers["redelivered"] == true));
    second.close().await;
}

pub async fn what_is_held_is_still_out(subject: Subject) {
    subject.sender.send(&["a"]).await;
    let mut listener = listen(&subject, 1).await;
    let messages = next(&mut *listener, 1).await;
    listener.hold().await.expect("held");
    answer(&mut *listener, &messages, Answer::Done).await;
    subject.sender.send(&["b"]).await;
    assert_eq!(bodies(&next(&mut *listener, 1).await), set(&["b"]));
    listener.close().await;
}

pub async fn answers_may_come_in_any_order(subject: Subject) {
    subject.sender.send(&["a", "b", "c", "d"]).await;
    let mut listener = listen(&subject, 4).await;
    let messages = next(&mut *listener, 4).await;
    answer(&mut *listener, &messages[2..], Answer::Done).await;
    listener
        .answer(&[(messages[1].tag, Answer::Rejected), (messages[0].tag, Answer::Done)])
        .await
        .expect("answered");
    // All of the prefetch is free again.
    subject.sender.send(&["e", "f", "g", "h"]).await;
    assert_eq!(bodies(&next(&mut *listener, 4).await), set(&["e", "f", "g", "h"]));
    listener.close().await;
}
