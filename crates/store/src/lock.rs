//! One process at a time in an embedded data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::StoreError;

/// Holds a data folder until dropped; the operating system lets go when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, which is created when missing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process holds it.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let shown = folder.display().to_string();
        create_folder(folder).map_err(StoreError::storage("creating the data folder", &shown))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(StoreError::storage("opening the lock in", &shown))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: shown }),
            Err(TryLockError::Error(error)) => Err(StoreError::storage("locking", &shown)(error)),
        }
    }
}

/// Creates a folder that its owner alone may enter; an existing one stays as it is.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_folder_is_refused_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        assert!(matches!(FolderLock::take(folder.path()), Err(StoreError::Locked { .. })));
        drop(held);
        FolderLock::take(folder.path()).unwrap();
    }
}
