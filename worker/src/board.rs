//! What is under way in this worker, and who waits for which answer.
//!
//! Shared by the intake, the running attempts and the listener to coordinators. Holds no delivery.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use shared::{
    execution::TaskKey,
    ids::{ExecutionId, Shard, Token},
    wire::{Renewal, Task},
};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Cancelled executions that are remembered. A task that arrives later still is run in vain; its
/// result is dropped by the engine.
const REMEMBERED: usize = 4_096;

/// Why an attempt has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The task was cancelled.
    Cancelled = 1,
    /// The attempt is somebody else's now: its result does not count.
    NotOurs = 2,
    /// The worker leaves.
    Leaving = 3,
}

/// One attempt under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) execution: ExecutionId,
    pub(crate) key: TaskKey,
    /// Ends with the first reason to stop, and when the attempt is over its time.
    pub(crate) cancel: CancellationToken,
    stop: AtomicU8,
    token: OnceLock<Token>,
    leased: AtomicBool,
}

impl Attempt {
    fn new(task: &Task) -> Self {
        Self {
            execution: task.execution,
            key: task.key(),
            cancel: CancellationToken::new(),
            stop: AtomicU8::new(0),
            token: OnceLock::new(),
            leased: AtomicBool::new(false),
        }
    }

    pub(crate) fn stop(&self, why: Stop) {
        if why == Stop::NotOurs {
            self.stop.store(why as u8, Ordering::SeqCst);
        } else {
            let _ = self.stop.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst);
        }
        self.cancel.cancel();
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        match self.stop.load(Ordering::SeqCst) {
            1 => Some(Stop::Cancelled),
            2 => Some(Stop::NotOurs),
            3 => Some(Stop::Leaving),
            _ => None,
        }
    }

    /// What its grant and its lease are fenced by; made when first asked for.
    pub(crate) fn fence(&self) -> Token {
        *self.token.get_or_init(Token::generate)
    }

    /// The token, if the coordinator may have heard of it.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token.get().copied()
    }

    pub(crate) fn set_leased(&self) {
        self.leased.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.leased.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: HashMap<u64, Arc<Attempt>>,
    cancelled: HashSet<(ExecutionId, TaskKey)>,
    cancelled_in_order: VecDeque<(ExecutionId, TaskKey)>,
    answers: HashMap<Token, oneshot::Sender<bool>>,
    begun: HashSet<Begun>,
    begun_in_order: VecDeque<Begun>,
}

/// One message of one attempt. A publish whose confirm was lost is made again, so it may come twice.
type Begun = (ExecutionId, TaskKey, u32, u32);

/// Why an attempt does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It was cancelled before.
    Cancelled,
    /// This worker has begun this very message already; that run reports.
    Copy,
}

#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    emptied: Notify,
}

impl Board {
    /// A panic while it is held leaves no half-done change: every change is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt.
    pub(crate) fn begin(self: &Arc<Self>, task: &Task) -> Result<Seat, Refused> {
        let attempt = Arc::new(Attempt::new(task));
        let mut state = self.state();
        if !state.cancelled.is_empty() && state.cancelled.contains(&(task.execution, task.key())) {
            return Err(Refused::Cancelled);
        }
        let begun = (task.execution, task.key(), task.attempt, task.dispatch);
        if !state.begun.insert(begun.clone()) {
            return Err(Refused::Copy);
        }
        state.begun_in_order.push_back(begun);
        if state.begun_in_order.len() > REMEMBERED
            && let Some(oldest) = state.begun_in_order.pop_front()
        {
            state.begun.remove(&oldest);
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number, Arc::clone(&attempt));
        drop(state);
        Ok(Seat { number, attempt, board: Arc::clone(self) })
    }

