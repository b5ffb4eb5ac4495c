//! Rooms: people in different browsers who draw one workflow see each other's edits as they are made.
//!
//! A room passes updates of a document on and keeps them; it never reads one (decision 0034). It is one task that owns
//! everything there is to it; sockets speak to it through a queue, and rooms of the same document in other processes
//! through [`shared::port::rooms`].

mod document;
mod people;
mod room;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Bytes, extract::ws::WebSocket};
use shared::{
    ids::{TenantId, WorkflowId},
    port::{rooms::DynRooms, store::DynStore},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// How much a room takes, and how long it waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest frame, in bytes.
    pub frame: usize,
    /// Messages a second that a connection may send; it is read no faster.
    pub per_second: u32,
    /// Connections to one room, and to one room by one person.
    pub connections: usize,
    pub of_one: usize,
    /// What may wait for somebody who reads slowly: frames, and bytes.
    pub queue: usize,
    pub queue_bytes: usize,
    /// The largest document, in bytes.
    pub document: usize,
    /// Updates that are kept one by one before they become a snapshot.
    pub updates: usize,
    /// Everybody is sent something at least this often: a client that hears nothing for 30 seconds reconnects.
    pub silence: Duration,
    /// A connection that says nothing for so long is gone. Clients say something every 15 seconds.
    pub quiet: Duration,
    /// How often what other processes kept is looked for in the store.
    pub reread: Duration,
    /// How long without an update until a snapshot is made.
    pub rest: Duration,
    /// How long a person of another process is believed to be there.
    pub absent: Duration,
    /// How long a room stays open when nobody is in it.
    pub empty: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 1024 * 1024,
            per_second: 100,
            connections: 200,
            of_one: 20,
            queue: 1024,
            queue_bytes: 8 * 1024 * 1024,
            document: 16 * 1024 * 1024,
            updates: 200,
            silence: Duration::from_secs(10),
            quiet: Duration::from_mins(1),
            reread: Duration::from_secs(5),
            rest: Duration::from_secs(30),
            absent: Duration::from_secs(30),
            empty: Duration::from_mins(1),
        }
    }
}

/// Why somebody has to leave: a close code of WebSocket, and words. A client joins again by itself, but for codes from
/// 4400 to 4499: those a new connection does not cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub code: u16,
    pub reason: Cow<'static, str>,
}

impl Ending {
    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    pub(crate) const MALFORMED: Self = Self::new(1007, "this is no message of the protocol");
    pub(crate) const LARGE: Self = Self::new(1009, "the frame is too large");
    pub(crate) const FULL: Self = Self::new(1009, "the document holds too much");
    pub(crate) const RESTART: Self = Self::new(1012, "the server ends; join again");
    pub(crate) const SLOW: Self = Self::new(1013, "too slow; join again");
    pub(crate) const NOT_KEPT: Self = Self::new(1013, "changes cannot be kept now; join again");
    pub(crate) const SIGNED_OUT: Self = Self::new(4401, "the session has ended; sign in again");
    pub(crate) const MAY_NOT_EDIT: Self = Self::new(4403, "this needs the permission `workflow.edit`");
    pub(crate) const GONE: Self = Self::new(4404, "the workflow was deleted");

    /// The document has another beginning, whose number is the reason.
    pub(crate) fn other_line(line: u32) -> Self {
        Self { code: 4409, reason: line.to_string().into() }
    }
}

/// What a room hears.
enum Said {
    Join { line: u32, guest: Guest, answer: oneshot::Sender<Result<Entry, Refusal>> },
    Frame(u64, Bytes),
    Left(u64),
}

/// Who wants to come in.
#[derive(Debug, Clone)]
struct Guest {
    name: Arc<str>,
    may_edit: bool,
}

/// How somebody gets in.
enum Entry {
    Seat {
        number: u64,
        outbox: mpsc::Receiver<Bytes>,
        waiting: Arc<AtomicUsize>,
        end: oneshot::Receiver<Ending>,
    },
    /// The document has another beginning.
    OtherLine(u32),
}

/// Why nobody gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    /// Too many are there already, of all or of this person.
    Full(usize),
    Unavailable,
}

