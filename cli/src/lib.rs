//! Composition of roles and adapters: the settings, the verbs, and the wiring between them.
//!
//! It decides nothing about executions: roles do, with the ports they are given here.

mod cases;
mod client;
pub mod commands;
pub mod compose;
mod documents;
mod gateway;
mod history;
mod key;
mod logging;
mod meters;
mod output;
mod parameters;
pub mod settings;
mod streams;
mod submit;

/// How a verb ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// What was asked for was tried and failed.
    Failed = 1,
    /// What was given is wrong: a flag, a setting, a document, a parameter.
    Wrong = 2,
    /// Someone pressed Ctrl-C.
    Interrupted = 130,
}

/// Makes aws-lc-rs the one provider of TLS in this process; again is the same.
pub fn install_tls() {
    // Fails only when one is installed already, and then it is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
