//! One attempt: may it begin, run it, how did it end.
//!
//! Does not publish results: that is the reporter. A component is polled where it stands, in the
//! worker's runtime; what blocks a thread keeps a child process or a thread pool of its own.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    path::PathBuf,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    sync::{Arc, atomic::AtomicU64},
    task::Poll,
    time::Duration,
};

use futures::FutureExt;
use serde_json::Value;
use shared::{
    component::{
        Catalogue, Context, Descriptor, Failure, FailureClass, Log, LogLine, NoticeAccess, PayloadAccess, Run,
    },
    execution::Payload,
    ids::{MessageId, Shard, WorkerId},
    port::queue::{Delivery, DynQueue},
    retry::Reconnect,
    time::{Clock, Timestamp},
    wire::{Ask, AskKind, Ending, InboxBody, InboxMessage, Task, TaskResult},
    workflow,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, debug_span, error, warn};

use crate::{
    board::{Attempt, Board, Refused, Seat, Stop},
    config::Config,
    output,
    report::{Finished, Held, Reporter},
    stats::Stats,
};

/// How long a coordinator may take to answer before the attempt is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What a cancelled component is given to let go of what it holds.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// The same after a time-out; an attempt ends no later than a second over.
const TIMEOUT_GRACE: Duration = Duration::from_millis(750);
/// Longest line of an execution's log, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// Time-outs beyond this are none.
const FAR: Duration = Duration::from_hours(365 * 24);

/// What every attempt of this worker shares.
pub(crate) struct Around {
    pub(crate) worker: WorkerId,
    pub(crate) config: Config,
    pub(crate) queue: DynQueue,
    pub(crate) catalogue: Catalogue,
    pub(crate) payloads: Arc<dyn PayloadAccess>,
    pub(crate) notices: Arc<dyn NoticeAccess>,
    pub(crate) environment: Arc<dyn Any + Send + Sync>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: Arc<Board>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) credit: mpsc::UnboundedSender<i32>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) scratch: PathBuf,
    pub(crate) next_scratch: AtomicU64,
}

/// A task that may run.
pub(crate) struct Admitted {
    task: Task,
    held: Held,
    seat: Seat,
    build: Build,
    begun_at: Timestamp,
}

impl Admitted {
    /// From a task's delivery to its ack.
    pub(crate) fn span(&self) -> tracing::Span {
        let task = &self.task;
        debug_span!(
            "task", execution.id = %task.execution, task.id = %task.key(), tenant.id = %task.tenant,
            component.type = %task.kind, attempt = task.attempt
        )
    }
}

pub(crate) type Build = fn(Value) -> Result<Box<dyn Run>, Failure>;

/// How an attempt ends.
pub(crate) enum End {
    Report(Ending, usize),
    /// Nobody waits for its result: the attempt is another's, or nobody's.
    Drop,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self::Report(ending, 256)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::from(Ending::Failed(failure))
    }
}

fn cancelled() -> Failure {
    Failure::new(FailureClass::Cancelled, "the execution was cancelled")
}

/// Whether a worker of this configuration and build can run a task, and how it is built.
///
/// A task that does not fit is answered as failed: given back to the queue it would return at once
/// and for ever, since the broker does not know who can run what. Choosing a queue by tags is the
/// coordinator's part; this is what holds when it chose wrongly, or when an older worker is asked
/// for a newer type.
pub(crate) fn fitting(config: &Config, catalogue: &Catalogue, task: &Task) -> Result<Build, Failure> {
    let refuse = |message: String| Failure::new(FailureClass::InvalidConfig, message);
    let (pool, kind) = (&config.pool, &task.kind);
    if *task.pool != **pool {
        return Err(refuse(format!("a task for the pool {} came to a worker of pool {pool}", task.pool)));
    }
    let missing: Vec<&str> =
        task.tags.iter().filter(|tag| !config.tags.contains(tag)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(refuse(format!(
            "this worker of pool {pool} does not have the tags the task asks for: {}",
            missing.join(", ")
        )));
    }
    catalogue
        .get(kind)
        .and_then(|Descriptor { build, .. }| *build)
        .ok_or_else(|| refuse(format!("no worker of pool {pool} offers {kind}")))
}

