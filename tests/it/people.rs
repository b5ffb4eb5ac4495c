//! What people are asked, what they answer, and signals.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use shared::testing::smtp::SmtpServer;

use crate::harness::{
    PATIENCE,
    client::text,
    place::{Place, Shape},
    unique_name, until,
};

both_shapes!(
    an_approval_waits_and_goes_its_way,
    of_many_answers_at_once_one_counts,
    a_quorum_waits_for_enough,
    work_is_claimed_filled_in_and_handed_in,
    an_end_takes_its_questions_along,
    nobody_answers_and_the_time_is_over,
    a_link_decides_once,
    a_signal_is_received,
    a_signal_that_comes_early_is_kept,
    a_signal_for_nobody_is_refused,
    what_is_waited_for_is_listed,
    a_kill_ends_at_once,
    people_are_told_in_the_platform,
    a_mail_decides_once,
);

const APPROVAL: &str = "\
workflow: v1
name: test
components:
  review: { type: approval, config: { assignees: [finance, legal], message: 'Pay?', links: true } }
  paid: { type: end, needs: [review.approved], config: { output: paid } }
  refused: { type: end, needs: [review.rejected], config: { output: refused } }
";

/// The id of what a component of an execution asks, once it asks.
async fn asked(place: &Place, execution: &str, component: &str) -> Result<String> {
    let path = format!("/api/v1/human-tasks?execution_id={execution}");
    until(PATIENCE, &format!("the question of {component}"), async || {
        let items = place.api.pages(&path, 50).await?;
        items.iter().find(|item| item["component"] == component).map(|item| text(item, "id")).transpose()
    })
    .await
}

async fn say(place: &Place, task: &str, verb: &str, body: Value) -> Result<crate::harness::client::Answer> {
    place.api.post(&format!("/api/v1/human-tasks/{task}/{verb}"), &body).await
}

async fn an_approval_waits_and_goes_its_way(place: &Place) -> Result<()> {
    for (verb, output) in [("approve", "paid"), ("reject", "refused")] {
        let id = place.api.start(&unique_name("approval"), APPROVAL, &json!({})).await?;
        let task = asked(place, &id, "review").await?;
        let body = json!({ "as": "finance", "comment": "as agreed" });
        let answered = say(place, &task, verb, body).await?.expect(200)?;
        ensure!(answered["answers"][0]["by"] == "owner", "{answered}");
        ensure!(answered["answers"][0]["for_assignee"] == "finance", "{answered}");
        let ended = place.api.ended(&id).await?;
        ensure!(ended["status"] == "completed" && ended["output"] == output, "{ended}");
        say(place, &task, verb, json!({ "as": "legal" })).await?.problem(409, "task_ended")?;
    }
    Ok(())
}

async fn of_many_answers_at_once_one_counts(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("rivals"), APPROVAL, &json!({})).await?;
    let task = asked(place, &id, "review").await?;
    let rivals = (0..8).map(|number| {
        let verb = if number % 2 == 0 { "approve" } else { "reject" };
        say(place, &task, verb, json!({ "as": if number < 4 { "finance" } else { "legal" } }))
    });
    let mut counted = 0;
    for answer in futures::future::join_all(rivals).await {
        let answer = answer?;
        ensure!(matches!(answer.status, 200 | 409), "{}: {}", answer.status, answer.text);
        counted += u32::from(answer.status == 200);
    }
    ensure!(counted == 1, "{counted} answers counted");
    let events = place.api.events(&id).await?;
    let answers = events.iter().filter(|event| event.name == "answered").count();
    ensure!(answers == 1, "{answers} answers in the journal");
    Ok(())
}

async fn a_quorum_waits_for_enough(place: &Place) -> Result<()> {
    let document = APPROVAL.replace("message: 'Pay?'", "quorum: all");
    let id = place.api.start(&unique_name("quorum"), &document, &json!({})).await?;
    let task = asked(place, &id, "review").await?;
    let first = say(place, &task, "approve", json!({ "as": "finance" })).await?.expect(200)?;
    ensure!(first["status"] == "open", "{first}");
    say(place, &task, "approve", json!({ "as": "finance" })).await?.problem(409, "already_answered")?;
    say(place, &task, "approve", json!({})).await?.problem(403, "not_asked")?;
    let second = say(place, &task, "approve", json!({ "as": "legal" })).await?.expect(200)?;
    ensure!(second["status"] == "approved", "{second}");
    ensure!(place.api.ended(&id).await?["output"] == "paid");
    Ok(())
}

