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

/// Opens branches that run side by side. With `components:` under it, it is a container instead: everything
/// inside runs as a scope of its own, and there are no branches.
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

/// What an item that fails does to its loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnItemError {
    /// The first failed round ends the loop; the others are cancelled.
    #[default]
    Stop,
    /// Every round runs; the output says how each of them ended.
    Collect,
}

/// How many failed rounds a loop bears: a number, or a share such as `5%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tolerance {
    /// This many.
    Count(u32),
    /// This share of all rounds, such as `5%`.
    Percent(String),
}

/// A named scope: its components run as a graph of their own. The output is a map of their outputs by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// What an unhandled failure in the body does to its siblings: `finish` lets them go on, `stop` cancels them.
    pub on_unhandled_failure: crate::workflow::OnUnhandledFailure,
}

fn ten() -> u32 {
    10
}

fn one() -> u32 {
    1
}

fn most_items() -> u32 {
    100_000
}

/// Runs its components once for each item of a list; inside, `item` and `index` are roots.
///
/// The output is a list of `{ index, status, output, error }` in the order of the items, where `output` maps each
/// component inside to what it gave. No items: the loop completes with an empty list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loop {
    /// The list to walk through, usually one expression such as `${{ components.fetch.output.lines }}`; or a row
    /// set, which may be far larger than memory.
    pub items: Value,
    /// How many rounds run at once, from 1 to 1000.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_parallel: u32,
    /// What a failed round does.
    #[serde(default)]
    pub on_item_error: OnItemError,
    /// Failed rounds that are borne: a number or a share such as `5%`. The first beyond it fails the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<Tolerance>,
    /// Items a round takes. Above 1, `item` is a list of them.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_size: u32,
    /// The most items that are accepted; more fail the loop before the first round.
    #[serde(default = "most_items")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_items: u32,
}

fn first() -> i64 {
    1
}

fn step() -> i64 {
    1
}

/// Runs its components once for each number of a range; inside, `item` is the number and `index` counts from 0.
///
/// The output is that of a `loop`. At most 100,000 rounds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForLoop {
    /// The first number.
    #[serde(default = "first")]
    pub from: i64,
    /// The last number, included when the steps meet it.
    pub to: i64,
    /// From one number to the next; negative to count down, never 0.
    #[serde(default = "step")]
    pub step: i64,
    /// How many rounds run at once, from 1 to 1000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_parallel: u32,
    /// What a failed round does.
    #[serde(default)]
    pub on_item_error: OnItemError,
}

fn hundred() -> u32 {
    100
}

fn no_time() -> String {
    "0s".to_owned()
}

/// Runs its components again and again while a condition holds; inside, `iteration` counts from 0 and
/// `previous` is the output of the round before.
///
/// The output has `iterations` (how many rounds there were), `last` (the output of the last one, by component)
/// and `rounds` (the last of them, each as in the output of a `loop`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhileLoop {
    /// A bare expression, without `${{ }}`, asked before each round.
    pub condition: Value,
    /// Rounds after which the loop fails with `limit_exceeded`, from 1 to 10000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_iterations: u32,
    /// How long to wait between two rounds.
    #[serde(default = "no_time")]
    pub pause: String,
    /// How many of the last rounds the output keeps.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_last: u32,
}

/// Starts all its components; the first that completes wins and the others are cancelled.
///
/// Each component inside is a port of the race, and that of the winner fires. There are at least two, and none
/// of them has `needs`. The output names the `winner` and holds what it gave under its id.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Race {}

/// Runs its components; when they fail, `catch:` runs with the root `error`, and `finally:` runs in any case.
///
/// It has at least one of `catch:` and `finally:`. The port `caught` fires, beside `success`, when a failure was caught.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TryCatch {
    /// The failure classes that `catch` takes; without it all but `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

/// What happens to a sub-workflow when the execution that started it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnParentClose {
    /// It is asked to end, with time to clean up.
    Cancel,
    /// It ends at once.
    Kill,
    /// It goes on.
    Leave,
}

/// Which version of a workflow to run: a number, `pinned` or `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum VersionChoice {
    /// This version.
    Number(u32),
    /// `pinned`: the newest when this workflow is saved, fixed then. `latest`: the newest at run time.
    Word(String),
}

impl Default for VersionChoice {
    fn default() -> Self {
        Self::Word("pinned".to_owned())
    }
}

fn yes() -> bool {
    true
}

