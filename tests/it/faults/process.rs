//! A business process under faults, with a clock that is moved: it begins with a webhook, reserves, asks
//! people who have 48 hours, calls a sub-workflow, and undoes what it did when it fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ::chaos::random::Random;
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use shared::time::{Clock, SystemClock};

use crate::harness::{
    PATIENCE, RUNTIME, WEBHOOK_SECRET,
    client::{Answer, Api, is_ended, text},
    probe::Probe,
    process, unique_name, until,
};

use super::field::{Fault, Field};

const fn kill(role: &'static str) -> Fault {
    Fault::Of(::chaos::faults::Fault::Kill(role))
}

/// How one execution of the process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Approved,
    ApprovedAndNotShipped,
    Rejected,
    /// Nobody answers within 48 hours.
    Expired,
}

const WAYS: [Way; 4] = [Way::Approved, Way::ApprovedAndNotShipped, Way::Rejected, Way::Expired];
const EXECUTIONS: usize = 32;

impl Way {
    fn of(number: usize) -> Self {
        WAYS[number % WAYS.len()]
    }

    /// What the world must have seen of it, each once.
    fn effects(self) -> &'static [&'static str] {
        match self {
            Self::Approved => &["last", "reserve", "ship"],
            Self::ApprovedAndNotShipped => &["last", "release", "reserve", "ship", "tell"],
            Self::Rejected | Self::Expired => &["last", "release", "reserve", "tell"],
        }
    }
}

fn call(base: &str, label: &str, effect: &str) -> String {
    format!(
        "{{ method: POST, url: '{base}/effect/{label}/{effect}', body: {{ n: '${{{{ parameters.n }}}}' }} }}"
    )
}

fn ship(base: &str, label: &str) -> String {
    let call = call(base, label, "ship");
    format!(
        "workflow: v1
name: ship
parameters:
  n: {{ type: integer, required: true }}
  fails: {{ type: boolean, default: false }}
components:
  carry: {{ type: http_request, config: {call} }}
  lost:
    type: fail
    needs: [carry]
    when: parameters.fails
    config: {{ message: lost on the way }}
"
    )
}

fn order(base: &str, label: &str, ship: &str) -> String {
    let (reserve, release) = (call(base, label, "reserve"), call(base, label, "release"));
    let (tell, last) = (call(base, label, "tell"), call(base, label, "last"));
    format!(
        "workflow: v1
name: order
parameters:
  n: {{ type: integer, required: true }}
  fails: {{ type: boolean, default: false }}
triggers:
  incoming:
    type: webhook
    config: {{ path: /orders, verify: standard_webhooks, secret: IT_WEBHOOK, rate_limit: 1000/min }}
    parameters:
      n: ${{{{ event.body.n }}}}
      fails: ${{{{ event.body.fails }}}}
components:
  reserve:
    type: http_request
    config: {reserve}
    compensate:
      type: http_request
      config: {release}
  review:
    type: approval
    needs: [reserve]
    config: {{ assignees: [finance], expires: 48h }}
  ship:
    type: sub_workflow
    needs: [review.approved]
    config:
      workflow: {ship}
      parameters: {{ n: '${{{{ parameters.n }}}}', fails: '${{{{ parameters.fails }}}}' }}
  refused:
    type: fail
    needs: [review.rejected, review.expired]
    join: any
    config: {{ message: nobody wants it }}
on_failure:
  tell: {{ type: http_request, config: {tell} }}
finally:
  last: {{ type: http_request, config: {last} }}
"
    )
}

/// Clients that ask again, of another API, until they know.
struct Clients {
    apis: Vec<Api>,
}

