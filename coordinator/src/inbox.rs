//! The inbox loop: the hands around the desk.
//!
//! One loop decides everything this coordinator serves, batch after batch; publishing and acknowledging
//! go on beside it. When store or queue fail, what was not finished goes back to the queue unacknowledged.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use shared::{
    component::{Failure, FailureClass},
    execution::{ReplayError, Turn},
    ids::{DeadLetterId, ExecutionId, MessageId, PayloadId, Shard, TenantId},
    port::{
        queue::{Acknowledge, Audience, Delivery, Inbox, QueueError},
        slots::EXECUTIONS_KEY,
        store::{DeadLetter, JOURNAL_PAGE, Kept, LeaseRenewal, StoreError, Stored, payload_whole},
    },
    retry::Reconnect,
    time::Clock,
    wire::{Control, InboxBody, InboxMessage},
    workflow,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, warn};

use crate::{
    Config, CoordinatorError, Ports, Stats,
    desk::{self, Aside, Decided, Desk, Outgoing, Settled, Work},
    engine::{Cached, ChildOrder, Loaded, Needs},
    lifecycle::{Listener, Listeners},
    membership::Share,
    relations, rows,
    store_clock::StoreClock,
    sweeps::hint,
    timers,
};

/// Batches whose commands are on their way to the broker at once.
const PUBLISHING: usize = 16;
/// Executions in line for one key that are woken at once.
const WOKEN: u32 = 100;
/// How often one execution is decided again because somebody else was first, before its message is put back.
const RACES: usize = 8;

/// Stored values that are kept in memory, and the largest of them in bytes of JSON.
const MOST_KEPT: usize = 64;
const LARGEST_KEPT: usize = 512 * 1024;

struct Loop<'a> {
    config: &'a Config,
    ports: &'a Ports,
    desk: Desk,
    clock: Arc<StoreClock>,
    timers: mpsc::UnboundedSender<timers::Set>,
    stats: &'a Arc<Stats>,
    publishing: Arc<Semaphore>,
    tracker: TaskTracker,
    /// Ends the tries to publish when the process must go.
    hard_stop: CancellationToken,
    /// The shards it serves.
    shards: Vec<Shard>,
    /// Whether an execution may be waiting for one of the places that all executions share.
    someone_is_blocked: bool,
    queue_is_deep: bool,
    depth_read_at: Option<Instant>,
    /// Who starts on the ends of executions.
    listeners: Listeners,
    tidied_at: Instant,
    /// Stored values that were read last, oldest first.
    values: Loaded,
    recent: VecDeque<PayloadId>,
}

#[expect(clippy::too_many_arguments, reason = "the parts of one coordinator, put together once")]
pub(crate) async fn run(
    config: &Config,
    ports: &Ports,
    mut inbox: Box<dyn Inbox>,
    mut share: watch::Receiver<Share>,
    clock: Arc<StoreClock>,
    timers: mpsc::UnboundedSender<timers::Set>,
    stats: &Arc<Stats>,
    shutdown: &CancellationToken,
) -> Result<(), CoordinatorError> {
    let queue_lost_before = ports.queue.dies_with_the_process().then(|| clock.now());
    let mut this = Loop {
        config,
        ports,
        desk: Desk::new(config.rules(), config.task_queue_size, queue_lost_before),
        clock,
        timers,
        stats,
        publishing: Arc::new(Semaphore::new(PUBLISHING)),
        tracker: TaskTracker::new(),
        hard_stop: CancellationToken::new(),
        shards: Vec::new(),
        someone_is_blocked: false,
        queue_is_deep: false,
        depth_read_at: None,
        listeners: Listeners::default(),
        tidied_at: Instant::now(),
        values: Loaded::new(),
        recent: VecDeque::new(),
    };
    let mut fixed = false;
    loop {
        let deliveries = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            changed = share.changed(), if !fixed => {
                fixed = changed.is_err();
                let now = share.borrow_and_update().clone();
                if now.members > 0 {
                    this.desk.set_window(window(config, now.members));
                    // Others may have decided on what we hold; the fence would tell, but late.
                    this.desk.drop_all();
                    inbox.serve(&now.shards).await?;
                    this.shards = now.shards;
                }
                continue;
            }
            received = inbox.receive(config.batch) => received?,
            () = reading(this.listeners.next_reading()) => {
                let mut outgoing = Outgoing::default();
                this.read_listeners(&mut outgoing).await;
                this.send(outgoing, Answers::new()).await;
                continue;
            }
        };
        this.serve(deliveries).await;
    }
    // What is decided is durable; give its messages a moment to leave.
    this.tracker.close();
    if tokio::time::timeout(Duration::from_secs(10), this.tracker.wait()).await.is_err() {
        warn!("Some messages could not be published before the end; they are published again by others");
        this.hard_stop.cancel();
        this.tracker.wait().await;
    }
    Ok(())
}

