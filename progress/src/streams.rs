//! Listening to a Redis stream, for triggers.
//!
//! It reads as one consumer of a group, so that what is out and not answered stays known to Redis as pending. It
//! changes nothing in the stream: entries stay until somebody trims it. Redis 6.2 or later.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use redis::{AsyncConnectionConfig, Client, Value as Reply, aio::MultiplexedConnection};
use serde_json::{Map, Value};
use shared::{
    port::sources::{Answer, Incoming, Listen, Listener, SourceError},
    time::Timestamp,
};
use tokio::time::Instant;

/// The group of a trigger that names none.
const GROUP: &str = "apg";
/// How long Redis may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one read waits for entries.
const BLOCK: Duration = Duration::from_secs(5);
/// An entry that is out for so long without a sign of life is another's to take.
const IDLE: Duration = Duration::from_mins(1);
/// How often it is looked for such entries.
const CLAIM_EVERY: Duration = Duration::from_secs(30);

/// How to reach Redis, and what is ours there.
#[derive(Clone)]
pub struct Config {
    /// `redis://:password@host:6379/0`, or `rediss://`.
    pub url: String,
    /// What our own keys begin with.
    pub namespace: String,
    /// After how long an entry that is out without a sign of life may be taken over.
    pub idle: Duration,
}

impl Config {
    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), namespace: "apg".into(), idle: IDLE }
    }
}

impl std::fmt::Debug for Config {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// Listens to a stream, and makes its group when it is not there.
///
/// # Errors
/// When the key is one of our own or holds no stream, or Redis cannot be used.
pub async fn listen(config: &Config, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
    if what.queue.starts_with(&format!("{}:", config.namespace)) {
        return Err(SourceError(format!(
            "`{}` is a key of the platform itself; name a stream of your own",
            what.queue
        )));
    }
    let wrong = |error| SourceError(format!("Redis cannot be used: {error}"));
    // Its text may repeat the URL, and so a password.
    let client = Client::open(config.url.as_str())
        .map_err(|_| SourceError(format!("the `url` of the connector `{}` is malformed", what.connector)))?;
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(BLOCK + ANSWER_TIMEOUT));
    let connection = client.get_multiplexed_async_connection_with_config(&settings).await.map_err(wrong)?;
    let group = what.group.clone().unwrap_or_else(|| GROUP.to_owned());
    let mut listener = StreamListener {
        connection,
        group,
        what: what.clone(),
        idle: config.idle,
        out: BTreeMap::new(),
        next_tag: 1,
        own: Some("0".to_owned()),
        claim_at: Instant::now(),
        claim_from: "0-0".to_owned(),
    };
    listener.join().await?;
    Ok(Box::new(listener))
}

struct StreamListener {
    connection: MultiplexedConnection,
    group: String,
    what: Listen,
    idle: Duration,
    /// The ids of entries that were given and not answered.
    out: BTreeMap<u64, String>,
    next_tag: u64,
    /// From where to read what was out under our name when we came; none when that is done.
    own: Option<String>,
    claim_at: Instant,
    claim_from: String,
}

