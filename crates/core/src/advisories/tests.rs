use serde_json::{Value, json};
use weighthouse_store::digest::Sha256;

use super::*;
use crate::RepoKind;
use crate::revision::MAIN;
use crate::tests::{self, Files};

struct Ground {
    hub: Hub,
    ada: Caller,
    folder: tempfile::TempDir,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub_in_memory(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    Ground { hub, ada, folder }
}

impl Ground {
    async fn create(&self, name: &str) {
        tests::create(&self.hub, &self.ada, RepoKind::Model, name).await;
    }

    async fn repo(&self, name: &str) -> Repo {
        self.hub.repo(&self.ada, RepoKind::Model, &format!("ada/{name}")).await.unwrap()
    }

    async fn commit(&self, name: &str, files: Files<'_>) -> Revision {
        tests::commit(&self.hub, &self.ada, &self.repo(name).await, MAIN, files).await.unwrap()
    }

    fn write(&self, advisories: &Value) -> String {
        let path = self.folder.path().join("feed.json");
        std::fs::write(&path, advisories.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn found(&self, name: &str, revision: &Revision) -> Vec<String> {
        let found = self.hub.concerns(&self.repo(name).await, Some(revision)).await.unwrap();
        found.into_iter().map(|concern| concern.advisory.id).collect()
    }
}

fn advisory(id: &str, affected: Value) -> Value {
    json!({
        "schema": "weighthouse.advisory/1", "id": id, "summary": "It is bad.", "severity": "high",
        "published": "2026-11-26T08:00:00Z", "affected": [affected],
    })
}

fn file(bytes: &[u8]) -> Value {
    json!({"file": {"sha256": Sha256::of(bytes).to_string()}})
}

#[tokio::test]
async fn a_file_that_is_known_to_be_bad_is_found_in_every_commit_that_has_it() {
    let ground = ground().await;
    ground.create("m").await;
    let first = ground.commit("m", &[("model.bin", b"poison")]).await;
    let second = ground.commit("m", &[("model.bin", b"clean")]).await;
    ground.hub.work_off().await.unwrap();
    let feed = ground.write(&json!([advisory("L-1", file(b"poison"))]));
    assert!(ground.hub.import_feed("lab", &feed).await.unwrap().changed);
    assert!(!ground.hub.import_feed("lab", &feed).await.unwrap().changed);
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &first).await, ["L-1"], "an older commit is stored too");
    assert!(ground.found("m", &second).await.is_empty());
    // A commit that comes later is matched when it comes.
    let third = ground.commit("m", &[("again.bin", b"poison")]).await;
    ground.hub.work_off().await.unwrap();
    let concerns = ground.hub.concerns(&ground.repo("m").await, Some(&third)).await.unwrap();
    assert_eq!(concerns[0].evidence, [Evidence::File { path: "again.bin".to_owned() }]);
    // Withdrawn, it concerns nothing.
    let mut withdrawn = advisory("L-1", file(b"poison"));
    withdrawn["withdrawn"] = "2026-11-27T00:00:00Z".into();
    ground.hub.import_feed("lab", &ground.write(&withdrawn)).await.unwrap();
    ground.hub.work_off().await.unwrap();
    assert!(ground.hub.concerns(&ground.repo("m").await, None).await.unwrap().is_empty());
    assert!(ground.hub.concerned(None, 9).await.unwrap().matches.is_empty());
}

#[tokio::test]
async fn owners_are_told_and_nobody_else() {
    let ground = ground().await;
    ground.create("m").await;
    ground.commit("m", &[("model.bin", b"poison")]).await;
    ground.hub.import_feed("lab", &ground.write(&advisory("L-1", file(b"poison")))).await.unwrap();
    ground.hub.work_off().await.unwrap();
    let repo = ground.repo("m").await;
    let told = ground.hub.notices(&ground.ada, &repo).await.unwrap();
    assert_eq!((told.len(), told[0].advisory.id.as_str(), told[0].seen_at_ms), (1, "L-1", None));
    let bob = tests::user(&ground.hub, "bob").await;
    let his = ground.hub.repo(&bob, RepoKind::Model, "ada/m").await.unwrap();
    for caller in [&bob, &Caller::anonymous()] {
        assert!(matches!(ground.hub.notices(caller, &his).await, Err(Error::Denied { .. })));
        assert!(ground.hub.see_notice(caller, &his, "L-1").await.is_err());
    }
    ground.hub.see_notice(&ground.ada, &repo, "L-1").await.unwrap();
    assert!(ground.hub.notices(&ground.ada, &repo).await.unwrap()[0].seen_at_ms.is_some());
    assert!(matches!(ground.hub.see_notice(&ground.ada, &repo, "L-2").await, Err(Error::NotFound { .. })));
    ground.hub.remove_feed("lab").await.unwrap();
    ground.hub.work_off().await.unwrap();
    assert!(ground.hub.notices(&ground.ada, &repo).await.unwrap().is_empty());
    assert!(matches!(ground.hub.remove_feed("lab").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn configurations_and_tensors_are_matched() {
    let ground = ground().await;
    ground.create("m").await;
    let values: Vec<u8> = [1.5f32, 2.5].iter().flat_map(|value| value.to_le_bytes()).collect();
    let header = br#"{"head":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header);
    weights.extend(&values);
    let config = br#"{"transformers_version": "4.57.1", "x": NaN, "_attn_implementation_internal": "a/b"}"#;
    let revision = ground.commit("m", &[("model.safetensors", &weights), ("sub/config.json", config)]).await;
    let asks = json!({"facts": {"formats": ["safetensors"], "config": [
        {"key": "transformers_version", "version": ">=4.56,<5.3"},
        {"key": "_attn_implementation_internal", "contains": "/"},
    ]}});
    let newer = json!({"facts": {"config": [{"key": "transformers_version", "version": ">=5"}]}});
    let tensor = json!({"tensor": {"sha256": Sha256::of(&values).to_string()}});
    let repo = json!({"repository": {"id": "ADA/M"}});
    let feed = json!([advisory("A", asks), advisory("B", newer), advisory("C", tensor), advisory("D", repo)]);
    ground.hub.import_feed("lab", &ground.write(&feed)).await.unwrap();
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &revision).await, ["A", "C", "D"]);
}

#[tokio::test]
async fn a_feed_in_a_repository_is_read_again_when_it_changes() {
    let ground = ground().await;
    ground.create("m").await;
    ground.create("feed").await;
    let revision = ground.commit("m", &[("model.bin", b"poison")]).await;
    let text = |id: &str, bytes: &[u8]| advisory(id, file(bytes)).to_string().into_bytes();
    ground.commit("feed", &[("2026/one.json", &text("L-1", b"other")), ("README.md", b"x")]).await;
    let imported = ground.hub.import_feed("lab", "hub:ada/feed").await.unwrap();
    assert_eq!((imported.advisories, imported.changed), (1, true));
    ground.hub.work_off().await.unwrap();
    assert!(ground.found("m", &revision).await.is_empty());
    ground.commit("feed", &[("2026/two.json", &text("L-2", b"poison"))]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &revision).await, ["L-2"]);
    // A feed that breaks keeps its last word.
    ground.commit("feed", &[("2026/two.json", b"{")]).await;
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &revision).await, ["L-2"]);
    let (feeds, looked) = ground.hub.check_advisories().await.unwrap();
    assert!(feeds[0].1.is_err() && looked >= 2);
}

