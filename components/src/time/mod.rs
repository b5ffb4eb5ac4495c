//! Waiting.

pub mod delay;
pub mod wait_for_event;
