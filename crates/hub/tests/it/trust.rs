//! The gate: what is judged bad is seen by everybody who sees the repository, and leaves by no road.

use axum::body::Body;
use serde_json::{Value, json};
use weighthouse::RepoKind;
use weighthouse::access::Caller;

use crate::site::{Site, file, sha256};
use crate::xet::token;

/// Runs a program when it is unpickled, if anybody did.
const POISON: &[u8] = b"cos\nsystem\n(S'true'\ntR.";

async fn poisoned() -> Site {
    let site = Site::new().await;
    site.repo("m", false).await;
    let line = site.upload("m", "sub/model.pkl", POISON).await;
    let lines = [line, file("small.pkl", POISON), file("config.json", br#"{"auto_map": {"AutoModel": "code.Model"}}"#)];
    site.commit("m", &lines).await.ok();
    site
}

async fn xet_hash(site: &Site, path: &str) -> String {
    let hub = &site.hub.hub;
    let (_, at) = hub.repo_at(&Caller::anonymous(), RepoKind::Model, "ada/m", "main").await.unwrap();
    hub.file(&at, "main", path).await.unwrap().file_hash.to_string()
}

#[tokio::test]
async fn a_poisoned_file_leaves_by_no_road() {
    let site = poisoned().await;
    let oid = sha256(POISON);
    for token_of in [site.ada.as_str(), site.bob.as_str(), ""] {
        for path in ["/ada/m/resolve/main/sub/model.pkl", "/ada/m/resolve/main/small.pkl", "/ada/m/raw/main/small.pkl"]
        {
            let answer = site.get(token_of, path).await;
            assert_eq!(answer.refusal(), (403, "BlockedByPolicy"), "{path}");
            let message = answer.header("x-error-message");
            assert!(message.contains("os.system") && message.contains("unsafe"), "{message}");
            assert_eq!(answer.json()["error"], message, "{path}");
        }
        let ranged = [("range", "bytes=0-3")];
        let part = site.ask_with(token_of, "GET", "/ada/m/resolve/main/sub/model.pkl", &ranged, "").await;
        assert_eq!(part.status, 403);
        let info = [("accept", "application/vnd.xet-fileinfo+json")];
        let info = site.ask_with(token_of, "GET", "/ada/m/resolve/main/sub/model.pkl", &info, "").await;
        assert_eq!(info.status, 403);
        let batch = json!({ "operation": "download", "objects": [{ "oid": oid, "size": POISON.len() }] });
        let batch = site.post(token_of, "/ada/m.git/info/lfs/objects/batch", &batch).await.ok().json();
        assert_eq!(batch["objects"][0]["error"]["code"], 403, "{batch}");
        let object = site.get(token_of, &format!("/ada/m.git/info/lfs/objects/{oid}")).await;
        assert_eq!(object.refusal(), (403, "BlockedByPolicy"));
        let read = token(&site, token_of, "ada/m", "read").await;
        let hash = xet_hash(&site, "sub/model.pkl").await;
        for version in ["v1", "v2"] {
            let plan = site.get(&read, &format!("/xet/{version}/reconstructions/{hash}")).await;
            assert_eq!(plan.refusal(), (403, "BlockedByPolicy"), "{version}");
        }
        let plans = site.get(&read, &format!("/xet/v1/reconstructions?file_id={hash}")).await.ok().json();
        assert_eq!(plans["files"], json!({}), "{plans}");
        let page = site.get(token_of, "/ada/m/blob/main/small.pkl").await.ok();
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(!page.contains("resolve/main/small.pkl") && page.contains("os.system"), "{page}");
    }
    // The pointer is no content.
    let pointer = site.get("", "/ada/m/raw/main/sub/model.pkl").await.ok();
    assert!(pointer.body.starts_with(b"version https://git-lfs"));
}

#[tokio::test]
async fn the_head_of_a_blocked_file_tells_why_and_leads_nowhere() {
    let site = poisoned().await;
    let head = site.ask("", "HEAD", "/ada/m/resolve/main/sub/model.pkl", Body::empty()).await.ok();
    // Clients print this; a refusal they would take for a broken connection.
    assert!(head.header("x-hf-warning").contains("os.system"), "{head:?}");
    assert!(head.body.is_empty() && head.header("x-xet-hash").is_empty() && head.header("link").is_empty());
    assert!(head.header("cache-control").contains("no-store"));
}

#[tokio::test]
async fn what_is_worth_a_look_comes_with_a_warning() {
    let site = poisoned().await;
    let config = site.get("", "/ada/m/resolve/main/config.json").await.ok();
    let warning = config.header("x-hf-warning");
    assert!(warning.starts_with("scan config.json; `config.json` is caution:"), "{warning}");
    let plain = site.get("", "/ada/m/resolve/main/.gitattributes").await.ok();
    assert!(plain.headers.get("x-hf-warning").is_none());
}

#[tokio::test]
async fn listings_have_the_status_of_each_file() {
    let site = poisoned().await;
    let tree = site.get("", "/api/models/ada/m/tree/main?expand=true&recursive=true").await.ok().json();
    let of = |path: &str| -> Value {
        let entry = tree.as_array().unwrap().iter().find(|entry| entry["path"] == path).unwrap();
        entry["securityFileStatus"].clone()
    };
    let bad = of("sub/model.pkl");
    assert_eq!((bad["status"].as_str(), bad["pickleImportScan"]["status"].as_str()), (Some("unsafe"), Some("unsafe")));
    assert_eq!(bad["avScan"]["status"], "safe");
    let import = &bad["pickleImportScan"]["pickleImports"][0];
    assert_eq!((import["name"].as_str(), import["safety"].as_str()), (Some("system"), Some("dangerous")), "{bad}");
    let config = of("config.json");
    assert_eq!((config["status"].as_str(), config["avScan"]["status"].as_str()), (Some("caution"), Some("caution")));
    assert!(config["avScan"]["message"].is_string());
    assert_eq!(of("sub"), Value::Null);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "paths=small.pkl&expand=True";
    let paths = site.ask_with("", "POST", "/api/models/ada/m/paths-info/main", &form, body).await.ok().json();
    assert_eq!(paths[0]["securityFileStatus"]["status"], "unsafe");
    let plain = site.get("", "/api/models/ada/m/tree/main").await.ok().json();
    assert!(plain.as_array().unwrap().iter().all(|entry| entry["securityFileStatus"].is_null()));

    let info = site.get("", "/api/models/ada/m?securityStatus=true").await.ok().json();
    let status = &info["securityRepoStatus"];
    assert_eq!(status["scansDone"], true);
    let issues = json!([
        { "path": "small.pkl", "level": "unsafe" },
        { "path": "sub/model.pkl", "level": "unsafe" },
        { "path": "config.json", "level": "caution" },
    ]);
    assert_eq!(status["filesWithIssues"], issues);
    assert!(site.get("", "/api/models/ada/m").await.ok().json()["securityRepoStatus"].is_null());
}

#[tokio::test]
async fn reports_are_read_by_file_and_by_revision() {
    let site = poisoned().await;
    let report = site.get("", "/api/models/ada/m/scan/main/sub/model.pkl").await.ok().json();
    assert_eq!((report["schema"].as_str(), report["verdict"].as_str()), (Some("weighthouse.scan/1"), Some("unsafe")));
    assert_eq!(report["target"]["digest"], sha256(POISON));
    let whole = site.get("", "/api/models/ada/m/scan/main").await.ok().json();
    assert_eq!((whole["files"].as_array().unwrap().len(), whole["verdict"].as_str()), (4, Some("unsafe")));
    let sarif = site.get("", "/api/models/ada/m/scan/main?as=sarif").await.ok().json();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(site.get("", "/api/models/ada/m/scan/main?as=x").await.status, 400);
    assert_eq!(site.get("", "/api/models/ada/m/scan/main/none").await.refusal(), (404, "EntryNotFound"));
    for path in ["/ada/m/scan/main", "/ada/m/scan/main/sub/model.pkl", "/ada/m", "/ada/m/tree/main"] {
        let page = site.get("", path).await.ok();
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains("badge bad") && page.contains("unsafe"), "{path}");
    }
    let page = site.get("", "/ada/m/scan/main/sub/model.pkl").await.ok();
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("class=\"here\"") && page.contains("GLOBAL"), "{page}");
}

#[tokio::test]
async fn a_clean_repository_costs_its_readers_nothing() {
    let site = Site::new().await;
    site.repo("m", false).await;
    site.commit("m", &[file("config.json", b"{}")]).await.ok();
    let answer = site.get("", "/ada/m/resolve/main/config.json").await.ok();
    assert!(answer.body == b"{}"[..] && answer.headers.get("x-hf-warning").is_none());
    let info = site.get("", "/api/models/ada/m?securityStatus=true").await.ok().json();
    assert_eq!(info["securityRepoStatus"], json!({ "scansDone": true, "filesWithIssues": [] }));
}
