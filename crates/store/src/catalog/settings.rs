//! Settings that belong to the hub as a whole, such as its secret.

use super::Catalog;
use crate::StoreError;

/// Named values of this hub.
#[derive(Debug)]
pub struct Settings<'a>(pub(super) &'a Catalog);

impl Settings<'_> {
    /// Value of a setting, storing `fresh` first if there is none; every caller sees the same value.
    pub async fn get_or_insert(&self, name: &str, fresh: &str) -> Result<String, StoreError> {
        let failed = "reading a setting";
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(fresh)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))?;
        sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_one(&self.0.pool)
            .await
            .map_err(StoreError::database(failed))
    }

    /// Value of a setting, if it has one.
    pub async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("reading a setting"))
    }

    /// Gives a setting a value.
    pub async fn set(&self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.0.pool)
        .await
        .map_err(StoreError::database("changing a setting"))?;
        Ok(())
    }

    /// Takes the value of a setting away.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM settings WHERE name = $1")
            .bind(name)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("changing a setting"))?;
        Ok(())
    }
}
