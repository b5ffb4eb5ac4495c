//! How many may run at once under one key.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::expression::Template;

/// Characters of a key that are kept as they are; what is longer ends in a hash of the whole.
const KEPT: usize = 200;

/// At most `limit` at once hold the key that `key` gives: executions, those of one trigger, or tasks.
#[derive(Debug, PartialEq)]
pub struct Concurrency {
    /// What it gives as text is the key; nothing and the empty text are not limited.
    pub key: Template,
    pub limit: u32,
    pub on_conflict: OnConflict,
}

/// What becomes of one for which no place is free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It waits, by priority and then in the order of coming.
    #[default]
    Queue,
    /// It does not run: an execution ends as cancelled, a component is skipped.
    DropNew,
    /// It waits, and the oldest that are in its way are cancelled.
    CancelRunning,
    /// It waits, and the keys take turns: `limit` counts all of them together.
    Fair,
}

impl OnConflict {
    pub const fn is_queue(&self) -> bool {
        matches!(self, Self::Queue)
    }
}

/// The key that a value gives; `None` for what is not limited: null and the empty text.
pub fn limit_key(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // PostgreSQL keeps no NUL in a text.
    let text = text.replace('\0', "\u{fffd}");
    if text.chars().count() <= KEPT {
        return Some(text);
    }
    let mut key: String = text.chars().take(KEPT).collect();
    key.push('~');
    key.push_str(&hex::encode(&Sha256::digest(text.as_bytes())[..8]));
    Some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_texts_of_bounded_length_and_stay_apart() {
        assert_eq!(limit_key(&json!("a")).as_deref(), Some("a"));
        assert_eq!(limit_key(&json!(7)).as_deref(), Some("7"));
        assert_eq!(limit_key(&json!(["x"])).as_deref(), Some("[\"x\"]"));
        assert_eq!(limit_key(&json!(null)), None);
        assert_eq!(limit_key(&json!("")), None);
        assert_eq!(limit_key(&json!("a\0b")).as_deref(), Some("a\u{fffd}b"));
        let long = |end: &str| limit_key(&json!("ä".repeat(300) + end)).expect("it is a key");
        assert_ne!(long("1"), long("2"));
        assert_eq!(long("1").chars().count(), KEPT + 17);
    }
}
