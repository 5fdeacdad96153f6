use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weighthouse_format::Folder;
use weighthouse_store::catalog::jobs;
use weighthouse_store::digest::Sha256;

use super::stored::StoredFolder;
use super::{Inside, Part, Progress, values::Npy};
use crate::access::{Caller, Repo};
use crate::facts::Facts;
use crate::inspect::modules::RowKind;
use crate::repos::{ListQuery, NewRepo};
use crate::revision::{MAIN, Revision};
use crate::tests::{self, Files};
use crate::{Error, Hub, RepoKind, RepoSort, Storage};

struct Ground {
    hub: Hub,
    ada: Caller,
    folder: tempfile::TempDir,
}

async fn ground(storage: Storage) -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = tests::hub_with(&folder, |options| options.storage = storage).await;
    let ada = tests::user(&hub, "ada").await;
    Ground { hub, ada, folder }
}

impl Ground {
    async fn repo(&self, name: &str, private: bool, files: Files<'_>) -> (Repo, Revision) {
        let new = NewRepo { private, ..tests::new_repo(RepoKind::Model, name) };
        let repo = self.hub.create_repo(&self.ada, new).await.unwrap();
        let revision = self.commit(&repo, files).await;
        (repo, revision)
    }

    async fn commit(&self, repo: &Repo, files: Files<'_>) -> Revision {
        tests::commit(&self.hub, &self.ada, repo, MAIN, files).await.unwrap()
    }

    async fn facts(&self, name: &str) -> Facts {
        let repo = self.hub.repo(&self.ada, RepoKind::Model, &format!("ada/{name}")).await.unwrap();
        Facts::of(&repo.record)
    }

    async fn found(&self, tags: &[&str], min: Option<u64>, max: Option<u64>) -> Vec<String> {
        let query = ListQuery {
            kind: RepoKind::Model,
            search: None,
            author: None,
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            min_parameters: min,
            max_parameters: max,
            sort: RepoSort::Updated,
            limit: 10,
            offset: 0,
        };
        let found = self.hub.list_repos(&self.ada, query).await.unwrap();
        found.into_iter().map(|record| record.id).collect()
    }
}

