//! What goes in comes out, and what is there does not travel again.

use std::time::Duration;

use weighthouse_hub::client::pull::{PullOptions, Pulled, Target, pull};
use weighthouse_hub::client::push::push;
use weighthouse_hub::client::{Api, ClientError, Filter, ListRepos, Meter, NewRepo};
use weighthouse_testkit::noise;

use crate::world::{api, assert_same, contents, model, put, repo, world};

const MIB: usize = 1 << 20;

async fn pull_to(api: &Api, id: &str, target: &std::path::Path) -> Result<Pulled, ClientError> {
    pull(api, &repo(id), &Target::Folder(target.to_owned()), &PullOptions::default(), &Meter::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_back_as_it_was_and_does_not_travel_twice() {
    let world = world().await;
    let (folder, back) = (model(40 * MIB), tempfile::tempdir().unwrap());
    let first = world.push(folder.path(), "ada/m").await.unwrap();
    assert_eq!((first.files, first.files_sent, first.commits), (6, 6, 1));
    assert!(first.new_bytes > 40 * MIB as u64);

    let pulled = pull_to(&world.api, "ada/m", back.path()).await.unwrap();
    assert_eq!(Some(pulled.commit.to_string()), first.commit);
    assert_eq!((pulled.files, pulled.files_fetched), (7, 7));
    assert_same(back.path(), folder.path());

    let again = pull_to(&world.api, "ada/m", back.path()).await.unwrap();
    assert_eq!((again.files_fetched, again.files_unchanged, again.wire_bytes), (0, 7, 0));
    put(back.path(), "config.json", b"{}");
    std::fs::remove_file(back.path().join("empty.txt")).unwrap();
    let repaired = pull_to(&world.api, "ada/m", back.path()).await.unwrap();
    assert_eq!(repaired.files_fetched, 2);
    assert_same(back.path(), folder.path());

    let second = world.push(folder.path(), "ada/m").await.unwrap();
    assert_eq!((second.files_sent, second.files_unchanged, second.commits), (0, 6, 0));
    assert_eq!((second.commit, second.wire_bytes), (first.commit, 0));

    // What was pulled can be pushed without its notes.
    let copy = world.push(back.path(), "ada/copy").await.unwrap();
    assert_eq!(copy.files, 7);
    assert!(copy.wire_bytes < 100_000, "{copy:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_a_copy_send_almost_nothing() {
    let world = world().await;
    let size = 48 * MIB;
    let folder = model(size);
    world.push(folder.path(), "ada/m").await.unwrap();
    let mut edited = noise(7, size);
    edited.splice(size / 2..size / 2, *b"eighteen new bytes");
    put(folder.path(), "model.safetensors", &edited);

    // Without notes, only the hub's answers help.
    let forgetful = world.options_without_notes();
    let pushed = push(&world.api, folder.path(), &repo("ada/m"), &forgetful, &Meter::new()).await.unwrap();
    assert!(pushed.wire_bytes < size as u64 / 50, "{pushed:?}");
    assert!(pushed.new_bytes < 300_000, "{pushed:?}");

    let copied = push(&world.api, folder.path(), &repo("ada/other"), &forgetful, &Meter::new()).await.unwrap();
    assert!(copied.wire_bytes < 50_000, "{copied:?}");
    assert_eq!(copied.new_bytes, 0);
    let back = tempfile::tempdir().unwrap();
    pull_to(&world.api, "ada/other", back.path()).await.unwrap();
    assert_same(back.path(), folder.path());

    // An insertion at the very beginning is found through the notes of the first push.
    edited.splice(0..0, *b"eighteen new bytes");
    put(folder.path(), "model.safetensors", &edited);
    let pushed = world.push(folder.path(), "ada/m").await.unwrap();
    assert!(pushed.wire_bytes < size as u64 / 50, "{pushed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_chunks_are_not_used() {
    let world = world().await;
    let folder = model(8 * MIB);
    let mut private = world.options();
    private.create = Some(true);
    push(&world.api, folder.path(), &repo("ada/secret"), &private, &Meter::new()).await.unwrap();
    let eve = world.hub.user("eve").await;
    let eve = api(&world.hub.base, Some(&eve));
    let options = world.options_without_notes();
    let pushed = push(&eve, folder.path(), &repo("eve/m"), &options, &Meter::new()).await.unwrap();
    assert!(pushed.new_bytes >= 8 * MIB as u64);
    let refused = pull_to(&eve, "ada/secret", tempfile::tempdir().unwrap().path()).await.unwrap_err();
    assert_eq!(refused.status(), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_off_push_goes_on_where_it_was() {
    let world = world().await;
    let size = 160 * MIB;
    let folder = model(size);
    let meter = Meter::new();
    let mut options = world.options();
    options.parallel = 1;
    let (api, path, watched) = (world.api.clone(), folder.path().to_owned(), meter.clone());
    let task = tokio::spawn(async move { push(&api, &path, &repo("ada/m"), &options, &watched).await });
    while meter.snapshot().wire_bytes < size as u64 / 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let left = meter.snapshot().wire_bytes;
    let pushed = world.push(folder.path(), "ada/m").await.unwrap();
    assert!(pushed.reused_bytes > 0, "{pushed:?}");
    // What was on its way is lost: one xorb.
    assert!(pushed.wire_bytes < size as u64 - left + (33 << 20), "{pushed:?} after {left}");
    let back = tempfile::tempdir().unwrap();
    pull_to(&world.api, "ada/m", back.path()).await.unwrap();
    assert_same(back.path(), folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_about_another_hubs_chunks_do_not_mislead() {
    let first = world().await;
    let folder = model(12 * MIB);
    std::thread::sleep(Duration::from_millis(2_100));
    first.push(folder.path(), "ada/m").await.unwrap();
    let second = world().await;
    // The same address with other data behind it: as after a restore from an old backup.
    let key = |base: &str| {
        let text = format!("{base}\nmodel\nada/m");
        weighthouse::Sha256::of(text.as_bytes()).to_string()[..32].to_owned()
    };
    let push_folder = first.cache.path().join("push");
    let target = second.cache.path().join("push");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::rename(push_folder.join(key(first.api.base())), target.join(key(second.api.base()))).unwrap();
    let pushed = second.push(folder.path(), "ada/m").await.unwrap();
    assert!(pushed.new_bytes >= 12 * MIB as u64, "{pushed:?}");
    let back = tempfile::tempdir().unwrap();
    pull_to(&second.api, "ada/m", back.path()).await.unwrap();
    assert_same(back.path(), folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_filters_and_rules_are_heeded() {
    let world = world().await;
    let folder = model(MIB);
    put(folder.path(), ".gitignore", b"*.tmp\n");
    put(folder.path(), "x.tmp", b"scratch");
    let mut options = world.options();
    options.revision = "feat/x".to_owned();
    options.filter = Filter::new(&[], &["sub dir/"]).unwrap();
    let pushed = push(&world.api, folder.path(), &repo("ada/m"), &options, &Meter::new()).await.unwrap();
    assert_eq!((pushed.files, pushed.files_sent, pushed.files_ignored), (6, 5, 1));
    let mut wanted = PullOptions::default();
    wanted.revision = "feat/x".to_owned();
    wanted.filter = Filter::new(&["*.json", "*.md"], &[]).unwrap();
    let back = tempfile::tempdir().unwrap();
    let target = Target::Folder(back.path().to_owned());
    let pulled = pull(&world.api, &repo("ada/m"), &target, &wanted, &Meter::new()).await.unwrap();
    assert_eq!(contents(back.path()).into_keys().collect::<Vec<_>>(), ["README.md", "config.json"]);
    assert_eq!(pulled.files, 2);
    let main = pull_to(&world.api, "ada/m", back.path()).await.unwrap();
    assert_eq!(main.files, 1, "the default branch has only what every new repository has");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_thousand_files_take_several_commits() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1_100 {
        put(folder.path(), &format!("d{}/f{number}.txt", number % 7), number.to_string().as_bytes());
    }
    let pushed = world.push(folder.path(), "ada/many").await.unwrap();
    assert_eq!((pushed.files_sent, pushed.commits), (1_100, 2));
    let back = tempfile::tempdir().unwrap();
    assert_eq!(pull_to(&world.api, "ada/many", back.path()).await.unwrap().files, 1_101);
    assert_same(back.path(), folder.path());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_cache_of_the_other_clients_is_filled() {
    let world = world().await;
    let folder = model(MIB);
    let pushed = world.push(folder.path(), "ada/m").await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let target = Target::Cache(cache.path().join("hub"));
    for fetched in [7, 0] {
        let pulled = pull(&world.api, &repo("ada/m"), &target, &PullOptions::default(), &Meter::new()).await.unwrap();
        assert_eq!(pulled.files_fetched, fetched);
        assert_eq!(
            pulled.folder,
            cache.path().join("hub/models--ada--m/snapshots").join(pushed.commit.clone().unwrap())
        );
        assert_same(&pulled.folder, folder.path());
    }
    let root = cache.path().join("hub/models--ada--m");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), pushed.commit.unwrap());
    let blobs: Vec<String> = std::fs::read_dir(root.join("blobs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(blobs.iter().all(|name| matches!(name.len(), 40 | 64)), "{blobs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_made_listed_and_deleted() {
    let world = world().await;
    assert_eq!(world.api.whoami().await.unwrap().name, "ada");
    let mut new = NewRepo::new(repo("datasets/ada/texts"));
    let url = world.api.create_repo(&new).await.unwrap();
    assert_eq!(url, format!("{}/datasets/ada/texts", world.hub.base));
    assert_eq!(world.api.create_repo(&new).await.unwrap_err().status(), Some(409));
    new.exist_ok = true;
    assert_eq!(world.api.create_repo(&new).await.unwrap(), url);
    let listed = world.api.list_repos(&ListRepos::new(weighthouse::RepoKind::Dataset)).await.unwrap();
    assert_eq!(listed.iter().map(|repo| repo.id.as_str()).collect::<Vec<_>>(), ["ada/texts"]);
    world.api.delete_repo(&repo("datasets/ada/texts")).await.unwrap();
    let gone = world.api.delete_repo(&repo("datasets/ada/texts")).await.unwrap_err();
    assert_eq!(gone.kind(), weighthouse::ErrorKind::NotFound);
    let stranger =
        api(&world.hub.base, Some(&"hf_".to_owned().chars().chain("x".repeat(40).chars()).collect::<String>()));
    let refused = stranger.whoami().await.unwrap_err();
    assert_eq!(refused.kind(), weighthouse::ErrorKind::Denied);
    assert!(refused.to_string().contains("request "), "{refused}");
}
