//! A broker in memory: queues, unacknowledged sets, redelivery; it may lose everything.

use std::collections::{HashMap, VecDeque};

use shared::{
    ids::{Shard, WorkerId},
    port::queue::Audience,
    wire::{Control, InboxMessage, Task},
};

use super::Dice;

/// A message on its way, with whether it was delivered before.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    pub(super) message: T,
    pub(super) redelivered: bool,
}

/// The tag of a delivery; dies with its connection.
pub(super) type Tag = u64;

/// One kind of queue with its unacknowledged deliveries.
#[derive(Debug)]
pub(super) struct Queue<T> {
    ready: VecDeque<Held<T>>,
    /// By tag: the consumer's connection and the message.
    unacked: Vec<(Tag, u64, Held<T>)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), unacked: Vec::new() }
    }
}

impl<T: Clone> Queue<T> {
    pub(super) fn publish(&mut self, message: T) {
        self.ready.push_back(Held { message, redelivered: false });
    }

    /// Delivers a message, usually the oldest.
    pub(super) fn deliver(
        &mut self,
        tag: Tag,
        connection: u64,
        dice: &mut Dice,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<Held<T>> {
        let reordered = self.ready.len() > 1 && dice.chance(10);
        let start = if reordered { dice.below(self.ready.len()) } else { 0 };
        let at = (start..self.ready.len()).chain(0..start).find(|at| wanted(&self.ready[*at].message))?;
        let held = self.ready.remove(at)?;
        self.unacked.push((tag, connection, held.clone()));
        Some(held)
    }

    /// Acknowledges a delivery of this connection; a tag of a dead one is void.
    pub(super) fn ack(&mut self, tag: Tag, connection: u64) {
        self.unacked.retain(|(held, owner, _)| !(*held == tag && *owner == connection));
    }

    /// Acknowledges everything of the connection up to a tag.
    pub(super) fn ack_up_to(&mut self, tag: Tag, connection: u64) {
        self.unacked.retain(|(held, owner, _)| !(*held <= tag && *owner == connection));
    }

    /// Puts one delivery back.
    pub(super) fn requeue(&mut self, tag: Tag, connection: u64) {
        if let Some(at) =
            self.unacked.iter().position(|(held, owner, _)| *held == tag && *owner == connection)
        {
            let (_, _, mut held) = self.unacked.remove(at);
            held.redelivered = true;
            self.ready.push_front(held);
        }
    }

    /// The connection is gone: what it held comes again.
    pub(super) fn cut(&mut self, connection: u64) {
        let mut kept = Vec::new();
        for (tag, owner, mut held) in self.unacked.drain(..) {
            if owner == connection {
                held.redelivered = true;
                self.ready.push_front(held);
            } else {
                kept.push((tag, owner, held));
            }
        }
        self.unacked = kept;
    }

    /// Delivers one waiting message twice.
    pub(super) fn duplicate(&mut self, dice: &mut Dice) -> bool {
        if self.ready.is_empty() {
            return false;
        }
        let at = dice.below(self.ready.len());
        let mut copy = self.ready[at].clone();
        copy.redelivered = true;
        self.ready.push_back(copy);
        true
    }

    pub(super) fn wipe(&mut self) {
        self.ready.clear();
        self.unacked.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) inbox: Queue<InboxMessage>,
    pub(super) tasks: Queue<Task>,
    pub(super) controls: HashMap<WorkerId, VecDeque<Control>>,
    tags: Tag,
}

impl Broker {
    pub(super) fn tag(&mut self) -> Tag {
        self.tags += 1;
        self.tags
    }

    pub(super) fn tell(&mut self, audience: Audience, control: &Control) {
        match audience {
            Audience::Worker(worker) => {
                if let Some(queue) = self.controls.get_mut(&worker) {
                    queue.push_back(control.clone());
                }
            }
            Audience::Everyone => {
                for queue in self.controls.values_mut() {
                    queue.push_back(control.clone());
                }
            }
        }
    }

    pub(super) fn restart(&mut self, connections: &[u64]) {
        for connection in connections {
            self.inbox.cut(*connection);
            self.tasks.cut(*connection);
        }
    }

    pub(super) fn wipe(&mut self) {
        self.inbox.wipe();
        self.tasks.wipe();
    }
}

/// Shards are served by the coordinator with this index, when affinity is on.
pub(super) fn serves(shard: Shard, coordinator: usize, alive: &[bool]) -> bool {
    let living: Vec<usize> = (0..alive.len()).filter(|index| alive[*index]).collect();
    !living.is_empty() && living[shard.0 as usize % living.len()] == coordinator
}
