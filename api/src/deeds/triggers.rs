//! Triggers: look at them, pause them, fire them; what came in through them; backfills.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use shared::{
    execution::start_hint,
    ids::{BackfillId, ExecutionId, ReceiptId, TriggerId, WorkflowId},
    port::{
        store::{Page, Submitted},
        triggers::{
            Backfill, BackfillStatus, FireRow, Receipt, TriggerFilter, TriggerRow, TriggerStart,
            TriggerStarted,
        },
    },
    time::Timestamp,
    workflow::{
        Priority, Workflow,
        triggers::{Source, Trigger, Unfit, Why, trigger_type},
    },
};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page, page_limit};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Fires that a backfill has at most.
const MOST_BACKFILLED: usize = 100_000;
/// Fires that are listed of a backfill that is only tried.
const SHOWN: usize = 100;

/// A trigger of a workflow's newest version.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Trigger)]
pub(crate) struct TriggerView {
    /// Its id, the same in all versions of the workflow.
    #[schema(value_type = String)]
    pub id: TriggerId,
    /// Its id in the document.
    pub name: String,
    /// The workflow it starts.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// The name of the workflow.
    pub workflow_name: String,
    /// The version of the workflow it starts.
    pub workflow_version: u32,
    /// The canonical type.
    #[serde(rename = "type")]
    #[schema(example = "schedule_trigger")]
    pub kind: String,
    /// `active`, `paused`, `disabled` (by the document), `degraded`, or `cannot_be_activated`.
    #[schema(example = "active")]
    pub status: &'static str,
    /// Why it is degraded or cannot be activated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Since when it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub trouble_since: Option<Timestamp>,
    /// When it fires next, for a schedule; with jitter, when that is carried out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_fire_at: Option<Timestamp>,
    /// Whether it has an address, for a webhook. The address is shown once, when it is made.
    pub has_address: bool,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Some triggers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TriggerList {
    /// The triggers of this page.
    pub items: Vec<TriggerView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// Which triggers to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TriggerQuery {
    /// Only those of this workflow.
    #[param(value_type = Option<String>)]
    pub workflow_id: Option<WorkflowId>,
    /// Only those of this type; an alias is taken too.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The next fires of a schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NextFires {
    /// Their instants, in order.
    #[schema(value_type = Vec<String>)]
    pub fires: Vec<Timestamp>,
    /// The same in the schedule's own zone, as people there read it.
    pub local: Vec<String>,
    /// The zone.
    #[schema(example = "Europe/Berlin")]
    pub timezone: String,
}

/// How many of the next fires are shown.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NextQuery {
    /// At most this many (1 to 500; 10 when left out).
    pub count: Option<u32>,
    /// Those after this instant (RFC 3339); by default, after now.
    #[param(value_type = Option<String>)]
    pub after: Option<Timestamp>,
}

/// A webhook's address. It is not shown again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct HookAddress {
    /// The id: who knows it can call the webhook, and must still sign.
    pub id: String,
    /// Where it is called, on this server.
    #[schema(example = "/webhooks/3f2a…/orders")]
    pub path: String,
}

/// A fire of a schedule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FireView {
    /// Its instant.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The last instant of a span of fires that were skipped together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// `started`, `skipped` or `pending`.
    #[schema(example = "started")]
    pub outcome: &'static str,
    /// Why.
    pub reason: String,
    /// What it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// The backfill it was carried out by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub backfill_id: Option<BackfillId>,
    /// When this was decided.
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
}

impl From<FireRow> for FireView {
    fn from(row: FireRow) -> Self {
        Self {
            at: row.at,
            until: row.until,
            outcome: row.outcome.as_str(),
            reason: row.reason,
            execution_id: row.execution,
            backfill_id: row.backfill,
            recorded_at: row.recorded_at,
        }
    }
}

/// Some fires, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FireList {
    /// The fires of this page.
    pub items: Vec<FireView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// What came in through a trigger.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ReceiptId,
    /// The trigger it came through.
    #[schema(value_type = String)]
    pub trigger_id: TriggerId,
    /// The key under which it started one execution.
    pub dedupe_key: Option<String>,
    /// What it started.
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// When it came in.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// `started`; `gathered`: it waits for others to start one execution with; `superseded`: a newer one came in its
    /// place; `parked`: it started nothing, and can be replayed; or `refused`: it started nothing, and nothing but
    /// this receipt is kept of it.
    #[schema(example = "started")]
    pub outcome: String,
    /// Why it is parked or refused. Of what has started: that nothing told it apart, so that the same may have started
    /// another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The event, of what is parked. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
    /// The bytes in base64, of what could not be read. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        Self {
            id: receipt.id,
            trigger_id: receipt.trigger,
            dedupe_key: receipt.key,
            execution_id: receipt.execution,
            received_at: receipt.received_at,
            outcome: receipt.outcome,
            error: receipt.error,
            event: receipt.event,
            bytes: receipt.bytes.map(|bytes| STANDARD.encode(bytes)),
        }
    }
}

