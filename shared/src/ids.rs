//! Typed ids. Two ids of different things cannot be swapped by mistake.
//!
//! Printed as `execution_0192f0c4-…`; parsed with or without the prefix. In MessagePack they are
//! 16 bytes.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted} id; expected `{prefix}_` and a UUID")]
pub struct IdError {
    text: String,
    wanted: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id; ids made later in one process sort later (UUIDv7, RFC 9562).
            #[expect(clippy::disallowed_methods, reason = "the one place where ids are made")]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The same 16 bytes under this type.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 16 bytes, for stores and messages.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bare = text.strip_prefix(concat!($prefix, "_")).unwrap_or(text);
                Uuid::try_parse(bare).map(Self).map_err(|_| IdError {
                    text: text.chars().take(80).collect(),
                    wanted: $wanted,
                    prefix: $prefix,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    Uuid::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// One run of one workflow version.
    ExecutionId, "execution", "an execution"
);
id!(
    /// A workflow over all its versions.
    WorkflowId, "workflow", "a workflow"
);
id!(
    /// One message of the inbox; the cause of a turn.
    MessageId, "message", "a message"
);
id!(
    /// One worker process, from its start to its end.
    WorkerId, "worker", "a worker"
);
id!(
    /// One coordinator process, from its start to its end.
    CoordinatorId, "coordinator", "a coordinator"
);
id!(
    /// Somebody who may sign in.
    UserId, "user", "a user"
);
id!(
    /// One sign-in, from its beginning to its end.
    SessionId, "session", "a session"
);
id!(
    /// Who owns rows; no tenant sees another's.
    TenantId, "tenant", "a tenant"
);
id!(
    /// What the API accepted for an execution that is under way (a cancel, a signal).
    RequestId, "request", "a request"
);
id!(
    /// Bytes kept in the payload store.
    PayloadId, "payload", "a payload"
);
id!(
    /// A message nobody could use, kept with its reason.
    DeadLetterId, "dead", "a dead letter"
);
id!(
    /// One question or piece of work that people are asked for.
    HumanTaskId, "human_task", "a human task"
);
id!(
    /// Something that somebody is told.
    NotificationId, "notification", "a notification"
);
id!(
    /// A trigger of a workflow, over all its versions.
    TriggerId, "trigger", "a trigger"
);
id!(
    /// What came in through a trigger.
    ReceiptId, "receipt", "a receipt"
);
id!(
    /// Fires of the past that are carried out.
    BackfillId, "backfill", "a backfill"
);
id!(
    /// What a lease or grant is fenced by: only its holder knows it.
    Token, "token", "a token"
);

impl TenantId {
    /// The one tenant there is until others are made.
    pub const DEFAULT: Self = Self(Uuid::from_u128(1));
}

impl TriggerId {
    /// The id of the trigger `name` of a workflow, the same in all its versions.
    pub fn of(workflow: WorkflowId, name: &str) -> Self {
        Self(Uuid::new_v5(workflow.as_uuid(), name.as_bytes()))
    }
}

impl MessageId {
    /// The id that the cause `name` of `execution` always has, so that a hint sent twice is one cause.
    pub fn derived(execution: ExecutionId, name: &str) -> Self {
        Self(Uuid::new_v5(execution.as_uuid(), name.as_bytes()))
    }
}

impl PayloadId {
    /// The id that the value `name` of `execution` always has, so that two who keep the same keep it once.
    pub fn derived(execution: ExecutionId, name: &str) -> Self {
        Self(Uuid::new_v5(execution.as_uuid(), name.as_bytes()))
    }
}

impl HumanTaskId {
    /// The id that a task of an execution always has; `task` is its key as text.
    pub fn derived(execution: ExecutionId, task: &str) -> Self {
        Self(Uuid::new_v5(execution.as_uuid(), format!("human_task/{task}").as_bytes()))
    }
}

impl NotificationId {
    /// The id that what a task tells a recipient always has; `key` is the task's idempotency key.
    pub fn derived(execution: ExecutionId, key: &str, recipient: &str) -> Self {
        // The length keeps two pairs with the same text apart.
        let name = format!("notification/{}/{key}/{recipient}", key.len());
        Self(Uuid::new_v5(execution.as_uuid(), name.as_bytes()))
    }
}

impl RequestId {
    /// The id that the request `name` to `execution` always has, so that a request sent twice is one.
    pub fn derived(execution: ExecutionId, name: &str) -> Self {
        Self(Uuid::new_v5(execution.as_uuid(), name.as_bytes()))
    }
}

impl ExecutionId {
    /// A new id, of the same [`Shard`] as those made just before by this process, sixteen at a time: what is
    /// submitted together is told to one coordinator in one message. Over time every shard has as many as any other.
    pub fn generate_in_runs() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let shard = MADE.fetch_add(1, Ordering::Relaxed) / RUN % u64::from(SHARDS);
        let id = Self::generate().0.as_u128();
        let shards = u128::from(SHARDS);
        // The random low bits alone make a shard, so nothing of the time or the version is touched.
        Self(Uuid::from_u128(id - id % shards + u128::from(shard)))
    }

    /// The id that the sub-workflow `name` of an execution, ordered at `at`, always has: a UUIDv7 (RFC 9562)
    /// whose random bits come from its parent, so that ordering it again starts nothing new.
    pub fn derived(parent: Self, name: &str, at: crate::time::Timestamp) -> Self {
        let hash = Uuid::new_v5(parent.as_uuid(), name.as_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&hash.as_bytes()[..10]);
        let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

/// The id of a component inside its workflow: `[a-z][a-z0-9_]{0,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComponentId(Arc<str>);

impl ComponentId {
    /// Takes the text as it is; [`crate::workflow`] checks its form when a document is read.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ComponentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ComponentId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Executions made one after another that have the same shard.
const RUN: u64 = 16;

/// How many inbox shards there are. Fixed: an execution keeps its shard for life.
pub const SHARDS: u16 = 16;

/// Which inbox an execution's messages go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of an execution: its id's low bits, which fill shards evenly.
    pub fn of(execution: ExecutionId) -> Self {
        Self((execution.as_uuid().as_u128() % u128::from(SHARDS)) as u16)
    }

    /// Every shard, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_made_one_after_another_share_shards_and_all_shards_fill_evenly() {
        // Other tests of the process make some in between.
        let ids: Vec<ExecutionId> =
            (0..4 * RUN * u64::from(SHARDS)).map(|_| ExecutionId::generate_in_runs()).collect();
        let changes = ids.windows(2).filter(|pair| Shard::of(pair[0]) != Shard::of(pair[1])).count();
        assert!(changes <= 4 * usize::from(SHARDS), "{changes}");
        for shard in Shard::all() {
            let of_shard = ids.iter().filter(|id| Shard::of(**id) == shard).count();
            assert!((3 * RUN..=5 * RUN).contains(&(of_shard as u64)), "{of_shard} of shard {shard}");
        }
        let distinct: std::collections::HashSet<&ExecutionId> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.as_uuid().get_version_num() == 7));
    }

    #[test]
    fn an_id_reads_back_from_its_text_with_and_without_prefix() {
        let id = ExecutionId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.as_uuid().to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).expect("an id is text");
        assert_eq!(serde_json::from_str::<ExecutionId>(&json).expect("text is an id"), id);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let workflow = WorkflowId::generate();
        assert!(workflow.to_string().parse::<ExecutionId>().is_err());
    }

    #[test]
    fn ids_travel_as_sixteen_bytes() {
        let id = ExecutionId::generate();
        let bytes = rmp_serde::to_vec_named(&id).expect("an id is bytes");
        assert_eq!(bytes.len(), 18);
        assert_eq!(rmp_serde::from_slice::<ExecutionId>(&bytes).expect("bytes are an id"), id);
    }
}
