//! Access tokens, kept as digests.

use std::fmt;
use std::str::FromStr;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::accounts::{Account, account, choice};
use super::{AuditEntry, Catalog, RepoKey, audit, number, parsed, text};
use crate::StoreError;
use crate::digest::Sha256;

choice!(
    /// What a token may be used for; each includes the ones before it.
    Scope {
        /// Read what its user may read.
        Read = "read",
        /// Change what its user may change.
        Write = "write",
        /// Administrate what its user may administrate.
        Admin = "admin",
    }
);

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Stable id, 24 hexadecimal digits.
    pub id: String,
    /// Id of the user it speaks for.
    pub account: String,
    /// Name given by the user.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// The only repositories it may be used on; `None` means all.
    pub repos: Option<Vec<RepoKey>>,
    /// Whether a program holds it, and no person who could be asked.
    pub automated: bool,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Milliseconds since 1970 from which it is no longer valid.
    pub expires_at_ms: Option<i64>,
    /// Milliseconds since 1970, to within a minute.
    pub last_used_at_ms: Option<i64>,
}

/// Access tokens.
#[derive(Debug)]
pub struct Tokens<'a>(pub(super) &'a Catalog);

const COLUMNS: &str = "t.id AS token_id, t.account, t.name AS token_name, t.scope, t.limited, t.automated, t.created_at AS token_created_at, t.expires_at, t.last_used_at";

impl Tokens<'_> {
    /// Adds a token whose secret is `secret`, and `entry` about it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when that secret is in use.
    pub async fn add(&self, token: &TokenRecord, secret: &str, entry: Option<AuditEntry>) -> Result<(), StoreError> {
        let failed = "adding a token";
        let mut tx = self.0.write().await?;
        let added = sqlx::query(
            "INSERT INTO tokens (id, account, name, hash, scope, limited, created_at, expires_at, automated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(&token.id)
        .bind(&token.account)
        .bind(&token.name)
        .bind(Sha256::of(secret.as_bytes()).to_string())
        .bind(token.scope.as_str())
        .bind(i64::from(token.repos.is_some()))
        .bind(token.created_at_ms)
        .bind(token.expires_at_ms)
        .bind(i64::from(token.automated))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(failed))?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Exists { what: "this token value".to_owned() });
        }
        for repo in token.repos.iter().flatten() {
            sqlx::query("INSERT INTO token_repos (token, repo) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(&token.id)
                .bind(repo.as_str())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Token with this secret, and its user; an expired one is returned too.
    pub async fn find(&self, secret: &str) -> Result<Option<(TokenRecord, Account)>, StoreError> {
        let row = sqlx::query(sql!(
            "SELECT {COLUMNS}, a.id, a.kind, a.name, a.fullname, a.email, a.admin, a.created_at
             FROM tokens t JOIN accounts a ON a.id = t.account WHERE t.hash = $1"
        ))
        .bind(Sha256::of(secret.as_bytes()).to_string())
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("finding a token"))?;
        match row {
            Some(row) => Ok(Some((self.token(&row).await?, account(&row)?))),
            None => Ok(None),
        }
    }

    /// Tokens of a user, oldest first.
    pub async fn list(&self, user: &str) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = sqlx::query(sql!("SELECT {COLUMNS} FROM tokens t WHERE t.account = $1 ORDER BY t.created_at, t.id"))
            .bind(user)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("listing tokens"))?;
        let mut tokens = Vec::new();
        for row in &rows {
            tokens.push(self.token(row).await?);
        }
        Ok(tokens)
    }

    /// Removes a token by its id, and records `entry`; `false` when there is none.
    pub async fn revoke(&self, id: &str, entry: Option<AuditEntry>) -> Result<bool, StoreError> {
        let failed = "revoking a token";
        let mut tx = self.0.write().await?;
        let removed = sqlx::query("DELETE FROM tokens WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(true)
    }

    /// Notes that a token was used.
    pub async fn touch(&self, id: &str, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(now_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("noting a token's use"))?;
        Ok(())
    }

    async fn token(&self, row: &AnyRow) -> Result<TokenRecord, StoreError> {
        let failed = "reading a token";
        let id = text(row, "token_id")?;
        let repos = if number(row, "limited")? == 0 {
            None
        } else {
            let keys: Vec<String> = sqlx::query_scalar("SELECT repo FROM token_repos WHERE token = $1 ORDER BY repo")
                .bind(&id)
                .fetch_all(&self.0.pool)
                .await
                .map_err(StoreError::database(failed))?;
            Some(keys.into_iter().map(RepoKey::from).collect())
        };
        Ok(TokenRecord {
            id,
            account: text(row, "account")?,
            name: text(row, "token_name")?,
            scope: parsed(row, "scope")?,
            repos,
            automated: number(row, "automated")? != 0,
            created_at_ms: number(row, "token_created_at")?,
            expires_at_ms: row.try_get("expires_at").map_err(StoreError::database(failed))?,
            last_used_at_ms: row.try_get("last_used_at").map_err(StoreError::database(failed))?,
        })
    }
}
