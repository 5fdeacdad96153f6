//! One suite on both engines: SQLite always, PostgreSQL where `WH_TEST_POSTGRES` names a server.

use super::*;
use crate::digest::{GitOid, Sha256};
use crate::repo::commit::{Commit, Signature};
use crate::repo::edit::{EditError, TreeEdit};
use crate::repo::object::{ObjectKind, object_id};
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::shard::Term;

/// Runs a test on each engine, each time on an empty database.
macro_rules! on_both_engines {
    ($($name:ident)+) => { $(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                let folder = tempfile::tempdir().unwrap();
                super::$name(super::Catalog::sqlite(&folder.path().join("catalog %?#.sqlite")).await.unwrap()).await;
            }

            #[tokio::test]
            async fn postgres() {
                if let Some(catalog) = super::empty_postgres(stringify!($name)).await {
                    super::$name(catalog).await;
                }
            }
        }
    )+ };
}

on_both_engines! {
    accounts_are_unique_without_regard_to_case
    tokens_are_found_by_their_secret_only
    repositories_are_listed_for_those_who_may_see_them
    a_moved_repository_answers_under_its_old_id
    refs_move_only_from_where_they_are
    a_commit_is_recorded_whole_or_not_at_all
    contents_and_xorbs_survive_the_round_trip
    more_rows_than_fit_one_statement_are_all_recorded
    folders_change_only_where_they_are_touched
    concurrent_writers_queue
    a_newer_schema_is_refused
    work_is_done_by_one_and_not_lost
    settings_are_set_and_taken_away
    the_same_tensor_is_found_only_where_the_viewer_may_look
    readings_belong_to_their_version
    a_conversion_is_kept_with_its_repository
    a_comparison_is_kept_for_whoever_has_both_sides
    a_feed_replaces_what_it_said_and_nothing_else
    what_an_advisory_concerns_is_told_once
}

mod audit;
mod policies;
mod verdicts;

