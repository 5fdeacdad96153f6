use weighthouse_store::catalog::AuditQuery;
use weighthouse_trust::policy::{DEFAULTS, State};

use super::*;
use crate::account::NewAccount;
use crate::{RepoKind, Role, Scope, tests};

struct Ground {
    hub: Hub,
    /// Administrates the hub.
    root: Caller,
    /// Administrates the organisation `lab`.
    ada: Caller,
    /// Reads in `lab`, with a token marked for automated use.
    bot: Caller,
    model: Repo,
    folder: tempfile::TempDir,
}

async fn open(folder: &tempfile::TempDir, exclusive: bool) -> Hub {
    tests::hub_with(folder, |options| options.exclusive = exclusive).await
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let hub = open(&folder, true).await;
    let root = tests::root(&hub).await;
    for name in ["ada", "bot"] {
        hub.add_user(NewAccount { name: name.to_owned(), ..NewAccount::default() }).await.unwrap();
    }
    hub.add_org(NewAccount { name: "lab".to_owned(), ..NewAccount::default() }).await.unwrap();
    hub.set_member("lab", "ada", Some(Role::Admin)).await.unwrap();
    hub.set_member("lab", "bot", Some(Role::Read)).await.unwrap();
    let ada = tests::caller(&hub, "ada", Scope::Write, false).await;
    let bot = tests::caller(&hub, "bot", Scope::Read, true).await;
    let model = tests::create(&hub, &ada, RepoKind::Model, "lab/bert").await;
    Ground { hub, root, ada, bot, model, folder }
}

fn file(state: State) -> Facts {
    Facts {
        state,
        path: "model.bin".to_owned(),
        digest: "a".repeat(64),
        format: "torch".to_owned(),
        size_bytes: 10,
        ..Facts::default()
    }
}

fn new_override(digest: &str) -> NewOverride {
    NewOverride {
        path: "model.bin".to_owned(),
        digest: digest.to_owned(),
        reason: "looked at it".to_owned(),
        lifetime_ms: None,
    }
}

impl Ground {
    async fn download(&self, caller: &Caller, state: State) -> bool {
        self.hub.decide(caller, Action::Download, &self.model, &file(state)).await.unwrap().allowed
    }

    async fn lab(&self) -> Level {
        self.hub.policy_level(Some("lab")).await.unwrap()
    }

    async fn events(&self) -> Vec<String> {
        let query = AuditQuery { limit: 1_000, ..AuditQuery::default() };
        let rows = self.hub.audit(&self.root, &query).await.unwrap();
        rows.into_iter().rev().map(|row| format!("{} {} {}", row.row.event, row.row.actor, row.row.outcome)).collect()
    }