impl Around {
    /// Decides what becomes of a delivery; what may not run is answered at once.
    pub(crate) async fn admit(&self, delivery: Delivery<Task>) -> Option<Admitted> {
        let Delivery { message: task, redelivered, answer } = delivery;
        let held = Held::Delivery(answer);
        let begun_at = self.clock.now();
        match self.admission(&task, redelivered) {
            Ok((seat, build)) => {
                Stats::add(&self.stats.running, 1);
                Some(Admitted { task, held, seat, build, begun_at })
            }
            Err(Some(ending)) => {
                let result = self.result(&task, None, begun_at, ending, Vec::new());
                let to = task.answers_to();
                self.reporter.send(Finished { result, followers: Vec::new(), size: 256, to, held });
                None
            }
            Err(None) => {
                Stats::add(&self.stats.copies, 1);
                debug!(execution.id = %task.execution, task.id = %task.key(), "A second copy of a message was dropped");
                held.release(&self.credit).await;
                None
            }
        }
    }

    /// A seat, or how the attempt ended before it began; nothing when another delivery of the same message
    /// has the seat.
    fn admission(&self, task: &Task, redelivered: bool) -> Result<(Seat, Build), Option<Ending>> {
        if redelivered {
            // It may have run, here or elsewhere: only the engine may repeat it, with a recorded cause.
            Stats::add(&self.stats.redelivered, 1);
            debug!(execution.id = %task.execution, task.id = %task.key(), "The broker delivered a task again");
            let reason = "the broker delivered the task again: the worker that had it was lost".to_owned();
            return Err(Some(Ending::Lost { reason }));
        }
        let build = fitting(&self.config, &self.catalogue, task).map_err(|failure| {
            warn!(execution.id = %task.execution, task.id = %task.key(), "Refused a task: {}", failure.message);
            Some(Ending::Failed(failure))
        })?;
        let seat = self.board.begin(task).map_err(|refused| match refused {
            Refused::Copy => None,
            Refused::Cancelled => {
                Stats::add(&self.stats.cancelled_late, 1);
                Some(Ending::Failed(cancelled()))
            }
        })?;
        Ok((seat, build))
    }

    pub(crate) fn result(
        &self,
        task: &Task,
        token: Option<shared::ids::Token>,
        started_at: Timestamp,
        ending: Ending,
        log: Vec<LogLine>,
    ) -> TaskResult {
        TaskResult {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            attempt: task.attempt,
            dispatch: task.dispatch,
            worker: self.worker,
            token,
            started_at,
            finished_at: self.clock.now(),
            ending,
            log,
            follows: None,
        }
    }

    /// Carries out an attempt and hands its result to the reporter.
    pub(crate) async fn attempt(&self, admitted: Admitted) {
        let Admitted { mut task, mut held, seat, build, begun_at } = admitted;
        let log = Log::default();
        let chain = task.chain.take().map(|chain| (chain, Instant::now()));
        let end = self.carry(&mut task, &seat.attempt, &mut held, build, &log).await;
        match end {
            End::Report(ending, size) => {
                let lines = log_lines(&log);
                let size = size + lines.iter().map(|line| line.message.len() + 64).sum::<usize>();
                let result = self.result(&task, seat.attempt.token(), begun_at, tidy(ending), lines);
                let (followers, more) = match chain {
                    // A lease is of the task alone.
                    Some((chain, begun)) if matches!(held, Held::Delivery(_)) => {
                        self.follow(&task, *chain, &result, &seat.attempt, begun).await
                    }
                    _ => (Vec::new(), 0),
                };
                let to = task.answers_to();
                self.reporter.send(Finished { result, followers, size: size + more, to, held });
            }
            End::Drop => {
                Stats::add(&self.stats.dropped, 1);
                debug!(execution.id = %task.execution, task.id = %task.key(), "An attempt that is not ours was dropped");
                held.release(&self.credit).await;
            }
        }
        self.stats.running.fetch_sub(1, Ordering::Relaxed);
        // Left last: a drain that sees nobody seated finds every result with the reporter.
        drop(seat);
    }

    async fn carry(
        &self,
        task: &mut Task,
        attempt: &Arc<Attempt>,
        held: &mut Held,
        build: Build,
        log: &Log,
    ) -> End {
        if let Err(end) = self.permission(task, attempt, held).await {
            return end;
        }
        match attempt.stopped() {
            None => {}
            Some(Stop::Cancelled) => return cancelled().into(),
            Some(Stop::NotOurs) => return End::Drop,
            Some(Stop::Leaving) => return Ending::Returned.into(),
        }
        let context = self.context(task, attempt.cancel.clone(), log);
        let config = std::mem::take(&mut task.config);
        let (ended, timed_out) = self.run(task, attempt, held, build, config, &context).await;
        self.clear(&context).await;
        conclude(task, attempt, ended, timed_out)
    }

