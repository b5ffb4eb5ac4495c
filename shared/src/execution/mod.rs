//! What happens to an execution: its events, the turns that hold them, and the state they fold to.
//!
//! [`Execution::replay`] is the only way to get an [`Execution`]: state is never stored, only
//! derived. What to do next is decided elsewhere (`coordinator::engine`).

pub mod again;
mod event;
mod first;
pub mod moving;
mod state;
pub mod trying;

pub use event::{
    Accepted, Answer, AnswerVerdict, Carry, Event, Items, Iteration, Mode, OriginSlot, Parent, Payload,
    PersonAsk, PersonKind, Plan, Received, RoundsPlan, SkipReason, StoredPayload, TaskKey, TaskKeyError,
    TimerKey, TimerKeyError, Trial, TriggerOrigin, Turn,
};
pub use first::{first_turn, start_hint};
pub use state::{
    AskedPermit, Cancel, Child, ComponentState, Container, Execution, Failing, Fence, GivenBack, Inner,
    Joined, Line, Outcome, Pause, Person, Phase, Place, ROOT, Record, ReplayError, Rounds, ScopeState, Slot,
    Undo, Wait,
};

use serde::{Deserialize, Serialize};

/// Where an execution stands. The last three are final.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not yet started.
    Pending,
    Running,
    Paused,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Paused, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether nothing can happen any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            format!("`{text}` is not a status; use pending, running, paused, completed, failed or cancelled")
        })
    }
}
