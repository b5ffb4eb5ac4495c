//! Folders of connectors as sources of files, for triggers.

use std::{io, path::Path};

use async_trait::async_trait;
use cap_std::{ambient_authority, fs::Dir};
use shared::{
    component::Failure,
    port::sources::{Folders, Seen, SeenFile, SourceError},
    workflow::triggers::After,
};

use crate::{
    Environment,
    environment::Connector,
    integrations::file_operation::{changed_at, inside, slashed},
    row_flow::aside,
};

/// Entries of a folder that are looked at.
const MOST: usize = 100_000;
/// The folder beside a file that it is moved into.
const DONE: &str = "done";

fn error(failure: Failure) -> SourceError {
    SourceError(failure.message)
}

fn said(path: &Path, error: &io::Error) -> SourceError {
    SourceError(format!("`{}`: {error}", slashed(path)))
}

/// The file as it stands now; none when it is no file that could be read.
fn seen(root: &Dir, path: &Path) -> Result<Option<SeenFile>, SourceError> {
    let metadata = root.metadata(path).map_err(|error| said(path, &error))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let (Some(name), Some(modified), true) = (name, changed_at(&metadata), metadata.is_file()) else {
        return Ok(None);
    };
    Ok(Some(SeenFile { path: slashed(path), name: name.to_owned(), size: metadata.len(), modified }))
}

fn look(root: &Dir, folder: &Path, pattern: &globset::GlobMatcher) -> Result<Seen, SourceError> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut found = Seen::default();
    for (index, entry) in root.read_dir(here).map_err(|error| said(folder, &error))?.enumerate() {
        if index >= MOST {
            return Err(SourceError(format!("`{}` has more than {MOST} entries", slashed(folder))));
        }
        let entry = entry.map_err(|error| said(folder, &error))?;
        let name = entry.file_name();
        let Some(text) = name.to_str() else {
            let shown = slashed(&folder.join(&name));
            found.unreadable.push((shown, "its name is not UTF-8".to_owned()));
            continue;
        };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if text.starts_with('.') || is_folder || !pattern.is_match(text) {
            continue;
        }
        let path = folder.join(text);
        match seen(root, &path) {
            Ok(file) => found.files.extend(file),
            // Gone a moment after it was listed.
            Err(_) if root.symlink_metadata(&path).is_err() => {}
            Err(error) => found.unreadable.push((slashed(&path), error.0)),
        }
    }
    Ok(found)
}

fn put_away(root: &Dir, file: &SeenFile, after: After) -> Result<(), SourceError> {
    let path = inside(&file.path).map_err(error)?;
    if seen(root, &path).ok().flatten().as_ref() != Some(file) {
        return Ok(());
    }
    match after {
        After::Keep => Ok(()),
        After::Delete => root.remove_file(&path).map_err(|error| said(&path, &error)),
        After::Move => {
            let folder = path.with_file_name(DONE);
            root.create_dir_all(&folder).map_err(|error| said(&folder, &error))?;
            let name = Path::new(&file.name);
            let stem = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let ending =
                name.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
            let mut target = folder.join(name);
            for number in 1..10_000 {
                if root.symlink_metadata(&target).is_err() {
                    break;
                }
                target = folder.join(format!("{stem}-{number}{ending}"));
            }
            root.rename(&path, root, &target).map_err(|error| said(&path, &error))
        }
    }
}

impl Environment {
    /// Does something in the folder of a connector, where blocking hurts nobody.
    async fn in_folder<T: Send + 'static>(
        &self,
        connector: &str,
        work: impl FnOnce(&Dir) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let Connector::Folder { root } = &self.place(connector).map_err(error)?.connector else {
            return Err(SourceError(format!("the connector `{connector}` is not a folder")));
        };
        let (root, shown) = (root.clone(), connector.to_owned());
        let done = aside(move || {
            Ok(Dir::open_ambient_dir(&root, ambient_authority())
                .map_err(|error| SourceError(format!("the folder of the connector `{shown}`: {error}")))
                .and_then(|root| work(&root)))
        });
        done.await.map_err(error)?
    }
}

