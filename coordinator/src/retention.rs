//! Removes what has been kept for long enough, each execution with everything of theirs.
//!
//! Decides whose time is over and what others still need; the store removes whole executions or none. Can be ended at
//! any moment: whoever comes next begins again and finds what is left.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{
    execution::{Event, Status, again::payloads_in},
    ids::{CoordinatorId, ExecutionId, PayloadId, Shard, TenantId},
    port::{
        history::{ArchiveError, DynArchive, Ended, EndedFilter, Forgotten, Leftover, Limits, Owner},
        line::Line,
        store::{DynStore, JOURNAL_PAGE, StoreError, parts_of},
    },
    time::Timestamp,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Ports, Stats,
    membership::{self, Share},
};

/// How long executions can be looked at after their end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days that completed executions are kept after their end, with journal, task history and payloads; 0 keeps
    /// them for ever.
    pub completed_days: u32,
    /// Days that failed executions are kept after their end; 0 keeps them for ever.
    pub failed_days: u32,
    /// Days that cancelled executions are kept after their end; 0 keeps them for ever.
    pub cancelled_days: u32,
    /// The folder to which each execution is written before it is removed, as a line of JSON in one compressed file a
    /// day. Without it, what is removed is gone. Coordinators on several machines need a folder that they share.
    #[schemars(with = "Option<String>", example = "/var/lib/apg/archive")]
    pub archive: Option<PathBuf>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { completed_days: 30, failed_days: 90, cancelled_days: 90, archive: None }
    }
}

impl Retention {
    /// Before which instants executions must have ended to be removed at `now`.
    fn limits(&self, now: Timestamp) -> Limits {
        let before = |days: u32| (days > 0).then(|| earlier(now, DAY * days));
        Limits {
            completed: before(self.completed_days),
            failed: before(self.failed_days),
            cancelled: before(self.cancelled_days),
        }
    }
}

const DAY: Duration = Duration::from_hours(24);
/// After a start, and between two passes.
const FIRST: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_mins(10);
/// How long a coordinator that is not heard of keeps the others from going on.
const HOLD: Duration = Duration::from_mins(2);
const CHORE: &str = "retention";
/// The previous month is made ahead when it is missing: one that is to stay away must lie further back.
const OLDEST_MADE: Duration = Duration::from_hours(24 * 31);
/// The longest pause after a batch.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    #[error("the store could not be used")]
    Store(#[from] StoreError),
    #[error("nothing is removed that could not be archived")]
    Archive(#[from] ArchiveError),
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
struct Batch {
    executions: u32,
    /// Turns; an execution that has more goes alone.
    turns: u32,
    /// Executions looked at for what is left over.
    owners: u32,
}

const BATCH: Batch = Batch { executions: 200, turns: 5_000, owners: 500 };

/// What whoever goes on has to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// Until when ended executions were looked at for payloads that nothing names, and when that was, in
    /// microseconds since 1970.
    looked_until: i64,
    looked_at: i64,
}

pub(crate) async fn run(
    id: CoordinatorId,
    config: Retention,
    ports: Ports,
    mut share: watch::Receiver<Share>,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        pause = PAUSE;
        // One of them asks; the chore's row keeps two from doing it when that changes.
        if !share.borrow_and_update().shards.contains(&Shard(0)) {
            tokio::select! {
                () = membership::changed(&mut share) => {}
                () = shutdown.cancelled() => return,
            }
            continue;
        }
        let mut pass = Pass::new(id, config.clone(), ports.store.clone(), ports.archive.clone(), &stats);
        let is_over = || shutdown.is_cancelled();
        match pass.run(&is_over).await {
            Ok(gone) if gone == Forgotten::default() => {}
            Ok(gone) => info!(
                executions = gone.executions,
                turns = gone.turns,
                payloads = gone.payloads,
                "Executions whose time was over were removed"
            ),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "Removing old executions was put off");
            }
        }
    }
}

/// One look at everything that ended.
struct Pass<'a> {
    id: CoordinatorId,
    config: Retention,
    store: DynStore,
    archive: Option<DynArchive>,
    stats: &'a Stats,
    batch: Batch,
    gone: Forgotten,
}

impl<'a> Pass<'a> {
    fn new(
        id: CoordinatorId,
        config: Retention,
        store: DynStore,
        archive: Option<DynArchive>,
        stats: &'a Stats,
    ) -> Self {
        Self { id, config, store, archive, stats, batch: BATCH, gone: Forgotten::default() }
    }

