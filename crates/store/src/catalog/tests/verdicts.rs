//! Verdicts: which hold for which files, and what waits.

use super::*;

on_both_engines! {
    a_verdict_holds_for_its_content_under_its_path
    a_verdict_that_looked_around_holds_in_that_tree_only
    a_content_waits_from_the_moment_of_its_commit
    newer_rules_win_whoever_comes_last
    everything_is_asked_for_once_for_each_version_of_the_rules
    what_is_not_safe_is_paged_in_the_order_of_repositories_and_paths
}

fn verdict(sha256: u8, path: &str, word: &str, rules: u32) -> NewVerdict {
    NewVerdict {
        record: VerdictRecord {
            sha256: Sha256([sha256; 32]),
            path: path.to_owned(),
            surroundings: None,
            verdict: word.to_owned(),
            rules,
            scanner: "1".to_owned(),
            judged_at_ms: 7,
            facts: "{}".to_owned(),
        },
        report: format!("report of {path}"),
    }
}

async fn a_verdict_holds_for_its_content_under_its_path(catalog: Catalog) {
    let (verdicts, repo, tree) = (catalog.verdicts(), RepoKey::from("r".to_owned()), GitOid([1; 20]));
    // More than fit one statement.
    let many: Vec<NewVerdict> = (0..300).map(|i| verdict(1, &format!("{i}.bin"), "safe", 1)).collect();
    verdicts.add(&repo, &many).await.unwrap();
    verdicts.add(&repo, &[verdict(1, "a.json", "unsafe", 1)]).await.unwrap();
    let (one, other) = (Sha256([1; 32]), Sha256([2; 32]));
    let asked = [(one, "a.json"), (one, "b.json"), (other, "a.json"), (one, "17.bin")];
    let mut found = verdicts.of_files(&tree, &asked).await.unwrap();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let told: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.verdict.as_str())).collect();
    assert_eq!(told, [("17.bin", "safe"), ("a.json", "unsafe")]);
    assert_eq!(verdicts.report(&found[1]).await.unwrap().unwrap(), "report of a.json");
    let names: Vec<String> = (0..300).map(|i| format!("{i}.bin")).collect();
    let asked: Vec<_> = names.iter().map(|name| (one, name.as_str())).collect();
    assert_eq!(verdicts.of_files(&tree, &asked).await.unwrap().len(), 300);
}

async fn a_verdict_that_looked_around_holds_in_that_tree_only(catalog: Catalog) {
    let (verdicts, repo) = (catalog.verdicts(), RepoKey::from("r".to_owned()));
    let (here, elsewhere) = (GitOid([1; 20]), GitOid([2; 20]));
    let mut new = verdict(1, "a.bin", "safe", 1);
    new.record.surroundings = Some(here);
    verdicts.add(&repo, &[new.clone()]).await.unwrap();
    let asked = [(Sha256([1; 32]), "a.bin")];
    assert_eq!(verdicts.of_files(&here, &asked).await.unwrap(), [new.record]);
    assert!(verdicts.of_files(&elsewhere, &asked).await.unwrap().is_empty());
}

async fn a_content_waits_from_the_moment_of_its_commit(catalog: Catalog) {
    let repo = RepoKey::from("r".to_owned());
    let new = new_commit(&repo, None, "first");
    know(&catalog, &[Sha256([5; 32])]).await;
    catalog.commits().add(&new).await.unwrap();
    let (verdicts, content) = (catalog.verdicts(), Sha256([5; 32]));
    assert_eq!(verdicts.of_content(&repo, &content).await.unwrap(), [("a.bin".to_owned(), None)]);
    let subject = format!("{repo} {}", new.oid);
    assert!(catalog.jobs().get(jobs::SCAN, &subject).await.unwrap().is_some());
    let judged = verdict(5, "a.bin", "unsafe", 1);
    verdicts.add(&repo, std::slice::from_ref(&judged)).await.unwrap();
    let found = verdicts.of_content(&repo, &content).await.unwrap();
    assert_eq!(found, [("a.bin".to_owned(), Some(judged.record))]);
    // What another repository makes of the same content is its own affair.
    let other = RepoKey::from("other".to_owned());
    assert!(verdicts.of_content(&other, &content).await.unwrap().is_empty());
    catalog.repos().delete(&repo, None).await.unwrap();
    assert!(verdicts.of_content(&repo, &content).await.unwrap().is_empty());
}

