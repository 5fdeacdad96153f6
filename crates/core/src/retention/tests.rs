use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::stream;

use super::*;
use crate::fsck::FsckOptions;
use crate::gc::{GcOptions, UNUSED_MS};
use crate::tests::{self, Files};
use crate::upload::LfsObject;
use crate::{Clock, RepoKind, Sha256, Storage};

struct Ground {
    hub: Hub,
    ada: Caller,
    repo: Repo,
    now_ms: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicI64::new(1_800_000_000_000));
    let time = Arc::clone(&now_ms);
    let hub = tests::hub_with(&folder, |options| {
        options.storage = Storage::Memory;
        options.clock = Clock::from_fn(move || time.load(Ordering::SeqCst));
    });
    let hub = hub.await;
    let ada = tests::user(&hub, "ada").await;
    let repo = tests::create(&hub, &ada, RepoKind::Model, "run").await;
    Ground { hub, ada, repo, now_ms, _folder: folder }
}

impl Ground {
    /// Commits files, and weights by Git LFS.
    async fn commit(&self, files: Files<'_>) -> Revision {
        self.now_ms.fetch_add(1_000, Ordering::SeqCst);
        let (hub, ada, repo) = (&self.hub, &self.ada, &self.repo);
        let grant = hub.upload_grant(ada, repo).unwrap();
        let message = CommitMessage { title: "t".to_owned(), body: String::new() };
        let mut commit = hub.begin_commit(ada, repo, Target::branch(MAIN, None).unwrap(), message).unwrap();
        for (path, data) in files {
            if path.ends_with(".safetensors") {
                let object = LfsObject { sha256: Sha256::of(data), size_bytes: data.len() as u64 };
                let body = stream::iter([Ok::<_, Infallible>(data.to_vec().into())]);
                hub.lfs_put(&grant, &object, body).await.unwrap();
                commit.put_lfs(path, object.sha256, Some(object.size_bytes)).unwrap();
            } else {
                commit.put(path, data.to_vec().into()).await.unwrap();
            }
        }
        commit.finish().await.unwrap()
    }

    async fn set(&self, rules: &str) {
        self.hub.set_retention(&self.ada, &self.repo, &Rules::parse(rules).unwrap()).await.unwrap();
    }

    async fn apply(&self) -> Option<Revision> {
        let plan = self.hub.retention_plan(&self.repo, None).await.unwrap();
        self.hub.apply_retention(&self.ada, &self.repo, &plan).await.unwrap()
    }

    /// Collects garbage until nothing more goes.
    async fn collect(&self) {
        for _ in 0..3 {
            self.now_ms.fetch_add(1_000, Ordering::SeqCst);
            self.hub.collect(&GcOptions { execute: true, grace_ms: 0, unused_ms: UNUSED_MS }).await.unwrap();
        }
    }

