//! What can go wrong, and what did.

use std::{
    fmt,
    time::{Duration, Instant},
};

use shared::time::Timestamp;

/// What goes wrong. A role is the verb of its processes: `worker`, `serve`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a process of this role; it is started again.
    Kill(&'static str),
    /// SIGSTOP of a process of this role for 1 to 15 s.
    Stop(&'static str),
    /// SIGTERM of a process of this role; it is started again.
    Terminate(&'static str),
    /// Every connection of one process to one service is cut off.
    Cut,
    /// Every connection of one process to one service goes silent for 5 to 10 s.
    Silence,
    /// Every queue is emptied.
    Purge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "kill {role}"),
            Self::Stop(role) => write!(f, "stop {role}"),
            Self::Terminate(role) => write!(f, "terminate {role}"),
            Self::Cut => f.write_str("cut connections"),
            Self::Silence => f.write_str("silence connections"),
            Self::Purge => f.write_str("purge queues"),
        }
    }
}

/// A fault that happened.
#[derive(Debug, Clone)]
pub struct Injected {
    /// Its kind, in words.
    pub fault: String,
    /// Whom it hit.
    pub target: String,
    pub at: Instant,
    /// The same by the clock on the wall, to be compared with journals.
    pub when: Timestamp,
    /// How long it lasted, until what was hit ran again.
    pub lasted: Duration,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}, {:.1} s", self.when, self.fault, self.target, self.lasted.as_secs_f64())
    }
}
