//! Group commit: what waits becomes one transaction.
//!
//! A task takes everything that waits, writes it, and answers each caller; meanwhile the next fill the
//! queue. Nobody waits for a batch to fill. A caller that goes away cancels nothing.

use std::sync::Arc;

use shared::port::store::{Kept, StoreError, Submitted};
use sqlx::{
    ConnectOptions, Connection, PgConnection, SqliteConnection, SqlitePool, postgres::PgConnectOptions,
};
use tokio::sync::{
    Mutex,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use tracing::debug;

use crate::{
    Ledger, error,
    turns::{self, Entry, Halt, Mode, Step},
};

/// At most about this many rows a transaction, so that nobody waits long behind others.
const MAX_ROWS: usize = 2_048;
/// How often a transaction is done again when it collided with another.
const TRIES: u32 = 8;

/// What a caller wants written.
pub(crate) enum Job {
    Accept { entries: Vec<Entry>, answer: oneshot::Sender<Result<Vec<Submitted>, StoreError>> },
    Commit { steps: Vec<Step>, answer: oneshot::Sender<Result<Vec<Kept>, StoreError>> },
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Self::Accept { entries, .. } => entries.len(),
            Self::Commit { steps, .. } => steps.len(),
        }
    }

    fn refuse(self, error: StoreError) {
        // A caller that has gone away needs no answer.
        match self {
            Self::Accept { answer, .. } => drop(answer.send(Err(error))),
            Self::Commit { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

type Waiting = Arc<Mutex<UnboundedReceiver<Job>>>;

/// Everything that waits, or nothing when the store is gone.
async fn take(waiting: &Waiting) -> Option<Vec<Job>> {
    let mut waiting = waiting.lock().await;
    let mut jobs = vec![waiting.recv().await?];
    let mut rows = jobs[0].rows();
    while rows < MAX_ROWS {
        let Ok(job) = waiting.try_recv() else { break };
        rows += job.rows();
        jobs.push(job);
    }
    Some(jobs)
}

/// What a batch answers, caller by caller.
#[derive(Default)]
struct Answers {
    accepted: std::vec::IntoIter<Submitted>,
    kept: std::vec::IntoIter<Vec<Kept>>,
}

impl Answers {
    fn give(mut self, jobs: Vec<Job>) {
        for job in jobs {
            match job {
                Job::Accept { entries, answer } => {
                    drop(answer.send(Ok(self.accepted.by_ref().take(entries.len()).collect())));
                }
                Job::Commit { answer, .. } => {
                    drop(answer.send(self.kept.next().ok_or_else(error::lost)));
                }
            }
        }
    }
}

/// How a batch failed.
enum Failed {
    /// Nothing of it is kept.
    Undone(sqlx::Error),
    /// It may be kept: the connection broke at `commit`.
    Unknown(sqlx::Error),
}

macro_rules! attempt {
    ($name:ident, $connection:ty, $begin:ident($($with:literal)?)) => {
        /// One transaction over all jobs.
        async fn $name(connection: &mut $connection, jobs: &[Job], ledger: &Ledger, mode: Mode) -> Result<Answers, Halted> {
            let undone = |error| Halted::Failed(Failed::Undone(error));
            let mut transaction = connection.$begin($($with)?).await.map_err(undone)?;
            let entries: Vec<&Entry> = jobs
                .iter()
                .flat_map(|job| match job {
                    Job::Accept { entries, .. } => entries.as_slice(),
                    Job::Commit { .. } => &[],
                })
                .collect();
            let calls: Vec<&[Step]> = jobs
                .iter()
                .filter_map(|job| match job {
                    Job::Commit { steps, .. } => Some(steps.as_slice()),
                    Job::Accept { .. } => None,
                })
                .collect();
            let written = async {
                let accepted = turns::accept(&mut *transaction, &entries, ledger, mode).await?;
                let kept = turns::commit(&mut *transaction, &calls, mode).await?;
                Ok(Answers { accepted: accepted.into_iter(), kept: kept.into_iter() })
            }
            .await;
            match written {
                Ok(answers) => {
                    transaction.commit().await.map_err(|error| Halted::Failed(Failed::Unknown(error)))?;
                    Ok(answers)
                }
                Err(halt) => {
                    let rolled_back = transaction.rollback().await;
                    match (halt, rolled_back) {
                        (Halt::Surprise, Ok(())) => Err(Halted::Surprise),
                        (Halt::Surprise, Err(error)) | (Halt::Failed(error), _) => Err(undone(error)),
                    }
                }
            }
        }
    };
}

/// Why an attempt came to nothing.
enum Halted {
    Surprise,
    Failed(Failed),
}

attempt!(attempt_postgres, PgConnection, begin());
attempt!(attempt_sqlite, SqliteConnection, begin_with("begin immediate"));

macro_rules! write_jobs {
    ($name:ident, $connection:ty, $attempt:ident) => {
        /// Writes jobs together, or each alone if one of them spoils it. Answers whether the connection lives.
        async fn $name(connection: &mut $connection, jobs: Vec<Job>, ledger: &Ledger) -> bool {
            let mut batches = vec![jobs];
            let mut alive = true;
            while let Some(jobs) = batches.pop() {
                let mut mode = Mode::Fast;
                let mut tries = 0;
                let failed = loop {
                    tries += 1;
                    match $attempt(connection, &jobs, ledger, mode).await {
                        Ok(answers) => break Ok(answers),
                        Err(Halted::Surprise) if tries < TRIES => mode = Mode::Careful,
                        Err(Halted::Failed(Failed::Undone(error) | Failed::Unknown(error)))
                            if tries < TRIES && error::is_collision(&error) =>
                        {
                            debug!(tries, "A transaction collided with another; doing it again");
                        }
                        Err(halted) => break Err(halted),
                    }
                };
                match failed {
                    Ok(answers) => answers.give(jobs),
                    // Others were always in between; alone, a job gives them less to be in between of.
                    Err(Halted::Surprise) if jobs.len() > 1 => batches.extend(singly(jobs)),
                    Err(Halted::Surprise) => refuse_all(jobs, error::contended()),
                    Err(Halted::Failed(Failed::Undone(error)))
                        if jobs.len() > 1 && turns::is_private(&error) =>
                    {
                        batches.extend(singly(jobs));
                    }
                    Err(Halted::Failed(failed)) => {
                        let (error, unknown) = match failed {
                            Failed::Undone(error) => (error, false),
                            Failed::Unknown(error) => (error, true),
                        };
                        alive &= !error::is_connection(&error);
                        let error = if unknown { error::unknown(error) } else { error::undone(error) };
                        refuse_all(jobs, error);
                    }
                }
            }
            alive
        }
    };
}

write_jobs!(write_postgres, PgConnection, attempt_postgres);
write_jobs!(write_sqlite, SqliteConnection, attempt_sqlite);

/// Each job in a batch of its own, the first on top.
fn singly(jobs: Vec<Job>) -> impl Iterator<Item = Vec<Job>> {
    jobs.into_iter().rev().map(|job| vec![job])
}

fn refuse_all(jobs: Vec<Job>, error: StoreError) {
    let text = error.to_string();
    let (unknown, retryable) = (matches!(error, StoreError::Unknown(_)), error.is_retryable());
    let mut first = Some(error);
    for job in jobs {
        job.refuse(first.take().unwrap_or_else(|| {
            let cause = text.clone().into();
            match (unknown, retryable) {
                (true, _) => StoreError::Unknown(cause),
                (false, true) => StoreError::Unavailable(cause),
                (false, false) => StoreError::Corrupt(cause),
            }
        }));
    }
}

/// Starts `writers` tasks with a connection each; they end when the store is dropped.
///
/// The connections are theirs alone and no caller's future holds one, so that nothing can cancel a `begin`.
pub(crate) fn postgres(
    options: &PgConnectOptions,
    writers: usize,
    ledger: &Arc<Ledger>,
) -> UnboundedSender<Job> {
    let (sender, receiver) = unbounded_channel();
    let waiting: Waiting = Arc::new(Mutex::new(receiver));
    for _ in 0..writers {
        let (waiting, options, ledger) = (Arc::clone(&waiting), options.clone(), Arc::clone(ledger));
        #[expect(clippy::disallowed_methods, reason = "ends when the sender is dropped, with the store")]
        tokio::spawn(async move {
            let mut connection: Option<PgConnection> = None;
            while let Some(jobs) = take(&waiting).await {
                let mut live = match connection.take() {
                    Some(live) => live,
                    None => match options.connect().await {
                        Ok(live) => live,
                        Err(error) => {
                            refuse_all(jobs, StoreError::Unavailable(Box::new(error)));
                            continue;
                        }
                    },
                };
                if write_postgres(&mut live, jobs, &ledger).await {
                    connection = Some(live);
                }
            }
        });
    }
    sender
}

/// Starts the one task that writes submissions and turns; other deeds take the same connection in between.
pub(crate) fn sqlite(writer: &SqlitePool, ledger: &Arc<Ledger>) -> UnboundedSender<Job> {
    let (sender, receiver) = unbounded_channel();
    let (waiting, writer, ledger): (Waiting, _, _) =
        (Arc::new(Mutex::new(receiver)), writer.clone(), Arc::clone(ledger));
    #[expect(clippy::disallowed_methods, reason = "ends when the sender is dropped, with the store")]
    tokio::spawn(async move {
        while let Some(jobs) = take(&waiting).await {
            match writer.acquire().await {
                Ok(mut connection) => {
                    write_sqlite(&mut connection, jobs, &ledger).await;
                }
                Err(error) => refuse_all(jobs, StoreError::Unavailable(Box::new(error))),
            }
        }
    });
    sender
}
