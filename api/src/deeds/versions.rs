//! Published versions of a workflow, its draft, and what is different between two of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    ids::WorkflowId,
    port::{
        store::WorkflowRow,
        versions::{DraftChange, DraftKept, DraftRow, VersionRow},
    },
    time::Timestamp,
    workflow::{Difference, compare},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Deeds, page,
    workflows::{Fields, WorkflowView, shown},
};
use crate::{
    caller::{Caller, Permission},
    documents::Definition,
    problem::{Code, Mistake, Problem},
};

/// A published version. It never changes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Whether new executions are of this one.
    pub newest: bool,
    /// SHA-256 of the document's canonical form.
    pub hash: String,
    /// Who published it.
    pub created_by: String,
    /// When it was published.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The document as its author wrote it: an object, or text in YAML. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
}

/// Some versions, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct VersionList {
    /// The versions of this page.
    pub items: Vec<VersionView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Which documents to compare.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompareQuery {
    /// A version's number, `newest`, or `draft`. Left out: `newest`.
    pub from: Option<String>,
    /// A version's number, `newest`, or `draft`. Left out: `draft`.
    pub to: Option<String>,
}

/// What is different between two documents of a workflow.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Comparison {
    /// The version's number, or `draft`.
    pub from: String,
    /// The version's number, or `draft`.
    pub to: String,
    /// Each difference by meaning: layout, comments and spelling do not show.
    #[schema(value_type = Vec<DifferenceView>)]
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Difference)]
pub(crate) struct DifferenceView {
    /// `added`, `removed`, `renamed`, `moved`, `changed` or `reordered`.
    change: String,
    /// `workflow`, `parameter`, `trigger`, `component` or `connection`.
    subject: String,
    /// Which: an id, the field of the workflow, or `a.true -> b`.
    id: String,
    /// Where below it.
    path: Option<Vec<String>>,
    /// What it was.
    before: Option<Value>,
    /// What it is.
    after: Option<Value>,
}

/// A draft to be kept.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaveDraft {
    /// The workflow document, also with mistakes in it: an object, or text in YAML or JSON.
    #[schema(value_type = Value)]
    pub definition: Definition,
    /// The version it is meant to follow. Left out: the one it was begun on.
    #[serde(default)]
    pub base_version: Option<u32>,
}

/// What somebody works on before it is published.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Draft)]
pub(crate) struct DraftView {
    /// The workflow.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// Counts its changes, from 1. Also the `ETag`.
    pub revision: u32,
    /// The version it was begun on.
    pub base_version: u32,
    /// Whether another version was published since it was begun.
    pub behind: bool,
    /// The document as it was kept.
    pub definition: Value,
    /// Whether it could be published.
    pub valid: bool,
    /// Every mistake in it.
    #[schema(value_type = Vec<Mistake>)]
    pub problems: Vec<Value>,
    /// What is allowed and probably not meant.
    #[schema(value_type = Vec<Mistake>)]
    pub warnings: Vec<Value>,
    /// Who changed it last.
    pub updated_by: String,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// How a draft is published.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PublishDraft {
    /// The newest version, when the draft was begun on an older one: what was published since is replaced.
    pub replaces: Option<u32>,
}

/// A document longer than this is none (rule Y8 of the document).
const MOST_BYTES: usize = 1024 * 1024;

/// Which document is meant.
enum Which {
    Version(u32),
    Draft,
}

impl Which {
    fn named(&self) -> String {
        match self {
            Self::Version(number) => number.to_string(),
            Self::Draft => "draft".to_owned(),
        }
    }
}

fn version_view(row: VersionRow, newest: u32, is_whole: bool) -> VersionView {
    VersionView {
        version: row.version,
        newest: row.version == newest,
        hash: row.hash,
        created_by: row.created_by,
        created_at: row.created_at,
        definition: is_whole.then(|| shown(row.document)),
    }
}

fn fields(row: WorkflowRow) -> Fields {
    Fields { name: row.name, description: row.description, category: row.category, tags: row.tags }
}

fn no_draft(id: WorkflowId) -> Problem {
    Problem::new(Code::NotFound, format!("{id} has no draft."))
}

impl Deeds {
    pub(crate) async fn version_list(
        &self,
        caller: &Caller,
        id: WorkflowId,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<VersionList, Problem> {
        let newest = self.workflow_row(caller, id).await?.version;
        let found = self.store.version_list(caller.tenant, id, page::<u32>(cursor, limit)?).await?;
        Ok(VersionList {
            items: found.items.into_iter().map(|row| version_view(row, newest, false)).collect(),
            next_cursor: found.next,
        })
    }

    async fn version_row(
        &self,
        caller: &Caller,
        id: WorkflowId,
        version: u32,
    ) -> Result<VersionRow, Problem> {
        let missing = || Problem::new(Code::NotFound, format!("{id} has no version {version}."));
        self.store.version_get(caller.tenant, id, version).await?.ok_or_else(missing)
    }

    pub(crate) async fn version_get(
        &self,
        caller: &Caller,
        id: WorkflowId,
        version: u32,
    ) -> Result<VersionView, Problem> {
        let newest = self.workflow_row(caller, id).await?.version;
        Ok(version_view(self.version_row(caller, id, version).await?, newest, true))
    }

    /// Makes an older version the newest again: the same document under the next number.
    pub(crate) async fn version_restore(
        &self,
        caller: &Caller,
        id: WorkflowId,
        version: u32,
        expected: Option<u32>,
    ) -> Result<WorkflowView, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let row = self.workflow_row(caller, id).await?;
        let document = self.version_row(caller, id, version).await?.document;
        self.next_version(caller, id, fields(row), Definition::Text(document), expected, None).await
    }

