//! Nothing that is reachable is ever removed, and everything else is after two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use proptest::prelude::*;
use weighthouse_format::xet::hash::XetHash;

use super::*;
use crate::blob::Ingest;
use crate::catalog::{
    Account, AccountKind, BlobRecord, Catalog, NewCommit, NewVerdict, RepoKey, RepoKind, RepoRecord, VerdictRecord,
    fresh_id,
};
use crate::digest::GitOid;
use crate::repo::commit::{Commit, Signature};
use crate::repo::edit::TreeEdit;
use crate::repo::object::{ObjectKind, lfs_pointer, object_id};
use crate::{Blobs, Clock};

const HOUR_MS: i64 = 3_600_000;

/// A store whose clock stands until it is moved.
pub(crate) struct Bench {
    pub(crate) store: Store,
    now: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::over(Blobs::memory()).await
    }

    pub(crate) async fn over(blobs: Blobs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await.unwrap();
        let now = Arc::new(AtomicI64::new(1_000 * HOUR_MS));
        let clock = Clock::from_fn({
            let now = Arc::clone(&now);
            move || now.load(Ordering::Relaxed)
        });
        Self { store: Store::new(catalog, blobs, clock), now, _folder: folder }
    }

    fn wait(&self, hours: i64) {
        self.now.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
    }

    pub(crate) async fn repo(&self, id: &str) -> RepoKey {
        let owner = Account {
            id: fresh_id().unwrap(),
            kind: AccountKind::User,
            name: id.replace('/', "-"),
            fullname: String::new(),
            email: None,
            admin: false,
            created_at_ms: 1,
        };
        self.store.catalog().accounts().add(&owner, None).await.unwrap();
        let record = RepoRecord {
            key: RepoKey::from(fresh_id().unwrap()),
            kind: RepoKind::Model,
            id: id.to_owned(),
            owner: owner.id,
            private: false,
            created_at_ms: 1,
            updated_at_ms: 1,
            downloads: 0,
            facts: "{}".to_owned(),
        };
        self.store.catalog().repos().add(&record, None).await.unwrap();
        record.key
    }

    /// Commits files, each a large one of `size` bytes that `seed` decides, on top of what the branch has.
    pub(crate) async fn commit(&self, repo: &RepoKey, branch: &str, files: &[(&str, u64)]) -> GitOid {
        let catalog = self.store.catalog();
        let mut ingest = Ingest::new(&self.store);
        let mut blobs = Vec::new();
        for (_, seed) in files {
            ingest.push(bytes_of(*seed).into()).await.unwrap();
            let file = ingest.end_file().await.unwrap();
            let pointer = lfs_pointer(&file.sha256, file.size_bytes);
            let oid = object_id(ObjectKind::Blob, pointer.as_bytes());
            blobs.push(BlobRecord { oid, sha256: file.sha256, size_bytes: file.size_bytes, lfs: true });
        }
        ingest.finish(repo, "account").await.unwrap();
        let ref_name = format!("refs/heads/{branch}");
        let old = catalog.refs().read(repo, &ref_name).await.unwrap();
        let base = match old {
            Some(oid) => Some(catalog.commits().get(repo, &oid).await.unwrap().unwrap().tree),
            None => None,
        };
        let mut edit = TreeEdit::new(base);
        for ((path, _), blob) in files.iter().zip(&blobs) {
            edit.put(catalog, path, blob.oid).await.unwrap();
        }
        let (tree, trees) = edit.finish();
        let commit = Commit {
            tree,
            parents: old.into_iter().collect(),
            author: Signature { name: "a".into(), email: "a@b".into(), time_s: self.store.clock().now_ms() / 1_000 },
            message: fresh_id().unwrap(),
        };
        let data = commit.encode();
        let oid = object_id(ObjectKind::Commit, &data);
        let new = NewCommit {
            waiting: Vec::new(),
            repo: repo.clone(),
            ref_name,
            old,
            oid,
            data,
            trees,
            blobs,
            fingerprint: oid.to_string(),
            now_ms: self.store.clock().now_ms(),
        };
        catalog.commits().add(&new).await.unwrap();
        oid
    }

    async fn collect(&self, execute: bool) -> GcReport {
        let options = GcOptions { execute, grace_ms: 24 * HOUR_MS, unused_ms: 720 * HOUR_MS };
        self.store.collect(&options).await.unwrap().unwrap()
    }

    /// Contents that refs lead to, every one of which must read back whole.
    pub(crate) async fn check(&self) -> BTreeSet<Sha256> {
        let catalog = self.store.catalog();
        let mut contents = BTreeSet::new();
        for name in catalog.garbage().repos("").await.unwrap() {
            for at in catalog.refs().list(&name.key).await.unwrap() {
                let mut next = Some(at.target);
                while let Some(oid) = next {
                    let commit =
                        catalog.commits().get(&name.key, &oid).await.unwrap().expect("a commit that is reachable");
                    let mut open = vec![commit.tree];
                    while let Some(oid) = open.pop() {
                        let (_, tree) = catalog.garbage().trees(&[oid]).await.unwrap().remove(0);
                        for entry in tree.entries() {
                            match entry.kind {
                                crate::repo::tree::EntryKind::Folder => open.push(entry.oid),
                                crate::repo::tree::EntryKind::File => {
                                    let blob = catalog.contents().blobs(&[entry.oid]).await.unwrap().remove(0);
                                    contents.insert(blob.sha256);
                                }
                            }
                        }
                    }
                    next = commit.parents.first().copied();
                }
            }
        }
        for sha256 in &contents {
            let content = catalog.contents().get(sha256).await.unwrap().expect("a content that is reachable");
            let bytes = self.read(&content).await.unwrap();
            assert_eq!(Sha256::of(&bytes), *sha256);
        }
        contents
    }

    async fn read(&self, content: &crate::catalog::Content) -> Result<Vec<u8>, StoreError> {
        let pieces: Vec<bytes::Bytes> = self.store.read(content, 0..content.record.size_bytes).try_collect().await?;
        Ok(pieces.concat())
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.store.catalog().count(table).await
    }

    /// A base on a branch of its own, what is coded as a difference to it on `main`, and the xorb of that.
    async fn tune(&self, repo: &RepoKey) -> (Sha256, Sha256, XetHash) {
        self.commit(repo, "base", &[("a.bin", 1)]).await;
        self.commit(repo, "main", &[("b.bin", 100)]).await;
        let (base, tuned) = (Sha256::of(&bytes_of(1)), Sha256::of(&bytes_of(100)));
        let xorb = self.store.catalog().contents().get(&tuned).await.unwrap().unwrap().terms[0].xorb;
        self.store.catalog().set_makeup(&xorb, "delta", &base).await;
        (base, tuned, xorb)
    }
}

