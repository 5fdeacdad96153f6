//! A file that is not all here yet, and the note beside it that says what is.
//!
//! The note is JSON: name of the content, size, ranges. It may be lost or wrong: before the file is used, all of its
//! bytes are hashed, those of earlier runs included.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::super::error::ClientError;
use super::plan::RemoteFile;
use super::ranges::RangeSet;
use weighthouse::atomic;

/// Time between two notes: what a killed process loses at most.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// Longest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    digest: String,
    size_bytes: u64,
    here: RangeSet,
}

/// A file being filled at several places at once.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) place: PathBuf,
    note_place: PathBuf,
    digest: String,
    size_bytes: u64,
    file: File,
    state: Mutex<State>,
    frontier: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    here: RangeSet,
    noted: Instant,
}

impl Partial {
    /// Opens what an earlier run left, or begins. Blocks the thread.
    pub(super) fn open(folder: &Path, name: &str, file: &RemoteFile) -> Result<Self, ClientError> {
        let place = folder.join(format!("{name}.part"));
        let note_place = folder.join(format!("{name}.json"));
        let digest = file.digest.to_string();
        let here = if is_plain_file(&place) { read_note(&note_place, &digest, file.size_bytes) } else { None };
        let failed = |error| ClientError::local("writing", &place, error);
        if here.is_none() {
            remove(&place).map_err(failed)?;
            remove(&note_place).map_err(failed)?;
        }
        let opened =
            File::options().read(true).write(true).create(true).truncate(false).open(&place).map_err(failed)?;
        opened.set_len(file.size_bytes).map_err(failed)?;
        let here = here.unwrap_or_default();
        let (frontier, _) = watch::channel(here.frontier());
        let state = Mutex::new(State { here, noted: Instant::now() });
        Ok(Self { place, note_place, digest, size_bytes: file.size_bytes, file: opened, state, frontier })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are here.
    pub(super) fn here_bytes(&self) -> u64 {
        self.state().here.len()
    }

    /// What is missing, in pieces of at most `most` bytes.
    pub(super) fn gaps(&self, most: u64) -> Vec<Range<u64>> {
        self.state().here.gaps(self.size_bytes, most)
    }

    /// Tells how many bytes from the beginning are here.
    pub(super) fn frontier(&self) -> watch::Receiver<u64> {
        self.frontier.subscribe()
    }

    /// Writes bytes at an offset, and notes it from time to time. Blocks the thread.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), ClientError> {
        write_at(&self.file, offset, bytes).map_err(|error| ClientError::local("writing", &self.place, error))?;
        let mut state = self.state();
        state.here.add(offset..offset.saturating_add(bytes.len() as u64));
        self.frontier.send_replace(state.here.frontier());
        if state.noted.elapsed() >= NOTE_EVERY {
            state.noted = Instant::now();
            let here = state.here.clone();
            drop(state);
            self.note(here);
        }
        Ok(())
    }

    /// Reads bytes that are here. Blocks the thread.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), ClientError> {
        read_at(&self.file, offset, into).map_err(|error| ClientError::local("reading", &self.place, error))
    }

    /// Writes down what is here; a note that cannot be written costs a later run some bytes, no more.
    fn note(&self, here: RangeSet) {
        let note = Note { digest: self.digest.clone(), size_bytes: self.size_bytes, here };
        let written = serde_json::to_vec(&note).map_err(io::Error::from);
        if let Err(error) = written.and_then(|json| atomic::write_note(&self.note_place, &json)) {
            tracing::debug!(%error, "a note about a partial file cannot be written");
        }
    }

    /// Stops for now: what is here is noted for the next run. Blocks the thread.
    pub(super) fn pause(&self) {
        let here = self.state().here.clone();
        self.note(here);
    }

    /// Throws away what is here. Blocks the thread.
    pub(super) fn discard(self) -> Result<(), ClientError> {
        let failed = |error| ClientError::local("removing", &self.place, error);
        remove(&self.note_place).map_err(failed)?;
        remove(&self.place).map_err(failed)
    }

    /// Moves the complete, verified file to its place, durably. Blocks the thread.
    pub(super) fn finish(self, to: &Path) -> Result<(), ClientError> {
        let failed = |error| ClientError::local("writing", to, error);
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.place, to).map_err(failed)?;
        let _ = remove(&self.note_place);
        Ok(())
    }
}

fn read_note(place: &Path, digest: &str, size_bytes: u64) -> Option<RangeSet> {
    let facts = fs::symlink_metadata(place).ok()?;
    if !facts.is_file() || facts.len() > MAX_NOTE_BYTES {
        return None;
    }
    let note: Note = serde_json::from_slice(&fs::read(place).ok()?).ok()?;
    let fits = note.digest == digest && note.size_bytes == size_bytes && note.here.is_sound(size_bytes);
    fits.then_some(note.here)
}

fn is_plain_file(place: &Path) -> bool {
    fs::symlink_metadata(place).is_ok_and(|facts| facts.is_file())
}

/// Removes a file or a link, if there is one.
fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            len => (offset, bytes) = (offset + len as u64, bytes.get(len..).unwrap_or_default()),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => (offset, into) = (offset + len as u64, into.get_mut(len..).unwrap_or_default()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weighthouse::Sha256;

    use super::super::plan::Digest;
    use super::*;

    fn remote(size_bytes: u64) -> RemoteFile {
        RemoteFile { path: "x".into(), size_bytes, digest: Digest::Sha256(Sha256::of(b"x")) }
    }

    #[test]
    fn a_paused_file_goes_on_and_a_strange_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let part = Partial::open(folder.path(), "x", &remote(100)).unwrap();
        part.write(10, &[1; 20]).unwrap();
        part.write(0, &[2; 5]).unwrap();
        assert_eq!((*part.frontier().borrow(), part.here_bytes()), (5, 25));
        part.pause();
        drop(part);
        let again = Partial::open(folder.path(), "x", &remote(100)).unwrap();
        assert_eq!(again.gaps(1000), [5..10, 30..100]);
        let mut read = [0; 5];
        again.read(10, &mut read).unwrap();
        assert_eq!(read, [1; 5]);
        drop(again);
        let other = Partial::open(folder.path(), "x", &remote(99)).unwrap();
        assert_eq!(other.gaps(1000), vec![0..99; 1]);
        let to = folder.path().join("done");
        other.finish(&to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 99);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_partial_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, b"keep me").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("x.part")).unwrap();
        let part = Partial::open(folder.path(), "x", &remote(3)).unwrap();
        part.write(0, b"new").unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"keep me");
    }

    proptest! {
        #[test]
        fn any_note_is_survived(note: Vec<u8>, ranges in proptest::collection::vec((0u64..200, 0u64..200), 0..5)) {
            let folder = tempfile::tempdir().unwrap();
            let file = remote(100);
            let forged = serde_json::to_vec(&serde_json::json!({
                "digest": file.digest.to_string(), "size_bytes": 100, "here": ranges,
            })).unwrap();
            for note in [note, forged] {
                fs::write(folder.path().join("x.part"), b"short").unwrap();
                fs::write(folder.path().join("x.json"), &note).unwrap();
                let part = Partial::open(folder.path(), "x", &file).unwrap();
                prop_assert!(part.gaps(7).iter().all(|gap| gap.start < gap.end && gap.end <= 100));
                prop_assert!(part.here_bytes() <= 100);
            }
        }
    }
}
