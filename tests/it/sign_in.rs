//! Who gets in, with real processes: the link that the start prints, sessions, the key of the data folder.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    RUNTIME,
    client::Answer,
    place::{Place, Shape},
};

both_shapes!(the_printed_link_makes_the_owner_and_sessions_end_everywhere_at_once,);

/// The token of the link in a text.
fn token(text: &str) -> Result<&str> {
    let rest = text.split("/workflow_orchestration/setup#").nth(1).context("a link was printed")?;
    rest.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter))
        .next()
        .context("the link has a token")
}

async fn setup(place: &Place, token: &str, name: &str, password: &str) -> Result<Answer> {
    let body = json!({ "token": token, "name": name, "password": password });
    place.api.post("/api/v1/setup", &body).await
}

/// The pair of name and value that a browser would show from now on.
fn cookie(answer: &Answer) -> Result<String> {
    let cookie = answer.header("set-cookie");
    ensure!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

async fn ask(place: &Place, method: Method, path: &str, cookie: &str, csrf: &str) -> Result<Answer> {
    let headers = [("cookie", cookie), ("x-csrf-token", csrf)];
    place.api.send(method, path, &headers, None).await
}

async fn the_printed_link_makes_the_owner_and_sessions_end_everywhere_at_once(place: &Place) -> Result<()> {
    let printed = place.tails(usize::MAX);
    let first = token(&printed)?;
    setup(place, first, "ada", "short").await?.problem(422, "invalid_body")?;
    let made = setup(place, first, "ada", "correct horse battery").await?;
    let session = made.expect(201)?;
    ensure!(session["state"] == "signed_in" && session["principal"]["name"] == "ada", "{session}");
    setup(place, first, "eve", "correct horse battery").await?.problem(403, "link_refused")?;

    let here = cookie(&made)?;
    let csrf = session["csrf"].as_str().context("a token")?;
    let who = json!({ "name": "Ada", "password": "correct horse battery" });
    let other = place.api.post("/api/v1/auth/login", &who).await?;
    other.expect(200)?;
    let there = cookie(&other)?;

    // What is begun at one process is known at the other, and what is ended is ended.
    let second = match place.shape {
        Shape::Embedded => None,
        Shape::Cluster => Some(place.second_api(&json!({})).await?),
    };
    let elsewhere = second.as_ref().unwrap_or(place);
    ask(elsewhere, Method::GET, "/api/v1/workflows", &there, "").await?.expect(200)?;
    let sessions = ask(place, Method::GET, "/api/v1/me/sessions", &here, "").await?.expect(200)?;
    let items = sessions["items"].as_array().context("a list")?;
    let theirs = items.iter().find(|one| one["current"] == false).context("the other session")?;
    let path = format!("/api/v1/me/sessions/{}", theirs["id"].as_str().context("an id")?);
    ask(place, Method::DELETE, &path, &here, "").await?.problem(403, "csrf_token_wrong")?;
    ask(place, Method::DELETE, &path, &here, csrf).await?.expect(204)?;
    ask(elsewhere, Method::GET, "/api/v1/workflows", &there, "").await?.problem(401, "unauthorized")?;

    // Who has forgotten the password is given a link by whoever runs the server.
    let output = place.apg(&["owner-link", "--name", "ada", "--server", &place.api.base]).await?;
    ensure!(output.code == 0, "{output:?}");
    setup(place, token(&output.out)?, "ada", "another horse battery").await?.expect(201)?;
    ask(elsewhere, Method::GET, "/api/v1/workflows", &here, "").await?.problem(401, "unauthorized")?;
    place.api.post("/api/v1/auth/login", &who).await?.problem(401, "sign_in_refused")?;
    Ok(())
}

#[test]
fn a_server_without_a_key_makes_one_that_commands_find() -> Result<()> {
    RUNTIME.block_on(async {
        let place = Place::start(Shape::Embedded, &json!({ "api": { "key": Value::Null } })).await?;
        place.api.get("/api/v1/workflows").await?.problem(401, "unauthorized")?;
        let output = place.apg(&["workflow", "list", "--server", &place.api.base]).await?;
        ensure!(output.code == 0, "{output:?}");
        let wrong = "a-key-of-somebody-elses-server-altogether";
        let refused =
            place.apg(&["workflow", "list", "--server", &place.api.base, "--api-key", wrong]).await?;
        ensure!(refused.code != 0 && refused.err.contains("unauthorized"), "{refused:?}");
        Ok(())
    })
}
