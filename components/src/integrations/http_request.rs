//! `type: http_request`: one call to an HTTP service, through the egress client alone.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Method, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    component::{ConfigProblem, Context, Effect, Failure, FailureClass, Family, Outcome, Run},
    time::Timestamp,
};

use crate::{
    Environment,
    describe::{Component, Work, cancelled, invalid_config, invalid_input, is_expression, problem},
    egress,
    environment::Connector,
    file_value::FileValue,
};

/// An HTTP method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Reads.
    #[default]
    Get,
    /// Reads the headers only.
    Head,
    /// Sends; a second call may be seen.
    Post,
    /// Replaces.
    Put,
    /// Changes a part; a second call may be seen.
    Patch,
    /// Removes.
    Delete,
    /// Asks what is allowed.
    Options,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
            Self::Options => Method::OPTIONS,
        }
    }
}

/// How the body is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyAs {
    /// As JSON.
    #[default]
    Json,
    /// A map as form fields.
    Form,
    /// Text.
    Text,
    /// Text or the bytes of a file value, without a content type unless you set one.
    Raw,
}

/// How the answer's body is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parse {
    /// By its content type: JSON as JSON, other text as text, everything else as a file value.
    #[default]
    Auto,
    /// As JSON, whatever its content type.
    Json,
    /// As text.
    Text,
    /// Kept as a file value.
    File,
}

/// Who calls.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum Auth {
    /// Nobody in particular; with a connector, its own headers.
    #[default]
    None,
    /// A user name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password; use `${{ secrets.NAME }}`.
        password: String,
    },
    /// A token.
    Bearer {
        /// The token; use `${{ secrets.NAME }}`.
        token: String,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(•••)",
            Self::Bearer { .. } => "Bearer(•••)",
        })
    }
}

fn five() -> u8 {
    5
}

fn ten_mebibytes() -> u64 {
    10 * 1024 * 1024
}

/// Calls an HTTP service.
///
/// The output is `status`, `headers` (names in lower case), `body` and `duration_ms`. POST, PATCH, PUT and DELETE
/// carry an `Idempotency-Key` that stays the same over all attempts, unless you set one. Private, loopback and
/// metadata addresses are refused as `egress_denied`, after redirects too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// The connector of an HTTP service: gives the base of relative URLs, and headers such as credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// The method.
    #[serde(default)]
    pub method: Verb,
    /// Where to: a URL with http or https, or a path when there is a connector.
    pub url: String,
    /// Query parameters, added to those of the URL. A list gives the parameter several times, null leaves it out.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub query: Map<String, Value>,
    /// Request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What is sent: any value, or a file value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// How the body is sent.
    #[serde(default)]
    pub body_as: BodyAs,
    /// Who calls.
    #[serde(default)]
    pub auth: Auth,
    /// The statuses that count as success; 200 to 299 without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 100, max = 599)))]
    pub accept_status: Vec<u16>,
    /// How the answer's body is read.
    #[serde(default)]
    pub parse: Parse,
    /// How many redirects are followed.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 10))]
    pub max_redirects: u8,
    /// The most bytes of an answer that are read, after decompression; at most 10485760 (10 MiB).
    #[serde(default = "ten_mebibytes")]
    #[schemars(range(min = 1, max = 10_485_760))]
    pub max_response: u64,
}

/// Headers that the client itself sets.
const OWN_HEADERS: [HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

/// Headers of the author that another host may see after a redirect; any other may be a credential.
const INNOCENT_HEADERS: [&str; 6] =
    ["accept", "accept-language", "content-type", "idempotency-key", "prefer", "user-agent"];

fn denied(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureClass::EgressDenied, why.to_string())
}

