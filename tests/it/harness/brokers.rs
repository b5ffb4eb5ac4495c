//! Somebody outside who sends messages: to a queue of RabbitMQ, or a stream of Redis.

use anyhow::{Context, Result};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

use super::{place::given, unique_name};

/// A queue of one's own, and another for what is rejected from it.
pub(crate) struct RabbitQueue {
    _connection: Connection,
    channel: Channel,
    pub(crate) name: String,
}

impl RabbitQueue {
    pub(crate) async fn new() -> Result<Self> {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let connection = Connection::connect(&given("AMQP_URL")?, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let name = unique_name("theirs");
        let queue = Self { _connection: connection, channel, name };
        queue.declare().await?;
        Ok(queue)
    }

    fn dead(&self) -> String {
        format!("{}.dead", self.name)
    }

    pub(crate) async fn declare(&self) -> Result<()> {
        let (dead, none) = (self.dead(), FieldTable::default());
        let options = QueueDeclareOptions::default();
        self.channel.queue_declare(dead.as_str().into(), options, none.clone()).await?;
        let (kind, options) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
        self.channel.exchange_declare(dead.as_str().into(), kind, options, none.clone()).await?;
        let options = QueueBindOptions::default();
        self.channel.queue_bind(dead.as_str().into(), dead.as_str().into(), "".into(), options, none).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead.into()));
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(self.name.as_str().into(), options, arguments).await?;
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }

    pub(crate) async fn send(&self, id: Option<&str>, body: &[u8]) -> Result<()> {
        let properties = match id {
            Some(id) => BasicProperties::default().with_message_id(id.into()),
            None => BasicProperties::default(),
        };
        let options = BasicPublishOptions::default();
        let name = self.name.as_str().into();
        self.channel.basic_publish("".into(), name, options, body, properties).await?.await?;
        Ok(())
    }

    /// Messages that wait, and those who listen.
    pub(crate) async fn depth(&self) -> Result<(u32, u32)> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = self.name.as_str().into();
        let queue = self.channel.queue_declare(name, options, FieldTable::default()).await?;
        Ok((queue.message_count(), queue.consumer_count()))
    }

    /// The next message among the dead letters.
    pub(crate) async fn rejected(&self) -> Result<Option<Vec<u8>>> {
        let options = BasicGetOptions { no_ack: true };
        let found = self.channel.basic_get(self.dead().as_str().into(), options).await?;
        Ok(found.map(|message| message.delivery.data))
    }
}

/// A stream of one's own.
pub(crate) struct RedisStream {
    connection: redis::aio::MultiplexedConnection,
    pub(crate) key: String,
}

impl RedisStream {
    pub(crate) async fn new() -> Result<Self> {
        let client = redis::Client::open(given("REDIS_URL")?)?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self { connection, key: unique_name("theirs") })
    }

    /// Adds an entry; its id.
    pub(crate) async fn send(&self, fields: &[(&str, &[u8])]) -> Result<String> {
        let mut add = redis::cmd("XADD");
        add.arg(&self.key).arg("*");
        for (name, value) in fields {
            add.arg(name).arg(value);
        }
        add.query_async(&mut self.connection.clone()).await.context("XADD")
    }

    /// How many entries the group `apg` was given and has not acknowledged.
    pub(crate) async fn pending(&self) -> Result<i64> {
        let mut ask = redis::cmd("XPENDING");
        ask.arg(&self.key).arg("apg");
        let (count, ..): (i64, redis::Value, redis::Value, redis::Value) =
            ask.query_async(&mut self.connection.clone()).await?;
        Ok(count)
    }
}
