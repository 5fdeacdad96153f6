//! "Download as".

use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use weighthouse::{RepoKind, Sha256};

use super::account::logged_in;
use super::inside::{config, json_at, layered, twin_of, weights};
use super::{Ground, check_sound, ground};

/// A model whose two files are no single one yet.
async fn model(name: &str, private: bool) -> Ground {
    let ground = ground().await;
    ground.create(RepoKind::Model, name, private).await;
    let more = weights(&[("extra.weight".to_owned(), vec![3], vec![1.0, 2.0, 3.0])]);
    let files: &[(&str, &[u8])] =
        &[("a/one.safetensors", &layered()), ("a/two.npz.bin", &more), ("config.json", &config())];
    ground.commit(name, "Upload", files).await;
    ground.hub.work_off().await.unwrap();
    ground
}

async fn ask(ground: &Ground, path: &str, form: &str, cookie: &str) -> super::Reply {
    ground.post(path, &format!("form={form}"), &[(header::COOKIE, cookie)]).await
}

/// The first address with this beginning in a page.
fn address(html: &str, begin: &str) -> String {
    let at = html.find(&format!("href=\"{begin}")).unwrap_or_else(|| panic!("{begin}\n{html}"));
    html[at + 6..].split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_form_is_made_on_demand_and_downloaded() {
    let ground = model("m", false).await;
    let cookie = logged_in(&ground).await;
    let page = "/ada/m/convert/main/a/one.safetensors";
    let stranger = ground.page(page).await;
    assert!(stranger.contains("Log in</a> to have it made") && !stranger.contains("<button type=\"submit\">Make"));
    assert!(stranger.contains("is this already"), "{stranger}");
    let member = ground.ask(page, &[(header::COOKIE, &cookie)]).await;
    check_sound(page, &member);
    assert!(member.body.contains("one.npz") && member.body.contains("NumPy .npz"), "{}", member.body);
    assert!(!member.body.contains("http-equiv=\"refresh\""));

    let asked = ask(&ground, page, "npz", &cookie).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.body);
    assert_eq!(asked.headers[header::LOCATION], "/ada/m/convert/main/a/one.safetensors#npz");
    let waiting = ground.page(page).await;
    assert!(waiting.contains("Waits for its turn") && waiting.contains("http-equiv=\"refresh\""), "{waiting}");
    assert_eq!(ground.hub.work_off().await.unwrap(), 1);
    let done = ground.page(page).await;
    assert!(!done.contains("http-equiv=\"refresh\"") && done.contains("weighthouse.convert/1"), "{done}");

    let file = address(&done, "/ada/m/converted/");
    let whole = ground.get(&file).await;
    assert_eq!(whole.status, StatusCode::OK);
    let etag = whole.headers[header::ETAG].to_str().unwrap().to_owned();
    assert!(done.contains(etag.trim_matches('"')), "the page shows the SHA-256");
    let named = whole.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert!(named.starts_with("attachment") && named.contains("filename=\"one.npz\""), "{named}");
    assert_eq!(whole.headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    let part = ground.ask(&file, &[(header::RANGE, "bytes=0-1")]).await;
    assert_eq!(
        (part.status, part.headers[header::CONTENT_LENGTH].to_str().unwrap()),
        (StatusCode::PARTIAL_CONTENT, "2")
    );
    assert_eq!(ground.ask(&file, &[(header::IF_NONE_MATCH, &etag)]).await.status, StatusCode::NOT_MODIFIED);
    let head = Request::head(&file).body(Body::empty()).unwrap();
    let head = ground.send(head).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers[header::CONTENT_LENGTH], whole.headers[header::CONTENT_LENGTH]);
    assert_eq!(ground.post(&file, "", &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);

    let record = ground.get(&format!("{file}.weighthouse.convert.json")).await;
    let tag = format!("\"{}\"", Sha256::of(record.body.as_bytes()));
    assert_eq!(record.headers[header::ETAG].to_str().unwrap(), tag);
    let record: Value = serde_json::from_str(&record.body).unwrap();
    assert_eq!(
        (&record["schema"], &record["outputs"][0]["path"]),
        (&json!("weighthouse.convert/1"), &json!("one.npz"))
    );
    assert_eq!(record["outputs"][0]["sha256"], etag.trim_matches('"'));

    let twin = twin_of(&ground, &done).await;
    let offer = twin["offers"].as_array().unwrap().iter().find(|offer| offer["form"] == "npz").unwrap();
    assert_eq!((&twin["schema"], &offer["state"]), (&json!("weighthouse.conversions/1"), &json!("done")));
    assert!(offer["outputs"][0]["url"].as_str().unwrap().ends_with(&file), "{offer}");
    assert_eq!(offer["bytes"], offer["outputs"][0]["bytes"], "the size was known before");
}

#[tokio::test]
async fn what_cannot_be_made_is_said_in_words() {
    let ground = model("m", false).await;
    let cookie = logged_in(&ground).await;
    let page = "/ada/m/convert/main/a/one.safetensors";
    for (path, form, status) in [
        (page, "safetensors", StatusCode::BAD_REQUEST),
        (page, "tar", StatusCode::BAD_REQUEST),
        (page, "", StatusCode::BAD_REQUEST),
        ("/ada/m/convert/main/nothing", "npz", StatusCode::NOT_FOUND),
        ("/ada/m/convert/nothing", "npz", StatusCode::NOT_FOUND),
        ("/ada/none/convert/main", "npz", StatusCode::NOT_FOUND),
    ] {
        let reply = ask(&ground, path, form, &cookie).await;
        assert_eq!(reply.status, status, "{path} {form}");
        check_sound(path, &reply);
    }
    assert_eq!(ask(&ground, page, "npz", "").await.status, StatusCode::UNAUTHORIZED);
    let site = header::HeaderName::from_static("sec-fetch-site");
    let foreign = ground.post(page, "form=npz", &[(header::COOKIE, cookie.as_str()), (site, "cross-site")]).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "other sites cannot ask in a reader's name");
    assert_eq!(ground.hub.work_off().await.unwrap(), 0);
    let text = ground.page("/ada/m/convert/main/config.json").await;
    assert!(text.contains("cannot be read as a checkpoint") || text.contains("Not possible here"), "{text}");
}

