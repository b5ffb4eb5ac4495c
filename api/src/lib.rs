//! The API service: REST, live events, health, metrics.
//!
//! `deeds` is what can be done, `http` a thin face over it. Nothing here decides what happens to an
//! execution: what is accepted becomes a row, and a hint tells the coordinators.

mod app;
mod caller;
mod config;
mod deeds;
mod documents;
mod health;
mod http;
mod metrics;
mod openapi;
mod problem;
mod rooms;
mod sign_in;
mod signatures;

use std::{future::IntoFuture, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::ListenerExt};
use shared::{
    component::Catalogue,
    port::{
        mail::DynMailer, progress::DynProgress, queue::DynQueue, rooms::DynRooms, secrets::DynSecrets,
        store::DynStore,
    },
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use caller::{Caller, Permission};
pub use config::{Config, People, Secret, Security};
pub use health::{Check, Condition, Health, PartHealth};
pub use http::operations_router;
pub use metrics::{Kind, Meter, Sample};
pub use openapi::openapi;
pub use problem::{Code, Problem};
pub use sign_in::{Link, Opener, make_link};

/// How long requests under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(10);

/// What the API stands on.
#[derive(Clone)]
pub struct Ports {
    pub store: DynStore,
    pub queue: DynQueue,
    pub progress: DynProgress,
    /// What carries edits to people on other API processes.
    pub rooms: DynRooms,
    pub catalogue: Catalogue,
    /// What webhooks are signed with.
    pub secrets: DynSecrets,
    /// What sends mails that ask people to decide; none are sent without it.
    pub mailer: Option<DynMailer>,
    /// What other roles of this process measure.
    pub meters: Vec<Meter>,
}

/// Why the API does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The address can be reached by others, who would read passwords and keys on the way.
    #[error(
        "{0} can be reached by other machines, and passwords and keys would be read on the way; listen on a loopback \
         address such as 127.0.0.1, or set `allow_remote` behind something that speaks TLS"
    )]
    Remote(SocketAddr),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the listener broke")]
    Serve(#[source] std::io::Error),
}

impl ApiError {
    /// Whether starting again, unchanged, may help.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Remote(_))
    }
}

/// The API as a service, and the task that sends its hints.
///
/// Live streams end with `shutdown`. The task ends, all hints sent, once the router is dropped.
pub fn router(config: Config, ports: Ports, shutdown: CancellationToken) -> (Router, JoinHandle<()>) {
    let Ports { store, queue, progress, rooms, catalogue, secrets, mailer, meters } = ports;
    let checks = vec![
        Check::store(Arc::clone(&store)),
        Check::queue(Arc::clone(&queue)),
        Check::progress(Arc::clone(&progress)),
    ];
    let (deeds, hinting) = deeds::Deeds::new(
        Arc::clone(&store),
        Arc::clone(&queue),
        progress,
        catalogue,
        secrets,
        config.max_open_executions,
        config.base_url(),
    );
    let mails = match (mailer, &config.public_url) {
        (Some(mailer), Some(_)) => Some(deeds::Mails::new(Arc::clone(&deeds), mailer)),
        (Some(_), None) => {
            warn!(
                "No mails are sent to those who are asked: set `api.public_url`, which their links begin with"
            );
            None
        }
        (None, _) => None,
    };
    let until = shutdown.clone();
    let hall = rooms::Hall::new(Arc::clone(&store), rooms, rooms::Limits::default(), shutdown.clone());
    let ending = hall.clone().ended();
    let sign_in = sign_in::SignIn::new(
        Arc::clone(&store),
        config.security.clone(),
        config.key.as_ref().map(Secret::reveal),
    );
    let app = app::App::new(app::Inner {
        deeds,
        hall,
        config,
        sign_in,
        metrics: metrics::Metrics::new(),
        meters,
        checks,
        store,
        queue,
        shutdown,
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "`serve` awaits the handle; it ends when the router is gone"
    )]
    let hinting = tokio::spawn(async move {
        let mailing = async {
            if let Some(mails) = mails {
                mails.run(until).await;
            }
        };
        tokio::join!(hinting.run(), mailing, ending);
    });
    (http::routes(app), hinting)
}

/// Serves the API until `shutdown`, then lets requests under way finish and sends the hints that are left.
///
/// # Errors
/// [`ApiError::Remote`] when `listen` can be reached by others and `allow_remote` is not set.
pub async fn run(config: Config, ports: Ports, shutdown: CancellationToken) -> Result<(), ApiError> {
    let address = config.listen;
    if !address.ip().is_loopback() && !config.allow_remote {
        return Err(ApiError::Remote(address));
    }
    let listener = TcpListener::bind(address).await.map_err(|source| ApiError::Bind { address, source })?;
    serve(listener, config, ports, shutdown).await
}

/// As [`run`], on a listener that is open already.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    ports: Ports,
    shutdown: CancellationToken,
) -> Result<(), ApiError> {
    match listener.local_addr() {
        Ok(address) => info!("The API listens on http://{address}"),
        Err(error) => debug!(cause = %error, "The API listens on an address that it cannot name"),
    }
    let (router, hinting) = router(config, ports, shutdown.clone());
    // Answers are small; waiting to fill a packet would only delay them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(cause = %error, "A connection keeps Nagle's algorithm");
        }
    });
    let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let outcome = tokio::select! {
        outcome = served.into_future() => outcome,
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {
            warn!("Requests were still under way {} s after the end was asked for; they are cut off", GRACE.as_secs());
            Ok(())
        }
    };
    // The router is gone by now but for requests that were cut off; what they left is swept.
    if tokio::time::timeout(Duration::from_secs(2), hinting).await.is_err() {
        warn!("Some hints were not sent; the sweep will find what they told of");
    }
    outcome.map_err(ApiError::Serve)
}
