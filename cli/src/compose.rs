//! The only place that names adapters: settings in, ports out; roles started and stopped in order.
//!
//! It does not interpret arguments; verbs do.

use std::{collections::VecDeque, fmt, future::Future, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use components::Environment;
use shared::{
    component::{Catalogue, Failure, FailureClass, Notice, NoticeAccess, PayloadAccess},
    ids::{DeadLetterId, ExecutionId, PayloadId, TenantId},
    port::{
        accounts::LinkFor,
        history::DynArchive,
        people::NotificationRow,
        progress::DynProgress,
        queue::{DynQueue, QueueError},
        rooms::DynRooms,
        store::{DeadLetter, DynStore},
    },
    retry::Reconnect,
    time::{Clock, SystemClock},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    Exit,
    gateway::Gateway,
    meters, output,
    settings::{QueueType, SecretUrl, Settings, Synchronous, redact_url},
    streams::Brokers,
};

/// Everything a role may be given.
#[derive(Clone)]
pub struct Ports {
    /// Absent in a worker's process: it holds no database login.
    pub truth: Option<Truth>,
    pub queue: DynQueue,
    pub catalogue: Catalogue,
    pub environment: Arc<Environment>,
    pub payloads: Arc<dyn PayloadAccess>,
    pub notices: Arc<dyn NoticeAccess>,
    pub clock: Arc<dyn Clock>,
}

/// Where executions are kept and shown.
#[derive(Clone)]
pub struct Truth {
    pub store: DynStore,
    pub progress: DynProgress,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// The address of the database: the one given, or the file in the data folder.
pub fn database_url(settings: &Settings) -> String {
    match &settings.database.url {
        Some(url) => url.expose().to_owned(),
        None => format!("sqlite:{}", settings.app.data_folder.join("apg.db").display()),
    }
}

/// Opens the store; with SQLite, makes its folder and brings its tables up to date.
///
/// # Errors
/// When it cannot be reached, or its tables are not those of this version.
pub async fn open_store(settings: &Settings) -> Result<DynStore> {
    let url = database_url(settings);
    if let Some(path) = url.strip_prefix("sqlite:")
        && let Some(folder) = Path::new(path.trim_start_matches("//")).parent()
        && !folder.as_os_str().is_empty()
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    opened(&url, store::SqlStore::open(&store_config(settings, &url)).await)
}

/// Opens the store to look at it, beside the process that has it open.
///
/// # Errors
/// When there is none, or its tables are not those of this version.
pub async fn open_store_to_read(settings: &Settings) -> Result<DynStore> {
    let url = database_url(settings);
    opened(&url, store::SqlStore::open_to_read(&store_config(settings, &url)).await)
}

fn store_config(settings: &Settings, url: &str) -> store::Config {
    store::Config {
        url: url.to_owned(),
        pool_size: settings.database.pool_size + settings.database.max_overflow,
        acquire_timeout: Duration::from_secs(settings.database.pool_timeout.into()),
        sqlite_synchronous: match settings.database.sqlite_synchronous {
            Synchronous::Full => store::Synchronous::Full,
            Synchronous::Normal => store::Synchronous::Normal,
        },
    }
}

fn opened(url: &str, opened: Result<store::SqlStore, store::OpenError>) -> Result<DynStore> {
    let store = opened.with_context(|| format!("the database {} cannot be used", redact_url(url)))?;
    Ok(Arc::new(store))
}

/// Whether a service that could not be opened may be there in a moment.
fn may_pass(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<store::OpenError>().is_some_and(store::OpenError::is_retryable)
            || cause.downcast_ref::<QueueError>().is_some_and(QueueError::is_retryable)
    })
}

