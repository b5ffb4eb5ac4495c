//! `apg execution save-as-test`: a past execution as a case.
//!
//! What is written was tried: the case passes against the version that the execution ran.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use coordinator::simulate::{Mock, Reply, Says, Simulated};
use serde_json::{Value, json};
use shared::{
    execution::AnswerVerdict,
    time::format_duration,
    workflow::cases::{
        self, Case, CaseExecution, Expect, ExpectComponent, ExpectError, LARGEST_VALUE, MockError, Mocked,
        TestFile, Version,
    },
};

use crate::{
    Exit,
    cases::{Pure, Subject, differences, simulate},
    client::Client,
    history::{self, Past},
    output,
};

fn is_large(value: &Value) -> bool {
    value.to_string().len() > LARGEST_VALUE
}

/// An answer as a file says it; nothing for what files do not know.
fn written(reply: &Reply) -> Option<cases::Mock> {
    let mut mock = cases::Mock::default();
    match &reply.says {
        Says::Completed { output, ports } => {
            mock.output = Some(output.clone());
            mock.ports.clone_from(ports);
        }
        Says::Failed(failure) => {
            mock.error = Some(MockError {
                class: failure.class.to_string(),
                message: failure.message.clone(),
                details: failure.details.clone(),
            });
        }
        Says::Answered { verdict, data, comment, by, for_assignee } => {
            let data = Some(data.clone().unwrap_or_default());
            match verdict {
                AnswerVerdict::Approve => mock.approve = data,
                AnswerVerdict::Reject => mock.reject = data,
                AnswerVerdict::Submit => mock.submit = data,
            }
            mock.by = Some(by.clone());
            mock.for_assignee.clone_from(for_assignee);
            mock.comment.clone_from(comment);
        }
        Says::Event(body) => mock.event = Some(body.clone()),
        Says::Expires => mock.expire = true,
        Says::Lost | Says::Simulated(_) => return None,
    }
    if reply.after >= Duration::from_millis(1) && !mock.expire {
        mock.after = Some(format_duration(reply.after));
    }
    Some(mock)
}

/// The mocks of a case, and what was left out of them.
fn mocks(past: &Past) -> (BTreeMap<String, Mocked>, Vec<String>) {
    let mut left_out: Vec<String> =
        past.left_out.iter().map(|key| format!("{key}: larger than 64 KiB")).collect();
    let mut all = BTreeMap::new();
    for (key, mock) in &past.mocks.0 {
        let Mock::Each(replies) = mock else { continue };
        let mut list: Vec<cases::Mock> = replies.iter().filter_map(written).collect();
        if list.iter().any(|mock| is_large(&json!(mock))) {
            left_out.push(format!("{key}: larger than 64 KiB"));
            continue;
        }
        if replies.len() > list.len() {
            left_out.push(format!("{key}: attempts whose worker was lost"));
        }
        match (list.len(), list.pop()) {
            (_, None) => {}
            (1, Some(one)) => {
                all.insert(key.clone(), Mocked::Always(Box::new(one)));
            }
            (_, Some(last)) => {
                list.push(last);
                all.insert(key.clone(), Mocked::Each(list));
            }
        }
    }
    (all, left_out)
}

fn expectation(past: &Past, simulated: &Simulated) -> Expect {
    let components = simulated
        .tasks
        .iter()
        .filter(|(task, _)| task.iteration.is_none())
        .filter_map(|(task, seen)| {
            let status = serde_json::from_value(json!(seen.status)).ok()?;
            Some((task.to_string(), ExpectComponent::Status(status)))
        })
        .collect();
    Expect {
        status: serde_json::from_value(json!(past.status)).ok(),
        output: past.output.clone(),
        error: past.failure.as_ref().map(|failure| ExpectError {
            class: Some(failure.class.to_string()),
            message: Some(failure.message.clone()),
        }),
        components,
        never_called: Vec::new(),
    }
}

