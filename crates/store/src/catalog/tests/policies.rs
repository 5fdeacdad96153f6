//! Policies: what they need of the catalog.

use super::*;

on_both_engines! {
    policies_change_only_from_the_version_that_was_seen
    an_override_is_in_force_until_it_is_ended
    the_log_is_one_chain_whoever_writes
    a_question_is_counted_once_a_day
}

fn version(level: &str, version: i64, text: &str) -> PolicyRecord {
    PolicyRecord {
        level: level.to_owned(),
        version,
        text: text.to_owned(),
        account: "a".to_owned(),
        account_name: "ada".to_owned(),
        note: "why".to_owned(),
        saved_at_ms: 5,
    }
}

async fn policies_change_only_from_the_version_that_was_seen(catalog: Catalog) {
    let policies = catalog.policies();
    assert_eq!(policies.current(HUB_LEVEL).await.unwrap(), None);
    let before = policies.changes().await.unwrap();
    assert_eq!(policies.save(&version(HUB_LEVEL, 0, "one")).await.unwrap(), 1);
    assert_eq!(policies.changes().await.unwrap(), before + 1);
    for stale in [0, 2] {
        assert!(matches!(policies.save(&version(HUB_LEVEL, stale, "x")).await, Err(StoreError::Exists { .. })));
    }
    assert_eq!(policies.changes().await.unwrap(), before + 1);
    let both = futures::join!(async { policies.save(&version(HUB_LEVEL, 1, "two")).await }, async {
        policies.save(&version(HUB_LEVEL, 1, "three")).await
    },);
    assert!(both.0.is_ok() != both.1.is_ok());
    assert_eq!(policies.save(&version("org", 0, "own")).await.unwrap(), 1);
    assert_eq!(policies.current("org").await.unwrap(), Some(version("org", 1, "own")));
    let versions: Vec<i64> = policies.history(HUB_LEVEL, 9).await.unwrap().iter().map(|p| p.version).collect();
    assert_eq!(versions, [2, 1]);
}

async fn an_override_is_in_force_until_it_is_ended(catalog: Catalog) {
    let overrides = catalog.overrides();
    let made = OverrideRecord {
        id: fresh_id().unwrap(),
        repo: RepoKey::from("r".to_owned()),
        digest: "d".to_owned(),
        path: "p".to_owned(),
        account: "a".to_owned(),
        account_name: "ada".to_owned(),
        reason: "why".to_owned(),
        made_at_ms: 5,
        expires_at_ms: Some(9),
        ended_at_ms: None,
    };
    let before = catalog.policies().changes().await.unwrap();
    overrides.add(&made).await.unwrap();
    assert_eq!(overrides.of_repo(&made.repo).await.unwrap(), std::slice::from_ref(&made));
    let ended = overrides.end(&made.id, 7).await.unwrap();
    assert_eq!(ended, Some(OverrideRecord { ended_at_ms: Some(7), ..made.clone() }));
    assert_eq!(overrides.end(&made.id, 8).await.unwrap(), None);
    assert!(overrides.of_repo(&made.repo).await.unwrap().is_empty());
    assert_eq!(overrides.list(9).await.unwrap().len(), 1);
    assert!(catalog.policies().changes().await.unwrap() > before);
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

async fn the_log_is_one_chain_whoever_writes(catalog: Catalog) {
    let write = |event: &'static str| {
        let catalog = catalog.clone();
        async move {
            let rows = [row(event, "o"), row("repo.move", "")];
            catalog.audit().append(&rows, |i, seq, previous| format!("{i} {seq} {previous}")).await.unwrap();
        }
    };
    futures::future::join_all(["repo.create"; 8].map(write)).await;
    let audit = catalog.audit();
    let rows = audit.after(0, 100).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
    let mut previous = String::new();
    for row in &rows {
        assert!(row.body.ends_with(&format!(" {} {previous}", row.seq)));
        previous.clone_from(&row.hash);
    }
    assert_eq!(audit.head().await.unwrap(), (16, previous));
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

async fn a_question_is_counted_once_a_day(catalog: Catalog) {
    let decisions = catalog.decisions();
    let asked = |day: i64, key: &str, owner: &str| DecisionRecord {
        day,
        key: key.to_owned(),
        owner: owner.to_owned(),
        question: "{}".to_owned(),
        allowed: true,
        times: 2,
        last_at_ms: 7,
    };
    let three = [asked(1, "a", "x"), asked(1, "b", "y"), asked(2, "a", "x")];
    assert_eq!(decisions.count(&three, 2).await.unwrap(), 0);
    assert_eq!(decisions.count(&[asked(1, "a", "x"), asked(1, "c", "x")], 2).await.unwrap(), 1);
    let all = decisions.since(1, None, None, 9).await.unwrap();
    assert_eq!(
        all.iter().map(|d| (d.day, d.key.as_str(), d.times)).collect::<Vec<_>>(),
        [(1, "a", 4), (1, "b", 2), (2, "a", 2)]
    );
    assert_eq!(decisions.since(1, Some("x"), Some((1, "a")), 9).await.unwrap().len(), 1);
    decisions.forget(2).await.unwrap();
    assert_eq!(decisions.since(1, None, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_edited_row_of_the_log_no_longer_fits_its_hash() {
    use crate::digest::Sha256;

    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await.unwrap();
    catalog.audit().append(&[row("a.b", "")], |_, _, _| "body".to_owned()).await.unwrap();
    sqlx::query("UPDATE audit SET body = 'bodY'").execute(&catalog.pool).await.unwrap();
    let rows = catalog.audit().after(0, 9).await.unwrap();
    assert_ne!(Sha256::of(rows[0].body.as_bytes()).to_string(), rows[0].hash);
}
