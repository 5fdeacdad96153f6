//! Users, organisations and tokens, as an administrator keeps them.

use serde_json::{Value, json};
use weighthouse_store::catalog::{
    Account, AccountKind, Membership, RepoKey, RepoKind, Role, Scope, TokenRecord, fresh_id,
};

use crate::audit::Event;
use crate::{Error, Hub, names};

/// Letters and digits after `hf_` in a new token; clients want at least 34.
const TOKEN_LETTERS: usize = 37;
/// Longest token, in bytes; what the strictest client takes.
const MAX_TOKEN_BYTES: usize = 256;

/// A new user or organisation.
#[derive(Debug, Clone, Default)]
pub struct NewAccount {
    /// Name, unique without regard to case.
    pub name: String,
    /// Name for display; the name if absent.
    pub fullname: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Whether the user administrates the hub.
    pub admin: bool,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Name to know it by.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// The only repositories it may be used on.
    pub repos: Option<Vec<(RepoKind, String)>>,
    /// Milliseconds from now until it expires.
    pub lifetime_ms: Option<i64>,
    /// Whether a program will hold it, and no person who could be asked.
    pub automated: bool,
    /// The token itself, to carry over an existing one; a fresh one if absent.
    pub value: Option<String>,
}

impl Hub {
    /// Adds a user.
    pub async fn add_user(&self, new: NewAccount) -> Result<Account, Error> {
        self.add_account(AccountKind::User, new).await
    }

    /// Adds an organisation.
    pub async fn add_org(&self, new: NewAccount) -> Result<Account, Error> {
        self.add_account(AccountKind::Org, new).await
    }

    async fn add_account(&self, kind: AccountKind, new: NewAccount) -> Result<Account, Error> {
        names::check_account(&new.name)?;
        let account = Account {
            id: fresh_id()?,
            kind,
            fullname: new.fullname.unwrap_or_else(|| new.name.clone()),
            name: new.name,
            email: new.email,
            admin: new.admin,
            created_at_ms: self.now_ms(),
        };
        let (name, org) = match kind {
            AccountKind::User => ("user.create", String::new()),
            AccountKind::Org => ("org.create", account.id.clone()),
        };
        let event = event(name, org, &account.name, json!({ "admin": account.admin }));
        self.catalog().accounts().add(&account, Some(self.audited_here(event))).await?;
        Ok(account)
    }

    /// All users or all organisations, by name.
    pub async fn accounts(&self, kind: AccountKind) -> Result<Vec<Account>, Error> {
        Ok(self.catalog().accounts().list(kind).await?)
    }

    /// A user or an organisation by name.
    pub async fn account(&self, name: &str) -> Result<Account, Error> {
        self.catalog()
            .accounts()
            .find(name)
            .await?
            .ok_or_else(|| Error::NotFound { what: "account", name: names::shorten(name) })
    }

    /// Name of the account that owns something, for display.
    pub async fn account_name(&self, id: &str) -> Result<Option<String>, Error> {
        Ok(self.catalog().accounts().get(id).await?.map(|account| account.name))
    }

    async fn account_of_kind(&self, kind: AccountKind, name: &str) -> Result<Account, Error> {
        let what = match kind {
            AccountKind::User => "user",
            AccountKind::Org => "organisation",
        };
        match self.catalog().accounts().find(name).await? {
            Some(account) if account.kind == kind => Ok(account),
            _ => Err(Error::NotFound { what, name: names::shorten(name) }),
        }
    }

    /// Gives a user a role in an organisation, or with `None` takes them out.
    pub async fn set_member(&self, org: &str, user: &str, role: Option<Role>) -> Result<(), Error> {
        let org = self.account_of_kind(AccountKind::Org, org).await?;
        let user = self.account_of_kind(AccountKind::User, user).await?;
        let entry = |former: Option<Role>| {
            let name = match (former, role) {
                (None, Some(_)) => "org.add_member",
                (Some(_), Some(_)) => "org.change_role",
                (_, None) => "org.remove_member",
            };
            let detail = json!({ "org": org.name, "role": role.map(Role::as_str), "former": former.map(Role::as_str) });
            Some(self.audited_here(event(name, org.id.clone(), &user.name, detail)))
        };
        self.catalog().accounts().set_member(&org.id, &user.id, role, entry).await?;
        self.callers().clear();
        Ok(())
    }

