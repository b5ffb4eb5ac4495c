//! What every request handler has at hand.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    deeds::Deeds,
    health::Check,
    metrics::{Meter, Metrics},
    rooms::Hall,
    sign_in::SignIn,
};

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub deeds: Arc<Deeds>,
    pub hall: Hall,
    pub config: Config,
    pub sign_in: SignIn,
    pub metrics: Metrics,
    pub meters: Vec<Meter>,
    pub checks: Vec<Check>,
    pub store: shared::port::store::DynStore,
    pub queue: shared::port::queue::DynQueue,
    /// Live streams end with it; requests are let finish.
    pub shutdown: CancellationToken,
}

impl App {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
