//! Where secrets come from, by name.

use std::{fmt, sync::Arc};

/// Gives the value of a secret. What it gives is never logged, kept or sent on.
pub trait Secrets: Send + Sync + fmt::Debug {
    /// Absent when there is no such secret or it is empty.
    fn secret(&self, name: &str) -> Option<String>;
}

/// A source of secrets behind a pointer.
pub type DynSecrets = Arc<dyn Secrets>;

/// Secrets in the environment of the process: `NAME` is `APG_SECRET_NAME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentSecrets;

impl Secrets for EnvironmentSecrets {
    fn secret(&self, name: &str) -> Option<String> {
        std::env::var(format!("APG_SECRET_{name}")).ok().filter(|value| !value.is_empty())
    }
}
