//! Conformance suites: one function a promise of an adapter port, run on every adapter.

pub mod progress;
pub mod queue;
pub mod store;
