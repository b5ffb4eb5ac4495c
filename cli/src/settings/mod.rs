//! The whole configuration: one documented type, read once and passed on as values.
//!
//! The doc comments here are what users read: the example file, the JSON Schema and the reference page
//! are generated from them. This module opens nothing; [`crate::compose`] does.

mod environment;
mod file;
mod keys;
mod load;
mod mistake;
mod render;

use std::{fmt, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    environment::{Effect, VARIABLES, Variable},
    keys::{Key, keys, schema},
    load::{Loaded, Sources, load},
    mistake::{Mistake, Mistakes, Origin},
    render::{example, print, reference, shown_tree},
};

/// Settings of APG Workflow Orchestration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The process as a whole.
    pub app: App,
    /// What is written to standard error.
    pub logging: Logging,
    /// Where everything durable lies.
    pub database: Database,
    /// What carries messages between processes. Not used when everything runs in one process.
    pub amqp: Amqp,
    /// What carries live progress, and what people draw together, between processes. Not used when everything runs in one process.
    pub redis: Redis,
    /// How the coordinator admits, paces and repairs.
    pub engine: coordinator::Config,
    /// How long executions can be looked at after their end.
    pub retention: coordinator::Retention,
    /// How the rules are checked while everything runs.
    pub audit: coordinator::Audit,
    /// How a worker takes on tasks.
    pub worker: worker::Config,
    /// What components may use of the outside.
    pub components: components::environment::Config,
    /// How the API is served.
    pub api: api::Config,
    /// How people sign in.
    pub security: api::Security,
    /// How people are asked.
    pub people: api::People,
    /// What is measured.
    pub monitoring: Monitoring,
}

/// The process as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct App {
    /// The name shown in the browser's title and in the API description.
    pub name: String,
    /// Writes debug lines to the log, whatever `logging.level` says.
    pub debug: bool,
    /// The folder of the SQLite database and of the files that workflows write. It is made when it is missing.
    pub data_folder: PathBuf,
    /// Seconds that a starting process waits for a database or broker that does not answer; 0 gives up at once.
    pub startup_seconds: u16,
}

impl Default for App {
    fn default() -> Self {
        Self {
            name: "APG Workflow Orchestration".to_owned(),
            debug: false,
            data_folder: "./data".into(),
            startup_seconds: 30,
        }
    }
}

/// What is written to standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// The least important lines that are written.
    pub level: Level,
    /// Lines for people, or one JSON object a line for programs.
    pub format: LogFormat,
    /// Finer rules, which replace `level`: `info,coordinator=debug` (the syntax of `RUST_LOG`).
    #[schemars(example = "info,coordinator=debug")]
    pub filter: Option<String>,
}

/// How important a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The word of `RUST_LOG`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// An address that may hold a password; printed without it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("x-redact" = "url"))]
pub struct SecretUrl(String);

impl SecretUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address with its password, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address with dots for its password, in the user part or in a query parameter that holds one.
pub fn redact_url(url: &str) -> String {
    let (head, query) = match url.split_once('?') {
        Some((head, query)) => (head, Some(query)),
        None => (url, None),
    };
    let head = match head.split_once("://") {
        Some((scheme, rest)) => {
            // The last `@` before the path ends the user part: a password may hold an unescaped one.
            let authority = rest
                .find('/')
                .map_or(rest, |end| if rest[..end].contains('@') { &rest[..end] } else { rest });
            match authority.rfind('@').map(|at| (at, authority[..at].split_once(':'))) {
                Some((at, Some((user, _)))) => format!("{scheme}://{user}:••••{}", &rest[at..]),
                _ => head.to_owned(),
            }
        }
        None => head.to_owned(),
    };
    match query {
        None => head,
        Some(query) => {
            let shown: Vec<String> = query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((name, _)) if is_secret_name(name) => format!("{name}=••••"),
                    _ => pair.to_owned(),
                })
                .collect();
            format!("{head}?{}", shown.join("&"))
        }
    }
}

/// Whether a key of this name holds something that must not be shown.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "credential", "private"]
        .iter()
        .any(|part| name.contains(part))
}

/// Where everything durable lies.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// The address of a PostgreSQL database, or `sqlite:` and a path. Without it, the SQLite file `apg.db` in
    /// `app.data_folder` is used, and everything runs in one process.
    #[schemars(example = "postgres://user:password@localhost:5432/workflow_orchestration")]
    pub url: Option<SecretUrl>,
    /// Connections to PostgreSQL that this process keeps.
    #[schemars(range(min = 1, max = 1000))]
    pub pool_size: u32,
    /// Further connections that may be opened when all of them are busy.
    #[schemars(range(max = 1000))]
    pub max_overflow: u32,
    /// Seconds to wait for a free connection before the store counts as unavailable.
    #[schemars(range(min = 1, max = 3600))]
    pub pool_timeout: u32,
    /// When SQLite waits for the disk. With `full`, what was accepted survives a power cut; with `normal`, only
    /// a crash of the process, and it is faster.
    pub sqlite_synchronous: Synchronous,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            pool_size: 20,
            max_overflow: 10,
            pool_timeout: 30,
            sqlite_synchronous: Synchronous::Full,
        }
    }
}

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    #[default]
    Full,
    Normal,
}

