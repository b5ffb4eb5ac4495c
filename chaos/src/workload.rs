//! What clients do: they submit executions of small workflows, repeat what was not answered, cancel some,
//! and say what came of attempts whose outcome nobody knows.
//!
//! It judges nothing; what it saw goes into a [`History`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::{
    Beside,
    client::{Answer, Api, is_ended, text},
    probe::{Effect, Probe},
    random::Random,
    until,
};

/// What a workflow of the workload looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Chain,
    Diamond,
    FanOut,
    FailsThenSucceeds,
    AlwaysFailsHandled,
    Delayed,
    AtMostOnce,
    Leased,
    Limited,
    /// Fails, and nothing handles it: its execution must fail.
    Fails,
    /// What a user gave.
    Own,
}

/// Those of the mix, and how often each is drawn.
const MIX: &[(Kind, u64)] = &[
    (Kind::Chain, 18),
    (Kind::Diamond, 18),
    (Kind::FanOut, 6),
    (Kind::FailsThenSucceeds, 14),
    (Kind::AlwaysFailsHandled, 10),
    (Kind::Delayed, 12),
    (Kind::AtMostOnce, 11),
    (Kind::Leased, 3),
    (Kind::Limited, 8),
    (Kind::Fails, 6),
];
const OWN: &[(Kind, u64)] = &[(Kind::Own, 1)];

/// The component of [`Kind::AtMostOnce`] that runs at most once.
pub(crate) const ONCE: &str = "a";
/// How long a client repeats a request whose outcome it does not know.
const STUBBORN: Duration = Duration::from_mins(2);

/// A workflow of one's own in place of the mix.
#[derive(Debug, Clone, Default)]
pub struct Own {
    pub document: String,
    pub parameters: Map<String, Value>,
    /// Whether it has a parameter `n`, which then is another number in each execution.
    pub has_number: bool,
    /// Whether it has a parameter `probe`, which then is where its effects are counted.
    pub has_probe: bool,
    /// Whether it may fail by itself.
    pub may_fail: bool,
}

/// A load, and at which pace it comes.
#[derive(Debug, Clone)]
pub struct Load {
    /// What is shown to the APIs.
    pub api_key: String,
    pub executions: usize,
    pub seed: u64,
    /// Clients at once.
    pub clients: usize,
    /// A client rests for up to this long after each submission.
    pub rest: Duration,
    /// Every execution has ended this long after the last fault.
    pub patience: Duration,
    /// What is executed in place of the mix.
    pub own: Option<Own>,
}

/// A task that calls the probe.
fn call(base: &str, label: &str, component: &str, script: &str) -> String {
    format!(
        "type: http_request\n    config: {{ method: POST, url: \"{base}/effect/{label}/{component}?n=${{{{ parameters.n \
         }}}}&{script}\" }}\n    timeout: 60s\n"
    )
}

impl Kind {
    fn document(self, base: &str, label: &str, name: &str) -> String {
        let call = |component: &str, script: &str| call(base, label, component, script);
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
                        call(&format!("{branch}_call"), "delay_ms=50")
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
                let once = call(ONCE, "delay_ms=150") + "    delivery: at_most_once\n";
                format!("  {ONCE}:\n    {once}{}", end(ONCE))
            }
            Self::Fails => {
                let retry = "    retry: { max_attempts: 2, initial: 100ms, on: [http_5xx] }\n";
                format!("  a:\n    {}{retry}{}", call("a", "status=500"), end("a"))
            }
            Self::Own => String::new(),
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
            "workflow: v1\nname: {name}\nparameters:\n  n: {{ type: integer, required: true }}\n{limit}{components}"
        )
    }
}

/// How the execution of a submission should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planned {
    Completed,
    Failed,
    /// Either.
    Ended,
}

/// What became of one submission.
#[derive(Debug, Clone)]
pub struct Submission {
    pub number: usize,
    pub kind: Kind,
    /// The execution, once a client was told.
    pub id: String,
    /// Requests it took.
    pub requests: usize,
    /// Whether a client asked for its end.
    pub is_cancelled: bool,
    pub(crate) planned: Planned,
}

/// Everything that clients and the probe saw.
#[derive(Debug)]
pub struct History {
    pub attempted: usize,
    pub submissions: Vec<Submission>,
    pub effects: Vec<Effect>,
    pub workflows: BTreeMap<Kind, String>,
    /// Keys that were answered with two executions.
    pub doubles: Vec<String>,
    /// What no client should ever be told.
    pub wrongs: Vec<String>,
    /// From the last fault to the end of the last execution.
    pub drained: Duration,
}