fn window(config: &Config, members: u32) -> u32 {
    (config.task_queue_size / members.max(1)).max(1)
}

/// Until it is to be read who listens: for ever, when nothing waits for that.
async fn reading(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

type Answers = Vec<Box<dyn Acknowledge>>;

impl Loop<'_> {
    /// Decides a batch, keeps it, and hands its commands to the publisher.
    async fn serve(&mut self, deliveries: Vec<Delivery<InboxMessage>>) {
        let began = Instant::now();
        Stats::add(&self.stats.batches, 1);
        Stats::add(&self.stats.messages, deliveries.len() as u64);
        let mut messages = Vec::with_capacity(deliveries.len());
        let mut answers: Answers = Vec::with_capacity(deliveries.len());
        for Delivery { message, redelivered, answer } in deliveries {
            if redelivered {
                Stats::add(&self.stats.redelivered, 1);
            }
            messages.push((message, redelivered));
            answers.push(answer);
        }
        let (works, aside) = desk::gather(messages);
        let mut outgoing = Outgoing::default();
        if self.listeners.are_due() && !works.is_empty() {
            self.read_listeners(&mut outgoing).await;
        }
        let outcome = match self.keep(works, aside, &mut outgoing).await {
            Ok(()) => self.reach_out(&mut outgoing).await,
            failed => failed,
        };
        Stats::set(&self.stats.inbox_lag_micros, began.elapsed().as_micros() as u64);
        match outcome {
            Ok(()) => {
                if let Err(error) = self.follow(&mut outgoing).await {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "Waiting executions are woken by the next sweep"
                    );
                }
                self.send(outgoing, answers).await;
            }
            Err(error) => {
                // Whether anything was kept is unknown: nothing is acknowledged, and everything is read again.
                warn!(
                    error = &error as &dyn std::error::Error,
                    "The store failed; a batch goes back to the queue"
                );
                self.desk.drop_all();
                let pause =
                    if error.is_retryable() { Duration::from_millis(500) } else { Duration::from_secs(5) };
                tokio::time::sleep(pause).await;
                for answer in answers {
                    answer.requeue().await;
                }
            }
        }
    }

    async fn keep(
        &mut self,
        works: Vec<Work>,
        aside: Aside,
        outgoing: &mut Outgoing,
    ) -> Result<(), StoreError> {
        self.put_aside(aside, outgoing).await?;
        let touched: Vec<ExecutionId> = works.iter().map(|work| work.execution).collect();
        let mut works = works;
        for _ in 0..RACES {
            if works.is_empty() {
                break;
            }
            works = self.decide_and_commit(works, outgoing).await?;
        }
        if !works.is_empty() {
            return Err(StoreError::Unknown("another coordinator was always first".into()));
        }
        // Room in the dispatch window goes to those that were held back, tenants in turn.
        loop {
            let before = self.desk.held_back();
            let fed = self.desk.feed();
            if fed.is_empty() {
                break;
            }
            let mut wakes = Desk::wakes(fed, MessageId::generate);
            while !wakes.is_empty() {
                wakes = self.decide_and_commit(wakes, outgoing).await?;
            }
            if self.desk.held_back() == before {
                break;
            }
        }
        self.desk.tidy(touched.into_iter(), self.config.cached_executions);
        self.forget_idle();
        Stats::set(&self.stats.outstanding, self.desk.outstanding());
        Stats::set(&self.stats.cached_executions, self.desk.cached() as u64);
        Ok(())
    }

    /// Decides and commits; answers what must be decided again because somebody else was first.
    async fn decide_and_commit(
        &mut self,
        mut works: Vec<Work>,
        outgoing: &mut Outgoing,
    ) -> Result<Vec<Work>, StoreError> {
        self.read_missing(&mut works).await?;
        let now = self.clock.now();
        let mut decided: Vec<(Work, Decided)> = Vec::with_capacity(works.len());
        for work in works {
            if let Some(made) = self.decide(&work, now).await? {
                decided.push((work, made));
            }
        }
        for (_, made) in &mut decided {
            for (tenant, execution, id, bytes) in made.payloads.drain(..) {
                self.ports.store.payload_put(tenant, execution, id, bytes).await?;
            }
        }
        let commits: Vec<_> = decided
            .iter_mut()
            .flat_map(|(_, made)| made.planned.iter_mut().filter_map(|planned| planned.commit.take()))
            .collect();
        let kept = if commits.is_empty() { Vec::new() } else { self.ports.store.commit(commits).await? };
        let mut kept: &[Kept] = &kept;
        let mut again = Vec::new();
        let mut late = Vec::new();
        let mut sweep_again = Vec::new();
        let mut forgotten = Vec::new();
        for (work, mut made) in decided {
            let forget = std::mem::take(&mut made.forget);
            let mut told_late = std::mem::take(&mut made.late);
            let mut looks = std::mem::take(&mut made.sweep_again);
            let (mine, rest) = kept.split_at(made.planned.len());
            kept = rest;
            match self.desk.settle(made, mine, outgoing) {
                // What came to nothing did so after the turns of this batch, so only with them.
                Settled::Done => {
                    forgotten.extend(forget);
                    late.append(&mut told_late);
                    sweep_again.append(&mut looks);
                }
                Settled::DecideAgain => {
                    Stats::add(&self.stats.superseded, 1);
                    self.desk.drop_execution(work.execution);
                    again.push(work);
                }
                Settled::NoPlace(full) => {
                    self.someone_is_blocked |= full.contains_key(EXECUTIONS_KEY);
                    self.desk.drop_execution(work.execution);
                    again.push(work.with_full(full));
                }
            }
        }
        for request in forgotten {
            self.ports.store.forget_request(request).await?;
        }
        if !late.is_empty() {
            Stats::add(&self.stats.late_results, late.len() as u64);
            self.ports.store.record_late(late).await?;
        }
        if !sweep_again.is_empty() {
            self.ports.store.sweep_again(sweep_again).await?;
        }
        Ok(again)
    }

    /// Brings every execution and workflow that a batch needs into memory.
    async fn read_missing(&mut self, works: &mut [Work]) -> Result<(), StoreError> {
        let missing: Vec<ExecutionId> =
            works.iter().filter(|work| self.desk.is_missing(work)).map(|work| work.execution).collect();
        let stored = match missing.as_slice() {
            [] => Vec::new(),
            missing => self.ports.store.load(missing, 0, JOURNAL_PAGE).await?,
        };
        // What this build cannot compile is refused where it is decided.
        for hash in works.iter().flat_map(Work::snapshots) {
            self.compiled(hash).await?;
        }
        for work in works {
            if let Some(first) = self.desk.brought(work) {
                self.adopt(Stored { turns: vec![*first] }).await?;
            }
        }
        for stored in stored.into_iter().flatten() {
            self.adopt(stored).await?;
        }
        Ok(())
    }

    /// Folds a journal of which the first page was read; a page is dropped before the next one comes.
    async fn adopt(&mut self, first: Stored) -> Result<(), StoreError> {
        let Some(execution) = first.turns.first().map(|turn| turn.execution) else { return Ok(()) };
        let mut after = first.goes_on(JOURNAL_PAGE);
        self.adopt_first(&first.turns).await?;
        drop(first);
        while let Some(seq) = after {
            if self.desk.execution(execution).is_none() {
                break;
            }
            let page = self.ports.store.load(&[execution], seq, JOURNAL_PAGE).await?;
            let Some(page) = page.into_iter().flatten().next() else { break };
            after = page.goes_on(JOURNAL_PAGE);
            if !self.compiled_all(Desk::moves_of(&page.turns)).await? {
                self.desk.drop_execution(execution);
                break;
            }
            if let Err(error) = self.desk.adopt_more(execution, &page.turns) {
                stands_still(execution, &error);
            }
        }
        Ok(())
    }

    async fn adopt_first(&mut self, turns: &[Turn]) -> Result<(), StoreError> {
        let corrupt = |error: String| StoreError::Corrupt(error.into());
        let Some(hash) = Desk::hash_of(turns) else {
            return Err(corrupt("a journal does not begin with `accepted`".to_owned()));
        };
        if !self.compiled_all(std::iter::once(hash).chain(Desk::moves_of(turns))).await? {
            return Ok(());
        }
        if let (Err(error), Some(first)) = (self.desk.adopt(turns), turns.first()) {
            stands_still(first.execution, &error);
        }
        Ok(())
    }

    /// Decides one execution, loading the payloads that its expressions look into.
    async fn decide(
        &mut self,
        work: &Work,
        now: shared::time::Timestamp,
    ) -> Result<Option<Decided>, StoreError> {
        let mut payloads = Loaded::new();
        let known = self.desk.execution(work.execution);
        let accepted = known.map(|execution| Arc::clone(&execution.accepted));
        let tenant = accepted.as_ref().map_or(TenantId::DEFAULT, |accepted| accepted.tenant);
        let mut cached: Option<Cached> = None;
        let ahead = known.map(shared::execution::Execution::items_ahead);
        // What lies at hand is given at once; what does not is asked for by the decision that needs it.
        for id in ahead.into_iter().flatten() {
            if let Some(value) = self.values.get(&id) {
                payloads.insert(id, Arc::clone(value));
            }
        }
        let mut races = 0;
        // Each time it has something that it had not before, so this comes to an end.
        loop {
            let (is_deep, found) = (self.queue_is_deep, cached.as_ref());
            match self.desk.decide(work, now, is_deep, &payloads, found, &mut PayloadId::generate) {
                Ok(Some(decided)) => return Ok(Some(decided)),
                Ok(None) => {
                    races += 1;
                    if races > RACES {
                        break;
                    }
                    self.read_again(work.execution).await?;
                }
                Err(needs) => {
                    let had = (payloads.len(), cached.is_some());
                    match needs {
                        Needs::Payloads(ids) => {
                            for id in ids {
                                payloads.insert(id, self.payload(work.execution, id).await?);
                            }
                        }
                        Needs::Rows(ask) => {
                            let cut = rows::cut(&self.ports.store, (tenant, work.execution), &ask).await?;
                            let cut = serde_json::to_value(cut)
                                .map_err(|error| StoreError::Corrupt(error.into()))?;
                            payloads.insert(ask.id(work.execution), Arc::new(cut));
                        }
                        Needs::Cached(keys) => {
                            let Some(accepted) = &accepted else { break };
                            let found = self.ports.store.cache_find(tenant, accepted.workflow, &keys).await?;
                            cached = Some(keys.into_iter().zip(found).collect());
                        }
                    }
                    if self.desk.execution(work.execution).is_none() {
                        // Half a decision spoilt it.
                        self.read_again(work.execution).await?;
                    }
                    if had == (payloads.len(), cached.is_some()) {
                        break;
                    }
                }
            }
        }
        error!(execution.id = %work.execution, "An execution could not be decided; it stands still until the next sweep");
        Ok(None)
    }

    async fn read_again(&mut self, execution: ExecutionId) -> Result<(), StoreError> {
        let stored = self.ports.store.load(&[execution], 0, JOURNAL_PAGE).await?;
        if let Some(stored) = stored.into_iter().flatten().next() {
            self.adopt(stored).await?;
        }
        Ok(())
    }

    /// A stored value. Those read last are kept: the rounds of a loop take their items from one list.
    async fn payload(&mut self, execution: ExecutionId, id: PayloadId) -> Result<Arc<Value>, StoreError> {
        if let Some(value) = self.values.get(&id) {
            return Ok(Arc::clone(value));
        }
        let bytes = payload_whole(&*self.ports.store, execution, id).await?;
        let bytes = bytes.ok_or_else(|| StoreError::Corrupt(format!("{id} is missing").into()))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| StoreError::Corrupt(error.into()))?;
        let value = Arc::new(value);
        if bytes.len() <= LARGEST_KEPT {
            self.recent.push_back(id);
            self.values.insert(id, Arc::clone(&value));
            if self.recent.len() > MOST_KEPT
                && let Some(oldest) = self.recent.pop_front()
            {
                self.values.remove(&oldest);
            }
        }
        Ok(value)
    }

    /// What durable turns mean for other executions. Everything here may be done twice.
    async fn reach_out(&mut self, outgoing: &mut Outgoing) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut hints = Vec::new();
        // Starts before ends: what is started and ended in one batch must be there to be ended.
        for order in outgoing.children.drain(..) {
            hints.extend(self.start_child(&order).await?);
        }
        let store = &self.ports.store;
        for notice in outgoing.parents.drain(..) {
            hints.push(relations::tell(store, notice).await?);
        }
        for (tenant, parent, child, kill) in outgoing.close.drain(..) {
            hints.extend(relations::close(store, (tenant, parent, child), kill, now).await?);
        }
        for question in outgoing.questions.drain(..) {
            hints.extend(relations::close_if_left(store, &question, now).await?);
        }
        for displaced in outgoing.displaced.drain(..) {
            hints.extend(relations::displace(store, displaced, now).await?);
        }
        for (tenant, ask) in outgoing.permits.drain(..) {
            hints.push(relations::permit(store, tenant, ask, now).await?);
        }
        for lookout in outgoing.waits.drain(..) {
            hints.extend(relations::look_out(store, lookout).await?);
        }
        for execution in outgoing.wake.drain(..) {
            hints.push(hint(execution, InboxBody::Wake { execution }));
        }
        if !outgoing.ends.is_empty() {
            let ends = std::mem::take(&mut outgoing.ends);
            let quota = self.config.max_open_executions;
            let (started, told) = self.listeners.tell(&self.ports.store, ends, quota, now).await?;
            hints.extend(started);
            self.ports.store.sweep_done(&told).await?;
        }
        outgoing.hints.extend(hints);
        Ok(())
    }

    async fn start_child(&mut self, order: &ChildOrder) -> Result<Vec<InboxMessage>, StoreError> {
        let store = &self.ports.store;
        if let Some(row) = store.execution_get(order.tenant, order.child.id).await? {
            return relations::told_again(store, order, row).await;
        }
        let (id, version, hash) = match relations::find_workflow(store, order).await? {
            Ok(found) => found,
            Err(failure) => return Ok(vec![relations::refusal(order, failure)]),
        };
        let Some(snapshot) = self.compiled(&hash).await? else {
            let failure = Failure::new(
                FailureClass::InvalidConfig,
                format!(
                    "this build cannot run `{}`: it has a component it does not know",
                    order.child.workflow
                ),
            );
            return Ok(vec![relations::refusal(order, failure)]);
        };
        relations::accept(&self.ports.store, order, (id, version), &snapshot, self.clock.now()).await
    }

    /// Who listens to the ends of executions: asked at most every few seconds, never for each execution.
    async fn read_listeners(&mut self, outgoing: &mut Outgoing) {
        self.listeners.begin_reading();
        if let Err(error) = self.learn_listeners(outgoing).await {
            debug!(error = &error as &dyn std::error::Error, "Who listens to executions is asked again");
        }
    }

    async fn learn_listeners(&mut self, outgoing: &mut Outgoing) -> Result<(), StoreError> {
        let found = self.find_listeners().await?;
        self.desk.set_heard(found.iter().map(Listener::tenant).collect());
        let quota = self.config.max_open_executions;
        let started = self.listeners.learn(&self.ports.store, found, quota, self.clock.now()).await?;
        outgoing.hints.extend(started);
        Ok(())
    }

    async fn find_listeners(&mut self) -> Result<Vec<Listener>, StoreError> {
        let mut listeners = Vec::new();
        for row in self.ports.store.triggers_active("event_trigger").await? {
            if let Some(workflow) = self.compiled(&row.snapshot).await? {
                listeners.extend(Listener::new(row, workflow));
            }
        }
        Ok(listeners)
    }

    /// Whether this build can compile all of these snapshots.
    async fn compiled_all(&mut self, hashes: impl Iterator<Item = &str>) -> Result<bool, StoreError> {
        for hash in hashes {
            if self.compiled(hash).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The compiled snapshot with this hash; `None` when this build cannot compile it.
    async fn compiled(&mut self, hash: &str) -> Result<Option<Arc<workflow::Workflow>>, StoreError> {
        if let Some(workflow) = self.desk.workflow(hash) {
            return Ok(Some(workflow));
        }
        let text = self.ports.store.snapshot(hash).await?;
        let text =
            text.ok_or_else(|| StoreError::Corrupt(format!("the snapshot {hash} is missing").into()))?;
        match workflow::compile_snapshot(&text, &self.ports.catalogue) {
            Ok(workflow) => {
                self.desk.learn(Arc::clone(&workflow));
                Ok(Some(workflow))
            }
            // A type this build lacks. What needs it waits for a build that has it; the others go on.
            Err(problems) => {
                error!(workflow.hash = hash, "A snapshot cannot be compiled by this build: {problems}");
                Ok(None)
            }
        }
    }

    async fn put_aside(&mut self, aside: Aside, outgoing: &mut Outgoing) -> Result<(), StoreError> {
        if !aside.workers.is_empty() {
            self.ports.store.worker_alive(aside.workers).await?;
        }
        for (worker, renewals) in aside.renewals {
            let until = self.clock.now().after(Duration::from_secs(self.config.lease_seconds.into()));
            let asked = renewals
                .iter()
                .map(|renewal| LeaseRenewal {
                    execution: renewal.execution,
                    task: renewal.key(),
                    token: renewal.token,
                })
                .collect();
            let renewed = self.ports.store.renew_leases(asked, until).await?;
            let lost: Vec<_> = renewals
                .iter()
                .zip(renewed)
                .filter(|(_, renewed)| !renewed)
                .map(|(renewal, _)| renewal.token)
                .collect();
            if !lost.is_empty() {
                outgoing.tell.push((Audience::Worker(worker), Control::Lost { tokens: lost }));
            }
        }
        Ok(())
    }

    /// What durable turns bring with them: slots that became free, timers, watchers, counters.
    async fn follow(&mut self, outgoing: &mut Outgoing) -> Result<(), StoreError> {
        Stats::add(&self.stats.turns, outgoing.turns);
        Stats::add(&self.stats.events, outgoing.events);
        for (status, took) in outgoing.ended.drain(..) {
            self.stats.ended(status, took);
        }
        for timer in outgoing.timers.drain(..) {
            // The receiver ends only with the process.
            let _ = self.timers.send(timer);
        }
        if !outgoing.updates.is_empty() {
            self.ports.progress.show(std::mem::take(&mut outgoing.updates));
        }
        self.read_depths().await;
        if outgoing.freed.is_empty() {
            return Ok(());
        }
        let freed: HashSet<String> = outgoing.freed.drain(..).collect();
        let mut woken: HashSet<ExecutionId> = HashSet::new();
        for key in freed {
            if key == EXECUTIONS_KEY && !self.someone_is_blocked {
                continue;
            }
            let waiting = self.ports.store.next_in_line(&key, WOKEN).await?;
            if key == EXECUTIONS_KEY && waiting.is_empty() {
                self.someone_is_blocked = false;
            }
            woken.extend(waiting);
        }
        let hints: Vec<InboxMessage> =
            woken.into_iter().map(|execution| hint(execution, InboxBody::Wake { execution })).collect();
        if !hints.is_empty()
            && let Err(error) = self.ports.queue.publish_inbox(hints).await
        {
            debug!(
                error = &error as &dyn std::error::Error,
                "Waiting executions are woken by the next sweep"
            );
        }
        Ok(())
    }

    /// Every half minute: forgets what somebody else may have gone on with.
    fn forget_idle(&mut self) {
        const EVERY: Duration = Duration::from_secs(30);
        if self.tidied_at.elapsed() > EVERY {
            self.tidied_at = Instant::now();
            self.desk.forget_idle(self.clock.now(), 2 * EVERY);
        }
    }

    /// Whether tasks queue up anyway, so that silence means nothing. Asked at most every few seconds, and
    /// only when the sweep could care.
    async fn read_depths(&mut self) {
        const EVERY: Duration = Duration::from_secs(10);
        let due = self.depth_read_at.is_none_or(|at| at.elapsed() > EVERY);
        if !due || self.desk.outstanding() == 0 {
            return;
        }
        self.depth_read_at = Some(Instant::now());
        if let Ok(depths) = self.ports.queue.depths().await {
            self.queue_is_deep = depths.iter().any(|depth| depth.ready > 0 && depth.consumers > 0);
        }
    }

    /// Publishes a batch's commands, and acknowledges its messages when the broker has confirmed them.
    async fn send(&self, mut outgoing: Outgoing, answers: Answers) {
        for task in &mut outgoing.tasks {
            task.ask_for_shared_answer(&self.shards);
        }
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&self.publishing).acquire_owned().await else { return };
        let ports = self.ports.clone();
        let hard_stop = self.hard_stop.clone();
        let now = self.clock.now();
        self.tracker.spawn(async move {
            let _permit = permit;
            let mut pause = Reconnect::default();
            let sent =
                insist(outgoing.tasks, &mut pause, &hard_stop, |tasks| ports.queue.publish_tasks(tasks))
                    .await
                    && insist(outgoing.hints, &mut pause, &hard_stop, |hints| {
                        ports.queue.publish_inbox(hints)
                    })
                    .await;
            if !sent {
                for answer in answers {
                    answer.requeue().await;
                }
                return;
            }
            for (audience, control) in outgoing.tell {
                // Never needed for correctness: whoever waits for it asks again or is found by a sweep.
                if let Err(error) = ports.queue.publish_control(audience, control).await {
                    debug!(error = &error as &dyn std::error::Error, "A control message was not sent");
                }
            }
            for (task, reason) in outgoing.poison {
                let letter = DeadLetter {
                    id: DeadLetterId::generate(),
                    queue: format!("tasks.{}.{}", task.pool, task.priority.as_str()),
                    reason,
                    at: now,
                    execution: Some(task.execution),
                    message: None,
                    headers: serde_json::json!({
                        "component": task.component,
                        "type": task.kind,
                        "attempt": task.attempt,
                    }),
                    bytes: shared::wire::encode(&task).unwrap_or_default(),
                };
                if let Err(error) = ports.store.dead_letter_add(letter).await {
                    error!(
                        error = &error as &dyn std::error::Error,
                        "A poison task could not be kept among the dead letters"
                    );
                }
            }
            for answer in answers {
                answer.ack().await;
            }
        });
    }
}

fn stands_still(execution: ExecutionId, error: &ReplayError) {
    error!(
        execution.id = %execution,
        error = error as &dyn std::error::Error,
        "A journal does not fold; its execution stands still"
    );
}

/// Publishes messages until the broker has confirmed them; `false` when the process must go first.
async fn insist<T: Clone, F>(
    messages: Vec<T>,
    pause: &mut Reconnect,
    hard_stop: &CancellationToken,
    publish: impl Fn(Vec<T>) -> F,
) -> bool
where
    F: Future<Output = Result<(), QueueError>>,
{
    if messages.is_empty() {
        return true;
    }
    while let Err(error) = publish(messages.clone()).await {
        warn!(error = &error as &dyn std::error::Error, "Messages could not be published; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause.pause()) => {}
            () = hard_stop.cancelled() => return false,
        }
    }
    true
}