/// Bytes that `seed` decides. Neighbouring seeds share their first half.
pub(crate) fn bytes_of(seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(300_000);
    for (part, seed) in [(0, seed / 2), (1, seed)] {
        let mut state = seed.wrapping_mul(2).wrapping_add(part).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..18_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend_from_slice(&state.to_le_bytes());
        }
    }
    out
}

#[tokio::test]
async fn a_plan_changes_nothing_and_says_what_a_run_then_does() {
    let bench = Bench::new().await;
    let (lab, other) = (bench.repo("lab/model").await, bench.repo("lab/other").await);
    bench.commit(&lab, "main", &[("a.bin", 1)]).await;
    bench.commit(&lab, "side", &[("b.bin", 100)]).await;
    bench.commit(&other, "main", &[("c.bin", 200)]).await;
    bench.store.catalog().refs().delete(&lab, "refs/heads/side").await.unwrap();
    bench.store.catalog().repos().delete(&other, None).await.unwrap();
    bench.wait(25);

    let plan = bench.collect(false).await;
    assert_eq!(bench.collect(false).await, plan, "a plan changes nothing");
    assert_eq!((plan.freed_bytes(), plan.removed), (0, Rows::default()));
    let said: Vec<_> = plan.condemned.iter().map(|share| (share.repo.as_deref(), share.cause, share.xorbs)).collect();
    assert_eq!(said, [(None, Cause::RepositoryDeleted, 1), (Some("lab/model"), Cause::NotNamed, 1)]);
    let kept: Vec<_> = plan.kept.iter().map(|kept| (kept.need, kept.xorbs)).collect();
    assert_eq!(kept, [(Need::Commit, 1), (Need::Waiting, 2)]);
    assert!(plan.kept[0].example.contains("of lab/model"), "{}", plan.kept[0].example);

    let first = bench.collect(true).await;
    assert_eq!(GcReport { executed: false, ..first.clone() }, plan, "the run does what the plan said");
    assert_eq!(bench.count("packs").await, 3, "nothing goes within the grace");
    bench.wait(23);
    assert_eq!(bench.collect(true).await.freed_bytes(), 0);
    bench.wait(2);
    let plan = bench.collect(false).await;
    let second = bench.collect(true).await;
    assert_eq!(
        (plan.freed.clone(), plan.removed, plan.packs.0),
        (second.freed.clone(), second.removed, second.packs.0)
    );
    assert_eq!(second.packs.0, 2);
    assert_eq!(bench.count("packs").await, 1);
    for table in ["contents", "xorbs", "blobs", "trees", "commits", "repo_contents", "xorb_holders"] {
        assert_eq!(bench.count(table).await, 1, "{table}");
    }
    assert_eq!(bench.count("condemned_history").await, 0);
    assert_eq!(bench.check().await.len(), 1);
}

