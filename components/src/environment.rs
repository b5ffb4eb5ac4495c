//! What the operator configures for components: connectors, egress rules, and the clock.
//!
//! A worker makes one [`Environment`] and puts it in every [`Context`]; nothing here is a secret store.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::Error as _};
use shared::{
    component::{Context, Failure, FailureClass},
    port::mail::DynMailer,
    time::Clock,
};
use sqlx::{PgPool, SqlitePool};
use tokio::sync::OnceCell;

use crate::{egress, mail};

/// Settings of the components of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Named places outside that components refer to with `connector`.
    ///
    /// What is given here is added to the three that are always there, and replaces one of the same name:
    /// `files` (a folder `./data/files`), `data` (a SQLite file `./data/data.db`) and `examples` (the folder
    /// `examples/data`).
    #[serde(deserialize_with = "with_defaults")]
    pub connectors: BTreeMap<String, Connector>,
    /// Where components may connect to over HTTP.
    pub egress: egress::Config,
}

/// A named place outside.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Connector {
    /// A folder; components reach only what lies inside it.
    Folder {
        /// The folder's path. It is made when something is first written.
        root: PathBuf,
    },
    /// A SQLite database.
    Sqlite {
        /// The database file's path. It is made when it is first used.
        path: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres {
        /// The address, such as `postgres://user:password@host:5432/database`.
        url: String,
    },
    /// An HTTP service.
    Http {
        /// What relative URLs are joined to. Requests through the connector stay on this scheme, host and port.
        base_url: String,
        /// Headers of every request through the connector, such as its credentials.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// A mail server.
    Smtp(mail::Server),
    /// An address that takes messages, of Slack, Teams or a service of your own.
    Webhook {
        /// The address; it may hold a secret itself.
        url: String,
        /// What calls are signed with, in the headers of Standard Webhooks. The text itself is the key. Not signed without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<String>,
    },
    /// A RabbitMQ, whose queues start workflows.
    Rabbitmq {
        /// The address, such as `amqp://user:password@host:5672/vhost`, or `amqps://`.
        url: String,
    },
    /// A Redis (6.2 or later), whose streams start workflows.
    Redis {
        /// The address, such as `redis://:password@host:6379/0`, or `rediss://`.
        url: String,
    },
}

impl fmt::Debug for Connector {
    /// Without addresses and headers: they may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder { .. } => "Folder",
            Self::Sqlite { .. } => "Sqlite",
            Self::Postgres { .. } => "Postgres",
            Self::Http { .. } => "Http",
            Self::Smtp(_) => "Smtp",
            Self::Webhook { .. } => "Webhook",
            Self::Rabbitmq { .. } => "Rabbitmq",
            Self::Redis { .. } => "Redis",
        })
    }
}

fn defaults() -> BTreeMap<String, Connector> {
    BTreeMap::from([
        ("files".to_owned(), Connector::Folder { root: "./data/files".into() }),
        ("data".to_owned(), Connector::Sqlite { path: "./data/data.db".into() }),
        ("examples".to_owned(), Connector::Folder { root: "examples/data".into() }),
    ])
}

fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

/// Kinds of brokers that people know and this build has not.
const NOT_BUILT: [&str; 2] = ["kafka", "mqtt"];

fn with_defaults<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Connector>, D::Error> {
    let mut all = defaults();
    for (name, given) in BTreeMap::<String, serde_json::Value>::deserialize(deserializer)? {
        if let Some(kind) = NOT_BUILT.into_iter().find(|kind| given.get(kind).is_some()) {
            return Err(D::Error::custom(format!(
                "connector `{name}`: this build has no connectors of kind `{kind}`; the brokers it knows are \
                 `rabbitmq` and `redis`"
            )));
        }
        let connector = Connector::deserialize(given)
            .map_err(|error| D::Error::custom(format!("connector `{name}`: {error}")))?;
        all.insert(name, connector);
    }
    Ok(all)
}

impl Default for Config {
    fn default() -> Self {
        Self { connectors: defaults(), egress: egress::Config::default() }
    }
}

/// The environment could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    #[error(transparent)]
    Egress(#[from] egress::ClientError),
    /// A connector's settings make no sense.
    #[error("connector `{name}`: {message}")]
    Connector { name: String, message: String },
}

/// An opened database, kept for all tasks of the worker.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// For writing, and for making the file.
    pub(crate) sqlite: OnceCell<SqlitePool>,
    /// Opened by SQLite itself as read-only.
    pub(crate) sqlite_read_only: OnceCell<SqlitePool>,
    pub(crate) postgres: OnceCell<PgPool>,
}

/// A connector and what is open of it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) connector: Connector,
    pub(crate) pools: Pools,
}

/// What components of a worker may use of the outside.
#[derive(Debug)]
pub struct Environment {
    places: BTreeMap<String, Place>,
    egress: egress::Client,
    clock: Arc<dyn Clock>,
}

