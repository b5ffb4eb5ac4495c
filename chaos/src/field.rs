//! The processes that faults are aimed at: started, hit, and started again.
//!
//! They are ended by the pid they were started with, and by no other name. They end with the process that
//! started them, however that ends (Linux; elsewhere when it ends by itself).

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use shared::time::{Clock, SystemClock};

use crate::{
    Beside, PATIENCE,
    broker::Management,
    client::Api,
    faults::{Fault, Injected},
    proxy::Proxy,
    random::Random,
    until,
};

/// Makes the command that starts a process.
pub type Start = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// One `apg` process, and how it is started again and again.
pub struct Member {
    pub name: String,
    /// Its role.
    pub verb: &'static str,
    /// Where its API listens, if it has one.
    pub listen: Option<SocketAddr>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Its connections to services, by the name of the service; none in the one-process shape.
    pub links: Vec<(&'static str, Proxy)>,
    pub start: Start,
}

impl Member {
    fn base(&self) -> Option<String> {
        self.listen.map(|listen| format!("http://{listen}"))
    }

    fn spawn(&self) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} cannot be written", self.log.display()))?;
        let errors = log.try_clone().with_context(|| format!("{} cannot be written", self.log.display()))?;
        let mut command = (self.start)()?;
        command
            .args(["--ends-with", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // A Ctrl-C in the terminal is for whoever started them; that one ends them.
            .process_group(0);
        command.spawn().with_context(|| format!("{} could not be started", self.name))
    }
}

struct Node {
    member: Member,
    child: Mutex<Child>,
    /// Whether a fault ended it, so that its end is no surprise.
    is_expected: AtomicBool,
    /// Whether it is to stay as it is.
    is_over: AtomicBool,
    /// Held by the fault that hits it: one at a time.
    hit: tokio::sync::Mutex<()>,
}

impl Node {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Starts the process again when it has ended; a sentence when its end was a surprise.
    fn revive(&self) -> Result<Option<String>> {
        let mut child = self.child();
        if self.is_over.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let Some(status) = child.try_wait().context("how a process ended cannot be read")? else {
            return Ok(None);
        };
        let was_expected = self.is_expected.swap(false, Ordering::SeqCst);
        let last = tail(&self.member.log, 3);
        *child = self.member.spawn()?;
        Ok((!was_expected).then(|| format!("{} ended by itself ({status}): {last}", self.member.name)))
    }

    /// Sends a signal, unless it has ended; the pid it went to.
    fn signal(&self, signal: Signal, ends_it: bool) -> Result<u32> {
        let mut child = self.child();
        self.is_expected.fetch_or(ends_it, Ordering::SeqCst);
        // Ended and reaped, its pid may be another's.
        if child.try_wait().context("how a process ended cannot be read")?.is_none() {
            let pid = Pid::from_raw(child.id() as i32).context("a pid is not zero")?;
            kill_process(pid, signal).with_context(|| format!("{signal:?} to {}", self.member.name))?;
        }
        Ok(child.id())
    }

    fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().context("how a process ended cannot be read")
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut child = self.child();
        // Gone already is as good; a stopped process hears SIGKILL too.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The last lines of a file.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The processes under test. Dropped, it ends them.
pub struct Field {
    nodes: Arc<Vec<Node>>,
    /// Ends of processes that nobody asked for.
    surprises: Arc<Mutex<Vec<String>>>,
    broker: Option<Management>,
    _supervisor: Beside,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.member.name.as_str()).collect();
        f.debug_struct("Field").field("members", &names).finish_non_exhaustive()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        for node in self.nodes.iter() {
            node.end();
        }
    }
}

