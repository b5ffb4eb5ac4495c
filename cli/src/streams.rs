//! The brokers of connectors, each behind the adapter of its kind.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use components::environment::Connector;
use shared::port::sources::{Listen, Listener, SourceError, Streams};

use crate::settings::Settings;

/// The brokers that queue triggers may listen at.
pub(crate) struct Brokers {
    connectors: BTreeMap<String, Connector>,
    /// What the names of our own queues and keys begin with, wherever they are.
    namespace: String,
}

impl Brokers {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            connectors: settings.components.connectors.clone(),
            namespace: settings.amqp.namespace.as_str().into(),
        }
    }
}

impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokers").field("connectors", &self.connectors).finish_non_exhaustive()
    }
}

#[async_trait]
impl Streams for Brokers {
    async fn listen(&self, what: &Listen) -> Result<Box<dyn Listener>, SourceError> {
        match self.connectors.get(&what.connector) {
            Some(Connector::Rabbitmq { url }) => {
                let mut config = queue::amqp::Config::new(url);
                config.namespace.clone_from(&self.namespace);
                queue::amqp::listen(&config, what).await
            }
            Some(Connector::Redis { url }) => {
                let mut config = progress::streams::Config::new(url);
                config.namespace.clone_from(&self.namespace);
                progress::streams::listen(&config, what).await
            }
            Some(_) => Err(SourceError(format!(
                "the connector `{}` is no broker; queue triggers take one of kind `rabbitmq` or `redis`",
                what.connector
            ))),
            None => {
                let is_broker = |connector: &Connector| {
                    matches!(connector, Connector::Rabbitmq { .. } | Connector::Redis { .. })
                };
                let known: Vec<String> = self
                    .connectors
                    .iter()
                    .filter(|(_, connector)| is_broker(connector))
                    .map(|(name, _)| format!("`{name}`"))
                    .collect();
                let known = if known.is_empty() { "no brokers".to_owned() } else { known.join(", ") };
                Err(SourceError(format!(
                    "there is no connector `{}`; this coordinator has {known} (`components.connectors` of its settings)",
                    what.connector
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connector_that_is_no_broker_is_refused_by_name() {
        let brokers = Brokers {
            connectors: BTreeMap::from([
                ("files".to_owned(), Connector::Folder { root: ".".into() }),
                ("shop".to_owned(), Connector::Rabbitmq { url: "amqp://me:pw@127.0.0.1:1/%2f".into() }),
            ]),
            namespace: "ours".to_owned(),
        };
        let listen = async |connector: &str, queue: &str| {
            let what = Listen {
                connector: connector.to_owned(),
                queue: queue.to_owned(),
                group: None,
                consumer: "c".to_owned(),
                prefetch: 1,
            };
            brokers.listen(&what).await.err().expect("refused").to_string()
        };
        assert!(listen("files", "orders").await.contains("is no broker"));
        assert!(listen("nowhere", "orders").await.contains("this coordinator has `shop`"));
        // Refused before anything is connected to.
        assert!(listen("shop", "ours.inbox.0").await.contains("control queue"));
        let away = listen("shop", "orders").await;
        assert!(away.starts_with("the broker cannot be used") && !away.contains("pw"), "{away}");
        assert!(!format!("{brokers:?}").contains("pw"));
    }
}
