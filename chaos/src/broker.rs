//! RabbitMQ's management API, for what no client of the queues can do: emptying them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, Url};
use serde_json::Value;

/// A broker's management API.
#[derive(Debug, Clone)]
pub struct Management {
    http: reqwest::Client,
    base: Url,
    /// What the names of the queues begin with.
    namespace: String,
}

impl Management {
    /// `url` holds user and password; the queues are those of `namespace`, in every virtual host.
    pub fn new(url: &str, namespace: &str) -> Result<Self> {
        let base = Url::parse(url).context("the address of the management API cannot be read")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { http, base, namespace: namespace.to_owned() })
    }

    async fn ask(&self, method: Method, path: &[&str]) -> Result<Vec<u8>> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("the address of the management API has no path"))?
            .pop_if_empty()
            .extend(path);
        let (user, password) = (self.base.username(), self.base.password());
        // What is sent is in the header alone, and so is what an error shows.
        url.set_username("")
            .and_then(|()| url.set_password(None))
            .map_err(|()| anyhow::anyhow!("no user"))?;
        let answer = self
            .http
            .request(method, url.clone())
            .basic_auth(user, password)
            .send()
            .await
            .with_context(|| format!("no answer from {url}"))?;
        let status = answer.status();
        ensure!(status.is_success() || status.as_u16() == 404, "{url} was answered with {status}");
        Ok(answer.bytes().await.with_context(|| format!("half an answer from {url}"))?.to_vec())
    }

    async fn queues(&self) -> Result<Vec<Value>> {
        let bytes = self.ask(Method::GET, &["api", "queues"]).await?;
        serde_json::from_slice(&bytes).context("the list of queues is not JSON")
    }

    /// Whether it answers, and knows the user.
    ///
    /// # Errors
    /// When it does not, or refuses.
    pub async fn check(&self) -> Result<()> {
        self.queues().await.map(drop)
    }

    /// Empties every queue that is not exclusive; how many there were.
    ///
    /// # Errors
    /// When the management API does not answer, or refuses.
    pub async fn purge(&self) -> Result<usize> {
        let queues = self.queues().await?;
        let prefix = format!("{}.", self.namespace);
        let mut purged = 0;
        for queue in &queues {
            let of = |key: &str| queue.get(key).and_then(Value::as_str).unwrap_or_default();
            // Nobody but its owner may empty an exclusive queue, and it goes with its owner's connection.
            let is_exclusive = queue.get("exclusive").and_then(Value::as_bool).unwrap_or_default();
            if of("name").starts_with(&prefix) && !is_exclusive {
                // A queue that went meanwhile is empty too.
                self.ask(Method::DELETE, &["api", "queues", of("vhost"), of("name"), "contents"]).await?;
                purged += 1;
            }
        }
        Ok(purged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use axum::{
        Json, Router,
        extract::{Path, State},
        http::{HeaderMap, StatusCode},
        routing::{delete, get},
    };
    use serde_json::json;

    use crate::Beside;

    type Purged = Arc<Mutex<Vec<(String, String, bool)>>>;

    async fn purged(
        State(purged): State<Purged>,
        Path((vhost, name)): Path<(String, String)>,
        headers: HeaderMap,
    ) {
        let has_user = headers.get("authorization").is_some_and(|value| value == GUEST);
        purged.lock().expect("nobody panics with it").push((vhost, name, has_user));
    }

    const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

    #[tokio::test]
    async fn only_queues_of_its_namespace_are_emptied_and_who_is_not_known_is_told_at_once() {
        let list = json!([
            { "name": "apg-chaos.inbox.00", "vhost": "/" },
            { "name": "apg-chaos.worker.7", "vhost": "/", "exclusive": true },
            { "name": "apg.inbox.00", "vhost": "/" },
            { "name": "apg-chaos-2.inbox.00", "vhost": "/" },
        ]);
        let seen = Purged::default();
        let queues = async move |headers: HeaderMap| match headers.get("authorization") {
            Some(value) if value == GUEST => Ok(Json(list)),
            _ => Err(StatusCode::UNAUTHORIZED),
        };
        let router = Router::new()
            .route("/api/queues", get(queues))
            .route("/api/queues/{vhost}/{name}/contents", delete(purged))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let _server = Beside::run(async move {
            let _ = axum::serve(listener, router).await;
        });
        let as_user = |user: &str| {
            Management::new(&format!("http://{user}127.0.0.1:{port}"), "apg-chaos").expect("a URL")
        };
        let management = as_user("guest:guest@");
        management.check().await.expect("an answer");
        for unknown in ["", "guest:other@"] {
            let error = format!("{:#}", as_user(unknown).check().await.expect_err("nobody knows this user"));
            assert!(error.contains("/api/queues was answered with 401"), "{error}");
        }
        assert_eq!(management.purge().await.expect("an answer"), 1);
        let seen = seen.lock().expect("nobody panics with it").clone();
        assert_eq!(seen, [("/".to_owned(), "apg-chaos.inbox.00".to_owned(), true)]);

        let nobody = Management::new("http://guest:secret@127.0.0.1:1", "apg-chaos").expect("a URL");
        let error = format!("{:#}", nobody.purge().await.expect_err("nobody listens"));
        assert!(error.contains("http://127.0.0.1:1/api/queues") && !error.contains("secret"), "{error}");
    }
}