async fn work_is_claimed_filled_in_and_handed_in(place: &Place) -> Result<()> {
    let document = "\
workflow: v1
name: test
components:
  check:
    type: human_task
    config:
      assignees: [owner]
      form: { type: object, properties: { n: { type: integer } }, required: [n, note] }
  done: { type: end, needs: [check.submitted], config: { output: '${{ components.check.output.data }}' } }
";
    let id = place.api.start(&unique_name("work"), document, &json!({})).await?;
    let task = asked(place, &id, "check").await?;
    let data = json!({ "n": 5, "note": "ä" });
    say(place, &task, "submit", json!({ "data": data })).await?.problem(409, "claim_conflict")?;
    say(place, &task, "claim", json!({})).await?.expect(200)?;
    let wrong =
        say(place, &task, "submit", json!({ "data": { "n": "x" } })).await?.problem(422, "invalid_form")?;
    ensure!(wrong["problems"].as_array().is_some_and(|problems| problems.len() == 2), "{wrong}");
    say(place, &task, "submit", json!({ "data": data })).await?.expect(200)?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["output"] == data, "{ended}");
    Ok(())
}

async fn an_end_takes_its_questions_along(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("cancelled"), APPROVAL, &json!({})).await?;
    let task = asked(place, &id, "review").await?;
    place.api.cancel(&id, "not needed").await?.expect(202)?;
    place.api.ended(&id).await?;
    let shown = place.api.get(&format!("/api/v1/human-tasks/{task}")).await?.expect(200)?;
    ensure!(shown["status"] == "cancelled", "{shown}");
    say(place, &task, "approve", json!({ "as": "finance" })).await?.problem(409, "task_ended")?;
    Ok(())
}

async fn nobody_answers_and_the_time_is_over(place: &Place) -> Result<()> {
    let document = APPROVAL
        .replace("message: 'Pay?'", "expires: 1s")
        .replace("[review.rejected]", "[review.rejected, review.expired], join: any");
    let ended = place.api.complete(&unique_name("expired"), &document, &json!({})).await?;
    ensure!(ended["output"] == "refused", "{ended}");
    Ok(())
}

async fn a_link_decides_once(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("link"), APPROVAL, &json!({})).await?;
    let task = asked(place, &id, "review").await?;
    let made = say(place, &task, "links", json!({ "assignee": "finance" })).await?.expect(201)?;
    let url = text(&made, "approve_url")?;
    let path = url.find("/decide/").map(|at| url[at..].to_owned()).context("a link")?;
    let page = place.api.get(&path).await?;
    ensure!(page.status == 200 && page.text.contains("Pay?") && page.text.contains("<form"), "{}", page.text);
    let none: Option<Vec<u8>> = None;
    let used = place.api.send(Method::POST, &path, &[], none.clone()).await?;
    ensure!(used.status == 200, "{}: {}", used.status, used.text);
    place.api.send(Method::POST, &path, &[], none).await?.problem(409, "task_ended")?;
    ensure!(place.api.ended(&id).await?["output"] == "paid");
    let journal = place.api.get(&format!("/api/v1/executions/{id}/journal")).await?;
    ensure!(!journal.text.contains("/decide/"), "a link is in the journal");
    Ok(())
}

const WAITING: &str = "\
workflow: v1
name: test
components:
  before: { type: delay, config: { for: 0s } }
  paid: { type: wait_for_event, needs: [before], config: { event: paid, key: k, within: 1h } }
  done: { type: end, needs: [paid.received], config: { output: '${{ components.paid.output.body }}' } }
";

async fn waits(place: &Place, id: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/executions/{id}/waits");
    until(PATIENCE, "a wait", async || {
        let items = place.api.get(&path).await?.expect(200)?["items"].as_array().cloned().unwrap_or_default();
        Ok((!items.is_empty()).then_some(items))
    })
    .await
}

