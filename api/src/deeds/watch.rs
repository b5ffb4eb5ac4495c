//! Watching an execution: first what the store says, then what the display shows, until its end.
//!
//! The display may drop anything, so the store is looked at again whenever nothing came for a while.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use shared::{
    execution::{Execution, Phase, Plan, Status},
    ids::ExecutionId,
    port::progress::Update,
    time::Timestamp,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, executions::percent};
use crate::{
    caller::Caller,
    problem::{Code, Problem},
};

/// How long the display may be silent before the store is asked.
const SILENT: Duration = Duration::from_secs(5);
/// How often the store is asked while the display is lost.
const WITHOUT_DISPLAY: Duration = Duration::from_secs(1);

/// Where one component stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ComponentProgress)]
pub(crate) struct ComponentView {
    /// Its id in the workflow.
    pub component: String,
    /// `waiting`, `ready`, `running`, `retrying`, `delayed`, `asked`, `awaiting`, `completed`, `failed`,
    /// `skipped`, `cancelled`.
    pub state: String,
    /// The present or last attempt; 0 before the first.
    pub attempt: u32,
    /// When it goes on, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How far a loop is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<RoundsView>,
}

/// How far a loop is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = LoopProgress)]
pub(crate) struct RoundsView {
    /// Rounds that have ended.
    pub ended: u32,
    /// Rounds in all; absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

impl From<(u32, u32)> for RoundsView {
    fn from((ended, total): (u32, u32)) -> Self {
        Self { ended, total: (total > 0).then_some(total) }
    }
}

/// Where an execution stands: the data of each live event.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Progress)]
pub(crate) struct ProgressView {
    /// The execution.
    #[schema(value_type = String)]
    pub execution: ExecutionId,
    /// The turn this is the state after. Also the id of the live event.
    pub seq: u32,
    /// When that turn was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its status word.
    #[schema(value_type = String, example = "running")]
    pub status: Status,
    /// Whether it goes on and will fail: a component has failed and nothing handles that.
    pub failing: bool,
    /// Components that have settled.
    pub settled: u32,
    /// Components in all.
    pub total: u32,
    /// The same in percent.
    pub progress: f64,
    /// In a `snapshot` every component outside loops; in an `update` those that changed.
    pub components: Vec<ComponentView>,
}

/// A moment of an execution.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MomentQuery {
    /// The number of the turn after which it is looked at; left out, the last one.
    #[param(minimum = 1)]
    pub at: Option<u32>,
}

/// Where an execution stood after one of its turns.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Moment {
    #[serde(flatten)]
    pub progress: ProgressView,
    /// The number of its last turn so far.
    pub last_seq: u32,
}

/// One live event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sight {
    /// All of it, read from the store.
    Snapshot(ProgressView),
    /// What changed.
    Update(ProgressView),
    /// The end; nothing follows.
    End(ProgressView),
}

impl From<Update> for ProgressView {
    fn from(update: Update) -> Self {
        Self {
            execution: update.execution,
            seq: update.seq,
            at: update.at,
            status: update.status,
            failing: update.failing,
            settled: update.settled,
            total: update.total,
            progress: percent(update.settled, update.total),
            components: update
                .components
                .into_iter()
                .map(|component| ComponentView {
                    component: component.component.to_string(),
                    state: component.state,
                    attempt: component.attempt,
                    until: None,
                    rounds: component.rounds.map(Into::into),
                })
                .collect(),
        }
    }
}