/// Opens a service. One that does not answer is waited for: services start in any order, and a process that
/// is started while one is away need not be started again.
async fn waiting<T>(settings: &Settings, open: impl AsyncFn() -> Result<T>) -> Result<T> {
    let until = Instant::now() + Duration::from_secs(settings.app.startup_seconds.into());
    let mut pauses = Reconnect::new(Duration::from_millis(500), Duration::from_secs(5));
    loop {
        let error = match open().await {
            Err(error) if may_pass(&error) => error,
            other => return other,
        };
        let pause = pauses.pause();
        if Instant::now() + pause >= until {
            return Err(error);
        }
        warn!(error = format!("{error:#}"), "A service does not answer yet; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Where the tables stand.
pub async fn migration_status(url: &str) -> Result<store::MigrationStatus> {
    crate::install_tls();
    store::migration_status(url)
        .await
        .with_context(|| format!("the database {} cannot be read", redact_url(url)))
}

/// Brings the tables up to date, and tells where they stood before.
pub async fn migrate(url: &str) -> Result<store::MigrationStatus> {
    crate::install_tls();
    store::migrate(url).await.with_context(|| format!("the database {} cannot be changed", redact_url(url)))
}

/// Gives each line of an archive to `see`, each execution once, as long as that answers to go on.
pub fn read_archive(
    folder: &Path,
    see: impl FnMut(ExecutionId, &[u8]) -> std::io::Result<bool>,
) -> Result<u64> {
    store::archived(folder, see).with_context(|| format!("the archive {} cannot be read", folder.display()))
}

/// Opens the broker, or the queue of this process when none is set.
///
/// What nobody can read is kept in `store`, when there is one.
pub async fn open_queue(settings: &Settings, store: Option<DynStore>) -> Result<DynQueue> {
    let Some(url) = &settings.amqp.url else {
        return Ok(Arc::new(queue::in_process::InProcessQueue::new()));
    };
    let mut config = queue::amqp::Config::new(url.expose());
    config.namespace = settings.amqp.namespace.as_str().into();
    config.queue_type = match settings.amqp.queue_type {
        QueueType::Auto => queue::amqp::QueueType::Auto,
        QueueType::Classic => queue::amqp::QueueType::Classic,
        QueueType::Quorum => queue::amqp::QueueType::Quorum,
    };
    config.cluster_nodes = settings.amqp.cluster_nodes;
    config.heartbeat = Duration::from_secs(settings.amqp.heartbeat_seconds.into());
    config.pools = settings.amqp.pools.iter().map(|pool| pool.as_str().into()).collect();
    if !settings.amqp.pools.contains(&settings.worker.pool) {
        config.pools.push(settings.worker.pool.as_str().into());
    }
    config.dead_sink = store.map(dead_sink);
    let opened = queue::amqp::AmqpQueue::connect(&config)
        .await
        .with_context(|| format!("the broker {url} cannot be used"))?;
    Ok(Arc::new(opened))
}

/// Keeps what nobody can read. A store that is away then loses it here; the broker keeps its own copy.
fn dead_sink(store: DynStore) -> queue::amqp::DeadSink {
    Arc::new(move |dead: queue::amqp::DeadMessage| {
        let store = Arc::clone(&store);
        let keep = async move {
            let letter = DeadLetter {
                id: DeadLetterId::generate(),
                queue: dead.queue,
                reason: dead.reason,
                at: SystemClock.now(),
                execution: None,
                message: dead.message_id.as_deref().and_then(|id| id.parse().ok()),
                headers: serde_json::Value::Null,
                bytes: dead.body,
            };
            if let Err(error) = store.dead_letter_add(letter).await {
                warn!(%error, "A dead letter could not be kept; the broker still holds it");
            }
            Ok(())
        };
        drop(spawn(keep));
    })
}

/// Opens Redis, or the display of this process when none is set.
pub fn open_progress(settings: &Settings) -> Result<DynProgress> {
    let Some(url) = &settings.redis.url else {
        return Ok(Arc::new(progress::in_process::InProcessProgress::new()));
    };
    let mut config = progress::redis::Config::new(url.expose());
    config.namespace = settings.amqp.namespace.as_str().into();
    let opened = progress::redis::RedisProgress::new(&config)
        .with_context(|| format!("the progress display {url} cannot be used"))?;
    Ok(Arc::new(opened))
}

/// Opens what carries edits between API processes: Redis, or this process when none is set.
pub fn open_rooms(settings: &Settings) -> Result<DynRooms> {
    let Some(url) = &settings.redis.url else {
        return Ok(Arc::new(progress::rooms::InProcessRooms::new()));
    };
    let mut config = progress::redis::Config::new(url.expose());
    config.namespace = settings.amqp.namespace.as_str().into();
    let opened = progress::rooms::RedisRooms::new(&config)
        .with_context(|| format!("people on other API processes cannot be reached through {url}"))?;
    Ok(Arc::new(opened))
}

impl Ports {
    /// Opens everything that the settings name.
    pub async fn open(settings: &Settings) -> Result<Self> {
        if settings.amqp.url.is_some() && !settings.uses_postgres() {
            bail!(
                "AMQP_URL is set and DATABASE_URL is not: a broker needs a PostgreSQL database beside it. Set both, or \
                 neither for one process on a SQLite file"
            );
        }
        crate::install_tls();
        let store = waiting(settings, async || open_store(settings).await).await?;
        let queue = waiting(settings, async || open_queue(settings, Some(Arc::clone(&store))).await).await?;
        let payloads = Arc::new(StoreAccess { store: Arc::clone(&store) });
        let truth = Truth { store, progress: open_progress(settings)? };
        Self::around(settings, Some(truth), queue, payloads)
    }

    /// Opens what a worker needs: the broker, and a way to large payloads.
    pub async fn open_for_worker(settings: &Settings) -> Result<Self> {
        crate::install_tls();
        let queue = waiting(settings, async || open_queue(settings, None).await).await?;
        let token = settings.api.worker_token.as_ref().map(|token| token.reveal().to_owned());
        let gateway = Gateway::new(&settings.worker.gateway_url, token)?;
        Self::around(settings, None, queue, Arc::new(gateway))
    }

    fn around(
        settings: &Settings,
        truth: Option<Truth>,
        queue: DynQueue,
        access: Arc<impl PayloadAccess + NoticeAccess + 'static>,
    ) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let environment = Environment::new(&settings.components, Arc::clone(&clock))
            .context("the settings of the components cannot be used")?;
        Ok(Self {
            truth,
            queue,
            catalogue: components::catalogue(),
            environment: Arc::new(environment),
            payloads: Arc::clone(&access) as _,
            notices: access,
            clock,
        })
    }

    /// Where executions are kept and shown.
    pub fn truth(&self) -> Result<&Truth> {
        self.truth.as_ref().context("this process has no store")
    }
}

/// Large payloads and notices by calls of the store, for a worker that may reach it.
struct StoreAccess {
    store: DynStore,
}

#[async_trait::async_trait]
impl PayloadAccess for StoreAccess {
    async fn put(&self, execution: ExecutionId, bytes: Vec<u8>) -> Result<PayloadId, Failure> {
        let id = PayloadId::generate();
        let kept = self.store.payload_put(TenantId::DEFAULT, execution, id, bytes).await;
        kept.map(|()| id).map_err(|error| {
            Failure::new(
                FailureClass::Unavailable,
                format!("the payload store could not keep a value: {error}"),
            )
        })
    }

    async fn get(&self, execution: ExecutionId, payload: PayloadId) -> Result<Vec<u8>, Failure> {
        match shared::port::store::payload_whole(&*self.store, execution, payload).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Failure::new(FailureClass::NotFound, format!("there is no {payload}"))),
            Err(error) => Err(Failure::new(
                FailureClass::Unavailable,
                format!("the payload store could not give {payload}: {error}"),
            )),
        }
    }
}