    /// What a component is given to work with.
    pub(crate) fn context(&self, task: &Task, cancel: CancellationToken, log: &Log) -> Context {
        Context {
            tenant: task.tenant,
            execution: task.execution,
            component: task.component.clone(),
            attempt: task.attempt,
            idempotency_key: task.idempotency_key(),
            cancel,
            log: log.clone(),
            payloads: Arc::clone(&self.payloads),
            notices: Arc::clone(&self.notices),
            environment: Arc::clone(&self.environment),
            scratch: self.scratch.join(self.next_scratch.fetch_add(1, Ordering::Relaxed).to_string()),
        }
    }

    /// Removes what a component left in its folder.
    pub(crate) async fn clear(&self, context: &Context) {
        // Made by the component, if at all: the common task has none and pays one look for it.
        if std::fs::symlink_metadata(&context.scratch).is_ok()
            && let Err(problem) = tokio::fs::remove_dir_all(&context.scratch).await
        {
            warn!(error = &problem as &dyn std::error::Error, "A scratch folder could not be removed");
        }
    }

    /// Whether the attempt may begin: `at_most_once` needs a durable grant, `lease_at_once` a lease.
    async fn permission(&self, task: &Task, attempt: &Attempt, held: &mut Held) -> Result<(), End> {
        let grant = task.delivery == workflow::Delivery::AtMostOnce;
        for (kind, wanted, silent) in [
            (AskKind::Grant, grant, Ending::NotGranted),
            (AskKind::Lease, task.lease_at_once, Ending::Returned),
        ] {
            if !wanted {
                continue;
            }
            let answer = tokio::select! {
                biased;
                answer = timeout(ANSWER_WITHIN, self.ask(task, attempt, kind)) => answer,
                () = attempt.cancel.cancelled() => {
                    return Err(match attempt.stopped() {
                        Some(Stop::Cancelled) => cancelled().into(),
                        Some(Stop::NotOurs) => End::Drop,
                        // It has not begun, whatever the coordinator may have written meanwhile.
                        _ => Ending::Returned.into(),
                    });
                }
            };
            match answer {
                Ok(true) => {}
                Ok(false) => return Err(End::Drop),
                Err(_) => return Err(silent.into()),
            }
            if kind == AskKind::Lease {
                self.hand_over(attempt, held).await;
            }
        }
        Ok(())
    }

    /// Asks and waits for the answer. Asked again with the same token, the answer is the same.
    async fn ask(&self, task: &Task, attempt: &Attempt, kind: AskKind) -> bool {
        let token = attempt.fence();
        let mut expected = self.board.expect(token);
        let ask = Ask {
            execution: task.execution,
            component: task.component.clone(),
            iteration: task.iteration.clone(),
            attempt: task.attempt,
            worker: self.worker,
            token,
            kind,
        };
        let message = InboxMessage {
            id: MessageId::generate(),
            shard: Shard::of(task.execution),
            body: InboxBody::Ask { ask },
        };
        let mut pauses = Reconnect::default();
        while let Err(problem) = self.queue.publish_inbox(vec![message.clone()]).await {
            debug!(
                error = &problem as &dyn std::error::Error,
                "A question could not be published; trying again"
            );
            sleep(pauses.pause()).await;
        }
        expected.answer().await
    }

    /// Asks for a lease until there is an answer: the delivery is held meanwhile, well within its limit.
    async fn ask_for_lease(&self, task: &Task, attempt: &Attempt) -> bool {
        let again = Duration::from_secs(self.config.renewal_seconds.get().into());
        loop {
            if let Ok(granted) = timeout(again, self.ask(task, attempt, AskKind::Lease)).await {
                return granted;
            }
        }
    }

    /// The lease is in the journal: from now on it decides, and the delivery may go.
    async fn hand_over(&self, attempt: &Attempt, held: &mut Held) {
        attempt.set_leased();
        Stats::add(&self.stats.leased, 1);
        // First the place, then the delivery, so that nothing new comes in between.
        let _ = self.credit.send(-1);
        if let Held::Delivery(answer) = std::mem::replace(held, Held::Lease) {
            answer.ack().await;
        }
    }