    pub(crate) async fn version_compare(
        &self,
        caller: &Caller,
        id: WorkflowId,
        query: CompareQuery,
    ) -> Result<Comparison, Problem> {
        let newest = self.workflow_row(caller, id).await?.version;
        let which = |text: Option<String>, otherwise: &str| match text.as_deref().unwrap_or(otherwise) {
            "draft" => Ok(Which::Draft),
            "newest" => Ok(Which::Version(newest)),
            number => number.parse().map(Which::Version).map_err(|_| {
                Problem::new(
                    Code::InvalidQuery,
                    format!("`{number}` is neither a version's number nor `newest` nor `draft`."),
                )
            }),
        };
        let (from, to) = (which(query.from, "newest")?, which(query.to, "draft")?);
        let before = self.canonical(caller, id, &from).await?;
        let after = self.canonical(caller, id, &to).await?;
        Ok(Comparison { from: from.named(), to: to.named(), differences: compare(&before, &after) })
    }

    /// The canonical text of a version, or of a draft without mistakes.
    async fn canonical(&self, caller: &Caller, id: WorkflowId, which: &Which) -> Result<String, Problem> {
        match which {
            Which::Version(number) => {
                let hash = self.version_row(caller, id, *number).await?.hash;
                let missing = || Problem::internal(format!("the snapshot {hash} is missing"));
                self.store.snapshot(&hash).await?.ok_or_else(missing)
            }
            Which::Draft => {
                let draft = self.store.draft_get(caller.tenant, id).await?.ok_or_else(|| no_draft(id))?;
                let document = self.read_or_refuse(Definition::Text(draft.document)).await?;
                let name = document.workflow.name.clone();
                Ok(self.pinned(caller, document, &name).await?.canonical)
            }
        }
    }

    async fn draft_view(&self, row: DraftRow, newest: u32) -> Result<DraftView, Problem> {
        let (problems, warnings) = match self.read(Definition::Text(row.document.clone())).await? {
            Ok(document) => (Vec::new(), document.warnings),
            Err(problems) => (problems, Vec::new()),
        };
        Ok(DraftView {
            workflow_id: row.workflow,
            revision: row.revision,
            base_version: row.base,
            behind: row.base != newest,
            definition: shown(row.document),
            valid: problems.is_empty(),
            problems,
            warnings,
            updated_by: row.updated_by,
            updated_at: row.updated_at,
        })
    }

    pub(crate) async fn draft_get(&self, caller: &Caller, id: WorkflowId) -> Result<DraftView, Problem> {
        let newest = self.workflow_row(caller, id).await?.version;
        let row = self.store.draft_get(caller.tenant, id).await?.ok_or_else(|| no_draft(id))?;
        self.draft_view(row, newest).await
    }

    pub(crate) async fn draft_put(
        &self,
        caller: &Caller,
        id: WorkflowId,
        body: SaveDraft,
        expected: Option<u32>,
    ) -> Result<DraftView, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let newest = self.workflow_row(caller, id).await?.version;
        if let Some(base) = body.base_version.filter(|base| !(1..=newest).contains(base)) {
            let detail = format!("`base_version` is {base}; {id} has the versions 1 to {newest}.");
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        let document = match body.definition {
            Definition::Text(text) => text,
            Definition::Object(object) => {
                serde_json::to_string_pretty(&Value::Object(object)).map_err(Problem::internal)?
            }
        };
        if document.len() > MOST_BYTES {
            let detail = format!("A document has at most 1 MiB, and this one {} bytes.", document.len());
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        let change = DraftChange {
            workflow: id,
            tenant: caller.tenant,
            document,
            base: body.base_version,
            expected,
            principal: caller.principal.to_string(),
            at: self.clock.now(&self.store).await?,
        };
        match self.store.draft_put(change).await? {
            DraftKept::Kept(row) => self.draft_view(row, newest).await,
            DraftKept::Stale(revision) => Err(stale_draft(id, revision)),
            DraftKept::Missing => {
                Err(Problem::new(Code::WorkflowArchived, format!("{id} is archived and takes no changes.")))
            }
        }
    }

    pub(crate) async fn draft_drop(&self, caller: &Caller, id: WorkflowId) -> Result<(), Problem> {
        caller.must(Permission::WorkflowEdit)?;
        self.workflow_row(caller, id).await?;
        if self.store.draft_drop(caller.tenant, id).await? { Ok(()) } else { Err(no_draft(id)) }
    }

    /// Makes the draft the next version.
    pub(crate) async fn draft_publish(
        &self,
        caller: &Caller,
        id: WorkflowId,
        body: PublishDraft,
        expected: Option<u32>,
    ) -> Result<WorkflowView, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let row = self.workflow_row(caller, id).await?;
        let draft = self.store.draft_get(caller.tenant, id).await?.ok_or_else(|| no_draft(id))?;
        if expected.is_some_and(|expected| expected != draft.revision) {
            return Err(stale_draft(id, draft.revision));
        }
        let newest = row.version;
        if body.replaces.unwrap_or(draft.base) != newest {
            let detail = format!(
                "The draft follows version {}, and version {newest} was published since. Compare them, then publish with \
                 `replaces: {newest}`, or save the draft with `base_version: {newest}`.",
                draft.base
            );
            return Err(Problem::new(Code::StaleVersion, detail));
        }
        let definition = Definition::Text(draft.document);
        self.next_version(caller, id, fields(row), definition, Some(newest), Some(draft.revision)).await
    }
}

fn stale_draft(id: WorkflowId, revision: u32) -> Problem {
    let detail = match revision {
        0 => format!("{id} has no draft. Nothing was saved."),
        revision => format!("The draft of {id} is at revision {revision} by now. Nothing was saved."),
    };
    Problem::new(Code::StaleVersion, detail)
}