impl From<&Execution> for ProgressView {
    fn from(execution: &Execution) -> Self {
        let root = execution.root();
        let total = root.components.len() as u32;
        Self {
            execution: execution.id,
            seq: execution.seq,
            at: execution.last_at,
            status: execution.status,
            failing: execution.is_failing(),
            settled: root.settled,
            total,
            progress: percent(root.settled, total),
            components: execution
                .open_scopes()
                .filter(|scope| execution.scope(*scope).iteration.is_none())
                .flat_map(|scope| execution.places(scope))
                .map(|place| {
                    let state = execution.at(place);
                    ComponentView {
                        component: execution.component(place).id.to_string(),
                        state: state.phase.as_str().to_owned(),
                        attempt: state.attempt,
                        until: match state.phase {
                            Phase::Retrying(at) | Phase::Delayed(at) => Some(at),
                            _ => None,
                        },
                        rounds: execution.container(place).and_then(|container| match &container.plan {
                            Plan::Rounds(plan) => Some((container.rounds.closed, plan.count).into()),
                            Plan::While { .. } => Some((container.rounds.closed, 0).into()),
                            _ => None,
                        }),
                    }
                })
                .collect(),
        }
    }
}

impl Deeds {
    async fn progress_view(&self, caller: &Caller, id: ExecutionId) -> Result<ProgressView, Problem> {
        let folded = self.fold(caller.tenant, id).await?;
        folded
            .as_ref()
            .and_then(|slot| slot.as_ref())
            .map(ProgressView::from)
            .ok_or_else(|| Problem::not_found(id))
    }

    /// Where an execution stood after a turn of its journal.
    pub(crate) async fn execution_moment(
        &self,
        caller: &Caller,
        id: ExecutionId,
        query: MomentQuery,
    ) -> Result<Moment, Problem> {
        self.execution_row(caller, id).await?;
        let now = self.progress_view(caller, id).await?;
        let last_seq = now.seq;
        let progress = match query.at {
            None => now,
            Some(at) if at == last_seq => now,
            Some(at) if (1..last_seq).contains(&at) => {
                let then = self.fold_to(caller.tenant, id, at).await?;
                ProgressView::from(&then.ok_or_else(|| Problem::not_found(id))?)
            }
            Some(at) => {
                let detail = format!("`at` is {at}; {id} has the turns 1 to {last_seq}.");
                return Err(Problem::new(Code::InvalidQuery, detail));
            }
        };
        Ok(Moment { progress, last_seq })
    }

    /// Live events of an execution until its end, until nobody reads them, or until `until`.
    pub(crate) async fn execution_watch(
        self: &Arc<Self>,
        caller: Caller,
        id: ExecutionId,
        until: CancellationToken,
    ) -> Result<mpsc::Receiver<Sight>, Problem> {
        self.execution_row(&caller, id).await?;
        // Before the snapshot, so that nothing falls between the two.
        let mut updates = self.progress.watch(id).await.ok();
        let first = self.progress_view(&caller, id).await?;
        let (sender, receiver) = mpsc::channel(64);
        let deeds = Arc::clone(self);
        #[expect(clippy::disallowed_methods, reason = "ends with its reader, the execution or `until`")]
        tokio::spawn(async move {
            let mut seen = first.seq;
            let mut sight = Some(Sight::Snapshot(first));
            loop {
                if let Some(sight) = sight.take() {
                    let (Sight::Snapshot(view) | Sight::Update(view) | Sight::End(view)) = &sight;
                    seen = view.seq;
                    let end = view.status.is_terminal().then(|| Sight::End(view.clone()));
                    if sender.send(sight).await.is_err() {
                        return;
                    }
                    if let Some(end) = end {
                        // Whoever has left needs no end.
                        sender.send(end).await.ok();
                        return;
                    }
                }
                let patience = if updates.is_some() { SILENT } else { WITHOUT_DISPLAY };
                let next = async {
                    match &mut updates {
                        Some(stream) => stream.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = until.cancelled() => return,
                    () = sender.closed() => return,
                    update = next => match update {
                        Some(update) if update.seq > seen => sight = Some(Sight::Update(update.into())),
                        Some(_) => {}
                        None => updates = None,
                    },
                    () = tokio::time::sleep(patience) => {
                        if let Ok(view) = deeds.progress_view(&caller, id).await
                            && view.seq > seen
                        {
                            sight = Some(Sight::Snapshot(view));
                        }
                        if updates.is_none() {
                            updates = deeds.progress.watch(id).await.ok();
                        }
                    }
                }
            }
        });
        Ok(receiver)
    }
}
