//! One hub, one token: making calls, again where that helps.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use weighthouse::Clock;

use super::body::{Watch, stalled};
use super::error::{ClientError, plain};
use super::retry::{Patience, Retry, parse_retry_after};
use crate::wire::error::{ErrorCode, X_ERROR_CODE, X_ERROR_MESSAGE};

/// Largest JSON answer that is read, in bytes.
const MAX_JSON_BYTES: usize = 64 << 20;
/// Largest error that is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// How to reach a hub.
#[derive(Clone)]
#[non_exhaustive]
pub struct ApiOptions {
    /// Base address, such as `http://127.0.0.1:7070`; may have a path.
    pub endpoint: String,
    /// Token to show; without one only public things are seen.
    pub token: Option<String>,
    /// What to call ourselves.
    pub user_agent: String,
    /// How patient to be.
    pub patience: Patience,
}

impl ApiOptions {
    /// A hub without a token, with default patience.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            token: None,
            user_agent: concat!("weighthouse/", env!("CARGO_PKG_VERSION")).to_owned(),
            patience: Patience::default(),
        }
    }
}

impl fmt::Debug for ApiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiOptions")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// A hub to call. Clones share connections.
///
/// Every call is repeated after a fault that may pass (no connection, a stall, status 408, 429 or 5xx), as
/// [`Patience`] says; all calls of the protocol may be repeated.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    base: String,
    origin: Url,
    token: Option<String>,
    http: Client,
    patience: Patience,
    clock: Clock,
    /// Whether the hub has ever answered.
    reached: AtomicBool,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.0.base).finish_non_exhaustive()
    }
}

impl Api {
    /// Prepares calls to a hub; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Input`] for an address that is not `http://` or `https://`, or a token that cannot be sent;
    /// [`ClientError::Internal`] when TLS cannot be set up.
    pub fn new(options: ApiOptions) -> Result<Self, ClientError> {
        let base = options.endpoint.trim().trim_end_matches('/').to_owned();
        let wrong = |why: &str| ClientError::Input(format!("`{}` is not the address of a hub: {why}", plain(&base)));
        let origin = Url::parse(&base).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(origin.scheme(), "http" | "https") || origin.host_str().is_none() {
            return Err(wrong("it must begin with http:// or https://"));
        }
        if !origin.username().is_empty() || origin.query().is_some() || origin.fragment().is_some() {
            return Err(wrong("it may not contain a user, a query or a fragment"));
        }
        if options
            .token
            .as_deref()
            .is_some_and(|token| token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(ClientError::Input("the token is empty or has characters that no token has".to_owned()));
        }
        // Building the connections would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientError::Internal("the program has installed no TLS provider".to_owned()));
        }
        let http =
            Client::builder()
                .user_agent(options.user_agent)
                .connect_timeout(options.patience.connect)
                .build()
                .map_err(|error| ClientError::Internal(format!("cannot set up the connection: {}", cause(&error))))?;
        let inner = Inner {
            base,
            origin,
            token: options.token,
            http,
            patience: options.patience,
            clock: Clock::system(),
            reached: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Base address, without a trailing slash.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// Whether there is a token to show.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.0.token.is_some()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn http(&self) -> &Client {
        &self.0.http
    }

    /// A request below the base, with the token.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.authorised(self.0.http.request(method, format!("{}{path}", self.0.base)))
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.0.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request to an address that the hub named. The token goes along only to the hub itself.
    fn follow(&self, address: &str) -> Result<RequestBuilder, ClientError> {
        let url = self.0.origin.join(address).map_err(|error| ClientError::nonsense("reading an address", error))?;
        if url.origin() != self.0.origin.origin() {
            return Err(ClientError::nonsense("reading an address", format!("`{}` is another host", plain(address))));
        }
        Ok(self.authorised(self.0.http.get(url)))
    }

