//! Which workers are alive.

use std::time::Duration;

use serde::Serialize;
use shared::{ids::WorkerId, time::Timestamp, wire::WorkerRecord};
use utoipa::ToSchema;

use super::Deeds;
use crate::{
    caller::{Caller, Permission},
    problem::Problem,
};

/// A worker that was not heard of for this long is not listed.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// A worker process.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Worker)]
pub(crate) struct WorkerView {
    /// From its start to its end.
    #[schema(value_type = String)]
    pub id: WorkerId,
    /// The machine it runs on.
    pub host: String,
    /// The release it is of.
    pub version: String,
    /// The pool whose tasks it takes.
    pub pool: String,
    /// What it says about itself; tasks may ask for it.
    pub tags: Vec<String>,
    /// The component types it offers.
    pub types: Vec<String>,
    /// How many tasks it runs at once.
    pub concurrency: u32,
    /// How many it runs now.
    pub running: u32,
    /// CPU of the process, in percent of one core.
    pub cpu_percent: f32,
    /// Memory of the process.
    pub memory_bytes: u64,
    /// Whether it is leaving and takes nothing new.
    pub draining: bool,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
}

impl From<(WorkerRecord, Timestamp)> for WorkerView {
    fn from((record, seen_at): (WorkerRecord, Timestamp)) -> Self {
        Self {
            id: record.id,
            host: record.host,
            version: record.version,
            pool: record.pool,
            tags: record.tags,
            types: record.kinds,
            concurrency: record.concurrency,
            running: record.running,
            cpu_percent: record.cpu_percent,
            memory_bytes: record.memory_bytes,
            draining: record.draining,
            started_at: record.started_at,
            seen_at,
        }
    }
}

/// Workers heard of within 30 seconds.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WorkerList {
    /// All of them.
    pub items: Vec<WorkerView>,
    /// Always absent: there is one page.
    pub next_cursor: Option<String>,
}

impl Deeds {
    pub(crate) async fn worker_list(&self, caller: &Caller) -> Result<WorkerList, Problem> {
        caller.must(Permission::Read)?;
        let items = self.store.workers(HEARD_WITHIN).await?.into_iter().map(WorkerView::from).collect();
        Ok(WorkerList { items, next_cursor: None })
    }
}
