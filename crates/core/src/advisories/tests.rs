use serde_json::{Value, json};
use weighthouse_store::digest::Sha256;

use super::*;
use crate::account::{NewAccount, NewToken};
use crate::commit::{CommitMessage, Target};
use crate::repos::NewRepo;
use crate::revision::MAIN;
use crate::{HubOptions, RepoKind, Scope, Storage};

struct Ground {
    hub: Hub,
    ada: Caller,
    folder: tempfile::TempDir,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HubOptions::new(folder.path());
    options.storage = Storage::Memory;
    let hub = Hub::open(options).await.unwrap();
    let ada = user(&hub, "ada").await;
    Ground { hub, ada, folder }
}

async fn user(hub: &Hub, name: &str) -> Caller {
    hub.add_user(NewAccount { name: name.to_owned(), ..NewAccount::default() }).await.unwrap();
    let token = NewToken {
        name: "t".to_owned(),
        scope: Scope::Write,
        repos: None,
        lifetime_ms: None,
        value: None,
        automated: false,
    };
    let (_, secret) = hub.add_token(name, token).await.unwrap();
    hub.authenticate(&secret).await.unwrap()
}

impl Ground {
    async fn create(&self, name: &str) {
        let (name, files) = (name.to_owned(), Vec::new());
        let new = NewRepo { kind: RepoKind::Model, namespace: None, name, private: false, files };
        self.hub.create_repo(&self.ada, new).await.unwrap();
    }

    async fn repo(&self, name: &str) -> Repo {
        self.hub.repo(&self.ada, RepoKind::Model, &format!("ada/{name}")).await.unwrap()
    }

    async fn commit(&self, name: &str, files: &[(&str, &[u8])]) -> Revision {
        let message = CommitMessage { title: "t".to_owned(), body: String::new() };
        let target = Target::branch(MAIN, None).unwrap();
        let mut commit = self.hub.begin_commit(&self.ada, &self.repo(name).await, target, message).unwrap();
        for (path, data) in files {
            commit.put(path, data.to_vec().into()).await.unwrap();
        }
        commit.finish().await.unwrap()
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
    assert!(ground.hub.concerned().await.unwrap().is_empty());
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
    let bob = user(&ground.hub, "bob").await;
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
