//! Clients that submit mixed workflows and repeat whatever they do not know the outcome of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::harness::{
    beside,
    client::{Answer, Api, is_ended, text},
    probe::{Effect, Probe},
    unique_name, until,
};

use super::{field::Field, random::Random};

/// What a workflow of the workload looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Chain,
    Diamond,
    FanOut,
    FailsThenSucceeds,
    AlwaysFailsHandled,
    Delayed,
    AtMostOnce,
    Leased,
    Limited,
}

const KINDS: &[(Kind, u64)] = &[
    (Kind::Chain, 18),
    (Kind::Diamond, 18),
    (Kind::FanOut, 6),
    (Kind::FailsThenSucceeds, 14),
    (Kind::AlwaysFailsHandled, 10),
    (Kind::Delayed, 12),
    (Kind::AtMostOnce, 11),
    (Kind::Leased, 3),
    (Kind::Limited, 8),
];

/// Clients at once.
const CLIENTS: usize = 6;
/// How long a client repeats a request whose outcome it does not know.
const STUBBORN: Duration = Duration::from_mins(2);

impl Kind {
    fn document(self, base: &str, label: &str) -> String {
        let call = |component: &str, script: &str| {
            format!(
                "type: http_request\n    config: {{ method: POST, url: \"{base}/effect/{label}/{component}?{script}\" }}\n    timeout: 60s\n"
            )
        };
        let number = "    config: { rows: \"${{ [parameters.n] }}\", expression: item + 1 }\n";
        let end = |needs: &str| {
            format!(
                "  done:\n    type: end\n    needs: [{needs}]\n    config: {{ output: \"${{{{ parameters.n }}}}\" }}\n"
            )
        };
        let mut components = match self {
            Self::Chain => {
                let mut all =
                    format!("  a:\n    {}  b:\n    type: map\n    needs: [a]\n{number}", call("a", ""));
                all += &format!(
                    "  c:\n    needs: [b]\n    {}  d:\n    needs: [c]\n    {}",
                    call("c", "delay_ms=20"),
                    call("d", "")
                );
                all + &end("d")
            }
            Self::Diamond => {
                let mut all = "  split:\n    type: parallel\n    config: { branches: [l, r] }\n".to_owned();
                for branch in ["l", "r"] {
                    all += &format!(
                        "  {branch}_call:\n    needs: [split.{branch}]\n    {}",
                        call(branch, "delay_ms=50")
                    );
                }
                all +=
                    "  both:\n    type: join\n    needs: [l_call, r_call]\n  after:\n    needs: [both]\n    ";
                all += &call("after", "");
                all + &end("after")
            }
            Self::FanOut => {
                let mut all = format!("  first:\n    {}", call("first", ""));
                let mut needs = Vec::new();
                for n in 0..20 {
                    all += &format!(
                        "  c{n}:\n    needs: [first]\n    {}",
                        call(&format!("c{n}"), "delay_ms=30")
                    );
                    needs.push(format!("c{n}"));
                }
                all + &end(&needs.join(", "))
            }
            Self::FailsThenSucceeds => {
                let retry = "    retry: { max_attempts: 5, initial: 200ms, cap: 1s, on: [http_5xx, connection, timeout] }\n";
                format!("  a:\n    {}{retry}{}", call("a", "fail=2"), end("a"))
            }
            Self::AlwaysFailsHandled => {
                let retry = "    retry: { max_attempts: 2, initial: 100ms, on: [http_5xx] }\n";
                let handler = "  mend:\n    type: set_variables\n    needs: [a.error]\n    config: { values: { mended: true } }\n";
                format!("  a:\n    {}{retry}{handler}{}", call("a", "status=500"), end("mend"))
            }
            Self::Delayed => {
                let pause = "  pause:\n    type: delay\n    needs: [a]\n    config: { for: 1500ms }\n";
                format!(
                    "  a:\n    {}{pause}  b:\n    needs: [pause]\n    {}{}",
                    call("a", ""),
                    call("b", ""),
                    end("b")
                )
            }
            Self::AtMostOnce => {
                let once = call("a", "delay_ms=150") + "    delivery: at_most_once\n";
                format!("  a:\n    {once}{}", end("a"))
            }
            Self::Leased => format!("  a:\n    {}{}", call("a", "delay_ms=5000"), end("a")),
            Self::Limited => {
                let more = "    retry: { max_attempts: 5, initial: 200ms, on: [http_5xx, connection, timeout] }\n    \
                            concurrency: { key: erp, limit: 3 }\n";
                let b = "    concurrency: { key: erp, limit: 3 }\n";
                format!(
                    "  a:\n    {}{more}  b:\n    needs: [a]\n    {}{b}{}",
                    call("a", "fail=1"),
                    call("b", "delay_ms=30"),
                    end("b")
                )
            }
        };
        let limit = match self {
            Self::Limited => "concurrency: { key: \"c${{ parameters.n % 3 }}\", limit: 2 }\n",
            _ => "",
        };
        components.insert_str(0, "components:\n");
        format!(
            "workflow: v1\nname: faults\nparameters:\n  n: {{ type: integer, required: true }}\n{limit}{components}"
        )
    }
}

