//! Decides: the pure engine, and the inbox, timers and sweeps around it.
//!
//! Nobody else decides what happens to an execution. This crate knows no adapter: it is given a store,
//! a queue and a progress display.

pub mod engine;
