//! Shows live progress: in process, and Redis. And listens to streams of Redis, for triggers.
//!
//! Keeps nothing that matters: what is not delivered is dropped, and the store knows better.

pub mod in_process;
pub mod redis;
pub mod streams;
mod watchers;
