//! A part of a document, tried: one component and what is before it, with data that stands in for the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Carry, Mode, Payload, Phase, Place, ROOT, SkipReason, Trial,
        trying::{self, Pin, Refusal, Role, Wanted},
    },
    ids::{ComponentId, ExecutionId, TenantId, WorkflowId},
    workflow::{Priority, Workflow},
};
use utoipa::ToSchema;

use super::{
    Deeds,
    accept::{Carried, Submission, hash_of, sorted},
    workflows::mistakes,
};
use crate::{
    caller::{Caller, Permission},
    documents::{self, Definition, Document},
    problem::{Code, Problem, capitalized},
};

/// What executions that try something are found by.
const TAG: &str = "try";

/// What is to be tried.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TryWorkflow {
    /// The component, of the workflow's own scope. What is before it runs too, and nothing else.
    #[schema(example = "ship")]
    pub component: String,
    /// Whether it runs alone: what it depends on is pinned, or taken from `data_from`.
    #[serde(default)]
    pub only: bool,
    /// The document; left out, the draft, or the newest version when there is none.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub definition: Option<Definition>,
    /// Values for the workflow's parameters.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// How components are taken to have ended; they do not run.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub pinned: BTreeMap<ComponentId, PinnedData>,
    /// An execution of this workflow: how components ended there stands in for those that are not pinned.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub data_from: Option<ExecutionId>,
}

/// How a component is taken to have ended: `output`, or `error`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedData {
    /// What it gives.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Own ports that fire; those that what runs asks for, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<PinnedError>,
}

/// Why a component is taken to have failed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedError {
    /// The class, such as `timeout` or `http_5xx`.
    #[schema(value_type = String, example = "timeout")]
    pub class: FailureClass,
    /// A sentence.
    #[serde(default)]
    pub message: String,
}

/// `null` is an output too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What becomes of one component.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TriedComponent {
    /// Its id.
    pub component: String,
    /// `runs`, `pinned`, `taken` (as it ended in `data_from`) or `left_out`.
    #[schema(example = "runs")]
    pub fate: &'static str,
    /// The same for people.
    pub sentence: &'static str,
}

/// An accepted execution that tries something. Its document has only what is before the component; it is found by the
/// tag `try`, and its version is the newest one when it was tried.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Tried {
    #[serde(flatten)]
    pub submission: Submission,
    /// What becomes of each component that is in it.
    pub components: Vec<TriedComponent>,
}

fn shown(plan: &[(ComponentId, Role)]) -> Vec<TriedComponent> {
    let each = plan.iter().map(|(id, role)| TriedComponent {
        component: id.to_string(),
        fate: role.as_str(),
        sentence: match role {
            Role::Runs => "It runs.",
            Role::Pinned(_) => "It is pinned, and does not run.",
            Role::Taken(_) => "It is taken to have ended as in the other execution, and does not run.",
            Role::LeftOut => "Nothing that runs asks for it.",
        },
    });
    each.collect()
}

