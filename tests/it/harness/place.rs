//! A place where workflows run: one process with everything in it, or a cluster on shared services.
//!
//! Tests of behaviour share one place of each shape; tests that end processes make their own.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{
    API_KEY, PATIENCE, RUNTIME, apg,
    client::Api,
    free_port, merge,
    probe::Probe,
    process::{Output, Process, command, finish, tail},
    run::Run,
    until, workspace,
};

/// What a place is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `apg serve` on SQLite.
    Embedded,
    /// `apg api`, `apg coordinator` and `apg worker` on PostgreSQL, RabbitMQ and Redis.
    Cluster,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        })
    }
}

/// How one `apg` process is started, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) verb: &'static str,
    /// Where its API listens, if it has one.
    pub(crate) listen: Option<SocketAddr>,
    settings: PathBuf,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
}

impl Member {
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// A command of the binary with the settings of this process.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = command(&apg()?, &self.folder);
        // What the webhooks of the tests are signed with.
        command.env("APG_SECRET_IT_WEBHOOK", super::WEBHOOK_SECRET);
        command.env("RUST_BACKTRACE", "1").envs(&self.environment).arg("--config").arg(&self.settings);
        if let Some(listen) = self.listen {
            command.arg("--set").arg(format!("api.listen={listen}"));
        }
        command.args(arguments);
        Ok(command)
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Process> {
        Process::start(&self.name, self.command(&[self.verb])?, &self.log())
    }

    pub(crate) fn base(&self) -> String {
        self.listen.map(|listen| format!("http://{listen}")).unwrap_or_default()
    }

    /// Waits until the process answers, or says why it ended.
    pub(crate) async fn is_up(&self, process: &Process) -> Result<Duration> {
        let api = Api::with_timeout(&self.base(), Duration::from_secs(5))?;
        let up = api.is_up(PATIENCE);
        let ended = until(PATIENCE, "its end", async || process.ended());
        tokio::select! {
            up = up => up.with_context(|| format!("the log of {}:\n{}", self.name, process.tail(40))),
            ended = ended => bail!("{} ended at its start ({:?}):\n{}", self.name, ended?, process.tail(40)),
        }
    }
}

/// The settings of every place, with those of the test on top.
pub(crate) fn settings(folder: &Path, over: &Value) -> Result<PathBuf> {
    let mut all = json!({
        "app": { "data_folder": folder.join("data") },
        "api": { "key": API_KEY },
        "logging": { "level": "info" },
        // Short, so that a test of a lease need not wait for a minute.
        "engine": { "lease_seconds": 6, "silence_seconds": 20, "sweep_seconds": 1, "cancel_grace_seconds": 3 },
        "worker": { "tags": ["eu"], "handover_after_seconds": 2, "renewal_seconds": 2, "heartbeat_seconds": 1, "drain_seconds": 5 },
        "components": {
            "connectors": {
                "examples": { "folder": { "root": workspace().join("examples/data") } },
                "files": { "folder": { "root": folder.join("files") } },
                "data": { "sqlite": { "path": folder.join("data.db") } },
            },
            "egress": { "allow": ["127.0.0.1", "localhost"] },
        },
    });
    // Where queue triggers listen: the services of the tests, in both shapes.
    for (variable, connector, kind) in [("AMQP_URL", "broker", "rabbitmq"), ("REDIS_URL", "streams", "redis")]
    {
        if let Ok(url) = given(variable) {
            all["components"]["connectors"][connector] = json!({ kind: { "url": url } });
        }
    }
    merge(&mut all, over);
    let path = folder.join("config.yaml");
    // JSON is YAML.
    fs::write(&path, serde_json::to_vec_pretty(&all)?)?;
    Ok(path)
}

/// The address in an environment variable.
pub(crate) fn given(name: &str) -> Result<String> {
    let found = std::env::var(name).ok().filter(|value| !value.is_empty());
    found.with_context(|| {
        format!("{name} is not set: run `deploy/dev/services up` (or `make test`, which does)")
    })
}

/// Runs a statement in a database.
fn psql(database: &str, sql: &str) -> Result<()> {
    let done = Command::new("psql").args([database, "-v", "ON_ERROR_STOP=1", "-qc", sql]).output();
    let done = done.context("the tests need psql: install the package postgresql-client")?;
    ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// The services that the processes of a cluster share.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) database: String,
    pub(crate) amqp: String,
    pub(crate) redis: String,
}

