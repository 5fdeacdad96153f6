use serde_json::{Value, json};
use weighthouse::Sha256;

use super::policies::{Office, encoded, office};
use super::*;

fn feed(id: &str, bytes: &[u8]) -> Value {
    json!({
        "schema": "weighthouse.advisory/1", "id": id, "summary": "It is <bad>.", "severity": "high",
        "remedy": "delete it", "references": ["https://example.org/7"], "published": "2026-11-26T08:00:00Z",
        "affected": [{"file": {"sha256": Sha256::of(bytes).to_string()}}],
    })
}

impl Office {
    async fn call(&self, method: &str, path: &str, key: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "hub.example:7070");
        let request = if key.is_empty() { request } else { request.header(header::AUTHORIZATION, key) };
        let reply = self.ground.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        (reply.status, serde_json::from_str(&reply.body).unwrap_or_default())
    }
}

#[tokio::test]
async fn feeds_are_put_listed_and_deleted_by_administrators_only() {
    let office = office().await;
    let root = office.root_key.clone();
    let path = "/api/settings/advisories";
    let body = json!({"name": "lab", "advisories": [feed("L-1", b"poison")]}).to_string();
    for (key, status) in [("", StatusCode::UNAUTHORIZED), (&*office.ada_key, StatusCode::FORBIDDEN)] {
        for (method, path) in
            [("GET", path), ("POST", path), ("DELETE", &format!("{path}/lab")), ("GET", &format!("{path}/matches"))]
        {
            assert_eq!(office.call(method, path, key, &body).await.0, status, "{method} {path}");
        }
    }
    office.ground.model("bert", &[("model.bin", b"poison")]).await;
    let (status, taken) = office.call("POST", path, &root, &body).await;
    assert_eq!((status, &taken["advisories"], &taken["changed"]), (StatusCode::OK, &1.into(), &true.into()), "{taken}");
    assert_eq!(office.call("POST", path, &root, &body).await.1["changed"], false);
    office.ground.hub.work_off().await.unwrap();
    let (_, feeds) = office.call("GET", path, &root, "").await;
    let row = &feeds["feeds"][0];
    assert_eq!(
        (&row["name"], &row["place"], &row["repos"]),
        (&"lab".into(), &"sent by root".into(), &1.into()),
        "{feeds}"
    );
    let (_, found) = office.call("GET", &format!("{path}/matches"), &root, "").await;
    let row = &found["matches"][0];
    assert_eq!((&row["advisory"], &row["repo"], &found["next"]), (&"L-1".into(), &"ada/bert".into(), &Value::Null));
    assert_eq!(row["evidence"], json!([{"kind": "file", "path": "model.bin"}]));

    let deep = format!("{{\"name\": \"x\", \"advisories\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let wrong = json!({"name": "x", "advisories": [{"id": 7}]}).to_string();
    let clash = json!({"name": "x", "advisories": [feed("L-1", b"other")]}).to_string();
    for (body, status, said) in [
        (deep, StatusCode::BAD_REQUEST, "recursion limit"),
        (wrong, StatusCode::BAD_REQUEST, "advisory 1"),
        (clash, StatusCode::CONFLICT, "of another feed"),
        (json!({"name": "x"}).to_string(), StatusCode::BAD_REQUEST, "either a `place` or `advisories`"),
        (json!({"name": "x", "place": "/etc"}).to_string(), StatusCode::BAD_REQUEST, "refused"),
        (json!({"name": "x", "place": "hub:ada/none"}).to_string(), StatusCode::NOT_FOUND, "ound"),
        (json!({"name": "x y", "advisories": []}).to_string(), StatusCode::BAD_REQUEST, "letters"),
        (json!({"name": "x", "sha": 1}).to_string(), StatusCode::BAD_REQUEST, "sha"),
    ] {
        let (found, reply) = office.call("POST", path, &root, &body).await;
        let message = reply["error"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(said), "{found} {message}");
    }
    let (status, removed) = office.call("DELETE", &format!("{path}/lab"), &root, "").await;
    assert_eq!((status, &removed["removed"]), (StatusCode::OK, &true.into()));
    assert_eq!(office.call("DELETE", &format!("{path}/lab"), &root, "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(office.call("GET", path, &root, "").await.1["feeds"], json!([]));
}

#[tokio::test]
async fn the_page_lists_feeds_and_matches_and_takes_feeds_in() {
    let office = office().await;
    let key = [(header::AUTHORIZATION, &*office.root_key)];
    let path = "/settings/advisories";
    assert_eq!(office.ground.get(path).await.status, StatusCode::UNAUTHORIZED);
    let ada = [(header::AUTHORIZATION, &*office.ada_key)];
    assert_eq!(office.ground.ask(path, &ada).await.status, StatusCode::FORBIDDEN);
    office.ground.model("bert", &[("model.bin", b"poison")]).await;
    let empty = office.ground.ask(path, &key).await;
    check_sound(path, &empty);
    assert!(empty.body.contains("None yet.") && empty.body.contains("aria-current=\"page\">Advisories"));

    let text = feed("L-1", b"poison").to_string();
    let form = |text: &str| format!("name=lab&from=&text={}", encoded(text));
    let foreign = [key[0].clone(), (header::ORIGIN, "https://evil.example")];
    assert_eq!(office.ground.post(path, &form(&text), &foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(office.ground.post(path, &form(&text), &ada).await.status, StatusCode::FORBIDDEN);
    let wrong = office.ground.post(path, &form("[<b>"), &key).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    check_sound("wrong", &wrong);
    assert!(wrong.body.contains("role=\"alert\"") && wrong.body.contains("[&#60;b&#62;"), "{}", wrong.body);
    let taken = office.ground.post(path, &form(&text), &key).await;
    assert_eq!(taken.status, StatusCode::SEE_OTHER, "{}", taken.body);
    office.ground.hub.work_off().await.unwrap();
    let listed = office.ground.ask("/settings/advisories?done=taken", &key).await;
    check_sound("listed", &listed);
    for said in ["sent by root", "L-1", "It is &#60;bad&#62;.", "href=\"/ada/bert\"", "file model.bin", "was taken in"]
    {
        assert!(listed.body.contains(said), "{said}\n{}", listed.body);
    }
    let removed = office.ground.post(path, "remove=lab", &key).await;
    assert_eq!(removed.status, StatusCode::SEE_OTHER);
    assert!(office.ground.hub.feeds().await.unwrap().is_empty());
}

#[tokio::test]
async fn readers_learn_of_the_revision_that_they_see_and_owners_of_every_stored_one() {
    let office = office().await;
    let ada = [(header::AUTHORIZATION, &*office.ada_key)];
    office.ground.model("bert", &[("model.bin", b"poison"), ("other.bin", b"odd")]).await;
    let root = &office.root;
    let all = json!([feed("HERE-1", b"poison"), feed("OLD-1", b"odd")]).to_string().into_bytes();
    let sent = weighthouse::advisories::FeedSource::Sent(all);
    office.ground.hub.put_feed(root, "lab", sent).await.unwrap();
    office.ground.commit("bert", "Mend", &[("other.bin", b"even")]).await;
    office.ground.hub.work_off().await.unwrap();
    // A stranger sees what concerns the head.
    let seen = office.ground.page("/ada/bert").await;
    assert!(seen.contains("HERE-1") && seen.contains("concerns this revision: file model.bin"), "{seen}");
    assert!(!seen.contains("OLD-1") && !seen.contains("taken note"));
    let own = office.ground.ask("/ada/bert", &ada).await;
    check_sound("own", &own);
    assert!(own.body.contains("OLD-1") && own.body.contains("another stored revision"), "{}", own.body);
    assert_eq!(own.body.matches("I have taken note</button>").count(), 2);

    let path = "/ada/bert/settings/advisories";
    let eve = office.ground.post(path, "seen=OLD-1", &[]).await;
    assert!(eve.status.is_client_error(), "{}", eve.status);
    let foreign = [ada[0].clone(), (header::ORIGIN, "https://evil.example")];
    assert_eq!(office.ground.post(path, "seen=OLD-1", &foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(office.ground.post(path, "seen=NONE-1", &ada).await.status, StatusCode::NOT_FOUND);
    for id in ["OLD-1", "HERE-1"] {
        let noted = office.ground.post(path, &format!("seen={id}"), &ada).await;
        assert_eq!(noted.status, StatusCode::SEE_OTHER, "{}", noted.body);
    }
    let own = office.ground.ask("/ada/bert", &ada).await.body;
    assert!(own.contains("HERE-1") && !own.contains("OLD-1") && !own.contains("taken note"), "{own}");
}