async fn newer_rules_win_whoever_comes_last(catalog: Catalog) {
    let (verdicts, repo, tree) = (catalog.verdicts(), RepoKey::from("r".to_owned()), GitOid([1; 20]));
    verdicts.add(&repo, &[verdict(1, "a", "safe", 1)]).await.unwrap();
    verdicts.add(&repo, &[verdict(1, "a", "unsafe", 2)]).await.unwrap();
    verdicts.add(&repo, &[verdict(1, "a", "safe", 1)]).await.unwrap();
    let found = verdicts.of_files(&tree, &[(Sha256([1; 32]), "a")]).await.unwrap();
    assert_eq!((found[0].verdict.as_str(), found[0].rules), ("unsafe", 2));
    verdicts.set_tree(&tree, 2, "new").await.unwrap();
    verdicts.set_tree(&tree, 1, "old").await.unwrap();
    assert_eq!(verdicts.tree(&tree).await.unwrap(), Some((2, "new".to_owned())));
}

async fn everything_is_asked_for_once_for_each_version_of_the_rules(catalog: Catalog) {
    let ada = added(&catalog, user("ada")).await;
    let record = repo("ada/m", &ada, false);
    catalog.repos().add(&record, None).await.unwrap();
    let repo = record.key;
    let first = new_commit(&repo, None, "first");
    know(&catalog, &[Sha256([5; 32])]).await;
    catalog.commits().add(&first).await.unwrap();
    let second = new_commit(&repo, Some(first.oid), "second");
    catalog.commits().add(&second).await.unwrap();
    let verdicts = catalog.verdicts();
    assert_eq!(verdicts.ask_for_all(1).await.unwrap(), 2);
    assert_eq!(verdicts.ask_for_all(1).await.unwrap(), 0);
    // The head before what lies below it.
    let job = catalog.jobs().take(jobs::RESCAN, 1, 2, 8).await.unwrap().unwrap();
    assert_eq!(job.subject, format!("{repo} {}", second.oid));
    assert_eq!(verdicts.ask_for_all(10).await.unwrap(), 2);
    // A server that still has older rules changes nothing.
    assert_eq!(verdicts.ask_for_all(9).await.unwrap(), 0);
}

async fn what_is_not_safe_is_paged_in_the_order_of_repositories_and_paths(catalog: Catalog) {
    let owner = added(&catalog, user("ada")).await;
    let other = added(&catalog, user("bob")).await;
    let mut repos = Vec::new();
    for (name, owner) in [("B/z", &owner), ("a/y", &owner), ("c/x", &other)] {
        let record = repo(name, owner, false);
        catalog.repos().add(&record, None).await.unwrap();
        repos.push(record.key);
    }
    let verdicts = catalog.verdicts();
    for key in &repos {
        let new = [verdict(1, "sub/b.bin", "unsafe", 1), verdict(2, "a.bin", "error", 1), verdict(3, "ok", "safe", 1)];
        verdicts.add(key, &new).await.unwrap();
    }
    // The same bytes wait under a name that nobody has looked at.
    verdicts.wait(&repos[0], &[(Sha256([1; 32]), "new.txt".to_owned())]).await.unwrap();
    let list = async |owner: Option<&str>, page: u32| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let part = catalog.quarantine().candidates(owner, after.as_ref(), page).await.unwrap();
            let Some(last) = part.last() else { return found };
            after = Some(last.place.clone());
            found.extend(part.iter().map(|one| format!("{} {}", one.place.folded, one.place.path)));
        }
    };
    let own = ["a/y a.bin", "a/y sub/b.bin", "b/z a.bin", "b/z new.txt", "b/z sub/b.bin"];
    for page in [1, 2, 50] {
        assert_eq!(list(Some(&owner.id), page).await, own);
        assert_eq!(list(None, page).await.len(), 7);
    }
    assert!(list(Some("nobody"), 9).await.is_empty());
}