    pub(crate) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Stops what runs of these tasks of an execution, and refuses what comes of them later.
    pub(crate) fn cancel(&self, execution: ExecutionId, tasks: Vec<TaskKey>) {
        let mut state = self.state();
        for attempt in state.running.values() {
            if attempt.execution == execution && tasks.contains(&attempt.key) {
                attempt.stop(Stop::Cancelled);
            }
        }
        for task in tasks {
            if state.cancelled.insert((execution, task.clone())) {
                state.cancelled_in_order.push_back((execution, task));
                if state.cancelled_in_order.len() > REMEMBERED
                    && let Some(oldest) = state.cancelled_in_order.pop_front()
                {
                    state.cancelled.remove(&oldest);
                }
            }
        }
    }

    /// Stops the attempts with these tokens: they are somebody else's now.
    pub(crate) fn lose(&self, tokens: &[Token]) {
        for attempt in self.state().running.values() {
            if attempt.token().is_some_and(|token| tokens.contains(&token)) {
                attempt.stop(Stop::NotOurs);
            }
        }
    }

    pub(crate) fn stop_all(&self) {
        for attempt in self.state().running.values() {
            attempt.stop(Stop::Leaving);
        }
    }

    /// Until nothing is under way.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.running() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// The leases held, by shard.
    pub(crate) fn leases(&self) -> HashMap<Shard, Vec<Renewal>> {
        let mut leases: HashMap<Shard, Vec<Renewal>> = HashMap::new();
        for attempt in self.state().running.values().filter(|attempt| attempt.is_leased()) {
            if let Some(token) = attempt.token() {
                leases.entry(Shard::of(attempt.execution)).or_default().push(Renewal {
                    execution: attempt.execution,
                    component: attempt.key.component.clone(),
                    iteration: attempt.key.iteration.clone(),
                    token,
                });
            }
        }
        leases
    }

    /// Waits for the answer to what was asked with this token.
    pub(crate) fn expect(&self, token: Token) -> Expected<'_> {
        let (sender, answer) = oneshot::channel();
        self.state().answers.insert(token, sender);
        Expected { board: self, token, answer }
    }

    /// An answer that nobody waits for any more changes nothing.
    pub(crate) fn answered(&self, token: Token, granted: bool) {
        let waiting = self.state().answers.remove(&token);
        if let Some(waiting) = waiting {
            let _ = waiting.send(granted);
        }
    }
}

/// The place of a running attempt on the board; left when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    pub(crate) attempt: Arc<Attempt>,
    board: Arc<Board>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.board.state();
        state.running.remove(&self.number);
        if state.running.is_empty() {
            drop(state);
            self.board.emptied.notify_waiters();
        }
    }
}

/// An answer that is waited for; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    board: &'a Board,
    token: Token,
    answer: oneshot::Receiver<bool>,
}

impl Expected<'_> {
    pub(crate) async fn answer(&mut self) -> bool {
        // The sender is dropped only with the board, and then nobody is told anything any more.
        (&mut self.answer).await.unwrap_or(false)
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.board.state().answers.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_cancelled_tasks_is_bounded() {
        let board = Board::default();
        let first = ExecutionId::generate();
        let task = TaskKey::of("a".into());
        board.cancel(first, vec![task.clone()]);
        for _ in 0..REMEMBERED {
            board.cancel(ExecutionId::generate(), vec![task.clone()]);
        }
        let state = board.state();
        assert_eq!(state.cancelled.len(), REMEMBERED);
        assert!(!state.cancelled.contains(&(first, task)));
    }

    #[test]
    fn a_lease_that_is_lost_outweighs_a_cancel() {
        let board = Arc::new(Board::default());
        let attempt = Attempt {
            execution: ExecutionId::generate(),
            key: TaskKey::of("a".into()),
            cancel: CancellationToken::new(),
            stop: AtomicU8::new(0),
            token: OnceLock::new(),
            leased: AtomicBool::new(false),
        };
        attempt.stop(Stop::Cancelled);
        attempt.stop(Stop::NotOurs);
        attempt.stop(Stop::Leaving);
        assert_eq!(attempt.stopped(), Some(Stop::NotOurs));
        assert!(attempt.cancel.is_cancelled());
        assert_eq!(board.running(), 0);
    }
}