/// What became of one submission.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// The execution, once a client was told.
    pub(super) id: String,
    /// Requests it took.
    pub(super) requests: usize,
    pub(super) is_cancelled: bool,
}

/// Everything that clients and the probe saw.
pub(super) struct History {
    pub(super) attempted: usize,
    pub(super) submissions: Vec<Submission>,
    pub(super) effects: Vec<Effect>,
    pub(super) workflows: BTreeMap<Kind, String>,
    /// What no client should ever be told.
    pub(super) wrongs: Vec<String>,
    /// From the last fault to the end of the last execution.
    pub(super) drained: Duration,
}

struct Shared {
    apis: Vec<Api>,
    workflows: BTreeMap<Kind, String>,
    tickets: Semaphore,
    submissions: Mutex<Vec<Submission>>,
    wrongs: Mutex<Vec<String>>,
}

impl Shared {
    /// Sends a request to one API after the other until an answer says what happened.
    async fn insist(
        &self,
        random: &mut Random,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<(Answer, usize)> {
        let started = Instant::now();
        let mut requests = 0;
        loop {
            let api = &self.apis[random.below(self.apis.len() as u64) as usize];
            let headers: Vec<(&str, &str)> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
            requests += 1;
            let last = match api.send(Method::POST, path, &headers, Some(body.to_string().into_bytes())).await
            {
                Ok(answer) if answer.status < 429 => return Ok((answer, requests)),
                Ok(answer) => format!("{}: {}", answer.status, answer.text),
                Err(error) => format!("{error:#}"),
            };
            if started.elapsed() > STUBBORN {
                bail!("{path}: no answer after {requests} requests; the last: {last}");
            }
            tokio::time::sleep(Duration::from_millis(100 + random.below(200))).await;
        }
    }

    fn wrong(&self, text: String) {
        self.wrongs.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    async fn submit(&self, number: usize, run: &str, random: &mut Random) -> Result<()> {
        let total: u64 = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = random.below(total);
        let kind = KINDS.iter().find(|(_, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.wrapping_sub(*weight);
            is_it
        });
        let kind = kind.map_or(Kind::Chain, |(kind, _)| *kind);
        let path = format!("/api/v1/workflows/{}/execute", self.workflows[&kind]);
        let (key, body) = (format!("{run}-{number}"), json!({ "parameters": { "n": number } }));
        let (answer, mut requests) = self.insist(random, &path, Some(&key), &body).await?;
        let id = text(&answer.expect(202)?, "id")?;
        if random.percent(10) {
            let (again, more) = self.insist(random, &path, Some(&key), &body).await?;
            let again = text(&again.expect(202)?, "id")?;
            if again != id {
                self.wrong(format!("key {key} is {id} and {again}"));
            }
            requests += more;
        }
        let is_cancelled = random.percent(3);
        if is_cancelled {
            tokio::time::sleep(Duration::from_millis(random.below(1_000))).await;
            let cancel = format!("/api/v1/executions/{id}/cancel");
            let (answer, more) =
                self.insist(random, &cancel, None, &json!({ "reason": "changed my mind" })).await?;
            ensure!(matches!(answer.status, 202 | 409), "{}: {}", answer.status, answer.text);
            requests += more;
        }
        let submission = Submission { number, kind, id, requests, is_cancelled };
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).push(submission);
        Ok(())
    }
}

/// Clients at work.
pub(super) struct Workload {
    shared: Arc<Shared>,
    probe: Probe,
    clients: Vec<JoinHandle<()>>,
    executions: usize,
}

impl Workload {
    /// Creates the workflows; nothing is submitted until [`Workload::allow`].
    pub(super) async fn begin(field: &Field, executions: usize, seed: u64) -> Result<Self> {
        let probe = Probe::start().await?;
        let apis: Vec<Api> = field
            .apis()
            .iter()
            .map(|base| Api::with_timeout(base, Duration::from_secs(5)))
            .collect::<Result<_>>()?;
        let label = unique_name("faults");
        let mut workflows = BTreeMap::new();
        for (kind, _) in KINDS {
            let made = apis[0].create("faults", &kind.document(&probe.base, &label)).await;
            workflows.insert(*kind, made.with_context(|| format!("{kind:?}"))?);
        }
        let shared = Arc::new(Shared {
            apis,
            workflows,
            tickets: Semaphore::new(0),
            submissions: Mutex::default(),
            wrongs: Mutex::default(),
        });
        let numbers = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let clients = (0..CLIENTS)
            .map(|client| {
                let (shared, numbers, label) = (Arc::clone(&shared), Arc::clone(&numbers), label.clone());
                let mut random = Random::new(seed.wrapping_add(client as u64 + 1));
                beside(async move {
                    loop {
                        let Ok(ticket) = shared.tickets.acquire().await else { return };
                        ticket.forget();
                        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        if number >= executions {
                            return;
                        }
                        if let Err(error) = shared.submit(number, &label, &mut random).await {
                            shared.wrong(format!("submission {number}: {error:#}"));
                        }
                        // Spread over the time of a fault.
                        tokio::time::sleep(Duration::from_millis(random.below(600))).await;
                    }
                })
            })
            .collect();
        Ok(Self { shared, probe, clients, executions })
    }

