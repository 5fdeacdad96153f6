//! Comparisons of revisions.

use http::{StatusCode, header};
use serde_json::{Value, json};
use weighthouse::RepoKind;

use super::account::logged_in;
use super::inside::{config, json_at, twin_of, weights};
use super::{Ground, check_sound, ground};

/// A stack of three layers; `shift` is added to the second.
fn stack(shift: f32) -> Vec<u8> {
    let mut tensors = Vec::new();
    for layer in 0..3u32 {
        let add = if layer == 1 { shift } else { 0.0 };
        let values = (0..400u32).map(|at| ((at * 7919 + layer * 31) % 1_000) as f32 / 500.0 - 1.0 + add).collect();
        tensors.push((format!("model.layers.{layer}.mlp.up_proj.weight"), vec![20, 20], values));
    }
    tensors.push(("model.norm.weight".to_owned(), vec![20], vec![1.0; 20]));
    weights(&tensors)
}

/// A model with two commits, and their ids.
async fn model(name: &str, private: bool) -> (Ground, String, String) {
    let ground = ground().await;
    ground.create(RepoKind::Model, name, private).await;
    let card = b"# Title\nold line\n<script>alert(1)</script>\n";
    let first: &[(&str, &[u8])] =
        &[("model.safetensors", &stack(0.0)), ("config.json", &config()), ("README.md", card)];
    let before = ground.commit(name, "First", first).await;
    let other =
        json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 20, "rope_theta": 5});
    let other = other.to_string();
    let card = b"# Title\nnew line\n<script>alert(1)</script>\n";
    let second: &[(&str, &[u8])] =
        &[("model.safetensors", &stack(0.25)), ("config.json", other.as_bytes()), ("README.md", card)];
    let after = ground.commit(name, "Second", second).await;
    ground.hub.work_off().await.unwrap();
    (ground, before, after)
}

fn address(a: &str, b: &str) -> String {
    let encode = |text: &str| text.replace('/', "%2F").replace('@', "%40").replace(':', "%3A");
    format!("/compare?a={}&b={}", encode(a), encode(b))
}

async fn ask(ground: &Ground, a: &str, b: &str, cookie: &str) -> super::Reply {
    ground.post("/compare", address(a, b).split_once('?').unwrap().1, &[(header::COOKIE, cookie)]).await
}

