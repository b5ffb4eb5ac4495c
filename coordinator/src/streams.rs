//! Queues of brokers that queue triggers listen at: a start for each message, acknowledged once it is durable.
//!
//! Each trigger is looked after by the coordinator that serves its shard. Should two listen for a while, or one die
//! between the commit and the acknowledgement, the receipt's key lets a message start one execution. A message that
//! nothing tells apart starts at least one. No connection is made again anywhere but here.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use shared::{
    execution::{Turn, start_hint},
    ids::TriggerId,
    port::{
        sources::{Answer, Incoming, Listen, Listener, SourceError},
        store::{StoreError, Submitted},
        triggers::{Receipt, TriggerRow, TriggerStart, TriggerStarted},
    },
    retry::Reconnect,
    time::{Clock, Timestamp},
    workflow::{
        Workflow,
        triggers::{OnBad, QueueTrigger, Source, Trigger},
    },
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::{
    Config, Ports,
    membership::{self, Share},
    schedules::ours,
    snapshots::Snapshots,
    spawn,
    store_clock::StoreClock,
};

/// Messages that start in one transaction, at most.
const PAGE: usize = 100;
/// How long a broker may take until it is listened to.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this something is tried again, and never sooner.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause before a broker is tried again, or what is held back.
const LONGEST: Duration = Duration::from_secs(30);
/// A subscription that lasted for so long was a good one: the next pause is short.
const LASTED: Duration = Duration::from_secs(10);

/// A trigger that is listened for.
struct Running {
    /// The trigger as it was when this began: another one begins anew.
    snapshot: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) async fn run(
    config: Config,
    ports: Ports,
    clock: Arc<StoreClock>,
    mut share: watch::Receiver<Share>,
    shutdown: CancellationToken,
) {
    let every = Duration::from_secs(config.sweep_seconds.into()).max(RETRY);
    let mut running: BTreeMap<TriggerId, Running> = BTreeMap::new();
    loop {
        let shards = share.borrow_and_update().shards.clone();
        let wake = match ours(&ports, &shards, "queue_trigger").await {
            Ok(rows) => {
                let is_settled = follow(&config, &ports, &clock, rows, &mut running);
                Instant::now() + if is_settled { every } else { RETRY }
            }
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "Queue triggers could not be read");
                Instant::now() + RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = membership::changed(&mut share) => {}
            () = shutdown.cancelled() => break,
        }
    }
    for one in running.values() {
        one.stop.cancel();
    }
    for (id, one) in running {
        if one.task.await.is_err() {
            error!(trigger = %id, "Listening for {id} broke down");
        }
    }
}

/// Begins to listen for these triggers, and ends it for all others; answers whether that is done.
fn follow(
    config: &Config,
    ports: &Ports,
    clock: &Arc<StoreClock>,
    rows: Vec<TriggerRow>,
    running: &mut BTreeMap<TriggerId, Running>,
) -> bool {
    for (id, one) in &*running {
        if !rows.iter().any(|row| row.id == *id && row.snapshot == one.snapshot) {
            one.stop.cancel();
        }
    }
    running.retain(|_, one| !one.task.is_finished());
    for row in rows {
        // One that still leaves is followed by its successor, not joined by it.
        if running.contains_key(&row.id) {
            continue;
        }
        let (id, snapshot, stop) = (row.id, row.snapshot.clone(), CancellationToken::new());
        let consumer = Consumer {
            quota: config.max_open_executions,
            ports: ports.clone(),
            clock: Arc::clone(clock) as _,
            row,
            state: State::default(),
        };
        let task = spawn(consumer.run(stop.clone()));
        running.insert(id, Running { snapshot, stop, task });
    }
    running.values().all(|one| !one.stop.is_cancelled())
}

/// What is shown of a trigger.
#[derive(Debug, Default)]
struct State {
    trouble: Option<String>,
    /// Whether the store knows.
    is_told: bool,
}

/// One trigger, its workflow, and how its messages are read.
struct Armed<'a> {
    trigger: &'a Trigger,
    queue: &'a QueueTrigger,
    workflow: &'a Workflow,
}

