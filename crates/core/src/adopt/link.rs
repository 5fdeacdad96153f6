//! One copy of the bytes for identical files, in place.
//!
//! For each path: the new file is made under a temporary name beside it, compared byte by byte with what it is to replace,
//! given its mode, owner and times, and renamed over it. Whenever this stops, by an error or by a kill, the path is the old
//! file or the new one, and both have the same bytes.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::digest::{self, Progress};
use super::problem::Problems;
use super::stamp::Stamp;
use super::{Copy, Duplicate, TEMPORARY};
use crate::atomic;

/// Bytes that are compared at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How files share their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Two files over the same blocks, told apart by the file system as soon as one is written to.
    Reflink,
    /// Two names of one file: whoever writes through one name changes both.
    HardLink,
}

/// A step of a replacement, told before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Making the new file under a temporary name.
    Make,
    /// Comparing its bytes.
    Compare,
    /// Giving it mode, owner and times, durably.
    Dress,
    /// Looking whether the old file is still what was compared.
    Check,
    /// Renaming it over the old file.
    Rename,
    /// Making the new name durable.
    Settle,
}

/// Is told each step before it is taken, and may fail in its place.
pub type Watch<'a> = &'a mut dyn FnMut(Step) -> io::Result<()>;

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Linked {
    /// Files that were replaced; names of one file count once.
    pub files: u64,
    /// Bytes that this freed, once nothing has the old files open.
    pub freed_bytes: u64,
    /// Files that stayed as they were, and why.
    pub problems: Problems,
    /// Whether the file system has no reflinks.
    pub unsupported: bool,
}

/// Replaces copies by links to the first of their group. Blocks the thread.
///
/// Nothing of the report is believed: files are compared again, byte by byte.
pub fn link(duplicates: &[Duplicate], way: Way, progress: Progress<'_>) -> Linked {
    link_watched(duplicates, way, progress, &mut |_| Ok(()))
}

/// The same, and `watch` is told each step.
pub fn link_watched(duplicates: &[Duplicate], way: Way, progress: Progress<'_>, watch: Watch<'_>) -> Linked {
    let mut done = Linked::default();
    let total = duplicates.iter().map(|group| group.link_bytes).sum();
    for group in duplicates {
        let Some((kept, copies)) = group.copies.split_first() else { continue };
        for copy in copies {
            if !copy.linkable {
                let why = if copy.names_outside {
                    "it has further names outside of the folders, so that a link would free nothing"
                } else {
                    "it lies on another file system than its first copy"
                };
                copy.paths.first().into_iter().for_each(|path| done.problems.add(path, why));
                continue;
            }
            match all_names(kept, copy, way, &|bytes| progress(bytes, total), watch) {
                Ok(()) => {
                    done.files += 1;
                    done.freed_bytes += group.size_bytes;
                }
                Err(failure) => {
                    done.unsupported |= failure.unsupported;
                    done.problems.add(&failure.path, failure.message);
                    if failure.unsupported {
                        return done;
                    }
                }
            }
        }
    }
    done
}