#[tokio::test]
async fn a_comparison_is_asked_for_and_shown() {
    let (ground, before, after) = model("m", false).await;
    let cookie = logged_in(&ground).await;
    let (a, b) = (format!("ada/m@{before}"), "ada/m@main".to_owned());
    let page = address(&a, &b);
    let stranger = ground.page(&page).await;
    assert!(stranger.contains("Nobody has compared these yet") && stranger.contains("Permalink"), "{stranger}");
    assert!(stranger.contains(&address(&a, &format!("ada/m@{after}")).replace('&', "&#38;")), "{stranger}");
    assert!(stranger.contains("<del>− old line</del>") && stranger.contains("<ins>+ new line</ins>"), "{stranger}");
    let asked = ask(&ground, &a, &b, &cookie).await;
    assert_eq!(
        (asked.status, asked.headers[header::LOCATION].to_str().unwrap()),
        (StatusCode::SEE_OTHER, page.as_str())
    );
    assert!(ground.page(&page).await.contains("http-equiv=\"refresh\""));
    assert_eq!(ground.hub.work_off().await.unwrap(), 1);
    let done = ground.page(&page).await;
    for part in
        ["class=\"verdict\"", "Layers and modules", "model.layers", "rope_theta", "mlp.up_proj", "class=\"warm0\""]
    {
        assert!(done.contains(part), "{part}\n{done}");
    }
    assert!(!done.contains("http-equiv=\"refresh\"") && !done.contains("<script"));
    assert!(done.contains("model.layers.1.mlp.up_proj.weight") && !done.contains("model.layers.2.mlp.up_proj.weight"));
    let all = ground.page(&format!("{page}&show=all&search=LAYERS.2")).await;
    assert!(all.contains("model.layers.2.mlp.up_proj.weight") && !all.contains("model.layers.1.mlp.up_proj.weight"));
    let document = twin_of(&ground, &done).await;
    assert_eq!((&document["schema"], &document["totals"]["changed"]), (&json!("weighthouse.diff/1"), &json!(1)));
    assert_eq!(document["a"]["target"], a);
    assert_eq!(document["b"]["target"], format!("ada/m@{after}"));
    let sheet = ground.get(&format!("{page}&as=csv")).await;
    assert_eq!(sheet.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    assert_eq!(sheet.body.lines().count(), 5, "{}", sheet.body);
    assert!(
        sheet.body.contains("model.layers.1.mlp.up_proj.weight") && sheet.body.contains(",changed,400,"),
        "{}",
        sheet.body
    );
}

#[tokio::test]
async fn wrong_names_are_said_in_words() {
    let (ground, before, _) = model("m", false).await;
    let cookie = logged_in(&ground).await;
    assert!(ground.page("/compare").await.contains("A, before"));
    assert!(ground.page("/compare?b=ada%2Fm").await.contains("value=\"ada/m\""));
    for (a, status) in [
        ("ada/none", StatusCode::NOT_FOUND),
        ("ada/m@none", StatusCode::NOT_FOUND),
        ("ada/m:none", StatusCode::NOT_FOUND),
        ("a/b/c", StatusCode::BAD_REQUEST),
        ("<script>", StatusCode::BAD_REQUEST),
    ] {
        let page = ground.get(&address(a, "ada/m").replace('<', "%3C").replace('>', "%3E")).await;
        assert_eq!(page.status, status, "{a}");
        check_sound(a, &page);
        assert_eq!(ask(&ground, a, "ada/m", &cookie).await.status, status, "{a}");
    }
    let a = format!("ada/m@{before}");
    assert_eq!(ask(&ground, &a, "ada/m", "").await.status, StatusCode::UNAUTHORIZED);
    let site = header::HeaderName::from_static("sec-fetch-site");
    let foreign = [(header::COOKIE, cookie.as_str()), (site, "cross-site")];
    let form = address(&a, "ada/m");
    assert_eq!(ground.post("/compare", form.split_once('?').unwrap().1, &foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ground.hub.work_off().await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_private_is_compared_by_its_readers_alone() {
    let (ground, before, _) = model("hidden", true).await;
    let cookie = logged_in(&ground).await;
    let (a, b) = (format!("ada/hidden@{before}"), "ada/hidden".to_owned());
    assert_eq!(ask(&ground, &a, &b, &cookie).await.status, StatusCode::SEE_OTHER);
    ground.hub.work_off().await.unwrap();
    let page = address(&a, &b);
    let own = ground.ask(&page, &[(header::COOKIE, &cookie)]).await;
    assert!(own.status == StatusCode::OK && own.body.contains("class=\"verdict\""), "{}", own.body);
    let stranger = ground.get(&page).await;
    let missing = ground.get(&page.replace("hidden", "missing")).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.body.replace("hidden", "missing"), missing.body, "not even the words differ");
    assert_eq!(ground.get(&format!("{page}&as=csv")).await.status, StatusCode::NOT_FOUND);
    let api = page.replace("/compare", "/api/compare");
    assert_eq!(ground.ask(&api, &[(header::COOKIE, &cookie)]).await.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {}", ground.secret);
    let found = ground.ask(&api, &[(header::AUTHORIZATION, &bearer)]).await;
    let document: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!((found.status, &document["schema"]), (StatusCode::OK, &json!("weighthouse.diff/1")));
}

#[tokio::test]
async fn a_program_asks_and_waits() {
    let (ground, before, after) = model("m", false).await;
    let bearer = format!("Bearer {}", ground.secret);
    let (a, b) = (format!("ada/m@{before}"), format!("ada/m@{after}"));
    let api = address(&a, &b).replace("/compare", "/api/compare");
    let none = json_at(&ground, &api).await;
    assert_eq!((&none["schema"], &none["state"]), (&json!("weighthouse.comparison/1"), &json!("none")));
    let body = json!({"a": a, "b": b}).to_string();
    let asked = ground.post("/api/compare", &body, &[(header::AUTHORIZATION, &bearer)]).await;
    let said: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((asked.status, &said["state"]), (StatusCode::ACCEPTED, &json!("waiting")));
    assert_eq!(ground.post("/api/compare", &body, &[]).await.status, StatusCode::UNAUTHORIZED);
    ground.hub.work_off().await.unwrap();
    assert_eq!(json_at(&ground, &api).await["schema"], "weighthouse.diff/1");
    assert_eq!(ground.get("/api/compare?a=ada%2Fm").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn commits_and_models_lead_to_their_comparison() {
    let (ground, before, after) = model("m", false).await;
    let link = format!("href=\"/compare?a=ada%2Fm%40{before}&#38;b=ada%2Fm%40{after}\"");
    for path in ["/ada/m/commits/main".to_owned(), format!("/ada/m/commit/{after}")] {
        let page = ground.page(&path).await;
        assert!(page.contains(&link), "{path}\n{page}");
    }
    assert!(ground.page("/ada/m").await.contains("href=\"/compare?b=ada%2Fm%40main\""));
}
