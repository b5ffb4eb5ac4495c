//! The key by which commands are known to the server of this machine.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use api::{Opener, Secret};

use crate::settings::Settings;

/// Where `apg serve` keeps the key that it made.
pub(crate) fn path(settings: &Settings) -> PathBuf {
    settings.app.data_folder.join("api.key")
}

/// The key of the settings, or the one that `apg serve` keeps.
pub(crate) fn find(settings: &Settings) -> Result<Option<String>> {
    if let Some(key) = &settings.api.key {
        return Ok(Some(key.reveal().to_owned()));
    }
    read(&path(settings))
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let key = text.trim();
            ensure!(
                !key.is_empty(),
                "the file {} is empty: remove it, and start the server anew",
                path.display()
            );
            Ok(Some(key.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the key in {} cannot be read", path.display())),
    }
}

/// Gives the settings a key: the one that is there, or a new one, which only this user can read.
pub(crate) fn ensure_one(settings: &mut Settings) -> Result<()> {
    if settings.api.key.is_some() {
        return Ok(());
    }
    let path = path(settings);
    let key = match read(&path)? {
        Some(key) => key,
        None => write(&path)?,
    };
    settings.api.key = Some(Secret::new(key));
    Ok(())
}

fn write(path: &Path) -> Result<String> {
    let key = Opener::random().context("the system has no randomness to give")?.reveal().to_owned();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(format!("{key}\n").as_bytes()));
    written.with_context(|| format!("the key cannot be kept in {}", path.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_this_user_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.app.data_folder = folder.path().join("data");
        assert_eq!(find(&settings).expect("looked for"), None);
        let mut first = settings.clone();
        ensure_one(&mut first).expect("made");
        let made = find(&settings).expect("looked for").expect("a key");
        assert!(made.len() >= 32 && first.api.key.as_ref().is_some_and(|key| key.reveal() == made));
        let mut second = settings.clone();
        ensure_one(&mut second).expect("found");
        assert_eq!(find(&second).expect("looked for").as_deref(), Some(made.as_str()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path(&settings)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{mode:o}");
        }
        std::fs::write(path(&settings), "\n").expect("written");
        assert!(find(&settings).is_err());
    }

    #[test]
    fn a_key_of_the_settings_is_the_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.app.data_folder = folder.path().to_owned();
        settings.api.key = Some(Secret::new("given"));
        ensure_one(&mut settings).expect("there");
        assert_eq!(find(&settings).expect("looked for").as_deref(), Some("given"));
        assert!(!path(&settings).exists());
    }
}
