//! The settings of the API role. The doc comments are what users read.

use std::{fmt, net::SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A value that is never shown: printed and written as dots.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Do not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••••")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("••••••")
    }
}

/// How the API is reached, and how much it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address and port to listen on.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that other machines can reach. Passwords and keys would be read on the way:
    /// switch this on only behind something that speaks TLS.
    pub allow_remote: bool,
    /// Host names this server answers for, beside `localhost` and loopback addresses. With `allow_remote`
    /// and an empty list it answers for every name.
    pub allowed_hosts: Vec<String>,
    /// Networks of proxies in front of this server, such as `10.0.0.0/8`, that are believed when they say in
    /// `X-Forwarded-For` for whom they ask. Failed sign-ins are counted for that address then.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// A key that programs show in `X-API-Key`, and that may do everything; at least 32 characters. `apg serve` makes one
    /// in the file `api.key` of the data folder when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The address under which people reach this server, such as `https://flows.example`: links in mails
    /// begin with it. Without one they begin with `http://` and `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// The largest body of a request, in bytes.
    pub body_limit_bytes: usize,
    /// The largest payload that a worker may store, in bytes.
    pub payload_limit_bytes: usize,
    /// How many executions may be open (accepted and not ended) at once; beyond it submissions are
    /// answered with 429.
    pub max_open_executions: u64,
    /// The secret that workers on other machines show to read and write payloads. Without one, the worker
    /// gateway is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_token: Option<Secret>,
    /// From the section `security`.
    #[serde(skip)]
    pub security: Security,
}

/// How people sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Hours after which somebody has to sign in again, whatever they do.
    #[schemars(range(min = 1, max = 720))]
    pub session_timeout_hours: u32,
    /// Minutes without a request after which somebody has to sign in again.
    #[schemars(range(min = 1, max = 43200))]
    pub session_idle_minutes: u32,
    /// How many wrong passwords for an account are let pass from one network. Then nobody is let in to it from there for 15
    /// minutes, and up to an hour when it goes on.
    #[schemars(range(min = 1, max = 100))]
    pub max_login_attempts: u32,
}

impl Default for Security {
    fn default() -> Self {
        Self { session_timeout_hours: 8, session_idle_minutes: 30, max_login_attempts: 5 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            allow_remote: false,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            key: None,
            public_url: None,
            body_limit_bytes: 1024 * 1024,
            payload_limit_bytes: 64 * 1024 * 1024,
            max_open_executions: 100_000,
            worker_token: None,
            security: Security::default(),
        }
    }
}

/// How people are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct People {
    /// The connector of kind `smtp` through which assignees of approvals with `links: true` get a mail with links
    /// that decide, where an assignee is a mail address. No mails are sent without it. Needs `api.public_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail_connector: Option<String>,
}

impl Config {
    /// What links begin with, without a slash at the end.
    pub fn base_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_begin_with_the_public_address() {
        let named = Config { public_url: Some("https://flows.example/".to_owned()), ..Config::default() };
        assert_eq!(named.base_url(), "https://flows.example");
        assert_eq!(Config::default().base_url(), "http://127.0.0.1:5000");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let config = Config { worker_token: Some(Secret::new("hunter2")), ..Config::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).expect("settings are text").contains("hunter2"));
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"lisen":"127.0.0.1:1"}"#).is_err());
        assert_eq!(serde_json::from_str::<Config>("{}").expect("defaults"), Config::default());
    }
}
