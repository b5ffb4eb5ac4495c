//! Versions and drafts in memory.

use async_trait::async_trait;
use shared::{
    ids::{TenantId, WorkflowId},
    port::{
        store::{Page, Paged, StoreError, WorkflowDraft, WorkflowRow},
        versions::{DraftChange, DraftKept, DraftRow, VersionRow, Versions},
    },
};

use super::{MemoryStore, State};
use crate::rows;

impl State {
    /// Keeps a new version, and takes away the draft that became it.
    pub(super) fn add_version(&mut self, row: &WorkflowRow, draft: &WorkflowDraft) {
        let version = VersionRow {
            workflow: row.id,
            version: row.version,
            hash: draft.hash.clone(),
            document: draft.document.clone(),
            created_by: draft.principal.clone(),
            created_at: draft.at,
        };
        self.versions.entry((row.id, row.version)).or_insert(version);
        if let Some(revision) = draft.publishes {
            self.drafts.retain(|id, kept| *id != row.id || kept.revision != revision);
            if let Some(kept) = self.drafts.get_mut(&row.id) {
                kept.base = row.version;
            }
        }
    }

    fn has_workflow(&self, tenant: TenantId, workflow: WorkflowId) -> bool {
        self.workflows.get(&workflow).is_some_and(|row| row.tenant == tenant)
    }
}

#[async_trait]
impl Versions for MemoryStore {
    async fn version_list(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        page: Page,
    ) -> Result<Paged<VersionRow>, StoreError> {
        let Ok(before) = rows::cursor::<u32>(&page) else { return Ok(rows::no_rows()) };
        let limit = rows::page_size(page.limit);
        let state = self.state()?;
        if !state.has_workflow(tenant, workflow) {
            return Ok(rows::no_rows());
        }
        let versions = state.versions.range((workflow, 0)..(workflow, before.unwrap_or(u32::MAX)));
        let items = versions.rev().take(limit as usize + 1).map(|(_, row)| row.clone()).collect();
        Ok(rows::paged(items, limit, |row: &VersionRow| row.version.to_string()))
    }

    async fn version_get(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRow>, StoreError> {
        let state = self.state()?;
        let found = state.versions.get(&(workflow, version)).filter(|_| state.has_workflow(tenant, workflow));
        Ok(found.cloned())
    }

    async fn draft_put(&self, change: DraftChange) -> Result<DraftKept, StoreError> {
        let mut state = self.state()?;
        let newest = state
            .workflows
            .get(&change.workflow)
            .filter(|row| row.tenant == change.tenant && row.status == "active")
            .map(|row| row.version);
        let Some(newest) = newest else { return Ok(DraftKept::Missing) };
        let here = state.drafts.get(&change.workflow);
        let (revision, base) = here.map_or((0, newest), |here| (here.revision, here.base));
        if change.expected.is_some_and(|expected| expected != revision) {
            return Ok(DraftKept::Stale(revision));
        }
        let row = DraftRow {
            workflow: change.workflow,
            revision: revision + 1,
            base: change.base.unwrap_or(base),
            document: change.document,
            updated_by: change.principal,
            updated_at: change.at,
        };
        state.drafts.insert(change.workflow, row.clone());
        Ok(DraftKept::Kept(row))
    }

    async fn draft_get(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
    ) -> Result<Option<DraftRow>, StoreError> {
        let state = self.state()?;
        Ok(state.drafts.get(&workflow).filter(|_| state.has_workflow(tenant, workflow)).cloned())
    }

    async fn draft_drop(&self, tenant: TenantId, workflow: WorkflowId) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        Ok(state.has_workflow(tenant, workflow) && state.drafts.remove(&workflow).is_some())
    }
}
