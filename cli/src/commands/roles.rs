//! `apg api`, `apg coordinator`, `apg worker`: one role in a process of its own.

use std::net::SocketAddr;

use anyhow::Result;

use super::SettingsArgs;
use crate::{
    Exit,
    compose::{self, Roles},
    logging,
};

/// A process that serves no API.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Where /health and /metrics are served; nowhere without it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
}

pub(crate) async fn run(settings: &SettingsArgs, verb: &str, args: Args, roles: Roles) -> Result<Exit> {
    let mut settings = settings.load()?.settings;
    if let Some(listen) = args.metrics_listen {
        settings.monitoring.listen = Some(listen);
    }
    compose::require_shared_services(&settings, verb, roles)?;
    logging::start(&settings, false)?;
    compose::run_roles(&settings, roles).await
}
