//! How much was done, how it ended and how long it took, by slots of time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::{
    execution::Status,
    ids::WorkflowId,
    port::store::{StatisticsSlot, StatisticsSpan},
    time::Timestamp,
};
use utoipa::{IntoParams, ToSchema};

use super::Deeds;
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// What is looked at when nothing is said.
const DAY: Duration = Duration::from_hours(24);
/// The most slots of one answer.
const MOST_SLOTS: u64 = 500;
/// Slots when nothing is said about their length.
const SLOTS: u64 = 48;

/// Which statistics are wanted.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatisticsQuery {
    /// Accepted at this instant or later (RFC 3339); a day before `to` when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Accepted before this instant (RFC 3339); now when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    /// Seconds of a slot. At most 500 slots fit an answer; left out, there are about 48.
    #[param(minimum = 1)]
    pub bucket: Option<u32>,
    /// Executions of this workflow alone.
    #[param(value_type = Option<String>)]
    pub workflow_id: Option<WorkflowId>,
}

/// What became of the executions accepted in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StatisticsItem {
    /// Where the slot begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Executions accepted in it.
    pub accepted: u64,
    /// Those of them that have completed by now.
    pub completed: u64,
    /// Those that have failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Milliseconds from start to end within which half of those that ended did so.
    pub duration_p50_ms: Option<u64>,
    /// The same for 95 of 100.
    pub duration_p95_ms: Option<u64>,
    /// Milliseconds from acceptance to start within which 95 of 100 started.
    pub wait_p95_ms: Option<u64>,
}

/// Executions that have not ended, now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OpenCounts {
    /// Accepted and not started.
    pub pending: u64,
    /// Under way.
    pub running: u64,
    /// Paused.
    pub paused: u64,
}

/// Executions by slots of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Statistics {
    /// Where the first slot begins.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Where the last one ends.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// Seconds of a slot.
    pub bucket_seconds: u32,
    /// The slots, oldest first, also those in which nothing was accepted.
    pub items: Vec<StatisticsItem>,
    /// What is open now, of all workflows.
    pub open: OpenCounts,
}

fn wrong(detail: String) -> Problem {
    Problem::new(Code::InvalidQuery, detail)
}

fn span(query: &StatisticsQuery, now: Timestamp) -> Result<(StatisticsSpan, u32), Problem> {
    let to = query.to.unwrap_or(now);
    let day = DAY.as_micros() as i64;
    let from = query.from.unwrap_or_else(|| Timestamp::from_micros(to.as_micros() - day));
    if from >= to {
        return Err(wrong(format!("`from` is {from}, which is not before `to`, {to}.")));
    }
    let seconds = to.since(from).as_secs().max(1);
    let bucket = query.bucket.map_or_else(|| (seconds / SLOTS).clamp(1, u64::from(u32::MAX)), u64::from);
    if bucket == 0 || seconds.div_ceil(bucket) > MOST_SLOTS {
        let least = seconds.div_ceil(MOST_SLOTS);
        return Err(wrong(format!(
            "`bucket` is {bucket}; for this span of time it is {least} seconds or more."
        )));
    }
    Ok((StatisticsSpan { from, to, slot: Duration::from_secs(bucket) }, bucket as u32))
}

impl Deeds {
    /// What became of executions, by the time at which they were accepted.
    pub(crate) async fn statistics(
        &self,
        caller: &Caller,
        query: StatisticsQuery,
    ) -> Result<Statistics, Problem> {
        caller.must(Permission::Read)?;
        let now = self.clock.now(&self.store).await?;
        let (span, bucket_seconds) = span(&query, now)?;
        let found = self.store.execution_statistics(caller.tenant, span, query.workflow_id).await?;
        let count = span.to.since(span.from).as_micros().div_ceil(span.slot.as_micros()) as u32;
        let mut found = found.into_iter().peekable();
        let items = (0..count).map(|number| {
            let slot = found.next_if(|slot| slot.slot == number).unwrap_or_default();
            let StatisticsSlot { accepted, completed, failed, cancelled, .. } = slot;
            let millis = |length: Option<Duration>| length.map(|length| length.as_millis() as u64);
            StatisticsItem {
                at: span.from.after(span.slot * number),
                accepted,
                completed,
                failed,
                cancelled,
                duration_p50_ms: millis(slot.ran_p50),
                duration_p95_ms: millis(slot.ran_p95),
                wait_p95_ms: millis(slot.waited_p95),
            }
        });
        let items = items.collect();
        let mut open = OpenCounts::default();
        for (status, count) in self.store.execution_open(caller.tenant).await? {
            match status {
                Status::Pending => open.pending = count,
                Status::Running => open.running = count,
                Status::Paused => open.paused = count,
                Status::Completed | Status::Failed | Status::Cancelled => {}
            }
        }
        Ok(Statistics { from: span.from, to: span.to, bucket_seconds, items, open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_fitting_number_of_slots() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let query = |from: i64, to: i64, bucket| StatisticsQuery {
            from: Some(at(from)),
            to: Some(at(to)),
            bucket,
            workflow_id: None,
        };
        let (whole, seconds) = span(&StatisticsQuery::default(), at(1_000_000)).expect("a day");
        assert_eq!((whole.from, whole.to, seconds), (at(913_600), at(1_000_000), 1800));
        assert_eq!(span(&query(0, 10, None), at(99)).expect("a span").1, 1);
        assert_eq!(span(&query(0, 500, Some(1)), at(99)).expect("a span").1, 1);
        let detail = |refused: Result<(StatisticsSpan, u32), Problem>| refused.expect_err("refused").detail;
        assert!(detail(span(&query(0, 501, Some(1)), at(99))).contains("2 seconds or more"));
        assert!(detail(span(&query(0, 501, Some(0)), at(99))).contains("2 seconds or more"));
        assert!(detail(span(&query(5, 5, None), at(99))).contains("not before"));
    }
}