    /// Members of an organisation, by name.
    pub async fn members(&self, org: &str) -> Result<Vec<Membership>, Error> {
        let org = self.account_of_kind(AccountKind::Org, org).await?;
        Ok(self.catalog().accounts().members_of(&org.id).await?)
    }

    /// Adds a token for a user and returns it with its secret, which is not kept.
    pub async fn add_token(&self, user: &str, new: NewToken) -> Result<(TokenRecord, String), Error> {
        let user = self.account_of_kind(AccountKind::User, user).await?;
        if new.scope == Scope::Admin && !user.admin {
            return Err(Error::Denied { action: format!("give `{}` a token for administration", user.name) });
        }
        let secret = match new.value {
            Some(value)
                if value.is_empty()
                    || value.len() > MAX_TOKEN_BYTES
                    || !value.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                return Err(Error::Malformed("a token must be 1 to 256 visible ASCII characters".to_owned()));
            }
            Some(value) => value,
            None => fresh_token()?,
        };
        let mut keys: Option<Vec<RepoKey>> = new.repos.as_ref().map(|_| Vec::new());
        for (kind, id) in new.repos.iter().flatten() {
            let repo = self.catalog().repos().find(*kind, id).await?;
            let repo = repo.ok_or_else(|| Error::RepoNotFound { kind: *kind, id: id.clone() })?;
            keys.get_or_insert_default().push(repo.key);
        }
        let now_ms = self.now_ms();
        let token = TokenRecord {
            id: fresh_id()?,
            account: user.id.clone(),
            name: new.name,
            scope: new.scope,
            repos: keys,
            automated: new.automated,
            created_at_ms: now_ms,
            expires_at_ms: new.lifetime_ms.map(|ms| now_ms.saturating_add(ms)),
            last_used_at_ms: None,
        };
        let detail = json!({
            "id": token.id, "name": token.name, "scope": token.scope.as_str(), "automated": token.automated,
            "limited": token.repos.is_some(), "expires_at_ms": token.expires_at_ms,
        });
        let entry = self.audited_here(event("token.create", String::new(), &user.name, detail));
        self.catalog().tokens().add(&token, &secret, Some(entry)).await?;
        Ok((token, secret))
    }

    /// Tokens of a user, oldest first.
    pub async fn tokens(&self, user: &str) -> Result<Vec<TokenRecord>, Error> {
        let user = self.account_of_kind(AccountKind::User, user).await?;
        Ok(self.catalog().tokens().list(&user.id).await?)
    }

    /// Makes a token invalid at once.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        let entry = self.audited_here(event("token.revoke", String::new(), id, json!({})));
        if !self.catalog().tokens().revoke(id, Some(entry)).await? {
            return Err(Error::NotFound { what: "token", name: names::shorten(id) });
        }
        self.callers().clear();
        Ok(())
    }

    /// Makes the first administrator, if the hub has no user yet, and returns the secret of their token.
    pub async fn first_administrator(&self) -> Result<Option<(Account, String)>, Error> {
        if !self.accounts(AccountKind::User).await?.is_empty() {
            return Ok(None);
        }
        let admin =
            self.add_user(NewAccount { name: "admin".to_owned(), admin: true, ..NewAccount::default() }).await?;
        let token = NewToken {
            name: "first start".to_owned(),
            scope: Scope::Admin,
            repos: None,
            lifetime_ms: None,
            automated: false,
            value: None,
        };
        let (_, secret) = self.add_token(&admin.name, token).await?;
        Ok(Some((admin, secret)))
    }
}

fn event(name: &'static str, org: String, subject: &str, detail: Value) -> Event {
    Event { name, org, repo: String::new(), subject: subject.to_owned(), outcome: "done", detail }
}

fn fresh_token() -> Result<String, Error> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut token = "hf_".to_owned();
    while token.len() < TOKEN_LETTERS + 3 {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|e| Error::Malformed(format!("no randomness: {e}")))?;
        // Six bits each; the two values without a letter are skipped, so that all letters are equally likely.
        let letters = bytes.iter().filter_map(|b| LETTERS.get(usize::from(b & 63)));
        token.extend(letters.take(TOKEN_LETTERS + 3 - token.len()).map(|&b| char::from(b)));
    }
    Ok(token)
}