pub(crate) fn network_failure(error: &reqwest::Error, url: &Url) -> Failure {
    if let Some(why) = egress::denial(error) {
        return denied(why);
    }
    let host = url.host_str().unwrap_or_default();
    let cause = std::iter::successors(std::error::Error::source(error), |error| error.source())
        .last()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    if error.is_timeout() {
        return Failure::new(FailureClass::Timeout, format!("`{host}` did not answer in time{cause}"));
    }
    if error.is_builder() {
        return invalid_config(format!("the request is not well formed{cause}"));
    }
    if error.is_decode() {
        return invalid_input(format!("the answer of `{host}` could not be decompressed{cause}"));
    }
    Failure::new(FailureClass::Connection, format!("`{host}` could not be reached{cause}"))
}

pub(crate) fn status_failure(status: StatusCode, url: &Url) -> Failure {
    let class = match status.as_u16() {
        401 | 403 => FailureClass::Unauthorized,
        404 | 410 => FailureClass::NotFound,
        408 => FailureClass::Timeout,
        409 | 412 => FailureClass::Conflict,
        429 => FailureClass::RateLimited,
        500..=599 => FailureClass::Http5xx,
        400..=499 => FailureClass::Http4xx,
        _ => FailureClass::InvalidInput,
    };
    let host = url.host_str().unwrap_or_default();
    Failure::new(class, format!("`{host}` answered {status}"))
}

/// How long the other side asks us to wait: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_hours(24);
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            Timestamp::from_datetime(at.with_timezone(&chrono::Utc)).since(now)
        }
    };
    Some(pause.min(LONGEST))
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn pairs(map: &Map<String, Value>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in map {
        match value {
            Value::Array(list) => {
                pairs.extend(list.iter().filter_map(text_of).map(|text| (name.clone(), text)));
            }
            other => pairs.extend(text_of(other).map(|text| (name.clone(), text))),
        }
    }
    pairs
}

fn header_pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let name: HeaderName =
        name.parse().map_err(|_| invalid_config(format!("`{}` is not a header's name", shown(name))))?;
    if OWN_HEADERS.contains(&name) {
        return Err(invalid_config(format!("the header `{name}` is set by the platform")));
    }
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        invalid_config(format!("the value of the header `{name}` has a line end or control character"))
    })?;
    Ok((name, value))
}

fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

/// A request that can be sent more than once, for redirects.
struct Prepared {
    method: Method,
    url: Url,
    headers: HeaderMap,
    /// Headers that go to the first host alone.
    credentials: HeaderMap,
    body: Option<bytes::Bytes>,
}

