//! The adapter ports: what the roles need of a store, a queue and a progress display.
//!
//! A method does a whole deed or nothing. Each promise in a doc comment here is one test of the
//! conformance suites in [`crate::testing`].

pub mod accounts;
pub mod cache;
pub mod calls;
pub mod documents;
pub mod history;
pub mod line;
pub mod mail;
pub mod people;
pub mod progress;
pub mod queue;
pub mod rates;
pub mod rooms;
pub mod secrets;
pub mod slots;
pub mod sources;
pub mod store;
pub mod triggers;
pub mod versions;

/// The cause of an error, whatever library it comes from.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;
