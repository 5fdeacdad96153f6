use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Map, Value, json};

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
    let hub = tests::hub(&folder).await;
    let ada = tests::user(&hub, "ada").await;
    Ground { hub, ada, folder }
}

impl Ground {
    async fn model(&self, name: &str, files: Files<'_>) -> (Repo, Revision) {
        let repo = tests::create(&self.hub, &self.ada, RepoKind::Model, name).await;
        let revision = tests::commit(&self.hub, &self.ada, &repo, MAIN, files).await.unwrap();
        (repo, revision)
    }

    async fn ask(&self, (repo, at): &(Repo, Revision), word: &str) -> Result<Offered, Error> {
        self.hub.ask_conversion(&self.ada, repo, at, ("", word)).await
    }

    async fn standing(&self, (repo, at): &(Repo, Revision), word: &str) -> Standing {
        let found = self.hub.conversions(repo, at, "").await.unwrap();
        found.into_iter().find(|offered| offered.offer.choice.word == word).unwrap().standing
    }

    async fn bytes(&self, file: &FileRecord) -> Vec<u8> {
        let pieces: Vec<bytes::Bytes> =
            self.hub.read(file, 0..file.size_bytes).await.unwrap().try_collect().await.unwrap();
        pieces.concat()
    }

    /// Waits until a pack is being written.
    async fn until_written(&self) {
        for _ in 0..2_000 {
            if self.unsealed().await > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no pack was begun");
    }

    async fn unsealed(&self) -> usize {
        self.hub.catalog().packs().unsealed(i64::MAX).await.unwrap().len()
    }

    async fn until_swept(&self) {
        for _ in 0..2_000 {
            if self.unsealed().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("an unfinished pack was left");
    }
}

/// A safetensors file of `F32` tensors with numbers that depend on `seed`.
fn weights(tensors: &[(&str, u64)], seed: u32) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    let mut state = seed | 1;
    for (name, elements) in tensors {
        let begin = data.len();
        for _ in 0..*elements {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            data.extend(((state >> 9) as f32 * 1e-6).to_le_bytes());
        }
        let info = json!({"dtype": "F32", "shape": [elements], "data_offsets": [begin, data.len()]});
        header.insert((*name).to_owned(), info);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Two shards and their index.
async fn sharded(ground: &Ground, name: &str) -> (Repo, Revision) {
    let (one, two) = (weights(&[("a", 1_000), ("b", 10)], 1), weights(&[("c", 70_000)], 2));
    let map = json!({"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
                     "c": "model-00002-of-00002.safetensors"});
    let index = json!({"metadata": {"total_size": 284_040}, "weight_map": map}).to_string();
    let files: &[(&str, &[u8])] = &[
        ("model-00001-of-00002.safetensors", &one),
        ("model-00002-of-00002.safetensors", &two),
        ("model.safetensors.index.json", index.as_bytes()),
    ];
    ground.model(name, files).await
}

/// One file that takes a while.
async fn large(ground: &Ground, name: &str) -> (Repo, Revision) {
    ground.model(name, &[("model.safetensors", &weights(&[("a", 2_000_000), ("b", 400_000)], 7))]).await
}

fn read(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__");
    let mut found: Vec<(String, Vec<u8>)> = tensors
        .map(|(name, info)| {
            let at = |number: usize| 8 + len + info["data_offsets"][number].as_u64().unwrap() as usize;
            (name.clone(), bytes[at(0)..at(1)].to_vec())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_conversion_is_made_once_and_kept() {
    let ground = ground().await;
    let model = sharded(&ground, "m").await;
    let hub = &ground.hub;
    hub.work_off().await.unwrap();
    let given = hub.catalog().contents().given_bytes(&model.0.record.key).await.unwrap();
    assert_eq!(ground.standing(&model, "safetensors").await, Standing::Unasked);
    let asked = ground.ask(&model, "safetensors").await.unwrap();
    assert_eq!((asked.standing, asked.offer.name.as_str()), (Standing::Waiting, "m.safetensors"));
    assert_eq!(ground.ask(&model, "safetensors").await.unwrap().standing, Standing::Waiting);
    assert_eq!(hub.work_off().await.unwrap(), 1, "asked for twice is done once");
    let Standing::Done(made) = ground.standing(&model, "safetensors").await else { panic!("it is not done") };
    let [output] = made.outputs.as_slice() else { panic!("{made:?}") };
    assert_eq!(output.size_bytes, asked.offer.planned.unwrap().size_bytes, "the size was known before");
    assert_eq!(made.record_name, "m.safetensors.weighthouse.convert.json");

    let digest = asked.digest.to_string();
    let Converted::File(file) = hub.converted(&model.0, &digest, "m.safetensors").await.unwrap() else { panic!() };
    let bytes = ground.bytes(&file).await;
    assert_eq!((Sha256::of(&bytes), bytes.len() as u64), (output.sha256, output.size_bytes));
    let mut wanted = read(&weights(&[("a", 1_000), ("b", 10)], 1));
    wanted.extend(read(&weights(&[("c", 70_000)], 2)));
    assert_eq!(read(&bytes), wanted);
    let Converted::Record(record) = hub.converted(&model.0, &digest, &made.record_name).await.unwrap() else {
        panic!()
    };
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["outputs"][0]["sha256"], output.sha256.to_string());
    assert_eq!(record["outputs"][0]["path"], "m.safetensors");
    let inputs = record["inputs"].as_array().unwrap();
    assert!(inputs.iter().any(|input| input["sha256"] == Sha256::of(&weights(&[("c", 70_000)], 2)).to_string()));

    assert!(matches!(ground.ask(&model, "safetensors").await.unwrap().standing, Standing::Done(_)));
    assert_eq!(hub.work_off().await.unwrap(), 0);
    let now = hub.catalog().contents().given_bytes(&model.0.record.key).await.unwrap();
    assert_eq!(now, given, "what is made counts for no repository");
    assert_eq!(ground.unsealed().await, 0);
    drop(ground.folder);
}

#[tokio::test]
async fn what_one_repository_has_made_is_not_told_to_another() {
    let ground = ground().await;
    let (one, two) = (sharded(&ground, "one").await, sharded(&ground, "two").await);
    let hub = &ground.hub;
    let digest = ground.ask(&one, "npz").await.unwrap().digest.to_string();
    assert!(matches!(hub.converted(&one.0, &digest, "one.npz").await, Err(Error::NotFound { .. })), "not yet");
    hub.work_off().await.unwrap();
    assert!(hub.converted(&one.0, &digest, "one.npz").await.is_ok());
    assert_eq!(ground.standing(&two, "npz").await, Standing::Unasked);
    for name in ["one.npz", "two.npz", "two.npz.weighthouse.convert.json"] {
        assert!(matches!(hub.converted(&two.0, &digest, name).await, Err(Error::NotFound { .. })), "{name}");
    }
    for (digest, name) in [(digest.as_str(), "x.npz"), (digest.as_str(), ""), ("x", "one.npz"), ("", "one.npz")] {
        assert!(matches!(hub.converted(&one.0, digest, name).await, Err(Error::NotFound { .. })), "{digest} {name}");
    }
}

#[tokio::test]
async fn what_is_not_possible_is_refused_before_any_work() {
    let ground = ground().await;
    let model = large(&ground, "m").await;
    ground.hub.work_off().await.unwrap();
    let offers = ground.hub.offers(&model.0, &model.1, "").await.unwrap();
    let reason = |word: &str| offers.iter().find(|offer| offer.choice.word == word).unwrap().planned.clone();
    assert!(reason("safetensors").unwrap_err().contains("`model.safetensors` is this already"));
    assert!(!reason("gguf-q8_0").unwrap_err().is_empty(), "no architecture is known");
    assert!(reason("torch").unwrap().size_bytes > 9_600_000);
    for word in ["safetensors", "gguf-q8_0"] {
        assert!(matches!(ground.ask(&model, word).await, Err(Error::Unsupported(_))), "{word}");
    }
    let unknown = ground.ask(&model, "tar").await.unwrap_err().to_string();
    assert!(unknown.contains("`tar`") && unknown.contains("gguf-q8_0"), "{unknown}");
    let stranger = ground.hub.ask_conversion(&Caller::anonymous(), &model.0, &model.1, ("", "torch")).await;
    assert!(matches!(stranger, Err(Error::Unauthenticated { .. })));
    let missing = ground.hub.conversions(&model.0, &model.1, "nothing").await;
    assert!(matches!(missing, Err(Error::EntryNotFound { .. })));
    assert_eq!(ground.hub.work_off().await.unwrap(), 0, "nothing was begun");
}

#[tokio::test]
async fn nobody_fills_the_queue_alone() {
    let ground = ground().await;
    let (one, two) = (sharded(&ground, "one").await, sharded(&ground, "two").await);
    for (model, word) in [(&one, "safetensors"), (&one, "torch"), (&one, "npz"), (&two, "safetensors")] {
        ground.ask(model, word).await.unwrap();
    }
    let refused = ground.ask(&two, "npz").await.unwrap_err();
    assert!(refused.to_string().contains("more than 4 conversions"), "{refused}");
    assert_eq!(ground.ask(&one, "npz").await.unwrap().standing, Standing::Waiting, "what waits already is no more");
    ground.hub.work_off().await.unwrap();
    assert!(ground.ask(&two, "npz").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_leaves_nothing_and_the_next_one_begins_anew() {
    let ground = ground().await;
    let model = large(&ground, "m").await;
    ground.hub.work_off().await.unwrap();
    ground.ask(&model, "torch").await.unwrap();
    let worker = tokio::spawn({
        let hub = ground.hub.clone();
        async move { hub.work_off().await }
    });
    ground.until_written().await;
    assert!(matches!(ground.standing(&model, "torch").await, Standing::Running { .. }));
    worker.abort();
    assert!(worker.await.is_err_and(|error| error.is_cancelled()), "it was cut off before it had ended");
    ground.until_swept().await;
    let hub = &ground.hub;
    assert_eq!(hub.work_off().await.unwrap(), 0, "the lease has not ended");
    assert_eq!(hub.catalog().jobs().release(hub.now_ms()).await.unwrap(), 1);
    assert_eq!(ground.standing(&model, "torch").await, Standing::Waiting);
    assert_eq!(hub.work_off().await.unwrap(), 1);
    assert!(matches!(ground.standing(&model, "torch").await, Standing::Done(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_stops_gives_the_work_back() {
    let ground = ground().await;
    let model = large(&ground, "m").await;
    ground.hub.work_off().await.unwrap();
    let digest = ground.ask(&model, "torch").await.unwrap().digest.to_string();
    let worker = tokio::spawn({
        let hub = ground.hub.clone();
        async move { hub.work().await }
    });
    ground.until_written().await;
    ground.hub.stop_work();
    tokio::time::timeout(Duration::from_secs(10), worker).await.expect("it stops soon").unwrap();
    assert_eq!(ground.unsealed().await, 0, "nothing of it stays");
    assert_eq!(ground.standing(&model, "torch").await, Standing::Waiting);
    let Ground { hub, folder, .. } = ground;
    hub.close().await;
    drop(hub);
    let again = tests::hub(&folder).await;
    assert_eq!(again.work_off().await.unwrap(), 1);
    assert!(again.converted(&model.0, &digest, "m.bin").await.is_ok());
}

#[tokio::test]
async fn a_folder_or_a_file_is_converted_alone() {
    let ground = ground().await;
    let data = weights(&[("a", 100)], 3);
    let (repo, at) = ground.model("pipe", &[("unet/w.safetensors", &data), ("vae/x.safetensors", &data)]).await;
    for (path, name) in [("unet", "pipe-unet.npz"), ("vae/x.safetensors", "x.npz")] {
        let asked = ground.hub.ask_conversion(&ground.ada, &repo, &at, (path, "npz")).await.unwrap();
        assert_eq!(asked.offer.name, name);
        ground.hub.work_off().await.unwrap();
        assert!(ground.hub.converted(&repo, &asked.digest.to_string(), name).await.is_ok());
    }
}
