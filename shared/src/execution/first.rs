//! How an execution begins, whoever starts it.

use super::{Accepted, Event, Turn};
use crate::{
    ids::{ExecutionId, MessageId, Shard},
    time::Timestamp,
    wire::{InboxBody, InboxMessage},
};

/// Turn 1 of a new execution.
pub fn first_turn(accepted: Accepted, at: Timestamp) -> Turn {
    Turn {
        execution: ExecutionId::generate_in_runs(),
        seq: 1,
        cause: MessageId::generate(),
        at,
        events: vec![Event::Accepted(Box::new(accepted))],
    }
}

/// What tells a coordinator of an execution that is durable. Lost, the sweep finds it.
pub fn start_hint(first: Turn) -> InboxMessage {
    let execution = first.execution;
    // What was carried may be larger than a message: it is read where it lies.
    let body = match first.events.len() {
        1 => InboxBody::Start { first: Box::new(first) },
        _ => InboxBody::Wake { execution },
    };
    InboxMessage { id: MessageId::derived(execution, "start"), shard: Shard::of(execution), body }
}
