//! Who am I: logging in with a token, logging out, one's tokens.

use askama::Template;
use axum::body::Bytes;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weighthouse::{Error, Scope};

use super::error::PageError;
use super::format::When;
use super::shell::{Shell, page};
use super::visit::Visit;
use crate::server::session::{same_site, set_cookie};
use crate::wire::query::Query;

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    shell: Shell,
    /// Where to go afterwards.
    next: String,
    /// What was wrong with the last try.
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    shell: Shell,
    base: String,
    name: String,
    admin: bool,
    rows: Vec<TokenRow>,
    orgs: Vec<(String, &'static str)>,
}

struct TokenRow {
    name: String,
    scope: &'static str,
    automated: bool,
    limited: Option<usize>,
    created: When,
    used: Option<When>,
    expires: Option<String>,
    expired: bool,
    present: bool,
}

/// `GET /login`
pub(super) async fn login_form(visit: Visit) -> Response {
    let next = own_path(visit.query.text("next"));
    page(StatusCode::OK, &Login { shell: visit.shell("Log in", None), next, problem: None })
}

/// `POST /login`, a form with `token` and `next`.
pub(super) async fn login(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    let form = form(&visit, &body)?;
    let next = own_path(form.text("next"));
    let token = form.text("token").unwrap_or("").trim();
    match visit.hub().authenticate(token).await {
        Ok(_) => with_cookie(&visit, Some(token), &next),
        Err(Error::InvalidToken) => {
            let problem =
                Some(if token.is_empty() { "Enter a token." } else { "This token is unknown or has expired." });
            Ok(page(StatusCode::UNAUTHORIZED, &Login { shell: visit.shell("Log in", None), next, problem }))
        }
        Err(error) => Err(visit.refuse(error)),
    }
}

/// `POST /logout`
pub(super) async fn logout(visit: Visit, headers: HeaderMap) -> Result<Response, PageError> {
    check_same_site(&visit, &headers)?;
    with_cookie(&visit, None, "/")
}

/// `GET /settings/tokens`
pub(super) async fn tokens(visit: Visit) -> Result<Response, PageError> {
    let Some(account) = visit.caller.account() else {
        return Err(visit.refuse(Error::Unauthenticated { action: "see your tokens" }));
    };
    let records = visit.hub().tokens(&account.name).await.map_err(|error| visit.refuse(error))?;
    let now_ms = visit.hub().now_ms();
    let present = visit.caller.token().map(|token| token.id.as_str());
    let rows = records.iter().map(|token| TokenRow {
        name: token.name.clone(),
        scope: match token.scope {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Admin => "admin",
        },
        automated: token.automated,
        limited: token.repos.as_ref().map(Vec::len),
        created: When::new(token.created_at_ms, now_ms),
        used: token.last_used_at_ms.map(|used_ms| When::new(used_ms, now_ms)),
        expires: token.expires_at_ms.map(|ms| crate::wire::time::format_millis(ms).chars().take(10).collect()),
        expired: token.expires_at_ms.is_some_and(|ms| ms <= now_ms),
        present: Some(token.id.as_str()) == present,
    });
    let template = Tokens {
        rows: rows.collect(),
        name: account.name.clone(),
        admin: account.admin,
        orgs: visit.caller.orgs().iter().map(|org| (org.account.name.clone(), org.role.as_str())).collect(),
        base: visit.base.clone(),
        shell: visit.shell("Your tokens", Some("/api/whoami-v2".to_owned())),
    };
    Ok(page(StatusCode::OK, &template))
}

pub(super) fn form(visit: &Visit, body: &[u8]) -> Result<Query, PageError> {
    let wrong = |reason: String| visit.refuse(Error::Malformed(format!("the form cannot be read: {reason}")));
    let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
    Query::parse(text).map_err(|error| wrong(error.to_string()))
}

pub(super) fn check_same_site(visit: &Visit, headers: &HeaderMap) -> Result<(), PageError> {
    if same_site(headers, &visit.base) {
        return Ok(());
    }
    Err(visit.refuse(Error::Denied { action: "send this form from another site".to_owned() }))
}

fn with_cookie(visit: &Visit, token: Option<&str>, next: &str) -> Result<Response, PageError> {
    let line = HeaderValue::try_from(set_cookie(token, &visit.base))
        .map_err(|error| visit.refuse(Error::Malformed(error.to_string())))?;
    Ok(([(header::SET_COOKIE, line)], Redirect::to(next)).into_response())
}

/// A path of this hub, never an address elsewhere: browsers take `//` and `/\` for the beginning of a host.
fn own_path(next: Option<&str>) -> String {
    let own = |path: &&str| {
        let plain = !path.contains(|c: char| c.is_control() || c == '\\' || !c.is_ascii());
        path.starts_with('/') && !path.starts_with("//") && plain && !path.starts_with("/login") && path.len() < 2_000
    };
    next.filter(own).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn nobody_is_sent_elsewhere_after_logging_in() {
        assert_eq!(own_path(Some("/ada/bert?p=1")), "/ada/bert?p=1");
        for away in
            ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/\t/evil.example", "/login?next=/"]
        {
            assert_eq!(own_path(Some(away)), "/", "{away}");
        }
    }
}
