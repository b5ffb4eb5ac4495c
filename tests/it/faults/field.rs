//! The processes that faults are aimed at, and the faults of their services.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use ::chaos::{
    faults::Injected,
    field,
    proxy::{Proxy, through},
    random::Random,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use shared::time::{Clock, SystemClock};

use crate::harness::{
    PATIENCE, merge,
    place::{Addresses, Member, member, migrate, settings},
    process::{Output, finish},
    run::Run,
    services::{Service, Services},
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something with the processes or their connections.
    Of(::chaos::faults::Fault),
    KillBroker,
    KillDatabase,
    /// Redis forgets everything.
    FlushDisplay,
    /// RabbitMQ is killed and comes back with nothing.
    WipeBroker,
}

/// The processes under test, and their services.
pub(super) struct Field {
    /// Ended before the services.
    processes: field::Field,
    services: Option<Services>,
    /// Commands such as `audit` are run as this one, past the proxies.
    tool: Member,
}

/// A process of the field, whose connections lead through `links`.
fn under_faults(member: &Member, links: Vec<(&'static str, Proxy)>) -> field::Member {
    let own = member.clone();
    field::Member {
        name: member.name.clone(),
        verb: member.verb,
        listen: member.listen,
        log: member.log(),
        links,
        start: Box::new(move || own.command(&[own.verb])),
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
        let mut members = Vec::new();
        for (verb, count) in [("coordinator", 2), ("worker", 3), ("api", 2)] {
            for number in 1..=count {
                let before =
                    async |service| Proxy::start(&format!("127.0.0.1:{}", services.port(service))).await;
                let database = before(Service::Database).await?;
                let broker = before(Service::Broker).await?;
                let display = before(Service::Display).await?;
                let own = Addresses {
                    database: through(&addresses.database, database.port)?,
                    amqp: through(&addresses.amqp, broker.port)?,
                    redis: through(&addresses.redis, display.port)?,
                };
                let member = member(&format!("{verb}-{number}"), verb, &folder, &settings, Some(&own))?;
                let links = vec![("database", database), ("broker", broker), ("display", display)];
                members.push(under_faults(&member, links));
            }
        }
        let processes = field::Field::start(members, None).await?;
        Ok(Self { processes, services: Some(services), tool })
    }

    /// One process with everything in it.
    pub(super) async fn embedded(over: &Value) -> Result<Self> {
        let folder = Run::this()?.folder("faults")?;
        let mut own = json!({ "engine": { "silence_seconds": 5 } });
        merge(&mut own, over);
        let settings = settings(&folder, &own)?;
        let tool = member("serve", "serve", &folder, &settings, None)?;
        let processes = field::Field::start(vec![under_faults(&tool, Vec::new())], None).await?;
        Ok(Self { processes, services: None, tool })
    }

    /// Moves the database's clock ahead, by which timers and leases are compared. Processes read it again
    /// within a minute, or when they start.
    pub(super) fn move_clock(&self, hours: u32) -> Result<()> {
        self.services()?.sql(&format!("update moved set hours = {hours}"))
    }

    fn services(&self) -> Result<&Services> {
        self.services.as_ref().context("this place has no services")
    }

    /// Where the APIs are.
    pub(super) fn apis(&self) -> Vec<String> {
        self.processes.apis()
    }

    pub(super) fn logs(&self) -> Vec<PathBuf> {
        self.processes.logs()
    }

    pub(super) fn surprises(&self) -> Vec<String> {
        self.processes.surprises()
    }

    /// Makes something go wrong, and waits until what was hit runs again.
    pub(super) async fn inject(&self, fault: Fault, random: &mut Random) -> Result<Injected> {
        let (at, when) = (Instant::now(), SystemClock.now());
        let of = |target: &str, lasted: Duration| Injected {
            fault: format!("{fault:?}"),
            target: target.to_owned(),
            at,
            when,
            lasted,
        };
        let injected = match fault {
            Fault::Of(fault) => self.processes.inject(fault, random).await?,
            Fault::KillBroker => of("broker", self.services()?.restart(Service::Broker).await?),
            Fault::KillDatabase => of("database", self.services()?.restart(Service::Database).await?),
            Fault::WipeBroker => of("broker", self.services()?.wipe_broker().await?),
            Fault::FlushDisplay => {
                self.services()?.flush_display().await?;
                of("display", at.elapsed())
            }
        };
        eprintln!("{injected}");
        Ok(injected)
    }

    /// Ends every process in order and runs `apg` alone.
    pub(super) async fn alone(&self, arguments: &[&str]) -> Result<Output> {
        self.processes.stop().await?;
        finish(self.tool.command(arguments)?, PATIENCE).await
    }
}