#[async_trait::async_trait]
impl NoticeAccess for StoreAccess {
    async fn tell(
        &self,
        tenant: TenantId,
        execution: ExecutionId,
        notices: Vec<Notice>,
    ) -> Result<(), Failure> {
        let told = async {
            let created_at = self.store.now().await?;
            let row = |notice| NotificationRow { tenant, execution, notice, created_at, read_at: None };
            self.store.notification_add(notices.into_iter().map(row).collect()).await
        };
        told.await.map_err(|error| {
            Failure::new(FailureClass::Unavailable, format!("the notifications could not be kept: {error}"))
        })
    }
}

/// The services that a role of its own process meets the others in, each with the variable that names it.
fn shared_services(settings: &Settings, roles: Roles) -> Vec<(&'static str, Option<&SecretUrl>)> {
    let mut services = vec![("AMQP_URL", settings.amqp.url.as_ref())];
    if roles != Roles::WORKER {
        services.push(("DATABASE_URL", settings.database.url.as_ref()));
        services.push(("REDIS_URL", settings.redis.url.as_ref()));
    }
    services
}

/// Refuses a role of its own process while it could not meet the others.
pub fn require_shared_services(settings: &Settings, verb: &str, roles: Roles) -> Result<(), NotShared> {
    let missing: Vec<&str> = shared_services(settings, roles)
        .into_iter()
        .filter_map(|(name, url)| url.is_none().then_some(name))
        .chain(
            (roles != Roles::WORKER && settings.database.url.is_some() && !settings.uses_postgres())
                .then_some("DATABASE_URL of PostgreSQL"),
        )
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(NotShared { verb: verb.to_owned(), missing: missing.join(" and ") })
    }
}

