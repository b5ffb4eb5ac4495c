//! Workflows: create, read, update, archive, validate.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    ids::{ComponentId, WorkflowId},
    port::store::{Saved, WorkflowDraft, WorkflowFilter, WorkflowRow},
    time::Timestamp,
    workflow::{ParameterType, Workflow},
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page};
use crate::{
    caller::{Caller, Permission},
    documents::{self, Definition, Document},
    problem::{Code, Mistake, Problem},
};

/// A new workflow.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CreateWorkflow)]
pub(crate) struct SaveWorkflow {
    /// Unique among your workflows. Left out: the name in the document.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for. Left out: the description in the document.
    #[serde(default)]
    pub description: Option<String>,
    /// The shelf it stands on.
    #[serde(default)]
    pub category: Option<String>,
    /// Words to find it by; at most 32 of at most 100 characters.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// The workflow document: an object, or text in YAML or JSON.
    #[schema(value_type = Value)]
    pub definition: Definition,
}

/// A change of a workflow; what is left out stays as it is.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct UpdateWorkflow {
    /// Unique among your workflows.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The shelf it stands on.
    pub category: Option<String>,
    /// Words to find it by; at most 32 of at most 100 characters.
    pub tags: Option<Vec<String>>,
    /// The workflow document: an object, or text in YAML or JSON. A changed one is a new version.
    #[schema(value_type = Option<Value>)]
    pub definition: Option<Definition>,
}

/// A document to be checked.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidateWorkflow {
    /// The workflow document: an object, or text in YAML or JSON.
    #[schema(value_type = Value)]
    pub definition: Definition,
}

/// What checking a document showed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Validation {
    /// Whether the document could be saved.
    pub valid: bool,
    /// Every mistake; empty when it is valid.
    #[schema(value_type = Vec<Mistake>)]
    pub problems: Vec<Value>,
    /// What is allowed and probably not meant.
    #[schema(value_type = Vec<Mistake>)]
    pub warnings: Vec<Value>,
}

/// What of a cache to clear.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CacheQuery {
    /// Only what this component gave.
    pub component: Option<String>,
}

/// What was removed from a cache.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Cleared {
    /// How many results.
    pub removed: u64,
}

/// Which workflows to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WorkflowQuery {
    /// Only this category.
    pub category: Option<String>,
    /// `active` or `archived`.
    pub status: Option<String>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Part of name or description, whatever the case.
    pub search: Option<String>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What a workflow is started with.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ParameterView {
    /// The key in `parameters` of an execution.
    pub name: String,
    /// The JSON type.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "string")]
    pub kind: ParameterType,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values allowed, when there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Value>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A workflow.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Workflow)]
pub(crate) struct WorkflowView {
    /// Its id over all its versions.
    #[schema(value_type = String)]
    pub id: WorkflowId,
    /// Unique among your workflows.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The shelf it stands on.
    pub category: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// `active`, or `archived`: takes no new executions.
    #[schema(example = "active")]
    pub status: String,
    /// The newest version's number, from 1. Also the `ETag`.
    pub version: u32,
    /// SHA-256 of the document's canonical form.
    pub hash: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The document as its author wrote it: an object, or text in YAML. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
    /// What it is started with. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<ParameterView>>,
    /// What is allowed and probably not meant; after saving only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Mistake>)]
    pub warnings: Vec<Value>,
}

/// Some workflows, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WorkflowList {
    /// The workflows of this page.
    pub items: Vec<WorkflowView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

impl WorkflowView {
    fn brief(row: WorkflowRow) -> (Self, String) {
        let view = Self {
            id: row.id,
            name: row.name,
            description: row.description,
            category: row.category,
            tags: row.tags,
            status: row.status,
            version: row.version,
            hash: row.hash,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            definition: None,
            parameters: None,
            warnings: Vec::new(),
        };
        (view, row.document)
    }

    fn whole(row: WorkflowRow, workflow: &Workflow, warnings: Vec<Value>) -> Self {
        let (view, document) = Self::brief(row);
        let definition = shown(document);
        let parameters = workflow
            .parameters
            .iter()
            .map(|parameter| ParameterView {
                name: parameter.name.clone(),
                kind: parameter.kind,
                required: parameter.required,
                default: parameter.default.clone(),
                choices: parameter.choices.clone(),
                description: parameter.description.clone(),
            })
            .collect();
        Self { definition: Some(definition), parameters: Some(parameters), warnings, ..view }
    }
}

