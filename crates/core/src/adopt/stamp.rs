//! What tells that a file is still the one that was seen.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Size, times and place of a file. Whoever writes to it, replaces it or renames it gives it another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Device.
    pub device: u64,
    /// Number of the file on its device.
    pub inode: u64,
    /// Time of the last write, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Time of the last change of any kind, in nanoseconds since 1970. Links to the file change it too.
    changed_ns: i64,
}

impl Stamp {
    /// Of a file.
    #[must_use]
    pub fn of(facts: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size_bytes: facts.len(),
            device: facts.dev(),
            inode: facts.ino(),
            modified_ns: nanoseconds(facts.mtime(), facts.mtime_nsec()),
            changed_ns: nanoseconds(facts.ctime(), facts.ctime_nsec()),
        }
    }

    /// Which file it is, whatever its names.
    #[must_use]
    pub const fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether the bytes may be the same: all but the time that links change too.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        Self { changed_ns: 0, ..*self } == Self { changed_ns: 0, ..*other }
    }
}
