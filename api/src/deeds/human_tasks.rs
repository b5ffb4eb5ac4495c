//! What people are asked: the inbox, and answering, claiming, delegating.
//!
//! Whether somebody may is decided here, on the row; whether they were the first is decided by the engine, and
//! read from the row afterwards. Every answer is definitive: given, refused with who was first, or "later".

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    component::control::Urgency,
    execution::{Answer, AnswerVerdict, PersonKind},
    ids::{ExecutionId, HumanTaskId, TenantId, WorkflowId},
    port::{
        people::{HumanTaskCursor, HumanTaskFilter, HumanTaskPage, HumanTaskRow},
        store::HumanTaskStatus,
    },
    time::Timestamp,
    wire::RequestBody,
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, forms, page_limit, requests::Decided};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Which human tasks to list. Without `status`, the open ones.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HumanTaskQuery {
    /// Only those with this assignee, as it is written in the task.
    pub assignee: Option<String>,
    /// Only those with the caller: under their name, a role or a group.
    pub mine: bool,
    /// `open`, `approved`, `rejected`, `submitted`, `expired`, `cancelled`, or `any`. Open ones come the most
    /// urgent first, then the oldest; all others the newest first.
    pub status: Option<String>,
    /// `approval`, `human_task`, or `outcome`: whether an `at_most_once` task took effect.
    pub kind: Option<String>,
    /// Only those of this execution.
    #[param(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// Only those of this workflow.
    #[param(value_type = Option<String>)]
    pub workflow_id: Option<WorkflowId>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = HumanTaskAnswer)]
pub(crate) struct AnswerView {
    /// Who gave it; `link:` in front when it came through a signed link.
    pub by: String,
    /// The assignee it counts for.
    pub for_assignee: String,
    /// `approve`, `reject` or `submit`.
    #[schema(value_type = String, example = "approve")]
    pub verdict: AnswerVerdict,
    /// What was filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// What was said to it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When it was given.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        let Answer { by, for_assignee, verdict, data, comment, at } = answer;
        Self { by, for_assignee, verdict, data, comment, at }
    }
}

/// One question or piece of work that people are asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = HumanTask)]
pub(crate) struct HumanTaskView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: HumanTaskId,
    /// `approval`, `human_task`, or `outcome`: whether an `at_most_once` task took effect.
    #[schema(value_type = String, example = "approval")]
    pub kind: PersonKind,
    /// `open`, `approved`, `rejected`, `submitted`, `expired` or `cancelled`.
    #[schema(value_type = String, example = "open")]
    pub status: HumanTaskStatus,
    /// What it is called.
    pub title: String,
    /// What is asked, or what is to be done.
    pub message: String,
    /// The JSON Schema of what is filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub form: Option<Value>,
    /// `low`, `normal` or `high`.
    #[schema(value_type = String, example = "normal")]
    pub urgency: Urgency,
    /// Whom it is with: users, roles and groups.
    pub assignees: Vec<String>,
    /// Whether it is with the caller: under their name, a role or a group.
    pub is_mine: bool,
    /// Approvals that are needed.
    pub quorum: u32,
    /// The answers so far.
    pub answers: Vec<AnswerView>,
    /// Whether it must be claimed before it is handed in.
    pub needs_claim: bool,
    /// Who has claimed it.
    pub claimed_by: Option<String>,
    /// Whether an assignee may hand it to somebody else.
    pub may_delegate: bool,
    /// Whether signed links that decide once can be made.
    pub links: bool,
    /// The execution that waits for it.
    #[schema(value_type = String)]
    pub execution_id: ExecutionId,
    /// The component of it, with its loop rounds.
    pub component: String,
    /// The workflow it is of.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The workflow's name.
    pub workflow_name: String,
    /// Who started the execution.
    pub requester: String,
    /// Since when it is asked.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it should be done.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due_at: Option<Timestamp>,
    /// When its time is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When those asked were last reminded.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reminded_at: Option<Timestamp>,
    /// When it was answered, expired or cancelled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// Some human tasks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct HumanTaskList {
    /// The tasks of this page.
    pub items: Vec<HumanTaskView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// An answer to a human task.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AnswerHumanTask {
    /// Kept with the answer, for people; at most 4,000 characters.
    pub comment: String,
    /// What is filled in, as the form asks.
    pub data: Option<Value>,
    /// The assignee it counts for, when there is a choice. On behalf of others only with
    /// `approval.decide_for`.
    #[serde(rename = "as")]
    pub on_behalf_of: Option<String>,
}

