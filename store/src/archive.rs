//! Executions that were removed, as lines of JSON in a folder: `2026-11-28.jsonl.gz` for what went on a day.
//!
//! Each part is a file of its own until its day is over: written under another name, flushed, renamed. So a file that is
//! there is whole, two may write at once, and nothing is ever written into a file again. A process that dies may leave a
//! line twice; [`archived`] gives it once. Reads no line but for whose it is.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use shared::{
    ids::ExecutionId,
    port::{
        history::{Archive, ArchiveError, ArchivePart},
        line::execution_of,
    },
    time::Timestamp,
};
use uuid::Uuid;

const ENDING: &str = ".jsonl.gz";
/// What is not whole yet.
const UNFINISHED: &str = ".part";
/// Unfinished files of a process that died are removed after a day.
const ABANDONED: std::time::Duration = std::time::Duration::from_hours(24);

/// An archive in a folder, which is made when it is missing.
#[derive(Debug, Clone)]
pub struct FolderArchive {
    folder: PathBuf,
}

impl FolderArchive {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

fn failed(place: &Path) -> impl Fn(io::Error) -> ArchiveError + use<> {
    let place = place.display().to_string();
    move |error| ArchiveError { place: place.clone(), source: error.into() }
}

/// Does what waits for a disk where nobody else waits.
async fn on_disk<T: Send + 'static>(
    place: &Path,
    deed: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ArchiveError> {
    let failed = failed(place);
    match tokio::task::spawn_blocking(deed).await {
        Ok(done) => done.map_err(failed),
        Err(panic) => Err(failed(io::Error::other(panic))),
    }
}

/// A name that no other part has.
#[expect(clippy::disallowed_methods, reason = "the name of a file, and no id")]
fn unique() -> String {
    Uuid::now_v7().simple().to_string()
}

/// A file that comes into being whole, or not at all.
struct Whole {
    encoder: GzEncoder<BufWriter<File>>,
    unfinished: PathBuf,
    name: PathBuf,
}

impl Whole {
    fn create(name: PathBuf) -> io::Result<Self> {
        let unfinished = beside(&name, UNFINISHED);
        let file = File::options().write(true).create_new(true).open(&unfinished)?;
        Ok(Self { encoder: GzEncoder::new(BufWriter::new(file), Compression::default()), unfinished, name })
    }

