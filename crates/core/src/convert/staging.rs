//! A destination that appears complete or not at all, and a conversion that goes on where it was stopped.
//!
//! Everything is written into a folder beside the destination, `.NAME.wh-partial`:
//!
//! ```text
//!   out/       the files, under their final names
//!   journal    JSON lines: the plan; how far which file is; which files are complete
//!   lock       held by the process that writes
//! ```
//! A note in the journal is a promise only about bytes that were written before it: whoever goes on reads them again and
//! compares their digest, so that neither a killed process nor a machine that lost power can leave wrong bytes. At the end
//! the files are made durable and the folder, or the one file in it, is renamed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest;
use weighthouse_format::output::{OutputFile, OutputTensor};

use super::Plan;
use super::stream::{Given, Sums, stream};
use crate::{Error, Sha256, atomic};
use weighthouse_format::Folder;

/// Bytes between two notes of how far a file is.
const NOTE_BYTES: u64 = 128 << 20;
/// End of the name of a folder that holds an unfinished conversion.
pub(crate) const PARTIAL: &str = ".wh-partial";

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Path below the destination; the name of the file if the destination is one.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content, in hexadecimal.
    pub sha256: String,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// What is being written: a digest of sources, options and layout.
    Plan(String),
    /// File `file` holds its first `parts` parts; `sha256` is that of these bytes.
    Reached { file: usize, parts: usize, sha256: String },
    /// File `file` is complete.
    Complete { file: usize, written: Written },
}

/// An unfinished destination.
pub(super) struct Staging {
    folder: PathBuf,
    journal: File,
    /// Kept open: the lock ends with it.
    _lock: File,
    /// What earlier runs have done.
    complete: Vec<Option<Written>>,
    reached: Option<(usize, usize, String)>,
}

impl Staging {
    /// Opens the folder beside `destination`, and takes up what an earlier run of the same plan left there.
    pub(super) fn open(destination: &Path, plan: &str, files: usize) -> Result<Self, Error> {
        let folder = place(destination)?;
        fs::create_dir_all(folder.join("out")).map_err(|error| Error::local("creating", &folder, error))?;
        let lock_place = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&lock_place);
        let lock = lock.map_err(|error| Error::local("creating", &lock_place, error))?;
        if lock.try_lock().is_err() {
            let what = format!("another process writes to `{}` right now", destination.display());
            return Err(Error::Exists { what });
        }
        let journal_place = folder.join("journal");
        let (complete, reached) = match read_journal(&journal_place, plan, files) {
            Some(found) => found,
            None => {
                // Another plan, or none: nothing of it can be used.
                let out = folder.join("out");
                let cleared = fs::remove_dir_all(&out).and_then(|()| fs::create_dir(&out));
                cleared.map_err(|error| Error::local("clearing", &out, error))?;
                let line = line(&Line::Plan(plan.to_owned()));
                fs::write(&journal_place, line).map_err(|error| Error::local("writing", &journal_place, error))?;
                (vec![None; files], None)
            }
        };
        let journal = File::options().append(true).open(&journal_place);
        let journal = journal.map_err(|error| Error::local("opening", &journal_place, error))?;
        Ok(Self { folder, journal, _lock: lock, complete, reached })
    }

    /// Writes a file, or what is missing of it. `progress` is told every number of bytes that is there.
    pub(super) fn write(
        &mut self,
        number: usize,
        folder: &dyn Folder,
        plan: &Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Written, Error> {
        let tensors = plan.tensors.as_slice();
        let none = || Error::Malformed("a plan without the file that is to be written".to_owned());
        let file = plan.files.get(number).ok_or_else(none)?;
        let place = self.folder.join("out").join(&file.path);
        let size_bytes = file.size_bytes(tensors);
        if let Some(written) = self.complete.get(number).cloned().flatten()
            && fs::metadata(&place).is_ok_and(|data| data.len() == size_bytes)
            && digest_of(&place, size_bytes, progress)?.to_string() == written.sha256
        {
            return Ok(written);
        }
        let parent = place.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(|error| Error::local("creating", parent, error))?;
        let writing = |error| Error::local("writing", &place, error);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&place);
        let mut target = open.map_err(writing)?;
        let mut sums = Sums::of_file(file);
        let mut hasher = sha2::Sha256::new();
        let (first, begin) = match self.reached.take().filter(|(file, _, _)| *file == number) {
            Some((_, parts, sha256)) => {
                self.take_up(&mut target, tensors, file, parts, &sha256, &mut sums, &mut hasher).map_err(writing)?
            }
            None => (0, 0),
        };
        if first == 0 {
            (sums, hasher) = (Sums::of_file(file), sha2::Sha256::new());
        }
        target.set_len(begin).map_err(writing)?;
        target.seek(io::SeekFrom::Start(begin)).map_err(writing)?;
        progress(begin);
        let (mut at, mut noted) = (begin, begin);
        let mut flusher = Flusher::new(&target).map_err(writing)?;
        stream(folder, plan, file, first, &mut sums, &mut |given| {
            match given {
                Given::Bytes(bytes) => {
                    target.write_all(bytes).map_err(writing)?;
                    hasher.update(bytes);
                    at += bytes.len() as u64;
                    progress(bytes.len() as u64);
                    flusher.wrote(bytes.len() as u64);
                }
                Given::EndOfPart(part) if at - noted >= NOTE_BYTES => {
                    noted = at;
                    let sha256 = hex::encode(hasher.clone().finalize());
                    note(&mut self.journal, &Line::Reached { file: number, parts: part + 1, sha256 })
                        .map_err(writing)?;
                }
                Given::EndOfPart(_) => {}
            }
            Ok(())
        })?;
        flusher.finish();
        target.sync_all().map_err(writing)?;
        let sha256 = hex::encode(hasher.finalize());
        let written = Written { path: file.path.clone(), size_bytes: at, sha256 };
        note(&mut self.journal, &Line::Complete { file: number, written: written.clone() }).map_err(writing)?;
        Ok(written)
    }

    /// Reads the first `parts` parts of a file again. Returns the first part that is missing, and where it begins.
    #[expect(clippy::too_many_arguments, reason = "one call, of one function that was cut in two")]
    fn take_up(
        &self,
        target: &mut File,
        tensors: &[OutputTensor],
        file: &OutputFile,
        parts: usize,
        sha256: &str,
        sums: &mut Sums,
        hasher: &mut sha2::Sha256,
    ) -> io::Result<(usize, u64)> {
        let done = file.parts.get(..parts).unwrap_or_default();
        let sizes: Vec<u64> = done.iter().map(|part| part.size_bytes(tensors)).collect();
        let total = sizes.iter().fold(0u64, |sum, &size| sum.saturating_add(size));
        if target.metadata()?.len() < total {
            return Ok((0, 0));
        }
        for size in sizes {
            let mut sum = sums.start();
            read_through(target, size, &mut |bytes| {
                sum.update(bytes);
                hasher.update(bytes);
            })?;
            sums.push(sum);
        }
        Ok(if hex::encode(hasher.clone().finalize()) == sha256 { (parts, total) } else { (0, 0) })
    }

    /// Adds a small file.
    pub(super) fn add(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let place = self.folder.join("out").join(path);
        atomic::write(&place, content).map_err(|error| Error::local("writing", &place, error))
    }

    /// Gives the files their final place: all of them as the folder `destination`, which is not there or is empty.
    pub(super) fn publish_folder(self, destination: &Path) -> Result<(), Error> {
        let out = self.folder.join("out");
        let naming = |error| Error::local("renaming to", destination, error);
        sync_below(&out).map_err(naming)?;
        match fs::remove_dir(destination) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(naming(error)),
            _ => fs::rename(&out, destination).map_err(naming)?,
        }
        self.close(destination).map_err(naming)
    }

    /// Gives the files their final places beside each other: the first ones, then the last one, `destination` itself.
    pub(super) fn publish_files(self, destination: &Path, files: &[&str]) -> Result<(), Error> {
        let naming = |error| Error::local("renaming to", destination, error);
        let parent = parent_of(destination);
        for file in files {
            fs::rename(self.folder.join("out").join(file), parent.join(file)).map_err(naming)?;
        }
        self.close(destination).map_err(naming)
    }

    fn close(self, destination: &Path) -> io::Result<()> {
        atomic::sync_folder(&parent_of(destination))?;
        // What is left can mislead nobody, and the next conversion clears it.
        let _ = fs::remove_dir_all(&self.folder);
        Ok(())
    }
}

