//! The log: lines on standard error, for people or for programs.

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// Starts the log. `quiet` writes warnings and errors only, unless the settings ask for more.
pub(crate) fn start(settings: &Settings, quiet: bool) -> Result<()> {
    let rules = match (&settings.logging.filter, settings.app.debug) {
        (Some(filter), _) => filter.clone(),
        // Our own lines, not those of the libraries below.
        (None, true) => {
            "info,api=debug,cli=debug,components=debug,coordinator=debug,progress=debug,queue=debug,\
                         store=debug,worker=debug"
                .to_owned()
        }
        (None, false) if quiet => "warn".to_owned(),
        (None, false) => settings.logging.level.as_str().to_owned(),
    };
    let filter = EnvFilter::try_new(&rules).map_err(|error| anyhow!("logging.filter: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.logging.format {
        LogFormat::Text => lines.with_ansi(crate::output::is_watched()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!("the log cannot be started: {error}"))
}