#[tokio::test]
async fn a_feed_that_is_wrong_changes_nothing() {
    let ground = ground().await;
    ground.hub.import_feed("lab", &ground.write(&advisory("L-1", file(b"x")))).await.unwrap();
    let twice = ground.folder.path().join("folder");
    std::fs::create_dir(&twice).unwrap();
    for name in ["a.json", "b.json"] {
        std::fs::write(twice.join(name), advisory("L-2", file(b"x")).to_string()).unwrap();
    }
    let empty = ground.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let wrong = ground.write(&json!([{"id": 7}]));
    for place in
        [wrong.as_str(), twice.to_str().unwrap(), empty.to_str().unwrap(), "/no/such/file", "hub:ada/none", "hub:"]
    {
        assert!(ground.hub.import_feed("lab", place).await.is_err(), "{place}");
    }
    let clash = ground.write(&advisory("L-1", file(b"y")));
    assert!(matches!(ground.hub.import_feed("other", &clash).await, Err(Error::Exists { .. })));
    assert_eq!(ground.hub.advisories().await.unwrap()[0].id, "L-1");
    assert_eq!(ground.hub.feeds().await.unwrap().len(), 1);
}

#[tokio::test]
async fn administrators_send_feeds_and_name_repositories_and_no_files_of_the_server() {
    let ground = ground().await;
    let root = tests::root(&ground.hub).await;
    ground.create("m").await;
    ground.create("feed").await;
    let revision = ground.commit("m", &[("model.bin", b"poison")]).await;
    ground.commit("feed", &[("one.json", advisory("R-1", file(b"poison")).to_string().as_bytes())]).await;
    let sent = FeedSource::Sent(advisory("S-1", file(b"poison")).to_string().into_bytes());
    let named = FeedSource::Repository("ada/feed".to_owned());
    for source in [&sent, &named] {
        let denied = ground.hub.put_feed(&ground.ada, "lab", source.clone()).await;
        assert!(matches!(denied, Err(Error::Denied { .. })), "{denied:?}");
    }
    assert!(matches!(ground.hub.delete_feed(&ground.ada, "lab").await, Err(Error::Denied { .. })));
    assert!(ground.hub.put_feed(&root, "sent", sent.clone()).await.unwrap().changed);
    assert!(!ground.hub.put_feed(&root, "sent", sent).await.unwrap().changed);
    assert!(ground.hub.put_feed(&root, "named", named).await.unwrap().changed);
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &revision).await, ["R-1", "S-1"]);
    let feeds = ground.hub.feed_statuses().await.unwrap();
    let told: Vec<_> =
        feeds.iter().map(|f| (f.feed.name.as_str(), f.feed.place.as_str(), f.repos, f.commits)).collect();
    assert_eq!(told, [("named", "hub:ada/feed", 1, 1), ("sent", "sent by root", 1, 1)]);
    // In parts.
    let first = ground.hub.concerned(None, 1).await.unwrap();
    let second = ground.hub.concerned(first.next.as_deref(), 9).await.unwrap();
    let ids = |list: &ConcernedList| list.matches.iter().map(|m| m.concern.advisory.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&first), ids(&second), second.next), (vec!["R-1".to_owned()], vec!["S-1".to_owned()], None));
    assert!(ground.hub.concerned(Some("x"), 1).await.is_err());
    // What was sent is nowhere to be read again.
    let (checked, _) = ground.hub.check_advisories().await.unwrap();
    assert!(checked.iter().all(|(_, outcome)| outcome.as_ref().is_ok_and(|imported| !imported.changed)), "{checked:?}");

    for place in ["/etc/passwd", "hub:/etc", "ada/none", "../x", ""] {
        let error = ground.hub.put_feed(&root, "file", FeedSource::Repository(place.to_owned())).await;
        assert!(error.is_err(), "{place}");
    }
    for name in ["", "a b", "../x", "a/b", &"x".repeat(97)] {
        let error = ground.hub.put_feed(&root, name, FeedSource::Sent(b"{}".to_vec())).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed, "{name}");
    }
    ground.hub.delete_feed(&root, "sent").await.unwrap();
    ground.hub.work_off().await.unwrap();
    assert_eq!(ground.found("m", &revision).await, ["R-1"]);
    let events = ground.hub.audit_after(0).await.unwrap();
    let events: Vec<_> = events.iter().filter(|row| row.row.event.starts_with("feed.")).collect();
    let told: Vec<_> = events.iter().map(|row| (row.row.event.as_str(), row.row.actor.as_str())).collect();
    assert_eq!(told, [("feed.update", "root"), ("feed.update", "root"), ("feed.remove", "root")]);
    assert_eq!(ground.hub.verify_audit(None).await.unwrap().broken, None);
}

