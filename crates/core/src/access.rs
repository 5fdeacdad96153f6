//! Who is calling, and what they may do.

use std::sync::Arc;

use quick_cache::sync::Cache;
use weighthouse_store::catalog::{
    Account, Membership, RepoKey, RepoKind, RepoRecord, Role, Scope, TokenRecord, Viewer,
};
use weighthouse_store::digest::Sha256;

use crate::{Error, Hub, names};

/// How long a token's rights are remembered, in milliseconds: a revoked token works this much longer at most.
const REMEMBER_MS: i64 = 2_000;
/// How often the last use of a token is written down, in milliseconds.
const TOUCH_MS: i64 = 60_000;

pub(crate) type CallerCache = Cache<Sha256, (i64, Caller)>;

/// Whoever makes a request: a stranger, or a user with the rights of one token.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    known: Option<Arc<Known>>,
    address: Option<Arc<str>>,
}

#[derive(Debug)]
struct Known {
    account: Account,
    token: TokenRecord,
    orgs: Vec<Membership>,
}

/// A repository that the caller may read.
#[derive(Debug, Clone)]
pub struct Repo {
    /// What the catalog says.
    pub record: RepoRecord,
    /// What the caller may do here.
    pub role: Role,
}

impl Caller {
    /// A stranger.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The same, from a network address.
    #[must_use]
    pub fn from_address(mut self, address: impl Into<Arc<str>>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Where the request came from, if that is known.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Whether nobody is there who could be asked: a token marked for automated use, or none at all.
    ///
    /// Not by what a client calls itself, which it may choose. A stranger counts, because leaving a token out must not
    /// be a way around.
    pub fn is_automated(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.token.automated)
    }

    fn of(known: Known) -> Self {
        Self { known: Some(Arc::new(known)), address: None }
    }

    /// The user, unless a stranger calls.
    pub fn account(&self) -> Option<&Account> {
        self.known.as_ref().map(|known| &known.account)
    }

    /// The token, unless a stranger calls.
    pub fn token(&self) -> Option<&TokenRecord> {
        self.known.as_ref().map(|known| &known.token)
    }

    /// Organisations of the user.
    pub fn orgs(&self) -> &[Membership] {
        self.known.as_ref().map_or(&[], |known| &known.orgs)
    }

    /// The user, who must be known and hold a token that may write.
    pub fn require_write(&self, action: &'static str) -> Result<&Account, Error> {
        let known = self.known.as_ref().ok_or(Error::Unauthenticated { action })?;
        if known.token.scope < Scope::Write {
            return Err(Error::Denied { action: format!("{action}: this token may only read") });
        }
        Ok(&known.account)
    }

    /// Whether this is an administrator with a token for administration.
    pub fn is_admin(&self) -> bool {
        self.known.as_ref().is_some_and(|k| k.account.admin && k.token.scope == Scope::Admin && k.token.repos.is_none())
    }

    /// Highest role in a namespace: one's own name, or an organisation. Capped by the token.
    pub fn namespace_role(&self, account_id: &str) -> Option<Role> {
        let known = self.known.as_ref()?;
        if self.is_admin() || known.account.id == account_id {
            return Some(Role::Admin);
        }
        known.orgs.iter().find(|m| m.account.id == account_id).map(|m| m.role)
    }

    /// What the caller may do in a repository, if it may see it at all.
    pub fn role_in(&self, repo: &RepoRecord) -> Option<Role> {
        let role = self.standing_in(repo)?;
        let reads_only = self.known.as_ref().is_some_and(|known| known.token.scope == Scope::Read);
        Some(if reads_only { Role::Read } else { role })
    }

    /// Who the caller is in a repository, whatever the token at hand may do: a person who may write there and reads with a
    /// token that may only read is still one who may write.
    pub fn standing_in(&self, repo: &RepoRecord) -> Option<Role> {
        let public = (!repo.private).then_some(Role::Read);
        let Some(known) = &self.known else { return public };
        if known.token.repos.as_ref().is_some_and(|only| !only.contains(&repo.key)) {
            return public;
        }
        self.namespace_role(&repo.owner).max(public)
    }

    pub(crate) fn viewer(&self) -> Viewer {
        Viewer {
            account: self.account().map(|account| account.id.clone()),
            admin: self.is_admin(),
            only: self.token().and_then(|token| token.repos.clone()),
        }
    }
}

impl Repo {
    /// Fails unless the caller may change contents.
    pub fn require_write(&self, caller: &Caller, action: &'static str) -> Result<(), Error> {
        self.require(caller, Role::Write, action)
    }

    /// Fails unless the caller may delete or reconfigure the repository.
    pub fn require_admin(&self, caller: &Caller, action: &'static str) -> Result<(), Error> {
        self.require(caller, Role::Admin, action)
    }