    /// The bytes of a file, or the rule that removed them.
    async fn read(&self, revision: &Revision, path: &str) -> Result<Vec<u8>, String> {
        let read = async {
            let file = self.hub.file(revision, "", path).await?;
            Ok(self.hub.read_small(&file, u64::MAX).await?.unwrap())
        };
        match read.await {
            Ok(bytes) => Ok(bytes),
            Err(Error::Retired { rule, .. }) => Err(rule),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn folders(&self) -> Vec<String> {
        let head = self.hub.revision(&self.repo, MAIN).await.unwrap();
        let all = self.hub.list(&head, MAIN, "", false).await.unwrap();
        let folder = |record| match record {
            PathRecord::Folder { path, .. } => Some(path),
            PathRecord::File(_) => None,
        };
        all.into_iter().filter_map(folder).collect()
    }

    /// Rows of the audit log about rules, the oldest first.
    async fn events(&self) -> Vec<String> {
        let rows = self.hub.audit_after(0).await.unwrap();
        let rules = rows.into_iter().filter(|row| row.row.event.ends_with("_retention"));
        rules.map(|row| format!("{} {}", row.row.event, row.row.actor)).collect()
    }
}

#[tokio::test]
async fn old_checkpoints_leave_the_branch_and_their_files_the_storage() {
    let ground = ground().await;
    let first = ground.commit(&[("checkpoint-10/model.safetensors", b"ten"), ("notes/a.txt", b"a")]).await;
    ground.commit(&[("checkpoint-20/model.safetensors", b"twenty")]).await;
    let third = ground.commit(&[("checkpoint-30/model.safetensors", b"thirty")]).await;
    ground.set(r#"{"checkpoints": {"last": 1, "every": 20}}"#).await;
    let done = ground.apply().await.expect("a commit that removes one folder");
    assert!(done.commit.message.starts_with("Remove 1 old checkpoint"), "{}", done.commit.message);
    assert_eq!(ground.folders().await, ["checkpoint-20", "checkpoint-30", "notes"]);
    assert!(ground.apply().await.is_none(), "a second time there is nothing to do");
    assert_eq!(ground.events().await, ["repo.set_retention ada", "repo.apply_retention ada"]);
    assert!(ground.read(&first, "checkpoint-10/model.safetensors").await.is_ok(), "not before it is collected");

    ground.collect().await;
    let gone = ground.read(&first, "checkpoint-10/model.safetensors").await.unwrap_err();
    assert_eq!(gone, "of checkpoints keep the last 1, every 20");
    assert_eq!(ground.read(&first, "notes/a.txt").await.unwrap(), b"a", "small files stay");
    assert_eq!(ground.read(&third, "checkpoint-20/model.safetensors").await.unwrap(), b"twenty");
    // The same bytes may come again.
    let again = ground.commit(&[("checkpoint-40/model.safetensors", b"ten")]).await;
    assert_eq!(ground.read(&again, "checkpoint-40/model.safetensors").await.unwrap(), b"ten");
}

#[tokio::test]
async fn old_versions_give_up_their_large_files_unless_somebody_named_them() {
    let ground = ground().await;
    let mut versions = Vec::new();
    for content in [&b"one"[..], b"two", b"three", b"four"] {
        versions.push(ground.commit(&[("model.safetensors", content), ("README.md", b"words")]).await);
    }
    ground.hub.create_tag(&ground.ada, &ground.repo, "v2", &versions[1].oid.to_string()).await.unwrap();
    ground.set(r#"{"versions": {"last": 1}}"#).await;
    assert!(ground.apply().await.is_none(), "the branch stays as it is");
    ground.collect().await;
    let rule = "of versions keep the last 1";
    for (version, expected) in versions.iter().zip([Err(rule), Ok(&b"two"[..]), Err(rule), Ok(b"four")]) {
        let found = ground.read(version, "model.safetensors").await;
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
        assert!(ground.read(version, "README.md").await.is_ok(), "small files stay");
    }
    let report = ground.hub.fsck(&FsckOptions { deep: true, repair: false }).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test]
async fn rules_are_applied_once_a_day() {
    let ground = ground().await;
    for (path, content) in [("checkpoint-1/a.bin", b"1"), ("checkpoint-2/a.bin", b"2")] {
        ground.commit(&[(path, content)]).await;
    }
    ground.set(r#"{"checkpoints": {"last": 1}}"#).await;
    ground.hub.apply_due_retention().await.unwrap();
    assert_eq!(ground.folders().await, ["checkpoint-2"]);
    ground.commit(&[("checkpoint-3/a.bin", b"3")]).await;
    ground.hub.apply_due_retention().await.unwrap();
    assert_eq!(ground.folders().await, ["checkpoint-2", "checkpoint-3"], "it is not due yet");
    ground.now_ms.fetch_add(EVERY_MS, Ordering::SeqCst);
    ground.hub.apply_due_retention().await.unwrap();
    assert_eq!(ground.folders().await, ["checkpoint-3"]);
}

#[tokio::test]
async fn only_who_administrates_a_repository_sets_and_applies_rules() {
    let ground = ground().await;
    ground.commit(&[("checkpoint-1/a.bin", b"1")]).await;
    let eve = tests::user(&ground.hub, "eve").await;
    let theirs = ground.hub.repo(&eve, RepoKind::Model, "ada/run").await.unwrap();
    let rules = Rules::parse(r#"{"checkpoints": {"last": 1}}"#).unwrap();
    let plan = ground.hub.retention_plan(&theirs, Some(&rules)).await.unwrap();
    let set = ground.hub.set_retention(&eve, &theirs, &rules).await.unwrap_err();
    let applied = ground.hub.apply_retention(&eve, &theirs, &plan).await.unwrap_err();
    assert!(matches!((set, applied), (Error::Denied { .. }, Error::Denied { .. })));
    assert!(ground.events().await.is_empty());
}

fn series(values: &[(u64, Option<&str>)]) -> Vec<Judged> {
    let judged = |(number, metric): &(u64, Option<&str>)| Judged {
        name: number.to_string(),
        number: *number,
        metric: metric.map(str::to_owned),
        kept: None,
        size_bytes: 0,
    };
    values.iter().map(judged).collect()
}

fn kept(keep: &Keep, values: &[(u64, Option<&str>)]) -> Vec<u64> {
    let mut series = series(values);
    keep.judge(&mut series);
    series.iter().filter(|judged| judged.kept.is_some()).map(|judged| judged.number).collect()
}

#[test]
fn rules_keep_the_union_of_what_they_name() {
    let steps: Vec<(u64, Option<&str>)> =
        vec![(100, Some("0.9")), (200, Some("0.2")), (300, Some("0.4")), (400, None), (500, Some("NaN"))];
    let last = Keep { last: Some(2), ..Keep::default() };
    assert_eq!(kept(&last, &steps), [400, 500]);
    let every = Keep { every: Some(300), ..Keep::default() };
    assert_eq!(kept(&every, &steps), [300, 500], "the newest always stays");
    let best = Best { count: 1, metric: "eval_loss".into(), higher: false };
    assert_eq!(kept(&Keep { best: Some(best.clone()), ..Keep::default() }, &steps), [200, 500]);
    let highest = Best { higher: true, count: 2, ..best.clone() };
    assert_eq!(kept(&Keep { best: Some(highest), ..Keep::default() }, &steps), [100, 300, 500], "NaN is no value");
    assert_eq!(kept(&Keep { last: Some(1), every: Some(100), best: Some(best) }, &steps).len(), 5);
}

#[test]
fn rules_that_would_keep_nothing_are_refused() {
    for json in [
        r#"{"checkpoints": {}}"#,
        r#"{"checkpoints": {"last": 0}}"#,
        r#"{"versions": {"every": 0}}"#,
        r#"{"versions": {"best": {"count": 0, "metric": "x"}}}"#,
        r#"{"versions": {"best": {"count": 1, "metric": ""}}}"#,
        r#"{"checkpoints": {"lats": 3}}"#,
        r#"{"checkpoints": {"last": -1}}"#,
        "[]",
    ] {
        assert!(matches!(Rules::parse(json), Err(Error::Malformed(_))), "{json}");
    }
    assert!(Rules::parse("{}").unwrap().is_empty());
    let rules = Rules::parse(r#"{"checkpoints": {"last": 3, "every": 1000}}"#).unwrap();
    assert_eq!(rules.checkpoints.unwrap().words("checkpoints"), "of checkpoints keep the last 3, every 1000");
}