#[derive(Debug)]
struct Shared {
    apis: Vec<Api>,
    load: Load,
    label: String,
    probe: Probe,
    workflows: BTreeMap<Kind, String>,
    tickets: Semaphore,
    submissions: Mutex<Vec<Submission>>,
    doubles: Mutex<Vec<String>>,
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
            requests += 1;
            let last = match api.send(Method::POST, path, key, Some(body)).await {
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

    fn note(list: &Mutex<Vec<String>>, text: String) {
        list.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn accepted(&self) -> usize {
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn draw(&self, random: &mut Random) -> Kind {
        let mix = if self.load.own.is_some() { OWN } else { MIX };
        let mut drawn = random.below(mix.iter().map(|(_, weight)| weight).sum());
        let found = mix.iter().find(|(_, weight)| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        found.map_or(mix[0].0, |(kind, _)| *kind)
    }

    /// The parameters of an execution, and how it should end.
    fn order(&self, kind: Kind, number: i64) -> (Value, Planned) {
        let Some(own) = &self.load.own else {
            let planned = if kind == Kind::Fails { Planned::Failed } else { Planned::Completed };
            return (json!({ "n": number }), planned);
        };
        let mut parameters = own.parameters.clone();
        if own.has_number {
            parameters.insert("n".to_owned(), number.into());
        }
        if own.has_probe {
            let address = format!("{}/effect/{}", self.probe.base, self.label);
            parameters.insert("probe".to_owned(), address.into());
        }
        (Value::Object(parameters), if own.may_fail { Planned::Ended } else { Planned::Completed })
    }

    async fn submit(&self, number: usize, random: &mut Random) -> Result<()> {
        let kind = self.draw(random);
        let (parameters, planned) = self.order(kind, number as i64);
        let path = format!("/api/v1/workflows/{}/execute", self.workflows[&kind]);
        let (key, body) = (format!("{}-{number}", self.label), json!({ "parameters": parameters }));
        let (answer, mut requests) = self.insist(random, &path, Some(&key), &body).await?;
        let id = text(&answer.expect(202)?, "id")?;
        if random.percent(10) {
            let (again, more) = self.insist(random, &path, Some(&key), &body).await?;
            let again = text(&again.expect(202)?, "id")?;
            if again != id {
                Self::note(&self.doubles, format!("the key {key} is {id} and {again}"));
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
        let submission = Submission { number, kind, id, requests, is_cancelled, planned };
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner).push(submission);
        Ok(())
    }

    /// Says what came of `at_most_once` attempts that ended in the dark, as a person would who looked: it took
    /// effect if a call arrived.
    async fn decide_outcomes(&self, api: &Api) -> Result<()> {
        let open = api.get("/api/v1/human-tasks?kind=outcome&status=open&limit=500").await?.expect(200)?;
        for task in open["items"].as_array().into_iter().flatten() {
            let (id, execution) = (text(task, "id")?, text(task, "execution_id")?);
            let verb = if self.probe.saw(&execution) { "approve" } else { "reject" };
            // Refused or cut off, it is asked for again.
            let _ = api.post(&format!("/api/v1/human-tasks/{id}/{verb}"), &json!({})).await;
        }
        Ok(())
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    clients: Vec<Beside>,
    /// Who answers what is asked of people.
    _person: Beside,
}

impl Workload {
    /// Creates the workflows; nothing is submitted until [`Workload::allow`].
    ///
    /// `label` is a word that no other load on these APIs has: keys and names begin with it.
    pub async fn begin(bases: &[String], label: &str, load: Load) -> Result<Self> {
        let probe = Probe::start().await?;
        let apis: Vec<Api> = bases
            .iter()
            .map(|base| Ok(Api::new(base, Duration::from_secs(5))?.showing(&load.api_key)))
            .collect::<Result<_>>()?;
        let first = apis.first().context("a load needs an API")?;
        let mut workflows = BTreeMap::new();
        for (kind, _) in if load.own.is_some() { OWN } else { MIX } {
            let name = format!("{label}-{}", format!("{kind:?}").to_lowercase());
            let document = match &load.own {
                Some(own) => own.document.clone(),
                None => kind.document(&probe.base, label, &name),
            };
            workflows.insert(*kind, first.create(&name, &document).await?);
        }
        let shared = Arc::new(Shared {
            apis,
            label: label.to_owned(),
            probe,
            workflows,
            tickets: Semaphore::new(0),
            submissions: Mutex::default(),
            doubles: Mutex::default(),
            wrongs: Mutex::default(),
            load,
        });
        let numbers = Arc::new(AtomicUsize::new(0));
        let clients = (0..shared.load.clients.max(1))
            .map(|client| {
                let (shared, numbers) = (Arc::clone(&shared), Arc::clone(&numbers));
                let mut random = Random::new(shared.load.seed.wrapping_add(client as u64 + 1));
                Beside::run(async move {
                    loop {
                        let Ok(ticket) = shared.tickets.acquire().await else { return };
                        ticket.forget();
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        if number >= shared.load.executions {
                            return;
                        }
                        if let Err(error) = shared.submit(number, &mut random).await {
                            Shared::note(&shared.wrongs, format!("submission {number}: {error:#}"));
                        }
                        // Spread over the time of a fault.
                        let rest = random.below(shared.load.rest.as_millis() as u64);
                        tokio::time::sleep(Duration::from_millis(rest)).await;
                    }
                })
            })
            .collect();
        let asked = Arc::clone(&shared);
        let person = Beside::run(async move {
            for api in asked.apis.iter().cycle() {
                // An API that is away is asked again when its turn comes.
                let _ = asked.decide_outcomes(api).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Ok(Self { shared, clients, _person: person })
    }

    /// Lets clients submit this many more.
    pub fn allow(&self, count: usize) {
        self.shared.tickets.add_permits(count);
    }

    /// How many were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted()
    }

    /// Waits until something was accepted since the last call of [`Workload::allow`], or all was.
    pub async fn is_under_way(&self) -> Result<()> {
        let before = self.accepted();
        until(STUBBORN, "a submission", async || {
            let is_so = self.accepted() > before
                || self.accepted() >= self.shared.load.executions
                || self.shared.tickets.available_permits() == 0;
            Ok(is_so.then_some(()))
        })
        .await
    }

    /// Waits until all is submitted and everything accepted has ended, or the load's patience is over.
    pub async fn end(&mut self) -> Result<History> {
        let faults_ended = Instant::now();
        // Each of them looks once more whether anything is left.
        self.allow(self.clients.len());
        for client in std::mem::take(&mut self.clients) {
            client.join().await?;
        }
        let shared = &self.shared;
        let api = &shared.apis[0];
        // What is still open after that is counted as stuck, not thrown as an error.
        let _ = until(shared.load.patience, "the end of every execution", async || {
            for workflow in shared.workflows.values() {
                let path = format!(
                    "/api/v1/executions?workflow_id={workflow}&status=pending,running,paused&limit=1"
                );
                let open = api.get(&path).await?.expect(200)?;
                if !open["items"].as_array().is_some_and(Vec::is_empty) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await;
        let drained = faults_ended.elapsed();
        let of = |list: &Mutex<Vec<String>>| list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(History {
            attempted: shared.load.executions,
            submissions: shared.submissions.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            effects: shared.probe.log.all(),
            workflows: shared.workflows.clone(),
            doubles: of(&shared.doubles),
            wrongs: of(&shared.wrongs),
            drained,
        })
    }

    /// A new execution, from its submission to its end.
    pub async fn fresh(&self) -> Result<Duration> {
        let kind = if self.shared.load.own.is_some() { Kind::Own } else { Kind::Diamond };
        let (parameters, planned) = self.shared.order(kind, -1);
        let api = &self.shared.apis[0];
        let started = Instant::now();
        let path = format!("/api/v1/workflows/{}/execute", self.shared.workflows[&kind]);
        let answer = api.post(&path, &json!({ "parameters": parameters })).await?;
        let id = text(&answer.expect(202)?, "id")?;
        let found = until(self.shared.load.patience, &format!("the end of {id}"), async || {
            let found = api.get(&format!("/api/v1/executions/{id}")).await?.expect(200)?;
            Ok(is_ended(&found["status"]).then_some(found))
        })
        .await?;
        let is_right = planned == Planned::Ended || found["status"] == "completed";
        ensure!(is_right, "{id} should complete, and ended so: {found}");
        Ok(started.elapsed())
    }
}
