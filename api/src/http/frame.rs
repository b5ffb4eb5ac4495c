//! What is around every request: its id, its own task, the guard against other sites' pages, security
//! headers, metrics.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::{Instrument, debug, debug_span};

use crate::{
    app::App,
    config::Config,
    problem::{Code, Problem, REQUEST_ID},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id the client gave, when it is one that can be logged and sent back; otherwise a new one.
fn request_id(headers: &HeaderMap) -> (String, HeaderValue) {
    if let Some(value) = headers.get(&X_REQUEST_ID)
        && let Ok(text) = value.to_str()
        && (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
    {
        return (text.to_owned(), value.clone());
    }
    #[expect(clippy::disallowed_methods, reason = "the id of a request names nothing that is kept")]
    let text = uuid::Uuid::now_v7().simple().to_string();
    let value = HeaderValue::from_str(&text).expect("hexadecimal digits fit in a header");
    (text, value)
}

pub(super) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

pub(super) fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a request of this method changes nothing.
pub(super) fn only_reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses what a page of another site may have sent through somebody's browser.
///
/// A name that its owner points at this machine would otherwise make such a page one of ours (DNS
/// rebinding), and a form can post anywhere.
fn guard(
    config: &Config,
    method: &Method,
    headers: &HeaderMap,
    authority: Option<&str>,
) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).or(authority);
    if let Some(host) = host {
        let name = name_of(host);
        let is_any_allowed = config.allow_remote && config.allowed_hosts.is_empty();
        let is_named = config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        if !is_any_allowed && !is_named && !is_loopback(name) {
            return Err(Problem::new(Code::MisdirectedRequest, "The header `Host` names another machine."));
        }
    }
    // A page of another site may open a WebSocket to us, and the browser lets it read what comes.
    let is_upgrade = headers.contains_key(header::UPGRADE);
    if only_reads(method) && !is_upgrade {
        return Ok(());
    }
    let foreign = || Problem::new(Code::Forbidden, "A web page of another site sent this request.");
    if let Some(site) = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok())
        && !matches!(site, "same-origin" | "none")
    {
        return Err(foreign());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let of =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
        if of.is_none() || of != host {
            return Err(foreign());
        }
    }
    Ok(())
}

/// The template of the matched route, as metrics name it.
fn endpoint(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    path.strip_prefix("/api/v1").filter(|rest| !rest.is_empty()).unwrap_or(path).to_owned()
}

/// Methods are a closed set in metrics, whatever is sent.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

pub(crate) async fn frame(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (id, id_value) = request_id(request.headers());
    let method = method_label(request.method());
    let endpoint = endpoint(&request);
    let span = debug_span!("request", request.id = %id, method, endpoint);
    let allowed = guard(
        &app.config,
        request.method(),
        request.headers(),
        request.uri().authority().map(axum::http::uri::Authority::as_str),
    );
    // In a task of its own: a client that hangs up drops this future, and a deed cut off half-way could
    // lose what the store has acknowledged.
    let gate = app.clone();
    let work = REQUEST_ID.scope(id.clone(), async move {
        let admitted = match allowed {
            Ok(()) => super::gate::admit(&gate, &mut request).await,
            Err(problem) => Err(problem),
        };
        match admitted {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    });
    #[expect(clippy::disallowed_methods, reason = "awaited on this line")]
    let worked = tokio::spawn(work.instrument(span.clone())).await;
    let mut response = match worked {
        Ok(response) => response,
        Err(error) => {
            REQUEST_ID.sync_scope(id, || span.in_scope(|| Problem::internal(error).into_response()))
        }
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id_value);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // The browser pages bring a policy of their own, with a nonce.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'self'",
    ));
    headers.insert(
        "permissions-policy",
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    );
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    let took = started.elapsed();
    app.metrics.answered(method, &endpoint, status, took);
    span.in_scope(|| debug!(status, duration_ms = took.as_secs_f64() * 1e3, "Answered {method} {endpoint}"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &Config, method: Method, given: &[(&'static str, &str)]) -> Option<Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        guard(config, &method, &headers, None).err().map(|problem| problem.code)
    }

    #[test]
    fn only_our_own_names_are_answered_for() {
        let local = Config::default();
        for host in ["localhost:5000", "127.0.0.1", "[::1]:5000", "LOCALHOST"] {
            assert_eq!(check(&local, Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example:5000", "localhost.evil.example", "10.0.0.1"] {
            assert_eq!(
                check(&local, Method::GET, &[("host", host)]),
                Some(Code::MisdirectedRequest),
                "{host}"
            );
        }
        let named = Config { allowed_hosts: vec!["flows.example".to_owned()], ..Config::default() };
        assert_eq!(check(&named, Method::GET, &[("host", "flows.example")]), None);
        let open = Config { allow_remote: true, ..Config::default() };
        assert_eq!(check(&open, Method::GET, &[("host", "anything.example")]), None);
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let local = Config::default();
        let host = ("host", "localhost:5000");
        assert_eq!(check(&local, Method::POST, &[host]), None);
        assert_eq!(check(&local, Method::POST, &[host, ("origin", "http://localhost:5000")]), None);
        assert_eq!(
            check(&local, Method::POST, &[host, ("origin", "http://evil.example")]),
            Some(Code::Forbidden)
        );
        assert_eq!(check(&local, Method::POST, &[host, ("origin", "null")]), Some(Code::Forbidden));
        assert_eq!(
            check(&local, Method::DELETE, &[host, ("sec-fetch-site", "cross-site")]),
            Some(Code::Forbidden)
        );
        assert_eq!(check(&local, Method::GET, &[host, ("sec-fetch-site", "cross-site")]), None);
        let upgrade = ("upgrade", "websocket");
        let origin = |origin| check(&local, Method::GET, &[host, upgrade, ("origin", origin)]);
        assert_eq!(origin("http://localhost:5000"), None);
        assert_eq!(origin("http://evil.example"), Some(Code::Forbidden));
    }
}
