//! Users and organisations.

use std::fmt;
use std::str::FromStr;

use sqlx::any::AnyRow;

use super::{AuditEntry, Catalog, audit, number, parsed, text};
use crate::StoreError;

/// A user or an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Stable id, 24 hexadecimal digits.
    pub id: String,
    /// User or organisation.
    pub kind: AccountKind,
    /// Name as written; unique without regard to case, users and organisations together.
    pub name: String,
    /// Name for display.
    pub fullname: String,
    /// Mail address, if given.
    pub email: Option<String>,
    /// Whether this user administrates the hub.
    pub admin: bool,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// A user's place in an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The organisation, or the user, seen from the other side.
    pub account: Account,
    /// What the user may do there.
    pub role: Role,
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word used in the catalog and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is none of {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}
pub(super) use choice;

choice!(
    /// Kinds of account.
    AccountKind {
        /// A person.
        User = "user",
        /// A group of users.
        Org = "org",
    }
);

choice!(
    /// What a member may do in an organisation; each includes the ones before it.
    Role {
        /// See private repositories.
        Read = "read",
        /// Change contents and create repositories.
        Write = "write",
        /// Delete repositories and manage members.
        Admin = "admin",
    }
);

/// Users, organisations and their members.
#[derive(Debug)]
pub struct Accounts<'a>(pub(super) &'a Catalog);

const ROLE: &str = "SELECT role FROM members WHERE org = $1 AND account = $2";
const COLUMNS: &str = "a.id, a.kind, a.name, a.fullname, a.email, a.admin, a.created_at";

impl Accounts<'_> {
    /// Adds an account, and `entry` about it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken in any case.
    pub async fn add(&self, account: &Account, entry: Option<AuditEntry>) -> Result<(), StoreError> {
        let failed = "adding an account";
        let mut tx = self.0.write().await?;
        let added = sqlx::query(
            "INSERT INTO accounts (id, kind, name, folded, fullname, email, admin, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (folded) DO NOTHING",
        )
        .bind(&account.id)
        .bind(account.kind.as_str())
        .bind(&account.name)
        .bind(account.name.to_lowercase())
        .bind(&account.fullname)
        .bind(account.email.clone())
        .bind(i64::from(account.admin))
        .bind(account.created_at_ms)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Exists { what: format!("account `{}`", account.name) });
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Account of a name, in any case.
    pub async fn find(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM accounts a WHERE a.folded = $1"))
            .bind(name.to_lowercase())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("finding an account"))?;
        row.as_ref().map(account).transpose()
    }

    /// Account of an id.
    pub async fn get(&self, id: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query(sql!("SELECT {COLUMNS} FROM accounts a WHERE a.id = $1"))
            .bind(id)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("finding an account"))?;
        row.as_ref().map(account).transpose()
    }

    /// All accounts of a kind, by name.
    pub async fn list(&self, kind: AccountKind) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query(sql!("SELECT {COLUMNS} FROM accounts a WHERE a.kind = $1 ORDER BY a.folded"))
            .bind(kind.as_str())
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing accounts"))?;
        rows.iter().map(account).collect()
    }

    /// Gives a user a role in an organisation, replacing an earlier one, or with `None` takes them out, and records the
    /// `entry` that is made of the earlier role. Taking out whoever is not in it changes and records nothing.
    pub async fn set_member(
        &self,
        org: &str,
        user: &str,
        role: Option<Role>,
        entry: impl FnOnce(Option<Role>) -> Option<AuditEntry>,
    ) -> Result<(), StoreError> {
        let failed = "changing a member";
        let mut tx = self.0.write().await?;
        let former = sqlx::query(ROLE)
            .bind(org)
            .bind(user)
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let former: Option<Role> = former.as_ref().map(|row| parsed(row, "role")).transpose()?;
        let done = match role {
            Some(role) => {
                sqlx::query(
                    "INSERT INTO members (org, account, role) VALUES ($1, $2, $3)
                     ON CONFLICT (org, account) DO UPDATE SET role = excluded.role",
                )
                .bind(org)
                .bind(user)
                .bind(role.as_str())
                .execute(&mut *tx)
                .await
            }
            None => {
                sqlx::query("DELETE FROM members WHERE org = $1 AND account = $2")
                    .bind(org)
                    .bind(user)
                    .execute(&mut *tx)
                    .await
            }
        };
        if done.map_err(StoreError::database(failed))?.rows_affected() > 0 {
            audit::append(&mut tx, entry(former)).await?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Role of a user in an organisation.
    pub async fn role(&self, org: &str, user: &str) -> Result<Option<Role>, StoreError> {
        let row = sqlx::query(ROLE)
            .bind(org)
            .bind(user)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading a role"))?;
        row.as_ref().map(|row| parsed(row, "role")).transpose()
    }

    /// Organisations of a user, by name.
    pub async fn orgs_of(&self, user: &str) -> Result<Vec<Membership>, StoreError> {
        self.memberships(
            sql!("SELECT {COLUMNS}, m.role FROM members m JOIN accounts a ON a.id = m.org WHERE m.account = $1 ORDER BY a.folded"),
            user,
        )
        .await
    }

    /// Members of an organisation, by name.
    pub async fn members_of(&self, org: &str) -> Result<Vec<Membership>, StoreError> {
        self.memberships(
            sql!("SELECT {COLUMNS}, m.role FROM members m JOIN accounts a ON a.id = m.account WHERE m.org = $1 ORDER BY a.folded"),
            org,
        )
        .await
    }

    async fn memberships(&self, sql: sqlx::AssertSqlSafe<String>, id: &str) -> Result<Vec<Membership>, StoreError> {
        let rows =
            sqlx::query(sql).bind(id).fetch_all(&self.0.pool).await.map_err(StoreError::database("listing members"))?;
        rows.iter().map(|row| Ok(Membership { account: account(row)?, role: parsed(row, "role")? })).collect()
    }
}

pub(super) fn account(row: &AnyRow) -> Result<Account, StoreError> {
    use sqlx::Row;
    Ok(Account {
        id: text(row, "id")?,
        kind: parsed(row, "kind")?,
        name: text(row, "name")?,
        fullname: text(row, "fullname")?,
        email: row.try_get("email").map_err(StoreError::database("reading an account"))?,
        admin: number(row, "admin")? != 0,
        created_at_ms: number(row, "created_at")?,
    })
}
