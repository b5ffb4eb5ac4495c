//! The contract between a component type, the engine that orders its tasks and the worker that runs them.
//!
//! The catalogue itself lives in the crate `components`; everybody else receives it as data
//! ([`Catalogue`]), so that neither the API nor the coordinator compiles a single client.

mod catalogue;
pub mod control;
mod failure;
mod run;

pub use catalogue::{Catalogue, ConfigProblem, Descriptor, Effect, Family, Field, OwnPorts, Runs};
pub use failure::{Failure, FailureClass};
pub use run::{Context, Log, LogLevel, LogLine, Notice, NoticeAccess, Outcome, PayloadAccess, Run, Severity};
