//! Asking people, which the engine decides, and telling them, which a worker does.

pub mod approval;
pub mod human_task;
pub mod notification;

use serde_json::Value;
use shared::{component::ConfigProblem, time::parse_duration};

use crate::describe::{check_duration, is_expression, problem};

/// Problems of a list of users, groups and roles.
fn check_people(list: &Value, path: &[&str]) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let Some(people) = list.as_array() else { return problems };
    if people.is_empty() {
        problems.push(problem(path, "somebody must be asked: the list is empty"));
    }
    for (index, name) in people.iter().enumerate() {
        let Some(name) = name.as_str().filter(|name| !name.contains("${{")) else { continue };
        let bare = match name.split_once(':') {
            None => name,
            Some(("user" | "group" | "role", bare)) => bare,
            Some((kind, _)) => {
                let index = index.to_string();
                problems.push(problem(
                    &[path, &[&index]].concat(),
                    format!("`{kind}:` is none of `user:`, `group:` and `role:`"),
                ));
                continue;
            }
        };
        if bare.trim().is_empty() || bare.chars().count() > 200 {
            let index = index.to_string();
            problems.push(problem(&[path, &[&index]].concat(), "a name has from 1 to 200 characters"));
        }
    }
    problems
}

/// Problems of what approvals and human tasks have in common.
fn check_request(config: &Value) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    if let Some(assignees) = config.get("assignees") {
        problems.extend(check_people(assignees, &["assignees"]));
    }
    if let Some(form) = config.get("form").filter(|form| !form.is_null() && !is_expression(form))
        && let Err(wrong) = crate::data::validate::compile_schema(form)
    {
        problems.push(problem(&["form"], wrong.message));
    }
    problems.extend(check_duration(config, &["expires"], false));
    let expires = config.get("expires").and_then(Value::as_str).and_then(|text| parse_duration(text).ok());
    let steps = config.get("escalate").and_then(Value::as_array);
    for (index, step) in steps.into_iter().flatten().enumerate() {
        let index = index.to_string();
        let path = ["escalate", index.as_str()];
        if let Some(mut found) = check_duration(step, &["after"], false) {
            found.path.splice(0..0, path.iter().map(ToString::to_string));
            problems.push(found);
        }
        let after = step.get("after").and_then(Value::as_str).and_then(|text| parse_duration(text).ok());
        if let (Some(after), Some(expires)) = (after, expires)
            && after >= expires
        {
            problems.push(problem(
                &[&path[..], &["after"]].concat(),
                "nobody would be asked as well: the time is over by then (`expires`)",
            ));
        }
        if let Some(people) = step.get("to") {
            problems.extend(check_people(people, &[&path[..], &["to"]].concat()));
        }
    }
    problems
}
