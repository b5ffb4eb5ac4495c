//! The settings of a worker, as an operator writes them.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How this worker takes on work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The pool whose tasks this worker takes. Components name their pool; without one it is `default`.
    pub pool: String,
    /// What this worker offers beyond others of its pool, such as `gpu`; at most six. It takes the tasks that ask for some of
    /// them or for none; who asks for a tag that no worker of the pool has waits, and `why` says so.
    #[schemars(length(max = 6))]
    pub tags: Vec<String>,
    /// Tasks run at the same time. A task that waits for an answer holds a place, so a worker of calls
    /// to slow services may have many more places than cores; and with many places results travel together,
    /// which costs less a task. At most 65535.
    pub concurrency: NonZeroU32,
    /// Seconds after which a running task is handed over from its message to a lease, so that the
    /// broker does not take it for lost. More than 600 counts as 600: a third of the broker's limit.
    pub handover_after_seconds: NonZeroU32,
    /// Seconds between two renewals of the leases of long tasks; a third of the coordinators' lease.
    pub renewal_seconds: NonZeroU32,
    /// Seconds between two records of this worker (load, memory, running tasks) in the worker list.
    pub heartbeat_seconds: NonZeroU32,
    /// Seconds that running tasks are given to end when the worker is told to leave. What still runs
    /// then is stopped and tried again elsewhere, at no cost to its retry policy.
    pub drain_seconds: u32,
    /// The API through which a worker without a database login reads and writes values that are too large
    /// for a message. It shows `api.worker_token` there.
    pub gateway_url: String,
    /// The folder under which a task's scratch folder lies; by default the system's temporary folder.
    pub scratch: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        let seconds = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self {
            pool: "default".to_owned(),
            tags: Vec::new(),
            concurrency: seconds(128),
            handover_after_seconds: seconds(60),
            renewal_seconds: seconds(20),
            heartbeat_seconds: seconds(10),
            drain_seconds: 30,
            gateway_url: "http://127.0.0.1:5000".to_owned(),
            scratch: None,
        }
    }
}

impl Config {
    /// RabbitMQ closes a channel that holds a delivery for 30 minutes (its default since 3.8.17).
    const LONGEST_DELIVERY: Duration = Duration::from_mins(30);

    pub(crate) fn handover_after(&self) -> Duration {
        Duration::from_secs(self.handover_after_seconds.get().into()).min(Self::LONGEST_DELIVERY / 3)
    }

    pub(crate) fn places(&self) -> u16 {
        u16::try_from(self.concurrency.get()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults_and_an_unknown_field_is_refused() {
        assert_eq!(
            serde_json::from_str::<Config>("{}").expect("all fields have defaults"),
            Config::default()
        );
        assert!(serde_json::from_str::<Config>(r#"{"pol": "gpu"}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"concurrency": 0}"#).is_err());
    }

    #[test]
    fn a_delivery_is_never_held_for_more_than_a_third_of_the_brokers_limit() {
        let config = Config { handover_after_seconds: NonZeroU32::MAX, ..Config::default() };
        assert_eq!(config.handover_after(), Duration::from_mins(10));
    }
}