#[tokio::test]
async fn what_is_named_again_within_the_grace_stays() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    bench.commit(&lab, "main", &[("a.bin", 1)]).await;
    let gone = bench.commit(&lab, "side", &[("b.bin", 100)]).await;
    bench.store.catalog().refs().delete(&lab, "refs/heads/side").await.unwrap();
    bench.wait(25);
    bench.collect(true).await;
    let sha256 = Sha256::of(&bytes_of(100));
    assert!(bench.store.catalog().packs().with_chunks(&first_chunks(&bench, &sha256).await).await.unwrap().is_empty());
    // A branch at the condemned commit, and the same bytes sent to another repository.
    bench.store.catalog().refs().swing(&lab, "refs/heads/back", None, gone).await.unwrap();
    let other = bench.repo("lab/other").await;
    bench.commit(&other, "main", &[("copy.bin", 100)]).await;
    bench.store.catalog().refs().delete(&lab, "refs/heads/back").await.unwrap();
    bench.wait(25);
    let report = bench.collect(true).await;
    assert_eq!(report.removed, Rows::default(), "its condemnation was taken back");
    bench.wait(25);
    let report = bench.collect(true).await;
    assert_eq!((report.removed.commits, report.removed.xorbs), (1, 0));
    assert!(bench.check().await.contains(&sha256));
}

#[tokio::test]
async fn what_is_gone_cannot_be_named() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    bench.commit(&lab, "main", &[("a.bin", 1)]).await;
    let gone = bench.commit(&lab, "side", &[("b.bin", 100)]).await;
    let content = bench.store.catalog().contents().get(&Sha256::of(&bytes_of(100))).await.unwrap().unwrap();
    bench.store.catalog().refs().delete(&lab, "refs/heads/side").await.unwrap();
    for _ in 0..2 {
        bench.wait(25);
        bench.collect(true).await;
    }
    let catalog = bench.store.catalog();
    let swung = catalog.refs().swing(&lab, "refs/heads/back", None, gone).await;
    assert!(matches!(swung, Err(StoreError::Gone { .. })), "{swung:?}");
    let given = catalog.contents().give(&lab, &content.record.sha256, 1).await;
    assert!(matches!(given, Err(StoreError::Gone { .. })), "{given:?}");
    let xorbs: Vec<_> = content.terms.iter().map(|term| term.xorb).collect();
    let held = catalog.packs().hold(&xorbs, &lab, "account").await;
    assert!(matches!(held, Err(StoreError::Gone { .. })), "{held:?}");
    let added = catalog.contents().add(&lab, &[content], 1).await;
    assert!(matches!(added, Err(StoreError::Gone { .. })), "{added:?}");
    assert!(bench.store.place(&xorbs[0]).await.unwrap().is_none(), "its place is not remembered");
}