pub(super) async fn run(client: &Client, id: &str, file: Option<&Path>) -> Result<Exit> {
    let past = history::read(client, id).await?;
    if past.was_cancelled {
        bail!("{id} was cancelled by somebody, and no test does that");
    }
    if past.accepted.trial.is_some() {
        bail!("{id} only tried a part of a document: save an execution of the whole");
    }
    if past.has_carried {
        bail!("{id} does another again, and has kept results that were answered there: save that one");
    }
    let workflow = history::version(client, &past).await?;
    let (name, version) = (workflow.name.clone(), past.accepted.version);
    let (mut mocks, mut left_out) = mocks(&past);
    if past.has_moved {
        left_out.push(format!("it was moved to version {version} under way, and is a case of that one"));
        mocks.retain(|key, _| {
            let id = key.split_once('[').map_or(key.as_str(), |(id, _)| id);
            let is_there = workflow.index_of(id).is_some();
            if !is_there {
                left_out.push(format!("{key}: version {version} has no such component"));
            }
            is_there
        });
    }
    let mut parameters = past.accepted.parameters.clone();
    parameters.retain(|name, value| {
        let is_kept = !is_large(value);
        if !is_kept {
            left_out.push(format!("the parameter {name}: larger than 64 KiB"));
        }
        is_kept
    });
    let case = Case {
        name: format!("as {}", past.id),
        parameters,
        execution: Some(CaseExecution {
            id: Some(past.id.to_string()),
            started_at: Some(past.started_at.to_string()),
        }),
        mocks,
        expect: Expect::default(),
    };
    let mut tests = TestFile {
        test: Version::V1,
        workflow: Some(format!("./{name}.yaml")),
        with: Vec::new(),
        run: None,
        cases: vec![case],
    };
    let subject = Subject { workflow: Arc::clone(&workflow), called: Vec::new() };
    // Simulating a pure component blocks, and this thread is the runtime's.
    let (tests, dropped) = tokio::task::spawn_blocking(move || -> Result<_> {
        let pure = Pure::new()?;
        let simulated = simulate(&subject, &tests, &tests.cases[0], &pure);
        let mut expect = expectation(&past, &simulated);
        let mut dropped = Vec::new();
        if let Some(output) = expect.output.take() {
            if is_large(&output) {
                dropped.push("output: it is larger than 64 KiB".to_owned());
            } else {
                expect.output = Some(output);
            }
        }
        for difference in differences(&expect, &simulated) {
            let Some(part) = ["output", "error"].into_iter().find(|part| difference.path.starts_with(part))
            else {
                // A case without a mock that is too large is finished by hand.
                dropped.push(format!("{}: {}", difference.path, difference.actual));
                continue;
            };
            match part {
                "output" => expect.output = None,
                _ => expect.error = None,
            }
            dropped.push(format!("{}: it differs each time ({} here)", difference.path, difference.actual));
        }
        tests.cases[0].expect = expect;
        Ok((tests, dropped))
    })
    .await
    .context("the simulation ended early")??;
    let incomplete = dropped.iter().any(|line| !line.starts_with("output") && !line.starts_with("error"));

    let mut text = format!("# Written from an execution of version {version} of {name}.\n");
    for line in &left_out {
        let _ = writeln!(text, "# Left out of the mocks: {line}");
    }
    for line in &dropped {
        let _ = writeln!(text, "# Not expected: {}", line.replace('\n', " "));
    }
    text.push_str(&serde_saphyr::to_string(&tests).context("the test cannot be written")?);
    // What is written can be read.
    let read = cases::read_tests(&text).map_err(|problems| crate::documents::WrongDocument { problems })?;
    if let Err(problems) = read.check(&workflow, &|_| None) {
        output::say(format_args!("{problems}"));
        bail!("what was written is not a right test file");
    }
    match file {
        None => output::data(&text),
        Some(path) => {
            let mut out = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .with_context(|| format!("{} cannot be made; is it there already?", path.display()))?;
            out.write_all(text.as_bytes())
                .with_context(|| format!("{} cannot be written", path.display()))?;
            output::say(format_args!("{}: written; it names ./{name}.yaml", path.display()));
        }
    }
    if incomplete {
        output::say("The case does not pass as it is: see the comments at its head");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Success)
}