fn refused(refusal: &Refusal) -> Problem {
    let text = refusal.to_string();
    let about: Vec<String> = match refusal {
        Refusal::Unknown { id, .. } | Refusal::Inside { id, .. } => vec![id.clone()],
        Refusal::Pinned { id } | Refusal::NotBefore { id, .. } | Refusal::NoPort { id, .. } => {
            vec![id.to_string()]
        }
        Refusal::NoData { missing, .. } => missing.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let problems = about
        .iter()
        .map(|id| json!({ "code": "try_refused", "severity": "error", "message": text, "path": [id] }));
    let detail = capitalized(&text);
    Problem::new(Code::TryRefused, format!("{detail}. Nothing was started."))
        .with_problems(problems.collect())
}

fn pin(id: &ComponentId, data: PinnedData) -> Result<Pin, Problem> {
    match (data.output, data.error) {
        (Some(output), None) => Ok(Pin::Completed { output, ports: data.ports }),
        (None, Some(error)) if data.ports.is_none() => {
            Ok(Pin::Failed(Failure::new(error.class, error.message)))
        }
        _ => {
            let detail = format!("`pinned.{id}` has either `output`, with `ports` or without, or `error`.");
            Err(Problem::new(Code::InvalidBody, detail))
        }
    }
}

impl Deeds {
    /// Accepts an execution of what a component of a document depends on. Nothing is saved or published.
    pub(crate) async fn workflow_try(
        &self,
        caller: &Caller,
        id: WorkflowId,
        body: TryWorkflow,
        key: Option<String>,
    ) -> Result<Tried, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        caller.must(Permission::WorkflowEdit)?;
        let row = self.workflow_row(caller, id).await?;
        if row.status != "active" {
            return Err(Problem::new(Code::WorkflowArchived, format!("{id} is archived.")));
        }
        let definition = match body.definition {
            Some(definition) => definition,
            None => match self.store.draft_get(caller.tenant, id).await? {
                Some(draft) => Definition::Text(draft.document),
                None => Definition::Text(row.document),
            },
        };
        let part = self.read_part(definition, &body.component).await?;
        let name = part.workflow.name.clone();
        let part = self.pinned(caller, part, &name).await?;
        let parameters =
            documents::check_parameters(&part.workflow, &body.parameters).map_err(|problems| {
                let detail = "The parameters do not fit the document; nothing was started.";
                Problem::new(Code::InvalidParameters, detail).with_problems(problems)
            })?;
        let content = json!([&body.component, body.only, &part.workflow.hash, body.pinned, body.data_from]);
        let content = [sorted(&content), sorted(&Value::Object(body.parameters))];
        let idempotency = key.map(|key| (key, hash_of(&("try", id, content))));

        let pins: Result<BTreeMap<ComponentId, Pin>, Problem> =
            body.pinned.into_iter().map(|(id, data)| Ok((id.clone(), pin(&id, data)?))).collect();
        let data = match body.data_from {
            Some(from) => self.data_of(caller.tenant, id, from, &part.workflow).await?,
            None => BTreeMap::new(),
        };
        let wanted = Wanted { component: &body.component, only: body.only, pins: &pins?, data: &data };
        let plan = trying::plan(&part.workflow, &wanted).map_err(|refusal| refused(&refusal))?;
        let events = trying::events(&plan, body.data_from);
        let payloads = match body.data_from {
            Some(from) => {
                let stored = plan.iter().filter_map(|(_, role)| match role {
                    Role::Taken(Carry::Completed { output: Payload::Stored(stored), .. }) => Some(stored.id),
                    _ => None,
                });
                let missing = "A value of that execution is not stored any more. Nothing was started.";
                let payloads = self.payloads_of(from, stored.collect(), &events).await?;
                payloads.ok_or_else(|| Problem::new(Code::TryRefused, missing))?
            }
            None => Vec::new(),
        };
        self.store.snapshot_put(&part.workflow.hash, &part.canonical).await?;
        self.snapshots.keep(&part.workflow);
        let accepted = Accepted {
            tenant: caller.tenant,
            workflow: id,
            version: row.version,
            hash: part.workflow.hash.clone(),
            parameters,
            priority: Priority::Normal,
            mode: Mode::Test,
            scheduled_at: None,
            tags: vec![TAG.to_owned()],
            principal: caller.principal.to_string(),
            parent: None,
            trigger: None,
            retry_of: None,
            trial: Some(Trial {
                component: ComponentId::new(&body.component),
                only: body.only,
                data_from: body.data_from,
            }),
        };
        let submission = self.submit(accepted, Carried { events, payloads }, idempotency).await?;
        Ok(Tried { submission, components: shown(&plan) })
    }

    /// Away from the threads that answer requests: a large document takes a while.
    async fn read_part(&self, definition: Definition, component: &str) -> Result<Document, Problem> {
        let (catalogue, component) = (self.catalogue.clone(), component.to_owned());
        tokio::task::spawn_blocking(move || documents::read_part(definition, &component, &catalogue))
            .await
            .map_err(Problem::internal)?
            .map_err(mistakes)?
            .map_err(|refusal| refused(&refusal))
    }

    /// How the components of `part` ended in an execution of the same workflow, as far as they have.
    async fn data_of(
        &self,
        tenant: TenantId,
        workflow: WorkflowId,
        from: ExecutionId,
        part: &Workflow,
    ) -> Result<BTreeMap<ComponentId, Carry>, Problem> {
        let folded = self.fold(tenant, from).await?;
        let Some(execution) = folded.as_ref().and_then(|slot| slot.as_ref()) else {
            return Err(Problem::not_found(from));
        };
        if execution.accepted.workflow != workflow {
            let detail = format!("{from} is of another workflow. Nothing was started.");
            return Err(Problem::new(Code::TryRefused, detail));
        }
        let mut data = BTreeMap::new();
        for index in &part.scopes[0].components {
            let component = &part.components[*index];
            let known = execution.workflow.index_of(component.id.as_str());
            let known = known.filter(|known| {
                let there = &execution.workflow.components[*known];
                there.scope == 0 && there.kind == component.kind
            });
            let Some(known) = known else { continue };
            let state = execution.at(Place { scope: ROOT, component: known as u32 });
            let carry = match (state.phase, &state.output, &state.failure) {
                (Phase::Completed, Some(output), _) => Carry::Completed {
                    output: output.clone(),
                    ports: state.ports.clone(),
                    attempts: state.attempt,
                },
                (Phase::Failed, _, Some(failure)) => {
                    Carry::Failed { failure: (**failure).clone(), attempts: state.attempt }
                }
                (Phase::Skipped, ..) => Carry::Skipped { reason: SkipReason::NotTried },
                _ => continue,
            };
            data.insert(component.id.clone(), carry);
        }
        Ok(data)
    }
}
