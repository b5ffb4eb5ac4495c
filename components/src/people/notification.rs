//! `type: notification`: tells people, by the channels they are reached on.

use std::collections::BTreeSet;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use shared::{
    component::{
        ConfigProblem, Context, Effect, Failure, FailureClass, Family, Notice, Outcome, Run, Severity,
    },
    ids::NotificationId,
    port::mail::Mail,
};

use crate::{
    Environment,
    describe::{Component, Work, cancelled, invalid_config, invalid_input, is_expression, problem},
    environment::Connector,
    integrations::http_request::{network_failure, retry_after, status_failure},
    mail,
};

/// More is cut.
const LONGEST_TEXT: usize = 64 * 1024;
const LONGEST_SUBJECT: usize = 1_000;
const MOST_RECIPIENTS: usize = 100;
/// Ends a text that was cut.
const CUT: &str = "\n[cut]";

/// A way to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The platform's own list of notifications.
    InApp,
    /// A mail to each recipient that is a mail address, through the connector `email` (kind `smtp`).
    Email,
    /// A message to Slack, through the connector `slack` (kind `webhook`).
    Slack,
    /// A message to Teams, through the connector `teams` (kind `webhook`).
    Teams,
    /// A POST of JSON, through the connector `webhook` (kind `webhook`).
    Webhook,
}

impl Channel {
    /// Its name, which is that of its connector too.
    const fn as_str(self) -> &'static str {
        match self {
            Self::InApp => "in_app",
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Webhook => "webhook",
        }
    }
}

/// What must have been told for the task to complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// Somebody, on one channel.
    #[default]
    Any,
    /// Everybody, on every channel.
    All,
    /// Nobody: it completes whatever happened.
    None,
}

fn usual_channels() -> Vec<Channel> {
    vec![Channel::InApp, Channel::Email]
}

/// Tells people something.
///
/// The output is `delivered`, how many were told, and `deliveries`: for each channel and recipient what happened
/// (`sent`, `failed` or `skipped`). Slack, Teams and webhooks get one message for all recipients. A second attempt
/// is the same notification in the platform's list, and a mail with the same `Message-ID`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Who is told: users, roles, groups and mail addresses; at most 100.
    #[schemars(length(min = 1, max = 100))]
    pub to: Vec<String>,
    /// What it is about, in one line.
    pub subject: String,
    /// What is said. Over 64 KiB it is cut, with a mark.
    pub text: String,
    /// The ways to the recipients.
    #[serde(default = "usual_channels")]
    #[schemars(length(min = 1))]
    pub channels: Vec<Channel>,
    /// How much it matters.
    #[serde(default)]
    pub severity: Severity,
    /// What must have been told for the task to complete.
    #[serde(default)]
    pub require: Require,
}

impl Component for Notification {
    const KIND: &'static str = "notification";
    const ALIASES: &'static [&'static str] = &["notify"];
    const FAMILY: Family = Family::People;
    const SUMMARY: &'static str = "Tells people, in the platform, by mail or in a chat.";

    fn example() -> Value {
        json!({
            "to": ["owner"],
            "subject": "Stock is low",
            "text": "Five are left of article 4711.",
            "channels": ["in_app"],
            "severity": "warning",
        })
    }

    fn effect(_: &Value) -> Effect {
        Effect::Effect
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let list = |name: &str| config.get(name).and_then(Value::as_array);
        if list("to").is_some_and(Vec::is_empty) {
            problems.push(problem(&["to"], "somebody must be told: the list is empty"));
        }
        for (index, to) in list("to").into_iter().flatten().enumerate() {
            if !is_expression(to)
                && let Some(Err(wrong)) = to.as_str().map(recipient)
            {
                problems.push(problem(&["to", &index.to_string()], wrong.message));
            }
        }
        for (index, channel) in list("channels").into_iter().flatten().enumerate() {
            if channel == "apg" {
                let index = index.to_string();
                let message =
                    "the channel `apg` is not there yet: it needs the platform's notification engine";
                problems.push(problem(&["channels", &index], message));
            }
        }
        if let Some(subject) = config.get("subject").filter(|subject| !is_expression(subject))
            && let Some(Err(wrong)) = subject.as_str().map(|text| mail::header_line("subject", text))
        {
            problems.push(problem(&["subject"], wrong.message));
        }
        problems
    }
}

/// A recipient: a mail address where it has an `@`, and a name otherwise.
fn recipient(to: &str) -> Result<Option<&str>, Failure> {
    let bare = to.strip_prefix("user:").unwrap_or(to);
    if to.trim().is_empty() || to.chars().count() > 200 || to.chars().any(char::is_control) {
        return Err(invalid_input(
            "a recipient has from 1 to 200 characters, none of them a control character",
        ));
    }
    if !bare.contains('@') {
        return Ok(None);
    }
    mail::address(bare).map(|_| Some(bare))
}

