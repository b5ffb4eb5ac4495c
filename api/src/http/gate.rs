//! Who gets in: every route wants a caller but for those listed here.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts},
};

use super::frame;
use crate::{
    app::App,
    caller::Caller,
    config::Config,
    problem::{Code, Problem},
    sign_in::{Visitor, csrf_of},
};

/// Routes for everybody: the pages themselves, what says that the server is well, and what proves in another way who
/// asks. The test `every_route_that_is_not_public_wants_a_caller` tries all others.
pub(crate) const PUBLIC: &[&str] = &[
    "/",
    "/workflow_orchestration",
    "/workflow_orchestration/",
    "/workflow_orchestration/assets/{*name}",
    "/workflow_orchestration/{*path}",
    "/assets/style.css",
    "/docs/errors",
    "/docs/errors/{code}",
    "/health",
    "/health/detailed",
    "/metrics",
    "/api/v1/docs",
    "/api/v1/openapi.json",
    "/api/v1/schemas/workflow.json",
    "/api/v1/schemas/workflow-test.json",
    "/api/v1/setup",
    "/api/v1/auth/session",
    "/api/v1/auth/login",
    // By a link that is signed.
    "/decide/{token}",
    // By the signature of the trigger.
    "/webhooks/{id}",
    "/webhooks/{id}/{*path}",
    // By the token of the workers.
    "/internal/payloads/{execution}/{id}",
    "/internal/notifications/{execution}",
];

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Finds out who asks, where that is needed, and refuses whoever shows nothing good.
pub(crate) async fn admit(app: &App, request: &mut Request) -> Result<(), Problem> {
    // What matches nothing is answered with 404, whoever asks.
    let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(()) };
    if PUBLIC.contains(&path.as_str()) {
        return Ok(());
    }
    let caller = caller(app, request.method(), request.headers()).await?;
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn caller(app: &App, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
    // Whoever shows a key is that one, whatever the browser adds.
    if let Some(key) = key(headers)? {
        return app.sign_in.by_key(key);
    }
    let Some(opener) = session(&app.config, headers) else {
        return Err(Problem::new(
            Code::Unauthorized,
            "Nobody is signed in. Sign in at `/workflow_orchestration/`, or show a key in `X-API-Key`.",
        ));
    };
    let caller = app.sign_in.by_session(opener).await?;
    if !frame::only_reads(method) {
        let shown = headers.get(&X_CSRF_TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if shown != csrf_of(opener) {
            return Err(Problem::new(
                Code::CsrfTokenWrong,
                "A session changes things only with the `csrf` of `GET /api/v1/auth/session` in `X-CSRF-Token`.",
            ));
        }
    }
    Ok(caller)
}

/// The key that is shown.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let unreadable = || Problem::new(Code::InvalidHeader, "The key is not one: it has strange characters.");
    if let Some(value) = headers.get(&X_API_KEY) {
        return value.to_str().map(Some).map_err(|_| unreadable());
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| unreadable())?;
    match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(key)),
        _ => Err(Problem::new(Code::Unauthorized, "`Authorization` is understood as `Bearer` and a key.")),
    }
}

/// Whether the browser keeps a cookie that asks for TLS: it does not where a page came without, except that this is
/// how one tries it out on one's own machine.
fn is_plain(config: &Config, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_secure = config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    !is_secure && frame::is_loopback(frame::name_of(host))
}

const fn cookie_name(is_plain: bool) -> &'static str {
    if is_plain { "sid" } else { "__Host-sid" }
}

/// What the session's cookie holds.
pub(crate) fn session<'a>(config: &Config, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(is_plain(config, headers));
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// The cookie that keeps a session; without one, the cookie that ends it.
pub(crate) fn cookie(
    config: &Config,
    headers: &HeaderMap,
    opener: Option<&str>,
) -> Result<HeaderValue, Problem> {
    let is_plain = is_plain(config, headers);
    let name = cookie_name(is_plain);
    let secure = if is_plain { "" } else { "; Secure" };
    let lasts = opener.map_or(0, |_| u64::from(config.security.session_timeout_hours) * 3_600);
    let text = format!(
        "{name}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={lasts}{secure}",
        opener.unwrap_or_default()
    );
    HeaderValue::from_str(&text).map_err(Problem::internal)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal("a public route asks for its caller"))
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: peer.map(|peer| behind(&app.config, peer, &parts.headers)),
            agent: agent.unwrap_or_default().to_owned(),
        })
    }
}

/// The address of whoever is behind the proxies that are trusted to say so.
fn behind(config: &Config, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let is_trusted = |address: &IpAddr| {
        let address = address.to_canonical();
        config.trusted_proxies.iter().any(|network| network.contains(&address))
    };
    if !is_trusted(&peer) {
        return peer;
    }
    let said: Vec<IpAddr> = headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|address| address.trim().parse().ok())
        .collect();
    // From the end: each proxy adds whom it heard it from, and whatever stands before the first stranger is hearsay.
    said.iter().rev().find(|address| !is_trusted(address)).copied().unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn the_cookie_asks_for_tls_but_on_ones_own_machine() {
        let config = Config::default();
        let here = headers(&[(header::HOST, "127.0.0.1:5000"), (header::COOKIE, "a=b; sid=x; __Host-sid=y")]);
        let there = headers(&[(header::HOST, "flows.example"), (header::COOKIE, "a=b; sid=x; __Host-sid=y")]);
        assert_eq!((session(&config, &here), session(&config, &there)), (Some("x"), Some("y")));
        assert_eq!(
            cookie(&config, &here, Some("x")).expect("a cookie"),
            "sid=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=28800"
        );
        assert_eq!(
            cookie(&config, &there, None).expect("a cookie"),
            "__Host-sid=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure"
        );
        let named = Config { public_url: Some("https://flows.example".to_owned()), ..config };
        assert_eq!(session(&named, &here), Some("y"));
    }

    #[test]
    fn a_key_is_read_from_either_header() {
        assert_eq!(key(&headers(&[(X_API_KEY, "k")])), Ok(Some("k")));
        assert_eq!(key(&headers(&[(header::AUTHORIZATION, "bearer k")])), Ok(Some("k")));
        assert_eq!(key(&headers(&[])), Ok(None));
        assert!(key(&headers(&[(header::AUTHORIZATION, "Basic YTpi")])).is_err());
    }

    #[test]
    fn only_trusted_proxies_say_who_is_behind_them() {
        let config =
            Config { trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")], ..Config::default() };
        let said = headers(&[(X_FORWARDED_FOR, "6.6.6.6, 192.0.2.7, 10.0.0.9")]);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(behind(&config, address("10.0.0.1"), &said), address("192.0.2.7"));
        assert_eq!(behind(&config, address("203.0.113.5"), &said), address("203.0.113.5"));
        assert_eq!(behind(&config, address("10.0.0.1"), &headers(&[])), address("10.0.0.1"));
    }
}
