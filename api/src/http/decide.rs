//! `/decide/{token}`: the page behind a signed link. Looking changes nothing; the form on it decides.

use std::fmt::Write as _;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shared::execution::AnswerVerdict;

use super::{
    extract::At,
    pages::{escape, page},
};
use crate::{
    app::App,
    deeds::{Answered, LinkView},
    problem::{Code, Problem},
};

/// What the form brings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Decision {
    comment: String,
}

/// A browser, and not a program, asks.
fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/html"))
}

fn shown(status: StatusCode, title: &str, body: &str) -> Response {
    let mut response = (status, page(title, body)).into_response();
    let headers = response.headers_mut();
    // The form posts to its own page: with `no-referrer` a browser would say that it comes from nowhere, and
    // be refused. No other site ever sees the address.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}

fn refused(headers: &HeaderMap, problem: Problem) -> Response {
    if !wants_page(headers) {
        return problem.into_response();
    }
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = problem.code.title();
    let body = format!("<h1>{}</h1><p>{}</p>", escape(title), escape(&problem.detail));
    shown(status, title, &body)
}

const fn words(verdict: AnswerVerdict) -> (&'static str, &'static str) {
    match verdict {
        AnswerVerdict::Approve => ("Approve", "approved"),
        AnswerVerdict::Reject => ("Reject", "rejected"),
        AnswerVerdict::Submit => ("Submit", "submitted"),
    }
}

fn question(view: &LinkView) -> String {
    let (word, _) = words(view.verdict);
    let mut body = format!("<h1>{}</h1>", escape(&view.title));
    for paragraph in view.message.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(body, "<p>{}</p>", escape(paragraph.trim()).replace('\n', "<br>"));
    }
    let _ = write!(
        body,
        "<p>Workflow <strong>{}</strong>, started by <strong>{}</strong>.</p>",
        escape(&view.workflow),
        escape(&view.requester)
    );
    match &view.over {
        Some(over) => {
            let _ = write!(body, "<p><strong>Nothing is left to decide here.</strong> {}</p>", escape(over));
        }
        None => {
            let _ = write!(
                body,
                "<form method=\"post\"><p><label for=\"comment\">Comment</label><br>\
                 <textarea id=\"comment\" name=\"comment\" rows=\"3\" cols=\"60\" maxlength=\"4000\"></textarea></p>\
                 <p><button type=\"submit\">{word}</button> as <strong>{}</strong></p></form>\
                 <p>This link works once, until {}.</p>",
                escape(&view.assignee),
                view.expires_at
            );
        }
    }
    body
}

/// Shows what a link decides, and a form that does.
pub(crate) async fn decide_page(
    State(app): State<App>,
    headers: HeaderMap,
    At(token): At<String>,
) -> Response {
    match app.deeds.link_look(&token).await {
        Ok(view) => shown(StatusCode::OK, &view.title, &question(&view)),
        Err(problem) => refused(&headers, problem),
    }
}

/// Decides.
pub(crate) async fn decide(
    State(app): State<App>,
    At(token): At<String>,
    headers: HeaderMap,
    form: Result<Form<Decision>, FormRejection>,
) -> Response {
    let comment = match form {
        Ok(Form(form)) => form.comment,
        // A program may send nothing at all.
        Err(FormRejection::InvalidFormContentType(_)) if !headers.contains_key(header::CONTENT_TYPE) => {
            String::new()
        }
        Err(rejection) => {
            let problem = Problem::new(Code::InvalidBody, format!("{}.", rejection.body_text()));
            return refused(&headers, problem);
        }
    };
    match app.deeds.link_use(&token, comment).await {
        Ok(answered) => done(&headers, answered),
        Err(problem) => refused(&headers, problem),
    }
}

fn done(headers: &HeaderMap, answered: Answered) -> Response {
    let view = match answered {
        Answered::Later(later) if !wants_page(headers) => {
            return (StatusCode::ACCEPTED, axum::Json(later)).into_response();
        }
        Answered::Later(_) => {
            let body = "<h1>Your answer is kept</h1><p>It counts as soon as the server comes to it, unless somebody \
                        was before you.</p>";
            return shown(StatusCode::ACCEPTED, "Your answer is kept", body);
        }
        Answered::Now(view) => view,
    };
    if !wants_page(headers) {
        return axum::Json(view).into_response();
    }
    let verdict = view.answers.last().map_or("answered", |answer| words(answer.verdict).1);
    let body = format!("<h1>You {verdict} it</h1><p>{}</p>", escape(&view.title));
    shown(StatusCode::OK, "Thank you", &body)
}