/// The text, or its beginning with a mark.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT - CUT.len()));
        text.push_str(CUT);
    }
    text
}

impl Work for Notification {
    fn build(mut self) -> Result<Box<dyn Run>, Failure> {
        if self.to.is_empty() || self.to.len() > MOST_RECIPIENTS {
            return Err(invalid_input(format!("`to` has from 1 to {MOST_RECIPIENTS} recipients")));
        }
        for (index, to) in self.to.iter().enumerate() {
            recipient(to)
                .map_err(|wrong| Failure { message: format!("to[{index}]: {}", wrong.message), ..wrong })?;
        }
        if self.channels.is_empty() {
            return Err(invalid_config("`channels` is empty: nobody would be told"));
        }
        mail::header_line("subject", &self.subject)?;
        if self.subject.len() > LONGEST_SUBJECT {
            return Err(invalid_input(format!("the subject has more than {LONGEST_SUBJECT} bytes")));
        }
        // Nobody is told twice.
        let mut seen = BTreeSet::new();
        self.to.retain(|to| seen.insert(to.clone()));
        let mut seen = BTreeSet::new();
        self.channels.retain(|channel| seen.insert(*channel));
        self.text = cut(self.text);
        Ok(Box::new(self))
    }
}

/// What became of one recipient on one channel.
struct Delivery {
    channel: Channel,
    /// Absent where one message is for all.
    to: Option<String>,
    outcome: Told,
}

