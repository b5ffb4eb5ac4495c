//! Publishing with confirms.
//!
//! All messages of a call are put in line before the first confirm is awaited, and calls do not wait
//! for each other's confirms.

use std::{collections::HashMap, iter, sync::Arc};

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde::Serialize;
use shared::{
    ids::{MessageId, Shard},
    port::queue::{Audience, QueueError},
    wire::{self, Control, InboxBody, InboxMessage, Task},
    workflow::Priority,
};

use super::{Core, DeadMessage, link::Sending, unavailable};

/// The confirm channels of the publishing connection.
const TASKS: usize = 0;
const INBOX: usize = 1;
const OTHER: usize = 2;

/// What may share one message.
const MOST_TOGETHER: usize = 16;
/// Messages that tasks of one queue are divided into before any two share one.
const LEAST_MESSAGES: usize = 16;
/// Bytes beyond which no other joins a message of an inbox.
const LARGE: usize = 16 * 1024;

pub(super) const EVERYONE: &str = "all";

pub(super) fn worker_key(worker: impl std::fmt::Display) -> String {
    format!("worker.{worker}")
}

struct Outgoing {
    exchange: ShortString,
    key: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
    /// Comes back, and so counts as not sent, when no queue takes it.
    mandatory: bool,
}

impl Outgoing {
    async fn send(self, channel: &Channel) -> lapin::Result<lapin::PublisherConfirm> {
        let options = BasicPublishOptions { mandatory: self.mandatory, immediate: false };
        channel.basic_publish(self.exchange, self.key, options, &self.body, self.properties).await
    }
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, QueueError> {
    // A value that cannot be written now cannot be written later either.
    wire::encode(message)
        .map_err(|error| QueueError::Topology(format!("a message cannot be encoded: {error}")))
}

fn properties(id: impl std::fmt::Display, kind: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/msgpack".into())
        .with_message_id(id.to_string().into())
        .with_type(kind.into())
}

const fn kind(body: &InboxBody) -> &'static str {
    match body {
        InboxBody::Start { .. } => "start",
        InboxBody::Results { .. } => "results",
        InboxBody::Ask { .. } => "ask",
        InboxBody::Renew { .. } => "renew",
        InboxBody::Timer { .. } => "timer",
        InboxBody::Request { .. } => "request",
        InboxBody::Sweep { .. } => "sweep",
        InboxBody::Wake { .. } => "wake",
        InboxBody::Child { .. } => "child",
        InboxBody::Event { .. } => "event",
        InboxBody::Worker { .. } => "worker",
        _ => "other",
    }
}

pub(super) async fn tasks(core: &Core, tasks: Vec<Task>) -> Result<(), QueueError> {
    for task in &tasks {
        let line = task.line();
        if !core.topology.knows(&line) {
            // The first task of a line may come before the first worker that takes from it.
            let live = core.publishing()?;
            let channel = live.connection.create_channel().await.map_err(unavailable)?;
            core.topology.declare_line(&channel, &line).await?;
        }
    }
    let outgoing: Result<Vec<Outgoing>, QueueError> =
        together(tasks).iter().map(|(task, others)| outgoing_task(core, task, others)).collect();
    send(core, TASKS, outgoing?).await
}

/// One message for a task and those that share it; it is named after the first.
fn outgoing_task(core: &Core, task: &Task, others: &[Task]) -> Result<Outgoing, QueueError> {
    let mut headers = FieldTable::default();
    let mut text = |key: &str, value: String| {
        headers.insert(key.into(), AMQPValue::LongString(value.into()));
    };
    text("execution", task.execution.to_string());
    text("component", task.key().to_string());
    text("tenant", task.tenant.to_string());
    headers.insert("attempt".into(), AMQPValue::LongUInt(task.attempt));
    if !others.is_empty() {
        headers.insert("tasks".into(), AMQPValue::LongUInt(1 + others.len() as u32));
    }
    // The same task sent again is the same message; and a random id would cost a system call.
    let id = format_args!("{}/{}.{}", task.idempotency_key(), task.attempt, task.dispatch).to_string();
    let priority = match task.priority {
        Priority::High => 9,
        Priority::Normal => 4,
        Priority::Low => 0,
    };
    let bodies: Result<Vec<Vec<u8>>, QueueError> = iter::once(task).chain(others).map(encode).collect();
    Ok(Outgoing {
        exchange: "".into(),
        key: core.topology.tasks(&task.line(), task.priority),
        properties: properties(id, &task.kind).with_headers(headers).with_priority(priority),
        body: wire::join(bodies?),
        mandatory: true,
    })
}

