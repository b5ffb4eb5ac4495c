//! One run of the tests: its folder, and the reaper that ends what is left when the run is over.
//!
//! A run is one `cargo test` process, or all processes of one `cargo nextest run`. Nothing is shared
//! between two runs.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use anyhow::{Context, Result};

/// Waits for the run to end, then ends its processes, cleans up what lies outside and removes the folder.
const REAPER: &str = r#"
trap '' INT TERM HUP
while kill -0 "$1" 2>/dev/null; do sleep 0.5; done
for file in "$2"/pids/*; do
    [ -f "$file" ] || continue
    read -r pid started < "$file"
    now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20)
    [ "$now" = "$started" ] && kill -9 "$pid"
done
sleep 0.5
[ -f "$2/after" ] && sh "$2/after"
[ -n "$3" ] || rm -rf "$2"
"#;

/// One run of the tests.
pub(crate) struct Run {
    pub(crate) root: PathBuf,
    /// Letters and digits that no other run has.
    pub(crate) id: String,
}

static RUN: LazyLock<Result<Run, String>> = LazyLock::new(|| start().map_err(|error| format!("{error:#}")));

impl Run {
    /// The run that this process belongs to.
    pub(crate) fn this() -> Result<&'static Self> {
        RUN.as_ref().map_err(|error| anyhow::anyhow!("the folder of the run: {error}"))
    }

    /// A new folder in the run's folder.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(super::unique_name(name));
        fs::create_dir_all(&path).with_context(|| format!("the folder {}", path.display()))?;
        Ok(path)
    }

    /// Does `deed` while no other process of the run does one of the same name.
    pub(crate) fn alone<T>(&self, name: &str, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = File::create(self.root.join(format!("{name}.lock"))).context("a lock file")?;
        file.lock().context("a file lock")?;
        deed()
    }

    /// A shell command for the end of the run.
    pub(crate) fn afterwards(&self, command: &str) -> Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.root.join("after"))?;
        writeln!(file, "{command}")?;
        Ok(())
    }

    /// Makes the reaper end this process, unless [`Run::forget`] comes first.
    pub(crate) fn remember(&self, pid: i32) -> Result<()> {
        if let Some(started) = started_at(pid) {
            fs::write(self.root.join("pids").join(pid.to_string()), format!("{pid} {started}\n"))?;
        }
        Ok(())
    }

    pub(crate) fn forget(&self, pid: i32) {
        // Gone already is as good.
        let _ = fs::remove_file(self.root.join("pids").join(pid.to_string()));
    }
}

/// When the process was started, in ticks since the machine was: with its pid, its identity.
fn started_at(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(19).map(ToOwned::to_owned)
}

fn start() -> Result<Run> {
    let (id, watched) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (
            run.chars().filter(char::is_ascii_alphanumeric).take(12).collect(),
            rustix::process::getppid().context("the process that runs the tests")?.as_raw_nonzero().get(),
        ),
        Err(_) => (format!("p{}", std::process::id()), std::process::id() as i32),
    };
    let root = std::env::temp_dir().join(format!("apg-it-{id}"));
    fs::create_dir_all(root.join("pids")).with_context(|| format!("the folder {}", root.display()))?;
    // PostgreSQL runs as another user when the tests run as root.
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let run = Run { root, id };
    run.alone("reaper", || start_reaper(&run.root, watched))?;
    Ok(run)
}

fn start_reaper(root: &Path, watched: i32) -> Result<()> {
    let mark = root.join("reaper");
    if mark.exists() {
        return Ok(());
    }
    let keep = if std::env::var_os("APG_TEST_KEEP").is_some() { "keep" } else { "" };
    let reaper = Command::new("sh")
        .args(["-c", REAPER, "reaper", &watched.to_string()])
        .arg(root)
        .arg(keep)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the shell that cleans up")?;
    fs::write(mark, reaper.id().to_string())?;
    Ok(())
}