/// A safetensors file.
fn weights(tensors: &[(&str, &str, &[u64], Vec<u8>)]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend(bytes);
        let info = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), info);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn singles(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn find(inside: &Inside, name: &str) -> usize {
    inside.weights.find(inside.tensors(Part::Weights), name).unwrap()
}

#[tokio::test]
async fn ranges_of_stored_files_are_their_bytes() {
    let ground = ground(Storage::Memory).await;
    let data: Vec<u8> = (0..900_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (_, at) = ground.repo("m", false, &[("d/x.bin", &data), ("empty", b"")]).await;
    let folder = StoredFolder::of(&ground.hub, &at, "d/", u64::MAX).await.unwrap();
    let dear = StoredFolder::of(&ground.hub, &at, "d/", 1_000).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let section = folder.open("x.bin").unwrap();
        let mut state = 1u64;
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let begin = (state >> 20) % data.len() as u64;
            let len = ((state >> 40) % 300_000).min(data.len() as u64 - begin);
            let wanted = &data[begin as usize..(begin + len) as usize];
            assert_eq!(section.read("bytes", begin, len).unwrap(), wanted, "{begin} {len}");
        }
        assert!(section.read("bytes", data.len() as u64, 1).is_err());
        assert!(folder.open("y.bin").is_err());
        let refused = dear.open("x.bin").unwrap().read("bytes", 0, 2_000).unwrap_err();
        assert!(matches!(super::explain(refused), Error::Malformed(_)));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_same_tensor_is_found_in_another_file_but_only_by_those_who_may_see_it() {
    let ground = ground(Storage::Memory).await;
    let shared = singles(&[1.0, -2.0, 0.0, 4.0, f32::NAN, 6.0]);
    let one = weights(&[("a", "F32", &[2, 3], shared.clone()), ("b", "F32", &[1], singles(&[7.0]))]);
    let two = weights(&[("x", "I32", &[1], vec![1; 4]), ("deep.layer.w", "F32", &[2, 3], shared.clone())]);
    let three = weights(&[("reshaped", "F32", &[6], shared.clone())]);
    let (first, at) = ground.repo("open", false, &[("model.safetensors", &one)]).await;
    ground.repo("hidden", true, &[("sub/model.safetensors", &two)]).await;
    ground.repo("other", false, &[("model.safetensors", &three)]).await;
    assert!(matches!(ground.hub.reading(&first, &at).await.unwrap(), Progress::Waiting));
    assert!(ground.hub.work_off().await.unwrap() >= 3);
    let Progress::Done(reading) = ground.hub.reading(&first, &at).await.unwrap() else { panic!("not read") };
    assert_eq!((reading.formats.as_slice(), reading.tensors), (["safetensors".to_owned()].as_slice(), 2));
    assert_eq!(reading.parameters.total, 7);
    assert!(reading.warnings.iter().any(|warning| warning.message.contains("`a` has 1 NaN")), "{reading:?}");

    let inside = ground.hub.inside(&at, "").await.unwrap();
    let tensor = &inside.tensors(Part::Weights)[find(&inside, "a")];
    let indexed = ground.hub.indexed(&inside, tensor).await.unwrap().unwrap();
    assert_eq!(indexed.hash, Sha256::of(&shared));
    let stats = indexed.stats.unwrap();
    assert_eq!((stats.finite, stats.nan, stats.zeros, stats.min, stats.max), (5, 1, 1, Some(-2.0), Some(6.0)));
    let places = async |caller: &Caller| {
        let found = ground.hub.places_of(caller, tensor, &indexed.hash).await.unwrap();
        found.into_iter().map(|place| format!("{}:{}:{}", place.repo, place.path, place.name)).collect::<Vec<_>>()
    };
    assert_eq!(places(&Caller::anonymous()).await, ["ada/open:model.safetensors:a"]);
    assert_eq!(
        places(&ground.ada).await,
        ["ada/hidden:sub/model.safetensors:deep.layer.w", "ada/open:model.safetensors:a"]
    );
    assert_eq!(ground.hub.work_off().await.unwrap(), 0, "nothing is left to do");
}

#[tokio::test]
async fn a_commit_that_changes_no_weights_reads_none() {
    let ground = ground(Storage::Folder).await;
    let one = weights(&[("a", "F32", &[2], singles(&[1.0, f32::INFINITY]))]);
    let (repo, _) = ground.repo("m", false, &[("model.safetensors", &one)]).await;
    ground.hub.work_off().await.unwrap();
    let at = ground.commit(&repo, &[("README.md", b"Hello")]).await;
    // What lies at a known place is taken from the index: this hash was never computed.
    let inside = ground.hub.inside(&at, "").await.unwrap();
    let before = ground.hub.indexed(&inside, &inside.tensors(Part::Weights)[0]).await.unwrap().unwrap();
    ground.hub.work_off().await.unwrap();
    let Progress::Done(reading) = ground.hub.reading(&repo, &at).await.unwrap() else { panic!("not read") };
    assert!(reading.warnings[0].message.contains("1 infinite"), "known tensors keep their warnings");
    let tensor = &inside.tensors(Part::Weights)[0];
    assert_eq!(ground.hub.indexed(&inside, tensor).await.unwrap().unwrap(), before);
    let found = ground.hub.places_of(&ground.ada, tensor, &before.hash).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].commit, at.oid, "the newest commit is named");
}

#[tokio::test]
async fn broken_files_are_said_to_be_broken_and_the_rest_is_read() {
    let ground = ground(Storage::Memory).await;
    let good = weights(&[("a", "F32", &[1], singles(&[1.0]))]);
    let mut bad = weights(&[("b", "F32", &[400], singles(&[1.0; 400]))]);
    bad.truncate(bad.len() - 3);
    let (repo, at) = ground.repo("m", false, &[("good.safetensors", &good), ("sub/bad.safetensors", &bad)]).await;
    ground.hub.work_off().await.unwrap();
    let Progress::Done(reading) = ground.hub.reading(&repo, &at).await.unwrap() else { panic!("not read") };
    assert_eq!(reading.tensors, 1);
    assert!(reading.warnings.iter().any(|warning| warning.file == "sub/bad.safetensors"), "{reading:?}");
    assert!(matches!(ground.hub.inside(&at, "sub/bad.safetensors").await, Err(Error::Malformed(_))));
    assert!(matches!(ground.hub.inside(&at, "nothing").await, Err(Error::EntryNotFound { .. })));
    let alone = ground.hub.inside(&at, "good.safetensors").await.unwrap();
    assert_eq!(alone.tensors(Part::Weights).len(), 1);
}

