//! Folders that file triggers look at: a start for each file that appears, stays still and was not seen before.
//!
//! Each trigger is looked after by the coordinator that serves its shard. Should two of them look for a while, or
//! one die between a start and what follows, the receipt's key (path, size and instant of change) lets a file
//! start one execution.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    execution::{Turn, start_hint},
    ids::{ReceiptId, Shard, TriggerId},
    port::{
        sources::{SeenFile, SourceError},
        store::{StoreError, Submitted},
        triggers::{KEPT_FILE, Receipt, TriggerRow, TriggerStart, TriggerStarted},
    },
    time::{Clock, Timestamp},
    workflow::{
        Workflow,
        triggers::{After, Files, Source, Trigger},
    },
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use crate::{
    Config, Ports,
    membership::{self, Share},
    schedules::ours,
    snapshots::Snapshots,
    store_clock::StoreClock,
};

/// Files that start in one transaction.
const PAGE: usize = 50;
/// Starts of one look; further ones follow at once.
const MOST: usize = 1_000;
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this something is tried again, and never sooner.
const RETRY: Duration = Duration::from_secs(1);

/// What one trigger's folder looked like.
#[derive(Debug, Default)]
struct Watched {
    /// The trigger as it was when this began: another one begins anew.
    snapshot: String,
    /// Each path, as it was first seen so, and when.
    seen: HashMap<String, (SeenFile, Instant)>,
    /// What has been dealt with.
    done: HashMap<String, SeenFile>,
    /// What was said to be unreadable.
    reported: HashSet<(String, String)>,
    next: Option<Instant>,
}

impl Watched {
    /// Files that have not changed for long enough, the oldest first, and when the next may be one.
    fn still(
        &mut self,
        files: Vec<SeenFile>,
        now: Instant,
        stable_for: Duration,
    ) -> (Vec<SeenFile>, Option<Instant>) {
        let mut seen = HashMap::with_capacity(files.len());
        let (mut still, mut next) = (Vec::new(), None);
        for file in files {
            if self.done.get(&file.path) == Some(&file) {
                let done = (file.clone(), now);
                seen.insert(file.path, done);
                continue;
            }
            let since = match self.seen.get(&file.path) {
                Some((before, since)) if *before == file => *since,
                _ => now,
            };
            let due = since + stable_for;
            if due <= now {
                still.push(file.clone());
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
            seen.insert(file.path.clone(), (file, since));
        }
        self.done.retain(|path, _| seen.contains_key(path));
        self.seen = seen;
        still.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        (still, next)
    }
}

struct Poller {
    config: Config,
    ports: Ports,
    clock: Arc<StoreClock>,
    snapshots: Snapshots,
    rows: Vec<TriggerRow>,
    watched: BTreeMap<TriggerId, Watched>,
}

pub(crate) async fn run(
    config: Config,
    ports: Ports,
    clock: Arc<StoreClock>,
    mut share: watch::Receiver<Share>,
    shutdown: CancellationToken,
) {
    let every = Duration::from_secs(config.sweep_seconds.into()).max(RETRY);
    let snapshots = Snapshots::new(ports.clone());
    let mut this = Poller { config, ports, clock, snapshots, rows: Vec::new(), watched: BTreeMap::new() };
    let mut next_read = Instant::now();
    loop {
        let shards = share.borrow_and_update().shards.clone();
        if Instant::now() >= next_read {
            next_read = Instant::now() + every;
            if let Err(error) = this.read(&shards).await {
                debug!(error = &error as &dyn std::error::Error, "File triggers could not be read");
                next_read = Instant::now() + RETRY;
            }
        }
        let work = async {
            this.look().await;
            this.watched.values().filter_map(|watched| watched.next).min()
        };
        let due = tokio::select! {
            due = work => due,
            () = shutdown.cancelled() => return,
        };
        let wake = due.map_or(next_read, |due| due.min(next_read));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = membership::changed(&mut share) => next_read = Instant::now(),
            () = shutdown.cancelled() => return,
        }
    }
}

impl Poller {
    /// Which triggers are ours.
    async fn read(&mut self, shards: &[Shard]) -> Result<(), StoreError> {
        self.rows = ours(&self.ports, shards, "file_trigger").await?;
        let rows = &self.rows;
        self.watched
            .retain(|id, watched| rows.iter().any(|row| row.id == *id && row.snapshot == watched.snapshot));
        Ok(())
    }

