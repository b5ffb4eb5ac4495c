//! Large payloads and notices through the API's worker gateway, for workers that hold no database login.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{StatusCode, Url};
use shared::{
    component::{Failure, FailureClass, Notice, NoticeAccess, PayloadAccess},
    ids::{ExecutionId, PayloadId, TenantId},
};

/// One payload, with its connection, may take this long.
const WITHIN: Duration = Duration::from_mins(1);

/// The gateway of an API process.
pub(crate) struct Gateway {
    client: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Gateway {
    /// Speaks to the API at `base`, showing `token`.
    pub(crate) fn new(base: &str, token: Option<String>) -> Result<Self> {
        let base = Url::parse(base).with_context(|| format!("worker.gateway_url: `{base}` is no address"))?;
        let client = reqwest::Client::builder().timeout(WITHIN).build()?;
        Ok(Self { client, base, token })
    }

    fn place(&self, execution: ExecutionId, payload: PayloadId) -> Result<Url, Failure> {
        self.base.join(&format!("/internal/payloads/{execution}/{payload}")).map_err(|error| {
            Failure::new(FailureClass::Internal, format!("the worker gateway has no such place: {error}"))
        })
    }

    fn token(&self) -> Result<&str, Failure> {
        self.token.as_deref().ok_or_else(|| {
            Failure::new(
                FailureClass::Unavailable,
                "this value has to go through the worker gateway (it is too large for a message, or a notification), \
                 and the worker may not use it: set the same `api.worker_token` for the API and its workers",
            )
        })
    }
}

#[async_trait::async_trait]
impl PayloadAccess for Gateway {
    async fn put(&self, execution: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure> {
        let id = PayloadId::generate();
        let request = self.client.put(self.place(execution, id)?).bearer_auth(self.token()?).body(bytes);
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        if answer.status().is_success() { Ok(id) } else { Err(refused(answer).await) }
    }

    async fn get(&self, execution: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure> {
        let request = self.client.get(self.place(execution, payload)?).bearer_auth(self.token()?);
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        Ok(answer.bytes().await.map_err(|error| unreachable(&error))?.to_vec())
    }
}

#[async_trait::async_trait]
impl NoticeAccess for Gateway {
    async fn tell(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        notices: Vec<Notice>,
    ) -> Result<(), Failure> {
        let place = self.base.join(&format!("/internal/notifications/{execution}"));
        let place = place.map_err(|error| {
            Failure::new(FailureClass::Internal, format!("the worker gateway has no such place: {error}"))
        })?;
        let request = self.client.put(place).bearer_auth(self.token()?);
        let request = request.header("x-tenant-id", tenant.to_string()).json(&notices);
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer).await) }
    }
}

fn unreachable(error: &reqwest::Error) -> Failure {
    Failure::new(FailureClass::Unavailable, format!("the worker gateway does not answer: {error}"))
}

/// A refusal that may pass is `unavailable`, so that the attempt is made again.
async fn refused(answer: reqwest::Response) -> Failure {
    let status = answer.status();
    let class = match status {
        StatusCode::NOT_FOUND => FailureClass::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureClass::Unauthorized,
        StatusCode::PAYLOAD_TOO_LARGE => FailureClass::LimitExceeded,
        _ => FailureClass::Unavailable,
    };
    let said: String = answer.text().await.unwrap_or_default().chars().take(300).collect();
    Failure::new(class, format!("the worker gateway answered {status}: {said}"))
}
