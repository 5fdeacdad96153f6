use bytes::Bytes;

use crate::access::{Caller, Repo};
use crate::browse::{Change, PathRecord};
use crate::commit::{CommitMessage, Target};
use crate::revision::Revision;
use crate::{Error, Hub, RepoKind, tests};

struct Ground {
    hub: Hub,
    ada: Caller,
    repo: Repo,
    _folder: tempfile::TempDir,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub_in_memory(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    let repo = tests::create(&hub, &ada, RepoKind::Model, "m").await;
    Ground { hub, ada, repo, _folder: folder }
}

impl Ground {
    /// Puts files, or removes those without content.
    async fn commit(&self, files: &[(&str, Option<&str>)]) -> Revision {
        let message = CommitMessage { title: format!("{} files", files.len()), body: String::new() };
        let target = Target::branch("main", None).unwrap();
        let mut commit = self.hub.begin_commit(&self.ada, &self.repo, target, message).unwrap();
        for (path, content) in files {
            match content {
                Some(text) => commit.put(path, Bytes::from((*text).to_owned())).await.unwrap(),
                None => commit.remove(path).unwrap(),
            }
        }
        commit.finish().await.unwrap()
    }
}

fn shown(changes: &[Change]) -> Vec<String> {
    let sign = |change: &Change| match (&change.before, &change.after) {
        (None, Some(_)) => '+',
        (Some(_), None) => '-',
        _ => '~',
    };
    changes.iter().map(|change| format!("{}{}", sign(change), change.path)).collect()
}

#[tokio::test]
async fn a_commit_shows_what_it_added_removed_and_changed() {
    let ground = ground().await;
    let first = ground.commit(&[("a", Some("1")), ("d/x", Some("1")), ("d/y", Some("1")), ("same/z", Some("1"))]).await;
    let second = ground.commit(&[("a", Some("2")), ("d/x", None), ("e/new", Some("1"))]).await;
    let changes = ground.hub.changes(Some(&first), &second, 100).await.unwrap();
    assert_eq!(shown(&changes.files), ["~a", "-d/x", "+e/new"]);
    assert!(changes.complete);
    let all = ground.hub.changes(None, &second, 100).await.unwrap();
    assert_eq!(shown(&all.files), ["+.gitattributes", "+a", "+d/y", "+e/new", "+same/z"]);
    let none = ground.hub.changes(Some(&second), &second, 100).await.unwrap();
    assert!(none.files.is_empty() && none.complete);
}

#[tokio::test]
async fn a_file_that_becomes_a_folder_is_both() {
    let ground = ground().await;
    let first = ground.commit(&[("a", Some("1"))]).await;
    ground.commit(&[("a", None)]).await;
    let last = ground.commit(&[("a/b", Some("1"))]).await;
    let changes = ground.hub.changes(Some(&first), &last, 100).await.unwrap();
    assert_eq!(shown(&changes.files), ["-a", "+a/b"]);
}

#[tokio::test]
async fn a_long_list_is_cut_and_says_so() {
    let ground = ground().await;
    let names: Vec<String> = (0..50).map(|i| format!("d{}/f{i:02}", i % 5)).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), Some("x"))).collect();
    let revision = ground.commit(&files).await;
    let changes = ground.hub.changes(None, &revision, 7).await.unwrap();
    assert_eq!((changes.files.len(), changes.complete), (7, false));
}

#[tokio::test]
async fn a_page_of_a_folder_holds_its_part_and_the_count_of_all() {
    let ground = ground().await;
    let names: Vec<String> = (0..30).map(|i| format!("d/f{i:02}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), Some("x"))).collect();
    let revision = ground.commit(&files).await;
    let page = ground.hub.list_page(&revision, "main", "d", false, 28..38).await.unwrap();
    let paths: Vec<&str> = page.entries.iter().map(PathRecord::path).collect();
    assert_eq!((paths, page.total), (vec!["d/f28", "d/f29"], 30));
    let beyond = ground.hub.list_page(&revision, "main", "d", false, 1_000..1_010).await.unwrap();
    assert!(beyond.entries.is_empty());
    let missing = ground.hub.list_page(&revision, "main", "d/f01", false, 0..10).await;
    assert!(matches!(missing, Err(Error::EntryNotFound { .. })));
}