/// A role of its own process has nothing to meet the others in.
#[derive(Debug)]
pub struct NotShared {
    verb: String,
    missing: String,
}

impl fmt::Display for NotShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`apg {}` meets the other processes in services: set {}. `apg serve` runs everything in one process \
             and needs none of them",
            self.verb, self.missing
        )
    }
}

impl std::error::Error for NotShared {}

/// Which roles a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub api: bool,
    pub coordinator: bool,
    pub worker: bool,
}

impl Roles {
    pub const ALL: Self = Self { api: true, coordinator: true, worker: true };
    pub const WORKER: Self = Self { api: false, coordinator: false, worker: true };
}

/// One running role.
struct Role {
    name: &'static str,
    stop: CancellationToken,
    /// How long it may take to leave.
    patience: Duration,
    task: JoinHandle<Result<()>>,
}

fn start(
    name: &'static str,
    patience: Duration,
    run: impl FnOnce(CancellationToken) -> RoleFuture,
    anyone_ended: &CancellationToken,
) -> Role {
    let stop = CancellationToken::new();
    let future = run(stop.clone());
    let ended = anyone_ended.clone().drop_guard();
    let task = spawn(async move {
        let _ended = ended;
        future.await
    });
    Role { name, stop, patience, task }
}

type RoleFuture = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

