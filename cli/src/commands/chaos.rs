//! `apg chaos`: real executions while things break, and whether everything came of them that was promised.
//!
//! It starts the processes itself and ends them; what it never touches is a process it did not start.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use api::Opener;
use chaos::{
    broker::Management,
    field::{Field, Member},
    plan::{self, Kind, Shape},
    proxy::Proxy,
    report::{self, Audited, Order, Report},
    workload::{Load, Own},
};
use indicatif::{ProgressBar, ProgressStyle};
use shared::{
    ids::TenantId,
    port::store::{Page, WorkflowFilter},
    time::{Clock, SystemClock, parse_duration},
};

use super::SettingsArgs;
use crate::{
    Exit,
    client::is_loopback,
    compose, documents, output,
    parameters::ParameterArgs,
    settings::{Loaded, Origin, SecretUrl, Settings, redact_url},
};

/// What a process does for the load, and what its workflows are called.
const NAME: &str = "chaos";
/// What its queues are called, apart from those of any other cluster on the broker.
const NAMESPACE: &str = "apg-chaos";
/// A worker that was heard of this recently is at work: longer than its heartbeat unless that was changed.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// Settings that notice faults soon, where the user has none of their own: with the defaults a run would wait a
/// minute for each lost lease.
const SOON: &[(&str, &str)] = &[
    ("amqp.heartbeat_seconds", "5"),
    ("database.pool_size", "8"),
    ("database.max_overflow", "4"),
    ("database.pool_timeout", "5"),
    ("engine.lease_seconds", "10"),
    ("engine.silence_seconds", "5"),
    ("engine.sweep_seconds", "1"),
    ("engine.cancel_grace_seconds", "3"),
    ("worker.handover_after_seconds", "2"),
    ("worker.renewal_seconds", "3"),
    ("worker.heartbeat_seconds", "1"),
    ("worker.drain_seconds", "5"),
];

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FaultKind {
    /// SIGKILL; the process is started again.
    Kill,
    /// SIGSTOP for 1 to 15 seconds, then SIGCONT.
    Stop,
    /// SIGTERM; the process is started again.
    Terminate,
    /// Connections of one process to the database, the broker or Redis are cut off. Clusters only.
    Cut,
    /// The same go silent for 5 to 10 seconds. Clusters only.
    Silence,
    /// The broker's queues are emptied. Clusters only, and with --management.
    Purge,
}

impl From<FaultKind> for Kind {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Kill => Self::Kill,
            FaultKind::Stop => Self::Stop,
            FaultKind::Terminate => Self::Terminate,
            FaultKind::Cut => Self::Cut,
            FaultKind::Silence => Self::Silence,
            FaultKind::Purge => Self::Purge,
        }
    }
}

/// Starts processes of its own, breaks them while executions run, and looks for what was lost, doubled or stuck.
///
/// With DATABASE_URL, AMQP_URL and REDIS_URL it starts a cluster on these services, otherwise one `apg serve` on a
/// SQLite file. Give it a database of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Executions that are submitted.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    executions: u32,
    /// Faults that happen meanwhile.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    faults: u32,
    /// Decides which faults come when, whom they hit and what is submitted; another one each time without it.
    #[arg(long)]
    seed: Option<u64>,
    /// Clients that submit at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=512))]
    concurrency: u32,
    /// The kinds of faults; all that are possible without it.
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<FaultKind>,
    /// From one fault to the next, on average.
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: String,
    /// How long after the last fault an execution may take to end before it counts as stuck.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    patience: String,
    /// API processes of a cluster.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    apis: u32,
    /// Coordinators of a cluster.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    coordinators: u32,
    /// Workers of a cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Executes this document in place of the built-in workflows. A parameter `n` of it is another number in each
    /// execution; a parameter `probe` is an address below which every call is answered and counted, such as
    /// `${{ parameters.probe }}/ship?n=${{ parameters.n }}`.
    #[arg(long, value_name = "FILE")]
    workflow: Option<PathBuf>,
    #[command(flatten)]
    parameters: ParameterArgs,
    /// Executions of the document may fail by themselves.
    #[arg(long, requires = "workflow")]
    may_fail: bool,
    /// RabbitMQ's management API with user and password, such as http://guest:guest@127.0.0.1:15672; the queues of
    /// this run are emptied through it.
    #[arg(long, env = "RABBITMQ_MANAGEMENT_URL", hide_env_values = true, value_name = "URL")]
    management: Option<String>,
    /// Goes on although the services are on other machines, or the database is in use.
    #[arg(long)]
    this_is_a_test_cluster: bool,
    /// Writes the report to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps the folder with the logs of all processes also when all went well.
    #[arg(long)]
    keep: bool,
}

