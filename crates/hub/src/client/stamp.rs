//! What tells that a file is still the one that was read.

use std::fs::Metadata;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Size, times and place of a file. Two equal stamps mean an unchanged file, unless someone sets times back or writes
/// twice within one tick of the file system's clock; see [`Stamp::is_settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
}

/// Coarsest tick of file times that is still in use, in nanoseconds (FAT: 2 s).
const TICK_NS: i128 = 2_000_000_000;

impl Stamp {
    pub(super) fn of(facts: &Metadata) -> Self {
        let modified = facts.modified().ok();
        let modified_ns = modified.map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        });
        let (changed_ns, inode) = change_and_place(facts);
        Self { size_bytes: facts.len(), modified_ns, changed_ns, inode }
    }

    /// Whether the file was last written long enough before `now_ms` that a later write shows in its stamp.
    pub(super) fn is_settled(&self, now_ms: i64) -> bool {
        let now_ns = i128::from(now_ms) * 1_000_000;
        now_ns - self.modified_ns.max(self.changed_ns) > TICK_NS
    }
}

#[cfg(unix)]
fn change_and_place(facts: &Metadata) -> (i128, u64) {
    use std::os::unix::fs::MetadataExt;
    (i128::from(facts.ctime()) * 1_000_000_000 + i128::from(facts.ctime_nsec()), facts.ino())
}

#[cfg(not(unix))]
fn change_and_place(_: &Metadata) -> (i128, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_the_file_and_settles_with_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"one").unwrap();
        let first = Stamp::of(&path.metadata().unwrap());
        assert_eq!(first, Stamp::of(&path.metadata().unwrap()));
        std::fs::write(&path, b"four").unwrap();
        let second = Stamp::of(&path.metadata().unwrap());
        assert_ne!(first, second);
        let now_ms = weighthouse::Clock::system().now_ms();
        assert!(!second.is_settled(now_ms));
        assert!(second.is_settled(now_ms + 5_000));
    }

    #[test]
    fn a_stamp_reads_back_as_it_was_written() {
        let stamp = Stamp { size_bytes: 3, modified_ns: -5, changed_ns: i128::from(i64::MAX) * 1_000, inode: u64::MAX };
        let text = serde_json::to_string(&stamp).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&text).unwrap(), stamp);
    }
}