#[expect(clippy::disallowed_methods, reason = "the roles of this process, each awaited before it ends")]
fn spawn(future: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<Result<()>> {
    tokio::spawn(future)
}

/// Roles that run, and how to end them.
pub struct Running {
    /// In the order in which they leave.
    roles: VecDeque<Role>,
    /// Cancelled when a role ended, whether it was told to or not.
    anyone_ended: CancellationToken,
    ports: Ports,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.roles.iter().map(|role| role.name).collect();
        f.debug_struct("Running").field("roles", &names).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts roles.
    pub fn start(settings: &Settings, ports: &Ports, roles: Roles) -> Result<Self> {
        let anyone_ended = CancellationToken::new();
        let mut running = VecDeque::new();
        let coordinator_stats = Arc::new(coordinator::Stats::default());
        let worker = worker::Worker::new(
            settings.worker.clone(),
            worker::Ports {
                queue: Arc::clone(&ports.queue),
                catalogue: ports.catalogue.clone(),
                payloads: Arc::clone(&ports.payloads),
                notices: Arc::clone(&ports.notices),
                environment: Arc::clone(&ports.environment) as _,
                clock: Arc::clone(&ports.clock),
            },
        );
        let mut meters: Vec<api::Meter> = Vec::new();
        if settings.monitoring.enabled {
            if roles.coordinator {
                meters.push(meters::coordinator(Arc::clone(&coordinator_stats)));
            }
            if roles.worker {
                meters.push(meters::worker(worker.stats()));
            }
        }
        // First to leave is the API, so that nothing new comes in; last the coordinator, so that what the
        // worker still reports is decided.
        if roles.api {
            let config = api::Config { security: settings.security.clone(), ..settings.api.clone() };
            let Truth { store, progress } = ports.truth()?.clone();
            let mailer = settings.people.mail_connector.as_deref().map(|name| ports.environment.mailer(name));
            let mailer = mailer
                .transpose()
                .map_err(|failure| anyhow!("people.mail_connector: {}", failure.message))?;
            let its_ports = api::Ports {
                mailer,
                store,
                queue: Arc::clone(&ports.queue),
                progress,
                rooms: open_rooms(settings)?,
                catalogue: ports.catalogue.clone(),
                secrets: Arc::new(shared::port::secrets::EnvironmentSecrets),
                meters,
            };
            let run = |stop| -> RoleFuture {
                Box::pin(async move { Ok(api::run(config, its_ports, stop).await?) })
            };
            // It cuts off what is still under way after ten seconds itself.
            running.push_back(start("api", Duration::from_secs(15), run, &anyone_ended));
        } else if let Some(listen) = settings.monitoring.listen.filter(|_| settings.monitoring.enabled) {
            let mut checks = vec![api::Check::queue(Arc::clone(&ports.queue))];
            if let Some(Truth { store, progress }) = ports.truth.clone() {
                checks.extend([api::Check::store(store), api::Check::progress(progress)]);
            }
            let router = api::operations_router(meters, checks);
            let run = move |stop: CancellationToken| -> RoleFuture {
                Box::pin(async move {
                    let listener = tokio::net::TcpListener::bind(listen)
                        .await
                        .with_context(|| format!("monitoring.listen: {listen} cannot be listened on"))?;
                    info!("/health and /metrics are on http://{listen}");
                    Ok(axum::serve(listener, router.into_make_service())
                        .with_graceful_shutdown(stop.cancelled_owned())
                        .await?)
                })
            };
            running.push_back(start("operations", Duration::from_secs(5), run, &anyone_ended));
        }
        if roles.worker {
            let patience = Duration::from_secs(u64::from(settings.worker.drain_seconds) + 15);
            let run = |stop| -> RoleFuture { Box::pin(async move { Ok(worker.run(stop).await?) }) };
            running.push_back(start("worker", patience, run, &anyone_ended));
        }
        if roles.coordinator {
            let mut config = settings.engine.clone();
            config.max_open_executions = settings.api.max_open_executions;
            config.retention = settings.retention.clone();
            config.audit = settings.audit.clone();
            let archive = settings.retention.archive.clone();
            let archive = archive.map(|folder| Arc::new(store::FolderArchive::new(folder)) as DynArchive);
            let Truth { store, progress } = ports.truth()?.clone();
            let its_ports = coordinator::Ports {
                store,
                queue: Arc::clone(&ports.queue),
                progress,
                catalogue: ports.catalogue.clone(),
                folders: Arc::clone(&ports.environment) as _,
                streams: Arc::new(Brokers::new(settings)),
                archive,
            };
            let run = |stop| -> RoleFuture {
                Box::pin(
                    async move { Ok(coordinator::run(config, its_ports, coordinator_stats, stop).await?) },
                )
            };
            running.push_back(start("coordinator", Duration::from_secs(15), run, &anyone_ended));
        }
        Ok(Self { roles: running, anyone_ended, ports: ports.clone() })
    }

    /// Cancelled when a role ended by itself.
    pub fn ended(&self) -> CancellationToken {
        self.anyone_ended.clone()
    }

    /// Ends the roles in order: each finishes what it has begun before the next is told.
    pub async fn stop(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(role) = self.roles.pop_front() {
            role.stop.cancel();
            let Role { name, patience, mut task, .. } = role;
            let ended = match tokio::time::timeout(patience, &mut task).await {
                Ok(Ok(ended)) => ended.with_context(|| format!("the {name} ended")),
                Ok(Err(panic)) => Err(panic).with_context(|| format!("the {name} broke down")),
                Err(_) => {
                    task.abort();
                    warn!(role = name, "The {name} did not leave within {patience:?} and was cut off");
                    Ok(())
                }
            };
            if let Err(error) = ended {
                error!(role = name, error = format!("{error:#}"), "The {name} ended with an error");
                outcome = outcome.and(Err(error));
            }
        }
        self.ports.environment.close().await;
        outcome
    }
}

/// Waits until someone asks the process to end. Asked a second time, it ends at once.
pub async fn asked_to_end() {
    signal().await;
    output::say("Finishing what is under way; once more ends at once");
    let again = async {
        signal().await;
        std::process::exit(Exit::Interrupted as i32);
    };
    #[expect(clippy::disallowed_methods, reason = "lives until the process ends")]
    tokio::spawn(again);
}

/// Waits for Ctrl-C, or for being asked to end.
pub(crate) async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without a handler the system's own way to end a process holds.
            Err(_) => {
                let _ = interrupt.await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = interrupt.await;
    }
}

