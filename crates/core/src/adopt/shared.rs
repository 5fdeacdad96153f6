//! Blobs that the repositories of one Hugging Face cache share, as `huggingface_hub` keeps them since version 2.
//!
//! ```text
//! CACHE/blobs/.huggingface-shared-blobs       "1"
//! CACHE/blobs/ab/ab…  (64 digits)             content, read-only
//! CACHE/blobs/ab/ab….refs                     links to it, a line each, below CACHE; a hint
//! CACHE/blobs/ab/ab….lock                     held while links to it are made
//! CACHE/models--ORG--NAME/blobs/<etag>        link to the content
//! ```
//! Content goes only under its lock, when it has a list of links and none of them is left: what has no list may have links
//! that nobody knows of, and stays, as the clients themselves leave it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::content::{below, resolve};

/// Name that marks the folder.
const MARKER: &str = ".huggingface-shared-blobs";
/// Longest list of links that is read, in bytes.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// The shared content that a link in the `blobs` of a repository leads to.
pub(super) fn target(repo: &Path, link: &Path) -> Option<PathBuf> {
    let store = repo.parent()?.join("blobs");
    let marked = fs::symlink_metadata(store.join(MARKER)).is_ok_and(|facts| facts.is_file());
    if !marked || link.parent()? != repo.join("blobs") {
        return None;
    }
    let place = resolve(link.parent()?, &fs::read_link(link).ok()?)?;
    let name = place.file_name()?.to_str()?;
    let hash = name.len() == 64 && name.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    let there = hash && place == store.join(name.get(..2)?).join(name);
    // A real place has no link on its way.
    (there && place.canonicalize().ok()? == place).then_some(place)
}

/// Removes shared content if no link to it is left; says whether it did.
pub(super) fn remove(place: &Path) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("it cannot be removed: {error}");
    let cache = place.ancestors().nth(3).ok_or("it is no shared content")?;
    let beside = |ending: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (lock, list) = (beside(".lock"), beside(".refs"));
    if fs::symlink_metadata(&lock).is_ok_and(|facts| !facts.is_file()) {
        return Err("its lock is no file".to_owned());
    }
    let lock = File::options().write(true).create(true).truncate(false).open(&lock).map_err(failed)?;
    lock.try_lock().map_err(|_| "another program is using it".to_owned())?;
    let known = fs::symlink_metadata(&list).is_ok_and(|facts| facts.is_file() && facts.len() <= MAX_LIST_BYTES);
    let Some(lines) = known.then(|| fs::read_to_string(&list).ok()).flatten() else { return Ok(false) };
    let used = lines.lines().map(|line| cache.join(line)).any(|link| {
        let leads = fs::read_link(&link).ok().and_then(|target| resolve(link.parent()?, &target));
        below(cache, &link).is_some() && leads.as_deref() == Some(place)
    });
    if used {
        return Ok(false);
    }
    fs::remove_file(place).map_err(failed)?;
    let _ = fs::remove_file(&list);
    Ok(true)
}