/// The three services of a cluster, by the variables that name them.
struct Services<'a> {
    database: &'a SecretUrl,
    amqp: &'a SecretUrl,
    redis: &'a SecretUrl,
}

impl<'a> Services<'a> {
    /// Those that are given; nothing when none is.
    ///
    /// # Errors
    /// When some are given and others not: a sentence that says which.
    fn of(settings: &'a Settings) -> Result<Option<Self>, String> {
        let database = settings.database.url.as_ref().filter(|_| settings.uses_postgres());
        match (database, settings.amqp.url.as_ref(), settings.redis.url.as_ref()) {
            (Some(database), Some(amqp), Some(redis)) => Ok(Some(Self { database, amqp, redis })),
            (None, None, None) => Ok(None),
            (database, amqp, redis) => {
                let given = [
                    ("DATABASE_URL of PostgreSQL", database.is_some()),
                    ("AMQP_URL", amqp.is_some()),
                    ("REDIS_URL", redis.is_some()),
                ];
                let of = |is_there: bool| -> String {
                    let names = given.iter().filter(|(_, given)| *given == is_there).map(|(name, _)| *name);
                    names.collect::<Vec<_>>().join(" and ")
                };
                Err(format!(
                    "a cluster needs all three services: {} is given and {} is not. Give all, or none for one process \
                     on a SQLite file",
                    of(true),
                    of(false)
                ))
            }
        }
    }

    fn all(&self) -> [(&'static str, &'a SecretUrl); 3] {
        [("DATABASE_URL", self.database), ("AMQP_URL", self.amqp), ("REDIS_URL", self.redis)]
    }
}

/// Why these services must not be broken; nothing when they may.
async fn refusal(
    settings: &Settings,
    services: &Services<'_>,
    management: Option<&str>,
) -> Result<Option<String>> {
    let addresses = services.all().map(|(name, url)| (name, url.expose()));
    for (name, url) in addresses.into_iter().chain(management.map(|url| ("--management", url))) {
        if !is_loopback(url) {
            return Ok(Some(format!(
                "{name} is {}, which is not on this machine: others may depend on it, and this run fills its database \
                 and cuts connections",
                redact_url(url)
            )));
        }
    }
    if compose::migration_status(services.database.expose()).await?.applied == 0 {
        return Ok(None);
    }
    let store =
        compose::open_store_to_read(settings).await.context("give this run an empty database of its own")?;
    let page = Page { after: None, limit: 500 };
    let workflows = store.workflow_list(TenantId::DEFAULT, WorkflowFilter::default(), page).await;
    let workflows = workflows.context("the database cannot be read")?.items;
    if let Some(other) = workflows.iter().find(|workflow| !workflow.name.starts_with(&format!("{NAME}-"))) {
        return Ok(Some(format!(
            "the database holds the workflow `{}`, which is not of a run like this",
            other.name
        )));
    }
    let counts = store.execution_counts().await.context("the database cannot be read")?;
    let open: u64 = counts.iter().filter(|(status, _)| !status.is_terminal()).map(|(_, count)| count).sum();
    if open > 0 {
        return Ok(Some(format!(
            "the database holds {open} open executions, which this run would go on with"
        )));
    }
    let workers = store.workers(HEARD_WITHIN).await.context("the database cannot be read")?;
    let at_work = workers.iter().filter(|(worker, _)| !worker.draining).count();
    Ok((at_work > 0).then(|| {
        format!(
            "{at_work} workers of this database were heard of within the last {} s: what they run would be taken up by \
             processes that are killed all the time",
            HEARD_WITHIN.as_secs()
        )
    }))
}

