use serde_json::json;
use weighthouse_store::catalog::RepoKind;

use crate::access::{Caller, Repo};
use crate::commit::{CommitMessage, Target};
use crate::facts::Facts;
use crate::repos::ListQuery;
use crate::tests::{self, Files};
use crate::{ErrorKind, Hub, RepoSort};

struct Ground {
    hub: Hub,
    ada: Caller,
    repo: Repo,
    _folder: tempfile::TempDir,
}

async fn ground(kind: RepoKind) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub_in_memory(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    let repo = tests::create(&hub, &ada, kind, "m").await;
    Ground { hub, ada, repo, _folder: folder }
}

impl Ground {
    async fn commit(&self, branch: &str, files: Files<'_>) -> Result<(), crate::Error> {
        tests::commit(&self.hub, &self.ada, &self.repo, branch, files).await.map(drop)
    }

    async fn facts(&self) -> Facts {
        let repo = self.hub.repo(&self.ada, self.repo.record.kind, "ada/m").await.unwrap();
        Facts::of(&repo.record)
    }
}

fn weights(tensors: &serde_json::Value, len: usize) -> Vec<u8> {
    let header = tensors.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + len, 0);
    file
}

const CARD: &[u8] = b"---\nlicense: apache-2.0\nlanguage: [en, no]\ndatasets: [wiki, ada/d]\n\
    base_model: ada/base\ntags: [mine]\n---\nAfter https://arxiv.org/abs/1810.04805.\n";

#[tokio::test]
async fn a_model_is_known_by_its_files() {
    let ground = ground(RepoKind::Model).await;
    let config = json!({"architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": 8}).to_string();
    let tokenizer = json!({"mask_token": {"content": "[MASK]"}, "model_max_length": 512}).to_string();
    let file = weights(
        &json!({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}),
        32,
    );
    let files: &[(&str, &[u8])] = &[
        ("README.md", CARD),
        ("config.json", config.as_bytes()),
        ("tokenizer_config.json", tokenizer.as_bytes()),
        ("model.safetensors", &file),
        ("onnx/model.onnx", b"o"),
    ];
    ground.commit("main", files).await.unwrap();
    let facts = ground.facts().await;
    assert_eq!(
        facts.tags,
        [
            "transformers",
            "safetensors",
            "onnx",
            "bert",
            "fill-mask",
            "mine",
            "en",
            "no",
            "dataset:wiki",
            "dataset:ada/d",
            "arxiv:1810.04805",
            "base_model:ada/base",
            "base_model:finetune:ada/base",
            "license:apache-2.0",
            "region:us",
        ]
    );
    assert_eq!(facts.pipeline_tag.as_deref(), Some("fill-mask"));
    assert_eq!(facts.library_name.as_deref(), Some("transformers"));
    assert_eq!(facts.mask_token.as_deref(), Some("[MASK]"));
    assert_eq!(facts.card_data.as_ref().unwrap()["license"], "apache-2.0");
    let transformers = facts.transformers.clone().unwrap();
    assert_eq!(
        (transformers.auto_model.as_str(), transformers.processor.as_deref()),
        ("AutoModelForMaskedLM", Some("AutoTokenizer"))
    );
    let config = serde_json::Value::Object(facts.config.clone().unwrap());
    assert_eq!(
        config,
        json!({"architectures": ["BertForMaskedLM"], "model_type": "bert",
        "tokenizer_config": {"mask_token": {"content": "[MASK]"}}})
    );
    let parameters = facts.safetensors.unwrap();
    assert_eq!((parameters.total, parameters.sharded), (10, false));
    assert_eq!(parameters.by_dtype, [("BF16".to_owned(), 4), ("F32".to_owned(), 6)].into());
}

#[tokio::test]
async fn repositories_are_found_by_their_tags() {
    let ground = ground(RepoKind::Model).await;
    ground.commit("main", &[("README.md", CARD)]).await.unwrap();
    let list = async |tag: &str| {
        let query = ListQuery {
            kind: RepoKind::Model,
            search: None,
            author: None,
            tags: vec![tag.to_owned()],
            min_parameters: None,
            max_parameters: None,
            sort: RepoSort::Updated,
            limit: 10,
            offset: 0,
        };
        ground.hub.list_repos(&Caller::anonymous(), query).await.unwrap().len()
    };
    assert_eq!((list("mine").await, list("base_model:finetune:ada/base").await, list("other").await), (1, 1, 0));
    ground.commit("main", &[("README.md", b"# none")]).await.unwrap();
    assert_eq!((list("mine").await, list("region:us").await), (0, 1));
}

