//! Shows live progress: in process, and Redis. Carries news between rooms of one document the same two ways. And listens
//! to streams of Redis, for triggers.
//!
//! Keeps nothing that matters: what is not delivered is dropped, and the store knows better.

mod channels;
pub mod in_process;
pub mod redis;
pub mod rooms;
pub mod streams;
mod watchers;