/// How every process of the run is started.
#[derive(Clone)]
struct Launch {
    program: PathBuf,
    /// What the user gave, and then what the run needs.
    arguments: Vec<String>,
    /// Without a value it is taken away.
    environment: Vec<(&'static str, Option<String>)>,
}

impl Launch {
    fn new(args: &SettingsArgs, loaded: &Loaded, shape: Shape, folder: &Path, api_key: &str) -> Result<Self> {
        let mut arguments = Vec::new();
        if let Some(config) = &args.config {
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
        }
        // Addresses go through the proxies, and each process has its own.
        let own = |text: &&String| {
            !["database.url", "amqp.url", "redis.url", "api.listen"]
                .iter()
                .any(|key| text.split_once('=').is_some_and(|(given, _)| given.trim() == *key))
        };
        let mut set: Vec<String> = args.set.iter().filter(own).cloned().collect();
        for (key, value) in SOON {
            if loaded.origin(key) == Origin::Default {
                set.push(format!("{key}={value}"));
            }
        }
        let mut allow = loaded.settings.components.egress.allow.clone();
        allow.push("127.0.0.1".to_owned());
        let allow = serde_json::to_string(&allow).context("a list of texts")?;
        set.push(format!("components.egress.allow={allow}"));
        set.push(format!("app.data_folder={}", folder.join("data").display()));
        if shape == Shape::Cluster {
            set.push(format!("amqp.namespace={NAMESPACE}"));
        }
        if loaded.settings.monitoring.listen.is_some() {
            // One port cannot be listened on by all.
            set.push("monitoring.enabled=false".to_owned());
        }
        arguments.extend(set.into_iter().flat_map(|set| ["--set".to_owned(), set]));
        let program = std::env::current_exe().context("the path of this program")?;
        let environment = vec![
            ("DATABASE_URL", None),
            ("AMQP_URL", None),
            ("REDIS_URL", None),
            // A secret that only the processes of this run know.
            ("APG_API__WORKER_TOKEN", Some(Opener::random()?.reveal().to_owned())),
            ("APG_API_KEY", Some(api_key.to_owned())),
        ];
        Ok(Self { program, arguments, environment })
    }

    fn with(&self, variable: &'static str, value: &str) -> Self {
        let mut own = self.clone();
        own.environment.push((variable, Some(value.to_owned())));
        own
    }

    fn set(&self, key: &str, value: impl std::fmt::Display) -> Self {
        let mut own = self.clone();
        own.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        own
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(verb);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Runs a verb to its end: its status, and what it wrote to its outputs.
    async fn finish(&self, verb: &[&str]) -> Result<(i32, String, String)> {
        let mut command = tokio::process::Command::from(self.command(verb));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let done =
            command.output().await.with_context(|| format!("`apg {}` cannot be run", verb.join(" ")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr)))
    }

    fn member(
        self,
        name: String,
        verb: &'static str,
        folder: &Path,
        listen: Option<SocketAddr>,
        links: Vec<(&'static str, Proxy)>,
    ) -> Member {
        let log = folder.join(format!("{name}.log"));
        let own = match listen {
            Some(listen) => self.set("api.listen", listen),
            None => self,
        };
        Member { name, verb, listen, log, links, start: Box::new(move || Ok(own.command(&[verb]))) }
    }
}

fn listen() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], chaos::free_port()?)))
}

/// The processes of a cluster, each behind proxies of its own.
async fn cluster(
    args: &Args,
    launch: &Launch,
    services: &Services<'_>,
    folder: &Path,
) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let first = listen()?;
    for (verb, count) in [("api", args.apis), ("coordinator", args.coordinators), ("worker", args.workers)] {
        for number in 1..=count {
            let mut own = launch.set("worker.gateway_url", format_args!("http://{first}"));
            let mut links = Vec::new();
            for ((variable, url), name) in services.all().into_iter().zip(["database", "broker", "Redis"]) {
                // A worker has no database login: it runs what people wrote.
                if verb == "worker" && variable != "AMQP_URL" {
                    continue;
                }
                let before = Proxy::before(url.expose()).await;
                let (proxy, through) = before.with_context(|| format!("{variable}, {url}"))?;
                own = own.with(variable, &through);
                links.push((name, proxy));
            }
            let listens = match (verb, number) {
                ("api", 1) => Some(first),
                ("api", _) => Some(listen()?),
                _ => None,
            };
            members.push(own.member(format!("{verb}-{number}"), verb, folder, listens, links));
        }
    }
    Ok(members)
}

/// The workflow of the user, with what it is started with.
fn own(args: &Args) -> Result<Option<Own>> {
    let Some(path) = &args.workflow else { return Ok(None) };
    let (name, document) = documents::text(path)?;
    let workflow = documents::read(&name, &document)?.workflow;
    let parameters = args.parameters.read(|name| {
        let parameter = workflow.parameters.iter().find(|parameter| parameter.name == name)?;
        serde_json::to_value(parameter.kind).ok()?.as_str().map(ToOwned::to_owned)
    })?;
    let has = |name: &str| workflow.parameters.iter().any(|parameter| parameter.name == name);
    let (has_number, has_probe) = (has("n"), has("probe"));
    Ok(Some(Own { document, parameters, has_number, has_probe, may_fail: args.may_fail }))
}

