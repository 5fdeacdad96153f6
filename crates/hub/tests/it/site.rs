//! A hub to send requests to.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use base64::Engine;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest;
use tower::ServiceExt;
use weighthouse_hub::server::app::{App, ServerOptions};
use weighthouse_hub::server::stack::stack;
use weighthouse_hub::server::telemetry::Metrics;
use weighthouse_testkit::TestHub;

/// A hub with the users `ada` and `bob`.
pub struct Site {
    pub hub: TestHub,
    pub ada: String,
    pub bob: String,
    options: ServerOptions,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and error code, for comparing.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.header("x-error-code"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }
}

impl Site {
    pub async fn new() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub async fn with(options: ServerOptions) -> Self {
        let hub = TestHub::start().await;
        let (ada, bob) = (hub.user("ada").await, hub.user("bob").await);
        Self { hub, ada, bob, options }
    }

    /// Sends one request; `token` is empty for a stranger.
    pub async fn ask(&self, token: &str, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.ask_with(token, method, path, &[], body).await
    }

    pub async fn ask_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let metrics = Arc::new(Metrics::new("test", 0));
        let app = App::new(self.hub.hub.clone(), self.options.clone());
        let service = stack(app.routes(Arc::clone(&metrics)), metrics);
        let path = path.strip_prefix("http://localhost").unwrap_or(path);
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response: Response = service.oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, Body::empty()).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.ask_with(token, "POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Creates `ada/{name}`.
    pub async fn repo(&self, name: &str, private: bool) {
        let body = json!({ "name": name, "visibility": if private { "private" } else { "public" } });
        self.post(&self.ada, "/api/repos/create", &body).await.ok();
    }

    /// Commits lines to `ada/{name}`.
    pub async fn commit(&self, name: &str, lines: &[Value]) -> Answer {
        self.commit_to(name, "main", json!({ "summary": "test", "description": "" }), lines).await
    }

    pub async fn commit_to(&self, name: &str, branch: &str, header: Value, lines: &[Value]) -> Answer {
        let header = json!({ "key": "header", "value": header });
        let lines: Vec<String> = std::iter::once(&header).chain(lines).map(|line| format!("{line}\n")).collect();
        let made =
            self.ask(&self.ada, "POST", &format!("/api/models/ada/{name}/commit/{branch}"), lines.concat()).await;
        if made.status.is_success() {
            self.hub.hub.judge_waiting().await.unwrap();
        }
        made
    }

    /// The hub still works: a file goes in and comes out.
    pub async fn still_works(&self) {
        self.repo("still-works", false).await;
        let data = weighthouse_testkit::noise(99, 300_000);
        let line = self.upload("still-works", "w.bin", &data).await;
        self.commit("still-works", &[line, file("a.txt", b"a")]).await.ok();
        assert!(self.get("", "/ada/still-works/resolve/main/w.bin").await.ok().body == data);
        let delete = json!({ "name": "still-works" }).to_string();
        self.ask(&self.ada, "DELETE", "/api/repos/delete", delete).await.ok();
    }

    /// Asks to upload an LFS object to `ada/{name}` and returns the answer's object.
    pub async fn batch(&self, token: &str, name: &str, oid: &str, size: usize, transfers: &[&str]) -> Value {
        let body = json!({
            "operation": "upload", "transfers": transfers, "hash_algo": "sha256",
            "objects": [{ "oid": oid, "size": size }],
        });
        self.post(token, &format!("/ada/{name}.git/info/lfs/objects/batch"), &body).await.ok().json()
    }

    /// Uploads an LFS object to `ada/{name}` and returns the line that commits it.
    pub async fn upload(&self, name: &str, path: &str, data: &[u8]) -> Value {
        let oid = sha256(data);
        let answer = self.batch(&self.ada, name, &oid, data.len(), &["basic"]).await;
        if let Some(href) = answer["objects"][0]["actions"]["upload"]["href"].as_str() {
            self.ask("", "PUT", href, data.to_vec()).await.ok();
        }
        lfs_file(path, &oid, data.len())
    }
}

pub fn file(path: &str, data: &[u8]) -> Value {
    let content = base64::engine::general_purpose::STANDARD.encode(data);
    json!({ "key": "file", "value": { "path": path, "content": content, "encoding": "base64" } })
}

pub fn lfs_file(path: &str, oid: &str, size: usize) -> Value {
    json!({ "key": "lfsFile", "value": { "path": path, "algo": "sha256", "oid": oid, "size": size } })
}

pub fn deleted(path: &str) -> Value {
    json!({ "key": "deletedFile", "value": { "path": path } })
}

pub fn sha256(data: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(data))
}
