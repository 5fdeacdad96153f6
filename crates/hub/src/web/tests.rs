//! Promises of the pages, asked for in process: the routes behind the server's own layers, over a hub in memory.

mod account;
mod advisories;
mod compare;
mod convert;
mod inside;
mod pages;
mod policies;
mod retention;
mod storage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use tower::ServiceExt;
use weighthouse::access::Caller;
use weighthouse::account::{NewAccount, NewToken};
use weighthouse::commit::{CommitMessage, Target};
use weighthouse::repos::NewRepo;
use weighthouse::{Hub, HubOptions, RepoKind, Scope, Storage};

use crate::server::app::{App, ServerOptions};
use crate::server::stack::stack;
use crate::server::telemetry::Metrics;

/// Longest time to the whole of a page, in a build without optimisation.
const PATIENCE: Duration = Duration::from_secs(3);

struct Ground {
    hub: Hub,
    ada: Caller,
    secret: String,
    _folder: tempfile::TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HubOptions::new(folder.path());
    options.storage = Storage::Memory;
    let hub = Hub::open(options).await.unwrap();
    for name in ["ada", "eve"] {
        hub.add_user(NewAccount { name: name.to_owned(), ..NewAccount::default() }).await.unwrap();
    }
    let token = NewToken {
        name: "laptop".to_owned(),
        scope: Scope::Write,
        repos: None,
        lifetime_ms: None,
        automated: false,
        value: None,
    };
    let (_, secret) = hub.add_token("ada", token).await.unwrap();
    let ada = hub.authenticate(&secret).await.unwrap();
    Ground { hub, ada, secret, _folder: folder }
}

impl Ground {
    async fn create(&self, kind: RepoKind, name: &str, private: bool) {
        let new = NewRepo { kind, namespace: None, name: name.to_owned(), private, files: Vec::new() };
        self.hub.create_repo(&self.ada, new).await.unwrap();
    }

    async fn model(&self, name: &str, files: &[(&str, &[u8])]) -> String {
        self.create(RepoKind::Model, name, false).await;
        self.commit(name, "Upload", files).await
    }

    async fn commit(&self, name: &str, title: &str, files: &[(&str, &[u8])]) -> String {
        let repo = self.hub.repo(&self.ada, RepoKind::Model, &format!("ada/{name}")).await.unwrap();
        let message = CommitMessage { title: title.to_owned(), body: String::new() };
        let target = Target::branch("main", None).unwrap();
        let mut commit = self.hub.begin_commit(&self.ada, &repo, target, message).unwrap();
        for (path, data) in files {
            commit.put(path, Bytes::copy_from_slice(data)).await.unwrap();
        }
        let made = commit.finish().await.unwrap().oid.to_string();
        self.hub.judge_waiting().await.unwrap();
        made
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let metrics = Arc::new(Metrics::new("0", 0));
        let app = App::new(self.hub.clone(), ServerOptions::default());
        let reply = stack(app.routes(Arc::clone(&metrics)), metrics).oneshot(request).await.unwrap();
        let (parts, body) = reply.into_parts();
        let body = to_bytes(body, 64 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn ask(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> Reply {
        let began = Instant::now();
        let mut request = Request::get(path).header(header::HOST, "hub.example:7070");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let reply = self.send(request.body(Body::empty()).unwrap()).await;
        assert!(began.elapsed() < PATIENCE, "{path} took {:?}", began.elapsed());
        reply
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(path, &[]).await
    }

    /// A page that must be there and be sound.
    async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}\n{}", reply.body);
        check_sound(path, &reply);
        reply.body
    }

    async fn post(&self, path: &str, form: &str, headers: &[(header::HeaderName, &str)]) -> Reply {
        let mut request = Request::post(path)
            .header(header::HOST, "hub.example:7070")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.send(request.body(Body::from(form.to_owned())).unwrap()).await
    }
}

/// What holds for every page: no script, nothing from elsewhere, nothing inline, a way past the head, labels.
fn check_sound(path: &str, reply: &Reply) {
    let html = &reply.body;
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
    let policy = reply.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(reply.headers[header::CACHE_CONTROL], "private, no-cache", "{path}");
    let tags: Vec<&str> = html.split('<').skip(1).filter_map(|tag| tag.split('>').next()).collect();
    for tag in &tags {
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        assert!(
            !matches!(name, "script" | "style" | "iframe" | "object" | "embed" | "base" | "foreignObject" | "use"),
            "{path}: <{tag}>"
        );
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains(" on") && !outside.contains(" style="), "{path}: <{tag}>");
        if matches!(name, "img" | "link" | "source" | "video" | "audio") {
            let address = tag.split("src=\"").nth(1).or(tag.split("href=\"").nth(1)).unwrap_or("/");
            assert!(address.starts_with('/') && !address.starts_with("//"), "{path}: <{tag}>");
        }
        if name == "input" && !tag.contains("type=\"hidden\"") || name == "select" {
            let id = tag.split("id=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?");
            assert!(html.contains(&format!("<label for=\"{id}\"")), "{path}: <{tag}> has no label");
        }
    }
    assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
    assert!(html.contains("<a class=\"skip\" href=\"#main\">") && html.contains("<main id=\"main\""), "{path}");
    assert_eq!(html.matches("<h1").count(), 1 + html.matches("<h1 id=\"card-").count(), "{path}: headings");
    assert!(html.contains("name=\"viewport\""), "{path}");
}

fn twin(html: &str) -> &str {
    let (_, rest) = html.split_once("<link rel=\"alternate\" type=\"application/json\" href=\"").unwrap();
    rest.split('"').next().unwrap()
}
