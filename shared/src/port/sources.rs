//! Where things come in from that start executions by themselves: folders that are looked at.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::Serialize;

use crate::{time::Timestamp, workflow::triggers::After};

/// A file as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenFile {
    /// Below the connector's root, with `/` between names.
    pub path: String,
    pub name: String,
    pub size: u64,
    pub modified: Timestamp,
}

/// What a look at a folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub files: Vec<SeenFile>,
    /// Paths of what cannot be read, each with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// Why a source cannot be used now, in words for people and without credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// The folders of connectors. Nothing outside of a connector's root is reached, whatever a link says.
#[async_trait]
pub trait Folders: Send + Sync + fmt::Debug {
    /// The files of a folder whose names fit; not those of the folders in it, and none whose name begins with a dot.
    async fn look(
        &self,
        connector: &str,
        folder: &str,
        pattern: &globset::GlobMatcher,
    ) -> Result<Seen, SourceError>;
    /// Whether a file that was seen can be read.
    async fn check(&self, connector: &str, file: &SeenFile) -> Result<(), SourceError>;
    /// Puts a file away. One that has changed since it was seen, or is gone, is left alone.
    async fn put_away(&self, connector: &str, file: &SeenFile, after: After) -> Result<(), SourceError>;
}

/// Folders behind a pointer.
pub type DynFolders = Arc<dyn Folders>;
