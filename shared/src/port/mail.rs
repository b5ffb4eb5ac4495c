//! Sending mail.

use std::sync::Arc;

use async_trait::async_trait;

use crate::component::Failure;

/// A mail of plain text to one recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Names the mail over all attempts to send it; letters, digits, `-`, `_` and `.`.
    pub id: String,
    pub to: String,
    pub subject: String,
    pub text: String,
}

impl std::fmt::Debug for Mail {
    /// Without the text: it may hold links that decide.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A server that takes mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over. `invalid_input` when it will never be taken, such as one to a bad address.
    async fn send(&self, mail: &Mail) -> Result<(), Failure>;
}

/// A mailer behind a pointer.
pub type DynMailer = Arc<dyn Mailer>;
