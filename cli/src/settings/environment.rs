//! The environment variables with names of their own, each declared once.
//!
//! Every setting has another one beside: `APG_<SECTION>__<KEY>`.

/// What an environment variable does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Gives this setting.
    Sets(&'static str),
    /// Has no effect here; the sentence says what to do instead.
    Nothing(&'static str),
}

/// An environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    pub name: &'static str,
    pub effect: Effect,
}

const fn sets(name: &'static str, key: &'static str) -> Variable {
    Variable { name, effect: Effect::Sets(key) }
}

const fn nothing(name: &'static str, instead: &'static str) -> Variable {
    Variable { name, effect: Effect::Nothing(instead) }
}

/// Every variable with a name of its own. When two give the same setting, the later line holds.
pub const VARIABLES: &[Variable] = &[
    sets("DATABASE_URL", "database.url"),
    sets("AMQP_URL", "amqp.url"),
    sets("REDIS_URL", "redis.url"),
    sets("MAX_CONCURRENT_EXECUTIONS", "engine.max_concurrent_executions"),
    sets("TASK_QUEUE_SIZE", "engine.task_queue_size"),
    sets("APG_API_KEY", "api.key"),
    sets("LOG_LEVEL", "logging.level"),
    sets("DEBUG", "app.debug"),
    sets("ENABLE_MONITORING", "monitoring.enabled"),
    nothing(
        "METRICS_RETENTION_DAYS",
        "metrics are kept by whatever scrapes `/metrics`; set the retention there",
    ),
];

/// Other names of settings.
pub(super) const ALIASES: &[(&str, &str)] =
    &[("engine.max_concurrent_workflows", "engine.max_concurrent_executions")];

/// Settings of earlier descriptions that nothing here reads: the key or section, and what to do instead.
pub(super) const RETIRED: &[(&str, &str)] = &[
    ("app.version", "the version is the one of the program (`apg --version`)"),
    ("redis.max_connections", "one connection carries everything"),
    ("engine.task_timeout_seconds", "give `timeout` in the component of the workflow"),
    ("engine.retry_attempts", "give `retry.max_attempts` in the component of the workflow"),
    ("engine.retry_delay_seconds", "give `retry.initial` in the component of the workflow"),
    ("monitoring.alert_thresholds", "write alerts where `/metrics` is scraped"),
    ("security.enable_rbac", "roles always count"),
    ("features", "every feature is always there"),
    ("integrations", "give connectors in the section `components`"),
];
