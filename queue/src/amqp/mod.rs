//! RabbitMQ.
//!
//! Queues are few, named and declared at start. Publishing and consuming have a connection each, so that
//! a blocked publisher does not stop consumption. Makes no order, and no queue for a task or execution.

mod answers;
mod consume;
mod link;
mod listen;
mod publish;
mod topology;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use shared::{
    ids::WorkerId,
    port::{
        Cause,
        queue::{Audience, Controls, Inbox, Queue, QueueDepth, QueueError, Subscription, Tasks},
    },
    wire::{Control, InboxMessage, Task},
    workflow::Priority,
};

pub use self::listen::listen;
use self::{
    link::{Link, Live},
    topology::Topology,
};

/// Which kind of queue is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    /// Quorum where `cluster_nodes` is three or more and the broker is 3.13 or later; otherwise classic.
    #[default]
    Auto,
    Classic,
    Quorum,
}

/// A message that nobody can read.
#[derive(Debug, Clone)]
pub struct DeadMessage {
    pub queue: String,
    pub reason: String,
    pub message_id: Option<String>,
    pub body: Vec<u8>,
}

/// Told of each dead message, besides its copy in the queue of dead letters. Must not block.
pub type DeadSink = Arc<dyn Fn(DeadMessage) + Send + Sync>;

/// How to reach and use a broker.
#[derive(Clone)]
pub struct Config {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://`.
    pub url: String,
    /// What every name on the broker begins with.
    pub namespace: String,
    /// Pools whose queues are declared at start.
    pub pools: Vec<Arc<str>>,
    /// A dead peer is noticed after about twice this.
    pub heartbeat: Duration,
    /// A publish without a confirm for this long counts as not sent.
    pub confirm_timeout: Duration,
    /// Inbox messages delivered and not acknowledged, over all shards.
    pub inbox_prefetch: u16,
    pub queue_type: QueueType,
    /// Nodes of the broker's cluster; the protocol does not tell.
    pub cluster_nodes: u16,
    pub dead_sink: Option<DeadSink>,
}

impl Config {
    /// The defaults for a broker.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: "apg".into(),
            pools: vec!["default".into()],
            heartbeat: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(10),
            inbox_prefetch: 2000,
            queue_type: QueueType::Auto,
            cluster_nodes: 1,
            dead_sink: None,
        }
    }
}

impl std::fmt::Debug for Config {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("pools", &self.pools)
            .field("heartbeat", &self.heartbeat)
            .field("queue_type", &self.queue_type)
            .finish_non_exhaustive()
    }
}

/// RabbitMQ. Clones share the connections; the last one dropped closes them.
#[derive(Clone)]
pub struct AmqpQueue {
    core: Arc<Core>,
}

/// What consumers and publishers share.
struct Core {
    config: Config,
    topology: Topology,
    publishing: Link,
    consuming: Link,
    /// The broker does not know a prefetch over several consumers.
    split_prefetch: AtomicBool,
}

/// A failure that trying again may mend.
fn unavailable(cause: impl Into<Cause>) -> QueueError {
    QueueError::Unavailable(cause.into())
}

/// Names the difference when the broker refuses a declaration; anything else may pass.
fn declared(error: lapin::Error) -> QueueError {
    if error.is_amqp_soft_error() && error.to_string().contains("inequivalent") {
        QueueError::Topology(format!("the broker holds a different declaration: {error}"))
    } else {
        unavailable(error)
    }
}

impl AmqpQueue {
    /// Connects and declares the topology.
    ///
    /// # Errors
    /// [`QueueError::Topology`] when a queue or exchange exists with other arguments.
    pub async fn connect(config: &Config) -> Result<Self, QueueError> {
        let version = link::server_version(&config.url).await;
        let topology = Topology::new(config, version);
        tracing::info!(
            namespace = %config.namespace,
            version = version.map(|(major, minor)| format!("{major}.{minor}")).unwrap_or_default(),
            quorum = topology.is_quorum(),
            "Using RabbitMQ"
        );
        let publishing = Link::open(config, "publish", Some(topology.clone())).await?;
        let consuming = Link::open(config, "consume", None).await?;
        let core = Core {
            split_prefetch: AtomicBool::new(topology.is_quorum()),
            config: config.clone(),
            topology,
            publishing,
            consuming,
        };
        Ok(Self { core: Arc::new(core) })
    }
}

impl Core {
    fn publishing(&self) -> Result<Arc<Live>, QueueError> {
        self.publishing.now().ok_or_else(|| unavailable("not connected to the broker"))
    }

    /// The broker refused the global prefetch; remembers it and says so once.
    fn refuse_global_prefetch(&self) {
        if !self.split_prefetch.swap(true, Ordering::Relaxed) {
            tracing::warn!("The broker refuses a prefetch over several consumers; splitting it between them");
        }
    }
}

#[async_trait]
impl Queue for AmqpQueue {
    async fn publish_tasks(&self, tasks: Vec<Task>) -> Result<(), QueueError> {
        publish::tasks(&self.core, tasks).await
    }

    async fn publish_inbox(&self, messages: Vec<InboxMessage>) -> Result<(), QueueError> {
        publish::inbox(&self.core, messages).await
    }

    async fn publish_control(&self, to: Audience, control: Control) -> Result<(), QueueError> {
        publish::control(&self.core, to, &control).await
    }

    async fn inbox(&self) -> Result<Box<dyn Inbox>, QueueError> {
        Ok(Box::new(consume::inbox(&self.core)))
    }

    async fn tasks(&self, subscription: Subscription) -> Result<Box<dyn Tasks>, QueueError> {
        Ok(Box::new(consume::tasks(&self.core, subscription)))
    }

    async fn controls(&self, worker: WorkerId) -> Result<Box<dyn Controls>, QueueError> {
        consume::controls(&self.core, worker).await.map(|controls| Box::new(controls) as _)
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, QueueError> {
        let live = self.core.publishing()?;
        let channel = live.connection.create_channel().await.map_err(unavailable)?;
        let mut depths = Vec::new();
        for line in self.core.topology.lines() {
            for priority in Priority::ALL {
                let queue = channel
                    .queue_declare(
                        self.core.topology.tasks(&line, priority),
                        QueueDeclareOptions { passive: true, ..Default::default() },
                        Default::default(),
                    )
                    .await
                    .map_err(unavailable)?;
                depths.push(QueueDepth {
                    pool: line.to_string(),
                    priority,
                    ready: u64::from(queue.message_count()),
                    consumers: u64::from(queue.consumer_count()),
                });
            }
        }
        Ok(depths)
    }

    async fn check(&self, within: Duration) -> Result<(), QueueError> {
        let probe = async {
            for link in [&self.core.publishing, &self.core.consuming] {
                let live = link.now().ok_or_else(|| unavailable("not connected to the broker"))?;
                live.connection.create_channel().await.map_err(unavailable)?;
            }
            Ok(())
        };
        tokio::time::timeout(within, probe)
            .await
            .unwrap_or_else(|_| Err(unavailable(format!("no answer within {within:?}"))))
    }

    fn dies_with_the_process(&self) -> bool {
        false
    }
}
