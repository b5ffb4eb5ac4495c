//! What executions have to do with each other and with events: sub-workflows are accepted and ended, their
//! endings are told to those that started them, and kept events are found for those that wait.
//!
//! Everything here may be done twice: a child's id follows from its parent's turn, an ending that was told
//! changes nothing the second time, and an event is received once. What fails is tried again with the
//! message that caused it, or by the sweep of the execution that waits.

use std::sync::Arc;

use serde_json::Value;
use shared::{
    component::{Failure, FailureClass},
    execution::{
        Accepted, Event, Parent, Payload, Received, Status, StoredPayload, TaskKey, Turn, start_hint,
    },
    ids::{ExecutionId, MessageId, PayloadId, RequestId, Shard, TenantId, WorkflowId},
    port::people::EventWait,
    port::rates::{Permit, PermitAsk},
    port::store::{
        DynStore, ExecutionRow, JOURNAL_PAGE, Request, StoreError, Submission, Submitted, payload_whole,
    },
    time::Timestamp,
    wire::{ChildEnding, InboxBody, InboxMessage, RequestBody},
    workflow::Workflow,
};

use crate::{
    desk::{Displaced, Lookout, Notice, Question},
    engine::ChildOrder,
};

/// The workflow that an order names: its id, version and hash.
pub(crate) async fn find_workflow(
    store: &DynStore,
    order: &ChildOrder,
) -> Result<Result<(WorkflowId, u32, String), Failure>, StoreError> {
    let name = &order.child.workflow;
    let missing = |message: String| Ok(Err(Failure::new(FailureClass::NotFound, message)));
    let row = match name.parse::<WorkflowId>() {
        Ok(id) => store.workflow_get(order.tenant, id).await?,
        Err(_) => store.workflow_by_name(order.tenant, name).await?,
    };
    let Some(row) = row else { return missing(format!("there is no workflow `{name}`")) };
    if row.status != "active" {
        return missing(format!("the workflow `{name}` is archived"));
    }
    match order.child.version {
        None => Ok(Ok((row.id, row.version, row.hash))),
        Some(version) => match store.workflow_hash(order.tenant, row.id, version).await? {
            Some(hash) => Ok(Ok((row.id, version, hash))),
            None => missing(format!("the workflow `{name}` has no version {version}")),
        },
    }
}

/// What to send of a child that was accepted before: its end to its parent, or its start again, as whoever accepted
/// it may have been lost before it said so.
pub(crate) async fn told_again(
    store: &DynStore,
    order: &ChildOrder,
    row: ExecutionRow,
) -> Result<Vec<InboxMessage>, StoreError> {
    let mut messages = start_again(order, row.status);
    if let Some(notice) = notice_again(order, row.status, row.output, row.failure) {
        messages.push(tell(store, notice).await?);
    }
    Ok(messages)
}

/// Takes the permit that a task asks for, or finds the one it has, and says what became of it.
pub(crate) async fn permit(
    store: &DynStore,
    tenant: TenantId,
    ask: PermitAsk,
    now: Timestamp,
) -> Result<InboxMessage, StoreError> {
    let (execution, task) = (ask.execution, ask.task.clone());
    let permit = store.permit(tenant, ask, now).await?;
    Ok(permit_hint(execution, task, permit))
}

/// What a task is told of its permit.
pub(crate) fn permit_hint(execution: ExecutionId, task: TaskKey, permit: Permit) -> InboxMessage {
    let id =
        MessageId::derived(execution, &format!("permit/{task}/{}/{}", permit.at.as_micros(), permit.refused));
    InboxMessage { id, shard: Shard::of(execution), body: InboxBody::Permit { execution, task, permit } }
}

/// Wakes a child that has not begun.
pub(crate) fn start_again(order: &ChildOrder, status: Status) -> Vec<InboxMessage> {
    let child = order.child.id;
    let wake = InboxMessage {
        id: MessageId::derived(child, "start"),
        shard: Shard::of(child),
        body: InboxBody::Wake { execution: child },
    };
    if status == Status::Pending { vec![wake] } else { Vec::new() }
}

/// What the row of a child that was accepted before says to its parent. `None` while it is open.
pub(crate) fn notice_again(
    order: &ChildOrder,
    status: Status,
    output: Option<Payload>,
    failure: Option<Failure>,
) -> Option<Notice> {
    let ending = match status {
        _ if !order.child.waits => ChildEnding::Accepted,
        Status::Completed => {
            ChildEnding::Completed { output: output.unwrap_or(Payload::Inline(Value::Null)) }
        }
        Status::Failed => ChildEnding::Failed {
            failure: failure
                .unwrap_or_else(|| Failure::new(FailureClass::Internal, "it failed without a reason")),
        },
        Status::Cancelled => ChildEnding::Cancelled { failure },
        Status::Pending | Status::Running | Status::Paused => return None,
    };
    Some(Notice {
        tenant: order.tenant,
        parent: order.parent,
        child: order.child.id,
        task: order.task.clone(),
        ending,
    })
}