impl Addresses {
    /// Those of the environment, with a new database for this `purpose`.
    pub(crate) fn given(purpose: &str) -> Result<Self> {
        let (database, amqp, redis) = (given("DATABASE_URL")?, given("AMQP_URL")?, given("REDIS_URL")?);
        let run = Run::this()?;
        let name = format!("apg_it_{}_{purpose}", run.id);
        let sql = format!("create database {name}");
        psql(&database, &sql)?;
        run.afterwards(&format!("psql '{database}' -qc 'drop database if exists {name} with (force)'"))?;
        let mut url = reqwest::Url::parse(&database).context("DATABASE_URL")?;
        url.set_path(&name);
        Ok(Self { database: url.to_string(), amqp, redis })
    }

    fn environment(&self) -> BTreeMap<String, String> {
        [("DATABASE_URL", &self.database), ("AMQP_URL", &self.amqp), ("REDIS_URL", &self.redis)]
            .map(|(name, url)| (name.to_owned(), url.clone()))
            .into()
    }
}

/// A process of one role (`serve`, `api`, `coordinator`, `worker`); it is not started yet.
pub(crate) fn member(
    name: &str,
    verb: &'static str,
    folder: &Path,
    settings: &Path,
    addresses: Option<&Addresses>,
) -> Result<Member> {
    let serves = matches!(verb, "serve" | "api");
    Ok(Member {
        name: name.to_owned(),
        verb,
        listen: if serves { Some(SocketAddr::from(([127, 0, 0, 1], free_port()?))) } else { None },
        settings: settings.to_owned(),
        environment: addresses.map(Addresses::environment).unwrap_or_default(),
        folder: folder.to_owned(),
    })
}

/// Where workflows run.
pub(crate) struct Place {
    pub(crate) shape: Shape,
    pub(crate) api: Api,
    pub(crate) probe: Probe,
    /// The process whose API is used; its settings are those of all.
    pub(crate) front: Member,
    /// Those that this test process started and ends with the place.
    pub(crate) processes: Vec<Process>,
    logs: Vec<PathBuf>,
}

static EMBEDDED: LazyLock<Result<Place, String>> = LazyLock::new(|| shared(Shape::Embedded));
static CLUSTER: LazyLock<Result<Place, String>> = LazyLock::new(|| shared(Shape::Cluster));

/// The place of this shape that all tests of the run share. The first one starts it.
fn shared(shape: Shape) -> Result<Place, String> {
    let found = Run::this().and_then(|run| {
        run.alone(&shape.to_string(), || {
            let mark = run.root.join(format!("{shape}.json"));
            if let Ok(text) = fs::read_to_string(&mark) {
                return RUNTIME.block_on(Place::attach(shape, &serde_json::from_str(&text)?));
            }
            let mut place = RUNTIME.block_on(Place::start(shape, &json!({})))?;
            for process in place.processes.drain(..) {
                process.stay();
            }
            fs::write(&mark, place.describe().to_string())?;
            Ok(place)
        })
    });
    found.map_err(|error| format!("{error:#}"))
}

