//! Results of a component that are used again (`docs/decisions/0031`).

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::expression::Template;

/// How long a result is used again unless its author says otherwise.
pub(super) const TTL: Duration = Duration::from_hours(24);
/// The shortest and the longest time a result may be used again.
pub(super) const SHORTEST_TTL: Duration = Duration::from_secs(1);
pub(super) const LONGEST_TTL: Duration = Duration::from_hours(365 * 24);

/// What a component completes with is used again where its key is the same.
#[derive(Debug, PartialEq)]
pub struct Caching {
    /// Null is used by nobody. Absent when the resolved config is the key.
    pub key: Option<Template>,
    pub ttl: Duration,
    /// A hash of what the component is, so that a changed one never sees what another gave.
    identity: String,
}

impl Caching {
    /// `config` in its canonical form; `written` is the key as its author wrote it.
    pub(super) fn new(
        key: Option<Template>,
        ttl: Duration,
        kind: &str,
        config: &Value,
        written: Option<&Value>,
    ) -> Self {
        Self { key, ttl, identity: digest(&json!([kind, config, written]).to_string()) }
    }

    /// The hash that stands for a key of this component; `None` for null.
    pub fn hash(&self, key: &Value) -> Option<String> {
        (!key.is_null()).then(|| digest(&format!("{}{key}", self.identity)))
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_stands_for_what_the_component_is_and_for_its_key() {
        let of = |kind, config, written: Option<&Value>| Caching::new(None, TTL, kind, &config, written);
        let plain = of("a", json!({ "x": 1 }), None);
        assert_eq!(plain.hash(&json!("k")), of("a", json!({ "x": 1 }), None).hash(&json!("k")));
        for other in [
            of("b", json!({ "x": 1 }), None),
            of("a", json!({ "x": 2 }), None),
            of("a", json!({ "x": 1 }), Some(&json!("k"))),
        ] {
            assert_ne!(plain.hash(&json!("k")), other.hash(&json!("k")));
        }
        assert_ne!(plain.hash(&json!("1")), plain.hash(&json!(1)));
        assert_eq!(plain.hash(&Value::Null), None);
    }
}