/// Accepts the execution of a sub-workflow. Answers its start, or what its parent is to be told.
pub(crate) async fn accept(
    store: &DynStore,
    order: &ChildOrder,
    (workflow, version): (WorkflowId, u32),
    snapshot: &Arc<Workflow>,
    now: Timestamp,
) -> Result<Vec<InboxMessage>, StoreError> {
    let mut parameters = Value::Object(order.child.parameters.clone());
    for (pointer, id) in &order.child.references {
        let bytes = payload_whole(&**store, order.parent, *id).await?;
        let bytes = bytes.ok_or_else(|| StoreError::Corrupt(format!("{id} is missing").into()))?;
        if let Some(place) = parameters.pointer_mut(pointer) {
            *place = serde_json::from_slice(&bytes).map_err(|error| StoreError::Corrupt(error.into()))?;
        }
    }
    let first = match first_turn(order, (workflow, version), snapshot, parameters, now) {
        Ok(first) => first,
        Err(failure) => return Ok(vec![refusal(order, failure)]),
    };
    // A quota bounds what is asked for from outside; a refusal here would fail what was accepted.
    let submission = Submission { first: first.clone(), idempotency: None, carries: Vec::new() };
    let answer = store.accept(vec![submission], u64::MAX).await?.pop();
    Ok(match answer {
        Some(Submitted::New | Submitted::Repeated(_)) => accepted(order, first),
        _ => {
            let message = format!("the workflow `{}` is gone", order.child.workflow);
            vec![refusal(order, Failure::new(FailureClass::NotFound, message))]
        }
    })
}

/// What is sent when a child was accepted.
pub(crate) fn accepted(order: &ChildOrder, first: Turn) -> Vec<InboxMessage> {
    let mut messages = vec![start_hint(first)];
    if !order.child.waits {
        messages.push(child_message(order, ChildEnding::Accepted));
    }
    messages
}

/// Turn 1 of a child, or why there is none. The parameters are whole.
pub(crate) fn first_turn(
    order: &ChildOrder,
    (workflow, version): (WorkflowId, u32),
    snapshot: &Workflow,
    parameters: Value,
    now: Timestamp,
) -> Result<Turn, Failure> {
    let Value::Object(parameters) = parameters else {
        return Err(Failure::new(FailureClass::InvalidConfig, "`parameters` is not a map"));
    };
    let parameters = snapshot.check_parameters(&parameters).map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        Failure::new(
            FailureClass::InvalidInput,
            format!("the parameters of `{}` are wrong: {}", order.child.workflow, messages.join("; ")),
        )
    })?;
    Ok(Turn {
        execution: order.child.id,
        seq: 1,
        cause: MessageId::derived(order.child.id, "accept"),
        at: now,
        events: vec![Event::Accepted(Box::new(Accepted {
            trigger: None,
            retry_of: None,
            trial: None,
            tenant: order.tenant,
            workflow,
            version,
            hash: snapshot.hash.clone(),
            parameters,
            priority: order.priority,
            mode: order.mode,
            scheduled_at: None,
            tags: order.child.execution_key.iter().cloned().collect(),
            principal: order.principal.clone(),
            parent: Some(Parent {
                execution: order.parent,
                task: order.task.clone(),
                ordered_in: order.child.ordered_in,
                depth: order.depth,
                waits: order.child.waits,
                on_parent_close: order.child.on_parent_close,
            }),
        }))],
    })
}

/// The message that a child could not be started.
pub(crate) fn refusal(order: &ChildOrder, failure: Failure) -> InboxMessage {
    child_message(order, ChildEnding::Refused { failure })
}

fn child_message(order: &ChildOrder, ending: ChildEnding) -> InboxMessage {
    message(order.parent, order.task.clone(), order.child.id, ending)
}

/// What a parent is told of its child.
pub(crate) fn message(
    parent: ExecutionId,
    task: shared::execution::TaskKey,
    child: ExecutionId,
    ending: ChildEnding,
) -> InboxMessage {
    let name = match ending {
        ChildEnding::Accepted => "accepted",
        _ => "ended",
    };
    InboxMessage {
        id: MessageId::derived(child, name),
        shard: Shard::of(parent),
        body: InboxBody::Child { execution: parent, task, child, ending },
    }
}

/// Tells a parent how its child ended. A stored output is kept again as the parent's own.
pub(crate) async fn tell(store: &DynStore, notice: Notice) -> Result<InboxMessage, StoreError> {
    let ending = match notice.ending {
        ChildEnding::Completed { output: Payload::Stored(stored) } => {
            let bytes = payload_whole(&**store, notice.child, stored.id).await?;
            let missing = || StoreError::Corrupt(format!("{} is missing", stored.id).into());
            let bytes = bytes.ok_or_else(missing)?;
            let id = PayloadId::derived(notice.parent, &format!("output of {}", notice.child));
            let size = bytes.len() as u64;
            store.payload_put(notice.tenant, notice.parent, id, bytes).await?;
            ChildEnding::Completed { output: Payload::Stored(StoredPayload { id, size }) }
        }
        other => other,
    };
    Ok(message(notice.parent, notice.task, notice.child, ending))
}