    /// Looks at every folder that is due.
    async fn look(&mut self) {
        for row in self.rows.clone() {
            let mut watched = self
                .watched
                .remove(&row.id)
                .unwrap_or_else(|| Watched { snapshot: row.snapshot.clone(), ..Watched::default() });
            if watched.next.is_none_or(|next| next <= Instant::now()) {
                watched.next = Some(match self.folder(&row, &mut watched).await {
                    Ok(next) => next,
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, "A folder is looked at again");
                        Instant::now() + RETRY
                    }
                });
            }
            self.watched.insert(row.id, watched);
        }
    }

    /// Looks at one folder and starts what is to be started; answers when to look again.
    async fn folder(&mut self, row: &TriggerRow, watched: &mut Watched) -> Result<Instant, StoreError> {
        let later = Instant::now() + RETRY * 30;
        let Some(workflow) = self.snapshots.workflow(row).await? else { return Ok(later) };
        let Some(trigger) = workflow.trigger(&row.name) else { return Ok(later) };
        let Source::File(files) = &trigger.source else { return Ok(later) };
        let (config, folders) = (&files.config, &self.ports.folders);
        let next = Instant::now() + files.poll;
        let look = folders.look(&config.connector, config.folder.as_deref().unwrap_or(""), &files.pattern);
        let seen = match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => return self.trouble(row, Some(error)).await.map(|()| next),
            Err(_) => {
                let slow = SourceError("the folder does not answer within 30 seconds".to_owned());
                return self.trouble(row, Some(slow)).await.map(|()| next);
            }
        };
        for (path, why) in &seen.unreadable {
            if !watched.reported.contains(&(path.clone(), why.clone())) {
                self.park(row, path, format!("{path} {why}"), why).await?;
            }
        }
        watched.reported = seen.unreadable.into_iter().collect();
        let (still, soon) = watched.still(seen.files, Instant::now(), files.stable_for);
        let is_cut = still.len() > MOST;
        let mut trouble = None;
        for page in still.iter().take(MOST).cloned().collect::<Vec<_>>().chunks(PAGE) {
            if !self.start(row, trigger, &workflow, files, page, watched, &mut trouble).await? {
                self.trouble(row, trouble).await?;
                return Ok(next);
            }
        }
        self.trouble(row, trouble).await?;
        Ok(if is_cut { Instant::now() + RETRY } else { soon.map_or(next, |soon| soon.min(next)) })
    }

    /// Starts an execution for each of these files; answers whether there is room for further ones.
    #[expect(clippy::too_many_arguments, reason = "all there is to know about one look")]
    async fn start(
        &self,
        row: &TriggerRow,
        trigger: &Trigger,
        workflow: &Workflow,
        files: &Files,
        page: &[SeenFile],
        watched: &mut Watched,
        trouble: &mut Option<SourceError>,
    ) -> Result<bool, StoreError> {
        let (config, store) = (&files.config, &self.ports.store);
        let now = self.clock.now();
        let mut room = usize::MAX;
        if let Some(most) = trigger.max_per_hour {
            let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
            let started = store.trigger_started_since(row.id, hour).await?;
            room = u64::from(most).saturating_sub(started) as usize;
        }
        let mut starts: Vec<(&SeenFile, TriggerStart)> = Vec::new();
        for file in page.iter().take(room) {
            if let Err(error) = self.ports.folders.check(&config.connector, file).await {
                self.park(row, &file.path, key(file, config.after), &error.0).await?;
                watched.done.insert(file.path.clone(), file.clone());
                continue;
            }
            let event = event(file, config.after, &config.connector, now);
            match trigger.start(row, workflow, &event, 0, now) {
                Ok(start) | Err((start, _)) => starts.push((file, start)),
            }
        }
        let firsts: Vec<Option<Turn>> = starts
            .iter()
            .map(|(_, start)| start.submission.as_ref().map(|submission| submission.first.clone()))
            .collect();
        let parked: Vec<bool> = starts.iter().map(|(_, start)| start.submission.is_none()).collect();
        let given = starts.iter().map(|(_, start)| start.clone()).collect();
        let outcomes = store.trigger_start(given, self.config.max_open_executions).await?;
        let mut hints = Vec::new();
        let mut has_room = room > page.len();
        for (((file, _), first), (is_parked, outcome)) in
            starts.iter().zip(firsts).zip(parked.into_iter().zip(outcomes))
        {
            let has_started = match outcome {
                TriggerStarted::New => {
                    hints.extend(first.map(start_hint));
                    !is_parked
                }
                TriggerStarted::Duplicate(earlier) => earlier.outcome == "started",
                TriggerStarted::Refused(Submitted::QuotaFull { .. }) => {
                    // It lies where it is and is seen again.
                    has_room = false;
                    continue;
                }
                TriggerStarted::Refused(_) | TriggerStarted::Missing => continue,
            };
            if has_started
                && config.after != After::Keep
                && let Err(error) = self.ports.folders.put_away(&config.connector, file, config.after).await
            {
                *trouble = Some(SourceError(format!("a file has started and cannot be put away: {error}")));
                continue;
            }
            watched.done.insert(file.path.clone(), (*file).clone());
        }
        if !hints.is_empty()
            && let Err(error) = self.ports.queue.publish_inbox(hints).await
        {
            debug!(error = &error as &dyn std::error::Error, "What files started is found by the sweep");
        }
        Ok(has_room)
    }

    /// Keeps a receipt that says why a file starts nothing.
    async fn park(&self, row: &TriggerRow, path: &str, key: String, why: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let receipt = Receipt {
            id: ReceiptId::generate(),
            tenant: row.tenant,
            trigger: row.id,
            key: Some(key.chars().take(shared::workflow::triggers::MAX_KEY).collect()),
            execution: None,
            received_at: now,
            outcome: "parked".to_owned(),
            error: Some(format!("`{path}` cannot be read: {why}")),
            event: None,
            bytes: None,
        };
        let start = TriggerStart { receipt, submission: None, gather: None };
        self.ports.store.trigger_start(vec![start], self.config.max_open_executions).await?;
        Ok(())
    }

    async fn trouble(&self, row: &TriggerRow, trouble: Option<SourceError>) -> Result<(), StoreError> {
        let trouble = trouble.map(|error| error.0);
        if row.trouble == trouble {
            return Ok(());
        }
        self.ports.store.trigger_trouble(row.id, trouble).await
    }
}

