//! Who a token belongs to.
//!
//! - `GET /api/whoami-v2`
//!
//! <https://huggingface.co/docs/huggingface_hub/package_reference/hf_api#huggingface_hub.HfApi.whoami>

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer of `whoami-v2`. Python needs `type` and `name`, huggingface.js also `id` and `auth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// Always `user`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Stable internal id.
    #[serde(default)]
    pub id: String,
    /// User name.
    pub name: String,
    /// Name for people.
    #[serde(default)]
    pub fullname: String,
    /// Mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the address was checked.
    #[serde(default)]
    pub email_verified: bool,
    /// A paid account of the hosted Hub; always false here.
    #[serde(default)]
    pub is_pro: bool,
    /// Has means of payment on the hosted Hub; always false here.
    #[serde(default)]
    pub can_pay: bool,
    /// Address of a picture.
    #[serde(default)]
    pub avatar_url: String,
    /// End of the paid period; always `null` here.
    #[serde(default)]
    pub period_end: Option<Value>,
    /// Organisations with the role in each.
    #[serde(default)]
    pub orgs: Vec<OrgMembership>,
    /// The token itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// An organisation the user belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgMembership {
    /// Always `org`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Stable internal id.
    #[serde(default)]
    pub id: String,
    /// Name in addresses.
    pub name: String,
    /// Name for people.
    #[serde(default)]
    pub fullname: String,
    /// Address of a picture.
    #[serde(default)]
    pub avatar_url: String,
    /// `admin`, `write`, `contributor` or `read`.
    #[serde(default)]
    pub role_in_org: String,
}

/// How the caller proved who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Always `access_token`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The token's facts, never its value.
    pub access_token: AccessToken,
}

/// Facts of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// Name; clients store the token under it.
    pub display_name: String,
    /// `read`, `write` or `fineGrained`.
    pub role: String,
    /// Date of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Date from which it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// What a fine-grained token may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_grained: Option<FineGrained>,
}

/// What a fine-grained token may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FineGrained {
    /// Permissions on single repositories or namespaces.
    pub scoped: Vec<ScopedPermission>,
    /// Permissions everywhere.
    #[serde(default)]
    pub global: Vec<String>,
    /// Whether gated repositories the user has access to may be read.
    #[serde(default)]
    pub can_read_gated_repos: bool,
}

/// Permissions on one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopedPermission {
    /// The thing.
    pub entity: ScopedEntity,
    /// Such as `repo.content.read` and `repo.write`.
    pub permissions: Vec<String>,
}

/// A repository, user or organisation a permission is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopedEntity {
    /// Stable internal id.
    #[serde(rename = "_id")]
    pub internal_id: String,
    /// `model`, `dataset`, `user` or `org`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_stores_after_login_is_where_it_looks() {
        let who = WhoAmI {
            kind: "user".into(),
            id: "1".into(),
            name: "ada".into(),
            fullname: "Ada".into(),
            email: None,
            email_verified: false,
            is_pro: false,
            can_pay: false,
            avatar_url: String::new(),
            period_end: None,
            orgs: vec![],
            auth: Some(Auth {
                kind: "access_token".into(),
                access_token: AccessToken {
                    display_name: "laptop".into(),
                    role: "write".into(),
                    created_at: None,
                    expiration: None,
                    fine_grained: None,
                },
            }),
        };
        let json = serde_json::to_value(&who).unwrap();
        assert_eq!(json["type"], "user");
        assert_eq!(json["auth"]["accessToken"]["displayName"], "laptop");
        assert_eq!(json["periodEnd"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<WhoAmI>(json).unwrap(), who);
    }

    #[test]
    fn a_minimal_answer_of_another_hub_is_understood() {
        let who: WhoAmI = serde_json::from_str(r#"{"type":"user","name":"ada"}"#).unwrap();
        assert_eq!(who.name, "ada");
    }
}