enum Told {
    Sent,
    Failed(Failure),
    Skipped(&'static str),
}

impl Delivery {
    fn shown(&self) -> Value {
        let mut shown = json!({ "channel": self.channel.as_str() });
        if let Some(to) = &self.to {
            shown["to"] = to.clone().into();
        }
        match &self.outcome {
            Told::Sent => shown["status"] = "sent".into(),
            Told::Failed(failure) => {
                shown["status"] = "failed".into();
                shown["class"] = failure.class.to_string().into();
                shown["message"] = failure.message.clone().into();
            }
            Told::Skipped(why) => {
                shown["status"] = "skipped".into();
                shown["message"] = (*why).into();
            }
        }
        shown
    }
}

impl From<Result<(), Failure>> for Told {
    fn from(result: Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Self::Sent,
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// What Slack takes as text rather than as a mention or link.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Notification {
    async fn in_app(&self, context: &Context) -> Vec<Delivery> {
        let notices = self.to.iter().map(|to| Notice {
            id: NotificationId::derived(context.execution, &context.idempotency_key, to),
            to: to.clone(),
            subject: self.subject.clone(),
            text: self.text.clone(),
            severity: self.severity,
        });
        let told = context.notices.tell(context.tenant, context.execution, notices.collect()).await;
        let outcome = |to: &String| Delivery {
            channel: Channel::InApp,
            to: Some(to.clone()),
            outcome: told.clone().into(),
        };
        self.to.iter().map(outcome).collect()
    }

    async fn email(&self, context: &Context, environment: &Environment) -> Vec<Delivery> {
        let mailer = environment.mailer(Channel::Email.as_str());
        let mut deliveries = Vec::new();
        for to in &self.to {
            let outcome = match (recipient(to), &mailer) {
                (Ok(None), _) => Told::Skipped("not a mail address"),
                (Err(failure), _) => Told::Failed(failure),
                (_, Err(failure)) => Told::Failed(failure.clone()),
                (Ok(Some(address)), Ok(mailer)) => {
                    let id = NotificationId::derived(context.execution, &context.idempotency_key, to);
                    let mail = Mail {
                        id: id.as_uuid().to_string(),
                        to: address.to_owned(),
                        subject: self.subject.clone(),
                        text: self.text.clone(),
                    };
                    mailer.send(&mail).await.into()
                }
            };
            deliveries.push(Delivery { channel: Channel::Email, to: Some(to.clone()), outcome });
        }
        deliveries
    }

    fn body(&self, channel: Channel, context: &Context) -> Value {
        match channel {
            Channel::Slack => {
                json!({ "text": format!("*{}*\n{}", slack_text(&self.subject), slack_text(&self.text)) })
            }
            Channel::Teams => json!({
                "type": "message",
                "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "content": {
                        "type": "AdaptiveCard",
                        "version": "1.4",
                        "body": [
                            { "type": "TextBlock", "text": self.subject, "weight": "bolder", "wrap": true },
                            { "type": "TextBlock", "text": self.text, "wrap": true },
                        ],
                    },
                }],
            }),
            _ => json!({
                "to": self.to,
                "subject": self.subject,
                "text": self.text,
                "severity": self.severity,
                "execution_id": context.execution,
                "component": context.component,
            }),
        }
    }

    /// One message for all recipients, to the connector that is called as the channel is.
    async fn post(
        &self,
        channel: Channel,
        context: &Context,
        environment: &Environment,
    ) -> Result<(), Failure> {
        let name = channel.as_str();
        let Connector::Webhook { url, secret } = &environment.place(name)?.connector else {
            return Err(invalid_config(format!("the connector `{name}` is not of kind `webhook`")));
        };
        let url = Url::parse(url).map_err(|_| invalid_config("the connector's `url` is not a URL"))?;
        let denied = |why: &dyn std::fmt::Display| Failure::new(FailureClass::EgressDenied, why.to_string());
        let id = NotificationId::derived(context.execution, &context.idempotency_key, name);
        let body = self.body(channel, context).to_string();
        let mut request = environment
            .egress()
            .request(Method::POST, url.clone())
            .map_err(|why| denied(&why))?
            .header("content-type", "application/json")
            .header("idempotency-key", context.idempotency_key.clone());
        if let Some(secret) = secret {
            let (id, seconds) = (id.to_string(), environment.clock().now().as_micros() / 1_000_000);
            let mut mac =
                Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
            mac.update(format!("{id}.{seconds}.{body}").as_bytes());
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", seconds)
                .header("webhook-signature", format!("v1,{signature}"));
        }
        // Redirects are not followed: the message and its signature are for this address.
        let response = request.body(body).send().await.map_err(|error| network_failure(&error, &url))?;
        if response.status().is_success() {
            return Ok(());
        }
        let mut failure = status_failure(response.status(), &url);
        failure.retry_after = retry_after(response.headers(), environment.clock().now());
        Err(failure)
    }

    async fn tell(&self, context: &Context, environment: &Environment) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for channel in &self.channels {
            match channel {
                Channel::InApp => deliveries.extend(self.in_app(context).await),
                Channel::Email => deliveries.extend(self.email(context, environment).await),
                Channel::Slack | Channel::Teams | Channel::Webhook => {
                    let outcome = self.post(*channel, context, environment).await.into();
                    deliveries.push(Delivery { channel: *channel, to: None, outcome });
                }
            }
        }
        deliveries
    }

    fn conclude(&self, deliveries: &[Delivery]) -> Result<Outcome, Failure> {
        let sent = deliveries.iter().filter(|delivery| matches!(delivery.outcome, Told::Sent)).count();
        let is_enough = match self.require {
            Require::Any => sent > 0,
            Require::All => sent == deliveries.len(),
            Require::None => true,
        };
        let output = json!({
            "delivered": sent,
            "deliveries": deliveries.iter().map(Delivery::shown).collect::<Vec<_>>(),
        });
        if is_enough {
            return Ok(Outcome::of(output));
        }
        // Another attempt is worth it when anything that failed may pass.
        let failures = deliveries.iter().filter_map(|delivery| match &delivery.outcome {
            Told::Failed(failure) => Some(failure),
            _ => None,
        });
        let mut failures: Vec<&Failure> = failures.collect();
        failures.sort_by_key(|failure| !failure.class.is_retried_by_default());
        let why: Vec<String> = deliveries
            .iter()
            .filter_map(|delivery| {
                let what = match &delivery.outcome {
                    Told::Sent => return None,
                    Told::Failed(failure) => format!("{}: {}", failure.class, failure.message),
                    Told::Skipped(why) => format!("skipped: {why}"),
                };
                let to = delivery.to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
                Some(format!("{}{to} {what}", delivery.channel.as_str()))
            })
            .collect();
        let said = if sent == 0 { "nobody was told" } else { "not everybody was told" };
        let class = failures.first().map_or(FailureClass::InvalidInput, |failure| failure.class.clone());
        let mut failure = Failure::new(class, format!("{said}; {}", why.join("; ")));
        failure.retry_after = failures.iter().filter_map(|failure| failure.retry_after).max();
        failure.details = Some(output);
        Err(failure)
    }
}

#[async_trait]
impl Run for Notification {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let environment = Environment::of(context)?;
        let deliveries = tokio::select! {
            deliveries = self.tell(context, environment) => deliveries,
            () = context.cancel.cancelled() => return Err(cancelled("telling people")),
        };
        self.conclude(&deliveries)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use shared::testing::smtp::SmtpServer;

    use super::*;
    use crate::{
        mail::{Server, Tls},
        testing::{Notices, context, context_with, run_in},
    };

