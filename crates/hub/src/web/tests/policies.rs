use weighthouse::Role;
use weighthouse::policies::Level;
use weighthouse::policy::{Action, DEFAULTS, Facts, State};

use super::*;

pub(super) struct Office {
    pub ground: Ground,
    pub root: Caller,
    /// `Authorization` of the administrator, and of Ada, who administrates `lab`.
    pub root_key: String,
    pub ada_key: String,
}

pub(super) async fn office() -> Office {
    let ground = ground().await;
    ground.hub.add_user(NewAccount { name: "root".to_owned(), admin: true, ..NewAccount::default() }).await.unwrap();
    ground.hub.add_org(NewAccount { name: "lab".to_owned(), ..NewAccount::default() }).await.unwrap();
    ground.hub.set_member("lab", "ada", Some(Role::Admin)).await.unwrap();
    let token = NewToken {
        name: "t".to_owned(),
        scope: Scope::Admin,
        repos: None,
        lifetime_ms: None,
        automated: false,
        value: None,
    };
    let (_, secret) = ground.hub.add_token("root", token).await.unwrap();
    let root = ground.hub.authenticate(&secret).await.unwrap();
    let (root_key, ada_key) = (format!("Bearer {secret}"), format!("Bearer {}", ground.secret));
    Office { ground, root, root_key, ada_key }
}

pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

const RULE: &str = "@id(\"no-torch\")\n@reason(\"safetensors only, please\")\nforbid (principal, action == \
                    Action::\"download\", resource) when { context.format == \"torch\" };\n";