/// Folder of an unfinished conversion to `destination`.
pub(super) fn place(destination: &Path) -> Result<PathBuf, Error> {
    let name = destination.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::Malformed(format!("`{}` is no name of a file", destination.display())))?;
    Ok(parent_of(destination).join(format!(".{name}{PARTIAL}")))
}

pub(super) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

type Journal = (Vec<Option<Written>>, Option<(usize, usize, String)>);

/// What the journal says of this plan; `None` when it is about another one, or is not there.
fn read_journal(place: &Path, plan: &str, files: usize) -> Option<Journal> {
    let text = fs::read_to_string(place).ok()?;
    // A line that was cut off by the end of a process says nothing, and neither does what follows it.
    let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
    match lines.next()? {
        Line::Plan(found) if found == plan => {}
        _ => return None,
    }
    let mut complete = vec![None; files];
    let mut reached = None;
    for line in lines {
        match line {
            Line::Plan(_) => return None,
            Line::Reached { file, parts, sha256 } => reached = Some((file, parts, sha256)),
            Line::Complete { file, written } => *complete.get_mut(file)? = Some(written),
        }
    }
    Some((complete, reached))
}

fn line(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

fn note(journal: &mut File, what: &Line) -> io::Result<()> {
    journal.write_all(&line(what))
}

/// SHA-256 of a file of a known length; `progress` is told every number of bytes that was read.
pub(super) fn digest_of(place: &Path, size_bytes: u64, progress: &mut dyn FnMut(u64)) -> Result<Sha256, Error> {
    let mut read = || {
        let mut file = File::open(place)?;
        let mut hasher = sha2::Sha256::new();
        read_through(&mut file, size_bytes, &mut |bytes| {
            hasher.update(bytes);
            progress(bytes.len() as u64);
        })?;
        Ok(Sha256(hasher.finalize().into()))
    };
    read().map_err(|error| Error::local("reading", place, error))
}

fn read_through(file: &mut File, len: u64, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        let step = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..step).unwrap_or_default();
        file.read_exact(part)?;
        each(part);
        left -= step as u64;
    }
    Ok(())
}

/// Makes the names of all folders below a folder durable.
fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        }
    }
    atomic::sync_folder(folder)
}

/// Bytes between two calls that make written bytes durable.
const FLUSH_BYTES: u64 = 64 << 20;

/// Has what was written made durable while more is written, so that the end need not wait for all of it.
struct Flusher {
    wake: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    since: u64,
}

impl Flusher {
    fn new(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (wake, woken) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            while woken.recv().is_ok() {
                // A failure shows again at the end, where it is heard.
                let _ = file.sync_data();
            }
        });
        Ok(Self { wake: Some(wake), thread: Some(thread), since: 0 })
    }

    fn wrote(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= FLUSH_BYTES {
            self.since = 0;
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }

    fn finish(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.finish();
    }
}
