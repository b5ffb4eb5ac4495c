//! Messages nobody could use: look at them, send them again, drop them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    ids::{DeadLetterId, ExecutionId, MessageId},
    port::store::{DeadLetter, DeadLetterFilter},
    time::Timestamp,
    wire::{self, InboxMessage, Task},
};
use utoipa::{IntoParams, ToSchema};

use super::{Deeds, page};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// Dead letters that one purge removes.
const MOST_PURGED: u32 = 10_000;

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
    /// The message read, when it can be; a list when several shared it. Not in lists.
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

/// Which dead letters.
#[derive(Debug, Clone, Default, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLetterQuery {
    /// Only those that came from this queue.
    pub queue: Option<String>,
    /// Only those whose reason contains this, whatever the case.
    pub reason: Option<String>,
    /// Only those of this execution.
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    pub execution_id: Option<ExecutionId>,
    /// Only those that were set aside before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before: Option<Timestamp>,
    /// At most this many: 1 to 500 in a list, 50 when left out; 1 to 10,000 in a purge, all of them when left out.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before; of no meaning in a purge.
    pub cursor: Option<String>,
}

impl DeadLetterQuery {
    fn filter(&self) -> DeadLetterFilter {
        DeadLetterFilter {
            queue: self.queue.clone(),
            reason: self.reason.clone(),
            execution: self.execution_id,
            before: self.before,
        }
    }
}

/// Which dead letters to remove.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeDeadLetters {
    /// The filters of their list, at least one: list them first to see what would go.
    pub query: DeadLetterQuery,
}

/// What was removed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Purged {
    /// How many.
    pub removed: u64,
    /// Whether there may be more: ask again.
    pub more: bool,
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

/// What a dead letter holds: one message, or several that shared one.
enum Content {
    Inbox(Vec<InboxMessage>),
    Tasks(Vec<Task>),
}

/// The two have no field in common that both must have, so neither is taken for the other.
fn read(bytes: &[u8]) -> Result<Content, wire::DecodeError> {
    match wire::decode(bytes) {
        Ok(messages) => Ok(Content::Inbox(messages)),
        Err(_) => wire::decode(bytes).map(Content::Tasks),
    }
}

/// One message as it is, several as a list.
fn as_value<T: Serialize>(messages: &[T]) -> Option<Value> {
    match messages {
        [one] => serde_json::to_value(one).ok(),
        several => serde_json::to_value(several).ok(),
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
        query: DeadLetterQuery,
    ) -> Result<DeadLetterList, Problem> {
        caller.must(Permission::AdminSystem)?;
        let page = page::<DeadLetterId>(query.cursor.clone(), query.limit)?;
        let found = self.store.dead_letter_list(query.filter(), page).await?;
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
            Ok(Content::Inbox(messages)) => as_value(&messages),
            Ok(Content::Tasks(tasks)) => as_value(&tasks),
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
            Content::Inbox(messages) => {
                self.queue.publish_inbox(messages).await?;
                "inbox"
            }
            Content::Tasks(tasks) => {
                self.queue.publish_tasks(tasks).await?;
                "task"
            }
        };
        self.store.dead_letter_remove(id).await?;
        Ok(Replayed { id, sent_as })
    }

    /// Removes the dead letters that a query finds, oldest first.
    pub(crate) async fn dead_letter_purge(
        &self,
        caller: &Caller,
        body: PurgeDeadLetters,
    ) -> Result<Purged, Problem> {
        caller.must(Permission::AdminSystem)?;
        let filter = body.query.filter();
        if filter == DeadLetterFilter::default() {
            let detail = "`query` finds everything there is; name at least one filter, such as `before`.";
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        let most = body.query.limit.unwrap_or(MOST_PURGED).clamp(1, MOST_PURGED);
        let removed = self.store.dead_letter_purge(filter, most).await?;
        Ok(Purged { removed, more: removed >= u64::from(most) })
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
        wire::{InboxBody, encode, join},
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
        let Ok(Content::Inbox(found)) = read(&bytes) else { panic!("no message of an inbox") };
        assert_eq!(found.as_slice(), std::slice::from_ref(&message));
        assert!(as_value(&found).is_some_and(|value| value.is_object()));
        let Ok(Content::Inbox(found)) = read(&join(vec![bytes.clone(), bytes])) else {
            panic!("no messages of an inbox")
        };
        assert_eq!(found, [message.clone(), message]);
        assert!(as_value(&found).is_some_and(|value| value.is_array()));
        assert!(read(b"\0\x01hello").is_err());
    }
}
