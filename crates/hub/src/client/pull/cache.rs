//! The cache of the Hugging Face clients as the target of a pull, so that they find the files offline.
//!
//! ```text
//! models--ns--name/blobs/<etag>                       content
//!                  snapshots/<commit>/<path>          relative link to it
//!                  refs/<revision>                    text: the commit
//!                  .weighthouse/                      our lock and partial files
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use weighthouse::{GitOid, RepoKind};

use super::super::error::ClientError;
use super::super::paths;
use super::super::target::RepoRef;
use super::folder::lock;
use super::plan::RemoteFile;
use weighthouse::atomic;

/// The part of a cache that belongs to one repository, locked for one pull.
#[derive(Debug)]
pub(super) struct RepoCache {
    root: PathBuf,
    _lock: File,
}

impl RepoCache {
    /// Makes the folders and locks them. Blocks the thread.
    pub(super) fn open(cache: &Path, repo: &RepoRef) -> Result<Self, ClientError> {
        fs::create_dir_all(cache).map_err(|error| ClientError::local("making the folder", cache, error))?;
        let root = cache.join(folder_name(repo));
        paths::folder(&root)?;
        for name in ["blobs", "snapshots", "refs", ".weighthouse", ".weighthouse/parts"] {
            paths::folder(&root.join(name))?;
        }
        let lock = lock(&root.join(".weighthouse/lock"))?;
        Ok(Self { root, _lock: lock })
    }

    /// Where partial files are.
    pub(super) fn parts(&self) -> PathBuf {
        self.root.join(".weighthouse/parts")
    }

    /// Where the content of a file belongs.
    pub(super) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.root.join("blobs").join(file.digest.to_string())
    }

    /// Whether the content is here. Clients move content here only when it is complete, so its size is proof enough.
    pub(super) fn has_blob(&self, file: &RemoteFile) -> bool {
        fs::metadata(self.blob(file)).is_ok_and(|facts| facts.is_file() && facts.len() == file.size_bytes)
    }

    /// Folder of a commit.
    pub(super) fn snapshot(&self, commit: &GitOid) -> PathBuf {
        self.root.join("snapshots").join(commit.to_string())
    }

    /// Links the files of a commit to their content, then names the commit. Blocks the thread.
    pub(super) fn publish(&self, commit: &GitOid, revision: &str, files: &[RemoteFile]) -> Result<(), ClientError> {
        let snapshot = self.snapshot(commit);
        paths::folder(&snapshot)?;
        for file in files {
            let place = paths::place(&snapshot, &file.path)?;
            let up = "../".repeat(2 + file.path.matches('/').count());
            let target = PathBuf::from(format!("{up}blobs/{}", file.digest));
            link(&target, &self.blob(file), &place).map_err(|error| ClientError::local("linking", &place, error))?;
        }
        if revision != commit.to_string() {
            let place = paths::place(&self.root.join("refs"), revision)?;
            atomic::write(&place, commit.to_string().as_bytes())
                .map_err(|error| ClientError::local("writing", &place, error))?;
        }
        for folder in [snapshot, self.root.join("blobs")] {
            atomic::sync_folder(&folder).map_err(|error| ClientError::local("writing", &folder, error))?;
        }
        for left in fs::read_dir(self.parts()).into_iter().flatten().flatten() {
            let _ = fs::remove_file(left.path());
        }
        Ok(())
    }
}

fn folder_name(repo: &RepoRef) -> String {
    let kind = match repo.kind() {
        RepoKind::Model => "models",
        RepoKind::Dataset => "datasets",
    };
    format!("{kind}--{}", repo.id().replace('/', "--"))
}

/// Puts a link in place, whatever was there before. Where there are no links, a copy.
fn link(target: &Path, blob: &Path, place: &Path) -> std::io::Result<()> {
    if fs::read_link(place).is_ok_and(|present| present == target) {
        return Ok(());
    }
    let temporary = atomic::temporary_name(place);
    #[cfg(unix)]
    {
        let _ = blob;
        std::os::unix::fs::symlink(target, &temporary)?;
    }
    #[cfg(not(unix))]
    {
        let _ = target;
        fs::copy(blob, &temporary)?;
    }
    fs::rename(&temporary, place).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(all(test, unix))]
mod tests {
    use weighthouse::Sha256;

    use super::super::plan::Digest;
    use super::*;

    #[test]
    fn files_are_found_where_the_other_clients_look() {
        let cache = tempfile::tempdir().unwrap();
        let repo = "team/m".parse().unwrap();
        let here = RepoCache::open(cache.path(), &repo).unwrap();
        let digest = Digest::Sha256(Sha256::of(b"one"));
        let file = RemoteFile { path: "a/b/c.bin".into(), size_bytes: 3, digest };
        assert!(!here.has_blob(&file));
        fs::write(here.blob(&file), b"one").unwrap();
        assert!(here.has_blob(&file));
        let commit: GitOid = "ab".repeat(20).parse().unwrap();
        for _ in 0..2 {
            here.publish(&commit, "feat/x", std::slice::from_ref(&file)).unwrap();
        }
        let root = cache.path().join("models--team--m");
        let link = root.join("snapshots").join("ab".repeat(20)).join("a/b/c.bin");
        assert_eq!(fs::read_link(&link).unwrap(), PathBuf::from(format!("../../../../blobs/{digest}")));
        assert_eq!(fs::read(&link).unwrap(), b"one");
        assert_eq!(fs::read_to_string(root.join("refs/feat/x")).unwrap(), "ab".repeat(20));
        assert!(matches!(here.publish(&commit, "../../x", &[]), Err(ClientError::UnsafePath { .. })));
    }
}