    /// Runs the component; gives what it gave, `None` if it had to be dropped, and whether it was over its time.
    async fn run(
        &self,
        task: &Task,
        attempt: &Attempt,
        held: &mut Held,
        build: Build,
        config: Value,
        context: &Context,
    ) -> (Option<Caught>, bool) {
        let mut run = pin!(AssertUnwindSafe(work(task, build, config, context)).catch_unwind());
        // Most components are done when first looked at, and need no timer.
        if let Poll::Ready(caught) = futures::poll!(run.as_mut()) {
            return (Some(caught), false);
        }
        let begun = Instant::now();
        let deadline = begun + task.timeout.min(FAR);
        let mut hand_over_at = (!attempt.is_leased()).then(|| begun + self.config.handover_after());
        let mut asking: Option<Pin<Box<dyn Future<Output = bool> + Send + '_>>> = None;
        let mut drop_at = None;
        let mut timed_out = false;
        loop {
            let mut next = drop_at.unwrap_or(deadline);
            if let Some(at) = hand_over_at {
                next = next.min(at);
            }
            tokio::select! {
                biased;
                caught = &mut run => return (Some(caught), timed_out),
                () = attempt.cancel.cancelled(), if drop_at.is_none() => {
                    drop_at = Some(Instant::now() + CANCEL_GRACE);
                    hand_over_at = None;
                }
                granted = answer_of(&mut asking), if asking.is_some() => {
                    asking = None;
                    if granted {
                        self.hand_over(attempt, held).await;
                    } else {
                        attempt.stop(Stop::NotOurs);
                    }
                }
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if drop_at.is_some_and(|at| at <= now) {
                        return (None, timed_out);
                    }
                    if drop_at.is_none() && deadline <= now {
                        timed_out = true;
                        drop_at = Some(now + TIMEOUT_GRACE);
                        hand_over_at = None;
                        attempt.cancel.cancel();
                    } else if hand_over_at.is_some_and(|at| at <= now) {
                        hand_over_at = None;
                        asking = Some(Box::pin(self.ask_for_lease(task, attempt)));
                    }
                }
            }
        }
    }
}

async fn answer_of(asking: &mut Option<Pin<Box<dyn Future<Output = bool> + Send + '_>>>) -> bool {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

pub(crate) type Worked = Result<(Payload, Vec<String>, usize), Failure>;
pub(crate) type Caught = Result<Worked, Box<dyn Any + Send>>;

pub(crate) async fn work(task: &Task, build: Build, mut config: Value, context: &Context) -> Worked {
    let payloads = context.payloads.as_ref();
    if !task.references.is_empty() {
        output::resolve(payloads, task.execution, &mut config, &task.references).await?;
    }
    let outcome = build(config)?.run(context).await?;
    let (payload, size) = output::pack(payloads, task.execution, outcome.output).await?;
    Ok((payload, outcome.ports, size))
}

pub(crate) fn conclude(task: &Task, attempt: &Attempt, ended: Option<Caught>, timed_out: bool) -> End {
    let stopped = attempt.stopped();
    if stopped == Some(Stop::NotOurs) {
        return End::Drop;
    }
    if timed_out {
        return Failure::new(
            FailureClass::Timeout,
            format!(
                "the attempt took longer than its time-out of {}",
                shared::time::format_duration(task.timeout)
            ),
        )
        .into();
    }
    match (ended, stopped) {
        // Whatever was asked meanwhile, the work is done, and saying so spares doing it again.
        (Some(Ok(Ok((output, ports, size)))), _) => {
            End::Report(Ending::Completed { output, ports }, size + 256)
        }
        (_, Some(Stop::Leaving)) => Ending::Lost { reason: "the worker was told to leave".to_owned() }.into(),
        (Some(Err(_)), None) => {
            // What it said may hold data of the task, so it goes to neither journal nor log.
            #[expect(
                clippy::disallowed_methods,
                reason = "ties a message to a line of the log; nothing is kept by it"
            )]
            let trace = uuid::Uuid::new_v4().simple();
            error!(
                execution.id = %task.execution, task.id = %task.key(), component.type = %task.kind, trace = %trace,
                "A component panicked"
            );
            let message = format!(
                "the component {} panicked; look for the trace {trace} in the worker's log",
                task.kind
            );
            Failure::new(FailureClass::Internal, message).into()
        }
        (Some(Ok(Err(failure))), None) => failure.into(),
        (_, _) => cancelled().into(),
    }
}

pub(crate) fn log_lines(log: &Log) -> Vec<LogLine> {
    let mut lines = log.take();
    for line in &mut lines {
        clean(&mut line.message);
        if line.fields.as_ref().is_some_and(|fields| !is_small(fields)) {
            line.fields = None;
        }
    }
    lines
}

/// A failure goes into the journal as it is: what no store can keep must not get that far.
pub(crate) fn tidy(mut ending: Ending) -> Ending {
    if let Ending::Failed(failure) = &mut ending {
        clean(&mut failure.message);
        if failure.details.as_ref().is_some_and(|details| !is_small(details)) {
            failure.details = None;
        }
    }
    ending
}

fn is_small(value: &Value) -> bool {
    output::measure(value).is_ok_and(|size| size <= LONGEST_LINE)
}

fn clean(text: &mut String) {
    if text.len() > LONGEST_LINE {
        let end = (0..=LONGEST_LINE - 4).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}
