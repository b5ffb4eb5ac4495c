//! Progress inside this process. Almost free while nobody watches.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use shared::{
    ids::ExecutionId,
    port::progress::{Progress, ProgressError, Update},
};

use crate::watchers::Watchers;

/// Progress inside this process. Clones are the same display.
#[derive(Debug, Clone, Default)]
pub struct InProcessProgress {
    watchers: Arc<Watchers<ExecutionId, Update>>,
}

impl InProcessProgress {
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Progress for InProcessProgress {
    fn show(&self, updates: Vec<Update>) {
        if !self.watchers.is_empty() {
            for update in updates {
                self.watchers.show(&update.execution.clone(), update);
            }
        }
    }

    async fn watch(&self, execution: ExecutionId) -> Result<BoxStream<'static, Update>, ProgressError> {
        Ok(self.watchers.watch(execution).boxed())
    }

    async fn check(&self) -> Result<(), ProgressError> {
        Ok(())
    }
}