#[tokio::test]
async fn a_job_survives_its_worker_and_a_deleted_repository() {
    let ground = ground(Storage::Folder).await;
    let file = weights(&[("a", "F32", &[1], singles(&[1.0]))]);
    let (repo, at) = ground.repo("m", false, &[("model.safetensors", &file)]).await;
    let (gone, _) = ground.repo("gone", false, &[("model.safetensors", &file)]).await;
    ground.hub.delete_repo(&ground.ada, &gone).await.unwrap();
    // Also those that wait a moment.
    let now_ms = ground.hub.now_ms() + 3_600_000;
    for kind in [jobs::READ, jobs::ADVISE, jobs::SCAN, jobs::RESCAN] {
        while ground.hub.catalog().jobs().take(kind, now_ms, i64::MAX, 99).await.unwrap().is_some() {}
    }
    ground.hub.work_off().await.unwrap();
    let reading = ground.hub.reading(&repo, &at).await.unwrap();
    assert!(!matches!(reading, Progress::Done(_)), "a worker that will die holds the job");
    ground.hub.close().await;
    let Ground { hub, folder, .. } = ground;
    drop(hub);
    let hub = tests::hub(&folder).await;
    assert!(hub.work_off().await.unwrap() >= 2);
    assert!(matches!(hub.reading(&repo, &at).await.unwrap(), Progress::Done(_)));
}