impl HttpRequest {
    async fn prepare(&self, context: &Context, environment: &Environment) -> Result<Prepared, Failure> {
        let mut credentials = HeaderMap::new();
        let mut base = None;
        if let Some(name) = &self.connector {
            let Connector::Http { base_url, headers } = &environment.place(name)?.connector else {
                return Err(invalid_config(format!("the connector `{name}` is not an HTTP service")));
            };
            base = Some(
                Url::parse(base_url)
                    .map_err(|_| invalid_config("the connector's `base_url` is not a URL"))?,
            );
            for (name, value) in headers {
                let (name, value) = header_pair(name, value)?;
                credentials.insert(name, value);
            }
        }
        let parsed = match &base {
            Some(base) => base.join(&self.url),
            None => Url::parse(&self.url),
        };
        let mut url = parsed
            .map_err(|wrong| invalid_config(format!("`{}` is not a URL: {wrong}", shown(&self.url))))?;
        if let Some(base) = base.filter(|base| base.origin() != url.origin()) {
            return Err(denied(format!(
                "the connector may only be used for `{}`",
                base.origin().ascii_serialization()
            )));
        }
        url.set_fragment(None);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs(&self.query));
        }
        let mut headers = HeaderMap::new();
        let body = self.body_bytes(context, &mut headers).await?;
        if !matches!(self.method, Verb::Get | Verb::Head | Verb::Options) {
            let (name, value) = header_pair("idempotency-key", &context.idempotency_key)?;
            headers.insert(name, value);
        }
        match &self.auth {
            Auth::None => {}
            Auth::Basic { username, password } => {
                // The client encodes it; a request that is thrown away is the way to its encoder.
                let made = environment.egress().request(Method::GET, url.clone()).map_err(denied)?;
                let made = made
                    .basic_auth(username, Some(password))
                    .build()
                    .map_err(|_| invalid_config("`auth` cannot be written as a header"))?;
                if let Some(value) = made.headers().get(header::AUTHORIZATION) {
                    credentials.insert(header::AUTHORIZATION, value.clone());
                }
            }
            Auth::Bearer { token } => {
                let (name, value) = header_pair("authorization", &format!("Bearer {token}"))?;
                credentials.insert(name, value);
            }
        }
        for (name, value) in &self.headers {
            let (name, value) = header_pair(name, value)?;
            if INNOCENT_HEADERS.contains(&name.as_str()) {
                headers.insert(name, value);
            } else {
                credentials.insert(name, value);
            }
        }
        for value in credentials.values_mut() {
            value.set_sensitive(true);
        }
        Ok(Prepared { method: self.method.method(), url, headers, credentials, body })
    }

    async fn body_bytes(
        &self,
        context: &Context,
        headers: &mut HeaderMap,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        let Some(body) = self.body.as_ref() else { return Ok(None) };
        let (media_type, bytes) = match self.body_as {
            BodyAs::Raw => match (body, FileValue::of(body)) {
                (Value::String(text), _) => (None, text.clone().into_bytes()),
                (_, Some(file)) => (None, file.bytes(context).await?),
                _ => return Err(invalid_input("`body_as: raw` takes text or a file value")),
            },
            BodyAs::Text => {
                (Some("text/plain; charset=utf-8"), text_of(body).unwrap_or_default().into_bytes())
            }
            BodyAs::Json => (Some("application/json"), serde_json::to_vec(body).expect("a value is JSON")),
            BodyAs::Form => {
                let map = body.as_object().ok_or_else(|| invalid_input("`body_as: form` takes a map"))?;
                let mut form = Url::parse("form:").expect("a constant URL");
                form.query_pairs_mut().extend_pairs(pairs(map));
                let text = form.query().unwrap_or_default().to_owned();
                (Some("application/x-www-form-urlencoded"), text.into_bytes())
            }
        };
        if let Some(media_type) = media_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        Ok(Some(bytes.into()))
    }

    /// Sends and follows redirects, each checked like the first URL.
    async fn send(
        &self,
        mut request: Prepared,
        client: &egress::Client,
    ) -> Result<(reqwest::Response, Url), Failure> {
        for redirects in 0.. {
            let mut builder = client
                .request(request.method.clone(), request.url.clone())
                .map_err(denied)?
                .headers(request.headers.clone())
                .headers(request.credentials.clone());
            if let Some(body) = &request.body {
                builder = builder.body(body.clone());
            }
            let response = builder.send().await.map_err(|error| network_failure(&error, &request.url))?;
            let status = response.status();
            let follows = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers().get(header::LOCATION).filter(|_| follows);
            let Some(location) = location.filter(|_| !self.accept_status.contains(&status.as_u16())) else {
                return Ok((response, request.url));
            };
            if redirects >= u32::from(self.max_redirects) {
                return Err(Failure::new(
                    FailureClass::LimitExceeded,
                    format!("more than {} redirects; the last answer was {status}", self.max_redirects),
                ));
            }
            let next = location
                .to_str()
                .ok()
                .and_then(|location| request.url.join(location).ok())
                .ok_or_else(|| invalid_input(format!("{status} without a usable `location`")))?;
            if request.url.scheme() == "https" && next.scheme() == "http" {
                return Err(denied("a redirect from https to http is not followed"));
            }
            if next.origin() != request.url.origin() {
                request.credentials.clear();
            }
            let becomes_get = match status.as_u16() {
                303 => request.method != Method::HEAD,
                301 | 302 => request.method == Method::POST,
                _ => false,
            };
            if becomes_get {
                request.method = Method::GET;
                request.body = None;
                request.headers.remove(header::CONTENT_TYPE);
                request.headers.remove("idempotency-key");
            }
            request.url = next;
            request.url.set_fragment(None);
        }
        unreachable!("the loop ends at the limit of redirects")
    }

    async fn read(&self, mut response: reqwest::Response, url: &Url) -> Result<Vec<u8>, Failure> {
        let limit = self.max_response.min(ten_mebibytes());
        let too_large = |size: u64| {
            Failure::new(
                FailureClass::LimitExceeded,
                format!("the answer has {size} bytes or more; at most {limit} are read (`max_response`)"),
            )
        };
        if let Some(length) = response.content_length().filter(|length| *length > limit) {
            return Err(too_large(length));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| network_failure(&error, url))? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large((body.len() + chunk.len()) as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn parse(
        &self,
        bytes: Vec<u8>,
        media_type: &str,
        url: &Url,
        context: &Context,
    ) -> Result<Value, Failure> {
        let is_json = media_type == "application/json" || media_type.ends_with("+json");
        let is_text = media_type.starts_with("text/")
            || matches!(media_type, "application/xml" | "application/yaml" | "application/x-ndjson")
            || media_type.ends_with("+xml");
        let how = match self.parse {
            Parse::Auto if bytes.is_empty() => return Ok(Value::Null),
            Parse::Auto if is_json => Parse::Json,
            Parse::Auto if is_text || media_type.is_empty() && std::str::from_utf8(&bytes).is_ok() => {
                Parse::Text
            }
            Parse::Auto => Parse::File,
            chosen => chosen,
        };
        match how {
            Parse::Json => serde_json::from_slice(&bytes).map_err(|wrong| {
                invalid_input(format!(
                    "the answer of `{}` is not JSON: {wrong}",
                    url.host_str().unwrap_or_default()
                ))
                .with_details(json!({ "line": wrong.line(), "column": wrong.column() }))
            }),
            Parse::Text => String::from_utf8(bytes).map(Value::String).map_err(|wrong| {
                invalid_input("the answer is not UTF-8 text; use `parse: file`")
                    .with_details(json!({ "offset": wrong.utf8_error().valid_up_to() }))
            }),
            Parse::File | Parse::Auto => {
                let name = url
                    .path_segments()
                    .and_then(|mut parts| parts.next_back())
                    .filter(|name| !name.is_empty());
                let media_type = if media_type.is_empty() { "application/octet-stream" } else { media_type };
                let name = name.unwrap_or("answer").to_owned();
                Ok(FileValue::keep(context, name, media_type, bytes).await?.to_json())
            }
        }
    }

    async fn call(&self, context: &Context) -> Result<Outcome, Failure> {
        let environment = Environment::of(context)?;
        let started = environment.clock().now();
        let request = self.prepare(context, environment).await?;
        let (response, url) = self.send(request, environment.egress()).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let accepted = if self.accept_status.is_empty() {
            status.is_success()
        } else {
            self.accept_status.contains(&status.as_u16())
        };
        if !accepted {
            let mut failure = status_failure(status, &url);
            failure.retry_after = retry_after(&headers, environment.clock().now());
            let body = self.read(response, &url).await.unwrap_or_default();
            let excerpt: String = String::from_utf8_lossy(&body).chars().take(1_000).collect();
            failure.details = Some(json!({ "status": status.as_u16(), "body": excerpt }));
            return Err(failure);
        }
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_ascii_lowercase())
            .unwrap_or_default();
        let bytes = self.read(response, &url).await?;
        let body = self.parse(bytes, &media_type, &url, context).await?;
        let mut shown_headers = Map::new();
        for (name, value) in &headers {
            if name == header::SET_COOKIE {
                continue;
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            match shown_headers.get_mut(name.as_str()) {
                Some(Value::String(known)) => {
                    known.push_str(", ");
                    known.push_str(&text);
                }
                _ => {
                    shown_headers.insert(name.as_str().to_owned(), text.into());
                }
            }
        }
        let duration = environment.clock().now().since(started);
        Ok(Outcome::of(json!({
            "status": status.as_u16(),
            "headers": shown_headers,
            "body": body,
            "duration_ms": duration.as_millis() as u64,
        })))
    }
}

#[async_trait]
impl Run for HttpRequest {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(cancelled("waiting for an HTTP answer")),
            outcome = self.call(context) => outcome,
        }
    }
}

