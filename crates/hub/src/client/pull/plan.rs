//! What is to be fetched, and how it is told from other bytes.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Digest as _;
use weighthouse::{GitOid, Sha256};

use super::super::error::{ClientError, shown};
use super::super::filter::Filter;
use super::super::paths;
use crate::wire::hf::tree::TreeEntry;

/// The digest by which a hub names content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Digest {
    /// Git's blob id, for files in the commit itself.
    Git(GitOid),
    /// SHA-256, for large files.
    Sha256(Sha256),
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(oid) => oid.fmt(f),
            Self::Sha256(sha256) => sha256.fmt(f),
        }
    }
}

/// A file of the hub.
#[derive(Clone, Debug)]
pub(super) struct RemoteFile {
    /// Path in the repository; safe to write below a folder.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) digest: Digest,
}

/// Takes in a listing: only what `filter` takes, and nothing that is not safe to write.
///
/// # Errors
/// [`ClientError::UnsafePath`] for the first path that breaks a rule; [`ClientError::Nonsense`] for entries that
/// contradict themselves.
pub(super) fn plan(tree: Vec<TreeEntry>, filter: &Filter) -> Result<Vec<RemoteFile>, ClientError> {
    let taken = tree.into_iter().filter(|entry| filter.takes(&entry.path));
    let files: Vec<RemoteFile> = taken.map(remote).collect::<Result<_, _>>()?;
    paths::check_all(files.iter().map(|file| file.path.as_str()))?;
    Ok(files)
}

fn remote(entry: TreeEntry) -> Result<RemoteFile, ClientError> {
    let wrong = |why: &str| ClientError::nonsense("listing files", format!("`{}` {why}", shown(&entry.path)));
    let digest = match &entry.lfs {
        Some(lfs) if lfs.size != entry.size => return Err(wrong("has two sizes")),
        Some(lfs) => Digest::Sha256(lfs.oid.parse().map_err(|_| wrong("has no digest"))?),
        None => Digest::Git(entry.oid.parse().map_err(|_| wrong("has no digest"))?),
    };
    Ok(RemoteFile { size_bytes: entry.size, digest, path: entry.path })
}

/// Computes the digest that a hub would name content by.
pub(super) enum Hasher {
    Git(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// For content that should have `expected`, and has `size_bytes`.
    pub(super) fn new(expected: &Digest, size_bytes: u64) -> Self {
        match expected {
            Digest::Git(_) => {
                let mut hasher = sha1::Sha1::new();
                hasher.update(format!("blob {size_bytes}\0"));
                Self::Git(hasher)
            }
            Digest::Sha256(_) => Self::Sha256(sha2::Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Git(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Git(hasher) => Digest::Git(GitOid(hasher.finalize().into())),
            Self::Sha256(hasher) => Digest::Sha256(Sha256(hasher.finalize().into())),
        }
    }
}

/// Whether a file here has the content of one on the hub. Blocks the thread.
pub(super) fn has_content(place: &Path, file: &RemoteFile) -> std::io::Result<bool> {
    let mut opened = File::open(place)?;
    if opened.metadata()?.len() != file.size_bytes {
        return Ok(false);
    }
    let mut hasher = Hasher::new(&file.digest, file.size_bytes);
    let mut block = vec![0; 1 << 20];
    loop {
        match opened.read(&mut block)? {
            0 => return Ok(hasher.finish() == file.digest),
            len => hasher.update(block.get(..len).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hf::tree::{EntryKind, TreeLfs};

    fn entry(path: &str, lfs: bool) -> TreeEntry {
        let lfs = lfs.then(|| TreeLfs { oid: "ab".repeat(32), size: 3, pointer_size: 127 });
        TreeEntry {
            kind: EntryKind::File,
            oid: "cd".repeat(20),
            size: 3,
            path: path.into(),
            lfs,
            xet_hash: None,
            last_commit: None,
            security_file_status: None,
        }
    }

    #[test]
    fn a_listing_becomes_a_plan_only_as_a_whole() {
        let tree = vec![entry("a", false), entry("b/c", true)];
        let files = plan(tree.clone(), &Filter::default()).unwrap();
        assert_eq!(files[0].digest.to_string(), "cd".repeat(20));
        assert_eq!(files[1].digest.to_string(), "ab".repeat(32));
        for evil in ["../x", "/x", "a\\b", "c:x", "A", ".git/config", "b", "x\u{7}"] {
            let mut tree = tree.clone();
            tree.push(entry(evil, false));
            assert!(matches!(plan(tree.clone(), &Filter::default()), Err(ClientError::UnsafePath { .. })), "{evil}");
            let spared = Filter::new(&["a", "b/*"], &[]).unwrap();
            assert_eq!(plan(tree, &spared).unwrap().len(), 2, "what is left out cannot do harm: {evil}");
        }
        let mut liar = entry("x", true);
        liar.size = 4;
        assert!(matches!(plan(vec![liar], &Filter::default()), Err(ClientError::Nonsense { .. })));
        let mut nameless = entry("x", false);
        nameless.oid = "zz".into();
        assert!(matches!(plan(vec![nameless], &Filter::default()), Err(ClientError::Nonsense { .. })));
    }

    #[test]
    fn content_is_told_by_both_digests() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        std::fs::write(&place, b"hello\n").unwrap();
        let git = Digest::Git("ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap());
        let sha = Digest::Sha256(Sha256::of(b"hello\n"));
        for digest in [git, sha] {
            let mut file = RemoteFile { path: "x".into(), size_bytes: 6, digest };
            assert!(has_content(&place, &file).unwrap());
            file.size_bytes = 5;
            assert!(!has_content(&place, &file).unwrap());
        }
    }
}