fn check_fields(name: &str, description: &str, category: &str, tags: &[String]) -> Result<(), Problem> {
    let long = |text: &str, most: usize| text.chars().count() > most;
    let wrong = |detail: &str| Err(Problem::new(Code::InvalidBody, detail));
    if name.trim().is_empty() || long(name, 200) {
        return wrong("`name` has 1 to 200 characters.");
    }
    if long(description, 10_000) {
        return wrong("`description` has at most 10,000 characters.");
    }
    if long(category, 100) {
        return wrong("`category` has at most 100 characters.");
    }
    if tags.len() > 32 || tags.iter().any(|tag| tag.is_empty() || long(tag, 100)) {
        return wrong("`tags` holds at most 32 words, each of 1 to 100 characters.");
    }
    Ok(())
}

pub(super) fn mistakes(problems: Vec<Value>) -> Problem {
    let detail = match problems.len() {
        1 => "There is one mistake in it; nothing was saved.".to_owned(),
        many => format!("There are {many} mistakes in it; nothing was saved."),
    };
    Problem::new(Code::InvalidDocument, detail).with_problems(problems)
}

/// What stands beside a document.
pub(super) struct Fields {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) category: String,
    pub(super) tags: Vec<String>,
}

impl Fields {
    fn draft(
        self,
        caller: &Caller,
        id: WorkflowId,
        document: &Document,
        publishes: Option<u32>,
        at: Timestamp,
    ) -> WorkflowDraft {
        WorkflowDraft {
            id,
            tenant: caller.tenant,
            name: self.name,
            description: self.description,
            category: self.category,
            tags: self.tags,
            document: document.text.clone(),
            hash: document.workflow.hash.clone(),
            snapshot: document.canonical.clone(),
            triggers: document.workflow.trigger_drafts(id, at),
            publishes,
            principal: caller.principal.to_string(),
            at,
        }
    }
}

/// A document as it is shown: an object where its author wrote JSON, and text otherwise.
pub(super) fn shown(document: String) -> Value {
    match serde_json::from_str::<Value>(&document) {
        Ok(object @ Value::Object(_)) => object,
        _ => Value::String(document),
    }
}

impl Deeds {
    /// Reads a document away from the threads that answer requests: a large one takes a while.
    pub(super) async fn read(&self, definition: Definition) -> Result<Result<Document, Vec<Value>>, Problem> {
        let catalogue = self.catalogue.clone();
        tokio::task::spawn_blocking(move || documents::read(definition, &catalogue))
            .await
            .map_err(Problem::internal)
    }

    pub(super) async fn read_or_refuse(&self, definition: Definition) -> Result<Document, Problem> {
        self.read(definition).await?.map_err(mistakes)
    }

    /// Fixes the versions of the sub-workflows that a document names.
    pub(super) async fn pinned(
        &self,
        caller: &Caller,
        document: Document,
        name: &str,
    ) -> Result<Document, Problem> {
        document.pinned(&self.store, &self.catalogue, caller.tenant, name).await?.map_err(mistakes)
    }

    pub(crate) async fn workflow_validate(
        &self,
        caller: &Caller,
        definition: Definition,
    ) -> Result<Validation, Problem> {
        caller.must(Permission::Read)?;
        Ok(match self.read(definition).await? {
            Ok(document) => Validation { valid: true, problems: Vec::new(), warnings: document.warnings },
            Err(problems) => Validation { valid: false, problems, warnings: Vec::new() },
        })
    }

    /// Checks what a workflow is now, against today's catalogue.
    pub(crate) async fn workflow_validate_saved(
        &self,
        caller: &Caller,
        id: WorkflowId,
        definition: Option<Definition>,
    ) -> Result<Validation, Problem> {
        let row = self.workflow_row(caller, id).await?;
        self.workflow_validate(caller, definition.unwrap_or(Definition::Text(row.document))).await
    }

