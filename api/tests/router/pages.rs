//! The browser pages: whichever were embedded, these hold of them.

use api::Config;

use super::{Answered, start};

const BASE: &str = "/workflow_orchestration";

fn nonce(page: &Answered) -> String {
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let (_, rest) = policy.split_once("'nonce-").expect("a nonce");
    rest.split('\'').next().expect("its end").to_owned()
}

/// What stands between `before` and the next `"`, wherever it does.
fn found(text: &str, before: &str) -> Vec<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_address_below_the_base_shows_the_page() {
    let api = start(Config::default());
    let home = api.get("/").await;
    assert_eq!((home.status, home.headers["location"].as_bytes()), (307, BASE.as_bytes()));
    let mut nonces = Vec::new();
    for path in ["", "/", "/workflows", "/executions/execution_1?tab=logs", "/no/such/page"] {
        let page = api.get(&format!("{BASE}{path}")).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.starts_with("<!doctype html>"), "{path}: {}", page.text);
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert_eq!(page.headers["x-frame-options"], "DENY");
        assert_eq!(page.headers["cross-origin-opener-policy"], "same-origin");
        assert!(page.headers.contains_key("permissions-policy"));
        assert!(!page.text.contains("__APG_NONCE__"), "{path}");
        let nonce = nonce(&page);
        assert_eq!(nonce.len(), 24, "128 bits in base64");
        for written in found(&page.text, "nonce=\"") {
            assert_eq!(written, nonce, "{path}");
        }
        nonces.push(nonce);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 5, "each answer has a nonce of its own");
}

#[tokio::test]
async fn every_file_the_page_names_is_served_for_ever_and_no_other() {
    let api = start(Config::default());
    let page = api.get(BASE).await;
    let mut named = found(&page.text, "src=\"");
    named.extend(found(&page.text, "href=\"").into_iter().filter(|to| to.contains("/assets/")));
    for path in &named {
        for (accepted, encoding) in [("gzip, br", "br"), ("gzip", "gzip"), ("identity", "")] {
            let file = api.send("GET", path, &[("accept-encoding", accepted)], "").await;
            assert_eq!(file.status, 200, "{path}");
            if path.starts_with(BASE) {
                assert_eq!(file.headers["cache-control"], "public, max-age=31536000, immutable");
                assert_eq!(file.headers["vary"], "accept-encoding");
                let given = file.headers.get("content-encoding").map(|value| value.to_str().expect("text"));
                // The smallest files are not worth compressing.
                assert!(given.is_none() || given == Some(encoding), "{path}: {given:?}");
            }
        }
    }
    for name in ["no-such.js", "index.html", "%2e%2e/index.html", "../index.html", "a.js.br", "index.html.gz"]
    {
        let missing = api.get(&format!("{BASE}/assets/{name}")).await;
        assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"), "{name}");
    }
}