/// Asks a child to end because its parent did. `None` when it has ended.
pub(crate) async fn close(
    store: &DynStore,
    (tenant, parent, child): (shared::ids::TenantId, ExecutionId, ExecutionId),
    kill: bool,
    now: Timestamp,
) -> Result<Option<InboxMessage>, StoreError> {
    let (request, message) = closing((tenant, parent, child), kill, now);
    Ok(store.request(request).await?.then_some(message))
}

/// The request that ends a child, and its announcement. Made twice it is the same.
pub(crate) fn closing(
    (tenant, parent, child): (shared::ids::TenantId, ExecutionId, ExecutionId),
    kill: bool,
    now: Timestamp,
) -> (Request, InboxMessage) {
    let by = parent.to_string();
    let reason = "the execution that started it ended".to_owned();
    let body = if kill { RequestBody::Kill { by, reason } } else { RequestBody::Cancel { by, reason } };
    let id = RequestId::from_uuid(*MessageId::derived(child, "close").as_uuid());
    let request = Request { id, tenant, execution: child, body: body.clone(), at: now };
    let message = InboxMessage {
        id: MessageId::derived(child, "close"),
        shard: Shard::of(child),
        body: InboxBody::Request { execution: child, id, body },
    };
    (request, message)
}

/// Asks an execution, or one of its tasks, to make room. `None` when it has ended.
pub(crate) async fn displace(
    store: &DynStore,
    displaced: Displaced,
    now: Timestamp,
) -> Result<Option<InboxMessage>, StoreError> {
    let (request, message) = displacing(displaced, now);
    Ok(store.request(request).await?.then_some(message))
}

/// The request that makes room, and its announcement. Made twice it is the same.
pub(crate) fn displacing(displaced: Displaced, now: Timestamp) -> (Request, InboxMessage) {
    let Displaced { tenant, execution, task, by } = displaced;
    let name = match &task {
        None => format!("displace/{by}"),
        Some(task) => format!("displace/{by}/{task}"),
    };
    let body = match task {
        None => {
            RequestBody::Cancel { by: by.to_string(), reason: "a newer execution takes its place".to_owned() }
        }
        Some(task) => RequestBody::Displace { task, by },
    };
    let cause = MessageId::derived(execution, &name);
    let id = RequestId::from_uuid(*cause.as_uuid());
    let request = Request { id, tenant, execution, body: body.clone(), at: now };
    let message = InboxMessage {
        id: cause,
        shard: Shard::of(execution),
        body: InboxBody::Request { execution, id, body },
    };
    (request, message)
}

/// Ends a child whose caller has ended without it. The caller asked for that, unless it was lost, or there was no
/// child yet to be asked.
pub(crate) async fn close_if_left(
    store: &DynStore,
    question: &Question,
    now: Timestamp,
) -> Result<Option<InboxMessage>, StoreError> {
    let row = store.execution_get(question.tenant, question.parent).await?;
    let ended = row.is_some_and(|row| row.status.is_terminal());
    if !ended {
        let mut after = Some(question.ordered_in);
        let mut left = false;
        while let (Some(seq), false) = (after, left) {
            let page = store.load(&[question.parent], seq, JOURNAL_PAGE).await?.into_iter().flatten().next();
            after = page.as_ref().and_then(|page| page.goes_on(JOURNAL_PAGE));
            left = page.is_some_and(|page| has_left(&page.turns, question));
        }
        if !left {
            return Ok(None);
        }
    }
    close(store, (question.tenant, question.parent, question.child), question.kill, now).await
}

/// Whether some turns of a caller, as far as they come after the one that ordered the child, say that it ended without its child.
pub(crate) fn has_left(turns: &[Turn], question: &Question) -> bool {
    let later = turns.iter().filter(|turn| turn.seq > question.ordered_in);
    later.flat_map(|turn| &turn.events).any(|event| match event {
        Event::TaskCancelled { task, .. } | Event::DecisionFailed { task, .. } => *task == question.task,
        Event::Finished { .. } => true,
        _ => false,
    })
}

/// The kept events that a wait may take.
pub(crate) async fn look_out(store: &DynStore, lookout: Lookout) -> Result<Vec<InboxMessage>, StoreError> {
    const MOST: u32 = 100;
    let events =
        store.events_between(lookout.tenant, &lookout.event, &lookout.key, lookout.early, MOST).await?;
    Ok(events.iter().map(|event| event_message(&lookout, &event.received())).collect())
}

/// A kept event for a wait that may take it.
pub(crate) fn event_message(lookout: &Lookout, event: &Received) -> InboxMessage {
    let wait = EventWait {
        execution: lookout.execution,
        task: lookout.task.clone(),
        event: lookout.event.clone(),
        key: lookout.key.clone(),
        early: lookout.early,
    };
    wait.hint(event)
}