    pub(super) async fn workflow_row(&self, caller: &Caller, id: WorkflowId) -> Result<WorkflowRow, Problem> {
        caller.must(Permission::Read)?;
        self.store.workflow_get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found(id))
    }

    pub(crate) async fn workflow_create(
        &self,
        caller: &Caller,
        body: SaveWorkflow,
    ) -> Result<WorkflowView, Problem> {
        caller.must(Permission::WorkflowCreate)?;
        let document = self.read_or_refuse(body.definition).await?;
        let name = body.name.unwrap_or_else(|| document.workflow.name.clone());
        let description =
            body.description.or_else(|| document.workflow.description.clone()).unwrap_or_default();
        let category = body.category.unwrap_or_default();
        let tags = body.tags.unwrap_or_default();
        check_fields(&name, &description, &category, &tags)?;
        let document = self.pinned(caller, document, &name).await?;
        let (id, at) = (WorkflowId::generate(), self.clock.now(&self.store).await?);
        let fields = Fields { name, description, category, tags };
        let draft = fields.draft(caller, id, &document, None, at);
        let saved = self.store.workflow_create(draft).await?;
        self.snapshots.keep(&document.workflow);
        self.saved(caller, id, saved, &document.workflow, document.warnings)
    }

    pub(crate) async fn workflow_update(
        &self,
        caller: &Caller,
        id: WorkflowId,
        body: UpdateWorkflow,
        expected: Option<u32>,
    ) -> Result<WorkflowView, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let row = self.workflow_row(caller, id).await?;
        let definition = body.definition.unwrap_or(Definition::Text(row.document));
        let fields = Fields {
            name: body.name.unwrap_or(row.name),
            description: body.description.unwrap_or(row.description),
            category: body.category.unwrap_or(row.category),
            tags: body.tags.unwrap_or(row.tags),
        };
        self.next_version(caller, id, fields, definition, expected, None).await
    }

    /// Keeps a document as the next version of a workflow. `expected` is the version the caller saw, `publishes`
    /// the revision of the draft that the document is of.
    pub(super) async fn next_version(
        &self,
        caller: &Caller,
        id: WorkflowId,
        fields: Fields,
        definition: Definition,
        expected: Option<u32>,
        publishes: Option<u32>,
    ) -> Result<WorkflowView, Problem> {
        let document = self.read_or_refuse(definition).await?;
        check_fields(&fields.name, &fields.description, &fields.category, &fields.tags)?;
        let document = self.pinned(caller, document, &fields.name).await?;
        let at = self.clock.now(&self.store).await?;
        let draft = fields.draft(caller, id, &document, publishes, at);
        let saved = self.store.workflow_update(draft, expected).await;
        // Also when it is not known whether it was done.
        self.snapshots.forget(caller.tenant, id);
        self.snapshots.keep(&document.workflow);
        self.saved(caller, id, saved?, &document.workflow, document.warnings)
    }

    fn saved(
        &self,
        caller: &Caller,
        id: WorkflowId,
        saved: Saved,
        workflow: &Workflow,
        warnings: Vec<Value>,
    ) -> Result<WorkflowView, Problem> {
        self.snapshots.forget(caller.tenant, id);
        match saved {
            Saved::Created(row) | Saved::Updated(row) => Ok(WorkflowView::whole(row, workflow, warnings)),
            Saved::NameTaken(other) => {
                Err(Problem::new(Code::NameTaken, format!("{other} has that name. Nothing was saved.")))
            }
            Saved::Missing => Err(Problem::not_found(id)),
            Saved::Stale(version) => Err(Problem::new(
                Code::StaleVersion,
                format!("{id} is at version {version} by now. Nothing was saved."),
            )),
        }
    }

    pub(crate) async fn workflow_get(
        &self,
        caller: &Caller,
        id: WorkflowId,
    ) -> Result<WorkflowView, Problem> {
        let row = self.workflow_row(caller, id).await?;
        let workflow = self.snapshot(&row.hash).await?;
        Ok(WorkflowView::whole(row, &workflow, Vec::new()))
    }

    /// The document as YAML, and the version it is of.
    pub(crate) async fn workflow_definition(
        &self,
        caller: &Caller,
        id: WorkflowId,
    ) -> Result<(String, u32), Problem> {
        let row = self.workflow_row(caller, id).await?;
        Ok((documents::as_yaml(&row.document), row.version))
    }

    pub(crate) async fn workflow_list(
        &self,
        caller: &Caller,
        query: WorkflowQuery,
    ) -> Result<WorkflowList, Problem> {
        caller.must(Permission::Read)?;
        if let Some(status) = query.status.as_deref()
            && !matches!(status, "active" | "archived")
        {
            return Err(Problem::new(Code::InvalidQuery, "`status` is `active` or `archived`."));
        }
        let filter = WorkflowFilter {
            category: query.category,
            status: query.status,
            tag: query.tag,
            search: query.search.filter(|text| !text.is_empty()),
        };
        let page = page::<WorkflowId>(query.cursor, query.limit)?;
        let found = self.store.workflow_list(caller.tenant, filter, page).await?;
        Ok(WorkflowList {
            items: found.items.into_iter().map(|row| WorkflowView::brief(row).0).collect(),
            next_cursor: found.next,
        })
    }

    /// Forgets what components of a workflow gave, so that they run again.
    pub(crate) async fn cache_clear(
        &self,
        caller: &Caller,
        id: WorkflowId,
        query: CacheQuery,
    ) -> Result<Cleared, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        self.workflow_row(caller, id).await?;
        let component = query.component.as_deref().map(ComponentId::new);
        let removed = self.store.cache_clear(caller.tenant, id, component.as_ref()).await?;
        Ok(Cleared { removed })
    }

    /// Archives a workflow. Archiving it again changes nothing.
    pub(crate) async fn workflow_archive(&self, caller: &Caller, id: WorkflowId) -> Result<(), Problem> {
        caller.must(Permission::WorkflowDelete)?;
        let known = self.store.workflow_delete(caller.tenant, id).await;
        self.snapshots.forget(caller.tenant, id);
        if known? { Ok(()) } else { Err(Problem::not_found(id)) }
    }
}
