//! A plain folder as the target of a pull.
//!
//! `.cache/weighthouse` in it holds a lock, partial files, and a list of what was pulled with the stamp each file had
//! then, so that the next pull need not read all of them.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weighthouse::Sha256;

use super::super::error::ClientError;
use super::super::paths::{self, NOTES};
use super::super::stamp::Stamp;
use super::plan::{RemoteFile, has_content};
use weighthouse::atomic;

/// Longest list that is read, in bytes.
const MAX_LIST_BYTES: u64 = 1 << 30;

/// Files as they were pulled, by path.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Pulled {
    files: BTreeMap<String, (String, Stamp)>,
}

/// A target folder, locked for one pull.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    notes: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if needed and locks it. Blocks the thread.
    ///
    /// # Errors
    /// [`ClientError::InTheWay`] while another pull works in it.
    pub(super) fn open(root: &Path) -> Result<Self, ClientError> {
        fs::create_dir_all(root).map_err(|error| ClientError::local("making the folder", root, error))?;
        let root = root.canonicalize().map_err(|error| ClientError::local("opening the folder", root, error))?;
        let mut notes = root.clone();
        for name in NOTES.split('/').chain(["parts"]) {
            notes.push(name);
            paths::folder(&notes)?;
        }
        notes.pop();
        let lock = lock(&notes.join("lock"))?;
        // Git must not pick our notes up.
        let ignore = notes.join(".gitignore");
        if !ignore.exists() {
            atomic::write_note(&ignore, b"*\n").map_err(|error| ClientError::local("writing", &ignore, error))?;
        }
        Ok(Self { root, notes, _lock: lock })
    }

    /// Where partial files are.
    pub(super) fn parts(&self) -> PathBuf {
        self.notes.join("parts")
    }

    /// Name of the partial file of a file.
    pub(super) fn part_name(file: &RemoteFile) -> String {
        let name = Sha256::of(format!("{}\0{}", file.path, file.digest).as_bytes()).to_string();
        name.get(..32).unwrap_or(&name).to_owned()
    }

    /// Reads what was pulled before; what makes no sense counts as nothing.
    pub(super) fn pulled(&self) -> Pulled {
        let place = self.notes.join("pulled.json");
        let fits = fs::symlink_metadata(&place).is_ok_and(|facts| facts.is_file() && facts.len() <= MAX_LIST_BYTES);
        let bytes = if fits { fs::read(&place).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Writes down what is here now. Blocks the thread.
    pub(super) fn write_pulled(&self, pulled: &Pulled) -> Result<(), ClientError> {
        let place = self.notes.join("pulled.json");
        let json = serde_json::to_vec(pulled).map_err(|error| ClientError::Internal(error.to_string()))?;
        atomic::write(&place, &json).map_err(|error| ClientError::local("writing", &place, error))
    }

    /// Makes the new names durable and removes partial files that no one will go on with. Blocks the thread.
    pub(super) fn settle<'a>(&self, files: impl Iterator<Item = &'a str>) -> Result<(), ClientError> {
        let mut folders: Vec<PathBuf> = files.map(|path| self.root.join(path)).collect();
        for folder in &mut folders {
            folder.pop();
        }
        folders.push(self.root.clone());
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            atomic::sync_folder(&folder).map_err(|error| ClientError::local("writing", &folder, error))?;
        }
        for left in fs::read_dir(self.parts()).into_iter().flatten().flatten() {
            let _ = fs::remove_file(left.path());
        }
        Ok(())
    }
}

impl Pulled {
    /// Whether a file is here already, told by its stamp or by its content. Blocks the thread.
    pub(super) fn has(&self, root: &Path, file: &RemoteFile) -> Result<bool, ClientError> {
        let place = root.join(&file.path);
        let Ok(facts) = fs::symlink_metadata(&place) else { return Ok(false) };
        if facts.is_dir() {
            let place = place.display().to_string();
            return Err(ClientError::InTheWay(format!("`{place}` is a folder, and a file of the hub: move it away")));
        }
        if !facts.is_file() || facts.len() != file.size_bytes {
            return Ok(false);
        }
        if self
            .files
            .get(&file.path)
            .is_some_and(|(digest, stamp)| *stamp == Stamp::of(&facts) && *digest == file.digest.to_string())
        {
            return Ok(true);
        }
        has_content(&place, file).map_err(|error| ClientError::local("reading", &place, error))
    }

    /// Notes a file that is in place, unless it was written to a moment ago by someone else.
    pub(super) fn add(&mut self, root: &Path, file: &RemoteFile) {
        match fs::symlink_metadata(root.join(&file.path)) {
            Ok(facts) if facts.is_file() => {
                self.files.insert(file.path.clone(), (file.digest.to_string(), Stamp::of(&facts)));
            }
            _ => {
                self.files.remove(&file.path);
            }
        }
    }
}

/// Takes a lock that ends with the process.
pub(super) fn lock(place: &Path) -> Result<File, ClientError> {
    let failed = |error| ClientError::local("locking", place, error);
    if fs::symlink_metadata(place).is_ok_and(|facts| !facts.is_file()) {
        return Err(ClientError::InTheWay(format!("`{}` is not a file: move it away", place.display())));
    }
    let file = File::options().write(true).create(true).truncate(false).open(place).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(ClientError::InTheWay(format!("another transfer works here (`{}` is locked)", place.display())))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Digest;
    use super::*;

    fn remote(path: &str, content: &[u8]) -> RemoteFile {
        RemoteFile { path: path.into(), size_bytes: content.len() as u64, digest: Digest::Sha256(Sha256::of(content)) }
    }

    #[test]
    fn a_folder_takes_one_pull_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::open(root.path()).unwrap();
        assert!(matches!(Folder::open(root.path()), Err(ClientError::InTheWay(_))));
        drop(first);
        Folder::open(root.path()).unwrap();
    }

    #[test]
    fn what_is_here_is_told_by_stamp_and_by_content() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let (file, mut pulled) = (remote("a", b"one"), folder.pulled());
        assert!(!pulled.has(&folder.root, &file).unwrap());
        fs::write(folder.root.join("a"), b"two").unwrap();
        assert!(!pulled.has(&folder.root, &file).unwrap());
        fs::write(folder.root.join("a"), b"one").unwrap();
        assert!(pulled.has(&folder.root, &file).unwrap());
        pulled.add(&folder.root, &file);
        folder.write_pulled(&pulled).unwrap();
        assert!(folder.pulled().has(&folder.root, &file).unwrap());
        fs::write(folder.notes.join("pulled.json"), b"{\"files\": 3").unwrap();
        assert!(folder.pulled().files.is_empty());
        fs::create_dir(folder.root.join("b")).unwrap();
        assert!(matches!(pulled.has(&folder.root, &remote("b", b"")), Err(ClientError::InTheWay(_))));
    }

    #[cfg(unix)]
    #[test]
    fn notes_behind_a_link_are_refused() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join(".cache")).unwrap();
        assert!(matches!(Folder::open(root.path()), Err(ClientError::InTheWay(_))));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