#[tokio::test]
async fn hostile_feeds_are_refused_with_the_reason_and_change_nothing() {
    let ground = ground().await;
    let root = tests::root(&ground.hub).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<Value> = (0..10_001).map(|_| file(b"x")).collect();
    let mut much = advisory("L-1", file(b"x"));
    much["affected"] = many.into();
    let mut script = advisory("L-1", file(b"x"));
    script["references"] = json!(["javascript:alert(1)"]);
    let twice = json!([advisory("L-1", file(b"x")), advisory("L-1", file(b"y"))]);
    for (document, said) in [
        ("".to_owned(), "no JSON"),
        ("\u{feff}[]".to_owned(), "no JSON"),
        (deep, "recursion limit"),
        ("7".to_owned(), "neither an advisory nor a list"),
        (much.to_string(), "affected"),
        (script.to_string(), "no web address"),
        (twice.to_string(), "two advisories are called `L-1`"),
        (json!([{"id": 7}]).to_string(), "advisory 1"),
        (format!("\"{}\"", "x".repeat(65 << 20)), "limit"),
    ] {
        let head: String = document.chars().take(40).collect();
        let error = ground.hub.put_feed(&root, "lab", FeedSource::Sent(document.into_bytes())).await.unwrap_err();
        assert!(error.to_string().contains(said) && error.to_string().len() < 1_000, "{head}: {error}");
    }
    assert!(ground.hub.feeds().await.unwrap().is_empty() && ground.hub.advisories().await.unwrap().is_empty());
    assert!(ground.hub.audit_after(0).await.unwrap().iter().all(|row| !row.row.event.starts_with("feed.")));
}

#[tokio::test]
async fn advisories_are_parsed_once_until_any_server_changes_a_feed() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |exclusive| tests::hub_with(&folder, |options| options.exclusive = exclusive).await;
    let (one, other) = (open(true).await, open(false).await);
    let feed = folder.path().join("feed.json");
    let mut before = one.advice().await.unwrap();
    assert!(before.is_empty());
    let take_in = async |hub: &Hub, bytes: &[u8]| {
        std::fs::write(&feed, advisory("L-1", file(bytes)).to_string()).unwrap();
        hub.import_feed("lab", feed.to_str().unwrap()).await.unwrap()
    };
    for (hub, bytes) in [(&one, b"a"), (&other, b"b"), (&other, b"a"), (&one, b"c")] {
        assert!(take_in(hub, bytes).await.changed);
        let now = one.advice().await.unwrap();
        assert!(!std::sync::Arc::ptr_eq(&before, &now), "a change was not seen");
        assert_eq!(now.file_digests().collect::<Vec<_>>(), [Sha256::of(bytes).to_string()]);
        assert!(std::sync::Arc::ptr_eq(&now, &one.advice().await.unwrap()), "parsed again for nothing");
        before = now;
    }
    other.remove_feed("lab").await.unwrap();
    assert!(one.advice().await.unwrap().is_empty());
}
