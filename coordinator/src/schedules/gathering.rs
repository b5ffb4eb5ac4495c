//! Events that a trigger gathered start one execution when their time has come.

use std::sync::Arc;

use shared::{
    execution::start_hint,
    port::{
        store::StoreError,
        triggers::{Gather, GatheredStep, StepKept, TriggerRow},
    },
    time::Timestamp,
    workflow::Workflow,
};
use tracing::{debug, warn};

use super::{RETRY, Schedules};

impl Schedules {
    /// Starts what a trigger gathered, or parks it; answers when to look again.
    pub(super) async fn gathered(
        &self,
        row: &TriggerRow,
        workflow: &Arc<Workflow>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(trigger) = workflow.trigger(&row.name) else { return Ok(None) };
        // What an earlier version gathered goes together when this one gathers nothing.
        let gather = trigger.gather().unwrap_or(Gather::Batch { size: Gather::MOST, within: RETRY });
        let receipts = self.ports.store.gathered(row.id, gather.most()).await?;
        let events = receipts.iter().filter_map(|receipt| receipt.event.clone()).collect();
        let start = if receipts.is_empty() {
            Err(String::new())
        } else {
            let made = trigger.gathered(row, workflow, events, now);
            made.map(Box::new).map_err(|unfit| unfit.to_string())
        };
        let first = start.as_ref().ok().map(|submission| submission.first.clone());
        let step = GatheredStep {
            tenant: row.tenant,
            trigger: row.id,
            seen_last: row.last_fire_at,
            seen_next: row.next_fire_at,
            receipts: receipts.iter().map(|receipt| receipt.id).collect(),
            gather,
            start,
            at: now,
        };
        match self.ports.store.gathered_start(step, self.config.max_open_executions).await? {
            StepKept::Kept { .. } => {
                if let Some(first) = first
                    && let Err(error) = self.ports.queue.publish_inbox(vec![start_hint(first)]).await
                {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "What a trigger gathered is found by the sweep"
                    );
                }
                // There may be more: its row says when.
                Ok(Some(now.after(RETRY)))
            }
            StepKept::Superseded => Ok(Some(now.after(RETRY))),
            StepKept::Refused(refusal) => {
                warn!(trigger = %row.id, ?refusal, "What a trigger gathered could not start yet");
                Ok(Some(now.after(RETRY * 5)))
            }
        }
    }
}