impl Clients {
    async fn insist(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let turn = std::sync::atomic::AtomicUsize::new(0);
        until(PATIENCE, path, async || {
            let next = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let api = &self.apis[next % self.apis.len()];
            let answer = api.send(Method::POST, path, headers, Some(body.to_vec())).await?;
            // 202 says that it is not decided yet, which for an answer of a person is not the end.
            let undecided = answer.status == 202 && path.contains("human-tasks");
            Ok((answer.status < 429 && !undecided).then_some(answer))
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let turn = std::sync::atomic::AtomicUsize::new(0);
        until(PATIENCE, path, async || {
            let next = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let answer = self.apis[next % self.apis.len()].get(path).await?;
            Ok((answer.status < 429).then_some(answer))
        })
        .await?
        .expect(200)
    }

    /// A signed call of the webhook, sent twice: the execution it started.
    async fn order(&self, hook: &str, run: &str, number: usize) -> Result<String> {
        let fails = Way::of(number) == Way::ApprovedAndNotShipped;
        let body = json!({ "n": number, "fails": fails }).to_string().into_bytes();
        let (id, time) = (format!("{run}-{number}"), (SystemClock.now().as_micros() / 1_000_000).to_string());
        let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).context("a key")?;
        for part in [id.as_bytes(), b".", time.as_bytes(), b".", &body] {
            mac.update(part);
        }
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", time.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        let first = text(&self.insist(hook, &headers, &body).await?.expect(202)?, "execution_id")?;
        let again = text(&self.insist(hook, &headers, &body).await?.expect(202)?, "execution_id")?;
        ensure!(first == again, "order {number} is {first} and {again}");
        Ok(first)
    }

    /// Answers what an execution asks.
    async fn decide(&self, execution: &str, verb: &str) -> Result<()> {
        let path = format!("/api/v1/human-tasks?execution_id={execution}");
        let task = until(PATIENCE, "the question", async || {
            let found = self.get(&path).await?;
            found["items"].get(0).map(|item| text(item, "id")).transpose()
        })
        .await?;
        let body = json!({ "as": "finance" }).to_string().into_bytes();
        let headers = [("content-type", "application/json")];
        let answer = self.insist(&format!("/api/v1/human-tasks/{task}/{verb}"), &headers, &body).await?;
        // 409: an earlier try, whose answer was lost, has counted.
        ensure!(matches!(answer.status, 200 | 409), "{}: {}", answer.status, answer.text);
        Ok(())
    }
}

async fn hold(field: Field) -> Result<()> {
    let probe = Probe::start().await?;
    let apis: Vec<Api> = field
        .apis()
        .iter()
        .map(|base| Api::with_timeout(base, Duration::from_secs(15)))
        .collect::<Result<_>>()?;
    let clients = Clients { apis };
    let label = unique_name("process");
    let ship = clients.apis[0].create("ship", &ship(&probe.base, &label)).await?;
    let workflow = clients.apis[0].create("order", &order(&probe.base, &label, &ship)).await?;
    let triggers = clients.get(&format!("/api/v1/workflows/{workflow}/triggers")).await?;
    let trigger = text(&triggers["items"][0], "id")?;
    let address =
        clients.insist(&format!("/api/v1/triggers/{trigger}/rotate"), &[], b"").await?.expect(200)?;
    let hook = text(&address, "path")?;
    tokio::time::sleep(Duration::from_secs(5)).await;

    let mut random = Random::new(20_261_124);
    let mut orders: BTreeMap<usize, String> = BTreeMap::new();
    let faults = [
        kill("worker"),
        kill("coordinator"),
        kill("api"),
        Fault::KillBroker,
        kill("coordinator"),
        Fault::WipeBroker,
        kill("worker"),
        Fault::KillDatabase,
    ];
    let portion = EXECUTIONS / faults.len();
    let mut numbers = 0..EXECUTIONS;
    for fault in faults {
        let mut now = Vec::new();
        for number in numbers.by_ref().take(portion) {
            orders.insert(number, clients.order(&hook, &label, number).await?);
            now.push(number);
        }
        let work = async {
            for number in now {
                let verb = match Way::of(number) {
                    Way::Approved | Way::ApprovedAndNotShipped => "approve",
                    Way::Rejected => "reject",
                    Way::Expired => continue,
                };
                clients.decide(&orders[&number], verb).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let (injected, worked) = tokio::join!(field.inject(fault, &mut random), work);
        injected.with_context(|| format!("{fault:?}"))?;
        worked.with_context(|| format!("during {fault:?}"))?;
    }
    let ids: BTreeSet<&String> = orders.values().collect();
    ensure!(ids.len() == EXECUTIONS, "{} executions of {EXECUTIONS} orders", ids.len());

    // Those nobody answers still wait, the last of them perhaps not yet; two days later they do not.
    until(PATIENCE, "the questions that nobody answers", async || {
        let open = clients.get("/api/v1/human-tasks?status=open&limit=500").await?;
        let waiting = open["items"].as_array().map_or(0, Vec::len);
        Ok((waiting >= EXECUTIONS / 4).then_some(()))
    })
    .await?;
    field.move_clock(49)?;
    for fault in [kill("coordinator"), kill("coordinator"), kill("api"), kill("api")] {
        field.inject(fault, &mut random).await?;
    }
    for (number, id) in &orders {
        let what = format!("the end of {id}, {:?}", Way::of(*number));
        let ended = until(Duration::from_mins(3), &what, async || {
            let found = clients.get(&format!("/api/v1/executions/{id}")).await?;
            Ok(is_ended(&found["status"]).then_some(found))
        })
        .await?;
        let expected = if Way::of(*number) == Way::Approved { "completed" } else { "failed" };
        ensure!(ended["status"] == expected, "{:?}: {ended}", Way::of(*number));
    }

    // Every effect under one idempotency key, and none too many.
    let mut seen: BTreeMap<usize, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for effect in probe.of(&label) {
        let number = effect.body["n"].as_u64().context("a number")? as usize;
        seen.entry(number).or_default().entry(effect.component).or_default().insert(effect.key);
    }
    for number in 0..EXECUTIONS {
        let way = Way::of(number);
        let effects = seen.get(&number).cloned().unwrap_or_default();
        let names: Vec<&str> = effects.keys().map(String::as_str).collect();
        ensure!(names == way.effects(), "order {number}, {way:?}: {names:?}");
        for (name, keys) in &effects {
            ensure!(keys.len() == 1, "order {number}: `{name}` under {} keys: {keys:?}", keys.len());
        }
    }
    let surprises = field.surprises();
    ensure!(surprises.is_empty(), "{surprises:?}");
    let audit = field.alone(&["audit"]).await?;
    ensure!(audit.code == 0, "{}{}", audit.out, audit.err);
    Ok(())
}

#[test]
fn a_process_of_days_survives_faults_and_a_moved_clock() -> Result<()> {
    RUNTIME.block_on(async {
        let field = Field::cluster().await?;
        let logs = field.logs();
        hold(field).await.inspect_err(|_| {
            for log in logs {
                eprintln!("---- {}\n{}", log.display(), process::tail(&log, 25));
            }
        })
    })
}
