//! A process that the harness started: signals by its pid, its log, its end.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
pub(crate) use chaos::field::tail;
use rustix::process::{Pid, Signal, kill_process};

use super::{run::Run, until};

/// Environment variables that every process gets; no others are inherited.
const INHERITED: &[&str] = &["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "USER"];

/// A command with a clean environment.
pub(crate) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A process that the harness started.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pid: i32,
    child: Mutex<Child>,
    /// Whether it goes on when this value is dropped, until the end of the run.
    stays: bool,
}

impl Process {
    /// Starts it with its output in a file.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).context("a log file")?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A Ctrl-C in the terminal is for the tests; they end what they started.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let pid = child.id() as i32;
        Run::this()?.remember(pid)?;
        Ok(Self { name: name.to_owned(), log: log.to_owned(), pid, child: Mutex::new(child), stays: false })
    }

    /// Leaves it running until the run ends.
    pub(crate) fn stay(mut self) {
        self.stays = true;
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&self) -> Result<Option<ExitStatus>> {
        let status = self.child().try_wait()?;
        if status.is_some() {
            Run::this()?.forget(self.pid);
        }
        Ok(status)
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        // Ended and reaped, its pid may be another's.
        if self.ended()?.is_none() {
            let pid = Pid::from_raw(self.pid).context("a pid is not zero")?;
            kill_process(pid, signal).with_context(|| format!("{signal:?} to {}", self.name))?;
        }
        Ok(())
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child().wait()?;
        Run::this()?.forget(self.pid);
        Ok(())
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        until(within, &format!("the end of {}", self.name), async || self.ended()).await
    }

    /// Asks it to end, and waits until it has. Anything but an orderly end is an error.
    pub(crate) async fn terminate(&self, within: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(within).await?;
        if !status.success() {
            bail!(
                "{} ended with {:?}, signal {:?}, when asked to",
                self.name,
                status.code(),
                status.signal()
            );
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stays {
            // A stopped process hears SIGKILL too.
            let _ = self.kill();
        }
    }
}

/// What a command wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) async fn finish(command: Command, within: Duration) -> Result<Output> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(within, command.output())
        .await
        .with_context(|| format!("a command took more than {} s", within.as_secs()))??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