    fn smtp(server: &SmtpServer) -> Connector {
        Connector::Smtp(Server {
            host: server.address.ip().to_string(),
            port: Some(server.address.port()),
            tls: Tls::None,
            user: None,
            password: None,
            from: "Flows <flows@example.com>".into(),
        })
    }

    fn mailing(server: &SmtpServer) -> (Context, tempfile::TempDir) {
        context_with(&[], BTreeMap::from([("email".to_owned(), smtp(server))]))
    }

    fn config(to: &[&str], channels: &[&str], require: &str) -> Value {
        json!({ "to": to, "subject": "Stock „low“", "text": "Five.\n.\nOrder.", "channels": channels, "require": require })
    }

    #[tokio::test]
    async fn people_are_told_in_the_platform_once_over_attempts() {
        let (mut context, _folder) = context();
        let notices = Arc::new(Notices::default());
        context.notices = Arc::clone(&notices) as _;
        for attempt in 1..=3 {
            context.attempt = attempt;
            let outcome =
                run_in("notify", config(&["boss", "group:a", "boss"], &["in_app"], "all"), &context).await;
            assert_eq!(outcome.expect("told").output["delivered"], 2);
        }
        let kept = notices.0.lock().expect("notices");
        let to: BTreeSet<&str> = kept.values().map(|notice| notice.to.as_str()).collect();
        assert_eq!((kept.len(), to), (2, BTreeSet::from(["boss", "group:a"])));
    }

    #[tokio::test]
    async fn mails_go_to_addresses_with_the_same_id_over_attempts() {
        let server = SmtpServer::start();
        let (context, _folder) = mailing(&server);
        for _ in 0..2 {
            let outcome =
                run_in("notification", config(&["a@b.example", "boss"], &["email"], "any"), &context);
            let output = outcome.await.expect("told").output;
            assert_eq!(
                output["deliveries"][0],
                json!({ "channel": "email", "to": "a@b.example", "status": "sent" })
            );
            assert_eq!(output["deliveries"][1]["status"], "skipped");
        }
        let taken = server.taken();
        assert_eq!(taken.len(), 2);
        assert_eq!(
            (taken[0].from.as_str(), &taken[0].to[..]),
            ("flows@example.com", &["a@b.example".to_owned()][..])
        );
        assert_eq!(taken[0].body().trim_end(), "Five.\r\n.\r\nOrder.");
        assert!(taken[0].header("Message-ID").is_some());
        assert_eq!(taken[0].header("Message-ID"), taken[1].header("Message-ID"));
    }

    #[tokio::test]
    async fn refusals_of_a_mail_server_have_classes() {
        let server = SmtpServer::start();
        let (context, _folder) = mailing(&server);
        for (to, class) in
            [("later@b.example", FailureClass::Unavailable), ("never@b.example", FailureClass::InvalidInput)]
        {
            let failed = run_in("notification", config(&[to], &["email"], "any"), &context).await;
            let failed = failed.expect_err("refused");
            assert_eq!(failed.class, class, "{failed}");
            assert_eq!(failed.details.expect("details")["deliveries"][0]["class"], class.to_string());
        }
        let both = ["later@b.example", "fine@b.example", "never@b.example"];
        let outcome = run_in("notification", config(&both, &["email"], "any"), &context).await;
        assert_eq!(outcome.expect("one was told").output["delivered"], 1);
        let failed = run_in("notification", config(&both, &["email"], "all"), &context).await;
        assert_eq!(failed.expect_err("not all").class, FailureClass::Unavailable);
    }

    #[tokio::test]
    async fn without_any_channel_each_class_is_said() {
        let (context, _folder) = context();
        let failed =
            run_in("notification", config(&["a@b.example"], &["email", "slack"], "any"), &context).await;
        let failed = failed.expect_err("nobody was told");
        assert_eq!(failed.class, FailureClass::InvalidConfig);
        assert!(failed.message.contains("no connector `email`"), "{failed}");
        assert!(failed.message.contains("slack invalid_config"), "{failed}");
        let outcome = run_in("notification", config(&["a@b.example"], &["email"], "none"), &context).await;
        assert_eq!(outcome.expect("it matters to nobody").output["delivered"], 0);
        // The platform's own list is enough with the usual channels.
        let usual = json!({ "to": ["a@b.example"], "subject": "s", "text": "t" });
        assert_eq!(run_in("notification", usual, &context).await.expect("told").output["delivered"], 1);
    }

