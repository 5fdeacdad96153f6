//! Policies: what they need of the catalog.

use super::*;

on_both_engines! {
    policies_change_only_from_the_version_that_was_seen
    an_override_is_in_force_until_it_is_ended
    a_question_is_counted_once_a_day
}

pub(super) fn version(level: &str, version: i64, text: &str) -> PolicyRecord {
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
    assert_eq!(policies.save(&version(HUB_LEVEL, 0, "one"), None).await.unwrap(), 1);
    assert_eq!(policies.changes().await.unwrap(), before + 1);
    for stale in [0, 2] {
        assert!(matches!(policies.save(&version(HUB_LEVEL, stale, "x"), None).await, Err(StoreError::Exists { .. })));
    }
    assert_eq!(policies.changes().await.unwrap(), before + 1);
    let both = futures::join!(async { policies.save(&version(HUB_LEVEL, 1, "two"), None).await }, async {
        policies.save(&version(HUB_LEVEL, 1, "three"), None).await
    },);
    assert!(both.0.is_ok() != both.1.is_ok());
    assert_eq!(policies.save(&version("org", 0, "own"), None).await.unwrap(), 1);
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
    overrides.add(&made, None).await.unwrap();
    assert_eq!(overrides.of_repo(&made.repo).await.unwrap(), std::slice::from_ref(&made));
    let ended = overrides.end(&made.id, 7, None).await.unwrap();
    assert_eq!(ended, Some(OverrideRecord { ended_at_ms: Some(7), ..made.clone() }));
    assert_eq!(overrides.end(&made.id, 8, None).await.unwrap(), None);
    assert!(overrides.of_repo(&made.repo).await.unwrap().is_empty());
    assert_eq!(overrides.list(9).await.unwrap().len(), 1);
    assert!(catalog.policies().changes().await.unwrap() > before);
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