#[async_trait]
impl Folders for Environment {
    async fn look(
        &self,
        connector: &str,
        folder: &str,
        pattern: &globset::GlobMatcher,
    ) -> Result<Seen, SourceError> {
        let (folder, pattern) = (inside(folder).map_err(error)?, pattern.clone());
        self.in_folder(connector, move |root| look(root, &folder, &pattern)).await
    }

    async fn check(&self, connector: &str, file: &SeenFile) -> Result<(), SourceError> {
        let path = inside(&file.path).map_err(error)?;
        self.in_folder(connector, move |root| root.open(&path).map(drop).map_err(|error| said(&path, &error)))
            .await
    }

    async fn put_away(&self, connector: &str, file: &SeenFile, after: After) -> Result<(), SourceError> {
        let file = file.clone();
        self.in_folder(connector, move |root| put_away(root, &file, after)).await
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use shared::time::SystemClock;

    use super::*;
    use crate::environment::Config;

    fn environment(root: &Path) -> Environment {
        let mut config = Config::default();
        config.connectors.insert("in".to_owned(), Connector::Folder { root: root.to_owned() });
        Environment::new(&config, Arc::new(SystemClock)).expect("an environment")
    }

    fn glob(text: &str) -> globset::GlobMatcher {
        globset::Glob::new(text).expect("a pattern").compile_matcher()
    }

    #[tokio::test]
    async fn a_look_finds_what_fits_and_reports_what_leads_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("orders/inner.csv")).expect("made");
        fs::write(folder.path().join("secret.csv"), "x").expect("written");
        for name in ["a.csv", "b.csv", "c.txt", ".half.csv"] {
            fs::write(root.join("orders").join(name), name).expect("written");
        }
        std::os::unix::fs::symlink("../../secret.csv", root.join("orders/link.csv")).expect("linked");
        let environment = environment(&root);
        let mut seen = environment.look("in", "orders", &glob("*.csv")).await.expect("a look");
        seen.files.sort_by(|a, b| a.path.cmp(&b.path));
        let paths: Vec<&str> = seen.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["orders/a.csv", "orders/b.csv"]);
        assert_eq!((seen.files[0].size, seen.files[0].name.as_str()), (5, "a.csv"));
        assert_eq!(seen.unreadable.len(), 1, "{:?}", seen.unreadable);
        assert_eq!(seen.unreadable[0].0, "orders/link.csv");
        for wrong in ["../", "/etc", "missing"] {
            assert!(environment.look("in", wrong, &glob("*")).await.is_err(), "{wrong}");
        }
        assert!(environment.look("data", "", &glob("*")).await.is_err(), "a database is no folder");
        assert!(environment.look("nowhere", "", &glob("*")).await.is_err());
    }

    #[tokio::test]
    async fn what_has_changed_is_not_put_away_and_nothing_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = environment(folder.path());
        let write = |text: &str| fs::write(folder.path().join("a.csv"), text).expect("written");
        write("one");
        let first = environment.look("in", "", &glob("*")).await.expect("a look").files.remove(0);
        environment.check("in", &first).await.expect("readable");
        write("other");
        environment.put_away("in", &first, After::Delete).await.expect("left alone");
        assert!(folder.path().join("a.csv").exists());
        for name in ["a.csv", "a-1.csv"] {
            let now = environment.look("in", "", &glob("*")).await.expect("a look").files.remove(0);
            environment.put_away("in", &now, After::Move).await.expect("moved");
            assert!(folder.path().join("done").join(name).exists(), "{name}");
            write("again");
        }
        let now = environment.look("in", "", &glob("*")).await.expect("a look").files.remove(0);
        environment.put_away("in", &now, After::Delete).await.expect("deleted");
        environment.put_away("in", &now, After::Delete).await.expect("gone already");
        assert!(!folder.path().join("a.csv").exists());
    }
}