/// A link that makes the first owner, while nobody owns this installation.
///
/// # Errors
/// When the store cannot be reached.
pub async fn owner_link(settings: &Settings, ports: &Ports) -> Result<Option<String>> {
    let store = &ports.truth()?.store;
    let not_made = "no link for the first owner could be made";
    if store.owner_exists().await.context(not_made)? {
        return Ok(None);
    }
    let link = api::make_link(store, &settings.api.base_url(), LinkFor::Owner).await.context(not_made)?;
    Ok(Some(link.url))
}

/// What is said of such a link.
pub fn invitation(link: &str) -> String {
    format!("Open {link} to become the owner; the link works once, for a day")
}

/// Runs roles until the process is asked to end.
pub async fn run_roles(settings: &Settings, roles: Roles) -> Result<Exit> {
    // A worker that is told of the database may use it; one that is not goes through the API.
    let ports = if roles == Roles::WORKER && settings.database.url.is_none() {
        Ports::open_for_worker(settings).await?
    } else {
        Ports::open(settings).await?
    };
    if roles == Roles::ALL && settings.uses_postgres() && settings.amqp.url.is_none() {
        warn!("Without AMQP_URL this must be the only process on this database");
    }
    // Before anything runs that has to be ended in order.
    if roles.api {
        match owner_link(settings, &ports).await {
            // On the terminal, and in no log: whoever reads it owns everything.
            Ok(Some(link)) => output::say(invitation(&link)),
            Ok(None) => {}
            Err(error) => warn!("{error:#}; the next start, or `apg owner-link`, makes one"),
        }
    }
    let running = Running::start(settings, &ports, roles)?;
    match ports.truth {
        Some(_) => info!(database = %redact_url(&database_url(settings)), "Started"),
        None => info!(gateway = %settings.worker.gateway_url, "Started without a database login"),
    }
    run_until_asked(running).await
}

/// Waits for a signal or the end of a role, and ends the rest.
pub async fn run_until_asked(running: Running) -> Result<Exit> {
    let ended = running.ended();
    let by_itself = tokio::select! {
        () = asked_to_end() => false,
        () = ended.cancelled() => true,
    };
    running.stop().await?;
    if by_itself {
        bail!("a role ended by itself");
    }
    Ok(Exit::Success)
}
