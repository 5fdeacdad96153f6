//! Who asks: a token in the `Authorization` header, or in the cookie of the pages.
//!
//! The cookie holds the token itself, so that it lives and dies with it. It is `HttpOnly` and `SameSite=Strict`: no
//! script reads it, and no other site can have a browser send it. A neighbour on the same domain can, but its scripts
//! cannot read the answer, which allows any origin and so none with credentials. The cookie counts only for pages and
//! for reading files; the API never looks at it, so that a cookie alone changes nothing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Extensions, HeaderMap, header};
use weighthouse::access::Caller;
use weighthouse::{Error, Hub};

use super::listen::Peer;

/// Name of the cookie.
const COOKIE: &str = "wh_token";
/// How long a browser keeps it, in seconds: 30 days.
const LIFETIME_S: u32 = 30 * 24 * 3600;

/// Whoever made a request, by its `Authorization` header alone: Bearer, or HTTP Basic with the token as password, as
/// git sends it. A stranger without that header.
///
/// # Errors
/// [`Error::InvalidToken`] for a token that is unknown, expired or unreadable.
pub async fn caller(hub: &Hub, headers: &HeaderMap) -> Result<Caller, Error> {
    match header_token(headers)? {
        Some(token) => hub.authenticate(&token).await,
        None => Ok(Caller::anonymous()),
    }
}

/// Whoever made a request of a page or of a file to read: by its header, else by its cookie. A cookie whose token has
/// ended is that of a stranger.
///
/// # Errors
/// [`Error::InvalidToken`] for a bad token in the header.
pub async fn reader(hub: &Hub, headers: &HeaderMap) -> Result<Caller, Error> {
    if headers.contains_key(header::AUTHORIZATION) {
        return caller(hub, headers).await;
    }
    match cookie_token(headers) {
        Some(token) => match hub.authenticate(&token).await {
            Err(Error::InvalidToken) => Ok(Caller::anonymous()),
            other => other,
        },
        None => Ok(Caller::anonymous()),
    }
}

/// The caller, with the address of the connection for the audit log. What a proxy says of the client stands beside it,
/// marked as hearsay: anybody can send that header.
pub(crate) fn with_address(caller: Caller, extensions: &Extensions, headers: &HeaderMap) -> Caller {
    let Some(Peer(peer)) = extensions.get::<Peer>() else { return caller };
    let said = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    match said.map(|said| said.chars().take(64).collect::<String>()) {
        Some(said) => caller.from_address(format!("{peer} for {said}")),
        None => caller.from_address(peer.to_string()),
    }
}

/// Token of the `Authorization` header.
fn header_token(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| Error::InvalidToken)?.trim();
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Error::InvalidToken);
    }
    let pair = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Error::InvalidToken)?;
    let (_, password) = pair.split_once(':').ok_or(Error::InvalidToken)?;
    Ok(Some(password.to_owned()).filter(|password| !password.is_empty()))
}

/// Token of the cookie.
fn cookie_token(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value = all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()
}

/// A `Set-Cookie` line that keeps a token, or with `None` drops it.
pub(crate) fn set_cookie(token: Option<&str>, base: &str) -> String {
    let secure = if base.starts_with("https://") { "; Secure" } else { "" };
    let (value, lifetime_s) = match token {
        Some(token) => (URL_SAFE_NO_PAD.encode(token), LIFETIME_S),
        None => (String::new(), 0),
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lifetime_s}{secure}")
}

/// Whether a form was sent from a page of this hub. Browsers say so in one of two headers; what says nothing is no
/// browser and holds no cookie of one.
pub(crate) fn same_site(headers: &HeaderMap, base: &str) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    match text(header::ORIGIN) {
        Some(origin) => {
            let host = text(header::HOST).unwrap_or_default();
            origin == base || origin.split_once("://").is_some_and(|(_, found)| found == host)
        }
        None => true,
    }
}

/// Address of this hub: as configured, else as the request (or the proxy before it) says.
pub(crate) fn base_url(headers: &HeaderMap, configured: Option<&str>) -> String {
    if let Some(url) = configured {
        return url.trim_end_matches('/').to_owned();
    }
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        (!value.is_empty() && value.chars().all(plain)).then(|| value.to_owned())
    };
    let scheme = text("x-forwarded-proto").filter(|scheme| scheme == "https").unwrap_or_else(|| "http".to_owned());
    let host = text("x-forwarded-host").or_else(|| text("host")).unwrap_or_else(|| "localhost".to_owned());
    format!("{scheme}://{host}")
}
