//! Whoever holds a Xet token.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use weighthouse::access::{Caller, Repo};
use weighthouse::format::xet::hash::XetHash;
use weighthouse::{RepoKey, Scope, TokenRecord};

use crate::server::app::App;
use crate::server::session::{base_url, with_address};
use crate::server::sign::{XetClaim, XetScope};
use crate::server::visitor::refuse;
use crate::wire::error::ErrorReply;

/// Whoever holds a Xet token: a caller, in one repository.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub app: App,
    pub caller: Caller,
    pub repo: Repo,
    scope: XetScope,
    pub base: String,
    pub headers: HeaderMap,
}

impl FromRequestParts<App> for Holder {
    type Rejection = ErrorReply;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ErrorReply> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
        let bearer = bearer.ok_or_else(ErrorReply::token_needed)?;
        let claim = XetClaim::open(bearer, app.signer(), app.now_s())
            .map_err(|refused| ErrorReply::new(StatusCode::UNAUTHORIZED, format!("Xet token: {refused}")))?;
        let key = RepoKey::from(claim.repo);
        let caller = match claim.user {
            None => Caller::anonymous(),
            Some(user) => {
                let scope = if claim.scope == XetScope::Write { Scope::Write } else { Scope::Read };
                let record = TokenRecord {
                    id: String::new(),
                    account: user.clone(),
                    name: "xet".to_owned(),
                    scope,
                    repos: claim.limited.then(|| vec![key.clone()]),
                    automated: claim.automated,
                    created_at_ms: 0,
                    expires_at_ms: None,
                    last_used_at_ms: None,
                };
                app.hub().caller_of(&user, record).await.map_err(refuse)?
            }
        };
        let caller = with_address(caller, &parts.extensions, &parts.headers);
        let repo = app.hub().repo_by_key(&caller, &key).await.map_err(refuse)?;
        Ok(Self {
            app: app.clone(),
            caller,
            repo,
            scope: claim.scope,
            base: base_url(&parts.headers, app.options().public_url.as_deref()),
            headers: std::mem::take(&mut parts.headers),
        })
    }
}

impl Holder {
    pub fn require_write(&self) -> Result<(), ErrorReply> {
        if self.scope.allows(XetScope::Write) {
            return Ok(());
        }
        Err(ErrorReply::forbidden("this Xet token may only read"))
    }
}

pub(super) fn hash(text: &str) -> Result<XetHash, ErrorReply> {
    text.parse().map_err(|_| ErrorReply::bad_request(format!("`{}` is not a Xet hash", text.escape_default())))
}
