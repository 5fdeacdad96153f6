//! The job: which advisories concern a commit, or anything that is stored.

use std::collections::HashSet;

use weighthouse_store::catalog::advisories::EVERYTHING;
use weighthouse_store::catalog::{Job, MatchRecord, RepoKey, RepoRecord, jobs};
use weighthouse_store::digest::GitOid;
use weighthouse_trust::advisory::{self, Config, FileFact, Index, Subject};

use crate::browse::PathRecord;
use crate::revision::Revision;
use crate::{Error, Hub, names};

/// Longest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most configurations of a revision that are read.
const MAX_CONFIGS: usize = 200;
/// Most commits of one repository that are looked at when the advisories change, of each kind.
const MAX_COMMITS: u32 = 2_000;
/// Repositories that are looked up at once.
const PAGE: u32 = 500;

/// Formats by the endings of names, for what no reader has read.
const ENDINGS: &[(&str, &str)] = &[
    ("safetensors", "safetensors"),
    ("gguf", "gguf"),
    ("onnx", "onnx"),
    ("keras", "keras"),
    ("h5", "hdf5"),
    ("pkl", "pickle"),
    ("pickle", "pickle"),
    ("joblib", "joblib"),
    ("npy", "npy"),
    ("npz", "npz"),
    ("nemo", "nemo"),
    ("tflite", "tflite"),
    ("msgpack", "flax"),
    ("pt", "torch"),
    ("pth", "torch"),
    ("ckpt", "torch"),
    ("bin", "torch"),
];

impl Hub {
    /// Asks for a commit to be matched, when there is anything to match it with.
    pub(crate) async fn ask_advice(&self, read: &Job) -> Result<(), Error> {
        let Some((repo, _)) = read.subject.split_once(' ') else { return Ok(()) };
        if self.catalog().advisories().concern(&RepoKey::from(repo.to_owned())).await? {
            self.catalog().jobs().add(jobs::ADVISE, &read.subject, self.now_ms()).await?;
        }
        Ok(())
    }

    /// Does the work of a job: matches a commit, or everything. Once more is no harm.
    pub(crate) async fn carry_out_advice(&self, job: &Job) -> Result<(), Error> {
        if job.subject == EVERYTHING {
            return everything(self).await.map(drop);
        }
        let parts = job.subject.split_once(' ').and_then(|(repo, oid)| Some((repo, oid.parse::<GitOid>().ok()?)));
        let Some((repo, oid)) = parts else { return Ok(()) };
        let key = RepoKey::from(repo.to_owned());
        self.refresh_feeds(&key).await?;
        let Some(record) = self.catalog().repos().get(&key).await? else { return Ok(()) };
        commit(self, &*self.advice().await?, &record, oid).await
    }
}

/// Matches all advisories with every head of every repository, with every commit that one of them concerned before, and
/// with all commits of the repositories that have a file or a tensor that is named. Returns how many commits it looked at.
pub(super) async fn everything(hub: &Hub) -> Result<u64, Error> {
    let index = hub.advice().await?;
    let advisories = hub.catalog().advisories();
    let files: Vec<String> = index.file_digests().map(str::to_owned).collect();
    let tensors: Vec<String> = index.tensor_digests().map(str::to_owned).collect();
    let mut holders: HashSet<String> = HashSet::new();
    for key in
        advisories.repos_with_files(&files).await?.into_iter().chain(advisories.repos_with_tensors(&tensors).await?)
    {
        holders.insert(key.to_string());
    }
    let (mut after, mut looked) = (String::new(), 0);
    loop {
        let page = advisories.repos_after(&after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(looked) };
        after = last.to_string();
        for key in &page {
            let Some(record) = hub.catalog().repos().get(key).await? else { continue };
            let all = holders.contains(key.as_str()) || index.names_repo(&names::written(record.kind, &record.id));
            for oid in advisories.commits_of(key, all, MAX_COMMITS).await? {
                commit(hub, &index, &record, oid).await?;
                looked += 1;
            }
        }
    }
}

/// Matches one commit and records what was found.
async fn commit(hub: &Hub, index: &Index, record: &RepoRecord, oid: GitOid) -> Result<(), Error> {
    let Ok(revision) = hub.known_commit(&record.key, oid).await else { return Ok(()) };
    let found = match index.is_empty() {
        true => Vec::new(),
        false => matches(hub, index, record, &revision).await?,
    };
    Ok(hub.catalog().advisories().set_matches(&record.key, &oid, &found, hub.now_ms()).await?)
}

async fn matches(
    hub: &Hub,
    index: &Index,
    record: &RepoRecord,
    revision: &Revision,
) -> Result<Vec<MatchRecord>, Error> {
    let commit = revision.oid.to_string();
    let mut files = Vec::new();
    for entry in hub.list(revision, &commit, "", true).await? {
        if let PathRecord::File(file) = entry {
            files.push(file);
        }
    }
    let digests: Vec<String> = files.iter().map(|file| file.sha256.to_string()).collect();
    let facts: Vec<FileFact<'_>> = files
        .iter()
        .zip(&digests)
        .map(|(file, sha256)| FileFact { path: file.path.as_str(), sha256: sha256.as_str() })
        .collect();
    let mut configs: Vec<Config> = Vec::new();
    for file in files.iter().filter(|file| index.asks_about(&file.path)).take(MAX_CONFIGS) {
        let bytes = hub.read_small(file, MAX_CONFIG_BYTES).await?;
        configs.extend(bytes.and_then(|bytes| advisory::config(&file.path, &bytes)));
    }
    let hashes: Vec<String> = index.tensor_digests().map(str::to_owned).collect();
    let held: HashSet<&str> = digests.iter().map(String::as_str).collect();
    let mut tensors = Vec::new();
    for (source, seen, hash, name) in hub.catalog().advisories().named_tensors(&record.key, &hashes).await? {
        // A source is a file, or a digest over several that were seen together in that commit.
        if held.contains(source.to_string().as_str()) || seen == revision.oid {
            tensors.push((hash, name));
        }
    }
    let mut formats: Vec<String> = hub.kept_reading(revision).await?.map(|reading| reading.formats).unwrap_or_default();
    for file in &files {
        let ending = file.path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        if let Some((_, format)) = ENDINGS.iter().find(|(known, _)| *known == ending)
            && !formats.iter().any(|known| known == format)
        {
            formats.push((*format).to_owned());
        }
    }
    let name = names::written(record.kind, &record.id);
    let subject = Subject {
        repo: &name,
        commit: &commit,
        files: &facts,
        tensors: &tensors,
        formats: &formats,
        configs: &configs,
    };
    let mut out = Vec::new();
    for found in index.matches(&subject) {
        let evidence = serde_json::to_string(&found.evidence).map_err(|error| Error::Malformed(error.to_string()))?;
        out.push(MatchRecord {
            repo: record.key.clone(),
            commit: revision.oid,
            advisory: found.id,
            severity: found.severity.as_str().to_owned(),
            evidence,
            found_at_ms: 0,
        });
    }
    Ok(out)
}