impl Component for HttpRequest {
    const KIND: &'static str = "http_request";
    const ALIASES: &'static [&'static str] = &["http", "rest_api", "api_call", "api_request"];
    const FAMILY: Family = Family::Integrations;
    const SUMMARY: &'static str = "Calls an HTTP service.";

    fn example() -> Value {
        json!({ "method": "GET", "url": "https://shop.example/orders/4711", "headers": { "accept": "application/json" } })
    }

    fn effect(config: &Value) -> Effect {
        match config.get("method").and_then(Value::as_str).unwrap_or("GET") {
            "GET" | "HEAD" | "OPTIONS" => Effect::Reads,
            "PUT" | "DELETE" => Effect::Idempotent,
            _ => Effect::Effect,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let url = config.get("url").filter(|url| !is_expression(url)).and_then(Value::as_str);
        if let Some(url) = url.filter(|_| config.get("connector").is_none()) {
            match Url::parse(url) {
                Err(wrong) => {
                    problems.push(problem(&["url"], format!("`{}` is not a URL: {wrong}", shown(url))));
                }
                Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                    problems.push(problem(&["url"], "a URL starts with http:// or https://"));
                }
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    problems
                        .push(problem(&["url"], "a URL may not hold a user name or password; use `auth`"));
                }
                Ok(_) => {}
            }
        }
        for (name, value) in config.get("headers").and_then(Value::as_object).into_iter().flatten() {
            if let Some(text) = value.as_str().filter(|_| !is_expression(value))
                && let Err(wrong) = header_pair(name, text)
            {
                problems.push(problem(&["headers", name], wrong.message));
            }
        }
        problems
    }
}

