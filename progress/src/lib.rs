//! Shows live progress: in process, and Redis.
//!
//! Keeps nothing that matters: what is not delivered is dropped, and the store knows better.

pub mod in_process;
pub mod redis;
mod watchers;
