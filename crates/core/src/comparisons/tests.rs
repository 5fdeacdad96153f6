use serde_json::{Map, json};

use super::*;
use crate::RepoKind;
use crate::repos::NewRepo;
use crate::revision::MAIN;
use crate::tests::{self, Files};

struct Ground {
    hub: Hub,
    ada: Caller,
    _folder: tempfile::TempDir,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub_in_memory(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    Ground { hub, ada, _folder: folder }
}

impl Ground {
    async fn create(&self, name: &str, private: bool) {
        let new = NewRepo { private, ..tests::new_repo(RepoKind::Model, name) };
        self.hub.create_repo(&self.ada, new).await.unwrap();
    }

    async fn commit(&self, name: &str, files: Files<'_>) -> String {
        let repo = self.hub.repo(&self.ada, RepoKind::Model, &format!("ada/{name}")).await.unwrap();
        tests::commit(&self.hub, &self.ada, &repo, MAIN, files).await.unwrap().oid.to_string()
    }

    async fn side(&self, name: &str) -> Compared {
        self.hub.compared(&self.ada, &name.parse().unwrap()).await.unwrap()
    }

    async fn made(&self, a: &str, b: &str) -> Arc<Value> {
        let (a, b) = (self.side(a).await, self.side(b).await);
        self.hub.ask_comparison(&self.ada, &a, &b).await.unwrap();
        self.hub.work_off().await.unwrap();
        match self.hub.comparison(&a, &b).await.unwrap() {
            Compare::Done(document) => document,
            other => panic!("{other:?}"),
        }
    }
}

fn weights(value: f32) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (number, name) in ["layers.0.w", "layers.1.w", "head.w"].iter().enumerate() {
        let begin = data.len();
        for at in 0..400u32 {
            let extra = if number == 1 { value } else { 0.0 };
            data.extend((((at * 7919 + number as u32 * 31) % 1_000) as f32 / 500.0 - 1.0 + extra).to_le_bytes());
        }
        let info = json!({"dtype": "F32", "shape": [20, 20], "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), info);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

#[tokio::test]
async fn two_commits_are_compared_once_and_the_result_is_kept() {
    let ground = ground().await;
    ground.create("m", false).await;
    let before = ground.commit("m", &[("model.safetensors", &weights(0.0))]).await;
    ground.commit("m", &[("model.safetensors", &weights(0.5))]).await;
    ground.hub.work_off().await.unwrap();
    let (a, b) = (ground.side(&format!("ada/m@{before}")).await, ground.side("ada/m").await);
    assert!(matches!(ground.hub.comparison(&a, &b).await.unwrap(), Compare::Unasked));
    assert!(matches!(ground.hub.ask_comparison(&ground.ada, &a, &b).await.unwrap(), Compare::Waiting));
    assert!(matches!(ground.hub.ask_comparison(&ground.ada, &a, &b).await.unwrap(), Compare::Waiting));
    assert_eq!(ground.hub.work_off().await.unwrap(), 1, "asked for twice is done once");
    let Compare::Done(document) = ground.hub.comparison(&a, &b).await.unwrap() else { panic!("it is not done") };
    assert_eq!(document["schema"], "weighthouse.diff/1");
    assert_eq!((&document["totals"]["equal"], &document["totals"]["changed"]), (&json!(2), &json!(1)));
    assert_eq!((&document["a"]["target"], &document["verdict"]["equal"]), (&json!(""), &json!(false)));
    let stranger = Caller::anonymous();
    let refused = ground.hub.ask_comparison(&stranger, &a, &b).await;
    assert!(matches!(refused, Err(Error::Unauthenticated { .. })));
    assert!(matches!(ground.hub.comparison(&b, &a).await.unwrap(), Compare::Unasked), "the other way is another one");
    let same = ground.made("ada/m", "ada/m:model.safetensors").await;
    assert_eq!(same["verdict"]["equal"], true);
}

#[tokio::test]
async fn nobody_compares_what_they_may_not_see() {
    let ground = ground().await;
    ground.create("hidden", true).await;
    ground.create("open", false).await;
    for name in ["hidden", "open"] {
        ground.commit(name, &[("model.safetensors", &weights(0.0)), ("README.md", name.as_bytes())]).await;
    }
    let document = ground.made("ada/open", "ada/hidden").await;
    assert_eq!(document["verdict"]["equal"], true);
    assert!(!document.to_string().contains("hidden"), "a kept document names no repository: {document}");
    let stranger = Caller::anonymous();
    let name = |text: &str| text.parse::<SideName>().unwrap();
    let refused = ground.hub.compared(&stranger, &name("ada/hidden")).await.unwrap_err();
    let missing = ground.hub.compared(&stranger, &name("ada/absent")).await.unwrap_err();
    assert_eq!(refused.to_string().replace("hidden", "absent"), missing.to_string());
    for (wrong, path) in [("ada/open:nothing", "nothing"), ("ada/open@main:a/b", "a/b")] {
        let error = ground.hub.compared(&ground.ada, &name(wrong)).await.unwrap_err();
        assert!(matches!(&error, Error::EntryNotFound { path: found, .. } if found == path), "{error}");
    }
    let (a, b) = (ground.side("ada/open").await, ground.side("ada/hidden").await);
    let lines = ground.hub.compared_cards(&a, &b).await.unwrap().unwrap();
    assert_eq!((lines.added, lines.removed), (1, 1));
    assert_eq!(ground.hub.compared_cards(&a, &a).await.unwrap(), None);
}

#[tokio::test]
async fn a_side_without_weights_is_said_and_no_failure() {
    let ground = ground().await;
    ground.create("m", false).await;
    let empty = ground.commit("m", &[("x.txt", b"x")]).await;
    ground.commit("m", &[("model.safetensors", &weights(0.0))]).await;
    let document = ground.made(&format!("ada/m@{empty}"), "ada/m").await;
    assert_eq!(document["verdict"]["kind"], "incomparable");
}