impl Field {
    /// Starts the processes and waits until every API answers. What ends is started again from then on.
    ///
    /// # Errors
    /// When one cannot be started or does not answer, with the end of its log. None is left running then.
    pub async fn start(members: Vec<Member>, broker: Option<Management>) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        for member in members {
            match member.spawn() {
                Ok(child) => nodes.push(Node {
                    member,
                    child: Mutex::new(child),
                    is_expected: AtomicBool::new(false),
                    is_over: AtomicBool::new(false),
                    hit: tokio::sync::Mutex::new(()),
                }),
                Err(error) => {
                    nodes.iter().for_each(Node::end);
                    return Err(error);
                }
            }
        }
        let nodes = Arc::new(nodes);
        let surprises = Arc::new(Mutex::new(Vec::new()));
        let (watched, told) = (Arc::clone(&nodes), Arc::clone(&surprises));
        let supervisor = Beside::run(async move {
            loop {
                for node in watched.iter() {
                    let found = node
                        .revive()
                        .unwrap_or_else(|error| Some(format!("{}: {error:#}", node.member.name)));
                    if let Some(surprise) = found {
                        told.lock().unwrap_or_else(PoisonError::into_inner).push(surprise);
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let field = Self { nodes, surprises, broker, _supervisor: supervisor };
        for node in field.nodes.iter() {
            if let Some(base) = node.member.base() {
                let up = Api::new(&base, Duration::from_secs(5))?.is_up(PATIENCE).await;
                up.with_context(|| format!("{}:\n{}", node.member.name, tail(&node.member.log, 30)))?;
            }
        }
        Ok(field)
    }

    /// Where the APIs are.
    pub fn apis(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|node| node.member.base()).collect()
    }

    pub fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.member.log.clone()).collect()
    }

    /// Ends of processes that nobody asked for, each in a sentence.
    pub fn surprises(&self) -> Vec<String> {
        self.surprises.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a worker is there who would run a task.
    pub async fn is_ready(&self) -> Result<()> {
        let base = self.apis().into_iter().next().context("none of the processes has an API")?;
        let api = Api::new(&base, Duration::from_secs(5))?;
        until(PATIENCE, "a worker", async || {
            let health = api.get("/health/detailed").await?.expect(200)?;
            Ok((health["status"] == "ok" && health["workers"].as_u64() > Some(0)).then_some(()))
        })
        .await
    }

    /// One of the processes with this role.
    fn pick(&self, verb: &str, random: &mut Random) -> Result<&Node> {
        let able: Vec<&Node> = self.nodes.iter().filter(|node| node.member.verb == verb).collect();
        able.get(random.below(able.len() as u64) as usize)
            .copied()
            .with_context(|| format!("there is no process of the role `{verb}`"))
    }

    /// Waits until the process was started anew and, if it serves, it answers.
    async fn is_back(&self, node: &Node, pid: u32) -> Result<()> {
        let name = &node.member.name;
        until(PATIENCE, &format!("{name} again"), async || Ok((node.pid() != pid).then_some(()))).await?;
        if let Some(base) = node.member.base() {
            let up = Api::new(&base, Duration::from_secs(2))?.is_up(PATIENCE).await;
            up.with_context(|| format!("{name}:\n{}", tail(&node.member.log, 10)))?;
        }
        Ok(())
    }

    /// Makes something go wrong, and waits until what was hit runs again. `random` decides whom it hits and for
    /// how long.
    ///
    /// # Errors
    /// When it does not run again, or the fault could not be made.
    pub async fn inject(&self, fault: Fault, random: &mut Random) -> Result<Injected> {
        let (mut at, mut when) = (Instant::now(), SystemClock.now());
        let mut begin = || (at, when) = (Instant::now(), SystemClock.now());
        let target = match fault {
            Fault::Kill(verb) | Fault::Terminate(verb) => {
                let node = self.pick(verb, random)?;
                let _hit = node.hit.lock().await;
                begin();
                let signal = if matches!(fault, Fault::Kill(_)) { Signal::KILL } else { Signal::TERM };
                let pid = node.signal(signal, true)?;
                self.is_back(node, pid).await?;
                node.member.name.clone()
            }
            Fault::Stop(verb) => {
                let node = self.pick(verb, random)?;
                let pause = Duration::from_millis(1_000 + random.below(14_000));
                let _hit = node.hit.lock().await;
                begin();
                node.signal(Signal::STOP, false)?;
                tokio::time::sleep(pause).await;
                node.signal(Signal::CONT, false)?;
                node.member.name.clone()
            }
            Fault::Cut | Fault::Silence => {
                let node = &self.nodes[random.below(self.nodes.len() as u64) as usize];
                let (index, pause) =
                    (random.below(node.member.links.len() as u64) as usize, random.below(5_000));
                let (service, link) = node.member.links.get(index).context("there are no connections")?;
                let _hit = node.hit.lock().await;
                begin();
                if fault == Fault::Silence {
                    link.silence(true);
                    tokio::time::sleep(Duration::from_millis(5_000 + pause)).await;
                    link.silence(false);
                } else {
                    // A storm: what connects again is cut off again.
                    for _ in 0..5 {
                        link.reset();
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
                format!("{} and its {service}", node.member.name)
            }
            Fault::Purge => {
                let broker = self.broker.as_ref().context("the broker's management API is not known")?;
                format!("{} queues", broker.purge().await?)
            }
        };
        Ok(Injected { fault: fault.to_string(), target, at, when, lasted: at.elapsed() })
    }

    /// Asks every process to end, and waits until all have.
    ///
    /// # Errors
    /// When one does not end in order, with the end of its log.
    pub async fn stop(&self) -> Result<()> {
        for node in self.nodes.iter() {
            node.is_over.store(true, Ordering::SeqCst);
            node.signal(Signal::TERM, true)?;
        }
        for node in self.nodes.iter() {
            let Member { name, log, .. } = &node.member;
            let status = until(PATIENCE, &format!("the end of {name}"), async || node.ended()).await?;
            ensure!(status.success(), "{name} ended with {status}:\n{}", tail(log, 10));
        }
        Ok(())
    }
}
