//! Pages without a script: the API reference, and what an error code means.

use std::fmt::Write as _;

use axum::{
    Json,
    http::header,
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;

use super::extract::At;
use crate::{
    openapi,
    problem::{Code, Problem},
};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8885;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
code{font:14px ui-monospace,monospace}
pre{overflow:auto;padding:1rem;background:var(--soft)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}
.method{display:inline-block;min-width:4.5rem;font-weight:600}
";

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

pub(super) fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"/assets/style.css\"></head>\
         <body>{body}</body></html>\n",
        title = escape(title)
    ))
}

pub(crate) async fn style() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")];
    (headers, STYLE).into_response()
}

pub(crate) async fn openapi_json() -> Json<&'static Value> {
    Json(openapi::document())
}

/// The type of a schema in a few words.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or(name).to_owned();
    }
    for joined in ["oneOf", "anyOf", "allOf"] {
        if let Some(list) = schema[joined].as_array() {
            return list.iter().map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

fn fields(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object() else { return String::new() };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = "<table><tr><th>Field<th>Type<th>Meaning</tr>".to_owned();
    for (name, field) in properties {
        let mark = if required.contains(&name.as_str()) { "" } else { ", optional" };
        let _ = write!(
            text,
            "<tr><td><code>{}</code><td>{}{mark}<td>{}</tr>",
            escape(name),
            escape(&type_of(field)),
            escape(openapi::description(field).unwrap_or_default())
        );
    }
    text.push_str("</table>");
    text
}

fn reference(document: &Value) -> String {
    let mut body =
        "<h1>API reference</h1><p>Made from the <a href=\"/api/v1/openapi.json\">OpenAPI document</a>. \
                    Errors are <code>application/problem+json</code> with a stable <code>code</code>: \
                    <a href=\"/docs/errors\">all codes</a>.</p>"
            .to_owned();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let _ = write!(
                body,
                "<details><summary><span class=\"method\">{}</span> <code>{}</code> {}</summary><p>{}</p>",
                escape(&method.to_uppercase()),
                escape(path),
                escape(operation["summary"].as_str().unwrap_or_default()),
                escape(operation["description"].as_str().unwrap_or_default())
            );
            if let Some(parameters) = operation["parameters"].as_array() {
                body.push_str("<table><tr><th>Parameter<th>In<th>Type<th>Meaning</tr>");
                for parameter in parameters {
                    let _ = write!(
                        body,
                        "<tr><td><code>{}</code><td>{}<td>{}<td>{}</tr>",
                        escape(parameter["name"].as_str().unwrap_or_default()),
                        escape(parameter["in"].as_str().unwrap_or_default()),
                        escape(&type_of(&parameter["schema"])),
                        escape(parameter["description"].as_str().unwrap_or_default())
                    );
                }
                body.push_str("</table>");
            }
            let wanted = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !wanted.is_null() {
                let _ = write!(body, "<p>Body: {}</p>", escape(&type_of(wanted)));
            }
            body.push_str("<ul>");
            for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                let shape = answer["content"]
                    .as_object()
                    .and_then(|content| content.values().next())
                    .filter(|content| !content["schema"].is_null())
                    .map(|content| format!(": {}", type_of(&content["schema"])))
                    .unwrap_or_default();
                let _ = write!(
                    body,
                    "<li><code>{}</code> {}{}</li>",
                    escape(status),
                    escape(answer["description"].as_str().unwrap_or_default()),
                    escape(&shape)
                );
            }
            body.push_str("</ul></details>");
        }
    }
    body.push_str("<h2>Shapes</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(
            body,
            "<details><summary><code>{}</code> {}</summary>{}</details>",
            escape(name),
            escape(schema["description"].as_str().unwrap_or_default()),
            fields(schema)
        );
    }
    body
}

pub(crate) async fn docs() -> Html<String> {
    page("API reference", &reference(openapi::document()))
}

pub(crate) async fn error_list() -> Html<String> {
    let mut body = "<h1>Error codes</h1><table><tr><th>Code<th>HTTP<th>Meaning</tr>".to_owned();
    for code in Code::ALL {
        let _ = write!(
            body,
            "<tr><td><a href=\"/docs/errors/{0}\"><code>{0}</code></a><td>{1}<td>{2}</tr>",
            code.as_str(),
            code.status(),
            escape(code.title())
        );
    }
    body.push_str("</table>");
    page("Error codes", &body)
}

pub(crate) async fn error_page(At(code): At<String>) -> Result<Html<String>, Problem> {
    let found = Code::ALL.iter().find(|known| known.as_str() == code);
    let found =
        found.ok_or_else(|| Problem::not_found(format_args!("error code `{}`", code.escape_debug())))?;
    let mut body = String::new();
    for block in found.page().split("\n\n") {
        let block = block.trim();
        let text = |text: &str| {
            // Backticks stand in pairs.
            let parts = text.split('`').enumerate();
            parts.fold(String::new(), |mut all, (index, part)| {
                let part = escape(part);
                if index % 2 == 1 {
                    let _ = write!(all, "<code>{part}</code>");
                } else {
                    all.push_str(&part);
                }
                all
            })
        };
        let _ = match (block.strip_prefix("## "), block.strip_prefix("# ")) {
            (Some(heading), _) => write!(body, "<h2>{}</h2>", text(heading)),
            (None, Some(heading)) => write!(body, "<h1>{}</h1>", text(heading)),
            _ => write!(body, "<p>{}</p>", text(block)),
        };
    }
    Ok(page(found.as_str(), &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_markup() {
        assert_eq!(escape("<b a='1'>\"&"), "&lt;b a=&#39;1&#39;&gt;&quot;&amp;");
    }
}
