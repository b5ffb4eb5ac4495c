//! Which deliveries of one channel are answered, and the fewest frames that say so.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use shared::port::queue::Acknowledge;
use tokio::sync::Notify;

use crate::room::Room;

/// The answers of one channel. They end with it: what is marked later goes nowhere.
#[derive(Default)]
pub(super) struct Answers {
    tags: Mutex<Tags>,
    pub(super) changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Not answered, or not yet seen: an acknowledgement must not cover it.
    Open,
    /// To be acknowledged.
    Done,
    /// The broker was told.
    Settled,
}

#[derive(Default)]
struct Tags {
    /// Tags below and at this are settled.
    settled: u64,
    /// The marks of the tags above `settled`, in order.
    marks: VecDeque<Mark>,
    /// Newly done.
    done: Vec<u64>,
    again: Vec<u64>,
    /// Delivered to us and not answered.
    open: usize,
}

/// What to tell the broker, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// Requeue each.
    pub(super) again: Vec<u64>,
    /// Acknowledge each alone.
    pub(super) alone: Vec<u64>,
    /// Acknowledge everything up to this.
    pub(super) up_to: Option<u64>,
}

impl Tags {
    fn mark(&mut self, tag: u64, mark: Mark) {
        let at = (tag - self.settled - 1) as usize;
        if self.marks.len() <= at {
            self.marks.resize(at + 1, Mark::Open);
        }
        self.marks[at] = mark;
    }

    fn take(&mut self) -> Frames {
        let mut frames = Frames { again: std::mem::take(&mut self.again), ..Frames::default() };
        while let Some(mark @ (Mark::Done | Mark::Settled)) = self.marks.front().copied() {
            self.marks.pop_front();
            self.settled += 1;
            if mark == Mark::Done {
                frames.up_to = Some(self.settled);
            }
        }
        for tag in std::mem::take(&mut self.done) {
            // Someone slow below it must not keep it, and its credit, from being freed.
            if tag > self.settled {
                self.mark(tag, Mark::Settled);
                frames.alone.push(tag);
            }
        }
        frames
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Tags> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery that is to be answered.
    pub(super) fn open(self: &Arc<Self>, tag: u64) -> Answer {
        self.lock().open += 1;
        let whole = Arc::new(Whole { answers: Arc::clone(self), tag, again: AtomicBool::new(false) });
        Answer { whole, room: None, answered: false }
    }

    fn done(&self, tag: u64) {
        let mut tags = self.lock();
        tags.open -= 1;
        tags.mark(tag, Mark::Done);
        tags.done.push(tag);
        drop(tags);
        self.changed.notify_one();
    }

    fn again(&self, tag: u64) {
        let mut tags = self.lock();
        tags.open -= 1;
        tags.mark(tag, Mark::Settled);
        tags.again.push(tag);
        drop(tags);
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Frames {
        self.lock().take()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().open == 0
    }
}

/// One delivery, whose answer is given when each of its parts has one.
struct Whole {
    answers: Arc<Answers>,
    tag: u64,
    /// Whether a part asked for it to come again.
    again: AtomicBool,
}

impl Drop for Whole {
    fn drop(&mut self) {
        if *self.again.get_mut() { self.answers.again(self.tag) } else { self.answers.done(self.tag) }
    }
}

/// The answer to a delivery, or to one of the messages that share it. Dropped, it asks for the message to come again.
pub(super) struct Answer {
    whole: Arc<Whole>,
    /// Where it takes a place, once handed out.
    pub(super) room: Option<Arc<Room>>,
    answered: bool,
}

impl Answer {
    pub(super) fn done(mut self) {
        self.answered = true;
    }

    /// One more answer that the delivery waits for.
    pub(super) fn part(&self) -> Self {
        Self { whole: Arc::clone(&self.whole), room: None, answered: false }
    }
}

#[async_trait]
impl Acknowledge for Answer {
    async fn ack(self: Box<Self>) {
        self.done();
    }

    async fn requeue(self: Box<Self>) {}
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.answered {
            self.whole.again.store(true, Ordering::Relaxed);
        }
        if let Some(room) = &self.room {
            room.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finished_prefix_is_one_frame() {
        let answers = Arc::new(Answers::default());
        let open: Vec<Answer> = (1..=100).map(|tag| answers.open(tag)).collect();
        open.into_iter().rev().for_each(Answer::done);
        assert_eq!(answers.take(), Frames { up_to: Some(100), ..Frames::default() });
        assert_eq!(answers.take(), Frames::default());
    }

    #[test]
    fn a_slow_one_keeps_no_other_from_being_acknowledged() {
        let answers = Arc::new(Answers::default());
        let slow = answers.open(1);
        for tag in 2..=3 {
            answers.open(tag).done();
        }
        assert_eq!(answers.take(), Frames { alone: vec![2, 3], ..Frames::default() });
        slow.done();
        assert_eq!(answers.take(), Frames { up_to: Some(1), ..Frames::default() });
    }

    #[test]
    fn a_delivery_in_parts_is_answered_with_the_last_of_them() {
        let answers = Arc::new(Answers::default());
        let (first, second) = (answers.open(1), answers.open(2));
        let parts = [first.part(), first];
        for part in parts {
            assert_eq!(answers.take(), Frames::default());
            part.done();
        }
        assert_eq!(answers.take(), Frames { up_to: Some(1), ..Frames::default() });
        // Given back in part, it comes again as a whole: the broker knows no parts.
        let other = second.part();
        drop(second);
        assert_eq!(answers.take(), Frames::default());
        other.done();
        assert_eq!(answers.take(), Frames { again: vec![2], ..Frames::default() });
        assert!(answers.is_idle());
    }

    proptest! {
        #[test]
        fn the_broker_hears_of_every_answer_once_and_of_nothing_else(
            answered in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 1..80),
        ) {
            let answers = Arc::new(Answers::default());
            let mut open: Vec<(u64, Answer)> =
                (1..=80).map(|tag| (tag, answers.open(tag))).collect();
            // What the broker still waits for.
            let mut unknown: BTreeSet<u64> = (1..=80).collect();
            let mut acked = BTreeSet::new();
            let mut requeued = BTreeSet::new();
            let (mut want_acked, mut want_requeued) = (BTreeSet::new(), BTreeSet::new());
            for (index, ack, flush) in answered {
                let (tag, answer) = open.remove(index.index(open.len()));
                if ack {
                    answer.done();
                    want_acked.insert(tag);
                } else {
                    drop(answer);
                    want_requeued.insert(tag);
                }
                if !flush {
                    continue;
                }
                let frames = answers.take();
                for tag in frames.again {
                    prop_assert!(unknown.remove(&tag));
                    requeued.insert(tag);
                }
                for tag in frames.alone {
                    prop_assert!(unknown.remove(&tag));
                    acked.insert(tag);
                }
                if let Some(last) = frames.up_to {
                    prop_assert!(unknown.contains(&last));
                    let rest = unknown.split_off(&(last + 1));
                    acked.append(&mut unknown);
                    unknown = rest;
                }
                prop_assert_eq!(&acked, &want_acked);
                prop_assert_eq!(&requeued, &want_requeued);
            }
        }
    }
}
