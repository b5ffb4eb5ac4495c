//! The schedule explorer: the real desk and engine, with an in-memory store, broker, workers and clients,
//! advanced one await-free step at a time by a seeded scheduler that also injects faults.
//!
//! Random, not exhaustive. It does not see what real adapters do; the conformance suites and the
//! whole-process fault harness do.

#![expect(clippy::print_stdout, reason = "a run says what it did, and with which seed a fault was found")]

mod broker;
mod caching;
mod check;
mod looks;
mod moves;
mod reach;
mod retries;
mod shapes;
mod storage;
mod tests;
mod world;

use crate::seeded::Bug;
pub(crate) use shapes::catalogue;

/// How a run is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) bug: Option<Bug>,
    /// Faults in a hundred actions.
    pub(crate) faults: u32,
    /// Whether the safety net is up. Without it nothing may be lost outright, so the broker keeps its data.
    pub(crate) sweep: bool,
    /// Whether any coordinator takes any inbox.
    pub(crate) affinity: bool,
    /// Whether every task is handed over to a lease at once.
    pub(crate) lease_all: bool,
    /// Inbox messages in a batch, at most.
    pub(crate) batch: usize,
    /// Whether little is too much for a turn or a journal.
    pub(crate) small: bool,
    /// Whether most executions want the same places.
    pub(crate) crowded: bool,
    /// Whether pure components in a row travel as one task.
    pub(crate) fusion: bool,
    /// Whether two tenants want the one place for executions.
    pub(crate) tenants: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        Self {
            seed,
            bug: None,
            faults: 5,
            sweep: true,
            affinity: true,
            lease_all: false,
            batch: 6,
            small: seed.is_multiple_of(3),
            crowded: seed % 4 == 1,
            fusion: seed % 5 != 4,
            tenants: seed % 8 == 3,
        }
    }

    /// The plan that gives a planted fault a chance: where a second layer would hide it, that layer is off.
    pub(crate) fn hunting(seed: u64, bug: Bug) -> Self {
        let plain = Self { bug: Some(bug), crowded: false, tenants: false, ..Self::of(seed) };
        match bug {
            Bug::B67SlotKeptInBackoff
            | Bug::B68PausedStaysInLine
            | Bug::B70LineNotCalled
            | Bug::B72LineOfTheOldVersion => Self { crowded: true, ..plain },
            Bug::B85TenantsTakeNoTurns => Self { tenants: true, ..plain },
            Bug::B69DisplacedNotToldAgain => Self { crowded: true, sweep: false, ..plain },
            Bug::B2AckBeforeCommit
            | Bug::B3AckBeforeConfirmNoSweep
            | Bug::B10AckBeforeLease
            | Bug::B11AckBeforeResultConfirm
            | Bug::B25MultipleAckCoversUnconfirmed
            | Bug::B12LeasesNeverExpire
            | Bug::B36ParentNotToldAgain
            | Bug::B37EventsNotLookedFor
            | Bug::B44RestOfATurnForgotten
            | Bug::B54CloseNotRepeated
            | Bug::B57RestNotRepeated => Self { sweep: false, lease_all: seed.is_multiple_of(2), ..plain },
            Bug::B64CarriedPayloadsLeftBehind => Self { small: true, ..plain },
            Bug::B5NoSweep => Self { ..plain },
            Bug::B55ParentNotAsked => Self { faults: 15, ..plain },
            Bug::B45PayloadKeptAfterTheCommit
            | Bug::B46HalfADecisionKept
            | Bug::B56LaidAsideNotAtHand
            | Bug::B58ListInPartsNotAtHand => Self { small: true, batch: 12, ..plain },
            Bug::B7LeasedResultWithoutToken => Self { lease_all: true, ..plain },
            Bug::B1AppendWithoutSequence
            | Bug::B17CacheKeptAfterConflict
            | Bug::B27LostFenceDropsTheBatch => Self { affinity: false, ..plain },
            Bug::B78FollowerOfAnotherRunCounts => Self { fusion: true, faults: 15, ..plain },
            Bug::B80PermitNotAskedAgain => Self { sweep: false, faults: 15, ..plain },
            Bug::B79FollowerNeverSent => Self { fusion: true, sweep: false, ..plain },
            // What is never heard of is taken for lost in the end, and that is nobody's fault where workers die.
            Bug::B77OldNamesForgotten => Self { faults: 0, sweep: false, ..plain },
            _ => plain,
        }
    }
}