    async fn refused(&self, level: &Level, text: &str) -> String {
        match self.hub.check_policies(level, text).await {
            Err(error @ Error::Policy(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

const SAFETENSORS_ONLY: &str = r#"
@id("safetensors-only")
@reason("this organisation takes safetensors only")
forbid (principal, action == Action::"download", resource)
when { context.format != "" && context.format != "safetensors" };
"#;

#[tokio::test]
async fn an_unsafe_file_is_refused_until_an_administrator_vouches_for_these_bytes() {
    let ground = ground().await;
    assert!(!ground.download(&ground.ada, State::Unsafe).await);
    let error = ground.hub.require(&ground.ada, Action::Download, &ground.model, &file(State::Unsafe)).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Refused);
    assert!(error.to_string().starts_with("`model.bin` is blocked: it is in quarantine"), "{error}");
    // Not by whoever owns it.
    let denied = ground.hub.override_verdict(&ground.ada, &ground.model, new_override(&"a".repeat(64))).await;
    assert_eq!(denied.unwrap_err().kind(), crate::ErrorKind::Denied);
    let without = NewOverride { reason: " ".to_owned(), ..new_override(&"a".repeat(64)) };
    assert!(ground.hub.override_verdict(&ground.root, &ground.model, without).await.is_err());
    let made = ground.hub.override_verdict(&ground.root, &ground.model, new_override(&"a".repeat(64))).await.unwrap();
    assert!(ground.download(&ground.ada, State::Unsafe).await);
    // Other bytes at the same path are other bytes.
    let other = Facts { digest: "b".repeat(64), ..file(State::Unsafe) };
    assert!(!ground.hub.decide(&ground.ada, Action::Download, &ground.model, &other).await.unwrap().allowed);
    let unnamed = Facts { digest: String::new(), ..file(State::Unsafe) };
    assert!(!ground.hub.decide(&ground.ada, Action::Download, &ground.model, &unnamed).await.unwrap().allowed);
    ground.hub.end_override(&ground.root, &made.id).await.unwrap();
    assert!(!ground.download(&ground.ada, State::Unsafe).await);
    let events = ground.events().await;
    for expected in ["file.download ada refused", "override.create root done", "override.end root done"] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:?}");
    }
}

#[tokio::test]
async fn an_override_ends_by_itself() {
    let ground = ground().await;
    let brief = NewOverride { lifetime_ms: Some(1), ..new_override(&"a".repeat(64)) };
    ground.hub.override_verdict(&ground.root, &ground.model, brief).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(!ground.download(&ground.ada, State::Unsafe).await);
}

#[tokio::test]
async fn programs_and_strangers_get_nothing_that_a_person_must_decide() {
    let ground = ground().await;
    for state in [State::Suspicious, State::Error] {
        assert!(ground.download(&ground.ada, state).await);
        assert!(!ground.download(&ground.bot, state).await);
        assert!(!ground.download(&Caller::anonymous(), state).await);
    }
    assert!(ground.download(&ground.bot, State::Safe).await);
    assert!(ground.download(&Caller::anonymous(), State::Caution).await);
}

#[tokio::test]
async fn an_organisation_forbids_in_its_own_repositories_only() {
    let ground = ground().await;
    let lab = ground.lab().await;
    let version = ground.hub.save_policies(&ground.ada, &lab, SAFETENSORS_ONLY, 0, "first").await.unwrap();
    assert_eq!(version, 1);
    let decision = ground.hub.decide(&ground.ada, Action::Download, &ground.model, &file(State::Safe)).await.unwrap();
    assert!(!decision.allowed);
    assert_eq!(
        decision.why(),
        "this organisation takes safetensors only (policy `safetensors-only` of the organisation)"
    );
    let own = tests::create(&ground.hub, &ground.ada, RepoKind::Model, "own").await;
    assert!(ground.hub.decide(&ground.ada, Action::Download, &own, &file(State::Safe)).await.unwrap().allowed);
    // Neither may a member who does not administrate, nor an administrator of the organisation the hub's.
    let denied = ground.hub.save_policies(&ground.bot, &lab, "", 1, "").await;
    assert_eq!(denied.unwrap_err().kind(), crate::ErrorKind::Denied);
    let denied = ground.hub.save_policies(&ground.ada, &Level::Hub, DEFAULTS, 0, "").await;
    assert_eq!(denied.unwrap_err().kind(), crate::ErrorKind::Denied);
}

#[tokio::test]
async fn of_two_who_save_at_once_one_learns_of_the_other() {
    let ground = ground().await;
    let lab = ground.lab().await;
    let save = |note: &'static str| {
        let (hub, ada, lab) = (ground.hub.clone(), ground.ada.clone(), lab.clone());
        async move { hub.save_policies(&ada, &lab, SAFETENSORS_ONLY, 0, note).await }
    };
    let results = futures::future::join_all(["a", "b", "c", "d"].map(save)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), crate::ErrorKind::Conflict);
    }
    assert_eq!(ground.hub.policy_history(&lab, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_server_follows_a_change() {
    let ground = ground().await;
    let other = open(&ground.folder, false).await;
    assert!(other.decide(&ground.ada, Action::Download, &ground.model, &file(State::Safe)).await.unwrap().allowed);
    ground.hub.save_policies(&ground.ada, &ground.lab().await, SAFETENSORS_ONLY, 0, "").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert!(!other.decide(&ground.ada, Action::Download, &ground.model, &file(State::Safe)).await.unwrap().allowed);
}

#[tokio::test]
async fn policies_that_name_nobody_or_lock_everybody_out_are_refused() {
    let ground = ground().await;
    let rule =
        |scope: &str| format!("{DEFAULTS}\n@id(\"mine\") @reason(\"r\") forbid ({scope}) when {{ context.pickle }};");
    for (scope, message) in [
        ("principal in Organisation::\"nobody\", action, resource", "there is no organisation `nobody`"),
        ("principal in Group::\"Lab/write\", action, resource", "is spelled `lab`"),
        ("principal == User::\"lab\", action, resource", "there is no user `lab`"),
        ("principal, action, resource == Repo::\"lab/gone\"", "there is no repository `lab/gone`"),
        ("principal, action, resource in Namespace::\"gone\"", "there is no user or organisation `gone`"),
    ] {
        let error = ground.refused(&Level::Hub, &rule(scope)).await;
        assert!(error.contains("policy `mine`") && error.contains(message), "{error}");
    }
    for (text, message) in [
        ("", "no policy permits it"),
        ("@id(\"a\") permit (principal, action == Action::\"download\", resource);", "override a verdict"),
        (
            "@id(\"a\") permit (principal, action, resource); @id(\"b\") @reason(\"r\") forbid (principal, action, resource) \
             when { principal in Group::\"administrators\" };",
            "policy `b`: `root` administrates here",
        ),
    ] {
        let error = ground.refused(&Level::Hub, text).await;
        assert!(error.contains(message), "{error}");
    }
    let all = "@id(\"b\") @reason(\"r\") forbid (principal, action, resource) when { principal.known };";
    let error = ground.refused(&ground.lab().await, all).await;
    assert!(error.contains("`ada` administrates here"), "{error}");
    // One of several administrators may be shut out.
    ground.hub.add_user(NewAccount { name: "eve".to_owned(), admin: true, ..NewAccount::default() }).await.unwrap();
    let one = format!("{DEFAULTS}\n@id(\"eve\") @reason(\"r\") forbid (principal == User::\"eve\", action, resource);");
    ground.hub.check_policies(&Level::Hub, &one).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_says_what_a_policy_would_have_blocked() {
    let ground = ground().await;
    for _ in 0..3 {
        assert!(ground.download(&ground.ada, State::Safe).await);
    }
    assert!(ground.download(&ground.bot, State::Caution).await);
    assert!(!ground.download(&ground.ada, State::Unsafe).await);
    let lab = ground.lab().await;
    let found = ground.hub.dry_run(&lab, SAFETENSORS_ONLY, 30).await.unwrap();
    assert_eq!((found.requests, found.newly_refused, found.still_refused, found.newly_allowed), (6, 4, 1, 0));
    assert_eq!((found.changes[0].path.as_str(), found.changes[0].times), ("model.bin", 4));
    assert_eq!(found.changes[0].reasons[0].policy, "safetensors-only");
    assert_eq!(found.changes[0].askers.len(), 2);
    // Nothing was saved, and what others own is not looked at.
    assert!(ground.download(&ground.ada, State::Safe).await);
    let ada = ground.hub.policy_level(Some("ada")).await.unwrap();
    assert_eq!(ground.hub.dry_run(&ada, SAFETENSORS_ONLY, 30).await.unwrap().requests, 0);
    // A hub that lets everything through would have let the quarantined file through.
    let open = "@id(\"a\") permit (principal, action, resource);";
    let found = ground.hub.dry_run(&Level::Hub, open, 30).await.unwrap();
    assert_eq!((found.newly_allowed, found.newly_refused), (1, 0));
}

#[tokio::test]
async fn the_same_refusal_again_is_counted_and_not_written_each_time() {
    let ground = ground().await;
    for _ in 0..50 {
        assert!(!ground.download(&ground.bot, State::Unsafe).await);
    }
    let refused = |events: Vec<String>| events.into_iter().filter(|event| event == "file.download bot refused").count();
    assert_eq!(refused(ground.events().await), 1);
    ground.hub.stop_work();
    ground.hub.write_down().await.unwrap();
    let query = AuditQuery { event: Some("file".to_owned()), limit: 10, ..AuditQuery::default() };
    let rows = ground.hub.audit(&ground.root, &query).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].body.contains("\"again\":49"), "{}", rows[0].body);
}

#[tokio::test]
async fn what_is_done_to_repositories_members_and_tokens_is_in_the_log() {
    let ground = ground().await;
    ground.hub.set_private(&ground.ada, &ground.model, true).await.unwrap();
    ground.hub.move_repo(&ground.ada, &ground.model, "lab/roberta").await.unwrap();
    let moved = ground.hub.repo(&ground.ada, RepoKind::Model, "lab/roberta").await.unwrap();
    ground.hub.delete_repo(&ground.ada, &moved).await.unwrap();
    ground.hub.set_member("lab", "bot", Some(Role::Write)).await.unwrap();
    ground.hub.set_member("lab", "bot", None).await.unwrap();
    let events = ground.events().await;
    for expected in [
        "user.create  done",
        "org.create  done",
        "token.create  done",
        "repo.create ada done",
        "repo.update_settings ada done",
        "repo.move ada done",
        "repo.delete ada done",
        "org.add_member  done",
        "org.change_role  done",
        "org.remove_member  done",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:?}");
    }
    // An administrator of the organisation reads what concerns it, and nothing else.
    let org = match ground.lab().await {
        Level::Account(account) => account.id,
        Level::Hub => unreachable!(),
    };
    let own = AuditQuery { org: Some(org), limit: 100, ..AuditQuery::default() };
    let rows = ground.hub.audit(&ground.ada, &own).await.unwrap();
    assert!(rows.iter().any(|row| row.row.event == "repo.delete"));
    assert!(rows.iter().all(|row| row.row.event != "user.create"));
    for query in
        [AuditQuery { limit: 9, ..AuditQuery::default() }, AuditQuery { org: Some(String::new()), ..own.clone() }]
    {
        assert!(ground.hub.audit(&ground.ada, &query).await.is_err());
    }
    assert!(ground.hub.audit(&ground.bot, &own).await.is_err());
}

