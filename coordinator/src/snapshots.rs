//! The workflows that triggers start, kept compiled.

use std::{collections::HashMap, sync::Arc};

use shared::{
    port::{store::StoreError, triggers::TriggerRow},
    workflow::{self, Workflow},
};
use tracing::error;

use crate::Ports;

/// Snapshots kept compiled.
const MOST: usize = 64;

pub(crate) struct Snapshots {
    ports: Ports,
    kept: HashMap<String, Arc<Workflow>>,
}

impl Snapshots {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports, kept: HashMap::new() }
    }

    /// The workflow that a trigger starts; none when this build cannot compile it.
    pub(crate) async fn workflow(&mut self, row: &TriggerRow) -> Result<Option<Arc<Workflow>>, StoreError> {
        if let Some(found) = self.kept.get(&row.snapshot) {
            return Ok(Some(Arc::clone(found)));
        }
        let text = self.ports.store.snapshot(&row.snapshot).await?;
        let text = text
            .ok_or_else(|| StoreError::Corrupt(format!("the snapshot {} is missing", row.snapshot).into()))?;
        match workflow::compile_snapshot(&text, &self.ports.catalogue) {
            Ok(compiled) => {
                if self.kept.len() >= MOST {
                    self.kept.clear();
                }
                self.kept.insert(row.snapshot.clone(), Arc::clone(&compiled));
                Ok(Some(compiled))
            }
            Err(problems) => {
                error!(trigger = %row.id, "The workflow of a trigger cannot be compiled by this build: {problems}");
                Ok(None)
            }
        }
    }
}
