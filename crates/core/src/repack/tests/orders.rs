use weighthouse_store::catalog::jobs;

use super::material::Model;
use super::*;

#[tokio::test]
async fn what_was_looked_at_is_left_alone_until_somebody_asks_again() {
    let ground = ground().await;
    let file = Model::new(1).safetensors(Dtype::F32);
    let (repo, revision) = ground.model("ada/m", &[("model.safetensors", &file)]).await;
    let status = ground.hub.repack_status().await.unwrap();
    assert!(status.waiting >= 1 && status.seen == 0 && status.coded == 0, "{status:?}");
    ground.repack().await;
    let status = ground.hub.repack_status().await.unwrap();
    assert!(status.seen == status.xorbs && status.coded >= 1 && status.stored_bytes < status.raw_bytes, "{status:?}");
    assert!(!status.codecs.is_empty());
    assert!(ground.plan(&repo, &revision, RepackPolicy::Full).await.batches.is_empty());
    let commits = ground.hub.repack_all(false).await.unwrap();
    assert_eq!(ground.hub.repack_status().await.unwrap().waiting, commits);
    ground.repack().await;
    ground.hub.repack_all(true).await.unwrap();
    assert_eq!(ground.hub.repack_status().await.unwrap().seen, 0);
    ground.repack().await;
    let again = ground.hub.repack_status().await.unwrap();
    assert_eq!(again.seen, again.xorbs);
    ground.check(&revision, &[("model.safetensors", &file)]).await;
}

#[tokio::test]
async fn what_came_before_is_coded_first_and_what_is_not_read_waits_for_that() {
    let ground = ground().await;
    let files: Vec<Vec<u8>> = (0..3).map(|step| Model::new(5).tuned(step).safetensors(Dtype::F32)).collect();
    let repo = ground.repo("ada", "ada/run", false).await;
    let mut revisions = Vec::new();
    for file in &files {
        revisions.push(ground.commit("ada", &repo, &[("model.safetensors", file)]).await);
    }
    assert_eq!(ground.hub.repack_all(false).await.unwrap(), 0, "nothing of it is read");
    ground.hub.work_off().await.unwrap();
    // The job of the newest is done first: what came before it is coded with it, in the order of history.
    let subject = format!("{} {}", repo.record.key, revisions[2].oid);
    let job = ground.hub.catalog().jobs().get(jobs::REPACK, &subject).await.unwrap().unwrap();
    ground.hub.carry_out_repack(&job).await.unwrap();
    assert!(ground.makeup(&files[0]).await.iter().all(|part| part.base.is_none()));
    for (revision, file) in revisions.iter().zip(&files) {
        if *file != files[0] {
            assert!(ground.leaning(file, &files[0]).await * 10 > file.len() as u64 * 9);
        }
        ground.check(revision, &[("model.safetensors", file)]).await;
    }
}

#[tokio::test]
async fn a_pause_holds_the_work_and_counts_as_no_failure() {
    let ground = ground().await;
    let file = Model::new(1).safetensors(Dtype::F32);
    let (_, revision) = ground.model("ada/m", &[("model.safetensors", &file)]).await;
    ground.hub.pause_repack(true).await.unwrap();
    assert!(!ground.hub.repack_once().await.unwrap());
    let status = ground.hub.repack_status().await.unwrap();
    assert!(status.is_paused && status.waiting > 0, "{status:?}");
    ground.hub.pause_repack(false).await.unwrap();
    ground.repack().await;
    ground.check(&revision, &[("model.safetensors", &file)]).await;
}

#[tokio::test]
async fn the_worker_codes_what_it_has_read_and_a_hub_that_must_not_does_nothing() {
    let ground = ground().await;
    let file = Model::new(2).safetensors(Dtype::F32);
    let repo = ground.repo("ada", "ada/m", false).await;
    ground.commit("ada", &repo, &[("model.safetensors", &file)]).await;
    let worker = tokio::spawn({
        let hub = ground.hub.clone();
        async move { hub.work().await }
    });
    let mut status = ground.hub.repack_status().await.unwrap();
    for _ in 0..3_000 {
        status = ground.hub.repack_status().await.unwrap();
        if status.is_idle() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(status.is_idle() && status.coded > 0, "{status:?}");
    assert_eq!(status.policy, Some(RepackPolicy::Full));
    ground.hub.close().await;
    worker.await.unwrap();
    let Ground { hub, folder, callers } = ground;
    drop(hub);
    let hub = open(&folder, RepackPolicy::Off).await;
    let ground = Ground { hub, callers, folder };
    let other = Model::new(3).safetensors(Dtype::F32);
    ground.model("ada/n", &[("model.safetensors", &other)]).await;
    let status = ground.hub.repack_status().await.unwrap();
    assert!(status.is_idle() && status.seen < status.xorbs, "{status:?}");
}

#[tokio::test]
async fn a_base_that_is_let_go_is_needed_by_nothing_afterwards() {
    let ground = ground().await;
    let base = Model::new(4).safetensors(Dtype::F32);
    let tuned = Model::new(4).tuned(1).safetensors(Dtype::F32);
    let next = Model::new(4).tuned(2).safetensors(Dtype::BF16);
    let repo = ground.repo("ada", "ada/m", false).await;
    let mut revisions = Vec::new();
    for file in [&base, &tuned, &next] {
        revisions.push(ground.commit("ada", &repo, &[("model.safetensors", file)]).await);
        ground.hub.work_off().await.unwrap();
        ground.repack().await;
    }
    assert!(ground.leaning(&tuned, &base).await > 0);
    let done = ground.hub.rebase(&Sha256::of(&base)).await.unwrap();
    assert!(done.xorbs > 0, "{done:?}");
    assert_eq!(ground.hub.catalog().recodes().dependants(&Sha256::of(&base)).await.unwrap(), []);
    assert!(!ground.makeup(&tuned).await.is_empty(), "it is coded all the same");
    for (revision, file) in revisions.iter().zip([&base, &tuned, &next]) {
        ground.check(revision, &[("model.safetensors", file)]).await;
    }
    assert_eq!(ground.hub.rebase(&Sha256::of(&base)).await.unwrap().xorbs, 0);
}