/// Some receipts, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ReceiptList {
    /// The receipts of this page.
    pub items: Vec<ReceiptView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// What may have become of something that came in.
const OUTCOMES: [&str; 5] = ["started", "gathered", "superseded", "parked", "refused"];

/// Which receipts to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiptQuery {
    /// Only `started`, `gathered`, `superseded`, `parked` or `refused` ones.
    pub outcome: Option<String>,
    /// At most this many (1 to 500; 50 when left out).
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What a trigger is fired with. An empty body means no data.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FireTrigger {
    /// The data, as `event.body`; for a manual trigger the workflow's parameters.
    #[schema(value_type = Value)]
    pub body: Option<Value>,
}

/// What a trigger started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Fired {
    /// The execution; none when what came in is parked.
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// The receipt that is kept of it.
    #[schema(value_type = String)]
    pub receipt: ReceiptId,
    /// Whether the same came before, so that nothing new was started.
    pub duplicate: bool,
    /// Why it is parked, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked: Option<String>,
    /// `pending`, or how the execution ended when that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "completed")]
    pub status: Option<&'static str>,
    /// What the execution gave back, when its end was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// A backfill to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateBackfill {
    /// The first instant, included.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The last instant, included. It lies in the past.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// `oldest_first` or `newest_first`.
    #[serde(default)]
    #[schema(example = "oldest_first")]
    pub order: Order,
    /// How many of its executions are open at once (1 to 100; 1 when left out).
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Why it is made; kept with each start.
    pub reason: String,
    /// Whether it is only counted and listed.
    #[serde(default)]
    pub dry_run: bool,
}

/// In which order a backfill goes through its range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// As time passed.
    #[default]
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// What a backfill would do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BackfillPreview {
    /// How many fires there are in the range.
    pub total: u64,
    /// The first of them in the order they would start; at most 100.
    #[schema(value_type = Vec<String>)]
    pub fires: Vec<Timestamp>,
}

