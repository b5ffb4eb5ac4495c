//! What the tests of all components share.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use serde_json::Value;
use shared::{
    component::{Context, Failure, FailureClass, Log, Notice, NoticeAccess, Outcome, PayloadAccess},
    ids::{ComponentId, ExecutionId, NotificationId, PayloadId, TenantId},
    time::{ManualClock, Timestamp},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    Environment, catalogue, egress,
    environment::{Config, Connector},
};

#[derive(Default)]
struct Payloads(Mutex<HashMap<PayloadId, Vec<u8>>>);

#[async_trait]
impl PayloadAccess for Payloads {
    async fn put(&self, _: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure> {
        let id = PayloadId::generate();
        self.0.lock().expect("payloads").insert(id, bytes);
        Ok(id)
    }

    async fn get(&self, _: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure> {
        let kept = self.0.lock().expect("payloads").get(&payload).cloned();
        kept.ok_or_else(|| Failure::new(FailureClass::NotFound, "no such payload"))
    }
}

/// What was told, by id: told again, it stays as it is.
#[derive(Default)]
pub(crate) struct Notices(pub(crate) Mutex<HashMap<NotificationId, Notice>>);

#[async_trait]
impl NoticeAccess for Notices {
    async fn tell(&self, _: TenantId, _: ExecutionId, notices: Vec<Notice>) -> Result<(), Failure> {
        let mut all = self.0.lock().expect("notices");
        for notice in notices {
            all.entry(notice.id).or_insert(notice);
        }
        Ok(())
    }
}

/// A context whose connectors lie in a folder of their own.
pub(crate) fn context() -> (Context, TempDir) {
    context_with(&[], BTreeMap::new())
}

pub(crate) fn context_with(allow: &[&str], more: BTreeMap<String, Connector>) -> (Context, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.connectors.insert("files".into(), Connector::Folder { root: folder.path().join("files") });
    config.connectors.insert("data".into(), Connector::Sqlite { path: folder.path().join("data.db") });
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/data");
    config.connectors.insert("examples".into(), Connector::Folder { root: examples });
    config.connectors.extend(more);
    config.egress = egress::Config {
        allow: allow.iter().map(ToString::to_string).collect(),
        ..egress::Config::default()
    };
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_800_000_000_000_000)));
    let context = Context {
        tenant: TenantId::DEFAULT,
        execution: ExecutionId::generate(),
        component: ComponentId::new("tested"),
        attempt: 1,
        idempotency_key: "key-of-the-task".to_owned(),
        cancel: CancellationToken::new(),
        log: Log::default(),
        payloads: Arc::new(Payloads::default()),
        notices: Arc::new(Notices::default()),
        environment: Arc::new(Environment::new(&config, clock).expect("an environment")),
        scratch: folder.path().join("scratch"),
    };
    (context, folder)
}

pub(crate) async fn run_in(kind: &str, config: Value, context: &Context) -> Result<Outcome, Failure> {
    let catalogue = catalogue();
    let build = catalogue.get(kind).expect("a type").build.expect("a worker's type");
    build(config)?.run(context).await
}

pub(crate) async fn outcome(kind: &str, config: Value) -> Outcome {
    let (context, _folder) = context();
    run_in(kind, config, &context).await.unwrap_or_else(|failure| panic!("{kind}: {failure}"))
}

pub(crate) async fn output(kind: &str, config: Value) -> Value {
    outcome(kind, config).await.output
}

pub(crate) async fn failure(kind: &str, config: Value) -> Failure {
    let (context, _folder) = context();
    run_in(kind, config, &context).await.expect_err("the task should fail")
}
