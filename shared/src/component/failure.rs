//! Why a task failed: the closed list of classes that retry policies, `catch` and metrics name.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The class of a failure. The retry policy decides by it; nobody matches on message text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// The attempt took longer than it may.
    Timeout,
    /// Refused, reset, DNS or TLS trouble.
    Connection,
    /// 429 and its kin; `Retry-After` is respected.
    RateLimited,
    /// An HTTP answer from 500 to 599.
    Http5xx,
    /// A temporary refusal of a peer that is not HTTP (deadlock, busy, SMTP 4xx).
    Unavailable,
    /// Another HTTP answer from 400 to 499.
    Http4xx,
    /// 404, or a missing file, key or table.
    NotFound,
    /// 409, 412, a unique key, a file that exists.
    Conflict,
    /// 401, 403, bad credentials, an expired token.
    Unauthorized,
    /// The `fail` component, or a rule the author wrote. `user.<id>` for own names.
    User(Option<Arc<str>>),
    /// The config is wrong after its expressions were resolved.
    InvalidConfig,
    /// Data of the wrong shape or value.
    InvalidInput,
    /// An expression failed or has the wrong type.
    InvalidExpression,
    /// A size, count, fuel, memory or depth limit.
    LimitExceeded,
    /// An address or host that the egress filter does not allow.
    EgressDenied,
    /// User code raised or returned nonsense.
    ScriptError,
    /// User code tried what it may not.
    SandboxViolation,
    /// An `at_most_once` attempt ended in the dark. Never retried.
    OutcomeUnknown,
    /// The scope ended. Never retried.
    Cancelled,
    /// Our fault, such as a caught panic.
    Internal,
}

impl FailureClass {
    /// Whether the default retry policy of a type that looks outside tries again.
    pub fn is_retried_by_default(&self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Connection
                | Self::RateLimited
                | Self::Http5xx
                | Self::Unavailable
                | Self::Internal
        )
    }

    /// Whether any policy may try again.
    pub fn may_be_retried(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown | Self::Cancelled)
    }

    /// Every fixed name, for schemas and suggestions. `user.<id>` is allowed beside them.
    pub const NAMES: &[&str] = &[
        "timeout",
        "connection",
        "rate_limited",
        "http_5xx",
        "unavailable",
        "http_4xx",
        "not_found",
        "conflict",
        "unauthorized",
        "user",
        "invalid_config",
        "invalid_input",
        "invalid_expression",
        "limit_exceeded",
        "egress_denied",
        "script_error",
        "sandbox_violation",
        "outcome_unknown",
        "cancelled",
        "internal",
    ];
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::RateLimited => "rate_limited",
            Self::Http5xx => "http_5xx",
            Self::Unavailable => "unavailable",
            Self::Http4xx => "http_4xx",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unauthorized => "unauthorized",
            Self::User(None) => "user",
            Self::User(Some(name)) => return write!(f, "user.{name}"),
            Self::InvalidConfig => "invalid_config",
            Self::InvalidInput => "invalid_input",
            Self::InvalidExpression => "invalid_expression",
            Self::LimitExceeded => "limit_exceeded",
            Self::EgressDenied => "egress_denied",
            Self::ScriptError => "script_error",
            Self::SandboxViolation => "sandbox_violation",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        })
    }
}

/// The text is not a failure class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a failure class")]
pub struct FailureClassError(String);

impl FromStr for FailureClass {
    type Err = FailureClassError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "timeout" => Self::Timeout,
            "connection" => Self::Connection,
            "rate_limited" => Self::RateLimited,
            "http_5xx" => Self::Http5xx,
            "unavailable" => Self::Unavailable,
            "http_4xx" => Self::Http4xx,
            "not_found" => Self::NotFound,
            "conflict" => Self::Conflict,
            "unauthorized" => Self::Unauthorized,
            "user" => Self::User(None),
            "invalid_config" => Self::InvalidConfig,
            "invalid_input" => Self::InvalidInput,
            "invalid_expression" => Self::InvalidExpression,
            "limit_exceeded" => Self::LimitExceeded,
            "egress_denied" => Self::EgressDenied,
            "script_error" => Self::ScriptError,
            "sandbox_violation" => Self::SandboxViolation,
            "outcome_unknown" => Self::OutcomeUnknown,
            "cancelled" => Self::Cancelled,
            "internal" => Self::Internal,
            other => match other.strip_prefix("user.") {
                Some(name)
                    if !name.is_empty()
                        && name.len() <= 64
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') =>
                {
                    Self::User(Some(Arc::from(name)))
                }
                _ => return Err(FailureClassError(other.chars().take(80).collect())),
            },
        })
    }
}

impl Serialize for FailureClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why an attempt failed, as it is journaled and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    /// A sentence that says what is wrong, where, and how to mend it. No secrets.
    pub message: String,
    /// Further facts for programs: row, column, status, offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// How long the other side asked us to wait before the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// What expressions see of it: `class`, `message`, `details`.
    pub fn to_value(&self) -> Value {
        let details = self.details.clone().unwrap_or(Value::Null);
        serde_json::json!({ "class": self.class, "message": self.message, "details": details })
    }

    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), details: None, retry_after: None }
    }

    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in FailureClass::NAMES {
            assert_eq!(name.parse::<FailureClass>().expect("a listed name").to_string(), *name);
        }
        assert_eq!("user.no_stock".parse::<FailureClass>().expect("own name").to_string(), "user.no_stock");
        for wrong in ["", "user.", "user.a b", "Timeout", "boom"] {
            assert!(wrong.parse::<FailureClass>().is_err(), "{wrong}");
        }
    }
}
