//! The audit log: one chain whoever writes, and no change without its row.

use super::*;

on_both_engines! {
    the_log_is_one_chain_whoever_writes
    a_change_that_did_not_happen_leaves_no_row
    changes_at_once_are_one_chain
}

fn row(event: &str, org: &str) -> NewAudit {
    NewAudit {
        at_ms: 5,
        event: event.to_owned(),
        actor: "ada".to_owned(),
        org: org.to_owned(),
        repo: String::new(),
        outcome: "done".to_owned(),
    }
}

/// A row whose text is what the chain must say.
fn entry(row: NewAudit) -> AuditEntry {
    AuditEntry::new(row, |seq, previous| format!("{seq} {previous}"))
}

/// The chain has no gap, no fork, and the head that it should have. Returns its events.
async fn assert_whole(catalog: &Catalog) -> Vec<String> {
    let rows = catalog.audit().after(0, 10_000).await.unwrap();
    let mut previous = String::new();
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.seq, index as i64 + 1);
        assert_eq!(row.body, format!("{} {previous}", row.seq));
        assert_eq!(row.hash, Sha256::of(row.body.as_bytes()).to_string());
        previous.clone_from(&row.hash);
    }
    assert_eq!(catalog.audit().head().await.unwrap(), (rows.len() as i64, previous));
    rows.into_iter().map(|row| row.row.event).collect()
}

const CHANGES: [&str; 16] = [
    "policy.first",
    "policy.again",
    "override.create",
    "override.end",
    "feed.add",
    "feed.update",
    "feed.remove",
    "user.create",
    "member.add",
    "member.remove",
    "token.create",
    "token.revoke",
    "repo.create",
    "repo.found",
    "repo.move",
    "repo.delete",
];

/// What the changes need to be there.
async fn prepare(catalog: &Catalog) {
    for id in ["ada", "lab"] {
        catalog.accounts().add(&Account { id: id.to_owned(), ..user(id) }, None).await.unwrap();
    }
    catalog.accounts().set_member("lab", "lab", Some(Role::Write), |_| None).await.unwrap();
    let ada = catalog.accounts().get("ada").await.unwrap().unwrap();
    let held = RepoRecord { key: RepoKey::from("held".to_owned()), ..repo("ada/held", &ada, false) };
    catalog.repos().add(&held, None).await.unwrap();
    catalog.tokens().add(&token("old"), "old", None).await.unwrap();
    catalog.overrides().add(&vouched("old"), None).await.unwrap();
    catalog.policies().save(&super::policies::version("again", 0, "one"), None).await.unwrap();
    let (feed, said) = feed("lab", 1);
    catalog.advisories().put_feed(&feed, &said, None).await.unwrap();
    catalog.audit().append(vec![entry(row("before.it", ""))]).await.unwrap();
}

fn token(id: &str) -> TokenRecord {
    TokenRecord {
        id: id.to_owned(),
        account: "ada".to_owned(),
        name: "t".to_owned(),
        scope: Scope::Read,
        repos: Some(vec![RepoKey::from("held".to_owned())]),
        automated: false,
        created_at_ms: 1,
        expires_at_ms: None,
        last_used_at_ms: None,
    }
}

fn vouched(id: &str) -> OverrideRecord {
    OverrideRecord {
        id: id.to_owned(),
        repo: RepoKey::from("held".to_owned()),
        digest: "d".to_owned(),
        path: "p".to_owned(),
        account: "ada".to_owned(),
        account_name: "ada".to_owned(),
        reason: "why".to_owned(),
        made_at_ms: 5,
        expires_at_ms: None,
        ended_at_ms: None,
    }
}

fn feed(name: &str, says: u8) -> (FeedRecord, [AdvisoryRecord; 2]) {
    let advisory = |number: u8| AdvisoryRecord {
        id: format!("{name}-{says}-{number}"),
        feed: name.to_owned(),
        document: "{}".to_owned(),
    };
    let feed = FeedRecord {
        name: name.to_owned(),
        place: "p".to_owned(),
        repo: None,
        digest: Sha256([says; 32]),
        advisories: 2,
        imported_at_ms: 5,
    };
    (feed, [advisory(1), advisory(2)])
}