impl Environment {
    /// Makes the environment; opens nothing yet.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, EnvironmentError> {
        for (name, connector) in &config.connectors {
            let wrong =
                |message: &str| EnvironmentError::Connector { name: name.clone(), message: message.into() };
            match connector {
                Connector::Http { base_url, headers } => {
                    reqwest::Url::parse(base_url).map_err(|_| wrong("`base_url` is not a URL"))?;
                    for (header, value) in headers {
                        if header.parse::<reqwest::header::HeaderName>().is_err()
                            || value.parse::<reqwest::header::HeaderValue>().is_err()
                        {
                            return Err(wrong(&format!("`{header}` is not a header")));
                        }
                    }
                }
                Connector::Postgres { url } => {
                    url.parse::<sqlx::postgres::PgConnectOptions>()
                        .map_err(|_| wrong("`url` is not the address of a PostgreSQL database"))?;
                }
                Connector::Smtp(server) => server.check().map_err(wrong)?,
                Connector::Webhook { url, .. } => {
                    reqwest::Url::parse(url).map_err(|_| wrong("`url` is not a URL"))?;
                }
                Connector::Rabbitmq { url } if !has_scheme(url, &["amqp", "amqps"]) => {
                    return Err(wrong(
                        "`url` is not the address of a RabbitMQ: amqp://user:password@host:5672",
                    ));
                }
                Connector::Redis { url } if !has_scheme(url, &["redis", "rediss"]) => {
                    return Err(wrong("`url` is not the address of a Redis: redis://:password@host:6379/0"));
                }
                Connector::Folder { .. }
                | Connector::Sqlite { .. }
                | Connector::Rabbitmq { .. }
                | Connector::Redis { .. } => {}
            }
        }
        let places = config
            .connectors
            .iter()
            .map(|(name, connector)| {
                (name.clone(), Place { connector: connector.clone(), pools: Pools::default() })
            })
            .collect();
        Ok(Self { places, egress: egress::Client::new(&config.egress)?, clock })
    }

    /// The environment that the worker put into a context.
    pub fn of(context: &Context) -> Result<&Self, Failure> {
        context.environment.downcast_ref::<Self>().ok_or_else(|| {
            Failure::new(
                FailureClass::Internal,
                "this worker was started without an environment for components",
            )
        })
    }

    /// The HTTP client that keeps to the egress rules.
    pub fn egress(&self) -> &egress::Client {
        &self.egress
    }

    /// Where the present comes from.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Closes what is open. Components that still run fail with `unavailable`.
    pub async fn close(&self) {
        for place in self.places.values() {
            for pool in [place.pools.sqlite.get(), place.pools.sqlite_read_only.get()].into_iter().flatten() {
                pool.close().await;
            }
            if let Some(pool) = place.pools.postgres.get() {
                pool.close().await;
            }
        }
    }

    /// What sends mail through the connector of that name, which must be one of kind `smtp`.
    pub fn mailer(&self, name: &str) -> Result<DynMailer, Failure> {
        match &self.place(name)?.connector {
            Connector::Smtp(server) => Ok(Arc::new(mail::SmtpMailer::new(server)?)),
            _ => Err(Failure::new(
                FailureClass::InvalidConfig,
                format!("the connector `{name}` is not a mail server (kind `smtp`)"),
            )),
        }
    }

    /// The connector of that name.
    pub(crate) fn place(&self, name: &str) -> Result<&Place, Failure> {
        self.places.get(name).ok_or_else(|| {
            let known = self.places.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Failure::new(
                FailureClass::InvalidConfig,
                format!("there is no connector `{name}`; this worker has {known}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::time::SystemClock;

    use super::*;

    #[test]
    fn given_connectors_join_the_usual_ones() {
        let text = r#"{ "connectors": { "shop": { "http": { "base_url": "https://shop.example/" } },
                                        "data": { "sqlite": { "path": "other.db" } } } }"#;
        let config: Config = serde_json::from_str(text).expect("a config");
        assert_eq!(config.connectors.keys().collect::<Vec<_>>(), ["data", "examples", "files", "shop"]);
        assert_eq!(config.connectors["data"], Connector::Sqlite { path: "other.db".into() });
        assert!(Environment::new(&config, Arc::new(SystemClock)).is_ok());
    }

    #[test]
    fn unknown_settings_and_broken_connectors_are_refused() {
        for text in [
            r#"{ "conectors": {} }"#,
            r#"{ "connectors": { "a": { "folder": { "rot": "x" } } } }"#,
            r#"{ "egress": { "alow": [] } }"#,
        ] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
        let mut config = Config::default();
        config
            .connectors
            .insert("web".into(), Connector::Http { base_url: "nowhere".into(), headers: BTreeMap::new() });
        let error = Environment::new(&config, Arc::new(SystemClock)).expect_err("no URL");
        assert_eq!(error.to_string(), "connector `web`: `base_url` is not a URL");
    }

    #[test]
    fn a_connector_shows_no_credentials() {
        for (connector, shown) in [
            (Connector::Postgres { url: "postgres://me:pw@host/db".into() }, "Postgres"),
            (Connector::Rabbitmq { url: "amqp://me:pw@host/%2f".into() }, "Rabbitmq"),
            (Connector::Redis { url: "redis://:pw@host/0".into() }, "Redis"),
        ] {
            assert_eq!(format!("{connector:?}"), shown);
        }
    }

    #[test]
    fn a_broker_has_an_address_and_a_kind_that_is_built() {
        for (name, wrong) in
            [("rabbitmq", "redis://host/0"), ("redis", "amqp://host"), ("redis", "host:6379")]
        {
            let text = format!(r#"{{ "connectors": {{ "b": {{ "{name}": {{ "url": "{wrong}" }} }} }} }}"#);
            let config: Config = serde_json::from_str(&text).expect("a config");
            let error = Environment::new(&config, Arc::new(SystemClock)).expect_err("no address of it");
            assert!(
                error.to_string().starts_with("connector `b`: `url` is not the address of a R"),
                "{error}"
            );
        }
        let text = r#"{ "connectors": { "b": { "kafka": { "brokers": "host:9092" } } } }"#;
        let error = serde_json::from_str::<Config>(text).expect_err("no such kind");
        assert!(error.to_string().contains("no connectors of kind `kafka`"), "{error}");
    }
}
