//! Pure components, run for real in this process.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use components::{Environment, environment::Config};
use shared::{
    component::{
        Catalogue, Context, Effect, Failure, FailureClass, Log, Notice, NoticeAccess, Outcome, PayloadAccess,
    },
    ids::{ExecutionId, PayloadId, TenantId},
    time::{ManualClock, Timestamp},
    wire::Task,
    workflow::Component,
};
use tokio_util::sync::CancellationToken;

/// Runs components whose output depends on nothing but their input.
pub(crate) struct Pure {
    runtime: tokio::runtime::Runtime,
    catalogue: Catalogue,
    environment: Arc<Environment>,
    kept: Arc<Kept>,
    scratch: PathBuf,
    _folder: tempfile::TempDir,
}

/// What components lay aside, for as long as the tests run.
#[derive(Debug, Default)]
struct Kept(Mutex<HashMap<PayloadId, Vec<u8>>>);

#[async_trait]
impl PayloadAccess for Kept {
    async fn put(&self, _: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure> {
        let id = PayloadId::generate();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, bytes);
        Ok(id)
    }

    async fn get(&self, _: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&payload).cloned().ok_or_else(|| {
            Failure::new(FailureClass::NotFound, format!("{payload} was not kept in this test"))
        })
    }
}

#[async_trait]
impl NoticeAccess for Kept {
    async fn tell(&self, _: TenantId, _: ExecutionId, _: Vec<Notice>) -> Result<(), Failure> {
        Err(Failure::new(FailureClass::InvalidConfig, "nobody is told anything in a test"))
    }
}

impl Pure {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_767_225_600_000_000)));
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no async runtime can be started")?,
            catalogue: components::catalogue(),
            environment: Arc::new(Environment::new(&Config::default(), clock)?),
            kept: Arc::default(),
            scratch: folder.path().join("scratch"),
            _folder: folder,
        })
    }

    /// Runs one attempt; nothing when the component is not pure, or needs a secret.
    pub(crate) fn run(&self, component: &Component, task: &Task) -> Option<Result<Outcome, Failure>> {
        if component.effect != Effect::Pure || !component.config.secrets().is_empty() {
            return None;
        }
        let build = self.catalogue.get(&component.kind)?.build?;
        let context = Context {
            tenant: task.tenant,
            execution: task.execution,
            component: task.component.clone(),
            attempt: task.attempt,
            idempotency_key: task.key().to_string(),
            cancel: CancellationToken::new(),
            log: Log::default(),
            payloads: Arc::<Kept>::clone(&self.kept),
            notices: Arc::<Kept>::clone(&self.kept),
            environment: Arc::<Environment>::clone(&self.environment),
            scratch: self.scratch.clone(),
        };
        Some(build(task.config.clone()).and_then(|run| self.runtime.block_on(run.run(&context))))
    }
}