#[tokio::test]
async fn models_are_found_by_what_was_read() {
    let ground = ground(Storage::Memory).await;
    let file = weights(&[("model.embed.weight", "BF16", &[50, 20], vec![0; 2_000])]);
    let config = json!({"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 20}).to_string();
    let files: &[(&str, &[u8])] = &[("model.safetensors", &file), ("config.json", config.as_bytes())];
    let (repo, _) = ground.repo("small", false, files).await;
    ground.repo("none", false, &[("a.txt", b"text")]).await;
    ground.hub.work_off().await.unwrap();
    let inside = ground.facts("small").await.inside.unwrap();
    assert_eq!((inside.family.as_deref(), inside.class.as_deref()), (Some("bert"), Some("BertForMaskedLM")));
    assert_eq!((inside.parameters.total, inside.sizes["hidden_size"]), (1_000, 20));
    assert_eq!(ground.found(&["BertForMaskedLM"], None, None).await, ["ada/small"]);
    assert_eq!(ground.found(&["bert"], Some(1_000), Some(1_000)).await, ["ada/small"]);
    assert!(ground.found(&[], Some(1_001), None).await.is_empty());
    ground.commit(&repo, &[("README.md", b"---\nlicense: mit\n---\n")]).await;
    assert_eq!(ground.found(&["BertForMaskedLM", "license:mit"], Some(5), None).await, ["ada/small"]);
}

#[tokio::test]
async fn values_are_those_of_the_file() {
    let ground = ground(Storage::Memory).await;
    let table: Vec<f32> = (0..40 * 30).map(|i| i as f32).collect();
    let brain: Vec<u8> = (0..20u16).flat_map(|i| (0x3f80 + i).to_le_bytes()).collect();
    let file = weights(&[
        ("table", "F32", &[4, 10, 30], singles(&table)),
        ("brain", "BF16", &[20], brain),
        ("one", "I64", &[], 5i64.to_le_bytes().to_vec()),
        ("none", "F32", &[0, 3], Vec::new()),
    ]);
    let (_, at) = ground.repo("m", false, &[("model.safetensors", &file)]).await;
    ground.hub.work_off().await.unwrap();
    let inside = ground.hub.inside(&at, "").await.unwrap();
    let window = async |name, at| ground.hub.window(&inside, Part::Weights, find(&inside, name), at).await.unwrap();
    let seen = window("table", (38, 20)).await;
    assert_eq!((seen.rows, seen.columns, seen.values.len(), seen.values[0].len()), (40, 30, 2, 10));
    assert_eq!(seen.values[1][9], 1_199.0);
    assert_eq!(window("table", (u64::MAX, u64::MAX)).await.values, [[1_199.0]]);
    let vector = window("brain", (1, 0)).await;
    assert_eq!((vector.rows, vector.columns, vector.values[0].len(), vector.values[0][0]), (2, 16, 4, 1.125));
    assert_eq!(window("one", (0, 0)).await.values, [[5.0]]);
    assert!(window("none", (0, 0)).await.values.is_empty());

    let number = find(&inside, "table");
    let indexed = ground.hub.indexed(&inside, &inside.tensors(Part::Weights)[number]).await.unwrap().unwrap();
    let what = (indexed.hash, indexed.stats.unwrap());
    for _ in 0..2 {
        let histogram = ground.hub.histogram(&inside, Part::Weights, number, what).await.unwrap().unwrap();
        assert_eq!((histogram.counted, histogram.sampled, histogram.max), (1_200, false, 1_199.0));
        assert!(histogram.counts.iter().all(|&count| count == 25), "{:?}", histogram.counts);
    }
    for (name, descr, data) in [
        ("table", "'<f4', 'fortran_order': False, 'shape': (4, 10, 30), }", singles(&table)),
        ("brain", "'<f4', 'fortran_order': False, 'shape': (20,), }", {
            let widened: Vec<f32> = (0..20u32).map(|i| f32::from_bits((0x3f80 + i) << 16)).collect();
            singles(&widened)
        }),
        ("one", "'<i8', 'fortran_order': False, 'shape': (), }", 5i64.to_le_bytes().to_vec()),
        ("none", "'<f4', 'fortran_order': False, 'shape': (0, 3), }", Vec::new()),
    ] {
        let (npy, mut pieces) = ground.hub.npy(&inside, Part::Weights, find(&inside, name)).await.unwrap();
        let mut sent = Vec::new();
        while let Some(piece) = pieces.recv().await {
            sent.extend(piece.unwrap());
        }
        assert_eq!(sent.len() as u64, npy.size_bytes, "{name}");
        let begin = sent.len() - data.len();
        assert_eq!(begin % 64, 0);
        assert!(String::from_utf8_lossy(&sent[..begin]).contains(&format!("{{'descr': {descr}")), "{name}");
        assert_eq!(sent[begin..], data, "{name}");
    }
}

#[tokio::test]
async fn layers_and_experts_make_series_and_blocks() {
    let ground = ground(Storage::Memory).await;
    let mut tensors: Vec<(String, Vec<f32>)> =
        vec![("lm_head.weight".into(), vec![1.0]), ("model.embed.w".into(), vec![2.0])];
    for layer in 0..3 {
        tensors.push((format!("model.layers.{layer}.norm.w"), vec![layer as f32]));
        for expert in 0..4 {
            tensors.push((format!("model.layers.{layer}.mlp.experts.{expert}.w1"), vec![expert as f32; 10]));
        }
    }
    let named: Vec<(&str, &str, &[u64], Vec<u8>)> = tensors
        .iter()
        .map(|(name, values)| {
            (name.as_str(), "F32", if values.len() == 1 { &[1u64][..] } else { &[10][..] }, singles(values))
        })
        .collect();
    let file = weights(&named);
    let (_, at) = ground.repo("m", false, &[("model.safetensors", &file)]).await;
    ground.hub.work_off().await.unwrap();
    let inside = ground.hub.inside(&at, "model.safetensors").await.unwrap();
    let all = inside.tensors(Part::Weights);
    let tensor = &all[find(&inside, "model.layers.1.mlp.experts.2.w1")];
    let series = inside.series(Part::Weights, tensor);
    assert_eq!(series.len(), 2);
    assert_eq!(series[0].pattern, "model.layers.*.mlp.experts.2.w1");
    assert_eq!(series[1].members.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let members: Vec<_> = series[0].members.iter().map(|(_, number)| &all[*number]).collect();
    let known = ground.hub.indexed_all(&inside, &members).await.unwrap();
    assert!(known.iter().all(|one| one.as_ref().unwrap().stats.unwrap().mean == Some(2.0)));
    let rows = inside.weights.level(all, "", true);
    let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["lm_head", "model"]);
    assert!(matches!(&rows[1].kind, RowKind::Module { name, .. } if name == "model"));
    let blocks = inside.diagram();
    let shown: Vec<(&str, &str)> = blocks.iter().map(|block| (block.label.as_str(), block.role.as_str())).collect();
    assert_eq!(shown, [("model", "module"), ("lm_head", "head")], "{blocks:?}");
    let layers = blocks[0].inner.iter().find(|block| block.label == "layers.0–2").unwrap();
    assert_eq!((layers.alike, layers.elements, layers.module.as_str()), (3, 123, "model.layers.0"));
    assert_eq!(layers.inner[0].label, "mlp.experts.0–3");
}

proptest! {
    #[test]
    fn npy_headers_end_where_data_may_begin(shape in prop::collection::vec(0u64..1_000_000, 0..20)) {
        let stored = weighthouse_format::tensor::Stored::inline(&[]);
        let tensor = weighthouse_format::Tensor::plain("t", weighthouse_format::Dtype::F16, shape, stored);
        if let Ok(npy) = Npy::of(&tensor) {
            prop_assert_eq!((npy.size_bytes - 2 * tensor.elements()) % 64, 0);
        }
    }
}

#[tokio::test]
async fn the_reading_of_one_revision_is_shared_and_kept() {
    let ground = ground(Storage::Memory).await;
    let file = weights(&[("a", "F32", &[1], singles(&[1.0]))]);
    let (repo, at) = ground.repo("m", false, &[("model.safetensors", &file)]).await;
    let one = ground.hub.inside(&at, "").await.unwrap();
    let other = ground.hub.inside(&ground.hub.revision(&repo, MAIN).await.unwrap(), "/").await.unwrap();
    assert!(Arc::ptr_eq(&one, &other));
}
