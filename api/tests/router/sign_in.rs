//! Who gets in, and how.

use std::collections::BTreeSet;

use shared::port::{accounts::LinkFor, store::DynStore};

use super::*;

const PASSWORD: &str = "correct horse battery";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A browser: it keeps the cookie that it is given, and shows it.
struct Browser<'a> {
    api: &'a Api,
    cookie: Option<String>,
    csrf: String,
}

impl<'a> Browser<'a> {
    fn new(api: &'a Api) -> Self {
        Self { api, cookie: None, csrf: String::new() }
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<Value>) -> Answered {
        let cookie = self.cookie.clone().map(|cookie| format!("theme=dark; {cookie}"));
        let csrf = self.csrf.clone();
        let mut headers = vec![JSON, ("user-agent", "Firefox")];
        headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
        headers
            .extend(Some(csrf.as_str()).filter(|csrf| !csrf.is_empty()).map(|csrf| ("x-csrf-token", csrf)));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answered = self.api.send_bare(method, path, &headers, &body).await;
        if let Some(cookie) = answered.headers.get("set-cookie").and_then(|value| value.to_str().ok()) {
            let pair = cookie.split(';').next().expect("a pair");
            self.cookie = Some(pair.to_owned()).filter(|pair| !pair.ends_with('='));
        }
        answered
    }

    async fn session(&mut self) -> Value {
        let session = self.send("GET", "/api/v1/auth/session", None).await.json();
        session["csrf"].as_str().unwrap_or_default().clone_into(&mut self.csrf);
        session
    }

    async fn sign_in(&mut self, name: &str, password: &str) -> Answered {
        let who = json!({ "name": name, "password": password });
        let answered = self.send("POST", "/api/v1/auth/login", Some(who)).await;
        self.session().await;
        answered
    }

    async fn workflows(&mut self) -> u16 {
        self.send("GET", "/api/v1/workflows", None).await.status
    }
}

async fn link(api: &Api, for_what: LinkFor) -> String {
    let store: DynStore = api.store.clone();
    let address = api::make_link(&store, "http://localhost", for_what).await.expect("a link");
    let token = address.url.strip_prefix("http://localhost/workflow_orchestration/setup#").expect("the page");
    token.to_owned()
}

async fn setup(browser: &mut Browser<'_>, token: &str, name: &str, password: &str) -> Answered {
    let setup = json!({ "token": token, "name": name, "password": password });
    let answered = browser.send("POST", "/api/v1/setup", Some(setup)).await;
    browser.session().await;
    answered
}

async fn owned(api: &Api) -> Browser<'_> {
    let mut browser = Browser::new(api);
    let token = link(api, LinkFor::Owner).await;
    assert_eq!(setup(&mut browser, &token, "ada", PASSWORD).await.status, 201);
    browser
}

#[tokio::test]
async fn every_route_that_is_not_public_wants_a_caller() {
    let api = start(Config::default());
    // As the router has them; whoever adds a route decides here who may use it.
    let text = include_str!("../../src/http/mod.rs");
    let routes: BTreeSet<&str> = text
        .split(".route(")
        .skip(1)
        .map(|rest| rest.trim_start().trim_start_matches('"').split('"').next().expect("a path"))
        .collect();
    assert!(routes.len() > 90, "{}", routes.len());
    let (mut open, mut closed) = (Vec::new(), 0);
    for route in routes {
        let path: String = route
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let mut methods = 0;
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answered = api.send_bare(method, &path, &[], "").await;
            if answered.status == 401 && answered.code() == "unauthorized" {
                closed += 1;
                methods += 1;
            }
        }
        match methods {
            0 => open.push(route),
            // Also a method that the route does not take is for callers to know.
            4 => {}
            _ => panic!("{route} is for some callers by some methods"),
        }
    }
    assert!(closed > 300, "{closed}");
    insta::assert_snapshot!(open.join("\n"), @r"
    /
    /api/v1/auth/login
    /api/v1/auth/session
    /api/v1/docs
    /api/v1/openapi.json
    /api/v1/schemas/workflow-test.json
    /api/v1/schemas/workflow.json
    /api/v1/setup
    /assets/style.css
    /decide/{token}
    /docs/errors
    /docs/errors/{code}
    /health
    /health/detailed
    /internal/notifications/{execution}
    /internal/payloads/{execution}/{id}
    /metrics
    /webhooks/{id}
    /webhooks/{id}/{*path}
    /workflow_orchestration
    /workflow_orchestration/
    /workflow_orchestration/assets/{*name}
    /workflow_orchestration/{*path}
    ");
}