/// Says what is wrong with what was given.
fn wrong(text: impl std::fmt::Display) -> Exit {
    output::say(format_args!("error: {text}"));
    Exit::Wrong
}

/// The management API, once it has answered.
async fn management(url: Option<&str>) -> Result<Option<Management>> {
    let Some(url) = url else { return Ok(None) };
    let management = Management::new(url, NAMESPACE)?;
    management.check().await?;
    Ok(Some(management))
}

pub(crate) async fn run(settings_args: &SettingsArgs, args: Args) -> Result<Exit> {
    let loaded = settings_args.load()?;
    let (every, patience) = match (parse_duration(&args.every), parse_duration(&args.patience)) {
        (Ok(every), Ok(patience)) => (every, patience),
        (Err(error), _) => return Ok(wrong(format_args!("--every: {error}"))),
        (_, Err(error)) => return Ok(wrong(format_args!("--patience: {error}"))),
    };
    let services = match Services::of(&loaded.settings) {
        Ok(services) => services,
        Err(sentence) => return Ok(wrong(sentence)),
    };
    let shape = if services.is_some() { Shape::Cluster } else { Shape::Embedded };
    let seed = args.seed.unwrap_or_else(|| SystemClock.now().as_micros() as u64 % 1_000_000);
    let mut kinds: Vec<Kind> = args.kinds.iter().copied().map(Kind::from).collect();
    if kinds.is_empty() {
        kinds = [Kind::Kill, Kind::Stop, Kind::Terminate, Kind::Cut, Kind::Silence].into();
        kinds.extend(args.management.is_some().then_some(Kind::Purge));
    }
    if kinds.contains(&Kind::Purge) && args.management.is_none() {
        return Ok(wrong("--kinds purge: name the broker's management API with --management"));
    }
    let faults = plan::faults(seed, args.faults as usize, every, shape, &kinds);
    if faults.is_empty() {
        return Ok(wrong(
            "--kinds: one process without services can be killed, stopped and terminated, nothing else",
        ));
    }
    if args.workflow.is_none() && !(args.parameters.pairs.is_empty() && args.parameters.parameters.is_none())
    {
        return Ok(wrong("parameters are those of a document: name it with --workflow"));
    }
    let own = own(&args)?;
    if let Some(services) = services.as_ref().filter(|_| !args.this_is_a_test_cluster)
        && let Some(sentence) = refusal(&loaded.settings, services, args.management.as_deref()).await?
    {
        return Ok(wrong(format_args!(
            "{sentence}. Give it other services, or say --this-is-a-test-cluster when all of it may be broken"
        )));
    }

    // One process has no broker.
    let broker = match management(args.management.as_deref().filter(|_| services.is_some())).await {
        Ok(broker) => broker,
        Err(error) => {
            return Ok(wrong(format_args!(
                "--management: {error:#}. Its address holds user and password, as in http://guest:guest@127.0.0.1:15672"
            )));
        }
    };

    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let api_key = Opener::random()?;
    let launch = Launch::new(settings_args, &loaded, shape, folder.path(), api_key.reveal())?;
    let (tool, members, processes) = match &services {
        None => {
            let file = format!("sqlite:{}", folder.path().join("data/apg.db").display());
            let launch = launch.with("DATABASE_URL", &file);
            let member = launch.clone().member(
                "serve".to_owned(),
                "serve",
                folder.path(),
                Some(listen()?),
                Vec::new(),
            );
            (launch, vec![member], "one process on SQLite".to_owned())
        }
        Some(services) => {
            let tool = launch.with("DATABASE_URL", services.database.expose());
            let (code, _, errors) = tool.finish(&["migrate"]).await?;
            anyhow::ensure!(code == 0, "`apg migrate` ended with status {code}: {}", errors.trim_end());
            let Args { apis, coordinators, workers, .. } = args;
            let processes = format!(
                "{apis} APIs, {coordinators} coordinators and {workers} workers on PostgreSQL, RabbitMQ and Redis"
            );
            (tool, cluster(&args, &launch, services, folder.path()).await?, processes)
        }
    };
    let order = Order {
        label: format!("{NAME}-{seed}-{:x}", SystemClock.now().as_micros() / 1_000_000),
        shape,
        processes,
        load: Load {
            api_key: api_key.reveal().to_owned(),
            executions: args.executions as usize,
            seed,
            clients: args.concurrency as usize,
            // Spread over the time of a fault; a long pause between faults needs no longer one here.
            rest: Duration::from_millis(600).min(every / 2),
            patience,
            own,
        },
        faults,
    };
    output::say(format_args!("Seed {seed}; {}; logs in {}", order.processes, folder.path().display()));
    let finished = tokio::select! {
        report = carry_out(members, broker, &order, &tool) => Some(report),
        () = compose::signal() => None,
    };
    // The processes are ended by now, with whatever had them.
    let Some(report) = finished else {
        output::say("Interrupted; every process that was started has been ended");
        return Ok(Exit::Interrupted);
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            return Err(
                error.context(format!("the run broke off; its logs are in {}", folder.keep().display()))
            );
        }
    };
    show(&report, &args)?;
    if args.keep || !report.is_sound {
        output::say(format_args!("The logs of all processes are in {}", folder.keep().display()));
    }
    Ok(if report.is_sound { Exit::Success } else { Exit::Failed })
}