/// A place in a room. Dropped, the one who had it has left.
pub(crate) struct Seat {
    number: u64,
    room: mpsc::Sender<Said>,
    outbox: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    end: oneshot::Receiver<Ending>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // When there is no room for it, the room finds out with the next thing it tells.
        let _ = self.room.try_send(Said::Left(self.number));
    }
}

/// What somebody gets who asks to join.
pub(crate) enum Joined {
    Seat(Seat),
    /// They are told why, once they are connected: browsers see nothing of a refused upgrade.
    Not(Ending),
}

type Key = (TenantId, WorkflowId);

/// All rooms of this process.
#[derive(Clone)]
pub(crate) struct Hall {
    inner: Arc<Inner>,
}

struct Inner {
    store: DynStore,
    rooms: DynRooms,
    limits: Limits,
    open: Mutex<HashMap<Key, (u64, mpsc::Sender<Said>)>>,
    opened: AtomicU64,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// What sockets may be ahead of their room.
const AHEAD: usize = 256;

impl Hall {
    pub(crate) fn new(store: DynStore, rooms: DynRooms, limits: Limits, shutdown: CancellationToken) -> Self {
        let inner = Inner {
            store,
            rooms,
            limits,
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            shutdown,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Keeps a connection until one of both sides ends it.
    pub(crate) async fn serve(
        &self,
        socket: WebSocket,
        joined: Joined,
        turned_out: impl Future<Output = Ending> + Send,
    ) {
        let served = socket::serve(socket, joined, self.inner.limits, turned_out);
        self.inner.tasks.track_future(served).await;
    }

    /// Returns once rooms have been told to end and have done so.
    pub(crate) async fn ended(self) {
        self.inner.shutdown.cancelled().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn opened(&self, key: Key, line: u32) -> mpsc::Sender<Said> {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, room)) = open.get(&key).filter(|(_, room)| !room.is_closed()) {
            return room.clone();
        }
        let (sender, inbox) = mpsc::channel(AHEAD);
        let number = self.inner.opened.fetch_add(1, Ordering::Relaxed);
        open.insert(key, (number, sender.clone()));
        drop(open);
        let hall = self.clone();
        let run = async move {
            let Inner { store, rooms, limits, shutdown, .. } = &*hall.inner;
            let ports = (Arc::clone(store), Arc::clone(rooms));
            room::run(ports, key, line, *limits, inbox, shutdown.clone()).await;
            let mut open = hall.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.get(&key).is_some_and(|(other, _)| *other == number) {
                open.remove(&key);
            }
        };
        // `ended` awaits all of them.
        self.inner.tasks.spawn(run);
        sender
    }

    /// Gives somebody a seat in the room of a workflow, with what they may do there.
    pub(crate) async fn join(
        &self,
        caller: &Caller,
        workflow: WorkflowId,
        line: u32,
    ) -> Result<Joined, Problem> {
        caller.must(Permission::Read)?;
        let guest =
            Guest { name: Arc::clone(&caller.principal), may_edit: caller.has(Permission::WorkflowEdit) };
        // A room may end at the moment it is asked; then there is a next one.
        for _ in 0..3 {
            let room = self.opened((caller.tenant, workflow), line);
            let (answer, answered) = oneshot::channel();
            let join = Said::Join { line, guest: guest.clone(), answer };
            if room.send(join).await.is_err() {
                continue;
            }
            let Ok(entry) = answered.await else { continue };
            return match entry {
                Ok(Entry::Seat { number, outbox, waiting, end }) => {
                    Ok(Joined::Seat(Seat { number, room, outbox, waiting, end }))
                }
                Ok(Entry::OtherLine(line)) => Ok(Joined::Not(Ending::other_line(line))),
                Err(Refusal::Missing) => Err(Problem::not_found(format_args!("active workflow {workflow}"))),
                Err(Refusal::Full(most)) => Err(Problem::new(
                    Code::RateLimited,
                    format!(
                        "{most} connections to the draft of {workflow} are open, and that is the most there may be."
                    ),
                )),
                Err(Refusal::Unavailable) => Err(Problem::new(
                    Code::StoreUnavailable,
                    "The draft cannot be shared now. Try again in a moment.",
                )),
            };
        }
        Ok(Joined::Not(Ending::RESTART))
    }
}
