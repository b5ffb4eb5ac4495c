//! The workflow document: read, checked as a whole, hashed, and compiled into what the engine runs.
//!
//! The text is the document of record; [`Workflow`] is its parsed, checked, immutable snapshot.
//! Nothing here runs a component or looks outside.

mod cache;
mod canonical;
pub mod cases;
mod check;
mod compare;
mod containers;
mod editor;
mod format;
mod fusion;
mod graph;
mod limits;
mod model;
mod parameters;
mod pins;
mod problem;
mod references;
mod schema;
mod text;
pub mod triggers;

pub use cache::Caching;
pub use check::{MAX_COMPONENTS, Read, compile_snapshot, parse, read, read_value};
pub use compare::{Change, Difference, Subject, compare};
pub use containers::{MAX_NESTING, is_container};
pub use editor::json_schema;
pub use format::format;
pub use limits::{Concurrency, OnConflict, limit_key};
pub use model::{
    Component, Delivery, Join, Need, OnUnhandledFailure, Output, Parameter, ParameterType, Part, Placement,
    Priority, Scope, Scopes, Workflow,
};
pub use pins::{Call, pin};
pub(crate) use problem::nearest;
pub use problem::{Problem, Problems, Severity};