/// What became of some messages.
#[derive(Debug, Default)]
struct Step {
    answers: Vec<(u64, Answer)>,
    /// Why the others are held back.
    held: Option<String>,
}

struct Consumer {
    quota: u64,
    ports: Ports,
    clock: Arc<dyn Clock>,
    row: TriggerRow,
    state: State,
}

impl Consumer {
    /// Listens until it is told to stop. The messages at hand are finished; what was not begun goes back.
    async fn run(mut self, stop: CancellationToken) {
        let Some(workflow) = stop.run_until_cancelled(self.workflow()).await else { return };
        let armed = workflow.as_deref().and_then(|workflow| {
            let trigger = workflow.trigger(&self.row.name)?;
            let Source::Queue(queue) = &trigger.source else { return None };
            Some(Armed { trigger, queue, workflow })
        });
        let Some(armed) = armed else {
            // It was said why; another version of the workflow may be better.
            return stop.cancelled().await;
        };
        let mut pauses = Reconnect::new(RETRY / 2, LONGEST);
        loop {
            let began = Instant::now();
            let Err(trouble) = self.listen(&armed, &stop).await else { return };
            info!(trigger = %self.row.id, "A queue is listened to again soon: {trouble}");
            self.say(Some(trouble.0)).await;
            if began.elapsed() > LASTED {
                pauses.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.pause()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// The workflow that the trigger starts; none when this build cannot compile it.
    async fn workflow(&self) -> Option<Arc<Workflow>> {
        let mut pauses = Reconnect::new(RETRY / 2, LONGEST);
        let mut snapshots = Snapshots::new(self.ports.clone());
        loop {
            match snapshots.workflow(&self.row).await {
                Ok(found) => return found,
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "The workflow of a trigger is not read");
                }
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// One subscription, from its beginning until it is lost or told to stop (`Ok`).
    async fn listen(&mut self, armed: &Armed<'_>, stop: &CancellationToken) -> Result<(), SourceError> {
        let what = Listen {
            connector: armed.queue.connector.clone(),
            queue: armed.queue.queue.clone(),
            group: armed.queue.group.clone(),
            // The same for each coordinator, so that the next one is given what the last one had out.
            consumer: self.row.id.to_string(),
            prefetch: armed.queue.prefetch,
        };
        let slow = |_| SourceError("the broker does not answer within 30 seconds".to_owned());
        let streams = Arc::clone(&self.ports.streams);
        let opened = tokio::select! {
            opened = tokio::time::timeout(PATIENCE, streams.listen(&what)) => opened.map_err(slow)??,
            () = stop.cancelled() => return Ok(()),
        };
        let mut listener = opened;
        self.say(None).await;
        let outcome = self.serve(armed, &mut *listener, stop).await;
        listener.close().await;
        outcome
    }

    async fn serve(
        &mut self,
        armed: &Armed<'_>,
        listener: &mut dyn Listener,
        stop: &CancellationToken,
    ) -> Result<(), SourceError> {
        loop {
            let mut waiting = {
                let mut receive = pin!(listener.receive(PAGE));
                loop {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(()),
                        received = &mut receive => break received?,
                        () = tokio::time::sleep(RETRY), if !self.state.is_told => self.tell().await,
                    }
                }
            };
            let mut pauses = Reconnect::new(RETRY / 2, LONGEST);
            loop {
                match self.start(armed, &waiting).await {
                    Ok(step) => {
                        waiting.retain(|message| step.answers.iter().all(|(tag, _)| *tag != message.tag));
                        listener.answer(&step.answers).await?;
                        self.say(step.held).await;
                    }
                    // What was kept of them is found when they are tried again.
                    Err(error) => {
                        debug!(error = &error as &dyn std::error::Error, "Messages wait for the store");
                        self.say(Some(held(&error.to_string()))).await;
                    }
                }
                if waiting.is_empty() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(pauses.pause()) => {}
                    () = stop.cancelled() => return Ok(()),
                }
                listener.hold().await?;
            }
        }
    }

    /// Starts an execution for each of these messages for which there is room, all in one transaction.
    async fn start(&self, armed: &Armed<'_>, messages: &[Incoming]) -> Result<Step, StoreError> {
        let store = &self.ports.store;
        let now = self.clock.now();
        let mut room = u64::MAX;
        if let Some(most) = armed.trigger.max_per_hour {
            let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
            room = u64::from(most).saturating_sub(store.trigger_started_since(self.row.id, hour).await?);
        }
        let mut step = Step::default();
        let mut tags: Vec<(u64, Answer)> = Vec::with_capacity(messages.len());
        let mut starts: Vec<TriggerStart> = Vec::with_capacity(messages.len());
        for message in messages {
            let (start, answer) = self.kept_of(armed, message, now);
            if start.submission.is_some() {
                if room == 0 {
                    let most = armed.trigger.max_per_hour.unwrap_or_default();
                    step.held =
                        Some(held(&format!("it starts at most {most} executions an hour (`max_per_hour`)")));
                    continue;
                }
                room -= 1;
            }
            tags.push((message.tag, answer));
            starts.push(start);
        }
        let firsts: Vec<Option<Turn>> = starts
            .iter()
            .map(|start| start.submission.as_ref().map(|submission| submission.first.clone()))
            .collect();
        let outcomes = store.trigger_start(starts, self.quota).await?;
        let mut hints = Vec::new();
        for (((tag, answer), first), outcome) in tags.into_iter().zip(firsts).zip(outcomes) {
            match outcome {
                TriggerStarted::New => {
                    hints.extend(first.map(start_hint));
                    step.answers.push((tag, answer));
                }
                TriggerStarted::Duplicate(_) => step.answers.push((tag, Answer::Done)),
                TriggerStarted::Refused(Submitted::QuotaFull { open }) => {
                    step.held =
                        Some(held(&format!("there are {open} open executions, as many as there may be")));
                }
                TriggerStarted::Refused(_) | TriggerStarted::Missing => {
                    step.held = Some(held("its workflow is gone"));
                }
            }
        }
        if !hints.is_empty()
            && let Err(error) = self.ports.queue.publish_inbox(hints).await
        {
            debug!(error = &error as &dyn std::error::Error, "What messages started is found by the sweep");
        }
        Ok(step)
    }

    /// What is kept of a message, and how it is answered once that is durable.
    fn kept_of(&self, armed: &Armed<'_>, message: &Incoming, now: Timestamp) -> (TriggerStart, Answer) {
        let made = match armed.queue.event(message, now) {
            Ok(event) => {
                armed.trigger.start(&self.row, armed.workflow, &event, 0, now).map_err(|(parked, _)| parked)
            }
            Err((event, why)) => {
                Err(armed.trigger.unreadable(&self.row, event, message.body.clone(), why, now))
            }
        };
        match made {
            Ok(mut start) => {
                if start.receipt.key.is_none() {
                    start.receipt.error = Some(
                        "at least once: the message has no id and the trigger no `dedupe_key`, so that the same \
                         message, given again after a failure, starts another"
                            .to_owned(),
                    );
                }
                (start, Answer::Done)
            }
            Err(parked) if armed.queue.on_bad == OnBad::Park => (parked, Answer::Done),
            Err(TriggerStart { receipt, .. }) => {
                // Without a key: sent again from the dead letters, it is read again.
                let receipt =
                    Receipt { key: None, outcome: "refused".to_owned(), event: None, bytes: None, ..receipt };
                (TriggerStart { receipt, submission: None, gather: None }, Answer::Rejected)
            }
        }
    }

    /// Shows what is wrong, or that nothing is.
    async fn say(&mut self, trouble: Option<String>) {
        self.state.is_told &= self.state.trouble == trouble;
        self.state.trouble = trouble;
        if !self.state.is_told {
            self.tell().await;
        }
    }

    async fn tell(&mut self) {
        match self.ports.store.trigger_trouble(self.row.id, self.state.trouble.clone()).await {
            Ok(()) => self.state.is_told = true,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "The state of a trigger is said again");
            }
        }
    }
}

fn held(why: &str) -> String {
    format!("held back: {why}; the messages wait at the broker")
}

#[cfg(test)]
mod tests;
