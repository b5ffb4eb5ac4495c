//! Compiled workflows, kept for a while.
//!
//! Two caches. Snapshots by hash never go stale: a hash names one text. The row of a workflow (which
//! version is newest, and whether it is archived) is believed for one second: a change made through
//! this process is seen at once, one made through another within that second, as if the submission
//! had come a second earlier. The store has the last word on a workflow that is gone (`NoWorkflow`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use shared::{
    ids::{TenantId, WorkflowId},
    workflow::Workflow,
};

use super::Deeds;
use crate::{documents, problem::Problem};

const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Beyond this many entries a cache starts anew.
const KEPT: usize = 512;

/// The newest version of a workflow, ready to be executed.
#[derive(Debug, Clone)]
pub(crate) struct Newest {
    pub version: u32,
    pub hash: Arc<str>,
    pub is_active: bool,
    pub workflow: Arc<Workflow>,
}

#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    by_hash: Mutex<HashMap<Arc<str>, Arc<Workflow>>>,
    newest: Mutex<HashMap<(TenantId, WorkflowId), (Instant, Newest)>>,
}

impl Snapshots {
    pub(crate) fn keep(&self, workflow: &Arc<Workflow>) {
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if by_hash.len() >= KEPT {
            by_hash.clear();
        }
        by_hash.insert(workflow.hash.as_str().into(), Arc::clone(workflow));
    }

    fn find(&self, hash: &str) -> Option<Arc<Workflow>> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn newest(&self, key: (TenantId, WorkflowId)) -> Option<Newest> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(&key).filter(|(at, _)| at.elapsed() < BELIEVED_FOR).map(|(_, newest)| newest.clone())
    }

    fn keep_newest(&self, key: (TenantId, WorkflowId), read_at: Instant, found: Newest) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() >= KEPT {
            newest.clear();
        }
        newest.insert(key, (read_at, found));
    }

    pub(crate) fn forget(&self, tenant: TenantId, workflow: WorkflowId) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, workflow));
    }
}

impl Deeds {
    /// The snapshot with this hash.
    pub(super) async fn snapshot(&self, hash: &str) -> Result<Arc<Workflow>, Problem> {
        if let Some(found) = self.snapshots.find(hash) {
            return Ok(found);
        }
        let canonical = self
            .store
            .snapshot(hash)
            .await?
            .ok_or_else(|| Problem::internal(format_args!("the snapshot {hash} is not in the store")))?;
        let catalogue = self.catalogue.clone();
        let workflow = tokio::task::spawn_blocking(move || documents::compile(&canonical, &catalogue))
            .await
            .map_err(Problem::internal)?
            .map_err(Problem::internal)?;
        self.snapshots.keep(&workflow);
        Ok(workflow)
    }

    /// The newest version of a workflow; `None` when there is no such workflow.
    pub(super) async fn newest(&self, tenant: TenantId, id: WorkflowId) -> Result<Option<Newest>, Problem> {
        if let Some(newest) = self.snapshots.newest((tenant, id)) {
            return Ok(Some(newest));
        }
        let read_at = Instant::now();
        let Some(row) = self.store.workflow_get(tenant, id).await? else { return Ok(None) };
        let newest = Newest {
            version: row.version,
            is_active: row.status == "active",
            workflow: self.snapshot(&row.hash).await?,
            hash: row.hash.into(),
        };
        self.snapshots.keep_newest((tenant, id), read_at, newest.clone());
        Ok(Some(newest))
    }
}