/// Fires of the past that are carried out.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Backfill)]
pub(crate) struct BackfillView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BackfillId,
    /// The schedule.
    #[schema(value_type = String)]
    pub trigger_id: TriggerId,
    /// The first instant, included.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The last instant, included.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// In which order it goes.
    pub order: Order,
    /// How many of its executions are open at once.
    pub parallel: u32,
    /// Why it was made.
    pub reason: String,
    /// `running`, `paused`, `completed` or `cancelled`. Completed means that everything was started.
    #[schema(example = "running")]
    pub status: &'static str,
    /// How many fires there are in the range.
    pub total: u64,
    /// How many it has started.
    pub started: u64,
    /// How many it left alone: they had started before, or wait.
    pub skipped: u64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it moved last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<Backfill> for BackfillView {
    fn from(row: Backfill) -> Self {
        Self {
            id: row.id,
            trigger_id: row.trigger,
            from: row.from,
            to: row.to,
            order: if row.newest_first { Order::NewestFirst } else { Order::OldestFirst },
            parallel: row.parallel,
            reason: row.reason,
            status: row.status.as_str(),
            total: row.total,
            started: row.started,
            skipped: row.skipped,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Some backfills, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct BackfillList {
    /// The backfills of this page.
    pub items: Vec<BackfillView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// A trigger with its workflow, ready to be used.
pub(super) struct Armed {
    pub(super) row: TriggerRow,
    pub(super) workflow: Arc<Workflow>,
}

impl Armed {
    pub(super) fn trigger(&self) -> Result<&Trigger, Problem> {
        self.workflow.trigger(&self.row.name).ok_or_else(|| {
            Problem::internal(format_args!("{} is not in the snapshot {}", self.row.id, self.row.snapshot))
        })
    }
}

impl Deeds {
    pub(super) async fn armed(&self, row: TriggerRow) -> Result<Armed, Problem> {
        let workflow = self.snapshot(&row.snapshot).await?;
        Ok(Armed { row, workflow })
    }

    async fn trigger_row(&self, caller: &Caller, id: TriggerId) -> Result<TriggerRow, Problem> {
        caller.must(Permission::Read)?;
        self.store.trigger_get(caller.tenant, id).await?.ok_or_else(|| Problem::not_found(id))
    }

    async fn trigger_view(&self, row: TriggerRow) -> Result<TriggerView, Problem> {
        let armed = self.armed(row).await?;
        let missing = match &armed.trigger()?.source {
            Source::Webhook(hook) => self.missing_secret(hook.config.secret.as_deref()),
            _ => None,
        };
        let row = armed.row;
        let status = match (&missing, row.enabled, row.paused, &row.trouble) {
            (_, false, ..) => "disabled",
            (_, _, true, _) => "paused",
            (Some(_), ..) => "cannot_be_activated",
            (_, _, _, Some(_)) => "degraded",
            _ => "active",
        };
        Ok(TriggerView {
            id: row.id,
            name: row.name,
            workflow_id: row.workflow,
            workflow_name: row.workflow_name,
            workflow_version: row.version,
            kind: row.kind,
            status,
            trouble_since: row.trouble_since.filter(|_| missing.is_none()),
            trouble: missing.or(row.trouble),
            next_fire_at: row.next_fire_at,
            has_address: row.has_address,
            updated_at: row.updated_at,
        })
    }

    /// Why a webhook without its secret cannot be activated.
    pub(super) fn missing_secret(&self, name: Option<&str>) -> Option<String> {
        match name {
            None => Some("its config names no `secret`".to_owned()),
            Some(name) if self.secrets.secret(name).is_none() => {
                Some(format!("there is no secret `{name}`: set `APG_SECRET_{name}` where the API runs"))
            }
            Some(_) => None,
        }
    }

    pub(crate) async fn trigger_list(
        &self,
        caller: &Caller,
        query: TriggerQuery,
    ) -> Result<TriggerList, Problem> {
        caller.must(Permission::Read)?;
        let kind = match query.kind {
            Some(name) => Some(
                trigger_type(&name)
                    .ok_or_else(|| {
                        Problem::new(Code::InvalidQuery, format!("there is no trigger type `{name}`."))
                    })?
                    .kind
                    .to_owned(),
            ),
            None => None,
        };
        let filter = TriggerFilter { workflow: query.workflow_id, kind };
        let found = self
            .store
            .trigger_list(caller.tenant, filter, page::<TriggerId>(query.cursor, query.limit)?)
            .await?;
        let mut items = Vec::with_capacity(found.items.len());
        for row in found.items {
            items.push(self.trigger_view(row).await?);
        }
        Ok(TriggerList { items, next_cursor: found.next })
    }

    pub(crate) async fn trigger_get(&self, caller: &Caller, id: TriggerId) -> Result<TriggerView, Problem> {
        let row = self.trigger_row(caller, id).await?;
        self.trigger_view(row).await
    }

    /// Pauses a trigger, or lets it go on from now.
    pub(crate) async fn trigger_pause(
        &self,
        caller: &Caller,
        id: TriggerId,
        paused: bool,
    ) -> Result<TriggerView, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let row = self.trigger_row(caller, id).await?;
        if row.paused != paused {
            let armed = self.armed(row).await?;
            let now = self.clock.now(&self.store).await?;
            let next = if armed.row.enabled { armed.trigger()?.due_after(id, now) } else { None };
            self.store.trigger_pause(caller.tenant, id, paused, next).await?;
        }
        self.trigger_get(caller, id).await
    }

    pub(crate) async fn trigger_next(
        &self,
        caller: &Caller,
        id: TriggerId,
        query: NextQuery,
    ) -> Result<NextFires, Problem> {
        let armed = self.armed(self.trigger_row(caller, id).await?).await?;
        let timed = armed.trigger()?.timed().ok_or_else(|| not_timed(&armed.row))?;
        let now = self.clock.now(&self.store).await?;
        let count = query.count.unwrap_or(10).clamp(1, 500) as usize;
        let fires = timed.schedule.preview(query.after.unwrap_or(now), count);
        let zone = timed.schedule.zone();
        let local = fires.iter().map(|fire| fire.to_datetime().with_timezone(&zone).to_rfc3339()).collect();
        Ok(NextFires { fires, local, timezone: zone.name().to_owned() })
    }

    /// Gives a webhook another address; the old one is unknown from now on.
    pub(crate) async fn trigger_rotate(
        &self,
        caller: &Caller,
        id: TriggerId,
    ) -> Result<HookAddress, Problem> {
        caller.must(Permission::WorkflowEdit)?;
        let armed = self.armed(self.trigger_row(caller, id).await?).await?;
        let Source::Webhook(hook) = &armed.trigger()?.source else {
            return Err(Problem::new(Code::InvalidBody, "Only a webhook has an address."));
        };
        if let Some(missing) = self.missing_secret(hook.config.secret.as_deref()) {
            return Err(Problem::new(
                Code::TriggerInactive,
                format!("The webhook cannot be activated: {missing}."),
            ));
        }
        // 128 bits out of 244 that the system's generator gave.
        #[expect(clippy::disallowed_methods, reason = "a random address, and no id of ours")]
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let mut digest = Sha256::new();
        for part in random {
            digest.update(part.as_bytes());
        }
        let address = hex::encode(&digest.finalize()[..16]);
        let hash: [u8; 32] = Sha256::digest(address.as_bytes()).into();
        self.store.trigger_address(caller.tenant, id, hash).await?;
        let path = hook.config.path.as_deref().unwrap_or_default().trim_start_matches('/');
        let decoration = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(HookAddress { path: format!("/webhooks/{address}{decoration}"), id: address })
    }

    pub(crate) async fn trigger_fires(
        &self,
        caller: &Caller,
        id: TriggerId,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<FireList, Problem> {
        self.trigger_row(caller, id).await?;
        if cursor.as_deref().is_some_and(|cursor| cursor.parse::<Timestamp>().is_err()) {
            return Err(Problem::new(Code::InvalidQuery, "`cursor` is not one that this list gave."));
        }
        let page = Page { after: cursor, limit: page_limit(limit) };
        let found = self.store.fire_list(caller.tenant, id, page).await?;
        Ok(FireList { items: found.items.into_iter().map(FireView::from).collect(), next_cursor: found.next })
    }

    pub(crate) async fn trigger_receipts(
        &self,
        caller: &Caller,
        id: TriggerId,
        query: ReceiptQuery,
    ) -> Result<ReceiptList, Problem> {
        self.trigger_row(caller, id).await?;
        if query.outcome.as_deref().is_some_and(|outcome| !OUTCOMES.contains(&outcome)) {
            return Err(Problem::new(
                Code::InvalidQuery,
                "`outcome` is `started`, `gathered`, `superseded`, `parked` or `refused`.",
            ));
        }
        let page = page::<ReceiptId>(query.cursor, query.limit)?;
        let found = self.store.receipt_list(caller.tenant, id, query.outcome, page).await?;
        Ok(ReceiptList {
            items: found.items.into_iter().map(ReceiptView::from).collect(),
            next_cursor: found.next,
        })
    }

    pub(crate) async fn receipt_get(&self, caller: &Caller, id: ReceiptId) -> Result<ReceiptView, Problem> {
        caller.must(Permission::Read)?;
        let receipt = self.store.receipt_get(caller.tenant, id).await?;
        receipt.map(ReceiptView::from).ok_or_else(|| Problem::not_found(id))
    }

    /// Starts what is parked with the trigger as it is now.
    pub(crate) async fn receipt_replay(&self, caller: &Caller, id: ReceiptId) -> Result<Fired, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let receipt = self.store.receipt_get(caller.tenant, id).await?;
        let receipt = receipt.ok_or_else(|| Problem::not_found(id))?;
        let known = |execution| Fired {
            execution_id: execution,
            receipt: id,
            duplicate: true,
            parked: None,
            status: None,
            output: None,
        };
        if receipt.outcome != "parked" {
            return Ok(known(receipt.execution));
        }
        let Some(mut event) = receipt.event else {
            return Err(Problem::new(
                Code::InvalidBody,
                "Its bytes could not be read, so there is no event to start with. Nothing was started.",
            ));
        };
        let armed = self.armed(self.trigger_row(caller, receipt.trigger).await?).await?;
        if let (Source::Queue(queue), Some(bytes)) = (&armed.trigger()?.source, &receipt.bytes) {
            // The trigger may have been taught meanwhile how to read it.
            event["body"] = queue.read(bytes).map_err(|why| {
                Problem::new(Code::InvalidBody, format!("It cannot be started: {why}. Nothing was started."))
            })?;
        }
        let now = self.clock.now(&self.store).await?;
        let why = Why { receipt: Some(id), ..Why::default() };
        let trigger = armed.trigger()?;
        let submission = trigger
            .submission(&armed.row, &armed.workflow, &trigger.alone(&event), why, Priority::Normal, now)
            .map_err(unfit)?;
        let first = submission.first.clone();
        match self.store.receipt_replay(caller.tenant, id, submission, self.quota).await? {
            TriggerStarted::New => {
                let execution = first.execution;
                self.hints.send(start_hint(first));
                Ok(Fired { duplicate: false, ..known(Some(execution)) })
            }
            TriggerStarted::Duplicate(earlier) => Ok(known(earlier.execution)),
            TriggerStarted::Refused(refusal) => Err(self.refused(refusal, &armed.row)),
            TriggerStarted::Missing => Err(Problem::not_found(id)),
        }
    }

    /// Starts the workflow of a trigger as if it had fired. A fire of a schedule it is not.
    pub(crate) async fn trigger_fire(
        &self,
        caller: &Caller,
        id: TriggerId,
        body: FireTrigger,
        key: Option<String>,
    ) -> Result<Fired, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let armed = self.armed(self.trigger_row(caller, id).await?).await?;
        let now = self.clock.now(&self.store).await?;
        let event = json!({
            "id": key.map_or_else(|| ReceiptId::generate().to_string(), |key| format!("fire {key}")),
            "type": "manual.fired",
            "source": caller.principal.as_ref(),
            "time": now.to_string(),
            "body": body.body.unwrap_or_else(|| Value::Object(Map::new())),
            "headers": {},
        });
        self.start(&armed, &event, now).await?.map_err(|(_, wrong)| unfit(wrong))
    }

    /// Keeps a start; an event that cannot be one comes back, not kept.
    pub(super) async fn start(
        &self,
        armed: &Armed,
        event: &Value,
        now: Timestamp,
    ) -> Result<Result<Fired, (TriggerStart, Unfit)>, Problem> {
        let trigger = armed.trigger()?;
        self.must_have_room(&armed.row, trigger, now).await?;
        match trigger.start(&armed.row, &armed.workflow, event, 0, now) {
            Ok(start) => self.keep(&armed.row, start).await.map(Ok),
            Err(parked) => Ok(Err(parked)),
        }
    }

    async fn must_have_room(
        &self,
        row: &TriggerRow,
        trigger: &Trigger,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(most) = trigger.max_per_hour else { return Ok(()) };
        let hour = Timestamp::from_micros(now.as_micros() - 3_600_000_000);
        if self.store.trigger_started_since(row.id, hour).await? < u64::from(most) {
            return Ok(());
        }
        Err(Problem::new(
            Code::RateLimited,
            format!(
                "The trigger starts at most {most} executions an hour (`max_per_hour`). Nothing was started."
            ),
        )
        .with_retry_after(std::time::Duration::from_mins(1)))
    }

    /// Keeps a receipt with what it starts.
    pub(super) async fn keep(&self, row: &TriggerRow, start: TriggerStart) -> Result<Fired, Problem> {
        let first = start.submission.as_ref().map(|submission| submission.first.clone());
        let receipt = start.receipt.clone();
        let answer = self.store.trigger_start(vec![start], self.quota).await?.pop();
        match answer {
            Some(TriggerStarted::New) => {
                if let Some(first) = first {
                    self.hints.send(start_hint(first));
                }
                Ok(Fired {
                    execution_id: receipt.execution,
                    receipt: receipt.id,
                    duplicate: false,
                    parked: receipt.error,
                    status: receipt.execution.map(|_| "pending"),
                    output: None,
                })
            }
            Some(TriggerStarted::Duplicate(earlier)) => Ok(Fired {
                execution_id: earlier.execution,
                receipt: earlier.id,
                duplicate: true,
                parked: earlier.error,
                status: None,
                output: None,
            }),
            Some(TriggerStarted::Refused(refusal)) => Err(self.refused(refusal, row)),
            Some(TriggerStarted::Missing) | None => {
                Err(Problem::internal("the store gave no answer to a start"))
            }
        }
    }

    pub(super) fn refused(&self, refusal: Submitted, row: &TriggerRow) -> Problem {
        match refusal {
            Submitted::QuotaFull { open } => Problem::new(
                Code::QuotaExceeded,
                format!("{open} executions are open, and {} may be. Nothing was started.", self.quota),
            )
            .with_retry_after(std::time::Duration::from_secs(5)),
            Submitted::NoWorkflow => {
                Problem::new(Code::WorkflowArchived, format!("{} is archived.", row.workflow))
            }
            other => Problem::internal(format_args!("a start was answered with {other:?}")),
        }
    }

    /// Makes a backfill, or only counts and lists what it would do.
    pub(crate) async fn backfill_create(
        &self,
        caller: &Caller,
        id: TriggerId,
        body: CreateBackfill,
    ) -> Result<Result<BackfillView, BackfillPreview>, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let armed = self.armed(self.trigger_row(caller, id).await?).await?;
        let timed = armed.trigger()?.timed().ok_or_else(|| not_timed(&armed.row))?;
        let now = self.clock.now(&self.store).await?;
        let wrong = |detail: &str| Err(Problem::new(Code::InvalidBody, detail));
        if body.to < body.from {
            return wrong("`to` lies before `from`.");
        }
        if body.to > now {
            return wrong("`to` lies in the future: what is to come is the schedule's own.");
        }
        if body.reason.trim().is_empty() || body.reason.chars().count() > 1_000 {
            return wrong("`reason` has 1 to 1,000 characters.");
        }
        let parallel = body.parallel.unwrap_or(1);
        if !(1..=100).contains(&parallel) {
            return wrong("`parallel` is from 1 to 100.");
        }
        let before = Timestamp::from_micros(body.from.as_micros() - 1);
        let mut fires: Vec<Timestamp> = timed
            .schedule
            .fires_after(before)
            .take_while(|fire| *fire <= body.to)
            .take(MOST_BACKFILLED + 1)
            .collect();
        if fires.len() > MOST_BACKFILLED {
            return wrong("The range has more than 100,000 fires; make several backfills.");
        }
        if fires.is_empty() {
            return wrong("Nothing fires in that range.");
        }
        let total = fires.len() as u64;
        if body.dry_run {
            if body.order == Order::NewestFirst {
                fires.reverse();
            }
            fires.truncate(SHOWN);
            return Ok(Err(BackfillPreview { total, fires }));
        }
        let backfill = Backfill {
            id: BackfillId::generate(),
            tenant: caller.tenant,
            trigger: id,
            from: body.from,
            to: body.to,
            newest_first: body.order == Order::NewestFirst,
            parallel,
            reason: body.reason,
            status: BackfillStatus::Running,
            cursor: None,
            total,
            started: 0,
            skipped: 0,
            created_by: caller.principal.to_string(),
            created_at: now,
            updated_at: now,
        };
        self.store.backfill_create(backfill.clone()).await?;
        Ok(Ok(backfill.into()))
    }

    pub(crate) async fn backfill_get(
        &self,
        caller: &Caller,
        id: BackfillId,
    ) -> Result<BackfillView, Problem> {
        caller.must(Permission::Read)?;
        let found = self.store.backfill_get(caller.tenant, id).await?;
        found.map(BackfillView::from).ok_or_else(|| Problem::not_found(id))
    }

    pub(crate) async fn backfill_list(
        &self,
        caller: &Caller,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<BackfillList, Problem> {
        caller.must(Permission::Read)?;
        let found = self.store.backfill_list(caller.tenant, page::<BackfillId>(cursor, limit)?).await?;
        Ok(BackfillList {
            items: found.items.into_iter().map(BackfillView::from).collect(),
            next_cursor: found.next,
        })
    }

    /// Moves a backfill that has not ended. One that has is answered as it is.
    pub(crate) async fn backfill_move(
        &self,
        caller: &Caller,
        id: BackfillId,
        to: BackfillStatus,
    ) -> Result<BackfillView, Problem> {
        caller.must(Permission::WorkflowExecute)?;
        let found = self.store.backfill_move(caller.tenant, id, to).await?;
        found.map(BackfillView::from).ok_or_else(|| Problem::not_found(id))
    }
}

fn not_timed(row: &TriggerRow) -> Problem {
    Problem::new(Code::InvalidBody, format!("{} is a {}: only a schedule fires by time.", row.id, row.kind))
}

pub(super) fn unfit(wrong: Unfit) -> Problem {
    match wrong {
        Unfit::Parameters(problems) => {
            let detail = match problems.len() {
                1 => "One parameter is wrong; nothing was started.".to_owned(),
                many => format!("{many} parameters are wrong; nothing was started."),
            };
            let listed = problems.iter().filter_map(|problem| serde_json::to_value(problem).ok()).collect();
            Problem::new(Code::InvalidParameters, detail).with_problems(listed)
        }
        Unfit::Expression(failure) => Problem::new(
            Code::InvalidParameters,
            format!("The trigger's expressions could not be evaluated: {failure}. Nothing was started."),
        ),
    }
}
