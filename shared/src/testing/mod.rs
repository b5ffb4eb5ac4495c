//! Conformance suites: one function a promise of an adapter port, run on every adapter.

#![expect(clippy::disallowed_methods, reason = "tests end their tasks with their runtime")]

pub mod people;
pub mod progress;
pub mod queue;
pub mod smtp;
pub mod store;
pub mod streams;
pub mod triggers;
pub mod versions;
