//! Waiting.

pub mod delay;
