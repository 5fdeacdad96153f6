//! The name of a request in logs, errors and the client's own messages.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header that carries the id in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What Python sends, a fresh UUID per request.
const X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Longest id taken from a client, in bytes.
const MAX_LEN: usize = 128;

/// Id of a request, in its extensions. Only letters, digits and `-=_.:;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The client's id if it sent a sane one, else a random one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        [X_REQUEST_ID, X_AMZN_TRACE_ID]
            .iter()
            .filter_map(|name| headers.get(name)?.to_str().ok())
            .find(|id| is_sane(id))
            .map_or_else(Self::random, |id| Self(id.into()))
    }

    fn random() -> Self {
        static FALLBACK: AtomicU64 = AtomicU64::new(0);
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            let count = u128::from(FALLBACK.fetch_add(1, Ordering::Relaxed));
            bytes = count.to_be_bytes();
        }
        let mut text = String::with_capacity(32);
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

fn is_sane(id: &str) -> bool {
    (1..=MAX_LEN).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-=_.:;".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept() {
        let uuid = "1f0c1a3e-8d52-6d5e-9c5a-0242ac120002";
        assert_eq!(with(X_AMZN_TRACE_ID, uuid).as_str(), uuid);
        assert_eq!(with(X_REQUEST_ID, "Root=1-67;Self=a").as_str(), "Root=1-67;Self=a");
    }

    #[test]
    fn a_strange_id_is_replaced() {
        for id in ["", "a b", "a\"b", "<script>", &"x".repeat(129)] {
            let got = with(X_REQUEST_ID, id);
            assert_eq!(got.as_str().len(), 32, "{id}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