pub(super) async fn empty_postgres(name: &str) -> Option<Catalog> {
    let Ok(url) = std::env::var("WH_TEST_POSTGRES") else {
        eprintln!("WH_TEST_POSTGRES is not set: not run on PostgreSQL");
        return None;
    };
    sqlx::any::install_default_drivers();
    let server = AnyPool::connect(&url).await.unwrap();
    let database = format!("wh_{name}");
    let database = database.get(..database.len().min(60)).unwrap();
    for sql in [format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"), format!("CREATE DATABASE {database}")] {
        // Two tests that create databases at once collide on the template.
        let mut tries = 0;
        while let Err(error) = server.execute(AssertSqlSafe(sql.clone())).await {
            tries += 1;
            assert!(tries < 50, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let (base, query) = url.split_once('?').map_or((url.as_str(), String::new()), |(b, q)| (b, format!("?{q}")));
    let base = base.rsplit_once('/').unwrap().0;
    Some(Catalog::postgres(&format!("{base}/{database}{query}")).await.unwrap())
}

fn user(name: &str) -> Account {
    Account {
        id: fresh_id().unwrap(),
        kind: AccountKind::User,
        name: name.to_owned(),
        fullname: name.to_owned(),
        email: None,
        admin: false,
        created_at_ms: 1,
    }
}

/// Puts an account on record.
async fn added(catalog: &Catalog, account: Account) -> Account {
    catalog.accounts().add(&account, None).await.unwrap();
    account
}

fn repo(id: &str, owner: &Account, private: bool) -> RepoRecord {
    RepoRecord {
        key: RepoKey::from(fresh_id().unwrap()),
        kind: RepoKind::Model,
        id: id.to_owned(),
        owner: owner.id.clone(),
        private,
        created_at_ms: 1,
        updated_at_ms: 1,
        downloads: 0,
        facts: "{}".to_owned(),
    }
}

/// Puts contents without bytes on record.
async fn know(catalog: &Catalog, digests: &[Sha256]) {
    let content = |sha256: &Sha256| Content {
        record: ContentRecord { sha256: *sha256, size_bytes: 6, file_hash: XetHash::from_bytes(sha256.0) },
        terms: Vec::new(),
    };
    let contents: Vec<Content> = digests.iter().map(content).collect();
    catalog.contents().add_apart(&contents).await.unwrap();
}

/// Puts xorbs on record.
async fn store(catalog: &Catalog, hashes: &[XetHash]) {
    let id = catalog.packs().begin(5).await.unwrap();
    let xorb = |hash: &XetHash| XorbRecord {
        hash: *hash,
        pack: id.clone(),
        form: XorbForm::Arrived,
        depth: 0,
        encoder: 0,
        body_offset: 16,
        body_len: 100,
        index_offset: 116,
        index_len: 48,
        raw_len: 200,
        chunks: 1,
    };
    let xorbs = hashes.iter().map(xorb).collect();
    catalog.packs().seal(&SealedPack { id: id.clone(), size_bytes: 300, xorbs, dedup: Vec::new() }).await.unwrap();
}

async fn accounts_are_unique_without_regard_to_case(catalog: Catalog) {
    let accounts = catalog.accounts();
    let ada = added(&catalog, user("__Ada__")).await;
    let clash = accounts.add(&Account { kind: AccountKind::Org, ..user("__ada__") }, None).await;
    assert!(matches!(clash, Err(StoreError::Exists { .. })));
    assert_eq!(accounts.find("__ADA__").await.unwrap(), Some(ada.clone()));
    let lab = added(&catalog, Account { kind: AccountKind::Org, email: Some("l@b".into()), ..user("lab") }).await;
    accounts.set_member(&lab.id, &ada.id, Some(Role::Read), |_| None).await.unwrap();
    accounts.set_member(&lab.id, &ada.id, Some(Role::Admin), |_| None).await.unwrap();
    assert_eq!(accounts.role(&lab.id, &ada.id).await.unwrap(), Some(Role::Admin));
    assert_eq!(accounts.orgs_of(&ada.id).await.unwrap(), [Membership { account: lab.clone(), role: Role::Admin }]);
    assert_eq!(accounts.members_of(&lab.id).await.unwrap()[0].account, ada);
    accounts.set_member(&lab.id, &ada.id, None, |_| None).await.unwrap();
    assert_eq!(accounts.role(&lab.id, &ada.id).await.unwrap(), None);
    assert!(accounts.orgs_of(&ada.id).await.unwrap().is_empty());
}

async fn tokens_are_found_by_their_secret_only(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let token = TokenRecord {
        id: fresh_id().unwrap(),
        account: ada.id.clone(),
        name: "laptop".into(),
        scope: Scope::Write,
        repos: Some(vec![RepoKey::from("r1".to_owned()), RepoKey::from("r2".to_owned())]),
        automated: true,
        created_at_ms: 5,
        expires_at_ms: Some(9),
        last_used_at_ms: None,
    };
    catalog.tokens().add(&token, "hf_secret", None).await.unwrap();
    assert!(matches!(catalog.tokens().add(&token, "hf_secret", None).await, Err(StoreError::Exists { .. })));
    assert_eq!(catalog.tokens().find("hf_secret").await.unwrap(), Some((token.clone(), ada.clone())));
    assert_eq!(catalog.tokens().find("hf_other").await.unwrap(), None);
    catalog.tokens().touch(&token.id, 7).await.unwrap();
    assert_eq!(catalog.tokens().list(&ada.id).await.unwrap()[0].last_used_at_ms, Some(7));
    assert!(catalog.tokens().revoke(&token.id, None).await.unwrap());
    assert_eq!(catalog.tokens().find("hf_secret").await.unwrap(), None);
}

async fn repositories_are_listed_for_those_who_may_see_them(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let bob = added(&catalog, user("bob")).await;
    let lab = added(&catalog, Account { kind: AccountKind::Org, ..user("lab") }).await;
    catalog.accounts().set_member(&lab.id, &bob.id, Some(Role::Read), |_| None).await.unwrap();
    let open = repo("ada/Open_Model", &ada, false);
    let hidden = repo("ada/hidden", &ada, true);
    let shared = repo("lab/shared", &lab, true);
    for r in [&open, &hidden, &shared] {
        catalog.repos().add(r, None).await.unwrap();
    }
    assert!(matches!(
        catalog.repos().add(&repo("ADA/open_model", &ada, false), None).await,
        Err(StoreError::Exists { .. })
    ));
    catalog.repos().set_facts(&open.key, "{\"a\":1}", &["x".into(), "license:mit".into()], 7_000).await.unwrap();
    let all = RepoQuery {
        kind: RepoKind::Model,
        search: None,
        author: None,
        tags: vec![],
        min_parameters: None,
        max_parameters: None,
        sort: RepoSort::Updated,
        limit: 10,
        offset: 0,
    };
    let ids = async |query: &RepoQuery, viewer: &Viewer| {
        let mut ids: Vec<_> = catalog.repos().list(query, viewer).await.unwrap().into_iter().map(|r| r.id).collect();
        ids.sort();
        ids
    };
    let of = |account: &Account| Viewer { account: Some(account.id.clone()), ..Viewer::default() };
    assert_eq!(ids(&all, &Viewer::default()).await, ["ada/Open_Model"]);
    assert_eq!(ids(&all, &of(&ada)).await, ["ada/Open_Model", "ada/hidden"]);
    assert_eq!(ids(&all, &of(&bob)).await, ["ada/Open_Model", "lab/shared"]);
    assert_eq!(ids(&all, &Viewer { admin: true, ..of(&bob) }).await.len(), 3);
    assert_eq!(ids(&all, &Viewer { only: Some(vec![]), ..of(&ada) }).await, ["ada/Open_Model"]);
    let search = |text: &str| RepoQuery { search: Some(text.into()), ..all.clone() };
    assert_eq!(ids(&search("N_MOD"), &of(&ada)).await, ["ada/Open_Model"]);
    assert!(ids(&search("nxmod"), &of(&ada)).await.is_empty(), "an underscore is a letter, not a wildcard");
    let tagged = |tag: &str| RepoQuery { tags: vec!["x".into(), tag.into()], ..all.clone() };
    assert_eq!(ids(&tagged("license:mit"), &of(&ada)).await, ["ada/Open_Model"]);
    assert!(ids(&tagged("license:gpl"), &of(&ada)).await.is_empty());
    let sized = |min, max| RepoQuery { min_parameters: min, max_parameters: max, ..all.clone() };
    assert_eq!(ids(&sized(Some(7_000), Some(u64::MAX)), &of(&ada)).await, ["ada/Open_Model"]);
    assert!(ids(&sized(Some(7_001), None), &of(&ada)).await.is_empty());
    assert!(ids(&sized(None, Some(6_999)), &of(&ada)).await.is_empty(), "an unknown size is in no range");
    assert_eq!(ids(&RepoQuery { author: Some("LAB".into()), ..all.clone() }, &of(&bob)).await, ["lab/shared"]);

    let digest = Sha256::of(b"secret");
    know(&catalog, &[digest]).await;
    catalog.contents().give(&hidden.key, &digest, 1).await.unwrap();
    let visible = async |viewer: Viewer| catalog.repos().content_visible(&digest.to_string(), &viewer).await.unwrap();
    assert!(visible(of(&ada)).await && !visible(of(&bob)).await && !visible(Viewer::default()).await);
    let xorb = XetHash::from_bytes([3; 32]);
    store(&catalog, &[xorb]).await;
    catalog.packs().hold(&[xorb], &hidden.key, &ada.id).await.unwrap();
    let seen =
        async |viewer: Viewer| !catalog.repos().visible_xorbs(&[xorb.to_string()], &viewer).await.unwrap().is_empty();
    assert!(seen(of(&ada)).await && !seen(of(&bob)).await && !seen(Viewer::default()).await);
    catalog.packs().hold(&[xorb], &shared.key, &ada.id).await.unwrap();
    assert!(seen(of(&bob)).await && !seen(Viewer::default()).await);
    catalog.repos().delete(&open.key, None).await.unwrap();
    assert!(catalog.repos().find(RepoKind::Model, &open.id).await.unwrap().is_none());
}

async fn a_moved_repository_answers_under_its_old_id(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let first = repo("ada/first", &ada, false);
    let other = repo("ada/other", &ada, false);
    catalog.repos().add(&first, None).await.unwrap();
    catalog.repos().add(&other, None).await.unwrap();
    let clash = catalog.repos().rename(&first, "ADA/other", &ada.id, None).await;
    assert!(matches!(clash, Err(StoreError::Exists { .. })), "{clash:?}");
    catalog.repos().rename(&first, "ada/second", &ada.id, None).await.unwrap();
    let redirect = async |id: &str| catalog.repos().redirect(RepoKind::Model, id).await.unwrap();
    assert_eq!(redirect("ADA/First").await.as_deref(), Some("ada/second"));
    catalog.repos().add(&repo("ada/first", &ada, false), None).await.unwrap();
    assert_eq!(redirect("ada/first").await, None);
}

async fn refs_move_only_from_where_they_are(catalog: Catalog) {
    let (repo, main) = (RepoKey::from("r".to_owned()), "refs/heads/main");
    know(&catalog, &[Sha256([5; 32])]).await;
    let [a, b, c] = ["a", "b", "c"].map(|name| new_commit(&repo, None, name));
    for commit in [&a, &b, &c] {
        let ref_name = format!("refs/heads/{}", commit.fingerprint);
        catalog
            .commits()
            .add(&NewCommit { ref_name: ref_name.clone(), ..new_commit(&repo, None, &commit.fingerprint) })
            .await
            .unwrap();
        catalog.refs().delete(&repo, &ref_name).await.unwrap();
    }
    let [a, b, c] = [a.oid, b.oid, c.oid];
    let swing = async |old, new| catalog.refs().swing(&repo, main, old, new).await;
    swing(None, a).await.unwrap();
    swing(None, a).await.unwrap();
    assert!(matches!(swing(None, b).await, Err(StoreError::RefMoved { .. })));
    swing(Some(a), b).await.unwrap();
    swing(Some(a), b).await.unwrap();
    assert!(matches!(swing(Some(a), c).await, Err(StoreError::RefMoved { .. })));
    assert!(matches!(swing(Some(b), GitOid([9; 20])).await, Err(StoreError::Gone { .. })), "there is no such commit");
    assert_eq!(catalog.refs().read(&repo, main).await.unwrap(), Some(b));
    assert_eq!(catalog.refs().list(&repo).await.unwrap(), [RefRecord { name: main.into(), target: b }]);
    assert!(catalog.refs().delete(&repo, main).await.unwrap());
    assert!(!catalog.refs().delete(&repo, main).await.unwrap());
}

fn new_commit(repo: &RepoKey, old: Option<GitOid>, message: &str) -> NewCommit {
    let commit = Commit {
        tree: object_id(ObjectKind::Tree, b""),
        parents: old.into_iter().collect(),
        author: Signature { name: "ada".into(), email: "a@b".into(), time_s: 7 },
        message: message.into(),
    };
    let data = commit.encode();
    NewCommit {
        repo: repo.clone(),
        ref_name: "refs/heads/main".into(),
        old,
        oid: object_id(ObjectKind::Commit, &data),
        data,
        trees: vec![(commit.tree, vec![])],
        blobs: vec![BlobRecord { oid: GitOid([4; 20]), sha256: Sha256([5; 32]), size_bytes: 6, lfs: true }],
        waiting: vec![(Sha256([5; 32]), "a.bin".to_owned())],
        fingerprint: message.into(),
        now_ms: 9,
    }
}

async fn a_commit_is_recorded_whole_or_not_at_all(catalog: Catalog) {
    let repo = RepoKey::from("r".to_owned());
    let commits = catalog.commits();
    let unknown = commits.add(&new_commit(&repo, None, "unknown")).await;
    assert!(matches!(unknown, Err(StoreError::Gone { .. })), "no commit names what is not stored: {unknown:?}");
    know(&catalog, &[Sha256([5; 32])]).await;
    let first = new_commit(&repo, None, "first");
    commits.add(&first).await.unwrap();
    commits.add(&first).await.unwrap();
    let stale = new_commit(&repo, Some(GitOid([9; 20])), "stale");
    assert!(matches!(commits.add(&stale).await, Err(StoreError::RefMoved { .. })));
    assert!(commits.get(&repo, &stale.oid).await.unwrap().is_none());
    let second = new_commit(&repo, Some(first.oid), "second");
    commits.add(&second).await.unwrap();
    assert_eq!(commits.requested(&repo, "second", 9).await.unwrap(), Some(second.oid));
    assert_eq!(commits.requested(&repo, "second", 10).await.unwrap(), None);
    commits.forget_requests(10).await.unwrap();
    assert_eq!(commits.requested(&repo, "second", 0).await.unwrap(), None);
    let mut titles = Vec::new();
    commits
        .walk(&repo, second.oid, |_, commit| {
            titles.push(commit.message.clone());
            std::ops::ControlFlow::Continue(())
        })
        .await
        .unwrap();
    assert_eq!(titles, ["second", "first"]);
    assert_eq!(commits.by_prefix(&repo, &first.oid.to_string()[..8]).await.unwrap(), [first.oid]);
    assert!(commits.by_prefix(&RepoKey::from("s".to_owned()), &first.oid.to_string()[..8]).await.unwrap().is_empty());
    assert_eq!(catalog.contents().blobs(&[GitOid([4; 20])]).await.unwrap(), first.blobs);
    assert!(catalog.contents().given(&repo, &Sha256([5; 32])).await.unwrap());
}

async fn contents_and_xorbs_survive_the_round_trip(catalog: Catalog) {
    let repo = RepoKey::from("r".to_owned());
    let hash = |n| XetHash::from_bytes([n; 32]);
    let content = Content {
        record: ContentRecord { sha256: Sha256([1; 32]), size_bytes: 1 << 40, file_hash: hash(2) },
        terms: vec![Term { xorb: hash(3), unpacked_bytes: u32::MAX, start: 1, end: 8192 }; 3],
    };
    let early = catalog.contents().add(&repo, std::slice::from_ref(&content), 1).await;
    assert!(matches!(early, Err(StoreError::Gone { .. })), "its bytes are not stored: {early:?}");

    let id = catalog.packs().begin(5).await.unwrap();
    assert_eq!(catalog.packs().unsealed(6).await.unwrap(), std::slice::from_ref(&id));
    let xorb = XorbRecord {
        hash: hash(3),
        pack: id.clone(),
        form: XorbForm::Arrived,
        depth: 0,
        encoder: 0,
        body_offset: 16,
        body_len: 100,
        index_offset: 116,
        index_len: 48,
        raw_len: 200,
        chunks: 1,
    };
    let sealed =
        SealedPack { id: id.clone(), size_bytes: 300, xorbs: vec![xorb.clone()], dedup: vec![(hash(4), hash(3))] };
    assert_eq!(catalog.packs().seal(&sealed).await.unwrap(), 1);

    catalog.contents().add(&repo, std::slice::from_ref(&content), 1).await.unwrap();
    assert_eq!(catalog.contents().get(&Sha256([1; 32])).await.unwrap().as_ref(), Some(&content));
    assert_eq!(catalog.contents().by_file_hash(&hash(2)).await.unwrap().as_ref(), Some(&content));
    assert_eq!(catalog.contents().records(&[Sha256([1; 32]), Sha256([2; 32])]).await.unwrap(), [content.record]);
    assert_eq!(catalog.contents().given_bytes(&repo).await.unwrap(), 1 << 40);
    assert_eq!(catalog.packs().xorbs(&[hash(3), hash(9)]).await.unwrap(), std::slice::from_ref(&xorb));
    assert_eq!(catalog.packs().with_chunks(&[hash(4)]).await.unwrap(), [xorb]);
    assert_eq!(catalog.packs().totals().await.unwrap(), (1, 300));
    let twin = catalog.packs().begin(5).await.unwrap();
    assert_eq!(catalog.packs().seal(&SealedPack { id: twin, ..sealed }).await.unwrap(), 0);
    catalog.packs().forget(&id).await.unwrap();
    assert_eq!(catalog.packs().totals().await.unwrap().0, 2, "a pack in use is not forgotten");
}

async fn more_rows_than_fit_one_statement_are_all_recorded(catalog: Catalog) {
    let repo = RepoKey::from("r".to_owned());
    // A full statement, one row more than two, and enough for several lookups.
    for count in [SQLITE_VALUES / 4, SQLITE_VALUES / 2 + 1, POSTGRES_VALUES / 4 + 3] {
        let digest = |i: usize| Sha256::of(format!("{count} {i}").as_bytes());
        let content = |i: usize| {
            let file_hash = XetHash::from_bytes(digest(i).0);
            Content { record: ContentRecord { sha256: digest(i), size_bytes: i as u64, file_hash }, terms: Vec::new() }
        };
        let contents: Vec<Content> = (0..count).map(content).collect();
        catalog.contents().add(&repo, &contents, 1).await.unwrap();
        let digests: Vec<Sha256> = (0..count + 5).map(digest).collect();
        let mut found = catalog.contents().records(&digests).await.unwrap();
        found.sort_unstable_by_key(|record| record.size_bytes);
        let expected: Vec<ContentRecord> = contents.iter().map(|content| content.record).collect();
        assert_eq!(found, expected);
        assert!(catalog.contents().given(&repo, &digest(count - 1)).await.unwrap());
    }
}

async fn folders_change_only_where_they_are_touched(catalog: Catalog) {
    let repo = RepoKey::from("r".to_owned());
    know(&catalog, &[Sha256([5; 32])]).await;
    let blob = |n| GitOid([n; 20]);
    let mut edit = TreeEdit::new(None);
    for (path, n) in [("a/b/c.txt", 1), ("a/d.txt", 2), ("e.txt", 3)] {
        edit.put(&catalog, path, blob(n)).await.unwrap();
    }
    let (root, trees) = edit.finish();
    assert_eq!(trees.len(), 3);
    catalog.commits().add(&NewCommit { trees, ..new_commit(&repo, None, "m") }).await.unwrap();

    let mut edit = TreeEdit::new(Some(root));
    assert_eq!(edit.file(&catalog, "a/b/c.txt").await.unwrap(), Some(blob(1)));
    assert_eq!(edit.file(&catalog, "a/b").await.unwrap(), None);
    assert!(matches!(edit.put(&catalog, "a/b", blob(9)).await, Err(EditError::WrongKind { .. })));
    assert!(matches!(edit.put(&catalog, "e.txt/x", blob(9)).await, Err(EditError::WrongKind { .. })));
    assert!(matches!(edit.put(&catalog, "A/x", blob(9)).await, Err(EditError::CaseClash { .. })));
    assert!(matches!(edit.put(&catalog, "a/D.TXT", blob(9)).await, Err(EditError::CaseClash { .. })));
    assert!(matches!(edit.remove(&catalog, "a/x").await, Err(EditError::NotFound(_))));
    assert_eq!(edit.finish().0, root, "refused changes change nothing");

    let mut edit = TreeEdit::new(Some(root));
    edit.remove(&catalog, "a/b/c.txt").await.unwrap();
    let (without, trees) = edit.finish();
    assert_eq!(trees.len(), 2, "the empty folder is gone, its parent and the root are new");
    let mut again = TreeEdit::new(Some(root));
    again.remove(&catalog, "a/b").await.unwrap();
    assert_eq!(again.finish().0, without);
    let mut all = TreeEdit::new(Some(root));
    all.remove(&catalog, "a").await.unwrap();
    all.remove(&catalog, "e.txt").await.unwrap();
    assert_eq!(all.finish().0.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
}

async fn concurrent_writers_queue(catalog: Catalog) {
    know(&catalog, &[Sha256([5; 32])]).await;
    let writers = (0..20).map(|n| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let repo = RepoKey::from(format!("r{n}"));
            catalog.commits().add(&new_commit(&repo, None, "m")).await
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
}

async fn a_newer_schema_is_refused(catalog: Catalog) {
    sqlx::query("UPDATE schema_version SET version = 99").execute(&catalog.pool).await.unwrap();
    assert!(matches!(catalog.migrate().await, Err(StoreError::TooNew { found: 99, .. })));
}

async fn work_is_done_by_one_and_not_lost(catalog: Catalog) {
    let jobs = catalog.jobs();
    for subject in ["a", "a", "b"] {
        jobs.add("read", subject, 10).await.unwrap();
    }
    assert_eq!(jobs.take("read", 9, 100, 3).await.unwrap(), None, "not due yet");
    assert_eq!(jobs.take("other", 10, 100, 3).await.unwrap(), None);
    let (one, two) = tokio::join!(jobs.take("read", 10, 100, 3), jobs.take("read", 10, 100, 3));
    let mut taken = [one.unwrap().unwrap(), two.unwrap().unwrap()];
    taken.sort_by(|one, two| one.subject.cmp(&two.subject));
    assert_eq!(taken.iter().map(|job| job.subject.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(jobs.take("read", 99, 200, 3).await.unwrap(), None, "both are held");
    jobs.finish(&taken[1]).await.unwrap();
    jobs.keep(&taken[0], 150).await.unwrap();
    assert_eq!(jobs.take("read", 100, 200, 3).await.unwrap(), None, "the lease was extended");
    let again = jobs.take("read", 150, 300, 3).await.unwrap().unwrap();
    assert_eq!((again.subject.as_str(), again.attempts), ("a", 2), "the lease ended");
    jobs.fail(&again, "no luck", 400).await.unwrap();
    assert_eq!(jobs.get("read", "a").await.unwrap().unwrap().error, "no luck");
    assert_eq!(jobs.take("read", 399, 500, 3).await.unwrap(), None);
    let last = jobs.take("read", 400, 500, 3).await.unwrap().unwrap();
    assert_eq!(jobs.release(410).await.unwrap(), 1, "its worker died");
    assert_eq!(jobs.take("read", 410, 500, 3).await.unwrap(), None, "three attempts are enough");
    jobs.add("read", &last.subject, 410).await.unwrap();
    let held = jobs.take("read", 410, 500, 3).await.unwrap().unwrap();
    assert_eq!(held.attempts, 1, "asked for anew");
    jobs.put_back(&held, 420).await.unwrap();
    jobs.put_back(&held, 430).await.unwrap();
    let again = jobs.take("read", 420, 500, 3).await.unwrap().unwrap();
    assert_eq!((again.attempts, again.error.as_str()), (1, "no luck"), "put back is not tried");
    jobs.add_all("old", &[("x".to_owned(), 7), ("y".to_owned(), 6)]).await.unwrap();
    jobs.add_all("old", &[("x".to_owned(), 9)]).await.unwrap();
    let first = jobs.take("old", 10, 100, 1).await.unwrap().unwrap();
    assert_eq!(first.subject, "y", "each is due at its own time");
    assert_eq!(jobs.counts("old", 1).await.unwrap(), JobCounts { waiting: 1, running: 1, failed: 0 });
    jobs.fail(&first, "full", 20).await.unwrap();
    assert_eq!(jobs.counts("old", 1).await.unwrap(), JobCounts { waiting: 1, running: 0, failed: 1 });
    assert_eq!(jobs.counts("none", 1).await.unwrap(), JobCounts::default());
    let troubled = jobs.troubled("old", 10).await.unwrap();
    assert_eq!(troubled.iter().map(|job| job.error.as_str()).collect::<Vec<_>>(), ["full"]);
}

async fn settings_are_set_and_taken_away(catalog: Catalog) {
    let settings = catalog.settings();
    assert_eq!(settings.get("a").await.unwrap(), None);
    settings.set("a", "1").await.unwrap();
    settings.set("a", "2").await.unwrap();
    assert_eq!(settings.get("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(settings.get_or_insert("a", "3").await.unwrap(), "2");
    settings.remove("a").await.unwrap();
    assert_eq!(settings.get("a").await.unwrap(), None);
}

async fn the_same_tensor_is_found_only_where_the_viewer_may_look(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let (open, hidden) = (repo("ada/open", &ada, false), repo("ada/hidden", &ada, true));
    for repo in [&open, &hidden] {
        catalog.repos().add(repo, None).await.unwrap();
    }
    let tensors = catalog.tensors();
    let (first, second) = (Sha256::of(b"file 1"), Sha256::of(b"file 2"));
    assert_eq!(tensors.find_source(&first).await.unwrap(), None);
    let one = tensors.source(&first).await.unwrap();
    let two = tensors.source(&second).await.unwrap();
    assert_eq!(tensors.source(&first).await.unwrap(), one);
    assert_ne!(one, two);
    let tensor = |number: u64, shape: &[u64]| TensorRecord {
        place: format!("{number:032x}"),
        name: format!("layer.{number}\u{1b}[31m\u{202e}<b>{}", "x".repeat(4_000)),
        dtype: "F32".into(),
        shape: shape.to_vec(),
        size_bytes: 24,
        offset: 24 * number,
        hash: Sha256::of(&number.to_le_bytes()),
        statistics: "{}".into(),
    };
    let many: Vec<TensorRecord> = (0..3_000).map(|number| tensor(number, &[2, 3])).collect();
    tensors.add(one, &many).await.unwrap();
    tensors.add(one, &many).await.unwrap();
    tensors
        .add(two, &[TensorRecord { offset: 7, ..tensor(5, &[2, 3]) }, tensor(6, &[6]), tensor(9_999, &[])])
        .await
        .unwrap();
    assert_eq!(tensors.known(one).await.unwrap().len(), 3_000);
    assert_eq!(tensors.get(&first, &many[7].place).await.unwrap().unwrap(), many[7]);
    assert_eq!(tensors.get(&second, &tensor(9_999, &[]).place).await.unwrap().unwrap().shape, [0u64; 0]);
    assert_eq!(tensors.get(&second, &many[7].place).await.unwrap(), None);
    let some = [many[7].place.clone(), many[8].place.clone(), tensor(9_999, &[]).place];
    assert_eq!(tensors.several(&first, &some).await.unwrap().len(), 2);
    let commit = GitOid([7; 20]);
    let at = |source, path: &str| RepoSource { source, path: path.to_owned(), page: String::new() };
    tensors.note(&open.key, &commit, &[at(one, "a")]).await.unwrap();
    tensors.note(&open.key, &commit, &[at(one, "model.safetensors")]).await.unwrap();
    tensors.note(&hidden.key, &commit, &[at(two, "x.gguf")]).await.unwrap();
    let ids = async |number: usize, shape: &[u64], viewer: &Viewer| {
        let found = tensors.places((&many[number].hash, "F32", shape), viewer, 10).await.unwrap();
        found.into_iter().map(|place| format!("{} {}", place.repo, place.path)).collect::<Vec<_>>()
    };
    let owner = Viewer { account: Some(ada.id.clone()), ..Viewer::default() };
    assert_eq!(ids(5, &[2, 3], &Viewer::default()).await, ["ada/open model.safetensors"]);
    assert_eq!(ids(5, &[2, 3], &owner).await, ["ada/hidden x.gguf", "ada/open model.safetensors"]);
    assert_eq!(ids(6, &[2, 3], &owner).await, ["ada/open model.safetensors"], "another shape is another tensor");
    assert!(ids(5, &[2, 3], &Viewer { only: Some(vec![]), ..owner.clone() }).await.len() == 1);
    let sources = |found: Vec<TensorSighting>| found.into_iter().map(|seen| seen.source).collect::<Vec<_>>();
    let stranger = (&Viewer::default(), "");
    let twins = tensors.twins(&many[5].hash, stranger, 10).await.unwrap();
    assert_eq!((twins[0].repo.clone(), twins[0].commit, twins[0].tensor.offset), (open.key.clone(), commit, 120));
    assert_eq!(sources(twins), [first], "not what another keeps to themselves");
    assert_eq!(sources(tensors.twins(&many[5].hash, (&owner, &ada.id), 10).await.unwrap()).len(), 2);
    assert_eq!(sources(tensors.alike(&[6], stranger, 10).await.unwrap()), []);
    assert_eq!(sources(tensors.alike(&[6], (&owner, &ada.id), 10).await.unwrap()), [second]);
    assert_eq!(tensors.alike(&[2, 3], (&owner, &ada.id), 7).await.unwrap().len(), 7);
    assert_eq!(tensors.seen(&second, &Viewer::default()).await.unwrap(), None);
    assert_eq!(tensors.seen(&second, &owner).await.unwrap(), Some((hidden.key.clone(), commit, String::new())));
    catalog.repos().delete(&open.key, None).await.unwrap();
    assert!(ids(5, &[2, 3], &Viewer::default()).await.is_empty());
}

async fn readings_belong_to_their_version(catalog: Catalog) {
    let tree = GitOid([1; 20]);
    let readings = catalog.readings();
    readings.set(&tree, 1, "{}").await.unwrap();
    readings.set(&tree, 2, "{\"a\":1}").await.unwrap();
    assert_eq!(readings.get(&tree, 1).await.unwrap(), None);
    assert_eq!(readings.get(&tree, 2).await.unwrap().as_deref(), Some("{\"a\":1}"));
    let hash = Sha256::of(b"t");
    readings.set_histogram(&hash, "F32", 1, "[]").await.unwrap();
    assert_eq!(readings.histogram(&hash, "F32", 1).await.unwrap().as_deref(), Some("[]"));
    assert_eq!(readings.histogram(&hash, "I32", 1).await.unwrap(), None);
}

async fn a_conversion_is_kept_with_its_repository(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let (one, two) = (repo("ada/one", &ada, false), repo("ada/two", &ada, true));
    for repo in [&one, &two] {
        catalog.repos().add(repo, None).await.unwrap();
    }
    let conversions = catalog.conversions();
    let new = |repo: &RepoRecord, what: &str, account: &str| NewConversion {
        key: ConversionKey { repo: repo.key.clone(), digest: Sha256::of(what.as_bytes()) },
        tree: GitOid([1; 20]),
        path: "weights/größe.bin".to_owned(),
        commit: GitOid([2; 20]),
        name: "one-Q8_0.gguf".to_owned(),
        options: "{\"to\":\"gguf\"}".to_owned(),
        account: account.to_owned(),
        total_bytes: 1 << 40,
    };
    let asked = new(&one, "a", "ada");
    assert_eq!(ConversionKey::of_subject(&asked.key.subject()), Some(asked.key.clone()));
    assert_eq!(conversions.get(&asked.key).await.unwrap(), None);
    conversions.ask(&asked, 5).await.unwrap();
    conversions.ask(&new(&one, "a", "bob"), 6).await.unwrap();
    conversions.ask(&new(&one, "b", "bob"), 6).await.unwrap();
    let found = conversions.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((&found.asked, found.done_bytes, found.used_at_ms), (&asked, 0, 5), "asked for twice is once");
    assert_eq!(conversions.unfinished("bob", 3).await.unwrap(), (1, 2));
    assert_eq!(conversions.unfinished("eve", 3).await.unwrap(), (0, 2));
    let job = catalog.jobs().take(jobs::CONVERT, 6, 100, 3).await.unwrap().unwrap();
    assert_eq!(job.subject, asked.key.subject());
    conversions.advance(&asked.key, 7, 1 << 41).await.unwrap();
    let found = conversions.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((found.done_bytes, found.asked.total_bytes), (7, 1 << 41));

    let output = |path: &str, size_bytes| ConversionOutput {
        path: path.to_owned(),
        size_bytes,
        sha256: Sha256::of(path.as_bytes()),
    };
    let outputs = [output("z", 1 << 40), output("a", 0)];
    let early = conversions.finish(&asked.key, &[output("z", 1)], "{}", 8).await;
    assert!(matches!(early, Err(StoreError::Gone { .. })), "its bytes are not stored: {early:?}");
    know(&catalog, &[output("z", 1).sha256]).await;
    know(&catalog, &outputs.iter().map(|output| output.sha256).collect::<Vec<_>>()).await;
    conversions.finish(&asked.key, &[output("z", 1)], "{}", 8).await.unwrap();
    conversions.finish(&asked.key, &outputs, "{\"a\":1}", 9).await.unwrap();
    assert_eq!(conversions.outputs(&asked.key).await.unwrap(), outputs, "done twice is once");
    let found = conversions.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((found.record.as_str(), found.done_bytes, found.used_at_ms), ("{\"a\":1}", 1 << 41, 9));
    catalog.jobs().finish(&job).await.unwrap();
    conversions.ask(&asked, 10).await.unwrap();
    assert_eq!(catalog.jobs().get(jobs::CONVERT, &job.subject).await.unwrap(), None, "it is there already");
    conversions.touch(&asked.key, 11).await.unwrap();
    conversions.refuse(&asked.key, "too late").await.unwrap();
    let found = conversions.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((found.error.as_str(), found.used_at_ms), ("", 11), "what is done stays done");

    let other = new(&one, "b", "eve");
    conversions.refuse(&other.key, "it cannot be").await.unwrap();
    assert_eq!(conversions.unfinished("bob", 3).await.unwrap(), (0, 0));
    assert_eq!(conversions.get(&other.key).await.unwrap().unwrap().error, "it cannot be");
    conversions.ask(&other, 12).await.unwrap();
    assert_eq!(conversions.unfinished("eve", 3).await.unwrap(), (1, 1), "tried again by somebody else");

    let digests = [asked.key.digest, other.key.digest, Sha256::of(b"c")];
    assert_eq!(conversions.several(&one.key, &digests).await.unwrap().len(), 2);
    assert!(conversions.several(&two.key, &digests).await.unwrap().is_empty(), "another repository has its own");
    catalog.repos().delete(&one.key, None).await.unwrap();
    assert!(conversions.several(&one.key, &digests).await.unwrap().is_empty());
    conversions.finish(&asked.key, &outputs, "{}", 13).await.unwrap();
    assert_eq!(conversions.get(&asked.key).await.unwrap(), None, "a late worker brings nothing back");
    assert!(conversions.outputs(&asked.key).await.unwrap().is_empty());
}

async fn a_comparison_is_kept_for_whoever_has_both_sides(catalog: Catalog) {
    let comparisons = catalog.comparisons();
    let side = |repo: &str, n: u8, path: &str| ComparedSide {
        repo: RepoKey::from(repo.to_owned()),
        commit: GitOid([n; 20]),
        path: path.to_owned(),
    };
    let new = |what: &str, repo: &str, account: &str| NewComparison {
        key: Sha256::of(what.as_bytes()),
        a: side(repo, 1, ""),
        b: side("other", 2, "größe/x.bin"),
        account: account.to_owned(),
    };
    let asked = new("a", "one", "ada");
    assert_eq!(comparisons.get(&asked.key).await.unwrap(), None);
    comparisons.ask(&asked, 5).await.unwrap();
    comparisons.ask(&new("a", "two", "bob"), 6).await.unwrap();
    comparisons.ask(&new("b", "two", "bob"), 6).await.unwrap();
    let found = comparisons.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((&found.asked, found.asked_at_ms), (&asked, 6), "asked for twice is once");
    assert_eq!(comparisons.unfinished("ada", 3).await.unwrap(), (1, 2));
    let job = catalog.jobs().take(jobs::COMPARE, 6, 100, 3).await.unwrap().unwrap();
    assert_eq!(job.subject, asked.key.to_string());
    comparisons.advance(&asked.key, 7, 1 << 41).await.unwrap();
    comparisons.refuse(&asked.key, "the repository is gone").await.unwrap();
    assert_eq!(comparisons.unfinished("ada", 3).await.unwrap(), (0, 1));
    let again = new("a", "three", "eve");
    comparisons.ask(&again, 8).await.unwrap();
    let found = comparisons.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((found.asked, found.error.as_str(), found.done_bytes), (again.clone(), "", 0), "tried again elsewhere");
    comparisons.advance(&asked.key, 7, 9).await.unwrap();
    comparisons.finish(&asked.key, "{\"schema\":1}").await.unwrap();
    let found = comparisons.get(&asked.key).await.unwrap().unwrap();
    assert_eq!((found.document.as_str(), found.done_bytes), ("{\"schema\":1}", 9));
    catalog.jobs().finish(&job).await.unwrap();
    comparisons.ask(&asked, 9).await.unwrap();
    comparisons.refuse(&asked.key, "too late").await.unwrap();
    assert_eq!(catalog.jobs().get(jobs::COMPARE, &job.subject).await.unwrap(), None, "it is there already");
    assert_eq!(comparisons.get(&asked.key).await.unwrap().unwrap().error, "", "what is done stays done");
}

fn feed(name: &str, digest: u8, ids: &[&str]) -> (FeedRecord, Vec<AdvisoryRecord>) {
    let record = FeedRecord {
        name: name.into(),
        place: format!("/feeds/{name}.json"),
        repo: None,
        digest: Sha256([digest; 32]),
        advisories: ids.len() as u64,
        imported_at_ms: 5,
    };
    let of =
        |id: &&str| AdvisoryRecord { id: (*id).into(), feed: name.into(), document: format!("{{\"n\": {digest}}}") };
    (record, ids.iter().map(of).collect())
}

async fn a_feed_replaces_what_it_said_and_nothing_else(catalog: Catalog) {
    let advisories = catalog.advisories();
    let repo = RepoKey::from("r".to_owned());
    assert!(!advisories.concern(&repo).await.unwrap());
    let many: Vec<String> = (0..300).map(|number| format!("L-{number:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (lab, said) = feed("lab", 1, &many);
    assert!(advisories.put_feed(&lab, &said, None).await.unwrap());
    assert!(!advisories.put_feed(&lab, &said, None).await.unwrap(), "it says what it said");
    assert!(catalog.jobs().get(jobs::ADVISE, super::advisories::EVERYTHING).await.unwrap().is_some());
    let (other, clash) = feed("other", 2, &["X-1", "L-299"]);
    assert!(matches!(advisories.put_feed(&other, &clash, None).await, Err(StoreError::Exists { .. })));
    assert_eq!(advisories.feeds().await.unwrap(), [lab]);
    assert_eq!(advisories.all().await.unwrap().len(), 300);
    let (lab, said) = feed("lab", 3, &["L-001"]);
    assert!(advisories.put_feed(&lab, &said, None).await.unwrap());
    assert_eq!(advisories.all().await.unwrap(), said);
    assert!(advisories.put_feed(&other, &clash, None).await.unwrap());
    assert!(
        advisories.remove_feed("lab", 9, None).await.unwrap() && !advisories.remove_feed("lab", 9, None).await.unwrap()
    );
    assert_eq!(advisories.get("L-001").await.unwrap(), None);
    assert_eq!(advisories.get("X-1").await.unwrap().unwrap().feed, "other");
    assert!(advisories.concern(&repo).await.unwrap());
}

async fn what_an_advisory_concerns_is_told_once(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let record = repo("ada/m", &ada, false);
    let key = record.key.clone();
    catalog.repos().add(&record, None).await.unwrap();
    know(&catalog, &[Sha256([5; 32])]).await;
    let first = new_commit(&key, None, "first");
    catalog.commits().add(&first).await.unwrap();
    let second = new_commit(&key, Some(first.oid), "second");
    catalog.commits().add(&second).await.unwrap();
    let advisories = catalog.advisories();
    let found = |commit: GitOid, advisory: &str| MatchRecord {
        repo: key.clone(),
        commit,
        advisory: advisory.into(),
        severity: "high".into(),
        evidence: "[]".into(),
        found_at_ms: 0,
    };
    advisories.set_matches(&key, &first.oid, &[found(first.oid, "A"), found(first.oid, "B")], 7).await.unwrap();
    assert!(advisories.see_notice(&key, "A", 8).await.unwrap() && !advisories.see_notice(&key, "C", 8).await.unwrap());
    advisories.set_matches(&key, &first.oid, &[found(first.oid, "A")], 9).await.unwrap();
    let kept = advisories.matches(&key, Some(&first.oid)).await.unwrap();
    assert_eq!(kept, [MatchRecord { found_at_ms: 7, ..found(first.oid, "A") }]);
    let told = advisories.notices(&key).await.unwrap();
    let told: Vec<_> = told.iter().map(|notice| (notice.advisory.as_str(), notice.seen_at_ms)).collect();
    assert_eq!(told, [("A", Some(8))], "B concerns nothing any more, and A is no news");
    assert_eq!(advisories.commits_of(&key, false, 10).await.unwrap().len(), 2, "the head, and what was concerned");
    advisories.set_matches(&key, &first.oid, &[], 9).await.unwrap();
    assert_eq!(advisories.commits_of(&key, false, 10).await.unwrap(), [second.oid]);
    assert_eq!(advisories.commits_of(&key, true, 10).await.unwrap().len(), 2);
    assert_eq!(advisories.repos_with_files(&["05".repeat(32)]).await.unwrap(), std::slice::from_ref(&key));
    assert!(advisories.repos_with_tensors(&["05".repeat(32)]).await.unwrap().is_empty());
    assert_eq!(advisories.repos_after("", 10).await.unwrap(), std::slice::from_ref(&key));
    advisories.set_matches(&key, &second.oid, &[found(second.oid, "A")], 9).await.unwrap();
    catalog.repos().delete(&key, None).await.unwrap();
    assert!(
        advisories.all_matches(None, 10).await.unwrap().is_empty()
            && advisories.notices(&key).await.unwrap().is_empty()
    );
}
