//! Private PostgreSQL, RabbitMQ and Redis that a test may kill: the same start lines as
//! `deploy/dev/services`, with their data in memory.
//!
//! Linux only, as that script is.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{PATIENCE, free_port, place::Addresses, process::Process, process::command, run::Run};

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Database,
    Broker,
    Display,
}

/// One private service, and how it is started.
struct Server {
    service: Service,
    folder: PathBuf,
    port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Another user's when the tests run as root.
    user: Option<(u32, u32)>,
    process: Mutex<Option<Process>>,
}

impl Server {
    fn start(&self) -> Result<()> {
        let mut command = command(&self.program, &self.folder);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let name = format!("{:?}", self.service);
        let process = Process::start(&name, command, &self.folder.join("out"))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Ends it and everything it started, at once.
    fn kill(&self) -> Result<()> {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(process) = process else { return Ok(()) };
        // RabbitMQ is a shell script that waits for Erlang; Erlang has helpers of its own.
        let descendants = descendants(process.pid());
        process.kill()?;
        for pid in descendants.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // PostgreSQL's own end when their parent is gone.
            if self.service == Service::Broker {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }

    /// Whether it answers in its protocol.
    async fn answers(&self) -> bool {
        let (hello, wanted): (&[u8], &[u8]) = match self.service {
            // An SSL request is answered with one letter, also before the database is ready; see below.
            Service::Database => (&[0, 0, 0, 8, 4, 210, 22, 47], b"N"),
            Service::Broker => (b"AMQP\0\0\x09\x01", b"\x01\0\0"),
            Service::Display => (b"PING\r\n", b"+PONG"),
        };
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.write_all(hello).await.ok()?;
            let mut buffer = [0; 8];
            let count = stream.read(&mut buffer).await.ok()?;
            buffer[..count].starts_with(wanted).then_some(())
        };
        let is_there = timeout(Duration::from_secs(2), asked).await.is_ok_and(|found| found.is_some());
        if is_there && self.service == Service::Database {
            return self
                .tool("pg_isready", &["-q"])
                .is_ok_and(|mut command| command.status().is_ok_and(|status| status.success()));
        }
        is_there
    }

    /// A tool beside the program, aimed at this server.
    fn tool(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let path = self.program.parent().context("a program lies in a folder")?.join(name);
        let mut command = command(&path, Path::new("/"));
        let port = self.port.to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "apg"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Starts it and waits until it answers; PostgreSQL may refuse while its old processes end.
    async fn bring_up(&self) -> Result<Duration> {
        let started = Instant::now();
        loop {
            self.start()?;
            let up = async {
                loop {
                    if self.answers().await {
                        return true;
                    }
                    let ended = {
                        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
                        process.as_ref().is_none_or(|process| !matches!(process.ended(), Ok(None)))
                    };
                    if ended {
                        return false;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            if timeout(PATIENCE, up).await.unwrap_or(false) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "{:?} does not start:\n{}",
                    self.service,
                    super::process::tail(&self.folder.join("out"), 30)
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Every descendant of a process, from /proc.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// A PostgreSQL, a RabbitMQ and a Redis of one's own.
pub(crate) struct Services {
    database: Server,
    broker: Server,
    display: Server,
    /// Erlang's port mapper; started here, so that it is known by its pid.
    _mapper: Process,
}

impl Services {
    /// Starts all three.
    pub(crate) async fn start() -> Result<Self> {
        let (database, (broker, mapper), display) = (database()?, broker()?, display()?);
        let services = Self { database, broker, display, _mapper: mapper };
        tokio::try_join!(
            services.database.bring_up(),
            services.broker.bring_up(),
            services.display.bring_up()
        )?;
        let made = services.database.tool("createdb", &["apg"])?.env("PGPASSWORD", "apg").status()?;
        ensure!(made.success(), "createdb ended with {made}");
        // What the product asks for the time. Behind it stands the server's clock, until a test moves it.
        services.sql(
            "create table moved (hours integer not null); insert into moved values (0); \
             create function public.clock_timestamp() returns timestamptz language sql volatile as \
             'select pg_catalog.clock_timestamp() + (select hours from public.moved) * interval ''1 hour'''; \
             alter database apg set search_path = public, pg_catalog",
        )?;
        Ok(services)
    }

    /// Runs statements in the database.
    pub(crate) fn sql(&self, text: &str) -> Result<()> {
        let mut psql =
            self.database.tool("psql", &["-q", "-v", "ON_ERROR_STOP=1", "-d", "apg", "-c", text])?;
        let done = psql.env("PGPASSWORD", "apg").stderr(Stdio::piped()).output()?;
        ensure!(done.status.success(), "psql: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn server(&self, service: Service) -> &Server {
        match service {
            Service::Database => &self.database,
            Service::Broker => &self.broker,
            Service::Display => &self.display,
        }
    }

    pub(crate) fn port(&self, service: Service) -> u16 {
        self.server(service).port
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            database: format!("postgres://apg:apg@127.0.0.1:{}/apg", self.database.port),
            amqp: format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.broker.port),
            redis: format!("redis://127.0.0.1:{}/0", self.display.port),
        }
    }

    /// Kills a service and starts it again on the same data; how long it was away.
    pub(crate) async fn restart(&self, service: Service) -> Result<Duration> {
        let started = Instant::now();
        self.server(service).kill()?;
        self.server(service).bring_up().await?;
        Ok(started.elapsed())
    }

    /// Kills the broker and starts it again with nothing: every queue and message is gone.
    pub(crate) async fn wipe_broker(&self) -> Result<Duration> {
        let started = Instant::now();
        self.broker.kill()?;
        fs::remove_dir_all(self.broker.folder.join("mnesia")).context("the broker's data")?;
        self.broker.bring_up().await?;
        Ok(started.elapsed())
    }

    /// Empties Redis.
    pub(crate) async fn flush_display(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.display.port)).await?;
        stream.write_all(b"FLUSHALL\r\n").await?;
        let mut answer = [0; 5];
        timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await??;
        ensure!(&answer == b"+OK\r\n", "FLUSHALL was answered with {answer:?}");
        Ok(())
    }
}

/// A folder in memory where there is one.
fn folder(name: &str) -> Result<PathBuf> {
    let run = Run::this()?;
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        return run.folder(name);
    }
    let path = memory.join(super::unique_name(&format!("apg-it-{}-{name}", run.id)));
    fs::create_dir_all(&path)?;
    run.afterwards(&format!("rm -rf '{}'", path.display()))?;
    Ok(path)
}

/// The first of these files that there is.
fn program(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.is_file())
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

const INSTALL: &str = "is not installed: `deploy/dev/services up` says how";

fn database() -> Result<Server> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin/postgres")))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    versions.sort();
    let program = versions.pop().map(|(_, path)| path).or_else(|| on_path("postgres"));
    let program = program.with_context(|| format!("PostgreSQL {INSTALL}"))?;
    let (folder, port) = (folder("postgres")?, free_port()?);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let mut user = None;
    if rustix::process::geteuid().is_root() {
        let accounts = fs::read_to_string("/etc/passwd")?;
        let line =
            accounts.lines().find(|line| line.starts_with("postgres:")).context("no user `postgres`")?;
        let number = |index: usize| line.split(':').nth(index).and_then(|text| text.parse::<u32>().ok());
        user = number(2).zip(number(3));
        let (uid, gid) = user.context("the user `postgres` has no number")?;
        chown(&folder, Some(uid), Some(gid))?;
    }
    let data = folder.join("data");
    let password = folder.join("password");
    fs::write(&password, "apg\n")?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644))?;
    let mut command = command(&program.with_file_name("initdb"), &folder);
    command.arg("-D").arg(&data).args(["-U", "apg", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
    command.arg("--pwfile").arg(&password);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    let made = command.output().context("initdb")?;
    ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let arguments = [
        "-D",
        &data.display().to_string(),
        "-p",
        &port.to_string(),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "max_connections=300",
        "-c",
        "shared_buffers=128MB",
    ]
    .map(ToOwned::to_owned)
    .into();
    Ok(Server {
        service: Service::Database,
        folder,
        port,
        program,
        arguments,
        environment: Vec::new(),
        user,
        process: Mutex::new(None),
    })
}

fn broker() -> Result<(Server, Process)> {
    // Debian's /usr/sbin/rabbitmq-server wants to be root or rabbitmq; this one does not.
    let program = program(&["/usr/lib/rabbitmq/bin/rabbitmq-server"]).or_else(|| on_path("rabbitmq-server"));
    let program = program.with_context(|| format!("RabbitMQ {INSTALL}"))?;
    let (folder, port, dist, mapper_port) = (folder("rabbitmq")?, free_port()?, free_port()?, free_port()?);
    fs::create_dir_all(folder.join("home"))?;
    let settings = [
        &format!("listeners.tcp.1 = 127.0.0.1:{port}"),
        "loopback_users = none",
        "vm_memory_high_watermark.relative = 0.3",
        "disk_free_limit.absolute = 50MB",
        "log.file.level = warning",
    ];
    fs::write(folder.join("rabbit.conf"), settings.join("\n") + "\n")?;
    fs::write(folder.join("plugins"), "[].\n")?;
    let at = |name: &str| folder.join(name).display().to_string();
    let environment = vec![
        ("HOME", at("home")),
        ("RABBITMQ_NODENAME", format!("apg{port}@localhost")),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", dist.to_string()),
        ("ERL_EPMD_PORT", mapper_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
        ("RABBITMQ_CONFIG_FILE", at("rabbit.conf")),
        ("RABBITMQ_MNESIA_BASE", at("mnesia")),
        ("RABBITMQ_LOG_BASE", at("log")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
        ("ERL_CRASH_DUMP", at("crash.dump")),
    ];
    let environment: Vec<(String, String)> =
        environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let epmd = on_path("epmd").context("epmd, which comes with Erlang, is not on the path")?;
    let mut command = command(&epmd, &folder);
    command.args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"]);
    let mapper = Process::start("epmd", command, &folder.join("epmd.out"))?;
    let server = Server {
        service: Service::Broker,
        folder,
        port,
        program,
        arguments: Vec::new(),
        environment,
        user: None,
        process: Mutex::new(None),
    };
    Ok((server, mapper))
}

fn display() -> Result<Server> {
    let program = on_path("redis-server").with_context(|| format!("Redis {INSTALL}"))?;
    let (folder, port) = (folder("redis")?, free_port()?);
    let port_text = port.to_string();
    let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    Ok(Server {
        service: Service::Display,
        folder,
        port,
        program,
        arguments: arguments.map(ToOwned::to_owned).into(),
        environment: Vec::new(),
        user: None,
        process: Mutex::new(None),
    })
}
