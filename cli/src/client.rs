//! Speaks to a server over its REST API.
//!
//! It knows no resource: verbs name the paths.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::Value;

use crate::{
    commands::SettingsArgs,
    key,
    output::{self, Format},
};

/// Which server a verb speaks to, and how it shows what it hears.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// The server's address.
    #[arg(
        long,
        env = "APG_BASE_URL",
        default_value = "http://127.0.0.1:5000",
        global = true,
        value_name = "URL"
    )]
    pub server: String,
    /// The key that tells the server who asks; for a server on this machine the one of the settings, or the one that
    /// `apg serve` keeps in the data folder.
    #[arg(long, env = "APG_API_KEY", hide_env_values = true, global = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value_t, global = true)]
    pub output: Format,
}

/// How long one answer may come in pieces.
const LONGEST_COPY: Duration = Duration::from_hours(6);

/// Whether an address names this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The JSON of an answer; its text when it is none, `null` when it is empty.
fn read(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

/// A server that answered with a problem.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &str| self.body.get(key).and_then(Value::as_str);
        match (text("detail"), text("title")) {
            (Some(sentence), _) | (None, Some(sentence)) => f.write_str(sentence)?,
            (None, None) => write!(f, "the server answered with status {}", self.status)?,
        }
        if let Some(code) = text("code") {
            write!(f, " [{code}]")?;
        }
        if self.status == 401 {
            f.write_str(" (--api-key or APG_API_KEY)")?;
        }
        for problem in self.body.get("problems").and_then(Value::as_array).into_iter().flatten() {
            let part = |key: &str| problem.get(key).and_then(Value::as_str);
            write!(f, "\n\n{}", part("severity").unwrap_or("error"))?;
            if let Some(code) = part("code") {
                write!(f, "[{code}]")?;
            }
            write!(f, ": {}", part("message").unwrap_or_default())?;
            let number = |key: &str| problem.get(key).and_then(Value::as_u64);
            if let (Some(line), Some(column)) = (number("line"), number("column")) {
                write!(f, "\n  --> line {line}, column {column}")?;
            } else if let Some(path) =
                problem.get("path").and_then(Value::as_array).filter(|path| !path.is_empty())
            {
                let path: Vec<String> = path
                    .iter()
                    .map(|part| part.as_str().map_or_else(|| part.to_string(), ToOwned::to_owned))
                    .collect();
                write!(f, "\n  --> {}", path.join("."))?;
            }
            if let Some(excerpt) = part("excerpt") {
                for line in excerpt.lines() {
                    write!(f, "\n  | {line}")?;
                }
            }
            if let Some(suggestion) = part("suggestion") {
                write!(f, "\n  = help: {suggestion}")?;
            }
        }
        if let Some(trace) = text("trace_id") {
            write!(f, "\n  (trace {trace})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

/// A connection to one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    api_key: Option<String>,
    pub(crate) output: Format,
}

impl Client {
    /// Writes one resource in the wanted form.
    pub(crate) fn show(&self, value: &Value) {
        match self.output {
            Format::Json => output::json(value),
            Format::Text => output::data(&output::object(value)),
        }
    }

    pub(crate) fn new(settings: &SettingsArgs, args: &ClientArgs) -> Result<Self> {
        crate::install_tls();
        let api_key = match &args.api_key {
            Some(key) => Some(key.clone()),
            // A key is shown to nobody but the server it is of.
            None if is_loopback(&args.server) => key::find(&settings.load()?.settings)?,
            None => None,
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_mins(1))
            .user_agent(concat!("apg/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { http, base: args.server.trim_end_matches('/').to_owned(), api_key, output: args.output })
    }

    /// Asks, and gives the answer's JSON; `null` when it has no body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value> {
        self.send(self.http.request(method, format!("{}{path}", self.base)).query(query), body).await
    }

    /// Asks for something that is done once for a key, however often it is asked for.
    pub(crate) async fn post_once(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        self.send(request, Some(body)).await
    }

    /// Gives an answer that may be large to `take`, piece by piece as it comes.
    pub(crate) async fn copy(&self, path: &str, take: impl Fn(&[u8])) -> Result<()> {
        // As long as it takes: what stands still is noticed by the connection.
        let request = self.http.get(format!("{}{path}", self.base)).timeout(LONGEST_COPY);
        let mut answer = self.start(request).await?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.context("the answer broke off")?;
            return Err(Refused { status, body: read(&bytes) }.into());
        }
        while let Some(piece) = answer.chunk().await.context("the answer broke off")? {
            take(&piece);
        }
        Ok(())
    }

    async fn start(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        request.send().await.with_context(|| {
            format!("no answer from {}; is the server running there? (--server or APG_BASE_URL)", self.base)
        })
    }

    async fn send(&self, mut request: reqwest::RequestBuilder, body: Option<&Value>) -> Result<Value> {
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.start(request).await?;
        let status = answer.status();
        let bytes = answer.bytes().await.context("the answer broke off")?;
        let body = read(&bytes);
        if status.is_success() { Ok(body) } else { Err(Refused { status: status.as_u16(), body }.into()) }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    /// Pages of a list, until `limit` items or the end.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: usize,
    ) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        while all.len() < limit {
            let mut query = query.to_vec();
            query.push(("limit", (limit - all.len()).min(200).to_string()));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor.clone()));
            }
            let page = self.ask(Method::GET, path, &query, None).await?;
            let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let was_empty = items.is_empty();
            all.extend(items);
            cursor = page.get("next_cursor").and_then(Value::as_str).map(ToOwned::to_owned);
            if cursor.is_none() || was_empty {
                break;
            }
        }
        all.truncate(limit);
        Ok(all)
    }
}

/// A part of a path, with whatever is special in it escaped.
pub(crate) fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_is_shown_with_all_its_parts() {
        let refused = Refused {
            status: 422,
            body: json!({
                "code": "invalid_workflow", "title": "Unprocessable", "detail": "the workflow has 1 problem",
                "trace_id": "abc",
                "problems": [{
                    "code": "unknown_type", "severity": "error", "message": "there is no type `htp`",
                    "line": 3, "column": 9, "excerpt": "  type: htp\n        ^", "suggestion": "did you mean `http_request`?"
                }]
            }),
        };
        insta::assert_snapshot!(refused);
    }

    #[test]
    fn a_path_cannot_be_left() {
        assert_eq!(segment("a/../b?c"), "a%2F..%2Fb%3Fc");
    }
}