/// Who takes a human task on.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClaimHumanTask {
    /// The assignee it is claimed as, when there is a choice.
    #[serde(rename = "as")]
    pub on_behalf_of: Option<String>,
}

/// To whom a human task is handed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelegateHumanTask {
    /// A user, role or group; `user:`, `role:` or `group:` in front says which.
    pub to: String,
    /// The assignee that is replaced, when there is a choice.
    #[serde(default, rename = "as")]
    pub on_behalf_of: Option<String>,
}

/// Something that was kept and is not decided yet.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NotYet {
    /// Always `pending`.
    pub status: &'static str,
    /// Where to look what became of it.
    pub status_url: String,
}

/// What became of something that was asked of a human task.
#[derive(Debug)]
pub(crate) enum Answered {
    Now(Box<HumanTaskView>),
    /// It is durable; no coordinator has decided it yet.
    Later(NotYet),
}

fn view(row: HumanTaskRow, names: &[String]) -> HumanTaskView {
    HumanTaskView {
        id: row.id,
        kind: row.ask.kind,
        status: row.status,
        title: row.ask.title,
        message: row.ask.message,
        form: row.ask.form,
        urgency: row.ask.urgency,
        is_mine: row.assignees.iter().any(|assignee| names.contains(assignee)),
        assignees: row.assignees,
        quorum: row.ask.quorum,
        answers: row.answers.into_iter().map(AnswerView::from).collect(),
        needs_claim: row.ask.claim,
        claimed_by: row.claimed_by,
        may_delegate: row.ask.allow_delegate,
        links: row.ask.links,
        execution_id: row.execution,
        component: row.task.to_string(),
        workflow_id: row.workflow,
        workflow_name: row.workflow_name,
        requester: row.requester,
        created_at: row.created_at,
        due_at: row.ask.due_at,
        expires_at: row.ask.expires_at,
        reminded_at: row.reminded_at,
        ended_at: row.ended_at,
    }
}

const fn verb(verdict: AnswerVerdict) -> &'static str {
    match verdict {
        AnswerVerdict::Approve => "approved",
        AnswerVerdict::Reject => "rejected",
        AnswerVerdict::Submit => "submitted",
    }
}

/// How a human task ended, as a sentence.
pub(super) fn ending(row: &HumanTaskRow) -> String {
    let at = row.ended_at.map_or_else(String::new, |at| format!(" at {at}"));
    match (row.status, row.answers.last()) {
        (HumanTaskStatus::Open, _) => "It is open.".to_owned(),
        (HumanTaskStatus::Expired, _) => format!("Its time was over{at}."),
        (HumanTaskStatus::Cancelled, _) => {
            format!("It was cancelled{at}: its execution, or the part it was in, ended.")
        }
        (_, Some(answer)) => format!("{} {} it{at}.", answer.by, verb(answer.verdict)),
        (status, None) => format!("It was {}{at}, as nobody had answered in time.", status.as_str()),
    }
}

fn ended(row: &HumanTaskRow) -> Problem {
    Problem::new(Code::TaskEnded, ending(row))
}

/// Who answered for this assignee, or as this person.
fn answered(answer: &Answer) -> Problem {
    Problem::new(
        Code::AlreadyAnswered,
        format!(
            "{} has {} it for {} at {}; one answer of each counts.",
            answer.by,
            verb(answer.verdict),
            answer.for_assignee,
            answer.at
        ),
    )
}

fn must_be_open(row: &HumanTaskRow) -> Result<(), Problem> {
    if row.status == HumanTaskStatus::Open { Ok(()) } else { Err(ended(row)) }
}

fn bare(name: &str) -> &str {
    ["user:", "role:", "group:"].iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name)
}