    fn require(&self, caller: &Caller, role: Role, action: &'static str) -> Result<(), Error> {
        caller.require_write(action)?;
        if self.role < role {
            return Err(Error::Denied { action: format!("{action} in {}", self.record.id) });
        }
        Ok(())
    }
}

impl Hub {
    /// Finds out who holds a token.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] when it is unknown or expired.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller, Error> {
        let now_ms = self.now_ms();
        let digest = Sha256::of(secret.as_bytes());
        if let Some((seen_ms, caller)) = self.callers().get(&digest)
            && now_ms - seen_ms < REMEMBER_MS
            && caller.token().is_some_and(|token| alive(token, now_ms))
        {
            return Ok(caller);
        }
        let (token, account) = self.catalog().tokens().find(secret).await?.ok_or(Error::InvalidToken)?;
        if !alive(&token, now_ms) {
            return Err(Error::InvalidToken);
        }
        if token.last_used_at_ms.is_none_or(|used_ms| now_ms - used_ms > TOUCH_MS) {
            self.catalog().tokens().touch(&token.id, now_ms).await?;
        }
        let orgs = self.catalog().accounts().orgs_of(&account.id).await?;
        let caller = Caller::of(Known { account, token, orgs });
        self.callers().insert(digest, (now_ms, caller.clone()));
        Ok(caller)
    }

    /// A user as a Xet token speaks for them: all their rights, but within a scope and one repository's writes.
    pub async fn caller_of(&self, account_id: &str, token: TokenRecord) -> Result<Caller, Error> {
        let account = self.catalog().accounts().get(account_id).await?.ok_or(Error::InvalidToken)?;
        let orgs = self.catalog().accounts().orgs_of(account_id).await?;
        Ok(Caller::of(Known { account, token, orgs }))
    }

    /// A user with every right, for orders given on the machine itself.
    pub async fn administrator(&self, user: &str) -> Result<Caller, Error> {
        let account = Account { admin: true, ..self.account(user).await? };
        let token = TokenRecord {
            id: String::new(),
            account: account.id.clone(),
            name: "local".to_owned(),
            scope: Scope::Admin,
            repos: None,
            automated: false,
            created_at_ms: 0,
            expires_at_ms: None,
            last_used_at_ms: None,
        };
        Ok(Caller::of(Known { account, token, orgs: Vec::new() }))
    }

    /// Opens a repository for a caller.
    ///
    /// # Errors
    /// [`Error::RepoNotFound`], the same for a missing repository and one that the caller may not see;
    /// [`Error::RepoMoved`] for an earlier id.
    pub async fn repo(&self, caller: &Caller, kind: RepoKind, id: &str) -> Result<Repo, Error> {
        let found = self.catalog().repos().find(kind, id).await?;
        self.opened(caller, kind, id, found).await
    }

    /// Opens a repository with every right, for orders given on the machine itself.
    ///
    /// # Errors
    /// [`Error::RepoNotFound`].
    pub async fn any_repo(&self, kind: RepoKind, id: &str) -> Result<Repo, Error> {
        let record = self.catalog().repos().find(kind, id).await?;
        let record = record.ok_or_else(|| Error::RepoNotFound { kind, id: names::shorten(id) })?;
        Ok(Repo { record, role: Role::Admin })
    }

    /// Opens a repository by its internal id, as tokens of this hub name it.
    pub async fn repo_by_key(&self, caller: &Caller, key: &RepoKey) -> Result<Repo, Error> {
        let missing = || Error::RepoNotFound { kind: RepoKind::Model, id: key.to_string() };
        let record = self.catalog().repos().get(key).await?.ok_or_else(missing)?;
        let role = caller.role_in(&record).ok_or_else(missing)?;
        Ok(Repo { record, role })
    }

    pub(crate) async fn opened(
        &self,
        caller: &Caller,
        kind: RepoKind,
        id: &str,
        found: Option<RepoRecord>,
    ) -> Result<Repo, Error> {
        let missing = || Error::RepoNotFound { kind, id: names::shorten(id) };
        if let Some(record) = found {
            let role = caller.role_in(&record).ok_or_else(missing)?;
            return Ok(Repo { record, role });
        }
        if let Some(to) = self.catalog().repos().redirect(kind, id).await? {
            let moved = self.catalog().repos().find(kind, &to).await?;
            if moved.is_some_and(|record| caller.role_in(&record).is_some()) {
                return Err(Error::RepoMoved { kind, from: id.to_owned(), to });
            }
        }
        Err(missing())
    }
}

fn alive(token: &TokenRecord, now_ms: i64) -> bool {
    token.expires_at_ms.is_none_or(|expires_ms| now_ms < expires_ms)
}