/// Lets short tasks of one queue share messages when there are many: a message costs the broker more than such a
/// task costs its worker. There are still enough messages for many workers.
fn together(tasks: Vec<Task>) -> Vec<(Task, Vec<Task>)> {
    let queue = |task: &Task| (task.line(), task.priority);
    // How many there are of a queue, and the message that the next one may join.
    let mut queues: HashMap<(Arc<str>, Priority), (usize, Option<usize>)> = HashMap::new();
    for task in tasks.iter().filter(|task| task.may_share) {
        queues.entry(queue(task)).or_default().0 += 1;
    }
    let mut messages: Vec<(Task, Vec<Task>)> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let of_queue = if task.may_share { queues.get_mut(&queue(&task)) } else { None };
        if let Some((count, open)) = of_queue {
            let most = (*count / LEAST_MESSAGES).min(MOST_TOGETHER);
            let others = open.map(|at| &mut messages[at].1);
            if let Some(others) = others.filter(|others| 1 + others.len() < most) {
                others.push(task);
                continue;
            }
            *open = Some(messages.len());
        }
        messages.push((task, Vec::new()));
    }
    messages
}

pub(super) async fn inbox(core: &Core, messages: Vec<InboxMessage>) -> Result<(), QueueError> {
    let bodies: Result<Vec<Vec<u8>>, QueueError> = messages.iter().map(encode).collect();
    let outgoing = envelopes(messages.iter().zip(bodies?))
        .into_iter()
        .map(|Envelope { first, bodies, .. }| {
            let mut properties = properties(first.id, kind(&first.body));
            if bodies.len() > 1 {
                let mut headers = FieldTable::default();
                headers.insert("messages".into(), AMQPValue::LongUInt(bodies.len() as u32));
                properties = properties.with_headers(headers);
            }
            Outgoing {
                exchange: "".into(),
                key: core.topology.inbox(first.shard),
                properties,
                body: wire::join(bodies),
                mandatory: true,
            }
        })
        .collect();
    send(core, INBOX, outgoing).await
}

/// Messages of one inbox that travel as one.
struct Envelope<'a> {
    first: &'a InboxMessage,
    bodies: Vec<Vec<u8>>,
    bytes: usize,
}

/// Lets the small messages of one inbox travel together: its reader takes them in batches anyway, and each would
/// cost the broker as much as all of them.
fn envelopes<'a>(messages: impl Iterator<Item = (&'a InboxMessage, Vec<u8>)>) -> Vec<Envelope<'a>> {
    let mut envelopes: Vec<Envelope<'a>> = Vec::new();
    // The last one of each inbox: order within an inbox stays.
    let mut last: HashMap<Shard, usize> = HashMap::new();
    for (message, body) in messages {
        if let Some(envelope) = last.get(&message.shard).map(|at| &mut envelopes[*at])
            && envelope.bodies.len() < MOST_TOGETHER
            && envelope.bytes + body.len() <= LARGE
        {
            envelope.bytes += body.len();
            envelope.bodies.push(body);
            continue;
        }
        last.insert(message.shard, envelopes.len());
        envelopes.push(Envelope { first: message, bytes: body.len(), bodies: vec![body] });
    }
    envelopes
}

pub(super) async fn control(core: &Core, to: Audience, control: &Control) -> Result<(), QueueError> {
    let key = match to {
        Audience::Worker(worker) => worker_key(worker.as_uuid()),
        Audience::Everyone => EVERYONE.to_owned(),
    };
    let outgoing = Outgoing {
        exchange: core.topology.control(),
        key: key.into(),
        properties: properties(MessageId::generate(), "control").with_delivery_mode(1),
        body: encode(control)?,
        // Nothing is kept for workers that are away.
        mandatory: false,
    };
    send(core, OTHER, vec![outgoing]).await
}

/// Keeps a message nobody can read where people find it.
pub(super) async fn dead(core: &Core, dead: &DeadMessage) -> Result<(), QueueError> {
    let mut headers = FieldTable::default();
    headers.insert("queue".into(), AMQPValue::LongString(dead.queue.clone().into()));
    headers.insert("reason".into(), AMQPValue::LongString(dead.reason.clone().into()));
    let id = dead.message_id.clone().unwrap_or_else(|| MessageId::generate().to_string());
    let outgoing = Outgoing {
        exchange: "".into(),
        key: core.topology.dead(),
        properties: properties(id, "dead").with_headers(headers),
        body: dead.body.clone(),
        mandatory: true,
    };
    send(core, OTHER, vec![outgoing]).await
}

