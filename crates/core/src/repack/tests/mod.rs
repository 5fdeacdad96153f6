//! Real files of every container through the whole way: commit, read, plan, code, read back.

mod bases;
mod hostile;
mod material;
mod orders;
mod sent;

use std::collections::BTreeMap;
use std::ops::Range;

use futures::TryStreamExt;
use weighthouse_format::Dtype;
use weighthouse_store::blob::{ENCODER, RecodeSource, TensorRun};
use weighthouse_store::catalog::Makeup;
use weighthouse_store::digest::Sha256;

use super::RepackPolicy;
use super::known::xorbs;
use super::plan::{Plan, Planner};
use crate::access::{Caller, Repo};
use crate::account::NewAccount;
use crate::repos::NewRepo;
use crate::revision::{MAIN, Revision};
use crate::tests::{self, Files};
use crate::{Hub, HubOptions, RepoKind, Role};

struct Ground {
    hub: Hub,
    callers: BTreeMap<&'static str, Caller>,
    folder: tempfile::TempDir,
}

async fn open(folder: &tempfile::TempDir, policy: RepackPolicy) -> Hub {
    let change = |options: &mut HubOptions| (options.repack, options.repack_share) = (policy, 1.0);
    tests::hub_with(folder, change).await
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = open(&folder, RepackPolicy::Full).await;
    let mut callers = BTreeMap::new();
    for name in ["ada", "eve"] {
        callers.insert(name, tests::user(&hub, name).await);
    }
    Ground { hub, callers, folder }
}

impl Ground {
    async fn repo(&self, who: &str, id: &str, private: bool) -> Repo {
        let new = NewRepo { private, ..tests::new_repo(RepoKind::Model, id) };
        self.hub.create_repo(&self.callers[who], new).await.unwrap()
    }

    async fn commit(&self, who: &str, repo: &Repo, files: Files<'_>) -> Revision {
        tests::commit(&self.hub, &self.callers[who], repo, MAIN, files).await.unwrap()
    }

    /// A repository with these files, read and not yet coded.
    async fn model(&self, id: &str, files: Files<'_>) -> (Repo, Revision) {
        let who = id.split('/').next().unwrap();
        let repo = self.repo(who, id, false).await;
        let revision = self.commit(who, &repo, files).await;
        self.hub.work_off().await.unwrap();
        (repo, revision)
    }

    async fn repack(&self) {
        while self.hub.repack_once().await.unwrap() {}
        let status = self.hub.repack_status().await.unwrap();
        assert!(status.is_idle() && status.failed == 0 && status.troubles.is_empty(), "{status:?}");
    }

    async fn plan(&self, repo: &Repo, revision: &Revision, policy: RepackPolicy) -> Plan {
        let record = self.hub.repo_by_key(&self.callers["ada"], &repo.record.key).await;
        let record = match record {
            Ok(found) => found.record,
            Err(_) => repo.record.clone(),
        };
        Planner::new(&self.hub, (&record, revision), policy, ENCODER, &[]).plan(None, false).await.unwrap()
    }

    /// Every file of a revision is what was committed, whole and in parts.
    async fn check(&self, revision: &Revision, files: Files<'_>) {
        for (path, data) in files {
            let file = self.hub.file(revision, "main", path).await.unwrap();
            for range in [0..data.len(), data.len() / 3..data.len() / 2, data.len().saturating_sub(5)..data.len()] {
                let stream = self.hub.read(&file, range.start as u64..range.end as u64).await.unwrap();
                let pieces: Vec<_> = stream.try_collect().await.unwrap();
                assert!(pieces.concat() == data[range.clone()], "{path} {range:?} came back changed");
            }
        }
    }

    /// What the xorbs of a content are made of.
    async fn makeup(&self, data: &[u8]) -> Vec<Makeup> {
        let content = self.hub.content(&Sha256::of(data)).await.unwrap();
        let mut found = Vec::new();
        for xorb in xorbs(&content) {
            found.extend(self.hub.catalog().recodes().makeup(&xorb).await.unwrap());
        }
        found
    }

    /// Bytes of a content that are coded against another.
    async fn leaning(&self, data: &[u8], base: &[u8]) -> u64 {
        let base = Sha256::of(base);
        self.makeup(data).await.iter().filter(|part| part.base == Some(base)).map(|part| part.raw_bytes).sum()
    }

    /// Bytes that xorbs take.
    async fn stored(&self) -> u64 {
        self.hub.repack_status().await.unwrap().stored_bytes
    }
}

/// What is planned of a file.
fn planned<'a>(plan: &'a Plan, data: &[u8]) -> &'a RecodeSource {
    let sha256 = Sha256::of(data);
    plan.batches.iter().flatten().find(|source| source.content.record.sha256 == sha256).expect("it is planned")
}

fn bytes_of<'a>(runs: impl IntoIterator<Item = &'a TensorRun>) -> u64 {
    runs.into_iter().map(|run| run.range.end - run.range.start).sum()
}

/// Runs that lean on a content.
fn on<'a>(source: &'a RecodeSource, base: &[u8]) -> Vec<&'a TensorRun> {
    let base = Sha256::of(base);
    source.runs.iter().filter(|run| run.base.is_some_and(|found| found.sha256 == base)).collect()
}

/// Numbers of a run of `F32` or `BF16`.
fn numbers(data: &[u8], range: Range<u64>, dtype: Dtype) -> Vec<f32> {
    let bytes = &data[range.start as usize..range.end as usize];
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|word| half(u16::from_le_bytes(*word))).collect(),
        _ => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|word| f32::from_bits(u32::from(u16::from_le_bytes(*word)) << 16))
            .collect(),
    }
}

fn half(bits: u16) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    let size = if exponent == 0 { mantissa * 2f32.powi(-24) } else { (1024.0 + mantissa) * 2f32.powi(exponent - 25) };
    if bits >> 15 == 1 { -size } else { size }
}

/// The elements beside each run are about those of the run.
fn assert_beside(source: &RecodeSource, data: &[u8], base: &[u8]) {
    let runs = on(source, base);
    assert!(!runs.is_empty(), "nothing leans on it");
    for run in runs {
        let found = run.base.unwrap();
        let here = numbers(data, run.range.clone(), run.dtype);
        let len = here.len() as u64 * found.dtype.block_bytes();
        let there = numbers(base, found.offset..found.offset + len, found.dtype);
        let far = here.iter().zip(&there).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(far < 0.01, "{:?} is {far} away from what lies beside it", run.range);
    }
}
