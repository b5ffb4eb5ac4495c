//! Open executions, moved to another version of their workflow: asked first whether they can, then decided.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    execution::{
        Event, Execution, Phase, Status,
        moving::{self, Fate, Move, Obstacle, Plan},
    },
    ids::{ComponentId, ExecutionId, RequestId, WorkflowId},
    port::store::ExecutionRow,
    wire::RequestBody,
    workflow::Workflow,
};
use utoipa::ToSchema;

use super::{
    Deeds,
    executions::check_reason,
    folding::TURNS,
    requests::{self, Decided},
    signals::execution_ended,
};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem, capitalized},
};

/// How an execution is to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveExecution {
    /// The number of the version that it is to go on as, or `newest`.
    #[serde(default)]
    #[schema(value_type = Value, example = 4)]
    pub version: MoveVersion,
    /// The workflow that the version is of, for a check: another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub workflow_id: Option<WorkflowId>,
    /// Components that have another id there: `{"old": "new"}`. Those of the same id need no word.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub mapping: BTreeMap<ComponentId, ComponentId>,
    /// Parameters that it has not yet. Those that it has stay as they are.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Why; kept in the journal; at most 1,000 characters.
    #[serde(default)]
    pub reason: String,
    /// Only say whether it can be moved, and what would become of each component.
    #[serde(default)]
    pub dry_run: bool,
}

/// A version: `newest`, or its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum MoveVersion {
    Number(u32),
    Word(String),
}

impl Default for MoveVersion {
    fn default() -> Self {
        Self::Word("newest".to_owned())
    }
}

/// What becomes of one component of the version that it goes on as.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MovedComponent {
    /// Its id.
    pub component: String,
    /// What it was called before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// `kept` (it has ended), `goes_on` (it is under way), `waits` (it has not begun), `new`, `passed_over` (new, and
    /// too late to run) or `gone` (the version has it no more).
    pub fate: &'static str,
    /// How it stands.
    pub status: &'static str,
}

/// An execution that was moved, or would be.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MovedView {
    /// The execution.
    #[schema(value_type = String)]
    pub id: ExecutionId,
    /// Where it stands at this moment.
    #[schema(value_type = String, example = "running")]
    pub status: Status,
    /// The version that it was of.
    pub from_version: u32,
    /// The version that it goes on as.
    pub version: u32,
    /// Whether it only says what would be.
    pub dry_run: bool,
    /// Whether it is decided. `false`: it is durable, and no coordinator has taken it up within ten seconds.
    pub decided: bool,
    /// What becomes of each component of the workflow's own scope, as it stood when this was asked.
    pub components: Vec<MovedComponent>,
}

/// A move that can be made, as things stand.
pub(super) struct Movable {
    asked: Move,
    plan: Plan,
    /// The version that it is of, and the last turn that was seen.
    from: u32,
    seq: u32,
}

impl Movable {
    pub(super) fn body(&self) -> RequestBody {
        RequestBody::Move(Box::new(self.asked.clone()))
    }
}

fn shown(plan: &Plan) -> Vec<MovedComponent> {
    let steps = plan.steps.iter().map(|step| {
        let (fate, phase) = match step.fate {
            Fate::Kept(phase) => ("kept", phase),
            Fate::GoesOn(phase) => ("goes_on", phase),
            Fate::Waits => ("waits", Phase::Waiting),
            Fate::New => ("new", Phase::Waiting),
            Fate::PassedOver => ("passed_over", Phase::Skipped),
        };
        MovedComponent {
            component: step.component.to_string(),
            was: step.was.as_ref().map(ToString::to_string),
            fate,
            status: phase.as_str(),
        }
    });
    let gone = plan.gone.iter().map(|(component, phase)| MovedComponent {
        component: component.to_string(),
        was: None,
        fate: "gone",
        status: phase.as_str(),
    });
    steps.chain(gone).collect()
}

fn sentence(text: &str) -> String {
    format!("{}.", capitalized(text))
}

/// A refusal before anything was asked of the execution.
fn refused(obstacles: &[Obstacle]) -> Problem {
    let texts: Vec<String> = obstacles.iter().map(|obstacle| sentence(&obstacle.message)).collect();
    let problems = obstacles.iter().map(|obstacle| {
        let path: Vec<&str> = obstacle.about.as_deref().into_iter().collect();
        let (code, message) = (obstacle.code, &obstacle.message);
        json!({ "code": code, "severity": "error", "message": message, "path": path })
    });
    let detail = format!("{} It stays as it is.", texts.join(" "));
    Problem::new(Code::MoveRefused, detail).with_problems(problems.collect())
}

