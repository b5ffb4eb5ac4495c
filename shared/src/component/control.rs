//! The configs of the components that the engine decides itself.
//!
//! They stand here, not in the crate `components`, because the engine reads them and the catalogue
//! shows them. Their doc comments are the manual.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::LogLevel;

/// Marks where an execution begins; its output is the checked parameters.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Start {
    /// Values for parameters that the caller left out and that have no default of their own.
    pub defaults: Map<String, Value>,
}

/// How a named exit ends its scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndOutcome {
    /// The scope completes.
    #[default]
    Completed,
    /// The scope fails with the class `user`.
    Failed,
}

/// Marks an exit and shapes the execution's output.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct End {
    /// What the execution gives back; by default a map of the outputs of what `end` needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Whether reaching this exit is a success.
    pub outcome: EndOutcome,
    /// What is said about a failed outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether everything that still runs is cancelled when this exit is reached.
    pub terminate: bool,
}

/// Passes a value on: a place holder and a joining point.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Noop {
    /// The output.
    pub value: Value,
}

fn info() -> LogLevel {
    LogLevel::Info
}

/// Writes a line in the execution's log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The line; beyond 16 KiB it is cut with a mark.
    pub message: String,
    /// How much the line matters.
    #[serde(default = "info")]
    pub level: LogLevel,
    /// Further facts, kept as structured data beside the line.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// Computes named values that later components read as its output.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVariables {
    /// Each name and its value. A value cannot refer to another one of the same map.
    pub values: Map<String, Value>,
}

/// Chooses between two ways.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// A bare expression, without `${{ }}`, that is true or false.
    pub condition: Value,
}

/// How many cases of a `switch` may fire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SwitchMatch {
    /// The first case that matches.
    #[default]
    First,
    /// Every case that matches.
    All,
}

/// Chooses between many ways; what matches no case leaves by `default`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The value that is compared with the cases. Without it every case is a bare expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Each port's name and what it stands for: a literal when `value` is given, otherwise a bare expression.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub cases: Map<String, Value>,
    /// Whether the first match or all of them fire.
    #[serde(default, rename = "match")]
    pub matching: SwitchMatch,
}

/// Opens branches that run side by side.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Parallel {
    /// The names of the branches; each becomes a port, and all of them fire.
    pub branches: Vec<String>,
}

/// Closes branches; what it waits for is said by the field `join` of the component.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Join {}

/// Waits durably: a timer in the store, with no worker held meanwhile.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delay {
    /// How long to wait, such as `90s` or `2h`; at most 365 days. Either this or `until`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The instant to wait for, in RFC 3339; one in the past completes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

fn user() -> String {
    "user".to_owned()
}

/// Ends its branch as failed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// What is wrong, for people.
    pub message: String,
    /// `user`, or `user.<id>` for a name of your own that retries and handlers can name.
    #[serde(default = "user")]
    pub class: String,
    /// Further facts for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}