/// An entry; without fields when it was deleted while it was out.
struct Entry {
    id: String,
    fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl StreamListener {
    async fn ask(&mut self, command: &redis::Cmd) -> Result<Reply, SourceError> {
        command
            .query_async(&mut self.connection)
            .await
            .map_err(|error| SourceError(format!("the stream `{}` cannot be read: {error}", self.what.queue)))
    }

    /// Makes the group. It begins with the stream: what is in it was sent to somebody.
    async fn join(&mut self) -> Result<(), SourceError> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&self.what.queue).arg(&self.group).arg("0").arg("MKSTREAM");
        match create.query_async::<Reply>(&mut self.connection).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            Err(error) => Err(SourceError(format!(
                "the group `{}` of the stream `{}` cannot be made: {error}",
                self.group, self.what.queue
            ))),
        }
    }

    /// Reads on as our consumer: from `>` what nobody was given, from an id what is out under our name behind it.
    async fn read(&mut self, from: &str, count: usize) -> Result<Vec<Entry>, SourceError> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group).arg(&self.what.consumer).arg("COUNT").arg(count);
        if from == ">" {
            read.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        read.arg("STREAMS").arg(&self.what.queue).arg(from);
        let reply = self.ask(&read).await?;
        // A list of streams with their entries: ours alone, or nothing.
        let Some(streams) = list(reply) else { return Ok(Vec::new()) };
        let ours = streams.into_iter().next().and_then(list).and_then(|pair| pair.into_iter().nth(1));
        entries(ours.unwrap_or_default())
    }

    /// Takes over what others were given, and have not answered for too long.
    async fn claim(&mut self, count: usize) -> Result<Vec<Entry>, SourceError> {
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(&self.what.queue).arg(&self.group).arg(&self.what.consumer);
        claim.arg(self.idle.as_millis() as u64).arg(&self.claim_from).arg("COUNT").arg(count);
        let mut parts = list(self.ask(&claim).await?).unwrap_or_default().into_iter();
        self.claim_from = parts.next().and_then(text).unwrap_or_else(|| "0-0".to_owned());
        if self.claim_from == "0-0" {
            self.claim_at = Instant::now() + self.idle.min(CLAIM_EVERY);
        }
        let mut found = entries(parts.next().unwrap_or_default())?;
        found.retain(|entry| !self.out.values().any(|out| *out == entry.id));
        Ok(found)
    }

    async fn acknowledge(&mut self, ids: &[String]) -> Result<(), SourceError> {
        let mut ack = redis::cmd("XACK");
        ack.arg(&self.what.queue).arg(&self.group).arg(ids);
        self.ask(&ack).await.map(drop)
    }

    async fn give(&mut self, found: Vec<Entry>, is_again: bool) -> Result<Vec<Incoming>, SourceError> {
        let mut given = Vec::with_capacity(found.len());
        let mut gone = Vec::new();
        for Entry { id, fields } in found {
            let Some(fields) = fields else {
                gone.push(id);
                continue;
            };
            let tag = self.next_tag;
            self.next_tag += 1;
            given.push(self.incoming(tag, &id, fields, is_again));
            self.out.insert(tag, id);
        }
        if !gone.is_empty() {
            tracing::warn!(
                count = gone.len(),
                "Entries of a stream were deleted before they were dealt with, and start nothing"
            );
            self.acknowledge(&gone).await?;
        }
        Ok(given)
    }

    fn incoming(&self, tag: u64, id: &str, fields: Vec<(Vec<u8>, Vec<u8>)>, is_again: bool) -> Incoming {
        let (body, mut headers, flaw) = split(fields);
        headers.insert("stream".to_owned(), Value::from(self.what.queue.as_str()));
        headers.insert("stream_id".to_owned(), Value::from(id));
        headers.insert("redelivered".to_owned(), Value::from(is_again));
        let sent = id.split('-').next().and_then(|part| part.parse::<i64>().ok());
        // Ids may be made up: only what is an instant is one.
        let sent = sent.filter(|millis| (0..=253_402_300_799_000).contains(millis));
        let time = sent.map(|millis| Timestamp::from_micros(millis * 1_000));
        Incoming { tag, id: Some(id.to_owned()), time, headers, body, flaw }
    }
}

/// The body of an entry, its headers, and why the body does not say what was sent.
///
/// The field `body` is the body and the others are headers. Without one, all fields are the body, as a JSON map of
/// texts.
fn split(fields: Vec<(Vec<u8>, Vec<u8>)>) -> (Vec<u8>, Map<String, Value>, Option<String>) {
    let has_body = fields.iter().any(|(name, _)| name == b"body");
    let (mut body, mut map, mut flaw) = (Vec::new(), Map::new(), None);
    for (name, value) in &fields {
        if has_body && name == b"body" {
            body.clone_from(value);
            continue;
        }
        let shown = String::from_utf8_lossy(name);
        if std::str::from_utf8(name).and(std::str::from_utf8(value)).is_err() {
            flaw = Some(format!("the field `{shown}` is not text in UTF-8; send bytes in the field `body`"));
        }
        map.insert(shown.into_owned(), Value::from(String::from_utf8_lossy(value)));
    }
    if has_body {
        // A header is shown as well as it can be; the body is whole.
        return (body, map, None);
    }
    if flaw.is_some() {
        for (name, value) in fields {
            body.extend([name, b"=".to_vec(), value, b"\n".to_vec()].concat());
        }
        return (body, Map::new(), flaw);
    }
    (Value::Object(map).to_string().into_bytes(), Map::new(), None)
}

