//! Bringing back what was freed: the same bytes, modes, times and links, at the same paths.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use sha2::Digest;
use weighthouse_format::Folder;

use super::problem::Problems;
use super::record::{Freed, FreedFile, FreedLink};
use super::stamp::Stamp;
use super::{digest, link};
use crate::{Error, Sha256, atomic};

/// Bytes that are fetched at once.
const BAND_BYTES: u64 = 8 << 20;

/// What was brought back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Restored {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Files that were there already, with the same bytes.
    pub unchanged: u64,
    /// Links that were made.
    pub links: u64,
    /// What could not be brought back, and why.
    pub problems: Problems,
}

/// Brings a model back. What is at a path with other bytes stays and is a problem. Blocks the thread.
///
/// - `commit`: the files of a commit of its repository
/// - `progress`: is told the bytes as they come
///
/// # Errors
/// When a commit cannot be opened. What came until then is in place.
pub fn restore<F: Folder>(
    folder: &Path,
    freed: &Freed,
    commit: &mut dyn FnMut(&str) -> Result<F, Error>,
    progress: &dyn Fn(u64),
) -> Result<Restored, Error> {
    let mut done = Restored::default();
    let mut open: Option<(&str, F)> = None;
    let mut files: Vec<&FreedFile> = freed.files.iter().collect();
    files.sort_by(|a, b| a.commit.cmp(&b.commit));
    for file in files {
        if open.as_ref().is_none_or(|(name, _)| *name != file.commit) {
            open = Some((&file.commit, commit(&file.commit)?));
        }
        let Some((_, stored)) = &open else { continue };
        match one_file(folder, file, stored, progress) {
            Ok(true) => {
                done.files += 1;
                done.size_bytes += file.size_bytes;
            }
            Ok(false) => done.unchanged += 1,
            Err(message) => done.problems.add(&folder.join(&file.path), message),
        }
    }
    for wanted in &freed.links {
        match one_link(folder, wanted) {
            Ok(true) => done.links += 1,
            Ok(false) => {}
            Err(message) => done.problems.add(&folder.join(&wanted.path), message),
        }
    }
    Ok(done)
}

/// Writes a file unless it is there.
fn one_file(folder: &Path, file: &FreedFile, stored: &dyn Folder, progress: &dyn Fn(u64)) -> Result<bool, String> {
    let wanted: Sha256 = file.sha256.parse().map_err(|_| "the record has no digest of it")?;
    let place = prepare(folder, &file.path)?;
    if fs::symlink_metadata(&place).is_ok() {
        // A link to the very bytes is as good: what a cache shares comes back by its clients, too.
        let facts = fs::metadata(&place).ok().filter(|facts| facts.is_file() && facts.len() == file.size_bytes);
        let same = match facts {
            Some(facts) => digest::sha256(&place, &Stamp::of(&facts), progress)? == wanted,
            None => false,
        };
        return if same { Ok(false) } else { Err("something else is there: move it away".to_owned()) };
    }
    let temporary = link::temporary_beside(&place);
    let made = fetch(file, &wanted, stored, &temporary, progress).and_then(|()| {
        // A hard link never replaces what somebody else has put there meanwhile.
        fs::hard_link(&temporary, &place)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                _ => fs::rename(&temporary, &place),
            })
            .map_err(|error| format!("putting it in place: {error}"))
    });
    let _ = fs::remove_file(&temporary);
    made?;
    let parent = place.parent().unwrap_or(folder);
    atomic::sync_folder(parent).map_err(|error| format!("making its name durable: {error}"))?;
    Ok(true)
}

fn fetch(
    file: &FreedFile,
    wanted: &Sha256,
    stored: &dyn Folder,
    temporary: &Path,
    progress: &dyn Fn(u64),
) -> Result<(), String> {
    let failed = |error: io::Error| format!("writing it: {error}");
    let section = stored.open(&file.stored).map_err(|error| format!("the hub does not have it: {error}"))?;
    if section.len() != file.size_bytes {
        return Err(format!("the hub has {} bytes of it, and {} were freed", section.len(), file.size_bytes));
    }
    let mut out = File::options().write(true).create_new(true).open(temporary).map_err(failed)?;
    let mut hasher = sha2::Sha256::new();
    let mut at = 0;
    while at < file.size_bytes {
        let len = BAND_BYTES.min(file.size_bytes - at);
        let band = section.read("a file", at, len).map_err(|error| format!("the hub does not send it: {error}"))?;
        hasher.update(&band);
        out.write_all(&band).map_err(failed)?;
        progress(len);
        at += len;
    }
    if Sha256(hasher.finalize().into()) != *wanted {
        return Err("what the hub sent has another digest".to_owned());
    }
    out.set_permissions(Permissions::from_mode(file.mode & 0o777)).map_err(failed)?;
    let distance = Duration::from_nanos(file.modified_ns.unsigned_abs());
    let modified =
        if file.modified_ns < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    if let Some(modified) = modified {
        out.set_times(FileTimes::new().set_modified(modified)).map_err(failed)?;
    }
    out.sync_all().map_err(failed)
}

/// Makes a link unless it is there.
fn one_link(folder: &Path, wanted: &FreedLink) -> Result<bool, String> {
    let place = prepare(folder, &wanted.path)?;
    match fs::read_link(&place) {
        Ok(found) if found == Path::new(&wanted.target) => return Ok(false),
        Ok(_) => return Err("another link is there: move it away".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err("something else is there: move it away".to_owned()),
    }
    std::os::unix::fs::symlink(&wanted.target, &place).map_err(|error| format!("making the link: {error}"))?;
    Ok(true)
}

/// Makes the folders above a checked path, and gives its place. No link is passed through.
fn prepare(folder: &Path, path: &str) -> Result<PathBuf, String> {
    let mut at = folder.to_owned();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        if parts.peek().is_none() {
            break;
        }
        match fs::symlink_metadata(&at) {
            Ok(facts) if facts.is_dir() => {}
            Ok(_) => return Err(format!("`{}` is no folder: move it away", at.display())),
            Err(_) => fs::create_dir(&at).map_err(|error| format!("making the folder `{}`: {error}", at.display()))?,
        }
    }
    Ok(at)
}