#[tokio::test]
async fn only_the_default_branch_counts_and_only_what_matters() {
    let ground = ground(RepoKind::Model).await;
    ground.commit("main", &[("README.md", CARD)]).await.unwrap();
    let before = ground.facts().await;
    ground.hub.create_branch(&ground.ada, &ground.repo, "feat/main", Default::default()).await.unwrap();
    ground.commit("feat/main", &[("README.md", b"---\ntags: [else]\n---\n")]).await.unwrap();
    ground.commit("main", &[("notes.txt", b"hello")]).await.unwrap();
    assert_eq!(ground.facts().await, before);
}

#[tokio::test]
async fn broken_files_cost_only_what_they_would_have_said() {
    let ground = ground(RepoKind::Model).await;
    let mut lying = u64::MAX.to_le_bytes().to_vec();
    lying.extend(b"{}");
    let files: &[(&str, &[u8])] = &[
        ("README.md", CARD),
        ("config.json", b"{\"model_type\": [1"),
        ("model.safetensors", &lying),
        ("adapter_config.json", b"[]"),
    ];
    ground.commit("main", files).await.unwrap();
    let facts = ground.facts().await;
    assert_eq!((facts.safetensors, facts.config, facts.model_type), (None, None, None));
    assert_eq!(facts.base_model_relation.as_deref(), Some("adapter"));
    ground.commit("main", &[("model.safetensors", b"short")]).await.unwrap();
    assert_eq!(ground.facts().await.safetensors, None);
}

#[tokio::test]
async fn an_invalid_card_does_not_get_in() {
    let ground = ground(RepoKind::Model).await;
    let refused = ground.commit("main", &[("README.md", b"---\nmodel-index: foo\n---\n")]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Malformed);
    assert!(refused.to_string().contains("line 2"), "{refused}");
    ground.commit("main", &[("docs/README.md", b"---\nmodel-index: foo\n---\n")]).await.unwrap();
}

#[tokio::test]
async fn a_long_card_does_not_weigh_down_the_listing() {
    let ground = ground(RepoKind::Model).await;
    let results: String =
        (0..4_000).map(|i| format!("  - {{name: 'result {i}', results: [{{value: 0.{i}}}]}}\n")).collect();
    let card = format!("---\nlicense: mit\nmodel-index:\n{results}---\n");
    ground.commit("main", &[("README.md", card.as_bytes())]).await.unwrap();
    let facts = ground.facts().await;
    assert_eq!(facts.model_index(), None);
    assert!(facts.tags.contains(&"model-index".to_owned()));
    assert_eq!(facts.card_data.unwrap()["license"], "mit");
}

#[tokio::test]
async fn a_dataset_is_tagged_by_its_own_fields() {
    let ground = ground(RepoKind::Dataset).await;
    let card = b"---\nlanguage: de\ntask_categories: [text-classification]\nlicense: mit\n---\n";
    ground.commit("main", &[("README.md", card)]).await.unwrap();
    let wanted = ["task_categories:text-classification", "language:de", "license:mit", "region:us"];
    assert_eq!(ground.facts().await.tags, wanted);
}

#[tokio::test]
async fn many_files_are_walked_in_no_time() {
    let ground = ground(RepoKind::Model).await;
    let message = CommitMessage { title: "many".to_owned(), body: String::new() };
    let target = Target::branch("main", None).unwrap();
    let mut commit = ground.hub.begin_commit(&ground.ada, &ground.repo, target, message).unwrap();
    for i in 0..5_000 {
        commit.put(&format!("d{:03}/f{i}.txt", i % 500), "same".into()).await.unwrap();
    }
    commit.put("README.md", CARD.to_vec().into()).await.unwrap();
    let revision = commit.finish().await.unwrap();
    assert!(ground.facts().await.tags.contains(&"mine".to_owned()));
    let began = std::time::Instant::now();
    ground.hub.refresh_facts(&ground.repo, &revision).await;
    assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
}
