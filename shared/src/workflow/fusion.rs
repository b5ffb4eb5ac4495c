//! Which components travel as one task: short pure ones in a row (`docs/decisions/0025`).

use super::model::{Component, Join, Output};

/// Notes at every component which one may be run right after it by the same worker.
///
/// The pair must look the same to everybody whether it is run so or not: nothing but the success of the first is
/// waited for, nothing else waits for it, and neither has a limit, a clock or a place of its own beside it.
pub(super) fn mark(components: &mut [Component]) {
    for index in 0..components.len() {
        components[index].fuses = follower(components, index);
    }
}

fn follower(components: &[Component], index: usize) -> Option<usize> {
    let first = &components[index];
    let mut readers =
        first.outgoing.iter().filter(|(_, port)| !matches!(port, Output::Error | Output::Timeout));
    let (Some((next, Output::Success)), None) = (readers.next(), readers.next()) else { return None };
    let second = &components[*next];
    let is_alone = second.needs.len() == 1 && second.join == Join::All && second.when.is_none();
    let fits = is_alone && first.is_plain() && second.is_plain() && first.placement == second.placement;
    fits.then_some(*next)
}
