use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use http::{Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;
use tower::{Layer, ServiceExt};
use weighthouse::names::check_repo_id;

use super::*;

/// `kind id canonical-path`, `-` for a path that is left alone, or the status of a refusal.
fn seen(path: &str) -> String {
    match canonical(path) {
        Canonical::Untouched => "-".to_owned(),
        Canonical::Repo { kind, id, path, .. } => format!("{} {id} {path}", kind.as_str()),
        Canonical::Refused(reply) => reply.status().as_u16().to_string(),
    }
}

#[test]
fn every_form_of_the_api_is_one() {
    for (path, want) in [
        ("/api/models/a/b", "model a/b /~api/info"),
        ("/api/models/a/b/", "model a/b /~api/info"),
        ("/api/models/gpt2", "model gpt2 /~api/info"),
        ("/api/datasets/a/b", "dataset a/b /~api/info"),
        ("/api/models/gpt2/tree/main", "model gpt2 /~api/tree/main"),
        ("/api/models/a/b/tree/main/x/y", "model a/b /~api/tree/main/x/y"),
        ("/api/models/a/b/tree/main/x%2Fy", "model a/b /~api/tree/main/x/y"),
        ("/api/models/a/b/tree/main/", "model a/b /~api/tree/main"),
        ("/api/models/a/b/revision/refs%2Fpr%2F1", "model a/b /~api/revision/refs%2Fpr%2F1"),
        ("/api/models/a/b/revision/refs/pr/1", "model a/b /~api/revision/refs%2Fpr%2F1"),
        ("/api/models/a/b/tree/refs/pr/1/x", "model a/b /~api/tree/refs%2Fpr%2F1/x"),
        ("/api/models/a/b/tree/refs/x", "model a/b /~api/tree/refs/x"),
        ("/api/models/a/b/branch/feat%2Fx", "model a/b /~api/branch/feat%2Fx"),
        ("/api/models/a/b/commit/main", "model a/b /~api/commit/main"),
        ("/api/models/a/b/refs", "model a/b /~api/refs"),
        ("/api/models/a/b/discussions/3/comment", "model a/b /~api/discussions/3/comment"),
        ("/api/models/a/b/resolve/main/x", "model a/b /~file/resolve/main/x"),
        ("/api/models/a/b/xet-read-token/None", "model a/b /~api/xet-read-token/None"),
        ("/api/models/a/b/convert/main/x%2Fy", "model a/b /~api/convert/main/x/y"),
        ("/api/models/a/b/compare/main..feat%2Fx", "model a/b /~api/compare/main..feat%2Fx"),
    ] {
        assert_eq!(seen(path), want, "{path}");
    }
}

#[test]
fn every_form_of_files_pages_and_git_is_one() {
    for (path, want) in [
        ("/a/b", "model a/b /~page/home"),
        ("/gpt2", "model gpt2 /~page/home"),
        ("/datasets/a/b", "dataset a/b /~page/home"),
        ("/a/b/convert/feat%2Fx/y/z.bin", "model a/b /~page/convert/feat%2Fx/y/z.bin"),
        ("/datasets/a/b/converted/0a/m-Q8_0.gguf", "dataset a/b /~file/converted/0a/m-Q8_0.gguf"),
        ("/a/b/resolve/main/x/y.bin", "model a/b /~file/resolve/main/x/y.bin"),
        ("/gpt2/resolve/main/config.json", "model gpt2 /~file/resolve/main/config.json"),
        ("/datasets/d/resolve/main/x", "dataset d /~file/resolve/main/x"),
        ("/a/b/resolve/refs/convert/parquet/x", "model a/b /~file/resolve/refs%2Fconvert%2Fparquet/x"),
        ("/a/b/resolve/feat%2Fx/y", "model a/b /~file/resolve/feat%2Fx/y"),
        ("/a/b/resolve/main//x", "model a/b /~file/resolve/main/x"),
        ("/a/b/resolve/main/a%20b+c%25", "model a/b /~file/resolve/main/a%20b%2Bc%25"),
        ("/a/b/resolve/main/é", "model a/b /~file/resolve/main/%C3%A9"),
        ("/a/b/raw/main/x", "model a/b /~file/raw/main/x"),
        ("/a/b/blob/main/x", "model a/b /~page/blob/main/x"),
        ("/a/b/commits/main", "model a/b /~page/commits/main"),
        ("/a/b.git/info/lfs/objects/batch", "model a/b /~lfs/objects/batch"),
        ("/gpt2.git/info/lfs/objects/batch", "model gpt2 /~lfs/objects/batch"),
        ("/datasets/a/b.git/info/lfs/objects/batch", "dataset a/b /~lfs/objects/batch"),
        ("/a/b/info/lfs/objects/verify", "model a/b /~lfs/objects/verify"),
        ("/a/b.git/info/refs", "model a/b /~git/info/refs"),
        ("/a/b/git-upload-pack", "model a/b /~git/git-upload-pack"),
    ] {
        assert_eq!(seen(path), want, "{path}");
    }
}

#[test]
fn addresses_of_the_hub_itself_are_left_alone() {
    for path in [
        "/",
        "*",
        "/api/models",
        "/api/models/",
        "/api/whoami-v2",
        "/api/repos/create",
        "/api/models-tags-by-type",
        "/api/telemetry/a/b",
        "/datasets",
        "/models",
        "/metrics",
        "/healthz",
        "/login",
        "/xet/v1/xorbs/default/x",
        "/v2/a/b/manifests/latest",
    ] {
        assert_eq!(seen(path), "-", "{path}");
    }
}

#[test]
fn hostile_addresses_are_refused() {
    for (path, status) in [
        ("/a/b/resolve/main/../../etc/passwd", "400"),
        ("/a/b/resolve/main/%2e%2e/x", "400"),
        ("/a/b/resolve/main/x%2F..%2F..%2Fy", "400"),
        ("/a/b/resolve/main/x%00", "400"),
        ("/a/b/resolve/main/x%0Ay", "400"),
        ("/a/b/resolve/main/%ff%fe", "400"),
        ("/a/b%2Fc/resolve/main/x", "400"),
        ("/-a/b", "400"),
        ("/a/b--c", "400"),
        ("/api/models/a/b.git", "400"),
        ("/api/models//b", "400"),
        ("/a//resolve/main/x", "400"),
        ("/~api/info", "404"),
        ("/%7Eapi/info", "404"),
        ("/~file/resolve/main/x", "404"),
        ("/api/spaces/a/b", "404"),
        ("/api/kernels/a/b", "404"),
        ("/api/buckets/a/b", "404"),
        ("/spaces/a/b/resolve/main/x", "404"),
    ] {
        assert_eq!(seen(path), status, "{path}");
    }
}

#[test]
fn a_renamed_repository_keeps_the_rest_of_the_address() {
    for (old, new) in [
        ("/api/models/a/b/tree/feat%2Fx?limit=1", "/api/models/c/d/tree/feat%2Fx?limit=1"),
        ("/gpt2/resolve/main/x", "/c/d/resolve/main/x"),
        ("/datasets/a/b.git/info/lfs/objects/batch", "/datasets/c/d.git/info/lfs/objects/batch"),
        ("/%61/b", "/c/d"),
    ] {
        let original: Uri = old.parse().unwrap();
        let Canonical::Repo { kind, id, id_span, .. } = canonical(original.path()) else {
            panic!("{old} is a repository");
        };
        let address = RepoAddress { kind, id, original, id_span };
        assert_eq!(address.path_under("c/d"), new);
    }
}

async fn ask(path: &str) -> (StatusCode, String) {
    let routes = Router::new()
        .route(
            "/~file/resolve/{rev}/{*path}",
            get(|repo: RepoAddress, Path((rev, path)): Path<(String, String)>| async move {
                format!("{}|{rev}|{path}|{}", repo.id, repo.original)
            }),
        )
        .route("/~api/info", get(|repo: RepoAddress| async move { repo.id }));
    let service = AddressLayer.layer(routes);
    let request = Request::get(path).body(Body::empty()).unwrap();
    let reply = service.oneshot(request).await.unwrap();
    let status = reply.status();
    let body = axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_sees_everything_decoded_once() {
    let (status, body) = ask("/a/b/resolve/feat%2Fx/d/100%2525%20%3F.txt?download=true").await;
    assert_eq!(status, 200);
    let original = "/a/b/resolve/feat%2Fx/d/100%2525%20%3F.txt?download=true";
    assert_eq!(body, format!("a/b|feat/x|d/100%25 ?.txt|{original}"));
}

#[tokio::test]
async fn refusals_are_json_and_internal_paths_are_closed() {
    let (status, body) = ask("/~api/info").await;
    assert_eq!(status, 404);
    assert_eq!(body, r#"{"error":"nothing answers here"}"#);
    assert_eq!(ask("/api/models/x/y").await, (StatusCode::OK, "x/y".to_owned()));
}

#[tokio::test]
async fn a_path_that_grows_beyond_an_address_is_refused() {
    let path = format!("/a/b/resolve/main/{}", "%2B".repeat(20_000));
    assert_eq!(ask(&path).await.0, 200);
    let path = format!("/a/b/resolve/main/{}", "+".repeat(60_000));
    assert_eq!(ask(&path).await.0, 400);
}

proptest! {
    #[test]
    fn any_path_gets_a_decision_that_keeps_the_invariants(path in "/[!-~é]{0,60}") {
        if let Canonical::Repo { id, id_span, path: canonical_path, .. } = canonical(&path) {
            prop_assert!(check_repo_id(&id).is_ok());
            prop_assert!(path.get(id_span).is_some());
            prop_assert!(canonical_path.starts_with("/~"));
            prop_assert!(canonical_path.is_ascii());
            prop_assert!(canonical_path.parse::<Uri>().is_ok());
            for segment in canonical_path.split('/') {
                prop_assert!(!matches!(segment, "." | ".."));
            }
        }
    }

    #[test]
    fn files_and_revisions_come_through_whole(
        revision in "[^/\\p{C}]{1,12}(/[^/\\p{C}]{1,8})?",
        path in "[^/\\p{C}]{1,12}(/[^/\\p{C}]{1,12}){0,3}",
    ) {
        prop_assume!(!path.split('/').any(|s| matches!(s, "." | "..")));
        prop_assume!(!matches!(revision.as_str(), "." | ".."));
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let asked = format!("/a/b/resolve/{}/{}", encode(&revision), encode(&path));
        let Canonical::Repo { path: got, .. } = canonical(&asked) else {
            panic!("{asked} is a repository");
        };
        let rest = got.strip_prefix("/~file/resolve/").unwrap();
        let (got_revision, got_path) = rest.split_once('/').unwrap();
        let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        prop_assert_eq!(decode(got_revision), revision);
        prop_assert_eq!(decode(got_path), path);
    }
}