fn list(reply: Reply) -> Option<Vec<Reply>> {
    match reply {
        Reply::Array(all) => Some(all),
        _ => None,
    }
}

fn bytes(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes),
        Reply::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn text(reply: Reply) -> Option<String> {
    bytes(reply).and_then(|bytes| String::from_utf8(bytes).ok())
}

/// Entries as Redis lists them: each an id, and its fields and values in turn.
fn entries(reply: Reply) -> Result<Vec<Entry>, SourceError> {
    let strange = || SourceError("Redis answered with something that is not a list of entries".to_owned());
    let all = match reply {
        Reply::Nil => return Ok(Vec::new()),
        other => list(other).ok_or_else(strange)?,
    };
    let mut found = Vec::with_capacity(all.len());
    for one in all {
        // Redis before 7 lists a deleted entry as nothing at all; it can only be left.
        if matches!(one, Reply::Nil) {
            continue;
        }
        let mut parts = list(one).ok_or_else(strange)?.into_iter();
        let id = parts.next().and_then(text).ok_or_else(strange)?;
        let fields = match parts.next() {
            None | Some(Reply::Nil) => None,
            Some(fields) => {
                let mut pairs = Vec::new();
                let mut flat = list(fields).ok_or_else(strange)?.into_iter();
                while let Some(name) = flat.next() {
                    let pair = bytes(name).zip(flat.next().and_then(bytes)).ok_or_else(strange)?;
                    pairs.push(pair);
                }
                Some(pairs)
            }
        };
        found.push(Entry { id, fields });
    }
    Ok(found)
}

#[async_trait]
impl Listener for StreamListener {
    async fn receive(&mut self, most: usize) -> Result<Vec<Incoming>, SourceError> {
        loop {
            let room = usize::from(self.what.prefetch).saturating_sub(self.out.len()).min(most);
            if room == 0 {
                // Nothing more comes before something is answered.
                std::future::pending::<()>().await;
            }
            if let Some(from) = self.own.take() {
                let found = self.read(&from, room).await?;
                self.own = found.last().map(|last| last.id.clone());
                let given = self.give(found, true).await?;
                if !given.is_empty() {
                    return Ok(given);
                }
                continue;
            }
            if self.claim_at <= Instant::now() {
                let found = self.claim(room).await?;
                let given = self.give(found, true).await?;
                if !given.is_empty() {
                    return Ok(given);
                }
                continue;
            }
            let found = self.read(">", room).await?;
            let given = self.give(found, false).await?;
            if !given.is_empty() {
                return Ok(given);
            }
        }
    }

    async fn answer(&mut self, answers: &[(u64, Answer)]) -> Result<(), SourceError> {
        let ids: Vec<String> = answers.iter().filter_map(|(tag, _)| self.out.remove(tag)).collect();
        if ids.is_empty() { Ok(()) } else { self.acknowledge(&ids).await }
    }

    async fn hold(&mut self) -> Result<(), SourceError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut claim = redis::cmd("XCLAIM");
        claim.arg(&self.what.queue).arg(&self.group).arg(&self.what.consumer).arg(0);
        for id in self.out.values() {
            claim.arg(id);
        }
        claim.arg("JUSTID");
        self.ask(&claim).await.map(drop)
    }

    async fn close(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn the_field_body_is_the_body_and_the_others_are_headers() {
        let (body, headers, flaw) = split(vec![field("body", b"\xff"), field("kind", b"order")]);
        assert_eq!((body.as_slice(), flaw), (b"\xff".as_slice(), None));
        assert_eq!(headers["kind"], "order");
    }

    #[test]
    fn without_a_body_the_fields_are_the_body() {
        let (body, headers, flaw) = split(vec![field("id", b"7"), field("name", b"Ann")]);
        assert_eq!((String::from_utf8_lossy(&body).as_ref(), flaw), (r#"{"id":"7","name":"Ann"}"#, None));
        assert!(headers.is_empty());
        let (body, _, flaw) = split(vec![field("id", b"\xff")]);
        assert_eq!(body, b"id=\xff\n");
        assert!(flaw.is_some_and(|flaw| flaw.contains("`id`")));
    }
}
