//! The content-addressed store of a hub: token, xorbs, shards, dedup questions.

use bytes::{Bytes, BytesMut};
use reqwest::{Body, Method, RequestBuilder, Response, Url};
use tokio::sync::Mutex;
use weighthouse::format::Limits;
use weighthouse::format::xet::hash::XetHash;
use weighthouse::format::xet::shard::{Shard, ShardFooter};

use super::api::Api;
use super::body::{Pieces, Watch};
use super::error::{ClientError, plain};
use super::meter::Meter;
use super::target::{RepoRef, segment};
use crate::wire::xet::{ShardEvent, ShardStored, TokenAnswer, XorbStored};

/// A token is renewed this long before it ends, in seconds.
const RENEW_BEFORE_S: u64 = 60;
/// Longest line of a shard's progress, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Largest answer to a dedup question, in bytes.
const MAX_DEDUP_BYTES: usize = 32 << 20;

/// The store behind one repository.
#[derive(Debug)]
pub(super) struct Cas {
    api: Api,
    token_path: String,
    token: Mutex<Option<TokenAnswer>>,
    session: String,
    /// Whether shards are sent the newer way, until the hub says it knows only the older.
    streaming: std::sync::atomic::AtomicBool,
}

impl Cas {
    /// The store to write to for a revision of a repository.
    pub(super) fn for_writing(api: Api, repo: &RepoRef, revision: &str) -> Self {
        let mut session = [0; 16];
        // The session is for logs only.
        let _ = getrandom::fill(&mut session);
        Self {
            api,
            token_path: format!("{}/xet-write-token/{}", repo.api(), segment(revision)),
            token: Mutex::new(None),
            session: hex::encode(session),
            streaming: true.into(),
        }
    }

    /// A token that is good for a while. `refused` is one that the store did not take.
    async fn token(&self, refused: Option<&str>) -> Result<TokenAnswer, ClientError> {
        let mut held = self.token.lock().await;
        let now_s = u64::try_from(self.api.clock().now_ms() / 1_000).unwrap_or(0);
        if let Some(token) = held.as_ref()
            && token.exp > now_s + RENEW_BEFORE_S
            && refused != Some(token.access_token.as_str())
        {
            return Ok(token.clone());
        }
        let what = "asking for an upload token";
        let fresh: TokenAnswer = self.api.json(what, || self.api.request(Method::GET, &self.token_path)).await?;
        self.check_address(&fresh.cas_url)?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// The hub may name another host for its bytes, but not a less protected one.
    fn check_address(&self, address: &str) -> Result<(), ClientError> {
        let wrong =
            |why: &str| ClientError::nonsense("asking for an upload token", format!("`{}` {why}", plain(address)));
        let url = Url::parse(address).map_err(|_| wrong("is no address"))?;
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.api.base().starts_with("http://") => Ok(()),
            _ => Err(wrong("is less protected than the hub itself")),
        }
    }

    /// Sends a request with a good token; once more with a fresh one if it was refused.
    async fn call(
        &self,
        what: &str,
        method: Method,
        path: &str,
        fill: impl Fn(RequestBuilder) -> (RequestBuilder, Watch),
    ) -> Result<Response, ClientError> {
        let mut refused = None::<String>;
        loop {
            let token = self.token(refused.as_deref()).await?;
            let address = format!("{}{path}", token.cas_url.trim_end_matches('/'));
            let request = self.api.http().request(method.clone(), address).bearer_auth(&token.access_token);
            let (request, watch) = fill(request.header("X-Xet-Session-Id", &self.session));
            match self.api.send_watched(what, request, &watch).await {
                Err(error) if error.status() == Some(401) && refused.is_none() => refused = Some(token.access_token),
                done => return done,
            }
        }
    }

