//! A model from a disk to a private repository, and back.
//!
//! What was sent is read back as a whole before anything is said of it: the proof that [`weighthouse::adopt::free`] asks for
//! is the digest of bytes that came from the hub, not of bytes that went there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Method;
use sha2::Digest as _;
use weighthouse::adopt::content::{Content, Taken};
use weighthouse::adopt::free::Proof;
use weighthouse::format::Folder as _;
use weighthouse::{Sha256, adopt};

use super::api::Api;
use super::error::ClientError;
use super::meter::{Meter, Phase};
use super::push::{PushOptions, push_files};
use super::remote_folder::RemoteFolder;
use super::repos::NewRepo;
use super::target::{RepoRef, segment};
use crate::wire::hf::refs::CommitInfo;

/// Bytes that are read back at once.
const BAND_BYTES: u64 = 4 << 20;
/// Beginning of the message of every commit that is made here.
const TITLE: &str = "Adopt ";
/// First commit of a repository of which nothing else is known.
const FIRST: &str = "initial commit";

/// What came of a model.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Adopted {
    /// Commit by branch.
    pub commits: BTreeMap<String, String>,
    /// What was read back, by path below the folder of the model.
    pub proofs: BTreeMap<String, Proof>,
    /// Files that were sent or found there.
    pub files: u64,
    /// Bytes that were sent or found there.
    pub bytes: u64,
    /// Bytes that went over the wire.
    pub wire_bytes: u64,
    /// What could not be taken.
    pub problems: adopt::Problems,
}

/// Sends a model to a private repository, which is made if it does not exist, and reads all of it back.
///
/// - `notes`: folder for notes that let a later call go on where this one broke off
///
/// # Errors
/// Any [`ClientError`]; [`ClientError::InTheWay`] when the repository exists and something else was committed to it.
pub async fn take(
    api: &Api,
    content: &Content,
    repo: &RepoRef,
    notes: Option<PathBuf>,
    meter: &Meter,
) -> Result<Adopted, ClientError> {
    ours(api, repo).await?;
    let mut done = Adopted { problems: content.problems.clone(), ..Adopted::default() };
    for revision in &content.revisions {
        let mut options = PushOptions::default();
        options.revision.clone_from(&revision.branch);
        options.title = format!("{TITLE}{} from a disk", content.model.name);
        options.cache.clone_from(&notes);
        let files = revision.files.iter().map(|file| (file.stored.clone(), file.place.clone())).collect();
        let pushed = push_files(api, files, repo, &options, meter).await?;
        done.wire_bytes = pushed.wire_bytes;
        let commit = match pushed.commit {
            Some(commit) => commit,
            None => api.resolve(repo, &revision.branch).await?.to_string(),
        };
        let found = read_back(api, repo, &commit, &revision.files, meter).await?;
        for (file, found) in revision.files.iter().zip(found) {
            match found {
                Ok(sha256) => {
                    done.files += 1;
                    done.bytes += file.stamp.size_bytes;
                    let proof = Proof { stored: file.stored.clone(), commit: commit.clone(), sha256 };
                    done.proofs.entry(file.path.clone()).or_insert(proof);
                }
                Err(message) => done.problems.add(&file.place, message),
            }
        }
        done.commits.insert(revision.branch.clone(), commit);
    }
    Ok(done)
}

/// Makes the repository, or fails when it is there and not made here.
async fn ours(api: &Api, repo: &RepoRef) -> Result<(), ClientError> {
    let new = NewRepo { private: true, exist_ok: false, ..NewRepo::new(repo.clone()) };
    match api.create_repo(&new).await {
        Ok(_) => return Ok(()),
        Err(error) if error.status() == Some(409) => {}
        Err(error) => return Err(error),
    }
    let path = format!("{}/commits/{}?limit=1", repo.api(), segment("main"));
    let history: Vec<CommitInfo> = api.json("reading the history", || api.request(Method::GET, &path)).await?;
    let last = history.first().map(|commit| commit.title.as_str()).unwrap_or(FIRST);
    if last.starts_with(TITLE) || last == FIRST {
        return Ok(());
    }
    Err(ClientError::InTheWay(format!(
        "`{repo}` exists, and somebody has committed to it (`{}`)",
        super::error::shown(last)
    )))
}

/// Reads files of a commit and compares them with those here: for each the digest of what came back, or why it is no proof.
async fn read_back(
    api: &Api,
    repo: &RepoRef,
    commit: &str,
    files: &[Taken],
    meter: &Meter,
) -> Result<Vec<Result<Sha256, String>>, ClientError> {
    meter.begin(Phase::Checking, files.len() as u64, files.iter().map(|file| file.stamp.size_bytes).sum());
    let folder = RemoteFolder::open(api, repo, commit).await?;
    let (files, meter) = (files.to_vec(), meter.clone());
    let work = tokio::task::spawn_blocking(move || {
        files
            .iter()
            .map(|file| {
                let found = one(&folder, file, &meter);
                meter.add_file();
                found
            })
            .collect()
    });
    work.await.map_err(|error| ClientError::task(&error))
}

fn one(folder: &RemoteFolder, file: &Taken, meter: &Meter) -> Result<Sha256, String> {
    if !folder.has(&file.stored) {
        return Err("the hub left it out (`.gitignore`?)".to_owned());
    }
    let here = adopt::sha256(&file.place, &file.stamp, &|_| {})?;
    let section = folder.open(&file.stored).map_err(|error| format!("it cannot be read back: {error}"))?;
    let mut hasher = sha2::Sha256::new();
    let mut at = 0;
    while at < section.len() {
        let len = BAND_BYTES.min(section.len() - at);
        let band = section.read("a file", at, len).map_err(|error| format!("it cannot be read back: {error}"))?;
        hasher.update(&band);
        meter.add_bytes(len);
        at += len;
    }
    let there = Sha256(hasher.finalize().into());
    if there == here { Ok(there) } else { Err(format!("the hub has other bytes ({there}) than are here ({here})")) }
}
