//! How requests are read. Whatever cannot be read is answered with a [`Problem`] that says where.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::{
    app::App,
    problem::{Code, Mistake, Problem},
};

/// The ids in the path.
pub(crate) struct At<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(value)) => Ok(Self(value)),
            // What is no id names nothing.
            Err(rejection) => Err(Problem::new(Code::NotFound, format!("{}.", rejection.body_text()))),
        }
    }
}

/// The query parameters.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::new(Code::InvalidQuery, format!("{}.", rejection.body_text()))),
        }
    }
}

async fn bytes(request: Request, app: &App) -> Result<Bytes, Problem> {
    match Bytes::from_request(request, app).await {
        Ok(bytes) => Ok(bytes),
        Err(BytesRejection::FailedToBufferBody(rejection)) if rejection.status().as_u16() == 413 => {
            Err(Problem::new(
                Code::BodyTooLarge,
                format!("At most {} bytes are read.", app.config.body_limit_bytes),
            ))
        }
        Err(rejection) => Err(Problem::new(Code::MalformedJson, format!("The body broke off: {rejection}."))),
    }
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let said =
        if found.is_empty() { "No content type was given".to_owned() } else { format!("It is `{found}`") };
    Err(Problem::new(Code::UnsupportedMediaType, format!("{said}; send `Content-Type: application/json`.")))
}

/// Reads JSON, or says where it stops being what is wanted.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        use serde_json::error::Category;
        let code = match error.classify() {
            Category::Data => Code::InvalidBody,
            Category::Syntax | Category::Eof | Category::Io => Code::MalformedJson,
        };
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
        let mistake = Mistake {
            line: Some(error.line() as u64).filter(|line| *line > 0),
            column: Some(error.column() as u64).filter(|column| *column > 0),
            ..Mistake::new(code, Vec::new(), message.clone())
        };
        let place = match (mistake.line, mistake.column) {
            (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
            (Some(line), None) => format!(" (line {line})"),
            _ => String::new(),
        };
        let listed = serde_json::to_value(&mistake).into_iter().collect();
        Problem::new(code, format!("{message}{place}.")).with_problems(listed)
    })
}

/// A JSON body.
pub(crate) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        read(&bytes(request, app).await?).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct BodyOrDefault<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<App> for BodyOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let declared = must_be_json(request.headers());
        let bytes = bytes(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        declared?;
        read(&bytes).map(Self)
    }
}

/// The header `Idempotency-Key`.
pub(crate) struct IdempotencyKey(pub Option<String>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text.is_empty()
            || text.len() > 255
            || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(Problem::new(
                Code::InvalidHeader,
                "`Idempotency-Key` is 1 to 255 visible ASCII characters.",
            ));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

/// The version that the header `If-Match` names; `*` and no header name none.
pub(crate) struct IfMatch(pub Option<u32>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let bare = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        bare.parse().map(|version| Self(Some(version))).map_err(|_| {
            Problem::new(Code::InvalidHeader, "`If-Match` is a version in quotes, such as `\"3\"`, or `*`.")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[allow(dead_code, reason = "only its type matters")]
        name: String,
    }

    fn refused(text: &str) -> (Code, String) {
        let problem = read::<Wanted>(text.as_bytes()).expect_err("this is refused");
        (problem.code, problem.detail)
    }

    #[test]
    fn bad_bodies_say_what_and_where() {
        assert_eq!(
            refused("{\"name\":\n  oops}"),
            (Code::MalformedJson, "expected value (line 2, column 3).".to_owned())
        );
        let (code, detail) = refused("{\"nam\":\"x\"}");
        assert_eq!(code, Code::InvalidBody);
        assert!(detail.contains("unknown field `nam`") && detail.contains("line 1, column"), "{detail}");
        let (code, detail) = refused("{\"name\":7}");
        assert_eq!(code, Code::InvalidBody);
        assert!(detail.contains("expected a string"), "{detail}");
        assert_eq!(refused("").0, Code::MalformedJson);
        assert_eq!(refused("{\"name\":\"a\"} x").0, Code::MalformedJson);
    }
}
