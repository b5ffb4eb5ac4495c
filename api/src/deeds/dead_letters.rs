//! Messages nobody could use: look at them, send them again, drop them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;
use shared::{
    ids::{DeadLetterId, ExecutionId, MessageId},
    port::store::DeadLetter,
    time::Timestamp,
    wire::{self, InboxMessage, Task},
};
use utoipa::ToSchema;

use super::{Deeds, page};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// A message that was set aside.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: DeadLetterId,
    /// The queue it came from.
    pub queue: String,
    /// Why nobody could use it.
    pub reason: String,
    /// When it was set aside.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The execution it belongs to, when that is known.
    #[schema(value_type = Option<String>)]
    pub execution: Option<ExecutionId>,
    /// Its own id, when that is known.
    #[schema(value_type = Option<String>)]
    pub message: Option<MessageId>,
    /// What was said beside the bytes.
    pub headers: Value,
    /// The message read, when it can be. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// The bytes in base64. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            queue: letter.queue,
            reason: letter.reason,
            at: letter.at,
            execution: letter.execution,
            message: letter.message,
            headers: letter.headers,
            content: None,
            bytes: None,
        }
    }
}

/// Some dead letters, newest first.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    /// The dead letters of this page.
    pub items: Vec<DeadLetterView>,
    /// Where to go on; absent on the last page.
    pub next_cursor: Option<String>,
}

/// A dead letter that was sent again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// Its id; the dead letter is gone.
    #[schema(value_type = String)]
    pub id: DeadLetterId,
    /// What it was: `task` or `inbox`.
    #[schema(example = "inbox")]
    pub sent_as: &'static str,
}

/// What a dead letter holds.
enum Content {
    Inbox(Box<InboxMessage>),
    Task(Box<Task>),
}

/// The two have no field in common that both must have, so neither is taken for the other.
fn read(bytes: &[u8]) -> Result<Content, wire::DecodeError> {
    match wire::decode::<InboxMessage>(bytes) {
        Ok(message) => Ok(Content::Inbox(Box::new(message))),
        Err(_) => wire::decode::<Task>(bytes).map(|task| Content::Task(Box::new(task))),
    }
}

impl Deeds {
    async fn dead_letter(&self, caller: &Caller, id: DeadLetterId) -> Result<DeadLetter, Problem> {
        caller.must(Permission::AdminSystem)?;
        self.store.dead_letter_get(id).await?.ok_or_else(|| Problem::not_found(id))
    }

    pub(crate) async fn dead_letter_list(
        &self,
        caller: &Caller,
        after: Option<String>,
        limit: Option<u32>,
    ) -> Result<DeadLetterList, Problem> {
        caller.must(Permission::AdminSystem)?;
        let found = self.store.dead_letter_list(page::<DeadLetterId>(after, limit)?).await?;
        Ok(DeadLetterList {
            items: found.items.into_iter().map(DeadLetterView::from).collect(),
            next_cursor: found.next,
        })
    }

    pub(crate) async fn dead_letter_get(
        &self,
        caller: &Caller,
        id: DeadLetterId,
    ) -> Result<DeadLetterView, Problem> {
        let letter = self.dead_letter(caller, id).await?;
        let content = match read(&letter.bytes) {
            Ok(Content::Inbox(message)) => serde_json::to_value(message).ok(),
            Ok(Content::Task(task)) => serde_json::to_value(task).ok(),
            Err(_) => None,
        };
        let bytes = STANDARD.encode(&letter.bytes);
        Ok(DeadLetterView { content, bytes: Some(bytes), ..letter.into() })
    }

    /// Sends a dead letter again, then drops it. Twice is harmless: what counts is fenced elsewhere.
    pub(crate) async fn dead_letter_replay(
        &self,
        caller: &Caller,
        id: DeadLetterId,
    ) -> Result<Replayed, Problem> {
        let letter = self.dead_letter(caller, id).await?;
        let content = read(&letter.bytes).map_err(|error| {
            Problem::new(Code::DeadLetterUnreadable, format!("It was not sent: {error}."))
        })?;
        let sent_as = match content {
            Content::Inbox(message) => {
                self.queue.publish_inbox(vec![*message]).await?;
                "inbox"
            }
            Content::Task(task) => {
                self.queue.publish_tasks(vec![*task]).await?;
                "task"
            }
        };
        self.store.dead_letter_remove(id).await?;
        Ok(Replayed { id, sent_as })
    }

    pub(crate) async fn dead_letter_remove(&self, caller: &Caller, id: DeadLetterId) -> Result<(), Problem> {
        caller.must(Permission::AdminSystem)?;
        if self.store.dead_letter_remove(id).await? { Ok(()) } else { Err(Problem::not_found(id)) }
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        ids::Shard,
        wire::{InboxBody, encode},
    };

    use super::*;

    #[test]
    fn an_inbox_message_is_not_taken_for_a_task() {
        let execution = ExecutionId::generate();
        let message = InboxMessage {
            id: MessageId::generate(),
            shard: Shard::of(execution),
            body: InboxBody::Sweep { execution },
        };
        let bytes = encode(&message).expect("a message is bytes");
        assert!(matches!(read(&bytes), Ok(Content::Inbox(found)) if *found == message));
        assert!(read(b"\0\x01hello").is_err());
    }
}
