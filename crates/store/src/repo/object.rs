//! Git object identity and the LFS pointer text.
//!
//! Source: gitformat-pack and git-hash-object of the git manual; Git LFS specification, v1 pointer files.

use sha1::{Digest, Sha1};

use crate::digest::{GitOid, Sha256};

/// The kinds of git object that Weighthouse writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file's content, or its LFS pointer.
    Blob,
    /// A folder.
    Tree,
    /// A commit.
    Commit,
}

impl ObjectKind {
    /// Word git uses in the object's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
            Self::Commit => "commit",
        }
    }
}

/// Git id of an object: SHA-1 over `KIND SP LENGTH NUL` and the data.
pub fn object_id(kind: ObjectKind, data: &[u8]) -> GitOid {
    let mut hasher = Sha1::new();
    hasher.update(kind.name());
    hasher.update(b" ");
    hasher.update(data.len().to_string());
    hasher.update([0]);
    hasher.update(data);
    GitOid(hasher.finalize().into())
}

/// Text that stands in the git history for a file kept outside of it.
///
/// - `size_bytes`: length of the file itself
pub fn lfs_pointer(sha256: &Sha256, size_bytes: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_git_prints() {
        // `printf 'hello\n' | git hash-object --stdin`, and the well-known empty tree.
        assert_eq!(object_id(ObjectKind::Blob, b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(object_id(ObjectKind::Tree, b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }
}
