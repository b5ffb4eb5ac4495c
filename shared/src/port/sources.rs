//! Where things come in from that start executions by themselves: folders that are looked at, and brokers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Map, Value};

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

/// What is to be listened to at a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub connector: String,
    /// The queue, or the stream.
    pub queue: String,
    /// The consumer group of a stream; a queue has none.
    pub group: Option<String>,
    /// Who listens. A stream gives what was out under this name, and not answered, to it again.
    pub consumer: String,
    /// Messages that are out and not answered, at most.
    pub prefetch: u16,
}

/// A message as a broker gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// What it is answered by; unique among those of its listener.
    pub tag: u64,
    /// What tells it apart from every other message of its queue, if something does.
    pub id: Option<String>,
    /// When it was sent, if it says so.
    pub time: Option<Timestamp>,
    /// What came with the body.
    pub headers: Map<String, Value>,
    pub body: Vec<u8>,
    /// Why the bytes of the body do not say what was sent.
    pub flaw: Option<String>,
}

/// What becomes of a message at its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is dealt with.
    Done,
    /// It is of no use: it goes to the broker's dead letters, if it keeps any, and does not come again.
    Rejected,
}

/// The brokers of connectors. Queues of the platform itself are refused.
#[async_trait]
pub trait Streams: Send + Sync + fmt::Debug {
    /// Begins to listen. What is lost later is not mended: listen again.
    async fn listen(&self, what: &Listen) -> Result<Box<dyn Listener>, SourceError>;
}

/// Gives the messages of one queue. A message that is not answered comes again, here or elsewhere.
#[async_trait]
pub trait Listener: Send {
    /// Waits for messages and gives those that are there, at most `most`. After an error it is of no further use.
    ///
    /// What a call that is given up was about to give counts as out: it comes again only to who listens anew.
    async fn receive(&mut self, most: usize) -> Result<Vec<Incoming>, SourceError>;
    /// Answers messages that it gave. Whether the broker heard of it is not known before it gives further ones.
    async fn answer(&mut self, answers: &[(u64, Answer)]) -> Result<(), SourceError>;
    /// Says that the messages which are out are still being dealt with.
    async fn hold(&mut self) -> Result<(), SourceError>;
    /// Ends it.
    async fn close(self: Box<Self>);
}

/// Brokers behind a pointer.
pub type DynStreams = Arc<dyn Streams>;