async fn carry_out(
    members: Vec<Member>,
    broker: Option<Management>,
    order: &Order,
    tool: &Launch,
) -> Result<Report> {
    let field = Field::start(members, broker).await?;
    let bar = if output::is_watched() {
        ProgressBar::new(order.load.executions as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {pos}/{len} accepted {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let say = |accepted: usize, text: &str| {
        bar.set_position(accepted as u64);
        if bar.is_hidden() {
            output::say(format_args!("{accepted:>6} accepted  {text}"));
        } else {
            bar.println(text);
        }
    };
    let audit = async || {
        let (code, out, errors) = tool.finish(&["audit", "--output", "json"]).await?;
        Ok(Audited::read(code, &out, &errors))
    };
    let report = report::run(&field, order, &say, audit).await;
    bar.finish_and_clear();
    report
}

/// The command that repeats the run.
fn command(report: &Report, args: &Args) -> String {
    let mut text =
        format!("apg chaos --executions {} --faults {} --seed {}", args.executions, args.faults, report.seed);
    let kinds: Vec<String> = args
        .kinds
        .iter()
        .filter_map(|kind| clap::ValueEnum::to_possible_value(kind).map(|value| value.get_name().to_owned()))
        .collect();
    if !kinds.is_empty() {
        text.push_str(&format!(" --kinds {}", kinds.join(",")));
    }
    for (flag, value, default) in [("--every", &args.every, "2s"), ("--patience", &args.patience, "2m")] {
        if value != default {
            text.push_str(&format!(" {flag} {value}"));
        }
    }
    for (flag, value, default) in [
        ("--concurrency", args.concurrency, 8),
        ("--apis", args.apis, 2),
        ("--coordinators", args.coordinators, 2),
        ("--workers", args.workers, 3),
    ] {
        if value != default {
            text.push_str(&format!(" {flag} {value}"));
        }
    }
    if let Some(file) = &args.workflow {
        text.push_str(&format!(" --workflow {}", file.display()));
    }
    text
}

fn show(report: &Report, args: &Args) -> Result<()> {
    for (headings, rows) in report.tables() {
        output::data(&output::table(&headings, &rows));
    }
    for breach in report.breaches() {
        output::data(&format!("* {breach}"));
    }
    for end in &report.ended_by_themselves {
        output::say(end);
    }
    output::data(&report.verdict());
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    if let Some(path) = &args.report {
        write(path, report.markdown(&command(report, args)))?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report).context("the report is plain data")?;
        write(path, text + "\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for url in
            ["postgres://u:p@localhost:5/d", "amqp://127.0.0.1", "redis://[::1]:6379/0", "redis://127.9.9.9"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "postgres://db.example/d",
            "amqp://10.0.0.1",
            "redis://localhost.example",
            "unix:/run/redis",
            "x",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_cluster_needs_all_its_services() {
        let mut settings = Settings::default();
        assert!(Services::of(&settings).is_ok_and(|services| services.is_none()));
        settings.database.url = Some(SecretUrl::new("postgres://localhost/d"));
        settings.amqp.url = Some(SecretUrl::new("amqp://localhost"));
        let sentence = Services::of(&settings).err().unwrap_or_default();
        assert!(sentence.contains("REDIS_URL is not"), "{sentence}");
        settings.redis.url = Some(SecretUrl::new("redis://localhost"));
        assert!(Services::of(&settings).is_ok_and(|services| services.is_some()));
    }
}
