//! What a decision depends on, and how Cedar is told.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value,
};
use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::scan::Verdict;
use crate::words::words;

words! {
    /// What somebody wants to do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[non_exhaustive]
    pub enum Action {
        /// Take the bytes of a file.
        Download = "download",
        /// Put a file into a repository.
        Upload = "upload",
        /// Bring a revision into a branch.
        Merge = "merge",
        /// Make a repository public.
        Publish = "publish",
        /// Vouch for a file that would be refused; asked of the hub's policies alone.
        Override = "override",
    }
}

words! {
    /// Whose policy it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Level {
        /// The hub's.
        Hub = "hub",
        /// That of the organisation that owns the repository.
        Organisation = "organisation",
    }
}

words! {
    /// How a file was judged, or that it was not yet.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[non_exhaustive]
    pub enum State {
        /// [`Verdict::Safe`].
        Safe = "safe",
        /// [`Verdict::Caution`].
        Caution = "caution",
        /// [`Verdict::Suspicious`].
        Suspicious = "suspicious",
        /// [`Verdict::Error`].
        Error = "error",
        /// [`Verdict::Unsafe`].
        Unsafe = "unsafe",
        /// Nobody looked yet: the default, because what is not known is not safe.
        #[default]
        Queued = "queued",
    }
}

impl From<Verdict> for State {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Safe => Self::Safe,
            Verdict::Caution => Self::Caution,
            Verdict::Suspicious => Self::Suspicious,
            Verdict::Error => Self::Error,
            Verdict::Unsafe => Self::Unsafe,
        }
    }
}

/// What is known of a file, or of a revision as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// Verdict on it.
    pub state: State,
    /// Path in the repository; empty for a revision.
    pub path: String,
    /// SHA-256 or git id of the bytes. Policies do not see it; an override is bound to it, so without it there is none.
    pub digest: String,
    /// `safetensors`, `gguf`, `torch`, …; empty for files that are no checkpoint.
    pub format: String,
    /// Whether a pickle is inside.
    pub pickle: bool,
    /// Whether using it runs code of the repository.
    pub remote_code: bool,
    /// Length in bytes.
    pub size_bytes: u64,
    /// As the card declares it.
    pub license: Option<String>,
    /// As the card declares them.
    pub base_models: Vec<String>,
}

/// Whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asker {
    /// Name of the user; empty for a stranger.
    pub id: String,
    /// Whether this is an administrator of the hub, with a token for administration.
    pub admin: bool,
    /// Organisations and the role in each: `read`, `write` or `admin`.
    pub orgs: Vec<(String, String)>,
    /// Whether nobody is there who could be asked.
    pub automated: bool,
}

/// The repository that it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// `namespace/name`, or a name alone.
    pub repo: String,
    /// Name of the user or organisation before the `/`; empty without one.
    pub namespace: String,
    /// Whether only its owner's people see it.
    pub private: bool,
    /// What the asker may do there: `read`, `write` or `admin`.
    pub owner_role: Option<String>,
    /// Whether an administrator vouched for these bytes here.
    pub overridden: bool,
}

/// Names of types, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Words {
    action: EntityTypeName,
    group: EntityTypeName,
    namespace: EntityTypeName,
    organisation: EntityTypeName,
    repo: EntityTypeName,
    role: EntityTypeName,
    user: EntityTypeName,
    verdict: EntityTypeName,
}

/// A question in the words of Cedar.
pub(super) struct Question {
    pub request: Request,
    pub entities: Entities,
}

impl Words {
    pub fn new() -> Result<Self, PolicyError> {
        let word = |text: &str| EntityTypeName::from_str(text).map_err(PolicyError::engine);
        Ok(Self {
            action: word("Action")?,
            group: word("Group")?,
            namespace: word("Namespace")?,
            organisation: word("Organisation")?,
            repo: word("Repo")?,
            role: word("Role")?,
            user: word("User")?,
            verdict: word("Verdict")?,
        })
    }

    pub fn question(
        &self,
        action: Action,
        asker: &Asker,
        subject: &Subject,
        facts: &Facts,
    ) -> Result<Question, PolicyError> {
        let user = named(&self.user, &asker.id);
        let repo = named(&self.repo, &subject.repo);
        let entities = [self.user(user.clone(), asker)?, self.repo(repo.clone(), subject)?];
        let entities = Entities::from_entities(entities, None).map_err(PolicyError::engine)?;
        let action = named(&self.action, action.as_str());
        let context = self.context(subject, facts)?;
        let request = Request::new(user, action, repo, context, None).map_err(PolicyError::engine)?;
        Ok(Question { request, entities })
    }

    fn user(&self, uid: EntityUid, asker: &Asker) -> Result<Entity, PolicyError> {
        let mut groups = HashSet::new();
        for (org, role) in &asker.orgs {
            groups.insert(named(&self.organisation, org));
            for held in included(role) {
                groups.insert(named(&self.group, &format!("{org}/{held}")));
            }
        }
        if asker.admin {
            groups.insert(named(&self.group, ADMINISTRATORS));
        }
        let attributes = HashMap::from([
            ("name".to_owned(), Value::new_string(asker.id.clone())),
            ("known".to_owned(), Value::new_bool(!asker.id.is_empty())),
            ("admin".to_owned(), Value::new_bool(asker.admin)),
            ("automated".to_owned(), Value::new_bool(asker.automated)),
        ]);
        Entity::new(uid, attributes, groups).map_err(PolicyError::engine)
    }

    fn repo(&self, uid: EntityUid, subject: &Subject) -> Result<Entity, PolicyError> {
        let attributes = HashMap::from([
            ("name".to_owned(), Value::new_string(subject.repo.clone())),
            ("namespace".to_owned(), Value::new_string(subject.namespace.clone())),
            ("private".to_owned(), Value::new_bool(subject.private)),
        ]);
        let parents = HashSet::from([named(&self.namespace, &subject.namespace)]);
        Entity::new(uid, attributes, parents).map_err(PolicyError::engine)
    }

    fn context(&self, subject: &Subject, facts: &Facts) -> Result<Context, PolicyError> {
        let role = subject.owner_role.as_deref().unwrap_or("none");
        let base_models = facts.base_models.iter().map(|name| Value::new_string(name.clone()));
        let mut pairs = vec![
            ("verdict".to_owned(), Value::new_entity_uid(named(&self.verdict, facts.state.as_str()))),
            ("overridden".to_owned(), Value::new_bool(subject.overridden)),
            ("role".to_owned(), Value::new_entity_uid(named(&self.role, role))),
            ("path".to_owned(), Value::new_string(facts.path.clone())),
            ("format".to_owned(), Value::new_string(facts.format.clone())),
            ("pickle".to_owned(), Value::new_bool(facts.pickle)),
            ("remote_code".to_owned(), Value::new_bool(facts.remote_code)),
            ("size_bytes".to_owned(), Value::new_long(i64::try_from(facts.size_bytes).unwrap_or(i64::MAX))),
            ("base_models".to_owned(), Value::new_set(base_models)),
        ];
        if let Some(license) = &facts.license {
            pairs.push(("license".to_owned(), Value::new_string(license.clone())));
        }
        Context::from_pairs(pairs).map_err(PolicyError::engine)
    }
}

/// The group of all administrators of a hub.
pub(super) const ADMINISTRATORS: &str = "administrators";

/// Roles that a role includes, itself among them.
fn included(role: &str) -> &'static [&'static str] {
    match role {
        "admin" => &["read", "write", "admin"],
        "write" => &["read", "write"],
        "read" => &["read"],
        _ => &[],
    }
}

fn named(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}
