//! Composition of roles and adapters: the settings, the verbs, and the wiring between them.
//!
//! It decides nothing about executions: roles do, with the ports they are given here.

pub mod settings;
