//! The configs of trigger types. Their doc comments are the manual.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

fn utc() -> String {
    "UTC".to_owned()
}

fn hundred() -> u32 {
    100
}

fn no_time() -> String {
    "0s".to_owned()
}

/// What becomes of fires that nobody was there to carry out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Catchup {
    /// They are skipped.
    None,
    /// The last of them is carried out.
    #[default]
    Last,
    /// All of them are carried out, one after another unless `overlap` is `allow`; at most `catchup_max`.
    All,
}

/// What happens to a fire while an execution of the same trigger is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits until the earlier ones have ended.
    Queue,
    /// The earlier ones are cancelled, and it starts.
    CancelRunning,
    /// It starts beside them.
    Allow,
}

/// Starts when somebody asks: a form, the command line, or the API.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Manual {
    /// The form's fields as a JSON Schema; by default it is made of the workflow's parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Map<String, Value>>,
    /// Whether people are asked once more before it starts.
    pub confirm: bool,
}

/// Starts by time. Either `cron` or `every` is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTrigger {
    /// Five fields (minute, hour, day of month, month, day of week), or six with seconds in front; or `@daily` and
    /// the like. Fixed local times fire once a day also when clocks are changed: after the gap if the time is left
    /// out, the first time if it comes twice. Intervals such as `*/15 * * * *` go on at their pace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// A pace of at least `1s`, counted from `starts` or from 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The IANA name of the zone that `cron` is read in.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What becomes of fires that nobody was there to carry out.
    #[serde(default)]
    pub catchup: Catchup,
    /// How many missed fires `catchup: all` carries out at most, the newest ones.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10_000))]
    pub catchup_max: u32,
    /// What happens to a fire while an execution of this trigger is open.
    #[serde(default)]
    pub overlap: Overlap,
    /// Each fire starts up to this much later, so that many schedules do not all start at once; at most `1d`.
    #[serde(default = "no_time")]
    pub jitter: String,
    /// The first instant at which it may fire, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// The last instant at which it may fire, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}

/// The HTTP method a webhook is called with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HookMethod {
    #[default]
    Post,
    Put,
    Patch,
}

/// How a call of a webhook proves where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of standardwebhooks.com.
    StandardWebhooks,
    /// The header `X-Hub-Signature-256`.
    Github,
    /// The header `Stripe-Signature`.
    Stripe,
    /// The headers `X-Slack-Request-Timestamp` and `X-Slack-Signature`.
    Slack,
    /// HMAC-SHA256 of the body, in hexadecimal or base64, in the header `X-Webhook-Signature` or the one named by
    /// `header`.
    Hmac,
    /// The secret itself, in the header `X-API-Key` or the one named by `header`, or as `Authorization: Bearer`.
    ApiKey,
}

/// When a call of a webhook is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Respond {
    /// As soon as the start is durable.
    #[default]
    Accepted,
    /// When the execution has ended, or after 30 seconds.
    Completed,
}

fn json_type() -> String {
    "application/json".to_owned()
}

fn a_mebibyte() -> String {
    "1MiB".to_owned()
}

fn sixty_a_minute() -> String {
    "60/min".to_owned()
}

/// Starts by an HTTP call to `/webhooks/ID`. The id is made by `apg trigger rotate` and shown once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTrigger {
    /// What stands behind the id in the address, for people; the id alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method it is called with.
    #[serde(default)]
    pub method: HookMethod,
    /// The content type of the body, without its parameters.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// How a call proves where it comes from.
    pub verify: Verify,
    /// The name of the secret. Without one the webhook cannot be activated and refuses every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The header that carries the signature or key, for `hmac` and `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// When a call is answered.
    #[serde(default)]
    pub respond: Respond,
    /// The largest body, such as `256KiB`; at most `1MiB`.
    #[serde(default = "a_mebibyte")]
    pub max_body: String,
    /// How many calls are taken: `60/min`, `5/s` or `1000/h`.
    #[serde(default = "sixty_a_minute")]
    pub rate_limit: String,
}

fn one() -> u32 {
    1
}

/// Starts on events that are published to `/api/v1/events`, and on the ends of executions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTrigger {
    /// The types it starts on, such as `order.created` or `order.*`; `*` stands for one part, at the end for all that
    /// follow. `execution.completed`, `execution.failed`, `execution.cancelled` and `execution.*` are the ends of
    /// executions; a pattern that does not begin so never means them.
    #[schemars(length(min = 1, max = 50))]
    pub types: Vec<String>,
    /// Only events of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A bare expression over `event` that is true or false. When it fails the event is parked with the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Starts one execution when no further event has come for so long, from 1s to 1d: `event` is the newest. While they keep
    /// coming it starts after ten times as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<String>,
    /// How long after the first event a batch starts that is not full, from 1s to 1d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_within: Option<String>,
    /// Events in one execution: `event.batch` lists them, oldest first; `event` is the newest, `event.count` how many they are.
    /// More than one needs `batch_within`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch_size: u32,
}

fn anything() -> String {
    "*".to_owned()
}

fn ten_seconds() -> String {
    "10s".to_owned()
}

fn two_seconds() -> String {
    "2s".to_owned()
}

/// What becomes of a file that has started an execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// It stays; it starts again only when it changes.
    #[default]
    Keep,
    /// It is moved into the folder `done` beside it.
    Move,
    /// It is deleted.
    Delete,
}

/// Starts on files that appear in a folder. Names that begin with a dot are passed over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileTrigger {
    /// The connector whose folder is looked at.
    pub connector: String,
    /// A folder inside the connector's; by default the connector's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Which files, by name: `*.csv`.
    #[serde(default = "anything")]
    pub pattern: String,
    /// How often it is looked; at least `1s`.
    #[serde(default = "ten_seconds")]
    pub poll: String,
    /// How long a file must not have changed, so that half-written ones wait.
    #[serde(default = "two_seconds")]
    pub stable_for: String,
    /// What becomes of a file that has started an execution.
    #[serde(default)]
    pub after: After,
    /// Files in one execution; more than one belongs to a later release.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch_size: u32,
}

fn twenty() -> u16 {
    20
}

/// How the bytes of a message are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// As JSON.
    #[default]
    Json,
    /// As text in UTF-8.
    Text,
    /// As they are; `event.body` is text in base64.
    Bytes,
}

/// What becomes of a message that cannot be read, or whose parameters do not fit the workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBad {
    /// It is kept with its bytes among the trigger's receipts, and acknowledged.
    #[default]
    Park,
    /// It is rejected: RabbitMQ moves it to the queue's dead-letter exchange, or drops it where there is none. Of a
    /// stream's entry nothing but a receipt with the reason is kept; the entry itself stays in the stream.
    Reject,
}

/// Starts on the messages of a RabbitMQ queue or a Redis stream. A message is acknowledged once its start is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueTrigger {
    /// The connector of the broker, of kind `rabbitmq` or `redis`.
    pub connector: String,
    /// The queue, which has to be there; or the key of the stream.
    pub queue: String,
    /// Messages that are taken and not yet acknowledged, at most.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub prefetch: u16,
    /// The consumer group of a stream, by default `apg`; made when it is not there, and then given the whole stream.
    /// Triggers of one group share its entries. A queue of RabbitMQ has no groups: its triggers share its messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub group: Option<String>,
    /// How the bytes of a message are read.
    #[serde(default)]
    pub decode: Decode,
    /// What becomes of a message that cannot be read, or whose parameters do not fit the workflow.
    #[serde(default)]
    pub on_bad: OnBad,
}