    /// Counts the calls of one purpose.
    pub(super) fn retry(&self) -> Retry<'_> {
        Retry::new(&self.0.patience, &self.0.reached)
    }

    /// Repeats `attempt` until it succeeds or patience ends.
    pub(super) async fn retrying<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut retry = self.retry();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => retry.pause(error).await?,
            }
        }
    }

    /// Sends once and gives back a successful answer, its body unread.
    pub(super) async fn send(&self, what: &str, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_watched(what, request, &Watch::default()).await
    }

    /// As [`Api::send`], for a body that `watch` sees.
    pub(super) async fn send_watched(
        &self,
        what: &str,
        request: RequestBuilder,
        watch: &Watch,
    ) -> Result<Response, ClientError> {
        let answer = watch.guard(what, &self.0.patience, request.send()).await?;
        let answer = answer.map_err(|error| connection(what, &error))?;
        self.0.reached.store(true, Ordering::Relaxed);
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// Sends, repeats, and reads a JSON answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        what: &str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, ClientError> {
        self.json_with_headers(what, || Ok(make())).await.map(|(answer, _)| answer)
    }

    /// Reads a list page by page; `take` says whether it wants more.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        mut take: impl FnMut(Vec<T>) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        let mut seen = HashSet::new();
        let mut next = None::<String>;
        loop {
            let make = || match &next {
                Some(next) => self.follow(next),
                None => Ok(self.request(Method::GET, path)),
            };
            let (page, headers) = self.json_with_headers(what, make).await?;
            if !take(page)? {
                return Ok(());
            }
            let Some(address) = next_page(&headers) else { return Ok(()) };
            if !seen.insert(address.clone()) {
                return Err(ClientError::nonsense(what, "its pages lead in a circle"));
            }
            next = Some(address);
        }
    }

    async fn json_with_headers<T: DeserializeOwned>(
        &self,
        what: &str,
        make: impl Fn() -> Result<RequestBuilder, ClientError>,
    ) -> Result<(T, HeaderMap), ClientError> {
        let (bytes, headers) = self
            .retrying(async || {
                let mut answer = self.send(what, make()?).await?;
                let headers = std::mem::take(answer.headers_mut());
                Ok((self.read(what, answer, MAX_JSON_BYTES).await?, headers))
            })
            .await?;
        let answer = serde_json::from_slice(&bytes).map_err(|error| ClientError::nonsense(what, error))?;
        Ok((answer, headers))
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(&self, what: &str, mut answer: Response, limit: usize) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece(what, &mut answer).await? {
            if body.len().saturating_add(piece.len()) > limit {
                return Err(ClientError::nonsense(what, format!("it is longer than {limit} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// The next piece of a body, waited for no longer than a stall.
    pub(super) async fn piece(&self, what: &str, answer: &mut Response) -> Result<Option<Bytes>, ClientError> {
        let limit = self.0.patience.stall;
        let piece = tokio::time::timeout(limit, answer.chunk()).await.map_err(|_| stalled(what, limit))?;
        piece.map_err(|error| connection(what, &error))
    }

    async fn refusal(&self, mut answer: Response) -> ClientError {
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(plain);
        let body = self.read("reading an error", answer, MAX_ERROR_BYTES).await.unwrap_or_default();
        let message = message(&body).or_else(|| text(X_ERROR_MESSAGE.as_str()).filter(|text| !text.is_empty()));
        ClientError::Answered {
            status: status.as_u16(),
            code: text(X_ERROR_CODE.as_str()).and_then(|code| ErrorCode::from_wire(&code)),
            message: message.unwrap_or_else(|| reason(status)),
            request_id: text("x-request-id"),
            retry_after: text(header::RETRY_AFTER.as_str()).and_then(|value| parse_retry_after(&value)),
        }
    }
}

fn reason(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("the hub refused without a reason").to_owned()
}

/// The message in the several shapes that hubs send.
fn message(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = match json.get("error").or_else(|| json.get("message"))? {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(texts) => texts.iter().filter_map(|text| text.as_str()).collect::<Vec<_>>().join("; "),
        _ => return None,
    };
    Some(plain(&text)).filter(|text| !text.is_empty())
}

pub(super) fn connection(what: &str, error: &reqwest::Error) -> ClientError {
    if error.is_builder() {
        return ClientError::Internal(format!("{what}: {}", cause(error)));
    }
    let at = error.url().map(|url| format!(" ({})", url.origin().ascii_serialization())).unwrap_or_default();
    ClientError::Connection { what: format!("{what}{at}"), why: cause(error) }
}

/// The innermost reason, which says most.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    plain(&innermost.to_string())
}

/// The address of the next page, from `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
    let mut links = values.flat_map(|value| value.split(','));
    links.find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = rest.split(';').any(|part| {
            let rel = part.trim().strip_prefix("rel=").map(|rel| rel.trim_matches('"'));
            rel.is_some_and(|rel| rel.split_ascii_whitespace().any(|rel| rel == "next"))
        });
        is_next.then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(base: &str) -> Result<Api, ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Api::new(ApiOptions::new(base))
    }

    #[test]
    fn only_addresses_of_hubs_are_taken() {
        for good in ["http://127.0.0.1:7070", "https://host/hub/", " https://hub.example "] {
            api(good).unwrap();
        }
        for bad in ["", "hub.example", "ftp://hub", "https://u:p@hub", "http://hub?x", "file:///etc"] {
            assert!(matches!(api(bad), Err(ClientError::Input(_))), "{bad}");
        }
        let odd = ApiOptions { token: Some("a\nb".into()), ..ApiOptions::new("http://hub") };
        assert!(matches!(Api::new(odd), Err(ClientError::Input(_))));
    }

    #[test]
    fn a_token_is_never_shown() {
        let options = ApiOptions { token: Some("hf_secret".into()), ..ApiOptions::new("http://hub") };
        let api = api("http://hub").and_then(|_| Api::new(options.clone())).unwrap();
        assert!(!format!("{options:?} {api:?}").contains("secret"));
    }

    #[test]
    fn pages_are_followed_on_the_same_host_only() {
        let api = api("http://hub:1/base").unwrap();
        assert!(api.follow("http://hub:1/base/api/models?cursor=2").is_ok());
        for other in ["http://evil/api", "https://hub:1/x", "http://hub:2/x", "//evil/x"] {
            assert!(api.follow(other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers), None);
        headers.append(header::LINK, "<http://h/a>; rel=\"prev\", <http://h/b?x=1>; rel=\"next\"".parse().unwrap());
        assert_eq!(next_page(&headers).as_deref(), Some("http://h/b?x=1"));
    }

    #[test]
    fn messages_come_in_several_shapes() {
        assert_eq!(message(br#"{"error":"no"}"#).as_deref(), Some("no"));
        assert_eq!(message(br#"{"error":["a","b"]}"#).as_deref(), Some("a; b"));
        assert_eq!(message(b"<html>"), None);
    }
}