    #[tokio::test]
    async fn chats_and_webhooks_get_one_message_through_the_egress_rules() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen: Arc<Mutex<Vec<(axum::http::HeaderMap, String, String)>>> = Arc::default();
        let memory = Arc::clone(&seen);
        let answer = move |request: axum::extract::Request| async move {
            let (parts, body) = request.into_parts();
            let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body").to_vec();
            let path = parts.uri.path().to_owned();
            let status = if path == "/teams" { 503 } else { 200 };
            let text = String::from_utf8(bytes).expect("text");
            memory.lock().expect("memory").push((parts.headers, path, text));
            (axum::http::StatusCode::from_u16(status).expect("a status"), [("retry-after", "7")])
        };
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
        tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(answer)).await.expect("a server");
        });
        let connector = |path: &str, secret: Option<&str>| Connector::Webhook {
            url: format!("http://{address}{path}"),
            secret: secret.map(ToOwned::to_owned),
        };
        let more = || {
            BTreeMap::from([
                ("slack".to_owned(), connector("/slack", None)),
                ("teams".to_owned(), connector("/teams", None)),
                ("webhook".to_owned(), connector("/hook", Some("s"))),
            ])
        };
        let (context, _folder) = context_with(&[&address], more());
        let mut config = config(&["a", "b"], &["slack", "teams", "webhook"], "any");
        config["subject"] = "<!channel> & more".into();
        let output = run_in("notification", config.clone(), &context).await.expect("told").output;
        assert_eq!(output["delivered"], 2);
        assert_eq!(output["deliveries"][1]["class"], "http_5xx");
        let all = std::mem::take(&mut *seen.lock().expect("memory"));
        assert!(all[0].2.contains("*&lt;!channel&gt; &amp; more*"), "{}", all[0].2);
        assert!(all[1].2.contains("AdaptiveCard"));
        assert_eq!(serde_json::from_str::<Value>(&all[2].2).expect("JSON")["to"], json!(["a", "b"]));
        let header = |name: &str| all[2].0[name].to_str().expect("text").to_owned();
        assert_eq!(header("idempotency-key"), "key-of-the-task");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s").expect("a key");
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), all[2].2);
        mac.update(signed.as_bytes());
        assert_eq!(
            header("webhook-signature"),
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        );

        config["require"] = "all".into();
        let failed = run_in("notification", config.clone(), &context).await.expect_err("teams is down");
        assert_eq!(failed.retry_after, Some(std::time::Duration::from_secs(7)));
        assert_eq!(failed.class, FailureClass::Http5xx);

        let (context, _folder) = context_with(&[], more());
        let count = seen.lock().expect("memory").len();
        let failed = run_in("notification", config, &context).await.expect_err("denied");
        assert_eq!(failed.class, FailureClass::EgressDenied);
        assert_eq!(seen.lock().expect("memory").len(), count);
        assert!(!failed.message.contains("/hook"), "addresses may be secrets: {failed}");
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_refused_by_its_place() {
        let (context, _folder) = context();
        let refused = async |change: fn(&mut Value)| {
            let mut config = config(&["boss", "a@b.example"], &["in_app"], "any");
            change(&mut config);
            run_in("notification", config, &context).await.expect_err("refused")
        };
        let failed = refused(|config| config["to"][1] = "a@@b".into()).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
        assert!(failed.message.starts_with("to[1]: `a@@b`"), "{failed}");
        let failed = refused(|config| config["subject"] = "a\r\nBcc: x@y.example".into()).await;
        assert_eq!(failed.class, FailureClass::InvalidInput);
        assert!(refused(|config| config["to"] = json!([])).await.message.contains("1 to 100"));
        assert_eq!(refused(|config| config["channels"] = json!([])).await.class, FailureClass::InvalidConfig);
        let failed = refused(|config| config["group_within"] = "5m".into()).await;
        assert!(failed.message.contains("group_within"), "{failed}");
        assert_eq!(
            refused(|config| config["channels"] = json!(["apg"])).await.class,
            FailureClass::InvalidConfig
        );
        let config = json!({ "to": ["a@@b", "${{ parameters.who }}"], "subject": "a\nb", "text": "t", "channels": ["apg"] });
        let paths: Vec<String> =
            Notification::check(&config).into_iter().map(|problem| problem.path.join("/")).collect();
        assert_eq!(paths, ["to/0", "channels/0", "subject"]);
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark() {
        assert_eq!(cut("short".into()), "short");
        let whole = "x".repeat(LONGEST_TEXT);
        assert_eq!(cut(whole.clone()), whole);
        let long = cut("ä".repeat(LONGEST_TEXT));
        assert!(long.len() <= LONGEST_TEXT && long.len() > LONGEST_TEXT - 4 && long.ends_with(CUT));
    }
}