/// Carries a change out, each of which has a row.
async fn change(catalog: &Catalog, which: &str) -> Result<(), StoreError> {
    let entry = Some(entry(row(which, "")));
    let ada = user("ada");
    match which {
        "policy.first" => {
            catalog.policies().save(&super::policies::version(HUB_LEVEL, 0, "x"), entry).await?;
        }
        "policy.again" => {
            catalog.policies().save(&super::policies::version("again", 1, "two"), entry).await?;
        }
        "override.create" => catalog.overrides().add(&vouched("new"), entry).await?,
        "override.end" => assert!(catalog.overrides().end("old", 7, entry).await?.is_some()),
        "feed.add" => {
            let (feed, said) = feed("new", 1);
            assert!(catalog.advisories().put_feed(&feed, &said, entry).await?);
        }
        "feed.update" => {
            let (feed, said) = feed("lab", 2);
            assert!(catalog.advisories().put_feed(&feed, &said, entry).await?);
        }
        "feed.remove" => assert!(catalog.advisories().remove_feed("lab", 7, entry).await?),
        "user.create" => catalog.accounts().add(&user("new"), entry).await?,
        "member.add" => catalog.accounts().set_member("lab", "ada", Some(Role::Read), |_| entry).await?,
        "member.remove" => catalog.accounts().set_member("lab", "lab", None, |_| entry).await?,
        "token.create" => catalog.tokens().add(&token("new"), "new", entry).await?,
        "token.revoke" => assert!(catalog.tokens().revoke("old", entry).await?),
        "repo.create" => catalog.repos().add(&repo("ada/new", &ada, true), entry).await?,
        "repo.found" => {
            // With its first commit: neither a repository without a branch, nor a branch of none.
            let new = repo("ada/founded", &ada, true);
            let first = NewCommit { blobs: Vec::new(), waiting: Vec::new(), ..new_commit(&new.key, None, "first") };
            catalog.commits().found(&new, &first, entry).await?;
        }
        "repo.move" => {
            let held = catalog.repos().get(&RepoKey::from("held".to_owned())).await?.unwrap();
            catalog.repos().rename(&held, "ada/moved", "ada", entry).await?;
        }
        _ => catalog.repos().delete(&RepoKey::from("held".to_owned()), entry).await?,
    }
    Ok(())
}

/// Every row of every table.
async fn dump(pool: &sqlx::SqlitePool) -> Vec<String> {
    let mut all = Vec::new();
    for table in tables(pool).await {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(&table).fetch_all(pool).await.unwrap();
        let quoted: Vec<String> = names.iter().map(|name| format!("quote(\"{name}\")")).collect();
        let sql = format!("SELECT '{table} ' || {} FROM \"{table}\" ORDER BY 1", quoted.join(" || ',' || "));
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        all.extend(rows);
    }
    all
}

async fn tables(pool: &sqlx::SqlitePool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'fault' ORDER BY name",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn of_a_change_and_its_row_there_are_both_or_neither_whatever_fails() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template");
    let catalog = Catalog::sqlite(&template).await.unwrap();
    prepare(&catalog).await;
    catalog.close().await;
    // Each row that is written counts down, and what would be written at zero fails.
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", template.display())).await.unwrap();
    sqlx::query("CREATE TABLE fault (remaining BIGINT NOT NULL)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO fault (remaining) VALUES (1000000)").execute(&pool).await.unwrap();
    for table in tables(&pool).await {
        for verb in ["INSERT", "UPDATE", "DELETE"] {
            let trigger = format!(
                "CREATE TRIGGER fault_{verb}_{table} BEFORE {verb} ON \"{table}\" BEGIN
                     UPDATE fault SET remaining = remaining - 1;
                     SELECT RAISE(ABORT, 'fault') WHERE (SELECT remaining FROM fault) < 0;
                 END"
            );
            sqlx::query(AssertSqlSafe(trigger)).execute(&pool).await.unwrap();
        }
    }
    pool.close().await;
    for which in CHANGES {
        for n in 0.. {
            let path = folder.path().join(format!("{which}-{n}"));
            std::fs::copy(&template, &path).unwrap();
            let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            let before = dump(&other).await;
            let catalog = Catalog::sqlite(&path).await.unwrap();
            sqlx::query("UPDATE fault SET remaining = $1").bind(n).execute(&other).await.unwrap();
            let done = change(&catalog, which).await;
            sqlx::query("UPDATE fault SET remaining = 1000000").execute(&other).await.unwrap();
            let events = assert_whole(&catalog).await;
            if done.is_ok() {
                assert_eq!(events, ["before.it", which]);
                assert_ne!(dump(&other).await, before, "{which}");
                // The change itself, a row of the log, and the head of the log twice.
                assert!(n >= 4, "{which}: {n} writes");
                break;
            }
            assert_eq!(events, ["before.it"], "{which} at {n}");
            assert_eq!(dump(&other).await, before, "{which} at {n}");
            change(&catalog, which).await.unwrap();
            assert_eq!(assert_whole(&catalog).await, ["before.it", which]);
        }
    }
}