    /// Goes on until nothing is left to do, `is_over` says so, or another coordinator has taken over.
    async fn run(&mut self, is_over: &(dyn Fn() -> bool + Sync)) -> Result<Forgotten, RetentionError> {
        let Some(note) = self.store.chore_take(CHORE, self.id, HOLD).await? else {
            return Ok(self.gone);
        };
        // A note of another release says nothing, and everything is looked at once more.
        let note: Note = serde_json::from_str(&note).unwrap_or_default();
        let now = self.store.now().await?;
        let limits = self.config.limits(now);
        if let Some(archive) = &self.archive {
            archive.close_days(now).await?;
        }
        let tenants = self.store.tenants().await?;
        let newest = limits.each().map(|(_, before)| before).max();
        let (mut has_looked, mut has_month_gone) = (true, false);
        if let Some(newest) = newest {
            has_month_gone = self.months(&tenants, newest.min(earlier(now, OLDEST_MADE)), limits).await?;
            for tenant in tenants {
                let needed = self.needed_by_open(tenant, newest).await?;
                for (status, before) in limits.each() {
                    has_looked &= self.ended(tenant, (status, before), &needed, is_over).await?;
                }
            }
        }
        let yesterday = earlier(now, DAY);
        let is_due = has_month_gone || note.looked_at <= yesterday.as_micros();
        if has_looked && is_due && self.leftovers(&note, yesterday, is_over).await? {
            let note = Note { looked_until: yesterday.as_micros(), looked_at: now.as_micros() };
            let text = serde_json::to_string(&note).map_err(|error| StoreError::Corrupt(error.into()))?;
            self.store.chore_note(CHORE, self.id, &text).await?;
        }
        if has_looked {
            Stats::set(&self.stats.retention_lag_micros, 0);
            Stats::set(&self.stats.retention_run_at, now.as_micros() as u64);
        }
        Ok(self.gone)
    }

    fn count(&mut self, more: Forgotten) {
        self.gone += more;
        for (counter, by) in [
            (&self.stats.forgotten_executions, more.executions),
            (&self.stats.forgotten_turns, more.turns),
            (&self.stats.forgotten_tasks, more.tasks),
            (&self.stats.forgotten_payloads, more.payloads),
            (&self.stats.forgotten_human_tasks, more.human_tasks),
            (&self.stats.forgotten_others, more.others),
        ] {
            Stats::add(counter, by);
        }
    }

