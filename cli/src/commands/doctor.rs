//! `apg doctor`: whether this machine and the services it uses are fit for work.
//!
//! It changes nothing that outlasts it.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::Result;
use serde::Serialize;
use shared::time::{Clock, SystemClock};

use super::SettingsArgs;
use crate::{
    Exit, compose,
    output::{self, Format},
    settings::{Settings, redact_url},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How the findings are written.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Bad,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, state: State::Ok, message: message.into(), mend: None }
    }

    fn not(name: &'static str, state: State, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, state, message: message.into(), mend: Some(mend.into()) }
    }
}

/// No service may take longer to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let settings = settings.load()?.settings;
    crate::install_tls();
    let mut checks = vec![Check::ok("settings", "every setting is right")];
    checks.push(data_folder(&settings.app.data_folder));
    checks.extend(disk(&settings.app.data_folder));
    checks.push(files());
    let (store, broker, display, api) =
        tokio::join!(store(&settings), broker(&settings), display(&settings), api(&settings));
    checks.extend(store);
    checks.push(broker);
    checks.push(display);
    checks.push(api);

    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    match args.output {
        Format::Json => output::json(&serde_json::json!({ "state": worst, "checks": checks })),
        Format::Text => {
            for check in &checks {
                let mut line = format!("{:4}  {:12}  {}", check.state.as_str(), check.name, check.message);
                if let Some(mend) = &check.mend {
                    let _ = write!(line, "\n{:20}{mend}", "");
                }
                output::data(&line);
            }
        }
    }
    Ok(if worst == State::Bad { Exit::Failed } else { Exit::Success })
}

/// An error with its causes on one line, without the passwords of addresses.
fn causes(error: &anyhow::Error) -> String {
    format!("{error:#}").split(' ').map(redact_url).collect::<Vec<_>>().join(" ")
}

fn data_folder(folder: &Path) -> Check {
    let name = "data folder";
    let shown = folder.display();
    let outcome = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
    match outcome {
        Ok(()) => Check::ok(name, format!("{shown} is writable")),
        Err(error) => Check::not(
            name,
            State::Bad,
            format!("{shown} is not writable: {error}"),
            "set app.data_folder to a folder that this user owns",
        ),
    }
}

fn disk(folder: &Path) -> Option<Check> {
    let name = "disk";
    let space = rustix::fs::statvfs(folder).ok()?;
    let free = space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024);
    let message = format!("{free} MiB are free for {}", folder.display());
    Some(match free {
        0..256 => Check::not(name, State::Bad, message, "free some space, or move app.data_folder"),
        256..2048 => Check::not(name, State::Warn, message, "free some space before long"),
        _ => Check::ok(name, message),
    })
}

fn files() -> Check {
    let name = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.current {
        Some(current) if current < 1024 => Check::not(
            name,
            State::Warn,
            format!("a process may open {current} files and connections"),
            "raise the limit: `ulimit -n 8192`, or LimitNOFILE= of the service",
        ),
        Some(current) => Check::ok(name, format!("a process may open {current} files and connections")),
        None => Check::ok(name, "a process may open as many files and connections as it likes"),
    }
}

