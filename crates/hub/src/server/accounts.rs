//! Who a token belongs to.

use axum::Router;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use weighthouse::{AccountKind, Scope};

use super::app::App;
use super::visitor::Visitor;
use crate::wire::error::ErrorReply;
use crate::wire::hf::user::{AccessToken, Auth, FineGrained, OrgMembership, ScopedEntity, ScopedPermission, WhoAmI};
use crate::wire::time::format_millis;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/whoami-v2", get(whoami))
        .route("/api/users/{name}/overview", get(user))
        .route("/api/organizations/{name}/overview", get(org))
        .route("/api/telemetry/{*topic}", get(|| async { http::StatusCode::NO_CONTENT }))
        .route("/api/agent-harnesses", get(|| async { Json(serde_json::json!({})) }))
}

/// `GET /api/whoami-v2`
async fn whoami(visitor: Visitor) -> Result<Response, ErrorReply> {
    let (Some(account), Some(token)) = (visitor.caller.account(), visitor.caller.token()) else {
        return Err(ErrorReply::token_needed());
    };
    let mut fine_grained = None;
    if let Some(only) = &token.repos {
        let permission = if token.scope == Scope::Read { "repo.content.read" } else { "repo.write" };
        let scoped = only.iter().map(|key| ScopedPermission {
            entity: ScopedEntity { internal_id: key.to_string(), kind: "model".to_owned(), name: key.to_string() },
            permissions: vec![permission.to_owned()],
        });
        fine_grained = Some(FineGrained { scoped: scoped.collect(), global: Vec::new(), can_read_gated_repos: true });
    }
    let role = match (&fine_grained, token.scope) {
        (Some(_), _) => "fineGrained",
        (None, Scope::Read) => "read",
        (None, _) => "write",
    };
    let orgs = visitor.caller.orgs().iter().map(|membership| OrgMembership {
        kind: "org".to_owned(),
        id: membership.account.id.clone(),
        name: membership.account.name.clone(),
        fullname: membership.account.fullname.clone(),
        avatar_url: String::new(),
        role_in_org: membership.role.to_string(),
    });
    let who = WhoAmI {
        kind: "user".to_owned(),
        id: account.id.clone(),
        name: account.name.clone(),
        fullname: account.fullname.clone(),
        email: account.email.clone(),
        email_verified: account.email.is_some(),
        is_pro: false,
        can_pay: false,
        avatar_url: String::new(),
        period_end: None,
        orgs: orgs.collect(),
        auth: Some(Auth {
            kind: "access_token".to_owned(),
            access_token: AccessToken {
                display_name: token.name.clone(),
                role: role.to_owned(),
                created_at: Some(format_millis(token.created_at_ms)),
                expiration: token.expires_at_ms.map(format_millis),
                fine_grained,
            },
        }),
    };
    Ok(Json(who).into_response())
}

/// `GET /api/users/{name}/overview`
async fn user(
    visitor: Visitor,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Response, ErrorReply> {
    overview(&visitor, AccountKind::User, &name).await
}

/// `GET /api/organizations/{name}/overview`
async fn org(visitor: Visitor, axum::extract::Path(name): axum::extract::Path<String>) -> Result<Response, ErrorReply> {
    overview(&visitor, AccountKind::Org, &name).await
}

async fn overview(visitor: &Visitor, kind: AccountKind, name: &str) -> Result<Response, ErrorReply> {
    let account = visitor.app.hub().account(name).await.map_err(|error| visitor.refuse(error))?;
    if account.kind != kind {
        return Err(ErrorReply::not_found(format!("{kind} `{name}` does not exist")));
    }
    Ok(Json(serde_json::json!({
        "type": kind.as_str(),
        "user": account.name,
        "name": account.name,
        "fullname": account.fullname,
        "avatarUrl": "",
        "isPro": false,
        "orgs": [],
    }))
    .into_response())
}