    /// Lets clients submit this many more.
    pub(super) fn allow(&self, count: usize) {
        self.shared.tickets.add_permits(count);
    }

    /// Waits until something was accepted since the last call of [`Workload::allow`], or all was.
    pub(super) async fn is_under_way(&self) -> Result<()> {
        let count = || self.shared.submissions.lock().unwrap_or_else(PoisonError::into_inner).len();
        let before = count();
        until(STUBBORN, "a submission", async || {
            Ok((count() > before
                || count() >= self.executions
                || self.shared.tickets.available_permits() == 0)
                .then_some(()))
        })
        .await
    }

    /// Says what came of `at_most_once` attempts that ended in the dark, as a person would who looked: it took
    /// effect if a call arrived.
    async fn decide_outcomes(&self, api: &Api) -> Result<()> {
        let open = api.get("/api/v1/human-tasks?kind=outcome&status=open&limit=500").await?.expect(200)?;
        for task in open["items"].as_array().into_iter().flatten() {
            let (id, execution) = (text(task, "id")?, text(task, "execution_id")?);
            let took_effect = self.probe.all().iter().any(|effect| execution.ends_with(effect.execution()));
            let verb = if took_effect { "approve" } else { "reject" };
            // Refused or cut off, it is asked for again.
            let _ = api.post(&format!("/api/v1/human-tasks/{id}/{verb}"), &json!({})).await;
        }
        Ok(())
    }

    /// Waits until all is submitted and everything accepted has ended, or the bound is over.
    pub(super) async fn end(mut self) -> Result<History> {
        let faults_ended = Instant::now();
        for client in std::mem::take(&mut self.clients) {
            client.await?;
        }
        let api = &self.shared.apis[0];
        // What is still open after the bound is counted as stuck, not thrown as an error.
        let _ = until(super::checks::BOUND, "the end of every execution", async || {
            self.decide_outcomes(api).await?;
            let open =
                api.get("/api/v1/executions?status=pending,running,paused&limit=1").await?.expect(200)?;
            Ok(open["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await;
        let drained = faults_ended.elapsed();
        let submissions = self.shared.submissions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wrongs = self.shared.wrongs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let workflows = self.shared.workflows.clone();
        Ok(History {
            attempted: self.executions,
            submissions,
            effects: self.probe.all(),
            workflows,
            wrongs,
            drained,
        })
    }
}

/// A new execution of the simplest kind, from its submission to its end.
pub(super) async fn fresh(field: &Field, history: &History) -> Result<Duration> {
    let api = Api::new(field.apis().first().context("an API")?)?;
    let started = Instant::now();
    let id = api.execute(&history.workflows[&Kind::Diamond], &json!({ "parameters": { "n": -1 } })).await?;
    let found = api.ended(&id).await?;
    ensure!(is_ended(&found["status"]) && found["status"] == "completed", "{found}");
    Ok(started.elapsed())
}
