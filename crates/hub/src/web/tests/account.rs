use super::*;
use crate::server::session;

pub(super) async fn logged_in(ground: &Ground) -> String {
    let reply = ground.post("/login", &format!("token={}&next=%2Fada%2Fhidden", ground.secret), &[]).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(reply.headers[header::LOCATION], "/ada/hidden");
    let line = reply.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(line.contains(part), "{line}");
    }
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn private_repositories_open_with_a_cookie_and_look_missing_without() {
    let ground = ground().await;
    ground.create(RepoKind::Model, "hidden", true).await;
    let paths =
        ["/ada/hidden", "/ada/hidden/tree/main", "/ada/hidden/blob/main/.gitattributes", "/ada/hidden/commits/main"];
    let cookie = logged_in(&ground).await;
    let mut answers = Vec::new();
    for path in paths {
        let stranger = ground.get(path).await;
        assert_eq!(stranger.status, StatusCode::NOT_FOUND, "{path}");
        check_sound(path, &stranger);
        assert!(stranger.body.contains("href=\"/login?next="), "{path}");
        let member = ground.ask(path, &[(header::COOKIE, &format!("other=1; {cookie}"))]).await;
        assert_eq!(member.status, StatusCode::OK, "{path}");
        check_sound(path, &member);
        let bearer = ground.ask(path, &[(header::AUTHORIZATION, &format!("Bearer {}", ground.secret))]).await;
        assert_eq!(bearer.status, StatusCode::OK, "{path}");
        answers.push(stranger.body.replace("hidden", "missing"));
    }
    // Not even the words differ from those about a repository that is not there.
    assert_eq!(ground.get("/ada/missing").await.body, answers.remove(0));
    assert!(!ground.page("/").await.contains("/ada/hidden"));
    assert!(ground.ask("/", &[(header::COOKIE, &cookie)]).await.body.contains("/ada/hidden"));
}

#[tokio::test]
async fn a_bad_token_is_told_apart_from_a_session_that_ended() {
    let ground = ground().await;
    let bad = ground.ask("/", &[(header::AUTHORIZATION, "Bearer hf_nothing")]).await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
    check_sound("bad token", &bad);
    for cookie in ["wh_token=aGZfbm90aGluZw", "wh_token=???", "wh_token=", "wh_token"] {
        assert_eq!(ground.ask("/", &[(header::COOKIE, cookie)]).await.status, StatusCode::OK, "{cookie}");
    }
}