/// The assignee as which the caller acts on a human task: one of theirs, or the one they name.
///
/// `is_free` says whether an assignee has not acted yet: of several of the caller's own, such a one is taken.
fn standing(
    caller: &Caller,
    row: &HumanTaskRow,
    on_behalf_of: Option<&str>,
    is_free: impl Fn(&str) -> bool,
) -> Result<String, Problem> {
    let names = caller.names();
    let asked = row.assignees.join(", ");
    let Some(wanted) = on_behalf_of else {
        let mut own = row.assignees.iter().filter(|assignee| names.contains(assignee));
        let first = own.next().ok_or_else(|| {
            let other_way = if caller.has(Permission::ApprovalDecideFor) {
                " Send `as` with one of them to act on their behalf."
            } else {
                ""
            };
            Problem::new(Code::NotAsked, format!("It is with {asked}.{other_way}"))
        })?;
        let free = std::iter::once(first).chain(own).find(|assignee| is_free(assignee));
        return Ok(free.unwrap_or(first).clone());
    };
    let exact = row.assignees.iter().find(|assignee| *assignee == wanted);
    let mut near = row.assignees.iter().filter(|assignee| bare(assignee) == wanted);
    let found = match (exact, near.next(), near.next()) {
        (Some(exact), ..) => exact,
        (None, Some(near), None) => near,
        (None, Some(_), Some(_)) => {
            let detail = format!("`as` fits several of those asked: {asked}. Write it as it stands there.");
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        (None, None, _) => {
            let detail = format!("`as` is `{wanted}`, and it is with {asked}.");
            return Err(Problem::new(Code::NotAsked, detail));
        }
    };
    if !names.contains(found) && !caller.has(Permission::ApprovalDecideFor) {
        let needed = Permission::ApprovalDecideFor.as_str();
        let detail = format!("It is with {asked}. Acting on their behalf needs the permission `{needed}`.");
        return Err(Problem::new(Code::NotAsked, detail));
    }
    Ok(found.clone())
}

fn held(holder: &str) -> Problem {
    Problem::new(Code::ClaimConflict, format!("{holder} has claimed it."))
}

/// Why an open task refuses what its sender might have done a moment before.
fn changed_hands(row: &HumanTaskRow) -> Problem {
    match &row.claimed_by {
        Some(holder) => held(holder),
        None => Problem::new(
            Code::NotAsked,
            format!("It was handed on meanwhile; it is with {}.", row.assignees.join(", ")),
        ),
    }
}

/// Whoever started an execution decides about it only where that is allowed, or on behalf of somebody else.
fn must_be_another(
    caller: &Caller,
    row: &HumanTaskRow,
    assignee: &str,
    on_behalf_of: Option<&str>,
) -> Result<(), Problem> {
    let is_requester = row.ask.kind == PersonKind::Approval && *row.requester == *caller.principal;
    let is_for_another =
        on_behalf_of.is_some() && caller.has(Permission::ApprovalDecideFor) && !caller.is_named(assignee);
    if !is_requester || row.ask.requester_may_decide || is_for_another {
        return Ok(());
    }
    Err(Problem::new(
        Code::RequesterMayNotDecide,
        format!(
            "{} started the execution; somebody else of {} decides.",
            row.requester,
            row.assignees.join(", ")
        ),
    ))
}

fn status_of(word: Option<&str>) -> Result<Option<HumanTaskStatus>, Problem> {
    match word {
        None => Ok(Some(HumanTaskStatus::Open)),
        Some("any") => Ok(None),
        Some(word) => HumanTaskStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .map(Some)
            .ok_or_else(|| {
                let words: Vec<&str> = HumanTaskStatus::ALL.iter().map(|status| status.as_str()).collect();
                let detail = format!("`status` is one of {} or any.", words.join(", "));
                Problem::new(Code::InvalidQuery, detail)
            }),
    }
}

fn kind_of(word: Option<&str>) -> Result<Option<PersonKind>, Problem> {
    word.map(|word| {
        PersonKind::ALL.iter().copied().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let words: Vec<String> =
                PersonKind::ALL.iter().map(|kind| format!("`{}`", kind.as_str())).collect();
            Problem::new(Code::InvalidQuery, format!("`kind` is {}.", words.join(" or ")))
        })
    })
    .transpose()
}

impl Deeds {
    pub(crate) async fn human_task_list(
        &self,
        caller: &Caller,
        query: HumanTaskQuery,
    ) -> Result<HumanTaskList, Problem> {
        caller.must(Permission::Read)?;
        let names = caller.names();
        let assignees = match (query.mine, query.assignee) {
            (true, Some(name)) => Some(names.iter().filter(|own| **own == name).cloned().collect()),
            (true, None) => Some(names.clone()),
            (false, Some(name)) => Some(vec![name]),
            (false, None) => None,
        };
        let filter = HumanTaskFilter {
            assignees,
            status: status_of(query.status.as_deref())?,
            execution: query.execution_id,
            workflow: query.workflow_id,
            kind: kind_of(query.kind.as_deref())?,
        };
        let after: Option<HumanTaskCursor> = query
            .cursor
            .map(|cursor| cursor.parse())
            .transpose()
            .map_err(|_| Problem::new(Code::InvalidQuery, "`cursor` is not one that this list gave."))?;
        let page = HumanTaskPage { after, limit: page_limit(query.limit) };
        let found = self.store.human_task_list(caller.tenant, filter, page).await?;
        Ok(HumanTaskList {
            items: found.items.into_iter().map(|row| view(row, &names)).collect(),
            next_cursor: found.next,
        })
    }

