//! The processes that faults are aimed at, and the faults.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use shared::time::{Clock, SystemClock};
use tokio::task::JoinHandle;

use crate::harness::{
    PATIENCE, beside, merge,
    place::{Addresses, Member, member, migrate, settings},
    process::{Output, Process, finish},
    proxy::{Proxy, through},
    run::Run,
    services::{Service, Services},
};

use super::random::Random;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of a process of this role; it is started again.
    Kill(&'static str),
    /// SIGSTOP of a process of this role for 1 to 15 s.
    Stop(&'static str),
    /// SIGTERM of a process of this role; it is started again.
    Terminate(&'static str),
    /// Every connection of one process to one service is cut off.
    Reset,
    /// Every connection of one process to one service goes silent for 5 to 10 s.
    Silence,
    KillBroker,
    KillDatabase,
    /// Redis forgets everything.
    FlushDisplay,
    /// RabbitMQ is killed and comes back with nothing.
    WipeBroker,
}

/// A fault that happened.
#[derive(Debug, Clone)]
pub(super) struct Injected {
    pub(super) fault: Fault,
    pub(super) at: Instant,
    /// How long it lasted, until what was hit ran again.
    pub(super) lasted: Duration,
}

/// One `apg` process, and its connections.
struct Node {
    member: Member,
    process: Mutex<Process>,
    /// To the database, the broker and the display; none in the one-process shape.
    links: Vec<Proxy>,
    /// Whether the harness ended it, so that its end is no surprise.
    is_expected: AtomicBool,
}

impl Node {
    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process again when it has ended; whether its end was a surprise.
    fn revive(&self) -> Result<Option<String>> {
        let mut process = self.process();
        let Some(status) = process.ended()? else { return Ok(None) };
        let was_expected = self.is_expected.swap(false, Ordering::SeqCst);
        let last = process.tail(3);
        *process = self.member.start()?;
        Ok((!was_expected).then(|| format!("{} ended by itself ({status}): {last}", self.member.name)))
    }
}

/// The processes under test.
pub(super) struct Field {
    nodes: Arc<Vec<Node>>,
    services: Option<Services>,
    /// Commands such as `audit` are run as this one, past the proxies.
    tool: Member,
    /// Ends of processes that nobody asked for.
    surprises: Arc<Mutex<Vec<String>>>,
    supervisor: JoinHandle<()>,
}

impl Drop for Field {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Field {
    /// Two APIs, two coordinators and three workers on private services, each connection through a proxy.
    pub(super) async fn cluster() -> Result<Self> {
        let services = Services::start().await?;
        let folder = Run::this()?.folder("faults")?;
        let settings = settings(
            &folder,
            &json!({
                "amqp": { "heartbeat_seconds": 5 },
                "database": { "pool_size": 8, "max_overflow": 4, "pool_timeout": 5 },
                "engine": { "lease_seconds": 10, "silence_seconds": 5, "sweep_seconds": 1, "cancel_grace_seconds": 3 },
                "worker": { "handover_after_seconds": 2, "renewal_seconds": 3, "heartbeat_seconds": 1 },
            }),
        )?;
        let addresses = services.addresses();
        let tool = member("tool", "api", &folder, &settings, Some(&addresses))?;
        migrate(&tool).await?;
        let mut nodes = Vec::new();
        for (verb, count) in [("coordinator", 2), ("worker", 3), ("api", 2)] {
            for number in 1..=count {
                let database = Proxy::start(services.port(Service::Database)).await?;
                let broker = Proxy::start(services.port(Service::Broker)).await?;
                let display = Proxy::start(services.port(Service::Display)).await?;
                let own = Addresses {
                    database: through(&addresses.database, database.port)?,
                    amqp: through(&addresses.amqp, broker.port)?,
                    redis: through(&addresses.redis, display.port)?,
                };
                let member = member(&format!("{verb}-{number}"), verb, &folder, &settings, Some(&own))?;
                nodes.push((member, vec![database, broker, display]));
            }
        }
        Self::start(nodes, Some(services), tool).await
    }

    /// One process with everything in it.
    pub(super) async fn embedded(over: &Value) -> Result<Self> {
        let folder = Run::this()?.folder("faults")?;
        let mut own = json!({ "engine": { "silence_seconds": 5 } });
        merge(&mut own, over);
        let settings = settings(&folder, &own)?;
        let member = member("serve", "serve", &folder, &settings, None)?;
        Self::start(vec![(member.clone(), Vec::new())], None, member).await
    }

    async fn start(
        nodes: Vec<(Member, Vec<Proxy>)>,
        services: Option<Services>,
        tool: Member,
    ) -> Result<Self> {
        let mut started = Vec::new();
        for (member, links) in nodes {
            let process = Mutex::new(member.start()?);
            started.push(Node { member, process, links, is_expected: AtomicBool::new(false) });
        }
        for node in started.iter().filter(|node| node.member.listen.is_some()) {
            // Nobody else holds the lock yet; it is not held across the wait.
            let api = crate::harness::client::Api::new(&node.member.base())?;
            let up = api.is_up(PATIENCE).await;
            up.with_context(|| format!("{}:\n{}", node.member.name, node.process().tail(30)))?;
        }
        let nodes = Arc::new(started);
        let surprises = Arc::new(Mutex::new(Vec::new()));
        let (watched, told) = (Arc::clone(&nodes), Arc::clone(&surprises));
        let supervisor = beside(async move {
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
        Ok(Self { nodes, services, tool, surprises, supervisor })
    }

    /// Moves the database's clock ahead, by which timers and leases are compared. Processes read it again
    /// within a minute, or when they start.
    pub(super) fn move_clock(&self, hours: u32) -> Result<()> {
        let services = self.services.as_ref().context("this place has no services")?;
        services.sql(&format!("update moved set hours = {hours}"))
    }

    /// Where the APIs are.
    pub(super) fn apis(&self) -> Vec<String> {
        self.nodes.iter().filter(|node| node.member.listen.is_some()).map(|node| node.member.base()).collect()
    }

    pub(super) fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.member.log()).collect()
    }

    pub(super) fn surprises(&self) -> Vec<String> {
        self.surprises.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of the processes with this role.
    fn pick(&self, verb: &str, random: &mut Random) -> Result<&Node> {
        let able: Vec<&Node> = self.nodes.iter().filter(|node| node.member.verb == verb).collect();
        able.get(random.below(able.len() as u64) as usize)
            .copied()
            .with_context(|| format!("there is no {verb}"))
    }

    /// Waits until the supervisor has started the process anew and, if it serves, it answers.
    async fn is_back(&self, node: &Node, pid: i32) -> Result<()> {
        crate::harness::until(PATIENCE, &format!("{} again", node.member.name), async || {
            Ok((node.process().pid() != pid).then_some(()))
        })
        .await?;
        if node.member.listen.is_some() {
            crate::harness::client::Api::with_timeout(&node.member.base(), Duration::from_secs(2))?
                .is_up(PATIENCE)
                .await?;
        }
        Ok(())
    }

    /// Makes something go wrong, and waits until what was hit runs again.
    pub(super) async fn inject(&self, fault: Fault, random: &mut Random) -> Result<Injected> {
        let (at, when) = (Instant::now(), SystemClock.now());
        let services = || self.services.as_ref().context("this place has no services");
        let target = match fault {
            Fault::Kill(verb) => {
                let node = self.pick(verb, random)?;
                let pid = {
                    let process = node.process();
                    node.is_expected.store(true, Ordering::SeqCst);
                    process.kill()?;
                    process.pid()
                };
                self.is_back(node, pid).await?;
                node.member.name.clone()
            }
            Fault::Terminate(verb) => {
                let node = self.pick(verb, random)?;
                let pid = {
                    let process = node.process();
                    node.is_expected.store(true, Ordering::SeqCst);
                    process.signal(Signal::TERM)?;
                    process.pid()
                };
                self.is_back(node, pid).await?;
                node.member.name.clone()
            }
            Fault::Stop(verb) => {
                let node = self.pick(verb, random)?;
                node.process().signal(Signal::STOP)?;
                tokio::time::sleep(Duration::from_millis(1_000 + random.below(14_000))).await;
                node.process().signal(Signal::CONT)?;
                node.member.name.clone()
            }
            Fault::Reset | Fault::Silence => {
                let node = &self.nodes[random.below(self.nodes.len() as u64) as usize];
                let index = random.below(node.links.len() as u64) as usize;
                let link = node.links.get(index).context("this place has no links")?;
                let service = ["database", "broker", "display"][index];
                if fault == Fault::Silence {
                    link.silence(true);
                    tokio::time::sleep(Duration::from_millis(5_000 + random.below(5_000))).await;
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
            Fault::KillBroker => {
                services()?.restart(Service::Broker).await?;
                "broker".to_owned()
            }
            Fault::KillDatabase => {
                services()?.restart(Service::Database).await?;
                "database".to_owned()
            }
            Fault::WipeBroker => {
                services()?.wipe_broker().await?;
                "broker".to_owned()
            }
            Fault::FlushDisplay => {
                services()?.flush_display().await?;
                "display".to_owned()
            }
        };
        let lasted = at.elapsed();
        eprintln!("{when} {fault:?}: {target}, {:.1} s", lasted.as_secs_f64());
        Ok(Injected { fault, at, lasted })
    }

    /// Ends every process in order and runs `apg` alone.
    pub(super) async fn alone(&self, arguments: &[&str]) -> Result<Output> {
        self.supervisor.abort();
        for node in self.nodes.iter() {
            node.process().signal(Signal::TERM)?;
        }
        for node in self.nodes.iter() {
            let what = format!("the end of {}", node.member.name);
            let status = crate::harness::until(PATIENCE, &what, async || node.process().ended()).await?;
            ensure!(
                status.success(),
                "{} ended with {status}:\n{}",
                node.member.name,
                node.process().tail(10)
            );
        }
        finish(self.tool.command(arguments)?, PATIENCE).await
    }
}