async fn send(core: &Core, lane: usize, outgoing: Vec<Outgoing>) -> Result<(), QueueError> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let live = core.publishing()?;
    let queued = live.lane(lane).enqueue(|channel| {
        outgoing.into_iter().map(|message| Box::pin(message.send(channel)) as Sending<'_>).collect()
    });
    let confirms = async {
        let mut refused = None;
        // The last first: when it is confirmed, nearly all others are, and this task wakes once.
        for queued in queued.into_iter().rev() {
            let confirm = queued.written().await.map_err(unavailable)?;
            match confirm.await.map_err(unavailable)? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) => {
                    refused =
                        Some(format!("no queue for {}: {}", back.delivery.routing_key, back.reply_text));
                }
                Confirmation::Nack(None) => refused = Some("the broker refused a message".into()),
                Confirmation::NotRequested => refused = Some("the channel does not confirm".into()),
            }
        }
        refused.map_or(Ok(()), |refused| Err(unavailable(refused)))
    };
    let result = tokio::time::timeout(core.config.confirm_timeout, confirms)
        .await
        .unwrap_or_else(|_| Err(unavailable("the broker did not confirm in time")));
    if result.is_err() {
        // Whatever it was, a new connection declares anew and starts its counts from one.
        live.fail();
    }
    result
}

#[cfg(test)]
mod tests {
    use shared::testing::queue::{message, task};

    use super::*;

    fn tasks(count: u32, priority: Priority, may_share: bool) -> Vec<Task> {
        let pool = Arc::from("default");
        (0..count).map(|attempt| Task { may_share, ..task(&pool, priority, attempt) }).collect()
    }

    fn sizes(messages: &[(Task, Vec<Task>)]) -> Vec<usize> {
        messages.iter().map(|(_, others)| 1 + others.len()).collect()
    }

    #[test]
    fn few_tasks_travel_alone_and_many_together_but_never_in_few_messages() {
        assert_eq!(sizes(&together(tasks(31, Priority::Normal, true))), [1; 31]);
        assert_eq!(sizes(&together(tasks(64, Priority::Normal, true))), [4; 16]);
        let many = sizes(&together(tasks(1000, Priority::Normal, true)));
        assert_eq!((many.len(), many.iter().sum::<usize>(), many.iter().max()), (63, 1000, Some(&16)));
        assert_eq!(sizes(&together(tasks(64, Priority::Normal, false))), [1; 64]);
    }

    #[test]
    fn tasks_of_several_queues_share_nothing_and_each_queue_keeps_its_order() {
        let mut mixed = Vec::new();
        for (high, low) in tasks(64, Priority::High, true).into_iter().zip(tasks(64, Priority::Low, true)) {
            mixed.extend([high, low]);
        }
        mixed.extend(tasks(3, Priority::High, false));
        let messages = together(mixed);
        for priority in [Priority::High, Priority::Low] {
            let mut order = Vec::new();
            let shares = |task: &Task| task.priority == priority && task.may_share;
            for (first, others) in messages.iter().filter(|(first, _)| shares(first)) {
                assert!(others.iter().all(shares));
                order.push(first.attempt);
                order.extend(others.iter().map(|task| task.attempt));
            }
            assert_eq!(order, (0..64).collect::<Vec<u32>>());
        }
        assert_eq!(messages.len(), 16 + 16 + 3);
    }

    #[test]
    fn small_messages_of_one_inbox_travel_together_in_order_and_large_ones_alone() {
        let shards = [Shard(3), Shard(9)];
        let messages: Vec<InboxMessage> = (0..80).map(|number| message(shards[number % 2])).collect();
        let sent = |bytes: usize| -> Vec<(Shard, Vec<usize>)> {
            let bodies = (0..messages.len()).map(|number| vec![number as u8; bytes]);
            let envelopes = envelopes(messages.iter().zip(bodies));
            envelopes
                .iter()
                .map(|envelope| {
                    (envelope.first.shard, envelope.bodies.iter().map(|body| usize::from(body[0])).collect())
                })
                .collect()
        };
        for (bytes, sizes) in [(100, vec![16, 16, 8]), (LARGE / 2, vec![2; 20]), (LARGE + 1, vec![1; 40])] {
            let sent = sent(bytes);
            for (odd, shard) in shards.into_iter().enumerate() {
                let own: Vec<&Vec<usize>> =
                    sent.iter().filter(|(of, _)| *of == shard).map(|(_, numbers)| numbers).collect();
                assert_eq!(own.iter().map(|numbers| numbers.len()).collect::<Vec<_>>(), sizes);
                let expected: Vec<usize> = (0..80).filter(|number| number % 2 == odd).collect();
                assert_eq!(own.into_iter().flatten().copied().collect::<Vec<_>>(), expected);
            }
        }
    }
}