    pub(super) async fn human_task_row(
        &self,
        tenant: TenantId,
        id: HumanTaskId,
    ) -> Result<HumanTaskRow, Problem> {
        self.store.human_task_get(tenant, id).await?.ok_or_else(|| Problem::not_found(id))
    }

    pub(crate) async fn human_task_get(
        &self,
        caller: &Caller,
        id: HumanTaskId,
    ) -> Result<HumanTaskView, Problem> {
        caller.must(Permission::Read)?;
        let row = self.human_task_row(caller.tenant, id).await?;
        Ok(view(row, &caller.names()))
    }

    /// Approves, rejects or submits.
    pub(crate) async fn human_task_answer(
        &self,
        caller: &Caller,
        id: HumanTaskId,
        verdict: AnswerVerdict,
        body: AnswerHumanTask,
    ) -> Result<Answered, Problem> {
        caller.must(Permission::Read)?;
        let row = self.human_task_row(caller.tenant, id).await?;
        must_be_open(&row)?;
        let of = |name: &str| row.answers.iter().find(|answer| answer.for_assignee == name);
        let on_behalf_of = body.on_behalf_of.as_deref();
        let assignee = standing(caller, &row, on_behalf_of, |name| of(name).is_none())?;
        must_be_another(caller, &row, &assignee, on_behalf_of)?;
        if on_behalf_of.is_none()
            && let Some(own) = row.answers.iter().find(|answer| *answer.by == *caller.principal)
        {
            return Err(answered(own));
        }
        self.answer(row, verdict, &caller.principal, &assignee, body, &caller.names()).await
    }

    /// Gives an answer that `by` may give for `assignee`.
    pub(super) async fn answer(
        &self,
        row: HumanTaskRow,
        verdict: AnswerVerdict,
        by: &str,
        assignee: &str,
        body: AnswerHumanTask,
        names: &[String],
    ) -> Result<Answered, Problem> {
        must_be_open(&row)?;
        match (row.ask.kind == PersonKind::HumanTask, verdict == AnswerVerdict::Submit) {
            (true, true) | (false, false) => {}
            (false, true) => {
                let detail = "This is a question and no work to hand in: it is approved or rejected.";
                return Err(Problem::new(Code::WrongAction, detail));
            }
            (true, false) => {
                return Err(Problem::new(Code::WrongAction, "This is a human task: it is submitted."));
            }
        }
        if let Some(earlier) = row.answers.iter().find(|answer| answer.for_assignee == assignee) {
            return Err(answered(earlier));
        }
        if row.ask.claim && row.ask.kind == PersonKind::HumanTask {
            match row.claimed_by.as_deref() {
                Some(holder) if holder == by => {}
                Some(holder) => return Err(held(holder)),
                None => {
                    return Err(Problem::new(Code::ClaimConflict, "Nobody has claimed it; claim it first."));
                }
            }
        }
        if body.comment.chars().count() > 4_000 {
            return Err(Problem::new(Code::InvalidBody, "`comment` has at most 4,000 characters."));
        }
        // Whoever rejects need not fill in the form.
        if verdict != AnswerVerdict::Reject || body.data.is_some() {
            forms::check(row.ask.form.as_ref(), body.data.as_ref())?;
        }
        let answer = Answer {
            by: by.to_owned(),
            for_assignee: assignee.to_owned(),
            verdict,
            data: body.data,
            comment: body.comment,
            at: self.clock.now(&self.store).await?,
        };
        let request = RequestBody::Answer { task: row.task.clone(), answer: answer.clone() };
        let (row, decided) = self.ask_people(row, request, answer.at).await?;
        let is_ours = |known: &&Answer| {
            (&known.by, &known.for_assignee, known.at) == (&answer.by, &answer.for_assignee, answer.at)
        };
        if row.answers.iter().find(is_ours).is_some() {
            return Ok(Answered::Now(Box::new(view(row, names))));
        }
        match decided {
            Decided::Later => Ok(Answered::Later(later(&row))),
            _ => Err(match row.answers.iter().find(|known| known.for_assignee == answer.for_assignee) {
                Some(first) if row.status == HumanTaskStatus::Open => answered(first),
                None if row.status == HumanTaskStatus::Open => changed_hands(&row),
                _ => ended(&row),
            }),
        }
    }

