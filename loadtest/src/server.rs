//! Starts what is measured on private ports, and stops it by process id.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use shared::ids::ExecutionId;

use crate::process::{self, Roots};

/// What a process is given to leave before it is killed.
const LEAVE_WITHIN: Duration = Duration::from_secs(40);

/// Where the roles run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// One process with SQLite.
    Embedded,
    /// A process a role, with PostgreSQL, RabbitMQ and Redis.
    Cluster,
}

impl Shape {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        }
    }
}

/// Running processes of ours; stopped when dropped.
pub(crate) struct Started {
    apg: PathBuf,
    settings: Vec<String>,
    folder: tempfile::TempDir,
    children: Vec<Child>,
    database: Option<Database>,
    pub(crate) url: String,
    /// The key that its API takes.
    pub(crate) key: String,
    pub(crate) services: Vec<u32>,
}

impl Started {
    pub(crate) fn new(shape: Shape, apg: &Path, settings: &[String], workers: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("apg-bench-").tempdir_in(scratch())?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut settings = settings.to_vec();
        settings.push(format!("api.listen=127.0.0.1:{port}"));
        settings.push(format!("app.data_folder={}", folder.path().display()));
        settings.push("logging.level=warn".to_owned());
        let mut started = Self {
            apg: apg.to_owned(),
            settings,
            folder,
            children: Vec::new(),
            database: None,
            url: format!("http://127.0.0.1:{port}"),
            key: format!("{}{}", ExecutionId::generate(), ExecutionId::generate()),
            services: Vec::new(),
        };
        match shape {
            Shape::Embedded => started.spawn("serve")?,
            Shape::Cluster => {
                for variable in ["DATABASE_URL", "AMQP_URL", "REDIS_URL"] {
                    let url = std::env::var(variable).with_context(|| format!("{variable} is not set"))?;
                    started.services.extend(local_port(&url).and_then(process::listener));
                }
                started.database = Some(Database::create(apg)?);
                started.spawn("api")?;
                started.spawn("coordinator")?;
                for _ in 0..workers {
                    started.spawn("worker")?;
                }
            }
        }
        Ok(started)
    }

    /// Starts one more process of a role.
    pub(crate) fn spawn(&mut self, role: &str) -> Result<()> {
        let number = self.children.len();
        let log = File::create(self.folder.path().join(format!("{role}-{number}.log")))?;
        let mut command = self.command(role);
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} {role} does not start", self.apg.display()))?;
        self.children.push(child);
        Ok(())
    }

    /// The binary with a command, and the settings and the database of what was started.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.apg);
        command.arg(name).env("APG_API_KEY", &self.key);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        match &self.database {
            Some(database) => {
                command.env("DATABASE_URL", &database.url);
            }
            None => {
                for variable in ["DATABASE_URL", "AMQP_URL", "REDIS_URL"] {
                    command.env_remove(variable);
                }
            }
        }
        command
    }

    /// Asks its processes to leave, and waits until they have.
    pub(crate) fn pause(&mut self) {
        stop(&mut self.children);
        self.children.clear();
    }

    /// Starts what was paused.
    pub(crate) fn resume(&mut self, shape: Shape) -> Result<()> {
        match shape {
            Shape::Embedded => self.spawn("serve"),
            Shape::Cluster => {
                ["api", "coordinator", "worker"].into_iter().try_for_each(|role| self.spawn(role))
            }
        }
    }

    /// The address of its database.
    pub(crate) fn database(&self) -> String {
        match &self.database {
            Some(database) => database.url.clone(),
            None => format!("sqlite:{}", self.folder.path().join("apg.db").display()),
        }
    }

    pub(crate) fn workers(&self) -> usize {
        // One api and one coordinator stand before them.
        self.children.len().saturating_sub(2)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// What its logs say, for when it does not answer.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let from = text.len().saturating_sub(2_000);
                let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                words.push_str(&text[from..]);
            }
        }
        words
    }

    /// Where its files lie, for measuring the disk under them.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        stop(&mut self.children);
    }
}

/// Each is asked by its id; a child that is not reaped yet keeps its id from being given away.
fn stop(children: &mut [Child]) {
    for child in &*children {
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let until = Instant::now() + LEAVE_WITHIN;
    for child in children {
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Disk, not memory: a temporary folder is often a tmpfs, where a flush costs nothing.
fn scratch() -> PathBuf {
    let target = PathBuf::from("target");
    if target.is_dir() { target } else { std::env::temp_dir() }
}

/// A database of this run alone; dropped after it.
struct Database {
    admin: String,
    name: String,
    url: String,
}

impl Database {
    /// Makes it and brings its tables up to date with the binary that is measured.
    fn create(apg: &Path) -> Result<Self> {
        let admin = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
        let name = format!("apg_bench_{}", std::process::id());
        let url = with_database(&admin, &name).context("DATABASE_URL names no database")?;
        sql(&admin, &format!("create database {name}"))?;
        let database = Self { admin, name, url };
        let migrated = Command::new(apg).arg("migrate").env("DATABASE_URL", &database.url).output()?;
        ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        Ok(database)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = sql(&self.admin, &format!("drop database if exists {} with (force)", self.name));
    }
}

fn sql(url: &str, statement: &str) -> Result<()> {
    let done = Command::new("psql")
        .args([url, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--command", statement])
        .output()
        .context("psql is needed to make a database for the run")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (before, query) = url.split_once('?').map_or((url, None), |(before, query)| (before, Some(query)));
    let host = before.find("://")? + 3;
    let base = before[host..].find('/').map_or(before, |slash| &before[..host + slash]);
    Some(query.map_or_else(|| format!("{base}/{name}"), |query| format!("{base}/{name}?{query}")))
}

/// The port of an address on this machine.
fn local_port(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
        _ => (host, default_port(scheme)?),
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]").then_some(port)
}

fn default_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "postgres" | "postgresql" => 5432,
        "amqp" => 5672,
        "amqps" => 5671,
        "redis" | "rediss" => 6379,
        _ => return None,
    })
}

/// What is measured, however it came to run.
pub(crate) fn roots(
    started: Option<&Started>,
    pids: &[u32],
    service_pids: &[u32],
    shape: Shape,
) -> Result<Roots> {
    let own = started.map_or_else(|| pids.to_vec(), Started::pids);
    if own.is_empty() {
        bail!("say what to measure: --start, or --pids of the running server");
    }
    let mut services = service_pids.to_vec();
    if services.is_empty()
        && shape == Shape::Cluster
        && let Some(started) = started
    {
        services.clone_from(&started.services);
        if services.len() < 3 {
            bail!("not every service listens on this machine; give their processes with --service-pids");
        }
    }
    Ok(Roots { own, services })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_keeps_the_rest_of_the_address() {
        let named = |url| with_database(url, "x").expect("an address");
        assert_eq!(named("postgres://u:p@h:1/app?sslmode=disable"), "postgres://u:p@h:1/x?sslmode=disable");
        assert_eq!(named("postgres://h"), "postgres://h/x");
    }

    #[test]
    fn only_ports_of_this_machine_count() {
        assert_eq!(local_port("amqp://guest:guest@127.0.0.1:25673/%2f"), Some(25_673));
        assert_eq!(local_port("redis://localhost"), Some(6_379));
        assert_eq!(local_port("postgres://u@[::1]:5433/x"), Some(5_433));
        assert_eq!(local_port("redis://cache.example:6379"), None);
    }
}
