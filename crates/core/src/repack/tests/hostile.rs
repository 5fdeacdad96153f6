use weighthouse_store::catalog::jobs;

use super::material::Model;
use super::*;

/// A safetensors file with this header over so many bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(super::material::normal(3, data / 4, 1.0).iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[tokio::test]
async fn broken_and_lying_files_are_coded_as_bytes_and_come_back() {
    let ground = ground().await;
    let good = Model::new(1).safetensors(Dtype::F32);
    let cut = good[..good.len() / 2].to_vec();
    let overlapping = file(
        r#"{"a":{"dtype":"F32","shape":[4096],"data_offsets":[0,16384]},"b":{"dtype":"F32","shape":[4096],"data_offsets":[8192,24576]}}"#,
        24_576,
    );
    let beyond = file(r#"{"a":{"dtype":"F32","shape":[9000000],"data_offsets":[0,36000000]}}"#, 40_000);
    let mut gguf = Model::new(2).gguf(Dtype::F16);
    // The offset of a tensor, after the header: whatever it hits, the file must come back.
    gguf[60..120].iter_mut().for_each(|byte| *byte ^= 0x5a);
    let zeros = vec![0u8; 300_000];
    let noise: Vec<u8> = super::material::normal(9, 70_000, 1e9).iter().flat_map(|value| value.to_le_bytes()).collect();
    let files: Files<'_> = &[
        ("cut.safetensors", &cut),
        ("overlapping.safetensors", &overlapping),
        ("beyond.safetensors", &beyond),
        ("wrong.gguf", &gguf),
        ("zeros.bin", &zeros),
        ("noise.npy", &noise),
        ("empty.safetensors", &[]),
        ("config.json", b"{\"model_type\": [[[[1]]]]}"),
    ];
    let (repo, revision) = ground.model("ada/odd", files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    for source in plan.batches.iter().flatten() {
        let mut end = 0;
        for run in &source.runs {
            assert!(run.range.start >= end && run.range.end <= source.content.record.size_bytes, "{:?}", run.range);
            end = run.range.end;
        }
    }
    ground.repack().await;
    ground.check(&revision, files).await;
}

#[tokio::test]
async fn a_dataset_is_coded_without_being_read_as_a_checkpoint() {
    let ground = ground().await;
    let repo = tests::create(&ground.hub, &ground.callers["ada"], RepoKind::Dataset, "d").await;
    let lines: String =
        (0..20_000).map(|at| format!("{{\"id\": {at}, \"text\": \"the same words again\"}}\n")).collect();
    let weights = Model::new(3).safetensors(Dtype::F32);
    let files: Files<'_> = &[("train.jsonl", lines.as_bytes()), ("x.safetensors", &weights)];
    let revision = ground.commit("ada", &repo, files).await;
    ground.hub.work_off().await.unwrap();
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    assert!(plan.batches.iter().flatten().all(|source| source.runs.is_empty()));
    ground.repack().await;
    ground.check(&revision, files).await;
}

#[tokio::test]
async fn a_damaged_earlier_commit_does_not_keep_later_ones_from_being_coded() {
    let ground = ground().await;
    let (damaged, sound) = (Model::new(21).safetensors(Dtype::F32), Model::new(22).safetensors(Dtype::F32));
    let repo = ground.repo("ada", "ada/run", false).await;
    ground.commit("ada", &repo, &[("model.safetensors", &damaged)]).await;
    let revision = ground.commit("ada", &repo, &[("model.safetensors", &sound)]).await;
    ground.hub.work_off().await.unwrap();
    let content = ground.hub.content(&Sha256::of(&damaged)).await.unwrap();
    let place = ground.hub.catalog().packs().xorbs(&xorbs(&content)).await.unwrap().remove(0);
    let pack = ground.folder.path().join("blobs").join(place.pack.key());
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let subject = format!("{} {}", repo.record.key, revision.oid);
    let job = ground.hub.catalog().jobs().get(jobs::REPACK, &subject).await.unwrap().unwrap();
    ground.hub.carry_out_repack(&job).await.unwrap();
    assert!(ground.makeup(&damaged).await.is_empty());
    assert!(!ground.makeup(&sound).await.is_empty());
    ground.check(&revision, &[("model.safetensors", &sound)]).await;
}
