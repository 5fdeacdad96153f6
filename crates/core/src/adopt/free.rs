//! Removing what a hub has, read back and compared.
//!
//! The record is durable before the first file goes. A file goes only when its bytes, read once more, have the digest that
//! came back from the hub, and when nothing happened to it since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::content::{Content, Taken};
use super::digest;
use super::problem::Problems;
use super::record::{Freed, FreedFile, FreedLink, Record, Whereabouts, quoted};
use super::shared;
use super::stamp::Stamp;
use crate::{Error, Sha256, atomic};

/// A file of a repository that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Path in the repository.
    pub stored: String,
    /// Commit that has it.
    pub commit: String,
    /// Digest of the bytes that came back.
    pub sha256: Sha256,
}

/// What was freed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Files that were removed.
    pub files: u64,
    /// Links that were removed.
    pub links: u64,
    /// Bytes of files of which no further name is left.
    pub freed_bytes: u64,
    /// What stayed, and why.
    pub problems: Problems,
}

/// Where a model went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Repository, with `datasets/` in front for a dataset.
    pub repo: String,
    /// Which hub.
    pub hub: Whereabouts,
}

/// Removes the files of a model that are proven to be on a hub, but for those whose path is in `keep`. Blocks the thread.
///
/// - `proofs`: by path below the folder of the model
///
/// # Errors
/// When the record cannot be read or written; nothing is removed then.
pub fn free(
    content: &Content,
    proofs: &BTreeMap<String, Proof>,
    keep: &BTreeSet<String>,
    to: &Destination,
    now_ms: i64,
    progress: &dyn Fn(u64),
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let mut going: Vec<(&Taken, FreedFile, Stamp)> = Vec::new();
    for file in content.places() {
        let Some(proof) = proofs.get(&file.path).filter(|_| !keep.contains(&file.path)) else { continue };
        match ready(file, proof, progress) {
            Ok((freed, stamp)) => going.push((file, freed, stamp)),
            Err(message) => outcome.problems.add(&file.place, message),
        }
    }
    let gone: BTreeSet<PathBuf> = going.iter().map(|(file, _, _)| content.folder.join(&file.path)).collect();
    let leads = |link: &(String, String)| {
        let at = content.folder.join(&link.0);
        super::content::resolve(at.parent()?, Path::new(&link.1))
    };
    let links: Vec<&(String, String)> =
        content.links.iter().filter(|link| leads(link).is_some_and(|target| gone.contains(&target))).collect();
    if going.is_empty() {
        return Ok(outcome);
    }
    let mut record = Record::read(&content.folder)?;
    let name = to.repo.rsplit('/').next().unwrap_or("model");
    record.add(Freed {
        repo: to.repo.clone(),
        hub: to.hub.clone(),
        layout: content.model.layout,
        freed_at_ms: now_ms,
        pull: format!("wh pull {} {}", quoted(&to.repo), quoted(name)),
        files: going.iter().map(|(_, freed, _)| freed.clone()).collect(),
        links: links.iter().map(|(path, target)| FreedLink { path: path.clone(), target: target.clone() }).collect(),
    });
    record.restore = to.hub.command(&content.folder);
    record.write(&content.folder)?;
    let mut folders = BTreeSet::new();
    for (path, target) in links {
        let place = content.folder.join(path);
        match fs::read_link(&place) {
            Ok(found) if found == Path::new(target) => match fs::remove_file(&place) {
                Ok(()) => outcome.links += 1,
                Err(error) => outcome.problems.add(&place, format!("it cannot be removed: {error}")),
            },
            _ => outcome.problems.add(&place, "it changed meanwhile"),
        }
        folders.extend(place.parent().map(Path::to_owned));
    }
    for (file, freed, stamp) in going {
        match fs::symlink_metadata(&file.place) {
            Ok(facts) if file.shared && facts.is_file() && Stamp::of(&facts) == stamp => {
                let link = content.folder.join(&file.path);
                let removed = fs::remove_file(&link).map_err(|error| format!("it cannot be removed: {error}"));
                match removed.and_then(|()| shared::remove(&file.place)) {
                    Ok(gone) => {
                        outcome.files += 1;
                        outcome.freed_bytes += if gone && facts.nlink() == 1 { freed.size_bytes } else { 0 };
                    }
                    Err(message) => outcome.problems.add(&file.place, message),
                }
                folders.extend(link.parent().map(Path::to_owned));
                folders.extend(file.place.parent().map(Path::to_owned));
            }
            Ok(facts) if facts.is_file() && Stamp::of(&facts) == stamp => {
                if let Err(error) = fs::remove_file(&file.place) {
                    outcome.problems.add(&file.place, format!("it cannot be removed: {error}"));
                    continue;
                }
                outcome.files += 1;
                outcome.freed_bytes += if facts.nlink() == 1 { freed.size_bytes } else { 0 };
                folders.extend(file.place.parent().map(Path::to_owned));
            }
            _ => outcome.problems.add(&file.place, "it changed meanwhile, and stays"),
        }
    }
    for folder in folders {
        let _ = atomic::sync_folder(&folder);
    }
    Ok(outcome)
}

/// Reads a file once more and compares; gives the stamp that it must still have when it goes.
fn ready(file: &Taken, proof: &Proof, progress: &dyn Fn(u64)) -> Result<(FreedFile, Stamp), String> {
    let opened = digest::open(&file.place, &file.stamp)?;
    let facts = opened.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    let stamp = Stamp::of(&facts);
    let found = digest::sha256(&file.place, &stamp, progress)?;
    still(&opened, &stamp)?;
    if found != proof.sha256 {
        return Err("its bytes are not those that came back from the hub, and stay".to_owned());
    }
    let freed = FreedFile {
        path: file.path.clone(),
        stored: proof.stored.clone(),
        commit: proof.commit.clone(),
        sha256: proof.sha256.to_string(),
        size_bytes: stamp.size_bytes,
        mode: facts.mode() & 0o777,
        modified_ns: stamp.modified_ns,
    };
    Ok((freed, stamp))
}

fn still(file: &File, stamp: &Stamp) -> Result<(), String> {
    let facts = file.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    if Stamp::of(&facts) == *stamp { Ok(()) } else { Err("it changed while it was looked at".to_owned()) }
}