#[tokio::test]
async fn the_chain_holds_and_an_export_can_be_checked_elsewhere() {
    use weighthouse_store::digest::Sha256;

    let ground = ground().await;
    let chain = ground.hub.verify_audit(None).await.unwrap();
    assert_eq!(chain.broken, None);
    assert!(chain.rows > 5);
    assert_eq!(ground.hub.verify_audit(Some(&chain.head)).await.unwrap().broken, None);
    assert!(ground.hub.verify_audit(Some("00")).await.unwrap().broken.is_some());
    let mut previous = String::new();
    for record in ground.hub.audit_after(0).await.unwrap() {
        let line = crate::audit::exported(&record);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let (body, _) = line.rsplit_once(",\"hash\":").unwrap();
        assert_eq!(value["previous"], previous.as_str());
        previous = Sha256::of(format!("{body}}}").as_bytes()).to_string();
        assert_eq!(value["hash"], previous.as_str());
    }
    assert_eq!(previous, chain.head);
}

#[tokio::test]
async fn a_row_that_was_edited_breaks_the_chain() {
    use weighthouse_store::digest::Sha256;

    use crate::audit::wrong;

    let ground = ground().await;
    let rows = ground.hub.audit_after(0).await.unwrap();
    let (before, row) = (&rows[1], &rows[2]);
    assert_eq!(wrong(row, &before.hash), None);
    let mut edited = row.clone();
    edited.body = row.body.replace("done", "DONE");
    assert!(wrong(&edited, &before.hash).unwrap().contains("not what was written"));
    // Even with a hash that fits: the row after it names the former one.
    edited.hash = Sha256::of(edited.body.as_bytes()).to_string();
    assert!(wrong(&rows[3], &edited.hash).unwrap().contains("does not follow"));
    let mut columns = row.clone();
    columns.row.actor = "eve".to_owned();
    assert!(wrong(&columns, &before.hash).unwrap().contains("columns"));
    // One that was taken out.
    assert!(wrong(&rows[3], &before.hash).unwrap().contains("does not follow"));
}