async fn a_signal_is_received(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("signal"), WAITING, &json!({})).await?;
    waits(place, &id).await?;
    let body = json!({ "name": "paid", "data": { "amount": 5 } });
    place.api.post(&format!("/api/v1/executions/{id}/signals"), &body).await?.expect(202)?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["output"] == json!({ "amount": 5 }), "{ended}");
    place
        .api
        .post(&format!("/api/v1/executions/{id}/signals"), &body)
        .await?
        .problem(409, "execution_ended")?;
    Ok(())
}

async fn a_signal_that_comes_early_is_kept(place: &Place) -> Result<()> {
    let document = WAITING.replace("for: 0s", "for: 2s");
    let id = place.api.start(&unique_name("early"), &document, &json!({})).await?;
    let body = json!({ "name": "paid", "data": "early" });
    place.api.post(&format!("/api/v1/executions/{id}/signals"), &body).await?.expect(202)?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["output"] == "early", "{ended}");
    Ok(())
}

async fn a_signal_for_nobody_is_refused(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("nobody"), WAITING, &json!({})).await?;
    let answer = place
        .api
        .post(&format!("/api/v1/executions/{id}/signals"), &json!({ "name": "payed" }))
        .await?
        .problem(422, "unknown_signal")?;
    ensure!(answer["detail"].as_str().is_some_and(|detail| detail.contains("`paid`")), "{answer}");
    place.api.cancel(&id, "").await?;
    Ok(())
}

async fn what_is_waited_for_is_listed(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("waits"), WAITING, &json!({})).await?;
    let found = waits(place, &id).await?;
    ensure!(
        found[0]["component"] == "paid" && found[0]["event"] == "paid" && found[0]["key"] == "k",
        "{found:?}"
    );
    place.api.cancel(&id, "").await?;
    place.api.ended(&id).await?;
    let after = place.api.get(&format!("/api/v1/executions/{id}/waits")).await?.expect(200)?;
    ensure!(after["items"] == json!([]), "{after}");
    Ok(())
}

async fn a_kill_ends_at_once(place: &Place) -> Result<()> {
    let id = place.api.start(&unique_name("kill"), WAITING, &json!({})).await?;
    waits(place, &id).await?;
    let body = json!({ "reason": "stuck" });
    place.api.post(&format!("/api/v1/executions/{id}/kill"), &body).await?.expect(202)?;
    let ended = place.api.ended(&id).await?;
    ensure!(ended["status"] == "cancelled", "{ended}");
    let again = place.api.post(&format!("/api/v1/executions/{id}/kill"), &body).await?;
    again.problem(409, "execution_ended")?;
    Ok(())
}

async fn people_are_told_in_the_platform(place: &Place) -> Result<()> {
    let name = unique_name("told");
    let document = format!(
        "\
workflow: v1
name: test
components:
  tell: {{ type: notify, config: {{ to: [owner, somebody], subject: {name}, text: 'Line 1', severity: critical }} }}
  done: {{ type: end, needs: [tell], config: {{ output: '${{{{ components.tell.output }}}}' }} }}
"
    );
    let ended = place.api.complete(&name, &document, &json!({})).await?;
    // Two in the platform; neither name is a mail address.
    ensure!(ended["output"]["delivered"] == 2, "{ended}");
    let mine = async |unread: bool| {
        let items = place.api.pages(&format!("/api/v1/notifications?unread={unread}"), 50).await?;
        anyhow::Ok(items.into_iter().filter(|item| item["subject"] == name.as_str()).collect::<Vec<_>>())
    };
    let unread = mine(true).await?;
    ensure!(unread.len() == 1 && unread[0]["to"] == "owner", "{unread:?}");
    ensure!(unread[0]["severity"] == "critical" && unread[0]["execution_id"] == ended["id"], "{unread:?}");
    let path = format!("/api/v1/notifications/{}/read", text(&unread[0], "id")?);
    let read = place.api.post(&path, &json!({})).await?.expect(200)?;
    ensure!(read["read_at"].is_string(), "{read}");
    ensure!(place.api.post(&path, &json!({})).await?.expect(200)? == read);
    ensure!(mine(true).await?.is_empty() && mine(false).await?.len() == 1);
    Ok(())
}

