//! Checks the store a little at a time, over and over, and counts what is wrong.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{
    ids::{CoordinatorId, ExecutionId, Shard},
    port::store::{DynStore, Finding, StoreError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{Auditor, Report};
use crate::{Ports, Stats, membership::Share};

/// How the rules are checked while everything runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Seconds between two looks of a coordinator at whether everything in the database keeps the rules; 0 leaves it to
    /// `apg audit`. What is found is logged and counted in `apg_audit_findings`.
    pub every_seconds: u32,
    /// Seconds that one look may take, half of which it rests. The next goes on where it ended.
    #[schemars(range(min = 1, max = 3600))]
    pub budget_seconds: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { every_seconds: 0, budget_seconds: 10 }
    }
}

/// How long a coordinator that is not heard of keeps the others from going on.
const HOLD: Duration = Duration::from_mins(2);
const CHORE: &str = "audit";
/// The longest pause after a page.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    id: CoordinatorId,
    config: Audit,
    ports: Ports,
    share: watch::Receiver<Share>,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) {
    if config.every_seconds == 0 {
        return;
    }
    let mut rounds = Rounds::new(id, ports.store.clone(), Auditor::new(ports.store, ports.catalogue));
    let budget = Duration::from_secs(config.budget_seconds.into());
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(config.every_seconds.into())) => {}
            () = shutdown.cancelled() => return,
        }
        if !share.borrow().shards.contains(&Shard(0)) {
            // Whoever does it now counts what is wrong.
            rounds.known.clear();
            Stats::set(&stats.audit_findings, 0);
            continue;
        }
        let is_over = |begun: Instant| shutdown.is_cancelled() || begun.elapsed() >= budget;
        if let Err(error) = rounds.look(&stats, &is_over).await {
            debug!(error = &error as &dyn std::error::Error, "The audit was put off");
        }
    }
}

/// What is wrong as far as it is known, by the execution it is about.
struct Rounds {
    id: CoordinatorId,
    store: DynStore,
    auditor: Auditor,
    known: BTreeMap<Option<ExecutionId>, Vec<Finding>>,
    tables: Vec<Finding>,
}

impl Rounds {
    fn new(id: CoordinatorId, store: DynStore, auditor: Auditor) -> Self {
        Self { id, store, auditor, known: BTreeMap::new(), tables: Vec::new() }
    }

    /// Compares the small tables, and goes on with the executions from where it was until `is_over` or the end.
    async fn look(
        &mut self,
        stats: &Stats,
        is_over: &(dyn Fn(Instant) -> bool + Sync),
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        let Some(note) = self.store.chore_take(CHORE, self.id, HOLD).await? else { return Ok(()) };
        let mut after: Option<ExecutionId> = note.parse().ok();
        let tables = self.auditor.tables().await?;
        tables.iter().filter(|finding| !self.tables.contains(finding)).for_each(tell);
        self.tables = tables;
        loop {
            let page = Instant::now();
            let mut report = Report::default();
            let next = self.auditor.page(after, &mut report).await?;
            self.learn(after, next, report.findings);
            Stats::add(&stats.audited_executions, report.checked.executions);
            let noted = next.map(|id| id.to_string()).unwrap_or_default();
            if !self.store.chore_note(CHORE, self.id, &noted).await? {
                return Ok(());
            }
            let count = self.tables.len() + self.known.values().map(Vec::len).sum::<usize>();
            Stats::set(&stats.audit_findings, count as u64);
            after = next;
            if after.is_none() || is_over(begun) {
                break;
            }
            tokio::time::sleep(page.elapsed().min(LONGEST_PAUSE)).await;
            self.store.chore_take(CHORE, self.id, HOLD).await?;
        }
        let now = self.store.now().await?.as_micros() as u64;
        Stats::set(&stats.audit_run_at, now);
        if after.is_none() {
            Stats::set(&stats.audit_round_at, now);
        }
        Ok(())
    }

    /// What was found of the executions of a span; what was known of them is forgotten.
    fn learn(&mut self, after: Option<ExecutionId>, until: Option<ExecutionId>, findings: Vec<Finding>) {
        let was_known = |id: &Option<ExecutionId>| {
            id.is_none_or(|id| after.is_none_or(|after| id > after) && until.is_none_or(|until| id <= until))
        };
        let earlier: BTreeMap<_, _> = self.known.extract_if(.., |id, _| was_known(id)).collect();
        for finding in findings {
            if !earlier.get(&finding.execution).is_some_and(|known| known.contains(&finding)) {
                tell(&finding);
            }
            self.known.entry(finding.execution).or_default().push(finding);
        }
    }
}

/// Someone must act: this is a fault of ours or of the disk.
fn tell(finding: &Finding) {
    let execution = finding.execution.map(|id| id.to_string()).unwrap_or_default();
    error!(
        rule = finding.invariant,
        execution.id = execution,
        "A rule is broken: {}. Keep the database as it is and report this",
        finding.message
    );
}

#[cfg(test)]
mod tests;