/// What carries messages between processes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Amqp {
    /// The address of RabbitMQ; `amqps://` for TLS.
    #[schemars(example = "amqp://user:password@localhost:5672/%2f")]
    pub url: Option<SecretUrl>,
    /// What every queue and exchange on the broker begins with.
    pub namespace: String,
    /// The kind of queue that is declared. `auto` takes quorum queues on clusters of three nodes or more.
    pub queue_type: QueueType,
    /// Nodes of the broker's cluster; the protocol does not tell.
    #[schemars(range(min = 1, max = 99))]
    pub cluster_nodes: u16,
    /// Seconds between heartbeats; a dead peer is noticed after about two of them.
    #[schemars(range(min = 1, max = 600))]
    pub heartbeat_seconds: u16,
    /// Pools of workers whose queues are declared at start, beside `worker.pool`.
    pub pools: Vec<String>,
}

impl Default for Amqp {
    fn default() -> Self {
        Self {
            url: None,
            namespace: "apg".to_owned(),
            queue_type: QueueType::Auto,
            cluster_nodes: 1,
            heartbeat_seconds: 10,
            pools: vec!["default".to_owned()],
        }
    }
}

/// Which kind of queue is declared on the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueType {
    #[default]
    Auto,
    Classic,
    Quorum,
}

/// What carries live progress, and what people draw together, between processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// The address of Redis; `rediss://` for TLS.
    #[schemars(example = "redis://localhost:6379/0")]
    pub url: Option<SecretUrl>,
}

/// What is measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Monitoring {
    /// Measures and serves `/metrics`.
    pub enabled: bool,
    /// Seconds between two looks at processor, memory and queues.
    #[schemars(range(min = 1, max = 3600))]
    pub metrics_interval_seconds: u32,
    /// Where `apg coordinator` and `apg worker` serve `/health` and `/metrics`; nowhere without it.
    #[schemars(with = "Option<String>", example = "127.0.0.1:9100")]
    pub listen: Option<SocketAddr>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { enabled: true, metrics_interval_seconds: 30, listen: None }
    }
}

/// Characters of the shortest key that is taken.
const SHORTEST_KEY: usize = 32;

impl Settings {
    /// What is wrong although each setting alone is right: the key and a sentence.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut scheme = |key: &'static str, url: Option<&SecretUrl>, allowed: &[&str]| {
            if let Some(url) = url
                && !allowed.iter().any(|scheme| url.expose().starts_with(scheme))
            {
                wrong.push((key, format!("the address must begin with {}", allowed.join(" or "))));
            }
        };
        scheme("database.url", self.database.url.as_ref(), &["postgres://", "postgresql://", "sqlite:"]);
        scheme("amqp.url", self.amqp.url.as_ref(), &["amqp://", "amqps://"]);
        scheme("redis.url", self.redis.url.as_ref(), &["redis://", "rediss://", "redis+unix://", "unix://"]);
        // A worker alone needs no database; whether another verb may do without is for that verb to say.
        if self.amqp.url.is_some() && self.database.url.is_some() && !self.uses_postgres() {
            wrong.push((
                "amqp.url",
                "a broker needs `database.url` with the address of a PostgreSQL database beside it"
                    .to_owned(),
            ));
        }
        if !self.api.listen.ip().is_loopback() && !self.api.allow_remote {
            wrong.push((
                "api.listen",
                format!(
                    "{} can be reached by other machines, and passwords and keys would be read on the way: listen on \
                     127.0.0.1, or set `api.allow_remote` behind something that speaks TLS",
                    self.api.listen
                ),
            ));
        }
        if let Some(key) = &self.api.key
            && key.reveal().chars().count() < SHORTEST_KEY
        {
            wrong.push((
                "api.key",
                format!("the key is shorter than {SHORTEST_KEY} characters, and could be guessed: `openssl rand -hex 32` makes one"),
            ));
        }
        wrong
    }

    /// Whether the truth lies in PostgreSQL.
    pub fn uses_postgres(&self) -> bool {
        self.database.url.as_ref().is_some_and(|url| url.expose().starts_with("postgres"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_dotted_wherever_they_stand() {
        for (url, shown) in [
            ("postgres://u:p@h/d", "postgres://u:••••@h/d"),
            ("postgres://u:p@ss@h:5432/d", "postgres://u:••••@h:5432/d"),
            ("postgres://u:p/q@h/d", "postgres://u:••••@h/d"),
            ("postgres://h/d?user=u&password=p", "postgres://h/d?user=u&password=••••"),
            ("redis://:p@h/0", "redis://:••••@h/0"),
            ("redis://h/0", "redis://h/0"),
            ("sqlite:./data/apg.db", "sqlite:./data/apg.db"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }
}
