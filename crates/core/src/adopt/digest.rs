//! SHA-256 of files, several at a time, each read once with a small buffer.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest;

use super::stamp::Stamp;
use crate::Sha256;

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Most files that are read at a time; a disk gives no more, and each has a block of memory.
const MAX_THREADS: usize = 8;

/// A progress report: bytes done, bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Runs `work` for every number below `count`, several at a time, and gives the results in order.
pub(super) fn side_by_side<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).clamp(2, MAX_THREADS).min(count);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = work(number);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Opens a file that must still be the one that was seen.
pub(super) fn open(path: &Path, stamp: &Stamp) -> Result<File, String> {
    let file = File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    unchanged(&file, stamp)?;
    Ok(file)
}

/// Fails when an open file is not as it was seen. Links that were made to it since do not count.
pub(super) fn unchanged(file: &File, stamp: &Stamp) -> Result<(), String> {
    let facts = file.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    if Stamp::of(&facts).same_bytes(stamp) { Ok(()) } else { Err("it changed while it was looked at".to_owned()) }
}

/// SHA-256 of a file that must not change meanwhile. `progress` is told the bytes as they are read.
///
/// # Errors
/// Sentence fragment that says why it cannot be read.
pub fn sha256(path: &Path, stamp: &Stamp, progress: &dyn Fn(u64)) -> Result<Sha256, String> {
    let mut file = open(path, stamp)?;
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(stamp.size_bytes).unwrap_or(BLOCK_BYTES).max(1))];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(len) => {
                hasher.update(block.get(..len).unwrap_or_default());
                progress(len as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
    }
    unchanged(&file, stamp)?;
    Ok(Sha256(hasher.finalize().into()))
}
