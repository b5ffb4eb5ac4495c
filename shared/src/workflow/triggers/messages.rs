//! From a message of a broker to the event that triggers see.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Decode, QueueTrigger};
use crate::{port::sources::Incoming, time::Timestamp};

/// The largest body of a message that is read, in bytes.
pub const MAX_MESSAGE: usize = 1024 * 1024;

impl QueueTrigger {
    /// What the bytes of a body say.
    ///
    /// # Errors
    /// When there are more than [`MAX_MESSAGE`] of them, or they are not what `decode` says; in words for people.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, String> {
        if bytes.len() > MAX_MESSAGE {
            return Err(format!("the body has {} bytes; at most {MAX_MESSAGE} are read", bytes.len()));
        }
        match self.decode {
            Decode::Json => serde_json::from_slice(bytes)
                .map_err(|error| format!("the body is not JSON: {error}; see `decode` of the trigger")),
            Decode::Text => std::str::from_utf8(bytes).map(Value::from).map_err(|error| {
                format!("the body is not text in UTF-8: {error}; see `decode` of the trigger")
            }),
            Decode::Bytes => Ok(Value::from(STANDARD.encode(bytes))),
        }
    }

    /// The event that a message is.
    ///
    /// # Errors
    /// When its body cannot be read: the event without it, and the reason.
    pub fn event(&self, message: &Incoming, now: Timestamp) -> Result<Value, (Value, String)> {
        let body = match &message.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => self.read(&message.body),
        };
        let mut event = json!({
            "id": message.id,
            "type": "queue.message",
            "source": format!("connectors/{}/{}", self.connector, self.queue),
            "time": message.time.unwrap_or(now).to_string(),
            "body": null,
            "headers": message.headers,
        });
        match body {
            Ok(body) => {
                event["body"] = body;
                Ok(event)
            }
            Err(why) => Err((event, why)),
        }
    }
}
