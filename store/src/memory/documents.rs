//! Documents in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use shared::{
    ids::{TenantId, WorkflowId},
    port::{
        documents::{DocumentPart, DocumentUpdate, Documents},
        store::StoreError,
    },
    time::Timestamp,
};

use super::{MemoryStore, State};

#[derive(Debug)]
pub(super) struct Document {
    tenant: TenantId,
    line: u32,
    last: u64,
    snapshot: Option<(u64, Vec<u8>)>,
    updates: BTreeMap<u64, Vec<u8>>,
}

impl State {
    fn document(&mut self, tenant: TenantId, workflow: WorkflowId) -> Option<&mut Document> {
        self.documents.get_mut(&workflow).filter(|document| document.tenant == tenant)
    }
}

#[async_trait]
impl Documents for MemoryStore {
    async fn document_begin(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        line: u32,
        _at: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        let mut state = self.state()?;
        let row = state.workflows.get(&workflow);
        if row.is_none_or(|row| row.tenant != tenant || row.status != "active") {
            return Ok(None);
        }
        let begun = || Document { tenant, line, last: 0, snapshot: None, updates: BTreeMap::new() };
        Ok(Some(state.documents.entry(workflow).or_insert_with(begun).line))
    }

    async fn document_read(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        after: u64,
    ) -> Result<Option<DocumentPart>, StoreError> {
        let mut state = self.state()?;
        Ok(state.document(tenant, workflow).map(|document| DocumentPart {
            line: document.line,
            last: document.last,
            snapshot: document
                .snapshot
                .as_ref()
                .filter(|(number, _)| *number > after)
                .map(|(_, body)| body.clone()),
            updates: document.updates.range(after + 1..).map(|(_, body)| body.clone()).collect(),
        }))
    }

    async fn document_append(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        updates: Vec<DocumentUpdate>,
        _at: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let mut state = self.state()?;
        let Some(document) = state.document(tenant, workflow) else { return Ok(None) };
        for update in updates {
            document.last += 1;
            document.updates.insert(document.last, update.body);
        }
        Ok(Some(document.last))
    }

    async fn document_squash(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        up_to: u64,
        snapshot: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let Some(document) = state.document(tenant, workflow) else { return Ok(false) };
        let known = document.snapshot.as_ref().map_or(0, |(number, _)| *number);
        if up_to <= known || up_to > document.last {
            return Ok(false);
        }
        document.snapshot = Some((up_to, snapshot));
        document.updates.retain(|number, _| *number > up_to);
        Ok(true)
    }
}
