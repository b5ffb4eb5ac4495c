//! Listening to a queue of somebody else, for triggers.
//!
//! Declares nothing: the queue is there or it is an error. A connection that is lost is not made again here.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};
use shared::{
    port::{
        queue::QueueError,
        sources::{Answer, Incoming, Listen, Listener, SourceError},
    },
    time::Timestamp,
};

use super::{
    Config,
    link::{self, Live},
};

/// The last second that four digits of a year can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// Listens to a queue at the broker of `config`, whose namespace is that of our own queues.
///
/// # Errors
/// When the queue is one of our own, is not there, or the broker cannot be used.
pub async fn listen(config: &Config, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
    let own = format!("{}.", config.namespace);
    if what.queue.starts_with(&own) || what.queue.starts_with("amq.") {
        return Err(SourceError(format!(
            "`{}` is a control queue: taking from it would stop the platform; name a queue of your own",
            what.queue
        )));
    }
    if what.group.is_some() {
        return Err(SourceError(format!(
            "`group` is for streams, and the connector `{}` is a RabbitMQ; remove it",
            what.connector
        )));
    }
    let live = link::connect(config, "trigger").await.map_err(|error| SourceError(said(&error)))?;
    match consume(&live, what).await {
        Ok((channel, consumer)) => {
            Ok(Box::new(AmqpListener { live, channel, consumer, out: BTreeSet::new() }))
        }
        Err(error) => {
            link::close(&live).await;
            Err(SourceError(format!("the queue `{}` cannot be listened to: {error}", what.queue)))
        }
    }
}

async fn consume(live: &Live, what: &Listen) -> lapin::Result<(Channel, Consumer)> {
    let channel = live.connection.create_channel().await?;
    channel.basic_qos(what.prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(what.queue.as_str().into(), "".into(), options, FieldTable::default()).await?;
    Ok((channel, consumer))
}

/// What is wrong, with its cause. lapin's texts hold no credentials.
fn said(error: &QueueError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("the broker cannot be used: {cause}"),
        None => format!("the broker cannot be used: {error}"),
    }
}

fn lost(cause: impl std::fmt::Display) -> SourceError {
    SourceError(format!("the connection to the broker was lost: {cause}"))
}

struct AmqpListener {
    live: Live,
    channel: Channel,
    consumer: Consumer,
    /// Given and not answered.
    out: BTreeSet<u64>,
}

impl AmqpListener {
    fn take(&mut self, found: lapin::Result<Delivery>) -> Result<Incoming, SourceError> {
        let delivery = found.map_err(lost)?;
        self.out.insert(delivery.delivery_tag);
        Ok(incoming(delivery))
    }
}

#[async_trait]
impl Listener for AmqpListener {
    async fn receive(&mut self, most: usize) -> Result<Vec<Incoming>, SourceError> {
        let first = tokio::select! {
            found = self.consumer.next() => found,
            () = link::wait_for_loss(&self.live) => return Err(lost("the broker is gone")),
        };
        let ended = || SourceError("the broker ended the subscription; was the queue deleted?".to_owned());
        let mut found = vec![self.take(first.ok_or_else(ended)?)?];
        while found.len() < most
            && let Some(Some(next)) = self.consumer.next().now_or_never()
        {
            found.push(self.take(next)?);
        }
        Ok(found)
    }

    async fn answer(&mut self, answers: &[(u64, Answer)]) -> Result<(), SourceError> {
        for (tag, _) in answers {
            self.out.remove(tag);
        }
        let all_done = answers.iter().all(|(_, answer)| *answer == Answer::Done);
        let last = answers.iter().map(|(tag, _)| *tag).max();
        if let Some(last) = last
            && all_done
            && self.out.first().is_none_or(|first| *first > last)
        {
            // One frame says it for all of them.
            let options = BasicAckOptions { multiple: true };
            return self.channel.basic_ack(last, options).await.map_err(lost);
        }
        for (tag, answer) in answers {
            match answer {
                Answer::Done => self.channel.basic_ack(*tag, BasicAckOptions::default()).await,
                Answer::Rejected => {
                    self.channel.basic_reject(*tag, BasicRejectOptions { requeue: false }).await
                }
            }
            .map_err(lost)?;
        }
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), SourceError> {
        // The broker gives nobody else what is out on a channel that lives.
        if self.live.is_lost() { Err(lost("the broker is gone")) } else { Ok(()) }
    }

    async fn close(self: Box<Self>) {
        link::close(&self.live).await;
    }
}

fn incoming(delivery: Delivery) -> Incoming {
    let properties = &delivery.properties;
    let mut headers = Map::new();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        headers.insert(name.to_string(), json(value));
    }
    // What the broker says goes before what a sender may call the same.
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            headers.insert(name.to_owned(), Value::from(text.as_str()));
        }
    }
    if let Some(priority) = properties.priority() {
        headers.insert("priority".to_owned(), Value::from(*priority));
    }
    headers.insert("exchange".to_owned(), Value::from(delivery.exchange.as_str()));
    headers.insert("routing_key".to_owned(), Value::from(delivery.routing_key.as_str()));
    headers.insert("redelivered".to_owned(), Value::from(delivery.redelivered));
    let sent = properties.timestamp().filter(|seconds| *seconds <= LAST_SECOND);
    Incoming {
        tag: delivery.delivery_tag,
        id: properties.message_id().as_ref().map(ToString::to_string).filter(|id| !id.is_empty()),
        time: sent.map(|seconds| Timestamp::from_micros(seconds as i64 * 1_000_000)),
        headers,
        body: delivery.data,
        flaw: None,
    }
}

/// A value of a header as JSON. Bytes that are not UTF-8 are shown with marks in their places.
fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => Value::from(*value),
        AMQPValue::ShortShortInt(value) => Value::from(*value),
        AMQPValue::ShortShortUInt(value) => Value::from(*value),
        AMQPValue::ShortInt(value) => Value::from(*value),
        AMQPValue::ShortUInt(value) => Value::from(*value),
        AMQPValue::LongInt(value) => Value::from(*value),
        AMQPValue::LongUInt(value) => Value::from(*value),
        AMQPValue::LongLongInt(value) => Value::from(*value),
        AMQPValue::Float(value) => Value::from(*value),
        AMQPValue::Double(value) => Value::from(*value),
        AMQPValue::DecimalValue(value) => Value::from(format!("{}e-{}", value.value, value.scale)),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::Timestamp(seconds) if *seconds <= LAST_SECOND => {
            Value::from(Timestamp::from_micros(*seconds as i64 * 1_000_000).to_string())
        }
        AMQPValue::Timestamp(seconds) => Value::from(*seconds),
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, value)| (name.to_string(), json(value))).collect()
        }
        AMQPValue::ByteArray(bytes) => Value::from(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::Void => Value::Null,
    }
}