/// Removes temporary names that runs left behind whose process is gone. Each is a second name of bytes that are at their
/// place, or an unfinished copy of bytes that are.
pub fn sweep(leftovers: &[PathBuf]) {
    for path in leftovers {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(TEMPORARY));
        let process = name.and_then(|name| Some(name.split_once('-')?.0.parse::<u32>().ok()?.to_string()));
        // Where processes cannot be looked up, nothing is taken for gone.
        let processes = Path::new("/proc");
        let known = processes.join("self").exists();
        if process.is_some_and(|process| known && !processes.join(process).exists()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Why a path stayed as it was.
struct Failure {
    path: PathBuf,
    message: String,
    unsupported: bool,
}

fn all_names(kept: &Copy, copy: &Copy, way: Way, progress: &dyn Fn(u64), watch: Watch<'_>) -> Result<(), Failure> {
    let mut source = (kept.paths.first().cloned().unwrap_or_default(), kept.stamp, way);
    for path in &copy.paths {
        let fail = |(message, unsupported)| Failure { path: path.clone(), message, unsupported };
        let made = replace(&source.0, &source.1, path, &copy.stamp, source.2, progress, watch).map_err(fail)?;
        // Names of one file stay names of one file.
        source = (path.clone(), made, Way::HardLink);
    }
    Ok(())
}

type Refusal = (String, bool);

fn refused(what: &str, error: &io::Error) -> Refusal {
    (format!("{what}: {error}"), false)
}

/// Replaces `path` by a link to `source`, which has the same bytes. Gives the stamp of what is there now.
fn replace(
    source: &Path,
    source_stamp: &Stamp,
    path: &Path,
    stamp: &Stamp,
    way: Way,
    progress: &dyn Fn(u64),
    watch: Watch<'_>,
) -> Result<Stamp, Refusal> {
    let plain = |message: String| (message, false);
    let not_link = |at: &Path| fs::symlink_metadata(at).is_ok_and(|facts| facts.is_file());
    if !not_link(source) || !not_link(path) {
        return Err(plain("it changed while it was looked at".to_owned()));
    }
    let original = digest::open(source, source_stamp).map_err(plain)?;
    let old = digest::open(path, stamp).map_err(plain)?;
    let facts = old.metadata().map_err(|error| refused("it cannot be looked at", &error))?;
    let same_owner = original
        .metadata()
        .is_ok_and(|other| (other.mode(), other.uid(), other.gid()) == (facts.mode(), facts.uid(), facts.gid()));
    if way == Way::HardLink && !same_owner {
        return Err(plain("it has another owner or mode than its copy, and a hard link has only one".to_owned()));
    }
    let temporary = temporary_beside(path);
    let made = (|| {
        watch(Step::Make).map_err(|error| refused("making a link", &error))?;
        make(source, &temporary, way)?;
        watch(Step::Compare).map_err(|error| refused("comparing", &error))?;
        let new = File::open(&temporary).map_err(|error| refused("opening the new file", &error))?;
        if !same_bytes(&new, &old, stamp.size_bytes, progress).map_err(|error| refused("comparing", &error))? {
            return Err(plain("it no longer has the same bytes as its copy".to_owned()));
        }
        watch(Step::Dress).map_err(|error| refused("setting mode and times", &error))?;
        if way == Way::Reflink {
            dress(&new, &facts).map_err(|error| refused("setting mode, owner and times", &error))?;
        }
        watch(Step::Check).map_err(|error| refused("looking again", &error))?;
        digest::unchanged(&original, source_stamp).map_err(plain)?;
        still(path, &old, &Stamp::of(&facts)).map_err(plain)?;
        watch(Step::Rename).map_err(|error| refused("renaming", &error))?;
        fs::rename(&temporary, path).map_err(|error| refused("renaming", &error))?;
        let facts = new.metadata().map_err(|error| refused("it cannot be looked at", &error))?;
        Ok(Stamp::of(&facts))
    })();
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    let made = made?;
    watch(Step::Settle).map_err(|error| refused("making the new name durable", &error))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    atomic::sync_folder(folder).map_err(|error| refused("making the new name durable", &error))?;
    Ok(made)
}

fn make(source: &Path, temporary: &Path, way: Way) -> Result<(), Refusal> {
    match way {
        Way::HardLink => fs::hard_link(source, temporary).map_err(|error| refused("making a hard link", &error)),
        Way::Reflink => reflink_copy::reflink(source, temporary).map_err(|error| {
            let known = matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput);
            // EOPNOTSUPP, ENOTTY, EXDEV: what file systems answer that have no such thing.
            let unsupported = known || matches!(error.raw_os_error(), Some(95 | 25 | 18));
            (format!("making a reflink: {error}"), unsupported)
        }),
    }
}

/// Compares two open files of `len` bytes from their beginning.
fn same_bytes(mut one: &File, mut other: &File, len: u64, progress: &dyn Fn(u64)) -> io::Result<bool> {
    if one.metadata()?.len() != len || other.metadata()?.len() != len {
        return Ok(false);
    }
    let (mut first, mut second) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut left = len;
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let (first, second) = (first.get_mut(..step).unwrap_or_default(), second.get_mut(..step).unwrap_or_default());
        one.read_exact(first)?;
        other.read_exact(second)?;
        if first != second {
            return Ok(false);
        }
        progress(step as u64);
        left -= step as u64;
    }
    Ok(true)
}

/// Gives a new file the mode, owner and times of the old one.
fn dress(new: &File, old: &fs::Metadata) -> io::Result<()> {
    let facts = new.metadata()?;
    if (facts.uid(), facts.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::fchown(new, Some(old.uid()), Some(old.gid()))?;
    }
    new.set_permissions(old.permissions())?;
    new.set_times(FileTimes::new().set_modified(old.modified()?).set_accessed(old.accessed()?))?;
    new.sync_all()
}

/// Fails unless the path is still the open file, and nothing at all happened to that since `before`.
fn still(path: &Path, open: &File, before: &Stamp) -> Result<(), String> {
    let failed = |error| format!("it cannot be looked at: {error}");
    let (open, there) = (open.metadata().map_err(failed)?, fs::symlink_metadata(path).map_err(failed)?);
    if there.is_file() && Stamp::of(&open) == *before && Stamp::of(&there) == *before {
        return Ok(());
    }
    Err("it changed while it was looked at".to_owned())
}

/// A name beside `path` that nothing else uses, short enough for every file system.
pub(super) fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!("{TEMPORARY}{}-{count}", std::process::id()))
}