#[tokio::test]
async fn only_those_who_administrate_see_policies_quarantine_and_log() {
    let office = office().await;
    let (ada, root) = ([(header::AUTHORIZATION, &*office.ada_key)], [(header::AUTHORIZATION, &*office.root_key)]);
    for tab in ["policies", "quarantine", "audit"] {
        let path = format!("/settings/{tab}");
        assert_eq!(office.ground.get(&path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(office.ground.ask(&path, &ada).await.status, StatusCode::FORBIDDEN, "{path}");
        for (path, key) in [(path.clone(), &root), (format!("{path}?of=lab"), &ada), (format!("{path}?of=ada"), &ada)] {
            let reply = office.ground.ask(&path, key).await;
            assert_eq!(reply.status, StatusCode::OK, "{path}\n{}", reply.body);
            check_sound(&path, &reply);
            let twin = office.ground.ask(&twin(&reply.body).replace("&amp;", "&"), key).await;
            assert_eq!(twin.status, StatusCode::OK, "{path}: {}", twin.body);
        }
        let eve = office.ground.ask(&format!("{path}?of=eve"), &ada).await;
        assert_eq!(eve.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn policies_are_tried_saved_and_refused_in_a_form() {
    let office = office().await;
    let key = [(header::AUTHORIZATION, &*office.root_key)];
    office.ground.model("bert", &[("model.bin", b"x")]).await;
    let repo = office.ground.hub.repo(&office.ground.ada, RepoKind::Model, "ada/bert").await.unwrap();
    let facts =
        Facts { state: State::Safe, path: "model.bin".to_owned(), format: "torch".to_owned(), ..Facts::default() };
    assert!(office.ground.hub.decide(&office.ground.ada, Action::Download, &repo, &facts).await.unwrap().allowed);

    let text = format!("{DEFAULTS}\n{RULE}");
    let form = |text: &str, over: u64, what: &str| format!("text={}&over={over}&do={what}&note=n", encoded(text));
    let tried = office.ground.post("/settings/policies", &form(&text, 0, "try"), &key).await;
    assert_eq!(tried.status, StatusCode::OK, "{}", tried.body);
    check_sound("try", &tried);
    assert!(tried.body.contains("1 would be refused") && tried.body.contains("safetensors only, please"));
    assert_eq!(office.ground.hub.policies(&Level::Hub).await.unwrap().version, 0);

    let wrong = office.ground.post("/settings/policies", &form("permit(", 0, "save"), &key).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    check_sound("wrong", &wrong);
    assert!(wrong.body.contains("role=\"alert\"") && wrong.body.contains("line 1") && wrong.body.contains("permit("));

    let saved = office.ground.post("/settings/policies", &form(&text, 0, "save"), &key).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert!(!office.ground.hub.decide(&office.ground.ada, Action::Download, &repo, &facts).await.unwrap().allowed);
    let late = office.ground.post("/settings/policies", &form(DEFAULTS, 0, "save"), &key).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(late.body.contains("somebody saved these policies"));

    let foreign = [(header::AUTHORIZATION, &*office.root_key), (header::ORIGIN, "https://evil.example")];
    for path in ["/settings/policies", "/settings/quarantine"] {
        assert_eq!(office.ground.post(path, &form(&text, 1, "save"), &foreign).await.status, StatusCode::FORBIDDEN);
    }
    let large = office.ground.post("/settings/policies", &"a".repeat(2 << 20), &key).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_quarantined_file_is_released_with_a_reason_and_taken_back() {
    let office = office().await;
    let key = [(header::AUTHORIZATION, &*office.root_key)];
    // Nobody has asked for it.
    let poison = b"cos\nsystem\n(S'true'\ntR.";
    office.ground.model("bert", &[("<model>.pkl", poison), ("again.pkl", poison), ("config.json", b"{}")]).await;
    let hub = &office.ground.hub;
    let repo = hub.repo(&office.ground.ada, RepoKind::Model, "ada/bert").await.unwrap();
    let digest = weighthouse::Sha256::of(poison).to_string();
    let facts = Facts { state: State::Unsafe, path: "<model>.pkl".to_owned(), digest, ..Facts::default() };
    let listed = office.ground.ask("/settings/quarantine", &key).await;
    check_sound("quarantine", &listed);
    assert!(
        listed.body.contains("ada/bert/&#60;model&#62;.pkl") && listed.body.contains("os.system"),
        "{}",
        listed.body
    );
    assert!(!listed.body.contains("config.json"));
    let part = office.ground.ask("/api/settings/quarantine?limit=1", &key).await;
    let part: serde_json::Value = serde_json::from_str(&part.body).unwrap();
    assert_eq!((&part["files"][0]["path"], &part["files"][0]["branches"][0]), (&"<model>.pkl".into(), &"main".into()));
    let next = encoded(part["next"].as_str().unwrap());
    let part = office.ground.ask(&format!("/api/settings/quarantine?limit=9&after={next}"), &key).await;
    let part: serde_json::Value = serde_json::from_str(&part.body).unwrap();
    assert_eq!((&part["files"][0]["path"], &part["next"]), (&"again.pkl".into(), &serde_json::Value::Null));
    let lost = office.ground.ask("/settings/quarantine?after=x", &key).await;
    assert_eq!(lost.status, StatusCode::BAD_REQUEST);
    let form = |reason: &str| {
        format!(
            "repo=ada%2Fbert&path={}&digest={}&days=&reason={}",
            encoded(&facts.path),
            facts.digest,
            encoded(reason)
        )
    };
    assert_eq!(office.ground.post("/settings/quarantine", &form(""), &key).await.status, StatusCode::BAD_REQUEST);
    let ada = [(header::AUTHORIZATION, &*office.ada_key)];
    assert_eq!(office.ground.post("/settings/quarantine", &form("mine"), &ada).await.status, StatusCode::FORBIDDEN);
    let released = office.ground.post("/settings/quarantine", &form("built by us"), &key).await;
    assert_eq!(released.status, StatusCode::SEE_OTHER, "{}", released.body);
    assert!(hub.decide(&office.ground.ada, Action::Download, &repo, &facts).await.unwrap().allowed);
    let listed = office.ground.ask("/settings/quarantine", &key).await;
    check_sound("released", &listed);
    assert!(listed.body.contains("built by us") && listed.body.contains("Take back"));
    assert!(listed.body.contains("in force, by root") && listed.body.contains("Released."), "{}", listed.body);
    let id = hub.overrides(&office.root, 9).await.unwrap()[0].id.clone();
    let ended = office.ground.post("/settings/quarantine", &format!("end={id}"), &key).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert!(!hub.decide(&office.ground.ada, Action::Download, &repo, &facts).await.unwrap().allowed);
    let log = office.ground.ask("/settings/audit?event=override", &key).await;
    check_sound("audit", &log);
    assert!(
        log.body.contains("override.create") && log.body.contains("override.end") && log.body.contains("built by us")
    );
    let kept = office.ground.ask("/settings/audit?as=jsonl", &key).await;
    assert_eq!(kept.headers[header::CONTENT_TYPE], "application/x-ndjson; charset=utf-8");
    assert!(kept.body.lines().all(|line| line.contains("\"previous\":") && line.contains("\"hash\":")));
}