    /// Takes a human task on, so that nobody else does the same work. Twice is once.
    pub(crate) async fn human_task_claim(
        &self,
        caller: &Caller,
        id: HumanTaskId,
        body: ClaimHumanTask,
    ) -> Result<Answered, Problem> {
        caller.must(Permission::Read)?;
        let names = caller.names();
        let row = self.human_task_row(caller.tenant, id).await?;
        must_be_open(&row)?;
        let assignee = standing(caller, &row, body.on_behalf_of.as_deref(), |_| true)?;
        if !row.ask.claim {
            return Err(Problem::new(Code::WrongAction, "It needs no claim: answer it."));
        }
        let by = caller.principal.to_string();
        match row.claimed_by.as_deref() {
            Some(holder) if *holder == *by => return Ok(Answered::Now(Box::new(view(row, &names)))),
            Some(holder) => return Err(held(holder)),
            None => {}
        }
        let at = self.clock.now(&self.store).await?;
        let request =
            RequestBody::Claim { task: row.task.clone(), by: by.clone(), for_assignee: Some(assignee) };
        let (row, decided) = self.ask_people(row, request, at).await?;
        match (row.claimed_by.as_deref(), decided) {
            (Some(holder), _) if *holder == *by => Ok(Answered::Now(Box::new(view(row, &names)))),
            (None, Decided::Later) => Ok(Answered::Later(later(&row))),
            _ if row.status == HumanTaskStatus::Open => Err(changed_hands(&row)),
            _ => Err(ended(&row)),
        }
    }

    /// Hands a human task to somebody else.
    pub(crate) async fn human_task_delegate(
        &self,
        caller: &Caller,
        id: HumanTaskId,
        body: DelegateHumanTask,
    ) -> Result<Answered, Problem> {
        caller.must(Permission::Read)?;
        let names = caller.names();
        let row = self.human_task_row(caller.tenant, id).await?;
        must_be_open(&row)?;
        let has_answered = |name: &str| row.answers.iter().any(|answer| answer.for_assignee == name);
        let from = standing(caller, &row, body.on_behalf_of.as_deref(), |name| !has_answered(name))?;
        if !row.ask.allow_delegate {
            return Err(Problem::new(Code::WrongAction, "It may not be delegated."));
        }
        if let Some(answer) = row.answers.iter().find(|answer| answer.for_assignee == from) {
            return Err(answered(answer));
        }
        let to = body.to.trim().to_owned();
        if bare(&to).is_empty() || to.len() > 255 || to.chars().any(char::is_control) {
            return Err(Problem::new(
                Code::InvalidBody,
                "`to` is a user, role or group of 1 to 255 characters.",
            ));
        }
        if row.assignees.contains(&to) {
            return Err(Problem::new(Code::WrongAction, format!("It is with {to} already.")));
        }
        let at = self.clock.now(&self.store).await?;
        let by = caller.principal.to_string();
        let request =
            RequestBody::Delegate { task: row.task.clone(), by, from: from.clone(), to: to.clone() };
        let (row, decided) = self.ask_people(row, request, at).await?;
        if row.assignees.contains(&to) && !row.assignees.contains(&from) {
            return Ok(Answered::Now(Box::new(view(row, &names))));
        }
        match decided {
            Decided::Later => Ok(Answered::Later(later(&row))),
            _ if row.status != HumanTaskStatus::Open => Err(ended(&row)),
            _ => Err(changed_hands(&row)),
        }
    }

    /// Asks the engine, and reads the row as it is afterwards.
    async fn ask_people(
        &self,
        row: HumanTaskRow,
        request: RequestBody,
        at: Timestamp,
    ) -> Result<(HumanTaskRow, Decided), Problem> {
        let decided = self.request_decided(row.tenant, row.execution, request, at).await?;
        Ok((self.human_task_row(row.tenant, row.id).await?, decided))
    }
}

fn later(row: &HumanTaskRow) -> NotYet {
    NotYet { status: "pending", status_url: format!("/api/v1/human-tasks/{}", row.id) }
}

#[cfg(test)]
mod tests {
    use shared::{
        component::control::OnExpiry,
        execution::{PersonAsk, TaskKey},
    };

    use super::*;