#[tokio::test]
async fn whoever_has_the_link_becomes_the_owner_once() {
    let api = start(Config::default());
    let mut browser = Browser::new(&api);
    assert_eq!(browser.session().await["state"], "setup");
    assert_eq!(browser.workflows().await, 401);
    let token = link(&api, LinkFor::Owner).await;
    let refused = setup(&mut browser, &token, "a b", "too short").await;
    assert_eq!(refused.code(), "invalid_body");
    let problems = refused.json()["problems"].clone();
    assert_eq!((&problems[0]["path"], &problems[1]["path"]), (&json!(["name"]), &json!(["password"])));
    assert_eq!(setup(&mut browser, "made up", "ada", PASSWORD).await.code(), "link_refused");

    let made = setup(&mut browser, &token, "ada", PASSWORD).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let cookie = made.headers["set-cookie"].to_str().expect("text");
    assert!(cookie.starts_with("sid=") && cookie.contains("; HttpOnly; SameSite=Lax;"), "{cookie}");
    let session = browser.session().await;
    assert_eq!((&session["state"], &session["principal"]["name"]), (&json!("signed_in"), &json!("ada")));
    assert!(session["principal"]["permissions"].as_array().is_some_and(|all| all.len() > 5));
    assert_eq!(browser.workflows().await, 200);

    let mut other = Browser::new(&api);
    assert_eq!(other.session().await["state"], "signed_out");
    assert_eq!(setup(&mut other, &token, "eve", PASSWORD).await.code(), "link_refused");
    let late = link(&api, LinkFor::Owner).await;
    assert_eq!(setup(&mut other, &late, "eve", PASSWORD).await.code(), "owner_exists");
}

#[tokio::test]
async fn a_session_changes_things_only_with_its_token() {
    let api = start(Config::default());
    let mut browser = owned(&api).await;
    let document = json!({ "definition": DOCUMENT });
    let csrf = std::mem::take(&mut browser.csrf);
    let refused = browser.send("POST", "/api/v1/workflows", Some(document.clone())).await;
    assert_eq!(refused.code(), "csrf_token_wrong");
    browser.csrf = format!("{csrf}0");
    let refused = browser.send("POST", "/api/v1/workflows", Some(document.clone())).await;
    assert_eq!(refused.code(), "csrf_token_wrong");
    browser.csrf = csrf;
    let made = browser.send("POST", "/api/v1/workflows", Some(document.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text);
    // A page of another site has the cookie sent along, and even its token would not help it.
    let cookie = browser.cookie.clone().expect("a cookie");
    let from_elsewhere = [
        JSON,
        ("origin", "https://elsewhere.example"),
        ("cookie", cookie.as_str()),
        ("x-csrf-token", browser.csrf.as_str()),
    ];
    let body = document.to_string();
    let refused = api.send_bare("POST", "/api/v1/workflows", &from_elsewhere, &body).await;
    assert_eq!(refused.code(), "forbidden");
}

#[tokio::test]
async fn a_key_is_the_owner_and_cookies_beside_it_count_for_nothing() {
    let api = start(Config::default());
    assert_eq!(api.get("/api/v1/workflows").await.status, 200);
    let bearer = format!("Bearer {KEY}");
    let shown = [("authorization", bearer.as_str())];
    assert_eq!(api.send_bare("GET", "/api/v1/workflows", &shown, "").await.status, 200);
    let browser = owned(&api).await;
    let cookie = browser.cookie.clone().expect("a cookie");
    for wrong in [("x-api-key", "wrong"), ("authorization", "Bearer wrong"), ("authorization", "Basic YTpi")]
    {
        let headers = [wrong, ("cookie", cookie.as_str())];
        let refused = api.send_bare("GET", "/api/v1/workflows", &headers, "").await;
        assert_eq!(refused.code(), "unauthorized", "{wrong:?}");
    }
    let key_alone = api.send("GET", "/api/v1/me/sessions", &[], "").await;
    assert_eq!(key_alone.code(), "forbidden");
    let keyless = api.send_bare("GET", "/api/v1/workflows?api_key=x", &[], "").await;
    assert_eq!(keyless.code(), "unauthorized");
}

#[tokio::test]
async fn five_wrong_passwords_lock_even_the_right_one_out_and_the_session_goes_on() {
    let api = start(Config::default());
    let mut signed_in = owned(&api).await;
    let mut browser = Browser::new(&api);
    let unknown = browser.sign_in("nobody", PASSWORD).await;
    for _ in 0..5 {
        let refused = browser.sign_in("ADA", "wrong horse battery").await;
        assert_eq!(refused.code(), "sign_in_refused");
        assert_eq!(refused.json()["detail"], unknown.json()["detail"]);
    }
    let locked = browser.sign_in("ada", PASSWORD).await;
    assert_eq!(locked.code(), "sign_in_refused");
    assert_eq!(locked.json()["detail"], unknown.json()["detail"]);
    assert_eq!(browser.session().await["state"], "signed_out");
    assert_eq!(signed_in.workflows().await, 200);
}

#[tokio::test]
async fn four_wrong_passwords_are_forgotten_with_the_right_one() {
    let api = start(Config::default());
    owned(&api).await;
    let mut browser = Browser::new(&api);
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(browser.sign_in("ada", "wrong horse battery").await.status, 401);
        }
        assert_eq!(browser.sign_in("Ada", PASSWORD).await.status, 200);
    }
}

