//! A hub that means harm, or is broken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use weighthouse::{ErrorKind, Sha256};
use weighthouse_hub::client::pull::{PullOptions, Pulled, Target, pull};
use weighthouse_hub::client::{ClientError, Meter};

use crate::world::{api, contents, repo};

const COMMIT: &str = "abababababababababababababababababababab";

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// A hub whose tree and files are whatever the test says.
fn evil(tree: Value, file: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/api/models/ada/m/revision/{rev}", get(|| async { Json(json!({"id": "ada/m", "sha": COMMIT})) }))
        .route("/api/models/ada/m/tree/{rev}", get(move || async move { Json(tree) }))
        .fallback(move |request: Request| async move { file(request) })
}

async fn pull_from(base: &str, to: &Path) -> Result<Pulled, ClientError> {
    pull(&api(base, None), &repo("ada/m"), &Target::Folder(to.to_owned()), &PullOptions::default(), &Meter::new()).await
}

fn entry(path: &str, content: &[u8]) -> Value {
    json!({
        "type": "file", "path": path, "size": content.len(), "oid": "cd".repeat(20),
        "lfs": {"oid": Sha256::of(content).to_string(), "size": content.len(), "pointerSize": 127},
    })
}

fn not_found(_: Request) -> Response {
    StatusCode::NOT_FOUND.into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_out_stop_a_pull_before_it_writes() {
    for path in [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "..\\evil",
        "C:\\evil",
        "c:evil",
        "a\u{0}b",
        "a\u{1b}[2J",
        ".git/hooks/post-checkout",
        ".cache/weighthouse/pulled.json",
        ".CACHE/weighthouse/lock",
        "",
        "good/",
        "GOOD",
        "good/x",
        "nul",
    ] {
        let base = serve(evil(json!([entry("good", b"fine"), entry(path, b"evil")]), not_found)).await;
        let outer = tempfile::tempdir().unwrap();
        let error = pull_from(&base, &outer.path().join("in/ner")).await.unwrap_err();
        assert!(matches!(error, ClientError::UnsafePath { .. }), "{path}: {error}");
        assert!(!error.to_string().contains('\u{1b}'));
        assert!(contents(outer.path()).is_empty(), "{path}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_folder_are_not_written_through() {
    let files = |request: Request| match request.uri().path().rsplit('/').next() {
        Some("x") => "one".into_response(),
        _ => "two".into_response(),
    };
    let base = serve(evil(json!([entry("link/x", b"one")]), files)).await;
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), to.path().join("link")).unwrap();
    let error = pull_from(&base, to.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(contents(outside.path()).is_empty());

    // A link where a file belongs is replaced, not followed.
    let base = serve(evil(json!([entry("file", b"two")]), files)).await;
    let kept = outside.path().join("kept");
    std::fs::write(&kept, b"mine").unwrap();
    std::os::unix::fs::symlink(&kept, to.path().join("file")).unwrap();
    pull_from(&base, to.path()).await.unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    assert_eq!(std::fs::read(to.path().join("file")).unwrap(), b"two");
    assert!(to.path().join("file").symlink_metadata().unwrap().is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_never_take_their_place() {
    let times = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&times);
    let files = move |_: Request| {
        count.fetch_add(1, Ordering::Relaxed);
        "evil".into_response()
    };
    let base = serve(evil(json!([entry("model.bin", b"good")]), files)).await;
    let to = tempfile::tempdir().unwrap();
    std::fs::write(to.path().join("model.bin"), b"mine").unwrap();
    let error = pull_from(&base, to.path()).await.unwrap_err();
    assert!(matches!(error, ClientError::Damaged { .. }), "{error}");
    assert_eq!((error.kind(), times.load(Ordering::Relaxed)), (ErrorKind::Corrupt, 2));
    assert_eq!(std::fs::read(to.path().join("model.bin")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(to.path().join(".cache/weighthouse/parts")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_damage_is_mended() {
    let times = Arc::new(AtomicUsize::new(0));
    let files =
        move |_: Request| if times.fetch_add(1, Ordering::Relaxed) == 0 { "evil" } else { "good" }.into_response();
    let base = serve(evil(json!([entry("model.bin", b"good")]), files)).await;
    let to = tempfile::tempdir().unwrap();
    pull_from(&base, to.path()).await.unwrap();
    assert_eq!(std::fs::read(to.path().join("model.bin")).unwrap(), b"good");
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_sizes_and_ranges_are_noticed() {
    let big = vec![7; 20 << 20];
    let tree = json!([entry("big", &big)]);
    let short = |_: Request| "short".into_response();
    let error =
        pull_from(&serve(evil(tree.clone(), short)).await, tempfile::tempdir().unwrap().path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    let shifted = |_: Request| {
        let headers = [(header::CONTENT_RANGE, "bytes 5-20/20971520")];
        (StatusCode::PARTIAL_CONTENT, headers, vec![7; 16]).into_response()
    };
    let error =
        pull_from(&serve(evil(tree.clone(), shifted)).await, tempfile::tempdir().unwrap().path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");

    // A server that does not know ranges is merely slow.
    let whole = move |_: Request| vec![7u8; 20 << 20].into_response();
    let to = tempfile::tempdir().unwrap();
    pull_from(&serve(evil(tree, whole)).await, to.path()).await.unwrap();
    assert!(std::fs::read(to.path().join("big")).unwrap() == big);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_foreign_pages_are_not_followed() {
    let looping = |base: &'static str| {
        Router::new()
            .route("/api/models/ada/m/revision/{rev}", get(|| async { Json(json!({"id": "ada/m", "sha": COMMIT})) }))
            .route(
                "/api/models/ada/m/tree/{rev}",
                get(
                    move |_: Uri| async move { ([(header::LINK, format!("<{base}>; rel=\"next\""))], Json(json!([]))) },
                ),
            )
    };
    for next in ["/api/models/ada/m/tree/x?cursor=1", "http://127.0.0.2:1/steal-the-token"] {
        let base = serve(looping(next)).await;
        let error = pull_from(&base, tempfile::tempdir().unwrap().path()).await.unwrap_err();
        assert!(matches!(error, ClientError::Nonsense { .. }), "{next}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_hub_is_asked_again_when_it_says() {
    let times = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&times);
    let whoami = move |headers: HeaderMap| async move {
        assert!(headers.get(header::AUTHORIZATION).is_none());
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "slow down").into_response(),
            1 => StatusCode::BAD_GATEWAY.into_response(),
            _ => Json(json!({"type": "user", "name": "ada"})).into_response(),
        }
    };
    let base = serve(Router::new().route("/api/whoami-v2", get(whoami))).await;
    let began = std::time::Instant::now();
    assert_eq!(api(&base, None).whoami().await.unwrap().name, "ada");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
    assert_eq!(times.load(Ordering::Relaxed), 3);
}
