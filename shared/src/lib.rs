//! The vocabulary of APG: ids, instants, the workflow model, what happens to an execution,
//! wire messages, and the adapter ports behind which stores, queues and progress stand.
//!
//! This crate does no I/O and names no other crate of ours.

pub mod component;
pub mod execution;
pub mod expression;
pub mod ids;
pub mod port;
pub mod retry;
pub mod schedule;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod wire;
pub mod workflow;
