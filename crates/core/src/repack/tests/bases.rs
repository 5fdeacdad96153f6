use super::material::Model;
use super::*;
use crate::convert::Form;

fn card(base: &str) -> Vec<u8> {
    format!("---\nbase_model: {base}\n---\n# tuned\n").into_bytes()
}

/// Bytes of the tensors that are long enough for a base.
fn large(model: &Model, width: u64) -> u64 {
    let sizes = model.0.values().map(|(_, values)| values.len() as u64 * width);
    sizes.filter(|size| *size >= 4096).sum()
}

#[tokio::test]
async fn a_fine_tune_saved_by_torch_leans_on_its_base_saved_as_safetensors() {
    let ground = ground().await;
    let (base, tuned) = (Model::new(1), Model::new(1).tuned(5));
    let file = base.safetensors(Dtype::F32);
    ground.model("ada/base", &[("model.safetensors", &file)]).await;
    ground.repack().await;
    let bin = tuned.converted(Form::Torch, None, "pytorch_model.bin").remove(0).1;
    let card = card("ada/base");
    let files: Files<'_> = &[("README.md", &card), ("pytorch_model.bin", &bin)];
    let (repo, revision) = ground.model("eve/tuned", files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    let source = planned(&plan, &bin);
    assert_eq!(bytes_of(on(source, &file)), large(&tuned, 4));
    assert_beside(source, &bin, &file);
    let light = ground.plan(&repo, &revision, RepackPolicy::Light).await;
    let light = planned(&light, &bin);
    assert!(light.runs.iter().all(|run| run.base.is_none()) && bytes_of(&light.runs) >= large(&tuned, 4));
    let off = ground.plan(&repo, &revision, RepackPolicy::Off).await;
    assert!(off.batches.is_empty());

    let before = ground.stored().await;
    ground.repack().await;
    let after = ground.stored().await;
    let saved = before.saturating_sub(after);
    assert!(saved * 10 > bin.len() as u64 * 3, "{saved} of {} saved", bin.len());
    assert!(ground.leaning(&bin, &file).await * 10 > bin.len() as u64 * 9);
    assert!(ground.makeup(&bin).await.iter().any(|part| part.codec == "delta"));
    ground.check(&revision, files).await;
}

#[tokio::test]
async fn a_copy_in_other_shards_is_derived() {
    let ground = ground().await;
    let model = Model::new(2);
    let file = model.safetensors(Dtype::F32);
    ground.model("ada/whole", &[("model.safetensors", &file)]).await;
    ground.repack().await;
    let shards = model.shards(Dtype::F32);
    let files: Vec<(&str, &[u8])> = shards.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    let (repo, revision) = ground.model("eve/cut", &files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    for (_, data) in &shards[..2] {
        // Chunks that the store has already lie in the base's own xorbs, and are left alone.
        assert!(!on(planned(&plan, data), &file).is_empty());
        assert_beside(planned(&plan, data), data, &file);
    }
    let before = ground.stored().await;
    ground.repack().await;
    assert!(ground.stored().await <= before);
    ground.check(&revision, &files).await;
    for (_, data) in &shards[..2] {
        let makeup = ground.makeup(data).await;
        assert!(makeup.iter().all(|part| part.codec != "delta"), "{makeup:?}");
    }
}

#[tokio::test]
async fn a_short_copy_is_derived_from_the_master_beside_it_and_the_master_needs_nothing() {
    let ground = ground().await;
    let model = Model::new(3);
    let (master, short) = (model.safetensors(Dtype::F32), model.safetensors(Dtype::BF16));
    let repo = ground.repo("ada", "ada/m", false).await;
    ground.commit("ada", &repo, &[("model.safetensors", &short)]).await;
    let revision = ground.commit("ada", &repo, &[("pt/master.safetensors", &master)]).await;
    ground.hub.work_off().await.unwrap();
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    assert!(planned(&plan, &master).runs.iter().all(|run| run.base.is_none()));
    assert_beside(planned(&plan, &short), &short, &master);
    for batch in &plan.batches {
        let pace = weighthouse_store::blob::Pace { share: 1.0, stop: std::sync::Arc::default() };
        let level = weighthouse_store::blob::codec::Level::Fast;
        ground.hub.store().recode(batch, level, false, &pace).await.unwrap();
    }
    ground.repack().await;
    ground.check(&revision, &[("model.safetensors", &short), ("pt/master.safetensors", &master)]).await;
    let derived = ground.makeup(&short).await.into_iter().filter(|part| part.codec == "derived");
    assert_eq!(derived.map(|part| part.raw_bytes).sum::<u64>(), large(&model, 2));
}

#[tokio::test]
async fn what_shares_a_xorb_with_its_base_stands_alone() {
    let ground = ground().await;
    let model = Model::new(3);
    let (master, short) = (model.safetensors(Dtype::F32), model.safetensors(Dtype::BF16));
    let files: Files<'_> = &[("pt/master.safetensors", &master), ("model.safetensors", &short)];
    let (repo, revision) = ground.model("ada/m", files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    assert!(plan.batches.iter().any(|batch| batch.len() == 2), "both lie in one xorb");
    assert_eq!(on(planned(&plan, &short), &master).len(), 0);
    ground.repack().await;
    ground.check(&revision, files).await;
}

#[tokio::test]
async fn weights_in_gguf_are_told_by_their_values() {
    let ground = ground().await;
    let model = Model::new(4);
    let file = model.safetensors(Dtype::F32);
    ground.model("ada/base", &[("model.safetensors", &file)]).await;
    ground.repack().await;
    let gguf = model.gguf(Dtype::F16);
    let card = card("ada/base");
    let files: Files<'_> = &[("README.md", &card), ("model.gguf", &gguf)];
    let (repo, revision) = ground.model("eve/gguf", files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    let source = planned(&plan, &gguf);
    assert!(bytes_of(on(source, &file)) * 10 > bytes_of(&source.runs) * 9);
    assert_beside(source, &gguf, &file);
    ground.repack().await;
    ground.check(&revision, files).await;
    assert!(ground.makeup(&gguf).await.iter().any(|part| part.codec == "derived"));
}

#[tokio::test]
async fn quantised_blocks_are_coded_as_such() {
    let ground = ground().await;
    let gguf = Model::new(5).gguf(Dtype::Q80);
    let files: Files<'_> = &[("model.gguf", &gguf)];
    let (repo, revision) = ground.model("ada/q", files).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    let quantised: Vec<_> = planned(&plan, &gguf).runs.iter().filter(|run| run.dtype == Dtype::Q80).collect();
    assert!(bytes_of(quantised.iter().copied()) * 10 > gguf.len() as u64 * 9);
    ground.repack().await;
    ground.check(&revision, files).await;
}

#[tokio::test]
async fn later_commits_and_steps_lean_on_the_first_that_stands_alone() {
    let ground = ground().await;
    let steps: Vec<Model> = (0..4).map(|step| Model::new(6).tuned(step)).collect();
    let files: Vec<Vec<u8>> = steps.iter().map(|model| model.safetensors(Dtype::F32)).collect();
    let repo = ground.repo("ada", "ada/run", false).await;
    let mut revisions = Vec::new();
    for file in &files[..3] {
        revisions.push(ground.commit("ada", &repo, &[("model.safetensors", file)]).await);
        ground.hub.work_off().await.unwrap();
        ground.repack().await;
    }
    // A difference to a difference would need two reads: the third leans on the first, like the second.
    for file in &files[1..3] {
        assert!(ground.leaning(file, &files[0]).await * 10 > file.len() as u64 * 9);
        assert!(
            ground.makeup(file).await.iter().all(|part| part.base.is_none_or(|base| base == Sha256::of(&files[0])))
        );
    }
    let folder: Files<'_> =
        &[("checkpoint-20/model.safetensors", &files[3]), ("checkpoint-3/model.safetensors", &files[1])];
    let last = ground.commit("ada", &repo, folder).await;
    ground.hub.work_off().await.unwrap();
    ground.repack().await;
    assert!(ground.leaning(&files[3], &files[0]).await > 0);
    for (revision, file) in revisions.iter().zip(&files) {
        ground.check(revision, &[("model.safetensors", file)]).await;
    }
    ground.check(&last, folder).await;
}

#[tokio::test]
async fn a_shard_of_rows_leans_on_the_rows_of_the_whole() {
    let ground = ground().await;
    let model = Model::new(7);
    let file = model.safetensors(Dtype::F32);
    ground.model("ada/base", &[("model.safetensors", &file)]).await;
    ground.repack().await;
    // More tokens: the first rows of the embedding are those of the base.
    let mut grown = model.tuned(9);
    let (shape, values) = grown.0.get_mut("model.embed_tokens.weight").unwrap();
    shape[0] += 20;
    values.extend(super::material::normal(11, 20 * 128, 0.02));
    let more = grown.safetensors(Dtype::F32);
    let card = card("ada/base");
    let (repo, revision) = ground.model("ada/more", &[("README.md", &card), ("model.safetensors", &more)]).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    assert_beside(planned(&plan, &more), &more, &file);
    let embedded =
        on(planned(&plan, &more), &file).into_iter().any(|run| run.range.end - run.range.start == 300 * 128 * 4);
    assert!(embedded, "the rows that both have");
}

#[tokio::test]
async fn a_model_without_a_card_is_found_by_shape_and_spread() {
    let ground = ground().await;
    let file = Model::new(8).safetensors(Dtype::F32);
    ground.model("eve/open", &[("model.safetensors", &file)]).await;
    let stranger = Model::new(88).safetensors(Dtype::F32);
    ground.model("eve/other", &[("model.safetensors", &stranger)]).await;
    ground.repack().await;
    let tuned = Model::new(8).tuned(3).safetensors(Dtype::F32);
    let (repo, revision) = ground.model("ada/found", &[("w.safetensors", &tuned)]).await;
    let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
    assert_beside(planned(&plan, &tuned), &tuned, &file);
    assert_eq!(on(planned(&plan, &tuned), &stranger).len(), 0);
}

#[tokio::test]
async fn tenants_that_may_not_see_each_other_share_no_base() {
    let ground = ground().await;
    let hidden = Model::new(9).safetensors(Dtype::F32);
    let repo = ground.repo("eve", "eve/hidden", true).await;
    ground.commit("eve", &repo, &[("model.safetensors", &hidden)]).await;
    ground.hub.work_off().await.unwrap();
    ground.repack().await;
    let model = Model::new(9);
    let card = card("eve/hidden");
    let copy = model.shards(Dtype::F32);
    let tuned = model.tuned(4).safetensors(Dtype::F32);
    let short = model.safetensors(Dtype::BF16);
    for (name, path, data) in
        [("a", "model.safetensors", &tuned), ("b", "m.safetensors", &short), ("c", "s.safetensors", &copy[0].1)]
    {
        let files: Files<'_> = &[("README.md", &card), (path, data)];
        let (repo, revision) = ground.model(&format!("ada/{name}"), files).await;
        let plan = ground.plan(&repo, &revision, RepackPolicy::Full).await;
        assert!(
            planned(&plan, data).runs.iter().all(|run| run.base.is_none_or(|base| base.sha256 != Sha256::of(&hidden)))
        );
        ground.repack().await;
        assert_eq!(ground.leaning(data, &hidden).await, 0, "{name}");
        ground.check(&revision, files).await;
    }
    // Whoever is in the organisation that owns it may lean on it.
    ground.hub.add_org(NewAccount { name: "lab".to_owned(), ..NewAccount::default() }).await.unwrap();
    ground.hub.set_member("lab", "ada", Some(Role::Read)).await.unwrap();
    ground.hub.set_member("lab", "eve", Some(Role::Write)).await.unwrap();
    let shared = Model::new(10).safetensors(Dtype::F32);
    let callers = &ground.callers;
    assert_eq!(callers.len(), 2);
    let admin = ground.hub.administrator("eve").await.unwrap();
    let new = NewRepo { private: true, ..tests::new_repo(RepoKind::Model, "lab/inside") };
    let inside = ground.hub.create_repo(&admin, new).await.unwrap();
    tests::commit(&ground.hub, &admin, &inside, MAIN, &[("model.safetensors", &shared)]).await.unwrap();
    ground.hub.work_off().await.unwrap();
    ground.repack().await;
    let tuned = Model::new(10).tuned(1).safetensors(Dtype::F32);
    ground.model("ada/own", &[("model.safetensors", &tuned)]).await;
    ground.repack().await;
    assert!(ground.leaning(&tuned, &shared).await > 0);
}

#[tokio::test]
async fn a_base_is_named_to_those_who_may_see_it() {
    let ground = ground().await;
    let (first, second) = (Model::new(12), Model::new(12).tuned(1));
    let base = first.safetensors(Dtype::F32);
    let hidden = ground.repo("ada", "ada/hidden", true).await;
    ground.commit("ada", &hidden, &[("weights/model.safetensors", &base)]).await;
    ground.hub.work_off().await.unwrap();
    ground.repack().await;
    let tuned = second.safetensors(Dtype::F32);
    let (repo, before) = ground.model("ada/tuned", &[("model.safetensors", &tuned)]).await;
    ground.repack().await;
    assert!(ground.leaning(&tuned, &base).await > 0);
    let named = async |who: &str, repo: &Repo, revision: &Revision, path: &str| {
        let files = ground.hub.file_usage(&ground.callers[who], repo, revision, 10).await.unwrap();
        let base = files.into_iter().find(|file| file.path == path).unwrap().base.expect("it has a base");
        base.place.map(|place| (place.repo, place.path, place.is_beside))
    };
    let there = Some(("ada/hidden".to_owned(), "weights/model.safetensors".to_owned(), false));
    assert_eq!(named("ada", &repo, &before, "model.safetensors").await, there);
    assert_eq!(named("eve", &repo, &before, "model.safetensors").await, None);
    // Once it is in the same repository, that is where it is looked for.
    let files: Files<'_> = &[("old/model.safetensors", &base)];
    let beside = ground.commit("ada", &repo, files).await;
    ground.hub.work_off().await.unwrap();
    let own = Some(("ada/tuned".to_owned(), "old/model.safetensors".to_owned(), true));
    assert_eq!(named("eve", &repo, &beside, "model.safetensors").await, own);
    assert_eq!(named("eve", &repo, &before, "model.safetensors").await, own.map(|(repo, path, _)| (repo, path, false)));
}
