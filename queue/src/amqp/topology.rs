//! The names on the broker, and their declaration.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use shared::{
    ids::{Shard, WorkerId},
    port::queue::QueueError,
    workflow::Priority,
};

use super::{Config, QueueType, declared};

/// Deliveries of one message before a quorum queue puts it aside. The default of 20 in RabbitMQ 4
/// would drop messages that workers merely gave back.
const DELIVERY_LIMIT: i32 = 1000;

/// The names and kinds of everything declared. Cheap to clone.
#[derive(Clone)]
pub(super) struct Topology {
    namespace: String,
    /// Those of the configuration, and those that somebody here sent or took tasks of.
    lines: Arc<Mutex<BTreeSet<Arc<str>>>>,
    quorum: bool,
}

impl Topology {
    pub(super) fn new(config: &Config, version: Option<(u32, u32)>) -> Self {
        let quorum = match config.queue_type {
            QueueType::Classic => false,
            QueueType::Quorum => true,
            // A single node gains nothing from quorum, and one killed right after a declaration can
            // lose confirmed messages.
            QueueType::Auto => config.cluster_nodes >= 3 && version.is_some_and(|found| found >= (3, 13)),
        };
        let lines = Arc::new(Mutex::new(config.pools.iter().cloned().collect()));
        Self { namespace: config.namespace.clone(), lines, quorum }
    }

    pub(super) fn is_quorum(&self) -> bool {
        self.quorum
    }

    pub(super) fn lines(&self) -> Vec<Arc<str>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn knows(&self, line: &str) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).contains(line)
    }

    fn name(&self, rest: impl std::fmt::Display) -> ShortString {
        format!("{}.{rest}", self.namespace).into()
    }

    pub(super) fn tasks(&self, line: &str, priority: Priority) -> ShortString {
        self.name(format_args!("tasks.{line}.{}", priority.as_str()))
    }

    pub(super) fn inbox(&self, shard: Shard) -> ShortString {
        self.name(format_args!("inbox.{shard}"))
    }

    pub(super) fn dead(&self) -> ShortString {
        self.name("dead")
    }

    pub(super) fn control(&self) -> ShortString {
        self.name("control")
    }

    pub(super) fn events(&self) -> ShortString {
        self.name("events")
    }

    pub(super) fn worker(&self, worker: WorkerId) -> ShortString {
        self.name(format_args!("worker.{}", worker.as_uuid()))
    }

    fn arguments(&self, single_active_consumer: bool) -> FieldTable {
        let mut arguments = FieldTable::default();
        let kind = if self.quorum { "quorum" } else { "classic" };
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        if self.quorum {
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
            arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
            arguments.insert(
                "x-dead-letter-routing-key".into(),
                AMQPValue::LongString(self.dead().to_string().into()),
            );
        }
        if single_active_consumer {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        arguments
    }

    async fn queue(&self, channel: &Channel, name: ShortString, single: bool) -> Result<(), QueueError> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name, options, self.arguments(single)).await.map_err(declared)?;
        Ok(())
    }

    /// Declares the queues of a line. Declaring them again changes nothing.
    pub(super) async fn declare_line(&self, channel: &Channel, line: &str) -> Result<(), QueueError> {
        for priority in Priority::ALL {
            self.queue(channel, self.tasks(line, priority), false).await?;
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(line.into());
        Ok(())
    }

    /// Declares everything. Declaring it again changes nothing.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), QueueError> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let mut dead = FieldTable::default();
        let kind = if self.quorum { "quorum" } else { "classic" };
        dead.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        channel.queue_declare(self.dead(), options, dead).await.map_err(declared)?;
        for exchange in [self.control(), self.events()] {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel
                .exchange_declare(exchange, ExchangeKind::Topic, options, FieldTable::default())
                .await
                .map_err(declared)?;
        }
        for shard in Shard::all() {
            self.queue(channel, self.inbox(shard), true).await?;
        }
        for line in self.lines() {
            self.declare_line(channel, &line).await?;
        }
        Ok(())
    }
}