    /// Whether to go on after a batch that began then: nobody has asked for the end, and the chore is still ours. Rests
    /// for as long as the batch took, so that turns have the store to themselves half of the time.
    async fn goes_on(
        &self,
        begun: Instant,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, RetentionError> {
        if is_over() {
            return Ok(false);
        }
        tokio::time::sleep(begun.elapsed().min(LONGEST_PAUSE)).await;
        Ok(!is_over() && self.store.chore_take(CHORE, self.id, HOLD).await?.is_some())
    }

    /// Lets months go whole in which nothing must stay; `true` when one went. With an archive only those that are
    /// empty: what is in the others is written down first.
    async fn months(
        &mut self,
        tenants: &[TenantId],
        before: Timestamp,
        limits: Limits,
    ) -> Result<bool, RetentionError> {
        let mut has_gone = false;
        let limits = if self.archive.is_some() { Limits::default() } else { limits };
        for month in self.store.months(before).await? {
            let mut has_open = false;
            for tenant in tenants {
                has_open |= !self.store.open_before(*tenant, month.end, None, 1).await?.is_empty();
            }
            // What an open execution needs was accepted before it or after: let the batches look at each.
            if has_open {
                break;
            }
            if let Some(gone) = self.store.forget_month(&month, limits).await? {
                info!(executions = gone.executions, "{} was removed", month.name);
                self.count(gone);
                has_gone = true;
            }
        }
        Ok(has_gone)
    }

    /// Executions that open ones accepted before an instant came from: those look for them at their end.
    async fn needed_by_open(
        &self,
        tenant: TenantId,
        before: Timestamp,
    ) -> Result<BTreeSet<ExecutionId>, RetentionError> {
        let mut needed = BTreeSet::new();
        let mut after = None;
        loop {
            let open = self.store.open_before(tenant, before, after, self.batch.owners).await?;
            let Some(last) = open.last() else { return Ok(needed) };
            after = Some(*last);
            needed.extend(self.parents(&open).await?.into_values());
        }
    }

    /// The callers of those that are sub-workflows.
    async fn parents(
        &self,
        executions: &[ExecutionId],
    ) -> Result<HashMap<ExecutionId, ExecutionId>, StoreError> {
        let firsts = self.store.load(executions, 0, 1).await?;
        let mut parents = HashMap::new();
        for (id, stored) in executions.iter().zip(firsts) {
            let first = stored.as_ref().and_then(|stored| stored.turns.first());
            if let Some(Event::Accepted(accepted)) = first.and_then(|turn| turn.events.first())
                && let Some(parent) = &accepted.parent
            {
                parents.insert(*id, parent.execution);
            }
        }
        Ok(parents)
    }

    /// Removes a tenant's executions that ended so and before an instant. `false` when it ended early.
    async fn ended(
        &mut self,
        tenant: TenantId,
        (status, before): (Status, Timestamp),
        needed: &BTreeSet<ExecutionId>,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, RetentionError> {
        let mut after = None;
        loop {
            let begun = Instant::now();
            let filter = EndedFilter { tenant, status, before, after, limit: self.batch.executions };
            let mut page = self.store.ended(filter).await?;
            let mut turns = 0;
            let fitting = page.iter().take_while(|ended| {
                turns += ended.turns;
                turns <= self.batch.turns
            });
            page.truncate(fitting.count().max(1));
            let Some(last) = page.last() else { return Ok(true) };
            after = Some(last.row.id);
            if let Some(at) = page.iter().filter_map(|ended| ended.row.finished_at).min() {
                let lag = before.since(at).as_micros() as u64;
                Stats::set(&self.stats.retention_lag_micros, lag);
            }
            self.remove(page, needed).await?;
            if !self.goes_on(begun, is_over).await? {
                return Ok(false);
            }
        }
    }

    /// Removes those of a page that nobody needs any more.
    async fn remove(
        &mut self,
        page: Vec<Ended>,
        needed: &BTreeSet<ExecutionId>,
    ) -> Result<(), RetentionError> {
        let ids: Vec<ExecutionId> = page.iter().map(|ended| ended.row.id).collect();
        // An open caller may ask for its sub-workflow once more: gone, it would be started anew.
        let parents = self.parents(&ids).await?;
        let callers: BTreeSet<ExecutionId> = parents.values().copied().collect();
        let open = self.store.open_among(&callers.into_iter().collect::<Vec<_>>()).await?;
        let stays = |id: &ExecutionId| {
            needed.contains(id) || parents.get(id).is_some_and(|parent| open.contains(parent))
        };
        let going: Vec<Ended> = page.into_iter().filter(|ended| !stays(&ended.row.id)).collect();
        if going.is_empty() {
            return Ok(());
        }
        let ids: Vec<ExecutionId> = going.iter().map(|ended| ended.row.id).collect();
        if let Some(archive) = &self.archive {
            let mut part = archive.begin(self.store.now().await?).await?;
            for ended in going {
                let mut line = Line::of(Arc::clone(&self.store), ended.row);
                while let Some(piece) = line.next().await? {
                    part.write(piece).await?;
                }
            }
            part.keep().await?;
        }
        let gone = self.store.forget(&ids).await?;
        self.count(gone);
        Ok(())
    }

    /// Removes what is left of executions that are gone, and payloads of ended ones that their journals never came to
    /// name. What is younger than a day may be on its way. `false` when it ended early.
    async fn leftovers(
        &mut self,
        note: &Note,
        yesterday: Timestamp,
        is_over: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, RetentionError> {
        let since = Timestamp::from_micros(note.looked_until);
        for leftover in Leftover::ALL {
            let mut after = None;
            loop {
                let begun = Instant::now();
                let owners = self.store.owners(leftover, yesterday, after, self.batch.owners).await?;
                let Some(last) = owners.last() else { break };
                after = Some(last.execution);
                let orphans: Vec<ExecutionId> = owners
                    .iter()
                    .filter(|owner| owner.status.is_none())
                    .map(|owner| owner.execution)
                    .collect();
                let gone = self.store.forget(&orphans).await?;
                self.count(gone);
                if leftover == Leftover::Payloads {
                    let ended =
                        |owner: &&Owner| owner.finished_at.is_some_and(|at| since <= at && at < yesterday);
                    for owner in owners.iter().filter(ended) {
                        let unnamed = unnamed(&self.store, owner.execution).await?;
                        let payloads = self.store.payload_drop(owner.execution, &unnamed).await?;
                        self.count(Forgotten { payloads, ..Forgotten::default() });
                    }
                }
                if !self.goes_on(begun, is_over).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// The payloads of an execution that neither its journal names nor one that the journal names.
///
/// Whatever looks like the id of a payload counts, wherever it stands: an event that is added later needs no line here.
async fn unnamed(store: &DynStore, execution: ExecutionId) -> Result<Vec<PayloadId>, StoreError> {
    const PAGE: u32 = 500;
    let mut left: BTreeSet<PayloadId> = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.payload_list(execution, after, PAGE).await?;
        left.extend(page.iter().copied());
        after = page.last().copied();
        if page.len() < PAGE as usize {
            break;
        }
    }
    let mut named = Vec::new();
    let mut next = Some(0);
    while let Some(seq) = next {
        let page = store.load(&[execution], seq, JOURNAL_PAGE).await?.into_iter().flatten().next();
        next = page.as_ref().and_then(|page| page.goes_on(JOURNAL_PAGE));
        for turn in page.iter().flat_map(|page| &page.turns) {
            let text = serde_json::to_vec(&turn.events).map_err(|error| StoreError::Corrupt(error.into()))?;
            named.extend(payloads_in(&text).into_iter().filter(|id| left.remove(id)));
        }
    }
    // A list lies in parts, and a value may name files.
    while let Some(id) = named.pop().filter(|_| !left.is_empty()) {
        let Some(bytes) = store.payload_get(execution, id).await? else { continue };
        let inner = parts_of(&bytes).unwrap_or_else(|| payloads_in(&bytes));
        named.extend(inner.into_iter().filter(|id| left.remove(id)));
    }
    Ok(left.into_iter().collect())
}

#[cfg(test)]
mod tests;
