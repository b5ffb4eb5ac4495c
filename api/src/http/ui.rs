//! The browser pages: the files that the build embedded, and the one page that every address inside them shows.
//!
//! What the page then does is `ui/`. Nothing here knows its routes.

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::problem::Problem;

/// Where the pages are served.
pub(super) const BASE: &str = "/workflow_orchestration";

/// The word in the page that stands for the nonce of one answer.
const NONCE: &str = "__APG_NONCE__";

/// `ui/dist` when it was built before the server, else `ui/placeholder`.
#[derive(RustEmbed)]
#[folder = "$APG_UI_FOLDER"]
struct Files;

/// How a file may be compressed: by the name of the encoding and of the file, the best first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Leads to the pages.
pub(crate) async fn home() -> Redirect {
    Redirect::temporary(BASE)
}

/// What the pages may load: their own files, and style elements with this answer's nonce.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    )
}

/// The page. It is the same for every address below [`BASE`]; what it shows is decided in the browser.
pub(crate) async fn page() -> Result<Response, Problem> {
    let file = Files::get("index.html").ok_or_else(|| Problem::internal("index.html was not embedded"))?;
    let text = String::from_utf8(file.data.into_owned()).map_err(Problem::internal)?;
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(Problem::internal)?;
    let nonce = STANDARD.encode(random);
    let policy = HeaderValue::from_str(&policy(&nonce)).map_err(Problem::internal)?;
    // Never kept: the nonce is good for one answer.
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    Ok((headers, Html(text.replace(NONCE, &nonce))).into_response())
}

/// Whether an `Accept-Encoding` takes an encoding. What is named with `q=0` is refused, whatever `*` says.
fn takes(accepted: &str, encoding: &str) -> bool {
    let mut any = false;
    for part in accepted.split(',') {
        let mut words = part.split(';').map(str::trim);
        let name = words.next().unwrap_or_default();
        let refused = words
            .filter_map(|word| word.strip_prefix("q="))
            .any(|quality| quality.parse::<f32>().is_ok_and(|quality| quality <= 0.0));
        if name.eq_ignore_ascii_case(encoding) {
            return !refused;
        }
        any |= name == "*" && !refused;
    }
    any
}

/// The smallest form of a file that the client takes, and its encoding.
fn choose(path: &str, accepted: &str) -> Option<(EmbeddedFile, Option<&'static str>)> {
    // The compressed forms are answers to the name of the file, not files of their own.
    if ENCODINGS.iter().any(|(_, ending)| path.ends_with(ending)) {
        return None;
    }
    let plain = Files::get(path)?;
    let compressed = ENCODINGS
        .iter()
        .filter(|(encoding, _)| takes(accepted, encoding))
        .find_map(|(encoding, ending)| Some((Files::get(&format!("{path}{ending}"))?, *encoding)));
    Some(compressed.map_or((plain, None), |(file, encoding)| (file, Some(encoding))))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// A script, style or picture of the page. Its name holds the hash of its content, so it never changes.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = format!("assets/{name}");
    let Some((file, encoding)) = choose(&path, accepted) else {
        return Err(Problem::not_found(format_args!("page asset `{}`", name.escape_debug())));
    };
    let mut response = file.data.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_taken_when_it_is_named_or_any_is() {
        for (accepted, br, gzip) in [
            ("", false, false),
            ("gzip", false, true),
            ("gzip, deflate, br", true, true),
            ("BR;q=0.5, gzip;q=1", true, true),
            ("br;q=0, *", false, true),
            ("*;q=0, gzip", false, true),
            ("brotli", false, false),
        ] {
            assert_eq!((takes(accepted, "br"), takes(accepted, "gzip")), (br, gzip), "{accepted}");
        }
    }

    #[test]
    fn the_policy_allows_no_code_but_our_files() {
        let policy = policy("abc");
        assert!(!policy.contains("unsafe") && policy.contains("style-src 'self' 'nonce-abc'"), "{policy}");
    }
}
