//! What is answered when a deed is not done: RFC 9457 problems with a stable code.
//!
//! Expected outcomes (an execution that has ended already, a repeated submission) are data and never
//! come this way.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use shared::port::{queue::QueueError, store::StoreError};
use tracing::error;
use utoipa::ToSchema;

tokio::task_local! {
    /// The id of the request that this task answers.
    pub(crate) static REQUEST_ID: String;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)+) => {
        /// Why a request was refused. Stable: programs decide by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name),+ }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The text of the code, as answered in `code` and at the end of `type`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// A short sentence that is the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// The page that explains it.
            pub const fn page(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!("../../docs/errors/", $text, ".md"))),+ }
            }
        }
    };
}

/// A text with a capital at its beginning.
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

codes! {
    /// The body does not parse as JSON.
    MalformedJson = "malformed_json", 400, "The body is not valid JSON";
    /// A query parameter is unknown or has a wrong value.
    InvalidQuery = "invalid_query", 400, "A query parameter is wrong";
    /// A header has a value that cannot be read.
    InvalidHeader = "invalid_header", 400, "A header is wrong";
    /// A credential is missing or wrong.
    Unauthorized = "unauthorized", 401, "A credential is missing or wrong";
    /// Nobody is let in like this: a wrong name or password, or too many of them.
    SignInRefused = "sign_in_refused", 401, "Nobody is let in like this";
    /// A session wants to change something without its token.
    CsrfTokenWrong = "csrf_token_wrong", 403, "The token of the session is missing or wrong";
    /// The caller lacks a permission, or a web page of another site sent the request.
    Forbidden = "forbidden", 403, "This is not allowed";
    /// The human task is with others.
    NotAsked = "not_asked", 403, "Others are asked";
    /// Whoever started the execution does not decide about it.
    RequesterMayNotDecide = "requester_may_not_decide", 403, "Whoever started it may not decide";
    /// The signed link is used, expired or not ours.
    LinkRefused = "link_refused", 403, "The link cannot be used";
    /// There is no such path or thing.
    NotFound = "not_found", 404, "There is no such thing";
    /// The path is known, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405, "The path does not take this method";
    /// The installation has an owner already.
    OwnerExists = "owner_exists", 409, "There is an owner already";
    /// Another workflow has the name.
    NameTaken = "name_taken", 409, "The name is taken";
    /// The workflow is archived and takes no executions.
    WorkflowArchived = "workflow_archived", 409, "The workflow is archived";
    /// The human task was answered, expired or cancelled.
    TaskEnded = "task_ended", 409, "The task has ended";
    /// This assignee has answered already.
    AlreadyAnswered = "already_answered", 409, "There is an answer already";
    /// Somebody else has claimed the task, or nobody has.
    ClaimConflict = "claim_conflict", 409, "The task is not claimed by you";
    /// The task asks for something else.
    WrongAction = "wrong_action", 409, "The task does not take this";
    /// The execution has ended and takes nothing.
    ExecutionEnded = "execution_ended", 409, "The execution has ended";
    /// The execution is being cancelled.
    ExecutionEnding = "execution_ending", 409, "The execution is being ended";
    /// The execution has not ended, and is not done again.
    ExecutionOpen = "execution_open", 409, "The execution has not ended";
    /// The trigger is paused, disabled or lacks its secret.
    TriggerInactive = "trigger_inactive", 409, "The trigger takes nothing";
    /// The workflow is at another version than `If-Match` says.
    StaleVersion = "stale_version", 412, "The workflow has changed meanwhile";
    /// The body is larger than the limit.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not supported";
    /// The `Host` header names a machine that this server does not answer for.
    MisdirectedRequest = "misdirected_request", 421, "The server does not answer for this host";
    /// The body is JSON, but not of the wanted shape.
    InvalidBody = "invalid_body", 422, "The body has the wrong shape";
    /// The workflow document has mistakes.
    InvalidDocument = "invalid_document", 422, "The workflow document has mistakes";
    /// The parameters do not fit the workflow.
    InvalidParameters = "invalid_parameters", 422, "The parameters do not fit the workflow";
    /// What was filled in does not fit the form.
    InvalidForm = "invalid_form", 422, "The form is not filled in as it asks";
    /// What would be kept of an execution cannot be, or there is nothing to do again.
    RetryRefused = "retry_refused", 422, "It is not done again like this";
    TryRefused = "try_refused", 422, "It cannot be tried like this";
    /// It cannot go on as that version, as it stands.
    MoveRefused = "move_refused", 422, "It is not moved like this";
    /// The workflow waits for no signal of that name.
    UnknownSignal = "unknown_signal", 422, "The workflow waits for no such signal";
    /// The idempotency key was used for something else.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used for something else";
    /// The bytes of a dead letter are no message that can be sent.
    DeadLetterUnreadable = "dead_letter_unreadable", 422, "The dead letter cannot be read";
    /// Too many executions are open.
    QuotaExceeded = "quota_exceeded", 429, "Too many executions are open";
    /// A webhook or trigger takes only so much at a time.
    RateLimited = "rate_limited", 429, "Too much at a time";
    /// A fault of the server.
    Internal = "internal", 500, "Something went wrong on our side";
    /// More sign in at once than can be looked at.
    TooBusy = "too_busy", 503, "Too many at once";
    /// The store cannot be reached; nothing was done.
    StoreUnavailable = "store_unavailable", 503, "The store is unavailable";
    /// The store did not say whether it was done.
    OutcomeUnknown = "outcome_unknown", 503, "It is not known whether this was done";
    /// The queue cannot be reached; nothing was sent.
    QueueUnavailable = "queue_unavailable", 503, "The queue is unavailable";
}

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub code: Code,
    /// What is wrong this time, for people.
    pub detail: String,
    /// Each single mistake of a document, of parameters or of a body.
    pub problems: Vec<Value>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = match code.status() {
            429 | 503 => Some(Duration::from_secs(1)),
            _ => None,
        };
        Self { code, detail: detail.into(), problems: Vec::new(), retry_after }
    }

    /// Nothing with that id, or not for this caller: the two are not told apart.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("There is no {what}."))
    }

    /// A fault of ours. The cause goes to the log, not to the caller.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        error!(cause = %cause, "A request met a fault of ours: {cause}");
        Self::new(Code::Internal, "The fault was logged with this trace id.")
    }

    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Value>) -> Self {
        self.problems = problems;
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// The body that is sent.
    pub fn body(&self) -> ProblemBody {
        ProblemBody {
            kind: format!("/docs/errors/{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.as_str(),
            trace_id: REQUEST_ID.try_with(Clone::clone).unwrap_or_default(),
            problems: self.problems.clone(),
        }
    }
}

/// The outermost error and everything below it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => {
                tracing::warn!(cause = chain(&error), "The store is unavailable; a request was refused");
                Self::new(Code::StoreUnavailable, "Nothing was done. Try again in a moment.")
            }
            StoreError::Unknown(_) => {
                tracing::warn!(cause = chain(&error), "The store did not say whether a request was done");
                Self::new(
                    Code::OutcomeUnknown,
                    "The connection to the store broke while this was under way. Repeating the request with the \
                     same Idempotency-Key is safe; without one, look first whether it was done.",
                )
            }
            _ => Self::internal(chain(&error)),
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        tracing::warn!(cause = chain(&error), "The queue is unavailable; a request was refused");
        Self::new(
            Code::QueueUnavailable,
            "The message was not confirmed by the broker. Try again in a moment.",
        )
    }
}