/// Runs another workflow as an execution of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubWorkflow {
    /// The name or id of the workflow.
    pub workflow: String,
    /// Which version runs: a number, `pinned` (the newest when this workflow is saved) or `latest`.
    #[serde(default)]
    pub version: VersionChoice,
    /// What it is started with.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Whether this component waits for its end. When not, it completes as soon as the other is accepted.
    #[serde(default = "yes")]
    pub wait: bool,
    /// What becomes of it when this execution ends first. By default `cancel`, and `leave` without `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_parent_close: Option<OnParentClose>,
    /// A word shown with the other execution, to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_key: Option<String>,
}

/// How many of those asked must approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Quorum {
    /// This many.
    Count(u32),
    /// `any` (one) or `all` (every assignee).
    Word(String),
}

impl Default for Quorum {
    fn default() -> Self {
        Self::Word("any".to_owned())
    }
}

/// What an expiry means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// The port `expired` fires.
    #[default]
    Expire,
    /// As if approved.
    Approve,
    /// As if rejected.
    Reject,
}

/// Who is asked as well when nobody answered for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// How long after the beginning, such as `8h`.
    pub after: String,
    /// Users, groups or roles.
    pub to: Vec<String>,
}

/// Asks people for a decision and waits for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Users, groups or roles; `user:`, `group:` or `role:` in front says which.
    #[schemars(length(min = 1))]
    pub assignees: Vec<String>,
    /// What they are asked.
    #[serde(default)]
    pub message: String,
    /// A JSON Schema of what they fill in beside the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Value>,
    /// How many must approve: `any`, `all` or a number. One rejection rejects.
    #[serde(default)]
    pub quorum: Quorum,
    /// How long they have, such as `48h`. Without it they have for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What happens when the time is over.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// How often they are reminded, such as `1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<String>,
    /// Who is asked as well after a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
    /// Whether an assignee may hand it to somebody else.
    #[serde(default = "yes")]
    pub allow_delegate: bool,
    /// Whether the person who started the execution may decide.
    #[serde(default)]
    pub requester_may_decide: bool,
    /// Whether signed links that decide once may be made, for mails.
    #[serde(default)]
    pub links: bool,
}

/// How urgent a human task is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// After the others.
    Low,
    /// In turn.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// Asks people for work and its data and waits for them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HumanTask {
    /// Users, groups or roles; `user:`, `group:` or `role:` in front says which.
    #[schemars(length(min = 1))]
    pub assignees: Vec<String>,
    /// What it is called in the inbox; the component's title when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is to be done.
    #[serde(default)]
    pub instructions: String,
    /// A JSON Schema of what is handed in.
    pub form: Value,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Urgency,
    /// When it should be done, from its beginning, such as `2d`. Shown, without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// When it is given up, from its beginning: the port `expired` fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Whether somebody must claim it before handing it in.
    #[serde(default = "yes")]
    pub claim: bool,
    /// Who is asked as well after a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
    /// Whether an assignee may hand it to somebody else.
    #[serde(default = "yes")]
    pub allow_delegate: bool,
}

fn week() -> String {
    "7d".to_owned()
}

fn hour() -> String {
    "1h".to_owned()
}

/// Waits for an event or signal of a type, with a key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitForEvent {
    /// The type of the event, or the name of the signal.
    pub event: String,
    /// What tells the event meant for this execution from others: its correlation key.
    pub key: String,
    /// A bare expression over `event` that must be true as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How long to wait; then the component fails with the class `timeout`.
    #[serde(default = "week")]
    pub within: String,
    /// Events that came at most this long before the wait began count.
    #[serde(default = "hour")]
    pub early: String,
}

/// What happens when there is no permit now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateMode {
    /// It waits for its permit.
    #[default]
    Wait,
    /// It leaves by `refused` at once.
    Refuse,
}

/// Lets so many through a period, over all executions.
///
/// Everything that names the same key, in whichever workflow, shares its permits. A permit is given in the order of asking; whoever waits
/// for one holds no worker and no place. The output has `at`, the instant from which it was let through, or would have been.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// What is limited, such as `crm` or `mail-${{ parameters.customer }}`. When limits for one key differ, the lowest holds.
    pub key: String,
    /// How many are let through in one period.
    #[schemars(range(min = 1))]
    pub limit: u32,
    /// The period, such as `1s` or `1h`.
    pub per: String,
    /// How many may go at once after a quiet time; `limit` unless given. With 1 they are spread evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// What happens when there is no permit now.
    #[serde(default)]
    pub mode: RateMode,
    /// How long to wait for a permit. Would it take longer, the component fails at once with the class `timeout`.
    #[serde(default = "hour")]
    pub max_wait: String,
}