async fn a_change_that_did_not_happen_leaves_no_row(catalog: Catalog) {
    prepare(&catalog).await;
    let entry = || Some(entry(row("no.change", "")));
    let stale = catalog.policies().save(&super::policies::version("again", 0, "x"), entry()).await;
    assert!(matches!(stale, Err(StoreError::Exists { .. })));
    assert_eq!(catalog.overrides().end("none", 7, entry()).await.unwrap(), None);
    let (feed, said) = feed("lab", 1);
    assert!(!catalog.advisories().put_feed(&feed, &said, entry()).await.unwrap());
    assert!(!catalog.advisories().remove_feed("none", 7, entry()).await.unwrap());
    assert!(catalog.accounts().add(&user("ADA"), entry()).await.is_err());
    catalog.accounts().set_member("lab", "ada", None, |_| entry()).await.unwrap();
    assert!(catalog.tokens().add(&token("new"), "old", entry()).await.is_err());
    assert!(!catalog.tokens().revoke("none", entry()).await.unwrap());
    assert!(catalog.repos().add(&repo("ADA/held", &user("ada"), true), entry()).await.is_err());
    let none = RepoKey::from("none".to_owned());
    catalog.repos().delete(&none, entry()).await.unwrap();
    catalog.repos().set_private(&none, true, 7, entry()).await.unwrap();
    assert_eq!(assert_whole(&catalog).await, ["before.it"]);
}

async fn changes_at_once_are_one_chain(catalog: Catalog) {
    prepare(&catalog).await;
    // Each in a transaction of its own, as several servers would.
    let ada = user("ada");
    let work = (0..24).map(|number| {
        let (catalog, ada) = (catalog.clone(), &ada);
        async move {
            let name = format!("n{number}");
            let entry = Some(entry(row(&name, "")));
            match number % 4 {
                0 => catalog.accounts().add(&user(&name), entry).await.unwrap(),
                1 => catalog.repos().add(&repo(&format!("ada/{name}"), ada, true), entry).await.unwrap(),
                2 => catalog.overrides().add(&vouched(&name), entry).await.unwrap(),
                _ => catalog.audit().append(entry.into_iter().collect()).await.unwrap(),
            }
        }
    });
    futures::future::join_all(work).await;
    let mut events = assert_whole(&catalog).await;
    events.sort();
    let mut expected: Vec<String> = (0..24).map(|number| format!("n{number}")).collect();
    expected.push("before.it".to_owned());
    expected.sort();
    assert_eq!(events, expected);
}

async fn the_log_is_one_chain_whoever_writes(catalog: Catalog) {
    let write = |event: &'static str| {
        let catalog = catalog.clone();
        async move {
            let entries = vec![entry(row(event, "o")), entry(row("repo.move", ""))];
            catalog.audit().append(entries).await.unwrap();
        }
    };
    futures::future::join_all(["repo.create"; 8].map(write)).await;
    let audit = catalog.audit();
    let rows = audit.after(0, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
    assert_whole(&catalog).await;
    let all = AuditQuery { limit: 100, ..AuditQuery::default() };
    let asked = [
        (AuditQuery { event: Some("repo".to_owned()), ..all.clone() }, 16),
        (AuditQuery { event: Some("repo.create".to_owned()), ..all.clone() }, 8),
        (AuditQuery { event: Some("rep".to_owned()), ..all.clone() }, 0),
        (AuditQuery { org: Some("o".to_owned()), limit: 3, ..all.clone() }, 3),
        (AuditQuery { actor: Some("eve".to_owned()), ..all.clone() }, 0),
        (AuditQuery { before_seq: 3, ..all.clone() }, 2),
        (AuditQuery { since_ms: 6, ..all }, 0),
    ];
    let mut counts = Vec::new();
    for (query, expected) in asked {
        counts.push((audit.list(&query).await.unwrap().len(), expected));
    }
    assert!(counts.iter().all(|(found, expected)| found == expected), "{counts:?}");
}

#[tokio::test]
async fn an_edited_row_of_the_log_no_longer_fits_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await.unwrap();
    catalog.audit().append(vec![entry(row("a.b", ""))]).await.unwrap();
    sqlx::query("UPDATE audit SET body = body || ' '").execute(&catalog.pool).await.unwrap();
    let rows = catalog.audit().after(0, 9).await.unwrap();
    assert_ne!(Sha256::of(rows[0].body.as_bytes()).to_string(), rows[0].hash);
}
