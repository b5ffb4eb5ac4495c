//! What a worker goes on with after a task: the components of its chain.
//!
//! Only what is short is run here. A link that takes long, cannot be prepared or is asked to stop leaves no
//! trace: the coordinator orders it in the ordinary way, as it would have without a chain.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures::FutureExt;
use shared::{
    component::Log,
    wire::{Chain, Task, TaskResult, output_of},
};
use tokio::time::{Instant, timeout};

use crate::{
    board::Attempt,
    execute::{Around, End, conclude, fitting, log_lines, tidy, work},
};

/// No link begins when the task and those before it took this long: what follows waits for their results.
const BUDGET: Duration = Duration::from_millis(250);
/// No link begins when the results before it are larger in all: they travel in one message and make one turn.
const MOST_BYTES: usize = 1024 * 1024;
/// A link that takes longer is dropped; alone it has its own time-out, and may be handed over to a lease.
const LONGEST_LINK: Duration = Duration::from_millis(500);

impl Around {
    /// Runs what may follow a task that began at `begun` and completed; gives the results, and their bytes in all, about.
    pub(crate) async fn follow(
        &self,
        task: &Task,
        chain: Chain,
        first: &TaskResult,
        attempt: &Arc<Attempt>,
        begun: Instant,
    ) -> (Vec<TaskResult>, usize) {
        let (mut followers, mut bytes) = (Vec::with_capacity(chain.links.len()), 0);
        for link in chain.links {
            let before = followers.last().unwrap_or(first);
            let is_over = begun.elapsed() > BUDGET || bytes > MOST_BYTES || attempt.stopped().is_some();
            if is_over || output_of(before).is_none() {
                break;
            }
            let Some(task) = link.task(task, &chain.sees, first, &followers) else { break };
            let follows = before.started_at;
            let Some((result, size)) = self.link(task, attempt).await else { break };
            bytes += size;
            followers.push(TaskResult { follows: Some(follows), ..result });
        }
        (followers, bytes)
    }

    /// One link; nothing when it is better left to be ordered by itself.
    async fn link(&self, mut task: Task, attempt: &Arc<Attempt>) -> Option<(TaskResult, usize)> {
        let build = fitting(&self.config, &self.catalogue, &task).ok()?;
        let started_at = self.clock.now();
        let log = Log::default();
        let cancel = attempt.cancel.child_token();
        let context = self.context(&task, cancel.clone(), &log);
        let config = std::mem::take(&mut task.config);
        let caught = {
            let mut run = pin!(AssertUnwindSafe(work(&task, build, config, &context)).catch_unwind());
            match futures::poll!(run.as_mut()) {
                Poll::Ready(caught) => Some(caught),
                Poll::Pending => tokio::select! {
                    caught = timeout(LONGEST_LINK.min(task.timeout), run) => caught.ok(),
                    () = cancel.cancelled() => None,
                },
            }
        };
        cancel.cancel();
        self.clear(&context).await;
        let completed = matches!(caught, Some(Ok(Ok(_))));
        if caught.is_none() || (!completed && attempt.stopped().is_some()) {
            return None;
        }
        let End::Report(ending, size) = conclude(&task, attempt, caught, false) else { return None };
        let lines = log_lines(&log);
        let size = size + lines.iter().map(|line| line.message.len() + 64).sum::<usize>();
        Some((self.result(&task, None, started_at, tidy(ending), lines), size))
    }
}