/// What a run did, so that a hollow one is noticed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) actions: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) ended: u64,
    pub(crate) kills: u64,
    pub(crate) cuts: u64,
    pub(crate) wipes: u64,
    pub(crate) unknown_commits: u64,
    pub(crate) lost_confirms: u64,
    pub(crate) duplicates: u64,
    pub(crate) superseded: u64,
    pub(crate) restarts: u64,
    pub(crate) late: u64,
    pub(crate) repeats: u64,
    pub(crate) drains: u64,
    pub(crate) checked: u64,
    /// Decisions that asked for stored values, and of those the ones that spoilt their state.
    pub(crate) loads: u64,
    pub(crate) spoilt: u64,
    pub(crate) payloads: u64,
    /// Batches that failed between their commit and what they mean for others.
    pub(crate) half_reached: u64,
    pub(crate) children: u64,
    pub(crate) answers: u64,
    pub(crate) received: u64,
    pub(crate) undone: u64,
    pub(crate) rounds: u64,
    pub(crate) pauses: u64,
    pub(crate) resumes: u64,
    /// Executions done again, what they kept, and what was refused.
    pub(crate) retries: u64,
    pub(crate) carried: u64,
    pub(crate) refused: u64,
    /// Turns that were decided again as a place was not to be had.
    pub(crate) without_a_place: u64,
    /// Places that a tenant was given while another waited.
    pub(crate) passed: u64,
    /// Results of components that a worker went on with by itself.
    pub(crate) followed: u64,
    /// Permits that let somebody through.
    pub(crate) permits: u64,
    /// Results that were used again.
    pub(crate) cached: u64,
    /// Executions moved to another version, and moves that were refused when they were decided.
    pub(crate) moved: u64,
    pub(crate) not_moved: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            actions,
            submitted,
            completed,
            ended,
            kills,
            cuts,
            wipes,
            unknown_commits,
            lost_confirms,
            duplicates,
            superseded,
            restarts,
            late,
            repeats,
            drains,
            checked,
            loads,
            spoilt,
            payloads,
            half_reached,
            children,
            answers,
            received,
            undone,
            rounds,
            pauses,
            resumes,
            retries,
            carried,
            refused,
            without_a_place,
            passed,
            followed,
            permits,
            cached,
            moved,
            not_moved,
        } = other;
        self.actions += actions;
        self.submitted += submitted;
        self.completed += completed;
        self.ended += ended;
        self.kills += kills;
        self.cuts += cuts;
        self.wipes += wipes;
        self.unknown_commits += unknown_commits;
        self.lost_confirms += lost_confirms;
        self.duplicates += duplicates;
        self.superseded += superseded;
        self.restarts += restarts;
        self.late += late;
        self.repeats += repeats;
        self.drains += drains;
        self.checked += checked;
        self.loads += loads;
        self.spoilt += spoilt;
        self.payloads += payloads;
        self.half_reached += half_reached;
        self.children += children;
        self.answers += answers;
        self.received += received;
        self.undone += undone;
        self.rounds += rounds;
        self.pauses += pauses;
        self.resumes += resumes;
        self.retries += retries;
        self.carried += carried;
        self.refused += refused;
        self.without_a_place += without_a_place;
        self.passed += passed;
        self.followed += followed;
        self.permits += permits;
        self.cached += cached;
        self.moved += moved;
        self.not_moved += not_moved;
    }
}

/// A broken promise.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) message: String,
}

/// Xorshift64*: small, fast, and the same everywhere (S. Vigna, *An experimental exploration of
/// Marsaglia's xorshift generators*, 2016).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring runs.
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((z ^ (z >> 31)) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        (self.below(100) as u32) < percent
    }

    pub(crate) fn uuid(&mut self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(
            ((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes(),
        )
        .into_uuid()
    }
}
