//! Policies as people change them: read, checked, saved.

use serde_json::json;
use weighthouse_store::StoreError;
use weighthouse_store::catalog::{Account, AccountKind, HUB_LEVEL, PolicyRecord, RepoKind, Role};
use weighthouse_trust::policy::{Asker, DEFAULTS, Literal, PolicySet, Subject};

use crate::access::Caller;
use crate::audit::Event;
use crate::{Error, Hub, names};

/// Longest note on a change, in bytes.
const MAX_NOTE_BYTES: usize = 1_000;

/// Whose policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// The hub's.
    Hub,
    /// Those of an organisation, or of a user for their own repositories.
    Account(Account),
}

/// The policies of a level as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Version that decides; 0 for what the program brings.
    pub version: i64,
    /// The text.
    pub text: String,
    /// Who saved it when; nobody for version 0.
    pub saved: Option<PolicyRecord>,
}

impl Level {
    fn key(&self) -> &str {
        match self {
            Self::Hub => HUB_LEVEL,
            Self::Account(account) => &account.id,
        }
    }

    /// Name of the organisation; empty for the hub.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Hub => "",
            Self::Account(account) => &account.name,
        }
    }

    pub(super) fn parse(&self, text: &str) -> Result<PolicySet, Error> {
        Ok(match self {
            Self::Hub => PolicySet::parse(text)?,
            Self::Account(_) => PolicySet::parse_organisation(text)?,
        })
    }
}

impl Hub {
    /// The level that a name stands for: an organisation or user, or without a name the hub.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name that nobody has.
    pub async fn policy_level(&self, name: Option<&str>) -> Result<Level, Error> {
        match name {
            None | Some("") => Ok(Level::Hub),
            Some(name) => Ok(Level::Account(self.account(name).await?)),
        }
    }