/// The path of the link after a word of a mail.
fn link(mail: &str, word: &str) -> Result<String> {
    let (_, rest) = mail.split_once(&format!("{word}:\r\n")).context("the word")?;
    let link = rest.lines().next().context("a link")?;
    let path = link.strip_prefix("https://flows.example").context("the public address")?;
    ensure!(path.starts_with("/decide/"), "{path}");
    Ok(path.to_owned())
}

/// In a place of its own, whose settings say where mails go.
async fn a_mail_decides_once(shared: &Place) -> Result<()> {
    let server = SmtpServer::start();
    let over = json!({
        "api": { "public_url": "https://flows.example/" },
        "people": { "mail_connector": "post" },
        "components": { "connectors": { "post": { "smtp": {
            "host": "127.0.0.1", "port": server.address.port(), "tls": "none", "from": "flows@flows.example",
        } } } },
    });
    let place = match shared.shape {
        Shape::Embedded => Place::start(Shape::Embedded, &over).await?,
        Shape::Cluster => shared.second_api(&over).await?,
    };
    let document =
        APPROVAL.replace("[finance, legal]", "[finance, 'user:ada@example.com', later@example.com]");
    let name = unique_name("mail");
    let id = place.api.start(&name, &document, &json!({})).await?;
    let mails = async |count: usize| {
        until(PATIENCE, "the mails", async || Ok(Some(server.taken()).filter(|mails| mails.len() >= count)))
            .await
    };
    let mail = mails(1).await?.remove(0);
    ensure!(mail.to == ["ada@example.com"], "{mail:?}");
    let body = mail.body();
    ensure!(body.starts_with("Pay?\r\n") && body.contains(&name), "{body}");
    let (approve, reject) = (link(&body, "Approve")?, link(&body, "Reject")?);

    // By the time another question is mailed, the first one was not mailed again.
    let reachable = document.replace(", later@example.com", "");
    let other = place.api.start(&unique_name("mail"), &reachable, &json!({})).await?;
    let all = mails(2).await?;
    ensure!(all.len() == 2 && all[0] == mail, "{all:?}");
    ensure!(all[1].header("Message-ID") != mail.header("Message-ID"), "{all:?}");
    let none: Option<Vec<u8>> = None;
    let page = place.api.get(&approve).await?;
    ensure!(page.status == 200 && page.text.contains("Pay?"), "{}", page.text);
    let used = place.api.send(Method::POST, &approve, &[], none.clone()).await?;
    ensure!(used.status == 200, "{}: {}", used.status, used.text);
    for path in [&approve, &reject] {
        place.api.send(Method::POST, path, &[], none.clone()).await?.problem(409, "task_ended")?;
    }
    ensure!(place.api.ended(&id).await?["output"] == "paid");
    let journal = place.api.get(&format!("/api/v1/executions/{id}/journal")).await?.text;
    ensure!(journal.contains("link:user:ada@example.com"), "{journal}");
    let tasks = place.api.get(&format!("/api/v1/human-tasks?execution_id={id}&status=any")).await?.text;
    let token = approve.trim_start_matches("/decide/");
    let logs = place.tails(10_000);
    for (what, text) in [("journal", &journal), ("task", &tasks), ("log", &logs)] {
        ensure!(!text.contains("/decide/") && !text.contains(token), "a link is in the {what}");
    }
    ensure!(logs.contains("Sent a mail with links"), "{logs}");

    // Whoever it is given to is mailed at once, and nobody else again.
    let task = asked(&place, &other, "review").await?;
    let body = json!({ "to": "grace@example.com", "as": "finance" });
    say(&place, &task, "delegate", body).await?.expect(200)?;
    let all = mails(3).await?;
    ensure!(all.len() == 3 && all[2].to == ["grace@example.com"], "{all:?}");
    let approve = link(&all[2].body(), "Approve")?;
    let used = place.api.send(Method::POST, &approve, &[], none).await?;
    ensure!(used.status == 200, "{}: {}", used.status, used.text);
    ensure!(place.api.ended(&other).await?["output"] == "paid");
    ensure!(server.taken().len() == 3, "{:?}", server.taken());
    Ok(())
}