#[tokio::test]
async fn a_program_asks_with_its_token_and_not_with_a_cookie() {
    let ground = model("m", false).await;
    let cookie = logged_in(&ground).await;
    let path = "/api/models/ada/m/convert/main/a/one.safetensors";
    let bearer = format!("Bearer {}", ground.secret);
    let body = "{\"form\":\"npz\"}";
    assert_eq!(ground.post(path, body, &[(header::COOKIE, &cookie)]).await.status, StatusCode::UNAUTHORIZED);
    let asked = ground.post(path, body, &[(header::AUTHORIZATION, &bearer)]).await;
    let info: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((asked.status, &info["state"]), (StatusCode::ACCEPTED, &json!("waiting")));
    ground.hub.work_off().await.unwrap();
    let again = ground.post(path, body, &[(header::AUTHORIZATION, &bearer)]).await;
    let info: Value = serde_json::from_str(&again.body).unwrap();
    assert_eq!((again.status, &info["state"]), (StatusCode::OK, &json!("done")));
    let url = info["record"].as_str().unwrap().split_once("7070").unwrap().1.to_owned();
    assert_eq!(ground.get(&url).await.status, StatusCode::OK);
    for (body, status) in [("{}", StatusCode::BAD_REQUEST), ("{\"form\":\"tar\"}", StatusCode::BAD_REQUEST)] {
        assert_eq!(ground.post(path, body, &[(header::AUTHORIZATION, &bearer)]).await.status, status, "{body}");
    }
    let all = json_at(&ground, path).await;
    let refused = all["offers"].as_array().unwrap().iter().find(|offer| offer["form"] == "safetensors").unwrap();
    assert!(refused["refusal"].as_str().unwrap().contains("is this already"), "{refused}");
}

#[tokio::test]
async fn what_is_private_is_converted_for_its_readers_alone() {
    let ground = model("hidden", true).await;
    let cookie = logged_in(&ground).await;
    let page = "/ada/hidden/convert/main/a/one.safetensors";
    assert_eq!(ask(&ground, page, "npz", &cookie).await.status, StatusCode::SEE_OTHER);
    ground.hub.work_off().await.unwrap();
    let done = ground.ask(page, &[(header::COOKIE, &cookie)]).await;
    let file = address(&done.body, "/ada/hidden/converted/");
    let stranger = ground.get(page).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
    let missing = ground.get(&page.replace("hidden", "missing")).await;
    assert_eq!(stranger.body.replace("hidden", "missing"), missing.body, "not even the words differ");
    assert_eq!(ask(&ground, page, "npz", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ground.get(&page.replace("/ada", "/api/models/ada")).await.status, StatusCode::UNAUTHORIZED);
    for path in [file.clone(), format!("{file}.weighthouse.convert.json")] {
        assert_eq!(ground.get(&path).await.status, StatusCode::UNAUTHORIZED, "as for every file: {path}");
        let own = ground.ask(&path, &[(header::COOKIE, &cookie)]).await;
        assert_eq!(
            (own.status, &own.headers[header::VARY]),
            (StatusCode::OK, &"Authorization, Cookie".parse().unwrap())
        );
        assert!(own.headers[header::CACHE_CONTROL].to_str().unwrap().starts_with("private"), "{path}");
    }
}

#[tokio::test]
async fn the_pages_of_a_model_lead_to_its_other_forms() {
    let ground = model("m", false).await;
    for (path, to) in [
        ("/ada/m", "/ada/m/convert/main"),
        ("/ada/m/tensors/main/a", "/ada/m/convert/main/a"),
        ("/ada/m/blob/main/a/one.safetensors", "/ada/m/convert/main/a/one.safetensors"),
    ] {
        assert!(ground.page(path).await.contains(&format!("href=\"{to}\"")), "{path}");
    }
    assert!(!ground.page("/ada/m/blob/main/config.json").await.contains("/convert/"));
}