impl Deeds {
    /// Lets an open execution go on as another version of its workflow.
    pub(crate) async fn execution_move(
        &self,
        caller: &Caller,
        id: ExecutionId,
        body: MoveExecution,
    ) -> Result<MovedView, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let row = self.execution_row(caller, id).await?;
        let movable = self.move_plan(caller, &row, &body).await?;
        let view = |status, decided| MovedView {
            id,
            status,
            from_version: movable.from,
            version: movable.asked.version,
            dry_run: body.dry_run,
            decided,
            components: shown(&movable.plan),
        };
        if body.dry_run {
            return Ok(view(row.status, false));
        }
        let at = self.clock.now(&self.store).await?;
        let request = RequestId::generate();
        let decided = self.request_decided_as(caller.tenant, id, request, movable.body(), at).await?;
        let now = self.execution_row(caller, id).await?;
        match decided {
            Decided::Ended => Err(execution_ended(&now)),
            Decided::Later => Ok(view(now.status, false)),
            Decided::Now => match self.move_outcome(caller, id, request, movable.seq).await? {
                Some(Ok(())) => Ok(view(now.status, true)),
                Some(Err(because)) => {
                    let texts: Vec<String> = because.iter().map(|text| sentence(text)).collect();
                    let detail = format!(
                        "It went on meanwhile, and cannot be moved any more: {} It stays as it is.",
                        texts.join(" ")
                    );
                    Err(Problem::new(Code::MoveRefused, detail))
                }
                // It came to nothing: the execution had ended.
                None => Err(execution_ended(&now)),
            },
        }
    }

    /// What the turn that answered a request says; nothing when there is no such turn.
    async fn move_outcome(
        &self,
        caller: &Caller,
        id: ExecutionId,
        request: RequestId,
        mut after: u32,
    ) -> Result<Option<Result<(), Vec<String>>>, Problem> {
        let cause = requests::cause(id, request);
        loop {
            let turns = self.store.execution_turns(caller.tenant, id, after, TURNS).await?;
            let is_last = turns.len() < TURNS as usize;
            for turn in turns {
                after = turn.seq;
                let answer = turn.events.into_iter().find_map(|event| match event {
                    Event::Moved(_) => Some(Ok(())),
                    Event::MoveRefused { because, .. } => Some(Err(because)),
                    _ => None,
                });
                if turn.cause == cause
                    && let Some(answer) = answer
                {
                    return Ok(Some(answer));
                }
            }
            if is_last {
                return Ok(None);
            }
        }
    }

    /// Whether an execution can be moved, as it stands now; nothing is done.
    pub(super) async fn move_plan(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        body: &MoveExecution,
    ) -> Result<Movable, Problem> {
        check_reason(&body.reason)?;
        if row.status.is_terminal() {
            return Err(execution_ended(row));
        }
        if let Some(other) = body.workflow_id.filter(|other| *other != row.workflow) {
            let detail = format!(
                "It is an execution of {}, and no version of {other}. It stays as it is; start one of the other workflow.",
                row.workflow
            );
            return Err(Problem::new(Code::MoveRefused, detail));
        }
        let (version, hash) = self.move_version(caller, row, &body.version).await?;
        let target = self.snapshot(&hash).await?;
        let asked = Move {
            by: caller.principal.to_string(),
            reason: body.reason.clone(),
            version,
            hash,
            mapping: body.mapping.clone(),
            parameters: body.parameters.clone(),
        };
        let folded = self.fold(caller.tenant, row.id).await?;
        let execution = folded.as_ref().and_then(|slot| slot.as_ref());
        let execution = execution.ok_or_else(|| Problem::not_found(row.id))?;
        let movable = movable(execution, &target, asked);
        movable.map_err(|obstacles| {
            if execution.status.is_terminal() {
                return execution_ended(&ExecutionRow { status: execution.status, ..row.clone() });
            }
            refused(&obstacles)
        })
    }

    /// The number and hash of the version that is wanted.
    pub(super) async fn move_version(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        wanted: &MoveVersion,
    ) -> Result<(u32, String), Problem> {
        let number = match wanted {
            MoveVersion::Word(word) if word == "newest" => {
                let newest = self.store.workflow_get(caller.tenant, row.workflow).await?;
                let newest = newest.ok_or_else(|| Problem::not_found(row.workflow))?;
                return Ok((newest.version, newest.hash));
            }
            MoveVersion::Word(word) => {
                let hint = if word == "draft" { " A draft is no version: publish it first." } else { "" };
                let detail = format!("`version` is `{word}`; write `newest` or a number.{hint}");
                return Err(Problem::new(Code::InvalidBody, detail));
            }
            MoveVersion::Number(number) => *number,
        };
        let hash = self.store.workflow_hash(caller.tenant, row.workflow, number).await?;
        let missing = || Problem::new(Code::NotFound, format!("{} has no version {number}.", row.workflow));
        Ok((number, hash.ok_or_else(missing)?))
    }
}

fn movable(execution: &Execution, target: &Arc<Workflow>, asked: Move) -> Result<Movable, Vec<Obstacle>> {
    let plan = moving::plan(execution, target, &asked)?;
    Ok(Movable { asked, plan, from: execution.accepted.version, seq: execution.seq })
}
