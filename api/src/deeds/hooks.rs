//! Calls of webhooks: verified, made durable, answered.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use shared::{
    execution::Payload,
    ids::{ExecutionId, ReceiptId, TenantId, TriggerId},
    workflow::triggers::{Hook, HookMethod, Respond, Source},
};

use super::{
    Deeds,
    triggers::{Armed, Fired},
};
use crate::{
    problem::{Code, Problem},
    signatures,
};

/// How long a caller waits for the end of its execution.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Webhooks counted before the counts start anew.
const COUNTED: usize = 10_000;

/// How many calls each webhook has had lately, in this process.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<TriggerId, (Instant, u32)>>);

impl Limits {
    /// Counts a call; answers how long to wait when it is one too many.
    fn take(&self, id: TriggerId, (most, per): (u32, Duration)) -> Result<(), Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= COUNTED {
            counts.clear();
        }
        let (began, count) = counts.entry(id).or_insert_with(|| (Instant::now(), 0));
        if began.elapsed() >= per {
            (*began, *count) = (Instant::now(), 0);
        }
        if *count >= most {
            return Err(per.saturating_sub(began.elapsed()));
        }
        *count += 1;
        Ok(())
    }
}

/// A call of a webhook, its body not yet read.
pub(crate) struct Call<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// A webhook that takes the call, once its body is read.
pub(crate) struct Open {
    armed: Armed,
    secret: String,
    /// The largest body.
    pub(crate) max_body: usize,
}

/// Headers that say who calls, and are no data.
const PRIVATE: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "webhook-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "x-webhook-signature",
    "x-api-key",
];

fn method_name(method: HookMethod) -> &'static str {
    match method {
        HookMethod::Post => "POST",
        HookMethod::Put => "PUT",
        HookMethod::Patch => "PATCH",
    }
}

fn hook(armed: &Armed) -> Result<&Hook, Problem> {
    match &armed.trigger()?.source {
        Source::Webhook(hook) => Ok(hook),
        _ => Err(Problem::internal("an address of what is no webhook")),
    }
}

impl Deeds {
    /// Finds the webhook, and refuses what can be refused before the body is read.
    pub(crate) async fn hook_open(&self, call: &Call<'_>) -> Result<Open, Problem> {
        let unknown = || Problem::new(Code::NotFound, "There is no such webhook.");
        if call.id.len() != 32 || !call.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let hash: [u8; 32] = Sha256::digest(call.id.as_bytes()).into();
        let row = self.store.trigger_at(&hash).await?.ok_or_else(unknown)?;
        let armed = self.armed(row).await?;
        let hook = hook(&armed)?;
        let wanted = method_name(hook.config.method);
        if call.method != wanted {
            return Err(Problem::new(
                Code::MethodNotAllowed,
                format!("This webhook is called with {wanted}."),
            ));
        }
        if !armed.row.is_active() {
            return Err(Problem::new(Code::TriggerInactive, "This webhook is paused or disabled."));
        }
        let secret = hook.config.secret.as_deref().and_then(|name| self.secrets.secret(name));
        let Some(secret) = secret else {
            return Err(Problem::new(
                Code::TriggerInactive,
                "This webhook has no secret: it cannot be activated and refuses every call.",
            ));
        };
        let given =
            call.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(&hook.config.content_type) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                format!("This webhook takes `{}`.", hook.config.content_type),
            ));
        }
        let max_body = hook.max_body;
        if call
            .headers
            .get("content-length")
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
            .is_some_and(|length| length > max_body)
        {
            return Err(Problem::new(Code::BodyTooLarge, format!("At most {max_body} bytes are read.")));
        }
        self.limits.take(armed.row.id, hook.rate).map_err(|pause| {
            Problem::new(
                Code::RateLimited,
                format!("This webhook takes at most {} calls.", hook.config.rate_limit),
            )
            .with_retry_after(pause)
        })?;
        Ok(Open { armed, secret, max_body })
    }

    /// Verifies a call and starts what it asks for. What it says is data and nothing else.
    pub(crate) async fn hook_call(
        &self,
        open: Open,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Fired, Problem> {
        let Open { armed, secret, .. } = open;
        let hook = hook(&armed)?;
        let now = self.clock.now(&self.store).await?;
        let config = &hook.config;
        let delivery =
            signatures::verify(config.verify, &secret, config.header.as_deref(), headers, body, now)
                .map_err(|wrong| {
                    Problem::new(
                        Code::Unauthorized,
                        format!("The call is not signed as it must be: {wrong}."),
                    )
                })?;
        let is_json = config.content_type == "application/json" || config.content_type.ends_with("+json");
        let content: Value = if is_json {
            serde_json::from_slice(body).map_err(|error| {
                Problem::new(Code::MalformedJson, format!("The body is no JSON: {error}."))
            })?
        } else {
            Value::from(String::from_utf8_lossy(body).into_owned())
        };
        let own = config.header.as_deref().unwrap_or_default();
        let shown: Map<String, Value> = headers
            .iter()
            .filter(|(name, _)| !PRIVATE.contains(&name.as_str()) && !name.as_str().eq_ignore_ascii_case(own))
            .map(|(name, value)| {
                (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned()))
            })
            .collect();
        let event = json!({
            "id": delivery.unwrap_or_else(|| ReceiptId::generate().to_string()),
            "type": "webhook.called",
            "source": format!("triggers/{}", armed.row.name),
            "time": now.to_string(),
            "body": content,
            "headers": shown,
        });
        let fired = match self.start(&armed, &event, now).await? {
            Ok(fired) => fired,
            // Taken, kept and shown: the sender cannot mend a document.
            Err((parked, _)) => self.keep(&armed.row, parked).await?,
        };
        match (config.respond, fired.execution_id) {
            (Respond::Completed, Some(execution)) => self.waited(armed.row.tenant, execution, fired).await,
            _ => Ok(fired),
        }
    }

    async fn waited(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        mut fired: Fired,
    ) -> Result<Fired, Problem> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(row) = self.store.execution_get(tenant, execution).await? {
                fired.status = Some(row.status.as_str());
                if row.status.is_terminal() {
                    fired.output = match row.output {
                        Some(Payload::Inline(value)) => Some(value),
                        _ => None,
                    };
                    return Ok(fired);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(fired)
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::WorkflowId;

    use super::*;

    #[test]
    fn a_webhook_takes_so_many_calls_and_no_more() {
        let limits = Limits::default();
        let id = TriggerId::of(WorkflowId::generate(), "w");
        let rate = (2, Duration::from_hours(1));
        assert!(limits.take(id, rate).is_ok() && limits.take(id, rate).is_ok());
        assert!(limits.take(id, rate).is_err_and(|pause| pause > Duration::from_mins(59)));
        assert!(limits.take(TriggerId::of(WorkflowId::generate(), "w"), rate).is_ok());
        assert!(limits.take(id, (2, Duration::ZERO)).is_ok(), "another period begins");
    }
}