impl Place {
    /// The place of this shape that all tests of the run share. Call it outside the runtime.
    pub(crate) fn shared(shape: Shape) -> Result<&'static Self> {
        let found = match shape {
            Shape::Embedded => &*EMBEDDED,
            Shape::Cluster => &*CLUSTER,
        };
        found.as_ref().map_err(|error| anyhow::anyhow!("the {shape} place: {error}"))
    }

    /// A place of one's own, ended when it is dropped.
    pub(crate) async fn start(shape: Shape, over: &Value) -> Result<Self> {
        let folder = Run::this()?.folder(&shape.to_string())?;
        let members = match shape {
            Shape::Embedded => {
                let settings = settings(&folder, over)?;
                vec![member("serve", "serve", &folder, &settings, None)?]
            }
            Shape::Cluster => {
                // Of its own, also beside others of this run.
                let name = super::unique_name("place").replace('-', "_");
                let addresses = Addresses::given(&name)?;
                let mut own = json!({ "amqp": { "namespace": format!("apgit{}{name}", Run::this()?.id) } });
                merge(&mut own, over);
                let settings = settings(&folder, &own)?;
                let mut members = Vec::new();
                for (name, verb) in [
                    ("api", "api"),
                    ("coordinator-1", "coordinator"),
                    ("coordinator-2", "coordinator"),
                    ("worker-1", "worker"),
                    ("worker-2", "worker"),
                ] {
                    members.push(member(name, verb, &folder, &settings, Some(&addresses))?);
                }
                members
            }
        };
        let front = members[0].clone();
        if shape == Shape::Cluster {
            migrate(&front).await?;
        }
        let processes = members.iter().map(Member::start).collect::<Result<Vec<Process>>>()?;
        front.is_up(&processes[0]).await?;
        let logs = members.iter().map(Member::log).collect();
        let place = Self {
            shape,
            api: Api::new(&front.base())?,
            probe: Probe::start().await?,
            front,
            processes,
            logs,
        };
        place.is_ready().await?;
        Ok(place)
    }

    fn describe(&self) -> Value {
        json!({
            "listen": self.front.listen.map(|listen| listen.to_string()),
            "settings": self.front.settings,
            "environment": self.front.environment,
            "folder": self.front.folder,
            "logs": self.logs,
        })
    }

    async fn attach(shape: Shape, state: &Value) -> Result<Self> {
        let path = |value: &Value| value.as_str().map(PathBuf::from).context("a path");
        let front = Member {
            name: "front".to_owned(),
            verb: "serve",
            listen: Some(state["listen"].as_str().context("an address")?.parse()?),
            settings: path(&state["settings"])?,
            environment: serde_json::from_value(state["environment"].clone())?,
            folder: path(&state["folder"])?,
        };
        let logs = state["logs"].as_array().into_iter().flatten().map(path).collect::<Result<_>>()?;
        let probe = Probe::start().await?;
        Ok(Self { shape, api: Api::new(&front.base())?, probe, front, processes: Vec::new(), logs })
    }

    /// Waits until somebody would run a task.
    async fn is_ready(&self) -> Result<()> {
        let ready = until(PATIENCE, "a worker", async || {
            let health = self.api.get("/health/detailed").await?.json()?;
            Ok((health["status"] == "ok" && health["workers"].as_u64() > Some(0)).then_some(()))
        });
        ready.await.with_context(|| self.tails(20))
    }

    /// A further API process of a cluster, with settings on top of its own; ended when it is dropped.
    pub(crate) async fn second_api(&self, over: &Value) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let name = super::unique_name("api");
        let mut all: Value = serde_json::from_slice(&fs::read(&self.front.settings)?)?;
        merge(&mut all, over);
        let settings = self.front.folder.join(format!("{name}.yaml"));
        fs::write(&settings, serde_json::to_vec_pretty(&all)?)?;
        let front = Member { name, listen: Some(listen), settings, ..self.front.clone() };
        let process = Process::start(&front.name, front.command(&["api"])?, &front.log())?;
        front.is_up(&process).await?;
        let logs = vec![front.log()];
        let (api, probe) = (Api::new(&front.base())?, Probe::start().await?);
        Ok(Self { shape: self.shape, api, probe, front, processes: vec![process], logs })
    }

    /// A further worker of a cluster, alone in its pool; ended when it is dropped.
    pub(crate) async fn second_worker(&self, pool: &str) -> Result<Process> {
        let own = Member { name: super::unique_name("worker"), listen: None, ..self.front.clone() };
        let command = own.command(&["--set", &format!("worker.pool={pool}"), "worker"])?;
        let process = Process::start(&own.name, command, &own.log())?;
        let path = "/api/v1/workers";
        let known = until(PATIENCE, "the worker", async || {
            let workers = self.api.get(path).await?.expect(200)?;
            let found = workers["items"].as_array().into_iter().flatten().any(|one| one["pool"] == pool);
            Ok(found.then_some(()))
        });
        known.await.with_context(|| process.tail(40))?;
        Ok(process)
    }

    /// Runs the binary with the settings of this place.
    pub(crate) async fn apg(&self, arguments: &[&str]) -> Result<Output> {
        finish(self.front.command(arguments)?, PATIENCE).await
    }

    /// What the names of a cluster's queues begin with.
    pub(crate) fn namespace(&self) -> Result<String> {
        let all: Value = serde_json::from_slice(&fs::read(&self.front.settings)?)?;
        super::client::text(&all["amqp"], "namespace")
    }

    /// Changes the database of a cluster behind its back.
    pub(crate) fn damage(&self, sql: &str) -> Result<()> {
        psql(self.front.environment.get("DATABASE_URL").context("it has a database of its own")?, sql)
    }

    /// The end of every log.
    pub(crate) fn tails(&self, lines: usize) -> String {
        let tails = self.logs.iter().map(|log| format!("---- {}\n{}", log.display(), tail(log, lines)));
        tails.collect::<Vec<_>>().join("\n")
    }
}

/// Brings the tables of a cluster's database up to date.
pub(crate) async fn migrate(member: &Member) -> Result<()> {
    let output = finish(member.command(&["migrate"])?, PATIENCE).await?;
    ensure!(output.code == 0, "`apg migrate` ended with {}: {}", output.code, output.err);
    Ok(())
}
