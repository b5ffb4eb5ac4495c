//! What a worker hands to a component, and what it gets back.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    ids::{ComponentId, ExecutionId, NotificationId, PayloadId, TenantId},
    time::Timestamp,
};

/// A component with its config, ready to run once.
#[async_trait]
pub trait Run: Send + Sync {
    /// Does the work of one attempt.
    ///
    /// The worker ends it after the attempt's time-out; a component that holds something outside
    /// (a child process, a transaction) watches [`Context::cancel`] and lets go within two seconds.
    async fn run(&self, context: &Context) -> Result<Outcome, Failure>;
}

/// What a completed attempt gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub output: Value,
    /// Which own ports fire, beside `success`.
    pub ports: Vec<String>,
}

impl Outcome {
    /// An output of a type without own ports.
    pub fn of(output: Value) -> Self {
        Self { output, ports: Vec::new() }
    }
}

/// How much a log line matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: Timestamp,
    pub level: LogLevel,
    /// At most 16 KiB; cut with a mark.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
}

/// Where a running component writes its log; the lines travel with the result.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<LogLine>>>);

impl Log {
    /// At most this many lines a task; what comes after is dropped.
    pub const MAX_LINES: usize = 1_000;

    pub fn write(&self, line: LogLine) {
        let mut lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() < Self::MAX_LINES {
            lines.push(line);
        }
    }

    pub fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// How a component reaches the payload store.
#[async_trait]
pub trait PayloadAccess: Send + Sync {
    /// Keeps bytes for as long as the execution is kept.
    async fn put(&self, execution: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure>;
    /// The bytes of a payload of this execution.
    async fn get(&self, execution: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure>;
}

/// How much a notification matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What somebody is told within the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same for all attempts of a task.
    pub id: NotificationId,
    /// A user, role or group.
    pub to: String,
    pub subject: String,
    pub text: String,
    pub severity: Severity,
}

/// How a component tells people within the platform.
#[async_trait]
pub trait NoticeAccess: Send + Sync {
    /// Keeps notices. One that is kept already stays as it is.
    async fn tell(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        notices: Vec<Notice>,
    ) -> Result<(), Failure>;
}

/// Everything an attempt may know and use.
#[derive(Clone)]
pub struct Context {
    pub tenant: TenantId,
    pub execution: ExecutionId,
    pub component: ComponentId,
    pub attempt: u32,
    /// The same for all attempts of a task, different between tasks.
    pub idempotency_key: String,
    /// Ends when the task is cancelled or over its time.
    pub cancel: CancellationToken,
    pub log: Log,
    pub payloads: Arc<dyn PayloadAccess>,
    pub notices: Arc<dyn NoticeAccess>,
    /// What the operator configured for components of this worker (connectors, egress rules);
    /// its type belongs to the crate `components`.
    pub environment: Arc<dyn std::any::Any + Send + Sync>,
    /// Private to this attempt, removed after it.
    pub scratch: PathBuf,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("execution", &self.execution)
            .field("component", &self.component)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