#[tokio::test]
async fn logging_in_fails_in_words() {
    let ground = ground().await;
    for form in ["token=hf_wrong", "token=", "", "token=%FF"] {
        let reply = ground.post("/login", form, &[]).await;
        assert!(reply.status.is_client_error(), "{form}: {}", reply.status);
        assert!(!reply.headers.contains_key(header::SET_COOKIE));
        check_sound(form, &reply);
    }
    let reply = ground.post("/login", "token=hf_wrong&next=%2F%2Fevil.example", &[]).await;
    assert!(reply.body.contains("role=\"alert\"") && reply.body.contains("aria-invalid=\"true\""));
    assert!(!reply.body.contains("evil.example") && !reply.body.contains("hf_wrong"));
    let away = ground.post("/login", &format!("token={}&next=https%3A%2F%2Fevil.example", ground.secret), &[]).await;
    assert_eq!(away.headers[header::LOCATION], "/");
    let long = ground.post("/login", &"a".repeat(100_000), &[]).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn other_sites_cannot_log_in_or_out_for_a_reader() {
    let ground = ground().await;
    let form = format!("token={}", ground.secret);
    let site = header::HeaderName::from_static("sec-fetch-site");
    for headers in [
        [(site.clone(), "cross-site")],
        [(site.clone(), "same-site")],
        [(header::ORIGIN, "https://evil.example")],
        [(header::ORIGIN, "null")],
    ] {
        for path in ["/login", "/logout"] {
            let reply = ground.post(path, &form, &headers).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(!reply.headers.contains_key(header::SET_COOKIE));
        }
    }
    for headers in [[(site, "same-origin")], [(header::ORIGIN, "http://hub.example:7070")]] {
        assert_eq!(ground.post("/login", &form, &headers).await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(ground.get("/logout").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn logging_out_drops_the_cookie() {
    let ground = ground().await;
    let cookie = logged_in(&ground).await;
    let reply = ground.post("/logout", "", &[(header::COOKIE, &cookie)]).await;
    let line = reply.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(line.starts_with("wh_token=;") && line.contains("Max-Age=0"), "{line}");
}

#[tokio::test]
async fn tokens_are_shown_to_their_owner_without_secrets() {
    let ground = ground().await;
    let stranger = ground.get("/settings/tokens").await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
    check_sound("tokens", &stranger);
    let cookie = logged_in(&ground).await;
    let own = ground.ask("/settings/tokens", &[(header::COOKIE, &cookie)]).await;
    check_sound("tokens", &own);
    assert!(own.body.contains("laptop") && own.body.contains("this session") && !own.body.contains(&ground.secret));
}

#[tokio::test]
async fn the_cookie_alone_changes_nothing() {
    let ground = ground().await;
    let cookie = logged_in(&ground).await;
    let body = "{\"name\":\"made-by-cookie\"}";
    let reply = ground.post("/api/repos/create", body, &[(header::COOKIE, &cookie)]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn private_files_are_downloaded_with_the_cookie() {
    let ground = ground().await;
    ground.create(RepoKind::Model, "hidden", true).await;
    let commit = ground.commit("hidden", "Upload", &[("a.txt", b"secret")]).await;
    let cookie = logged_in(&ground).await;
    let with = [(header::COOKIE, cookie.as_str())];
    for path in [
        "/ada/hidden/resolve/main/a.txt?download=true".to_owned(),
        "/ada/hidden/raw/main/a.txt".to_owned(),
        format!("/ada/hidden/resolve/{commit}/a.txt"),
    ] {
        assert_eq!(ground.get(&path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let file = ground.ask(&path, &with).await;
        assert_eq!((file.status, file.body.as_str()), (StatusCode::OK, "secret"), "{path}");
        assert!(file.headers[header::CACHE_CONTROL].to_str().unwrap().starts_with("private"), "{path}");
        assert_eq!(file.headers[header::VARY], "Authorization, Cookie");
        // What keeps the scripts of a neighbouring site from reading it.
        assert_eq!(file.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!file.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let head = Request::head(&path).header(header::COOKIE, &cookie).body(Body::empty()).unwrap();
        assert_eq!(ground.send(head).await.status, StatusCode::OK, "{path}");
        let both = [(header::COOKIE, cookie.as_str()), (header::AUTHORIZATION, "Bearer hf_wrong")];
        assert_eq!(ground.ask(&path, &both).await.status, StatusCode::UNAUTHORIZED, "a bad token is not overlooked");
        for ended in ["wh_token=aGZfbm90aGluZw", "wh_token=", "wh_token=???"] {
            assert_eq!(ground.ask(&path, &[(header::COOKIE, ended)]).await.status, StatusCode::UNAUTHORIZED, "{ended}");
        }
        let post = ground.post(&path, "", &with).await;
        assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for path in
        ["/api/models/ada/hidden", "/api/models/ada/hidden/tree/main", "/api/models/ada/hidden/xet-write-token/main"]
    {
        assert_eq!(ground.ask(path, &with).await.status, StatusCode::UNAUTHORIZED, "the API reads no cookie: {path}");
    }
    let eve = NewToken {
        name: "eve".to_owned(),
        scope: Scope::Read,
        repos: None,
        lifetime_ms: None,
        automated: false,
        value: None,
    };
    let (_, secret) = ground.hub.add_token("eve", eve).await.unwrap();
    let login = ground.post("/login", &format!("token={secret}"), &[]).await;
    let line = login.headers[header::SET_COOKIE].to_str().unwrap();
    let eves = ground.ask("/ada/hidden/resolve/main/a.txt", &[(header::COOKIE, line.split(';').next().unwrap())]).await;
    assert_eq!(eves.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn callers_are_known_by_each_kind_of_header() {
    let ground = ground().await;
    let basic = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("anyone:{}", ground.secret))
    };
    for line in [format!("Bearer {}", ground.secret), format!("bearer  {}", ground.secret), format!("Basic {basic}")] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, line.parse().unwrap())]);
        let caller = session::caller(&ground.hub, &headers).await.unwrap();
        assert_eq!(caller.account().unwrap().name, "ada");
    }
    for line in ["Bearer ", "Bearer hf_x", "Digest x", "Basic ???", "Basic bm9jb2xvbg=="] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, line.parse().unwrap())]);
        assert!(
            matches!(session::caller(&ground.hub, &headers).await, Err(weighthouse::Error::InvalidToken)),
            "{line}"
        );
    }
    assert!(session::caller(&ground.hub, &HeaderMap::new()).await.unwrap().account().is_none());
}
