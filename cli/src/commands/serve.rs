//! `apg serve`: everything in one process.

use std::path::Path;

use anyhow::{Context, Result};

use super::{SettingsArgs, run::follow, test};
use crate::{
    Exit,
    compose::{self, Ports, Roles, Running},
    documents, key, logging, output,
    settings::Settings,
    submit,
};

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Keeps the workflows of the folder `examples`, runs one of them, and says where to look.
    #[arg(long)]
    first_run: bool,
}

pub(crate) async fn run(settings: &SettingsArgs, args: Args) -> Result<Exit> {
    let mut settings = settings.load()?.settings;
    logging::start(&settings, args.first_run)?;
    if let Err(error) = key::ensure_one(&mut settings) {
        // People can sign in without.
        output::say(format_args!("warning: commands need a key of their own (api.key): {error:#}"));
    }
    if !args.first_run {
        return compose::run_roles(&settings, Roles::ALL).await;
    }
    let ports = Ports::open(&settings).await?;
    let running = Running::start(&settings, &ports, Roles::ALL)?;
    let shown = tokio::select! {
        shown = first_run(&settings, &ports) => shown,
        () = compose::asked_to_end() => {
            running.stop().await?;
            return Ok(Exit::Success);
        }
    };
    if let Err(error) = shown {
        // The server is of use without its examples.
        output::say(format_args!("warning: the examples could not be shown: {error:#}"));
    }
    compose::run_until_asked(running).await
}

const EXAMPLES: &str = "examples";
/// The example that runs at once, on the data beside it.
const SHOWN: &str = "etl";

async fn first_run(settings: &Settings, ports: &Ports) -> Result<()> {
    let mut shown = None;
    let mut paths: Vec<_> = std::fs::read_dir(Path::new(EXAMPLES))
        .with_context(|| format!("the folder {EXAMPLES} cannot be read"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml") && !test::is_test(path))
        .collect();
    paths.sort();
    for path in paths {
        let (name, text) = documents::text(&path)?;
        let read = match documents::read(&name, &text) {
            Ok(read) => read,
            Err(wrong) => {
                output::say(format_args!("{wrong}\n"));
                continue;
            }
        };
        let row = submit::keep(ports, &text, &read, true).await?;
        output::say(format_args!("Kept {name} as {}", row.name));
        if row.name == SHOWN {
            shown = Some((row, read));
        }
    }
    let base = format!("http://{}", settings.api.listen);
    let open = compose::owner_link(settings, ports).await?;
    let open = open.map_or_else(|| format!("Open {base}"), |link| compose::invitation(&link));
    let show = format!("-H \"X-API-Key: $(cat {})\"", key::path(settings).display());
    let mut lines = vec![open, format!("  curl {base}/health")];
    if let Some((row, read)) = shown {
        output::say(format_args!("\nRunning {SHOWN}:"));
        let parameters = read.workflow.check_parameters(&serde_json::Map::new());
        let parameters = parameters.map_err(|problems| anyhow::anyhow!(documents::show(&problems)))?;
        let execution = submit::start(ports, &row, parameters).await?;
        follow(ports, execution, read.workflow.scopes[0].components.len() as u64).await?;
        lines.push(format!("  curl {show} {base}/api/v1/executions/{execution}"));
        lines.push(format!(
            "  curl {show} -X POST {base}/api/v1/workflows/{}/execute -H 'content-type: application/json' -d '{{}}'",
            row.id
        ));
    }
    lines.push("  apg workflow list".to_owned());
    output::say(format_args!("\n{}\n\nCtrl-C ends the server", lines.join("\n")));
    Ok(())
}