    fn row(assignees: &[&str]) -> HumanTaskRow {
        let assignees: Vec<String> = assignees.iter().map(|name| (*name).to_owned()).collect();
        let execution = ExecutionId::generate();
        HumanTaskRow {
            id: HumanTaskId::derived(execution, "pay"),
            tenant: TenantId::DEFAULT,
            execution,
            task: TaskKey::of("pay".into()),
            workflow: WorkflowId::generate(),
            workflow_name: "w".to_owned(),
            requester: "dave".to_owned(),
            ask: PersonAsk {
                kind: PersonKind::Approval,
                title: String::new(),
                message: String::new(),
                form: None,
                assignees: assignees.clone(),
                quorum: 1,
                due_at: None,
                expires_at: None,
                on_expiry: OnExpiry::Expire,
                remind_every: None,
                escalations: Vec::new(),
                urgency: Urgency::Normal,
                allow_delegate: true,
                requester_may_decide: false,
                links: false,
                claim: false,
            },
            assignees,
            claimed_by: None,
            answers: Vec::new(),
            status: HumanTaskStatus::Open,
            created_at: Timestamp::from_micros(0),
            reminded_at: None,
            ended_at: None,
        }
    }

    fn alice() -> Caller {
        Caller {
            principal: "alice".into(),
            roles: ["editor".into()].into(),
            groups: ["finance".into()].into(),
            permissions: [Permission::Read].into(),
            ..Caller::owner()
        }
    }

    fn stands(caller: &Caller, assignees: &[&str], on_behalf_of: Option<&str>) -> Result<String, Code> {
        standing(caller, &row(assignees), on_behalf_of, |name| name != "taken")
            .map_err(|problem| problem.code)
    }

    #[test]
    fn only_those_asked_may_act() {
        let alice = alice();
        for name in ["alice", "user:alice", "editor", "role:editor", "finance", "group:finance"] {
            assert_eq!(stands(&alice, &["bob", name], None), Ok(name.to_owned()));
        }
        for name in ["Alice", "user:editor", "role:finance", "group:alice", "user:", ""] {
            assert_eq!(stands(&alice, &[name], None), Err(Code::NotAsked), "{name}");
        }
        assert_eq!(stands(&alice, &[], None), Err(Code::NotAsked));
    }

    #[test]
    fn acting_as_another_needs_a_permission() {
        let alice = alice();
        assert_eq!(stands(&alice, &["bob", "alice"], Some("bob")), Err(Code::NotAsked));
        assert_eq!(
            stands(&alice, &["bob", "group:finance"], Some("finance")),
            Ok("group:finance".to_owned())
        );
        assert_eq!(stands(&Caller::owner(), &["bob", "alice"], Some("bob")), Ok("bob".to_owned()));
        assert_eq!(stands(&Caller::owner(), &["bob"], Some("carol")), Err(Code::NotAsked));
        let both = ["role:finance", "group:finance"];
        assert_eq!(stands(&Caller::owner(), &both, Some("finance")), Err(Code::InvalidBody));
        assert_eq!(stands(&Caller::owner(), &both, Some("group:finance")), Ok("group:finance".to_owned()));
    }

    #[test]
    fn of_several_own_names_a_free_one_is_taken() {
        let alice = Caller { groups: ["taken".into(), "finance".into()].into(), ..alice() };
        assert_eq!(stands(&alice, &["taken", "finance"], None), Ok("finance".to_owned()));
        assert_eq!(stands(&alice, &["taken"], None), Ok("taken".to_owned()));
    }

    #[test]
    fn the_requester_does_not_decide_under_any_name() {
        let dave = Caller { principal: "dave".into(), ..alice() };
        let mut row = row(&["user:dave", "group:finance", "bob"]);
        for (name, on_behalf_of) in
            [("user:dave", None), ("group:finance", None), ("group:finance", Some("finance"))]
        {
            let refused = must_be_another(&dave, &row, name, on_behalf_of).expect_err("refused");
            assert_eq!(refused.code, Code::RequesterMayNotDecide, "{name}");
        }
        assert_eq!(must_be_another(&alice(), &row, "group:finance", None), Ok(()));
        let owner = Caller { principal: "dave".into(), ..Caller::owner() };
        assert!(must_be_another(&owner, &row, "user:dave", Some("dave")).is_err());
        assert_eq!(must_be_another(&owner, &row, "bob", Some("bob")), Ok(()));
        row.ask.requester_may_decide = true;
        assert_eq!(must_be_another(&dave, &row, "user:dave", None), Ok(()));
        row.ask.requester_may_decide = false;
        row.ask.kind = PersonKind::HumanTask;
        assert_eq!(must_be_another(&dave, &row, "user:dave", None), Ok(()));
    }
}