async fn store(settings: &Settings) -> Vec<Check> {
    let name = "database";
    let url = compose::database_url(settings);
    let shown = redact_url(&url);
    let mend = "check DATABASE_URL and that the server runs";
    let status = match tokio::time::timeout(PATIENCE, compose::migration_status(&url)).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            return vec![Check::not(name, State::Bad, format!("{shown}: {}", causes(&error)), mend)];
        }
        Err(_) => return vec![Check::not(name, State::Bad, format!("{shown}: no answer within 5 s"), mend)],
    };
    let mut checks = vec![Check::ok(name, format!("{shown} answers"))];
    let is_sqlite = !settings.uses_postgres();
    checks.push(if status.pending.is_empty() {
        Check::ok("migrations", format!("the tables are at version {}", status.applied))
    } else if is_sqlite {
        Check::ok("migrations", format!("{} will run when the server starts", status.pending.len()))
    } else {
        let list: Vec<String> =
            status.pending.iter().map(|(version, what)| format!("{version} {what}")).collect();
        Check::not("migrations", State::Bad, format!("to be run: {}", list.join(", ")), "run `apg migrate`")
    });
    // The clock of a SQLite database is this machine's; and a server may hold its file.
    if is_sqlite || !status.pending.is_empty() {
        return checks;
    }
    let opened = tokio::time::timeout(PATIENCE, compose::open_store(settings)).await;
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            checks.push(Check::not("pool", State::Bad, causes(&error), mend));
            return checks;
        }
        Err(_) => {
            checks.push(Check::not("pool", State::Bad, "no connection within 5 s", mend));
            return checks;
        }
    };
    // The first question also opens the connection; only the second one measures the clock.
    let _ = store.now().await;
    let before = SystemClock.now();
    if let Ok(theirs) = store.now().await {
        let ours = before.after(SystemClock.now().since(before) / 2);
        let skew = theirs.since(ours).max(ours.since(theirs));
        let message = format!("this machine and the database differ by {} ms", skew.as_millis());
        let mend = "synchronise the clocks (chrony, systemd-timesyncd)";
        checks.push(match skew.as_millis() {
            0..1_000 => Check::ok("clock", message),
            1_000..30_000 => Check::not("clock", State::Warn, message, mend),
            _ => Check::not("clock", State::Bad, message, mend),
        });
    }
    checks
}

async fn broker(settings: &Settings) -> Check {
    let name = "broker";
    let Some(url) = &settings.amqp.url else {
        return Check::ok(name, "none is set: messages stay in the process");
    };
    let mend = "check AMQP_URL, that RabbitMQ runs, and that the user may configure its virtual host";
    let looked = async {
        let queue = compose::open_queue(settings, None).await?;
        anyhow::Ok(queue.check(PATIENCE).await?)
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(())) => Check::ok(name, format!("{url} answers, and its queues are as declared")),
        Ok(Err(error)) => Check::not(name, State::Bad, format!("{url}: {}", causes(&error)), mend),
        Err(_) => Check::not(name, State::Bad, format!("{url}: no answer within 5 s"), mend),
    }
}

async fn display(settings: &Settings) -> Check {
    let name = "progress";
    let Some(url) = &settings.redis.url else {
        return Check::ok(name, "no Redis is set: live progress stays in the process");
    };
    let mend =
        "check REDIS_URL and that Redis runs; workflows go on without it, only live progress is missing";
    let looked = async { anyhow::Ok(compose::open_progress(settings)?.check().await?) };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(Ok(())) => Check::ok(name, format!("{url} answers")),
        Ok(Err(error)) => Check::not(name, State::Warn, format!("{url}: {}", causes(&error)), mend),
        Err(_) => Check::not(name, State::Warn, format!("{url}: no answer within 5 s"), mend),
    }
}

async fn api(settings: &Settings) -> Check {
    let name = "api";
    let listen = settings.api.listen;
    match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => Check::ok(name, format!("{listen} is free; no server runs there")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let http = reqwest::Client::builder().timeout(PATIENCE).build();
            let answer = match http {
                Ok(http) => http.get(format!("http://{listen}/health")).send().await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) if answer.status().is_success() => {
                    Check::ok(name, format!("a server answers on {listen}"))
                }
                Ok(answer) => Check::not(
                    name,
                    State::Bad,
                    format!("{listen} answers /health with {}", answer.status()),
                    "look at its log, or set api.listen to another port",
                ),
                Err(_) => Check::not(
                    name,
                    State::Bad,
                    format!("{listen} is taken by something that does not answer /health"),
                    "set api.listen to another port",
                ),
            }
        }
        Err(error) => Check::not(
            name,
            State::Bad,
            format!("{listen} cannot be listened on: {error}"),
            "set api.listen to an address of this machine",
        ),
    }
}