/// What a file is told apart by. That of one that stays does not run out while it lies there.
fn key(file: &SeenFile, after: After) -> String {
    const LONGEST: usize = 350;
    let path = if file.path.len() > LONGEST {
        format!("{:032x}", Uuid::new_v5(&Uuid::NAMESPACE_URL, file.path.as_bytes()).as_u128())
    } else {
        file.path.clone()
    };
    let word = if after == After::Keep { KEPT_FILE } else { "file " };
    format!("{word}{path} {} {}", file.size, file.modified)
}

/// The event that a file is.
fn event(file: &SeenFile, after: After, connector: &str, now: Timestamp) -> Value {
    json!({
        "id": key(file, after),
        "type": "file.appeared",
        "source": format!("connectors/{connector}"),
        "time": now.to_string(),
        "body": { "files": [file] },
        "headers": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> SeenFile {
        SeenFile { path: path.to_owned(), name: path.to_owned(), size, modified: Timestamp::from_micros(0) }
    }

    #[test]
    fn a_file_waits_until_it_has_not_changed_for_long_enough() {
        let mut watched = Watched::default();
        let (start, wait) = (Instant::now(), Duration::from_secs(2));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watched.still(vec![file("a", 1)], at(0), wait), (vec![], Some(at(2))));
        assert_eq!(watched.still(vec![file("a", 2)], at(1), wait), (vec![], Some(at(3))));
        let both = || vec![file("b", 1), file("a", 2)];
        assert_eq!(watched.still(both(), at(3), wait), (vec![file("a", 2)], Some(at(5))));
        watched.done.insert("a".to_owned(), file("a", 2));
        assert_eq!(watched.still(both(), at(5), wait), (vec![file("b", 1)], None));
        watched.done.insert("b".to_owned(), file("b", 1));
        assert_eq!(watched.still(both(), at(9), wait), (vec![], None));
        // One that is gone and comes back is looked at again.
        assert_eq!(watched.still(vec![], at(10), wait), (vec![], None));
        assert_eq!(watched.still(vec![file("a", 2)], at(11), Duration::ZERO), (vec![file("a", 2)], None));
    }

    #[test]
    fn a_key_tells_files_apart_however_long_their_paths_are() {
        let long = |end: &str| file(&format!("{}{end}", "x".repeat(600)), 1);
        assert_ne!(key(&long("a"), After::Keep), key(&long("b"), After::Keep));
        assert!(key(&long("a"), After::Move).len() < shared::workflow::triggers::MAX_KEY);
        assert_ne!(key(&file("a", 1), After::Keep), key(&file("a", 2), After::Keep));
        assert!(key(&file("a", 1), After::Keep).starts_with("kept file "));
    }
}