    /// Fails unless the caller may change the policies of a level.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn require_policies(&self, caller: &Caller, level: &Level) -> Result<(), Error> {
        let allowed = match level {
            Level::Hub => caller.is_admin(),
            Level::Account(account) => {
                caller.require_write("change policies")?;
                caller.token().is_some_and(|token| token.repos.is_none())
                    && caller.namespace_role(&account.id) == Some(Role::Admin)
            }
        };
        if allowed { Ok(()) } else { Err(Error::Denied { action: "see or change these policies".to_owned() }) }
    }

    /// The policies of a level.
    pub async fn policies(&self, level: &Level) -> Result<Standing, Error> {
        let saved = self.catalog().policies().current(level.key()).await?;
        let text = match (&saved, level) {
            (Some(record), _) => record.text.clone(),
            (None, Level::Hub) => DEFAULTS.to_owned(),
            (None, Level::Account(_)) => String::new(),
        };
        Ok(Standing { version: saved.as_ref().map_or(0, |record| record.version), text, saved })
    }

    /// Versions of a level's policies, the newest first.
    pub async fn policy_history(&self, level: &Level, limit: u32) -> Result<Vec<PolicyRecord>, Error> {
        Ok(self.catalog().policies().history(level.key(), limit.min(1_000)).await?)
    }

    /// Checks policies as they are checked before they are saved.
    ///
    /// # Errors
    /// [`Error::Policy`] names the line and the policy.
    pub async fn check_policies(&self, level: &Level, text: &str) -> Result<PolicySet, Error> {
        let level = level.clone();
        let text = text.to_owned();
        let checked = level.clone();
        // Types of a long text take a while, and this thread has others to serve.
        let set = tokio::task::spawn_blocking(move || {
            let set = checked.parse(&text)?;
            set.validate()?;
            Ok::<_, Error>(set)
        });
        let set = set.await.map_err(|error| StoreError::Task(error.to_string()))??;
        self.check_names(&set).await?;
        self.check_admitted(&level, &set).await?;
        Ok(set)
    }

    async fn check_names(&self, set: &PolicySet) -> Result<(), Error> {
        let mut literals = set.literals()?;
        literals.sort_by(|a, b| a.0.cmp(&b.0));
        for (policy, literal) in literals {
            let accounts = self.catalog().accounts();
            let message = match &literal {
                Literal::User(name) if name.is_empty() => continue,
                Literal::User(name) => match accounts.find(name).await? {
                    Some(found) if found.kind == AccountKind::User => spelled("user", name, &found.name),
                    _ => Some(format!("there is no user `{}`", names::shorten(name))),
                },
                Literal::Organisation(name) => match accounts.find(name).await? {
                    Some(found) if found.kind == AccountKind::Org => spelled("organisation", name, &found.name),
                    _ => Some(format!("there is no organisation `{}`", names::shorten(name))),
                },
                Literal::Namespace(name) => match accounts.find(name).await? {
                    Some(found) => spelled("namespace", name, &found.name),
                    None => Some(format!("there is no user or organisation `{}`", names::shorten(name))),
                },
                Literal::Repo(id) => {
                    let mut stored = None;
                    for kind in [RepoKind::Model, RepoKind::Dataset] {
                        stored = stored.or(self.catalog().repos().find(kind, id).await?);
                    }
                    match stored {
                        Some(found) => spelled("repository", id, &found.id),
                        None => Some(format!("there is no repository `{}`", names::shorten(id))),
                    }
                }
                _ => None,
            };
            if let Some(message) = message {
                return Err(set.refuse(&policy, message).into());
            }
        }
        Ok(())
    }

    /// At least one of those who administrate must be able to go on.
    async fn check_admitted(&self, level: &Level, set: &PolicySet) -> Result<(), Error> {
        let administrators: Vec<Account> = match level {
            Level::Hub => self.accounts(AccountKind::User).await?.into_iter().filter(|a| a.admin).collect(),
            Level::Account(account) if account.kind == AccountKind::User => vec![account.clone()],
            Level::Account(org) => {
                let members = self.catalog().accounts().members_of(&org.id).await?;
                members.into_iter().filter(|m| m.role == Role::Admin).map(|m| m.account).collect()
            }
        };
        let mut first = None;
        for one in &administrators {
            let orgs = self.catalog().accounts().orgs_of(&one.id).await?;
            let asker = Asker {
                id: one.name.clone(),
                admin: one.admin,
                orgs: orgs.into_iter().map(|m| (m.account.name, m.role.as_str().to_owned())).collect(),
                automated: false,
            };
            let namespace = match level {
                Level::Hub => &one.name,
                Level::Account(account) => &account.name,
            };
            let subject = Subject {
                repo: format!("{namespace}/model"),
                namespace: namespace.clone(),
                owner_role: Some(Role::Admin.as_str().to_owned()),
                ..Subject::default()
            };
            match set.admits(&asker, &subject) {
                Ok(()) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Saves the policies of a level over version `over`, and returns the new version.
    ///
    /// # Errors
    /// [`Error::Policy`] for those that do not pass [`Hub::check_policies`]; [`Error::Exists`] when somebody else saved
    /// in between: nothing is changed then.
    pub async fn save_policies(
        &self,
        caller: &Caller,
        level: &Level,
        text: &str,
        over: i64,
        note: &str,
    ) -> Result<i64, Error> {
        self.require_policies(caller, level)?;
        if note.len() > MAX_NOTE_BYTES {
            return Err(Error::TooLarge { what: "the note".to_owned(), limit_bytes: MAX_NOTE_BYTES as u64 });
        }
        let set = self.check_policies(level, text).await?;
        let account = caller.account();
        let record = PolicyRecord {
            level: level.key().to_owned(),
            version: over,
            text: text.to_owned(),
            account: account.map(|a| a.id.clone()).unwrap_or_default(),
            account_name: account.map(|a| a.name.clone()).unwrap_or_default(),
            note: note.to_owned(),
            saved_at_ms: self.now_ms(),
        };
        let version = over.saturating_add(1);
        let event = Event {
            name: "policy.update",
            org: level.key().to_owned(),
            repo: String::new(),
            subject: format!("version {version}"),
            outcome: "done",
            detail: json!({ "level": level.name(), "version": version, "note": note, "policies": set.ids() }),
        };
        let saved = self.catalog().policies().save(&record, Some(self.audited(caller, event))).await;
        let version = saved.map_err(|error| match error {
            StoreError::Exists { .. } => Error::Exists {
                what: format!("somebody saved these policies after version {over}; look at theirs, then save again"),
            },
            error => error.into(),
        })?;
        self.policy_cache().clear();
        Ok(version)
    }
}

/// Cedar compares letter by letter, where the hub does not look at their case.
fn spelled(what: &str, written: &str, stored: &str) -> Option<String> {
    (written != stored).then(|| format!("the {what} `{}` is spelled `{stored}`", names::shorten(written)))
}