#[tokio::test]
async fn a_base_that_only_dependants_need_stays_and_is_reported() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    let (base, tuned, xorb) = bench.tune(&lab).await;
    bench.store.catalog().refs().delete(&lab, "refs/heads/base").await.unwrap();
    for _ in 0..3 {
        bench.wait(25);
        let report = bench.collect(true).await;
        assert_eq!(report.removed.contents + report.removed.xorbs, 0);
        let [lone] = report.bases.as_slice() else { panic!("{:?}", report.bases) };
        assert_eq!((lone.sha256, lone.size_bytes, lone.dependants), (base, 288_000, 1));
        assert!(lone.stored_bytes > 280_000);
    }
    // The stand-in for coding the dependants anew.
    bench.store.catalog().clear_makeup(&xorb).await;
    for _ in 0..2 {
        bench.wait(25);
        bench.collect(true).await;
    }
    assert!(bench.store.catalog().contents().get(&base).await.unwrap().is_none());
    assert_eq!(bench.check().await, BTreeSet::from([tuned]));
}

#[tokio::test]
async fn a_base_and_its_dependants_go_together() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    bench.tune(&lab).await;
    bench.store.catalog().repos().delete(&lab, None).await.unwrap();
    for _ in 0..2 {
        bench.wait(25);
        bench.collect(true).await;
    }
    for table in ["contents", "xorbs", "packs", "trees", "blobs", "xorb_makeup", "dedup_chunks", "xorb_holders"] {
        assert_eq!(bench.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_missing_tree_stops_the_collection() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    bench.commit(&lab, "main", &[("folder/a.bin", 1)]).await;
    bench.commit(&lab, "side", &[("b.bin", 100)]).await;
    bench.store.catalog().refs().delete(&lab, "refs/heads/side").await.unwrap();
    bench.store.catalog().run_sql("DELETE FROM trees").await;
    bench.wait(25);
    let options = GcOptions { execute: true, grace_ms: 0, unused_ms: 0 };
    for _ in 0..2 {
        let failed = bench.store.collect(&options).await;
        assert!(matches!(&failed, Err(StoreError::Corrupt { what, .. }) if what.starts_with("tree ")), "{failed:?}");
    }
    assert_eq!(bench.count("xorbs").await, 2);
}

#[tokio::test]
async fn one_process_collects_at_a_time() {
    let bench = Bench::new().await;
    let now_ms = bench.store.clock().now_ms();
    let lease = bench.store.catalog().leases().take(LEASE, now_ms, now_ms + 1_000).await.unwrap();
    assert!(lease.is_some());
    let options = GcOptions { execute: true, grace_ms: 0, unused_ms: 0 };
    assert!(bench.store.collect(&options).await.unwrap().is_none());
    bench.wait(1);
    assert!(bench.store.collect(&options).await.unwrap().is_some(), "the other one died");
}

#[tokio::test]
async fn uploads_and_collections_run_beside_each_other() {
    let bench = Bench::new().await;
    let keys = [bench.repo("lab/one").await, bench.repo("lab/two").await, bench.repo("lab/three").await];
    let options = GcOptions { execute: true, grace_ms: 0, unused_ms: 0 };
    let collector = async {
        for _ in 0..40 {
            bench.store.collect(&options).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let writer = async |key: RepoKey| {
        for round in 0..6u64 {
            // The same bytes come and go in all repositories.
            let files: Vec<(String, u64)> = (0..3).map(|i| (format!("f{i}.bin"), (round + i) % 4 * 2)).collect();
            let files: Vec<(&str, u64)> = files.iter().map(|(path, seed)| (path.as_str(), *seed)).collect();
            bench.retry(&key, &files).await;
            if round % 2 == 0 {
                bench.store.catalog().refs().delete(&key, "refs/heads/main").await.unwrap();
            }
        }
    };
    let [one, two, three] = keys;
    tokio::join!(collector, writer(one), writer(two), writer(three));
    assert!(!bench.check().await.is_empty());
    for _ in 0..2 {
        bench.wait(1);
        bench.store.collect(&options).await.unwrap();
    }
    let left = bench.check().await;
    assert_eq!(bench.count("contents").await, left.len() as i64);
}

impl Bench {
    /// Commits as a client does: what fails because something was removed meanwhile is sent again.
    async fn retry(&self, repo: &RepoKey, files: &[(&str, u64)]) {
        for _ in 0..50 {
            let mut ingest = Ingest::new(&self.store);
            let mut ok = true;
            for (_, seed) in files {
                ingest.push(bytes_of(*seed).into()).await.unwrap();
                ingest.end_file().await.unwrap();
            }
            match ingest.finish(repo, "account").await {
                Ok(_) => {}
                Err(StoreError::Gone { .. }) => ok = false,
                Err(error) => panic!("{error}"),
            }
            if ok && self.try_commit(repo, files).await {
                return;
            }
        }
        panic!("a client never got through");
    }

    async fn try_commit(&self, repo: &RepoKey, files: &[(&str, u64)]) -> bool {
        let catalog = self.store.catalog();
        let blobs: Vec<BlobRecord> = files
            .iter()
            .map(|(_, seed)| {
                let bytes = bytes_of(*seed);
                let (sha256, size_bytes) = (Sha256::of(&bytes), bytes.len() as u64);
                let oid = object_id(ObjectKind::Blob, lfs_pointer(&sha256, size_bytes).as_bytes());
                BlobRecord { oid, sha256, size_bytes, lfs: true }
            })
            .collect();
        let mut edit = TreeEdit::new(None);
        for ((path, _), blob) in files.iter().zip(&blobs) {
            edit.put(catalog, path, blob.oid).await.unwrap();
        }
        let (tree, trees) = edit.finish();
        let old = catalog.refs().read(repo, "refs/heads/main").await.unwrap();
        let commit = Commit {
            tree,
            parents: old.into_iter().collect(),
            author: Signature { name: "a".into(), email: "a@b".into(), time_s: 1 },
            message: fresh_id().unwrap(),
        };
        let data = commit.encode();
        let oid = object_id(ObjectKind::Commit, &data);
        let new = NewCommit {
            waiting: Vec::new(),
            repo: repo.clone(),
            ref_name: "refs/heads/main".to_owned(),
            old,
            oid,
            data,
            trees,
            blobs,
            fingerprint: oid.to_string(),
            now_ms: self.store.clock().now_ms(),
        };
        match catalog.commits().add(&new).await {
            Ok(()) => true,
            Err(StoreError::Gone { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn first_chunks(bench: &Bench, sha256: &Sha256) -> Vec<weighthouse_format::xet::hash::XetHash> {
    let content = bench.store.catalog().contents().get(sha256).await.unwrap().unwrap();
    let place = bench.store.place(&content.terms[0].xorb).await.unwrap().unwrap();
    place.listing.chunks.iter().map(|chunk| chunk.hash).collect()
}

/// What happens to a small hub.
#[derive(Clone, Debug)]
enum Event {
    Commit { repo: usize, branch: usize, files: Vec<(u8, u8)> },
    DeleteBranch { repo: usize, branch: usize },
    DeleteRepo { repo: usize },
    Branch { repo: usize, from: usize, to: usize },
    Wait(u8),
    Collect,
}

fn event() -> impl Strategy<Value = Event> {
    let (repo, branch) = (0usize..3, 0usize..3);
    prop_oneof![
        5 => (repo.clone(), branch.clone(), proptest::collection::vec((0u8..4, 0u8..6), 1..3))
            .prop_map(|(repo, branch, files)| Event::Commit { repo, branch, files }),
        3 => (repo.clone(), branch.clone()).prop_map(|(repo, branch)| Event::DeleteBranch { repo, branch }),
        1 => repo.clone().prop_map(|repo| Event::DeleteRepo { repo }),
        2 => (repo, branch.clone(), branch).prop_map(|(repo, from, to)| Event::Branch { repo, from, to }),
        3 => (1u8..30).prop_map(Event::Wait),
        3 => Just(Event::Collect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn nothing_reachable_is_removed_and_everything_else_is(events in proptest::collection::vec(event(), 5..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let mut repos: BTreeMap<usize, RepoKey> = BTreeMap::new();
            let mut made = 0;
            for event in events {
                match event {
                    Event::Commit { repo, branch, files } => {
                        if let std::collections::btree_map::Entry::Vacant(slot) = repos.entry(repo) {
                            made += 1;
                            slot.insert(bench.repo(&format!("lab/r{made}")).await);
                        }
                        let files: Vec<(String, u64)> = files
                            .into_iter()
                            .map(|(path, seed)| (format!("d{}/f{path}.bin", path % 2), u64::from(seed)))
                            .collect();
                        let files: Vec<(&str, u64)> = files.iter().map(|(path, seed)| (path.as_str(), *seed)).collect();
                        bench.commit(&repos[&repo], &branch.to_string(), &files).await;
                    }
                    Event::DeleteBranch { repo, branch } => if let Some(key) = repos.get(&repo) {
                        bench.store.catalog().refs().delete(key, &format!("refs/heads/{branch}")).await.unwrap();
                    },
                    Event::DeleteRepo { repo } => if let Some(key) = repos.remove(&repo) {
                        bench.store.catalog().repos().delete(&key, None).await.unwrap();
                    },
                    Event::Branch { repo, from, to } => if let Some(key) = repos.get(&repo) {
                        let refs = bench.store.catalog().refs();
                        let from = refs.read(key, &format!("refs/heads/{from}")).await.unwrap();
                        let to = format!("refs/heads/{to}");
                        if let Some(from) = from {
                            let old = refs.read(key, &to).await.unwrap();
                            refs.swing(key, &to, old, from).await.unwrap();
                        }
                    },
                    Event::Wait(hours) => bench.wait(i64::from(hours)),
                    Event::Collect => {
                        bench.collect(true).await;
                        bench.check().await;
                    }
                }
            }
            for _ in 0..2 {
                bench.wait(25);
                bench.collect(true).await;
            }
            let left = bench.check().await;
            assert_eq!(bench.count("contents").await, left.len() as i64);
            let mut xorbs = BTreeSet::new();
            for sha256 in &left {
                let content = bench.store.catalog().contents().get(sha256).await.unwrap().unwrap();
                xorbs.extend(content.terms.iter().map(|term| term.xorb));
            }
            assert_eq!(bench.count("xorbs").await, xorbs.len() as i64);
            let packs: BTreeSet<String> =
                bench.store.blobs().list("packs").await.unwrap().into_iter().map(|(key, _)| key).collect();
            assert_eq!(bench.count("packs").await, packs.len() as i64);
            assert_eq!(bench.count("condemned_history").await, 0);
        });
    }
}

/// A memory store whose deletions fail after a number of them.
mod stubborn {
    use std::fmt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use futures::StreamExt;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::*;

    #[derive(Debug)]
    pub struct Stubborn {
        pub inner: Arc<InMemory>,
        pub left: Arc<AtomicI64>,
    }

    impl fmt::Display for Stubborn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("stubborn")
        }
    }

    #[async_trait]
    impl ObjectStore for Stubborn {
        async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
            self.inner.put_opts(location, payload, opts).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            opts: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(location, opts).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            let (inner, left) = (Arc::clone(&self.inner), Arc::clone(&self.left));
            locations
                .then(move |location| {
                    let (inner, left) = (Arc::clone(&inner), Arc::clone(&left));
                    async move {
                        let location = location?;
                        if left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                            return Err(Error::Generic { store: "stubborn", source: "no".into() });
                        }
                        inner.delete(&location).await?;
                        Ok(location)
                    }
                })
                .boxed()
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }
}

#[tokio::test]
async fn a_deletion_that_fails_is_done_by_the_next_run() {
    for allowed in 0..3 {
        let left = Arc::new(AtomicI64::new(1_000));
        let objects = Arc::new(object_store::memory::InMemory::new());
        let disk = stubborn::Stubborn { inner: Arc::clone(&objects), left: Arc::clone(&left) };
        let bench = Bench::over(Blobs::over(Arc::new(disk))).await;
        let lab = bench.repo("lab/model").await;
        for (branch, seed) in [("main", 1), ("a", 100), ("b", 200), ("c", 300)] {
            bench.commit(&lab, branch, &[("a.bin", seed)]).await;
        }
        for branch in ["a", "b", "c"] {
            bench.store.catalog().refs().delete(&lab, &format!("refs/heads/{branch}")).await.unwrap();
        }
        bench.wait(25);
        bench.collect(true).await;
        bench.wait(25);
        left.store(allowed, Ordering::SeqCst);
        let report = bench.collect(true).await;
        assert_eq!((report.packs.0, report.failures.len()), (allowed as u64, 3 - allowed as usize));
        let objects = bench.store.blobs().list("packs").await.unwrap().len();
        assert_eq!((bench.count("packs").await, objects), (4 - allowed, 4 - allowed as usize));
        assert_eq!(bench.check().await.len(), 1, "what is in use is untouched");
        let fsck = bench.store.fsck(&crate::fsck::FsckOptions { deep: true, repair: false }).await.unwrap();
        assert!(fsck.is_clean(), "{fsck:?}");
        left.store(1_000, Ordering::SeqCst);
        let report = bench.collect(true).await;
        assert_eq!((report.packs.0, report.failures.len()), (3 - allowed as u64, 0));
        assert_eq!(bench.store.blobs().list("packs").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_pack_of_which_little_is_needed_is_copied_and_then_removed() {
    use crate::blob::PackWriter;
    use crate::catalog::{Content, ContentRecord};
    use weighthouse_format::xet::hash::{chunk_hash, file_hash};
    use weighthouse_format::xet::shard::Term;
    use weighthouse_format::xet::xorb::XorbBuilder;

    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    let mut writer = PackWriter::begin(&bench.store).await.unwrap();
    let mut contents = Vec::new();
    for seed in [10, 20, 30] {
        let raw = bytes_of(seed)[..100_000].to_vec();
        let hash = chunk_hash(&raw);
        let mut builder = XorbBuilder::default();
        builder.push_hashed(hash, &raw).unwrap();
        writer.write(&builder.drain()).await.unwrap();
        let xorb = builder.finish().unwrap();
        let size_bytes = raw.len() as u64;
        contents.push(Content {
            record: ContentRecord { sha256: Sha256::of(&raw), size_bytes, file_hash: file_hash(&[(hash, size_bytes)]) },
            terms: vec![Term { xorb: xorb.listing.hash, start: 0, end: 1, unpacked_bytes: 100_000 }],
        });
        writer.end_xorb(xorb.listing, &[]);
    }
    writer.finish(&bench.store).await.unwrap();
    let now_ms = bench.store.clock().now_ms();
    bench.store.catalog().contents().add(&lab, &contents, now_ms).await.unwrap();
    bench.store.catalog().run_sql("UPDATE repo_contents SET given_at = 0").await;
    // A commit that names one of the three.
    let kept = contents[1].record;
    let oid = object_id(ObjectKind::Blob, lfs_pointer(&kept.sha256, kept.size_bytes).as_bytes());
    let mut edit = TreeEdit::new(None);
    edit.put(bench.store.catalog(), "kept.bin", oid).await.unwrap();
    let (tree, trees) = edit.finish();
    let author = Signature { name: "a".into(), email: "a@b".into(), time_s: 1 };
    let data = Commit { tree, parents: vec![], author, message: "m".into() }.encode();
    let commit = object_id(ObjectKind::Commit, &data);
    let new = NewCommit {
        waiting: Vec::new(),
        repo: lab.clone(),
        ref_name: "refs/heads/main".into(),
        old: None,
        oid: commit,
        data,
        trees,
        blobs: vec![BlobRecord { oid, sha256: kept.sha256, size_bytes: kept.size_bytes, lfs: true }],
        fingerprint: "f".into(),
        now_ms,
    };
    bench.store.catalog().commits().add(&new).await.unwrap();
    let old = bench.store.place(&contents[1].terms[0].xorb).await.unwrap().unwrap();
    bench.wait(25);
    bench.collect(true).await;
    bench.wait(25);
    let report = bench.collect(true).await;
    assert_eq!((report.removed.xorbs, report.rewritten.0), (2, 1));
    assert!(report.rewritten.1 > 190_000, "{:?}", report.rewritten);
    assert_eq!(bench.count("packs").await, 2, "clients may still use the former place");
    let former = bench.store.place_in(&contents[1].terms[0].xorb, &old.record.pack).await.unwrap();
    assert!(former.is_some());
    assert_eq!(bench.check().await, BTreeSet::from([kept.sha256]));
    bench.wait(25);
    let report = bench.collect(true).await;
    assert_eq!((report.packs.0, bench.count("packs").await, bench.count("former_xorbs").await), (1, 1, 0));
    assert_eq!(bench.check().await, BTreeSet::from([kept.sha256]));
    let fsck = bench.store.fsck(&crate::fsck::FsckOptions { deep: true, repair: false }).await.unwrap();
    assert!(fsck.is_clean(), "{fsck:?}");
}

/// Verdicts on what is stored under these seeds, as a scan records them.
async fn judge(bench: &Bench, repo: &RepoKey, seeds: &[u64]) {
    let new: Vec<NewVerdict> = seeds
        .iter()
        .map(|seed| NewVerdict {
            record: VerdictRecord {
                sha256: Sha256::of(&bytes_of(*seed)),
                path: format!("{seed}.bin"),
                surroundings: None,
                verdict: "unsafe".to_owned(),
                rules: 1,
                scanner: "1".to_owned(),
                judged_at_ms: 7,
                facts: "{}".to_owned(),
            },
            report: String::new(),
        })
        .collect();
    bench.store.catalog().verdicts().add(repo, &new).await.unwrap();
}

#[tokio::test]
async fn verdicts_go_with_what_they_are_about() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    let kept = bench.commit(&lab, "main", &[("1.bin", 1)]).await;
    let gone = bench.commit(&lab, "side", &[("100.bin", 100)]).await;
    judge(&bench, &lab, &[1, 100]).await;
    let verdicts = bench.store.catalog().verdicts();
    for commit in [kept, gone] {
        let tree = bench.store.catalog().commits().get(&lab, &commit).await.unwrap().unwrap().tree;
        verdicts.set_tree(&tree, 1, "{}").await.unwrap();
    }
    bench.store.catalog().refs().delete(&lab, "refs/heads/side").await.unwrap();
    bench.wait(25);
    assert_eq!(bench.collect(true).await.verdicts, 0, "what waits for the end of the grace keeps its verdict");
    bench.wait(25);
    let plan = bench.collect(false).await;
    let run = bench.collect(true).await;
    assert_eq!((plan.verdicts, run.verdicts), (1, 1));
    for table in ["contents", "verdicts", "repo_files", "tree_verdicts"] {
        assert_eq!(bench.count(table).await, 1, "{table}");
    }
    // A scan that was under way comes too late, and what earlier versions left is found too.
    judge(&bench, &lab, &[100]).await;
    assert_eq!((bench.collect(false).await.verdicts, bench.collect(true).await.verdicts), (1, 1));
    assert_eq!(bench.count("verdicts").await, 1);
    let left = verdicts.of_content(&lab, &Sha256::of(&bytes_of(1))).await.unwrap();
    assert!(left.len() == 1 && left[0].1.is_some(), "{left:?}");
    assert_eq!(bench.collect(true).await.verdicts, 0);
}

#[tokio::test]
async fn what_a_rule_of_retention_removed_keeps_its_verdict() {
    let bench = Bench::new().await;
    let lab = bench.repo("lab/model").await;
    bench.commit(&lab, "main", &[("1.bin", 1)]).await;
    judge(&bench, &lab, &[1, 100]).await;
    // Its commits go on naming it, and people see it there.
    let gone = Sha256::of(&bytes_of(100));
    bench.store.catalog().retention().retire(&gone, &lab, "keep 1", 5).await.unwrap();
    assert_eq!(bench.collect(true).await.verdicts, 0);
    assert_eq!(bench.count("verdicts").await, 2);
}