#[tokio::test]
async fn a_session_ends_where_it_is_ended() {
    let api = start(Config::default());
    let (mut here, mut there) = (owned(&api).await, Browser::new(&api));
    there.sign_in("ada", PASSWORD).await;
    let list = here.send("GET", "/api/v1/me/sessions", None).await.json();
    let items = list["items"].as_array().expect("a list");
    assert_eq!(items.len(), 2);
    let of = |current: bool| {
        let item = items.iter().find(|item| item["current"] == current).expect("a session");
        assert_eq!(item["agent"], "Firefox");
        format!("/api/v1/me/sessions/{}", item["id"].as_str().expect("an id"))
    };
    assert_eq!(here.send("DELETE", &of(false), None).await.status, 204);
    assert_eq!((here.workflows().await, there.workflows().await), (200, 401));
    assert_eq!(here.send("DELETE", &of(false), None).await.code(), "not_found");
    let cookie = here.cookie.clone();
    assert_eq!(here.send("POST", "/api/v1/auth/logout", None).await.status, 204);
    assert_eq!(here.cookie, None, "the browser is told to forget it");
    here.cookie = cookie;
    assert_eq!(here.workflows().await, 401, "and it would be of no use");
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    let api = start(Config::default());
    let (mut here, mut there) = (owned(&api).await, Browser::new(&api));
    there.sign_in("ada", PASSWORD).await;
    let change = async |browser: &mut Browser<'_>, old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        browser.send("POST", "/api/v1/me/password", Some(body)).await
    };
    assert_eq!(
        change(&mut here, "wrong horse battery", "another horse battery").await.code(),
        "sign_in_refused"
    );
    assert_eq!(change(&mut here, PASSWORD, "short").await.code(), "invalid_body");
    assert_eq!((here.workflows().await, there.workflows().await), (200, 200));
    let before = here.cookie.clone();
    assert_eq!(change(&mut here, PASSWORD, "another horse battery").await.status, 200);
    assert_ne!(here.cookie, before, "a new session");
    assert_eq!((here.workflows().await, there.workflows().await), (200, 401));
    assert_eq!(there.sign_in("ada", PASSWORD).await.status, 401);
    assert_eq!(there.sign_in("ada", "another horse battery").await.status, 200);
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_a_link_for_that_person() {
    let api = start(Config::default());
    let mut lost = owned(&api).await;
    let ada = {
        let store: DynStore = api.store.clone();
        store.user_named("ada").await.expect("answered").expect("a user")
    };
    let token = link(&api, LinkFor::Password(ada.id)).await;
    let mut browser = Browser::new(&api);
    let refused = setup(&mut browser, &token, "eve", "another horse battery").await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["problems"][0]["path"]),
        ("invalid_body", &json!(["name"]))
    );
    assert_eq!(setup(&mut browser, &token, "Ada", "another horse battery").await.status, 201);
    assert_eq!(browser.session().await["principal"]["name"], "ada");
    assert_eq!((browser.workflows().await, lost.workflows().await), (200, 401));
}

#[tokio::test]
async fn a_cookie_that_somebody_made_up_is_nobodys() {
    let api = start(Config::default());
    owned(&api).await;
    let mut browser = Browser::new(&api);
    browser.cookie = Some("sid=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    assert_eq!(browser.workflows().await, 401);
    browser.sign_in("ada", PASSWORD).await;
    assert!(
        !browser.cookie.as_deref().is_some_and(|cookie| cookie.contains("AAAAAAAA")),
        "a new one is given"
    );
}