impl Work for HttpRequest {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        Ok(Box::new(self))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, body::Body, http, response::IntoResponse};

    use super::*;
    use crate::testing::{context, context_with, run_in};

    /// Method and target, headers, body.
    type Seen = (String, http::HeaderMap, Vec<u8>);

    /// A server on loopback that answers by path and remembers what it was sent.
    struct Server {
        address: std::net::SocketAddr,
        seen: Arc<Mutex<Vec<Seen>>>,
    }

    async fn server() -> Server {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let memory = seen.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = move |request: http::Request<Body>| {
            let memory = memory.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body").to_vec();
                let line = format!("{} {}", parts.method, parts.uri);
                let sent_type = parts.headers.get("content-type").cloned();
                memory.lock().expect("memory").push((line, parts.headers, body.clone()));
                let path = parts.uri.path().to_owned();
                let query = parts.uri.query().unwrap_or_default().to_owned();
                if let Some(status) = path.strip_prefix("/status/") {
                    let status = status.parse::<u16>().expect("a status");
                    return http::Response::builder()
                        .status(status)
                        .header("retry-after", "7")
                        .body(Body::from("no"))
                        .expect("an answer");
                }
                match path.as_str() {
                    "/echo" => {
                        let kind = sent_type.unwrap_or(http::HeaderValue::from_static("text/plain"));
                        ([("content-type", kind)], body).into_response()
                    }
                    "/json" => ([("content-type", "application/json")], r#"{"total":12.5}"#).into_response(),
                    "/broken" => ([("content-type", "application/json")], "{\"a\":").into_response(),
                    "/bytes" => ([("content-type", "application/pdf")], vec![0_u8, 159, 146]).into_response(),
                    "/to" => {
                        let target = query.strip_prefix("url=").unwrap_or("/json").to_owned();
                        (http::StatusCode::FOUND, [("location", target)]).into_response()
                    }
                    "/loop" => (http::StatusCode::FOUND, [("location", "/loop")]).into_response(),
                    "/large" => "x".repeat(2_000).into_response(),
                    "/hang" => std::future::pending().await,
                    _ => http::StatusCode::NO_CONTENT.into_response(),
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer)).await.expect("a server");
        });
        Server { address, seen }
    }

    impl Server {
        fn url(&self, path: &str) -> String {
            format!("http://{}{path}", self.address)
        }

        fn count(&self) -> usize {
            self.seen.lock().expect("memory").len()
        }

        async fn run(&self, config: Value) -> Result<Outcome, Failure> {
            let (context, _folder) = context_with(&[&self.address.to_string()], BTreeMap::new());
            run_in("http_request", config, &context).await
        }
    }

    #[tokio::test]
    async fn a_call_gives_status_headers_and_body() {
        let server = server().await;
        let outcome = server
            .run(json!({ "url": server.url("/json?a=1"), "query": { "b": ["x y", 2], "c": null } }))
            .await
            .expect("an answer");
        assert_eq!(outcome.output["status"], 200);
        assert_eq!(outcome.output["body"], json!({ "total": 12.5 }));
        assert_eq!(outcome.output["headers"]["content-type"], "application/json");
        assert!(outcome.output["duration_ms"].is_u64());
        let seen = server.seen.lock().expect("memory");
        assert_eq!(seen[0].0, "GET /json?a=1&b=x+y&b=2");
        assert!(seen[0].1.get("idempotency-key").is_none());
    }

    #[tokio::test]
    async fn bodies_are_sent_as_asked_and_come_back() {
        let server = server().await;
        let text = "${{ 7*7 }} Grüße 😀";
        for (body, body_as, expected) in [
            (json!({ "a": text }), "json", json!({ "a": text })),
            (json!(text), "text", json!(text)),
            (json!(text), "raw", json!(text)),
        ] {
            let config =
                json!({ "method": "POST", "url": server.url("/echo"), "body": body, "body_as": body_as });
            let outcome = server.run(config).await.expect("an answer");
            assert_eq!(outcome.output["body"], expected, "{body_as}");
        }
        let form = json!({ "method": "PUT", "url": server.url("/echo"), "parse": "text",
                           "body": { "a": "x&y", "b": 2 }, "body_as": "form" });
        assert_eq!(server.run(form).await.expect("an answer").output["body"], "a=x%26y&b=2");
        for seen in &*server.seen.lock().expect("memory") {
            assert_eq!(seen.1["idempotency-key"], "key-of-the-task");
        }
        let file = server.run(json!({ "url": server.url("/bytes") })).await.expect("an answer");
        assert_eq!(
            (&file.output["body"]["size"], &file.output["body"]["name"]),
            (&json!(3), &json!("bytes"))
        );
        assert_eq!(
            server.run(json!({ "url": server.url("/none") })).await.expect("nothing").output["body"],
            Value::Null
        );
    }

    #[tokio::test]
    async fn the_author_may_set_the_idempotency_key_and_credentials() {
        let server = server().await;
        let auths = [
            json!({ "type": "basic", "username": "u", "password": "p" }),
            json!({ "type": "bearer", "token": "t" }),
        ];
        for auth in auths {
            let config = json!({ "method": "POST", "url": server.url("/echo"), "auth": auth,
                                 "headers": { "Idempotency-Key": "mine" } });
            server.run(config).await.expect("an answer");
        }
        let seen = server.seen.lock().expect("memory");
        assert_eq!(seen[0].1["idempotency-key"], "mine");
        assert_eq!(seen[0].1["authorization"], "Basic dTpw");
        assert_eq!(seen[1].1["authorization"], "Bearer t");
    }

    #[tokio::test]
    async fn statuses_have_classes() {
        let server = server().await;
        for (status, class) in [
            (400, FailureClass::Http4xx),
            (401, FailureClass::Unauthorized),
            (403, FailureClass::Unauthorized),
            (404, FailureClass::NotFound),
            (409, FailureClass::Conflict),
            (412, FailureClass::Conflict),
            (422, FailureClass::Http4xx),
            (429, FailureClass::RateLimited),
            (500, FailureClass::Http5xx),
            (503, FailureClass::Http5xx),
            (304, FailureClass::InvalidInput),
        ] {
            let failed = server
                .run(json!({ "url": server.url(&format!("/status/{status}")) }))
                .await
                .expect_err("failed");
            assert_eq!(failed.class, class, "{status}");
            assert_eq!(failed.retry_after, Some(Duration::from_secs(7)));
            assert_eq!(failed.details.expect("details")["status"], status);
        }
        let config = json!({ "url": server.url("/status/404"), "accept_status": [200, 404] });
        assert_eq!(server.run(config).await.expect("accepted").output["status"], 404);
    }

    #[test]
    fn a_date_to_retry_after_counts_from_now() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:30 GMT"));
        let now = "2015-10-21T07:28:00Z".parse().expect("an instant");
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(30)));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("soon"));
        assert_eq!(retry_after(&headers, now), None);
    }

    #[tokio::test]
    async fn broken_bodies_and_large_answers_are_said() {
        let server = server().await;
        let broken = server.run(json!({ "url": server.url("/broken") })).await.expect_err("not JSON");
        assert_eq!(broken.class, FailureClass::InvalidInput);
        let large = |limit: u64| json!({ "url": server.url("/large"), "max_response": limit });
        assert_eq!(server.run(large(1_999)).await.expect_err("too large").class, FailureClass::LimitExceeded);
        assert!(server.run(large(2_000)).await.is_ok());
    }

    #[tokio::test]
    async fn redirects_are_followed_checked_and_limited() {
        let server = server().await;
        let followed =
            server.run(json!({ "url": server.url("/to?url=/json"), "method": "POST", "body": 1 })).await;
        assert_eq!(followed.expect("followed").output["body"]["total"], 12.5);
        assert_eq!(server.seen.lock().expect("memory")[1].0, "GET /json");
        let endless = server.run(json!({ "url": server.url("/loop"), "max_redirects": 3 })).await;
        assert_eq!(endless.expect_err("endless").class, FailureClass::LimitExceeded);
        assert_eq!(server.count(), 6);
        let other = self::server().await;
        for target in [
            other.url("/json"),
            "http://169.254.169.254/latest".into(),
            format!("http://localhost:{}/", other.address.port()),
            "http://127.1/".into(),
            "file:///etc/passwd".into(),
            "http://[::1]:80/".into(),
            "http://localhost/".into(),
        ] {
            let config = json!({ "url": server.url(&format!("/to?url={target}")) });
            let failed = server.run(config).await.expect_err(&target);
            assert_eq!(failed.class, FailureClass::EgressDenied, "{target}: {failed}");
        }
        assert_eq!(other.count(), 0);
    }

    #[tokio::test]
    async fn credentials_stay_with_their_host() {
        let (first, second) = (server().await, server().await);
        let allow = [first.address.to_string(), second.address.to_string()];
        let (context, _folder) = context_with(&[&allow[0], &allow[1]], BTreeMap::new());
        let config = json!({
            "url": first.url(&format!("/to?url={}", second.url("/json"))),
            "auth": { "type": "bearer", "token": "t" },
            "headers": { "x-api-key": "k", "x-auth": "a", "accept": "application/json" },
        });
        run_in("http_request", config, &context).await.expect("followed");
        assert_eq!(first.seen.lock().expect("memory")[0].1["x-api-key"], "k");
        let seen = second.seen.lock().expect("memory");
        assert!(
            seen[0].1.get("authorization").is_none()
                && seen[0].1.get("x-api-key").is_none()
                && seen[0].1.get("x-auth").is_none()
        );
        assert_eq!(seen[0].1["accept"], "application/json");
    }

    #[tokio::test]
    async fn blocked_addresses_get_no_packet() {
        let server = server().await;
        let port = server.address.port();
        let (context, _folder) = context();
        for url in [
            server.url("/"),
            format!("http://localhost:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            "http://localhost/".to_owned(),
            "http://localhost:8080/".to_owned(),
            "http://169.254.169.254/".to_owned(),
            "http://0.0.0.0/".to_owned(),
            "http://10.0.0.1/".to_owned(),
        ] {
            let failed = run_in("http_request", json!({ "url": url }), &context).await.expect_err("denied");
            assert_eq!(failed.class, FailureClass::EgressDenied, "{url}: {failed}");
        }
        assert_eq!(server.count(), 0);
    }

    #[tokio::test]
    async fn a_name_on_loopback_is_reached_when_it_is_allowed() {
        let server = server().await;
        let allowed = format!("localhost:{}", server.address.port());
        let (context, _folder) = context_with(&[&allowed], BTreeMap::new());
        let config = json!({ "url": format!("http://{allowed}/json") });
        assert_eq!(run_in("http_request", config, &context).await.expect("allowed").output["status"], 200);
    }

    #[tokio::test]
    async fn a_connector_gives_base_and_headers_and_nothing_else() {
        let server = server().await;
        let connector = Connector::Http {
            base_url: server.url("/base/"),
            headers: BTreeMap::from([("authorization".to_owned(), "Token s".to_owned())]),
        };
        let (context, _folder) =
            context_with(&[&server.address.to_string()], BTreeMap::from([("shop".to_owned(), connector)]));
        run_in("http_request", json!({ "connector": "shop", "url": "orders/1" }), &context)
            .await
            .expect("an answer");
        {
            let seen = server.seen.lock().expect("memory");
            assert_eq!(
                (seen[0].0.as_str(), &seen[0].1["authorization"]),
                ("GET /base/orders/1", &"Token s".parse().expect("a value"))
            );
        }
        let config = json!({ "connector": "shop", "url": "http://example.com/" });
        let failed = run_in("http_request", config, &context).await.expect_err("elsewhere");
        assert_eq!(failed.class, FailureClass::EgressDenied);
    }

    #[tokio::test]
    async fn nobody_there_is_a_connection_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let (context, _folder) = context_with(&[&address], BTreeMap::new());
        let failed = run_in("http_request", json!({ "url": format!("http://{address}/") }), &context).await;
        assert_eq!(failed.expect_err("nobody").class, FailureClass::Connection);
    }

    #[tokio::test]
    async fn cancellation_ends_the_waiting() {
        let server = server().await;
        let (context, _folder) = context_with(&[&server.address.to_string()], BTreeMap::new());
        let config = json!({ "url": server.url("/hang") });
        let waiting = run_in("http_request", config, &context);
        let cancelling = async {
            while server.count() == 0 {
                tokio::task::yield_now().await;
            }
            context.cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(waiting, cancelling);
        assert_eq!(outcome.expect_err("cancelled").class, FailureClass::Cancelled);
    }

    #[tokio::test]
    async fn headers_cannot_be_smuggled() {
        let server = server().await;
        for (name, value) in
            [("x-a", "b\r\nx-c: d"), ("x\r\ny", "b"), ("Host", "other"), ("Content-Length", "0")]
        {
            let failed = server.run(json!({ "url": server.url("/"), "headers": { name: value } })).await;
            assert_eq!(failed.expect_err("refused").class, FailureClass::InvalidConfig, "{name}");
        }
        assert_eq!(server.count(), 0);
        let config = json!({ "url": "http://u:p@example.com/", "headers": { "a b": "c" } });
        assert_eq!(HttpRequest::check(&config).len(), 2);
    }
}