    fn keep(self) -> io::Result<()> {
        let file = self.encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        settle(&file, &self.unfinished, &self.name)
    }
}

/// Flushes a file, gives it its name, and flushes that.
fn settle(file: &File, unfinished: &Path, name: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(unfinished, name)?;
    match name.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The day that a file is of, and whether it is a part of it.
fn day_of(name: &str) -> Option<(&str, bool)> {
    let stem = name.strip_suffix(ENDING)?;
    let (day, rest) = stem.split_at_checked(10)?;
    chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    match rest {
        "" => Some((day, false)),
        part if part.starts_with('.') => Some((day, true)),
        _ => None,
    }
}

/// The files of each day in a folder: what was put together first, then parts in the order of their names.
fn days(folder: &Path) -> io::Result<BTreeMap<String, Vec<(PathBuf, bool)>>> {
    let mut days: BTreeMap<String, Vec<(PathBuf, bool)>> = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(days),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((day, is_part)) = name.to_str().and_then(day_of) {
            days.entry(day.to_owned()).or_default().push((entry.path(), is_part));
        }
    }
    for files in days.values_mut() {
        files.sort_by(|(a, a_is_part), (b, b_is_part)| (a_is_part, a).cmp(&(b_is_part, b)));
    }
    Ok(days)
}

/// Puts the parts of days before this one together. Files of gzip one after another are one.
fn close_days(folder: &Path, today: &str) -> io::Result<()> {
    for (day, files) in days(folder)? {
        let parts: Vec<&PathBuf> =
            files.iter().filter(|(_, is_part)| *is_part).map(|(path, _)| path).collect();
        if day.as_str() >= today || parts.is_empty() {
            continue;
        }
        let name = folder.join(format!("{day}{ENDING}"));
        let unfinished = folder.join(format!("{day}.{}{ENDING}{UNFINISHED}", unique()));
        let mut file = File::options().write(true).create_new(true).open(&unfinished)?;
        for (path, _) in &files {
            io::copy(&mut File::open(path)?, &mut file)?;
        }
        settle(&file, &unfinished, &name)?;
        for part in parts {
            fs::remove_file(part)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_unfinished = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.strip_suffix(UNFINISHED).is_some_and(|name| day_of(name).is_some()));
        let age = entry.metadata().and_then(|meta| meta.modified())?.elapsed();
        if is_unfinished && age.is_ok_and(|age| age > ABANDONED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[async_trait]
impl Archive for FolderArchive {
    async fn begin(&self, at: Timestamp) -> Result<Box<dyn ArchivePart>, ArchiveError> {
        let folder = self.folder.clone();
        let day = at.to_datetime().format("%Y-%m-%d");
        let name = folder.join(format!("{day}.{}{ENDING}", unique()));
        let whole = on_disk(&self.folder, move || {
            fs::create_dir_all(&folder)?;
            Whole::create(name)
        })
        .await?;
        Ok(Box::new(Part(Some(whole))))
    }

    async fn close_days(&self, now: Timestamp) -> Result<(), ArchiveError> {
        let folder = self.folder.clone();
        let today = now.to_datetime().format("%Y-%m-%d").to_string();
        on_disk(&self.folder, move || {
            fs::create_dir_all(&folder)?;
            close_days(&folder, &today)
        })
        .await
    }
}

/// Absent after a write that failed: what is half is never kept.
struct Part(Option<Whole>);

impl Part {
    fn take(&mut self) -> Result<Whole, ArchiveError> {
        let lost = || ArchiveError { place: "part".to_owned(), source: "an earlier write failed".into() };
        self.0.take().ok_or_else(lost)
    }
}

#[async_trait]
impl ArchivePart for Part {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        let mut whole = self.take()?;
        let path = whole.unfinished.clone();
        self.0 = Some(
            on_disk(&path, move || {
                whole.encoder.write_all(&bytes)?;
                Ok(whole)
            })
            .await?,
        );
        Ok(())
    }

    async fn keep(mut self: Box<Self>) -> Result<(), ArchiveError> {
        let whole = self.take()?;
        let path = whole.unfinished.clone();
        on_disk(&path, move || whole.keep()).await
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(whole) = self.0.take() {
            // Nobody reads it, and it goes after a day if it cannot go now.
            let _ = fs::remove_file(&whole.unfinished);
        }
    }
}

/// Gives each line of an archive to `see`, oldest day first, each execution once. Answers how many there were.
///
/// `see` answers whether to go on.
pub fn archived(
    folder: &Path,
    mut see: impl FnMut(ExecutionId, &[u8]) -> io::Result<bool>,
) -> io::Result<u64> {
    let mut seen: HashSet<ExecutionId> = HashSet::new();
    for (path, _) in days(folder)?.into_values().flatten() {
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(&path)?)));
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(told)? == 0 {
                break;
            }
            let Some(id) = execution_of(&line) else {
                return Err(told(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line is not of an execution",
                )));
            };
            if seen.insert(id) && !see(id, &line)? {
                return Ok(seen.len() as u64);
            }
        }
    }
    Ok(seen.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: ExecutionId) -> Vec<u8> {
        format!("{{\"id\":\"{id}\",\"execution\":{{}}}}\n").into_bytes()
    }

    fn at(day: &str) -> Timestamp {
        format!("{day}T12:00:00Z").parse().expect("an instant")
    }

    async fn keep(archive: &FolderArchive, day: &str, ids: &[ExecutionId]) {
        let mut part = archive.begin(at(day)).await.expect("begun");
        for id in ids {
            let line = line(*id);
            part.write(line[..9].to_vec()).await.expect("written");
            part.write(line[9..].to_vec()).await.expect("written");
        }
        part.keep().await.expect("kept");
    }

    fn read(folder: &Path) -> Vec<ExecutionId> {
        let mut ids = Vec::new();
        let count = archived(folder, |id, text| {
            assert_eq!(text, line(id));
            ids.push(id);
            Ok(true)
        });
        assert_eq!(count.expect("read"), ids.len() as u64);
        ids
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn each_execution_is_read_once_however_often_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = FolderArchive::new(folder.path().join("archive"));
        let path = folder.path().join("archive");
        assert_eq!(read(&path), [], "no folder is an empty archive");
        let ids: Vec<ExecutionId> = (0..4).map(|_| ExecutionId::generate()).collect();
        keep(&archive, "2026-11-29", &ids[2..]).await;
        keep(&archive, "2026-11-28", &ids[..2]).await;
        keep(&archive, "2026-11-28", &ids[1..3]).await;
        assert_eq!(read(&path), ids, "the oldest day first");
    }

    #[tokio::test]
    async fn a_day_that_is_over_is_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, path) = (FolderArchive::new(folder.path()), folder.path());
        let ids: Vec<ExecutionId> = (0..4).map(|_| ExecutionId::generate()).collect();
        for (day, id) in [("2026-11-27", 0), ("2026-11-27", 1), ("2026-11-28", 2)] {
            keep(&archive, day, &ids[id..=id]).await;
        }
        archive.close_days(at("2026-11-28")).await.expect("closed");
        assert_eq!(names(path).len(), 2);
        assert_eq!(names(path)[0], "2026-11-27.jsonl.gz");
        assert_eq!(read(path), ids[..3]);
        // A part that a slow clock wrote into a day that was closed already.
        keep(&archive, "2026-11-27", &ids[3..]).await;
        archive.close_days(at("2026-11-29")).await.expect("closed");
        assert_eq!(names(path), ["2026-11-27.jsonl.gz", "2026-11-28.jsonl.gz"]);
        assert_eq!(read(path), [ids[0], ids[1], ids[3], ids[2]]);
    }

    #[tokio::test]
    async fn what_is_not_kept_is_as_if_it_had_never_been() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = FolderArchive::new(folder.path());
        let mut part = archive.begin(at("2026-11-28")).await.expect("begun");
        part.write(line(ExecutionId::generate())).await.expect("written");
        assert_eq!(read(folder.path()), [], "unfinished is unread");
        drop(part);
        assert_eq!(names(folder.path()), [""; 0]);
        // A process that died left this behind.
        let left = folder.path().join(format!("2026-11-01.x{ENDING}{UNFINISHED}"));
        let file = File::create(&left).expect("made");
        archive.close_days(at("2026-11-28")).await.expect("closed");
        assert_eq!(names(folder.path()).len(), 1, "it may be somebody's");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("aged");
        archive.close_days(at("2026-11-28")).await.expect("closed");
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn only_files_of_days_are_of_the_archive() {
        assert_eq!(day_of("2026-11-28.jsonl.gz"), Some(("2026-11-28", false)));
        assert_eq!(day_of("2026-11-28.0.jsonl.gz"), Some(("2026-11-28", true)));
        for other in [
            "2026-13-28.jsonl.gz",
            "2026-11-28x.jsonl.gz",
            "notes.jsonl.gz",
            "2026-11-28.jsonl",
            "ä.jsonl.gz",
        ] {
            assert_eq!(day_of(other), None, "{other}");
        }
    }
}
