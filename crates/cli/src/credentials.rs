//! Which hub `wh login` chose, and the token for it: a file that its owner alone can read.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What `wh login` remembers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Base address of the hub.
    pub endpoint: String,
    /// Token for that hub and no other.
    pub token: String,
}

/// Where it is kept: `WH_CONFIG_DIR`, or the folder for settings of this system.
///
/// # Errors
/// When this system has no such folder.
pub fn place(variable: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<PathBuf> {
    let folder = variable("WH_CONFIG_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| dirs::config_dir().map(|dir| dir.join("weighthouse")));
    Ok(folder.context("no folder for settings is known on this system: set WH_CONFIG_DIR")?.join("login.toml"))
}

/// Reads it; `None` if there was no login.
///
/// # Errors
/// When the file is there and cannot be read or understood.
pub fn read(place: &Path) -> anyhow::Result<Option<Login>> {
    match fs::read_to_string(place) {
        // The parser's words would quote the line with the token.
        Ok(text) => match toml::from_str(&text) {
            Ok(login) => Ok(Some(login)),
            Err(_) => anyhow::bail!("{} is damaged: log in again with `wh login`", place.display()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", place.display())),
    }
}

/// Writes it: as a whole or not at all, readable by its owner alone from the first moment.
///
/// # Errors
/// When it cannot be written.
pub fn write(place: &Path, login: &Login) -> anyhow::Result<()> {
    let failed = || format!("writing {}", place.display());
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(failed)?;
    let temporary = place.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = (|| {
        let mut file = options.open(&temporary)?;
        file.write_all(toml::to_string(login).map_err(std::io::Error::other)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, place)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_back_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at =
            place(&|name| (name == "WH_CONFIG_DIR").then(|| folder.path().join("new").display().to_string())).unwrap();
        assert!(read(&at).unwrap().is_none());
        let login = Login { endpoint: "http://hub".into(), token: "hf_x".into() };
        for _ in 0..2 {
            write(&at, &login).unwrap();
            assert!(read(&at).unwrap() == Some(login.clone()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(at.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&at, "token = \"hf_secret").unwrap();
        let words = format!("{:#}", read(&at).err().unwrap());
        assert!(words.contains("wh login") && !words.contains("secret"), "{words}");
    }
}
