//! Who may see and do what.

use serde_json::json;
use weighthouse::account::NewToken;
use weighthouse::{RepoKind, Scope};

use crate::site::{Answer, Site, file, lfs_file, sha256};

/// Everything of an answer but its id and date.
fn essence(answer: &Answer) -> impl PartialEq + std::fmt::Debug + use<> {
    let kept = answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let headers: Vec<_> = kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    (answer.status.as_u16(), headers, answer.body.to_vec())
}

#[tokio::test]
async fn a_private_repository_answers_strangers_like_a_missing_one() {
    let site = Site::new().await;
    site.repo("hidden", true).await;
    let made = site.commit("hidden", &[file("config.json", b"{}")]).await.ok().json();
    let commit = made["commitOid"].as_str().unwrap();
    let batch = json!({ "operation": "upload", "objects": [{ "oid": sha256(b"x"), "size": 1 }] }).to_string();
    let commit_body = "{\"key\":\"header\",\"value\":{\"summary\":\"x\"}}\n";
    let questions = [
        ("GET", "/api/models/ada/{}", ""),
        ("GET", "/api/models/ada/{}/revision/main", ""),
        ("GET", &format!("/api/models/ada/{{}}/revision/{commit}"), ""),
        ("GET", "/api/models/ada/{}/tree/main", ""),
        ("GET", "/api/models/ada/{}/refs", ""),
        ("GET", "/api/models/ada/{}/commits/main", ""),
        ("POST", "/api/models/ada/{}/paths-info/main", "paths=config.json"),
        ("POST", "/api/models/ada/{}/preupload/main", "{\"files\":[]}"),
        ("POST", "/api/models/ada/{}/commit/main", commit_body),
        ("POST", "/api/models/ada/{}/branch/x", "{}"),
        ("DELETE", "/api/models/ada/{}/branch/x", ""),
        ("POST", "/api/models/ada/{}/tag/main", "{\"tag\":\"t\"}"),
        ("PUT", "/api/models/ada/{}/settings", "{\"visibility\":\"public\"}"),
        ("GET", "/api/models/ada/{}/xet-read-token/main", ""),
        ("GET", "/api/models/ada/{}/xet-write-token/main", ""),
        ("GET", "/api/models/ada/{}/auth-check", ""),
        ("HEAD", "/ada/{}/resolve/main/config.json", ""),
        ("GET", "/ada/{}/resolve/main/config.json", ""),
        ("GET", &format!("/ada/{{}}/resolve/{commit}/config.json"), ""),
        ("GET", "/ada/{}/raw/main/config.json", ""),
        ("POST", "/ada/{}.git/info/lfs/objects/batch", &batch),
    ];
    for token in ["", site.bob.as_str()] {
        for (method, path, body) in &questions {
            let ask = async |name: &str| site.ask(token, method, &path.replace("{}", name), (*body).to_owned()).await;
            let (hidden, missing) = (ask("hidden").await, ask("absent").await);
            assert_eq!(essence(&hidden), essence(&missing), "{method} {path}");
            assert_eq!(hidden.header("x-error-code"), "RepoNotFound", "{method} {path}");
            assert_eq!(hidden.status.as_u16(), if token.is_empty() { 401 } else { 404 }, "{method} {path}");
        }
    }
    let listed = site.get(&site.bob, "/api/models?search=hidden").await.ok().json();
    assert_eq!(listed, json!([]));
    site.still_works().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_even_where_none_is_needed() {
    let site = Site::new().await;
    site.repo("open", false).await;
    for path in ["/api/models/ada/open", "/ada/open/resolve/main/.gitattributes", "/api/whoami-v2"] {
        let answer = site.get("hf_nobodynobodynobodynobodynobodynobodynob", path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("x-error-message"), "Invalid credentials in Authorization header", "{path}");
    }
    for header in ["Bearer", "Bearer \u{7f}", "Digest x", "Basic !!!"] {
        let headers = [("authorization", header)];
        let Ok(_) = http::HeaderValue::from_str(header) else { continue };
        let answer = site.ask_with("", "GET", "/api/models/ada/open", &headers, "").await;
        assert_eq!(answer.status, 401, "{header}");
    }
    assert_eq!(site.get("", "/api/whoami-v2").await.status, 401);
}

#[tokio::test]
async fn tokens_do_what_they_are_for_and_no_more() {
    let site = Site::new().await;
    site.repo("mine", true).await;
    site.repo("other", true).await;
    let limited = NewToken {
        name: "ci".into(),
        scope: Scope::Write,
        repos: Some(vec![(RepoKind::Model, "ada/mine".into())]),
        lifetime_ms: None,
        automated: false,
        value: None,
    };
    let (_, limited) = site.hub.hub.add_token("ada", limited).await.unwrap();
    let expired = NewToken {
        name: "old".into(),
        scope: Scope::Write,
        repos: None,
        lifetime_ms: Some(-1),
        automated: false,
        value: None,
    };
    let (_, expired) = site.hub.hub.add_token("ada", expired).await.unwrap();
    let read = site.hub.token("ada", Scope::Read).await;
    assert_eq!(site.get(&expired, "/api/models/ada/mine").await.status, 401);
    site.get(&limited, "/api/models/ada/mine").await.ok();
    assert_eq!(site.get(&limited, "/api/models/ada/other").await.refusal(), (404, "RepoNotFound"));
    let created = site.post(&limited, "/api/repos/create", &json!({ "name": "new" })).await;
    assert_eq!(created.status, 403);
    site.get(&read, "/api/models/ada/mine").await.ok();
    for (method, path, body) in [
        ("POST", "/api/models/ada/mine/commit/main", "{\"key\":\"header\",\"value\":{\"summary\":\"x\"}}\n"),
        ("GET", "/api/models/ada/mine/xet-write-token/main", ""),
        ("POST", "/api/repos/create", "{\"name\":\"new\"}"),
        ("POST", "/api/models/ada/mine/branch/x", "{}"),
        ("DELETE", "/api/repos/delete", "{\"name\":\"mine\"}"),
    ] {
        assert_eq!(site.ask(&read, method, path, body).await.status, 403, "{method} {path}");
    }
    let tokens = site.hub.hub.tokens("ada").await.unwrap();
    let id = &tokens.iter().find(|token| token.name == "ci").unwrap().id;
    site.hub.hub.revoke_token(id).await.unwrap();
    assert_eq!(site.get(&limited, "/api/models/ada/mine").await.status, 401);
}

#[tokio::test]
async fn organisations_give_rights_by_role() {
    use weighthouse::Role;
    use weighthouse::account::NewAccount;
    let site = Site::new().await;
    site.hub.hub.add_org(NewAccount { name: "lab".into(), ..NewAccount::default() }).await.unwrap();
    let create = json!({ "name": "m", "organization": "lab", "visibility": "private" });
    assert_eq!(site.post(&site.bob, "/api/repos/create", &create).await.status, 403);
    site.hub.hub.set_member("lab", "ada", Some(Role::Write)).await.unwrap();
    site.post(&site.ada, "/api/repos/create", &create).await.ok();
    assert_eq!(site.get(&site.bob, "/api/models/lab/m").await.status, 404);
    site.hub.hub.set_member("lab", "bob", Some(Role::Read)).await.unwrap();
    site.get(&site.bob, "/api/models/LAB/M").await.ok();
    assert_eq!(site.post(&site.bob, "/api/models/lab/m/branch/x", &json!({})).await.status, 403);
    let delete = json!({ "name": "m", "organization": "lab" }).to_string();
    assert_eq!(site.ask(&site.ada, "DELETE", "/api/repos/delete", delete.clone()).await.status, 403);
    site.hub.hub.set_member("lab", "ada", Some(Role::Admin)).await.unwrap();
    site.ask(&site.ada, "DELETE", "/api/repos/delete", delete).await.ok();
    site.hub.hub.set_member("lab", "bob", None).await.unwrap();
    let who = site.get(&site.bob, "/api/whoami-v2").await.ok().json();
    assert_eq!(who["orgs"], json!([]));
}

#[tokio::test]
async fn foreign_content_is_not_confirmed_by_its_hash() {
    let site = Site::new().await;
    site.repo("hidden", true).await;
    let secret = weighthouse_testkit::noise(5, 200_000);
    let line = site.upload("hidden", "w.bin", &secret).await;
    site.commit("hidden", &[line]).await.ok();
    site.post(&site.bob, "/api/repos/create", &json!({ "name": "probe" })).await.ok();
    let body = json!({ "operation": "upload", "objects": [{ "oid": sha256(&secret), "size": secret.len() }] });
    let batch = "/bob/probe.git/info/lfs/objects/batch";
    let answer = site.post(&site.bob, batch, &body).await.ok().json();
    assert!(answer["objects"][0]["actions"]["upload"].is_object(), "the upload must be asked for: {answer}");
    let commit = format!(
        "{}\n{}\n",
        json!({ "key": "header", "value": { "summary": "steal" } }),
        lfs_file("w.bin", &sha256(&secret), secret.len())
    );
    let stolen = site.ask(&site.bob, "POST", "/api/models/bob/probe/commit/main", commit.clone()).await;
    assert_eq!(stolen.status, 400, "{stolen:?}");
    assert!(stolen.header("x-error-message").contains("does not exist"));
    site.ask(&site.ada, "PUT", "/api/models/ada/hidden/settings", "{\"visibility\":\"public\"}").await.ok();
    let answer = site.post(&site.bob, batch, &body).await.ok().json();
    assert!(answer["objects"][0]["actions"].is_null(), "public content need not be sent again");
    site.ask(&site.bob, "POST", "/api/models/bob/probe/commit/main", commit).await.ok();
    assert!(site.get("", "/bob/probe/resolve/main/w.bin").await.ok().body == secret);
}

#[tokio::test]
async fn names_that_no_repository_can_have_are_refused() {
    let site = Site::new().await;
    site.repo("Model", false).await;
    let long = "x".repeat(97);
    for name in ["", "..", "a--b", "a..b", "-a", "a.", "a b", "x.git", "ä", "a/b/c", "a\\b", &long] {
        let answer = site.post(&site.ada, "/api/repos/create", &json!({ "name": name })).await;
        assert!(matches!(answer.status.as_u16(), 400 | 403), "{name}: {answer:?}");
    }
    // Well formed, but their addresses would mean something else.
    for name in ["tree", "Resolve", "xet-write-token"] {
        let answer = site.post(&site.ada, "/api/repos/create", &json!({ "name": name })).await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
        let to = json!({ "fromRepo": "ada/Model", "toRepo": format!("ada/{name}"), "type": "model" });
        assert_eq!(site.post(&site.ada, "/api/repos/move", &to).await.status, 400, "{name}");
    }
    let clash = site.post(&site.ada, "/api/repos/create", &json!({ "name": "mODEL" })).await;
    assert_eq!(clash.status, 409);
    assert_eq!(clash.json()["url"], "http://localhost/ada/Model", "the stored case, for the client's link");
    let other = site.post(&site.ada, "/api/repos/create", &json!({ "name": "s", "type": "space" })).await;
    assert_eq!((other.status.as_u16(), other.json()["error"].is_string()), (404, true));
    for path in [
        "/ada/Model/resolve/main/../../x",
        "/ada/Model/resolve/main/%2e%2e/x",
        "/ada/Model/resolve/main/a%00b",
        "/ada/Model/resolve/main/%ff",
    ] {
        assert_eq!(site.get(&site.ada, path).await.status.as_u16() / 100, 4, "{path}");
    }
    site.still_works().await;
}