/// Why a request was refused (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The page that explains the code.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors/not_found")]
    pub kind: String,
    /// A short sentence that is the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status, again.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Stable; programs decide by it.
    #[schema(example = "not_found")]
    pub code: &'static str,
    /// The id of the request, as in the header `X-Request-Id` and in the server's log.
    pub trace_id: String,
    /// Each single mistake, when there may be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Mistake>)]
    pub problems: Vec<Value>,
}

/// One mistake in a document, in parameters or in a body.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// What kind of mistake it is.
    pub code: String,
    /// What is wrong and how to mend it.
    pub message: String,
    /// `error` or `warning`.
    pub severity: String,
    /// Where: keys and indexes from the root.
    pub path: Vec<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The text at that place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Mistake {
    /// An error at a path.
    pub(crate) fn new(code: Code, path: Vec<String>, message: String) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message,
            severity: "error".to_owned(),
            path,
            line: None,
            column: None,
            excerpt: None,
            suggestion: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_names_it_and_its_status() {
        for code in Code::ALL {
            let page = code.page();
            assert!(page.starts_with(&format!("# `{}`\n", code.as_str())), "the title of {}", code.as_str());
            assert!(page.contains(&format!("HTTP {}", code.status())), "the status of {}", code.as_str());
            assert!(page.contains(code.title()), "the title sentence of {}", code.as_str());
        }
    }

    #[test]
    fn what_may_help_later_says_when() {
        for code in Code::ALL {
            let later = Problem::new(*code, "").retry_after.is_some();
            assert_eq!(later, matches!(code.status(), 429 | 503), "{}", code.as_str());
        }
    }

    #[test]
    fn an_unknown_outcome_says_that_repeating_is_safe() {
        let problem = Problem::from(StoreError::Unknown("reset".into()));
        assert_eq!(problem.code, Code::OutcomeUnknown);
        assert!(problem.detail.contains("same Idempotency-Key is safe"), "{}", problem.detail);
    }
}
