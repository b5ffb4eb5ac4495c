//! Three lanes of waiting items, taken 8 : 4 : 1.

use std::collections::VecDeque;

use shared::workflow::Priority;

/// Items of a round that go to high, normal and low while all three have some.
const SHARES: [u8; 3] = [8, 4, 1];

/// Waiting items of three priorities. A lane that is empty gives its share to the others.
#[derive(Debug)]
pub(crate) struct Weighted<T> {
    lanes: [VecDeque<T>; 3],
    /// What is left of this round.
    shares: [u8; 3],
}

impl<T> Default for Weighted<T> {
    fn default() -> Self {
        Self { lanes: [VecDeque::new(), VecDeque::new(), VecDeque::new()], shares: SHARES }
    }
}

pub(crate) const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl<T> Weighted<T> {
    pub(crate) fn push_back(&mut self, priority: Priority, item: T) {
        self.lanes[lane(priority)].push_back(item);
    }

    pub(crate) fn push_front(&mut self, priority: Priority, item: T) {
        self.lanes[lane(priority)].push_front(item);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_if(|_| true)
    }

    /// The next of those that fit; the others keep their places.
    pub(crate) fn pop_if(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        for _ in 0..2 {
            for (lane, share) in self.lanes.iter_mut().zip(&mut self.shares) {
                if *share > 0
                    && let Some(item) = lane.iter().position(&fits).and_then(|at| lane.remove(at))
                {
                    *share -= 1;
                    return Some(item);
                }
            }
            // Nobody who waits has a share left: the next round begins.
            self.shares = SHARES;
        }
        None
    }

    pub(crate) fn of(&self, priority: Priority) -> impl Iterator<Item = &T> {
        self.lanes[lane(priority)].iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.lanes.iter_mut().flat_map(|lane| lane.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_eight_high_four_normal_and_one_low() {
        let mut waiting = Weighted::default();
        for _ in 0..26 {
            for priority in Priority::ALL {
                waiting.push_back(priority, priority);
            }
        }
        for _ in 0..2 {
            let round: Vec<Priority> = (0..13).filter_map(|_| waiting.pop()).collect();
            assert!(round[..8].iter().all(|priority| *priority == Priority::High));
            assert!(round[8..12].iter().all(|priority| *priority == Priority::Normal));
            assert_eq!(round[12], Priority::Low);
        }
    }

    #[test]
    fn an_empty_lane_holds_up_nobody() {
        let mut waiting = Weighted::default();
        for item in 0..100 {
            waiting.push_back(Priority::Low, item);
        }
        assert_eq!((0..100).filter_map(|_| waiting.pop()).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(waiting.is_empty());
    }
}