    /// Stores a xorb. Returns whether the hub lacked it.
    pub(super) async fn put_xorb(&self, hash: &XetHash, pieces: &[Bytes], meter: &Meter) -> Result<bool, ClientError> {
        let (what, path) = ("uploading chunks", format!("/v1/xorbs/default/{hash}"));
        self.api
            .retrying(async || {
                let fill = |request: RequestBuilder| {
                    let watch = Watch::default();
                    let body = Pieces::new(pieces.iter().cloned(), watch.clone(), meter.clone());
                    (request.body(Body::wrap(body)), watch)
                };
                let answer = self.call(what, Method::POST, &path, fill).await?;
                let stored: XorbStored = self.read_json(what, answer).await?;
                Ok(stored.was_inserted)
            })
            .await
    }

    /// Registers the files of a shard; all their xorbs have been stored.
    pub(super) async fn put_shard(&self, shard: &Bytes, meter: &Meter) -> Result<(), ClientError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.streaming.load(Relaxed) {
            match self.api.retrying(async || self.put_shard_streaming(shard, meter).await).await {
                Err(error) if matches!(error.status(), Some(404 | 501)) => self.streaming.store(false, Relaxed),
                done => return done,
            }
        }
        let what = "registering files";
        self.api
            .retrying(async || {
                let answer = self.call(what, Method::POST, "/v1/shards", |request| body(request, shard, meter)).await?;
                let _: ShardStored = self.read_json(what, answer).await?;
                Ok(())
            })
            .await
    }

    async fn put_shard_streaming(&self, shard: &Bytes, meter: &Meter) -> Result<(), ClientError> {
        let what = "registering files";
        let mut answer = self.call(what, Method::POST, "/v2/shards", |request| body(request, shard, meter)).await?;
        let mut held = BytesMut::new();
        while let Some(piece) = self.api.piece(what, &mut answer).await? {
            held.extend_from_slice(&piece);
            while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
                let line = held.split_to(end + 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                match serde_json::from_slice(&line).map_err(|error| ClientError::nonsense(what, error))? {
                    ShardEvent::Result { .. } => return Ok(()),
                    ShardEvent::Error { message, retryable } => return Err(failed(&message, retryable)),
                    ShardEvent::Validating { .. } | ShardEvent::Committing { .. } => {}
                }
            }
            if held.len() > MAX_LINE_BYTES {
                return Err(ClientError::nonsense(what, "a line without an end"));
            }
        }
        Err(ClientError::Connection { what: what.to_owned(), why: "the answer ended too early".to_owned() })
    }

    /// Asks which xorbs hold a chunk. `None` if the hub does not say.
    pub(super) async fn dedup(&self, chunk: &XetHash) -> Result<Option<(Shard, ShardFooter)>, ClientError> {
        let (what, path) = ("asking for known chunks", format!("/v1/chunks/default/{chunk}"));
        let plain = |request: RequestBuilder| (request, Watch::default());
        let bytes = self
            .api
            .retrying(async || match self.call(what, Method::GET, &path, plain).await {
                Ok(answer) => self.api.read(what, answer, MAX_DEDUP_BYTES).await.map(Some),
                Err(error) if error.status() == Some(404) => Ok(None),
                Err(error) => Err(error),
            })
            .await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let read = || {
            Ok::<_, weighthouse::format::FormatError>((
                Shard::parse(&bytes, &Limits::default())?,
                ShardFooter::parse(&bytes)?,
            ))
        };
        read().map(Some).map_err(|error| ClientError::nonsense(what, error))
    }

    async fn read_json<T: serde::de::DeserializeOwned>(&self, what: &str, answer: Response) -> Result<T, ClientError> {
        let bytes = self.api.read(what, answer, MAX_LINE_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::nonsense(what, error))
    }
}

fn body(request: RequestBuilder, bytes: &Bytes, meter: &Meter) -> (RequestBuilder, Watch) {
    let watch = Watch::default();
    (request.body(Body::wrap(Pieces::new([bytes.clone()], watch.clone(), meter.clone()))), watch)
}

/// A failure that came inside of a successful answer.
fn failed(message: &str, retryable: bool) -> ClientError {
    let status = if retryable { 503 } else { 400 };
    ClientError::Answered { status, code: None, message: plain(message), request_id: None, retry_after: None }
}
